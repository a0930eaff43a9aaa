//! Google Cloud DNS (API version 1) as a `dcv` provider.
//!
//! All proofs of a zone go in one change, which Google makes whole or not at all. A change replaces record sets: it deletes the set as
//! it was read and adds it with its new content, so that other values and the TTL stay. A deletion must match what is there
//! exactly, and an addition must meet nothing: where another writer was faster the whole change is refused, and made again from what
//! is there then. After adding, it is watched until Google says `done`. Private zones are never chosen: no CA sees them.
//!
//! # Credentials
//!
//! Those of the configuration; else, as for all of Google's clients, the file that `GOOGLE_APPLICATION_CREDENTIALS` names, the
//! one of `gcloud auth application-default login`, or the service account of the machine. A file may hold a service account's key,
//! a user's consent, or a federation with another cloud's tokens (from a file or a URL), impersonation included. One with a
//! key must not be readable by others.
//!
//! The least role (`gcloud iam roles create dcv --project=PROJECT --file=role.yaml`), to be bound to the project, or without
//! `dns.managedZones.list` to single zones, which are then named in `zones`:
//!
//! ```yaml
//! title: Domain control validation
//! description: Presents and retracts proofs of domain control
//! stage: GA
//! includedPermissions:
//!   - dns.changes.create
//!   - dns.changes.get
//!   - dns.managedZones.list
//!   - dns.resourceRecordSets.create
//!   - dns.resourceRecordSets.delete
//!   - dns.resourceRecordSets.list
//!   - dns.resourceRecordSets.update
//! ```

mod credentials;
mod tokens;

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use dcv_provider::{
    Descriptor, ErrorKind, OptionSpec, ProofKind, ProviderError, Result,
    dns::Dns,
    http::{Answer, Api, Call, Refusal, Tokens, header::HeaderName, header::HeaderValue, segment},
    secret::Secret,
    zone::{
        Change, DEFAULT_TTL, Record, RecordSets, Zone, ZoneEditor, ZoneList, ZoneProvider,
        hosts::{alias_in_the_way, bare, checked_ttl},
        merge,
    },
};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

pub use credentials::Environment;
use credentials::{Found, config};
use tokens::Exchange;

/// What this provider is.
pub const DESCRIPTOR: Descriptor = Descriptor {
    id: "gcloud",
    title: "Google Cloud DNS",
    proofs: &[ProofKind::Txt, ProofKind::Cname],
    batch: "one change of up to 200 records per zone",
    options: &[
        OptionSpec {
            name: "project",
            help: "Project of the zones; GOOGLE_CLOUD_PROJECT, the service account's or the machine's unless given",
            required: false,
            secret: false,
        },
        OptionSpec {
            name: "zones",
            help: "Public zones to change and their names at Google, e.g. { \"example.com\" = \"example-com\" }; listed without it",
            required: false,
            secret: false,
        },
        OptionSpec {
            name: "credentials",
            help: "Google's JSON of a service account, a user or a federation; application default credentials unless given",
            required: false,
            secret: true,
        },
        OptionSpec {
            name: "ttl",
            help: "TTL of new record sets in seconds, 60 unless given",
            required: false,
            secret: false,
        },
        OptionSpec {
            name: "base_url",
            help: "Base URL of the API, https://dns.googleapis.com unless given",
            required: false,
            secret: false,
        },
    ],
    example: r#"type = "gcloud"
project = "example-project"
credentials = { file = "/etc/dcv/gcloud.json" }
"#,
};

/// The API.
pub const BASE_URL: &str = "https://dns.googleapis.com";

/// A change may have 1000 additions, 1000 deletions and 100 000 bytes of data ("Cloud DNS quotas and limits"): room for 200 of the
/// longest texts, each beside another one.
const MOST_CHANGES: usize = 200;
/// Up to this many record sets are asked for one by one; beyond that, the zone's first page of sets may have them all.
const SETS_ONE_BY_ONE: usize = 4;
/// How many record sets are asked for at a time.
const AT_ONCE: usize = 8;
/// More pages than any list has.
const MOST_PAGES: usize = 1000;
/// How long a change is watched, and how often.
const WATCH: Duration = Duration::from_secs(60);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// The configuration.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Project of the zones.
    pub project: Option<String>,
    /// Zones to change, and their names at Google.
    pub zones: BTreeMap<String, String>,
    /// Google's JSON of credentials.
    pub credentials: Option<Secret>,
    /// TTL of new record sets in seconds.
    pub ttl: Option<u32>,
    /// Base URL of the API.
    pub base_url: Option<String>,
}

