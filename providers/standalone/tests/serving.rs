//! What a client of the built-in web server sees.

use std::{net::SocketAddr, time::Duration};

use dcv_provider::{DcvProvider, ErrorKind, Proof};
use dcv_standalone::{Config, DESCRIPTOR, Standalone};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Instant, timeout},
};

const PATH: &str = "/.well-known/pki-validation/fileauth.txt";

fn proof(host: &str, body: &str) -> Proof {
    Proof::File { host: host.to_owned(), path: PATH.to_owned(), body: body.to_owned() }
}

fn standalone(listen: &str) -> Standalone {
    Standalone::new(Config { listen: vec![listen.parse().unwrap()] }).unwrap()
}

/// Sends these octets and reads until the server closes.
async fn talk(addr: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A reset instead of an orderly end is fine where the server refuses to read on.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

/// Status and body.
async fn fetch(addr: SocketAddr, method: &str, target: &str, host: &str) -> (u16, String) {
    let answer = talk(addr, &format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    assert!(head.to_ascii_lowercase().contains("content-type: text/plain"), "{head}");
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

async fn get(addr: SocketAddr, host: &str) -> (u16, String) {
    fetch(addr, "GET", PATH, host).await
}

#[tokio::test]
async fn the_server_lives_as_long_as_there_are_proofs() {
    let provider = standalone("127.0.0.1:0");
    let (a, b) = ([proof("a.com", "aaa")], [proof("b.com", "bbb")]);
    let places = provider.preflight(&a).await.unwrap();
    assert_eq!(places[0].target, "http://a.com/.well-known/pki-validation/fileauth.txt");
    assert!(provider.local_addrs().await.is_empty(), "preflight gives the port back");
    provider.retract(&a).await.unwrap();

    provider.present(&a).await.unwrap();
    let addr = provider.local_addrs().await[0];
    assert_eq!(get(addr, "a.com").await, (200, "aaa".to_owned()));
    provider.preflight(&b).await.unwrap();
    provider.clone().present(&b).await.unwrap();
    provider.present(&b).await.unwrap();
    assert_eq!(provider.local_addrs().await, [addr]);
    assert_eq!(get(addr, "b.com").await, (200, "bbb".to_owned()));

    provider.retract(&a).await.unwrap();
    assert_eq!(get(addr, "a.com").await.0, 404);
    assert_eq!(get(addr, "b.com").await.0, 200);
    provider.retract(&b).await.unwrap();
    provider.retract(&b).await.unwrap();
    assert!(provider.local_addrs().await.is_empty());
    let error = TcpStream::connect(addr).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);

    // The same port at once again, by us and by others.
    let again = standalone(&addr.to_string());
    again.present(&a).await.unwrap();
    assert_eq!(get(addr, "a.com").await.0, 200);
    drop(again);
    let deadline = Instant::now() + Duration::from_secs(5);
    while TcpStream::connect(addr).await.is_ok() {
        assert!(Instant::now() < deadline, "dropping the provider stops the server");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn host_and_path_are_matched_exactly_as_a_web_server_does() {
    let provider = standalone("127.0.0.1:0");
    provider.present(&[proof("Example.com", "token")]).await.unwrap();
    let addr = provider.local_addrs().await[0];
    for host in ["example.com", "EXAMPLE.com", "example.com:80", "example.com:8080", "example.com.", "example.com.:80"]
    {
        assert_eq!(get(addr, host).await, (200, "token".to_owned()), "{host}");
    }
    for host in ["www.example.com", "example.org", "", "example.com:x", "xexample.com", "127.0.0.1"] {
        assert_eq!(get(addr, host).await.0, 404, "{host}");
    }
    for target in ["/", "/fileauth.txt", &PATH.to_uppercase(), &format!("{PATH}/"), &format!("/x/..{PATH}"), "*"] {
        assert_eq!(fetch(addr, "GET", target, "example.com").await.0, 404, "{target}");
    }
    assert_eq!(fetch(addr, "GET", &format!("{PATH}?x=1"), "example.com").await.0, 200);
    // The absolute form: the request line's host counts.
    assert_eq!(fetch(addr, "GET", &format!("http://example.com{PATH}"), "other.com").await.0, 200);
    assert_eq!(fetch(addr, "GET", &format!("http://other.com{PATH}"), "example.com").await.0, 404);
    assert_eq!(fetch(addr, "HEAD", PATH, "example.com").await, (200, String::new()));
    assert_eq!(fetch(addr, "POST", PATH, "example.com").await.0, 405);
    assert_eq!(fetch(addr, "POST", "/", "example.com").await.0, 404);
    let old = talk(addr, &format!("GET {PATH} HTTP/1.0\r\n\r\n")).await;
    assert!(old.starts_with("HTTP/1.0 404"), "{old}");
    provider.retract(&[proof("example.com", "token")]).await.unwrap();
}

#[tokio::test]
async fn orders_for_one_host_have_their_values_side_by_side() {
    let provider = standalone("127.0.0.1:0");
    provider.present(&[proof("a.com", "first"), proof("a.com", "second"), proof("a.com", "first")]).await.unwrap();
    let addr = provider.local_addrs().await[0];
    assert_eq!(get(addr, "a.com").await.1, "first\nsecond");
    provider.retract(&[proof("a.com", "first")]).await.unwrap();
    assert_eq!(get(addr, "a.com").await.1, "second");
    provider.retract(&[proof("a.com", "third"), proof("b.com", "second")]).await.unwrap();
    assert_eq!(get(addr, "a.com").await.1, "second");
    provider.retract(&[proof("a.com", "second")]).await.unwrap();
}

#[tokio::test]
async fn a_port_in_use_is_named_before_anything_is_ordered() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = taken.local_addr().unwrap();
    let provider = standalone(&addr.to_string());
    let proofs = [proof("a.com", "aaa")];
    for error in [provider.preflight(&proofs).await.unwrap_err(), provider.present(&proofs).await.unwrap_err()] {
        assert_eq!(error.kind, ErrorKind::Unavailable);
        assert!(error.message.contains(&format!("cannot use {addr}: another program has the port")), "{error}");
    }
    assert!(provider.local_addrs().await.is_empty());
    drop(taken);
    // Nothing of the failed call has stayed.
    provider.present(&[proof("b.com", "bbb")]).await.unwrap();
    assert_eq!(get(addr, "a.com").await.0, 404);
    provider.retract(&[proof("b.com", "bbb")]).await.unwrap();

    let elsewhere = standalone("192.0.2.1:0");
    assert_eq!(elsewhere.preflight(&proofs).await.unwrap_err().kind, ErrorKind::Config);
}

#[tokio::test]
async fn one_port_on_both_families() {
    let Ok(free) = TcpListener::bind("[::1]:0").await else { return };
    let port = free.local_addr().unwrap().port();
    drop(free);
    let listen = vec![SocketAddr::from(([127, 0, 0, 1], port)), format!("[::]:{port}").parse().unwrap()];
    let provider = Standalone::new(Config { listen }).unwrap();
    provider.present(&[proof("a.com", "aaa")]).await.unwrap();
    for addr in provider.local_addrs().await {
        assert_eq!(get(addr, "a.com").await.0, 200, "{addr}");
    }
    assert_eq!(provider.local_addrs().await.len(), 2);
    provider.retract(&[proof("a.com", "aaa")]).await.unwrap();
}

#[tokio::test]
async fn slow_and_greedy_clients_hinder_nobody() {
    let provider = standalone("127.0.0.1:0");
    let proofs = [proof("a.com", "aaa")];
    provider.present(&proofs).await.unwrap();
    let addr = provider.local_addrs().await[0];
    let mut slow = Vec::new();
    for _ in 0..100 {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHo").await.unwrap();
        slow.push(stream);
    }
    assert_eq!(get(addr, "a.com").await.0, 200);
    let huge = talk(addr, &format!("GET / HTTP/1.1\r\nHost: a.com\r\nX: {}\r\n\r\n", "x".repeat(100_000))).await;
    assert!(huge.is_empty() || huge.starts_with("HTTP/1.1 4"), "{huge}");
    let broken = talk(addr, "\0\0\0\0 nonsense\r\n\r\n").await;
    assert!(broken.is_empty() || broken.starts_with("HTTP/1.1 400"), "{broken}");
    assert_eq!(get(addr, "a.com").await.0, 200);

    // The slow ones are cut off, even with no one asking to stop.
    let first = &mut slow[0];
    let mut rest = Vec::new();
    let end = timeout(Duration::from_secs(9), first.read_to_end(&mut rest)).await;
    assert!(end.is_ok(), "a client that does not finish its request is cut off");

    // One that comes now does not keep the server from stopping.
    let mut late = TcpStream::connect(addr).await.unwrap();
    late.write_all(b"GET / HTTP/1.1\r\nHo").await.unwrap();
    let before = Instant::now();
    provider.retract(&proofs).await.unwrap();
    assert!(before.elapsed() < Duration::from_secs(3), "{:?}", before.elapsed());
    TcpListener::bind(addr).await.expect("the port is free");
}

#[tokio::test]
async fn only_files_can_be_served() {
    let provider = standalone("127.0.0.1:0");
    let txt = [Proof::Txt { name: "a.com".into(), value: "x".into() }];
    assert_eq!(provider.preflight(&txt).await.unwrap_err().kind, ErrorKind::Unsupported);
    assert_eq!(provider.present(&txt).await.unwrap_err().kind, ErrorKind::Unsupported);
    let path = [Proof::File { host: "a.com".into(), path: "x".into(), body: "x".into() }];
    assert_eq!(provider.present(&path).await.unwrap_err().kind, ErrorKind::Rejected);
    assert!(provider.local_addrs().await.is_empty());
    provider.present(&[]).await.unwrap();
    assert!(provider.local_addrs().await.is_empty());
}

#[test]
fn the_configuration_is_read_strictly() {
    let read = |text: &str| toml::from_str::<Config>(text).map_err(|e| e.to_string());
    assert_eq!(read("").unwrap(), Config::default());
    assert_eq!(read("listen = \"127.0.0.1:8080\"").unwrap().listen.len(), 1);
    assert_eq!(read("listen = [\"127.0.0.1:8080\", \"[::1]:8080\"]").unwrap().listen.len(), 2);
    for (text, expected) in
        [("listen = \":80\"", "such as"), ("listen = 80", "such as"), ("port = 80", "unknown field")]
    {
        let error = read(text).unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
    }
    let error = Standalone::new(read("listen = []").unwrap()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Config);
    let example: toml::Table = toml::from_str(DESCRIPTOR.example).unwrap();
    assert_eq!(example["type"].as_str(), Some(DESCRIPTOR.id));
}
