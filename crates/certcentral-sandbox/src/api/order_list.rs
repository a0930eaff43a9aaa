//! Finding orders: the list with its filters, and what changed lately. ("List orders", "Status change list" of the API.)

use axum::{
    extract::{Path, RawQuery, State},
    http::HeaderMap,
};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    Answer, Sandbox, UNEXPLAINED, bad_request,
    csv::listed,
    not_found, ok,
    orders::{certificate, counts, years},
    products::product_brief,
    query::{Fields, Query},
};
use crate::{
    account::{AlternativeIds, NoChanges},
    clock::{date, later, parse_mountain, stamp},
    state::{Order, State as Files, life::Shared},
};

/// Longest window of status-changes, in seconds.
const WEEK: u64 = 7 * 86_400;

pub(super) async fn list(State(shared): Sandbox, RawQuery(query): RawQuery, headers: HeaderMap) -> Answer {
    let query = Query::parse(query.as_deref());
    let page = shared.read(|state, now| {
        let rows = state.orders.values().map(|order| row(&shared, state, order, now)).collect();
        query.page("orders", rows)
    });
    listed("orders", page, &headers)
}

/// One order of the list, and what it can be found by.
fn row(shared: &Shared, state: &Files, order: &Order, now: Timestamp) -> (Fields, Value) {
    let shown = order.shown();
    let mut brief = certificate(shown, order.organization, now);
    for long in ["csr", "organization", "organization_units", "server_platform", "date_created"] {
        brief.remove(long);
    }
    let product = shared.config.product(&order.product);
    let organization = state.organizations.get(&order.organization);
    let (duplicates, reissues) = counts(order);
    let silent = order.echo.get("disable_renewal_notifications");
    let silent = silent.is_some_and(|said| matches!(said.to_string().trim_matches('"'), "true" | "1"));
    let mut item = json!({
        "id": order.id, "certificate": brief, "status": order.status, "is_renewed": order.renewed,
        "is_renewal": order.renewal_of.is_some(), "date_created": stamp(order.created),
        "order_valid_till": date(order.valid_till),
        "organization": { "id": order.organization, "name": organization.map(|organization| &organization.name) },
        "validity_years": years(order), "disable_renewal_notifications": silent, "container": { "id": 1, "name": "Sandbox", "is_active": true },
        "product": product.map(product_brief), "product_name_id": order.product, "has_duplicates": duplicates > 0,
        "has_reissues": reissues > 0, "number_of_sans": shown.dns_names.len(), "duplicates_count": duplicates, "reissues_count": reissues, "price": 0,
    });
    let tells = shared.config.switches.alternative_ids == AlternativeIds::Everywhere;
    if let Some(id) = order.alternative_id.as_ref().filter(|_| tells) {
        item["alternative_order_id"] = json!(id);
    }
    let said = |field: &str| order.echo.get(field).and_then(Value::as_array).into_iter().flatten();
    let (metadata, emails) = (said("custom_fields"), said("additional_emails"));
    let issued = order.certificates.iter().filter_map(|one| one.issued.as_ref());
    let mut fields = Fields::from([
        ("id", vec![order.id.to_string()]),
        ("order_id", vec![order.id.to_string()]),
        ("alternative_order_id", order.alternative_id.iter().cloned().collect()),
        ("status", vec![order.status.clone()]),
        ("organization_id", vec![order.organization.to_string()]),
        ("organization_name", organization.map(|organization| organization.name.clone()).into_iter().collect()),
        ("product_name_id", vec![order.product.clone()]),
        ("valid_till", shown.issued.iter().map(|issue| date(issue.not_after)).collect()),
        ("user_id", vec![order.user.to_string()]),
        ("common_name", vec![shown.common_name.clone()]),
        ("domain_name", shown.dns_names.clone()),
        ("date_created", vec![stamp(order.created)]),
        ("date_issued", shown.issued.iter().map(|issue| stamp(issue.at)).collect()),
        ("container_id", vec!["1".to_owned()]),
        ("is_renewed", vec![u8::from(order.renewed).to_string()]),
        ("certificate_id", order.certificates.iter().map(|one| one.id.to_string()).collect()),
        ("serial_number", issued.map(|issue| issue.serial.clone()).collect()),
        ("origin", vec!["certcentral".to_owned()]),
        ("metadata_id", metadata.map(|field| field["metadata_id"].to_string()).collect()),
        ("disable_renewal_notifications", vec![u8::from(silent).to_string()]),
        ("email", emails.filter_map(Value::as_str).map(str::to_owned).collect()),
    ]);
    let mut search = shown.dns_names.clone();
    search.extend([order.id.to_string(), order.status.clone()]);
    search.extend(order.alternative_id.clone());
    fields.insert("search", search);
    (fields, item)
}

