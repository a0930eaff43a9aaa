//! The way to the server: from a URL to connections, and what their failures mean.
//!
//! TLS is verified wherever it is spoken. The password is never part of a message: what could show it is not shown.

use std::{
    fmt::Write as _,
    io::{self, ErrorKind},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use dcv_core::journal::JournalError;
use rustls::{ClientConfig, RootCertStore, pki_types::CertificateDer, pki_types::pem::PemObject};
use rustls_platform_verifier::BuilderVerifierExt;
use secrecy::{ExposeSecret, SecretString};
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep, timeout},
};
use tokio_postgres::{
    Client, Config, NoTls, Row,
    config::{Host, SslMode},
    error::SqlState,
    types::{ToSql, Type},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::schema;

/// How long a connection may take, and then a statement. What takes longer has met a server that does not answer any more.
const DEADLINE: Duration = Duration::from_secs(15);
/// The first pause before something is tried again, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// One statement's parameters, with their types: nothing has to be prepared on the server, so that a pooler may stand between.
pub(crate) type Params<'p> = [(&'p (dyn ToSql + Sync), Type)];

/// Where the journal is, and how to get there.
#[derive(Clone)]
pub(crate) struct Server {
    config: Config,
    tls: Option<MakeRustlsConnect>,
    /// What errors call it: without user and password.
    pub(crate) place: Arc<str>,
}

impl Server {
    pub(crate) fn parse(url: &str) -> Result<Self, JournalError> {
        // The parser's own words may quote any part of the URL, the password too.
        let wrong = |message: &str| store("state.journal", message);
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(wrong("it is no URL of a PostgreSQL database; write postgres://USER@HOST/DATABASE"));
        }
        let (rest, tls) = TlsWanted::split(url).map_err(|message| wrong(&message))?;
        let mut config: Config = rest.parse().map_err(|_| {
            wrong(
                "the URL cannot be read; write postgres://USER@HOST/DATABASE, with signs other than letters and digits in its parts percent-encoded, or the password elsewhere",
            )
        })?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(wrong(
                "the URL names no host; write postgres://USER@HOST/DATABASE, or ?host=/var/run/postgresql",
            ));
        }
        let tls = match tls.mode {
            Some(Mode::Off) => None,
            None if is_local(&config) => None,
            Some(Mode::Verified) | None => Some(tls.connector().map_err(|message| wrong(&message))?),
        };
        config.ssl_mode(if tls.is_some() { SslMode::Require } else { SslMode::Disable });
        config.connect_timeout(DEADLINE).keepalives_idle(DEADLINE).tcp_user_timeout(DEADLINE);
        if config.get_application_name().is_none() {
            config.application_name("dcv");
        }
        let place = place(&config).into();
        Ok(Self { config, tls, place })
    }

    pub(crate) fn has_password(&self) -> bool {
        self.config.get_password().is_some()
    }

    pub(crate) fn set_password(&mut self, password: &SecretString) {
        self.config.password(password.expose_secret());
    }

    /// A connection on which a commit means that the entry is on the disk.
    async fn connect(&self) -> Result<Client, Failure> {
        let connect = async {
            let client = if let Some(tls) = &self.tls {
                let (client, connection) = self.config.connect(tls.clone()).await?;
                tokio::spawn(connection);
                client
            } else {
                let (client, connection) = self.config.connect(NoTls).await?;
                tokio::spawn(connection);
                client
            };
            client.query_typed(schema::DURABLE, &[]).await?;
            Ok(client)
        };
        match timeout(DEADLINE, connect).await {
            Ok(result) => result.map_err(|error: tokio_postgres::Error| Failure::of(&error)),
            Err(_) => Err(Failure::silent()),
        }
    }

    /// Makes the tables, if they are not there, or finds out that they are another program's.
    pub(crate) async fn prepare(&self) -> Result<(), JournalError> {
        let failed = |failure: Failure| store(&self.place, failure.message);
        let mut client = self.connect().await.map_err(failed)?;
        let prepared = timeout(DEADLINE * 4, schema::prepare(&mut client)).await;
        prepared.unwrap_or_else(|_| Err(Failure::silent())).map_err(failed)
    }
}

