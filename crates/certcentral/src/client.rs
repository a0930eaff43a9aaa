//! The client: one method for each endpoint, one place that sends.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use reqwest::{Method, StatusCode, Url, header};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::time::Instant;

use crate::{
    budget::Budget,
    error::{Error, ErrorCode, Result, Sent, read_errors},
    lenient,
    types::Page,
};

/// Base URL of most accounts.
pub const US: &str = "https://www.digicert.com/services/v2";
/// Base URL of accounts on the European instance.
pub const EU: &str = "https://certcentral.digicert.eu/services/v2";

/// No pause is longer, whoever asks for it.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// A pause that people notice.
const LONG: Duration = Duration::from_secs(10);
/// No pause of ours after a 429 is longer: the shorter of the windows may have room again before the longer one has.
const LONGEST_LIMITED: Duration = Duration::from_secs(60);
/// How long a connection may take. One that was never made has sent nothing, which is worth knowing of an order.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an unused connection is kept: less than the minute after which servers and gateways close theirs, for an order
/// sent just then would have an unknown outcome.
const KEEP_IDLE: Duration = Duration::from_secs(20);
/// By how much this machine's clock and the server's may differ: far more than clocks drift, far less than anything at the CA lives.
const CLOCK_TRUST: SignedDuration = SignedDuration::from_hours(1);

mod account;
mod certificates;
mod domains;
mod orders;
mod webhooks;

/// When calls that may be repeated are.
#[derive(Clone, Copy, Debug)]
pub struct Retries {
    /// How often a call is sent at most. Refusals with 429 are not counted.
    pub attempts: u32,
    /// First pause after a 5xx or a lost connection; it doubles.
    pub pause: Duration,
    /// First pause after a 429 without `Retry-After`; it doubles up to a minute. The vendor names no time; clients in use wait 5 s.
    pub pause_when_limited: Duration,
    /// How long any call that is refused with 429 is sent again, from its first refusal. Longer than the longest window of the limits, so
    /// that a key whose calls others have used up works again before a call fails.
    pub patience_when_limited: Duration,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            attempts: 5,
            pause: Duration::from_millis(500),
            pause_when_limited: Duration::from_secs(5),
            patience_when_limited: Duration::from_secs(240),
        }
    }
}

/// A client of the API for one API key. Cheap to clone; clones share the rate budget.
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    base: Url,
    key: SecretString,
    http: reqwest::Client,
    budget: Budget,
    retries: Retries,
    clock_skew: Mutex<Option<SignedDuration>>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

/// Sets a [`Client`] up.
#[derive(Debug)]
pub struct ClientBuilder {
    key: SecretString,
    base: String,
    budget: Budget,
    retries: Retries,
    timeout: Duration,
    user_agent: String,
    http: reqwest::ClientBuilder,
}

impl ClientBuilder {
    /// The base URL, with or without a final slash: [`US`] (the default), [`EU`], or any other.
    #[must_use]
    pub fn base_url(mut self, base: impl Into<String>) -> Self {
        self.base = base.into();
        self
    }

    /// The rate budget, e.g. one shared with other programs' clients of the same key, or other windows.
    #[must_use]
    pub fn budget(mut self, budget: Budget) -> Self {
        self.budget = budget;
        self
    }

    /// How calls that may be repeated are.
    #[must_use]
    pub fn retries(mut self, retries: Retries) -> Self {
        self.retries = retries;
        self
    }

    /// How long one call may take. Default 60 seconds.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// What the client calls itself.
    #[must_use]
    pub fn user_agent(mut self, user_agent: impl Into<String>) -> Self {
        self.user_agent = user_agent.into();
        self
    }

    /// The HTTP client to build on, e.g. with a company's proxy or root certificates. Redirects, repeats, time-outs and the
    /// user agent are set here, whatever it says.
    #[must_use]
    pub fn http(mut self, http: reqwest::ClientBuilder) -> Self {
        self.http = http;
        self
    }

