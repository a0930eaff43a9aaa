//! The account's webhook: made, shown, changed, switched on and off, tried. ("Create webhook" and its neighbours in the API.)

use axum::{
    body::Bytes,
    extract::{Path, State},
};
use serde_json::{Map, Value, json};

use super::{
    Answer, ApiError, Sandbox, bad_request, created, id_of,
    input::{Input, missing},
    no_content, not_found, ok,
};
use crate::{clock::stamp, hooks::Webhook, state::life::Shared};

const EVENTS: [&str; 9] = [
    "certificate_issued",
    "certificate_revoked",
    "order_rejected",
    "organization_validated",
    "organization_expired",
    "organization_revalidation_notice",
    "domain_validated",
    "domain_expired",
    "domain_revalidation_notice",
];
/// The shortest secret.
const SECRET: usize = 32;

fn shown(webhook: &Webhook) -> Value {
    json!({
        "id": webhook.id, "endpoint": webhook.endpoint, "status": if webhook.active { "active" } else { "inactive" },
        "events": webhook.events, "webhook_settings": webhook.settings, "date_created": stamp(webhook.created),
        "has_secret": webhook.secret.is_some(),
    })
}

/// A webhook as a body describes it; what it leaves out stays as it was.
fn read(input: &Input, before: Option<&Webhook>, now: jiff::Timestamp) -> Result<Webhook, ApiError> {
    let mut webhook = before.cloned().unwrap_or_else(|| Webhook {
        id: 0,
        endpoint: String::new(),
        secret: None,
        events: vec!["certificate_issued".to_owned()],
        settings: Map::new(),
        active: false,
        created: now,
    });
    if let Some(endpoint) = input.text("endpoint") {
        endpoint.clone_into(&mut webhook.endpoint);
    }
    let endpoint = &webhook.endpoint;
    if endpoint.is_empty() {
        return Err(missing("endpoint"));
    }
    // Plain HTTP too: a sandbox is called from where nobody has a certificate.
    if !endpoint.starts_with("https://") && !endpoint.starts_with("http://") {
        return Err(bad_request("invalid_endpoint", &format!("'{endpoint}' is not a URL.")));
    }
    if let Some(secret) = input.text("secret") {
        if secret.len() < SECRET {
            return Err(bad_request("invalid_secret", &format!("A secret has at least {SECRET} characters.")));
        }
        webhook.secret = Some(secret.to_owned());
    }
    let events = input.texts("events");
    if let Some(unknown) = events.iter().find(|event| !EVENTS.contains(&event.as_str())) {
        return Err(bad_request("invalid_event", &format!("The event '{unknown}' is not known.")));
    }
    if !events.is_empty() {
        webhook.events = events;
    }
    if let Some(settings) = input.value("webhook_settings").and_then(Value::as_object) {
        webhook.settings.clone_from(settings);
    }
    Ok(webhook)
}

pub(super) async fn list(State(shared): Sandbox) -> Answer {
    ok(shared.read(|state, _| json!({ "webhooks": state.webhook.iter().map(shown).collect::<Value>() })))
}

pub(super) async fn create(State(shared): Sandbox, body: Bytes) -> Answer {
    let input = Input::required(&body)?;
    let id = shared.write(|state, now| {
        let webhook = read(&input, None, now)?;
        if state.webhook.is_some() {
            return Err(bad_request("webhook_exists", "The account has a webhook already; change that one."));
        }
        let id = state.next_id();
        state.webhook = Some(Webhook { id, ..webhook });
        Ok(id)
    })?;
    created(json!({ "webhook_id": id }))
}

fn change(shared: &Shared, id: &str, change: impl FnOnce(&mut Webhook) -> Result<(), ApiError>) -> Answer {
    let id = id_of(id, "webhook")?;
    shared.write(|state, _| {
        let webhook = state.webhook.as_mut().filter(|webhook| webhook.id == id).ok_or_else(|| not_found("webhook"))?;
        change(webhook)
    })?;
    no_content()
}

pub(super) async fn update(State(shared): Sandbox, Path(id): Path<String>, body: Bytes) -> Answer {
    let input = Input::required(&body)?;
    change(&shared, &id, |webhook| {
        *webhook = read(&input, Some(webhook), webhook.created)?;
        Ok(())
    })
}

pub(super) async fn activate(State(shared): Sandbox, Path(id): Path<String>) -> Answer {
    change(&shared, &id, |webhook| {
        webhook.active = true;
        Ok(())
    })
}

pub(super) async fn deactivate(State(shared): Sandbox, Path(id): Path<String>) -> Answer {
    change(&shared, &id, |webhook| {
        webhook.active = false;
        Ok(())
    })
}

/// Calls the endpoint with nothing in hand, to see whether it answers 2xx.
async fn answers(endpoint: &str) -> Result<(), ApiError> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().timeout(std::time::Duration::from_secs(5)).no_proxy().build();
    let client = client.map_err(|error| bad_request("endpoint_unreachable", &error.to_string()))?;
    match client.post(endpoint).json(&json!({ "event": "test", "data": {} })).send().await {
        Ok(response) if response.status().is_success() => Ok(()),
        Ok(response) => {
            Err(bad_request("endpoint_unreachable", &format!("The endpoint answered {}.", response.status())))
        }
        Err(error) => Err(bad_request("endpoint_unreachable", &error.without_url().to_string())),
    }
}

pub(super) async fn test_endpoint(body: Bytes) -> Answer {
    answers(Input::required(&body)?.required_text("endpoint")?).await?;
    no_content()
}

/// The challenge is that the endpoint answers.
pub(super) async fn challenge(State(shared): Sandbox, Path(id): Path<String>) -> Answer {
    let id = id_of(&id, "webhook")?;
    let webhook = shared.read(|state, _| state.webhook.clone().filter(|webhook| webhook.id == id));
    answers(&webhook.ok_or_else(|| not_found("webhook"))?.endpoint).await?;
    no_content()
}

pub(super) async fn event_logs(State(shared): Sandbox) -> Answer {
    ok(json!({ "event_logs": log(&shared) }))
}

/// What was sent, and what came of it.
pub(super) fn log(shared: &Shared) -> Value {
    shared.read(|state, _| {
        let all = state.deliveries.iter().map(|one| {
            json!({
                "event": one.event, "data": one.data, "date": stamp(one.at), "attempts": one.attempts,
                "response_status": one.status, "delivered": one.status.is_some_and(|status| (200..300).contains(&status)),
            })
        });
        all.collect()
    })
}
