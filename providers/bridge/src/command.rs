//! A program of one's own as a provider: told once for each call, of all proofs at once.
//!
//! # What it is told
//!
//! One JSON document on standard input:
//!
//! ```json
//! {
//!   "version": 1,
//!   "verb": "present",
//!   "proofs": [
//!     { "kind": "txt", "name": "_dnsauth.example.com", "value": "9x7s…" },
//!     { "kind": "cname", "name": "_9x7s.example.com", "target": "dcv.digicert.com" },
//!     { "kind": "file", "host": "www.example.com", "path": "/.well-known/pki-validation/fileauth.txt", "body": "9x7s…" }
//!   ]
//! }
//! ```
//!
//! `verb` is `present`, `retract` or, where the configuration says `preflight = true`, `preflight`, which must change nothing.
//! Names are absolute, in lower case, without a final dot. A text's name is the end of its aliases, where those can be asked about.
//! New members may come with the same version; a program ignores what it does not know.
//!
//! # What it answers
//!
//! Exit code 0 when all proofs were dealt with. Presenting what is there and retracting what is not there is dealing with it; other
//! values at the same name are to be left alone; several runs may happen at once (`flock` keeps them apart). To a preflight
//! it may print `{"places": [{"target": "…", "within": "…"}]}`, one for each proof.
//!
//! Any other exit code is an error. Its last words on standard error, or else on standard output, tell the user why. Better is
//! a JSON object, alone or as the last line of either:
//!
//! ```json
//! { "error": { "kind": "rate_limited", "message": "try later", "subjects": ["_dnsauth.example.com"], "retry": 30 } }
//! ```
//!
//! `kind` is `config`, `credentials`, `not_served`, `unsupported`, `rejected`, `conflict`, `rate_limited` or `unavailable`; `retry` is
//! `true`, `false` or a number of seconds, and follows from the kind when it is missing. Without JSON the exit codes of
//! `sysexits.h` are understood: 75 is `unavailable`, 77 `credentials`, 78 `config`; all others are `rejected`, and tried again.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use dcv_provider::{
    DcvProvider, Descriptor, ErrorKind, OptionSpec, Place, Proof, ProofKind, ProviderError, Result, Retry, dns::Dns,
    secret::Secret,
};
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};

use crate::{
    run::{Ended, Program},
    texts::wrong,
};

/// What this provider is.
pub const DESCRIPTOR: Descriptor = Descriptor {
    id: "command",
    title: "Program that is told by JSON",
    proofs: &[ProofKind::Txt, ProofKind::Cname, ProofKind::File],
    batch: "one run for all proofs of a call",
    options: &[
        OptionSpec {
            name: "command",
            help: "The program and its arguments, a list; the program is looked for on the path when it has no slash",
            required: true,
            secret: false,
        },
        OptionSpec {
            name: "env",
            help: "Environment variables of the program, each a string or a secret, e.g. { API_TOKEN = { file = \"…\" } }",
            required: false,
            secret: true,
        },
        OptionSpec {
            name: "deadline",
            help: "Seconds after which a run is killed, 60 unless given",
            required: false,
            secret: false,
        },
        OptionSpec {
            name: "preflight",
            help: "true when the program knows the verb `preflight`; default false",
            required: false,
            secret: false,
        },
    ],
    example: r#"type = "command"
command = ["/usr/local/bin/dcv-hook", "--quiet"]
env = { API_TOKEN = { file = "/etc/dcv/hook.token" } }
preflight = true
"#,
};

/// The version of the document.
const VERSION: u32 = 1;
/// How old the knowledge of an alias may be when a record is put where it leads.
const ALIAS_AGE: Duration = Duration::from_secs(60);

/// The configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Its environment.
    #[serde(default)]
    pub env: BTreeMap<String, Secret>,
    /// How long a run may take, in seconds.
    pub deadline: Option<u64>,
    /// Whether it knows the verb `preflight`.
    #[serde(default)]
    pub preflight: bool,
}

/// Sets the provider up; `dns` is where aliases are followed.
///
/// # Errors
/// [`ErrorKind::Config`] naming the field.
pub async fn from_config(config: Config, dns: Option<Dns>) -> Result<impl DcvProvider + std::fmt::Debug> {
    let Some((program, arguments)) = config.command.split_first() else {
        return Err(wrong("command", "it is empty; give a program and its arguments"));
    };
    let program = Program::new("command", Path::new(program), &config.env, config.deadline).await?;
    Ok(Told { program, arguments: arguments.to_vec(), preflight: config.preflight, dns, aliases: Mutex::default() })
}

