//! Two shapes that DNS hosts' APIs have, so that a host says how it reads and how it writes and nothing else.
//!
//! Where every value is a record with an id of its own, [`change_by_id`] posts what is missing and deletes what is to go: nothing
//! is ever replaced, and what is not ours is in no request. Where only whole record sets can be written, [`change_by_set`]
//! computes them with [`merge`](super::merge), keeps writers on one machine apart, and reads them back, so that a writer
//! elsewhere who put an older set back is noticed and the change made again. What other hosts share with these is here, too: how
//! names are written, which TTLs there are, what is said of an alias in the way, and [`each`].

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use futures_util::stream::{FuturesUnordered, StreamExt};

use super::{Change, Record, RecordData, Zone, ZoneEditor, merge, same, unquote};
use crate::{ErrorKind, ProviderError, Result, Retry};

/// How many requests that concern single records are under way at once.
const AT_ONCE: usize = 8;
/// How long others on this machine may keep a zone to themselves, and how often that is looked at.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);
const LOCK_PAUSE: Duration = Duration::from_millis(5);
/// The longest TTL (RFC 2181 section 8).
const MOST_TTL: u32 = 0x7fff_ffff;

/// A name as hosts have it that speak of names relative to their zone; the zone itself is empty.
#[must_use]
pub fn relative<'n>(zone: &Zone, name: &'n str) -> &'n str {
    name.strip_suffix(&zone.apex).map_or(name, |rest| rest.trim_end_matches('.'))
}

/// The same, with `@` for the zone itself.
#[must_use]
pub fn relative_or_at<'n>(zone: &Zone, name: &'n str) -> &'n str {
    match relative(zone, name) {
        "" => "@",
        name => name,
    }
}

/// The other way round: `@`, the empty name and the zone's own name are the zone itself.
#[must_use]
pub fn absolute(zone: &Zone, name: &str) -> String {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    if name.is_empty() || name == "@" || name == zone.apex {
        zone.apex.clone()
    } else {
        format!("{name}.{}", zone.apex)
    }
}

/// A name as we have it: lower case, no final dot.
#[must_use]
pub fn bare(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

/// A TTL that `vendor` takes: the one that is given, or else the usual one.
///
/// # Errors
/// [`ErrorKind::Config`] naming `ttl` when it is less than the least, or more than DNS has.
pub fn checked_ttl(ttl: Option<u32>, vendor: &str, usual: u32, least: u32) -> Result<u32> {
    let ttl = ttl.unwrap_or(usual);
    let message = if ttl < least {
        format!("ttl: {ttl} is less than {vendor} has; give {least} or more")
    } else if ttl > MOST_TTL {
        format!("ttl: {ttl} is more than DNS has; give {MOST_TTL} or less")
    } else {
        return Ok(ttl);
    };
    Err(ProviderError::new(ErrorKind::Config, message))
}

/// Makes changes, `at_once` of them at a time. One that is under way is waited for even when another fails, for a request that
/// is dropped may still be carried out, and nothing is to be written after the error is known. Refusals and lost races concern
/// one change, and the others are made all the same; any other error would be said of the others, too, so no more are begun.
///
/// # Errors
/// Of several the one that most needs a person, about the names of all of its kind.
pub async fn each<F: Future<Output = Result<()>>>(changes: impl IntoIterator<Item = F>, at_once: usize) -> Result<()> {
    let is_of_one = |kind| matches!(kind, ErrorKind::Rejected | ErrorKind::Conflict);
    let needs_a_person = |error: &ProviderError| (error.retry == Retry::No, !is_of_one(error.kind));
    let mut waiting = changes.into_iter();
    let mut under_way: FuturesUnordered<F> = waiting.by_ref().take(at_once).collect();
    let mut worst: Option<ProviderError> = None;
    let mut go_on = true;
    while let Some(done) = under_way.next().await {
        if let Err(error) = done {
            go_on &= is_of_one(error.kind);
            worst = Some(match worst {
                Some(before) if before.kind == error.kind => before.about(error.subjects),
                Some(before) if needs_a_person(&before) >= needs_a_person(&error) => before,
                _ => error,
            });
        }
        if go_on {
            under_way.extend(waiting.next());
        }
    }
    worst.map_or(Ok(()), Err)
}

/// A record at a host that gives each an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// What the host calls it.
    pub id: String,
    /// Its owner name: absolute, lower case, no final dot.
    pub name: String,
    /// `TXT`, `CNAME` …
    pub rtype: String,
    /// Its data, as the host writes it.
    pub data: String,
}

