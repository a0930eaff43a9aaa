//! A server for lego's `httpreq` provider, on loopback.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
    routing::post,
};
use dcv_bridge::httpreq::{DESCRIPTOR, from_config};
use dcv_provider::{DcvProvider, ErrorKind, ProofKind, Retry, conformance};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::{config, txt};

/// A request as it came.
#[derive(Clone, Debug)]
struct Heard {
    path: String,
    headers: HeaderMap,
    body: Value,
}

/// Keeps records as it is told to, and what it was told.
#[derive(Default)]
struct Kept {
    records: BTreeMap<String, Vec<String>>,
    heard: Vec<Heard>,
    /// What it answers instead.
    refuses: Option<(StatusCode, &'static str)>,
}

struct Server {
    address: SocketAddr,
    kept: Arc<Mutex<Kept>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn told(State(kept): State<Arc<Mutex<Kept>>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let mut kept = kept.lock().expect("no panic");
    let body: Value = serde_json::from_slice(&body).expect("JSON");
    kept.heard.push(Heard { path: uri.path().to_owned(), headers, body: body.clone() });
    if let Some(refusal) = kept.refuses {
        return refusal.into_response();
    }
    let (Some(name), Some(value)) = (body["fqdn"].as_str(), body["value"].as_str()) else {
        return StatusCode::OK.into_response();
    };
    let values = kept.records.entry(name.to_owned()).or_default();
    values.retain(|there| there != value);
    if uri.path().ends_with("/present") {
        values.push(value.to_owned());
    }
    "done".into_response()
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it has one");
        let kept = Arc::<Mutex<Kept>>::default();
        let routes = Router::new()
            .route("/hooks/present", post(told))
            .route("/hooks/cleanup", post(told))
            .with_state(Arc::clone(&kept));
        let task = tokio::spawn(async move { axum::serve(listener, routes).await.expect("it serves") });
        Self { address, kept, task }
    }

    async fn instance(&self, more: &str) -> Box<dyn DcvProvider> {
        let toml = format!("endpoint = 'http://{}/hooks/'\n{more}", self.address);
        Box::new(from_config(config(&toml), None).await.expect("it is set up"))
    }

    fn heard(&self) -> Vec<Heard> {
        self.kept.lock().expect("no panic").heard.clone()
    }

