//! `dcv plan`, `run` and `import`: the inventory of the configuration, kept valid.
//!
//! What has to be done is decided by [`dcv_core::keeper`]; here is looked at what there is (files, journal, account), the tasks are
//! carried out, and people are told when they have to act. A pass looks at everything once, with a few calls to the CA however long
//! the inventory is; `dcv run` makes a pass, works on what is due, and sleeps until the next thing is. Runs that wait for people are
//! nobody's work: one call per tick tells which orders have changed, and only those are taken up again.
//!
//! Several of them may share one journal. What another is working on is left to it; that two begin the same is made impossible by
//! the journal, which is told how many runs of a label there were when it was looked at.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use certcentral::{Budget, Client, OrderId};
use dcv_core::{
    Dcv, Follower, RunId, Settings,
    journal::{Journal, Which},
    keeper::{Act, Task},
    name::DnsName,
};
use dcv_provider::dns::is_within;
use jiff::Timestamp;
use serde_json::json;
use tokio::{sync::Notify, task::JoinSet, time::Instant};
use tracing::Instrument as _;

use crate::{
    args,
    config::Config,
    exit::{Code, Failure, Result},
    journal,
    request::read_names,
    run::{interruptible, read_run},
    show::{CARE, GOOD, Screen},
    status::Board,
    supervisor::Supervised,
    webhook,
};

use inventory::{Ask, Books, Parked, certificate_on_disk, check_clock, look};
use notify::notify;
use slots::Slots;
use task::{Done, carry_out};

mod import;
mod inventory;
mod notify;
mod slots;
mod task;

pub(crate) use import::import;
pub(crate) use inventory::Inventory;

/// How long before a run was parked a change of its order may have been seen that it has not heard of.
const OVERLAP: Duration = Duration::from_secs(120);
/// How soon after an event of the webhook it is asked which orders have changed: many may come at once.
const HINT_PAUSE: Duration = Duration::from_secs(1);
/// How soon what has failed is tried again: doubled with each failure, up to a day.
const TRY_AGAIN: Duration = Duration::from_secs(60);
/// No longer than this.
const LONGEST_PAUSE: Duration = Duration::from_secs(86400);

/// Shows the plan.
pub(crate) async fn plan(config: &Config, screen: Screen, args: &args::Plan) -> Result<Code> {
    check_labels(config, &args.labels)?;
    let now = Timestamp::now();
    let known = match journal::open_if_any(config).await? {
        Some(journal) => Books::default().read(&*journal).await?,
        None => HashMap::new(),
    };
    let inventory = look(config, &config.client().await?, known, now, Ask::Ahead).await?;
    let tasks: Vec<&Task> = inventory.tasks.iter().filter(|task| chosen(&args.labels, &task.label)).collect();
    let mut rows: Vec<Vec<String>> = tasks
        .iter()
        .map(|task| {
            let when = if task.is_due(now) { "now".to_owned() } else { task.at.strftime("%Y-%m-%d").to_string() };
            vec![task.label.clone(), task.act.word().to_owned(), when, task.why.clone()]
        })
        .collect();
    let nothing = "nothing is to be kept; add [certificate.LABEL] or keep.domains to the configuration";
    let due = tasks.iter().filter(|task| task.is_due(now)).count();
    let unclear: Vec<&(String, Failure)> =
        inventory.unclear.iter().filter(|(label, _)| chosen(&args.labels, label)).collect();
    rows.extend(unclear.iter().map(|(label, failure)| {
        vec![label.clone(), "nothing".to_owned(), "unclear".to_owned(), failure.message.clone()]
    }));
    let not_seen: Vec<_> =
        unclear.iter().map(|(label, failure)| json!({ "label": label, "why": failure.message })).collect();
    screen.table(
        &["WHAT", "ACT", "WHEN", "WHY"],
        &rows,
        nothing,
        json!({ "result": "plan", "due": due, "tasks": tasks, "unclear": not_seen }),
    );
    Ok(unclear.first().map_or(Code::Done, |(_, failure)| failure.code))
}

