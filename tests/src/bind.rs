//! BIND 9, as a primary that takes signed updates, and as a secondary that lags until it is told to catch up.

use std::{
    fmt::Write,
    net::{Ipv4Addr, SocketAddr},
    process::Command,
};

use crate::{
    daemon::{Daemon, dig, folder, free_port, zone_file},
    world::{TSIG_NAME, TSIG_SECRET},
};

/// A running `named`.
pub struct Bind {
    daemon: Daemon,
    address: SocketAddr,
    control: u16,
}

/// What a [`Bind`] is.
enum Role<'a> {
    Primary {
        servers: &'a [Ipv4Addr],
    },
    /// Copies the zones once, and then only when it is told to.
    LaggingSecondary {
        of: SocketAddr,
    },
}

impl Bind {
    /// A primary of these zones at 127.0.0.1; its own address is their only name server.
    pub fn primary(zones: &[&str]) -> Self {
        let ip = Ipv4Addr::LOCALHOST;
        Self::start(ip, free_port(&[ip]), zones, &Role::Primary { servers: &[ip] })
    }

    /// A primary at 127.0.0.1 and a port that is free at all these addresses, which are the zones' name servers.
    pub fn primary_of(zones: &[&str], servers: &[Ipv4Addr]) -> Self {
        Self::start(servers[0], free_port(servers), zones, &Role::Primary { servers })
    }

    /// A secondary at another address and the same port, which lags.
    #[must_use]
    pub fn lagging_secondary(&self, ip: Ipv4Addr, zones: &[&str]) -> Self {
        own_address(ip);
        Self::start(ip, self.address.port(), zones, &Role::LaggingSecondary { of: self.address })
    }

    fn start(ip: Ipv4Addr, port: u16, zones: &[&str], role: &Role<'_>) -> Self {
        let folder = folder();
        let control = free_port(&[Ipv4Addr::LOCALHOST]);
        let dir = folder.path().display().to_string();
        let key = format!("key \"{TSIG_NAME}\" {{ algorithm hmac-sha256; secret \"{TSIG_SECRET}\"; }};\n");
        let mut config = format!(
            "{key}controls {{ inet 127.0.0.1 port {control} allow {{ 127.0.0.0/8; }} keys {{ \"{TSIG_NAME}\"; }}; }};\n\
             options {{ directory \"{dir}\"; pid-file none; session-keyfile none; lock-file none; port {port};\n\
             listen-on {{ {ip}; }}; listen-on-v6 {{ none; }}; transfer-source {ip}; notify no; recursion no;\n\
             dnssec-validation no; empty-zones-enable no; querylog yes; tcp-clients 1000; }};\n\
             logging {{ channel q {{ file \"{dir}/queries\"; }}; category queries {{ q; }}; channel u {{ file \"{dir}/updates\"; }};\n\
             category update {{ u; }}; category update-security {{ u; }}; }};\n"
        );
        for zone in zones {
            match role {
                Role::Primary { servers } => {
                    std::fs::write(folder.path().join(zone), zone_file(zone, servers)).expect("a zone file");
                    let _ = write!(
                        config,
                        "zone \"{zone}\" {{ type primary; file \"{zone}\"; allow-transfer {{ any; }};\n\
                         update-policy {{ grant {TSIG_NAME} zonesub ANY; }}; }};\n"
                    );
                }
                Role::LaggingSecondary { of } => {
                    let _ = write!(
                        config,
                        "zone \"{zone}\" {{ type secondary; file \"{zone}\"; primaries {{ {} port {}; }}; allow-notify {{ none; }};\n\
                         min-refresh-time 3600; }};\n",
                        of.ip(),
                        of.port()
                    );
                }
            }
        }
        let path = folder.path().join("named.conf");
        std::fs::write(&path, config).expect("a configuration");
        let rndc = format!(
            "{key}options {{ default-key \"{TSIG_NAME}\"; default-server 127.0.0.1; default-port {control}; }};\n"
        );
        std::fs::write(folder.path().join("rndc.conf"), rndc).expect("a configuration");
        let address = SocketAddr::from((ip, port));
        let path = path.display().to_string();
        let ready = || zones.iter().all(|zone| !dig(address, &[zone, "SOA"]).is_empty());
        let daemon = Daemon::start("named", folder, &["-g", "-n", "1", "-U", "1", "-c", &path], ready);
        Self { daemon, address, control }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes a secondary catch up with its primary, and waits until it has.
    pub fn catch_up(&self, primary: &Bind, zone: &str) {
        self.rndc(&["retransfer", zone]);
        let serial =
            |server| dig(server, &[zone, "SOA"]).first().and_then(|soa| soa.split(' ').nth(2).map(str::to_owned));
        while serial(self.address) != serial(primary.address) {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }

    /// How many updates were accepted or refused so far, by the server's own statistics.
    pub fn updates(&self) -> usize {
        let dump = self.daemon.folder().join("named.stats");
        let _ = std::fs::remove_file(&dump);
        self.rndc(&["stats"]);
        let text = std::fs::read_to_string(dump).unwrap_or_default();
        let count = text.lines().find_map(|line| line.trim().strip_suffix(" UPDATE").map(str::trim));
        count.and_then(|count| count.parse().ok()).unwrap_or(0)
    }

    /// How many queries were logged so far, those of `dig` included.
    pub fn queries(&self) -> usize {
        self.daemon.log().lines().filter(|line| line.contains(" query: ")).count()
    }

    /// Every record of a zone but those it was made with.
    pub fn records(&self, zone: &str) -> Vec<String> {
        let lines = dig(self.address, &["+noshort", "+noall", "+answer", zone, "AXFR"]);
        let own = |line: &String| [" SOA", "\tSOA", "\tNS\t", "\tA\t"].iter().any(|rtype| line.contains(rtype));
        lines.into_iter().filter(|line| !own(line)).collect()
    }

    fn rndc(&self, arguments: &[&str]) {
        let config = self.daemon.folder().join("rndc.conf");
        let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
        let output =
            Command::new("rndc").env("PATH", path).arg("-c").arg(config).args(arguments).output().expect("rndc runs");
        assert!(output.status.success(), "rndc at port {}: {}", self.control, String::from_utf8_lossy(&output.stderr));
    }
}

/// Gives an address to the loopback interface: BIND listens only where an interface has the address.
fn own_address(ip: Ipv4Addr) {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let output = Command::new("ip")
        .env("PATH", path)
        .args(["addr", "add", &format!("{ip}/32"), "dev", "lo"])
        .output()
        .expect("ip runs; tests/run installs it");
    let said = String::from_utf8_lossy(&output.stderr);
    let there = said.contains("File exists") || said.contains("already assigned");
    assert!(output.status.success() || there, "{ip} cannot be added to lo (root only): {said}");
}
