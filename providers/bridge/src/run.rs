//! Runs programs of other people: with a deadline, without our secrets in their environment, and without leaving anything running.
//!
//! A program gets a process group of its own. When it has ended, or its deadline has come, or the caller has lost interest, whatever
//! still runs in that group is killed. What it said becomes the error, without the secrets it was given.

use std::{
    collections::BTreeMap,
    fmt,
    fs::{File, TryLockError},
    os::unix::{ffi::OsStrExt, process::ExitStatusExt},
    path::{Path, PathBuf},
    pin::pin,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use dcv_provider::{ErrorKind, ProviderError, Result, Retry, secret::Secret};
use futures_util::future::join3;
use rustix::{
    fs::{Access, AtFlags, CWD, accessat},
    process::{Pid, Signal, kill_process_group},
};
use secrecy::{ExposeSecret, SecretString};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::Command,
    time::{sleep, timeout},
};

/// How long a program may run, in seconds, unless the configuration says otherwise.
const DEADLINE: u64 = 60;
/// How long what a program has said may take to arrive after its end, when a daemon it left behind holds its output open.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How long to wait before the lock of a script is tried again.
const LOCK_PAUSE: Duration = Duration::from_millis(10);
/// How much of what a program says is kept, in octets: the end.
const KEPT: usize = 1 << 20;
/// How much of it an error repeats.
const QUOTED_LINES: usize = 5;
const QUOTED_CHARS: usize = 600;
/// Shorter values are not looked for in what is repeated: they are no secrets, and "53" is in too many words.
const SHORTEST_SECRET: usize = 4;

/// What every program gets of our environment. All else may hold a secret that is none of its business.
const INHERITED: [&str; 24] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "TMPDIR",
    "TZ",
    "LANG",
    "LANGUAGE",
    "LC_ALL",
    "LC_CTYPE",
    "LC_MESSAGES",
    "LD_LIBRARY_PATH",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "CURL_CA_BUNDLE",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
];

/// `sysexits.h`, and what shells say of programs they cannot run.
const EX_TEMPFAIL: i32 = 75;
const EX_NOPERM: i32 = 77;
const EX_CONFIG: i32 = 78;
const CANNOT_RUN: [i32; 2] = [126, 127];

/// A program that may be run often.
pub(crate) struct Program {
    path: PathBuf,
    env: Vec<(String, SecretString)>,
    deadline: Duration,
}

/// Without its environment.
impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program").field("path", &self.path).field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

