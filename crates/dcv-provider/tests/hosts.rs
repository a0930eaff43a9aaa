//! The two shapes of hosts, each as a host in memory: the conformance suite, and what only a server that is in the way, or another
//! writer at the wrong moment, brings out.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
};

use async_trait::async_trait;
use dcv_provider::{
    DcvProvider, Descriptor, ErrorKind, OptionSpec, ProofKind, ProviderError, Result, conformance,
    zone::{
        Change, Record, RecordData, Zone, ZoneEditor, ZoneProvider,
        hosts::{ById, BySet, Key, Listed, Set, Sets, absolute, alone, change_by_id, change_by_set, relative},
        longest_suffix, unquote,
    },
};
use futures_util::FutureExt;

static DESCRIPTOR: Descriptor = Descriptor {
    id: "shelf",
    title: "Shelf DNS",
    proofs: &[ProofKind::Txt, ProofKind::Cname],
    batch: "one request for each record",
    options: &[OptionSpec { name: "zone", help: "The zone that is on it.", required: true, secret: false }],
    example: "type = \"shelf\"\nzone = \"example.com\"",
};

/// What happens at a request: somebody else writes, and it is refused or not.
type Turn = (&'static str, fn(&mut Vec<Listed>), Option<ErrorKind>);

/// The server: records, the requests that wanted to write, and what is to happen at them.
#[derive(Default)]
struct Server {
    records: Vec<Listed>,
    next: u32,
    ttls: BTreeMap<Key, u32>,
    requests: Vec<String>,
    turns: Vec<Turn>,
}

/// The host by ids and the host by sets are two views of the same server.
#[derive(Clone, Default)]
struct Ids(Arc<Mutex<Server>>);
#[derive(Clone, Default)]
struct ByWholeSets(Arc<Mutex<Server>>);

impl Server {
    fn plant(&mut self, name: &str, rtype: &str, data: &str) {
        self.next += 1;
        let record = Listed { id: self.next.to_string(), name: name.into(), rtype: rtype.into(), data: data.into() };
        self.records.push(record);
    }

    /// Notes a request, which is carried out by `carried_out` unless it is to be refused.
    fn request(&mut self, request: String, carried_out: impl FnOnce(&mut Self)) -> Result<()> {
        let turn = self.turns.iter().position(|(at, ..)| *at == request).map(|at| self.turns.remove(at));
        self.requests.push(request);
        let refused = turn.and_then(|(.., refused)| refused);
        if refused.is_none() {
            carried_out(self);
        }
        if let Some((_, meanwhile, _)) = turn {
            meanwhile(&mut self.records);
        }
        refused.map_or(Ok(()), |kind| Err(ProviderError::new(kind, "the server said no")))
    }

    fn shown(&self, kind: ProofKind, name: &str) -> Vec<String> {
        let rtype = if kind == ProofKind::Cname { "CNAME" } else { "TXT" };
        let of = self.records.iter().filter(|record| record.name == name && record.rtype == rtype);
        let said = |data: &str| String::from_utf8(unquote(data)).expect("text");
        of.map(|record| said(&record.data).trim_end_matches('.').to_owned()).collect()
    }
}

fn zone() -> Zone {
    Zone { apex: "example.com".to_owned(), id: "a/1".to_owned() }
}

macro_rules! editor {
    ($host:ty, $apply:expr) => {
        impl $host {
            fn server(&self) -> MutexGuard<'_, Server> {
                self.0.lock().expect("unharmed")
            }
        }

        #[async_trait]
        impl ZoneEditor for $host {
            fn descriptor(&self) -> &Descriptor {
                &DESCRIPTOR
            }

            async fn find_zone(&self, name: &str) -> Result<Option<Zone>> {
                Ok(longest_suffix(&[zone()], name).cloned())
            }

            async fn check(&self, _: &Zone, _: &[Record]) -> Result<()> {
                Ok(())
            }

            async fn apply(&self, zone: &Zone, change: &Change) -> Result<()> {
                $apply(self, zone, change).await
            }

            fn place(&self) -> String {
                "the shelf".to_owned()
            }
        }

        #[async_trait]
        impl conformance::World for $host {
            async fn provider(&self) -> Box<dyn DcvProvider> {
                Box::new(ZoneProvider::new(self.clone(), None))
            }

            fn name(&self, n: usize) -> String {
                format!("name-{n}.example.com")
            }

            fn unserved_name(&self) -> Option<String> {
                Some("www.example.org".to_owned())
            }

            async fn values(&self, kind: ProofKind, name: &str) -> Vec<String> {
                self.server().shown(kind, name)
            }

            async fn plant(&self, kind: ProofKind, name: &str, value: &str) -> bool {
                let data = if kind == ProofKind::Cname { RecordData::Cname } else { RecordData::Txt };
                let data = data(value.to_owned());
                self.server().plant(name, data.rtype(), &data.presentation());
                true
            }
        }
    };
}

