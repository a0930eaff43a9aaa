//! Hetzner's DNS as a `dcv` provider: the zones of the Hetzner Console (Cloud API, version 1), not those of the older DNS
//! Console at dns.hetzner.com.
//!
//! Hetzner has record sets with actions that add and remove single values, so that foreign values are in no request: `add_records`
//! makes a set that is not there, `remove_records` takes the last value's set away ("Zone RRSet Actions"). An action goes on
//! after its request has been answered, for some seconds; many are watched by one request. There is no batch for several sets;
//! eight go at a time. Hetzner allows 3,600 requests an hour, refilled by one a second ("Rate Limiting").
//!
//! # The token
//!
//! An API token with *Read & Write* of a project that has nothing but the zones concerned: Hetzner's tokens are for a whole project.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use dcv_provider::{
    Descriptor, ErrorKind, OptionSpec, ProofKind, ProviderError, Result,
    dns::Dns,
    http::{Api, Refusal, segment},
    zone::{
        Change, DEFAULT_TTL, Record, Zone, ZoneEditor, ZoneList, ZoneProvider,
        hosts::{Left, Listed, absolute, relative_or_at},
    },
};
use futures_util::future::{join_all, try_join_all};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::json;

pub use dcv_provider::http::TokenConfig as Config;

/// What this provider is.
pub const DESCRIPTOR: Descriptor = Descriptor {
    id: "hetzner",
    title: "Hetzner DNS",
    proofs: &[ProofKind::Txt, ProofKind::Cname],
    batch: "one action per record set, eight at a time",
    options: &[
        OptionSpec {
            name: "token",
            help: "API token of the project in the Hetzner Console, with Read & Write",
            required: true,
            secret: true,
        },
        OptionSpec {
            name: "ttl",
            help: "TTL of new record sets in seconds, 60 (the least) unless given",
            required: false,
            secret: false,
        },
        OptionSpec {
            name: "base_url",
            help: "Base URL of the API, https://api.hetzner.cloud/v1 unless given",
            required: false,
            secret: false,
        },
    ],
    example: r#"type = "hetzner"
token = { file = "/etc/dcv/hetzner.token" }
"#,
};

/// The API.
pub const BASE_URL: &str = "https://api.hetzner.cloud/v1";

/// The shortest TTL there is.
const LEAST_TTL: u32 = 60;
/// What one page may hold.
const PER_PAGE: &str = "50";
/// Up to this many names are asked for one by one; beyond that all texts and aliases are read.
const NAMES_ONE_BY_ONE: usize = 4;
/// How many actions are begun at once.
const AT_ONCE: usize = 8;
/// How often running actions are looked at: they take some seconds.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// So many looks, then an action counts as stuck.
const LOOKS: u32 = 120;

/// The provider.
pub type Hetzner = ZoneProvider<Editor>;

/// Sets the provider up from a configuration; `dns` is where delegated aliases are asked about.
///
/// # Errors
/// [`ErrorKind::Config`] naming the field.
pub async fn from_config(config: Config, dns: Option<Dns>) -> Result<Hetzner> {
    let (api, ttl) = config.open("Hetzner", BASE_URL, DEFAULT_TTL, LEAST_TTL).await?;
    Ok(ZoneProvider::new(Editor { api, ttl, listed: ZoneList::default() }, dns))
}

/// Changes zones by actions on record sets.
#[derive(Debug)]
pub struct Editor {
    api: Api,
    ttl: u32,
    /// The zones that the token can see.
    listed: ZoneList,
}

/// A page: what it holds has a name of its own in each list.
#[derive(Deserialize)]
struct Page<T> {
    #[serde(alias = "zones", alias = "rrsets", alias = "actions")]
    items: Vec<T>,
    #[serde(default)]
    meta: Meta,
}

#[derive(Default, Deserialize)]
struct Meta {
    #[serde(default)]
    pagination: Pagination,
}

#[derive(Default, Deserialize)]
struct Pagination {
    last_page: Option<u64>,
}

#[derive(Deserialize)]
struct ListedZone {
    id: u64,
    name: String,
    #[serde(default)]
    mode: String,
}

