//! Puts DCV files where a web server or a CDN takes its content from: object stores (Amazon S3 and its likes, Google Cloud
//! Storage, Azure Blob Storage) and remote folders (WebDAV, FTPS, SFTP).
//!
//! This module decides what a file is to hold and when to try again; `Store` is the little that a service must be able to do.
//! Values share a file as [`dcv_provider::web`] says: what others put there stays, to the octet.
//!
//! A change is read, edit, write. How safe that is beside other writers depends on the service:
//!
//! | service | a reader sees half a file | another process writes between our reading and writing |
//! |---|---|---|
//! | `s3`, `gcs`, `azblob` | never | refused by the store (`If-Match`, generation), done anew |
//! | `sftp` | never: temporary name, then rename | a new file: refused. Else noticed if it happens before our look afterwards |
//! | `webdav` | as the server has it | noticed if it happens before our look afterwards |
//! | `ftps` | for a moment: FTP writes in place | noticed if it happens before our look afterwards |
//!
//! Writers within one process take turns. Folders are made below the root, and stay. That requests for the name reach this place is
//! found out by the caller, who fetches the file.
//!
//! Nothing else needs to be installed: SSH and TLS are built in (ring), no `ssh` or `aws` program is run.

#![cfg_attr(
    not(all(
        feature = "s3",
        feature = "gcs",
        feature = "azblob",
        feature = "webdav",
        feature = "ftps",
        feature = "sftp"
    )),
    allow(dead_code, clippy::unused_async, reason = "what services share is not used by each of them")
)]

mod config;
#[cfg(any(feature = "s3", feature = "gcs", feature = "azblob", feature = "webdav", feature = "ftps"))]
mod objects;
#[cfg(feature = "sftp")]
mod sftp;

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    sync::{Arc, LazyLock},
};

use async_trait::async_trait;
pub use config::{Azblob, Config, DESCRIPTOR, Ftps, Gcs, S3, Sftp, Webdav};
use dcv_provider::{DcvProvider, Descriptor, ErrorKind, Place, Proof, ProviderError, Result, web};
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::Mutex;

/// How often a change is tried anew when others write at the same time.
const ROUNDS: usize = 20;
/// The largest file that is added to, in octets. A proof has about a hundred.
const LARGEST: u64 = 64 * 1024;

/// A file as it was read.
pub(crate) struct Found {
    content: Vec<u8>,
    /// What an object store calls this state of the object, and its headers.
    seen: Option<opendal::Metadata>,
}

/// What a service must be able to do. Files are named as the service names them.
///
/// Errors name the service and its words; the caller adds which proofs are concerned.
#[async_trait]
pub(crate) trait Store: Send + Sync {
    /// Whether a write or removal is refused, as [`ErrorKind::Conflict`], when the file is not as it was read. If not, the caller
    /// looks afterwards.
    fn refuses_lost_races(&self) -> bool;

    /// How many files may be worked on at once.
    fn width(&self) -> usize;

    /// Finds out whether there is such a root.
    async fn check(&self, root: &str) -> Result<()>;

    /// Reads a file of at most [`LARGEST`] octets.
    async fn read(&self, file: &str) -> Result<Option<Found>>;

    /// Makes the file, or replaces it as it was read. Makes the folders between root and file.
    async fn write(&self, root: &str, file: &str, before: Option<&Found>, content: Vec<u8>) -> Result<()>;

    /// Removes the file as it was read.
    async fn remove(&self, file: &str, before: &Found) -> Result<()>;
}

/// Puts DCV files on a store. Clones share its connections.
#[derive(Clone)]
pub struct Storage {
    store: Arc<dyn Store>,
    /// `{host}` stands for the host.
    root: Arc<str>,
    /// The service and what of it is used, for people.
    place: Arc<str>,
}

impl std::fmt::Debug for Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Storage").field("place", &self.place).field("root", &self.root).finish_non_exhaustive()
    }
}

/// A provider for this configuration. Credentials are read, nothing is asked of the service yet.
///
/// # Errors
/// [`ErrorKind::Config`] naming the field, also when this program was built without the service.
pub async fn from_config(config: Config) -> Result<Storage> {
    config.open().await
}

/// What a change makes of the content: nothing means that the file goes.
type Edit = fn(Option<&[u8]>, &[Proof]) -> Option<Vec<u8>>;

impl Storage {
    pub(crate) fn new(store: impl Store + 'static, root: &str, place: String) -> Result<Self> {
        let segments = || root.split('/').filter(|segment| !segment.is_empty());
        if segments().any(|segment| matches!(segment, "." | "..")) || root.contains(|c: char| c.is_control()) {
            let message = format!("root: `{}` leads elsewhere; write it without . and ..", root.escape_debug());
            return Err(ProviderError::new(ErrorKind::Config, message));
        }
        let top = if root.starts_with('/') { "/" } else { "" };
        let root = format!("{top}{}", segments().collect::<Vec<_>>().join("/"));
        Ok(Self { store: Arc::new(store), root: root.into(), place: place.into() })
    }

