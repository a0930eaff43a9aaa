//! The validation authority against the embedded name server and web servers on loopback: what is a proof and what is
//! not, perspectives that disagree, CAA.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use certcentral_sandbox::{
    dns::{self, Server},
    va::{CaaVerdict, CnameRule, Config, Method, Perspective, Redirects, Validator, Verdict},
};
use hickory_proto::{
    op::{Message, MessageType, OpCode, Query, ResponseCode},
    rr::{
        Name, RData, Record, RecordType,
        rdata::{A, CAA, CNAME, TXT},
    },
};

const VALUE: &str = "fdy6m0wy5lq063sz4h0r6qmdt722gyfc";

async fn zone(web: Option<Ipv4Addr>) -> Server {
    Server::start(dns::Config { web_addr: web, ..dns::Config::default() }).await.unwrap()
}

fn name(text: &str) -> Name {
    Name::from_ascii(format!("{text}.")).unwrap()
}

fn txt(parts: &[&str]) -> RData {
    RData::TXT(TXT::new(parts.iter().map(ToString::to_string).collect()))
}

fn cname(target: &str) -> RData {
    RData::CNAME(CNAME(name(target)))
}

/// One record more in the zone `example.com`.
async fn add(server: &Server, owner: &str, data: RData) {
    let mut update = Message::new(9, MessageType::Query, OpCode::Update);
    update.add_query(Query::query(name("example.com"), RecordType::SOA));
    update.add_authority(Record::from_rdata(name(owner), 60, data));
    let (bytes, to) = (update.to_vec().unwrap(), server.addr());
    let code = tokio::task::spawn_blocking(move || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket.send_to(&bytes, to).unwrap();
        let mut buffer = [0; 1500];
        let length = socket.recv(&mut buffer).unwrap();
        Message::from_vec(&buffer[..length]).unwrap().metadata.response_code
    });
    assert_eq!(code.await.unwrap(), ResponseCode::NoError, "{owner}");
}

fn config(server: &Server) -> Config {
    Config::with_dns(vec![server.addr()])
}

fn values() -> Vec<String> {
    vec!["another-value-that-is-nowhere-at-all".to_owned(), VALUE.to_owned()]
}

async fn check(config: Config, domain: &str, method: Method) -> Verdict {
    Validator::new(config).unwrap().check(domain, &method, &values()).await
}

fn valid(at: &str) -> Verdict {
    Verdict::Valid { value: VALUE.to_owned(), at: at.to_owned() }
}

fn invalid(reasons: &[&str]) -> Verdict {
    Verdict::Invalid { reasons: reasons.iter().map(ToString::to_string).collect() }
}

#[tokio::test]
async fn txt_records() {
    let server = zone(None).await;
    let long = "x".repeat(250);
    for (owner, data) in [
        ("_dnsauth.a.example.com", txt(&[VALUE])),
        ("b.example.com", txt(&[VALUE])),
        ("_dnsauth.c.example.com", txt(&["wrong"])),
        ("c.example.com", txt(&["v=spf1 -all"])),
        ("c.example.com", txt(&[&format!("digicert={VALUE};")])),
        ("_dnsauth.d.example.com", txt(&[&VALUE.to_uppercase()])),
        ("_dnsauth.e.example.com", txt(&[&VALUE[..16], &VALUE[16..]])),
        ("_dnsauth.f.example.com", cname("proofs.example.com")),
        ("proofs.example.com", txt(&[VALUE])),
        ("_dnsauth.g.example.com", cname(&format!("{VALUE}.example.net"))),
        ("_dnsauth.h.example.com", cname(&format!("{VALUE}.nowhere.example.com"))),
        ("_dnsauth.i.example.com", txt(&[&long, VALUE])),
        ("www.parent.example.com", txt(&["other"])),
        ("parent.example.com", txt(&[VALUE])),
    ] {
        add(&server, owner, data).await;
    }
    // More than a datagram holds.
    for n in 0..8 {
        add(&server, "_dnsauth.big.example.com", txt(&[&format!("{n}{long}")])).await;
    }
    add(&server, "_dnsauth.big.example.com", txt(&[VALUE])).await;

    let table = [
        ("a", valid("_dnsauth.a.example.com")),
        ("b", valid("b.example.com")),
        ("c", valid("c.example.com")),
        // The name itself exists because `_dnsauth` is below it.
        ("d", invalid(&["random_value_not_found", "dns_lookup_record_not_found"])),
        ("e", invalid(&["random_value_not_found", "dns_lookup_record_not_found"])),
        ("f", valid("_dnsauth.f.example.com")),
        ("g", valid("_dnsauth.g.example.com")),
        ("h", invalid(&["dns_lookup_domain_not_found", "dns_lookup_record_not_found"])),
        ("i", valid("_dnsauth.i.example.com")),
        ("big", valid("_dnsauth.big.example.com")),
        ("nothing", invalid(&["dns_lookup_domain_not_found"])),
        ("www.parent", invalid(&["dns_lookup_domain_not_found", "random_value_not_found"])),
    ];
    for (label, verdict) in table {
        assert_eq!(check(config(&server), &format!("{label}.example.com"), Method::DnsTxt).await, verdict, "{label}");
    }
    // Not this server's.
    assert_eq!(check(config(&server), "example.net", Method::DnsTxt).await, invalid(&["dns_lookup_io_exception"]));
}

