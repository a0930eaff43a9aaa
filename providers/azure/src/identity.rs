//! Who we are at Azure, and the token that shows it.
//!
//! [`Identity::choose`] decides from the configuration and the environment; [`Login`] fetches. What a token is
//! good for is decided by Azure's roles, not here.

use std::{
    fmt,
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use dcv_provider::{
    ErrorKind, ProviderError, Result,
    http::{
        Api, Granted, Grantor, Refusal,
        header::{HeaderName, HeaderValue},
        segment,
    },
};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Value;
use url::{Url, form_urlencoded};

/// Looks up a variable of the environment; an empty one is none.
pub type Environment<'e> = &'e (dyn Fn(&str) -> Option<String> + Sync);

/// Where a machine has no metadata service nobody answers at its address.
const METADATA_PATIENCE: Duration = Duration::from_secs(10);

/// A way to get tokens.
#[derive(Debug)]
pub(crate) enum Identity {
    /// An application and its secret.
    Secret { tenant: String, client: String, secret: SecretString },
    /// An application that trusts whoever issues the token in this file, which is read anew each time: it is rotated.
    Workload { tenant: String, client: String, file: PathBuf },
    /// The identity of the machine, or the one of several that has this client id.
    Machine { client: Option<String>, place: Metadata },
}

/// Where a machine asks for its identity's tokens.
#[derive(Debug)]
pub(crate) enum Metadata {
    /// The instance metadata service of virtual machines.
    Instance,
    /// What App Service, Functions and Container Apps put into the environment: a URL, and a header that keeps forged requests out.
    App { url: String, header: SecretString },
}

/// What the configuration says of us.
#[derive(Debug, Default)]
pub(crate) struct Given {
    pub(crate) tenant: Option<String>,
    pub(crate) client: Option<String>,
    pub(crate) secret: Option<SecretString>,
    pub(crate) file: Option<PathBuf>,
}

impl Identity {
    /// The configuration's identity; else the environment's, in the order of Azure's own clients: a secret, a federated token, the
    /// machine.
    pub(crate) fn choose(given: Given, environment: Environment<'_>) -> Result<Self> {
        let Given { tenant, client, secret, file } = given;
        let file_wins = secret.is_none() && file.is_some();
        let secret = secret.or_else(|| environment("AZURE_CLIENT_SECRET").filter(|_| !file_wins).map(Into::into));
        let file = file.or_else(|| environment("AZURE_FEDERATED_TOKEN_FILE").map(Into::into));
        let client = client.or_else(|| environment("AZURE_CLIENT_ID"));
        let tenant = tenant.or_else(|| environment("AZURE_TENANT_ID"));
        let needed = |value: Option<String>, field: &str, variable: &str, what: &str| {
            value.ok_or_else(|| config(format!("{field}: it is missing and {variable} is not set; give the {what}")))
        };
        if secret.is_none() && file.is_none() {
            let app = environment("IDENTITY_ENDPOINT").zip(environment("IDENTITY_HEADER"));
            let place = app.map_or(Metadata::Instance, |(url, header)| Metadata::App { url, header: header.into() });
            return Ok(Self::Machine { client, place });
        }
        let tenant = needed(tenant, "tenant_id", "AZURE_TENANT_ID", "directory (tenant) id")?;
        let client = needed(client, "client_id", "AZURE_CLIENT_ID", "application (client) id")?;
        match (secret, file) {
            (Some(secret), _) => Ok(Self::Secret { tenant, client, secret }),
            (None, Some(file)) => Ok(Self::Workload { tenant, client, file }),
            (None, None) => Err(config("client_secret: it is missing".to_owned())),
        }
    }
}

/// Where an identity gets its tokens.
pub(crate) struct Login {
    identity: Identity,
    /// The login or the metadata service.
    api: Api,
    path: String,
    /// The API that the tokens are for, e.g. `https://management.azure.com`.
    audience: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("identity", &self.identity).finish_non_exhaustive()
    }
}

/// As the login answers, with numbers, and as the metadata services do, with numbers in strings.
#[derive(Deserialize)]
struct Grant {
    access_token: SecretString,
    #[serde(default)]
    expires_in: Value,
    #[serde(default)]
    expires_on: Value,
}

impl Grant {
    /// How long the token is good for from `now`, seconds since 1970.
    fn life(&self, now: u64) -> Duration {
        let number = |value: &Value| value.as_u64().or_else(|| value.as_str()?.trim().parse().ok());
        let seconds = number(&self.expires_in).or_else(|| Some(number(&self.expires_on)?.saturating_sub(now)));
        // A token of unknown life is used at once, and again until somebody refuses it.
        Duration::from_secs(seconds.unwrap_or(600))
    }
}

