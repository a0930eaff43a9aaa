//! The validation authority: looks for proofs of domain control in real DNS and over real HTTP, from several network
//! perspectives. Decides by the rules of the CA's open validation library (github.com/digicert/domain-control-validation):
//! which names are asked and in which order, how a value is matched, how far redirects are followed. Which values
//! count for which name is decided before; whether a domain's validation is still good, elsewhere.
//!
//! One DNS exchange is in `va/query.rs`, one file in `va/web.rs`, CAA in `va/caa.rs`. DNSSEC is left to the servers asked:
//! a validating resolver's SERVFAIL with an extended error (RFC 8914) that says so becomes a DNSSEC failure.

mod caa;
mod query;
mod web;

use std::{
    collections::VecDeque,
    future::Future,
    net::SocketAddr,
    pin::pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::future::{Either, join_all, select};
use hickory_proto::rr::{RData, Record, RecordType};
use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::Semaphore;

use query::Dns;
use web::Web;

/// Where validation records are looked for first.
const LABEL: &str = "_dnsauth";
/// Target of the older CNAME recipe, and the suffix of today's.
const CNAME_TARGET: &str = "dcv.digicert.com";
/// So many look-ups are remembered.
const REMEMBERED: usize = 4096;
/// So many questions, and so many files, are under way at once, so that a hundred names from five places do not use up
/// the process's sockets. Counted apart: fetching a file asks questions on the way.
const AT_ONCE: usize = 96;

/// How to look.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where from; the first is the primary. A proof must be seen by it and by enough of the others: all but one of up
    /// to five, all but two of more (Baseline Requirements 3.2.2.9). A single perspective decides alone.
    pub perspectives: Vec<Perspective>,
    /// Port of `http` URLs.
    pub http_port: u16,
    /// Port of `https` URLs.
    pub https_port: u16,
    /// Which CNAME is a proof.
    pub cname_rule: CnameRule,
    /// Whether CAA is looked at before a certificate is issued.
    pub check_caa: bool,
    /// Issuer domain names in CAA that stand for this CA.
    pub caa_issuers: Vec<String>,
    /// How long one DNS server, or one step of an HTTP exchange, may take.
    pub timeout: Duration,
    /// Redirects followed for one file.
    pub max_redirects: u8,
    /// Which redirects are followed.
    pub redirects: Redirects,
}

/// For the fuzz targets: an answer from the wire, and what is made of it.
pub(crate) fn read_once(message: &[u8]) {
    if let Some(records) = query::read_once(message) {
        caa::read_once(&records);
    }
}

impl Default for Config {
    /// A primary and four remote perspectives that all ask `127.0.0.1:53`, today's CNAME rule, the usual ports.
    fn default() -> Self {
        Self::with_dns(vec![SocketAddr::from(([127, 0, 0, 1], 53))])
    }
}

impl Config {
    /// The default, with all perspectives asking these servers.
    pub fn with_dns(dns: Vec<SocketAddr>) -> Self {
        let names = ["primary", "remote-1", "remote-2", "remote-3", "remote-4"];
        Self {
            perspectives: names.map(|name| Perspective { name: name.to_owned(), dns: dns.clone() }).to_vec(),
            http_port: 80,
            https_port: 443,
            cname_rule: CnameRule::Current,
            check_caa: true,
            caa_issuers: [
                "digicert.com",
                "www.digicert.com",
                "digicert.ne.jp",
                "thawte.com",
                "geotrust.com",
                "rapidssl.com",
            ]
            .map(str::to_owned)
            .to_vec(),
            timeout: Duration::from_secs(2),
            max_redirects: 5,
            redirects: Redirects::RelativeOnly,
        }
    }
}

/// A place on the network that looks.
#[derive(Clone, Debug)]
pub struct Perspective {
    /// Its name, for the list of look-ups.
    pub name: String,
    /// DNS servers, resolvers or authoritative. The first with any answer wins.
    pub dns: Vec<SocketAddr>,
}

/// Which CNAME proves control.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CnameRule {
    /// `_dnsauth.<domain>`, then `<domain>`, with the value in the target (since 28 October 2025).
    #[default]
    Current,
    /// `<value>.<domain>` to `dcv.digicert.com` (before).
    Old,
    /// Either of them.
    Either,
}

