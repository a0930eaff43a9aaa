//! Where Google's credentials come from, and what is in them.
//!
//! The order is that of Google's own clients ("How Application Default Credentials works"), with the configuration before it. The
//! files are read and checked here; [`tokens`](crate::tokens) makes tokens of them.

use std::path::PathBuf;

use dcv_provider::{ErrorKind, ProviderError, Result, secret::Secret};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Map, Value};

/// Looks up a variable of the environment; an empty one is none.
pub type Environment<'e> = &'e (dyn Fn(&str) -> Option<String> + Sync);

/// The machine's metadata service.
const METADATA_HOST: &str = "metadata.google.internal";
/// Where service accounts and users get their tokens, unless their file says otherwise.
pub(crate) const TOKEN_URL: &str = "https://oauth2.googleapis.com/token";

/// A way to get tokens.
#[derive(Debug)]
pub(crate) enum Source {
    /// A service account signs for itself.
    ServiceAccount(ServiceAccount),
    /// A user has once agreed.
    User(User),
    /// Somebody else's token is exchanged (workload identity federation).
    External(External),
    /// One of the others speaks for a service account.
    Impersonated { url: String, life: u64, source: Box<Source> },
    /// The service account of the machine: its metadata service's base URL.
    Machine { url: String },
}

/// A service account's key.
#[derive(Debug, Deserialize)]
pub(crate) struct ServiceAccount {
    pub(crate) client_email: String,
    pub(crate) private_key: SecretString,
    #[serde(default)]
    pub(crate) private_key_id: String,
    #[serde(default = "token_url")]
    pub(crate) token_uri: String,
}

/// A user's consent.
#[derive(Debug, Deserialize)]
pub(crate) struct User {
    pub(crate) client_id: String,
    pub(crate) client_secret: SecretString,
    pub(crate) refresh_token: SecretString,
    #[serde(default = "token_url")]
    pub(crate) token_uri: String,
}

/// A workload of another cloud (AIP-4117).
#[derive(Debug, Deserialize)]
pub(crate) struct External {
    pub(crate) audience: String,
    pub(crate) subject_token_type: String,
    pub(crate) token_url: String,
    pub(crate) credential_source: SubjectSource,
}

/// Where the other cloud's token is.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct SubjectSource {
    pub(crate) file: Option<PathBuf>,
    pub(crate) url: Option<String>,
    /// They may hold a secret of the other cloud.
    pub(crate) headers: std::collections::BTreeMap<String, SecretString>,
    pub(crate) format: Format,
}

/// How it is written there.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Format {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) subject_token_field_name: String,
}

fn token_url() -> String {
    TOKEN_URL.to_owned()
}

/// Credentials, and what their file says besides.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) source: Source,
    /// Where it was found, as errors name it.
    pub(crate) field: String,
    /// The project of a service account.
    pub(crate) project: Option<String>,
    /// Who pays for the calls, if not the project.
    pub(crate) quota_project: Option<String>,
}

impl Found {
    /// The configuration's credentials; else those that `GOOGLE_APPLICATION_CREDENTIALS` names, else those of
    /// `gcloud auth application-default login`, else the machine's.
    pub(crate) async fn search(given: Option<&Secret>, environment: Environment<'_>) -> Result<Self> {
        if let Some(secret) = given {
            return parse("credentials", &secret.read("credentials").await?);
        }
        let named = environment("GOOGLE_APPLICATION_CREDENTIALS").map(PathBuf::from);
        let well_known = environment("CLOUDSDK_CONFIG")
            .map(PathBuf::from)
            .or_else(|| Some(PathBuf::from(environment("HOME")?).join(".config/gcloud")))
            .map(|folder| folder.join("application_default_credentials.json"))
            .filter(|path| path.exists());
        if let Some(path) = named.or(well_known) {
            return from_file(path).await;
        }
        let host = environment("GCE_METADATA_HOST").unwrap_or_else(|| METADATA_HOST.to_owned());
        let source = Source::Machine { url: format!("http://{host}") };
        Ok(Self { source, field: "credentials".to_owned(), project: None, quota_project: None })
    }
}

