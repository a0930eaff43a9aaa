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
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt::Write as _,
    sync::Arc,
    time::Duration,
};

use certcentral::{Budget, Client, Moment, OrderId, OrderStatus};
use dcv_core::{
    Actor, Dcv, Deploy, Error, Outcome, Purpose, Request, RunId, Settings, Waiting,
    certificate::{CERT_FILE, Chain, FULLCHAIN_FILE},
    journal::{Journal, JournalError, Which},
    keeper::{self, Act, Open, OrderOfIt, Policy, Present, SoFar, Task, Trouble, Wanted as WantedCertificate},
    name::DnsName,
    state::{End, Run},
};
use dcv_provider::dns::is_within;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::{sync::Semaphore, task::JoinSet, time::Instant};
use tracing::Instrument as _;

use crate::{
    args,
    config::{Config, Keep, Kept},
    exit::{Code, Failure, Result},
    journal, orders,
    request::{Prepared, Wanted, organization_number, out_dir, read_names},
    run::{interruptible, names_of_run},
    show::{CARE, GOOD, Screen},
    status::Board,
    supervisor::Supervised,
    webhook,
};

/// How long the command may take that tells people.
const NOTIFY_DEADLINE: Duration = Duration::from_secs(30);
/// How long the deploy command may take unless the configuration says.
const DEPLOY_DEADLINE: Duration = Duration::from_secs(60);
/// How far the question for changed orders reaches back beyond the last one: the CA may list a change late.
const OVERLAP: Duration = Duration::from_secs(120);
/// So many runs are read from the journal at once: their entries are larger than what is kept of them.
const READ_AT_ONCE: usize = 256;
/// How soon what has failed is tried again: doubled with each failure, up to a day.
const TRY_AGAIN: Duration = Duration::from_secs(60);

/// Everything that is known at one moment.
pub(crate) struct Inventory {
    pub(crate) tasks: Vec<Task>,
    /// What is there of each certificate.
    pub(crate) present: BTreeMap<String, Present>,
    /// How many runs of each label the journal had.
    runs: HashMap<String, u64>,
    /// Open runs that wait until the CA tells of their orders.
    parked: HashMap<OrderId, Parked>,
}

/// A run that waits until the CA tells of its order.
struct Parked {
    label: String,
    waiting: Waiting,
    since: Timestamp,
}

impl Parked {
    /// Whether an order's status is another than that which the run waits in.
    fn is_news(&self, status: &OrderStatus) -> bool {
        match status {
            OrderStatus::NeedsApproval => self.waiting.on != Actor::Approver,
            OrderStatus::Pending | OrderStatus::Processing | OrderStatus::ReissuePending => {
                self.waiting.on == Actor::Approver
            }
            _ => true,
        }
    }
}

/// Shows the plan.
pub(crate) async fn plan(config: &Config, screen: Screen, args: &args::Plan) -> Result<Code> {
    check_labels(config, &args.labels)?;
    let now = Timestamp::now();
    let journal = journal::open_if_any(config).await?;
    let inventory = look(config, &config.client().await?, journal.as_deref(), &mut Books::default(), now).await?;
    let tasks: Vec<&Task> = inventory.tasks.iter().filter(|task| chosen(&args.labels, &task.label)).collect();
    let rows: Vec<Vec<String>> = tasks
        .iter()
        .map(|task| {
            let when = if task.is_due(now) { "now".to_owned() } else { task.at.strftime("%Y-%m-%d").to_string() };
            vec![task.label.clone(), task.act.word().to_owned(), when, task.why.clone()]
        })
        .collect();
    let nothing = "nothing is to be kept; add [certificate.LABEL] or keep.domains to the configuration";
    let due = tasks.iter().filter(|task| task.is_due(now)).count();
    screen.table(
        &["WHAT", "ACT", "WHEN", "WHY"],
        &rows,
        nothing,
        json!({ "result": "plan", "due": due, "tasks": tasks }),
    );
    Ok(Code::Done)
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
    let mut keeper = Keeper::new(screen, board, args);
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

// ---- looking

/// The last run of each label: the open one, and the order of the last one that came to a certificate.
#[derive(Default)]
struct Known {
    runs: u64,
    open: Option<OpenRun>,
    order: Option<OrderId>,
    /// The runs that have come to a bad end since the last good one.
    trouble: Option<Trouble>,
}

impl Known {
    fn so_far(&self) -> SoFar<'_> {
        let open = self
            .open
            .as_ref()
            .map(|open| Open { run: &open.id, waits: open.waits.as_ref().map(|(_, waiting)| (waiting, open.last)) });
        SoFar { open, trouble: self.trouble.as_ref() }
    }
}