#[derive(Deserialize)]
struct RecordSet {
    /// Relative to the zone; `@` for the zone itself.
    name: String,
    #[serde(rename = "type")]
    rtype: String,
    #[serde(default)]
    records: Vec<Value>,
}

#[derive(Deserialize)]
struct Value {
    value: String,
}

#[derive(Deserialize)]
struct Started {
    action: Action,
}

#[derive(Deserialize)]
struct Action {
    id: u64,
    status: String,
    error: Option<Failure>,
}

#[derive(Deserialize)]
struct Failure {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

fn refused(refusal: Refusal) -> ProviderError {
    match refusal.error.kind {
        ErrorKind::Credentials => refusal.hint("check that the token has Read & Write in the zone's project").error,
        // Another action of the zone is under way ("Errors": locked).
        _ if refusal.is(423) => refusal.but(ErrorKind::Conflict).error,
        _ => refusal.error,
    }
}

/// Owner and type of a record set, and its values.
type Key<'a> = (&'a str, &'a str);
type Sets<'a> = BTreeMap<Key<'a>, Vec<String>>;

/// A record set's path.
fn path_of(zone: &Zone, name: &str, rtype: &str) -> String {
    format!("/zones/{}/rrsets/{}/{rtype}", zone.id, segment(relative_or_at(zone, name)))
}

impl Editor {
    /// All pages of a list: the first says how many there are, the others are asked for at once.
    async fn list<T: DeserializeOwned>(&self, path: &str, filter: &[(&str, &str)]) -> Result<Vec<T>> {
        let page = async |number: u64| -> Result<Page<T>> {
            let paging = [("page".to_owned(), number.to_string()), ("per_page".to_owned(), PER_PAGE.to_owned())];
            let filter = filter.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            self.api.get(path).query(paging.into_iter().chain(filter)).send().await.map_err(refused)
        };
        let first = page(1).await?;
        let rest = try_join_all((2..=first.meta.pagination.last_page.unwrap_or(1)).map(page)).await?;
        Ok(std::iter::once(first).chain(rest).flat_map(|page| page.items).collect())
    }

    /// The zones that can be changed: secondaries are copies of other servers' zones.
    async fn zones(&self) -> Result<Vec<Zone>> {
        let zones: Vec<ListedZone> = self.list("/zones", &[]).await?;
        let zone = |zone: ListedZone| Zone { apex: zone.name.to_ascii_lowercase(), id: zone.id.to_string() };
        Ok(zones.into_iter().filter(|zone| zone.mode != "secondary").map(zone).collect())
    }

    /// The values at these names, and possibly at others. They have no ids; Hetzner knows them by what they say.
    async fn read(&self, zone: &Zone, names: &[&str]) -> Result<Vec<Listed>> {
        let path = format!("/zones/{}/rrsets", zone.id);
        let lists: Vec<Vec<RecordSet>> = if names.len() <= NAMES_ONE_BY_ONE {
            let filters: Vec<[(&str, &str); 1]> =
                names.iter().map(|name| [("name", relative_or_at(zone, name))]).collect();
            try_join_all(filters.iter().map(|filter| self.list(&path, filter))).await?
        } else {
            try_join_all([self.list(&path, &[("type", "TXT")]), self.list(&path, &[("type", "CNAME")])]).await?
        };
        let listed = |set: RecordSet| {
            let (name, rtype) = (absolute(zone, &set.name), set.rtype);
            set.records.into_iter().map(move |record| Listed {
                id: String::new(),
                name: name.clone(),
                rtype: rtype.clone(),
                data: record.value,
            })
        };
        Ok(lists.into_iter().flatten().flat_map(listed).collect())
    }

    /// Begins an action on the values of a record set.
    async fn begin(&self, path: String, act: &str, values: &[String], ttl: Option<u32>) -> Result<Action> {
        let values: Vec<_> = values.iter().map(|value| json!({ "value": value })).collect();
        let mut body = json!({ "records": values });
        if let Some(ttl) = ttl {
            body["ttl"] = json!(ttl);
        }
        let started: Started =
            self.api.post(&format!("{path}/actions/{act}")).json(&body).send().await.map_err(refused)?;
        Ok(started.action)
    }

