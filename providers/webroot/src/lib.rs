//! Shows DCV files through a web server that already runs: they are written below its document root.
//!
//! The CA asks for `http://<host>/.well-known/pki-validation/fileauth.txt` (Baseline Requirements 3.2.2.4.18), which is
//! one name for all orders, and is content when the answer *contains* its value. So a file that is there is kept: our
//! value goes on a line of its own before the rest, since the CA reads only the beginning, and is later taken out again
//! alone. The last value out takes the file with it, and the folders that are empty then.
//!
//! Writers in other tasks and processes take turns by a lock file beside the file; readers see the old or the new file,
//! never half of one. (For Unix: it relies on what a locked and removed file is there.) Symbolic links in the folders are followed, wherever they lead: they are the administrator's
//! wish; a link in place of the file itself is refused. That requests reach this document root, on every server behind
//! the name, is found out by the caller, who fetches the file.

use std::{
    collections::BTreeMap,
    fmt,
    fs::{self, File, OpenOptions, Permissions},
    io::{self, ErrorKind as Io, Write},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use dcv_provider::{
    DcvProvider, Descriptor, ErrorKind, OptionSpec, Place, Proof, ProofKind, ProviderError, Result, web,
};
use rustix::fs::{Access, AtFlags, CWD, accessat};
use serde::{Deserialize, Deserializer};

/// What this provider is.
pub const DESCRIPTOR: Descriptor = Descriptor {
    id: "webroot",
    title: "Document root of a running web server",
    proofs: &[ProofKind::File],
    batch: "one write per file, whatever the number of names that share it",
    options: &[
        OptionSpec {
            name: "root",
            help: "Document root, or a list of roots that all get the file; `{host}` stands for the host name.",
            required: true,
            secret: false,
        },
        OptionSpec {
            name: "file_mode",
            help: "Permissions of a new file in octal; default \"0644\", so that the web server can read it.",
            required: false,
            secret: false,
        },
    ],
    example: "type = \"webroot\"\nroot = \"/var/www/{host}/html\"\n",
};

/// The configuration: `root = "/var/www/html"`.
///
/// ```
/// let config: dcv_webroot::Config = toml::from_str(r#"root = ["/srv/a", "/srv/{host}"]"#)?;
/// let provider = dcv_webroot::Webroot::new(config)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The document roots. Every file is written below each of them.
    #[serde(alias = "roots", deserialize_with = "one_or_many")]
    pub root: Vec<PathBuf>,
    /// Permissions of new files; a file that is there keeps its own.
    #[serde(default = "default_mode", deserialize_with = "octal")]
    pub file_mode: u32,
}

impl Config {
    /// One document root, everything else by default.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: vec![root.into()], file_mode: default_mode() }
    }
}

/// Writes DCV files below document roots.
#[derive(Clone, Debug)]
pub struct Webroot {
    config: Arc<Config>,
}

impl Webroot {
    /// A provider for these roots. Nothing is touched yet.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when a root is missing or not absolute, or the mode is none.
    pub fn new(config: Config) -> Result<Self> {
        if config.root.is_empty() {
            return Err(ProviderError::new(
                ErrorKind::Config,
                "root: there is none; name the web server's document root",
            ));
        }
        if let Some(root) = config.root.iter().find(|root| !root.is_absolute()) {
            let message = format!("root: `{}` is not an absolute path; write it from / on", root.display());
            return Err(ProviderError::new(ErrorKind::Config, message));
        }
        // The owner must be able to read it, to take a value out again; anything beyond rw bits is a mistake.
        if config.file_mode & !0o666 != 0 || config.file_mode & 0o400 == 0 {
            let message = format!("file_mode: {:04o} is no mode for a file to be read; use \"0644\"", config.file_mode);
            return Err(ProviderError::new(ErrorKind::Config, message));
        }
        Ok(Self { config: Arc::new(config) })
    }

