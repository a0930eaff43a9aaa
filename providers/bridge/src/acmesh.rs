//! acme.sh's DNS scripts (`dns_*.sh`), from where the user has them.
//!
//! Such a script is a pair of shell functions, `dns_x_add NAME VALUE` and `dns_x_rm NAME VALUE`, that call helpers of acme.sh for
//! HTTP, JSON, hashing and the like ("DNS API Dev Guide" in acme.sh's wiki). With `acme_sh` the helpers come from there: the file is
//! sourced, and does nothing by itself. Without it there are only those that need no network; a script that calls others is
//! refused before anything is changed, and the error names them.
//!
//! Credentials are the variables that the script's documentation says to export; they come from `env` and are passed by
//! environment. With `acme_sh`, what acme.sh has saved beside itself (`account.conf`) is read, too. Nothing is saved there: what
//! acme.sh would keep for its next run stays where the configuration has it.
//!
//! Many of these scripts remove every value at the name. Where a [`Dns`] is given, the others are put back. Scripts know no concurrency: they are run one after the other, over all processes on this machine.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use async_trait::async_trait;
use dcv_provider::{
    DcvProvider, Descriptor, ErrorKind, OptionSpec, ProofKind, ProviderError, Result, dns::Dns, secret::Secret,
};
use serde::Deserialize;

use crate::{
    run::{Program, turn},
    texts::{Act, TextHost, Texts, wrong},
};

/// What this provider is.
pub const DESCRIPTOR: Descriptor = Descriptor {
    id: "acmesh",
    title: "DNS script of acme.sh",
    proofs: &[ProofKind::Txt],
    batch: "one run per record, one after the other",
    options: &[
        OptionSpec {
            name: "script",
            help: "The script, e.g. /root/.acme.sh/dnsapi/dns_cf.sh; its functions are called as its file is",
            required: true,
            secret: false,
        },
        OptionSpec {
            name: "acme_sh",
            help: "acme.sh itself, whose helpers most scripts need, e.g. /root/.acme.sh/acme.sh",
            required: false,
            secret: false,
        },
        OptionSpec {
            name: "env",
            help: "The variables that the script wants exported, each a string or a secret",
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
    example: r#"type = "acmesh"
script = "/root/.acme.sh/dnsapi/dns_cf.sh"
acme_sh = "/root/.acme.sh/acme.sh"
env = { CF_Token = { file = "/etc/dcv/cf.token" }, CF_Account_ID = "0123…" }
"#,
};

/// Runs one function of a script.
const DRIVER: &str = include_str!("acmesh.sh");
/// What it prints when everything is loaded, and the function is about to be called.
const LOADED: &[u8] = b"dcv: loaded\n";

/// Functions of acme.sh that its DNS scripts call. A script that names one which nobody defines would fail half-way.
const HELPERS: [&str; 55] = [
    "_base64",
    "_clearaccountconf",
    "_clearaccountconf_mutable",
    "_cleardomainconf",
    "_contains",
    "_dbase64",
    "_debug",
    "_debug2",
    "_debug3",
    "_digest",
    "_egrep_o",
    "_endswith",
    "_err",
    "_exists",
    "_get",
    "_getfield",
    "_h2b",
    "_hasfield",
    "_head_n",
    "_hex_dump",
    "_hmac",
    "_idn",
    "_info",
    "_inithttp",
    "_is_idn",
    "_isIPv4",
    "_isIPv6",
    "_json_decode",
    "_json_encode",
    "_lower_case",
    "_math",
    "_mktemp",
    "_normalizeJson",
    "_post",
    "_readaccountconf",
    "_readaccountconf_mutable",
    "_readdomainconf",
    "_resethttp",
    "_saveaccountconf",
    "_saveaccountconf_mutable",
    "_savedomainconf",
    "_secure_debug",
    "_secure_debug2",
    "_secure_debug3",
    "_sed_i",
    "_sign",
    "_sleep",
    "_startswith",
    "_tail_c",
    "_tail_n",
    "_time",
    "_upper_case",
    "_url_encode",
    "_url_replace",
    "_utc_date",
];

/// The configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The script.
    pub script: PathBuf,
    /// acme.sh itself.
    pub acme_sh: Option<PathBuf>,
    /// The variables that the script wants exported.
    #[serde(default)]
    pub env: BTreeMap<String, Secret>,
    /// How long a run may take, in seconds.
    pub deadline: Option<u64>,
}

/// Sets the provider up; `dns` is where aliases are followed and name servers asked what is there.
///
/// # Errors
/// [`ErrorKind::Config`] naming the field.
pub async fn from_config(config: Config, dns: Option<Dns>) -> Result<impl DcvProvider + std::fmt::Debug> {
    let text = read("script", &config.script)?;
    let script = absolute("script", &config.script)?;
    let acme_sh = match &config.acme_sh {
        None => String::new(),
        Some(path) => {
            read("acme_sh", path)?;
            absolute("acme_sh", path)?
        }
    };
    let functions = script.rsplit('/').next().and_then(|file| file.strip_suffix(".sh")).unwrap_or_default().to_owned();
    if functions.is_empty() || !functions.chars().all(is_word) {
        let what = format!(
            "`{script}` is not named as acme.sh's scripts are: dns_NAME.sh, with functions dns_NAME_add and _rm"
        );
        return Err(wrong("script", what));
    }
    let shell = Program::new("script", Path::new(shell_of(&text)), &config.env, config.deadline).await?;
    let helpers = helpers_in(&text);
    Ok(Texts::new(Script { shell, path: script, functions, acme_sh, helpers }, dns))
}

#[derive(Debug)]
struct Script {
    shell: Program,
    /// Absolute.
    path: String,
    /// What its functions' names begin with.
    functions: String,
    /// Absolute; empty when there is none.
    acme_sh: String,
    /// Which of acme.sh's functions it names.
    helpers: Vec<&'static str>,
}

impl Script {
    async fn run(&self, action: &str, name: &str, text: &str) -> Result<()> {
        // acme.sh finds its home by the name it is run by.
        let home = if self.acme_sh.is_empty() { &self.path } else { &self.acme_sh };
        let mut arguments = vec!["-c", DRIVER, home, action, &self.path, &self.functions, &self.acme_sh, name, text];
        arguments.extend(&self.helpers);
        let mut ended = self.shell.run(&arguments, b"").await?;
        let loaded = ended.stdout.starts_with(LOADED);
        if ended.status.success() && loaded {
            return Ok(());
        }
        if ended.status.success() {
            let message = format!("script, acme_sh: `{}` ended while it was loaded; check both paths", self.path);
            return Err(ProviderError::new(ErrorKind::Config, message));
        }
        ended.stdout.drain(..if loaded { LOADED.len() } else { 0 });
        let mut error = self.shell.failure(&ended);
        let shell = format!("`{}` failed", self.shell.path().display());
        error.message = error.message.replacen(&shell, &format!("`{}` failed", self.path), 1);
        if self.acme_sh.is_empty() && error.message.contains("no such function") {
            error.message.push_str("; name the acme.sh that has them in acme_sh");
        }
        Err(error)
    }
}

#[async_trait]
impl TextHost for Script {
    fn descriptor(&self) -> &'static Descriptor {
        &DESCRIPTOR
    }

    fn place(&self) -> String {
        self.path.clone()
    }

    /// Loads everything and calls nothing.
    async fn look(&self) -> Result<()> {
        self.run("look", "", "").await
    }

    async fn turn(&self) -> Option<std::fs::File> {
        turn(Path::new(&self.path)).await
    }

    async fn tell(&self, act: Act, name: &str, text: &str) -> Result<()> {
        let action = match act {
            Act::Add => "add",
            Act::Remove => "rm",
        };
        self.run(action, name, text).await
    }
}

