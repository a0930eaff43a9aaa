//! A small world on loopback: a sandbox CA, an authoritative DNS server that takes signed updates, and what a customer
//! of the library puts together to order there.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use certcentral_sandbox::{Config, Sandbox, dns, va};
use dcv_core::{Dcv, DcvBuilder, Error, Issued, Outcome, Settings, journal::Journal, propagation::Policy};
use dcv_provider::dns::Dns;
use dcv_rfc2136::Rfc2136;
use secrecy::SecretString;

/// The API key of the sandbox.
pub const API_KEY: &str = "world-key-5c1f";
/// The validated organization of the sandbox.
pub const ORGANIZATION: u64 = 10_001;
/// Name of the TSIG key.
pub const TSIG_NAME: &str = "dcv-key";
/// The TSIG key.
pub const TSIG_KEY: &[u8] = b"world-tsig-secret-0123456789abcd";
/// The TSIG key, as people write it.
pub const TSIG_SECRET: &str = "d29ybGQtdHNpZy1zZWNyZXQtMDEyMzQ1Njc4OWFiY2Q=";

/// Sandbox and DNS server; both stop when this is dropped.
pub struct World {
    /// The CA.
    pub sandbox: Sandbox,
    /// The zones.
    pub dns: dns::Server,
}

/// Where a [`World`] is, for other processes.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Address {
    /// Base URL of the CA.
    pub ca: String,
    /// The DNS server.
    pub dns: SocketAddr,
}

impl World {
    /// Starts both, with these zones.
    pub async fn start(zones: &[&str]) -> Self {
        Self::start_with(zones, |_| {}).await
    }

    /// Starts both, with a sandbox configured further.
    pub async fn start_with(zones: &[&str], configure: impl FnOnce(&mut Config)) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let dns = dns::Server::start(dns::Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            zones: zones.iter().map(ToString::to_string).collect(),
            tsig: Some(dns::TsigKey { name: TSIG_NAME.to_owned(), secret: TSIG_KEY.to_vec() }),
            web_addr: Some([127, 0, 0, 1].into()),
        })
        .await
        .expect("the DNS server starts");
        let mut config = sandbox_config(dns.addr());
        configure(&mut config);
        let sandbox = Sandbox::start(config).await.expect("the sandbox starts");
        Self { sandbox, dns }
    }

    /// A call of the sandbox's control endpoints, `path` being one below them.
    pub async fn control(&self, method: reqwest::Method, path: &str, body: &serde_json::Value) {
        let url = format!("{}/{path}", self.sandbox.control_url());
        let response =
            reqwest::Client::new().request(method, &url).json(body).send().await.expect("the sandbox answers");
        assert!(response.status().is_success(), "{url}: {}", response.status());
    }

    /// Has the sandbox fail so many times, at requests whose path has this part.
    pub async fn fault(&self, fault: &str, times: u32, method: &str, path: &str) {
        let body = serde_json::json!({ "fault": fault, "times": times, "method": method, "path": path });
        self.control(reqwest::Method::POST, "faults", &body).await;
    }

    /// How many requests of this method the sandbox has seen whose path has this part.
    pub fn calls(&self, method: &str, part: &str) -> usize {
        self.sandbox.requests_seen().iter().filter(|seen| seen.method == method && seen.path.contains(part)).count()
    }

    /// Where it is.
    pub fn address(&self) -> Address {
        Address { ca: self.sandbox.base_url(), dns: self.dns.addr() }
    }
}

/// A sandbox whose perspectives all ask one name server.
pub fn sandbox_config(dns: SocketAddr) -> Config {
    Config {
        keys: vec![certcentral_sandbox::ApiKey::new(API_KEY, certcentral_sandbox::Role::Administrator)],
        va: va::Config::with_dns(vec![dns]),
        ..Config::default()
    }
}

impl Address {
    /// A client of the CA.
    pub fn client(&self) -> certcentral::Client {
        let _ = rustls::crypto::ring::default_provider().install_default();
        certcentral::Client::builder(SecretString::from(API_KEY)).base_url(&self.ca).build().expect("a good base URL")
    }

    /// Questions to the DNS server.
    pub fn questions(&self) -> Dns {
        Dns::new(vec![self.dns]).with_authority_port(self.dns.port())
    }

    /// The world of a DNS server that is not embedded.
    pub fn of(sandbox: &Sandbox, dns: SocketAddr) -> Self {
        Self { ca: sandbox.base_url(), dns }
    }

    /// The provider for its zones.
    pub fn provider(&self) -> Rfc2136 {
        dcv_rfc2136::builder(self.dns.to_string())
            .tsig(TSIG_NAME, SecretString::from(TSIG_SECRET))
            .dns(self.questions())
            .build()
            .expect("a good configuration")
    }

    /// All of it put together, with no patience to speak of.
    pub fn dcv(&self) -> DcvBuilder {
        Dcv::builder(self.client()).provider(self.provider()).dns(self.questions()).settings(impatient())
    }

    /// The same, with this journal.
    pub async fn dcv_with(&self, journal: Arc<dyn Journal>) -> Dcv {
        self.dcv().journal(journal).build().await.expect("it builds")
    }

    /// The same, with a journal in this file.
    pub async fn dcv_at(&self, journal: &Path) -> Dcv {
        self.dcv().journal_at(journal).build().await.expect("the journal opens")
    }
}

/// It must be issued, with nothing left behind.
pub fn issued(outcome: Result<Outcome, Error>) -> Issued {
    match outcome {
        Ok(Outcome::Issued(issued)) if issued.left_behind.is_empty() => issued,
        other => panic!("no certificate: {other:?}"),
    }
}

/// Settings for tests: short ticks, and an order whose answer was lost is looked for only briefly.
pub fn impatient() -> Settings {
    Settings {
        wait: Duration::from_secs(20),
        tick: Duration::from_millis(100),
        lookup_patience: Duration::from_millis(300),
        propagation: Policy { give_up_after: Duration::from_secs(10), ..Policy::default() },
        ..Settings::default()
    }
}
