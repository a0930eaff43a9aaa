//! The real program between an offline CA and a name server, both in this process, so that the tests can see what each of
//! them was asked.

#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test program uses its part")]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use certcentral::RequestStatus;
use certcentral_sandbox::{ApiKey, Config as Account, Role, Sandbox, dns, va};
use dcv_core::{certificate::Chain, key::PrivateKey};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};
pub const API_KEY: &str = "planted-api-key-4711";
pub const TSIG: &[u8] = b"planted-tsig-secret-of-32-octets";

/// The program, its output piped, knowing nothing of this machine's user.
pub fn dcv(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dcv"));
    for variable in ["DCV_CONFIG", "DIGICERT_API_KEY", "XDG_CONFIG_HOME", "RUST_LOG", "NO_COLOR"] {
        command.env_remove(variable);
    }
    // Root's journal would be the machine's own.
    command.env("XDG_STATE_HOME", dir.join(".state"));
    command.current_dir(dir).env("HOME", dir).env("RUST_BACKTRACE", "0");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// What a run of the program left.
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    pub fn all(&self) -> String {
        format!("exit {}\n{}{}", self.code, self.stdout, self.stderr)
    }

    /// Each line of stdout as JSON.
    pub fn json(&self) -> Vec<Value> {
        let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        self.stdout.lines().map(parse).collect()
    }

    pub fn last(&self) -> Value {
        self.json().pop().unwrap_or_else(|| panic!("no result: {}", self.all()))
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).expect("text"),
            stderr: String::from_utf8(output.stderr).expect("text"),
        }
    }
}

/// Runs it to its end. Whatever it was to do, it has not shown the secrets that every bench has.
pub async fn run(command: &mut Command) -> Ran {
    let output = tokio::time::timeout(Duration::from_secs(60), command.output()).await;
    let ran: Ran = output.expect("it ends").expect("it starts").into();
    for secret in [API_KEY.to_owned(), String::from_utf8_lossy(TSIG).into_owned(), STANDARD.encode(TSIG)] {
        assert!(!ran.all().contains(&secret), "a secret is shown: {}", ran.all());
    }
    ran
}

pub struct Bench {
    pub dir: TempDir,
    pub sandbox: Sandbox,
    pub server: dns::Server,
}

impl Bench {
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut Account)) -> Self {
        let server = dns::Server::start(dns::Config {
            zones: vec!["example.com".to_owned(), "example.org".to_owned()],
            tsig: Some(dns::TsigKey { name: "dcv-key".to_owned(), secret: TSIG.to_vec() }),
            ..dns::Config::default()
        })
        .await
        .expect("a name server");
        let mut account = Account {
            keys: vec![ApiKey::new(API_KEY, Role::Administrator)],
            va: va::Config::with_dns(vec![server.addr()]),
            polling: false,
            ..Account::default()
        };
        change(&mut account);
        let sandbox = Sandbox::start(account).await.expect("a sandbox");
        let bench = Self { dir: tempfile::tempdir().expect("a folder"), sandbox, server };
        bench.write("dcv.toml", &bench.configuration());
        bench
    }

    /// Secrets stand in the file itself, the worst case for what must not be shown.
    pub fn configuration(&self) -> String {
        format!(
            r#"[ca]
url = "{url}"
key = "{API_KEY}"
[defaults]
product = "ssl_basic"
organization = 10001
[state]
path = "state/journal.sqlite"
[dns]
resolvers = ["{dns}"]
authority_port = {port}
[provider.corp]
type = "rfc2136"
server = "{dns}"
tsig = {{ name = "dcv-key", secret = "{tsig}" }}
[route]
"example.com" = "corp"
"#,
            url = self.sandbox.base_url(),
            dns = self.server.addr(),
            port = self.server.addr().port(),
            tsig = STANDARD.encode(TSIG),
        )
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("a file");
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).expect("a mode");
    }

    pub fn dcv(&self, arguments: &str) -> Command {
        let mut command = dcv(self.dir.path());
        command.args(arguments.split_whitespace());
        command
    }

    pub async fn run(&self, arguments: &str) -> Ran {
        run(&mut self.dcv(arguments)).await
    }

    /// Starts the program and waits until its stdout holds a line with `part`.
    pub async fn start_until(&self, arguments: &str, part: &str) -> Child {
        let mut child = self.dcv(arguments).spawn().expect("it starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let found = async {
            while let Ok(Some(line)) = lines.next_line().await {
                if line.contains(part) {
                    return true;
                }
            }
            false
        };
        let found = tokio::time::timeout(Duration::from_secs(30), found).await;
        assert_eq!(found, Ok(true), "`{part}` was never said");
        // Later lines have to go somewhere.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        child
    }

    pub fn client(&self) -> certcentral::Client {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = certcentral::Client::builder(API_KEY.into()).base_url(self.sandbox.base_url()).build();
        client.expect("a client")
    }

    pub async fn approve_everything(&self) {
        let client = self.client();
        for request in client.requests(Some(&RequestStatus::Pending)).await.expect("requests") {
            client.set_request_status(request.id, &RequestStatus::Approved, "fine").await.expect("approved");
        }
    }

    pub fn changes_asked_of_ca(&self) -> usize {
        self.sandbox.requests_seen().iter().filter(|seen| seen.method != "GET").count()
    }

    pub fn hidden_files(&self, dir: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(dir)).into_iter().flatten().flatten();
        entries.map(|e| e.file_name().to_string_lossy().into_owned()).filter(|name| name.starts_with('.')).collect()
    }
}

pub fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).permissions().mode() & 0o777
}

/// The files of a certificate: there, with the right modes, and good for the names below the root.
pub fn check_files(dir: &Path, root: &str, names: &[&str]) {
    for (file, expected) in
        [("cert.pem", 0o644), ("chain.pem", 0o644), ("fullchain.pem", 0o644), ("privkey.pem", 0o600)]
    {
        assert_eq!(mode(&dir.join(file)), expected, "{file}");
    }
    let read = |file: &str| fs::read_to_string(dir.join(file)).expect(file);
    let pem = read("fullchain.pem");
    assert_eq!(pem, read("cert.pem") + &read("chain.pem"));
    let key = PrivateKey::from_pem(&read("privkey.pem")).expect("a key");
    assert!(Chain::from_pem(pem.as_bytes()).expect("a chain").matches_key(&key));

    let chain: Vec<CertificateDer<'_>> =
        CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().expect("certificates");
    let root = CertificateDer::from_pem_slice(root.as_bytes()).expect("a root");
    let anchor = webpki::anchor_from_trusted_cert(&root).expect("an anchor");
    let leaf = webpki::EndEntityCert::try_from(&chain[0]).expect("a leaf");
    let usage = webpki::KeyUsage::server_auth();
    let algorithms = webpki::ALL_VERIFICATION_ALGS;
    leaf.verify_for_usage(algorithms, &[anchor], &chain[1..], UnixTime::now(), usage, None, None)
        .expect("a good chain");
    for name in names {
        leaf.verify_is_valid_for_subject_name(&ServerName::try_from(*name).expect("a name")).expect(name);
    }
}
