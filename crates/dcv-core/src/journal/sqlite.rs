//! The journal in one SQLite file: the default, with no server.
//!
//! WAL with `synchronous=FULL`: an appended entry is on the disk. One thread owns the connection, so that the file's waits never
//! hold up the runtime. A claim is an advisory lock on a file beside the database, which the operating system drops with the
//! process: after a crash the run is free at once, with no time-out to wait for.

use std::{
    fs::{File, TryLockError},
    path::{Path, PathBuf},
};

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use tokio::sync::{mpsc, oneshot};

use super::{Journal, JournalError, Lease, Stamped, Which};
use crate::state::{Entry, RunId};

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS run (
        id     TEXT PRIMARY KEY,
        epoch  INTEGER NOT NULL,
        open   INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE IF NOT EXISTS entry (
        run    TEXT NOT NULL REFERENCES run(id),
        seq    INTEGER NOT NULL,
        at     TEXT NOT NULL,
        body   TEXT NOT NULL,
        PRIMARY KEY (run, seq)
    ) STRICT, WITHOUT ROWID;
";
/// Grows when the schema or the entries change in a way that older programs would misread.
const SCHEMA_VERSION: i64 = 1;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// A journal in a SQLite file. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SqliteJournal {
    path: PathBuf,
    jobs: mpsc::UnboundedSender<Job>,
}

impl SqliteJournal {
    /// Opens the journal, and makes it (mode 0600, folders as needed) when there is none.
    ///
    /// # Errors
    /// [`JournalError::Store`] when the file cannot be opened, is no journal, or was written by a newer version.
    pub async fn open(path: impl Into<PathBuf>) -> Result<Self, JournalError> {
        let path = path.into();
        let (jobs, mut queue) = mpsc::unbounded_channel::<Job>();
        let (ready, opened) = oneshot::channel();
        let place = path.clone();
        std::thread::Builder::new()
            .name("dcv-journal".to_owned())
            .spawn(move || match connect(&place) {
                Ok(mut connection) => {
                    let _ = ready.send(Ok(()));
                    while let Some(job) = queue.blocking_recv() {
                        job(&mut connection);
                    }
                }
                Err(message) => {
                    let _ = ready.send(Err(message));
                }
            })
            .map_err(|e| store(&path, e))?;
        match opened.await {
            Ok(Ok(())) => Ok(Self { path, jobs }),
            Ok(Err(message)) => Err(store(&path, message)),
            Err(_) => Err(store(&path, "its thread has died")),
        }
    }

    /// Whether an entry could be written now: writes what is there already once more, so that a full or read-only disk shows.
    ///
    /// # Errors
    /// [`JournalError::Store`] says why not.
    pub async fn check_writable(&self) -> Result<(), JournalError> {
        let path = self.path.clone();
        self.with(move |tx| tx.pragma_update(None, "user_version", SCHEMA_VERSION).map_err(|e| store(&path, e))).await
    }

    /// Runs `work` in a transaction on the journal's thread.
    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&rusqlite::Transaction<'_>) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, JournalError> {
        let (reply, answer) = oneshot::channel();
        let path = self.path.clone();
        let job: Job = Box::new(move |connection| {
            let result = connection
                .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
                .map_err(|e| store(&path, e))
                .and_then(|tx| {
                    let value = work(&tx)?;
                    tx.commit().map_err(|e| store(&path, e))?;
                    Ok(value)
                });
            let _ = reply.send(result);
        });
        self.jobs.send(job).map_err(|_| store(&self.path, "its thread has died"))?;
        answer.await.map_err(|_| store(&self.path, "its thread has died"))?
    }

    /// Takes the operating system's lock for a run.
    fn lock(&self, run: &RunId) -> Result<File, JournalError> {
        let mut folder = self.path.clone().into_os_string();
        folder.push(".locks");
        std::fs::create_dir_all(&folder).map_err(|e| store(&self.path, e))?;
        let file = File::create(Path::new(&folder).join(run.as_str())).map_err(|e| store(&self.path, e))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(JournalError::Held(run.clone())),
            Err(TryLockError::Error(e)) => Err(store(&self.path, e)),
        }
    }
}

fn store(path: &Path, message: impl ToString) -> JournalError {
    JournalError::Store { place: path.display().to_string(), message: message.to_string() }
}

fn connect(path: &Path) -> Result<Connection, String> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(|e| e.to_string())?;
    }
    let fresh = !path.exists();
    let connection = Connection::open(path).map_err(|e| e.to_string())?;
    #[cfg(unix)]
    if fresh {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(|e| e.to_string())?;
    }
    prepare(&connection).map_err(|e| e.to_string())?;
    let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(|e| e.to_string())?;
    if version > SCHEMA_VERSION {
        return Err(format!("it was written by a newer dcv (format {version}, this one knows {SCHEMA_VERSION})"));
    }
    connection.pragma_update(None, "user_version", SCHEMA_VERSION).map_err(|e| e.to_string())?;
    Ok(connection)
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(std::time::Duration::from_secs(30))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", "ON")?;
    connection.execute_batch(SCHEMA)
}

