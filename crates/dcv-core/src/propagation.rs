//! Is a proof visible everywhere the CA may look?
//!
//! The CA looks from several places of the world, through resolvers that pick any address of any name server of the zone (BR
//! 3.2.2.9, multi-perspective corroboration). So every address of every authoritative server is asked, directly and without
//! recursion, all at once and each with its own deadline; only when they agree are recursive resolvers asked, which would
//! otherwise remember that there is nothing.
//!
//! A server that answers without the value holds the check back: it lags. A server that does not answer, or is no
//! authority, is a line in the verdict and holds nothing back as long as another one shows the value: the CA's resolvers
//! get over it, too. [`Policy::every_server`] is for those who want to be stricter.
//!
//! What counts as showing is the CA's own rule: the value anywhere in one character-string of one TXT record, byte for byte;
//! the target of a CNAME that is not followed; the body of a file within its first 5000 characters.

use std::{collections::BTreeMap, fmt, net::SocketAddr, sync::Arc, time::Duration};

use dcv_provider::{
    Proof,
    dns::{Answer, Dns, DnsError, Recursion, ZoneServers},
};
use futures_util::future::join_all;
use hickory_proto::rr::{RData, RecordType};
use serde::Serialize;
use tokio::time::{Instant, sleep};

/// How much of a file the CA reads (its open validator).
const FILE_READ_LIMIT: usize = 5000;

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
    /// No answer.
    Dead(String),
    /// An answer that does not count: an error, or not from an authority.
    Lame(String),
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
        let lacks = self.views.iter().filter(|view| matches!(view.sight, Sight::Lacks(_))).count();
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
            Sight::Dead(reason) | Sight::Lame(reason) => f.write_str(reason),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.summary())
    }
}

