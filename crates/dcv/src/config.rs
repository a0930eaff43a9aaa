//! `dcv.toml`: reading it, and saying where it is wrong.
//!
//! An error names file, line and field, what is wrong and the way out; the line itself is never shown, since it may hold a
//! secret. Fields are described in the configuration chapter of the documentation; everything has a default but what only
//! the customer can know. What a provider's own table may hold is the provider's business.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use certcentral::{Budget, Client, Contact, DcvScope};
use dcv_core::{
    CnameRule, Method, Placement, Route, Router, Settings, TokenSource, TxtOwner, key::KeyKind, name::DnsName,
    propagation::Policy,
};
use dcv_provider::{
    DcvProvider, ErrorKind,
    dns::{Dns, is_within},
    secret::Secret,
};
use jiff::civil::Date;
use serde::{Deserialize, de};
use toml::{Spanned, de::DeTable};

use crate::{
    args,
    exit::{Code, Failure, Result, code_of_provider, did_you_mean},
    journal::{self, Place},
    providers::Build,
};

use document::Document;
use fields::{ca_url, date, duration, fraction, lease, number_or_name, resolvers, scope, some_duration};
use unmade::Unmade;

mod document;
mod fields;
mod unmade;

pub(crate) use fields::text_as;

/// Everything that was configured, checked as far as it can be without asking anybody.
pub(crate) struct Config {
    ca: Ca,
    pub(crate) defaults: Defaults,
    state: State,
    dns: DnsSection,
    propagation: Propagation,
    providers: BTreeMap<String, Provider>,
    /// From suffix (empty: every name) to the names of providers.
    routes: BTreeMap<String, Vec<String>>,
    /// Contacts that go with each order.
    pub(crate) contacts: Vec<Contact>,
    pub(crate) webhook: Option<Webhook>,
    /// Certificates to keep, by their labels.
    pub(crate) certificates: BTreeMap<String, Kept>,
    pub(crate) keep: Keep,
    /// Whether there is a file.
    found: bool,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Wire {
    ca: Ca,
    defaults: Defaults,
    state: State,
    dns: DnsSection,
    propagation: Propagation,
    /// Read by [`Document::providers`]; here for the list of fields that an error gives.
    #[serde(rename = "provider")]
    _provider: de::IgnoredAny,
    route: BTreeMap<Spanned<String>, Targets>,
    #[serde(rename = "contact")]
    contacts: Vec<Contact>,
    webhook: Option<Webhook>,
    #[serde(rename = "certificate")]
    certificates: BTreeMap<String, Kept>,
    keep: Keep,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Ca {
    #[serde(deserialize_with = "ca_url")]
    url: String,
    key: Secret,
    /// Certificates that are trusted beside the system's, for a proxy that ends TLS or a sandbox.
    root: Option<PathBuf>,
}

impl Default for Ca {
    fn default() -> Self {
        Self { url: certcentral::US.to_owned(), key: Secret::Env { env: "DIGICERT_API_KEY".to_owned() }, root: None }
    }
}

/// What an order is made of when the command line does not say.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Defaults {
    pub(crate) product: Option<String>,
    /// Its number or its name.
    #[serde(deserialize_with = "number_or_name")]
    pub(crate) organization: Option<String>,
    pub(crate) method: Method,
    txt: TxtOwner,
    cname: CnameRule,
    pub(crate) tokens: TokenSource,
    #[serde(deserialize_with = "scope")]
    pub(crate) scope: Option<DcvScope>,
    pub(crate) key_type: KeyKind,
    pub(crate) out: Option<String>,
    validity_days: Option<u64>,
    validity_years: Option<u64>,
    #[serde(deserialize_with = "date")]
    valid_till: Option<Date>,
    #[serde(deserialize_with = "duration")]
    wait: Option<Duration>,
    pub(crate) skip_approval: Option<bool>,
    pub(crate) payment_method: Option<String>,
    pub(crate) division: Option<u64>,
}

impl Defaults {
    pub(crate) fn placement(&self) -> Placement {
        Placement { txt: self.txt, cname: self.cname }
    }

