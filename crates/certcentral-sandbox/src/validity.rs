//! How long a public TLS certificate may live and a validation be used again, by date: the vendor's limits so far, and the industry's
//! to come (Baseline Requirements 6.3.2 and 4.2.1 as of ballot SC-081v3). What an order asks for is read and checked in the API.

use jiff::{Timestamp, civil::date, tz::TimeZone};

/// First day, days of a certificate, days of a validation; newest first. Before these, 397 days since September 2020.
const LIMITS: [((i16, i8, i8), i64, i64); 3] =
    [((2029, 3, 15), 47, 10), ((2027, 3, 15), 100, 100), ((2026, 2, 24), 199, 199)];
const EARLIER: i64 = 397;

/// Days that a public certificate issued at `now` may live.
pub(crate) fn longest_public(now: Timestamp) -> i64 {
    on(now).0
}

/// Days that a validation of `now` may be used again.
pub(crate) fn longest_reuse(now: Timestamp) -> i64 {
    on(now).1
}

/// The days of certificates and of validations at `now`.
fn on(now: Timestamp) -> (i64, i64) {
    let today = now.to_zoned_datetime(TimeZone::UTC).date();
    let in_force = LIMITS.iter().find(|((year, month, day), ..)| date(*year, *month, *day) <= today);
    in_force.map_or((EARLIER, EARLIER), |(_, certificate, validation)| (*certificate, *validation))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shorter_and_shorter() {
        let table = [
            ("2026-02-23T23:59:59Z", 397, 397),
            ("2026-02-24T00:00:00Z", 199, 199),
            ("2027-03-14T23:59:59Z", 199, 199),
            ("2027-03-15T00:00:00Z", 100, 100),
            ("2029-03-14T12:00:00Z", 100, 100),
            ("2029-03-15T00:00:00Z", 47, 10),
        ];
        for (at, certificate, validation) in table {
            let now = at.parse().unwrap();
            assert_eq!((longest_public(now), longest_reuse(now)), (certificate, validation), "{at}");
        }
    }
}
