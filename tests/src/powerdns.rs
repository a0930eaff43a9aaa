//! The PowerDNS authoritative server on a SQLite file, with its HTTP API.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpStream},
    process::Command,
};

use crate::daemon::{Daemon, dig, folder, free_port};

/// The API key.
pub const API_KEY: &str = "pdns-test-key-77";
const SCHEMA: &str = "/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql";

/// A running `pdns_server`.
pub struct PowerDns {
    _daemon: Daemon,
    address: SocketAddr,
    api: String,
}

impl PowerDns {
    /// Starts one at 127.0.0.1 and makes these zones by its API.
    pub async fn start(zones: &[&str]) -> Self {
        let ip = Ipv4Addr::LOCALHOST;
        let (port, api) = (free_port(&[ip]), free_port(&[ip]));
        let folder = folder();
        let database = folder.path().join("db");
        let loaded = Command::new("sqlite3")
            .arg(&database)
            .arg(format!(".read {SCHEMA}"))
            .status()
            .expect("sqlite3 runs; tests/run installs it");
        assert!(loaded.success(), "the schema is loaded");
        let dir = folder.path().display().to_string();
        let config = format!(
            "launch=gsqlite3\ngsqlite3-database={}\ngsqlite3-pragma-synchronous=0\nlocal-address={ip}\nlocal-port={port}\n\
             socket-dir={dir}\nsecurity-poll-suffix=\nguardian=no\ndaemon=no\napi=yes\napi-key={API_KEY}\nwebserver=yes\n\
             webserver-address={ip}\nwebserver-port={api}\nwebserver-allow-from=127.0.0.0/8\ncache-ttl=0\nquery-cache-ttl=0\n\
             negquery-cache-ttl=0\nzone-cache-refresh-interval=0\nloglevel=4\n",
            database.display()
        );
        std::fs::write(folder.path().join("pdns.conf"), config).expect("a configuration");
        let ready = || TcpStream::connect((ip, api)).is_ok() && TcpStream::connect((ip, port)).is_ok();
        let daemon = Daemon::start("pdns_server", folder, &[&format!("--config-dir={dir}")], ready);
        let server = Self { _daemon: daemon, address: SocketAddr::from((ip, port)), api: format!("http://{ip}:{api}") };
        for zone in zones {
            let body = serde_json::json!({
                "name": format!("{zone}."), "kind": "Native", "nameservers": [format!("ns1.{zone}.")],
                "rrsets": [{"name": format!("ns1.{zone}."), "type": "A", "ttl": 5, "records": [{"content": "127.0.0.1", "disabled": false}]}],
            });
            server.call(reqwest::Method::POST, "", &body).await;
        }
        server
    }

    /// Where it answers questions.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Base URL of its API.
    pub fn api(&self) -> &str {
        &self.api
    }

    /// Sets a record set by the API, past the provider.
    pub async fn set(&self, zone: &str, name: &str, rtype: &str, contents: &[&str]) {
        let records: Vec<_> = contents.iter().map(|c| serde_json::json!({"content": c, "disabled": false})).collect();
        let set = serde_json::json!({
            "name": format!("{name}."), "type": rtype, "ttl": 300, "changetype": "REPLACE", "records": records,
        });
        self.call(reqwest::Method::PATCH, &format!("/{zone}."), &serde_json::json!({ "rrsets": [set] })).await;
    }

    /// What it answers.
    pub fn dig(&self, arguments: &[&str]) -> Vec<String> {
        dig(self.address, arguments)
    }

    async fn call(&self, method: reqwest::Method, path: &str, body: &serde_json::Value) {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let url = format!("{}/api/v1/servers/localhost/zones{path}", self.api);
        let request = reqwest::Client::new().request(method, url).header("X-API-Key", API_KEY).json(body);
        let response = request.send().await.expect("the API answers");
        let status = response.status();
        assert!(status.is_success(), "{status}: {}", response.text().await.unwrap_or_default());
    }
}
