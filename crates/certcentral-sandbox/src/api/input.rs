//! Reads request bodies as liberally as the API does: numbers also as strings, booleans also as 0 and 1.

use serde_json::Value;

use super::{ApiError, bad_request};

/// A JSON body, or a part of one.
#[derive(Clone, Debug)]
pub(crate) struct Input(Value);

impl Input {
    /// A body that must be a JSON object.
    pub(crate) fn required(body: &[u8]) -> Result<Self, ApiError> {
        match serde_json::from_slice(body) {
            Ok(value @ Value::Object(_)) => Ok(Self(value)),
            _ => Err(bad_request("bad_request_format", "The request body could not be read as JSON.")),
        }
    }

    /// A body that may be missing, empty or `null`.
    pub(crate) fn optional(body: &[u8]) -> Result<Self, ApiError> {
        match body.trim_ascii() {
            b"" | b"null" => Ok(Self(Value::Object(serde_json::Map::new()))),
            some => Self::required(some),
        }
    }

    /// The value at a path like `certificate.server_platform.id`; `null` counts as missing.
    pub(crate) fn value(&self, path: &str) -> Option<&Value> {
        path.split('.').try_fold(&self.0, |value, key| value.get(key)).filter(|value| !value.is_null())
    }

    pub(crate) fn part(&self, path: &str) -> Option<Self> {
        self.value(path).filter(|value| value.is_object()).cloned().map(Self)
    }

    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.value(path)?.as_str().filter(|text| !text.is_empty())
    }

    pub(crate) fn required_text(&self, path: &str) -> Result<&str, ApiError> {
        self.text(path).ok_or_else(|| missing(path))
    }

    pub(crate) fn number(&self, path: &str) -> Option<i64> {
        let value = self.value(path)?;
        value.as_i64().or_else(|| value.as_str()?.trim().parse().ok())
    }

    /// An id; 0 is nobody's, and how some clients write none.
    pub(crate) fn id(&self, path: &str) -> Option<u64> {
        self.number(path).and_then(|number| u64::try_from(number).ok()).filter(|id| *id != 0)
    }

    /// The same body, with numbers turned into texts where texts are meant: post codes, telephone numbers.
    pub(crate) fn with_texts(mut self, fields: &[&str]) -> Self {
        for field in fields {
            if let Some(value) = self.0.get_mut(*field).filter(|value| value.is_number()) {
                *value = Value::String(value.to_string());
            }
        }
        self
    }

    pub(crate) fn flag(&self, path: &str) -> bool {
        match self.value(path) {
            Some(Value::Bool(flag)) => *flag,
            Some(Value::Number(number)) => number.as_i64() == Some(1),
            Some(Value::String(text)) => text == "1" || text.eq_ignore_ascii_case("true"),
            _ => false,
        }
    }

    pub(crate) fn texts(&self, path: &str) -> Vec<String> {
        let list = self.value(path).and_then(Value::as_array).into_iter().flatten();
        list.filter_map(Value::as_str).map(str::to_owned).collect()
    }

    pub(crate) fn list(&self, path: &str) -> Vec<Self> {
        self.value(path).and_then(Value::as_array).into_iter().flatten().cloned().map(Self).collect()
    }
}

pub(crate) fn missing(path: &str) -> ApiError {
    let field = path.rsplit('.').next().unwrap_or(path);
    bad_request(&format!("missing_{field}"), &format!("The field '{path}' is required."))
}
