//! The flow: does what [`state::next`] says, one step after the other, until nothing is left to do or somebody else
//! has to act.
//!
//! Each step is a method of `Worker`, named by its verb. A step writes its intent to the journal before it acts where the
//! act can be seen outside, and its result afterwards; a crash between the two is found in the journal by the next process.

use std::{path::Path, sync::Arc, time::Duration};

use certcentral::{
    CertificateId, Client, DcvMethod, DownloadFormat, OrderId, OrderStatus, OrderValidation, PlacedOrder, RequestStatus,
};
use dcv_provider::{Place, Proof, ProviderError, Retry, dns::Dns};
use futures_util::future;
use jiff::Timestamp;
use rand::Rng;
use serde::Serialize;
use tokio::time::{Instant, sleep, timeout};

use crate::{
    certificate::{self, Chain},
    error::{Error, Result},
    event::{Event, Observer},
    follow::Follower,
    journal::{Journal, Lease, MemoryJournal, SqliteJournal, Stamped, Which},
    key::PrivateKey,
    placement, propagation,
    request::{Request, TokenSource},
    route::{Route, Router},
    state::{self, Actor, Challenge, End, Entry, Run, RunId, Step, Tidying, Waiting},
};

/// Up to this many open domains are asked for their own random values, at a call each; beyond that
/// [`TokenSource::Auto`] takes the order's value.
const DOMAIN_VALUES_UP_TO: usize = 10;
/// Stands in for a random value before there is one.
const PLACEHOLDER_VALUE: &str = "dcv-preflight-placeholder-value";

/// How patient the flow is.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long one call of [`Dcv::issue`] or [`Dcv::resume`] waits for others, all in all, before it returns
    /// [`Outcome::Waiting`]. Default 10 minutes.
    pub wait: Duration,
    /// Time between looks at the orders of the account, one call for all of them. Default 15 seconds.
    pub tick: Duration,
    /// How long a provider may take for one call. Default 60 seconds.
    pub provider_deadline: Duration,
    /// How often a provider is called when trying again can help. Default 4.
    pub provider_attempts: u32,
    /// How long an order whose answer was lost is looked for before it counts as never placed. Default 3 minutes: lists of
    /// orders may lag, and a second order costs money.
    pub lookup_patience: Duration,
    /// When a proof counts as visible.
    pub propagation: propagation::Policy,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            wait: Duration::from_secs(600),
            tick: Duration::from_secs(15),
            provider_deadline: Duration::from_secs(60),
            provider_attempts: 4,
            lookup_patience: Duration::from_secs(180),
            propagation: propagation::Policy::default(),
        }
    }
}

/// Brings certificates home. Cheap to clone; one for each API key, shared by all orders, so that they are followed by one
/// call per tick.
#[derive(Clone)]
pub struct Dcv {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    router: Router,
    journal: Arc<dyn Journal>,
    dns: Dns,
    settings: Settings,
    observer: Observer,
    follower: Follower,
}

/// Puts a [`Dcv`] together.
pub struct DcvBuilder {
    client: Client,
    router: Router,
    journal: Option<Arc<dyn Journal>>,
    journal_path: Option<std::path::PathBuf>,
    dns: Option<Dns>,
    settings: Settings,
    observer: Observer,
}

impl DcvBuilder {
    /// Uses one provider for every name.
    #[must_use]
    pub fn provider(self, provider: impl dcv_provider::DcvProvider + 'static) -> Self {
        self.router(Router::single(provider))
    }

    /// Chooses providers by name.
    #[must_use]
    pub fn router(mut self, router: Router) -> Self {
        self.router = router;
        self
    }

    /// Keeps the journal in a SQLite file. Without this or [`journal`](Self::journal) it is in memory, and a crash is not
    /// survived.
    #[must_use]
    pub fn journal_at(mut self, path: impl AsRef<Path>) -> Self {
        self.journal_path = Some(path.as_ref().to_owned());
        self
    }

    /// Keeps the journal elsewhere.
    #[must_use]
    pub fn journal(mut self, journal: Arc<dyn Journal>) -> Self {
        self.journal = Some(journal);
        self
    }

    /// Asks these name servers instead of the system's.
    #[must_use]
    pub fn dns(mut self, dns: Dns) -> Self {
        self.dns = Some(dns);
        self
    }

    /// Sets how patient the flow is.
    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Is told of every event.
    #[must_use]
    pub fn observer(mut self, observer: Observer) -> Self {
        self.observer = observer;
        self
    }

