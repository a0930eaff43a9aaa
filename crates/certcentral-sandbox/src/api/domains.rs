//! Domain objects: list, info, adding, submitting, the domain's own random value and its check.

use axum::{
    body::Bytes,
    extract::{Path, RawQuery, State},
};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{
    Answer, ApiError, Sandbox, bad_request, created, id_of,
    input::{Input, missing},
    no_content, not_found, ok,
    orders::{container, proof_missing, settle_others},
    placing::{invalid_method, method_of},
    query::{Fields, Query},
};
use crate::{
    clock::{mountain_date, stamp},
    names,
    state::{DcvMethod, Domain, Poll, State as Files, Token, life::Shared, mail::constructed},
};

const TYPES: [&str; 6] = ["ov", "ev", "cs", "ev_cs", "ds", "smime"];

fn find(shared: &Shared, reference: &str) -> Result<Domain, ApiError> {
    let id = id_of(reference, "domain")?;
    shared.read(|state, _| state.domains.get(&id).cloned()).ok_or_else(|| not_found("domain"))
}

/// What answers differ by.
#[derive(Clone, Copy)]
struct Wanted {
    dcv: bool,
    validation: bool,
    full_times: bool,
}

impl Wanted {
    fn of(query: &Query) -> Self {
        Self {
            dcv: query.flag("include_dcv"),
            validation: query.flag("include_validation"),
            full_times: query.flag("include_dcv_expiration_time"),
        }
    }
}

/// The value of a domain as answers show it.
fn token(domain: &Domain, token: &Token, now: Timestamp) -> Value {
    let status = if domain.live(now) { "active" } else { "pending" };
    let mut item = json!({ "token": token.value, "status": status, "expiration_date": stamp(token.expires) });
    if domain.method == DcvMethod::DnsCnameToken {
        item["verification_value"] = json!("dcv.digicert.com");
    }
    if domain.method.is_http() {
        item["http_token_url"] = json!(file_url(domain, token));
    }
    item
}

fn file_url(domain: &Domain, token: &Token) -> String {
    let file = if domain.method == DcvMethod::HttpTokenDynamic { token.file.as_str() } else { "fileauth.txt" };
    format!("http://{}/.well-known/pki-validation/{file}", domain.name)
}

fn validations(state: &Files, domain: &Domain, now: Timestamp) -> Value {
    let organization = state.organizations.get(&domain.organization);
    let items = domain.types.iter().map(|kind| {
        let of_organization = organization.and_then(|organization| match kind.as_str() {
            "ov" => organization.ov.as_ref(),
            "ev" => organization.ev.as_ref(),
            _ => None,
        });
        let organization_done = of_organization.is_some_and(|validation| validation.live(now));
        let (dcv, status) = match &domain.proven {
            Some(proven) if proven.until(now) > now => {
                ("complete", if organization_done { "active" } else { "pending" })
            }
            Some(_) => ("expired", "expired"),
            None => ("pending", "pending"),
        };
        let mut item = json!({
            "type": kind, "name": kind.to_uppercase(), "description": description(kind),
            "date_created": stamp(domain.submitted), "status": status, "dcv_status": dcv,
            "org_status": if organization_done { "complete" } else { "pending" }, "verified_users": [],
        });
        if let Some(proven) = &domain.proven {
            item["validated_until"] = json!(stamp(proven.until(now)));
        }
        item
    });
    items.collect()
}

pub(super) fn description(kind: &str) -> &'static str {
    match kind {
        "ev" => "Extended Organization Validation (EV)",
        "ov" => "Normal Organization Validation",
        _ => "Validation",
    }
}

fn item(state: &Files, domain: &Domain, wanted: Wanted, now: Timestamp) -> Value {
    let mut map = Map::from_iter([
        ("id".to_owned(), json!(domain.id)),
        ("is_active".to_owned(), json!(domain.active)),
        ("status".to_owned(), json!(if domain.live(now) { "approved" } else { "pending" })),
        ("is_pending_validation".to_owned(), json!(!domain.live(now))),
        ("name".to_owned(), json!(domain.name)),
        ("date_created".to_owned(), json!(stamp(domain.created))),
        ("last_submitted_datetime".to_owned(), json!(stamp(domain.submitted))),
        ("dcv_method".to_owned(), json!(domain.method.text())),
        ("container".to_owned(), container()),
    ]);
    if let Some(organization) = state.organizations.get(&domain.organization) {
        let brief = json!({
            "id": organization.id, "status": if organization.active { "active" } else { "inactive" },
            "name": organization.name, "display_name": organization.name,
            "is_active": if organization.active { "1" } else { "0" },
        });
        map.insert("organization".into(), brief);
    }
    if let Some(proven) = &domain.proven {
        map.insert("dcv_approval_datetime".into(), json!(stamp(proven.at)));
        let until = proven.until(now);
        map.insert("dcv_expiration_datetime".into(), json!(stamp(until)));
        let until = if wanted.full_times { stamp(until) } else { mountain_date(until) };
        let kinds = domain.types.iter().filter(|kind| ["ov", "ev"].contains(&kind.as_str()));
        let expiration: Map<String, Value> = kinds.map(|kind| (kind.clone(), json!(until))).collect();
        map.insert("dcv_expiration".into(), Value::Object(expiration));
    }
    if wanted.validation {
        map.insert("validations".into(), validations(state, domain, now));
    }
    if let Some(known) = domain.token.as_ref().filter(|_| wanted.dcv && domain.method.has_token()) {
        map.insert("dcv_token".into(), token(domain, known, now));
    }
    Value::Object(map)
}

