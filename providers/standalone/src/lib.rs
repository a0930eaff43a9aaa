//! Shows DCV files where no web server runs: by a small one of its own, for as long as a proof is to be seen.
//!
//! The CA asks for `http://<host>/.well-known/pki-validation/fileauth.txt` on port 80, after https on 443 where that
//! answers (Baseline Requirements 3.2.2.4.18). The server starts with the first proof, answers for exactly the hosts and
//! paths presented and 404 to all else, and gives the port back with the last one. It keeps nothing on disk: after a
//! restart of the process the proofs have to be presented anew, as every provider allows.
//!
//! Whoever can reach the port can talk to it, so all is limited: connections, time, and the size of a request. That
//! port 80 of every address of the name leads here is found out by the caller, who fetches the file.

mod server;

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, PoisonError, RwLock},
};

use async_trait::async_trait;
use dcv_provider::{DcvProvider, Descriptor, ErrorKind, OptionSpec, Place, Proof, ProofKind, ProviderError, Result};
use serde::{Deserialize, Deserializer};
use server::Server;
use tokio::sync::Mutex;

/// What this provider is.
pub const DESCRIPTOR: Descriptor = Descriptor {
    id: "standalone",
    title: "Built-in web server",
    proofs: &[ProofKind::File],
    batch: "no requests at all: the files are served from memory",
    options: &[OptionSpec {
        name: "listen",
        help: "Address and port, or a list of them; default [\"0.0.0.0:80\", \"[::]:80\"], which needs the right to use port 80.",
        required: false,
        secret: false,
    }],
    example: "type = \"standalone\"\nlisten = \"0.0.0.0:80\"\n",
};

/// The configuration: `listen = "192.0.2.7:80"`, or nothing at all.
///
/// ```
/// let config: dcv_standalone::Config = toml::from_str("")?;
/// assert_eq!(config.listen.len(), 2);
/// let provider = dcv_standalone::Standalone::new(config)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where to listen. An IPv6 address takes IPv6 only. On systems without IPv6 (or IPv4) its addresses are left out.
    #[serde(deserialize_with = "one_or_many")]
    pub listen: Vec<SocketAddr>,
}

impl Default for Config {
    fn default() -> Self {
        Self { listen: vec![(Ipv4Addr::UNSPECIFIED, 80).into(), (Ipv6Addr::UNSPECIFIED, 80).into()] }
    }
}

/// Serves DCV files itself while there are any. Clones share one server.
#[derive(Clone, Debug)]
pub struct Standalone {
    listen: Arc<[SocketAddr]>,
    files: Files,
    /// Held while the server starts or stops, so that it does so once.
    server: Arc<Mutex<Option<Server>>>,
}

impl Standalone {
    /// A provider that will listen there. Nothing is bound yet.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when there is no address.
    pub fn new(config: Config) -> Result<Self> {
        if config.listen.is_empty() {
            let message = "listen: there is no address; leave the key out for port 80 of all addresses";
            return Err(ProviderError::new(ErrorKind::Config, message));
        }
        Ok(Self { listen: config.listen.into(), files: Files::default(), server: Arc::default() })
    }

    /// Where it listens at the moment; empty while nothing is presented. With port 0 this tells the port chosen.
    pub async fn local_addrs(&self) -> Vec<SocketAddr> {
        self.server.lock().await.as_ref().map(|server| server.addrs().to_vec()).unwrap_or_default()
    }

    fn bind(&self) -> Result<Vec<tokio::net::TcpListener>> {
        server::bind(&self.listen).map_err(|(addr, error)| cannot_listen(addr, &error))
    }
}

#[async_trait]
impl DcvProvider for Standalone {
    fn descriptor(&self) -> &Descriptor {
        &DESCRIPTOR
    }

    async fn preflight(&self, proofs: &[Proof]) -> Result<Vec<Place>> {
        let keys = proofs.iter().map(Key::of).collect::<Result<Vec<_>>>()?;
        let server = self.server.lock().await;
        if server.is_none() && !proofs.is_empty() {
            // Bound and given back at once.
            self.bind()?;
        }
        let listen: Vec<String> = self.listen.iter().map(ToString::to_string).collect();
        let within = format!("built-in web server on {}", listen.join(" and "));
        Ok(keys.iter().map(|key| Place { target: key.url(), within: within.clone() }).collect())
    }

