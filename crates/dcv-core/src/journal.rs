//! The journal: what a run meant to do, and what came of it, kept where a crash cannot reach it.
//!
//! A run is one order. Its entries are only ever appended; [`crate::state::Run`] is their fold. Before each act that
//! the world can see (placing an order, presenting proofs) stands an entry that says so; whoever continues a run
//! after a crash therefore knows what may have happened, and looks before it acts again.
//!
//! One worker at a time continues a run: it [`claim`](Journal::claim)s it and gets a [`Lease`] with a fencing epoch,
//! which every [`append`](Journal::append) presents. A worker that lost its claim cannot write any more.

mod memory;
mod sqlite;

use std::any::Any;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::state::{Entry, RunId};

pub use memory::MemoryJournal;
pub use sqlite::SqliteJournal;

/// An entry and when it was written.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stamped {
    /// When the entry was appended, by this machine's clock.
    pub at: Timestamp,
    /// What was meant or had happened.
    pub entry: Entry,
}

/// The right to continue one run. Dropped, it lets others have it; a crash drops it too.
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
    /// All that were ever begun.
    All,
}

/// An append-only store of runs.
///
/// What an implementation promises: when [`append`](Self::append) returns, the entry survives the death of the process and
/// of the machine (a memory journal promises neither, and says so); entries of one run are read back in the order in
/// which they were appended; of all leases of a run only the youngest can append.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Begins a run with its first entry, and claims it.
    ///
    /// # Errors
    /// [`JournalError`]; also when a run of this id exists.
    async fn begin(&self, run: &RunId, first: &Entry) -> Result<Lease, JournalError>;

    /// Takes the right to continue a run, or says [`JournalError::Held`].
    ///
    /// # Errors
    /// [`JournalError::Unknown`] when there is no such run.
    async fn claim(&self, run: &RunId) -> Result<Lease, JournalError>;

    /// Appends an entry. [`Entry::Closed`] takes the run off the list of open ones.
    ///
    /// # Errors
    /// [`JournalError::Fenced`] when somebody else has claimed the run since.
    async fn append(&self, lease: &Lease, entry: &Entry) -> Result<(), JournalError>;

    /// All entries of a run, oldest first.
    ///
    /// # Errors
    /// [`JournalError::Unknown`] when there is no such run.
    async fn read(&self, run: &RunId) -> Result<Vec<Stamped>, JournalError>;

    /// The runs, oldest first.
    ///
    /// # Errors
    /// [`JournalError::Store`].
    async fn runs(&self, which: Which) -> Result<Vec<RunId>, JournalError>;
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
    /// Somebody else has taken the run over.
    #[error("run `{0}` was taken over by another worker; this one has stopped")]
    Fenced(RunId),
    /// The store failed.
    #[error("journal {place}: {message}")]
    Store {
        /// File or server.
        place: String,
        /// What it said.
        message: String,
    },
}
