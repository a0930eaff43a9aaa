//! The servers of one measured run: a DNS host at port 53 and a CA, and what either was asked.
//!
//! Everything is at addresses of loopback in a network of the bench's own (`tests/bench` makes it), with a resolver configuration
//! that names the DNS host: tools that look for zones or check for themselves ask at port 53 and cannot be told another. The CA asks
//! the DNS host at a second address, so that its questions are not counted as the tool's.

use std::{
    net::{Ipv4Addr, TcpListener, UdpSocket},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use certcentral_sandbox::{Config, Sandbox, account::Scope};
use serde::{Deserialize, Serialize};

use super::peer::CaKind;
use crate::{
    bind::Bind,
    daemon::{Daemon, dig, folder, free_port},
    powerdns::PowerDns,
    world::{Address, sandbox_config},
};

/// Where the DNS host answers the tools.
const HOST: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 1);
/// Where it answers the CA.
const FOR_THE_CA: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 2);
/// Where a second name server takes questions and never answers.
const DEAD: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 9);
/// All addresses that `tests/bench` has to make.
pub const ADDRESSES: [Ipv4Addr; 3] = [HOST, FOR_THE_CA, DEAD];
/// Marks the bench's own network, and is the file that stands in for `/etc/resolv.conf` there.
pub const RESOLV_CONF: &str = "DCV_BENCH_RESOLV_CONF";

/// A kind of DNS host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostKind {
    /// BIND 9, by signed updates.
    Bind,
    /// PowerDNS, by its HTTP API.
    PowerDns,
}

impl HostKind {
    /// Its name, and what changes are counted in.
    pub fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Bind => ("BIND", "UPDATEs"),
            Self::PowerDns => ("PowerDNS", "API calls"),
        }
    }
}

/// A DNS host.
pub enum Host {
    /// BIND 9.
    Bind(Bind),
    /// PowerDNS.
    PowerDns(PowerDns),
}

/// A CA.
pub enum Ca {
    /// None.
    Nobody,
    /// CertCentral, in this process.
    Sandbox(Box<Sandbox>),
    /// ACME.
    Pebble {
        /// The process.
        daemon: Daemon,
        /// URL of its directory.
        directory: String,
        /// The certificate to trust.
        certificate: String,
    },
}

/// The servers of a run.
pub struct World {
    /// Where the records go.
    pub host: Host,
    /// Who validates.
    pub ca: Ca,
    /// The zones.
    pub zones: Vec<String>,
    _dead: Option<(UdpSocket, TcpListener)>,
}

/// How many of everything there was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Count {
    /// UPDATEs, or calls of the DNS host's API.
    pub changes: usize,
    /// DNS queries of the tool, those of its resolver included.
    pub queries: usize,
    /// Calls of the CA's API.
    pub ca_calls: usize,
    /// How many of those were refused because they were too many.
    #[serde(default)]
    pub too_many: usize,
    /// Seconds from the first change to the last addition and from the first removal to the last, as the DNS host logged them.
    pub dns_phase: Option<f64>,
}

/// Whether every name server of a zone lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Servers {
    /// All do.
    Alive,
    /// The second one takes questions and never answers.
    OneDead,
}

/// The first `count` names over all these zones in turn.
pub fn names(zones: &[String], count: usize) -> Vec<String> {
    (0..count).map(|n| format!("h{n}.{}", zones[n % zones.len()])).collect()
}

/// The zone of a name that [`names`] has made.
pub fn zone_of(name: &str) -> &str {
    name.split_once('.').expect("a host in a zone").1
}

impl World {
    /// Starts a DNS host with so many zones, and a CA.
    ///
    /// # Panics
    /// Outside the network that `tests/bench` makes.
    pub async fn start(host: HostKind, ca: CaKind, zones: usize, servers: Servers) -> Self {
        Self::start_with(host, ca, zones, servers, |_| {}).await
    }

