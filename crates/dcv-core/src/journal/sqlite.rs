//! The journal in one SQLite file: the default, with no server.
//!
//! WAL with `synchronous=FULL`: an appended entry is on the disk. One thread owns the connection, so that the file's waits never
//! hold up the runtime. What many runs ask of it at the same moment it does in one transaction, so that thousands of runs share
//! one wait for the disk; each is told when that transaction is there to stay. A claim is an advisory lock on a file beside the database, which the operating system drops with the
//! process: after a crash the run is free at once, with no time-out to wait for.

use std::{
    fs::{File, TryLockError},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use tokio::sync::{mpsc, oneshot};

use super::{Journal, JournalError, Label, Lease, Stamped, Which};
use crate::state::{Entry, RunId};

/// What brings a file from each version to the next, an empty one to the first. The version grows when the schema or the entries
/// change in a way that older programs would misread.
const VERSIONS: [&str; 2] = [
    "
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
    ",
    // The runs of a label are numbered from 1, so that no two begin as the same.
    "
    ALTER TABLE run ADD COLUMN label TEXT;
    ALTER TABLE run ADD COLUMN nth INTEGER;
    UPDATE run SET label = (SELECT body ->> '$.request.label' FROM entry WHERE entry.run = run.id AND entry.seq = 1);
    UPDATE run SET nth = numbered.nth FROM (
        SELECT id, row_number() OVER (PARTITION BY label ORDER BY rowid) AS nth FROM run WHERE label IS NOT NULL
    ) AS numbered WHERE numbered.id = run.id;
    CREATE UNIQUE INDEX run_of_label ON run (label, nth);
    ",
];

/// Something to be done on the journal's thread, within a transaction that others may share.
trait Job: Send {
    /// Does it, or says why it came to nothing.
    fn work(&mut self, tx: &Connection) -> Result<(), String>;
    /// Tells whoever asked, now that the transaction is over: what came of it, or why all of the transaction was undone.
    fn tell(self: Box<Self>, undone: Option<&str>);
}

struct Asked<W, T> {
    path: PathBuf,
    work: Option<W>,
    result: Option<Result<T, JournalError>>,
    reply: oneshot::Sender<Result<T, JournalError>>,
}

impl<T: Send, W: FnOnce(&Connection) -> Result<T, JournalError> + Send> Job for Asked<W, T> {
    fn work(&mut self, tx: &Connection) -> Result<(), String> {
        let Some(work) = self.work.take() else { return Ok(()) };
        let result = work(tx);
        let failed = result.as_ref().err().map(ToString::to_string);
        self.result = Some(result);
        failed.map_or(Ok(()), Err)
    }

    fn tell(self: Box<Self>, undone: Option<&str>) {
        let result = match (self.result, undone) {
            (Some(Err(own)), _) => Err(own),
            (Some(Ok(value)), None) => Ok(value),
            (_, why) => Err(store(&self.path, why.unwrap_or("it was never begun"))),
        };
        // Whoever asked may have gone.
        let _ = self.reply.send(result);
    }
}

/// How much is done in one transaction at most: what waits for its end should not wait for long.
const AT_ONCE: usize = 256;

/// A journal in a SQLite file. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SqliteJournal {
    path: PathBuf,
    jobs: mpsc::UnboundedSender<Box<dyn Job>>,
}

