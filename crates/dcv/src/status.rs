//! What `dcv run` shows of itself while it runs: pages for people, metrics for Prometheus, health for supervisors.
//!
//! All of it is read from one [`Board`], which the keeper and the events of runs write; only the history of a certificate comes
//! from the journal. Pages are made here, on the server, and are whole without scripts: a small one refreshes them as things
//! happen. Who may look is decided in `guard`.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use certcentral::{Client, OrderId};
use dcv_core::{
    Event, Meter, Observer, ProviderCall, RunId, Verb,
    journal::Journal,
    keeper::{Present, Task},
    propagation::View,
    state::{Actor, Waiting},
};
use dcv_provider::{ErrorKind, Proof, dns::is_within};
use jiff::Timestamp;
use tokio::sync::{Semaphore, watch};

use crate::{config::Config, keeper::Inventory, show::words_of};

use metrics::Histogram;

mod guard;
mod history;
mod html;
mod metrics;
mod overview;
mod serve;
mod timeline;

/// How many events are remembered.
const EVENTS: usize = 200;
/// How many pages may be told of changes as they happen; the others can be loaded again.
const SEATS: usize = 64;
/// How many runs are remembered; those that are over go first.
const RUNS: usize = 50;
/// Upper bounds of propagation times, in seconds.
const PROPAGATION: &[f64] = &[0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0];
/// Upper bounds of providers' answers, in seconds.
const LATENCY: &[f64] = &[0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// What is shown. Cheap to clone; clones share it.
#[derive(Clone)]
pub(crate) struct Board {
    shared: Arc<Mutex<Shared>>,
    /// Counts changes, for those who watch.
    version: Arc<watch::Sender<u64>>,
    /// Places for those who watch.
    seats: Arc<Semaphore>,
}

struct Shared {
    began: Timestamp,
    /// Everything that is to be kept, by label.
    kept: BTreeMap<String, Kept>,
    account: Account,
    journal: Option<Arc<dyn Journal>>,
    runs: BTreeMap<RunId, Watched>,
    events: VecDeque<Said>,
    done: u64,
    failed: u64,
    waited: u64,
    propagation: Histogram,
    /// By provider, what was asked of it, and `ok` or `error`.
    providers: BTreeMap<(String, Verb, &'static str), Histogram>,
    errors: BTreeMap<(String, &'static str), u64>,
}

/// The account, and when it was looked at.
#[derive(Default)]
struct Account {
    client: Option<Client>,
    /// When the last look succeeded.
    looked: Option<Timestamp>,
    /// Since when looks fail, and why the last one did.
    failure: Option<(Timestamp, String)>,
    /// How often it is looked at.
    interval: std::time::Duration,
}

/// Something that was said.
struct Said {
    at: Timestamp,
    /// A label, or a run that has none.
    whose: String,
    text: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Certificate,
    Domain,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::Domain => "validation",
        }
    }
}

/// A certificate or a domain that is to be kept.
struct Kept {
    kind: Kind,
    names: Vec<String>,
    task: Task,
    /// Begin and end of what is there.
    life: Option<(Timestamp, Timestamp)>,
    order: Option<OrderId>,
    stand: Stand,
}

/// Where something stands, by what was last heard of it.
#[derive(Clone)]
struct Stand {
    stage: Stage,
    text: String,
    /// Who must act.
    on: Option<Actor>,
    since: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Failed,
    Waits,
    Works,
    Queued,
    Done,
    /// Another worker is at it.
    Left,
    /// Nothing has happened to it since the keeper began.
    Rests,
}

impl Stage {
    const ALL: [Self; 7] = [Self::Failed, Self::Waits, Self::Works, Self::Queued, Self::Done, Self::Left, Self::Rests];

    fn word(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Waits => "waits",
            Self::Works => "works",
            Self::Queued => "queued",
            Self::Done => "done",
            Self::Left => "left",
            Self::Rests => "rests",
        }
    }

    /// A sign beside the word, for those who do not see its color.
    fn sign(self) -> &'static str {
        match self {
            Self::Failed => "✕",
            Self::Waits => "◷",
            Self::Works => "▶",
            Self::Queued => "≡",
            Self::Done => "✓",
            Self::Left => "→",
            Self::Rests => "○",
        }
    }
}

