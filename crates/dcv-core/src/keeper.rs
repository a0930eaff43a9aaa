//! Keeping certificates and validations alive: what has to be done for each of them, when, and why.
//!
//! Everything here is pure and decides; whoever calls it looks at files, journal and account before, and carries the tasks out
//! after. The rules:
//!
//! - a certificate is replaced when a third of its life is left, or less where the owner says so: a fraction, so that it holds for
//!   397 days as for 47;
//! - a certificate is reissued as long as its order lives longer than it does, which costs nothing, and renewed by a new order after;
//! - what was asked for and is not there (no certificate, a name that is missing) is done now, within the order where there is one: what is
//!   lost is had again for nothing;
//! - what was done three times within an hour and is to be done again is left alone for an hour: something undoes it;
//! - a run that is open already is continued, and nothing else is begun beside it; one that waits for people or for the CA is left
//!   alone until the CA tells of a change, or half a day has passed;
//! - work is spread: every label has its own moment within a tenth of the life before, always the same, so that ten thousand
//!   certificates of one day do not become due in one hour.

use std::{
    collections::BTreeSet,
    hash::{DefaultHasher, Hash, Hasher},
};

use certcentral::OrderId;
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use serde::Serialize;

use crate::{
    limits,
    state::{RunId, Waiting},
};

/// What a certificate has to bring to be worth asking for: a day more is not, and a reissue right after the last brings nothing.
const WORTH: SignedDuration = SignedDuration::from_hours(24 * 7);

/// How long a run that waits for others is left alone when nothing is heard of it: the CA may have told and not been heard.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_hours(12);

/// How long something is left alone that was done three times within as long.
const CALM: SignedDuration = SignedDuration::from_hours(1);

/// How early things are done.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// The part of a life that is left when something is replaced: 0 to 1. Default a third.
    pub left: f64,
    /// The part of a life by which labels are spread before that. Default a tenth.
    pub spread: f64,
}

impl Default for Policy {
    fn default() -> Self {
        Self { left: 1.0 / 3.0, spread: 0.1 }
    }
}

/// A certificate that is to be kept.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// What its owner calls it.
    pub label: String,
    /// Its names, A-labels, the first being the common name.
    pub names: Vec<String>,
    /// Its product.
    pub product: String,
}

/// The certificate that is there.
#[derive(Clone, Debug)]
pub struct Present {
    /// Begin of validity.
    pub not_before: Timestamp,
    /// End of validity.
    pub not_after: Timestamp,
    /// Its names.
    pub names: Vec<String>,
}

/// The order of a certificate.
#[derive(Clone, Copy, Debug)]
pub struct OrderOfIt {
    /// Its number.
    pub id: OrderId,
    /// Its end, if the CA has said.
    pub until: Option<Timestamp>,
    /// Whether it is neither revoked, canceled nor rejected.
    pub lives: bool,
}

/// What the journal and the account know of a certificate or a domain.
#[derive(Clone, Copy, Debug, Default)]
pub struct SoFar<'a> {
    /// The order that its certificate came from.
    pub order: Option<OrderOfIt>,
    /// When the third last and the last of its runs came to a good end.
    pub done: Option<(Timestamp, Timestamp)>,
    /// A run for it that is not closed.
    pub open: Option<Open<'a>>,
    /// Runs that have come to a bad end since the last good one.
    pub trouble: Option<&'a Trouble>,
}

/// A run that is not closed.
#[derive(Clone, Copy, Debug)]
pub struct Open<'a> {
    /// The run.
    pub run: &'a RunId,
    /// Whom it waits for, and when that was found out. `None` when it waits for nobody, or something has been heard since.
    pub waits: Option<(&'a Waiting, Timestamp)>,
}

impl Open<'_> {
    /// What is to be done with it, when, and why.
    fn task(&self, now: Timestamp) -> (Act, Timestamp, String) {
        let act = Act::Resume { run: self.run.clone() };
        match self.waits {
            Some((waiting, since)) if waiting.is_for_the_ca_to_tell() => (act, since + LOOK_AGAIN, waiting.to_string()),
            _ => (act, now, format!("run {} is open", self.run)),
        }
    }
}