    /// Runs `act` on every file concerned, with the proofs that belong there, on a thread that may block. A file that
    /// fails does not keep the others from their turn.
    async fn each_file(
        &self,
        proofs: &[Proof],
        act: impl Fn(&Target, &[Proof]) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        let mut files: BTreeMap<Target, Vec<Proof>> = BTreeMap::new();
        for proof in proofs {
            for target in self.targets(proof)? {
                files.entry(target).or_default().push(proof.clone());
            }
        }
        blocking(move || {
            let failed = |(target, proofs): (&Target, &Vec<Proof>)| {
                act(target, proofs).err().map(|error| error.about(proofs.iter().map(ToString::to_string)))
            };
            match files.iter().filter_map(failed).reduce(|first, other| first.about(other.subjects)) {
                Some(error) => Err(error),
                None => Ok(()),
            }
        })
        .await
    }

    /// The files of a proof, one below each root.
    fn targets(&self, proof: &Proof) -> Result<Vec<Target>> {
        let (host, segments) = web::locate(proof)?;
        let below: PathBuf = segments.iter().collect();
        let target = |root: &PathBuf| {
            let root = match root.to_str() {
                Some(text) => PathBuf::from(text.replace("{host}", host)),
                None => root.clone(),
            };
            Target { file: root.join(&below), root }
        };
        Ok(self.config.root.iter().map(target).collect())
    }
}

#[async_trait]
impl DcvProvider for Webroot {
    fn descriptor(&self) -> &Descriptor {
        &DESCRIPTOR
    }

    async fn preflight(&self, proofs: &[Proof]) -> Result<Vec<Place>> {
        let targets = proofs.iter().map(|proof| self.targets(proof)).collect::<Result<Vec<_>>>()?;
        blocking(move || {
            for target in targets.iter().flatten() {
                target.could_be_written()?;
            }
            let list = |paths: Vec<&Path>| paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>();
            let place = |targets: &Vec<Target>| Place {
                target: list(targets.iter().map(|target| target.file.as_path()).collect()).join(", "),
                within: list(targets.iter().map(|target| target.root.as_path()).collect()).join(", "),
            };
            Ok(targets.iter().map(place).collect())
        })
        .await
    }

    async fn present(&self, proofs: &[Proof]) -> Result<()> {
        let new_mode = self.config.file_mode;
        self.each_file(proofs, move |target, proofs| target.add(proofs, new_mode)).await
    }

    async fn retract(&self, proofs: &[Proof]) -> Result<()> {
        self.each_file(proofs, Target::remove).await
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(e) => Err(ProviderError::new(ErrorKind::Unavailable, "the writing thread ended early").because(e)),
    }
}

// ---- one file

/// A file to be, and the document root it is below.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Target {
    root: PathBuf,
    file: PathBuf,
}

impl Target {
    /// Puts those values in that are not there yet.
    fn add(&self, proofs: &[Proof], new_mode: u32) -> Result<()> {
        self.check_root()?;
        let change = || -> io::Result<()> {
            let _lock = self.lock(Folders::Make)?;
            let before = self.read()?;
            let after = web::with_values(before.as_deref(), proofs);
            if before.as_deref() != Some(&after[..]) {
                self.replace(&after, new_mode)?;
                tracing::debug!(file = %self, "written");
            }
            Ok(())
        };
        change().map_err(|e| self.failed("written", &e))
    }

    /// Takes exactly these values out; the file goes when nothing is left in it, and so do our empty folders.
    fn remove(&self, proofs: &[Proof]) -> Result<()> {
        let change = || -> io::Result<()> {
            let unfinished = self.beside("dcv-new");
            // What a writer that died may have left counts as something to do.
            if self.read()?.is_none() && !unfinished.exists() && !self.beside("dcv-lock").exists() {
                return Ok(());
            }
            let Some(lock) = self.lock(Folders::Keep)? else { return Ok(()) };
            if let Some(before) = self.read()? {
                let after = web::without_values(&before, proofs);
                if after.is_empty() && !before.is_empty() {
                    fs::remove_file(&self.file)?;
                    tracing::debug!(file = %self, "removed");
                } else if after != before {
                    self.replace(&after, 0)?;
                    tracing::debug!(file = %self, "value taken out");
                }
            }
            let _ = fs::remove_file(unfinished);
            drop(lock);
            self.remove_empty_folders();
            Ok(())
        };
        change().map_err(|e| self.failed("changed", &e))
    }

