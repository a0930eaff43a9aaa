//! What must be visible to the CA before it checks.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Something that must be visible to the CA before it checks.
///
/// All names are absolute, in lower case, as A-labels (RFC 5890) and without a final dot: `_dnsauth.example.com`.
/// Values keep their case: the CA compares byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Proof {
    /// One TXT record whose text is `value` in a single character-string (at most 255 octets).
    Txt {
        /// Owner name of the record.
        name: String,
        /// The text, verbatim.
        value: String,
    },
    /// A CNAME record. It cannot stand beside any other data at `name` (RFC 1034 section 3.6.2).
    Cname {
        /// Owner name of the record.
        name: String,
        /// Target, absolute, without the final dot; its case is kept.
        target: String,
    },
    /// A file to be had by `http://host/path` and, where the host answers there, `https://host/path`.
    File {
        /// The exact host name; neither `www.` added nor removed.
        host: String,
        /// Absolute path, e.g. `/.well-known/pki-validation/fileauth.txt`.
        path: String,
        /// The whole content of the file.
        body: String,
    },
}

impl Proof {
    /// Which kind of proof this is.
    #[must_use]
    pub fn kind(&self) -> ProofKind {
        match self {
            Self::Txt { .. } => ProofKind::Txt,
            Self::Cname { .. } => ProofKind::Cname,
            Self::File { .. } => ProofKind::File,
        }
    }

    /// The record's owner name or the file's host: what routing is decided by.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Txt { name, .. } | Self::Cname { name, .. } => name,
            Self::File { host, .. } => host,
        }
    }

    /// The TXT value, CNAME target or file body.
    #[must_use]
    pub fn value(&self) -> &str {
        match self {
            Self::Txt { value, .. } => value,
            Self::Cname { target, .. } => target,
            Self::File { body, .. } => body,
        }
    }
}

/// As people write it: `_dnsauth.example.com TXT "abc"`, `http://www.example.com/.well-known/…`.
impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Txt { name, value } => write!(f, "{name} TXT \"{value}\""),
            Self::Cname { name, target } => write!(f, "{name} CNAME {target}"),
            Self::File { host, path, .. } => write!(f, "http://{host}{path}"),
        }
    }
}

/// The kinds of [`Proof`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProofKind {
    /// A TXT record.
    Txt,
    /// A CNAME record.
    Cname,
    /// A file on the web server.
    File,
}

impl fmt::Display for ProofKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Txt => "TXT record",
            Self::Cname => "CNAME record",
            Self::File => "file",
        })
    }
}
