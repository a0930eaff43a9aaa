//! Bringing the certificate home: fetched, found to be ours, and written where it is wanted.

use std::{path::Path, process::Stdio, time::Duration};

use certcentral::DownloadFormat;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    time::{Instant, sleep, timeout},
};

use super::{
    jittered,
    worker::{Progress, Worker},
};
use crate::{
    certificate::{self, Chain},
    error::{Error, Result},
    event::Event,
    key::PrivateKey,
    request::Deploy,
    state::{Actor, Entry, Waiting},
};

/// How often a deploy command is run before somebody is asked to look at it.
const DEPLOY_ATTEMPTS: u32 = 3;
/// How long the last words of a command that has failed are waited for, where something that it has left running could still speak.
const LAST_WORDS: Duration = Duration::from_millis(200);

impl Worker<'_> {
    /// Fetches the certificate. CertCentral has been seen to give the wrong one when several are fetched quickly, so
    /// one that is not ours is fetched again before it counts as an error.
    pub(super) async fn download(&mut self) -> Result<Progress> {
        let certificate_id = self.run.certificate_id.expect("the step needs it");
        let mut pause = Duration::from_millis(250);
        let chain = loop {
            let fetched = self.dcv.client.download(certificate_id, DownloadFormat::PemAll).await;
            let error = match fetched {
                Ok(pem) => match self.accept_certificate(&pem) {
                    Ok(chain) => break chain,
                    Err(error) => error,
                },
                Err(error) if error.is_auth() => return Err(error.into()),
                Err(error) => error.into(),
            };
            if pause > Duration::from_secs(8) || Instant::now() + pause > self.deadline {
                return Err(error);
            }
            self.tell(&Event::Trouble { message: format!("certificate {certificate_id}: {error}; fetching it again") });
            sleep(jittered(pause)).await;
            pause *= 2;
        };
        self.record(Entry::Downloaded { chain: chain.fullchain_pem() }).await?;
        self.tell_downloaded();
        Ok(Progress::Made)
    }

    /// A chain whose leaf is for our key and our names.
    pub(super) fn accept_certificate(&self, pem: &[u8]) -> Result<Chain> {
        let csr = self.run.request.csr()?;
        let chain = Chain::from_pem(pem).map_err(|e| Error::Certificate(e.to_string()))?;
        chain.verify_leaf(&csr, &self.run.request.names).map_err(|e| Error::Certificate(e.to_string()))?;
        Ok(chain)
    }

    pub(super) fn tell_downloaded(&self) {
        if let Some(chain) = self.run.chain.as_deref().and_then(|pem| Chain::from_pem(pem.as_bytes()).ok()) {
            self.tell(&Event::Downloaded { serial: chain.serial(), not_after: chain.not_after().to_string() });
        }
    }

    pub(super) async fn store(&mut self) -> Result<Progress> {
        let output = self.run.request.output.clone().expect("the step needs it");
        let csr = self.run.request.csr()?;
        let pem = self.run.chain.clone().unwrap_or_default();
        let chain = Chain::from_pem(pem.as_bytes()).map_err(|e| Error::Certificate(e.to_string()))?;
        let dir = output.dir.clone();
        let pending = output.pending_key.clone();
        tokio::task::spawn_blocking(move || -> Result<()> {
            let key = match &pending {
                // Moved into place already, by a process that died before it could say so.
                Some(path) if !path.exists() => Some(read_key(&output.dir.join(certificate::KEY_FILE))?),
                Some(path) => Some(read_key(path)?),
                None => None,
            };
            if let Some(key) = &key
                && !csr.matches_key(key)
            {
                let path = pending.as_deref().unwrap_or(&output.dir).display();
                return Err(Error::Certificate(format!("the key in {path} is not the one the CSR was made with")));
            }
            certificate::write_set(&output.dir, key.as_ref(), &chain)
                .map_err(|e| Error::File { path: output.dir.display().to_string(), error: e.to_string() })?;
            if let Some(path) = pending {
                match std::fs::remove_file(&path) {
                    Ok(()) => {}
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                    Err(e) => return Err(Error::File { path: path.display().to_string(), error: e.to_string() }),
                }
            }
            Ok(())
        })
        .await
        .map_err(|e| Error::File { path: dir.display().to_string(), error: e.to_string() })??;
        self.record(Entry::Stored).await?;
        self.tell(&Event::Stored { dir });
        Ok(Progress::Made)
    }

    /// Runs the deploy command until it succeeds, a few times; then somebody has to look at it.
    pub(super) async fn deploy(&mut self) -> Result<Progress> {
        let deploy = self.run.request.deploy.clone().expect("the step needs it");
        let command = deploy.command.join(" ");
        self.record(Entry::Deploying).await?;
        let mut reason = String::new();
        for attempt in 1..=DEPLOY_ATTEMPTS {
            let began = Instant::now();
            match self.run_command(&deploy).await {
                Ok(()) => {
                    self.record(Entry::Deployed).await?;
                    self.tell(&Event::Deployed { command, seconds: began.elapsed().as_secs_f64() });
                    return Ok(Progress::Made);
                }
                Err(why) => reason = why,
            }
            if attempt < DEPLOY_ATTEMPTS {
                self.tell(&Event::Trouble { message: format!("deploying by `{command}`: {reason}; trying again") });
                sleep(jittered(Duration::from_secs(1) * 2u32.pow(attempt - 1))).await;
            }
        }
        self.record(Entry::DeployFailed { reason: reason.clone() }).await?;
        let what = format!("`{command}`: {reason}; the certificate itself is stored");
        self.blocked(Waiting { on: Actor::Deployment, what }).await
    }

    /// Runs it once, in a process group of its own, so that nothing of it outlives its time, or us. It is done when it has ended, whatever it
    /// has left running with its output open.
    async fn run_command(&self, deploy: &Deploy) -> Result<(), String> {
        let (program, arguments) = deploy.command.split_first().ok_or("the command is empty")?;
        let mut command = tokio::process::Command::new(program);
        dcv_provider::secret::withhold(&mut command);
        command.args(arguments).env("DCV_RUN", self.run.id.as_str()).env("DCV_NAMES", self.names().join(" "));
        command.env("DCV_NAME", self.names().first().map_or("", String::as_str));
        if let Some(id) = self.run.order_id {
            command.env("DCV_ORDER", id.to_string());
        }
        if let Some(output) = &self.run.request.output {
            command.env("DCV_DIR", &output.dir);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true).process_group(0);
        let mut child = command.spawn().map_err(|e| format!("`{program}` cannot be run: {e}"))?;
        let mut group = Group::of(&child);
        let mut stderr = child.stderr.take().expect("it is piped");
        let mut said = Vec::new();
        let ended = timeout(deploy.timeout, async {
            tokio::select! {
                ended = child.wait() => ended,
                () = keep_the_end(&mut stderr, &mut said) => child.wait().await,
            }
        })
        .await;
        let Ok(ended) = ended else { return Err(format!("not done after {:?}; it was killed", deploy.timeout)) };
        let status = ended.map_err(|e| e.to_string())?;
        if status.success() {
            group.0 = None;
            return Ok(());
        }
        let _ = timeout(LAST_WORDS, keep_the_end(&mut stderr, &mut said)).await;
        let said = String::from_utf8_lossy(&said);
        let last: String = said
            .lines()
            .rev()
            .find(|line| !line.trim().is_empty())
            .unwrap_or("it said nothing")
            .chars()
            .take(200)
            .collect();
        Err(format!("{status}: {last}"))
    }
}

/// Reads to the end and keeps what was said last.
async fn keep_the_end(from: &mut (impl AsyncRead + Unpin), said: &mut Vec<u8>) {
    let mut buffer = [0; 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        said.extend_from_slice(&buffer[..read]);
        said.drain(..said.len().saturating_sub(4096));
    }
}

/// Processes that end with us.
struct Group(Option<rustix::process::Pid>);

impl Group {
    fn of(leader: &tokio::process::Child) -> Self {
        Self(leader.id().and_then(|id| rustix::process::Pid::from_raw(i32::try_from(id).ok()?)))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It may have ended just now.
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
    }
}

fn read_key(path: &Path) -> Result<PrivateKey> {
    let file =
        |error: &dyn std::fmt::Display| Error::File { path: path.display().to_string(), error: error.to_string() };
    let pem = zeroize::Zeroizing::new(std::fs::read_to_string(path).map_err(|e| file(&e))?);
    PrivateKey::from_pem(&pem).map_err(|e| file(&e))
}
