//! What somebody else's error says, on one line and without what must not be shown.

use secrecy::SecretString;
use serde_json::Value;

use crate::secret::hide;

/// How much of an answer an error repeats, in characters: of one that says what is wrong, and of any other.
const SAID: usize = 2000;
const QUOTED: usize = 200;

/// What an error's body says, on one line and without these secrets: the vendor's code and words, else how it begins.
pub(crate) fn words(body: &[u8], secrets: &[SecretString]) -> String {
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    let (text, most) = match said(&value) {
        Some(text) => (text, SAID),
        None => (String::from_utf8_lossy(body).into_owned(), QUOTED),
    };
    // Hidden before anything is cut off: a piece of a secret is one, too.
    let text = hide(text, secrets);
    let line: String = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .fold(String::new(), |line, word| if line.is_empty() { word.to_owned() } else { line + " " + word });
    line.chars().take(most).collect()
}

/// What is wrong with an answer, without the text that stood in the wrong place: it may be a token.
pub(super) fn without_texts(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match (text.split_once("string \""), text.rsplit_once('"')) {
        (Some((before, _)), Some((_, after))) => format!("{before}a text{after}"),
        _ => text,
    }
}

/// The vendor's code and words, in the shapes that vendors give them.
fn said(body: &Value) -> Option<String> {
    let one = |value: &Value| -> Option<String> {
        if let Some(text) = value.as_str() {
            return Some(text.trim().to_owned());
        }
        let field = |names: &[&str]| {
            names.iter().find_map(|name| match value.get(name) {
                Some(Value::String(text)) if !text.is_empty() => Some(text.trim().to_owned()),
                Some(Value::Number(number)) => Some(number.to_string()),
                _ => None,
            })
        };
        let words = field(&["message", "detail", "error_description", "reason", "text", "title", "error"])?;
        Some(match field(&["code", "class", "errorCode", "id"]) {
            Some(code) if code != words => format!("{code} {words}"),
            _ => words,
        })
    };
    for name in ["errors", "error", "messages"] {
        match body.get(name) {
            Some(Value::Array(all)) if !all.is_empty() => {
                let each: Vec<String> = all.iter().filter_map(one).collect();
                if !each.is_empty() {
                    return Some(each.join("; "));
                }
            }
            Some(inner @ Value::Object(_)) if one(inner).is_some() => return one(inner),
            _ => {}
        }
    }
    one(body)
}

/// An error with what caused it: reqwest's own words end where it becomes interesting.
pub(super) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_vendor_says_is_found_wherever_it_says_it() {
        for (body, words) in [
            (
                json!({"errors": [{"code": 81057, "message": "exists"}, {"reason": "bad", "field": "x"}]}),
                "81057 exists; bad",
            ),
            (json!({"error": {"code": 409, "message": "taken", "errors": []}}), "409 taken"),
            (json!({"error": "invalid_grant", "error_description": "expired"}), "expired"),
            (
                json!({"id": "unauthorized", "message": "Unable to authenticate you"}),
                "unauthorized Unable to authenticate you",
            ),
            (json!({"detail": "Not found."}), "Not found."),
            (json!({"message": "x", "class": "Client::Forbidden"}), "Client::Forbidden x"),
            (json!("plain"), "plain"),
        ] {
            assert_eq!(said(&body).as_deref(), Some(words), "{body}");
        }
        assert_eq!(said(&json!({"unknown": 1})), None);
    }

    #[test]
    fn a_secret_that_the_vendor_repeats_is_hidden() {
        let token = [SecretString::from("planted-token")];
        let said = |body: &[u8]| words(body, &token);
        assert_eq!(said(b"token planted-token is unknown"), "token [hidden] is unknown");
        assert_eq!(said(b"{\"error\": \"planted-token is\\n\\u001b[31munknown\"}"), "[hidden] is [31munknown");
        let cut_in_the_middle = [&[b'x'; QUOTED - 4][..], b"planted-token"].concat();
        assert!(!said(&cut_in_the_middle).contains("plan"), "a piece of it is left");
        let odd = serde_json::from_str::<Vec<u64>>("[\"planted-token\"]").expect_err("a text");
        assert_eq!(without_texts(&odd), "invalid type: a text, expected u64 at line 1 column 16");
    }
}