pub(crate) fn store(place: &str, message: impl Into<String>) -> JournalError {
    JournalError::Store { place: place.to_owned(), message: message.into() }
}

fn place(config: &Config) -> String {
    let mut text = "postgres://".to_owned();
    for (n, host) in config.get_hosts().iter().enumerate() {
        let port = config.get_ports().get(n).or(config.get_ports().first()).copied().unwrap_or(5432);
        let comma = if n == 0 { "" } else { "," };
        let _ = match host {
            Host::Tcp(name) => write!(text, "{comma}{name}:{port}"),
            #[cfg(unix)]
            Host::Unix(path) => write!(text, "{comma}{}:{port}", path.display()),
        };
    }
    if config.get_hosts().is_empty()
        && let Some(address) = config.get_hostaddrs().first()
    {
        text += &address.to_string();
    }
    let _ = write!(text, "/{}", config.get_dbname().or(config.get_user()).unwrap_or_default());
    text
}

/// Whether nothing leaves this machine on the way.
fn is_local(config: &Config) -> bool {
    let addresses = config.get_hostaddrs();
    if !addresses.is_empty() {
        return addresses.iter().all(std::net::IpAddr::is_loopback);
    }
    config.get_hosts().iter().all(|host| match host {
        Host::Tcp(name) => name == "localhost" || name.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback()),
        #[cfg(unix)]
        Host::Unix(_) => true,
    })
}

// ---- TLS

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Off,
    Verified,
}

/// What a URL says of TLS, of which the driver knows less.
#[derive(Debug)]
struct TlsWanted {
    mode: Option<Mode>,
    /// A file with the certificates that are trusted instead of the system's.
    roots: Option<String>,
}

impl TlsWanted {
    /// Takes `sslmode` and `sslrootcert` out of a URL.
    fn split(url: &str) -> Result<(String, Self), String> {
        let mut wanted = Self { mode: None, roots: None };
        let Some((base, query)) = url.split_once('?') else { return Ok((url.to_owned(), wanted)) };
        let mut rest: Vec<&str> = Vec::new();
        for part in query.split('&') {
            // One part at a time, so that the others stay as they were written.
            match url::form_urlencoded::parse(part.as_bytes()).next() {
                Some((key, value)) if key == "sslmode" => wanted.mode = Some(Self::mode(&value)?),
                Some((key, value)) if key == "sslrootcert" => wanted.roots = Some(value.into_owned()),
                _ => rest.push(part),
            }
        }
        let rest = rest.join("&");
        Ok((if rest.is_empty() { base.to_owned() } else { format!("{base}?{rest}") }, wanted))
    }

    fn mode(text: &str) -> Result<Mode, String> {
        match text {
            "disable" => Ok(Mode::Off),
            "require" | "verify-ca" | "verify-full" => Ok(Mode::Verified),
            "allow" | "prefer" => Err(format!(
                "sslmode={text} lets whoever stands between choose; write verify-full, or disable where the way is safe"
            )),
            _ => Err("sslmode is one of disable, require, verify-ca and verify-full".to_owned()),
        }
    }

    fn connector(&self) -> Result<MakeRustlsConnect, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?;
        let config = match &self.roots {
            Some(path) => builder.with_root_certificates(read_roots(path)?).with_no_client_auth(),
            None => builder.with_platform_verifier().map_err(|e| e.to_string())?.with_no_client_auth(),
        };
        Ok(MakeRustlsConnect::new(config))
    }
}

fn read_roots(path: &str) -> Result<RootCertStore, String> {
    let cannot = |error: &dyn std::fmt::Display| format!("sslrootcert `{path}` cannot be used: {error}");
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|e| cannot(&e))? {
        roots.add(certificate.map_err(|e| cannot(&e))?).map_err(|e| cannot(&e))?;
    }
    if roots.is_empty() {
        return Err(cannot(&"there is no certificate in it"));
    }
    Ok(roots)
}

