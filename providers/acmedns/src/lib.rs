//! acme-dns as a `dcv` provider: a small server that can do nothing but show texts, so that the credentials on this machine are good
//! for nothing else.
//!
//! Each name has a registration of its own (`POST /register`), whose texts stand at its `fulldomain`. The name's `_dnsauth` must be a
//! CNAME of that, made once by hand. The credentials of a registration change these texts only, and `allowfrom` at the registration
//! can tie them to addresses: there is no lesser privilege.
//!
//! # What an unmodified server does not take
//!
//! Before it is of use with DigiCert, acme-dns has to be changed. It takes only texts of exactly 43 characters of `A-Z a-z 0-9 - _`, the
//! size of an ACME challenge (`validTXT` in its `pkg/api/util.go`; its authors declined to allow others, issues 69 and 375), and DigiCert's
//! random values are shorter, mostly of 32. Such a text is refused here in the preflight, before an order is placed. For a server
//! whose `validTXT` takes any text, set `any_text`.
//!
//! # What is kept, and what is removed
//!
//! A registration keeps the two newest texts (`txtlimit` in newer versions): each update replaces the oldest, whoever it was of. Nothing can
//! be removed. So, with the server's own name servers to look at:
//!
//! - a text that shows already is not sent again, for it would push out another;
//! - a text that is taken back is written over, by [`BLANK`], as long as nobody else's shows beside it. Otherwise it stays
//!   until newer ones push it out: a stale random value is harmless, a lost one is not.
//!
//! Without DNS to ask, texts are sent each time, and stay.

use std::collections::BTreeMap;

use async_trait::async_trait;
use dcv_provider::{
    Descriptor, ErrorKind, OptionSpec, ProofKind, ProviderError, Result,
    dns::Dns,
    http::{Api, Refusal, header},
    secret::Secret,
    zone::{Change, Record, RecordData, Zone, ZoneEditor, ZoneProvider},
};
use hickory_proto::rr::RecordType;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

/// What this provider is.
pub const DESCRIPTOR: Descriptor = Descriptor {
    id: "acmedns",
    title: "acme-dns",
    proofs: &[ProofKind::Txt],
    batch: "one request per name, eight at a time",
    options: &[
        OptionSpec {
            name: "base_url",
            help: "URL of the server's API, e.g. https://auth.example.org",
            required: true,
            secret: false,
        },
        OptionSpec {
            name: "accounts",
            help: "For each domain its registration: fulldomain, subdomain and username, and its password, a secret",
            required: true,
            secret: false,
        },
        OptionSpec {
            name: "any_text",
            help: "true if the server was changed to take texts of other than 43 characters, as DigiCert's are",
            required: false,
            secret: false,
        },
    ],
    example: r#"type = "acmedns"
base_url = "https://auth.example.org"
any_text = true
accounts."example.com".fulldomain = "8e5700ea-a4bf-41c7-8a77-e990661dcc6a.auth.example.org"
accounts."example.com".subdomain = "8e5700ea-a4bf-41c7-8a77-e990661dcc6a"
accounts."example.com".username = "c36f50e8-4632-44f0-83fe-e070fef28a10"
accounts."example.com".password = { file = "/etc/dcv/acmedns-example.com" }
"#,
};

/// What is written over a text that is taken back.
pub const BLANK: &str = "taken-back-by-dcv--------------------------";

/// The only length that an unmodified server takes.
const LENGTH: usize = 43;
/// How many texts of a registration it keeps.
const KEPT: usize = 2;
/// How many requests are under way at once.
const AT_ONCE: usize = 8;

/// The configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// URL of the server's API.
    pub base_url: String,
    /// Registrations by domain.
    pub accounts: BTreeMap<String, Registration>,
    /// Whether the server takes texts of any length.
    #[serde(default)]
    pub any_text: bool,
}

/// A registration, with the names that the server gave when it was made.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registration {
    /// Where its texts stand.
    pub fulldomain: String,
    /// The first label of that.
    pub subdomain: String,
    /// Sent as `X-Api-User`.
    pub username: String,
    /// Sent as `X-Api-Key`.
    pub password: Secret,
}

/// The provider.
pub type AcmeDns = ZoneProvider<Editor>;

