//! The provider on Knot, and where things stand in its way on BIND.

use std::{
    net::SocketAddr,
    time::{Duration, Instant, SystemTime},
};

use async_trait::async_trait;
use dcv_provider::{DcvProvider, ErrorKind, Proof, ProofKind, Retry, conformance};
use dcv_rfc2136::{Builder, Rfc2136, builder};
use dcv_tests::{
    bind::Bind,
    daemon::{Silent, dig, nsupdate, shown},
    knot::Knot,
    world::{TSIG_NAME, TSIG_SECRET},
};

const ZONE: &str = "own-example.com";

fn signed(server: SocketAddr) -> Builder {
    builder(server.to_string()).tsig(TSIG_NAME, TSIG_SECRET.to_owned().into())
}

fn provider(server: SocketAddr) -> Rfc2136 {
    signed(server).build().expect("it builds")
}

fn txt(name: &str, value: &str) -> Proof {
    Proof::Txt { name: name.to_owned(), value: value.to_owned() }
}

fn cname(name: &str, target: &str) -> Proof {
    Proof::Cname { name: name.to_owned(), target: target.to_owned() }
}

struct OnKnot(Knot);

#[async_trait]
impl conformance::World for OnKnot {
    async fn provider(&self) -> Box<dyn DcvProvider> {
        Box::new(provider(self.0.address()))
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
    /// Knot stores the names in a record's data in lower case.
    fn keeps_case(&self) -> bool {
        false
    }
    async fn plant(&self, kind: ProofKind, name: &str, value: &str) -> bool {
        let data = if kind == ProofKind::Txt { format!("TXT \"{value}\"") } else { format!("CNAME {value}.") };
        nsupdate(self.0.address(), &format!("update add {name} 300 {data}"));
        true
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_behaves_on_knot_too() {
    conformance::run(&OnKnot(Knot::primary(&[ZONE]))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn knot_says_what_is_wrong_with_a_key() {
    let knot = Knot::primary(&[ZONE]);
    let build = |name: &str, algorithm: &str, secret: &str| {
        let builder = builder(knot.address().to_string());
        builder.tsig_with(name, algorithm, secret.to_owned().into()).build().expect("it builds")
    };
    let unsigned = builder(knot.address().to_string()).build().expect("it builds");
    for (provider, part) in [
        (build(TSIG_NAME, "hmac-sha256", "cGxhbnRlZC1zZWNyZXQ="), "BADSIG"),
        (build("other-key", "hmac-sha256", TSIG_SECRET), "BADKEY"),
        (build(TSIG_NAME, "hmac-sha512", TSIG_SECRET), "BADKEY"),
        (unsigned, ""),
    ] {
        let proofs = [txt(&format!("k.{ZONE}"), "v")];
        for error in [
            provider.preflight(&proofs).await.expect_err("a wrong key"),
            provider.present(&proofs).await.expect_err("a wrong key"),
        ] {
            assert_eq!(error.kind, ErrorKind::Credentials, "{error}");
            assert!(error.to_string().contains(part), "{part} in {error}");
            assert!(!error.to_string().contains("cGxhbnRl"), "{error}");
        }
    }
    assert_eq!(dig(knot.address(), &[&format!("k.{ZONE}"), "TXT"]), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_differ_are_called_that() {
    let skewed: fn() -> SystemTime = || SystemTime::now() - Duration::from_secs(3600);
    let (bind, knot) = (Bind::primary(&[ZONE]), Knot::primary(&[ZONE]));
    for server in [bind.address(), knot.address()] {
        let provider = signed(server).clock(skewed).build().expect("it builds");
        let proofs = [txt(&format!("t.{ZONE}"), "v")];
        for error in [
            provider.preflight(&proofs).await.expect_err("an old signature"),
            provider.present(&proofs).await.expect_err("an old signature"),
        ] {
            assert_eq!(error.kind, ErrorKind::Credentials, "{error}");
            assert!(error.to_string().contains("BADTIME") && error.to_string().contains("clocks"), "{error}");
        }
    }
}

/// The server would answer NOERROR and drop the text.
#[tokio::test(flavor = "multi_thread")]
async fn a_text_where_an_alias_stands_is_an_error_and_not_silently_lost() {
    let (bind, knot) = (Bind::primary(&[ZONE]), Knot::primary(&[ZONE]));
    for server in [bind.address(), knot.address()] {
        let taken = format!("_dnsauth.{ZONE}");
        nsupdate(server, &format!("update add {taken} 60 CNAME elsewhere.example.net."));
        let proofs = [txt(&format!("free.{ZONE}"), "v"), txt(&taken, "v")];
        let error = provider(server).present(&proofs).await.expect_err("an alias is in the way");
        assert_eq!(error.kind, ErrorKind::Rejected, "{error}");
        let text = error.to_string();
        assert!(text.contains(&taken) && text.contains("elsewhere.example.net"), "{text}");
        assert!(!text.contains("free."), "only what is in the way is named: {text}");
        assert_eq!(dig(server, &[&format!("free.{ZONE}"), "TXT"]), [""; 0], "all or nothing");
        provider(server).retract(&proofs).await.expect("nothing was presented");
        assert_eq!(dig(server, &[&taken, "CNAME"]), ["elsewhere.example.net."]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alias_needs_a_name_without_other_data() {
    let (bind, knot) = (Bind::primary(&[ZONE]), Knot::primary(&[ZONE]));
    for server in [bind.address(), knot.address()] {
        let provider = provider(server);
        let taken = format!("taken.{ZONE}");
        nsupdate(server, &format!("update add {taken} 60 TXT somebody-elses"));
        let ours = cname(&format!("_dnsauth.{ZONE}"), "token.dcv.digicert.com");
        provider.present(std::slice::from_ref(&ours)).await.expect("presented");
        let both = [ours.clone(), cname(&taken, "token.dcv.digicert.com")];
        let error = provider.present(&both).await.expect_err("a text is in the way");
        assert_eq!(error.kind, ErrorKind::Rejected, "{error}");
        assert!(error.to_string().contains(&taken), "{error}");
        assert_eq!(dig(server, &[&taken, "TXT"]), ["\"somebody-elses\""]);
        // Beside one that is there already, a new one is added.
        let both = [ours.clone(), cname(&format!("_dnsauth.shop.{ZONE}"), "token.dcv.digicert.com")];
        provider.present(&both).await.expect("presented");
        assert_eq!(dig(server, &[both[1].name(), "CNAME"]), ["token.dcv.digicert.com."]);
        provider.retract(&both).await.expect("retracted");
        assert_eq!(dig(server, &[ours.name(), "CNAME"]), [""; 0]);
    }
}

/// A signed question tells whether the key is known; what it may change only the UPDATE tells.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_without_the_right_is_told_which_way_out() {
    let bind = Bind::primary_with_policy(ZONE, &format!("grant {TSIG_NAME} subdomain _dnsauth.{ZONE}. ANY;"));
    let provider = provider(bind.address());
    let granted = [txt(&format!("_dnsauth.{ZONE}"), "v")];
    provider.present(&granted).await.expect("this much it may");
    provider.retract(&granted).await.expect("and this");
    let error = provider.present(&[txt(ZONE, "v")]).await.expect_err("more it may not");
    assert_eq!(error.kind, ErrorKind::Credentials, "{error}");
    for part in ["REFUSED", "update-policy", TSIG_NAME, ZONE] {
        assert!(error.to_string().contains(part), "{part} in {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn big_texts_share_a_name_and_a_longer_one_is_refused() {
    let bind = Bind::primary(&[ZONE]);
    let provider = provider(bind.address());
    let name = format!("big.{ZONE}");
    let proofs: Vec<Proof> = (0..40).map(|n| txt(&name, &format!("{n:0255}"))).collect();
    provider.present(&proofs).await.expect("presented");
    assert_eq!(bind.updates(), 1);
    assert_eq!(bind.records(ZONE).len(), proofs.len());
    provider.retract(&proofs[1..]).await.expect("retracted");
    assert_eq!(bind.records(ZONE).len(), 1, "the one that was not retracted stays");
    let error = provider.present(&[txt(&name, &"x".repeat(256))]).await.expect_err("too long for one string");
    assert_eq!(error.kind, ErrorKind::Rejected, "{error}");
    assert!(error.to_string().contains(&name) && error.to_string().contains("255"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_says_nothing_costs_one_deadline() {
    let silent = Silent::start();
    let provider = signed(silent.address()).zones([ZONE]).deadline(Duration::from_millis(200)).build();
    let provider = provider.expect("it builds");
    let began = Instant::now();
    let proofs: Vec<Proof> = (0..50).map(|n| txt(&format!("n{n}.{ZONE}"), "v")).collect();
    for error in
        [provider.preflight(&proofs).await.expect_err("silence"), provider.present(&proofs).await.expect_err("silence")]
    {
        assert_eq!((error.kind, error.retry), (ErrorKind::Unavailable, Retry::Yes), "{error}");
        let server = silent.address().to_string();
        assert!(error.to_string().contains(&server) && error.to_string().contains("200ms"), "{error}");
    }
    assert!(began.elapsed() < Duration::from_secs(2), "it took {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ttl_of_a_set_that_a_text_joins_stays() {
    let (bind, knot) = (Bind::primary(&[ZONE]), Knot::primary(&[ZONE]));
    for server in [bind.address(), knot.address()] {
        nsupdate(server, &format!("update add {ZONE} 3600 TXT \"v=spf1 -all\""));
        let ttls = |name: &str| {
            let lines = dig(server, &["+noshort", "+noall", "+answer", name, "TXT"]);
            lines.iter().filter_map(|line| line.split_whitespace().nth(1).map(str::to_owned)).collect::<Vec<_>>()
        };
        let alone = format!("_dnsauth.{ZONE}");
        let proofs = [txt(ZONE, "ours"), txt(&alone, "ours")];
        provider(server).present(&proofs).await.expect("presented");
        assert_eq!(ttls(ZONE), ["3600", "3600"]);
        assert_eq!(ttls(&alone), ["60"]);
        provider(server).retract(&proofs).await.expect("retracted");
        assert_eq!(ttls(ZONE), ["3600"]);
    }
}
