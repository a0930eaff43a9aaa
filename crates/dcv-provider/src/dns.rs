//! Questions to name servers: one server, one question, one deadline; and what is built of them: the zone a name is in, and
//! every address of its authorities.
//!
//! Nothing here is cached by other people's servers to our disadvantage: a recursive resolver that is asked for a
//! name which does not exist yet remembers the negative answer (RFC 2308). So resolvers are asked for registrable names and what
//! is above them, name servers and addresses only; whatever concerns a proof's own name is asked at the authorities directly.
//! Whether a resolver shows a proof is asked, deliberately and last, with [`Dns::resolve`].

use std::{
    collections::{HashMap, HashSet},
    future::ready,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::{join, join_all};
use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::RecordType,
};
use tokio::{sync::Semaphore, time::Instant};

use answer::address;

mod answer;
mod wire;

pub use answer::{Answer, DnsError};
pub use wire::{exchange, exchange_tcp, to_name};

/// The largest answer asked for by UDP: it passes unfragmented (DNS flag day 2020).
const UDP_PAYLOAD: u16 = 1232;
/// Sockets open at the same time.
const IN_FLIGHT: usize = 256;
/// How long a zone's authorities are remembered.
const REMEMBERED: Duration = Duration::from_secs(60);
/// Name servers of a zone and addresses of a server that are looked at: what a zone says of itself must not keep us asking
/// for hours, or make us ask half the world.
const MOST_SERVERS: usize = 64;
const MOST_ADDRESSES: usize = 16;
/// Servers that are tried where one answer is enough.
const MOST_TRIED: usize = 16;
/// Servers of the zone above of which one is to be found that has an address and answers.
const MOST_ABOVE: usize = 4;
/// How many delegations are followed downwards, and aliases sideways.
const MOST_HOPS: usize = 8;

/// Whether a server is asked to find the answer, or only for what it holds itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recursion {
    /// Find it.
    Desired,
    /// Only what you hold.
    No,
}

/// Whether `name` is `zone` or below it. Both without a final dot; case does not matter. Every name is within the root.
#[must_use]
pub fn is_within(name: &str, zone: &str) -> bool {
    let zone = zone.trim_end_matches('.');
    let name = name.trim_end_matches('.');
    if zone.is_empty() {
        return true;
    }
    match name.len().checked_sub(zone.len()) {
        Some(0) => name.eq_ignore_ascii_case(zone),
        Some(cut) => {
            name.is_char_boundary(cut) && name[cut..].eq_ignore_ascii_case(zone) && name.as_bytes()[cut - 1] == b'.'
        }
        None => false,
    }
}

/// A name server of a zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// Its name.
    pub ns: String,
    /// All its addresses.
    pub addresses: Vec<SocketAddr>,
    /// Whether the zone itself names it. The others are in the delegation alone, and are asked all the same.
    pub in_zone: bool,
    /// Why there are none.
    pub problem: Option<String>,
}

/// A zone and all its name servers: those that the zone itself names, and those to which the zone above delegates it as far as
/// that could be found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneServers {
    /// The zone's name.
    pub apex: String,
    /// Its name servers.
    pub authorities: Vec<Authority>,
}

impl ZoneServers {
    /// Every address, with the name of its server.
    pub fn addresses(&self) -> impl Iterator<Item = (&str, SocketAddr)> {
        self.authorities.iter().flat_map(|authority| authority.addresses.iter().map(|a| (authority.ns.as_str(), *a)))
    }
}

