//! What a body says about time: how long the order counts, and how long its certificate. A custom date overrides days,
//! days override years; `order_validity` overrides the older top level fields. ("Order Basic OV" of the API.)

use jiff::Timestamp;

use super::{
    ApiError, bad_request,
    input::{Input, missing},
};
use crate::{
    account::{Config, Product},
    clock::{date, days_later, end_of_day, parse_custom_date},
    validity::longest_public,
};

/// Longest order, in years (4 to 6 year plans ended on 31 October 2023).
pub(super) const ORDER_YEARS: i64 = 3;

/// What a validity object says.
enum Asked {
    /// The last day.
    Until(Timestamp),
    Days(i64),
    Years(i64),
}

impl Asked {
    /// Custom date over days over years; `names` in this order.
    fn read(input: &Input, prefix: &str, names: [&str; 3], now: Timestamp) -> Result<Option<Self>, ApiError> {
        let [custom, days, years] = names.map(|name| format!("{prefix}{name}"));
        // A date may come with a time, which does not count.
        if let Some(text) = input.text(&custom).map(|text| text.split_once('T').map_or(text, |(date, _)| date)) {
            let end = parse_custom_date(text).and_then(end_of_day).filter(|end| *end > now);
            let wrong = || bad_request("invalid_custom_expiration_date", &format!("'{text}' is not a future date."));
            return end.map(|end| Some(Self::Until(end))).ok_or_else(wrong);
        }
        let some = |number: Option<i64>| number.filter(|number| *number != 0);
        let asked = match (some(input.number(&days)), some(input.number(&years))) {
            (Some(days), _) => Self::Days(days),
            (None, Some(years)) => Self::Years(years),
            (None, None) => return Ok(None),
        };
        match asked {
            Self::Days(..=0) | Self::Years(..=0) => {
                Err(bad_request("invalid_validity", "The validity must be positive."))
            }
            asked => Ok(Some(asked)),
        }
    }

    fn end(&self, now: Timestamp) -> Timestamp {
        match self {
            Self::Until(end) => *end,
            Self::Days(days) => days_later(now, *days),
            Self::Years(years) => days_later(now, years.saturating_mul(365)),
        }
    }
}

/// The end of the order that a body asks for.
pub(super) fn order_end(input: &Input, now: Timestamp) -> Result<Timestamp, ApiError> {
    let today = Asked::read(input, "order_validity.", ["custom_expiration_date", "days", "years"], now)?;
    let asked = match today {
        Some(asked) => asked,
        None => Asked::read(input, "", ["custom_expiration_date", "validity_days", "validity_years"], now)?
            .ok_or_else(|| missing("order_validity"))?,
    };
    let end = asked.end(now);
    if end > days_later(now, ORDER_YEARS * 366) {
        let message = format!("An order is valid for at most {ORDER_YEARS} years.");
        return Err(bad_request("invalid_order_validity", &message));
    }
    Ok(end)
}

/// Longest certificate of the product today, in days.
fn longest(config: &Config, product: &Product, now: Timestamp) -> i64 {
    if product.private { ORDER_YEARS * 366 } else { longest_public(now).min(config.certificate_days) }
}

/// Days the certificate lives, and the moment it must not outlive. Years mean as long as is allowed; days and dates
/// must be allowed.
pub(super) fn certificate_end(
    config: &Config,
    product: &Product,
    input: &Input,
    order_end: Timestamp,
    now: Timestamp,
) -> Result<(i64, Timestamp), ApiError> {
    let longest = longest(config, product, now);
    let names = ["custom_expiration_date", "days", "years"];
    let Some(asked) = Asked::read(input, "certificate.cert_validity.", names, now)? else {
        return Ok((longest, order_end));
    };
    let end = asked.end(now);
    if date(end) > date(order_end) {
        let message = "The validity period of the certificate cannot exceed the validity period of the order.";
        return Err(bad_request("cert_validity_exceeds_order_validity", message));
    }
    let days = match asked {
        // From the start of today to the end of that day.
        Asked::Until(end) => (end.as_second() - now.as_second()).div_euclid(86_400) + 1,
        Asked::Days(days) => days,
        Asked::Years(years) => years.saturating_mul(365).min(longest),
    };
    // Whoever counts from today to a date counts one day less.
    let slack = i64::from(matches!(asked, Asked::Until(_)));
    if days > longest + slack {
        let message =
            format!("A certificate of this product is valid for at most {longest} days, {days} were asked for.");
        return Err(bad_request("invalid_cert_validity", &message));
    }
    Ok((days.min(longest), end.max(now)))
}
