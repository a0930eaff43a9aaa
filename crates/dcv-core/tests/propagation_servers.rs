//! What counts as visible, asked of name servers and web servers that lag, lie dead, forget and cache.

mod internet;

use std::{
    io::{Read, Write as _},
    net::{IpAddr, SocketAddr, TcpListener},
    sync::Arc,
    time::{Duration, Instant},
};

use dcv_core::propagation::{Policy, Sight, Verdict, wait_visible};
use dcv_provider::Proof;
use flate2::{Compression, read::GzEncoder};
use hickory_proto::{
    rr::{
        RData, RecordType,
        rdata::{A, CNAME, NS, NULL},
    },
    serialize::binary::BinEncodable,
};
use internet::{FIRST, Internet, Mood, RESOLVER, SECOND, THIRD, lock, name};

const VALUE: &str = "0123456789abcdefghijklmnopqrstuV";

trait Look {
    async fn look(&self, proofs: &[Proof], policy: &Policy) -> Verdict;
}

impl Look for Internet {
    async fn look(&self, proofs: &[Proof], policy: &Policy) -> Verdict {
        wait_visible(&self.dns(), proofs, policy, |_| {}).await
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

/// The registry still delegates to a server that the zone does not name any more: some of the CA's resolvers ask it.
#[tokio::test]
async fn servers_that_only_the_delegation_names_are_asked_too() {
    let internet = Internet::start().await;
    {
        let mut state = internet.state();
        state.zone("com", &[THIRD]);
        // The old server has the zone as it once was.
        state.zone("example.com", &[FIRST, SECOND]);
        state.zone("example.com", &[SECOND]);
        state.set(SECOND, "ns2.example.com", RData::A(A(FIRST)));
        for ns in ["ns2.example.com", "ns3.example.com"] {
            state.set(THIRD, "example.com", RData::NS(NS(name(ns))));
        }
        state.txt(SECOND, "www.example.com", VALUE);
    }
    let verdict = internet.look(&[txt("www.example.com")], &at_once()).await;
    assert_eq!(sights(&verdict), [(FIRST.into(), Sight::Lacks(Vec::new())), (SECOND.into(), Sight::Shows)]);
    assert!(!verdict.all_visible());
    assert!(verdict.to_string().contains("ns2.example.com (named by the zone above only)"), "{verdict}");
    internet.state().txt(FIRST, "www.example.com", VALUE);
    assert!(internet.look(&[txt("www.example.com")], &at_once()).await.all_visible());
    // A registry that cannot be asked hides the old server, and is no failure.
    internet.state().moods.insert(THIRD, Mood::Refuses);
    let verdict = internet.look(&[txt("www.example.com")], &at_once()).await;
    assert_eq!(sights(&verdict), [(SECOND.into(), Sight::Shows)]);
}

/// The same, where the cut is further down and its referral is met on the way.
#[tokio::test]
async fn servers_that_only_a_delegation_below_names_are_asked_too() {
    let internet = Internet::start().await;
    {
        let mut state = internet.state();
        state.zone("example.com", &[FIRST]);
        state.zone("sub.example.com", &[SECOND]);
        let zone = state.held[&SECOND]["sub.example.com"].clone();
        state.held.entry(THIRD).or_default().insert("sub.example.com".to_owned(), zone);
        for ns in ["ns3.sub.example.com", "old.example.com"] {
            state.set(FIRST, "sub.example.com", RData::NS(NS(name(ns))));
        }
        state.set(FIRST, "old.example.com", RData::A(A(THIRD)));
        state.txt(SECOND, "www.sub.example.com", VALUE);
    }
    let verdict = internet.look(&[txt("www.sub.example.com")], &at_once()).await;
    assert_eq!(sights(&verdict), [(SECOND.into(), Sight::Shows), (THIRD.into(), Sight::Lacks(Vec::new()))]);
}

/// The CA's look-up fails at a DNAME, whatever stands at its end.
#[tokio::test]
async fn what_is_reached_through_a_dname_is_not_seen() {
    let internet = Internet::start().await;
    let end = name("www.acme-corp.net").to_bytes().expect("a name");
    {
        let mut state = internet.state();
        state.zone("example.com", &[FIRST]);
        state.zone("acme-corp.net", &[SECOND]);
        // As a server puts it together for a name below the DNAME.
        state.set(FIRST, "www.example.com", RData::CNAME(CNAME(name("www.acme-corp.net"))));
        state.set(FIRST, "www.example.com", RData::Unknown { code: RecordType::DNAME, rdata: NULL::with(end) });
        state.txt(SECOND, "www.acme-corp.net", VALUE);
    }
    let cname = Proof::Cname { name: "www.example.com".to_owned(), target: "www.acme-corp.net".to_owned() };
    for proof in [txt("www.example.com"), cname] {
        let verdict = internet.look(std::slice::from_ref(&proof), &at_once()).await;
        assert!(
            !verdict.all_visible() && verdict.to_string().contains("a DNAME, through which the CA does not read"),
            "{verdict}"
        );
    }
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
    // SOA, the registry's name servers and their addresses, the registry, addresses of the zone's servers, these themselves, and
    // the question where the zone is cut: seven.
    assert!(wall < Duration::from_millis(1500), "{wall:?}");
    let state = internet.state();
    assert_eq!(state.asked(THIRD), 1, "the registry is asked for the delegation alone, and once");
    assert!(state.asked(RESOLVER) <= 9, "{}", state.asked(RESOLVER));
    assert!(state.asked(FIRST) + state.asked(SECOND) <= 300, "{} {}", state.asked(FIRST), state.asked(SECOND));
}

/// A web server that answers every request with this status and page, by HTTPS with a certificate for this name.
fn web(certified: Option<&str>, status: u16, page: &str) -> u16 {
    web_with(certified, &format!("{status} x"), page)
}

/// The same, with header lines after the status.
fn web_with(certified: Option<&str>, status: &str, page: impl AsRef<[u8]>) -> u16 {
    let listener = TcpListener::bind((FIRST, 0)).expect("a listener");
    let port = listener.local_addr().expect("its address").port();
    let page = page.as_ref();
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", page.len());
    let reply = [head.as_bytes(), page].concat();
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
    // Firewalls let the CA's agent through, and whoever names it; caches have a page for those who take it packed.
    let answer = move |request: &[u8]| {
        let request = String::from_utf8_lossy(request).to_ascii_lowercase();
        let says =
            |header: &str, part: &str| request.lines().any(|line| line.starts_with(header) && line.contains(part));
        let known = says("user-agent: dcv/", "digicert dcv/1.1") && says("accept-encoding:", "gzip, x-gzip, deflate");
        if known { reply.clone() } else { b"HTTP/1.1 403 x\r\nConnection: close\r\n\r\n".to_vec() }
    };
    // Ends with the process of the test.
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 4096];
            if let Some(config) = &tls {
                let mut session = rustls::ServerConnection::new(Arc::clone(config)).expect("a session");
                let mut stream = rustls::Stream::new(&mut session, &mut stream);
                if let Ok(length) = stream.read(&mut request) {
                    let _ = stream.write_all(&answer(&request[..length]));
                    stream.conn.send_close_notify();
                    let _ = stream.flush();
                }
            } else if let Ok(length) = stream.read(&mut request) {
                let _ = stream.write_all(&answer(&request[..length]));
            }
        }
    });
    port
}

