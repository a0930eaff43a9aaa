//! Holds the "never"s of ARCHITECTURE.md, by what cargo says the crates depend on.

use std::{collections::BTreeMap, process::Command};

use serde_json::Value;

/// Ordinary (not dev) dependencies of each workspace member on other members.
fn our_dependencies(metadata: &Value) -> BTreeMap<String, Vec<String>> {
    let members: Vec<&Value> = metadata["packages"].as_array().expect("packages").iter().collect();
    let ours: Vec<&str> = members.iter().filter_map(|p| p["name"].as_str()).collect();
    members
        .iter()
        .map(|package| {
            let dependencies = package["dependencies"].as_array().expect("dependencies");
            let ordinary = dependencies
                .iter()
                .filter(|d| d["kind"].is_null())
                .filter_map(|d| d["name"].as_str())
                .filter(|name| ours.contains(name))
                .map(str::to_owned)
                .collect();
            (package["name"].as_str().expect("name").to_owned(), ordinary)
        })
        .collect()
}

fn metadata(extra: &[&str]) -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--offline", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .args(extra)
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo writes JSON")
}

#[test]
fn data_flows_one_way() {
    let metadata = metadata(&["--no-deps"]);
    let dependencies = our_dependencies(&metadata);
    for (package, ours) in &dependencies {
        let allowed: &[&str] = match package.as_str() {
            "certcentral" | "certcentral-sandbox" | "dcv-provider" => &[],
            "dcv-core" => &["certcentral", "dcv-provider"],
            "dcv-journal-postgres" => &["dcv-core"],
            // The program and what stands around it may use everything.
            "dcv" | "dcv-examples" | "dcv-example-plugin" | "dcv-provider-plugin" | "dcv-tests" | "dcv-tests-fuzz" => {
                continue;
            }
            _provider => &["dcv-provider"],
        };
        let forbidden: Vec<&String> = ours.iter().filter(|name| !allowed.contains(&name.as_str())).collect();
        assert!(forbidden.is_empty(), "{package} must not depend on {forbidden:?}");
    }
    assert!(dependencies.contains_key("dcv-rfc2136"), "the providers are members of the workspace");
}

#[test]
fn the_core_knows_no_dns_host_by_name() {
    let core = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/dcv-core/src");
    let mut folders = vec![std::path::PathBuf::from(core)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("the core's sources").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).expect("a source file").to_lowercase();
            for host in ["route53", "cloudflare", "powerdns", "rfc2136", "azure", "webroot"] {
                assert!(!text.contains(host), "{} names {host}", path.display());
            }
        }
    }
}

#[test]
fn one_tls_stack_and_one_crypto_library() {
    let lock = include_str!("../../Cargo.lock");
    for banned in ["aws-lc-sys", "aws-lc-rs", "openssl-sys", "native-tls"] {
        assert!(!lock.contains(&format!("name = \"{banned}\"")), "{banned} is in Cargo.lock");
    }
}
