//! Following an order: info, validation status, the order's random value and its check, and cancelling. ("Order info",
//! "Order validation status", "Check DCV" of the API.)

use std::sync::Arc;

use axum::{
    Extension,
    body::Bytes,
    extract::{Path, RawQuery, State},
    http::StatusCode,
    response::IntoResponse,
};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{
    Answer, ApiError, Caller, Sandbox, UNEXPLAINED, bad_request,
    input::Input,
    no_content, not_found, ok,
    organizations::{person, user, validations},
    placing::{invalid_method, method_of},
    products::product_brief,
    query::Query,
};
use crate::{
    account::{CheckAnswer, Contact, IdType, Validation},
    clock::{date, stamp},
    names,
    state::{
        Certificate, DcvMethod, Kind, Order, State as Files, Token,
        life::{Check, Settled, Shared},
    },
};

/// The order's id for a reference by id, thumbprint or serial number.
fn find(shared: &Shared, reference: &str) -> Result<Order, ApiError> {
    shared.read(|state, _| state.find_order(reference).cloned()).ok_or_else(|| not_found("order"))
}

pub(super) async fn info(State(shared): Sandbox, Path(id): Path<String>, RawQuery(query): RawQuery) -> Answer {
    let order = find(&shared, &id)?;
    let caa = Query::parse(query.as_deref()).flag("include_caa_status");
    ok(shared.read(|state, now| full(&shared, state, &order, caa, now)))
}

/// Sets what there is.
fn set(map: &mut Map<String, Value>, key: &str, value: impl Into<Value>) {
    map.insert(key.to_owned(), value.into());
}

/// The `certificate` of order info.
pub(super) fn certificate(one: &Certificate, organization: u64, now: Timestamp) -> Map<String, Value> {
    let mut map = Map::new();
    if one.status != "needs_approval" {
        set(&mut map, "id", one.id);
    }
    if let Some(issue) = &one.issued {
        set(&mut map, "thumbprint", issue.thumbprint.clone());
        set(&mut map, "serial_number", issue.serial.clone());
        set(&mut map, "valid_from", date(issue.not_before));
        set(&mut map, "valid_till", date(issue.not_after));
        set(&mut map, "date_issued", stamp(issue.at));
        set(&mut map, "days_remaining", days_remaining(issue.not_after, now));
    }
    set(&mut map, "common_name", one.common_name.clone());
    set(&mut map, "dns_names", one.dns_names.clone());
    set(&mut map, "date_created", stamp(one.created));
    set(&mut map, "csr", one.csr.clone());
    set(&mut map, "organization", json!({ "id": organization }));
    set(&mut map, "organization_units", one.units.clone());
    if let Some(profile) = &one.profile {
        set(&mut map, "profile_option", profile.clone());
    }
    set(&mut map, "server_platform", platform(one.server_platform));
    set(&mut map, "signature_hash", one.signature_hash.clone());
    set(&mut map, "key_size", one.key_size);
    if one.validity.is_object() {
        set(&mut map, "cert_validity", one.validity.clone());
    }
    map
}

pub(super) fn days_remaining(not_after: Timestamp, now: Timestamp) -> i64 {
    (not_after.as_second() - now.as_second()).div_euclid(86_400)
}

pub(super) fn platform(id: i64) -> Value {
    let name = match id {
        -1 => "OTHER",
        2 => "Apache",
        45 => "nginx",
        _ => "Server",
    };
    json!({ "id": id, "name": name, "install_url": "", "csr_url": "" })
}

