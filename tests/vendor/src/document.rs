//! What a vendor's own OpenAPI document says of the requests we make and of the answers a stand-in gives, so that neither is only what we think.
//!
//! A [`Document`] is a cut of such a document to what is used, in JSON, beside the test that holds it: paths with their operations, what may be in the
//! query, what goes into the body, what comes back for which status, and the schemas of both. Its `source` says where it is from.

use serde_json::{Map, Value};

use crate::{Answer, Asked};

/// A cut of a vendor's document.
#[derive(Debug)]
pub struct Document(Value);

/// Who has sent what is looked at: vendors may say what nobody may tell them.
#[derive(Clone, Copy, PartialEq)]
enum Sent {
    ByUs,
    ByVendor,
}

impl Document {
    /// Reads it.
    ///
    /// # Panics
    /// When it is no JSON, or does not say where it is from.
    #[must_use]
    pub fn read(json: &str) -> Self {
        let document: Value = serde_json::from_str(json).expect("a document");
        assert!(document["source"].is_string(), "it says where it is from");
        Self(document)
    }

    /// Holds a request and the answer to it against the document.
    ///
    /// # Panics
    /// Where one of them is not as the document says.
    pub fn hold(&self, asked: &Asked, answer: &Answer) {
        let what = format!("{} {}", asked.method, asked.path);
        let paths = self.0["paths"].as_object().expect("paths");
        let matches = |template: &str| {
            let parts: Vec<&str> = template.trim_matches('/').split('/').collect();
            parts.len() == asked.segments.len()
                && parts.iter().zip(&asked.segments).all(|(part, is)| part.starts_with('{') || part == is)
        };
        let (_, operations) =
            paths.iter().find(|(template, _)| matches(template)).unwrap_or_else(|| panic!("{what}: no such path"));
        let operation = operations.get(&asked.method).unwrap_or_else(|| panic!("{what}: no such operation"));
        for (name, value) in &asked.query {
            let schema = operation["query"].get(name).unwrap_or_else(|| panic!("{what}: {name} is no parameter"));
            // Numbers are texts in a query.
            let number = value.parse::<u64>().map(Value::from).ok().filter(|_| schema["type"] == "integer");
            let value = number.unwrap_or_else(|| Value::String(value.clone()));
            self.is(schema, &value, &format!("{what}?{name}"), Sent::ByUs);
        }
        match operation["request"].as_str() {
            Some(schema) => self.holds(schema, &asked.json, &what, Sent::ByUs),
            None => assert!(asked.body.is_empty(), "{what}: a body nobody asked for"),
        }
        let answers = &operation["answers"];
        let schema = answers.get(answer.status.to_string()).unwrap_or(&answers["default"]);
        match schema.as_str() {
            Some(schema) => self.holds(schema, &answer.body, &what, Sent::ByVendor),
            None => assert!(answer.body.is_null(), "{what}: an answer of {} has no body", answer.status),
        }
    }

    fn holds(&self, name: &str, value: &Value, at: &str, sent: Sent) {
        let schema = self.0["schemas"].get(name).unwrap_or_else(|| panic!("no schema {name}"));
        self.is(schema, value, &format!("{at}: {name}"), sent);
    }

    fn is(&self, schema: &Value, value: &Value, at: &str, sent: Sent) {
        if let Some(name) = schema["$ref"].as_str() {
            return self.holds(name, value, at, sent);
        }
        match (schema["type"].as_str(), value) {
            (_, Value::Null) if schema["nullable"] == true => {}
            (Some("string"), Value::String(text)) => {
                let known = schema["enum"].as_array();
                assert!(known.is_none_or(|known| known.contains(value)), "{at}: `{text}` is not one of {known:?}");
                // What the vendor says itself may be shorter: the name of the zone itself, say.
                let (least, most) = (schema["minLength"].as_u64(), schema["maxLength"].as_u64());
                let length = text.chars().count() as u64;
                let fits = least.is_none_or(|least| length >= least) && most.is_none_or(|most| length <= most);
                assert!(fits || sent == Sent::ByVendor, "{at}: `{text}` is too short or too long");
            }
            (Some("integer"), Value::Number(number)) => {
                let (least, most) = (schema["minimum"].as_i64(), schema["maximum"].as_i64());
                let number = number.as_i64().unwrap_or_else(|| panic!("{at}: {number} is no whole number"));
                let fits = least.is_none_or(|least| number >= least) && most.is_none_or(|most| number <= most);
                assert!(fits, "{at}: {number} is too small or too large");
            }
            (Some("boolean"), Value::Bool(_)) => {}
            (Some("array"), Value::Array(items)) => {
                for item in items {
                    self.is(&schema["items"], item, at, sent);
                }
            }
            (Some("object"), Value::Object(fields)) => self.is_object(schema, fields, at, sent),
            (kind, value) => panic!("{at}: {value} is no {kind:?}"),
        }
    }

