//! Waiting for others: where the order stands, who must act, and what the CA says next.

use certcentral::{
    CertificateId, CertificateStatus, Client, DcvEmail, DcvMethod, Domain, DomainId, IssuedCopy, Moment, Order,
    OrderId, OrderStatus, OrderValidation, RequestId, RequestStatus, ValidationStatus,
};
use jiff::{SignedDuration, Timestamp};
use tokio::time::{Duration, Instant, sleep, sleep_until};

use super::worker::{Progress, Worker};
use crate::{
    error::{Error, Result},
    event::Event,
    key::Csr,
    name::DnsName,
    request::Purpose,
    state::{Actor, Entry, Waiting},
};

/// How long before a run its reissue may seem to have been made: for clocks, and for dates without a time in a zone that is not
/// ours.
const EARLIER: SignedDuration = SignedDuration::from_hours(48);

/// After so many ticks a domain that the CA shows as open is proved anew: right after a check its list may be behind.
const BEHIND: u32 = 4;
/// What the CA needs to issue, as a rule, when everything is there.
const ISSUANCE: Duration = Duration::from_secs(60);
/// How old the word on whom a run waits for may be before it is written down again.
const SAID_AGAIN: SignedDuration = SignedDuration::from_hours(6);

impl Worker<'_> {
    /// Waits for approval, people, organization validation or issuance.
    pub(super) async fn follow(&mut self) -> Result<Progress> {
        self.place = None;
        if !self.run.request.purpose.has_certificate() {
            return self.follow_domains().await;
        }
        if let Some(id) = self.run.request_id.filter(|_| self.run.needs_approval)
            && self.run.request.purpose.of_order().is_some()
        {
            return self.follow_request(id).await;
        }
        let order_id = self.order_id();
        let looked = Instant::now();
        let order = self.dcv.client.order_with_caa_status(order_id).await?;
        let known = order.status.clone();
        let had = (self.run.needs_approval, self.run.end.is_some());
        self.take_status(&order.status, order.certificate.as_ref().and_then(|c| c.id)).await?;
        if self.run.certificate_id.is_some() || had != (self.run.needs_approval, self.run.end.is_some()) {
            return Ok(Progress::Made);
        }
        let validation = validation_of(&self.dcv.client, &order).await?;
        let waiting = who_must_act(&self.dcv.client, &order, &validation, &self.run.request.order.dcv_emails).await;
        self.wait_for(waiting.clone()).await?;
        let mut deadline = self.deadline_for(&waiting);
        if waiting.on == Actor::DomainValidation {
            let due = *self.reopened.get_or_insert(looked) + self.dcv.settings.tick * BEHIND;
            if due <= looked {
                self.reopened = None;
                return self.challenge_by(&validation).await;
            }
            deadline = deadline.min(due);
        } else {
            self.reopened = None;
        }
        match self.dcv.follower.changed(&self.dcv.client, order_id, &known, looked, deadline).await {
            Ok(Some(change)) => self.take_status(&change.status, change.certificate_id).await,
            Ok(None) if deadline < self.deadline_for(&waiting) => Ok(Progress::Made),
            Ok(None) => Ok(Progress::Blocked(waiting)),
            Err(error) if Instant::now() < deadline && !error.is_auth() => {
                self.tell(&Event::Trouble { message: error.to_string() });
                sleep(self.dcv.settings.tick).await;
                Ok(Progress::Made)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Says whom the run waits for, and keeps it where it is new, or so old that nobody would know when it was looked at last.
    async fn wait_for(&mut self, waiting: Waiting) -> Result<()> {
        let known = self.run.waiting.as_ref() == Some(&waiting);
        if !known || Timestamp::now().duration_since(self.run.last) > SAID_AGAIN {
            self.record(Entry::Waiting(waiting.clone())).await?;
        }
        self.tell(&Event::Waiting(waiting));
        Ok(())
    }

    /// When our patience with these ends.
    fn deadline_for(&self, waiting: &Waiting) -> Instant {
        let patience = match waiting.on {
            Actor::Issuance => self.dcv.settings.people.max(ISSUANCE),
            _ if waiting.is_for_the_ca_to_tell() => self.dcv.settings.people,
            _ => return self.deadline,
        };
        self.began.checked_add(patience).map_or(self.deadline, |end| end.min(self.deadline))
    }

    /// Sleeps until the next look is due. `false`: our patience ends before.
    async fn tick(&self, waiting: &Waiting) -> bool {
        let (next, deadline) = (Instant::now() + self.dcv.settings.tick, self.deadline_for(waiting));
        sleep_until(next.min(deadline)).await;
        next <= deadline
    }

    /// Waits until somebody has decided on the request of a reissue or a duplicate, of which the order's status says nothing.
    async fn follow_request(&mut self, id: RequestId) -> Result<Progress> {
        let purpose = self.run.request.purpose.name();
        let waiting = Waiting {
            on: Actor::Approver,
            what: format!(
                "request {id}, the {purpose} of order {}, has to be approved (`dcv request approve {id}`)",
                self.order_id()
            ),
        };
        self.wait_for(waiting.clone()).await?;
        loop {
            let request = self.dcv.client.request(id).await?;
            match request.status {
                RequestStatus::Approved => {
                    self.record(Entry::Approved).await?;
                    return Ok(Progress::Made);
                }
                RequestStatus::Rejected => {
                    let comment = request.processor_comment.map(|text| format!(": {text}")).unwrap_or_default();
                    self.record(Entry::Failed { reason: format!("request {id} was rejected{comment}") }).await?;
                    return Ok(Progress::Made);
                }
                _ if self.tick(&waiting).await => {}
                _ => return Ok(Progress::Blocked(waiting)),
            }
        }
    }

    /// Waits until people have shown control of domains that no order is for.
    async fn follow_domains(&mut self) -> Result<Progress> {
        let open: Vec<(String, Option<DomainId>)> =
            self.run.open_challenges().map(|c| (c.domain.clone(), c.domain_id)).collect();
        let Purpose::Domains { types, until, .. } = self.run.request.purpose.clone() else { return Ok(Progress::Made) };
        let mut accepted = Vec::new();
        let mut asked = Vec::new();
        for (domain, id) in open {
            let Some(id) = id else { continue };
            let info = self.dcv.client.domain_with_validation(id).await?;
            if types.iter().all(|one| is_proved(&info, one, until)) {
                accepted.push(domain);
            } else {
                asked.push(mail_for(&self.dcv.client, &domain, Some(id), &[]).await);
            }
        }
        if !accepted.is_empty() {
            self.record(Entry::Accepted { domains: accepted.clone() }).await?;
            for domain in accepted {
                self.tell(&Event::Accepted { domain });
            }
        }
        if asked.is_empty() {
            return Ok(Progress::Made);
        }
        let waiting = Waiting { on: Actor::Mailbox, what: asked.join("; ") };
        self.wait_for(waiting.clone()).await?;
        if self.tick(&waiting).await { Ok(Progress::Made) } else { Ok(Progress::Blocked(waiting)) }
    }

    /// The reissue or duplicate that is ours: by its number where the answer told it, else by its key.
    pub(super) async fn our_copy(&self, order_id: OrderId) -> Result<Option<IssuedCopy>> {
        let client = &self.dcv.client;
        let copies = match self.run.request.purpose {
            Purpose::Duplicate { .. } => client.duplicates(order_id).await?,
            _ => client.reissues(order_id).await?,
        };
        let csr = self.run.request.csr()?;
        let of_our_key = |copy: &&IssuedCopy| {
            let theirs = copy.csr.as_deref().and_then(|pem| Csr::from_pem(pem).ok());
            theirs.is_some_and(|theirs| theirs.spki() == csr.spki())
        };
        // A key may serve again and again; what was there before this run, or is for other names, is not of it.
        let earlier = |copy: &&IssuedCopy| {
            let created = copy.date_created.as_ref().and_then(Moment::timestamp);
            created.is_some_and(|created| created < self.run.began - EARLIER)
        };
        let of_our_names = |copy: &&IssuedCopy| {
            let has = |name: &DnsName| copy.dns_names.iter().any(|one| one.eq_ignore_ascii_case(name.as_str()));
            copy.dns_names.is_empty() || self.run.request.names.iter().all(has)
        };
        let ours = match self.run.asked_for {
            Some(id) => copies.iter().find(|copy| copy.id == id),
            None => copies.iter().filter(of_our_key).filter(of_our_names).find(|copy| !earlier(copy)),
        };
        Ok(ours.cloned())
    }

    /// Takes in where a reissue or a duplicate stands. The order's own status speaks of the certificate before it, too.
    async fn take_copy(
        &mut self,
        order_status: &OrderStatus,
        certificate_id: Option<CertificateId>,
    ) -> Result<Progress> {
        let order_id = self.order_id();
        let asked_for = self.run.asked_for;
        // An order stays issued while a duplicate of it is not.
        let tells = matches!(self.run.request.purpose, Purpose::Reissue { .. });
        if tells && *order_status == OrderStatus::Issued && asked_for.is_some() && certificate_id == asked_for {
            return self.issued(asked_for).await;
        }
        let copy = self.our_copy(order_id).await?;
        let purpose = self.run.request.purpose.name();
        match copy.as_ref().map(|copy| (&copy.status, copy.id)) {
            Some((CertificateStatus::Issued, id)) => return self.issued(Some(id)).await,
            Some((
                status @ (CertificateStatus::Rejected | CertificateStatus::Revoked | CertificateStatus::Expired),
                _,
            )) => {
                let reason = format!("the {purpose} of order {order_id} is {status}; see its notes in CertCentral");
                self.record(Entry::Failed { reason }).await?;
            }
            Some((CertificateStatus::Canceled, _)) => return self.canceled().await,
            // Not listed: then the order's own certificate may be ours already.
            None if *order_status == OrderStatus::Issued => {
                let order = self.dcv.client.order(order_id).await?;
                let csr = self.run.request.csr()?;
                if let Some(certificate) = order.certificate
                    && certificate
                        .csr
                        .as_deref()
                        .and_then(|pem| Csr::from_pem(pem).ok())
                        .is_some_and(|c| c.spki() == csr.spki())
                    && certificate.id.is_some()
                    && asked_for.is_none_or(|asked| Some(asked) == certificate.id)
                {
                    return self.issued(certificate.id).await;
                }
            }
            Some(_) | None => {}
        }
        match order_status {
            OrderStatus::Canceled => self.canceled().await,
            OrderStatus::Revoked | OrderStatus::Expired | OrderStatus::Rejected => {
                let reason = format!("order {order_id} is {order_status}; nothing can be issued for it any more");
                self.record(Entry::Failed { reason }).await?;
                Ok(Progress::Made)
            }
            _ => Ok(Progress::Made),
        }
    }

    async fn issued(&mut self, certificate_id: Option<CertificateId>) -> Result<Progress> {
        let certificate_id = match certificate_id {
            Some(id) => Some(id),
            None => self.dcv.client.order(self.order_id()).await?.certificate.and_then(|c| c.id),
        };
        let Some(certificate_id) = certificate_id else {
            return Err(Error::Certificate(format!(
                "order {} is issued, but CertCentral names no certificate for it",
                self.order_id()
            )));
        };
        self.record(Entry::Issued { certificate_id }).await?;
        self.tell(&Event::Issued { certificate_id: Some(certificate_id) });
        Ok(Progress::Made)
    }

    async fn canceled(&mut self) -> Result<Progress> {
        let reason = self.run.canceling.clone().unwrap_or_else(|| "by somebody else, in CertCentral".to_owned());
        self.record(Entry::Canceled { reason }).await?;
        Ok(Progress::Made)
    }

    /// Takes in what the CA says the order's status is.
    pub(super) async fn take_status(
        &mut self,
        status: &OrderStatus,
        certificate_id: Option<CertificateId>,
    ) -> Result<Progress> {
        if self.run.request.purpose.of_order().is_some() {
            return self.take_copy(status, certificate_id).await;
        }
        match status {
            OrderStatus::Issued => return self.issued(certificate_id).await,
            OrderStatus::Rejected | OrderStatus::Revoked | OrderStatus::Expired => {
                let reason = format!("order {} is {status}; see its notes in CertCentral", self.order_id());
                self.record(Entry::Failed { reason }).await?;
            }
            OrderStatus::Canceled => return self.canceled().await,
            OrderStatus::NeedsApproval => {}
            _ if self.run.needs_approval => self.record(Entry::Approved).await?,
            _ => {}
        }
        Ok(Progress::Made)
    }

    pub(super) async fn blocked(&mut self, waiting: Waiting) -> Result<Progress> {
        self.wait_for(waiting.clone()).await?;
        Ok(Progress::Blocked(waiting))
    }
}

/// Whether an order of this status may still come to a certificate.
pub(super) fn is_open(status: &OrderStatus) -> bool {
    !matches!(
        status,
        OrderStatus::Issued
            | OrderStatus::Expired
            | OrderStatus::Revoked
            | OrderStatus::Rejected
            | OrderStatus::Canceled
    )
}

/// Whether the CA has accepted the control of a domain for this type, and for as long as was asked for: an earlier validation may live on
/// while it is renewed.
fn is_proved(domain: &Domain, validation_type: &str, until: Timestamp) -> bool {
    domain.validated_until(validation_type).is_some_and(|end| end >= until)
        || domain.validations.iter().any(|validation| {
            let done = validation.dcv_status.as_ref().unwrap_or(&validation.status).is_validated();
            let lives = validation.validated_until.as_ref().and_then(Moment::timestamp).is_none_or(|end| end >= until);
            validation.validation_type.eq_ignore_ascii_case(validation_type) && done && lives
        })
}

/// What an order waits for at its domains and its organization, as far as it is validated yet.
pub(super) async fn validation_of(client: &Client, order: &Order) -> certcentral::Result<OrderValidation> {
    match order.status {
        OrderStatus::NeedsApproval | OrderStatus::NeedsCsr => Ok(OrderValidation::default()),
        _ => client.order_validation(order.id).await,
    }
}

/// Who must act before an order is issued, from what the CA says about it. `chosen` are the addresses that the order named for mails.
pub(super) async fn who_must_act(
    client: &Client,
    order: &Order,
    validation: &OrderValidation,
    chosen: &[DcvEmail],
) -> Waiting {
    let id = order.id;
    if order.status == OrderStatus::NeedsApproval {
        let request = order.requests.iter().find(|request| request.is_open());
        let how =
            request.map(|request| format!(": request {0}, `dcv request approve {0}`", request.id)).unwrap_or_default();
        return Waiting { on: Actor::Approver, what: format!("order {id} has to be approved in CertCentral{how}") };
    }
    if order.status == OrderStatus::NeedsCsr {
        return Waiting { on: Actor::Approver, what: format!("order {id} wants a CSR, in CertCentral") };
    }
    let open: Vec<_> = validation.dns_name_validations.iter().filter(|domain| !domain.status.is_validated()).collect();
    let by_mail =
        |method: Option<&DcvMethod>| method.or(validation.order_dcv_method.as_ref()) == Some(&DcvMethod::Email);
    let mut mails = Vec::new();
    for domain in open.iter().filter(|domain| by_mail(domain.method.as_ref())) {
        let name = domain.name_scope.as_deref().or(domain.dns_names.first().map(String::as_str)).unwrap_or_default();
        mails.push(mail_for(client, name, domain.domain_id, chosen).await);
    }
    if !mails.is_empty() {
        return Waiting { on: Actor::Mailbox, what: format!("{}; order {id}", mails.join("; ")) };
    }
    if !open.is_empty() {
        let names: Vec<&str> = open.iter().filter_map(|domain| domain.name_scope.as_deref()).collect();
        let what = format!("control of {} is not shown yet; order {id}", names.join(", "));
        return Waiting { on: Actor::DomainValidation, what };
    }
    let organization = validation.organization_name.as_deref().unwrap_or("the organization");
    let pending: Vec<_> = validation.organization_validations.iter().filter(|v| !v.status.is_validated()).collect();
    let contacts: Vec<String> = pending
        .iter()
        .flat_map(|validation| &validation.verified_contacts)
        .filter(|contact| contact.status.as_ref().is_some_and(|status| *status == ValidationStatus::Pending))
        .map(ToString::to_string)
        .collect();
    let called = if contacts.is_empty() {
        "or calls its contact".to_owned()
    } else {
        format!("and has to hear from {}", contacts.join(", "))
    };
    let types: Vec<&str> = pending.iter().map(|v| v.name.as_deref().unwrap_or(v.validation_type.as_str())).collect();
    if !types.is_empty() {
        let what = format!("{organization} ({}): DigiCert validates it, {called}; order {id}", types.join(", "));
        return Waiting { on: Actor::OrganizationValidation, what };
    }
    let caa: Vec<String> =
        order.caa_status_message.iter().map(|(domain, text)| format!("CAA of {domain}: {text}")).collect();
    let caa = if caa.is_empty() { String::new() } else { format!(" ({})", caa.join("; ")) };
    Waiting { on: Actor::Issuance, what: format!("order {id} is {}; all names are proved{caa}", order.status) }
}

/// Whose mail has a link that shows control of a domain.
async fn mail_for(client: &Client, domain: &str, id: Option<DomainId>, chosen: &[DcvEmail]) -> String {
    let to = chosen.iter().filter(|one| one.email_domain == domain || one.dns_name == domain);
    let mut addresses: Vec<String> = to.map(|one| one.email.clone()).collect();
    if let (true, Some(id)) = (addresses.is_empty(), id) {
        // Where the CA does not say, the constructed addresses are what is left.
        let emails = client.domain_emails(id).await.unwrap_or_default();
        addresses = emails.base_emails.into_iter().chain(emails.dns_txt_emails).collect();
    }
    if addresses.is_empty() {
        addresses.push(format!("admin, administrator, webmaster, hostmaster or postmaster at {domain}"));
    }
    format!("{domain}: open the link in DigiCert's mail to {}", addresses.join(", "))
}
