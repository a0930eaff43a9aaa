//! Plugins in C and in Rust, in this process and in one of their own, behaving and misbehaving.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use dcv_plugin::{Isolated, Plugin, host};
use dcv_provider::{DcvProvider, ErrorKind, Proof, ProofKind};
use serde_json::json;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// Compiles the example in C, with or without a macro.
fn c_plugin(dir: &Path, define: Option<&str>) -> PathBuf {
    let library = dir.join(format!("libledger{}.so", define.unwrap_or_default()));
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-I"]).arg(format!("{ROOT}/crates/dcv-plugin/include"));
    cc.args(define.map(|name| format!("-D{name}")))
        .arg("-o")
        .arg(&library)
        .arg(format!("{ROOT}/examples/plugin-c/plugin.c"));
    assert!(cc.status().expect("cc runs; tests/run installs it").success());
    library
}

/// Builds the example in Rust, beside this test.
fn rust_plugin() -> PathBuf {
    let dir = std::env::current_exe().expect("our own path");
    let dir = dir.parent().and_then(Path::parent).expect("target/PROFILE");
    let status = dcv_tests::unmarked(&mut Command::new(env!("CARGO")))
        .args(["build", "--quiet", "--offline", "-p", "dcv-example-plugin", "--target-dir"])
        .arg(dir.parent().expect("target"))
        .current_dir(ROOT)
        .status()
        .expect("cargo runs");
    assert!(status.success());
    dir.join("libdcv_example_plugin.so")
}

fn proofs() -> Vec<Proof> {
    vec![Proof::Txt { name: "_dnsauth.example.com".to_owned(), value: "v1".to_owned() }]
}

