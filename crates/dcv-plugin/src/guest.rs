//! The guest's side, for plugins written in Rust: [`export_provider!`](crate::export_provider) and what it expands to.
//!
//! A panic of the guest becomes an error of the call. The crate has to be built with `panic = "unwind"`, which is Rust's default.

#![expect(unsafe_code, reason = "the boundary: every block says why it is sound")]

use std::{
    any::Any,
    ffi::c_void,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use dcv_provider::{DcvProvider, Descriptor, ErrorKind, ProviderError, Result};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{
    host::ReplyFn,
    wire::{Reply, Request, Verb, WireDescriptor, WirePlace},
};

/// A guest: what [`export_provider!`](crate::export_provider) implements.
pub trait Guest {
    /// What the provider is.
    fn descriptor() -> &'static Descriptor;

    /// Makes a provider of a configuration.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] naming the field.
    fn open(config: Value) -> impl Future<Output = Result<Arc<dyn DcvProvider>>>;
}

/// Exports a provider as a plugin: its descriptor, and an async function from its configuration to the provider.
///
/// ```ignore
/// dcv_plugin::export_provider!(DESCRIPTOR, |config: Config| async move { Acme::from_config(config).await });
/// ```
#[macro_export]
macro_rules! export_provider {
    ($descriptor:expr, $open:expr) => {
        struct DcvGuest;

        impl $crate::guest::Guest for DcvGuest {
            fn descriptor() -> &'static $crate::guest::DescriptorAlias {
                static DCV_GUEST_DESCRIPTOR: $crate::guest::DescriptorAlias = $descriptor;
                &DCV_GUEST_DESCRIPTOR
            }
            async fn open(
                config: $crate::guest::ValueAlias,
            ) -> $crate::guest::ResultAlias<std::sync::Arc<dyn $crate::guest::ProviderAlias>> {
                let open = $open;
                let made: $crate::guest::ResultAlias<_> = open($crate::guest::configuration(config)?).await;
                Ok(std::sync::Arc::new(made?))
            }
        }

        /// The plugin's table (dcv_plugin.h).
        #[unsafe(no_mangle)]
        pub extern "C" fn dcv_plugin(host_abi: u32) -> *const $crate::host::Table {
            static TABLE: $crate::host::Table = $crate::guest::table::<DcvGuest>();
            if host_abi == $crate::ABI { &raw const TABLE } else { std::ptr::null() }
        }
    };
}

#[doc(hidden)]
pub use dcv_provider::{DcvProvider as ProviderAlias, Descriptor as DescriptorAlias, Result as ResultAlias};
#[doc(hidden)]
pub use serde_json::Value as ValueAlias;

/// Reads a guest's configuration.
///
/// # Errors
/// [`ErrorKind::Config`].
pub fn configuration<C: DeserializeOwned>(config: Value) -> Result<C> {
    serde_json::from_value(config).map_err(|e| ProviderError::new(ErrorKind::Config, format!("config: {e}")))
}

/// The table of a guest.
#[must_use]
pub const fn table<G: Guest>() -> crate::host::Table {
    crate::host::Table {
        abi: crate::ABI,
        #[expect(clippy::cast_possible_truncation, reason = "a table is a few dozen octets")]
        size: size_of::<crate::host::Table>() as u32,
        describe: describe::<G>,
        open: open::<G>,
        call,
        close,
    }
}

struct Handle {
    provider: Arc<dyn DcvProvider>,
    runtime: tokio::runtime::Runtime,
}

/// Runs the guest's code; a panic is an error, and never leaves this library.
fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let said = said(&*panic);
        Err(ProviderError::new(ErrorKind::Rejected, format!("the plugin has panicked: {said}")))
    })
}

fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a word")
}

fn answer(reply: ReplyFn, context: *mut c_void, answer: &Reply) {
    let json = serde_json::to_string(answer).unwrap_or_default();
    reply(context, json.as_ptr(), json.len());
}

/// What the host gave.
///
/// # Safety
/// `octets` is valid for `length` octets for as long as the result is used.
unsafe fn given<'a>(octets: *const u8, length: usize) -> &'a [u8] {
    if octets.is_null() || length == 0 {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(octets, length) }
}

unsafe extern "C" fn describe<G: Guest>(context: *mut c_void, reply: ReplyFn) {
    let described = guarded(|| Ok(WireDescriptor::from(G::descriptor())));
    answer(reply, context, &Reply::of(described));
}

unsafe extern "C" fn open<G: Guest>(
    config: *const u8,
    length: usize,
    context: *mut c_void,
    reply: ReplyFn,
) -> *mut c_void {
    // SAFETY: the header: valid until this function returns.
    let config = unsafe { given(config, length) };
    let opened = guarded(|| {
        let config = serde_json::from_slice(config)
            .map_err(|e| ProviderError::new(ErrorKind::Config, format!("config: {e}")))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(|e| ProviderError::new(ErrorKind::Unavailable, format!("no threads: {e}")))?;
        let provider = runtime.block_on(G::open(config))?;
        Ok(Box::new(Handle { provider, runtime }))
    });
    match opened {
        Ok(handle) => {
            answer(reply, context, &Reply::Ok(Value::Null));
            Box::into_raw(handle).cast()
        }
        Err(error) => {
            answer(reply, context, &Reply::Error(error.into()));
            std::ptr::null_mut()
        }
    }
}

unsafe extern "C" fn call(
    handle: *mut c_void,
    request: *const u8,
    length: usize,
    context: *mut c_void,
    reply: ReplyFn,
) {
    // SAFETY: the header: a handle of `open` that was not closed; shared only, for calls may run at the same time.
    let handle = unsafe { &*handle.cast::<Handle>() };
    // SAFETY: the header: valid until this function returns.
    let request = unsafe { given(request, length) };
    let done = guarded(|| {
        let request: Request = serde_json::from_slice(request)
            .map_err(|e| ProviderError::new(ErrorKind::Unavailable, format!("the request is not understood: {e}")))?;
        let proofs = &request.proofs;
        handle.runtime.block_on(async {
            Ok(match request.verb {
                Verb::Preflight => {
                    let places = handle.provider.preflight(proofs).await?;
                    Reply::of(Ok(places.into_iter().map(WirePlace::from).collect::<Vec<_>>()))
                }
                Verb::Present => Reply::of(handle.provider.present(proofs).await),
                Verb::Retract => Reply::of(handle.provider.retract(proofs).await),
            })
        })
    });
    answer(reply, context, &done.unwrap_or_else(|error| Reply::Error(error.into())));
}

unsafe extern "C" fn close(handle: *mut c_void) {
    if handle.is_null() {
        return;
    }
    // SAFETY: the header: a handle of `open`, given back once, with no call under way.
    let handle = unsafe { Box::from_raw(handle.cast::<Handle>()) };
    let _ = guarded(move || {
        let Handle { provider, runtime } = *handle;
        drop(provider);
        // Not waited for: the host may be closing from a runtime of its own.
        runtime.shutdown_background();
        Ok(())
    });
}
