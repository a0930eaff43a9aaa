//! What there is of everything that is to be kept: files, journal and account, looked at once, with a few calls to the CA however
//! long the inventory is; and what follows from it.

use std::collections::{BTreeMap, HashMap};

use certcentral::{Client, Moment, OrderId, OrderStatus};
use dcv_core::{
    Actor, RunId, Waiting,
    certificate::{CERT_FILE, Chain, FULLCHAIN_FILE},
    journal::{Journal, Which, each_run},
    keeper::{self, Act, Open, OrderOfIt, Policy, Present, SoFar, Task, Trouble, Wanted},
    state::{End, Run},
};
use jiff::Timestamp;

use crate::{
    config::{Config, Kept},
    exit::{Code, Failure, Result},
    request::{DEFAULT_OUT, out_dir, read_names},
};

/// Of how many orders `dcv plan` asks when they end, ahead of the time when it matters.
const ASKED_AHEAD: usize = 50;

/// Everything that is known at one moment.
pub(crate) struct Inventory {
    pub(crate) tasks: Vec<Task>,
    /// What is there of each certificate.
    pub(crate) present: BTreeMap<String, Present>,
    /// The order of each.
    pub(crate) orders: BTreeMap<String, OrderId>,
    /// What could not be looked at: nothing is decided about it.
    pub(crate) unclear: Vec<(String, Failure)>,
}

/// A run that waits until the CA tells of its order.
pub(super) struct Parked {
    pub(super) label: String,
    pub(super) run: RunId,
    pub(super) waiting: Waiting,
    pub(super) since: Timestamp,
}

impl Parked {
    /// The run, where it waits for nothing else than the CA's word, and the order of which that word has to be.
    pub(super) fn of(run: Run) -> Option<(OrderId, Self)> {
        let (id, label) = (run.id.clone(), run.request.label.clone()?);
        let page = Page::from(run);
        OpenRun::of(id, &page)?.parked(&label)
    }

    /// Whether an order's status is another than that which the run waits in.
    pub(super) fn is_news(&self, status: &OrderStatus) -> bool {
        match status {
            OrderStatus::NeedsApproval => self.waiting.on != Actor::Approver,
            OrderStatus::Pending | OrderStatus::Processing | OrderStatus::ReissuePending => {
                self.waiting.on == Actor::Approver
            }
            _ => true,
        }
    }
}

/// What the journal says of a label: the open run, and the order of the last one that came to a certificate.
#[derive(Default)]
pub(super) struct Known {
    /// How many runs it had.
    pub(super) runs: u64,
    open: Option<OpenRun>,
    order: Option<OrderId>,
    /// When the last three runs came to a good end, the last one first.
    done: [Option<Timestamp>; 3],
    /// The runs that have come to a bad end since the last good one.
    trouble: Option<Trouble>,
}

impl Known {
    fn so_far(&self) -> SoFar<'_> {
        let open = self
            .open
            .as_ref()
            .map(|open| Open { run: &open.id, waits: open.waits.as_ref().map(|(_, waiting)| (waiting, open.last)) });
        let done = self.done[2].zip(self.done[0]);
        SoFar { order: None, done, open, trouble: self.trouble.as_ref() }
    }

    /// Whether the open run has waited for somebody, and may for long.
    pub(super) fn has_waited(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.has_waited)
    }

    /// The open run, where it waits until the CA tells of its order.
    pub(super) fn parked(&self, label: &str) -> Option<(OrderId, Parked)> {
        self.open.as_ref()?.parked(label)
    }
}

/// A run that is not closed.
struct OpenRun {
    id: RunId,
    /// When its last entry was written.
    last: Timestamp,
    /// The order of which the CA will tell, and whom the run waits for, where it waits and nothing else is to be done.
    waits: Option<(OrderId, Waiting)>,
    has_waited: bool,
}

impl OpenRun {
    fn of(id: RunId, page: &Page) -> Option<Self> {
        (!page.closed).then(|| Self { id, last: page.last, waits: page.waits.clone(), has_waited: page.has_waited })
    }

