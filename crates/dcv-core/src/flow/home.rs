//! Bringing the certificate home: fetched, found to be ours, and written where it is wanted.

use std::{path::Path, time::Duration};

use certcentral::DownloadFormat;
use tokio::time::{Instant, sleep};

use super::{
    jittered,
    worker::{Progress, Worker},
};
use crate::{
    certificate::{self, Chain},
    error::{Error, Result},
    event::Event,
    key::PrivateKey,
    state::Entry,
};

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
}

fn read_key(path: &Path) -> Result<PrivateKey> {
    let file =
        |error: &dyn std::fmt::Display| Error::File { path: path.display().to_string(), error: error.to_string() };
    let pem = zeroize::Zeroizing::new(std::fs::read_to_string(path).map_err(|e| file(&e))?);
    PrivateKey::from_pem(&pem).map_err(|e| file(&e))
}
