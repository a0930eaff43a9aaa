//! After issue: downloads, chains, the lists of reissues and duplicates, and revocation.

use axum::{
    Extension,
    body::Bytes,
    extract::{Path, State},
};
use serde_json::{Value, json};

use super::{
    Answer, ApiError, Caller, Sandbox, WrongPem, bad_request, created, file,
    input::Input,
    no_content, not_found, ok,
    orders::{days_remaining, platform},
    organizations::user,
};
use crate::{
    account::Role,
    ca,
    clock::{date, stamp},
    state::{Certificate, Issue, Kind, Order, Request, RequestKind, State as Files, life::Shared},
};

/// PEM as the API puts it into JSON: `\r\n` at every line's end.
fn crlf(pem: &str) -> String {
    pem.lines().flat_map(|line| [line.trim_end(), "\r\n"]).collect()
}

/// A certificate as chains list it.
fn link(pem: &str) -> Value {
    let parsed = x509_parser::pem::parse_x509_pem(pem.as_bytes()).ok().map(|(_, pem)| pem);
    let name = parsed.as_ref().and_then(|pem| {
        let certificate = pem.parse_x509().ok()?;
        certificate.subject().iter_common_name().next()?.as_str().ok().map(str::to_owned)
    });
    json!({ "subject_common_name": name, "pem": crlf(pem) })
}

/// Leaf, intermediate and root, as in an immediate issuance.
pub(super) fn chain_of(shared: &Shared, issue: &Issue) -> Value {
    let ca = &shared.authority;
    json!([link(&issue.pem), link(ca.intermediate_pem()), link(ca.root_pem())])
}

pub(super) async fn chain(State(shared): Sandbox, Path(id): Path<String>) -> Answer {
    issued(&shared, &id)?;
    ok(json!({ "intermediates": [link(shared.authority.intermediate_pem()), link(shared.authority.root_pem())] }))
}

pub(super) async fn intermediates(State(shared): Sandbox) -> Answer {
    ok(json!({ "intermediates": [link(shared.authority.intermediate_pem())] }))
}

/// An issued certificate by id or serial number.
fn issued(shared: &Shared, reference: &str) -> Result<(Certificate, Issue), ApiError> {
    let found = shared.read(|state, _| state.find_certificate(reference).map(|(_, one)| one.clone()));
    let certificate = found.ok_or_else(|| not_found("certificate"))?;
    let issue = certificate.issued.clone().ok_or_else(|| not_found("certificate"))?;
    Ok((certificate, issue))
}

/// The primary certificate of an order.
fn issued_of_order(shared: &Shared, reference: &str) -> Result<(Certificate, Issue), ApiError> {
    let order = shared.read(|state, _| state.find_order(reference).cloned()).ok_or_else(|| not_found("order"))?;
    let certificate = order.primary().ok_or_else(|| not_found("certificate"))?;
    let issue = certificate.issued.clone().ok_or_else(|| not_found("certificate"))?;
    Ok((certificate.clone(), issue))
}

fn send(
    shared: &Shared,
    (certificate, issue): &(Certificate, Issue),
    format: &str,
    wrong: Option<Extension<WrongPem>>,
) -> Answer {
    let intermediate = shared.authority.intermediate_pem();
    let mut leaf = issue.pem.clone();
    if wrong.is_some() {
        // Some other certificate of the account, as clients have seen happen; the intermediate if there is none.
        let other = shared.read(|state, _| {
            let all = state.orders.values().flat_map(|order| &order.certificates);
            all.filter(|one| one.id != certificate.id)
                .find_map(|one| one.issued.as_ref().map(|issue| issue.pem.clone()))
        });
        leaf = other.unwrap_or_else(|| intermediate.to_string());
    }
    let name = certificate.common_name.replace('*', "star").replace('.', "_");
    let download = ca::download(format, &leaf, intermediate, shared.authority.root_pem(), &name)
        .ok_or_else(|| bad_request("invalid_format", &format!("The format '{format}' is not known.")))?;
    file(download.content_type, &download.file_name, download.body)
}

/// The format that fits the order's server platform.
fn format_of(platform: i64) -> &'static str {
    match platform {
        2 => "apache",
        45 => "pem_all",
        _ => "default",
    }
}

pub(super) async fn download_platform(
    State(shared): Sandbox,
    Path(id): Path<String>,
    wrong: Option<Extension<WrongPem>>,
) -> Answer {
    let found = issued(&shared, &id)?;
    send(&shared, &found, format_of(found.0.server_platform), wrong)
}

pub(super) async fn download_of_platform(
    State(shared): Sandbox,
    Path((id, platform)): Path<(String, String)>,
    wrong: Option<Extension<WrongPem>>,
) -> Answer {
    send(&shared, &issued(&shared, &id)?, format_of(platform.parse().unwrap_or(-1)), wrong)
}

pub(super) async fn download_format(
    State(shared): Sandbox,
    Path((id, format)): Path<(String, String)>,
    wrong: Option<Extension<WrongPem>>,
) -> Answer {
    send(&shared, &issued(&shared, &id)?, &format, wrong)
}

pub(super) async fn download_order(
    State(shared): Sandbox,
    Path(id): Path<String>,
    wrong: Option<Extension<WrongPem>>,
) -> Answer {
    let found = issued_of_order(&shared, &id)?;
    send(&shared, &found, format_of(found.0.server_platform), wrong)
}

