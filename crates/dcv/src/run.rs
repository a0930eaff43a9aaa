//! `dcv issue`, `resume`, `cancel` and `status`: runs of the core, begun, continued, ended and looked at.

use std::{collections::BTreeSet, future::Future, path::Path, sync::Arc, time::Duration};

use certcentral::{OrderId, OrderStatus};
use dcv_core::{
    Dcv, Error, Outcome, Purpose, Request, RunId,
    certificate::{CERT_FILE, CHAIN_FILE, FULLCHAIN_FILE, KEY_FILE},
    journal::{Journal, JournalError, Stamped, Which, each_run},
    name::DnsName,
    state::{End, Entry, Run},
};
use dcv_provider::{Proof, dns::Dns};
use futures_util::future::join_all;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    args,
    config::Config,
    exit::{Code, Failure, Result},
    journal, orders,
    request::{Prepared, Wanted, check_account, discard_key},
    show::{BOLD, GOOD, Progress, Screen},
    webhook,
};

/// Orders, proves, waits, and brings home.
pub(crate) async fn issue(config: &Config, screen: Screen, args: &args::Issue) -> Result<Code> {
    let wanted = Wanted::order(config, &args.names, &args.order).await?;
    certificate(config, screen, wanted, &args.certificate).await
}

/// The successor of an order.
pub(crate) async fn renew(config: &Config, screen: Screen, args: &args::account::Renew) -> Result<Code> {
    let earlier = orders::find(&config.client().await?, &args.of).await?;
    if earlier.is_renewed == Some(true) {
        screen.warn(format!("order {} has been renewed before; this one will be one more", earlier.id));
    }
    let wanted = Wanted::renewal(config, &earlier, &args.names, &args.order).await?;
    certificate(config, screen, wanted, &args.certificate).await
}

/// A reissue or, with another purpose, a duplicate of an order.
pub(crate) async fn again(
    config: &Config,
    screen: Screen,
    args: &args::account::Again,
    purpose: fn(OrderId) -> Purpose,
) -> Result<Code> {
    let earlier = orders::find(&config.client().await?, &args.of).await?;
    let purpose = purpose(earlier.id);
    if earlier.status != OrderStatus::Issued {
        let message =
            format!("order {} is {}; a {} needs one that is issued", earlier.id, earlier.status, purpose.name());
        return Err(Failure::usage("order", message));
    }
    certificate(config, screen, Wanted::again(purpose, &earlier, &args.names)?, &args.certificate).await
}

async fn certificate(config: &Config, screen: Screen, wanted: Wanted, args: &args::Certificate) -> Result<Code> {
    let prepared = Prepared::new(config, wanted, args)?;
    carry_out(config, screen, prepared, &args.way).await
}

