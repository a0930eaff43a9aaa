//! The DNS hosts of the crate [`dns-update`](https://docs.rs/dns-update) as one plugin: a wide tail of hosts that have no type of their own in `dcv`.
//! [The table](../README.md) says which, and what each wants to know.
//!
//! The crate knows the hosts' APIs. This one decides what is put around them, so that the contract of
//! [`DcvProvider`](dcv_provider::DcvProvider) holds: where the crate writes whole record sets or zones, writers on this machine take turns, and what was
//! written is read back; an alias that is somebody else's is never replaced; hosts of which foreign values could not be kept are refused. It never
//! uses the crate's `set_rrset`, which throws foreign values away.
//!
//! Nobody has tried these hosts with an account for this project. What is tested is RFC 2136 against BIND and PowerDNS's API against PowerDNS: one host
//! that writes values, and one that writes record sets.

mod hosts;

use std::{collections::BTreeMap, net::SocketAddr};

use async_trait::async_trait;
use dcv_provider::{
    Descriptor, ErrorKind, OptionSpec, ProofKind, ProviderError, Result,
    dns::Dns,
    zone::{
        Change, DEFAULT_TTL, RecordData, Zone, ZoneEditor, ZoneProvider,
        hosts::{alias_in_the_way, alone, bare, checked_ttl, each, put_back},
        longest_suffix, unquote,
    },
};
use dns_update::{DnsRecord, DnsRecordType, DnsUpdater, Error};
use hosts::{Host, Writes};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::Value;

/// How many record sets are changed at the same time, at hosts where they are independent of each other.
const AT_ONCE: usize = 8;

/// What this provider is.
pub const DESCRIPTOR: Descriptor = Descriptor {
    id: "dns-update",
    title: "DNS hosts of the crate dns-update",
    proofs: &[ProofKind::Txt, ProofKind::Cname],
    batch: "one name at a time, in two to five requests",
    options: &[
        OptionSpec {
            name: "host",
            help: "Which host: `porkbun`, `ionos` …; an unknown name is answered with all that are known. Its own fields stand beside this one",
            required: true,
            secret: false,
        },
        OptionSpec { name: "zones", help: "The zones there", required: true, secret: false },
        OptionSpec {
            name: "resolvers",
            help: "Who is asked where aliases lead; the system's resolvers unless given, nobody if empty",
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
            name: "rewrites_zone",
            help: "`\"accepted\"` for hosts that write the whole zone each time, where somebody else's change of the same moment is lost",
            required: false,
            secret: false,
        },
    ],
    example: r#"type = "plugin"
path = "/usr/lib/dcv/libdcv_dns_update.so"

[provider.NAME.config]
host = "porkbun"
zones = ["example.com"]
api_key = { file = "/etc/dcv/porkbun.key" }
secret_api_key = { file = "/etc/dcv/porkbun.secret" }
"#,
};

/// The configuration. It has no `Debug`: the host's own fields may be secrets.
#[derive(Clone, Deserialize)]
pub struct Config {
    /// The host's name in the table.
    pub host: String,
    /// The zones there.
    #[serde(default)]
    pub zones: Vec<String>,
    /// Who is asked where aliases lead.
    pub resolvers: Option<Vec<SocketAddr>>,
    /// TTL of new records.
    pub ttl: Option<u32>,
    /// Whether the whole zone may be written each time.
    pub rewrites_zone: Option<RewritesZone>,
    /// The host's own fields.
    #[serde(flatten)]
    pub fields: BTreeMap<String, Value>,
}

/// The word by which somebody says that he knows what [`Writes::Zone`] means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RewritesZone {
    /// He does.
    Accepted,
}

/// The provider.
pub type DnsUpdate = ZoneProvider<Editor>;

/// Sets the provider up from a configuration.
///
/// # Errors
/// [`ErrorKind::Config`] naming the field.
pub async fn from_config(config: Config) -> Result<DnsUpdate> {
    let wrong = |message: String| Err(ProviderError::new(ErrorKind::Config, message));
    let host = hosts::find(&config.host)?;
    if host.writes == Writes::Zone && config.rewrites_zone.is_none() {
        return wrong(format!(
            "rewrites_zone: `{}` can only write the whole zone, and a change that somebody else makes meanwhile is lost; where nobody else \
             does, give rewrites_zone = \"accepted\"",
            host.id
        ));
    }
    let (updater, secrets) = host.open(&config.fields).await?;
    let dns = match config.resolvers {
        Some(resolvers) if resolvers.is_empty() => None,
        Some(resolvers) => Some(Dns::new(resolvers)),
        None => Dns::system().ok(),
    };
    let zones: Vec<Zone> =
        config.zones.iter().map(|zone| bare(zone)).map(|apex| Zone { id: apex.clone(), apex }).collect();
    if zones.is_empty() {
        return wrong("zones: none are given; give the zones at the host".to_owned());
    }
    let ttl = checked_ttl(config.ttl, host.title, DEFAULT_TTL, 1)?;
    Ok(ZoneProvider::new(Editor { host, updater, secrets, zones, ttl }, dns))
}

