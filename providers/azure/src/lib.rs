//! Azure DNS (API version 2018-05-01) as a `dcv` provider.
//!
//! Azure has no batch: each record set is a resource of its own, read and written on its own, several at once. What is there is
//! kept: other values, the TTL, the metadata. A set is written only if it still has the ETag that was read (`If-Match`), or
//! is still not there (`If-None-Match: *`); where another writer was faster, it is read and written again. A set of which no
//! value is left is deleted on the same condition. Private zones are never chosen: no CA sees them.
//!
//! # Credentials
//!
//! An application's secret (`tenant_id`, `client_id`, `client_secret`), a federated token of another issuer
//! (`federated_token_file`), or without both the managed identity of the machine, App Service included. What the configuration
//! does not give comes from the variables of Azure's own clients: `AZURE_SUBSCRIPTION_ID`, `AZURE_TENANT_ID`,
//! `AZURE_CLIENT_ID`, `AZURE_CLIENT_SECRET`, `AZURE_FEDERATED_TOKEN_FILE`, `AZURE_AUTHORITY_HOST`.
//!
//! The least role, to be assigned on the zones concerned, or, narrower still and with `zones` given, on single record sets. Its last
//! action lets a preflight tell whether the others are there, and may be left out:
//!
//! ```json
//! {
//!   "Name": "Domain control validation",
//!   "IsCustom": true,
//!   "Description": "Presents and retracts proofs of domain control",
//!   "Actions": [
//!     "Microsoft.Network/dnsZones/read",
//!     "Microsoft.Network/dnsZones/TXT/read",
//!     "Microsoft.Network/dnsZones/TXT/write",
//!     "Microsoft.Network/dnsZones/TXT/delete",
//!     "Microsoft.Network/dnsZones/CNAME/read",
//!     "Microsoft.Network/dnsZones/CNAME/write",
//!     "Microsoft.Network/dnsZones/CNAME/delete",
//!     "Microsoft.Authorization/permissions/read"
//!   ],
//!   "NotActions": [],
//!   "AssignableScopes": ["/subscriptions/00000000-0000-0000-0000-000000000000"]
//! }
//! ```
//!
//! # National clouds
//!
//! | cloud | `base_url` | `login_url` |
//! |---|---|---|
//! | public | `https://management.azure.com` | `https://login.microsoftonline.com` |
//! | US government | `https://management.usgovcloudapi.net` | `https://login.microsoftonline.us` |
//! | China (21Vianet) | `https://management.chinacloudapi.cn` | `https://login.partner.microsoftonline.cn` |

#[doc(hidden)]
pub mod fuzz;
mod identity;
mod record_set;
mod roles;

use std::{collections::BTreeMap, path::PathBuf};