    pub(crate) fn validity(&self) -> args::Validity {
        args::Validity { days: self.validity_days, years: self.validity_years, last_day: self.valid_till }
    }
}

/// Where the journal is kept: in a file, or in a database.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct State {
    path: Option<PathBuf>,
    #[serde(deserialize_with = "journal::database")]
    journal: Option<journal::Database>,
    password: Option<Secret>,
    #[serde(deserialize_with = "lease")]
    lease: Option<Duration>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct DnsSection {
    #[serde(deserialize_with = "resolvers")]
    resolvers: Vec<SocketAddr>,
    authority_port: Option<u16>,
    #[serde(deserialize_with = "duration")]
    timeout: Option<Duration>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Propagation {
    enabled: Option<bool>,
    every_server: Option<bool>,
    #[serde(deserialize_with = "resolvers")]
    resolvers: Vec<SocketAddr>,
    rounds: Option<u32>,
    #[serde(deserialize_with = "duration")]
    give_up_after: Option<Duration>,
    http_port: Option<u16>,
    https_port: Option<u16>,
}

/// A certificate that is kept valid. What it does not say, the defaults do.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kept {
    pub(crate) names: Vec<String>,
    pub(crate) product: Option<String>,
    #[serde(default, deserialize_with = "number_or_name")]
    pub(crate) organization: Option<String>,
    pub(crate) method: Option<Method>,
    pub(crate) key_type: Option<KeyKind>,
    /// A key to be used again and again, instead of a new one for each certificate.
    pub(crate) key: Option<PathBuf>,
    pub(crate) out: Option<String>,
    /// Providers for this certificate only: as `--provider`.
    #[serde(default)]
    pub(crate) provider: Vec<String>,
    /// Life of each certificate in days.
    pub(crate) cert_days: Option<u64>,
    /// An order of the account that it comes from already.
    pub(crate) order: Option<u64>,
    /// Program and arguments, run after each new certificate.
    #[serde(default)]
    pub(crate) deploy: Vec<String>,
    #[serde(default, deserialize_with = "duration")]
    pub(crate) deploy_timeout: Option<Duration>,
}

/// How certificates and domains are kept.
#[derive(Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Keep {
    /// Domains to keep validated.
    pub(crate) domains: Vec<String>,
    /// For what.
    pub(crate) domain_types: Vec<String>,
    /// The part of a life that is left when something is replaced.
    #[serde(deserialize_with = "fraction")]
    pub(crate) left: f64,
    /// The part of a life by which work is spread before that.
    #[serde(deserialize_with = "fraction")]
    pub(crate) spread: f64,
    /// How often the plan is made anew.
    #[serde(deserialize_with = "some_duration")]
    pub(crate) interval: Duration,
    /// How many things are done at the same time.
    pub(crate) parallel: usize,
    /// Where metrics, health and the dashboard are served.
    pub(crate) listen: Option<SocketAddr>,
    /// What opens the dashboard, where it listens to more than this machine.
    pub(crate) token: Option<Secret>,
    /// The names by which browsers ask for the dashboard, beside addresses and `localhost`.
    pub(crate) hosts: Vec<String>,
    /// Program and arguments, run when a person has to act.
    pub(crate) notify: Vec<String>,
    /// What is posted to then.
    pub(crate) notify_url: Option<Secret>,
}

impl Default for Keep {
    fn default() -> Self {
        Self {
            domains: Vec::new(),
            domain_types: vec!["ov".to_owned()],
            left: 1.0 / 3.0,
            spread: 0.1,
            interval: Duration::from_secs(300),
            parallel: 16,
            listen: None,
            token: None,
            hosts: Vec::new(),
            notify: Vec::new(),
            notify_url: None,
        }
    }
}

/// Where CertCentral's webhook leads to.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Webhook {
    /// Plain HTTP: something in front of it has to speak HTTPS.
    pub(crate) listen: SocketAddr,
    /// What CertCentral sends with each event.
    pub(crate) secret: Secret,
}

/// One provider or several.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a provider's name, or a list of them")]
enum Targets {
    One(String),
    Several(Vec<String>),
}

/// A plugin that the configuration names.
#[derive(Clone, Debug)]
pub(crate) struct NamedPlugin {
    /// The provider's name.
    pub(crate) label: String,
    pub(crate) path: PathBuf,
    /// Whether its SHA-256 is pinned.
    pub(crate) pinned: Option<String>,
}

struct Provider {
    /// What it loads, where it is a plugin.
    plugin: Option<(PathBuf, Option<String>)>,
    /// `dcv.toml:12: provider.corp`, for errors that only show when it is built.
    place: String,
    /// The first field whose secret stands in the configuration itself.
    inline: Option<String>,
    build: Build,
}

