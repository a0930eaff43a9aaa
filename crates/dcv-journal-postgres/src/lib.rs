//! The journal on PostgreSQL: many workers, on many machines, share one inventory.
//!
//! A run's row carries its lease: who works on it, the fencing epoch, and until when, by the server's clock, so that no worker's
//! clock matters. A worker renews all its leases at a third of their life; one that stops, is stopped or is cut off loses them
//! when they run out, and another worker goes on. Every append looks at epoch and end of the lease in the very statement that
//! writes: whoever wakes up too late is [`Fenced`](JournalError::Fenced) and writes nothing.
//!
//! A lost connection is made again. An entry whose writing was not answered is looked for, by an id of its own, before it is
//! written again.
//!
//! ```no_run
//! # async fn demo() -> Result<(), dcv_core::journal::JournalError> {
//! let journal = dcv_journal_postgres::PostgresJournal::connect("postgres://dcv@db.example.com/dcv").await?;
//! # Ok(()) }
//! ```
//!
//! What it needs of the server: PostgreSQL 12 or newer, a database, and a user who may create tables there when the first worker
//! comes; later ones need no more than to read and write them. Which schema they are in is the `search_path`'s to say. Where a
//! replica may take the server's place, only a synchronous one has all that was acknowledged.

mod leases;
mod schema;
mod server;

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use dcv_core::{
    RunId,
    journal::{Journal, JournalError, Label, Lease, Stamped, Which},
    state::Entry,
};
use jiff::Timestamp;
use secrecy::SecretString;
use tokio_postgres::{
    Row,
    types::{FromSqlOwned, Type},
};

use leases::Leases;
use server::{Failure, Kind, Params, Patience, Pool, Server, store};

/// How many entries one worker writes at the same time.
const CONNECTIONS: usize = 4;

/// A journal in a PostgreSQL database. Cheap to clone.
#[derive(Clone)]
pub struct PostgresJournal {
    inner: Arc<Inner>,
}

struct Inner {
    pool: Pool,
    leases: Leases,
    /// What others see of who holds a run.
    worker: String,
    life: Duration,
    patience: Duration,
}

/// How a journal is reached; see [`PostgresJournal::at`].
#[derive(Clone)]
pub struct Options {
    server: Server,
    life: Duration,
    patience: Duration,
}

impl Options {
    /// Uses this password instead of the URL's.
    #[must_use]
    pub fn password(mut self, password: &SecretString) -> Self {
        self.server.set_password(password);
        self
    }

    /// Whether there is a password yet.
    #[must_use]
    pub fn has_password(&self) -> bool {
        self.server.has_password()
    }

    /// How long a lease lasts when it is not renewed. Default 30 seconds. Longer, and others wait longer for a worker that has
    /// died; shorter, and a worker loses its runs to a shorter pause.
    #[must_use]
    pub fn lease(mut self, life: Duration) -> Self {
        self.life = life.max(Duration::from_millis(3));
        self
    }

    /// How long is tried to reach a server that has gone, before that is an error. Default a minute.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Connects, and makes the tables where there are none.
    ///
    /// # Errors
    /// [`JournalError::Store`] when the server cannot be reached or refuses, or the tables are of a newer version.
    pub async fn connect(self) -> Result<PostgresJournal, JournalError> {
        let Self { server, life, patience } = self;
        server.prepare().await?;
        let host = rustix::system::uname();
        let host = host.nodename().to_string_lossy();
        let worker = format!("{host}:{}:{:08x}", std::process::id(), rand::random::<u32>());
        let leases = Leases::keep(server.clone(), life);
        let inner = Inner { pool: Pool::new(server, CONNECTIONS), leases, worker, life, patience };
        Ok(PostgresJournal { inner: Arc::new(inner) })
    }
}

impl PostgresJournal {
    /// Connects to the journal at a URL, with all defaults.
    ///
    /// # Errors
    /// As [`PostgresJournal::at`] and [`Options::connect`].
    pub async fn connect(url: &str) -> Result<Self, JournalError> {
        Self::at(url)?.connect().await
    }

    /// The journal at a URL, `postgres://USER:PASSWORD@HOST:PORT/DATABASE?…`, as PostgreSQL's own programs take it. TLS is
    /// spoken, and the server's certificate verified, unless the server is on this machine or `sslmode=disable` says otherwise;
    /// `sslmode=verify-full` wants it always, `sslrootcert=FILE` trusts the certificates of a file instead of the system's.
    ///
    /// # Errors
    /// [`JournalError::Store`] when the URL cannot be read; it is not shown, since it may hold the password.
    pub fn at(url: &str) -> Result<Options, JournalError> {
        let server = Server::parse(url)?;
        Ok(Options { server, life: Duration::from_secs(30), patience: Duration::from_secs(60) })
    }
}

