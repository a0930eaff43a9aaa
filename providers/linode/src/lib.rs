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
    secret::Secret,
    zone::{Change, Record, RecordData, Zone, ZoneEditor, ZoneList, ZoneProvider, unquote},
};
use futures_util::future::{join_all, try_join_all};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

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
/// How many requests that change something are under way at once.
const AT_ONCE: usize = 8;

/// The configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The personal access token.
    pub token: Secret,
    /// TTL of new records in seconds.
    pub ttl: Option<u32>,
    /// Base URL of the API.
    pub base_url: Option<String>,
}

/// The provider.
pub type Linode = ZoneProvider<Editor>;

/// Sets the provider up from a configuration; `dns` is where delegated aliases are asked about.
///
/// # Errors
/// [`ErrorKind::Config`] naming the field.
pub async fn from_config(config: Config, dns: Option<Dns>) -> Result<Linode> {
    let ttl = config.ttl.unwrap_or(LEAST_TTL);
    if ttl < LEAST_TTL {
        let message = format!("ttl: {ttl} is less than Linode has; give {LEAST_TTL} or more");
        return Err(ProviderError::new(ErrorKind::Config, message));
    }
    let token = config.token.read("token").await?;
    let api = Api::new(config.base_url.as_deref().unwrap_or(BASE_URL))?.bearer("token", &token)?;
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

#[derive(Clone, Debug, Deserialize)]
struct Listed {
    id: u64,
    #[serde(rename = "type")]
    rtype: String,
    /// Relative to the domain; empty for the domain itself.
    #[serde(default)]
    name: String,
    #[serde(default)]
    target: String,
}

impl Listed {
    fn is(&self, zone: &Zone, record: &Record) -> bool {
        self.name.eq_ignore_ascii_case(relative(zone, &record.name))
            && self.rtype == record.data.rtype()
            && match &record.data {
                // A text that somebody has put into quotes says the same.
                RecordData::Txt(text) => {
                    self.target == *text || self.target.starts_with('"') && unquote(&self.target) == text.as_bytes()
                }
                RecordData::Cname(target) => self.target.trim_end_matches('.').eq_ignore_ascii_case(target),
            }
    }
}

/// A name as Linode has it.
fn relative<'n>(zone: &Zone, name: &'n str) -> &'n str {
    name.strip_suffix(&zone.apex).map_or(name, |rest| rest.trim_end_matches('.'))
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

    /// What is there at these names.
    async fn read(&self, zone: &Zone, names: &[&str]) -> Result<Vec<Listed>> {
        let filters: Vec<Value> = if names.len() <= NAMES_IN_FILTER {
            names.iter().map(|name| json!({ "name": relative(zone, name) })).collect()
        } else {
            vec![json!({ "type": "TXT" }), json!({ "type": "CNAME" })]
        };
        let path = format!("/domains/{}/records", zone.id);
        self.list(&path, Some(&json!({ "+or": filters }))).await
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
        match self.api.post(&format!("/domains/{}/records", zone.id)).json(&body).done().await {
            // Somebody else may have added the very same a moment ago.
            Err(refusal) if refusal.is(400) => {
                let there = self.read(zone, &[&record.name]).await?;
                if there.iter().any(|listed| listed.is(zone, record)) { Ok(()) } else { Err(refused(refusal)) }
            }
            other => other.map_err(refused),
        }
        .map_err(|error| error.about([record.name.as_str()]))
    }

    async fn remove(&self, zone: &Zone, listed: &Listed) -> Result<()> {
        match self.api.delete(&format!("/domains/{}/records/{}", zone.id, listed.id)).done().await {
            // Somebody else has deleted it.
            Err(refusal) if refusal.is(404) => Ok(()),
            other => other.map_err(refused),
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
        let mut names: Vec<&str> = change.add.iter().chain(&change.remove).map(|record| record.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let there = self.read(zone, &names).await?;
        let missing: Vec<&Record> =
            change.add.iter().filter(|record| !there.iter().any(|listed| listed.is(zone, record))).collect();
        for record in &missing {
            let at_name = |listed: &&Listed| listed.rtype == "CNAME" && listed.name == relative(zone, &record.name);
            if let Some(foreign) = there.iter().find(at_name) {
                let message = format!("an alias of {} is there, which is not ours", foreign.target);
                return Err(ProviderError::new(ErrorKind::Rejected, message).about([record.name.as_str()]));
            }
        }
        let gone: Vec<&Listed> =
            there.iter().filter(|listed| change.remove.iter().any(|record| listed.is(zone, record))).collect();
        // Requests that are under way are waited for even when one fails: nothing is to be written after the error is known.
        for some in missing.chunks(AT_ONCE) {
            join_all(some.iter().map(|record| self.add(zone, record))).await.into_iter().collect::<Result<()>>()?;
        }
        for some in gone.chunks(AT_ONCE) {
            join_all(some.iter().map(|listed| self.remove(zone, listed))).await.into_iter().collect::<Result<()>>()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_compared_by_what_they_say() {
        let zone = Zone { apex: "example.com".to_owned(), id: "1".to_owned() };
        let listed = |name: &str, rtype: &str, target: &str| Listed {
            id: 1,
            rtype: rtype.to_owned(),
            name: name.to_owned(),
            target: target.to_owned(),
        };
        let txt = |name: &str, text: &str| Record { name: name.to_owned(), data: RecordData::Txt(text.to_owned()) };
        for (name, target, owner, text, same) in [
            ("_dnsauth", "abc", "_dnsauth.example.com", "abc", true),
            ("_dnsauth", "\"abc\"", "_dnsauth.example.com", "abc", true),
            ("_dnsauth", "a\"b", "_dnsauth.example.com", "a\"b", true),
            ("_dnsauth", "Abc", "_dnsauth.example.com", "abc", false),
            ("_dnsauth.www", "abc", "_dnsauth.example.com", "abc", false),
            ("", "abc", "example.com", "abc", true),
        ] {
            assert_eq!(listed(name, "TXT", target).is(&zone, &txt(owner, text)), same, "{name} {target} and {owner}");
        }
        let alias = Record { name: "a.example.com".to_owned(), data: RecordData::Cname("T.example.net".to_owned()) };
        assert!(listed("a", "CNAME", "t.example.net.").is(&zone, &alias));
        assert!(!listed("a", "TXT", "T.example.net").is(&zone, &alias));
    }
}