/// Sets the provider up from a configuration; `dns` is where aliases are followed and texts looked at.
///
/// # Errors
/// [`ErrorKind::Config`] naming the field.
pub async fn from_config(config: Config, dns: Option<Dns>) -> Result<AcmeDns> {
    let mut api = Api::new(&config.base_url)?;
    let plain = |name: &str| name.trim_end_matches('.').to_ascii_lowercase();
    let mut accounts = BTreeMap::new();
    for (domain, registration) in config.accounts {
        let field = format!("accounts.\"{domain}\"");
        let password = registration.password.read(&format!("{field}.password")).await?;
        let header = |name: &str, text: &str| {
            let value = header::HeaderValue::from_str(text);
            let wrong = |_| ProviderError::new(ErrorKind::Config, format!("{field}.{name}: it cannot be in a header"));
            value.map_err(wrong)
        };
        let user = header("username", &registration.username)?;
        let mut key = header("password", password.expose_secret())?;
        key.set_sensitive(true);
        api = api.hiding(&password).hiding(&SecretString::from(registration.username));
        let zone = Zone { apex: plain(&registration.fulldomain), id: registration.subdomain };
        accounts.insert(plain(&domain), Account { zone, user, key });
    }
    if accounts.is_empty() {
        return Err(ProviderError::new(ErrorKind::Config, "accounts: there are none; register with POST /register"));
    }
    let limit = Semaphore::new(AT_ONCE);
    let editor = Editor { api, accounts, any_text: config.any_text, dns: dns.clone(), limit };
    Ok(ZoneProvider::new(editor, dns))
}

struct Account {
    /// Its `fulldomain`, and its `subdomain`.
    zone: Zone,
    user: header::HeaderValue,
    key: header::HeaderValue,
}

/// Writes texts over older ones.
pub struct Editor {
    api: Api,
    /// By domain.
    accounts: BTreeMap<String, Account>,
    any_text: bool,
    dns: Option<Dns>,
    limit: Semaphore,
}

impl std::fmt::Debug for Editor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Editor").field("api", &self.api).finish_non_exhaustive()
    }
}