impl std::fmt::Debug for PostgresJournal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresJournal")
            .field("place", &self.inner.pool.server.place)
            .field("worker", &self.inner.worker)
            .finish_non_exhaustive()
    }
}

impl Inner {
    fn store(&self, message: impl ToString) -> JournalError {
        store(&self.pool.server.place, message.to_string())
    }

    fn patience(&self) -> Patience<'_> {
        Patience::new(&self.pool.server.place, self.patience)
    }

    async fn ask(&self, sql: &str, params: &Params<'_>) -> Result<Vec<Row>, JournalError> {
        self.pool.ask(sql, params, self.patience).await
    }

    fn column<T: FromSqlOwned>(&self, row: &Row, n: usize) -> Result<T, JournalError> {
        row.try_get(n).map_err(|e| self.store(e))
    }

    fn run_id(&self, row: &Row) -> Result<RunId, JournalError> {
        self.column::<String>(row, 0)?.parse().map_err(|e: String| self.store(e))
    }

    /// A lease that is renewed from now on.
    fn lease(&self, run: &RunId, epoch: u64) -> Lease {
        Lease::new(run.clone(), epoch, Some(Box::new(self.leases.guard(run, epoch))))
    }

    /// Whether the last claim of a run is this one: `None` when there is no such run.
    async fn is_ours(&self, run: &RunId, claim: &str) -> Result<Option<bool>, JournalError> {
        let rows = self.ask(schema::IS_OURS, &[(&run.as_str(), Type::TEXT), (&claim, Type::TEXT)]).await?;
        rows.first().map(|row| self.column(row, 0)).transpose()
    }

    /// Which run of its label makes it impossible to begin this one. `None` when it is gone by now.
    async fn in_the_way(&self, label: &Label) -> Result<Option<RunId>, JournalError> {
        let rows = self.ask(schema::OF_LABEL, &[(&label.text, Type::TEXT)]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let (open, runs): (bool, i64) = (self.column(row, 1)?, self.column(row, 2)?);
        Ok(if open || !label.is_current(runs.unsigned_abs()) { Some(self.run_id(row)?) } else { None })
    }

    /// Writes an entry once: whether it is there. What was tried before may still arrive, so it is looked for before and after.
    async fn write(&self, lease: &Lease, id: &str, body: &str, closes: bool, again: bool) -> Result<bool, Failure> {
        let there = async || Ok(!self.pool.query(schema::HAS_ENTRY, &[(&id, Type::TEXT)]).await?.is_empty());
        if again && there().await? {
            return Ok(true);
        }
        let (run, epoch) = (lease.run.as_str(), lease.epoch.cast_signed());
        let params: &Params<'_> =
            &[(&run, Type::TEXT), (&epoch, Type::INT8), (&id, Type::TEXT), (&body, Type::TEXT), (&closes, Type::BOOL)];
        match self.pool.query(schema::APPEND, params).await {
            Ok(rows) if !rows.is_empty() => Ok(true),
            Ok(_) if again => there().await,
            Ok(_) => Ok(false),
            Err(failure) if failure.kind == Kind::Duplicate => Ok(true),
            Err(failure) => Err(failure),
        }
    }
}

/// An id that no other has: a random UUID.
fn new_id() -> String {
    let mut bytes: [u8; 16] = rand::random();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    format!("{:032x}", u128::from_be_bytes(bytes))
}

