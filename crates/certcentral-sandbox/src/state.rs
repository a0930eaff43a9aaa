//! What the CA knows: orders, certificates, domains, requests and organizations, and the decisions that need nothing
//! else: which domain objects an order is validated at, which names are covered, whether an order can be issued. Acts
//! that look at the network or sign are in [`life`]; JSON is the API's business.

mod again;
pub(crate) mod life;
pub(crate) mod mail;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use rand::Rng;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(crate) use again::Before;

use crate::{
    account::{Config, Contact, Organization, Scope, Validation},
    clock::{days_later, later},
    names::{self, Name},
    validity::longest_reuse,
};

/// How control of a domain is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum DcvMethod {
    Email,
    DnsTxtToken,
    DnsCnameToken,
    HttpToken,
    HttpTokenDynamic,
}

impl DcvMethod {
    pub(crate) const ALL: [Self; 5] =
        [Self::Email, Self::DnsTxtToken, Self::DnsCnameToken, Self::HttpToken, Self::HttpTokenDynamic];

    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.text() == text)
    }

    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::DnsTxtToken => "dns-txt-token",
            Self::DnsCnameToken => "dns-cname-token",
            Self::HttpToken => "http-token",
            Self::HttpTokenDynamic => "http-token-dynamic",
        }
    }

    pub(crate) fn is_http(self) -> bool {
        matches!(self, Self::HttpToken | Self::HttpTokenDynamic)
    }

    pub(crate) fn has_token(self) -> bool {
        self != Self::Email
    }
}

/// A random value.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Token {
    pub(crate) value: String,
    pub(crate) expires: Timestamp,
    /// File name for http-token-dynamic.
    pub(crate) file: String,
}

impl Token {
    pub(crate) fn new(now: Timestamp, days: i64) -> Self {
        Self { value: random(32), expires: days_later(now, days), file: format!("{}.txt", random(16)) }
    }

    pub(crate) fn live(&self, now: Timestamp) -> bool {
        self.expires > now
    }
}

/// So many characters of `[a-z0-9]`; 32 of them are 165 bits.
fn random(length: usize) -> String {
    const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let mut rng = rand::rng();
    (0..length).map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())])).collect()
}

/// A finished domain validation.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Proven {
    pub(crate) at: Timestamp,
    /// Its end, where the configuration fixes one; else the limit of the day holds.
    #[serde(default)]
    pub(crate) fixed_until: Option<Timestamp>,
    /// Whether names below and wildcards are covered; a file covers only the exact name.
    pub(crate) subdomains: bool,
}

impl Proven {
    pub(crate) fn new(now: Timestamp, subdomains: bool, config: &Config) -> Self {
        Self { at: now, fixed_until: config.dcv_reuse_days.map(|days| days_later(now, days)), subdomains }
    }

    /// Until when it counts, as far as is known at `now`: where the industry's limit becomes shorter, so do the validations there are.
    pub(crate) fn until(&self, now: Timestamp) -> Timestamp {
        self.fixed_until.unwrap_or_else(|| days_later(self.at, longest_reuse(now)))
    }
}

/// The account's object for a domain.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Domain {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) active: bool,
    pub(crate) created: Timestamp,
    pub(crate) submitted: Timestamp,
    pub(crate) organization: u64,
    /// Validation types it was submitted for (`ov`, `ev`, …).
    pub(crate) types: BTreeSet<String>,
    pub(crate) method: DcvMethod,
    pub(crate) token: Option<Token>,
    pub(crate) proven: Option<Proven>,
    /// Since when the CA looks by itself, and when it looks next.
    pub(crate) poll: Option<Poll>,
    /// Why the newest look found nothing, in the open validator's words.
    #[serde(default)]
    pub(crate) reasons: Vec<String>,
}

impl Domain {
    pub(crate) fn live(&self, now: Timestamp) -> bool {
        self.active && self.proven.as_ref().is_some_and(|proven| proven.until(now) > now)
    }

    pub(crate) fn live_token(&self, now: Timestamp) -> Option<&Token> {
        self.token.as_ref().filter(|token| token.live(now))
    }
}