/// Which redirects are followed, besides status 301, 302, 307 and 308 only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Redirects {
    /// Only a relative `Location`, as the open validator does in fact.
    #[default]
    RelativeOnly,
    /// Also an absolute one to the same registrable domain and a scheme's own port, as it means to.
    SameDomain,
}

/// How control is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// The value in a TXT record.
    DnsTxt,
    /// The value in a CNAME.
    DnsCname,
    /// The value in `/.well-known/pki-validation/<file_name>`.
    Http {
        /// `fileauth.txt` or the dynamic name.
        file_name: String,
    },
}

/// What looking for a proof found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Control is proved.
    Valid {
        /// The value that was found.
        value: String,
        /// The DNS name or URL it was found at.
        at: String,
    },
    /// It is not.
    Invalid {
        /// Why, in the open validator's words: `dns_lookup_record_not_found`, `random_value_not_found`,
        /// `mpic_corroboration_error` and so on.
        reasons: Vec<String>,
    },
}

/// What CAA says about issuing for a name (RFC 8659).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CaaVerdict {
    /// No record, or one that names this CA.
    Allowed,
    /// The closest records do not name this CA.
    Forbidden {
        /// Where they are.
        at: String,
        /// In presentation form.
        records: Vec<String>,
    },
    /// It could not be found out.
    Failed {
        /// In the open validator's words.
        reason: String,
    },
}

/// One question that was asked.
#[derive(Clone, Debug, Serialize)]
pub struct Lookup {
    /// Who asked.
    pub perspective: String,
    /// `_dnsauth.example.com TXT` or `GET http://example.com/...`.
    pub question: String,
    /// What came back, in short.
    pub answer: String,
    /// When the answer was there.
    pub at: Timestamp,
}