#[derive(Debug)]
struct Told {
    program: Program,
    arguments: Vec<String>,
    preflight: bool,
    dns: Option<Dns>,
    /// Where aliases lead, and when that was found out.
    aliases: Mutex<HashMap<String, (std::time::Instant, String)>>,
}

/// The document.
#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    verb: &'a str,
    proofs: &'a [Proof],
}

#[async_trait]
impl DcvProvider for Told {
    fn descriptor(&self) -> &Descriptor {
        &DESCRIPTOR
    }

    async fn preflight(&self, proofs: &[Proof]) -> Result<Vec<Place>> {
        let proofs = self.placed(proofs, ALIAS_AGE).await;
        let mut told = Vec::new();
        if self.preflight {
            let ended = self.run("preflight", &proofs).await?;
            told = places_in(&ended.stdout);
        }
        if told.len() == proofs.len() {
            return Ok(told);
        }
        let within = format!("{} ({})", self.program.path().display(), DESCRIPTOR.id);
        let target = |proof: &Proof| match proof {
            Proof::Txt { name, .. } => format!("{name} TXT"),
            Proof::Cname { name, .. } => format!("{name} CNAME"),
            Proof::File { .. } => proof.to_string(),
        };
        Ok(proofs.iter().map(|proof| Place { target: target(proof), within: within.clone() }).collect())
    }

    async fn present(&self, proofs: &[Proof]) -> Result<()> {
        self.run("present", &self.placed(proofs, ALIAS_AGE).await).await.map(drop)
    }

    async fn retract(&self, proofs: &[Proof]) -> Result<()> {
        // What this instance has presented is taken back where it was put, whatever the aliases say by now.
        self.run("retract", &self.placed(proofs, Duration::MAX).await).await.map(drop)
    }
}

impl Told {
    async fn run(&self, verb: &str, proofs: &[Proof]) -> Result<Ended> {
        let document = Document { version: VERSION, verb, proofs };
        // Only maps with keys that are no strings fail, and there are none.
        let input = serde_json::to_vec(&document).unwrap_or_default();
        let ended = self.program.run(&self.arguments, &input).await?;
        if ended.status.success() {
            return Ok(ended);
        }
        let plain = self.program.failure(&ended);
        let texts = [self.program.hide(&ended.stdout), self.program.hide(&ended.stderr)];
        let told = texts.iter().find_map(|text| error_in(text));
        Err(told.map_or(plain, |told| told.into_error(&self.program.path().display().to_string())))
    }

    /// The proofs with each text at the end of its aliases, found out at most this long ago.
    async fn placed(&self, proofs: &[Proof], age: Duration) -> Vec<Proof> {
        join_all(proofs.iter().map(async |proof| match proof {
            Proof::Txt { name, value } => Proof::Txt { name: self.owner(name, age).await, value: value.clone() },
            other => other.clone(),
        }))
        .await
    }

    async fn owner(&self, name: &str, age: Duration) -> String {
        let Some(dns) = &self.dns else { return name.to_owned() };
        let known = self.aliases.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        if let Some((_, owner)) = known.filter(|(at, _)| at.elapsed() <= age) {
            return owner;
        }
        // Where the aliases cannot be asked about, the name itself is the best guess; the check of visibility tells.
        let owner = dns.follow_alias(name).await.unwrap_or_else(|error| {
            tracing::debug!(name, %error, "aliases are not followed");
            name.to_owned()
        });
        let now = (std::time::Instant::now(), owner.clone());
        self.aliases.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), now);
        owner
    }
}

/// What a program may answer to a preflight.
#[derive(Default, Deserialize)]
struct Places {
    places: Vec<ToldPlace>,
}

#[derive(Deserialize)]
struct ToldPlace {
    target: String,
    #[serde(default)]
    within: String,
}

/// An error in a program's own words.
#[derive(Debug, Deserialize)]
pub(crate) struct ToldError {
    kind: Option<String>,
    message: String,
    #[serde(default)]
    subjects: Vec<String>,
    retry: Option<ToldRetry>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(untagged)]