/// Changes record sets by the crate.
pub struct Editor {
    host: &'static Host,
    updater: DnsUpdater,
    /// What errors must not show.
    secrets: Vec<SecretString>,
    zones: Vec<Zone>,
    ttl: u32,
}

/// Values of one record set that are to be there, or not to be there.
struct Wanted<'c> {
    name: &'c str,
    rtype: DnsRecordType,
    data: Vec<&'c RecordData>,
}

/// What is wanted, record set by record set: the crate takes one for each call, and writers of the same one would be in each other's way.
fn by_record_set(records: &[dcv_provider::zone::Record]) -> Vec<Wanted<'_>> {
    let mut sets: BTreeMap<(&str, &str), Vec<&RecordData>> = BTreeMap::new();
    for record in records {
        sets.entry((&record.name, record.data.rtype())).or_default().push(&record.data);
    }
    let rtype = |name: &str| if name == "TXT" { DnsRecordType::TXT } else { DnsRecordType::CNAME };
    sets.into_iter().map(|((name, word), data)| Wanted { name, rtype: rtype(word), data }).collect()
}

fn record(data: &RecordData) -> DnsRecord {
    match data {
        RecordData::Txt(text) => DnsRecord::TXT(text.clone()),
        RecordData::Cname(target) => DnsRecord::CNAME(target.clone()),
    }
}

/// Whether a host shows this, whatever quotes and final dots it puts there.
fn shows(there: &[DnsRecord], data: &RecordData) -> bool {
    there.iter().any(|there| match (there, data) {
        (DnsRecord::TXT(shown), RecordData::Txt(text)) => {
            shown == text || shown.starts_with('"') && unquote(shown) == text.as_bytes()
        }
        (DnsRecord::CNAME(shown), RecordData::Cname(target)) => {
            shown.trim_end_matches('.').eq_ignore_ascii_case(target)
        }
        _ => false,
    })
}

fn alias(there: &[DnsRecord]) -> Option<&str> {
    there.iter().find_map(|there| match there {
        DnsRecord::CNAME(target) => Some(target.trim_end_matches('.')),
        _ => None,
    })
}

impl Editor {
    fn told(&self, error: &Error) -> ProviderError {
        let message = format!("{}: {error}", self.host.title);
        ProviderError::new(kind_of(error), dcv_provider::secret::hide(message, &self.secrets))
    }

    /// The one place where each of the crate's calls is made: they are generic, and would be compiled again, for all hosts, in every other.
    async fn list(&self, zone: &Zone, name: &str, rtype: DnsRecordType) -> Result<Vec<DnsRecord>> {
        match self.updater.list_rrset(name, rtype, zone.apex.as_str()).await {
            Err(Error::NotFound) => Ok(Vec::new()),
            other => other.map_err(|error| self.told(&error).about([name])),
        }
    }

    async fn add(&self, zone: &Zone, wanted: &Wanted<'_>) -> Result<()> {
        let Wanted { name, rtype, data } = wanted;
        if *rtype == DnsRecordType::CNAME {
            let there = self.list(zone, name, *rtype).await?;
            if data.iter().all(|data| shows(&there, data)) {
                return Ok(());
            }
            // Many servers would replace it.
            if let Some(target) = alias(&there) {
                return Err(alias_in_the_way(target, name));
            }
        }
        let records = data.iter().map(|data| record(data)).collect();
        let added = self.updater.add_to_rrset(*name, *rtype, self.ttl, records, zone.apex.as_str()).await;
        added.map_err(|error| self.told(&error).about([*name]))
    }

    async fn remove(&self, zone: &Zone, wanted: &Wanted<'_>) -> Result<()> {
        let Wanted { name, rtype, data } = wanted;
        let records = data.iter().map(|data| record(data)).collect();
        match self.updater.remove_from_rrset(*name, *rtype, records, zone.apex.as_str()).await {
            // Gone already.
            Err(Error::NotFound) => Ok(()),
            other => other.map_err(|error| self.told(&error).about([*name])),
        }
    }

    /// Whether what was added is there.
    async fn is_there(&self, zone: &Zone, wanted: &Wanted<'_>) -> Result<()> {
        let Wanted { name, rtype, data } = wanted;
        let there = self.list(zone, name, *rtype).await?;
        if data.iter().all(|data| shows(&there, data)) {
            return Ok(());
        }
        if self.host.writes != Writes::Update {
            return Err(put_back(self.host.title, name));
        }
        let other = self.list(zone, name, DnsRecordType::CNAME).await?;
        Err(alias(&other).map_or_else(
            || {
                let message = "the server has left it out: something else is at the name, beside which it cannot be";
                ProviderError::new(ErrorKind::Rejected, message).about([*name])
            },
            |target| alias_in_the_way(target, name),
        ))
    }

