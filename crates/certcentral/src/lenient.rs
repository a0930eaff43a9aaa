//! Reading what CertCentral sends, in every shape it was seen in.

use std::collections::BTreeMap;

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error as _},
};
use serde_json::{Map, Value};

/// Parses JSON, with or without a byte order mark. A name in another character set than UTF-8 costs its odd letters and not
/// the answer.
pub(crate) fn json<T: DeserializeOwned>(body: &[u8]) -> serde_json::Result<T> {
    serde_json::from_str(String::from_utf8_lossy(body).trim_start_matches('\u{feff}'))
}

/// Whether a body says nothing: that of a 204, and of a 200 that might as well be one.
pub(crate) fn is_blank(body: &[u8]) -> bool {
    body.iter().all(u8::is_ascii_whitespace)
}

/// Gives a field that has two names on the wire its first one. An answer may well hold both.
pub(crate) fn one_name(fields: &mut Map<String, Value>, name: &str, also: &str) {
    if let Some(value) = fields.remove(also)
        && fields.get(name).is_none_or(Value::is_null)
    {
        fields.insert(name.to_owned(), value);
    }
}

/// A list; missing, `null` and `{}` are empty ones, a single object is a list of one.
pub(crate) fn list<'de, D: Deserializer<'de>, T: DeserializeOwned>(deserializer: D) -> Result<Vec<T>, D::Error> {
    let items = match Value::deserialize(deserializer)? {
        Value::Null => Vec::new(),
        Value::Array(items) => items,
        Value::Object(fields) if fields.is_empty() => Vec::new(),
        object @ Value::Object(_) => vec![object],
        Value::String(_) | Value::Number(_) | Value::Bool(_) => {
            return Err(D::Error::custom("a list was expected"));
        }
    };
    items
        .into_iter()
        .filter(|item| !item.is_null())
        .map(|item| serde_json::from_value(item).map_err(D::Error::custom))
        .collect()
}

/// A list that may be missing, which is not the same as an empty one.
pub(crate) fn list_if_given<'de, D: Deserializer<'de>, T: DeserializeOwned>(d: D) -> Result<Option<Vec<T>>, D::Error> {
    match Value::deserialize(d)? {
        Value::Null => Ok(None),
        given => list(given).map(Some).map_err(D::Error::custom),
    }
}

/// A list that is all there or counts as empty: for what can be asked for again, in answers that must not be lost over it.
pub(crate) fn list_if_sensible<'de, D: Deserializer<'de>, T: DeserializeOwned>(d: D) -> Result<Vec<T>, D::Error> {
    Ok(list(Value::deserialize(d)?).unwrap_or_default())
}

/// Text to text; what is neither text nor a number is left out.
pub(crate) fn text_by_text<'de, D: Deserializer<'de>>(d: D) -> Result<BTreeMap<String, String>, D::Error> {
    let Value::Object(fields) = Value::deserialize(d)? else { return Ok(BTreeMap::new()) };
    Ok(fields.into_iter().filter_map(|(name, value)| Some((name, text(value).ok()??))).collect())
}

/// Text; numbers and booleans count as their text, `null` and the empty string as nothing.
pub(crate) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(text) if !text.is_empty() => Some(text),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    })
}

/// Text that may be absent, as the empty string.
pub(crate) fn string<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    text(deserializer).map(Option::unwrap_or_default)
}

/// Text without which the answer makes no sense.
pub(crate) fn needed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    text(deserializer)?.ok_or_else(|| D::Error::custom("text was expected"))
}

/// A list of text.
pub(crate) fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::Array(items) => items.into_iter().filter_map(|item| text(item).ok()?).collect(),
        Value::String(text) if !text.is_empty() => vec![text],
        _ => Vec::new(),
    })
}

/// A yes or no: `true`, `1`, `"1"`, `"true"`.
pub(crate) fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::Bool(flag) => Some(flag),
        Value::Number(number) => number.as_i64().map(|n| n != 0),
        Value::String(text) => match text.trim().to_ascii_lowercase().as_str() {
            "1" | "true" | "yes" => Some(true),
            "0" | "false" | "no" | "" => Some(false),
            _ => None,
        },
        _ => None,
    })
}

/// A number, also as text.
pub(crate) fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    })
}

/// A value of a type that may be absent, `null`, or an empty object, text or number that stands for nothing.
pub(crate) fn maybe<'de, D: Deserializer<'de>, T: DeserializeOwned>(deserializer: D) -> Result<Option<T>, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Null => Ok(None),
        Value::String(text) if text.is_empty() => Ok(None),
        Value::Object(fields) if fields.is_empty() => Ok(None),
        Value::Array(items) if items.is_empty() => Ok(None),
        value => serde_json::from_value(value).map(Some).map_err(D::Error::custom),
    }
}

/// The same, but what does not make sense counts as absent: for decoration that no decision hangs on.
pub(crate) fn if_sensible<'de, D: Deserializer<'de>, T: DeserializeOwned>(d: D) -> Result<Option<T>, D::Error> {
    Ok(serde_json::from_value(Value::deserialize(d)?).ok())
}