// ---- failures

/// Why a statement was not carried out, or may not have been.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: Kind,
    pub(crate) message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The server has gone, or is just starting or stopping. It is not known whether the statement was carried out.
    Lost,
    /// There is one already.
    Duplicate,
    /// Trying again does not help.
    Final,
}

impl Failure {
    pub(crate) fn of(error: &tokio_postgres::Error) -> Self {
        if let Some(said) = error.as_db_error() {
            let kind = match said.code() {
                &SqlState::UNIQUE_VIOLATION => Kind::Duplicate,
                code if passes(code) => Kind::Lost,
                _ => Kind::Final,
            };
            return Self { kind, message: said.message().to_owned() };
        }
        let mut message = error.to_string();
        let mut cause = std::error::Error::source(error);
        let mut lost = error.is_closed();
        while let Some(inner) = cause {
            let _ = write!(message, ": {inner}");
            // A certificate that is not trusted is an I/O error, too.
            lost |= inner
                .downcast_ref::<io::Error>()
                .is_some_and(|io| !matches!(io.kind(), ErrorKind::InvalidData | ErrorKind::InvalidInput));
            cause = inner.source();
        }
        Self { kind: if lost { Kind::Lost } else { Kind::Final }, message }
    }

    pub(crate) fn passing(message: impl Into<String>) -> Self {
        Self { kind: Kind::Lost, message: message.into() }
    }

    pub(crate) fn silent() -> Self {
        Self::passing(format!("no answer in {} s", DEADLINE.as_secs()))
    }

    pub(crate) fn last(message: impl Into<String>) -> Self {
        Self { kind: Kind::Final, message: message.into() }
    }
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::of(&error)
    }
}

/// Whether it passes by itself: the server stops, starts, has become a standby, is full of connections, or has chosen this
/// statement to be the one that gives way.
fn passes(code: &SqlState) -> bool {
    [
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::CANNOT_CONNECT_NOW,
        SqlState::TOO_MANY_CONNECTIONS,
        SqlState::READ_ONLY_SQL_TRANSACTION,
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
    ]
    .contains(code)
        || code.code().starts_with("08")
}

/// How long something is tried again that passes by itself.
pub(crate) struct Patience<'p> {
    place: &'p str,
    ends: Instant,
    pause: Duration,
}

impl<'p> Patience<'p> {
    pub(crate) fn new(place: &'p str, lasts: Duration) -> Self {
        Self { place, ends: Instant::now() + lasts, pause: PAUSES.0 }
    }

    /// Waits for the next attempt, or says that there is none.
    pub(crate) async fn after(&mut self, failure: Failure) -> Result<(), JournalError> {
        if failure.kind != Kind::Lost || Instant::now() + self.pause > self.ends {
            return Err(store(self.place, failure.message));
        }
        tracing::debug!(place = self.place, error = failure.message, "trying again");
        sleep(self.pause.mul_f64(rand::random_range(0.5..1.5))).await;
        self.pause = (self.pause * 2).min(PAUSES.1);
        Ok(())
    }
}

// ---- connections

/// A few connections, made when they are needed and made again when they are lost.
pub(crate) struct Pool {
    pub(crate) server: Server,
    idle: Mutex<Vec<Client>>,
    permits: Semaphore,
}