/// Where to ask. Cheap to clone; clones share what they remember.
#[derive(Clone, Debug)]
pub struct Dns {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    resolvers: Vec<SocketAddr>,
    authority_port: u16,
    deadline: Duration,
    sockets: Semaphore,
    zones: Mutex<HashMap<String, (Instant, Arc<ZoneServers>)>>,
    /// Servers that let a deadline pass: where one answer is enough they are asked last.
    silent: Mutex<HashSet<SocketAddr>>,
    /// Held by whoever is finding something out that many may want to know at the same moment.
    finding: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl Dns {
    /// Uses the resolvers of the system (`/etc/resolv.conf`).
    ///
    /// # Errors
    /// [`DnsError::NoServers`] when it names none or cannot be read.
    pub fn system() -> Result<Self, DnsError> {
        let nobody = |reason: String| DnsError::NoServers { question: "anything".to_owned(), reason };
        let (config, _) = hickory_resolver::system_conf::read_system_conf()
            .map_err(|e| nobody(format!("the system's resolver configuration cannot be read: {e}")))?;
        let resolvers: Vec<SocketAddr> =
            config.name_servers().iter().map(|server| SocketAddr::new(server.ip, 53)).collect();
        if resolvers.is_empty() {
            return Err(nobody("the system's resolver configuration names none".to_owned()));
        }
        Ok(Self::new(resolvers))
    }

    /// Uses these resolvers. Authoritative servers serve too, for the names they hold.
    #[must_use]
    pub fn new(resolvers: Vec<SocketAddr>) -> Self {
        Self::with(resolvers, 53, Duration::from_secs(2))
    }

    fn with(resolvers: Vec<SocketAddr>, authority_port: u16, deadline: Duration) -> Self {
        let sockets = Semaphore::new(IN_FLIGHT);
        let (zones, silent, finding) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self { inner: Arc::new(Inner { resolvers, authority_port, deadline, sockets, zones, silent, finding }) }
    }

    /// The port at which authoritative servers are asked; 53 but in test set-ups.
    #[must_use]
    pub fn with_authority_port(&self, port: u16) -> Self {
        Self::with(self.inner.resolvers.clone(), port, self.inner.deadline)
    }

    /// How long a single question may take; 2 seconds unless set, as at the CA.
    #[must_use]
    pub fn with_deadline(&self, deadline: Duration) -> Self {
        Self::with(self.inner.resolvers.clone(), self.inner.authority_port, deadline)
    }

    /// The resolvers.
    pub fn resolvers(&self) -> &[SocketAddr] {
        &self.inner.resolvers
    }

    /// Asks one server. UDP first, TCP when the answer was cut.
    ///
    /// # Errors
    /// [`DnsError`]; an answer other than NOERROR and NXDOMAIN is one.
    pub async fn ask(
        &self,
        server: SocketAddr,
        name: &str,
        rtype: RecordType,
        recursion: Recursion,
    ) -> Result<Answer, DnsError> {
        let qname = to_name(name)?;
        let mut message = Message::new(rand::random(), MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = recursion == Recursion::Desired;
        message.add_query(Query::query(qname.clone(), rtype));
        let mut edns = Edns::new();
        edns.set_max_payload(UDP_PAYLOAD);
        message.set_edns(edns);
        let _socket = self.inner.sockets.acquire().await;
        let mut answer = exchange(server, &message, self.inner.deadline).await;
        // This is what servers say that do not know EDNS (RFC 6891 section 7).
        let unknown = |code| matches!(code, ResponseCode::FormErr | ResponseCode::NotImp);
        if answer.as_ref().is_ok_and(|answer| unknown(answer.metadata.response_code)) {
            message.edns = None;
            answer = exchange(server, &message, self.inner.deadline).await;
        }
        self.note(server, matches!(answer, Err(DnsError::Timeout { .. })));
        let answer = answer?;
        Answer::read(server, qname, rtype, answer)
    }

    /// Asks the resolvers, the first that answers.
    ///
    /// # Errors
    /// The last resolver's, when none answers.
    pub async fn resolve(&self, name: &str, rtype: RecordType) -> Result<Answer, DnsError> {
        let mut failure =
            DnsError::NoServers { question: format!("{name} {rtype}"), reason: "no resolver is configured".to_owned() };
        for resolver in self.silent_last(self.inner.resolvers.iter().copied()) {
            match self.ask(resolver, name, rtype, Recursion::Desired).await {
                Ok(answer) => return Ok(answer),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// All addresses of a host, by the resolvers.
    ///
    /// # Errors
    /// When neither A nor AAAA records could be asked for.
    pub async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, DnsError> {
        let (v4, v6) = futures_util::join!(self.resolve(host, RecordType::A), self.resolve(host, RecordType::AAAA));
        let found = |answer: &Answer| -> Vec<IpAddr> { answer.chased().into_iter().filter_map(address).collect() };
        match (v4, v6) {
            (Err(error), Err(_)) => Err(error),
            (v4, v6) => Ok(v4.iter().chain(&v6).flat_map(found).collect()),
        }
    }

    /// The zone of the registrable part of a name, from which the way leads down. Remembered for a minute.
    ///
    /// # Errors
    /// When the resolvers know no such zone or its servers.
    pub async fn seed_zone(&self, name: &str) -> Result<Arc<ZoneServers>, DnsError> {
        let name = name.trim_end_matches('.');
        // The registrable name (public suffix list), and more labels only where that cannot be asked about.
        let registrable = psl::domain_str(name).map_or(name.len(), str::len);
        let dots: Vec<usize> = name.rmatch_indices('.').map(|(dot, _)| dot).collect();
        let tails = dots.iter().map(|dot| &name[dot + 1..]).chain([name]).filter(|tail| tail.len() >= registrable);
        let mut failure = None;
        for tail in tails {
            if let Some(zone) = self.remembered(tail) {
                return Ok(zone);
            }
            let turn = self.turn(format!("seed of {tail}"));
            let _turn = turn.lock().await;
            if let Some(zone) = self.remembered(tail) {
                return Ok(zone);
            }
            match self.seed_at(tail).await {
                Ok(zone) => {
                    self.remember(tail, &zone);
                    return Ok(zone);
                }
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        Err(failure.unwrap_or_else(|| DnsError::NoServers {
            question: name.to_owned(),
            reason: "it has no labels".to_owned(),
        }))
    }

    async fn seed_at(&self, tail: &str) -> Result<Arc<ZoneServers>, DnsError> {
        let answer = self.resolve(tail, RecordType::SOA).await?;
        let apex = answer.soa().map(|(owner, ..)| owner).filter(|owner| is_within(tail, owner));
        let apex = apex.ok_or_else(|| DnsError::NoServers {
            question: tail.to_owned(),
            reason: "its zone is not known to the resolvers".to_owned(),
        })?;
        self.servers(&apex, self.delegated(&apex)).await
    }

    /// The servers to which the zone above delegates this one, by one question: registries are asked little. Nobody where it cannot
    /// be asked; then what the zone says of itself has to do.
    async fn delegated(&self, apex: &str) -> Vec<(String, Vec<IpAddr>)> {
        let Some((_, above)) = apex.split_once('.') else { return Vec::new() };
        for (_, server) in self.above(above).await.addresses().take(MOST_ABOVE) {
            match self.ask(server, apex, RecordType::NS, Recursion::No).await {
                Ok(answer) => return answer.referred(apex).collect(),
                // From some networks nobody outside can be asked; once is enough to find that out.
                Err(DnsError::Timeout { .. }) => break,
                Err(_) => {}
            }
        }
        Vec::new()
    }

    /// A server of the zone that a public suffix is in, with its addresses; none if there is none. Remembered for a minute.
    async fn above(&self, suffix: &str) -> Arc<ZoneServers> {
        let key = format!("above {suffix}");
        if let Some(zone) = self.remembered(&key) {
            return zone;
        }
        let turn = self.turn(key.clone());
        let _turn = turn.lock().await;
        if let Some(zone) = self.remembered(&key) {
            return zone;
        }
        let mut zone = ZoneServers { apex: suffix.to_owned(), authorities: Vec::new() };
        // A suffix may be no zone of its own: `co.jp` is in `jp`.
        for _ in 0..2 {
            let Ok(answer) = self.resolve(&zone.apex, RecordType::NS).await else { break };
            for ns in answer.name_servers().take(MOST_ABOVE) {
                let authority = self.authority(&ns, answer.glue(&ns), true).await;
                if !authority.addresses.is_empty() {
                    zone.authorities.push(authority);
                    break;
                }
            }
            match answer.soa() {
                // Not at the root, which delegates none of our zones.
                Some((owner, ..)) if zone.authorities.is_empty() && !owner.is_empty() && is_within(suffix, &owner) => {
                    zone.apex = owner;
                }
                _ => break,
            }
        }
        let zone = Arc::new(zone);
        self.remember(&key, &zone);
        zone
    }

    /// The zone that a name is in, found by going down the delegations and asking the authorities only.
    ///
    /// # Errors
    /// When no authority on the way answers.
    pub async fn zone_of(&self, name: &str) -> Result<Arc<ZoneServers>, DnsError> {
        let mut name = name;
        loop {
            let (zone, answer) = self.authoritative(name, RecordType::SOA).await?;
            match name.split_once('.') {
                // An alias tells nothing of its zone, but it is never the top of one: its parent is in the same.
                Some((_, parent)) if answer.alias().is_some() => name = parent,
                _ => return Ok(zone),
            }
        }
    }

    /// Asks an authority of the name's zone, the first that answers; also returns the zone.
    ///
    /// # Errors
    /// When no authority on the way answers.
    pub async fn authoritative(&self, name: &str, rtype: RecordType) -> Result<(Arc<ZoneServers>, Answer), DnsError> {
        let mut zone = self.seed_zone(name).await?;
        for _ in 0..MOST_HOPS {
            let answer = self.ask_any(&zone, name, rtype).await?;
            let deeper = match answer.referral(&zone.apex) {
                Some(cut) => Some(cut),
                // A server of parent and child answers for the child at once.
                None => answer.soa().map(|(owner, ..)| owner).filter(|owner| {
                    answer.alias().is_none()
                        && *owner != zone.apex
                        && is_within(name, owner)
                        && is_within(owner, &zone.apex)
                }),
            };
            let Some(cut) = deeper else { return Ok((zone, answer)) };
            let done = answer.is_authoritative();
            zone = self.zone_below(&cut, [&answer]).await?;
            if done {
                return Ok((zone, answer));
            }
        }
        Err(DnsError::NoServers { question: name.to_owned(), reason: "its delegations do not end".to_owned() })
    }

    /// Follows aliases from a name to where its data would stand: the name itself, mostly.
    ///
    /// # Errors
    /// When an authority on the way does not answer, or the aliases form a loop.
    pub async fn follow_alias(&self, name: &str) -> Result<String, DnsError> {
        let mut seen = vec![name.to_ascii_lowercase()];
        loop {
            let current = &seen[seen.len() - 1];
            let (_, answer) = self.authoritative(current, RecordType::CNAME).await?;
            let Some(target) = answer.alias().map(|target| target.to_ascii_lowercase()) else {
                return Ok(current.clone());
            };
            if seen.contains(&target) || seen.len() > MOST_HOPS {
                let reason = format!("its aliases go round: {} → {target}", seen.join(" → "));
                return Err(DnsError::NoServers { question: name.to_owned(), reason });
            }
            seen.push(target);
        }
    }

    /// Every name server of a zone with every address, by the resolvers. Remembered for a minute.
    ///
    /// # Errors
    /// When the zone's name servers are not known at all. One without an address is kept, with the reason.
    pub async fn zone_servers(&self, apex: &str) -> Result<Arc<ZoneServers>, DnsError> {
        self.zone_below(apex, []).await
    }

    /// The same, with the servers to which one of these answers delegates the zone.
    ///
    /// # Errors
    /// Those of [`zone_servers`](Self::zone_servers).
    pub async fn zone_below<'a>(
        &self,
        apex: &str,
        above: impl IntoIterator<Item = &'a Answer>,
    ) -> Result<Arc<ZoneServers>, DnsError> {
        let delegated: Vec<_> = above.into_iter().flat_map(|answer| answer.referred(apex)).collect();
        self.servers(apex, ready(delegated)).await
    }

    async fn servers(
        &self,
        apex: &str,
        delegated: impl Future<Output = Vec<(String, Vec<IpAddr>)>>,
    ) -> Result<Arc<ZoneServers>, DnsError> {
        if let Some(zone) = self.remembered(apex) {
            return Ok(zone);
        }
        let turn = self.turn(format!("servers of {apex}"));
        let _turn = turn.lock().await;
        if let Some(zone) = self.remembered(apex) {
            return Ok(zone);
        }
        let (answer, delegated) = join(self.resolve(apex, RecordType::NS), delegated).await;
        let answer = answer?;
        let named = answer.name_servers().map(|ns| {
            let glue = answer.glue(&ns);
            (ns, glue, true)
        });
        let mut hosts: Vec<(String, Vec<IpAddr>, bool)> = named.collect();
        if hosts.is_empty() {
            let reason = "it has no NS records".to_owned();
            return Err(DnsError::NoServers { question: apex.to_owned(), reason });
        }
        for (ns, glue) in delegated {
            match hosts.iter_mut().find(|(known, ..)| *known == ns) {
                Some((_, known, _)) => known.extend(glue),
                None => hosts.push((ns, glue, false)),
            }
        }
        if hosts.len() > MOST_SERVERS {
            tracing::warn!(
                zone = apex,
                servers = hosts.len(),
                "only the first {MOST_SERVERS} name servers are looked at"
            );
            hosts.truncate(MOST_SERVERS);
        }
        let authorities = hosts.iter().map(|(ns, glue, in_zone)| self.authority(ns, glue.clone(), *in_zone));
        let zone = Arc::new(ZoneServers { apex: apex.to_owned(), authorities: join_all(authorities).await });
        self.remember(apex, &zone);
        Ok(zone)
    }

    /// A name server with its addresses: those that the resolvers know, or those that came along.
    async fn authority(&self, ns: &str, glue: Vec<IpAddr>, in_zone: bool) -> Authority {
        let (found, problem) = match self.addresses(ns).await {
            Ok(found) if !found.is_empty() => (found, None),
            _ if !glue.is_empty() => (glue, None),
            Ok(_) => (Vec::new(), Some(format!("{ns} has no address"))),
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        let port = self.inner.authority_port;
        let addresses = found.into_iter().take(MOST_ADDRESSES).map(|ip| SocketAddr::new(ip, port)).collect();
        Authority { ns: ns.to_owned(), addresses, in_zone, problem }
    }

    async fn ask_any(&self, zone: &ZoneServers, name: &str, rtype: RecordType) -> Result<Answer, DnsError> {
        let mut failure = DnsError::NoServers {
            question: zone.apex.clone(),
            reason: "none of its name servers has an address".to_owned(),
        };
        for server in self.silent_last(zone.addresses().map(|(_, server)| server)).into_iter().take(MOST_TRIED) {
            match self.ask(server, name, rtype, Recursion::No).await {
                Ok(answer) if answer.is_authoritative() || answer.referral(&zone.apex).is_some() => return Ok(answer),
                Ok(_) => {
                    let reason = format!("{server} is no authority for it");
                    failure = DnsError::NoServers { question: name.to_owned(), reason };
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    fn silent_last(&self, servers: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
        let mut servers: Vec<SocketAddr> = servers.collect();
        let silent = self.inner.silent.lock().unwrap_or_else(PoisonError::into_inner);
        servers.sort_by_key(|server| silent.contains(server));
        servers
    }

    fn note(&self, server: SocketAddr, was_silent: bool) {
        let mut silent = self.inner.silent.lock().unwrap_or_else(PoisonError::into_inner);
        if was_silent {
            silent.insert(server);
        } else {
            silent.remove(&server);
        }
    }

    /// The lock for one thing to be found out: a hundred names of a zone ask for its servers once.
    fn turn(&self, what: String) -> Arc<tokio::sync::Mutex<()>> {
        let mut finding = self.inner.finding.lock().unwrap_or_else(PoisonError::into_inner);
        finding.retain(|_, turn| Arc::strong_count(turn) > 1);
        Arc::clone(finding.entry(what).or_default())
    }

    fn remembered(&self, key: &str) -> Option<Arc<ZoneServers>> {
        let zones = self.inner.zones.lock().unwrap_or_else(PoisonError::into_inner);
        zones.get(key).filter(|(at, _)| at.elapsed() < REMEMBERED).map(|(_, zone)| Arc::clone(zone))
    }

    fn remember(&self, key: &str, zone: &Arc<ZoneServers>) {
        let mut zones = self.inner.zones.lock().unwrap_or_else(PoisonError::into_inner);
        zones.insert(key.to_owned(), (Instant::now(), Arc::clone(zone)));
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::UdpSocket,
    };

    use super::*;

    #[test]
    fn names_are_within_zones_at_dots_only() {
        for (name, zone, expected) in [
            ("example.com", "example.com", true),
            ("a.Example.com", "example.COM.", true),
            ("notexample.com", "example.com", false),
            ("com", "example.com", false),
            ("anything", "", true),
        ] {
            assert_eq!(is_within(name, zone), expected, "{name} in {zone}");
        }
    }

    /// A server that leaves the first datagram unanswered, sends a stranger's answer, and then cuts the right one, which is to
    /// be had by TCP.
    #[tokio::test]
    async fn lost_spoofed_and_cut_answers_are_got_over() {
        let udp = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        let server = udp.local_addr().expect("its address");
        let tcp = tokio::net::TcpListener::bind(server).await.expect("a listener");
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            let (_, _) = udp.recv_from(&mut buffer).await.expect("the first datagram");
            let (n, client) = udp.recv_from(&mut buffer).await.expect("the second");
            let mut answer = Message::from_vec(&buffer[..n]).expect("a message").into_response();
            let id = answer.metadata.id;
            answer.metadata.id = id.wrapping_add(1);
            udp.send_to(&answer.to_vec().expect("bytes"), client).await.expect("sent");
            answer.metadata.id = id;
            answer.metadata.truncation = true;
            udp.send_to(&answer.to_vec().expect("bytes"), client).await.expect("sent");
            let (mut stream, _) = tcp.accept().await.expect("a connection");
            answer.metadata.truncation = false;
            answer.metadata.response_code = ResponseCode::NXDomain;
            let bytes = answer.to_vec().expect("bytes");
            let length = stream.read_u16().await.expect("a length");
            stream.read_exact(&mut vec![0; usize::from(length)]).await.expect("the question");
            stream.write_u16(u16::try_from(bytes.len()).expect("short")).await.expect("sent");
            stream.write_all(&bytes).await.expect("sent");
        });
        let dns = Dns::new(vec![server]).with_deadline(Duration::from_millis(600));
        let answer = dns.ask(server, "a.example.com", RecordType::TXT, Recursion::No).await.expect("an answer");
        assert_eq!(answer.rcode(), ResponseCode::NXDomain);
    }

    /// A server of old, to which the additional record of EDNS is a mistake of form, or something that it does not know.
    #[tokio::test]
    async fn servers_that_do_not_know_edns_are_asked_without() {
        for refusal in [ResponseCode::FormErr, ResponseCode::NotImp] {
            let udp = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
            let server = udp.local_addr().expect("its address");
            tokio::spawn(async move {
                let mut buffer = [0; 512];
                while let Ok((n, client)) = udp.recv_from(&mut buffer).await {
                    let question = Message::from_vec(&buffer[..n]).expect("a message");
                    let knows = question.edns.is_none();
                    let mut answer = question.into_response();
                    answer.metadata.response_code = if knows { ResponseCode::NoError } else { refusal };
                    udp.send_to(&answer.to_vec().expect("bytes"), client).await.expect("sent");
                }
            });
            let dns = Dns::new(vec![]);
            let answer = dns.ask(server, "a.example.com", RecordType::TXT, Recursion::No).await.expect("an answer");
            assert_eq!(answer.rcode(), ResponseCode::NoError, "{refusal}");
        }
    }

    #[tokio::test]
    async fn silence_ends_at_the_deadline_and_names_the_question() {
        let silent = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        let server = silent.local_addr().expect("its address");
        let dns = Dns::new(vec![]).with_deadline(Duration::from_millis(50));
        let error = dns.ask(server, "a.example.com", RecordType::TXT, Recursion::No).await.expect_err("silence");
        assert!(matches!(error, DnsError::Timeout { .. }), "{error}");
        assert!(error.to_string().contains("a.example.com TXT"), "{error}");
    }
}
