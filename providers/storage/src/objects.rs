//! The services that Apache OpenDAL speaks to: S3, GCS, Azure Blob, WebDAV, FTPS.
//!
//! Object stores are asked for the object's state first and its content second; the write is bound to that state, so a change in
//! between makes it fail. On FTP only the content is asked for: its listings are not reliable enough to say that a file is not there.

use async_trait::async_trait;
use dcv_provider::{ErrorKind, ProviderError, Result, http};
use futures_util::TryStreamExt;
use opendal::{Builder, HttpTransporter, Metadata, OperationContext, Operator};
use secrecy::SecretString;

use crate::{Found, LARGEST, Storage, Store, config::wrong, too_large, words};

/// What a service can do for us.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// Objects without folders, whose writes may depend on what is there.
    Conditional,
    /// Objects without folders.
    Plain,
    /// Folders.
    Folders,
    /// Folders, and the state of a file cannot be trusted.
    Ftp,
}

/// A service reached through OpenDAL.
struct Objects {
    operator: Operator,
    manner: Manner,
    place: String,
    /// Not to be repeated in errors.
    secrets: Vec<SecretString>,
}

fn open(
    service: impl Builder,
    manner: Manner,
    root: &str,
    place: String,
    secrets: impl IntoIterator<Item = Option<SecretString>>,
) -> Result<Storage> {
    let secrets: Vec<SecretString> = secrets.into_iter().flatten().collect();
    // The client also installs ring for those services that use TLS without HTTP.
    let transport = opendal_http_transport_reqwest::ReqwestTransport::new(http::client()?);
    let operator = Operator::new(service)
        .map_err(|error| wrong(format!("{place}: {}", words(&text(&error), &secrets))))?
        .with_context(OperationContext::new().with_http_transport(HttpTransporter::new(transport)));
    let objects = Objects { operator, manner, place: place.clone(), secrets };
    Storage::new(objects, root.trim_start_matches('/'), place)
}

/// An endpoint with one of these schemes, without a credential in it.
fn endpoint<'a>(text: &'a str, schemes: &[&str]) -> Result<&'a str> {
    let rest = schemes.iter().find_map(|scheme| text.strip_prefix(scheme)?.strip_prefix("://"));
    match rest {
        Some(rest) if rest.contains('@') => {
            Err(wrong("endpoint: it holds a user or a password; give these as `user` and `password`"))
        }
        Some(rest) if !rest.is_empty() => Ok(text.trim_end_matches('/')),
        _ => Err(wrong(format!("endpoint: `{text}` does not begin with {}://", schemes.join(":// or ")))),
    }
}

#[cfg(feature = "s3")]
pub(crate) async fn s3(config: crate::S3) -> Result<Storage> {
    use crate::config::{read, shown};
    let secret = read(config.secret_access_key.as_ref(), "secret_access_key").await?;
    let session = read(config.session_token.as_ref(), "session_token").await?;
    if config.access_key_id.is_some() != secret.is_some() {
        return Err(wrong(
            "access_key_id: it goes with `secret_access_key`; give both, or neither for the environment's",
        ));
    }
    let mut service = opendal::services::S3::default().bucket(&config.bucket);
    let mut place = format!("bucket {} (s3)", config.bucket);
    if let Some(url) = &config.endpoint {
        service = service.endpoint(endpoint(url, &["https", "http"])?);
        place = format!("bucket {} at {url} (s3)", config.bucket);
    } else if !config.bucket.contains('.') {
        // Amazon's own form; a dot would not fit its certificate.
        service = service.enable_virtual_host_style();
    }
    if let Some(region) = &config.region {
        service = service.region(region);
    }
    if let (Some(id), Some(secret)) = (&config.access_key_id, shown(secret.as_ref())) {
        service = service.access_key_id(id).secret_access_key(&secret).disable_config_load();
    }
    if let Some(token) = shown(session.as_ref()) {
        service = service.session_token(&token);
    }
    if let Some(acl) = &config.acl {
        service = service.default_acl(acl);
    }
    let manner = if config.conditional { Manner::Conditional } else { Manner::Plain };
    open(service, manner, &config.root, place, [secret, session])
}

#[cfg(feature = "gcs")]
pub(crate) async fn gcs(config: crate::Gcs) -> Result<Storage> {
    use base64::{Engine, engine::general_purpose::STANDARD};
    use secrecy::ExposeSecret;

    use crate::config::{read, shown};
    let account = read(config.service_account.as_ref(), "service_account").await?;
    let token = read(config.token.as_ref(), "token").await?;
    let mut service = opendal::services::Gcs::default().bucket(&config.bucket);
    let mut place = format!("bucket {} (gcs)", config.bucket);
    if let Some(url) = &config.endpoint {
        service = service.endpoint(endpoint(url, &["https", "http"])?);
        place = format!("bucket {} at {url} (gcs)", config.bucket);
    }
    if let Some(account) = &account {
        service =
            service.credential(&STANDARD.encode(account.expose_secret())).disable_config_load().disable_vm_metadata();
    }
    if let Some(token) = shown(token.as_ref()) {
        service = service.token(token);
    }
    if let Some(acl) = &config.acl {
        service = service.predefined_acl(acl);
    }
    open(service, Manner::Conditional, &config.root, place, [account, token])
}