pub(super) async fn list(State(shared): Sandbox, RawQuery(query): RawQuery) -> Answer {
    let query = Query::parse(query.as_deref());
    let wanted = Wanted::of(&query);
    ok(shared.read(|state, now| {
        let rows = state.domains.values().map(|domain| {
            let status = if domain.live(now) { "approved" } else { "pending" };
            let fields = Fields::from([
                ("id", vec![domain.id.to_string()]),
                ("name", vec![domain.name.clone()]),
                ("search", vec![domain.name.clone()]),
                ("status", vec![status.to_owned()]),
                ("validation", domain.types.iter().cloned().collect()),
                ("organization_id", vec![domain.organization.to_string()]),
                ("container_id", vec!["1".to_owned()]),
                ("date_created", vec![stamp(domain.created)]),
            ]);
            (fields, item(state, domain, wanted, now))
        });
        query.page("domains", rows.collect())
    }))
}

pub(super) async fn info(State(shared): Sandbox, Path(id): Path<String>, RawQuery(query): RawQuery) -> Answer {
    let domain = find(&shared, &id)?;
    let wanted = Wanted::of(&Query::parse(query.as_deref()));
    ok(shared.read(|state, now| item(state, &domain, wanted, now)))
}

/// The validation types of a body.
fn types_of(input: &Input) -> Result<Vec<&'static str>, ApiError> {
    let asked = input.list("validations");
    let known = asked.iter().map(|one| {
        let text = one.text("type").unwrap_or_default();
        let known = TYPES.into_iter().find(|kind| *kind == text);
        known.ok_or_else(|| {
            bad_request("invalid_validation_type", &format!("The validation type '{text}' is not known."))
        })
    });
    let types: Vec<&str> = known.collect::<Result<_, _>>()?;
    if types.is_empty() { Err(missing("validations")) } else { Ok(types) }
}

/// What a submitted domain answers with: addresses for e-mail, else the value.
fn submitted(state: &Files, id: u64, now: Timestamp) -> Map<String, Value> {
    let mut body = Map::new();
    let Some(domain) = state.domains.get(&id) else { return body };
    match &domain.token {
        Some(known) if domain.method.has_token() => {
            body.insert("dcv_token".into(), token(domain, known, now));
        }
        _ => {
            body.insert("validation_emails".into(), addresses(&domain.name, true));
        }
    }
    body
}

fn addresses(name: &str, unlisted: bool) -> Value {
    json!({ "name_scope": name, "base_emails": constructed(name, unlisted) })
}

pub(super) async fn add(State(shared): Sandbox, body: Bytes) -> Answer {
    let input = Input::required(&body)?;
    let text = input.required_text("name")?;
    let method = method_of(&input)?.unwrap_or(DcvMethod::Email);
    let types = types_of(&input)?;
    let organization = input.id("organization.id").ok_or_else(|| missing("organization.id"))?;
    let trimmed = match text.strip_prefix("www.") {
        Some(rest) if !method.is_http() && !input.flag("keep_www") && rest.contains('.') => rest,
        _ => text,
    };
    let name = names::parse(trimmed, shared.config.switches.unlisted_suffixes)
        .ok()
        .filter(|name| !name.wildcard)
        .ok_or_else(|| bad_request("invalid_domain_name", &format!("'{text}' is not a domain name.")))?;
    let body = shared.write(|state, now| {
        if !state.organizations.contains_key(&organization) {
            return Err(not_found("organization"));
        }
        let id = state.submit_domain(&name.fqdn, organization, &types, method, now);
        state.open_domain(id, method, now, &shared.config);
        state.send_mails(id, &input.texts("email_array"), now, &shared.config);
        let mut body = submitted(state, id, now);
        body.insert("id".into(), json!(id));
        Ok(body)
    })?;
    created(Value::Object(body))
}

pub(super) async fn submit(State(shared): Sandbox, Path(id): Path<String>, body: Bytes) -> Answer {
    let domain = find(&shared, &id)?;
    let input = Input::required(&body)?;
    let types = types_of(&input)?;
    let method = method_of(&input)?.unwrap_or(domain.method);
    let body = shared.write(|state, now| {
        let id = state.submit_domain(&domain.name, domain.organization, &types, method, now);
        state.open_domain(id, method, now, &shared.config);
        state.send_mails(id, &input.texts("email_array"), now, &shared.config);
        let mut body = submitted(state, id, now);
        body.insert("id".into(), json!(id));
        body
    });
    created(Value::Object(body))
}

