//! What went wrong at a provider, for which names, and whether trying again can help.

use std::{error::Error, fmt, time::Duration};

/// Result of a provider call.
pub type Result<T, E = ProviderError> = std::result::Result<T, E>;

/// An error of a provider: a kind, the names concerned, the vendor's own words, and what to do next.
///
/// The message never holds a credential.
#[derive(Debug)]
pub struct ProviderError {
    /// What class of failure this is.
    pub kind: ErrorKind,
    /// What happened, with the vendor's own code and text kept: `PowerDNS answered 422: RRset … has CNAME and other data`.
    pub message: String,
    /// The proofs, zones or configuration fields concerned; empty when it is the provider as a whole.
    pub subjects: Vec<String>,
    /// Whether the same call may succeed later.
    pub retry: Retry,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// Classes of failure, by what a caller or a person would do about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The configuration is wrong or incomplete: correct the named field.
    Config,
    /// The vendor refuses the credentials (HTTP 401/403, TSIG BADKEY/BADSIG, REFUSED): correct or widen them.
    Credentials,
    /// No zone or document root here serves the name: route the name elsewhere.
    NotServed,
    /// The provider cannot present this kind of proof.
    Unsupported,
    /// Something else is in the way, e.g. other data at the name where a CNAME is to go, or the vendor finds the request invalid.
    Rejected,
    /// A concurrent writer was faster; the call changed nothing and may be repeated at once.
    Conflict,
    /// Too many requests.
    RateLimited,
    /// Time-out, connection failure, 5xx, SERVFAIL.
    Unavailable,
}

/// Whether trying again can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Not without a change by a person.
    No,
    /// Yes, with the caller's usual back-off.
    Yes,
    /// Yes, but not before this much time has passed: the vendor said so (`Retry-After`).
    After(Duration),
}

impl ProviderError {
    /// An error of this kind. [`Retry`] follows from the kind; see [`retry_after`](Self::retry_after).
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let retry = match kind {
            ErrorKind::Conflict | ErrorKind::RateLimited | ErrorKind::Unavailable => Retry::Yes,
            _ => Retry::No,
        };
        Self { kind, message: message.into(), subjects: Vec::new(), retry, source: None }
    }

    /// Names what the error concerns.
    #[must_use]
    pub fn about(mut self, subjects: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.subjects.extend(subjects.into_iter().map(Into::into));
        self
    }

    /// Keeps the error this one came from.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Sets the time the vendor asked us to wait.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry = Retry::After(wait);
        self
    }
}

/// One line: message, then the names concerned. Control characters are blanks: much of it was written by others.
impl fmt::Display for ProviderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        let mut line = |text: &str| text.chars().try_for_each(|c| f.write_char(if c.is_control() { ' ' } else { c }));
        line(&self.message)?;
        if !self.subjects.is_empty() {
            line(&format!(" ({})", self.subjects.join(", ")))?;
        }
        Ok(())
    }
}

impl Error for ProviderError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|e| e as &(dyn Error + 'static))
    }
}
