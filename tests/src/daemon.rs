//! Real servers, started for one test and stopped with it: in the foreground, in a folder of their own, on loopback.

use std::{
    fmt::Write as _,
    fs::File,
    io::Write as _,
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use dcv_provider::{
    ProofKind,
    dns::{Dns, Recursion},
};
use hickory_proto::rr::RecordType;
use tempfile::TempDir;

use crate::world::{TSIG_NAME, TSIG_SECRET};

/// A process that is killed, and its folder removed, when this is dropped.
pub struct Daemon {
    name: &'static str,
    child: Child,
    folder: TempDir,
}

impl Daemon {
    /// Starts `program` (looked for in the system's own folders, too) and waits until `ready`.
    ///
    /// # Panics
    /// When the program is not installed, dies, or is not ready in time; its log is shown.
    pub fn start(name: &'static str, folder: TempDir, arguments: &[&str], ready: impl Fn() -> bool) -> Self {
        let log = File::create(folder.path().join("log")).expect("a log file");
        let child = Command::new(name)
            .args(arguments)
            .env("PATH", path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a handle"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|e| panic!("{name} cannot be started ({e}); tests/run installs what the tests need"));
        let mut daemon = Self { name, child, folder };
        let began = Instant::now();
        while !ready() {
            if let Ok(Some(status)) = daemon.child.try_wait() {
                panic!("{name} has died ({status}):\n{}", daemon.log());
            }
            assert!(began.elapsed() < Duration::from_secs(20), "{name} is not ready:\n{}", daemon.log());
            std::thread::sleep(Duration::from_millis(10));
        }
        daemon
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What it has said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("---- log of {} ----\n{}", self.name, self.log());
        }
    }
}

/// Where programs are looked for: daemons live in folders that are not on everybody's path.
pub(crate) fn path() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

/// A folder for a daemon that may run as another user.
pub fn folder() -> TempDir {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).expect("a mode");
    folder
}

/// A port that is free at this moment at all these addresses, by UDP and by TCP.
pub fn free_port(addresses: &[Ipv4Addr]) -> u16 {
    for _ in 0..1000 {
        let first = TcpListener::bind((addresses[0], 0)).expect("a loopback address");
        let port = first.local_addr().expect("it has one").port();
        let free = addresses.iter().all(|ip| {
            UdpSocket::bind((*ip, port)).is_ok() && (*ip == addresses[0] || TcpListener::bind((*ip, port)).is_ok())
        });
        if free {
            return port;
        }
    }
    panic!("no port is free at {addresses:?}");
}

/// Asks a server by `dig` and returns its short answer, line by line.
pub fn dig(server: SocketAddr, arguments: &[&str]) -> Vec<String> {
    let output = Command::new("dig")
        .args([
            &format!("@{}", server.ip()),
            "-p",
            &server.port().to_string(),
            "+short",
            "+time=2",
            "+tries=1",
            "+norec",
        ])
        .args(arguments)
        .output()
        .expect("dig runs; tests/run installs it");
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().filter(|line| !line.starts_with(';')).map(str::to_owned).collect()
}

/// Somebody else's change, by `nsupdate` with the key of the test servers.
///
/// # Panics
/// When the server refuses it.
pub fn nsupdate(server: SocketAddr, change: &str) {
    let mut child = Command::new("nsupdate")
        .args(["-y", &format!("hmac-sha256:{TSIG_NAME}:{TSIG_SECRET}")])
        .stdin(Stdio::piped())
        .spawn()
        .expect("nsupdate runs; tests/run installs it");
    let text = format!("server {} {}\n{change}\nsend\n", server.ip(), server.port());
    child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("written");
    assert!(child.wait().expect("it ends").success(), "nsupdate failed: {change}");
}

/// A server that takes questions and connections and never answers.
pub struct Silent {
    address: SocketAddr,
    _sockets: (UdpSocket, TcpListener),
}

impl Silent {
    /// Starts one at 127.0.0.1.
    pub fn start() -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port(&[Ipv4Addr::LOCALHOST])));
        let sockets =
            (UdpSocket::bind(address).expect("a free port"), TcpListener::bind(address).expect("a free port"));
        Self { address, _sockets: sockets }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// A zone file with name servers `ns1`, `ns2`, … at these addresses.
pub fn zone_file(zone: &str, servers: &[Ipv4Addr]) -> String {
    let mut text = format!("$TTL 5\n$ORIGIN {zone}.\n@ SOA ns1 host 1 3600 600 86400 5\n");
    for (n, ip) in servers.iter().enumerate() {
        let _ = write!(text, "@ NS ns{}\nns{} A {ip}\n", n + 1, n + 1);
    }
    text.push_str("@ A 127.0.0.1\n");
    text
}

/// What a name server shows at a name, asked directly: texts, or the target of an alias.
pub async fn shown(server: SocketAddr, kind: ProofKind, name: &str) -> Vec<String> {
    let rtype = if kind == ProofKind::Txt { RecordType::TXT } else { RecordType::CNAME };
    let answer = Dns::new(Vec::new()).ask(server, name, rtype, Recursion::No).await.expect("the server answers");
    match kind {
        ProofKind::Txt => answer.texts().into_iter().map(|parts| parts.concat()).collect(),
        _ => answer.alias().into_iter().collect(),
    }
}
