//! Following all orders of an account with one call per tick.
//!
//! Whoever waits and finds the last look outdated looks for everybody; the others find its result. Windows overlap, because
//! the CA lists an order by the time of its last change and may list it late.

use std::{collections::HashMap, time::Duration};

use certcentral::{Client, OrderId, OrderStatus, StatusChange};
use tokio::{
    sync::{Mutex, Notify},
    time::Instant,
};

/// How far a window reaches back beyond the last successful look.
const OVERLAP: Duration = Duration::from_secs(120);
/// How long a change is remembered for those who have not asked yet.
const REMEMBERED: Duration = Duration::from_secs(3600);

pub(crate) struct Follower {
    client: Client,
    tick: Duration,
    seen: Mutex<Seen>,
    hinted: Notify,
}

struct Seen {
    /// Changes before this instant are known.
    until: Instant,
    last_look: Option<Instant>,
    changes: HashMap<OrderId, (Instant, StatusChange)>,
}

impl Follower {
    pub(crate) fn new(client: Client, tick: Duration) -> Self {
        let seen = Seen { until: Instant::now(), last_look: None, changes: HashMap::new() };
        Self { client, tick, seen: Mutex::new(seen), hinted: Notify::new() }
    }

    /// Whoever waits looks now. A hint is not believed: it only makes the next look come sooner.
    pub(crate) fn hint(&self) {
        self.hinted.notify_waiters();
    }

    /// Waits until the order has a status other than `known`, or until `deadline`.
    ///
    /// # Errors
    /// What the call for status changes says, when it fails beyond the client's own retries.
    pub(crate) async fn changed(
        &self,
        order: OrderId,
        known: &OrderStatus,
        deadline: Instant,
    ) -> certcentral::Result<Option<StatusChange>> {
        loop {
            // Listening begins before looking, so that no hint falls between.
            let hinted = self.hinted.notified();
            let wake = {
                let mut seen = self.seen.lock().await;
                let now = Instant::now();
                if seen.last_look.is_none_or(|last| now.duration_since(last) >= self.tick) {
                    seen.last_look = Some(now);
                    let window = now.duration_since(seen.until) + OVERLAP;
                    for change in self.client.status_changes(window).await? {
                        seen.changes.insert(change.order_id, (now, change));
                    }
                    seen.until = now;
                    seen.changes.retain(|_, (at, _)| now.duration_since(*at) < REMEMBERED);
                }
                if let Some((_, change)) = seen.changes.get(&order).filter(|(_, change)| change.status != *known) {
                    return Ok(Some(change.clone()));
                }
                seen.last_look.unwrap_or(now) + self.tick
            };
            tokio::select! {
                () = tokio::time::sleep_until(wake.min(deadline)) => {
                    if wake >= deadline {
                        return Ok(None);
                    }
                }
                () = hinted => self.seen.lock().await.last_look = None,
            }
        }
    }
}