#[tokio::test]
async fn cname_records() {
    let server = zone(None).await;
    for (owner, data) in [
        ("_dnsauth.a.example.com", cname(&format!("{VALUE}.dcv.digicert.com"))),
        ("b.example.com", cname(&format!("x-{VALUE}-y.example.net"))),
        ("_dnsauth.c.example.com", cname(&format!("{}.dcv.digicert.com", VALUE.to_uppercase()))),
        ("_dnsauth.d.example.com", txt(&[VALUE])),
        ("_dnsauth.e.example.com", cname("alias.example.com")),
        ("alias.example.com", cname(&format!("{VALUE}.dcv.digicert.com"))),
        (&format!("{VALUE}.f.example.com"), cname("DCV.DigiCert.com")),
        (&format!("{VALUE}.g.example.com"), cname("dcv.example.net")),
    ] {
        add(&server, owner, data).await;
    }
    let not_found = invalid(&["random_value_not_found", "dns_lookup_record_not_found"]);
    let nothing = invalid(&["dns_lookup_domain_not_found", "dns_lookup_record_not_found"]);
    let old = |label: &str| valid(&format!("{VALUE}.{label}.example.com"));
    // Label, by today's rule, by the older one, by either.
    let current = |label: &str| valid(&format!("_dnsauth.{label}.example.com"));
    let missing = invalid(&["dns_lookup_domain_not_found"]);
    let table = [
        ("a", current("a"), missing.clone(), current("a")),
        ("b", valid("b.example.com"), missing.clone(), valid("b.example.com")),
        (
            "c",
            not_found,
            missing.clone(),
            invalid(&["random_value_not_found", "dns_lookup_record_not_found", "dns_lookup_domain_not_found"]),
        ),
        (
            "d",
            invalid(&["dns_lookup_record_not_found"]),
            missing.clone(),
            invalid(&["dns_lookup_record_not_found", "dns_lookup_domain_not_found"]),
        ),
        // Not followed.
        (
            "e",
            invalid(&["random_value_not_found", "dns_lookup_record_not_found"]),
            missing,
            invalid(&["random_value_not_found", "dns_lookup_record_not_found", "dns_lookup_domain_not_found"]),
        ),
        ("f", nothing.clone(), old("f"), old("f")),
        (
            "g",
            nothing,
            invalid(&["dns_lookup_domain_not_found", "random_value_not_found"]),
            invalid(&["dns_lookup_domain_not_found", "dns_lookup_record_not_found", "random_value_not_found"]),
        ),
    ];
    for (label, current, old, either) in table {
        let domain = format!("{label}.example.com");
        for (rule, verdict) in [(CnameRule::Current, current), (CnameRule::Old, old), (CnameRule::Either, either)] {
            let config = Config { cname_rule: rule, ..config(&server) };
            assert_eq!(check(config, &domain, Method::DnsCname).await, verdict, "{domain} by {rule:?}");
        }
    }
}