    fn target(&self, proof: &Proof) -> Result<Target> {
        let (host, segments) = web::locate(proof)?;
        let root = self.root.replace("{host}", host);
        let slash = if root.is_empty() || root.ends_with('/') { "" } else { "/" };
        Ok(Target { file: format!("{root}{slash}{}", segments.join("/")), root })
    }

    /// Edits every file concerned. One that fails does not keep the others from their turn.
    async fn each_file(&self, proofs: &[Proof], edit: Edit) -> Result<()> {
        let mut files: BTreeMap<Target, Vec<Proof>> = BTreeMap::new();
        for proof in proofs {
            files.entry(self.target(proof)?).or_default().push(proof.clone());
        }
        let changes = files.into_iter().map(async |(target, proofs)| {
            let subjects = proofs.iter().map(ToString::to_string);
            self.change(&target, &proofs, edit).await.err().map(|error| error.about(subjects))
        });
        let failures: Vec<ProviderError> = stream::iter(changes)
            .buffer_unordered(self.store.width())
            .filter_map(async |failed| failed)
            .collect()
            .await;
        match failures.into_iter().reduce(|first, other| first.about(other.subjects)) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    async fn change(&self, Target { root, file }: &Target, proofs: &[Proof], edit: Edit) -> Result<()> {
        let _turn = turn(file).lock().await;
        for _ in 0..ROUNDS {
            let before = self.store.read(file).await?;
            let content = before.as_ref().map(|found| &found.content[..]);
            let after = edit(content, proofs);
            if after.as_deref() == content {
                return Ok(());
            }
            let changed = match (after, &before) {
                (Some(after), before) => self.store.write(root, file, before.as_ref(), after).await,
                (None, Some(before)) => self.store.remove(file, before).await,
                (None, None) => return Ok(()),
            };
            match changed {
                Ok(()) if self.store.refuses_lost_races() => {
                    tracing::debug!(%file, place = %self.place, "changed");
                    return Ok(());
                }
                // Look whether it is there: another writer may have been in between.
                Ok(()) => {}
                Err(error) if error.kind == ErrorKind::Conflict => {}
                Err(error) => return Err(error),
            }
        }
        let message = format!("{file} at {}: other writers were always faster", self.place);
        Err(ProviderError::new(ErrorKind::Conflict, message))
    }
}

#[async_trait]
impl DcvProvider for Storage {
    fn descriptor(&self) -> &Descriptor {
        &DESCRIPTOR
    }

    async fn preflight(&self, proofs: &[Proof]) -> Result<Vec<Place>> {
        stream::iter(proofs.to_vec())
            .map(async |proof| {
                let Target { root, file } = self.target(&proof)?;
                let looked = async {
                    self.store.check(&root).await?;
                    self.store.read(&file).await
                };
                looked.await.map_err(|error| error.about([proof.to_string()]))?;
                Ok(Place { target: file, within: self.place.to_string() })
            })
            .buffered(self.store.width())
            .try_collect()
            .await
    }

    async fn present(&self, proofs: &[Proof]) -> Result<()> {
        self.each_file(proofs, |content, proofs| Some(web::with_values(content, proofs))).await
    }

    async fn retract(&self, proofs: &[Proof]) -> Result<()> {
        let without = |content: Option<&[u8]>, proofs: &[Proof]| {
            let content = content?;
            let after = web::without_values(content, proofs);
            // An empty file that we have not emptied is somebody else's.
            (!after.is_empty() || content.is_empty()).then_some(after)
        };
        self.each_file(proofs, without).await
    }
}

/// A file to be, and the root it is below.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Target {
    root: String,
    file: String,
}

/// The lock of a file, shared by all providers of this process and, harmlessly, with some other files.
fn turn(file: &str) -> &'static Mutex<()> {
    static TURNS: LazyLock<[Mutex<()>; 64]> = LazyLock::new(|| std::array::from_fn(|_| Mutex::new(())));
    let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(file);
    &TURNS[usize::try_from(hash % 64).expect("less than 64")]
}

/// A file that is too large to be a proof's.
pub(crate) fn too_large(file: &str) -> ProviderError {
    let message = format!("{file} has more than {LARGEST} octets, so it is no file of proofs; move it away");
    ProviderError::new(ErrorKind::Rejected, message)
}