/// Does what was asked for, from the first check to the last word.
pub(crate) async fn carry_out(
    config: &Config,
    screen: Screen,
    mut prepared: Prepared,
    way: &args::Way,
) -> Result<Code> {
    let dns = config.dns()?;
    let router = config.router(&prepared.request.names, &way.provider, &dns).await?;
    let client = config.client().await?;
    check_account(&client, &prepared.request).await?;
    for (name, wildcard) in &prepared.covered {
        screen.note(format!("note: {name} is covered by {wildcard} already"));
    }
    let free_name = prepared.free_name();
    let offer = |order: &str| {
        if let Some(name) = &free_name {
            screen.note(format!("note: {name} would cost nothing more, now or by `dcv reissue {order} --add {name}`"));
        }
    };
    let progress = screen.progress(false);
    let builder =
        Dcv::builder(client).router(router).dns(dns).settings(config.settings(way.wait)).observer(progress.observer());
    if way.dry_run {
        let plan = builder.build().await?.plan(&prepared.request).await?;
        let places: Vec<String> =
            plan.places.iter().map(|p| format!("  {} in {} ({})", p.target, p.within, p.provider)).collect();
        let mut lines = vec![format!("to be proved: {}", plan.domains.join(", "))];
        match prepared.request.method.proof_kind() {
            Some(_) => lines.push(format!("proofs would go to:\n{}", places.join("\n"))),
            None => lines.push("by mails that somebody answers".to_owned()),
        }
        if let Some(order) = &plan.order {
            let mut order = json!(order);
            if let Some(csr) = order.pointer_mut("/certificate/csr") {
                // Of no use to a reader, and of a key that nobody keeps.
                *csr = "…".into();
            }
            let order = serde_json::to_string_pretty(&order).unwrap_or_default();
            lines.push(format!("{} for {}:\n{order}", prepared.request.purpose.name(), plan.product));
        }
        lines.push("nothing was ordered or changed".to_owned());
        offer("ORDER");
        screen.result(lines.join("\n"), json!({ "result": "plan", "purpose": prepared.request.purpose, "plan": plan }));
        return Ok(Code::Done);
    }
    let journal = journal::open(config).await?;
    let dcv = builder.journal(Arc::clone(&journal)).build().await?;
    let _listener = listen(config, &dcv).await?;
    prepared.request.routes = routes_of(&prepared.request, &way.provider);
    prepared.write_key()?;
    let undo = prepared.undo();
    let run = RunId::new(Timestamp::now());
    let result = interruptible(dcv.issue_as(run.clone(), prepared.request)).await;
    dcv.settled().await;
    progress.end();
    // The journal knows, also of a run whose begin was interrupted.
    if let Err(JournalError::Unknown(_)) = journal.read(&run).await {
        // Nobody will ever want the key.
        undo();
        return match result {
            Some(Err(error)) => Err(error.into()),
            _ => Err(Failure::new(Code::Interrupted, "nothing was ordered")),
        };
    }
    let code = conclude(&dcv, screen, &run, result).await?;
    if let Some(order) = find(&dcv, &run).await.and_then(|run| run.order_id) {
        offer(&order.to_string());
    }
    Ok(code)
}

/// Goes on with runs where they were left, all at once.
pub(crate) async fn resume(config: &Config, screen: Screen, args: &args::Resume) -> Result<Code> {
    let journal = journal::open_if_any(config).await?;
    let runs = match &journal {
        Some(journal) if args.all => {
            let (open, free) = (journal.runs(Which::Open).await?, journal.runs(Which::Free).await?);
            let ours: BTreeSet<&RunId> = free.iter().collect();
            for held in open.iter().filter(|run| !ours.contains(run)) {
                screen.note(format!("run {held} is left to the process that is working on it"));
            }
            free
        }
        Some(_) => args.runs.clone(),
        None if args.all => Vec::new(),
        None => return Err(JournalError::Unknown(args.runs[0].clone()).into()),
    };
    let Some(journal) = journal.filter(|_| !runs.is_empty()) else {
        screen.result("no open runs", json!({ "result": "done", "runs": [] }));
        return Ok(Code::Done);
    };
    let progress = screen.progress(runs.len() > 1);
    let mut ended = BTreeSet::new();
    for run in &runs {
        ended.extend(
            read_run(&*journal, run).await.ok().filter(|run| run.end.is_some() && !run.closed).map(|run| run.id),
        );
    }
    let dcv = take_up(config, &journal, &runs, &args.provider, args.wait, &progress).await?;
    let _listener = listen(config, &dcv).await?;
    let results = interruptible(join_all(runs.iter().map(|run| dcv.resume(run)))).await;
    journal.settle().await;
    progress.end();
    let Some(results) = results else {
        return Err(Failure::new(Code::Interrupted, "all is in the journal; `dcv resume --all` goes on"));
    };
    let mut worst = Code::Done;
    for (run, result) in runs.iter().zip(results) {
        // Of one that had ended before only what it has left behind was to be done.
        if ended.contains(run) && matches!(result, Err(Error::Ended(_))) {
            let left = close_books(&dcv, run).await;
            screen.result(
                format!("run {run} is tidied up"),
                json!({ "result": "tidied", "run": run, "left_behind": left }),
            );
            worst = worse(worst, left_behind(screen, run, &left));
            continue;
        }
        let code = match conclude(&dcv, screen, run, Some(result)).await {
            Ok(code) => code,
            Err(failure) if runs.len() == 1 => return Err(failure),
            Err(failure) => {
                screen.failure(&failure);
                failure.code
            }
        };
        worst = worse(worst, code);
    }
    Ok(worst)
}

