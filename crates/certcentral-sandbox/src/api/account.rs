//! The account as a whole: its details, users and own fields. Of no use to domain validation, but the first thing that
//! many clients ask for. ("Account details", "My user info" of the API.)

use axum::{
    Extension,
    body::Bytes,
    extract::{Path, RawQuery, State},
};
use serde_json::{Value, json};

use super::{
    Answer, Caller, Sandbox, bad_request, created, id_of,
    input::Input,
    no_content, not_found, ok,
    orders::container,
    query::{Fields, Query},
};
use crate::account::{ApiKey, Role};

pub(super) async fn info(State(shared): Sandbox) -> Answer {
    let primary = shared.read(|state, _| state.organizations.values().next().cloned());
    let mut body = json!({
        "id": 1, "make_renewal_calls": true, "express_install_enabled": false, "admin_email": "admin@example.com",
        "display_rep": true, "rep_name": "Sandbox Representative", "rep_phone": "801-555-0100",
        "rep_email": "representative@example.com", "rep_photo_id": 0, "balance_negative_limit": 0, "root_container_id": 1,
        "pricing_model": "flatfee", "cert_transparency": "embed", "cert_central_type": "retail",
        "billing_account_id": 1, "billing_account_name": "Sandbox", "language_id": 1, "migrated": false,
        "has_auth_key": false, "is_reseller_customer": false,
    });
    if let Some(organization) = primary {
        body["primary_organization_id"] = json!(organization.id);
        body["primary_organization_name"] = json!(organization.name);
        body["primary_organization_country"] = json!(organization.country);
    }
    ok(body)
}

fn user(key: &ApiKey) -> Value {
    let (role_id, role) = match key.role {
        Role::Administrator => (1, "Administrator"),
        Role::Orders | Role::OrdersDomainsOrganizations => (4, "Manager"),
        Role::ViewOnly => (2, "Limited User"),
    };
    json!({
        "id": key.user_id, "username": "sandbox", "account_id": 1, "first_name": "Sandbox", "last_name": "User",
        "email": "user@example.com", "job_title": "Engineer", "telephone": "801-555-0100", "status": "active",
        "container": container(), "access_roles": [{ "id": role_id, "name": role }], "type": "standard",
        "has_container_assignments": false,
    })
}

pub(super) async fn me(Extension(Caller(key)): Extension<Caller>) -> Answer {
    ok(user(&key))
}

pub(super) async fn users(State(shared): Sandbox, RawQuery(query): RawQuery) -> Answer {
    let mut keys: Vec<&ApiKey> = shared.config.keys.iter().collect();
    keys.sort_by_key(|key| key.user_id);
    keys.dedup_by_key(|key| key.user_id);
    let rows = keys.into_iter().map(|key| (Fields::from([("id", vec![key.user_id.to_string()])]), user(key)));
    ok(Query::parse(query.as_deref()).page("users", rows.collect()))
}

/// Replaces the CSR of a pending order.
pub(super) async fn add_csr(State(shared): Sandbox, Path(id): Path<String>, body: Bytes) -> Answer {
    let input = Input::required(&body)?;
    let text = input.required_text("csr")?;
    let csr = crate::ca::Csr::parse(text)
        .map_err(|error| bad_request("csr_invalid_cannot_parse", &format!("The CSR could not be parsed: {error}.")))?;
    shared.write(|state, _| {
        let id = state.find_order(&id).map(|order| order.id).ok_or_else(|| not_found("order"))?;
        let order = state.orders.get_mut(&id).ok_or_else(|| not_found("order"))?;
        let open = order.certificates.last_mut().filter(|one| one.issued.is_none());
        let Some(certificate) = open else {
            return Err(bad_request("invalid_order_status", "The order is not waiting for a CSR."));
        };
        text.clone_into(&mut certificate.csr);
        certificate.key_size = csr.key_size;
        Ok(())
    })?;
    no_content()
}

// ---- the account's own fields

pub(super) async fn custom_fields(State(shared): Sandbox) -> Answer {
    let fields = shared.read(|state, _| state.custom_fields.clone());
    ok(json!({ "metadata": fields }))
}

pub(super) async fn add_custom_field(State(shared): Sandbox, body: Bytes) -> Answer {
    let input = Input::required(&body)?;
    let label = input.required_text("label")?.to_owned();
    let kind = input.text("data_type").unwrap_or("text").to_owned();
    let field = shared.write(|state, _| {
        let field = json!({
            "id": state.next_id(), "label": label, "is_required": input.flag("is_required"), "is_active": true,
            "data_type": kind, "show_in_receipt": input.flag("show_in_receipt"),
        });
        state.custom_fields.push(field.clone());
        field
    });
    created(field)
}

/// Sets one of the account's own fields on an order.
pub(super) async fn set_custom_field(State(shared): Sandbox, Path(id): Path<String>, body: Bytes) -> Answer {
    let input = Input::required(&body)?;
    let field = input.id("metadata_id").ok_or_else(|| super::input::missing("metadata_id"))?;
    let value = input.value("value").cloned().unwrap_or_default();
    let order = id_of(&id, "order")?;
    shared.write(|state, _| {
        let label = state.custom_fields.iter().find(|known| known["id"] == field).map(|known| known["label"].clone());
        let order = state.orders.get_mut(&order).ok_or_else(|| not_found("order"))?;
        let fields = order.echo.entry("custom_fields".to_owned()).or_insert_with(|| json!([]));
        if let Some(fields) = fields.as_array_mut() {
            fields.retain(|known| known["metadata_id"] != field);
            fields.push(json!({ "metadata_id": field, "label": label, "value": value }));
        }
        Ok(())
    })?;
    no_content()
}
