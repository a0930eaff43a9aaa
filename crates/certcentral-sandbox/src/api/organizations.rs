//! The account itself: organizations and their validation, products, and the caller's user.

use axum::{
    body::Bytes,
    extract::{Path, RawQuery, State},
    http::HeaderMap,
};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    Answer, ApiError, Sandbox, bad_request, created,
    csv::listed,
    domains::description,
    id_of,
    input::{Input, missing},
    no_content, not_found, ok,
    orders::container,
    query::{Fields, Query},
};
use crate::{
    account::{Organization, OrganizationValidation},
    clock::{days_later, stamp},
    state::{State as Files, life::Shared},
};

/// How long an organization validation counts (BR 4.2.1 since 15 March 2026), in days.
const REUSE_DAYS: i64 = 398;

/// Fields of an organization that some write as numbers.
pub(super) const TEXTS: [&str; 2] = ["zip", "telephone"];

/// The user of a key.
pub(super) fn user(id: u64) -> Value {
    json!({ "id": id, "first_name": "Sandbox", "last_name": "User", "email": "user@example.com" })
}

pub(super) fn validations(organization: &Organization, now: Timestamp) -> Vec<Value> {
    let kinds = [("ov", &organization.ov), ("ev", &organization.ev)];
    let known = kinds.into_iter().filter_map(|(kind, validation)| Some((kind, validation.as_ref()?)));
    let items = known.map(|(kind, validation)| {
        let mut item = json!({
            "type": kind, "name": kind.to_uppercase(), "description": description(kind), "date_created": stamp(now),
            "status": if validation.live(now) { "active" } else { "pending" },
        });
        if let OrganizationValidation::Active { until } = validation {
            item["validated_until"] = json!(stamp(until.unwrap_or_else(|| days_later(now, REUSE_DAYS))));
        }
        item
    });
    items.collect()
}

fn item(organization: &Organization, now: Timestamp) -> Value {
    let contact = json!({
        "id": 30_001, "first_name": "Sandbox", "last_name": "User", "email": "user@example.com",
        "job_title": "Engineer", "telephone": organization.telephone,
    });
    let display = match &organization.assumed_name {
        Some(assumed) => format!("{} ({assumed})", organization.name),
        None => organization.name.clone(),
    };
    let mut item = json!({
        "id": organization.id, "status": if organization.active { "active" } else { "inactive" },
        "name": organization.name, "display_name": display, "is_active": organization.active,
        "address": organization.address, "zip": organization.zip, "city": organization.city,
        "state": organization.state, "country": organization.country, "telephone": organization.telephone,
        "container": container(), "organization_contact": contact, "ev_approvers": [user(20_001)],
        "validations": validations(organization, now),
    });
    if let Some(assumed) = &organization.assumed_name {
        item["assumed_name"] = json!(assumed);
    }
    item
}

fn find(shared: &Shared, reference: &str) -> Result<Organization, ApiError> {
    let id = id_of(reference, "organization")?;
    shared.read(|state, _| state.organizations.get(&id).cloned()).ok_or_else(|| not_found("organization"))
}

pub(super) async fn list(State(shared): Sandbox, RawQuery(query): RawQuery, headers: HeaderMap) -> Answer {
    let query = Query::parse(query.as_deref());
    let page = shared.read(|state, now| {
        let rows = state.organizations.values().map(|organization| {
            let fields = Fields::from([
                ("id", vec![organization.id.to_string()]),
                ("name", vec![organization.name.clone()]),
                ("search", vec![organization.name.clone()]),
                ("status", vec![if organization.active { "active" } else { "inactive" }.to_owned()]),
                ("container_id", vec!["1".to_owned()]),
            ]);
            (fields, item(organization, now))
        });
        query.page("organizations", rows.collect())
    });
    listed("organizations", page, &headers)
}

pub(super) async fn info(State(shared): Sandbox, Path(id): Path<String>) -> Answer {
    ok(item(&find(&shared, &id)?, shared.clock.now()))
}

pub(super) async fn validation(State(shared): Sandbox, Path(id): Path<String>) -> Answer {
    ok(json!({ "validations": validations(&find(&shared, &id)?, shared.clock.now()) }))
}

pub(super) async fn add(State(shared): Sandbox, body: Bytes) -> Answer {
    let input = Input::required(&body)?.with_texts(&TEXTS);
    let id = shared.write(|state, _| enter(state, &input))?;
    created(json!({ "id": id }))
}

/// Enters a described organization; the oldest of the same name is taken instead, unless the flag forbids.
pub(super) fn enter(state: &mut Files, input: &Input) -> Result<u64, ApiError> {
    let name = input.required_text("name")?;
    let known = state.organizations.values().find(|known| known.active && known.name == name);
    if let Some(known) = known.filter(|_| !input.flag("skip_duplicate_org_check")) {
        return Ok(known.id);
    }
    if name.chars().count() > 64 {
        return Err(bad_request("invalid_organization_name", "An organization's name has at most 64 characters."));
    }
    for field in ["country", "address", "city", "state", "zip", "telephone"] {
        input.required_text(field)?;
    }
    let id = state.next_id();
    let text = |field| input.text(field).unwrap_or_default().to_owned();
    let organization = Organization {
        id,
        name: name.to_owned(),
        assumed_name: input.text("assumed_name").map(str::to_owned),
        active: true,
        address: text("address"),
        zip: text("zip"),
        city: text("city"),
        state: text("state"),
        country: text("country"),
        telephone: text("telephone"),
        ov: Some(OrganizationValidation::Pending),
        ev: None,
    };
    state.organizations.insert(id, organization);
    Ok(id)
}

pub(super) async fn submit(State(shared): Sandbox, Path(id): Path<String>, body: Bytes) -> Answer {
    let organization = find(&shared, &id)?;
    let input = Input::required(&body)?;
    let types = input.list("validations");
    if types.is_empty() {
        return Err(missing("validations"));
    }
    shared.write(|state, _| {
        let Some(organization) = state.organizations.get_mut(&organization.id) else { return };
        for kind in types.iter().filter_map(|one| one.text("type")) {
            let validation = match kind {
                "ov" => &mut organization.ov,
                "ev" => &mut organization.ev,
                _ => continue,
            };
            validation.get_or_insert(OrganizationValidation::Pending);
        }
    });
    no_content()
}

pub(super) async fn activate(State(shared): Sandbox, Path(id): Path<String>) -> Answer {
    set_active(&shared, &id, true)
}

pub(super) async fn deactivate(State(shared): Sandbox, Path(id): Path<String>) -> Answer {
    set_active(&shared, &id, false)
}

fn set_active(shared: &Shared, id: &str, active: bool) -> Answer {
    let organization = find(shared, id)?;
    shared.write(|state, _| {
        if let Some(organization) = state.organizations.get_mut(&organization.id) {
            organization.active = active;
        }
    });
    no_content()
}
