//! Akamai Edge DNS (Edge DNS API, version 2) as a `dcv` provider.
//!
//! All record sets that are not there yet are made by one request, whole or not at all. Those that hold somebody else's values are
//! replaced, each by what was there and ours; those that hold nothing but ours are deleted. Each request makes a new version
//! of the zone, and Akamai refuses one that meets another (409), so they go one after the other. The request that replaces many
//! sets at once is not used: it replaces the whole zone.
//!
//! A replacement cannot be made to depend on what was read. Writers on one machine take turns by a lock file, and after each
//! write the sets are read again, so that a writer elsewhere who put an older set back is noticed and the change made again.
//!
//! # The credentials
//!
//! An API client of its own ("Create authentication credentials") with *READ-WRITE* access to the one API *DNS—Zone Record
//! Management*, in a group that has only the zones concerned ("Group IDs and access level"). Its four parts are given one by one or
//! as the section of an `.edgerc` file that nobody else may read. Signatures hold for seconds: the machine's clock has to be right.

mod edgegrid;

use std::{collections::HashMap, path::PathBuf};

use async_trait::async_trait;
use dcv_provider::{
    Descriptor, ErrorKind, OptionSpec, ProofKind, ProviderError, Result,
    dns::Dns,
    http::{Answer, Api, Call, Refusal, header, segment},
    secret::Secret,
    zone::{
        Change, DEFAULT_TTL, Record, RecordSets, Zone, ZoneEditor, ZoneList, ZoneProvider,
        hosts::{alias_in_the_way, alone, bare, checked_ttl, put_back},
        merge, unquote,
    },
};
use futures_util::future::try_join_all;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use serde_json::json;

use edgegrid::{Credentials, Signed, edgerc};

/// What this provider is.
pub const DESCRIPTOR: Descriptor = Descriptor {
    id: "akamai",
    title: "Akamai Edge DNS",
    proofs: &[ProofKind::Txt, ProofKind::Cname],
    batch: "one request for all new record sets of a zone; one for each that is changed or deleted",
    options: &[
        OptionSpec {
            name: "edgerc",
            help: "An .edgerc file with the credentials, instead of the four that follow",
            required: false,
            secret: false,
        },
        OptionSpec {
            name: "section",
            help: "The section of that file, `default` unless given",
            required: false,
            secret: false,
        },
        OptionSpec { name: "host", help: "The API client's `host`", required: false, secret: true },
        OptionSpec { name: "client_token", help: "The API client's `client_token`", required: false, secret: true },
        OptionSpec { name: "client_secret", help: "The API client's `client_secret`", required: false, secret: true },
        OptionSpec { name: "access_token", help: "The API client's `access_token`", required: false, secret: true },
        OptionSpec {
            name: "ttl",
            help: "TTL of new record sets in seconds, 60 unless given",
            required: false,
            secret: false,
        },
        OptionSpec {
            name: "base_url",
            help: "Base URL of the API, https://HOST/config-dns/v2 unless given",
            required: false,
            secret: false,
        },
    ],
    example: r#"type = "akamai"
edgerc = "/etc/dcv/edgerc"
section = "dns"
"#,
};

/// Up to this many record sets are read one by one; beyond that all texts and aliases of the zone are.
const SETS_ONE_BY_ONE: usize = 4;

/// The configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// An `.edgerc` file.
    pub edgerc: Option<PathBuf>,
    /// Its section.
    pub section: Option<String>,
    /// The host of the API client.
    pub host: Option<Secret>,
    /// Its client token.
    pub client_token: Option<Secret>,
    /// Its client secret.
    pub client_secret: Option<Secret>,
    /// Its access token.
    pub access_token: Option<Secret>,
    /// TTL of new record sets in seconds.
    pub ttl: Option<u32>,
    /// Base URL of the API.
    pub base_url: Option<String>,
}

impl Config {
    async fn credentials(&self) -> Result<(String, Credentials)> {
        let wrong = |message: String| ProviderError::new(ErrorKind::Config, message);
        let parts = [
            ("host", &self.host),
            ("client_token", &self.client_token),
            ("client_secret", &self.client_secret),
            ("access_token", &self.access_token),
        ];
        if let Some(file) = &self.edgerc {
            if let Some((name, _)) = parts.iter().find(|(_, part)| part.is_some()) {
                return Err(wrong(format!("{name}: it is in the edgerc file; give one or the other")));
            }
            let text = Secret::File { file: file.clone() }.read("edgerc").await?;
            return edgerc(&text, self.section.as_deref().unwrap_or("default"));
        }
        if self.section.is_some() {
            return Err(wrong("section: it is of an edgerc file; give `edgerc` too".to_owned()));
        }
        let mut read = Vec::new();
        for (name, part) in parts {
            let missing = || wrong(format!("{name}: it is missing; give it, or an `edgerc` file"));
            read.push(part.as_ref().ok_or_else(missing)?.read(name).await?);
        }
        let [host, client_token, client_secret, access_token]: [_; 4] = read.try_into().expect("four parts were read");
        Ok((host.expose_secret().to_owned(), Credentials { client_token, client_secret, access_token }))
    }
}

