//! The embedded name server against BIND's tools (`dig`, `nsupdate`), and its speed. Needs the package bind9-dnsutils.

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use certcentral_sandbox::dns::{Config, Server, TsigKey};
use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{Name, RData, Record, RecordType, rdata::TXT},
};

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

async fn start(tsig: bool) -> Server {
    let key = TsigKey { name: "dcv-key".to_owned(), secret: SECRET.to_vec() };
    let config = Config {
        zones: vec!["example.com".to_owned(), "sub.example.org".to_owned()],
        tsig: tsig.then_some(key),
        web_addr: Some(Ipv4Addr::new(127, 0, 0, 9)),
        ..Config::default()
    };
    Server::start(config).await.unwrap()
}

fn key(secret: &[u8]) -> String {
    use base64::Engine;
    format!("hmac-sha256:dcv-key:{}", base64::engine::general_purpose::STANDARD.encode(secret))
}

async fn run(program: &'static str, args: Vec<String>, input: String) -> Output {
    tokio::task::spawn_blocking(move || {
        let mut child = Command::new(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("this test needs {program} (package bind9-dnsutils): {error}"));
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    })
    .await
    .unwrap()
}

async fn dig(server: SocketAddr, args: &str) -> String {
    let mut all = vec![format!("@{}", server.ip()), "-p".to_owned(), server.port().to_string()];
    all.extend(["+tries=1", "+timeout=5", "+norecurse"].map(str::to_owned));
    all.extend(args.split_whitespace().map(str::to_owned));
    let output = run("dig", all, String::new()).await;
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Runs an update; gives everything `nsupdate` said, empty if all is well.
async fn nsupdate(server: SocketAddr, key: Option<String>, lines: &str) -> String {
    let mut args = vec!["-v".to_owned()];
    if let Some(key) = key {
        args.extend(["-y".to_owned(), key]);
    }
    let input = format!("server {} {}\n{lines}\nsend\n", server.ip(), server.port());
    let output = run("nsupdate", args, input).await;
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn serial(short: &str) -> u32 {
    short.split_whitespace().nth(2).and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no SOA in: {short}"))
}

#[tokio::test]
async fn answers_what_a_zone_holds() {
    let server = start(false).await;
    let at = server.addr();
    let soa = dig(at, "+short example.com SOA").await;
    assert_eq!(soa.trim(), "ns1.example.com. hostmaster.example.com. 1 3600 600 86400 5");
    assert_eq!(dig(at, "+short example.com NS").await.trim(), "ns1.example.com.");
    assert_eq!(dig(at, "+short ns1.example.com A").await.trim(), "127.0.0.1");
    assert_eq!(dig(at, "+short example.com A").await.trim(), "127.0.0.9");
    assert_eq!(dig(at, "+short a.b.example.com A").await.trim(), "127.0.0.9");
    assert_eq!(dig(at, "+short www.sub.example.org A").await.trim(), "127.0.0.9");
    // The wildcard has addresses only.
    let nodata = dig(at, "www.example.com TXT").await;
    assert!(nodata.contains("status: NOERROR") && nodata.contains("ANSWER: 0, AUTHORITY: 1"), "{nodata}");
    assert!(nodata.contains("flags: qr aa;"), "{nodata}");
    for outside in ["example.net", "example.org", "com", "."] {
        let answer = dig(at, &format!("{outside} A")).await;
        assert!(answer.contains("status: REFUSED"), "{answer}");
    }
    assert!(dig(at, "+tcp example.com SOA").await.contains("status: NOERROR"));
    assert!(dig(at, "example.com AXFR").await.contains("Transfer failed"));
    assert!(server.query_count() >= 12, "{}", server.query_count());
    assert!(server.records().is_empty());
    server.shutdown().await;
    assert!(dig(at, "example.com SOA").await.contains("refused"), "the port is closed");
}

#[tokio::test]
async fn signed_updates_add_and_delete_by_value() {
    let server = start(true).await;
    let (at, key) = (server.addr(), Some(key(SECRET)));
    let before = serial(&dig(at, "+short example.com SOA").await);
    let add = "update add _dnsauth.example.com 60 TXT \"first\"\nupdate add _dnsauth.example.com 60 TXT \"Second\"\n\
               update add example.com 60 TXT \"apex\"";
    assert_eq!(nsupdate(at, key.clone(), add).await, "");
    assert!(serial(&dig(at, "+short example.com SOA").await) > before);
    let both = dig(at, "+short _dnsauth.example.com TXT").await;
    assert!(both.contains("\"first\"") && both.contains("\"Second\""), "{both}");
    assert_eq!(server.records().len(), 3, "{:?}", server.records());
    // The same once more changes nothing.
    let serial_now = serial(&dig(at, "+short example.com SOA").await);
    assert_eq!(nsupdate(at, key.clone(), add).await, "");
    assert_eq!(serial(&dig(at, "+short example.com SOA").await), serial_now);

    assert_eq!(nsupdate(at, key.clone(), "update delete _dnsauth.example.com TXT \"first\"").await, "");
    assert_eq!(dig(at, "+short _dnsauth.example.com TXT").await.trim(), "\"Second\"");
    assert_eq!(nsupdate(at, key.clone(), "update delete _dnsauth.example.com TXT \"second\"").await, "");
    assert_eq!(dig(at, "+short _dnsauth.example.com TXT").await.trim(), "\"Second\"", "another value stays");
    assert_eq!(nsupdate(at, key.clone(), "update delete _dnsauth.example.com TXT").await, "");
    assert_eq!(nsupdate(at, key.clone(), "update delete example.com").await, "");
    assert!(server.records().is_empty(), "{:?}", server.records());
    // Deleting the whole apex leaves what makes it a zone, but its address went.
    assert!(dig(at, "+short example.com NS").await.contains("ns1"));
    assert_eq!(dig(at, "+short example.com A").await, "");
    assert!(server.update_count() >= 5);
}

#[tokio::test]
async fn signatures_are_required_and_checked() {
    let server = start(true).await;
    let at = server.addr();
    let add = "update add x.example.com 60 TXT v";
    let unsigned = nsupdate(at, None, add).await;
    assert!(unsigned.contains("REFUSED"), "{unsigned}");
    let wrong = nsupdate(at, Some(key(b"another secret of some length...")), add).await;
    assert!(wrong.contains("BADSIG"), "{wrong}");
    let unknown = nsupdate(at, Some(key(SECRET).replace("dcv-key", "other-key")), add).await;
    assert!(unknown.contains("BADKEY"), "{unknown}");
    let zone = nsupdate(at, Some(key(SECRET)), "zone example.net\nupdate add x.example.net 60 TXT v").await;
    assert!(zone.contains("NOTAUTH"), "{zone}");
    assert!(server.records().is_empty());
    assert_eq!(server.update_count(), 0);
    // A signed question has a signed answer, which dig verifies.
    let asked = dig(at, &format!("-y {} example.com SOA", key(SECRET))).await;
    assert!(asked.contains("TSIG PSEUDOSECTION") && asked.contains("NOERROR"), "{asked}");
    assert!(!asked.contains("Couldn't verify") && !asked.contains("tsig verify failure"), "{asked}");
}

#[tokio::test]
async fn an_old_signature_is_told_from_a_wrong_one() {
    use hickory_proto::rr::{
        TSigner,
        rdata::tsig::{TsigAlgorithm, TsigError},
    };
    let server = start(true).await;
    let name = Name::from_ascii("dcv-key.").unwrap();
    let signer = TSigner::new(SECRET.to_vec(), TsigAlgorithm::HmacSha256, name, 300).unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let mut update = Message::new(7, MessageType::Query, OpCode::Update);
    update.add_query(Query::query(Name::from_ascii("example.com.").unwrap(), RecordType::SOA));
    let data = RData::TXT(TXT::new(vec!["v".to_owned()]));
    update.add_authority(Record::from_rdata(Name::from_ascii("x.example.com.").unwrap(), 60, data));
    let signature = signer.sign_message(&update, now - 900).unwrap().0;
    update.set_signature(signature);
    let answer = exchange(server.addr(), &update).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::NotAuth);
    let tsig = answer.signature().expect("a TSIG record");
    assert_eq!(tsig.data.error, Some(TsigError::BadTime));
    assert_eq!(tsig.data.other.len(), 6);
    assert!(!tsig.data.mac.is_empty(), "BADTIME is signed");
    assert!(server.records().is_empty());
}

async fn exchange(server: SocketAddr, message: &Message) -> Message {
    let bytes = message.to_vec().unwrap();
    tokio::task::spawn_blocking(move || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket.send_to(&bytes, server).unwrap();
        let mut buffer = [0; 4096];
        let length = socket.recv(&mut buffer).unwrap();
        Message::from_vec(&buffer[..length]).unwrap()
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn prerequisites_and_refused_updates() {
    let server = start(false).await;
    let at = server.addr();
    assert_eq!(nsupdate(at, None, "update add a.example.com 60 TXT one").await, "");
    // Prerequisites and what comes of them.
    let table = [
        ("prereq nxdomain a.example.com", "YXDOMAIN"),
        ("prereq yxdomain b.example.com", "NXDOMAIN"),
        ("prereq nxrrset a.example.com TXT", "YXRRSET"),
        ("prereq yxrrset a.example.com A", "NXRRSET"),
        ("prereq yxrrset a.example.com TXT two", "NXRRSET"),
        ("prereq yxrrset a.example.com TXT one\nprereq yxrrset a.example.com TXT two", "NXRRSET"),
        ("prereq yxrrset a.example.com TXT one", ""),
        ("prereq yxrrset a.example.com TXT\nprereq nxdomain b.example.com", ""),
    ];
    for (prerequisite, error) in table {
        let said = nsupdate(at, None, &format!("{prerequisite}\nupdate add c.example.com 60 TXT x")).await;
        assert_eq!(said.is_empty(), error.is_empty(), "{prerequisite}: {said}");
        assert!(said.contains(error), "{prerequisite}: {said}");
        let written = dig(at, "+short c.example.com TXT").await;
        assert_eq!(written.is_empty(), !error.is_empty(), "{prerequisite}");
        assert_eq!(nsupdate(at, None, "update delete c.example.com").await, "");
    }
    // One bad line, and nothing happens.
    let outside = "zone example.com\nupdate add d.example.com 60 TXT x\nupdate add d.example.org 60 TXT x";
    let said = nsupdate(at, None, outside).await;
    assert!(said.contains("NOTZONE"), "{said}");
    assert_eq!(dig(at, "+short d.example.com TXT").await, "");
    // A CNAME stands alone, whoever came first.
    assert_eq!(nsupdate(at, None, "update add a.example.com 60 CNAME x.example.net.").await, "");
    assert_eq!(dig(at, "+short a.example.com CNAME").await, "");
    assert_eq!(nsupdate(at, None, "update add e.example.com 60 CNAME MiXed.example.net.").await, "");
    assert_eq!(nsupdate(at, None, "update add e.example.com 60 TXT x").await, "");
    assert_eq!(dig(at, "+short e.example.com TXT").await.trim(), "MiXed.example.net.");
    assert_eq!(nsupdate(at, None, "update add e.example.com 60 CNAME y.example.net.").await, "");
    assert_eq!(dig(at, "+short e.example.com CNAME").await.trim(), "y.example.net.", "replaced");
    // The apex keeps its name server and SOA.
    assert_eq!(nsupdate(at, None, "update delete example.com NS").await, "");
    assert_eq!(nsupdate(at, None, "update delete example.com SOA").await, "");
    assert!(dig(at, "+short example.com NS").await.contains("ns1"));
    // A name with others below it exists.
    assert_eq!(nsupdate(at, None, "update add x.y.sub.example.org 60 TXT deep").await, "");
    let between = dig(at, "y.sub.example.org A").await;
    assert!(between.contains("NOERROR") && between.contains("ANSWER: 0"), "{between}");
    // A chain within the zones is followed.
    assert_eq!(nsupdate(at, None, "update add alias.example.com 60 CNAME x.y.sub.example.org.").await, "");
    assert!(dig(at, "+short alias.example.com TXT").await.contains("\"deep\""));
}

#[tokio::test]
async fn hundreds_of_records_in_one_update() {
    let server = start(true).await;
    let at = server.addr();
    let value = "v".repeat(32);
    let lines = |verb: &str| -> String {
        let line = |n| format!("update {verb} _dnsauth.host-{n}.example.com 60 TXT {value}{n}");
        (0..600).map(line).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(nsupdate(at, Some(key(SECRET)), &lines("add")).await, "");
    assert_eq!(server.update_count(), 1);
    assert_eq!(server.records().len(), 600);
    assert!(dig(at, "+short _dnsauth.host-599.example.com TXT").await.contains(&format!("{value}599")));
    assert_eq!(nsupdate(at, Some(key(SECRET)), &lines("delete").replace(" 60 TXT", " TXT")).await, "");
    assert!(server.records().is_empty());
    // A large set does not fit into a datagram.
    let set: Vec<String> = (0..60).map(|n| format!("update add big.example.com 60 TXT {value}{n}")).collect();
    assert_eq!(nsupdate(at, Some(key(SECRET)), &set.join("\n")).await, "");
    let cut = dig(at, "+ignore big.example.com TXT").await;
    assert!(cut.contains("flags: qr aa tc;"), "{cut}");
    let small = dig(at, "+ignore +noedns big.example.com TXT").await;
    assert!(small.contains("flags: qr aa tc;"), "{small}");
    assert!(dig(at, "big.example.com TXT").await.contains("ANSWER: 60"));
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_questions_a_second() {
    const QUESTIONS: usize = 4000;
    let server = start(false).await;
    let at = server.addr();
    let took = tokio::task::spawn_blocking(move || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket.connect(at).unwrap();
        let mut question = Message::new(1, MessageType::Query, OpCode::Query);
        question.add_query(Query::query(Name::from_ascii("www.example.com.").unwrap(), RecordType::A));
        question.set_edns(Edns::new());
        let bytes = question.to_vec().unwrap();
        let start = Instant::now();
        let mut buffer = [0; 1500];
        // 32 in flight.
        for _ in 0..QUESTIONS / 32 {
            for _ in 0..32 {
                socket.send(&bytes).unwrap();
            }
            for _ in 0..32 {
                socket.recv(&mut buffer).unwrap();
            }
        }
        start.elapsed()
    })
    .await
    .unwrap();
    assert_eq!(server.query_count(), u64::try_from(QUESTIONS).unwrap());
    eprintln!("{:.0} questions/s", f64::from(4000) / took.as_secs_f64());
    // Far below what an idle machine does, so that a busy one passes.
    assert!(took < Duration::from_secs(8), "{took:?} for {QUESTIONS}");
}
