//! The provider against a stand-in that puts requests and answers as OVHcloud's API console does (`/domain/zone`, `/auth/time`) and as
//! recordings of other clients show them: texts come back in quotes. Every signature is checked, by a clock that is ahead.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dcv_ovh::{Config, Ovh, from_config};
use dcv_provider::{DcvProvider, ErrorKind, Proof, Retry, conformance};
use dcv_test_vendor::{Account, Answer, Asked, Row, Vendor, absolute, relative};
use serde_json::{Value, json};
use sha1::{Digest, Sha1};

const ZONE: &str = "example.com";
const ZONES: [(&str, &str); 2] = [(ZONE, ZONE), ("sub.example.com", "sub.example.com")];
const SECRET: &str = "planted-secret";
/// OVHcloud's clock is ahead of this machine's by so many seconds.
const AHEAD: u64 = 5000;

fn error(status: u16, code: &str, message: &str) -> Answer {
    Answer::new(status, json!({ "errorCode": code, "httpCode": format!("{status} Error"), "message": message }))
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs() + AHEAD
}

/// As OVHcloud checks a signature: made anew from what was asked.
fn signed(asked: &Asked) -> bool {
    let query = if asked.raw_query.is_empty() { String::new() } else { format!("?{}", asked.raw_query) };
    let url = format!("http://{}{}{query}", asked.header("host"), asked.path);
    let time = asked.header("x-ovh-timestamp");
    let text =
        format!("{SECRET}+planted-consumer+{}+{url}+{}+{time}", asked.method, String::from_utf8_lossy(&asked.body));
    let hash = Sha1::digest(text).iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    asked.header("x-ovh-signature") == format!("$1${hash}")
}

fn shown(row: &Row) -> Value {
    let target = match row.rtype.as_str() {
        "TXT" => dcv_provider::zone::quote(&row.value),
        _ => format!("{}.", row.value),
    };
    json!({
        "fieldType": row.rtype, "id": row.id.parse::<u64>().expect("ids are numbers"), "target": target, "ttl": row.ttl,
        "subDomain": relative(&row.name, &row.zone), "zone": row.zone,
    })
}

fn ovh(account: &mut Account, asked: &Asked) -> Answer {
    if asked.route() == ("GET", vec!["auth", "time"]) {
        return Answer::new(200, json!(now()));
    }
    if asked.header("x-ovh-application") != "planted-application"
        || asked.header("x-ovh-consumer") != "planted-consumer"
    {
        return error(403, "INVALID_CREDENTIAL", "This credential does not exist");
    }
    if asked.header("x-ovh-timestamp").parse::<u64>().unwrap_or_default().abs_diff(now()) > 30 {
        return error(400, "QUERY_TIME_OUT", "Query out of time");
    }
    if !signed(asked) {
        return error(400, "INVALID_SIGNATURE", "Invalid signature");
    }
    let missing =
        || Answer::new(404, json!({ "class": "Client::NotFound", "message": "The requested object does not exist" }));
    match asked.route() {
        ("GET", path) if path == ["domain", "zone"] => {
            Answer::new(200, account.zones.iter().map(|zone| json!(zone.name)).collect())
        }
        (_, path) if path.len() < 3 || account.zone(path[2]).is_none() => missing(),
        ("GET", path) if path.len() == 3 => Answer::new(200, json!({ "name": path[2], "hasDnsAnycast": false })),
        ("POST", path) if path[3..] == ["refresh"] => Answer::new(200, json!(null)),
        ("GET", path) if path[3..] == ["record"] => {
            let wanted = |row: &&Row| {
                asked.query.get("fieldType").is_none_or(|rtype| row.rtype == *rtype)
                    && asked.query.get("subDomain").is_none_or(|name| relative(&row.name, &row.zone) == name)
            };
            let id = |row: &Row| json!(row.id.parse::<u64>().expect("a number"));
            Answer::new(200, account.rows_of(path[2]).filter(wanted).map(id).collect())
        }
        ("GET", path) if path.len() == 5 => match account.rows_of(path[2]).find(|row| row.id == path[4]) {
            Some(row) => Answer::new(200, shown(row)),
            None => missing(),
        },
        ("POST", path) if path[3..] == ["record"] => {
            let text = |name: &str| asked.json[name].as_str().unwrap_or_default().to_owned();
            let zone = path[2].to_owned();
            let ttl = u32::try_from(asked.json["ttl"].as_u64().unwrap_or_default()).expect("a TTL");
            match account.add(&zone, &absolute(&text("subDomain"), &zone), &text("fieldType"), &text("target"), ttl) {
                Ok(row) => Answer::new(200, shown(&row)),
                Err(refused) => {
                    Answer::new(409, json!({ "class": "Client::Conflict", "message": format!("{refused:?}") }))
                }
            }
        }
        ("DELETE", path) if path.len() == 5 => match account.remove(path[2], path[4]) {
            Ok(_) => Answer::new(200, json!(null)),
            Err(_) => missing(),
        },
        route => panic!("OVHcloud has no {route:?}"),
    }
}

