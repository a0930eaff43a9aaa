//! Query strings and lists: `filters[…]` with substrings, comparisons and ranges, `sort`, `limit` and `offset`, and the
//! `page` of a list answer.

use std::{cmp::Ordering, collections::HashMap};

use serde_json::{Value, json};
use url::form_urlencoded;

/// A query string.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

/// What a list can be filtered and sorted by: all values of each property of one item.
pub(crate) type Fields = HashMap<&'static str, Vec<String>>;

impl Query {
    pub(crate) fn parse(raw: Option<&str>) -> Self {
        Self(form_urlencoded::parse(raw.unwrap_or_default().as_bytes()).into_owned().collect())
    }

    /// A parameter by its documented name; recorded calls also write `includeValidation` for `include_validation`.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        let camel = |name: &str| {
            let written = key.chars().filter(|c| *c != '_');
            name.chars().any(|c| c.is_ascii_uppercase()) && written.eq(name.chars().map(|c| c.to_ascii_lowercase()))
        };
        self.0.iter().find(|(name, _)| name == key || camel(name)).map(|(_, value)| value.as_str())
    }

    pub(crate) fn flag(&self, key: &str) -> bool {
        self.get(key).is_some_and(|value| value == "1" || value.eq_ignore_ascii_case("true"))
    }

    pub(crate) fn number(&self, key: &str) -> Option<u64> {
        self.get(key)?.parse().ok()
    }

    /// `filters[property]` and `filters[property][0]`, `[1]`, … by property.
    fn filters(&self) -> HashMap<&str, Vec<&str>> {
        let mut filters: HashMap<&str, Vec<&str>> = HashMap::new();
        for (key, value) in &self.0 {
            if let Some((property, _)) = key.strip_prefix("filters[").and_then(|rest| rest.split_once(']')) {
                filters.entry(property).or_default().push(value);
            }
        }
        filters
    }

    /// The values of one filter.
    pub(crate) fn filter(&self, property: &str) -> Vec<&str> {
        self.filters().remove(property).unwrap_or_default()
    }

    /// Filters, sorts and cuts `items`; unknown properties do not filter. Answers `{name: […], "page": {…}}`, and without
    /// `name` where there are none, as was recorded from the service.
    pub(crate) fn page(&self, name: &str, items: Vec<(Fields, Value)>) -> Value {
        let mut filters = self.filters();
        // Clients in use give these two without `filters[…]`.
        for plain in ["status", "container_id"] {
            if let Some(value) = self.get(plain) {
                filters.entry(plain).or_default().push(value);
            }
        }
        let mut items: Vec<_> = items
            .into_iter()
            .filter(|(fields, _)| {
                filters.iter().all(|(property, wanted)| {
                    fields.get(property).is_none_or(|values| wanted.is_empty() || matches(values, wanted))
                })
            })
            .collect();
        if let Some(sort) = self.get("sort") {
            items.sort_by(|(a, _), (b, _)| compare_by(sort, a, b));
        }
        let total = items.len();
        let limit = self.number("limit").unwrap_or(1000).clamp(1, 1000);
        let offset = self.number("offset").unwrap_or_default();
        let from = usize::try_from(offset).unwrap_or(total).min(total);
        let count = usize::try_from(limit).unwrap_or(1000);
        let shown: Vec<Value> = items.into_iter().skip(from).take(count).map(|(_, item)| item).collect();
        let mut page = json!({ "page": { "total": total, "limit": limit, "offset": offset } });
        if !shown.is_empty() {
            page[name] = Value::Array(shown);
        }
        page
    }
}

/// Plain values are alternatives; comparisons must all hold.
fn matches(values: &[String], wanted: &[&str]) -> bool {
    let (comparisons, plain): (Vec<&&str>, Vec<&&str>) =
        wanted.iter().partition(|text| text.starts_with(['>', '<']) || text.contains("..."));
    let one = |text: &str| values.iter().any(|value| fits(value, text));
    comparisons.iter().all(|text| one(text)) && (plain.is_empty() || plain.iter().any(|text| one(text)))
}