impl Listed {
    /// Whether it says what this record says, whatever quotes the host has put around it.
    fn is(&self, record: &Record) -> bool {
        self.name == record.name
            && self.rtype == record.data.rtype()
            && match &record.data {
                RecordData::Txt(text) => {
                    self.data == *text || self.data.starts_with('"') && unquote(&self.data) == text.as_bytes()
                }
                RecordData::Cname(target) => self.data.trim_end_matches('.').eq_ignore_ascii_case(target),
            }
    }
}

/// A host where every value is a record with an id.
#[async_trait]
pub trait ById: ZoneEditor {
    /// The texts and aliases at these names, and possibly at others.
    ///
    /// # Errors
    /// When they cannot be read.
    async fn read(&self, zone: &Zone, names: &[&str]) -> Result<Vec<Listed>>;

    /// Adds a record.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] or [`ErrorKind::Rejected`] also when the very same is there.
    async fn add(&self, zone: &Zone, record: &Record) -> Result<()>;

    /// Removes a record.
    ///
    /// # Errors
    /// [`ErrorKind::NotServed`] when it is gone already.
    async fn remove(&self, zone: &Zone, record: &Listed) -> Result<()>;
}

/// What is left to do of a change, given what is there.
#[derive(Debug)]
pub struct Left<'c> {
    /// Records that are missing.
    pub add: Vec<&'c Record>,
    /// Records that are to go.
    pub remove: Vec<&'c Listed>,
}

impl<'c> Left<'c> {
    /// Compares a change with the records at its names.
    ///
    /// # Errors
    /// [`ErrorKind::Rejected`] where an alias that is not ours stands in the way.
    pub fn of(change: &'c Change, there: &'c [Listed]) -> Result<Self> {
        let add: Vec<&Record> =
            change.add.iter().filter(|record| !there.iter().any(|listed| listed.is(record))).collect();
        for record in &add {
            if let Some(alias) = there.iter().find(|listed| listed.rtype == "CNAME" && listed.name == record.name) {
                return Err(alias_in_the_way(&alias.data, &record.name));
            }
        }
        let is_to_go = |listed: &&Listed| change.remove.iter().any(|record| listed.is(record));
        Ok(Self { add, remove: there.iter().filter(is_to_go).collect() })
    }
}

/// Makes a change at a host of this shape.
///
/// # Errors
/// Those of the host; [`ErrorKind::Rejected`] where an alias that is not ours stands in the way.
pub async fn change_by_id<H: ById + ?Sized>(host: &H, zone: &Zone, change: &Change) -> Result<()> {
    let there = host.read(zone, &change.names()).await?;
    let left = Left::of(change, &there)?;
    let add = left.add.iter().map(|record| async move {
        match host.add(zone, record).await {
            // Somebody else may have added the very same a moment ago.
            Err(error) if matches!(error.kind, ErrorKind::Conflict | ErrorKind::Rejected) => {
                let there = host.read(zone, &[&record.name]).await?;
                if there.iter().any(|listed| listed.is(record)) { Ok(()) } else { Err(about(error, &record.name)) }
            }
            other => other.map_err(|error| about(error, &record.name)),
        }
    });
    each(add.collect::<Vec<_>>(), AT_ONCE).await?;
    let remove = left.remove.iter().map(|listed| async move {
        match host.remove(zone, listed).await {
            Err(error) if error.kind == ErrorKind::NotServed => Ok(()),
            other => other.map_err(|error| about(error, &listed.name)),
        }
    });
    each(remove.collect::<Vec<_>>(), AT_ONCE).await
}

fn about(error: ProviderError, name: &str) -> ProviderError {
    if error.subjects.is_empty() { error.about([name]) } else { error }
}

/// The refusal where an alias that is not ours has the name: it has one target, and nothing beside it.
#[must_use]
pub fn alias_in_the_way(target: &str, name: &str) -> ProviderError {
    let message = format!("an alias of {} is there, which is not ours", target.trim_end_matches('.'));
    ProviderError::new(ErrorKind::Rejected, message).about([name])
}

/// The lost race that shows when what was written at `place` is read again: whoever read before us and wrote after us puts an older
/// record set back.
#[must_use]
pub fn put_back(place: &str, name: &str) -> ProviderError {
    let message = format!("{place}: another writer has put the record set back");
    ProviderError::new(ErrorKind::Conflict, message).about([name])
}

