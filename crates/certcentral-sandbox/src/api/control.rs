//! The control endpoints below `/sandbox`, for tests and not part of CertCentral: what was asked, the root to trust,
//! the organizations' state, the clock, faults, the EV approver. No key is needed; only loopback may call.

use std::sync::Arc;

use axum::{
    Router,
    body::Bytes,
    extract::{ConnectInfo, Path, Request, State},
    http::StatusCode,
    middleware::{self, Next},
    response::{Html, IntoResponse, Response},
    routing::{get, put},
};
use serde::Deserialize;
use serde_json::json;

use super::{Answer, ApiError, Peer, Sandbox, bad_request, file, id_of, no_content, not_found, ok};
use crate::{account::OrganizationValidation, clock::stamp, faults, state::life::Shared};

pub(super) fn router() -> Router<Arc<Shared>> {
    Router::new()
        .route("/requests", get(seen))
        .route("/lookups", get(lookups))
        .route("/deliveries", get(deliveries))
        .route("/mails", get(mails))
        .route("/mails/{link}", get(show_link).post(open_link))
        .route("/root.pem", get(root))
        .route("/organizations/{id}", put(organization))
        .route("/orders/{id}/ev-approval", put(ev_approval))
        .route("/clock", get(clock).post(advance))
        .route("/faults", get(list_faults).post(add_fault).delete(clear_faults))
        .layer(middleware::from_fn(loopback_only))
}

async fn loopback_only(ConnectInfo(peer): ConnectInfo<Peer>, request: Request, next: Next) -> Response {
    if peer.address.ip().to_canonical().is_loopback() {
        return next.run(request).await;
    }
    ApiError::new(StatusCode::FORBIDDEN, "sandbox_loopback_only", "Control endpoints answer on loopback only.")
        .into_response()
}

fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| bad_request("sandbox_bad_request", &error.to_string()))
}

async fn seen(State(shared): Sandbox) -> Answer {
    let seen = shared.seen.lock().expect("no panic while held").clone();
    ok(json!({ "requests": seen }))
}

async fn lookups(State(shared): Sandbox) -> Answer {
    ok(json!({ "lookups": shared.validator.lookups() }))
}

async fn root(State(shared): Sandbox) -> Answer {
    file("application/x-pem-file", "root.pem", shared.authority.root_pem().as_bytes().to_vec())
}

async fn deliveries(State(shared): Sandbox) -> Answer {
    ok(json!({ "deliveries": super::webhooks::log(&shared) }))
}

async fn mails(State(shared): Sandbox) -> Answer {
    let mails = shared.read(|state, _| {
        let all = state.mails.iter().map(|mail| {
            json!({
                "to": mail.to, "domain": mail.name, "sent": stamp(mail.sent), "expires": stamp(mail.expires),
                "link": format!("{}/mails/{}", shared.control, mail.link), "approved": mail.approved.map(stamp),
            })
        });
        all.collect::<serde_json::Value>()
    });
    ok(json!({ "mails": mails }))
}

/// What somebody sees who follows the link of a mail: a page with a button, since looking at a link must not approve.
async fn show_link(State(shared): Sandbox, Path(link): Path<String>) -> Answer {
    let name = shared.read(|state, now| {
        state.mails.iter().find(|mail| mail.link == link && mail.expires > now).map(|mail| mail.name.clone())
    });
    let name = name.ok_or_else(|| not_found("mail"))?;
    let page = format!(
        "<!doctype html><title>Domain control validation</title><h1>{name}</h1><p>A certificate was ordered for names of \
         {name}.</p><form method=\"post\"><button>I approve it</button></form>"
    );
    Ok(Html(page).into_response())
}

async fn open_link(State(shared): Sandbox, Path(link): Path<String>) -> Answer {
    let name = shared.write(|state, now| state.approve_by_mail(&link, now, &shared.config));
    let name = name.ok_or_else(|| not_found("mail"))?;
    shared.settle_all().await;
    shared.deliver_hooks();
    shared.save().await;
    Ok(Html(format!("<!doctype html><title>Approved</title><p>{name} is approved.</p>")).into_response())
}

/// What to change of an organization; what is missing stays.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OrganizationChange {
    active: Option<bool>,
    ov: Option<OrganizationValidation>,
    ev: Option<OrganizationValidation>,
}

async fn organization(State(shared): Sandbox, Path(id): Path<String>, body: Bytes) -> Answer {
    let id = id_of(&id, "organization")?;
    let change: OrganizationChange = read(&body)?;
    let known = shared.write(|state, now| {
        let organization = state.organizations.get_mut(&id)?;
        organization.active = change.active.unwrap_or(organization.active);
        organization.ov = change.ov.or_else(|| organization.ov.take());
        organization.ev = change.ev.or_else(|| organization.ev.take());
        let validated = [&organization.ov, &organization.ev].into_iter().flatten().any(|one| one.live(now));
        if validated {
            state.emit("organization_validated", json!({ "organization_id": id }), now);
        }
        Some(())
    });
    known.ok_or_else(|| not_found("organization"))?;
    settled(&shared).await
}

async fn ev_approval(State(shared): Sandbox, Path(id): Path<String>) -> Answer {
    let id = id_of(&id, "order")?;
    let known = shared.write(|state, _| state.orders.get_mut(&id).map(|order| order.ev_approved = true));
    known.ok_or_else(|| not_found("order"))?;
    settled(&shared).await
}

async fn clock(State(shared): Sandbox) -> Answer {
    ok(json!({ "now": stamp(shared.clock.now()), "offset_seconds": shared.clock.offset_seconds() }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    seconds: i64,
}

async fn advance(State(shared): Sandbox, body: Bytes) -> Answer {
    let advance: Advance = read(&body)?;
    shared.clock.advance(advance.seconds);
    shared.write(crate::state::State::end_due);
    shared.save().await;
    shared.wake.notify_one();
    clock(State(shared)).await
}

async fn add_fault(State(shared): Sandbox, body: Bytes) -> Answer {
    let order: faults::Order = read(&body)?;
    shared.faults.add(order).map_err(|unknown| bad_request("sandbox_fault", &unknown))?;
    no_content()
}

async fn list_faults(State(shared): Sandbox) -> Answer {
    ok(json!({ "faults": shared.faults.waiting() }))
}

async fn clear_faults(State(shared): Sandbox) -> Answer {
    shared.faults.clear();
    no_content()
}

async fn settled(shared: &Arc<Shared>) -> Answer {
    shared.settle_all().await;
    shared.deliver_hooks();
    shared.save().await;
    no_content()
}
