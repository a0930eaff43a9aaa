//! A campaign of faults: many orders, each with faults of the CA and of the network drawn by lot, and cut off at moments drawn by lot, until
//! each has its certificate. At the end there is one order for each run and no record in any zone.
//!
//! `DCV_FAULTS=1000 cargo nextest run -p dcv-tests --test campaign` is the long form; what it has done is printed. That processes die
//! by KILL at every step is the crash test's business, and fenced workers that of the journals' tests.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use certcentral::{Budget, Client, Retries};
use dcv_core::{
    Dcv, Error, Outcome, Request, RunId,
    journal::{JournalError, SqliteJournal, Which},
    key::{KeyKind, PrivateKey},
    name::DnsName,
};
use dcv_tests::world::{API_KEY, ORGANIZATION, World, impatient};
use futures_util::{StreamExt, stream};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::json;

/// What the CA or the network does, and to which calls.
const FAULTS: [&str; 12] = [
    "429",
    "429,times=3",
    "502,method=GET",
    "503,method=PUT",
    "500,method=POST",
    "drop,method=POST",
    "drop,method=PUT",
    "delay=80",
    "wrong-pem,path=download",
    "expire,path=check-dcv",
    "dnssec",
    "caa",
];
/// How many orders are worked on at once.
const AT_ONCE: usize = 8;
/// After so many attempts an order counts as lost.
const ATTEMPTS: u32 = 60;

fn zone(n: usize) -> String {
    format!("campaign{n}-example.com")
}

struct Campaign {
    world: World,
    dcv: Dcv,
    http: reqwest::Client,
}

/// An order whose answer was lost twice, and which is not listed: somebody who has looked gives it up and orders anew.
fn is_for_a_person(error: &Error) -> bool {
    matches!(error, Error::OutcomeUnknown { cause, .. } if cause.contains("each answer was lost"))
}

impl Campaign {
    async fn fault(&self, text: &str) {
        let mut parts = text.split(',');
        let mut body = json!({ "fault": parts.next() });
        for part in parts {
            let (field, value) = part.split_once('=').expect("a field");
            body[field] = value.parse::<u32>().map_or_else(|_| json!(value), |number| json!(number));
        }
        let url = format!("{}/faults", self.world.sandbox.control_url());
        let answer = self.http.post(url).json(&body).send().await.expect("the sandbox answers");
        assert!(answer.status().is_success(), "{text}");
    }

    /// The open run for a name: a call that was cut off tells no number.
    async fn run_of(&self, name: &str) -> Option<RunId> {
        let runs = self.dcv.runs(Which::Open).await.expect("the journal is read");
        runs.into_iter().find(|run| run.request.names.iter().any(|one| one.as_str() == name)).map(|run| run.id)
    }

