//! The provider against a stand-in that puts requests and answers as NS1's documents ("Zones", "Records", "API rate limiting") and
//! its own clients (ns1-go: `rest/zone.go`, `rest/record.go`, `rest/client.go`) do.

use std::{collections::BTreeMap, time::Duration};

use dcv_ns1::{Config, Ns1, from_config};
use dcv_provider::{DcvProvider, ErrorKind, Proof, Retry, conformance};
use dcv_test_vendor::{Account, Answer, Asked, Row, Vendor};
use serde_json::{Value, json};

const ZONE: &str = "example.com";
const ZONES: [(&str, &str); 2] = [(ZONE, ZONE), ("sub.example.com", "sub.example.com")];
const KEY: &str = "planted-key";
const PER_PAGE: usize = 2500;

fn message(status: u16, message: &str) -> Answer {
    Answer::new(status, json!({ "message": message }))
}

/// One page of a list, and the link to the next one as NS1 gives it: with `http` and a host of its own.
fn page(asked: &Asked, all: &[Value], put: impl Fn(&[Value]) -> Value) -> Answer {
    let after = asked.number("after").unwrap_or(0);
    let end = all.len().min(after + PER_PAGE);
    let answer = Answer::new(200, put(&all[after..end]));
    if end == all.len() {
        return answer;
    }
    answer.header("link", format!("<http://api.nsone.net{}?after={end}&limit={PER_PAGE}>; rel=\"next\"", asked.path))
}

/// The answers of a set; one that is not ours has more to it than its data.
fn answers(rows: &[&Row]) -> Vec<Value> {
    let full = |row: &&Row| match row.value.as_str() {
        "somebody-elses" => json!({ "answer": [row.value], "id": row.id, "meta": { "note": "keep me" } }),
        _ => json!({ "answer": [row.value], "id": row.id }),
    };
    rows.iter().map(full).collect()
}

fn ns1(account: &mut Account, asked: &Asked) -> Answer {
    if asked.header("x-nsone-key") != KEY {
        return message(401, &format!("Unauthorized key {}", asked.header("x-nsone-key")));
    }
    let (method, path) = asked.route();
    let Some(name) = path.get(1) else {
        let all: Vec<Value> = account
            .zones
            .iter()
            .map(|zone| match zone.id.as_str() {
                "secondary" => json!({ "zone": zone.name, "name": zone.name, "secondary": { "enabled": true } }),
                "linked" => json!({ "zone": zone.name, "name": zone.name, "link": ZONE }),
                id => json!({ "zone": zone.name, "name": id, "link": null, "secondary": { "enabled": false } }),
            })
            .collect();
        return page(asked, &all, |page| json!(page));
    };
    let Some(zone) = account.zone(name).map(|zone| zone.name.clone()) else {
        return message(404, "zone not found");
    };
    let &[_, _, domain, rtype] = path.as_slice() else {
        let mut sets: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
        for row in account.rows_of(&zone) {
            sets.entry((&row.name, &row.rtype)).or_default().push(&row.value);
        }
        let set = |((domain, rtype), values): (&(&str, &str), &Vec<&str>)| json!({ "domain": domain, "type": rtype, "ttl": 60, "short_answers": values, "tier": 1, "id": "x" });
        let all: Vec<Value> = sets.iter().map(set).collect();
        return page(asked, &all, |page| json!({ "zone": zone, "records": page }));
    };
    let there = !account.set(domain, rtype).is_empty();
    let result = match method {
        "PUT" if there => return message(400, "record already exists"),
        "GET" | "POST" | "DELETE" if !there => return message(404, "record not found"),
        "GET" => Ok(()),
        "PUT" | "POST" => {
            assert_eq!((&asked.json["zone"], &asked.json["domain"]), (&json!(zone), &json!(domain)));
            let given = asked.json["answers"].as_array().cloned().unwrap_or_default();
            for answer in &given {
                let kept = answer["answer"][0] != "somebody-elses" || answer["meta"]["note"] == "keep me";
                assert!(kept, "somebody else's answer has lost what belongs to it");
            }
            let values: Vec<&str> = given.iter().filter_map(|answer| answer["answer"][0].as_str()).collect();
            let ttl = asked.json["ttl"].as_u64().map_or(3600, |ttl| u32::try_from(ttl).expect("a TTL"));
            account.replace(&zone, domain, rtype, &values, ttl)
        }
        "DELETE" => account.replace(&zone, domain, rtype, &[], 0),
        other => panic!("NS1 has no {other}"),
    };
    match result {
        Ok(()) => Answer::new(200, json!({ "answers": answers(&account.set(domain, rtype)), "filters": [] }))
            .header("x-ratelimit-limit", "900")
            .header("x-ratelimit-period", "300")
            .header("x-ratelimit-remaining", "899"),
        Err(refused) => message(400, &format!("{refused:?}")),
    }
}

