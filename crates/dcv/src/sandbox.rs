//! `dcv sandbox`: the offline CertCentral as a server of its own, until somebody stops it.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use certcentral_sandbox::{ApiKey, Config as Account, Role, Sandbox, dns, va};
use dcv_provider::dns::Dns;
use rand::Rng;
use secrecy::ExposeSecret;
use serde_json::json;

use crate::{
    args,
    exit::{Code, Failure, Result},
    run::interruptible,
    show::{BOLD, Screen},
};

const TSIG_KEY: &str = "dcv-key";
/// How a configuration begins that is ours to write over.
const WRITTEN: &str = "# Written by `dcv sandbox`";

/// Runs it.
pub(crate) async fn sandbox(screen: Screen, args: &args::Sandbox) -> Result<Code> {
    let mut account = match &args.account {
        Some(path) => read_account(path)?,
        None => Account::default(),
    };
    account.listen = args.listen;
    account.state_dir = args.state.clone().or(account.state_dir);
    account.tls |= args.tls;
    account.now = args.now.or(account.now);
    account.speed = args.speed.or(account.speed);
    account.mailbox = args.mailbox.clone().or(account.mailbox);
    account.faults.extend(args.fault.iter().cloned());
    if let Some(path) = &args.write_config
        && std::fs::read_to_string(path).is_ok_and(|text| !text.starts_with(WRITTEN))
    {
        let message = format!("`{}` is there already and not of a sandbox; choose another file", path.display());
        return Err(Failure::usage("--write-config", message));
    }
    if !args.key.is_empty() {
        account.keys = args.key.iter().map(|key| ApiKey::new(key, Role::Administrator)).collect();
    }
    let zones = if args.zone.is_empty() { None } else { Some(Zones::start(args).await?) };
    let asked = match &zones {
        Some(zones) => vec![zones.server.addr()],
        None if args.dns.is_empty() => Dns::system()
            .map_err(|error| Failure::usage("--dns", format!("{error}; name the servers the CA shall ask")))?
            .resolvers()
            .to_vec(),
        None => args.dns.clone(),
    };
    account.va =
        va::Config { http_port: args.http_port, https_port: args.https_port, ..va::Config::with_dns(asked.clone()) };
    let keys: Vec<String> = account.keys.iter().map(|key| key.key.expose_secret().to_owned()).collect();
    let organizations: Vec<(u64, String)> = account.organizations.iter().map(|o| (o.id, o.name.clone())).collect();
    let sandbox = Sandbox::start(account).await.map_err(|error| Failure::usage("sandbox", error))?;

    let label = |text: &str| screen.on_out(BOLD, format!("{text:<13}"));
    let mut lines = vec![format!("{} {}", label("base URL"), sandbox.base_url())];
    lines.extend(keys.iter().map(|key| format!("{} {key}", label("API key"))));
    lines.extend(organizations.iter().map(|(id, name)| format!("{} {id} {name}", label("organization"))));
    let servers: Vec<String> = asked.iter().map(ToString::to_string).collect();
    lines.push(format!("{} {}", label("the CA asks"), servers.join(", ")));
    if let Some(zones) = &zones {
        lines.push(format!("{} {}", label("zones"), args.zone.join(", ")));
        lines.push(format!("{} {TSIG_KEY} {} (hmac-sha256)", label("TSIG key"), zones.secret));
    }
    lines.push(format!("{} {}/root.pem\n{}", label("root"), sandbox.control_url(), sandbox.root_pem().trim_end()));
    screen.result(
        lines.join("\n"),
        json!({
            "result": "listening",
            "base_url": sandbox.base_url(),
            "control_url": sandbox.control_url(),
            "keys": keys,
            "organizations": organizations.iter().map(|(id, name)| json!({ "id": id, "name": name })).collect::<Vec<_>>(),
            "dns": asked,
            "tsig": zones.as_ref().map(|zones| json!({ "name": TSIG_KEY, "algorithm": "hmac-sha256", "secret": zones.secret })),
            "root_pem": sandbox.root_pem(),
        }),
    );
    if let Some(path) = &args.write_config {
        let organization = organizations.first().map(|(id, _)| *id);
        let wrong = |error: std::io::Error| Failure::usage("--write-config", format!("`{}`: {error}", path.display()));
        let root = if sandbox.base_url().starts_with("https:") {
            let root = std::path::absolute(path.with_extension("root.pem")).map_err(wrong)?;
            write_private(&root, &sandbox.root_pem()).map_err(wrong)?;
            Some(root)
        } else {
            None
        };
        let ca = (sandbox.base_url(), root.as_deref());
        let text = configuration(args, ca, &keys, organization, &asked, zones.as_ref());
        write_private(path, &text).map_err(wrong)?;
    }
    screen.note("Ctrl-C stops it");
    interruptible(std::future::pending::<()>()).await;
    sandbox.shutdown().await;
    if let Some(zones) = zones {
        zones.server.shutdown().await;
    }
    Ok(Code::Done)
}