fn perspectives(dns: &[SocketAddr]) -> Vec<Perspective> {
    let named = dns.iter().enumerate();
    named.map(|(index, server)| Perspective { name: format!("p{index}"), dns: vec![*server] }).collect()
}

#[tokio::test]
async fn perspectives_that_disagree() {
    let (with, without, other) = (zone(None).await, zone(None).await, zone(None).await);
    add(&with, "_dnsauth.example.com", txt(&[VALUE])).await;
    add(&other, "_dnsauth.example.com", txt(&["another-value-that-is-nowhere-at-all"])).await;
    let (y, n, o) = (with.addr(), without.addr(), other.addr());
    let found = valid("_dnsauth.example.com");
    let corroboration = invalid(&["mpic_corroboration_error"]);
    let primary = invalid(&["dns_lookup_domain_not_found", "dns_lookup_record_not_found"]);
    let table = [
        (vec![y], found.clone()),
        (vec![y, y], found.clone()),
        (vec![y, n], corroboration.clone()),
        (vec![y, y, n], found.clone()),
        (vec![y, n, n], corroboration.clone()),
        (vec![y, y, y, y, n], found.clone()),
        (vec![y, y, y, n, n], corroboration.clone()),
        // Another of our values is no corroboration of this one.
        (vec![y, y, y, o, o], corroboration.clone()),
        (vec![y, y, y, y, y, n, n], found),
        (vec![y, y, y, y, n, n, n], corroboration),
        (vec![n, y, y, y, y], primary),
    ];
    for (dns, verdict) in table {
        let config = Config { perspectives: perspectives(&dns), ..Config::default() };
        assert_eq!(check(config, "example.com", Method::DnsTxt).await, verdict, "{dns:?}");
    }
    assert!(Validator::new(Config { perspectives: Vec::new(), ..Config::default() }).is_err());
}

#[tokio::test]
async fn servers_of_one_perspective() {
    let (right, wrong, empty) = (zone(None).await, zone(None).await, zone(None).await);
    add(&right, "_dnsauth.example.com", txt(&[VALUE])).await;
    add(&wrong, "_dnsauth.example.com", txt(&["wrong"])).await;
    // Takes questions and never answers.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (r, w, e, s) = (right.addr(), wrong.addr(), empty.addr(), silent.local_addr().unwrap());
    let found = valid("_dnsauth.example.com");
    let table = [
        (vec![e, r], found.clone()),
        (vec![s, r], found),
        // The first with any answer wins.
        (vec![w, r], invalid(&["random_value_not_found", "dns_lookup_record_not_found"])),
        (vec![s], invalid(&["dns_lookup_timeout"])),
    ];
    for (dns, verdict) in table {
        let timeout = Duration::from_millis(200);
        let one = Perspective { name: "one".to_owned(), dns: dns.clone() };
        let config = Config { perspectives: vec![one], timeout, ..Config::default() };
        assert_eq!(check(config, "example.com", Method::DnsTxt).await, verdict, "{dns:?}");
    }
}