impl Login {
    pub(crate) fn new(identity: Identity, audience: &str, login_url: &str, identity_url: &str) -> Result<Self> {
        let audience = audience.trim_end_matches('/').to_owned();
        let (api, path) = match &identity {
            Identity::Secret { tenant, .. } | Identity::Workload { tenant, .. } => {
                (Api::named("login_url", login_url)?, format!("/{}/oauth2/v2.0/token", segment(tenant)))
            }
            Identity::Machine { place: Metadata::Instance, .. } => {
                let api = Api::of_this_machine("identity_url", identity_url)?
                    .header(HeaderName::from_static("metadata"), HeaderValue::from_static("true"));
                (api, "/metadata/identity/oauth2/token".to_owned())
            }
            Identity::Machine { place: Metadata::App { url, header }, .. } => {
                let whole = Url::parse(url).map_err(|e| {
                    config(format!("IDENTITY_ENDPOINT: `{url}` is not a URL ({e}); App Service sets it"))
                })?;
                let api = Api::of_this_machine("IDENTITY_ENDPOINT", &whole.origin().ascii_serialization())?;
                (api.credential("IDENTITY_HEADER", "x-identity-header", "", header)?, whole.path().to_owned())
            }
        };
        let api = if let Identity::Secret { secret, .. } = &identity { api.hiding(secret) } else { api };
        Ok(Self { identity, api, path, audience })
    }

    async fn fetch(&self) -> Result<Grant> {
        match &self.identity {
            Identity::Secret { client, secret, .. } => {
                let form = [("client_id", client.as_str()), ("client_secret", secret.expose_secret())];
                self.log_in(&self.api, &form).await
            }
            Identity::Workload { client, file, .. } => {
                let assertion: SecretString = tokio::fs::read_to_string(file)
                    .await
                    .map_err(|e| {
                        config(format!(
                            "federated_token_file: `{}` cannot be read: {e}; check the path",
                            file.display()
                        ))
                    })?
                    .trim()
                    .into();
                let form = [
                    ("client_id", client.as_str()),
                    ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
                    ("client_assertion", assertion.expose_secret()),
                ];
                self.log_in(&self.api.clone().hiding(&assertion), &form).await
            }
            Identity::Machine { client, place } => {
                let version = if matches!(place, Metadata::Instance) { "2018-02-01" } else { "2019-08-01" };
                let query = [("api-version", version), ("resource", self.audience.as_str())];
                let client = client.as_deref().map(|client| ("client_id", client));
                let call = self.api.get(&self.path).query(query.into_iter().chain(client));
                let answer = tokio::time::timeout(METADATA_PATIENCE, call.send()).await.map_err(|_| {
                    let seconds = METADATA_PATIENCE.as_secs();
                    let message = format!("{}: no answer within {seconds} s; {NO_IDENTITY}", self.api.place());
                    ProviderError::new(ErrorKind::Unavailable, message)
                })?;
                answer.map_err(machine_refused)
            }
        }
    }

    async fn log_in(&self, api: &Api, form: &[(&str, &str)]) -> Result<Grant> {
        let scope = format!("{}/.default", self.audience);
        let body = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(form)
            .extend_pairs([("grant_type", "client_credentials"), ("scope", &scope)])
            .finish();
        let call = api.post(&self.path).body("application/x-www-form-urlencoded", body);
        call.send().await.map_err(login_refused)
    }
}

#[async_trait]
impl Grantor for Login {
    async fn grant(&self) -> Result<Granted> {
        let token = self.fetch().await?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Ok(Granted { life: token.life(now), token: token.access_token })
    }
}

const NO_IDENTITY: &str = "give this machine a managed identity, or tenant_id, client_id and client_secret";

/// Says which field is wrong, as far as Microsoft Entra's codes tell (Microsoft identity platform, "AADSTS error codes").
fn login_refused(refusal: Refusal) -> ProviderError {
    let said = refusal.error.message.clone();
    let field = |codes: &[&str]| codes.iter().any(|code| said.contains(&format!("AADSTS{code}:")));
    let (field, way_out) = if field(&["7000215", "7000222", "7000216"]) {
        ("client_secret", "make a new one; it is the secret's value that is wanted, not its id")
    } else if field(&["700016", "7000218"]) {
        ("client_id", "give the application (client) id of an application in this tenant")
    } else if field(&["90002", "900023", "9002313"]) {
        ("tenant_id", "give the directory (tenant) id")
    } else if field(&["70021", "700211", "700212", "700213", "700024", "50027"]) {
        ("federated_token_file", "check the application's federated credential: issuer, subject, audience")
    } else {
        ("tenant_id, client_id", "check them and the secret or the federated credential")
    };
    if refusal.status.is_none_or(|status| status.as_u16() == 429 || status.is_server_error() || status.is_success()) {
        return refusal.error;
    }
    let mut error = refusal.but(ErrorKind::Credentials).hint(way_out).error;
    error.message = format!("{field}: {}", error.message);
    error
}

