//! A PostgreSQL server of a test's own: `initdb` into a temporary folder, on a free port of loopback and a socket in the folder.
//!
//! It refuses to run as root, so where the test is root the server is nobody.

use std::{
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use tempfile::TempDir;

use crate::daemon::{folder, free_port, path};

/// The ids of nobody and nogroup.
const NOBODY: u32 = 65534;
/// The password of the user `dcv`, where one is asked for.
pub const PASSWORD: &str = "planted-postgres-password";

/// A server with a database and a superuser `dcv`. Stopped, and its folder removed, when this is dropped.
pub struct Postgres {
    folder: TempDir,
    port: u16,
    settings: Vec<String>,
    child: Mutex<Option<Child>>,
}

/// How a server is stopped.
#[derive(Clone, Copy, Debug)]
pub enum Stop {
    /// Connections are closed, what is running is rolled back.
    Fast,
    /// As a power cut has it: the next start recovers from the log.
    Crash,
}

impl Postgres {
    /// Starts one that need not survive a power cut of this machine, which makes it fast.
    pub fn start() -> Self {
        Self::with(&["fsync=off"])
    }

    /// Starts one with these settings.
    ///
    /// # Panics
    /// When PostgreSQL is not installed or does not start; its log is shown.
    pub fn with(settings: &[&str]) -> Self {
        let folder = folder();
        let server = Self {
            port: free_port(&[std::net::Ipv4Addr::LOCALHOST]),
            settings: settings.iter().map(|one| (*one).to_owned()).collect(),
            child: Mutex::new(None),
            folder,
        };
        if geteuid().is_root() {
            chown(server.folder.path(), Some(NOBODY), Some(NOBODY)).expect("a folder for nobody");
        }
        server.give("password", PASSWORD);
        let (data, password) = (server.path("data"), server.path("password"));
        let made = server
            .program("initdb")
            .args(["--username=dcv", "--auth-local=trust", "--auth-host=scram-sha-256", "--encoding=UTF8"])
            .args(["--no-sync", "--locale=C"])
            .arg(format!("--pwfile={}", password.display()))
            .arg(format!("--pgdata={}", data.display()))
            .stdout(Stdio::null())
            .output()
            .unwrap_or_else(|e| panic!("initdb cannot be started ({e}); tests/run installs what the tests need"));
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        server.go_on();
        server
    }

    /// A file in the server's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file that is the server's only.
    pub fn give(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).expect("a file");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("a mode");
        if geteuid().is_root() {
            chown(&path, Some(NOBODY), Some(NOBODY)).expect("a file for nobody");
        }
        path
    }

    /// Its port at 127.0.0.1, where a password is asked for.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// By the socket, where none is asked for.
    pub fn url(&self) -> String {
        let folder = self.folder.path().display().to_string().replace('/', "%2F");
        format!("postgres://dcv@{folder}:{}/postgres", self.port)
    }

    /// Over TCP, with the password.
    pub fn url_with_password(&self) -> String {
        format!("postgres://dcv:{PASSWORD}@127.0.0.1:{}/postgres", self.port)
    }

    /// Stops it, however many are connected.
    pub fn stop(&self, how: Stop) {
        let Some(mut child) = self.child.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        let signal = match how {
            Stop::Fast => Signal::INT,
            Stop::Crash => Signal::QUIT,
        };
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a process");
        let _ = kill_process(pid, signal);
        let _ = child.wait();
    }

    /// Starts it again, on what is there.
    ///
    /// # Panics
    /// When it does not start; its log is shown.
    pub fn go_on(&self) {
        let log = std::fs::File::options().create(true).append(true).open(self.path("log")).expect("a log file");
        let mut command = self.program("postgres");
        command.arg("-D").arg(self.path("data")).args(["-p", &self.port.to_string(), "-h", "127.0.0.1"]);
        command.arg("-k").arg(self.folder.path());
        for setting in &self.settings {
            command.args(["-c", setting]);
        }
        let child = command.stdout(log.try_clone().expect("a handle")).stderr(log).spawn().expect("postgres starts");
        *self.child.lock().unwrap_or_else(PoisonError::into_inner) = Some(child);
        let began = Instant::now();
        while !self.psql("SELECT 1").is_ok_and(|answer| answer == "1") {
            assert!(began.elapsed() < Duration::from_secs(30), "postgres is not ready:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Asks it by PostgreSQL's own client: rows by lines, columns by `|`.
    ///
    /// # Errors
    /// What the client said.
    ///
    /// # Panics
    /// When there is no such client.
    pub fn psql(&self, sql: &str) -> Result<String, String> {
        let output = self
            .program("psql")
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", "dcv", "-d", "postgres"])
            .arg("-h")
            .arg(self.folder.path())
            .args(["-p", &self.port.to_string(), "-c", sql])
            .output()
            .expect("psql runs; tests/run installs it");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// What it has said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// One of its programs, as a user that it agrees to run as.
    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(name);
        command.env("PATH", format!("{}:{}", newest().display(), path())).current_dir(self.folder.path());
        command.stdin(Stdio::null()).env("HOME", self.folder.path()).env_remove("PGPASSWORD");
        if geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop(Stop::Crash);
        if std::thread::panicking() {
            eprintln!("---- log of postgres ----\n{}", self.log());
        }
    }
}

/// Debian keeps the server's programs off everybody's path, in a folder for each version.
fn newest() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path());
    let number = |path: &Path| path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
    versions.max_by_key(|path| number(path)).unwrap_or_default().join("bin")
}