/// The automatic check's schedule for one domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Poll {
    pub(crate) since: Timestamp,
    pub(crate) next: Timestamp,
}

impl Poll {
    pub(crate) fn start(now: Timestamp) -> Self {
        Self { since: now, next: later(now, 60) }
    }

    /// The look after one at `now`: every minute for 15 minutes, every 5 for an hour, every 15 for a day, every hour
    /// for ten days, then none ("Automatic domain control validation check").
    pub(crate) fn after(self, now: Timestamp) -> Option<Self> {
        let wait = match now.as_second() - self.since.as_second() {
            ..900 => 60,
            900..3_600 => 300,
            3_600..86_400 => 900,
            86_400..864_000 => 3_600,
            _ => return None,
        };
        Some(Self { since: self.since, next: later(now, wait) })
    }
}

/// One place where an order is validated, and the ordered names that this place covers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Entry {
    pub(crate) domain: u64,
    pub(crate) scope_name: String,
    pub(crate) method: DcvMethod,
    pub(crate) dns_names: Vec<String>,
}

/// What a certificate came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) enum Kind {
    Original,
    Reissue,
    Duplicate,
}

impl Kind {
    pub(crate) fn request(self) -> RequestKind {
        match self {
            Self::Original => RequestKind::NewRequest,
            Self::Reissue => RequestKind::Reissue,
            Self::Duplicate => RequestKind::Duplicate,
        }
    }
}

/// A certificate of an order, from the moment it is asked for.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Certificate {
    pub(crate) id: u64,
    pub(crate) kind: Kind,
    /// `needs_approval` (hidden), `pending`, `issued`, `rejected`, `canceled`, `revoked`.
    pub(crate) status: String,
    pub(crate) common_name: String,
    pub(crate) dns_names: Vec<String>,
    pub(crate) csr: String,
    pub(crate) key_size: u32,
    pub(crate) signature_hash: String,
    pub(crate) server_platform: i64,
    pub(crate) client_auth: bool,
    /// The `profile_option` and `organization_units` of the request.
    #[serde(default)]
    pub(crate) profile: Option<String>,
    #[serde(default)]
    pub(crate) units: Vec<String>,
    /// Id of the intermediate that signs; empty for the usual one.
    #[serde(default)]
    pub(crate) ca: String,
    /// The `cert_validity` of the request, as sent.
    pub(crate) validity: Value,
    /// How long it may live: until then, whatever the day of issue.
    pub(crate) days: i64,
    pub(crate) latest_end: Timestamp,
    pub(crate) created: Timestamp,
    pub(crate) issued: Option<Issue>,
    /// When it is revoked by itself, because a reissue left out or changed one of its names.
    #[serde(default)]
    pub(crate) revoke_at: Option<Timestamp>,
    /// Left out of lists unless `show_archived` is asked for.
    #[serde(default)]
    pub(crate) archived: bool,
}

/// What signing gave.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Issue {
    pub(crate) pem: String,
    pub(crate) serial: String,
    pub(crate) thumbprint: String,
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
    pub(crate) at: Timestamp,
}

/// An order.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Order {
    pub(crate) id: u64,
    pub(crate) alternative_id: Option<String>,
    pub(crate) product: String,
    pub(crate) validation: Validation,
    pub(crate) status: String,
    pub(crate) status_changed: Timestamp,
    pub(crate) created: Timestamp,
    pub(crate) user: u64,
    pub(crate) organization: u64,
    pub(crate) method: DcvMethod,
    pub(crate) scope: Scope,
    pub(crate) value: Option<Token>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) certificates: Vec<Certificate>,
    /// Id of the certificate that stands for the order.
    pub(crate) primary: Option<u64>,
    pub(crate) requests: Vec<u64>,
    /// Whether the EV approver has agreed; always so for OV.
    pub(crate) ev_approved: bool,
    pub(crate) valid_till: Timestamp,
    pub(crate) ready_since: Option<Timestamp>,
    /// What the newest CAA check said, by name.
    #[serde(default)]
    pub(crate) caa: BTreeMap<String, String>,
    pub(crate) renewal_of: Option<u64>,
    pub(crate) renewed: bool,
    /// What the order said and gets back as it was: comments, notices, custom fields.
    pub(crate) echo: BTreeMap<String, Value>,
    #[serde(default)]
    pub(crate) notes: Vec<String>,
    /// The people the order named, by `contact_type`.
    #[serde(default)]
    pub(crate) contacts: Vec<(String, Contact)>,
    /// What a reissue that is canceled or rejected gives back.
    #[serde(default)]
    pub(crate) before: Option<Before>,
}

