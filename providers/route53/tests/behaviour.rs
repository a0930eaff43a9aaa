//! The provider against two independent emulators, which disagree usefully.
//!
//! moto keeps the zones and speaks the protocol; but it takes a CREATE of what is there and a DELETE of what was there once, and its
//! changes are in sync at once. A guard before it refuses and delays these as Route 53 does, and counts what is asked. ministack
//! refuses by itself, and is asked without a guard. `tests/run` installs both.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use aws_sdk_route53::{
    Client,
    config::{BehaviorVersion, Credentials, Region},
    types::{
        Change, ChangeAction, ChangeBatch, HostedZoneConfig, ResourceRecord, ResourceRecordSet, RrType, Vpc, VpcRegion,
    },
};
use axum::{
    Router,
    body::Bytes,
    extract::{Request, State},
    http::{Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use dcv_provider::{
    DcvProvider, ErrorKind, Proof, ProofKind, conformance,
    zone::{ZoneEditor, ZoneProvider, unquote},
};
use dcv_route53::{CredentialsFrom, Editor, Route53};
use tokio::sync::Mutex;

const ZONE: &str = "r53-example.com";

/// An emulator: where `tests/run` puts it, and how it is told its port.
struct Kind {
    program: &'static str,
    arguments: fn(u16) -> Vec<String>,
    environment: fn(u16) -> Vec<(&'static str, String)>,
}

const MOTO: Kind = Kind {
    program: "target/moto/bin/moto_server",
    arguments: |port| vec!["-H".to_owned(), "127.0.0.1".to_owned(), "-p".to_owned(), port.to_string()],
    environment: |_| Vec::new(),
};
const MINISTACK: Kind = Kind {
    program: "target/ministack/bin/ministack",
    arguments: |_| Vec::new(),
    environment: |port| vec![("BIND_HOST", "127.0.0.1".to_owned()), ("GATEWAY_PORT", port.to_string())],
};

/// A running emulator; killed when dropped.
struct Emulator {
    child: Child,
    url: String,
    /// What it writes goes here.
    _folder: tempfile::TempDir,
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Emulator {
    async fn start(kind: &Kind) -> Self {
        let program = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join(kind.program);
        assert!(program.exists(), "{} is missing; tests/run installs it", program.display());
        let port =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port").local_addr().expect("it has one").port();
        let folder = tempfile::tempdir().expect("a folder");
        let mut child = Command::new(program.canonicalize().expect("a path"))
            .args((kind.arguments)(port))
            .envs((kind.environment)(port))
            .current_dir(&folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let began = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            assert!(child.try_wait().expect("its state").is_none(), "{} has died", kind.program);
            assert!(began.elapsed() < Duration::from_secs(60), "{} is not ready", kind.program);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Self { child, url: format!("http://127.0.0.1:{port}"), _folder: folder }
    }
}

/// A record set as it is in XML: TTL and values.
type Content = (String, Vec<String>);

#[derive(Default)]
struct Seen {
    batches: usize,
    largest: usize,
    polls: usize,
    bare: bool,
    /// How often a change is pending when it is asked for.
    pending: usize,
    /// What the next change is answered instead: status, code.
    refuse: Option<(u16, &'static str)>,
}

struct Guard {
    upstream: String,
    http: reqwest::Client,
    seen: Mutex<Seen>,
}

/// The texts of an element, wherever it is.
fn elements(xml: &str, name: &str) -> Vec<String> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    xml.split(&open).skip(1).filter_map(|rest| rest.split_once(&close)).map(|(text, _)| text.to_owned()).collect()
}

fn plain(xml: &str) -> String {
    xml.replace("&quot;", "\"").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

/// Name, type and content of the record sets in an XML.
fn record_sets(xml: &str) -> Vec<(String, String, Content)> {
    let first = |xml: &str, name: &str| elements(xml, name).into_iter().next().unwrap_or_default();
    elements(xml, "ResourceRecordSet")
        .iter()
        .map(|set| {
            let values = elements(set, "Value").iter().map(|value| plain(value)).collect();
            (first(set, "Name"), first(set, "Type"), (first(set, "TTL"), values))
        })
        .collect()
}

impl Guard {
    async fn current(&self, path: &str, name: &str, rtype: &str) -> Option<Content> {
        let url = format!("{}{path}?name={name}&type={rtype}&maxitems=1", self.upstream.trim_end_matches('/'));
        let request = self.http.get(url).header("Authorization", signed());
        let xml = request.send().await.expect("moto answers").text().await.expect("XML");
        record_sets(&xml).into_iter().find(|(n, t, _)| n == name && t == rtype).map(|(_, _, content)| content)
    }

    /// What Route 53 says to changes that do not fit what is there.
    async fn objections(&self, path: &str, xml: &str) -> Vec<String> {
        let mut now: HashMap<(String, String), Option<Content>> = HashMap::new();
        let mut objections = Vec::new();
        for change in elements(xml, "Change") {
            let action = elements(&change, "Action").concat();
            let (name, rtype, content) = record_sets(&change).into_iter().next().expect("a record set");
            let key = (name.clone(), rtype.clone());
            if !now.contains_key(&key) {
                now.insert(key.clone(), self.current(path, &name, &rtype).await);
            }
            let set = format!("resource record set [name='{name}', type='{rtype}']");
            match (action.as_str(), now[&key].as_ref()) {
                ("CREATE", Some(_)) => objections.push(format!("Tried to create {set} but it already exists")),
                ("CREATE", None) => drop(now.insert(key, Some(content))),
                ("DELETE", None) => objections.push(format!("Tried to delete {set} but it was not found")),
                ("DELETE", Some(there)) if *there == content => drop(now.insert(key, None)),
                ("DELETE", Some(_)) => objections
                    .push(format!("Tried to delete {set} but the values provided do not match the current values")),
                (other, _) => panic!("the provider must not {other}"),
            }
        }
        objections
    }
}

fn signed() -> &'static str {
    "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/route53/aws4_request, SignedHeaders=host, Signature=0"
}

fn xml(status: u16, body: String) -> Response {
    (StatusCode::from_u16(status).expect("a status"), [(header::CONTENT_TYPE, "text/xml")], body).into_response()
}

async fn pass(State(guard): State<Arc<Guard>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body: Bytes = axum::body::to_bytes(body, 1 << 22).await.expect("a body");
    let text = String::from_utf8_lossy(&body).into_owned();
    // One at a time, as Route 53 takes the changes of a zone.
    let mut seen = guard.seen.lock().await;
    let path = parts.uri.path();
    if parts.method == Method::POST && path.trim_end_matches('/').ends_with("/rrset") {
        if let Some((status, code)) = seen.refuse.take() {
            let error = format!("<Error><Type>Sender</Type><Code>{code}</Code><Message>as asked</Message></Error>");
            return xml(status, format!("<ErrorResponse>{error}<RequestId>1</RequestId></ErrorResponse>"));
        }
        let objections = guard.objections(path, &text).await;
        if !objections.is_empty() {
            // Route 53 has been seen to say it in both ways.
            seen.bare = !seen.bare;
            let body = if seen.bare {
                let messages = objections.join("</Message><Message>");
                format!("<InvalidChangeBatch><Messages><Message>{messages}</Message></Messages></InvalidChangeBatch>")
            } else {
                let message = format!("<Message>[{}]</Message>", objections.join(", "));
                let error = format!("<Error><Type>Sender</Type><Code>InvalidChangeBatch</Code>{message}</Error>");
                format!("<ErrorResponse>{error}<RequestId>1</RequestId></ErrorResponse>")
            };
            return xml(400, body);
        }
        seen.batches += 1;
        seen.largest = seen.largest.max(elements(&text, "Change").len());
    }
    if path.contains("/change/") {
        seen.polls += 1;
        if seen.polls <= seen.pending {
            let info = "<ChangeInfo><Id>/change/C1</Id><Status>PENDING</Status><SubmittedAt>2026-01-01T00:00:00Z</SubmittedAt></ChangeInfo>";
            return xml(200, format!("<GetChangeResponse>{info}</GetChangeResponse>"));
        }
    }
    let mut headers = parts.headers;
    headers.remove(header::HOST);
    headers.remove(header::CONTENT_LENGTH);
    let uri = format!("{}{}", guard.upstream, parts.uri);
    let answer = guard.http.request(parts.method, uri).headers(headers).body(body).send().await.expect("moto answers");
    let status = answer.status().as_u16();
    xml(status, answer.text().await.expect("XML"))
}

struct World {
    _emulator: Emulator,
    guard: Arc<Guard>,
    /// Through the guard, if there is one.
    url: String,
    /// Past it.
    aws: Client,
    zone_id: String,
}

impl World {
    async fn start() -> Self {
        Self::start_on(&MOTO, true).await
    }

    async fn start_on(kind: &Kind, guarded: bool) -> Self {
        let emulator = Emulator::start(kind).await;
        let editor = aws_sdk_route53::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::from_static("us-east-1"))
            .credentials_provider(Credentials::new("test", "test", None, None, "test"))
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .endpoint_url(&emulator.url);
        let aws = Client::from_conf(editor.build());
        // The private twin comes first and last.
        make_zone(&aws, ZONE, true).await;
        let zone_id = make_zone(&aws, ZONE, false).await;
        make_zone(&aws, &format!("only-inside.{ZONE}"), true).await;
        make_zone(&aws, "other-example.net", false).await;
        make_zone(&aws, ZONE, true).await;
        // Only fails when a provider is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().build().expect("a client");
        let guard = Arc::new(Guard { upstream: emulator.url.clone(), http, seen: Mutex::default() });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let front = format!("http://{}", listener.local_addr().expect("an address"));
        let url = if guarded { front } else { emulator.url.clone() };
        let app = Router::new().fallback(pass).with_state(Arc::clone(&guard));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { _emulator: emulator, guard, url, aws, zone_id }
    }

    async fn editor(&self) -> Editor {
        let key = CredentialsFrom::Fixed("test".to_owned(), "planted-key".to_owned().into());
        Editor::new(key, Some(&self.url)).await
    }

    async fn instance(&self) -> Route53 {
        ZoneProvider::new(self.editor().await, None)
    }

    async fn set(&self, name: &str, rtype: RrType, value: &str) {
        let record = ResourceRecord::builder().value(value).build().expect("a record");
        let set = ResourceRecordSet::builder().name(format!("{name}.")).r#type(rtype).ttl(300).resource_records(record);
        let change = Change::builder().action(ChangeAction::Upsert).resource_record_set(set.build().expect("a set"));
        let batch = ChangeBatch::builder().changes(change.build().expect("a change")).build().expect("a batch");
        let request = self.aws.change_resource_record_sets().hosted_zone_id(&self.zone_id).change_batch(batch);
        request.send().await.expect("it is set");
    }
}

async fn make_zone(aws: &Client, name: &str, private: bool) -> String {
    static CALLS: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let call = CALLS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let mut request = aws.create_hosted_zone().name(name).caller_reference(format!("{name}-{call}"));
    if private {
        request = request
            .hosted_zone_config(HostedZoneConfig::builder().private_zone(true).build())
            .vpc(Vpc::builder().vpc_id(format!("vpc-{call:08}")).vpc_region(VpcRegion::UsEast1).build());
    }
    let made = request.send().await.expect("a zone");
    made.hosted_zone().expect("it is told").id().trim_start_matches("/hostedzone/").to_owned()
}

#[async_trait]
impl conformance::World for World {
    async fn provider(&self) -> Box<dyn DcvProvider> {
        Box::new(self.instance().await)
    }
    fn name(&self, n: usize) -> String {
        format!("n{n}.{ZONE}")
    }
    fn unserved_name(&self) -> Option<String> {
        Some("www.unserved-example.org".to_owned())
    }
    async fn values(&self, kind: ProofKind, name: &str) -> Vec<String> {
        let rtype = if kind == ProofKind::Txt { RrType::Txt } else { RrType::Cname };
        let request = self.aws.list_resource_record_sets().hosted_zone_id(&self.zone_id);
        let request = request.start_record_name(format!("{name}.")).start_record_type(rtype.clone()).max_items(1);
        let page = request.send().await.expect("a page");
        let sets = page.resource_record_sets().iter();
        let here = sets.filter(|set| set.name().trim_end_matches('.') == name && *set.r#type() == rtype);
        here.flat_map(ResourceRecordSet::resource_records)
            .map(|record| match kind {
                ProofKind::Txt => String::from_utf8(unquote(record.value())).expect("text"),
                _ => record.value().trim_end_matches('.').to_owned(),
            })
            .collect()
    }
    async fn plant(&self, kind: ProofKind, name: &str, value: &str) -> bool {
        match kind {
            ProofKind::Txt => self.set(name, RrType::Txt, &format!("\"{value}\"")).await,
            _ => self.set(name, RrType::Cname, value).await,
        }
        true
    }
}

fn hundred() -> Vec<Proof> {
    let proof = |n| Proof::Txt { name: format!("_dnsauth.h{n}.{ZONE}"), value: "v".to_owned() };
    (0..100).map(proof).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_behaves() {
    let world = World::start().await;
    conformance::run(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_behaves_on_an_emulator_that_refuses_by_itself() {
    conformance::run(&World::start_on(&MINISTACK, false).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_names_are_one_batch_each_way_and_watched_until_in_sync() {
    let world = World::start().await;
    world.guard.seen.lock().await.pending = 2;
    let provider = world.instance().await;
    provider.present(&hundred()).await.expect("they are presented");
    assert_eq!(world.guard.seen.lock().await.polls, 3, "pending, pending, in sync");
    provider.present(&hundred()).await.expect("they are there");
    provider.retract(&hundred()).await.expect("they are retracted");
    let seen = world.guard.seen.lock().await;
    assert_eq!((seen.batches, seen.largest, seen.polls), (2, 100, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn private_twins_are_never_chosen_and_public_ones_are_asked_about() {
    let world = World::start().await;
    let editor = world.editor().await;
    for name in [format!("a.{ZONE}"), format!("a.only-inside.{ZONE}")] {
        let zone = editor.find_zone(&name).await.expect("an answer").expect("a zone");
        assert_eq!((zone.apex.as_str(), &zone.id), (ZONE, &world.zone_id));
    }
    let twin = make_zone(&world.aws, ZONE, false).await;
    let error = world.editor().await.find_zone(ZONE).await.expect_err("which one?");
    assert_eq!(error.kind, ErrorKind::Config);
    assert!(error.to_string().contains(&twin) && error.to_string().contains(&world.zone_id), "{error}");
    let told = world.editor().await.with_zones([(ZONE.to_owned(), world.zone_id.clone())]);
    assert_eq!(told.find_zone(ZONE).await.expect("an answer").map(|zone| zone.id), Some(world.zone_id.clone()));
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_keep_their_code_and_hide_the_key() {
    let world = World::start().await;
    let provider = world.instance().await;
    for (status, code, kind) in [
        (400, "Throttling", ErrorKind::RateLimited),
        (400, "PriorRequestNotComplete", ErrorKind::RateLimited),
        (403, "AccessDenied", ErrorKind::Credentials),
        (503, "ServiceUnavailable", ErrorKind::Unavailable),
    ] {
        world.guard.seen.lock().await.refuse = Some((status, code));
        let error = provider.present(&hundred()).await.expect_err(code);
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.to_string().contains(code) && !error.to_string().contains("planted"), "{error}");
    }
    provider.present(&hundred()).await.expect("later it works");
}

#[tokio::test]
async fn nobody_there_is_told_in_one_line() {
    let key = CredentialsFrom::Fixed("test".to_owned(), "planted-key".to_owned().into());
    let editor = Editor::new(key, Some("http://127.0.0.1:1")).await;
    let error = editor.find_zone(ZONE).await.expect_err("nobody listens");
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("ListHostedZones") && !error.to_string().contains('\n'), "{error}");
    assert!(!format!("{error} {editor:?}").contains("planted"), "{error}");
}