/// 404 and 410 are said while the service is updated (Azure, "How to use managed identities on a VM to acquire an access token").
fn machine_refused(refusal: Refusal) -> ProviderError {
    match refusal.status.map(|status| status.as_u16()) {
        Some(404 | 410) => refusal.but(ErrorKind::Unavailable).hint(NO_IDENTITY).error,
        Some(400 | 401 | 403) => {
            refusal.but(ErrorKind::Credentials).hint("check client_id, or assign the identity").error
        }
        None => refusal.hint(NO_IDENTITY).error,
        Some(_) => refusal.error,
    }
}

pub(crate) fn config(message: String) -> ProviderError {
    ProviderError::new(ErrorKind::Config, message)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn chosen(given: Given, variables: &[(&str, &str)]) -> Result<String, String> {
        let environment = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
        let identity = Identity::choose(given, &environment).map_err(|e| e.to_string())?;
        let text = format!("{identity:?}");
        assert!(!text.contains("planted"), "{text}");
        Ok(match identity {
            Identity::Secret { tenant, client, .. } => format!("secret {tenant} {client}"),
            Identity::Workload { tenant, client, file } => format!("workload {tenant} {client} {}", file.display()),
            Identity::Machine { client, place: Metadata::Instance } => format!("instance {client:?}"),
            Identity::Machine { client, place: Metadata::App { url, .. } } => format!("app {client:?} {url}"),
        })
    }

    #[test]
    fn the_configuration_wins_over_the_environment_and_a_secret_over_a_machine() {
        let given = |tenant: Option<&str>, client: Option<&str>, secret: Option<&str>, file: Option<&str>| Given {
            tenant: tenant.map(str::to_owned),
            client: client.map(str::to_owned),
            secret: secret.map(Into::into),
            file: file.map(Into::into),
        };
        let ids = [("AZURE_TENANT_ID", "et"), ("AZURE_CLIENT_ID", "ec")];
        let all = [&ids[..], &[("AZURE_CLIENT_SECRET", "planted"), ("AZURE_FEDERATED_TOKEN_FILE", "/e")]].concat();
        let app = [("IDENTITY_ENDPOINT", "http://127.0.0.1:1/msi/token"), ("IDENTITY_HEADER", "planted")];
        for (given, variables, expected) in [
            (given(None, None, None, None), &[][..], "instance None"),
            (given(None, Some("c"), None, None), &[], "instance Some(\"c\")"),
            (given(None, None, None, None), &app, "app None http://127.0.0.1:1/msi/token"),
            (given(None, None, None, None), &app[..1], "instance None"),
            (given(None, None, None, None), &all, "secret et ec"),
            (given(None, None, None, None), &all[..2], "instance Some(\"ec\")"),
            (given(None, None, None, Some("/f")), &all, "workload et ec /f"),
            (given(Some("t"), Some("c"), Some("planted"), None), &all, "secret t c"),
            (given(Some("t"), None, Some("planted"), Some("/f")), &all, "secret t ec"),
        ] {
            assert_eq!(chosen(given, variables).as_deref(), Ok(expected));
        }
        let missing = chosen(given(None, Some("c"), Some("planted"), None), &[]).expect_err("no tenant");
        assert!(missing.starts_with("tenant_id: ") && missing.contains("AZURE_TENANT_ID"), "{missing}");
        let missing = chosen(given(Some("t"), None, None, Some("/f")), &[]).expect_err("no client");
        assert!(missing.starts_with("client_id: "), "{missing}");
    }

    #[test]
    fn lives_are_read_in_every_form() {
        for (granted, seconds) in [
            (json!({"expires_in": 3599}), 3599),
            (json!({"expires_in": "86399", "expires_on": "1"}), 86399),
            (json!({"expires_on": "1300"}), 300),
            (json!({"expires_on": 900}), 0),
            (json!({"expires_on": "09/14/2017 00:00:00 PM +00:00"}), 600),
            (json!({}), 600),
        ] {
            let mut granted = granted;
            granted["access_token"] = json!("t");
            let granted: Grant = serde_json::from_value(granted).expect("a grant");
            assert_eq!(granted.life(1000), Duration::from_secs(seconds));
        }
    }
}