/// A run that is not closed.
struct OpenRun {
    id: RunId,
    /// When its last entry was written.
    last: Timestamp,
    /// The order of which the CA will tell, and whom the run waits for, where it waits and nothing else is to be done.
    waits: Option<(OrderId, Waiting)>,
}

/// What the journal says of one run, as far as it matters here.
struct Page {
    label: Option<String>,
    closed: bool,
    /// The order that its certificate came from.
    order: Option<OrderId>,
    end: Option<String>,
    last: Timestamp,
    waits: Option<(OrderId, Waiting)>,
}

impl From<Run> for Page {
    fn from(run: Run) -> Self {
        // Of the request of a reissue or a duplicate the lists of changed orders tell nothing.
        let told = run.request.purpose.of_order().is_none() || !run.needs_approval;
        let waits = run.waiting.filter(|waiting| told && waiting.is_for_the_ca_to_tell() && run.shown.is_empty());
        Self {
            label: run.request.label,
            closed: run.closed,
            order: run.order_id.filter(|_| run.chain.is_some()),
            end: run.end.map(|end| match end {
                End::Failed(reason) | End::Canceled(reason) => reason,
            }),
            last: run.last,
            waits: run.order_id.zip(waits).filter(|_| run.certificate_id.is_none() && run.canceling.is_none()),
        }
    }
}

/// The journal as it was read last. Closed runs never change, so they are read once.
#[derive(Default)]
pub(crate) struct Books {
    closed: HashMap<RunId, Page>,
}

impl Books {
    /// What is known of each label.
    async fn read(&mut self, journal: &dyn Journal) -> Result<HashMap<String, Known>> {
        let ids = journal.runs(Which::All).await?;
        let new: Vec<RunId> = ids.iter().filter(|id| !self.closed.contains_key(*id)).cloned().collect();
        let mut open: HashMap<RunId, Page> = HashMap::new();
        for some in new.chunks(READ_AT_ONCE) {
            for (id, entries) in some.iter().zip(journal.read_many(some).await?) {
                let Some(run) = Run::fold(id.clone(), &entries) else { continue };
                let page = Page::from(run);
                if page.closed { &mut self.closed } else { &mut open }.insert(id.clone(), page);
            }
        }
        let mut known: HashMap<String, Known> = HashMap::new();
        for id in ids {
            let Some(page) = self.closed.get(&id).or_else(|| open.get(&id)) else { continue };
            let Some(label) = page.label.clone() else { continue };
            let of_label = known.entry(label).or_default();
            of_label.runs += 1;
            if !page.closed {
                of_label.open = Some(OpenRun { id, last: page.last, waits: page.waits.clone() });
            }
            of_label.order = page.order.or(of_label.order);
            of_label.trouble = match (&page.end, of_label.trouble.take()) {
                (Some(reason), before) => Some(Trouble {
                    at: page.last,
                    times: before.map_or(0, |before| before.times) + 1,
                    reason: reason.clone(),
                }),
                (None, before) if !page.closed => before,
                (None, _) => None,
            };
        }
        Ok(known)
    }
}