editor!(Ids, change_by_id);
editor!(ByWholeSets, change_by_set);

#[async_trait]
impl ById for Ids {
    async fn read(&self, zone: &Zone, _: &[&str]) -> Result<Vec<Listed>> {
        // As hosts have it: relative, and read back.
        let there = self.server().records.clone();
        let named = there.into_iter().map(|it| Listed { name: absolute(zone, relative(zone, &it.name)), ..it });
        Ok(named.collect())
    }

    async fn add(&self, _: &Zone, record: &Record) -> Result<()> {
        let (name, data) = (&record.name, &record.data);
        self.server().request(format!("add {name}"), |server| {
            server.plant(name, data.rtype(), &data.presentation());
        })
    }

    async fn remove(&self, _: &Zone, record: &Listed) -> Result<()> {
        let request = format!("remove {} {}", record.name, record.data);
        self.server().request(request, |server| server.records.retain(|it| it.id != record.id))
    }
}

#[async_trait]
impl BySet for ByWholeSets {
    async fn read(&self, _: &Zone, keys: &BTreeSet<Key>) -> Result<Sets> {
        let server = self.server();
        let of = |key: &Key| {
            let records = server.records.iter().filter(|it| it.name == key.0 && it.rtype == key.1);
            Set { values: records.map(|it| it.data.clone()).collect(), ttl: server.ttls.get(key).copied() }
        };
        Ok(keys.iter().map(|key| (key.clone(), of(key))).collect())
    }

    async fn write(&self, _: &Zone, sets: &Sets) -> Result<()> {
        let written: Vec<&str> = sets.keys().map(|(name, _)| name.as_str()).collect();
        self.server().request(format!("write {}", written.join(" ")), |server| {
            for (key, set) in sets {
                server.records.retain(|it| (it.name.as_str(), it.rtype.as_str()) != (key.0.as_str(), key.1));
                server.ttls.insert(key.clone(), set.ttl.unwrap_or(60));
                for value in &set.values {
                    server.plant(&key.0, key.1, value);
                }
            }
        })
    }
}

fn txt(name: &str, text: &str) -> Record {
    Record { name: name.to_owned(), data: RecordData::Txt(text.to_owned()) }
}

fn adding(records: &[Record]) -> Change {
    Change { add: records.to_vec(), remove: Vec::new() }
}

fn removing(records: &[Record]) -> Change {
    Change { add: Vec::new(), remove: records.to_vec() }
}

const A: &str = "a.example.com";
const B: &str = "b.example.com";

#[tokio::test]
async fn a_host_by_ids_behaves() {
    conformance::run(&Ids::default()).await;
}

#[tokio::test]
async fn a_host_by_whole_sets_behaves() {
    conformance::run(&ByWholeSets::default()).await;
}