/// The command of a host process.
fn host_of(library: &Path) -> Vec<OsString> {
    vec![env!("CARGO_BIN_EXE_dcv-plugin-host").into(), library.into()]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_in_c_is_loaded_and_called() {
    let dir = tempfile::tempdir().expect("a folder");
    let ledger = dir.path().join("ledger");
    let plugin = Plugin::load(&c_plugin(dir.path(), None), None).expect("loaded");
    assert_eq!((plugin.descriptor().id, plugin.descriptor().proofs), ("ledger", &[ProofKind::Txt][..]));
    let provider = plugin.open(json!({ "file": ledger })).await.expect("opened");
    assert_eq!(provider.preflight(&proofs()).await.expect("places")[0].within, "the ledger");
    provider.present(&proofs()).await.expect("presented");
    provider.retract(&proofs()).await.expect("retracted");
    let lines = std::fs::read_to_string(&ledger).expect("a ledger");
    let verbs: Vec<_> = lines.lines().map(|line| line.contains("\"verb\":\"present\"")).collect();
    assert_eq!(verbs, [true, false]);
    assert!(lines.contains(r#"{"kind":"txt","name":"_dnsauth.example.com","value":"v1"}"#), "{lines}");

    let error = plugin.open(json!({})).await.expect_err("no file");
    assert_eq!((error.kind, error.message.as_str()), (ErrorKind::Config, "file: it is missing; name the ledger"));
    let mute = plugin.open(json!({ "file": ledger, "mode": "mute" })).await.expect("opened");
    assert_eq!(mute.present(&proofs()).await.expect_err("silence").kind, ErrorKind::Unavailable);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_of_ours_is_a_plugin_by_one_line() {
    let root = tempfile::tempdir().expect("a folder");
    let plugin = Plugin::load(&rust_plugin(), None).expect("loaded");
    assert_eq!(plugin.descriptor().id, "webroot");
    let provider = plugin.open(json!({ "root": root.path() })).await.expect("opened");
    let path = "/.well-known/pki-validation/fileauth.txt";
    let proofs = [Proof::File { host: "www.example.com".to_owned(), path: path.to_owned(), body: "v1".to_owned() }];
    provider.present(&proofs).await.expect("presented");
    let written = std::fs::read_to_string(root.path().join(&path[1..])).expect("a file");
    assert!(written.contains("v1"));
    provider.retract(&proofs).await.expect("retracted");
    assert!(!root.path().join(".well-known").exists());
    let error = plugin.open(json!({ "rot": 1 })).await.expect_err("no such field").to_string();
    assert!(error.contains("config: ") && error.contains("rot"), "{error}");
}

#[test]
fn what_is_no_plugin_or_another_one_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let library = c_plugin(dir.path(), None);
    let sum = host::sha256(&std::fs::read(&library).expect("a file"));
    Plugin::load(&library, Some(&sum.to_uppercase())).expect("the pinned one");
    let refusal = |path: &Path, pin: Option<&str>| Plugin::load(path, pin).expect_err("refused").to_string();
    let error = refusal(&library, Some(&"0".repeat(64)));
    assert!(error.contains(&sum) && error.contains("pin the new one"), "{error}");
    let error = refusal(&c_plugin(dir.path(), Some("OTHER_ABI")), None);
    assert!(error.contains("speaks ABI 99") && error.contains("this program speaks 1"), "{error}");
    assert!(refusal(Path::new("/no/such/plugin.so"), None).contains("check the path"));
    let text = dir.path().join("text.so");
    std::fs::write(&text, "not a library").expect("a file");
    assert!(refusal(&text, None).contains("cannot be loaded"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_of_its_own_process_may_crash_and_hang() {
    let dir = tempfile::tempdir().expect("a folder");
    let library = c_plugin(dir.path(), None);
    let ledger = dir.path().join("ledger");
    let start = async |mode: &str| {
        let config = json!({ "file": ledger, "mode": mode });
        Isolated::start(host_of(&library), config).await.expect("started").deadline(Duration::from_millis(700))
    };
    let good = start("").await;
    assert_eq!(good.descriptor().id, "ledger");
    good.present(&proofs()).await.expect("presented");
    for (mode, part) in [("crash", "signal: 11"), ("hang", "has not answered"), ("mute", "no answer")] {
        let provider = start(mode).await;
        let began = Instant::now();
        // Twice: the process is started anew after it has died.
        for _ in 0..2 {
            let error = provider.present(&proofs()).await.expect_err(mode);
            assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
            assert!(error.message.contains(part), "{mode}: {error}");
        }
        assert!(mode != "crash" || began.elapsed() < Duration::from_secs(2), "a crash is noticed at once");
    }
    good.retract(&proofs()).await.expect("the others go on");
    let error = Isolated::start(host_of(&library), json!({})).await.expect_err("no file");
    assert_eq!((error.kind, error.message.as_str()), (ErrorKind::Config, "file: it is missing; name the ledger"));
    let error = Isolated::start(host_of(Path::new("/no/such/plugin.so")), json!({})).await.expect_err("no plugin");
    assert!(error.message.contains("/no/such/plugin.so"), "{error}");
}

/// The header and the Rust side say the same.
#[test]
fn the_header_matches() {
    let header = include_str!("../include/dcv_plugin.h");
    assert!(header.contains(&format!("#define DCV_PLUGIN_ABI {}u", dcv_plugin::ABI)));
    let dir = tempfile::tempdir().expect("a folder");
    let (source, program) = (dir.path().join("size.c"), dir.path().join("size"));
    let text = "#include \"dcv_plugin.h\"\n#include <stdio.h>\nint main(void) { printf(\"%zu %zu %zu\", sizeof(struct dcv_plugin_v1), \
                offsetof(struct dcv_plugin_v1, open), offsetof(struct dcv_plugin_v1, close)); return 0; }\n";
    std::fs::write(&source, text).expect("a file");
    let mut cc = Command::new("cc");
    cc.arg("-I").arg(format!("{ROOT}/crates/dcv-plugin/include")).arg("-o").arg(&program).arg(&source);
    assert!(cc.status().expect("cc runs").success());
    let sizes = String::from_utf8(Command::new(&program).output().expect("it runs").stdout).expect("text");
    let (open, close) = (std::mem::offset_of!(host::Table, open), std::mem::offset_of!(host::Table, close));
    assert_eq!(sizes, format!("{} {open} {close}", size_of::<host::Table>()));
}

mod panicking {
    use async_trait::async_trait;
    use dcv_provider::{DcvProvider, Descriptor, Place, Proof, ProofKind, Result};

    struct Panicking;

    #[async_trait]
    impl DcvProvider for Panicking {
        fn descriptor(&self) -> &Descriptor {
            const { &DESCRIPTOR }
        }
        async fn preflight(&self, _: &[Proof]) -> Result<Vec<Place>> {
            Ok(Vec::new())
        }
        async fn present(&self, _: &[Proof]) -> Result<()> {
            panic!("a bug in the plugin")
        }
        async fn retract(&self, _: &[Proof]) -> Result<()> {
            Ok(())
        }
    }

    const DESCRIPTOR: Descriptor =
        Descriptor { id: "panicking", title: "", proofs: &[ProofKind::Txt], batch: "", options: &[], example: "" };

    pub(super) mod exported {
        use super::{DESCRIPTOR, Panicking};

        dcv_plugin::export_provider!(DESCRIPTOR, |_: serde_json::Value| async move { Ok(Panicking) });
    }
}

#[tokio::test(flavor = "multi_thread")]
#[expect(unsafe_code, reason = "a guest that is linked in")]
async fn a_panic_of_the_guest_is_an_error_of_the_call() {
    let table = panicking::exported::dcv_plugin(dcv_plugin::ABI);
    assert!(panicking::exported::dcv_plugin(dcv_plugin::ABI + 1).is_null(), "another ABI is refused");
    // SAFETY: the table of the guest above.
    let plugin = unsafe { Plugin::from_table(table, "linked in") }.expect("a plugin");
    let provider = plugin.open(json!({})).await.expect("opened");
    let error = provider.present(&proofs()).await.expect_err("a panic");
    assert!(error.message.contains("panicked: a bug in the plugin"), "{error}");
    provider.retract(&proofs()).await.expect("it goes on");
}
