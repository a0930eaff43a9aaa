//! What a `ZoneProvider` makes of proofs, seen from the host's side: which calls come in, with what, in which order.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use dcv_provider::{
    DcvProvider, Descriptor, ErrorKind, OptionSpec, Proof, ProofKind, ProviderError, Result,
    dns::Dns,
    zone::{Change, Record, RecordData, Zone, ZoneEditor, ZoneList, ZoneProvider, longest_suffix},
};
use hickory_proto::{
    op::Message,
    rr::{
        Name, RData, Record as DnsRecord, RecordType,
        rdata::{A, CNAME, NS, SOA},
    },
};
use tokio::net::UdpSocket;

static DESCRIPTOR: Descriptor = Descriptor {
    id: "shelf",
    title: "Shelf DNS",
    proofs: &[ProofKind::Txt],
    batch: "three records at once",
    options: &[OptionSpec { name: "zone", help: "The zones that are on it.", required: true, secret: false }],
    example: "type = \"shelf\"",
};

/// A host that takes notes of what it is asked for, and refuses the changes that it is told to refuse.
#[derive(Debug)]
struct Host {
    most: usize,
    calls: Mutex<Vec<String>>,
    refusals: Mutex<Vec<ProviderError>>,
}

impl Default for Host {
    fn default() -> Self {
        Self { most: usize::MAX, calls: Mutex::default(), refusals: Mutex::default() }
    }
}

impl Host {
    fn note(&self, call: String) {
        self.calls.lock().expect("unharmed").push(call);
    }

    fn calls(&self) -> Vec<String> {
        std::mem::take(&mut *self.calls.lock().expect("unharmed"))
    }

    fn refuse(&self, kind: ErrorKind, times: usize) {
        let error = || ProviderError::new(kind, "the server said no");
        self.refusals.lock().expect("unharmed").extend(std::iter::repeat_with(error).take(times));
    }
}

fn zone(apex: &str) -> Zone {
    Zone { apex: apex.to_owned(), id: format!("id of {apex}") }
}

#[async_trait]
impl ZoneEditor for Host {
    fn descriptor(&self) -> &Descriptor {
        &DESCRIPTOR
    }

    async fn find_zone(&self, name: &str) -> Result<Option<Zone>> {
        self.note(format!("find {name}"));
        if name.starts_with("locked.") {
            return Err(ProviderError::new(ErrorKind::Credentials, "a wrong key"));
        }
        Ok(longest_suffix(&[zone("example.com"), zone("example.net")], name).cloned())
    }

    async fn check(&self, zone: &Zone, records: &[Record]) -> Result<()> {
        self.note(format!("check {} {}", zone.apex, records.len()));
        self.refusals.lock().expect("unharmed").pop().map_or(Ok(()), Err)
    }

    async fn apply(&self, zone: &Zone, change: &Change) -> Result<()> {
        let records = |list: &[Record]| {
            let one = |record: &Record| format!("{} {}", record.name, record.data.presentation());
            list.iter().map(one).collect::<Vec<_>>().join(", ")
        };
        self.note(format!("{}: +[{}] -[{}]", zone.apex, records(&change.add), records(&change.remove)));
        self.refusals.lock().expect("unharmed").pop().map_or(Ok(()), Err)
    }

    fn max_changes(&self) -> usize {
        self.most
    }

    fn place(&self) -> String {
        "the shelf".to_owned()
    }
}

/// A host that says nothing of itself but what it has to.
#[derive(Debug)]
struct Plain(Host);

#[async_trait]
impl ZoneEditor for Plain {
    fn descriptor(&self) -> &Descriptor {
        self.0.descriptor()
    }

    async fn find_zone(&self, name: &str) -> Result<Option<Zone>> {
        self.0.find_zone(name).await
    }

    async fn check(&self, zone: &Zone, records: &[Record]) -> Result<()> {
        self.0.check(zone, records).await
    }

    async fn apply(&self, zone: &Zone, change: &Change) -> Result<()> {
        self.0.apply(zone, change).await
    }

    fn place(&self) -> String {
        self.0.place()
    }
}

fn proof(name: &str, value: &str) -> Proof {
    Proof::Txt { name: name.to_owned(), value: value.to_owned() }
}

/// A provider that has seen its zones.
async fn provider(names: &[Proof]) -> ZoneProvider<Host> {
    with_host(Host::default(), names).await
}

async fn with_host(host: Host, names: &[Proof]) -> ZoneProvider<Host> {
    let provider = ZoneProvider::new(host, None);
    provider.preflight(names).await.expect("names that are served");
    provider.editor().calls();
    provider
}

