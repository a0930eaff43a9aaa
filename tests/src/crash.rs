//! What the crash test and the process that crashes agree on.

use std::path::{Path, PathBuf};

use dcv_core::{
    Output, Request,
    key::{KeyKind, PrivateKey},
    name::DnsName,
};
use serde::{Deserialize, Serialize};

use crate::world::{Address, ORGANIZATION};

/// Which run is to die, and when.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Crash {
    /// The CA and the DNS server.
    pub world: Address,
    /// The journal's file.
    pub journal: PathBuf,
    /// Where the certificate goes.
    pub out: PathBuf,
    /// The fatal entry, counted from 1.
    pub entry: usize,
    /// On which side of writing it.
    pub moment: Moment,
}

/// On which side of writing an entry a process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Moment {
    /// Before: the act is done, its result is not written.
    Before,
    /// After: the intent is written, the act is not done.
    After,
}

/// The zones of the crash test's world.
pub const ZONES: [&str; 2] = ["crash-example.com", "crash-example.net"];

/// An order with two zones, a wildcard and a key of its own.
pub fn request(out: &Path) -> Request {
    let names = ["www.crash-example.com", "*.crash-example.com", "shop.crash-example.net"];
    let names = names.iter().map(|name| DnsName::parse(name).expect("a good name")).collect();
    let key = PrivateKey::generate(KeyKind::EcdsaP256).expect("a key");
    let pending = out.join(".privkey.pending.pem");
    key.write(&pending).expect("the key is written");
    Request::new("ssl_basic", ORGANIZATION, names, &key)
        .expect("a good request")
        .output(Output { dir: out.to_owned(), pending_key: Some(pending) })
}
