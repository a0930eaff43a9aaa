//! A worker in a process of its own, so that it can be stopped and killed:
//!
//! - `journal-worker write URL LEASE RUN` claims a run and appends numbered entries to it as long as it may;
//! - `journal-worker share URL LEASE ENTRIES` claims whatever is free, appends so many entries, and closes it; a table
//!   `witness` with one row for each run is told who holds it, and does not let two.
//!
//! It says on standard output what it has done, and ends with 3 when it is fenced.

use std::{process::ExitCode, time::Duration};

use dcv_core::{
    RunId,
    journal::{
        Journal, JournalError, Which,
        conformance::{numbered, numbers},
    },
    state::Entry,
};
use dcv_journal_postgres::PostgresJournal;
use tokio_postgres::{NoTls, types::Type};

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [what, url, lease, rest] = arguments.as_slice() else {
        panic!("what, URL, lease in milliseconds, and a run or number")
    };
    let life = Duration::from_millis(lease.parse().expect("milliseconds"));
    let journal = PostgresJournal::at(url).expect("a URL").lease(life).connect().await.expect("it connects");
    match what.as_str() {
        "write" => write(&journal, &rest.parse().expect("a run")).await,
        "share" => share(&journal, url, rest.parse().expect("a number")).await,
        other => panic!("`{other}`?"),
    }
}

async fn write(journal: &PostgresJournal, run: &RunId) -> ExitCode {
    let lease = journal.claim(run).await.expect("claimed");
    println!("claimed {}", lease.epoch);
    let next = numbers(journal, run).await.last().map_or(0, |last| last + 1);
    for n in next.. {
        match journal.append(&lease, &numbered(n)).await {
            Ok(()) => println!("wrote {n}"),
            Err(JournalError::Fenced(_)) => {
                println!("fenced");
                return ExitCode::from(3);
            }
            Err(error) => panic!("{error}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    ExitCode::SUCCESS
}

async fn share(journal: &PostgresJournal, url: &str, entries: u64) -> ExitCode {
    let (witness, connection) = tokio_postgres::connect(url, NoTls).await.expect("it connects");
    tokio::spawn(connection);
    println!("ready");
    loop {
        let free = journal.runs(Which::Free).await.expect("listed");
        if free.is_empty() && journal.runs(Which::Open).await.expect("listed").is_empty() {
            return ExitCode::SUCCESS;
        }
        for run in free {
            let lease = match journal.claim(&run).await {
                Ok(lease) => lease,
                Err(JournalError::Held(_)) => continue,
                Err(error) => panic!("{error}"),
            };
            let id = run.as_str();
            // Fails when somebody else is there.
            witness
                .execute_typed("INSERT INTO witness VALUES ($1)", &[(&id, Type::TEXT)])
                .await
                .expect("nobody else holds it");
            // It was free when it was listed; meanwhile somebody may have done all of it.
            let closed = journal.read(&run).await.expect("read").iter().any(|one| matches!(one.entry, Entry::Closed));
            if !closed {
                for n in 0..entries {
                    journal.append(&lease, &numbered(n)).await.expect("appended");
                }
                journal.append(&lease, &Entry::Closed).await.expect("appended");
            }
            witness.execute_typed("DELETE FROM witness WHERE run = $1", &[(&id, Type::TEXT)]).await.expect("gone");
            drop(lease);
            println!("{} {run}", if closed { "saw" } else { "did" });
        }
    }
}
