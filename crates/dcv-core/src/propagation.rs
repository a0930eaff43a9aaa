//! Is a proof visible everywhere the CA may look?
//!
//! The CA looks from several places of the world, through resolvers that pick any address of any name server of the zone (BR
//! 3.2.2.9, multi-perspective corroboration). So every address of every authoritative server, whether the zone names it or only the
//! delegation does, is asked, directly and without recursion, all at once and each with its own deadline; only when they agree are
//! recursive resolvers asked, which would otherwise remember that there is nothing.
//!
//! A server that answers without the value holds the check back: it lags. A server that does not answer, or is no
//! authority, is a line in the verdict and holds nothing back as long as another one shows the value: the CA's resolvers
//! get over it, too. [`Policy::every_server`] is for those who want to be stricter.
//!
//! Each round asks only those who did not show the value yet. When all have, everything is looked at once more in one go, so
//! that a value which another writer has removed meanwhile is missed.
//!
//! What counts as showing is the CA's own rule: the value anywhere in one character-string of one TXT record, byte for byte;
//! the target of a CNAME that is not followed; the body of a file within its first 5000 characters. What is reached through a DNAME
//! it does not read.

mod web;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use dcv_provider::{
    Proof,
    dns::{Answer, Dns, DnsError, Recursion, ZoneServers, is_within},
};
use futures_util::future::join_all;
use hickory_proto::rr::{RData, RecordType};
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::key::printable;

/// When a proof counts as visible, and how patiently it is looked for.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Whether anything is looked at before the CA is asked. Default yes. No is for networks from which the public view
    /// cannot be had.
    pub enabled: bool,
    /// Whether servers that are dead or no authority hold the check back, too. Default no.
    pub every_server: bool,
    /// Resolvers that have to agree after the authorities. Default none.
    pub resolvers: Vec<SocketAddr>,
    /// How many rounds in a row everything has to show, for anycast networks whose nodes differ. Default 1.
    pub rounds: u32,
    /// First pause between rounds; it grows to 2 seconds. Default 50 ms.
    pub pause: Duration,
    /// How long to look at most. Default 10 minutes.
    pub give_up_after: Duration,
    /// Ports of web servers: HTTP and HTTPS. Default 80 and 443.
    pub web_ports: (u16, u16),
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            enabled: true,
            every_server: false,
            resolvers: Vec::new(),
            rounds: 1,
            pause: Duration::from_millis(50),
            give_up_after: Duration::from_secs(600),
            web_ports: (80, 443),
        }
    }
}

const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How many aliases and delegations are followed.
const MOST_HOPS: usize = 8;

/// What one place shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "sight", content = "detail", rename_all = "snake_case")]
pub enum Sight {
    /// The value.
    Shows,
    /// An answer without the value: what it holds instead.
    Lacks(Vec<String>),
    /// As `Lacks`, at a place that showed the value before: somebody has removed it.
    Lost(Vec<String>),
    /// As `Lacks`, from a cache.
    Caches {
        /// What it holds instead.
        instead: Vec<String>,
        /// For how many seconds more.
        seconds: u32,
    },
    /// No answer.
    Dead(String),
    /// An answer that does not count: an error, or not from an authority.
    Lame(String),
}

impl Sight {
    /// Whether this is an answer that counts, and the value is not in it.
    pub fn is_without(&self) -> bool {
        matches!(self, Self::Lacks(_) | Self::Lost(_) | Self::Caches { .. })
    }
}

/// A place that was asked, and what it shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct View {
    /// The name server's name, `resolver`, or the scheme of a URL.
    pub place: String,
    /// Its address, or the URL.
    pub address: String,
    /// What it shows.
    #[serde(flatten)]
    pub sight: Sight,
}

/// All views of one proof.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProofView {
    /// The proof.
    pub proof: Proof,
    /// What each place shows.
    pub views: Vec<View>,
    /// Whether that is enough.
    pub visible: bool,
}

impl ProofView {
    /// Places that show the value, and places that count.
    pub fn count(&self) -> (usize, usize) {
        let shows = self.views.iter().filter(|view| view.sight == Sight::Shows).count();
        let lacks = self.views.iter().filter(|view| view.sight.is_without()).count();
        (shows, shows + lacks)
    }
}

/// What was seen of a set of proofs. As text, one line for each place that does not show its value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// One entry for each proof, in the order given.
    pub proofs: Vec<ProofView>,
}

impl Verdict {
    /// Whether every proof is visible.
    pub fn all_visible(&self) -> bool {
        self.proofs.iter().all(|proof| proof.visible)
    }

