//! The provider against a stand-in that puts requests and answers as DigitalOcean's API reference does: "Domains", "Domain
//! Records", "Rate Limit", "Links & Pagination"; and is held against a cut of DigitalOcean's OpenAPI document.

use std::time::Duration;

use dcv_digitalocean::{Config, DigitalOcean, from_config};
use dcv_provider::{DcvProvider, ErrorKind, Proof, Retry, conformance};
use dcv_test_vendor::{Account, Answer, Asked, Row, Vendor, absolute, document::Document, relative};
use serde_json::{Value, json};

const ZONE: &str = "example.com";
const ZONES: [(&str, &str); 2] = [(ZONE, ZONE), ("sub.example.com", "sub.example.com")];
const TOKEN: &str = "planted-token";

fn error(status: u16, id: &str, message: &str) -> Answer {
    Answer::new(status, json!({ "id": id, "message": message, "request_id": "4d9d8375-3c56-4925-a3e7-eb137fed17e9" }))
}

fn shown(row: &Row) -> Value {
    let name = match relative(&row.name, &row.zone) {
        "" => "@",
        name => name,
    };
    json!({
        "id": row.id.parse::<u64>().expect("ids are numbers"), "type": row.rtype, "name": name, "data": row.value,
        "priority": null, "port": null, "ttl": row.ttl, "weight": null, "flags": null, "tag": null,
    })
}

fn page(asked: &Asked, name: &str, all: &[Value]) -> Answer {
    let (number, size) = (asked.number("page").unwrap_or(1), asked.number("per_page").unwrap_or(20));
    if !(1..=200).contains(&size) || number == 0 {
        return error(400, "bad_request", "per_page must be between 1 and 200");
    }
    let some: Vec<&Value> = all.iter().skip((number - 1) * size).take(size).collect();
    Answer::new(200, json!({ name: some, "links": {}, "meta": { "total": all.len() } }))
}

fn digitalocean(account: &mut Account, asked: &Asked) -> Answer {
    if asked.header("authorization") != "Bearer planted-token" {
        return error(401, "unauthorized", &format!("Unable to authenticate {}", asked.header("authorization")));
    }
    let missing = || error(404, "not_found", "The resource you requested could not be found.");
    match asked.route() {
        ("GET", path) if path == ["domains"] => {
            let zones: Vec<Value> =
                account.zones.iter().map(|zone| json!({ "name": zone.name, "ttl": 1800, "zone_file": "" })).collect();
            page(asked, "domains", &zones)
        }
        ("GET", path) if path.len() == 2 && account.zone(path[1]).is_some() => {
            Answer::new(200, json!({ "domain": { "name": path[1] } }))
        }
        ("GET", path) if path.len() == 3 && account.zone(path[1]).is_some() => {
            let wanted = |row: &&Row| {
                asked.query.get("type").is_none_or(|rtype| row.rtype == *rtype)
                    && asked.query.get("name").is_none_or(|name| row.name == *name)
            };
            let rows: Vec<Value> = account.rows_of(path[1]).filter(wanted).map(shown).collect();
            page(asked, "domain_records", &rows)
        }
        ("POST", path) if path.len() == 3 && account.zone(path[1]).is_some() => {
            let text = |name: &str| asked.json[name].as_str().unwrap_or_default().to_owned();
            let (zone, ttl) = (path[1].to_owned(), asked.json["ttl"].as_u64().unwrap_or(1800));
            if text("type") == "CNAME" && !text("data").ends_with('.') {
                return error(422, "unprocessable_entity", "Data needs to end with a dot (.)");
            }
            let ttl = u32::try_from(ttl).expect("a TTL");
            match account.add(&zone, &absolute(&text("name"), &zone), &text("type"), &text("data"), ttl) {
                Ok(row) => Answer::new(201, json!({ "domain_record": shown(&row) })),
                Err(refused) => error(422, "unprocessable_entity", &format!("{refused:?}")),
            }
        }
        ("DELETE", path) if path.len() == 4 => match account.remove(path[1], path[3]) {
            Ok(_) => Answer::new(204, Value::Null),
            Err(_) => missing(),
        },
        _ => missing(),
    }
}

