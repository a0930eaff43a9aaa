//! Every service against a server that others have written. A server that is missing fails its test, and says what to install.

mod servers;

use std::{
    collections::HashMap,
    path::PathBuf,
    process::{Command, Stdio},
    sync::{
        Arc, Once,
        atomic::{AtomicUsize, Ordering},
    },
    time::SystemTime,
};

use async_trait::async_trait;
use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::IntoResponse,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use dcv_provider::{DcvProvider, ErrorKind, Proof, ProofKind, Result, conformance};
use dcv_storage::{Config, Storage};
use reqwest::{Client, Method, Response};
use servers::{PASSWORD, Place, Server, USER};
use tokio::{net::TcpListener, sync::Mutex};

const PATH: &str = "/.well-known/pki-validation/fileauth.txt";
const SITE: &str = "site";

fn proof(host: &str, body: &str) -> Proof {
    Proof::File { host: host.to_owned(), path: PATH.to_owned(), body: body.to_owned() }
}

async fn storage(config: &str) -> Storage {
    let config: Config = toml::from_str(config).expect(config);
    dcv_storage::from_config(config).await.expect("a provider")
}

fn fails<T>(result: Result<T>, kind: ErrorKind, parts: &[&str]) {
    let Err(error) = result else { panic!("expected {kind:?} with {parts:?}") };
    let text = error.to_string();
    assert_eq!(error.kind, kind, "{text}");
    for part in parts {
        assert!(text.contains(part), "no `{part}` in: {text}");
    }
    assert!(!format!("{error:?} {text}").contains("planted"), "a secret shows: {error:?}");
    assert!(!text.contains('\n'), "one line: {text}");
}

/// A client of the tests' own.
fn client() -> Client {
    static RING: Once = Once::new();
    RING.call_once(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    Client::builder().no_proxy().build().expect("a client")
}

/// How a test looks at a service with eyes of its own.
#[async_trait]
trait View: Send + Sync {
    /// A configuration, with `root` as it is to be.
    fn config(&self, root: &str) -> String;
    async fn get(&self, key: &str) -> Option<Response>;
    async fn put(&self, key: &str, body: &str);
}

struct Objects<V>(V);

#[async_trait]
impl<V: View> conformance::World for Objects<V> {
    async fn provider(&self) -> Box<dyn DcvProvider> {
        Box::new(storage(&self.0.config("sites/{host}")).await)
    }
    fn name(&self, n: usize) -> String {
        format!("n{n}.store-example.com")
    }
    fn unserved_name(&self) -> Option<String> {
        None
    }
    async fn values(&self, _: ProofKind, name: &str) -> Vec<String> {
        let Some(response) = self.0.get(&format!("sites/{name}{PATH}")).await else { return Vec::new() };
        let content_type = response.headers()["content-type"].to_str().expect("text");
        assert!(content_type.starts_with("text/plain"), "{content_type}");
        vec![response.text().await.expect("text")]
    }
    async fn plant(&self, _: ProofKind, name: &str, value: &str) -> bool {
        self.0.put(&format!("sites/{name}{PATH}"), value).await;
        true
    }
}

async fn found(response: reqwest::Result<Response>) -> Option<Response> {
    let response = response.expect("an answer");
    let status = response.status();
    assert!(status.is_success() || status == 404, "{status}: {}", response.text().await.unwrap_or_default());
    (status != 404).then_some(response)
}

async fn done(response: reqwest::Result<Response>) {
    let response = response.expect("an answer");
    let status = response.status();
    assert!(status.is_success(), "{status}: {}", response.text().await.unwrap_or_default());
}

/// What every object store has to do beyond the conformance suite.
async fn objects_behave<V: View>(view: V) {
    let world = Objects(view);
    conformance::run(&world).await;
    let view = &world.0;

    // Several names may share one object, and what others put there survives to the octet, with its type.
    let shared = storage(&view.config("")).await;
    view.put(&PATH[1..], "theirs\r\n\n").await;
    let (a, b) = ([proof("a.example.com", "aaa")], [proof("b.example.com", "bbb")]);
    shared.present(&[a[0].clone(), b[0].clone()]).await.expect("presented");
    let response = view.get(&PATH[1..]).await.expect("it is there");
    assert_eq!(response.text().await.expect("text"), "bbb\naaa\ntheirs\r\n\n");
    shared.retract(&a).await.expect("retracted");
    shared.retract(&[proof("b.example.com", "bb")]).await.expect("part of a value is not the value");
    shared.retract(&b).await.expect("retracted");
    let response = view.get(&PATH[1..]).await.expect("it is there");
    assert_eq!(response.text().await.expect("text"), "theirs\r\n\n");

    // Nothing is kept by a CDN.
    let fresh = storage(&view.config("fresh")).await;
    fresh.present(&a).await.expect("presented");
    let response = view.get(&format!("fresh{PATH}")).await.expect("it is there");
    assert_eq!(response.headers()["cache-control"], "no-store");

    // A large object is not touched.
    view.put(&format!("large{PATH}"), &"x".repeat(100_000)).await;
    let large = storage(&view.config("large")).await;
    fails(large.present(&a).await, ErrorKind::Rejected, &["large/.well-known", "65536", "a.example.com"]);

    // Other processes at the same object: each is told that it was too late, and does it anew.
    racers(&view.config("race"), 6).await;
    let response = view.get(&format!("race{PATH}")).await.expect("it is there");
    let body = response.text().await.expect("text");
    let mut lines: Vec<&str> = body.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["racer-0", "racer-1", "racer-2", "racer-3", "racer-4", "racer-5"]);
}

