//! Linode's DNS Manager (Linode API, version 4) as a `dcv` provider.
//!
//! Every value is a record of its own with an id, so nothing is ever replaced: what is missing is posted, what is to go is deleted by
//! id, and what is not ours is in no request. The API has no batch; requests of one zone go eight at a time. Linode allows some
//! hundreds a minute ("Rate limits"; 400 at the time of API 4.167.3) and says how long to wait where that is not enough.
//!
//! # The token
//!
//! A personal access token with *Domains: Read/Write* (scope `domains:read_write`) and no other access, of a restricted user who
//! has been granted only the domains concerned. Linode says with each answer what a token may do, so that one that can only
//! read is noticed before an order is placed.
//!
//! # How long it takes
//!
//! Linode writes its zones to its name servers at intervals, not with each change. Other clients reckon with a quarter of an hour
//! (lego aims at the next multiple of 15 minutes), and not all of the name servers change at the same moment: give the check of
//! visibility 20 minutes. TTLs are 300, 3600, 7200 … seconds; Linode rounds all others to the nearest of them ("Create a
//! domain record"), so that ours is 300 unless told otherwise.

use async_trait::async_trait;
use dcv_provider::{
    Descriptor, ErrorKind, OptionSpec, ProofKind, ProviderError, Result,
    dns::Dns,
    http::{Answer, Api, Call, Refusal, header},
    zone::{
        Change, Record, RecordData, Zone, ZoneEditor, ZoneList, ZoneProvider,
        hosts::{ById, Listed, absolute, change_by_id, relative},
    },
};
use futures_util::future::try_join_all;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

pub use dcv_provider::http::TokenConfig as Config;

/// What this provider is.
pub const DESCRIPTOR: Descriptor = Descriptor {
    id: "linode",
    title: "Linode DNS Manager",
    proofs: &[ProofKind::Txt, ProofKind::Cname],
    batch: "one request per record, eight at a time",
    options: &[
        OptionSpec {
            name: "token",
            help: "Personal access token with Domains: Read/Write",
            required: true,
            secret: true,
        },
        OptionSpec {
            name: "ttl",
            help: "TTL of new records in seconds, 300 (the least) unless given; Linode rounds it",
            required: false,
            secret: false,
        },
        OptionSpec {
            name: "base_url",
            help: "Base URL of the API, https://api.linode.com/v4 unless given",
            required: false,
            secret: false,
        },
    ],
    example: r#"type = "linode"
token = { file = "/etc/dcv/linode.token" }
"#,
};

/// The API.
pub const BASE_URL: &str = "https://api.linode.com/v4";

/// The shortest TTL there is.
const LEAST_TTL: u32 = 300;
/// The longest name of a record, relative to its domain.
const LONGEST_NAME: usize = 100;
/// What one page may hold.
const PER_PAGE: &str = "500";
/// Up to this many names are asked for by a filter, which is a header and must not grow too long; beyond that all texts and aliases
/// are read.
const NAMES_IN_FILTER: usize = 20;

/// The provider.
pub type Linode = ZoneProvider<Editor>;

/// Sets the provider up from a configuration; `dns` is where delegated aliases are asked about.
///
/// # Errors
/// [`ErrorKind::Config`] naming the field.
pub async fn from_config(config: Config, dns: Option<Dns>) -> Result<Linode> {
    let (api, ttl) = config.open("Linode", BASE_URL, LEAST_TTL, LEAST_TTL).await?;
    Ok(ZoneProvider::new(Editor { api, ttl, listed: ZoneList::default() }, dns))
}

/// Changes domains record by record.
#[derive(Debug)]
pub struct Editor {
    api: Api,
    ttl: u32,
    /// The domains that the token can see.
    listed: ZoneList,
}

#[derive(Deserialize)]
struct Page<T> {
    data: Vec<T>,
    #[serde(default)]
    pages: u32,
}

#[derive(Deserialize)]
struct Domain {
    id: u64,
    #[serde(rename = "domain")]
    name: String,
    #[serde(rename = "type", default)]
    role: String,
}

#[derive(Deserialize)]
struct DomainRecord {
    id: u64,
    #[serde(rename = "type")]
    rtype: String,
    /// Relative to the domain; empty for the domain itself.
    #[serde(default)]
    name: String,
    #[serde(default)]
    target: String,
}

fn refused(refusal: Refusal) -> ProviderError {
    let denied = refusal.error.kind == ErrorKind::Credentials;
    if denied { refusal.hint("check that the token has Domains: Read/Write").error } else { refusal.error }
}

