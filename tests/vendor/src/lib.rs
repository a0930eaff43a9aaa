//! A DNS vendor's API as a stateful stand-in on loopback, for vendors of whom there is no real or independent server.
//!
//! An [`Account`] is what such a vendor keeps: zones and records, with the rules that all of DNS shares (an alias stands alone, a
//! value stands once). A test says in one function how the vendor's documents put requests and answers ([`Handler`]); the rest is
//! here: the server, its log, throttling, and the [`World`] that the conformance suite looks through.

pub mod document;

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use axum::{
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderMap, Response},
};
use dcv_provider::{DcvProvider, ProofKind, conformance::World};
use serde_json::Value;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    /// `GET`, `POST` …
    pub method: String,
    /// The path, still escaped: what signatures are made over.
    pub path: String,
    /// The path's segments, unescaped.
    pub segments: Vec<String>,
    /// The query as it came: what signatures are made over, and what tells the same key twice.
    pub raw_query: String,
    /// The query's pairs.
    pub query: BTreeMap<String, String>,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as JSON; `null` when it is none.
    pub json: Value,
    /// The body.
    pub body: Bytes,
}

impl Asked {
    /// The method and the segments, to match on: `("GET", ["v2", "domains"])`.
    #[must_use]
    pub fn route(&self) -> (&str, Vec<&str>) {
        (&self.method, self.segments.iter().map(String::as_str).collect())
    }

    /// A header as text, empty when it is missing.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// A number of the query.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<usize> {
        self.query.get(name)?.parse().ok()
    }
}

/// What the vendor answers.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Headers, `content-type: application/json` being there unless it is given.
    pub headers: Vec<(&'static str, String)>,
    /// The body; `null` for none.
    pub body: Value,
}

impl Answer {
    /// A status and a body.
    #[must_use]
    pub fn new(status: u16, body: Value) -> Self {
        Self { status, headers: Vec::new(), body }
    }

    /// With a header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// How a vendor answers: the one thing a test has to write.
pub type Handler = fn(&mut Account, &Asked) -> Answer;

/// A zone of the account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// Its name, without a final dot.
    pub name: String,
    /// What the vendor calls it.
    pub id: String,
}

/// A record as DNS has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// What the vendor calls it.
    pub id: String,
    /// The name of its zone.
    pub zone: String,
    /// Its owner: absolute, lower case, no final dot.
    pub name: String,
    /// `TXT` …
    pub rtype: String,
    /// A text without quotes, or a target without its final dot.
    pub value: String,
    /// In seconds.
    pub ttl: u32,
}

/// Why the account does not take a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The very same record is there.
    Duplicate,
    /// An alias is there, or would stand beside other data.
    Alias,
    /// There is no such zone or record.
    Missing,
}

/// What the vendor keeps.
#[derive(Debug, Default)]
pub struct Account {
    /// The zones that the credentials can change.
    pub zones: Vec<Zone>,
    /// The records of all zones.
    pub rows: Vec<Row>,
    /// Everything asked.
    pub log: Vec<Asked>,
    /// How many more requests are answered with what [`Vendor::limit`] was given.
    limited: Option<(usize, Answer)>,
    /// Run before the next request that changes something: somebody else who is faster.
    rival: Option<fn(&mut Account)>,
    /// Run after the next request that changes something: somebody else who is slower.
    successor: Option<fn(&mut Account)>,
    ids: u64,
}

impl Account {
    /// The zone with this name or id.
    #[must_use]
    pub fn zone(&self, name_or_id: &str) -> Option<&Zone> {
        self.zones.iter().find(|zone| zone.name == name_or_id || zone.id == name_or_id)
    }