/// The provider.
pub type Akamai = ZoneProvider<Editor>;

/// Sets the provider up from a configuration; `dns` is where delegated aliases are asked about.
///
/// # Errors
/// [`ErrorKind::Config`] naming the field.
pub async fn from_config(config: Config, dns: Option<Dns>) -> Result<Akamai> {
    let ttl = checked_ttl(config.ttl, "Akamai", DEFAULT_TTL, 1)?;
    let (host, credentials) = config.credentials().await?;
    let base = config.base_url.unwrap_or_else(|| {
        let host = host.trim_start_matches("https://").trim_end_matches('/');
        format!("https://{host}/config-dns/v2")
    });
    let api = Api::new(&base)?
        .hiding(&credentials.client_token)
        .hiding(&credentials.client_secret)
        .hiding(&credentials.access_token);
    Ok(ZoneProvider::new(Editor { api, credentials, ttl, listed: ZoneList::default() }, dns))
}

/// Changes zones record set by record set.
pub struct Editor {
    api: Api,
    credentials: Credentials,
    ttl: u32,
    /// The zones that the API client can see.
    listed: ZoneList,
}

impl std::fmt::Debug for Editor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Editor").field("api", &self.api).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Zones {
    #[serde(default)]
    zones: Vec<ListedZone>,
}

#[derive(Deserialize)]
struct ListedZone {
    zone: String,
    #[serde(rename = "type", default)]
    role: String,
}