    fn refuse(&self, status: StatusCode, body: &'static str) {
        self.kept.lock().expect("no panic").refuses = Some((status, body));
    }
}

#[async_trait]
impl conformance::World for Server {
    async fn provider(&self) -> Box<dyn DcvProvider> {
        self.instance("").await
    }
    fn name(&self, n: usize) -> String {
        format!("n{n}.example.com")
    }
    fn unserved_name(&self) -> Option<String> {
        None
    }
    async fn values(&self, _: ProofKind, name: &str) -> Vec<String> {
        self.kept.lock().expect("no panic").records.get(&format!("{name}.")).cloned().unwrap_or_default()
    }
    async fn plant(&self, _: ProofKind, name: &str, value: &str) -> bool {
        let mut kept = self.kept.lock().expect("no panic");
        kept.records.entry(format!("{name}.")).or_default().push(value.to_owned());
        true
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_behaves() {
    conformance::run(&Server::start().await).await;
}

/// The bodies are those of lego's documentation of `httpreq`.
#[tokio::test]
async fn the_server_hears_what_lego_would_say() {
    let server = Server::start().await;
    let proofs = [txt("_dnsauth.example.com", "LHDhK3oGRvkiefQnx7OOczTY5Tic_xZ6HcMOc_gmtoM")];
    let provider = server.instance("username = 'lego'\npassword = 'secret'").await;
    let place = &provider.preflight(&proofs).await.expect("it is there")[0];
    assert_eq!(
        (place.target.as_str(), place.within.clone()),
        ("_dnsauth.example.com TXT", format!("{} (httpreq)", server.address))
    );
    assert!(server.heard().is_empty(), "a preflight posts nothing");
    provider.present(&proofs).await.expect("presented");
    provider.retract(&proofs).await.expect("retracted");
    let raw = server.instance("mode = 'RAW'").await;
    raw.present(&proofs).await.expect("presented");

    let heard = server.heard();
    let paths: Vec<&str> = heard.iter().map(|heard| heard.path.as_str()).collect();
    assert_eq!(paths, ["/hooks/present", "/hooks/cleanup", "/hooks/present"]);
    let record = json!({ "fqdn": "_dnsauth.example.com.", "value": "LHDhK3oGRvkiefQnx7OOczTY5Tic_xZ6HcMOc_gmtoM" });
    assert_eq!((&heard[0].body, &heard[1].body), (&record, &record));
    assert_eq!(heard[0].headers["content-type"], "application/json");
    // base64 of lego:secret
    assert_eq!(heard[0].headers["authorization"], "Basic bGVnbzpzZWNyZXQ=");
    let raw = json!({
        "domain": "example.com", "token": "_dnsauth", "keyAuth": "LHDhK3oGRvkiefQnx7OOczTY5Tic_xZ6HcMOc_gmtoM"
    });
    assert_eq!(heard[2].body, raw);
    assert!(!heard[2].headers.contains_key("authorization"));
}

#[tokio::test]
async fn refusals_have_a_kind_and_keep_the_password() {
    let server = Server::start().await;
    let provider = server.instance("username = 'lego'\npassword = 'planted-word'").await;
    let proofs = [txt("_dnsauth.example.com", "v")];
    for (status, kind, retry) in [
        (StatusCode::UNAUTHORIZED, ErrorKind::Credentials, Retry::No),
        (StatusCode::UNPROCESSABLE_ENTITY, ErrorKind::Rejected, Retry::No),
        (StatusCode::NOT_FOUND, ErrorKind::NotServed, Retry::No),
        (StatusCode::BAD_GATEWAY, ErrorKind::Unavailable, Retry::Yes),
    ] {
        server.refuse(status, "no: planted-word bGVnbzpwbGFudGVkLXdvcmQ=");
        let error = provider.present(&proofs).await.expect_err("refused");
        assert_eq!((error.kind, error.retry), (kind, retry), "{error}");
        let text = format!("{error} {error:?} {provider:?}", provider = provider.descriptor());
        assert!(text.contains(status.as_str()) && text.contains("no: [hidden] [hidden]"), "{text}");
        assert!(text.contains("_dnsauth.example.com") && !text.contains("planted"), "{text}");
    }
    let address = server.address;
    drop(server);
    let toml = format!("endpoint = 'http://{address}'\ndeadline = 5");
    let away = from_config(config(&toml), None).await.expect("it is set up");
    let error = away.preflight(&proofs).await.expect_err("nobody is there");
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
}

#[tokio::test]
async fn mistakes_in_the_configuration_are_named() {
    for (toml, part) in [
        ("endpoint = 'dns.example.com'", "endpoint: `dns.example.com`"),
        ("endpoint = 'https://a'\nusername = 'u'", "password: "),
        ("endpoint = 'https://a'\npassword = 'planted'", "username: "),
        ("endpoint = 'https://a'\ndeadline = 31", "deadline: 31"),
    ] {
        let error = from_config(config(toml), None).await.expect_err(toml);
        assert_eq!(error.kind, ErrorKind::Config, "{error}");
        assert!(error.to_string().contains(part) && !error.to_string().contains("planted"), "{error}");
    }
    let all = "endpoint = 'https://a'\nmode = 'RAW'\nusername = 'u'\npassword = 'p'\ndeadline = 10";
    from_config(config(all), None).await.expect("lego's mode is understood");
    // A secret under a second name would be in a file that others read, and nobody would see.
    let second_name = "endpoint = 'https://a'\nHTTPREQ_PASSWORD = 'p'";
    toml::from_str::<dcv_bridge::httpreq::Config>(second_name).expect_err("lego's variables are none of its fields");
    let example = DESCRIPTOR.example.replacen("type = \"httpreq\"\n", "", 1);
    config::<dcv_bridge::httpreq::Config>(&example);
}