    /// Builds the client.
    ///
    /// # Errors
    /// [`Error::Config`] when the base URL is none, or is plain HTTP to another host, or the key cannot be a header.
    pub fn build(self) -> Result<Client> {
        let config = |field, message: String| Error::Config { field, message };
        let text = self.base.trim().trim_end_matches('/');
        let base =
            Url::parse(text).map_err(|e| config("url", format!("`{text}` is not a URL ({e}); one looks like {US}")))?;
        let loopback = match base.host() {
            Some(url::Host::Domain(name)) => name == "localhost",
            Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
            Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
            None => false,
        };
        match base.scheme() {
            "https" => {}
            "http" if loopback => {}
            "http" => return Err(config("url", format!("`{text}` would send the API key in clear; use https"))),
            other => return Err(config("url", format!("`{text}`: {other} is not spoken here; use https"))),
        }
        if header::HeaderValue::from_str(self.key.expose_secret()).is_err() || self.key.expose_secret().is_empty() {
            return Err(config(
                "key",
                "the API key is empty or has characters that no key has; read it again".to_owned(),
            ));
        }
        // Only fails when a provider is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // A proxy of the environment is not this host: without TLS it would see the key.
        let http = if base.scheme() == "http" && loopback { self.http.no_proxy() } else { self.http };
        let http = http
            .user_agent(self.user_agent)
            .timeout(self.timeout)
            .connect_timeout(CONNECT_TIMEOUT.min(self.timeout))
            .pool_idle_timeout(KEEP_IDLE)
            // The key must not travel to wherever somebody points.
            .redirect(reqwest::redirect::Policy::none())
            // A repeat of ours is counted and thought about; one of the library's would not be.
            .retry(reqwest::retry::never())
            .build()
            .map_err(|e| config("http", e.to_string()))?;
        let inner = Inner {
            base,
            key: self.key,
            http,
            budget: self.budget,
            retries: self.retries,
            clock_skew: Mutex::default(),
        };
        Ok(Client { inner: Arc::new(inner) })
    }
}

/// Whether a call may be sent again when it is not known whether it got through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Repeat {
    /// It reads, or doing it twice is the same as doing it once.
    Harmless,
    /// Doing it twice makes two of something.
    Never,
}

/// One call.
#[derive(Clone)]
struct Call<'a> {
    method: Method,
    path: String,
    query: Vec<(&'a str, String)>,
    body: Option<Value>,
    repeat: Repeat,
    accept: &'static str,
}

impl<'a> Call<'a> {
    fn get(path: impl Into<String>) -> Self {
        Self {
            method: Method::GET,
            path: path.into(),
            query: Vec::new(),
            body: None,
            repeat: Repeat::Harmless,
            accept: "application/json",
        }
    }

    /// A GET of a file in whatever format.
    fn file(path: impl Into<String>) -> Self {
        Self { accept: "*/*", ..Self::get(path) }
    }

    fn put(path: impl Into<String>) -> Self {
        Self { method: Method::PUT, ..Self::get(path) }
    }

    /// A POST, which makes something unless told otherwise.
    fn post(path: impl Into<String>) -> Self {
        Self { method: Method::POST, ..Self::get(path) }.once()
    }

    /// Marks a call that makes something each time.
    fn once(mut self) -> Self {
        self.repeat = Repeat::Never;
        self
    }

    /// Marks a POST that may be repeated.
    fn harmless(mut self) -> Self {
        self.repeat = Repeat::Harmless;
        self
    }

    fn body(mut self, body: impl Serialize) -> Self {
        // Our own types have text keys and no failing parts.
        self.body = Some(serde_json::to_value(body).unwrap_or(Value::Null));
        self
    }

    fn query(mut self, name: &'a str, value: impl ToString) -> Self {
        self.query.push((name, value.to_string()));
        self
    }

    fn writes(&self) -> bool {
        self.method != Method::GET
    }

