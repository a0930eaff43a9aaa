//! The provider against a stand-in that puts requests and answers as the WAPI's documents do ("Transport and Authentication",
//! "GET: Paging", "request: WAPI handler object", "Examples using object body requests", "Error Handling").
//!
//! The documents do not say whether the requests before a refused one stay done. Here they do, which is the harder case.

use std::{
    io::{BufRead, BufReader, Write},
    sync::Arc,
    time::Duration,
};

use dcv_infoblox::{Config, Infoblox, from_config};
use dcv_provider::{DcvProvider, ErrorKind, Proof, ProviderError, Retry, conformance};
use dcv_test_vendor::{Account, Answer, Asked, Row, Vendor, Zone};
use serde_json::{Value, json};

const ZONE: &str = "example.com";
/// Here the id is the view.
const ZONES: [(&str, &str); 2] = [(ZONE, "default"), ("sub.example.com", "default")];
const NAME: &str = "_dnsauth.example.com";

fn error(status: u16, code: &str, text: &str) -> Answer {
    let code = format!("Client.Ibap.{code}");
    Answer::new(status, json!({ "Error": format!("AdmConDataError: None ({text})"), "code": code, "text": text }))
}

fn reference(row: &Row) -> String {
    format!("record:{}/{}:{}/default", row.rtype.to_ascii_lowercase(), row.id, row.name)
}

fn shown(row: &Row) -> Value {
    // A text with blanks comes back in its quotes.
    let text = if row.value.contains(' ') { dcv_provider::zone::quote(&row.value) } else { row.value.clone() };
    let field = if row.rtype == "CNAME" { "canonical" } else { "text" };
    json!({ "_ref": reference(row), "name": row.name, "dns_name": row.name, field: text })
}

/// One of the requests in a request object.
fn one(account: &mut Account, request: &Value) -> Result<Value, Answer> {
    let object = request["object"].as_str().expect("an object");
    let data = |name: &str| request["data"][name].as_str().unwrap_or_default();
    let rtype = object.split(['/', ':']).nth(1).expect("a record").to_ascii_uppercase();
    match request["method"].as_str() {
        Some("GET") => {
            let field = if rtype == "TXT" { "text" } else { "canonical" };
            assert_eq!(request["args"]["_return_fields"], format!("name,dns_name,{field}"));
            assert!(["default", "internal", "internal.lab"].contains(&data("view")));
            Ok(account.set(data("name"), &rtype).into_iter().map(shown).collect())
        }
        Some("POST") => {
            assert_eq!((&request["data"]["use_ttl"], &request["data"]["ttl"]), (&json!(true), &json!(60)));
            let zone = account.zones.iter().filter(|zone| data("name").ends_with(&zone.name));
            let zone = zone.max_by_key(|zone| zone.name.len()).map(|zone| zone.name.clone()).expect("a zone");
            let said = if rtype == "TXT" { data("text") } else { data("canonical") };
            match account.add(&zone, data("name"), &rtype, said, 60) {
                Ok(row) => Ok(json!(reference(&row))),
                Err(_) => Err(error(400, "Data.Conflict", &format!("The record '{}' already exists.", data("name")))),
            }
        }
        Some("DELETE") => {
            let place = account.rows.iter().position(|row| reference(row) == object);
            let place = place.ok_or_else(|| error(404, "Data.NotFound", &format!("Reference {object} not found")))?;
            account.rows.remove(place);
            Ok(json!(object))
        }
        other => panic!("no {other:?}"),
    }
}

