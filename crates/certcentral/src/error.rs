//! What CertCentral or the way to it had against a call.

use std::{fmt, time::Duration};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::lenient;

/// Result of a call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of a call. The text is one line: the call, the HTTP status, code and message as CertCentral gave them, and
/// for well-known codes the way out. The API key is in none of them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// CertCentral has answered with an error.
    #[error("{call}: HTTP {status}{}{}", render(.errors), way_out(*.status, .errors))]
    Api {
        /// The call: `PUT /order/certificate/1/check-dcv`.
        call: String,
        /// HTTP status.
        status: u16,
        /// What the body said; empty when it was no error body, e.g. a gateway's HTML page.
        errors: Vec<ApiError>,
        /// `Retry-After`, if there was one.
        retry_after: Option<Duration>,
        /// Whether the call changes something, so that a 5xx leaves its outcome open.
        writes: bool,
    },
    /// No answer, or half of one.
    #[error("{call}: {message}{}", match .sent { Sent::No => " (nothing was sent)", Sent::Maybe => " (the request may have been read)" })]
    Transport {
        /// The call.
        call: String,
        /// What happened.
        message: String,
        /// Whether CertCentral may have acted.
        sent: Sent,
        /// Whether the call changes something.
        writes: bool,
    },
    /// A successful answer that makes no sense.
    #[error("{call}: the answer is not understood: {message}")]
    Decode {
        /// The call.
        call: String,
        /// What was missing or wrong, and where.
        message: String,
        /// Whether the call changes something.
        writes: bool,
    },
    /// The client cannot be built like this.
    #[error("{field}: {message}")]
    Config {
        /// The setting.
        field: &'static str,
        /// The value, what is wrong with it, the way out.
        message: String,
    },
}

/// Whether a request may have reached CertCentral.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Certainly not.
    No,
    /// It may.
    Maybe,
}

/// One entry of an error answer (API page "Errors").
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ApiError {
    /// The code.
    pub code: ErrorCode,
    /// The message, as given.
    pub message: String,
}

/// An error code, such as `not_found|order`: a class, and often a detail behind a bar. The set is open.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct ErrorCode(String);

impl ErrorCode {
    /// A code as CertCentral writes it.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The whole code.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands before the first bar.
    #[must_use]
    pub fn class(&self) -> &str {
        self.0.split('|').next().unwrap_or_default()
    }

    /// What stands behind the first bar.
    #[must_use]
    pub fn detail(&self) -> Option<&str> {
        self.0.split_once('|').map(|(_, detail)| detail)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error {
    /// Whether a change may have been made although the call failed: the connection broke after the request may have been
    /// read, a gateway gave up, or the answer makes no sense. Look before doing it again.
    #[must_use]
    pub fn outcome_unknown(&self) -> bool {
        match self {
            Self::Api { status, writes, .. } => *writes && *status >= 500,
            Self::Transport { sent, writes, .. } => *writes && *sent == Sent::Maybe,
            Self::Decode { writes, .. } => *writes,
            Self::Config { .. } => false,
        }
    }

    /// The HTTP status, if there was an answer.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Api { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// The errors of the answer.
    #[must_use]
    pub fn api_errors(&self) -> &[ApiError] {
        match self {
            Self::Api { errors, .. } => errors,
            _ => &[],
        }
    }

    /// Whether one of the errors is of this class (the code before its bar).
    #[must_use]
    pub fn has_code(&self, class: &str) -> bool {
        self.api_errors().iter().any(|error| error.code.class() == class)
    }

    /// Whether the order, domain or whatever was asked for does not exist, or not in this account.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(404) && !self.api_errors().iter().any(|e| e.code.as_str() == "not_found|route")
    }

    /// Whether the key's calls are used up, here or by other programs with the same key. Nothing was done.
    #[must_use]
    pub fn is_rate_limited(&self) -> bool {
        self.status() == Some(429)
    }

    /// Whether the API key is wrong or may not do this.
    #[must_use]
    pub fn is_auth(&self) -> bool {
        matches!(self.status(), Some(401 | 403))
    }
}

fn render(errors: &[ApiError]) -> String {
    // Without a final dot: what can be done about it follows in the same line.
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ").trim_end_matches('.').to_owned();
    errors.iter().map(|error| format!(" {}: {}", error.code, words(&error.message))).collect::<Vec<_>>().join(";")
}

/// What a person can do about the codes that are documented.
fn way_out(status: u16, errors: &[ApiError]) -> &'static str {
    let code = errors.first().map_or("", |error| error.code.as_str());
    match (code.split('|').next().unwrap_or_default(), status) {
        ("access_denied", _) if code.ends_with("missing_permission") => {
            "; the API key's role does not allow this: use a key of a user with the permission"
        }
        (_, 401 | 403) => "; check the API key and the account's region (us or eu)",
        ("request_limit_exceeded", _) | (_, 429) => "; other programs use this key too: give each its own, or wait",
        ("not_found", _) if code == "not_found|product" => {
            "; order one of the products enabled for the account (GET /product lists them)"
        }
        ("not_found", _) if code == "not_found|order" => {
            "; the order is not in this account: check its number and the key"
        }
        ("ambiguous_product", _) => "; name the product itself, e.g. ssl_basic, or give a type hint that decides",
        ("csr_invalid_cannot_parse", _) => "; give a PEM certificate request as OpenSSL writes it",
        ("cert_validity_exceeds_order_validity", _) => "; shorten the certificate's validity or lengthen the order's",
        ("invalid_wildcard_dcv_method", _) => "; wildcards need a DNS or e-mail method",
        ("caa_check_failed" | "caa_not_found", _) => "; let the domain's CAA records allow digicert.com",
        ("time_frame_too_long", _) => "; ask for at most seven days",
        (_, 300..=399) => "; redirects are not followed, the API key would go along: correct the base URL",
        (_, 500..) => "; CertCentral or a gateway before it has trouble: try again later",
        _ => "",
    }
}

/// Reads an error body in all shapes that were seen: `errors` as a list or as one object, `error` as an object.
pub(crate) fn read_errors(body: &[u8]) -> Vec<ApiError> {
    let mut body: Map<String, Value> = lenient::json(body).unwrap_or_default();
    lenient::one_name(&mut body, "errors", "error");
    body.remove("errors").and_then(|list| errors(list).ok()).unwrap_or_default()
}

/// The errors of an answer, which may be a success otherwise.
pub(crate) fn errors<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<ApiError>, D::Error> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Wire {
        #[serde(deserialize_with = "lenient::text")]
        code: Option<String>,
        #[serde(deserialize_with = "lenient::text")]
        message: Option<String>,
    }
    let wire: Vec<Wire> = lenient::list_if_sensible(deserializer)?;
    let said_something = wire.into_iter().filter(|wire| wire.code.is_some() || wire.message.is_some());
    Ok(said_something
        .map(|wire| ApiError {
            code: ErrorCode::new(wire.code.unwrap_or_else(|| "unknown".to_owned())),
            message: wire.message.unwrap_or_default(),
        })
        .collect())
}