/// Cancels a run's order and takes its proofs back.
pub(crate) async fn cancel(config: &Config, screen: Screen, args: &args::Cancel) -> Result<Code> {
    let unknown = || JournalError::Unknown(args.run.clone());
    let journal = journal::open_if_any(config).await?.ok_or_else(unknown)?;
    let progress = screen.progress(false);
    let runs = std::slice::from_ref(&args.run);
    let dcv = take_up(config, &journal, runs, &args.provider, None, &progress).await?;
    let result = interruptible(dcv.cancel(&args.run, &args.reason)).await;
    journal.settle().await;
    progress.end();
    match result {
        Some(Ok(())) => {
            let left = close_books(&dcv, &args.run).await;
            screen.result(format!("run {} is canceled", args.run), json!({ "result": "canceled", "run": args.run }));
            Ok(left_behind(screen, &args.run, &left))
        }
        Some(Err(error)) => Err(error.into()),
        None => Err(interrupted(&args.run)),
    }
}

/// Lists runs, or tells all of one.
pub(crate) async fn status(config: &Config, screen: Screen, args: &args::Status) -> Result<Code> {
    let mut known: Vec<(Run, Vec<Stamped>)> = Vec::new();
    let mut free = BTreeSet::new();
    if let Some(journal) = journal::open_if_any(config).await? {
        let ids = match args.run.as_ref().map(|wanted| wanted.parse::<RunId>()) {
            // An order's number would do for a run's id, too; which it is the journal says.
            Some(Ok(id)) if journal.read(&id).await.is_ok() => vec![id],
            Some(_) => journal.runs(Which::All).await?,
            None => journal.runs(if args.all { Which::All } else { Which::Open }).await?,
        };
        each_run(&*journal, &ids, |run, entries| known.push((run, entries))).await?;
        free.extend(journal.runs(Which::Free).await?);
    }
    if let Some(wanted) = &args.run {
        let is_it = |run: &Run| run.id.as_str() == wanted || run.order_id.is_some_and(|id| id.to_string() == *wanted);
        let Some((run, entries)) = known.iter().find(|(run, _)| is_it(run)) else {
            let message =
                format!("`{wanted}` is neither a run nor an order of the journal; `dcv status --all` lists them");
            return Err(Failure::usage("run", message));
        };
        let mut json = describe(run, entries, &free);
        json["entries"] = json!(entries);
        screen.result(in_full(screen, run, entries, &free), json);
        return Ok(Code::Done);
    }
    let rows: Vec<Value> = known.iter().map(|(run, entries)| describe(run, entries, &free)).collect();
    let table: Vec<Vec<String>> = known
        .iter()
        .map(|(run, entries)| {
            let order = run.order_id.map_or_else(|| "-".to_owned(), |id| id.to_string());
            vec![run.id.to_string(), order, names(run), run.stage().to_owned(), who_must_act(run, entries, &free)]
        })
        .collect();
    let nothing = if args.all { "no runs" } else { "no open runs" };
    screen.table(&["RUN", "ORDER", "NAMES", "STAGE", "WHO MUST ACT"], &table, nothing, json!({ "runs": rows }));
    Ok(Code::Done)
}

// ---- parts

/// What the journal says of a run, for whoever goes on with it.
pub(crate) async fn read_run(journal: &dyn Journal, id: &RunId) -> Result<Run> {
    Ok(Run::fold(id.clone(), &journal.read(id).await?).ok_or_else(|| JournalError::Unknown(id.clone()))?)
}

