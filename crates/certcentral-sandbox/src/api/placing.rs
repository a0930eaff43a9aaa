//! Placing orders: what a request must say, what is refused and with which code, and the 201 that tells the caller
//! where to go on. Reissues and duplicates share its checks and its answer. ("Order Basic OV", "Immediate issuance" of
//! the API.)

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Extension,
    body::Bytes,
    extract::{Path, State},
};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{
    Answer, ApiError, Caller, Sandbox, bad_request,
    certificates::chain_of,
    created,
    input::{Input, missing},
    not_found, organizations,
    products::allowed_cas,
    validity::{certificate_end, order_end},
};
use crate::{
    account::{Approval, Config, OrderDomains, Product, Scope, Validation},
    ca,
    clock::{date, stamp},
    names::{self, Name},
    state::{
        Certificate, DcvMethod, Kind, Order, Request, State as Files,
        life::{Settled, Shared},
    },
};

/// First day without client authentication in public certificates ("Certificate profile option").
const CLIENT_AUTH_END: &str = "2026-05-01";
/// Fields that order info gives back as they came.
const ECHOED: [&str; 16] = [
    "comments",
    "container",
    "dcv_emails",
    "disable_ct",
    "locale",
    "payment_profile",
    "skip_approval",
    "user_assignments",
    "auto_renew",
    "auto_reissue",
    "disable_renewal_notifications",
    "additional_emails",
    "custom_fields",
    "payment_method",
    "custom_renewal_message",
    "order_validity",
];

pub(super) async fn place(
    State(shared): Sandbox,
    Extension(Caller(key)): Extension<Caller>,
    Path(name_id): Path<String>,
    body: Bytes,
) -> Answer {
    let config = &shared.config;
    let input = Input::required(&body)?;
    let product = if name_id == "ssl" {
        let mut names = input.texts("certificate.dns_names");
        names.extend(input.text("certificate.common_name").map(str::to_owned));
        names.sort();
        names.dedup();
        let hint = input.text("product.type_hint").or(input.text("type_hint"));
        // Without a hint the names alone decide, among the OV products.
        Product::guess(&config.products, hint.unwrap_or("ov"), &names).ok_or_else(|| {
            bad_request("ambiguous_product", "The product could not be determined from the type hint.")
        })?
    } else {
        config.product(&name_id).ok_or_else(|| not_found("product"))?
    };
    let method = method_of(&input)?.unwrap_or(DcvMethod::Email);
    let now = shared.clock.now();
    let valid_till = order_end(&input, now)?;
    let certificate = certificate_of(&shared, &input, product, method, Kind::Original, valid_till, now)?;
    let scope = scope_of(&input)?.unwrap_or(config.default_scope);
    let approved = approved(config, &input);

    let (order_id, request) = shared.write(|state, now| {
        let renewal_of = renewed(state, &input)?;
        let contacts = organizations::contacts_of(state, &input)?;
        let organization = organization_of(state, &input, now)?;
        let order_id = state.next_id();
        let order = Order {
            id: order_id,
            alternative_id: input.text("alternative_order_id").map(str::to_owned),
            product: product.name_id.clone(),
            validation: product.validation,
            status: if approved { "pending" } else { "needs_approval" }.to_owned(),
            status_changed: now,
            created: now,
            user: key.user_id,
            organization,
            method,
            scope,
            value: None,
            entries: Vec::new(),
            certificates: Vec::new(),
            primary: None,
            requests: Vec::new(),
            ev_approved: product.validation == Validation::Ov || (approved && key.ev_approver),
            valid_till,
            ready_since: None,
            caa: BTreeMap::new(),
            renewal_of,
            renewed: false,
            echo: ECHOED
                .into_iter()
                .filter_map(|field| Some((field.to_owned(), input.value(field)?.clone())))
                .collect(),
            notes: Vec::new(),
            contacts: Vec::new(),
            before: None,
        };
        state.orders.insert(order_id, order);
        organizations::involve(state, order_id, contacts);
        if let Some(old) = renewal_of.and_then(|id| state.orders.get_mut(&id)) {
            old.renewed = true;
        }
        let request = file_certificate(state, order_id, certificate, approved, &input, key.user_id, &shared, now);
        Ok::<_, ApiError>((order_id, request))
    })?;
    finish(&shared, order_id, request, approved).await
}

/// Whether nobody has to approve what is asked for.
pub(super) fn approved(config: &Config, input: &Input) -> bool {
    match config.approval {
        Approval::AsOrdered => input.flag("skip_approval"),
        Approval::Automatic => true,
        Approval::Required => false,
    }
}

