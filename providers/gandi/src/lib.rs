//! Gandi LiveDNS (API version 5) as a `dcv` provider.
//!
//! Gandi writes whole record sets, one with each request, and has no compare-and-swap: writers on one machine take turns by a lock
//! file, and after the write the sets are read again, so that a writer elsewhere who put an older set back is noticed and the
//! change made again. Sets go eight at a time; Gandi allows 30 requests in 2 seconds, and says how long to wait where that is
//! not enough ("Rate limiting").
//!
//! # The token
//!
//! A personal access token of the organization with *Manage domain name technical configurations* and *See and renew domain
//! names*, restricted to the domains concerned. The older API keys still work (`key`), and can do everything.

use std::collections::BTreeSet;

use async_trait::async_trait;
use dcv_provider::{
    Descriptor, ErrorKind, OptionSpec, ProofKind, ProviderError, Result,
    dns::Dns,
    http::{Api, Refusal, segment},
    secret::Secret,
    zone::{
        Change, Record, Zone, ZoneEditor, ZoneList, ZoneProvider,
        hosts::{BySet, Key, Set, Sets, absolute, change_by_set, checked_ttl, each, relative_or_at},
    },
};
use futures_util::future::try_join_all;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::json;

/// What this provider is.
pub const DESCRIPTOR: Descriptor = Descriptor {
    id: "gandi",
    title: "Gandi LiveDNS",
    proofs: &[ProofKind::Txt, ProofKind::Cname],
    batch: "one request per record set, eight at a time",
    options: &[
        OptionSpec {
            name: "token",
            help: "Personal access token that may manage the domains' technical configurations",
            required: false,
            secret: true,
        },
        OptionSpec {
            name: "key",
            help: "API key of the older kind, instead of a token",
            required: false,
            secret: true,
        },
        OptionSpec {
            name: "ttl",
            help: "TTL of record sets that we make, in seconds, 300 (the least) unless given",
            required: false,
            secret: false,
        },
        OptionSpec {
            name: "base_url",
            help: "Base URL of the API, https://api.gandi.net/v5/livedns unless given",
            required: false,
            secret: false,
        },
    ],
    example: r#"type = "gandi"
token = { file = "/etc/dcv/gandi.token" }
"#,
};

/// The API.
pub const BASE_URL: &str = "https://api.gandi.net/v5/livedns";

/// The shortest TTL there is.
const LEAST_TTL: u32 = 300;
/// What one page may hold.
const PER_PAGE: usize = 500;
/// Up to this many record sets are read one by one; beyond that all texts and aliases are.
const SETS_ONE_BY_ONE: usize = 4;
/// How many sets are written at once.
const AT_ONCE: usize = 8;

/// The configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The personal access token.
    pub token: Option<Secret>,
    /// An API key, instead.
    pub key: Option<Secret>,
    /// TTL of record sets that we make, in seconds.
    pub ttl: Option<u32>,
    /// Base URL of the API.
    pub base_url: Option<String>,
}

/// The provider.
pub type Gandi = ZoneProvider<Editor>;

/// Sets the provider up from a configuration; `dns` is where delegated aliases are asked about.
///
/// # Errors
/// [`ErrorKind::Config`] naming the field.
pub async fn from_config(config: Config, dns: Option<Dns>) -> Result<Gandi> {
    let ttl = checked_ttl(config.ttl, "Gandi", LEAST_TTL, LEAST_TTL)?;
    let api = Api::new(config.base_url.as_deref().unwrap_or(BASE_URL))?;
    let api = match (config.token, config.key) {
        (Some(token), None) => api.bearer("token", &token.read("token").await?)?,
        (None, Some(key)) => {
            api.credential("key", dcv_provider::http::header::AUTHORIZATION, "Apikey ", &key.read("key").await?)?
        }
        _ => return Err(ProviderError::new(ErrorKind::Config, "token: give a token or, instead of it, a key")),
    };
    Ok(ZoneProvider::new(Editor { api, ttl, listed: ZoneList::default() }, dns))
}

/// Changes domains record set by record set.
#[derive(Debug)]
pub struct Editor {
    api: Api,
    ttl: u32,
    /// The domains that the token can see.
    listed: ZoneList,
}

#[derive(Deserialize)]
struct Domain {
    fqdn: String,
}