/// A `dcv.toml` that orders here.
fn configuration(
    args: &args::Sandbox,
    (base_url, root): (String, Option<&Path>),
    keys: &[String],
    organization: Option<u64>,
    asked: &[SocketAddr],
    zones: Option<&Zones>,
) -> String {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let mut text = format!("{WRITTEN}, which writes it anew at each start.\n[ca]\nurl = {}\n", quoted(&base_url));
    let mut say = |line: String| text.extend([line.as_str(), "\n"]);
    if let Some(key) = keys.first() {
        say(format!("key = {}", quoted(key)));
    }
    if let Some(root) = root {
        say(format!("root = {}", quoted(&root.to_string_lossy())));
    }
    say("\n[defaults]\nproduct = \"ssl_basic\"".to_owned());
    if let Some(id) = organization {
        say(format!("organization = {id}"));
    }
    let resolvers: Vec<String> = asked.iter().map(|address| quoted(&address.to_string())).collect();
    say(format!("\n[state]\npath = \"journal.sqlite\"\n\n[dns]\nresolvers = [{}]", resolvers.join(", ")));
    if let Some(Zones { server, secret }) = zones {
        let address = server.addr();
        say(format!("authority_port = {}", address.port()));
        say(format!("\n[propagation]\nhttp_port = {}\nhttps_port = {}", args.http_port, args.https_port));
        say(format!("\n[provider.zones]\ntype = \"rfc2136\"\nserver = \"{address}\""));
        say(format!("tsig = {{ name = \"{TSIG_KEY}\", secret = {} }}", quoted(secret)));
        say("\n[route]".to_owned());
        args.zone.iter().for_each(|zone| say(format!("{} = \"zones\"", quoted(zone))));
    }
    text
}

/// Writes it for its owner only, and all at once: whoever waits for the file finds all of it.
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(text.as_bytes())?;
    file.persist(path).map(|_| ()).map_err(|error| error.error)
}

/// The embedded name server and the key for its updates. The key opens nothing else and ends with the process.
struct Zones {
    server: dns::Server,
    secret: String,
}

impl Zones {
    async fn start(args: &args::Sandbox) -> Result<Self> {
        let secret: [u8; 32] = rand::rng().random();
        let server = dns::Server::start(dns::Config {
            listen: args.zone_listen,
            zones: args.zone.clone(),
            tsig: Some(dns::TsigKey { name: TSIG_KEY.to_owned(), secret: secret.to_vec() }),
            web_addr: Some(Ipv4Addr::LOCALHOST),
        })
        .await
        .map_err(|error| Failure::usage("--zone-listen", error))?;
        Ok(Self { server, secret: STANDARD.encode(secret) })
    }
}

fn read_account(path: &Path) -> Result<Account> {
    let wrong = |message: String| Failure::usage("--account", format!("`{}`: {message}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    // The parser's own rendering would show the line, which may hold a key.
    toml::from_str(&text).map_err(|error| {
        let line =
            error.span().and_then(|span| text.get(..span.start)).map_or(1, |before| before.lines().count().max(1));
        wrong(format!("line {line}: {}", error.message()))
    })
}
