//! Calls of an Infoblox WAPI: where it is, who we are there, and what its refusals mean.
//!
//! It has a client of its own, for a grid master often has a certificate of the company's own CA. TLS is always verified: that
//! CA can be named, and nothing can be switched off.

use std::{fmt, path::Path, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use dcv_provider::{ErrorKind, ProviderError, Result, http::header};
use reqwest::{Method, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

/// How long one call may take.
const DEADLINE: Duration = Duration::from_secs(30);
/// The version that is asked for unless the URL says another: that of NIOS 8.3. The grid answers in its manner, however new it is.
const VERSION: &str = "v2.9";

/// A grid master's API.
pub(crate) struct Wapi {
    base: Url,
    http: reqwest::Client,
    authorization: header::HeaderValue,
    password: SecretString,
}

impl fmt::Debug for Wapi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wapi").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

/// What the WAPI says when it refuses ("Error Handling").
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Said {
    code: String,
    text: String,
}

/// A call that did not succeed.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) error: ProviderError,
    /// Whether it is about something that is there already, or is not there any more.
    pub(crate) of_state: bool,
}

impl From<Refusal> for ProviderError {
    fn from(refusal: Refusal) -> Self {
        refusal.error
    }
}

fn config(message: String) -> ProviderError {
    ProviderError::new(ErrorKind::Config, message)
}

impl Wapi {
    pub(crate) async fn new(url: &str, user: &str, password: SecretString, ca_file: Option<&Path>) -> Result<Self> {
        let wrong = |why: &str| config(format!("base_url: `{url}` {why}; one looks like https://gm.example.com"));
        let mut base = Url::parse(url.trim_end_matches('/')).map_err(|e| wrong(&format!("is not a URL ({e})")))?;
        if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none_or(str::is_empty) {
            return Err(wrong("is not the URL of an API"));
        }
        if !base.path().contains("/wapi/") {
            base.set_path(&format!("{}/wapi/{VERSION}", base.path().trim_end_matches('/')));
        }
        let pair: SecretString =
            format!("Basic {}", BASE64.encode(format!("{user}:{}", password.expose_secret()))).into();
        let value = header::HeaderValue::from_str(pair.expose_secret());
        let mut authorization = value.map_err(|_| config("password: it cannot be in a header".to_owned()))?;
        authorization.set_sensitive(true);
        // Only fails when a provider is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut client = reqwest::Client::builder().timeout(DEADLINE).redirect(reqwest::redirect::Policy::none());
        if let Some(file) = ca_file {
            let wrong = |why: String| config(format!("ca_file: `{}` {why}", file.display()));
            let pem = tokio::fs::read(file).await.map_err(|e| wrong(format!("cannot be read: {e}")))?;
            let certificates =
                reqwest::Certificate::from_pem_bundle(&pem).map_err(|e| wrong(format!("has no certificates: {e}")))?;
            if certificates.is_empty() {
                return Err(wrong("has no certificates; it has to be PEM".to_owned()));
            }
            client = client.tls_certs_merge(certificates);
        }
        let http = client.build().map_err(|e| config(format!("ca_file: no HTTP client can be made with it: {e}")))?;
        Ok(Self { base, http, authorization, password })
    }

    /// Host and port, for people.
    pub(crate) fn place(&self) -> String {
        let host = self.base.host_str().unwrap_or_default();
        self.base.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, object: &str, query: &[(&str, &str)]) -> Result<T, Refusal> {
        self.call(Method::GET, object, query, None).await
    }

    pub(crate) async fn post<T: DeserializeOwned>(&self, object: &str, body: &Value) -> Result<T, Refusal> {
        self.call(Method::POST, object, &[], Some(body)).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        object: &str,
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<T, Refusal> {
        let what = format!("{}: {method} {object}", self.place());
        let mut url = self.base.clone();
        url.set_path(&format!("{}/{object}", self.base.path().trim_end_matches('/')));
        let mut request =
            self.http.request(method, url).query(query).header(header::AUTHORIZATION, self.authorization.clone());
        if let Some(body) = body {
            request = request.json(body);
        }
        let refusal = |kind, message| Refusal { error: ProviderError::new(kind, message), of_state: false };
        let broken = |e: reqwest::Error| {
            let words = causes(&e.without_url());
            if words.contains("certificate") {
                let way_out = "if it is of your own CA, name that CA with `ca_file`";
                return refusal(ErrorKind::Config, format!("{what}: {words}; {way_out}"));
            }
            refusal(ErrorKind::Unavailable, format!("{what}: {words}"))
        };
        let response = request.send().await.map_err(broken)?;
        let (status, wait) = (response.status(), response.headers().get(header::RETRY_AFTER).cloned());
        let body = response.bytes().await.map_err(broken)?;
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|e| {
                refusal(ErrorKind::Unavailable, format!("{what}: the answer is not understood: {e}; check base_url"))
            });
        }
        // A login that fails is answered in HTML.
        let said: Said = serde_json::from_slice(&body).unwrap_or_default();
        let (kind, way_out) = match status.as_u16() {
            401 => (ErrorKind::Credentials, "; check username and password"),
            403 => (ErrorKind::Credentials, "; check the permissions of the user's group"),
            404 => (ErrorKind::NotServed, ""),
            429 => (ErrorKind::RateLimited, ""),
            408 | 500.. => (ErrorKind::Unavailable, ""),
            _ => (ErrorKind::Rejected, ""),
        };
        let secrets = [
            self.password.expose_secret(),
            self.authorization.to_str().unwrap_or("Basic ").trim_start_matches("Basic "),
        ];
        let words = secrets
            .into_iter()
            .filter(|secret| !secret.is_empty())
            .fold(format!("{} {}", said.code, said.text), |words, secret| words.replace(secret, "[hidden]"));
        let mut refusal = refusal(kind, format!("{what}: HTTP {status}: {}{way_out}", words.trim()));
        refusal.of_state = matches!(said.code.as_str(), "Client.Ibap.Data.Conflict" | "Client.Ibap.Data.NotFound");
        if let Some(seconds) = wait.and_then(|value| value.to_str().ok()?.trim().parse().ok()) {
            refusal.error = refusal.error.retry_after(Duration::from_secs(seconds));
        }
        Err(refusal)
    }
}

/// An error with what caused it.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
