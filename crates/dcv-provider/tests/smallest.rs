//! The smallest DNS host there can be, which CONTRIBUTING.md walks through: a zone in memory, and the whole conformance suite.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard},
};

use async_trait::async_trait;
use dcv_provider::{
    DcvProvider, Descriptor, ErrorKind, OptionSpec, ProofKind, ProviderError, Result, conformance,
    zone::{Change, Record, RecordData, Zone, ZoneEditor, ZoneProvider, longest_suffix},
};

// 1. What it is: the source of its help, its reference and its row in the table of providers.
static DESCRIPTOR: Descriptor = Descriptor {
    id: "shelf",
    title: "Shelf DNS",
    proofs: &[ProofKind::Txt, ProofKind::Cname],
    batch: "all records of a zone at once",
    options: &[OptionSpec { name: "zone", help: "The zone that is on it.", required: true, secret: false }],
    example: "type = \"shelf\"\nzone = \"example.com\"",
};

/// The host. A real one has an HTTP client here (`dcv_provider::http`) and a secret (`dcv_provider::secret`).
#[derive(Clone, Default)]
struct Shelf(Arc<Mutex<BTreeSet<Record>>>);

impl Shelf {
    fn records(&self) -> MutexGuard<'_, BTreeSet<Record>> {
        self.0.lock().expect("unharmed")
    }
}

// 2. How it is told: three methods, and where it is.
#[async_trait]
impl ZoneEditor for Shelf {
    fn descriptor(&self) -> &Descriptor {
        &DESCRIPTOR
    }

    async fn find_zone(&self, name: &str) -> Result<Option<Zone>> {
        let zones = [Zone { apex: "example.com".to_owned(), id: "1".to_owned() }];
        Ok(longest_suffix(&zones, name).cloned())
    }

    async fn check(&self, _: &Zone, _: &[Record]) -> Result<()> {
        Ok(())
    }

    async fn apply(&self, _: &Zone, change: &Change) -> Result<()> {
        let mut records = self.records();
        // Nobody else's record is touched: where an alias stands, another has no room.
        let in_the_way = |new: &Record, old: &Record| old.name == new.name && old != new;
        for new in change.add.iter().filter(|new| matches!(new.data, RecordData::Cname(_))) {
            if let Some(old) = records.iter().find(|old| in_the_way(new, old)) {
                let message = format!("{} is {} already", new.name, old.data.presentation());
                return Err(ProviderError::new(ErrorKind::Rejected, message).about([&new.name]));
            }
        }
        records.extend(change.add.iter().cloned());
        records.retain(|record| !change.remove.contains(record));
        Ok(())
    }

    fn place(&self) -> String {
        "the shelf".to_owned()
    }
}

// 3. How it is tried: what the test knows of the server that the provider must not be asked; the suite does the rest.
#[async_trait]
impl conformance::World for Shelf {
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
        let of = |record: &Record| match (&record.data, kind) {
            (RecordData::Txt(value), ProofKind::Txt) | (RecordData::Cname(value), ProofKind::Cname) => {
                Some(value.clone())
            }
            _ => None,
        };
        self.records().iter().filter(|record| record.name == name).filter_map(of).collect()
    }

    async fn plant(&self, kind: ProofKind, name: &str, value: &str) -> bool {
        let data = if kind == ProofKind::Cname { RecordData::Cname } else { RecordData::Txt };
        self.records().insert(Record { name: name.to_owned(), data: data(value.to_owned()) })
    }
}

#[tokio::test]
async fn the_smallest_host_behaves() {
    conformance::run(&Shelf::default()).await;
}
