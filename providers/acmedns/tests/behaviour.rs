//! The provider against a stand-in that does what acme-dns' own source does (`pkg/api/auth.go`, `update.go`, `util.go`,
//! `pkg/database/db.go`): credentials first, then the text, then the oldest of two is replaced.
//!
//! Of the conformance suite this cannot hold: that a value beside others is removed (nothing can be), that ten writers keep their
//! values (two are kept), that a text may be of any length (43 is, unless the server was changed). What can is tried here in
//! the same way: presenting, presenting again, taking back by another process, a hundred names, names that are not served,
//! a preflight that changes nothing, proofs of other kinds.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use dcv_acmedns::{AcmeDns, BLANK, Config, from_config};
use dcv_provider::{DcvProvider, ErrorKind, Proof, ProviderError, Retry, dns::Dns};
use dcv_test_vendor::{Account, Answer, Asked, Row, Vendor};
use hickory_proto::{
    op::Message,
    rr::{Name, RData, Record, RecordType, rdata},
    serialize::binary::{BinDecodable, BinEncodable},
};
use serde_json::{Value, json};
use tokio::net::UdpSocket;

const SIZE_43: &str = "LHDhK3oGRvkiefQnx7OOczTY5Tic_xZ6HcMOc_gmtoM";
const RANDOM: &str = "fdy6m0wy5lq063sz4h0r6qmdt722gyfc";

fn error(status: u16, error: &str) -> Answer {
    Answer::new(status, json!({ "error": error }))
}

fn keeps(account: &mut Account, asked: &Asked, any_text: bool) -> Answer {
    assert_eq!(asked.route(), ("POST", vec!["update"]));
    let text = |name: &str| asked.json[name].as_str().unwrap_or_default().to_owned();
    let (subdomain, txt) = (text("subdomain"), text("txt"));
    let known = asked.header("x-api-user") == format!("user-{subdomain}")
        && asked.header("x-api-key") == format!("planted-{subdomain}");
    if !known {
        return error(401, "forbidden");
    }
    let sane = txt.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if !(any_text || txt.len() == 43 && sane) {
        return error(400, "bad_txt");
    }
    let name = format!("{subdomain}.auth.example.net");
    // The oldest comes first.
    if account.set(&name, "TXT").len() == 2 {
        let oldest = account.rows.iter().position(|row| row.name == name).expect("there are two");
        account.rows.remove(oldest);
    }
    let (id, zone) = (String::new(), "auth.example.net".to_owned());
    account.rows.push(Row { id, zone, name, rtype: "TXT".to_owned(), value: txt.clone(), ttl: 1 });
    Answer::new(200, json!({ "txt": txt }))
}

fn unmodified(account: &mut Account, asked: &Asked) -> Answer {
    keeps(account, asked, false)
}

fn changed(account: &mut Account, asked: &Asked) -> Answer {
    keeps(account, asked, true)
}

/// The server, and the name servers of `example.com`, whose names are aliases, and of `example.net`, where they lead.
struct World {
    vendor: Arc<Vendor>,
    dns: Dns,
    names: tokio::task::JoinHandle<()>,
    any_text: bool,
}

impl Drop for World {
    fn drop(&mut self) {
        self.names.abort();
    }
}

fn data(vendor: &Vendor, name: &str, rtype: RecordType) -> Vec<RData> {
    let target = |name: String| Name::from_ascii(name).expect("a name");
    let apex = name == "example.com" || name == "example.net";
    match (rtype, name.strip_prefix("_dnsauth.n").and_then(|rest| rest.strip_suffix(".example.com"))) {
        (_, Some(n)) => vec![RData::CNAME(rdata::CNAME(target(format!("s{n}.auth.example.net."))))],
        (RecordType::SOA, _) if apex => {
            let (ns, mail) = (target(format!("ns.{name}.")), target(format!("mail.{name}.")));
            vec![RData::SOA(rdata::SOA::new(ns, mail, 1, 60, 60, 60, 60))]
        }
        (RecordType::NS, _) if apex => vec![RData::NS(rdata::NS(target(format!("ns.{name}."))))],
        (RecordType::A, _) if name.starts_with("ns.") => vec![RData::A(rdata::A(std::net::Ipv4Addr::LOCALHOST))],
        (RecordType::TXT, _) => {
            let account = vendor.account();
            let text = |row: &&Row| RData::TXT(rdata::TXT::new(vec![row.value.clone()]));
            account.set(name, "TXT").iter().map(text).collect()
        }
        _ => Vec::new(),
    }
}