/// A web server that sends everything to `location`, but for what lies below `/moved`, where the value is.
fn redirecting(location: &str) -> u16 {
    let listener = TcpListener::bind((FIRST, 0)).expect("a listener");
    let port = listener.local_addr().expect("its address").port();
    let there = format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{VALUE}");
    let elsewhere = format!("HTTP/1.1 302 Found\r\nlocation: {location}\r\nconnection: close\r\n\r\n");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 4096];
            let length = stream.read(&mut request).unwrap_or_default();
            let reply = if request[..length].starts_with(b"GET /moved") { &there } else { &elsewhere };
            let _ = stream.write_all(reply.as_bytes());
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
    let packed = "200 x\r\nContent-Encoding: gzip";
    let mut gzip = Vec::new();
    GzEncoder::new(VALUE.as_bytes(), Compression::fast()).read_to_end(&mut gzip).expect("packed");
    let moved = "301 x\r\nLocation: https://www.example.com/elsewhere";
    for (case, https, http, visible) in [
        ("HTTP alone", nobody(), web(None, 200, VALUE), true),
        ("HTTPS alone", web(Some(host), 200, VALUE), nobody(), true),
        ("nobody", nobody(), nobody(), false),
        ("a wrong page by HTTPS, from an unknown issuer", web(Some(host), 200, "hello"), web(None, 200, VALUE), false),
        ("a wrong page by HTTP", web(Some(host), 200, VALUE), web(None, 200, "hello"), false),
        ("an error by HTTPS", web(Some(host), 503, ""), web(None, 200, VALUE), true),
        ("HTTPS of another host", web(Some("other.example.com"), 200, "hello"), web(None, 200, VALUE), true),
        ("HTTP leads to HTTPS", web(Some(host), 200, VALUE), web(None, 301, ""), true),
        ("an empty page by HTTPS", web(Some(host), 200, ""), web(None, 200, VALUE), true),
        ("no content by HTTPS", web(Some(host), 204, ""), web(None, 200, VALUE), true),
        ("empty pages on both", web(Some(host), 200, ""), web(None, 200, ""), false),
        ("another status by HTTPS", web(Some(host), 303, "see there"), web(None, 200, VALUE), false),
        ("the value with another status", web(Some(host), 300, VALUE), nobody(), true),
        ("another status by HTTP", web(Some(host), 200, VALUE), web(None, 303, "see there"), true),
        ("a page that has moved, by HTTPS", web_with(Some(host), moved, "moved"), web(None, 200, VALUE), false),
        ("nothing that has moved, by HTTPS", web_with(Some(host), moved, ""), web(None, 200, VALUE), true),
        ("a page that has moved, by HTTP", web(Some(host), 200, VALUE), web_with(None, moved, "moved"), true),
        ("a packed page by HTTPS", web_with(Some(host), packed, &gzip), web(None, 200, VALUE), true),
        ("a packed page by HTTP", nobody(), web_with(None, packed, &gzip), true),
        ("a packed page that is none", web_with(Some(host), packed, VALUE), web(None, 200, VALUE), true),
        ("errors on both", web(Some(host), 404, VALUE), web(None, 404, VALUE), false),
        ("a value beyond the limit", nobody(), web(None, 200, &late), false),
        ("a value before the limit", nobody(), web(None, 200, &just), true),
        ("a redirect to a path", nobody(), redirecting("/moved/fileauth.txt"), true),
        ("a redirect to another host", nobody(), redirecting("https://example.com/moved"), false),
        ("a redirect in a circle", nobody(), redirecting("/elsewhere"), false),
    ] {
        let policy = Policy { web_ports: (http, https), ..at_once() };
        let verdict = internet.look(&proof, &policy).await;
        assert_eq!(verdict.all_visible(), visible, "{case}: {verdict}");
    }
}