    /// Opens the journal and, where none were given, reads the system's resolvers.
    ///
    /// # Errors
    /// [`Error::Journal`], or [`Error::Request`] when the system's resolvers cannot be read.
    pub async fn build(self) -> Result<Dcv> {
        let journal: Arc<dyn Journal> = match (self.journal, self.journal_path) {
            (Some(journal), _) => journal,
            (None, Some(path)) => Arc::new(SqliteJournal::open(path).await?),
            (None, None) => Arc::new(MemoryJournal::default()),
        };
        let dns = match self.dns {
            Some(dns) => dns,
            None => Dns::system().map_err(|e| Error::request("dns.resolvers", e.to_string()))?,
        };
        let follower = Follower::new(self.client.clone(), self.settings.tick);
        Ok(Dcv {
            inner: Arc::new(Inner {
                client: self.client,
                router: self.router,
                journal,
                dns,
                settings: self.settings,
                observer: self.observer,
                follower,
            }),
        })
    }
}

/// What came of a run.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one for each run; a box would only be in its readers' way")]
pub enum Outcome {
    /// The certificate is here.
    Issued(Issued),
    /// Somebody else has to act. The order is placed, the run stays open; [`Dcv::resume`] goes on.
    Waiting(Waiting),
}

/// A certificate, checked against the request.
#[derive(Debug)]
pub struct Issued {
    /// The order's number.
    pub order_id: Option<OrderId>,
    /// Leaf and intermediates.
    pub chain: Chain,
    /// Proofs that could not be taken back; the run stays open, and [`Dcv::resume`] tries again.
    pub left_behind: Vec<Proof>,
}

/// What would be done, found out without changing anything.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// The domains that will probably have to be proved.
    pub domains: Vec<String>,
    /// Where proofs would go.
    pub places: Vec<PlannedPlace>,
    /// The order as it would be sent.
    pub order: certcentral::NewOrder,
    /// The product it would be sent to.
    pub product: String,
}

/// Where a proof would go.
#[derive(Clone, Debug, Serialize)]
pub struct PlannedPlace {
    /// The provider's name in the configuration.
    pub provider: String,
    /// The record or file.
    pub target: String,
    /// The zone, server or folder.
    pub within: String,
}

impl Dcv {
    /// Begins to put one together.
    pub fn builder(client: Client) -> DcvBuilder {
        DcvBuilder {
            client,
            router: Router::new(),
            journal: None,
            journal_path: None,
            dns: None,
            settings: Settings::default(),
            observer: Arc::new(|_, _| {}),
        }
    }

    /// Finds out what an order of this request would do: the request is checked, every provider is asked whether it could
    /// present the proofs. Nothing is ordered or written.
    ///
    /// # Errors
    /// Everything that would fail before an order is placed: [`Error::Request`], [`Error::Unroutable`],
    /// [`Error::Provider`].
    pub async fn plan(&self, request: &Request) -> Result<Plan> {
        request.check()?;
        let domains = self.routable(request).await?;
        let proofs: Vec<Proof> =
            domains.iter().map(|domain| request.placement.proof(request.method, domain, PLACEHOLDER_VALUE)).collect();
        let mut places = Vec::new();
        for (route, found) in self.inner.each_provider(&proofs, Verb::Preflight).await? {
            places.extend(found.into_iter().map(|place| PlannedPlace {
                provider: route.label.clone(),
                target: place.target,
                within: place.within,
            }));
        }
        Ok(Plan { domains, places, order: order_to_send(request, None), product: request.product.clone() })
    }

    /// The domains that will probably have to be proved. One that no provider serves is looked up in the account: when it is
    /// validated there for another day at least, nothing has to be proved, and nobody has to serve it.
    async fn routable(&self, request: &Request) -> Result<Vec<String>> {
        let mut domains = Vec::new();
        for domain in request.expected_domains() {
            match self.inner.router.find(domain, request.method.proof_kind()) {
                Ok(_) => domains.push(domain.to_owned()),
                Err(unroutable) => {
                    let soon = Timestamp::now() + jiff::SignedDuration::from_hours(24);
                    let page = self.inner.client.domains(Some(domain), 100, 0).await?;
                    if !page
                        .items
                        .iter()
                        .any(|known| known.name.as_deref() == Some(domain) && known.is_validated_at(soon))
                    {
                        return Err(unroutable);
                    }
                }
            }
        }
        Ok(domains)
    }

    /// Orders, proves, waits, fetches and tidies up. Everything that can be found wrong beforehand is found before the
    /// order is placed, as by [`plan`](Self::plan).
    ///
    /// # Errors
    /// After the order was placed, an error leaves the run open: mend the cause and [`resume`](Self::resume).
    pub async fn issue(&self, request: Request) -> Result<Outcome> {
        let plan = self.plan(&request).await?;
        let id = RunId::new(Timestamp::now());
        let entry = Entry::Planned { request: Box::new(request) };
        let lease = self.inner.journal.begin(&id, &entry).await?;
        let run = Run::fold(id, &[Stamped { at: Timestamp::now(), entry }]).expect("begins with Planned");
        let mut worker = Worker::new(&self.inner, lease, run);
        worker.tell(&Event::Started { names: worker.names(), resumed: false });
        let places = plan.places.iter().map(|p| format!("{} in {}", p.target, p.within)).collect();
        worker.tell(&Event::Checked { places });
        Box::pin(worker.drive()).await?.outcome()
    }

