//! A script for lego's `exec` provider, on a real BIND.

use async_trait::async_trait;
use dcv_bridge::exec::{DESCRIPTOR, from_config};
use dcv_provider::{DcvProvider, ErrorKind, ProofKind, Retry, conformance, dns::Dns};
use dcv_tests::{
    bind::Bind,
    daemon::{dig, nsupdate, shown},
};

use crate::{Scripts, config, dns_of, plant, txt};

const ZONE: &str = "exec-example.com";
const OTHER: &str = "exec-delegated.net";

/// As people have them.
const SCRIPT: &str = r#"#!/bin/sh
set -eu
echo "$*" >>"$0.log"
value=$(printf '%s' "$3" | sed 's/[\\"]/\\&/g')
case $1 in
present) change="update add $2 60 TXT \"$value\"" ;;
cleanup) change="update delete $2 TXT \"$value\"" ;;
*) exit 64 ;;
esac
nsupdate -v -k "$NSUPDATE_KEY" <<EOF
server 127.0.0.1 $NSUPDATE_PORT
$change
send
EOF
"#;

struct World {
    bind: Bind,
    scripts: Scripts,
}

impl World {
    fn start() -> Self {
        let scripts = Scripts::new();
        scripts.add("update-dns.sh", SCRIPT);
        Self { bind: Bind::primary(&[ZONE, OTHER]), scripts }
    }

    async fn instance(&self, more: &str, dns: Option<Dns>) -> Box<dyn DcvProvider> {
        let toml = format!(
            "path = '{}'\nenv = {{ NSUPDATE_KEY = '{}', NSUPDATE_PORT = '{}' }}\n{more}",
            self.scripts.path().join("update-dns.sh").display(),
            self.scripts.key().display(),
            self.bind.address().port()
        );
        Box::new(from_config(config(&toml), dns).await.expect("it is set up"))
    }

    fn told(&self) -> String {
        std::fs::read_to_string(self.scripts.path().join("update-dns.sh.log")).unwrap_or_default()
    }
}