/// The orders to which their caller gave this id ("Get orders by alternative order ID").
pub(super) async fn by_alternative_id(
    State(shared): Sandbox,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Answer {
    let query = Query::parse(query.as_deref());
    let page = shared.read(|state, _| {
        let ours = state.orders.values().filter(|order| order.alternative_id.as_deref() == Some(id.as_str()));
        let rows = ours.map(|order| {
            let mut row = json!({ "order_id": order.id, "status": order.status });
            if order.status != "needs_approval" {
                row["certificate_id"] = json!(order.shown().id);
            }
            (Fields::new(), row)
        });
        query.page("orders", rows.collect())
    });
    if page.get("orders").is_none() || shared.config.switches.alternative_ids == AlternativeIds::OrderInfo {
        return Err(not_found("order"));
    }
    ok(page)
}

pub(super) async fn status_changes(State(shared): Sandbox, RawQuery(query): RawQuery) -> Answer {
    let query = Query::parse(query.as_deref());
    let seconds = query.number("minutes").map(|minutes| minutes.saturating_mul(60));
    let seconds = match (seconds, query.number("seconds")) {
        (None, None) => None,
        (minutes, seconds) => Some(minutes.unwrap_or_default().saturating_add(seconds.unwrap_or_default())),
    };
    let too_long = || bad_request("time_frame_too_long", UNEXPLAINED);
    let now = shared.clock.now();
    let (from, to) = match (seconds, query.filter("status_last_updated").first()) {
        (Some(seconds), _) if seconds > WEEK => return Err(too_long()),
        (Some(seconds), _) => (later(now, -seconds.cast_signed()), now),
        (None, Some(range)) => {
            let ends =
                range.split_once("...").and_then(|(from, to)| Some((parse_mountain(from)?, parse_mountain(to)?)));
            let (from, to) = ends.ok_or_else(|| {
                bad_request("invalid_status_last_updated", "The filter must be two dates with '...' between them.")
            })?;
            if to.as_second() - from.as_second() > WEEK.cast_signed() {
                return Err(too_long());
            }
            (from, to)
        }
        (None, None) => {
            let message = "One of minutes, seconds or filters[status_last_updated] is required.";
            return Err(bad_request("missing_time_frame", message));
        }
    };
    let switches = &shared.config.switches;
    let visible = later(now, -i64::from(switches.status_change_delay_seconds));
    let changed: Vec<Value> = shared.read(|state, _| {
        let changed = state
            .orders
            .values()
            .filter(|order| (from..=to).contains(&order.status_changed) && order.status_changed <= visible);
        let items = changed.map(|order| {
            let mut item = json!({ "order_id": order.id, "status": order.status });
            if order.shown().status != "needs_approval" {
                item["certificate_id"] = json!(order.shown().id);
            }
            item
        });
        items.collect()
    });
    match switches.no_changes {
        NoChanges::EmptyObject if changed.is_empty() => ok(json!({})),
        _ => ok(json!({ "orders": changed })),
    }
}