/// Runs that have come to a bad end, one after the other.
#[derive(Clone, Debug)]
pub struct Trouble {
    /// When the last of them ended.
    pub at: Timestamp,
    /// How many they are.
    pub times: u32,
    /// Why the last of them ended.
    pub reason: String,
}

impl Trouble {
    /// When it may be tried again: after an hour, then two, four, up to a day. An order that the CA has refused is not sent again
    /// and again, however often this program is started.
    fn until(&self) -> Timestamp {
        let hours = 1i64 << self.times.clamp(1, 6).saturating_sub(1);
        self.at + SignedDuration::from_hours(hours.min(24))
    }
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "act", rename_all = "snake_case")]
pub enum Act {
    /// Go on with a run that is open.
    Resume {
        /// The run.
        run: RunId,
    },
    /// Order it for the first time.
    Order,
    /// Order its successor.
    Renew {
        /// The order that ends.
        order_id: OrderId,
    },
    /// Reissue it within its order.
    Reissue {
        /// The order.
        order_id: OrderId,
    },
    /// Validate a domain ahead.
    Validate,
}

impl Act {
    /// In a word.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Resume { .. } => "resume",
            Self::Order => "order",
            Self::Renew { .. } => "renew",
            Self::Reissue { .. } => "reissue",
            Self::Validate => "validate",
        }
    }
}

/// Something to be done at a time, for a reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Task {
    /// The certificate's label, or the domain.
    pub label: String,
    /// What.
    #[serde(flatten)]
    pub act: Act,
    /// When; in the past or now means at once.
    #[serde(serialize_with = "as_text")]
    pub at: Timestamp,
    /// When it is too late.
    #[serde(serialize_with = "as_text_if_any")]
    pub ends: Option<Timestamp>,
    /// Why, in one line.
    pub why: String,
}

fn as_text<S: serde::Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(at)
}

#[expect(clippy::ref_option, reason = "the signature is serde's")]
fn as_text_if_any<S: serde::Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    at.map(|at| at.to_string()).serialize(serializer)
}

impl Task {
    /// Whether it is to be done by now.
    #[must_use]
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.at <= now
    }

    /// How pressing it is: what has ended or ends first comes first, then what is open, then the rest by its time.
    #[must_use]
    pub fn urgency(&self) -> (Timestamp, Timestamp) {
        (self.ends.unwrap_or(self.at), self.at)
    }
}

/// What has to be done for a certificate.
#[must_use]
pub fn certificate(
    wanted: &Wanted,
    present: Option<&Present>,
    so_far: &SoFar<'_>,
    now: Timestamp,
    policy: Policy,
) -> Task {
    let ends = present.map(|present| present.not_after);
    let task = |act, at, why| put_off(Task { label: wanted.label.clone(), act, at, ends, why }, so_far);
    if let Some(open) = so_far.open {
        let (act, at, why) = open.task(now);
        return task(act, at, why);
    }
    let order = so_far.order.filter(|order| order.lives);
    let Some(present) = present else {
        let why = order.map(|order| format!("the certificate of order {} is not there", order.id));
        return task(within(order, now), now, why.unwrap_or_else(|| "there is no certificate yet".to_owned()));
    };
    if !are_names(&wanted.names, &present.names) {
        let why = format!("its names are {}, and {} are wanted", present.names.join(" "), wanted.names.join(" "));
        return task(within(order, now), now, why);
    }
    if so_far.order.is_some() && order.is_none() {
        return task(Act::Order, now, "its order is revoked or canceled".to_owned());
    }
    let at = due(present.not_before, present.not_after, &wanted.label, policy);
    let act = replacement(present, order, &wanted.product, now.max(at));
    let left = present.not_after.duration_since(now).as_hours().max(0) / 24;
    task(act, at, format!("it ends on {}, in {left} days", day(present.not_after)))
}

