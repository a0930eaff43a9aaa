//! The PowerDNS provider on a real PowerDNS.

use async_trait::async_trait;
use dcv_powerdns::{Editor, PowerDns as Provider};
use dcv_provider::{DcvProvider, ErrorKind, Proof, ProofKind, conformance, zone::ZoneProvider};
use dcv_tests::{
    daemon::shown,
    powerdns::{API_KEY, PowerDns},
};

const ZONE: &str = "pdns-example.com";

struct World(PowerDns);

impl World {
    fn instance(&self, key: &str) -> Provider {
        ZoneProvider::new(Editor::new(self.0.api(), key.to_owned().into()).expect("it builds"), None)
    }
}

#[async_trait]
impl conformance::World for World {
    async fn provider(&self) -> Box<dyn DcvProvider> {
        Box::new(self.instance(API_KEY))
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
        match kind {
            ProofKind::Txt => self.0.set(ZONE, name, "TXT", &[&format!("\"{value}\"")]).await,
            _ => self.0.set(ZONE, name, "CNAME", &[&format!("{value}.")]).await,
        }
        true
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_behaves() {
    let world = World(PowerDns::start(&[ZONE, "other-example.net"]).await);
    conformance::run(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_is_found_before_anything_is_written() {
    let world = World(PowerDns::start(&[ZONE]).await);
    let proofs = [Proof::Txt { name: format!("k.{ZONE}"), value: "v".to_owned() }];
    let error = world.instance("planted-wrong-key").preflight(&proofs).await.expect_err("a wrong key");
    assert_eq!(error.kind, ErrorKind::Credentials, "{error}");
    assert!(error.to_string().contains("401") && error.to_string().contains("api_key"), "{error}");
    assert!(!error.to_string().contains("planted"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_in_the_way_is_reported_in_the_servers_words() {
    let world = World(PowerDns::start(&[ZONE]).await);
    let name = format!("taken.{ZONE}");
    world.0.set(ZONE, &name, "A", &["192.0.2.7"]).await;
    let proofs = [Proof::Cname { name, target: "v.dcv.digicert.com".to_owned() }];
    let error = world.instance(API_KEY).present(&proofs).await.expect_err("an address is in the way");
    assert_eq!(error.kind, ErrorKind::Rejected, "{error}");
    assert!(error.to_string().contains("422"), "{error}");
}
