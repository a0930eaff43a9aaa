//! What the fuzz targets (`tests/fuzz`) reach of the inside: the readers of answers. No part of the API.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::HeaderValue;
use serde::de::DeserializeOwned;

use crate::{client, error, lenient};

/// An answer, as the client reads it.
pub fn read<T: DeserializeOwned>(body: &[u8]) -> serde_json::Result<T> {
    lenient::json(body)
}

/// A body that came with an error, as the client reads it.
pub fn errors(body: &[u8]) -> Vec<crate::ApiError> {
    error::read_errors(body)
}

/// The header `Retry-After`, as the client reads it.
pub fn retry_after(value: &[u8], now: Timestamp) -> Option<Duration> {
    client::retry_after(&HeaderValue::from_bytes(value).ok()?, now)
}