/// A task that is put off for what happened before. Going on with what is open never is.
fn put_off(mut task: Task, so_far: &SoFar<'_>) -> Task {
    if matches!(task.act, Act::Resume { .. }) {
        return task;
    }
    if let Some(trouble) = so_far.trouble
        && trouble.until() > task.at
    {
        task.at = trouble.until();
        task.why = format!("{}; the last attempt came to nothing: {}", task.why, trouble.reason);
    }
    if let Some((third_last, last)) = so_far.done
        && last.duration_since(third_last) < CALM
        && last + CALM > task.at
    {
        task.at = last + CALM;
        task.why = format!("{}; it was done three times within an hour, so something undoes it", task.why);
    }
    task
}

/// How a certificate that is lost, or has to get other names, is had again: by a reissue as long as its order has a week to live, as
/// far as is known.
fn within(order: Option<OrderOfIt>, now: Timestamp) -> Act {
    match order {
        None => Act::Order,
        Some(order) if order.until.is_some_and(|until| until.duration_since(now) < WORTH) => {
            Act::Renew { order_id: order.id }
        }
        Some(order) => Act::Reissue { order_id: order.id },
    }
}

/// How a certificate is replaced when its time has come: by a reissue as long as that brings a later end, else by a new order.
fn replacement(present: &Present, order: Option<OrderOfIt>, product: &str, then: Timestamp) -> Act {
    let Some(order) = order else { return Act::Order };
    let most = if limits::is_private(product) { 397 } else { limits::on(date(then)).certificate_days };
    let possible = then + SignedDuration::from_hours(24 * i64::from(most));
    let brings = order.until.map(|until| until.min(possible));
    match brings {
        Some(end) if end.duration_since(present.not_after) >= WORTH => Act::Reissue { order_id: order.id },
        _ => Act::Renew { order_id: order.id },
    }
}

/// What has to be done for a domain that is kept validated, by when its validation ends.
#[must_use]
pub fn domain(name: &str, until: Option<Timestamp>, so_far: &SoFar<'_>, now: Timestamp, policy: Policy) -> Task {
    let task = |act, at, why| put_off(Task { label: name.to_owned(), act, at, ends: until, why }, so_far);
    if let Some(open) = so_far.open {
        let (act, at, why) = open.task(now);
        return task(act, at, why);
    }
    let Some(until) = until else { return task(Act::Validate, now, "it is not validated".to_owned()) };
    // When the validation began is not told; it cannot have been longer ago than its life.
    let life = SignedDuration::from_hours(24 * i64::from(limits::on(date(now)).dcv_days));
    let at = due(until - life, until, name, policy);
    let left = until.duration_since(now).as_hours().max(0) / 24;
    task(Act::Validate, at, format!("its validation ends on {}, in {left} days", day(until)))
}

/// The moment for what lives from `begin` to `end`: the same for a label each time it is asked.
fn due(begin: Timestamp, end: Timestamp, label: &str, policy: Policy) -> Timestamp {
    let life = end.duration_since(begin).as_secs_f64().max(0.0);
    let mut hasher = DefaultHasher::new();
    label.hash(&mut hasher);
    #[expect(clippy::cast_precision_loss, reason = "a place within a tenth of a life need not be exact")]
    let place = (hasher.finish() >> 11) as f64 / (1u64 << 53) as f64;
    let left = life * (policy.left + policy.spread * place).clamp(0.0, 1.0);
    end - SignedDuration::try_from_secs_f64(left).unwrap_or_default()
}

/// Whether a certificate has the wanted names and none that is not wanted, but those which the CA adds for nothing (API page "Order
/// SSL": `example.com` to `www.example.com` and to `*.example.com`, `www.example.com` to `example.com`).
fn are_names(wanted: &[String], present: &[String]) -> bool {
    let lower = |names: &[String]| names.iter().map(|name| name.to_ascii_lowercase()).collect::<BTreeSet<String>>();
    let (wanted, present) = (lower(wanted), lower(present));
    let is_added = |name: &String| {
        let bare = |wanted: &String| wanted.strip_prefix("www.").or(wanted.strip_prefix("*.")) == Some(name.as_str());
        wanted.iter().any(bare) || name.strip_prefix("www.").is_some_and(|bare| wanted.contains(bare))
    };
    wanted.is_subset(&present) && present.difference(&wanted).all(is_added)
}

