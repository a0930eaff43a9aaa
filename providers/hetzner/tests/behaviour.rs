//! The provider against a stand-in that puts requests and answers as Hetzner's Cloud API does ("Zones", "Zone RRSets", "Zone RRSet
//! Actions", "Actions", "Pagination", "Errors"), with actions that take their time, as recordings of other clients show them.

use std::time::Duration;

use dcv_hetzner::{Config, Hetzner, from_config};
use dcv_provider::{DcvProvider, ErrorKind, Proof, Retry, conformance};
use dcv_test_vendor::{Account, Answer, Asked, Row, Vendor, Zone, absolute, relative};
use serde_json::{Value, json};

const ZONE: &str = "example.com";
const ZONES: [(&str, &str); 2] = [(ZONE, "53091"), ("sub.example.com", "53092")];
const TOKEN: &str = "planted-token";
const VALUE: &str = "v";

fn error(status: u16, code: &str, message: &str) -> Answer {
    Answer::new(status, json!({ "error": { "code": code, "message": message, "details": null } }))
}

fn page(asked: &Asked, name: &str, all: &[Value]) -> Answer {
    let (number, size) = (asked.number("page").unwrap_or(1), asked.number("per_page").unwrap_or(25));
    if !(1..=50).contains(&size) || number == 0 {
        return error(422, "invalid_input", "invalid input in field 'per_page'");
    }
    let some: Vec<&Value> = all.iter().skip((number - 1) * size).take(size).collect();
    let last = all.len().div_ceil(size).max(1);
    Answer::new(
        200,
        json!({ name: some, "meta": { "pagination": {
            "page": number, "per_page": size, "previous_page": null, "next_page": null, "last_page": last,
            "total_entries": all.len(),
        } } }),
    )
}

fn short(name: &str, zone: &str) -> String {
    match relative(name, zone) {
        "" => "@".to_owned(),
        name => name.to_owned(),
    }
}

fn sets(account: &Account, zone: &str, asked: &Asked) -> Vec<Value> {
    let mut rows: Vec<&Row> = account.rows_of(zone).collect();
    rows.sort_by(|a, b| (&a.name, &a.rtype).cmp(&(&b.name, &b.rtype)));
    rows.chunk_by(|a, b| (&a.name, &a.rtype) == (&b.name, &b.rtype))
        .map(|rows| {
            let value = |row: &&Row| match row.rtype.as_str() {
                "TXT" => json!({ "value": dcv_provider::zone::quote(&row.value), "comment": "" }),
                _ => json!({ "value": format!("{}.", row.value), "comment": "" }),
            };
            let (name, rtype) = (short(&rows[0].name, zone), &rows[0].rtype);
            let records: Vec<Value> = rows.iter().map(value).collect();
            json!({
                "id": format!("{name}/{rtype}"), "name": name, "type": rtype, "ttl": rows[0].ttl, "labels": {},
                "protection": { "change": false }, "records": records, "zone": 53091,
            })
        })
        .filter(|set| {
            ["name", "type"].iter().all(|field| asked.query.get(*field).is_none_or(|wanted| set[field] == **wanted))
        })
        .collect()
}

/// Actions are running when they are begun, and done at the next look.
fn action(asked: &Asked, status: &str) -> Value {
    let id = asked.body.iter().fold(7u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)) >> 11);
    json!({ "id": id, "status": status, "command": "add_rrset_records", "progress": 0, "error": null, "resources": [] })
}

fn hetzner(account: &mut Account, asked: &Asked) -> Answer {
    match asked.header("authorization") {
        "Bearer planted-token" => {}
        other => return error(401, "unauthorized", &format!("unable to authenticate {other}")),
    }
    let missing = || error(404, "not_found", "rrset not found");
    match asked.route() {
        ("GET", path) if path == ["zones"] => {
            let zone = |zone: &Zone| {
                let mode = if zone.name.starts_with("secondary.") { "secondary" } else { "primary" };
                json!({ "id": zone.id.parse::<u64>().expect("a number"), "name": zone.name, "mode": mode, "ttl": 86400 })
            };
            page(asked, "zones", &account.zones.iter().map(zone).collect::<Vec<_>>())
        }
        ("GET", path) if path == ["zones", "actions"] => {
            let ids = asked.raw_query.split('&').filter_map(|pair| pair.strip_prefix("id=")?.parse::<u64>().ok());
            let done = |id| json!({ "id": id, "status": "success", "command": "add_rrset_records", "error": null });
            page(asked, "actions", &ids.map(done).collect::<Vec<_>>())
        }
        ("GET", path) if path.len() == 2 => match account.zone(path[1]) {
            Some(zone) => Answer::new(200, json!({ "zone": { "name": zone.name } })),
            None => missing(),
        },
        ("GET", path) if path.len() == 3 => match account.zone(path[1]).map(|zone| zone.name.clone()) {
            Some(zone) => page(asked, "rrsets", &sets(account, &zone, asked)),
            None => missing(),
        },
        ("POST", path) if path.len() == 7 && path[5] == "actions" => {
            let Some(zone) = account.zone(path[1]).map(|zone| zone.name.clone()) else { return missing() };
            let (name, rtype) = (absolute(path[3], &zone), path[4].to_owned());
            let there = account.set(&name, &rtype).into_iter().map(|row| (row.id.clone(), row.value.clone(), row.ttl));
            let there: Vec<(String, String, u32)> = there.collect();
            let values: Vec<&str> = asked.json["records"]
                .as_array()
                .expect("records")
                .iter()
                .filter_map(|one| one["value"].as_str())
                .collect();
            let ttl = asked.json["ttl"].as_u64().map(|ttl| u32::try_from(ttl).expect("a TTL"));
            if path[6] == "add_records" {
                if there.first().is_some_and(|(_, _, known)| ttl.is_some_and(|ttl| ttl != *known)) {
                    return error(422, "invalid_input", "TTL differs from that of the RRSet");
                }
                for value in values {
                    if rtype == "TXT" && !value.starts_with('"') {
                        return error(422, "invalid_input", "TXT records must be fully quoted");
                    }
                    if let Err(refused) = account.add(&zone, &name, &rtype, value, ttl.unwrap_or(86400)) {
                        return error(422, "invalid_input", &format!("record already exists: {refused:?}"));
                    }
                }
            } else {
                for value in values {
                    let said =
                        String::from_utf8(dcv_provider::zone::unquote(value.trim_end_matches('.'))).expect("text");
                    let Some((id, ..)) = there.iter().find(|(_, one, _)| *one == said) else { return missing() };
                    account.remove(&zone, &id.clone()).expect("it is there");
                }
            }
            Answer::new(201, json!({ "action": action(asked, "running") }))
        }
        route => panic!("Hetzner has no {route:?}"),
    }
}

