//! How the program ends: exit codes, and the one place where errors become words.
//!
//! A [`Failure`] is one line for people and a [`Code`] for scripts. Which error of the core means which code is decided
//! here and nowhere else; the text of an error is the work of whoever found it.

use std::process::ExitCode;

use dcv_core::{Error, journal::JournalError};
use dcv_provider::{ErrorKind, ProviderError};
use serde_json::{Value, json};

/// Result of a command's parts.
pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

/// Why the program ends. The numbers are part of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// Everything asked for is done.
    Done = 0,
    /// Something that should not happen.
    Unexpected = 1,
    /// Wrong arguments, input or configuration; nothing was ordered.
    Usage = 2,
    /// The CA refused, rejected the order, or could not be reached.
    Refused = 3,
    /// A provider or the DNS failed.
    Provider = 4,
    /// The order is placed and somebody else has to act.
    Waiting = 5,
    /// It is not known what came of an order, or the journal failed.
    Unknown = 6,
    /// The doctor found something that would make an order fail.
    Doctor = 7,
    /// The certificate is home, and something could not be tidied up.
    LeftBehind = 8,
    /// Stopped by Ctrl-C or SIGTERM.
    Interrupted = 130,
}

impl Code {
    pub(crate) const ALL: [Self; 10] = [
        Self::Done,
        Self::Unexpected,
        Self::Usage,
        Self::Refused,
        Self::Provider,
        Self::Waiting,
        Self::Unknown,
        Self::Doctor,
        Self::LeftBehind,
        Self::Interrupted,
    ];

    /// The word for it in JSON.
    fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Unexpected => "unexpected",
            Self::Usage => "usage",
            Self::Refused => "refused",
            Self::Provider => "provider",
            Self::Waiting => "waiting",
            Self::Unknown => "unknown",
            Self::Doctor => "doctor",
            Self::LeftBehind => "left-behind",
            Self::Interrupted => "interrupted",
        }
    }

    pub(crate) fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Unexpected => "something unexpected",
            Self::Usage => "wrong arguments, input or configuration; nothing was ordered",
            Self::Refused => "the CA refused, or could not be reached",
            Self::Provider => "a DNS host, a web target or the DNS failed",
            Self::Waiting => "ordered, and somebody else has to act; the run stays open for `dcv resume`",
            Self::Unknown => "what came of an order is unknown, or the journal failed",
            Self::Doctor => "the doctor found what would make an order fail",
            Self::LeftBehind => "the certificate is home, but a proof could not be taken back",
            Self::Interrupted => "interrupted; `dcv resume` goes on",
        }
    }

    /// The table of exit codes for `--help`.
    pub(crate) fn table() -> String {
        let rows: Vec<String> =
            Self::ALL.iter().map(|code| format!("  {:>3}  {}", *code as u8, code.meaning())).collect();
        format!("Exit codes:\n{}", rows.join("\n"))
    }
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code as u8)
    }
}

/// The end of a command that did not reach its aim.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) code: Code,
    /// One line: the field or subject, the value, the way out.
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        let message: String = message.into();
        // What was given, or came from elsewhere, may hold line ends and worse.
        let escaped = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.into() };
        let message = if message.contains(char::is_control) { message.chars().map(escaped).collect() } else { message };
        Self { code, message }
    }

    /// Wrong input: field, then what is wrong and the way out.
    pub(crate) fn usage(field: &str, message: impl std::fmt::Display) -> Self {
        Self::new(Code::Usage, format!("{field}: {message}"))
    }

    /// As one JSON object: `{"error": {"kind": "usage", "exit_code": 2, "message": "…"}}`.
    pub(crate) fn json(&self) -> Value {
        json!({ "error": { "kind": self.code.word(), "exit_code": self.code as u8, "message": self.message } })
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(code_of(&error), error.to_string())
    }
}

