//! The flow: does what [`state::next`](crate::state::next) says, one step after the other, until nothing is left to do or somebody else
//! has to act.
//!
//! Each step is a method of `Worker`, named by its verb. A step writes its intent to the journal before it acts where the
//! act can be seen outside, and its result afterwards; a crash between the two is found in the journal by the next process.

use std::{fmt, path::Path, sync::Arc, time::Duration};

use certcentral::{Client, DcvMethod, OrderId};
use dcv_provider::{Place, Proof, ProviderError, Retry, dns::Dns};
use futures_util::future;
use jiff::Timestamp;
use rand::Rng;
use serde::Serialize;
use tokio::{
    sync::{RwLock, Semaphore, SemaphorePermit},
    time::{Instant, sleep, timeout},
};
use tracing::Instrument as _;

use crate::{
    certificate::Chain,
    error::{Error, Result},
    event::{Event, Meter, Observer, ProviderCall, Verb},
    follow::Follower,
    journal::{self, Journal, Lease, MemoryJournal, SqliteJournal, Stamped, Which},
    propagation,
    request::Request,
    route::{Route, Router},
    state::{End, Entry, Run, RunId, Waiting},
};

mod following;
mod home;
mod proving;
mod worker;

use worker::{Finished, Worker, span_of_run};

/// Stands in for a random value before there is one.
const PLACEHOLDER_VALUE: &str = "dcv-preflight-placeholder-value";