    /// For errors and logs.
    fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

impl Inner {
    /// Makes attempts at a call, which are numbered from 1, until one counts.
    async fn persist<T, A: Future<Output = Result<T>>>(
        &self,
        call: &Call<'_>,
        mut attempt: impl FnMut(u32) -> A,
    ) -> Result<T> {
        let retries = self.retries;
        let (mut failed, mut limited) = (0, 0);
        let mut limited_since = None;
        loop {
            let result = attempt(failed + limited + 1).await;
            let Err(error) = &result else { return result };
            let doubling = |times| 2u32.saturating_pow(times - 1);
            let wait = match error {
                // Refused unread, whatever the call.
                Error::Api { status: 429, retry_after, .. } => {
                    limited += 1;
                    let ours = || jittered(retries.pause_when_limited, doubling(limited)).min(LONGEST_LIMITED);
                    // A time that is over already, by a clock that is wrong perhaps, is none.
                    let wait = retry_after.filter(|asked| !asked.is_zero()).unwrap_or_else(ours);
                    self.budget.pause(wait);
                    if limited_since.get_or_insert_with(Instant::now).elapsed() >= retries.patience_when_limited {
                        return result;
                    }
                    wait
                }
                Error::Api { status: 500.., retry_after, .. } if call.repeat == Repeat::Harmless => {
                    failed += 1;
                    retry_after.unwrap_or_else(|| jittered(retries.pause, doubling(failed)))
                }
                Error::Transport { sent, .. } if call.repeat == Repeat::Harmless || *sent == Sent::No => {
                    failed += 1;
                    jittered(retries.pause, doubling(failed))
                }
                _ => return result,
            };
            if failed >= retries.attempts {
                return result;
            }
            // By a target of its own, for whoever looks at a program that seems to stand still and shows no other warnings.
            if wait >= LONG {
                tracing::warn!(target: "certcentral::wait", call = call.name(), %error, ?wait, "trying again");
            } else {
                tracing::warn!(call = call.name(), %error, ?wait, "trying again");
            }
            tokio::time::sleep(wait).await;
        }
    }
}

impl Client {
    /// Begins to set a client up.
    pub fn builder(key: SecretString) -> ClientBuilder {
        ClientBuilder {
            key,
            base: US.to_owned(),
            budget: Budget::default(),
            retries: Retries::default(),
            timeout: Duration::from_secs(60),
            user_agent: concat!("dcv/", env!("CARGO_PKG_VERSION")).to_owned(),
            http: reqwest::Client::builder(),
        }
    }

    /// The rate budget, for metrics.
    pub fn budget(&self) -> &Budget {
        &self.inner.budget
    }

    /// How far this machine's clock is ahead of the server's (behind it where negative), by the `Date` of the last answer, where that is
    /// more than an hour: then no date is to be compared with it. `None` also before the first answer, and where it had no date.
    pub fn clock_error(&self) -> Option<SignedDuration> {
        let skew = *self.inner.clock_skew.lock().unwrap_or_else(PoisonError::into_inner);
        skew.filter(|skew| skew.abs() > CLOCK_TRUST)
    }

    // ---- sending

    async fn json<T: DeserializeOwned>(&self, call: Call<'_>) -> Result<T> {
        let (name, writes) = (call.name(), call.writes());
        let body = self.send(call).await?;
        lenient::json(&body).map_err(|e| self.not_understood(name, writes, &e, &body))
    }

    /// A call whose answer may be empty.
    async fn json_or_default<T: DeserializeOwned + Default>(&self, call: Call<'_>) -> Result<T> {
        let (name, writes) = (call.name(), call.writes());
        let body = self.send(call).await?;
        if lenient::is_blank(&body) {
            return Ok(T::default());
        }
        lenient::json(&body).map_err(|e| self.not_understood(name, writes, &e, &body))
    }

