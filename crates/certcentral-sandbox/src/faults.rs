//! Faults on purpose: what a client must survive. One request asks for its own fault with the header
//! `X-Sandbox-Fault`, or the control endpoint queues faults for the next requests that fit. This module reads and
//! hands them out; the API's front door acts on them.

use std::{str::FromStr, sync::Mutex, time::Duration};

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// 429 with the API's body; the request is not executed.
    RateLimited,
    /// A gateway's HTML page with this 5xx status; the request is not executed.
    Html(StatusCode),
    /// The request is executed, and its answer lost with the connection.
    Drop,
    /// The answer comes late.
    Delay(Duration),
    /// The download has another certificate in it.
    WrongPem,
}

impl FromStr for Fault {
    type Err = String;

    /// `429`, `500` to `599`, `drop`, `delay=MILLISECONDS`, `wrong-pem`.
    fn from_str(text: &str) -> Result<Self, String> {
        let unknown =
            || format!("fault {text:?} is unknown: use 429, 500 to 599, drop, delay=MILLISECONDS or wrong-pem");
        match text.trim() {
            "429" => Ok(Self::RateLimited),
            "drop" => Ok(Self::Drop),
            "wrong-pem" => Ok(Self::WrongPem),
            other => match other.strip_prefix("delay=") {
                Some(millis) => millis.parse().map(|ms| Self::Delay(Duration::from_millis(ms))).map_err(|_| unknown()),
                None => match other.parse::<u16>().ok().and_then(|code| StatusCode::from_u16(code).ok()) {
                    Some(status) if status.is_server_error() => Ok(Self::Html(status)),
                    _ => Err(unknown()),
                },
            },
        }
    }
}

/// A fault in waiting, as `POST /sandbox/faults` takes it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// One of the spellings of [`Fault`].
    pub fault: String,
    /// For how many requests.
    #[serde(default = "once")]
    pub times: u32,
    /// Only requests of this method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Only requests whose path contains this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

fn once() -> u32 {
    1
}

/// The faults still to come.
#[derive(Debug, Default)]
pub(crate) struct Faults(Mutex<Vec<Order>>);

impl Faults {
    pub(crate) fn add(&self, order: Order) -> Result<(), String> {
        order.fault.parse::<Fault>()?;
        self.0.lock().expect("no panic while held").push(order);
        Ok(())
    }

    pub(crate) fn clear(&self) {
        self.0.lock().expect("no panic while held").clear();
    }

    pub(crate) fn waiting(&self) -> Vec<Order> {
        self.0.lock().expect("no panic while held").clone()
    }

    /// The fault of the first waiting order that fits; its count goes down.
    pub(crate) fn take(&self, method: &str, path: &str) -> Option<Fault> {
        let mut waiting = self.0.lock().expect("no panic while held");
        let at = waiting.iter().position(|order| {
            order.method.as_deref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(method))
                && order.path.as_deref().is_none_or(|wanted| path.contains(wanted))
        })?;
        let fault = waiting[at].fault.parse().ok();
        waiting[at].times = waiting[at].times.saturating_sub(1);
        if waiting[at].times == 0 {
            waiting.remove(at);
        }
        fault
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spelled() {
        assert_eq!("429".parse(), Ok(Fault::RateLimited));
        assert_eq!("502".parse(), Ok(Fault::Html(StatusCode::BAD_GATEWAY)));
        assert_eq!("delay=20".parse(), Ok(Fault::Delay(Duration::from_millis(20))));
        for wrong in ["", "200", "404", "delay=", "delay=x", "Drop"] {
            assert!(wrong.parse::<Fault>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn handed_out_to_what_fits_and_used_up() {
        let faults = Faults::default();
        let order = |fault: &str, times, method: Option<&str>| Order {
            fault: fault.into(),
            times,
            method: method.map(Into::into),
            path: Some("/order".into()),
        };
        faults.add(order("502", 2, Some("put"))).unwrap();
        assert!(faults.add(order("200", 1, None)).is_err());
        assert_eq!(faults.take("GET", "/order/certificate"), None);
        assert_eq!(faults.take("PUT", "/domain"), None);
        assert!(faults.take("PUT", "/order/certificate/1").is_some());
        assert!(faults.take("PUT", "/order/certificate/1").is_some());
        assert_eq!(faults.take("PUT", "/order/certificate/1"), None);
    }
}
