//! Cloudflare DNS, API version 4, as a `dcv` provider.
//!
//! All proofs of a zone go in one batch, which Cloudflare makes whole or not at all. Every value is a record of its own with an id,
//! so nothing is ever replaced: what is missing is posted, what is to go is deleted by id, and what is not ours is not in
//! the request. Where the batch is not to be had, the same is done record by record.
//!
//! # The token
//!
//! An API token (not the global key) with the permission *Zone → DNS → Edit*, limited to the zones concerned. To find the zones it
//! also needs *Zone → Zone → Read* on them; not so when `zones` gives their ids.
//!
//! # Why not the `cloudflare` crate
//!
//! Version 0.14 loses `Retry-After`, does not know the batch endpoint, cannot read a list that holds a CAA record (which the
//! zones of a CA's customers often do), and brings a second reqwest. Six calls of our own do more.

use std::{collections::BTreeMap, ops::RangeInclusive, time::Instant};

use async_trait::async_trait;
use dcv_provider::{
    Descriptor, ErrorKind, OptionSpec, ProofKind, ProviderError, Result,
    dns::Dns,
    http::{Api, Call, Refusal, segment},
    secret::{Secret, hide},
    zone::{
        Change, DEFAULT_TTL, Record, RecordData, Zone, ZoneEditor, ZoneProvider,
        hosts::{Left, Listed, bare},
        longest_suffix,
    },
};
use futures_util::future::try_join_all;
use secrecy::SecretString;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::sync::Mutex;

/// What this provider is.
pub const DESCRIPTOR: Descriptor = Descriptor {
    id: "cloudflare",
    title: "Cloudflare DNS",
    proofs: &[ProofKind::Txt, ProofKind::Cname],
    batch: "one batch of up to 200 records per zone",
    options: &[
        OptionSpec {
            name: "token",
            help: "API token with Zone/DNS/Edit, and Zone/Zone/Read unless `zones` is given",
            required: true,
            secret: true,
        },
        OptionSpec {
            name: "zones",
            help: "Zones to change and their ids, e.g. { \"example.com\" = \"023e…\" }; looked up without it",
            required: false,
            secret: false,
        },
        OptionSpec {
            name: "ttl",
            help: "TTL of new records in seconds, 60 unless given",
            required: false,
            secret: false,
        },
        OptionSpec {
            name: "base_url",
            help: "Base URL of the API, https://api.cloudflare.com/client/v4 unless given",
            required: false,
            secret: false,
        },
    ],
    example: r#"type = "cloudflare"
token = { file = "/etc/dcv/cloudflare.token" }
"#,
};

/// The API.
pub const BASE_URL: &str = "https://api.cloudflare.com/client/v4";

/// The TTLs there are, 30 to 59 on some plans only; and the one that leaves it to Cloudflare.
const TTLS: RangeInclusive<u32> = 30..=86400;
const AUTOMATIC: u32 = 1;
/// What a batch may hold on every plan.
const MOST_CHANGES: usize = 200;
/// Up to this many names are asked for one by one; beyond that all records of the type are read.
const NAMES_ONE_BY_ONE: usize = 4;
/// Records, and zones (where 50 is Cloudflare's limit), on one page.
const RECORDS_PER_PAGE: usize = 1000;
const ZONES_PER_PAGE: usize = 50;

/// Cloudflare's codes: the token is malformed, unknown, or not allowed to.
const BAD_CREDENTIALS: [u64; 6] = [6003, 6111, 9106, 9109, 10000, 10001];
/// The record is there already, or (81044) is not there any more: somebody was faster.
const RACE_LOST: [u64; 3] = [81044, 81057, 81058];

/// The configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The API token.
    pub token: Secret,
    /// Zones to change, and their ids.
    #[serde(default)]
    pub zones: BTreeMap<String, String>,
    /// TTL of new records in seconds.
    pub ttl: Option<u32>,
    /// Base URL of the API.
    pub base_url: Option<String>,
}

/// The provider.
pub type Cloudflare = ZoneProvider<Editor>;