fn full(shared: &Shared, state: &Files, order: &Order, caa: bool, now: Timestamp) -> Value {
    let mut map = Map::new();
    set(&mut map, "id", order.id);
    let mut shown = certificate(order.shown(), order.organization, now);
    if order.shown().issued.is_some() {
        let ca = shared.authority.issuing_with(&order.shown().ca);
        set(&mut shown, "ca_cert", json!({ "id": ca.id(), "name": ca.name() }));
    }
    set(&mut map, "certificate", shown);
    set(&mut map, "status", order.status.clone());
    set(&mut map, "is_renewal", order.renewal_of.is_some());
    set(&mut map, "is_renewed", order.renewed);
    set(&mut map, "renewed_order_id", order.renewal_of.unwrap_or_default());
    if let Some(id) = &order.alternative_id {
        set(&mut map, "alternative_order_id", id.clone());
    }
    set(&mut map, "date_created", stamp(order.created));
    set(&mut map, "order_valid_till", date(order.valid_till));
    if let Some(organization) = state.organizations.get(&order.organization) {
        let mut brief = json!({
            "id": organization.id, "name": organization.name, "display_name": organization.display_name(),
            "is_active": organization.active, "city": organization.city, "state": organization.state,
            "country": organization.country,
        });
        if let Some(assumed) = &organization.assumed_name {
            brief["assumed_name"] = json!(assumed);
        }
        set(&mut map, "organization", brief);
    }
    set(&mut map, "disable_renewal_notifications", false);
    set(&mut map, "auto_renew", 0);
    set(&mut map, "auto_reissue", 0);
    map.extend(order.echo.clone());
    set(&mut map, "validity_years", years(order));
    set(&mut map, "container", container_of(order));
    if let Some(product) = shared.config.product(&order.product) {
        set(&mut map, "product", product_brief(product));
    }
    let organization = state.organizations.get(&order.organization);
    let named = |kind: &str| order.contacts.iter().find(|(known, _)| known == kind).map(|(_, contact)| contact.clone());
    let contact = named("organization_contact").or(organization.and_then(|one| one.contact.clone()));
    let contact = contact.unwrap_or_else(|| Contact::user(0, order.user));
    // The technical contact is the organization's unless the order names another.
    set(&mut map, "technical_contact", person(&named("technical_contact").unwrap_or_else(|| contact.clone())));
    set(&mut map, "organization_contact", person(&contact));
    let approvers = organization.map(|one| one.approvers.iter().map(person).collect::<Vec<_>>()).unwrap_or_default();
    set(&mut map, "verified_contacts", approvers);
    set(&mut map, "user", user(order.user));
    let requests = order.requests.iter().filter_map(|id| state.requests.get(id)).map(|request| {
        json!({
            "id": request.id, "date": stamp(request.date), "type": request.kind, "status": request.status,
            "comments": request.comments,
        })
    });
    set(&mut map, "requests", requests.collect::<Value>());
    let notes = order.notes.iter().enumerate().map(|(at, text)| json!({ "id": at + 1, "text": text }));
    set(&mut map, "notes", notes.collect::<Value>());
    set(&mut map, "dcv_method", order.method.text());
    map.entry("payment_method").or_insert_with(|| json!("balance"));
    let (duplicates, reissues) = counts(order);
    set(&mut map, "allow_duplicates", true);
    set(&mut map, "has_duplicates", duplicates > 0);
    set(&mut map, "duplicates_count", duplicates);
    set(&mut map, "reissues_count", reissues);
    set(&mut map, "price", 0);
    set(&mut map, "currency", "USD");
    if caa && order.open().is_some() {
        let names = order.open().into_iter().flat_map(|certificate| &certificate.dns_names);
        let said = names.map(|name| {
            let text = order.caa.get(name).map_or("CAA check is not called yet", String::as_str);
            (name.clone(), json!(text))
        });
        set(&mut map, "caa_status_message", said.collect::<Map<_, _>>());
    }
    Value::Object(map)
}

pub(super) fn years(order: &Order) -> i64 {
    (order.valid_till.as_second() - order.created.as_second()).div_euclid(365 * 86_400).max(1)
}

