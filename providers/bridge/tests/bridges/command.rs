//! A program of one's own, on a real BIND and a folder.

use async_trait::async_trait;
use dcv_bridge::command::{DESCRIPTOR, from_config};
use dcv_provider::{DcvProvider, ErrorKind, ProofKind, conformance};
use dcv_tests::{
    bind::Bind,
    daemon::{dig, nsupdate, shown},
};

use crate::{Scripts, config, dns_of, plant, txt};

const ZONE: &str = "command-example.com";
const OTHER: &str = "command-delegated.net";

/// Puts records into BIND by one UPDATE, and files into a folder.
const HOOK: &str = r#"#!/usr/bin/env python3
import json, os, subprocess, sys
told = json.load(sys.stdin)
assert told["version"] == 1
verb, port, zones = told["verb"], os.environ["DNS_PORT"], os.environ["DNS_ZONES"].split()
with open(os.environ["HOOK_LOG"], "a") as log:
    print(verb, len(told["proofs"]), file=log)

def fail(kind, message, *subjects):
    print(json.dumps({"error": {"kind": kind, "message": message, "subjects": subjects}}))
    sys.exit(1)

def zone_of(name):
    for zone in zones:
        if name == zone or name.endswith("." + zone):
            return zone
    fail("not_served", "no zone for it", name)

changes, places = {}, []
for proof in told["proofs"]:
    zone = zone_of(proof.get("name") or proof["host"])
    if proof["kind"] == "file":
        path = os.environ["WEB_ROOT"] + "/" + proof["host"] + proof["path"]
        places.append({"target": path, "within": "the hook's folder"})
        if verb == "present":
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path + ".new", "w") as file:
                file.write(proof["body"])
            os.rename(path + ".new", path)
        elif verb == "retract" and os.path.exists(path):
            os.remove(path)
        continue
    name = proof["name"]
    if proof["kind"] == "txt":
        data = 'TXT "%s"' % proof["value"].replace("\\", "\\\\").replace('"', '\\"')
    else:
        data = "CNAME " + proof["target"] + "."
        there = subprocess.run(["dig", "@127.0.0.1", "-p", port, "+tcp", "+short", "+norec", name, "CNAME"],
                               capture_output=True, text=True, check=True).stdout.strip()
        if verb == "present" and there not in ("", proof["target"] + "."):
            fail("rejected", "it is an alias of " + there + " already", name)
    places.append({"target": name + " " + data, "within": zone})
    changes.setdefault(zone, []).append("update %s %s. %s %s" % (
        "add" if verb == "present" else "delete", name, "60" if verb == "present" else "", data))
if verb == "preflight":
    print(json.dumps({"places": places}))
    sys.exit(0)
for zone, lines in changes.items():
    script = "server 127.0.0.1 %s\nzone %s\n%s\nsend\n" % (port, zone, "\n".join(lines))
    subprocess.run(["nsupdate", "-v", "-k", os.environ["DNS_KEY"]], input=script, text=True, check=True)
"#;

struct World {
    bind: Bind,
    scripts: Scripts,
}

impl World {
    fn start() -> Self {
        let scripts = Scripts::new();
        scripts.add("hook", HOOK);
        Self { bind: Bind::primary(&[ZONE, OTHER]), scripts }
    }

    async fn instance(&self) -> Box<dyn DcvProvider> {
        let folder = self.scripts.path().display();
        let toml = format!(
            "command = ['{folder}/hook']\npreflight = true\n\
             env = {{ DNS_KEY = '{folder}/key', DNS_PORT = '{}', DNS_ZONES = '{ZONE} {OTHER}', WEB_ROOT = '{folder}/www',\
             HOOK_LOG = '{folder}/log' }}",
            self.bind.address().port(),
        );
        Box::new(from_config(config(&toml), Some(dns_of(&self.bind))).await.expect("it is set up"))
    }
}

#[async_trait]
impl conformance::World for World {
    async fn provider(&self) -> Box<dyn DcvProvider> {
        self.instance().await
    }
    fn name(&self, n: usize) -> String {
        format!("n{n}.{ZONE}")
    }
    fn unserved_name(&self) -> Option<String> {
        Some("www.unserved-example.org".to_owned())
    }
    async fn values(&self, kind: ProofKind, name: &str) -> Vec<String> {
        if kind != ProofKind::File {
            return shown(self.bind.address(), kind, name).await;
        }
        let path = format!("www/{name}/.well-known/pki-validation/fileauth.txt");
        std::fs::read_to_string(self.scripts.path().join(path)).into_iter().collect()
    }
    async fn plant(&self, kind: ProofKind, name: &str, value: &str) -> bool {
        if kind != ProofKind::File {
            plant(self.bind.address(), kind, name, value);
        }
        kind != ProofKind::File
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_behaves() {
    conformance::run(&World::start()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_proofs_of_a_call_are_one_run_and_follow_their_aliases() {
    let world = World::start();
    nsupdate(world.bind.address(), &format!("update add _dnsauth.{ZONE} 60 CNAME proofs.{OTHER}."));
    let provider = world.instance().await;
    let proofs = [txt(&format!("_dnsauth.{ZONE}"), "delegated"), txt(&format!("_dnsauth.www.{ZONE}"), "direct")];
    let places = provider.preflight(&proofs).await.expect("it can be done");
    assert_eq!(places[0].target, format!("proofs.{OTHER} TXT \"delegated\""), "the hook's own words");
    provider.present(&proofs).await.expect("presented");
    assert_eq!(dig(world.bind.address(), &[&format!("proofs.{OTHER}"), "TXT"]), ["\"delegated\""]);
    assert_eq!(dig(world.bind.address(), &[&format!("_dnsauth.www.{ZONE}"), "TXT"]), ["\"direct\""]);
    provider.retract(&proofs).await.expect("retracted");
    assert_eq!(world.bind.records(OTHER), Vec::<String>::new());
    let log = std::fs::read_to_string(world.scripts.path().join("log")).expect("a log");
    assert_eq!(log, "preflight 2\npresent 2\nretract 2\n");
}

#[tokio::test]
async fn mistakes_in_the_configuration_are_named() {
    for (toml, part) in [
        ("command = []", "command: it is empty"),
        ("command = ['no-such-program-of-dcv']", "command: `no-such-program-of-dcv`"),
    ] {
        let error = from_config(config(toml), None).await.expect_err(toml);
        assert_eq!(error.kind, ErrorKind::Config, "{error}");
        assert!(error.to_string().contains(part), "{error}");
    }
    let example = DESCRIPTOR.example.replacen("type = \"command\"\n", "", 1);
    config::<dcv_bridge::command::Config>(&example);
}