    /// Continues a run where an earlier process left it, whatever happened to that.
    ///
    /// # Errors
    /// As [`issue`](Self::issue); [`Error::Journal`] when there is no such run or somebody is working on it.
    pub async fn resume(&self, id: &RunId) -> Result<Outcome> {
        let (lease, run) = self.take_up(id).await?;
        let mut worker = Worker::new(&self.inner, lease, run);
        worker.tell(&Event::Started { names: worker.names(), resumed: true });
        Box::pin(worker.drive()).await?.outcome()
    }

    /// Cancels a run's order, if it was placed, and takes its proofs back.
    ///
    /// # Errors
    /// [`Error::Ended`] when the certificate is issued already: it can only be revoked.
    pub async fn cancel(&self, id: &RunId, reason: &str) -> Result<()> {
        let (lease, run) = self.take_up(id).await?;
        let mut worker = Worker::new(&self.inner, lease, run);
        if worker.run.end.is_none() && worker.run.chain.is_none() {
            worker.record(Entry::Canceling { reason: reason.to_owned() }).await?;
        }
        match Box::pin(worker.drive()).await? {
            Finished::Ended(End::Canceled(_)) => Ok(()),
            Finished::Ended(End::Failed(reason)) => Err(Error::Ended(reason)),
            Finished::Issued(_) => Err(Error::Ended(format!(
                "run {id} cannot be canceled: its certificate is issued; revoke it if it is not wanted"
            ))),
            Finished::Waiting(waiting) => Err(Error::Waiting(waiting)),
        }
    }

    /// The runs of the journal, oldest first, as far as they are known from it.
    ///
    /// # Errors
    /// [`Error::Journal`].
    pub async fn runs(&self, which: Which) -> Result<Vec<Run>> {
        let mut runs = Vec::new();
        for id in self.inner.journal.runs(which).await? {
            let entries = self.inner.journal.read(&id).await?;
            runs.extend(Run::fold(id, &entries));
        }
        Ok(runs)
    }

    async fn take_up(&self, id: &RunId) -> Result<(Lease, Run)> {
        let lease = self.inner.journal.claim(id).await?;
        let entries = self.inner.journal.read(id).await?;
        let mut run =
            Run::fold(id.clone(), &entries).ok_or_else(|| crate::journal::JournalError::Unknown(id.clone()))?;
        // What an earlier process has presented is presented once more where it is still needed: a web server of its own has died
        // with it, and time has passed in which others may have tidied up.
        run.presented.clear();
        run.visible = false;
        Ok((lease, run))
    }
}

/// What is asked of a provider.
#[derive(Clone, Copy)]
enum Verb {
    Preflight,
    Present,
    Retract,
}

impl Inner {
    /// Calls every provider concerned, all at once, each with its own proofs. The first failure is returned after all have answered.
    async fn each_provider(&self, proofs: &[Proof], verb: Verb) -> Result<Vec<(Route, Vec<Place>)>> {
        let groups = self.router.group(proofs)?;
        let calls = groups.into_iter().map(|(route, group)| async move {
            match self.with_care(&route, &group, verb).await {
                Ok(places) => Ok((route, places)),
                Err(error) => Err(Error::Provider { provider: route.label, error }),
            }
        });
        future::join_all(calls).await.into_iter().collect()
    }

    /// Deadline, retries and tracing: the same for every provider.
    async fn with_care(&self, route: &Route, proofs: &[Proof], verb: Verb) -> dcv_provider::Result<Vec<Place>> {
        let mut attempt = 1;
        loop {
            let call = async {
                match verb {
                    Verb::Preflight => route.provider.preflight(proofs).await,
                    Verb::Present => route.provider.present(proofs).await.map(|()| Vec::new()),
                    Verb::Retract => route.provider.retract(proofs).await.map(|()| Vec::new()),
                }
            };
            let deadline = self.settings.provider_deadline;
            let result = timeout(deadline, call).await.unwrap_or_else(|_| {
                let message = format!("no answer in {deadline:?}");
                Err(ProviderError::new(dcv_provider::ErrorKind::Unavailable, message))
            });
            let Err(error) = result else { return result };
            let wait = match error.retry {
                Retry::No => return Err(error),
                Retry::Yes => jittered(Duration::from_millis(500) * 2u32.saturating_pow(attempt - 1)),
                Retry::After(wait) => wait,
            };
            // A preflight answers a person who is waiting, and nothing is at stake yet.
            if attempt >= self.settings.provider_attempts || matches!(verb, Verb::Preflight) {
                return Err(error);
            }
            tracing::warn!(provider = route.label, %error, ?wait, "provider failed, trying again");
            sleep(wait).await;
            attempt += 1;
        }
    }
}

