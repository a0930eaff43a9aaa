//! NS1 (IBM NS1 Connect), API version 1, as a `dcv` provider.
//!
//! NS1 keeps one object for each record set and has no batch: `PUT` makes a set that is not there and is refused when it is, `POST`
//! replaces the answers of one that is. Answers carry more than their data (metadata, feeds, regions), so those that are
//! not ours go back as they came, and so does everything else of the set, which a `POST` that names only its answers leaves alone.
//! One read of the zone tells which sets are there; those that have to be written are written eight at a time.
//!
//! There is no compare-and-swap for a `POST`. Writers on one machine take turns by a lock file, and after each write the sets
//! are read again, so that a writer elsewhere who put an older set back is noticed and the change made again.
//!
//! # The key
//!
//! An API key with *Manage zones* and *View zones*, access to the zones concerned only (untick *Allow by default*), and no account,
//! monitoring or data permissions ("Create an API key", "Account permissions" in IBM's documentation); best with an
//! IP allow list.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use dcv_provider::{
    Descriptor, ErrorKind, OptionSpec, ProofKind, ProviderError, Result, Retry,
    dns::Dns,
    http::{Answer, Api, Call, Refusal, segment},
    secret::Secret,
    zone::{
        Change, DEFAULT_TTL, Record, RecordData, Zone, ZoneEditor, ZoneList, ZoneProvider,
        hosts::{alias_in_the_way, alone, checked_ttl, each, put_back},
        unquote,
    },
};
use futures_util::future::try_join_all;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

/// What this provider is.
pub const DESCRIPTOR: Descriptor = Descriptor {
    id: "ns1",
    title: "NS1 Connect",
    proofs: &[ProofKind::Txt, ProofKind::Cname],
    batch: "one request per record set, eight at a time",
    options: &[
        OptionSpec {
            name: "key",
            help: "API key that may view and manage the zones concerned",
            required: true,
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
            help: "Base URL of the API, https://api.nsone.net/v1 unless given",
            required: false,
            secret: false,
        },
    ],
    example: r#"type = "ns1"
key = { file = "/etc/dcv/ns1.key" }
"#,
};

/// The API.
pub const BASE_URL: &str = "https://api.nsone.net/v1";

/// Up to this many record sets are read one by one; beyond that the zone is.
const SETS_ONE_BY_ONE: usize = 4;
/// How many requests that concern single record sets are under way at once.
const AT_ONCE: usize = 8;

/// The configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The API key.
    pub key: Secret,
    /// TTL of new record sets in seconds.
    pub ttl: Option<u32>,
    /// Base URL of the API.
    pub base_url: Option<String>,
}

/// The provider.
pub type Ns1 = ZoneProvider<Editor>;

/// Sets the provider up from a configuration; `dns` is where delegated aliases are asked about.
///
/// # Errors
/// [`ErrorKind::Config`] naming the field.
pub async fn from_config(config: Config, dns: Option<Dns>) -> Result<Ns1> {
    let ttl = checked_ttl(config.ttl, "NS1", DEFAULT_TTL, 1)?;
    let key = config.key.read("key").await?;
    let api = Api::new(config.base_url.as_deref().unwrap_or(BASE_URL))?.credential("key", "x-nsone-key", "", &key)?;
    Ok(ZoneProvider::new(Editor { api, ttl, listed: ZoneList::default(), pause: AtomicU64::new(0) }, dns))
}

/// Changes zones record set by record set.
#[derive(Debug)]
pub struct Editor {
    api: Api,
    ttl: u32,
    /// The zones that the key can see.
    listed: ZoneList,
    /// How long NS1 needs, in seconds, until it has room for `AT_ONCE` requests again, as its last answer had it.
    pause: AtomicU64,
}

#[derive(Deserialize)]
struct ListedZone {
    /// Its domain name.
    zone: String,
    /// What the account calls it; differs from the domain name when that is in several views.
    name: Option<String>,
    /// The zone that this one is a copy of.
    link: Option<String>,
    secondary: Option<Secondary>,
}

#[derive(Deserialize)]
struct Secondary {
    #[serde(default)]
    enabled: bool,
}

#[derive(Deserialize)]
struct Sets {
    #[serde(default)]
    records: Vec<ShortSet>,
}

#[derive(Deserialize)]
struct ShortSet {
    domain: String,
    #[serde(rename = "type")]
    rtype: String,
    #[serde(default)]
    short_answers: Vec<String>,
}

#[derive(Deserialize)]
struct FullSet {
    #[serde(default)]
    answers: Vec<Value>,
}

