//! BIND 9, as a primary that takes signed updates.

use std::{
    fmt::Write,
    net::{Ipv4Addr, SocketAddr},
    process::Command,
};

use crate::{
    daemon::{Daemon, dig, folder, free_port, path, zone_file},
    knot::Knot,
    world::{TSIG_NAME, TSIG_SECRET},
};

/// A running `named`.
pub struct Bind {
    daemon: Daemon,
    address: SocketAddr,
    control: u16,
}

impl Bind {
    /// A primary of these zones at 127.0.0.1; its own address is their only name server.
    pub fn primary(zones: &[&str]) -> Self {
        let ip = Ipv4Addr::LOCALHOST;
        Self::primary_of(zones, &[ip])
    }

    /// A primary at 127.0.0.1 and a port that is free at all these addresses, which are the zones' name servers.
    pub fn primary_of(zones: &[&str], servers: &[Ipv4Addr]) -> Self {
        Self::start(zones, servers, &servers[..1], free_port(servers), &format!("grant {TSIG_NAME} zonesub ANY;"))
    }

    /// A primary that listens at all of these addresses, at this port.
    pub fn primary_at(listen: &[Ipv4Addr], port: u16, zones: &[&str], servers: &[Ipv4Addr]) -> Self {
        Self::start(zones, servers, listen, port, &format!("grant {TSIG_NAME} zonesub ANY;"))
    }

    /// A primary of one zone whose key may change only what this `update-policy` grants.
    pub fn primary_with_policy(zone: &str, policy: &str) -> Self {
        let ip = [Ipv4Addr::LOCALHOST];
        Self::start(&[zone], &ip, &ip, free_port(&ip), policy)
    }

    /// A secondary at another address and the same port, which lags.
    #[must_use]
    pub fn lagging_secondary(&self, ip: Ipv4Addr, zones: &[&str]) -> Knot {
        Knot::lagging_secondary((ip, self.address.port()).into(), self.address, zones)
    }

    fn start(zones: &[&str], servers: &[Ipv4Addr], listen: &[Ipv4Addr], port: u16, policy: &str) -> Self {
        let ip = listen[0];
        let listen = listen.iter().fold(String::new(), |all, ip| format!("{all}{ip}; "));
        let folder = folder();
        let control = free_port(&[Ipv4Addr::LOCALHOST]);
        let dir = folder.path().display().to_string();
        let key = format!("key \"{TSIG_NAME}\" {{ algorithm hmac-sha256; secret \"{TSIG_SECRET}\"; }};\n");
        let mut config = format!(
            "{key}controls {{ inet 127.0.0.1 port {control} allow {{ 127.0.0.0/8; }} keys {{ \"{TSIG_NAME}\"; }}; }};\n\
             options {{ directory \"{dir}\"; pid-file none; session-keyfile none; lock-file none; port {port};\n\
             listen-on {{ {listen}}}; listen-on-v6 {{ none; }}; transfer-source {ip}; notify no; recursion no;\n\
             dnssec-validation no; empty-zones-enable no; querylog yes; tcp-clients 1000; }};\n\
             logging {{ channel q {{ file \"{dir}/queries\"; }}; category queries {{ q; }}; channel u {{ file \"{dir}/updates\"; }};\n\
             category update {{ u; }}; category update-security {{ u; }}; }};\n"
        );
        for zone in zones {
            std::fs::write(folder.path().join(zone), zone_file(zone, servers)).expect("a zone file");
            let _ = writeln!(
                config,
                "zone \"{zone}\" {{ type primary; file \"{zone}\"; allow-transfer {{ any; }}; update-policy {{ {policy} }}; }};"
            );
        }
        let file = folder.path().join("named.conf");
        std::fs::write(&file, config).expect("a configuration");
        let rndc = format!(
            "{key}options {{ default-key \"{TSIG_NAME}\"; default-server 127.0.0.1; default-port {control}; }};\n"
        );
        std::fs::write(folder.path().join("rndc.conf"), rndc).expect("a configuration");
        let address = SocketAddr::from((ip, port));
        let ready = || zones.iter().all(|zone| !dig(address, &[zone, "SOA"]).is_empty());
        let daemon =
            Daemon::start("named", folder, &["-g", "-n", "1", "-U", "1", "-c", &file.display().to_string()], ready);
        Self { daemon, address, control }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
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

    /// What it has said, with each query and each change of a record.
    pub fn log(&self) -> String {
        self.daemon.log()
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
        let output =
            Command::new("rndc").env("PATH", path()).arg("-c").arg(config).args(arguments).output().expect("rndc runs");
        assert!(output.status.success(), "rndc at port {}: {}", self.control, String::from_utf8_lossy(&output.stderr));
    }
}
