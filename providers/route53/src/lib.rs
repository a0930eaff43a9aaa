//! Amazon Route 53 as a `dcv` provider, by the AWS SDK.
//!
//! All proofs of a zone go in one change batch. Route 53 replaces whole record sets, so each is read first and what is not ours
//! is kept; then the batch deletes the set *exactly as it was read* and creates the new one. That is a compare-and-swap: when
//! another writer was faster the whole batch is refused, and it is made again. A plain UPSERT would lose the other's value.
//! After adding it is watched until Route 53 says that all its servers have the change.
//!
//! Only public zones are changed: their private twins of the same name are never seen by a CA.
//!
//! # Credentials
//!
//! The SDK's usual chain: environment, profile (also SSO and processes), web identity, container, instance. Or a fixed pair of
//! keys. The least policy, for one zone and nothing but proofs:
//!
//! ```json
//! {
//!   "Version": "2012-10-17",
//!   "Statement": [
//!     { "Effect": "Allow", "Action": "route53:ListHostedZones", "Resource": "*" },
//!     { "Effect": "Allow", "Action": "route53:GetChange", "Resource": "arn:aws:route53:::change/*" },
//!     { "Effect": "Allow", "Action": "route53:ListResourceRecordSets", "Resource": "arn:aws:route53:::hostedzone/Z0123456789" },
//!     {
//!       "Effect": "Allow",
//!       "Action": "route53:ChangeResourceRecordSets",
//!       "Resource": "arn:aws:route53:::hostedzone/Z0123456789",
//!       "Condition": {
//!         "ForAllValues:StringEquals": {
//!           "route53:ChangeResourceRecordSetsRecordTypes": ["TXT", "CNAME"],
//!           "route53:ChangeResourceRecordSetsActions": ["CREATE", "DELETE"]
//!         },
//!         "ForAllValues:StringLike": { "route53:ChangeResourceRecordSetsNormalizedRecordNames": ["_dnsauth.*"] }
//!       }
//!     }
//!   ]
//! }
//! ```
//!
//! The first statement is not needed when `zones` gives ids. The condition on names is right for proofs at `_dnsauth`; leave it out where
//! the CA asks for others.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use aws_sdk_route53::{
    Client,
    config::{Credentials, Region},
    error::{BuildError, ProvideErrorMetadata, SdkError},
    types::{self, ChangeAction, ChangeBatch, ChangeStatus, ResourceRecord, ResourceRecordSet, RrType},
};
use aws_smithy_http_client::tls::{self, rustls_provider::CryptoMode};
use dcv_provider::{
    Descriptor, ErrorKind, OptionSpec, ProofKind, ProviderError, Result,
    dns::Dns,
    secret::Secret,
    zone::{
        Change, DEFAULT_TTL, Record, RecordData, RecordSets, Zone, ZoneEditor, ZoneList, ZoneProvider,
        hosts::{alias_in_the_way, bare, checked_ttl},
        merge,
    },
};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

/// What this provider is.
pub const DESCRIPTOR: Descriptor = Descriptor {
    id: "route53",
    title: "Amazon Route 53",
    proofs: &[ProofKind::Txt, ProofKind::Cname],
    batch: "one change batch of up to 100 changes per zone",
    options: &[
        OptionSpec {
            name: "zones",
            help: "Public zones to change and their ids, e.g. { \"example.com\" = \"Z0123456789\" }; listed without it",
            required: false,
            secret: false,
        },
        OptionSpec {
            name: "profile",
            help: "Profile of ~/.aws/config; the usual chain of credentials unless given",
            required: false,
            secret: false,
        },
        OptionSpec { name: "access_key_id", help: "Id of a fixed access key", required: false, secret: false },
        OptionSpec { name: "secret_access_key", help: "The fixed access key itself", required: false, secret: true },
        OptionSpec {
            name: "ttl",
            help: "TTL of new record sets in seconds, 60 unless given",
            required: false,
            secret: false,
        },
        OptionSpec { name: "endpoint", help: "URL of the API, AWS's own unless given", required: false, secret: false },
    ],
    example: r#"type = "route53"
zones = { "example.com" = "Z0123456789ABCDEFGHIJ" }
"#,
};