use async_trait::async_trait;
use dcv_provider::{
    Descriptor, ErrorKind, OptionSpec, ProofKind, ProviderError, Result,
    dns::Dns,
    http::{Answer, Api, Call, Refusal, Tokens, header, header::HeaderValue, segment},
    secret::Secret,
    zone::{
        Change, DEFAULT_TTL, Record, Zone, ZoneEditor, ZoneList, ZoneProvider,
        hosts::{bare, checked_ttl, each, relative_or_at},
    },
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use url::Url;

pub use identity::Environment;
use identity::{Given, Identity, Login, config};
use record_set::{Act, SetChange, act, by_set, field};
use roles::Permissions;

/// What this provider is.
pub const DESCRIPTOR: Descriptor = Descriptor {
    id: "azure",
    title: "Azure DNS",
    proofs: &[ProofKind::Txt, ProofKind::Cname],
    batch: "two requests per name, eight names at a time",
    options: &[
        OptionSpec {
            name: "subscription_id",
            help: "Subscription of the zones; AZURE_SUBSCRIPTION_ID unless given, and not needed with `zones`",
            required: false,
            secret: false,
        },
        OptionSpec {
            name: "resource_group",
            help: "Resource group of the zones; those of the whole subscription without it",
            required: false,
            secret: false,
        },
        OptionSpec {
            name: "zones",
            help: "Zones to change and their resource ids, e.g. { \"example.com\" = \"/subscriptions/…/dnsZones/example.com\" }; \
                   looked up without it",
            required: false,
            secret: false,
        },
        OptionSpec {
            name: "tenant_id",
            help: "Directory (tenant) id, AZURE_TENANT_ID unless given; not needed for a managed identity",
            required: false,
            secret: false,
        },
        OptionSpec {
            name: "client_id",
            help: "Application (client) id, AZURE_CLIENT_ID unless given; for a managed identity only if there are several",
            required: false,
            secret: false,
        },
        OptionSpec {
            name: "client_secret",
            help: "Secret of the application, AZURE_CLIENT_SECRET unless given; a managed identity has none",
            required: false,
            secret: true,
        },
        OptionSpec {
            name: "federated_token_file",
            help: "File with a token of another issuer instead of a secret, AZURE_FEDERATED_TOKEN_FILE unless given",
            required: false,
            secret: false,
        },
        OptionSpec {
            name: "ttl",
            help: "TTL of new record sets in seconds, 60 unless given",
            required: false,
            secret: false,
        },
        OptionSpec {
            name: "base_url",
            help: "Base URL of the resource manager, https://management.azure.com unless given",
            required: false,
            secret: false,
        },
        OptionSpec {
            name: "login_url",
            help: "Base URL of the login, AZURE_AUTHORITY_HOST or https://login.microsoftonline.com unless given",
            required: false,
            secret: false,
        },
        OptionSpec {
            name: "identity_url",
            help: "Base URL of the machine's metadata service, http://169.254.169.254 unless given",
            required: false,
            secret: false,
        },
    ],
    example: r#"type = "azure"
subscription_id = "00000000-0000-0000-0000-000000000000"
tenant_id = "11111111-1111-1111-1111-111111111111"
client_id = "22222222-2222-2222-2222-222222222222"
client_secret = { file = "/etc/dcv/azure.secret" }
"#,
};

/// The resource manager of the public cloud.
pub const BASE_URL: &str = "https://management.azure.com";
const LOGIN_URL: &str = "https://login.microsoftonline.com";
const IDENTITY_URL: &str = "http://169.254.169.254";

const DNS_VERSION: &str = "2018-05-01";
const PERMISSIONS_VERSION: &str = "2022-04-01";
/// How many record sets are changed at a time.
const AT_ONCE: usize = 8;
/// A page has a hundred zones; a subscription has fewer than this many pages.
const MOST_PAGES: usize = 1000;

/// The configuration.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Subscription of the zones.
    pub subscription_id: Option<String>,
    /// Resource group of the zones.
    pub resource_group: Option<String>,
    /// Zones to change, and their resource ids.
    pub zones: BTreeMap<String, String>,
    /// Directory (tenant) id.
    pub tenant_id: Option<String>,
    /// Application (client) id.
    pub client_id: Option<String>,
    /// Secret of the application.
    pub client_secret: Option<Secret>,
    /// File with a token of another issuer.
    pub federated_token_file: Option<PathBuf>,
    /// TTL of new record sets in seconds.
    pub ttl: Option<u32>,
    /// Base URL of the resource manager.
    pub base_url: Option<String>,
    /// Base URL of the login.
    pub login_url: Option<String>,
    /// Base URL of the machine's metadata service.
    pub identity_url: Option<String>,
}

/// The provider.
pub type Azure = ZoneProvider<Editor>;

/// Sets the provider up from a configuration and the process's environment; `dns` is where delegated aliases are asked about.
///
/// # Errors
/// [`ErrorKind::Config`] naming the field.
pub async fn from_config(config: Config, dns: Option<Dns>) -> Result<Azure> {
    let environment = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    from_config_in(&environment, config, dns).await
}