/// Providers that were chosen on the command line, as routes of the domains that are proved: other runs may be gone on with at the same time.
fn routes_of(request: &Request, chosen: &[String]) -> Vec<String> {
    let domains = request.expected_domains();
    let (of_suffix, of_all): (Vec<&String>, Vec<&String>) = chosen.iter().partition(|one| one.contains('='));
    let of_all = |domain: &&str| of_all.iter().map(|provider| format!("{domain}={provider}")).collect::<Vec<_>>();
    let mut routes: Vec<String> = domains.iter().flat_map(of_all).collect();
    routes.extend(of_suffix.into_iter().cloned());
    routes.sort();
    routes.dedup();
    routes
}

/// Listens to the CA's webhook, if there is one, for runs that follow their orders.
async fn listen(config: &Config, dcv: &Dcv) -> Result<Option<webhook::Listener>> {
    let dcv = dcv.clone();
    webhook::listen(config, move || dcv.hint()).await
}

/// Everything that is needed to work on runs of the journal.
async fn take_up(
    config: &Config,
    journal: &Arc<dyn Journal>,
    runs: &[RunId],
    providers: &[String],
    wait: Option<Duration>,
    progress: &Progress,
) -> Result<Dcv> {
    let (mut names, mut routes): (Vec<DnsName>, Vec<String>) = Default::default();
    for id in runs {
        let request = read_run(&**journal, id).await?.request;
        names.extend(request.names);
        routes.extend(request.routes);
    }
    let dns: Dns = config.dns()?;
    let router = config.router(&names, if providers.is_empty() { &routes } else { providers }, &dns).await?;
    Ok(Dcv::builder(config.client().await?)
        .router(router)
        .dns(dns)
        .journal(Arc::clone(journal))
        .settings(config.settings(wait))
        .observer(progress.observer())
        .build()
        .await?)
}

/// Does `work` until it is done, or somebody wants us to stop. What was begun is in the journal.
pub(crate) async fn interruptible<T>(work: impl Future<Output = T>) -> Option<T> {
    let stopped = async {
        let Ok(mut terminated) = signal(SignalKind::terminate()) else { return std::future::pending().await };
        tokio::select! {
            done = tokio::signal::ctrl_c() => if done.is_err() { std::future::pending::<()>().await },
            _ = terminated.recv() => {}
        }
    };
    tokio::select! {
        biased;
        () = stopped => None,
        result = work => Some(result),
    }
}

fn interrupted(run: &RunId) -> Failure {
    Failure::new(Code::Interrupted, format!("run {run} is in the journal; `dcv resume {run}` goes on"))
}

