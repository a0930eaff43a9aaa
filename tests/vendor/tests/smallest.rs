//! The smallest DNS host there can be, which CONTRIBUTING.md walks through: an HTTP API with a token, and the whole conformance suite.

use async_trait::async_trait;
use dcv_provider::{
    Descriptor, OptionSpec, ProofKind, Result, conformance,
    dns::Dns,
    http::{Api, TokenConfig},
    zone::hosts::{ById, Listed, absolute, change_by_id, relative},
    zone::{Change, Record, Zone, ZoneEditor, ZoneList, ZoneProvider},
};
use dcv_test_vendor::{Account, Answer, Asked, Vendor};
use serde_json::{Value, json};

// 1. What it is: the source of its help, its reference and its row in the table of providers.
static DESCRIPTOR: Descriptor = Descriptor {
    id: "shelf",
    title: "Shelf DNS",
    proofs: &[ProofKind::Txt, ProofKind::Cname],
    batch: "one request per record, eight at a time",
    options: &[OptionSpec { name: "token", help: "API token", required: true, secret: true }],
    example: "type = \"shelf\"\ntoken = { file = \"/etc/dcv/shelf.token\" }",
};

struct Shelf {
    api: Api,
    ttl: u32,
    listed: ZoneList,
}

async fn from_config(config: TokenConfig, dns: Option<Dns>) -> Result<ZoneProvider<Shelf>> {
    let (api, ttl) = config.open("Shelf DNS", "https://api.shelf.example/v1", 60, 60).await?;
    Ok(ZoneProvider::new(Shelf { api, ttl, listed: ZoneList::default() }, dns))
}

// 2. How it is told: what is there, one more, one less.
#[async_trait]
impl ById for Shelf {
    async fn read(&self, zone: &Zone, _: &[&str]) -> Result<Vec<Listed>> {
        let records: Vec<[String; 4]> = self.api.get(&format!("/{}", zone.id)).send().await?;
        let listed = |[id, name, rtype, data]: [String; 4]| Listed { id, name: absolute(zone, &name), rtype, data };
        Ok(records.into_iter().map(listed).collect())
    }

    async fn add(&self, zone: &Zone, record: &Record) -> Result<()> {
        let record = [relative(zone, &record.name), record.data.rtype(), &record.data.presentation()];
        Ok(self.api.post(&format!("/{}", zone.id)).json(&json!({ "record": record, "ttl": self.ttl })).done().await?)
    }

    async fn remove(&self, zone: &Zone, record: &Listed) -> Result<()> {
        Ok(self.api.delete(&format!("/{}/{}", zone.id, record.id)).done().await?)
    }
}

#[async_trait]
impl ZoneEditor for Shelf {
    fn descriptor(&self) -> &Descriptor {
        &DESCRIPTOR
    }

    async fn find_zone(&self, name: &str) -> Result<Option<Zone>> {
        let list = async {
            let zones: Vec<[String; 2]> = self.api.get("/").send().await?;
            Ok(zones.into_iter().map(|[id, apex]| Zone { apex, id }).collect())
        };
        Ok(self.listed.around(name, list).await?.into_iter().next())
    }

    async fn check(&self, zone: &Zone, _: &[Record]) -> Result<()> {
        self.read(zone, &[]).await.map(drop)
    }

    async fn apply(&self, zone: &Zone, change: &Change) -> Result<()> {
        change_by_id(self, zone, change).await
    }

    fn place(&self) -> String {
        self.api.place()
    }
}

// 3. How it is tried: the vendor as its document describes it, on loopback; the suite does the rest.
fn vendor(account: &mut Account, asked: &Asked) -> Answer {
    let text = |n: usize| asked.json["record"][n].as_str().expect("a record has three texts").to_owned();
    match asked.route() {
        _ if asked.header("authorization") != "Bearer planted" => Answer::new(401, json!("who are you?")),
        ("GET", path) if path.is_empty() => {
            Answer::new(200, account.zones.iter().map(|zone| json!([zone.id, zone.name])).collect())
        }
        ("GET", path) => {
            let zone = account.zone(path[0]).expect("a zone of ours").name.clone();
            let row = |row: &dcv_test_vendor::Row| {
                json!([row.id, dcv_test_vendor::relative(&row.name, &zone), row.rtype, row.value])
            };
            Answer::new(200, account.rows_of(&zone).map(row).collect::<Value>())
        }
        ("POST", path) => {
            let zone = account.zone(path[0]).expect("a zone of ours").name.clone();
            let added = account.add(&zone, &dcv_test_vendor::absolute(&text(0), &zone), &text(1), &text(2), 60);
            added.map_or_else(|why| Answer::new(409, json!(format!("{why:?}"))), |_| Answer::new(201, json!({})))
        }
        ("DELETE", path) => match account.remove(path[0], path[1]) {
            Ok(_) => Answer::new(200, json!({})),
            Err(_) => Answer::new(404, json!("gone")),
        },
        route => panic!("the vendor has no {route:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_smallest_host_behaves() {
    let provider = |url: String| async move {
        let config = serde_json::from_value(json!({ "token": "planted", "base_url": url })).expect("a configuration");
        from_config(config, None).await.expect("a provider")
    };
    conformance::run(&Vendor::start(&[("example.com", "1")], vendor, provider).await).await;
}
