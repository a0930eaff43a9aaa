//! The leases of one worker: renewed together, given back when they are dropped.
//!
//! One task knows them all and has a connection of its own, so that no entry that is being written holds a renewal up. It is told
//! by messages, in their order: what was dropped before is given back before whoever waits for that is answered.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use dcv_core::RunId;
use tokio::{
    sync::{mpsc, oneshot},
    time::{MissedTickBehavior, interval},
};
use tokio_postgres::types::Type;

use crate::{
    schema,
    server::{Params, Pool, Server},
};

/// How long is tried to give something back. It ends by itself anyway.
const RELEASE_PATIENCE: Duration = Duration::from_secs(3);

enum Word {
    Taken(RunId, u64),
    Dropped(RunId, u64),
    Settle(oneshot::Sender<()>),
}

/// What is said to the task.
#[derive(Clone)]
pub(crate) struct Leases {
    words: mpsc::UnboundedSender<Word>,
    /// How many are dropped and not given back yet.
    dropped: Arc<AtomicUsize>,
}

/// Held by a [`Lease`](dcv_core::journal::Lease); says so when that is dropped.
pub(crate) struct Guard {
    run: RunId,
    epoch: u64,
    leases: Leases,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.leases.dropped.fetch_add(1, Ordering::SeqCst);
        // Without the task the lease just runs out.
        let _ = self.leases.words.send(Word::Dropped(self.run.clone(), self.epoch));
    }
}

impl Leases {
    /// Starts the task. It ends, and gives back what is left, when nothing can be said to it any more.
    pub(crate) fn keep(server: Server, life: Duration) -> Self {
        let (words, heard) = mpsc::unbounded_channel();
        let dropped = Arc::new(AtomicUsize::new(0));
        let keeper = Keeper { pool: Pool::new(server, 1), life, held: BTreeMap::new(), dropped: Arc::clone(&dropped) };
        tokio::spawn(keeper.work(heard));
        Self { words, dropped }
    }

    /// From now on the lease is renewed, until the guard is dropped.
    pub(crate) fn guard(&self, run: &RunId, epoch: u64) -> Guard {
        let _ = self.words.send(Word::Taken(run.clone(), epoch));
        Guard { run: run.clone(), epoch, leases: self.clone() }
    }

    /// Waits until what is dropped is given back, or was tried to.
    pub(crate) async fn settle(&self) {
        if self.dropped.load(Ordering::SeqCst) == 0 {
            return;
        }
        let (answer, settled) = oneshot::channel();
        if self.words.send(Word::Settle(answer)).is_ok() {
            let _ = settled.await;
        }
    }
}

struct Keeper {
    pool: Pool,
    life: Duration,
    held: BTreeMap<RunId, u64>,
    dropped: Arc<AtomicUsize>,
}

impl Keeper {
    async fn work(mut self, mut words: mpsc::UnboundedReceiver<Word>) {
        let mut tick = interval(self.life / 3);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let first = tokio::select! {
                biased;
                _ = tick.tick() => {
                    self.renew().await;
                    continue;
                }
                word = words.recv() => match word {
                    Some(word) => word,
                    None => return,
                },
            };
            let (mut dropped, mut waiting) = (Vec::new(), Vec::new());
            let mut next = Some(first);
            while let Some(word) = next {
                match word {
                    Word::Taken(run, epoch) => {
                        self.held.insert(run, epoch);
                    }
                    Word::Dropped(run, epoch) => {
                        // It may have been taken again since, with another epoch.
                        if self.held.get(&run) == Some(&epoch) {
                            self.held.remove(&run);
                        }
                        dropped.push((run, epoch));
                    }
                    Word::Settle(answer) => waiting.push(answer),
                }
                next = words.try_recv().ok();
            }
            self.release(&dropped).await;
            for answer in waiting {
                let _ = answer.send(());
            }
        }
    }

    async fn renew(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let (runs, epochs) = columns(self.held.iter().map(|(run, epoch)| (run, *epoch)));
        let seconds = self.life.as_secs_f64();
        let params: &Params<'_> = &[(&runs, Type::TEXT_ARRAY), (&epochs, Type::INT8_ARRAY), (&seconds, Type::FLOAT8)];
        match self.pool.ask(schema::RENEW, params, self.life).await {
            Ok(rows) => {
                let renewed: HashSet<&str> = rows.iter().filter_map(|row| row.try_get(0).ok()).collect();
                self.held.retain(|run, _| {
                    let kept = renewed.contains(run.as_str());
                    if !kept {
                        tracing::warn!(%run, "the lease has ended or was taken over");
                    }
                    kept
                });
            }
            Err(error) => tracing::warn!(%error, "leases cannot be renewed"),
        }
    }

    async fn release(&self, dropped: &[(RunId, u64)]) {
        if dropped.is_empty() {
            return;
        }
        let (runs, epochs) = columns(dropped.iter().map(|(run, epoch)| (run, *epoch)));
        let params: &Params<'_> = &[(&runs, Type::TEXT_ARRAY), (&epochs, Type::INT8_ARRAY)];
        if let Err(error) = self.pool.ask(schema::RELEASE, params, RELEASE_PATIENCE.min(self.life)).await {
            tracing::debug!(%error, "leases cannot be given back; they end by themselves");
        }
        self.dropped.fetch_sub(dropped.len(), Ordering::SeqCst);
    }
}

fn columns<'r>(leases: impl Iterator<Item = (&'r RunId, u64)>) -> (Vec<&'r str>, Vec<i64>) {
    leases.map(|(run, epoch)| (run.as_str(), epoch.cast_signed())).unzip()
}
