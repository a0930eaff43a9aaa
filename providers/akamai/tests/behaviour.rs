//! The provider against a stand-in that puts requests and answers as the Edge DNS API's documents and Akamai's own Go client
//! (edgegrid-golang, `pkg/dns`) do. Signatures are checked against Akamai's test vectors in the crate; here their parts are.

use std::{os::unix::fs::PermissionsExt, time::Duration};

use dcv_akamai::{Akamai, Config, from_config};
use dcv_provider::{DcvProvider, ErrorKind, Proof, Retry, conformance};
use dcv_test_vendor::{Account, Answer, Asked, Refused, Row, Vendor};
use serde_json::{Value, json};

const ZONE: &str = "example.com";
const ZONES: [(&str, &str); 2] = [(ZONE, ZONE), ("sub.example.com", "sub.example.com")];
const SET: &str = "/config-dns/v2/zones/example.com/names/_dnsauth.example.com/types/TXT";

/// An error as RFC 7807 has it.
fn problem(status: u16, title: &str, detail: &str) -> Answer {
    Answer::new(
        status,
        json!({ "type": "https://problems.luna.akamaiapis.net", "title": title, "status": status, "detail": detail }),
    )
    .header("content-type", "application/problem+json")
}

fn rdata(row: &Row) -> String {
    if row.rtype == "CNAME" { format!("{}.", row.value) } else { dcv_provider::zone::quote(&row.value) }
}

fn set(account: &Account, name: &str, rtype: &str) -> Value {
    let rows = account.set(name, rtype);
    json!({ "name": name, "type": rtype, "ttl": rows[0].ttl, "rdata": rows.into_iter().map(rdata).collect::<Vec<_>>() })
}

fn replace(account: &mut Account, zone: &str, given: &Value) -> Result<(), Refused> {
    let text = |name: &str| given[name].as_str().unwrap_or_default().to_owned();
    let values: Vec<&str> = given["rdata"].as_array().expect("rdata").iter().filter_map(Value::as_str).collect();
    let ttl = u32::try_from(given["ttl"].as_u64().expect("a TTL")).expect("a TTL");
    account.replace(zone, &text("name"), &text("type"), &values, ttl)
}

fn akamai(account: &mut Account, asked: &Asked) -> Answer {
    let authorization = asked.header("authorization");
    for part in ["EG1-HMAC-SHA256 client_token=planted-ct;", ";timestamp=2", "+0000;nonce=", ";signature="] {
        assert!(authorization.contains(part), "{part}: {authorization}");
    }
    if !authorization.contains("access_token=planted-at;") {
        return problem(401, "Not authorized", &format!("Inactive access token in {authorization}"));
    }
    let (method, path) = asked.route();
    assert_eq!(path[..3], ["config-dns", "v2", "zones"]);
    let Some(zone) = path.get(3) else {
        assert_eq!(asked.query["showAll"], "true", "without it there are pages of 25");
        let zone = |zone: &dcv_test_vendor::Zone| json!({ "zone": zone.name, "type": if zone.id == "secondary" { "SECONDARY" } else { "PRIMARY" } });
        let zones: Vec<Value> = account.zones.iter().map(zone).collect();
        return Answer::new(
            200,
            json!({ "metadata": { "showAll": true, "totalElements": zones.len() }, "zones": zones }),
        );
    };
    let Some(zone) = account.zone(zone).map(|zone| zone.name.clone()) else {
        return problem(404, "Not Found", "zone");
    };
    let done = match (method, &path[4..]) {
        ("GET", []) => return Answer::new(200, json!({ "zone": zone })),
        ("GET", ["recordsets"]) => {
            assert_eq!((asked.query["showAll"].as_str(), asked.query["types"].as_str()), ("true", "TXT,CNAME"));
            let mut keys: Vec<_> = account.rows_of(&zone).map(|row| (row.name.clone(), row.rtype.clone())).collect();
            keys.dedup();
            let sets: Vec<Value> = keys.iter().map(|(name, rtype)| set(account, name, rtype)).collect();
            return Answer::new(200, json!({ "metadata": { "showAll": true }, "recordsets": sets }));
        }
        ("POST", ["recordsets"]) => {
            let before = account.rows.clone();
            let given = asked.json["recordsets"].as_array().cloned().unwrap_or_default();
            let made = given.iter().try_for_each(|given| {
                let name = given["name"].as_str().unwrap_or_default();
                let there = !account.set(name, given["type"].as_str().unwrap_or_default()).is_empty();
                if there { Err(Refused::Duplicate) } else { replace(account, &zone, given) }
            });
            made.inspect_err(|_| account.rows = before)
        }
        (_, ["names", name, "types", rtype]) => {
            if account.set(name, rtype).is_empty() {
                return problem(404, "Not Found", "record set");
            }
            match method {
                "GET" => return Answer::new(200, set(account, name, rtype)),
                "PUT" => replace(account, &zone, &asked.json),
                "DELETE" => account.replace(&zone, name, rtype, &[], 0),
                other => panic!("no {other}"),
            }
        }
        other => panic!("Edge DNS has no {other:?}"),
    };
    match done {
        Ok(()) => Answer::new(204, Value::Null),
        Err(Refused::Duplicate) => problem(409, "Conflict", "a record set is there already"),
        Err(refused) => problem(400, "Bad Request", &format!("{refused:?}")),
    }
}