    /// A list to its end, whatever the server takes for a page: until its total is reached or a page brings nothing new.
    async fn all<T, Id>(&self, call: Call<'_>, field: &str, id: impl Fn(&T) -> Id) -> Result<Vec<T>>
    where
        T: DeserializeOwned,
        Id: std::hash::Hash + Eq,
    {
        let mut known = HashSet::new();
        let mut all = Vec::new();
        let mut offset = 0;
        loop {
            let next = if offset == 0 { call.clone() } else { call.clone().query("offset", offset) };
            let page = self.list(next, field).await?;
            offset += page.items.len();
            let before = all.len();
            all.extend(page.items.into_iter().filter(|item| known.insert(id(item))));
            if all.len() == before || page.total.is_some_and(|total| offset as u64 >= total) {
                return Ok(all);
            }
        }
    }

    /// A list under `field`, and the page's total.
    async fn list<T: DeserializeOwned>(&self, call: Call<'_>, field: &str) -> Result<Page<T>> {
        #[derive(Deserialize)]
        struct Items<T: DeserializeOwned>(#[serde(deserialize_with = "lenient::list")] Vec<T>);
        let (name, writes) = (call.name(), call.writes());
        let mut answer: Value = self.json_or_default(call).await?;
        let total = answer.pointer("/page/total").and_then(|total| lenient::number(total).ok()?);
        let list = answer.get_mut(field).map(Value::take).unwrap_or_default();
        let items = Items::deserialize(list).map_err(|e| self.not_understood(name, writes, &e, b""))?;
        Ok(Page { items: items.0, total })
    }

    /// The error for a successful answer without sense. Of a page that is no JSON the beginning is kept, for who has to find
    /// out which gateway wrote it; of JSON nothing is, for it may hold random values.
    fn not_understood(&self, call: String, writes: bool, error: &serde_json::Error, body: &[u8]) -> Error {
        let text = String::from_utf8_lossy(body);
        let text = text.trim_start_matches(|c: char| c == '\u{feff}' || c.is_whitespace());
        let start: String = text.chars().take(120).collect();
        let message = match start.chars().next() {
            None | Some('{' | '[') => error.to_string(),
            Some(_) => format!("{error}; it begins with {start:?}"),
        };
        Error::Decode { call, message: self.without_key(message), writes }
    }

    /// The API key may come back in an answer. It goes no further. (Shorter texts than any key are left alone.)
    fn without_key(&self, text: String) -> String {
        let key = self.inner.key.expose_secret();
        if key.len() >= 8 && text.contains(key) { text.replace(key, "(the API key)") } else { text }
    }

    /// A call whose answer does not matter: 204, or some body.
    async fn nothing(&self, call: Call<'_>) -> Result<()> {
        self.send(call).await.map(drop)
    }

    /// Sends a call until it is answered, within what may be repeated.
    async fn send(&self, call: Call<'_>) -> Result<Bytes> {
        self.inner.persist(&call, |number| self.attempt(&call, number)).await
    }

    /// Sends a call once.
    async fn attempt(&self, call: &Call<'_>, attempt: u32) -> Result<Bytes> {
        let inner = &*self.inner;
        let mut url = inner.base.clone();
        url.set_path(&format!("{}{}", inner.base.path().trim_end_matches('/'), call.path));
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(call.query.iter().map(|(name, value)| (*name, value.as_str())));
        }
        let mut key =
            header::HeaderValue::from_str(inner.key.expose_secret()).expect("the builder has checked the key");
        key.set_sensitive(true);
        let mut request = inner.http.request(call.method.clone(), url).header("X-DC-DEVKEY", key);
        request = request.header(header::ACCEPT, call.accept);
        match &call.body {
            Some(body) => request = request.json(body),
            // The vendor asks for a length with every request.
            None if call.writes() => request = request.header(header::CONTENT_LENGTH, 0),
            None => {}
        }
        let transport = |error: &reqwest::Error, sent| {
            // The call names the path only, and it is the host that is wrong or behind a firewall.
            let host = inner.base.host_str().unwrap_or_default();
            let port = inner.base.port().map(|port| format!(":{port}")).unwrap_or_default();
            let message = if error.is_connect() {
                format!("{host}{port} cannot be reached: {}", causes(error))
            } else {
                causes(error)
            };
            Error::Transport { call: call.name(), message, sent, writes: call.writes() }
        };
        let permit = inner.budget.acquire().await;
        let began = std::time::Instant::now();
        let answer = async {
            let response = request.send().await.map_err(|e| {
                let sent = if e.is_connect() || e.is_builder() { Sent::No } else { Sent::Maybe };
                transport(&e, sent)
            })?;
            let (status, headers) = (response.status(), response.headers().clone());
            if let Some(date) = headers.get(header::DATE).and_then(http_date) {
                *inner.clock_skew.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some(Timestamp::now().duration_since(date));
            }
            let body = match response.bytes().await {
                Ok(body) => body,
                // Refused is refused, also where the reason was cut off.
                Err(_) if status.is_client_error() => Bytes::new(),
                Err(e) => return Err(transport(&e, Sent::Maybe)),
            };
            Ok((status, headers, body))
        }
        .await;
        drop(permit);
        let status = answer.as_ref().map_or(0, |(status, ..): &(StatusCode, header::HeaderMap, Bytes)| status.as_u16());
        let millis = began.elapsed().as_millis();
        tracing::debug!(method = %call.method, path = call.path, status, millis, attempt, "called");
        let (status, headers, body) = answer?;
        if status.is_success() {
            return Ok(body);
        }
        let mut errors = read_errors(&body);
        for error in &mut errors {
            error.code = ErrorCode::new(self.without_key(error.code.as_str().to_owned()));
            error.message = self.without_key(std::mem::take(&mut error.message));
        }
        Err(Error::Api {
            call: call.name(),
            status: status.as_u16(),
            errors,
            retry_after: headers.get(header::RETRY_AFTER).and_then(|value| retry_after(value, Timestamp::now())),
            writes: call.writes(),
        })
    }
}

/// `Retry-After`: seconds, or an HTTP date.
pub(crate) fn retry_after(value: &header::HeaderValue, now: Timestamp) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    let wait = if let Ok(seconds) = text.parse() {
        Duration::from_secs(seconds)
    } else {
        Duration::try_from(http_date(value)?.duration_since(now)).unwrap_or_default()
    };
    Some(wait.min(LONGEST_PAUSE))
}

/// A date in the form that HTTP prefers (RFC 9110 section 5.6.7).
fn http_date(value: &header::HeaderValue) -> Option<Timestamp> {
    Some(jiff::fmt::rfc2822::parse(value.to_str().ok()?.trim()).ok()?.timestamp())
}

/// At least `pause` times `factor`, and up to half as much again.
fn jittered(pause: Duration, factor: u32) -> Duration {
    let pause = pause.saturating_mul(factor).min(LONGEST_PAUSE);
    pause.mul_f64(rand::Rng::random_range(&mut rand::rng(), 1.0..1.5))
}

/// An error and what caused it, in one line, without the URL (its query may be long).
fn causes(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    if error.is_timeout() {
        return format!("no answer in time{}{text}", if text.is_empty() { "" } else { ": " });
    }
    if text.is_empty() { error.to_string() } else { text }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;

    #[test]
    fn the_key_never_shows() {
        let client = Client::builder("planted-secret".into()).build().expect("it builds");
        assert!(!format!("{client:?}").contains("planted-secret"));
        let builder = Client::builder("planted-secret".into());
        assert!(!format!("{builder:?}").contains("planted-secret"));
    }

    #[test]
    fn the_key_does_not_travel_in_clear() {
        let build = |base: &str| Client::builder("k".into()).base_url(base).build();
        for good in [
            US,
            EU,
            "https://ca.example.com/v2/",
            "http://127.0.0.1:8080/services/v2",
            "http://[::1]:1/",
            "http://localhost",
        ] {
            assert!(build(good).is_ok(), "{good}");
        }
        for bad in
            ["http://www.digicert.com/services/v2", "http://127.0.0.1.example.com/", "ftp://x", "www.digicert.com", ""]
        {
            let error = build(bad).expect_err(bad).to_string();
            assert!(error.starts_with("url: "), "{error}");
        }
        assert!(Client::builder("".into()).build().is_err());
        assert!(Client::builder("a\nb".into()).build().is_err());
    }

    fn limited(retry_after: Option<Duration>) -> Error {
        Error::Api { call: String::new(), status: 429, errors: Vec::new(), retry_after, writes: true }
    }

    /// When a call to a server that refuses it for so long was sent, in seconds of a simulated clock, and what came of it.
    async fn refused_for(length: Duration, retry_after: Option<Duration>) -> (Vec<u64>, Result<()>) {
        let client = Client::builder("k".into()).build().expect("it builds");
        let (began, mut sent) = (Instant::now(), Vec::new());
        let call = Call::post("/order/certificate/ssl_basic");
        let persisting = client.inner.persist(&call, |_| {
            sent.push(began.elapsed().as_secs());
            ready(if began.elapsed() < length { Err(limited(retry_after)) } else { Ok(()) })
        });
        let result = persisting.await;
        (sent, result)
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_others_have_used_up_is_waited_for_longer_than_the_longest_window() {
        let (sent, result) = refused_for(Duration::from_secs(180), None).await;
        assert!(result.is_ok(), "{sent:?}");
        let (sent, result) = refused_for(Duration::MAX, None).await;
        assert!(result.is_err_and(|error| error.is_rate_limited()));
        assert!(sent.last().is_some_and(|last| (240..340).contains(last)), "{sent:?}");
        let asked = Some(Duration::from_secs(100));
        assert_eq!(refused_for(Duration::from_secs(180), asked).await.0, [0, 100, 200]);
        assert_eq!(refused_for(Duration::MAX, asked).await.0, [0, 100, 200, 300]);
        let (sent, _) = refused_for(Duration::MAX, Some(Duration::ZERO)).await;
        assert!(sent.len() < 12, "nobody is asked all the time: {sent:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_do_not_use_up_the_attempts_and_end_with_their_caller() {
        let client = Client::builder("k".into()).build().expect("it builds");
        let gateway =
            || Error::Api { call: String::new(), status: 502, errors: Vec::new(), retry_after: None, writes: false };
        let mut answers = [limited(None), limited(None), limited(None), limited(None), limited(None)].into_iter();
        let mut gateways = 0;
        let result: Result<()> = client
            .inner
            .persist(&Call::get("/user/me"), |_| {
                ready(Err(answers.next().unwrap_or_else(|| {
                    gateways += 1;
                    gateway()
                })))
            })
            .await;
        assert_eq!((result.expect_err("never").status(), gateways), (Some(502), 5));

        let mut sent = 0;
        let call = Call::get("/user/me");
        let persisting = client.inner.persist(&call, |_| {
            sent += 1;
            ready(Err::<(), _>(limited(None)))
        });
        assert!(tokio::time::timeout(Duration::from_secs(1), persisting).await.is_err(), "its caller has left");
        assert_eq!(sent, 1);
    }

    #[test]
    fn a_pause_is_never_shorter_than_asked_for_nor_without_end() {
        for (factor, least) in [(1, 5), (2, 10), (16, 80), (u32::MAX, 600)] {
            let (least, pause) = (Duration::from_secs(least), jittered(Duration::from_secs(5), factor));
            assert!(pause >= least && pause <= least.mul_f64(1.5), "{factor}: {pause:?}");
        }
    }

    #[test]
    fn retry_after_is_read_in_both_forms() {
        let now: Timestamp = "2026-11-23T12:00:00Z".parse().expect("a timestamp");
        let read = |text: &'static str| retry_after(&header::HeaderValue::from_static(text), now);
        assert_eq!(read("7"), Some(Duration::from_secs(7)));
        assert_eq!(read("Mon, 23 Nov 2026 12:00:30 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(read("Mon, 23 Nov 2026 11:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(read("999999"), Some(Duration::from_secs(600)));
        assert_eq!(read("later"), None);
    }
}
