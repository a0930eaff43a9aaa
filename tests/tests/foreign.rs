//! Foreign witnesses. Clients that others wrote for CertCentral are run against the sandbox: scripts in `tests/foreign`
//! drive the real packages where Python can, and send what the others send where not. And answers that were recorded from
//! the real service, or are read by others who talk to it, are given to our client.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use certcentral::{
    CertificateId, CertificateStatus, Client, DcvMethod, DomainId, Error, Moment, NewOrder, NewWebhook, OrderId,
    OrderStatus, OrganizationId, RequestId, RequestStatus, Retries, Revocation, RevocationReason, ValidationStatus,
};
use certcentral_sandbox::{Config, account::Approval};
use dcv_tests::world::{API_KEY, ORGANIZATION, TSIG_NAME, TSIG_SECRET, World};
use serde::Deserialize;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    process::Command,
};

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Python with the clients in it, and in these versions.
fn python() -> PathBuf {
    let (wanted, installed) = (root().join("tests/foreign"), root().join("target/foreign"));
    let versions = |folder: &Path| std::fs::read(folder.join("requirements.txt")).ok();
    let same = versions(&wanted).is_some_and(|wanted| Some(wanted) == versions(&installed));
    assert!(same, "{} is missing or of another day: tests/run installs it", installed.display());
    installed.join("bin/python")
}

/// Runs one script against a sandbox and DNS server of its own.
async fn run(script: &str, configure: impl FnOnce(&mut Config)) {
    let world = World::start_with(&["example.com", "example.net"], configure).await;
    let address = world.address();
    let mut command = Command::new(python());
    command
        .arg(root().join("tests/foreign").join(script))
        .env_remove("PYTHONPATH")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("NO_PROXY", "*")
        .env("CERTCENTRAL_URL", &address.ca)
        .env("CERTCENTRAL_KEY", API_KEY)
        .env("CERTCENTRAL_ORGANIZATION", ORGANIZATION.to_string())
        .env("DNS_SERVER", address.dns.to_string())
        .env("TSIG_NAME", TSIG_NAME)
        .env("TSIG_SECRET", TSIG_SECRET)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(90), command.output()).await;
    let output = output.expect("the script ends").expect("Python starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let refused: Vec<_> = world.sandbox.requests_seen().into_iter().filter(|seen| seen.status >= 400).collect();
    assert!(
        output.status.success(),
        "{script}:\n{}{}\nrefused: {refused:#?}",
        text(&output.stdout),
        text(&output.stderr)
    );
}

fn as_ordered(_: &mut Config) {}

/// The account of clients that never say `skip_approval`.
fn approves_by_itself(config: &mut Config) {
    config.approval = Approval::Automatic;
}

macro_rules! clients {
    ($($name:ident = $script:literal, $configure:expr;)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            run($script, $configure).await;
        }
    )*};
}

clients! {
    certmesh = "certmesh_client.py", as_ordered;
    digicert_client = "digicert_client_package.py", as_ordered;
    express_install = "express_install.py", as_ordered;
    infisical = "infisical.py", as_ordered;
    jupiterone = "jupiterone.py", as_ordered;
    keyfactor = "keyfactor.py", as_ordered;
    keyfactor_metadata = "keyfactor_metadata.py", as_ordered;
    lemur = "lemur_plugin.py", approves_by_itself;
    marqeta = "marqeta.py", approves_by_itself;
    myklst = "myklst.py", approves_by_itself;
    pkix = "pkix.py", approves_by_itself;
    ribose = "ribose.py", as_ordered;
    sapcc = "sapcc.py", as_ordered;
    venafi = "venafi.py", approves_by_itself;
}

/// An answer of the real service, and what was asked.
#[derive(Clone, Deserialize)]
struct Recorded {
    request: String,
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Value,
}

impl Recorded {
    fn read(name: &str) -> Self {
        let file = root().join("tests/foreign/answers").join(name).with_extension("json");
        let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
    }

    /// The answer to a request; 418 to one that was not recorded.
    fn answer_to(&self, request: &str) -> String {
        let path = |line: &str| line.split('?').next().unwrap_or_default().to_owned();
        let recorded = path(request) == path(&self.request);
        let (status, body) = if recorded { (self.status, self.body.to_string()) } else { (418, request.to_owned()) };
        let headers: Vec<_> = self.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let (headers, length) = (headers.concat(), body.len());
        format!("HTTP/1.1 {status} Recorded\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}")
    }
}