/// Owner name (absolute, lower case, no final dot) and type of a record set.
pub type Key = (String, &'static str);
/// Record sets by key. A set that is not there is missing or empty.
pub type Sets = BTreeMap<Key, Set>;

/// A record set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    /// The presentations of its records.
    pub values: Vec<String>,
    /// Its TTL in seconds; `None` for one that is to be made.
    pub ttl: Option<u32>,
}

/// A host where only whole record sets can be written.
#[async_trait]
pub trait BySet: ZoneEditor {
    /// What is in these record sets, and possibly in others.
    ///
    /// # Errors
    /// When they cannot be read.
    async fn read(&self, zone: &Zone, keys: &BTreeSet<Key>) -> Result<Sets>;

    /// Writes these record sets, in as few requests as the host takes; an empty one is deleted.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] when another writer was faster and the whole change is to be made again.
    async fn write(&self, zone: &Zone, sets: &Sets) -> Result<()>;
}

/// Makes a change at a host of this shape.
///
/// # Errors
/// Those of the host; [`ErrorKind::Rejected`] where an alias that is not ours stands in the way; [`ErrorKind::Conflict`] when
/// another writer has undone the change, which is then made again.
pub async fn change_by_set<H: BySet + ?Sized>(host: &H, zone: &Zone, change: &Change) -> Result<()> {
    let _alone = alone(&format!("{}-{}", host.descriptor().id, host.place()), zone).await;
    let wanted = change.by_record_set();
    // An alias in the way shows in a set of its own.
    let keys: BTreeSet<Key> =
        wanted.keys().flat_map(|(name, rtype)| [(name.clone(), *rtype), (name.clone(), "CNAME")]).collect();
    let there = host.read(zone, &keys).await?;
    let none = Set::default();
    let mut sets = Sets::new();
    for (key, (add, remove)) in &wanted {
        let before = there.get(key).unwrap_or(&none);
        let after = merge(&before.values, add, remove);
        if after == before.values {
            continue;
        }
        let foreign = there.get(&(key.0.clone(), "CNAME")).and_then(|set| set.values.first());
        if let Some(target) = foreign.filter(|_| !add.is_empty()) {
            return Err(alias_in_the_way(target, &key.0));
        }
        sets.insert(key.clone(), Set { values: after, ttl: before.ttl });
    }
    if sets.is_empty() {
        return Ok(());
    }
    host.write(zone, &sets).await?;
    let there = host.read(zone, &sets.keys().cloned().collect()).await?;
    let holds =
        |key: &Key, value: &String| there.get(key).is_some_and(|set| set.values.iter().any(|one| same(one, value)));
    for (key, (add, remove)) in wanted.iter().filter(|(key, _)| sets.contains_key(*key)) {
        if !add.iter().all(|value| holds(key, value)) || remove.iter().any(|value| holds(key, value)) {
            return Err(put_back(&host.place(), &key.0));
        }
    }
    Ok(())
}

/// Keeps other processes on this machine from changing the zone at the same time. Without a lock file, or where somebody keeps it
/// for too long, the check after the write has to do.
pub async fn alone(host: &str, zone: &Zone) -> Option<File> {
    let name: String = format!("dcv-{host}-{}.lock", zone.id)
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') { c } else { '_' })
        .collect();
    let opened = File::options().create(true).append(true).open(std::env::temp_dir().join(name));
    let file = opened.inspect_err(|error| tracing::debug!(%error, "no lock file")).ok()?;
    let until = Instant::now() + LOCK_PATIENCE;
    // Tried again and again, for a thread that waits in the system's call cannot be cancelled.
    while file.try_lock().is_err() {
        if Instant::now() >= until {
            tracing::debug!(zone = zone.apex, "somebody keeps the lock file");
            return None;
        }
        tokio::time::sleep(LOCK_PAUSE).await;
    }
    Some(file)
}

#[cfg(test)]
mod tests {
    use std::{
        cell::{Cell, RefCell},
        future::poll_fn,
        task::{Context, Poll, Waker},
    };

    use futures_util::FutureExt;

    use super::{super::ZoneList, *};

    #[test]
    fn names_go_both_ways() {
        let zone = Zone { apex: "example.com".to_owned(), id: "1".to_owned() };
        for (name, short) in
            [("example.com", "@"), ("a.example.com", "a"), ("_dnsauth.www.example.com", "_dnsauth.www")]
        {
            assert_eq!(relative_or_at(&zone, name), short);
            assert_eq!(absolute(&zone, short), name);
        }
        assert_eq!((absolute(&zone, ""), relative(&zone, "example.com")), ("example.com".to_owned(), ""));
        assert_eq!(absolute(&zone, "WWW"), "www.example.com");
    }

