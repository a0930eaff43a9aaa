//! Providers of ours as plugins: built as such, loaded, and asked who they are. That all of them compile is seen by the lints, which
//! check every feature at once.

use std::{path::Path, process::Command};

use dcv_plugin::Plugin;
use serde_json::json;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

#[tokio::test(flavor = "multi_thread")]
async fn they_are_built_loaded_and_asked() {
    let dir = std::env::current_exe().expect("our own path");
    let dir = dir.parent().and_then(Path::parent).expect("target/PROFILE");
    let folder = tempfile::tempdir().expect("a folder");
    for (feature, id) in [("webroot", "webroot"), ("powerdns", "powerdns")] {
        let status = dcv_tests::unmarked(&mut Command::new(env!("CARGO")))
            .args(["build", "--quiet", "--offline", "-p", "dcv-provider-plugin", "--features", feature, "--target-dir"])
            .arg(dir.parent().expect("target"))
            .current_dir(ROOT)
            .status()
            .expect("cargo runs");
        assert!(status.success(), "{feature}");
        // A library that is loaded stays what it was when the file is replaced only if it has a file of its own.
        let library = folder.path().join(format!("lib{feature}.so"));
        std::fs::copy(dir.join("libdcv_provider_plugin.so"), &library).expect("a copy");
        let plugin = Plugin::load(&library, None).unwrap_or_else(|error| panic!("{feature}: {error}"));
        assert_eq!(plugin.descriptor().id, id);
        let Err(error) = plugin.open(json!({ "no-such-field": 1 })).await else {
            panic!("{feature}: no configuration")
        };
        assert!(error.to_string().contains("no-such-field"), "{feature}: {error}");
    }
}
