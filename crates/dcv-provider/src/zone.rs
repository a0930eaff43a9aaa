//! What all DNS hosts have in common, so that a host has to say only what is its own.
//!
//! A host implements a [`ZoneEditor`]: which zone a name is in, whether the credentials are good for it, and how a
//! [`Change`] of it is made. [`ZoneProvider`] makes a [`DcvProvider`] of that: it finds each zone once, follows a delegated
//! `_dnsauth` alias to where the record really goes, puts all changes of a zone into as few requests as the host takes, keeps
//! writers of one zone in this process apart, and repeats a race that was lost.
//!
//! Hosts that can only replace a whole record set compute its new value with [`merge`], which keeps what is not ours.

pub mod hosts;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt::Write,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use futures_util::future::{join_all, try_join_all};
use rand::Rng;

use crate::{DcvProvider, Descriptor, ErrorKind, Place, Proof, ProviderError, Result, Retry, dns::Dns, dns::is_within};

/// TTL of our records, in seconds: short, for they live for minutes.
pub const DEFAULT_TTL: u32 = 60;
/// How old the knowledge of an alias may be when a record is put where it leads.
const ALIAS_AGE: Duration = Duration::from_secs(60);
/// How often a change is made again after a lost race.
const RACES: u32 = 12;
/// How many names an error names that concerns a whole change.
const NAMED: usize = 4;

/// A zone at a host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Zone {
    /// Its name: lower case, no final dot.
    pub apex: String,
    /// What the host calls it; often the same.
    pub id: String,
}

/// The data of a record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordData {
    /// A text of one character-string.
    Txt(String),
    /// A target: absolute, no final dot, its case kept.
    Cname(String),
}

impl RecordData {
    /// `TXT` or `CNAME`.
    #[must_use]
    pub fn rtype(&self) -> &'static str {
        match self {
            Self::Txt(_) => "TXT",
            Self::Cname(_) => "CNAME",
        }
    }

    /// As a zone file has it: a quoted text, or a target with its final dot.
    #[must_use]
    pub fn presentation(&self) -> String {
        match self {
            Self::Txt(text) => quote(text),
            Self::Cname(target) => format!("{target}."),
        }
    }
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Record {
    /// Its owner name: absolute, lower case, no final dot.
    pub name: String,
    /// Its data.
    pub data: RecordData,
}

/// Owner name and type of record sets, and the presentations to add to and to remove from each.
pub type RecordSets = BTreeMap<(String, &'static str), (Vec<String>, Vec<String>)>;

/// Records to be added to a zone, and records to be removed from it by value. One of the two is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// To be there afterwards.
    pub add: Vec<Record>,
    /// Not to be there afterwards.
    pub remove: Vec<Record>,
}

impl Change {
    /// How many records it concerns.
    #[must_use]
    pub fn len(&self) -> usize {
        self.add.len() + self.remove.len()
    }

    /// Whether it concerns none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The owner names, each once.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        let names: BTreeSet<&str> = self.add.iter().chain(&self.remove).map(|record| record.name.as_str()).collect();
        names.into_iter().collect()
    }

    /// The change, record set by record set: owner name and type, and the presentations to add and to remove.
    #[must_use]
    pub fn by_record_set(&self) -> RecordSets {
        let mut sets = RecordSets::new();
        for record in &self.add {
            sets.entry((record.name.clone(), record.data.rtype())).or_default().0.push(record.data.presentation());
        }
        for record in &self.remove {
            sets.entry((record.name.clone(), record.data.rtype())).or_default().1.push(record.data.presentation());
        }
        sets
    }
}

/// What a DNS host has to say for itself.
#[async_trait]
pub trait ZoneEditor: Send + Sync {
    /// What the host is.
    fn descriptor(&self) -> &Descriptor;

    /// The closest zone around a name that these credentials can change; `None` when there is none.
    ///
    /// # Errors
    /// When it cannot be found out.
    async fn find_zone(&self, name: &str) -> Result<Option<Zone>>;

    /// Whether the credentials are good for this zone and, as far as that can be found out, for records like these.
    /// Changes nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Credentials`] when they are not.
    async fn check(&self, zone: &Zone, records: &[Record]) -> Result<()>;

    /// Makes a change, at once if the host can. Adding what is there and removing what is not are no errors.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] when another writer was faster and nothing was changed: the call is repeated.
    async fn apply(&self, zone: &Zone, change: &Change) -> Result<()>;

    /// How many records one change may concern.
    fn max_changes(&self) -> usize {
        usize::MAX
    }