impl SqliteJournal {
    /// Opens the journal, and makes it (mode 0600, folders as needed) when there is none.
    ///
    /// # Errors
    /// [`JournalError::Store`] when the file cannot be opened, is no journal, or was written by a newer version.
    pub async fn open(path: impl Into<PathBuf>) -> Result<Self, JournalError> {
        let path = path.into();
        let (jobs, mut queue) = mpsc::unbounded_channel::<Box<dyn Job>>();
        let (ready, opened) = oneshot::channel();
        let place = path.clone();
        std::thread::Builder::new()
            .name("dcv-journal".to_owned())
            .spawn(move || match connect(&place) {
                Ok(mut connection) => {
                    let _ = ready.send(Ok(()));
                    let mut jobs = Vec::new();
                    while queue.blocking_recv_many(&mut jobs, AT_ONCE) > 0 {
                        work(&mut connection, std::mem::take(&mut jobs));
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

    /// Runs `work` on the journal's thread, and waits until what it has written is on the disk. What fails leaves nothing.
    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, JournalError> {
        let (reply, answer) = oneshot::channel();
        let job = Asked { path: self.path.clone(), work: Some(work), result: None, reply };
        self.jobs.send(Box::new(job)).map_err(|_| store(&self.path, "its thread has died"))?;
        answer.await.map_err(|_| store(&self.path, "its thread has died"))?
    }

    fn lock_file(&self, run: &RunId) -> PathBuf {
        let mut folder = self.path.clone().into_os_string();
        folder.push(".locks");
        Path::new(&folder).join(run.as_str())
    }

    /// Takes the operating system's lock for a run.
    fn lock(&self, run: &RunId) -> Result<File, JournalError> {
        let path = self.lock_file(run);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|e| store(&self.path, e))?;
        }
        let file = File::create(path).map_err(|e| store(&self.path, e))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(JournalError::Held(run.clone())),
            Err(TryLockError::Error(e)) => Err(store(&self.path, e)),
        }
    }
}

fn store(path: &Path, message: impl ToString) -> JournalError {
    let mut message = message.to_string();
    // As SQLite says it where there is no room for the files beside the database.
    if message.contains("disk I/O error") {
        message.push_str("; is the disk full?");
    }
    JournalError::Store { place: path.display().to_string(), message }
}

fn connect(path: &Path) -> Result<Connection, String> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(|e| e.to_string())?;
    }
    // Made by us, so that it is nobody else's to read at any moment; SQLite gives the files beside it the same mode.
    let mut new = std::fs::OpenOptions::new();
    new.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut new, 0o600);
    match new.open(path) {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => return Err(e.to_string()),
        _ => {}
    }
    let mut connection = Connection::open(path).map_err(|e| e.to_string())?;
    prepare(&connection).map_err(|e| e.to_string())?;
    let newest = VERSIONS.len();
    let version = |connection: &Connection| {
        let version = connection.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0));
        version.map(|version| usize::try_from(version).unwrap_or(0))
    };
    if version(&connection).map_err(|e| e.to_string())? == newest {
        return Ok(connection);
    }
    let tx =
        connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(|e| e.to_string())?;
    // Looked at once more: another process may have been faster.
    let found = version(&tx).map_err(|e| e.to_string())?;
    if found > newest {
        return Err(format!("it was written by a newer dcv (format {found}, this one knows {newest})"));
    }
    for step in &VERSIONS[found..] {
        tx.execute_batch(step).map_err(|e| e.to_string())?;
    }
    let version = i64::try_from(newest).map_err(|e| e.to_string())?;
    tx.pragma_update(None, "user_version", version).and_then(|()| tx.commit()).map_err(|e| e.to_string())?;
    Ok(connection)
}

