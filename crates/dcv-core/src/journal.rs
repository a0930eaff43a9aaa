//! The journal: what a run meant to do, and what came of it, kept where a crash cannot reach it.
//!
//! A run is one order. Its entries are only ever appended; [`crate::state::Run`] is their fold. Before each act that
//! the world can see (placing an order, presenting proofs) stands an entry that says so; whoever continues a run
//! after a crash therefore knows what may have happened, and looks before it acts again.
//!
//! One worker at a time continues a run: it [`claim`](Journal::claim)s it and gets a [`Lease`] with a fencing epoch,
//! which every [`append`](Journal::append) presents. A worker that lost its claim cannot write any more.
//!
//! Several workers may look at the same moment and decide the same. So a run whose request has a label begins only where its
//! label has no open run, and where no other was begun since its worker looked
//! ([`Request::earlier`](crate::Request::earlier)).

pub mod conformance;
mod memory;
mod sqlite;

use std::any::Any;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::state::{Entry, Run, RunId};

pub use memory::MemoryJournal;
pub use sqlite::SqliteJournal;

/// An entry and when it was written.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stamped {
    /// When the entry was appended, by the clock of the journal: this machine's, or its server's.
    pub at: Timestamp,
    /// What was meant or had happened.
    pub entry: Entry,
}

/// The right to continue one run. Dropped, it lets others have it ([`Journal::settle`] waits until they can); after a crash it
/// ends by itself, at once where the operating system holds it, else when its time has run out.
pub struct Lease {
    /// The run.
    pub run: RunId,
    /// Grows with each claim; a journal refuses entries of an older epoch.
    pub epoch: u64,
    guard: Option<Box<dyn Any + Send + Sync>>,
}

impl Lease {
    /// A lease whose backend gives the claim up when `guard` is dropped.
    pub fn new(run: RunId, epoch: u64, guard: Option<Box<dyn Any + Send + Sync>>) -> Self {
        Self { run, epoch, guard }
    }
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lease")
            .field("run", &self.run)
            .field("epoch", &self.epoch)
            .field("held", &self.guard.is_some())
            .finish()
    }
}

/// Which runs to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Those with something left to do.
    Open,
    /// Those of them that nobody works on at this moment.
    Free,
    /// All that were ever begun.
    All,
}

/// An append-only store of runs.
///
/// What an implementation promises: when [`append`](Self::append) returns, the entry survives the death of the process and
/// of the machine (a memory journal promises neither, and says so); entries of one run are read back in the order in
/// which they were appended; of all leases of a run only the youngest can append, and only as long as it lasts; of all runs
/// with the same label at most one is open. [`conformance`] holds it to that.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Begins a run with its first entry, and claims it.
    ///
    /// # Errors
    /// [`JournalError::Begun`] when the request has a label and somebody else was faster; also when a run of this id exists.
    async fn begin(&self, run: &RunId, first: &Entry) -> Result<Lease, JournalError>;

    /// Takes the right to continue a run, or says [`JournalError::Held`].
    ///
    /// # Errors
    /// [`JournalError::Unknown`] when there is no such run.
    async fn claim(&self, run: &RunId) -> Result<Lease, JournalError>;

    /// Appends an entry. [`Entry::Closed`] takes the run off the list of open ones, for good.
    ///
    /// # Errors
    /// [`JournalError::Fenced`] when the lease has ended or somebody else has claimed the run since: nothing was written, and
    /// nothing more is to be done.
    async fn append(&self, lease: &Lease, entry: &Entry) -> Result<(), JournalError>;

    /// All entries of a run, oldest first.
    ///
    /// # Errors
    /// [`JournalError::Unknown`] when there is no such run.
    async fn read(&self, run: &RunId) -> Result<Vec<Stamped>, JournalError>;

    /// All entries of each of these runs, in the order of the runs: for those who look at thousands.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    async fn read_many(&self, runs: &[RunId]) -> Result<Vec<Vec<Stamped>>, JournalError> {
        let mut all = Vec::with_capacity(runs.len());
        for run in runs {
            all.push(self.read(run).await?);
        }
        Ok(all)
    }

    /// The runs, oldest first.
    ///
    /// # Errors
    /// [`JournalError::Store`].
    async fn runs(&self, which: Which) -> Result<Vec<RunId>, JournalError>;

    /// The runs of a label, the youngest first, so many at most.
    ///
    /// # Errors
    /// [`JournalError::Store`].
    async fn runs_of(&self, label: &str, most: usize) -> Result<Vec<RunId>, JournalError>;

    /// Whether an entry could be written now, as far as can be told without writing one.
    ///
    /// # Errors
    /// [`JournalError::Store`] says why not.
    async fn check_writable(&self) -> Result<(), JournalError> {
        self.runs(Which::Free).await.map(drop)
    }

    /// Waits until others can claim what was held by leases that are dropped. Where that is so as soon as they are, there is
    /// nothing to wait for.
    async fn settle(&self) {}
}

/// What makes a run the only one of its kind, for implementations of [`Journal::begin`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// What the owner calls it.
    pub text: String,
    /// How many runs of it there were when it was decided to begin this one, if that is told.
    pub earlier: Option<u64>,
}

impl Label {
    /// The label of a run that begins with this entry.
    pub fn of(first: &Entry) -> Option<Self> {
        let Entry::Planned { request } = first else { return None };
        Some(Self { text: request.label.clone()?, earlier: request.earlier })
    }

    /// Whether a run may begin when there are `runs` of the label by now, none of them open.
    pub fn is_current(&self, runs: u64) -> bool {
        self.earlier.is_none_or(|earlier| earlier >= runs)
    }
}

/// So many runs are read at once: their entries are larger than what anybody keeps of them.
const READ_AT_ONCE: usize = 256;

/// Reads these runs and hands each on, folded, with its entries, in their order; what is no run is left out.
///
/// # Errors
/// As [`Journal::read`].
pub async fn each_run(
    journal: &dyn Journal,
    ids: &[RunId],
    mut take: impl FnMut(Run, Vec<Stamped>) + Send,
) -> Result<(), JournalError> {
    for some in ids.chunks(READ_AT_ONCE) {
        let read = journal.read_many(some).await?;
        for (id, entries) in some.iter().zip(read) {
            if let Some(run) = Run::fold(id.clone(), &entries) {
                take(run, entries);
            }
        }
    }
    Ok(())
}

/// What can go wrong with a journal.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// No run of this id.
    #[error("run `{0}` is not in the journal; `dcv status` lists the runs")]
    Unknown(RunId),
    /// A run of this id exists already.
    #[error("run `{0}` is in the journal already")]
    Exists(RunId),
    /// Somebody else is working on the run.
    #[error("run `{0}` is being worked on by another process; wait for it or stop it")]
    Held(RunId),
    /// The lease has ended, or somebody else has taken the run over.
    #[error("run `{0}` was not renewed in time or was taken over by another worker; this one has stopped")]
    Fenced(RunId),
    /// Somebody else has begun a run for the same label.
    #[error("`{label}` was begun by another worker already; `dcv status {run}` shows how far it is")]
    Begun {
        /// What the owner calls it.
        label: String,
        /// The other run.
        run: RunId,
    },
    /// The store failed.
    #[error("journal {place}: {message}")]
    Store {
        /// File or server.
        place: String,
        /// What it said.
        message: String,
    },
}
