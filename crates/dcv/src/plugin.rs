//! `dcv plugin`: looking at plugins before they are configured, calling one by hand, and being the process of an isolated one.
//!
//! A plugin is looked at in a process of its own, too: loading it runs its code.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use dcv_core::placement::FILE_PATH;
use dcv_plugin::{Isolated, host};
use dcv_provider::{DcvProvider, Proof, ProofKind};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::{
    args::{self, Verb},
    config::Config,
    exit::{Code, Failure, Result, code_of_provider},
    show::{self, Screen},
};

/// Where plugins are looked for.
const DIRS: [&str; 2] = ["/usr/local/lib/dcv", "/usr/lib/dcv"];

pub(crate) async fn plugin(
    config: impl FnOnce() -> Result<Config>,
    screen: Screen,
    command: &args::Plugin,
) -> Result<Code> {
    match command {
        args::Plugin::List { dirs } => list(&config()?, screen, dirs).await,
        args::Plugin::Check { path, plugin_config } => check(screen, path, plugin_config.as_deref()).await,
        args::Plugin::Run { path, verb, plugin_config, txt, cname, file } => {
            let txt = txt.iter().cloned().map(|(name, value)| Proof::Txt { name, value });
            let cname = cname.iter().cloned().map(|(name, target)| Proof::Cname { name, target });
            let file = file.iter().cloned().map(|(host, body)| Proof::File { host, path: FILE_PATH.to_owned(), body });
            run(screen, path, *verb, plugin_config, &txt.chain(cname).chain(file).collect::<Vec<_>>()).await
        }
        args::Plugin::Host { path, sha256, describe } => {
            let done = if *describe { dcv_plugin::describe(path) } else { dcv_plugin::serve(path, sha256.as_deref()) };
            done.map_err(|error| Failure::new(Code::Unexpected, format!("plugin host: {error}")))?;
            Ok(Code::Done)
        }
    }
}

/// The command of a plugin's host process: this program.
fn host_of(path: &Path) -> Result<Vec<OsString>> {
    let program = std::env::current_exe().map_err(|e| Failure::usage("plugin", e))?;
    Ok(vec![program.into_os_string(), "plugin".into(), "host".into(), path.into()])
}

fn octets(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| Failure::usage("plugin", format!("`{}`: {e}; check the path", path.display())))
}

/// Loads a plugin to see what it says it is, without opening it.
async fn describe(path: &Path) -> Result<Isolated> {
    let mut host = host_of(path)?;
    host.push("--describe".into());
    let opened = Isolated::start(host, Value::Null).await;
    opened.map_err(|error| Failure::new(Code::Usage, error.to_string()))
}

async fn check(screen: Screen, path: &Path, config: Option<&str>) -> Result<Code> {
    let sha256 = host::sha256(&octets(path)?);
    let described = describe(path).await?;
    if let Some(config) = config {
        open(path, config).await?;
    }
    Ok(show::plugin(screen, described.descriptor(), &sha256))
}

async fn open(path: &Path, config: &str) -> Result<Isolated> {
    let config = serde_json::from_str(config)
        .map_err(|e| Failure::usage("--plugin-config", format!("it is no JSON object: {e}")))?;
    let opened = Isolated::start(host_of(path)?, config).await;
    opened.map_err(|error| Failure::new(Code::Usage, error.to_string()))
}

async fn run(screen: Screen, path: &Path, verb: Verb, config: &str, proofs: &[Proof]) -> Result<Code> {
    octets(path)?;
    if proofs.is_empty() {
        return Err(Failure::usage("proofs", "there are none; give --txt, --cname or --file"));
    }
    let provider = open(path, config).await?;
    let failed = |error: dcv_provider::ProviderError| Failure::new(code_of_provider(&error), error.to_string());
    match verb {
        Verb::Preflight => {
            let places = provider.preflight(proofs).await.map_err(failed)?;
            let lines: Vec<String> = places.iter().map(|p| format!("{} in {}", p.target, p.within)).collect();
            let places: Vec<Value> = places.iter().map(|p| json!({ "target": p.target, "within": p.within })).collect();
            screen.result(lines.join("\n"), json!({ "result": "preflight", "places": places }));
        }
        Verb::Present => {
            provider.present(proofs).await.map_err(failed)?;
            screen
                .result(format!("presented: {}", list_of(proofs)), json!({ "result": "presented", "proofs": proofs }));
        }
        Verb::Retract => {
            provider.retract(proofs).await.map_err(failed)?;
            screen
                .result(format!("retracted: {}", list_of(proofs)), json!({ "result": "retracted", "proofs": proofs }));
        }
    }
    Ok(Code::Done)
}

