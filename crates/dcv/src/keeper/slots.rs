//! Who works next, where more is to be done than may be done at the same time.
//!
//! Of four slots that become free three go to whatever is most pressing and the fourth to whoever has waited longest, so that what
//! expires soon overtakes thousands that do not, and those move on all the same.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use tokio::sync::oneshot;

/// How pressing something is: what is smaller comes first. See [`dcv_core::keeper::Task::urgency`].
type Urgency = (Timestamp, Timestamp);

/// Every so many-th free slot goes to whoever has waited longest.
const BY_PATIENCE: u64 = 4;

/// So many at the same time. Clones share them.
#[derive(Clone)]
pub(super) struct Slots {
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    free: usize,
    /// How many slots somebody who had waited has been given.
    given: u64,
    /// By when they came.
    waiting: BTreeMap<u64, (Urgency, oneshot::Sender<Slot>)>,
    came: u64,
}

/// The right to work, until it is dropped.
pub(super) struct Slot {
    slots: Option<Slots>,
}

impl Slots {
    pub(super) fn new(count: usize) -> Self {
        let shared = Shared { free: count.max(1), given: 0, waiting: BTreeMap::new(), came: 0 };
        Self { shared: Arc::new(Mutex::new(shared)) }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a slot.
    pub(super) async fn acquire(&self, urgency: Urgency) -> Slot {
        let waits = {
            let mut shared = self.lock();
            if shared.free > 0 {
                shared.free -= 1;
                return Slot { slots: Some(self.clone()) };
            }
            let (give, waits) = oneshot::channel();
            let turn = shared.came;
            shared.came += 1;
            shared.waiting.insert(turn, (urgency, give));
            waits
        };
        // Whoever gives is among those who wait, as long as we are.
        waits.await.unwrap_or(Slot { slots: None })
    }

    /// Hands a free slot on, or keeps it.
    fn release(&self) {
        let mut shared = self.lock();
        loop {
            let by_patience = (shared.given + 1).is_multiple_of(BY_PATIENCE);
            let next = if by_patience {
                shared.waiting.keys().next().copied()
            } else {
                shared.waiting.iter().min_by_key(|(turn, (urgency, _))| (*urgency, **turn)).map(|(turn, _)| *turn)
            };
            let Some((_, give)) = next.and_then(|turn| shared.waiting.remove(&turn)) else {
                shared.free += 1;
                return;
            };
            match give.send(Slot { slots: Some(self.clone()) }) {
                Ok(()) => {
                    shared.given += 1;
                    return;
                }
                // It waits no longer; its slot must not come back here, where the lock is held.
                Err(mut unwanted) => unwanted.slots = None,
            }
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(slots) = self.slots.take() {
            slots.release();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urgency(second: i64) -> Urgency {
        let at = Timestamp::from_second(second).expect("a moment");
        (at, at)
    }

    /// Lets tasks of these urgencies wait for the only slot in this order; returns the order in which they got it.
    async fn served(waiting: &[i64]) -> Vec<usize> {
        let slots = Slots::new(1);
        let first = slots.acquire(urgency(0)).await;
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = Vec::new();
        for (n, &second) in waiting.iter().enumerate() {
            let (slots, order) = (slots.clone(), Arc::clone(&order));
            tasks.push(tokio::spawn(async move {
                let slot = slots.acquire(urgency(second)).await;
                order.lock().expect("whole").push(n);
                tokio::task::yield_now().await;
                drop(slot);
            }));
            tokio::task::yield_now().await;
        }
        drop(first);
        for task in tasks {
            task.await.expect("served");
        }
        Arc::into_inner(order).expect("all are done").into_inner().expect("whole")
    }

    #[tokio::test]
    async fn what_is_pressing_overtakes_and_who_waits_long_is_not_forgotten() {
        // Three by urgency, then the one that came first, and so on.
        assert_eq!(served(&[90, 80, 70, 1, 2, 3, 4, 5]).await, [3, 4, 5, 0, 6, 7, 2, 1]);
        assert_eq!(served(&[7, 7, 7, 7, 7, 7]).await, [0, 1, 2, 3, 4, 5], "equals are served as they came");
    }

    #[tokio::test]
    async fn no_more_than_so_many_at_a_time_and_none_is_lost_to_those_who_leave() {
        let slots = Slots::new(2);
        let (one, two) = (slots.acquire(urgency(1)).await, slots.acquire(urgency(1)).await);
        let gone = tokio::spawn({
            let slots = slots.clone();
            async move { drop(slots.acquire(urgency(0)).await) }
        });
        tokio::task::yield_now().await;
        assert_eq!(slots.lock().waiting.len(), 1);
        gone.abort();
        let _ = gone.await;
        drop((one, two));
        let _both = (slots.acquire(urgency(1)).await, slots.acquire(urgency(1)).await);
        let third = tokio::time::timeout(std::time::Duration::from_millis(20), slots.acquire(urgency(1))).await;
        assert!(third.is_err(), "there are two");
    }
}
