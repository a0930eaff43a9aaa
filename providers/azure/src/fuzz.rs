//! What the fuzz targets (`tests/fuzz`) reach of the inside: how a record set is changed. No part of the API.

use dcv_provider::{
    Result,
    zone::{Change, Record, RecordData},
};
use serde_json::{Map, Value};

use crate::record_set::{self, Act};

/// The properties to be written so that a set holds what it is to hold; `None` when nothing is to be written.
///
/// # Errors
/// When an alias is in the way.
pub fn change(
    current: Option<&Map<String, Value>>,
    add: &[String],
    remove: &[String],
    alias: bool,
) -> Result<Option<Map<String, Value>>, String> {
    let data = |text: &String| if alias { RecordData::Cname(text.clone()) } else { RecordData::Txt(text.clone()) };
    let records = |texts: &[String]| -> Vec<Record> {
        texts.iter().map(|text| Record { name: "a.example.com".to_owned(), data: data(text) }).collect()
    };
    let change = Change { add: records(add), remove: records(remove) };
    let mut written = None;
    for ((name, _), set) in record_set::by_set(&change) {
        written = match record_set::act(name, current, &set, 60).map_err(|e| e.to_string())? {
            Act::Write(properties) => Some(properties),
            Act::Nothing | Act::Delete => None,
        };
    }
    Ok(written)
}

/// What the records of a set say.
pub fn said(properties: &Map<String, Value>) -> Vec<String> {
    record_set::records(properties).iter().map(record_set::said).collect()
}