impl Config {
    /// Reads the file that was asked for, else the first of the usual ones, else takes what needs none.
    pub(crate) fn load(asked: Option<&Path>) -> Result<Self> {
        let path = match asked {
            Some(path) => path.to_owned(),
            None => match usual_places().into_iter().find(|path| path.is_file()) {
                Some(path) => path,
                None => return Ok(Self { found: false, ..Self::parse("", Path::new("dcv.toml"))? }),
            },
        };
        let text = std::fs::read_to_string(&path).map_err(|error| {
            Failure::usage("config", format!("`{}` cannot be read: {error}; check the path", path.display()))
        })?;
        let config = Self::parse(&text, &path)?;
        config.check_mode(&path)?;
        Ok(config)
    }

    /// Reads a configuration; `path` is what errors call it.
    pub(crate) fn parse(text: &str, path: &Path) -> Result<Self> {
        let document = Document { text, path };
        let mut tree = DeTable::parse(text).map_err(|error| document.error("", error))?;
        let providers = match tree.get_mut().remove("provider") {
            Some(tables) => document.providers(tables)?,
            None => BTreeMap::new(),
        };
        let wire = Wire::deserialize(toml::Deserializer::from(tree)).map_err(|error| document.error("", error))?;
        let mut routes = BTreeMap::new();
        for (suffix, targets) in wire.route {
            let at = document.place(suffix.span(), &format!("route.\"{}\"", suffix.get_ref()));
            let targets = match targets {
                Targets::One(one) => vec![one],
                Targets::Several(several) => several,
            };
            for target in &targets {
                known_provider(&providers, target).map_err(|message| Failure::usage(&at, message))?;
            }
            routes.insert(route_suffix(suffix.get_ref()).map_err(|message| Failure::usage(&at, message))?, targets);
        }
        let Wire { ca, defaults, state, dns, propagation, contacts, webhook, certificates, keep, .. } = wire;
        if state.journal.is_some() && state.path.is_some() {
            let message = "path and journal contradict each other; keep one of them";
            return Err(Failure::usage(&format!("{}: state", path.display()), message));
        }
        check_inventory(&certificates, &keep)
            .map_err(|(field, message)| Failure::usage(&format!("{}: {field}", path.display()), message))?;
        let given = [
            ("validity_days", defaults.validity_days.is_some()),
            ("validity_years", defaults.validity_years.is_some()),
            ("valid_till", defaults.valid_till.is_some()),
        ];
        if let [first, second, ..] = given.iter().filter(|(_, given)| *given).collect::<Vec<_>>()[..] {
            let message = format!("{} and {} contradict each other; keep one of them", first.0, second.0);
            return Err(Failure::usage(&format!("{}: defaults", path.display()), message));
        }
        Ok(Self {
            ca,
            defaults,
            state,
            dns,
            propagation,
            providers,
            routes,
            contacts,
            webhook,
            certificates,
            keep,
            found: true,
        })
    }

    /// What to do about something that was not given; says where a configuration was looked for, where there is none.
    pub(crate) fn not_given(&self, way_out: &str) -> String {
        if self.found {
            return format!("none is given; {way_out}");
        }
        let places: Vec<String> = usual_places().iter().map(|path| path.display().to_string()).collect();
        format!("none is given, and there is no dcv.toml (looked for {}); {way_out}", places.join(", "))
    }

    /// A secret that stands in the file itself makes the file a secret.
    fn check_mode(&self, path: &Path) -> Result<()> {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(path).map_or(0, |meta| meta.permissions().mode() & 0o777);
        let password = self.state.journal.as_ref().is_some_and(journal::Database::has_password);
        let own = [
            ("ca.key", Some(&self.ca.key)),
            ("state.password", self.state.password.as_ref()),
            ("webhook.secret", self.webhook.as_ref().map(|webhook| &webhook.secret)),
            ("keep.token", self.keep.token.as_ref()),
            ("keep.notify_url", self.keep.notify_url.as_ref()),
        ];
        let own =
            own.into_iter().filter(|(_, secret)| matches!(secret, Some(Secret::Inline(_)))).map(|(field, _)| field);
        let own = own.chain(password.then_some("state.journal"));
        let providers = self.providers.values().filter_map(|provider| provider.inline.as_deref());
        if let Some(field) = own.chain(providers).next().filter(|_| mode & 0o037 != 0) {
            let message = format!(
                "the secret stands in `{0}`, which has mode {mode:04o}, so others can get at it; chmod 600 {0}, or write {{ file = … }}",
                path.display()
            );
            return Err(Failure::usage(field, message));
        }
        Ok(())
    }