/// Credentials of a file. One that holds a secret must not be readable by others; a federation's holds none.
async fn from_file(path: PathBuf) -> Result<Found> {
    let field = format!("`{}`", path.display());
    let text = tokio::fs::read_to_string(&path).await.map_err(|e| {
        config(format!("{field}: it cannot be read: {e}; check GOOGLE_APPLICATION_CREDENTIALS, or give `credentials`"))
    })?;
    let found = parse(&field, &text.into())?;
    if found.source.is_secret() {
        Secret::File { file: path }.read(&field).await?;
    }
    Ok(found)
}

impl Source {
    fn is_secret(&self) -> bool {
        match self {
            Self::ServiceAccount(_) | Self::User(_) => true,
            Self::External(_) | Self::Machine { .. } => false,
            Self::Impersonated { source, .. } => source.is_secret(),
        }
    }
}

/// The credentials that this JSON says. `field` is where it is from.
pub(crate) fn parse(field: &str, json: &SecretString) -> Result<Found> {
    // The parser's own words could repeat a piece of a secret; its place does not.
    let all: Map<String, Value> = serde_json::from_str(json.expose_secret()).map_err(|e| {
        config(format!("{field}: not the JSON of Google credentials (line {}, column {})", e.line(), e.column()))
    })?;
    let text = |name: &str| all.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
    let (project, quota_project) = (text("project_id"), text("quota_project_id"));
    Ok(Found { source: source(field, all)?, field: field.to_owned(), project, quota_project })
}

fn source(field: &str, mut all: Map<String, Value>) -> Result<Source> {
    let kind = all.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    let url = all.get("service_account_impersonation_url").and_then(Value::as_str).map(str::to_owned);
    let life = all.get("service_account_impersonation").and_then(|more| more.get("token_lifetime_seconds"));
    let life = life.and_then(Value::as_u64).unwrap_or(3600);
    let impersonated = |source| match url.clone() {
        Some(url) => Source::Impersonated { url, life, source: Box::new(source) },
        None => source,
    };
    match kind.as_str() {
        "service_account" => Ok(Source::ServiceAccount(read(field, &kind, all)?)),
        "authorized_user" => Ok(Source::User(read(field, &kind, all)?)),
        "external_account" => {
            let external: External = read(field, &kind, all)?;
            let SubjectSource { file, url, .. } = &external.credential_source;
            if file.is_none() && url.is_none() {
                let message = format!(
                    "{field}: its credential_source is neither a file nor a url, which is all that is understood"
                );
                return Err(config(message));
            }
            Ok(impersonated(Source::External(external)))
        }
        "impersonated_service_account" => match (all.remove("source_credentials"), &url) {
            (Some(Value::Object(inner)), Some(_)) => Ok(impersonated(source(field, inner)?)),
            _ => {
                Err(config(format!("{field}: {kind} without source_credentials or service_account_impersonation_url")))
            }
        },
        _ => Err(config(format!(
            "{field}: `{kind}` is no type of credentials that is understood; give a service_account, authorized_user, \
             external_account or impersonated_service_account"
        ))),
    }
}

/// Reads a type's fields; an error names the first that is missing, and nothing that is there.
fn read<T: for<'de> Deserialize<'de>>(field: &str, kind: &str, all: Map<String, Value>) -> Result<T> {
    serde_json::from_value(Value::Object(all)).map_err(|e| {
        let words = e.to_string();
        let missing =
            words.strip_prefix("missing field ").map_or("a field", |rest| rest.split(' ').next().unwrap_or(rest));
        config(format!("{field}: {kind} without {missing}, or with one that is no text; download the file again"))
    })
}