#[tokio::test]
async fn zones_are_looked_for_once_and_checked_once_with_all_their_records() {
    let provider = ZoneProvider::new(Host::default(), None);
    let proofs = [proof("a.example.com", "1"), proof("b.example.com", "2"), proof("c.example.net", "3")];
    let places = provider.preflight(&proofs).await.expect("served");
    let said: Vec<String> = places.iter().map(|place| format!("{} in {}", place.target, place.within)).collect();
    assert_eq!(
        said,
        [
            "a.example.com TXT in zone example.com at the shelf (shelf)",
            "b.example.com TXT in zone example.com at the shelf (shelf)",
            "c.example.net TXT in zone example.net at the shelf (shelf)",
        ]
    );
    let calls = provider.editor().calls();
    assert_eq!(calls[3..], ["check example.com 2", "check example.net 1"], "{calls:?}");
    provider.present(&proofs).await.expect("presented");
    assert!(!provider.editor().calls().iter().any(|call| call.starts_with("find")), "the zones are known");
    provider.editor().refuse(ErrorKind::Credentials, 1);
    let error = provider.preflight(&proofs).await.expect_err("a key that is not good for one zone");
    assert_eq!(error.kind, ErrorKind::Credentials);
}

#[tokio::test]
async fn proofs_go_in_batches_as_large_as_the_host_takes_and_each_once() {
    let mut proofs: Vec<Proof> = (0..7).map(|n| proof(&format!("n{n}.example.com"), "v")).collect();
    let provider = with_host(Host { most: 3, ..Host::default() }, &proofs).await;
    proofs.push(proofs[0].clone());
    proofs.push(proof("n0.example.com", "another \"value\""));
    provider.present(&proofs).await.expect("presented");
    let batch = |records: &str, sign: char| {
        let list: Vec<String> = records.split(' ').map(|n| format!("n{n}.example.com \"v\"")).collect();
        let list = list.join(", ");
        if sign == '+' { format!("example.com: +[{list}] -[]") } else { format!("example.com: +[] -[{list}]") }
    };
    let last = r#"example.com: +[n6.example.com "v", n0.example.com "another \"value\""] -[]"#;
    assert_eq!(provider.editor().calls(), [batch("0 1 2", '+'), batch("3 4 5", '+'), last.to_owned()]);
    provider.retract(&proofs[..3]).await.expect("retracted");
    assert_eq!(provider.editor().calls(), [batch("0 1 2", '-')]);
}

#[tokio::test]
async fn a_host_that_names_no_limit_is_told_everything_at_once() {
    let provider = ZoneProvider::new(Plain(Host::default()), None);
    let proofs: Vec<Proof> = (0..500).map(|n| proof(&format!("n{n}.example.com"), "v")).collect();
    provider.present(&proofs).await.expect("presented");
    let calls = provider.editor().0.calls();
    assert_eq!(calls.iter().filter(|call| call.starts_with("example.com: ")).count(), 1);
    assert!(format!("{provider:?}").starts_with("ZoneProvider(Plain("), "{provider:?}");
}

#[tokio::test(start_paused = true)]
async fn lost_races_are_run_again_but_not_for_ever_and_other_refusals_not_at_all() {
    let proofs = [proof("a.example.com", "1")];
    let provider = provider(&proofs).await;
    provider.editor().refuse(ErrorKind::Conflict, 12);
    provider.present(&proofs).await.expect("the thirteenth goes through");
    assert_eq!(provider.editor().calls().len(), 13);
    provider.editor().refuse(ErrorKind::Conflict, 100);
    assert_eq!(provider.present(&proofs).await.expect_err("races without end").kind, ErrorKind::Conflict);
    assert_eq!(provider.editor().calls().len(), 13);
    provider.editor().refusals.lock().expect("unharmed").clear();
    provider.editor().refuse(ErrorKind::Rejected, 1);
    assert_eq!(provider.present(&proofs).await.expect_err("refused").kind, ErrorKind::Rejected);
    assert_eq!(provider.editor().calls().len(), 1);
}