async fn serve(vendor: Arc<Vendor>, socket: UdpSocket) {
    let mut buffer = [0; 4096];
    while let Ok((length, peer)) = socket.recv_from(&mut buffer).await {
        let query = Message::from_bytes(&buffer[..length]).expect("a question");
        let (name, rtype) = (query.queries[0].name().clone(), query.queries[0].query_type());
        let mut answer = query.into_response();
        answer.metadata.authoritative = true;
        let plain = name.to_ascii().trim_end_matches('.').to_ascii_lowercase();
        let records = data(&vendor, &plain, rtype).into_iter();
        answer.answers = records.map(|data| Record::from_rdata(name.clone(), 1, data)).collect();
        socket.send_to(&answer.to_bytes().expect("bytes"), peer).await.expect("sent");
    }
}

async fn world(any_text: bool) -> World {
    let handler = if any_text { changed } else { unmodified };
    let idle = move |url: String| async move { make(&url, 1, any_text, None, "planted-").await.expect("a provider") };
    let vendor = Arc::new(Vendor::start(&[("example.com", "x")], handler, idle).await);
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let address: SocketAddr = socket.local_addr().expect("an address");
    let names = tokio::spawn(serve(Arc::clone(&vendor), socket));
    let dns = Dns::new(vec![address]).with_authority_port(address.port());
    World { vendor, dns, names, any_text }
}

async fn make(url: &str, many: usize, any: bool, dns: Option<Dns>, key: &str) -> Result<AcmeDns, ProviderError> {
    let account = |n: usize| {
        let registration = json!({
            "fulldomain": format!("s{n}.auth.example.net"), "subdomain": format!("s{n}"),
            "username": format!("user-s{n}"), "password": format!("{key}s{n}"),
        });
        (format!("n{n}.example.com"), registration)
    };
    let accounts: serde_json::Map<String, Value> = (0..many).map(account).collect();
    let config: Config =
        serde_json::from_value(json!({ "base_url": url, "accounts": accounts, "any_text": any })).expect("it is one");
    from_config(config, dns).await
}

impl World {
    async fn provider(&self) -> AcmeDns {
        let dns = Some(self.dns.clone());
        make(&self.vendor.url, 100, self.any_text, dns, "planted-").await.expect("a provider")
    }

    fn texts(&self, n: usize) -> Vec<String> {
        let name = format!("s{n}.auth.example.net");
        self.vendor.account().set(&name, "TXT").iter().map(|row| row.value.clone()).collect()
    }
}

fn txt(n: usize, value: &str) -> Proof {
    Proof::Txt { name: format!("_dnsauth.n{n}.example.com"), value: value.to_owned() }
}

#[tokio::test]
async fn a_text_comes_and_is_written_over() {
    for (any_text, value) in [(false, SIZE_43), (true, RANDOM)] {
        let world = world(any_text).await;
        let (provider, proof) = (world.provider().await, [txt(0, value)]);
        provider.retract(&proof).await.expect("it was never there");
        assert_eq!(world.vendor.asked(), [""; 0], "nothing was written");
        provider.present(&proof).await.expect("presented");
        provider.present(&proof).await.expect("it is there");
        assert_eq!((world.texts(0), world.vendor.asked().len()), (vec![value.to_owned()], 1));
        // Another process takes it back.
        world.provider().await.retract(&proof).await.expect("taken back");
        assert_eq!(world.texts(0), [BLANK, BLANK]);
        world.provider().await.retract(&proof).await.expect("it is gone");
        assert_eq!(world.vendor.asked().len(), 2);
        provider.present(&proof).await.expect("presented again");
        assert_eq!(world.texts(0), [BLANK, value]);
        provider.retract(&proof).await.expect("taken back again");
        assert_eq!(world.texts(0), [BLANK, BLANK]);
    }
}

#[tokio::test]
async fn somebody_else_s_text_is_not_written_over_to_take_ours_back() {
    let world = world(true).await;
    let provider = world.provider().await;
    provider.present(&[txt(0, "theirs")]).await.expect("presented");
    provider.present(&[txt(0, "ours")]).await.expect("presented");
    provider.present(&[txt(0, "theirs")]).await.expect("it is there and pushes nothing out");
    provider.retract(&[txt(0, "ours")]).await.expect("it stays");
    assert_eq!(world.texts(0), ["theirs", "ours"]);
    provider.retract(&[txt(0, "theirs"), txt(0, "ours")]).await.expect("both are ours now");
    assert_eq!(world.texts(0), [BLANK, BLANK]);
}

