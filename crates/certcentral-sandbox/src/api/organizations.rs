//! The account itself: organizations, their people and their validation, and the caller's user. ("Create organization",
//! "Organization info", "Submit organization for validation", "List approvers", "User me" of the API.)

use std::collections::BTreeSet;

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
    account::{Contact, DuplicateOrganization, Organization, OrganizationValidation, Validation},
    clock::{days_later, stamp},
    state::{State as Files, life::Shared},
};

/// User of the account's first key, unless the configuration says otherwise.
const FIRST_USER: u64 = 20_001;
/// How long an organization validation counts (BR 4.2.1 since 15 March 2026), in days.
const REUSE_DAYS: i64 = 398;

/// Fields of an organization that some write as numbers.
pub(super) const TEXTS: [&str; 2] = ["zip", "telephone"];

/// The user of a key.
pub(super) fn user(id: u64) -> Value {
    json!({ "id": id, "first_name": "Sandbox", "last_name": "User", "email": "user@example.com" })
}

/// A contact as the API shows one.
pub(super) fn person(contact: &Contact) -> Value {
    let mut item = json!({
        "id": contact.id, "name": format!("{} {}", contact.first_name, contact.last_name),
        "first_name": contact.first_name, "last_name": contact.last_name, "email": contact.email,
        "job_title": contact.job_title, "telephone": contact.telephone,
    });
    if !contact.telephone_extension.is_empty() {
        item["telephone_extension"] = json!(contact.telephone_extension);
    }
    if let Some(user) = contact.user_id {
        item["user_id"] = json!(user);
    }
    item
}

pub(super) fn validations(organization: &Organization, now: Timestamp) -> Vec<Value> {
    let pending = OrganizationValidation::Pending;
    let kinds = [("ov", organization.ov.as_ref()), ("ev", organization.ev.as_ref())];
    let known = kinds.into_iter().filter_map(|(kind, validation)| Some((kind, validation?)));
    let known = known.chain(organization.other.iter().map(|kind| (kind.as_str(), &pending)));
    let created = organization.created.map_or_else(|| "2025-01-01T00:00:00+00:00".to_owned(), stamp);
    let items = known.map(|(kind, validation)| {
        let mut item = json!({
            "type": kind, "name": kind.to_uppercase(), "description": description(kind), "date_created": created,
            "status": if validation.live(now) { "active" } else { "pending" },
        });
        if let OrganizationValidation::Active { until } = validation {
            item["validated_until"] = json!(stamp(until.unwrap_or_else(|| days_later(now, REUSE_DAYS))));
        }
        if kind == "ev" {
            item["verified_users"] = organization.approvers.iter().map(person).collect();
        }
        item
    });
    items.collect()
}

fn item(organization: &Organization, now: Timestamp) -> Value {
    let contact = organization.contact.clone().unwrap_or_else(|| Contact::user(30_001, FIRST_USER));
    let approvers: Vec<Value> = match organization.approvers.as_slice() {
        [] => vec![user(FIRST_USER)],
        known => known.iter().map(person).collect(),
    };
    let mut item = json!({
        "id": organization.id, "status": if organization.active { "active" } else { "inactive" },
        "name": organization.name, "display_name": organization.display_name(), "is_active": organization.active,
        "address": organization.address, "zip": organization.zip, "city": organization.city,
        "state": organization.state, "country": organization.country, "telephone": organization.telephone,
        "container": container(), "organization_contact": person(&contact),
        "verified_contacts": organization.approvers.iter().map(person).collect::<Value>(),
        "ev_approvers": approvers, "validations": validations(organization, now),
    });
    for (field, text) in
        [("assumed_name", organization.assumed_name.as_deref()), ("address2", Some(&*organization.address2))]
    {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            item[field] = json!(text);
        }
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
    let reused = shared.config.switches.duplicate_organization == DuplicateOrganization::Reused;
    let id = shared.write(|state, now| match same(state, &input)? {
        Some(known) if reused => Ok(known),
        Some(known) => {
            let message = format!(
                "The organization matches the organization {known} of the account; use that one, or send \
                 skip_duplicate_org_check."
            );
            Err(bad_request("duplicate_organization", &message))
        }
        None => enter(state, &input, now),
    })?;
    created(json!({ "id": id }))
}

