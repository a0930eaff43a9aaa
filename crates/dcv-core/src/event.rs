//! What a front end is told while a run goes on.

use std::{sync::Arc, time::Duration};

use certcentral::{CertificateId, OrderId};
use dcv_provider::{Proof, ProviderError};
use serde::Serialize;

use crate::{
    propagation::Verdict,
    state::{RunId, Waiting},
};

/// Told of every [`Event`], on the task that works on the run: it must not block.
pub type Observer = Arc<dyn Fn(&RunId, &Event) + Send + Sync>;

/// Told of every call of a provider, for metrics: it must not block.
pub type Meter = Arc<dyn Fn(&ProviderCall<'_>) + Send + Sync>;

/// A call of a provider, and what came of it. An attempt that is repeated is a call of its own.
#[derive(Debug)]
pub struct ProviderCall<'a> {
    /// The provider's name in the configuration.
    pub provider: &'a str,
    /// What was asked of it.
    pub verb: Verb,
    /// How long it took.
    pub took: Duration,
    /// Why it has failed.
    pub error: Option<&'a ProviderError>,
}

/// What is asked of a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// Whether it could present proofs.
    Preflight,
    /// To present proofs.
    Present,
    /// To take proofs back.
    Retract,
}

impl Verb {
    /// In a word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Preflight => "preflight",
            Self::Present => "present",
            Self::Retract => "retract",
        }
    }
}

/// One step forward, or the reason why there was none. Serialised with a tag `event`, one object per event.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// A run has begun or is taken up again.
    Started {
        /// The ordered names.
        names: Vec<String>,
        /// It was begun by an earlier process.
        resumed: bool,
        /// What its owner calls it, where it is kept under a name.
        #[serde(skip_serializing_if = "Option::is_none")]
        label: Option<String>,
    },
    /// Everything that can be checked without an order is in order.
    Checked {
        /// Where proofs will go, one line for each.
        places: Vec<String>,
    },
    /// The CA has the order.
    Placed {
        /// Its number.
        order_id: OrderId,
        /// It was found, not placed: an earlier attempt had got through.
        found: bool,
        /// What was asked for within an order that was there before: `reissue` or `duplicate`.
        within: Option<&'static str>,
    },
    /// What has to be proved is known.
    Challenged {
        /// The domains still open.
        open: Vec<String>,
        /// Ordered names that need nothing, having been validated before.
        validated: Vec<String>,
    },
    /// A proof is with its provider.
    Presented {
        /// The proof.
        proof: Proof,
        /// The provider's name in the configuration.
        provider: String,
    },
    /// The places where the CA may look were asked.
    Observed {
        /// What each of them showed.
        verdict: Verdict,
    },
    /// A domain's proof shows everywhere.
    Visible {
        /// The domain.
        domain: String,
    },
    /// The CA has accepted a domain.
    Accepted {
        /// The domain.
        domain: String,
    },
    /// Somebody else has to act.
    Waiting(Waiting),
    /// The CA has issued.
    Issued {
        /// The certificate's number.
        certificate_id: Option<CertificateId>,
    },
    /// The certificate is here, and is ours.
    Downloaded {
        /// Serial number in hexadecimal.
        serial: String,
        /// End of validity, RFC 3339.
        not_after: String,
    },
    /// The files are written.
    Stored {
        /// The folder.
        dir: std::path::PathBuf,
    },
    /// The deploy command has succeeded.
    Deployed {
        /// The command.
        command: String,
        /// How long it took, in seconds.
        seconds: f64,
    },
    /// A proof is gone again.
    Retracted {
        /// The proof.
        proof: Proof,
    },
    /// Something went wrong that the run gets over, or tries again.
    Trouble {
        /// What, in one line.
        message: String,
    },
}