    /// Waits until these actions have ended; those still running are asked about all at once.
    async fn finish(&self, mut actions: Vec<Action>) -> Result<()> {
        for _ in 0..LOOKS {
            if let Some(failed) = actions.iter().find(|action| action.status == "error") {
                let error = failed.error.as_ref().map(|e| format!("{} {}", e.code, e.message)).unwrap_or_default();
                let message = format!("{}: action {} failed: {error}", self.place(), failed.id);
                return Err(ProviderError::new(ErrorKind::Conflict, message));
            }
            actions.retain(|action| action.status == "running");
            if actions.is_empty() {
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
            let ids: Vec<String> = actions.iter().map(|action| action.id.to_string()).collect();
            let filter: Vec<(&str, &str)> = ids.iter().map(|id| ("id", id.as_str())).collect();
            actions = self.list("/zones/actions", &filter).await?;
        }
        let message = format!("{}: {} actions are still running", self.place(), actions.len());
        Err(ProviderError::new(ErrorKind::Unavailable, message))
    }

    /// Makes the same change of many record sets, some at a time, and waits for all of it to be done.
    async fn act(&self, zone: &Zone, act: &str, sets: Sets<'_>, ttl: impl Fn(&Key<'_>) -> Option<u32>) -> Result<()> {
        let sets: Vec<(Key<'_>, Vec<String>)> = sets.into_iter().collect();
        let mut running = Vec::with_capacity(sets.len());
        let mut refused = None;
        for some in sets.chunks(AT_ONCE) {
            let begun = some.iter().map(|(key, values)| {
                let ttl = ttl(key);
                async move {
                    let begun = self.begin(path_of(zone, key.0, key.1), act, values, ttl).await;
                    begun.map_err(|error| maybe_race(error).about([key.0]))
                }
            });
            for begun in join_all(begun).await {
                match begun {
                    Ok(action) => running.push(action),
                    Err(error) => refused = Some(error),
                }
            }
            if refused.is_some() {
                break;
            }
        }
        // What has begun is waited for even when one was refused: nothing is to be written after the error is known.
        self.finish(running).await?;
        refused.map_or(Ok(()), Err)
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

    /// That the zone can be read. Whether the token may write Hetzner tells only who writes.
    async fn check(&self, zone: &Zone, _: &[Record]) -> Result<()> {
        self.api.get(&format!("/zones/{}", zone.id)).done().await.map_err(refused)
    }

    /// What is there already is not added, and what is gone is not removed: Hetzner refuses both, which is also how a lost race
    /// shows. The next look then sees what the other writer did.
    async fn apply(&self, zone: &Zone, change: &Change) -> Result<()> {
        let there = self.read(zone, &change.names()).await?;
        let left = Left::of(change, &there)?;
        let mut sets = Sets::new();
        for record in left.add {
            sets.entry((&record.name, record.data.rtype())).or_default().push(record.data.presentation());
        }
        // A TTL that differs from that of a set which is there is refused.
        let ttl = |(name, rtype): &Key<'_>| {
            let exists = there.iter().any(|listed| listed.name == *name && listed.rtype == *rtype);
            (!exists).then_some(self.ttl)
        };
        self.act(zone, "add_records", sets, ttl).await?;
        let mut sets = Sets::new();
        for listed in left.remove {
            sets.entry((&listed.name, &listed.rtype)).or_default().push(listed.data.clone());
        }
        self.act(zone, "remove_records", sets, |_| None).await
    }
}

/// A refused addition or removal of a value of which we have just seen that it was missing or there: somebody else was faster, or
/// it is one that Hetzner does not take at all, which the next attempts find, too.
fn maybe_race(error: ProviderError) -> ProviderError {
    let race = match error.kind {
        ErrorKind::NotServed => true,
        ErrorKind::Rejected => {
            let said = error.message.to_ascii_lowercase();
            ["exist", "duplicate", "not found", "ttl"].iter().any(|word| said.contains(word))
        }
        _ => false,
    };
    if !race {
        return error;
    }
    ProviderError::new(ErrorKind::Conflict, error.message)
}
