//! What the fuzz targets (`tests/fuzz`) reach of the inside: the configuration, and what a screen shows. No part of the API.

use std::{path::Path, time::Duration};

use crate::{args, config::Config, show};

/// Reads a configuration; a mistake in it is told as the program tells it.
///
/// # Errors
/// The mistake.
pub fn config(text: &str) -> Result<(), String> {
    Config::parse(text, Path::new("dcv.toml")).map(drop).map_err(|failure| failure.message)
}

/// A duration as it is written in arguments and in the configuration.
///
/// # Errors
/// When it is none.
pub fn duration(text: &str) -> Result<Duration, String> {
    args::duration(text)
}

/// A text as a terminal gets it.
pub fn shown(text: &str) -> String {
    show::harmless(text).into_owned()
}