fn infoblox(account: &mut Account, asked: &Asked) -> Answer {
    if asked.header("authorization") != "Basic ZGN2OnBsYW50ZWQtcGFzc3dvcmQ=" {
        return Answer::new(401, json!("<html>Authorization Required</html>")).header("content-type", "text/html");
    }
    let (method, path) = asked.route();
    assert_eq!(path[..2], ["wapi", "v2.9"]);
    match (method, path[2]) {
        ("GET", "zone_auth") => {
            let views = |zone: &&Zone| {
                let network = if zone.id.contains(".lab") { "lab" } else { "default" };
                asked.query.get("view").is_none_or(|view| *view == zone.id)
                    && asked.query.get("network_view").is_none_or(|view| view == network)
            };
            let zones: Vec<Value> = account
                .zones
                .iter()
                .filter(views)
                .map(|zone| json!({ "_ref": "zone_auth/x", "fqdn": zone.name, "view": zone.id }))
                .collect();
            assert_eq!((asked.query["_paging"].as_str(), asked.query["_return_as_object"].as_str()), ("1", "1"));
            let (from, size) = (asked.number("_page_id").unwrap_or(0), asked.number("_max_results").expect("a size"));
            let end = zones.len().min(from + size);
            let mut page = json!({ "result": zones[from..end] });
            if end < zones.len() {
                page["next_page_id"] = json!(end.to_string());
            }
            Answer::new(200, page)
        }
        ("POST", "request") => {
            let requests = asked.json.as_array().expect("many requests");
            let writes = requests.iter().any(|request| request["method"] != "GET");
            // A zone of this name is somebody else who is faster than the next write.
            if let Some(rival) = account.zones.iter().position(|zone| writes && zone.name == "rival") {
                match account.zones.remove(rival).id.as_str() {
                    "clear" => account.rows.clear(),
                    value => drop(account.add(ZONE, NAME, "TXT", value, 60)),
                }
            }
            let mut results = Vec::new();
            for request in requests {
                match one(account, request) {
                    Ok(result) => results.push(result),
                    Err(refused) => return refused,
                }
            }
            Answer::new(200, json!(results))
        }
        route => panic!("the WAPI has no {route:?}"),
    }
}

async fn make(more: Value) -> Result<Infoblox, ProviderError> {
    let mut config = json!({ "username": "dcv", "password": "planted-password" });
    config.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    let config: Config = serde_json::from_value(config).expect("a configuration");
    from_config(config, None).await
}

async fn provider(url: String) -> Infoblox {
    make(json!({ "base_url": url })).await.expect("a provider")
}

async fn vendor(zones: &[(&str, &str)]) -> Vendor {
    Vendor::start(zones, infoblox, provider).await
}

fn txt(name: &str, value: &str) -> Proof {
    Proof::Txt { name: name.to_owned(), value: value.to_owned() }
}