    /// Whether what was removed is gone.
    async fn is_gone(&self, zone: &Zone, wanted: &Wanted<'_>) -> Result<()> {
        let there = self.list(zone, wanted.name, wanted.rtype).await?;
        let gone = !wanted.data.iter().any(|data| shows(&there, data));
        if gone { Ok(()) } else { Err(put_back(self.host.title, wanted.name)) }
    }
}

#[async_trait]
impl ZoneEditor for Editor {
    fn descriptor(&self) -> &Descriptor {
        const { &DESCRIPTOR }
    }

    fn place(&self) -> String {
        self.host.title.to_owned()
    }

    async fn find_zone(&self, name: &str) -> Result<Option<Zone>> {
        Ok(longest_suffix(&self.zones, name).cloned())
    }

    /// That the zone can be read. Whether it may be written hosts tell only who writes; and RFC 2136 lets everybody read.
    async fn check(&self, zone: &Zone, records: &[dcv_provider::zone::Record]) -> Result<()> {
        let name = records.first().map_or(zone.apex.as_str(), |record| &record.name);
        self.list(zone, name, DnsRecordType::TXT).await.map(drop)
    }

    async fn apply(&self, zone: &Zone, change: &Change) -> Result<()> {
        // Hosts of whole record sets do not always keep writers of different ones apart.
        let (takes_turns, at_once) = match self.host.writes {
            Writes::Record | Writes::Update => (false, AT_ONCE),
            Writes::Set | Writes::Zone => (true, 1),
        };
        let _alone = if takes_turns { alone(&format!("dns-update-{}", self.host.id), zone).await } else { None };
        let (add, remove) = (by_record_set(&change.add), by_record_set(&change.remove));
        each(add.iter().map(|wanted| self.add(zone, wanted)).collect::<Vec<_>>(), at_once).await?;
        each(remove.iter().map(|wanted| self.remove(zone, wanted)).collect::<Vec<_>>(), at_once).await?;
        if self.host.writes != Writes::Record {
            each(add.iter().map(|wanted| self.is_there(zone, wanted)).collect::<Vec<_>>(), AT_ONCE).await?;
            each(remove.iter().map(|wanted| self.is_gone(zone, wanted)).collect::<Vec<_>>(), AT_ONCE).await?;
        }
        Ok(())
    }
}

/// The kind of an error. The crate has most of what hosts say as text alone.
fn kind_of(error: &Error) -> ErrorKind {
    match error {
        Error::Unauthorized => ErrorKind::Credentials,
        Error::NotFound => ErrorKind::NotServed,
        Error::Unsupported(_) => ErrorKind::Unsupported,
        Error::InvalidRegion => ErrorKind::Config,
        // Of the network; of a server's TSIG.
        Error::Client(said) | Error::Protocol(said) => kind_of_text(said).unwrap_or(ErrorKind::Unavailable),
        Error::Response(said) | Error::Api(said) => kind_of_text(said).unwrap_or(ErrorKind::Rejected),
        Error::Serialize(_) => ErrorKind::Unavailable,
        _ => ErrorKind::Rejected,
    }
}

/// By words for what happens on the way; by the first number that can be an HTTP status; by other words.
fn kind_of_text(said: &str) -> Option<ErrorKind> {
    let text = said.to_ascii_lowercase();
    let says = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
    if says(&[
        "failed to send request",
        "error sending request",
        "failed to read response",
        "timed out",
        "timeout",
        "connection",
        "server failure",
    ]) {
        return Some(ErrorKind::Unavailable);
    }
    let words = said.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| word.len() == 3);
    if let Some(status) = words.filter_map(|word| word.parse::<u16>().ok()).find(|status| (400..600).contains(status)) {
        return Some(match status {
            401 | 403 => ErrorKind::Credentials,
            404 => ErrorKind::NotServed,
            408 | 500.. => ErrorKind::Unavailable,
            409 | 412 => ErrorKind::Conflict,
            429 => ErrorKind::RateLimited,
            _ => ErrorKind::Rejected,
        });
    }
    let credentials = [
        "unauthor",
        "not authorized",
        "authenticat",
        "forbidden",
        "access denied",
        "permission",
        "credential",
        "login failed",
    ];
    let tsig = ["query refused", "tsig", "badsig", "badkey", "badtime"];
    if says(&["too many", "rate limit", "throttl"]) {
        Some(ErrorKind::RateLimited)
    } else if says(&credentials) || says(&tsig) {
        Some(ErrorKind::Credentials)
    } else if says(&["not found", "no data found", "not zone"]) || text.starts_with("no ") {
        Some(ErrorKind::NotServed)
    } else {
        None
    }
}

dcv_plugin::export_provider!(DESCRIPTOR, |config: Config| from_config(config));

#[cfg(test)]
mod tests;
