//! Proving control: which domains are open, by which values, shown where, and accepted when.

use std::time::Duration;

use certcentral::{
    DcvCheck, DcvMethod, Domain, DomainId, DomainToken, NewDomain, OrderStatus, OrderValidation, OrganizationId,
    TokenCheck,
};
use dcv_provider::Proof;
use futures_util::future;
use jiff::Timestamp;
use tokio::time::{Instant, sleep};

use super::{
    Verb, jittered,
    worker::{Progress, Worker},
};
use crate::{
    error::{Error, Result},
    event::Event,
    placement::{self, Method},
    propagation,
    request::{Purpose, TokenSource},
    state::{self, Actor, Challenge, Entry, Tidying, Waiting},
};

/// Up to this many open domains are asked for their own random values, at a call each; beyond that
/// [`TokenSource::Auto`] takes the order's value.
const DOMAIN_VALUES_UP_TO: usize = 10;
/// After this long without becoming visible, proofs are presented once more.
const REPRESENT_AFTER: Duration = Duration::from_secs(20);
/// Of so many checks without success, the second is followed by a question for the values.
const ASK_VALUES_EVERY: u32 = 3;

/// A domain that the CA wants proved.
pub(super) struct Open {
    name: String,
    id: Option<DomainId>,
    names: Vec<String>,
    /// Its value, where that came unasked.
    value: Option<Value>,
}

impl Open {
    fn named(name: String, id: Option<DomainId>, names: Vec<String>) -> Self {
        Self { name, id, names, value: None }
    }
}

/// A random value.
#[derive(Clone)]
pub(super) struct Value {
    text: String,
    expires: Option<Timestamp>,
    /// The file that the CA wants it in.
    file: Option<String>,
}

impl From<DomainToken> for Value {
    fn from(token: DomainToken) -> Self {
        Self {
            text: token.token,
            expires: token.expiration_date.and_then(|date| date.timestamp()),
            file: token.http_token_url.as_deref().and_then(placement::file_path),
        }
    }
}