pub(super) fn counts(order: &Order) -> (usize, usize) {
    let of = |kind| order.certificates.iter().filter(|one| one.kind == kind && one.issued.is_some()).count();
    (of(Kind::Duplicate), of(Kind::Reissue))
}

/// The account has one division.
pub(super) fn container() -> Value {
    json!({ "id": 1, "parent_id": 0, "name": "Sandbox", "is_active": true })
}

/// The division the order named; there is only one, and whatever name it has to the caller is kept.
fn container_of(order: &Order) -> Value {
    let mut container = container();
    if let Some(id) = order.echo.get("container").and_then(|named| named.get("id")) {
        container["id"] = id.clone();
    }
    container
}

pub(super) async fn validation(State(shared): Sandbox, Path(id): Path<String>) -> Answer {
    let order = find(&shared, &id)?;
    let id = |id: u64| match shared.config.switches.validation_ids {
        IdType::String => json!(id.to_string()),
        IdType::Integer => json!(id),
    };
    ok(shared.read(|state, now| {
        let organization = state.organizations.get(&order.organization);
        let wanted = match order.validation {
            Validation::Ov => "ov",
            Validation::Ev => "ev",
        };
        let mut checks: Vec<Value> =
            organization.map(|organization| validations(organization, now)).unwrap_or_default();
        checks.retain(|check| check["type"] == wanted);
        for check in &mut checks {
            let done = if check["status"] == "active" { "complete" } else { "pending" };
            check["verification_details"] = json!({
                "organization_type": done, "organization_status": done, "address_verification": done,
                "blacklist_fraud": done, "request_authenticity": done,
            });
            if wanted == "ev" {
                let known = organization.map(|one| one.approvers.clone()).filter(|known| !known.is_empty());
                let known = known.unwrap_or_else(|| vec![Contact::user(0, order.user)]);
                let approval = if order.ev_approved { "approved" } else { "pending" };
                let contacts = known.iter().map(|contact| {
                    let mut item = person(contact);
                    item["user_id"] = contact.user_id.map_or(Value::Null, &id);
                    item["status"] = json!(approval);
                    item
                });
                check["verified_contacts"] = contacts.collect();
            }
        }
        let names = order.entries.iter().map(|entry| {
            let approved = state.entry_covered(entry, now, &shared.config);
            let scope = if entry.method.is_http() { "exact" } else { "subdomains" };
            json!({
                "domain_id": id(entry.domain), "name_scope": entry.scope_name, "approval_scope": scope,
                "status": if approved { "approved" } else { "pending" }, "method": entry.method.text(),
                "dns_names": entry.dns_names,
            })
        });
        json!({
            "order_id": id(order.id), "order_status": order.status, "order_name_scope": order.scope.text(),
            "order_dcv_method": order.method.text(), "organization_id": id(order.organization),
            "organization_name": organization.map(|organization| &organization.name),
            "organization_validations": checks, "dns_name_validations": names.collect::<Value>(),
        })
    }))
}

pub(super) async fn update_status(
    State(shared): Sandbox,
    Extension(Caller(key)): Extension<Caller>,
    Path(id): Path<String>,
    body: Bytes,
) -> Answer {
    let order = find(&shared, &id)?;
    let input = Input::required(&body)?;
    let status = input.required_text("status")?;
    if !status.eq_ignore_ascii_case("canceled") {
        return Err(bad_request("invalid_status", &format!("The status '{status}' cannot be set.")));
    }
    let note = input.text("note").unwrap_or_default().to_owned();
    shared.write(|state, now| {
        let order = state.orders.get_mut(&order.id).ok_or_else(|| not_found("order"))?;
        if !["pending", "waiting_pickup", "reissue_pending"].contains(&order.status.as_str()) {
            let message = format!("An order with the status '{}' cannot be canceled.", order.status);
            return Err(bad_request("invalid_order_status", &message));
        }
        order.give_up("canceled", now);
        if !note.is_empty() {
            order.notes.push(note.clone());
        }
        let (id, requests) = (order.id, order.requests.clone());
        state.recall_renewal(id);
        for id in requests {
            if let Some(request) = state.requests.get_mut(&id).filter(|request| request.status == "pending") {
                "rejected".clone_into(&mut request.status);
                request.processed = Some(now);
                request.processor = Some(key.user_id);
                request.processor_comment.clone_from(&note);
            }
        }
        Ok(())
    })?;
    no_content()
}