/// Keeps everything valid until somebody stops it, or once.
pub(crate) async fn run(load: impl Fn() -> Result<Config>, screen: Screen, args: &args::Run) -> Result<Code> {
    let config = load()?;
    check_labels(&config, &args.labels)?;
    if config.certificates.is_empty() && config.keep.domains.is_empty() {
        let message = "there is nothing to keep; add [certificate.LABEL] or keep.domains";
        return Err(Failure::usage("certificate", message));
    }
    let board = Board::default();
    let _server = match config.keep.listen.filter(|_| !args.once) {
        Some(address) => Some(board.serve(address, &config).await?),
        None => None,
    };
    let _supervised = (!args.once).then(Supervised::ready);
    let mut keeper = Keeper::new(screen, board, args, config.keep.parallel);
    let code = interruptible(keeper.keep(load)).await;
    keeper.stop().await;
    code.unwrap_or_else(|| {
        screen.note("stopped; all is in the journal");
        Ok(Code::Interrupted)
    })
}

fn chosen(labels: &[String], label: &str) -> bool {
    labels.is_empty() || labels.iter().any(|one| one == label)
}

fn check_labels(config: &Config, labels: &[String]) -> Result<()> {
    for label in labels {
        if !config.certificates.contains_key(label) && !config.keep.domains.contains(label) {
            let known = config.certificates.keys().chain(&config.keep.domains).map(String::as_str);
            let near = crate::exit::did_you_mean(label, known);
            return Err(Failure::usage("LABEL", format!("nothing is called `{label}`{near}; `dcv plan` lists all")));
        }
    }
    Ok(())
}

// ---- keeping

/// What has failed: how often, and when it is tried again.
struct Failed {
    times: u32,
    again: Instant,
}

struct Keeper {
    screen: Screen,
    board: Board,
    labels: Vec<String>,
    /// Whether it ends when nothing is left to do.
    once: bool,
    /// What is being worked on.
    busy: BTreeSet<String>,
    failed: HashMap<String, Failed>,
    /// Whether something is put off until what is being worked on has ended.
    held: bool,
    /// Whom people were told of last, so that they are told once.
    told: HashMap<String, String>,
    work: JoinSet<Result<Done>>,
    /// What each task is for, also where it dies.
    of_task: HashMap<tokio::task::Id, String>,
    /// Opened once, since what this process holds ends with it.
    journal: Option<Arc<dyn Journal>>,
    books: Books,
    /// One for the life of this process: the account's limits do not begin anew with each pass.
    budget: Budget,
    /// That of the last pass: the key is read once in each, not with each question.
    client: Option<Client>,
    /// How many runs of each label there were when it was looked last.
    runs: HashMap<String, u64>,
    slots: Slots,
    /// The CA's webhook has told something.
    hinted: Arc<Notify>,
    listener: Option<webhook::Listener>,
    /// What it sees of orders every run sees, and no other asks.
    follower: Follower,
    /// Runs that wait until the CA tells of their orders.
    parked: HashMap<OrderId, Parked>,
    /// Whether somebody is waited for of whom nothing has been heard.
    waits: bool,
}

impl Keeper {
    fn new(screen: Screen, board: Board, args: &args::Run, parallel: usize) -> Self {
        Self {
            screen,
            board,
            labels: args.labels.clone(),
            once: args.once,
            busy: BTreeSet::new(),
            failed: HashMap::new(),
            held: false,
            told: HashMap::new(),
            work: JoinSet::new(),
            of_task: HashMap::new(),
            journal: None,
            books: Books::default(),
            budget: Budget::default(),
            client: None,
            runs: HashMap::new(),
            slots: Slots::new(parallel),
            hinted: Arc::default(),
            listener: None,
            follower: Follower::new(Settings::default().tick),
            parked: HashMap::new(),
            waits: false,
        }
    }