/// A run, as far as its events tell.
struct Watched {
    label: Option<String>,
    names: Vec<String>,
    order: Option<OrderId>,
    /// By domain.
    proofs: BTreeMap<String, Shown>,
    /// When its proofs were presented.
    presented: Option<Instant>,
    heard: Timestamp,
    over: bool,
}

/// Where the proof of a domain stands.
struct Shown {
    step: Step,
    /// The record or file, once it is presented.
    proof: Option<Proof>,
    provider: Option<String>,
    /// What name servers, resolvers and web servers showed when they were last asked.
    views: Vec<View>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Open,
    Placed,
    Visible,
    Accepted,
}

impl Step {
    fn word(self) -> &'static str {
        match self {
            Self::Open => "to be placed",
            Self::Placed => "placed, not yet visible everywhere",
            Self::Visible => "visible everywhere",
            Self::Accepted => "accepted by the CA",
        }
    }
}

impl Default for Board {
    fn default() -> Self {
        let shared = Shared {
            began: Timestamp::now(),
            kept: BTreeMap::new(),
            account: Account::default(),
            journal: None,
            runs: BTreeMap::new(),
            events: VecDeque::new(),
            done: 0,
            failed: 0,
            waited: 0,
            propagation: Histogram::new(PROPAGATION),
            providers: BTreeMap::new(),
            errors: BTreeMap::new(),
        };
        Self {
            shared: Arc::new(Mutex::new(shared)),
            version: Arc::new(watch::Sender::new(0)),
            seats: Arc::new(Semaphore::new(SEATS)),
        }
    }
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Shared) -> T) -> T {
        let changed = change(&mut self.lock());
        self.version.send_modify(|version| *version += 1);
        changed
    }

    /// The inventory was looked at, while these labels were being worked on.
    pub(crate) fn planned(
        &self,
        inventory: &Inventory,
        config: &Config,
        client: &Client,
        journal: &Arc<dyn Journal>,
        busy: &BTreeSet<String>,
    ) {
        self.change(|shared| {
            let mut before = std::mem::take(&mut shared.kept);
            for task in &inventory.tasks {
                let configured = config.certificates.get(&task.label);
                let present = inventory.present.get(&task.label);
                let stand = before.remove(&task.label).map(|kept| kept.stand);
                let first = || {
                    let works = busy.contains(&task.label);
                    let (stage, text) = if works { (Stage::Works, task.act.word()) } else { (Stage::Rests, "") };
                    Stand::new(stage, text, None)
                };
                let kept = Kept {
                    kind: if configured.is_some() { Kind::Certificate } else { Kind::Domain },
                    names: configured.map_or_else(|| vec![task.label.clone()], |kept| kept.names.clone()),
                    task: task.clone(),
                    life: present.map(|present| (present.not_before, present.not_after)),
                    order: inventory.orders.get(&task.label).copied(),
                    stand: stand.unwrap_or_else(first),
                };
                shared.kept.insert(task.label.clone(), kept);
            }
            shared.account = Account {
                client: Some(client.clone()),
                looked: Some(Timestamp::now()),
                failure: None,
                interval: config.keep.interval,
            };
            shared.journal = Some(Arc::clone(journal));
        });
    }

    /// A new certificate is there; `next` is what has to be done for it after this, where that is known.
    pub(crate) fn renewed(&self, label: &str, present: &Present, next: Option<Task>) {
        self.change(|shared| {
            if let Some(kept) = shared.kept.get_mut(label) {
                kept.life = Some((present.not_before, present.not_after));
                kept.task.ends = Some(present.not_after);
                if let Some(next) = next {
                    kept.task = next;
                }
            }
        });
    }

    /// Looking at the account, the journal or the files has failed.
    pub(crate) fn blind(&self, why: &str) {
        self.change(|shared| {
            let since = shared.account.failure.take().map_or_else(Timestamp::now, |(since, _)| since);
            shared.account.failure = Some((since, why.to_owned()));
            shared.say("the account", why);
        });
    }

    /// A task is due, and waits for its turn.
    pub(crate) fn queued(&self, label: &str, act: &str) {
        self.set(label, Stand::new(Stage::Queued, act, None));
    }

    /// A task is worked on.
    pub(crate) fn works(&self, label: &str, act: &str) {
        self.set(label, Stand::new(Stage::Works, act, None));
    }

    /// A task is done.
    pub(crate) fn done(&self, label: &str, text: &str) {
        self.lock().done += 1;
        self.set(label, Stand::new(Stage::Done, text, None));
    }

    /// Somebody else has to act.
    pub(crate) fn waits(&self, label: &str, waiting: &Waiting) {
        self.lock().waited += 1;
        self.set(label, Stand::new(Stage::Waits, &waiting.what, Some(waiting.on)));
    }

    /// Somebody else has to act, as is known from before.
    pub(crate) fn parked(&self, label: &str, waiting: &Waiting, since: Timestamp) {
        self.change(|shared| {
            if let Some(kept) = shared.kept.get_mut(label)
                && kept.stand.stage == Stage::Rests
            {
                kept.stand = Stand { since, ..Stand::new(Stage::Waits, &waiting.what, Some(waiting.on)) };
            }
        });
    }

    /// Another worker does it.
    pub(crate) fn left(&self, label: &str, text: &str) {
        self.set(label, Stand::new(Stage::Left, text, None));
    }

    /// Something has failed.
    pub(crate) fn failed(&self, label: &str, text: &str) {
        self.lock().failed += 1;
        self.set(label, Stand::new(Stage::Failed, text, None));
    }

    fn set(&self, label: &str, stand: Stand) {
        self.change(|shared| {
            let on = stand.on.map(|on| format!(" for {on}")).unwrap_or_default();
            let before = shared.kept.get(label).map(|kept| &kept.stand);
            // What a run waits for it has said itself.
            let said = before.is_some_and(|before| stand.stage == Stage::Waits && before.text == stand.text);
            if !said {
                shared.say(label, &format!("{}{on}: {}", stand.stage.word(), stand.text));
            }
            if matches!(stand.stage, Stage::Done | Stage::Waits | Stage::Failed) {
                let of_label = shared.runs.values_mut().filter(|run| run.label.as_deref() == Some(label));
                of_label.for_each(|run| run.over = true);
            }
            if let Some(kept) = shared.kept.get_mut(label) {
                kept.stand = stand;
            }
        });
    }

    /// A listener for the events of runs.
    pub(crate) fn observer(&self) -> Observer {
        let board = self.clone();
        Arc::new(move |run, event| board.change(|shared| shared.tell(run, event)))
    }

    /// A listener for the calls of providers.
    pub(crate) fn meter(&self) -> Meter {
        let board = self.clone();
        // Not a change of its own: what it does to a run is told by events.
        Arc::new(move |call| board.lock().meter(call))
    }
}

