//! A small internet of name servers on loopback addresses of one port, which lag, lie dead, refuse and cache as told, and one
//! resolver that knows them all.

#![allow(dead_code, reason = "each test uses what it needs")]

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use dcv_provider::dns::{Dns, to_name};
use hickory_proto::{
    dnssec::rdata::DNSSECRData,
    op::{Message, ResponseCode},
    rr::{
        RData, Record, RecordType,
        rdata::{A, NS, SOA, TXT},
    },
};
use tokio::{net::UdpSocket, task::JoinHandle};

pub(crate) const RESOLVER: Ipv4Addr = Ipv4Addr::LOCALHOST;
pub(crate) const FIRST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
pub(crate) const SECOND: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
pub(crate) const THIRD: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 4);

/// What a server holds: by zone, its records.
pub(crate) type Zones = BTreeMap<String, Vec<(String, RData)>>;

#[derive(Clone, Copy, Default, PartialEq)]
pub(crate) enum Mood {
    #[default]
    Answers,
    Silent,
    Refuses,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) held: BTreeMap<Ipv4Addr, Zones>,
    pub(crate) moods: BTreeMap<Ipv4Addr, Mood>,
    pub(crate) delay: Duration,
    pub(crate) asked: Vec<(Ipv4Addr, String, RecordType)>,
    /// Types of records about which a server answers nothing but that it will not.
    pub(crate) refused: BTreeSet<(Ipv4Addr, RecordType)>,
    /// What the resolver remembers not to exist.
    pub(crate) absent: BTreeSet<(String, RecordType)>,
}

/// Name servers of a small internet, and one resolver that knows them all.
pub(crate) struct Internet {
    pub(crate) port: u16,
    pub(crate) state: Arc<Mutex<State>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Internet {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

pub(crate) fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn name(text: &str) -> hickory_proto::rr::Name {
    to_name(text).expect("a name")
}

fn within(name: &str, zone: &str) -> bool {
    dcv_provider::dns::is_within(name, zone)
}

impl Internet {
    pub(crate) async fn start() -> Self {
        let addresses = [RESOLVER, FIRST, SECOND, THIRD];
        let (port, sockets) = 'free: loop {
            let mut sockets = vec![UdpSocket::bind((RESOLVER, 0)).await.expect("a socket")];
            let port = sockets[0].local_addr().expect("its address").port();
            for ip in &addresses[1..] {
                match UdpSocket::bind((*ip, port)).await {
                    Ok(socket) => sockets.push(socket),
                    Err(_) => continue 'free,
                }
            }
            break (port, sockets);
        };
        let state: Arc<Mutex<State>> = Arc::default();
        let serve = |(ip, socket): (Ipv4Addr, UdpSocket)| {
            let (state, socket) = (Arc::clone(&state), Arc::new(socket));
            tokio::spawn(async move {
                let mut buffer = [0; 1500];
                while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
                    let query = Message::from_vec(&buffer[..length]).expect("a message");
                    let (answer, delay) = {
                        let mut state = lock(&state);
                        (state.answer(ip, query), state.delay)
                    };
                    let Some(answer) = answer else { continue };
                    let (socket, bytes) = (Arc::clone(&socket), answer.to_vec().expect("bytes"));
                    tokio::spawn(async move {
                        tokio::time::sleep(delay).await;
                        socket.send_to(&bytes, client).await.expect("sent");
                    });
                }
            })
        };
        let tasks = addresses.into_iter().zip(sockets).map(serve).collect();
        Self { port, state, tasks }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub(crate) fn dns(&self) -> Dns {
        Dns::new(vec![(RESOLVER, self.port).into()])
            .with_authority_port(self.port)
            .with_deadline(Duration::from_millis(400))
    }
}

impl State {
    /// Adds a zone to these servers, with SOA, NS and their addresses.
    pub(crate) fn zone(&mut self, apex: &str, servers: &[Ipv4Addr]) {
        let host = |ip: &Ipv4Addr| format!("ns{}.{apex}", ip.octets()[3]);
        let mut records = vec![(
            apex.to_owned(),
            RData::SOA(SOA::new(name(&host(&servers[0])), name(&format!("h.{apex}")), 1, 60, 60, 60, 77)),
        )];
        for server in servers {
            records.push((apex.to_owned(), RData::NS(NS(name(&host(server))))));
            records.push((host(server), RData::A(A(*server))));
        }
        for server in servers {
            self.held.entry(*server).or_default().insert(apex.to_owned(), records.clone());
        }
    }