/// Looks at files, journal and account, and decides.
pub(crate) async fn look(
    config: &Config,
    client: &Client,
    journal: Option<&dyn Journal>,
    books: &mut Books,
    now: Timestamp,
) -> Result<Inventory> {
    let mut known = match journal {
        Some(journal) => books.read(journal).await?,
        None => HashMap::new(),
    };
    let waits = |(label, known): (&String, &Known)| {
        let open = known.open.as_ref()?;
        let (order, waiting) = open.waits.clone()?;
        Some((order, Parked { label: label.clone(), waiting, since: open.last }))
    };
    let parked = known.iter().filter_map(waits).collect();
    let runs = known.iter().map(|(label, known)| (label.clone(), known.runs)).collect();
    let policy = policy(config);
    let mut tasks = Vec::new();
    let mut present = BTreeMap::new();
    let orders = if config.certificates.is_empty() { HashMap::new() } else { orders_of(client).await? };
    for (label, kept) in &config.certificates {
        let of_label = known.remove(label).unwrap_or_default();
        let wanted = wanted(config, label, kept)?;
        let order = of_label.order.or(kept.order.map(OrderId)).and_then(|id| orders.get(&id).copied());
        let mut found = read_present(config, kept, order)?;
        let mut task = keeper::certificate(&wanted, found.as_ref(), &of_label.so_far(), now, policy);
        // Lists do not tell how long an order lives, on which it depends whether a new one is needed. Asked only where it matters.
        if let Some(order) = found.as_mut().and_then(|present| present.order.as_mut())
            && matches!(task.act, Act::Renew { .. })
            && task.is_due(now)
            && order.until.is_none()
        {
            order.until = client.order(order.id).await?.order_valid_till.as_ref().and_then(Moment::timestamp);
            task = keeper::certificate(&wanted, found.as_ref(), &of_label.so_far(), now, policy);
        }
        tasks.push(task);
        present.extend(found.map(|found| (label.clone(), found)));
    }
    if !config.keep.domains.is_empty() {
        let all = client.all_domains(None).await?;
        for name in &config.keep.domains {
            let of_name = known.remove(name).unwrap_or_default();
            let domain = all.iter().find(|domain| domain.name.as_deref().is_some_and(|n| n.eq_ignore_ascii_case(name)));
            // The earliest end of those that are wanted.
            let ends = config.keep.domain_types.iter().map(|one| domain.and_then(|domain| domain.validated_until(one)));
            let until = ends.min().flatten();
            tasks.push(keeper::domain(name, until, &of_name.so_far(), now, policy));
        }
    }
    tasks.sort_by_key(|task| (task.at, task.urgency()));
    Ok(Inventory { tasks, present, runs, parked })
}

fn policy(config: &Config) -> Policy {
    Policy { left: config.keep.left, spread: config.keep.spread }
}

/// What was just written, and when it is due again, for those who look; the next pass asks the CA, too.
fn certificate_on_disk(config: &Config, label: &str, now: Timestamp) -> Result<Option<(Task, Present)>> {
    let Some(kept) = config.certificates.get(label) else { return Ok(None) };
    let Some(present) = read_present(config, kept, None)? else { return Ok(None) };
    let wanted = wanted(config, label, kept)?;
    let task = keeper::certificate(&wanted, Some(&present), &SoFar::default(), now, policy(config));
    Ok(Some((task, present)))
}

/// All orders of the account, by one list.
async fn orders_of(client: &Client) -> Result<HashMap<OrderId, OrderOfIt>> {
    let orders = client.all_orders(&[], None).await?;
    let of_it = |order: &certcentral::Order| OrderOfIt {
        id: order.id,
        until: order.order_valid_till.as_ref().and_then(Moment::timestamp),
        lives: matches!(order.status, OrderStatus::Issued | OrderStatus::ReissuePending),
    };
    Ok(orders.iter().map(|order| (order.id, of_it(order))).collect())
}

fn wanted(config: &Config, label: &str, kept: &Kept) -> Result<WantedCertificate> {
    let names = read_names(&kept.names)?;
    let product = kept.product.clone().or_else(|| config.defaults.product.clone()).unwrap_or_default();
    Ok(WantedCertificate {
        label: label.to_owned(),
        names: names.iter().map(|name| name.as_str().to_owned()).collect(),
        product,
    })
}