/// What a batch may hold: AWS's older and stricter limit on changes, and somewhat less than its limit on the values' characters.
const MOST_CHANGES: usize = 100;
const MOST_CHARACTERS: usize = 30_000;
/// Up to this many record sets are asked for one by one; beyond that the zone is read.
const SETS_ONE_BY_ONE: usize = 4;
/// How long it is watched whether all servers have a change: most take less than a minute, and who asks for proofs has a
/// deadline. When it is over the change is still good, and the caller asks the name servers anyway.
const WATCH: Duration = Duration::from_secs(40);
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Zones to change, and their ids.
    #[serde(default)]
    pub zones: BTreeMap<String, String>,
    /// Profile of the AWS configuration.
    pub profile: Option<String>,
    /// Id of a fixed access key.
    pub access_key_id: Option<String>,
    /// The fixed access key.
    pub secret_access_key: Option<Secret>,
    /// TTL of new record sets in seconds.
    pub ttl: Option<u32>,
    /// URL of the API.
    pub endpoint: Option<String>,
}

/// The provider.
pub type Route53 = ZoneProvider<Editor>;

/// Sets the provider up from a configuration; `dns` is where delegated aliases are asked about.
///
/// # Errors
/// [`ErrorKind::Config`] naming the field.
pub async fn from_config(config: Config, dns: Option<Dns>) -> Result<Route53> {
    let ttl = checked_ttl(config.ttl, "Route 53", DEFAULT_TTL, 0)?;
    let from = match (config.access_key_id, &config.secret_access_key, config.profile) {
        (None, None, None) => CredentialsFrom::Chain,
        (None, None, Some(profile)) => CredentialsFrom::Profile(profile),
        (Some(id), Some(key), None) => CredentialsFrom::Fixed(id, key.read("secret_access_key").await?),
        _ => {
            let message = "give access_key_id with secret_access_key, or profile, or none of them";
            return Err(ProviderError::new(ErrorKind::Config, message));
        }
    };
    let mut editor = Editor::new(from, config.endpoint.as_deref()).await.with_zones(config.zones);
    editor.ttl = ttl;
    Ok(ZoneProvider::new(editor, dns))
}

/// Where the credentials come from.
pub enum CredentialsFrom {
    /// The SDK's usual chain.
    Chain,
    /// The same, with this profile.
    Profile(String),
    /// An access key: its id and itself.
    Fixed(String, SecretString),
}

/// Changes zones by change batches.
pub struct Editor {
    client: Client,
    ttl: u32,
    /// The zones of the configuration; without any, the account's public ones.
    listed: ZoneList,
}

impl std::fmt::Debug for Editor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Editor").field("listed", &self.listed).finish_non_exhaustive()
    }
}