/// Says what came of a run.
async fn conclude(dcv: &Dcv, screen: Screen, run: &RunId, result: Option<dcv_core::Result<Outcome>>) -> Result<Code> {
    match result {
        None => Err(interrupted(run)),
        Some(Ok(Outcome::Issued(issued))) => {
            let dir = find(dcv, run).await.and_then(|run| run.request.output).map(|output| output.dir);
            let names = issued.chain.names().join(", ");
            let until = issued.chain.not_after().strftime("%Y-%m-%d");
            let order = issued.order_id.map(|id| format!(", order {id}")).unwrap_or_default();
            let home = dir.as_deref().map(|dir| format!(" in {}", dir.display())).unwrap_or_default();
            let text = format!("{} {names}{home} (valid until {until}{order})", screen.on_out(GOOD, "issued:"));
            screen.result(
                text,
                json!({
                    "result": "issued",
                    "run": run,
                    "order_id": issued.order_id,
                    "names": issued.chain.names(),
                    "serial": issued.chain.serial(),
                    "not_before": issued.chain.not_before().to_string(),
                    "not_after": issued.chain.not_after().to_string(),
                    "files": dir.as_deref().map(files),
                    "left_behind": issued.left_behind,
                }),
            );
            Ok(left_behind(screen, run, &issued.left_behind))
        }
        Some(Ok(Outcome::Validated(validated))) => {
            let text = format!("{} {}", screen.on_out(GOOD, "validated:"), validated.domains.join(", "));
            screen.result(
                text,
                json!({
                    "result": "validated", "run": run, "domains": validated.domains, "left_behind": validated.left_behind,
                }),
            );
            Ok(left_behind(screen, run, &validated.left_behind))
        }
        Some(Ok(Outcome::Waiting(waiting))) => {
            let order_id = find(dcv, run).await.and_then(|run| run.order_id);
            screen.result(
                format!("{waiting}\nrun {run} stays open; `dcv resume {run}` goes on"),
                json!({
                    "result": "waiting", "run": run, "order_id": order_id, "on": waiting.on, "what": waiting.what,
                }),
            );
            Ok(Code::Waiting)
        }
        Some(Err(error)) => {
            let left = close_books(dcv, run).await;
            let stays_open = find(dcv, run).await.is_some_and(|run| !run.closed);
            let says_so = matches!(error, Error::OutcomeUnknown { .. } | Error::Journal(_));
            let mut failure = Failure::from(error);
            if stays_open && !says_so {
                failure.message = format!("{}; run {run} stays open: `dcv resume {run}` goes on", failure.message);
            }
            left_behind(screen, run, &left);
            Err(failure)
        }
    }
}

/// After a run has ended badly: its key is of no use any more. Returns the proofs that may still be out there.
async fn close_books(dcv: &Dcv, run: &RunId) -> Vec<Proof> {
    let Some(run) = find(dcv, run).await else { return Vec::new() };
    if run.end.is_some() {
        discard_key(run.request.output.as_ref());
        return run.shown.into_iter().collect();
    }
    Vec::new()
}

async fn find(dcv: &Dcv, id: &RunId) -> Option<Run> {
    dcv.run(id).await.ok().flatten()
}

fn left_behind(screen: Screen, run: &RunId, proofs: &[Proof]) -> Code {
    if proofs.is_empty() {
        return Code::Done;
    }
    for proof in proofs {
        screen.warn(format!("left behind: {proof}"));
    }
    screen.warn(format!("`dcv resume {run}` tries again to remove what was left behind"));
    Code::LeftBehind
}

fn files(dir: &Path) -> Value {
    let path = |name: &str| Some(dir.join(name)).filter(|path| path.exists());
    json!({
        "dir": dir,
        "cert": path(CERT_FILE), "chain": path(CHAIN_FILE), "fullchain": path(FULLCHAIN_FILE), "key": path(KEY_FILE),
    })
}

/// The graver of two ends: failures before waiting, waiting before leftovers.
pub(crate) fn worse(one: Code, other: Code) -> Code {
    let rank = |code: Code| match code {
        Code::Done => 0,
        Code::LeftBehind => 1,
        Code::Waiting => 2,
        _ => 3,
    };
    if rank(other) > rank(one) { other } else { one }
}

// ---- looking at runs

fn names(run: &Run) -> String {
    let names: Vec<&str> = run.request.names.iter().map(DnsName::as_str).collect();
    match names.as_slice() {
        [first, second, third, rest @ ..] if !rest.is_empty() => {
            format!("{first}, {second}, {third} and {} more", rest.len())
        }
        all => all.join(", "),
    }
}

/// Somebody else while the last thing that happened was that we wait for them; else whoever runs this program.
fn who_must_act(run: &Run, entries: &[Stamped], free: &BTreeSet<RunId>) -> String {
    match entries.last().map(|stamped| &stamped.entry) {
        _ if run.closed => "nobody".to_owned(),
        _ if !free.contains(&run.id) => "nobody: a process is working on it".to_owned(),
        Some(Entry::Waiting(waiting)) => format!("{}: {}", waiting.on, waiting.what),
        _ => format!("you: dcv resume {}", run.id),
    }
}