fn value(token: &Token) -> Value {
    json!({ "dcv_random_value": token.value, "expiration_date": stamp(token.expires) })
}

/// An order that can still be validated.
fn still_open(order: &Order) -> Result<(), ApiError> {
    match order.open() {
        Some(_) => Ok(()),
        None => Err(bad_request("invalid_order_status", "The order is not waiting for domain validation.")),
    }
}

pub(super) async fn change_method(State(shared): Sandbox, Path(id): Path<String>, body: Bytes) -> Answer {
    let order = find(&shared, &id)?;
    let input = Input::required(&body)?;
    let method = method_of(&input)?.ok_or_else(invalid_method)?;
    still_open(&order)?;
    let names = &order.open().expect("just looked at").dns_names;
    if method.is_http() && names.iter().all(|name| name.starts_with("*.")) {
        let message = "Wildcard domains cannot be validated with a file; use another DCV method.";
        return Err(bad_request("invalid_wildcard_dcv_method", message));
    }
    let token = shared.write(|state, now| {
        let order = state.orders.get_mut(&order.id)?;
        order.method = method;
        let id = order.id;
        state.begin(id, now, &shared.config);
        state.orders.get(&id)?.live_value(now).map(value)
    });
    match token {
        Some(token) => ok(token),
        None => Ok(StatusCode::OK.into_response()),
    }
}

pub(super) async fn random_value(State(shared): Sandbox, Path(id): Path<String>) -> Answer {
    let order = find(&shared, &id)?;
    still_open(&order)?;
    if !order.method.has_token() {
        return Err(invalid_method());
    }
    let token = shared.write(|state, now| {
        let current = state.orders.get(&order.id)?;
        if state.open_entries(current, &[], now, &shared.config).is_empty() {
            return None;
        }
        let order = state.orders.get_mut(&order.id)?;
        if order.live_value(now).is_none() {
            order.value = Some(Token::new(now, shared.config.random_value_days));
        }
        order.value.as_ref().map(value)
    });
    match token {
        Some(token) => ok(token),
        None => Err(bad_request("no_domains_to_validate", "All domains of the order are already validated.")),
    }
}

pub(super) async fn resend(State(shared): Sandbox, Path(id): Path<String>, body: Bytes) -> Answer {
    let order = find(&shared, &id)?;
    let input = Input::optional(&body)?;
    still_open(&order)?;
    let mut wanted = input.list("domain_approval_emails");
    wanted.extend(input.list("dcv_emails"));
    shared.write(|state, now| {
        let by_mail = order.entries.iter().filter(|entry| entry.method == DcvMethod::Email);
        for entry in by_mail.filter(|entry| !state.entry_covered(entry, now, &shared.config)).collect::<Vec<_>>() {
            let is_for = |one: &&Input| {
                let name = one.text("domain").or(one.text("dns_name")).unwrap_or_default();
                name == entry.scope_name || entry.dns_names.iter().any(|known| known == name)
            };
            let chosen: Vec<String> =
                wanted.iter().filter(is_for).filter_map(|one| one.text("email")).map(str::to_owned).collect();
            if wanted.is_empty() || !chosen.is_empty() {
                state.send_mails(entry.domain, &chosen, now, &shared.config);
            }
        }
    });
    no_content()
}

