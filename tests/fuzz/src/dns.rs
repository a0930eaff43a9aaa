//! What name servers answer, friendly or not.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use dcv_core::propagation::Sight;
use dcv_provider::{
    Proof,
    dns::{Dns, is_within},
    fuzz,
};
use hickory_proto::{
    op::{Message, MessageType},
    rr::{RData, RecordType},
};
use tokio::net::UdpSocket;

use crate::{one_line, parts};

const NAME: &str = "_dnsauth.example.com";
const VALUE: &str = "_vtt71kzk4iiazlmqb1nbnpgs0zaqpyz";

/// A name as an answer gives it: escaped, so that it can be shown and asked for.
fn is_name(name: &str) {
    one_line(name);
    assert!(name.is_ascii(), "{name:?}");
}

/// One answer, and what is made of it.
pub(crate) fn answer(input: &[u8]) {
    for rtype in [RecordType::TXT, RecordType::CNAME, RecordType::NS, RecordType::SOA, RecordType::CAA] {
        let Ok(answer) = fuzz::answer(NAME, rtype, input) else { continue };
        let texts = answer.texts();
        assert!(rtype == RecordType::TXT || texts.is_empty());
        assert!(!answer.is_empty() || texts.is_empty() && answer.chased().is_empty() && answer.alias().is_none());
        answer.alias().iter().for_each(|alias| is_name(alias));
        if let Some(zone) = answer.zone() {
            assert!(is_within(NAME, &zone), "{NAME} is not in {zone}");
        }
        if let Some((owner, _, negative)) = answer.soa() {
            is_name(&owner);
            assert!(answer.kept_for().is_some() || negative == 0 || !answer.is_empty());
        }
        answer.delegation("example.com").iter().for_each(|server| is_name(server));
        let (below, _) = fuzz::leads(&answer, "com", "ns1.example.com");
        if let Some(below) = below {
            assert!(is_within(&below, "com") && below != "com", "{below} is not below com");
        }
        let proofs = [
            Proof::Txt { name: NAME.to_owned(), value: VALUE.to_owned() },
            Proof::Cname { name: NAME.to_owned(), target: format!("{VALUE}.dcv.digicert.com") },
        ];
        for proof in &proofs {
            let (at_authority, at_resolver) = dcv_core::fuzz::judge(proof, &answer);
            // Only a server that has the name speaks for it.
            assert!(answer.is_authoritative() || matches!(at_authority, Sight::Lame(_)), "{at_authority:?}");
            if let (Sight::Shows, Proof::Txt { .. }) = (&at_authority, proof) {
                assert!(texts.iter().flatten().any(|part| part.contains(VALUE)));
            }
            one_line(&dcv_core::fuzz::verdict(proof, vec![at_authority, at_resolver]));
        }
    }
}

/// Most questions that one look-up may ask of servers that lead it astray.
const MOST_QUESTIONS: usize = 20_000;

/// Name servers that answer with the messages of the input, one after the other, whatever is asked: every look-up ends, and
/// has asked no more than it may.
pub(crate) fn network(input: &[u8]) {
    let messages: Vec<Message> =
        parts::<8>(input).iter().filter_map(|part| Message::from_vec(part).ok()).map(on_loopback).collect();
    if messages.is_empty() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        let server = socket.local_addr().expect("an address");
        let asked = Arc::new(AtomicUsize::new(0));
        let serving = tokio::spawn(serve(socket, messages, Arc::clone(&asked)));
        let dns = Dns::new(vec![server]).with_authority_port(server.port()).with_deadline(Duration::from_millis(20));
        let name = "a.b.example.com";
        let _ = dns.resolve(name, RecordType::TXT).await;
        if let Ok(zone) = dns.zone_of(name).await {
            assert!(is_within(name, &zone.apex), "{name} is not in {}", zone.apex);
        }
        let _ = dns.authoritative(name, RecordType::TXT).await;
        if let Ok(owner) = dns.follow_alias(name).await {
            is_name(&owner);
        }
        serving.abort();
        let asked = asked.load(Ordering::Relaxed);
        assert!(asked < MOST_QUESTIONS, "{asked} questions");
    });
}

async fn serve(socket: UdpSocket, messages: Vec<Message>, asked: Arc<AtomicUsize>) {
    let mut buffer = [0; 512];
    while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
        let Ok(question) = Message::from_vec(&buffer[..length]) else { continue };
        let turn = asked.fetch_add(1, Ordering::Relaxed);
        let mut answer = messages[turn % messages.len()].clone();
        answer.metadata.id = question.metadata.id;
        answer.metadata.message_type = MessageType::Response;
        answer.metadata.truncation = false;
        answer.queries = question.queries;
        if let Ok(bytes) = answer.to_vec() {
            let _ = socket.send_to(&bytes, client).await;
        }
    }
}

/// Every address becomes one of this machine: nobody else is asked.
fn on_loopback(mut message: Message) -> Message {
    for record in message.answers.iter_mut().chain(&mut message.authorities).chain(&mut message.additionals) {
        match &mut record.data {
            RData::A(a) => a.0 = Ipv4Addr::LOCALHOST,
            RData::AAAA(aaaa) => aaaa.0 = Ipv6Addr::LOCALHOST,
            _ => {}
        }
    }
    message
}

/// For the sandbox's side.
pub(crate) fn client() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 5353))
}