impl Order {
    pub(crate) fn certificate(&self, id: u64) -> Option<&Certificate> {
        self.certificates.iter().find(|certificate| certificate.id == id)
    }

    pub(crate) fn primary(&self) -> Option<&Certificate> {
        self.primary.and_then(|id| self.certificate(id))
    }

    /// The certificate being worked on.
    pub(crate) fn open(&self) -> Option<&Certificate> {
        self.certificates.iter().rev().find(|certificate| certificate.status == "pending")
    }

    /// Its duplicates, in the order in which they were asked for.
    pub(crate) fn duplicates(&self) -> impl DoubleEndedIterator<Item = &Certificate> {
        self.certificates.iter().filter(|one| one.kind == Kind::Duplicate)
    }

    /// The certificate that order info shows: the one in force, or the first one before it is issued.
    pub(crate) fn shown(&self) -> &Certificate {
        self.primary().unwrap_or(&self.certificates[0])
    }

    pub(crate) fn set_status(&mut self, status: &str, now: Timestamp) {
        status.clone_into(&mut self.status);
        self.status_changed = now;
    }

    pub(crate) fn live_value(&self, now: Timestamp) -> Option<&Token> {
        self.value.as_ref().filter(|token| token.live(now))
    }
}

/// What a request asks to approve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RequestKind {
    NewRequest,
    Reissue,
    Duplicate,
    Revoke,
}

/// Something that waits, or waited, for an approver.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Request {
    pub(crate) id: u64,
    pub(crate) kind: RequestKind,
    pub(crate) status: String,
    pub(crate) date: Timestamp,
    pub(crate) processed: Option<Timestamp>,
    pub(crate) requester: u64,
    pub(crate) processor: Option<u64>,
    pub(crate) order: u64,
    /// The certificates meant.
    pub(crate) certificates: Vec<u64>,
    pub(crate) comments: String,
    pub(crate) processor_comment: String,
}

/// Everything the sandbox remembers.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct State {
    pub(crate) revision: u64,
    pub(crate) clock_offset: i64,
    last_id: u64,
    pub(crate) orders: BTreeMap<u64, Order>,
    pub(crate) domains: BTreeMap<u64, Domain>,
    pub(crate) requests: BTreeMap<u64, Request>,
    pub(crate) organizations: BTreeMap<u64, Organization>,
    /// The account's own fields, as they are shown.
    #[serde(default)]
    pub(crate) custom_fields: Vec<Value>,
    /// The account's webhook, and what it was told.
    #[serde(default)]
    pub(crate) webhook: Option<crate::hooks::Webhook>,
    #[serde(default)]
    pub(crate) deliveries: Vec<crate::hooks::Delivery>,
    /// Mails of the method `email`.
    #[serde(default)]
    pub(crate) mails: Vec<mail::Mail>,
    #[serde(skip)]
    by_name: HashMap<String, u64>,
}

impl State {
    /// Ready to work: organizations of the configuration that are not known yet are added, lookups are built.
    pub(crate) fn prepare(mut self, config: &Config) -> Self {
        for organization in &config.organizations {
            self.organizations.entry(organization.id).or_insert_with(|| organization.clone());
        }
        let known = self.organizations.keys().next_back().copied().unwrap_or_default();
        self.last_id = self.last_id.max(known).max(100_000);
        self.by_name = self.domains.values().map(|domain| (domain.name.clone(), domain.id)).collect();
        self
    }

    pub(crate) fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    pub(crate) fn domain_named(&self, name: &str) -> Option<&Domain> {
        self.by_name.get(name).and_then(|id| self.domains.get(id))
    }