    /// A client of the account.
    pub(crate) async fn client(&self) -> Result<Client> {
        self.client_within(Budget::default()).await
    }

    /// A client of the account whose calls count in this budget, which others may share.
    pub(crate) async fn client_within(&self, budget: Budget) -> Result<Client> {
        let key = self.ca.key.read("ca.key").await.map_err(|error| Failure::new(Code::Usage, error.to_string()))?;
        let agent = concat!("dcv/", env!("CARGO_PKG_VERSION"));
        let mut http = reqwest::Client::builder();
        if let Some(path) = &self.ca.root {
            let wrong = |error: &dyn std::fmt::Display| {
                Failure::usage("ca.root", format!("`{}`: {error}; name a file of certificates in PEM", path.display()))
            };
            let pem = std::fs::read(path).map_err(|error| wrong(&error))?;
            let roots = reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| wrong(&error))?;
            if roots.is_empty() {
                return Err(wrong(&"there is no certificate in it"));
            }
            http = http.tls_certs_merge(roots);
        }
        Client::builder(key)
            .http(http)
            .base_url(&self.ca.url)
            .user_agent(agent)
            .budget(budget)
            .build()
            .map_err(|error| Failure::new(Code::Usage, format!("ca: {error}")))
    }

    /// Where DNS questions go.
    pub(crate) fn dns(&self) -> Result<Dns> {
        let mut dns = if self.dns.resolvers.is_empty() {
            Dns::system().map_err(|error| {
                Failure::usage("dns.resolvers", format!("{error}; name resolvers in the configuration"))
            })?
        } else {
            Dns::new(self.dns.resolvers.clone())
        };
        if let Some(port) = self.dns.authority_port {
            dns = dns.with_authority_port(port);
        }
        if let Some(deadline) = self.dns.timeout {
            dns = dns.with_deadline(deadline);
        }
        Ok(dns)
    }

    /// The plugins that are named.
    pub(crate) fn plugins(&self) -> Vec<NamedPlugin> {
        let named = self.providers.iter().filter_map(|(label, provider)| {
            let (path, pinned) = provider.plugin.clone()?;
            Some(NamedPlugin { label: label.clone(), path, pinned })
        });
        named.collect()
    }

    /// How patient a run is.
    pub(crate) fn settings(&self, wait: Option<Duration>) -> Settings {
        let usual = Settings::default();
        let (wished, policy) = (&self.propagation, Policy::default());
        Settings {
            wait: wait.or(self.defaults.wait).unwrap_or(usual.wait),
            propagation: Policy {
                enabled: wished.enabled.unwrap_or(policy.enabled),
                every_server: wished.every_server.unwrap_or(policy.every_server),
                resolvers: wished.resolvers.clone(),
                rounds: wished.rounds.unwrap_or(policy.rounds),
                give_up_after: wished.give_up_after.unwrap_or(policy.give_up_after),
                web_ports: (
                    wished.http_port.unwrap_or(policy.web_ports.0),
                    wished.https_port.unwrap_or(policy.web_ports.1),
                ),
                ..policy
            },
            ..usual
        }
    }

    /// Where the journal is: as configured, else in a file where the system keeps state.
    pub(crate) fn journal(&self) -> Place<'_> {
        if let Some(database) = &self.state.journal {
            return Place::Database { database, password: self.state.password.as_ref(), lease: self.state.lease };
        }
        let home_state = || {
            let xdg = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
            let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
            xdg.or(home).map(|path| path.join("dcv/journal.sqlite"))
        };
        let configured = self.state.path.clone();
        let system = || PathBuf::from("/var/lib/dcv/journal.sqlite");
        Place::File(match configured {
            Some(path) => path,
            None if rustix::process::geteuid().is_root() && std::env::var_os("XDG_STATE_HOME").is_none() => system(),
            None => home_state().unwrap_or_else(system),
        })
    }

    /// The providers that these names may need, by suffix. Others are not built, so that their secrets need not be there.
    /// `overrides` are `PROVIDER` (for every name, instead of all routes) and `NAME=PROVIDER`.
    pub(crate) async fn router(&self, names: &[DnsName], overrides: &[String], dns: &Dns) -> Result<Router> {
        self.router_where(names, overrides, dns, |_, failure| Err(failure)).await
    }

    /// The same where a provider that cannot be made (its key cannot be read, say) is an error of whatever needs it, and of nothing else.
    pub(crate) async fn router_as_far_as_possible(
        &self,
        names: &[DnsName],
        overrides: &[String],
        dns: &Dns,
    ) -> Result<Router> {
        self.router_where(names, overrides, dns, |kind, failure| Ok(Unmade::instead(kind, failure))).await
    }

    async fn router_where(
        &self,
        names: &[DnsName],
        overrides: &[String],
        dns: &Dns,
        instead: impl Fn(ErrorKind, Failure) -> Result<Arc<dyn DcvProvider>>,
    ) -> Result<Router> {
        let mut routes = self.routes.clone();
        if routes.is_empty() && self.providers.len() == 1 {
            routes.insert(String::new(), self.providers.keys().cloned().collect());
        }
        let wrong = |message: String| Failure::usage("--provider", message);
        let everywhere: Vec<String> = overrides.iter().filter(|text| !text.contains('=')).cloned().collect();
        if !everywhere.is_empty() {
            routes = BTreeMap::from([(String::new(), everywhere)]);
        }
        let mut for_suffix: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (suffix, provider) in overrides.iter().filter_map(|text| text.split_once('=')) {
            for_suffix.entry(route_suffix(suffix).map_err(wrong)?).or_default().push(provider.to_owned());
        }
        routes.extend(for_suffix);

        let mut built: BTreeMap<&str, Route> = BTreeMap::new();
        let mut router = Router::new();
        for (suffix, labels) in &routes {
            if !names.iter().any(|name| concerns(suffix, name.base())) {
                continue;
            }
            for label in labels {
                let provider = known_provider(&self.providers, label).map_err(wrong)?;
                let route = if let Some(route) = built.get(label.as_str()) {
                    route.clone()
                } else {
                    let made = match (provider.build)(dns.clone()).await {
                        Ok(made) => made,
                        Err(error) => {
                            let message = format!("{}: {error}", provider.place);
                            instead(error.kind, Failure::new(code_of_provider(&error), message))?
                        }
                    };
                    let route = Route { label: label.clone(), provider: made };
                    built.insert(label, route.clone());
                    route
                };
                router.add(suffix, route);
            }
        }
        Ok(router)
    }
}

