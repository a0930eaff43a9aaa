//! The provider against a stand-in that puts requests and answers as Linode's OpenAPI document (4.173.0) does, and is held against it: tags "Domains",
//! sections "Pagination", "Filtering and Sorting", "Rate Limiting" and "Errors".

use std::time::Duration;

use dcv_linode::{Config, Linode, from_config};
use dcv_provider::{DcvProvider, ErrorKind, Proof, Retry, conformance};
use dcv_test_vendor::{Account, Answer, Asked, Row, Vendor, absolute, document::Document, relative};
use serde_json::{Value, json};

const ZONE: &str = "example.com";
const ZONES: [(&str, &str); 2] = [(ZONE, "1234"), ("sub.example.com", "1235")];
const TOKEN: &str = "planted-token";

fn errors(status: u16, reason: &str) -> Answer {
    Answer::new(status, json!({ "errors": [{ "reason": reason }] }))
}

fn shown(row: &Row) -> Value {
    json!({
        "id": row.id.parse::<u64>().expect("ids are numbers"), "type": row.rtype, "name": relative(&row.name, &row.zone),
        "target": row.value, "ttl_sec": row.ttl, "priority": 0, "weight": 0, "port": 0, "service": null,
        "protocol": null, "tag": null, "created": "2025-10-15T13:52:10", "updated": "2025-10-15T13:52:10",
    })
}

/// One page of a list; the query's numbers are checked as the document says.
fn page(asked: &Asked, all: Vec<Value>) -> Answer {
    let filter: Value = serde_json::from_str(asked.header("x-filter")).unwrap_or(json!({}));
    let fits = |filter: &Value, item: &Value| {
        filter.as_object().is_some_and(|wanted| wanted.iter().all(|(key, value)| &item[key] == value))
    };
    let passes = |item: &Value| match filter["+or"].as_array() {
        Some(each) => each.iter().any(|filter| {
            // What the document marks as x-linode-filterable.
            let keys = filter.as_object().into_iter().flat_map(serde_json::Map::keys);
            assert!(keys.into_iter().all(|key| ["type", "name", "target", "tag"].contains(&key.as_str())), "{filter}");
            fits(filter, item)
        }),
        None => fits(&filter, item),
    };
    let all: Vec<Value> = all.into_iter().filter(passes).collect();
    let (number, size) = (asked.number("page").unwrap_or(1), asked.number("page_size").unwrap_or(100));
    if !(25..=500).contains(&size) || number == 0 {
        return errors(400, "page_size must be between 25 and 500");
    }
    let pages = all.len().div_ceil(size).max(1);
    let data: Vec<&Value> = all.iter().skip((number - 1) * size).take(size).collect();
    Answer::new(200, json!({ "data": data, "page": number, "pages": pages, "results": all.len() }))
}

fn linode(account: &mut Account, asked: &Asked) -> Answer {
    let scopes = match asked.header("authorization") {
        "Bearer planted-token" => "domains:read_write",
        "Bearer planted-reader" => "domains:read_only, linodes:read_write",
        other => return errors(401, &format!("Invalid Token {other}")),
    };
    let answer = match asked.route() {
        ("GET", path) if path == ["domains"] => {
            let zone = |zone: &dcv_test_vendor::Zone| {
                let role = if zone.name.starts_with("secondary.") { "slave" } else { "master" };
                json!({ "id": zone.id.parse::<u64>().expect("a number"), "domain": zone.name, "type": role })
            };
            page(asked, account.zones.iter().map(zone).collect())
        }
        ("GET", path) if path.len() == 2 => match account.zone(path[1]) {
            Some(zone) => Answer::new(200, json!({ "domain": zone.name })),
            None => errors(404, "Not found"),
        },
        ("GET", path) if path[2..] == ["records"] => {
            let Some(zone) = account.zone(path[1]).map(|zone| zone.name.clone()) else {
                return errors(404, "Not found");
            };
            page(asked, account.rows_of(&zone).map(shown).collect())
        }
        (_, _) if scopes != "domains:read_write" => {
            errors(401, "Your OAuth token is not authorized to use this endpoint.")
        }
        ("POST", path) if path[2..] == ["records"] => {
            let Some(zone) = account.zone(path[1]).map(|zone| zone.name.clone()) else {
                return errors(404, "Not found");
            };
            let text = |name: &str| asked.json[name].as_str().unwrap_or_default().to_owned();
            assert_ne!(asked.json["name"], "", "a name has at least one character");
            let ttl = u32::try_from(asked.json["ttl_sec"].as_u64().unwrap_or_default()).expect("a TTL");
            match account.add(&zone, &absolute(&text("name"), &zone), &text("type"), &text("target"), ttl) {
                Ok(row) => Answer::new(200, shown(&row)),
                Err(refused) => errors(400, &format!("{refused:?}")),
            }
        }
        ("DELETE", path) if path.len() == 4 => match account.remove(path[1], path[3]) {
            Ok(_) => Answer::new(200, json!({})),
            Err(_) => errors(404, "Not found"),
        },
        route => panic!("Linode has no {route:?}"),
    };
    answer.header("x-oauth-scopes", scopes)
}