/// The organization an order describes: the oldest with these details, or a new one.
pub(super) fn find_or_enter(state: &mut Files, input: &Input, now: Timestamp) -> Result<u64, ApiError> {
    match same(state, input)? {
        Some(known) => Ok(known),
        None => enter(state, input, now),
    }
}

/// The oldest active organization with the details that are given, unless the flag says not to look.
fn same(state: &Files, input: &Input) -> Result<Option<u64>, ApiError> {
    let name = input.required_text("name")?;
    if input.flag("skip_duplicate_org_check") {
        return Ok(None);
    }
    let alike = |field: &str, known: &str| input.text(field).is_none_or(|text| text.eq_ignore_ascii_case(known));
    let known = state.organizations.values().find(|known| {
        known.active
            && known.name.eq_ignore_ascii_case(name)
            && alike("assumed_name", known.assumed_name.as_deref().unwrap_or_default())
            && alike("address", &known.address)
            && alike("city", &known.city)
            && alike("state", &known.state)
            && alike("zip", &known.zip)
            && alike("country", &known.country)
    });
    Ok(known.map(|known| known.id))
}

/// Longest texts, in characters.
const LENGTHS: [(&str, usize); 7] = [
    ("name", 64),
    ("assumed_name", 64),
    ("address", 64),
    ("address2", 64),
    ("city", 64),
    ("zip", 40),
    ("telephone", 32),
];

fn enter(state: &mut Files, input: &Input, now: Timestamp) -> Result<u64, ApiError> {
    for (field, longest) in LENGTHS {
        if input.text(field).is_some_and(|text| text.chars().count() > longest) {
            let message = format!("An organization's {field} has at most {longest} characters.");
            return Err(bad_request(&format!("invalid_organization_{field}"), &message));
        }
    }
    for field in ["country", "address", "city", "state", "zip", "telephone"] {
        input.required_text(field)?;
    }
    let country = input.required_text("country")?;
    if country.len() != 2 || !country.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        let message = format!("The country '{country}' is not a two letter code.");
        return Err(bad_request("invalid_organization_country", &message));
    }
    let id = state.next_id();
    let text = |field| input.text(field).unwrap_or_default().to_owned();
    let mut organization = Organization {
        id,
        name: text("name"),
        assumed_name: input.text("assumed_name").map(str::to_owned),
        active: true,
        address: text("address"),
        address2: text("address2"),
        zip: text("zip"),
        city: text("city"),
        state: text("state"),
        country: country.to_ascii_lowercase(),
        telephone: text("telephone"),
        ov: Some(OrganizationValidation::Pending),
        ev: None,
        other: BTreeSet::new(),
        contact: None,
        approvers: Vec::new(),
        created: Some(now),
    };
    if let Some(part) = input.part("organization_contact") {
        organization.contact = Some(contact_of(state, &part, &["user_id", "id"])?);
    }
    let wanted = input.list("validations");
    submit_for(state, &mut organization, &wanted)?;
    state.organizations.insert(id, organization);
    Ok(id)
}

/// A user named by id in one of the `fields`, or a person described.
fn contact_of(state: &mut Files, input: &Input, fields: &[&str]) -> Result<Contact, ApiError> {
    if let Some(user) = fields.iter().find_map(|field| input.id(field)) {
        return Ok(Contact::user(state.next_id(), user));
    }
    for field in ["first_name", "last_name", "email"] {
        input.required_text(field)?;
    }
    let text = |field| input.text(field).unwrap_or_default().to_owned();
    Ok(Contact {
        id: state.next_id(),
        user_id: None,
        first_name: text("first_name"),
        last_name: text("last_name"),
        email: text("email"),
        job_title: text("job_title"),
        telephone: text("telephone"),
        telephone_extension: text("telephone_extension"),
    })
}

