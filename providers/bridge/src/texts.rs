//! Hosts that know one text record at a time, made whole.
//!
//! Scripts and servers written for ACME clients are told "add this value at this name" and "remove it". Few promise more: some
//! fail when the value is there already or is gone already, some make it twice, and some remove every value at the name. A
//! [`TextHost`] is such a thing; [`Texts`] makes a provider of it that keeps the contract as far as that can be done from outside,
//! by asking the authoritative name servers before and after, where a [`Dns`] is given:
//!
//! - a value that is there is not added again, and a failure to remove a value that is gone is none;
//! - other values that vanish when ours is removed are put back.
//!
//! Name servers that lag behind their host's API can hide either, and a caller who gives up between the two leaves them gone. Without a [`Dns`] the host is simply told, and what it answers
//! counts. One name follows the other: such hosts know of no concurrency. Aliases, and what a provider does not accept, are
//! the business of [`ZoneProvider`].

use std::{collections::BTreeSet, fmt, fs::File};

use async_trait::async_trait;
use dcv_provider::{
    DcvProvider, Descriptor, ErrorKind, Place, Proof, ProviderError, Result,
    dns::Dns,
    zone::{Change, Record, RecordData, Zone, ZoneEditor, ZoneProvider},
};
use hickory_proto::rr::RecordType;

/// What the host is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Add,
    Remove,
}

/// Something that is told of one text at a time.
#[async_trait]
pub(crate) trait TextHost: fmt::Debug + Send + Sync {
    fn descriptor(&self) -> &'static Descriptor;

    /// Where it is, for people.
    fn place(&self) -> String;

    /// Finds out, without changing anything, whether it could be told.
    async fn look(&self) -> Result<()>;

    /// Waits until nobody else on this machine tells it anything. The turn ends with the file.
    async fn turn(&self) -> Option<File> {
        None
    }

    /// Tells it.
    async fn tell(&self, act: Act, name: &str, text: &str) -> Result<()>;
}

/// A provider made of a [`TextHost`].
#[derive(Debug)]
pub(crate) struct Texts<H>(ZoneProvider<OneByOne<H>>);

impl<H: TextHost> Texts<H> {
    pub(crate) fn new(host: H, dns: Option<Dns>) -> Self {
        Self(ZoneProvider::new(OneByOne { host, dns: dns.clone() }, dns))
    }

    /// One that is told the names as they are, alias or not.
    pub(crate) fn literal(host: H) -> Self {
        Self(ZoneProvider::new(OneByOne { host, dns: None }, None))
    }
}

#[async_trait]
impl<H: TextHost> DcvProvider for Texts<H> {
    fn descriptor(&self) -> &Descriptor {
        self.0.descriptor()
    }

    async fn preflight(&self, proofs: &[Proof]) -> Result<Vec<Place>> {
        let host = &self.0.editor().host;
        let within = format!("{} ({})", host.place(), host.descriptor().id);
        let places = self.0.preflight(proofs).await?;
        Ok(places.into_iter().map(|place| Place { within: within.clone(), ..place }).collect())
    }

    async fn present(&self, proofs: &[Proof]) -> Result<()> {
        self.0.present(proofs).await
    }

    async fn retract(&self, proofs: &[Proof]) -> Result<()> {
        self.0.retract(proofs).await
    }
}

/// Tells a host of one record after the other.
#[derive(Debug)]
struct OneByOne<H> {
    host: H,
    dns: Option<Dns>,
}

#[async_trait]
impl<H: TextHost> ZoneEditor for OneByOne<H> {
    fn descriptor(&self) -> &Descriptor {
        self.host.descriptor()
    }

    /// The host finds its zones by itself; to us it is one, so that its names take turns.
    async fn find_zone(&self, _: &str) -> Result<Option<Zone>> {
        Ok(Some(Zone { apex: String::new(), id: String::new() }))
    }

    async fn check(&self, _: &Zone, _: &[Record]) -> Result<()> {
        self.host.look().await
    }

