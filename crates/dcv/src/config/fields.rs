//! How single fields are written.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use certcentral::DcvScope;
use jiff::civil::Date;
use serde::{Deserialize, Deserializer, de};

use crate::args;

pub(crate) fn text_as<'de, D: Deserializer<'de>, T, E: fmt::Display>(
    deserializer: D,
    read: impl FnOnce(&str) -> std::result::Result<T, E>,
) -> std::result::Result<T, D::Error> {
    read(&String::deserialize(deserializer)?).map_err(de::Error::custom)
}

pub(super) fn ca_url<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<String, D::Error> {
    text_as(deserializer, |text| match text {
        "us" => Ok(certcentral::US.to_owned()),
        "eu" => Ok(certcentral::EU.to_owned()),
        url if url.starts_with("https://") || url.starts_with("http://") => Ok(url.to_owned()),
        other => Err(format!("`{other}` is neither us nor eu nor a URL; write e.g. url = \"eu\"")),
    })
}

/// An organization: a number with or without quotes, or a name.
pub(super) fn number_or_name<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Option<String>, D::Error> {
    match toml::Value::deserialize(deserializer)? {
        toml::Value::Integer(id) if id > 0 => Ok(Some(id.to_string())),
        toml::Value::String(name) if !name.trim().is_empty() => Ok(Some(name.trim().to_owned())),
        other => {
            Err(de::Error::custom(format!("`{other}` is no organization; give its number or its name in CertCentral")))
        }
    }
}

pub(super) fn scope<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<DcvScope>, D::Error> {
    text_as(deserializer, |text| match DcvScope::from(text) {
        DcvScope::Other(other) => Err(format!("`{other}` is no scope; use base_domain or fqdn")),
        known => Ok(Some(known)),
    })
}

pub(super) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<Duration>, D::Error> {
    text_as(deserializer, args::duration).map(Some)
}

pub(super) fn some_duration<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Duration, D::Error> {
    text_as(deserializer, args::duration)
}

/// How long a run is kept from others.
pub(super) fn lease<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<Duration>, D::Error> {
    let lease = some_duration(deserializer)?;
    if lease < Duration::from_secs(3) {
        return Err(de::Error::custom(format!("{lease:?} would lose runs to every short pause; give at least \"3s\"")));
    }
    Ok(Some(lease))
}

/// `0.25` or `"25%"`.
pub(super) fn fraction<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<f64, D::Error> {
    let value = toml::Value::deserialize(deserializer)?;
    let read = match &value {
        toml::Value::Float(number) => Some(*number),
        toml::Value::String(text) => {
            text.strip_suffix('%').and_then(|n| n.trim().parse::<f64>().ok()).map(|n| n / 100.0)
        }
        _ => None,
    };
    read.filter(|part| (0.0..=0.9).contains(part)).ok_or_else(|| {
        de::Error::custom(format!("{value} is no part of a life; write it like 0.33 or \"33%\", up to 0.9"))
    })
}

/// A date in quotes or, as TOML has them, without.
pub(super) fn date<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<Date>, D::Error> {
    let text = toml::Value::deserialize(deserializer)?;
    let text = text.as_str().map_or_else(|| text.to_string(), str::to_owned);
    text.parse().map(Some).map_err(|_| de::Error::custom(format!("`{text}` is no date; write it like 2027-06-09")))
}

pub(super) fn resolvers<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Vec<SocketAddr>, D::Error> {
    let read = |text: &String| {
        let with_port = text.parse::<SocketAddr>().ok();
        with_port.or_else(|| text.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, 53))).ok_or_else(|| {
            de::Error::custom(format!("`{text}` is no address of a resolver; write it like 192.0.2.1:53"))
        })
    };
    Vec::<String>::deserialize(deserializer)?.iter().map(read).collect()
}