/// Why there can be no validator.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration has no perspective, or one without servers.
    #[error("validation needs at least one perspective, and each needs a DNS server")]
    NoPerspective,
    /// The HTTP client cannot be set up.
    #[error("validation cannot set up its HTTP client: {0}")]
    Http(#[from] reqwest::Error),
    /// The TLS library cannot be set up.
    #[error("validation cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// Looks for proofs. Clones share everything.
#[derive(Clone)]
pub struct Validator {
    shared: Arc<Shared>,
}

struct Shared {
    config: Config,
    /// As in the configuration, the primary first.
    eyes: Vec<Eye>,
    log: Log,
}

/// One perspective with its means to look.
struct Eye {
    dns: Dns,
    web: Web,
}

/// What one perspective sees: the value and where, or reasons.
type Seen = Result<(String, String), Vec<String>>;

impl Validator {
    /// Sets up the perspectives; asks nothing yet.
    pub fn new(config: Config) -> Result<Self, Error> {
        if config.perspectives.is_empty() || config.perspectives.iter().any(|one| one.dns.is_empty()) {
            return Err(Error::NoPerspective);
        }
        let log = Log::default();
        let (questions, files) = (Arc::new(Semaphore::new(AT_ONCE)), Arc::new(Semaphore::new(AT_ONCE)));
        let tls = web::tls()?;
        let mut eyes = Vec::new();
        for perspective in &config.perspectives {
            let dns = Dns::new(perspective, config.timeout, Arc::clone(&questions), log.clone());
            let web = Web::new(&config, &dns, tls.clone(), Arc::clone(&files))?;
            eyes.push(Eye { dns, web });
        }
        Ok(Self { shared: Arc::new(Shared { config, eyes, log }) })
    }

    /// Looks for any of `values` at `domain` (an A-label name without `*.`), from all perspectives at once.
    pub async fn check(&self, domain: &str, method: &Method, values: &[String]) -> Verdict {
        let look = |eye| self.shared.look(eye, domain, method, values);
        let Some((primary, remotes)) = self.shared.eyes.split_first() else {
            return Verdict::Invalid { reasons: vec!["mpic_invalid_response".to_owned()] };
        };
        let remotes = join_all(remotes.iter().map(look));
        match primary_first(look(primary), remotes, Result::is_ok).await {
            (Err(reasons), _) => Verdict::Invalid { reasons },
            (Ok((value, at)), remotes) => {
                let agree = remotes.iter().filter(|seen| seen.as_ref().is_ok_and(|(other, _)| *other == value)).count();
                if agree >= quorum(remotes.len()) {
                    Verdict::Valid { value, at }
                } else {
                    Verdict::Invalid { reasons: vec!["mpic_corroboration_error".to_owned()] }
                }
            }
        }
    }

    /// Whether CAA lets this CA issue for `fqdn` (without `*.`), from all perspectives at once.
    pub async fn caa(&self, fqdn: &str, wildcard: bool) -> CaaVerdict {
        let issuers = &self.shared.config.caa_issuers;
        let look = |eye: &'_ Eye| caa::climb(eye.dns.clone(), fqdn.to_owned(), wildcard, issuers.clone());
        let Some((primary, remotes)) = self.shared.eyes.split_first() else {
            return CaaVerdict::Failed { reason: "mpic_invalid_response".to_owned() };
        };
        let remotes = join_all(remotes.iter().map(look));
        let allowed = |verdict: &CaaVerdict| *verdict == CaaVerdict::Allowed;
        match primary_first(look(primary), remotes, allowed).await {
            (CaaVerdict::Allowed, remotes)
                if remotes.iter().filter(|verdict| allowed(verdict)).count() < quorum(remotes.len()) =>
            {
                CaaVerdict::Failed { reason: "mpic_corroboration_error".to_owned() }
            }
            (verdict, _) => verdict,
        }
    }

    /// The newest look-ups, oldest first.
    pub fn lookups(&self) -> Vec<Lookup> {
        self.shared.log.0.lock().expect("no panic while held").iter().cloned().collect()
    }
}

/// How many of so many remote perspectives must agree.
fn quorum(remotes: usize) -> usize {
    match remotes {
        0 => 0,
        // With one there is nothing to tolerate.
        1 => 1,
        2..=5 => remotes - 1,
        _ => remotes - 2,
    }
}

/// Both at once, but when the primary says no nobody waits for the others.
async fn primary_first<T>(
    primary: impl Future<Output = T>,
    remotes: impl Future<Output = Vec<T>>,
    yes: impl Fn(&T) -> bool,
) -> (T, Vec<T>) {
    match select(pin!(primary), pin!(remotes)).await {
        Either::Left((seen, remotes)) => {
            let remotes = if yes(&seen) { remotes.await } else { Vec::new() };
            (seen, remotes)
        }
        Either::Right((remotes, primary)) => (primary.await, remotes),
    }
}

impl Shared {
    async fn look(&self, eye: &Eye, domain: &str, method: &Method, values: &[String]) -> Seen {
        match method {
            Method::DnsTxt => first_name(eye, domain, RecordType::TXT, values).await,
            Method::DnsCname => match self.config.cname_rule {
                CnameRule::Current => first_name(eye, domain, RecordType::CNAME, values).await,
                CnameRule::Old => old_cname(eye, domain, values).await,
                CnameRule::Either => match first_name(eye, domain, RecordType::CNAME, values).await {
                    Ok(seen) => Ok(seen),
                    Err(mut reasons) => old_cname(eye, domain, values).await.map_err(|more| {
                        merge(&mut reasons, more);
                        reasons
                    }),
                },
            },
            Method::Http { file_name } => eye.web.find(domain, file_name, values).await,
        }
    }
}

/// `_dnsauth.<domain>`, and `<domain>` if nothing is found there; the reasons of both are told.
async fn first_name(eye: &Eye, domain: &str, kind: RecordType, values: &[String]) -> Seen {
    let mut reasons = Vec::new();
    for name in [format!("{LABEL}.{domain}"), domain.to_owned()] {
        let seen = match eye.dns.records(&name, kind).await {
            Ok(records) => texts(&records).and_then(|texts| matching(&texts, values)),
            Err(failure) => Err(failure.reason()),
        };
        match seen {
            Ok(value) => return Ok((value, name)),
            Err(reason) => merge(&mut reasons, vec![reason.to_owned()]),
        }
    }
    Err(reasons)
}

async fn old_cname(eye: &Eye, domain: &str, values: &[String]) -> Seen {
    let mut reasons = Vec::new();
    for value in values {
        let name = format!("{value}.{domain}");
        match eye.dns.records(&name, RecordType::CNAME).await {
            Ok(records) if records.iter().any(|record| is_alias_of(record, CNAME_TARGET)) => {
                return Ok((value.clone(), name));
            }
            Ok(_) => merge(&mut reasons, vec!["random_value_not_found".to_owned()]),
            Err(failure) => merge(&mut reasons, vec![failure.reason().to_owned()]),
        }
    }
    Err(reasons)
}

fn is_alias_of(record: &Record, wanted: &str) -> bool {
    matches!(&record.data, RData::CNAME(target)
        if target.0.to_ascii().trim_end_matches('.').eq_ignore_ascii_case(wanted))
}

fn merge(reasons: &mut Vec<String>, more: Vec<String>) {
    for reason in more {
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
    }
}

/// What an answer's records say, as text: the quoted character-strings of a TXT record joined by a blank (so a value
/// split over two of them is not found), the target of a CNAME with its final dot and in its own case.
fn texts(records: &[Record]) -> Result<Vec<String>, &'static str> {
    let text = |record: &Record| match &record.data {
        RData::TXT(txt) => {
            let strings: Vec<String> = txt.txt_data.iter().map(|part| quoted(part)).collect();
            Ok(strings.join(" "))
        }
        RData::CNAME(target) => Ok(target.0.to_ascii()),
        // The validator reads nothing else, and stops at it.
        _ => Err("dns_lookup_io_exception"),
    };
    records.iter().map(text).collect()
}

