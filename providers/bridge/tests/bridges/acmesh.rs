//! Scripts of acme.sh's kind, on a real BIND.
//!
//! acme.sh itself is in no package archive that tests may use. The script and the `acme.sh` here are written after its "DNS API Dev
//! Guide": the script removes whole record sets, as acme.sh's own `dns_nsupdate.sh` does; the `acme.sh` runs its arguments as
//! a command, shows its help without any, and keeps credentials in `account.conf`.

use async_trait::async_trait;
use dcv_bridge::acmesh::{DESCRIPTOR, from_config};
use dcv_provider::{DcvProvider, ErrorKind, ProofKind, conformance, dns::Dns};
use dcv_tests::{
    bind::Bind,
    daemon::{dig, nsupdate, shown},
};

use crate::{Scripts, config, dns_of, plant, txt};

const ZONE: &str = "acmesh-example.com";

const SCRIPT: &str = r#"#!/usr/bin/env sh
# dns_own_add   _acme-challenge.www.domain.com   "XKrxpRBosdIKFzxW_CT3KLZNf6q0HG9i01zxXp5CPBs"
dns_own_add() {
  fulldomain=$1
  txtvalue=$(printf '%s' "$2" | sed 's/[\\"]/\\&/g')
  _own_ready || return 1
  _saveaccountconf_mutable OWN_KEY "$OWN_KEY"
  _info "adding ${fulldomain}. 60 in txt \"${txtvalue}\""
  _own_send "update add ${fulldomain}. 60 in txt \"${txtvalue}\""
}

dns_own_rm() {
  fulldomain=$1
  _own_ready || return 1
  _own_send "update delete ${fulldomain}. txt"
}

_own_ready() {
  OWN_KEY="${OWN_KEY:-$(_readaccountconf_mutable OWN_KEY)}"
  if [ -z "$OWN_KEY" ] || [ ! -r "$OWN_KEY" ]; then
    _err "key '$OWN_KEY' is unreadable"
    return 1
  fi
}

_own_send() {
  if ! nsupdate -v -k "$OWN_KEY" <<EOF
server 127.0.0.1 $OWN_PORT
$1
send
EOF
  then
    _err "error updating domain"
    return 1
  fi
}
"#;

const ACME_SH: &str = r#"#!/usr/bin/env sh
_SCRIPT_="$0"
DEFAULT_USER_AGENT="acme.sh/test"
_info() { printf '[today] %s\n' "$1"; }
_err() { printf '[today] %s\n' "$1" >&2; return 1; }
_startswith() { echo "$1" | grep -- "^$2" >/dev/null 2>&1; }
_upper_hex() { tr a-f A-F; }
_hmac() { echo hmac; }
__initHome() { ACCOUNT_CONF_PATH="$LE_WORKING_DIR/account.conf"; echo "initialised"; }
_readaccountconf_mutable() { sed -n "s/^SAVED_$1='\(.*\)'$/\1/p" "$ACCOUNT_CONF_PATH"; }
_saveaccountconf_mutable() { echo "SAVED_$1='$2'" >>"$ACCOUNT_CONF_PATH"; }
showhelp() { touch "$(dirname "$_SCRIPT_")/main-has-run"; }
main() {
  [ -z "$1" ] && showhelp && return
  if _startswith "$1" '-'; then showhelp "$@"; else "$@"; fi
}
main "$@"
"#;

struct World {
    bind: Bind,
    scripts: Scripts,
}

impl World {
    fn start() -> Self {
        let scripts = Scripts::new();
        scripts.add("dns_own.sh", SCRIPT);
        scripts.add("acme.sh", ACME_SH);
        Self { bind: Bind::primary(&[ZONE]), scripts }
    }

    async fn instance(&self, more: &str, dns: Option<Dns>) -> Box<dyn DcvProvider> {
        let toml = format!(
            "script = '{}'\nenv.OWN_PORT = '{}'\n{more}",
            self.scripts.path().join("dns_own.sh").display(),
            self.bind.address().port()
        );
        Box::new(from_config(config(&toml), dns).await.expect("it is set up"))
    }

    fn key(&self) -> String {
        format!("env.OWN_KEY = '{}'", self.scripts.key().display())
    }

    fn acme_sh(&self) -> String {
        format!("acme_sh = '{}'", self.scripts.path().join("acme.sh").display())
    }
}

