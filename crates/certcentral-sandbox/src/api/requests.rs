//! Requests: what waits for an approver, and the approver's answer.

use axum::{
    Extension,
    body::Bytes,
    extract::{Path, RawQuery, State},
    http::HeaderMap,
};
use serde_json::{Value, json};

use super::{
    Answer, Caller, Sandbox, bad_request,
    csv::listed,
    id_of,
    input::Input,
    no_content, not_found, ok,
    orders::container,
    organizations::user,
    products::product_brief,
    query::{Fields, Query},
    revoking::revoke_now,
};
use crate::{
    clock::{date, stamp},
    state::{Certificate, Request, RequestKind, State as Files, life::Shared},
};

fn brief(shared: &Shared, state: &Files, request: &Request) -> Value {
    let mut item = json!({
        "id": request.id, "date": stamp(request.date), "type": request.kind, "status": request.status,
        "requester": user(request.requester),
    });
    if let Some(processor) = request.processor {
        item["processor"] = user(processor);
    }
    if let Some(order) = state.orders.get(&request.order) {
        let organization = state.organizations.get(&order.organization).map(|organization| &organization.name);
        item["order"] = json!({
            "id": order.id, "certificate": { "common_name": order.shown().common_name },
            "organization": { "id": order.organization, "name": organization }, "container": container(),
            "product": shared.config.product(&order.product).map(product_brief),
        });
    }
    item
}

pub(super) async fn list(State(shared): Sandbox, RawQuery(query): RawQuery, headers: HeaderMap) -> Answer {
    let query = Query::parse(query.as_deref());
    let page = shared.read(|state, _| {
        let rows = state.requests.values().map(|request| {
            let fields = Fields::from([
                ("id", vec![request.id.to_string()]),
                ("status", vec![request.status.clone()]),
                ("type", vec![json!(request.kind).as_str().unwrap_or_default().to_owned()]),
                ("date", vec![stamp(request.date)]),
                ("order_id", vec![request.order.to_string()]),
            ]);
            (fields, brief(&shared, state, request))
        });
        query.page("requests", rows.collect())
    });
    listed("requests", page, &headers)
}

pub(super) async fn info(State(shared): Sandbox, Path(id): Path<String>) -> Answer {
    let id = id_of(&id, "request")?;
    let body = shared.read(|state, _| {
        let request = state.requests.get(&id)?;
        let mut body = brief(&shared, state, request);
        if let Some(processed) = request.processed {
            body["date_processed"] = json!(stamp(processed));
        }
        body["comments"] = json!(request.comments);
        body["processor_comment"] = json!(request.processor_comment);
        body["order"]["unsubmitted_domains"] = json!([]);
        let old = state.orders.get(&request.order).and_then(|order| order.renewal_of);
        if let Some(old) = old.and_then(|id| state.orders.get(&id)) {
            body["order"]["renewal_of_order_id"] = json!(old.id);
            body["order"]["renewal_of_order_valid_till"] = json!(date(old.valid_till));
        }
        Some(body)
    });
    ok(body.ok_or_else(|| not_found("request"))?)
}

pub(super) async fn update_status(
    State(shared): Sandbox,
    Extension(Caller(key)): Extension<Caller>,
    Path(id): Path<String>,
    body: Bytes,
) -> Answer {
    let id = id_of(&id, "request")?;
    let input = Input::required(&body)?;
    let status = input.required_text("status")?.to_owned();
    if !["submitted", "pending", "approved", "rejected"].contains(&status.as_str()) {
        return Err(bad_request("invalid_status", &format!("The status '{status}' cannot be set.")));
    }
    let comment = input.text("processor_comment").unwrap_or_default();
    let order = shared.write(|state, now| {
        let request = state.requests.get_mut(&id).ok_or_else(|| not_found("request"))?;
        if matches!(request.status.as_str(), "approved" | "rejected") {
            return Err(bad_request("request_already_processed", "The request was already processed."));
        }
        request.status.clone_from(&status);
        let final_answer = matches!(status.as_str(), "approved" | "rejected");
        if final_answer {
            request.processed = Some(now);
            request.processor = Some(key.user_id);
            comment.clone_into(&mut request.processor_comment);
        }
        let request = request.clone();
        if final_answer {
            answer(state, &shared, &request, status == "approved", key.ev_approver, now);
        }
        Ok(request.order)
    })?;
    shared.settle(order).await;
    no_content()
}

/// What an approver's answer does to the order.
fn answer(
    state: &mut Files,
    shared: &Shared,
    request: &Request,
    approved: bool,
    ev_approver: bool,
    now: jiff::Timestamp,
) {
    if request.kind == RequestKind::Revoke {
        if approved {
            let whole_when_last = shared.config.revoke_order_with_last_certificate;
            revoke_now(state, request.order, &request.certificates, whole_when_last, now);
        }
        return;
    }
    let Some(order) = state.orders.get_mut(&request.order) else { return };
    if !approved {
        order.give_up("rejected", now);
        state.recall_renewal(request.order);
        return;
    }
    let waiting = |one: &&mut Certificate| request.certificates.contains(&one.id) && one.status == "needs_approval";
    for certificate in order.certificates.iter_mut().filter(waiting) {
        "pending".clone_into(&mut certificate.status);
    }
    order.ev_approved |= ev_approver;
    if request.kind == RequestKind::NewRequest {
        order.set_status("pending", now);
    }
    state.begin(request.order, now, &shared.config);
}