impl Worker<'_> {
    /// Asks which domains are open, and for the values that prove them.
    pub(super) async fn challenge(&mut self) -> Result<Progress> {
        let request = &self.run.request;
        let open = if let Purpose::Domains { organization, types, until } = &request.purpose {
            let known = self.known_domains().await?;
            let submitted = request.names.iter().map(async |name| {
                let known = known.iter().find(|domain| domain.name.as_deref() == Some(name.as_str()));
                self.submit(name.as_str(), known, *organization, types, *until).await
            });
            future::try_join_all(submitted).await?.into_iter().flatten().collect()
        } else {
            self.open_domains(&self.dcv.client.order_validation(self.order_id()).await?)
        };
        self.challenged(open).await
    }

    /// Proves what the CA shows as open by now, whatever it said before.
    pub(super) async fn challenge_by(&mut self, validation: &OrderValidation) -> Result<Progress> {
        let open = self.open_domains(validation);
        self.challenged(open).await
    }

    async fn challenged(&mut self, open: Vec<Open>) -> Result<Progress> {
        let challenges = self.challenges_for(open).await?;
        let open: Vec<String> = challenges.iter().map(|challenge| challenge.domain.clone()).collect();
        let proved: Vec<&String> = challenges.iter().flat_map(|challenge| &challenge.names).collect();
        let validated = self.names().into_iter().filter(|name| !proved.contains(&name)).collect();
        self.record(Entry::Challenged { challenges }).await?;
        self.tell(&Event::Challenged { open, validated });
        Ok(Progress::Made)
    }

    /// The values of open domains, and what has to be shown for them.
    async fn challenges_for(&self, open: Vec<Open>) -> Result<Vec<Challenge>> {
        let request = &self.run.request;
        let (method, placement) = (request.method, request.placement);
        let ask_domains = match request.tokens {
            TokenSource::Domain => true,
            TokenSource::Order => false,
            // Only a domain's own value comes with the name of a file.
            TokenSource::Auto => open.len() <= DOMAIN_VALUES_UP_TO || method == Method::HttpTokenDynamic,
        };
        // The budget of calls decides how many of these are really made at once.
        let own = open.iter().map(async |domain| match (&domain.value, domain.id) {
            (Some(value), _) => Ok(Some(value.clone())),
            (None, Some(id)) if ask_domains && method != Method::Email => self.domain_value(id).await,
            _ => Ok(None),
        });
        let own: Vec<Option<Value>> = future::try_join_all(own).await?;
        let mut order_value: Option<Value> = None;
        let mut challenges = Vec::with_capacity(open.len());
        for (domain, own) in open.into_iter().zip(own) {
            let (proof, expires) = if method == Method::Email {
                (None, None)
            } else {
                let value = match (own, &order_value) {
                    (Some(own), _) => own,
                    (None, Some(known)) => known.clone(),
                    (None, None) => order_value.insert(self.order_value(&domain.name).await?).clone(),
                };
                let unfit = |why: String| Error::Ended(format!("{}: {why}", domain.name));
                placement::check_value(method, &value.text).map_err(unfit)?;
                let file = match (method, value.file) {
                    (Method::HttpTokenDynamic, None) => {
                        return Err(unfit("the CA names no file for it; use http-token".to_owned()));
                    }
                    (Method::HttpTokenDynamic, Some(file)) => file,
                    _ => placement::FILE_PATH.to_owned(),
                };
                (placement.proof_in(method, &domain.name, &value.text, &file), value.expires)
            };
            challenges.push(Challenge {
                proof,
                domain: domain.name,
                domain_id: domain.id,
                names: domain.names,
                expires,
            });
        }
        Ok(challenges)
    }

    /// Asks for the values of the open domains once more. `true`: some are others now, and their proofs are to be shown.
    async fn values_changed(&mut self) -> Result<bool> {
        let open =
            |challenge: &Challenge| Open::named(challenge.domain.clone(), challenge.domain_id, challenge.names.clone());
        let now = self.challenges_for(self.run.open_challenges().map(open).collect()).await?;
        if self.run.open_challenges().map(|challenge| &challenge.proof).eq(now.iter().map(|challenge| &challenge.proof))
        {
            return Ok(false);
        }
        let message = "the CA has other random values than those shown; showing the new ones".to_owned();
        self.tell(&Event::Trouble { message });
        self.record(Entry::Challenged { challenges: now }).await?;
        Ok(true)
    }

    /// A domain's own value: the present one while it lives long enough, else a new one. `None` where the domain is proved
    /// in another way than ours.
    async fn domain_value(&self, id: DomainId) -> Result<Option<Value>> {
        let info = self.dcv.client.domain(id).await?;
        let method = DcvMethod::from(self.run.request.method);
        if info.dcv_method.is_some_and(|of_domain| of_domain != method) {
            return Ok(None);
        }
        match info.dcv_token {
            Some(token) if !token.token.is_empty() && !token.is_ending(Timestamp::now(), state::RENEW_VALUE_BEFORE) => {
                Ok(Some(token.into()))
            }
            Some(token) if token.token.is_empty() => Ok(None),
            Some(_) => Ok(Some(self.dcv.client.new_domain_token(id).await?.into())),
            // A domain that is validated for itself has no value but one that is asked for.
            None if !self.run.request.purpose.has_certificate() => {
                Ok(Some(self.dcv.client.new_domain_token(id).await?.into()))
            }
            None => Ok(None),
        }
    }

    /// The order's own value and its end. The value of the order's answer is used while it is fresh, and asked for anew on
    /// later occasions, when it may have been replaced.
    async fn order_value(&self, domain: &str) -> Result<Value> {
        let Some(order_id) = self.run.order_id else {
            return Err(Error::Ended(format!(
                "{domain}: the CA gives no random value for it; look at it in CertCentral"
            )));
        };
        if let Some(text) = self.run.random_value.clone().filter(|_| self.run.challenges.is_none()) {
            let life = jiff::SignedDuration::from_hours(30 * 24);
            return Ok(Value { text, expires: Some(self.run.began + life), file: None });
        }
        let value = self.dcv.client.order_random_value(order_id).await?;
        let expires = value.expiration_date.and_then(|date| date.timestamp());
        Ok(Value { text: value.dcv_random_value, expires, file: None })
    }

    /// What the account knows of the domains that are to be validated, by one question for each or one for all.
    async fn known_domains(&self) -> Result<Vec<Domain>> {
        let client = &self.dcv.client;
        if self.run.request.names.len() > DOMAIN_VALUES_UP_TO {
            return Ok(client.all_domains(None).await?);
        }
        let each = self.run.request.names.iter().map(|name| client.domain_by_name(name.as_str()));
        Ok(future::try_join_all(each).await?.into_iter().flatten().collect())
    }

    /// Has a domain validated, and adds it to the account where it is new. `None`: it is validated for long enough.
    async fn submit(
        &self,
        name: &str,
        known: Option<&Domain>,
        organization: Option<OrganizationId>,
        types: &[String],
        until: Timestamp,
    ) -> Result<Option<Open>> {
        let (client, method) = (&self.dcv.client, DcvMethod::from(self.run.request.method));
        let types: Vec<&str> = types.iter().map(String::as_str).collect();
        let mut open = Open { name: name.to_owned(), id: None, names: vec![name.to_owned()], value: None };
        let Some(known) = known else {
            let Some(organization) = organization else {
                let message = format!("`{name}` is new to the account; say whose it is, by the organization's number");
                return Err(Error::request("organization", message));
            };
            let added = client.add_domain(&NewDomain::new(name, organization, &types, method)).await?;
            open.id = Some(added.id);
            open.value = added.start.dcv_token.filter(|token| !token.token.is_empty()).map(Value::from);
            return Ok(Some(open));
        };
        if types.iter().all(|one| known.validated_until(one).is_some_and(|end| end >= until)) {
            return Ok(None);
        }
        client.submit_domain(known.id, &types, &method).await?;
        if known.dcv_method.as_ref().is_some_and(|of_domain| *of_domain != method) {
            let start = client.change_domain_dcv_method(known.id, &method, true).await?;
            open.value = start.dcv_token.filter(|token| !token.token.is_empty()).map(Value::from);
        }
        open.id = Some(known.id);
        Ok(Some(open))
    }

    /// The domains that the CA wants proved. Where the answer names none, the expected ones are.
    pub(super) fn open_domains(&self, validation: &OrderValidation) -> Vec<Open> {
        if validation.dns_name_validations.is_empty() {
            let mut open: Vec<Open> = Vec::new();
            for name in &self.run.request.names {
                let domain = self.run.request.domain_of(name, validation.order_name_scope.as_ref());
                match open.iter_mut().find(|known| known.name == domain) {
                    Some(known) => known.names.push(name.to_string()),
                    None => open.push(Open::named(domain.to_owned(), None, vec![name.to_string()])),
                }
            }
            return open;
        }
        let plain = |name: &str| name.trim_start_matches("*.").trim_end_matches('.').to_ascii_lowercase();
        let mut open: Vec<Open> = Vec::new();
        for entry in validation.dns_name_validations.iter().filter(|entry| !entry.status.is_validated()) {
            let (id, names) = (entry.domain_id, entry.dns_names.clone());
            match &entry.name_scope {
                // A file shows control of its own host only, whatever scope the CA groups the names by.
                Some(scope) if self.run.request.method.covers_subdomains() || names.is_empty() => {
                    open.push(Open::named(plain(scope), id, names));
                }
                _ => open.extend(names.into_iter().map(|name| Open::named(plain(&name), id, vec![name]))),
            }
        }
        open.retain(|domain| !domain.name.is_empty());
        open
    }

    pub(super) async fn present(&mut self, proofs: Vec<Proof>) -> Result<Progress> {
        self.dcv.router.group(&proofs)?;
        self.record(Entry::Presenting { proofs: proofs.clone() }).await?;
        if let Err(error) = self.dcv.each_provider(&proofs, Verb::Present).await {
            // Some may be out there all the same, and they would stay for as long as it takes to mend the cause. They stay on the list:
            // what was not answered in time may still be carried out, and whoever goes on takes it back.
            if let Err(error) = self.dcv.each_provider(&proofs, Verb::Retract).await {
                self.not_retracted(&proofs, &error);
            }
            return Err(error);
        }
        self.record(Entry::Presented).await?;
        for (route, group) in self.dcv.router.group(&proofs)? {
            for proof in group {
                self.tell(&Event::Presented { proof, provider: route.label.clone() });
            }
        }
        Ok(Progress::Made)
    }

    /// Waits until the open proofs show everywhere. Proofs that stay invisible are presented once more: another writer
    /// may have replaced the whole record set meanwhile.
    pub(super) async fn watch(&mut self) -> Result<Progress> {
        let open: Vec<(String, Proof)> =
            self.run.open_challenges().filter_map(|c| Some((c.domain.clone(), c.proof.clone()?))).collect();
        let proofs: Vec<Proof> = open.iter().map(|(_, proof)| proof.clone()).collect();
        let policy = &self.dcv.settings.propagation;
        let give_up = policy.give_up_after.min(self.deadline.saturating_duration_since(Instant::now()));
        let again = propagation::Policy { give_up_after: give_up.min(REPRESENT_AFTER), ..policy.clone() };
        let started = Instant::now();
        let verdict = loop {
            let observe = |verdict: &propagation::Verdict| self.tell(&Event::Observed { verdict: verdict.clone() });
            let verdict = propagation::wait_visible(&self.dcv.dns, &proofs, &again, observe).await;
            if verdict.all_visible() || started.elapsed() + again.give_up_after > give_up {
                break verdict;
            }
            self.place = None;
            self.dcv.each_provider(&proofs, Verb::Present).await?;
        };
        if !verdict.all_visible() {
            let what = verdict.summary();
            return self.blocked(Waiting { on: Actor::Propagation, what }).await;
        }
        self.record(Entry::Visible).await?;
        for (domain, _) in open {
            self.tell(&Event::Visible { domain });
        }
        Ok(Progress::Made)
    }

    /// Asks the CA to check all proofs; it may have issued by the time it answers.
    pub(super) async fn check(&mut self) -> Result<Progress> {
        let (accepted, check) = if self.run.request.purpose.has_certificate() {
            let check = self.dcv.client.check_order_dcv(self.order_id(), &[]).await?;
            let approved = |challenge: &&Challenge| {
                check.is_approved(&challenge.domain)
                    || (!challenge.names.is_empty() && challenge.names.iter().all(|name| check.is_approved(name)))
            };
            let accepted = self.run.open_challenges().filter(approved).map(|c| c.domain.clone()).collect();
            (accepted, check)
        } else {
            self.check_domains().await?
        };
        let accepted: Vec<String> = accepted;
        if !accepted.is_empty() {
            self.record(Entry::Accepted { domains: accepted.clone() }).await?;
            for domain in accepted {
                self.tell(&Event::Accepted { domain });
            }
        }
        if self.run.request.purpose.has_certificate() {
            let status = check.order_status.clone().unwrap_or(OrderStatus::Pending);
            self.take_status(&status, check.certificate_id).await?;
        }
        if self.run.certificate_id.is_some() || self.run.end.is_some() || self.run.open_challenges().next().is_none() {
            return Ok(Progress::Made);
        }
        self.checks += 1;
        // A value may have been replaced since, by hand in the console, say; the CA's answer does not tell.
        if self.checks % ASK_VALUES_EVERY == 2 && self.values_changed().await? {
            return Ok(Progress::Made);
        }
        // Everything showed to us and something did not to the CA: give its caches time, growing, within our patience.
        let pause = jittered(Duration::from_secs(1) * 2u32.saturating_pow(self.checks.min(6) - 1));
        if Instant::now() + pause > self.deadline {
            let open: Vec<&str> = self.run.open_challenges().map(|c| c.domain.as_str()).collect();
            let reason = check.reason().unwrap_or_else(|| "it sees no valid proof yet".to_owned());
            let what = format!("{} ({reason})", open.join(", "));
            return self.blocked(Waiting { on: Actor::DomainValidation, what }).await;
        }
        self.place = None;
        sleep(pause).await;
        Ok(Progress::Made)
    }

    /// Asks the CA to check each open domain for itself. The domains that it accepts, and why others are not.
    async fn check_domains(&self) -> Result<(Vec<String>, DcvCheck)> {
        let checks = self.run.open_challenges().map(async |challenge| {
            let Some(id) = challenge.domain_id else { return Ok((challenge, TokenCheck::default())) };
            Ok::<_, Error>((challenge, self.dcv.client.check_domain_token(id).await?))
        });
        let mut accepted = Vec::new();
        let mut all = DcvCheck::default();
        for (challenge, check) in future::try_join_all(checks).await? {
            if check.status.is_validated() && check.errors.is_empty() {
                accepted.push(challenge.domain.clone());
            }
            all.errors.extend(check.errors);
        }
        Ok((accepted, all))
    }

    /// Takes proofs back. A failure does not keep the certificate from its owner: it is told, and the run stays open.
    pub(super) async fn retract(&mut self, proofs: Vec<Proof>) -> Result<Progress> {
        match self.dcv.each_provider(&proofs, Verb::Retract).await {
            Ok(_) => {
                self.record(Entry::Retracted { proofs: proofs.clone() }).await?;
                for proof in proofs {
                    self.tell(&Event::Retracted { proof });
                }
            }
            Err(error) => {
                self.tidying = Tidying::Failed;
                self.not_retracted(&proofs, &error);
            }
        }
        Ok(Progress::Made)
    }

    fn not_retracted(&self, proofs: &[Proof], error: &Error) {
        let what = if proofs.len() == 1 { "a proof".to_owned() } else { format!("{} proofs", proofs.len()) };
        self.tell(&Event::Trouble { message: format!("{what} could not be taken back: {error}") });
    }
}
