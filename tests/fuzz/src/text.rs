//! Texts that others keep: in zones, in files, in what vendors answer.

use dcv_provider::{
    Proof, fuzz,
    web::{with_values, without_values},
    zone::{merge, quote, unquote},
};
use serde_json::{Map, Value};

use crate::{one_line, parts};

/// Presentations of texts, and record sets that are replaced as a whole.
pub(crate) fn zone(input: &[u8]) {
    let lines: Vec<String> = String::from_utf8_lossy(input).lines().map(str::to_owned).collect();
    for line in &lines {
        assert_eq!(unquote(&quote(line)), line.as_bytes());
        let quoted = quote(line);
        assert!(quoted.bytes().all(|octet| (0x20..0x7f).contains(&octet)), "{quoted}");
        assert!(unquote(line).len() <= line.len(), "it says more than it holds");
    }
    let third = lines.len() / 3;
    let (current, rest) = lines.split_at(third);
    let (add, remove) = rest.split_at(rest.len() / 2);
    let merged = merge(current, add, remove);
    let says = |list: &[String], line: &str| list.iter().any(|other| unquote(other) == unquote(line));
    for line in current {
        assert!(merged.contains(line) || says(remove, line), "{line:?} was lost");
    }
    for line in add {
        assert!(says(&merged, line), "{line:?} is not there");
    }
    for line in remove {
        assert!(says(add, line) || !says(&merged, line), "{line:?} is still there");
    }
    assert_eq!(merge(&merged, add, remove), merged, "not settled");
}

/// A file that others write to as well.
pub(crate) fn web(input: &[u8]) {
    let [content, value, other] = parts::<3>(input);
    let file = |body: &[u8]| Proof::File {
        host: "example.com".to_owned(),
        path: "/.well-known/pki-validation/fileauth.txt".to_owned(),
        body: String::from_utf8_lossy(body).trim().to_owned(),
    };
    let proofs: Vec<Proof> = [file(value), file(other)].into_iter().filter(|proof| !proof.value().is_empty()).collect();
    let found = |content: &[u8], value: &str| String::from_utf8_lossy(content).contains(value);
    for there in [None, Some(content)] {
        let with = with_values(there, &proofs);
        for proof in proofs.iter().filter(|proof| !proof.value().contains(['\n', '\r'])) {
            assert!(found(&with, proof.value()), "{proof:?} is not in it");
        }
        assert_eq!(with_values(Some(&with), &proofs), with, "put in twice");
        let without = without_values(&with, &proofs);
        // What nobody else wrote goes, and leaves the rest as it was.
        let foreign = |proof: &Proof| there.is_none_or(|there| !found(there, proof.value()));
        if proofs.iter().all(|proof| foreign(proof) && !proof.value().contains('\n')) {
            assert_eq!(without, there.unwrap_or_default(), "the file has changed");
        }
    }
    let _ = dcv_provider::web::locate(&Proof::File {
        host: String::from_utf8_lossy(value).into_owned(),
        path: String::from_utf8_lossy(content).into_owned(),
        body: String::new(),
    })
    .map(|(host, segments)| {
        assert!(!host.contains(['/', '\\', '\0']) && !host.starts_with('.'), "{host}");
        assert!(
            !segments.iter().any(|s| matches!(*s, "" | "." | "..") || s.contains(['/', '\\', '\0'])),
            "{segments:?}"
        );
    });
}

/// A vendor's words for a refusal, and how long it wants us to wait.
pub(crate) fn vendor(input: &[u8]) {
    let [body, header] = parts::<2>(input);
    let (words, _) = fuzz::vendor(body, &String::from_utf8_lossy(header));
    one_line(&words);
    assert!(words.chars().count() <= 2000);
}

/// What a program of a bridge tells on its output: places, or why it failed and when it may be asked again.
pub(crate) fn bridge(input: &[u8]) {
    let _ = dcv_bridge::fuzz::places(input);
    if let Some(error) = dcv_bridge::fuzz::error(input) {
        assert!(error.to_string().starts_with("`hook`: "), "{error}");
        if let dcv_provider::Retry::After(wait) = error.retry {
            assert!(std::time::Instant::now().checked_add(wait.min(std::time::Duration::from_secs(600))).is_some());
        }
    }
}

/// A record set as Azure has it: changed, it holds what it is to hold, and all that others put there.
pub(crate) fn record_set(input: &[u8]) {
    let [set, add, remove] = parts::<3>(input);
    let current: Option<Map<String, Value>> = serde_json::from_slice(set).ok();
    let texts = |part: &[u8]| String::from_utf8_lossy(part).lines().map(str::to_owned).collect::<Vec<String>>();
    let (add, remove) = (texts(add), texts(remove));
    for alias in [false, true] {
        // Targets come without their final dot.
        let legal = |texts: &[String]| -> Vec<String> {
            texts.iter().filter(|text| !alias || !text.is_empty() && !text.ends_with('.')).cloned().collect()
        };
        let (add, remove) = (legal(&add), legal(&remove));
        let Ok(Some(written)) = dcv_azure::fuzz::change(current.as_ref(), &add, &remove, alias) else { continue };
        let (before, after) = (current.as_ref().map(dcv_azure::fuzz::said), dcv_azure::fuzz::said(&written));
        let is = |a: &str, b: &str| if alias { a.eq_ignore_ascii_case(b) } else { a == b };
        for text in before.into_iter().flatten() {
            let meant = remove.iter().any(|gone| is(&text, gone));
            assert!(meant || after.contains(&text), "{text:?} was lost");
        }
        for text in &add {
            assert!(after.iter().any(|there| is(there, text)), "{text:?} is not there in {after:?}");
        }
        assert_eq!(dcv_azure::fuzz::change(Some(&written), &add, &[], alias), Ok(None), "not settled");
    }
}