    /// The rows of a zone.
    pub fn rows_of(&self, zone: &str) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| row.zone == zone)
    }

    /// The rows of a record set.
    #[must_use]
    pub fn set(&self, name: &str, rtype: &str) -> Vec<&Row> {
        self.rows.iter().filter(|row| row.name == name && row.rtype == rtype).collect()
    }

    /// Adds a record. A text loses its quotes; a relative name is to be made absolute before ([`absolute`]).
    ///
    /// # Errors
    /// [`Refused`].
    pub fn add(&mut self, zone: &str, name: &str, rtype: &str, value: &str, ttl: u32) -> Result<Row, Refused> {
        let zone = self.zone(zone).ok_or(Refused::Missing)?.name.clone();
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let value = plain(rtype, value);
        let mut here = self.rows.iter().filter(|row| row.name == name);
        if here.clone().any(|row| row.rtype == rtype && row.value == value) {
            return Err(Refused::Duplicate);
        }
        if if rtype == "CNAME" { here.next().is_some() } else { here.any(|row| row.rtype == "CNAME") } {
            return Err(Refused::Alias);
        }
        self.ids += 1;
        let row = Row { id: (1000 + self.ids).to_string(), zone, name, rtype: rtype.to_owned(), value, ttl };
        self.rows.push(row.clone());
        Ok(row)
    }

    /// Removes a record by its id.
    ///
    /// # Errors
    /// [`Refused::Missing`].
    pub fn remove(&mut self, zone: &str, id: &str) -> Result<Row, Refused> {
        let zone = self.zone(zone).ok_or(Refused::Missing)?.name.clone();
        let place = self.rows.iter().position(|row| row.zone == zone && row.id == id).ok_or(Refused::Missing)?;
        Ok(self.rows.remove(place))
    }

    /// Replaces a whole record set; no values remove it.
    ///
    /// # Errors
    /// [`Refused`]; nothing is changed then.
    pub fn replace(&mut self, zone: &str, name: &str, rtype: &str, values: &[&str], ttl: u32) -> Result<(), Refused> {
        let before = self.rows.clone();
        let owner = name.trim_end_matches('.').to_ascii_lowercase();
        self.rows.retain(|row| !(row.name == owner && row.rtype == rtype));
        for value in values {
            if let Err(refused) = self.add(zone, name, rtype, value, ttl) {
                self.rows = before;
                return Err(refused);
            }
        }
        Ok(())
    }
}

/// A name of a vendor that speaks of names relative to their zone; `@` and the empty name are the zone itself.
#[must_use]
pub fn absolute(name: &str, zone: &str) -> String {
    if name.is_empty() || name == "@" { zone.to_owned() } else { format!("{name}.{zone}") }
}

/// The same, the other way round; the zone itself is empty.
#[must_use]
pub fn relative<'n>(name: &'n str, zone: &str) -> &'n str {
    name.strip_suffix(zone).map_or(name, |rest| rest.trim_end_matches('.'))
}

/// A text without its quotes and escapes, a target without its final dot.
fn plain(rtype: &str, value: &str) -> String {
    if rtype == "CNAME" {
        return value.trim_end_matches('.').to_owned();
    }
    if value.starts_with('"') {
        return String::from_utf8_lossy(&dcv_provider::zone::unquote(value)).into_owned();
    }
    value.to_owned()
}

fn rtype(kind: ProofKind) -> &'static str {
    if kind == ProofKind::Cname { "CNAME" } else { "TXT" }
}

/// Makes a provider for the vendor at this URL.
pub type Make = Box<dyn Fn(String) -> Pin<Box<dyn Future<Output = Box<dyn DcvProvider>> + Send>> + Send + Sync>;

