//! What the doctor finds at servers that are in order and at servers that are not.

mod internet;

use std::{
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use certcentral::DcvScope;
use dcv_core::{
    Method, Placement,
    doctor::{Finding, Level, Options, examine},
    name::DnsName,
    placement::TxtOwner,
};
use hickory_proto::{
    dnssec::{
        DigestType, SigningKey, TBS,
        crypto::Ed25519SigningKey,
        rdata::{DNSKEY, DNSSECRData, DS, RRSIG, sig::SigInput},
    },
    rr::{
        DNSClass, RData, Record, RecordType, SerialNumber,
        rdata::{A, CNAME, NS, NULL, SOA},
    },
    serialize::binary::BinEncodable,
};
use internet::{FIRST, Internet, Mood, SECOND, State, THIRD, name};

const ZONE: &str = "example.com";

async fn findings(internet: &Internet, domain: &str, options: &Options) -> Vec<Finding> {
    let name = DnsName::parse(domain).expect("a good name");
    let findings = examine(&name, &internet.dns(), options).await;
    // These servers speak UDP only; that has its own test.
    findings.into_iter().filter(|finding| finding.check != "tcp").collect()
}

/// What is not in order, as check, subject and text.
fn troubles(findings: &[Finding]) -> Vec<(&str, &str, &str)> {
    let troubles = findings.iter().filter(|finding| finding.level != Level::Ok);
    assert!(troubles.clone().all(|finding| !finding.way_out.is_empty()), "{findings:?}");
    troubles.map(|finding| (finding.check, finding.subject.as_str(), finding.text.as_str())).collect()
}

/// `example.com` on two servers, delegated by `com` on the third.
async fn healthy() -> Internet {
    let internet = Internet::start().await;
    {
        let mut state = internet.state();
        state.zone("com", &[THIRD]);
        state.zone(ZONE, &[FIRST, SECOND]);
        for ns in ["ns2.example.com", "ns3.example.com"] {
            state.set(THIRD, ZONE, RData::NS(NS(name(ns))));
        }
        for server in [FIRST, SECOND] {
            state.set(server, "www.example.com", RData::A(A(FIRST)));
        }
    }
    internet
}

#[tokio::test]
async fn what_is_in_order_is_said_to_be() {
    let internet = healthy().await;
    let findings = findings(&internet, "www.example.com", &Options::default()).await;
    assert_eq!(troubles(&findings), []);
    let checks: Vec<&str> = findings.iter().map(|finding| finding.check).collect();
    assert_eq!(checks, ["caa", "dnssec", "delegation", "servers", "leftovers"]);
}

#[tokio::test]
async fn servers_that_differ_are_named() {
    let internet = healthy().await;
    {
        let mut state = internet.state();
        state.remove(THIRD, ZONE);
        for ns in ["ns2.example.com", "old.example.net"] {
            state.set(THIRD, ZONE, RData::NS(NS(name(ns))));
        }
        let soa = SOA::new(name("ns2.example.com"), name("h.example.com"), 7, 60, 60, 60, 77);
        state.held.get_mut(&FIRST).expect("held").get_mut(ZONE).expect("the zone")[0].1 = RData::SOA(soa);
    }
    let seen = findings(&internet, "www.example.com", &Options::default()).await;
    let lags = format!("ns3.example.com {SECOND}:{} lags behind serial 7", internet.port);
    let differs = "com delegates to ns2.example.com, old.example.net, the zone names ns2.example.com, ns3.example.com";
    let trouble = troubles(&seen);
    assert_eq!(trouble[0], ("delegation", ZONE, differs));
    // The registry still sends resolvers there.
    assert!(
        matches!(trouble[1], ("servers", "old.example.net", why) if why.contains("old.example.net")),
        "{trouble:?}"
    );
    assert_eq!(trouble[2..], [("servers", ZONE, lags.as_str())]);

    internet.state().moods.insert(SECOND, Mood::Refuses);
    let seen = findings(&internet, "www.example.com", &Options::default()).await;
    let place = format!("ns3.example.com {SECOND}:{}", internet.port);
    assert!(
        troubles(&seen)
            .iter()
            .any(|(check, at, text)| { *check == "servers" && *at == place && text.contains("Refused") }),
        "{seen:?}"
    );

    internet.state().moods.insert(FIRST, Mood::Silent);
    let seen = findings(&internet, "www.example.com", &Options::default()).await;
    assert!(seen.iter().any(|finding| finding.level == Level::Fail), "{seen:?}");
}

#[tokio::test]
async fn closed_tcp_is_told() {
    let internet = healthy().await;
    let name = DnsName::parse("www.example.com").expect("a good name");
    let findings = examine(&name, &internet.dns(), &Options::default()).await;
    let closed = findings.iter().filter(|finding| finding.check == "tcp" && finding.level == Level::Warn);
    assert_eq!(closed.count(), 2, "{findings:?}");
}

#[tokio::test]
async fn hosts_that_live_on_a_wildcard_are_told_what_a_proof_would_do() {
    let internet = healthy().await;
    for server in [FIRST, SECOND] {
        internet.state().set(server, "*.example.com", RData::A(A(FIRST)));
    }
    let seen = findings(&internet, "shop.example.com", &Options::default()).await;
    let hidden = "its addresses come from the wildcard *.example.com; a DNS proof at or below it would hide them";
    assert_eq!(troubles(&seen), [("wildcard", "shop.example.com", hidden)]);
    // These exist by themselves, or a file proves them.
    for domain in ["www.example.com", "example.com"] {
        assert_eq!(troubles(&findings(&internet, domain, &Options::default()).await), [], "{domain}");
    }
    let by_file = Options { method: Method::HttpToken, ..Options::default() };
    let seen = findings(&internet, "shop.example.com", &by_file).await;
    assert!(seen.iter().all(|finding| finding.check != "wildcard"), "{seen:?}");
}

#[tokio::test]
async fn leftovers_and_aliases_are_told_apart() {
    for (records, subject, text) in [
        (vec![("www.example.com", None)], "www.example.com", "1 TXT records look like random values of earlier proofs"),
        (
            vec![("_dnsauth.www.example.com", Some("proofs.acme-corp.net"))],
            "_dnsauth.www.example.com",
            "it is an alias of proofs.acme-corp.net",
        ),
        (
            vec![("_dnsauth.www.example.com", Some("Abc.dcv.digicert.com"))],
            "_dnsauth.www.example.com",
            "it is an alias of Abc.dcv.digicert.com, an earlier CNAME proof",
        ),
        (
            vec![("*.www.example.com", Some("lb.acme-corp.net"))],
            "_dnsauth.www.example.com",
            "the wildcard *.www.example.com makes it an alias of lb.acme-corp.net",
        ),
    ] {
        let internet = healthy().await;
        for (owner, target) in records {
            for server in [FIRST, SECOND] {
                match target {
                    Some(target) => internet.state().set(server, owner, RData::CNAME(CNAME(name(target)))),
                    None => internet.state().txt(server, owner, "0123456789abcdefghijklmnopqrstuv"),
                }
            }
        }
        let seen = findings(&internet, "www.example.com", &Options::default()).await;
        assert_eq!(troubles(&seen), [("leftovers", subject, text)]);
    }
}

/// A domain that is an alias has no place for a TXT record, and below a DNAME the CA reads nothing.
#[tokio::test]
async fn a_place_at_which_no_record_is_read_is_told() {
    let internet = healthy().await;
    let end = name("shop.acme-corp.net").to_bytes().expect("a name");
    for server in [FIRST, SECOND] {
        let mut state = internet.state();
        state.set(server, "shop.example.com", RData::CNAME(CNAME(name("shop.acme-corp.net"))));
        for owner in ["moved.example.com", "_dnsauth.moved.example.com"] {
            state.set(server, owner, RData::CNAME(CNAME(name("shop.acme-corp.net"))));
            state.set(server, owner, RData::Unknown { code: RecordType::DNAME, rdata: NULL::with(end.clone()) });
        }
    }
    let by_name = Options { scope: Some(DcvScope::Fqdn), ..Options::default() };
    let below = Options { placement: Placement { txt: TxtOwner::Dnsauth, ..Placement::default() }, ..by_name.clone() };
    let aliased = "it is an alias of shop.acme-corp.net, so that its TXT record would have to stand there";
    let dname = "it is reached through a DNAME, and the CA's look-up reads nothing there";
    for (domain, options, expected) in [
        ("shop.example.com", &by_name, Some(("alias", "shop.example.com", aliased))),
        ("shop.example.com", &below, None),
        ("shop.example.com", &Options::default(), None),
        ("moved.example.com", &by_name, Some(("alias", "moved.example.com", dname))),
        ("moved.example.com", &below, Some(("alias", "_dnsauth.moved.example.com", dname))),
    ] {
        let seen = findings(&internet, domain, options).await;
        let alias = troubles(&seen).into_iter().find(|(check, ..)| *check == "alias");
        assert_eq!(alias, expected, "{domain} {options:?}");
    }
    let seen = findings(&internet, "shop.example.com", &by_name).await;
    assert!(seen.iter().any(|finding| finding.way_out.contains("`txt = \"dnsauth\"`")), "{seen:?}");
}

/// Servers that answer no question about keys do not show that there are none.
#[tokio::test]
async fn keys_that_could_not_be_asked_for_are_not_missing() {
    let internet = healthy().await;
    {
        let mut state = internet.state();
        let ds = DS::new(1, hickory_proto::dnssec::Algorithm::ED25519, DigestType::SHA256, vec![0; 32]);
        for server in [FIRST, SECOND] {
            state.set(server, ZONE, RData::DNSSEC(DNSSECRData::DS(ds.clone())));
            state.refused.insert((server, RecordType::DNSKEY));
        }
    }
    let seen = findings(&internet, "www.example.com", &Options::default()).await;
    let dnssec = seen.iter().find(|finding| finding.check == "dnssec").expect("a finding");
    assert!(dnssec.level == Level::Warn && !dnssec.way_out.contains("remove the DS"), "{dnssec}");
}

#[tokio::test]
async fn a_host_without_ipv4_cannot_be_proved_by_file() {
    let internet = healthy().await;
    let by_file = Options { method: Method::HttpToken, web_ports: (1, 1), ..Options::default() };
    let seen = findings(&internet, "mail.example.com", &by_file).await;
    assert_eq!(troubles(&seen), [("web", "mail.example.com", "it has no address")]);
    let seen = findings(&internet, "www.example.com", &by_file).await;
    assert_eq!(troubles(&seen), [("web", "www.example.com", "ports 1 and 1 are closed at some address")]);
}

/// Signs what the servers hold at the top of the zone.
fn sign(state: &mut State, rtype: RecordType, signer: &DNSKEY, key: &Ed25519SigningKey) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let now = u32::try_from(now).expect("before 2106");
    let input = SigInput {
        type_covered: rtype,
        algorithm: key.algorithm(),
        num_labels: 2,
        original_ttl: 60,
        sig_expiration: SerialNumber::new(now + 3600),
        sig_inception: SerialNumber::new(now - 3600),
        key_tag: signer.calculate_key_tag().expect("a tag"),
        signer_name: name(ZONE),
    };
    let records = &state.held[&FIRST][ZONE];
    let covered: Vec<Record> = records
        .iter()
        .filter(|(at, data)| at == ZONE && data.record_type() == rtype)
        .map(|(_, data)| Record::from_rdata(name(ZONE), 60, data.clone()))
        .collect();
    let tbs = TBS::from_input(&name(ZONE), DNSClass::IN, &input, covered.iter()).expect("to be signed");
    let signature = RRSIG::from_sig(input, key.sign(&tbs).expect("a signature"));
    for server in [FIRST, SECOND] {
        state.set(server, ZONE, RData::DNSSEC(DNSSECRData::RRSIG(signature.clone())));
    }
}