    /// What is missing, in one line.
    pub fn summary(&self) -> String {
        let missing: Vec<String> = self.proofs.iter().filter(|view| !view.visible).map(ProofView::to_string).collect();
        match missing.as_slice() {
            [] => format!("{} proofs are visible", self.proofs.len()),
            [one] => one.clone(),
            [one, rest @ ..] => format!("{one}; and {} more", rest.len()),
        }
    }
}

impl fmt::Display for ProofView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (shows, counted) = self.count();
        write!(f, "{}: {shows} of {counted} show it", self.proof)?;
        for view in self.views.iter().filter(|view| view.sight != Sight::Shows) {
            write!(f, "; {view}")?;
        }
        Ok(())
    }
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ", self.place, self.address)?;
        match &self.sight {
            Sight::Shows => f.write_str("shows it"),
            Sight::Lacks(instead) if instead.is_empty() => f.write_str("has nothing there yet"),
            Sight::Lacks(instead) => write!(f, "has {} instead", instead.join(" | ")),
            Sight::Lost(instead) if instead.is_empty() => f.write_str("showed it and has nothing there any more"),
            Sight::Lost(instead) => write!(f, "showed it and now has {}", instead.join(" | ")),
            Sight::Caches { instead, seconds } if instead.is_empty() => {
                write!(f, "remembers for another {seconds} s that there is nothing")
            }
            Sight::Caches { instead, seconds } => {
                write!(f, "has {} instead, for another {seconds} s", instead.join(" | "))
            }
            Sight::Dead(reason) | Sight::Lame(reason) => f.write_str(reason),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.summary())
    }
}

/// Looks until every proof is visible or the policy's time is over, and returns what was seen last; with no time at all it
/// looks once. `observe` is told after each round that changed something.
pub async fn wait_visible(dns: &Dns, proofs: &[Proof], policy: &Policy, observe: impl Fn(&Verdict)) -> Verdict {
    let deadline = Instant::now() + policy.give_up_after;
    let mut watch = Watch::new(dns, proofs, policy);
    let mut pause = policy.pause;
    let mut clean = 0;
    let mut looks = 0;
    let mut extent = Extent::Open;
    let mut last = None;
    loop {
        watch.look(extent).await;
        looks += 1;
        let verdict = watch.verdict();
        if last.as_ref() != Some(&verdict) {
            observe(&verdict);
        }
        match (verdict.all_visible(), looks) {
            (false, _) => {
                clean = 0;
                if Instant::now() + pause > deadline {
                    return verdict;
                }
                extent = Extent::Open;
            }
            (true, 1) => {
                clean += 1;
                if clean >= policy.rounds {
                    return verdict;
                }
                (extent, looks, pause) = (Extent::Open, 0, policy.pause);
                watch.forget(extent);
            }
            // What was put together from several looks is not yet a picture of one moment.
            (true, _) => {
                (extent, looks, pause) = (Extent::Shown, 0, policy.pause);
                watch.forget(extent);
                last = Some(verdict);
                continue;
            }
        }
        last = Some(verdict);
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// The state of looking: what has been shown stays shown, so that each round asks only those places that lack something.
struct Watch<'a> {
    dns: &'a Dns,
    policy: &'a Policy,
    watched: Vec<Watched>,
}

/// Whom a look concerns, besides places not looked at yet.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// Those who do not show the value.
    Open,
    /// Those who did; the dead are not waited for again.
    Shown,
}

struct Watched {
    proof: Proof,
    /// Where the record is in truth, when an alias leads elsewhere.
    owner: String,
    /// The zone that holds it, as far as it is found.
    zone: Option<Arc<ZoneServers>>,
    /// Whether the servers have confirmed that it is this zone.
    settled: bool,
    authorities: BTreeMap<(String, SocketAddr), Sight>,
    /// Authorities that showed the value at some time.
    showed: BTreeSet<(String, SocketAddr)>,
    /// Resolvers, or URLs.
    others: BTreeMap<(String, String), Sight>,
    trouble: Option<String>,
}

impl Watched {
    fn authorities_agree(&self, every_server: bool) -> bool {
        agree(self.authorities.values(), every_server) && !(every_server && self.trouble.is_some())
    }

    /// The record is elsewhere, or in another zone, than was thought.
    fn goes_on_at(&mut self, owner: String, zone: Option<Arc<ZoneServers>>) {
        (self.owner, self.zone, self.settled) = (owner, zone, false);
        self.trouble = Some("its aliases and delegations do not end".to_owned());
        self.authorities.clear();
        self.showed.clear();
    }

