//! `dcv run` with thousands of orders that wait for people: what it costs to keep an eye on them, and to be started again.
//!
//! The runs are put into the journal by a process of their own (`bench waiting …`), through the library and without the CA's limits: at
//! those it would take an hour and a half. What is measured is the program, as it is.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use certcentral::{Budget, RequestStatus};
use certcentral_sandbox::{Config, account::Approval};
use dcv_core::{
    Dcv, Outcome, Output, Request, Settings,
    journal::Which,
    key::{KeyKind, PrivateKey},
    name::DnsName,
};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use tokio::{sync::Semaphore, task::JoinSet};

use super::{
    curves::{Limits, Orders},
    peer::{CaKind, Task, dcv_with},
    run::Running,
    world::{Ca, HostKind, Servers, World, names},
};
use crate::{
    daemon::folder,
    world::{API_KEY, ORGANIZATION},
};

/// How long it is watched while nothing happens: three ticks.
const WATCHED: Duration = Duration::from_secs(45);
/// How many clock ticks of the kernel are a second, as on every Linux that runs here.
const TICKS: f64 = 100.0;

/// What keeping so many orders in flight costs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// Orders that wait for an approver.
    pub orders: usize,
    /// Seconds from the start of the program, after it was killed, until it has asked which orders have changed.
    pub start: f64,
    /// Calls of the CA until then.
    pub calls_to_start: usize,
    /// Resident memory while nothing happens, in MiB.
    pub rss_mib: f64,
    /// The most it ever was.
    pub peak_mib: f64,
    /// Seconds of the processors in a second while nothing happens.
    pub idle_cpu: f64,
    /// Calls of the CA in a tick while nothing happens.
    pub calls_per_tick: f64,
    /// Seconds from that start until the files are there of a certificate that was approved while nothing ran.
    pub resumed: f64,
    /// Seconds from an approval until the certificate's files are there.
    pub approved: f64,
}

/// Puts so many runs into a journal, kills a keeper of theirs, and measures the next one.
///
/// # Panics
/// When a server or a program is missing, or the keeper does not come to where it should.
pub async fn kept(count: usize) -> Kept {
    let world = World::start_with(HostKind::Bind, CaKind::Sandbox, 1, Servers::Alive, |config: &mut Config| {
        config.rate.clear();
        config.approval = Approval::Required;
    })
    .await;
    let Ca::Sandbox(sandbox) = &world.ca else { unreachable!("it was asked for") };
    let dir = folder();
    let names = names(&world.zones, count);
    let seeds = Orders::write(&world, dir.path(), names.clone(), Limits::Off);
    let seeded = std::process::Command::new(std::env::current_exe().expect("our own path"))
        .arg("waiting")
        .arg(&seeds)
        .status()
        .expect("it starts");
    assert!(seeded.success(), "the runs are not in the journal");

    let mut inventory = String::new();
    for (n, name) in names.iter().enumerate() {
        let out = dir.path().join(format!("c{n}"));
        let _ = writeln!(inventory, "[certificate.c{n}]\nnames = [\"{name}\"]\nout = \"{}\"", out.display());
    }
    let job = dcv_with(&Task { world: &world, dir: dir.path(), names: &names }, &inventory, &["run"]);
    let asked = |since: usize| {
        sandbox.requests_seen()[since..].iter().filter(|seen| seen.path.contains("status-changes")).count()
    };
    let started = async |since: usize| {
        let began = Instant::now();
        while asked(since) == 0 {
            assert!(began.elapsed() < Duration::from_secs(120), "the keeper never asks");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        began.elapsed().as_secs_f64()
    };

    let client = world.address().client();
    // Approves one order, and tells where its certificate will be.
    let approve = async || {
        let pending = client.requests(Some(&RequestStatus::Pending)).await.expect("requests");
        let one = pending.first().expect("they wait");
        client.set_request_status(one.id, &RequestStatus::Approved, "fine").await.expect("it is approved");
        let order = one.order.as_ref().expect("a request of an order").id;
        let certificate = client.order(order).await.expect("its order").certificate.expect("its certificate");
        let name = certificate.common_name.expect("its name");
        let n = names.iter().position(|other| *other == name).expect("one of ours");
        dir.path().join(format!("c{n}")).join("fullchain.pem")
    };
    let home = async |file: PathBuf, began: Instant| {
        while !file.exists() {
            assert!(began.elapsed() < Duration::from_secs(120), "no certificate comes home");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        began.elapsed().as_secs_f64()
    };

    let before = sandbox.requests_seen().len();
    let first = Running::start(&job, None);
    started(before).await;
    first.kill();
    let file = approve().await;

    let (before, began) = (sandbox.requests_seen().len(), Instant::now());
    let keeper = Running::start(&job, None);
    let start = started(before).await;
    let calls_to_start = sandbox.requests_seen().len() - before;
    let resumed = home(file, began).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (cpu, calls, began) = (keeper.cpu(), sandbox.requests_seen().len(), Instant::now());
    tokio::time::sleep(WATCHED).await;
    let idle_cpu = (keeper.cpu() - cpu) / TICKS / began.elapsed().as_secs_f64();
    let calls = sandbox.requests_seen().len() - calls;
    let ticks = WATCHED.as_secs_f64() / Settings::default().tick.as_secs_f64();
    let (rss_mib, peak_mib) = keeper.memory();

    let file = approve().await;
    let approved = home(file, Instant::now()).await;
    keeper.kill();
    #[expect(clippy::cast_precision_loss, reason = "a few calls")]
    let calls_per_tick = calls as f64 / ticks;
    Kept { orders: count, start, calls_to_start, rss_mib, peak_mib, idle_cpu, calls_per_tick, resumed, approved }
}

/// The process that puts waiting runs into a journal, each with the label that the keeper's inventory has for it.
///
/// # Panics
/// When an order does not come to wait for its approver.
pub async fn place_waiting(task: &Path) {
    let task = Orders::read(task);
    let client = certcentral::Client::builder(SecretString::from(API_KEY)).base_url(&task.world.ca);
    let client = client.budget(Budget::new(Vec::new(), 8)).build().expect("a good base URL");
    let dcv = Dcv::builder(client)
        .provider(task.world.provider())
        .dns(task.world.questions())
        .settings(Settings { people: Duration::ZERO, ..Settings::default() })
        .journal_at(&task.journal)
        .build()
        .await
        .expect("the journal opens");
    let key = PrivateKey::generate(KeyKind::EcdsaP256).expect("a key");
    let places = Arc::new(Semaphore::new(32));
    let mut all = JoinSet::new();
    for (n, name) in task.names.into_iter().enumerate() {
        let names = vec![DnsName::parse(&name).expect("a name")];
        let mut request = Request::new("ssl_basic", ORGANIZATION, names, &key).expect("a good request");
        request.label = Some(format!("c{n}"));
        request.output = Some(Output { dir: task.journal.with_file_name(format!("c{n}")), pending_key: None });
        let (dcv, places) = (dcv.clone(), Arc::clone(&places));
        all.spawn(async move {
            let _place = places.acquire().await;
            let outcome = dcv.issue(request).await.unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(matches!(outcome, Outcome::Waiting(_)), "{name}: {outcome}");
        });
    }
    all.join_all().await;
    assert!(!dcv.runs(Which::Open).await.expect("a journal").is_empty());
}
