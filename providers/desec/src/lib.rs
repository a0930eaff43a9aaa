//! deSEC (API version 1) as a `dcv` provider.
//!
//! deSEC writes any number of whole record sets in one request, all or none ("Bulk Operations"), and has no compare-and-swap: writers
//! on one machine take turns by a lock file, and after the write the sets are read again, so that a writer elsewhere who put
//! an older set back is noticed and the change made again. Writes are limited narrowly (2 a second, 15 a minute, 100 an hour and
//! 300 a day for one domain, "Rate Limits"), which one request for all names is made for; where that is not enough, deSEC says
//! how long to wait.
//!
//! # The token
//!
//! A token that may do nothing but what its policies say: a default policy without rights, and one for the domain concerned with
//! `perm_write` ("Token Scoping"), best also for the names `_dnsauth…` and the types TXT and CNAME alone. Such a token cannot list
//! domains; name them in `zones` then.
//!
//! # TTLs
//!
//! A domain has a least TTL, 3600 unless deSEC's people have lowered it; record sets that we make have that one, or `ttl` if it
//! is more.

use std::collections::BTreeSet;

use async_trait::async_trait;
use dcv_provider::{
    Descriptor, ErrorKind, OptionSpec, ProofKind, ProviderError, Result,
    dns::Dns,
    http::{Api, Refusal, header, segment},
    secret::Secret,
    zone::{
        Change, Record, Zone, ZoneEditor, ZoneList, ZoneProvider,
        hosts::{BySet, Key, Set, Sets, absolute, bare, change_by_set, checked_ttl, relative},
    },
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

/// What this provider is.
pub const DESCRIPTOR: Descriptor = Descriptor {
    id: "desec",
    title: "deSEC",
    proofs: &[ProofKind::Txt, ProofKind::Cname],
    batch: "one request per zone",
    options: &[
        OptionSpec { name: "token", help: "Token that may write the domains concerned", required: true, secret: true },
        OptionSpec {
            name: "zones",
            help: "The domains, for a token that may not list them",
            required: false,
            secret: false,
        },
        OptionSpec {
            name: "ttl",
            help: "TTL of record sets that we make, in seconds; the domain's least unless that is less",
            required: false,
            secret: false,
        },
        OptionSpec {
            name: "base_url",
            help: "Base URL of the API, https://desec.io/api/v1 unless given",
            required: false,
            secret: false,
        },
    ],
    example: r#"type = "desec"
token = { file = "/etc/dcv/desec.token" }
"#,
};

/// The API.
pub const BASE_URL: &str = "https://desec.io/api/v1";

/// The least TTL of a domain of which nothing else is known.
const LEAST_TTL: u32 = 3600;
/// Up to this many names are read one by one; beyond that all texts and aliases are.
const NAMES_ONE_BY_ONE: usize = 2;

/// The configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The token.
    pub token: Secret,
    /// The domains, for a token that may not list them.
    #[serde(default)]
    pub zones: Vec<String>,
    /// TTL of record sets that we make, in seconds.
    pub ttl: Option<u32>,
    /// Base URL of the API.
    pub base_url: Option<String>,
}

/// The provider.
pub type Desec = ZoneProvider<Editor>;

/// Sets the provider up from a configuration; `dns` is where delegated aliases are asked about.
///
/// # Errors
/// [`ErrorKind::Config`] naming the field.
pub async fn from_config(config: Config, dns: Option<Dns>) -> Result<Desec> {
    // Less than a domain's least is raised to that.
    let ttl = checked_ttl(config.ttl, "deSEC", 0, 0)?;
    let token = config.token.read("token").await?;
    let api = Api::new(config.base_url.as_deref().unwrap_or(BASE_URL))?.credential(
        "token",
        header::AUTHORIZATION,
        "Token ",
        &token,
    )?;
    let fixed = config.zones.iter().map(|zone| bare(zone)).map(|apex| Zone { id: apex.clone(), apex });
    let editor = Editor { api, ttl, listed: ZoneList::of(fixed), least_ttls: std::sync::Mutex::default() };
    Ok(ZoneProvider::new(editor, dns))
}

/// Changes zones by bulk requests.
#[derive(Debug)]
pub struct Editor {
    api: Api,
    ttl: u32,
    /// The domains of the configuration; without any, those that the token can see.
    listed: ZoneList,
    /// The least TTL of each domain, as far as it has been told.
    least_ttls: std::sync::Mutex<std::collections::HashMap<String, u32>>,
}

#[derive(Deserialize)]
struct Domain {
    name: String,
    minimum_ttl: Option<u32>,
}

#[derive(Deserialize)]
struct RecordSet {
    /// Relative to the domain; empty for the domain itself.
    #[serde(default)]
    subname: String,
    #[serde(rename = "type")]
    rtype: String,
    ttl: Option<u32>,
    #[serde(default)]
    records: Vec<String>,
}

