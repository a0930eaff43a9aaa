//! The main job on real servers: BIND with a secondary that lags or is dead, PowerDNS, nginx, and our own web server.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use certcentral_sandbox::{Config, Sandbox};
use dcv_core::{
    Dcv, Event, Method, Outcome, Request,
    key::{KeyKind, PrivateKey},
    name::DnsName,
    propagation::Sight,
};
use dcv_provider::{DcvProvider, zone::ZoneProvider};
use dcv_tests::{
    bind::Bind,
    daemon::free_port,
    nginx::Nginx,
    powerdns::{self, PowerDns},
    world::{Address, ORGANIZATION, World, impatient, sandbox_config},
};

fn request(names: &[&str]) -> Request {
    let names = names.iter().map(|name| DnsName::parse(name).expect("a good name")).collect();
    let key = PrivateKey::generate(KeyKind::EcdsaP256).expect("a key");
    Request::new("ssl_basic", ORGANIZATION, names, &key).expect("a good request")
}

/// A sandbox that looks at this name server and does not look by itself.
async fn sandbox(dns: SocketAddr) -> Sandbox {
    Sandbox::start(Config { polling: false, ..sandbox_config(dns) }).await.expect("the sandbox starts")
}

fn checks(sandbox: &Sandbox) -> usize {
    sandbox.requests_seen().iter().filter(|seen| seen.path.ends_with("/check-dcv")).count()
}