impl Stand {
    fn new(stage: Stage, text: &str, on: Option<Actor>) -> Self {
        Self { stage, text: text.to_owned(), on, since: Timestamp::now() }
    }
}

impl Shared {
    fn say(&mut self, whose: &str, text: &str) {
        self.events.push_front(Said { at: Timestamp::now(), whose: whose.to_owned(), text: text.to_owned() });
        self.events.truncate(EVENTS);
    }

    fn meter(&mut self, call: &ProviderCall<'_>) {
        let result = if call.error.is_none() { "ok" } else { "error" };
        let key = (call.provider.to_owned(), call.verb, result);
        self.providers.entry(key).or_insert_with(|| Histogram::new(LATENCY)).take(call.took.as_secs_f64());
        if let Some(error) = call.error {
            *self.errors.entry((call.provider.to_owned(), word_of(error.kind))).or_default() += 1;
        }
    }

    fn tell(&mut self, id: &RunId, event: &Event) {
        let now = Timestamp::now();
        let run = self.runs.entry(id.clone()).or_insert_with(|| Watched::new(now));
        run.heard = now;
        run.take(event);
        if matches!(event, Event::Visible { .. })
            && let Some(began) = run.presented.take()
        {
            self.propagation.take(began.elapsed().as_secs_f64());
        }
        let label = run.label.clone();
        if let Some(kept) = label.as_ref().and_then(|label| self.kept.get_mut(label)) {
            match event {
                Event::Waiting(waiting) => kept.stand = Stand::new(Stage::Waits, &waiting.what, Some(waiting.on)),
                Event::Accepted { .. } | Event::Issued { .. } if kept.stand.stage == Stage::Waits => {
                    kept.stand = Stand::new(Stage::Works, kept.task.act.word(), None);
                }
                _ => {}
            }
        }
        let whose = label.unwrap_or_else(|| id.to_string());
        for text in words_of(id, event) {
            self.say(&whose, &text);
        }
        self.forget();
    }

