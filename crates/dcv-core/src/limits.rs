//! The industry's limits that have dates: how long a public TLS certificate may live, and how long a proof of control may be
//! used again. Held as data, so that a new ballot is a new row.
//!
//! Sources: CA/B Forum Baseline Requirements 6.3.2 and 4.2.1 (ballot SC-081v3), 3.2.2.4 (SC-090); DigiCert's change of 24 Feb 2026, which
//! keeps a day's distance.

use jiff::civil::{Date, date};

/// What holds from a day on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The first day.
    pub from: Date,
    /// The longest life of a certificate, in days.
    pub certificate_days: u16,
    /// The longest use of a proof of control, in days.
    pub dcv_days: u16,
}

/// All limits, the oldest first. 100 and 47 are the requirements' own; DigiCert may again keep a day's distance, and says so in
/// its answer.
pub const LIMITS: [Limit; 4] = [
    Limit { from: date(2020, 9, 1), certificate_days: 397, dcv_days: 397 },
    Limit { from: date(2026, 2, 24), certificate_days: 199, dcv_days: 199 },
    Limit { from: date(2027, 3, 15), certificate_days: 100, dcv_days: 100 },
    Limit { from: date(2029, 3, 15), certificate_days: 47, dcv_days: 10 },
];

/// From this day on control is not shown by mail any more.
pub const EMAIL_ENDS: Date = date(2028, 3, 15);

/// What holds on a day.
#[must_use]
pub fn on(day: Date) -> Limit {
    LIMITS.iter().rev().find(|limit| limit.from <= day).copied().unwrap_or(LIMITS[0])
}

/// Whether a product's certificates are for one company's own use and not bound by these limits.
#[must_use]
pub fn is_private(product: &str) -> bool {
    product.starts_with("private_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_hold_from_their_day_on() {
        for (day, certificate, dcv) in [
            (date(2019, 1, 1), 397, 397),
            (date(2026, 2, 23), 397, 397),
            (date(2026, 2, 24), 199, 199),
            (date(2027, 3, 14), 199, 199),
            (date(2027, 3, 15), 100, 100),
            (date(2029, 3, 15), 47, 10),
        ] {
            let limit = on(day);
            assert_eq!((limit.certificate_days, limit.dcv_days), (certificate, dcv), "{day}");
        }
    }
}
