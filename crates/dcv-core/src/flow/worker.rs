//! Works on one run: does what [`state::next`] says until nothing is left to do or somebody else has to act. Ordering is here;
//! proving, following and bringing home are in the modules beside.

use std::time::Duration;

use certcentral::{CertificateId, OrderId, OrderStatus, PlacedOrder, RequestId, RequestStatus};
use dcv_provider::Proof;
use jiff::Timestamp;
use tokio::{
    sync::SemaphorePermit,
    time::{Instant, sleep},
};
use tracing::Instrument as _;

use super::{Inner, Issued, Outcome, Validated, jittered};
use crate::{
    certificate::Chain,
    error::{Error, Result},
    event::Event,
    journal::Lease,
    request::Purpose,
    state::{self, End, Entry, Run, RunId, Step, Tidying, Waiting},
};

/// How a call of [`Worker::drive`] came to its end.
#[expect(clippy::large_enum_variant, reason = "one for each run")]
pub(super) enum Finished {
    Issued(Issued),
    Validated(Validated),
    Waiting(Waiting),
    Ended(End),
}

impl Finished {
    /// In a word, for logs and traces.
    fn word(&self) -> &'static str {
        match self {
            Self::Issued(_) => "issued",
            Self::Validated(_) => "validated",
            Self::Waiting(_) => "waiting",
            Self::Ended(End::Failed(_)) => "failed",
            Self::Ended(End::Canceled(_)) => "canceled",
        }
    }

    pub(super) fn outcome(self) -> Result<Outcome> {
        match self {
            Self::Issued(issued) => Ok(Outcome::Issued(issued)),
            Self::Validated(validated) => Ok(Outcome::Validated(validated)),
            Self::Waiting(waiting) => Ok(Outcome::Waiting(waiting)),
            Self::Ended(End::Failed(reason)) => Err(Error::Ended(reason)),
            Self::Ended(End::Canceled(reason)) => Err(Error::Ended(format!("the order was canceled: {reason}"))),
        }
    }
}

/// Whether a step leaves something to do.
pub(super) enum Progress {
    Made,
    /// Nobody but others can act before our patience ends.
    Blocked(Waiting),
}

/// Works on one run, holding its lease.
pub(super) struct Worker<'a> {
    pub(super) dcv: &'a Inner,
    pub(super) lease: Lease,
    pub(super) run: Run,
    pub(super) tidying: Tidying,
    /// When it was taken up.
    pub(super) began: Instant,
    /// When our patience ends.
    pub(super) deadline: Instant,
    /// Checks asked for in vain so far.
    pub(super) checks: u32,
    /// Since when the CA shows domains as open that were proved, or that it did not name before.
    pub(super) reopened: Option<Instant>,
    /// Given back as soon as others have to act, and not asked for again: what is left to do then is little, and should not wait
    /// behind what has not begun.
    pub(super) place: Option<SemaphorePermit<'a>>,
    /// What every line of the log and every span of the trace hangs on: the run, and its order once there is one.
    span: tracing::Span,
}

impl<'a> Worker<'a> {
    pub(super) fn new(dcv: &'a Inner, lease: Lease, run: Run, place: SemaphorePermit<'a>, span: tracing::Span) -> Self {
        let began = Instant::now();
        let deadline = began + dcv.settings.wait;
        Self {
            dcv,
            lease,
            run,
            tidying: Tidying::Possible,
            began,
            deadline,
            checks: 0,
            reopened: None,
            place: Some(place),
            span,
        }
    }

    /// Says that the work begins.
    pub(super) fn started(&self, resumed: bool) {
        self.tell(&Event::Started { names: self.names(), resumed, label: self.run.request.label.clone() });
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.run.request.names.iter().map(ToString::to_string).collect()
    }

    pub(super) fn tell(&self, event: &Event) {
        (self.dcv.observer)(&self.run.id, event);
    }

    /// Writes an entry to the journal and takes it in.
    pub(super) async fn record(&mut self, entry: Entry) -> Result<()> {
        self.dcv.journal.append(&self.lease, &entry).await?;
        self.run.apply(Timestamp::now(), &entry);
        if let Entry::Placed { order_id, .. } = entry {
            self.span.record("order", order_id.0);
        }
        Ok(())
    }

    /// Works until nothing is left to do or somebody else has to act.
    pub(super) async fn drive(&mut self) -> Result<Finished> {
        let span = self.span.clone();
        self.run.request.label.as_ref().map(|label| span.record("label", label));
        self.run.order_id.map(|id| span.record("order", id.0));
        let finished = self.steps().instrument(span.clone()).await;
        span.in_scope(|| match &finished {
            Ok(finished) => drop(span.record("outcome", finished.word())),
            Err(error) => {
                span.record("outcome", "failed");
                tracing::warn!(%error, "the run has stopped");
            }
        });
        finished
    }