/// The 400 for a proof that is not there.
pub(super) fn proof_missing(method: DcvMethod) -> ApiError {
    match method {
        DcvMethod::Email => bad_request("invalid_dns_method", UNEXPLAINED),
        DcvMethod::DnsTxtToken => {
            bad_request("invalid_dns_txt", "Could not find a valid TXT record for one or more domains.")
        }
        DcvMethod::DnsCnameToken => {
            bad_request("invalid_dns_cname", "Could not find a valid CNAME record for one or more domains.")
        }
        DcvMethod::HttpToken | DcvMethod::HttpTokenDynamic => bad_request(
            "file_random_value_not_found",
            "Could not find the random value at the expected file location for one or more domains.",
        ),
    }
}

pub(super) async fn check(State(shared): Sandbox, Path(id): Path<String>, body: Bytes) -> Answer {
    let order = find(&shared, &id)?;
    let input = Input::optional(&body)?;
    if !order.method.has_token() {
        return Err(proof_missing(order.method));
    }
    let mut wanted = input.texts("dns_names_validations");
    wanted.extend(input.texts("dns_name_validations"));
    for name in &mut wanted {
        name.make_ascii_lowercase();
    }
    let asked = |entry: &&crate::state::Entry| {
        wanted.is_empty() || wanted.iter().any(|name| *name == entry.scope_name || entry.dns_names.contains(name))
    };
    if order.open().is_some() {
        let checks: Vec<Check> = shared.read(|state, now| {
            let open = state.open_entries(&order, &wanted, now, &shared.config);
            open.iter().filter_map(|entry| Shared::check_of(state, &order, entry, now)).collect()
        });
        shared.look(checks).await;
    }
    let settled = shared.settle(order.id).await;
    settle_others(&shared, order.id).await;

    let order = find(&shared, &order.id.to_string())?;
    let (names, missing) = shared.read(|state, now| {
        let mut names = Vec::new();
        let mut missing = Vec::new();
        for entry in order.entries.iter().filter(asked) {
            for name in &entry.dns_names {
                let approved = names::parse(name, shared.config.switches.unlisted_suffixes)
                    .is_ok_and(|name| state.covered(&name, now, &shared.config));
                if !approved {
                    missing.push(entry.method);
                }
                let status = if approved { "approved" } else { "pending" };
                names.push(json!({ "dns_name": name, "status": status }));
            }
        }
        (names, missing)
    });
    let old = shared.config.switches.check_dcv == CheckAnswer::AllOrError;
    // A file that is missing is an error; a wildcard beside files has another method, and is not.
    if let Some(method) = missing.iter().find(|method| method.is_http()) {
        return Err(proof_missing(*method));
    }
    if old && !missing.is_empty() {
        return Err(proof_missing(order.method));
    }
    if let Settled::CaaRefused { name, reason } = settled {
        return Err(bad_request(&format!("caa_check_failed|{name}"), &reason));
    }
    // Nothing is valid of an order that was not approved yet or is over, nor of names that it does not have.
    let nobody = names.is_empty() && !wanted.is_empty();
    let everything = order.status == "issued"
        || (order.open().is_some()
            && shared.read(|state, now| state.open_entries(&order, &[], now, &shared.config).is_empty()));
    let mut body = json!({
        "order_status": order.status, "dcv_status": if everything && !nobody { "valid" } else { "pending" },
    });
    let certificate = order.open().or(order.primary()).unwrap_or(order.shown());
    if certificate.status != "needs_approval" {
        body["certificate_id"] = json!(certificate.id);
    }
    if !old {
        body["dns_name_validations"] = Value::Array(names);
    }
    ok(body)
}

/// A proof may complete other orders too.
pub(super) async fn settle_others(shared: &Arc<Shared>, but: u64) {
    let others: Vec<u64> = shared.read(|state, now| {
        let ready = state.orders.values().filter(|order| order.id != but && state.ready(order, now, &shared.config));
        ready.map(|order| order.id).collect()
    });
    for id in others {
        shared.settle(id).await;
    }
}