/// Requests and answers, held against the vendor's document.
fn documented(account: &mut Account, asked: &Asked) -> Answer {
    let answer = linode(account, asked);
    Document::read(include_str!("support/document.json")).hold(asked, &answer);
    answer
}

async fn provider(url: String, token: &str) -> Linode {
    let config: Config = serde_json::from_value(json!({ "token": token, "base_url": url })).expect("a configuration");
    from_config(config, None).await.expect("a provider")
}

async fn vendor(zones: &[(&str, &str)]) -> Vendor {
    Vendor::start(zones, documented, |url| provider(url, TOKEN)).await
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
async fn a_hundred_names_cost_two_reads_and_a_request_each() {
    let vendor = vendor(&ZONES).await;
    let provider = provider(vendor.url.clone(), TOKEN).await;
    provider.present(&hundred()).await.expect("presented");
    let asked = vendor.asked();
    assert_eq!(asked[..2], ["GET /domains", "GET /domains/1234/records"]);
    assert_eq!(asked[2..], vec!["POST /domains/1234/records"; 100]);
    assert!(vendor.account().rows.iter().all(|row| row.ttl == 300), "the least TTL");
    provider.present(&hundred()).await.expect("it is there");
    assert_eq!(vendor.asked(), ["GET /domains/1234/records"]);
    provider.retract(&hundred()).await.expect("retracted");
    let asked = vendor.asked();
    assert_eq!(
        (asked.len(), asked[1..].iter().all(|line| line.starts_with("DELETE /domains/1234/records/"))),
        (101, true)
    );
}

#[tokio::test]
async fn few_names_are_asked_for_by_name_and_the_domain_itself_is_one() {
    let vendor = vendor(&ZONES).await;
    let provider = provider(vendor.url.clone(), TOKEN).await;
    provider.present(&[txt(ZONE, "at the domain"), txt("_dnsauth.x.sub.example.com", "v")]).await.expect("presented");
    let filters: Vec<String> = vendor.account().log.iter().map(|asked| asked.header("x-filter").to_owned()).collect();
    assert!(filters.contains(&r#"{"+or":[{"name":""}]}"#.to_owned()), "{filters:?}");
    assert!(filters.contains(&r#"{"+or":[{"name":"_dnsauth.x"}]}"#.to_owned()), "{filters:?}");
    assert_eq!(vendor.account().set(ZONE, "TXT").len(), 1);
}

#[tokio::test]
async fn domains_and_records_beyond_the_first_page_are_found() {
    let many: Vec<(String, String)> = (0..501).map(|n| (format!("d{n}.example"), (5000 + n).to_string())).collect();
    let zones: Vec<(&str, &str)> = many.iter().map(|(name, id)| (name.as_str(), id.as_str())).collect();
    let vendor = vendor(&zones).await;
    let last = "d500.example";
    for n in 0..1100 {
        vendor.account().add(last, &format!("h{n}.{last}"), "TXT", "somebody's", 300).expect("a record");
    }
    let proofs: Vec<Proof> = (0..30).map(|n| txt(&format!("_dnsauth.n{n}.{last}"), "v")).collect();
    provider(vendor.url.clone(), TOKEN).await.present(&proofs).await.expect("presented");
    let _ = vendor.asked();
    provider(vendor.url.clone(), TOKEN).await.retract(&proofs).await.expect("retracted");
    let asked = vendor.asked();
    assert_eq!(asked.iter().filter(|line| *line == "GET /domains").count(), 2);
    assert_eq!(asked.iter().filter(|line| line.ends_with("/records")).count(), 3, "1130 texts are on three pages");
    assert_eq!(vendor.account().rows.len(), 1100);
}

#[tokio::test]
async fn secondary_domains_are_not_changed() {
    let vendor = vendor(&[("secondary.example", "7"), ("example", "8")]).await;
    let proof = [txt("_dnsauth.secondary.example", "v")];
    let places = provider(vendor.url.clone(), TOKEN).await.preflight(&proof).await.expect("the zone around it");
    assert!(places[0].within.starts_with("zone example at "), "{places:?}");
}

#[tokio::test]
async fn limits_are_passed_on() {
    let vendor = vendor(&ZONES).await;
    vendor.limit(1, errors(429, "Too Many Requests").header("retry-after", "60"));
    let error = provider(vendor.url.clone(), TOKEN).await.present(&hundred()).await.expect_err("too many");
    assert_eq!((error.kind, error.retry), (ErrorKind::RateLimited, Retry::After(Duration::from_secs(60))));
}

#[tokio::test]
async fn wrong_credentials_are_named_and_never_shown() {
    let vendor = vendor(&ZONES).await;
    let proof = [txt("_dnsauth.example.com", "v")];
    let wrong = provider(vendor.url.clone(), "planted-wrong").await;
    let error = wrong.preflight(&proof).await.expect_err("a wrong token");
    assert_eq!(error.kind, ErrorKind::Credentials);
    assert!(error.to_string().contains("Invalid Token Bearer [hidden]"), "{error}");
    assert!(!format!("{error:?} {wrong:?}").contains("planted"));
    // A token that can only read is noticed before anything is ordered.
    let reader = provider(vendor.url.clone(), "planted-reader").await;
    let error = reader.preflight(&proof).await.expect_err("it cannot write");
    assert_eq!(error.kind, ErrorKind::Credentials);
    assert!(error.to_string().contains("Domains: Read/Write"), "{error}");
}

#[tokio::test]
async fn whoever_is_faster_does_no_harm() {
    let vendor = vendor(&ZONES).await;
    let (provider, proof) = (provider(vendor.url.clone(), TOKEN).await, [txt("_dnsauth.example.com", "v")]);
    vendor.race(|account| drop(account.add(ZONE, "_dnsauth.example.com", "TXT", "v", 300)));
    provider.present(&proof).await.expect("somebody else has added it");
    vendor.race(|account| account.rows.clear());
    provider.retract(&proof).await.expect("somebody else has removed it");
    vendor.race(|account| drop(account.add(ZONE, "_dnsauth.example.com", "CNAME", "x.example.net", 300)));
    let error = provider.present(&proof).await.expect_err("an alias came first");
    assert_eq!(error.kind, ErrorKind::Rejected);
    assert!(error.to_string().contains("(_dnsauth.example.com)"), "{error}");
}

#[tokio::test]
async fn what_linode_does_not_take_is_said_before() {
    let vendor = vendor(&ZONES).await;
    let long = format!("_dnsauth.{0}.{0}.{ZONE}", "a".repeat(50));
    let error = provider(vendor.url.clone(), TOKEN).await.preflight(&[txt(&long, "v")]).await.expect_err("too long");
    assert!(error.to_string().contains("up to 100 characters"), "{error}");
    let config: Config = serde_json::from_value(json!({ "token": TOKEN, "ttl": 60 })).expect("a configuration");
    let error = from_config(config, None).await.expect_err("too short");
    assert!(error.kind == ErrorKind::Config && error.to_string().starts_with("ttl: 60"), "{error}");
}