    fn take(&mut self, place: (String, SocketAddr), sight: Sight) {
        let sight = match sight {
            Sight::Lacks(instead) if self.showed.contains(&place) => Sight::Lost(instead),
            sight => sight,
        };
        if sight == Sight::Shows {
            self.showed.insert(place.clone());
        }
        self.authorities.insert(place, sight);
    }

    fn views(&self) -> Vec<View> {
        let authorities = self.authorities.iter().map(|((place, address), sight)| View {
            place: place.clone(),
            address: address.to_string(),
            sight: sight.clone(),
        });
        let others = self.others.iter().map(|((place, address), sight)| View {
            place: place.clone(),
            address: address.clone(),
            sight: sight.clone(),
        });
        let trouble = self.trouble.iter().map(|reason| View {
            place: "zone of".to_owned(),
            address: self.owner.clone(),
            sight: Sight::Dead(reason.clone()),
        });
        authorities.chain(others).chain(trouble).collect()
    }
}

/// Whether these sights are enough: somebody shows the value, nobody lacks it.
fn agree<'s>(sights: impl Iterator<Item = &'s Sight>, every_server: bool) -> bool {
    let mut shown = false;
    for sight in sights {
        match sight {
            Sight::Shows => shown = true,
            Sight::Lacks(_) | Sight::Lost(_) | Sight::Caches { .. } => return false,
            Sight::Dead(_) | Sight::Lame(_) if every_server => return false,
            Sight::Dead(_) | Sight::Lame(_) => {}
        }
    }
    shown
}

impl<'a> Watch<'a> {
    fn new(dns: &'a Dns, proofs: &[Proof], policy: &'a Policy) -> Self {
        let watched = proofs.iter().map(|proof| Watched {
            owner: proof.name().to_owned(),
            proof: proof.clone(),
            zone: None,
            settled: false,
            authorities: BTreeMap::new(),
            showed: BTreeSet::new(),
            others: BTreeMap::new(),
            trouble: None,
        });
        Self { dns, policy, watched: watched.collect() }
    }

    fn verdict(&self) -> Verdict {
        let proofs = self.watched.iter().map(|watched| {
            let visible = !self.policy.enabled
                || match watched.proof {
                    Proof::File { .. } => agree(watched.others.values(), false),
                    _ => {
                        watched.authorities_agree(self.policy.every_server)
                            && (self.policy.resolvers.is_empty()
                                || agree(watched.others.values(), self.policy.every_server))
                    }
                };
            ProofView { proof: watched.proof.clone(), views: watched.views(), visible }
        });
        Verdict { proofs: proofs.collect() }
    }

    /// Everything is to be shown once more.
    fn forget(&mut self, extent: Extent) {
        for watched in &mut self.watched {
            watched.authorities.retain(|_, sight| extent == Extent::Shown && *sight != Sight::Shows);
            watched.others.clear();
        }
    }

    async fn look(&mut self, extent: Extent) {
        if !self.policy.enabled {
            return;
        }
        let (dns, policy) = (self.dns, self.policy);
        join_all(self.watched.iter_mut().map(|watched| async move {
            match watched.proof {
                Proof::File { .. } => web::look(dns, policy, watched).await,
                _ => look_at_record(dns, policy, watched, extent).await,
            }
        }))
        .await;
    }
}

