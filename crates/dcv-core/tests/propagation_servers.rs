//! What counts as visible, asked of name servers and web servers that lag, lie dead, forget and cache. They are made
//! here, on loopback addresses of one port.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    io::{Read, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use dcv_core::propagation::{Policy, Sight, Verdict, wait_visible};
use dcv_provider::{
    Proof,
    dns::{Dns, to_name},
};
use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{
        RData, Record, RecordType,
        rdata::{A, CNAME, NS, SOA, TXT},
    },
};
use tokio::{net::UdpSocket, task::JoinHandle};

const VALUE: &str = "0123456789abcdefghijklmnopqrstuV";
const RESOLVER: Ipv4Addr = Ipv4Addr::LOCALHOST;
const FIRST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const SECOND: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
const THIRD: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 4);

/// What a server holds: by zone, its records.
type Zones = BTreeMap<String, Vec<(String, RData)>>;

#[derive(Clone, Copy, Default, PartialEq)]
enum Mood {
    #[default]
    Answers,
    Silent,
    Refuses,
}

#[derive(Default)]
struct State {
    held: BTreeMap<Ipv4Addr, Zones>,
    moods: BTreeMap<Ipv4Addr, Mood>,
    delay: Duration,
    asked: Vec<(Ipv4Addr, String, RecordType)>,
    /// What the resolver remembers not to exist.
    absent: BTreeSet<(String, RecordType)>,
}

