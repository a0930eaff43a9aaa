//! The RFC 2136 provider on a real BIND.

use async_trait::async_trait;
use dcv_provider::{DcvProvider, ErrorKind, Proof, ProofKind, conformance, dns::Dns};
use dcv_rfc2136::builder;
use dcv_tests::{
    bind::Bind,
    daemon::{dig, nsupdate, shown},
    world::{TSIG_NAME, TSIG_SECRET},
};

const ZONE: &str = "bind-example.com";
const OTHER: &str = "bind-delegated.net";

struct World(Bind);

impl World {
    fn dns(&self) -> Dns {
        Dns::new(vec![self.0.address()]).with_authority_port(self.0.address().port())
    }

    fn instance(&self) -> dcv_rfc2136::Rfc2136 {
        let builder = builder(self.0.address().to_string()).tsig(TSIG_NAME, TSIG_SECRET.to_owned().into());
        builder.dns(self.dns()).build().expect("it builds")
    }
}

#[async_trait]
impl conformance::World for World {
    async fn provider(&self) -> Box<dyn DcvProvider> {
        Box::new(self.instance())
    }
    fn name(&self, n: usize) -> String {
        format!("n{n}.{ZONE}")
    }
    fn unserved_name(&self) -> Option<String> {
        Some("www.unserved-example.org".to_owned())
    }
    async fn values(&self, kind: ProofKind, name: &str) -> Vec<String> {
        shown(self.0.address(), kind, name).await
    }
    async fn plant(&self, kind: ProofKind, name: &str, value: &str) -> bool {
        let data = if kind == ProofKind::Txt { format!("TXT \"{value}\"") } else { format!("CNAME {value}.") };
        nsupdate(self.0.address(), &format!("update add {name} 300 {data}"));
        true
    }
}

fn txt(name: &str, value: &str) -> Proof {
    Proof::Txt { name: name.to_owned(), value: value.to_owned() }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_behaves() {
    let world = World(Bind::primary(&[ZONE]));
    conformance::run(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zone_is_one_update_and_more_than_64_kib_are_two() {
    let world = World(Bind::primary(&[ZONE]));
    let provider = world.instance();
    let proofs = |count: usize, length: usize| -> Vec<Proof> {
        (0..count).map(|n| txt(&format!("m{n}.{ZONE}"), &"v".repeat(length))).collect()
    };
    let before = world.0.updates();
    provider.present(&proofs(100, 32)).await.expect("presented");
    provider.retract(&proofs(100, 32)).await.expect("retracted");
    assert_eq!(world.0.updates() - before, 2, "100 names: one to add, one to remove");
    let before = world.0.updates();
    provider.present(&proofs(400, 200)).await.expect("presented");
    assert_eq!(world.0.updates() - before, 2, "more than 65535 octets: two to add");
    assert_eq!(world.0.records(ZONE).len(), 400);
    provider.retract(&proofs(400, 200)).await.expect("retracted");
    assert_eq!(world.0.records(ZONE), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_is_found_before_anything_is_written_and_says_what_is_wrong() {
    let world = World(Bind::primary(&[ZONE]));
    let build = |name: &str, algorithm: &str, secret: &str| {
        builder(world.0.address().to_string())
            .tsig_with(name, algorithm, secret.to_owned().into())
            .build()
            .expect("it builds")
    };
    let unsigned = builder(world.0.address().to_string()).build().expect("it builds");
    for (provider, part) in [
        (build(TSIG_NAME, "hmac-sha256", "cGxhbnRlZC1zZWNyZXQ="), "BADSIG"),
        (build("other-key", "hmac-sha256", TSIG_SECRET), "BADKEY"),
        (build(TSIG_NAME, "hmac-sha512", TSIG_SECRET), "BAD"),
        (unsigned, "REFUSED"),
    ] {
        let proofs = [txt(&format!("k.{ZONE}"), "v")];
        for error in [
            provider.preflight(&proofs).await.expect_err("a wrong key"),
            provider.present(&proofs).await.expect_err("a wrong key"),
        ] {
            assert_eq!(error.kind, ErrorKind::Credentials, "{error}");
            let text = error.to_string().to_uppercase();
            assert!(text.contains(part), "{part} in {error}");
            assert!(!text.contains(&TSIG_SECRET.to_uppercase()) && !text.contains("CGXHBNRLZC"), "{error}");
        }
    }
    assert_eq!(world.0.records(ZONE), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delegated_dnsauth_is_proved_where_it_leads() {
    let world = World(Bind::primary(&[ZONE, OTHER]));
    nsupdate(world.0.address(), &format!("update add _dnsauth.{ZONE} 60 CNAME proofs.{OTHER}."));
    let provider = world.instance();
    let proofs = [txt(&format!("_dnsauth.{ZONE}"), "delegated")];
    let places = provider.preflight(&proofs).await.expect("it can be done");
    assert!(places[0].target.starts_with(&format!("proofs.{OTHER} ")), "{places:?}");
    provider.present(&proofs).await.expect("presented");
    assert_eq!(dig(world.0.address(), &[&format!("proofs.{OTHER}"), "TXT"]), ["\"delegated\""]);
    provider.retract(&proofs).await.expect("retracted");
    assert_eq!(world.0.records(OTHER), Vec::<String>::new());
    assert_eq!(world.0.records(ZONE).len(), 1, "the alias stays");
}
