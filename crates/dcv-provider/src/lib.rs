//! The contract between `dcv` and whatever makes a proof of domain control visible: a DNS host or a web target.
//!
//! A CA asks for a random value at an agreed place: a TXT or CNAME record, or a file on the web server
//! (CA/B Forum Baseline Requirements 3.2.2.4.7 and 3.2.2.4.18). Which value goes where is decided by `dcv-core`;
//! this crate says only what a provider has to do with the finished [`Proof`]s, and helps it to do so:
//!
//! - [`DcvProvider`]: the contract, four methods. A web target implements it directly.
//! - [`zone`]: for DNS hosts. They implement the smaller [`zone::ZoneEditor`]; [`zone::ZoneProvider`] finds zones,
//!   groups, batches, follows delegated `_dnsauth` CNAMEs and retries lost races for all of them.
//! - [`web`]: for web targets that others write to as well: where a proof's file is, and how values share it.
//! - [`dns`]: questions to one name server or to a resolver, each with its own deadline.
//! - `http` (a feature): calls of a vendor's API, whose refusals become errors of the right kind.
//! - [`secret`]: credentials from the environment, a file or a command.
//! - [`conformance`]: the behaviour every provider must show, as one call in its tests.
//!
//! A provider depends on this crate and on its vendor's SDK, and on nothing else of ours.

pub mod conformance;
pub mod dns;
mod error;
#[doc(hidden)]
pub mod fuzz;
#[cfg(feature = "http")]
pub mod http;
mod proof;
pub mod secret;
pub mod web;
pub mod zone;

use async_trait::async_trait;

pub use error::{ErrorKind, ProviderError, Result, Retry};
pub use proof::{Proof, ProofKind};

/// Something that can make proofs of domain control visible to a CA, and take them away again.
///
/// # What every implementation promises
///
/// - **Idempotent.** [`present`](Self::present) of proofs that are already visible succeeds and changes nothing;
///   [`retract`](Self::retract) of proofs that are not there succeeds and changes nothing. Both may be repeated after a
///   crash, by another process, with the same proofs.
/// - **Value-exact.** Only the given values are added or removed. Other values of the same record set, other files in
///   the same folder and other people's records survive, whatever happens meanwhile.
/// - **All at once.** The slice holds every proof of one order that is routed to this provider. A provider sends as
///   few requests as its vendor allows: 100 names in one zone are one UPDATE, one PATCH, one change batch.
/// - **Concurrent callers** (other tasks, other processes) may present and retract at the same names at the same time;
///   each gets its outcome or an error, and nobody's value is lost.
/// - **No partial success in silence.** If some proofs could not be presented the call fails and the error names
///   them; the caller will then retract *all* proofs of the call.
/// - **Returning means done.** The vendor has accepted the change. Whether the world can see it yet is found out by
///   the caller, who asks the name servers.
///
/// Providers do not retry on their own beyond a lost race, do not sleep, and do not log secrets; deadlines, retries and
/// tracing are composed around them by the caller.
#[async_trait]
pub trait DcvProvider: Send + Sync {
    /// What this provider is, for documentation, help and checks before an order is placed.
    fn descriptor(&self) -> &Descriptor;

    /// Finds out, without changing anything, whether [`present`](Self::present) of these proofs could work: the
    /// credentials are accepted, the zones or folders exist and may be written. The values in `proofs` may be
    /// placeholders.
    ///
    /// Returns one [`Place`] for each proof, in the order given, for people to read.
    ///
    /// # Errors
    /// The same errors that [`present`](Self::present) would give.
    async fn preflight(&self, proofs: &[Proof]) -> Result<Vec<Place>>;

    /// Makes every proof visible.
    ///
    /// # Errors
    /// See [`ErrorKind`]; the error names the proofs it concerns and says whether trying again can help.
    async fn present(&self, proofs: &[Proof]) -> Result<()>;

    /// Takes exactly these values away again, and nothing else.
    ///
    /// # Errors
    /// As for [`present`](Self::present). A proof that is not there is not an error.
    async fn retract(&self, proofs: &[Proof]) -> Result<()>;
}

/// Where a proof would go, in words for people: "zone example.com at 192.0.2.1:53 (rfc2136)",
/// "/var/www/html/.well-known/pki-validation/fileauth.txt".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The record name or file that would be written; differs from the proof's own where a CNAME delegates it.
    pub target: String,
    /// The zone, server or folder that would be changed.
    pub within: String,
}

/// What a provider is: the one source of its help, its documentation, its configuration's description and its row in the
/// table of providers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// The `type` in the configuration, e.g. `rfc2136`. Lower case, letters, digits and hyphens.
    pub id: &'static str,
    /// The name people know it by, e.g. "RFC 2136 dynamic update".
    pub title: &'static str,
    /// Which proofs it can present.
    pub proofs: &'static [ProofKind],
    /// How many proofs go in one request, in words: "one UPDATE per zone".
    pub batch: &'static str,
    /// Every configuration key.
    pub options: &'static [OptionSpec],
    /// A working piece of `dcv.toml`, without the table header's name.
    pub example: &'static str,
}

impl Descriptor {
    /// Whether proofs of this kind can be given to the provider.
    #[must_use]
    pub fn accepts(&self, kind: ProofKind) -> bool {
        self.proofs.contains(&kind)
    }
}

/// One configuration key of a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptionSpec {
    /// The key in `dcv.toml`.
    pub name: &'static str,
    /// What it means, its unit and its default, in one sentence.
    pub help: &'static str,
    /// Whether it must be given.
    pub required: bool,
    /// Whether it is a credential, to be given as a [`secret::Secret`].
    pub secret: bool,
}
