//! Revocation of one certificate or of an order with all of its certificates: who may do it at once, what waits for an
//! approver, what cannot be revoked. ("Revoke certificate", "Revoke order certificates" of the API.)

use axum::{
    Extension,
    body::Bytes,
    extract::{Path, State},
};
use serde_json::json;

use super::{
    Answer, ApiError, Caller, Sandbox, bad_request, created, input::Input, no_content, not_found, organizations::user,
};
use crate::{
    account::{Approval, Role},
    clock::stamp,
    state::{Certificate, Order, Request, RequestKind, State as Files, life::Shared},
};

const REASONS: [&str; 5] = ["unspecified", "keyCompromise", "affiliationChanged", "superseded", "cessationOfOperation"];

pub(super) async fn revoke(
    State(shared): Sandbox,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    body: Bytes,
) -> Answer {
    let found = shared.read(|state, _| state.find_certificate(&id).map(|(order, one)| (order.clone(), one.id)));
    let (order, certificate) = found.ok_or_else(|| not_found("certificate"))?;
    ask_to_revoke(&shared, &caller, &order, vec![certificate], &body)
}

pub(super) async fn revoke_order(
    State(shared): Sandbox,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    body: Bytes,
) -> Answer {
    let order = shared.read(|state, _| state.find_order(&id).cloned()).ok_or_else(|| not_found("order"))?;
    // No certificate named means all of the order.
    ask_to_revoke(&shared, &caller, &order, Vec::new(), &body)
}

fn ask_to_revoke(shared: &Shared, Caller(key): &Caller, order: &Order, certificates: Vec<u64>, body: &Bytes) -> Answer {
    let input = Input::optional(body)?;
    let reason = input.text("revocation_reason").unwrap_or("unspecified");
    if !REASONS.contains(&reason) {
        return Err(bad_request("invalid_revocation_reason", &format!("The reason '{reason}' is not known.")));
    }
    revocable(order, &certificates)?;
    if input.flag("skip_approval") && key.role == Role::Administrator {
        let whole_when_last = shared.config.revoke_order_with_last_certificate;
        shared.write(|state, now| revoke_now(state, order.id, &certificates, whole_when_last, now));
        return no_content();
    }
    // An account that approves by itself says `submitted`, one whose approvers have to act `pending`.
    let automatic = shared.config.approval == Approval::Automatic;
    let status = if automatic { "submitted" } else { "pending" };
    let comments = input.text("comments").or(input.text("comment")).unwrap_or_default().to_owned();
    let body = shared.write(|state, now| {
        let id = state.next_id();
        let request = Request {
            id,
            kind: RequestKind::Revoke,
            status: if automatic { "approved" } else { "pending" }.to_owned(),
            date: now,
            processed: automatic.then_some(now),
            requester: key.user_id,
            processor: automatic.then_some(key.user_id),
            order: order.id,
            certificates: certificates.clone(),
            comments: comments.clone(),
            processor_comment: String::new(),
        };
        state.requests.insert(id, request);
        if let Some(order) = state.orders.get_mut(&order.id) {
            order.requests.push(id);
        }
        if automatic {
            revoke_now(state, order.id, &certificates, shared.config.revoke_order_with_last_certificate, now);
        }
        json!({
            "id": id, "date": stamp(now), "type": "revoke", "status": status, "requester": user(key.user_id),
            "comments": comments,
        })
    });
    created(body)
}

/// Something of what is meant is in force, and no reissue is under way.
fn revocable(order: &Order, certificates: &[u64]) -> Result<(), ApiError> {
    let refuse = |message: &str| Err(bad_request("cannot_revoke", message));
    if order.status == "reissue_pending" {
        return refuse("A certificate with a pending reissue cannot be revoked; cancel the reissue or wait for it.");
    }
    let meant = |one: &&Certificate| certificates.is_empty() || certificates.contains(&one.id);
    if !order.certificates.iter().filter(meant).any(|one| one.status == "issued") {
        return refuse("Only an issued certificate can be revoked.");
    }
    Ok(())
}

/// Revokes these certificates of the order; none named means all, and then the order is revoked too. A single
/// certificate takes its order along only if it was the last one and the account says so.
pub(super) fn revoke_now(
    state: &mut Files,
    order: u64,
    certificates: &[u64],
    whole_when_last: bool,
    now: jiff::Timestamp,
) {
    let Some(order) = state.orders.get_mut(&order) else { return };
    let all = certificates.is_empty();
    for one in &mut order.certificates {
        if one.status == "issued" && (all || certificates.contains(&one.id)) {
            "revoked".clone_into(&mut one.status);
        }
    }
    if all || (whole_when_last && !order.certificates.iter().any(|one| one.status == "issued")) {
        order.set_status("revoked", now);
    }
}
