//! What `dcv.toml` says of a store, and the way from there to a [`Storage`].

use dcv_provider::{Descriptor, ErrorKind, OptionSpec, ProofKind, ProviderError, Result, secret::Secret};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::Storage;

/// What this provider is.
pub const DESCRIPTOR: Descriptor = Descriptor {
    id: "storage",
    title: "Object store or remote folder (S3, GCS, Azure Blob, WebDAV, FTPS, SFTP)",
    proofs: &[ProofKind::File],
    batch: "two requests per file (three on WebDAV, FTPS and SFTP), several files at once",
    options: &[
        option("service", "Which: `s3`, `gcs`, `azblob`, `webdav`, `ftps` or `sftp`.", true, false),
        option(
            "root",
            "Folder, or beginning of the objects' names, that the web server shows as /; `{host}` stands for the host name. Default: the top. WebDAV, FTPS and SFTP: it must exist.",
            false,
            false,
        ),
        option("bucket", "s3, gcs: the bucket. Required there.", false, false),
        option("container", "azblob: the container, e.g. `$web`. Required there.", false, false),
        option("region", "s3: the region, e.g. `eu-central-1`; default: AWS_REGION.", false, false),
        option(
            "endpoint",
            "URL of the service; required for azblob, webdav and ftps, `host` or `host:port` for sftp; default for s3 and gcs: Amazon's, Google's.",
            false,
            false,
        ),
        option(
            "access_key_id",
            "s3: the access key; default: the environment, profile or role that AWS tools use.",
            false,
            false,
        ),
        option("secret_access_key", "s3: the secret of the access key.", false, true),
        option("session_token", "s3: the session token of temporary keys.", false, true),
        option("acl", "s3, gcs: a canned ACL for new files, e.g. `public-read`; default: the bucket's.", false, false),
        option(
            "conditional",
            "s3: `false` for stores that do not know If-Match and If-None-Match; then a lost race with another process may go unnoticed.",
            false,
            false,
        ),
        option(
            "service_account",
            "gcs: the JSON key of a service account; default: the credentials that Google's tools use.",
            false,
            true,
        ),
        option("token", "gcs: an OAuth access token. webdav: a bearer token.", false, true),
        option("account", "azblob: the account's name, with `account_key`.", false, false),
        option("account_key", "azblob: the account's key.", false, true),
        option("sas_token", "azblob: a shared access signature with the rights rwdl, instead of the key.", false, true),
        option("user", "webdav, ftps, sftp: the user.", false, false),
        option("password", "webdav, ftps, sftp: the password.", false, true),
        option("private_key", "sftp: the private key, in OpenSSH, PEM or PuTTY form.", false, true),
        option("passphrase", "sftp: the passphrase of the private key.", false, true),
        option(
            "known_hosts",
            "sftp: file with the server's key, as ssh keeps it; default: ~/.ssh/known_hosts.",
            false,
            false,
        ),
    ],
    example: "type = \"storage\"\nservice = \"s3\"\nbucket = \"www-example-com\"\nregion = \"eu-central-1\"\nroot = \"sites/{host}\"\n",
};

const fn option(name: &'static str, help: &'static str, required: bool, secret: bool) -> OptionSpec {
    OptionSpec { name, help, required, secret }
}

/// The configuration, by service.
///
/// ```
/// let config: dcv_storage::Config = toml::from_str(r#"
///     service = "sftp"
///     endpoint = "web1.example.com"
///     user = "deploy"
///     private_key = { file = "/etc/dcv/deploy_ed25519" }
///     root = "/srv/www/{host}"
/// "#)?;
/// assert!(matches!(config, dcv_storage::Config::Sftp(_)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "service", rename_all = "lowercase")]
pub enum Config {
    /// Amazon S3 and stores that speak its protocol.
    S3(S3),
    /// Google Cloud Storage.
    Gcs(Gcs),
    /// Azure Blob Storage.
    Azblob(Azblob),
    /// A WebDAV server (RFC 4918).
    Webdav(Webdav),
    /// An FTP server, over TLS (RFC 4217).
    Ftps(Ftps),
    /// An SSH server with SFTP.
    Sftp(Sftp),
}

/// See [`Config::S3`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct S3 {
    /// The bucket.
    pub bucket: String,
    /// Beginning of the objects' names, with `{host}`.
    #[serde(default)]
    pub root: String,
    /// The region; else `AWS_REGION`.
    pub region: Option<String>,
    /// URL of the service, where it is not Amazon's.
    pub endpoint: Option<String>,
    /// With `secret_access_key`.
    pub access_key_id: Option<String>,
    /// With `access_key_id`.
    pub secret_access_key: Option<Secret>,
    /// For temporary keys.
    pub session_token: Option<Secret>,
    /// Canned ACL.
    pub acl: Option<String>,
    /// Whether the store knows conditional writes.
    #[serde(default = "yes")]
    pub conditional: bool,
}