#[derive(Deserialize)]
struct Sets {
    #[serde(default)]
    recordsets: Vec<Set>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Set {
    name: String,
    #[serde(rename = "type")]
    rtype: String,
    ttl: u32,
    rdata: Vec<String>,
}

/// Owner and type of a record set.
type Key = (String, &'static str);

/// What a record set holds, an alias that differs from a wanted one in nothing but case or its final dot being the wanted one.
fn rdata(key: &Key, set: Option<&Set>, wanted: &[String]) -> Vec<String> {
    let here = set.map(|set| set.rdata.as_slice()).unwrap_or_default();
    let spelt = |data: &String| {
        let alias = wanted.iter().find(|wanted| key.1 == "CNAME" && bare(wanted) == bare(data));
        alias.unwrap_or(data).clone()
    };
    here.iter().map(spelt).collect()
}

/// What a record set is to hold, if that is something else than it does.
fn merged(key: &Key, set: Option<&Set>, add: &[String], remove: &[String]) -> Option<Vec<String>> {
    let there = rdata(key, set, &[add, remove].concat());
    let merged = merge(&there, add, remove);
    (merged != there).then_some(merged)
}

fn refused(refusal: Refusal) -> ProviderError {
    let said = refusal.body["detail"].as_str().unwrap_or_default().to_ascii_lowercase();
    if refusal.is(400) && said.contains("timestamp") {
        return refusal.but(ErrorKind::Credentials).hint("check this machine's clock").error;
    }
    let denied = refusal.error.kind == ErrorKind::Credentials;
    let way_out = "check the four credentials and that the API client may read and write zone records";
    if denied { refusal.hint(way_out).error } else { refusal.error }
}

impl Editor {
    /// Signs a call, which must be complete, and sends it.
    async fn send(&self, call: Call<'_>) -> Result<Answer, Refusal> {
        let (method, url, body) = call.parts();
        let path = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
        let host = self.api.place();
        let request = Signed { method: method.as_str(), scheme: url.scheme(), host: &host, path: &path, body };
        let signature = self.credentials.authorize(&request);
        let value = header::HeaderValue::try_from(signature.expose_secret());
        let mut value = value.map_err(|_| {
            let message = "the tokens have characters that no token has; read them again";
            Refusal::unsent(ProviderError::new(ErrorKind::Config, message))
        })?;
        value.set_sensitive(true);
        call.header(header::AUTHORIZATION, value).answer().await
    }

    /// The zones that can be changed: secondaries and aliases are copies.
    async fn zones(&self) -> Result<Vec<Zone>> {
        let answer = self.send(self.api.get("/zones").query([("showAll", "true")])).await.map_err(refused)?;
        let zone = |zone: ListedZone| {
            let apex = bare(&zone.zone);
            Zone { id: apex.clone(), apex }
        };
        let listed: Zones = answer.json()?;
        Ok(listed.zones.into_iter().filter(|zone| zone.role.eq_ignore_ascii_case("primary")).map(zone).collect())
    }

    fn path(zone: &Zone, (name, rtype): &Key) -> String {
        format!("/zones/{}/names/{}/types/{rtype}", segment(&zone.id), segment(name))
    }

    /// Those of the record sets that are there.
    async fn read(&self, zone: &Zone, keys: &[&Key]) -> Result<HashMap<Key, Set>> {
        let sets = if keys.len() <= SETS_ONE_BY_ONE {
            let one = async |key: &&Key| match self.send(self.api.get(&Self::path(zone, key))).await {
                Ok(answer) => Ok(Some(answer.json::<Set>()?)),
                Err(refusal) if refusal.is(404) => Ok(None),
                Err(refusal) => Err(refused(refusal)),
            };
            try_join_all(keys.iter().map(one)).await?.into_iter().flatten().collect()
        } else {
            let call = self.api.get(&format!("/zones/{}/recordsets", segment(&zone.id)));
            let call = call.query([("types", "TXT,CNAME"), ("showAll", "true")]);
            self.send(call).await.map_err(refused)?.json::<Sets>()?.recordsets
        };
        let wanted = |set: Set| {
            let name = set.name.trim_end_matches('.').to_ascii_lowercase();
            let key = keys.iter().find(|key| key.0 == name && key.1 == set.rtype)?;
            Some(((*key).clone(), set))
        };
        Ok(sets.into_iter().filter_map(wanted).collect())
    }

    /// Makes record sets that are not there, all of them or none.
    async fn create(&self, zone: &Zone, sets: &[Set]) -> Result<()> {
        let call = self.api.post(&format!("/zones/{}/recordsets", segment(&zone.id)));
        self.send(call.json(&json!({ "recordsets": sets }))).await.map(drop).map_err(refused)
    }

    /// Replaces a record set that is there; without values it is deleted.
    async fn replace(&self, zone: &Zone, key: &Key, set: &Set, rdata: Vec<String>) -> Result<()> {
        let path = Self::path(zone, key);
        if rdata.is_empty() {
            return match self.send(self.api.delete(&path)).await {
                // Somebody else has deleted it.
                Err(refusal) if refusal.is(404) => Ok(()),
                other => other.map(drop).map_err(refused),
            };
        }
        let set = Set { rdata, name: key.0.clone(), ..set.clone() };
        match self.send(self.api.put(&path).json(&set)).await {
            // Somebody else has deleted it, so that it has to be made.
            Err(refusal) if refusal.is(404) => Err(refusal.but(ErrorKind::Conflict).into()),
            other => other.map(drop).map_err(refused),
        }
    }

    /// Makes the change; whether something had to be done.
    async fn write(&self, zone: &Zone, sets: &RecordSets, there: &HashMap<Key, Set>) -> Result<bool> {
        let mut new = Vec::new();
        let mut changed = Vec::new();
        for (key, (add, remove)) in sets {
            let set = there.get(key);
            match (merged(key, set, add, remove), set) {
                (Some(rdata), Some(set)) => changed.push((key, set, rdata)),
                (Some(rdata), None) => {
                    new.push(Set { name: key.0.clone(), rtype: key.1.to_owned(), ttl: self.ttl, rdata });
                }
                (None, _) => {}
            }
        }
        let open = !(new.is_empty() && changed.is_empty());
        if !new.is_empty() {
            self.create(zone, &new).await?;
        }
        for (key, set, rdata) in changed {
            let replaced = self.replace(zone, key, set, rdata).await;
            replaced.map_err(|error| error.about([key.0.as_str()]))?;
        }
        Ok(open)
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

    /// That the API client can read the zone. Whether it may write Akamai tells only who writes.
    async fn check(&self, zone: &Zone, _: &[Record]) -> Result<()> {
        let call = self.api.get(&format!("/zones/{}", segment(&zone.id)));
        self.send(call).await.map(drop).map_err(refused)
    }

    async fn apply(&self, zone: &Zone, change: &Change) -> Result<()> {
        let sets = change.by_record_set();
        let keys: Vec<&Key> = sets.keys().collect();
        let _alone = alone(&format!("akamai-{}", self.api.place()), zone).await;
        let there = self.read(zone, &keys).await?;
        for (key, (add, _)) in sets.iter().filter(|(key, (add, _))| key.1 == "CNAME" && !add.is_empty()) {
            if let Some(foreign) = rdata(key, there.get(key), add).iter().find(|target| !add.contains(target)) {
                return Err(alias_in_the_way(foreign, &key.0));
            }
        }
        if !self.write(zone, &sets, &there).await? {
            return Ok(());
        }
        // Whoever read before this write and writes after it puts the old set back.
        let now = self.read(zone, &keys).await?;
        let holds = |(key, (add, remove)): (&Key, &(Vec<String>, Vec<String>))| {
            let says: Vec<_> =
                rdata(key, now.get(key), &[add.as_slice(), remove].concat()).iter().map(|data| unquote(data)).collect();
            add.iter().all(|data| says.contains(&unquote(data)))
                && !remove.iter().any(|data| says.contains(&unquote(data)))
        };
        let lost = sets.iter().find(|set| !holds(*set));
        lost.map_or(Ok(()), |(key, _)| Err(put_back(&self.place(), &key.0)))
    }
}