/// How long the file is waited for while others have it.
const BUSY: Duration = Duration::from_secs(30);

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY)?;
    // Where two processes make a new file a WAL at the same moment, SQLite does not wait, whatever it was told.
    let until = Instant::now() + BUSY;
    while let Err(error) = connection.pragma_update(None, "journal_mode", "WAL") {
        if error.sqlite_error_code() != Some(rusqlite::ErrorCode::DatabaseBusy) || Instant::now() > until {
            return Err(error);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", "ON")
}

/// Does all of these in one transaction, each within a savepoint of its own, so that what fails is undone alone; more than one where
/// SQLite ends a transaction by itself, as it does when the disk is full. Then all of that one is undone, and the others go on.
fn work(connection: &mut Connection, mut jobs: Vec<Box<dyn Job>>) {
    while !jobs.is_empty() {
        let mut begun = 0;
        let ended = in_transaction(connection, |tx| {
            for job in &mut jobs {
                begun += 1;
                tx.execute_batch("SAVEPOINT job").map_err(|e| e.to_string())?;
                let done = job.work(tx);
                if tx.is_autocommit() {
                    return done;
                }
                let end = if done.is_ok() { "RELEASE job" } else { "ROLLBACK TO job; RELEASE job" };
                tx.execute_batch(end).map_err(|e| e.to_string())?;
            }
            Ok(())
        });
        let undone = ended.err();
        let over = if begun == 0 { jobs.len() } else { begun };
        for job in jobs.drain(..over) {
            job.tell(undone.as_deref());
        }
    }
}

fn in_transaction(
    connection: &mut Connection,
    work: impl FnOnce(&Connection) -> Result<(), String>,
) -> Result<(), String> {
    let tx = connection
        .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
        .map_err(|error| error.to_string())?;
    work(&tx)?;
    tx.commit().map_err(|error| error.to_string())
}

fn insert(tx: &Connection, run: &str, entry: &Entry, at: Timestamp) -> Result<(), String> {
    let body = serde_json::to_string(entry).map_err(|e| e.to_string())?;
    tx.prepare_cached(
        "INSERT INTO entry (run, seq, at, body)
         SELECT ?1, coalesce(max(seq), 0) + 1, ?2, ?3 FROM entry WHERE run = ?1",
    )
    .and_then(|mut statement| statement.execute(params![run, at.to_string(), body]))
    .map_err(|e| e.to_string())?;
    Ok(())
}

/// The number of the next run of a label, if it may begin.
fn next_of(tx: &Connection, label: &Label) -> rusqlite::Result<Result<i64, JournalError>> {
    let first = |sql: &str| {
        let row = tx.query_row(sql, params![label.text], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)));
        row.optional()
    };
    let open = first("SELECT id, nth FROM run WHERE label = ?1 AND open = 1")?;
    let last = first("SELECT id, nth FROM run WHERE label = ?1 ORDER BY nth DESC LIMIT 1")?;
    let runs = last.as_ref().map_or(0, |(_, nth)| *nth);
    let newer = last.filter(|_| !label.is_current(runs.unsigned_abs()));
    Ok(match open.or(newer) {
        Some((id, _)) => Err(JournalError::Begun { label: label.text.clone(), run: RunId::from_stored(id) }),
        None => Ok(runs + 1),
    })
}