/// How long a provider may make us wait before it is called again.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// How patient the flow is.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long one call of [`Dcv::issue`] or [`Dcv::resume`] waits for others, all in all, before it returns
    /// [`Outcome::Waiting`]. Default 10 minutes.
    pub wait: Duration,
    /// How long of that it waits for people, who may take days: approvers, the CA's organization validation, readers of mail.
    /// Default: as long as for everything else.
    pub people: Duration,
    /// How many runs are worked on at once; those that wait for others do not count. Default 64: the CA's limits let no more through,
    /// and what has begun comes home before more is begun.
    pub parallel: usize,
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
            people: Duration::MAX,
            parallel: 64,
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
    meter: Meter,
    follower: Follower,
    /// Read by whoever is beginning a run.
    beginning: Arc<RwLock<()>>,
    /// A place for each run that is worked on.
    places: Semaphore,
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
    meter: Meter,
    follower: Option<Follower>,
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

    /// Follows orders together with others of the same account: one call per tick for all.
    #[must_use]
    pub fn follower(mut self, follower: &Follower) -> Self {
        self.follower = Some(follower.clone());
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

    /// Is told of every call of a provider.
    #[must_use]
    pub fn meter(mut self, meter: Meter) -> Self {
        self.meter = meter;
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
        let follower = self.follower.unwrap_or_else(|| Follower::new(self.settings.tick));
        Ok(Dcv {
            inner: Arc::new(Inner {
                client: self.client,
                router: self.router,
                journal,
                dns,
                places: Semaphore::new(self.settings.parallel.clamp(1, Semaphore::MAX_PERMITS)),
                settings: self.settings,
                observer: self.observer,
                meter: self.meter,
                follower,
                beginning: Arc::default(),
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
    /// The domains are validated; no certificate was asked for.
    Validated(Validated),
    /// Somebody else has to act. The order is placed, the run stays open; [`Dcv::resume`] goes on.
    Waiting(Waiting),
}

/// In a line, for people.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Issued(issued) => write!(f, "issued: {}", issued.chain.names().join(", ")),
            Self::Validated(validated) => write!(f, "validated: {}", validated.domains.join(", ")),
            Self::Waiting(waiting) => waiting.fmt(f),
        }
    }
}

/// Domains that are validated.
#[derive(Debug)]
pub struct Validated {
    /// The domains.
    pub domains: Vec<String>,
    /// Proofs that could not be taken back; the run stays open, and [`Dcv::resume`] tries again.
    pub left_behind: Vec<Proof>,
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
    /// The order as it would be sent; its certificate's part, for a reissue or a duplicate; `None` where nothing is ordered.
    pub order: Option<certcentral::NewOrder>,
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
            meter: Arc::new(|_| {}),
            follower: None,
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
        self.planned(request).await
    }

    /// The plan of a request that is checked.
    async fn planned(&self, request: &Request) -> Result<Plan> {
        let domains = self.routable(request).await?;
        let proof = |domain: &String| request.placement.proof(request.method, domain, PLACEHOLDER_VALUE);
        let proofs: Vec<Proof> = domains.iter().filter_map(proof).collect();
        let mut places = Vec::new();
        for (route, found) in self.inner.each_provider(&proofs, Verb::Preflight).await? {
            places.extend(found.into_iter().map(|place| PlannedPlace {
                provider: route.label.clone(),
                target: place.target,
                within: place.within,
            }));
        }
        let order = request.purpose.has_certificate().then(|| request.order_to_send(None));
        Ok(Plan { domains, places, order, product: request.product.clone() })
    }

    /// The domains that will probably have to be proved. One that no provider serves is looked up in the account: when it is
    /// validated there for another day at least, nothing has to be proved, and nobody has to serve it. A file shows control of
    /// its own host only (API page "DCV methods"), so that a domain which was proved by one covers no name below it.
    async fn routable(&self, request: &Request) -> Result<Vec<String>> {
        let expected = request.expected_domains();
        let Some(kind) = request.method.proof_kind() else {
            return Ok(expected.into_iter().map(str::to_owned).collect());
        };
        let by_file = |known: &certcentral::Domain| {
            matches!(known.dcv_method, Some(DcvMethod::HttpToken | DcvMethod::HttpTokenDynamic))
        };
        let mut domains = Vec::new();
        for domain in expected {
            match self.inner.router.find(domain, kind) {
                Ok(_) => domains.push(domain.to_owned()),
                Err(unroutable) => {
                    let soon = Timestamp::now() + jiff::SignedDuration::from_hours(24);
                    let known = self.inner.client.domain_by_name(domain).await?;
                    let is_enough = |known: &certcentral::Domain| {
                        known.validated_until(request.validation_type()).is_some_and(|end| end > soon)
                            && (!by_file(known) || request.is_only_for(domain))
                    };
                    if !known.as_ref().is_some_and(is_enough) {
                        return Err(unroutable);
                    }
                }
            }
        }
        Ok(domains)
    }

    /// Who has to act before an order of the account is issued, and what for; `None` when nobody has to.
    ///
    /// # Errors
    /// [`Error::Api`].
    pub async fn waits_for(&self, order_id: OrderId) -> Result<Option<Waiting>> {
        let order = self.inner.client.order_with_caa_status(order_id).await?;
        if !following::is_open(&order.status) {
            return Ok(None);
        }
        let validation = following::validation_of(&self.inner.client, &order).await?;
        Ok(Some(following::who_must_act(&self.inner.client, &order, &validation, &[]).await))
    }

    /// Something has happened to an order, somebody says: whoever waits for it looks now and not at the next tick.
    pub fn hint(&self) {
        self.inner.follower.hint();
    }

    /// The client of the API.
    pub fn client(&self) -> &Client {
        &self.inner.client
    }

    /// Orders, or does what else the request is for, proves, waits, fetches and tidies up. Everything that can be found wrong beforehand is found before the
    /// order is placed, as by [`plan`](Self::plan). Thousands may be called at once: [`Settings::parallel`] of them are worked on.
    ///
    /// # Errors
    /// After the order was placed, an error leaves the run open: mend the cause and [`resume`](Self::resume).
    pub async fn issue(&self, request: Request) -> Result<Outcome> {
        self.issue_as(RunId::new(Timestamp::now()), request).await
    }

    /// The same as a run of this id, by which it is found again in the journal, whatever comes of it.
    ///
    /// # Errors
    /// As [`issue`](Self::issue); [`Error::Journal`] when there is a run of this id already.
    pub async fn issue_as(&self, id: RunId, request: Request) -> Result<Outcome> {
        request.check()?;
        let place = self.inner.place().await;
        // In a box, for those that wait for a place need little room.
        Box::pin(self.issue_at(place, id, request)).await
    }

    async fn issue_at(&self, place: SemaphorePermit<'_>, id: RunId, request: Request) -> Result<Outcome> {
        let span = span_of_run(&id);
        let plan = self.planned(&request).instrument(span.clone()).await?;
        let entry = Entry::Planned { request: Box::new(request) };
        let lease = self.inner.begin(&id, &entry).await?;
        let run = Run::fold(id, &[Stamped { at: Timestamp::now(), entry }]).expect("begins with Planned");
        let worker = Worker::new(&self.inner, lease, run, place, span);
        worker.started(false);
        let places = plan.places.iter().map(|p| format!("{} in {}", p.target, p.within)).collect();
        worker.tell(&Event::Checked { places });
        self.carry_out(worker).await?.outcome()
    }

    /// Waits until the journal tells what there is, after calls that were dropped before their end: what they were writing is written, and
    /// others can have what they held.
    pub async fn settled(&self) {
        drop(self.inner.beginning.write().await);
        self.inner.journal.settle().await;
    }

    /// Continues a run where an earlier process left it, whatever happened to that.
    ///
    /// # Errors
    /// As [`issue`](Self::issue); [`Error::Journal`] when there is no such run or somebody is working on it.
    pub async fn resume(&self, id: &RunId) -> Result<Outcome> {
        let place = self.inner.place().await;
        let (lease, run) = self.take_up(id).await?;
        let worker = Worker::new(&self.inner, lease, run, place, span_of_run(id));
        worker.started(true);
        Box::pin(self.carry_out(worker)).await?.outcome()
    }

    /// Cancels a run's order, if it was placed, and takes its proofs back.
    ///
    /// # Errors
    /// [`Error::Ended`] when the certificate is issued already: it can only be revoked.
    pub async fn cancel(&self, id: &RunId, reason: &str) -> Result<()> {
        let place = self.inner.place().await;
        let (lease, run) = self.take_up(id).await?;
        let mut worker = Worker::new(&self.inner, lease, run, place, span_of_run(id));
        if worker.run.end.is_none() && worker.run.chain.is_none() {
            worker.record(Entry::Canceling { reason: reason.to_owned() }).await?;
        }
        match Box::pin(self.carry_out(worker)).await? {
            Finished::Ended(End::Canceled(_)) => Ok(()),
            Finished::Ended(End::Failed(reason)) => Err(Error::Ended(reason)),
            Finished::Issued(_) => Err(Error::Ended(format!(
                "run {id} cannot be canceled: its certificate is issued; `dcv revoke` revokes it if it is not wanted"
            ))),
            Finished::Validated(_) => {
                Err(Error::Ended(format!("run {id} cannot be canceled: its domains are validated already")))
            }
            Finished::Waiting(waiting) => Err(Error::Waiting(waiting)),
        }
    }

    /// The runs of the journal, oldest first, as far as they are known from it.
    ///
    /// # Errors
    /// [`Error::Journal`].
    pub async fn runs(&self, which: Which) -> Result<Vec<Run>> {
        let ids = self.inner.journal.runs(which).await?;
        let mut runs = Vec::with_capacity(ids.len());
        journal::each_run(&*self.inner.journal, &ids, |run, _| runs.push(run)).await?;
        Ok(runs)
    }

    /// A run of the journal, as far as it is known from it; `None` where there is none of this id.
    ///
    /// # Errors
    /// [`Error::Journal`].
    pub async fn run(&self, id: &RunId) -> Result<Option<Run>> {
        match self.inner.journal.read(id).await {
            Ok(entries) => Ok(Run::fold(id.clone(), &entries)),
            Err(journal::JournalError::Unknown(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Works as long as there is something to do, and gives the run back.
    async fn carry_out(&self, mut worker: Worker<'_>) -> Result<Finished> {
        let finished = worker.drive().await;
        drop(worker);
        self.inner.journal.settle().await;
        finished
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

impl Inner {
    /// A place to work on a run.
    async fn place(&self) -> SemaphorePermit<'_> {
        self.places.acquire().await.expect("it is never closed")
    }

    /// Begins a run. Who stops waiting for it does not stop it, for then nobody would know whether there is one; see
    /// [`Dcv::settled`].
    async fn begin(&self, id: &RunId, first: &Entry) -> Result<Lease> {
        let (journal, id, first) = (Arc::clone(&self.journal), id.clone(), first.clone());
        let beginning = Arc::clone(&self.beginning).read_owned().await;
        // A lease that nobody waits for any more is dropped before whoever waits for those who begin goes on.
        let begun = tokio::spawn(async move { (journal.begin(&id, &first).await, beginning) });
        match begun.await {
            Ok((lease, _beginning)) => Ok(lease?),
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(error) => {
                Err(crate::journal::JournalError::Store { place: "of the run".to_owned(), message: error.to_string() }
                    .into())
            }
        }
    }

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
            let (provider, began) = (route.label.as_str(), Instant::now());
            let span = tracing::info_span!("provider", provider, verb = verb.word(), proofs = proofs.len(), attempt);
            let result = timeout(deadline, call).instrument(span).await.unwrap_or_else(|_| {
                let message = format!("no answer in {deadline:?}");
                Err(ProviderError::new(dcv_provider::ErrorKind::Unavailable, message))
            });
            (self.meter)(&ProviderCall { provider, verb, took: began.elapsed(), error: result.as_ref().err() });
            let Err(error) = result else { return result };
            let wait = match error.retry {
                Retry::No => return Err(error),
                Retry::Yes => jittered(Duration::from_millis(500) * 2u32.saturating_pow(attempt - 1)),
                // Whoever asks for a year is not waited for that long.
                Retry::After(wait) => wait.min(LONGEST_PAUSE),
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
