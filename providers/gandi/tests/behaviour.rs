//! The provider against a stand-in that puts requests and answers as Gandi's LiveDNS documentation does, and as recordings of other
//! clients show them: texts come back in quotes, and a set without a TTL gets 10800.

use std::time::Duration;

use dcv_gandi::{Config, Gandi, from_config};
use dcv_provider::{DcvProvider, ErrorKind, Proof, Retry, conformance};
use dcv_test_vendor::{Account, Answer, Asked, Row, Vendor, absolute, relative};
use serde_json::{Value, json};

const ZONE: &str = "example.com";
const ZONES: [(&str, &str); 2] = [(ZONE, ZONE), ("sub.example.com", "sub.example.com")];
const TOKEN: &str = "planted-token";

fn error(status: u16, object: &str, message: &str) -> Answer {
    Answer::new(status, json!({ "code": status, "message": message, "object": object, "cause": "Error" }))
}

fn set(rows: &[&Row]) -> Value {
    let value = |row: &&Row| match row.rtype.as_str() {
        "TXT" => dcv_provider::zone::quote(&row.value),
        _ => format!("{}.", row.value),
    };
    let name = match relative(&rows[0].name, &rows[0].zone) {
        "" => "@",
        name => name,
    };
    let values: Vec<String> = rows.iter().map(value).collect();
    json!({ "rrset_name": name, "rrset_type": rows[0].rtype, "rrset_ttl": rows[0].ttl, "rrset_values": values })
}

fn gandi(account: &mut Account, asked: &Asked) -> Answer {
    if !["Bearer planted-token", "Apikey planted-token"].contains(&asked.header("authorization")) {
        return error(403, "HTTPForbidden", &format!("Access was denied to {}", asked.header("authorization")));
    }
    let page = |all: Vec<Value>| {
        let (number, size) = (asked.number("page").unwrap_or(1), asked.number("per_page").unwrap_or(100));
        Answer::new(200, all.into_iter().skip((number - 1) * size).take(size).collect())
    };
    let missing = || error(404, "dns-record", "Can't find the DNS record in the zone");
    match asked.route() {
        ("GET", path) if path == ["domains"] => {
            page(account.zones.iter().map(|zone| json!({ "fqdn": zone.name })).collect())
        }
        (_, path) if path.len() < 2 || account.zone(path[1]).is_none() => missing(),
        ("GET", path) if path.len() == 2 => Answer::new(200, json!({ "fqdn": path[1] })),
        ("GET", path) if path.len() == 3 => {
            let mut rows: Vec<&Row> = account.rows_of(path[1]).collect();
            rows.retain(|row| asked.query.get("rrset_type").is_none_or(|rtype| row.rtype == *rtype));
            rows.sort_by(|a, b| (&a.name, &a.rtype).cmp(&(&b.name, &b.rtype)));
            page(rows.chunk_by(|a, b| (&a.name, &a.rtype) == (&b.name, &b.rtype)).map(set).collect())
        }
        (method, path) if path.len() == 5 => {
            let (zone, name, rtype) = (path[1].to_owned(), absolute(path[3], path[1]), path[4].to_owned());
            let rows = account.set(&name, &rtype);
            match method {
                "GET" | "DELETE" if rows.is_empty() => missing(),
                "GET" => Answer::new(200, set(&rows)),
                "DELETE" => {
                    account.replace(&zone, &name, &rtype, &[], 0).expect("deleted");
                    Answer::new(204, Value::Null)
                }
                _ => {
                    let values = asked.json["rrset_values"].as_array().expect("values");
                    let values: Vec<&str> = values.iter().filter_map(Value::as_str).collect();
                    let ttl = u32::try_from(asked.json["rrset_ttl"].as_u64().unwrap_or(10800)).expect("a TTL");
                    match account.replace(&zone, &name, &rtype, &values, ttl) {
                        Ok(()) => Answer::new(201, json!({ "message": "DNS Record Created" })),
                        Err(refused) => error(409, "dns-record", &format!("{refused:?}")),
                    }
                }
            }
        }
        route => panic!("Gandi has no {route:?}"),
    }
}

async fn provider(url: String, token: &str) -> Gandi {
    let config: Config = serde_json::from_value(json!({ "token": token, "base_url": url })).expect("a configuration");
    from_config(config, None).await.expect("a provider")
}