/// Looks until every proof is visible or the policy's time is over, and returns what was seen last. `observe` is told
/// after each round that changed something.
pub async fn wait_visible(dns: &Dns, proofs: &[Proof], policy: &Policy, observe: impl Fn(&Verdict)) -> Verdict {
    let deadline = Instant::now() + policy.give_up_after;
    let mut watch = Watch::new(dns, proofs, policy);
    let mut pause = policy.pause;
    let mut clean = 0;
    let mut last = None;
    loop {
        watch.look().await;
        let verdict = watch.verdict();
        if last.as_ref() != Some(&verdict) {
            observe(&verdict);
        }
        if verdict.all_visible() {
            clean += 1;
            if clean >= policy.rounds {
                return verdict;
            }
            watch.forget();
        } else {
            clean = 0;
        }
        if Instant::now() + pause > deadline {
            return verdict;
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

struct Watched {
    proof: Proof,
    /// Where the record is in truth, when an alias leads elsewhere.
    owner: String,
    /// The zone that holds it, once it is found.
    zone: Option<Arc<ZoneServers>>,
    authorities: BTreeMap<(String, SocketAddr), Sight>,
    /// Resolvers, or URLs.
    others: BTreeMap<(String, String), Sight>,
    trouble: Option<String>,
}

impl Watched {
    fn authorities_agree(&self, every_server: bool) -> bool {
        agree(self.authorities.values(), every_server)
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
            Sight::Lacks(_) => return false,
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
            authorities: BTreeMap::new(),
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
    fn forget(&mut self) {
        for watched in &mut self.watched {
            watched.authorities.clear();
            watched.others.clear();
        }
    }

    async fn look(&mut self) {
        if !self.policy.enabled {
            return;
        }
        let (dns, policy) = (self.dns, self.policy);
        join_all(self.watched.iter_mut().map(|watched| async move {
            match watched.proof {
                Proof::File { .. } => look_at_file(dns, policy, watched).await,
                _ => look_at_record(dns, policy, watched).await,
            }
        }))
        .await;
    }
}

async fn look_at_record(dns: &Dns, policy: &Policy, watched: &mut Watched) {
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
        watched.trouble = None;
        let shown = |place: &(String, SocketAddr)| watched.authorities.get(place) == Some(&Sight::Shows);
        let places = zone.addresses().map(|(ns, address)| (ns.to_owned(), address));
        let asked: Vec<(String, SocketAddr)> = places.filter(|place| !shown(place)).collect();
        let answers =
            join_all(asked.iter().map(|(_, server)| dns.ask(*server, &watched.owner, rtype, Recursion::No))).await;
        if let Some(owner) = alias(&watched.proof, &answers) {
            (watched.owner, watched.zone) = (owner, None);
            watched.authorities.clear();
            continue;
        }
        if only_lame(&answers)
            && let Ok(deeper) = dns.zone_of(&watched.owner).await
            && deeper.apex != zone.apex
        {
            watched.zone = Some(deeper);
            watched.authorities.clear();
            continue;
        }
        for (place, answer) in asked.into_iter().zip(&answers) {
            let sight = judge(&watched.proof, &watched.owner, answer.as_ref());
            watched.authorities.insert(place, sight);
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
    let mut authorities = answers.iter().flatten().filter(|answer| answer.is_authoritative());
    authorities.find_map(Answer::alias).map(|target| target.to_ascii_lowercase())
}

/// Whether some answer and none of them is an authority: the zone is further down.
fn only_lame(answers: &[Result<Answer, DnsError>]) -> bool {
    let mut answered = answers.iter().flatten().peekable();
    answered.peek().is_some() && answered.all(|answer| !answer.is_authoritative())
}

fn record_type(proof: &Proof) -> RecordType {
    match proof {
        Proof::Cname { .. } => RecordType::CNAME,
        Proof::Txt { .. } | Proof::File { .. } => RecordType::TXT,
    }
}

/// What an authority's answer is worth.
fn judge(proof: &Proof, owner: &str, answer: Result<&Answer, &DnsError>) -> Sight {
    match answer {
        Ok(answer) if !answer.is_authoritative() => Sight::Lame(format!("is no authority for {owner}")),
        Ok(answer) => match proof {
            Proof::Txt { value, .. } => judge_texts(value, &answer.texts()),
            _ => judge_targets(proof.value(), &answer.data().collect::<Vec<_>>()),
        },
        Err(DnsError::Refused { rcode, .. }) => Sight::Lame(format!("answers {rcode}")),
        Err(error) => Sight::Dead(error.to_string()),
    }
}

/// What a resolver's answer is worth: it follows aliases.
fn judge_resolved(proof: &Proof, answer: Result<&Answer, &DnsError>) -> Sight {
    match answer {
        Ok(answer) => match proof {
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
        },
        Err(DnsError::Refused { rcode, .. }) => Sight::Lame(format!("answers {rcode}")),
        Err(error) => Sight::Dead(error.to_string()),
    }
}

/// The CA finds a value that stands whole in one character-string, whatever stands around it.
fn judge_texts(value: &str, texts: &[Vec<String>]) -> Sight {
    if texts.iter().flatten().any(|part| part.contains(value)) {
        return Sight::Shows;
    }
    Sight::Lacks(texts.iter().map(|parts| format!("\"{}\"", parts.join("\" \""))).collect())
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

/// Fetches the file as the CA does, at every address: by HTTPS first, and by HTTP only where that fails. A page that comes with
/// status 200 decides, right or wrong. HTTPS with a certificate that is not good here counts as failing; redirects are not
/// counted on, since the CA follows few of them.
async fn look_at_file(dns: &Dns, policy: &Policy, watched: &mut Watched) {
    let Proof::File { host, path, body } = watched.proof.clone() else { return };
    let addresses = match dns.addresses(&host).await {
        Ok(addresses) if addresses.iter().any(std::net::IpAddr::is_ipv4) => addresses,
        Ok(_) => {
            watched.trouble = Some(format!("{host} has no A record, and the CA asks for no other"));
            return;
        }
        Err(error) => {
            watched.trouble = Some(error.to_string());
            return;
        }
    };
    watched.trouble = None;
    watched.others.clear();
    for ip in addresses.into_iter().filter(std::net::IpAddr::is_ipv4) {
        for (scheme, port) in [("https", policy.web_ports.1), ("http", policy.web_ports.0)] {
            let server = SocketAddr::new(ip, port);
            let sight = fetch(scheme, &host, server, &path, &body).await;
            let decides = matches!(sight, Sight::Shows | Sight::Lacks(_));
            watched.others.insert((format!("{scheme}://{host}{path} at"), server.to_string()), sight);
            if decides {
                break;
            }
        }
    }
}

async fn fetch(scheme: &str, host: &str, server: SocketAddr, path: &str, value: &str) -> Sight {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder()
        .resolve(host, server)
        .no_proxy()
        .connect_timeout(Duration::from_secs(2))
        .timeout(Duration::from_secs(5))
        .redirect(reqwest::redirect::Policy::none())
        .build();
    let client = match client {
        Ok(client) => client,
        Err(error) => return Sight::Dead(error.to_string()),
    };
    let url = format!("{scheme}://{host}:{}{path}", server.port());
    let response = match client.get(url).send().await {
        Ok(response) => response,
        Err(error) if error.is_connect() => return Sight::Dead("cannot be connected to".to_owned()),
        Err(error) if error.is_timeout() => return Sight::Dead("gives no answer in 5 s".to_owned()),
        Err(error) => return Sight::Dead(error.to_string()),
    };
    let status = response.status();
    if !status.is_success() {
        let said = format!("answers HTTP {status}");
        return if scheme == "https" { Sight::Lame(said) } else { Sight::Lacks(vec![said]) };
    }
    match response.text().await {
        Ok(text) if text.chars().take(FILE_READ_LIMIT).collect::<String>().contains(value) => Sight::Shows,
        Ok(text) => Sight::Lacks(vec![text.chars().take(80).collect()]),
        Err(error) => Sight::Dead(error.to_string()),
    }
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
