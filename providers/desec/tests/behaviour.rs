//! The provider against a stand-in that puts requests and answers as deSEC's documentation does: "Retrieving and Creating DNS
//! Records", "Bulk Operations", "Pagination", "Rate Limits".

use std::time::Duration;

use dcv_desec::{Config, Desec, from_config};
use dcv_provider::{DcvProvider, ErrorKind, Proof, Retry, conformance};
use dcv_test_vendor::{Account, Answer, Asked, Row, Vendor, absolute, relative};
use serde_json::{Value, json};

const ZONE: &str = "example.com";
const ZONES: [(&str, &str); 2] = [(ZONE, ZONE), ("sub.example.com", "sub.example.com")];
const TOKEN: &str = "planted-token";
/// What a page holds.
const PAGE: usize = 500;

fn detail(status: u16, text: &str) -> Answer {
    Answer::new(status, json!({ "detail": text }))
}

fn set(rows: &[&Row]) -> Value {
    let value = |row: &&Row| match row.rtype.as_str() {
        "TXT" => dcv_provider::zone::quote(&row.value),
        _ => format!("{}.", row.value),
    };
    let (subname, records) = (relative(&rows[0].name, &rows[0].zone), rows.iter().map(value).collect::<Vec<_>>());
    json!({
        "created": "2019-09-18T16:32:16.510368Z", "domain": rows[0].zone, "subname": subname,
        "name": format!("{}.", rows[0].name), "type": rows[0].rtype, "records": records, "ttl": rows[0].ttl,
    })
}

/// One page of a list: without a cursor a long one is refused.
fn page(asked: &Asked, all: &[Value]) -> Answer {
    let Some(cursor) = asked.query.get("cursor") else {
        if all.len() > PAGE {
            return detail(400, "Pagination required. You can query up to 500 items at a time.");
        }
        return Answer::new(200, json!(all));
    };
    let from: usize = cursor.parse().unwrap_or(0);
    let some: Vec<&Value> = all.iter().skip(from).take(PAGE).collect();
    let answer = Answer::new(200, json!(some));
    if from + PAGE >= all.len() {
        return answer;
    }
    let rest = asked.raw_query.split('&').filter(|pair| !pair.starts_with("cursor=")).collect::<Vec<_>>().join("&");
    let url = format!("https://desec.io/api/v1{}", asked.path);
    let link = format!("<{url}?cursor=>; rel=\"first\", <{url}?{rest}&cursor={}>; rel=\"next\"", from + PAGE);
    answer.header("link", link)
}

fn desec(account: &mut Account, asked: &Asked) -> Answer {
    assert!(asked.path.ends_with('/'), "{} has no final slash", asked.path);
    let scoped = match asked.header("authorization") {
        "Token planted-token" => false,
        "Token planted-scoped" => true,
        other => return detail(401, &format!("Invalid token {other}")),
    };
    match asked.route() {
        ("GET", path) if path == ["domains"] => {
            if scoped {
                return detail(403, "You do not have permission to perform this action.");
            }
            let least = |name: &str| if name == ZONE { 900 } else { 3600 };
            let zones = account.zones.iter().map(|zone| json!({ "name": zone.name, "minimum_ttl": least(&zone.name) }));
            page(asked, &zones.collect::<Vec<_>>())
        }
        (_, path) if path.len() != 3 || account.zone(path[1]).is_none() => detail(404, "Not found."),
        ("GET", path) => {
            let mut rows: Vec<&Row> = account.rows_of(path[1]).collect();
            rows.retain(|row| {
                asked.query.get("type").is_none_or(|rtype| row.rtype == *rtype)
                    && asked.query.get("subname").is_none_or(|name| relative(&row.name, &row.zone) == name)
            });
            rows.sort_by(|a, b| (&a.name, &a.rtype).cmp(&(&b.name, &b.rtype)));
            let sets = rows.chunk_by(|a, b| (&a.name, &a.rtype) == (&b.name, &b.rtype)).map(set);
            page(asked, &sets.collect::<Vec<_>>())
        }
        ("PATCH", path) => {
            let (zone, before) = (path[1].to_owned(), account.rows.clone());
            let least = if zone == ZONE { 900 } else { 3600 };
            let mut errors = Vec::new();
            for one in asked.json.as_array().expect("a list") {
                let (name, rtype) = (
                    absolute(one["subname"].as_str().unwrap_or_default(), &zone),
                    one["type"].as_str().expect("a type"),
                );
                let known = account.set(&name, rtype).first().map(|row| u64::from(row.ttl));
                let values: Vec<&str> =
                    one["records"].as_array().expect("records").iter().filter_map(Value::as_str).collect();
                assert!(values.iter().all(|value| value.starts_with('"') || rtype != "TXT"), "texts are in quotes");
                let Some(ttl) = one["ttl"].as_u64().or(known).or(values.is_empty().then_some(3600)) else {
                    errors.push(json!({ "ttl": ["This field is required."] }));
                    continue;
                };
                if one["ttl"].is_u64() && ttl < least {
                    errors.push(json!({ "ttl": [format!("Ensure this value is greater than or equal to {least}.")] }));
                    continue;
                }
                let ttl = u32::try_from(ttl).expect("a TTL");
                errors.push(match account.replace(&zone, &name, rtype, &values, ttl) {
                    Ok(()) => json!({}),
                    Err(refused) => json!({ "non_field_errors": [format!("{refused:?}")] }),
                });
            }
            if errors.iter().all(|one| *one == json!({})) {
                return Answer::new(200, json!([]));
            }
            account.rows = before;
            Answer::new(400, json!(errors))
        }
        route => panic!("deSEC has no {route:?}"),
    }
}