impl Pool {
    pub(crate) fn new(server: Server, connections: usize) -> Self {
        Self { server, idle: Mutex::default(), permits: Semaphore::new(connections) }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Client>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries one statement out, which is a transaction of its own. What was begun by a caller that is no more may still be
    /// carried out.
    pub(crate) async fn query(&self, sql: &str, params: &Params<'_>) -> Result<Vec<Row>, Failure> {
        let _permit = self.permits.acquire().await.map_err(|e| Failure::last(e.to_string()))?;
        let idle = self.idle().pop().filter(|client| !client.is_closed());
        let client = match idle {
            Some(client) => client,
            None => self.server.connect().await?,
        };
        // A connection goes back only after its answer has come: one that was given up is closed by being dropped.
        let failure = match timeout(DEADLINE, client.query_typed(sql, params)).await {
            Ok(Ok(rows)) => {
                self.idle().push(client);
                return Ok(rows);
            }
            Ok(Err(error)) => Failure::of(&error),
            Err(_) => Failure::silent(),
        };
        match failure.kind {
            // The others were made to the same server.
            Kind::Lost => self.idle().clear(),
            Kind::Duplicate | Kind::Final => self.idle().push(client),
        }
        Err(failure)
    }

    /// The same, again and again as long as the failure passes by itself: for what may be done twice.
    pub(crate) async fn ask(&self, sql: &str, params: &Params<'_>, lasts: Duration) -> Result<Vec<Row>, JournalError> {
        let mut patience = Patience::new(&self.server.place, lasts);
        loop {
            match self.query(sql, params).await {
                Ok(rows) => return Ok(rows),
                Err(failure) => patience.after(failure).await?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(url: &str) -> Result<(String, bool), String> {
        Server::parse(url).map(|server| (server.place.to_string(), server.tls.is_some())).map_err(|e| e.to_string())
    }

    #[test]
    fn tls_is_spoken_wherever_the_way_leaves_the_machine() {
        for (url, place, tls) in [
            ("postgres://dcv@localhost/dcv", "postgres://localhost:5432/dcv", false),
            ("postgres://dcv:planted@[::1]:6000/dcv", "postgres://::1:6000/dcv", false),
            ("postgresql:///dcv?host=/run/postgresql&user=u", "postgres:///run/postgresql:5432/dcv", false),
            ("postgres://dcv:planted@127.0.0.1/dcv?sslmode=verify-full", "postgres://127.0.0.1:5432/dcv", true),
            ("postgres://dcv:planted@db.example.com", "postgres://db.example.com:5432/dcv", true),
            ("postgres://dcv@a:1,b:2/x?sslmode=require", "postgres://a:1,b:2/x", true),
            ("postgres://dcv@db.example.com/dcv?sslmode=disable", "postgres://db.example.com:5432/dcv", false),
            ("postgres://dcv@localhost,db.example.com/dcv", "postgres://localhost:5432,db.example.com:5432/dcv", true),
        ] {
            assert_eq!(parsed(url), Ok((place.to_owned(), tls)), "{url}");
        }
    }

    #[test]
    fn a_wrong_url_is_told_without_showing_what_may_be_secret() {
        for (url, part) in [
            ("mysql://u:planted@h/d", "postgres://USER@HOST/DATABASE"),
            ("postgres://u:planted@h:planted/d", "percent-encoded"),
            ("postgres://u@h/d?planted=planted", "percent-encoded"),
            ("postgres:///d", "no host"),
            ("postgres://u:planted@h/d?sslmode=prefer", "verify-full"),
            ("postgres://u:planted@h/d?sslmode=planted", "sslmode is one of"),
            ("postgres://u:planted@h/d?sslrootcert=/no/such/file", "/no/such/file"),
        ] {
            let error = parsed(url).expect_err(url);
            assert!(error.contains(part) && !error.contains("planted"), "{url}: {error}");
        }
    }

    #[test]
    fn other_parameters_stay_as_they_were_written() {
        let (rest, wanted) = TlsWanted::split(
            "postgres://h/d?options=-c%20search_path%3Ddcv&sslmode=verify-ca&sslrootcert=%2Fa%20b&application_name=x",
        )
        .expect("a URL");
        assert_eq!(rest, "postgres://h/d?options=-c%20search_path%3Ddcv&application_name=x");
        assert_eq!((wanted.mode, wanted.roots.as_deref()), (Some(Mode::Verified), Some("/a b")));
    }
}
