//! The suite for all providers, on a document root for each host.

use std::path::PathBuf;

use async_trait::async_trait;
use dcv_provider::{DcvProvider, ProofKind, conformance};
use dcv_webroot::{Config, Webroot};

struct World(tempfile::TempDir);

impl World {
    fn file(&self, host: &str) -> PathBuf {
        self.0.path().join(host).join(".well-known/pki-validation/fileauth.txt")
    }
}

#[async_trait]
impl conformance::World for World {
    async fn provider(&self) -> Box<dyn DcvProvider> {
        Box::new(Webroot::new(Config::new(self.0.path().join("{host}"))).expect("it builds"))
    }
    fn name(&self, n: usize) -> String {
        let host = format!("n{n}.web-example.com");
        std::fs::create_dir_all(self.0.path().join(&host)).expect("a document root");
        host
    }
    fn unserved_name(&self) -> Option<String> {
        None
    }
    async fn values(&self, _: ProofKind, name: &str) -> Vec<String> {
        std::fs::read_to_string(self.file(name)).into_iter().collect()
    }
    async fn plant(&self, _: ProofKind, name: &str, value: &str) -> bool {
        let file = self.file(name);
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("made");
        std::fs::write(file, value).expect("written");
        true
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_behaves() {
    conformance::run(&World(tempfile::tempdir().expect("a folder"))).await;
}