async fn vendor() -> Vendor {
    Vendor::start(&ZONES, gandi, |url| provider(url, TOKEN)).await
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
async fn a_hundred_names_cost_a_request_each_and_the_look_before_and_after() {
    let vendor = vendor().await;
    let provider = provider(vendor.url.clone(), TOKEN).await;
    provider.present(&many(100)).await.expect("presented");
    let asked = vendor.asked();
    let count = |start: &str| asked.iter().filter(|line| line.starts_with(start)).count();
    assert_eq!((asked.len(), count("GET /domains/example.com/records"), count("PUT ")), (105, 4, 100));
    provider.retract(&many(100)).await.expect("retracted");
    assert_eq!(vendor.asked().iter().filter(|line| line.starts_with("DELETE ")).count(), 100);
    // More sets than fit on a page.
    provider.present(&many(600)).await.expect("presented");
    provider.retract(&many(600)).await.expect("retracted");
    assert_eq!(vendor.account().rows.len(), 0);
}

#[tokio::test]
async fn a_set_that_is_there_keeps_its_ttl() {
    let vendor = vendor().await;
    vendor.account().add(ZONE, "_dnsauth.example.com", "TXT", "somebody's", 7200).expect("a record");
    let provider = provider(vendor.url.clone(), TOKEN).await;
    provider.present(&[txt("_dnsauth.example.com", "v")]).await.expect("presented beside it");
    assert_eq!(vendor.account().rows.iter().map(|row| row.ttl).collect::<Vec<_>>(), [7200, 7200]);
    provider.retract(&[txt("_dnsauth.example.com", "v")]).await.expect("retracted");
    assert_eq!(
        vendor.account().rows.iter().map(|row| (row.ttl, row.value.as_str())).collect::<Vec<_>>(),
        [(7200, "somebody's")]
    );
}

#[tokio::test]
async fn a_writer_elsewhere_who_puts_an_older_set_back_is_noticed() {
    let vendor = vendor().await;
    vendor.account().add(ZONE, "_dnsauth.example.com", "TXT", "somebody's", 300).expect("a record");
    // Somebody adds a value between our look and our write: the write takes it away, which nobody but he can notice. Somebody who
    // writes after us with a set from before takes ours away, and that we do notice.
    let provider = provider(vendor.url.clone(), TOKEN).await;
    vendor.after(|account| {
        account.replace(ZONE, "_dnsauth.example.com", "TXT", &["somebody's", "his"], 300).expect("replaced");
    });
    provider.present(&[txt("_dnsauth.example.com", "v")]).await.expect("presented again");
    let mut values: Vec<String> = vendor.account().rows.iter().map(|row| row.value.clone()).collect();
    values.sort();
    assert_eq!(values, ["his", "somebody's", "v"]);
}

#[tokio::test]
async fn limits_and_wrong_tokens_are_told_and_nothing_secret_is() {
    let vendor = vendor().await;
    vendor.limit(1, error(429, "HTTPTooManyRequests", "Too many requests").header("retry-after", "4"));
    let limited = provider(vendor.url.clone(), TOKEN).await.present(&many(1)).await.expect_err("too many");
    assert_eq!((limited.kind, limited.retry), (ErrorKind::RateLimited, Retry::After(Duration::from_secs(4))));
    let wrong = provider(vendor.url.clone(), "planted-wrong").await;
    let denied = wrong.preflight(&many(1)).await.expect_err("a wrong token");
    assert_eq!(denied.kind, ErrorKind::Credentials);
    assert!(denied.to_string().contains("its domains"), "{denied}");
    assert!(!format!("{denied:?} {wrong:?}").contains("planted"));
    let of = |config: Value| async move {
        from_config(serde_json::from_value(config).expect("a configuration"), None).await
    };
    of(json!({ "key": TOKEN, "base_url": vendor.url })).await.expect("a key is as good");
    for (wrong, starts) in [
        (json!({}), "token: "),
        (json!({ "token": "a", "key": "b" }), "token: "),
        (json!({ "token": "a", "ttl": 60 }), "ttl: 60"),
    ] {
        let error = of(wrong).await.expect_err("no configuration");
        assert!(error.kind == ErrorKind::Config && error.to_string().starts_with(starts), "{error}");
    }
}