/// One line of a service's words, without the secrets that it may repeat.
pub(crate) fn words(text: &str, secrets: &[secrecy::SecretString]) -> String {
    use secrecy::ExposeSecret;
    let mut line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for secret in secrets {
        line = line.replace(secret.expose_secret(), "…");
    }
    match line.char_indices().nth(400) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Mutex as StdMutex,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    /// A store in memory, at which another process writes now and then between our reading and writing, or just after.
    #[derive(Default)]
    struct Busy {
        content: Arc<StdMutex<Option<String>>>,
        refuses: bool,
        /// How many more of our changes meet another's.
        meetings: Arc<AtomicUsize>,
    }

    impl Busy {
        fn meets(&self) -> bool {
            self.meetings.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
        }

        fn change(&self, after: Option<String>) -> Result<()> {
            let theirs = self.meets();
            let mut content = self.content.lock().expect("no panic");
            match (theirs, self.refuses) {
                (false, _) => *content = after,
                (true, true) => {
                    *content = Some("theirs".to_owned());
                    return Err(ProviderError::new(ErrorKind::Conflict, "changed meanwhile"));
                }
                // They have read before us and write after us.
                (true, false) => *content = Some("theirs".to_owned()),
            }
            Ok(())
        }
    }

    #[async_trait]
    impl Store for Busy {
        fn refuses_lost_races(&self) -> bool {
            self.refuses
        }
        fn width(&self) -> usize {
            2
        }
        async fn check(&self, _: &str) -> Result<()> {
            Ok(())
        }
        async fn read(&self, _: &str) -> Result<Option<Found>> {
            let content = self.content.lock().expect("no panic").clone();
            Ok(content.map(|content| Found { content: content.into_bytes(), seen: None }))
        }
        async fn write(&self, _: &str, _: &str, _: Option<&Found>, content: Vec<u8>) -> Result<()> {
            self.change(Some(String::from_utf8(content).expect("text")))
        }
        async fn remove(&self, _: &str, _: &Found) -> Result<()> {
            self.change(None)
        }
    }

    #[tokio::test]
    async fn a_lost_race_is_run_again_whether_the_store_tells_or_not() {
        let path = "/.well-known/pki-validation/fileauth.txt".to_owned();
        let proofs = [Proof::File { host: "example.com".to_owned(), path, body: "ours".to_owned() }];
        for refuses in [true, false] {
            for (meetings, kept) in [(0, "ours"), (1, "ours\ntheirs"), (ROUNDS - 2, "ours\ntheirs")] {
                let busy = Busy { refuses, ..Busy::default() };
                let (content, left) = (Arc::clone(&busy.content), Arc::clone(&busy.meetings));
                let storage = Storage::new(busy, "", "memory".to_owned()).expect("a provider");
                left.store(meetings, Ordering::SeqCst);
                storage.present(&proofs).await.expect("presented");
                assert_eq!(content.lock().expect("no panic").as_deref(), Some(kept), "{refuses} {meetings}");
                storage.retract(&proofs).await.expect("retracted");
                let rest = (meetings > 0).then_some("theirs");
                assert_eq!(content.lock().expect("no panic").as_deref(), rest, "{refuses} {meetings}");
            }
            let busy = Busy { refuses, ..Busy::default() };
            busy.meetings.store(usize::MAX, Ordering::SeqCst);
            let storage = Storage::new(busy, "", "memory".to_owned()).expect("a provider");
            let error = storage.present(&proofs).await.expect_err("others are always faster");
            assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
            assert!(error.to_string().contains("memory") && error.to_string().contains("example.com"), "{error}");
        }
    }

    #[test]
    fn the_services_words_become_one_line_without_secrets() {
        let secrets = ["planted".to_owned().into()];
        assert_eq!(words(" no \r\n such\tkey planted ", &secrets), "no such key …");
        assert_eq!(words(&"é".repeat(500), &[]).chars().count(), 401);
    }

    #[tokio::test]
    async fn a_wrong_configuration_names_its_field() {
        for (config, part) in [
            ("service = 's3'", "missing field `bucket`"),
            ("service = 's3'\nbucket = 'b'\nuser = 'u'", "unknown field `user`"),
            ("service = 'smb'", "unknown variant `smb`"),
            ("service = 's3'\nbucket = 'b'\nregion = 'r'\naccess_key_id = 'a'", "access_key_id: "),
            ("service = 's3'\nbucket = 'b'\nregion = 'r'\nroot = 'a/../b'", "root: "),
            ("service = 's3'\nbucket = 'b'\nregion = 'r'\nendpoint = 's3.example.com'", "endpoint: "),
            ("service = 'azblob'\ncontainer = 'c'\nendpoint = 'https://a.example.com'", "account_key: "),
            ("service = 'webdav'\nendpoint = 'https://u:p@example.com'", "endpoint: "),
            ("service = 'webdav'\nendpoint = 'https://example.com'\nuser = 'u'", "password: "),
            ("service = 'ftps'\nendpoint = 'ftp://example.com'\nuser = 'u'\npassword = 'p'", "endpoint: "),
            ("service = 'sftp'\nendpoint = 'example.com'\nuser = 'u'", "private_key: "),
            ("service = 'sftp'\nendpoint = 'example.com'\nuser = 'u'\nprivate_key = 'planted'", "private_key: "),
            ("service = 'sftp'\nendpoint = 'u@example.com'\nuser = 'u'\npassword = 'p'", "endpoint: "),
        ] {
            let error = match toml::from_str::<Config>(config) {
                Ok(config) => from_config(config).await.expect_err(part).to_string(),
                Err(error) => error.to_string(),
            };
            assert!(error.contains(part) && !error.contains("planted"), "{config}: {error}");
        }
    }
}