/// Sets the provider up from a configuration; `dns` is where delegated aliases are asked about.
///
/// # Errors
/// [`ErrorKind::Config`] naming the field.
pub async fn from_config(config: Config, dns: Option<Dns>) -> Result<Cloudflare> {
    let ttl = config.ttl.unwrap_or(DEFAULT_TTL);
    if ttl != AUTOMATIC && !TTLS.contains(&ttl) {
        let (least, most) = (TTLS.start(), TTLS.end());
        let message =
            format!("ttl: Cloudflare does not have {ttl}; give {least} to {most}, or {AUTOMATIC} for automatic");
        return Err(ProviderError::new(ErrorKind::Config, message));
    }
    let token = config.token.read("token").await?;
    let mut editor = Editor::new(config.base_url.as_deref().unwrap_or(BASE_URL), token)?.with_zones(config.zones);
    editor.ttl = ttl;
    Ok(ZoneProvider::new(editor, dns))
}

/// Changes zones by batches.
#[derive(Debug)]
pub struct Editor {
    api: Api,
    /// What Cloudflare's words must not show.
    token: SecretString,
    ttl: u32,
    /// Zones of the configuration; without any, those the token can see.
    fixed: Vec<Zone>,
    seen: Mutex<Option<Seen>>,
}

/// The zones that are known of, and when they were asked for.
#[derive(Debug)]
struct Seen {
    asked: Instant,
    zones: Vec<Zone>,
    /// Whether there are no others. An account may have thousands; then they are asked for by name.
    all: bool,
}

#[derive(Deserialize)]
struct Envelope<T> {
    #[serde(default)]
    success: bool,
    #[serde(default)]
    errors: Vec<Said>,
    result: Option<T>,
    result_info: Option<PageInfo>,
}

#[derive(Deserialize)]
struct Said {
    code: u64,
    message: String,
}

#[derive(Deserialize)]
struct PageInfo {
    #[serde(default)]
    total_pages: usize,
}

#[derive(Deserialize)]
struct ListedZone {
    id: String,
    name: String,
}

impl From<ListedZone> for Zone {
    fn from(listed: ListedZone) -> Self {
        Self { apex: bare(&listed.name), id: listed.id }
    }
}

/// A record as it is listed. Others than TXT and CNAME may have no content.
#[derive(Deserialize)]
struct Shown {
    id: String,
    name: String,
    #[serde(rename = "type")]
    rtype: String,
    #[serde(default)]
    content: String,
}

impl From<Shown> for Listed {
    fn from(shown: Shown) -> Self {
        Self { id: shown.id, name: bare(&shown.name), rtype: shown.rtype, data: shown.content }
    }
}

/// Whether one of these codes was said.
fn says(refusal: &Refusal, codes: &[u64]) -> bool {
    let errors = refusal.body["errors"].as_array();
    errors.is_some_and(|errors| errors.iter().any(|one| one["code"].as_u64().is_some_and(|code| codes.contains(&code))))
}

/// Whether it may be the batch itself that is refused: unknown, or not part of the plan.
fn is_of_the_batch(refusal: &Refusal) -> bool {
    let status = [403, 404, 405].into_iter().any(|status| refusal.is(status));
    status && !says(refusal, &BAD_CREDENTIALS) && !says(refusal, &RACE_LOST)
}

/// A refusal of the kind that Cloudflare's codes tell, with a way out.
fn judged(refusal: Refusal) -> Refusal {
    if matches!(refusal.error.kind, ErrorKind::RateLimited | ErrorKind::Unavailable) {
        refusal
    } else if says(&refusal, &RACE_LOST) {
        refusal.but(ErrorKind::Conflict)
    } else if refusal.error.kind == ErrorKind::Credentials {
        refusal.hint("check that the token has Zone/DNS/Edit on the zone")
    } else if says(&refusal, &BAD_CREDENTIALS) {
        refusal.but(ErrorKind::Credentials).hint("check the token")
    } else if refusal.is(404) {
        refusal.hint("check zones and base_url")
    } else {
        refusal
    }
}