/// Whether an unmodified server takes this text.
fn is_taken(text: &str) -> bool {
    text.len() == LENGTH && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

fn text(record: &Record) -> &str {
    let (RecordData::Txt(text) | RecordData::Cname(text)) = &record.data;
    text
}

impl Editor {
    fn account(&self, zone: &Zone) -> Result<&Account> {
        let lost = || ProviderError::new(ErrorKind::NotServed, "there is no registration for it").about([&zone.apex]);
        self.accounts.values().find(|account| account.zone == *zone).ok_or_else(lost)
    }

    /// Writes a text over the oldest one.
    async fn update(&self, zone: &Zone, text: &str) -> Result<(), Refusal> {
        let account = self.account(zone).map_err(Refusal::unsent)?;
        let call = self
            .api
            .post("/update")
            .header(header::HeaderName::from_static("x-api-user"), account.user.clone())
            .header(header::HeaderName::from_static("x-api-key"), account.key.clone())
            .json(&json!({ "subdomain": zone.id, "txt": text }));
        // The semaphore is never closed; were it, one limit less would do no harm.
        let _turn = self.limit.acquire().await.ok();
        call.done().await
    }

    fn refused(zone: &Zone, refusal: Refusal) -> ProviderError {
        let way_out = "check the registration's username, password and subdomain, and its allowfrom";
        let denied = refusal.error.kind == ErrorKind::Credentials;
        let error = if denied { refusal.hint(way_out).error } else { refusal.error };
        error.about([zone.apex.as_str()])
    }

    /// The texts that the server shows, as far as that can be found out.
    async fn shown(&self, zone: &Zone) -> Option<Vec<String>> {
        let looked = self.dns.as_ref()?.authoritative(&zone.apex, RecordType::TXT).await;
        let looked = looked.inspect_err(|error| tracing::debug!(%error, "the texts cannot be looked at"));
        Some(looked.ok()?.1.texts().iter().map(|strings| strings.concat()).collect())
    }

    /// Refuses what the server would refuse, or lose.
    fn fits(&self, zone: &Zone, records: &[Record]) -> Result<()> {
        let rejected = |message: String| Err(ProviderError::new(ErrorKind::Rejected, message));
        if let Some(record) = records.iter().find(|record| !self.any_text && !is_taken(text(record))) {
            let length = text(record).chars().count();
            let message = format!(
                "acme-dns takes no text of {length} characters, only of {LENGTH} (A-Z a-z 0-9 - _), and DigiCert's random \
                 values are shorter; use a changed server and say so with any_text, or another provider"
            );
            return rejected(message).map_err(|error| error.about([record.name.as_str()]));
        }
        if records.len() > KEPT {
            let message = format!("{} texts for one registration, which keeps the {KEPT} newest", records.len());
            return rejected(message).map_err(|error| error.about([zone.apex.as_str()]));
        }
        Ok(())
    }

    /// Writes over these texts while nobody else's shows beside them.
    async fn blank(&self, zone: &Zone, gone: &[&str]) -> Result<()> {
        // Each update replaces the oldest, so that it takes as many as are kept.
        for _ in 0..=KEPT {
            let Some(shown) = self.shown(zone).await else { break };
            if !shown.iter().any(|text| gone.contains(&text.as_str())) {
                return Ok(());
            }
            if shown.iter().any(|text| text != BLANK && !gone.contains(&text.as_str())) {
                break;
            }
            self.update(zone, BLANK).await.map_err(|refusal| Self::refused(zone, refusal))?;
        }
        tracing::info!(name = zone.apex, "the text stays until newer ones push it out; acme-dns removes nothing");
        Ok(())
    }
}

#[async_trait]
impl ZoneEditor for Editor {
    fn descriptor(&self) -> &Descriptor {
        &DESCRIPTOR
    }

    fn place(&self) -> String {
        self.api.place()
    }

    /// The registration whose `fulldomain` it is, where an alias has led; or that of the domain whose name it is, with or without
    /// its underscore label.
    async fn find_zone(&self, name: &str) -> Result<Option<Zone>> {
        let domain = if name.starts_with('_') { name.split_once('.').map_or(name, |(_, rest)| rest) } else { name };
        let aliased = self.accounts.values().find(|account| account.zone.apex == name);
        Ok(aliased.or_else(|| self.accounts.get(domain)).map(|account| account.zone.clone()))
    }

    /// That the server would take these texts from us, and that the alias is there which makes them count.
    async fn check(&self, zone: &Zone, records: &[Record]) -> Result<()> {
        self.fits(zone, records)?;
        if let Some(record) = records.iter().find(|record| self.dns.is_some() && record.name != zone.apex) {
            let message = format!("it is no alias yet; add `{}. CNAME {}.`", record.name, zone.apex);
            return Err(ProviderError::new(ErrorKind::Rejected, message).about([record.name.as_str()]));
        }
        if self.any_text {
            return Ok(());
        }
        // An unmodified server looks at the credentials first and then refuses this text, so that nothing is changed.
        match self.update(zone, "").await {
            Err(refusal) if !refusal.is(400) => Err(Self::refused(zone, refusal)),
            _ => Ok(()),
        }
    }

    async fn apply(&self, zone: &Zone, change: &Change) -> Result<()> {
        if !change.remove.is_empty() {
            return self.blank(zone, &change.remove.iter().map(text).collect::<Vec<_>>()).await;
        }
        self.fits(zone, &change.add)?;
        let shown = self.shown(zone).await.unwrap_or_default();
        for text in change.add.iter().map(text).filter(|text| !shown.iter().any(|shown| shown == text)) {
            self.update(zone, text).await.map_err(|refusal| {
                if refusal.body.get("error").and_then(Value::as_str) == Some("bad_txt") {
                    return Self::refused(
                        zone,
                        refusal.hint("the server is not changed to take any text; see any_text"),
                    );
                }
                Self::refused(zone, refusal)
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_texts_of_acme_s_size_are_taken() {
        for (text, taken) in [
            (BLANK, true),
            ("LHDhK3oGRvkiefQnx7OOczTY5Tic_xZ6HcMOc_gmtoM", true),
            ("LHDhK3oGRvkiefQnx7OOczTY5Tic_xZ6HcMOc.gmtoM", false),
            ("fdy6m0wy5lq063sz4h0r6qmdt722gyfc", false),
            ("", false),
        ] {
            assert_eq!(is_taken(text), taken, "{text}");
        }
    }
}
