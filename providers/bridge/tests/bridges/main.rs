//! The bridges, with real programs, scripts and servers at their other ends.
//!
//! `nsupdate` and `dig` use TCP here: their UDP sockets share ports (SO_REUSEPORT), and one of another test would now and then
//! catch a question to the server.

mod acmesh;
mod command;
mod exec;
mod httpreq;
mod programs;

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use dcv_provider::{Proof, ProofKind, dns::Dns};
use dcv_tests::{
    bind::Bind,
    daemon::nsupdate,
    world::{TSIG_NAME, TSIG_SECRET},
};
use serde::de::DeserializeOwned;
use tempfile::TempDir;

/// A folder for scripts, and a key for `nsupdate -k`.
struct Scripts {
    folder: TempDir,
}

impl Scripts {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let key = format!("key \"{TSIG_NAME}\" {{ algorithm hmac-sha256; secret \"{TSIG_SECRET}\"; }};\n");
        fs::write(folder.path().join("key"), key).expect("a key");
        Self { folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn key(&self) -> PathBuf {
        self.path().join("key")
    }

    /// Writes a program.
    fn add(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, text).expect("a script");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
        path
    }
}

/// A configuration, as `dcv.toml` has it.
fn config<T: DeserializeOwned>(toml: &str) -> T {
    toml::from_str(toml).unwrap_or_else(|e| panic!("{e}: {toml}"))
}

fn txt(name: &str, value: &str) -> Proof {
    Proof::Txt { name: name.to_owned(), value: value.to_owned() }
}

fn dns_of(bind: &Bind) -> Dns {
    Dns::new(vec![bind.address()]).with_authority_port(bind.address().port())
}

fn plant(server: SocketAddr, kind: ProofKind, name: &str, value: &str) {
    let data = if kind == ProofKind::Txt { format!("TXT \"{value}\"") } else { format!("CNAME {value}.") };
    nsupdate(server, &format!("update add {name} 300 {data}"));
}
