//! Knot DNS, as a primary that takes signed updates, and as a secondary that lags until it is told to catch up. It listens at any
//! address in 127/8, where BIND would need root to give the address to an interface first.

use std::{
    fmt::Write,
    net::{Ipv4Addr, SocketAddr},
    process::Command,
    time::{Duration, Instant},
};

use crate::{
    daemon::{Daemon, dig, folder, free_port, path, zone_file},
    world::{TSIG_NAME, TSIG_SECRET},
};

/// A running `knotd`.
pub struct Knot {
    daemon: Daemon,
    address: SocketAddr,
}

impl Knot {
    /// A primary of these zones at 127.0.0.1; its own address is their only name server.
    pub fn primary(zones: &[&str]) -> Self {
        let ip = Ipv4Addr::LOCALHOST;
        let acl = format!(
            "key:\n  - id: {TSIG_NAME}\n    algorithm: hmac-sha256\n    secret: {TSIG_SECRET}\n\
             acl:\n  - id: change\n    key: {TSIG_NAME}\n    action: [ update, transfer ]\n  - id: copy\n    address: 127.0.0.0/8\n    action: transfer\n"
        );
        let zone = "    acl: [ change, copy ]\n    zonefile-load: whole\n    zonefile-sync: -1\n";
        Self::start((ip, free_port(&[ip])).into(), zones, &acl, zone)
    }

    /// A secondary that copies the zones once, and then only when it is told to.
    pub(crate) fn lagging_secondary(address: SocketAddr, of: SocketAddr, zones: &[&str]) -> Self {
        let remote = format!("remote:\n  - id: primary\n    address: {}@{}\n", of.ip(), of.port());
        let zone = "    master: primary\n    refresh-min-interval: 3600\n    zonefile-sync: -1\n";
        Self::start(address, zones, &remote, zone)
    }

    fn start(address: SocketAddr, zones: &[&str], above: &str, of_each: &str) -> Self {
        let folder = folder();
        let dir = folder.path().display().to_string();
        let mut config = format!(
            "server:\n    rundir: {dir}\n    listen: {}@{}\n    udp-workers: 1\n    tcp-workers: 1\n    background-workers: 1\n\
             log:\n  - target: stderr\n    any: info\n\
             database:\n    storage: {dir}/db\n    journal-db-max-size: 16M\n    kasp-db-max-size: 16M\n    timer-db-max-size: 1M\n\
             control:\n    listen: {dir}/control\n{above}zone:\n",
            address.ip(),
            address.port()
        );
        for zone in zones {
            std::fs::write(folder.path().join(zone), zone_file(zone, &[Ipv4Addr::LOCALHOST])).expect("a zone file");
            let _ = write!(config, "  - domain: {zone}\n    storage: {dir}\n    file: {zone}\n{of_each}");
        }
        // Without it changes fail with "not exists", once the zone is loaded.
        std::fs::create_dir(folder.path().join("db")).expect("a folder");
        let file = folder.path().join("knot.conf");
        std::fs::write(&file, config).expect("a configuration");
        let ready = || zones.iter().all(|zone| !dig(address, &[zone, "SOA"]).is_empty());
        let daemon = Daemon::start("knotd", folder, &["-c", &file.display().to_string()], ready);
        Self { daemon, address }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes a secondary catch up with its primary, and waits until it has what the primary had before.
    pub fn catch_up(&self, primary: &crate::bind::Bind, zone: &str) {
        let serial = |server| -> Option<u32> {
            dig(server, &[zone, "SOA"]).first().and_then(|soa| soa.split(' ').nth(2)?.parse().ok())
        };
        let wanted = serial(primary.address());
        let socket = self.daemon.folder().join("control");
        let output =
            Command::new("knotc").env("PATH", path()).arg("-s").arg(socket).args(["zone-retransfer", zone]).output();
        let output = output.expect("knotc runs");
        assert!(output.status.success(), "knotc: {}", String::from_utf8_lossy(&output.stderr));
        let began = Instant::now();
        while serial(self.address) < wanted {
            assert!(began.elapsed() < Duration::from_secs(20), "it has not caught up:\n{}", self.daemon.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
