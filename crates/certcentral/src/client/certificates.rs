//! Calls on certificates.

use bytes::Bytes;
use serde_json::Value;

use super::{Call, Client};
use crate::{
    error::Result,
    lenient,
    types::{CertificateId, ChainCertificate, DownloadFormat, OrderId, Request, Revocation},
};

impl Client {
    /// A certificate as a file. Check that it is the one you want: the API has been seen to give another.
    ///
    /// # Errors
    /// As any read; a certificate that is not issued yet is one.
    pub async fn download(&self, id: CertificateId, format: DownloadFormat) -> Result<Bytes> {
        self.send(Call::file(format!("/certificate/{id}/download/format/{format}"))).await
    }

    /// The present certificate of an order as a file; duplicates and earlier reissues have only [`download`](Self::download).
    ///
    /// # Errors
    /// As any read; a certificate that is not issued yet is one.
    pub async fn download_order(&self, id: OrderId, format: DownloadFormat) -> Result<Bytes> {
        self.send(Call::file(format!("/certificate/download/order/{id}/format/{format}"))).await
    }

    /// The chain of a certificate, intermediates first; whether the leaf is among them is not documented.
    ///
    /// # Errors
    /// As any read.
    pub async fn chain(&self, id: CertificateId) -> Result<Vec<ChainCertificate>> {
        self.list(Call::get(format!("/certificate/{id}/chain")), "intermediates").await.map(|page| page.items)
    }

    /// A certificate in the format of its order's server platform (API page "Download certificate for platform").
    ///
    /// # Errors
    /// As any read; a certificate that is not issued yet is one.
    pub async fn download_for_platform(&self, id: CertificateId) -> Result<Bytes> {
        self.send(Call::file(format!("/certificate/{id}/download/platform"))).await
    }

    /// The intermediates that certificates of this account may have been issued by.
    ///
    /// # Errors
    /// As any read.
    pub async fn intermediates(&self) -> Result<Vec<ChainCertificate>> {
        self.list(Call::get("/certificate/intermediates"), "intermediates").await.map(|page| page.items)
    }

    /// Revokes one certificate (API page "Revoke certificate"). `None`: it is revoked; else the request that somebody has to
    /// approve.
    ///
    /// # Errors
    /// 400 when it cannot be revoked.
    pub async fn revoke_certificate(&self, id: CertificateId, revocation: &Revocation) -> Result<Option<Request>> {
        self.revoke(format!("/certificate/{id}/revoke"), revocation).await
    }

    /// 204, or 201 with a request.
    pub(super) async fn revoke(&self, path: String, revocation: &Revocation) -> Result<Option<Request>> {
        // Where an approver has to act, each call makes a request.
        let call = Call::put(path).body(revocation).once();
        let (name, writes) = (call.name(), call.writes());
        let body = self.send(call).await?;
        let read = || match lenient::json(&body)? {
            Value::Object(fields) if fields.is_empty() => Ok(None),
            Value::Array(items) if items.is_empty() => Ok(None),
            answer => serde_json::from_value(answer).map(Some),
        };
        // What is not understood is neither a revocation nor a request for one.
        if lenient::is_blank(&body) {
            Ok(None)
        } else {
            read().map_err(|e| self.not_understood(name, writes, &e, &body))
        }
    }
}