    #[test]
    fn ttls_are_within_what_the_vendor_and_dns_have() {
        let checked = |ttl| checked_ttl(ttl, "Shelf", 60, 30).map_err(|error| error.to_string());
        assert_eq!((checked(None), checked(Some(30)), checked(Some(MOST_TTL))), (Ok(60), Ok(30), Ok(MOST_TTL)));
        assert_eq!(checked(Some(29)), Err("ttl: 29 is less than Shelf has; give 30 or more".to_owned()));
        let long = "ttl: 2147483648 is more than DNS has; give 2147483647 or less";
        assert_eq!(checked(Some(MOST_TTL + 1)), Err(long.to_owned()));
    }

    #[test]
    fn what_is_under_way_is_waited_for_though_others_have_failed() {
        let (begun, answer, waker) = (RefCell::new(Vec::new()), Cell::new(None), Cell::new(None));
        let change = |n: usize| {
            let (begun, answer, waker) = (&begun, &answer, &waker);
            async move {
                begun.borrow_mut().push(n);
                match n {
                    0 => Err(ProviderError::new(ErrorKind::Rejected, "no").about(["a"])),
                    1 => {
                        poll_fn(|context| {
                            waker.set(Some(context.waker().clone()));
                            answer.take().map_or(Poll::Pending, Poll::Ready)
                        })
                        .await
                    }
                    2 => Err(ProviderError::new(ErrorKind::Rejected, "no").about(["b"])),
                    3 => Err(ProviderError::new(ErrorKind::Unavailable, "down")),
                    _ => Ok(()),
                }
            }
        };
        let mut changes = Box::pin(each((0..9).map(change), 2));
        let mut context = Context::from_waker(Waker::noop());
        assert!(changes.as_mut().poll(&mut context).is_pending(), "the second may still be carried out");
        assert_eq!(*begun.borrow(), [0, 1, 2, 3], "a refusal does not keep others back, a host that is down does");
        answer.set(Some(Ok(())));
        waker.take().map(Waker::wake).expect("it is waited for");
        let Poll::Ready(Err(error)) = changes.as_mut().poll(&mut context) else { panic!("all is answered") };
        assert_eq!((error.kind, error.to_string().as_str()), (ErrorKind::Rejected, "no (a, b)"));
        assert_eq!(begun.borrow().len(), 4, "no more are begun");
    }

    #[test]
    fn zones_of_a_configuration_are_not_asked_for() {
        let zone = |name: &str| Zone { apex: bare(name), id: String::new() };
        let fixed = ZoneList::of([zone("Example.COM."), zone("sub.example.com")]);
        let found = |name| {
            let ask = async { panic!("nobody is to be asked") };
            fixed.around(name, ask).now_or_never().expect("no waiting").expect("no error")
        };
        assert_eq!(found("_dnsauth.www.example.com"), [zone("example.com")]);
        assert_eq!(found("a.sub.example.com"), [zone("sub.example.com")]);
        assert_eq!(found("example.org"), []);
        assert!(fixed.is_fixed() && !ZoneList::default().is_fixed());
    }

    #[test]
    fn records_are_compared_by_what_they_say() {
        let listed = |rtype: &str, data: &str| Listed {
            id: "1".to_owned(),
            name: "a.example.com".to_owned(),
            rtype: rtype.to_owned(),
            data: data.to_owned(),
        };
        let record = |name: &str, data| Record { name: name.to_owned(), data };
        let txt = |text: &str| record("a.example.com", RecordData::Txt(text.to_owned()));
        for (data, text, equal) in [
            ("abc", "abc", true),
            ("\"abc\"", "abc", true),
            ("\"ab\" \"c\"", "abc", true),
            ("a\"b", "a\"b", true),
            (r#""a\"b""#, "a\"b", true),
            ("Abc", "abc", false),
        ] {
            assert_eq!(listed("TXT", data).is(&txt(text)), equal, "{data} and {text}");
        }
        let alias = record("a.example.com", RecordData::Cname("T.example.net".to_owned()));
        assert!(listed("CNAME", "t.example.net.").is(&alias));
        assert!(!listed("TXT", "T.example.net").is(&alias));
        assert!(!listed("CNAME", "t.example.net").is(&record("b.example.com", alias.data.clone())));
    }
}