/// `organization.contacts` of an order, by `contact_type`.
pub(super) fn contacts_of(state: &mut Files, input: &Input) -> Result<Vec<(String, Contact)>, ApiError> {
    let listed = input.list("organization.contacts");
    let contacts = listed.iter().map(|contact| {
        let kind = contact.required_text("contact_type")?;
        if !["organization_contact", "technical_contact", "verified_contact"].contains(&kind) {
            return Err(bad_request("invalid_contact_type", &format!("The contact type '{kind}' is not known.")));
        }
        Ok((kind.to_owned(), contact_of(state, contact, &["user_id", "id"])?))
    });
    contacts.collect()
}

/// What an order does to its organization: the validation it needs starts, and the approvers it names are its. The
/// other people stay with the order.
pub(super) fn involve(state: &mut Files, order: u64, contacts: Vec<(String, Contact)>) {
    let Some(order) = state.orders.get_mut(&order) else { return };
    if let Some(organization) = state.organizations.get_mut(&order.organization) {
        let needed = match order.validation {
            Validation::Ov => &mut organization.ov,
            Validation::Ev => &mut organization.ev,
        };
        needed.get_or_insert(OrganizationValidation::Pending);
        let approvers = contacts.iter().filter(|(kind, _)| kind == "verified_contact");
        add_approvers(organization, approvers.map(|(_, contact)| contact.clone()).collect());
    }
    order.contacts = contacts;
}

fn add_approvers(organization: &mut Organization, approvers: Vec<Contact>) {
    for approver in approvers {
        let same = |known: &Contact| match approver.user_id {
            Some(user) => known.user_id == Some(user),
            None => known.email.eq_ignore_ascii_case(&approver.email),
        };
        if !organization.approvers.iter().any(same) {
            organization.approvers.push(approver);
        }
    }
}

/// Notes the validations that an organization is submitted for.
fn submit_for(state: &mut Files, organization: &mut Organization, wanted: &[Input]) -> Result<(), ApiError> {
    for one in wanted {
        let kind = one.required_text("type")?;
        let people = one.list("verified_users");
        if ["ev", "cs", "ev_cs"].contains(&kind) && people.is_empty() {
            return Err(missing("verified_users"));
        }
        let people = people.iter().map(|person| contact_of(state, person, &["id"])).collect::<Result<Vec<_>, _>>()?;
        match kind {
            "ov" => _ = organization.ov.get_or_insert(OrganizationValidation::Pending),
            "ev" => {
                organization.ev.get_or_insert(OrganizationValidation::Pending);
                add_approvers(organization, people);
            }
            "cs" | "ev_cs" | "ds" | "smime" => _ = organization.other.insert(kind.to_owned()),
            _ => {
                let message = format!("The validation type '{kind}' is not known.");
                return Err(bad_request("invalid_validation_type", &message));
            }
        }
    }
    Ok(())
}

pub(super) async fn submit(State(shared): Sandbox, Path(id): Path<String>, body: Bytes) -> Answer {
    let mut organization = find(&shared, &id)?;
    let input = Input::required(&body)?;
    let wanted = input.list("validations");
    if wanted.is_empty() {
        return Err(missing("validations"));
    }
    shared.write(|state, _| {
        submit_for(state, &mut organization, &wanted)?;
        state.organizations.insert(organization.id, organization);
        Ok::<_, ApiError>(())
    })?;
    no_content()
}

/// Who can become an EV approver: the users of the account's keys, and the contacts of its organizations.
pub(super) async fn potential_approvers(State(shared): Sandbox) -> Answer {
    let users: BTreeSet<u64> = shared.config.keys.iter().map(|key| key.user_id).collect();
    let users = users.into_iter().map(|id| {
        let mut item = person(&Contact::user(0, id));
        if let Some(item) = item.as_object_mut() {
            item.remove("id");
        }
        item["user_id"] = json!(id.to_string());
        item
    });
    let contacts = shared.read(|state, _| {
        let all = state.organizations.values().flat_map(|one| one.contact.iter().chain(&one.approvers));
        all.filter(|contact| contact.user_id.is_none()).map(person).collect::<Value>()
    });
    ok(json!({ "users": users.collect::<Value>(), "contacts": contacts }))
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