    /// Gives up what is being worked on, so that others can have it.
    async fn stop(&mut self) {
        self.work.shutdown().await;
        if let Some(journal) = &self.journal {
            journal.settle().await;
        }
    }

    /// Who runs once wants to hear of what waits, too, though there is nothing to do.
    fn tell_who_is_waited_for(&mut self, inventory: &Inventory, now: Timestamp) {
        let due: BTreeSet<&str> =
            inventory.tasks.iter().filter(|task| task.is_due(now)).map(|task| task.label.as_str()).collect();
        let is_silent = |parked: &&Parked| chosen(&self.labels, &parked.label) && !due.contains(parked.label.as_str());
        let mut silent: Vec<&Parked> = self.parked.values().filter(is_silent).collect();
        silent.sort_by_key(|parked| &parked.label);
        self.waits = !silent.is_empty();
        for Parked { label, waiting, .. } in silent {
            self.screen.result(
                format!("{} {label}: {waiting}", self.screen.on_out(CARE, "waits:")),
                json!({ "result": "waiting", "label": label, "text": waiting.to_string() }),
            );
        }
    }

    /// Asks which orders have changed, with one call for all that wait. The labels of the runs that can go on.
    async fn listen(&self) -> BTreeSet<String> {
        let mut heard = BTreeSet::new();
        let (Some(client), Some(oldest)) = (&self.client, self.parked.values().map(|parked| parked.since).min()) else {
            return heard;
        };
        let changes = match self.follower.changes(client, oldest).await {
            Ok(changes) => changes,
            // The next tick asks again, for a longer time.
            Err(error) => {
                let failure = Failure::from(error);
                self.screen.warn(format!("which orders have changed is not known: {}", failure.message));
                return heard;
            }
        };
        let now = Timestamp::now();
        for (ago, change) in changes {
            let Some(parked) = self.parked.get(&change.order_id) else { continue };
            let parked_for = Duration::try_from(now.duration_since(parked.since)).unwrap_or_default();
            if parked.is_news(&change.status) && ago <= parked_for + OVERLAP {
                heard.insert(parked.label.clone());
            }
        }
        heard
    }

    async fn keep(&mut self, load: impl Fn() -> Result<Config>) -> Result<Code> {
        let once = self.once;
        let mut config = Arc::new(load()?);
        let mut worst = Code::Done;
        let waiting = |keeper: &Self, worst| if keeper.waits { crate::run::worse(worst, Code::Waiting) } else { worst };
        loop {
            match self.pass(&config).await {
                Ok(code) => worst = crate::run::worse(worst, code),
                Err(failure) => {
                    self.board.blind(&failure.message);
                    if once {
                        return Err(failure);
                    }
                    self.screen.warn(&failure.message);
                }
            }
            let interval = config.keep.interval;
            let next = tokio::time::sleep(interval);
            tokio::pin!(next);
            let mut ticks = tokio::time::interval(Settings::default().tick);
            ticks.reset();
            let mut hinted = false;
            loop {
                tokio::select! {
                    Some(ended) = self.work.join_next_with_id() => {
                        worst = self.ended(&config, ended, worst).await;
                        if self.held {
                            break;
                        }
                        if once && self.work.is_empty() {
                            return Ok(waiting(self, worst));
                        }
                    }
                    () = &mut next, if !once => break,
                    () = self.hinted.notified(), if !once && !hinted => {
                        hinted = true;
                        ticks.reset_after(HINT_PAUSE);
                    }
                    _ = ticks.tick(), if !once && !self.parked.is_empty() => {
                        hinted = false;
                        let heard = self.listen().await;
                        if let Err(failure) = self.go_on(&config, &heard).await {
                            self.screen.warn(&failure.message);
                        }
                    }
                    else => return Ok(waiting(self, worst)),
                }
            }
            // A changed file is read again; a broken one does not stop what runs.
            match load() {
                Ok(new) => config = Arc::new(new),
                Err(failure) => self.screen.warn(format!("{}; the configuration from before stays", failure.message)),
            }
        }
    }

