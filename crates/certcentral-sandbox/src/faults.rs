//! Faults on purpose: what a client must survive. One request asks for its own fault with the header
//! `X-Sandbox-Fault`; the configuration and the control endpoint queue faults for the next requests, or the next looks
//! for a proof, that fit. This module reads and hands them out; the API's front door acts on those of requests, the
//! validation on those of looks.

use std::{str::FromStr, sync::Mutex, time::Duration};

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::va::{CaaVerdict, Verdict};

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
    /// All random values end just before the request is executed.
    Expire,
    /// A look at the network fails.
    Look(LookFault),
}

/// What goes wrong when the CA looks at the network for a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookFault {
    /// The zone's signatures are bogus: neither proofs nor CAA can be had.
    Dnssec,
    /// The primary perspective sees a proof, and too few of the others do; the same for CAA.
    Perspective,
    /// CAA names another CA.
    Caa,
}

impl LookFault {
    /// What a look for a proof finds instead; none if it is not the kind that fails.
    pub(crate) fn verdict(self) -> Option<Verdict> {
        self.reason().map(|reason| Verdict::Invalid { reasons: vec![reason.to_owned()] })
    }

    /// What CAA seems to say for `name`.
    pub(crate) fn caa(self, name: &str) -> CaaVerdict {
        match self.reason() {
            Some(reason) => CaaVerdict::Failed { reason: reason.to_owned() },
            None => CaaVerdict::Forbidden {
                at: name.to_owned(),
                records: vec!["0 issue \"another-ca.example\"".to_owned()],
            },
        }
    }

    /// In the open validator's words.
    fn reason(self) -> Option<&'static str> {
        match self {
            Self::Dnssec => Some("dns_lookup_dnssec_failure"),
            Self::Perspective => Some("mpic_corroboration_error"),
            Self::Caa => None,
        }
    }
}

impl FromStr for Fault {
    type Err = String;

    /// `429`, `500` to `599`, `drop`, `delay=MILLISECONDS`, `wrong-pem`, `expire`, `dnssec`, `perspective`, `caa`.
    fn from_str(text: &str) -> Result<Self, String> {
        let unknown = || {
            format!(
                "fault {text:?} is unknown: use 429, 500 to 599, drop, delay=MILLISECONDS, wrong-pem, expire, dnssec, \
                 perspective or caa"
            )
        };
        match text.trim() {
            "429" => Ok(Self::RateLimited),
            "drop" => Ok(Self::Drop),
            "wrong-pem" => Ok(Self::WrongPem),
            "expire" => Ok(Self::Expire),
            "dnssec" => Ok(Self::Look(LookFault::Dnssec)),
            "perspective" => Ok(Self::Look(LookFault::Perspective)),
            "caa" => Ok(Self::Look(LookFault::Caa)),
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

/// A fault in waiting, as `POST /sandbox/faults` and the configuration take it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// One of the spellings of [`Fault`].
    pub fault: String,
    /// For how many requests, or looks.
    #[serde(default = "once")]
    pub times: u32,
    /// Only requests of this method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Only requests whose path contains this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Only looks for this name and names below it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

fn once() -> u32 {
    1
}

impl Order {
    /// The fault, once it is clear that the conditions are of its kind.
    fn fault(&self) -> Result<Fault, String> {
        let fault = self.fault.parse()?;
        let looks = matches!(fault, Fault::Look(_));
        if looks && (self.method.is_some() || self.path.is_some()) {
            return Err(format!(
                "fault {:?} is one of looks, not of requests: it has a name, no method or path",
                self.fault
            ));
        }
        if !looks && self.name.is_some() {
            return Err(format!("fault {:?} is one of requests: it has a method and a path, no name", self.fault));
        }
        if self.times == 0 {
            return Err(format!("fault {:?} for 0 times is none", self.fault));
        }
        Ok(fault)
    }

    fn fits_request(&self, method: &str, path: &str) -> bool {
        !matches!(self.fault(), Ok(Fault::Look(_)))
            && self.method.as_deref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(method))
            && self.path.as_deref().is_none_or(|wanted| path.contains(wanted))
    }

    fn fits_look(&self, name: &str, caa: bool) -> bool {
        let Ok(Fault::Look(fault)) = self.fault() else { return false };
        (caa || fault.verdict().is_some())
            && self.name.as_deref().is_none_or(|wanted| {
                let cut = name.len().checked_sub(wanted.len());
                cut.and_then(|at| Some((name.get(..at)?, name.get(at..)?))).is_some_and(|(below, own)| {
                    own.eq_ignore_ascii_case(wanted) && (below.is_empty() || below.ends_with('.'))
                })
            })
    }
}

impl FromStr for Order {
    type Err = String;

    /// `FAULT[,times=N][,method=METHOD][,path=TEXT][,name=DOMAIN]`, as on a command line.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(',').map(str::trim);
        let fault = parts.next().unwrap_or_default().to_owned();
        let mut order = Self { fault, times: once(), method: None, path: None, name: None };
        for part in parts {
            let (field, value) = part.split_once('=').unwrap_or((part, ""));
            match field {
                "times" => order.times = value.parse().map_err(|_| format!("times={value} is no count"))?,
                "method" => order.method = Some(value.to_owned()),
                "path" => order.path = Some(value.to_owned()),
                "name" => order.name = Some(value.to_owned()),
                _ => return Err(format!("{part:?} is unknown: after the fault come times=, method=, path= and name=")),
            }
        }
        order.fault()?;
        Ok(order)
    }
}

tokio::task_local! {
    /// What the request under way asked for its own looks with the header.
    pub(crate) static OF_REQUEST: LookFault;
}

/// The faults still to come.
#[derive(Debug, Default)]
pub(crate) struct Faults(Mutex<Vec<Order>>);

impl Faults {
    pub(crate) fn new(orders: Vec<Order>) -> Result<Self, String> {
        orders.iter().try_for_each(|order| order.fault().map(|_| ()))?;
        Ok(Self(Mutex::new(orders)))
    }

