//! Calls of a vendor's HTTP API, so that every provider refuses, waits and keeps its secrets in the same way.
//!
//! An [`Api`] is a base URL and the headers that show who we are. A [`Call`] is one request; [`Call::send`] answers with the
//! body, or with a [`Refusal`] that has become a [`ProviderError`] already: its kind from the status, the vendor's own code
//! and words in its message, `Retry-After` in its retry. Nothing is tried twice here; that is the caller's.
//!
//! TLS is rustls on ring and always verified. Redirects are not followed: a credential goes to the host it is for.

use std::{fmt, fmt::Write, path::Path, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use reqwest::{
    Method, StatusCode, Url,
    header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER},
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{ErrorKind, ProviderError, Result, secret::Secret, zone::hosts::checked_ttl};

pub use reqwest::header;
pub(crate) use said::words;
pub use tokens::{Granted, Grantor, Tokens};

mod said;
mod tokens;

/// How long one call may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// A client with the house's rules: ring, no redirects, one deadline.
///
/// # Errors
/// [`ErrorKind::Config`] when the system gives no root certificates.
pub fn client() -> Result<reqwest::Client> {
    built(builder())
}

fn builder() -> reqwest::ClientBuilder {
    // Only fails when a provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().timeout(DEADLINE).redirect(reqwest::redirect::Policy::none())
}

fn built(builder: reqwest::ClientBuilder) -> Result<reqwest::Client> {
    builder.build().map_err(|e| ProviderError::new(ErrorKind::Config, format!("no HTTP client can be made: {e}")))
}

/// A vendor's API: where it is and who we are there.
#[derive(Clone)]
pub struct Api {
    base: Url,
    /// The field of the configuration that the URL came from.
    field: String,
    http: reqwest::Client,
    headers: HeaderMap,
    /// Never to be seen in an error, though the vendor may repeat them.
    secrets: Vec<SecretString>,
    /// Whether the configuration may name a CA.
    takes_ca: bool,
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

impl Api {
    /// The API at this base URL.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] naming `base_url` when it is no `http` or `https` URL.
    pub fn new(base_url: &str) -> Result<Self> {
        Self::named("base_url", base_url)
    }

    /// The API at the base URL that the configuration has in this field.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] naming the field when it is no `http` or `https` URL.
    pub fn named(field: &str, url: &str) -> Result<Self> {
        Self::over(field, url, builder())
    }

    /// As [`named`](Self::named), past any proxy of the environment: for what answers this machine only, and hands out what a proxy
    /// must not see.
    ///
    /// # Errors
    /// Those of [`named`](Self::named).
    pub fn of_this_machine(field: &str, url: &str) -> Result<Self> {
        Self::over(field, url, builder().no_proxy())
    }

    /// As [`named`](Self::named), trusting the CAs of this PEM file besides the system's: a server within a company often has a
    /// certificate of the company's own.
    ///
    /// # Errors
    /// Those of [`named`](Self::named); naming `ca_file` when it has no certificates.
    pub async fn trusting(field: &str, url: &str, ca_file: Option<&Path>) -> Result<Self> {
        let mut client = builder();
        if let Some(file) = ca_file {
            let wrong = |why: String| {
                ProviderError::new(ErrorKind::Config, format!("ca_file: `{}` {why}; it has to be PEM", file.display()))
            };
            let pem = tokio::fs::read(file).await.map_err(|e| wrong(format!("cannot be read: {e}")))?;
            let roots =
                reqwest::Certificate::from_pem_bundle(&pem).map_err(|e| wrong(format!("has no certificates: {e}")))?;
            if roots.is_empty() {
                return Err(wrong("has no certificates".to_owned()));
            }
            client = client.tls_certs_merge(roots);
        }
        Ok(Self { takes_ca: true, ..Self::over(field, url, client)? })
    }

    fn over(field: &str, url: &str, client: reqwest::ClientBuilder) -> Result<Self> {
        let wrong = |why: String| {
            ProviderError::new(ErrorKind::Config, format!("{field}: `{url}` is not the URL of an API: {why}"))
        };
        let base = Url::parse(url.trim_end_matches('/')).map_err(|e| wrong(e.to_string()))?;
        if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none_or(str::is_empty) {
            return Err(wrong("it begins with https:// and a host".to_owned()));
        }
        Ok(Self {
            base,
            field: field.to_owned(),
            http: built(client)?,
            headers: HeaderMap::new(),
            secrets: Vec::new(),
            takes_ca: false,
        })
    }

    /// Sends a credential with every call: `prefix`, then the secret. `field` is the configuration key it came from.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] naming the field when the secret cannot be in a header.
    pub fn credential(
        mut self,
        field: &str,
        name: impl TryInto<HeaderName>,
        prefix: &str,
        secret: &SecretString,
    ) -> Result<Self> {
        let wrong = |what| ProviderError::new(ErrorKind::Config, format!("{field}: {what}"));
        let mut value = HeaderValue::from_str(&format!("{prefix}{}", secret.expose_secret()))
            .map_err(|_| wrong("it has characters that no credential has; read it again"))?;
        value.set_sensitive(true);
        let name = name.try_into().map_err(|_| wrong("it goes into a header with no name"))?;
        self.headers.insert(name, value);
        Ok(self.hiding(secret))
    }

    /// Sends `Authorization: Bearer` with every call.
    ///
    /// # Errors
    /// Those of [`credential`](Self::credential).
    pub fn bearer(self, field: &str, token: &SecretString) -> Result<Self> {
        self.credential(field, header::AUTHORIZATION, "Bearer ", token)
    }

    /// Sends a user's name and password with every call (RFC 7617). The password is kept out of errors, alone and with the name.
    ///
    /// # Errors
    /// Those of [`credential`](Self::credential).
    pub fn basic(self, user: &str, password: &SecretString) -> Result<Self> {
        let pair = SecretString::from(BASE64.encode(format!("{user}:{}", password.expose_secret())));
        Ok(self.credential("password", header::AUTHORIZATION, "Basic ", &pair)?.hiding(password))
    }

    /// Sends this header with every call.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Keeps this secret out of errors even where the vendor repeats it.
    #[must_use]
    pub fn hiding(mut self, secret: &SecretString) -> Self {
        self.secrets.push(secret.clone());
        self
    }

    /// Host and port, for people.
    #[must_use]
    pub fn place(&self) -> String {
        let host = self.base.host_str().unwrap_or_default();
        self.base.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    /// A call of the path behind the base URL. Segments from outside are to be escaped with [`segment`].
    #[must_use]
    pub fn call(&self, method: Method, path: &str) -> Call<'_> {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path().trim_end_matches('/')));
        Call { api: self, method, url, path: path.to_owned(), headers: self.headers.clone(), body: Vec::new() }
    }

    /// [`call`](Self::call) with `GET`.
    #[must_use]
    pub fn get(&self, path: &str) -> Call<'_> {
        self.call(Method::GET, path)
    }

    /// [`call`](Self::call) with `POST`.
    #[must_use]
    pub fn post(&self, path: &str) -> Call<'_> {
        self.call(Method::POST, path)
    }

    /// [`call`](Self::call) with `PUT`.
    #[must_use]
    pub fn put(&self, path: &str) -> Call<'_> {
        self.call(Method::PUT, path)
    }

    /// [`call`](Self::call) with `PATCH`.
    #[must_use]
    pub fn patch(&self, path: &str) -> Call<'_> {
        self.call(Method::PATCH, path)
    }

    /// [`call`](Self::call) with `DELETE`.
    #[must_use]
    pub fn delete(&self, path: &str) -> Call<'_> {
        self.call(Method::DELETE, path)
    }
}