async fn look_at_record(dns: &Dns, policy: &Policy, watched: &mut Watched, extent: Extent) {
    let rtype = record_type(&watched.proof);
    // Referrals and aliases are found in the answers, so that the usual case costs one question for each server.
    for _ in 0..MOST_HOPS {
        let zone = match &watched.zone {
            Some(zone) => Arc::clone(zone),
            None => match dns.seed_zone(&watched.owner).await {
                Ok(zone) => zone,
                Err(error) => {
                    watched.trouble = Some(error.to_string());
                    return;
                }
            },
        };
        let due = |place: &(String, SocketAddr)| match watched.authorities.get(place) {
            None => true,
            Some(sight) => extent == Extent::Open && *sight != Sight::Shows,
        };
        let places = zone.authorities.iter().flat_map(|authority| {
            let note = if authority.in_zone { "" } else { " (named by the zone above only)" };
            authority.addresses.iter().map(move |address| (format!("{}{note}", authority.ns), *address))
        });
        let asked: Vec<(String, SocketAddr)> = places.filter(due).collect();
        let answers =
            join_all(asked.iter().map(|(_, server)| dns.ask(*server, &watched.owner, rtype, Recursion::No))).await;
        if let Some(owner) = alias(&watched.proof, &answers) {
            watched.goes_on_at(owner, None);
            continue;
        }
        if !watched.settled {
            if let Some(deeper) = deeper_zone(dns, &zone, &watched.owner, &answers).await {
                watched.goes_on_at(watched.owner.clone(), Some(deeper));
                continue;
            }
            watched.settled = answers.iter().any(Result::is_ok);
        }
        for (place, answer) in asked.into_iter().zip(&answers) {
            let sight = judge(&watched.proof, &watched.owner, answer.as_ref());
            watched.take(place, sight);
        }
        let homeless = zone.authorities.iter().filter_map(|authority| authority.problem.clone());
        watched.trouble = homeless.reduce(|all, one| format!("{all}; {one}"));
        watched.zone = Some(zone);
        break;
    }
    if watched.authorities_agree(policy.every_server) {
        let place = |resolver: &SocketAddr| ("resolver".to_owned(), resolver.to_string());
        let shown = |resolver: &&SocketAddr| watched.others.get(&place(resolver)) == Some(&Sight::Shows);
        let open: Vec<SocketAddr> = policy.resolvers.iter().filter(|resolver| !shown(resolver)).copied().collect();
        let name = watched.proof.name();
        let answers = join_all(open.iter().map(|resolver| dns.ask(*resolver, name, rtype, Recursion::Desired))).await;
        for (resolver, answer) in open.iter().zip(answers) {
            let sight = judge_resolved(&watched.proof, answer.as_ref());
            watched.others.insert(place(resolver), sight);
        }
    }
}

/// Where a TXT proof is in truth, when its name is an alias. A CNAME proof is the alias itself.
fn alias(proof: &Proof, answers: &[Result<Answer, DnsError>]) -> Option<String> {
    if !matches!(proof, Proof::Txt { .. }) {
        return None;
    }
    let mut authorities = answers.iter().flatten().filter(|answer| answer.is_authoritative() && !answer.has_dname());
    authorities.find_map(Answer::alias).map(|target| target.to_ascii_lowercase())
}

/// The zone further down that holds the name, if there is one. A server may be an authority for both and say nothing of the
/// cut between them; then others of the lower zone's servers would be missed.
async fn deeper_zone(
    dns: &Dns,
    zone: &ZoneServers,
    owner: &str,
    answers: &[Result<Answer, DnsError>],
) -> Option<Arc<ZoneServers>> {
    let told = answers.iter().flatten().filter_map(Answer::zone).filter(|told| is_within(told, &zone.apex));
    match told.max_by_key(String::len) {
        Some(told) if told == zone.apex => None,
        Some(told) => dns.zone_below(&told, answers.iter().flatten()).await.ok(),
        None if answers.iter().all(Result::is_err) => None,
        None => dns.zone_of(owner).await.ok().filter(|found| found.apex != zone.apex),
    }
}

fn record_type(proof: &Proof) -> RecordType {
    match proof {
        Proof::Cname { .. } => RecordType::CNAME,
        Proof::Txt { .. } | Proof::File { .. } => RecordType::TXT,
    }
}

/// What the CA makes of a DNAME: its look-up fails.
const UNREAD: &str = "a DNAME, through which the CA does not read,";

/// What an authority's answer is worth.
pub(crate) fn judge(proof: &Proof, owner: &str, answer: Result<&Answer, &DnsError>) -> Sight {
    match answer {
        Ok(answer) if !answer.is_authoritative() => Sight::Lame(format!("is no authority for {owner}")),
        Ok(answer) if answer.has_dname() => Sight::Lacks(vec![UNREAD.to_owned()]),
        Ok(answer) => match proof {
            Proof::Txt { value, .. } => judge_texts(value, &answer.texts()),
            _ => judge_targets(proof.value(), &answer.data().collect::<Vec<_>>()),
        },
        Err(error) => judge_failure(error),
    }
}

/// What it is worth when there is none. The view names the server and the verdict the question.
fn judge_failure(error: &DnsError) -> Sight {
    match error {
        DnsError::Refused { rcode, .. } => Sight::Lame(format!("answers {rcode}")),
        DnsError::Timeout { waited, .. } => Sight::Dead(format!("gives no answer in {waited:?}")),
        DnsError::Network { message, .. } => Sight::Dead(format!("cannot be asked: {message}")),
        error => Sight::Dead(error.to_string()),
    }
}

