//! `dcv quickstart`: the whole life of a certificate in seconds, with nothing but this program.
//!
//! An offline CertCentral and a name server are started on loopback ports, and a configuration is written as a user would
//! write one; then the very code of `dcv issue` runs between them. The CA really asks the name server, and what it signs is
//! verified against its root. Nothing leaves the machine, and everything but the output folder is gone afterwards.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use certcentral_sandbox::{ApiKey, Config as Account, Role, Sandbox, dns, va};
use dcv_core::{certificate::FULLCHAIN_FILE, name::DnsName};
use rand::Rng;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject};
use serde_json::json;

use crate::{
    args,
    config::Config,
    exit::{Code, Failure, Result},
    request::{is_pending_key, out_dir, read_names},
    run,
    show::{BOLD, DIM, GOOD, Screen},
};

/// The sandbox's root, beside the certificate. It also tells a folder of ours from one with a real certificate.
const ROOT_FILE: &str = "sandbox-root.pem";
/// Everything is on this machine, so what takes longer will not come at all.
const PATIENCE: Duration = Duration::from_secs(30);
const TSIG_KEY: &str = "quickstart";

/// Runs it.
pub(crate) async fn quickstart(screen: Screen, verbose: bool, args: &args::Quickstart) -> Result<Code> {
    let names = read_names(&args.names)?;
    let dir = out_dir(&args.out, &names[0])?;
    let is_in_use = std::fs::read_dir(&dir).is_ok_and(|mut entries| entries.next().is_some());
    if is_in_use && !dir.join(ROOT_FILE).exists() {
        let message = format!("`{}` holds files that are not of a quickstart; choose another folder", dir.display());
        return Err(Failure::usage("--out", message));
    }
    let private = tempfile::Builder::new().prefix("dcv-quickstart-").tempdir().map_err(|error| {
        let place = std::env::temp_dir();
        Failure::usage("TMPDIR", format!("no folder can be made in `{}`: {error}; name another", place.display()))
    })?;

    let step = |number: u8, text: &str| screen.note(format!("{} {text}", screen.on_err(BOLD, format!("{number}."))));
    let world = World::start(&names, private.path()).await?;
    step(
        1,
        &format!("An offline CertCentral at {} and a name server at {}", world.sandbox.base_url(), world.server.addr()),
    );
    let root = world.sandbox.root_pem();
    std::fs::create_dir_all(&dir).and_then(|()| std::fs::write(dir.join(ROOT_FILE), &root)).map_err(|error| {
        Failure::usage("--out", format!("`{}` cannot be written: {error}; choose another folder", dir.display()))
    })?;
    let toml = world.configuration(private.path());
    let config = Config::parse(&toml, &private.path().join("dcv.toml"))?;
    if verbose {
        screen.note(screen.on_err(DIM, toml.trim_end()));
    }

    step(2, &format!("dcv issue {}", args.names.join(" ")));
    let issue = args::Issue {
        names: args.names.clone(),
        certificate: args::Certificate {
            out: Some(dir.display().to_string()),
            way: args::Way { wait: Some(PATIENCE), ..args::Way::default() },
            ..args::Certificate::default()
        },
        ..args::Issue::default()
    };
    let result = run::issue(&config, screen, &issue).await;
    if !matches!(result, Ok(Code::Done)) {
        forget_keys(&dir);
    }
    let code = result.map_err(|failure| match failure.code {
        Code::Interrupted => {
            Failure::new(Code::Interrupted, "the quickstart's CA is gone, there is nothing to go on with")
        }
        _ => failure,
    })?;
    if code != Code::Done {
        return Ok(code);
    }
    verify(&dir, &root, &names).map_err(|message| Failure::new(Code::Unexpected, message))?;
    step(3, "Verified: the chain leads to the CA's root and is good for every name");
    let left = world.server.records();
    if !left.is_empty() {
        return Err(Failure::new(Code::LeftBehind, format!("left in the zone: {}", left.join("; "))));
    }
    let updates = world.server.update_count();
    step(4, &format!("Nothing is left in the zone, after {updates} updates"));
    world.stop().await;
    screen.result(
        format!("{} {}: cert.pem, chain.pem, fullchain.pem, privkey.pem", screen.on_out(GOOD, "files:"), dir.display()),
        json!({ "result": "verified", "dir": dir, "records_left": left, "dns_updates": updates }),
    );
    Ok(Code::Done)
}