fn path_of(zone: &Zone) -> String {
    format!("/zones/{}/dns_records", segment(&zone.id))
}

impl Editor {
    /// An editor for the API at this base URL ([`BASE_URL`]), with the defaults for everything else.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when the URL or the token is none.
    pub fn new(base_url: &str, token: SecretString) -> Result<Self> {
        let api = Api::new(base_url)?.bearer("token", &token)?;
        Ok(Self { api, token, ttl: DEFAULT_TTL, fixed: Vec::new(), seen: Mutex::default() })
    }

    /// Limits it to these zones, given with their ids. They are not looked up, which saves the token a permission.
    #[must_use]
    pub fn with_zones(mut self, zones: impl IntoIterator<Item = (String, String)>) -> Self {
        self.fixed = zones.into_iter().map(|(name, id)| Zone { apex: bare(&name), id }).collect();
        self
    }

    async fn call<T: DeserializeOwned>(&self, call: Call<'_>) -> Result<Envelope<T>, Refusal> {
        let answer = call.answer().await.map_err(judged)?;
        let envelope: Envelope<T> = answer.json()?;
        if envelope.success {
            return Ok(envelope);
        }
        // What is inside counts, whatever the status says.
        let said: Vec<String> = envelope.errors.iter().map(|e| format!("{} {}", e.code, e.message.trim())).collect();
        let message = format!("{}: HTTP {} without success: {}", self.place(), answer.status, said.join("; "));
        let error = ProviderError::new(ErrorKind::Rejected, hide(message, [&self.token]));
        Err(judged(Refusal { error, status: Some(answer.status), body: Box::new(answer.json()?) }))
    }

