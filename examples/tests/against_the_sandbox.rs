//! The examples as a reader would run them, against the sandbox and a real server wherever there is one.

use std::{
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::PermissionsExt,
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use certcentral_sandbox::{Config, Sandbox};
use dcv_core::{
    Event, Request, RunId,
    key::{KeyKind, PrivateKey},
    name::DnsName,
};
use dcv_journal_postgres::PostgresJournal;
use dcv_tests::{
    bind::Bind,
    daemon::{folder, free_port},
    nginx::Nginx,
    postgres::Postgres,
    powerdns::{API_KEY as PDNS_KEY, PowerDns},
    world::{API_KEY, Address, ORGANIZATION, TSIG_NAME, TSIG_SECRET, sandbox_config},
};
use tokio::process::Command;

/// Runs an example; it has to print a chain.
async fn example(program: &str, name: &str, sandbox: &Sandbox, dns: SocketAddr, variables: &[(&str, String)]) {
    let mut command = Command::new(program);
    command.arg(name).envs(variables.iter().map(|(name, value)| (*name, value)));
    command.env("DIGICERT_API_KEY", API_KEY).env("DCV_ORGANIZATION", ORGANIZATION.to_string());
    command.env("DCV_CA_URL", sandbox.base_url()).env("DCV_RESOLVER", dns.to_string());
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(Duration::from_secs(60), output).await.expect("it ends").expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{program}: {said}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(said.matches("BEGIN CERTIFICATE").count(), 2, "leaf and intermediate: {said}");
}

async fn sandbox(dns: SocketAddr, change: impl FnOnce(&mut Config)) -> Sandbox {
    let mut config = Config { polling: false, ..sandbox_config(dns) };
    change(&mut config);
    Sandbox::start(config).await.expect("the sandbox starts")
}

#[tokio::test(flavor = "multi_thread")]
async fn rfc2136_on_bind() {
    const ZONE: &str = "example-bind.com";
    let bind = Bind::primary(&[ZONE]);
    let sandbox = sandbox(bind.address(), |_| {}).await;
    let variables = [
        ("DCV_SERVER", bind.address().to_string()),
        ("DCV_TSIG_NAME", TSIG_NAME.to_owned()),
        ("DCV_TSIG_SECRET", TSIG_SECRET.to_owned()),
    ];
    example(env!("CARGO_BIN_EXE_rfc2136"), "www.example-bind.com", &sandbox, bind.address(), &variables).await;
    assert_eq!(bind.records(ZONE), Vec::<String>::new());
}

/// A program that others run with a change for BIND.
fn script(path: &std::path::Path, text: &str, bind: &Bind) {
    let send = format!(
        "send() {{ printf 'server 127.0.0.1 {}\n%s\nsend\n' \"$1\" | nsupdate -v -y hmac-sha256:{TSIG_NAME}:{TSIG_SECRET}; }}",
        bind.address().port()
    );
    std::fs::write(path, format!("#!/bin/sh\n{send}\n{text}")).expect("a script");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).expect("a mode");
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_that_were_written_for_others() {
    const ZONES: [&str; 2] = ["example-lego.com", "example-acmesh.com"];
    let bind = Bind::primary(&ZONES);
    let sandbox = sandbox(bind.address(), |_| {}).await;
    let folder = folder();

    let path = folder.path().join("lego.sh");
    script(&path, "case $1 in present) act=add ;; *) act=delete ;; esac\nsend \"update $act $2 60 TXT $3\"\n", &bind);
    let set = [("EXEC_PATH", path.display().to_string())];
    example(env!("CARGO_BIN_EXE_exec"), "www.example-lego.com", &sandbox, bind.address(), &set).await;

    let path = folder.path().join("dns_own.sh");
    let text =
        "dns_own_add() { send \"update add $1. 60 TXT $2\"; }\ndns_own_rm() { send \"update delete $1. TXT\"; }\n";
    script(&path, text, &bind);
    let set = [("ACMESH_SCRIPT", path.display().to_string())];
    example(env!("CARGO_BIN_EXE_acmesh"), "www.example-acmesh.com", &sandbox, bind.address(), &set).await;
    assert_eq!(bind.updates(), 4, "each has added and removed");
    assert_eq!(ZONES.map(|zone| bind.records(zone)), [const { Vec::<String>::new() }; 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_many_workers() {
    const ZONE: &str = "example-workers.com";
    let (bind, database) = (Bind::primary(&[ZONE]), Postgres::start());
    let sandbox = sandbox(bind.address(), |_| {}).await;
    let address = Address::of(&sandbox, bind.address());

    // Another worker has gone away in the middle, and left its proof.
    let journal = PostgresJournal::connect(&database.url()).await.expect("a journal");
    let (presented, wait) = tokio::sync::oneshot::channel();
    let presented = Mutex::new(Some(presented));
    let observer = move |_: &RunId, event: &Event| {
        if matches!(event, Event::Presented { .. }) {
            let _ = presented.lock().expect("no panic").take().map(|tell| tell.send(()));
        }
    };
    let other = address.dcv().journal(Arc::new(journal)).observer(Arc::new(observer)).build().await.expect("it builds");
    let key = PrivateKey::generate(KeyKind::EcdsaP256).expect("a key");
    let name = DnsName::parse("left.example-workers.com").expect("a name");
    let request = Request::new("ssl_basic", ORGANIZATION, vec![name], &key).expect("a request");
    tokio::select! { biased; _ = wait => {} _ = other.issue(request) => unreachable!("it is dropped before") }
    other.settled().await;
    drop(other);

    let variables = [
        ("DCV_JOURNAL", database.url()),
        ("DCV_SERVER", bind.address().to_string()),
        ("DCV_TSIG_NAME", TSIG_NAME.to_owned()),
        ("DCV_TSIG_SECRET", TSIG_SECRET.to_owned()),
    ];
    example(env!("CARGO_BIN_EXE_worker"), "www.example-workers.com", &sandbox, bind.address(), &variables).await;
    assert_eq!(sandbox.orders(), 2, "what was left is gone on with, not ordered again");
    assert_eq!(database.psql("SELECT count(*) FROM dcv_run WHERE open").as_deref(), Ok("0"));
    assert_eq!(bind.records(ZONE), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn powerdns_by_its_api() {
    const ZONE: &str = "example-pdns.com";
    let server = PowerDns::start(&[ZONE]).await;
    let sandbox = sandbox(server.address(), |_| {}).await;
    let variables = [("DCV_PDNS_URL", server.api().to_owned()), ("DCV_PDNS_KEY", PDNS_KEY.to_owned())];
    example(env!("CARGO_BIN_EXE_powerdns"), "www.example-pdns.com", &sandbox, server.address(), &variables).await;
    assert_eq!(server.dig(&[ZONE, "TXT"]), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn files_below_nginx_and_from_a_server_of_our_own() {
    let names = dcv_tests::world::World::start(&["example-web.com"]).await;
    let root = folder();
    let nginx = Nginx::start(root.path());
    let closed = free_port(&[Ipv4Addr::LOCALHOST]);
    let web = async |port: u16| {
        sandbox(names.dns.addr(), |config| (config.va.http_port, config.va.https_port) = (port, closed)).await
    };
    let variables = |port: u16, name: &'static str, value: String| [("DCV_HTTP_PORT", port.to_string()), (name, value)];

    let port = nginx.addr().port();
    let set = variables(port, "DCV_ROOT", root.path().display().to_string());
    example(env!("CARGO_BIN_EXE_webroot"), "www.example-web.com", &web(port).await, names.dns.addr(), &set).await;
    assert!(!root.path().join(".well-known").exists());

    let port = free_port(&[Ipv4Addr::LOCALHOST]);
    let set = variables(port, "DCV_LISTEN", format!("127.0.0.1:{port}"));
    example(env!("CARGO_BIN_EXE_standalone"), "www.example-web.com", &web(port).await, names.dns.addr(), &set).await;
}
