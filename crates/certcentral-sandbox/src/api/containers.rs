//! The account's divisions: there is one. ("List containers", "Container info", "List child containers" of the API.)

use axum::extract::{Path, State};
use serde_json::{Value, json};

use super::{Answer, ApiError, Sandbox, id_of, not_found, ok, orders::container};
use crate::state::life::Shared;

fn item(shared: &Shared) -> Value {
    let mut item = container();
    item["template_id"] = json!(5);
    item["ekey"] = json!("sandbox");
    item["has_logo"] = json!(false);
    item["user_id_assignments"] = json!([]);
    item["allowed_domain_names"] = json!([]);
    item["organization_assignments"] = shared.read(|state, _| {
        let assigned = state.organizations.values().map(|organization| {
            json!({
                "id": organization.id, "status": if organization.active { "active" } else { "inactive" },
                "name": organization.name, "display_name": organization.display_name(),
                // A string here, unlike in the organization itself.
                "is_active": if organization.active { "1" } else { "0" },
            })
        });
        assigned.collect()
    });
    item
}

fn known(reference: &str) -> Result<(), ApiError> {
    match id_of(reference, "container")? {
        1 => Ok(()),
        _ => Err(not_found("container")),
    }
}

pub(super) async fn list(State(shared): Sandbox) -> Answer {
    ok(json!({ "containers": [item(&shared)] }))
}

pub(super) async fn info(State(shared): Sandbox, Path(id): Path<String>) -> Answer {
    known(&id)?;
    ok(item(&shared))
}

pub(super) async fn children(Path(id): Path<String>) -> Answer {
    known(&id)?;
    ok(json!({ "containers": [] }))
}

/// The organizations that can be ordered for in it.
pub(super) async fn organizations(State(shared): Sandbox, Path(id): Path<String>) -> Answer {
    known(&id)?;
    ok(shared.read(|state, _| {
        let active = state.organizations.values().filter(|organization| organization.active);
        let rows = active.map(|one| json!({ "id": one.id, "name": one.name, "display_name": one.display_name() }));
        json!({ "organizations": rows.collect::<Value>() })
    }))
}