/// Removes keys whose certificate will never come: the CA that was to sign it ends with this process.
fn forget_keys(dir: &Path) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if is_pending_key(&entry.file_name().to_string_lossy()) {
            // A file that stays is a nuisance, and no more.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// The CA and the name server.
struct World {
    sandbox: Sandbox,
    server: dns::Server,
}

impl World {
    async fn start(names: &[DnsName], private: &Path) -> Result<Self> {
        let cannot = |what: &str, error: &dyn std::fmt::Display| {
            Failure::new(Code::Unexpected, format!("the quickstart's {what} cannot start: {error}"))
        };
        // The zones above belong to the picture where there are any between a name and its top level: `co.uk`.
        let above = |name: &str| name.rmatch_indices('.').nth(1).map(|(dot, _)| name[dot + 1..].to_owned());
        let registrable = names.iter().map(DnsName::registrable);
        let mut zones: Vec<String> =
            registrable.flat_map(|name| [Some(name.to_owned()), above(name)]).flatten().collect();
        zones.sort();
        zones.dedup();
        let mut random = rand::rng();
        let tsig: [u8; 32] = random.random();
        let key: [u8; 16] = random.random();
        let key = key.map(|byte| format!("{byte:02x}")).concat();
        for (file, secret) in [("tsig", STANDARD.encode(tsig)), ("api-key", key.clone())] {
            write_private(&private.join(file), &secret).map_err(|error| cannot("folder", &error))?;
        }
        let server = dns::Server::start(dns::Config {
            zones,
            tsig: Some(dns::TsigKey { name: TSIG_KEY.to_owned(), secret: tsig.to_vec() }),
            ..dns::Config::default()
        })
        .await
        .map_err(|error| cannot("name server", &error))?;
        let sandbox = Sandbox::start(Account {
            keys: vec![ApiKey::new(&key, Role::Administrator)],
            va: va::Config::with_dns(vec![server.addr()]),
            ..Account::default()
        })
        .await
        .map_err(|error| cannot("CA", &error))?;
        Ok(Self { sandbox, server })
    }

    /// What a user would write; the servers are ours.
    fn configuration(&self, private: &Path) -> String {
        let file = |name: &str| toml::Value::from(private.join(name).display().to_string());
        let dns: SocketAddr = self.server.addr();
        let (api_key, tsig, journal) = (file("api-key"), file("tsig"), file("journal.sqlite"));
        let (url, port) = (self.sandbox.base_url(), dns.port());
        format!(
            r#"[ca]
url = "{url}"
key = {{ file = {api_key} }}

[defaults]
product = "ssl_basic"
organization = 10001

[state]
path = {journal}

[dns]
resolvers = ["{dns}"]
authority_port = {port}

[provider.quickstart]
type = "rfc2136"
server = "{dns}"
tsig = {{ name = "{TSIG_KEY}", secret = {{ file = {tsig} }} }}

[route]
"*" = "quickstart"
"#
        )
    }

    async fn stop(self) {
        self.sandbox.shutdown().await;
        self.server.shutdown().await;
    }
}

fn write_private(path: &PathBuf, secret: &str) -> std::io::Result<()> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(secret.as_bytes())
}

/// As a browser would: path to the root, purpose, time, names.
fn verify(dir: &Path, root: &str, names: &[DnsName]) -> std::result::Result<(), String> {
    let pem = std::fs::read(dir.join(FULLCHAIN_FILE)).map_err(|error| format!("{FULLCHAIN_FILE}: {error}"))?;
    let chain: Vec<CertificateDer<'_>> = CertificateDer::pem_slice_iter(&pem)
        .collect::<std::result::Result<_, _>>()
        .map_err(|error| format!("{FULLCHAIN_FILE}: {error:?}"))?;
    let root = CertificateDer::from_pem_slice(root.as_bytes()).map_err(|error| format!("the root: {error:?}"))?;
    let anchor = webpki::anchor_from_trusted_cert(&root).map_err(|error| format!("the root: {error}"))?;
    let (leaf, intermediates) = chain.split_first().ok_or_else(|| format!("{FULLCHAIN_FILE} is empty"))?;
    let leaf = webpki::EndEntityCert::try_from(leaf).map_err(|error| format!("the certificate: {error}"))?;
    leaf.verify_for_usage(
        webpki::ALL_VERIFICATION_ALGS,
        &[anchor],
        intermediates,
        UnixTime::now(),
        webpki::KeyUsage::server_auth(),
        None,
        None,
    )
    .map_err(|error| format!("the chain does not lead to the root: {error}"))?;
    for name in names {
        let host = name.as_str().replace('*', "any");
        let server = ServerName::try_from(host.as_str()).map_err(|error| format!("{name}: {error}"))?;
        leaf.verify_is_valid_for_subject_name(&server).map_err(|error| format!("not good for {name}: {error}"))?;
    }
    Ok(())
}