fn quoted(part: &[u8]) -> String {
    let mut text = String::with_capacity(part.len() + 2);
    text.push('"');
    for byte in part {
        match byte {
            b'"' | b'\\' => text.extend(['\\', char::from(*byte)]),
            b' '..=b'~' => text.push(char::from(*byte)),
            other => text.extend(['\\'].into_iter().chain(format!("{other:03}").chars())),
        }
    }
    text.push('"');
    text
}

/// The first value that any text contains, in the same case.
fn matching(texts: &[String], values: &[String]) -> Result<String, &'static str> {
    let found = values.iter().find(|value| !value.is_empty() && texts.iter().any(|text| text.contains(value.as_str())));
    found.cloned().ok_or("random_value_not_found")
}

/// The newest look-ups of all perspectives.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<VecDeque<Lookup>>>);

impl Log {
    fn add(&self, perspective: &str, question: String, answer: String) {
        let lookup = Lookup { perspective: perspective.to_owned(), question, answer, at: Timestamp::now() };
        let mut log = self.0.lock().expect("no panic while held");
        if log.len() == REMEMBERED {
            log.pop_front();
        }
        log.push_back(lookup);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quorum_of_remote_perspectives() {
        let table = [(0, 0), (1, 1), (2, 1), (3, 2), (4, 3), (5, 4), (6, 4), (7, 5)];
        for (remotes, agree) in table {
            assert_eq!(quorum(remotes), agree, "{remotes} remotes");
        }
    }

    #[test]
    fn a_value_is_found_within_one_string_only_and_in_its_case() {
        let txt = |parts: &[&str]| {
            let parts: Vec<String> = parts.iter().map(ToString::to_string).collect();
            let data = RData::TXT(hickory_proto::rr::rdata::TXT::new(parts));
            Record::from_rdata(hickory_proto::rr::Name::root(), 60, data)
        };
        let value = vec!["Abc123".to_owned()];
        let found = |records: &[Record]| texts(records).and_then(|texts| matching(&texts, &value));
        assert!(found(&[txt(&["Abc123"])]).is_ok());
        assert!(found(&[txt(&["other"]), txt(&["v=1 Abc123;"])]).is_ok());
        assert!(found(&[txt(&["spf", "xAbc123x"])]).is_ok());
        assert_eq!(found(&[txt(&["abc123"])]), Err("random_value_not_found"));
        assert_eq!(found(&[txt(&["Abc", "123"])]), Err("random_value_not_found"));
        assert_eq!(matching(&["\"x\"".to_owned()], &[String::new()]), Err("random_value_not_found"));
    }

    #[test]
    fn presentation_form() {
        assert_eq!(quoted(b"a\"b\\c\x07"), r#""a\"b\\c\007""#);
    }
}
