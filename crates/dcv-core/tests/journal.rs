//! One suite for all journals.

use certcentral::OrderId;
use dcv_core::{
    Request, RunId,
    journal::{Journal, JournalError, MemoryJournal, SqliteJournal, Which},
    key::{KeyKind, PrivateKey},
    name::DnsName,
    state::{Entry, Run},
};
use dcv_provider::Proof;
use jiff::Timestamp;

fn planned() -> Entry {
    let key = PrivateKey::generate(KeyKind::EcdsaP256).expect("a key");
    let names = vec![DnsName::parse("*.example.com").expect("a name")];
    Entry::Planned { request: Box::new(Request::new("ssl_basic", 7, names, &key).expect("a request")) }
}

fn placed() -> Entry {
    Entry::Placed {
        order_id: OrderId(5),
        certificate_id: None,
        random_value: Some("v".to_owned()),
        needs_approval: false,
        request_id: None,
        chain: None,
    }
}

async fn keeps_its_promises(journal: &dyn Journal) {
    let (first, second) = (RunId::new(Timestamp::now()), RunId::new(Timestamp::now()));
    let lease = journal.begin(&first, &planned()).await.expect("begun");
    assert!(matches!(journal.begin(&first, &planned()).await, Err(JournalError::Exists(_) | JournalError::Held(_))));
    assert!(matches!(journal.claim(&first).await, Err(JournalError::Held(_))), "one worker at a time");
    assert!(matches!(journal.claim(&second).await, Err(JournalError::Unknown(_))));
    assert!(matches!(journal.read(&second).await, Err(JournalError::Unknown(_))));

    let proofs = vec![Proof::Txt { name: "example.com".to_owned(), value: "v".to_owned() }];
    for entry in [Entry::Placing, placed(), Entry::Presenting { proofs: proofs.clone() }] {
        journal.append(&lease, &entry).await.expect("appended");
    }
    let run = Run::fold(first.clone(), &journal.read(&first).await.expect("read")).expect("a run");
    assert_eq!((run.order_id, run.shown.len(), run.random_value.as_deref()), (Some(OrderId(5)), 1, Some("v")));
    assert_eq!(run.request.names[0].as_str(), "*.example.com");

    let other = journal.begin(&second, &planned()).await.expect("begun");
    assert_eq!(journal.runs(Which::Open).await.expect("listed"), [first.clone(), second.clone()]);
    journal.append(&other, &Entry::Closed).await.expect("appended");
    assert_eq!(journal.runs(Which::Open).await.expect("listed"), std::slice::from_ref(&first));
    assert_eq!(journal.runs(Which::All).await.expect("listed"), [first.clone(), second.clone()]);

    // Somebody else takes over; whoever wakes up with the old lease cannot write.
    let stale = dcv_core::journal::Lease::new(first.clone(), lease.epoch, None);
    drop(lease);
    let taken = journal.claim(&first).await.expect("free again");
    assert!(taken.epoch > stale.epoch);
    assert!(matches!(journal.append(&stale, &Entry::Placing).await, Err(JournalError::Fenced(_))));
    journal.append(&taken, &Entry::Retracted { proofs }).await.expect("appended");
    let run = Run::fold(first.clone(), &journal.read(&first).await.expect("read")).expect("a run");
    assert!(run.shown.is_empty());
}

#[tokio::test]
async fn in_memory() {
    keeps_its_promises(&MemoryJournal::default()).await;
}

#[tokio::test]
async fn in_sqlite() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("deep/journal.sqlite");
    keeps_its_promises(&SqliteJournal::open(&path).await.expect("it opens")).await;

    // Another process finds all of it.
    let again = SqliteJournal::open(&path).await.expect("it opens again");
    assert_eq!(again.runs(Which::All).await.expect("listed").len(), 2);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&path).expect("a file").permissions().mode() & 0o777, 0o600);
    }
}

#[tokio::test]
async fn a_file_that_is_no_journal_is_said_to_be_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("journal.sqlite");
    std::fs::write(&path, "this is a letter to my aunt, and not a database at all").expect("a file");
    let error = SqliteJournal::open(&path).await.expect_err("no journal").to_string();
    assert!(error.contains("journal.sqlite") && error.contains("not a database"), "{error}");
}

#[tokio::test]
async fn a_journal_that_cannot_be_written_says_so() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("journal.sqlite");
    let journal = SqliteJournal::open(&path).await.expect("a journal");
    journal.check_writable().await.expect("it can be written");
    journal.begin(&RunId::new(Timestamp::now()), &planned()).await.expect("begun");
    journal.check_writable().await.expect("it can be written");
    // What is there is no database any more, as after a disk has failed.
    for file in ["journal.sqlite", "journal.sqlite-wal", "journal.sqlite-shm"] {
        let file = std::fs::OpenOptions::new().write(true).open(dir.path().join(file)).expect("a file");
        file.set_len(0).expect("emptied");
        file.set_len(65536).expect("zeros");
    }
    let error = journal.check_writable().await.expect_err("it cannot be written");
    assert!(matches!(&error, JournalError::Store { place, .. } if place.contains("journal.sqlite")), "{error}");
}