    async fn steps(&mut self) -> Result<Finished> {
        loop {
            let step = state::next(&self.run, Timestamp::now(), self.tidying);
            tracing::debug!(?step, "next step");
            let Some(span) = span_of(&step) else { return self.finish() };
            match self.step(step).instrument(span).await {
                Ok(Progress::Made) => {}
                Ok(Progress::Blocked(waiting)) => return Ok(Finished::Waiting(waiting)),
                Err(error) => {
                    self.take_back(&error).await;
                    return Err(error);
                }
            }
        }
    }

    /// Where a certificate is issued and cannot be fetched or stored, its proofs are of no use any more, and would stay for as long as it
    /// takes to mend the cause. Whoever may not write to the journal does nothing.
    async fn take_back(&mut self, error: &Error) {
        let issued = self.run.certificate_id.is_some() || self.run.chain.is_some();
        let shown: Vec<Proof> = self.run.shown.iter().cloned().collect();
        if issued && !shown.is_empty() && self.tidying == Tidying::Possible && !matches!(error, Error::Journal(_)) {
            // What fails here is tried again by whoever goes on; the error that is told is the first.
            if let Err(error) = self.retract(shown).await {
                tracing::warn!(%error, "proofs stay");
            }
        }
    }

    async fn step(&mut self, step: Step) -> Result<Progress> {
        match step {
            Step::Place => self.place().await,
            Step::Find => self.find().await,
            Step::Cancel => self.cancel().await,
            Step::Challenge => self.challenge().await,
            Step::Present(proofs) => self.present(proofs).await,
            Step::Watch => self.watch().await,
            Step::Check => self.check().await,
            Step::Follow => self.follow().await,
            Step::Download => self.download().await,
            Step::Store => self.store().await,
            Step::Deploy => self.deploy().await,
            Step::Retract(proofs) => self.retract(proofs).await,
            Step::Close => {
                self.record(Entry::Closed).await?;
                Ok(Progress::Made)
            }
            Step::Rest => Ok(Progress::Made),
        }
    }

    pub(super) fn finish(&self) -> Result<Finished> {
        if let Some(end) = &self.run.end {
            return Ok(Finished::Ended(end.clone()));
        }
        let left_behind: Vec<Proof> = self.run.shown.iter().cloned().collect();
        if !self.run.request.purpose.has_certificate() {
            return Ok(Finished::Validated(Validated { domains: self.names(), left_behind }));
        }
        let pem = self.run.chain.as_deref().unwrap_or_default();
        let chain = Chain::from_pem(pem.as_bytes()).map_err(|e| Error::Certificate(e.to_string()))?;
        Ok(Finished::Issued(Issued { order_id: self.run.order_id, chain, left_behind }))
    }

    // ---- ordering

    pub(super) async fn place(&mut self) -> Result<Progress> {
        self.record(Entry::Placing).await?;
        let (client, request) = (&self.dcv.client, &self.run.request);
        let sent = match &request.purpose {
            Purpose::Reissue { order_id } => client.reissue(*order_id, &request.reissue_to_send()).await,
            Purpose::Duplicate { order_id } => client.duplicate(*order_id, &request.reissue_to_send()).await,
            Purpose::Order | Purpose::Domains { .. } => {
                client.place_order(&request.product, &request.order_to_send(Some(&self.run.id))).await
            }
        };
        match sent {
            Ok(placed) => self.placed(placed).await,
            Err(error) if error.outcome_unknown() => {
                self.tell(&Event::Trouble { message: error.to_string() });
                Ok(Progress::Made)
            }
            Err(error) => {
                self.record(Entry::Failed { reason: error.to_string() }).await?;
                self.record(Entry::Closed).await?;
                Err(error.into())
            }
        }
    }

    pub(super) async fn placed(&mut self, placed: PlacedOrder) -> Result<Progress> {
        let chain = match &placed.certificate_chain[..] {
            [] => None,
            chain => {
                let pem: String = chain.iter().map(|c| c.pem.as_str()).collect::<Vec<_>>().join("\n");
                match self.accept_certificate(pem.as_bytes()) {
                    Ok(chain) => Some(chain.fullchain_pem()),
                    Err(error) => {
                        self.tell(&Event::Trouble {
                            message: format!("the answer's certificate is set aside: {error}"),
                        });
                        None
                    }
                }
            }
        };
        let needs_approval = chain.is_none() && placed.needs_approval();
        let request_id = placed.requests.iter().find(|request| request.is_open()).map(|request| request.id);
        self.record(Entry::Placed {
            order_id: placed.id,
            certificate_id: placed.certificate_id,
            random_value: placed.dcv_random_value,
            needs_approval,
            request_id,
            chain,
        })
        .await?;
        self.tell(&Event::Placed { order_id: placed.id, found: false, within: self.within() });
        if self.run.chain.is_some() {
            self.tell(&Event::Issued { certificate_id: placed.certificate_id });
            self.tell_downloaded();
        }
        Ok(Progress::Made)
    }

