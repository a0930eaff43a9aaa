//! `dcv import`: configuration for the orders that the account has already.

use std::{collections::BTreeSet, fmt::Write as _};

use certcentral::Moment;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    args,
    config::Config,
    exit::{Code, Result},
    show::Screen,
};

/// Writes configuration for the issued orders of the account, for its owner to look through.
pub(crate) async fn import(config: &Config, screen: Screen, args: &args::Import) -> Result<Code> {
    let client = config.client().await?;
    let mut filters = vec![("status", "issued")];
    filters.extend(args.name.iter().map(|name| ("domain_name", name.as_str())));
    let orders = client.all_orders(&filters, Some("-date_created")).await?;
    let mut tables = Vec::new();
    let mut labels: BTreeSet<String> = config.certificates.keys().cloned().collect();
    let known: BTreeSet<u64> = config.certificates.values().filter_map(|kept| kept.order).collect();
    for order in &orders {
        let listed = order.certificate.as_ref();
        let ended = listed
            .and_then(|c| c.valid_till.as_ref())
            .and_then(Moment::timestamp)
            .is_some_and(|end| end < Timestamp::now());
        if ended || order.is_renewed == Some(true) || known.contains(&order.id.0) {
            continue;
        }
        let Some(common_name) = listed.and_then(|certificate| certificate.common_name.clone()) else { continue };
        let mut names = vec![common_name.clone()];
        names.extend(listed.iter().flat_map(|c| &c.dns_names).filter(|name| **name != common_name).cloned());
        let base = common_name.replace("*.", "wildcard-").replace('.', "-");
        let label = if labels.contains(&base) { format!("{base}-{}", order.id) } else { base };
        labels.insert(label.clone());
        tables.push((label, names, order));
    }
    let text: Vec<String> = tables.iter().map(|(label, names, order)| as_toml(label, names, order)).collect();
    let json: Vec<Value> = tables
        .iter()
        .map(|(label, names, order)| json!({ "label": label, "names": names, "order": order.id }))
        .collect();
    let nothing = "# the account has no issued orders that the configuration does not have\n";
    let text = if text.is_empty() { nothing.to_owned() } else { text.join("\n") };
    screen.result(text.trim_end(), json!({ "result": "imported", "certificates": json }));
    Ok(Code::Done)
}

fn as_toml(label: &str, names: &[String], order: &certcentral::Order) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
    let mut text = format!("[certificate.{label}]\nnames = [{}]\norder = {}\n", quoted.join(", "), order.id);
    if let Some(product) = order.product.as_ref().and_then(|product| product.name_id.as_ref()) {
        let _ = writeln!(text, "product = {product:?}");
    }
    if let Some(id) = order.organization.as_ref().and_then(|organization| organization.id) {
        let _ = writeln!(text, "organization = {id}");
    }
    text
}
