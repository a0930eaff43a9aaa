//! Lists as CSV for whoever sends `Accept: text/csv` ("List orders", "List organizations", "List requests" of the API).
//! The columns are not documented; here they are the JSON's members, nested ones with a dot between, as RFC 4180 text.

use std::collections::BTreeSet;

use axum::{
    http::{HeaderMap, header},
    response::IntoResponse,
};
use serde_json::Value;

use super::{Answer, ok};

/// A page of a list, `{name: […], "page": {…}}`, in the form the caller accepts.
pub(super) fn listed(name: &str, page: Value, headers: &HeaderMap) -> Answer {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let wanted = accept.split(',').next().and_then(|first| first.split(';').next()).unwrap_or_default();
    if !wanted.trim().eq_ignore_ascii_case("text/csv") {
        return ok(page);
    }
    let items = page.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    Ok(([(header::CONTENT_TYPE, "text/csv")], table(items)).into_response())
}

fn table(items: &[Value]) -> String {
    let rows: Vec<Vec<(String, String)>> = items.iter().map(cells).collect();
    let columns: BTreeSet<&str> = rows.iter().flatten().map(|(column, _)| column.as_str()).collect();
    let header = columns.iter().map(|column| quoted(column)).collect::<Vec<_>>().join(",");
    let lines = rows.iter().map(|row| {
        let cell = |wanted: &&str| row.iter().find(|(column, _)| column == wanted).map(|(_, text)| quoted(text));
        columns.iter().map(|column| cell(column).unwrap_or_default()).collect::<Vec<_>>().join(",")
    });
    std::iter::once(header).chain(lines).map(|line| line + "\r\n").collect()
}

fn cells(item: &Value) -> Vec<(String, String)> {
    fn fill(path: &str, value: &Value, cells: &mut Vec<(String, String)>) {
        let text = match value {
            Value::Object(members) => {
                for (key, value) in members {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    fill(&path, value, cells);
                }
                return;
            }
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            Value::Array(values) if values.iter().all(Value::is_string) => {
                values.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ")
            }
            other => other.to_string(),
        };
        cells.push((path.to_owned(), text));
    }
    let mut found = Vec::new();
    fill("", item, &mut found);
    found
}

fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\r', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn members_are_columns() {
        let items = [
            json!({"id": 1, "certificate": {"dns_names": ["a.com", "b.com"], "key_size": 256}}),
            json!({"id": 2, "name": "Stra\"ße, Ltd.", "none": null}),
        ];
        let lines = "certificate.dns_names,certificate.key_size,id,name,none\r\n\
                     a.com b.com,256,1,,\r\n,,2,\"Stra\"\"ße, Ltd.\",\r\n";
        assert_eq!(table(&items), lines);
        assert_eq!(table(&[]), "\r\n");
    }
}
