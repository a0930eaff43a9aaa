//! Scripts written for lego's `exec` provider ("External program" in lego's documentation), unchanged.
//!
//! The program is run once for each value, as lego does it:
//!
//! | `mode` | arguments |
//! |---|---|
//! | none | `present _dnsauth.example.com. VALUE`, `cleanup _dnsauth.example.com. VALUE` |
//! | `"RAW"` | `present -- example.com _dnsauth VALUE`, `cleanup -- example.com _dnsauth VALUE` |
//!
//! Exit code 0 is success. What differs from lego:
//!
//! - The record is the one that the CA wants: `_dnsauth`, not `_acme-challenge`. Scripts that use the name they are given need no
//!   change.
//! - In `RAW` mode there is no ACME key authorization. The first label of the name stands in place of the token, and the value
//!   itself in place of the key authorization; a script that hashes the latter makes the wrong record. Aliases are left to the
//!   script in this mode, as lego leaves them.
//! - The environment holds `PATH`, `HOME`, the locale and the proxies, and what `env` says; lego passes all it has.
//! - lego waits between two runs and asks nobody; here a run follows the last, over all processes on this machine, and the name
//!   servers are asked what is there, so that a value is not added twice and others' values survive.

use std::{collections::BTreeMap, path::PathBuf};

use async_trait::async_trait;
use dcv_provider::{DcvProvider, Descriptor, OptionSpec, ProofKind, Result, dns::Dns, secret::Secret};
use serde::Deserialize;

use crate::{
    run::{Program, turn},
    texts::{Act, Mode, TextHost, Texts, domain_and_label},
};

/// What this provider is.
pub const DESCRIPTOR: Descriptor = Descriptor {
    id: "exec",
    title: "Script for lego's exec provider",
    proofs: &[ProofKind::Txt],
    batch: "one run per record, one after the other",
    options: &[
        OptionSpec {
            name: "path",
            help: "The program (lego's EXEC_PATH); looked for on the path when it has no slash",
            required: true,
            secret: false,
        },
        OptionSpec {
            name: "mode",
            help: "\"RAW\" for `present -- domain label value` (lego's EXEC_MODE); else `present name. value`",
            required: false,
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
    ],
    example: r#"type = "exec"
path = "/usr/local/bin/update-dns.sh"
env = { API_TOKEN = { file = "/etc/dcv/dns.token" } }
"#,
};

/// The configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The program.
    pub path: PathBuf,
    /// How it is told.
    #[serde(default)]
    pub mode: Mode,
    /// Its environment.
    #[serde(default)]
    pub env: BTreeMap<String, Secret>,
    /// How long a run may take, in seconds.
    pub deadline: Option<u64>,
}

/// Sets the provider up; `dns` is where aliases are followed and name servers asked what is there.
///
/// # Errors
/// [`ErrorKind::Config`](dcv_provider::ErrorKind::Config) naming the field.
pub async fn from_config(config: Config, dns: Option<Dns>) -> Result<impl DcvProvider + std::fmt::Debug> {
    let program = Program::new("path", &config.path, &config.env, config.deadline).await?;
    let script = Script { program, mode: config.mode };
    Ok(match config.mode {
        Mode::Record => Texts::new(script, dns),
        Mode::Raw => Texts::literal(script),
    })
}

#[derive(Debug)]
struct Script {
    program: Program,
    mode: Mode,
}

#[async_trait]
impl TextHost for Script {
    fn descriptor(&self) -> &'static Descriptor {
        &DESCRIPTOR
    }

    fn place(&self) -> String {
        self.program.path().display().to_string()
    }

    /// The protocol has no question; that the program can be run was seen when it was set up.
    async fn look(&self) -> Result<()> {
        Ok(())
    }

    async fn turn(&self) -> Option<std::fs::File> {
        turn(self.program.path()).await
    }

    async fn tell(&self, act: Act, name: &str, text: &str) -> Result<()> {
        let ended = self.program.run(&arguments(self.mode, act, name, text), b"").await?;
        if ended.status.success() { Ok(()) } else { Err(self.program.failure(&ended)) }
    }
}

fn arguments(mode: Mode, act: Act, name: &str, text: &str) -> Vec<String> {
    let verb = match act {
        Act::Add => "present",
        Act::Remove => "cleanup",
    };
    let words: Vec<&str> = match mode {
        Mode::Record => return vec![verb.to_owned(), format!("{name}."), text.to_owned()],
        Mode::Raw => {
            let (domain, label) = domain_and_label(name);
            vec![verb, "--", domain, label, text]
        }
    };
    words.into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_legos() {
        let told = |mode, act, name| arguments(mode, act, name, "v-1").join(" ");
        let name = "_dnsauth.example.com";
        assert_eq!(told(Mode::Record, Act::Add, name), "present _dnsauth.example.com. v-1");
        assert_eq!(told(Mode::Record, Act::Remove, name), "cleanup _dnsauth.example.com. v-1");
        assert_eq!(told(Mode::Raw, Act::Add, name), "present -- example.com _dnsauth v-1");
        assert_eq!(told(Mode::Raw, Act::Remove, "example.com"), "cleanup -- example.com @ v-1");
    }
}
