//! Infoblox NIOS, by its WAPI, as a `dcv` provider.
//!
//! Every value is an object of its own (`record:txt`, `record:cname`) with a reference, so nothing is ever replaced. The `request`
//! object takes many requests as one ("request: WAPI handler object"): one call reads all names of a zone, a second makes
//! and deletes what has to be, whether for one name or for a hundred. What another writer did between the two is noticed
//! by the grid's refusal, and the change made again.
//!
//! # The user
//!
//! An admin of a group of its own, with the API as its only allowed interface, and these permissions: read-only for the zones
//! concerned, read/write for their *TXT records* (and *CNAME records*, where proofs are aliases). A zone in several DNS views
//! needs `view`; a company with several networks may name its `network_view` instead.
//!
//! # TLS
//!
//! Is always verified. A grid master whose certificate comes from the company's own CA is trusted when that CA is named by
//! `ca_file`; there is no way to do without.

mod wapi;

use std::{collections::BTreeSet, path::PathBuf};

use async_trait::async_trait;
use dcv_provider::{
    Descriptor, ErrorKind, OptionSpec, ProofKind, ProviderError, Result,
    dns::Dns,
    secret::Secret,
    zone::{
        Change, DEFAULT_TTL, Record, RecordData, Zone, ZoneEditor, ZoneList, ZoneProvider,
        hosts::{Left, Listed, bare, checked_ttl},
        quote,
    },
};
use serde::Deserialize;
use serde_json::{Value, json};

use wapi::{Wapi, is_of_state};

/// What this provider is.
pub const DESCRIPTOR: Descriptor = Descriptor {
    id: "infoblox",
    title: "Infoblox NIOS (WAPI)",
    proofs: &[ProofKind::Txt, ProofKind::Cname],
    batch: "one `request` of up to 100 records per zone",
    options: &[
        OptionSpec {
            name: "base_url",
            help: "URL of the grid master, e.g. https://gm.example.com, if need be with /wapi/ and a version",
            required: true,
            secret: false,
        },
        OptionSpec { name: "username", help: "An admin who may use the API", required: true, secret: false },
        OptionSpec { name: "password", help: "The admin's password", required: true, secret: true },
        OptionSpec {
            name: "view",
            help: "DNS view of the zones, `default` unless this or `network_view` is given",
            required: false,
            secret: false,
        },
        OptionSpec { name: "network_view", help: "Network view of the zones", required: false, secret: false },
        OptionSpec {
            name: "ca_file",
            help: "PEM file with CAs to trust besides the system's, for the grid master's certificate",
            required: false,
            secret: false,
        },
        OptionSpec {
            name: "ttl",
            help: "TTL of new records in seconds, 60 unless given",
            required: false,
            secret: false,
        },
    ],
    example: r#"type = "infoblox"
base_url = "https://gm.example.com"
username = "dcv"
password = { file = "/etc/dcv/infoblox.password" }
view = "external"
ca_file = "/etc/ssl/company-ca.pem"
"#,
};

/// How many records one request changes.
const MOST_CHANGES: usize = 100;
/// Zones on one page; 1000 is what a list has without pages.
const ZONES_PER_PAGE: &str = "1000";

/// The configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// URL of the grid master.
    pub base_url: String,
    /// An admin.
    pub username: String,
    /// The admin's password.
    pub password: Secret,
    /// DNS view.
    pub view: Option<String>,
    /// Network view.
    pub network_view: Option<String>,
    /// CAs to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// TTL of new records in seconds.
    pub ttl: Option<u32>,
}

/// The provider.
pub type Infoblox = ZoneProvider<Editor>;