#[async_trait]
impl Journal for PostgresJournal {
    async fn begin(&self, run: &RunId, first: &Entry) -> Result<Lease, JournalError> {
        let inner = &*self.inner;
        let body = serde_json::to_string(first).map_err(|e| inner.store(e))?;
        let label = Label::of(first);
        let text = label.as_ref().map(|label| label.text.as_str());
        let earlier = label.as_ref().and_then(|label| label.earlier).map(u64::cast_signed);
        let (claim, entry, seconds) = (new_id(), new_id(), inner.life.as_secs_f64());
        let params: &Params<'_> = &[
            (&run.as_str(), Type::TEXT),
            (&text, Type::TEXT),
            (&earlier, Type::INT8),
            (&claim, Type::TEXT),
            (&inner.worker, Type::TEXT),
            (&seconds, Type::FLOAT8),
            (&entry, Type::TEXT),
            (&body, Type::TEXT),
        ];
        let mut patience = inner.patience();
        loop {
            match inner.pool.query(schema::BEGIN, params).await {
                Ok(rows) if !rows.is_empty() => return Ok(inner.lease(run, 1)),
                Ok(_) => {}
                Err(failure) => {
                    patience.after(failure).await?;
                    continue;
                }
            }
            match inner.is_ours(run, &claim).await? {
                // An earlier attempt has got through, and only its answer was lost.
                Some(true) => return Ok(inner.lease(run, 1)),
                Some(false) => return Err(JournalError::Exists(run.clone())),
                None => {}
            }
            if let Some(label) = &label
                && let Some(other) = inner.in_the_way(label).await?
            {
                return Err(JournalError::Begun { label: label.text.clone(), run: other });
            }
            patience.after(Failure::passing("what was in the way is gone")).await?;
        }
    }

    async fn claim(&self, run: &RunId) -> Result<Lease, JournalError> {
        let inner = &*self.inner;
        // What this worker has just dropped it can have again.
        inner.leases.settle().await;
        let (claim, seconds) = (new_id(), inner.life.as_secs_f64());
        let params: &Params<'_> =
            &[(&run.as_str(), Type::TEXT), (&claim, Type::TEXT), (&inner.worker, Type::TEXT), (&seconds, Type::FLOAT8)];
        let mut patience = inner.patience();
        loop {
            let rows = inner.ask(schema::CLAIM, params).await?;
            if let Some(row) = rows.first() {
                let epoch: i64 = inner.column(row, 0)?;
                return Ok(inner.lease(run, epoch.unsigned_abs()));
            }
            match inner.is_ours(run, &claim).await? {
                None => return Err(JournalError::Unknown(run.clone())),
                Some(false) => return Err(JournalError::Held(run.clone())),
                // An attempt whose answer was lost was just being carried out.
                Some(true) => patience.after(Failure::passing("a claim is still being carried out")).await?,
            }
        }
    }

    async fn append(&self, lease: &Lease, entry: &Entry) -> Result<(), JournalError> {
        let inner = &*self.inner;
        let body = serde_json::to_string(entry).map_err(|e| inner.store(e))?;
        let (id, closes) = (new_id(), matches!(entry, Entry::Closed));
        let mut patience = inner.patience();
        let mut again = false;
        loop {
            match inner.write(lease, &id, &body, closes, again).await {
                Ok(true) => return Ok(()),
                Ok(false) => break,
                Err(failure) => patience.after(failure).await?,
            }
            again = true;
        }
        let is_known = !inner.ask(schema::HAS_RUN, &[(&lease.run.as_str(), Type::TEXT)]).await?.is_empty();
        let error = if is_known { JournalError::Fenced } else { JournalError::Unknown };
        Err(error(lease.run.clone()))
    }

    async fn read(&self, run: &RunId) -> Result<Vec<Stamped>, JournalError> {
        Ok(self.read_many(std::slice::from_ref(run)).await?.pop().unwrap_or_default())
    }

    /// By one question.
    async fn read_many(&self, runs: &[RunId]) -> Result<Vec<Vec<Stamped>>, JournalError> {
        let inner = &*self.inner;
        let ids: Vec<&str> = runs.iter().map(RunId::as_str).collect();
        let rows = inner.ask(schema::READ, &[(&ids, Type::TEXT_ARRAY)]).await?;
        let mut read: HashMap<&str, Vec<Stamped>> = HashMap::new();
        for row in &rows {
            let run: &str = row.try_get(0).map_err(|e| inner.store(e))?;
            let (at, body): (i64, &str) = (inner.column(row, 1)?, row.try_get(2).map_err(|e| inner.store(e))?);
            read.entry(run).or_default().push(Stamped {
                at: Timestamp::from_microsecond(at).map_err(|e| inner.store(e))?,
                entry: serde_json::from_str(body).map_err(|e| inner.store(e))?,
            });
        }
        let of_run = |run: &RunId| read.remove(run.as_str()).ok_or_else(|| JournalError::Unknown(run.clone()));
        runs.iter().map(of_run).collect()
    }

    async fn runs(&self, which: Which) -> Result<Vec<RunId>, JournalError> {
        let sql = match which {
            Which::All => schema::ALL,
            Which::Open => schema::OPEN,
            Which::Free => schema::FREE,
        };
        self.inner.ask(sql, &[]).await?.iter().map(|row| self.inner.run_id(row)).collect()
    }

    async fn runs_of(&self, label: &str, most: usize) -> Result<Vec<RunId>, JournalError> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let rows = self.inner.ask(schema::RUNS_OF_LABEL, &[(&label, Type::TEXT), (&most, Type::INT8)]).await?;
        rows.iter().map(|row| self.inner.run_id(row)).collect()
    }

    async fn settle(&self) {
        self.inner.leases.settle().await;
    }
}