    fn parked(&self, label: &str) -> Option<(OrderId, Parked)> {
        let (order, waiting) = self.waits.clone()?;
        Some((order, Parked { label: label.to_owned(), run: self.id.clone(), waiting, since: self.last }))
    }
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
    has_waited: bool,
}

impl From<Run> for Page {
    fn from(run: Run) -> Self {
        let has_waited = run.waiting.is_some();
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
            has_waited,
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
    pub(super) async fn read(&mut self, journal: &dyn Journal) -> Result<HashMap<String, Known>> {
        let ids = journal.runs(Which::All).await?;
        let new: Vec<RunId> = ids.iter().filter(|id| !self.closed.contains_key(*id)).cloned().collect();
        let mut open: HashMap<RunId, Page> = HashMap::new();
        each_run(journal, &new, |run, _| {
            let id = run.id.clone();
            let page = Page::from(run);
            if page.closed { &mut self.closed } else { &mut open }.insert(id, page);
        })
        .await?;
        let mut known: HashMap<String, Known> = HashMap::new();
        for id in ids {
            let Some(page) = self.closed.get(&id).or_else(|| open.get(&id)) else { continue };
            let Some(label) = page.label.clone() else { continue };
            let of_label = known.entry(label).or_default();
            of_label.runs += 1;
            of_label.open = OpenRun::of(id, page).or(of_label.open.take());
            of_label.order = page.order.or(of_label.order);
            if page.closed && page.end.is_none() {
                of_label.done = [Some(page.last), of_label.done[0], of_label.done[1]];
            }
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

/// Of which orders it is asked when they end, which lists do not tell and on which it depends whether a new one is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// Of those that are due: what is not is decided later.
    Due,
    /// Of some that are not, for people who want to know.
    Ahead,
}

/// Looks at files and account beside what the journal says, and decides.
pub(super) async fn look(
    config: &Config,
    client: &Client,
    mut known: HashMap<String, Known>,
    now: Timestamp,
    ask: Ask,
) -> Result<Inventory> {
    let policy = policy(config);
    let mut tasks = Vec::new();
    let mut present = BTreeMap::new();
    let mut orders_of_all = BTreeMap::new();
    let mut unclear = Vec::new();
    let mut ahead = if ask == Ask::Ahead { ASKED_AHEAD } else { 0 };
    let orders = if config.certificates.is_empty() { HashMap::new() } else { orders_of(client).await? };
    check_clock(client)?;
    for (label, kept) in &config.certificates {
        let of_label = known.remove(label).unwrap_or_default();
        let wanted = wanted(config, label, kept)?;
        let found = match read_present(config, kept) {
            Ok(found) => found,
            Err(failure) => {
                unclear.push((label.clone(), failure));
                continue;
            }
        };
        // The journal's order, unless that has ended and the configuration names one that has not.
        let candidates = [of_label.order, kept.order.map(OrderId)];
        let lives = |id: &&OrderId| orders.get(id).is_some_and(|order| order.lives);
        let id = candidates.iter().flatten().find(lives).or(candidates.iter().flatten().next()).copied();
        let mut so_far = SoFar { order: id.and_then(|id| orders.get(&id).copied()), ..of_label.so_far() };
        let decide = |so_far: &SoFar<'_>| keeper::certificate(&wanted, found.as_ref(), so_far, now, policy);
        let mut task = decide(&so_far);
        // Before an order is placed its predecessor is asked about: lists may be behind, and do not tell when it ends.
        let costs = matches!(task.act, Act::Order | Act::Renew { .. });
        let looks_ahead =
            matches!(task.act, Act::Renew { .. }) && so_far.order.is_some_and(|order| order.until.is_none());
        if let Some(id) = id
            && ((costs && task.is_due(now)) || (looks_ahead && ahead > 0))
        {
            ahead = ahead.saturating_sub(1);
            match client.order(id).await {
                Ok(order) => so_far.order = order_of_it(&order),
                Err(error) if error.is_not_found() => so_far.order = None,
                Err(error) => {
                    unclear.push((label.clone(), error.into()));
                    continue;
                }
            }
            task = decide(&so_far);
        }
        orders_of_all.extend(so_far.order.map(|order| (label.clone(), order.id)));
        tasks.push(task);
        present.extend(found.map(|found| (label.clone(), found)));
    }
    if !config.keep.domains.is_empty() {
        let all = client.all_domains(None).await?;
        check_clock(client)?;
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
    Ok(Inventory { tasks, present, orders: orders_of_all, unclear })
}

/// A clock that is years ahead makes everything look as if it had ended, and each renewal costs money.
pub(super) fn check_clock(client: &Client) -> Result<()> {
    let Some(skew) = client.clock_error() else { return Ok(()) };
    let which = if skew.is_positive() { "ahead of" } else { "behind" };
    let hours = (skew.abs().as_secs() + 1800) / 3600;
    let message = format!("this machine's is {hours} hours {which} the CA's; nothing is decided by it: set it right");
    Err(Failure::usage("clock", message))
}

fn policy(config: &Config) -> Policy {
    Policy { left: config.keep.left, spread: config.keep.spread }
}

/// What was just written, and when it is due again, for those who look; the next pass asks the CA, too.
pub(super) fn certificate_on_disk(config: &Config, label: &str, now: Timestamp) -> Result<Option<(Task, Present)>> {
    let Some(kept) = config.certificates.get(label) else { return Ok(None) };
    let Some(present) = read_present(config, kept)? else { return Ok(None) };
    let wanted = wanted(config, label, kept)?;
    let task = keeper::certificate(&wanted, Some(&present), &SoFar::default(), now, policy(config));
    Ok(Some((task, present)))
}

/// All orders of the account, by one list.
async fn orders_of(client: &Client) -> Result<HashMap<OrderId, OrderOfIt>> {
    let orders = client.all_orders(&[], None).await?;
    Ok(orders.iter().filter_map(order_of_it).map(|order| (order.id, order)).collect())
}

/// What matters of an order. One that has expired is none any more: nothing can be had by it. Any other that nobody has withdrawn
/// lives, whatever word the CA has for what it is just going through.
fn order_of_it(order: &certcentral::Order) -> Option<OrderOfIt> {
    let withdrawn = matches!(order.status, OrderStatus::Revoked | OrderStatus::Canceled | OrderStatus::Rejected);
    (order.status != OrderStatus::Expired).then(|| OrderOfIt {
        id: order.id,
        until: order.order_valid_till.as_ref().and_then(Moment::timestamp),
        lives: !withdrawn,
    })
}

fn wanted(config: &Config, label: &str, kept: &Kept) -> Result<Wanted> {
    let names = read_names(&kept.names)?;
    let product = kept.product.clone().or_else(|| config.defaults.product.clone()).unwrap_or_default();
    Ok(Wanted { label: label.to_owned(), names: names.iter().map(|name| name.as_str().to_owned()).collect(), product })
}

pub(super) fn out_of<'c>(config: &'c Config, kept: &'c Kept) -> &'c str {
    kept.out.as_deref().or(config.defaults.out.as_deref()).unwrap_or(DEFAULT_OUT)
}

/// The certificate in the folder where the next one will be. A file that cannot be read is no file that is not there.
fn read_present(config: &Config, kept: &Kept) -> Result<Option<Present>> {
    let names = read_names(&kept.names)?;
    let dir = out_dir(out_of(config, kept), &names[0])?;
    let mut pem = None;
    for file in [FULLCHAIN_FILE, CERT_FILE] {
        let path = dir.join(file);
        match std::fs::read(&path) {
            Ok(bytes) => {
                pem = Some(bytes);
                break;
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                let message = format!("{}: {error}; nothing is ordered as long as it cannot be read", path.display());
                return Err(Failure::new(Code::Unexpected, message));
            }
        }
    }
    let Some(pem) = pem else { return Ok(None) };
    let chain = match Chain::from_pem(&pem) {
        Ok(chain) => chain,
        Err(error) => {
            tracing::warn!(dir = %dir.display(), %error, "what is there is no certificate; a new one will replace it");
            return Ok(None);
        }
    };
    Ok(Some(Present { not_before: chain.not_before(), not_after: chain.not_after(), names: chain.names().to_vec() }))
}