fn describe(run: &Run, entries: &[Stamped], free: &BTreeSet<RunId>) -> Value {
    let waiting = match entries.last().map(|stamped| &stamped.entry) {
        Some(Entry::Waiting(waiting)) if !run.closed => Some(waiting),
        _ => None,
    };
    json!({
        "run": run.id,
        "began": run.began.to_string(),
        "open": !run.closed,
        "stage": run.stage(),
        "who_must_act": who_must_act(run, entries, free),
        "waiting": waiting,
        "purpose": run.request.purpose,
        "product": run.request.product,
        "names": run.request.names,
        "method": run.request.method,
        "order_id": run.order_id,
        "certificate_id": run.certificate_id,
        "challenges": run.challenges,
        "accepted": run.accepted,
        "shown": run.shown,
        "end": run.end,
        "dir": run.request.output.as_ref().map(|output| &output.dir),
        "stored": run.stored,
    })
}

fn in_full(screen: Screen, run: &Run, entries: &[Stamped], free: &BTreeSet<RunId>) -> String {
    let mut lines: Vec<(String, String)> = Vec::new();
    let mut say = |label: &str, text: String| lines.push((label.to_owned(), text));
    say("run", run.id.to_string());
    say("stage", run.stage().to_owned());
    say("to act", who_must_act(run, entries, free));
    say("began", run.began.to_string());
    say("names", run.request.names.iter().map(DnsName::as_str).collect::<Vec<_>>().join(", "));
    say("purpose", run.request.purpose.name().to_owned());
    if run.request.purpose.has_certificate() {
        say("product", run.request.product.clone());
    }
    say("method", run.request.method.to_string());
    say("order", run.order_id.map_or_else(|| "none yet".to_owned(), |id| id.to_string()));
    for challenge in run.challenges.iter().flatten() {
        let state = if run.accepted.contains(&challenge.domain) { "accepted" } else { "open" };
        let proof = challenge.proof.as_ref().map_or_else(|| "a mail to be answered".to_owned(), ToString::to_string);
        say(&challenge.domain, format!("{state}: {proof}"));
    }
    for proof in &run.shown {
        say("out there", proof.to_string());
    }
    if let Some(id) = run.certificate_id {
        say("certificate", id.to_string());
    }
    match &run.end {
        Some(End::Failed(reason)) => say("failed", reason.clone()),
        Some(End::Canceled(reason)) => say("canceled", reason.clone()),
        None => {}
    }
    if let Some(output) = &run.request.output {
        let verb = if run.stored { "stored in" } else { "will be in" };
        say(verb, output.dir.display().to_string());
    }
    for stamped in entries {
        let json = serde_json::to_value(&stamped.entry).unwrap_or_default();
        say(
            &stamped.at.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
            json["entry"].as_str().unwrap_or("?").replace('_', " "),
        );
    }
    let lines: Vec<String> =
        lines.iter().map(|(label, text)| format!("{} {text}", screen.on_out(BOLD, format!("{label:<21}")))).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::Cli;

    #[test]
    fn what_is_left_behind_and_what_is_worst_decide_the_code() {
        let screen = Screen::new(&Cli::parse_from(["dcv", "--json", "status"]).global);
        let run = "dcv-1".parse().expect("an id");
        let proof = Proof::Txt { name: "example.com".to_owned(), value: "v".to_owned() };
        assert_eq!(left_behind(screen, &run, &[]), Code::Done);
        assert_eq!(left_behind(screen, &run, &[proof]), Code::LeftBehind);

        let ordered = [Code::Done, Code::LeftBehind, Code::Waiting, Code::Refused];
        for (lesser, one) in ordered.into_iter().enumerate() {
            for (graver, other) in ordered.into_iter().enumerate() {
                assert_eq!(worse(one, other), ordered[lesser.max(graver)]);
            }
        }
    }
}