fn jittered(base: Duration) -> Duration {
    base.mul_f64(rand::rng().random_range(0.5..1.5))
}

/// The request in the CA's words.
fn order_to_send(request: &Request, id: Option<&RunId>) -> certcentral::NewOrder {
    let mut order = request.order.clone();
    let mut names = request.names.iter().map(ToString::to_string);
    order.certificate.common_name = names.next().unwrap_or_default();
    order.certificate.dns_names = names.collect();
    order.dcv_method = Some(DcvMethod::from(request.method));
    order.alternative_order_id = id.map(ToString::to_string);
    order
}

/// How a call of [`Worker::drive`] came to its end.
#[expect(clippy::large_enum_variant, reason = "one for each run")]
enum Finished {
    Issued(Issued),
    Waiting(Waiting),
    Ended(End),
}

impl Finished {
    fn outcome(self) -> Result<Outcome> {
        match self {
            Self::Issued(issued) => Ok(Outcome::Issued(issued)),
            Self::Waiting(waiting) => Ok(Outcome::Waiting(waiting)),
            Self::Ended(End::Failed(reason)) => Err(Error::Ended(reason)),
            Self::Ended(End::Canceled(reason)) => Err(Error::Ended(format!("the order was canceled: {reason}"))),
        }
    }
}

/// Whether a step leaves something to do.
enum Progress {
    Made,
    /// Nobody but others can act before our patience ends.
    Blocked(Waiting),
}

/// Works on one run, holding its lease.
struct Worker<'a> {
    dcv: &'a Inner,
    lease: Lease,
    run: Run,
    tidying: Tidying,
    /// When our patience ends.
    deadline: Instant,
    /// Checks asked for in vain so far.
    checks: u32,
}

impl<'a> Worker<'a> {
    fn new(dcv: &'a Inner, lease: Lease, run: Run) -> Self {
        let deadline = Instant::now() + dcv.settings.wait;
        Self { dcv, lease, run, tidying: Tidying::Possible, deadline, checks: 0 }
    }

    fn names(&self) -> Vec<String> {
        self.run.request.names.iter().map(ToString::to_string).collect()
    }

    fn tell(&self, event: &Event) {
        (self.dcv.observer)(&self.run.id, event);
    }

    /// Writes an entry to the journal and takes it in.
    async fn record(&mut self, entry: Entry) -> Result<()> {
        self.dcv.journal.append(&self.lease, &entry).await?;
        self.run.apply(Timestamp::now(), &entry);
        Ok(())
    }

    async fn drive(&mut self) -> Result<Finished> {
        loop {
            let step = state::next(&self.run, Timestamp::now(), self.tidying);
            tracing::debug!(run = %self.run.id, ?step, "next step");
            let progress = match step {
                Step::Place => self.place().await?,
                Step::Find => self.find().await?,
                Step::Cancel => self.cancel().await?,
                Step::Challenge => self.challenge().await?,
                Step::Present(proofs) => self.present(proofs).await?,
                Step::Watch => self.watch().await?,
                Step::Check => self.check().await?,
                Step::Follow => self.follow().await?,
                Step::Download => self.download().await?,
                Step::Store => self.store().await?,
                Step::Retract(proofs) => self.retract(proofs).await?,
                Step::Close => {
                    self.record(Entry::Closed).await?;
                    Progress::Made
                }
                Step::Rest => return self.finish(),
            };
            if let Progress::Blocked(waiting) = progress {
                return Ok(Finished::Waiting(waiting));
            }
        }
    }

    fn finish(&self) -> Result<Finished> {
        if let Some(end) = &self.run.end {
            return Ok(Finished::Ended(end.clone()));
        }
        let pem = self.run.chain.as_deref().unwrap_or_default();
        let chain = Chain::from_pem(pem.as_bytes()).map_err(|e| Error::Certificate(e.to_string()))?;
        let left_behind = self.run.shown.iter().cloned().collect();
        Ok(Finished::Issued(Issued { order_id: self.run.order_id, chain, left_behind }))
    }

    // ---- ordering