pub(crate) fn config(message: String) -> ProviderError {
    ProviderError::new(ErrorKind::Config, message)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use serde_json::json;

    use super::*;

    fn told(json: Value) -> Result<String, String> {
        let found = parse("credentials", &json.to_string().into()).map_err(|e| e.to_string())?;
        let text = format!("{found:?}");
        assert!(!text.contains("planted"), "{text}");
        let name = |source: &Source| text_of(source);
        Ok(format!("{} {:?}", name(&found.source), found.project))
    }

    fn text_of(source: &Source) -> String {
        match source {
            Source::ServiceAccount(account) => format!("account {} {}", account.client_email, account.token_uri),
            Source::User(user) => format!("user {}", user.client_id),
            Source::External(external) => format!("external {}", external.audience),
            Source::Impersonated { url, life, source } => format!("{url} for {life} s by {}", text_of(source)),
            Source::Machine { url } => format!("machine {url}"),
        }
    }

    #[test]
    fn files_say_what_they_are() {
        let user = json!({ "type": "authorized_user", "client_id": "c", "client_secret": "planted", "refresh_token": "planted" });
        let external = json!({
            "type": "external_account", "audience": "a", "subject_token_type": "jwt", "token_url": "https://sts",
            "credential_source": { "file": "/f", "headers": { "k": "planted" } },
        });
        let mut impersonating = external.clone();
        impersonating["service_account_impersonation_url"] = json!("u");
        impersonating["service_account_impersonation"] = json!({ "token_lifetime_seconds": 600 });
        let mut command = external.clone();
        command["credential_source"] = json!({ "executable": { "command": "x" } });
        for (file, expected) in [
            (
                json!({ "type": "service_account", "client_email": "e", "private_key": "planted", "project_id": "p" }),
                Ok("account e https://oauth2.googleapis.com/token Some(\"p\")"),
            ),
            (user.clone(), Ok("user c None")),
            (external, Ok("external a None")),
            (impersonating, Ok("u for 600 s by external a None")),
            (
                json!({ "type": "impersonated_service_account", "service_account_impersonation_url": "u", "source_credentials": user }),
                Ok("u for 3600 s by user c None"),
            ),
            (command, Err("credential_source")),
            (json!({ "type": "service_account", "private_key": "planted" }), Err("`client_email`")),
            (json!({ "type": "service_account", "client_email": "e", "private_key": ["planted"] }), Err("no text")),
            (json!({ "type": "planned" }), Err("`planned` is no type")),
            (json!("planted"), Err("not the JSON")),
        ] {
            match (told(file), expected) {
                (Ok(told), Ok(expected)) => assert_eq!(told, expected),
                (Err(error), Err(part)) => {
                    assert!(error.starts_with("credentials: ") && error.contains(part), "{error}");
                    assert!(!error.contains("planted"), "{error}");
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn the_order_is_googles() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str, email: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            let json = json!({ "type": "service_account", "client_email": email, "private_key": "planted" });
            std::fs::write(&path, json.to_string()).expect("a file");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("a mode");
            path
        };
        let given = file("given.json", "given");
        let named = file("named.json", "named").display().to_string();
        file(".config/gcloud/application_default_credentials.json", "home");
        file("sdk/application_default_credentials.json", "sdk");
        let home = folder.path().display().to_string();
        let sdk = folder.path().join("sdk").display().to_string();
        let all = [("GOOGLE_APPLICATION_CREDENTIALS", named.as_str()), ("CLOUDSDK_CONFIG", &sdk), ("HOME", &home)];
        let search = async |given: Option<&Secret>, variables: &[(&str, &str)]| {
            let environment =
                |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
            Found::search(given, &environment).await.map(|found| text_of(&found.source)).map_err(|e| e.to_string())
        };
        let secret = Secret::File { file: given };
        for (given, variables, expected) in [
            (Some(&secret), &all[..], "account given"),
            (None, &all[..], "account named"),
            (None, &all[1..], "account sdk"),
            (None, &all[2..], "account home"),
            (None, &[("HOME", "/nonexistent")], "machine http://metadata.google.internal"),
            (None, &[("GCE_METADATA_HOST", "127.0.0.1:1")], "machine http://127.0.0.1:1"),
        ] {
            let told = search(given, variables).await.expect("credentials");
            assert!(told.starts_with(expected), "{told} for {expected}");
        }
        std::fs::set_permissions(&named, std::fs::Permissions::from_mode(0o644)).expect("a mode");
        let error = search(None, &all).await.expect_err("others read the key");
        assert!(error.contains("named.json") && error.contains("chmod 600"), "{error}");
        let error = search(None, &[("GOOGLE_APPLICATION_CREDENTIALS", "/nonexistent")]).await.expect_err("no file");
        assert!(error.contains("`/nonexistent`"), "{error}");
    }
}
