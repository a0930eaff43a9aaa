//! Who may look: whoever asks for this machine by a name that it has, and knows the token where there is one.
//!
//! The token is sent in a header, or typed into a form once, which gives a cookie that holds something else. It never stands in an
//! address, for addresses end up in logs and histories. Every answer forbids the browser whatever the pages do not need.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header},
    middleware::Next,
    response::{Html, IntoResponse, Redirect, Response},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rand::Rng;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use subtle::ConstantTimeEq;

use super::overview;

const COOKIE: &str = "dcv-session";
/// How long a wrong token takes, one at a time: who guesses gets nowhere.
const WRONG_TAKES: Duration = Duration::from_millis(300);

/// Nothing is loaded but our own style and script, nothing is embedded, nothing embeds us.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
const HEADERS: [(HeaderName, &str); 8] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
];

/// Decides. Cheap to clone.
#[derive(Clone)]
pub(super) struct Guard {
    inner: Arc<Inner>,
}

struct Inner {
    token: Option<SecretString>,
    /// The names by which this machine may be asked for, beside its addresses and `localhost`.
    hosts: Vec<String>,
    /// What the cookie holds. Another one at each start, and after somebody has left.
    session: Mutex<SecretString>,
    wrong: tokio::sync::Mutex<()>,
}

#[derive(Deserialize)]
struct Form {
    #[serde(default)]
    token: String,
}

impl Guard {
    pub(super) fn new(token: Option<SecretString>, hosts: &[String]) -> Self {
        let hosts = hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
        let (session, wrong) = (Mutex::new(new_session()), tokio::sync::Mutex::default());
        Self { inner: Arc::new(Inner { token, hosts, session, wrong }) }
    }

    /// Whether there is anything to leave.
    pub(super) fn has_token(&self) -> bool {
        self.inner.token.is_some()
    }

    fn is_token(&self, text: &str) -> bool {
        self.inner.token.as_ref().is_some_and(|token| same(text, token))
    }

    fn session(&self) -> std::sync::MutexGuard<'_, SecretString> {
        self.inner.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn admits(&self, headers: &HeaderMap) -> bool {
        let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or_default();
        let bearer = text(header::AUTHORIZATION).strip_prefix("Bearer ").is_some_and(|token| self.is_token(token));
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut cookies = cookies.flat_map(|text| text.split(';'));
        let session = self.session().clone();
        let of_ours = |one: &str| one.trim().strip_prefix(COOKIE)?.strip_prefix('=').map(|text| same(text, &session));
        self.inner.token.is_none() || bearer || cookies.any(|one| of_ours(one) == Some(true))
    }

    /// Addresses cannot be made to mean this machine by somebody else's name server; names can, but for our own.
    fn knows(&self, host: &str) -> bool {
        let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, _)) => address,
            None => host.rsplit_once(':').map_or(host, |(name, _)| name),
        };
        let name = name.to_ascii_lowercase();
        name == "localhost" || name.parse::<IpAddr>().is_ok() || self.inner.hosts.contains(&name)
    }
}

fn new_session() -> SecretString {
    let random: [u8; 32] = rand::rng().random();
    URL_SAFE_NO_PAD.encode(random).into()
}

fn same(text: &str, secret: &SecretString) -> bool {
    text.as_bytes().ct_eq(secret.expose_secret().as_bytes()).into()
}

/// For every answer: the headers; and no answer to who has asked for somebody else.
pub(super) async fn shield(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let mut response = if guard.knows(host) {
        next.run(request).await
    } else {
        let text = "this machine is not called that; add the name to keep.hosts if it is\n";
        (StatusCode::MISDIRECTED_REQUEST, text).into_response()
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Lets those in who know the token.
pub(super) async fn admit(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    if guard.admits(request.headers()) {
        return next.run(request).await;
    }
    let accepts = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    if accepts.is_some_and(|accept| accept.contains("text/html")) {
        return (StatusCode::UNAUTHORIZED, Html(overview::door(false))).into_response();
    }
    let challenge = [(header::WWW_AUTHENTICATE, "Bearer realm=\"dcv\"")];
    (StatusCode::UNAUTHORIZED, challenge, "a token is wanted: Authorization: Bearer …\n").into_response()
}

/// The form was sent.
pub(super) async fn enter(State(guard): State<Guard>, body: String) -> Response {
    let form = format!("/?{body}").parse::<Uri>().ok();
    let form = form.and_then(|uri| axum::extract::Query::<Form>::try_from_uri(&uri).ok());
    if form.is_some_and(|form| guard.is_token(&form.token)) {
        let cookie = format!("{COOKIE}={}; HttpOnly; SameSite=Strict; Path=/", guard.session().expose_secret());
        return ([(header::SET_COOKIE, cookie)], Redirect::to("/")).into_response();
    }
    let _one_at_a_time = guard.inner.wrong.lock().await;
    tokio::time::sleep(WRONG_TAKES).await;
    (StatusCode::UNAUTHORIZED, Html(overview::door(true))).into_response()
}

/// Whoever leaves takes all cookies with them.
pub(super) async fn leave(State(guard): State<Guard>) -> Response {
    *guard.session() = new_session();
    Redirect::to("/").into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_and_our_own_names_are_known() {
        let guard = Guard::new(None, &["DCV.example.com".to_owned()]);
        for known in ["localhost", "localhost:9", "127.0.0.1:9", "192.0.2.1", "[::1]:9", "[::1]", "dcv.EXAMPLE.com:80"]
        {
            assert!(guard.knows(known), "{known}");
        }
        for foreign in
            ["", "evil.example", "localhost.evil.example:9", "127.0.0.1.evil.example", "dcv.example.com.evil"]
        {
            assert!(!guard.knows(foreign), "{foreign}");
        }
    }

    #[test]
    fn the_cookie_does_not_hold_the_token() {
        let guard = Guard::new(Some("planted-token".to_owned().into()), &[]);
        let ask = |name: HeaderName, value: String| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().expect("a header"));
            guard.admits(&headers)
        };
        let session = guard.session().expose_secret().to_owned();
        assert!(ask(header::AUTHORIZATION, "Bearer planted-token".to_owned()));
        assert!(ask(header::COOKIE, format!("a=b; {COOKIE}={session}")));
        assert!(!ask(header::COOKIE, format!("{COOKIE}=planted-token")));
        assert!(!ask(header::COOKIE, format!("{COOKIE}=")));
        assert!(!ask(header::AUTHORIZATION, format!("Bearer {session}")));
        assert!(!ask(header::AUTHORIZATION, "Bearer planted-toke".to_owned()));
    }
}