/// [`from_config`] with an environment of the caller's.
///
/// # Errors
/// Those of [`from_config`].
pub async fn from_config_in(environment: Environment<'_>, given: Config, dns: Option<Dns>) -> Result<Azure> {
    let ttl = checked_ttl(given.ttl, "Azure", DEFAULT_TTL, 1)?;
    let secret = match &given.client_secret {
        Some(secret) => Some(secret.read("client_secret").await?),
        None => None,
    };
    let identity = Identity::choose(
        Given { tenant: given.tenant_id, client: given.client_id, secret, file: given.federated_token_file },
        environment,
    )?;
    let base_url = given.base_url.as_deref().unwrap_or(BASE_URL);
    // Azure's own clients take a host alone for the variable.
    let authority = |host: String| if host.contains("://") { host } else { format!("https://{host}") };
    let login_url = given.login_url.or_else(|| environment("AZURE_AUTHORITY_HOST").map(authority));
    let login = Login::new(
        identity,
        base_url,
        login_url.as_deref().unwrap_or(LOGIN_URL),
        given.identity_url.as_deref().unwrap_or(IDENTITY_URL),
    )?;
    let fixed = given.zones.iter().map(|(name, id)| fixed_zone(name, id)).collect::<Result<Vec<_>>>()?;
    let listed = ZoneList::of(fixed);
    let subscription = given.subscription_id.or_else(|| environment("AZURE_SUBSCRIPTION_ID"));
    let list = match subscription {
        Some(id) => {
            let group = given.resource_group.map(|name| format!("/resourceGroups/{}", segment(&name)));
            let group = group.unwrap_or_default();
            format!("/subscriptions/{}{group}/providers/Microsoft.Network/dnsZones", segment(&id))
        }
        None if listed.is_fixed() => String::new(),
        None => {
            let message = "subscription_id: it is missing and AZURE_SUBSCRIPTION_ID is not set; give it, or `zones`";
            return Err(config(message.to_owned()));
        }
    };
    let base = Url::parse(base_url).map_err(|e| config(format!("base_url: `{base_url}` is not a URL: {e}")))?;
    let editor = Editor { api: Api::new(base_url)?, base, tokens: Tokens::new(login), list, ttl, listed };
    Ok(ZoneProvider::new(editor, dns))
}

fn fixed_zone(name: &str, id: &str) -> Result<Zone> {
    let apex = bare(name);
    let parts: Vec<&str> = id.trim_matches('/').split('/').collect();
    let is_zone = |at: usize, part: &str| parts.get(at).is_some_and(|p| p.eq_ignore_ascii_case(part));
    if parts.len() != 8 || !is_zone(0, "subscriptions") || !is_zone(6, "dnszones") {
        return Err(config(format!(
            "zones: `{id}` is not the resource id of {apex}; one is \
             /subscriptions/ID/resourceGroups/NAME/providers/Microsoft.Network/dnsZones/{apex}"
        )));
    }
    Ok(Zone { apex, id: format!("/{}", parts.join("/")) })
}

/// Changes record sets one by one, if they are still as they were read.
#[derive(Debug)]
pub struct Editor {
    api: Api,
    base: Url,
    tokens: Tokens<Login>,
    /// The path of the list of zones.
    list: String,
    ttl: u32,
    /// The zones of the configuration; without any, those of the list.
    listed: ZoneList,
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    value: Vec<ListedZone>,
    #[serde(rename = "nextLink")]
    next: Option<String>,
}

#[derive(Deserialize)]
struct ListedZone {
    id: String,
    name: String,
    #[serde(default)]
    properties: Map<String, Value>,
}

impl ListedZone {
    fn is_private(&self) -> bool {
        field(&self.properties, "zoneType")
            .and_then(Value::as_str)
            .is_some_and(|kind| kind.eq_ignore_ascii_case("private"))
    }
}

/// A record set as it was read.
struct RecordSet {
    etag: String,
    properties: Map<String, Value>,
}