/// Reads one request and answers it.
async fn answer(mut stream: TcpStream, recorded: Recorded) -> std::io::Result<()> {
    let mut read = Vec::new();
    let head = loop {
        if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut read).await? == 0 {
            return Ok(());
        }
    };
    let text = String::from_utf8_lossy(&read[..head]).to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    while read.len() < head + length.unwrap_or(0) {
        stream.read_buf(&mut read).await?;
    }
    let first = String::from_utf8_lossy(&read);
    let line = first.lines().next().unwrap_or_default().replace("/services/v2", "");
    let request = line.rsplit_once(' ').map_or("", |(request, _)| request);
    stream.write_all(recorded.answer_to(request).as_bytes()).await?;
    stream.shutdown().await
}

/// Our client, and a service that gives this answer and no other. It ends with the test's runtime.
async fn given(name: &str) -> Client {
    let recorded = Recorded::read(name);
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, recorded.clone()));
        }
    });
    let once = Retries { attempts: 1, ..Retries::default() };
    let builder = Client::builder(API_KEY.into()).base_url(format!("http://{address}/services/v2"));
    builder.retries(once).build().expect("it builds")
}

fn day(text: &str) -> Option<Moment> {
    text.parse().ok().map(Moment::On)
}

fn at(text: &str) -> Option<Moment> {
    text.parse().ok().map(Moment::At)
}

#[tokio::test]
async fn an_unknown_key_is_told_as_such() {
    let error = given("key-unknown").await.me().await.expect_err("403");
    assert!(error.is_auth(), "{error}");
    assert_eq!(error.status(), Some(403));
    assert_eq!(error.api_errors()[0].code.as_str(), "access_denied|access_denied_invalid_key");
    assert!(!error.to_string().contains(API_KEY), "{error}");
}

#[tokio::test]
async fn an_error_without_a_list_is_read() {
    let error = given("error-without-list").await.order(OrderId(5_000_001)).await.expect_err("404");
    assert!(matches!(error, Error::Api { status: 404, .. }), "{error}");
    assert_eq!(error.api_errors()[0].code.as_str(), "not_found|route");
    assert!(!error.is_not_found(), "a path that is wrong is not an order that is missing");
}

#[tokio::test]
async fn orders_are_listed_in_every_shape() {
    let page = given("orders-none").await.orders(&[], 1, 0).await.expect("a page without the list");
    assert_eq!((page.items.len(), page.total), (0, Some(0)));

    let page = given("orders-without-organization").await.orders(&[], 1000, 0).await.expect("a page");
    let (order, organization) = (&page.items[0], page.items[0].organization.as_ref());
    assert_eq!(order.id, OrderId(556_004));
    assert_eq!(organization.and_then(|organization| organization.id), None, "`[]` is nobody");

    let page = given("orders-of-an-account").await.orders(&[], 1000, 0).await.expect("a page");
    let states: Vec<_> = page.items.iter().map(|order| (order.id.0, order.status.as_str())).collect();
    assert_eq!(states, [(13_000_001, "expired"), (13_000_002, "rejected")]);
    let [expired, rejected] = &page.items[..] else { panic!("{page:?}") };
    assert_eq!((&expired.order_valid_till, &rejected.order_valid_till), (&day("2024-10-18"), &None));
    let certificate = rejected.certificate.as_ref().expect("a certificate");
    assert_eq!((certificate.id, &certificate.serial_number), (Some(CertificateId(14_000_002)), &None));

    let client = given("orders-more-than-the-total").await;
    let page = client.orders(&[], 1000, 0).await.expect("a page");
    let certificate = page.items[0].certificate.as_ref().expect("a certificate");
    assert_eq!((certificate.id, certificate.valid_till.clone()), (None, day("2017-08-19")));
    assert_eq!(page.items[2].certificate.as_ref().and_then(|one| one.signature_hash.as_deref()), Some("SHA256"));
    let all = tokio::time::timeout(Duration::from_secs(20), client.all_orders(&[], None)).await;
    let mut ids: Vec<u64> = all.expect("the list ends").expect("a list").iter().map(|order| order.id.0).collect();
    ids.dedup();
    assert_eq!(ids, [556_001, 556_002, 556_003]);
}

#[tokio::test]
async fn an_order_of_old_is_read() {
    let order = given("order").await.order(OrderId(5_000_001)).await.expect("an order");
    assert_eq!(order.status.as_str(), "approved");
    assert_eq!(order.date_created, at("2014-08-19T18:16:07Z"));
    assert_eq!((order.is_renewal, order.is_renewed), (Some(true), Some(false)));
    let organization = order.organization.expect("an organization");
    assert_eq!((organization.id, organization.name.as_deref()), (None, Some("Example, Inc.")));
    assert_eq!(order.product.and_then(|product| product.name_id).as_deref(), Some("ssl_plus"));
    assert_eq!((order.requests.len(), order.requests[0].is_open()), (1, false));
    let certificate = order.certificate.expect("a certificate");
    assert_eq!(certificate.id, Some(CertificateId(112_001)));
    assert_eq!(certificate.dns_names, ["example.com"]);
    assert_eq!(certificate.serial_number.as_deref(), Some("0A0B0C0D0E0F00010203040506070809"));
    assert_eq!((certificate.valid_from, certificate.valid_till), (day("2014-08-19"), day("2015-08-19")));
}

