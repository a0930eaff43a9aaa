//! The behaviour that every journal must show, whatever it writes to.
//!
//! A journal's test says how to open it as another process would, and calls [`run`]. Everything in the contract of [`Journal`]
//! that can be seen from outside is tried: what is written is read back by others, one worker at a time continues a run, who lost
//! a run cannot write, and of many who begin the same only one does. What survives a crash is the journal's own test to try.
//!
//! This module is for tests: it panics, and says what it saw.

use std::sync::Arc;

use certcentral::OrderId;
use dcv_provider::Proof;
use futures_util::future::{BoxFuture, join_all};
use jiff::Timestamp;

use super::{Journal, JournalError, Lease, Which};
use crate::{
    Request,
    key::{KeyKind, PrivateKey},
    name::DnsName,
    state::{Entry, Run, RunId},
};

/// Opens the journal under test: each time a new instance on the same store, as another process would have it.
pub type Open<'o> = dyn Fn() -> BoxFuture<'o, Arc<dyn Journal>> + Sync + 'o;

/// Runs the whole suite on a journal that is empty.
///
/// # Panics
/// When the journal does not behave.
pub async fn run(open: &Open<'_>) {
    keeps_its_promises(&*open().await).await;
    others_read_what_one_has_written(open).await;
    one_worker_at_a_time_continues_a_run(open).await;
    many_runs_grow_side_by_side(open).await;
    a_closed_run_stays_closed(open).await;
    a_label_is_begun_once(open).await;
    who_looked_too_early_begins_nothing(open).await;
}

/// The first entry of a run, for tests of journals: an order of `*.example.com`.
///
/// # Panics
/// Never, unless keys cannot be made on this machine.
pub fn planned(label: Option<&str>, earlier: Option<u64>) -> Entry {
    let key = PrivateKey::generate(KeyKind::EcdsaP256).expect("a key");
    let names = vec![DnsName::parse("*.example.com").expect("a name")];
    let mut request = Request::new("ssl_basic", 7, names, &key).expect("a request");
    request.label = label.map(str::to_owned);
    request.earlier = earlier;
    Entry::Planned { request: Box::new(request) }
}

/// An entry that says which it is, for tests of journals; [`numbers`] reads it back.
pub fn numbered(n: u64) -> Entry {
    Entry::Failed { reason: n.to_string() }
}

/// The numbers of all [`numbered`] entries of a run, in their order.
///
/// # Panics
/// When the run cannot be read.
pub async fn numbers(journal: &dyn Journal, run: &RunId) -> Vec<u64> {
    let entries = journal.read(run).await.expect("read");
    let number = |entry: &Entry| match entry {
        Entry::Failed { reason } => reason.parse().ok(),
        _ => None,
    };
    entries.iter().filter_map(|stamped| number(&stamped.entry)).collect()
}

fn new_id() -> RunId {
    RunId::new(Timestamp::now())
}

async fn begun(journal: &dyn Journal) -> (RunId, Lease) {
    let run = new_id();
    let lease = journal.begin(&run, &planned(None, None)).await.expect("begun");
    (run, lease)
}

async fn keeps_its_promises(journal: &dyn Journal) {
    let (first, second) = (new_id(), new_id());
    let lease = journal.begin(&first, &planned(None, None)).await.expect("begun");
    let again = journal.begin(&first, &planned(None, None)).await;
    assert!(matches!(again, Err(JournalError::Exists(_) | JournalError::Held(_))), "{again:?}");
    assert!(matches!(journal.claim(&first).await, Err(JournalError::Held(_))), "one worker at a time");
    assert!(matches!(journal.claim(&second).await, Err(JournalError::Unknown(_))));
    assert!(matches!(journal.read(&second).await, Err(JournalError::Unknown(_))));

    let proofs = vec![Proof::Txt { name: "example.com".to_owned(), value: "v".to_owned() }];
    let placed = Entry::Placed {
        order_id: OrderId(5),
        certificate_id: None,
        random_value: Some("v".to_owned()),
        needs_approval: false,
        request_id: None,
        chain: None,
    };
    for entry in [Entry::Placing, placed, Entry::Presenting { proofs: proofs.clone() }] {
        journal.append(&lease, &entry).await.expect("appended");
    }
    let run = Run::fold(first.clone(), &journal.read(&first).await.expect("read")).expect("a run");
    assert_eq!((run.order_id, run.shown.len(), run.random_value.as_deref()), (Some(OrderId(5)), 1, Some("v")));
    assert_eq!(run.request.names[0].as_str(), "*.example.com");

    let other = journal.begin(&second, &planned(None, None)).await.expect("begun");
    assert_eq!(journal.runs(Which::Open).await.expect("listed"), [first.clone(), second.clone()]);
    journal.append(&other, &Entry::Closed).await.expect("appended");
    assert_eq!(journal.runs(Which::Open).await.expect("listed"), std::slice::from_ref(&first));
    assert_eq!(journal.runs(Which::All).await.expect("listed"), [first.clone(), second.clone()]);

    // Somebody else takes over; whoever wakes up with the old lease cannot write.
    let stale = Lease::new(first.clone(), lease.epoch, None);
    assert_eq!(journal.runs(Which::Free).await.expect("listed"), [], "it is held");
    drop(lease);
    journal.settle().await;
    assert_eq!(journal.runs(Which::Free).await.expect("listed"), std::slice::from_ref(&first));
    let taken = journal.claim(&first).await.expect("free again");
    assert!(taken.epoch > stale.epoch);
    let refused = journal.append(&stale, &Entry::Placing).await;
    assert!(matches!(refused, Err(JournalError::Fenced(_))), "{refused:?}");
    journal.append(&taken, &Entry::Retracted { proofs }).await.expect("appended");
    let entries = journal.read(&first).await.expect("read");
    assert_eq!(entries.len(), 5, "the one that was refused is not there");
    assert!(Run::fold(first, &entries).expect("a run").shown.is_empty());
}