fn refused(refusal: Refusal) -> ProviderError {
    let denied = refusal.error.kind == ErrorKind::Credentials;
    if denied { refusal.hint("check the token and its policies").error } else { refusal.error }
}

fn path_of(zone: &Zone) -> String {
    format!("/domains/{}/rrsets/", segment(&zone.id))
}

impl Editor {
    /// All pages of a list. An empty cursor asks for pages, which a long list is refused without ("Pagination").
    async fn list<T: DeserializeOwned>(&self, path: &str, filter: &[(&str, &str)]) -> Result<Vec<T>> {
        let mut all = Vec::new();
        let first = filter.iter().chain(&[("cursor", "")]);
        let mut query: Option<Vec<(String, String)>> =
            Some(first.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect());
        while let Some(pairs) = query.take() {
            let answer = self.api.get(path).query(pairs).answer().await.map_err(refused)?;
            all.extend(answer.json::<Vec<T>>()?);
            query = answer.next_page();
        }
        Ok(all)
    }

    fn learn(&self, domain: &Domain) {
        if let Some(ttl) = domain.minimum_ttl {
            let mut known = self.least_ttls.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            known.insert(domain.name.to_ascii_lowercase(), ttl);
        }
    }

    fn ttl_in(&self, zone: &Zone) -> u32 {
        let known = self.least_ttls.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.ttl.max(known.get(&zone.apex).copied().unwrap_or(LEAST_TTL))
    }

    async fn zones(&self) -> Result<Vec<Zone>> {
        let domains: Vec<Domain> = self.list("/domains/", &[]).await.map_err(|error| {
            let hint = "; a token that may not list domains needs them in `zones`";
            if error.kind != ErrorKind::Credentials {
                return error;
            }
            ProviderError::new(error.kind, format!("{}{hint}", error.message))
        })?;
        for domain in &domains {
            self.learn(domain);
        }
        Ok(domains.into_iter().map(|domain| Zone { apex: domain.name.to_ascii_lowercase(), id: domain.name }).collect())
    }
}

#[async_trait]
impl BySet for Editor {
    async fn read(&self, zone: &Zone, keys: &BTreeSet<Key>) -> Result<Sets> {
        let path = path_of(zone);
        let names: BTreeSet<&str> = keys.iter().map(|(name, _)| relative(zone, name)).collect();
        let mut sets: Vec<RecordSet> = Vec::new();
        if names.len() <= NAMES_ONE_BY_ONE {
            for name in names {
                sets.extend(self.list(&path, &[("subname", name)]).await?);
            }
        } else {
            for rtype in ["TXT", "CNAME"] {
                sets.extend(self.list(&path, &[("type", rtype)]).await?);
            }
        }
        let key = |set: &RecordSet| {
            let rtype = match set.rtype.as_str() {
                "TXT" => "TXT",
                "CNAME" => "CNAME",
                _ => return None,
            };
            Some((absolute(zone, &set.subname), rtype))
        };
        Ok(sets.into_iter().filter_map(|set| Some((key(&set)?, Set { values: set.records, ttl: set.ttl }))).collect())
    }

    async fn write(&self, zone: &Zone, sets: &Sets) -> Result<()> {
        let body: Vec<Value> = sets
            .iter()
            .map(|((name, rtype), set)| {
                let mut one = json!({ "subname": relative(zone, name), "type": rtype, "records": set.values });
                // A set that is there keeps its own.
                if set.ttl.is_none() {
                    one["ttl"] = json!(self.ttl_in(zone));
                }
                one
            })
            .collect();
        match self.api.patch(&path_of(zone)).json(&body).done().await {
            // A set that was there a moment ago and is gone wants its TTL.
            Err(refusal) if refusal.is(400) && names_a_missing_ttl(&refusal.body) => {
                Err(refusal.but(ErrorKind::Conflict).error)
            }
            other => other.map_err(refused),
        }
    }
}

/// Whether a bulk request was refused only for want of TTLs: `[{}, {"ttl": ["This field is required."]}]`.
fn names_a_missing_ttl(body: &Value) -> bool {
    let missing = |error: &Value| {
        error.as_object().is_some_and(|error| {
            error.iter().all(|(field, words)| field == "ttl" && words.to_string().contains("required"))
        })
    };
    body.as_array().is_some_and(|each| each.iter().any(|one| *one != json!({})) && each.iter().all(missing))
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

    /// That the domain's records can be read. Whether the token may write them deSEC tells only who writes.
    async fn check(&self, zone: &Zone, records: &[Record]) -> Result<()> {
        let name = records.first().map_or("", |record| relative(zone, &record.name));
        self.api.get(&path_of(zone)).query([("subname", name), ("cursor", "")]).done().await.map_err(refused)
    }

    async fn apply(&self, zone: &Zone, change: &Change) -> Result<()> {
        change_by_set(self, zone, change).await
    }
}
