//! Following all orders of an account with one call per tick.
//!
//! Whoever waits and finds the last look outdated looks for everybody; the others find its result. Windows overlap, because
//! the CA lists an order by the time of its last change and may list it late.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use certcentral::{Client, OrderId, OrderStatus, StatusChange};
use jiff::Timestamp;
use tokio::{
    sync::{Mutex, Notify},
    time::Instant,
};

/// How far a window reaches back beyond the last successful look.
const OVERLAP: Duration = Duration::from_secs(120);
/// How long a change is remembered for those who have not asked yet.
const REMEMBERED: Duration = Duration::from_secs(3600);

/// Follows the orders of an account. Cheap to clone; clones share what was seen, so that one look serves all runs of a process
/// ([`DcvBuilder::follower`](crate::DcvBuilder::follower)) and whoever else wants to know.
#[derive(Clone)]
pub struct Follower {
    shared: Arc<Shared>,
}

struct Shared {
    tick: Duration,
    seen: Mutex<Seen>,
    hinted: Notify,
    /// Something has happened since the last look, somebody says.
    stale: AtomicBool,
}

struct Seen {
    /// Changes before this instant are known,
    until: Instant,
    /// back to this moment.
    reach: Timestamp,
    last_look: Option<Instant>,
    /// The last change of each order, and when it was first seen.
    changes: HashMap<OrderId, (Instant, StatusChange)>,
}

impl Follower {
    /// One that looks no more often than once in a `tick`.
    pub fn new(tick: Duration) -> Self {
        let (until, reach) = (Instant::now(), Timestamp::now());
        let seen = Seen { until, reach, last_look: None, changes: HashMap::new() };
        let shared = Shared { tick, seen: Mutex::new(seen), hinted: Notify::new(), stale: AtomicBool::new(false) };
        Self { shared: Arc::new(shared) }
    }

    /// Something has happened, somebody says: the next look comes at once and not at the next tick. A hint is not believed.
    pub fn hint(&self) {
        self.shared.stale.store(true, Ordering::Release);
        self.shared.hinted.notify_waiters();
    }

    /// The last change of each order that has changed since then, as far as the CA has told by the last look, and how long ago it was
    /// first seen. At most one call: none where the last look is younger than a tick and reaches back far enough.
    ///
    /// # Errors
    /// What the call for status changes says, when it fails beyond the client's own retries. The next one asks for a longer time.
    pub async fn changes(
        &self,
        client: &Client,
        since: Timestamp,
    ) -> certcentral::Result<Vec<(Duration, StatusChange)>> {
        let mut seen = self.shared.seen.lock().await;
        self.shared.look(client, &mut seen, Some(since)).await?;
        Ok(seen.changes.values().map(|(at, change)| (at.elapsed(), change.clone())).collect())
    }

    /// Waits until the order has a status other than `known`, which it had at `looked`, or until `deadline`. What was told before that is
    /// probably older than what the caller knows, and is believed no sooner than after a tick.
    ///
    /// # Errors
    /// What the call for status changes says, when it fails beyond the client's own retries.
    pub(crate) async fn changed(
        &self,
        client: &Client,
        order: OrderId,
        known: &OrderStatus,
        looked: Instant,
        deadline: Instant,
    ) -> certcentral::Result<Option<StatusChange>> {
        let mut waited = false;
        loop {
            // Listening begins before looking, so that no hint falls between.
            let hinted = self.shared.hinted.notified();
            let wake = {
                let mut seen = self.shared.seen.lock().await;
                self.shared.look(client, &mut seen, None).await?;
                let is_news = |(told, change): &&(Instant, StatusChange)| {
                    (waited || *told >= looked) && !is_the_same(&change.status, known)
                };
                if let Some((_, change)) = seen.changes.get(&order).filter(is_news) {
                    return Ok(Some(change.clone()));
                }
                seen.last_look.unwrap_or_else(Instant::now) + self.shared.tick
            };
            tokio::select! {
                () = tokio::time::sleep_until(wake.min(deadline)) => {
                    if wake >= deadline {
                        return Ok(None);
                    }
                }
                () = hinted => {}
            }
            waited = true;
        }
    }
}

/// Whether two words say the same of an order: lists and the order itself do not use the same ones.
fn is_the_same(one: &OrderStatus, other: &OrderStatus) -> bool {
    let at_the_ca = |status: &OrderStatus| matches!(status, OrderStatus::Pending | OrderStatus::Processing);
    one == other || (at_the_ca(one) && at_the_ca(other))
}

impl Shared {
    /// Looks, if the last look is outdated or does not reach back far enough.
    async fn look(&self, client: &Client, seen: &mut Seen, since: Option<Timestamp>) -> certcentral::Result<()> {
        let now = Instant::now();
        let back = since.filter(|since| *since < seen.reach);
        // Whoever looks once in a tick by a clock of its own may come a little early.
        let fresh = seen.last_look.is_some_and(|last| now.duration_since(last) < self.tick * 9 / 10);
        let hinted = self.stale.swap(false, Ordering::AcqRel);
        if fresh && !hinted && back.is_none() {
            return Ok(());
        }
        seen.last_look = Some(now);
        let ago = |since: Timestamp| Duration::try_from(Timestamp::now().duration_since(since)).unwrap_or_default();
        let window = now.duration_since(seen.until).max(back.map(ago).unwrap_or_default()) + OVERLAP;
        let changes = client.status_changes(window).await?;
        // Not before: what happened while it was asked is in the answer.
        let told = Instant::now();
        for change in changes {
            match seen.changes.get(&change.order_id) {
                Some((_, known)) if *known == change => {}
                _ => drop(seen.changes.insert(change.order_id, (told, change))),
            }
        }
        seen.until = now;
        seen.reach = back.unwrap_or(seen.reach);
        seen.changes.retain(|_, (at, _)| now.duration_since(*at) < REMEMBERED);
        Ok(())
    }
}
