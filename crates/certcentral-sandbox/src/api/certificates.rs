//! After issue: downloads and chains.

use axum::{
    Extension,
    extract::{Path, RawQuery, State},
};
use serde_json::{Value, json};

use super::{Answer, ApiError, Sandbox, WrongPem, bad_request, file, no_content, not_found, ok, query::Query};
use crate::{
    ca,
    state::{Certificate, Issue, life::Shared},
};

/// A certificate as chains list it.
fn link(pem: &str) -> Value {
    let parsed = x509_parser::pem::parse_x509_pem(pem.as_bytes()).ok().map(|(_, pem)| pem);
    let name = parsed.as_ref().and_then(|pem| {
        let certificate = pem.parse_x509().ok()?;
        certificate.subject().iter_common_name().next()?.as_str().ok().map(str::to_owned)
    });
    json!({ "subject_common_name": name, "pem": ca::crlf(pem) })
}

/// An intermediate as "List intermediates" has it.
fn described(id: String, pem: &str) -> Value {
    let mut row = link(pem);
    row["id"] = json!(id);
    let Ok((_, parsed)) = x509_parser::pem::parse_x509_pem(pem.as_bytes()) else { return row };
    let Ok(certificate) = parsed.parse_x509() else { return row };
    let moment = |time: x509_parser::time::ASN1Time| {
        let at = jiff::Timestamp::from_second(time.timestamp()).unwrap_or_default();
        at.strftime("%Y-%m-%d %H:%M:%S").to_string()
    };
    let first = |mut names: Vec<&str>| names.drain(..).next().unwrap_or_default().to_owned();
    let names = |name: &x509_parser::x509::X509Name<'_>| {
        first(name.iter_common_name().filter_map(|name| name.as_str().ok()).collect())
    };
    let organization = certificate.subject().iter_organization().filter_map(|name| name.as_str().ok()).collect();
    row["subject_org_name"] = json!(first(organization));
    row["issuer_common_name"] = json!(names(certificate.issuer()));
    row["valid_from"] = json!(moment(certificate.validity().not_before));
    row["valid_to"] = json!(moment(certificate.validity().not_after));
    row["serial_number"] = json!(ca::hex(certificate.raw_serial()));
    row["thumbprint"] = json!(ca::thumbprint(&parsed.contents));
    row["signature_hash"] = json!("SHA256");
    row["is_private"] = json!("0");
    row
}

/// Leaf, intermediate and root, as in an immediate issuance.
pub(super) fn chain_of(shared: &Shared, certificate: &Certificate, issue: &Issue) -> Value {
    let ca = &shared.authority;
    json!([link(&issue.pem), link(ca.issuing_with(&certificate.ca).pem()), link(ca.root_pem())])
}

pub(super) async fn chain(State(shared): Sandbox, Path(id): Path<String>) -> Answer {
    // With the leaf: clients in use make their certificate file of this answer alone.
    let (certificate, issue) = issued(&shared, &id)?;
    ok(json!({ "intermediates": chain_of(&shared, &certificate, &issue) }))
}

pub(super) async fn intermediates(State(shared): Sandbox) -> Answer {
    let all = shared.authority.issuing().iter().map(|one| described(one.id(), one.pem()));
    ok(json!({ "intermediates": all.collect::<Value>() }))
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
    let intermediate = shared.authority.issuing_with(&certificate.ca).pem();
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

/// The primary certificate of an order, or the duplicate with this `sub_id`; as `format_type` says.
pub(super) async fn download_order(
    State(shared): Sandbox,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    wrong: Option<Extension<WrongPem>>,
) -> Answer {
    let query = Query::parse(query.as_deref());
    let found = match query.number("sub_id").filter(|sub| *sub != 0) {
        None => issued_of_order(&shared, &id)?,
        Some(sub) => {
            let order = shared.read(|state, _| state.find_order(&id).cloned()).ok_or_else(|| not_found("order"))?;
            let at = usize::try_from(sub).unwrap_or(usize::MAX) - 1;
            let copy = order.duplicates().nth(at).cloned().ok_or_else(|| not_found("certificate"))?;
            let issue = copy.issued.clone().ok_or_else(|| not_found("certificate"))?;
            (copy, issue)
        }
    };
    let format = query.get("format_type").unwrap_or_else(|| format_of(found.0.server_platform));
    send(&shared, &found, format, wrong)
}

pub(super) async fn download_order_format(
    State(shared): Sandbox,
    Path((id, format)): Path<(String, String)>,
    wrong: Option<Extension<WrongPem>>,
) -> Answer {
    send(&shared, &issued_of_order(&shared, &id)?, &format, wrong)
}

pub(super) async fn archive(State(shared): Sandbox, Path(id): Path<String>) -> Answer {
    set_archived(&shared, &id, true)
}

pub(super) async fn unarchive(State(shared): Sandbox, Path(id): Path<String>) -> Answer {
    set_archived(&shared, &id, false)
}

/// Takes a certificate out of the lists of reissues and duplicates, or puts it back.
fn set_archived(shared: &Shared, reference: &str, archived: bool) -> Answer {
    shared.write(|state, _| {
        let found = state.find_certificate(reference).map(|(order, one)| (order.id, one.id));
        let (order, id) = found.ok_or_else(|| not_found("certificate"))?;
        let order = state.orders.get_mut(&order).ok_or_else(|| not_found("certificate"))?;
        if archived && order.shown().id == id {
            let message = "The primary certificate on an order cannot be archived.";
            return Err(bad_request("cannot_archive_primary_certificate", message));
        }
        for certificate in order.certificates.iter_mut().filter(|one| one.id == id) {
            certificate.archived = archived;
        }
        Ok(())
    })?;
    no_content()
}