async fn provider(url: String, access_token: &str) -> Akamai {
    let config: Config = serde_json::from_value(json!({
        "host": "akab-x.luna.akamaiapis.net", "client_token": "planted-ct", "client_secret": "planted-cs",
        "access_token": access_token, "base_url": format!("{url}/config-dns/v2"),
    }))
    .expect("a configuration");
    from_config(config, None).await.expect("a provider")
}

async fn vendor(zones: &[(&str, &str)]) -> Vendor {
    Vendor::start(zones, akamai, |url| provider(url, "planted-at")).await
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
async fn a_hundred_new_names_are_one_request_between_two_reads() {
    let vendor = vendor(&ZONES).await;
    let provider = provider(vendor.url.clone(), "planted-at").await;
    provider.present(&hundred()).await.expect("presented");
    let sets = "/config-dns/v2/zones/example.com/recordsets";
    let expected =
        ["GET /config-dns/v2/zones".to_owned(), format!("GET {sets}"), format!("POST {sets}"), format!("GET {sets}")];
    assert_eq!(vendor.asked(), expected);
    provider.present(&hundred()).await.expect("it is there");
    assert_eq!(vendor.asked(), [format!("GET {sets}")]);
    provider.retract(&hundred()).await.expect("retracted");
    let asked = vendor.asked();
    assert_eq!(asked.iter().filter(|line| line.starts_with("DELETE")).count(), 100);
    assert_eq!(asked.len(), 102);
}

#[tokio::test]
async fn what_is_not_ours_keeps_its_ttl_and_its_values() {
    let vendor = vendor(&ZONES).await;
    let name = "_dnsauth.example.com";
    vendor.account().add(ZONE, name, "TXT", "somebody's", 3600).expect("room");
    let provider = provider(vendor.url.clone(), "planted-at").await;
    provider.present(&[txt(name, "v")]).await.expect("presented");
    assert_eq!(vendor.asked()[1..], [format!("GET {SET}"), format!("PUT {SET}"), format!("GET {SET}")]);
    assert!(vendor.account().set(name, "TXT").iter().all(|row| row.ttl == 3600));
    assert_eq!(vendor.account().set(name, "TXT").len(), 2);
}

#[tokio::test]
async fn secondary_zones_are_not_changed() {
    let vendor = vendor(&[("secondary.example", "secondary"), ("example", "example")]).await;
    let provider = provider(vendor.url.clone(), "planted-at").await;
    let places = provider.preflight(&[txt("_dnsauth.secondary.example", "v")]).await.expect("the zone around it");
    assert!(places[0].within.starts_with("zone example at "), "{places:?}");
}

#[tokio::test]
async fn limits_are_passed_on() {
    let vendor = vendor(&ZONES).await;
    vendor.limit(1, problem(429, "Too Many Requests", "slow down").header("retry-after", "9"));
    let provider = provider(vendor.url.clone(), "planted-at").await;
    let error = provider.present(&hundred()).await.expect_err("too many");
    assert_eq!((error.kind, error.retry), (ErrorKind::RateLimited, Retry::After(Duration::from_secs(9))));
}

#[tokio::test]
async fn wrong_credentials_are_named_and_never_shown() {
    let vendor = vendor(&ZONES).await;
    let proof = [txt("_dnsauth.example.com", "v")];
    let wrong = provider(vendor.url.clone(), "planted-wrong").await;
    let error = wrong.preflight(&proof).await.expect_err("a wrong token");
    assert_eq!(error.kind, ErrorKind::Credentials);
    assert!(error.to_string().contains("access_token=[hidden]"), "{error}");
    assert!(!format!("{error:?} {wrong:?}").contains("planted"), "{error:?}");
    // A clock that is wrong looks like a bad request.
    vendor.limit(1, problem(400, "Bad request", "Invalid timestamp"));
    let error = provider(vendor.url.clone(), "planted-at").await.preflight(&proof).await.expect_err("a wrong clock");
    assert!(
        error.kind == ErrorKind::Credentials && error.to_string().ends_with("check this machine's clock"),
        "{error}"
    );
}

#[tokio::test]
async fn lost_races_are_run_again() {
    const NAME: &str = "_dnsauth.example.com";
    let vendor = vendor(&ZONES).await;
    let (provider, proof) = (provider(vendor.url.clone(), "planted-at").await, [txt(NAME, "v")]);
    let values = || -> Vec<String> { vendor.account().set(NAME, "TXT").iter().map(|row| row.value.clone()).collect() };
    vendor.race(|account| account.add(ZONE, NAME, "TXT", "other", 300).map(drop).expect("room"));
    provider.present(&proof).await.expect("the set came into being meanwhile");
    assert_eq!(values(), ["other", "v"]);
    vendor.race(|account| account.rows.clear());
    provider.present(&[txt(NAME, "w")]).await.expect("the set went away meanwhile");
    assert_eq!(values(), ["w"]);
    vendor.race(|account| account.rows.clear());
    provider.retract(&[txt(NAME, "w")]).await.expect("somebody else has removed it");
}

#[tokio::test]
async fn an_edgerc_file_does_instead_of_four_fields() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("edgerc");
    let text =
        "[dns]\nhost = akab-x.luna.akamaiapis.net/\nclient_token = a\nclient_secret = planted\naccess_token = c\n";
    std::fs::write(&file, text).expect("a file");
    let make = async |json: Value| from_config(serde_json::from_value(json).expect("a configuration"), None).await;
    let mode = |mode| std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("a mode");
    mode(0o600);
    let provider = make(json!({ "edgerc": file, "section": "dns" })).await.expect("a provider");
    let shown = format!("{provider:?}");
    assert!(
        shown.contains("https://akab-x.luna.akamaiapis.net/config-dns/v2") && !shown.contains("planted"),
        "{shown}"
    );
    for (json, part) in [
        (json!({ "edgerc": file }), "no section [default]"),
        (json!({ "edgerc": file, "section": "dns", "host": "x" }), "host: it is in the edgerc file"),
        (json!({ "section": "dns" }), "section: "),
        (json!({ "host": "x", "client_token": "a" }), "client_secret: it is missing"),
    ] {
        let error = make(json).await.expect_err(part);
        assert!(error.kind == ErrorKind::Config && error.to_string().contains(part), "{error}");
    }
    mode(0o644);
    let error = make(json!({ "edgerc": file, "section": "dns" })).await.expect_err("others can read it");
    assert!(error.to_string().contains("chmod 600"), "{error}");
}