fn insert(tx: &rusqlite::Transaction<'_>, run: &str, entry: &Entry, at: Timestamp) -> Result<(), String> {
    let body = serde_json::to_string(entry).map_err(|e| e.to_string())?;
    tx.prepare_cached(
        "INSERT INTO entry (run, seq, at, body)
         SELECT ?1, coalesce(max(seq), 0) + 1, ?2, ?3 FROM entry WHERE run = ?1",
    )
    .and_then(|mut statement| statement.execute(params![run, at.to_string(), body]))
    .map_err(|e| e.to_string())?;
    Ok(())
}

#[async_trait]
impl Journal for SqliteJournal {
    async fn begin(&self, run: &RunId, first: &Entry) -> Result<Lease, JournalError> {
        let guard = self.lock(run)?;
        let (id, first, path) = (run.clone(), first.clone(), self.path.clone());
        self.with(move |tx| {
            let added = tx
                .execute("INSERT OR IGNORE INTO run (id, epoch, open) VALUES (?1, 1, 1)", params![id.as_str()])
                .map_err(|e| store(&path, e))?;
            if added == 0 {
                return Err(JournalError::Exists(id));
            }
            insert(tx, id.as_str(), &first, Timestamp::now()).map_err(|e| store(&path, e))
        })
        .await?;
        Ok(Lease::new(run.clone(), 1, Some(Box::new(guard))))
    }

    async fn claim(&self, run: &RunId) -> Result<Lease, JournalError> {
        let (id, path) = (run.clone(), self.path.clone());
        let known = self
            .with(move |tx| {
                tx.query_row("SELECT 1 FROM run WHERE id = ?1", params![id.as_str()], |_| Ok(()))
                    .optional()
                    .map_err(|e| store(&path, e))
            })
            .await?;
        if known.is_none() {
            return Err(JournalError::Unknown(run.clone()));
        }
        let guard = self.lock(run)?;
        let (id, path) = (run.clone(), self.path.clone());
        let epoch: i64 = self
            .with(move |tx| {
                tx.query_row(
                    "UPDATE run SET epoch = epoch + 1 WHERE id = ?1 RETURNING epoch",
                    params![id.as_str()],
                    |row| row.get(0),
                )
                .map_err(|e| store(&path, e))
            })
            .await?;
        Ok(Lease::new(run.clone(), epoch.unsigned_abs(), Some(Box::new(guard))))
    }

    async fn append(&self, lease: &Lease, entry: &Entry) -> Result<(), JournalError> {
        let (run, epoch, entry, path) = (lease.run.clone(), lease.epoch, entry.clone(), self.path.clone());
        self.with(move |tx| {
            let open = !matches!(entry, Entry::Closed);
            let current = tx
                .prepare_cached("UPDATE run SET open = ?3 WHERE id = ?1 AND epoch = ?2")
                .and_then(|mut statement| statement.execute(params![run.as_str(), epoch.cast_signed(), open]))
                .map_err(|e| store(&path, e))?;
            if current == 0 {
                return Err(JournalError::Fenced(run));
            }
            insert(tx, run.as_str(), &entry, Timestamp::now()).map_err(|e| store(&path, e))
        })
        .await
    }

    async fn read(&self, run: &RunId) -> Result<Vec<Stamped>, JournalError> {
        let (id, path) = (run.clone(), self.path.clone());
        let rows: Vec<(String, String)> = self
            .with(move |tx| {
                let mut statement = tx
                    .prepare_cached("SELECT at, body FROM entry WHERE run = ?1 ORDER BY seq")
                    .map_err(|e| store(&path, e))?;
                let rows = statement
                    .query_map(params![id.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
                    .map_err(|e| store(&path, e))?;
                rows.collect::<Result<_, _>>().map_err(|e| store(&path, e))
            })
            .await?;
        if rows.is_empty() {
            return Err(JournalError::Unknown(run.clone()));
        }
        rows.into_iter()
            .map(|(at, body)| {
                Ok(Stamped {
                    at: at.parse().map_err(|e| store(&self.path, e))?,
                    entry: serde_json::from_str(&body).map_err(|e| store(&self.path, e))?,
                })
            })
            .collect()
    }

    async fn runs(&self, which: Which) -> Result<Vec<RunId>, JournalError> {
        let path = self.path.clone();
        self.with(move |tx| {
            let mut statement =
                tx.prepare_cached("SELECT id FROM run WHERE open >= ?1 ORDER BY rowid").map_err(|e| store(&path, e))?;
            let rows = statement
                .query_map(params![which == Which::Open], |row| row.get::<_, String>(0))
                .map_err(|e| store(&path, e))?;
            rows.map(|row| row.map_err(|e| store(&path, e)).map(RunId::from_stored)).collect()
        })
        .await
    }
}