#[derive(Deserialize)]
struct RecordSet {
    /// Relative to the domain; `@` for the domain itself.
    #[serde(rename = "rrset_name")]
    name: String,
    #[serde(rename = "rrset_type")]
    rtype: String,
    #[serde(rename = "rrset_ttl")]
    ttl: Option<u32>,
    #[serde(rename = "rrset_values", default)]
    values: Vec<String>,
}

fn refused(refusal: Refusal) -> ProviderError {
    let denied = refusal.error.kind == ErrorKind::Credentials;
    if denied { refusal.hint("check the token, its rights and its domains").error } else { refusal.error }
}

fn path_of(zone: &Zone, (name, rtype): &Key) -> String {
    format!("/domains/{}/records/{}/{rtype}", segment(&zone.id), segment(relative_or_at(zone, name)))
}

impl Editor {
    /// All pages of a list; one that is not full is the last.
    async fn list<T: DeserializeOwned>(&self, path: &str, filter: &[(&str, &str)]) -> Result<Vec<T>> {
        let mut all = Vec::new();
        for page in 1u32.. {
            let paging = [("page".to_owned(), page.to_string()), ("per_page".to_owned(), PER_PAGE.to_string())];
            let filter = filter.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            let some: Vec<T> =
                self.api.get(path).query(paging.into_iter().chain(filter)).send().await.map_err(refused)?;
            let last = some.len() < PER_PAGE;
            all.extend(some);
            if last {
                break;
            }
        }
        Ok(all)
    }

    async fn zones(&self) -> Result<Vec<Zone>> {
        let domains: Vec<Domain> = self.list("/domains", &[]).await?;
        Ok(domains.into_iter().map(|domain| Zone { apex: domain.fqdn.to_ascii_lowercase(), id: domain.fqdn }).collect())
    }

    async fn one(&self, zone: &Zone, key: &Key) -> Result<Option<RecordSet>> {
        match self.api.get(&path_of(zone, key)).send().await {
            Err(refusal) if refusal.is(404) => Ok(None),
            other => other.map(Some).map_err(refused),
        }
    }
}

#[async_trait]
impl BySet for Editor {
    async fn read(&self, zone: &Zone, keys: &BTreeSet<Key>) -> Result<Sets> {
        let sets: Vec<RecordSet> = if keys.len() <= SETS_ONE_BY_ONE {
            try_join_all(keys.iter().map(|key| self.one(zone, key))).await?.into_iter().flatten().collect()
        } else {
            let path = format!("/domains/{}/records", segment(&zone.id));
            let (txt, cname) = ([("rrset_type", "TXT")], [("rrset_type", "CNAME")]);
            try_join_all([self.list(&path, &txt), self.list(&path, &cname)]).await?.into_iter().flatten().collect()
        };
        let key = |set: &RecordSet| {
            let rtype = match set.rtype.as_str() {
                "TXT" => "TXT",
                "CNAME" => "CNAME",
                _ => return None,
            };
            Some((absolute(zone, &set.name), rtype))
        };
        Ok(sets.into_iter().filter_map(|set| Some((key(&set)?, Set { values: set.values, ttl: set.ttl }))).collect())
    }

    async fn write(&self, zone: &Zone, sets: &Sets) -> Result<()> {
        let written = sets.iter().map(|(key, Set { values, ttl })| async move {
            let call = if values.is_empty() {
                self.api.delete(&path_of(zone, key))
            } else {
                // A set that is there keeps its TTL, which has to be said: it would get Gandi's own.
                let ttl = ttl.unwrap_or(self.ttl);
                self.api.put(&path_of(zone, key)).json(&json!({ "rrset_values": values, "rrset_ttl": ttl }))
            };
            match call.done().await {
                // Somebody else has deleted it.
                Err(refusal) if values.is_empty() && refusal.is(404) => Ok(()),
                other => other.map_err(|refusal| refused(refusal).about([key.0.as_str()])),
            }
        });
        each(written.collect::<Vec<_>>(), AT_ONCE).await
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

    /// That the domain can be read. Whether the token may write Gandi tells only who writes.
    async fn check(&self, zone: &Zone, _: &[Record]) -> Result<()> {
        self.api.get(&format!("/domains/{}", segment(&zone.id))).done().await.map_err(refused)
    }

    async fn apply(&self, zone: &Zone, change: &Change) -> Result<()> {
        change_by_set(self, zone, change).await
    }
}