async fn provider(url: String, token: &str) -> Hetzner {
    let config: Config = serde_json::from_value(json!({ "token": token, "base_url": url })).expect("a configuration");
    from_config(config, None).await.expect("a provider")
}

async fn vendor(zones: &[(&str, &str)]) -> Vendor {
    Vendor::start(zones, hetzner, |url| provider(url, TOKEN)).await
}

fn txt(name: &str, value: &str) -> Proof {
    Proof::Txt { name: name.to_owned(), value: value.to_owned() }
}

fn hundred() -> Vec<Proof> {
    (0..100).map(|n| txt(&format!("_dnsauth.n{n}.{ZONE}"), VALUE)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_behaves() {
    conformance::run(&vendor(&ZONES).await).await;
}

#[tokio::test]
async fn a_hundred_names_cost_an_action_each_and_few_looks() {
    let vendor = vendor(&ZONES).await;
    let provider = provider(vendor.url.clone(), TOKEN).await;
    provider.present(&hundred()).await.expect("presented");
    let asked = vendor.asked();
    assert_eq!(asked[..3], ["GET /zones", "GET /zones/53091/rrsets", "GET /zones/53091/rrsets"]);
    assert_eq!(asked[3..].iter().filter(|line| line.ends_with("/TXT/actions/add_records")).count(), 100);
    assert!(asked[103..].iter().all(|line| line == "GET /zones/actions") && asked.len() < 110, "{}", asked.len());
    assert!(vendor.account().rows.iter().all(|row| row.ttl == 60));
    provider.retract(&hundred()).await.expect("retracted");
    assert_eq!(vendor.account().rows.len(), 0);
}

#[tokio::test]
async fn a_set_that_is_there_keeps_its_ttl_and_secondaries_are_left_alone() {
    let vendor = vendor(&[("secondary.example.com", "7"), (ZONE, "53091")]).await;
    vendor.account().add(ZONE, "_dnsauth.example.com", "TXT", "somebody's", 3600).expect("a record");
    let provider = provider(vendor.url.clone(), TOKEN).await;
    provider.present(&[txt("_dnsauth.example.com", VALUE)]).await.expect("presented beside it");
    assert!(vendor.account().rows.iter().all(|row| row.ttl == 3600 || row.value == VALUE));
    let places = provider.preflight(&[txt("_dnsauth.secondary.example.com", VALUE)]).await.expect("the zone around it");
    assert!(places[0].within.starts_with("zone example.com at "), "{places:?}");
}

#[tokio::test]
async fn limits_and_wrong_tokens_are_told_and_nothing_secret_is() {
    let vendor = vendor(&ZONES).await;
    vendor.limit(
        1,
        error(429, "rate_limit_exceeded", "limit of 3600 requests per hour reached").header("retry-after", "2"),
    );
    let proof = [txt("_dnsauth.example.com", VALUE)];
    let limited = provider(vendor.url.clone(), TOKEN).await.present(&proof).await.expect_err("too many");
    assert_eq!((limited.kind, limited.retry), (ErrorKind::RateLimited, Retry::After(Duration::from_secs(2))));
    let wrong = provider(vendor.url.clone(), "planted-wrong").await;
    let denied = wrong.preflight(&proof).await.expect_err("a wrong token");
    assert_eq!(denied.kind, ErrorKind::Credentials);
    assert!(denied.to_string().contains("unauthorized") && denied.to_string().contains("Read & Write"), "{denied}");
    assert!(!format!("{denied:?} {wrong:?}").contains("planted"));
}

#[tokio::test]
async fn whoever_is_faster_does_no_harm() {
    let vendor = vendor(&ZONES).await;
    let (provider, proof) = (provider(vendor.url.clone(), TOKEN).await, [txt("_dnsauth.example.com", VALUE)]);
    vendor.race(|account| drop(account.add(ZONE, "_dnsauth.example.com", "TXT", VALUE, 300)));
    provider.present(&proof).await.expect("somebody else has added it");
    vendor.race(|account| account.rows.clear());
    provider.retract(&proof).await.expect("somebody else has removed it");
    vendor.race(|account| drop(account.add(ZONE, "_dnsauth.example.com", "CNAME", "x.example.net", 300)));
    let error = provider.present(&proof).await.expect_err("an alias came first");
    assert!(error.to_string().contains("an alias of x.example.net is there, which is not ours"), "{error}");
}