async fn provider(url: String, secret: &str) -> Ovh {
    let config: Config = serde_json::from_value(json!({
        "application_key": "planted-application", "application_secret": secret, "consumer_key": "planted-consumer",
        "base_url": url,
    }))
    .expect("a configuration");
    from_config(config, None).await.expect("a provider")
}

async fn vendor() -> Vendor {
    Vendor::start(&ZONES, ovh, |url| provider(url, SECRET)).await
}

fn txt(name: &str, value: &str) -> Proof {
    Proof::Txt { name: name.to_owned(), value: value.to_owned() }
}

fn hundred() -> Vec<Proof> {
    (0..100).map(|n| txt(&format!("_dnsauth.n{n}.{ZONE}"), "v")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_behaves() {
    conformance::run(&vendor().await).await;
}

#[tokio::test]
async fn the_zone_is_refreshed_once_and_the_clock_asked_once() {
    let vendor = vendor().await;
    let provider = provider(vendor.url.clone(), SECRET).await;
    provider.present(&hundred()).await.expect("presented");
    let asked = vendor.asked();
    let count = |end: &str| asked.iter().filter(|line| line.ends_with(end)).count();
    assert_eq!(asked[..2], ["GET /auth/time", "GET /domain/zone"]);
    assert_eq!((asked.len(), count("/refresh"), count("POST /domain/zone/example.com/record")), (203, 1, 100));
    assert_eq!(asked.last().map(String::as_str), Some("POST /domain/zone/example.com/refresh"));
    provider.retract(&hundred()).await.expect("retracted");
    let asked = vendor.asked();
    assert_eq!((asked.len(), asked.iter().filter(|line| line.starts_with("DELETE")).count()), (301, 100));
}

#[tokio::test]
async fn limits_and_wrong_keys_are_told_and_nothing_secret_is() {
    let vendor = vendor().await;
    vendor.limit(1, error(429, "TOO_MANY_REQUESTS", "Too many requests").header("retry-after", "3"));
    let limited = provider(vendor.url.clone(), SECRET).await.present(&hundred()).await.expect_err("too many");
    assert_eq!((limited.kind, limited.retry), (ErrorKind::RateLimited, Retry::After(Duration::from_secs(3))));
    let wrong = provider(vendor.url.clone(), "planted-wrong").await;
    let denied = wrong.preflight(&hundred()[..1]).await.expect_err("a wrong secret");
    assert_eq!(denied.kind, ErrorKind::Credentials);
    assert!(denied.to_string().contains("INVALID_SIGNATURE Invalid signature"), "{denied}");
    assert!(!format!("{denied:?} {wrong:?}").contains("planted"));
}

#[tokio::test]
async fn whoever_is_faster_does_no_harm() {
    let vendor = vendor().await;
    let (provider, proof) = (provider(vendor.url.clone(), SECRET).await, [txt("_dnsauth.example.com", "v")]);
    vendor.race(|account| drop(account.add(ZONE, "_dnsauth.example.com", "TXT", "v", 300)));
    provider.present(&proof).await.expect("somebody else has added it");
    vendor.race(|account| account.rows.clear());
    provider.retract(&proof).await.expect("somebody else has removed it");
    vendor.account().add(ZONE, "_dnsauth.example.com", "CNAME", "x.example.net", 300).expect("an alias");
    let error = provider.present(&proof).await.expect_err("the alias is there");
    assert!(error.to_string().contains("an alias of x.example.net is there, which is not ours"), "{error}");
}
