//! Rate limits per API key over rolling windows, as CertCentral keeps them ("Rate limits": 1000 requests in 3 minutes
//! and 100 in 5 seconds). A refused request does not count. The answer itself is the API's business.

use std::{
    collections::{HashMap, VecDeque},
    sync::Mutex,
};

use jiff::Timestamp;
use serde::Deserialize;

/// At most `requests` in any `seconds`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Window {
    /// How many requests pass.
    pub requests: usize,
    /// Length of the rolling window.
    pub seconds: u32,
}

/// The documented limits, the shorter window first.
pub fn documented() -> Vec<Window> {
    vec![Window { requests: 100, seconds: 5 }, Window { requests: 1000, seconds: 180 }]
}

/// Counts requests per key.
#[derive(Debug)]
pub(crate) struct Limiter {
    windows: Vec<Window>,
    passed: Mutex<HashMap<String, VecDeque<Timestamp>>>,
}

impl Limiter {
    pub(crate) fn new(windows: Vec<Window>) -> Self {
        Self { windows, passed: Mutex::default() }
    }

    /// Whether a request of `key` passes at `now`; it is counted if it does.
    pub(crate) fn admit(&self, key: &str, now: Timestamp) -> bool {
        let Some(longest) = self.windows.iter().map(|window| window.seconds).max() else { return true };
        let age = |at: &Timestamp| now.as_millisecond() - at.as_millisecond();
        let mut passed = self.passed.lock().expect("no panic while counting");
        let times = passed.entry(key.to_owned()).or_default();
        while times.front().is_some_and(|at| age(at) >= i64::from(longest) * 1000) {
            times.pop_front();
        }
        let full = self.windows.iter().any(|window| {
            let recent = times.iter().rev().take_while(|at| age(at) < i64::from(window.seconds) * 1000);
            recent.take(window.requests).count() >= window.requests
        });
        if !full {
            times.push_back(now);
        }
        !full
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::later;

    #[test]
    fn both_windows_roll() {
        let limiter = Limiter::new(vec![Window { requests: 2, seconds: 5 }, Window { requests: 3, seconds: 60 }]);
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let at = |seconds| later(start, seconds);
        let table = [(0, true), (1, true), (2, false), (5, true), (6, false), (20, false), (59, false), (60, true)];
        for (seconds, passes) in table {
            assert_eq!(limiter.admit("key", at(seconds)), passes, "at {seconds} s");
        }
        assert!(limiter.admit("another key", at(2)));
    }

    #[test]
    fn no_window_no_limit() {
        let limiter = Limiter::new(Vec::new());
        assert!((0..5000).all(|_| limiter.admit("key", Timestamp::UNIX_EPOCH)));
    }
}
