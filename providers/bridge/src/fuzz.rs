//! What the fuzz targets (`tests/fuzz`) reach of the inside: what a program has told. No part of the API.

use dcv_provider::{Place, ProviderError};

use crate::command;

/// The error that a failed program has told on its output, if it has told any.
pub fn error(output: &[u8]) -> Option<ProviderError> {
    command::error_in(&String::from_utf8_lossy(output)).map(|told| told.into_error("hook"))
}

/// The places that a program has told.
pub fn places(output: &[u8]) -> Vec<Place> {
    command::places_in(output)
}
