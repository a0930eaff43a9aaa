//! What a record set holds, and what has to be written so that it holds our records too, or no longer: decided here, sent
//! elsewhere.

use std::collections::BTreeMap;

use dcv_provider::{
    Result,
    zone::{Change, Record, RecordData, hosts::alias_in_the_way},
};
use serde_json::{Map, Value, json};

/// The longest piece of a text, in bytes: what a character-string of DNS holds.
const PIECE: usize = 255;

/// What is to be done with a record set.
#[derive(Debug, PartialEq)]
pub(crate) enum Act {
    Nothing,
    Write(Map<String, Value>),
    Delete,
}

/// Azure's fields are found whatever their case, which has changed before.
pub(crate) fn field<'v>(properties: &'v Map<String, Value>, name: &str) -> Option<&'v Value> {
    properties.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// The records to add to one record set and those to remove from it.
#[derive(Default)]
pub(crate) struct SetChange<'r> {
    add: Vec<&'r RecordData>,
    remove: Vec<&'r RecordData>,
}

/// The change, record set by record set: owner name and type.
pub(crate) fn by_set(change: &Change) -> BTreeMap<(&str, &'static str), SetChange<'_>> {
    let mut sets: BTreeMap<_, SetChange<'_>> = BTreeMap::new();
    for Record { name, data } in &change.add {
        sets.entry((name.as_str(), data.rtype())).or_default().add.push(data);
    }
    for Record { name, data } in &change.remove {
        sets.entry((name.as_str(), data.rtype())).or_default().remove.push(data);
    }
    sets
}

/// What makes a record set hold what it is to hold, and everything it held besides.
pub(crate) fn act(name: &str, current: Option<&Map<String, Value>>, change: &SetChange<'_>, ttl: u32) -> Result<Act> {
    let there: Vec<Value> = current.map(records).unwrap_or_default();
    let is = |there: &Value, data: &RecordData| match data {
        RecordData::Txt(text) => said(there) == *text,
        RecordData::Cname(target) => said(there).eq_ignore_ascii_case(target),
    };
    let mut wanted: Vec<Value> =
        there.iter().filter(|value| !change.remove.iter().any(|data| is(value, data))).cloned().collect();
    for data in &change.add {
        if wanted.iter().any(|value| is(value, data)) {
            continue;
        }
        if let (RecordData::Cname(_), Some(foreign)) = (data, wanted.first()) {
            return Err(alias_in_the_way(&said(foreign), name));
        }
        wanted.push(match data {
            RecordData::Txt(text) => json!({ "value": pieces(text) }),
            RecordData::Cname(target) => json!({ "cname": target }),
        });
    }
    if wanted == there {
        return Ok(Act::Nothing);
    }
    // What is only said by Azure is not sent; what we do not know is sent back as it came.
    let kept = |key: &String| {
        !["fqdn", "provisioningState", "targetResource", "TXTRecords", "CNAMERecord", "TTL"]
            .iter()
            .any(|known| key.eq_ignore_ascii_case(known))
    };
    let mut properties: Map<String, Value> = current
        .into_iter()
        .flatten()
        .filter(|(key, value)| kept(key) && !value.is_null())
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let metadata = field(&properties, "metadata").and_then(Value::as_object).is_some_and(|all| !all.is_empty());
    let is_text = change.add.iter().chain(&change.remove).any(|data| matches!(data, RecordData::Txt(_)));
    // Metadata are somebody's: a set of texts may be empty, and then keeps them.
    if wanted.is_empty() && !(metadata && is_text) {
        return Ok(Act::Delete);
    }
    let ttl = current.and_then(|set| field(set, "TTL")).cloned().unwrap_or_else(|| json!(ttl));
    properties.insert("TTL".to_owned(), ttl);
    let (key, records) = if is_text {
        ("TXTRecords", Value::Array(wanted))
    } else {
        ("CNAMERecord", wanted.into_iter().next().unwrap_or_default())
    };
    properties.insert(key.to_owned(), records);
    Ok(Act::Write(properties))
}

/// The records of a set: texts, or one alias. An alias of a resource of Azure's is one as well.
pub(crate) fn records(properties: &Map<String, Value>) -> Vec<Value> {
    if let Some(Value::Array(texts)) = field(properties, "TXTRecords") {
        return texts.clone();
    }
    let alias = field(properties, "CNAMERecord").filter(|alias| !said(alias).is_empty()).cloned();
    let target = field(properties, "targetResource").and_then(|target| target.get("id")).filter(|id| id.is_string());
    alias.or_else(|| target.map(|id| json!({ "cname": id }))).into_iter().collect()
}

/// What a record says: its text put together, or its target without the final dot.
pub(crate) fn said(record: &Value) -> String {
    if let Some(target) = record["cname"].as_str() {
        return target.trim_end_matches('.').to_owned();
    }
    record["value"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// A text in pieces that fit, none of them ending within a character.
fn pieces(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while rest.len() > PIECE {
        let (piece, tail) = rest.split_at(rest.floor_char_boundary(PIECE));
        pieces.push(piece);
        rest = tail;
    }
    pieces.push(rest);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(value: Value) -> Map<String, Value> {
        value.as_object().cloned().expect("an object")
    }

    fn done(current: Option<Value>, add: &[RecordData], remove: &[RecordData]) -> Result<Act, String> {
        let change = SetChange { add: add.iter().collect(), remove: remove.iter().collect() };
        act("a.example.com", current.map(set).as_ref(), &change, 60).map_err(|e| e.to_string())
    }

    #[test]
    fn a_set_keeps_what_is_not_ours() {
        let txt = |text: &str| RecordData::Txt(text.to_owned());
        let there = json!({
            "fqdn": "a.example.com.", "provisioningState": "Succeeded", "targetResource": {}, "ttl": 3600,
            "metadata": { "team": "mail" }, "someday": [1],
            "txtRecords": [{ "value": ["v=spf1 ", "-all"] }, { "value": ["ours"] }],
        });
        let spf = json!({ "value": ["v=spf1 ", "-all"] });
        assert_eq!(done(Some(there.clone()), &[txt("ours")], &[]), Ok(Act::Nothing));
        assert_eq!(done(Some(there.clone()), &[txt("v=spf1 -all")], &[]), Ok(Act::Nothing), "pieces are put together");
        assert_eq!(done(Some(there.clone()), &[], &[txt("other")]), Ok(Act::Nothing));
        let written = json!({ "metadata": { "team": "mail" }, "someday": [1], "TTL": 3600, "TXTRecords": [spf] });
        assert_eq!(done(Some(there.clone()), &[], &[txt("ours")]), Ok(Act::Write(set(written))));
        let emptied = json!({ "metadata": { "team": "mail" }, "someday": [1], "TTL": 3600, "TXTRecords": [] });
        let both = [txt("ours"), txt("v=spf1 -all")];
        assert_eq!(done(Some(there), &[], &both), Ok(Act::Write(set(emptied))), "metadata are somebody's");
        let last = json!({ "TTL": 60, "metadata": {}, "TXTRecords": [{ "value": ["ours"] }] });
        assert_eq!(done(Some(last), &[], &[txt("ours")]), Ok(Act::Delete));
        let new = json!({ "TTL": 60, "TXTRecords": [{ "value": ["ours"] }] });
        assert_eq!(done(None, &[txt("ours")], &[]), Ok(Act::Write(set(new))));
        assert_eq!(done(None, &[], &[txt("ours")]), Ok(Act::Nothing));
    }

    #[test]
    fn an_alias_is_ours_or_in_the_way() {
        let ours = [RecordData::Cname("Token.dcv.digicert.com".to_owned())];
        let there = |target: &str| Some(json!({ "TTL": 60, "CNAMERecord": { "cname": target } }));
        assert_eq!(done(there("token.dcv.digicert.com."), &ours, &[]), Ok(Act::Nothing));
        assert_eq!(done(there("Token.dcv.digicert.com"), &[], &ours), Ok(Act::Delete));
        assert_eq!(done(there("www.example.net"), &[], &ours), Ok(Act::Nothing));
        let error = done(there("www.example.net"), &ours, &[]).expect_err("a foreign alias");
        assert_eq!(error, "an alias of www.example.net is there, which is not ours (a.example.com)");
        let resource = json!({ "TTL": 60, "targetResource": { "id": "/subscriptions/x/cdn" } });
        let error = done(Some(resource), &ours, &[]).expect_err("an alias of a resource");
        assert!(error.contains("/subscriptions/x/cdn"), "{error}");
    }

    #[test]
    fn texts_are_cut_where_a_character_ends() {
        for text in
            ["", "short", &"x".repeat(255), &"x".repeat(256), &format!("{}ü", "x".repeat(254)), &"ü".repeat(600)]
        {
            let pieces = pieces(text);
            assert_eq!(pieces.concat(), text);
            assert!(pieces.iter().all(|piece| piece.len() <= PIECE));
        }
        assert_eq!(pieces(&format!("{}ü", "x".repeat(254)))[1], "ü");
    }
}