    pub(crate) fn add(&self, order: Order) -> Result<(), String> {
        order.fault()?;
        self.0.lock().expect("no panic while held").push(order);
        Ok(())
    }

    pub(crate) fn clear(&self) {
        self.0.lock().expect("no panic while held").clear();
    }

    pub(crate) fn waiting(&self) -> Vec<Order> {
        self.0.lock().expect("no panic while held").clone()
    }

    /// The fault for a request; its count goes down.
    pub(crate) fn of_request(&self, method: &str, path: &str) -> Option<Fault> {
        self.take(|order| order.fits_request(method, path))
    }

    /// The fault for a look for proofs of `name`, or at its CAA; its count goes down.
    pub(crate) fn of_look(&self, name: &str, caa: bool) -> Option<LookFault> {
        if let Ok(asked) = OF_REQUEST.try_with(|asked| *asked) {
            return (caa || asked.verdict().is_some()).then_some(asked);
        }
        match self.take(|order| order.fits_look(name, caa)) {
            Some(Fault::Look(fault)) => Some(fault),
            _ => None,
        }
    }

    /// The fault of the first waiting order that fits.
    fn take(&self, fits: impl Fn(&Order) -> bool) -> Option<Fault> {
        let mut waiting = self.0.lock().expect("no panic while held");
        let at = waiting.iter().position(fits)?;
        let fault = waiting[at].fault().ok();
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
        assert_eq!("caa".parse(), Ok(Fault::Look(LookFault::Caa)));
        for wrong in ["", "200", "404", "delay=", "delay=x", "Drop"] {
            assert!(wrong.parse::<Fault>().is_err(), "{wrong}");
        }
        let order: Order = "502, times=3,method=PUT,path=check-dcv".parse().unwrap();
        assert_eq!((order.times, order.method.as_deref(), order.path.as_deref()), (3, Some("PUT"), Some("check-dcv")));
        assert_eq!("delay=20".parse::<Order>().unwrap().fault, "delay=20");
        for wrong in ["502,often", "502,times=x", "502,times=0", "502,name=example.com", "caa,path=order", "200"] {
            assert!(wrong.parse::<Order>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn handed_out_to_what_fits_and_used_up() {
        let faults = Faults::default();
        faults.add("502,times=2,method=put,path=/order".parse().unwrap()).unwrap();
        assert_eq!(faults.of_request("GET", "/order/certificate"), None);
        assert_eq!(faults.of_request("PUT", "/domain"), None);
        assert!(faults.of_request("PUT", "/order/certificate/1").is_some());
        assert!(faults.of_request("PUT", "/order/certificate/1").is_some());
        assert_eq!(faults.of_request("PUT", "/order/certificate/1"), None);
    }

    #[test]
    fn looks_have_their_own() {
        let faults = Faults::new(vec!["dnssec,name=example.com".parse().unwrap(), "caa".parse().unwrap()]).unwrap();
        assert_eq!(faults.of_request("PUT", "/order"), None);
        assert_eq!(faults.of_look("badexample.com", false), None, "CAA is no proof, and the name is another");
        assert_eq!(faults.of_look("www.Example.com", false), Some(LookFault::Dnssec));
        assert_eq!(faults.of_look("www.example.com", false), None);
        assert_eq!(faults.of_look("www.example.com", true), Some(LookFault::Caa));
        assert!(faults.waiting().is_empty());
    }
}