#[async_trait]
impl Journal for SqliteJournal {
    async fn begin(&self, run: &RunId, first: &Entry) -> Result<Lease, JournalError> {
        let guard = self.lock(run)?;
        let (id, first, path) = (run.clone(), first.clone(), self.path.clone());
        let begun = self.with(move |tx| {
            let label = Label::of(&first);
            let nth = match &label {
                Some(label) => Some(next_of(tx, label).map_err(|e| store(&path, e))??),
                None => None,
            };
            let label = label.map(|label| label.text);
            let added = tx
                .execute(
                    "INSERT OR IGNORE INTO run (id, epoch, open, label, nth) VALUES (?1, 1, 1, ?2, ?3)",
                    params![id.as_str(), label, nth],
                )
                .map_err(|e| store(&path, e))?;
            if added == 0 {
                return Err(JournalError::Exists(id));
            }
            insert(tx, id.as_str(), &first, Timestamp::now()).map_err(|e| store(&path, e))
        });
        match begun.await {
            Ok(()) => Ok(Lease::new(run.clone(), 1, Some(Box::new(guard)))),
            Err(error @ JournalError::Begun { .. }) => {
                // Nobody will ever want the lock of a run that is not. One that stays does no harm.
                let _ = std::fs::remove_file(self.lock_file(run));
                Err(error)
            }
            Err(error) => Err(error),
        }
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
            let closes = matches!(entry, Entry::Closed);
            let current = tx
                .prepare_cached("UPDATE run SET open = open AND NOT ?3 WHERE id = ?1 AND epoch = ?2")
                .and_then(|mut statement| statement.execute(params![run.as_str(), epoch.cast_signed(), closes]))
                .map_err(|e| store(&path, e))?;
            if current == 0 {
                return Err(JournalError::Fenced(run));
            }
            insert(tx, run.as_str(), &entry, Timestamp::now()).map_err(|e| store(&path, e))
        })
        .await
    }

    async fn read(&self, run: &RunId) -> Result<Vec<Stamped>, JournalError> {
        Ok(self.read_many(std::slice::from_ref(run)).await?.pop().unwrap_or_default())
    }

    async fn check_writable(&self) -> Result<(), JournalError> {
        let path = self.path.clone();
        // What is there already once more, so that a full or read-only disk shows.
        let newest = i64::try_from(VERSIONS.len()).map_err(|e| store(&path, e))?;
        self.with(move |tx| tx.pragma_update(None, "user_version", newest).map_err(|e| store(&path, e))).await
    }

    /// In one transaction: thousands of runs are read in the time that thousands of turns of the journal's thread would take.
    async fn read_many(&self, runs: &[RunId]) -> Result<Vec<Vec<Stamped>>, JournalError> {
        let (ids, path) = (runs.to_vec(), self.path.clone());
        self.with(move |tx| {
            let mut statement = tx
                .prepare_cached("SELECT at, body FROM entry WHERE run = ?1 ORDER BY seq")
                .map_err(|e| store(&path, e))?;
            let mut all = Vec::with_capacity(ids.len());
            for id in ids {
                let rows = statement
                    .query_map(params![id.as_str()], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))
                    .map_err(|e| store(&path, e))?;
                let mut entries = Vec::new();
                for row in rows {
                    let (at, body) = row.map_err(|e| store(&path, e))?;
                    entries.push(Stamped {
                        at: at.parse().map_err(|e| store(&path, e))?,
                        entry: serde_json::from_str(&body).map_err(|e| store(&path, e))?,
                    });
                }
                if entries.is_empty() {
                    return Err(JournalError::Unknown(id));
                }
                all.push(entries);
            }
            Ok(all)
        })
        .await
    }

    async fn runs_of(&self, label: &str, most: usize) -> Result<Vec<RunId>, JournalError> {
        let (label, path) = (label.to_owned(), self.path.clone());
        self.with(move |tx| {
            let most = i64::try_from(most).unwrap_or(i64::MAX);
            let mut statement = tx
                .prepare_cached("SELECT id FROM run WHERE label = ?1 ORDER BY nth DESC LIMIT ?2")
                .map_err(|e| store(&path, e))?;
            let rows = statement
                .query_map(params![label, most], |row| row.get::<_, String>(0))
                .map_err(|e| store(&path, e))?;
            rows.map(|row| row.map_err(|e| store(&path, e)).map(RunId::from_stored)).collect()
        })
        .await
    }

    async fn runs(&self, which: Which) -> Result<Vec<RunId>, JournalError> {
        let path = self.path.clone();
        let mut runs: Vec<RunId> = self
            .with(move |tx| {
                let mut statement = tx
                    .prepare_cached("SELECT id FROM run WHERE open >= ?1 ORDER BY rowid")
                    .map_err(|e| store(&path, e))?;
                let rows = statement
                    .query_map(params![which != Which::All], |row| row.get::<_, String>(0))
                    .map_err(|e| store(&path, e))?;
                rows.map(|row| row.map_err(|e| store(&path, e)).map(RunId::from_stored)).collect()
            })
            .await?;
        if which == Which::Free {
            // Who holds a run is known to the operating system only. It is asked by a lock that others can have at the same time,
            // so that two who ask do not take each other for holders.
            runs.retain(|run| File::open(self.lock_file(run)).map_or(true, |file| file.try_lock_shared().is_ok()));
        }
        Ok(runs)
    }
}