    /// Looks once, and begins what is due. The code is that of what could not be looked at.
    async fn pass(&mut self, config: &Arc<Config>) -> Result<Code> {
        let now = Timestamp::now();
        let client = config.client_within(self.budget.clone()).await?;
        self.client = Some(client.clone());
        let journal = match &self.journal {
            Some(journal) => Arc::clone(journal),
            None => Arc::clone(self.journal.insert(journal::open(config).await?)),
        };
        if self.listener.is_none() {
            let (follower, hinted) = (self.follower.clone(), Arc::clone(&self.hinted));
            let hint = move || {
                follower.hint();
                hinted.notify_one();
            };
            match webhook::listen(config, hint).await {
                Ok(listener) => self.listener = listener,
                // Events only make it faster, and the next pass tries again.
                Err(failure) => self.screen.warn(failure.message),
            }
        }
        let known = self.books.read(&*journal).await?;
        // Whose domain run has waited for somebody, and may go on to.
        let stalled: BTreeSet<String> =
            known.iter().filter(|(_, known)| known.has_waited()).map(|(label, _)| label.clone()).collect();
        self.runs = known.iter().map(|(label, known)| (label.clone(), known.runs)).collect();
        // Of those that are worked on it is heard when they have ended.
        let silent = known.iter().filter(|(label, _)| !self.busy.contains(*label));
        self.parked = silent.filter_map(|(label, known)| known.parked(label)).collect();
        // Who has waited for people goes on at once, however long the lists of the account are.
        let heard = self.listen().await;
        check_clock(&client)?;
        self.go_on(config, &heard).await?;

        let inventory = look(config, &client, known, now, Ask::Due).await?;
        self.board.planned(&inventory, config, &client, &journal, &self.busy);
        for parked in self.parked.values() {
            self.board.parked(&parked.label, &parked.waiting, parked.since);
        }
        if self.once {
            self.tell_who_is_waited_for(&inventory, now);
        }
        let mut worst = Code::Done;
        for (label, failure) in &inventory.unclear {
            if chosen(&self.labels, label) {
                worst = crate::run::worse(worst, self.failed(config, label, failure).await);
            }
        }
        let free: BTreeSet<RunId> = journal.runs(Which::Free).await?.into_iter().collect();
        let mut due: Vec<&Task> = inventory.tasks.iter().filter(|task| task.is_due(now)).collect();
        due.retain(|task| chosen(&self.labels, &task.label) && !self.busy.contains(&task.label));
        due.retain(|task| self.may_try(&task.label));
        // What another worker holds is its business.
        let is_elsewhere = |task: &Task| matches!(&task.act, Act::Resume { run } if !self.busy.contains(&task.label) && !free.contains(run));
        due.retain(|task| !is_elsewhere(task));
        due.sort_by_key(|task| task.urgency());
        let before = due.len();
        let elsewhere = inventory.tasks.iter().filter(|task| is_elsewhere(task)).map(|task| &task.label);
        let validating: BTreeSet<&String> = due
            .iter()
            .map(|task| &task.label)
            .chain(elsewhere)
            .chain(&self.busy)
            .filter(|label| is_validation(config, label) && !stalled.contains(*label))
            .collect();
        // An order below a domain that is just being validated would prove it a second time, and disturb the first. One that waits for
        // people may do so for longer than a certificate lives.
        let waits_for_domain = |task: &&Task| {
            let names = config.certificates.get(&task.label).map(|kept| kept.names.as_slice()).unwrap_or_default();
            let below =
                |name: &String| validating.iter().any(|domain| is_within(name.trim_start_matches("*."), domain));
            !matches!(task.act, Act::Resume { .. }) && names.iter().any(below)
        };
        due.retain(|task| !waits_for_domain(task));
        self.held = due.len() < before;
        self.begin(config, &due).await?;
        Ok(worst)
    }