#[cfg(feature = "azblob")]
pub(crate) async fn azblob(config: crate::Azblob) -> Result<Storage> {
    use crate::config::{read, shown};
    let key = read(config.account_key.as_ref(), "account_key").await?;
    let sas = read(config.sas_token.as_ref(), "sas_token").await?;
    let url = endpoint(&config.endpoint, &["https", "http"])?;
    let mut service = opendal::services::Azblob::default().container(&config.container).endpoint(url);
    match (&config.account, shown(key.as_ref()), shown(sas.as_ref())) {
        (Some(account), Some(key), None) => service = service.account_name(account).account_key(&key),
        (_, None, Some(sas)) => service = service.sas_token(sas.trim_start_matches('?')),
        _ => return Err(wrong("account_key: give `account` and `account_key`, or `sas_token`, and not both")),
    }
    let place = format!("container {} at {url} (azblob)", config.container);
    open(service, Manner::Conditional, &config.root, place, [key, sas])
}

#[cfg(feature = "webdav")]
pub(crate) async fn webdav(config: crate::Webdav) -> Result<Storage> {
    use crate::config::{read, shown};
    let password = read(config.password.as_ref(), "password").await?;
    let token = read(config.token.as_ref(), "token").await?;
    let url = endpoint(&config.endpoint, &["https", "http"])?;
    let mut service = opendal::services::Webdav::default().endpoint(url);
    match (&config.user, shown(password.as_ref()), shown(token.as_ref())) {
        (Some(user), Some(password), None) => service = service.username(user).password(&password),
        (None, None, Some(token)) => service = service.token(&token),
        (None, None, None) => {}
        _ => return Err(wrong("password: give `user` and `password`, or `token`, and not both")),
    }
    open(service, Manner::Folders, &config.root, format!("{url} (webdav)"), [password, token])
}

#[cfg(feature = "ftps")]
pub(crate) async fn ftps(config: crate::Ftps) -> Result<Storage> {
    use crate::config::shown;
    let password = config.password.read("password").await?;
    let url = endpoint(&config.endpoint, &["ftps"])?;
    let service = opendal::services::Ftp::default()
        .endpoint(url)
        .root("/")
        .user(&config.user)
        .password(&shown(Some(&password)).unwrap_or_default());
    open(service, Manner::Ftp, &config.root, format!("{url} (ftps)"), [Some(password)])
}

#[async_trait]
impl Store for Objects {
    fn refuses_lost_races(&self) -> bool {
        self.manner == Manner::Conditional
    }

    fn width(&self) -> usize {
        match self.manner {
            // Servers allow few connections of one user.
            Manner::Ftp => 3,
            Manner::Folders => 8,
            Manner::Conditional | Manner::Plain => 16,
        }
    }

    async fn check(&self, root: &str) -> Result<()> {
        let folder = format!("{root}/");
        match self.manner {
            // Also tells whether there is such a bucket; its answers on single objects do not.
            Manner::Conditional | Manner::Plain => {
                let first = async { self.operator.lister_with(&folder).limit(1).await?.try_next().await };
                first.await.map(drop).map_err(|error| self.failed(&folder, "listed", &error))
            }
            Manner::Folders | Manner::Ftp => match self.operator.stat(&folder).await {
                Ok(found) if found.is_dir() => Ok(()),
                Ok(_) => Err(self.no_root(root, "it is not a folder")),
                Err(error) if error.kind() == opendal::ErrorKind::NotFound => {
                    Err(self.no_root(root, "there is no such folder"))
                }
                Err(error) => Err(self.failed(&folder, "looked at", &error)),
            },
        }
    }