impl Program {
    /// A program, which is looked for on the path when it has no slash. `field` is the configuration key it was given for.
    pub(crate) async fn new(
        field: &str,
        program: &Path,
        env: &BTreeMap<String, Secret>,
        deadline: Option<u64>,
    ) -> Result<Self> {
        let path = find(program).ok_or_else(|| {
            let message =
                format!("{field}: `{}` is no program that can be run; check the path and chmod +x", program.display());
            ProviderError::new(ErrorKind::Config, message)
        })?;
        let mut read = Vec::with_capacity(env.len());
        for (name, secret) in env {
            read.push((name.clone(), secret.read(&format!("env.{name}")).await?));
        }
        Ok(Self { path, env: read, deadline: deadline_of(deadline)? })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Runs it once, with this on its standard input. Any end of its own is an [`Ended`].
    pub(crate) async fn run<A: AsRef<std::ffi::OsStr>>(&self, arguments: &[A], input: &[u8]) -> Result<Ended> {
        let mut command = Command::new(&self.path);
        command.args(arguments).env_clear().process_group(0).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.envs(INHERITED.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        command.envs(self.env.iter().map(|(name, value)| (name, value.expose_secret())));
        let name = self.path.display();
        let mut child = command.spawn().map_err(|e| {
            let message = format!("`{name}` cannot be run: {e}; run it by hand to see why");
            ProviderError::new(ErrorKind::Config, message)
        })?;
        let group = Group::of(&child);
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (mut said, mut complained) = (Vec::new(), Vec::new());
        let ended = timeout(self.deadline, async {
            let write = async {
                if let Some(mut stdin) = stdin {
                    // A program may end without reading what it is told.
                    let _ = stdin.write_all(input).await;
                }
            };
            let mut talk = pin!(join3(write, keep(stdout, &mut said), keep(stderr, &mut complained)));
            tokio::select! {
                status = child.wait() => {
                    drop(group);
                    let _ = timeout(LAST_WORDS, talk).await;
                    status
                }
                _ = &mut talk => child.wait().await,
            }
        })
        .await;
        match ended {
            Ok(Ok(status)) => {
                tracing::debug!(program = %name, %status, said = self.last_words(&complained, &said), "ended");
                Ok(Ended { status, stdout: said, stderr: complained })
            }
            Ok(Err(e)) => {
                Err(ProviderError::new(ErrorKind::Unavailable, format!("`{name}` was lost sight of: {e}")).because(e))
            }
            Err(_) => {
                let words = self.last_words(&complained, &said);
                let words = if words.is_empty() { String::new() } else { format!("; it said: {words}") };
                let message =
                    format!("`{name}` has not ended after {} s and was killed{words}", self.deadline.as_secs());
                Err(ProviderError::new(ErrorKind::Unavailable, message))
            }
        }
    }

    /// The error of a run that did not end well.
    pub(crate) fn failure(&self, ended: &Ended) -> ProviderError {
        let how = match (ended.status.code(), ended.status.signal()) {
            (Some(code), _) => format!("exit code {code}"),
            (None, Some(signal)) => format!("killed by signal {signal}"),
            (None, None) => ended.status.to_string(),
        };
        let words = match self.last_words(&ended.stderr, &ended.stdout) {
            words if words.is_empty() => "it said nothing; run it by hand to see why".to_owned(),
            words => words,
        };
        let (kind, retry) = meaning(ended.status);
        let mut error = ProviderError::new(kind, format!("`{}` failed ({how}): {words}", self.path.display()));
        error.retry = retry;
        error
    }

    /// The last lines of the first text that has any.
    fn last_words(&self, complained: &[u8], said: &[u8]) -> String {
        [complained, said]
            .into_iter()
            .map(|text| last_lines(&self.hide(text)))
            .find(|w| !w.is_empty())
            .unwrap_or_default()
    }

    /// What the program said, without the secrets it was given.
    pub(crate) fn hide(&self, text: &[u8]) -> String {
        let mut text = String::from_utf8_lossy(text).into_owned();
        for (_, secret) in &self.env {
            let secret = secret.expose_secret();
            // A key of many lines may be repeated line by line.
            for part in std::iter::once(secret).chain(secret.lines()) {
                if part.len() >= SHORTEST_SECRET && text.contains(part) {
                    text = text.replace(part, "[hidden]");
                }
            }
        }
        text
    }
}

/// The deadline of the configuration, in seconds.
pub(crate) fn deadline_of(seconds: Option<u64>) -> Result<Duration> {
    match seconds {
        Some(0) => Err(ProviderError::new(ErrorKind::Config, "deadline: 0 s is too short for anything; give seconds")),
        seconds => Ok(Duration::from_secs(seconds.unwrap_or(DEADLINE))),
    }
}

/// How a program ended, and what it said.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

/// What an exit code means. One that says nothing of its reason may be a network that was away for a moment.
fn meaning(status: ExitStatus) -> (ErrorKind, Retry) {
    match status.code() {
        Some(EX_TEMPFAIL) | None => (ErrorKind::Unavailable, Retry::Yes),
        Some(EX_NOPERM) => (ErrorKind::Credentials, Retry::No),
        Some(EX_CONFIG) => (ErrorKind::Config, Retry::No),
        Some(code) if CANNOT_RUN.contains(&code) => (ErrorKind::Config, Retry::No),
        Some(_) => (ErrorKind::Rejected, Retry::Yes),
    }
}

/// The end of a text, on one line, without control characters.
fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last = lines[lines.len().saturating_sub(QUOTED_LINES)..].join("; ");
    let plain: Vec<char> = last.chars().filter(|c| !c.is_control()).collect();
    plain[plain.len().saturating_sub(QUOTED_CHARS)..].iter().collect()
}

/// Reads to the end and keeps the last of it.
async fn keep(stream: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) {
    let Some(mut stream) = stream else { return };
    while let Ok(1..) = stream.read_buf(kept).await {
        if kept.len() > 2 * KEPT {
            kept.drain(..kept.len() - KEPT);
        }
    }
}

/// A program's process group, which is killed when this is dropped.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &tokio::process::Child) -> Self {
        Self(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // Nobody left in it is the usual case.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// A program as it is found from here.
fn find(program: &Path) -> Option<PathBuf> {
    let can_be_run = |path: &PathBuf| path.is_file() && accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS).is_ok();
    if program.components().count() > 1 {
        return Some(program.to_owned()).filter(can_be_run);
    }
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join(program)).find(can_be_run)
}

/// Waits for the turn to run a script, over all processes on this machine: its writers knew of no others. The turn ends when the
/// returned file is closed, whatever becomes of this process. The lock is a file of its own, since scripts lock themselves to
/// keep a second run away. Where none can be had the turns are those of this process alone.
pub(crate) async fn turn(script: &Path) -> Option<File> {
    let script = script.canonicalize().unwrap_or_else(|_| script.to_owned());
    let path = std::env::temp_dir().join(lock_name(&script));
    let opened = File::options().write(true).create(true).truncate(false).open(path);
    let file = opened.inspect_err(|error| tracing::debug!(%error, "no lock file")).ok()?;
    while let Err(error) = file.try_lock() {
        if let TryLockError::Error(error) = error {
            tracing::debug!(%error, "no lock");
            return None;
        }
        sleep(LOCK_PAUSE).await;
    }
    Some(file)
}

/// The same for the same script in every process and version.
fn lock_name(script: &Path) -> String {
    let hash = script
        .as_os_str()
        .as_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    format!("dcv-script-{hash:016x}.lock")
}