fn new_key() -> (Ed25519SigningKey, DNSKEY) {
    let key = Ed25519SigningKey::from_pkcs8(&Ed25519SigningKey::generate_pkcs8().expect("a key")).expect("a key");
    let dnskey = DNSKEY::from_key(&key.to_public_key().expect("a public key"));
    (key, dnskey)
}

/// What is found of a zone whose parent has a DS record, whose keys are these and whose SOA record is signed by that.
async fn dnssec(keys: &[DNSKEY], signed_by: Option<&(Ed25519SigningKey, DNSKEY)>, anchor: &Path) -> Finding {
    let internet = healthy().await;
    {
        let mut state = internet.state();
        let digest = keys.first().map_or(vec![0; 32], |key| {
            key.to_digest(&name(ZONE), DigestType::SHA256).expect("a digest").as_ref().to_vec()
        });
        let algorithm = hickory_proto::dnssec::Algorithm::ED25519;
        let tag = keys.first().map_or(1, |key| key.calculate_key_tag().expect("a tag"));
        let ds = DS::new(tag, algorithm, DigestType::SHA256, digest);
        for server in [FIRST, SECOND] {
            // The resolver looks where the zone is.
            state.set(server, ZONE, RData::DNSSEC(DNSSECRData::DS(ds.clone())));
            for key in keys {
                state.set(server, ZONE, RData::DNSSEC(DNSSECRData::DNSKEY(key.clone())));
            }
        }
        if let Some((key, dnskey)) = signed_by {
            sign(&mut state, RecordType::DNSKEY, dnskey, key);
            sign(&mut state, RecordType::SOA, dnskey, key);
        }
    }
    let options = Options { trust_anchors: Some(anchor.to_owned()), ..Options::default() };
    let seen = findings(&internet, "www.example.com", &options).await;
    seen.into_iter().find(|finding| finding.check == "dnssec").expect("a finding")
}

#[tokio::test]
async fn signatures_are_validated_where_the_resolver_does_not() {
    let (good, stranger) = (new_key(), new_key());
    let folder = tempfile::tempdir().expect("a folder");
    let anchor = folder.path().join("anchor");
    std::fs::write(&anchor, format!("{ZONE}. 60 IN DNSKEY {}\n", good.1)).expect("written");
    let keys = [good.1.clone()];
    for (case, keys, signed_by, level, text) in [
        ("good", &keys[..], Some(&good), Level::Ok, "good by a validation of our own"),
        ("signed by a stranger", &keys, Some(&stranger), Level::Fail, "finds it bogus"),
        ("signatures held back", &keys, None, Level::Warn, "passes no signatures on"),
        ("no keys", &[], None, Level::Fail, "the zone has no keys"),
    ] {
        let finding = dnssec(keys, signed_by, &anchor).await;
        assert!(finding.level == level && finding.text.contains(text), "{case}: {finding}");
    }
}
