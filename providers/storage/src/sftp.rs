//! SFTP over an SSH of our own, so that no `ssh` program is needed and passwords work.
//!
//! One connection serves all files and is made anew when it has died. The server's key must be known: there is no trust on first
//! use. A new file is put in place by a rename that fails when another writer was faster (SFTP version 3); a file that is there is
//! replaced at once by OpenSSH's `posix-rename`, or, on servers without it, by removing it just before the rename.

use std::{path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use dcv_provider::{ErrorKind, ProviderError, Result};
use russh::{
    client,
    keys::{self, Algorithm, PrivateKeyWithHashAlg, PublicKeyOrCertificate, known_hosts},
};
use russh_sftp::{
    client::{RawSftpSession, error::Error as SftpError},
    protocol::{FileAttributes, OpenFlags, Packet, StatusCode},
};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Mutex;

use crate::{
    Found, LARGEST, Storage, Store,
    config::{read, wrong},
    too_large, words,
};

const POSIX_RENAME: &str = "posix-rename@openssh.com";
/// For the connection with all its handshakes.
const CONNECT_DEADLINE: Duration = Duration::from_secs(20);
/// For one answer, in seconds.
const ANSWER_DEADLINE: u64 = 20;
/// Permissions of new files, so that the web server can read them, and folders.
const FILE_MODE: u32 = 0o644;
const FOLDER_MODE: u32 = 0o755;
/// Octets of one read.
const PIECE: u32 = 32 * 1024;

pub(crate) async fn open(config: crate::Sftp) -> Result<Storage> {
    let (host, port) = host_and_port(&config.endpoint)?;
    let password = read(config.password.as_ref(), "password").await?;
    let key = read(config.private_key.as_ref(), "private_key").await?;
    let passphrase = read(config.passphrase.as_ref(), "passphrase").await?;
    let identity = match (&key, &password) {
        (Some(key), None) => {
            let passphrase = passphrase.as_ref().map(ExposeSecret::expose_secret);
            let key = keys::decode_secret_key(key.expose_secret(), passphrase).map_err(|error| {
                wrong(format!(
                    "private_key: {error}; give a private key as ssh-keygen makes it, and its passphrase if it has one"
                ))
            })?;
            Identity::Key(Arc::new(key))
        }
        (None, Some(password)) => Identity::Password(password.clone()),
        _ => return Err(wrong("private_key: give `private_key` or `password`, and not both")),
    };
    let known_hosts = match config.known_hosts {
        Some(path) => path,
        None => std::env::home_dir()
            .map(|home| home.join(".ssh/known_hosts"))
            .ok_or_else(|| wrong("known_hosts: this user has no home folder; name a file with the server's key"))?,
    };
    let place = format!("{}@{} (sftp)", config.user, config.endpoint);
    let server = Server {
        host,
        port,
        user: config.user,
        identity,
        known_hosts,
        place: place.clone(),
        secrets: [password, passphrase].into_iter().flatten().collect(),
        session: Mutex::new(None),
    };
    Storage::new(server, &config.root, place)
}

/// `HOST`, `HOST:PORT`, `[V6]:PORT`, with or without `sftp://`.
fn host_and_port(text: &str) -> Result<(String, u16)> {
    let rest = text.strip_prefix("sftp://").unwrap_or(text).trim_end_matches('/');
    let bad = || wrong(format!("endpoint: `{text}` is no `host` or `host:port`; the user goes into `user`"));
    let (host, port) = match rest.strip_prefix('[') {
        Some(v6) => match v6.split_once(']').ok_or_else(bad)? {
            (host, "") => (host, "22"),
            (host, port) => (host, port.strip_prefix(':').ok_or_else(bad)?),
        },
        // More than one colon: an IPv6 address alone.
        None if rest.matches(':').count() > 1 => (rest, "22"),
        None => rest.split_once(':').unwrap_or((rest, "22")),
    };
    if host.is_empty() || host.contains(['/', '@', ' ']) {
        return Err(bad());
    }
    Ok((host.to_owned(), port.parse().map_err(|_| bad())?))
}

enum Identity {
    Key(Arc<keys::PrivateKey>),
    Password(SecretString),
}

struct Server {
    host: String,
    port: u16,
    user: String,
    identity: Identity,
    known_hosts: PathBuf,
    place: String,
    /// Not to be repeated in errors.
    secrets: Vec<SecretString>,
    session: Mutex<Option<Arc<Session>>>,
}

struct Session {
    ssh: client::Handle<Trust>,
    sftp: RawSftpSession,
    posix_rename: bool,
}

/// Compares the server's key with those known.
struct Trust {
    host: String,
    port: u16,
    known_hosts: PathBuf,
}

#[derive(Debug, thiserror::Error)]
enum SshError {
    #[error(transparent)]
    Ssh(#[from] russh::Error),
    #[error(transparent)]
    Key(#[from] keys::Error),
    #[error("{0}")]
    Untrusted(String),
}

impl client::Handler for Trust {
    type Error = SshError;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, SshError> {
        let file = self.known_hosts.display();
        let entry = if self.port == 22 { self.host.clone() } else { format!("[{}]:{}", self.host, self.port) };
        let PublicKeyOrCertificate::PublicKey { key, .. } = shown else {
            return Err(SshError::Untrusted("the server shows a certificate instead of a key".to_owned()));
        };
        let print = key.fingerprint(keys::HashAlg::Sha256);
        match known_hosts::check_known_hosts_path(&self.host, self.port, key, &self.known_hosts) {
            Ok(true) => Ok(true),
            Ok(false) => Err(SshError::Untrusted(format!(
                "known_hosts: {file} has no key of {entry}; the server shows {print}: compare it with its administrator's and add it (ssh-keyscan)"
            ))),
            Err(keys::Error::KeyChanged { line }) => Err(SshError::Untrusted(format!(
                "known_hosts: {file}, line {line}, has another key of {entry} than the one shown, {print}; this may be another server: ask its administrator"
            ))),
            Err(error) => Err(SshError::Untrusted(format!("known_hosts: {file} cannot be read: {error}"))),
        }
    }
}

impl Server {
    async fn session(&self) -> Result<Arc<Session>> {
        let mut held = self.session.lock().await;
        if let Some(session) = held.as_ref().filter(|session| !session.ssh.is_closed()) {
            return Ok(Arc::clone(session));
        }
        let connected = tokio::time::timeout(CONNECT_DEADLINE, self.connect()).await.map_err(|_| {
            let message = format!("{} does not answer within {} s", self.place, CONNECT_DEADLINE.as_secs());
            ProviderError::new(ErrorKind::Unavailable, message)
        })??;
        let session = Arc::new(connected);
        *held = Some(Arc::clone(&session));
        Ok(session)
    }

    async fn connect(&self) -> Result<Session> {
        let failed = |error: SshError| {
            let kind = match &error {
                SshError::Untrusted(_) | SshError::Key(_) => ErrorKind::Config,
                SshError::Ssh(_) => ErrorKind::Unavailable,
            };
            let said = words(&error.to_string(), &self.secrets);
            ProviderError::new(kind, format!("{} cannot be reached: {said}", self.place))
        };
        let mut config = client::Config {
            keepalive_interval: Some(Duration::from_secs(15)),
            inactivity_timeout: Some(Duration::from_secs(300)),
            nodelay: true,
            ..client::Config::default()
        };
        // Ask for a kind of key that is known, as servers have several.
        let known = known_hosts::known_host_keys_path(&self.host, self.port, &self.known_hosts).unwrap_or_default();
        let alike = |offered: &Algorithm, known: &Algorithm| {
            offered == known || matches!((offered, known), (Algorithm::Rsa { .. }, Algorithm::Rsa { .. }))
        };
        let is_known = |offered: &Algorithm| known.iter().any(|(_, key)| alike(offered, &key.algorithm()));
        config.preferred.key.to_mut().sort_by_key(|offered| !is_known(offered));
        config.preferred.host_key_certificates = (&[]).into();

        let trust = Trust { host: self.host.clone(), port: self.port, known_hosts: self.known_hosts.clone() };
        let mut ssh =
            client::connect(Arc::new(config), (self.host.as_str(), self.port), trust).await.map_err(failed)?;
        let authenticated = match &self.identity {
            Identity::Key(key) => {
                let hash = ssh.best_supported_rsa_hash().await.map_err(|e| failed(e.into()))?.flatten();
                ssh.authenticate_publickey(&self.user, PrivateKeyWithHashAlg::new(Arc::clone(key), hash)).await
            }
            Identity::Password(password) => ssh.authenticate_password(&self.user, password.expose_secret()).await,
        };
        match authenticated.map_err(|e| failed(e.into()))? {
            client::AuthResult::Success => {}
            client::AuthResult::Failure { remaining_methods, .. } => {
                let means = remaining_methods.iter().map(<&str>::from).collect::<Vec<_>>().join(", ");
                let what = match self.identity {
                    Identity::Key(_) => "private_key",
                    Identity::Password(_) => "password",
                };
                let message = format!("{what}: {} refuses it; the server accepts: {means}", self.place);
                return Err(ProviderError::new(ErrorKind::Credentials, message));
            }
        }
        let channel = ssh.channel_open_session().await.map_err(|e| failed(e.into()))?;
        channel.request_subsystem(true, "sftp").await.map_err(|e| failed(e.into()))?;
        let sftp = RawSftpSession::new(channel.into_stream());
        sftp.set_timeout(ANSWER_DEADLINE);
        let version = sftp.init().await.map_err(|error| {
            let message = format!("{}: the server offers no SFTP to this user: {error}", self.place);
            ProviderError::new(ErrorKind::Credentials, message)
        })?;
        let posix_rename = version.extensions.contains_key(POSIX_RENAME);
        Ok(Session { ssh, sftp, posix_rename })
    }

    /// What is at the name, unless there is nothing. A symbolic link is refused, as is anything else that a rename would replace by
    /// a file.
    async fn plain_file(&self, session: &Session, file: &str) -> Result<Option<FileAttributes>> {
        match session.sftp.lstat(file).await {
            Ok(found) if found.attrs.file_type().is_file() => Ok(Some(found.attrs)),
            Ok(_) => {
                let message = format!("{file} at {} is no plain file; move it away", self.place);
                Err(ProviderError::new(ErrorKind::Rejected, message))
            }
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(self.failed(file, "looked at", &error)),
        }
    }

    fn failed(&self, file: &str, verb: &str, error: &SftpError) -> ProviderError {
        let (kind, way_out) = match code(error) {
            Some(StatusCode::PermissionDenied) => {
                (ErrorKind::Credentials, "; give this user the right to read and write there")
            }
            Some(StatusCode::NoSuchFile) => (ErrorKind::NotServed, "; the root must exist"),
            Some(StatusCode::NoConnection | StatusCode::ConnectionLost) | None => (ErrorKind::Unavailable, ""),
            Some(_) => (ErrorKind::Rejected, ""),
        };
        let said = words(&error.to_string(), &self.secrets);
        ProviderError::new(kind, format!("{file} at {} could not be {verb}: {said}{way_out}", self.place))
    }
}

fn code(error: &SftpError) -> Option<StatusCode> {
    match error {
        SftpError::Status(status) => Some(status.status_code),
        _ => None,
    }
}

fn is_missing(error: &SftpError) -> bool {
    code(error) == Some(StatusCode::NoSuchFile)
}

fn mode(bits: u32) -> FileAttributes {
    FileAttributes { permissions: Some(bits), ..FileAttributes::empty() }
}

/// A relative name that begins at the folder after login.
fn named(path: &str) -> &str {
    if path.is_empty() { "." } else { path }
}

#[async_trait]
impl Store for Server {
    fn refuses_lost_races(&self) -> bool {
        false
    }

    fn width(&self) -> usize {
        16
    }

    async fn check(&self, root: &str) -> Result<()> {
        let session = self.session().await?;
        let why = match session.sftp.stat(named(root)).await {
            Ok(found) if found.attrs.file_type().is_dir() => return Ok(()),
            Ok(_) => "it is not a folder",
            Err(error) if is_missing(&error) => "there is no such folder",
            Err(error) => return Err(self.failed(root, "looked at", &error)),
        };
        let message =
            format!("root: `{root}` at {} cannot be used: {why}; name the web server's document root", self.place);
        Err(ProviderError::new(ErrorKind::NotServed, message))
    }

    async fn read(&self, file: &str) -> Result<Option<Found>> {
        let session = self.session().await?;
        if self.plain_file(&session, file).await?.is_none() {
            return Ok(None);
        }
        match session.read(file).await {
            Ok(content) if content.len() as u64 > LARGEST => Err(too_large(file)),
            Ok(content) => Ok(Some(Found { content, seen: None })),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(self.failed(file, "read", &error)),
        }
    }

    async fn write(&self, root: &str, file: &str, before: Option<&Found>, content: Vec<u8>) -> Result<()> {
        let session = self.session().await?;
        let failed = |error: &SftpError| self.failed(file, "written", error);
        let there = self.plain_file(&session, file).await?;
        let attributes = mode(there.and_then(|found| found.permissions).map_or(FILE_MODE, |bits| bits & 0o777));
        if before.is_none() {
            self.check(root).await?;
            session.make_folders(root, file).await.map_err(|error| failed(&error))?;
        }
        let (folder, name) = file.rsplit_once('/').unwrap_or((".", file));
        let unfinished = format!("{folder}/.{name}.dcv-{:016x}", rand::random::<u64>());
        let written = session.write(&unfinished, content, attributes).await;
        let renamed = match written {
            Ok(()) => session.put_in_place(&unfinished, file, before.is_some()).await,
            Err(error) => Err(error),
        };
        let Err(error) = renamed else { return Ok(()) };
        let _ = session.sftp.remove(&unfinished).await;
        // The only thing a rename without replacement fails of, once the file beside could be written.
        if before.is_none() && code(&error) == Some(StatusCode::Failure) {
            let message = format!("{file} at {}: another writer was faster", self.place);
            return Err(ProviderError::new(ErrorKind::Conflict, message).because(error));
        }
        Err(failed(&error))
    }

    async fn remove(&self, file: &str, _: &Found) -> Result<()> {
        match self.session().await?.sftp.remove(file).await {
            Err(error) if !is_missing(&error) => Err(self.failed(file, "removed", &error)),
            _ => Ok(()),
        }
    }
}

impl Session {
    async fn read(&self, file: &str) -> Result<Vec<u8>, SftpError> {
        let handle = self.sftp.open(file, OpenFlags::READ, FileAttributes::empty()).await?.handle;
        let mut content = Vec::new();
        let read = loop {
            match self.sftp.read(handle.as_str(), content.len() as u64, PIECE).await {
                Ok(piece) if piece.data.is_empty() => break Ok(()),
                Ok(piece) => content.extend(piece.data),
                Err(error) if code(&error) == Some(StatusCode::Eof) => break Ok(()),
                Err(error) => break Err(error),
            }
            if content.len() as u64 > LARGEST {
                break Ok(());
            }
        };
        self.sftp.close(handle).await?;
        read.map(|()| content)
    }

    async fn write(&self, file: &str, content: Vec<u8>, attributes: FileAttributes) -> Result<(), SftpError> {
        let flags = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::EXCLUDE;
        let handle = self.sftp.open(file, flags, attributes.clone()).await?.handle;
        let mut written = Ok(());
        for (number, piece) in content.chunks(PIECE as usize).enumerate() {
            let offset = number as u64 * u64::from(PIECE);
            written = self.sftp.write(handle.as_str(), offset, piece.to_vec()).await.map(drop);
            if written.is_err() {
                break;
            }
        }
        self.sftp.close(handle).await?;
        written?;
        // Explicitly: the umask of the server may keep the web server out. A server that cannot has its own rules.
        let _ = self.sftp.setstat(file, attributes).await;
        Ok(())
    }

    async fn put_in_place(&self, unfinished: &str, file: &str, replace: bool) -> Result<(), SftpError> {
        if !replace {
            return self.sftp.rename(unfinished, file).await.map(drop);
        }
        if self.posix_rename {
            let mut names = Vec::new();
            for name in [unfinished, file] {
                names.extend(u32::try_from(name.len()).unwrap_or(u32::MAX).to_be_bytes());
                names.extend(name.as_bytes());
            }
            return match self.sftp.extended(POSIX_RENAME, names).await? {
                Packet::Status(status) if status.status_code == StatusCode::Ok => Ok(()),
                Packet::Status(status) => Err(SftpError::Status(status)),
                _ => Err(SftpError::UnexpectedPacket),
            };
        }
        self.sftp.remove(file).await?;
        self.sftp.rename(unfinished, file).await.map(drop)
    }

    async fn make_folders(&self, root: &str, file: &str) -> Result<(), SftpError> {
        let below = file.strip_prefix(root).unwrap_or(file).trim_start_matches('/');
        let start = file.len() - below.len();
        let ends = below.match_indices('/').map(|(at, _)| start + at);
        for folder in ends.map(|end| &file[..end]) {
            let made = self.sftp.mkdir(folder, mode(FOLDER_MODE)).await;
            // Most servers say no more than "failure" of a folder that is there.
            if let Err(error) = made
                && !self.sftp.stat(folder).await.is_ok_and(|found| found.attrs.file_type().is_dir())
            {
                return Err(error);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_as_people_write_them() {
        for (text, expected) in [
            ("web1.example.com", Some(("web1.example.com", 22))),
            ("web1.example.com:2222", Some(("web1.example.com", 2222))),
            ("sftp://web1.example.com/", Some(("web1.example.com", 22))),
            ("[2001:db8::1]:2222", Some(("2001:db8::1", 2222))),
            ("[2001:db8::1]", Some(("2001:db8::1", 22))),
            ("2001:db8::1", Some(("2001:db8::1", 22))),
            ("", None),
            ("me@web1.example.com", None),
            ("web1.example.com:ssh", None),
            ("web1.example.com/srv", None),
        ] {
            let read = host_and_port(text).ok();
            assert_eq!(read.as_ref().map(|(host, port)| (host.as_str(), *port)), expected, "{text}");
        }
    }
}