fn date(at: Timestamp) -> jiff::civil::Date {
    at.to_zoned_datetime(TimeZone::UTC).date()
}

fn day(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Actor;

    const EXACT: Policy = Policy { left: 1.0 / 3.0, spread: 0.0 };

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a timestamp")
    }

    fn wanted() -> Wanted {
        Wanted {
            label: "shop".to_owned(),
            names: vec!["shop.example.com".to_owned(), "www.example.com".to_owned()],
            product: "ssl_basic".to_owned(),
        }
    }

    fn present() -> Present {
        Present {
            not_before: at("2027-04-01T00:00:00Z"),
            not_after: at("2027-06-30T00:00:00Z"),
            names: vec!["www.example.com".to_owned(), "SHOP.example.com".to_owned()],
        }
    }

    fn of_order(until: Option<&str>, lives: bool) -> SoFar<'static> {
        let order = OrderOfIt { id: OrderId(7), until: until.map(at), lives };
        SoFar { order: Some(order), ..SoFar::default() }
    }

    #[test]
    fn each_state_has_its_act_and_its_time() {
        let (now, third) = (at("2027-05-01T00:00:00Z"), at("2027-05-31T00:00:00Z"));
        let (reissue, renew) = (Act::Reissue { order_id: OrderId(7) }, Act::Renew { order_id: OrderId(7) });
        let plan = |present: Option<&Present>, so_far| certificate(&wanted(), present, &so_far, now, EXACT);
        let living = of_order(Some("2028-04-01T00:00:00Z"), true);
        let long = plan(Some(&present()), living);
        assert_eq!((long.act, long.at), (reissue.clone(), third), "the order lives on");
        let ending = plan(Some(&present()), of_order(Some("2027-07-02T00:00:00Z"), true));
        assert_eq!((ending.act, ending.at), (renew.clone(), third), "a reissue would bring two days");
        let unknown = plan(Some(&present()), of_order(None, true));
        assert_eq!(unknown.act, renew, "nobody knows how long the order lives");
        let fresh = Present { not_before: now, not_after: at("2027-08-09T00:00:00Z"), ..present() };
        assert_eq!(
            plan(Some(&fresh), living).act,
            reissue,
            "a reissue brings nothing today, but it will when it is due"
        );
        assert_eq!(plan(None, SoFar::default()).act, Act::Order);
        let lost = plan(None, living);
        assert_eq!((lost.act, lost.at), (reissue.clone(), now), "what is lost is had again for nothing");
        assert_eq!(plan(None, of_order(Some("2027-05-03T00:00:00Z"), true)).act, renew);
        assert_eq!(plan(None, of_order(None, false)).act, Act::Order);
        let revoked = plan(Some(&present()), of_order(Some("2028-04-01T00:00:00Z"), false));
        assert_eq!((revoked.act, revoked.at), (Act::Order, now));
        let mut other = wanted();
        other.names.push("new.example.com".to_owned());
        let changed = certificate(&other, Some(&present()), &living, now, EXACT);
        assert_eq!((changed.act.word(), changed.at), ("reissue", now));
        let run: RunId = "dcv-1".parse().expect("an id");
        let with =
            |open: Open<'_>| certificate(&other, None, &SoFar { open: Some(open), ..SoFar::default() }, now, EXACT);
        let open = with(Open { run: &run, waits: None });
        assert_eq!((open.act, open.at), (Act::Resume { run: run.clone() }, now), "nothing is begun beside it");
        for (on, hours) in [(Actor::Approver, 11), (Actor::Issuance, 11), (Actor::Propagation, 0)] {
            let waiting = Waiting { on, what: "something".to_owned() };
            let since = now - SignedDuration::from_hours(1);
            let left_alone = with(Open { run: &run, waits: Some((&waiting, since)) });
            assert_eq!(left_alone.at.duration_since(now).as_hours(), hours, "{on}");
        }
        for (times, hours) in [(1, 1), (2, 2), (4, 8), (6, 24), (99, 24)] {
            let trouble = Trouble { at: now, times, reason: "rejected".to_owned() };
            let so_far = SoFar { trouble: Some(&trouble), ..SoFar::default() };
            let put_off = certificate(&wanted(), None, &so_far, now, EXACT);
            assert_eq!(put_off.at.duration_since(now).as_hours(), hours, "{times}");
            assert!(put_off.why.contains("rejected"), "{}", put_off.why);
        }
    }

    #[test]
    fn what_is_undone_again_and_again_is_not_done_again_at_once() {
        let now = at("2027-05-01T12:00:00Z");
        for (third_last, last, wait) in [
            ("2027-05-01T11:20:00Z", "2027-05-01T11:50:00Z", 50),
            ("2027-05-01T10:20:00Z", "2027-05-01T10:50:00Z", 0),
            ("2027-04-01T11:20:00Z", "2027-05-01T11:50:00Z", 0),
        ] {
            let so_far = SoFar { done: Some((at(third_last), at(last))), ..SoFar::default() };
            let task = certificate(&wanted(), None, &so_far, now, EXACT);
            assert_eq!(task.at.duration_since(now).as_mins(), wait, "{third_last}");
            assert_eq!(task.why.contains("three times"), wait > 0, "{}", task.why);
        }
    }

    #[test]
    fn names_that_the_ca_adds_for_nothing_are_no_reason_to_reissue() {
        let names = |list: &str| list.split(' ').map(str::to_owned).collect::<Vec<_>>();
        for (wanted, present, same) in [
            ("a.com b.com", "B.com a.com", true),
            ("www.a.com", "www.a.com a.com", true),
            ("a.com", "a.com www.a.com", true),
            ("*.a.com", "*.a.com a.com", true),
            ("a.com", "a.com b.com", false),
            ("www.a.com", "a.com", false),
            ("shop.a.com", "shop.a.com a.com", false),
            ("a.com b.com", "a.com", false),
        ] {
            assert_eq!(are_names(&names(wanted), &names(present)), same, "{wanted}: {present}");
        }
    }

    #[test]
    fn domains_are_validated_ahead_of_their_end() {
        let now = at("2027-05-01T00:00:00Z");
        assert_eq!(domain("example.com", None, &SoFar::default(), now, EXACT).at, now);
        // 100 days of life then, so that a third is left at day 67.
        let until = now + SignedDuration::from_hours(24 * 60);
        let task = domain("example.com", Some(until), &SoFar::default(), now, EXACT);
        assert_eq!((task.act, task.ends), (Act::Validate, Some(until)));
        let left = until.duration_since(task.at).as_hours();
        assert!((799..=801).contains(&left), "{left}");
        assert!(!domain("example.com", Some(until), &SoFar::default(), now, EXACT).is_due(now));
        assert!(domain("example.com", Some(now), &SoFar::default(), now, EXACT).is_due(now));
    }

    #[test]
    fn labels_are_spread_and_stay_where_they_are() {
        let (begin, end) = (at("2027-01-01T00:00:00Z"), at("2027-04-11T00:00:00Z"));
        let moments: Vec<Timestamp> = (0..1000).map(|n| due(begin, end, &format!("c{n}"), Policy::default())).collect();
        assert_eq!(moments[7], due(begin, end, "c7", Policy::default()));
        let left = |at: &Timestamp| end.duration_since(*at).as_hours();
        // A third to a third and a tenth of 100 days.
        assert!(moments.iter().all(|at| (799..=1041).contains(&left(at))));
        let early = moments.iter().filter(|at| left(at) > 920).count();
        assert!((350..650).contains(&early), "{early} of 1000 in the first half");
    }
}
