//! What one call of a plugin costs beyond what the plugin does: `cargo bench -p dcv-plugin`.
//!
//! Guests that only answer, in C and in Rust, in this process and in one of their own; the median and the 99th percentile of many calls with one
//! proof, and with a hundred.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use dcv_plugin::{Isolated, Plugin};
use dcv_provider::{DcvProvider, Proof};
use serde_json::json;

const CALLS: usize = 5000;
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

mod guest {
    use async_trait::async_trait;
    use dcv_provider::{DcvProvider, Descriptor, Place, Proof, ProofKind, Result};

    const DESCRIPTOR: Descriptor =
        Descriptor { id: "answers", title: "", proofs: &[ProofKind::Txt], batch: "", options: &[], example: "" };

    struct Answers;

    #[async_trait]
    impl DcvProvider for Answers {
        fn descriptor(&self) -> &Descriptor {
            const { &DESCRIPTOR }
        }
        async fn preflight(&self, proofs: &[Proof]) -> Result<Vec<Place>> {
            let place = |proof: &Proof| Place { target: proof.name().to_owned(), within: "nowhere".to_owned() };
            Ok(proofs.iter().map(place).collect())
        }
        async fn present(&self, _: &[Proof]) -> Result<()> {
            Ok(())
        }
        async fn retract(&self, _: &[Proof]) -> Result<()> {
            Ok(())
        }
    }

    dcv_plugin::export_provider!(DESCRIPTOR, |_: serde_json::Value| async move { Ok(Answers) });
}

fn proofs(count: usize) -> Vec<Proof> {
    let proof = |n| Proof::Txt { name: format!("_dnsauth.n{n}.example.com"), value: "v".repeat(32) };
    (0..count).map(proof).collect()
}

async fn measure(what: &str, provider: &dyn DcvProvider) {
    for count in [1, 100] {
        let proofs = proofs(count);
        let mut walls: Vec<Duration> = Vec::with_capacity(CALLS);
        for _ in 0..CALLS {
            let began = Instant::now();
            provider.preflight(&proofs).await.expect("an answer");
            walls.push(began.elapsed());
        }
        walls.sort();
        let at = |share: usize| walls[CALLS * share / 100].as_nanos() / 100;
        let [median, tail] = [50, 99].map(|share| format!("{}.{} µs", at(share) / 10, at(share) % 10));
        println!("{what:32} {count:>3} proofs: median {median}, 99 % within {tail}");
    }
}

#[expect(unsafe_code, reason = "a guest that is linked in")]
fn linked_in() -> Plugin {
    // SAFETY: the table of the guest above.
    unsafe { Plugin::from_table(guest::dcv_plugin(dcv_plugin::ABI), "linked in") }.expect("a plugin")
}

fn in_c(folder: &Path) -> std::path::PathBuf {
    let library = folder.join("libledger.so");
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-O2", "-I"]).arg(format!("{ROOT}/crates/dcv-plugin/include")).arg("-o").arg(&library);
    assert!(cc.arg(format!("{ROOT}/examples/plugin-c/plugin.c")).status().expect("cc runs").success());
    library
}

#[tokio::main]
async fn main() {
    let folder = tempfile::tempdir().expect("a folder");
    let library = in_c(folder.path());
    let config = json!({ "file": folder.path().join("ledger") });
    let loaded = Plugin::load(&library, None).expect("loaded").open(config.clone()).await.expect("opened");
    measure("in C, in this process", &loaded).await;
    measure("in Rust, in this process", &linked_in().open(json!({})).await.expect("opened")).await;
    let host = vec![env!("CARGO_BIN_EXE_dcv-plugin-host").into(), library.into()];
    measure("in C, in a process of its own", &Isolated::start(host, config).await.expect("started")).await;
}