    /// Where the zone is, for people: "ns1.example.com:53".
    fn place(&self) -> String;
}

/// The zone with the longest name around `name`.
pub fn longest_suffix<'z>(zones: impl IntoIterator<Item = &'z Zone>, name: &str) -> Option<&'z Zone> {
    zones.into_iter().filter(|zone| is_within(name, &zone.apex)).max_by_key(|zone| zone.apex.len())
}

/// The zones that a host lists, asked for once for all names that want to know at the same moment, and again for a name that
/// is on no old list: its zone may be new.
#[derive(Debug, Default)]
pub struct ZoneList {
    /// Those of a configuration; with any, the host is not asked.
    fixed: Vec<Zone>,
    /// The list, and when it was asked for. Locked while asking.
    kept: tokio::sync::Mutex<Option<(Instant, Vec<Zone>)>>,
}

impl ZoneList {
    /// These zones, if there are any, and no others: the host is not asked.
    pub fn of(fixed: impl IntoIterator<Item = Zone>) -> Self {
        Self { fixed: fixed.into_iter().collect(), kept: tokio::sync::Mutex::default() }
    }

    /// Whether the host is not asked.
    #[must_use]
    pub fn is_fixed(&self) -> bool {
        !self.fixed.is_empty()
    }

    /// The closest zone around a name: several where the host has twins of one name. `list` asks the host, if that has to be.
    ///
    /// # Errors
    /// Those of `list`.
    pub async fn around(&self, name: &str, list: impl Future<Output = Result<Vec<Zone>>> + Send) -> Result<Vec<Zone>> {
        let closest = |zones: &[Zone]| -> Vec<Zone> {
            let apex = longest_suffix(zones, name).map(|zone| &zone.apex);
            zones.iter().filter(|zone| Some(&zone.apex) == apex).cloned().collect()
        };
        if self.is_fixed() {
            return Ok(closest(&self.fixed));
        }
        let began = Instant::now();
        let mut kept = self.kept.lock().await;
        if let Some((asked, zones)) = &*kept {
            let found = closest(zones);
            // Look-ups that waited for the same list do not ask again.
            if !found.is_empty() || *asked >= began {
                return Ok(found);
            }
        }
        let asked = Instant::now();
        let (_, zones) = kept.insert((asked, list.await?));
        Ok(closest(zones))
    }
}

/// A [`DcvProvider`] made of a [`ZoneEditor`].
pub struct ZoneProvider<E> {
    editor: E,
    dns: Option<Dns>,
    /// Zones found, by name, and a lock for each zone.
    found: Mutex<HashMap<String, Zone>>,
    /// Where aliases lead, and when that was found out.
    aliases: Mutex<HashMap<String, (Instant, String)>>,
    locks: Mutex<HashMap<Zone, Arc<tokio::sync::Mutex<()>>>>,
}

impl<E: std::fmt::Debug> std::fmt::Debug for ZoneProvider<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ZoneProvider").field(&self.editor).finish()
    }
}

impl<E: ZoneEditor> ZoneProvider<E> {
    /// With `dns`, aliases are followed: a `_dnsauth` that is a CNAME into another zone is proved there. Without it records
    /// go exactly where they are wanted.
    pub fn new(editor: E, dns: Option<Dns>) -> Self {
        Self { editor, dns, found: Mutex::default(), aliases: Mutex::default(), locks: Mutex::default() }
    }

    /// The editor.
    pub fn editor(&self) -> &E {
        &self.editor
    }

    /// The record that makes a proof visible: where an alias leads, if one is followed.
    async fn record(&self, proof: &Proof, alias_age: Duration) -> Result<Record> {
        let descriptor = self.editor.descriptor();
        if !descriptor.accepts(proof.kind()) {
            let message = format!("{} presents no {}", descriptor.title, proof.kind());
            return Err(ProviderError::new(ErrorKind::Unsupported, message).about([proof.name()]));
        }
        match proof {
            Proof::Txt { name, value } => {
                let name = self.owner(name, alias_age).await;
                Ok(Record { name, data: RecordData::Txt(value.clone()) })
            }
            Proof::Cname { name, target } => Ok(Record { name: name.clone(), data: RecordData::Cname(target.clone()) }),
            Proof::File { host, .. } => {
                let message = format!("{} presents no files", descriptor.title);
                Err(ProviderError::new(ErrorKind::Unsupported, message).about([host.as_str()]))
            }
        }
    }