    /// The same, with a sandbox configured further.
    pub async fn start_with(
        host: HostKind,
        ca: CaKind,
        zones: usize,
        servers: Servers,
        configure: impl FnOnce(&mut Config),
    ) -> Self {
        let resolv = std::env::var(RESOLV_CONF).expect("tests/bench makes the network that this runs in");
        std::fs::write(resolv, format!("nameserver {HOST}\n")).expect("a resolver configuration");
        let zones: Vec<String> = (0..zones).map(|n| format!("bench{n}-example.com")).collect();
        let each: Vec<&str> = zones.iter().map(String::as_str).collect();
        let of_zone = if servers == Servers::OneDead { vec![HOST, DEAD] } else { vec![HOST] };
        let dead = (servers == Servers::OneDead).then(|| {
            let address = (DEAD, 53);
            (UdpSocket::bind(address).expect("port 53 is ours"), TcpListener::bind(address).expect("port 53 is ours"))
        });
        let listen = [HOST, FOR_THE_CA];
        let host = match host {
            HostKind::Bind => Host::Bind(Bind::primary_at(&listen, 53, &each, &of_zone)),
            HostKind::PowerDns => {
                let log = "loglevel=6\nlog-dns-queries=yes\nwebserver-loglevel=normal\nlog-timestamp=yes\n";
                let server = PowerDns::start_at(&listen, 53, log);
                for zone in &each {
                    server.add_zone_with(zone, &of_zone).await;
                }
                Host::PowerDns(server)
            }
        };
        let ca = match ca {
            CaKind::Nobody => Ca::Nobody,
            CaKind::Sandbox => {
                let config = sandbox_config((FOR_THE_CA, 53).into());
                let mut config = Config { polling: false, default_scope: Scope::Fqdn, ..config };
                configure(&mut config);
                Ca::Sandbox(Box::new(Sandbox::start(config).await.expect("the sandbox starts")))
            }
            CaKind::Pebble => pebble(),
        };
        Self { host, ca, zones, _dead: dead }
    }

    /// The sandbox's and the DNS host's addresses, for our library.
    pub fn address(&self) -> Address {
        let ca = if let Ca::Sandbox(sandbox) = &self.ca { sandbox.base_url() } else { String::new() };
        Address { ca, dns: (self.host.ip(), 53).into() }
    }

    /// What there was so far. The difference of two is what there was between them.
    pub fn mark(&self) -> Mark {
        let updates = if let Host::Bind(bind) = &self.host { bind.updates() } else { 0 };
        let (ca, too_many) = match &self.ca {
            Ca::Nobody => (0, 0),
            Ca::Sandbox(sandbox) => {
                let seen = sandbox.requests_seen();
                (seen.len(), seen.iter().filter(|one| one.status == 429).count())
            }
            Ca::Pebble { daemon, .. } => (daemon.log().matches("-> calling handler()").count(), 0),
        };
        Mark { log: self.host.log().len(), updates, ca, too_many }
    }

    /// What there was since.
    pub fn since(&self, mark: &Mark) -> Count {
        // The servers' logs may come after their answers.
        std::thread::sleep(Duration::from_millis(50));
        let now = self.mark();
        let log = self.host.log();
        let log = &log[mark.log..];
        let changes = match self.host {
            Host::Bind(_) => now.updates - mark.updates,
            Host::PowerDns(_) => {
                log.lines().filter(|line| line.contains("[webserver] ") && line.contains(" HTTP/1.1\" ")).count()
            }
        };
        Count {
            changes,
            queries: self.host.queries(log),
            ca_calls: now.ca - mark.ca,
            too_many: now.too_many - mark.too_many,
            dns_phase: self.host.phase(log),
        }
    }

    /// Proofs that are out there.
    pub fn records(&self) -> Vec<String> {
        let of = |zone: &String| {
            let lines = dig((self.host.ip(), 53).into(), &["+noshort", "+noall", "+answer", zone, "AXFR"]);
            lines.into_iter().filter(|line| line.contains("\tTXT\t") || line.contains(" TXT "))
        };
        self.zones.iter().flat_map(of).collect()
    }
}

/// How far the servers' logs and counters were.
pub struct Mark {
    log: usize,
    updates: usize,
    ca: usize,
    too_many: usize,
}

