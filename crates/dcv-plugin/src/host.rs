//! The host's side: loading a plugin and calling it.

#![expect(unsafe_code, reason = "the boundary: every block says why it is sound")]

use std::{
    ffi::c_void,
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
};

use dcv_provider::{Descriptor, ErrorKind, Proof, ProviderError, Result};
use serde_json::Value;

use crate::{
    ABI,
    wire::{Reply, Request, Verb, WireDescriptor, provider_by_verb},
};

/// Takes an answer of the plugin.
pub type ReplyFn = extern "C" fn(context: *mut c_void, json: *const u8, length: usize);

/// `struct dcv_plugin_v1` of the header.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// Version of the ABI.
    pub abi: u32,
    /// Size of the table in octets.
    pub size: u32,
    /// Says what the plugin is.
    pub describe: unsafe extern "C" fn(context: *mut c_void, reply: ReplyFn),
    /// Makes a provider.
    pub open:
        unsafe extern "C" fn(config: *const u8, length: usize, context: *mut c_void, reply: ReplyFn) -> *mut c_void,
    /// Does something.
    pub call: unsafe extern "C" fn(
        handle: *mut c_void,
        request: *const u8,
        length: usize,
        context: *mut c_void,
        reply: ReplyFn,
    ),
    /// Gives a provider back.
    pub close: unsafe extern "C" fn(handle: *mut c_void),
}

/// `dcv_plugin` of the header.
pub type EntryFn = unsafe extern "C" fn(host_abi: u32) -> *const Table;

/// Why a plugin cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PluginError {
    /// The file cannot be read or loaded.
    #[error("plugin `{path}` cannot be loaded: {message}")]
    Load {
        /// The file.
        path: String,
        /// What the system said.
        message: String,
    },
    /// It is another file than the pinned one.
    #[error(
        "plugin `{path}` has SHA-256 {found}, and {pinned} is wanted; find out why it changed, then pin the new one"
    )]
    Changed {
        /// The file.
        path: String,
        /// Its sum.
        found: String,
        /// The sum that was wanted.
        pinned: String,
    },
    /// It exports no `dcv_plugin`.
    #[error("`{path}` is no dcv plugin: it exports no `dcv_plugin`")]
    NoPlugin {
        /// The file.
        path: String,
    },
    /// It speaks another version.
    #[error(
        "plugin `{path}` speaks ABI {found}, this program speaks {ABI}; build it against this version's dcv_plugin.h"
    )]
    Version {
        /// The file.
        path: String,
        /// Its version, or "another one".
        found: String,
    },
    /// The host process cannot be started.
    #[error("the plugin's process cannot be started: {0}")]
    Host(String),
}

impl From<PluginError> for ProviderError {
    fn from(error: PluginError) -> Self {
        Self::new(ErrorKind::Config, error.to_string())
    }
}

/// A loaded plugin. It is never unloaded: code that may still run, or be pointed at, must not go away.
#[derive(Clone, Debug)]
pub struct Plugin {
    table: Table,
    descriptor: &'static Descriptor,
}

/// SHA-256 of some octets, in lower-case hexadecimal.
#[must_use]
pub fn sha256(octets: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, octets);
    digest.as_ref().iter().fold(String::with_capacity(64), |mut text, octet| {
        let _ = std::fmt::Write::write_fmt(&mut text, format_args!("{octet:02x}"));
        text
    })
}

