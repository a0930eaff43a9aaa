//! The HTTP API of the PowerDNS authoritative server (4.2 or newer) as a `dcv` provider.
//!
//! All proofs of a zone go in one PATCH. The API replaces whole record sets, so what is there is read first and kept: other
//! values, disabled ones, comments and the set's TTL. It has no compare-and-swap either; writers on one machine take
//! turns by a lock file, and after each write the sets are read again, so that a writer elsewhere who put an older
//! set back is noticed and the change made again.
//!
//! The API key is all-powerful; PowerDNS knows no lesser one. Put an authorising proxy before it where that is too
//! much, and limit `webserver-allow-from`.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    time::Duration,
};

use async_trait::async_trait;
use dcv_provider::{
    Descriptor, OptionSpec, ProofKind, Result,
    dns::Dns,
    http::{Api, Refusal, header::HeaderName},
    secret::Secret,
    zone::{
        Change, DEFAULT_TTL, Record, Zone, ZoneEditor, ZoneList, ZoneProvider,
        hosts::{alias_in_the_way, alone, bare, checked_ttl, put_back},
        merge, unquote,
    },
};
use futures_util::future::try_join_all;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

/// What this provider is.
pub const DESCRIPTOR: Descriptor = Descriptor {
    id: "powerdns",
    title: "PowerDNS authoritative server, HTTP API",
    proofs: &[ProofKind::Txt, ProofKind::Cname],
    batch: "one PATCH per zone",
    options: &[
        OptionSpec {
            name: "url",
            help: "Base URL of the API server, e.g. https://ns1.example.com:8081",
            required: true,
            secret: false,
        },
        OptionSpec { name: "api_key", help: "The `api-key` of its configuration", required: true, secret: true },
        OptionSpec { name: "server_id", help: "Server id, `localhost` unless given", required: false, secret: false },
        OptionSpec {
            name: "zones",
            help: "Zones to change; without them the server's list of zones is read once",
            required: false,
            secret: false,
        },
        OptionSpec {
            name: "ca_file",
            help: "PEM file with CAs to trust besides the system's, for the server's certificate",
            required: false,
            secret: false,
        },
        OptionSpec {
            name: "ttl",
            help: "TTL of new record sets in seconds, 60 unless given",
            required: false,
            secret: false,
        },
    ],
    example: r#"type = "powerdns"
url = "https://ns1.example.com:8081"
api_key = { file = "/etc/dcv/powerdns.key" }
"#,
};

/// After a write, up to this many record sets are asked for one by one; beyond that the zone is read at once.
const SETS_ONE_BY_ONE: usize = 4;

/// How long a server is left alone that could not cope with several writes at once, in milliseconds.
const PAUSES: [u64; 5] = [10, 40, 160, 320, 640];

/// The configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Base URL.
    pub url: String,
    /// The API key.
    pub api_key: Secret,
    /// Server id.
    pub server_id: Option<String>,
    /// Zones to change.
    #[serde(default)]
    pub zones: Vec<String>,
    /// CAs to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// TTL of new record sets in seconds.
    pub ttl: Option<u32>,
}

/// The provider.
pub type PowerDns = ZoneProvider<Editor>;

/// Sets the provider up from a configuration; `dns` is where delegated aliases are asked about.
///
/// # Errors
/// [`ErrorKind::Config`] naming the field.
pub async fn from_config(config: Config, dns: Option<Dns>) -> Result<PowerDns> {
    let ttl = checked_ttl(config.ttl, "PowerDNS", DEFAULT_TTL, 0)?;
    let key = config.api_key.read("api_key").await?;
    let mut editor = Editor::of(Api::trusting("url", base(&config.url), config.ca_file.as_deref()).await?, &key)?;
    if let Some(id) = config.server_id {
        editor.server_id = id;
    }
    editor.ttl = ttl;
    editor.listed = ZoneList::of(config.zones.iter().map(|zone| zone_of(zone)));
    Ok(ZoneProvider::new(editor, dns))
}

/// Changes zones by PATCH.
#[derive(Debug)]
pub struct Editor {
    api: Api,
    server_id: String,
    ttl: u32,
    /// The zones of the configuration; without any, those of the server.
    listed: ZoneList,
    /// Held by whoever writes again after the server could not cope with several at once.
    turn: tokio::sync::Mutex<()>,
}

fn zone_of(name: &str) -> Zone {
    let apex = bare(name);
    Zone { id: format!("{apex}."), apex }
}

#[derive(Deserialize)]
struct ListedZone {
    id: String,
    name: String,
}

#[derive(Deserialize)]
struct ZoneContent {
    #[serde(default)]
    rrsets: Vec<RecordSet>,
}