impl From<certcentral::Error> for Failure {
    fn from(error: certcentral::Error) -> Self {
        Error::from(error).into()
    }
}

impl From<JournalError> for Failure {
    fn from(error: JournalError) -> Self {
        Error::from(error).into()
    }
}

/// The code of a provider's error.
pub(crate) fn code_of_provider(error: &ProviderError) -> Code {
    match error.kind {
        ErrorKind::Config => Code::Usage,
        _ => Code::Provider,
    }
}

fn code_of(error: &Error) -> Code {
    match error {
        Error::Request { .. }
        | Error::Unroutable { .. }
        | Error::Api(certcentral::Error::Config { .. })
        | Error::Journal(JournalError::Unknown(_)) => Code::Usage,
        Error::Api(_) | Error::Ended(_) | Error::Certificate(_) => Code::Refused,
        Error::Provider { error, .. } => code_of_provider(error),
        Error::OutcomeUnknown { .. } | Error::Journal(_) => Code::Unknown,
        Error::Waiting(_) => Code::Waiting,
        _ => Code::Unexpected,
    }
}

/// The entry of `known` that `text` probably was meant to be, as ` (did you mean …?)`; empty when none is near.
pub(crate) fn did_you_mean<'k>(text: &str, known: impl IntoIterator<Item = &'k str>) -> String {
    let text = text.to_lowercase();
    let distance = |candidate: &str| {
        let candidate = candidate.to_lowercase();
        if text.len() >= 3 && candidate.starts_with(&text) { 1 } else { strsim::osa_distance(&text, &candidate) }
    };
    match known.into_iter().map(|candidate| (distance(candidate), candidate)).min() {
        Some((distance, candidate)) if distance <= 1 + text.len() / 4 => format!(" (did you mean `{candidate}`?)"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use dcv_core::Waiting;
    use dcv_core::state::Actor;

    use super::*;

    #[test]
    fn each_class_of_error_has_its_code() {
        let provider =
            |kind| Error::Provider { provider: "corp".to_owned(), error: ProviderError::new(kind, "it says no") };
        let api = |status| {
            Error::Api(certcentral::Error::Api {
                call: "GET /user/me".to_owned(),
                status,
                errors: Vec::new(),
                retry_after: None,
                writes: false,
            })
        };
        let run = || "dcv-1".parse().expect("an id");
        let table = [
            (Error::Request { field: "csr", message: "broken".to_owned() }, Code::Usage),
            (Error::Unroutable { domain: "example.com".to_owned(), kind: dcv_provider::ProofKind::Txt }, Code::Usage),
            (provider(ErrorKind::Config), Code::Usage),
            (provider(ErrorKind::Credentials), Code::Provider),
            (provider(ErrorKind::Unavailable), Code::Provider),
            (api(403), Code::Refused),
            (api(500), Code::Refused),
            (Error::Ended("rejected".to_owned()), Code::Refused),
            (Error::OutcomeUnknown { run: run(), cause: "silence".to_owned() }, Code::Unknown),
            (Error::Journal(JournalError::Unknown(run())), Code::Usage),
            (Error::Journal(JournalError::Held(run())), Code::Unknown),
            (Error::Waiting(Waiting { on: Actor::Approver, what: "order 1".to_owned() }), Code::Waiting),
            (Error::File { path: "/x".to_owned(), error: "full".to_owned() }, Code::Unexpected),
        ];
        for (error, code) in table {
            let text = error.to_string();
            assert_eq!(Failure::from(error).code, code, "{text}");
        }
    }

    #[test]
    fn the_nearest_word_is_offered_only_when_it_is_near() {
        let known = ["rfc2136", "webroot"];
        assert_eq!(did_you_mean("rfc-2136", known), " (did you mean `rfc2136`?)");
        assert_eq!(did_you_mean("WebRot", known), " (did you mean `webroot`?)");
        assert_eq!(did_you_mean("zzz", known), "");
    }
}
