//! What the account can order, and what each product allows today. ("Product list", "Product info" of the API.)

use axum::extract::{Path, RawQuery, State};
use serde_json::{Value, json};

use super::{
    Answer, Sandbox, domains::description, not_found, ok, orders::platform, query::Query, validity::ORDER_YEARS,
};
use crate::{account::Product, ca::Issuing, state::life::Shared};

/// A product as orders show it.
pub(super) fn product_brief(product: &Product) -> Value {
    json!({
        "name_id": product.name_id, "name": product.name, "type": "ssl_certificate",
        "validation_type": product.validation_type(),
        "validation_name": product.validation.text().to_uppercase(),
        "validation_description": description(product.validation.text()),
    })
}

/// The intermediates that sign for a product, the usual one first; only flex products can choose.
pub(super) fn allowed_cas<'a>(shared: &'a Shared, product: &Product) -> Vec<&'a Issuing> {
    let all = shared.authority.issuing().iter().filter(|ca| ca.is_private() == product.private);
    all.take(if product.flex { usize::MAX } else { 1 }).collect()
}

fn item(shared: &Shared, product: &Product) -> Value {
    let hashes = ["256", "384", "512"].map(|bits| json!({ "id": format!("sha{bits}"), "name": format!("SHA-{bits}") }));
    let cas = allowed_cas(shared, product).into_iter().map(|ca| json!({ "id": ca.id(), "name": ca.name() }));
    let years: Vec<i64> = (1..=ORDER_YEARS).collect();
    let mut item = product_brief(product);
    // Upper case here, lower case in orders.
    if !product.private {
        item["validation_type"] = json!(product.validation_type().to_uppercase());
    }
    item["group_name"] = json!(product.group());
    item["allowed_container_ids"] = json!([1]);
    // A public certificate lives for less than a year; its order for up to three.
    item["allowed_validity_years"] = if product.private { json!(years) } else { json!([1]) };
    item["allowed_order_validity_years"] = json!(years);
    item["signature_hash_types"] = json!({ "allowed_hash_types": hashes, "default_hash_type_id": "sha256" });
    item["allowed_ca_certs"] = cas.collect();
    item["csr_required"] = json!(true);
    item
}

pub(super) async fn list(State(shared): Sandbox) -> Answer {
    let items: Vec<Value> = shared.config.products.iter().map(|product| item(&shared, product)).collect();
    ok(json!({ "products": items }))
}

pub(super) async fn info(State(shared): Sandbox, Path(name_id): Path<String>, RawQuery(query): RawQuery) -> Answer {
    let product = shared.config.product(&name_id).ok_or_else(|| not_found("product"))?;
    if Query::parse(query.as_deref()).number("container_id").is_some_and(|id| id != 1) {
        return Err(not_found("container"));
    }
    ok(detailed(&shared, product))
}

fn detailed(shared: &Shared, product: &Product) -> Value {
    let mut item = item(shared, product);
    if let Some(cas) = item["allowed_ca_certs"].as_array_mut() {
        for ca in cas {
            ca["chain_info"] = json!("root -> intermediate -> certificate");
        }
    }
    item["duplicates_allowed"] = json!(true);
    item["max_multi_year_order_validity_years"] = json!(ORDER_YEARS);
    item["additional_dns_names_allowed"] = json!(product.max_names > 1);
    item["increased_compatibility_allowed"] = json!(false);
    item["custom_expiration_date_allowed"] = json!(true);
    item["allow_auto_renew"] = json!(true);
    item["server_platforms"] = [-1, 2, 45].into_iter().map(platform).collect();
    item["license_agreement"] = json!("The sandbox's certificates are worth nothing.");
    item
}