/// Owner and type of a record set, and what is to be in it and what is not.
type Key = (String, &'static str);
type Wanted<'c> = BTreeMap<Key, (Vec<&'c str>, Vec<&'c str>)>;

/// A record set that is there: what it says, and its answers with all that they carry if those have been read.
struct Set {
    says: Vec<String>,
    answers: Option<Vec<Value>>,
}

impl From<Vec<Value>> for Set {
    fn from(answers: Vec<Value>) -> Self {
        Self { says: answers.iter().map(|answer| data(answer).to_owned()).collect(), answers: Some(answers) }
    }
}

/// The data of an answer: `{"answer": ["text"]}`.
fn data(answer: &Value) -> &str {
    answer["answer"][0].as_str().unwrap_or_default()
}

/// Whether an answer says this. A text that somebody has put into quotes says the same.
fn same(rtype: &str, answer: &str, wanted: &str) -> bool {
    if rtype == "CNAME" {
        return answer.trim_end_matches('.').eq_ignore_ascii_case(wanted);
    }
    answer == wanted || answer.starts_with('"') && unquote(answer) == wanted.as_bytes()
}

fn wanted(change: &Change) -> Wanted<'_> {
    fn parts(record: &Record) -> (Key, &str) {
        let (RecordData::Txt(said) | RecordData::Cname(said)) = &record.data;
        ((record.name.clone(), record.data.rtype()), said)
    }
    let mut sets = Wanted::new();
    for (key, said) in change.add.iter().map(parts) {
        sets.entry(key).or_default().0.push(said);
    }
    for (key, said) in change.remove.iter().map(parts) {
        sets.entry(key).or_default().1.push(said);
    }
    sets
}

/// Whether a record set has what is to be in it and nothing of what is not.
fn holds(rtype: &str, set: Option<&Set>, add: &[&str], remove: &[&str]) -> bool {
    let has = |wanted: &&str| set.is_some_and(|set| set.says.iter().any(|said| same(rtype, said, wanted)));
    add.iter().all(has) && !remove.iter().any(has)
}

fn missing(refusal: &Refusal, what: &str) -> bool {
    refusal.is(404) && refusal.body["message"].as_str().is_some_and(|message| message.contains(what))
}

fn conflict(refusal: Refusal) -> Refusal {
    refusal.but(ErrorKind::Conflict)
}

impl Editor {
    /// Sends a call, and learns from its answer how fast NS1 wants to be asked ("API rate limiting").
    async fn send(&self, call: Call<'_>) -> Result<Answer, Refusal> {
        let answer = call.answer().await;
        match answer {
            Ok(answer) => {
                let number = |name| answer.header(name)?.parse::<u64>().ok();
                if let (Some(limit), Some(period)) = (number("x-ratelimit-limit"), number("x-ratelimit-period")) {
                    let pause = (period * AT_ONCE as u64).div_ceil(limit.max(1));
                    self.pause.store(pause.min(period), Ordering::Relaxed);
                }
                Ok(answer)
            }
            Err(mut refusal) => {
                let pause = self.pause.load(Ordering::Relaxed);
                if refusal.is(429) && refusal.error.retry == Retry::Yes && pause > 0 {
                    refusal.error = refusal.error.retry_after(Duration::from_secs(pause));
                }
                if refusal.error.kind == ErrorKind::Credentials {
                    refusal = refusal.hint("check that the key may view and manage the zone");
                }
                Err(refusal)
            }
        }
    }

    /// All pages of what is to be had at a path.
    async fn pages<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>> {
        let mut pages = Vec::new();
        let mut query = Some(Vec::new());
        while let Some(pairs) = query.take() {
            let answer = self.send(self.api.get(path).query(pairs)).await?;
            pages.push(answer.json()?);
            query = answer.next_page();
        }
        Ok(pages)
    }

    /// The zones that can be changed: secondaries and linked zones are copies.
    async fn zones(&self) -> Result<Vec<Zone>> {
        let pages: Vec<Vec<ListedZone>> = self.pages("/zones").await?;
        let own = |zone: &ListedZone| zone.link.is_none() && !zone.secondary.as_ref().is_some_and(|s| s.enabled);
        let zone = |zone: ListedZone| Zone {
            apex: zone.zone.to_ascii_lowercase(),
            id: zone.name.filter(|name| !name.is_empty()).unwrap_or(zone.zone),
        };
        Ok(pages.into_iter().flatten().filter(own).map(zone).collect())
    }

    fn path(zone: &Zone, (name, rtype): &Key) -> String {
        format!("/zones/{}/{}/{rtype}", segment(&zone.id), segment(name))
    }

    /// A record set with all that its answers carry.
    async fn full(&self, zone: &Zone, key: &Key) -> Result<Option<Set>> {
        match self.send(self.api.get(&Self::path(zone, key))).await {
            Ok(answer) => Ok(Some(answer.json::<FullSet>()?.answers.into())),
            Err(refusal) if missing(&refusal, "record") => Ok(None),
            Err(refusal) => Err(refusal.into()),
        }
    }

    /// Those of the record sets that are there.
    async fn read(&self, zone: &Zone, keys: BTreeSet<&Key>) -> Result<HashMap<Key, Set>> {
        if keys.len() <= SETS_ONE_BY_ONE {
            let each = try_join_all(keys.iter().map(|key| self.full(zone, key))).await?;
            return Ok(keys.into_iter().zip(each).filter_map(|(key, set)| Some((key.clone(), set?))).collect());
        }
        let pages: Vec<Sets> = self.pages(&format!("/zones/{}", segment(&zone.id))).await?;
        let all = pages.into_iter().flat_map(|page| page.records);
        Ok(all
            .filter_map(|set| {
                let name = set.domain.to_ascii_lowercase();
                let key = keys.get(&(name, if set.rtype == "CNAME" { "CNAME" } else { "TXT" }))?;
                (key.1 == set.rtype).then(|| ((*key).clone(), Set { says: set.short_answers, answers: None }))
            })
            .collect())
    }