    async fn place(&mut self) -> Result<Progress> {
        self.record(Entry::Placing).await?;
        let order = order_to_send(&self.run.request, Some(&self.run.id));
        match self.dcv.client.place_order(&self.run.request.product, &order).await {
            Ok(placed) => self.placed(placed).await,
            Err(error) if error.outcome_unknown() => {
                self.tell(&Event::Trouble { message: format!("{error}; looking whether the order got through") });
                Ok(Progress::Made)
            }
            Err(error) => {
                self.record(Entry::Failed { reason: error.to_string() }).await?;
                self.record(Entry::Closed).await?;
                Err(error.into())
            }
        }
    }

    async fn placed(&mut self, placed: PlacedOrder) -> Result<Progress> {
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
        self.record(Entry::Placed {
            order_id: placed.id,
            random_value: placed.dcv_random_value,
            needs_approval,
            chain,
        })
        .await?;
        self.tell(&Event::Placed { order_id: placed.id, found: false });
        if self.run.chain.is_some() {
            self.tell(&Event::Issued { certificate_id: placed.certificate_id });
            self.tell_downloaded();
        }
        Ok(Progress::Made)
    }

    /// Looks for an order that may have been placed. Only when it has not turned up for as long as
    /// [`Settings::lookup_patience`] does it count as never placed.
    async fn find(&mut self) -> Result<Progress> {
        let since = self.run.placing_since.unwrap_or(self.run.began);
        let patience = jiff::SignedDuration::try_from(self.dcv.settings.lookup_patience).unwrap_or_default();
        let common_name = self.run.request.names[0].to_string();
        let mut pause = Duration::from_millis(500);
        let found = loop {
            let error =
                match self.dcv.client.find_order_by_alternative_id(self.run.id.as_str(), &common_name, since).await {
                    Ok(Some(order)) => break Some(order),
                    Ok(None) if Timestamp::now() > since + patience => break None,
                    Ok(None) => None,
                    Err(error) => Some(error),
                };
            if let Some(error) = error
                && Timestamp::now() > since + patience
                && Instant::now() + pause > self.deadline
            {
                return Err(Error::OutcomeUnknown { run: self.run.id.clone(), cause: error.to_string() });
            }
            sleep(jittered(pause)).await;
            pause = (pause * 2).min(Duration::from_secs(10));
        };
        match found {
            Some(order) => {
                let needs_approval = order.status == OrderStatus::NeedsApproval;
                self.record(Entry::Placed { order_id: order.id, random_value: None, needs_approval, chain: None })
                    .await?;
                self.tell(&Event::Placed { order_id: order.id, found: true });
                self.take_status(&order.status, order.certificate.as_ref().and_then(|c| c.id)).await
            }
            None => match self.run.canceling.clone() {
                Some(reason) => {
                    self.record(Entry::Canceled { reason }).await?;
                    Ok(Progress::Made)
                }
                None => self.place().await,
            },
        }
    }

    async fn cancel(&mut self) -> Result<Progress> {
        let reason = self.run.canceling.clone().unwrap_or_default();
        if let Some(order_id) = self.run.order_id {
            match self.dcv.client.cancel_order(order_id, &reason).await {
                Ok(()) => {}
                Err(error) if error.is_not_found() => {}
                Err(error) => {
                    let order = self.dcv.client.order(order_id).await?;
                    if order.status == OrderStatus::NeedsApproval {
                        // Not an order yet, to CertCentral: its request is what can be taken back.
                        for request in order.requests.iter().filter(|request| request.is_open()) {
                            self.dcv.client.set_request_status(request.id, &RequestStatus::Rejected, &reason).await?;
                        }
                    } else if order.status != OrderStatus::Canceled {
                        self.take_status(&order.status, order.certificate.as_ref().and_then(|c| c.id)).await?;
                        let ended = self.run.end.is_some() || self.run.certificate_id.is_some();
                        return if ended { Ok(Progress::Made) } else { Err(error.into()) };
                    }
                }
            }
        }
        self.record(Entry::Canceled { reason }).await?;
        Ok(Progress::Made)
    }

    // ---- proving