/// The provider.
pub type Gcloud = ZoneProvider<Editor>;

/// Sets the provider up from a configuration and the process's environment; `dns` is where delegated aliases are asked about.
///
/// # Errors
/// [`ErrorKind::Config`] naming the field.
pub async fn from_config(config: Config, dns: Option<Dns>) -> Result<Gcloud> {
    let environment = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    from_config_in(&environment, config, dns).await
}

/// [`from_config`] with an environment of the caller's.
///
/// # Errors
/// Those of [`from_config`].
pub async fn from_config_in(environment: Environment<'_>, given: Config, dns: Option<Dns>) -> Result<Gcloud> {
    let ttl = checked_ttl(given.ttl, "Google", DEFAULT_TTL, 1)?;
    let found = Found::search(given.credentials.as_ref(), environment).await?;
    let mut api = Api::new(given.base_url.as_deref().unwrap_or(BASE_URL))?;
    if let Some(payer) = &found.quota_project {
        let payer = HeaderValue::from_str(payer)
            .map_err(|_| config(format!("{}: its quota_project_id is no project", found.field)))?;
        api = api.header(HeaderName::from_static("x-goog-user-project"), payer);
    }
    let project = given.project.or_else(|| environment("GOOGLE_CLOUD_PROJECT")).or_else(|| found.project.clone());
    let editor = Editor {
        api,
        tokens: Tokens::new(Exchange::new(found)),
        project: OnceCell::new_with(project),
        ttl,
        listed: ZoneList::of(given.zones.iter().map(|(name, id)| zone_of(name, id))),
    };
    Ok(ZoneProvider::new(editor, dns))
}

fn zone_of(name: &str, id: &str) -> Zone {
    Zone { apex: bare(name), id: id.to_owned() }
}

/// Changes zones by changes that only fit what was read.
#[derive(Debug)]
pub struct Editor {
    api: Api,
    tokens: Tokens<Exchange>,
    /// The project; the machine's is asked for when it is needed.
    project: OnceCell<String>,
    ttl: u32,
    /// The zones of the configuration; without any, those of the project.
    listed: ZoneList,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListedZone {
    name: String,
    dns_name: String,
    #[serde(default)]
    visibility: String,
}

/// A record set: as it is listed, added and deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RecordSet {
    name: String,
    #[serde(rename = "type")]
    rtype: String,
    #[serde(default)]
    ttl: u32,
    #[serde(default)]
    rrdatas: Vec<String>,
    /// Answers that depend on who asks; such a set has no data of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    routing_policy: Option<Value>,
}

/// What is asked of Google, and what it makes of it.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Changes {
    deletions: Vec<RecordSet>,
    additions: Vec<RecordSet>,
}

#[derive(Deserialize)]
struct Made {
    id: String,
    #[serde(default)]
    status: String,
}

