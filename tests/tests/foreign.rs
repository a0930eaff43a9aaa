//! Foreign witnesses. Clients that others wrote for CertCentral are run against the sandbox: scripts in `tests/foreign`
//! drive the real packages where Python can, and send what the others send where not. And answers that were recorded from
//! the real service, or are read by others who talk to it, are given to our client.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use certcentral_sandbox::{Config, account::Approval};
use dcv_tests::world::{API_KEY, ORGANIZATION, TSIG_NAME, TSIG_SECRET, World};
use tokio::process::Command;

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Python with the clients in it.
fn python() -> PathBuf {
    let python = root().join("target/foreign/bin/python");
    assert!(python.exists(), "{} is missing: tests/run installs it", python.display());
    python
}

/// Runs one script against a sandbox and DNS server of its own.
async fn run(script: &str, configure: impl FnOnce(&mut Config)) {
    let world = World::start_with(&["example.com", "example.net"], configure).await;
    let address = world.address();
    let mut command = Command::new(python());
    command
        .arg(root().join("tests/foreign").join(script))
        .env_remove("PYTHONPATH")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("NO_PROXY", "*")
        .env("CERTCENTRAL_URL", &address.ca)
        .env("CERTCENTRAL_KEY", API_KEY)
        .env("CERTCENTRAL_ORGANIZATION", ORGANIZATION.to_string())
        .env("DNS_SERVER", address.dns.to_string())
        .env("TSIG_NAME", TSIG_NAME)
        .env("TSIG_SECRET", TSIG_SECRET)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(90), command.output()).await;
    let output = output.expect("the script ends").expect("Python starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let refused: Vec<_> = world.sandbox.requests_seen().into_iter().filter(|seen| seen.status >= 400).collect();
    assert!(
        output.status.success(),
        "{script}:\n{}{}\nrefused: {refused:#?}",
        text(&output.stdout),
        text(&output.stderr)
    );
}

fn as_ordered(_: &mut Config) {}

/// The account of clients that never say `skip_approval`.
fn approves_by_itself(config: &mut Config) {
    config.approval = Approval::Automatic;
}

macro_rules! clients {
    ($($name:ident = $script:literal, $configure:expr;)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            run($script, $configure).await;
        }
    )*};
}

clients! {
    certmesh = "certmesh_client.py", as_ordered;
    digicert_client = "digicert_client_package.py", as_ordered;
    express_install = "express_install.py", as_ordered;
    infisical = "infisical.py", as_ordered;
    jupiterone = "jupiterone.py", as_ordered;
    keyfactor = "keyfactor.py", as_ordered;
    lemur = "lemur_plugin.py", approves_by_itself;
    marqeta = "marqeta.py", approves_by_itself;
    myklst = "myklst.py", approves_by_itself;
    pkix = "pkix.py", approves_by_itself;
    ribose = "ribose.py", as_ordered;
    sapcc = "sapcc.py", as_ordered;
    venafi = "venafi.py", approves_by_itself;
}
