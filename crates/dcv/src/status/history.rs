//! The page of one certificate or domain: what is there, what comes next, and everything that the journal has of it.

use dcv_core::{
    RunId,
    journal::{Journal, JournalError, Stamped},
    state::{Entry, Run},
};
use jiff::Timestamp;

use super::{
    Kind, Shared, Stage,
    html::{Html, distance},
    overview::{begin_table, chip, frame, left, proofs_of, stand},
};

/// Runs shown, the youngest first.
const MOST_RUNS: usize = 20;

/// A run of the journal.
pub(super) struct Past {
    run: Run,
    entries: Vec<Stamped>,
}

/// The runs of a label, the youngest first.
pub(super) async fn read(journal: &dyn Journal, label: &str) -> Result<Vec<Past>, JournalError> {
    let ids = journal.runs_of(label, MOST_RUNS).await?;
    let read = journal.read_many(&ids).await?;
    let past = |(id, entries): (RunId, Vec<Stamped>)| Some(Past { run: Run::fold(id, &entries)?, entries });
    Ok(ids.into_iter().zip(read).filter_map(past).collect())
}

/// The page of a label; `None` where nobody knows it.
pub(super) fn page(
    shared: &Shared,
    label: &str,
    runs: &Result<Vec<Past>, JournalError>,
    may_leave: bool,
    now: Timestamp,
) -> Option<String> {
    let kept = shared.kept.get(label);
    if kept.is_none() && runs.as_ref().is_ok_and(Vec::is_empty) {
        return None;
    }
    Some(frame(&format!("dcv: {label}"), true, may_leave, now, |html| {
        html.raw("<nav aria-label=\"Where this is\" class=\"trail\"><a href=\"/\">Overview</a> ›</nav><h1>")
            .text(label);
        html.raw(
            "</h1><section class=\"card\" aria-label=\"What is known\"><dl class=\"facts\" id=\"facts\" data-live>",
        );
        match kept {
            Some(kept) => {
                fact(html, "State", |html| stand(html, &kept.stand, now));
                let what = if kept.kind == Kind::Domain { "Domain" } else { "Names" };
                fact(html, what, |html| {
                    html.text(kept.names.join(", "));
                });
                if let Some((begin, end)) = kept.life {
                    fact(html, "Valid", |html| {
                        html.time(begin, "%Y-%m-%d %H:%M UTC").raw(" – ").time(end, "%Y-%m-%d %H:%M UTC");
                    });
                    fact(html, "Left of its life", |html| left(html, kept, now));
                } else if let Some(ends) = kept.task.ends {
                    fact(html, "Valid until", |html| {
                        html.time(ends, "%Y-%m-%d %H:%M UTC");
                    });
                }
                if let Some(order) = kept.order {
                    fact(html, "Order", |html| {
                        html.text(order);
                    });
                }
                fact(html, "Next act", |html| {
                    html.text(kept.task.act.word()).raw(" ");
                    if kept.task.is_due(now) {
                        html.raw("now");
                    } else {
                        html.time(kept.task.at, "%Y-%m-%d %H:%M UTC")
                            .text(format_args!(" ({})", distance(now, kept.task.at)));
                    }
                    html.raw(", because ").text(&kept.task.why);
                });
            }
            None => fact(html, "State", |html| {
                html.raw("no longer in the configuration");
            }),
        }
        html.raw("</dl></section><section class=\"card\" aria-labelledby=\"past\"><h2 id=\"past\">History</h2><div id=\"runs\" data-live>");
        match runs {
            Ok(runs) if runs.is_empty() => {
                html.raw("<p class=\"quiet\">The journal has no run of it.</p>");
            }
            Ok(runs) => runs.iter().for_each(|past| run(html, shared, past)),
            Err(error) => {
                html.raw("<p class=\"alarm\" role=\"alert\">").text(error).raw("</p>");
            }
        }
        html.raw("</div></section>");
    }))
}