/// Owner (lower case, no final dot) and type.
type Key = (String, &'static str);

impl Editor {
    /// The path of something in the project.
    async fn path(&self, rest: &str) -> Result<String> {
        let ask = async || {
            self.tokens.grantor().project().await?.ok_or_else(|| {
                config(
                    "project: it is missing, and the credentials name none; give it, or set GOOGLE_CLOUD_PROJECT"
                        .to_owned(),
                )
            })
        };
        let project = self.project.get_or_try_init(ask).await?;
        Ok(format!("/dns/v1/projects/{}/managedZones{rest}", segment(project)))
    }

    async fn zone_path(&self, zone: &Zone, rest: &str) -> Result<String> {
        self.path(&format!("/{}{rest}", segment(&zone.id))).await
    }

    /// Sends a call with a token; once more with a new one if this one is refused.
    async fn ask(&self, make: impl for<'a> Fn(&'a Api) -> Call<'a> + Send + Sync) -> Result<Answer, Refusal> {
        self.tokens.answer(&self.api, make).await.map_err(judged)
    }

    /// All items of a list, or those of the first page if there are more than `most` pages; and whether that is all.
    async fn list<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
        items: &str,
        most: usize,
    ) -> Result<(Vec<T>, bool)> {
        let mut all = Vec::new();
        let mut token = String::new();
        for _ in 0..most {
            let page = Some(("pageToken", token.as_str())).filter(|(_, token)| !token.is_empty());
            let query: Vec<(&str, &str)> = query.iter().copied().chain(page).collect();
            let answer = self.ask(|api| api.get(path).query(query.iter().copied())).await?;
            let mut body: Value = answer.json()?;
            // A list without items has no field for them.
            let page: Vec<T> = match body.get_mut(items).map(Value::take) {
                Some(page) => serde_json::from_value(page).map_err(|e| answer.not_understood(&e))?,
                None => Vec::new(),
            };
            all.extend(page);
            match body["nextPageToken"].as_str().filter(|token| !token.is_empty()) {
                Some(next) => next.clone_into(&mut token),
                None => return Ok((all, true)),
            }
        }
        Ok((all, false))
    }

    /// All public zones.
    async fn zones(&self) -> Result<Vec<Zone>> {
        let path = self.path("").await?;
        let (listed, _) = self.list::<ListedZone>(&path, &[], "managedZones", MOST_PAGES).await?;
        let public = listed.iter().filter(|zone| !zone.visibility.eq_ignore_ascii_case("private"));
        Ok(public.map(|zone| zone_of(&zone.dns_name, &zone.name)).collect())
    }

    /// What these record sets hold.
    async fn read(&self, zone: &Zone, keys: &[Key]) -> Result<HashMap<Key, RecordSet>> {
        let path = self.zone_path(zone, "/rrsets").await?;
        let pick = |sets: Vec<RecordSet>| {
            let key = |set: &RecordSet| {
                let name = set.name.trim_end_matches('.').to_ascii_lowercase();
                keys.iter().find(|key| key.0 == name && key.1 == set.rtype).cloned()
            };
            sets.into_iter().filter_map(|set| Some((key(&set)?, set))).collect::<Vec<_>>()
        };
        if keys.len() > SETS_ONE_BY_ONE
            && let (sets, true) = self.list(&path, &[], "rrsets", 1).await?
        {
            return Ok(pick(sets).into_iter().collect());
        }
        let mut reads = Vec::with_capacity(keys.len());
        for (name, rtype) in keys {
            let (path, name) = (&path, format!("{name}."));
            reads.push(async move {
                self.list::<RecordSet>(path, &[("name", &name), ("type", rtype)], "rrsets", MOST_PAGES).await
            });
        }
        let read: Vec<(Vec<RecordSet>, bool)> = stream::iter(reads).buffer_unordered(AT_ONCE).try_collect().await?;
        Ok(read.into_iter().flat_map(|(sets, _)| pick(sets)).collect())
    }

    /// Waits until Google has made a change, or for as long as that is of use.
    async fn watch(&self, zone: &Zone, id: &str) -> Result<()> {
        let path = self.zone_path(zone, &format!("/changes/{}", segment(id))).await?;
        let until = Instant::now() + WATCH;
        let mut pause = FIRST_PAUSE;
        loop {
            tokio::time::sleep(pause).await;
            match self.ask(|api| api.get(&path)).await.and_then(|answer| answer.json::<Made>()) {
                Ok(made) if made.status != "pending" => return Ok(()),
                Ok(_) => {}
                Err(refusal) => {
                    tracing::debug!(change = id, error = %refusal.error, "the change is made, but cannot be watched");
                    if refusal.error.kind == ErrorKind::Credentials {
                        return Ok(());
                    }
                }
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
            if Instant::now() + pause >= until {
                tracing::debug!(change = id, "Google still spreads the change");
                return Ok(());
            }
        }
    }

    /// Whether the role is wide enough, as far as Google tells. Where it does not, this is left to whoever writes.
    async fn may_write(&self, zone: &Zone) -> Result<()> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Held {
            permissions: Vec<String>,
        }
        let wanted =
            ["changes.create", "resourceRecordSets.create", "resourceRecordSets.delete", "resourceRecordSets.update"]
                .map(|what| format!("dns.{what}"));
        let path = self.zone_path(zone, ":testIamPermissions").await?;
        let body = json!({ "permissions": wanted });
        let held =
            match self.ask(|api| api.post(&path).json(&body)).await.and_then(|answer| answer.json::<Option<Held>>()) {
                Ok(held) => held.unwrap_or_default().permissions,
                Err(refusal) => {
                    tracing::debug!(zone = zone.apex, error = %refusal.error, "permissions are not told");
                    return Ok(());
                }
            };
        let missing: Vec<&str> = wanted.iter().filter(|one| !held.contains(one)).map(String::as_str).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let message =
            format!("the credentials lack {} on zone {}; grant a role that has them", missing.join(", "), zone.id);
        Err(ProviderError::new(ErrorKind::Credentials, message))
    }
}