impl Host {
    /// Its kind.
    pub fn kind(&self) -> HostKind {
        match self {
            Self::Bind(_) => HostKind::Bind,
            Self::PowerDns(_) => HostKind::PowerDns,
        }
    }

    /// Where it answers.
    pub fn ip(&self) -> Ipv4Addr {
        HOST
    }

    /// Base URL of PowerDNS's API.
    pub fn api(&self) -> &str {
        match self {
            Self::PowerDns(server) => server.api(),
            Self::Bind(_) => unreachable!("BIND has no API"),
        }
    }

    fn log(&self) -> String {
        match self {
            Self::Bind(server) => server.log(),
            Self::PowerDns(server) => server.log(),
        }
    }

    fn queries(&self, log: &str) -> usize {
        let ours = match self {
            Self::Bind(_) => format!("({HOST})"),
            // Whoever asks at an address of this machine's own comes from the same one.
            Self::PowerDns(_) => format!("Remote {HOST} wants"),
        };
        let asked = |line: &&str| match self {
            Self::Bind(_) => line.contains(" query: ") && line.contains(&ours),
            Self::PowerDns(_) => line.contains(&ours),
        };
        log.lines().filter(asked).count()
    }

    /// Only BIND logs changes of records, with times in milliseconds.
    fn phase(&self, log: &str) -> Option<f64> {
        let Self::Bind(_) = self else { return None };
        let lines: Vec<(f64, bool)> = log
            .lines()
            .filter(|line| line.contains("updating zone"))
            .filter_map(|line| Some((seconds(line)?, line.contains(": adding an RR"))))
            .collect();
        let first = lines.first()?.0;
        let last_addition = lines.iter().rfind(|(_, addition)| *addition)?.0;
        let first_removal = lines.iter().find(|(_, addition)| !addition)?.0;
        let last = lines.last()?.0;
        // One name after the other: then there is no part between.
        Some(if first_removal < last_addition { last - first } else { last_addition - first + last - first_removal })
    }
}

/// The time of day at the beginning of a line of BIND's log.
fn seconds(line: &str) -> Option<f64> {
    let mut parts = line.split_whitespace().nth(1)?.split(':').map(str::parse::<f64>);
    let mut next = || parts.next()?.ok();
    Some(next()? * 3600.0 + next()? * 60.0 + next()?)
}

/// Pebble with all that slows a client down for practice turned off.
fn pebble() -> Ca {
    let dir = folder();
    let at = |name: &str| -> PathBuf { dir.path().join(name) };
    let (key, certificate) = (at("key.pem"), at("cert.pem"));
    make_certificate(&key, &certificate);
    let ip = Ipv4Addr::LOCALHOST;
    let (acme, management) = (free_port(&[ip]), free_port(&[ip]));
    let config = serde_json::json!({"pebble": {
        "listenAddress": format!("{ip}:{acme}"), "managementListenAddress": format!("{ip}:{management}"),
        "certificate": &certificate, "privateKey": &key, "httpPort": 5002, "tlsPort": 5001,
    }});
    let path = at("pebble.json");
    std::fs::write(&path, config.to_string()).expect("a configuration");
    let wrapper = format!(
        "PEBBLE_VA_NOSLEEP=1 PEBBLE_WFE_NONCEREJECT=0 PEBBLE_AUTHZREUSE=0 exec pebble -config {} -dnsserver {FOR_THE_CA}:53",
        path.display(),
    );
    let ready = || std::net::TcpStream::connect((ip, acme)).is_ok();
    let daemon = Daemon::start("sh", dir, &["-c", &wrapper], ready);
    Ca::Pebble { daemon, directory: format!("https://{ip}:{acme}/dir"), certificate: certificate.display().to_string() }
}

fn make_certificate(key: &Path, certificate: &Path) {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout"])
        .arg(key)
        .arg("-out")
        .arg(certificate)
        .stderr(Stdio::null())
        .status()
        .expect("openssl runs");
    assert!(made.success());
}
