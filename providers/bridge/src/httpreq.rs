//! Servers written for lego's `httpreq` provider ("HTTP request" in lego's documentation), unchanged.
//!
//! Each value is one `POST` of JSON to `{endpoint}/present` and later to `{endpoint}/cleanup`:
//!
//! | `mode` | body |
//! |---|---|
//! | none | `{"fqdn": "_dnsauth.example.com.", "value": "VALUE"}` |
//! | `"RAW"` | `{"domain": "example.com", "token": "_dnsauth", "keyAuth": "VALUE"}` |
//!
//! with basic authentication when a user name and a password are given. Any status from 200 to 299 is success, whatever the
//! body. What differs from lego:
//!
//! - The record is the one that the CA wants: `_dnsauth`, not `_acme-challenge`.
//! - In `RAW` mode there is no ACME key authorization: the first label of the name stands in place of the token, the value itself
//!   in place of the key authorization, and aliases are left to the server.
//! - Redirects are not followed, since the credentials are for this server.
//! - The name servers are asked what is there, so that a value is not added twice and others' values survive a server that
//!   removes whole record sets.

use async_trait::async_trait;
use dcv_provider::{
    DcvProvider, Descriptor, ErrorKind, OptionSpec, ProofKind, ProviderError, Result,
    dns::Dns,
    http::{Api, Refusal},
    secret::Secret,
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Duration, timeout};

use crate::texts::{Act, Mode, TextHost, Texts, domain_and_label, wrong};

/// What this provider is.
pub const DESCRIPTOR: Descriptor = Descriptor {
    id: "httpreq",
    title: "Server for lego's httpreq provider",
    proofs: &[ProofKind::Txt],
    batch: "one request per record, one after the other",
    options: &[
        OptionSpec {
            name: "endpoint",
            help: "URL of the server (lego's HTTPREQ_ENDPOINT), without /present",
            required: true,
            secret: false,
        },
        OptionSpec {
            name: "mode",
            help: "\"RAW\" for domain, token and keyAuth (lego's HTTPREQ_MODE); else fqdn and value",
            required: false,
            secret: false,
        },
        OptionSpec {
            name: "username",
            help: "User name for basic authentication (lego's HTTPREQ_USERNAME)",
            required: false,
            secret: false,
        },
        OptionSpec {
            name: "password",
            help: "Password for basic authentication (lego's HTTPREQ_PASSWORD)",
            required: false,
            secret: true,
        },
        OptionSpec {
            name: "deadline",
            help: "Seconds a request may take (lego's HTTPREQ_HTTP_TIMEOUT), 30 at most and unless given",
            required: false,
            secret: false,
        },
    ],
    example: r#"type = "httpreq"
endpoint = "https://dns.example.com/hooks"
username = "dcv"
password = { file = "/etc/dcv/httpreq.password" }
"#,
};

/// How long a request may take, in seconds.
const LONGEST: u64 = 30;

/// The configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// URL of the server.
    pub endpoint: String,
    /// What it is sent.
    #[serde(default)]
    pub mode: Mode,
    /// User name for basic authentication.
    pub username: Option<String>,
    /// Password for basic authentication.
    pub password: Option<Secret>,
    /// How long a request may take, in seconds.
    pub deadline: Option<u64>,
}

/// Sets the provider up; `dns` is where aliases are followed and name servers asked what is there.
///
/// # Errors
/// [`ErrorKind::Config`] naming the field.
pub async fn from_config(config: Config, dns: Option<Dns>) -> Result<impl DcvProvider + std::fmt::Debug> {
    let mut api = Api::named("endpoint", &config.endpoint)?;
    match (&config.username, &config.password) {
        (Some(user), Some(password)) => {
            let password = password.read("password").await?;
            api = api.basic(user, &password)?;
        }
        (None, None) => {}
        // lego sends neither then, which nobody wants.
        (Some(_), None) => {
            return Err(wrong("password", "it is missing beside `username`; give it, or leave both out"));
        }
        (None, Some(_)) => {
            return Err(wrong("username", "it is missing beside `password`; give it, or leave both out"));
        }
    }
    let seconds = config.deadline.unwrap_or(LONGEST);
    if !(1..=LONGEST).contains(&seconds) {
        return Err(wrong("deadline", format!("{seconds} s is not possible; give 1 to {LONGEST} seconds")));
    }
    let server = Server { api, mode: config.mode, deadline: Duration::from_secs(seconds) };
    Ok(match config.mode {
        Mode::Record => Texts::new(server, dns),
        Mode::Raw => Texts::literal(server),
    })
}

#[derive(Debug)]
struct Server {
    api: Api,
    mode: Mode,
    deadline: Duration,
}

impl Server {
    async fn in_time(&self, call: impl Future<Output = Result<(), Refusal>>) -> Result<(), Refusal> {
        timeout(self.deadline, call).await.unwrap_or_else(|_| {
            let message = format!("{}: no answer in {} s", self.api.place(), self.deadline.as_secs());
            Err(Refusal::unsent(ProviderError::new(ErrorKind::Unavailable, message)))
        })
    }
}

#[async_trait]
impl TextHost for Server {
    fn descriptor(&self) -> &'static Descriptor {
        &DESCRIPTOR
    }

    fn place(&self) -> String {
        self.api.place()
    }

    /// The protocol has no question. Any answer to a `GET` of what takes only `POST` says at least that the server is there; a
    /// refusal of the credentials is one for `POST`, too.
    async fn look(&self) -> Result<()> {
        match self.in_time(self.api.get("/present").done()).await {
            Err(refusal) if refusal.status.is_none() || refusal.is(401) => Err(refusal.error),
            _ => Ok(()),
        }
    }

    async fn tell(&self, act: Act, name: &str, text: &str) -> Result<()> {
        let path = match act {
            Act::Add => "/present",
            Act::Remove => "/cleanup",
        };
        let told = self.in_time(self.api.post(path).json(&body(self.mode, name, text)).done()).await;
        // It may be the path or the zone that was not found.
        told.map_err(|refusal| if refusal.is(404) { refusal.hint("check endpoint").error } else { refusal.error })
    }
}

fn body(mode: Mode, name: &str, text: &str) -> Value {
    match mode {
        Mode::Record => json!({ "fqdn": format!("{name}."), "value": text }),
        Mode::Raw => {
            let (domain, label) = domain_and_label(name);
            json!({ "domain": domain, "token": label, "keyAuth": text })
        }
    }
}