/// Owner (lower case, no final dot) and type.
type Key = (String, &'static str);

impl Editor {
    /// An editor with these credentials, for AWS or for another endpoint. The credentials are looked for when they are needed.
    pub async fn new(from: CredentialsFrom, endpoint: Option<&str>) -> Self {
        let http =
            aws_smithy_http_client::Builder::new().tls_provider(tls::Provider::Rustls(CryptoMode::Ring)).build_https();
        let mut loader = aws_config::defaults(aws_config::BehaviorVersion::latest())
            .http_client(http)
            // The service is global, and signed for here.
            .region(Region::from_static("us-east-1"))
            // Retries are the caller's.
            .retry_config(aws_config::retry::RetryConfig::disabled());
        loader = match from {
            CredentialsFrom::Chain => loader,
            CredentialsFrom::Profile(profile) => loader.profile_name(profile),
            CredentialsFrom::Fixed(id, key) => {
                loader.credentials_provider(Credentials::new(id, key.expose_secret(), None, None, "dcv.toml"))
            }
        };
        let mut config = aws_sdk_route53::config::Builder::from(&loader.load().await);
        if let Some(url) = endpoint {
            config = config.endpoint_url(url);
        }
        let client = Client::from_conf(config.build());
        Self { client, ttl: DEFAULT_TTL, listed: ZoneList::default() }
    }

    /// Limits it to these zones, given with their ids. They are not looked up, which saves a permission.
    #[must_use]
    pub fn with_zones(mut self, zones: impl IntoIterator<Item = (String, String)>) -> Self {
        self.listed = ZoneList::of(zones.into_iter().map(|(name, id)| zone_of(&name, &id)));
        self
    }

    async fn public_zones(&self) -> Result<Vec<Zone>> {
        let mut zones = Vec::new();
        let mut items = self.client.list_hosted_zones().into_paginator().items().send();
        while let Some(zone) = items.next().await {
            let zone = zone.map_err(|e| failed("ListHostedZones", e))?;
            if !zone.config().is_some_and(types::HostedZoneConfig::private_zone) {
                zones.push(zone_of(zone.name(), zone.id()));
            }
        }
        Ok(zones)
    }

    /// These record sets as they are now.
    async fn read(&self, zone: &Zone, keys: &BTreeSet<Key>) -> Result<Vec<ResourceRecordSet>> {
        let list = || self.client.list_resource_record_sets().hosted_zone_id(&zone.id);
        let wanted = |set: &ResourceRecordSet| keys.contains(&key_of(set));
        let mut sets = Vec::new();
        if keys.len() <= SETS_ONE_BY_ONE {
            for (name, rtype) in keys {
                // Starts there, and goes on with whatever comes next.
                let page =
                    list().start_record_name(format!("{name}.")).start_record_type(RrType::from(*rtype)).max_items(1);
                let page = page.send().await.map_err(|e| failed("ListResourceRecordSets", e))?;
                sets.extend(page.resource_record_sets().iter().filter(|set| wanted(set)).cloned());
            }
            return Ok(sets);
        }
        let mut request = list();
        loop {
            let page = request.send().await.map_err(|e| failed("ListResourceRecordSets", e))?;
            sets.extend(page.resource_record_sets().iter().filter(|set| wanted(set)).cloned());
            if !page.is_truncated() {
                return Ok(sets);
            }
            request = list()
                .set_start_record_name(page.next_record_name().map(str::to_owned))
                .set_start_record_type(page.next_record_type().cloned())
                .set_start_record_identifier(page.next_record_identifier().map(str::to_owned));
        }
    }

    /// Waits until all servers have a change, or for as long as that is of use.
    async fn watch(&self, id: &str) {
        let until = Instant::now() + WATCH;
        let mut pause = FIRST_PAUSE;
        loop {
            match self.client.get_change().id(id).send().await {
                Ok(now) if now.change_info().is_some_and(|info| *info.status() == ChangeStatus::Insync) => return,
                Ok(_) => {}
                Err(error) => {
                    let error = failed("GetChange", error);
                    tracing::debug!(change = id, %error, "the change is made, but cannot be watched");
                    if error.kind == ErrorKind::Credentials {
                        return;
                    }
                }
            }
            if Instant::now() + pause >= until {
                tracing::debug!(change = id, "Route 53 still spreads the change");
                return;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

fn zone_of(name: &str, id: &str) -> Zone {
    Zone { apex: bare(name), id: id.trim_start_matches("/hostedzone/").to_owned() }
}

fn key_of(set: &ResourceRecordSet) -> Key {
    let rtype = match set.r#type() {
        RrType::Txt => "TXT",
        RrType::Cname => "CNAME",
        _ => "",
    };
    (set.name().trim_end_matches('.').to_ascii_lowercase(), rtype)
}

/// The values of a set as [`merge`] takes them.
fn values(set: Option<&ResourceRecordSet>) -> Vec<String> {
    let Some(set) = set else { return Vec::new() };
    let values = set.resource_records().iter().map(ResourceRecord::value);
    match set.r#type() {
        RrType::Cname => values.map(|target| format!("{}.", target.trim_end_matches('.'))).collect(),
        _ => values.map(str::to_owned).collect(),
    }
}

/// What turns the record sets that are there into those that are to be there, in as few batches as the limits allow. What
/// belongs to one set stays together.
fn plan(current: &[ResourceRecordSet], sets: &RecordSets, ttl: u32) -> Result<Vec<Vec<types::Change>>> {
    let mut batches = vec![Vec::new()];
    let mut characters = 0;
    for (key, (add, remove)) in sets {
        let old = current.iter().find(|set| key_of(set) == *key);
        let rejected = |message: String| Err(ProviderError::new(ErrorKind::Rejected, message).about([key.0.as_str()]));
        if let Some(old) = old.filter(|old| old.set_identifier().is_some() || old.alias_target().is_some()) {
            if add.is_empty() {
                // We never made one of these.
                continue;
            }
            return rejected(format!("a {} set with a routing policy or an alias target is there", old.r#type()));
        }
        let there = values(old);
        if let (true, Some(foreign)) = (key.1 == "CNAME", there.iter().find(|there| !add.contains(there)))
            && !add.is_empty()
        {
            return Err(alias_in_the_way(foreign, &key.0));
        }
        let merged = merge(&there, add, remove);
        if merged == there {
            continue;
        }
        let invalid = |e: BuildError| ProviderError::new(ErrorKind::Rejected, e.to_string()).about([key.0.as_str()]);
        let change =
            |action, set| types::Change::builder().action(action).resource_record_set(set).build().map_err(invalid);
        let mut changes = Vec::new();
        if let Some(old) = old {
            changes.push(change(ChangeAction::Delete, old.clone())?);
        }
        if !merged.is_empty() {
            let ttl = old.and_then(ResourceRecordSet::ttl).unwrap_or_else(|| i64::from(ttl));
            let mut new = ResourceRecordSet::builder().name(format!("{}.", key.0)).r#type(RrType::from(key.1)).ttl(ttl);
            for value in &merged {
                new = new.resource_records(ResourceRecord::builder().value(value).build().map_err(invalid)?);
            }
            changes.push(change(ChangeAction::Create, new.build().map_err(invalid)?)?);
        }
        let size: usize = there.iter().chain(&merged).map(String::len).sum();
        let batch = batches.last_mut().expect("there is one from the beginning");
        if !batch.is_empty() && (batch.len() + changes.len() > MOST_CHANGES || characters + size > MOST_CHARACTERS) {
            characters = 0;
            batches.push(changes);
        } else {
            batch.extend(changes);
        }
        characters += size;
    }
    batches.retain(|batch| !batch.is_empty());
    Ok(batches)
}

/// What a refusal means, by AWS's code, text and HTTP status.
fn kind_of(code: &str, message: &str, status: u16) -> ErrorKind {
    match (code, status) {
        // "Tried to create … but it already exists", "… to delete … but it was not found", "… but the values provided do not match
        // the current values": the record set is not what it was. Other texts are about what cannot be.
        ("InvalidChangeBatch", _) if message.contains("Tried to ") => ErrorKind::Conflict,
        ("Throttling" | "ThrottlingException" | "TooManyRequestsException" | "PriorRequestNotComplete", _)
        | (_, 429) => ErrorKind::RateLimited,
        ("NoSuchHostedZone", _) => ErrorKind::NotServed,
        (_, 401 | 403) => ErrorKind::Credentials,
        (_, 500..) => ErrorKind::Unavailable,
        _ => ErrorKind::Rejected,
    }
}

/// One line from an SDK's error: the operation, AWS's code and words, or what kept us from asking.
fn failed<E: ProvideErrorMetadata + Error + 'static>(operation: &str, error: SdkError<E>) -> ProviderError {
    if let (Some(service), Some(response)) = (error.as_service_error(), error.raw_response()) {
        let status = response.status().as_u16();
        let unwrapped = response.body().bytes().and_then(unwrapped).filter(|_| service.code().is_none());
        let (code, said) = match &unwrapped {
            Some(messages) => ("InvalidChangeBatch", messages.as_str()),
            None => (service.code().unwrap_or_default(), service.message().unwrap_or_default()),
        };
        let kind = kind_of(code, said, status);
        let way_out = match kind {
            ErrorKind::Credentials => "; check the credentials and their policy",
            ErrorKind::NotServed => "; check zones",
            _ => "",
        };
        return ProviderError::new(kind, format!("Route 53: {operation}: HTTP {status} {code}: {said}{way_out}"));
    }
    let mut causes = vec![error.to_string()];
    let mut kind = ErrorKind::Unavailable;
    let mut source = error.source();
    while let Some(cause) = source {
        if cause.is::<aws_credential_types::provider::error::CredentialsError>() {
            kind = ErrorKind::Credentials;
        }
        causes.push(cause.to_string());
        source = cause.source();
    }
    // The chain of credentials tells what it tried in many lines.
    let said = causes.join(": ").split_whitespace().collect::<Vec<_>>().join(" ");
    ProviderError::new(kind, format!("Route 53: {operation}: {said}"))
}

/// The messages of a refused batch in a form that the SDK does not read: `<InvalidChangeBatch>` without an `<Error>` around it.
fn unwrapped(body: &[u8]) -> Option<String> {
    let body = std::str::from_utf8(body).ok()?;
    let messages = body.split_once("<InvalidChangeBatch")?.1.split("<Message>").skip(1);
    Some(messages.filter_map(|rest| rest.split_once("</Message>")).map(|(text, _)| text).collect::<Vec<_>>().join("; "))
}

#[async_trait]
impl ZoneEditor for Editor {
    fn descriptor(&self) -> &Descriptor {
        &DESCRIPTOR
    }

    fn place(&self) -> String {
        "Route 53".to_owned()
    }

    fn max_changes(&self) -> usize {
        MOST_CHANGES
    }

    async fn find_zone(&self, name: &str) -> Result<Option<Zone>> {
        let found = self.listed.around(name, self.public_zones()).await?;
        if let [zone, _, ..] = &found[..] {
            let message = format!("there are {} public zones {}; say in `zones` which one", found.len(), zone.apex);
            let twins = found.iter().map(|zone| zone.id.as_str());
            return Err(ProviderError::new(ErrorKind::Config, message).about(twins));
        }
        Ok(found.into_iter().next())
    }

    /// That the credentials are good for reading the zone. Whether they may write AWS tells only who writes.
    async fn check(&self, zone: &Zone, _: &[Record]) -> Result<()> {
        let list = self.client.list_resource_record_sets().hosted_zone_id(&zone.id).max_items(1);
        list.send().await.map(drop).map_err(|e| failed("ListResourceRecordSets", e))
    }

    async fn apply(&self, zone: &Zone, change: &Change) -> Result<()> {
        // Other characters Route 53 wants escaped in octal, not as zone files have them; no CA asks for any.
        let odd = |record: &&Record| matches!(&record.data, RecordData::Txt(text) if !text.bytes().all(|b| matches!(b, b' '..=b'~')));
        if let Some(record) = change.add.iter().find(odd) {
            let message = "the text has characters other than printable ASCII";
            return Err(ProviderError::new(ErrorKind::Rejected, message).about([record.name.as_str()]));
        }
        let sets = change.by_record_set();
        let current = self.read(zone, &sets.keys().cloned().collect()).await?;
        let mut made = Vec::new();
        for changes in plan(&current, &sets, self.ttl)? {
            let batch = ChangeBatch::builder().comment("dcv").set_changes(Some(changes)).build();
            let batch = batch.map_err(|e| ProviderError::new(ErrorKind::Rejected, e.to_string()))?;
            let answer =
                self.client.change_resource_record_sets().hosted_zone_id(&zone.id).change_batch(batch).send().await;
            let done = answer.map_err(|e| failed("ChangeResourceRecordSets", e))?;
            made.extend(done.change_info().map(|info| info.id().to_owned()));
        }
        // Nobody waits for what is taken away.
        if !change.add.is_empty() {
            for id in made {
                self.watch(&id).await;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str, rtype: RrType, ttl: i64, values: &[&str]) -> ResourceRecordSet {
        let records = values.iter().map(|v| ResourceRecord::builder().value(*v).build().expect("a record")).collect();
        let builder = ResourceRecordSet::builder().name(name).r#type(rtype).ttl(ttl);
        builder.set_resource_records(Some(records)).build().expect("a set")
    }

    fn sets(name: &str, rtype: &'static str, add: &[&str], remove: &[&str]) -> RecordSets {
        let owned = |values: &[&str]| values.iter().map(|v| (*v).to_owned()).collect();
        RecordSets::from([((name.to_owned(), rtype), (owned(add), owned(remove)))])
    }

    #[test]
    fn the_old_set_is_deleted_exactly_and_the_new_one_keeps_what_is_not_ours() {
        let old = set("a.example.com.", RrType::Txt, 3600, &["\"v=spf1\" \" -all\""]);
        let current = [old.clone()];
        let added = plan(&current, &sets("a.example.com", "TXT", &["\"ours\""], &[]), 60).expect("a plan");
        let [changes] = added.as_slice() else { panic!("one batch: {added:?}") };
        assert_eq!(changes[0].action(), &ChangeAction::Delete);
        assert_eq!(changes[0].resource_record_set(), Some(&old));
        assert_eq!(changes[1].action(), &ChangeAction::Create);
        let new = set("a.example.com.", RrType::Txt, 3600, &["\"v=spf1\" \" -all\"", "\"ours\""]);
        assert_eq!(changes[1].resource_record_set(), Some(&new));
        let gone = plan(&[new], &sets("a.example.com", "TXT", &[], &["\"ours\""]), 60).expect("a plan");
        assert_eq!(gone[0][1].resource_record_set(), Some(&old));
        for nothing in [sets("a.example.com", "TXT", &[], &["\"ours\""]), sets("b.example.com", "TXT", &[], &["\"x\""])]
        {
            assert!(plan(&current, &nothing, 60).expect("a plan").is_empty());
        }
    }

    #[test]
    fn what_cannot_be_merged_is_refused_and_never_touched() {
        let weighted =
            ResourceRecordSet::builder().name("a.example.com.").r#type(RrType::Txt).weight(1).set_identifier("x");
        let weighted = [weighted.build().expect("a set")];
        let error = plan(&weighted, &sets("a.example.com", "TXT", &["\"ours\""], &[]), 60).expect_err("not ours");
        assert_eq!(error.kind, ErrorKind::Rejected, "{error}");
        assert!(plan(&weighted, &sets("a.example.com", "TXT", &[], &["\"ours\""]), 60).expect("a plan").is_empty());
        let alias = [set("a.example.com.", RrType::Cname, 60, &["Theirs.example.net"])];
        let error = plan(&alias, &sets("a.example.com", "CNAME", &["ours.example.net."], &[]), 60).expect_err("taken");
        assert!(error.to_string().contains("Theirs.example.net"), "{error}");
        let ours = sets("a.example.com", "CNAME", &["Theirs.example.net."], &[]);
        assert!(plan(&alias, &ours, 60).expect("a plan").is_empty(), "the final dot does not count");
    }

    #[test]
    fn batches_stay_within_the_limits_and_sets_stay_together() {
        let names: Vec<String> = (0..150).map(|n| format!("n{n:03}.example.com")).collect();
        let current: Vec<_> = names.iter().map(|n| set(&format!("{n}."), RrType::Txt, 60, &["\"theirs\""])).collect();
        let all = |value: &str| -> RecordSets {
            names.iter().map(|n| ((n.clone(), "TXT"), (vec![value.to_owned()], Vec::new()))).collect()
        };
        let sizes = |plan: Vec<Vec<types::Change>>| plan.iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(sizes(plan(&current, &all("\"ours\""), 60).expect("a plan")), [100, 100, 100]);
        assert_eq!(sizes(plan(&[], &all("\"ours\""), 60).expect("a plan")), [100, 50]);
        assert_eq!(sizes(plan(&[], &all(&"x".repeat(1000)), 60).expect("a plan")), [30; 5]);
    }

    #[test]
    fn refusals_are_told_apart() {
        for (code, message, status, kind) in [
            (
                "InvalidChangeBatch",
                "[Tried to create resource record set [name='a.', type='TXT'] but it already exists]",
                400,
                ErrorKind::Conflict,
            ),
            (
                "InvalidChangeBatch",
                "[Tried to delete resource record set [name='a.', type='TXT'] but the values provided do not match the current values]",
                400,
                ErrorKind::Conflict,
            ),
            (
                "InvalidChangeBatch",
                "[RRSet of type CNAME with DNS name a. is not permitted as it conflicts with other records with the same DNS name in zone b.]",
                400,
                ErrorKind::Rejected,
            ),
            ("Throttling", "Rate exceeded", 400, ErrorKind::RateLimited),
            ("PriorRequestNotComplete", "", 400, ErrorKind::RateLimited),
            ("AccessDenied", "not authorized", 403, ErrorKind::Credentials),
            ("NoSuchHostedZone", "", 404, ErrorKind::NotServed),
            ("ServiceUnavailable", "", 503, ErrorKind::Unavailable),
        ] {
            assert_eq!(kind_of(code, message, status), kind, "{code} {message}");
        }
    }
}