#[tokio::test]
async fn caa_tree() {
    let server = zone(None).await;
    let caa = |tag: &str, value: &str, critical: bool| {
        let mut caa = CAA::new_issue(critical, None, Vec::new());
        caa.tag = tag.to_owned();
        caa.value = value.as_bytes().to_vec();
        RData::CAA(caa)
    };
    for (owner, data) in [
        ("other.example.com", caa("issue", "letsencrypt.org", false)),
        ("own.other.example.com", caa("issue", "digicert.com", false)),
        ("wild.example.com", caa("issue", "digicert.com", false)),
        ("wild.example.com", caa("issuewild", ";", false)),
        ("critical.example.com", caa("tbs", "x", true)),
        ("alias.example.com", cname("other.example.com")),
        ("loop.example.com", cname("loop.example.com")),
        ("away.example.com", cname("www.example.net")),
    ] {
        add(&server, owner, data).await;
    }
    let forbidden = |at: &str, record: &str| CaaVerdict::Forbidden {
        at: format!("{at}.example.com"),
        records: vec![record.to_owned()],
    };
    let other = r#"0 issue "letsencrypt.org""#;
    let table = [
        ("free", false, CaaVerdict::Allowed),
        ("free", true, CaaVerdict::Allowed),
        ("other", false, forbidden("other", other)),
        ("a.b.c.other", false, forbidden("other", other)),
        ("a.b.c.other", true, forbidden("other", other)),
        ("own.other", false, CaaVerdict::Allowed),
        ("a.own.other", false, CaaVerdict::Allowed),
        ("wild", false, CaaVerdict::Allowed),
        ("critical", false, forbidden("critical", r#"128 tbs "x""#)),
        ("alias", false, forbidden("alias", other)),
        ("loop", false, CaaVerdict::Allowed),
        ("away", false, CaaVerdict::Allowed),
    ];
    let validator = Validator::new(config(&server)).unwrap();
    for (label, wildcard, verdict) in table {
        assert_eq!(validator.caa(&format!("{label}.example.com"), wildcard).await, verdict, "{label} {wildcard}");
    }
    let wild = validator.caa("wild.example.com", true).await;
    assert!(matches!(&wild, CaaVerdict::Forbidden { records, .. } if records.len() == 2), "{wild:?}");
    // Nobody speaks for it.
    let failed = CaaVerdict::Failed { reason: "dns_lookup_io_exception".to_owned() };
    assert_eq!(validator.caa("example.net", false).await, failed);
    // Each perspective sees for itself.
    let open = zone(None).await;
    let dns = [open.addr(), server.addr(), server.addr()];
    let split = Validator::new(Config { perspectives: perspectives(&dns), ..Config::default() }).unwrap();
    let failed = CaaVerdict::Failed { reason: "mpic_corroboration_error".to_owned() };
    assert_eq!(split.caa("other.example.com", false).await, failed);
    assert_eq!(split.caa("free.example.com", false).await, CaaVerdict::Allowed);
}

/// A web server that gives the same raw answer to everything at a path, and keeps what it was asked.
struct Site {
    addr: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
}

type Answer = dyn Fn(&str) -> Vec<u8> + Send + Sync;

impl Site {
    fn start(tls: Option<rustls::ServerConfig>, answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let (asked, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (tls, answer): (_, Arc<Answer>) = (tls.map(Arc::new), Arc::new(answer));
        let (log, stopped) = (Arc::clone(&asked), Arc::clone(&stop));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stopped.load(Ordering::SeqCst) {
                    break;
                }
                let (tls, answer, log) = (tls.clone(), Arc::clone(&answer), Arc::clone(&log));
                std::thread::spawn(move || {
                    // A client that goes away is its own affair.
                    let _ = match tls {
                        None => talk(stream, &*answer, &log),
                        Some(tls) => {
                            let session = rustls::ServerConnection::new(tls).unwrap();
                            talk(rustls::StreamOwned::new(session, stream), &*answer, &log)
                        }
                    };
                });
            }
        });
        Self { addr, asked, stop }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.addr);
    }
}

fn talk(stream: impl Read + Write, answer: &Answer, log: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while reader.read_line(&mut head)? > 2 {}
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    log.lock().unwrap().push(head);
    let mut stream = reader.into_inner();
    stream.write_all(&answer(&path))?;
    stream.flush()
}

