//! A journal in memory: for tests and for programs that do not want to survive themselves.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use jiff::Timestamp;

use super::{Journal, JournalError, Label, Lease, Stamped, Which};
use crate::state::{Entry, RunId};

/// Forgets everything when it is dropped.
#[derive(Clone, Debug, Default)]
pub struct MemoryJournal {
    runs: Arc<Mutex<BTreeMap<RunId, Kept>>>,
}

#[derive(Debug, Default)]
struct Kept {
    began: usize,
    label: Option<String>,
    epoch: u64,
    entries: Vec<Stamped>,
    /// Alive while somebody holds the lease.
    holder: std::sync::Weak<()>,
}

impl MemoryJournal {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<RunId, Kept>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn lease(&mut self, run: &RunId) -> Lease {
        let guard = Arc::new(());
        self.holder = Arc::downgrade(&guard);
        self.epoch += 1;
        Lease::new(run.clone(), self.epoch, Some(Box::new(guard)))
    }

    fn push(&mut self, entry: &Entry) {
        self.entries.push(Stamped { at: Timestamp::now(), entry: entry.clone() });
    }

    fn is_held(&self) -> bool {
        self.holder.strong_count() > 0
    }

    fn is_open(&self) -> bool {
        !self.entries.iter().any(|stamped| matches!(stamped.entry, Entry::Closed))
    }
}

#[async_trait]
impl Journal for MemoryJournal {
    async fn begin(&self, run: &RunId, first: &Entry) -> Result<Lease, JournalError> {
        let mut runs = self.lock();
        if runs.contains_key(run) {
            return Err(JournalError::Exists(run.clone()));
        }
        let label = Label::of(first);
        if let Some(label) = &label {
            let of_label = || runs.iter().filter(|(_, kept)| kept.label.as_ref() == Some(&label.text));
            let open = of_label().find(|(_, kept)| kept.is_open());
            let newer = || {
                of_label().max_by_key(|(_, kept)| kept.began).filter(|_| !label.is_current(of_label().count() as u64))
            };
            if let Some((other, _)) = open.or_else(newer) {
                return Err(JournalError::Begun { label: label.text.clone(), run: other.clone() });
            }
        }
        let mut kept = Kept { began: runs.len(), label: label.map(|label| label.text), ..Kept::default() };
        kept.push(first);
        let lease = kept.lease(run);
        runs.insert(run.clone(), kept);
        Ok(lease)
    }

    async fn claim(&self, run: &RunId) -> Result<Lease, JournalError> {
        let mut runs = self.lock();
        let kept = runs.get_mut(run).ok_or_else(|| JournalError::Unknown(run.clone()))?;
        if kept.is_held() {
            return Err(JournalError::Held(run.clone()));
        }
        Ok(kept.lease(run))
    }

    async fn append(&self, lease: &Lease, entry: &Entry) -> Result<(), JournalError> {
        let mut runs = self.lock();
        let kept = runs.get_mut(&lease.run).ok_or_else(|| JournalError::Unknown(lease.run.clone()))?;
        if kept.epoch != lease.epoch {
            return Err(JournalError::Fenced(lease.run.clone()));
        }
        kept.push(entry);
        Ok(())
    }

    async fn read(&self, run: &RunId) -> Result<Vec<Stamped>, JournalError> {
        let runs = self.lock();
        runs.get(run).map(|kept| kept.entries.clone()).ok_or_else(|| JournalError::Unknown(run.clone()))
    }

    async fn runs_of(&self, label: &str, most: usize) -> Result<Vec<RunId>, JournalError> {
        let runs = self.lock();
        let of_label = runs.iter().filter(|(_, kept)| kept.label.as_deref() == Some(label));
        let mut listed: Vec<_> = of_label.map(|(id, kept)| (kept.began, id)).collect();
        listed.sort();
        Ok(listed.into_iter().rev().take(most).map(|(_, id)| id.clone()).collect())
    }

    async fn runs(&self, which: Which) -> Result<Vec<RunId>, JournalError> {
        let runs = self.lock();
        let listed = |kept: &Kept| match which {
            Which::All => true,
            Which::Open => kept.is_open(),
            Which::Free => kept.is_open() && !kept.is_held(),
        };
        let mut listed: Vec<_> =
            runs.iter().filter(|(_, kept)| listed(kept)).map(|(id, kept)| (kept.began, id)).collect();
        listed.sort();
        Ok(listed.into_iter().map(|(_, id)| id.clone()).collect())
    }
}