    /// Where a text for this name belongs: the end of its aliases, found out at most this long ago.
    async fn owner(&self, name: &str, alias_age: Duration) -> String {
        let Some(dns) = &self.dns else { return name.to_owned() };
        let known = self.aliases.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        if let Some((_, owner)) = known.filter(|(at, _)| at.elapsed() <= alias_age) {
            return owner;
        }
        // Where the aliases cannot be asked about, the name itself is the best guess; the check of visibility tells.
        let owner = dns.follow_alias(name).await.unwrap_or_else(|error| {
            tracing::debug!(name, %error, "aliases are not followed");
            name.to_owned()
        });
        let mut aliases = self.aliases.lock().unwrap_or_else(PoisonError::into_inner);
        aliases.insert(name.to_owned(), (Instant::now(), owner.clone()));
        owner
    }

    /// The zone of a record that makes the name `wanted` visible.
    async fn zone_of(&self, record: &Record, wanted: &str) -> Result<Zone> {
        if let Some(zone) = self.found.lock().unwrap_or_else(PoisonError::into_inner).get(&record.name) {
            return Ok(zone.clone());
        }
        let zone = self.editor.find_zone(&record.name).await?.ok_or_else(|| {
            let way_out = if record.name == wanted {
                ";"
            } else if wanted.starts_with('_') {
                ", to which an alias leads; let the alias lead elsewhere, or"
            } else {
                ", of which the domain is an alias; place texts below the domain (`txt = \"dnsauth\"`), or"
            };
            let message =
                format!("{} has no zone for it{way_out} route the name to another provider", self.editor.place());
            ProviderError::new(ErrorKind::NotServed, message).about([record.name.as_str()])
        })?;
        self.found.lock().unwrap_or_else(PoisonError::into_inner).insert(record.name.clone(), zone.clone());
        Ok(zone)
    }

    /// The records of these proofs with their zones, in the order given. What concerns single names is collected; what
    /// concerns the host as a whole ends it at once, for it would only be said again for each name.
    async fn locate(&self, proofs: &[Proof], alias_age: Duration) -> Result<Vec<(Zone, Record)>> {
        let located = try_join_all(proofs.iter().map(|proof| async move {
            let located = async {
                let record = self.record(proof, alias_age).await?;
                let zone = self.zone_of(&record, proof.name()).await?;
                Ok::<_, ProviderError>((zone, record))
            };
            match located.await {
                Err(error) if !matches!(error.kind, ErrorKind::NotServed | ErrorKind::Unsupported) => Err(error),
                other => Ok(other),
            }
        }))
        .await?;
        merge_errors(located)
    }

    /// Makes the same change, to add or to remove, in all zones concerned, each in as few requests as possible.
    async fn change(&self, proofs: &[Proof], alias_age: Duration, make: fn(Vec<Record>) -> Change) -> Result<()> {
        let mut zones: BTreeMap<Zone, Vec<Record>> = BTreeMap::new();
        for (zone, record) in self.locate(proofs, alias_age).await? {
            let records = zones.entry(zone).or_default();
            if !records.contains(&record) {
                records.push(record);
            }
        }
        let most = self.editor.max_changes().max(1);
        let done = join_all(zones.into_iter().map(|(zone, records)| async move {
            let lock = {
                let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
                Arc::clone(locks.entry(zone.clone()).or_default())
            };
            let _alone = lock.lock().await;
            for part in records.chunks(most) {
                self.apply(&zone, &make(part.to_vec())).await?;
            }
            Ok(())
        }))
        .await;
        merge_errors(done).map(drop)
    }

    async fn apply(&self, zone: &Zone, change: &Change) -> Result<()> {
        let mut races = 0;
        loop {
            match self.editor.apply(zone, change).await {
                Err(error) if error.kind == ErrorKind::Conflict && races < RACES => {
                    races += 1;
                    // Racers that pause alike meet again.
                    let pause = rand::rng().random_range(5..40 * u64::from(races));
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                }
                Err(error) if error.subjects.is_empty() => {
                    let names = change.names();
                    // One line is to be read, not a hundred names.
                    let more = names.len().checked_sub(NAMED).filter(|more| *more > 0);
                    let named = names.into_iter().take(NAMED).map(str::to_owned);
                    return Err(error.about(named.chain(more.map(|more| format!("and {more} more")))));
                }
                other => return other,
            }
        }
    }
}

/// All values, or all errors as one.
fn merge_errors<T>(results: Vec<Result<T>>) -> Result<Vec<T>> {
    let mut good = Vec::with_capacity(results.len());
    let mut bad = None;
    for result in results {
        match result {
            Ok(value) => good.push(value),
            Err(error) => {
                bad = Some(match bad {
                    None => error,
                    Some(first) => both(first, error),
                });
            }
        }
    }
    bad.map_or(Ok(good), Err)
}