enum ToldRetry {
    Whether(bool),
    Seconds(f64),
}

impl ToldError {
    pub(crate) fn into_error(self, program: &str) -> ProviderError {
        let kind = self.kind.as_deref().map(str::to_ascii_lowercase);
        let kind = match kind.as_deref() {
            Some("config") => ErrorKind::Config,
            Some("credentials") => ErrorKind::Credentials,
            Some("not_served") => ErrorKind::NotServed,
            Some("unsupported") => ErrorKind::Unsupported,
            Some("conflict") => ErrorKind::Conflict,
            Some("rate_limited") => ErrorKind::RateLimited,
            Some("unavailable") => ErrorKind::Unavailable,
            _ => ErrorKind::Rejected,
        };
        let mut error = ProviderError::new(kind, format!("`{program}`: {}", self.message)).about(self.subjects);
        match self.retry {
            None => {}
            Some(ToldRetry::Whether(true)) => error.retry = Retry::Yes,
            Some(ToldRetry::Whether(false)) => error.retry = Retry::No,
            // A number that is no time is no reason to wait.
            Some(ToldRetry::Seconds(seconds)) => {
                error.retry = Duration::try_from_secs_f64(seconds).map_or(Retry::Yes, Retry::After);
            }
        }
        error
    }
}

/// The places that an output tells; none where it is something else.
pub(crate) fn places_in(output: &[u8]) -> Vec<Place> {
    let told = serde_json::from_slice::<Places>(output).unwrap_or_default();
    told.places.into_iter().map(|place| Place { target: place.target, within: place.within }).collect()
}

/// The error that a text is, or that its last line is.
pub(crate) fn error_in(text: &str) -> Option<ToldError> {
    #[derive(Deserialize)]
    struct Wrapped {
        error: ToldError,
    }
    let text = text.trim();
    let last = text.lines().next_back().unwrap_or_default();
    [text, last].into_iter().find_map(|json| {
        let wrapped = serde_json::from_str::<Wrapped>(json).map(|wrapped| wrapped.error);
        wrapped.or_else(|_| serde_json::from_str::<ToldError>(json)).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_in_several_ways() {
        let after = |seconds| Retry::After(Duration::from_secs(seconds));
        for (text, kind, retry, message) in [
            (
                r#"{"error":{"kind":"credentials","message":"bad token"}}"#,
                ErrorKind::Credentials,
                Retry::No,
                "bad token",
            ),
            (r#"{"kind":"rate_limited","message":"slow","retry":30}"#, ErrorKind::RateLimited, after(30), "slow"),
            ("talk\n{\"error\":{\"message\":\"m\",\"retry\":true}}\n", ErrorKind::Rejected, Retry::Yes, "m"),
            (r#"{"kind":"UNAVAILABLE","message":"m","retry":false}"#, ErrorKind::Unavailable, Retry::No, "m"),
            (r#"{"kind":"new","message":"m","retry":-1,"more":1}"#, ErrorKind::Rejected, Retry::Yes, "m"),
        ] {
            let error = error_in(text).expect(text).into_error("hook");
            assert_eq!((error.kind, error.retry), (kind, retry), "{text}");
            assert_eq!(error.to_string(), format!("`hook`: {message}"));
        }
        for text in ["", "plain words", r#"{"ok":true}"#, "{\"error\":", "{\"message\":\"m\"}\nnot the last line"] {
            assert!(error_in(text).is_none(), "{text}");
        }
    }

    #[test]
    fn the_document_is_as_documented() {
        let proofs = [
            Proof::Txt { name: "_dnsauth.example.com".into(), value: "v".into() },
            Proof::Cname { name: "_v.example.com".into(), target: "dcv.digicert.com".into() },
            Proof::File { host: "www.example.com".into(), path: "/f".into(), body: "v".into() },
        ];
        let document = Document { version: VERSION, verb: "present", proofs: &proofs };
        let expected = serde_json::json!({ "version": 1, "verb": "present", "proofs": [
            { "kind": "txt", "name": "_dnsauth.example.com", "value": "v" },
            { "kind": "cname", "name": "_v.example.com", "target": "dcv.digicert.com" },
            { "kind": "file", "host": "www.example.com", "path": "/f", "body": "v" },
        ] });
        assert_eq!(serde_json::to_value(document).expect("JSON"), expected);
    }
}