/// The configuration of a host whose API wants a token and nothing else.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenConfig {
    /// The token.
    pub token: Secret,
    /// TTL of what is added, in seconds.
    pub ttl: Option<u32>,
    /// Base URL of the API.
    pub base_url: Option<String>,
}

impl TokenConfig {
    /// The API of `vendor`, by its token, and the TTL: [`checked_ttl`] of `usual` and `least`.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] naming the field.
    pub async fn open(self, vendor: &str, base_url: &str, usual: u32, least: u32) -> Result<(Api, u32)> {
        let ttl = checked_ttl(self.ttl, vendor, usual, least)?;
        let token = self.token.read("token").await?;
        let api = Api::new(self.base_url.as_deref().unwrap_or(base_url))?.bearer("token", &token)?;
        Ok((api, ttl))
    }
}

/// A string as one segment of a path.
#[must_use]
pub fn segment(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

/// A request that is being put together.
#[derive(Debug)]
pub struct Call<'a> {
    api: &'a Api,
    method: Method,
    url: Url,
    /// As errors name it: the query may hold what they must not.
    path: String,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Call<'_> {
    /// Adds to the query.
    #[must_use]
    pub fn query<K: AsRef<str>, V: AsRef<str>>(mut self, pairs: impl IntoIterator<Item = (K, V)>) -> Self {
        self.url.query_pairs_mut().extend_pairs(pairs);
        if self.url.query() == Some("") {
            self.url.set_query(None);
        }
        self
    }

    /// Adds a header to this call only.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Sets a JSON body.
    #[must_use]
    pub fn json(self, body: &impl Serialize) -> Self {
        // Only maps with keys that are no strings fail, and providers have none.
        self.body("application/json", serde_json::to_vec(body).unwrap_or_default())
    }

    /// Sets a body.
    #[must_use]
    pub fn body(mut self, content_type: &'static str, body: impl Into<Vec<u8>>) -> Self {
        self.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        self.body = body.into();
        self
    }

    /// The method, the URL and the body as they will be sent, for vendors that want them signed.
    #[must_use]
    pub fn parts(&self) -> (&Method, &Url, &[u8]) {
        (&self.method, &self.url, &self.body)
    }

    /// Sends it and reads the answer as JSON. An empty body is read as `null`.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub async fn send<T: DeserializeOwned>(self) -> Result<T, Refusal> {
        let answer = self.answer().await?;
        answer.json()
    }

    /// Sends it; the answer's body is not needed.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub async fn done(self) -> Result<(), Refusal> {
        self.answer().await.map(drop)
    }

    /// Sends it, for those who need the answer's headers.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub async fn answer(self) -> Result<Answer, Refusal> {
        let Self { api, method, url, path, headers, body } = self;
        let what = format!("{}: {method} {path}", api.place());
        let broken = |e: reqwest::Error| {
            let message = format!("{what}: {}", said::causes(&e.without_url()));
            let refusal = Refusal::unsent(ProviderError::new(ErrorKind::Unavailable, message));
            if api.takes_ca && refusal.error.message.contains("certificate") {
                return refusal.but(ErrorKind::Config).hint("if it is of your own CA, name that CA with `ca_file`");
            }
            refusal
        };
        let mut request = api.http.request(method.clone(), url).headers(headers);
        if !body.is_empty() {
            request = request.body(body);
        }
        let response = request.send().await.map_err(broken)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.bytes().await.map_err(broken)?.to_vec();
        if status.is_success() {
            return Ok(Answer { what, field: api.field.clone(), status, headers, body });
        }
        let value: Box<Value> = serde_json::from_slice(&body).unwrap_or_default();
        let said = words(&body, &api.secrets);
        let kind = kind_of(status);
        let mut error = ProviderError::new(kind, format!("{what}: HTTP {status}: {said}"));
        if let Some(wait) = headers.get(RETRY_AFTER).and_then(|v| retry_after(v.to_str().ok()?)) {
            error = error.retry_after(wait);
        }
        Err(Refusal { error, status: Some(status), body: value })
    }
}