    /// Whether nothing has failed there so lately that it has to wait.
    fn may_try(&self, label: &str) -> bool {
        self.failed.get(label).is_none_or(|failed| failed.again <= Instant::now())
    }

    /// Goes on with the runs of whose orders something has been heard, without looking at everything else.
    async fn go_on(&mut self, config: &Arc<Config>, heard: &BTreeSet<String>) -> Result<()> {
        let now = Timestamp::now();
        let goes_on = |label: &String| heard.contains(label) && chosen(&self.labels, label) && self.may_try(label);
        let tasks: Vec<Task> = self
            .parked
            .iter()
            .filter(|(_, parked)| goes_on(&parked.label))
            .map(|(order, parked)| Task {
                label: parked.label.clone(),
                act: Act::Resume { run: parked.run.clone() },
                why: format!("order {order} has changed"),
                at: now,
                ends: None,
            })
            .collect();
        self.begin(config, &tasks.iter().collect::<Vec<_>>()).await
    }

    /// Begins to work on these tasks, as far as there are free slots; the others wait for one.
    async fn begin(&mut self, config: &Arc<Config>, tasks: &[&Task]) -> Result<()> {
        let (Some(client), Some(journal)) = (self.client.clone(), self.journal.clone()) else { return Ok(()) };
        if tasks.is_empty() {
            return Ok(());
        }
        let dcv = Arc::new(self.dcv(config, client, &journal, tasks).await?);
        // What they wait for, if they do, is heard when they have ended.
        let taken_up: BTreeSet<&str> = tasks.iter().map(|task| task.label.as_str()).collect();
        self.parked.retain(|_, parked| !taken_up.contains(parked.label.as_str()));
        for &task in tasks {
            self.screen.note(format!("{}: {} ({})", task.label, task.act.word(), task.why));
            self.board.queued(&task.label, task.act.word());
            self.busy.insert(task.label.clone());
            let (config, dcv, journal) = (Arc::clone(config), Arc::clone(&dcv), Arc::clone(&journal));
            let (slots, board, task) = (self.slots.clone(), self.board.clone(), task.clone());
            let span = tracing::error_span!("task", label = task.label, act = task.act.word());
            let earlier = self.runs.get(&task.label).copied().unwrap_or(0);
            let label = task.label.clone();
            let work = async move {
                let _slot = slots.acquire(task.urgency()).await;
                board.works(&task.label, task.act.word());
                Box::pin(carry_out(&config, &dcv, &*journal, &task, earlier)).await
            };
            let spawned = self.work.spawn(work.instrument(span));
            self.of_task.insert(spawned.id(), label);
        }
        Ok(())
    }

    /// One for all tasks of a pass, so that they share budget, follower and providers.
    async fn dcv(&self, config: &Config, client: Client, journal: &Arc<dyn Journal>, due: &[&Task]) -> Result<Dcv> {
        let mut names: Vec<DnsName> = Vec::new();
        let mut overrides: Vec<String> = Vec::new();
        for task in due {
            match config.certificates.get(&task.label) {
                Some(kept) => {
                    let of_kept = read_names(&kept.names)?;
                    for name in &of_kept {
                        let method = kept.method.unwrap_or(config.defaults.method);
                        let domain = method.domain_of(name, config.defaults.scope.as_ref());
                        overrides.extend(kept.provider.iter().map(|provider| format!("{domain}={provider}")));
                    }
                    names.extend(of_kept);
                }
                None => names.extend(read_names(std::slice::from_ref(&task.label))?),
            }
            if let Act::Resume { run } = &task.act {
                let request = read_run(&**journal, run).await?.request;
                names.extend(request.names);
                overrides.extend(request.routes);
            }
        }
        let dns = config.dns()?;
        let router = config.router_as_far_as_possible(&names, &overrides, &dns).await?;
        // Nobody holds a place in the queue while people take their time.
        let people = if self.once { Duration::MAX } else { Duration::ZERO };
        let builder = Dcv::builder(client)
            .router(router)
            .dns(dns)
            .settings(Settings { people, parallel: config.keep.parallel, ..config.settings(None) })
            .journal(Arc::clone(journal))
            .observer(self.board.observer())
            .meter(self.board.meter())
            .follower(&self.follower);
        Ok(builder.build().await?)
    }