/// Puts the certificate into its order, with the request that the approval mode asks for, and starts validation if
/// nobody has to approve.
#[allow(clippy::too_many_arguments)]
pub(super) fn file_certificate(
    state: &mut Files,
    order_id: u64,
    mut certificate: Certificate,
    approved: bool,
    input: &Input,
    user: u64,
    shared: &Shared,
    now: Timestamp,
) -> Option<u64> {
    certificate.id = state.next_id();
    if approved { "pending" } else { "needs_approval" }.clone_into(&mut certificate.status);
    let asked = !approved || shared.config.approval == Approval::Automatic;
    let request = asked.then(|| Request {
        id: state.next_id(),
        kind: certificate.kind.request(),
        status: if approved { "approved" } else { "pending" }.to_owned(),
        date: now,
        processed: approved.then_some(now),
        requester: user,
        processor: approved.then_some(user),
        order: order_id,
        certificates: vec![certificate.id],
        comments: input.text("comments").unwrap_or_default().to_owned(),
        processor_comment: String::new(),
    });
    let request_id = request.as_ref().map(|request| request.id);
    if let Some(order) = state.orders.get_mut(&order_id) {
        order.certificates.push(certificate);
        order.requests.extend(request_id);
    }
    if let Some(request) = request {
        state.requests.insert(request.id, request);
    }
    if approved {
        state.begin(order_id, now, &shared.config);
    }
    request_id
}

/// Tries to issue at once and answers 201.
pub(super) async fn finish(shared: &Arc<Shared>, order_id: u64, request: Option<u64>, approved: bool) -> Answer {
    let issued = approved && shared.settle(order_id).await == Settled::Issued;
    if issued {
        shared.write(|state, _| {
            let certificate = state.orders.get(&order_id).and_then(|order| order.certificates.last());
            let found = certificate.and_then(|one| Some((one.clone(), one.issued.clone()?)));
            if let Some((certificate, issue)) = found {
                state.was_instant(certificate.id, || chain_of(shared, &certificate, &issue));
            }
        });
    }
    let body = shared.read(|state, now| {
        let order = state.orders.get(&order_id)?;
        let certificate = order.certificates.last()?;
        let mut body = Map::from_iter([("id".to_owned(), json!(order_id))]);
        if let Some(request) = request.and_then(|id| state.requests.get(&id)) {
            body.insert("requests".into(), json!([{ "id": request.id, "status": request.status }]));
        }
        if !approved {
            return Some(Value::Object(body));
        }
        body.insert("certificate_id".into(), json!(certificate.id));
        if issued {
            let chain = certificate.issued.as_ref().map(|issue| chain_of(shared, certificate, issue));
            body.insert("certificate_chain".into(), json!(chain));
        } else if let Some(token) = order.live_value(now) {
            body.insert("dcv_random_value".into(), json!(token.value));
        }
        let key = match shared.config.switches.order_domains {
            OrderDomains::Absent => return Some(Value::Object(body)),
            OrderDomains::Name => "name",
            OrderDomains::DnsName => "dns_name",
        };
        let domains = order.entries.iter().map(|entry| {
            let mut item =
                Map::from_iter([("id".to_owned(), json!(entry.domain)), (key.to_owned(), json!(entry.scope_name))]);
            let token = state.domains.get(&entry.domain).and_then(|domain| domain.live_token(now));
            if let Some(token) = token.filter(|_| entry.method.has_token())
                && !state.entry_covered(entry, now, &shared.config)
            {
                let token =
                    json!({ "token": token.value, "status": "pending", "expiration_date": stamp(token.expires) });
                item.insert("dcv_token".into(), token);
            }
            Value::Object(item)
        });
        body.insert("domains".into(), domains.collect());
        body.insert("order_valid_till".into(), json!(date(order.valid_till)));
        Some(Value::Object(body))
    });
    created(body.ok_or_else(|| not_found("order"))?)
}

/// The `dcv_method` of a body, if it names one.
pub(super) fn method_of(input: &Input) -> Result<Option<DcvMethod>, ApiError> {
    input.text("dcv_method").map(|text| DcvMethod::parse(text).ok_or_else(invalid_method)).transpose()
}

pub(super) fn invalid_method() -> ApiError {
    bad_request("invalid_dcv_method", "The specified DCV method is not valid.")
}

pub(super) fn scope_of(input: &Input) -> Result<Option<Scope>, ApiError> {
    match input.text("certificate_dcv_scope") {
        None => Ok(None),
        Some("base_domain") => Ok(Some(Scope::BaseDomain)),
        Some("fqdn") => Ok(Some(Scope::Fqdn)),
        Some(other) => Err(bad_request("invalid_certificate_dcv_scope", &format!("The scope '{other}' is not valid."))),
    }
}

/// The names of a certificate, common name first and each once.
fn names_of(shared: &Shared, input: &Input, product: &Product) -> Result<Vec<Name>, ApiError> {
    let common_name = input.required_text("certificate.common_name")?.to_owned();
    let mut parsed: Vec<Name> = Vec::new();
    for text in std::iter::once(common_name).chain(input.texts("certificate.dns_names")) {
        let name = names::parse(&text, shared.config.switches.unlisted_suffixes)
            .map_err(|why| bad_request("invalid_domain_name", &format!("'{text}' cannot be ordered: {why}.")))?;
        if name.wildcard && !product.wildcards {
            let message = format!("The product does not allow the wildcard name '{name}'.");
            return Err(bad_request("wildcard_not_allowed", &message));
        }
        if !parsed.contains(&name) {
            parsed.push(name);
        }
    }
    if parsed.len() > product.max_names {
        let message = format!("The product allows {} names, {} were ordered.", product.max_names, parsed.len());
        return Err(bad_request("too_many_dns_names", &message));
    }
    Ok(parsed)
}

