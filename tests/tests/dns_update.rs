//! The plugin with the hosts of the crate dns-update: built, loaded as `dcv` loads plugins, and judged by the conformance suite on two real servers. It
//! has a workspace of its own, so it is built here; `tests/run` does that before, for it takes a while the first time.

use std::{
    ffi::OsString,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use async_trait::async_trait;
use dcv_plugin::{Isolated, Plugin};
use dcv_provider::{DcvProvider, ErrorKind, Proof, ProofKind, Result, conformance};
use dcv_tests::{
    bind::Bind,
    daemon::{nsupdate, shown},
    powerdns::{API_KEY, PowerDns},
    unmarked,
    world::{TSIG_NAME, TSIG_SECRET},
};
use serde_json::{Value, json};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const ZONE: &str = "dns-update-example.com";

/// Builds the plugin, where `tests/run` has built it.
fn library() -> PathBuf {
    let target = Path::new(ROOT).join("target/dns-update");
    let status = unmarked(&mut Command::new(env!("CARGO")))
        .args(["build", "--quiet", "--offline", "--manifest-path", "providers/dns-update/Cargo.toml"])
        .arg("--target-dir")
        .arg(&target)
        .current_dir(ROOT)
        .status()
        .expect("cargo runs");
    assert!(status.success(), "tests/run installs what the plugin needs, and fetches its crates");
    target.join("debug/libdcv_dns_update.so")
}

/// The program, beside this test's own.
fn program() -> OsString {
    let own = std::env::current_exe().expect("this test");
    let program = own.ancestors().nth(2).expect("target/PROFILE").join("dcv");
    assert!(program.exists(), "{} is not there; cargo build -p dcv", program.display());
    program.into()
}

#[derive(Clone, Copy, Debug)]
enum Place {
    /// In this process.
    Here,
    /// In one of `dcv plugin host`.
    Isolated,
}

async fn load(library: &Path, place: Place, config: Value) -> Result<Box<dyn DcvProvider>> {
    Ok(match place {
        Place::Here => Box::new(Plugin::load(library, None)?.open(config).await?),
        Place::Isolated => {
            let command = vec![program(), "plugin".into(), "host".into(), library.into()];
            Box::new(Isolated::start(command, config).await?)
        }
    })
}

enum Server {
    Bind(Bind),
    PowerDns(PowerDns),
}

struct World {
    library: PathBuf,
    place: Place,
    server: Server,
}

impl World {
    fn bind(place: Place) -> Self {
        Self { library: library(), place, server: Server::Bind(Bind::primary(&[ZONE])) }
    }

    async fn powerdns(place: Place) -> Self {
        Self { library: library(), place, server: Server::PowerDns(PowerDns::start(&[ZONE]).await) }
    }

    fn address(&self) -> SocketAddr {
        match &self.server {
            Server::Bind(bind) => bind.address(),
            Server::PowerDns(powerdns) => powerdns.address(),
        }
    }

    /// The configuration, with this key instead of the right one.
    fn config(&self, key: Option<&str>) -> Value {
        let mut config = json!({ "zones": [ZONE], "resolvers": [] });
        let more = match &self.server {
            Server::Bind(bind) => json!({
                "host": "rfc2136", "server": format!("tcp://{}", bind.address()), "key_name": TSIG_NAME,
                "key": key.unwrap_or(TSIG_SECRET),
            }),
            Server::PowerDns(powerdns) => {
                json!({ "host": "pdns", "endpoint": powerdns.api(), "api_key": key.unwrap_or(API_KEY) })
            }
        };
        for (name, value) in more.as_object().expect("a table") {
            config[name] = value.clone();
        }
        config
    }

    async fn instance(&self, key: Option<&str>) -> Box<dyn DcvProvider> {
        load(&self.library, self.place, self.config(key)).await.expect("a provider")
    }
}

#[async_trait]
impl conformance::World for World {
    async fn provider(&self) -> Box<dyn DcvProvider> {
        self.instance(None).await
    }
    fn name(&self, n: usize) -> String {
        format!("n{n}.{ZONE}")
    }
    fn unserved_name(&self) -> Option<String> {
        Some("www.unserved-example.org".to_owned())
    }
    async fn values(&self, kind: ProofKind, name: &str) -> Vec<String> {
        shown(self.address(), kind, name).await
    }
    /// The crate sends targets in lower case in UPDATEs.
    fn keeps_case(&self) -> bool {
        matches!(self.server, Server::PowerDns(_))
    }
    async fn plant(&self, kind: ProofKind, name: &str, value: &str) -> bool {
        match (&self.server, kind) {
            (Server::Bind(_), ProofKind::Txt) => {
                nsupdate(self.address(), &format!("update add {name} 300 TXT \"{value}\""));
            }
            (Server::Bind(_), _) => nsupdate(self.address(), &format!("update add {name} 300 CNAME {value}.")),
            (Server::PowerDns(server), ProofKind::Txt) => {
                server.set(ZONE, name, "TXT", &[&format!("\"{value}\"")]).await;
            }
            (Server::PowerDns(server), _) => server.set(ZONE, name, "CNAME", &[&format!("{value}.")]).await,
        }
        true
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_of_values_behaves_in_this_process() {
    conformance::run(&World::bind(Place::Here)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_of_values_behaves_in_a_process_of_its_own() {
    conformance::run(&World::bind(Place::Isolated)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_of_record_sets_behaves_in_this_process() {
    conformance::run(&World::powerdns(Place::Here).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_of_record_sets_behaves_in_a_process_of_its_own() {
    conformance::run(&World::powerdns(Place::Isolated).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_is_told_as_one_and_not_shown() {
    let wrong = "cGxhbnRlZC13cm9uZy1rZXk=";
    for world in [World::bind(Place::Here), World::powerdns(Place::Isolated).await] {
        let provider = world.instance(Some(wrong)).await;
        let proofs = [Proof::Txt { name: format!("k.{ZONE}"), value: "v".to_owned() }];
        let error = provider.present(&proofs).await.expect_err("a wrong key");
        assert_eq!(error.kind, ErrorKind::Credentials, "{error}");
        assert!(!error.to_string().contains(wrong), "{error}");
    }
}

/// BIND says NOERROR to what it leaves out.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_leaves_out_in_silence_is_an_error() {
    let world = World::bind(Place::Here);
    let provider = world.instance(None).await;
    let (alias, host) = (format!("alias.{ZONE}"), format!("host.{ZONE}"));
    nsupdate(world.address(), &format!("update add {alias} 60 CNAME other.example.net."));
    nsupdate(world.address(), &format!("update add {host} 60 A 192.0.2.7"));
    let txt = Proof::Txt { name: alias.clone(), value: "v".to_owned() };
    let cname = Proof::Cname { name: host.clone(), target: "v.dcv.example.net".to_owned() };
    for (proof, parts) in [(txt, [alias.as_str(), "alias of other.example.net"]), (cname, [&host, "left it out"])] {
        let error = provider.present(&[proof]).await.expect_err("something is in the way");
        assert_eq!(error.kind, ErrorKind::Rejected, "{error}");
        assert!(parts.iter().all(|part| error.to_string().contains(part)), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_configuration_is_told_through_the_plugins_door() {
    let library = library();
    for place in [Place::Here, Place::Isolated] {
        let Err(error) = load(&library, place, json!({ "host": "porkbum" })).await else {
            panic!("{place:?}: it is taken")
        };
        assert_eq!(error.kind, ErrorKind::Config, "{error}");
        assert!(error.to_string().contains("`porkbum` is not known; give one of alidns, "), "{error}");
    }
}