/// A vendor that is up.
pub struct Vendor {
    /// `http://127.0.0.1:PORT`
    pub url: String,
    account: Arc<Mutex<Account>>,
    make: Make,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Vendor {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Vendor {
    /// Starts a vendor with these zones (names and ids), the first being the one that the conformance suite uses. `make` makes a
    /// provider for it.
    ///
    /// # Panics
    /// When no port can be had.
    pub async fn start<F, P>(
        zones: &[(&str, &str)],
        handler: Handler,
        make: impl Fn(String) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = P> + Send + 'static,
        P: DcvProvider + 'static,
    {
        let zones = zones.iter().map(|(name, id)| Zone { name: (*name).to_owned(), id: (*id).to_owned() }).collect();
        let account = Arc::new(Mutex::new(Account { zones, ..Account::default() }));
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port on loopback");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let app = axum::Router::new().fallback(answer).with_state((Arc::clone(&account), handler));
        let server = tokio::spawn(async move { axum::serve(listener, app).await.expect("it serves") });
        let make: Make = Box::new(move |url| {
            let making = make(url);
            Box::pin(async move { Box::new(making.await) as Box<dyn DcvProvider> })
        });
        Self { url, account, make, server }
    }

    /// What the vendor keeps.
    ///
    /// # Panics
    /// Never: a handler that panicked has failed its test already.
    pub fn account(&self) -> MutexGuard<'_, Account> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers the next `count` requests like this.
    pub fn limit(&self, count: usize, answer: Answer) {
        self.account().limited = Some((count, answer));
    }

    /// Lets somebody else change something just before the next request that changes something.
    pub fn race(&self, rival: fn(&mut Account)) {
        self.account().rival = Some(rival);
    }

    /// Lets somebody else change something just after the next request that changes something.
    pub fn after(&self, successor: fn(&mut Account)) {
        self.account().successor = Some(successor);
    }

    /// `METHOD /path` of all that was asked since the last call.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        self.account().log.drain(..).map(|asked| format!("{} {}", asked.method, asked.path)).collect()
    }
}

async fn answer(State((account, handler)): State<(Arc<Mutex<Account>>, Handler)>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    let unescape = |text: &str| -> String {
        // A form's decoder, told that a plus is a plus.
        let pair = format!("x={}", text.replace('+', "%2B"));
        url::form_urlencoded::parse(pair.as_bytes()).next().map(|(_, value)| value.into_owned()).unwrap_or_default()
    };
    let path = parts.uri.path().to_owned();
    let asked = Asked {
        method: parts.method.to_string(),
        segments: path.split('/').filter(|segment| !segment.is_empty()).map(unescape).collect(),
        path,
        raw_query: parts.uri.query().unwrap_or_default().to_owned(),
        query: url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()).into_owned().collect(),
        headers: parts.headers,
        json: serde_json::from_slice(&body).unwrap_or(Value::Null),
        body,
    };
    let answer = {
        let mut account = account.lock().unwrap_or_else(PoisonError::into_inner);
        account.log.push(asked.clone());
        if let Some((left, answer)) = account.limited.as_mut().filter(|(left, _)| *left > 0) {
            *left -= 1;
            answer.clone()
        } else {
            if asked.method != "GET"
                && let Some(rival) = account.rival.take()
            {
                rival(&mut account);
            }
            let answer = handler(&mut account, &asked);
            if asked.method != "GET"
                && let Some(successor) = account.successor.take()
            {
                successor(&mut account);
            }
            answer
        }
    };
    let mut response = Response::builder().status(answer.status);
    if !answer.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
        response = response.header("content-type", "application/json");
    }
    for (name, value) in &answer.headers {
        response = response.header(*name, value);
    }
    let body = match answer.body {
        Value::Null => Body::empty(),
        Value::String(text) => Body::from(text),
        body => Body::from(body.to_string()),
    };
    response.body(body).expect("an answer")
}

#[async_trait]
impl World for Vendor {
    async fn provider(&self) -> Box<dyn DcvProvider> {
        (self.make)(self.url.clone()).await
    }

    fn name(&self, n: usize) -> String {
        format!("_dnsauth.n{n}.{}", self.account().zones[0].name)
    }

    fn unserved_name(&self) -> Option<String> {
        Some("_dnsauth.www.not-served-here.example".to_owned())
    }

    async fn values(&self, kind: ProofKind, name: &str) -> Vec<String> {
        self.account().set(name, rtype(kind)).into_iter().map(|row| row.value.clone()).collect()
    }

    async fn plant(&self, kind: ProofKind, name: &str, value: &str) -> bool {
        let value = if kind == ProofKind::Cname { format!("{value}.") } else { value.to_owned() };
        let mut account = self.account();
        let zone = account.zones[0].name.clone();
        account.add(&zone, name, rtype(kind), &value, 300).expect("room for somebody else's value");
        true
    }
}
