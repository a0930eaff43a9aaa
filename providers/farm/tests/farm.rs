//! A farm of document roots, some of which are away.

use std::{path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use dcv_farm::{DESCRIPTOR, Farm};
use dcv_provider::{
    DcvProvider, Descriptor, ErrorKind, Place, Proof, ProofKind, ProviderError, Result, Retry, conformance,
};
use dcv_webroot::{Config, Webroot};

const PATH: &str = "/.well-known/pki-validation/fileauth.txt";

fn proof(host: &str, body: &str) -> Proof {
    Proof::File { host: host.to_owned(), path: PATH.to_owned(), body: body.to_owned() }
}

fn webroot(root: impl Into<PathBuf>) -> Arc<dyn DcvProvider> {
    Arc::new(Webroot::new(Config::new(root)).expect("a provider"))
}

/// Three servers, each with a document root for each host.
struct Servers([tempfile::TempDir; 3]);

impl Servers {
    fn new() -> Self {
        Self(std::array::from_fn(|_| tempfile::tempdir().expect("a folder")))
    }

    fn farm(&self) -> Farm {
        let members = self.0.iter().map(|server| webroot(server.path().join("{host}")));
        Farm::new(members.collect()).expect("a farm")
    }

    fn serve(&self, host: &str) {
        for server in &self.0 {
            std::fs::create_dir_all(server.path().join(host)).expect("a document root");
        }
    }

    fn contents(&self, host: &str) -> Vec<Option<String>> {
        self.0.iter().map(|server| std::fs::read_to_string(server.path().join(host).join(&PATH[1..])).ok()).collect()
    }
}

#[async_trait]
impl conformance::World for Servers {
    async fn provider(&self) -> Box<dyn DcvProvider> {
        Box::new(self.farm())
    }
    fn name(&self, n: usize) -> String {
        let host = format!("n{n}.farm-example.com");
        self.serve(&host);
        host
    }
    fn unserved_name(&self) -> Option<String> {
        Some("unserved.farm-example.com".to_owned())
    }
    async fn values(&self, _: ProofKind, name: &str) -> Vec<String> {
        let contents = self.contents(name);
        assert!(contents.iter().all(|content| *content == contents[0]), "the servers differ: {contents:?}");
        contents.into_iter().next().flatten().into_iter().collect()
    }
    async fn plant(&self, _: ProofKind, name: &str, value: &str) -> bool {
        for server in &self.0 {
            let file = server.path().join(name).join(&PATH[1..]);
            std::fs::create_dir_all(file.parent().expect("a folder")).expect("made");
            std::fs::write(file, value).expect("written");
        }
        true
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_behaves() {
    conformance::run(&Servers::new()).await;
}

#[tokio::test]
async fn one_that_fails_is_named_and_the_rest_can_be_retracted() {
    let servers = Servers::new();
    servers.serve("example.com");
    std::fs::remove_dir(servers.0[1].path().join("example.com")).expect("removed");
    let (farm, proofs) = (servers.farm(), [proof("example.com", "token")]);
    let error = farm.present(&proofs).await.expect_err("one has no document root");
    assert_eq!(error.kind, ErrorKind::NotServed);
    let text = error.to_string();
    assert!(text.starts_with("1 of 3 targets failed: webroot 2: ") && text.contains("example.com"), "{text}");
    let written = Some("token".to_owned());
    assert_eq!(servers.contents("example.com"), [written.clone(), None, written], "the others have had their turn");

    assert!(farm.retract(&proofs).await.is_ok(), "retracting what is not there is no error");
    assert_eq!(servers.contents("example.com"), [None, None, None]);

    let error = farm.preflight(&proofs).await.expect_err("seen before, too");
    assert!(error.message.contains("webroot 2: "), "{error}");
}

/// Always fails in one way.
struct Broken(Descriptor, ErrorKind, Option<u64>);

impl Broken {
    fn error<T>(&self) -> Result<T> {
        let error = ProviderError::new(self.1, format!("broken: {:?}", self.1)).about(["http://example.com/"]);
        Err(match self.2 {
            Some(seconds) => error.retry_after(Duration::from_secs(seconds)),
            None => error,
        })
    }
}

#[async_trait]
impl DcvProvider for Broken {
    fn descriptor(&self) -> &Descriptor {
        &self.0
    }
    async fn preflight(&self, _: &[Proof]) -> Result<Vec<Place>> {
        self.error()
    }
    async fn present(&self, _: &[Proof]) -> Result<()> {
        self.error()
    }
    async fn retract(&self, _: &[Proof]) -> Result<()> {
        self.error()
    }
}

#[tokio::test]
async fn what_cannot_be_helped_by_waiting_decides_for_all() {
    use ErrorKind::{Credentials, RateLimited, Unavailable};
    for (members, kind, retry) in [
        (vec![(Unavailable, None)], Unavailable, Retry::Yes),
        (vec![(Unavailable, None), (Credentials, None)], Credentials, Retry::No),
        (vec![(RateLimited, Some(7)), (Unavailable, Some(30))], RateLimited, Retry::After(Duration::from_secs(30))),
        (vec![(RateLimited, Some(7)), (Unavailable, None)], RateLimited, Retry::After(Duration::from_secs(7))),
        (vec![(RateLimited, Some(7)), (Credentials, None)], Credentials, Retry::No),
    ] {
        let said = format!("{} of {} targets failed", members.len(), members.len());
        let broken = members
            .into_iter()
            .map(|(kind, wait)| Arc::new(Broken(dcv_webroot::DESCRIPTOR, kind, wait)) as Arc<dyn DcvProvider>);
        let farm = Farm::new(broken.collect()).expect("a farm");
        let error = farm.retract(&[proof("example.com", "v")]).await.expect_err("broken");
        assert_eq!((error.kind, error.retry), (kind, retry), "{error}");
        assert!(error.message.starts_with(&said), "{error}");
        assert_eq!(error.subjects, ["http://example.com/"], "each subject once");
    }
}

#[test]
fn a_wrong_list_of_members_is_told() {
    let here = webroot("/srv");
    let mut dns = dcv_webroot::DESCRIPTOR;
    (dns.id, dns.proofs) = ("rfc2136", &[ProofKind::Txt]);
    let dns: Arc<dyn DcvProvider> = Arc::new(Broken(dns, ErrorKind::Unavailable, None));
    let twice = [("web", &here), ("web", &here)];
    for (members, part) in [
        (&[][..], "there is none"),
        (&twice[..], "`web` is there twice"),
        (&[("ns", &dns)][..], "`ns` (rfc2136) cannot"),
    ] {
        let members = members.iter().map(|(name, provider)| ((*name).to_owned(), Arc::clone(provider)));
        let error = Farm::named(members).expect_err(part).to_string();
        assert!(error.starts_with("members: ") && error.contains(part), "{error}");
    }
    assert!(DESCRIPTOR.accepts(ProofKind::File));
}