    /// Drops the runs that were heard of longest ago, those that are over first.
    fn forget(&mut self) {
        while self.runs.len() > RUNS {
            let oldest = self.runs.iter().min_by_key(|(_, run)| (!run.over, run.heard)).map(|(id, _)| id.clone());
            oldest.and_then(|id| self.runs.remove(&id));
        }
    }

    /// What is kept, the most urgent first.
    fn by_urgency(&self, now: Timestamp) -> Vec<(&String, &Kept)> {
        let mut kept: Vec<(&String, &Kept)> = self.kept.iter().collect();
        let far = Timestamp::MAX;
        kept.sort_by_key(|(_, kept)| {
            (kept.stand.stage.min(Stage::Done), !kept.task.is_due(now), kept.task.ends.unwrap_or(far), kept.task.at)
        });
        kept
    }
}

impl Watched {
    fn new(now: Timestamp) -> Self {
        Self {
            label: None,
            names: Vec::new(),
            order: None,
            proofs: BTreeMap::new(),
            presented: None,
            heard: now,
            over: false,
        }
    }

    fn take(&mut self, event: &Event) {
        match event {
            Event::Started { names, label, .. } => {
                self.names.clone_from(names);
                self.label.clone_from(label);
                self.over = false;
            }
            Event::Placed { order_id, .. } => self.order = Some(*order_id),
            Event::Challenged { open, .. } => {
                let open: BTreeSet<&String> = open.iter().collect();
                self.proofs.retain(|domain, shown| shown.step == Step::Accepted || open.contains(domain));
                for domain in open {
                    self.proofs.entry(domain.clone()).or_insert_with(Shown::open);
                }
            }
            Event::Presented { proof, provider } => {
                self.presented.get_or_insert_with(Instant::now);
                let shown = self.of_proof(proof);
                // Where a domain gets a proof through several providers, all are named.
                shown.provider = match shown.provider.take() {
                    Some(others) if others.split(", ").any(|other| other == provider) => Some(others),
                    Some(others) if shown.proof.as_ref() == Some(proof) => Some(format!("{others}, {provider}")),
                    _ => Some(provider.clone()),
                };
                shown.proof = Some(proof.clone());
                shown.step = Step::Placed;
            }
            Event::Observed { verdict } => {
                for view in &verdict.proofs {
                    let shown = self.of_proof(&view.proof);
                    shown.proof = Some(view.proof.clone());
                    shown.views.clone_from(&view.views);
                }
            }
            Event::Visible { domain } => self.step(domain, Step::Visible),
            Event::Accepted { domain } => self.step(domain, Step::Accepted),
            Event::Stored { .. } => self.over = true,
            _ => {}
        }
    }

    fn step(&mut self, domain: &str, step: Step) {
        self.proofs.entry(domain.to_owned()).or_insert_with(Shown::open).step = step;
    }

    /// The domain that a proof is for: the longest one that its name lies in.
    fn of_proof(&mut self, proof: &Proof) -> &mut Shown {
        let within = self.proofs.keys().filter(|domain| is_within(proof.name(), domain));
        let domain = within.max_by_key(|domain| domain.len()).cloned().unwrap_or_else(|| proof.name().to_owned());
        self.proofs.entry(domain).or_insert_with(Shown::open)
    }
}

impl Shown {
    fn open() -> Self {
        Self { step: Step::Open, proof: None, provider: None, views: Vec::new() }
    }
}

/// An error's kind as a label of a metric.
fn word_of(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Config => "config",
        ErrorKind::Credentials => "credentials",
        ErrorKind::NotServed => "not_served",
        ErrorKind::Unsupported => "unsupported",
        ErrorKind::Rejected => "rejected",
        ErrorKind::Conflict => "conflict",
        ErrorKind::RateLimited => "rate_limited",
        ErrorKind::Unavailable => "unavailable",
        _ => "other",
    }
}
