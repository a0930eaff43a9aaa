//! Access tokens, fetched by whatever [`Source`] there is.
//!
//! What each exchange looks like is said by "Using OAuth 2.0 for Server to Server Applications" (a signed assertion), RFC 6749
//! section 6 (a refresh token), AIP-4117 with RFC 8693 (another cloud's token), "Create short-lived credentials for a service account"
//! (impersonation) and "About VM metadata" (the machine).

use std::{
    pin::Pin,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use dcv_provider::{
    ErrorKind, ProviderError, Result,
    http::{Api, Granted, Grantor, Refusal, header::HeaderName, header::HeaderValue},
};
use ring::{rand::SystemRandom, rsa, signature::RSA_PKCS1_SHA256};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use url::{Url, form_urlencoded};

use crate::credentials::{External, Found, ServiceAccount, Source, TOKEN_URL, User, config};

/// What the tokens are to be good for, and no more: Cloud DNS.
const SCOPE: &str = "https://www.googleapis.com/auth/ndev.clouddns.readwrite";
/// What a token must be good for that is only there to speak for a service account.
const IAM_SCOPE: &str = "https://www.googleapis.com/auth/iam";
/// How long an assertion is good for, the most that Google allows.
const ASSERTION_LIFE: u64 = 3600;
/// Where a machine has no metadata service, its name may still be asked for a long time.
const METADATA_PATIENCE: Duration = Duration::from_secs(10);

/// Exchanges some credentials for tokens.
#[derive(Debug)]
pub(crate) struct Exchange {
    source: Source,
    /// Where the credentials are from, as errors name it.
    field: String,
}

#[derive(Deserialize)]
struct Grant {
    access_token: SecretString,
    /// In seconds.
    #[serde(default = "an_hour")]
    expires_in: u64,
}

fn an_hour() -> u64 {
    3600
}

type Query = Vec<(String, String)>;
type Fetching<'f> = Pin<Box<dyn Future<Output = Result<Grant>> + Send + 'f>>;

#[async_trait]
impl Grantor for Exchange {
    async fn grant(&self) -> Result<Granted> {
        let Grant { access_token, expires_in } = self.fetch(&self.source, SCOPE).await?;
        Ok(Granted { token: access_token, life: Duration::from_secs(expires_in) })
    }
}

impl Exchange {
    pub(crate) fn new(found: Found) -> Self {
        Self { source: found.source, field: found.field }
    }

    /// The project that the machine belongs to; none for other credentials.
    pub(crate) async fn project(&self) -> Result<Option<String>> {
        let Source::Machine { url } = &self.source else { return Ok(None) };
        let answer = self.metadata(url, "/computeMetadata/v1/project/project-id", &[]).await?;
        Ok(Some(String::from_utf8_lossy(&answer.body).trim().to_owned()).filter(|project| !project.is_empty()))
    }

    /// A box, for one source may lean on another.
    fn fetch<'f>(&'f self, source: &'f Source, scope: &'f str) -> Fetching<'f> {
        Box::pin(async move {
            match source {
                Source::ServiceAccount(account) => self.signed(account, scope).await,
                Source::User(user) => self.consented(user).await,
                Source::External(external) => self.exchanged(external, scope).await,
                Source::Impersonated { url, life, source } => {
                    let own = self.fetch(source, IAM_SCOPE).await?;
                    self.impersonated(url, *life, &own.access_token, scope).await
                }
                Source::Machine { url } => {
                    let path = "/computeMetadata/v1/instance/service-accounts/default/token";
                    Ok(self.metadata(url, path, &[("scopes", scope)]).await?.json()?)
                }
            }
        })
    }

    async fn signed(&self, account: &ServiceAccount, scope: &str) -> Result<Grant> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let assertion = assertion(account, scope, now).map_err(|why| {
            config(format!("{}: private_key is not a key for RS256: {why}; download the file again", self.field))
        })?;
        let form =
            [("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"), ("assertion", assertion.expose_secret())];
        self.post_form(&account.token_uri, &form, &[&assertion]).await
    }

    async fn consented(&self, user: &User) -> Result<Grant> {
        let form = [
            ("grant_type", "refresh_token"),
            ("client_id", &user.client_id),
            ("client_secret", user.client_secret.expose_secret()),
            ("refresh_token", user.refresh_token.expose_secret()),
        ];
        self.post_form(&user.token_uri, &form, &[&user.client_secret, &user.refresh_token]).await
    }

    async fn exchanged(&self, external: &External, scope: &str) -> Result<Grant> {
        let subject = self.subject(external).await?;
        let form = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("requested_token_type", "urn:ietf:params:oauth:token-type:access_token"),
            ("audience", &external.audience),
            ("scope", scope),
            ("subject_token_type", &external.subject_token_type),
            ("subject_token", subject.expose_secret()),
        ];
        self.post_form(&external.token_url, &form, &[&subject]).await
    }

    /// The other cloud's token, read anew each time: it is rotated.
    async fn subject(&self, external: &External) -> Result<SecretString> {
        let from = &external.credential_source;
        let (text, origin): (SecretString, String) = if let Some(file) = &from.file {
            let text = tokio::fs::read_to_string(file).await.map_err(|e| {
                config(format!("{}: its credential_source `{}` cannot be read: {e}", self.field, file.display()))
            })?;
            (text.into(), file.display().to_string())
        } else {
            let url = from.url.as_deref().unwrap_or_default();
            let (mut api, path, query) = self.at(url)?;
            for (name, value) in &from.headers {
                api = api.credential("credential_source.headers", name.as_str(), "", value)?;
            }
            let answer = api.get(&path).query(query).answer().await.map_err(|refusal| self.named(refusal))?;
            (String::from_utf8_lossy(&answer.body).into_owned().into(), url.to_owned())
        };
        if from.format.kind != "json" {
            return Ok(text.expose_secret().trim().into());
        }
        let field = &from.format.subject_token_field_name;
        let all: Value = serde_json::from_str(text.expose_secret()).unwrap_or_default();
        let token = all.get(field).and_then(Value::as_str);
        token.map(Into::into).ok_or_else(|| config(format!("{}: there is no `{field}` in {origin}", self.field)))
    }

    async fn impersonated(&self, url: &str, life: u64, own: &SecretString, scope: &str) -> Result<Grant> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Generated {
            access_token: SecretString,
        }
        let (api, path, query) = self.at(url)?;
        let api = api.bearer("credentials", own)?;
        let wanted = json!({ "scope": [scope], "lifetime": format!("{life}s") });
        let generated: Generated =
            api.post(&path).query(query).json(&wanted).send().await.map_err(|refusal| self.named(refusal))?;
        Ok(Grant { access_token: generated.access_token, expires_in: life })
    }

    async fn metadata(&self, url: &str, path: &str, query: &[(&str, &str)]) -> Result<dcv_provider::http::Answer> {
        const WAY_OUT: &str = "off Google Cloud give `credentials`, or set GOOGLE_APPLICATION_CREDENTIALS";
        let api = Api::of_this_machine("GCE_METADATA_HOST", url)?;
        // Without it the service does not answer, lest a forged request reads a token.
        let api = api.header(HeaderName::from_static("metadata-flavor"), HeaderValue::from_static("Google"));
        match tokio::time::timeout(METADATA_PATIENCE, api.get(path).query(query.iter().copied()).answer()).await {
            Ok(Err(refusal)) if refusal.is(404) => {
                Err(refusal.but(ErrorKind::Credentials).hint("give the machine a service account").error)
            }
            Ok(answer) => Ok(answer.map_err(|refusal| refusal.hint(WAY_OUT))?),
            Err(_) => {
                let seconds = METADATA_PATIENCE.as_secs();
                let message = format!("{}: no answer within {seconds} s; {WAY_OUT}", api.place());
                Err(ProviderError::new(ErrorKind::Unavailable, message))
            }
        }
    }

    async fn post_form<T: DeserializeOwned>(
        &self,
        url: &str,
        form: &[(&str, &str)],
        secrets: &[&SecretString],
    ) -> Result<T> {
        let (api, path, query) = self.at(url)?;
        let api = secrets.iter().fold(api, |api, secret| api.hiding(secret));
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let call = api.post(&path).query(query).body("application/x-www-form-urlencoded", body);
        call.send().await.map_err(|refusal| self.named(refusal))
    }

    /// Host, path and query of a URL that the credentials' file names.
    fn at(&self, url: &str) -> Result<(Api, String, Query)> {
        let wrong = |why: String| config(format!("{}: `{url}` in it is not a URL: {why}", self.field));
        let whole = Url::parse(url).map_err(|e| wrong(e.to_string()))?;
        let api =
            Api::new(&whole.origin().ascii_serialization()).map_err(|_| wrong("give http or https".to_owned()))?;
        Ok((api, whole.path().to_owned(), whole.query_pairs().into_owned().collect()))
    }

    /// A refusal of the credentials, which says where they are from. Google refuses most of them with 400.
    fn named(&self, refusal: Refusal) -> ProviderError {
        match refusal.status.map(|status| status.as_u16()) {
            Some(400 | 401 | 403 | 404) => {
                let code = refusal.body.get("error").and_then(Value::as_str).unwrap_or_default().to_owned();
                let mut error = refusal.but(ErrorKind::Credentials).error;
                error.message = match code.as_str() {
                    "" => format!("{}: {}", self.field, error.message),
                    code => format!("{}: {code}: {}", self.field, error.message),
                };
                error
            }
            _ => refusal.error,
        }
    }
}

/// What a service account says of itself, signed (RFC 7523). Whatever URL it is sent to, it is for Google's own.
fn assertion(account: &ServiceAccount, scope: &str, now: u64) -> Result<SecretString, String> {
    let der = pem::parse(account.private_key.expose_secret()).map_err(|_| "it is no PEM".to_owned())?;
    let key = rsa::KeyPair::from_pkcs8(der.contents()).map_err(|e| e.to_string())?;
    let header = json!({ "alg": "RS256", "typ": "JWT", "kid": account.private_key_id });
    let claims = json!({
        "iss": account.client_email, "scope": scope, "aud": TOKEN_URL, "iat": now, "exp": now + ASSERTION_LIFE,
    });
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&header), part(&claims));
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
        .map_err(|_| "it does not sign".to_owned())?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)).into())
}