#[tokio::test]
async fn answers_to_orders_are_read() {
    let order = NewOrder::new("www.example.com", "CSR", 7);
    let placed = given("order-issued-at-once").await.place_order("ssl_plus", &order).await.expect("an answer");
    assert_eq!((placed.id, placed.certificate_id), (OrderId(5_000_001), Some(CertificateId(112_001))));
    assert!(!placed.needs_approval());
    let chain: Vec<_> = placed.certificate_chain.iter().map(|one| one.pem.contains("leaf")).collect();
    assert_eq!(chain, [true, false, false]);

    let placed = given("order-to-be-approved").await.place_order("ssl_plus", &order).await.expect("an answer");
    assert!(placed.needs_approval() && placed.certificate_id.is_none(), "{placed:?}");

    let placed = given("order-with-values").await.place_order("ssl_plus", &order).await.expect("an answer");
    assert_eq!(placed.dcv_random_value.as_deref(), Some("m7zq2kxw9t4r5y8p"));
    let names: Vec<_> = placed.domains.iter().map(|domain| domain.name.as_deref()).collect();
    assert_eq!(names, [Some("example.com"), Some("example.net")]);
    let token = placed.domains[0].dcv_token.as_ref().expect("a value");
    assert_eq!((token.token.as_str(), &token.status), ("k3v8n2x7c5b9d1f4", &ValidationStatus::Pending));
    assert_eq!(token.expiration_date, at("2026-12-24T10:00:00Z"));
}

#[tokio::test]
async fn checks_and_changes_are_read() {
    let order = OrderId(5_000_003);
    let check = given("check-approved").await.check_order_dcv(order, &[]).await.expect("an answer");
    assert_eq!(check.order_status, Some(OrderStatus::Issued));
    assert!(check.is_approved("example.com") && check.is_approved("example.net") && !check.is_approved("example.org"));

    let check = given("check-of-old").await.check_order_dcv(order, &[]).await.expect("an answer");
    assert_eq!(check.order_status, Some(OrderStatus::Pending));
    assert!(!check.is_approved("example.com"));

    let minute = Duration::from_secs(60);
    assert!(given("changes-none").await.status_changes(minute).await.expect("an answer").is_empty());
    let changes = given("changes").await.status_changes(minute).await.expect("an answer");
    assert_eq!((changes[0].order_id, &changes[0].status), (order, &OrderStatus::Issued));
}

#[tokio::test]
async fn domains_are_read() {
    let page = given("domains-with-validations").await.domains(None, 1000, 0).await.expect("a page");
    let domain = &page.items[0];
    assert_eq!((domain.id, domain.name.as_deref()), (DomainId(4_100_021), Some("example.com")));
    assert_eq!((domain.is_active, &domain.dcv_method), (Some(true), &Some(DcvMethod::DnsTxtToken)));
    let until = |text: &str| Some(text.parse().expect("a moment"));
    assert_eq!(domain.validated_until("ov"), until("2022-07-30T00:00:00Z"), "a bare day counts from its beginning");
    assert_eq!(domain.validated_until("ev"), until("2021-05-21T00:00:00Z"));
    assert_eq!(domain.validations[1].validated_until, at("2022-07-30T06:00:00Z"));
    assert_eq!(domain.organization.as_ref().and_then(|one| one.id), Some(OrganizationId(71_001)));

    let domain = given("domain-by-mail").await.domain_with_validation(DomainId(1)).await.expect("a domain");
    assert!(domain.dcv_token.is_none());
    assert_eq!(domain.validations[0].dcv_status, Some(ValidationStatus::Complete));
    assert_eq!(domain.validations[1].status, ValidationStatus::Pending);
    assert_eq!(domain.validated_until("ov"), None, "never validated");
}

