//! The provider against a stateful stand-in for the endpoints it uses, written from Cloudflare's documentation: answers are
//! enveloped, lists are paged, a batch is made whole or not at all, texts are kept as they were sent.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use axum::{
    Json, Router,
    body::Bytes,
    extract::{Request, State},
    http::{Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use dcv_cloudflare::{Cloudflare, Config, Editor, from_config};
use dcv_provider::{
    DcvProvider, ErrorKind, Proof, ProofKind, Retry, conformance,
    zone::{ZoneProvider, unquote},
};
use serde_json::{Value, json};

const ZONE: &str = "cf-example.com";
const ZONE_ID: &str = "023e105f4ecef8ad9ca31a8372d0c353";
const TOKEN: &str = "planted-token";

#[derive(Clone, Debug)]
struct Row {
    id: String,
    zone: String,
    name: String,
    rtype: String,
    content: String,
    sent: Value,
}

#[derive(Default)]
struct Account {
    /// Names and ids.
    zones: Vec<(String, String)>,
    records: Vec<Row>,
    ids: usize,
    /// What the batch endpoint answers instead of working.
    no_batch: Option<u16>,
    /// How many more requests are answered 429.
    limited: usize,
    /// What the next request is refused with, and a status that says it is not.
    refused: Option<(u64, String)>,
    /// Somebody else, with the same proof, between our look and our batch.
    rival: Option<Value>,
    /// Method, path and query of everything asked.
    log: Vec<String>,
}

type Failure = (u16, u64, String);

impl Account {
    fn zone(&self, id: &str) -> Result<String, Failure> {
        let found = self.zones.iter().find(|(_, zone)| zone == id);
        found.map(|(name, _)| name.clone()).ok_or((404, 7003, format!("Could not route to /zones/{id}")))
    }

    fn create(&mut self, zone_id: &str, sent: &Value) -> Result<Value, Failure> {
        let zone = self.zone(zone_id)?;
        let text = |field: &str| sent[field].as_str().map(str::to_owned);
        let invalid = |what: &str| (400, 9005, format!("{what} is required"));
        let mut name = text("name").ok_or_else(|| invalid("name"))?.to_lowercase();
        let rtype = text("type").ok_or_else(|| invalid("type"))?;
        let content = text("content").ok_or_else(|| invalid("content"))?;
        if !matches!(sent["ttl"].as_u64(), Some(1 | 60..=86400)) {
            return Err((
                400,
                9021,
                "Invalid TTL. Must be between 60 and 86400 seconds, or 1 for Automatic.".to_owned(),
            ));
        }
        // Names are relative unless they are in the zone.
        if name != zone && !name.ends_with(&format!(".{zone}")) {
            name = format!("{name}.{zone}");
        }
        let mut at = self.records.iter().filter(|row| row.zone == zone_id && row.name == name);
        if at.clone().any(|row| row.rtype == rtype && row.content == content) {
            return Err((400, 81058, "An identical record already exists.".to_owned()));
        }
        let taken = if rtype == "CNAME" { at.next().is_some() } else { at.any(|row| row.rtype == "CNAME") };
        if taken {
            return Err((400, 81053, "An A, AAAA, or CNAME record with that host already exists.".to_owned()));
        }
        self.ids += 1;
        let row = Row {
            id: format!("{:032x}", self.ids),
            zone: zone_id.to_owned(),
            name,
            rtype,
            content,
            sent: sent.clone(),
        };
        self.records.push(row.clone());
        Ok(shown(&row))
    }

    fn delete(&mut self, zone_id: &str, id: &str) -> Result<Value, Failure> {
        let place = self.records.iter().position(|row| row.zone == zone_id && row.id == id);
        self.records.remove(place.ok_or((404, 81044, "Record does not exist.".to_owned()))?);
        Ok(json!({ "id": id }))
    }

    /// In Cloudflare's order: deletes before posts.
    fn batch(&mut self, zone_id: &str, body: &Value) -> Result<Value, Failure> {
        let list = |field: &str| body[field].as_array().cloned().unwrap_or_default();
        if list("deletes").len() + list("posts").len() > 200 {
            return Err((400, 81061, "This batch has too many changes.".to_owned()));
        }
        if let Some(sent) = self.rival.take() {
            self.create(zone_id, &sent)?;
        }
        let before = self.records.clone();
        let mut work = || {
            let deletes = list("deletes");
            let deletes: Result<Vec<Value>, Failure> =
                deletes.iter().map(|one| self.delete(zone_id, one["id"].as_str().unwrap_or_default())).collect();
            let deletes = deletes?;
            let posts: Result<Vec<Value>, Failure> =
                list("posts").iter().map(|one| self.create(zone_id, one)).collect();
            Ok(json!({ "deletes": deletes, "patches": [], "puts": [], "posts": posts? }))
        };
        let done = work();
        if done.is_err() {
            self.records = before;
        }
        done
    }
}

fn shown(row: &Row) -> Value {
    let mut shown = json!({
        "id": row.id, "name": row.name, "type": row.rtype, "content": row.content, "proxiable": false,
        "proxied": false, "ttl": 60, "settings": {}, "meta": {}, "comment": row.sent["comment"], "tags": [],
        "created_on": "2026-01-01T05:20:00.12345Z", "modified_on": "2026-01-01T05:20:00.12345Z",
    });
    if row.rtype == "CAA" {
        shown["data"] = json!({ "flags": 0, "tag": "issue", "value": "digicert.com" });
    }
    shown
}

fn failed((status, code, message): Failure) -> Response {
    let body =
        json!({ "success": false, "errors": [{ "code": code, "message": message }], "messages": [], "result": null });
    (StatusCode::from_u16(status).expect("a status"), Json(body)).into_response()
}

fn answered(result: Result<Value, Failure>) -> Response {
    match result {
        Ok(result) => Json(json!({ "success": true, "errors": [], "messages": [], "result": result })).into_response(),
        Err(failure) => failed(failure),
    }
}

fn paged(items: Vec<Value>, query: &dyn Fn(&str) -> Option<String>, default: usize) -> Response {
    let number = |field: &str, default| query(field).map_or(default, |text| text.parse().expect("a number"));
    let (page, per_page): (usize, usize) = (number("page", 1), number("per_page", default));
    let total = items.len();
    let result: Vec<Value> = items.into_iter().skip((page - 1) * per_page).take(per_page).collect();
    let info = json!({
        "page": page, "per_page": per_page, "count": result.len(), "total_count": total,
        "total_pages": total.div_ceil(per_page),
    });
    Json(json!({ "success": true, "errors": [], "messages": [], "result": result, "result_info": info }))
        .into_response()
}

async fn answer(State(account): State<Arc<Mutex<Account>>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body: Bytes = axum::body::to_bytes(body, 1 << 20).await.expect("a body");
    let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let mut account = account.lock().expect("nobody panicked");
    account.log.push(format!("{} {}", parts.method, parts.uri));
    match parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()) {
        Some(value) if value == format!("Bearer {TOKEN}") => {}
        Some(_) => return failed((403, 10000, "Authentication error".to_owned())),
        None => return failed((400, 9106, "Missing X-Auth-Key, X-Auth-Email or Authorization headers".to_owned())),
    }
    if account.limited > 0 {
        account.limited -= 1;
        let mut response = failed((429, 971, "Please wait and consider throttling your request speed".to_owned()));
        response.headers_mut().insert(header::RETRY_AFTER, "7".parse().expect("a header"));
        return response;
    }
    if let Some((code, message)) = account.refused.take() {
        return failed((200, code, message));
    }
    let pairs: Vec<(String, String)> = parts
        .uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    let query = |field: &str| pairs.iter().find(|(key, _)| key == field).map(|(_, value)| value.clone());
    let path = parts.uri.path().strip_prefix("/client/v4").unwrap_or_default();
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    match (&parts.method, segments.as_slice()) {
        (&Method::GET, ["zones"]) => {
            let wanted = query("name");
            let zones = account.zones.iter().filter(|(name, _)| wanted.as_ref().is_none_or(|wanted| wanted == name));
            let zones = zones.map(|(name, id)| json!({ "id": id, "name": name, "status": "active" })).collect();
            paged(zones, &query, 20)
        }
        (&Method::GET, ["zones", id, "dns_records"]) => {
            if let Err(failure) = account.zone(id) {
                return failed(failure);
            }
            let (name, rtype) = (query("name.exact"), query("type"));
            let rows = account.records.iter().filter(|row| {
                row.zone == *id
                    && name.as_ref().is_none_or(|name| *name == row.name)
                    && rtype.as_ref().is_none_or(|rtype| *rtype == row.rtype)
            });
            paged(rows.map(shown).collect(), &query, 100)
        }
        (&Method::POST, ["zones", id, "dns_records", "batch"]) => match account.no_batch {
            Some(status) => failed((status, 7000, "No route for that URI".to_owned())),
            None => answered(account.batch(id, &body)),
        },
        (&Method::POST, ["zones", id, "dns_records"]) => answered(account.create(id, &body)),
        (&Method::DELETE, ["zones", id, "dns_records", record]) => answered(account.delete(id, record)),
        _ => failed((404, 7000, "No route for that URI".to_owned())),
    }
}

