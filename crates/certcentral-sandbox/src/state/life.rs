//! What the CA does over time: looks for proofs when asked and on its schedule, checks CAA, signs, and moves orders on.
//! Looking happens outside the lock; what was decided before a look is decided again after it, so that two lookers
//! can never issue twice.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use tokio::sync::Notify;

use super::{DcvMethod, Entry, Issue, Kind, Order, Poll, Proven, State};
use crate::{
    account::{Config, Validation},
    api::Seen,
    ca,
    clock::{Clock, days_later, later, start_of_day},
    faults::{Faults, LookFault},
    limits::Limiter,
    names,
    store::Store,
    va::{self, CaaVerdict, Verdict},
    validity::longest_public,
};

/// How soon the schedule looks again at the least, and how late at the most.
const SOON: Duration = Duration::from_millis(10);
const LATE: Duration = Duration::from_secs(60);
/// So many names are looked up at once for one order.
const AT_ONCE: usize = 64;

/// Everything the parts of a running sandbox share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    pub(crate) state: Mutex<State>,
    pub(crate) store: Option<Store>,
    pub(crate) authority: ca::Authority,
    pub(crate) validator: va::Validator,
    pub(crate) limiter: Limiter,
    pub(crate) faults: Faults,
    pub(crate) seen: Mutex<Vec<Seen>>,
    /// Where the control endpoints are, for links in mails.
    pub(crate) control: String,
    /// Something changed that the schedule should look at.
    pub(crate) wake: Notify,
}

/// One look for a proof.
pub(crate) struct Check {
    pub(crate) domain: u64,
    pub(crate) name: String,
    pub(crate) method: DcvMethod,
    pub(crate) values: Vec<String>,
    pub(crate) file: String,
}

/// How far [`Shared::settle`] came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    /// Something is missing, or the issue delay is not over.
    Waiting,
    /// The certificate is there.
    Issued,
    /// CAA forbids it, or could not be read, for this name.
    CaaRefused { name: String, reason: String },
}

impl Shared {
    pub(crate) fn read<T>(&self, look: impl FnOnce(&State, Timestamp) -> T) -> T {
        look(&self.state.lock().expect("no panic while held"), self.clock.now())
    }

    pub(crate) fn write<T>(&self, change: impl FnOnce(&mut State, Timestamp) -> T) -> T {
        let mut state = self.state.lock().expect("no panic while held");
        state.revision += 1;
        state.clock_offset = self.clock.offset_seconds();
        change(&mut state, self.clock.now())
    }