/// Two errors as one, which says what both said and names what both named. It is of the kind that most needs a person:
/// trying again helps only if it helps everywhere.
fn both(first: ProviderError, second: ProviderError) -> ProviderError {
    let wants_a_person = second.retry == Retry::No && first.retry != Retry::No;
    let (mut merged, other) = if wants_a_person { (second, first) } else { (first, second) };
    if !merged.message.contains(&other.message) {
        merged.message = format!("{}; {}", merged.message, other.message);
    }
    let new: Vec<String> = other.subjects.into_iter().filter(|subject| !merged.subjects.contains(subject)).collect();
    merged.subjects.extend(new);
    merged.retry = match (merged.retry, other.retry) {
        (Retry::After(one), Retry::After(another)) => Retry::After(one.max(another)),
        (Retry::Yes, Retry::After(wait)) => Retry::After(wait),
        (retry, _) => retry,
    };
    merged
}

#[async_trait]
impl<E: ZoneEditor> DcvProvider for ZoneProvider<E> {
    fn descriptor(&self) -> &Descriptor {
        self.editor.descriptor()
    }

    async fn preflight(&self, proofs: &[Proof]) -> Result<Vec<Place>> {
        let located = self.locate(proofs, ALIAS_AGE).await?;
        let mut zones: BTreeMap<&Zone, Vec<Record>> = BTreeMap::new();
        for (zone, record) in &located {
            zones.entry(zone).or_default().push(record.clone());
        }
        let checks = zones.iter().map(|(zone, records)| self.editor.check(zone, records));
        merge_errors(join_all(checks).await)?;
        let place = |(zone, record): &(Zone, Record)| Place {
            target: format!("{} {}", record.name, record.data.rtype()),
            within: format!("zone {} at {} ({})", zone.apex, self.editor.place(), self.editor.descriptor().id),
        };
        Ok(located.iter().map(place).collect())
    }

    async fn present(&self, proofs: &[Proof]) -> Result<()> {
        self.change(proofs, ALIAS_AGE, |add| Change { add, remove: Vec::new() }).await
    }

    async fn retract(&self, proofs: &[Proof]) -> Result<()> {
        // What this instance has presented is taken back where it was put, whatever the aliases say by now.
        self.change(proofs, Duration::MAX, |remove| Change { add: Vec::new(), remove }).await
    }
}

/// The new content of a record set, given by the presentations of its records: what was there, in its order, without what is to
/// be removed, and with what is to be added where it is not there yet. Texts are compared by what they say, not by how they
/// are quoted or split; what is kept is kept as it was written.
///
/// ```
/// use dcv_provider::zone::merge;
///
/// let there = ["\"v=spf1 -all\"".to_owned(), "\"old\"".to_owned()];
/// assert_eq!(merge(&there, &["\"new\"".to_owned()], &["old".to_owned()]), ["\"v=spf1 -all\"", "\"new\""]);
/// ```
#[must_use]
pub fn merge(current: &[String], add: &[String], remove: &[String]) -> Vec<String> {
    let holds = |list: &[String], item: &str| list.iter().any(|other| same(other, item));
    let mut merged: Vec<String> =
        current.iter().filter(|item| holds(add, item) || !holds(remove, item)).cloned().collect();
    for item in add {
        if !holds(&merged, item) {
            merged.push(item.clone());
        }
    }
    merged
}

/// Whether two presentations say the same.
fn same(a: &str, b: &str) -> bool {
    a == b || unquote(a) == unquote(b)
}

/// A text as one quoted character-string (RFC 1035 section 5.1).
#[must_use]
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => {
                quoted.push('\\');
                quoted.push(char::from(byte));
            }
            0x20..=0x7e => quoted.push(char::from(byte)),
            _ => {
                let _ = write!(quoted, "\\{byte:03}");
            }
        }
    }
    quoted.push('"');
    quoted
}