/// What a resolver's answer is worth: it follows aliases, and keeps what it has until its time is over.
pub(crate) fn judge_resolved(proof: &Proof, answer: Result<&Answer, &DnsError>) -> Sight {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return judge_failure(error),
    };
    let sight = match proof {
        _ if answer.has_dname() => Sight::Lacks(vec![UNREAD.to_owned()]),
        Proof::Txt { value, .. } => {
            let texts = answer.chased().into_iter().filter_map(|data| match data {
                RData::TXT(txt) => {
                    Some(txt.txt_data.iter().map(|part| String::from_utf8_lossy(part).into_owned()).collect())
                }
                _ => None,
            });
            judge_texts(value, &texts.collect::<Vec<Vec<String>>>())
        }
        _ => judge_targets(proof.value(), &answer.data().collect::<Vec<_>>()),
    };
    match (sight, answer.kept_for()) {
        (Sight::Lacks(instead), Some(seconds)) if !answer.is_authoritative() => Sight::Caches { instead, seconds },
        (sight, _) => sight,
    }
}

/// The CA finds a value that stands whole in one character-string, whatever stands around it.
fn judge_texts(value: &str, texts: &[Vec<String>]) -> Sight {
    if texts.iter().flatten().any(|part| part.contains(value)) {
        return Sight::Shows;
    }
    Sight::Lacks(texts.iter().map(|parts| printable(&format!("\"{}\"", parts.join("\" \"")))).collect())
}

/// The case counts: a server that changes it breaks values that have one.
fn judge_targets(target: &str, data: &[&RData]) -> Sight {
    let targets: Vec<String> = data
        .iter()
        .filter_map(|data| match data {
            RData::CNAME(name) => Some(name.0.to_ascii().trim_end_matches('.').to_owned()),
            _ => None,
        })
        .collect();
    if targets.iter().any(|found| found == target.trim_end_matches('.')) { Sight::Shows } else { Sight::Lacks(targets) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lacks() -> Sight {
        Sight::Lacks(Vec::new())
    }

    fn dead() -> Sight {
        Sight::Dead("gone".to_owned())
    }

    fn lame() -> Sight {
        Sight::Lame("REFUSED".to_owned())
    }

    #[test]
    fn a_lagging_server_holds_back_and_a_dead_one_does_not() {
        for (sights, usual, strict) in [
            (vec![], false, false),
            (vec![Sight::Shows], true, true),
            (vec![Sight::Shows, Sight::Shows], true, true),
            (vec![Sight::Shows, lacks()], false, false),
            (vec![Sight::Shows, dead()], true, false),
            (vec![Sight::Shows, lame(), dead()], true, false),
            (vec![dead(), lame()], false, false),
        ] {
            assert_eq!(agree(sights.iter(), false), usual, "{sights:?}");
            assert_eq!(agree(sights.iter(), true), strict, "{sights:?}, strictly");
        }
    }

    #[test]
    fn texts_are_matched_as_the_ca_matches_them() {
        let texts = |texts: &[&[&str]]| -> Vec<Vec<String>> {
            texts.iter().map(|parts| parts.iter().map(ToString::to_string).collect()).collect()
        };
        let judge = |list: &[&[&str]]| judge_texts("tOken", &texts(list)) == Sight::Shows;
        assert!(judge(&[&["tOken"]]));
        assert!(judge(&[&["v=spf1 -all"], &["x tOken y"]]));
        assert!(!judge(&[&["token"]]), "case counts");
        assert!(!judge(&[&["tO", "ken"]]), "a value that is split is not found");
        assert!(!judge(&[]));
    }

    #[test]
    fn targets_keep_their_case() {
        let target = |text: &str| {
            let name = dcv_provider::dns::to_name(text).expect("a name");
            RData::CNAME(hickory_proto::rr::rdata::CNAME(name))
        };
        let judge = |found: &str| judge_targets("Ab1.dcv.digicert.com", &[&target(found)]);
        assert_eq!(judge("Ab1.dcv.digicert.com."), Sight::Shows);
        assert_eq!(judge("ab1.dcv.digicert.com."), Sight::Lacks(vec!["ab1.dcv.digicert.com".to_owned()]));
    }

    #[test]
    fn a_verdict_names_the_servers_that_lack_the_value() {
        let view = |place: &str, sight| View { place: place.to_owned(), address: "192.0.2.1:53".to_owned(), sight };
        let proof = Proof::Txt { name: "example.com".to_owned(), value: "v".to_owned() };
        let views = vec![view("ns1", Sight::Shows), view("ns2", lacks()), view("ns3", dead())];
        let verdict = Verdict { proofs: vec![ProofView { proof, views, visible: false }] };
        let text = verdict.to_string();
        assert_eq!(
            text,
            "example.com TXT \"v\": 1 of 2 show it; ns2 192.0.2.1:53 has nothing there yet; ns3 192.0.2.1:53 gone"
        );
    }
}