/// What Google means by a status, as far as it means something of its own.
fn judged(refusal: Refusal) -> Refusal {
    let reason = refusal.body["error"]["errors"][0]["reason"].as_str().unwrap_or_default();
    match (refusal.status.map_or(0, |status| status.as_u16()), reason) {
        (403, "rateLimitExceeded" | "userRateLimitExceeded" | "dailyLimitExceeded" | "quotaExceeded") => {
            refusal.but(ErrorKind::RateLimited)
        }
        (403, _) => refusal.hint("grant the credentials a role that may do this on the project or the zone"),
        // The set that is to be deleted is gone, and not the zone.
        (404, _) if refusal.error.message.contains("entity.change.") => refusal.but(ErrorKind::Conflict),
        (404, _) => refusal.hint("check project and zones"),
        _ => refusal,
    }
}

/// What makes record sets hold what they are to hold, and everything they held besides.
fn plan(current: &HashMap<Key, RecordSet>, sets: &RecordSets, ttl: u32) -> Result<Changes> {
    let mut changes = Changes::default();
    for (key, (add, remove)) in sets {
        let (name, rtype) = key;
        let set = current.get(key);
        let there = set.map(|set| set.rrdatas.clone()).unwrap_or_default();
        if set.is_some_and(|set| set.routing_policy.is_some()) {
            if add.is_empty() {
                continue;
            }
            let message = "a record set with a routing policy is there, which is not ours";
            return Err(ProviderError::new(ErrorKind::Rejected, message).about([name.as_str()]));
        }
        let wanted = if *rtype == "CNAME" {
            let ours = |list: &[String]| there.iter().any(|is| list.iter().any(|one| one.eq_ignore_ascii_case(is)));
            match there.first() {
                Some(foreign) if !add.is_empty() && !ours(add) => {
                    return Err(alias_in_the_way(foreign, name));
                }
                Some(_) if !add.is_empty() => there.clone(),
                Some(_) if ours(remove) => Vec::new(),
                Some(_) => there.clone(),
                None => add.clone(),
            }
        } else {
            merge(&there, add, remove)
        };
        if wanted == there {
            continue;
        }
        changes.deletions.extend(set.cloned());
        if !wanted.is_empty() {
            changes.additions.push(RecordSet {
                name: format!("{name}."),
                rtype: (*rtype).to_owned(),
                ttl: set.map_or(ttl, |set| set.ttl),
                rrdatas: wanted,
                routing_policy: None,
            });
        }
    }
    Ok(changes)
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
        let found = self.listed.around(name, self.zones()).await?;
        if let [zone, _, ..] = &found[..] {
            let message = format!("there are {} public zones {}; say in `zones` which one", found.len(), zone.apex);
            return Err(config(message).about(found.iter().map(|zone| zone.id.as_str())));
        }
        Ok(found.into_iter().next())
    }

    async fn check(&self, zone: &Zone, records: &[Record]) -> Result<()> {
        let first = records.first().map(|record| (record.name.clone(), record.data.rtype()));
        self.read(zone, first.as_slice()).await?;
        self.may_write(zone).await
    }

    async fn apply(&self, zone: &Zone, change: &Change) -> Result<()> {
        let sets = change.by_record_set();
        let keys: Vec<Key> = sets.keys().cloned().collect();
        let changes = plan(&self.read(zone, &keys).await?, &sets, self.ttl)?;
        if changes == Changes::default() {
            return Ok(());
        }
        let path = self.zone_path(zone, "/changes").await?;
        let made: Made = self.ask(|api| api.post(&path).json(&changes)).await?.json()?;
        // Nobody waits for what is taken away.
        if change.add.is_empty() || made.status != "pending" {
            return Ok(());
        }
        self.watch(zone, &made.id).await
    }
}