fn fits(value: &str, wanted: &str) -> bool {
    if let Some(part) = wanted.strip_prefix('%') {
        return value.to_lowercase().contains(&part.trim_end_matches('%').to_lowercase());
    }
    if let Some((from, to)) = wanted.split_once("...") {
        return compare(value, from).is_ge() && compare(value, to).is_le();
    }
    if let Some(bound) = wanted.strip_prefix(">=") {
        return compare(value, bound).is_ge();
    }
    if let Some(bound) = wanted.strip_prefix("<=") {
        return compare(value, bound).is_le();
    }
    if let Some(bound) = wanted.strip_prefix('>') {
        return compare(value, bound).is_gt();
    }
    if let Some(bound) = wanted.strip_prefix('<') {
        return compare(value, bound).is_lt();
    }
    value.eq_ignore_ascii_case(wanted) || (is_date(wanted) && value.starts_with(wanted))
}

/// Numbers as numbers; a moment and a bare date as dates; the rest as text.
fn compare(value: &str, bound: &str) -> Ordering {
    match (value.parse::<i64>(), bound.parse::<i64>()) {
        (Ok(value), Ok(bound)) => value.cmp(&bound),
        _ if is_date(bound) => value.get(..10).unwrap_or(value).cmp(bound),
        _ => value.replace('T', " ").as_str().cmp(bound.replace('T', " ").as_str()),
    }
}

fn is_date(text: &str) -> bool {
    text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok()
}

/// `a,-b`: ascending by a, then descending by b; `+a`, which a query string turns into ` a`, is a.
fn compare_by(sort: &str, a: &Fields, b: &Fields) -> Ordering {
    let first = |fields: &Fields, key: &str| fields.get(key).and_then(|values| values.first()).cloned();
    sort.split(',')
        .map(|key| {
            let (down, key) = match key.trim_start_matches([' ', '+']).strip_prefix('-') {
                Some(key) => (true, key),
                None => (false, key.trim_start_matches([' ', '+'])),
            };
            let order = match (first(a, key), first(b, key)) {
                (Some(a), Some(b)) => compare(&a, &b),
                (a, b) => a.cmp(&b),
            };
            if down { order.reverse() } else { order }
        })
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_fit() {
        let table = [
            ("issued", "issued", true),
            ("www.example.com", "%example", true),
            ("www.example.com", "example", false),
            ("12", ">9", true),
            ("12", "<9", false),
            ("12", "12...14", true),
            ("2026-05-01T10:00:00+00:00", ">2026-04-30", true),
            ("2026-05-01T10:00:00+00:00", ">2026-05-01", false),
            ("2026-05-01T10:00:00+00:00", "2026-05-01...2026-05-01", true),
            ("2026-05-01T10:00:00+00:00", "2026-05-01", true),
        ];
        for (value, wanted, expected) in table {
            assert_eq!(fits(value, wanted), expected, "{value} {wanted}");
        }
    }

    #[test]
    fn a_page_is_filtered_sorted_and_cut() {
        let item = |id: u32, status: &str| {
            let fields = Fields::from([("id", vec![id.to_string()]), ("status", vec![status.to_owned()])]);
            (fields, json!(id))
        };
        let items = || vec![item(2, "issued"), item(10, "issued"), item(3, "pending")];
        let list = |raw| Query::parse(Some(raw)).page("orders", items());
        assert_eq!(list("sort=-id")["orders"], json!([10, 3, 2]));
        assert_eq!(list("sort=%2Bstatus,-id")["orders"], json!([10, 2, 3]));
        assert_eq!(list("filters[status]=issued&limit=1&offset=1")["orders"], json!([10]));
        assert_eq!(list("filters%5Bid%5D%5B0%5D=2&filters%5Bid%5D%5B1%5D=3")["orders"], json!([2, 3]));
        assert_eq!(list("filters[id]=2...3")["page"]["total"], json!(2));
        assert_eq!(list("filters[nobody]=1")["page"]["total"], json!(3));
    }
}