fn read(field: &str, path: &Path) -> Result<String> {
    let bytes = std::fs::read(path)
        .map_err(|e| wrong(field, format!("`{}` cannot be read: {e}; check the path", path.display())))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A shell looks for a file without a slash on its path, not here.
fn absolute(field: &str, path: &Path) -> Result<String> {
    let found = std::path::absolute(path).ok().and_then(|path| path.to_str().map(str::to_owned));
    found.ok_or_else(|| wrong(field, format!("`{}` is no path that a shell can be told", path.display())))
}

/// The shell of the first line, if that is bash.
fn shell_of(script: &str) -> &'static str {
    let first = script.lines().next().unwrap_or_default();
    if first.starts_with("#!") && first.contains("bash") { "bash" } else { "sh" }
}

/// Which of acme.sh's functions a script names, outside of comments.
fn helpers_in(script: &str) -> Vec<&'static str> {
    let code = script.lines().filter(|line| !line.trim_start().starts_with('#'));
    let words: BTreeSet<&str> = code.flat_map(|line| line.split(|c: char| !is_word(c))).collect();
    HELPERS.into_iter().filter(|helper| words.contains(helper)).collect()
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_names_what_it_needs() {
        let script =
            "#!/usr/bin/env sh\n# _hmac is not used\nx=\"$(_get \"$url\" | _egrep_o 'id')\"\n_my_get || _err no\n";
        assert_eq!(helpers_in(script), ["_egrep_o", "_err", "_get"]);
        assert_eq!((shell_of(script), shell_of("#!/bin/bash\n"), shell_of("bash")), ("sh", "bash", "sh"));
    }
}