fn page(status: &str, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// A self-signed certificate that ended long ago.
fn tls_for(name: &str) -> rustls::ServerConfig {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let certificate = params.self_signed(&key).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap()
}

/// A port where nobody listens.
fn closed() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn file() -> Method {
    Method::Http { file_name: "fileauth.txt".to_owned() }
}

const PATH: &str = "/.well-known/pki-validation/fileauth.txt";

/// One perspective, so that servers are asked once.
fn web(server: &Server, http: u16, https: u16) -> Config {
    let one = perspectives(&[server.addr()]);
    Config { perspectives: one, http_port: http, https_port: https, ..Config::default() }
}

#[tokio::test]
async fn files_over_http() {
    let server = zone(Some(Ipv4Addr::LOCALHOST)).await;
    let found = valid(&format!("http://www.example.com{PATH}"));
    let utf16: Vec<u8> = VALUE.encode_utf16().flat_map(u16::to_le_bytes).collect();
    // With https closed its failure is what is told.
    let failed = invalid(&["file_validation_client_error"]);
    let not_there = invalid(&["random_value_not_found"]);
    let table: Vec<(&str, Vec<u8>, Verdict)> = vec![
        ("plain", page("200 OK", "", VALUE), found.clone()),
        ("around", page("200 OK", "", format!("\u{feff}<p>{VALUE}\r\n</p>")), found.clone()),
        ("utf-16", page("200 OK", "Content-Type: text/plain; charset=utf-16le\r\n", utf16), found.clone()),
        ("within the limit", page("200 OK", "", "x".repeat(4900) + VALUE), found.clone()),
        ("past the limit", page("200 OK", "", "x".repeat(4990) + VALUE), not_there.clone()),
        ("characters, not bytes", page("200 OK", "", "ä".repeat(4900) + VALUE), found.clone()),
        ("other case", page("200 OK", "", VALUE.to_uppercase()), not_there.clone()),
        ("other page", page("200 OK", "", "welcome"), not_there),
        ("created", page("201 Created", "", VALUE), found.clone()),
        ("see other", page("303 See Other", "Location: /x\r\n", VALUE), found),
        ("empty", page("200 OK", "", ""), failed.clone()),
        ("no content", page("204 No Content", "", ""), failed.clone()),
        ("not found", page("404 Not Found", "", VALUE), failed.clone()),
        ("error", page("500 Internal Server Error", "", VALUE), failed.clone()),
        ("noise", b"SSH-2.0-OpenSSH\r\n".to_vec(), failed),
    ];
    for (case, answer, verdict) in table {
        let site = Site::start(None, move |_| answer.clone());
        let config = web(&server, site.addr.port(), closed());
        assert_eq!(check(config, "www.example.com", file()).await, verdict, "{case}");
        let asked = site.asked.lock().unwrap().join("\n");
        assert!(asked.starts_with(&format!("GET {PATH} HTTP/1.1\r\n")), "{asked}");
        let lower = asked.to_lowercase();
        assert!(lower.contains("host: www.example.com\r\n"), "{asked}");
        assert!(lower.contains("user-agent: digicert dcv/1.1\r\n"), "{asked}");
    }
    // What https says comes first, and is told.
    let reasons = [
        ("404 Not Found", "file_validation_not_found"),
        ("403 Forbidden", "file_validation_client_error"),
        ("502 Bad Gateway", "file_validation_server_error"),
        ("204 No Content", "file_validation_empty_response"),
    ];
    for (status, reason) in reasons {
        let https = Site::start(Some(tls_for("www.example.com")), move |_| page(status, "", ""));
        let config = web(&server, closed(), https.addr.port());
        assert_eq!(check(config, "www.example.com", file()).await, invalid(&[reason]), "{status}");
    }
    let elsewhere = zone(None).await;
    let verdict = check(web(&elsewhere, closed(), closed()), "www.example.com", file()).await;
    assert_eq!(verdict, invalid(&["dns_lookup_unknown_host_exception"]));
}

/// The connection must be there in 2 s, the answer in 5.
#[tokio::test]
async fn a_server_may_think_longer_than_it_may_take_to_connect() {
    let server = zone(Some(Ipv4Addr::LOCALHOST)).await;
    let site = Site::start(None, |_| {
        std::thread::sleep(std::time::Duration::from_millis(2500));
        page("200 OK", "", VALUE)
    });
    let verdict = check(web(&server, site.addr.port(), closed()), "www.example.com", file()).await;
    assert_eq!(verdict, valid(&format!("http://www.example.com{PATH}")));
}

#[tokio::test]
async fn compressed_files_are_read() {
    use flate2::{Compression, write};
    let server = zone(Some(Ipv4Addr::LOCALHOST)).await;
    let text = format!("{VALUE}{}", " ".repeat(100_000));
    macro_rules! packed {
        ($encoder:ident) => {{
            let mut encoder = write::$encoder::new(Vec::new(), Compression::default());
            encoder.write_all(text.as_bytes()).unwrap();
            encoder.finish().unwrap()
        }};
    }
    let (gzip, zlib, raw) = (packed!(GzEncoder), packed!(ZlibEncoder), packed!(DeflateEncoder));
    let found = valid(&format!("http://www.example.com{PATH}"));
    let failed = invalid(&["file_validation_client_error"]);
    for (encoding, body, verdict) in [
        ("gzip", gzip.clone(), &found),
        ("X-Gzip", gzip, &found),
        ("deflate", zlib, &found),
        ("deflate", raw, &found),
        ("identity", VALUE.into(), &found),
        ("gzip", VALUE.into(), &failed),
    ] {
        let answer = page("200 OK", &format!("Content-Encoding: {encoding}\r\n"), body);
        let site = Site::start(None, move |_| answer.clone());
        let config = web(&server, site.addr.port(), closed());
        assert_eq!(check(config, "www.example.com", file()).await, *verdict, "{encoding}");
        let asked = site.asked.lock().unwrap().join("\n").to_lowercase();
        assert!(asked.contains("accept-encoding: gzip, x-gzip, deflate\r\n"), "{asked}");
    }
}

#[tokio::test]
async fn https_before_http() {
    let server = zone(Some(Ipv4Addr::LOCALHOST)).await;
    let at = |scheme: &str| valid(&format!("{scheme}://www.example.com{PATH}"));
    let http = Site::start(None, |_| page("200 OK", "", VALUE));
    let https = |name: &str, answer: Vec<u8>| Site::start(Some(tls_for(name)), move |_| answer.clone());
    // Self-signed and long expired is good enough; another name is not, and leads on to http.
    let good = https("www.example.com", page("200 OK", "", VALUE));
    let config = web(&server, http.addr.port(), good.addr.port());
    assert_eq!(check(config, "www.example.com", file()).await, at("https"));
    assert!(http.asked.lock().unwrap().is_empty());
    let stranger = https("www.example.net", page("200 OK", "", VALUE));
    let config = web(&server, http.addr.port(), stranger.addr.port());
    assert_eq!(check(config, "www.example.com", file()).await, at("http"));
    assert!(stranger.asked.lock().unwrap().is_empty());
    let missing = https("*.example.com", page("404 Not Found", "", ""));
    let config = web(&server, http.addr.port(), missing.addr.port());
    assert_eq!(check(config, "www.example.com", file()).await, at("http"));
    // Another page at https ends the search.
    let other = https("www.example.com", page("200 OK", "", "welcome"));
    let config = web(&server, http.addr.port(), other.addr.port());
    assert_eq!(check(config, "www.example.com", file()).await, invalid(&["random_value_not_found"]));
}

#[tokio::test]
async fn redirects() {
    let server = zone(Some(Ipv4Addr::LOCALHOST)).await;
    let hop = |status: &'static str, to: &'static str| {
        Site::start(None, move |path| match path {
            PATH => page(status, &format!("Location: {to}\r\n"), "moved"),
            _ => page("200 OK", "", VALUE),
        })
    };
    let found = valid(&format!("http://www.example.com{PATH}"));
    let failed = invalid(&["file_validation_client_error"]);
    // Status, target, followed if only relative ones are, followed within the domain.
    let table = [
        ("301 Moved", "/x", true, true),
        ("302 Found", "x.txt", true, true),
        ("307 Temporary", "/x", true, true),
        ("308 Permanent", "/x", true, true),
        ("302 Found", "http://www.example.com/x", false, true),
        ("302 Found", "http://other.example.com/x", false, true),
        ("302 Found", "http://www.example.net/x", false, false),
        ("302 Found", "http://www.example.com:81/x", false, false),
        ("302 Found", PATH, false, false),
    ];
    for (status, to, relative, domain) in table {
        for (redirects, followed) in [(Redirects::RelativeOnly, relative), (Redirects::SameDomain, domain)] {
            let site = hop(status, to);
            let config = Config { redirects, ..web(&server, site.addr.port(), closed()) };
            let verdict = if followed { &found } else { &failed };
            assert_eq!(check(config, "www.example.com", file()).await, *verdict, "{status} {to} {redirects:?}");
        }
    }
    for (hops, verdict) in [(5, &found), (6, &failed)] {
        let site = Site::start(None, move |path| {
            let at: usize = path.strip_prefix("/hop").map_or(0, |number| number.parse().unwrap());
            if at < hops {
                page("302 Found", &format!("Location: /hop{}\r\n", at + 1), "")
            } else {
                page("200 OK", "", VALUE)
            }
        });
        let config = web(&server, site.addr.port(), closed());
        assert_eq!(check(config, "www.example.com", file()).await, *verdict, "{hops} hops");
    }
}

#[tokio::test]
async fn file_names_and_busy_servers() {
    let server = zone(Some(Ipv4Addr::LOCALHOST)).await;
    let site = Site::start(None, |_| page("200 OK", "", VALUE));
    let named = |name: &str| Method::Http { file_name: name.to_owned() };
    let config = || web(&server, site.addr.port(), closed());
    let dynamic = check(config(), "www.example.com", named("A-b_c.1.txt")).await;
    assert_eq!(dynamic, valid("http://www.example.com/.well-known/pki-validation/A-b_c.1.txt"));
    let secret = check(config(), "www.example.com", named(&format!("{VALUE}.txt"))).await;
    assert_eq!(secret, invalid(&["challenge_value_in_request_not_allowed"]));
    for illegal in ["", "a/b", "a b", &"x".repeat(65)] {
        let verdict = check(config(), "www.example.com", named(illegal)).await;
        assert_eq!(verdict, invalid(&["file_validation_invalid_content"]), "{illegal}");
    }
    assert_eq!(site.asked.lock().unwrap().len(), 1, "nothing else was asked for");
    // Busy once is asked again.
    let once = AtomicBool::new(false);
    let busy = Site::start(None, move |_| {
        if once.swap(true, Ordering::SeqCst) {
            page("200 OK", "", VALUE)
        } else {
            page("503 Service Unavailable", "", "")
        }
    });
    let config = web(&server, busy.addr.port(), closed());
    assert_eq!(check(config, "www.example.com", file()).await, valid(&format!("http://www.example.com{PATH}")));
    // One that accepts and never answers costs the timeout and no more.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let config = Config { timeout: Duration::from_millis(200), ..web(&server, port, closed()) };
    let start = Instant::now();
    assert_eq!(check(config, "www.example.com", file()).await, invalid(&["file_validation_client_error"]));
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_names_at_once() {
    let server = zone(Some(Ipv4Addr::LOCALHOST)).await;
    let domains: Vec<String> = (0..100).map(|n| format!("host-{n}.example.com")).collect();
    for domain in &domains {
        add(&server, &format!("_dnsauth.{domain}"), txt(&[VALUE])).await;
        // The wildcard does not reach names that have others below them.
        add(&server, domain, RData::A(A(Ipv4Addr::LOCALHOST))).await;
    }
    let site = Site::start(None, |_| page("200 OK", "", VALUE));
    let config = Config { http_port: site.addr.port(), https_port: closed(), ..config(&server) };
    let validator = Validator::new(config).unwrap();
    let values = values();
    for method in [Method::DnsTxt, file()] {
        let start = Instant::now();
        let checks = domains.iter().map(|domain| validator.check(domain, &method, &values));
        let verdicts = futures_util::future::join_all(checks).await;
        eprintln!("100 names, 5 perspectives, {method:?}: {:?}", start.elapsed());
        for (domain, verdict) in domains.iter().zip(&verdicts) {
            assert!(matches!(verdict, Verdict::Valid { .. }), "{domain} {method:?}: {verdict:?}");
        }
    }
    let lookups = validator.lookups();
    assert!(lookups.iter().any(|one| one.perspective == "remote-4" && one.question.starts_with("_dnsauth.host-")));
    assert!(lookups.iter().any(|one| one.question.starts_with("GET http://host-")));
    assert!(lookups.len() <= 4096);
}
