//! The suite for all providers, on a web server of our own.

use std::net::SocketAddr;

use async_trait::async_trait;
use dcv_provider::{DcvProvider, ProofKind, conformance};
use dcv_standalone::{Config, Standalone};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

struct World(SocketAddr);

#[async_trait]
impl conformance::World for World {
    async fn provider(&self) -> Box<dyn DcvProvider> {
        Box::new(Standalone::new(Config { listen: vec![self.0] }).expect("it builds"))
    }
    fn name(&self, n: usize) -> String {
        format!("n{n}.web-example.com")
    }
    fn unserved_name(&self) -> Option<String> {
        None
    }
    async fn values(&self, _: ProofKind, name: &str) -> Vec<String> {
        // Nobody listens while nothing is presented.
        let Ok(mut stream) = TcpStream::connect(self.0).await else { return Vec::new() };
        let request = format!(
            "GET /.well-known/pki-validation/fileauth.txt HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.expect("asked");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("answered");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        if head.starts_with("HTTP/1.1 200") { vec![body.to_owned()] } else { Vec::new() }
    }
    async fn plant(&self, _: ProofKind, _: &str, _: &str) -> bool {
        false
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_behaves() {
    let free = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("its address");
    conformance::run(&World(free)).await;
}