    /// The account's object for `name`, made if there is none.
    pub(crate) fn submit_domain(
        &mut self,
        name: &str,
        organization: u64,
        types: &[&str],
        method: DcvMethod,
        now: Timestamp,
    ) -> u64 {
        let known = self.by_name.get(name).copied();
        let id = known.unwrap_or_else(|| {
            let id = self.next_id();
            self.by_name.insert(name.to_owned(), id);
            let domain = Domain {
                id,
                name: name.to_owned(),
                active: true,
                created: now,
                submitted: now,
                organization,
                types: BTreeSet::new(),
                method,
                token: None,
                proven: None,
                poll: None,
                reasons: Vec::new(),
            };
            self.domains.insert(id, domain);
            id
        });
        let domain = self.domains.get_mut(&id).expect("just looked up or made");
        domain.types.extend(types.iter().map(|kind| (*kind).to_owned()));
        if !domain.live(now) {
            domain.submitted = now;
            domain.active = true;
        }
        id
    }

    pub(crate) fn forget_domain(&mut self, id: u64) -> bool {
        self.domains.remove(&id).is_some_and(|domain| self.by_name.remove(&domain.name).is_some())
    }

    /// Opens `domain` for proofs by `method`: a live value, and the automatic check from now on.
    pub(crate) fn open_domain(&mut self, id: u64, method: DcvMethod, now: Timestamp, config: &Config) {
        let Some(domain) = self.domains.get_mut(&id) else { return };
        domain.method = method;
        domain.poll = None;
        if method.has_token() {
            if domain.live_token(now).is_none() {
                domain.token = Some(Token::new(now, config.random_value_days));
            }
            domain.poll = config.polling.then(|| Poll::start(now));
        }
    }

    /// The addresses that an order chose for the mail of an entry.
    fn chosen_for(order: &Order, entry: &Entry) -> Vec<String> {
        let chosen = order.echo.get("dcv_emails").and_then(Value::as_array).into_iter().flatten();
        let is_for = |one: &&Value| {
            let text = |field: &str| one[field].as_str().unwrap_or_default().to_ascii_lowercase();
            text("email_domain") == entry.scope_name || entry.dns_names.contains(&text("dns_name"))
        };
        let mut all: Vec<String> =
            chosen.filter(is_for).filter_map(|one| one["email"].as_str()).map(str::to_owned).collect();
        all.sort();
        all.dedup();
        all
    }

    /// Whether a live validation covers the name: its own, or one above it that covers subdomains.
    pub(crate) fn covered(&self, name: &Name, now: Timestamp, config: &Config) -> bool {
        let Some(base) = names::registrable(&name.fqdn, config.switches.unlisted_suffixes) else { return false };
        names::up_to(&name.fqdn, base).any(|place| {
            self.domain_named(place).filter(|domain| domain.live(now)).is_some_and(|domain| {
                let subdomains = domain.proven.as_ref().is_some_and(|proven| proven.subdomains);
                subdomains || (place == name.fqdn && !name.wildcard)
            })
        })
    }

    pub(crate) fn entry_covered(&self, entry: &Entry, now: Timestamp, config: &Config) -> bool {
        entry.dns_names.iter().all(|name| {
            names::parse(name, config.switches.unlisted_suffixes).is_ok_and(|name| self.covered(&name, now, config))
        })
    }

