//! OVHcloud's DNS zones (API 1.0) as a `dcv` provider.
//!
//! Every value is a record of its own with an id, so nothing is ever replaced; requests of one zone go eight at a time. The list of
//! records has ids only, so that each record at a name is read by itself. Changes show on the name servers after the zone
//! has been refreshed, which is done once for each change, and also where nothing was missing: an earlier run may have died
//! before its own refresh.
//!
//! # The keys
//!
//! An application key and secret, and a consumer key of that application which has been granted, for the zone `example.com` alone:
//! `GET /domain/zone`, `GET /domain/zone/example.com`, `GET`, `POST` and `DELETE /domain/zone/example.com/record*`, `POST
//! /domain/zone/example.com/refresh`. Requests are signed with the time of OVHcloud's own clock.

use std::{
    fmt::Write,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use dcv_provider::{
    Descriptor, ErrorKind, OptionSpec, ProofKind, ProviderError, Result,
    dns::Dns,
    http::{Api, Call, Refusal, header, segment},
    secret::Secret,
    zone::{
        Change, DEFAULT_TTL, Record, RecordData, Zone, ZoneEditor, ZoneList, ZoneProvider,
        hosts::{ById, Listed, absolute, change_by_id, checked_ttl, relative},
    },
};
use futures_util::future::try_join_all;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use sha1::{Digest, Sha1};

/// What this provider is.
pub const DESCRIPTOR: Descriptor = Descriptor {
    id: "ovh",
    title: "OVHcloud DNS",
    proofs: &[ProofKind::Txt, ProofKind::Cname],
    batch: "one request per record, eight at a time, and one refresh",
    options: &[
        OptionSpec { name: "application_key", help: "Key of the application", required: true, secret: true },
        OptionSpec { name: "application_secret", help: "Secret of the application", required: true, secret: true },
        OptionSpec {
            name: "consumer_key",
            help: "Consumer key that was granted the zones' records and refresh",
            required: true,
            secret: true,
        },
        OptionSpec {
            name: "ttl",
            help: "TTL of new records in seconds, 60 unless given",
            required: false,
            secret: false,
        },
        OptionSpec {
            name: "base_url",
            help: "ovh-eu, ovh-ca, ovh-us or the base URL of an API; ovh-eu unless given",
            required: false,
            secret: false,
        },
    ],
    example: r#"type = "ovh"
application_key = { file = "/etc/dcv/ovh.application" }
application_secret = { file = "/etc/dcv/ovh.secret" }
consumer_key = { file = "/etc/dcv/ovh.consumer" }
"#,
};

/// The API of the European accounts.
pub const BASE_URL: &str = "https://api.eu.ovhcloud.com/1.0";

/// The APIs by the names that OVHcloud's own clients have for them.
const ENDPOINTS: [(&str, &str); 3] = [
    ("ovh-eu", BASE_URL),
    ("ovh-ca", "https://api.ca.ovhcloud.com/1.0"),
    ("ovh-us", "https://api.us.ovhcloud.com/1.0"),
];

/// How many requests that read are under way at once.
const AT_ONCE: usize = 8;

/// The configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Key of the application.
    pub application_key: Secret,
    /// Secret of the application.
    pub application_secret: Secret,
    /// Consumer key.
    pub consumer_key: Secret,
    /// TTL of new records in seconds.
    pub ttl: Option<u32>,
    /// Name or base URL of the API.
    pub base_url: Option<String>,
}

/// The provider.
pub type Ovh = ZoneProvider<Editor>;

/// Sets the provider up from a configuration; `dns` is where delegated aliases are asked about.
///
/// # Errors
/// [`ErrorKind::Config`] naming the field.
pub async fn from_config(config: Config, dns: Option<Dns>) -> Result<Ovh> {
    let ttl = checked_ttl(config.ttl, "OVHcloud", DEFAULT_TTL, 1)?;
    let base_url = config.base_url.as_deref().unwrap_or(BASE_URL);
    let base_url = ENDPOINTS.iter().find(|(name, _)| *name == base_url).map_or(base_url, |(_, url)| url);
    let application_secret = config.application_secret.read("application_secret").await?;
    let consumer_key = config.consumer_key.read("consumer_key").await?;
    let api = Api::new(base_url)?
        .credential("application_key", "x-ovh-application", "", &config.application_key.read("application_key").await?)?
        .credential("consumer_key", "x-ovh-consumer", "", &consumer_key)?
        .hiding(&application_secret);
    let editor = Editor {
        api,
        ttl,
        application_secret,
        consumer_key,
        ahead: tokio::sync::OnceCell::new(),
        listed: ZoneList::default(),
    };
    Ok(ZoneProvider::new(editor, dns))
}

/// Changes zones record by record.
#[derive(Debug)]
pub struct Editor {
    api: Api,
    ttl: u32,
    application_secret: SecretString,
    consumer_key: SecretString,
    /// How many seconds OVHcloud's clock is ahead of ours.
    ahead: tokio::sync::OnceCell<i64>,
    /// The zones that the consumer key can see.
    listed: ZoneList,
}