#[tokio::test]
async fn certificates_after_issue_are_read() {
    let copies = given("duplicates").await.duplicates(OrderId(5_000_001)).await.expect("a list");
    assert_eq!(copies.iter().map(|copy| copy.id.0).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(copies[0].status, CertificateStatus::Approved);
    assert_eq!((&copies[0].valid_till, copies[0].archived), (&day("2015-08-24"), None));

    let (id, why) = (CertificateId(112_001), Some(RevocationReason::Superseded));
    let revocation = Revocation { revocation_reason: why, ..Revocation::default() };
    let revoke = async |name| given(name).await.revoke_certificate(id, &revocation).await.expect("an answer");
    let request = revoke("revocation-to-be-approved").await.expect("a request");
    assert_eq!((request.id, request.status), (RequestId(1), RequestStatus::Pending));
    assert_eq!(request.comments.as_deref(), Some("Revoked via API!"));
    let request = revoke("revocation-submitted").await.expect("a request");
    assert_eq!((request.id, request.status), (RequestId(7), RequestStatus::Submitted));
}

#[tokio::test]
async fn requests_are_read() {
    let request = given("request").await.request(RequestId(9_000_003)).await.expect("a request");
    assert_eq!((request.status, request.request_type.as_deref()), (RequestStatus::Pending, Some("new_request")));
    let order = request.order.expect("its order");
    assert_eq!((order.id, order.status), (OrderId(5_000_004), OrderStatus::Issued));
    assert_eq!(request.comments.as_deref(), Some("Comments for the approver"));

    let requests = given("requests").await.requests(Some(&RequestStatus::Pending)).await.expect("a list");
    let orders: Vec<_> = requests.iter().map(|request| request.order.as_ref().map(|order| order.id.0)).collect();
    assert_eq!(orders, [Some(542_001), Some(542_002)]);
}

#[tokio::test]
async fn organizations_and_products_are_read() {
    let organization = given("organization").await.organization(OrganizationId(71_001)).await.expect("an organization");
    assert_eq!((organization.is_active, organization.status.as_deref()), (Some(true), Some("approved")));
    assert_eq!((organization.zip.as_deref(), organization.country.as_deref()), (Some("84042"), Some("US")));
    assert!(organization.validations.is_empty());

    let product = given("product").await.product("ssl_plus").await.expect("a product");
    assert_eq!((product.duplicates_allowed, product.additional_dns_names_allowed), (Some(false), Some(false)));
    assert_eq!(product.allowed_validity_years, ["1", "2", "3"]);
    let hashes = product.signature_hash_types.expect("hashes");
    assert_eq!((hashes.allowed_hash_types.len(), hashes.default_hash_type_id.as_deref()), (2, Some("sha256")));
}

/// Calls that only users of the library make.
#[tokio::test]
async fn what_the_program_does_not_ask_for_is_answered() {
    let world = World::start(&["example.com"]).await;
    let client = world.address().client();
    let product = client.product_in("ssl_basic", 1).await.expect("the one division");
    assert_eq!(product.validation_type.as_deref(), Some("OV"));
    assert!(client.product_in("ssl_basic", 9).await.expect_err("no division").is_not_found());

    let organization = OrganizationId(ORGANIZATION);
    for active in [false, true] {
        client.set_organization_active(organization, active).await.expect("switched");
        let known = client.organization(organization).await.expect("an organization");
        assert_eq!(known.is_active, Some(active));
    }
    assert!(client.set_organization_active(OrganizationId(1), false).await.expect_err("nobody").is_not_found());

    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let endpoint = format!("http://{}/events", listener.local_addr().expect("its address"));
    let recorded =
        Recorded { request: "POST /events".to_owned(), status: 200, headers: BTreeMap::new(), body: Value::Null };
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, recorded.clone()));
        }
    });
    client.test_webhook_endpoint(&endpoint).await.expect("it answers");
    let elsewhere = endpoint.replace("/events", "/nobody");
    assert_eq!(client.test_webhook_endpoint(&elsewhere).await.expect_err("418").status(), Some(400));
    let mut webhook = NewWebhook { endpoint: elsewhere, secret: None, events: Vec::new() };
    let id = client.create_webhook(&webhook).await.expect("a webhook");
    (webhook.endpoint, webhook.events) = (endpoint, vec!["certificate_revoked".to_owned()]);
    client.update_webhook(id, &webhook).await.expect("changed");
    let known = &client.webhooks().await.expect("a list")[0];
    assert_eq!((known.endpoint.as_ref(), &known.events), (Some(&webhook.endpoint), &webhook.events));
    assert!(client.update_webhook(certcentral::WebhookId(1), &webhook).await.expect_err("none").is_not_found());
}

#[test]
fn every_recorded_answer_is_given_to_the_client() {
    let folder = root().join("tests/foreign/answers");
    let this = include_str!("foreign.rs");
    for file in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        let Some(name) = file.file_stem().filter(|_| file.extension().is_some_and(|end| end == "json")) else {
            continue;
        };
        let name = name.to_string_lossy();
        assert!(this.contains(&format!("\"{name}\"")), "no test reads {name}.json");
        Recorded::read(&name);
    }
}
