//! What can go wrong, by what a person would do about it.

use dcv_provider::ProviderError;

use crate::{
    journal::JournalError,
    state::{RunId, Waiting},
};

/// Result of the core.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the core. Its text is one line that names the field or subject, the value and the way out; codes and
/// words of the CA and of providers are kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The request cannot be carried out as it is. Nothing was ordered or written.
    #[error("{field}: {message}")]
    Request {
        /// The field of the request or of the configuration.
        field: &'static str,
        /// The value, what is wrong with it and the way out.
        message: String,
    },
    /// No provider is configured for a name.
    #[error("no provider for `{domain}`: add a route for it, or for a parent, that can present a {kind}")]
    Unroutable {
        /// The domain under validation.
        domain: String,
        /// What would have to be presented.
        kind: dcv_provider::ProofKind,
    },
    /// A provider failed.
    #[error("provider {provider}: {error}")]
    Provider {
        /// Its name in the configuration.
        provider: String,
        /// What it said.
        #[source]
        error: ProviderError,
    },
    /// CertCentral failed or refused.
    #[error(transparent)]
    Api(#[from] certcentral::Error),
    /// The order was sent and it is not known what came of it.
    #[error(
        "the order of run {run} was sent, but whether CertCentral has it could not be found out ({cause}); `dcv resume {run}` looks again, `dcv cancel {run}` gives it up"
    )]
    OutcomeUnknown {
        /// The run.
        run: RunId,
        /// Why it could not be found out.
        cause: String,
    },
    /// The order has come to a bad end at the CA or cannot be used.
    #[error("{0}")]
    Ended(String),
    /// The certificate is not the one that was ordered.
    #[error("the certificate cannot be used: {0}")]
    Certificate(String),
    /// Files could not be written or read.
    #[error("{path}: {error}")]
    File {
        /// The file.
        path: String,
        /// What the system said.
        error: String,
    },
    /// The journal failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The order cannot be canceled any more, or waits where it must not.
    #[error("{0}")]
    Waiting(Waiting),
}

impl Error {
    pub(crate) fn request(field: &'static str, message: impl Into<String>) -> Self {
        Self::Request { field, message: message.into() }
    }
}
