//! The examples as a reader would run them, against the sandbox and a real server wherever there is one.

use std::{net::Ipv4Addr, net::SocketAddr, process::Stdio, time::Duration};

use certcentral_sandbox::{Config, Sandbox};
use dcv_tests::{
    bind::Bind,
    daemon::{folder, free_port},
    nginx::Nginx,
    powerdns::{API_KEY as PDNS_KEY, PowerDns},
    world::{API_KEY, ORGANIZATION, TSIG_NAME, TSIG_SECRET, sandbox_config},
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
