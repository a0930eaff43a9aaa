//! What the provider costs a real PowerDNS, and what it keeps there. How it behaves otherwise is in the workspace's `tests/`.

use std::time::Duration;

use dcv_powerdns::{Config, Editor, PowerDns as Provider, from_config};
use dcv_provider::{DcvProvider, ErrorKind, Proof, Retry, zone::ZoneProvider};
use dcv_tests::{
    daemon::Silent,
    powerdns::{API_KEY, PowerDns, Witness},
};

const ZONE: &str = "own-example.com";

fn provider(url: &str) -> Provider {
    ZoneProvider::new(Editor::new(url, API_KEY.to_owned().into()).expect("it builds"), None)
}

fn txt(name: &str, value: &str) -> Proof {
    Proof::Txt { name: name.to_owned(), value: value.to_owned() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_names_are_one_patch_and_presenting_again_is_none() {
    let server = PowerDns::start(&[ZONE]).await;
    let witness = Witness::of(server.api()).await;
    let provider = provider(&witness.base());
    let proofs: Vec<Proof> = (0..100).map(|n| txt(&format!("n{n}.{ZONE}"), "v")).collect();
    let asked = || (witness.requests("PATCH"), witness.requests("GET"));
    let before = asked();
    provider.present(&proofs).await.expect("presented");
    let after = asked();
    assert_eq!(after.0 - before.0, 1, "one PATCH");
    assert_eq!(after.1 - before.1, 3, "the list of zones, and the zone before and after");
    provider.present(&proofs).await.expect("presented again");
    assert_eq!(witness.requests("PATCH"), after.0, "nothing was to be changed");
    provider.retract(&proofs).await.expect("retracted");
    assert_eq!(witness.requests("PATCH"), after.0 + 1);
    provider.retract(&proofs).await.expect("retracted again");
    assert_eq!(witness.requests("PATCH"), after.0 + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_zones_are_written_by_a_server_that_copes_with_one_at_a_time() {
    let zones: Vec<String> = (0..10).map(|n| format!("many{n}-example.com")).collect();
    let server = PowerDns::start(&zones.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let provider = provider(server.api());
    let proofs: Vec<Proof> = (0..100).map(|n| txt(&format!("n{n}.{}", zones[n % 10]), "v")).collect();
    let there = async || {
        let mut values = 0;
        for n in 0..100 {
            let set = server.record_set(&zones[n % 10], &format!("n{n}.{}", zones[n % 10]), "TXT").await;
            values += set["records"].as_array().map_or(0, Vec::len);
        }
        values
    };
    for _ in 0..3 {
        provider.present(&proofs).await.expect("presented by one call");
        assert_eq!(there().await, 100);
        provider.retract(&proofs).await.expect("retracted by one call");
        assert_eq!(there().await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ttl_comments_and_disabled_values_of_others_stay() {
    let server = PowerDns::start(&[ZONE]).await;
    let set = serde_json::json!({
        "name": format!("{ZONE}."), "type": "TXT", "ttl": 7200, "changetype": "REPLACE",
        "records": [
            {"content": "\"v=spf1 -all\"", "disabled": false},
            {"content": "\"parked\"", "disabled": true},
            {"content": "\"two\" \"strings\"", "disabled": false},
        ],
        "comments": [{"content": "ask Eve before you touch this", "account": "eve"}],
    });
    server.patch(ZONE, &set).await;
    let provider = provider(server.api());
    let seen = async || {
        let mut set = server.record_set(ZONE, ZONE, "TXT").await;
        for comment in set["comments"].as_array_mut().expect("comments") {
            comment.as_object_mut().expect("a comment").remove("modified_at");
        }
        let mut records = set["records"].as_array().expect("records").clone();
        records.sort_by_key(|record| record["content"].to_string());
        (set["ttl"].clone(), set["comments"].clone(), records)
    };
    let before = seen().await;
    assert_eq!(before.2.len(), 3);
    let ours = [txt(ZONE, "ours")];
    provider.present(&ours).await.expect("presented");
    let (ttl, comments, records) = seen().await;
    assert_eq!((&ttl, &comments), (&before.0, &before.1));
    assert_eq!(records.len(), 4);
    assert!(before.2.iter().all(|record| records.contains(record)), "{records:?}");
    provider.retract(&ours).await.expect("retracted");
    assert_eq!(seen().await, before);
    // A disabled value that says the same as ours is ours to switch on.
    provider.present(&[txt(ZONE, "parked")]).await.expect("presented");
    assert!(server.dig(&[ZONE, "TXT"]).contains(&"\"parked\"".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zone_that_is_newer_than_the_list_is_found_and_a_deeper_one_goes_first() {
    let server = PowerDns::start(&[ZONE]).await;
    let provider = provider(server.api());
    let later = "later-example.net";
    let proofs: Vec<Proof> = (0..20).map(|n| txt(&format!("n{n}.{later}"), "v")).collect();
    let error = provider.preflight(&proofs).await.expect_err("no such zone yet");
    assert_eq!(error.kind, ErrorKind::NotServed, "{error}");
    assert_eq!(error.subjects.len(), proofs.len(), "every name is named: {error}");
    server.add_zone(later).await;
    server.add_zone(&format!("deep.{later}")).await;
    let places = provider.preflight(&[proofs[0].clone(), txt(&format!("a.deep.{later}"), "v")]).await.expect("found");
    assert!(places[0].within.starts_with(&format!("zone {later} ")), "{places:?}");
    assert!(places[1].within.starts_with(&format!("zone deep.{later} ")), "{places:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wrong_server_and_zone_and_silence_are_told_apart() {
    let server = PowerDns::start(&[ZONE]).await;
    let config = |json: serde_json::Value| serde_json::from_value::<Config>(json).expect("a configuration");
    let proofs = [txt(&format!("k.{ZONE}"), "v")];
    let elsewhere = config(serde_json::json!({
        "url": server.api(), "api_key": API_KEY, "zones": ["own-example.com", "not-here.net"], "server_id": "nobody",
    }));
    let error = from_config(elsewhere, None).await.expect("it builds").preflight(&proofs).await.expect_err("nobody");
    assert_eq!(error.kind, ErrorKind::NotServed, "{error}");
    assert!(error.to_string().contains("404") && error.to_string().contains("server_id"), "{error}");

    let missing = config(serde_json::json!({"url": server.api(), "api_key": API_KEY, "zones": ["not-here.net"]}));
    let provider = from_config(missing, None).await.expect("it builds");
    let error = provider.preflight(&[txt("www.not-here.net", "v")]).await.expect_err("no such zone");
    assert_eq!((error.kind, error.retry), (ErrorKind::NotServed, Retry::No), "{error}");

    let silent = Silent::start();
    let url = format!("http://{}", silent.address());
    let mute = config(serde_json::json!({"url": url, "api_key": API_KEY}));
    let provider = from_config(mute, None).await.expect("it builds");
    let waited = tokio::time::timeout(Duration::from_millis(300), provider.preflight(&proofs)).await;
    assert!(waited.is_err(), "a caller's deadline ends it");
    drop(silent);
    let error = provider.preflight(&proofs).await.expect_err("nobody listens");
    assert_eq!((error.kind, error.retry), (ErrorKind::Unavailable, Retry::Yes), "{error}");
    assert!(!format!("{error:?}").contains(API_KEY), "{error:?}");
}