async fn make(config: Value) -> Desec {
    let config: Config = serde_json::from_value(config).expect("a configuration");
    from_config(config, None).await.expect("a provider")
}

async fn provider(url: String, token: &str) -> Desec {
    make(json!({ "token": token, "base_url": url })).await
}

async fn vendor() -> Vendor {
    Vendor::start(&ZONES, desec, |url| provider(url, TOKEN)).await
}

fn txt(name: &str, value: &str) -> Proof {
    Proof::Txt { name: name.to_owned(), value: value.to_owned() }
}

fn many(count: usize) -> Vec<Proof> {
    (0..count).map(|n| txt(&format!("_dnsauth.n{n}.{ZONE}"), "v")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_behaves() {
    conformance::run(&vendor().await).await;
}

#[tokio::test]
async fn a_hundred_names_are_two_writes() {
    let vendor = vendor().await;
    let provider = provider(vendor.url.clone(), TOKEN).await;
    provider.present(&many(100)).await.expect("presented");
    provider.retract(&many(100)).await.expect("retracted");
    let asked = vendor.asked();
    assert_eq!(asked.iter().filter(|line| *line == "PATCH /domains/example.com/rrsets/").count(), 2);
    assert_eq!(asked.len(), 11, "{asked:?}");
    assert_eq!(vendor.account().rows.len(), 0);
}

#[tokio::test]
async fn ttls_are_those_of_the_domain_and_sets_beyond_a_page_are_found() {
    let vendor = vendor().await;
    let proofs = many(600);
    provider(vendor.url.clone(), TOKEN).await.present(&proofs).await.expect("presented");
    assert!(vendor.account().rows.iter().all(|row| row.ttl == 900));
    vendor.account().add(ZONE, "_dnsauth.n599.example.com", "TXT", "somebody's", 900).expect("a record");
    provider(vendor.url.clone(), TOKEN).await.retract(&proofs).await.expect("retracted");
    assert_eq!(vendor.account().rows.len(), 1);
}

#[tokio::test]
async fn a_token_that_may_not_list_needs_the_zones() {
    let vendor = vendor().await;
    let denied = provider(vendor.url.clone(), "planted-scoped").await.present(&many(1)).await.expect_err("it may not");
    assert!(denied.kind == ErrorKind::Credentials && denied.to_string().contains("`zones`"), "{denied}");
    let scoped = make(json!({ "token": "planted-scoped", "base_url": vendor.url, "zones": ["Example.com."] })).await;
    scoped.present(&many(1)).await.expect("presented");
    assert_eq!(vendor.account().rows[0].ttl, 3600);
    assert!(!format!("{denied:?} {scoped:?}").contains("planted"));
}

#[tokio::test]
async fn limits_are_passed_on() {
    let vendor = vendor().await;
    vendor
        .limit(1, detail(429, "Request was throttled. Expected available in 60 seconds.").header("retry-after", "60"));
    let limited = provider(vendor.url.clone(), TOKEN).await.present(&many(1)).await.expect_err("too many");
    assert_eq!((limited.kind, limited.retry), (ErrorKind::RateLimited, Retry::After(Duration::from_secs(60))));
}

#[tokio::test]
async fn other_writers_are_noticed() {
    let vendor = vendor().await;
    let (provider, proof) = (provider(vendor.url.clone(), TOKEN).await, [txt("_dnsauth.example.com", "v")]);
    vendor.account().add(ZONE, "_dnsauth.example.com", "TXT", "somebody's", 900).expect("a record");
    // The set is gone when it is to be added to: the new one wants a TTL.
    vendor.race(|account| account.rows.clear());
    provider.present(&proof).await.expect("presented");
    vendor.after(|account| {
        account.replace(ZONE, "_dnsauth.example.com", "TXT", &["\"v\"", "\"his\""], 900).expect("replaced");
    });
    provider.retract(&proof).await.expect("retracted again");
    assert_eq!(vendor.account().rows.iter().map(|row| row.value.as_str()).collect::<Vec<_>>(), ["his"]);
}