pub(super) async fn download_order_format(
    State(shared): Sandbox,
    Path((id, format)): Path<(String, String)>,
    wrong: Option<Extension<WrongPem>>,
) -> Answer {
    send(&shared, &issued_of_order(&shared, &id)?, &format, wrong)
}

pub(super) async fn reissues(State(shared): Sandbox, Path(id): Path<String>) -> Answer {
    listed(&shared, &id, Kind::Reissue)
}

pub(super) async fn duplicates(State(shared): Sandbox, Path(id): Path<String>) -> Answer {
    listed(&shared, &id, Kind::Duplicate)
}

fn listed(shared: &Shared, reference: &str, kind: Kind) -> Answer {
    let order = shared.read(|state, _| state.find_order(reference).cloned()).ok_or_else(|| not_found("order"))?;
    let now = shared.clock.now();
    let items = order.certificates.iter().filter(|one| one.kind == kind).map(|one| {
        let mut item = json!({
            "id": one.id, "common_name": one.common_name, "dns_names": one.dns_names, "status": one.status,
            "date_created": stamp(one.created), "csr": one.csr, "key_size": one.key_size, "user_id": order.user,
            "email": "user@example.com", "firstname": "Sandbox", "lastname": "User",
        });
        if kind == Kind::Duplicate {
            item["archived"] = json!("0");
            item["server_platform"] = platform(one.server_platform);
            item["signature_hash"] = json!(one.signature_hash);
            item["ca_cert_id"] = json!(shared.authority.intermediate_id());
            item["sub_id"] = json!("1");
        } else {
            item["archived"] = json!(0);
            item["receipt_id"] = json!("0");
            item["purchased_dns_names"] = json!("0");
            item["purchased_wildcard_names"] = json!("0");
        }
        if let Some(issue) = &one.issued {
            item["thumbprint"] = json!(issue.thumbprint);
            item["serial_number"] = json!(issue.serial);
            item["date_issued"] = json!(stamp(issue.at));
            item["valid_from"] = json!(date(issue.not_before));
            item["valid_till"] = json!(date(issue.not_after));
            item["days_remaining"] = json!(days_remaining(issue.not_after, now));
        }
        item
    });
    ok(json!({ "certificates": items.collect::<Value>() }))
}

pub(super) async fn revoke(
    State(shared): Sandbox,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    body: Bytes,
) -> Answer {
    let found = shared.read(|state, _| state.find_certificate(&id).map(|(order, one)| (order.clone(), one.id)));
    let (order, certificate) = found.ok_or_else(|| not_found("certificate"))?;
    ask_to_revoke(&shared, &caller, &order, vec![certificate], &body)
}

pub(super) async fn revoke_order(
    State(shared): Sandbox,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    body: Bytes,
) -> Answer {
    let order = shared.read(|state, _| state.find_order(&id).cloned()).ok_or_else(|| not_found("order"))?;
    // No certificate named means all of the order.
    ask_to_revoke(&shared, &caller, &order, Vec::new(), &body)
}

fn ask_to_revoke(shared: &Shared, Caller(key): &Caller, order: &Order, certificates: Vec<u64>, body: &Bytes) -> Answer {
    const REASONS: [&str; 5] =
        ["unspecified", "keyCompromise", "affiliationChanged", "superseded", "cessationOfOperation"];
    let input = Input::optional(body)?;
    let reason = input.text("revocation_reason").unwrap_or("unspecified");
    if !REASONS.contains(&reason) {
        return Err(bad_request("invalid_revocation_reason", &format!("The reason '{reason}' is not known.")));
    }
    let meant = |one: &&Certificate| certificates.is_empty() || certificates.contains(&one.id);
    if order.status == "reissue_pending" || !order.certificates.iter().filter(meant).any(|one| one.status == "issued") {
        return Err(bad_request(
            "cannot_revoke",
            "Only an issued certificate without a pending reissue can be revoked.",
        ));
    }
    if input.flag("skip_approval") && key.role == Role::Administrator {
        shared.write(|state, now| revoke_now(state, order.id, &certificates, now));
        return no_content();
    }
    let comments = input.text("comments").or(input.text("comment")).unwrap_or_default().to_owned();
    let body = shared.write(|state, now| {
        let id = state.next_id();
        let request = Request {
            id,
            kind: RequestKind::Revoke,
            status: "pending".to_owned(),
            date: now,
            processed: None,
            requester: key.user_id,
            processor: None,
            order: order.id,
            certificates,
            comments: comments.clone(),
            processor_comment: String::new(),
        };
        state.requests.insert(id, request);
        if let Some(order) = state.orders.get_mut(&order.id) {
            order.requests.push(id);
        }
        json!({
            "id": id, "date": stamp(now), "type": "revoke", "status": "pending", "requester": user(key.user_id),
            "comments": comments,
        })
    });
    created(body)
}

/// Revokes these certificates of the order; none named means all, and then the order is revoked too.
pub(super) fn revoke_now(state: &mut Files, order: u64, certificates: &[u64], now: jiff::Timestamp) {
    let Some(order) = state.orders.get_mut(&order) else { return };
    let all = certificates.is_empty();
    for one in &mut order.certificates {
        if one.status == "issued" && (all || certificates.contains(&one.id)) {
            "revoked".clone_into(&mut one.status);
        }
    }
    if all {
        order.set_status("revoked", now);
    }
}