/// Name servers of a small internet, and one resolver that knows them all.
struct Internet {
    port: u16,
    state: Arc<Mutex<State>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Internet {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn name(text: &str) -> hickory_proto::rr::Name {
    to_name(text).expect("a name")
}

fn within(name: &str, zone: &str) -> bool {
    dcv_provider::dns::is_within(name, zone)
}

impl Internet {
    async fn start() -> Self {
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

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn dns(&self) -> Dns {
        Dns::new(vec![(RESOLVER, self.port).into()])
            .with_authority_port(self.port)
            .with_deadline(Duration::from_millis(400))
    }

    async fn look(&self, proofs: &[Proof], policy: &Policy) -> Verdict {
        wait_visible(&self.dns(), proofs, policy, |_| {}).await
    }
}

impl State {
    /// Adds a zone to these servers, with SOA, NS and their addresses.
    fn zone(&mut self, apex: &str, servers: &[Ipv4Addr]) {
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

    fn set(&mut self, server: Ipv4Addr, owner: &str, data: RData) {
        let zones = self.held.get_mut(&server).expect("a server");
        let (_, records) = zones.iter_mut().rfind(|(apex, _)| within(owner, apex)).expect("a zone");
        records.push((owner.to_owned(), data));
    }

    fn txt(&mut self, server: Ipv4Addr, owner: &str, text: &str) {
        self.set(server, owner, RData::TXT(TXT::new(vec![text.to_owned()])));
    }

    fn remove(&mut self, server: Ipv4Addr, owner: &str) {
        let zones = self.held.get_mut(&server).expect("a server");
        for records in zones.values_mut() {
            records.retain(|(name, _)| name != owner);
        }
    }

    fn asked(&self, server: Ipv4Addr) -> usize {
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
        let here: Vec<_> = records.iter().filter(|(at, _)| *at == owner).collect();
        let wanted = |data: &RData| data.record_type() == rtype || data.record_type() == RecordType::CNAME;
        let found: Vec<Record> = here.iter().filter(|(_, data)| wanted(data)).map(|found| record(found)).collect();
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

fn txt(owner: &str) -> Proof {
    Proof::Txt { name: owner.to_owned(), value: VALUE.to_owned() }
}

fn at_once() -> Policy {
    Policy { give_up_after: Duration::ZERO, ..Policy::default() }
}

fn sights(verdict: &Verdict) -> Vec<(IpAddr, Sight)> {
    let views = verdict.proofs.iter().flat_map(|proof| &proof.views);
    let mut sights: Vec<_> =
        views.map(|view| (view.address.parse::<SocketAddr>().expect("an address").ip(), view.sight.clone())).collect();
    sights.sort_by_key(|(ip, _)| *ip);
    sights
}

#[tokio::test]
async fn servers_that_are_silent_or_refuse_hold_nothing_back_and_servers_that_lag_do() {
    let proof = [txt("www.example.com")];
    for (moods, shows, visible) in [
        ([Mood::Answers, Mood::Answers, Mood::Answers], &[FIRST, SECOND, THIRD][..], true),
        ([Mood::Answers, Mood::Silent, Mood::Refuses], &[FIRST], true),
        ([Mood::Answers, Mood::Answers, Mood::Silent], &[FIRST], false),
        ([Mood::Silent, Mood::Silent, Mood::Refuses], &[FIRST], false),
    ] {
        let internet = Internet::start().await;
        {
            let mut state = internet.state();
            state.zone("example.com", &[FIRST, SECOND, THIRD]);
            state.moods = [FIRST, SECOND, THIRD].into_iter().zip(moods).collect();
            for server in shows {
                state.txt(*server, "www.example.com", &format!("dcv={VALUE};"));
            }
        }
        let verdict = internet.look(&proof, &at_once()).await;
        assert_eq!(verdict.all_visible(), visible, "{verdict}");
        for ((ip, sight), mood) in sights(&verdict).into_iter().zip(moods) {
            let expected = match mood {
                Mood::Answers if shows.iter().any(|server| *server == ip) => matches!(sight, Sight::Shows),
                Mood::Answers => sight == Sight::Lacks(Vec::new()),
                Mood::Silent => sight == Sight::Dead("gives no answer in 400ms".to_owned()),
                Mood::Refuses => matches!(sight, Sight::Lame(_)),
            };
            assert!(expected, "{ip}: {sight:?}");
        }
        let strict = Policy { every_server: true, ..at_once() };
        let all = moods.iter().all(|mood| *mood == Mood::Answers);
        assert_eq!(internet.look(&proof, &strict).await.all_visible(), visible && all);
    }
}

/// The first server has both zones and shows the value without a word of the cut; the third has only the lower one.
#[tokio::test]
async fn all_servers_of_the_lower_zone_count_where_one_has_both() {
    let internet = Internet::start().await;
    {
        let mut state = internet.state();
        state.zone("example.com", &[FIRST]);
        state.zone("sub.example.com", &[FIRST, THIRD]);
        state.txt(FIRST, "www.sub.example.com", VALUE);
        state.set(FIRST, "old.sub.example.com", RData::CNAME(CNAME(name("x.dcv.digicert.com"))));
    }
    let cname = Proof::Cname { name: "old.sub.example.com".to_owned(), target: "x.dcv.digicert.com".to_owned() };
    for proof in [txt("www.sub.example.com"), cname] {
        let verdict = internet.look(std::slice::from_ref(&proof), &at_once()).await;
        let expected = [(FIRST.into(), Sight::Shows), (THIRD.into(), Sight::Lacks(Vec::new()))];
        assert_eq!(sights(&verdict), expected, "{proof}");
        assert!(!verdict.all_visible());
    }
    internet.state().txt(THIRD, "www.sub.example.com", VALUE);
    let verdict = internet.look(&[txt("www.sub.example.com")], &at_once()).await;
    assert!(verdict.all_visible(), "{verdict}");
}

/// While the second server was waited for, another writer removed the value from the first.
#[tokio::test]
async fn a_value_that_was_lost_meanwhile_is_missed() {
    let internet = Internet::start().await;
    {
        let mut state = internet.state();
        state.zone("example.com", &[FIRST, SECOND]);
        state.txt(FIRST, "www.example.com", VALUE);
    }
    let policy = Policy { give_up_after: Duration::from_millis(300), ..Policy::default() };
    let state = Arc::clone(&internet.state);
    let swap = move |verdict: &Verdict| {
        if sights(verdict)[1].1 == Sight::Lacks(Vec::new()) {
            let mut state = lock(&state);
            state.remove(FIRST, "www.example.com");
            state.txt(FIRST, "www.example.com", "another's");
            state.txt(SECOND, "www.example.com", VALUE);
        }
    };
    let verdict = wait_visible(&internet.dns(), &[txt("www.example.com")], &policy, swap).await;
    assert!(!verdict.all_visible(), "{verdict}");
    let lost = Sight::Lost(vec!["\"another's\"".to_owned()]);
    assert_eq!(sights(&verdict), [(FIRST.into(), lost), (SECOND.into(), Sight::Shows)]);
    assert!(verdict.to_string().contains("showed it and now has \"another's\""), "{verdict}");
}

#[tokio::test]
async fn resolvers_are_asked_last_and_their_memory_is_told() {
    let internet = Internet::start().await;
    internet.state().zone("example.com", &[FIRST]);
    let resolvers = vec![(RESOLVER, internet.port).into()];
    let policy = Policy { resolvers, ..at_once() };
    let proof = [txt("www.example.com")];
    assert!(!internet.look(&proof, &policy).await.all_visible());
    let asked = internet.state().asked.iter().any(|(ip, owner, _)| *ip == RESOLVER && owner == "www.example.com");
    assert!(!asked, "a resolver was told to remember that there is nothing");

    {
        let mut state = internet.state();
        state.txt(FIRST, "www.example.com", VALUE);
        state.absent.insert(("www.example.com".to_owned(), RecordType::TXT));
    }
    let verdict = internet.look(&proof, &policy).await;
    assert!(!verdict.all_visible());
    let cached = Sight::Caches { instead: Vec::new(), seconds: 60 };
    assert_eq!(sights(&verdict), [(RESOLVER.into(), cached), (FIRST.into(), Sight::Shows)]);
    assert!(verdict.to_string().contains("remembers for another 60 s that there is nothing"), "{verdict}");

    internet.state().absent.clear();
    assert!(internet.look(&proof, &policy).await.all_visible());
}

#[tokio::test]
async fn an_alias_is_followed_to_the_authorities_of_its_target() {
    let internet = Internet::start().await;
    {
        let mut state = internet.state();
        state.zone("example.com", &[FIRST]);
        state.zone("acme-corp.net", &[SECOND, THIRD]);
        state.set(FIRST, "_dnsauth.example.com", RData::CNAME(CNAME(name("proofs.acme-corp.net"))));
        state.txt(SECOND, "proofs.acme-corp.net", VALUE);
    }
    let verdict = internet.look(&[txt("_dnsauth.example.com")], &at_once()).await;
    assert_eq!(sights(&verdict), [(SECOND.into(), Sight::Shows), (THIRD.into(), Sight::Lacks(Vec::new()))]);
}

/// 100 names below a public suffix of two labels, each answer 100 ms away.
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_names_take_a_few_round_trips_and_leave_the_registry_alone() {
    let internet = Internet::start().await;
    let names: Vec<String> = (0..100).map(|n| format!("host{n}.example.co.uk")).collect();
    {
        let mut state = internet.state();
        state.zone("co.uk", &[THIRD]);
        state.zone("example.co.uk", &[FIRST, SECOND]);
        for server in [FIRST, SECOND] {
            for name in &names {
                state.txt(server, name, VALUE);
            }
        }
        state.delay = Duration::from_millis(100);
    }
    let proofs: Vec<Proof> = names.iter().map(|name| txt(name)).collect();
    let began = Instant::now();
    let verdict = internet.look(&proofs, &at_once()).await;
    let wall = began.elapsed();
    assert!(verdict.all_visible(), "{verdict}");
    // SOA, NS, addresses of the servers, the servers themselves, and the question where the zone is cut: six at most.
    assert!(wall < Duration::from_millis(1500), "{wall:?}");
    let state = internet.state();
    assert_eq!(state.asked(THIRD), 0, "the registry was asked");
    assert!(state.asked(RESOLVER) <= 8, "{}", state.asked(RESOLVER));
    assert!(state.asked(FIRST) + state.asked(SECOND) <= 300, "{} {}", state.asked(FIRST), state.asked(SECOND));
}

/// A web server that answers every request with this status and page, by HTTPS with a certificate for this name.
fn web(certified: Option<&str>, status: u16, page: &str) -> u16 {
    let listener = TcpListener::bind((FIRST, 0)).expect("a listener");
    let port = listener.local_addr().expect("its address").port();
    let mut reply = String::new();
    write!(reply, "HTTP/1.1 {status} x\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{page}", page.len())
        .expect("a string");
    let tls = certified.map(|host| {
        let rcgen::CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(vec![host.to_owned()]).expect("a certificate");
        let key = rustls::pki_types::PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .expect("a configuration");
        Arc::new(config)
    });
    // Ends with the process of the test.
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 4096];
            if let Some(config) = &tls {
                let mut session = rustls::ServerConnection::new(Arc::clone(config)).expect("a session");
                let mut stream = rustls::Stream::new(&mut session, &mut stream);
                if stream.read(&mut request).is_ok() {
                    let _ = stream.write_all(reply.as_bytes());
                    stream.conn.send_close_notify();
                    let _ = stream.flush();
                }
            } else if stream.read(&mut request).is_ok() {
                let _ = stream.write_all(reply.as_bytes());
            }
        }
    });
    port
}

fn nobody() -> u16 {
    TcpListener::bind((FIRST, 0)).expect("a listener").local_addr().expect("its address").port()
}

#[tokio::test]
async fn files_are_judged_as_the_ca_judges_them() {
    let host = "www.example.com";
    let internet = Internet::start().await;
    {
        let mut state = internet.state();
        state.zone("example.com", &[FIRST]);
        state.set(FIRST, host, RData::A(A(FIRST)));
    }
    let path = "/.well-known/pki-validation/fileauth.txt".to_owned();
    let proof = [Proof::File { host: host.to_owned(), path, body: VALUE.to_owned() }];
    let late = format!("{}{VALUE}", "é".repeat(4990));
    let just = format!("{}{VALUE}\r\n<p>", "é".repeat(4900));
    for (case, https, http, visible) in [
        ("HTTP alone", nobody(), web(None, 200, VALUE), true),
        ("HTTPS alone", web(Some(host), 200, VALUE), nobody(), true),
        ("nobody", nobody(), nobody(), false),
        ("a wrong page by HTTPS, from an unknown issuer", web(Some(host), 200, "hello"), web(None, 200, VALUE), false),
        ("a wrong page by HTTP", web(Some(host), 200, VALUE), web(None, 200, "hello"), false),
        ("an error by HTTPS", web(Some(host), 503, ""), web(None, 200, VALUE), true),
        ("HTTPS of another host", web(Some("other.example.com"), 200, "hello"), web(None, 200, VALUE), true),
        ("HTTP leads to HTTPS", web(Some(host), 200, VALUE), web(None, 301, ""), true),
        ("errors on both", web(Some(host), 404, VALUE), web(None, 404, VALUE), false),
        ("a value beyond the limit", nobody(), web(None, 200, &late), false),
        ("a value before the limit", nobody(), web(None, 200, &just), true),
    ] {
        let policy = Policy { web_ports: (http, https), ..at_once() };
        let verdict = internet.look(&proof, &policy).await;
        assert_eq!(verdict.all_visible(), visible, "{case}: {verdict}");
    }
}