    async fn apply(&self, _: &Zone, change: &Change) -> Result<()> {
        let _turn = self.host.turn().await;
        for record in &change.add {
            self.add(&record.name, text(record)).await?;
        }
        let mut failed: Option<ProviderError> = None;
        for record in &change.remove {
            // One that cannot be removed does not keep the others from going.
            if let Err(error) = self.remove(&record.name, text(record), &change.remove).await {
                failed = Some(match failed {
                    None => error,
                    Some(first) => first.about(error.subjects),
                });
            }
        }
        failed.map_or(Ok(()), Err)
    }

    fn place(&self) -> String {
        self.host.place()
    }
}

impl<H: TextHost> OneByOne<H> {
    async fn add(&self, name: &str, text: &str) -> Result<()> {
        if self.shown(name).await.is_some_and(|shown| shown.contains(text)) {
            tracing::debug!(name, "the value is there already");
            return Ok(());
        }
        match self.host.tell(Act::Add, name, text).await {
            // It was there, after all: added by another at the same moment, or by a run that failed later.
            Err(_) if self.shown(name).await.is_some_and(|shown| shown.contains(text)) => Ok(()),
            other => other.map_err(|error| about(error, name)),
        }
    }

    async fn remove(&self, name: &str, text: &str, all: &[Record]) -> Result<()> {
        let before = self.shown(name).await;
        let told = self.host.tell(Act::Remove, name, text).await;
        let is_going = |shown: &&String| all.iter().any(|r| r.name == name && self::text(r) == shown.as_str());
        let others: Vec<&String> = before.iter().flatten().filter(|shown| !is_going(shown)).collect();
        if told.is_ok() && others.is_empty() {
            return Ok(());
        }
        let Some(after) = self.shown(name).await else { return told.map_err(|error| about(error, name)) };
        for lost in others.into_iter().filter(|other| !after.contains(*other)) {
            tracing::warn!(
                name,
                value = lost,
                place = self.host.place(),
                "another's value was removed; it is put back"
            );
            self.host.tell(Act::Add, name, lost).await.map_err(|mut error| {
                error.message = format!("removing `{text}` took `{lost}` too, and it could not be put back: {error}");
                about(error, name)
            })?;
        }
        if after.contains(text) { told.map_err(|error| about(error, name)) } else { Ok(()) }
    }

    /// The texts at a name as an authority shows them now; `None` when nobody tells.
    async fn shown(&self, name: &str) -> Option<BTreeSet<String>> {
        let (_, answer) = match self.dns.as_ref()?.authoritative(name, RecordType::TXT).await {
            Ok(found) => found,
            Err(error) => {
                tracing::debug!(name, %error, "what is there already is not known");
                return None;
            }
        };
        Some(answer.texts().into_iter().map(|parts| parts.concat()).collect())
    }
}

/// The text of a record; [`ZoneProvider`] lets no others through to one that accepts only texts.
fn text(record: &Record) -> &str {
    match &record.data {
        RecordData::Txt(text) | RecordData::Cname(text) => text,
    }
}

fn about(error: ProviderError, name: &str) -> ProviderError {
    if error.subjects.is_empty() { error.about([name]) } else { error }
}

/// The domain and the first label of a record's name, as protocols want them that were made for `_acme-challenge`:
/// `_dnsauth.example.com` is `example.com` and `_dnsauth`. A name that has no such label is its own domain, and `@` in it.
pub(crate) fn domain_and_label(name: &str) -> (&str, &str) {
    match name.split_once('.') {
        Some((label, domain)) if label.starts_with('_') => (domain, label),
        _ => (name, "@"),
    }
}

/// How lego hands a value over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
pub enum Mode {
    /// The record: its name with the final dot, and its text.
    #[default]
    #[serde(rename = "", alias = "default")]
    Record,
    /// What an ACME client has before it makes a record of it.
    #[serde(rename = "RAW", alias = "raw")]
    Raw,
}

/// A [`ErrorKind::Config`] naming the field.
pub(crate) fn wrong(field: &str, what: impl fmt::Display) -> ProviderError {
    ProviderError::new(ErrorKind::Config, format!("{field}: {what}"))
}