    pub(crate) fn set(&mut self, server: Ipv4Addr, owner: &str, data: RData) {
        let zones = self.held.get_mut(&server).expect("a server");
        let (_, records) = zones.iter_mut().rfind(|(apex, _)| within(owner, apex)).expect("a zone");
        records.push((owner.to_owned(), data));
    }

    pub(crate) fn txt(&mut self, server: Ipv4Addr, owner: &str, text: &str) {
        self.set(server, owner, RData::TXT(TXT::new(vec![text.to_owned()])));
    }

    pub(crate) fn remove(&mut self, server: Ipv4Addr, owner: &str) {
        let zones = self.held.get_mut(&server).expect("a server");
        for records in zones.values_mut() {
            records.retain(|(name, _)| name != owner);
        }
    }

    pub(crate) fn asked(&self, server: Ipv4Addr) -> usize {
        self.asked.iter().filter(|(asked, ..)| *asked == server).count()
    }

    fn answer(&mut self, server: Ipv4Addr, query: Message) -> Option<Message> {
        let question = query.queries[0].clone();
        let owner = question.name().to_ascii().trim_end_matches('.').to_ascii_lowercase();
        let rtype = question.query_type();
        self.asked.push((server, owner.clone(), rtype));
        let mut answer = query.into_response();
        match self.moods.get(&server).copied().unwrap_or_default() {
            Mood::Silent => return None,
            Mood::Refuses => {
                answer.metadata.response_code = ResponseCode::Refused;
                return Some(answer);
            }
            Mood::Answers if self.refused.contains(&(server, rtype)) => {
                answer.metadata.response_code = ResponseCode::Refused;
                return Some(answer);
            }
            Mood::Answers => {}
        }
        // The resolver finds the answer wherever it is, at the first server that has the zone.
        let resolves = server == RESOLVER;
        let holders = self.held.iter().filter(|(ip, _)| resolves || **ip == server);
        let zones = holders.flat_map(|(_, zones)| zones).filter(|(apex, _)| within(&owner, apex));
        let Some((apex, records)) = zones.max_by_key(|(apex, _)| apex.len()) else {
            answer.metadata.response_code = ResponseCode::Refused;
            return Some(answer);
        };
        answer.metadata.authoritative = !resolves;
        let record = |(owner, data): &(String, RData)| Record::from_rdata(name(owner), 60, data.clone());
        let cut = records
            .iter()
            .find(|(at, data)| data.record_type() == RecordType::NS && at != apex && within(&owner, at) && !resolves);
        if let Some((cut, _)) = cut {
            answer.metadata.authoritative = false;
            answer.add_authorities(records.iter().filter(|(at, _)| at == cut).map(record));
            return Some(answer);
        }
        let at = |name: &str| records.iter().filter(|(at, _)| at == name).collect::<Vec<_>>();
        let mut here = at(&owner);
        if here.is_empty() {
            // A wildcard speaks for names of which nothing exists, up to the closest one that does.
            let exists = |name: &str| records.iter().any(|(at, _)| within(at, name));
            let mut parents = owner.match_indices('.').map(|(dot, _)| &owner[dot + 1..]);
            let closest = parents.find(|parent| exists(parent)).filter(|_| !exists(&owner));
            here = closest.map(|parent| at(&format!("*.{parent}"))).unwrap_or_default();
        }
        let wanted = |data: &RData| match data {
            RData::DNSSEC(DNSSECRData::RRSIG(signature)) => signature.input().type_covered == rtype,
            data => [rtype, RecordType::CNAME, RecordType::DNAME].contains(&data.record_type()),
        };
        let found: Vec<Record> = here
            .iter()
            .filter(|(_, data)| wanted(data))
            .map(|(_, data)| Record::from_rdata(name(&owner), 60, data.clone()))
            .collect();
        let remembered = resolves && self.absent.contains(&(owner.clone(), rtype));
        if found.is_empty() || remembered {
            if here.is_empty() {
                answer.metadata.response_code = ResponseCode::NXDomain;
            }
            answer.add_authority(record(&records[0]));
            if resolves {
                self.absent.insert((owner, rtype));
            }
        }
        // Like many servers, it says nothing of the zone beside an answer.
        if !remembered {
            answer.add_answers(found);
        }
        Some(answer)
    }
}