#[tokio::test]
async fn what_is_there_is_not_sent_again() {
    let host = Ids::default();
    host.server().plant(A, "TXT", "\"one\"");
    change_by_id(&host, &zone(), &adding(&[txt(A, "one"), txt(B, "two")])).await.expect("added");
    change_by_id(&host, &zone(), &adding(&[txt(A, "one"), txt(B, "two")])).await.expect("nothing to add");
    change_by_id(&host, &zone(), &removing(&[txt(A, "one"), txt(A, "never")])).await.expect("removed");
    change_by_id(&host, &zone(), &removing(&[txt(A, "one")])).await.expect("nothing to remove");
    assert_eq!(host.server().requests, ["add b.example.com", "remove a.example.com \"one\""]);

    let host = ByWholeSets::default();
    host.server().plant(A, "TXT", "\"one\"");
    host.server().plant(B, "TXT", "\"foreign\"");
    host.server().ttls.insert((B.to_owned(), "TXT"), 7200);
    change_by_set(&host, &zone(), &adding(&[txt(A, "one")])).await.expect("nothing to add");
    change_by_set(&host, &zone(), &adding(&[txt(A, "one"), txt(B, "two")])).await.expect("added");
    change_by_set(&host, &zone(), &removing(&[txt(A, "never"), txt(B, "two")])).await.expect("removed");
    let server = host.server();
    assert_eq!(server.requests, ["write b.example.com", "write b.example.com"]);
    assert_eq!(server.shown(ProofKind::Txt, B), ["foreign"]);
    assert_eq!(server.ttls[&(B.to_owned(), "TXT")], 7200, "the set keeps the TTL that it had");
}

#[tokio::test]
async fn a_record_that_another_has_added_just_now_is_no_failure_and_any_other_refusal_is() {
    let another: fn(&mut Vec<Listed>) = |records| {
        let data = "\"one\"".to_owned();
        records.push(Listed { id: "x".to_owned(), name: A.to_owned(), rtype: "TXT".to_owned(), data });
    };
    for kind in [ErrorKind::Conflict, ErrorKind::Rejected] {
        let host = Ids::default();
        host.server().turns.push(("add a.example.com", another, Some(kind)));
        change_by_id(&host, &zone(), &adding(&[txt(A, "one")])).await.expect("it is there");
    }
    // A host that is down is not asked what it has: whoever calls again finds out.
    let host = Ids::default();
    host.server().turns.push(("add a.example.com", another, Some(ErrorKind::Unavailable)));
    change_by_id(&host, &zone(), &adding(&[txt(A, "one")])).await.expect_err("its state is unknown");
    change_by_id(&host, &zone(), &adding(&[txt(A, "one")])).await.expect("it is there");
    assert_eq!(host.server().requests.len(), 1);
    for kind in [ErrorKind::Conflict, ErrorKind::Rejected, ErrorKind::Unavailable] {
        let host = Ids::default();
        host.server().turns.push(("add b.example.com", |_| {}, Some(kind)));
        let error = change_by_id(&host, &zone(), &adding(&[txt(A, "one"), txt(B, "two")])).await.expect_err("refused");
        assert_eq!((error.kind, error.subjects.as_slice()), (kind, &[B.to_owned()][..]));
        assert_eq!(host.server().shown(ProofKind::Txt, A), ["one"], "the other request was waited for");
    }
}

#[tokio::test]
async fn a_record_that_is_gone_already_is_removed_and_one_that_cannot_be_removed_is_told() {
    let host = Ids::default();
    host.server().plant(A, "TXT", "\"one\"");
    host.server().turns.push(("remove a.example.com \"one\"", |_| {}, Some(ErrorKind::NotServed)));
    change_by_id(&host, &zone(), &removing(&[txt(A, "one")])).await.expect("it was gone");
    host.server().turns.push(("remove a.example.com \"one\"", |_| {}, Some(ErrorKind::Unavailable)));
    let error = change_by_id(&host, &zone(), &removing(&[txt(A, "one")])).await.expect_err("it is still there");
    assert_eq!((error.kind, error.subjects.as_slice()), (ErrorKind::Unavailable, &[A.to_owned()][..]));
}