fn fact(html: &mut Html, word: &'static str, tell: impl FnOnce(&mut Html)) {
    html.raw("<div><dt>").raw(word).raw("</dt><dd>");
    tell(html);
    html.raw("</dd></div>");
}

fn run(html: &mut Html, shared: &Shared, past: &Past) {
    let Past { run, entries } = past;
    let stage = match (&run.end, run.closed, &run.waiting) {
        (Some(_), ..) => Stage::Failed,
        (None, true, _) => Stage::Done,
        (None, false, Some(_)) if !shared.runs.contains_key(&run.id) => Stage::Waits,
        (None, false, _) => Stage::Works,
    };
    html.raw("<article class=\"run\"><h3>");
    chip(html, stage);
    html.raw(" ").text(run.request.purpose.name()).raw(" <small>run ").text(&run.id);
    if let Some(order) = run.order_id {
        html.raw(", order ").text(order);
    }
    html.raw(", ").text(run.stage()).raw("</small></h3>");
    if let Some(watched) = shared.runs.get(&run.id).filter(|watched| !watched.over && !watched.proofs.is_empty()) {
        proofs_of(html, &run.id, watched);
    }
    begin_table(html, "Entries of the journal", &["When", "What", "Details"]);
    for entry in entries {
        let (word, details) = words(&run.id, &entry.entry);
        html.raw("<tr><td class=\"date\">")
            .time(entry.at, "%Y-%m-%d %H:%M:%S")
            .raw("</td><th scope=\"row\">")
            .raw(word);
        html.raw("</th><td class=\"long\">").text(details).raw("</td></tr>");
    }
    html.raw("</tbody></table></div></article>");
}

/// An entry, for people: what it is, and what it holds. Never a value that is to be shown to the CA, and no key.
fn words(run: &RunId, entry: &Entry) -> (&'static str, String) {
    let places = |proofs: &[dcv_provider::Proof]| {
        proofs.iter().map(|proof| format!("{} {}", proof.kind(), proof.name())).collect::<Vec<_>>().join(", ")
    };
    match entry {
        Entry::Planned { request } => {
            let names: Vec<String> = request.names.iter().map(ToString::to_string).collect();
            ("planned", format!("{} {}", request.product, names.join(", ")))
        }
        Entry::Placing => ("sending the order", format!("as {run}")),
        Entry::Placed { order_id, needs_approval, .. } => {
            let approval = if *needs_approval { ", which an approver has to let pass" } else { "" };
            ("placed", format!("order {order_id}{approval}"))
        }
        Entry::Approved => ("approved", String::new()),
        Entry::Challenged { challenges } => {
            let domains: Vec<&str> = challenges.iter().map(|challenge| challenge.domain.as_str()).collect();
            let none = "nothing: all was validated before".to_owned();
            ("to be proved", if domains.is_empty() { none } else { domains.join(", ") })
        }
        Entry::Presenting { proofs } => ("placing proofs", places(proofs)),
        Entry::Presented => ("placed proofs", String::new()),
        Entry::Visible => ("visible everywhere", String::new()),
        Entry::Accepted { domains } => ("accepted by the CA", domains.join(", ")),
        Entry::Waiting(waiting) => ("waiting", format!("for {}: {}", waiting.on, waiting.what)),
        Entry::Issued { certificate_id } => ("issued", format!("certificate {certificate_id}")),
        Entry::Downloaded { .. } => ("downloaded", String::new()),
        Entry::Stored => ("stored", String::new()),
        Entry::Deploying => ("deploying", String::new()),
        Entry::Deployed => ("deployed", String::new()),
        Entry::DeployFailed { reason } => ("deploying failed", reason.clone()),
        Entry::Retracted { proofs } => ("removed proofs", places(proofs)),
        Entry::Failed { reason } => ("failed", reason.clone()),
        Entry::Canceling { reason } => ("canceling", reason.clone()),
        Entry::NotCanceled { reason } => ("not canceled", reason.clone()),
        Entry::Canceled { reason } => ("canceled", reason.clone()),
        Entry::Closed => ("closed", String::new()),
    }
}