/// Lets so many processes present a value each at the same time.
async fn racers(config: &str, count: usize) {
    let this = std::env::current_exe().expect("this program");
    let start = |n: usize| {
        tokio::process::Command::new(&this)
            .args(["--exact", "a_racer", "--ignored", "--nocapture"])
            .env("DCV_TEST_CONFIG", config)
            .env("DCV_TEST_VALUE", format!("racer-{n}"))
            .kill_on_drop(true)
            .output()
    };
    for output in futures_util::future::join_all((0..count).map(start)).await {
        let output = output.expect("it runs");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
    }
}

#[tokio::test]
#[ignore = "run by other tests, as a process of its own"]
async fn a_racer() {
    let config = std::env::var("DCV_TEST_CONFIG").expect("run by a test");
    let value = std::env::var("DCV_TEST_VALUE").expect("run by a test");
    storage(&config).await.present(&[proof("race.example.com", &value)]).await.expect("presented");
}

/// A front of an emulator whose look at a condition and write are not one: it lets requests through one by one. For Google's it
/// holds generations against uploads in two steps and removals, which fake-gcs-server takes as they come ("Request preconditions").
/// And it keeps count of writes that depend on nothing, which the provider must not send.
#[derive(Clone)]
struct Guard {
    upstream: u16,
    client: Client,
    /// Held for a request: the generations that uploads wait for.
    uploads: Arc<Mutex<HashMap<String, Condition>>>,
    careless: Arc<AtomicUsize>,
}

/// An object as a query names it, and the generation that it must have; "0" if it must not be there.
type Condition = (String, String);

fn parameter(query: &str, name: &str) -> Option<String> {
    query.split(['?', '&']).find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned)
}