pub(super) async fn delete(State(shared): Sandbox, Path(id): Path<String>) -> Answer {
    let domain = find(&shared, &id)?;
    let used = |state: &Files| {
        state
            .orders
            .values()
            .any(|order| order.open().is_some() && order.entries.iter().any(|entry| entry.domain == domain.id))
    };
    let deleted = shared.write(|state, _| !used(state) && state.forget_domain(domain.id));
    if !deleted {
        return Err(bad_request("domain_in_use", "An order in progress needs the domain."));
    }
    no_content()
}

pub(super) async fn validation(State(shared): Sandbox, Path(id): Path<String>) -> Answer {
    let domain = find(&shared, &id)?;
    ok(json!({ "validations": shared.read(|state, now| validations(state, &domain, now)) }))
}

pub(super) async fn change_method(State(shared): Sandbox, Path(id): Path<String>, body: Bytes) -> Answer {
    let domain = find(&shared, &id)?;
    let input = Input::required(&body)?;
    let method = method_of(&input)?.ok_or_else(|| missing("dcv_method"))?;
    let body = shared.write(|state, now| {
        state.open_domain(domain.id, method, now, &shared.config);
        // A change to mails writes to people unless told otherwise; from mails to mails nobody is written to.
        let quiet = input.value("send_dcv_email_flag").is_some() && !input.flag("send_dcv_email_flag");
        if !quiet && domain.method != DcvMethod::Email {
            state.send_mails(domain.id, &[], now, &shared.config);
        }
        // Orders in progress follow the domain, except that no file covers a wildcard.
        let open = state.orders.values_mut().filter(|order| order.open().is_some());
        for entry in open.flat_map(|order| &mut order.entries).filter(|entry| entry.domain == domain.id) {
            if !(method.is_http() && entry.dns_names.iter().any(|name| *name != entry.scope_name)) {
                entry.method = method;
            }
        }
        submitted(state, domain.id, now)
    });
    ok(Value::Object(body))
}

pub(super) async fn new_token(State(shared): Sandbox, Path(id): Path<String>) -> Answer {
    let domain = find(&shared, &id)?;
    if !domain.method.has_token() {
        return Err(invalid_method());
    }
    let body = shared.write(|state, now| {
        let domain = state.domains.get_mut(&domain.id)?;
        let token = Token::new(now, shared.config.random_value_days);
        let mut body = json!({ "token": token.value, "expiration_date": stamp(token.expires) });
        if domain.method.is_http() {
            body["http_token_url"] = json!(file_url(domain, &token));
        }
        domain.token = Some(token);
        domain.poll = shared.config.polling.then(|| Poll::start(now));
        Some(body)
    });
    created(body.ok_or_else(|| not_found("domain"))?)
}

pub(super) async fn check(State(shared): Sandbox, Path(id): Path<String>) -> Answer {
    let domain = find(&shared, &id)?;
    if !domain.method.has_token() {
        return Err(proof_missing(domain.method));
    }
    let check = shared.read(|state, now| Shared::check_of_domain(state, domain.id, now));
    let found = shared.look(check.into_iter().collect()).await;
    match found.into_iter().flatten().next() {
        Some(value) => {
            settle_others(&shared, 0).await;
            ok(json!({ "token": value, "status": "active" }))
        }
        None => Err(proof_missing(domain.method)),
    }
}

pub(super) async fn emails(State(shared): Sandbox, Path(id): Path<String>) -> Answer {
    let domain = find(&shared, &id)?;
    ok(addresses(&domain.name, shared.config.switches.unlisted_suffixes))
}

pub(super) async fn resend(State(shared): Sandbox, Path(id): Path<String>, body: Bytes) -> Answer {
    let domain = find(&shared, &id)?;
    let input = Input::optional(&body)?;
    if domain.method != DcvMethod::Email {
        return Err(invalid_method());
    }
    shared.write(|state, now| state.send_mails(domain.id, &input.texts("email_array"), now, &shared.config));
    no_content()
}

pub(super) async fn activate(State(shared): Sandbox, Path(id): Path<String>) -> Answer {
    set_active(&shared, &id, true)
}

pub(super) async fn deactivate(State(shared): Sandbox, Path(id): Path<String>) -> Answer {
    set_active(&shared, &id, false)
}

fn set_active(shared: &Shared, id: &str, active: bool) -> Answer {
    let domain = find(shared, id)?;
    shared.write(|state, _| {
        if let Some(domain) = state.domains.get_mut(&domain.id) {
            domain.active = active;
        }
    });
    no_content()
}

pub(super) async fn methods() -> Answer {
    let methods = DcvMethod::ALL.map(|method| json!({
        "name_id": method.text(), "name": method.text(), "display_name": method.text(), "description": method.text(),
        "default": method == DcvMethod::Email,
    }));
    ok(json!({ "methods": methods }))
}

pub(super) async fn types() -> Answer {
    let types =
        TYPES.map(|kind| json!({
        "type": kind, "name": kind.to_uppercase(), "description": description(kind),
        "requires_user": matches!(kind, "ev" | "ev_cs" | "cs"), "requires_dcv": matches!(kind, "ov" | "ev" | "smime"),
    }));
    ok(json!({ "validation_types": types }))
}