fn out_of<'c>(config: &'c Config, kept: &'c Kept) -> &'c str {
    kept.out.as_deref().or(config.defaults.out.as_deref()).unwrap_or(crate::request::DEFAULT_OUT)
}

/// The certificate in the folder where the next one will be.
fn read_present(config: &Config, kept: &Kept, order: Option<OrderOfIt>) -> Result<Option<Present>> {
    let names = read_names(&kept.names)?;
    let dir = out_dir(out_of(config, kept), &names[0])?;
    let read = |file: &str| std::fs::read(dir.join(file)).ok();
    let Some(pem) = read(FULLCHAIN_FILE).or_else(|| read(CERT_FILE)) else { return Ok(None) };
    let chain = match Chain::from_pem(&pem) {
        Ok(chain) => chain,
        Err(error) => {
            tracing::warn!(dir = %dir.display(), %error, "what is there is no certificate; a new one will replace it");
            return Ok(None);
        }
    };
    Ok(Some(Present {
        not_before: chain.not_before(),
        not_after: chain.not_after(),
        names: chain.names().to_vec(),
        order,
    }))
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
    work: JoinSet<(String, Result<Done>)>,
    /// Opened once, since what this process holds ends with it.
    journal: Option<Arc<dyn Journal>>,
    books: Books,
    /// One for the life of this process: the account's limits do not begin anew with each pass.
    budget: Budget,
    /// That of the last pass, by which the next one follows orders.
    last: Option<Arc<Dcv>>,
    /// Runs that wait until the CA tells of their orders.
    parked: HashMap<OrderId, Parked>,
    /// Until when the changes of orders are known.
    known_until: Option<Timestamp>,
    /// Labels of runs of whose orders something has been heard.
    heard: BTreeSet<String>,
    /// Whether somebody is waited for of whom nothing has been heard.
    waits: bool,
}

/// What came of a task.
enum Done {
    /// In words for people.
    Finished(String),
    /// Who must act, and what for.
    Waits(Waiting),
    /// Another worker is at it, or has done it meanwhile.
    Elsewhere,
}