impl Editor {
    async fn ask(&self, make: impl for<'a> Fn(&'a Api) -> Call<'a> + Send + Sync) -> Result<Answer, Refusal> {
        self.ask_of(DNS_VERSION, make).await
    }

    /// Sends a call with a token; once more with a new one if this one is refused.
    async fn ask_of(
        &self,
        version: &str,
        make: impl for<'a> Fn(&'a Api) -> Call<'a> + Send + Sync,
    ) -> Result<Answer, Refusal> {
        let answer = self.tokens.answer(&self.api, |api| make(api).query([("api-version", version)])).await;
        answer.map_err(|refusal| match refusal.status.map(|status| status.as_u16()) {
            Some(403) => refusal.hint("give the identity a role that may do this on the zone"),
            Some(401) => {
                refusal.hint("check that tenant_id is the subscription's tenant, and login_url that of its cloud")
            }
            _ => refusal,
        })
    }

    /// All public zones.
    async fn zones(&self) -> Result<Vec<Zone>> {
        let mut zones = Vec::new();
        let mut path = self.list.clone();
        let mut query: Vec<(String, String)> = Vec::new();
        for _ in 0..MOST_PAGES {
            let answer = self.ask(|api| api.get(&path).query(query.iter().map(|(k, v)| (k, v)))).await?;
            let page: Page = answer.json()?;
            let public = page.value.into_iter().filter(|zone| !zone.is_private());
            zones.extend(public.map(|zone| Zone { apex: bare(&zone.name), id: zone.id }));
            match page.next.filter(|next| !next.is_empty()) {
                Some(next) => (path, query) = self.next_page(&next)?,
                None => return Ok(zones),
            }
        }
        let message = format!("{}: the list of zones does not end; give resource_group or zones", self.place());
        Err(ProviderError::new(ErrorKind::Unavailable, message))
    }

    /// Where the next page is: below the base URL, for the token goes nowhere else.
    fn next_page(&self, next: &str) -> Result<(String, Vec<(String, String)>)> {
        let foreign = || {
            let message = format!("{}: the next page of zones is said to be elsewhere, at {next}", self.place());
            ProviderError::new(ErrorKind::Unavailable, message)
        };
        let url = Url::parse(next).map_err(|_| foreign())?;
        let path = url.path().strip_prefix(self.base.path().trim_end_matches('/'));
        let path = path.filter(|_| url.origin() == self.base.origin()).ok_or_else(foreign)?;
        let query = url.query_pairs().into_owned().filter(|(name, _)| name != "api-version");
        Ok((path.to_owned(), query.collect()))
    }

    async fn read(&self, path: &str) -> Result<Option<RecordSet>> {
        let answer = match self.ask(|api| api.get(path)).await {
            Err(refusal) if refusal.is(404) => return Ok(None),
            other => other?,
        };
        let body: Value = answer.json()?;
        let etag = body["etag"].as_str().or_else(|| answer.header("etag")).map(str::to_owned);
        let properties = body["properties"].as_object().cloned();
        let (Some(etag), Some(properties)) = (etag, properties) else {
            let message =
                format!("{}: GET {path}: the answer has no etag or no properties; check base_url", self.place());
            return Err(ProviderError::new(ErrorKind::Unavailable, message));
        };
        Ok(Some(RecordSet { etag, properties }))
    }

    /// Whether the role is wide enough, as far as Azure tells ("Permissions - List For Resource"). Who may not ask, for lack of
    /// `Microsoft.Authorization/permissions/read`, is told when it comes to writing.
    async fn may_write(&self, path: &str, rtype: &str) -> Result<()> {
        let path = format!("{path}/providers/Microsoft.Authorization/permissions");
        let asked = self.ask_of(PERMISSIONS_VERSION, |api| api.get(&path)).await;
        let held: Permissions = match asked.and_then(|answer| answer.json()) {
            Ok(held) => held,
            Err(refusal) => {
                tracing::debug!(path, error = %refusal.error, "permissions are not told");
                return Ok(());
            }
        };
        let wanted = ["write", "delete"].map(|act| format!("Microsoft.Network/dnsZones/{rtype}/{act}"));
        let missing = held.missing(&wanted);
        if missing.is_empty() {
            return Ok(());
        }
        let message =
            format!("{}: the identity lacks {}; assign a role that has them", self.place(), missing.join(", "));
        Err(ProviderError::new(ErrorKind::Credentials, message))
    }

    /// Reads one record set and writes it back changed.
    async fn change_set(&self, zone: &Zone, name: &str, rtype: &str, change: &SetChange<'_>) -> Result<()> {
        let path = set_path(zone, name, rtype);
        let current = self.read(&path).await?;
        let act = act(name, current.as_ref().map(|set| &set.properties), change, self.ttl)?;
        let condition = match &current {
            Some(set) => (header::IF_MATCH, HeaderValue::from_str(&set.etag)),
            None => (header::IF_NONE_MATCH, HeaderValue::from_str("*")),
        };
        let (condition, etag) = (
            condition.0,
            condition.1.map_err(|_| {
                let message = format!("{}: GET {path}: the etag is no header's value", self.place());
                ProviderError::new(ErrorKind::Unavailable, message)
            })?,
        );
        let sent = match act {
            Act::Nothing => return Ok(()),
            Act::Write(properties) => {
                let body = json!({ "properties": properties });
                self.ask(|api| api.put(&path).header(condition.clone(), etag.clone()).json(&body)).await
            }
            Act::Delete => self.ask(|api| api.delete(&path).header(condition.clone(), etag.clone())).await,
        };
        sent.map(drop).map_err(|refusal| {
            // Azure says "Conflict" both of a race and of an alias that stands beside other data.
            if refusal.is(409) && refusal.error.message.contains("CNAME") {
                return refusal.but(ErrorKind::Rejected).error.about([name]);
            }
            refusal.error
        })
    }
}