/// What a vendor answered when all was well.
#[derive(Debug)]
pub struct Answer {
    what: String,
    /// Of the configuration, where the URL came from.
    field: String,
    /// The status, between 200 and 299.
    pub status: StatusCode,
    /// The headers, for paging and tags.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON; an empty one as `null`.
    ///
    /// # Errors
    /// When it is something else.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        let body: &[u8] = if self.body.is_empty() { b"null" } else { &self.body };
        serde_json::from_slice(body).map_err(|e| self.not_understood(&e))
    }

    /// The error where the body, or something in it, is not what it should be. What stands there is not shown.
    #[must_use]
    pub fn not_understood(&self, error: &serde_json::Error) -> Refusal {
        let Self { what, field, .. } = self;
        let message = format!("{what}: the answer is not understood: {}; check {field}", said::without_texts(error));
        Refusal {
            error: ProviderError::new(ErrorKind::Unavailable, message),
            status: Some(self.status),
            body: Box::default(),
        }
    }

    /// The query of the page that follows, of the `Link` header (RFC 8288). The query only: a credential goes to the host it is for.
    #[must_use]
    pub fn next_page(&self) -> Option<Vec<(String, String)>> {
        let mut links = self.header("link")?.split(',');
        let link = links.find(|link| link.contains("rel=\"next\"") || link.contains("rel=next"))?;
        let query = link.split_once('<')?.1.split_once('>')?.0.split_once('?')?.1;
        // Any base will do: only the query is read.
        let url = Url::parse(&format!("http://localhost/?{query}")).ok()?;
        Some(url.query_pairs().into_owned().collect())
    }

    /// A header as text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// A call that did not succeed: the error that it is, and what tells whether there is another way.
#[derive(Debug)]
pub struct Refusal {
    /// What to pass on. 401 and 403 are [`ErrorKind::Credentials`], 404 is [`ErrorKind::NotServed`], 409 and 412 are
    /// [`ErrorKind::Conflict`], 429 is [`ErrorKind::RateLimited`], 5xx and broken connections are
    /// [`ErrorKind::Unavailable`], all else is [`ErrorKind::Rejected`].
    pub error: ProviderError,
    /// The status; `None` when the connection broke.
    pub status: Option<StatusCode>,
    /// The body if it was JSON.
    pub body: Box<Value>,
}

