//! DigitalOcean's DNS (API version 2) as a `dcv` provider.
//!
//! Every value is a record of its own with an id, so nothing is ever replaced. The API has no batch; requests of one zone go eight
//! at a time. DigitalOcean allows 250 a minute and 5,000 an hour ("Rate Limit").
//!
//! # The token
//!
//! A personal access token with the custom scopes `domain:read`, `domain:create`, `domain:update` and `domain:delete` and no
//! other. Scopes are for all domains of the team: DigitalOcean has none for a single one. Where that is too much, delegate
//! `_dnsauth` by an alias into a team of its own.

use async_trait::async_trait;
use dcv_provider::{
    Descriptor, ErrorKind, OptionSpec, ProofKind, ProviderError, Result,
    dns::Dns,
    http::{Api, Refusal, segment},
    zone::{
        Change, DEFAULT_TTL, Record, RecordData, Zone, ZoneEditor, ZoneList, ZoneProvider,
        hosts::{ById, Listed, absolute, change_by_id, relative_or_at},
    },
};
use futures_util::future::try_join_all;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::json;

pub use dcv_provider::http::TokenConfig as Config;

/// What this provider is.
pub const DESCRIPTOR: Descriptor = Descriptor {
    id: "digitalocean",
    title: "DigitalOcean DNS",
    proofs: &[ProofKind::Txt, ProofKind::Cname],
    batch: "one request per record, eight at a time",
    options: &[
        OptionSpec {
            name: "token",
            help: "Personal access token with the scopes domain:read, create, update and delete",
            required: true,
            secret: true,
        },
        OptionSpec {
            name: "ttl",
            help: "TTL of new records in seconds, 60 unless given; 30 is the least",
            required: false,
            secret: false,
        },
        OptionSpec {
            name: "base_url",
            help: "Base URL of the API, https://api.digitalocean.com/v2 unless given",
            required: false,
            secret: false,
        },
    ],
    example: r#"type = "digitalocean"
token = { file = "/etc/dcv/digitalocean.token" }
"#,
};

/// The API.
pub const BASE_URL: &str = "https://api.digitalocean.com/v2";

/// The shortest TTL there is.
const LEAST_TTL: u32 = 30;
/// What one page may hold.
const PER_PAGE: u64 = 200;
/// Up to this many names are asked for one by one; beyond that all texts and aliases are read.
const NAMES_ONE_BY_ONE: usize = 4;

/// The provider.
pub type DigitalOcean = ZoneProvider<Editor>;

/// Sets the provider up from a configuration; `dns` is where delegated aliases are asked about.
///
/// # Errors
/// [`ErrorKind::Config`] naming the field.
pub async fn from_config(config: Config, dns: Option<Dns>) -> Result<DigitalOcean> {
    let (api, ttl) = config.open("DigitalOcean", BASE_URL, DEFAULT_TTL, LEAST_TTL).await?;
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

/// A page: what it holds has a name of its own in each list.
#[derive(Deserialize)]
struct Page<T> {
    #[serde(alias = "domains", alias = "domain_records")]
    items: Vec<T>,
    meta: Meta,
}

#[derive(Deserialize)]
struct Meta {
    #[serde(default)]
    total: u64,
}

#[derive(Deserialize)]
struct Domain {
    name: String,
}

#[derive(Deserialize)]
struct DomainRecord {
    id: u64,
    #[serde(rename = "type")]
    rtype: String,
    /// Relative to the domain; `@` for the domain itself.
    name: String,
    #[serde(default)]
    data: String,
}

fn refused(refusal: Refusal) -> ProviderError {
    let denied = refusal.error.kind == ErrorKind::Credentials;
    if denied { refusal.hint("check the token and its domain scopes").error } else { refusal.error }
}

impl Editor {
    /// All pages of a list: the first says how much there is, the others are asked for at once.
    async fn list<T: DeserializeOwned>(&self, path: &str, filter: &[(&str, &str)]) -> Result<Vec<T>> {
        let page = async |number: u64| -> Result<Page<T>> {
            let paging = [("page".to_owned(), number.to_string()), ("per_page".to_owned(), PER_PAGE.to_string())];
            let filter = filter.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            self.api.get(path).query(paging.into_iter().chain(filter)).send().await.map_err(refused)
        };
        let first = page(1).await?;
        let rest = try_join_all((2..=first.meta.total.div_ceil(PER_PAGE)).map(page)).await?;
        Ok(std::iter::once(first).chain(rest).flat_map(|page| page.items).collect())
    }

    async fn zones(&self) -> Result<Vec<Zone>> {
        let domains: Vec<Domain> = self.list("/domains", &[]).await?;
        Ok(domains.into_iter().map(|domain| Zone { apex: domain.name.to_ascii_lowercase(), id: domain.name }).collect())
    }
}

fn records(zone: &Zone) -> String {
    format!("/domains/{}/records", segment(&zone.id))
}

#[async_trait]
impl ById for Editor {
    async fn read(&self, zone: &Zone, names: &[&str]) -> Result<Vec<Listed>> {
        let path = records(zone);
        let lists: Vec<Vec<DomainRecord>> = if names.len() <= NAMES_ONE_BY_ONE {
            // The filter wants the whole name ("List All Domain Records").
            let filters: Vec<[(&str, &str); 1]> = names.iter().map(|name| [("name", *name)]).collect();
            try_join_all(filters.iter().map(|filter| self.list(&path, filter))).await?
        } else {
            try_join_all([self.list(&path, &[("type", "TXT")]), self.list(&path, &[("type", "CNAME")])]).await?
        };
        let listed = |record: DomainRecord| Listed {
            id: record.id.to_string(),
            name: absolute(zone, &record.name),
            rtype: record.rtype,
            data: record.data,
        };
        Ok(lists.into_iter().flatten().map(listed).collect())
    }

    async fn add(&self, zone: &Zone, record: &Record) -> Result<()> {
        let data = match &record.data {
            RecordData::Txt(text) => text.clone(),
            // A target without its final dot would be relative.
            RecordData::Cname(target) => format!("{target}."),
        };
        let name = relative_or_at(zone, &record.name);
        let body = json!({ "type": record.data.rtype(), "name": name, "data": data, "ttl": self.ttl });
        self.api.post(&records(zone)).json(&body).done().await.map_err(refused)
    }

    async fn remove(&self, zone: &Zone, record: &Listed) -> Result<()> {
        self.api.delete(&format!("{}/{}", records(zone), segment(&record.id))).done().await.map_err(refused)
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

    /// That the domain can be read. Whether the token may write DigitalOcean tells only who writes.
    async fn check(&self, zone: &Zone, _: &[Record]) -> Result<()> {
        self.api.get(&format!("/domains/{}", segment(&zone.id))).done().await.map_err(refused)
    }

    async fn apply(&self, zone: &Zone, change: &Change) -> Result<()> {
        change_by_id(self, zone, change).await
    }
}