#[tokio::test]
async fn an_alias_that_is_not_ours_stands_in_the_way_of_adding_and_not_of_removing() {
    let (ids, sets) = (Ids::default(), ByWholeSets::default());
    for server in [&ids.0, &sets.0] {
        let mut server = server.lock().expect("unharmed");
        server.plant(A, "CNAME", "elsewhere.example.net.");
        server.plant(A, "TXT", "\"one\"");
        server.plant(B, "CNAME", "elsewhere.example.net.");
    }
    let alias = Record { name: A.to_owned(), data: RecordData::Cname("ours.example.net".to_owned()) };
    for change in [adding(&[txt(A, "two")]), adding(&[alias])] {
        let by_id = change_by_id(&ids, &zone(), &change).await.expect_err("no room");
        let by_set = change_by_set(&sets, &zone(), &change).await.expect_err("no room");
        for error in [by_id, by_set] {
            assert_eq!(error.kind, ErrorKind::Rejected);
            let said = "an alias of elsewhere.example.net is there, which is not ours (a.example.com)";
            assert_eq!(error.to_string(), said);
        }
    }
    // Elsewhere is not here.
    let other = adding(&[txt("c.example.com", "three")]);
    change_by_id(&ids, &zone(), &other).await.expect("room");
    change_by_set(&sets, &zone(), &other).await.expect("room");
    change_by_id(&ids, &zone(), &removing(&[txt(A, "one")])).await.expect("removed");
    change_by_set(&sets, &zone(), &removing(&[txt(A, "one")])).await.expect("removed");
    for server in [&ids.0, &sets.0] {
        let server = server.lock().expect("unharmed");
        assert_eq!(server.shown(ProofKind::Txt, A), [""; 0]);
        assert_eq!(server.shown(ProofKind::Cname, A), ["elsewhere.example.net"]);
    }
}

#[tokio::test]
async fn a_set_that_another_writer_puts_back_is_a_conflict() {
    let host = ByWholeSets::default();
    host.server().plant(A, "TXT", "\"foreign\"");
    host.server().turns.push(("write a.example.com", |records| records.retain(|it| it.data != "\"one\""), None));
    let error = change_by_set(&host, &zone(), &adding(&[txt(A, "one")])).await.expect_err("lost");
    assert_eq!((error.kind, error.subjects.as_slice()), (ErrorKind::Conflict, &[A.to_owned()][..]));

    change_by_set(&host, &zone(), &adding(&[txt(A, "one"), txt(B, "two")])).await.expect("made again");
    let puts_back: fn(&mut Vec<Listed>) = |records| {
        let data = "\"one\"".to_owned();
        records.push(Listed { id: "x".to_owned(), name: A.to_owned(), rtype: "TXT".to_owned(), data });
    };
    host.server().turns.push(("write a.example.com b.example.com", puts_back, None));
    let both = removing(&[txt(A, "one"), txt(B, "two")]);
    let error = change_by_set(&host, &zone(), &both).await.expect_err("back again");
    assert_eq!((error.kind, error.subjects.as_slice()), (ErrorKind::Conflict, &[A.to_owned()][..]));

    // Through the provider the race is run again.
    host.server().turns.push(("write a.example.com", puts_back, None));
    let provider = ZoneProvider::new(host.clone(), None);
    let proof = dcv_provider::Proof::Txt { name: A.to_owned(), value: "one".to_owned() };
    provider.retract(&[proof]).await.expect("made again");
    assert_eq!(host.server().shown(ProofKind::Txt, A), ["foreign"]);
}

#[tokio::test]
async fn writers_on_one_machine_wait_for_each_other() {
    let zone = Zone { apex: "example.com".to_owned(), id: format!("hosts/test {}", std::process::id()) };
    let first = alone("shelf", &zone).await.expect("a lock");
    let mut second = Box::pin(alone("shelf", &zone));
    assert!(second.as_mut().now_or_never().is_none(), "it has to wait");
    let other = Zone { id: format!("{}-", zone.id), ..zone.clone() };
    assert!(alone("shelf", &other).await.is_some(), "another zone is free");
    drop(first);
    assert!(second.await.is_some(), "and gets the lock");
    for zone in [&zone, &other] {
        let name = format!("dcv-shelf-{}.lock", zone.id).replace(['/', ' '], "_");
        std::fs::remove_file(std::env::temp_dir().join(name)).expect("the lock file");
    }
}