async fn provider(url: String, key: &str) -> Ns1 {
    let config: Config = serde_json::from_value(json!({ "key": key, "base_url": format!("{url}/v1") })).expect("it is");
    from_config(config, None).await.expect("a provider")
}

async fn vendor(zones: &[(&str, &str)]) -> Vendor {
    // The version is part of the base URL.
    let handler = |account: &mut Account, asked: &Asked| {
        assert_eq!(asked.segments[0], "v1");
        let inner = Asked { segments: asked.segments[1..].to_vec(), ..asked.clone() };
        ns1(account, &inner)
    };
    Vendor::start(zones, handler, |url| provider(url, KEY)).await
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
async fn a_hundred_names_cost_a_request_each_and_a_read_before_and_after() {
    let vendor = vendor(&ZONES).await;
    let provider = provider(vendor.url.clone(), KEY).await;
    for n in 0..10 {
        vendor.account().add(ZONE, &format!("_dnsauth.n{n}.{ZONE}"), "TXT", "somebody-elses", 300).expect("room");
    }
    provider.present(&hundred()).await.expect("presented");
    let asked = vendor.asked();
    let count = |method: &str| asked.iter().filter(|line| line.starts_with(method)).count();
    // The list of zones, the zone twice, and the ten sets that hold somebody else's answers.
    assert_eq!((count("GET"), count("PUT"), count("POST")), (13, 90, 10), "{asked:?}");
    provider.present(&hundred()).await.expect("it is there");
    assert_eq!(vendor.asked(), ["GET /v1/zones/example.com"]);
    provider.retract(&hundred()).await.expect("retracted");
    let asked = vendor.asked();
    let count = |method: &str| asked.iter().filter(|line| line.starts_with(method)).count();
    assert_eq!((count("GET"), count("DELETE"), count("POST")), (12, 90, 10), "{asked:?}");
    assert_eq!(vendor.account().rows.len(), 10);
}

#[tokio::test]
async fn one_name_costs_three_requests() {
    let vendor = vendor(&ZONES).await;
    let provider = provider(vendor.url.clone(), KEY).await;
    provider.present(&[txt("_dnsauth.example.com", "v")]).await.expect("presented");
    let set = "/v1/zones/example.com/_dnsauth.example.com/TXT";
    assert_eq!(
        vendor.asked(),
        ["GET /v1/zones".to_owned(), format!("GET {set}"), format!("PUT {set}"), format!("GET {set}")]
    );
}

#[tokio::test]
async fn zones_and_records_beyond_the_first_page_are_found() {
    let many: Vec<String> = (0..2501).map(|n| format!("d{n}.example")).collect();
    let zones: Vec<(&str, &str)> = many.iter().map(|name| (name.as_str(), name.as_str())).collect();
    let vendor = vendor(&zones).await;
    let last = "d2500.example";
    for n in 0..2600 {
        let row = Row {
            id: n.to_string(),
            zone: last.to_owned(),
            name: format!("a{n}.{last}"),
            rtype: "A".to_owned(),
            value: "192.0.2.1".to_owned(),
            ttl: 60,
        };
        vendor.account().rows.push(row);
    }
    let proofs: Vec<Proof> = (0..5).map(|n| txt(&format!("zz{n}.{last}"), "v")).collect();
    let provider = provider(vendor.url.clone(), KEY).await;
    provider.present(&proofs).await.expect("presented");
    provider.present(&proofs).await.expect("found on the second page");
    let asked = vendor.asked();
    assert_eq!(asked.iter().filter(|line| *line == "GET /v1/zones").count(), 2);
    assert_eq!(asked.iter().filter(|line| line.starts_with("PUT")).count(), 5);
}

#[tokio::test]
async fn copies_are_not_changed_and_of_twins_the_main_one_is() {
    let vendor = vendor(&[
        ("example.net", "internal"),
        ("example.net", "example.net"),
        ("s.example.net", "secondary"),
        ("l.example.net", "linked"),
    ])
    .await;
    let provider = provider(vendor.url.clone(), KEY).await;
    for name in ["_dnsauth.s.example.net", "_dnsauth.l.example.net"] {
        let places = provider.preflight(&[txt(name, "v")]).await.expect("the zone around it");
        assert!(places[0].within.starts_with("zone example.net at "), "{places:?}");
    }
    assert_eq!(vendor.asked()[1..], ["GET /v1/zones/example.net", "GET /v1/zones/example.net"]);
}

#[tokio::test]
async fn limits_are_passed_on() {
    let vendor = vendor(&ZONES).await;
    let provider = provider(vendor.url.clone(), KEY).await;
    provider.present(&[txt("_dnsauth.example.com", "v")]).await.expect("presented");
    vendor.limit(1, message(429, "rate limit exceeded"));
    let error = provider.present(&hundred()).await.expect_err("too many");
    // 900 in 300 s: eight take three seconds to come back.
    assert_eq!((error.kind, error.retry), (ErrorKind::RateLimited, Retry::After(Duration::from_secs(3))));
    vendor.limit(1, message(429, "rate limit exceeded").header("retry-after", "17"));
    let error = provider.present(&hundred()).await.expect_err("too many");
    assert_eq!((error.kind, error.retry), (ErrorKind::RateLimited, Retry::After(Duration::from_secs(17))));
}

#[tokio::test]
async fn wrong_credentials_are_named_and_never_shown() {
    let vendor = vendor(&ZONES).await;
    let wrong = provider(vendor.url.clone(), "planted-wrong").await;
    let error = wrong.preflight(&[txt("_dnsauth.example.com", "v")]).await.expect_err("a wrong key");
    assert_eq!(error.kind, ErrorKind::Credentials);
    assert!(error.to_string().contains("Unauthorized key [hidden]; check that the key"), "{error}");
    assert!(!format!("{error:?} {wrong:?}").contains("planted"));
}

#[tokio::test]
async fn lost_races_are_run_again() {
    const NAME: &str = "_dnsauth.example.com";
    let vendor = vendor(&ZONES).await;
    let (provider, proof) = (provider(vendor.url.clone(), KEY).await, [txt(NAME, "v")]);
    let values = || -> Vec<String> { vendor.account().set(NAME, "TXT").iter().map(|row| row.value.clone()).collect() };
    vendor.race(|account| account.add(ZONE, NAME, "TXT", "somebody-elses", 300).map(drop).expect("room"));
    provider.present(&proof).await.expect("the set came into being meanwhile");
    assert_eq!(values(), ["somebody-elses", "v"]);
    vendor.race(|account| account.rows.clear());
    provider.present(&[txt(NAME, "w")]).await.expect("the set went away meanwhile");
    assert_eq!(values(), ["w"]);
    vendor.race(|account| account.rows.clear());
    provider.retract(&[txt(NAME, "w")]).await.expect("somebody else has removed it");
}