    /// Starts validation of the order's open certificate: entries, domain objects, values. Names that a live
    /// validation covers need nothing.
    pub(crate) fn begin(&mut self, order_id: u64, now: Timestamp, config: &Config) {
        let Some(order) = self.orders.get(&order_id) else { return };
        let Some(certificate) = order.open() else { return };
        let (method, scope, organization) = (order.method, order.scope, order.organization);
        let types: &[&str] = match order.validation {
            Validation::Ov => &["ov"],
            Validation::Ev => &["ev", "ov"],
        };
        let unlisted = config.switches.unlisted_suffixes;
        let names: Vec<Name> =
            certificate.dns_names.iter().filter_map(|name| names::parse(name, unlisted).ok()).collect();
        let proven_above = |place: &str| {
            self.domain_named(place)
                .is_some_and(|domain| domain.live(now) && domain.proven.as_ref().is_some_and(|p| p.subdomains))
        };
        let places = places(&names, scope, method, unlisted, proven_above);
        let mut entries = Vec::with_capacity(places.len());
        for (scope_name, method, dns_names) in places {
            let domain = self.submit_domain(&scope_name, organization, types, method, now);
            let entry = Entry { domain, scope_name, method, dns_names };
            // A wildcard beside its own plain name must not close the file proof of that name.
            let taken = !method.has_token() && entries.iter().any(|other: &Entry| other.domain == domain);
            if !taken && !self.entry_covered(&entry, now, config) {
                self.open_domain(domain, method, now, config);
                if method == DcvMethod::Email {
                    let chosen = self.orders.get(&order_id).map(|order| Self::chosen_for(order, &entry));
                    self.send_mails(domain, &chosen.unwrap_or_default(), now, config);
                }
            }
            entries.push(entry);
        }
        let open = entries.iter().any(|entry| !self.entry_covered(entry, now, config));
        let order = self.orders.get_mut(&order_id).expect("looked up above");
        order.entries = entries;
        if !open || !method.has_token() {
            order.value = None;
        } else if order.live_value(now).is_none() {
            order.value = Some(Token::new(now, config.random_value_days));
        }
    }

    /// The entries of an order that are not covered, of those that `wanted` names (all, if empty).
    pub(crate) fn open_entries(&self, order: &Order, wanted: &[String], now: Timestamp, config: &Config) -> Vec<Entry> {
        order
            .entries
            .iter()
            .filter(|entry| {
                wanted.is_empty()
                    || wanted.iter().any(|name| *name == entry.scope_name || entry.dns_names.contains(name))
            })
            .filter(|entry| !self.entry_covered(entry, now, config))
            .cloned()
            .collect()
    }

    /// Whether the organization has the validation that the order's product needs.
    pub(crate) fn organization_ready(&self, order: &Order, now: Timestamp) -> bool {
        self.organizations.get(&order.organization).is_some_and(|organization| {
            let validation = match order.validation {
                Validation::Ov => organization.ov.as_ref(),
                Validation::Ev => organization.ev.as_ref(),
            };
            organization.active && validation.is_some_and(|validation| validation.live(now))
        })
    }

    /// Whether nothing but CAA and the issue delay is between the order and its certificate.
    pub(crate) fn ready(&self, order: &Order, now: Timestamp, config: &Config) -> bool {
        order.open().is_some()
            && order.valid_till > now
            && order.ev_approved
            && self.organization_ready(order, now)
            && order.entries.iter().all(|entry| self.entry_covered(entry, now, config))
    }

    /// The order that a path names by id, or by thumbprint or serial number of its primary certificate.
    pub(crate) fn find_order(&self, reference: &str) -> Option<&Order> {
        match reference.parse::<u64>().ok().and_then(|id| self.orders.get(&id)) {
            Some(order) => Some(order),
            None => self.orders.values().find(|order| {
                order.primary().and_then(|certificate| certificate.issued.as_ref()).is_some_and(|issue| {
                    issue.thumbprint.eq_ignore_ascii_case(reference) || issue.serial.eq_ignore_ascii_case(reference)
                })
            }),
        }
    }

    /// The certificate with this id or serial number.
    pub(crate) fn find_certificate(&self, reference: &str) -> Option<(&Order, &Certificate)> {
        let id = reference.parse::<u64>().ok();
        self.orders.values().flat_map(|order| order.certificates.iter().map(move |one| (order, one))).find(
            |(_, certificate)| {
                Some(certificate.id) == id
                    || certificate.issued.as_ref().is_some_and(|issue| issue.serial.eq_ignore_ascii_case(reference))
            },
        )
    }
}

