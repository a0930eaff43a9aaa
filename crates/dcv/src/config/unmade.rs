//! What stands where a provider could not be made.

use std::sync::Arc;

use async_trait::async_trait;
use dcv_provider::{DcvProvider, Descriptor, ErrorKind, Place, Proof, ProofKind, ProviderError, Result};

use crate::exit::Failure;

const DESCRIPTOR: Descriptor = Descriptor {
    id: "unmade",
    title: "a provider that could not be made",
    proofs: &[ProofKind::Txt, ProofKind::Cname, ProofKind::File],
    batch: "none",
    options: &[],
    example: "",
};

/// Takes every proof and fails with the reason why the provider could not be made.
pub(super) struct Unmade {
    kind: ErrorKind,
    failure: Failure,
}

impl Unmade {
    pub(super) fn instead(kind: ErrorKind, failure: Failure) -> Arc<dyn DcvProvider> {
        Arc::new(Self { kind, failure })
    }

    fn error(&self) -> ProviderError {
        ProviderError::new(self.kind, self.failure.message.clone())
    }
}

#[async_trait]
impl DcvProvider for Unmade {
    fn descriptor(&self) -> &Descriptor {
        &DESCRIPTOR
    }

    async fn preflight(&self, _: &[Proof]) -> Result<Vec<Place>> {
        Err(self.error())
    }

    async fn present(&self, _: &[Proof]) -> Result<()> {
        Err(self.error())
    }

    async fn retract(&self, _: &[Proof]) -> Result<()> {
        Err(self.error())
    }
}
