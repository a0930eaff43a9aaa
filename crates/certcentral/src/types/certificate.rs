//! Certificates after issue: reissues, duplicates, revocations.

use serde::{Deserialize, Serialize};

use super::{CertificateId, CertificateStatus, DcvMethod, DcvScope, Moment, NewCertificate, RevocationReason};
use crate::lenient;

/// The body of a reissue or a duplicate (API pages "Reissue certificate", "Duplicate certificate"). All names are given, those
/// that stay too.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NewReissue {
    /// What the certificate shall hold.
    pub certificate: NewCertificate,
    /// Do not wait for an approver; the key's user must be allowed to approve.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip_approval: Option<bool>,
    /// A word to the approver.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comments: Option<String>,
    /// How control of domains that have to be proved again will be shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dcv_method: Option<DcvMethod>,
    /// At which name the domains are validated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_dcv_scope: Option<DcvScope>,
}

/// A reissue or a duplicate of an order (API pages "List reissues", "List duplicates").
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct IssuedCopy {
    /// Its number.
    pub id: CertificateId,
    /// Where it stands.
    #[serde(default)]
    pub status: CertificateStatus,
    /// First name.
    #[serde(default, deserialize_with = "lenient::text")]
    pub common_name: Option<String>,
    /// All names.
    #[serde(default, deserialize_with = "lenient::texts")]
    pub dns_names: Vec<String>,
    /// Serial number in hexadecimal, after issue.
    #[serde(default, deserialize_with = "lenient::text")]
    pub serial_number: Option<String>,
    /// SHA-1 thumbprint, after issue.
    #[serde(default, deserialize_with = "lenient::text")]
    pub thumbprint: Option<String>,
    /// When it was asked for.
    #[serde(default, deserialize_with = "lenient::maybe")]
    pub date_created: Option<Moment>,
    /// When it was issued.
    #[serde(default, deserialize_with = "lenient::maybe")]
    pub date_issued: Option<Moment>,
    /// First day.
    #[serde(default, deserialize_with = "lenient::maybe")]
    pub valid_from: Option<Moment>,
    /// Last day.
    #[serde(default, deserialize_with = "lenient::maybe")]
    pub valid_till: Option<Moment>,
    /// Its certificate request, PEM.
    #[serde(default, deserialize_with = "lenient::text")]
    pub csr: Option<String>,
    /// Put away by its owner: a number or a text in the answers.
    #[serde(default, deserialize_with = "lenient::flag")]
    pub archived: Option<bool>,
}

/// The body of a revocation (API pages "Revoke certificate", "Revoke order certificates").
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Revocation {
    /// Why, for the revocation list. Absent, it is `unspecified`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revocation_reason: Option<RevocationReason>,
    /// A word to the approver. The pages name the field in two ways; every sample and client writes this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comments: Option<String>,
    /// Do not wait for an approver; needs an administrator's key.
    pub skip_approval: bool,
}