/// Sets the provider up from a configuration; `dns` is where delegated aliases are asked about.
///
/// # Errors
/// [`ErrorKind::Config`] naming the field.
pub async fn from_config(config: Config, dns: Option<Dns>) -> Result<Infoblox> {
    let ttl = checked_ttl(config.ttl, "Infoblox", DEFAULT_TTL, 0)?;
    if config.username.contains(':') {
        let message = "username: it has a colon, which HTTP basic authentication cannot have (RFC 7617)";
        return Err(ProviderError::new(ErrorKind::Config, message));
    }
    let password = config.password.read("password").await?;
    let wapi = Wapi::new(&config.base_url, &config.username, &password, config.ca_file.as_deref()).await?;
    let default = || config.network_view.is_none().then(|| "default".to_owned());
    let editor = Editor {
        wapi,
        view: config.view.clone().or_else(default),
        network_view: config.network_view.clone(),
        ttl,
        listed: ZoneList::default(),
    };
    Ok(ZoneProvider::new(editor, dns))
}

/// Changes zones by `request` objects.
#[derive(Debug)]
pub struct Editor {
    wapi: Wapi,
    view: Option<String>,
    network_view: Option<String>,
    ttl: u32,
    /// The zones of the views.
    listed: ZoneList,
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    result: Vec<ListedZone>,
    next_page_id: Option<String>,
}

#[derive(Deserialize)]
struct ListedZone {
    fqdn: String,
    #[serde(default)]
    view: String,
}

/// A record as the grid shows it.
#[derive(Deserialize)]
struct Shown {
    #[serde(rename = "_ref")]
    reference: String,
    #[serde(default)]
    name: String,
    /// The same as DNS has it.
    dns_name: Option<String>,
    text: Option<String>,
    canonical: Option<String>,
}

impl From<Shown> for Listed {
    fn from(shown: Shown) -> Self {
        let (rtype, data) = match shown.canonical {
            Some(target) => ("CNAME", target),
            None => ("TXT", shown.text.unwrap_or_default()),
        };
        let name = bare(shown.dns_name.as_ref().unwrap_or(&shown.name));
        Self { id: shown.reference, name, rtype: rtype.to_owned(), data }
    }
}

/// The records in the answer to many reads: a list of lists.
fn collect(answer: Value, into: &mut Vec<Listed>) {
    match answer {
        Value::Array(all) => all.into_iter().for_each(|one| collect(one, into)),
        one => into.extend(serde_json::from_value::<Shown>(one).map(Listed::from)),
    }
}

/// A text as the WAPI wants it: one with blanks, quotes or escapes has to be in quotes.
fn text(text: &str) -> String {
    if text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\') {
        text.to_owned()
    } else {
        quote(text)
    }
}

/// The object that a record is, and its fields.
fn object(data: &RecordData) -> (&'static str, &'static str, String) {
    match data {
        RecordData::Txt(said) => ("record:txt", "text", text(said)),
        RecordData::Cname(target) => ("record:cname", "canonical", target.clone()),
    }
}

impl Editor {
    /// The authoritative zones of the views.
    async fn zones(&self) -> Result<Vec<Zone>> {
        let mut zones = Vec::new();
        let mut next = None;
        loop {
            let mut query = vec![("_return_fields", "fqdn,view"), ("_return_as_object", "1"), ("_paging", "1")];
            query.push(("_max_results", ZONES_PER_PAGE));
            query.extend(self.view.iter().map(|view| ("view", view.as_str())));
            query.extend(self.network_view.iter().map(|view| ("network_view", view.as_str())));
            query.extend(next.iter().map(|id: &String| ("_page_id", id.as_str())));
            let page: Page = self.wapi.get("zone_auth", &query).await?;
            zones.extend(
                page.result.into_iter().map(|zone| Zone { apex: zone.fqdn.to_ascii_lowercase(), id: zone.view }),
            );
            next = page.next_page_id;
            if next.is_none() {
                return Ok(zones);
            }
        }
    }