    /// Asks which domains are open, and for the values that prove them.
    async fn challenge(&mut self) -> Result<Progress> {
        let order_id = self.order_id();
        let validation = self.dcv.client.order_validation(order_id).await?;
        let open: Vec<Open> = self.open_domains(&validation);
        let ask_domains = match self.run.request.tokens {
            TokenSource::Domain => true,
            TokenSource::Order => false,
            TokenSource::Auto => open.len() <= DOMAIN_VALUES_UP_TO,
        };
        let method = self.run.request.method;
        let mut order_value = None;
        let mut challenges = Vec::with_capacity(open.len());
        for domain in open {
            let own = match domain.id.filter(|_| ask_domains) {
                Some(id) => {
                    let info = self.dcv.client.domain(id).await?;
                    // A value that belongs to another method is not for this proof.
                    let ours = info.dcv_method.is_none_or(|of_domain| of_domain == DcvMethod::from(method));
                    info.dcv_token.filter(|token| ours && !token.token.is_empty())
                }
                None => None,
            };
            let (value, expires) = match own {
                Some(token) if !token.is_ending(Timestamp::now(), state::RENEW_VALUE_BEFORE) => {
                    (token.token, token.expiration_date.and_then(|date| date.timestamp()))
                }
                Some(_) if let Some(id) = domain.id => {
                    let token = self.dcv.client.new_domain_token(id).await?;
                    (token.token, token.expiration_date.and_then(|date| date.timestamp()))
                }
                _ => match &order_value {
                    Some(known) => known,
                    None => order_value.insert(self.order_value(order_id).await?),
                }
                .clone(),
            };
            placement::check_value(method, &value).map_err(|why| Error::Ended(format!("{}: {why}", domain.name)))?;
            challenges.push(Challenge {
                proof: self.run.request.placement.proof(method, &domain.name, &value),
                domain: domain.name,
                domain_id: domain.id,
                names: domain.names,
                expires,
            });
        }
        let open: Vec<String> = challenges.iter().map(|challenge| challenge.domain.clone()).collect();
        let proved: Vec<&String> = challenges.iter().flat_map(|challenge| &challenge.names).collect();
        let validated = self.names().into_iter().filter(|name| !proved.contains(&name)).collect();
        self.record(Entry::Challenged { challenges }).await?;
        self.tell(&Event::Challenged { open, validated });
        Ok(Progress::Made)
    }

    /// The order's own value and its end. The value of the order's answer is used while it is fresh, and asked for anew on
    /// later occasions, when it may have been replaced.
    async fn order_value(&self, order_id: OrderId) -> Result<(String, Option<Timestamp>)> {
        if let Some(value) = self.run.random_value.clone().filter(|_| self.run.challenges.is_none()) {
            let life = jiff::SignedDuration::from_hours(30 * 24);
            return Ok((value, Some(self.run.began + life)));
        }
        let value = self.dcv.client.order_random_value(order_id).await?;
        Ok((value.dcv_random_value, value.expiration_date.and_then(|date| date.timestamp())))
    }

    /// The domains that the CA wants proved. Where the answer names none, the expected ones are.
    fn open_domains(&self, validation: &OrderValidation) -> Vec<Open> {
        if validation.dns_name_validations.is_empty() {
            let mut open: Vec<Open> = Vec::new();
            for name in &self.run.request.names {
                let domain = self.run.request.domain_of(name, validation.order_name_scope.as_ref());
                match open.iter_mut().find(|known| known.name == domain) {
                    Some(known) => known.names.push(name.to_string()),
                    None => open.push(Open { name: domain.to_owned(), id: None, names: vec![name.to_string()] }),
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
                    open.push(Open { name: plain(scope), id, names });
                }
                _ => open.extend(names.into_iter().map(|name| Open { name: plain(&name), id, names: vec![name] })),
            }
        }
        open.retain(|domain| !domain.name.is_empty());
        open
    }