#[derive(Deserialize)]
struct ZoneRecord {
    id: u64,
    #[serde(rename = "fieldType")]
    rtype: String,
    /// Relative to the zone; empty for the zone itself.
    #[serde(rename = "subDomain", default)]
    name: Option<String>,
    #[serde(default)]
    target: String,
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// The signature of a request ("First steps with the OVHcloud APIs"): made over the method, the whole URL, the body and the time.
fn signature(secret: &SecretString, consumer: &SecretString, call: &Call<'_>, time: i64) -> String {
    let (method, url, body) = call.parts();
    let mut hash = Sha1::new();
    hash.update(format!("{}+{}+{method}+{url}+", secret.expose_secret(), consumer.expose_secret()));
    hash.update(body);
    hash.update(format!("+{time}"));
    hash.finalize().iter().fold("$1$".to_owned(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn refused(refusal: Refusal) -> ProviderError {
    // A wrong signature and a wrong time are 400, all else about the keys is 401 or 403.
    let code = refusal.body["errorCode"].as_str().or(refusal.body["class"].as_str()).unwrap_or_default().to_owned();
    match code.as_str() {
        "INVALID_SIGNATURE" | "QUERY_TIME_OUT" | "INVALID_CREDENTIAL" | "INVALID_KEY" | "NOT_CREDENTIAL" => {
            refusal.but(ErrorKind::Credentials).hint("check the three keys and this machine's clock").error
        }
        _ if refusal.error.kind == ErrorKind::Credentials => {
            refusal.hint("check what the consumer key was granted").error
        }
        _ => refusal.error,
    }
}

impl Editor {
    /// Signs a call and sends it.
    async fn send<T: DeserializeOwned>(&self, call: Call<'_>) -> Result<T> {
        let ahead = self.ahead.get_or_try_init(|| async {
            let theirs: i64 = self.api.get("/auth/time").send().await.map_err(refused)?;
            Ok::<_, ProviderError>(theirs - now())
        });
        let time = now() + ahead.await?;
        let signature = signature(&self.application_secret, &self.consumer_key, &call, time);
        let wrong = |_| ProviderError::new(ErrorKind::Config, "the signature cannot be in a header");
        let mut signature = header::HeaderValue::try_from(signature).map_err(wrong)?;
        signature.set_sensitive(true);
        call.header(header::HeaderName::from_static("x-ovh-timestamp"), header::HeaderValue::from(time))
            .header(header::HeaderName::from_static("x-ovh-signature"), signature)
            .send()
            .await
            .map_err(refused)
    }

    async fn zones(&self) -> Result<Vec<Zone>> {
        let names: Vec<String> = self.send(self.api.get("/domain/zone")).await?;
        Ok(names.into_iter().map(|name| Zone { apex: name.to_ascii_lowercase(), id: name }).collect())
    }
}

fn path_of(zone: &Zone) -> String {
    format!("/domain/zone/{}", segment(&zone.id))
}

#[async_trait]
impl ById for Editor {
    /// All types at a name are asked for in one request, so that an alias in the way is seen.
    async fn read(&self, zone: &Zone, names: &[&str]) -> Result<Vec<Listed>> {
        let path = format!("{}/record", path_of(zone));
        let mut listed = Vec::new();
        for some in names.chunks(AT_ONCE) {
            let ids =
                try_join_all(some.iter().map(|name| {
                    self.send::<Vec<u64>>(self.api.get(&path).query([("subDomain", relative(zone, name))]))
                }));
            let ids: Vec<u64> = ids.await?.into_iter().flatten().collect();
            for some in ids.chunks(AT_ONCE) {
                let each = some.iter().map(async |id| {
                    match self.send::<ZoneRecord>(self.api.get(&format!("{path}/{id}"))).await {
                        // Somebody else has deleted it meanwhile.
                        Err(error) if error.kind == ErrorKind::NotServed => Ok(None),
                        other => other.map(Some),
                    }
                });
                listed.extend(try_join_all(each).await?.into_iter().flatten());
            }
        }
        let listed = listed.into_iter().map(|record: ZoneRecord| Listed {
            id: record.id.to_string(),
            name: absolute(zone, &record.name.unwrap_or_default()),
            rtype: record.rtype,
            data: record.target,
        });
        Ok(listed.collect())
    }

    async fn add(&self, zone: &Zone, record: &Record) -> Result<()> {
        let target = match &record.data {
            RecordData::Txt(_) => record.data.presentation(),
            // A target without its final dot would be relative.
            RecordData::Cname(target) => format!("{target}."),
        };
        let body = json!({
            "fieldType": record.data.rtype(), "subDomain": relative(zone, &record.name), "target": target, "ttl": self.ttl,
        });
        self.send::<Value>(self.api.post(&format!("{}/record", path_of(zone))).json(&body)).await.map(drop)
    }

    async fn remove(&self, zone: &Zone, record: &Listed) -> Result<()> {
        self.send::<Value>(self.api.delete(&format!("{}/record/{}", path_of(zone), record.id))).await.map(drop)
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

    /// That the zone can be read. Whether the consumer key may write OVHcloud tells only who writes.
    async fn check(&self, zone: &Zone, _: &[Record]) -> Result<()> {
        self.send::<Value>(self.api.get(&path_of(zone))).await.map(drop)
    }

    async fn apply(&self, zone: &Zone, change: &Change) -> Result<()> {
        let changed = change_by_id(self, zone, change).await;
        // What was written before an error is to show, too: it is taken back by what comes next.
        let refreshed = self.send::<Value>(self.api.post(&format!("{}/refresh", path_of(zone)))).await;
        changed.and(refreshed).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNED: &str = "$1$d3705e8afb27a0d2970a322b96550abfc67bb798";

    #[test]
    fn signatures_are_made_over_everything() {
        // The example of "First steps with the OVHcloud APIs", computed with sha1sum.
        let api = Api::new("https://eu.api.ovh.com/1.0").expect("an API");
        let call = api.get("/domains/");
        let secret = SecretString::from("EXEgWIz07P0HYwtQDs7cNIqCiQaWSuHF");
        let consumer = SecretString::from("MtSwSrPpNjqfVSmJhLbPyr2i45lSwPU1");
        assert_eq!(signature(&secret, &consumer, &call, 1_366_560_945), SIGNED);
    }
}