    /// Writes one record set.
    async fn write(&self, zone: &Zone, key: &Key, there: Option<&Set>, add: &[&str], remove: &[&str]) -> Result<()> {
        let path = Self::path(zone, key);
        let gone = |said: &str| remove.iter().any(|wanted| same(key.1, said, wanted));
        let Some(set) = there else {
            let answers: Vec<Value> = add.iter().map(|said| json!({ "answer": [said] })).collect();
            let body = json!({
                "zone": zone.apex, "domain": key.0, "type": key.1, "ttl": self.ttl, "answers": answers,
            });
            return match self.send(self.api.put(&path).json(&body)).await {
                Err(refusal) if refusal.body["message"].as_str() == Some("record already exists") => {
                    Err(conflict(refusal).into())
                }
                other => Ok(other.map(drop)?),
            };
        };
        if add.is_empty() && set.says.iter().all(|said| gone(said)) {
            return match self.send(self.api.delete(&path)).await {
                // Somebody else has deleted it.
                Err(refusal) if missing(&refusal, "record") => Ok(()),
                other => Ok(other.map(drop)?),
            };
        }
        let answers = match &set.answers {
            Some(answers) => Some(answers.clone()),
            None => self.full(zone, key).await?.and_then(|set| set.answers),
        };
        let Some(mut answers) = answers else {
            return Err(ProviderError::new(ErrorKind::Conflict, "another writer deleted the record set"));
        };
        answers.retain(|answer| !gone(data(answer)));
        for said in add {
            if !answers.iter().any(|answer| same(key.1, data(answer), said)) {
                answers.push(json!({ "answer": [said] }));
            }
        }
        let body = json!({ "zone": zone.apex, "domain": key.0, "type": key.1, "answers": answers });
        match self.send(self.api.post(&path).json(&body)).await {
            Err(refusal) if missing(&refusal, "record") => Err(conflict(refusal).into()),
            other => Ok(other.map(drop)?),
        }
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

    /// Where a domain is in several views, its main one has the domain's own name.
    async fn find_zone(&self, name: &str) -> Result<Option<Zone>> {
        let zones = self.listed.around(name, self.zones()).await?;
        Ok(zones.iter().find(|zone| zone.id == zone.apex).or(zones.first()).cloned())
    }

    /// That the key can read the zone. Whether it may write NS1 tells only who writes.
    async fn check(&self, zone: &Zone, _: &[Record]) -> Result<()> {
        let path = format!("/zones/{}", segment(&zone.id));
        Ok(self.send(self.api.get(&path).query([("records", "false")])).await.map(drop)?)
    }

    async fn apply(&self, zone: &Zone, change: &Change) -> Result<()> {
        let sets = wanted(change);
        let _alone = alone(&format!("ns1-{}", self.api.place()), zone).await;
        let there = self.read(zone, sets.keys().collect()).await?;
        for (key, (add, _)) in sets.iter().filter(|(key, (add, _))| key.1 == "CNAME" && !add.is_empty()) {
            let mut aliases = there.get(key).into_iter().flat_map(|set| &set.says);
            if let Some(foreign) = aliases.find(|said| !add.iter().any(|target| same(key.1, said, target))) {
                return Err(alias_in_the_way(foreign, &key.0));
            }
        }
        let open: Vec<_> =
            sets.iter().filter(|(key, (add, remove))| !holds(key.1, there.get(key), add, remove)).collect();
        let writes = open.iter().map(async |(key, (add, remove))| {
            let written = self.write(zone, key, there.get(key), add, remove).await;
            written.map_err(|error| error.about([key.0.as_str()]))
        });
        each(writes.collect::<Vec<_>>(), AT_ONCE).await?;
        if open.is_empty() {
            return Ok(());
        }
        // Whoever read before this write and writes after it puts the old set back.
        let now = self.read(zone, open.iter().map(|(key, _)| *key).collect()).await?;
        let lost = open.iter().find(|(key, (add, remove))| !holds(key.1, now.get(key), add, remove));
        lost.map_or(Ok(()), |(key, _)| Err(put_back(&self.place(), &key.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_compared_by_what_they_say() {
        for (rtype, answer, wanted, equal) in [
            ("TXT", "abc", "abc", true),
            ("TXT", "\"abc\"", "abc", true),
            ("TXT", "a\"b", "a\"b", true),
            ("TXT", "a b", "ab", false),
            ("TXT", "Abc", "abc", false),
            ("CNAME", "T.example.net.", "t.example.net", true),
        ] {
            assert_eq!(same(rtype, answer, wanted), equal, "{answer} and {wanted}");
        }
    }
}
