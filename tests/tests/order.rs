//! The main job on the embedded parts: an order is placed, proved, issued, fetched, and leaves nothing behind.

use std::sync::{Arc, Mutex};

use certcentral_sandbox::account::Scope;
use dcv_core::{
    Event, Outcome, Request, TokenSource,
    key::{KeyKind, PrivateKey},
    name::DnsName,
};
use dcv_tests::world::{ORGANIZATION, World};

fn names(names: &[&str]) -> Vec<DnsName> {
    names.iter().map(|name| DnsName::parse(name).expect("a good name")).collect()
}

fn request(list: &[&str]) -> Request {
    let key = PrivateKey::generate(KeyKind::EcdsaP256).expect("a key");
    Request::new("ssl_basic", ORGANIZATION, names(list), &key).expect("a good request")
}

fn calls(world: &World) -> Vec<String> {
    world.sandbox.requests_seen().iter().map(|seen| format!("{} {}", seen.method, seen.path)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_order_comes_home_and_nothing_is_left() {
    let world = World::start(&["example.com", "example.net"]).await;
    let events: Arc<Mutex<Vec<Event>>> = Arc::default();
    let sink = Arc::clone(&events);
    let observer = Arc::new(move |_: &_, event: &Event| sink.lock().unwrap().push(event.clone()));
    let dcv = world.address().dcv().observer(observer).build().await.expect("it builds");

    let outcome = dcv.issue(request(&["shop.example.com", "*.example.com", "www.example.net"])).await.expect("issued");
    let Outcome::Issued(issued) = outcome else { panic!("{outcome:?}") };
    assert!(issued.left_behind.is_empty());
    assert_eq!(issued.chain.names().len(), 3);
    assert_eq!(world.dns.records(), Vec::<String>::new(), "nothing is left in the zones");
    assert_eq!(world.dns.update_count(), 4, "for each zone one to add, one to remove");
    assert_eq!(world.sandbox.orders(), 1);

    let calls = calls(&world);
    let expected = ["POST", "GET", "GET", "GET", "PUT", "GET"];
    assert_eq!(calls.iter().map(|call| call.split(' ').next().unwrap()).collect::<Vec<_>>(), expected, "{calls:#?}");
    let accepted = events.lock().unwrap().iter().filter(|event| matches!(event, Event::Accepted { .. })).count();
    assert_eq!(accepted, 2, "two registrable domains were proved");

    // The same names again: everything is validated, the certificate comes with the answer.
    let outcome = dcv.issue(request(&["api.example.com"])).await.expect("issued");
    assert!(matches!(outcome, Outcome::Issued(_)), "{outcome:?}");
    assert_eq!(world.sandbox.requests_seen().len(), expected.len() + 1, "one call was enough");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_names_cost_two_updates_and_four_calls() {
    let world = World::start_with(&["example.com"], |config| config.default_scope = Scope::Fqdn).await;
    let dcv = world.address().dcv().build().await.expect("it builds");
    let list: Vec<String> = (0..100).map(|n| format!("h{n}.example.com")).collect();
    let list: Vec<&str> = list.iter().map(String::as_str).collect();
    let outcome = dcv.issue(request(&list)).await.expect("issued");
    let Outcome::Issued(issued) = outcome else { panic!("{outcome:?}") };
    assert_eq!(issued.chain.names().len(), 100);
    assert_eq!(world.dns.update_count(), 2, "one to add, one to remove");
    assert_eq!(world.sandbox.requests_seen().len(), 4, "order, validation, check, download");
    assert_eq!(world.dns.records(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn names_below_longer_public_suffixes_and_international_ones() {
    let world = World::start(&["example.co.uk", "xn--mnchen-3ya.de"]).await;
    let dcv = world.address().dcv().build().await.expect("it builds");
    let outcome = dcv.issue(request(&["*.shop.example.co.uk", "München.de"])).await.expect("issued");
    assert!(matches!(outcome, Outcome::Issued(_)), "{outcome:?}");
    assert_eq!(world.dns.records(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn values_can_be_the_orders_or_the_domains() {
    for tokens in [TokenSource::Order, TokenSource::Domain] {
        let world = World::start(&["example.com"]).await;
        let dcv = world.address().dcv().build().await.expect("it builds");
        let mut request = request(&["www.example.com"]);
        request.tokens = tokens;
        let outcome = dcv.issue(request).await.expect("issued");
        assert!(matches!(outcome, Outcome::Issued(_)), "{tokens:?}: {outcome:?}");
        let asked = calls(&world)
            .iter()
            .any(|call| call.starts_with("GET /services/v2/domain/") || call.starts_with("GET /domain/"));
        assert_eq!(asked, tokens == TokenSource::Domain, "{:#?}", calls(&world));
    }
}