async fn others_read_what_one_has_written(open: &Open<'_>) {
    let (one, other) = (open().await, open().await);
    let (run, lease) = begun(&*one).await;
    let odd = ["", "it's \"quoted\" \\ and $1 ?1 %s", "two\nlines\tand\r\n", "zażółć 漢字 🔑", &"long ".repeat(50_000)];
    for text in odd {
        one.append(&lease, &Entry::Failed { reason: text.to_owned() }).await.expect("appended");
    }
    let entries = other.read(&run).await.expect("read");
    let reasons: Vec<&str> = entries
        .iter()
        .filter_map(|stamped| match &stamped.entry {
            Entry::Failed { reason } => Some(reason.as_str()),
            _ => None,
        })
        .collect();
    assert!(reasons == odd, "odd texts arrive unchanged and in their order");
    assert!(other.runs(Which::Open).await.expect("listed").contains(&run));
}

async fn one_worker_at_a_time_continues_a_run(open: &Open<'_>) {
    let one = open().await;
    let (run, lease) = begun(&*one).await;
    let others: Vec<Arc<dyn Journal>> = join_all((0..8).map(|_| open())).await;
    for other in &others {
        assert!(matches!(other.claim(&run).await, Err(JournalError::Held(_))), "it is held elsewhere");
    }
    let mut holder = lease;
    for round in 0..5 {
        let epoch = holder.epoch;
        drop(holder);
        join_all([&one].into_iter().chain(&others).map(|journal| journal.settle())).await;
        let claims = join_all(others.iter().map(|other| other.claim(&run))).await;
        let (got, refused): (Vec<_>, Vec<_>) = claims.into_iter().partition(Result::is_ok);
        assert_eq!(got.len(), 1, "round {round}: one of all gets it");
        for error in refused {
            assert!(matches!(error, Err(JournalError::Held(_))), "round {round}: {error:?}");
        }
        holder = got.into_iter().flatten().next().expect("one");
        assert!(holder.epoch > epoch, "round {round}: the epoch grows");
    }
}

async fn many_runs_grow_side_by_side(open: &Open<'_>) {
    let journals: Vec<Arc<dyn Journal>> = join_all((0..4).map(|_| open())).await;
    let write = async |journal: &Arc<dyn Journal>| {
        let (run, lease) = begun(&**journal).await;
        for n in 0..25 {
            journal.append(&lease, &numbered(n)).await.expect("appended");
        }
        run
    };
    let runs = join_all(journals.iter().flat_map(|journal| (0..3).map(|_| write(journal)))).await;
    for run in &runs {
        assert_eq!(numbers(&*journals[0], run).await, (0..25).collect::<Vec<_>>(), "{run}");
    }
    // Many are read as each alone is, in the order in which they are asked for.
    let asked: Vec<RunId> = runs.iter().rev().cloned().collect();
    for (run, read) in asked.iter().zip(journals[1].read_many(&asked).await.expect("read")) {
        let alone = journals[0].read(run).await.expect("read");
        assert_eq!(serde_json::to_value(read).expect("JSON"), serde_json::to_value(alone).expect("JSON"), "{run}");
    }
    let with_one_more = [&asked[..1], &[new_id()]].concat();
    assert!(matches!(journals[0].read_many(&with_one_more).await, Err(JournalError::Unknown(_))));
    assert!(journals[0].read_many(&[]).await.expect("read").is_empty());
}

