//! What comes to the sandbox: calls of its API, questions and updates of its name server, answers to its validation.

use certcentral_sandbox::fuzz;
use serde_json::Value;

use crate::parts;

/// One call after the other, each `METHOD /path` and a body below an empty line, to one sandbox.
pub(crate) fn api(input: &[u8]) {
    thread_local! {
        static COUNTER: fuzz::Counter = fuzz::Counter::open();
    }
    let calls = parts::<4>(input).into_iter().filter(|call| !call.is_empty()).map(|call| {
        let end = call.iter().position(|octet| *octet == b'\n').unwrap_or(call.len());
        let line = String::from_utf8_lossy(&call[..end]).into_owned();
        let (method, path) = line.split_once(' ').unwrap_or(("GET", &line));
        (method.to_owned(), path.trim().to_owned(), call[end..].trim_ascii().to_vec())
    });
    COUNTER.with(|counter| {
        for (call, (status, body)) in counter.answers(calls.collect()) {
            assert!(status < 500, "{call}: {status}: {}", String::from_utf8_lossy(&body));
            if status >= 400 {
                let said: Value = serde_json::from_slice(&body).unwrap_or_else(|error| panic!("{call}: {error}"));
                assert!(said["errors"][0]["code"].is_string(), "{call}: {said}");
            }
        }
    });
}

/// A question or an update, as it stands on the wire.
pub(crate) fn dns(input: &[u8]) {
    for part in parts::<4>(input) {
        fuzz::name_server(part, crate::dns::client());
    }
}

/// An answer to a question of the validation authority.
pub(crate) fn va(input: &[u8]) {
    fuzz::validation(input);
}