#[derive(Clone, Debug, Deserialize)]
struct RecordSet {
    name: String,
    #[serde(rename = "type")]
    rtype: String,
    #[serde(default)]
    ttl: u32,
    #[serde(default)]
    records: Vec<Value>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Value {
    content: String,
    #[serde(default)]
    disabled: bool,
}

#[derive(Serialize)]
struct Replacement {
    name: String,
    #[serde(rename = "type")]
    rtype: &'static str,
    changetype: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<u32>,
    records: Vec<Value>,
}

/// Owner (lower case, no final dot) and type.
type Key = (String, &'static str);

impl Editor {
    /// An editor for the API at this base URL, with the defaults for everything else.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when the URL is none.
    pub fn new(url: &str, api_key: SecretString) -> Result<Self> {
        Self::of(Api::named("url", base(url))?, &api_key)
    }

    fn of(api: Api, key: &SecretString) -> Result<Self> {
        Ok(Self {
            api: api.credential("api_key", HeaderName::from_static("x-api-key"), "", key)?,
            server_id: "localhost".to_owned(),
            ttl: DEFAULT_TTL,
            listed: ZoneList::default(),
            turn: tokio::sync::Mutex::default(),
        })
    }

    /// The path of the server's zones and of what is below.
    fn path(&self, below: &str) -> String {
        format!("/api/v1/servers/{}/zones{below}", self.server_id)
    }

    /// Writes record sets. A server whose zones are in SQLite answers 500 where several are written at the same moment, and says no more;
    /// then we write one after the other, with pauses for whoever else does.
    async fn write(&self, zone: &Zone, sets: &serde_json::Value) -> Result<()> {
        let path = self.path(&format!("/{}", zone.id));
        let write = async || judged(self.api.patch(&path).json(sets).done().await);
        let mut result = write().await;
        let mut pauses = PAUSES.into_iter();
        let mut turn = None;
        while let Err(refusal) = &result
            && refusal.is(500)
            && let Some(pause) = pauses.next()
        {
            if turn.is_none() {
                turn = Some(self.turn.lock().await);
            }
            tokio::time::sleep(Duration::from_millis(pause)).await;
            result = write().await;
        }
        Ok(result?)
    }

    /// The server's zones, without their DNSSEC status, which it would compute zone by zone.
    async fn zones(&self) -> Result<Vec<Zone>> {
        let call = self.api.get(&self.path("")).query([("dnssec", "false")]);
        let zones: Vec<ListedZone> = judged(call.send().await)?;
        Ok(zones.into_iter().map(|zone| Zone { id: zone.id, ..zone_of(&zone.name) }).collect())
    }

    /// What these record sets hold. The whole zone is read: asked for single sets, servers leave out disabled values (4.7.3
    /// does), and those would then be lost.
    async fn read(&self, zone: &Zone, keys: &[Key]) -> Result<HashMap<Key, RecordSet>> {
        let content: ZoneContent = self.content(zone, &[]).await?;
        Ok(pick(keys, [content]))
    }

    /// What these record sets hold after a write: only what is visible counts, so that a few sets can be asked for one by
    /// one.
    async fn read_back(&self, zone: &Zone, keys: &[Key]) -> Result<HashMap<Key, RecordSet>> {
        if keys.len() > SETS_ONE_BY_ONE {
            return self.read(zone, keys).await;
        }
        let contents = try_join_all(keys.iter().map(async |(name, rtype)| {
            self.content(zone, &[("rrset_name", &format!("{name}.")), ("rrset_type", rtype)]).await
        }));
        // Servers that do not know the filter give the whole zone.
        Ok(pick(keys, contents.await?))
    }

    async fn content(&self, zone: &Zone, query: &[(&str, &str)]) -> Result<ZoneContent> {
        let call = self.api.get(&self.path(&format!("/{}", zone.id))).query(query.iter().copied());
        Ok(judged(call.send().await)?)
    }

    /// The new content of a record set: a value that is kept stays as it was, disabled or not.
    fn replacement(
        &self,
        key: &Key,
        current: Option<&RecordSet>,
        add: &[String],
        remove: &[String],
    ) -> Option<Replacement> {
        let there: Vec<String> =
            current.iter().flat_map(|set| &set.records).map(|value| value.content.clone()).collect();
        let merged = merge(&there, add, remove);
        let disabled = |content: &String| {
            let kept = current.iter().flat_map(|set| &set.records).find(|value| value.content == *content);
            kept.is_some_and(|value| value.disabled && !add.contains(content))
        };
        let records: Vec<Value> =
            merged.iter().map(|content| Value { disabled: disabled(content), content: content.clone() }).collect();
        if current.map_or(records.is_empty(), |set| set.records == records) {
            return None;
        }
        let (changetype, ttl) = if records.is_empty() {
            ("DELETE", None)
        } else {
            ("REPLACE", Some(current.map_or(self.ttl, |set| set.ttl)))
        };
        Some(Replacement { name: format!("{}.", key.0), rtype: key.1, changetype, ttl, records })
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

    async fn check(&self, zone: &Zone, _: &[Record]) -> Result<()> {
        let call = self.api.get(&self.path(&format!("/{}", zone.id))).query([("rrsets", "false")]);
        Ok(judged(call.done().await)?)
    }

    async fn apply(&self, zone: &Zone, change: &Change) -> Result<()> {
        let sets = change.by_record_set();
        let keys: Vec<Key> = sets.keys().cloned().collect();
        let _alone = alone(&format!("powerdns-{}", self.place()), zone).await;
        let current = self.read(zone, &keys).await?;
        for (key, (add, _)) in sets.iter().filter(|(key, (add, _))| key.1 == "CNAME" && !add.is_empty()) {
            let mut there = current.get(key).into_iter().flat_map(|set| &set.records);
            if let Some(foreign) = there.find(|value| !add.contains(&value.content)) {
                return Err(alias_in_the_way(&foreign.content, &key.0));
            }
        }
        let replacements: Vec<Replacement> = sets
            .iter()
            .filter_map(|(key, (add, remove))| self.replacement(key, current.get(key), add, remove))
            .collect();
        if replacements.is_empty() {
            return Ok(());
        }
        self.write(zone, &serde_json::json!({ "rrsets": replacements })).await?;
        // Whoever read before this write and writes after it puts the old set back.
        let now = self.read_back(zone, &keys).await?;
        let lost = sets.iter().find(|(key, (add, remove))| !holds(now.get(key), add, remove));
        lost.map_or(Ok(()), |(key, _)| Err(put_back(&self.place(), &key.0)))
    }
}

/// The server's URL: the path of its API is what we know ourselves.
fn base(url: &str) -> &str {
    url.trim_end_matches('/').trim_end_matches("/api/v1")
}

/// Which field to look at.
fn judged<T>(answer: Result<T, Refusal>) -> Result<T, Refusal> {
    answer.map_err(|refusal| match refusal.status.map(|status| status.as_u16()) {
        Some(401 | 403) => refusal.hint("check api_key and webserver-allow-from"),
        Some(404) => refusal.hint("check server_id and zones"),
        _ => refusal,
    })
}

/// The record sets that were asked for.
fn pick(keys: &[Key], contents: impl IntoIterator<Item = ZoneContent>) -> HashMap<Key, RecordSet> {
    let wanted = |set: RecordSet| {
        let name = set.name.trim_end_matches('.').to_ascii_lowercase();
        let key = keys.iter().find(|(owner, rtype)| *owner == name && set.rtype.eq_ignore_ascii_case(rtype))?;
        Some((key.clone(), set))
    };
    contents.into_iter().flat_map(|content| content.rrsets).filter_map(wanted).collect()
}

/// Whether a record set has what was added and nothing of what was removed.
fn holds(set: Option<&RecordSet>, add: &[String], remove: &[String]) -> bool {
    let values: BTreeMap<Vec<u8>, bool> =
        set.iter().flat_map(|set| &set.records).map(|value| (unquote(&value.content), value.disabled)).collect();
    add.iter().all(|value| values.get(&unquote(value)) == Some(&false))
        && remove.iter().all(|value| !values.contains_key(&unquote(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn editor() -> Editor {
        Editor::new("http://127.0.0.1:8081/api/v1/", "planted".to_owned().into()).expect("it builds")
    }

    #[test]
    fn what_is_not_ours_stays_as_it_is() {
        let set = RecordSet {
            name: "example.com.".to_owned(),
            rtype: "TXT".to_owned(),
            ttl: 3600,
            records: vec![
                Value { content: "\"v=spf1 -all\"".to_owned(), disabled: false },
                Value { content: "\"parked\"".to_owned(), disabled: true },
            ],
        };
        let key = ("example.com".to_owned(), "TXT");
        let ours = ["\"ours\"".to_owned()];
        let added = editor().replacement(&key, Some(&set), &ours, &[]).expect("a change");
        assert_eq!((added.changetype, added.ttl), ("REPLACE", Some(3600)));
        assert_eq!(added.records[..2], set.records[..]);
        assert_eq!(added.records[2], Value { content: "\"ours\"".to_owned(), disabled: false });
        assert!(editor().replacement(&key, Some(&set), &[], &ours).is_none(), "nothing of ours is there");
        assert!(editor().replacement(&key, None, &[], &ours).is_none());
        let last = RecordSet { records: vec![added.records[2].clone()], ..set };
        assert_eq!(editor().replacement(&key, Some(&last), &[], &ours).expect("a change").changetype, "DELETE");
    }

    #[test]
    fn the_key_never_shows() {
        assert!(!format!("{:?}", editor()).contains("planted"));
    }
}