    async fn present(&self, proofs: &[Proof]) -> Result<()> {
        let keys = proofs.iter().map(Key::of).collect::<Result<Vec<_>>>()?;
        let mut server = self.server.lock().await;
        if server.is_none() && !proofs.is_empty() {
            let subjects = proofs.iter().map(ToString::to_string);
            let listeners = self.bind().map_err(|error| error.about(subjects))?;
            *server = Some(Server::start(listeners, &self.files));
        }
        self.files.add(keys.into_iter().zip(proofs.iter().map(Proof::value)));
        Ok(())
    }

    async fn retract(&self, proofs: &[Proof]) -> Result<()> {
        let keys = proofs.iter().map(Key::of).collect::<Result<Vec<_>>>()?;
        let mut server = self.server.lock().await;
        self.files.remove(keys.iter().zip(proofs.iter().map(Proof::value)));
        if self.files.is_empty()
            && let Some(server) = server.take()
        {
            server.stop().await;
        }
        Ok(())
    }
}

fn cannot_listen(addr: SocketAddr, error: &io::Error) -> ProviderError {
    let (kind, why) = match error.kind() {
        io::ErrorKind::AddrInUse => (
            ErrorKind::Unavailable,
            "another program has the port; use the webroot provider with it, or stop it for the time".to_owned(),
        ),
        io::ErrorKind::PermissionDenied => (
            ErrorKind::Credentials,
            format!(
                "ports below 1024 need a privilege; give it (setcap cap_net_bind_service=+ep on the dcv program) or listen on another port to which {} is forwarded",
                addr.port()
            ),
        ),
        io::ErrorKind::AddrNotAvailable => {
            (ErrorKind::Config, "this machine has no such address; name one of its own, or 0.0.0.0".to_owned())
        }
        _ => (ErrorKind::Unavailable, error.to_string()),
    };
    ProviderError::new(kind, format!("listen: cannot use {addr}: {why}"))
}

// ---- what is served

/// What a request is matched by: host in lower case without port and final dot, and path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    host: String,
    path: String,
}

impl Key {
    fn of(proof: &Proof) -> Result<Self> {
        match proof {
            Proof::File { host, path, .. } if path.starts_with('/') => {
                Ok(Self { host: server::plain_host(host), path: path.clone() })
            }
            Proof::File { path, .. } => {
                let message = format!("the path `{}` does not begin with /", path.escape_debug());
                Err(ProviderError::new(ErrorKind::Rejected, message).about([proof.to_string()]))
            }
            _ => {
                let message = format!("a web server cannot show a {}; route the name to a DNS provider", proof.kind());
                Err(ProviderError::new(ErrorKind::Unsupported, message).about([proof.to_string()]))
            }
        }
    }

    fn url(&self) -> String {
        format!("http://{}{}", self.host, self.path)
    }
}

/// The files served now, shared between the provider and its server. One file may hold the values of several orders.
#[derive(Clone, Debug, Default)]
struct Files(Arc<RwLock<BTreeMap<Key, Vec<String>>>>);

impl Files {
    fn add<'a>(&self, files: impl Iterator<Item = (Key, &'a str)>) {
        let mut map = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for (key, body) in files {
            let bodies = map.entry(key).or_default();
            if !bodies.iter().any(|there| there == body) {
                bodies.push(body.to_owned());
            }
        }
    }

    fn remove<'a>(&self, files: impl Iterator<Item = (&'a Key, &'a str)>) {
        let mut map = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for (key, body) in files {
            if let Some(bodies) = map.get_mut(key) {
                bodies.retain(|there| there != body);
                if bodies.is_empty() {
                    map.remove(key);
                }
            }
        }
    }

    /// The content of a file: one body verbatim, several on lines of their own.
    fn get(&self, key: &Key) -> Option<String> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(key).map(|bodies| bodies.join("\n"))
    }

    fn is_empty(&self) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<SocketAddr>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "an address with a port, such as \"0.0.0.0:80\", or a list of them")]
    enum OneOrMany {
        One(SocketAddr),
        Many(Vec<SocketAddr>),
    }
    Ok(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(addr) => vec![addr],
        OneOrMany::Many(addrs) => addrs,
    })
}