/// Requests and answers, held against the vendor's document.
fn documented(account: &mut Account, asked: &Asked) -> Answer {
    let answer = digitalocean(account, asked);
    Document::read(include_str!("support/document.json")).hold(asked, &answer);
    answer
}

async fn provider(url: String, token: &str) -> DigitalOcean {
    let config: Config = serde_json::from_value(json!({ "token": token, "base_url": url })).expect("a configuration");
    from_config(config, None).await.expect("a provider")
}

async fn vendor(zones: &[(&str, &str)]) -> Vendor {
    Vendor::start(zones, documented, |url| provider(url, TOKEN)).await
}

fn txt(name: &str, value: &str) -> Proof {
    Proof::Txt { name: name.to_owned(), value: value.to_owned() }
}

fn many(count: usize) -> Vec<Proof> {
    (0..count).map(|n| txt(&format!("_dnsauth.n{n}.{ZONE}"), "v")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_behaves() {
    conformance::run(&vendor(&ZONES).await).await;
}

#[tokio::test]
async fn a_hundred_names_cost_two_reads_and_a_request_each() {
    let vendor = vendor(&ZONES).await;
    let provider = provider(vendor.url.clone(), TOKEN).await;
    provider.present(&many(100)).await.expect("presented");
    let asked = vendor.asked();
    assert_eq!(asked[..3], ["GET /domains", "GET /domains/example.com/records", "GET /domains/example.com/records"]);
    assert_eq!(asked[3..], vec!["POST /domains/example.com/records"; 100]);
    provider.retract(&many(100)).await.expect("retracted");
    let asked = vendor.asked();
    assert_eq!((asked.len(), asked[2..].iter().filter(|line| line.starts_with("DELETE ")).count()), (102, 100));
}

#[tokio::test]
async fn records_beyond_the_first_page_are_found() {
    let vendor = vendor(&ZONES).await;
    let proofs = many(230);
    provider(vendor.url.clone(), TOKEN).await.present(&proofs).await.expect("presented");
    for n in 0..200 {
        vendor.account().add(ZONE, &format!("h{n}.{ZONE}"), "TXT", "somebody's", 300).expect("a record");
    }
    provider(vendor.url.clone(), TOKEN).await.retract(&proofs).await.expect("retracted");
    assert_eq!(vendor.account().rows.len(), 200);
}

#[tokio::test]
async fn limits_and_wrong_tokens_are_told_and_nothing_secret_is() {
    let vendor = vendor(&ZONES).await;
    vendor.limit(1, error(429, "too_many_requests", "API Rate limit exceeded.").header("retry-after", "30"));
    let limited = provider(vendor.url.clone(), TOKEN).await.present(&many(1)).await.expect_err("too many");
    assert_eq!((limited.kind, limited.retry), (ErrorKind::RateLimited, Retry::After(Duration::from_secs(30))));
    let wrong = provider(vendor.url.clone(), "planted-wrong").await;
    let denied = wrong.preflight(&many(1)).await.expect_err("a wrong token");
    assert_eq!(denied.kind, ErrorKind::Credentials);
    assert!(denied.to_string().contains("unauthorized") && denied.to_string().contains("domain scopes"), "{denied}");
    assert!(!format!("{denied:?} {wrong:?}").contains("planted"));
    let config: Config = serde_json::from_value(json!({ "token": TOKEN, "ttl": 5 })).expect("a configuration");
    let short = from_config(config, None).await.expect_err("too short");
    assert!(short.kind == ErrorKind::Config && short.to_string().starts_with("ttl: 5"), "{short}");
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
    assert!(error.kind == ErrorKind::Rejected && error.to_string().contains("(_dnsauth.example.com)"), "{error}");
    let error = provider.present(&proof).await.expect_err("the alias is there");
    assert!(error.to_string().contains("an alias of x.example.net is there, which is not ours"), "{error}");
}