impl Keeper {
    fn new(screen: Screen, board: Board, args: &args::Run) -> Self {
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
            journal: None,
            books: Books::default(),
            budget: Budget::default(),
            last: None,
            parked: HashMap::new(),
            known_until: None,
            heard: BTreeSet::new(),
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
    fn tell_who_is_waited_for(&mut self, inventory: &Inventory, heard: &BTreeSet<String>, now: Timestamp) {
        let due = |label: &String| inventory.tasks.iter().any(|task| task.label == *label && task.is_due(now));
        let mut silent: Vec<&Parked> = self
            .parked
            .values()
            .filter(|parked| {
                chosen(&self.labels, &parked.label) && !heard.contains(&parked.label) && !due(&parked.label)
            })
            .collect();
        silent.sort_by_key(|parked| &parked.label);
        self.waits = !silent.is_empty();
        for Parked { label, waiting, .. } in silent {
            self.screen.result(
                format!("{} {label}: {waiting}", self.screen.on_out(CARE, "waits:")),
                json!({ "result": "waiting", "label": label, "text": waiting.to_string() }),
            );
        }
    }

    /// Asks which orders have changed since it was asked last, with one call for all that wait, and notes whose runs can go on.
    async fn listen(&mut self, config: &Config) {
        let Some(oldest) = self.parked.values().map(|parked| parked.since).min() else { return };
        let now = Timestamp::now();
        let since = self.known_until.map_or(oldest, |known| known.max(oldest));
        let window = Duration::try_from(now.duration_since(since)).unwrap_or_default() + OVERLAP;
        let budget = self.budget.clone();
        let changes = async { Ok::<_, Failure>(config.client_within(budget).await?.status_changes(window).await?) };
        match changes.await {
            Ok(changes) => {
                let of_ours = |change: &certcentral::StatusChange| {
                    let parked = self.parked.get(&change.order_id)?;
                    parked.is_news(&change.status).then(|| parked.label.clone())
                };
                let heard: Vec<String> = changes.iter().filter_map(of_ours).collect();
                self.heard.extend(heard);
                self.known_until = Some(now);
            }
            // The next tick asks again, for a longer time.
            Err(failure) => self.screen.warn(format!("which orders have changed is not known: {}", failure.message)),
        }
    }

    async fn keep(&mut self, load: impl Fn() -> Result<Config>) -> Result<Code> {
        let once = self.once;
        let mut config = Arc::new(load()?);
        let mut worst = Code::Done;
        let waiting = |keeper: &Self, worst| if keeper.waits { crate::run::worse(worst, Code::Waiting) } else { worst };
        let permits = Arc::new(Semaphore::new(config.keep.parallel));
        loop {
            let passed = self.pass(&config, &permits).await;
            if let Err(failure) = &passed {
                self.board.blind(&failure.message);
                if once {
                    return Err(failure.clone());
                }
                self.screen.warn(&failure.message);
            }
            let interval = config.keep.interval;
            let next = tokio::time::sleep(interval);
            tokio::pin!(next);
            let mut ticks = tokio::time::interval(Settings::default().tick);
            ticks.reset();
            loop {
                tokio::select! {
                    Some(ended) = self.work.join_next() => {
                        worst = self.ended(&config, ended, worst).await;
                        if self.held {
                            break;
                        }
                        if once && self.work.is_empty() {
                            return Ok(waiting(self, worst));
                        }
                    }
                    () = &mut next, if !once => break,
                    _ = ticks.tick(), if !once && !self.parked.is_empty() => {
                        self.listen(&config).await;
                        if !self.heard.is_empty() {
                            break;
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

    /// Looks once, and begins what is due.
    async fn pass(&mut self, config: &Arc<Config>, permits: &Arc<Semaphore>) -> Result<()> {
        let now = Timestamp::now();
        let client = config.client_within(self.budget.clone()).await?;
        let journal = match &self.journal {
            Some(journal) => Arc::clone(journal),
            None => Arc::clone(self.journal.insert(journal::open(config).await?)),
        };
        let mut inventory = look(config, &client, Some(&*journal), &mut self.books, now).await?;
        self.parked = std::mem::take(&mut inventory.parked);
        self.board.planned(&inventory, config, &client, &journal);
        for parked in self.parked.values() {
            self.board.parked(&parked.label, &parked.waiting, parked.since);
        }
        self.listen(config).await;
        let free: BTreeSet<RunId> = journal.runs(Which::Free).await?.into_iter().collect();
        let heard = std::mem::take(&mut self.heard);
        if self.once {
            self.tell_who_is_waited_for(&inventory, &heard, now);
        }
        let mut due: Vec<&Task> =
            inventory.tasks.iter().filter(|task| task.is_due(now) || heard.contains(&task.label)).collect();
        due.retain(|task| chosen(&self.labels, &task.label) && !self.busy.contains(&task.label));
        due.retain(|task| self.failed.get(&task.label).is_none_or(|failed| failed.again <= Instant::now()));
        // What another worker holds is its business.
        let is_elsewhere = |task: &Task| matches!(&task.act, Act::Resume { run } if !self.busy.contains(&task.label) && !free.contains(run));
        due.retain(|task| !is_elsewhere(task));
        due.sort_by_key(|task| task.urgency());
        let before = due.len();
        let elsewhere = inventory.tasks.iter().filter(|task| is_elsewhere(task));
        let validating: Vec<String> = due
            .iter()
            .copied()
            .chain(elsewhere)
            .filter(|task| is_validation(config, &task.label))
            .map(|task| task.label.clone())
            .collect();
        // An order below a domain that is just being validated would prove it a second time, and disturb the first.
        let waits_for_domain = |task: &&Task| {
            let names = config.certificates.get(&task.label).map(|kept| kept.names.as_slice()).unwrap_or_default();
            let busy = self.busy.iter().filter(|label| is_validation(config, label));
            let domains: Vec<&String> = validating.iter().chain(busy).collect();
            let new = !matches!(task.act, Act::Resume { .. });
            new && names
                .iter()
                .any(|name| domains.iter().any(|domain| is_within(name.trim_start_matches("*."), domain)))
        };
        due.retain(|task| !waits_for_domain(task));
        self.held = due.len() < before;
        if due.is_empty() {
            return Ok(());
        }
        let dcv = Arc::new(self.dcv(config, client, &journal, &due).await?);
        self.last = Some(Arc::clone(&dcv));
        let listener = Arc::new(webhook::listen(config, &dcv).await?);
        for task in due {
            self.screen.note(format!("{}: {} ({})", task.label, task.act.word(), task.why));
            self.board.queued(&task.label, task.act.word());
            self.busy.insert(task.label.clone());
            let (config, dcv, permits, task) =
                (Arc::clone(config), Arc::clone(&dcv), Arc::clone(permits), task.clone());
            let (listener, board) = (Arc::clone(&listener), self.board.clone());
            let span = tracing::error_span!("task", label = task.label, act = task.act.word());
            let earlier = inventory.runs.get(&task.label).copied().unwrap_or(0);
            let work = async move {
                let _permit = permits.acquire().await;
                board.works(&task.label, task.act.word());
                let done = Box::pin(carry_out(&config, &dcv, &task, earlier)).await;
                drop(listener);
                (task.label, done)
            };
            self.work.spawn(work.instrument(span));
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
                        overrides.extend(kept.provider.iter().map(|provider| format!("{}={provider}", name.base())));
                    }
                    names.extend(of_kept);
                }
                None => names.extend(read_names(std::slice::from_ref(&task.label))?),
            }
            if let Act::Resume { run } = &task.act {
                names.extend(names_of_run(&**journal, run).await?);
            }
        }
        let dns = config.dns()?;
        let router = config.router(&names, &overrides, &dns).await?;
        // Nobody holds a place in the queue while people take their time.
        let people = if self.once { Duration::MAX } else { Duration::ZERO };
        let mut builder = Dcv::builder(client)
            .router(router)
            .dns(dns)
            .settings(Settings { people, ..config.settings(None) })
            .journal(Arc::clone(journal))
            .observer(self.board.observer())
            .meter(self.board.meter());
        if let Some(last) = &self.last {
            builder = builder.beside(last);
        }
        Ok(builder.build().await?)
    }

    async fn ended(
        &mut self,
        config: &Config,
        ended: std::result::Result<(String, Result<Done>), tokio::task::JoinError>,
        worst: Code,
    ) -> Code {
        let (label, done) = match ended {
            Ok(ended) => ended,
            Err(error) => {
                self.screen.warn(format!("a task has died: {error}"));
                return Code::Unexpected;
            }
        };
        self.busy.remove(&label);
        // Stored is a certificate also where a deploy command has failed.
        if let Ok(done) = &done
            && let Ok(Some((next, present))) = certificate_on_disk(config, &label, Timestamp::now())
        {
            self.board.renewed(&label, &present, Some(next).filter(|_| matches!(done, Done::Finished(_))));
        }
        let (text, waiting, code) = match done {
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
            Ok(Done::Waits(waiting)) => (waiting.to_string(), Some(waiting), Code::Waiting),
            Err(failure) => {
                let times = self.failed.get(&label).map_or(0, |failed| failed.times) + 1;
                let pause =
                    TRY_AGAIN.saturating_mul(2u32.saturating_pow(times.min(11) - 1)).min(Duration::from_secs(86400));
                self.failed.insert(label.clone(), Failed { times, again: Instant::now() + pause });
                (failure.message, None, failure.code)
            }
        };
        match &waiting {
            Some(waiting) => self.board.waits(&label, waiting),
            None => self.board.failed(&label, &text),
        }
        self.screen.result(
            format!(
                "{} {label}: {text}",
                self.screen.on_out(CARE, if code == Code::Waiting { "waits:" } else { "failed:" })
            ),
            json!({ "result": if code == Code::Waiting { "waiting" } else { "failed" }, "label": label, "text": text }),
        );
        if self.told.get(&label) != Some(&text) {
            if let Err(why) = notify(&config.keep, &label, code, &text).await {
                self.screen.warn(format!("keep.notify: {why}"));
            }
            self.told.insert(label, text);
        }
        crate::run::worse(worst, code)
    }
}

fn is_validation(config: &Config, label: &str) -> bool {
    config.keep.domains.iter().any(|domain| domain == label)
}

/// Tells people that somebody has to act: by the command of the configuration, which reads one JSON object.
async fn notify(keep: &Keep, label: &str, code: Code, text: &str) -> std::result::Result<(), String> {
    use tokio::io::AsyncWriteExt;
    let Some((program, arguments)) = keep.notify.split_first() else { return Ok(()) };
    let message = json!({ "label": label, "waiting": code == Code::Waiting, "text": text }).to_string();
    let mut child = tokio::process::Command::new(program);
    for variable in dcv_provider::secret::variables() {
        child.env_remove(variable);
    }
    let mut child = child
        .args(arguments)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("`{program}` cannot be run: {error}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not read is its own business.
        let _ = stdin.write_all(message.as_bytes()).await;
    }
    match tokio::time::timeout(NOTIFY_DEADLINE, child.wait()).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(format!("`{program}` failed ({status})")),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("`{program}` has not ended after {} s", NOTIFY_DEADLINE.as_secs())),
    }
}

/// Does one task from its beginning to its end, or until somebody else has to act. There were `earlier` runs of its label when it
/// was decided.
async fn carry_out(config: &Config, dcv: &Dcv, task: &Task, earlier: u64) -> Result<Done> {
    if let Act::Resume { run } = &task.act {
        return finished(dcv.resume(run).await);
    }
    let mut prepared = prepare(config, dcv, task).await?;
    prepared.request.label = Some(task.label.clone());
    prepared.request.earlier = Some(earlier);
    prepared.write_key()?;
    let undo = prepared.undo();
    let request = prepared.request.clone();
    let result = dcv.issue(prepared.request).await;
    if let Err(error) = &result
        && !began(dcv, &request).await
    {
        tracing::debug!(%error, "nothing was begun");
        undo();
    }
    finished(result)
}

/// Whether the journal has a run for this request: then its key is needed.
async fn began(dcv: &Dcv, request: &Request) -> bool {
    let runs = dcv.runs(Which::All).await.unwrap_or_default();
    runs.iter()
        .any(|run| run.request.label == request.label && run.request.output == request.output && run.end.is_none())
}

fn finished(result: dcv_core::Result<Outcome>) -> Result<Done> {
    use JournalError::{Begun, Fenced, Held};
    let outcome = match result {
        Err(Error::Journal(error @ (Held(_) | Fenced(_) | Begun { .. }))) => {
            tracing::info!(%error, "left to another worker");
            return Ok(Done::Elsewhere);
        }
        result => result?,
    };
    Ok(match outcome {
        Outcome::Waiting(waiting) => Done::Waits(waiting),
        Outcome::Issued(issued) if !issued.left_behind.is_empty() => {
            return Err(Failure::new(
                Code::LeftBehind,
                format!("{} proofs could not be taken back", issued.left_behind.len()),
            ));
        }
        Outcome::Issued(issued) => Done::Finished(format!(
            "{} until {}",
            issued.chain.names().join(" "),
            issued.chain.not_after().strftime("%Y-%m-%d")
        )),
        outcome @ Outcome::Validated(_) => Done::Finished(outcome.to_string()),
    })
}

/// The request of a task.
async fn prepare(config: &Config, dcv: &Dcv, task: &Task) -> Result<Prepared> {
    let Some(kept) = config.certificates.get(&task.label) else {
        let types: Vec<&str> = config.keep.domain_types.iter().map(String::as_str).collect();
        let organization = match &config.defaults.organization {
            Some(text) => Some(organization_number(config, text).await?),
            None => None,
        };
        // Whatever is left now is too little.
        let until = task.ends.unwrap_or(Timestamp::now()) + SignedDuration::from_hours(24);
        let names = read_names(std::slice::from_ref(&task.label))?;
        let request = Request::domains(names, organization, &types, until)?.method(config.defaults.method);
        return Ok(Prepared::without_certificate(request));
    };
    let order = args::Order {
        product: kept.product.clone(),
        organization: kept.organization.clone(),
        ..args::Order::default()
    };
    let all = args::account::Names { all: kept.names.clone(), ..args::account::Names::default() };
    let wanted = match task.act {
        Act::Renew { order_id } => {
            let earlier = orders::find(dcv.client(), &order_id.to_string()).await?;
            Wanted::renewal(config, &earlier, &all, &order).await?
        }
        Act::Reissue { order_id } => {
            let earlier = orders::find(dcv.client(), &order_id.to_string()).await?;
            Wanted::again(Purpose::Reissue { order_id }, &earlier, &all)?
        }
        _ => Wanted::order(config, &kept.names, &order).await?,
    };
    let certificate = args::Certificate {
        method: kept.method,
        key: kept.key.clone(),
        key_type: kept.key_type.filter(|_| kept.key.is_none()),
        out: Some(out_of(config, kept).to_owned()),
        cert_days: kept.cert_days,
        ..args::Certificate::default()
    };
    let mut prepared = Prepared::new(config, wanted, &certificate)?;
    if !kept.deploy.is_empty() {
        let timeout = kept.deploy_timeout.unwrap_or(DEPLOY_DEADLINE);
        prepared.request.deploy = Some(Deploy { command: kept.deploy.clone(), timeout });
    }
    Ok(prepared)
}

// ---- adopting

/// Writes configuration for the issued orders of the account, for its owner to look through.
pub(crate) async fn import(config: &Config, screen: Screen, args: &args::Import) -> Result<Code> {
    let client = config.client().await?;
    let mut filters = vec![("status", "issued")];
    filters.extend(args.name.iter().map(|name| ("domain_name", name.as_str())));
    let orders = client.all_orders(&filters, Some("-date_created")).await?;
    let mut tables = Vec::new();
    let mut labels: BTreeSet<String> = config.certificates.keys().cloned().collect();
    let known: BTreeSet<u64> = config.certificates.values().filter_map(|kept| kept.order).collect();
    for order in &orders {
        let listed = order.certificate.as_ref();
        let ended = listed
            .and_then(|c| c.valid_till.as_ref())
            .and_then(Moment::timestamp)
            .is_some_and(|end| end < Timestamp::now());
        if ended || order.is_renewed == Some(true) || known.contains(&order.id.0) {
            continue;
        }
        let Some(common_name) = listed.and_then(|certificate| certificate.common_name.clone()) else { continue };
        let mut names = vec![common_name.clone()];
        names.extend(listed.iter().flat_map(|c| &c.dns_names).filter(|name| **name != common_name).cloned());
        let base = common_name.replace("*.", "wildcard-").replace('.', "-");
        let label = if labels.contains(&base) { format!("{base}-{}", order.id) } else { base };
        labels.insert(label.clone());
        tables.push((label, names, order));
    }
    let text: Vec<String> = tables.iter().map(|(label, names, order)| as_toml(label, names, order)).collect();
    let json: Vec<Value> = tables
        .iter()
        .map(|(label, names, order)| json!({ "label": label, "names": names, "order": order.id }))
        .collect();
    let nothing = "# the account has no issued orders that the configuration does not have\n";
    let text = if text.is_empty() { nothing.to_owned() } else { text.join("\n") };
    screen.result(text.trim_end(), json!({ "result": "imported", "certificates": json }));
    Ok(Code::Done)
}

fn as_toml(label: &str, names: &[String], order: &certcentral::Order) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
    let mut text = format!("[certificate.{label}]\nnames = [{}]\norder = {}\n", quoted.join(", "), order.id);
    if let Some(product) = order.product.as_ref().and_then(|product| product.name_id.as_ref()) {
        let _ = writeln!(text, "product = {product:?}");
    }
    if let Some(id) = order.organization.as_ref().and_then(|organization| organization.id) {
        let _ = writeln!(text, "organization = {id}");
    }
    text
}