    fn is_object(&self, schema: &Value, fields: &Map<String, Value>, at: &str, sent: Sent) {
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            assert!(fields.contains_key(name), "{at}: {name} is missing");
        }
        for (name, value) in fields {
            let at = format!("{at}.{name}");
            let field = schema["properties"].get(name).unwrap_or_else(|| panic!("{at}: no such field"));
            assert!(sent == Sent::ByVendor || field["readOnly"] != true, "{at}: only the vendor says this");
            self.is(field, value, &at, sent);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{body::Bytes, http::HeaderMap};
    use serde_json::json;
    use std::panic::catch_unwind;

    const DOCUMENT: &str = r#"{
        "source": "this test",
        "paths": { "/things/{id}": {
            "GET": { "query": { "page": { "type": "integer", "minimum": 1 } }, "answers": { "200": "Thing", "default": "Error" } },
            "PUT": { "request": "Thing", "answers": { "204": null } }
        } },
        "schemas": {
            "Error": { "type": "object", "required": ["message"], "properties": { "message": { "type": "string" } } },
            "Thing": { "type": "object", "required": ["name"], "properties": {
                "id": { "type": "integer", "readOnly": true },
                "name": { "type": "string", "minLength": 1, "maxLength": 3 },
                "kind": { "type": "string", "enum": ["A", "B"] },
                "tags": { "type": "array", "nullable": true, "items": { "type": "string" } }
            } }
        }
    }"#;

    fn asked(method: &str, path: &str, query: &[(&str, &str)], body: Value) -> Asked {
        Asked {
            method: method.to_owned(),
            path: path.to_owned(),
            segments: path.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect(),
            raw_query: String::new(),
            query: query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            headers: HeaderMap::new(),
            body: if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) },
            json: body,
        }
    }

    fn complaint(asked: &Asked, answer: &Answer) -> Option<String> {
        let held = catch_unwind(|| Document::read(DOCUMENT).hold(asked, answer));
        held.err().map(|panic| panic.downcast_ref::<String>().cloned().unwrap_or_default())
    }

    #[test]
    fn what_is_as_the_document_says_passes_and_nothing_else_does() {
        let (get, put) = (
            |query: &[(&str, &str)]| asked("GET", "/things/7", query, Value::Null),
            |body| asked("PUT", "/things/7", &[], body),
        );
        let thing = |body| Answer::new(200, body);
        let done = Answer::new(204, Value::Null);
        for (asked, answer) in [
            (get(&[("page", "2")]), thing(json!({ "id": 7, "name": "", "tags": null }))),
            (get(&[]), Answer::new(404, json!({ "message": "gone" }))),
            (put(json!({ "name": "abc", "kind": "B", "tags": ["x"] })), done.clone()),
        ] {
            assert_eq!(complaint(&asked, &answer), None);
        }
        let good = thing(json!({ "name": "a" }));
        for (asked, answer, part) in [
            (asked("GET", "/thing/7", &[], Value::Null), good.clone(), "no such path"),
            (asked("DELETE", "/things/7", &[], Value::Null), good.clone(), "no such operation"),
            (get(&[("size", "2")]), good.clone(), "size is no parameter"),
            (get(&[("page", "0")]), good.clone(), "too small"),
            (get(&[("page", "x")]), good.clone(), "is no Some(\"integer\")"),
            (asked("GET", "/things/7", &[], json!({})), good, "a body nobody asked for"),
            (get(&[]), thing(json!({ "name": 7 })), "Thing.name: 7 is no"),
            (get(&[]), thing(json!({})), "name is missing"),
            (get(&[]), thing(json!({ "name": "a", "nmae": 1 })), "nmae: no such field"),
            (get(&[]), Answer::new(500, json!({ "error": "x" })), "message is missing"),
            (put(json!({ "name": "a", "id": 7 })), done.clone(), "only the vendor says this"),
            (put(json!({ "name": "abcd" })), done.clone(), "too long"),
            (put(json!({ "name": "a", "kind": "C" })), done.clone(), "not one of"),
            (put(json!({ "name": "a", "tags": [1] })), done, "tags: 1 is no"),
            (put(json!({ "name": "a" })), Answer::new(204, json!({})), "has no body"),
        ] {
            let said = complaint(&asked, &answer).unwrap_or_default();
            assert!(said.contains(part), "{part} in {said}");
        }
    }
}
