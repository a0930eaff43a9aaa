//! What a plugin answers, and what its process is asked.

use dcv_plugin::wire::{Reply, Request, WireDescriptor, WirePlace};
use dcv_provider::{Place, ProviderError};
use serde_json::Value;

/// A line of either direction.
pub(crate) fn reply(input: &[u8]) {
    if let Ok(request) = serde_json::from_slice::<Request>(input) {
        let text = serde_json::to_string(&request).expect("it can be written");
        let again: Request = serde_json::from_str(&text).expect("what we write is read");
        assert_eq!((again.verb, again.proofs), (request.verb, request.proofs));
    }
    let read = || Reply::read(input);
    let Ok(reply) = read() else {
        let error = read().map(drop).expect_err("the same again");
        return line(&error);
    };
    let text = serde_json::to_string(&reply).expect("it can be written");
    let again = Reply::read(text.as_bytes()).expect("what we write is read");
    assert_eq!(serde_json::to_string(&again).expect("it can be written"), text);
    match read().and_then(Reply::into_result::<Vec<WirePlace>>) {
        Ok(places) => drop(places.into_iter().map(Place::from).collect::<Vec<_>>()),
        Err(error) => line(&error),
    }
    match read().and_then(Reply::into_result::<WireDescriptor>) {
        Ok(descriptor) => drop(serde_json::to_string(&descriptor).expect("it can be written")),
        Err(error) => line(&error),
    }
    let _ = read().and_then(Reply::into_result::<Value>);
}

/// An error of a plugin goes to logs and screens as one of ours.
fn line(error: &ProviderError) {
    crate::one_line(&error.to_string());
}