    /// Brings one certificate home against all odds. How many faults there were, and how often the work was cut off.
    async fn order(&self, n: usize) -> (u32, u32) {
        let mut lot = StdRng::seed_from_u64(n as u64);
        let name = format!("www.{}", zone(n));
        let key = PrivateKey::generate(KeyKind::EcdsaP256).expect("a key");
        let names = vec![DnsName::parse(&name).expect("a good name")];
        let request = Request::new("ssl_basic", ORGANIZATION, names, &key).expect("a good request");
        let (mut faults, mut cuts) = (0, 0);
        for _ in 0..ATTEMPTS {
            if faults < 6 {
                for _ in 0..lot.random_range(0..3u32) {
                    self.fault(FAULTS[lot.random_range(0..FAULTS.len())]).await;
                    faults += 1;
                }
            }
            let run = self.run_of(&name).await;
            let work = async {
                match &run {
                    Some(run) => self.dcv.resume(run).await,
                    None => self.dcv.issue(request.clone()).await,
                }
            };
            // Cut off as a process is that dies: nothing more is done, and what is held is let go.
            let patience = if lot.random_bool(0.5) { lot.random_range(0..400) } else { 20_000 };
            match tokio::time::timeout(Duration::from_millis(patience), work).await {
                Ok(Ok(Outcome::Issued(issued))) if issued.left_behind.is_empty() => return (faults, cuts),
                Ok(Err(error)) if is_for_a_person(&error) => {
                    if let Some(run) = self.run_of(&name).await {
                        // The network may fail this, too; then the next attempt comes here again.
                        let _ = self.dcv.cancel(&run, "it is in nobody's list").await;
                    }
                }
                Ok(
                    Ok(_) | Err(Error::Api(_) | Error::OutcomeUnknown { .. } | Error::Journal(JournalError::Held(_))),
                ) => {}
                Ok(Err(error)) => panic!("{name}: {error}"),
                Err(_) => {
                    cuts += 1;
                    // It may have been cut off in the last breath.
                    let done = self.dcv.runs(Which::All).await.expect("the journal is read");
                    if done.iter().any(|run| run.closed && run.chain.is_some() && run.request.names[0].as_str() == name)
                    {
                        return (faults, cuts);
                    }
                }
            }
        }
        panic!("{name} has no certificate after {ATTEMPTS} attempts");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_goes_wrong_there_is_one_order_each_and_nothing_is_left() {
    let wanted: u32 = std::env::var("DCV_FAULTS").ok().and_then(|text| text.parse().ok()).unwrap_or(100);
    let zones: Vec<String> = (0..(wanted as usize / 2).max(20)).map(zone).collect();
    let zones: Vec<&str> = zones.iter().map(String::as_str).collect();
    let world = World::start_with(&zones, |config| config.rate = Vec::new()).await;
    let folder = tempfile::tempdir().expect("a folder");
    let journal = SqliteJournal::open(folder.path().join("journal.sqlite")).await.expect("a journal");
    let mut settings = impatient();
    settings.lookup_patience = Duration::from_secs(1);
    let address = world.address();
    // The pauses of the client are not what is tested, and would be most of the time.
    let retries = Retries {
        attempts: 3,
        pause: Duration::from_millis(20),
        pause_when_limited: Duration::from_millis(50),
        ..Retries::default()
    };
    let client =
        Client::builder(API_KEY.into()).base_url(&address.ca).retries(retries).budget(Budget::new(Vec::new(), 8));
    let dcv = Dcv::builder(client.build().expect("a client"))
        .provider(address.provider())
        .dns(address.questions())
        .settings(settings)
        .journal(Arc::new(journal));
    let dcv = dcv.build().await.expect("it builds");
    let campaign = Campaign { world, dcv, http: reqwest::Client::new() };

    let (mut faults, mut cuts, mut orders) = (0, 0, 0);
    let mut under_way = stream::iter(0..zones.len()).map(|n| campaign.order(n)).buffer_unordered(AT_ONCE);
    while let Some((of_one, cut)) = under_way.next().await {
        (faults, cuts, orders) = (faults + of_one, cuts + cut, orders + 1);
        if faults + cuts >= wanted && orders >= 20 {
            break;
        }
    }
    // Those under way are finished, too; what is dropped here is cut off, and taken up below.
    drop(under_way);
    let open = campaign.dcv.runs(Which::Open).await.expect("the journal is read");
    campaign.http.delete(format!("{}/faults", campaign.world.sandbox.control_url())).send().await.expect("cleared");
    for run in open {
        let mut done = campaign.dcv.resume(&run.id).await;
        if done.as_ref().is_err_and(is_for_a_person) {
            campaign.dcv.cancel(&run.id, "it is in nobody's list").await.expect("given up");
            done = campaign.dcv.issue(run.request).await;
        }
        match done {
            Ok(Outcome::Issued(issued)) => assert!(issued.left_behind.is_empty()),
            other => panic!("{}: {other:?}", run.id),
        }
    }

    let runs = campaign.dcv.runs(Which::All).await.expect("the journal is read");
    let placed: BTreeSet<_> = runs.iter().filter_map(|run| run.order_id).collect();
    let names: BTreeSet<_> = runs.iter().map(|run| run.request.names[0].as_str()).collect();
    println!("{faults} faults and {cuts} cuts in {} orders", runs.len());
    assert_eq!(campaign.world.sandbox.orders(), placed.len(), "an order that no run knows");
    assert!(runs.iter().all(|run| run.closed), "a run is open");
    let issued = runs.iter().filter(|run| run.chain.is_some()).count();
    assert_eq!((issued, placed.len()), (names.len(), names.len()), "one order and one certificate for each name");
    assert_eq!(campaign.world.dns.records(), Vec::<String>::new());
}