fn hundred() -> Vec<Proof> {
    (0..100).map(|n| txt(&format!("_dnsauth.n{n}.{ZONE}"), "v")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_behaves() {
    conformance::run(&vendor(&ZONES).await).await;
}

#[tokio::test]
async fn a_hundred_names_are_one_read_and_one_request() {
    let vendor = vendor(&ZONES).await;
    let provider = provider(vendor.url.clone()).await;
    provider.present(&hundred()).await.expect("presented");
    assert_eq!(vendor.asked(), ["GET /wapi/v2.9/zone_auth", "POST /wapi/v2.9/request", "POST /wapi/v2.9/request"]);
    provider.present(&hundred()).await.expect("it is there");
    assert_eq!(vendor.asked(), ["POST /wapi/v2.9/request"]);
    provider.retract(&hundred()).await.expect("retracted");
    assert_eq!(vendor.asked(), ["POST /wapi/v2.9/request", "POST /wapi/v2.9/request"]);
    assert_eq!(vendor.account().rows.len(), 0);
}

#[tokio::test]
async fn zones_beyond_the_first_page_are_found() {
    let many: Vec<String> = (0..1001).map(|n| format!("d{n}.example")).collect();
    let zones: Vec<(&str, &str)> = many.iter().map(|name| (name.as_str(), "default")).collect();
    let vendor = vendor(&zones).await;
    let proof = [txt("_dnsauth.d1000.example", "v")];
    provider(vendor.url.clone()).await.present(&proof).await.expect("presented");
    assert_eq!(vendor.asked().iter().filter(|line| line.starts_with("GET")).count(), 2);
}

#[tokio::test]
async fn views_are_kept_apart() {
    let vendor = vendor(&[(ZONE, "default"), (ZONE, "internal"), (ZONE, "internal.lab"), ("x.example", "v.lab")]).await;
    let proof = [txt(NAME, "v")];
    provider(vendor.url.clone()).await.preflight(&proof).await.expect("the default view");
    let ask = async |field: &str, view: &str| {
        make(json!({ "base_url": vendor.url, field: view })).await.expect("a provider").preflight(&proof).await
    };
    ask("view", "internal").await.expect("a view");
    ask("network_view", "lab").await.expect("the one view of that network");
    let error = ask("network_view", "default").await.expect_err("two views");
    assert!(error.to_string().contains("view: example.com is in the views default, internal"), "{error}");
    let error = ask("view", "other").await.expect_err("no such view");
    assert_eq!(error.kind, ErrorKind::NotServed);
}

#[tokio::test]
async fn limits_are_passed_on() {
    let vendor = vendor(&ZONES).await;
    vendor.limit(1, error(429, "Server", "slow down").header("retry-after", "9"));
    let error = provider(vendor.url.clone()).await.present(&hundred()).await.expect_err("too many");
    assert_eq!((error.kind, error.retry), (ErrorKind::RateLimited, Retry::After(Duration::from_secs(9))));
}

#[tokio::test]
async fn wrong_credentials_are_named_and_never_shown() {
    let vendor = vendor(&ZONES).await;
    let wrong = make(json!({ "base_url": vendor.url, "password": "planted-wrong" })).await.expect("a provider");
    let refused = wrong.preflight(&[txt(NAME, "v")]).await.expect_err("a wrong password");
    assert_eq!(refused.kind, ErrorKind::Credentials);
    assert!(refused.to_string().contains("check username and password"), "{refused}");
    vendor.limit(1, error(403, "Auth", "planted-wrong (ZGN2OnBsYW50ZWQtd3Jvbmc=) may not"));
    let echoed = wrong.preflight(&[txt(NAME, "v")]).await.expect_err("no permission");
    assert!(echoed.to_string().contains("[hidden] ([hidden]) may not; check the permissions"), "{echoed}");
    assert!(!format!("{refused:?} {echoed:?} {wrong:?}").contains("planted"));
}

#[tokio::test]
async fn lost_races_are_run_again() {
    let vendor = vendor(&ZONES).await;
    let provider = provider(vendor.url.clone()).await;
    let rival = |id: &str| vendor.account().zones.push(Zone { name: "rival".to_owned(), id: id.to_owned() });
    rival("v");
    provider.present(&[txt(NAME, "v"), txt("_dnsauth.b.example.com", "v")]).await.expect("one came into being");
    assert_eq!(vendor.account().rows.len(), 2);
    rival("clear");
    provider.retract(&[txt(NAME, "v")]).await.expect("it went away");
    // What stays refused is not tried again and again.
    vendor.account().add(ZONE, NAME, "CNAME", "x.example.net", 60).expect("room");
    let _ = vendor.asked();
    let error = provider.present(&[txt(NAME, "v")]).await.expect_err("an alias is there");
    assert_eq!((error.kind, vendor.asked().len()), (ErrorKind::Rejected, 3), "{error}");
    assert!(error.to_string().contains("already exists"), "{error}");
}

/// A grid master with a certificate of its own CA, which answers every request with an empty list of zones.
fn https() -> (String, String) {
    let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(issued.signing_key.serialize_der());
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("TLS")
        .with_no_client_auth()
        .with_single_cert(vec![issued.cert.der().clone()], key.into())
        .expect("a configuration");
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let url = format!("https://localhost:{}", listener.local_addr().expect("an address").port());
    let config = Arc::new(config);
    // It ends with the test's process.
    std::thread::spawn(move || {
        for tcp in listener.incoming().flatten() {
            let tls = rustls::ServerConnection::new(Arc::clone(&config)).expect("a connection");
            let mut stream = BufReader::new(rustls::StreamOwned::new(tls, tcp));
            let mut line = String::new();
            while stream.read_line(&mut line).is_ok_and(|read| read > 2) {
                line.clear();
            }
            let body = r#"{"result":[]}"#;
            let answer =
                format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
            let _ = stream.get_mut().write_all(answer.as_bytes()).and_then(|()| stream.get_mut().flush());
        }
    });
    (url, issued.cert.pem())
}

#[tokio::test]
async fn tls_is_verified_and_the_company_s_own_ca_can_be_named() {
    let (url, pem) = https();
    let folder = tempfile::tempdir().expect("a folder");
    let (good, bad) = (folder.path().join("ca.pem"), folder.path().join("empty.pem"));
    std::fs::write(&good, pem).expect("a file");
    std::fs::write(&bad, "no certificate").expect("a file");
    let proof = [txt(NAME, "v")];
    let error = provider(url.clone()).await.preflight(&proof).await.expect_err("nobody knows this CA");
    assert!(error.kind == ErrorKind::Config && error.to_string().contains("`ca_file`"), "{error}");
    let trusting = make(json!({ "base_url": url, "ca_file": good })).await.expect("a provider");
    let error = trusting.preflight(&proof).await.expect_err("it has no zones");
    assert_eq!(error.kind, ErrorKind::NotServed, "{error}");
    for file in [bad, folder.path().join("missing.pem")] {
        let error = make(json!({ "base_url": url, "ca_file": file })).await.expect_err("no CA");
        assert!(error.kind == ErrorKind::Config && error.to_string().starts_with("ca_file: "), "{error}");
    }
}