struct Fake {
    account: Arc<Mutex<Account>>,
    url: String,
}

impl Fake {
    async fn start() -> Self {
        let zones = vec![
            (ZONE.to_owned(), ZONE_ID.to_owned()),
            ("other-example.net".to_owned(), "f0000000000000000000000000000000".to_owned()),
        ];
        let account = Arc::new(Mutex::new(Account { zones, ..Account::default() }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/client/v4/", listener.local_addr().expect("an address"));
        let app = Router::new().fallback(answer).with_state(Arc::clone(&account));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { account, url }
    }

    fn account(&self) -> std::sync::MutexGuard<'_, Account> {
        self.account.lock().expect("nobody panicked")
    }

    fn editor(&self, token: &str) -> Editor {
        Editor::new(&self.url, token.to_owned().into()).expect("it builds")
    }

    fn instance(&self) -> Cloudflare {
        ZoneProvider::new(self.editor(TOKEN), None)
    }

    /// Puts a record there as somebody else would have.
    fn set(&self, name: &str, rtype: &str, content: &str) {
        let sent = json!({ "name": name, "type": rtype, "content": content, "ttl": 1 });
        self.account().create(ZONE_ID, &sent).expect("it is valid");
    }

    fn contents(&self, name: &str) -> Vec<String> {
        let account = self.account();
        account.records.iter().filter(|row| row.name == name).map(|row| row.content.clone()).collect()
    }

    /// The requests since the last call that start so.
    fn asked(&self, start: &str) -> Vec<String> {
        let log = std::mem::take(&mut self.account().log);
        log.into_iter()
            .filter(|line| line.starts_with(start) || (start == "change" && !line.starts_with("GET")))
            .collect()
    }
}

#[async_trait]
impl conformance::World for Fake {
    async fn provider(&self) -> Box<dyn DcvProvider> {
        Box::new(self.instance())
    }
    fn name(&self, n: usize) -> String {
        format!("n{n}.{ZONE}")
    }
    fn unserved_name(&self) -> Option<String> {
        Some("www.unserved-example.org".to_owned())
    }
    async fn values(&self, kind: ProofKind, name: &str) -> Vec<String> {
        let contents = self.contents(name).into_iter();
        match kind {
            ProofKind::Txt => contents.map(|c| String::from_utf8(unquote(&c)).expect("text")).collect(),
            _ => contents.collect(),
        }
    }
    async fn plant(&self, kind: ProofKind, name: &str, value: &str) -> bool {
        // Texts that stand there without quotes: the older way.
        self.set(name, if kind == ProofKind::Txt { "TXT" } else { "CNAME" }, value);
        true
    }
}

fn txt(name: &str, value: &str) -> Proof {
    Proof::Txt { name: name.to_owned(), value: value.to_owned() }
}

fn hundred() -> Vec<Proof> {
    (0..100).map(|n| txt(&format!("_dnsauth.n{n}.{ZONE}"), "v")).collect()
}

#[tokio::test]
async fn it_behaves() {
    conformance::run(&Fake::start().await).await;
}

#[tokio::test]
async fn it_behaves_without_the_batch_too() {
    for status in [403, 404, 405] {
        let fake = Fake::start().await;
        fake.account().no_batch = Some(status);
        conformance::run(&fake).await;
    }
}

#[tokio::test]
async fn a_hundred_names_are_one_batch_each_way() {
    let fake = Fake::start().await;
    fake.set(ZONE, "CAA", "0 issue \"digicert.com\"");
    let provider = fake.instance();
    provider.present(&hundred()).await.expect("they are presented");
    let ours: Vec<Value> =
        fake.account().records.iter().filter(|row| row.rtype == "TXT").map(|row| row.sent.clone()).collect();
    assert_eq!(ours.len(), 100);
    assert!(ours.iter().all(|sent| sent["proxied"] == false && sent["comment"] == "dcv" && sent["ttl"] == 60));
    provider.present(&hundred()).await.expect("they are there");
    provider.retract(&hundred()).await.expect("they are retracted");
    let batch = format!("POST /client/v4/zones/{ZONE_ID}/dns_records/batch");
    assert_eq!(fake.asked("change"), [batch.clone(), batch]);
    assert_eq!(fake.account().records.len(), 1, "the CAA record is left");
}

#[tokio::test]
async fn more_than_a_batch_holds_is_split() {
    let fake = Fake::start().await;
    let proofs: Vec<Proof> = (0..450).map(|n| txt(&format!("n{n}.{ZONE}"), "v")).collect();
    fake.instance().present(&proofs).await.expect("they are presented");
    assert_eq!(fake.asked("change").len(), 3);
    assert_eq!(fake.account().records.len(), 450);
}

#[tokio::test]
async fn all_pages_are_read() {
    let fake = Fake::start().await;
    for n in 0..1500 {
        fake.set(&format!("old{n}.{ZONE}"), "TXT", "v");
    }
    let proofs: Vec<Proof> = (1400..1450).map(|n| txt(&format!("old{n}.{ZONE}"), "v")).collect();
    fake.instance().present(&proofs).await.expect("they are there");
    assert_eq!(fake.asked("change"), [""; 0], "unquoted texts on the second page are seen");
    fake.instance().retract(&proofs).await.expect("they are retracted");
    assert_eq!(fake.account().records.len(), 1450);
}

#[tokio::test]
async fn a_wrong_token_is_found_before_anything_is_written() {
    let fake = Fake::start().await;
    let wrong = ZoneProvider::new(fake.editor("planted-wrong"), None);
    let error = wrong.preflight(&hundred()[..1]).await.expect_err("a wrong token");
    assert_eq!(error.kind, ErrorKind::Credentials, "{error}");
    let text = error.to_string();
    assert!(text.contains("403") && text.contains("10000 Authentication error"), "{text}");
    assert!(!text.contains("planted"), "{text}");
}

#[tokio::test]
async fn a_refusal_counts_whatever_its_status() {
    let fake = Fake::start().await;
    for (code, kind) in [(1004, ErrorKind::Rejected), (6111, ErrorKind::Credentials)] {
        fake.account().refused = Some((code, format!("Invalid format for {TOKEN}")));
        let error = fake.instance().preflight(&hundred()[..1]).await.expect_err("no success");
        assert_eq!(error.kind, kind, "{error}");
        let text = error.to_string();
        assert!(text.contains(&format!("{code} Invalid format for [hidden]")), "{text}");
    }
    // One that a race has lost is made again.
    fake.account().refused = Some((81058, "An identical record already exists.".to_owned()));
    let config = json!({ "token": TOKEN, "base_url": fake.url, "zones": { ZONE: ZONE_ID } });
    let provider =
        from_config(serde_json::from_value(config).expect("a configuration"), None).await.expect("it builds");
    provider.present(&hundred()[..1]).await.expect("it is made again");
    assert_eq!(fake.account().records.len(), 1);
}

#[tokio::test]
async fn the_wait_that_is_asked_for_is_passed_on() {
    let fake = Fake::start().await;
    fake.account().limited = 1;
    let provider = fake.instance();
    let error = provider.present(&hundred()).await.expect_err("too many requests");
    assert_eq!((error.kind, error.retry), (ErrorKind::RateLimited, Retry::After(Duration::from_secs(7))), "{error}");
    provider.present(&hundred()).await.expect("later it works");
}

#[tokio::test]
async fn a_record_in_the_way_is_reported_in_the_hosts_words() {
    let fake = Fake::start().await;
    let name = format!("taken.{ZONE}");
    fake.set(&name, "A", "192.0.2.7");
    let alias = Proof::Cname { name: name.clone(), target: "v.dcv.digicert.com".to_owned() };
    let error = fake.instance().present(&[alias]).await.expect_err("an address is in the way");
    assert_eq!(error.kind, ErrorKind::Rejected, "{error}");
    assert!(error.to_string().contains("81053") && error.to_string().contains(&name), "{error}");
    assert_eq!(fake.contents(&name), ["192.0.2.7"]);
}

#[tokio::test]
async fn an_alias_in_the_way_of_a_text_is_seen_before_anything_is_written() {
    let fake = Fake::start().await;
    let alias = format!("alias.{ZONE}");
    fake.set(&alias, "CNAME", "elsewhere.example.net");
    let provider = fake.instance();
    for others in [1, 9] {
        let mut proofs = hundred()[..others].to_vec();
        proofs.push(txt(&alias, "v"));
        let error = provider.present(&proofs).await.expect_err("an alias is in the way");
        assert_eq!((error.kind, error.subjects.as_slice()), (ErrorKind::Rejected, std::slice::from_ref(&alias)));
        assert!(error.to_string().contains("an alias of elsewhere.example.net is there"), "{error}");
        provider.retract(&proofs).await.expect("nothing is there");
    }
    assert_eq!(fake.asked("change"), [""; 0]);
    assert_eq!(fake.contents(&alias), ["elsewhere.example.net"]);
}

#[tokio::test]
async fn a_lost_race_is_made_good() {
    let fake = Fake::start().await;
    let name = format!("_dnsauth.n7.{ZONE}");
    fake.account().rival = Some(json!({ "name": name, "type": "TXT", "content": "\"v\"", "ttl": 60 }));
    fake.instance().present(&hundred()).await.expect("the rest is presented");
    assert_eq!(fake.asked("change").len(), 2, "the first batch was refused as a whole");
    assert_eq!(fake.account().records.len(), 100);
}

#[tokio::test]
async fn a_hundred_names_cost_one_look_for_zones_and_none_with_ids() {
    let fake = Fake::start().await;
    fake.instance().preflight(&hundred()).await.expect("they are served");
    assert_eq!(fake.asked("GET /client/v4/zones?").len(), 1);
    let config = json!({ "token": TOKEN, "base_url": fake.url, "zones": { ZONE: ZONE_ID }, "ttl": 120 });
    let config: Config = serde_json::from_value(config).expect("a configuration");
    let provider = from_config(config, None).await.expect("it builds");
    provider.present(&hundred()).await.expect("they are presented");
    assert_eq!(fake.asked("GET /client/v4/zones?").len(), 0);
    assert_eq!(fake.account().records[0].sent["ttl"], 120);
}

#[tokio::test]
async fn in_a_large_account_zones_are_asked_for_by_name() {
    let fake = Fake::start().await;
    for n in 0..200 {
        let zone = (format!("zone{n}.example"), format!("{n:032}"));
        fake.account().zones.push(zone);
    }
    fake.account().zones.push(("deep.zone199.example".to_owned(), "d".repeat(32)));
    let provider = fake.instance();
    let proofs = ["_dnsauth.a.zone199.example", "_dnsauth.b.deep.zone199.example", "_dnsauth.zone1.example"];
    let places = provider.preflight(&proofs.map(|name| txt(name, "v"))).await.expect("they are served");
    let zones: Vec<&str> = places.iter().filter_map(|place| place.within.split(' ').nth(1)).collect();
    assert_eq!(zones, ["zone199.example", "deep.zone199.example", "zone1.example"]);
    let error = provider.preflight(&[txt("www.unserved-example.org", "v")]).await.expect_err("not served");
    assert_eq!(error.kind, ErrorKind::NotServed, "{error}");
    let paged = fake.asked("GET /client/v4/zones?page");
    assert_eq!(paged.len(), 1, "the list is not read to its end: {paged:?}");
}