#[async_trait]
impl conformance::World for World {
    async fn provider(&self) -> Box<dyn DcvProvider> {
        self.instance(&self.key(), Some(dns_of(&self.bind))).await
    }
    fn name(&self, n: usize) -> String {
        format!("n{n}.{ZONE}")
    }
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

/// Though the script takes away every value at a name.
#[tokio::test(flavor = "multi_thread")]
async fn it_behaves() {
    conformance::run(&World::start()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn acme_sh_gives_helpers_and_saved_credentials_and_does_nothing_else() {
    let world = World::start();
    let saved = format!("SAVED_OWN_KEY='{}'\n", world.scripts.key().display());
    let account = world.scripts.path().join("account.conf");
    std::fs::write(&account, &saved).expect("what acme.sh has saved");
    // `_hmac` is nowhere but in acme.sh.
    let script = SCRIPT.replace("_own_ready() {", "_own_ready() {\n  [ \"$(_hmac)\" = hmac ] || return 1");
    world.scripts.add("dns_own.sh", &script);
    let provider = world.instance(&world.acme_sh(), None).await;
    let name = format!("_dnsauth.{ZONE}");
    let proofs = [txt(&name, "by-acme-sh")];
    let place = &provider.preflight(&proofs).await.expect("it can be done")[0];
    assert!(place.within.ends_with("dns_own.sh (acmesh)"), "{place:?}");
    assert_eq!(world.bind.records(ZONE), Vec::<String>::new(), "a preflight changes nothing");
    provider.present(&proofs).await.expect("presented");
    assert_eq!(dig(world.bind.address(), &[&name, "TXT"]), ["\"by-acme-sh\""]);
    provider.retract(&proofs).await.expect("retracted");
    assert_eq!(world.bind.records(ZONE), Vec::<String>::new());
    assert_eq!(std::fs::read_to_string(&account).expect("it is there"), saved, "nothing was saved");
    assert!(!world.scripts.path().join("main-has-run").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_named_before_anything_is_changed() {
    let world = World::start();
    let proofs = [txt(&format!("_dnsauth.{ZONE}"), "v")];
    let script = SCRIPT.replace("dns_own_rm()", "dns_own_remove()").replace("_info ", "_post x y; _info ");
    world.scripts.add("dns_own.sh", &script);
    for (more, parts) in [
        (world.key(), ["no such function: _post dns_own_rm", "acme_sh"]),
        (format!("{}\n{}", world.key(), world.acme_sh()), ["no such function: _post dns_own_rm", "dns_own.sh"]),
    ] {
        let provider = world.instance(&more, None).await;
        for error in [
            provider.preflight(&proofs).await.expect_err("functions are missing"),
            provider.present(&proofs).await.expect_err("functions are missing"),
        ] {
            assert_eq!(error.kind, ErrorKind::Config, "{error}");
            assert!(parts.iter().all(|part| error.to_string().contains(part)), "{error}");
        }
    }
    // A file that ends the shell with success has done nothing.
    world.scripts.add("dns_own.sh", "exit 0\n");
    let error = world.instance("", None).await.present(&proofs).await.expect_err("nothing was called");
    assert_eq!(error.kind, ErrorKind::Config, "{error}");
    assert_eq!(world.bind.records(ZONE), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_told_in_the_scripts_words_and_forgiven_if_the_value_is_gone() {
    let world = World::start();
    let provider = world.instance("env.OWN_KEY = '/no/such/key-planted'", Some(dns_of(&world.bind))).await;
    let name = format!("_dnsauth.{ZONE}");
    let proofs = [txt(&name, "v")];
    let error = provider.present(&proofs).await.expect_err("there is no key").to_string();
    assert!(error.contains("dns_own.sh` failed (exit code 1): key '[hidden]' is unreadable"), "{error}");
    assert!(error.contains(&name), "{error}");
    provider.retract(&proofs).await.expect("it was not there");
    nsupdate(world.bind.address(), &format!("update add {name} 60 TXT v"));
    provider.present(&proofs).await.expect("it is there");
    provider.retract(&proofs).await.expect_err("it is still there");
    assert_eq!(dig(world.bind.address(), &[&name, "TXT"]), ["\"v\""]);
}

#[tokio::test]
async fn mistakes_in_the_configuration_are_named() {
    let scripts = Scripts::new();
    let odd = scripts.add("dns-own.sh", SCRIPT).display().to_string();
    let own = scripts.add("dns_own.sh", SCRIPT).display().to_string();
    for (toml, part) in [
        ("script = '/no/such/dns_x.sh'".to_owned(), "script: `/no/such/dns_x.sh`"),
        (format!("script = '{odd}'"), "dns_NAME.sh"),
        (format!("script = '{own}'\nacme_sh = '/no/acme.sh'"), "acme_sh: `/no/acme.sh`"),
    ] {
        let error = from_config(config(&toml), None).await.expect_err(&toml);
        assert_eq!(error.kind, ErrorKind::Config, "{error}");
        assert!(error.to_string().contains(part), "{error}");
    }
    let example = DESCRIPTOR.example.replacen("type = \"acmesh\"\n", "", 1);
    config::<dcv_bridge::acmesh::Config>(&example);
}