fn list_of(proofs: &[Proof]) -> String {
    proofs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// What a file turned out to be.
struct Listed {
    path: PathBuf,
    /// The provider's name in the configuration.
    label: Option<String>,
    trust: Trust,
    sha256: Option<String>,
    found: Result<Isolated>,
}

/// What the sum of a file means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trust {
    Pinned,
    NotPinned,
    /// Another is pinned: not even looked at, for that runs its code.
    OtherPinned,
}

impl Trust {
    fn word(self) -> &'static str {
        match self {
            Self::Pinned => "pinned",
            Self::NotPinned => "not pinned",
            Self::OtherPinned => "not the pinned one",
        }
    }
}

/// Looks at a plugin, unless another is pinned in its place.
async fn look(path: PathBuf, label: Option<String>, pinned: Option<String>) -> Listed {
    let sum = octets(&path).map(|octets| host::sha256(&octets));
    let trust = match (&pinned, &sum) {
        (Some(pin), Ok(sum)) if !pin.eq_ignore_ascii_case(sum) => Trust::OtherPinned,
        (Some(_), _) => Trust::Pinned,
        (None, _) => Trust::NotPinned,
    };
    let found = match &sum {
        Ok(sum) if trust == Trust::OtherPinned => {
            Err(Failure::usage("sha256", format!("the file's is {sum}; it was not loaded")))
        }
        Ok(_) => describe(&path).await,
        Err(failure) => Err(failure.clone()),
    };
    Listed { path, label, trust, sha256: sum.ok(), found }
}

async fn list(config: &Config, screen: Screen, dirs: &[PathBuf]) -> Result<Code> {
    let mut wanted: Vec<(PathBuf, Option<String>, Option<String>)> =
        config.plugins().into_iter().map(|plugin| (plugin.path, Some(plugin.label), plugin.pinned)).collect();
    let usual = DIRS.map(PathBuf::from);
    for dir in if dirs.is_empty() { &usual[..] } else { dirs } {
        let entries = match std::fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(_) if dirs.is_empty() => continue,
            Err(error) => return Err(Failure::usage("DIR", format!("`{}`: {error}", dir.display()))),
        };
        let libraries = entries.flatten().map(|entry| entry.path());
        let is_library = |path: &PathBuf| path.extension().is_some_and(|end| end == "so" || end == "dylib");
        let mut libraries: Vec<PathBuf> = libraries.filter(is_library).collect();
        libraries.sort();
        let same = |one: &Path, other: &Path| {
            one.canonicalize().ok().is_some_and(|one| other.canonicalize().ok() == Some(one))
        };
        libraries.retain(|path| !wanted.iter().any(|(known, ..)| same(known, path)));
        wanted.extend(libraries.into_iter().map(|path| (path, None, None)));
    }
    let listed = join_all(wanted.into_iter().map(|(path, label, pinned)| look(path, label, pinned))).await;
    let rows: Vec<Vec<String>> = listed.iter().map(row).collect();
    let json: Vec<Value> = listed.iter().map(as_json).collect();
    let head = ["PLUGIN", "TITLE", "PROOFS", "PROVIDER", "SHA-256", "FILE"];
    screen.table(&head, &rows, "no plugins", json!({ "plugins": json }));
    let bad = listed.iter().any(|one| one.found.is_err());
    Ok(if bad { Code::Usage } else { Code::Done })
}

impl Listed {
    fn trust(&self) -> &'static str {
        if self.found.is_err() && self.trust != Trust::OtherPinned { "unusable" } else { self.trust.word() }
    }
}

fn row(one: &Listed) -> Vec<String> {
    let (id, title, proofs) = match &one.found {
        Ok(provider) => {
            let descriptor = provider.descriptor();
            let kinds: Vec<&str> = descriptor.proofs.iter().map(|kind| word(*kind)).collect();
            (descriptor.id.to_owned(), descriptor.title.to_owned(), kinds.join(" "))
        }
        Err(failure) => ("-".to_owned(), failure.message.clone(), String::new()),
    };
    let label = one.label.clone().unwrap_or_else(|| "-".to_owned());
    vec![id, title, proofs, label, one.trust().to_owned(), one.path.display().to_string()]
}

fn as_json(one: &Listed) -> Value {
    let mut json = json!({ "file": one.path, "provider": one.label, "trust": one.trust(), "sha256": one.sha256 });
    match &one.found {
        Ok(provider) => {
            let descriptor = provider.descriptor();
            json["type"] = descriptor.id.into();
            json["title"] = descriptor.title.into();
            json["proofs"] = json!(descriptor.proofs);
        }
        Err(failure) => json["error"] = failure.message.as_str().into(),
    }
    json
}

fn word(kind: ProofKind) -> &'static str {
    match kind {
        ProofKind::Txt => "txt",
        ProofKind::Cname => "cname",
        ProofKind::File => "file",
    }
}