#[async_trait]
impl conformance::World for World {
    async fn provider(&self) -> Box<dyn DcvProvider> {
        self.instance("", Some(dns_of(&self.bind))).await
    }
    fn name(&self, n: usize) -> String {
        format!("n{n}.{ZONE}")
    }
    /// Only the script knows, and has no way to say so.
    fn unserved_name(&self) -> Option<String> {
        None
    }
    async fn values(&self, kind: ProofKind, name: &str) -> Vec<String> {
        shown(self.bind.address(), kind, name).await
    }
    async fn plant(&self, kind: ProofKind, name: &str, value: &str) -> bool {
        plant(self.bind.address(), kind, name, value);
        true
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_behaves() {
    conformance::run(&World::start()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_script_hears_what_lego_would_say() {
    let world = World::start();
    let proofs = [txt(&format!("_dnsauth.{ZONE}"), "-value")];
    let provider = world.instance("mode = ''", None).await;
    let place = &provider.preflight(&proofs).await.expect("it can be done")[0];
    assert!(place.within.ends_with("update-dns.sh (exec)"), "{place:?}");
    assert_eq!(world.told(), "", "a preflight runs nothing");
    provider.present(&proofs).await.expect("presented");
    assert_eq!(dig(world.bind.address(), &[&format!("_dnsauth.{ZONE}"), "TXT"]), ["\"-value\""]);
    provider.retract(&proofs).await.expect("retracted");
    assert_eq!(world.told(), format!("present _dnsauth.{ZONE}. -value\ncleanup _dnsauth.{ZONE}. -value\n"));

    let raw = world.instance("mode = 'RAW'", Some(dns_of(&world.bind))).await;
    raw.present(&proofs).await.expect_err("this script knows no RAW mode");
    assert!(world.told().ends_with(&format!("\npresent -- {ZONE} _dnsauth -value\n")), "{}", world.told());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_is_not_told_again() {
    let world = World::start();
    let provider = world.instance("", Some(dns_of(&world.bind))).await;
    let proofs = [txt(&format!("_dnsauth.{ZONE}"), "once")];
    provider.present(&proofs).await.expect("presented");
    provider.present(&proofs).await.expect("presented again");
    assert_eq!(world.told().lines().count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delegated_dnsauth_is_proved_where_it_leads() {
    let world = World::start();
    nsupdate(world.bind.address(), &format!("update add _dnsauth.{ZONE} 60 CNAME proofs.{OTHER}."));
    let provider = world.instance("", Some(dns_of(&world.bind))).await;
    let proofs = [txt(&format!("_dnsauth.{ZONE}"), "delegated")];
    assert_eq!(provider.preflight(&proofs).await.expect("it can be done")[0].target, format!("proofs.{OTHER} TXT"));
    provider.present(&proofs).await.expect("presented");
    assert_eq!(dig(world.bind.address(), &[&format!("proofs.{OTHER}"), "TXT"]), ["\"delegated\""]);
    // The alias is gone by now; what was presented goes all the same.
    nsupdate(world.bind.address(), &format!("update delete _dnsauth.{ZONE} CNAME"));
    provider.retract(&proofs).await.expect("retracted");
    assert_eq!(world.bind.records(OTHER), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_told_in_the_servers_words() {
    let world = World::start();
    let wrong = "key \"dcv-key\" { algorithm hmac-sha256; secret \"cGxhbnRlZC1zZWNyZXQ=\"; };\n";
    std::fs::write(world.scripts.key(), wrong).expect("another key");
    let provider = world.instance("", None).await;
    let error = provider.present(&[txt(&format!("_dnsauth.{ZONE}"), "v")]).await.expect_err("a wrong key");
    let text = error.to_string();
    assert!(text.contains("update-dns.sh") && text.contains("exit code 2"), "{text}");
    assert!(text.contains("BADSIG") && text.contains(&format!("_dnsauth.{ZONE}")), "{text}");
    assert_eq!((error.kind, error.retry), (ErrorKind::Rejected, Retry::Yes), "a script gives no reasons");
    assert_eq!(world.bind.records(ZONE), Vec::<String>::new());
}

/// As flock(1) teaches it.
#[tokio::test]
async fn a_script_that_locks_itself_is_not_in_its_own_way() {
    let scripts = Scripts::new();
    let script = "#!/bin/bash\n[ \"$LOCKED\" = \"$0\" ] || exec env LOCKED=\"$0\" flock -en \"$0\" \"$0\" \"$@\"\necho ran >\"$0.ran\"\n";
    let path = scripts.add("update-dns.sh", script);
    let provider = from_config(config(&format!("path = '{}'", path.display())), None).await.expect("it is set up");
    provider.present(&[txt("_dnsauth.example.com", "v")]).await.expect("presented");
    assert!(scripts.path().join("update-dns.sh.ran").exists());
}

#[tokio::test]
async fn mistakes_in_the_configuration_are_named() {
    for (toml, part) in [
        ("path = '/no/such/program'", "path: `/no/such/program`"),
        ("path = '/etc/passwd'", "chmod +x"),
        ("path = 'true'\ndeadline = 0", "deadline: 0"),
        ("path = 'true'\nenv = { T = { env = 'DCV_NO_SUCH_VARIABLE' } }", "env.T: "),
    ] {
        let error = from_config(config(toml), None).await.expect_err(toml);
        assert_eq!(error.kind, ErrorKind::Config, "{error}");
        assert!(error.to_string().contains(part), "{error}");
    }
    from_config(config("path = 'true'\nmode = 'RAW'"), None).await.expect("lego's mode is understood");
    assert!(toml::from_str::<dcv_bridge::exec::Config>("path = 'true'\nmode = 'raw?'").is_err());
    let example = DESCRIPTOR.example.replacen("type = \"exec\"\n", "", 1);
    config::<dcv_bridge::exec::Config>(&example);
}
