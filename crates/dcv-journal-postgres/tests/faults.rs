//! What can go wrong between workers and the server, and must not show: answers lost on either side, the server restarted, workers
//! stopped and killed, many workers at once.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, ChildStdout, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicUsize, Ordering},
    },
    time::Duration,
};

use dcv_core::{
    RunId,
    journal::{
        Journal, JournalError, Lease, Which,
        conformance::{numbered, numbers, planned},
    },
    state::Entry,
};
use dcv_journal_postgres::PostgresJournal;
use dcv_tests::postgres::{Postgres, Stop};
use futures_util::future::join_all;
use jiff::Timestamp;
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

async fn begin(journal: &PostgresJournal) -> (RunId, Lease) {
    let run = RunId::new(Timestamp::now());
    let lease = journal.begin(&run, &planned(None, None)).await.expect("begun");
    (run, lease)
}

/// Asks until it is so. The limit is only there so that a test which fails comes to an end.
async fn until<T>(mut is_so: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(found) = is_so().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), asking).await.expect("it never came about")
}

// ---- answers that are lost

/// Where the next connection that says something is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Cut {
    Nowhere,
    /// Before the server has heard it.
    Before,
    /// After the server has done it.
    After,
}

/// Stands between worker and server, and cuts a connection when told: a network that loses one message.
struct Proxy {
    address: SocketAddr,
    next: Arc<AtomicU8>,
    cuts: Arc<AtomicUsize>,
}

