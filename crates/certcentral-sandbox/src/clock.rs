//! The sandbox's time: the system's clock plus an offset, so that a test can let a random value, a validation or a
//! rate limit window run out without waiting. Also the spellings of time that the API uses.

use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{Span, Timestamp, civil::Date, tz::TimeZone};

/// The time the sandbox lives in.
#[derive(Debug, Default)]
pub struct Clock {
    offset_seconds: AtomicI64,
    /// Since when time runs faster, and how much.
    hurry: Option<(Timestamp, f64)>,
}

impl Clock {
    pub(crate) fn with_offset(seconds: i64) -> Self {
        Self { offset_seconds: AtomicI64::new(seconds), hurry: None }
    }

    /// From now on so many times as fast as the system's.
    pub(crate) fn hurried(self, speed: Option<f64>) -> Self {
        let hurry = speed.filter(|speed| speed.is_finite() && *speed > 0.0).map(|speed| (Timestamp::now(), speed));
        Self { hurry, ..self }
    }

    /// How many times as fast it runs.
    pub(crate) fn speed(&self) -> f64 {
        self.hurry.map_or(1.0, |(_, speed)| speed)
    }

    /// Now, in the sandbox.
    pub fn now(&self) -> Timestamp {
        let now = self.unhurried();
        let Some((since, speed)) = self.hurry else { return now };
        let passed = Timestamp::now().duration_since(since).as_secs_f64();
        let more = jiff::SignedDuration::try_from_secs_f64(passed * (speed - 1.0)).unwrap_or_default();
        now.checked_add(more).unwrap_or(Timestamp::MAX)
    }

    /// Now without hurry: what rate limits go by, whose windows are the network's and not the certificates'.
    pub(crate) fn unhurried(&self) -> Timestamp {
        later(Timestamp::now(), self.offset_seconds())
    }

    /// Moves the sandbox's time by so many seconds (back, if negative).
    pub fn advance(&self, seconds: i64) {
        self.offset_seconds.fetch_add(seconds, Ordering::SeqCst);
    }

    /// How far the sandbox is ahead of the system.
    pub fn offset_seconds(&self) -> i64 {
        self.offset_seconds.load(Ordering::SeqCst)
    }
}

/// `at` plus so many seconds, held at the ends of time.
pub(crate) fn later(at: Timestamp, seconds: i64) -> Timestamp {
    Span::new().try_seconds(seconds).and_then(|span| at.checked_add(span)).unwrap_or(Timestamp::MAX)
}

pub(crate) fn days_later(at: Timestamp, days: i64) -> Timestamp {
    later(at, days.saturating_mul(86_400))
}

/// `2026-11-23T21:46:29+00:00`, the API's spelling of a moment.
pub(crate) fn stamp(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S+00:00").to_string()
}

/// `2026-11-23`, the UTC date of a moment.
pub(crate) fn date(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d").to_string()
}

/// US Mountain time, in which the vendor keeps its bare dates (`dcv_expiration`, `filters[status_last_updated]`).
/// Written as a POSIX rule so that no time zone database is needed.
pub(crate) fn mountain() -> TimeZone {
    TimeZone::posix("MST7MDT,M3.2.0,M11.1.0").expect("a valid POSIX time zone")
}

/// `2026-11-23` in US Mountain time.
pub(crate) fn mountain_date(at: Timestamp) -> String {
    at.to_zoned_datetime(mountain()).strftime("%Y-%m-%d").to_string()
}

/// Reads `yyyy-MM-dd` or `yyyy-MM-dd HH:mm:ss` (also with `T`) as US Mountain time.
pub(crate) fn parse_mountain(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    let at = match text.parse::<jiff::civil::DateTime>() {
        Ok(at) => at,
        Err(_) => text.parse::<Date>().ok()?.at(0, 0, 0, 0),
    };
    at.to_zoned_datetime(mountain()).ok().map(|zoned| zoned.timestamp())
}

/// Reads a date of a request: `09 JUN 2025` as documented, or `2025-06-09` as several clients send it.
pub(crate) fn parse_custom_date(text: &str) -> Option<Date> {
    let text = text.trim();
    Date::strptime("%d %b %Y", text).or_else(|_| Date::strptime("%Y-%m-%d", text)).ok()
}

/// The last second of a UTC day.
pub(crate) fn end_of_day(date: Date) -> Option<Timestamp> {
    date.at(23, 59, 59, 0).to_zoned_datetime(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

/// The first second of the UTC day of `at`.
pub(crate) fn start_of_day(at: Timestamp) -> Timestamp {
    later(at, -at.as_second().rem_euclid(86_400))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings() {
        let at: Timestamp = "2026-11-23T02:46:29.5Z".parse().unwrap();
        assert_eq!(stamp(at), "2026-11-23T02:46:29+00:00");
        assert_eq!(date(at), "2026-11-23");
        assert_eq!(mountain_date(at), "2026-11-22");
        assert_eq!(stamp(start_of_day(at)), "2026-11-23T00:00:00+00:00");
        assert_eq!(stamp(parse_mountain("2026-07-01 12:00:00").unwrap()), "2026-07-01T18:00:00+00:00");
        assert_eq!(stamp(parse_mountain("2026-12-01").unwrap()), "2026-12-01T07:00:00+00:00");
        assert_eq!(parse_custom_date("09 JUN 2025"), parse_custom_date("2025-06-09"));
        assert_eq!(parse_custom_date("9.6.2025"), None);
    }
}