    /// Puts new mails into the mailbox folder, if there is one.
    pub(crate) fn deliver(&self) {
        let Some(folder) = &self.config.mailbox else { return };
        let mut state = self.state.lock().expect("no panic while held");
        for (number, mail) in state.mails.iter_mut().enumerate().filter(|(_, mail)| !mail.delivered) {
            let path = folder.join(format!("{:05}-{}.eml", number + 1, mail.to));
            let written = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&path, mail.eml(&self.control)));
            match written {
                Ok(()) => mail.delivered = true,
                Err(error) => return tracing::error!(%error, path = %path.display(), "a mail could not be delivered"),
            }
        }
    }

    /// Puts everything on disk, if there is one.
    pub(crate) async fn save(self: &Arc<Self>) {
        if self.store.is_none() {
            return;
        }
        let shared = Arc::clone(self);
        let written = tokio::task::spawn_blocking(move || match &shared.store {
            Some(store) => store.save(&shared.state),
            None => Ok(()),
        });
        match written.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the sandbox's state could not be saved"),
            Err(error) => tracing::error!(%error, "saving the sandbox's state failed"),
        }
    }

    /// Ends all random values now.
    pub(crate) fn expire_values(&self) {
        self.write(|state, now| {
            let of_orders = state.orders.values_mut().filter_map(|order| order.value.as_mut());
            let of_domains = state.domains.values_mut().filter_map(|domain| domain.token.as_mut());
            for token in of_orders.chain(of_domains).filter(|token| token.live(now)) {
                token.expires = now;
            }
        });
    }

    /// The look for one entry of an order: the order's value or the domain's.
    pub(crate) fn check_of(state: &State, order: &Order, entry: &Entry, now: Timestamp) -> Option<Check> {
        let domain = state.domains.get(&entry.domain)?;
        let values = order.live_value(now).into_iter().chain(domain.live_token(now));
        Some(Check {
            domain: domain.id,
            name: domain.name.clone(),
            method: entry.method,
            values: values.map(|token| token.value.clone()).collect(),
            file: domain.token.as_ref().map(|token| token.file.clone()).unwrap_or_default(),
        })
    }

    /// The look for a domain by itself: its own value, or that of any open order it is part of.
    pub(crate) fn check_of_domain(state: &State, id: u64, now: Timestamp) -> Option<Check> {
        let domain = state.domains.get(&id)?;
        let of_orders = state.orders.values().filter_map(|order| {
            (order.open().is_some() && order.entries.iter().any(|entry| entry.domain == id))
                .then(|| order.live_value(now))
                .flatten()
        });
        Some(Check {
            domain: id,
            name: domain.name.clone(),
            method: domain.method,
            values: domain.live_token(now).into_iter().chain(of_orders).map(|token| token.value.clone()).collect(),
            file: domain.token.as_ref().map(|token| token.file.clone()).unwrap_or_default(),
        })
    }

    /// Looks for all proofs at once and remembers what was found; gives the value found for each check.
    pub(crate) async fn look(&self, checks: Vec<Check>) -> Vec<Option<String>> {
        let mut looks = Vec::with_capacity(checks.len());
        for check in &checks {
            looks.push(self.look_once(check));
        }
        let verdicts: Vec<Verdict> = stream::iter(looks).buffered(AT_ONCE).collect().await;
        self.write(|state, now| {
            let mut proved = Vec::new();
            let found = checks.iter().zip(verdicts).map(|(check, verdict)| {
                let domain = state.domains.get_mut(&check.domain)?;
                match verdict {
                    Verdict::Valid { value, at } => {
                        tracing::debug!(domain = domain.name, at, "domain proved");
                        let subdomains = !check.method.is_http();
                        let wider = domain.live(now) && domain.proven.as_ref().is_some_and(|old| old.subdomains);
                        if subdomains || !wider {
                            domain.proven = Some(Proven::new(now, subdomains, &self.config));
                        }
                        domain.poll = None;
                        domain.reasons.clear();
                        proved.push((domain.id, domain.name.clone()));
                        Some(value)
                    }
                    Verdict::Invalid { reasons } => {
                        tracing::debug!(domain = domain.name, ?reasons, "no proof");
                        domain.reasons = reasons;
                        None
                    }
                }
            });
            let found = found.collect();
            for (id, name) in proved {
                state.emit("domain_validated", serde_json::json!({ "domain_id": id, "domain_name": name }), now);
            }
            found
        })
    }

    async fn look_once(&self, check: &Check) -> Verdict {
        let method = match check.method {
            DcvMethod::Email => return Verdict::Invalid { reasons: Vec::new() },
            DcvMethod::DnsTxtToken => va::Method::DnsTxt,
            DcvMethod::DnsCnameToken => va::Method::DnsCname,
            DcvMethod::HttpToken => va::Method::Http { file_name: "fileauth.txt".to_owned() },
            DcvMethod::HttpTokenDynamic => va::Method::Http { file_name: check.file.clone() },
        };
        if check.values.is_empty() {
            return Verdict::Invalid { reasons: vec!["random_value_expired".to_owned()] };
        }
        match self.faults.of_look(&check.name, false).and_then(LookFault::verdict) {
            Some(verdict) => verdict,
            None => self.validator.check(&check.name, &method, &check.values).await,
        }
    }

    /// Issues the order's open certificate if everything is in place.
    pub(crate) async fn settle(&self, order_id: u64) -> Settled {
        let names = self.write(|state, now| {
            let order = state.orders.get(&order_id)?;
            if !state.ready(order, now, &self.config) {
                return None;
            }
            let names = order.open()?.dns_names.clone();
            let order = state.orders.get_mut(&order_id)?;
            let since = *order.ready_since.get_or_insert(now);
            (self.issue_time(since) <= now).then_some(names)
        });
        let Some(names) = names else { return Settled::Waiting };
        if let Err((name, reason)) = self.caa(order_id, &names).await {
            return Settled::CaaRefused { name, reason };
        }
        self.write(|state, now| self.issue(state, order_id, now))
    }

    fn issue_time(&self, ready_since: Timestamp) -> Timestamp {
        later(ready_since, self.config.issue_delay().as_secs().try_into().unwrap_or(i64::MAX))
    }

    async fn caa(&self, order_id: u64, names: &[String]) -> Result<(), (String, String)> {
        let mut looks = Vec::with_capacity(names.len());
        for name in names {
            looks.push(self.caa_of(name));
        }
        let verdicts: Vec<_> = stream::iter(looks).buffered(AT_ONCE).collect().await;
        let mut refused = None;
        let said = names.iter().zip(verdicts).map(|(name, verdict)| {
            let (text, wrong) = match verdict {
                None => ("CAA check is not called yet".to_owned(), false),
                Some(CaaVerdict::Allowed) => ("CAA check passed".to_owned(), false),
                Some(CaaVerdict::Forbidden { at, records }) => (
                    format!("CAA check failed: the records at {at} do not allow DigiCert: {}", records.join(", ")),
                    true,
                ),
                Some(CaaVerdict::Failed { reason }) => (format!("CAA check failed: {reason}"), true),
            };
            if wrong {
                refused.get_or_insert((name.clone(), text.clone()));
            }
            (name.clone(), text)
        });
        let said = said.collect();
        self.write(|state, _| {
            if let Some(order) = state.orders.get_mut(&order_id) {
                order.caa = said;
            }
        });
        refused.map_or(Ok(()), Err)
    }

    /// The CAA verdict for one ordered name; none if CAA is not looked at.
    async fn caa_of(&self, name: &str) -> Option<CaaVerdict> {
        let name = names::parse(name, self.config.switches.unlisted_suffixes).ok();
        let name = name.filter(|_| self.config.va.check_caa)?;
        Some(match self.faults.of_look(&name.fqdn, true) {
            Some(fault) => fault.caa(&name.fqdn),
            None => self.validator.caa(&name.fqdn, name.wildcard).await,
        })
    }

    /// Signs. Looks again whether the order is ready, for a look at the network lies between.
    fn issue(&self, state: &mut State, order_id: u64, now: Timestamp) -> Settled {
        let Some(order) = state.orders.get(&order_id).filter(|order| state.ready(order, now, &self.config)) else {
            return Settled::Waiting;
        };
        let (Some(certificate), Some(organization)) = (order.open(), state.organizations.get(&order.organization))
        else {
            return Settled::Waiting;
        };
        let Ok(csr) = ca::Csr::parse(&certificate.csr) else { return Settled::Waiting };
        let not_before = start_of_day(now);
        // The limits may have become shorter since the order.
        let private = self.config.product(&order.product).is_some_and(|product| product.private);
        let longest = if private { i64::MAX } else { longest_public(now) };
        let not_after = later(days_later(not_before, certificate.days.min(longest)), -1).min(certificate.latest_end);
        let registration = organization.id.to_string();
        let issued = self.authority.issuing_with(&certificate.ca).issue(&ca::IssueRequest {
            csr: &csr,
            subject: ca::Subject {
                common_name: &certificate.common_name,
                organization: &organization.name,
                city: &organization.city,
                state: &organization.state,
                country: &organization.country,
            },
            dns_names: &certificate.dns_names,
            not_before,
            not_after,
            signature_hash: &certificate.signature_hash,
            server_auth_only: !certificate.client_auth,
            extended: (order.validation == Validation::Ev)
                .then_some(ca::Extended { registration_number: &registration, jurisdiction: &organization.country }),
        });
        let issued = match issued {
            Ok(issued) => issued,
            Err(error) => {
                tracing::error!(order = order_id, %error, "signing failed");
                return Settled::Waiting;
            }
        };
        let (id, kind) = (certificate.id, certificate.kind);
        let Some(order) = state.orders.get_mut(&order_id) else { return Settled::Waiting };
        if let Some(certificate) = order.certificates.iter_mut().find(|certificate| certificate.id == id) {
            "issued".clone_into(&mut certificate.status);
            certificate.issued = Some(Issue {
                pem: issued.leaf_pem,
                serial: issued.serial_number,
                thumbprint: issued.thumbprint,
                not_before,
                not_after,
                at: now,
            });
        }
        if kind == Kind::Reissue {
            order.sentence(id, now);
        }
        if kind != Kind::Duplicate {
            order.primary = Some(id);
        }
        order.before = None;
        order.ready_since = None;
        order.set_status("issued", now);
        let issued = order.certificate(id).and_then(|one| Some((one.clone(), one.issued.clone()?)));
        if let Some((certificate, issue)) = issued {
            state.emit_issued(order_id, id, || crate::api::chain_of(self, &certificate, &issue), now);
        }
        Settled::Issued
    }

    /// Looks by itself, on the schedule and whenever woken, as long as the sandbox lives.
    pub(crate) async fn run(self: Arc<Self>) {
        loop {
            let wait = self.read(|state, now| self.until_next(state, now));
            tokio::select! {
                () = self.wake.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
            let (checks, ready) = self.write(|state, now| {
                state.end_due(now);
                let due: Vec<u64> = state
                    .domains
                    .values()
                    .filter(|domain| domain.poll.is_some_and(|poll| poll.next <= now))
                    .map(|domain| domain.id)
                    .collect();
                for id in &due {
                    if let Some(domain) = state.domains.get_mut(id) {
                        domain.poll = domain.poll.and_then(|poll: Poll| poll.after(now));
                    }
                }
                let checks: Vec<Check> =
                    due.into_iter().filter_map(|id| Self::check_of_domain(state, id, now)).collect();
                let ready = state.orders.values().any(|order| state.ready(order, now, &self.config));
                (checks, ready)
            });
            if checks.is_empty() && !ready {
                self.deliver_hooks();
                continue;
            }
            self.look(checks).await;
            self.settle_all().await;
            self.deliver_hooks();
            self.save().await;
        }
    }

    /// Moves on every order that has what it needs.
    pub(crate) async fn settle_all(&self) {
        let ready: Vec<u64> = self.read(|state, now| {
            let ready = state.orders.values().filter(|order| state.ready(order, now, &self.config));
            ready.map(|order| order.id).collect()
        });
        for id in ready {
            self.settle(id).await;
        }
    }

    fn until_next(&self, state: &State, now: Timestamp) -> Duration {
        let polls = state.domains.values().filter_map(|domain| domain.poll).map(|poll| poll.next);
        let delays = state.orders.values().filter_map(|order| order.ready_since).map(|since| self.issue_time(since));
        // An order that CAA holds back is tried again now and then.
        let sentenced = state.orders.values().flat_map(|order| &order.certificates).filter_map(|one| one.revoke_at);
        let ends = state.orders.values().filter(|order| order.can_expire()).map(|order| order.valid_till);
        let next =
            polls.chain(delays.filter(|at| *at > now)).chain(sentenced).chain(ends).min().unwrap_or(Timestamp::MAX);
        let wait = next.as_millisecond().saturating_sub(now.as_millisecond()).max(0);
        Duration::from_millis(wait.unsigned_abs()).div_f64(self.clock.speed()).clamp(SOON, LATE)
    }
}
