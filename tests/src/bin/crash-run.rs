//! One run that dies at a chosen journal entry: `crash-run '{"world":…,"journal":…,"out":…,"entry":3,"moment":"before"}'`.
//!
//! It is a process of its own because death is meant: `abort`, with no destructor run and nothing flushed.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use dcv_core::{
    Outcome,
    journal::{Journal, JournalError, Lease, SqliteJournal, Stamped, Which},
    state::{Entry, RunId},
};
use dcv_tests::crash::{Crash, Moment, request};

struct Deadly {
    journal: SqliteJournal,
    crash: Crash,
    written: AtomicUsize,
}

impl Deadly {
    /// Whether the entry about to be written is the fatal one.
    fn count(&self) -> bool {
        let fatal = self.written.fetch_add(1, Ordering::SeqCst) + 1 == self.crash.entry;
        if fatal && self.crash.moment == Moment::Before {
            std::process::abort();
        }
        fatal
    }
}

#[async_trait]
impl Journal for Deadly {
    async fn begin(&self, run: &RunId, first: &Entry) -> Result<Lease, JournalError> {
        let fatal = self.count();
        let lease = self.journal.begin(run, first).await;
        if fatal {
            std::process::abort();
        }
        lease
    }
    async fn append(&self, lease: &Lease, entry: &Entry) -> Result<(), JournalError> {
        let fatal = self.count();
        let done = self.journal.append(lease, entry).await;
        if fatal {
            std::process::abort();
        }
        done
    }
    async fn claim(&self, run: &RunId) -> Result<Lease, JournalError> {
        self.journal.claim(run).await
    }
    async fn read(&self, run: &RunId) -> Result<Vec<Stamped>, JournalError> {
        self.journal.read(run).await
    }
    async fn runs(&self, which: Which) -> Result<Vec<RunId>, JournalError> {
        self.journal.runs(which).await
    }
    async fn runs_of(&self, label: &str, most: usize) -> Result<Vec<RunId>, JournalError> {
        self.journal.runs_of(label, most).await
    }
}

#[tokio::main]
async fn main() {
    let text = std::env::args().nth(1).expect("the crash to be had, as JSON");
    let crash: Crash = serde_json::from_str(&text).expect("a crash");
    let out: PathBuf = crash.out.clone();
    let journal = SqliteJournal::open(&crash.journal).await.expect("the journal opens");
    let world = crash.world.clone();
    let dcv = world.dcv_with(Arc::new(Deadly { journal, crash, written: AtomicUsize::new(0) })).await;
    match dcv.issue(request(&out)).await {
        Ok(Outcome::Issued(_)) => {}
        other => panic!("no certificate: {other:?}"),
    }
}
