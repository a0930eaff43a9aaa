//! One suite for all journals, and what is special about those that live here.

use std::sync::Arc;

use dcv_core::{
    RunId,
    journal::{Journal, JournalError, MemoryJournal, SqliteJournal, Which, conformance},
};
use futures_util::FutureExt;
use jiff::Timestamp;

#[tokio::test]
async fn in_memory() {
    let journal = MemoryJournal::default();
    let open = || {
        let journal = journal.clone();
        async move { Arc::new(journal) as Arc<dyn Journal> }.boxed()
    };
    conformance::run(&open).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_sqlite() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("deep/journal.sqlite");
    let open = || {
        let path = path.clone();
        async move { Arc::new(SqliteJournal::open(path).await.expect("it opens")) as Arc<dyn Journal> }.boxed()
    };
    conformance::run(&open).await;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&path).expect("a file").permissions().mode() & 0o777, 0o600);
    }
    let locks = std::fs::read_dir(folder.path().join("deep/journal.sqlite.locks")).expect("a folder").count();
    let runs = SqliteJournal::open(&path).await.expect("it opens").runs(Which::All).await.expect("listed").len();
    assert_eq!(locks, runs, "what was refused leaves no lock behind");
}

/// What version 1 wrote: labels are only in the entries, and two runs of one label could be open.
#[tokio::test]
async fn a_file_of_the_first_version_is_brought_up_to_date() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("journal.sqlite");
    let old = rusqlite::Connection::open(&path).expect("a file");
    old.execute_batch(
        "CREATE TABLE run (id TEXT PRIMARY KEY, epoch INTEGER NOT NULL, open INTEGER NOT NULL) STRICT;
         CREATE TABLE entry (run TEXT NOT NULL REFERENCES run(id), seq INTEGER NOT NULL, at TEXT NOT NULL,
             body TEXT NOT NULL, PRIMARY KEY (run, seq)) STRICT, WITHOUT ROWID;
         PRAGMA user_version = 1;",
    )
    .expect("tables");
    for (id, label, open) in [("dcv-1", Some("shop"), 0), ("dcv-2", None, 1), ("dcv-3", Some("shop"), 1)] {
        let body =
            serde_json::to_string(&conformance::planned(label, None)).expect("JSON").replace("\"earlier\":null,", "");
        old.execute("INSERT INTO run VALUES (?1, 1, ?2)", rusqlite::params![id, open]).expect("a run");
        old.execute("INSERT INTO entry VALUES (?1, 1, '2026-11-01T00:00:00Z', ?2)", [id, &body]).expect("an entry");
    }
    drop(old);

    let journal = SqliteJournal::open(&path).await.expect("it opens");
    let id = |text: &str| text.parse::<RunId>().expect("an id");
    assert_eq!(journal.runs(Which::Open).await.expect("listed"), [id("dcv-2"), id("dcv-3")]);
    let new = || RunId::new(Timestamp::now());
    let open = journal.begin(&new(), &conformance::planned(Some("shop"), Some(2))).await.expect_err("one is open");
    assert!(matches!(open, JournalError::Begun { run, .. } if run == id("dcv-3")));
    let lease = journal.claim(&id("dcv-3")).await.expect("claimed");
    journal.append(&lease, &dcv_core::state::Entry::Closed).await.expect("appended");
    let stale = journal.begin(&new(), &conformance::planned(Some("shop"), Some(1))).await.expect_err("there were two");
    assert!(matches!(stale, JournalError::Begun { .. }), "{stale}");
    journal.begin(&new(), &conformance::planned(Some("shop"), Some(2))).await.expect("begun");
    assert_eq!(journal.read(&id("dcv-1")).await.expect("read").len(), 1);
}

#[tokio::test]
async fn a_file_of_a_newer_version_is_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("journal.sqlite");
    rusqlite::Connection::open(&path).and_then(|new| new.pragma_update(None, "user_version", 99)).expect("a file");
    let error = SqliteJournal::open(&path).await.expect_err("it is newer").to_string();
    assert!(error.contains("written by a newer dcv") && error.contains("99"), "{error}");
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
    journal.begin(&RunId::new(Timestamp::now()), &conformance::planned(None, None)).await.expect("begun");
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