    /// What is asked for where the order was there before.
    fn within(&self) -> Option<&'static str> {
        let purpose = &self.run.request.purpose;
        purpose.of_order().map(|_| purpose.name())
    }

    /// Looks for an order that may have been placed. Only when it has not turned up for as long as
    /// [`Settings::lookup_patience`](super::Settings::lookup_patience) does it count as never placed. That time is counted from
    /// here and not from the journal's, and the last look reaches back to the beginning: the clock may have been set since. So do all
    /// where it is seen to be wrong.
    pub(super) async fn find(&mut self) -> Result<Progress> {
        let since = self.run.placing_since.unwrap_or(self.run.began);
        let patience = self.dcv.settings.lookup_patience;
        let until = Instant::now() + patience;
        let message = format!(
            "it is not known whether the order got through; looking for up to {} s, and none is placed meanwhile",
            patience.as_secs()
        );
        self.tell(&Event::Trouble { message });
        let mut pause = Duration::from_millis(500);
        let found = loop {
            let last = Instant::now() >= until;
            let anytime = last || since > Timestamp::now() || self.dcv.client.clock_error().is_some();
            match self.look_for_it(if anytime { Timestamp::UNIX_EPOCH } else { since }).await {
                Ok(Some(found)) => break Some(found),
                Ok(None) if last => break None,
                Ok(None) => {}
                Err(error) if last && Instant::now() + pause > self.deadline => {
                    return Err(Error::OutcomeUnknown { run: self.run.id.clone(), cause: error.to_string() });
                }
                Err(error) => tracing::debug!(%error, "looking for the order"),
            }
            self.place = None;
            let pause_now = jittered(pause);
            sleep(if last { pause_now } else { pause_now.min(until - Instant::now()) }).await;
            pause = (pause * 2).min(Duration::from_secs(10));
        };
        // A wrong clock lets no day pass.
        let now = if self.dcv.client.clock_error().is_some() { since } else { Timestamp::now() };
        match found {
            Some(Found { order_id, status, certificate_id, request_id }) => {
                let needs_approval = status == OrderStatus::NeedsApproval || request_id.is_some();
                self.record(Entry::Placed {
                    order_id,
                    certificate_id,
                    random_value: None,
                    needs_approval,
                    request_id,
                    chain: None,
                })
                .await?;
                self.tell(&Event::Placed { order_id, found: true, within: self.within() });
                if needs_approval {
                    return Ok(Progress::Made);
                }
                self.take_status(&status, certificate_id).await
            }
            None => match self.run.canceling.clone() {
                Some(reason) => {
                    self.record(Entry::Canceled { reason }).await?;
                    Ok(Progress::Made)
                }
                None if self.run.may_be_sent_again(now) => self.place().await,
                None => Err(Error::OutcomeUnknown {
                    run: self.run.id.clone(),
                    cause: format!(
                        "it was sent {} times, each answer was lost and none is listed; a day later it counts as never placed",
                        self.run.sent
                    ),
                }),
            },
        }
    }

    /// An order has the id that we gave it. A reissue or a duplicate has nothing of ours but its key, which no other has.
    async fn look_for_it(&self, since: Timestamp) -> Result<Option<Found>> {
        let client = &self.dcv.client;
        let Some(order_id) = self.run.request.purpose.of_order() else {
            let common_name = self.run.request.names[0].to_string();
            let order = client.find_order_by_alternative_id(self.run.id.as_str(), &common_name, since).await?;
            return Ok(order.map(|order| Found {
                order_id: order.id,
                certificate_id: order.certificate.and_then(|certificate| certificate.id),
                status: order.status,
                request_id: None,
            }));
        };
        let Some(copy) = self.our_copy(order_id).await? else { return Ok(None) };
        let order = client.order(order_id).await?;
        // While the order's own status says nothing of it, an open request is what holds it up.
        let waits =
            copy.status == certcentral::CertificateStatus::Pending && order.status != OrderStatus::ReissuePending;
        let request_id = order.requests.iter().rfind(|request| waits && request.is_open()).map(|request| request.id);
        Ok(Some(Found { order_id, certificate_id: Some(copy.id), status: order.status, request_id }))
    }

    pub(super) async fn cancel(&mut self) -> Result<Progress> {
        let reason = self.run.canceling.clone().unwrap_or_default();
        if let Some(order_id) = self.run.order_id {
            match self.cancel_at_the_ca(order_id, &reason).await {
                Ok(None) => {}
                Ok(Some(progress)) => return Ok(progress),
                Err(error) => {
                    // What was not answered may be asked again; what was refused goes on as if nobody had asked.
                    let refused = match &error {
                        Error::Api(error) => {
                            !error.is_rate_limited()
                                && error.status().is_some_and(|status| (400..500).contains(&status) && status != 401)
                        }
                        error => matches!(error, Error::Ended(_)),
                    };
                    if refused {
                        self.record(Entry::NotCanceled { reason: error.to_string() }).await?;
                    }
                    return Err(error);
                }
            }
        }
        self.record(Entry::Canceled { reason }).await?;
        Ok(Progress::Made)
    }

    /// Cancels what was ordered. `Some`: it has come to another end meanwhile.
    async fn cancel_at_the_ca(&mut self, order_id: OrderId, reason: &str) -> Result<Option<Progress>> {
        let copy = self.run.request.purpose.of_order().is_some();
        let client = &self.dcv.client;
        // An order is canceled first and looked at where that fails. Of one that has issued before, only what is pending may be.
        let failed = if copy {
            let order = client.order(order_id).await?;
            if order.status == OrderStatus::ReissuePending {
                client.cancel_order(order_id, reason).await?;
                return Ok(None);
            }
            None
        } else {
            match client.cancel_order(order_id, reason).await {
                Ok(()) => return Ok(None),
                Err(error) if error.is_not_found() => return Ok(None),
                Err(error) => Some(error),
            }
        };
        let order = client.order(order_id).await?;
        if order.status == OrderStatus::NeedsApproval || (copy && self.run.needs_approval) {
            // Not an order yet, to CertCentral: its request is what can be taken back.
            let open = order.requests.iter().filter(|request| request.is_open()).map(|request| request.id);
            let ours: Vec<RequestId> = match self.run.request_id.filter(|_| copy) {
                Some(id) => vec![id],
                None => open.collect(),
            };
            for id in ours {
                client.set_request_status(id, &RequestStatus::Rejected, reason).await?;
            }
            return Ok(None);
        }
        if order.status == OrderStatus::Canceled {
            return Ok(None);
        }
        self.take_status(&order.status, order.certificate.as_ref().and_then(|c| c.id)).await?;
        if self.run.end.is_some() || self.run.certificate_id.is_some() {
            return Ok(Some(Progress::Made));
        }
        Err(failed.map_or_else(
            || Error::Ended(format!("the {} of order {order_id} cannot be canceled", self.run.request.purpose.name())),
            Error::from,
        ))
    }

    pub(super) fn order_id(&self) -> OrderId {
        self.run.order_id.expect("steps after ordering know the order")
    }
}