/// The resource of a record set; the zone's own is `@`.
fn set_path(zone: &Zone, name: &str, rtype: &str) -> String {
    let relative = match relative_or_at(zone, name) {
        "@" => "@".to_owned(),
        name => segment(name),
    };
    format!("{}/{rtype}/{relative}", zone.id)
}

#[async_trait]
impl ZoneEditor for Editor {
    fn descriptor(&self) -> &Descriptor {
        &DESCRIPTOR
    }

    fn place(&self) -> String {
        self.api.place()
    }

    async fn find_zone(&self, name: &str) -> Result<Option<Zone>> {
        let found = self.listed.around(name, self.zones()).await?;
        if let [zone, _, ..] = &found[..] {
            let message = format!("there are {} public zones {}; say in `zones` which one", found.len(), zone.apex);
            return Err(config(message).about(found.iter().map(|zone| zone.id.as_str())));
        }
        Ok(found.into_iter().next())
    }

    async fn check(&self, zone: &Zone, records: &[Record]) -> Result<()> {
        match self.ask(|api| api.get(&zone.id)).await {
            // A role on single record sets need not cover the zone.
            Err(refusal) if refusal.is(403) && self.listed.is_fixed() => {}
            other => drop(other?),
        }
        let firsts: BTreeMap<&str, &Record> =
            records.iter().rev().map(|record| (record.data.rtype(), record)).collect();
        for (rtype, record) in firsts {
            let path = set_path(zone, &record.name, rtype);
            self.read(&path).await?;
            self.may_write(&path, rtype).await?;
        }
        Ok(())
    }

    async fn apply(&self, zone: &Zone, change: &Change) -> Result<()> {
        let sets = by_set(change);
        let mut changes = Vec::with_capacity(sets.len());
        for ((name, rtype), change) in &sets {
            changes.push(self.change_set(zone, name, rtype, change));
        }
        each(changes, AT_ONCE).await
    }
}