/// Where the names are validated, by what, and which names each place covers.
///
/// Files prove exactly the name they are under, so each plain name is its own place, and wildcards fall back to
/// e-mail until the domain's method is changed. Otherwise `base_domain` gathers at registrable domains, and `fqdn` at
/// the highest ordered name above, or at a higher place already proven.
fn places(
    names: &[Name],
    scope: Scope,
    method: DcvMethod,
    unlisted: bool,
    proven_above: impl Fn(&str) -> bool,
) -> Vec<(String, DcvMethod, Vec<String>)> {
    let ordered: BTreeSet<&str> = names.iter().map(|name| name.fqdn.as_str()).collect();
    let mut places: Vec<(String, DcvMethod, Vec<String>)> = Vec::new();
    let mut index: HashMap<(String, bool), usize> = HashMap::new();
    for name in names {
        let fqdn = name.fqdn.as_str();
        let base = names::registrable(fqdn, unlisted).unwrap_or(fqdn);
        let above = |wanted: &dyn Fn(&str) -> bool| names::up_to(fqdn, base).filter(|place| wanted(place)).last();
        let by_file = method.is_http() && !name.wildcard;
        let place = if by_file {
            above(&proven_above).unwrap_or(fqdn)
        } else {
            match scope {
                Scope::BaseDomain => base,
                Scope::Fqdn => above(&proven_above).or_else(|| above(&|place| ordered.contains(place))).unwrap_or(fqdn),
            }
        };
        let by = if method.is_http() && name.wildcard { DcvMethod::Email } else { method };
        let at = *index.entry((place.to_owned(), by_file)).or_insert_with(|| {
            places.push((place.to_owned(), by, Vec::new()));
            places.len() - 1
        });
        places[at].2.push(name.to_string());
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(names: &[&str], scope: Scope, method: DcvMethod, proven: &[&str]) -> Vec<(String, &'static str, String)> {
        let names: Vec<Name> = names.iter().map(|name| names::parse(name, false).unwrap()).collect();
        places(&names, scope, method, false, |place| proven.contains(&place))
            .into_iter()
            .map(|(place, method, names)| (place, method.text(), names.join(" ")))
            .collect()
    }

    #[test]
    fn places_by_scope_and_method() {
        use DcvMethod::{DnsTxtToken, HttpToken};
        let names = ["a.example.com", "*.example.com", "b.c.example.com", "c.example.com", "x.example.net"];
        let row = |place: &str, method, names: &str| (place.to_owned(), method, names.to_owned());
        assert_eq!(
            plan(&names, Scope::BaseDomain, DnsTxtToken, &[]),
            [
                row("example.com", "dns-txt-token", "a.example.com *.example.com b.c.example.com c.example.com"),
                row("example.net", "dns-txt-token", "x.example.net"),
            ]
        );
        assert_eq!(
            plan(&["b.c.example.com", "c.example.com", "d.example.com"], Scope::Fqdn, DnsTxtToken, &[]),
            [
                row("c.example.com", "dns-txt-token", "b.c.example.com c.example.com"),
                row("d.example.com", "dns-txt-token", "d.example.com"),
            ]
        );
        assert_eq!(
            plan(&["b.c.example.com"], Scope::Fqdn, DnsTxtToken, &["example.com"]),
            [row("example.com", "dns-txt-token", "b.c.example.com")]
        );
        assert_eq!(
            plan(&["c.example.com", "b.c.example.com", "*.example.com"], Scope::Fqdn, HttpToken, &[]),
            [
                row("c.example.com", "http-token", "c.example.com"),
                row("b.c.example.com", "http-token", "b.c.example.com"),
                row("example.com", "email", "*.example.com"),
            ]
        );
    }

    #[test]
    fn the_automatic_check_thins_out_and_ends() {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let poll = Poll::start(start);
        assert_eq!(poll.next, later(start, 60));
        let wait = |seconds| {
            let now = later(start, seconds);
            poll.after(now).map(|poll| poll.next.as_second() - now.as_second())
        };
        let table = [(60, Some(60)), (900, Some(300)), (3_600, Some(900)), (86_400, Some(3_600)), (864_000, None)];
        for (seconds, expected) in table {
            assert_eq!(wait(seconds), expected, "after {seconds} s");
        }
    }

    #[test]
    fn random_values_have_the_documented_shape() {
        let token = Token::new(Timestamp::UNIX_EPOCH, 30);
        assert_eq!(token.value.len(), 32);
        assert!(token.value.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()));
        assert!(
            token.live(days_later(Timestamp::UNIX_EPOCH, 29)) && !token.live(days_later(Timestamp::UNIX_EPOCH, 30))
        );
    }
}