impl Refusal {
    /// Of a call that was not sent, or not answered.
    #[must_use]
    pub fn unsent(error: ProviderError) -> Self {
        Self { error, status: None, body: Box::default() }
    }

    /// Whether this was the status.
    #[must_use]
    pub fn is(&self, status: u16) -> bool {
        self.status.is_some_and(|s| s.as_u16() == status)
    }

    /// The same refusal, known to be of another kind.
    #[must_use]
    pub fn but(mut self, kind: ErrorKind) -> Self {
        let better = ProviderError::new(kind, std::mem::take(&mut self.error.message));
        self.error = match self.error.retry {
            crate::Retry::After(wait) => better.retry_after(wait),
            _ => better,
        };
        self
    }

    /// The same refusal with a way out.
    #[must_use]
    pub fn hint(mut self, way_out: &str) -> Self {
        self.error.message = format!("{}; {way_out}", self.error.message);
        self
    }
}

impl From<Refusal> for ProviderError {
    fn from(refusal: Refusal) -> Self {
        refusal.error
    }
}

fn kind_of(status: StatusCode) -> ErrorKind {
    match status.as_u16() {
        401 | 403 => ErrorKind::Credentials,
        404 => ErrorKind::NotServed,
        409 | 412 => ErrorKind::Conflict,
        429 => ErrorKind::RateLimited,
        408 | 500.. => ErrorKind::Unavailable,
        _ => ErrorKind::Rejected,
    }
}

/// Seconds, or a date (RFC 9110, 10.2.3). A date in the past is no wait.
pub(crate) fn retry_after(value: &str) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = httpdate::parse_http_date(value).ok()?;
    Some(at.duration_since(std::time::SystemTime::now()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_seconds_or_dates() {
        assert_eq!(retry_after("7"), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        assert!(retry_after("Tue, 01 Jan 2999 00:00:00 GMT").is_some_and(|wait| wait > Duration::from_secs(1000)));
        assert_eq!(retry_after("soon"), None);
    }

    #[test]
    fn a_url_that_is_none_and_a_secret_that_fits_no_header_are_named() {
        let api = Api::new("https://api.example.com/v1/").and_then(|api| api.bearer("token", &"planted".into()));
        let api = api.expect("an API");
        assert!(!format!("{api:?} {:?}", api.get("/x")).contains("planted"));
        let error = Api::new("ftp://x").expect_err("no API").to_string();
        assert!(error.starts_with("base_url: `ftp://x`"), "{error}");
        let error = api.bearer("token", &"planted\ntoken".into()).expect_err("no header").to_string();
        assert!(error.starts_with("token: ") && !error.contains("planted"), "{error}");
    }

    #[test]
    fn an_answer_that_is_not_understood_names_the_field_of_its_url_and_shows_no_text() {
        let answer = Answer { body: b"[\"planted-token\"]".to_vec(), ..answer("") };
        let error = answer.json::<Vec<u64>>().expect_err("a text").error.to_string();
        assert!(error.contains("a text, expected u64") && error.ends_with("; check endpoint"), "{error}");
        assert!(!error.contains("planted"), "{error}");
    }

    fn answer(link: &str) -> Answer {
        Answer {
            what: "api.example.com: GET /x".to_owned(),
            field: "endpoint".to_owned(),
            status: StatusCode::OK,
            headers: HeaderMap::from_iter([(header::LINK, link.parse().expect("a header"))]),
            body: Vec::new(),
        }
    }

    #[test]
    fn pages_are_followed_by_their_query() {
        let link = "<https://a.example/x?page=1>; rel=\"prev\", <https://b.example/x?page=3&q=a%20b>; rel=\"next\"";
        let next = answer(link).next_page().expect("a page");
        assert_eq!(next, [("page".to_owned(), "3".to_owned()), ("q".to_owned(), "a b".to_owned())]);
        assert_eq!(answer("<https://a.example/x?page=1>; rel=\"last\"").next_page(), None);
    }

    #[test]
    fn paths_and_queries_are_escaped() {
        let api = Api::new("https://api.example.com/v1/").expect("an API");
        let call = api.get(&format!("/zones/{}", segment("a b/ü"))).query([("q", "x&y")]);
        assert_eq!(call.parts().1.as_str(), "https://api.example.com/v1/zones/a%20b%2F%C3%BC?q=x%26y");
        assert_eq!(api.get("/z").query([("", ""); 0]).parts().1.as_str(), "https://api.example.com/v1/z");
    }
}