/// The span of a run: of the highest level, so that no filter which lets a line through drops what the line belongs to.
pub(super) fn span_of_run(id: &RunId) -> tracing::Span {
    use tracing::field::Empty;
    tracing::error_span!("run", run = %id, label = Empty, order = Empty, outcome = Empty)
}

/// The span of a step: its name is what traces call it. `None` where nothing is left to do.
fn span_of(step: &Step) -> Option<tracing::Span> {
    Some(match step {
        Step::Place => tracing::info_span!("order"),
        Step::Find => tracing::info_span!("find order"),
        Step::Cancel => tracing::info_span!("cancel"),
        Step::Challenge => tracing::info_span!("challenge"),
        Step::Present(proofs) => tracing::info_span!("proof", proofs = proofs.len()),
        Step::Watch => tracing::info_span!("propagation"),
        Step::Check => tracing::info_span!("check"),
        Step::Follow => tracing::info_span!("follow"),
        Step::Download => tracing::info_span!("download"),
        Step::Store => tracing::info_span!("store"),
        Step::Deploy => tracing::info_span!("deploy"),
        Step::Retract(proofs) => tracing::info_span!("retract", proofs = proofs.len()),
        Step::Close => tracing::info_span!("close"),
        Step::Rest => return None,
    })
}

/// What was found of an order whose answer was lost.
struct Found {
    order_id: OrderId,
    certificate_id: Option<CertificateId>,
    status: OrderStatus,
    request_id: Option<RequestId>,
}