async fn comes_home(dcv: &Dcv, request: Request) {
    match dcv.issue(request).await.expect("issued") {
        Outcome::Issued(issued) => assert!(issued.left_behind.is_empty(), "{:?}", issued.left_behind),
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secondary_that_lags_holds_the_check_back() {
    const ZONE: &str = "lag-example.com";
    let second = Ipv4Addr::new(127, 53, 7, 2);
    let primary = Bind::primary_of(&[ZONE], &[Ipv4Addr::LOCALHOST, second]);
    let secondary = primary.lagging_secondary(second, &[ZONE]);
    let sandbox = sandbox(primary.address()).await;
    let events: Arc<Mutex<Vec<Event>>> = Arc::default();
    let sink = Arc::clone(&events);
    let observer = Arc::new(move |_: &_, event: &Event| sink.lock().unwrap().push(event.clone()));
    let dcv = Address::of(&sandbox, primary.address()).dcv().observer(observer).build().await.expect("it builds");

    let order = tokio::spawn(async move { comes_home(&dcv, request(&["www.lag-example.com"])).await });
    // Until several rounds have seen that the secondary lacks the value.
    let held = |event: &Event| match event {
        Event::Observed { verdict } => verdict.proofs.iter().any(|proof| {
            let lags = proof.views.iter().any(|view| matches!(view.sight, Sight::Lacks(_)));
            lags && !proof.visible && proof.views.iter().any(|view| view.sight == Sight::Shows)
        }),
        _ => false,
    };
    while !events.lock().unwrap().iter().any(held) {
        assert!(!order.is_finished(), "the check was not held back");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(checks(&sandbox), 0, "the CA was asked while a name server lagged");
    secondary.catch_up(&primary, ZONE);
    order.await.expect("the certificate comes home once the secondary has caught up");
    assert_eq!(checks(&sandbox), 1, "the CA was asked once");
    assert_eq!(primary.records(ZONE), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_name_server_is_a_line_in_the_verdict_and_no_obstacle() {
    const ZONE: &str = "dead-example.com";
    let nobody = Ipv4Addr::new(127, 53, 7, 9);
    let primary = Bind::primary_of(&[ZONE], &[Ipv4Addr::LOCALHOST, nobody]);
    let sandbox = sandbox(primary.address()).await;
    let events: Arc<Mutex<Vec<Event>>> = Arc::default();
    let sink = Arc::clone(&events);
    let observer = Arc::new(move |_: &_, event: &Event| sink.lock().unwrap().push(event.clone()));
    let dcv = Address::of(&sandbox, primary.address()).dcv().observer(observer).build().await.expect("it builds");
    comes_home(&dcv, request(&["www.dead-example.com"])).await;
    let told = events.lock().unwrap().iter().any(|event| match event {
        Event::Observed { verdict } => {
            verdict.to_string().contains("visible") && {
                let views = verdict.proofs.iter().flat_map(|proof| &proof.views);
                views.clone().any(|view| view.place == format!("ns2.{ZONE}") && matches!(view.sight, Sight::Dead(_)))
            }
        }
        _ => false,
    });
    assert!(told, "the dead server is named: {:#?}", events.lock().unwrap());
    assert_eq!(primary.records(ZONE), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn powerdns_by_txt_and_by_cname() {
    const ZONE: &str = "pdns-order.com";
    let server = PowerDns::start(&[ZONE]).await;
    for (method, name) in [(Method::DnsTxtToken, "www.pdns-order.com"), (Method::DnsCnameToken, "*.pdns-order.com")] {
        let sandbox = sandbox(server.address()).await;
        let address = Address::of(&sandbox, server.address());
        let editor = dcv_powerdns::Editor::new(server.api(), powerdns::API_KEY.to_owned().into()).expect("it builds");
        let provider = ZoneProvider::new(editor, Some(address.questions()));
        let dcv = address.dcv().provider(provider).build().await.expect("it builds");
        comes_home(&dcv, request(&[name]).method(method)).await;
    }
    assert_eq!(server.dig(&[ZONE, "TXT"]), Vec::<String>::new());
    assert_eq!(server.dig(&["_dnsauth.pdns-order.com", "CNAME"]), Vec::<String>::new());
}

/// Orders by a file that is served on this port.
async fn by_file(world: &World, provider: impl DcvProvider + 'static, port: u16, names: &[&str]) {
    let mut settings = impatient();
    settings.propagation.web_ports = (port, free_port(&[Ipv4Addr::LOCALHOST]));
    let dcv = world.address().dcv().provider(provider).settings(settings).build().await.expect("it builds");
    comes_home(&dcv, request(names).method(Method::HttpToken)).await;
    assert_eq!(world.dns.update_count(), 0, "no record was needed");
}

/// A world whose CA fetches files from this port.
async fn web_world(port: u16) -> World {
    World::start_with(&["web-example.com"], |config| {
        config.polling = false;
        config.va.http_port = port;
        config.va.https_port = free_port(&[Ipv4Addr::LOCALHOST]);
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_by_a_file_in_its_document_root() {
    let root = dcv_tests::daemon::folder();
    let nginx = Nginx::start(root.path());
    let world = web_world(nginx.addr().port()).await;
    let provider = dcv_webroot::Webroot::new(dcv_webroot::Config::new(root.path())).expect("it builds");
    by_file(&world, provider, nginx.addr().port(), &["www.web-example.com", "shop.web-example.com"]).await;
    assert!(!root.path().join(".well-known").exists(), "no file is left, and no folder");
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_web_server_by_a_file() {
    let port = free_port(&[Ipv4Addr::LOCALHOST]);
    let world = web_world(port).await;
    let config =
        serde_json::from_value(serde_json::json!({ "listen": format!("127.0.0.1:{port}") })).expect("a configuration");
    let provider = dcv_standalone::Standalone::new(config).expect("it builds");
    by_file(&world, provider, port, &["www.web-example.com"]).await;
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err(), "nobody listens any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_certificate_by_two_dns_hosts() {
    let bind = Bind::primary(&["half-one.com"]);
    let embedded = World::start(&["half-two.net"]).await;
    // Each host is asked about its own zone only, so the CA asks both, and so do we.
    let mut config = sandbox_config(bind.address());
    for perspective in &mut config.va.perspectives {
        perspective.dns = vec![bind.address(), embedded.dns.addr()];
    }
    let sandbox = Sandbox::start(config).await.expect("the sandbox starts");
    let address = Address::of(&sandbox, bind.address());
    let mut router = dcv_core::Router::new();
    for (suffix, world) in [("half-one.com", &address), ("half-two.net", &embedded.address())] {
        router.add(suffix, dcv_core::Route { label: suffix.to_owned(), provider: Arc::new(world.provider()) });
    }
    let mut settings = impatient();
    settings.propagation.enabled = false; // two servers on two ports are no internet
    let dcv = address.dcv().router(router).settings(settings).build().await.expect("it builds");
    comes_home(&dcv, request(&["www.half-one.com", "www.half-two.net"])).await;
    assert_eq!(bind.records("half-one.com"), Vec::<String>::new());
    assert_eq!(embedded.dns.records(), Vec::<String>::new());
}