/// What a presentation says: its character-strings put together, escapes undone. A text without quotes says itself.
#[must_use]
pub fn unquote(presentation: &str) -> Vec<u8> {
    let mut said = Vec::with_capacity(presentation.len());
    let mut bytes = presentation.trim().bytes().peekable();
    let mut quoted = false;
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => quoted = !quoted,
            b'\\' => {
                let digits: Vec<u8> = {
                    let mut ahead = bytes.clone();
                    (0..3).map_while(|_| ahead.next().filter(u8::is_ascii_digit)).collect()
                };
                let code = digits.iter().fold(0u32, |code, digit| code * 10 + u32::from(digit - b'0'));
                match u8::try_from(code) {
                    Ok(code) if digits.len() == 3 => {
                        bytes.by_ref().take(3).for_each(drop);
                        said.push(code);
                    }
                    _ => said.extend(bytes.next()),
                }
            }
            b' ' | b'\t' if !quoted => {}
            _ => said.push(byte),
        }
    }
    said
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts_are_compared_by_what_they_say() {
        assert!(same("\"abc\"", "abc"));
        assert!(same("\"ab\" \"c\"", "\"abc\""));
        assert!(same(r#""a\"b""#, r#""a\034b""#));
        assert!(!same("\"abc\"", "\"Abc\""), "case counts");
        assert!(!same("\"a b\"", "\"ab\""), "blanks inside quotes count");
    }

    #[test]
    fn the_longest_zone_wins_and_only_at_dots() {
        let zone = |apex: &str| Zone { apex: apex.to_owned(), id: apex.to_owned() };
        let zones = [zone("example.com"), zone("sub.example.com"), zone("com")];
        let found = |name: &str| longest_suffix(&zones, name).map(|zone| zone.apex.as_str());
        assert_eq!(found("_dnsauth.sub.example.com"), Some("sub.example.com"));
        assert_eq!(found("notexample.com"), Some("com"));
        assert_eq!(found("example.org"), None);
    }

    #[test]
    fn merged_errors_say_everything_and_are_worth_a_retry_only_if_all_are() {
        let error =
            |kind, message: &str, subject: &str| Err::<(), _>(ProviderError::new(kind, message).about([subject]));
        let merged = |results| merge_errors(results).expect_err("an error");
        let unserved = merged(vec![
            error(ErrorKind::NotServed, "no zone", "a.example"),
            Ok(()),
            error(ErrorKind::NotServed, "no zone", "b.example"),
            error(ErrorKind::NotServed, "no zone", "a.example"),
        ]);
        assert_eq!(unserved.to_string(), "no zone (a.example, b.example)");
        let mixed = merged(vec![
            error(ErrorKind::Unavailable, "down", "a.example"),
            error(ErrorKind::Credentials, "wrong key", "b.example"),
        ]);
        assert_eq!((mixed.kind, mixed.retry), (ErrorKind::Credentials, Retry::No));
        assert_eq!(mixed.to_string(), "wrong key; down (b.example, a.example)");
        let limited = || ProviderError::new(ErrorKind::RateLimited, "slow down");
        let waits = merged(vec![
            error(ErrorKind::Unavailable, "down", "a.example"),
            Err(limited().retry_after(Duration::from_secs(7))),
            Err(limited().retry_after(Duration::from_secs(3))),
        ]);
        assert_eq!(waits.retry, Retry::After(Duration::from_secs(7)));
        assert_eq!(merge_errors(vec![Ok(1), Ok(2)]).expect("no error"), [1, 2]);
    }

    prop_compose! {
        fn values()(values in prop::collection::btree_set("[a-c\" \\\\]{0,3}", 0..6)) -> Vec<String> {
            values.iter().map(|text| quote(text)).collect()
        }
    }

    proptest! {
        #[test]
        fn quoting_is_undone(bytes in "\\PC{0,40}") {
            prop_assert_eq!(unquote(&quote(&bytes)), bytes.as_bytes());
        }

        #[test]
        fn foreign_values_survive(current in values(), add in values(), remove in values()) {
            let merged = merge(&current, &add, &remove);
            for value in &current {
                if !remove.contains(value) {
                    prop_assert!(merged.contains(value), "{value} was lost");
                }
            }
            for value in &add {
                prop_assert!(merged.contains(value));
            }
            for value in &remove {
                prop_assert!(add.contains(value) || !merged.contains(value));
            }
            for value in &merged {
                prop_assert!(current.contains(value) || add.contains(value), "{value} came from nowhere");
            }
            let kept: Vec<_> = merged.iter().filter(|value| current.contains(value)).collect();
            let before: Vec<_> = current.iter().filter(|value| merged.contains(value)).collect();
            prop_assert_eq!(kept, before, "the order is kept");
        }

        #[test]
        fn merging_twice_is_merging_once(current in values(), add in values()) {
            let once = merge(&current, &add, &[]);
            prop_assert_eq!(merge(&once, &add, &[]), once.clone());
            let gone = merge(&once, &[], &add);
            prop_assert_eq!(merge(&gone, &[], &add), gone);
        }
    }
}