impl Proxy {
    async fn start(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it has one");
        let (next, cuts) = (Arc::new(AtomicU8::new(Cut::Nowhere as u8)), Arc::new(AtomicUsize::new(0)));
        let (told, done) = (Arc::clone(&next), Arc::clone(&cuts));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (told, done) = (Arc::clone(&told), Arc::clone(&done));
                tokio::spawn(async move {
                    let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else { return };
                    if pass(client, server, &told).await {
                        done.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
        });
        Self { address, next, cuts }
    }

    fn cut(&self, where_: Cut) {
        self.next.store(where_ as u8, Ordering::SeqCst);
    }
}

/// Passes everything on until one side ends, or the cut comes: whether it came.
async fn pass(mut client: TcpStream, mut server: TcpStream, next: &AtomicU8) -> bool {
    let take =
        |cut: Cut| next.compare_exchange(cut as u8, Cut::Nowhere as u8, Ordering::SeqCst, Ordering::SeqCst).is_ok();
    let (mut from_client, mut from_server) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let mut lose_answer = false;
    loop {
        tokio::select! {
            read = client.read(&mut from_client) => {
                let Ok(length @ 1..) = read else { return false };
                if take(Cut::Before) {
                    return true;
                }
                lose_answer |= take(Cut::After);
                if server.write_all(&from_client[..length]).await.is_err() {
                    return false;
                }
            }
            read = server.read(&mut from_server) => {
                let Ok(length @ 1..) = read else { return false };
                // The server answers when the transaction is over.
                if lose_answer {
                    return true;
                }
                if client.write_all(&from_server[..length]).await.is_err() {
                    return false;
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_done_and_not_answered_is_not_done_again() {
    let server = Postgres::start();
    let proxy = Proxy::start(server.port()).await;
    let url = server.url_with_password().replace(&format!("127.0.0.1:{}", server.port()), &proxy.address.to_string());
    // Renewals come seldom enough not to take the cuts.
    let journal = PostgresJournal::at(&url)
        .expect("a URL")
        .lease(Duration::from_secs(3600))
        .connect()
        .await
        .expect("it connects");
    let label = planned(Some("shop"), Some(0));
    let mut cuts = 0;
    for cut in [Cut::Before, Cut::After] {
        let mut cut_next = || {
            cuts += 1;
            proxy.cut(cut);
        };
        cut_next();
        let (run, lease) = begin(&journal).await;
        for n in 0..10 {
            cut_next();
            journal.append(&lease, &numbered(n)).await.unwrap_or_else(|e| panic!("{cut:?} {n}: {e}"));
        }
        assert_eq!(numbers(&journal, &run).await, (0..10).collect::<Vec<_>>(), "{cut:?}: nothing lost, nothing twice");

        drop(lease);
        journal.settle().await;
        cut_next();
        let lease = journal.claim(&run).await.unwrap_or_else(|e| panic!("{cut:?}: not held by itself: {e}"));
        journal.append(&lease, &numbered(10)).await.expect("the lease is good");
        cut_next();
        journal.append(&lease, &Entry::Closed).await.expect("closed");
        cut_next();
        assert!(!journal.runs(Which::Open).await.expect("listed").contains(&run));
        cut_next();
        assert_eq!(journal.read(&run).await.expect("read").len(), 13);

        // Refused is refused, also when the first refusal is lost.
        let stale = Lease::new(run.clone(), lease.epoch - 1, None);
        cut_next();
        let refused = journal.append(&stale, &numbered(99)).await;
        assert!(matches!(refused, Err(JournalError::Fenced(_))), "{cut:?}: {refused:?}");
        cut_next();
        let again = journal.begin(&run, &label).await;
        assert!(matches!(again, Err(JournalError::Exists(_))), "{cut:?}: {again:?}");
        assert_eq!(journal.read(&run).await.expect("read").len(), 13);
    }
    assert_eq!(proxy.cuts.load(Ordering::SeqCst), cuts, "every cut was made");

    // Of a label, too, the lost beginning is one's own.
    proxy.cut(Cut::After);
    let run = RunId::new(Timestamp::now());
    let _lease = journal.begin(&run, &label).await.expect("begun");
    let other = journal.begin(&RunId::new(Timestamp::now()), &label).await;
    assert!(matches!(other, Err(JournalError::Begun { run: first, .. }) if first == run));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_restarted_amid_appends_loses_and_doubles_nothing() {
    const ENTRIES: u64 = 400;
    let server = Postgres::start();
    let journal = PostgresJournal::connect(&server.url()).await.expect("it connects");
    let written = AtomicUsize::new(0);
    let append = async || {
        let (run, lease) = begin(&journal).await;
        for n in 0..ENTRIES {
            journal.append(&lease, &numbered(n)).await.expect("appended");
            written.fetch_add(1, Ordering::SeqCst);
        }
        run
    };
    let restart = async {
        for (at, how) in [(200, Stop::Fast), (600, Stop::Crash), (1000, Stop::Fast), (1400, Stop::Crash)] {
            until(async || (written.load(Ordering::SeqCst) >= at).then_some(())).await;
            tokio::task::block_in_place(|| {
                server.stop(how);
                server.go_on();
            });
        }
    };
    let (runs, ()) = tokio::join!(join_all((0..4).map(|_| append())), restart);
    for run in runs {
        assert_eq!(numbers(&journal, &run).await, (0..ENTRIES).collect::<Vec<_>>(), "{run}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stays_away_is_an_error_and_no_hang() {
    let server = Postgres::start();
    let options = PostgresJournal::at(&server.url()).expect("a URL").patience(Duration::from_millis(200));
    let journal = options.connect().await.expect("it connects");
    let (_, lease) = begin(&journal).await;
    server.stop(Stop::Fast);
    let error = journal.append(&lease, &numbered(0)).await.expect_err("it is away");
    assert!(matches!(error, JournalError::Store { .. }), "{error}");
    drop(lease);
    journal.settle().await;
    server.go_on();
    assert_eq!(journal.runs(Which::Open).await.expect("it is back").len(), 1);
}

// ---- workers that are stopped and killed

struct Worker {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Worker {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_journal-worker"))
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the worker starts");
        let said = BufReader::new(child.stdout.take().expect("piped"));
        Self { child, said }
    }

    /// What it says next; `None` when it has ended.
    fn hear(&mut self) -> Option<String> {
        let mut line = String::new();
        let length = self.said.read_line(&mut line).expect("a pipe");
        (length > 0).then(|| line.trim().to_owned())
    }

    fn hear_until(&mut self, wanted: &str) {
        while let Some(line) = self.hear() {
            if line == wanted {
                return;
            }
        }
        panic!("the worker has ended before it said `{wanted}`");
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process");
        kill_process(pid, signal).expect("it is there");
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A worker that writes to a run, and whose lease has been renewed a few times.
async fn writing(server: &Postgres, journal: &PostgresJournal) -> (RunId, Worker) {
    let (run, lease) = begin(journal).await;
    drop(lease);
    journal.settle().await;
    let mut worker = Worker::start(&["write", &server.url(), "1500", run.as_str()]);
    worker.hear_until("wrote 3");
    let lasts = || server.psql(&format!("SELECT until FROM dcv_run WHERE id = '{run}'")).expect("asked");
    let mut ends = std::collections::BTreeSet::new();
    until(async || {
        ends.insert(lasts());
        (ends.len() > 5).then_some(())
    })
    .await;
    // By now its first lease would have run out.
    assert!(matches!(journal.claim(&run).await, Err(JournalError::Held(_))), "it is renewed as long as it is held");
    (run, worker)
}

/// Takes a run over, as soon as it can be had.
async fn take_over(journal: &PostgresJournal, run: &RunId) -> Lease {
    until(async || match journal.claim(run).await {
        Ok(lease) => Some(lease),
        Err(JournalError::Held(_)) => None,
        Err(error) => panic!("{error}"),
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_stopped_beyond_its_lease_is_fenced_and_writes_nothing() {
    let server = Postgres::start();
    let journal = PostgresJournal::connect(&server.url()).await.expect("it connects");
    let (run, mut worker) = writing(&server, &journal).await;
    worker.signal(Signal::STOP);
    let lease = take_over(&journal, &run).await;
    journal.append(&lease, &numbered(1000)).await.expect("appended");
    let before = numbers(&journal, &run).await;
    worker.signal(Signal::CONT);
    worker.hear_until("fenced");
    assert_eq!(worker.hear(), None, "it does nothing more");
    assert_eq!(worker.child.wait().expect("ended").code(), Some(3));
    assert_eq!(numbers(&journal, &run).await, before, "it has written nothing since");
    let (last, first) = before.split_last().expect("entries");
    assert_eq!((*last, first), (1000, &*(0..first.len() as u64).collect::<Vec<_>>()));
    journal.append(&lease, &numbered(1001)).await.expect("the other goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_stopped_beyond_its_lease_is_fenced_even_if_nobody_has_taken_over() {
    let server = Postgres::start();
    let journal = PostgresJournal::connect(&server.url()).await.expect("it connects");
    let (run, mut worker) = writing(&server, &journal).await;
    worker.signal(Signal::STOP);
    until(async || journal.runs(Which::Free).await.expect("listed").contains(&run).then_some(())).await;
    let before = numbers(&journal, &run).await;
    worker.signal(Signal::CONT);
    worker.hear_until("fenced");
    assert_eq!(numbers(&journal, &run).await, before, "it has written nothing since");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_run_of_a_killed_worker_is_taken_over() {
    let server = Postgres::start();
    let journal = PostgresJournal::connect(&server.url()).await.expect("it connects");
    let (run, mut worker) = writing(&server, &journal).await;
    worker.signal(Signal::KILL);
    let mut acknowledged = 0;
    while let Some(line) = worker.hear() {
        let number = line.strip_prefix("wrote ").and_then(|n| n.parse::<u64>().ok());
        acknowledged = number.unwrap_or(acknowledged);
    }
    let lease = take_over(&journal, &run).await;
    journal.append(&lease, &numbered(1000)).await.expect("appended");
    let all = numbers(&journal, &run).await;
    let (_, first) = all.split_last().expect("entries");
    assert_eq!(first, (0..first.len() as u64).collect::<Vec<_>>());
    assert!(first.len() as u64 > acknowledged, "what was acknowledged is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_given_back_when_it_and_its_journal_are_dropped() {
    let server = Postgres::start();
    let long = Duration::from_secs(3600);
    let one = PostgresJournal::at(&server.url()).expect("a URL").lease(long).connect().await.expect("it connects");
    let other = PostgresJournal::connect(&server.url()).await.expect("it connects");
    let (run, lease) = begin(&one).await;
    assert!(matches!(other.claim(&run).await, Err(JournalError::Held(_))));
    drop((lease, one));
    take_over(&other, &run).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_workers_share_two_hundred_runs_and_never_one_at_once() {
    const RUNS: usize = 200;
    let server = Postgres::start();
    let journal = PostgresJournal::connect(&server.url()).await.expect("it connects");
    server.psql("CREATE TABLE witness (run text PRIMARY KEY)").expect("a table");
    let runs: Vec<RunId> = join_all((0..RUNS).map(|_| async { begin(&journal).await.0 })).await;
    journal.settle().await;
    let mut workers: Vec<Worker> = (0..8).map(|_| Worker::start(&["share", &server.url(), "30000", "5"])).collect();
    let mut did: Vec<usize> = Vec::new();
    let mut done = Vec::new();
    for worker in &mut workers {
        let before = done.len();
        while let Some(line) = worker.hear() {
            done.extend(line.strip_prefix("did ").map(str::to_owned));
        }
        did.push(done.len() - before);
        assert!(worker.child.wait().expect("ended").success(), "a worker has met another at the same run");
    }
    done.sort();
    let mut all: Vec<String> = runs.iter().map(ToString::to_string).collect();
    all.sort();
    assert_eq!(done, all, "every run was done once");
    assert!(did.iter().filter(|runs| **runs > 0).count() > 1, "they have shared: {did:?}");
    for run in &runs {
        assert_eq!(numbers(&journal, run).await, [0, 1, 2, 3, 4], "{run}");
    }
    assert_eq!(journal.runs(Which::Open).await.expect("listed"), []);
}