/// An error of the loader, which says in its cause what was wrong.
fn with_cause(error: &libloading::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

impl Plugin {
    /// Loads a plugin. With `pinned`, its SHA-256, the file is read once, compared, and a private copy of what was read is
    /// loaded, so that nobody can change it in between.
    ///
    /// # Errors
    /// [`PluginError`]. Loading runs the library's own initialisers: pin what you did not build.
    pub fn load(path: &Path, pinned: Option<&str>) -> Result<Self, PluginError> {
        let name = path.display().to_string();
        let load = |message: String| PluginError::Load { path: name.clone(), message };
        let octets = std::fs::read(path).map_err(|e| load(format!("{e}; check the path")))?;
        // A bare name would be looked for where the system keeps its libraries: another file than the one that was read.
        let mut file: PathBuf = std::path::absolute(path).map_err(|e| load(e.to_string()))?;
        let mut private = None;
        if let Some(pinned) = pinned {
            let found = sha256(&octets);
            if !found.eq_ignore_ascii_case(pinned.trim()) {
                return Err(PluginError::Changed { path: name, found, pinned: pinned.to_owned() });
            }
            let mut copy =
                tempfile::Builder::new().prefix("dcv-plugin-").tempfile().map_err(|e| load(e.to_string()))?;
            copy.write_all(&octets).map_err(|e| load(e.to_string()))?;
            copy.path().clone_into(&mut file);
            private = Some(copy);
        }
        // SAFETY: loading a library runs its initialisers. That is what the caller asked for, by naming (and pinning) it.
        let library = unsafe { libloading::Library::new(&file) }.map_err(|e| load(with_cause(&e)))?;
        // The mapping stays when the private copy's name goes.
        drop(private);
        // Never unloaded: handles, threads and thread-local destructors of the plugin may outlive every owner we could name.
        let library: &'static libloading::Library = Box::leak(Box::new(library));
        // SAFETY: the header gives this symbol this type; a library that exports it with another type is no plugin, and cannot
        // be told from one by any means there is.
        let entry = unsafe { library.get::<EntryFn>(b"dcv_plugin\0") };
        let entry = *entry.map_err(|_| PluginError::NoPlugin { path: name.clone() })?;
        // SAFETY: the function of a loaded library, called as its type says.
        let table = unsafe { entry(ABI) };
        // SAFETY: by the header, the table is NULL or valid for ever.
        unsafe { Self::from_table(table, &name) }
    }

    /// A plugin by its table, e.g. of a guest that is linked in.
    ///
    /// # Errors
    /// [`PluginError::Version`], or what its description lacks.
    ///
    /// # Safety
    /// `table` is NULL or points to a table that is valid for ever and whose functions keep to the header.
    pub unsafe fn from_table(table: *const Table, name: &str) -> Result<Self, PluginError> {
        let version = |found: String| PluginError::Version { path: name.to_owned(), found };
        if table.is_null() {
            return Err(version("another version".to_owned()));
        }
        // SAFETY: not NULL, and by the header the first two members are there in every version.
        let (abi, size) =
            unsafe { (std::ptr::addr_of!((*table).abi).read(), std::ptr::addr_of!((*table).size).read()) };
        if abi != ABI || usize::try_from(size).unwrap_or(0) < size_of::<Table>() {
            return Err(version(format!("{abi} (table of {size} octets)")));
        }
        // SAFETY: the table is as large as ours at least, and of our version.
        let table = unsafe { table.read() };
        let answer = listen(|context, reply| {
            // SAFETY: the function of the table, with a context that lives until it returns.
            unsafe { (table.describe)(context, reply) };
        });
        let described: Result<WireDescriptor> = answer.and_then(Reply::into_result);
        let described = described.map_err(|e| PluginError::Load { path: name.to_owned(), message: e.message })?;
        Ok(Self { table, descriptor: described.leak() })
    }

    /// What the plugin says it is.
    #[must_use]
    pub fn descriptor(&self) -> &'static Descriptor {
        self.descriptor
    }

    /// Makes a provider of a configuration.
    ///
    /// # Errors
    /// The plugin's own.
    pub async fn open(&self, config: Value) -> Result<Opened> {
        let plugin = self.clone();
        blocking(move || plugin.open_now(&config)).await
    }

    /// The same, on a thread that may block.
    ///
    /// # Errors
    /// The plugin's own.
    pub fn open_now(&self, config: &Value) -> Result<Opened> {
        let config = config.to_string();
        let mut handle = std::ptr::null_mut();
        let answer = listen(|context, reply| {
            // SAFETY: the function of the table; configuration and context live until it returns.
            handle = unsafe { (self.table.open)(config.as_ptr(), config.len(), context, reply) };
        });
        answer?.into_result::<Value>()?;
        if handle.is_null() {
            return Err(ProviderError::new(ErrorKind::Unavailable, "the plugin gave no handle, and no error"));
        }
        Ok(Opened { shared: Arc::new(Shared { plugin: self.clone(), handle }) })
    }
}

/// Calls a function of the plugin and takes its one answer.
fn listen(call: impl FnOnce(*mut c_void, ReplyFn)) -> Result<Reply> {
    extern "C" fn take(context: *mut c_void, json: *const u8, length: usize) {
        if json.is_null() || context.is_null() {
            return;
        }
        // SAFETY: `context` is the vector below, which lives until the call returns, and the header forbids to reply later or
        // from two threads; `json` is valid for `length` octets until this function returns.
        let (answer, json) = unsafe { (&mut *context.cast::<Vec<u8>>(), std::slice::from_raw_parts(json, length)) };
        answer.clear();
        answer.extend_from_slice(json);
    }
    let mut answer: Vec<u8> = Vec::new();
    call(std::ptr::from_mut(&mut answer).cast(), take);
    if answer.is_empty() {
        return Err(ProviderError::new(ErrorKind::Unavailable, "the plugin gave no answer"));
    }
    Reply::read(&answer)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|e| Err(ProviderError::new(ErrorKind::Unavailable, format!("the call ended badly: {e}"))))
}

/// A provider of a plugin in this process. Its calls run on threads that may block.
#[derive(Clone, Debug)]
pub struct Opened {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    plugin: Plugin,
    handle: *mut c_void,
}

// SAFETY: the header has plugins take calls on a handle from any thread, several at the same time; the pointer itself is
// only passed on.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: the handle came from `open` of this table; the last owner is here, so no call is under way or will follow.
        unsafe { (self.plugin.table.close)(self.handle) };
    }
}

impl Opened {
    /// Calls the plugin, on a thread that may block.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] when its answer makes no sense.
    pub fn call_now(&self, request: &Request) -> Result<Reply> {
        let request = serde_json::to_string(request)
            .map_err(|e| ProviderError::new(ErrorKind::Unavailable, format!("the request cannot be written: {e}")))?;
        listen(|context, reply| {
            // SAFETY: the function of the table with a handle it gave; request and context live until it returns.
            unsafe {
                (self.shared.plugin.table.call)(self.shared.handle, request.as_ptr(), request.len(), context, reply);
            }
        })
    }

    pub(crate) fn descriptor_of_plugin(&self) -> &'static Descriptor {
        self.shared.plugin.descriptor
    }

    pub(crate) async fn call(&self, verb: Verb, proofs: &[Proof]) -> Result<Reply> {
        let (this, request) = (self.clone(), Request { verb, proofs: proofs.to_vec() });
        blocking(move || this.call_now(&request)).await
    }
}

provider_by_verb!(Opened);
