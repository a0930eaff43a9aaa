//! The PowerDNS authoritative server on a SQLite file, with its HTTP API.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpStream},
    process::Command,
    sync::{Arc, Mutex},
};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::daemon::{Daemon, dig, folder, free_port};

/// The API key.
pub const API_KEY: &str = "pdns-test-key-77";
const SCHEMA: &str = "/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql";

/// A running `pdns_server`.
pub struct PowerDns {
    daemon: Daemon,
    address: SocketAddr,
    api: String,
}

impl PowerDns {
    /// Starts one at 127.0.0.1 and makes these zones by its API.
    pub async fn start(zones: &[&str]) -> Self {
        let ip = Ipv4Addr::LOCALHOST;
        let server = Self::start_at(&[ip], free_port(&[ip]), "loglevel=4\n");
        for zone in zones {
            server.add_zone(zone).await;
        }
        server
    }

    /// Starts one without zones that listens at all of these addresses, at this port, with further lines of configuration.
    pub fn start_at(listen: &[Ipv4Addr], port: u16, settings: &str) -> Self {
        let (ip, api) = (listen[0], free_port(&listen[..1]));
        let addresses: Vec<String> = listen.iter().map(ToString::to_string).collect();
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
            "launch=gsqlite3\ngsqlite3-database={}\ngsqlite3-pragma-synchronous=0\nlocal-address={}\nlocal-port={port}\n\
             socket-dir={dir}\nsecurity-poll-suffix=\nguardian=no\ndaemon=no\napi=yes\napi-key={API_KEY}\nwebserver=yes\n\
             webserver-address={ip}\nwebserver-port={api}\nwebserver-allow-from=127.0.0.0/8\ncache-ttl=0\nquery-cache-ttl=0\n\
             negquery-cache-ttl=0\nzone-cache-refresh-interval=0\n{settings}",
            database.display(),
            addresses.join(","),
        );
        std::fs::write(folder.path().join("pdns.conf"), config).expect("a configuration");
        let ready = || TcpStream::connect((ip, api)).is_ok() && TcpStream::connect((ip, port)).is_ok();
        let daemon = Daemon::start("pdns_server", folder, &[&format!("--config-dir={dir}")], ready);
        Self { daemon, address: SocketAddr::from((ip, port)), api: format!("http://{ip}:{api}") }
    }

    /// What it has said.
    pub fn log(&self) -> String {
        self.daemon.log()
    }

    /// Makes a zone.
    pub async fn add_zone(&self, zone: &str) {
        self.add_zone_with(zone, &[Ipv4Addr::LOCALHOST]).await;
    }

    /// Makes a zone with name servers `ns1`, `ns2`, … at these addresses.
    pub async fn add_zone_with(&self, zone: &str, servers: &[Ipv4Addr]) {
        let names: Vec<String> = (1..=servers.len()).map(|n| format!("ns{n}.{zone}.")).collect();
        let address = |(name, ip): (&String, &Ipv4Addr)| json!({"name": name, "type": "A", "ttl": 5, "records": [{"content": ip, "disabled": false}]});
        let sets: Vec<_> = names.iter().zip(servers).map(address).collect();
        let body = json!({ "name": format!("{zone}."), "kind": "Native", "nameservers": names, "rrsets": sets });
        self.call(Method::POST, "", &body).await;
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
        let records: Vec<_> = contents.iter().map(|c| json!({"content": c, "disabled": false})).collect();
        let set = json!({
            "name": format!("{name}."), "type": rtype, "ttl": 300, "changetype": "REPLACE", "records": records,
        });
        self.patch(zone, &set).await;
    }

    /// Changes a record set by the API, in the API's own words.
    pub async fn patch(&self, zone: &str, set: &Value) {
        self.call(Method::PATCH, &format!("/{zone}."), &json!({ "rrsets": [set] })).await;
    }

    /// A record set in the API's own words; null when there is none.
    pub async fn record_set(&self, zone: &str, name: &str, rtype: &str) -> Value {
        let zone = self.call(Method::GET, &format!("/{zone}."), &Value::Null).await;
        let sets = zone["rrsets"].as_array().cloned().unwrap_or_default();
        let name = format!("{name}.");
        sets.into_iter().find(|set| set["name"] == name.as_str() && set["type"] == rtype).unwrap_or_default()
    }

    /// What it answers.
    pub fn dig(&self, arguments: &[&str]) -> Vec<String> {
        dig(self.address, arguments)
    }

    async fn call(&self, method: Method, path: &str, body: &Value) -> Value {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let url = format!("{}/api/v1/servers/localhost/zones{path}", self.api);
        let request = reqwest::Client::new().request(method, url).header("X-API-Key", API_KEY).json(body);
        let response = request.send().await.expect("the API answers");
        let status = response.status();
        let text = response.text().await.unwrap_or_default();
        assert!(status.is_success(), "{status}: {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }
}

/// Stands before an HTTP server and writes down the first line of each request before it is passed on. Its server's own log may
/// come after the answer.
pub struct Witness {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Witness {
    /// Stands before the server with this base URL, until the test's runtime ends.
    pub async fn of(base: &str) -> Self {
        let server = base.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("it has one");
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let notes = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (notes, server) = (Arc::clone(&notes), server.clone());
                tokio::spawn(async move {
                    let server = tokio::net::TcpStream::connect(server).await.expect("the server listens");
                    let ((mut asks, mut hears), (mut answers, mut told)) = (client.into_split(), server.into_split());
                    tokio::spawn(async move { tokio::io::copy(&mut answers, &mut hears).await });
                    let mut buffer = vec![0; 65536];
                    while let Ok(n @ 1..) = asks.read(&mut buffer).await {
                        let first = String::from_utf8_lossy(&buffer[..n]).lines().next().unwrap_or_default().to_owned();
                        if first.ends_with(" HTTP/1.1") {
                            notes.lock().expect("no panic while held").push(first);
                        }
                        if told.write_all(&buffer[..n]).await.is_err() {
                            break;
                        }
                    }
                });
            }
        });
        Self { address, seen }
    }

    /// Base URL to be used in place of the server's.
    pub fn base(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many requests with this method there were.
    pub fn requests(&self, method: &str) -> usize {
        let seen = self.seen.lock().expect("no panic while held");
        seen.iter().filter(|line| line.starts_with(&format!("{method} "))).count()
    }
}
