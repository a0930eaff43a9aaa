//! A real nginx on a free loopback port, serving a folder. It stops when it is dropped.

use std::{
    fs::{self, File},
    io,
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// A running nginx.
pub struct Nginx {
    process: Child,
    addr: SocketAddr,
    /// Its configuration, log and temporary files.
    _prefix: TempDir,
}

impl Nginx {
    /// Serves `root`, which may hold nginx variables: `/srv/$host` for a document root per host.
    pub fn start(root: &Path) -> Self {
        // Between finding a free port and nginx taking it, another test may.
        (0..10).find_map(|_| Self::try_start(root)).expect("one of ten free ports is still free a moment later")
    }

    /// `None` when the port was taken meanwhile.
    fn try_start(root: &Path) -> Option<Self> {
        let addr = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port");
        let prefix = tempfile::tempdir().expect("a folder for nginx");
        let (log, pid) = (prefix.path().join("log"), prefix.path().join("nginx.pid"));
        fs::write(prefix.path().join("nginx.conf"), configuration(addr, root)).expect("its configuration");
        let process = Command::new("nginx")
            .arg("-p")
            .arg(prefix.path())
            .args(["-c", "nginx.conf", "-e", "stderr"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).expect("its log"))
            .spawn();
        let process = match process {
            Err(e) if e.kind() == io::ErrorKind::NotFound => panic!("nginx is not installed (Debian: nginx-light)"),
            process => process.expect("nginx starts"),
        };
        let mut nginx = Self { process, addr, _prefix: prefix };
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(status) = nginx.process.try_wait().expect("nginx is our child") {
                let log = fs::read_to_string(&log).unwrap_or_default();
                assert!(log.contains("Address already in use"), "nginx ended with {status}: {log}");
                return None;
            }
            // Written once it has the port; that something answers there would not prove that it is ours.
            if pid.exists() {
                return Some(nginx);
            }
            assert!(Instant::now() < deadline, "nginx does not come up at {addr}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // It may have ended by itself; either way nothing of it is left.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// One process in the foreground, which runs as whoever runs the tests (workers of a root nginx would be www-data and
/// could not read a private folder) and is gone when it is killed.
fn configuration(addr: SocketAddr, root: &Path) -> String {
    format!(
        r#"daemon off;
master_process off;
pid nginx.pid;
events {{}}
http {{
    access_log off;
    default_type text/plain;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {{
        listen {addr};
        root "{root}";
    }}
}}
"#,
        root = root.display()
    )
}

#[cfg(test)]
mod tests {
    use dcv_provider::{DcvProvider, Proof};
    use dcv_webroot::{Config, Webroot};

    use super::*;

    fn proof(host: &str, body: &str) -> Proof {
        let path = "/.well-known/pki-validation/fileauth.txt".to_owned();
        Proof::File { host: host.to_owned(), path, body: body.to_owned() }
    }

    /// Status and body of `http://host/.well-known/pki-validation/fileauth.txt` at this nginx.
    async fn fetch(nginx: &Nginx, host: &str) -> (u16, String) {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().resolve(host, nginx.addr()).build().expect("a client");
        let url = format!("http://{host}:{}/.well-known/pki-validation/fileauth.txt", nginx.addr().port());
        let answer = client.get(url).send().await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("a body"))
    }

    #[tokio::test]
    async fn a_web_server_shows_what_webroot_writes() {
        let root = tempfile::tempdir().unwrap();
        let nginx = Nginx::start(root.path());
        let webroot = Webroot::new(Config::new(root.path())).unwrap();
        let (first, second) = ([proof("a.com", "first-value")], [proof("b.com", "second-value")]);
        assert_eq!(fetch(&nginx, "a.com").await.0, 404);
        webroot.present(&first).await.unwrap();
        assert_eq!(fetch(&nginx, "a.com").await, (200, "first-value".to_owned()));
        webroot.present(&second).await.unwrap();
        assert_eq!(fetch(&nginx, "a.com").await, (200, "second-value\nfirst-value".to_owned()));
        webroot.retract(&first).await.unwrap();
        assert_eq!(fetch(&nginx, "b.com").await, (200, "second-value".to_owned()));
        webroot.retract(&second).await.unwrap();
        assert_eq!(fetch(&nginx, "b.com").await.0, 404);
    }

    #[tokio::test]
    async fn hosts_with_document_roots_of_their_own_show_their_own_values() {
        let root = tempfile::tempdir().unwrap();
        let nginx = Nginx::start(&root.path().join("$host"));
        for host in ["a.com", "b.com"] {
            fs::create_dir(root.path().join(host)).unwrap();
        }
        let webroot = Webroot::new(Config::new(root.path().join("{host}"))).unwrap();
        let proofs = [proof("a.com", "value-a"), proof("b.com", "value-b")];
        webroot.present(&proofs).await.unwrap();
        assert_eq!(fetch(&nginx, "a.com").await, (200, "value-a".to_owned()));
        assert_eq!(fetch(&nginx, "b.com").await, (200, "value-b".to_owned()));
        webroot.retract(&proofs).await.unwrap();
        assert_eq!(fetch(&nginx, "a.com").await.0, 404);
    }

    #[test]
    fn nothing_is_left_of_it() {
        let root = tempfile::tempdir().unwrap();
        let nginx = Nginx::start(root.path());
        let addr = nginx.addr();
        drop(nginx);
        assert!(std::net::TcpStream::connect(addr).is_err());
    }
}