/// What can be found wrong with the inventory by looking at it.
fn check_inventory(certificates: &BTreeMap<String, Kept>, keep: &Keep) -> std::result::Result<(), (String, String)> {
    for (label, kept) in certificates {
        let field = |name: &str| format!("certificate.{label}.{name}");
        if kept.names.is_empty() {
            return Err((field("names"), "there are none; give at least one".to_owned()));
        }
        for name in &kept.names {
            DnsName::parse(name).map_err(|error| (field("names"), error.to_string()))?;
        }
        if keep.domains.contains(label) {
            return Err((field(""), format!("`{label}` is the name of a domain in keep.domains, too; choose another")));
        }
    }
    for name in &keep.domains {
        let parsed = DnsName::parse(name).map_err(|error| ("keep.domains".to_owned(), error.to_string()))?;
        if parsed.is_wildcard() {
            return Err(("keep.domains".to_owned(), format!("`{name}` is no domain; give `{}`", parsed.base())));
        }
    }
    if keep.parallel == 0 {
        return Err(("keep.parallel".to_owned(), "0 does nothing; give at least 1".to_owned()));
    }
    if keep.listen.is_some_and(|address| !address.ip().is_loopback()) && keep.token.is_none() {
        let message = "it is reached by others, so it needs keep.token; or listen on 127.0.0.1".to_owned();
        return Err(("keep.listen".to_owned(), message));
    }
    Ok(())
}

/// Whether proofs for `name` or its parents may be routed by `suffix`.
fn concerns(suffix: &str, name: &str) -> bool {
    let domain = suffix.strip_prefix("_dnsauth.").unwrap_or(suffix);
    suffix.is_empty() || is_within(name, domain)
}

