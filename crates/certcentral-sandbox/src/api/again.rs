//! More certificates of an issued order: reissues replace the one in force, duplicates stand beside it. Decides which
//! orders may have one and which names it may have; what the certificate itself must say is `placing`'s, when it is
//! issued `state`'s. ("Reissue certificate", "Duplicate certificate", "List reissues", "List duplicates" of the API;
//! "Flex certificates: Duplicate an SSL/TLS certificate" for the names.)

use axum::{
    Extension,
    body::Bytes,
    extract::{Path, RawQuery, State},
};
use serde_json::{Value, json};

use super::{
    Answer, ApiError, Caller, Sandbox, bad_request,
    input::Input,
    not_found, ok,
    orders::{days_remaining, platform},
    placing::{approved, certificate_of, file_certificate, finish, method_of, scope_of},
    query::Query,
};
use crate::{
    account::{Product, Validation},
    clock::{date, stamp},
    state::{Before, Certificate, Kind, Order, life::Shared},
};

pub(super) async fn reissue(
    sandbox: Sandbox,
    caller: Extension<Caller>,
    Path(id): Path<String>,
    body: Bytes,
) -> Answer {
    again(sandbox, caller, &id, &body, Kind::Reissue).await
}

pub(super) async fn duplicate(
    sandbox: Sandbox,
    caller: Extension<Caller>,
    Path(id): Path<String>,
    body: Bytes,
) -> Answer {
    again(sandbox, caller, &id, &body, Kind::Duplicate).await
}

async fn again(
    State(shared): Sandbox,
    Extension(Caller(key)): Extension<Caller>,
    id: &str,
    body: &Bytes,
    kind: Kind,
) -> Answer {
    let config = &shared.config;
    let order = shared.read(|state, _| state.find_order(id).cloned()).ok_or_else(|| not_found("order"))?;
    let input = Input::required(body)?;
    let now = shared.clock.now();
    allowed(&order, now)?;
    let product = config.product(&order.product).ok_or_else(|| not_found("product"))?;
    let method = method_of(&input)?.unwrap_or(order.method);
    let scope = scope_of(&input)?.unwrap_or(order.scope);
    let certificate = certificate_of(&shared, &input, product, method, kind, order.valid_till, now)?;
    if kind == Kind::Duplicate {
        same_names(&certificate, order.shown(), product)?;
    }
    let approved = approved(config, &input);
    let request = shared.write(|state, now| {
        // Another caller may have been faster.
        let order = state.orders.get_mut(&order.id).ok_or_else(|| not_found("order"))?;
        allowed(order, now)?;
        order.before = Some(Before {
            method: order.method,
            scope: order.scope,
            entries: order.entries.clone(),
            ev_approved: order.ev_approved,
        });
        order.method = method;
        order.scope = scope;
        order.ev_approved = order.validation == Validation::Ov || (approved && key.ev_approver);
        if kind == Kind::Reissue {
            order.set_status("reissue_pending", now);
        }
        let id = order.id;
        Ok::<_, ApiError>(file_certificate(state, id, certificate, approved, &input, key.user_id, &shared, now))
    })?;
    finish(&shared, order.id, request, approved).await
}

/// An issued order with a certificate in force, and nothing under way.
fn allowed(order: &Order, now: jiff::Timestamp) -> Result<(), ApiError> {
    if order.valid_till <= now {
        return Err(bad_request("order_expired", "The order has expired; renew it."));
    }
    let unfinished = |one: &Certificate| matches!(one.status.as_str(), "pending" | "needs_approval");
    if order.status != "issued" || order.certificates.iter().any(unfinished) {
        let message = "Only an issued order without a pending certificate can be reissued or duplicated.";
        return Err(bad_request("invalid_order_status", message));
    }
    if order.shown().status == "revoked" {
        let message = "A revoked certificate cannot be reissued or duplicated.";
        return Err(bad_request("certificate_revoked", message));
    }
    Ok(())
}

/// What a duplicate may have for names: of a flex product some of the original's in any order; of the older products
/// all of them, and names below one of its wildcards.
fn same_names(copy: &Certificate, original: &Certificate, product: &Product) -> Result<(), ApiError> {
    let known = |name: &String| original.dns_names.contains(name);
    let below = |name: &String| {
        let wildcards = original.dns_names.iter().filter_map(|known| known.strip_prefix('*'));
        !product.flex && wildcards.into_iter().any(|parent| name.ends_with(parent) || *name == parent[1..])
    };
    let all = product.flex || original.dns_names.iter().all(|name| copy.dns_names.contains(name));
    if all && copy.dns_names.iter().all(|name| known(name) || below(name)) {
        return Ok(());
    }
    let message = "Invalid DNS name on duplicate request. The DNS names must match what was on the original order.";
    Err(bad_request("invalid_dns_name_on_duplicate", message))
}

pub(super) async fn reissues(State(shared): Sandbox, Path(id): Path<String>, RawQuery(query): RawQuery) -> Answer {
    listed(&shared, &id, query.as_deref(), Kind::Reissue)
}

pub(super) async fn duplicates(State(shared): Sandbox, Path(id): Path<String>, RawQuery(query): RawQuery) -> Answer {
    listed(&shared, &id, query.as_deref(), Kind::Duplicate)
}

fn listed(shared: &Shared, reference: &str, query: Option<&str>, kind: Kind) -> Answer {
    let order = shared.read(|state, _| state.find_order(reference).cloned()).ok_or_else(|| not_found("order"))?;
    let archived = Query::parse(query).flag("show_archived");
    let now = shared.clock.now();
    let wanted = order.certificates.iter().filter(|one| one.kind == kind && (archived || !one.archived));
    let sub_id = |id: u64| order.duplicates().position(|one| one.id == id).map_or(0, |at| at + 1);
    // The newest first: clients take the first one after asking for another.
    let items = wanted.rev().map(|one| {
        // Orders need approval; of a certificate it is not told.
        let status = if one.status == "needs_approval" { "pending" } else { &one.status };
        let mut item = json!({
            "id": one.id, "common_name": one.common_name, "dns_names": one.dns_names, "status": status,
            "date_created": stamp(one.created), "csr": one.csr, "key_size": one.key_size, "user_id": order.user,
            "email": "user@example.com", "firstname": "Sandbox", "lastname": "User",
        });
        if kind == Kind::Duplicate {
            item["archived"] = json!(u8::from(one.archived).to_string());
            item["server_platform"] = platform(one.server_platform);
            item["signature_hash"] = json!(one.signature_hash);
            item["ca_cert_id"] = json!(shared.authority.issuing_with(&one.ca).id());
            item["sub_id"] = json!(format!("{:03}", sub_id(one.id)));
            item["public_id"] = json!(format!("{:016X}", one.id));
        } else {
            item["archived"] = json!(u8::from(one.archived));
            item["receipt_id"] = json!("0");
            item["purchased_dns_names"] = json!("0");
            item["purchased_wildcard_names"] = json!("0");
        }
        if let Some(issue) = &one.issued {
            item["thumbprint"] = json!(issue.thumbprint);
            item["serial_number"] = json!(issue.serial);
            item["date_issued"] = json!(stamp(issue.at));
            item["valid_from"] = json!(date(issue.not_before));
            item["valid_till"] = json!(date(issue.not_after));
            item["days_remaining"] = json!(days_remaining(issue.not_after, now));
        }
        item
    });
    ok(json!({ "certificates": items.collect::<Value>() }))
}