#[tokio::test]
async fn an_error_of_a_whole_change_names_a_few_of_its_names_and_counts_the_others() {
    for (count, said) in [(1, "n0"), (4, "n0 n1 n2 n3"), (5, "n0 n1 n2 n3 +1"), (9, "n0 n1 n2 n3 +5")] {
        let proofs: Vec<Proof> = (0..count).map(|n| proof(&format!("n{n}.example.com"), "v")).collect();
        let provider = provider(&proofs).await;
        provider.editor().refuse(ErrorKind::Rejected, 1);
        let error = provider.present(&proofs).await.expect_err("refused");
        let named = said.split(' ').map(|part| match part.strip_prefix('+') {
            Some(more) => format!("and {more} more"),
            None => format!("{part}.example.com"),
        });
        let named: Vec<String> = named.collect();
        assert_eq!(error.to_string(), format!("the server said no ({})", named.join(", ")));
    }
    // What the host itself has named is enough.
    let proofs = [proof("a.example.com", "1"), proof("b.example.com", "2")];
    let provider = provider(&proofs).await;
    let own = ProviderError::new(ErrorKind::Rejected, "the server said no").about(["b.example.com"]);
    provider.editor().refusals.lock().expect("unharmed").push(own);
    let error = provider.present(&proofs).await.expect_err("refused");
    assert_eq!(error.to_string(), "the server said no (b.example.com)");
}

#[tokio::test]
async fn names_without_a_zone_are_told_together_and_nothing_is_written() {
    let provider = ZoneProvider::new(Host::default(), None);
    let proofs = [proof("a.example.com", "1"), proof("x.example.org", "2"), proof("y.example.org", "3")];
    let error = provider.present(&proofs).await.expect_err("two are not served");
    let said = "the shelf has no zone for it; route the name to another provider (x.example.org, y.example.org)";
    assert_eq!((error.kind, error.to_string().as_str()), (ErrorKind::NotServed, said));
    let alias = Proof::Cname { name: "a.example.com".to_owned(), target: "t.example.net".to_owned() };
    assert_eq!(provider.present(&[alias]).await.expect_err("texts only").kind, ErrorKind::Unsupported);
    assert!(provider.editor().calls().iter().all(|call| call.starts_with("find")));
}

#[tokio::test]
async fn what_concerns_the_host_as_a_whole_is_told_alone() {
    let provider = ZoneProvider::new(Host::default(), None);
    let proofs = [proof("x.example.org", "1"), proof("locked.example.com", "2"), proof("y.example.org", "3")];
    let error = provider.present(&proofs).await.expect_err("a wrong key");
    assert_eq!((error.kind, error.to_string().as_str()), (ErrorKind::Credentials, "a wrong key"));
}

#[tokio::test]
async fn a_list_of_zones_is_asked_for_once_and_again_for_a_name_that_it_lacks() {
    let list = ZoneList::default();
    let asked = Mutex::new(0);
    let twins = vec![zone("example.com"), Zone { id: "twin".to_owned(), ..zone("example.com") }, zone("com")];
    let ask = async |zones: &[Zone]| {
        *asked.lock().expect("unharmed") += 1;
        tokio::task::yield_now().await;
        Ok(zones.to_vec())
    };
    // All at the same moment: one question, and a second one for all names that are not on the list, for they began after the
    // first was asked.
    let names = ["a.example.com", "b.example.com", "a.example.org", "b.example.org", "c.example.org"];
    let found = futures_util::future::join_all(names.map(|name| list.around(name, ask(&twins)))).await;
    let found: Vec<usize> = found.into_iter().map(|zones| zones.expect("a list").len()).collect();
    assert_eq!((found, *asked.lock().expect("unharmed")), (vec![2, 2, 0, 0, 0], 2));
    assert_eq!(list.around("b.example.com", ask(&[])).await.expect("the old list"), twins[..2]);
    assert_eq!(*asked.lock().expect("unharmed"), 2);
    let new = [zone("example.org")];
    assert_eq!(list.around("a.example.org", ask(&new)).await.expect("a new list"), new);
    assert_eq!(*asked.lock().expect("unharmed"), 3);
}

#[test]
fn a_change_counts_and_sorts_its_records() {
    let txt = |name: &str, text: &str| Record { name: name.to_owned(), data: RecordData::Txt(text.to_owned()) };
    let alias = Record { name: "b".to_owned(), data: RecordData::Cname("T.example".to_owned()) };
    let change = Change { add: vec![txt("b", "1"), txt("a", "2"), alias], remove: vec![txt("b", "3"), txt("b", "4")] };
    assert_eq!((change.len(), change.is_empty(), Change::default().is_empty()), (5, false, true));
    assert_eq!(change.names(), ["a", "b"]);
    let sets = change.by_record_set();
    let of = |name: &str, rtype| sets[&(name.to_owned(), rtype)].clone();
    let text = |texts: &[&str]| texts.iter().map(|text| format!("\"{text}\"")).collect::<Vec<_>>();
    assert_eq!(sets.len(), 3);
    assert_eq!(of("a", "TXT"), (text(&["2"]), vec![]));
    assert_eq!(of("b", "TXT"), (text(&["1"]), text(&["3", "4"])));
    assert_eq!(of("b", "CNAME"), (vec!["T.example.".to_owned()], vec![]));
}

