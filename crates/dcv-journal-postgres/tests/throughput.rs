//! How much a server of this machine can take, with everything forced to disk. A figure to look at, not a test:
//!
//! ```sh
//! cargo test --release -p dcv-journal-postgres --test throughput -- --ignored --nocapture
//! ```

use std::time::{Duration, Instant};

use dcv_core::{
    RunId,
    journal::{
        Journal, Lease,
        conformance::{numbered, planned},
    },
};
use dcv_journal_postgres::PostgresJournal;
use dcv_tests::postgres::Postgres;
use futures_util::future::join_all;
use jiff::Timestamp;

/// How long each figure is measured.
const MEASURED: Duration = Duration::from_secs(5);
/// Runs that one worker works on at the same time: what `keep.parallel` is by default.
const PARALLEL: usize = 4;

async fn connect(server: &Postgres) -> PostgresJournal {
    PostgresJournal::connect(&server.url()).await.expect("it connects")
}

async fn begin(journal: &PostgresJournal) -> (RunId, Lease) {
    let run = RunId::new(Timestamp::now());
    let lease = journal.begin(&run, &planned(None, None)).await.expect("begun");
    (run, lease)
}

/// How often `work` can be done in a second by so many workers, each doing it several times at once.
async fn rate(workers: &[PostgresJournal], work: impl AsyncFn(&PostgresJournal, &RunId, &mut Option<Lease>)) -> f64 {
    let one = async |journal: &PostgresJournal| {
        let (run, lease) = begin(journal).await;
        let (mut lease, mut times, began) = (Some(lease), 0_u32, Instant::now());
        while began.elapsed() < MEASURED {
            work(journal, &run, &mut lease).await;
            times += 1;
        }
        f64::from(times) / began.elapsed().as_secs_f64()
    };
    join_all(workers.iter().flat_map(|worker| (0..PARALLEL).map(|_| one(worker)))).await.into_iter().sum()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn appends_and_claims_of_one_and_of_four_workers() {
    let server = Postgres::with(&[]);
    println!("{:>8} {:>12} {:>12}", "workers", "appends/s", "claims/s");
    for workers in [1, 4] {
        let journals = join_all((0..workers).map(|_| connect(&server))).await;
        let appends = rate(&journals, async |journal, _, lease| {
            let lease = lease.as_ref().expect("held");
            journal.append(lease, &numbered(0)).await.expect("appended");
        })
        .await;
        // A claim and what it takes to claim the same run again.
        let claims = rate(&journals, async |journal, run, lease| {
            *lease = None;
            *lease = Some(journal.claim(run).await.expect("claimed"));
        })
        .await;
        println!("{workers:>8} {appends:>12.0} {claims:>12.0}");
    }
}
