//! What becomes of an order's earlier certificates: the reissue that is given up, the one that ends those before it, and
//! the renewal that did not come to be.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Certificate, DcvMethod, Entry, Order, State};
use crate::{account::Scope, clock::later};

/// How long earlier certificates live on after a reissue without one of their names ("Reissue certificates": within
/// 72 hours), in seconds.
const REVOKED_AFTER: i64 = 72 * 3_600;

/// How an order was validated before its pending reissue.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Before {
    pub(crate) method: DcvMethod,
    pub(crate) scope: Scope,
    pub(crate) entries: Vec<Entry>,
    pub(crate) ev_approved: bool,
}

impl Order {
    /// Whether its last day still changes something. What nobody has approved or what is over stays as it is.
    pub(crate) fn can_expire(&self) -> bool {
        matches!(self.status.as_str(), "pending" | "reissue_pending" | "issued")
    }

    /// Ends the pending reissue, or all of an order that was never issued; `fate` is what becomes of its certificate.
    pub(crate) fn give_up(&mut self, fate: &str, now: Timestamp) {
        let unfinished = |one: &&mut Certificate| matches!(one.status.as_str(), "pending" | "needs_approval");
        for certificate in self.certificates.iter_mut().filter(unfinished) {
            fate.clone_into(&mut certificate.status);
        }
        self.ready_since = None;
        self.value = None;
        if let Some(before) = self.before.take() {
            (self.method, self.scope, self.entries) = (before.method, before.scope, before.entries);
            self.ev_approved = before.ev_approved;
        }
        let status = if self.primary.is_some() { "issued" } else { fate };
        if self.status != status {
            self.set_status(status, now);
        }
    }

    /// A reissue that only adds names leaves the earlier certificates alone; one that leaves out or changes a name ends
    /// the original and every reissue and duplicate before it.
    pub(super) fn sentence(&mut self, new: u64, now: Timestamp) {
        let (Some(old), Some(names)) = (self.primary(), self.certificate(new).map(|one| &one.dns_names)) else {
            return;
        };
        if old.dns_names.iter().all(|name| names.contains(name)) {
            return;
        }
        for certificate in self.certificates.iter_mut().filter(|one| one.id != new && one.status == "issued") {
            certificate.revoke_at.get_or_insert(later(now, REVOKED_AFTER));
        }
    }
}

impl State {
    /// Ends what is due: orders at their last day, and certificates that a reissue sentenced.
    pub(crate) fn end_due(&mut self, now: Timestamp) {
        for order in self.orders.values_mut().filter(|order| order.can_expire() && order.valid_till <= now) {
            order.give_up("expired", now);
            order.set_status("expired", now);
        }
        let all = self.orders.values_mut().flat_map(|order| &mut order.certificates);
        for certificate in all.filter(|one| one.revoke_at.is_some_and(|at| at <= now)) {
            certificate.revoke_at = None;
            if certificate.status == "issued" {
                "revoked".clone_into(&mut certificate.status);
            }
        }
    }

    /// Whether an order that is still wanted renews this one, after another was given up.
    pub(crate) fn recall_renewal(&mut self, given_up: u64) {
        let Some(old) = self.orders.get(&given_up).and_then(|order| order.renewal_of) else { return };
        let wanted = |order: &&Order| !matches!(order.status.as_str(), "canceled" | "rejected");
        let renewed = self.orders.values().filter(wanted).any(|order| order.renewal_of == Some(old));
        if let Some(old) = self.orders.get_mut(&old) {
            old.renewed = renewed;
        }
    }
}