/// A name server for everything, at which `_dnsauth.www.example.com` and `shop.example.com` are aliases of what it is told.
async fn name_server(target: Arc<Mutex<&'static str>>) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    let address = socket.local_addr().expect("its address");
    let name = |text: &str| Name::from_ascii(format!("{text}.")).expect("a name");
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        while let Ok((n, client)) = socket.recv_from(&mut buffer).await {
            let mut answer = Message::from_vec(&buffer[..n]).expect("a message").into_response();
            answer.metadata.authoritative = true;
            let (asked, rtype) = (answer.queries[0].name().clone(), answer.queries[0].query_type());
            let zones = ["example.com", "example.net", "example.org", "com", "net", "org"].map(name);
            let apex = zones.into_iter().find(|apex| apex.zone_of(&asked)).expect("a name that is asked for");
            let data = match rtype {
                RecordType::CNAME if [name("_dnsauth.www.example.com"), name("shop.example.com")].contains(&asked) => {
                    Some(RData::CNAME(CNAME(name(*target.lock().expect("unharmed")))))
                }
                RecordType::NS if asked == apex => Some(RData::NS(NS(name("ns.example.com")))),
                RecordType::A => Some(RData::A(A::new(127, 0, 0, 1))),
                _ => None,
            };
            if let Some(data) = data {
                answer.answers.push(DnsRecord::from_rdata(asked, 0, data));
            } else {
                let soa = SOA::new(name("ns.example.com"), name("hostmaster.example.com"), 1, 1, 1, 1, 0);
                let section = if asked == apex { &mut answer.answers } else { &mut answer.authorities };
                section.push(DnsRecord::from_rdata(apex, 0, RData::SOA(soa)));
            }
            socket.send_to(&answer.to_vec().expect("bytes"), client).await.expect("sent");
        }
    });
    address
}

#[tokio::test]
async fn a_record_goes_where_its_alias_leads_and_is_taken_back_from_where_it_was_put() {
    let target = Arc::new(Mutex::new("one.example.net"));
    let server = name_server(Arc::clone(&target)).await;
    let dns = Dns::new(vec![server]).with_authority_port(server.port()).with_deadline(Duration::from_secs(5));
    let provider = ZoneProvider::new(Host::default(), Some(dns));
    let proofs = [proof("_dnsauth.www.example.com", "v")];
    provider.present(&proofs).await.expect("presented");
    let there = "example.net: +[one.example.net \"v\"] -[]";
    assert_eq!(provider.editor().calls(), ["find one.example.net", there]);
    *target.lock().expect("unharmed") = "two.example.net";
    provider.retract(&proofs).await.expect("retracted");
    assert_eq!(provider.editor().calls(), ["example.net: +[] -[one.example.net \"v\"]"]);
    // The way out is another one where an alias has led to a zone that is not there.
    *target.lock().expect("unharmed") = "x.example.org";
    let dns = Dns::new(vec![server]).with_authority_port(server.port()).with_deadline(Duration::from_secs(5));
    let elsewhere = ZoneProvider::new(Host::default(), Some(dns));
    for (wanted, way_out) in [
        (
            "shop.example.com",
            "of which the domain is an alias; place texts below the domain (`txt = \"dnsauth\"`), or route",
        ),
        ("_dnsauth.www.example.com", "to which an alias leads; let the alias lead elsewhere, or route"),
    ] {
        let error = elsewhere.preflight(&[proof(wanted, "v")]).await.expect_err("not served");
        let said = format!("the shelf has no zone for it, {way_out} the name to another provider (x.example.org)");
        assert_eq!((error.kind, error.to_string()), (ErrorKind::NotServed, said));
    }
    // Where nobody answers, the name itself is the best guess.
    let nobody = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    let silent = Dns::new(vec![nobody.local_addr().expect("its address")]).with_deadline(Duration::from_millis(50));
    let provider = ZoneProvider::new(Host::default(), Some(silent));
    provider.present(&proofs).await.expect("presented");
    assert_eq!(provider.editor().calls()[1..], ["example.com: +[_dnsauth.www.example.com \"v\"] -[]"]);
}
