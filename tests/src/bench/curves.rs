//! How dcv grows: many names in one order, and many orders in one process.
//!
//! Names are measured by the program. Orders are measured by the library in a process of its own (`bench orders …`, this program
//! called by itself), so that its memory is its own and not the sandbox's.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use certcentral::Budget;
use certcentral_sandbox::Config;
use dcv_core::{
    Dcv, Outcome, Request, Settings,
    key::{KeyKind, PrivateKey},
    name::DnsName,
};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use super::{
    peer::{CaKind, Job, Task},
    run::{Cost, timed},
    world::{HostKind, Servers, World, names},
};
use crate::{
    daemon::folder,
    world::{API_KEY, Address, ORGANIZATION},
};

/// One size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Names or orders.
    pub size: usize,
    /// What it cost, or why it failed.
    pub cost: Result<Cost, String>,
}

/// Whether the CA's limits of calls hold, and with them our budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Limits {
    /// No limit; one call at a time all the same, as the vendor advises.
    Off,
    /// 100 calls in 5 s and 1000 in 180 s.
    On,
}

/// What `bench orders` and `bench waiting` are told.
#[derive(Debug, Serialize, Deserialize)]
pub struct Orders {
    pub(super) world: Address,
    pub(super) names: Vec<String>,
    pub(super) journal: PathBuf,
    limits: Limits,
}

impl Orders {
    /// Writes them down for a process whose journal is in this folder; returns where.
    pub(super) fn write(world: &World, dir: &Path, names: Vec<String>, limits: Limits) -> PathBuf {
        let task = Self { world: world.address(), names, journal: dir.join("journal.sqlite"), limits };
        let path = dir.join("orders.json");
        std::fs::write(&path, serde_json::to_string(&task).expect("JSON")).expect("a file");
        path
    }

    pub(super) fn read(task: &Path) -> Self {
        let text = std::fs::read_to_string(task).expect("a file of orders");
        serde_json::from_str(&text).expect("orders")
    }
}

async fn world(limits: Limits) -> World {
    World::start_with(HostKind::Bind, CaKind::Sandbox, 1, Servers::Alive, |config: &mut Config| {
        if limits == Limits::Off {
            config.rate.clear();
        }
        for product in &mut config.products {
            product.max_names = 100_000;
        }
    })
    .await
}

/// One order of so many names.
pub async fn order_of(count: usize) -> Point {
    let world = world(Limits::On).await;
    let dir = folder();
    let names = names(&world.zones, count);
    let job = super::peer::dcv_issue(&Task { world: &world, dir: dir.path(), names: &names });
    Point { size: count, cost: measured(&world, dir.path(), &job) }
}

/// So many orders of one name, all at once in one process.
pub async fn orders(count: usize, limits: Limits) -> Point {
    let world = world(limits).await;
    let dir = folder();
    let path = Orders::write(&world, dir.path(), names(&world.zones, count), limits);
    let program = std::env::current_exe().expect("our own path");
    let job =
        Job { program, arguments: vec!["orders".to_owned(), path.display().to_string()], environment: Vec::new() };
    Point { size: count, cost: measured(&world, dir.path(), &job) }
}

fn measured(world: &World, dir: &Path, job: &Job) -> Result<Cost, String> {
    let mark = world.mark();
    let mut cost = timed(job, &dir.join("time"))?;
    cost.count = world.since(&mark);
    let left = world.records();
    if left.is_empty() { Ok(cost) } else { Err(format!("{} records are still there", left.len())) }
}

/// The process that places orders.
///
/// # Panics
/// When an order does not come to a certificate: the last line says which, and how many of all.
pub async fn place_orders(task: &Path) {
    let task = Orders::read(task);
    let budget = match task.limits {
        Limits::Off => Budget::new(Vec::new(), 1),
        Limits::On => Budget::default(),
    };
    let client = certcentral::Client::builder(SecretString::from(API_KEY)).base_url(&task.world.ca).budget(budget);
    let dcv = Dcv::builder(client.build().expect("a good base URL"))
        .provider(task.world.provider())
        .dns(task.world.questions())
        .settings(Settings::default())
        .journal_at(&task.journal)
        .build()
        .await
        .expect("the journal opens");
    let key = Arc::new(PrivateKey::generate(KeyKind::EcdsaP256).expect("a key"));
    let (began, total) = (Instant::now(), task.names.len());
    let mut all = JoinSet::new();
    for name in task.names {
        let (dcv, key) = (dcv.clone(), Arc::clone(&key));
        all.spawn(async move {
            let names = vec![DnsName::parse(&name).expect("a name")];
            let request = Request::new("ssl_basic", ORGANIZATION, names, &key).expect("a good request");
            match dcv.issue(request).await {
                Ok(Outcome::Issued(issued)) if issued.left_behind.is_empty() => Ok(()),
                Ok(other) => Err(format!("{name}: {other}")),
                Err(error) => Err(format!("{name}: {error}")),
            }
        });
    }
    let results = all.join_all().await;
    let failed: Vec<&String> = results.iter().filter_map(|result| result.as_ref().err()).collect();
    eprintln!("{total} orders in {:.3} s", began.elapsed().as_secs_f64());
    if let Some(first) = failed.first() {
        eprintln!(
            "{} of {total} orders failed after {:.1} s, e.g. {first}",
            failed.len(),
            began.elapsed().as_secs_f64()
        );
        std::process::exit(1);
    }
}