    /// All pages of a list, or the first when there are more than `most`.
    async fn list<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
        per_page: usize,
        most: usize,
    ) -> Result<(Vec<T>, bool)> {
        let mut items = Vec::new();
        let per_page = per_page.to_string();
        for page in 1.. {
            let number = page.to_string();
            let paged = query.iter().copied().chain([("page", number.as_str()), ("per_page", per_page.as_str())]);
            let envelope: Envelope<Vec<T>> = self.call(self.api.get(path).query(paged)).await?;
            items.extend(envelope.result.unwrap_or_default());
            let pages = envelope.result_info.map_or(1, |info| info.total_pages);
            if page >= pages {
                break;
            }
            if pages > most {
                return Ok((items, false));
            }
        }
        Ok((items, true))
    }

    /// The texts and aliases at these names, and possibly at others.
    async fn read(&self, zone: &Zone, names: &[&str]) -> Result<Vec<Listed>> {
        let path = path_of(zone);
        let queries: Vec<(&str, &str)> = if names.len() <= NAMES_ONE_BY_ONE {
            names.iter().map(|name| ("name.exact", *name)).collect()
        } else {
            vec![("type", "TXT"), ("type", "CNAME")]
        };
        let lists = queries.iter().map(async |query| {
            self.list::<Shown>(&path, std::slice::from_ref(query), RECORDS_PER_PAGE, usize::MAX).await
        });
        let listed = try_join_all(lists).await?;
        Ok(listed.into_iter().flat_map(|(records, _)| records).map(Listed::from).collect())
    }

    fn post(&self, record: &Record) -> Value {
        let content = match &record.data {
            RecordData::Txt(_) => record.data.presentation(),
            RecordData::Cname(target) => target.clone(),
        };
        json!({
            "name": record.name, "type": record.data.rtype(), "content": content, "ttl": self.ttl,
            "proxied": false, "comment": "dcv",
        })
    }

    async fn one_by_one(&self, zone: &Zone, deletes: &[&str], posts: Vec<Value>) -> Result<()> {
        let path = path_of(zone);
        for id in deletes {
            match self.call::<Value>(self.api.delete(&format!("{path}/{}", segment(id)))).await {
                // Somebody else has deleted it.
                Err(refusal) if says(&refusal, &[81044]) => {}
                other => drop(other?),
            }
        }
        for post in posts {
            self.call::<Value>(self.api.post(&path).json(&post)).await?;
        }
        Ok(())
    }

    /// The zones with these names, closest first; asked about one after the other until one is there.
    async fn walk_up(&self, known: &mut Vec<Zone>, name: &str) -> Result<Option<Zone>> {
        let mut rest = Some(name);
        while let Some(apex) = rest.filter(|apex| apex.contains('.')) {
            rest = apex.split_once('.').map(|(_, parent)| parent);
            if let Some(zone) = known.iter().find(|zone| zone.apex == apex) {
                return Ok(Some(zone.clone()));
            }
            // No zone is called `_dnsauth.example.com`.
            if apex.starts_with('_') {
                continue;
            }
            let (found, _) = self.list::<ListedZone>("/zones", &[("name", apex)], ZONES_PER_PAGE, 1).await?;
            if let Some(zone) = found.into_iter().map(Zone::from).find(|zone| zone.apex == apex) {
                known.push(zone.clone());
                return Ok(Some(zone));
            }
        }
        Ok(None)
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

    fn max_changes(&self) -> usize {
        MOST_CHANGES
    }

    async fn find_zone(&self, name: &str) -> Result<Option<Zone>> {
        if !self.fixed.is_empty() {
            return Ok(longest_suffix(&self.fixed, name).cloned());
        }
        let began = Instant::now();
        // Kept while asking: a hundred names want the same list.
        let mut seen = self.seen.lock().await;
        if let Some(Seen { asked, zones, all: true }) = &*seen {
            let found = longest_suffix(zones, name);
            // A zone that is not on an old list may be new. Look-ups that waited for the same list do not ask again.
            if found.is_some() || *asked >= began {
                return Ok(found.cloned());
            }
        }
        if !matches!(&*seen, Some(Seen { all: false, .. })) {
            let asked = Instant::now();
            let (listed, all) = self.list::<ListedZone>("/zones", &[], ZONES_PER_PAGE, 1).await?;
            *seen = Some(Seen { asked, zones: listed.into_iter().map(Zone::from).collect(), all });
        }
        match &mut *seen {
            Some(Seen { zones, all: true, .. }) => Ok(longest_suffix(&*zones, name).cloned()),
            Some(Seen { zones, .. }) => self.walk_up(zones, name).await,
            None => Ok(None),
        }
    }

    /// That the token can read the zone's records. Whether it may write them Cloudflare tells only who writes.
    async fn check(&self, zone: &Zone, _: &[Record]) -> Result<()> {
        let path = path_of(zone);
        self.call::<Value>(self.api.get(&path).query([("per_page", "5")])).await?;
        Ok(())
    }

    async fn apply(&self, zone: &Zone, change: &Change) -> Result<()> {
        let there = self.read(zone, &change.names()).await?;
        let left = Left::of(change, &there)?;
        let deletes: Vec<&str> = left.remove.iter().map(|listed| listed.id.as_str()).collect();
        let posts: Vec<Value> = left.add.into_iter().map(|record| self.post(record)).collect();
        if deletes.len() + posts.len() > MOST_CHANGES {
            // The same text stood there more than once, with and without quotes.
            return self.one_by_one(zone, &deletes, posts).await;
        }
        if deletes.is_empty() && posts.is_empty() {
            return Ok(());
        }
        let ids: Vec<Value> = deletes.iter().map(|id| json!({ "id": id })).collect();
        let path = format!("{}/batch", path_of(zone));
        let batch = json!({ "deletes": ids, "posts": posts });
        match self.call::<Value>(self.api.post(&path).json(&batch)).await {
            Err(refusal) if is_of_the_batch(&refusal) => {
                tracing::debug!(zone = zone.apex, error = %refusal.error, "no batch; record by record");
                self.one_by_one(zone, &deletes, posts).await
            }
            other => other.map(drop).map_err(ProviderError::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_never_shows() {
        let editor = Editor::new(BASE_URL, "planted".to_owned().into()).expect("it builds");
        assert!(!format!("{editor:?}").contains("planted"));
    }
}