    /// What is there at the names and of the types of these records. Whether a text would stand beside an alias the grid says: who may
    /// change texts only need not see aliases.
    async fn read<'c>(&self, zone: &Zone, change: &'c Change) -> Result<Vec<Listed>> {
        let set = |record: &'c Record| -> (&'c str, &'static str, &'static str) {
            let (object, field, _) = object(&record.data);
            (&record.name, object, field)
        };
        let sets: BTreeSet<_> = change.add.iter().chain(&change.remove).map(set).collect();
        let reads: Vec<Value> = sets
            .into_iter()
            .map(|(name, object, field)| {
                json!({
                    "method": "GET", "object": object, "data": { "name": name, "view": zone.id },
                    "args": { "_return_fields": format!("name,dns_name,{field}") },
                })
            })
            .collect();
        let mut there = Vec::new();
        collect(self.wapi.post("request", &json!(reads)).await?, &mut there);
        // Two looks are compared.
        there.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        Ok(there)
    }
}

#[async_trait]
impl ZoneEditor for Editor {
    fn descriptor(&self) -> &Descriptor {
        &DESCRIPTOR
    }

    fn place(&self) -> String {
        self.wapi.place()
    }

    fn max_changes(&self) -> usize {
        MOST_CHANGES
    }

    async fn find_zone(&self, name: &str) -> Result<Option<Zone>> {
        let mut zones = self.listed.around(name, self.zones()).await?;
        if zones.len() > 1 {
            let views: Vec<&str> = zones.iter().map(|zone| zone.id.as_str()).collect();
            let message = format!("view: {} is in the views {}; say which", zones[0].apex, views.join(", "));
            return Err(ProviderError::new(ErrorKind::Config, message));
        }
        Ok(zones.pop())
    }

    /// That the user can see such records of the zone. Whether they may be written the grid tells only who writes.
    async fn check(&self, zone: &Zone, records: &[Record]) -> Result<()> {
        self.read(zone, &Change { add: records.to_vec(), remove: Vec::new() }).await.map(drop)
    }

    async fn apply(&self, zone: &Zone, change: &Change) -> Result<()> {
        let there = self.read(zone, change).await?;
        let left = Left::of(change, &there)?;
        let posts = left.add.iter().map(|record| {
            let (object, field, said) = object(&record.data);
            json!({
                "method": "POST", "object": object,
                "data": {
                    "name": record.name, field: said, "view": zone.id, "ttl": self.ttl, "use_ttl": true, "comment": "dcv",
                },
            })
        });
        let deletes = left.remove.iter().map(|listed| json!({ "method": "DELETE", "object": listed.id }));
        let requests: Vec<Value> = posts.chain(deletes).collect();
        if requests.is_empty() {
            return Ok(());
        }
        match self.wapi.post::<Value>("request", &json!(requests)).await {
            // The grid finds something there that was not, or the other way round. If it was another writer, it is worth
            // another try; if nothing has changed meanwhile, it is not.
            Err(refusal) if is_of_state(&refusal) && self.read(zone, change).await? != there => {
                Err(ProviderError::new(ErrorKind::Conflict, refusal.error.message))
            }
            other => Ok(other.map(drop)?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_compared_by_what_they_say() {
        let shown = |name: &str, text: &str| -> Vec<Listed> {
            let dns_name = (name == "bücher.example").then_some("xn--bcher-kva.example");
            let mut all = Vec::new();
            collect(json!([[{ "_ref": "record:txt/x", "name": name, "dns_name": dns_name, "text": text }]]), &mut all);
            all
        };
        for (name, text, owner, wanted, same) in [
            ("a.example", "abc", "a.example", "abc", true),
            ("a.example", "\"a b\"", "a.example", "a b", true),
            ("a.example", "Abc", "a.example", "abc", false),
            ("A.example", "abc", "a.example", "abc", true),
            ("bücher.example", "abc", "xn--bcher-kva.example", "abc", true),
        ] {
            let add = vec![Record { name: owner.to_owned(), data: RecordData::Txt(wanted.to_owned()) }];
            let (change, there) = (Change { add, remove: Vec::new() }, shown(name, text));
            assert_eq!(Left::of(&change, &there).expect("no alias").add.is_empty(), same, "{name} {text}");
        }
        assert_eq!(
            (text("abc;=d"), text("a b"), text("a\"b")),
            ("abc;=d".into(), "\"a b\"".into(), r#""a\"b""#.into())
        );
    }
}