impl Guard {
    /// Starts it; gives its port.
    async fn before(server: &Server) -> (Self, u16) {
        let guard = Self { upstream: server.port, client: client(), uploads: Arc::default(), careless: Arc::default() };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("it has one").port();
        let router = axum::Router::new().fallback(Self::pass).with_state(guard.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (guard, port)
    }

    async fn pass(State(guard): State<Self>, request: Request) -> axum::response::Response {
        let (parts, body) = request.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.expect("a body");
        let path = parts.uri.path_and_query().expect("a path").as_str();
        let mut uploads = guard.uploads.lock().await;
        let upload = parameter(path, "upload_id").and_then(|id| uploads.remove(&id));
        let generation = parameter(path, "ifGenerationMatch");
        let conditional = ["if-match", "if-none-match"].iter().any(|name| parts.headers.contains_key(*name));
        let writes = [Method::PUT, Method::POST, Method::DELETE].contains(&parts.method);
        if writes && !conditional && upload.is_none() && generation.is_none() {
            guard.careless.fetch_add(1, Ordering::Relaxed);
        }
        let removal = (parts.method == Method::DELETE).then(|| {
            let object = parts.uri.path().rsplit('/').next().unwrap_or_default();
            Some((object.to_owned(), generation.clone()?))
        });
        for (object, expected) in upload.into_iter().chain(removal.flatten()) {
            if guard.generation(&object).await != expected {
                return StatusCode::PRECONDITION_FAILED.into_response();
            }
        }
        let url = format!("http://127.0.0.1:{}{path}", guard.upstream);
        let answer = guard.client.request(parts.method.clone(), url).headers(parts.headers).body(body).send().await;
        let answer = answer.expect("the emulator answers");
        let (status, headers) = (answer.status(), answer.headers().clone());
        if let (Some(name), Some(generation), Some(location)) =
            (parameter(path, "name"), generation, headers.get("location"))
        {
            let id = parameter(location.to_str().expect("text"), "upload_id").expect("an upload");
            uploads.insert(id, (name, generation));
        }
        let body = answer.bytes().await.expect("a body");
        (status, headers, body).into_response()
    }

    async fn generation(&self, object: &str) -> String {
        let url = format!("http://127.0.0.1:{}/storage/v1/b/{SITE}/o/{object}", self.upstream);
        let Some(response) = found(self.client.get(url).send().await).await else { return "0".to_owned() };
        let text = response.text().await.expect("text");
        let (_, rest) = text.split_once("\"generation\":\"").expect("a generation");
        rest.split('"').next().expect("its value").to_owned()
    }

    fn saw_no_careless_write(&self) {
        assert_eq!(self.careless.load(Ordering::Relaxed), 0, "writes that depend on nothing");
    }
}

// ---- S3

struct S3(Server, u16);

/// moto asks for a signature and does not look at it.
const SIGNED: &str =
    "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0";

impl S3 {
    fn url(&self, key: &str) -> String {
        format!("http://127.0.0.1:{}/{key}", self.0.port)
    }
    async fn start() -> (Self, Guard) {
        let moto = servers::moto();
        let (guard, port) = Guard::before(&moto).await;
        let s3 = Self(moto, port);
        done(client().put(s3.url(SITE)).header("authorization", SIGNED).send().await).await;
        (s3, guard)
    }
    fn of(&self, bucket: &str, rest: &str) -> String {
        format!(
            "service = 's3'\nbucket = '{bucket}'\nendpoint = '{}'\nregion = 'us-east-1'\naccess_key_id = 'AKIA'\nsecret_access_key = 'planted-key'\n{rest}",
            format_args!("http://127.0.0.1:{}", self.1)
        )
    }
}

#[async_trait]
impl View for S3 {
    fn config(&self, root: &str) -> String {
        self.of(SITE, &format!("root = '{root}'"))
    }
    async fn get(&self, key: &str) -> Option<Response> {
        found(client().get(self.url(&format!("{SITE}/{key}"))).header("authorization", SIGNED).send().await).await
    }
    async fn put(&self, key: &str, body: &str) {
        let request = client().put(self.url(&format!("{SITE}/{key}"))).header("content-type", "text/plain");
        let request = request.header("authorization", SIGNED);
        done(request.body(body.to_owned()).send().await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_behaves() {
    let (s3, guard) = S3::start().await;
    objects_behave(s3).await;
    guard.saw_no_careless_write();
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_tells_what_is_wrong() {
    let (s3, _) = S3::start().await;
    let proofs = [proof("www.example.com", "v")];
    let missing = storage(&s3.of("no-such-bucket", "")).await;
    fails(
        missing.preflight(&proofs).await,
        ErrorKind::Config,
        &["NoSuchBucket", "bucket no-such-bucket", "www.example.com"],
    );
    fails(missing.present(&proofs).await, ErrorKind::Config, &["NoSuchBucket", "www.example.com"]);
    // A store that takes every write as it comes.
    let plain = storage(&s3.of(SITE, "conditional = false")).await;
    plain.present(&proofs).await.expect("presented");
    plain.present(&[proof("www.example.com", "w")]).await.expect("presented");
    assert_eq!(s3.get(&PATH[1..]).await.expect("there").text().await.expect("text"), "w\nv");
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("it has one").port();
    let gone = storage(&S3(s3.0, free).of(SITE, "")).await;
    let parts = ["bucket site at http://127.0.0.1:", "onnection refused", "www.example.com"];
    fails(gone.present(&proofs).await, ErrorKind::Unavailable, &parts);
}

// ---- GCS

struct Gcs(Server, u16);

impl Gcs {
    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.0.port)
    }
    async fn start() -> (Self, Guard) {
        let server = servers::fake_gcs();
        let (guard, port) = Guard::before(&server).await;
        let gcs = Self(server, port);
        let bucket = format!(r#"{{"name":"{SITE}"}}"#);
        done(client().post(gcs.url("/storage/v1/b?project=p")).body(bucket).send().await).await;
        (gcs, guard)
    }
    fn of(&self, bucket: &str, root: &str) -> String {
        format!(
            "service = 'gcs'\nbucket = '{bucket}'\nendpoint = '{}'\ntoken = 'planted-token'\nroot = '{root}'",
            format_args!("http://127.0.0.1:{}", self.1)
        )
    }
}

#[async_trait]
impl View for Gcs {
    fn config(&self, root: &str) -> String {
        self.of(SITE, root)
    }
    async fn get(&self, key: &str) -> Option<Response> {
        found(client().get(self.url(&format!("/{SITE}/{key}"))).send().await).await
    }
    async fn put(&self, key: &str, body: &str) {
        let url = self.url(&format!("/upload/storage/v1/b/{SITE}/o?uploadType=media&name={}", key.replace('/', "%2F")));
        done(client().post(url).header("content-type", "text/plain").body(body.to_owned()).send().await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn gcs_behaves() {
    let (gcs, guard) = Gcs::start().await;
    objects_behave(gcs).await;
    guard.saw_no_careless_write();
}

#[tokio::test(flavor = "multi_thread")]
async fn gcs_tells_what_is_wrong() {
    let (gcs, _) = Gcs::start().await;
    let missing = storage(&gcs.of("no-such-bucket", "")).await;
    let proofs = [proof("www.example.com", "v")];
    fails(missing.preflight(&proofs).await, ErrorKind::NotServed, &["no-such-bucket", "404", "www.example.com"]);
    fails(missing.present(&proofs).await, ErrorKind::NotServed, &["no-such-bucket", "www.example.com"]);
}

// ---- Azure Blob

struct Azure(Server);

const ACCOUNT: &str = "devstoreaccount1";
/// The key that azurite has for everybody (Azure documentation, "Use the Azurite emulator").
const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

impl Azure {
    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{ACCOUNT}{path}", self.0.port)
    }

    /// A request signed with the account's key ("Authorize with Shared Key").
    async fn signed(&self, path: &str, query: &[(&str, &str)], headers: &[(&str, &str)], body: &str) {
        let date = httpdate::fmt_http_date(SystemTime::now());
        let mut ms = vec![("x-ms-date", date.as_str()), ("x-ms-version", "2021-12-02")];
        ms.extend(headers);
        ms.sort_unstable();
        let length = if body.is_empty() { String::new() } else { body.len().to_string() };
        let mut to_sign = format!("PUT\n\n\n{length}\n\ntext/plain\n\n\n\n\n\n\n");
        for (name, value) in &ms {
            to_sign += &[name, ":", value, "\n"].concat();
        }
        to_sign += &["/", ACCOUNT, "/", ACCOUNT, path].concat();
        for (name, value) in query {
            to_sign += &["\n", name, ":", value].concat();
        }
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &STANDARD.decode(KEY).expect("a key"));
        let signature = STANDARD.encode(ring::hmac::sign(&key, to_sign.as_bytes()));
        let mut request = client()
            .request(Method::PUT, self.url(path))
            .query(query)
            .header("content-type", "text/plain")
            .header("content-length", body.len())
            .header("authorization", format!("SharedKey {ACCOUNT}:{signature}"));
        for (name, value) in ms {
            request = request.header(name, value);
        }
        done(request.body(body.to_owned()).send().await).await;
    }

    async fn start() -> Self {
        let azure = Self(servers::azurite());
        azure
            .signed(&format!("/{SITE}"), &[("restype", "container")], &[("x-ms-blob-public-access", "blob")], "")
            .await;
        azure
    }

    fn of(&self, container: &str, root: &str, key: &str) -> String {
        format!(
            "service = 'azblob'\ncontainer = '{container}'\nendpoint = '{}'\naccount = '{ACCOUNT}'\naccount_key = '{key}'\nroot = '{root}'",
            self.url("")
        )
    }
}

#[async_trait]
impl View for Azure {
    fn config(&self, root: &str) -> String {
        self.of(SITE, root, KEY)
    }
    async fn get(&self, key: &str) -> Option<Response> {
        found(client().get(self.url(&format!("/{SITE}/{key}"))).send().await).await
    }
    async fn put(&self, key: &str, body: &str) {
        self.signed(&format!("/{SITE}/{key}"), &[], &[("x-ms-blob-type", "BlockBlob")], body).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn azure_behaves() {
    objects_behave(Azure::start().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn azure_tells_what_is_wrong() {
    let azure = Azure::start().await;
    let proofs = [proof("www.example.com", "v")];
    let missing = storage(&azure.of("no-such-container", "", KEY)).await;
    fails(missing.preflight(&proofs).await, ErrorKind::NotServed, &["ContainerNotFound", "no-such-container"]);
    fails(missing.present(&proofs).await, ErrorKind::NotServed, &["ContainerNotFound", "www.example.com"]);
    let refused = storage(&azure.of(SITE, "", &STANDARD.encode("planted-key"))).await;
    fails(refused.preflight(&proofs).await, ErrorKind::Credentials, &["403", "www.example.com"]);
    fails(refused.present(&proofs).await, ErrorKind::Credentials, &["403", "www.example.com"]);
}

// ---- folders

/// A server whose files can be looked at on the disk, below `www`, one folder for each host.
struct Folders {
    server: Place,
    config: fn(&Place) -> String,
}

impl Folders {
    fn file(&self, host: &str) -> PathBuf {
        self.server.path("www").join(host).join(&PATH[1..])
    }
    fn open_to_all(path: &std::path::Path) {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).expect("a mode");
    }
    fn serve(&self, host: &str) {
        let folder = self.server.path("www").join(host);
        std::fs::create_dir_all(&folder).expect("a document root");
        Self::open_to_all(&folder);
    }
    /// A folder or file in place of the file, or content of it.
    fn folder_of_file(&self, host: &str) -> PathBuf {
        self.serve(host);
        let file = self.file(host);
        let folder = file.parent().expect("a folder");
        std::fs::create_dir_all(folder).expect("made");
        for folder in folder.ancestors().take(2) {
            Self::open_to_all(folder);
        }
        file
    }
    /// Every name below the document root.
    fn everything(&self, host: &str) -> Vec<String> {
        let root = self.server.path("www").join(host);
        let output = servers::run("find", &[servers::text(&root), "-mindepth", "1", "-printf", "%P\n"]);
        let mut names: Vec<String> = output.lines().map(str::to_owned).collect();
        names.sort();
        names
    }
}

#[async_trait]
impl conformance::World for Folders {
    async fn provider(&self) -> Box<dyn DcvProvider> {
        Box::new(storage(&(self.config)(&self.server)).await)
    }
    fn name(&self, n: usize) -> String {
        let host = format!("n{n}.folder-example.com");
        self.serve(&host);
        host
    }
    fn unserved_name(&self) -> Option<String> {
        Some("unserved.folder-example.com".to_owned())
    }
    async fn values(&self, _: ProofKind, name: &str) -> Vec<String> {
        std::fs::read_to_string(self.file(name)).into_iter().collect()
    }
    async fn plant(&self, _: ProofKind, name: &str, value: &str) -> bool {
        let file = self.folder_of_file(name);
        std::fs::write(&file, value).expect("written");
        Self::open_to_all(&file);
        true
    }
}

/// What every server of folders has to do beyond the conformance suite.
async fn folders_behave(folders: &Folders) {
    conformance::run(folders).await;
    let provider = storage(&(folders.config)(&folders.server)).await;

    // An unserved name has not become served.
    assert!(!folders.server.path("www/unserved.folder-example.com").exists(), "a root was made");

    // Only the file is left, and after it only the folders.
    folders.serve("tidy.example.com");
    let proofs = [proof("tidy.example.com", "token")];
    let parents = [".well-known", ".well-known/pki-validation"];
    provider.present(&proofs).await.expect("presented");
    assert_eq!(folders.everything("tidy.example.com"), [&parents[..], &[&PATH[1..]]].concat());
    provider.present(&[proof("tidy.example.com", "other")]).await.expect("presented beside");
    assert_eq!(folders.everything("tidy.example.com"), [&parents[..], &[&PATH[1..]]].concat());
    provider.retract(&[proofs[0].clone(), proof("tidy.example.com", "other")]).await.expect("retracted");
    assert_eq!(folders.everything("tidy.example.com"), parents);

    // A folder in place of the file stays.
    let file = folders.folder_of_file("occupied.example.com");
    std::fs::create_dir(&file).expect("made");
    std::fs::write(file.join("precious"), "x").expect("written");
    let proofs = [proof("occupied.example.com", "token")];
    provider.present(&proofs).await.expect_err("something else is there");
    let _ = provider.retract(&proofs).await;
    assert!(file.join("precious").exists(), "it was removed");

    // No host name leads out of the root.
    for host in ["..", "../n1.folder-example.com", "a/b", "", ".hidden"] {
        fails(provider.present(&[proof(host, "v")]).await, ErrorKind::Rejected, &["is no host name"]);
    }
}

fn webdav_config(server: &Place, password: &str) -> String {
    let url = format!("http://127.0.0.1:{}", server.port);
    format!("service = 'webdav'\nendpoint = '{url}'\nuser = '{USER}'\npassword = '{password}'\nroot = '/{{host}}/'")
}

#[tokio::test(flavor = "multi_thread")]
async fn webdav_behaves() {
    let apache = servers::apache();
    let folders = Folders { server: apache.place(), config: |server| webdav_config(server, PASSWORD) };
    folders_behave(&folders).await;
    folders.serve("www.example.com");
    let refused = storage(&webdav_config(&folders.server, "planted-wrong")).await;
    let proofs = [proof("www.example.com", "v")];
    fails(refused.preflight(&proofs).await, ErrorKind::Credentials, &["401", "correct the credentials"]);
    fails(refused.present(&proofs).await, ErrorKind::Credentials, &["401", "www.example.com"]);
}

fn sftp_config(server: &Place, key: &str, known_hosts: &str) -> String {
    let file = |name: &str| server.path(name).to_str().expect("text").to_owned();
    format!(
        "service = 'sftp'\nendpoint = '127.0.0.1:{}'\nuser = '{}'\nprivate_key = {{ file = '{}' }}\nknown_hosts = '{}'\nroot = '{}/{{host}}'",
        server.port,
        servers::run("id", &["-un"]).trim(),
        file(key),
        file(known_hosts),
        file("www"),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn sftp_behaves() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let sshd = servers::sshd();
    let folders = Folders { server: sshd.place(), config: |server| sftp_config(server, "id", "known_hosts") };
    folders_behave(&folders).await;
    let server = &folders.server;
    let good = storage(&sftp_config(server, "id", "known_hosts")).await;
    let mode = |path: &std::path::Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;

    // The web server can read it, whatever the umask; a file that is there keeps its permissions.
    folders.serve("modes.example.com");
    let proofs = [proof("modes.example.com", "v")];
    good.present(&proofs).await.expect("presented");
    assert_eq!(mode(&folders.file("modes.example.com")), 0o644);
    std::fs::set_permissions(folders.file("modes.example.com"), std::fs::Permissions::from_mode(0o640))
        .expect("a mode");
    good.present(&[proof("modes.example.com", "w")]).await.expect("presented");
    assert_eq!(mode(&folders.file("modes.example.com")), 0o640);
    assert_eq!(std::fs::read_to_string(folders.file("modes.example.com")).expect("there"), "w\nv");

    // A link is not replaced, nor written through.
    let file = folders.folder_of_file("link.example.com");
    std::fs::write(server.path("elsewhere"), "precious").expect("written");
    symlink(server.path("elsewhere"), &file).expect("linked");
    let proofs = [proof("link.example.com", "v")];
    fails(good.present(&proofs).await, ErrorKind::Rejected, &["no plain file", "link.example.com"]);
    assert_eq!(std::fs::read_to_string(server.path("elsewhere")).expect("there"), "precious");
    std::fs::write(server.path("elsewhere"), "v").expect("written");
    fails(good.retract(&proofs).await, ErrorKind::Rejected, &["no plain file"]);
    assert!(file.is_symlink(), "an administrator's link was removed");

    // Other processes that make the same file at the same time: one makes it, the others add to it or say that they could not.
    folders.serve("race.example.com");
    racers(&sftp_config(server, "id", "known_hosts"), 2).await;
    assert!(folders.file("race.example.com").exists());
    assert_eq!(folders.everything("race.example.com").len(), 3, "nothing unfinished is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn sftp_trusts_known_servers_only() {
    let server = servers::sshd();
    std::fs::create_dir(server.path("www/www.example.com")).expect("made");
    let proofs = [proof("www.example.com", "v")];
    let endpoint = format!("[127.0.0.1]:{}", server.port);

    std::fs::write(server.path("empty"), "").expect("written");
    let unknown = storage(&sftp_config(&server, "id", "empty")).await;
    fails(
        unknown.preflight(&proofs).await,
        ErrorKind::Config,
        &["known_hosts", &endpoint, "SHA256:", "www.example.com"],
    );

    let other = std::fs::read_to_string(server.path("other.pub")).expect("a key");
    std::fs::write(server.path("changed"), format!("{endpoint} {other}")).expect("written");
    let changed = storage(&sftp_config(&server, "id", "changed")).await;
    fails(changed.present(&proofs).await, ErrorKind::Config, &["line 1", "another key", "www.example.com"]);

    let refused = storage(&sftp_config(&server, "other", "known_hosts")).await;
    fails(refused.present(&proofs).await, ErrorKind::Credentials, &["private_key", "publickey", "www.example.com"]);

    let config = sftp_config(&server, "id", "known_hosts");
    let good = storage(&config).await;
    good.present(&proofs).await.expect("presented");
    let late = storage(&config).await;
    // The connection that is there outlives the server; a new one cannot be had.
    drop(server);
    let error = late.retract(&proofs).await.expect_err("the server has gone");
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
}

fn ftps_config(server: &Place, password: &str) -> String {
    let url = format!("ftps://127.0.0.1:{}", server.port);
    format!("service = 'ftps'\nendpoint = '{url}'\nuser = '{USER}'\npassword = '{password}'\nroot = '/{{host}}'")
}

/// The certificate's authority is one of the system's only by the environment, which another process must be given.
#[test]
fn ftps_behaves() {
    let server = servers::ftpd();
    let run = |test: &str, authority: &str| {
        let output = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", test, "--ignored", "--nocapture"])
            .env("SSL_CERT_FILE", server.path(authority))
            .env("DCV_TEST_PORT", server.port.to_string())
            .env("DCV_TEST_DIR", &server.dir)
            .stdin(Stdio::null())
            .output()
            .expect("it runs");
        let said = [String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)].concat();
        assert!(output.status.success() && said.contains("1 passed"), "{said}\n{}", server.log());
    };
    run("ftps_with_the_authority", "ca.pem");
    let key = rcgen::KeyPair::generate().expect("a key");
    let other =
        rcgen::CertificateParams::new(Vec::new()).expect("parameters").self_signed(&key).expect("a certificate");
    std::fs::write(server.path("other.pem"), other.pem()).expect("written");
    run("ftps_without_the_authority", "other.pem");
}

/// The server that another process has started.
fn inherited() -> Place {
    Place {
        port: std::env::var("DCV_TEST_PORT").expect("run by a test").parse().expect("a port"),
        dir: std::env::var_os("DCV_TEST_DIR").expect("run by a test").into(),
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by another test, as a process of its own"]
async fn ftps_with_the_authority() {
    let folders = Folders { server: inherited(), config: |server| ftps_config(server, PASSWORD) };
    folders_behave(&folders).await;
    folders.serve("www.example.com");
    let refused = storage(&ftps_config(&folders.server, "planted-wrong")).await;
    let proofs = [proof("www.example.com", "v")];
    fails(refused.preflight(&proofs).await, ErrorKind::Credentials, &["530", "www.example.com"]);
    fails(refused.present(&proofs).await, ErrorKind::Credentials, &["530", "www.example.com"]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by another test, as a process of its own"]
async fn ftps_without_the_authority() {
    let untrusted = storage(&ftps_config(&inherited(), PASSWORD)).await;
    let proofs = [proof("www.example.com", "v")];
    fails(untrusted.present(&proofs).await, ErrorKind::Unavailable, &["ertificate", "www.example.com"]);
}