    async fn present(&mut self, proofs: Vec<Proof>) -> Result<Progress> {
        self.dcv.router.group(&proofs)?;
        self.record(Entry::Presenting { proofs: proofs.clone() }).await?;
        if let Err(error) = self.dcv.each_provider(&proofs, Verb::Present).await {
            // Some may be out there all the same, and they would stay for as long as it takes to mend the cause.
            self.retract(proofs).await?;
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
    async fn watch(&mut self) -> Result<Progress> {
        let open: Vec<(String, Proof)> =
            self.run.open_challenges().map(|c| (c.domain.clone(), c.proof.clone())).collect();
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
    async fn check(&mut self) -> Result<Progress> {
        let check = self.dcv.client.check_order_dcv(self.order_id(), &[]).await?;
        let accepted: Vec<String> = self
            .run
            .open_challenges()
            .filter(|challenge| {
                check.is_approved(&challenge.domain)
                    || (!challenge.names.is_empty() && challenge.names.iter().all(|name| check.is_approved(name)))
            })
            .map(|challenge| challenge.domain.clone())
            .collect();
        if !accepted.is_empty() {
            self.record(Entry::Accepted { domains: accepted.clone() }).await?;
            for domain in accepted {
                self.tell(&Event::Accepted { domain });
            }
        }
        let issued = check.order_status.clone().unwrap_or(OrderStatus::Pending);
        self.take_status(&issued, check.certificate_id).await?;
        if self.run.certificate_id.is_some() || self.run.end.is_some() || self.run.open_challenges().next().is_none() {
            return Ok(Progress::Made);
        }
        // Everything showed to us and something did not to the CA: give its caches time, growing, within our patience.
        self.checks += 1;
        let pause = jittered(Duration::from_secs(1) * 2u32.saturating_pow(self.checks.min(6) - 1));
        if Instant::now() + pause > self.deadline {
            let open: Vec<&str> = self.run.open_challenges().map(|c| c.domain.as_str()).collect();
            let reason = check.reason().unwrap_or_else(|| "it sees no valid proof yet".to_owned());
            let what = format!("{} ({reason})", open.join(", "));
            return self.blocked(Waiting { on: Actor::DomainValidation, what }).await;
        }
        sleep(pause).await;
        Ok(Progress::Made)
    }

    // ---- waiting

    /// Waits for approval, organization validation or issuance.
    async fn follow(&mut self) -> Result<Progress> {
        let order_id = self.order_id();
        let order = self.dcv.client.order(order_id).await?;
        let known = order.status.clone();
        let had = (self.run.needs_approval, self.run.end.is_some());
        self.take_status(&order.status, order.certificate.as_ref().and_then(|c| c.id)).await?;
        if self.run.certificate_id.is_some() || had != (self.run.needs_approval, self.run.end.is_some()) {
            return Ok(Progress::Made);
        }
        let waiting = self.what_it_waits_for(&known).await;
        if self.run.waiting.as_ref() != Some(&waiting) {
            self.record(Entry::Waiting(waiting.clone())).await?;
        }
        self.tell(&Event::Waiting(waiting.clone()));
        match self.dcv.follower.changed(order_id, &known, self.deadline).await {
            Ok(Some(change)) => self.take_status(&change.status, change.certificate_id).await,
            Ok(None) => Ok(Progress::Blocked(waiting)),
            Err(error) if Instant::now() < self.deadline && !error.is_auth() => {
                self.tell(&Event::Trouble { message: error.to_string() });
                sleep(self.dcv.settings.tick).await;
                Ok(Progress::Made)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Who must act, from what the CA says about the order.
    async fn what_it_waits_for(&self, status: &OrderStatus) -> Waiting {
        if *status == OrderStatus::NeedsApproval {
            let what = format!("order {} has to be approved in CertCentral (Requests)", self.order_id());
            return Waiting { on: Actor::Approver, what };
        }
        let validation = self.dcv.client.order_validation(self.order_id()).await.unwrap_or_default();
        let pending: Vec<String> = validation
            .organization_validations
            .iter()
            .filter(|v| !v.status.is_validated())
            .map(|v| v.name.clone().unwrap_or_else(|| v.validation_type.clone()))
            .collect();
        if pending.is_empty() {
            let what = format!("order {} is {status}; all names are proved", self.order_id());
            return Waiting { on: Actor::Issuance, what };
        }
        let organization = validation.organization_name.unwrap_or_else(|| "the organization".to_owned());
        let what = format!(
            "{organization} ({}): DigiCert validates it, or calls its contact; order {}",
            pending.join(", "),
            self.order_id()
        );
        Waiting { on: Actor::OrganizationValidation, what }
    }

    /// Takes in what the CA says the order's status is.
    async fn take_status(&mut self, status: &OrderStatus, certificate_id: Option<CertificateId>) -> Result<Progress> {
        match status {
            OrderStatus::Issued => {
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
            }
            OrderStatus::Rejected | OrderStatus::Revoked | OrderStatus::Expired => {
                let reason = format!("order {} is {status}; see its notes in CertCentral", self.order_id());
                self.record(Entry::Failed { reason }).await?;
            }
            OrderStatus::Canceled => {
                let reason =
                    self.run.canceling.clone().unwrap_or_else(|| "by somebody else, in CertCentral".to_owned());
                self.record(Entry::Canceled { reason }).await?;
            }
            OrderStatus::NeedsApproval => {}
            _ if self.run.needs_approval => self.record(Entry::Approved).await?,
            _ => {}
        }
        Ok(Progress::Made)
    }

    async fn blocked(&mut self, waiting: Waiting) -> Result<Progress> {
        if self.run.waiting.as_ref() != Some(&waiting) {
            self.record(Entry::Waiting(waiting.clone())).await?;
        }
        self.tell(&Event::Waiting(waiting.clone()));
        Ok(Progress::Blocked(waiting))
    }

    // ---- bringing home

    /// Fetches the certificate. CertCentral has been seen to give the wrong one when several are fetched quickly, so
    /// one that is not ours is fetched again before it counts as an error.
    async fn download(&mut self) -> Result<Progress> {
        let certificate_id = self.run.certificate_id.expect("the step needs it");
        let mut pause = Duration::from_millis(250);
        let chain = loop {
            let fetched = self.dcv.client.download(certificate_id, DownloadFormat::PemAll).await;
            let error = match fetched {
                Ok(pem) => match self.accept_certificate(&pem) {
                    Ok(chain) => break chain,
                    Err(error) => error,
                },
                Err(error) if error.is_auth() => return Err(error.into()),
                Err(error) => error.into(),
            };
            if pause > Duration::from_secs(8) || Instant::now() + pause > self.deadline {
                return Err(error);
            }
            self.tell(&Event::Trouble { message: format!("certificate {certificate_id}: {error}; fetching it again") });
            sleep(jittered(pause)).await;
            pause *= 2;
        };
        self.record(Entry::Downloaded { chain: chain.fullchain_pem() }).await?;
        self.tell_downloaded();
        Ok(Progress::Made)
    }

    /// A chain whose leaf is for our key and our names.
    fn accept_certificate(&self, pem: &[u8]) -> Result<Chain> {
        let csr = self.run.request.csr()?;
        let chain = Chain::from_pem(pem).map_err(|e| Error::Certificate(e.to_string()))?;
        chain.verify_leaf(&csr, &self.run.request.names).map_err(|e| Error::Certificate(e.to_string()))?;
        Ok(chain)
    }

    fn tell_downloaded(&self) {
        if let Some(chain) = self.run.chain.as_deref().and_then(|pem| Chain::from_pem(pem.as_bytes()).ok()) {
            self.tell(&Event::Downloaded { serial: chain.serial(), not_after: chain.not_after().to_string() });
        }
    }

    async fn store(&mut self) -> Result<Progress> {
        let output = self.run.request.output.clone().expect("the step needs it");
        let csr = self.run.request.csr()?;
        let pem = self.run.chain.clone().unwrap_or_default();
        let chain = Chain::from_pem(pem.as_bytes()).map_err(|e| Error::Certificate(e.to_string()))?;
        let dir = output.dir.clone();
        let pending = output.pending_key.clone();
        tokio::task::spawn_blocking(move || -> Result<()> {
            let key = match &pending {
                // Moved into place already, by a process that died before it could say so.
                Some(path) if !path.exists() => Some(read_key(&output.dir.join(certificate::KEY_FILE))?),
                Some(path) => Some(read_key(path)?),
                None => None,
            };
            if let Some(key) = &key
                && !csr.matches_key(key)
            {
                let path = pending.as_deref().unwrap_or(&output.dir).display();
                return Err(Error::Certificate(format!("the key in {path} is not the one the CSR was made with")));
            }
            certificate::write_set(&output.dir, key.as_ref(), &chain)
                .map_err(|e| Error::File { path: output.dir.display().to_string(), error: e.to_string() })?;
            if let Some(path) = pending {
                match std::fs::remove_file(&path) {
                    Ok(()) => {}
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                    Err(e) => return Err(Error::File { path: path.display().to_string(), error: e.to_string() }),
                }
            }
            Ok(())
        })
        .await
        .map_err(|e| Error::File { path: dir.display().to_string(), error: e.to_string() })??;
        self.record(Entry::Stored).await?;
        self.tell(&Event::Stored { dir });
        Ok(Progress::Made)
    }

    // ---- tidying up

    /// Takes proofs back. A failure does not keep the certificate from its owner: it is told, and the run stays open.
    async fn retract(&mut self, proofs: Vec<Proof>) -> Result<Progress> {
        match self.dcv.each_provider(&proofs, Verb::Retract).await {
            Ok(_) => {
                self.record(Entry::Retracted { proofs: proofs.clone() }).await?;
                for proof in proofs {
                    self.tell(&Event::Retracted { proof });
                }
            }
            Err(error) => {
                self.tidying = Tidying::Failed;
                let message = format!("{} proofs could not be taken back: {error}", proofs.len());
                self.tell(&Event::Trouble { message });
            }
        }
        Ok(Progress::Made)
    }

    fn order_id(&self) -> OrderId {
        self.run.order_id.expect("steps after ordering know the order")
    }
}

/// A domain that the CA wants proved.
struct Open {
    name: String,
    id: Option<certcentral::DomainId>,
    names: Vec<String>,
}

/// After this long without becoming visible, proofs are presented once more.
const REPRESENT_AFTER: Duration = Duration::from_secs(20);

fn read_key(path: &Path) -> Result<PrivateKey> {
    let file =
        |error: &dyn std::fmt::Display| Error::File { path: path.display().to_string(), error: error.to_string() };
    let pem = zeroize::Zeroizing::new(std::fs::read_to_string(path).map_err(|e| file(&e))?);
    PrivateKey::from_pem(&pem).map_err(|e| file(&e))
}