    async fn ended(
        &mut self,
        config: &Config,
        ended: std::result::Result<(tokio::task::Id, Result<Done>), tokio::task::JoinError>,
        worst: Code,
    ) -> Code {
        let (id, done) = match ended {
            Ok((id, done)) => (id, done),
            Err(error) => {
                let died =
                    Failure::new(Code::Unexpected, format!("the task has died, which is a mistake of dcv: {error}"));
                (error.id(), Err(died))
            }
        };
        let Some(label) = self.of_task.remove(&id) else { return worst };
        self.busy.remove(&label);
        // Stored is a certificate also where a deploy command has failed.
        if let Ok(done) = &done
            && let Ok(Some((next, present))) = certificate_on_disk(config, &label, Timestamp::now())
        {
            self.board.renewed(&label, &present, Some(next).filter(|_| matches!(done, Done::Finished(_))));
        }
        let code = match done {
            Ok(Done::Elsewhere) => {
                self.failed.remove(&label);
                self.told.remove(&label);
                self.board.left(&label, "to another worker");
                return worst;
            }
            Ok(Done::Finished(text)) => {
                self.failed.remove(&label);
                self.told.remove(&label);
                self.board.done(&label, &text);
                self.screen.result(
                    format!("{} {label}: {text}", self.screen.on_out(GOOD, "done:")),
                    json!({ "result": "done", "label": label, "text": text }),
                );
                return worst;
            }
            Ok(Done::Waits(waiting, parked)) => {
                self.failed.remove(&label);
                if parked.is_none() {
                    // Nobody tells when to go on; a pass may come at once, and is no reason to.
                    let pause = if self.once { LONGEST_PAUSE } else { Settings::default().tick };
                    self.failed.insert(label.clone(), Failed { times: 0, again: Instant::now() + pause });
                }
                self.parked.extend(parked);
                self.board.waits(&label, &waiting);
                self.tell(config, &label, Code::Waiting, waiting.to_string()).await;
                Code::Waiting
            }
            Err(failure) => {
                let times = self.failed.get(&label).map_or(0, |failed| failed.times) + 1;
                let pause = TRY_AGAIN.saturating_mul(2u32.saturating_pow(times.min(11) - 1)).min(LONGEST_PAUSE);
                self.failed.insert(label.clone(), Failed { times, again: Instant::now() + pause });
                self.failed(config, &label, &failure).await
            }
        };
        crate::run::worse(worst, code)
    }

    /// Says that nothing has come of it.
    async fn failed(&mut self, config: &Config, label: &str, failure: &Failure) -> Code {
        self.board.failed(label, &failure.message);
        self.tell(config, label, failure.code, failure.message.clone()).await;
        failure.code
    }

    /// Says it here, and to people where it is new.
    async fn tell(&mut self, config: &Config, label: &str, code: Code, text: String) {
        let (what, result) = if code == Code::Waiting { ("waits:", "waiting") } else { ("failed:", "failed") };
        self.screen.result(
            format!("{} {label}: {text}", self.screen.on_out(CARE, what)),
            json!({ "result": result, "label": label, "text": text }),
        );
        if self.told.get(label) != Some(&text) {
            for failure in notify(&config.keep, label, code, &text).await {
                self.screen.warn(failure);
            }
            self.told.insert(label.to_owned(), text);
        }
    }
}

fn is_validation(config: &Config, label: &str) -> bool {
    config.keep.domains.iter().any(|domain| domain == label)
}