    async fn read(&self, file: &str) -> Result<Option<Found>> {
        let failed = |error: &opendal::Error| self.failed(file, "read", error);
        let seen = match self.manner {
            Manner::Ftp => None,
            _ => match self.operator.stat(file).await {
                Ok(found) if !found.is_file() => {
                    let message = format!("{file} at {}: a folder is in its place; move it away", self.place);
                    return Err(ProviderError::new(ErrorKind::Rejected, message));
                }
                Ok(found) if found.content_length() > LARGEST => return Err(too_large(file)),
                Ok(found) => Some(found),
                Err(error) if error.kind() == opendal::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(failed(&error)),
            },
        };
        match self.operator.read(file).await {
            Ok(content) if content.len() as u64 > LARGEST => Err(too_large(file)),
            Ok(content) => Ok(Some(Found { content: content.to_vec(), seen })),
            Err(error) if error.kind() == opendal::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(&error)),
        }
    }

    async fn write(&self, root: &str, file: &str, before: Option<&Found>, content: Vec<u8>) -> Result<()> {
        if matches!(self.manner, Manner::Folders | Manner::Ftp) && before.is_none() {
            // The service would make the root as well, where nobody looks for it.
            self.check(root).await?;
        }
        let seen = before.and_then(|found| found.seen.as_ref());
        if let Some(encoding) = seen.and_then(Metadata::content_encoding).filter(|encoding| *encoding != "identity") {
            let message = format!("{file} at {} is stored with the encoding {encoding}; move it away", self.place);
            return Err(ProviderError::new(ErrorKind::Rejected, message));
        }
        let mut write = self.operator.write_with(file, content);
        let able = self.operator.info().capability();
        if able.write_with_content_type {
            write = write.content_type(seen.and_then(Metadata::content_type).unwrap_or("text/plain"));
        }
        if able.write_with_cache_control {
            // The value of one order must not be shown to the CA when it asks for the next one's.
            write = write.cache_control(seen.and_then(Metadata::cache_control).unwrap_or("no-store"));
        }
        if self.manner == Manner::Conditional {
            write = match seen {
                Some(seen) => write.if_not_changed(seen),
                None => write.if_not_exists(true),
            };
        }
        write.await.map(drop).map_err(|error| self.failed(file, "written", &error))
    }

    async fn remove(&self, file: &str, before: &Found) -> Result<()> {
        let mut delete = self.operator.delete_with(file);
        if let (Manner::Conditional, Some(seen)) = (self.manner, &before.seen) {
            delete = delete.if_not_changed(seen);
        }
        delete.await.map_err(|error| self.failed(file, "removed", &error))
    }
}

impl Objects {
    fn no_root(&self, root: &str, why: &str) -> ProviderError {
        let message =
            format!("root: `{root}` at {} cannot be used: {why}; name the web server's document root", self.place);
        ProviderError::new(ErrorKind::NotServed, message)
    }

    fn failed(&self, file: &str, verb: &str, error: &opendal::Error) -> ProviderError {
        let said = words(&text(error), &self.secrets);
        let (kind, way_out) = judge(error, &said);
        let said = if said.is_empty() { error.kind().to_string() } else { said };
        ProviderError::new(kind, format!("{file} at {} could not be {verb}: {said}{way_out}", self.place))
    }
}

/// The service's words and those of the layers below, without the request: that may hold a signature.
fn text(error: &opendal::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    // An HTML page says less than its status.
    if error.message().trim_start().starts_with('<') {
        parts.push(plain(error.message()));
    } else {
        parts.push(error.message().to_owned());
    }
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !parts.iter().any(|part| part.contains(&cause_text)) {
            parts.push(cause_text);
        }
        source = cause.source();
    }
    if let Some(status) = status(error) {
        parts.insert(0, format!("HTTP {status}"));
    }
    parts.retain(|part| !part.trim().is_empty());
    parts.join(": ")
}

/// The text of a page of HTML or XML.
fn plain(page: &str) -> String {
    let mut text = String::new();
    let mut inside = false;
    for c in page.chars() {
        match c {
            '<' => inside = true,
            '>' => {
                inside = false;
                text.push(' ');
            }
            c if !inside => text.push(c),
            _ => {}
        }
    }
    text
}

/// The HTTP status, which the library tells only in its text.
fn status(error: &opendal::Error) -> Option<u16> {
    let whole = error.to_string();
    let (_, rest) = whole.split_once("status: ")?;
    rest.get(..3)?.parse().ok()
}

fn judge(error: &opendal::Error, said: &str) -> (ErrorKind, &'static str) {
    use opendal::ErrorKind as Theirs;
    match (error.kind(), status(error)) {
        // Someone else was faster, or the store was just busy with the same object (409).
        (Theirs::ConditionNotMatch | Theirs::Conflict | Theirs::AlreadyExists, _) => (ErrorKind::Conflict, ""),
        (Theirs::PermissionDenied, _) => (
            ErrorKind::Credentials,
            "; allow these credentials to list, read, write and delete there (S3 says the same of missing files without s3:ListBucket)",
        ),
        (_, Some(401)) => (ErrorKind::Credentials, "; correct the credentials"),
        (Theirs::ConfigInvalid, _) => (ErrorKind::Config, ""),
        (Theirs::NotFound, _) => (ErrorKind::NotServed, "; the bucket, container or folder must exist"),
        (Theirs::RateLimited, _) => (ErrorKind::RateLimited, ""),
        (Theirs::IsADirectory | Theirs::NotADirectory, _) => (ErrorKind::Rejected, "; move away what is in the way"),
        (Theirs::Unsupported, _) | (_, Some(501)) => {
            (ErrorKind::Rejected, "; on s3, set `conditional = false` if the store knows no conditional writes")
        }
        _ if said.contains("[530]") => (ErrorKind::Credentials, "; correct user and password"),
        (_, Some(400..=499)) if !error.is_temporary() => (ErrorKind::Rejected, ""),
        _ => (ErrorKind::Unavailable, ""),
    }
}
