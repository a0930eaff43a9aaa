//! A sandbox with a little world around it: one name server, one web server, and a client that knows nothing but HTTP
//! and JSON.

#![allow(dead_code, unreachable_pub, missing_docs)]

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, extract::State, http::HeaderMap, http::StatusCode, http::Uri};
use certcentral_sandbox::{Config, Sandbox, va};
use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{Name, RData, Record, RecordType, rdata},
    serialize::binary::{BinDecodable, BinEncodable},
};
use reqwest::{Client, Method, Response};
use serde_json::{Value, json};
use tokio::{net::UdpSocket, task::JoinHandle};

/// Records by lower-case name, files by `host/path`.
#[derive(Default)]
pub struct World {
    pub txt: Mutex<HashMap<String, String>>,
    pub cname: Mutex<HashMap<String, String>>,
    pub caa: Mutex<HashMap<String, String>>,
    pub files: Mutex<HashMap<String, String>>,
}

impl World {
    pub fn put_txt(&self, name: &str, value: &str) {
        self.txt.lock().unwrap().insert(name.to_owned(), value.to_owned());
    }

    pub fn put_cname(&self, name: &str, target: &str) {
        self.cname.lock().unwrap().insert(name.to_owned(), target.to_owned());
    }

    pub fn put_caa(&self, name: &str, issuer: &str) {
        self.caa.lock().unwrap().insert(name.to_owned(), issuer.to_owned());
    }

    pub fn put_file(&self, host: &str, file: &str, body: &str) {
        self.files.lock().unwrap().insert(format!("{host}/.well-known/pki-validation/{file}"), body.to_owned());
    }

    fn answer(&self, name: &Name, kind: RecordType) -> Vec<Record> {
        let text = name.to_ascii().trim_end_matches('.').to_ascii_lowercase();
        let record = |data| vec![Record::from_rdata(name.clone(), 1, data)];
        if let Some(target) = self.cname.lock().unwrap().get(&text) {
            return record(RData::CNAME(rdata::CNAME(Name::from_ascii(target).unwrap())));
        }
        match kind {
            RecordType::TXT => match self.txt.lock().unwrap().get(&text) {
                Some(value) => record(RData::TXT(rdata::TXT::new(vec![value.clone()]))),
                None => Vec::new(),
            },
            RecordType::CAA => match self.caa.lock().unwrap().get(&text) {
                Some(issuer) => {
                    let issuer = Name::from_ascii(issuer).unwrap();
                    record(RData::CAA(rdata::CAA::new_issue(true, Some(issuer), Vec::new())))
                }
                None => Vec::new(),
            },
            RecordType::A => record(RData::A(rdata::A(Ipv4Addr::LOCALHOST))),
            _ => Vec::new(),
        }
    }
}

pub struct Bench {
    pub sandbox: Sandbox,
    pub world: Arc<World>,
    pub client: Client,
    pub key: &'static str,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Bench {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

async fn names(world: Arc<World>, socket: UdpSocket) {
    let mut buffer = [0; 4096];
    while let Ok((length, peer)) = socket.recv_from(&mut buffer).await {
        let Ok(query) = Message::from_bytes(&buffer[..length]) else { continue };
        let mut answer = query.clone().into_response();
        let question = query.queries[0].clone();
        answer.metadata.response_code = ResponseCode::NoError;
        answer.metadata.authoritative = true;
        answer.metadata.recursion_available = true;
        answer.answers = world.answer(question.name(), question.query_type());
        socket.send_to(&answer.to_bytes().unwrap(), peer).await.unwrap();
    }
}

async fn files(State(world): State<Arc<World>>, headers: HeaderMap, uri: Uri) -> (StatusCode, String) {
    let host = headers["host"].to_str().unwrap().split(':').next().unwrap();
    match world.files.lock().unwrap().get(&format!("{host}{}", uri.path())) {
        Some(body) => (StatusCode::OK, body.clone()),
        None => (StatusCode::NOT_FOUND, String::new()),
    }
}

/// Starts everything; polling is off unless the configuration is changed.
pub async fn bench(change: impl FnOnce(&mut Config)) -> Bench {
    let world = Arc::new(World::default());
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let dns: SocketAddr = socket.local_addr().unwrap();
    let web = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let http_port = web.local_addr().unwrap().port();
    let site = Router::new().fallback(files).with_state(Arc::clone(&world));
    let tasks = vec![
        tokio::spawn(names(Arc::clone(&world), socket)),
        tokio::spawn(async move { axum::serve(web, site).await.unwrap() }),
    ];
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut config = Config {
        polling: false,
        va: va::Config {
            perspectives: vec![va::Perspective { name: "primary".to_owned(), dns: vec![dns] }],
            http_port,
            https_port: closed,
            timeout: Duration::from_secs(2),
            ..va::Config::default()
        },
        ..Config::default()
    };
    change(&mut config);
    let sandbox = Sandbox::start(config).await.unwrap();
    // No TLS is spoken here, and no proxy may stand between.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::builder().no_proxy().build().unwrap();
    Bench { sandbox, world, client, key: "sandbox", tasks }
}

impl Bench {
    pub async fn raw(&self, method: Method, path: &str, body: Option<Value>, headers: &[(&str, &str)]) -> Response {
        let url = format!("{}{path}", self.sandbox.base_url());
        let mut request = self.client.request(method, url).header("X-DC-DEVKEY", self.key);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        request.send().await.unwrap()
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let answer = self.raw(method, path, body, &[]).await;
        let status = answer.status().as_u16();
        let kind = answer.headers().get("content-type").cloned();
        let bytes = answer.bytes().await.unwrap();
        if bytes.is_empty() {
            assert_eq!(status, 204, "{path} answers nothing");
            return (status, Value::Null);
        }
        assert_eq!(kind.unwrap(), "application/json", "{path}");
        (status, serde_json::from_slice(&bytes).unwrap())
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        self.call(Method::GET, path, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.call(Method::POST, path, Some(body)).await
    }

    pub async fn put(&self, path: &str, body: Value) -> (u16, Value) {
        self.call(Method::PUT, path, Some(body)).await
    }

    pub async fn put_nothing(&self, path: &str) -> (u16, Value) {
        self.call(Method::PUT, path, None).await
    }

    /// A control endpoint; no key.
    pub async fn control(&self, method: Method, path: &str, body: Value) -> (u16, Value) {
        let url = format!("{}{path}", self.sandbox.control_url());
        let answer = self.client.request(method, url).json(&body).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default())
    }

    /// Places an order that must be accepted.
    pub async fn order(&self, names: &[&str], extra: Value) -> Value {
        let (status, body) = self.post("/order/certificate/ssl_basic", order(names, extra)).await;
        assert_eq!(status, 201, "{body}");
        body
    }
}

pub fn csr(name: &str) -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap().serialize_request(&key).unwrap().pem().unwrap()
}

/// An order's body; `extra` overrides top level fields.
#[allow(clippy::needless_pass_by_value)]
pub fn order(names: &[&str], extra: Value) -> Value {
    let mut body = json!({
        "certificate": {
            "common_name": names[0], "dns_names": names[1..], "csr": csr("csr.example.com"), "signature_hash": "sha256",
        },
        "order_validity": { "years": 1 },
        "organization": { "id": 10_001 },
        "dcv_method": "dns-txt-token",
        "skip_approval": true,
        "payment_method": "balance",
    });
    for (key, value) in extra.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

pub fn error((status, body): &(u16, Value)) -> (u16, &str) {
    (*status, body["errors"][0]["code"].as_str().unwrap_or("no error"))
}