    fn read(&self) -> io::Result<Option<Vec<u8>>> {
        match fs::symlink_metadata(&self.file) {
            Ok(found) if !found.is_file() => {
                let what = if found.is_dir() { "a folder is" } else { "a symbolic link or special file is" };
                Err(io::Error::new(Io::AlreadyExists, format!("{what} in its place; move it away")))
            }
            Ok(_) => fs::read(&self.file).map(Some),
            Err(e) if matches!(e.kind(), Io::NotFound | Io::NotADirectory) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Renames a finished file into place. A file that is there hands its permissions on. The caller holds the lock, so
    /// one fixed name for the unfinished file will do, and a writer that died leaves at most that one.
    fn replace(&self, content: &[u8], new_mode: u32) -> io::Result<()> {
        let permissions = match fs::metadata(&self.file) {
            Ok(found) => found.permissions(),
            Err(_) => mode(new_mode),
        };
        let unfinished = self.beside("dcv-new");
        let write = || -> io::Result<()> {
            match fs::remove_file(&unfinished) {
                Err(e) if e.kind() != Io::NotFound => return Err(e),
                _ => {}
            }
            let mut file = OpenOptions::new().write(true).create_new(true).open(&unfinished)?;
            file.write_all(content)?;
            // Explicitly: the umask of a daemon often keeps the web server out.
            file.set_permissions(permissions)?;
            drop(file);
            fs::rename(&unfinished, &self.file)
        };
        write().inspect_err(|_| {
            let _ = fs::remove_file(&unfinished);
        })
    }

    /// Waits for the turn to change the file. `None` when the folder is not there and is not to be made.
    fn lock(&self, folders: Folders) -> io::Result<Option<Lock>> {
        let path = self.beside("dcv-lock");
        // Each further round means that another writer has just removed the lock file or the empty folders.
        for _ in 0..1000 {
            if folders == Folders::Make {
                self.make_folders()?;
            }
            let file = match OpenOptions::new().write(true).create(true).truncate(false).open(&path) {
                Ok(file) => file,
                Err(e) if e.kind() == Io::NotFound && folders == Folders::Make => continue,
                Err(e) if matches!(e.kind(), Io::NotFound | Io::NotADirectory) && folders == Folders::Keep => {
                    return Ok(None);
                }
                Err(e) => return Err(e),
            };
            file.lock()?;
            if is_still_at(&file, &path)? {
                return Ok(Some(Lock { path, _locked: file }));
            }
        }
        Err(io::Error::new(Io::ResourceBusy, "other writers were always faster"))
    }

    fn make_folders(&self) -> io::Result<()> {
        for folder in self.folders() {
            match fs::create_dir(folder) {
                Ok(()) => match fs::set_permissions(folder, mode(0o755)) {
                    // Another writer has removed it again, as it was empty; the caller goes round once more.
                    Err(e) if e.kind() == Io::NotFound => return Ok(()),
                    result => result?,
                },
                Err(e) if e.kind() == Io::AlreadyExists => {}
                Err(e) if e.kind() == Io::NotFound => return Ok(()),
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Removes folders that are just as this provider makes them. One with another owner or other permissions was made
    /// by somebody for a purpose; one that holds anything is kept by the system.
    fn remove_empty_folders(&self) {
        let like_ours = |folder: &Path| {
            fs::symlink_metadata(folder).is_ok_and(|found| {
                found.is_dir() && found.uid() == rustix::process::geteuid().as_raw() && found.mode() & 0o7777 == 0o755
            })
        };
        for folder in self.folders().into_iter().rev() {
            if !like_ours(folder) || fs::remove_dir(folder).is_err() {
                break;
            }
        }
    }

    /// The folders between the root and the file, outermost first.
    fn folders(&self) -> Vec<&Path> {
        let mut folders: Vec<&Path> = self.file.ancestors().skip(1).take_while(|path| *path != self.root).collect();
        folders.reverse();
        folders
    }

    /// A hidden name in the same folder.
    fn beside(&self, purpose: &str) -> PathBuf {
        let name = self.file.file_name().unwrap_or_default().to_string_lossy();
        self.file.with_file_name(format!(".{name}.{purpose}"))
    }

    fn check_root(&self) -> Result<()> {
        let why = match fs::metadata(&self.root) {
            Ok(found) if found.is_dir() => return Ok(()),
            Ok(_) => "it is not a folder".to_owned(),
            Err(e) => e.to_string(),
        };
        let message =
            format!("root: `{}` cannot be used ({why}); name the web server's document root", self.root.display());
        Err(ProviderError::new(ErrorKind::NotServed, message).about([self.to_string()]))
    }

    /// Asks the system whether the file and its folders could be made, without making them.
    fn could_be_written(&self) -> Result<()> {
        self.check_root()?;
        let folders = self.folders();
        let deepest = folders.into_iter().rev().find(|folder| folder.exists()).unwrap_or(&self.root);
        accessat(CWD, deepest, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)
            .map_err(io::Error::from)
            .and_then(|()| self.read())
            .map(drop)
            .map_err(|e| self.failed("written", &e))
    }

    fn failed(&self, verb: &str, error: &io::Error) -> ProviderError {
        let (kind, way_out) = match error.kind() {
            Io::PermissionDenied | Io::ReadOnlyFilesystem => {
                (ErrorKind::Credentials, "; give the user that dcv runs as the right to write there")
            }
            Io::AlreadyExists | Io::NotADirectory | Io::IsADirectory => (ErrorKind::Rejected, ""),
            Io::ResourceBusy => (ErrorKind::Conflict, ""),
            _ => (ErrorKind::Unavailable, ""),
        };
        let message = format!("{self} could not be {verb}: {error}{way_out}");
        ProviderError::new(kind, message)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.file.display().fmt(f)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Folders {
    Make,
    Keep,
}

/// The turn to change a file. The system gives it back when the process dies; the lock file is then found unlocked.
struct Lock {
    path: PathBuf,
    _locked: File,
}

/// Removes the lock file while it is still locked: whoever waits for it then finds it gone, and looks again.
impl Drop for Lock {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(file = %self.path.display(), %error, "the lock file stays behind");
        }
    }
}

/// Whether the open file is the one that `path` names now.
fn is_still_at(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (ours.dev(), ours.ino())),
        Err(e) if e.kind() == Io::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

fn mode(bits: u32) -> Permissions {
    Permissions::from_mode(bits)
}

// ---- configuration

fn default_mode() -> u32 {
    0o644
}

fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PathBuf>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a path or a list of paths")]
    enum OneOrMany {
        One(PathBuf),
        Many(Vec<PathBuf>),
    }
    Ok(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(path) => vec![path],
        OneOrMany::Many(paths) => paths,
    })
}

/// `"0644"`, as people write it, or the integer `0o644`.
fn octal<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "permissions such as \"0644\"")]
    enum Mode {
        Text(String),
        Number(u32),
    }
    match Mode::deserialize(deserializer)? {
        Mode::Number(number) => Ok(number),
        Mode::Text(text) => u32::from_str_radix(&text, 8).map_err(|_| {
            serde::de::Error::custom(format!("`{text}` is not octal; write permissions such as \"0644\""))
        }),
    }
}