/// See [`Config::Gcs`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gcs {
    /// The bucket.
    pub bucket: String,
    /// Beginning of the objects' names, with `{host}`.
    #[serde(default)]
    pub root: String,
    /// URL of the service, where it is not Google's.
    pub endpoint: Option<String>,
    /// JSON key of a service account.
    pub service_account: Option<Secret>,
    /// An OAuth access token.
    pub token: Option<Secret>,
    /// Predefined ACL.
    pub acl: Option<String>,
}

/// See [`Config::Azblob`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Azblob {
    /// The container.
    pub container: String,
    /// Beginning of the blobs' names, with `{host}`.
    #[serde(default)]
    pub root: String,
    /// `https://ACCOUNT.blob.core.windows.net`.
    pub endpoint: String,
    /// The account's name, with `account_key`.
    pub account: Option<String>,
    /// The account's key.
    pub account_key: Option<Secret>,
    /// A shared access signature.
    pub sas_token: Option<Secret>,
}

/// See [`Config::Webdav`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webdav {
    /// URL of the folder that `root` begins at.
    pub endpoint: String,
    /// Folder below the endpoint, with `{host}`.
    #[serde(default)]
    pub root: String,
    /// With `password`.
    pub user: Option<String>,
    /// With `user`.
    pub password: Option<Secret>,
    /// A bearer token, instead.
    pub token: Option<Secret>,
}

/// See [`Config::Ftps`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ftps {
    /// `ftps://HOST` or `ftps://HOST:PORT`: explicit TLS, port 21 by default.
    pub endpoint: String,
    /// Folder as the server names it, from its `/` on, with `{host}`.
    #[serde(default)]
    pub root: String,
    /// The user.
    pub user: String,
    /// The password.
    pub password: Secret,
}

/// See [`Config::Sftp`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sftp {
    /// `HOST` or `HOST:PORT`.
    pub endpoint: String,
    /// Folder as the server names it, from its `/` on, with `{host}`.
    #[serde(default)]
    pub root: String,
    /// The user.
    pub user: String,
    /// The password; or `private_key`.
    pub password: Option<Secret>,
    /// The private key; or `password`.
    pub private_key: Option<Secret>,
    /// Of the private key.
    pub passphrase: Option<Secret>,
    /// File with the server's key.
    pub known_hosts: Option<std::path::PathBuf>,
}

fn yes() -> bool {
    true
}

/// A wrong configuration.
pub(crate) fn wrong(message: impl Into<String>) -> ProviderError {
    ProviderError::new(ErrorKind::Config, message)
}

/// Reads a secret that may be left out.
pub(crate) async fn read(secret: Option<&Secret>, field: &str) -> Result<Option<SecretString>> {
    match secret {
        Some(secret) => secret.read(field).await.map(Some),
        None => Ok(None),
    }
}

/// The secret's text, for the library that needs it as such.
pub(crate) fn shown(secret: Option<&SecretString>) -> Option<String> {
    secret.map(|secret| secret.expose_secret().to_owned())
}

impl Config {
    pub(crate) async fn open(self) -> Result<Storage> {
        match self {
            #[cfg(feature = "s3")]
            Self::S3(config) => crate::objects::s3(config).await,
            #[cfg(feature = "gcs")]
            Self::Gcs(config) => crate::objects::gcs(config).await,
            #[cfg(feature = "azblob")]
            Self::Azblob(config) => crate::objects::azblob(config).await,
            #[cfg(feature = "webdav")]
            Self::Webdav(config) => crate::objects::webdav(config).await,
            #[cfg(feature = "ftps")]
            Self::Ftps(config) => crate::objects::ftps(config).await,
            #[cfg(feature = "sftp")]
            Self::Sftp(config) => crate::sftp::open(config).await,
            #[allow(unreachable_patterns, reason = "reached when a service is left out")]
            left_out => Err(wrong(format!(
                "service: this dcv was built without `{}`; build it with that feature",
                left_out.name()
            ))),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::S3(_) => "s3",
            Self::Gcs(_) => "gcs",
            Self::Azblob(_) => "azblob",
            Self::Webdav(_) => "webdav",
            Self::Ftps(_) => "ftps",
            Self::Sftp(_) => "sftp",
        }
    }
}