async fn a_closed_run_stays_closed(open: &Open<'_>) {
    let journal = open().await;
    let (run, lease) = begun(&*journal).await;
    journal.append(&lease, &Entry::Closed).await.expect("appended");
    journal.append(&lease, &Entry::Canceling { reason: "too late".to_owned() }).await.expect("appended");
    assert!(!journal.runs(Which::Open).await.expect("listed").contains(&run));
    drop(lease);
    journal.settle().await;
    assert!(!journal.runs(Which::Free).await.expect("listed").contains(&run));
    drop(journal.claim(&run).await.expect("it can be looked through"));
}

/// Checks that this was refused because of `run`.
fn refused(result: Result<Lease, JournalError>, expected: &str, run: &RunId) {
    match result {
        Err(JournalError::Begun { label, run: other }) => assert_eq!((label.as_str(), &other), (expected, run)),
        other => panic!("`{expected}` was to be refused because of {run}: {other:?}"),
    }
}

async fn a_label_is_begun_once(open: &Open<'_>) {
    let journals: Vec<Arc<dyn Journal>> = join_all((0..8).map(|_| open())).await;
    for earlier in [None, Some(0)] {
        let label = format!("begun-once-{earlier:?}");
        let begin = async |journal: &Arc<dyn Journal>| {
            let run = new_id();
            journal.begin(&run, &planned(Some(&label), earlier)).await.map(|lease| (run, lease))
        };
        let (got, lost): (Vec<_>, Vec<_>) =
            join_all(journals.iter().map(begin)).await.into_iter().partition(Result::is_ok);
        assert_eq!(got.len(), 1, "{label}: one of all begins");
        let (run, lease) = got.into_iter().flatten().next().expect("one");
        for result in lost {
            refused(result.map(|(_, lease)| lease), &label, &run);
        }
        // Not while it is open, whether somebody holds it or not.
        drop(lease);
        join_all(journals.iter().map(|journal| journal.settle())).await;
        refused(journals[1].begin(&new_id(), &planned(Some(&label), None)).await, &label, &run);
    }
    let (all, none) = (journals[0].runs(Which::All).await.expect("listed"), planned(None, None));
    journals[0].begin(&new_id(), &none).await.expect("what has no label is not compared");
    assert_eq!(
        journals[0].runs(Which::All).await.expect("listed").len(),
        all.len() + 1,
        "what was refused is not there"
    );
}

async fn who_looked_too_early_begins_nothing(open: &Open<'_>) {
    let (one, other) = (open().await, open().await);
    let label = "looked-too-early";
    let first = new_id();
    let lease = one.begin(&first, &planned(Some(label), Some(0))).await.expect("begun");
    one.append(&lease, &Entry::Closed).await.expect("appended");
    drop(lease);
    // The other has looked before there was a first run; meanwhile that has come and gone.
    refused(other.begin(&new_id(), &planned(Some(label), Some(0))).await, label, &first);
    let second = new_id();
    let lease = other.begin(&second, &planned(Some(label), Some(1))).await.expect("begun");
    other.append(&lease, &Entry::Closed).await.expect("appended");
    for earlier in [0, 1] {
        refused(one.begin(&new_id(), &planned(Some(label), Some(earlier))).await, label, &second);
    }
    assert_eq!(one.runs_of(label, 9).await.expect("listed"), [second.clone(), first], "the youngest first");
    assert_eq!(other.runs_of(label, 1).await.expect("listed"), [second], "no more than were asked for");
    assert!(one.runs_of("looked", 9).await.expect("listed").is_empty());
    // Who does not say what was there before is only held to the first rule.
    let third = new_id();
    let _lease = one.begin(&third, &planned(Some(label), None)).await.expect("begun");
    refused(one.begin(&new_id(), &planned(Some(label), Some(3))).await, label, &third);
    // Who has counted too many does not confuse those who come after.
    let label = "counted-too-many";
    for (earlier, begun) in [(7, true), (0, false), (1, true), (1, false), (2, true)] {
        let began = one.begin(&new_id(), &planned(Some(label), Some(earlier))).await;
        assert_eq!(began.is_ok(), begun, "{earlier}: {began:?}");
        if let Ok(lease) = began {
            other.append(&lease, &Entry::Closed).await.expect("appended");
        }
    }
}