/// Id of the intermediate that the body chooses among those of the product.
fn ca_of(shared: &Shared, input: &Input, product: &Product) -> Result<String, ApiError> {
    let allowed = allowed_cas(shared, product);
    let Some(asked) = input.value("certificate.ca_cert_id").filter(|asked| **asked != json!("")) else {
        return Ok(allowed.first().map(|ca| ca.id()).unwrap_or_default());
    };
    let asked = asked.as_str().map_or_else(|| asked.to_string(), str::to_owned);
    if let Some(id) = allowed.iter().map(|ca| ca.id()).find(|id| id.eq_ignore_ascii_case(&asked)) {
        return Ok(id);
    }
    // One of another product is refused; what is no CA at all is passed over, as a client in use relies on.
    if shared.authority.issuing().iter().any(|ca| ca.id().eq_ignore_ascii_case(&asked)) {
        let message = format!("The CA certificate '{asked}' is not one of the product's allowed_ca_certs.");
        return Err(bad_request("invalid_ca_cert_id", &message));
    }
    Ok(allowed.first().map(|ca| ca.id()).unwrap_or_default())
}

/// Reads and checks the `certificate` of a body; its id and status come later.
pub(super) fn certificate_of(
    shared: &Shared,
    input: &Input,
    product: &Product,
    method: DcvMethod,
    kind: Kind,
    order_end: Timestamp,
    now: Timestamp,
) -> Result<Certificate, ApiError> {
    let names = names_of(shared, input, product)?;
    if method.is_http() && names.iter().all(|name| name.wildcard) {
        let message = "Wildcard domains cannot be validated with a file; use another DCV method.";
        return Err(bad_request("invalid_wildcard_dcv_method", message));
    }
    let text = input.required_text("certificate.csr")?;
    let csr = ca::Csr::parse(text)
        .map_err(|error| bad_request("csr_invalid_cannot_parse", &format!("The CSR could not be parsed: {error}.")))?;
    let hash = input.required_text("certificate.signature_hash")?;
    if !["sha256", "sha384", "sha512"].contains(&hash) {
        return Err(bad_request("invalid_signature_hash", &format!("The signature hash '{hash}' is not allowed.")));
    }
    let client_auth = match input.text("certificate.profile_option") {
        None | Some("server_auth_only_eku") => false,
        Some("server_client_auth_eku") if date(now).as_str() < CLIENT_AUTH_END || product.private => true,
        Some(other) => {
            return Err(bad_request("invalid_profile_option", &format!("The profile '{other}' is not available.")));
        }
    };
    let (days, latest_end) = certificate_end(&shared.config, product, input, order_end, now)?;
    Ok(Certificate {
        id: 0,
        kind,
        status: String::new(),
        common_name: names[0].to_string(),
        dns_names: names.iter().map(ToString::to_string).collect(),
        csr: text.to_owned(),
        key_size: csr.key_size,
        signature_hash: hash.to_owned(),
        server_platform: input.number("certificate.server_platform.id").unwrap_or(-1),
        client_auth,
        ca: ca_of(shared, input, product)?,
        profile: input.text("certificate.profile_option").map(str::to_owned),
        units: input.texts("certificate.organization_units"),
        validity: input.value("certificate.cert_validity").cloned().unwrap_or(Value::Null),
        days,
        latest_end,
        created: now,
        issued: None,
        revoke_at: None,
        archived: false,
    })
}

/// The organization a body names by id, or describes.
fn organization_of(state: &mut Files, input: &Input, now: Timestamp) -> Result<u64, ApiError> {
    if let Some(id) = input.id("organization.id") {
        return match state.organizations.get(&id) {
            Some(organization) if organization.active => Ok(id),
            Some(_) => Err(bad_request("organization_inactive", "The organization is not active.")),
            None => Err(not_found("organization")),
        };
    }
    match input.part("organization").filter(|part| part.text("name").is_some()) {
        Some(part) => organizations::find_or_enter(state, &part.with_texts(&organizations::TEXTS), now),
        None => Err(missing("organization")),
    }
}

/// The order that this one renews: one whose certificate was issued, in force or expired.
fn renewed(state: &Files, input: &Input) -> Result<Option<u64>, ApiError> {
    let old = match (input.id("renewal_of_order_id").filter(|id| *id != 0), input.text("renewed_thumbprint")) {
        (Some(id), _) => state.orders.get(&id),
        (None, Some(thumbprint)) => state.find_order(thumbprint),
        (None, None) => return Ok(None),
    };
    let old = old.ok_or_else(|| not_found("order"))?;
    if !["issued", "expired"].contains(&old.status.as_str()) {
        let message = format!("An order with the status '{}' cannot be renewed.", old.status);
        return Err(bad_request("invalid_order_status", &message));
    }
    Ok(Some(old.id))
}