/// Whether the token may change domains: Linode names its scopes in each answer. Where it does not, nothing is known against it.
fn may_write(answer: &Answer) -> bool {
    let scopes = answer.header("x-oauth-scopes").unwrap_or_default();
    let mut scopes = scopes.split([' ', ',']).filter(|scope| !scope.is_empty()).peekable();
    scopes.peek().is_none() || scopes.any(|scope| matches!(scope, "*" | "domains:*" | "domains:read_write"))
}

impl Editor {
    /// All pages of a list: the first says how many there are, the others are asked for at once.
    async fn list<T: DeserializeOwned>(&self, path: &str, filter: Option<&Value>) -> Result<Vec<T>> {
        let page = async |number: u32| -> Result<Page<T>> {
            let mut call: Call<'_> =
                self.api.get(path).query([("page", &*number.to_string()), ("page_size", PER_PAGE)]);
            if let Some(filter) = filter {
                let wrong = |_| ProviderError::new(ErrorKind::Rejected, "the names cannot be in a header");
                let filter = header::HeaderValue::try_from(filter.to_string()).map_err(wrong)?;
                call = call.header(header::HeaderName::from_static("x-filter"), filter);
            }
            call.send().await.map_err(refused)
        };
        let first = page(1).await?;
        let rest = try_join_all((2..=first.pages).map(page)).await?;
        Ok(std::iter::once(first).chain(rest).flat_map(|page| page.data).collect())
    }

    /// The domains that can be changed: secondaries are copies of other servers' zones.
    async fn zones(&self) -> Result<Vec<Zone>> {
        let domains: Vec<Domain> = self.list("/domains", None).await?;
        let zone = |domain: Domain| Zone { apex: domain.name.to_ascii_lowercase(), id: domain.id.to_string() };
        Ok(domains.into_iter().filter(|domain| domain.role != "slave").map(zone).collect())
    }
}

#[async_trait]
impl ById for Editor {
    async fn read(&self, zone: &Zone, names: &[&str]) -> Result<Vec<Listed>> {
        let filters: Vec<Value> = if names.len() <= NAMES_IN_FILTER {
            names.iter().map(|name| json!({ "name": relative(zone, name) })).collect()
        } else {
            vec![json!({ "type": "TXT" }), json!({ "type": "CNAME" })]
        };
        let path = format!("/domains/{}/records", zone.id);
        let records: Vec<DomainRecord> = self.list(&path, Some(&json!({ "+or": filters }))).await?;
        let listed = |record: DomainRecord| Listed {
            id: record.id.to_string(),
            name: absolute(zone, &record.name),
            rtype: record.rtype,
            data: record.target,
        };
        Ok(records.into_iter().map(listed).collect())
    }

    async fn add(&self, zone: &Zone, record: &Record) -> Result<()> {
        let target = match &record.data {
            RecordData::Txt(text) | RecordData::Cname(text) => text,
        };
        let mut body = json!({ "type": record.data.rtype(), "target": target, "ttl_sec": self.ttl });
        // The domain itself has no name, not an empty one.
        let name = relative(zone, &record.name);
        if !name.is_empty() {
            body["name"] = json!(name);
        }
        self.api.post(&format!("/domains/{}/records", zone.id)).json(&body).done().await.map_err(refused)
    }

    async fn remove(&self, zone: &Zone, record: &Listed) -> Result<()> {
        self.api.delete(&format!("/domains/{}/records/{}", zone.id, record.id)).done().await.map_err(refused)
    }
}

#[async_trait]
impl ZoneEditor for Editor {
    fn descriptor(&self) -> &Descriptor {
        &DESCRIPTOR
    }

    fn place(&self) -> String {
        self.api.place()
    }

    async fn find_zone(&self, name: &str) -> Result<Option<Zone>> {
        Ok(self.listed.around(name, self.zones()).await?.into_iter().next())
    }

    /// That the domain can be read, that the token may write, and that Linode has room for names as long as these.
    async fn check(&self, zone: &Zone, records: &[Record]) -> Result<()> {
        if let Some(record) = records.iter().find(|record| relative(zone, &record.name).len() > LONGEST_NAME) {
            let message = format!("Linode takes names of up to {LONGEST_NAME} characters before the domain");
            return Err(ProviderError::new(ErrorKind::Rejected, message).about([record.name.as_str()]));
        }
        let answer = self.api.get(&format!("/domains/{}", zone.id)).answer().await.map_err(refused)?;
        if may_write(&answer) {
            return Ok(());
        }
        let message = format!("{}: the token can only read; make one with Domains: Read/Write", self.place());
        Err(ProviderError::new(ErrorKind::Credentials, message).about([zone.apex.as_str()]))
    }

    async fn apply(&self, zone: &Zone, change: &Change) -> Result<()> {
        change_by_id(self, zone, change).await
    }
}