fn known_provider<'p>(
    providers: &'p BTreeMap<String, Provider>,
    label: &str,
) -> std::result::Result<&'p Provider, String> {
    providers.get(label).ok_or_else(|| {
        let near = did_you_mean(label, providers.keys().map(String::as_str));
        format!("there is no provider `{label}`{near}; add [provider.{label}], `dcv providers` shows examples")
    })
}

/// A suffix as the router wants it: `*` and nothing are every name, Unicode becomes A-labels.
fn route_suffix(text: &str) -> std::result::Result<String, String> {
    let plain = text.strip_prefix("*.").unwrap_or(text).trim_end_matches('.').to_ascii_lowercase();
    if plain.is_empty() || plain == "*" {
        return Ok(String::new());
    }
    if !plain.is_ascii() {
        return DnsName::parse(&plain).map(|name| name.as_str().to_owned()).map_err(|error| error.to_string());
    }
    let legal =
        |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    if plain.split('.').all(legal) {
        Ok(plain)
    } else {
        Err(format!("`{text}` is no domain name; write the domain, or \"*\" for every name"))
    }
}

fn usual_places() -> Vec<PathBuf> {
    let xdg = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config"));
    let user = xdg.or(home).map(|path| path.join("dcv/dcv.toml"));
    [Some(PathBuf::from("dcv.toml")), user, Some(PathBuf::from("/etc/dcv/dcv.toml"))].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
[ca]
url = "eu"
key = { env = "DIGICERT_API_KEY" }
[defaults]
product = "ssl_basic"
organization = 123456
method = "dns-cname-token"
txt = "dnsauth"
scope = "fqdn"
key_type = "rsa3072"
out = "/etc/ssl/{name}"
valid_till = 2027-06-09
wait = "2h"
[state]
path = "/var/lib/dcv/j.sqlite"
[dns]
resolvers = ["127.0.0.1:5353", "192.0.2.1"]
authority_port = 5353
[propagation]
rounds = 2
give_up_after = "5m"
http_port = 8080
[provider.corp]
type = "rfc2136"
server = "ns1.corp.example:53"
[provider.corp.tsig]
name = "dcv-key"
algorithm = "hmac-sha256"
secret = { file = "/nowhere" }
[provider.web1]
type = "webroot"
root = "/srv/web"
[route]
"example.com" = "corp"
"*.Shop.example.com." = ["web1", "corp"]
"bücher.de" = "corp"
"*" = "corp"
"#;

    fn parse(text: &str) -> Result<Config> {
        Config::parse(text, Path::new("dcv.toml"))
    }

    #[test]
    fn everything_can_be_said() {
        let config = parse(GOOD).expect("it is good");
        assert_eq!(config.ca.url, certcentral::EU);
        assert_eq!(config.defaults.method, Method::DnsCnameToken);
        assert_eq!(config.defaults.scope, Some(DcvScope::Fqdn));
        assert_eq!(config.defaults.valid_till, Some(jiff::civil::date(2027, 6, 9)));
        assert_eq!(config.dns.resolvers[1], "192.0.2.1:53".parse().expect("an address"));
        assert!(matches!(config.journal(), Place::File(path) if path == Path::new("/var/lib/dcv/j.sqlite")));
        let settings = config.settings(None);
        assert_eq!((settings.wait.as_secs(), settings.propagation.rounds), (7200, 2));
        assert_eq!(settings.propagation.web_ports, (8080, 443));
        let suffixes: Vec<&str> = config.routes.keys().map(String::as_str).collect();
        assert_eq!(suffixes, ["", "example.com", "shop.example.com", "xn--bcher-kva.de"]);
        assert_eq!(config.settings(Some(Duration::from_secs(1))).wait.as_secs(), 1);
        assert!(parse("").is_ok());
    }

    #[test]
    fn mistakes_are_named_with_their_place_and_secrets_are_not() {
        let table: &[(&str, &[&str])] = &[
            ("[ca]\nurl = \"asia\"", &["dcv.toml:2: ca.url: ", "`asia`", "eu"]),
            ("[ca]\nkye = \"planted\"", &["dcv.toml:2: ca", "`kye`", "did you mean `key`"]),
            ("[ca]\nkey = \"planted", &["dcv.toml:2: "]),
            ("[ca]\nkey = { evn = \"planted\" }", &["dcv.toml:2: ca.key: a secret is written"]),
            (
                "[ca]\nkey = \"planted\"\n\n[defaults]\nproduct = 5",
                &["dcv.toml:5: defaults.product: ", "expected a string"],
            ),
            (
                "[defaults]\norganization = true",
                &["dcv.toml:2: defaults.organization: ", "true", "its number or its name"],
            ),
            ("[defaults]\nmethod = \"dns-txt\"", &["dcv.toml:2: defaults.method: ", "did you mean `dns-txt-token`"]),
            ("[defaults]\nkey_type = \"rsa1024\"", &["dcv.toml:2: defaults.key_type: ", "`rsa1024`", "rsa2048"]),
            ("[defaults]\nwait = \"10\"", &["dcv.toml:2: defaults.wait: `10` is no duration", "10m"]),
            ("[defaults]\nvalid_till = \"soon\"", &["dcv.toml:2: defaults.valid_till: `soon` is no date"]),
            ("[defaults]\nvalidity_days = 90\nvalidity_years = 1", &["validity_days and validity_years contradict"]),
            ("[dns]\nresolvers = [\"ns1\"]", &["dcv.toml:2: dns.resolvers", "`ns1` is no address", "192.0.2.1:53"]),
            ("[default]\n", &["dcv.toml:1: ", "`default`", "did you mean `defaults`"]),
            ("provider = 1", &["dcv.toml:1: provider: ", "[provider.NAME]"]),
            ("[provider.a]\nserver = \"x\"", &["dcv.toml:1: provider.a: `type` is missing", "rfc2136", "webroot"]),
            ("\n[provider.a]\ntype = \"rfc-2136\"", &["dcv.toml:3: provider.a.type: ", "did you mean `rfc2136`"]),
            (
                "[provider.a]\ntype = \"rfc2136\"\nsever = \"planted\"",
                &["dcv.toml:3: provider.a", "`sever`", "did you mean `server`"],
            ),
            ("[provider.a]\ntype = \"rfc2136\"", &["dcv.toml:1: provider.a: ", "missing field `server`"]),
            (
                "[provider.a]\ntype = \"rfc2136\"\nserver = \"s\"\ntsig = \"planted\"",
                &["dcv.toml:4: provider.a.tsig: ", "a string, expected"],
            ),
            (
                "[provider.corp]\ntype = \"webroot\"\nroot = \"/r\"\n[route]\n\"example.com\" = \"crop\"",
                &["dcv.toml:5: route.\"example.com\": ", "`crop`", "did you mean `corp`"],
            ),
            (
                "[state]\npath = \"j\"\njournal = \"mysql://u:planted@h/d\"",
                &["dcv.toml:3: state.journal: ", "postgres"],
            ),
            (
                "[keep]\nnotify = \"https://hooks.example/planted\"",
                &["dcv.toml:2: keep.notify: ", "a string, expected"],
            ),
            ("[webhook]\nsecret = [\"planted\"]", &["dcv.toml:2: webhook.secret: a secret is written"]),
            ("[state]\nlease = \"1s\"", &["dcv.toml:2: state.lease: 1s", "3s"]),
            ("[state]\npasswort = \"planted\"", &["dcv.toml:2: state", "`passwort`", "did you mean `password`"]),
            ("[state]\npath = { planted = 1 }", &["dcv.toml:2: state.path"]),
            ("[route]\n\"example.com\" = 5", &["dcv.toml:2: route.example.com", "a provider's name, or a list"]),
        ];
        for (text, parts) in table {
            let Err(failure) = parse(text) else { panic!("this was taken: {text}") };
            assert_eq!(failure.code, Code::Usage);
            assert!(!failure.message.contains('\n'), "more than a line: {}", failure.message);
            assert!(!failure.message.contains("planted"), "it shows a secret: {}", failure.message);
            for part in *parts {
                assert!(failure.message.contains(part), "`{part}` is missing in: {}", failure.message);
            }
        }
    }

    #[test]
    fn only_routes_that_may_be_asked_concern_a_name() {
        for (suffix, name, concerned) in [
            ("", "www.example.com", true),
            ("example.com", "www.example.com", true),
            ("com", "www.example.com", true),
            ("_dnsauth.example.com", "www.example.com", true),
            ("www.example.com", "example.com", false),
            ("ample.com", "www.example.com", false),
        ] {
            assert_eq!(concerns(suffix, name), concerned, "{suffix} {name}");
        }
    }
}