#[tokio::test]
async fn digicert_s_random_values_need_a_changed_server_and_that_is_known_before() {
    let world = world(false).await;
    let provider = world.provider().await;
    for value in [RANDOM, "dcv-preflight-placeholder-value"] {
        for error in [
            provider.preflight(&[txt(0, value)]).await.expect_err("too short"),
            provider.present(&[txt(0, value)]).await.expect_err("too short"),
        ] {
            assert_eq!(error.kind, ErrorKind::Rejected);
            let said = error.to_string();
            let size = value.len().to_string();
            assert!(said.contains(&size) && said.contains("any_text") && said.contains("43"), "{said}");
        }
    }
    assert_eq!(world.vendor.asked(), [""; 0], "nothing was asked");
    // Whoever says that the server was changed, and it was not, learns it when it refuses.
    let wrong = make(&world.vendor.url, 1, true, None, "planted-").await.expect("a provider");
    let error = wrong.present(&[txt(0, RANDOM)]).await.expect_err("it is not changed");
    assert!(error.to_string().contains("bad_txt; the server is not changed"), "{error}");
}

#[tokio::test]
async fn a_preflight_proves_the_credentials_and_the_alias_and_changes_nothing() {
    let world = world(false).await;
    let places = world.provider().await.preflight(&[txt(3, SIZE_43)]).await.expect("all is well");
    assert_eq!(places[0].target, "s3.auth.example.net TXT");
    assert_eq!((world.vendor.asked(), world.texts(3)), (vec!["POST /update".to_owned()], Vec::new()));
    let wrong = make(&world.vendor.url, 1, false, Some(world.dns.clone()), "planted-wrong-").await.expect("a provider");
    for error in [
        wrong.preflight(&[txt(0, SIZE_43)]).await.expect_err("a wrong password"),
        wrong.present(&[txt(0, SIZE_43)]).await.expect_err("a wrong password"),
    ] {
        assert_eq!(error.kind, ErrorKind::Credentials);
        assert!(
            error.to_string().contains("allowfrom") && !format!("{error:?} {wrong:?}").contains("planted"),
            "{error}"
        );
    }
    // The domain's own name is known, and no alias.
    let bare = Proof::Txt { name: "n0.example.com".to_owned(), value: SIZE_43.to_owned() };
    let error = world.provider().await.preflight(&[bare]).await.expect_err("no alias");
    assert!(error.to_string().contains("add `n0.example.com. CNAME s0.auth.example.net.`"), "{error}");
}

#[tokio::test]
async fn a_hundred_names_are_a_hundred_requests() {
    let world = world(true).await;
    let provider = world.provider().await;
    let proofs: Vec<Proof> = (0..100).map(|n| txt(n, RANDOM)).collect();
    provider.present(&proofs).await.expect("presented");
    assert_eq!(world.vendor.asked(), vec!["POST /update"; 100]);
    provider.present(&proofs).await.expect("they are there");
    assert_eq!(world.vendor.asked(), [""; 0]);
    assert!((0..100).all(|n| world.texts(n) == [RANDOM]));
}

#[tokio::test]
async fn without_dns_texts_are_sent_and_stay() {
    let world = world(true).await;
    let provider = make(&world.vendor.url, 1, true, None, "planted-").await.expect("a provider");
    provider.present(&[txt(0, RANDOM)]).await.expect("presented");
    provider.retract(&[txt(0, RANDOM)]).await.expect("it stays");
    assert_eq!((world.texts(0), world.vendor.asked().len()), (vec![RANDOM.to_owned()], 1));
}

#[tokio::test]
async fn what_cannot_be_is_refused() {
    let world = world(true).await;
    let provider = world.provider().await;
    let error = provider.present(&[txt(100, "v")]).await.expect_err("no registration");
    assert_eq!(error.kind, ErrorKind::NotServed);
    let alias = Proof::Cname { name: "_dnsauth.n0.example.com".to_owned(), target: "v.dcv.example.net".to_owned() };
    assert_eq!(provider.present(&[alias]).await.expect_err("texts only").kind, ErrorKind::Unsupported);
    let error = provider.present(&[txt(0, "a"), txt(0, "b"), txt(0, "c")]).await.expect_err("two are kept");
    assert!(error.to_string().contains("keeps the 2 newest"), "{error}");
    world.vendor.limit(1, error_with_wait());
    let error = provider.present(&[txt(0, "a")]).await.expect_err("too many");
    assert_eq!((error.kind, error.retry), (ErrorKind::RateLimited, Retry::After(Duration::from_secs(5))));
    let error = make(&world.vendor.url, 0, true, None, "").await.expect_err("no accounts");
    assert!(error.kind == ErrorKind::Config && error.to_string().starts_with("accounts: "), "{error}");
}

fn error_with_wait() -> Answer {
    error(429, "slow down").header("retry-after", "5")
}
