//! Domains and the proof of their control.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};

use super::{
    CertificateId, Container, DcvMethod, DomainId, Moment, OrderStatus, OrganizationInOrder, Reference,
    ValidationStatus,
};
use crate::{error, lenient};

two_names! {
    CheckedName: "dns_name" or "name";
    DcvCheck: "dns_name_validations" or "dns_names_validations";
    Domain: "name" or "dns_name";
}

/// A random value of an order.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct RandomValue {
    /// The value.
    #[serde(deserialize_with = "lenient::needed")]
    pub dcv_random_value: String,
    /// Its end.
    #[serde(default, deserialize_with = "lenient::maybe")]
    pub expiration_date: Option<Moment>,
}

/// A random value of a domain.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct DomainToken {
    /// The value; empty where the answer has a status and no value.
    #[serde(default, deserialize_with = "lenient::string")]
    pub token: String,
    /// Where it stands.
    #[serde(default)]
    pub status: ValidationStatus,
    /// Its end.
    #[serde(default, deserialize_with = "lenient::maybe")]
    pub expiration_date: Option<Moment>,
    /// For `http-token`: where the file is expected.
    #[serde(default, deserialize_with = "lenient::text")]
    pub http_token_url: Option<String>,
    /// For `dns-cname-token`: the record's target in older answers. Today's rule builds it from the value.
    #[serde(default, deserialize_with = "lenient::text")]
    pub verification_value: Option<String>,
}

impl DomainToken {
    /// Whether the value has less than `margin` left to live. One without an end has not.
    #[must_use]
    pub fn is_ending(&self, now: Timestamp, margin: jiff::SignedDuration) -> bool {
        let end = self.expiration_date.as_ref().and_then(Moment::timestamp);
        end.is_some_and(|end| end.duration_since(now) < margin)
    }
}

/// A domain of the account (API page "Domain info").
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(remote = "Self")]
pub struct Domain {
    /// Its number.
    pub id: DomainId,
    /// Its name; order answers call it `dns_name` at times.
    #[serde(default, deserialize_with = "lenient::text")]
    pub name: Option<String>,
    /// Whether it may be used.
    #[serde(default, deserialize_with = "lenient::flag")]
    pub is_active: Option<bool>,
    /// How it is proved.
    #[serde(default, deserialize_with = "lenient::maybe")]
    pub dcv_method: Option<DcvMethod>,
    /// Its own random value; only where asked for, and for methods that have one.
    #[serde(default, deserialize_with = "lenient::maybe")]
    pub dcv_token: Option<DomainToken>,
    /// When its validations end, by type.
    #[serde(default, deserialize_with = "lenient::if_sensible")]
    pub dcv_expiration: Option<DcvExpiration>,
    /// Its validations; only where asked for.
    #[serde(default, deserialize_with = "lenient::list")]
    pub validations: Vec<DomainValidation>,
    /// When it was added.
    #[serde(default, deserialize_with = "lenient::maybe")]
    pub date_created: Option<Moment>,
    /// The organization it belongs to.
    #[serde(default, deserialize_with = "lenient::if_sensible")]
    pub organization: Option<OrganizationInOrder>,
    /// The division it belongs to.
    #[serde(default, deserialize_with = "lenient::if_sensible")]
    pub container: Option<Container>,
}

impl Domain {
    /// Whether control of the domain is shown for OV at this moment, as far as the answer tells.
    #[must_use]
    pub fn is_validated_at(&self, moment: Timestamp) -> bool {
        self.validated_until("ov").is_some_and(|end| end > moment)
    }

    /// Until when control of the domain is shown for this type (`ov`, `ev`), as far as the answer tells.
    #[must_use]
    pub fn validated_until(&self, validation_type: &str) -> Option<Timestamp> {
        if self.is_active == Some(false) {
            return None;
        }
        let ends = self.dcv_expiration.as_ref()?;
        let end = if validation_type.eq_ignore_ascii_case("ev") { &ends.ev } else { &ends.ov };
        end.as_ref().and_then(Moment::timestamp)
    }
}

/// The body of a new domain (API page "Add domain").
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NewDomain {
    /// Its name.
    pub name: String,
    /// The organization it belongs to.
    pub organization: Reference,
    /// What it shall be validated for.
    pub validations: Vec<ValidationType>,
    /// How. CertCentral's default is `email`.
    pub dcv_method: DcvMethod,
    /// For `email`: who gets the mails, instead of all that the CA knows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub email_array: Vec<String>,
    /// Language of the mails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    /// Without this a leading `www.` is cut off, but with files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_www: Option<bool>,
}

impl NewDomain {
    /// A domain as it is, to be validated for these types (`ov`, `ev`).
    pub fn new(
        name: impl Into<String>,
        organization: super::OrganizationId,
        types: &[&str],
        dcv_method: DcvMethod,
    ) -> Self {
        Self {
            name: name.into(),
            organization: Reference { id: organization.0 },
            validations: types.iter().map(|one| ValidationType { validation_type: (*one).to_owned() }).collect(),
            dcv_method,
            email_array: Vec::new(),
            locale: None,
            keep_www: Some(true),
        }
    }
}

/// What something shall be validated for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValidationType {
    /// `ov`, `ev`, `cs`, `ev_cs`, `ds`, `smime`.
    #[serde(rename = "type")]
    pub validation_type: String,
}

/// The answer to a new domain.
#[derive(Clone, Debug, Deserialize)]
pub struct AddedDomain {
    /// Its number.
    pub id: DomainId,
    /// What has to be done to prove it; older answers do not say.
    #[serde(flatten)]
    pub start: DcvStart,
}

/// What the proof of a domain begins with.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct DcvStart {
    /// The value, for methods that have one.
    #[serde(deserialize_with = "lenient::if_sensible")]
    pub dcv_token: Option<DomainToken>,
    /// Who was written to, for `email`.
    #[serde(deserialize_with = "lenient::if_sensible")]
    pub validation_emails: Option<ValidationEmails>,
}

/// Whom the mails of a domain go to.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct ValidationEmails {
    /// The domain.
    #[serde(deserialize_with = "lenient::text")]
    pub name_scope: Option<String>,
    /// Addresses at it.
    #[serde(deserialize_with = "lenient::texts")]
    pub base_emails: Vec<String>,
    /// Addresses that its DNS names.
    #[serde(deserialize_with = "lenient::texts")]
    pub dns_txt_emails: Vec<String>,
}

/// An address that the mail for a domain goes to (API page "Resend DCV emails").
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DomainEmail {
    /// The ordered name.
    pub domain: String,
    /// The address.
    pub email: String,
    /// The domain of the address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email_domain: Option<String>,
}

/// When a domain's validations end.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct DcvExpiration {
    /// For OV.
    #[serde(deserialize_with = "lenient::maybe")]
    pub ov: Option<Moment>,
    /// For EV.
    #[serde(deserialize_with = "lenient::maybe")]
    pub ev: Option<Moment>,
}

/// A validation of a domain.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct DomainValidation {
    /// `ov`, `ev`, …
    #[serde(rename = "type", deserialize_with = "lenient::string")]
    pub validation_type: String,
    /// Where it stands.
    pub status: ValidationStatus,
    /// Where the proof of control stands.
    #[serde(deserialize_with = "lenient::maybe")]
    pub dcv_status: Option<ValidationStatus>,
    /// Its end.
    #[serde(deserialize_with = "lenient::maybe")]
    pub validated_until: Option<Moment>,
}

/// What came of a check of an order's proofs. A proof that was not found is no error of the call, whichever way this
/// age of the API says so.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, remote = "Self")]
pub struct DcvCheck {
    /// Where the order stands; `issued` when this check was all that it waited for.
    #[serde(deserialize_with = "lenient::maybe")]
    pub order_status: Option<OrderStatus>,
    /// The certificate.
    #[serde(deserialize_with = "lenient::maybe")]
    pub certificate_id: Option<CertificateId>,
    /// All names together.
    pub dcv_status: ValidationStatus,
    /// Name by name; `None` in older answers, which have no list. An empty one says nothing of any name.
    #[serde(deserialize_with = "lenient::list_if_given")]
    pub dns_name_validations: Option<Vec<CheckedName>>,
    /// Why proofs were not found, when the answer was an error or holds one.
    #[serde(deserialize_with = "error::errors")]
    pub errors: Vec<crate::ApiError>,
}

/// What came of the check of one name.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, remote = "Self")]
pub struct CheckedName {
    /// The name.
    #[serde(deserialize_with = "lenient::string")]
    pub dns_name: String,
    /// `approved`, or something else.
    pub status: ValidationStatus,
}

impl DcvCheck {
    /// Whether this name was found proved. In an answer of old, without a list, all names share the answer's own status.
    #[must_use]
    pub fn is_approved(&self, name: &str) -> bool {
        let Some(names) = &self.dns_name_validations else {
            let issued = self.order_status == Some(OrderStatus::Issued);
            let unapproved = self.order_status == Some(OrderStatus::NeedsApproval);
            return self.errors.is_empty() && (issued || (self.dcv_status.is_validated() && !unapproved));
        };
        let plain = |name: &str| name.trim_start_matches("*.").to_ascii_lowercase();
        let exact = names.iter().filter(|checked| checked.dns_name.eq_ignore_ascii_case(name));
        let mut of_name: Vec<_> = exact.collect();
        if of_name.is_empty() {
            let alike = |checked: &&CheckedName| plain(&checked.dns_name) == plain(name);
            of_name = names.iter().filter(alike).collect();
        }
        !of_name.is_empty() && of_name.iter().all(|checked| checked.status.is_validated())
    }

    /// Why something was not found, in the CA's words.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        if let Some(error) = self.errors.first() {
            return Some(format!("{}: {}", error.code, error.message));
        }
        let open = self.dns_name_validations.iter().flatten().filter(|checked| !checked.status.is_validated());
        let open: Vec<String> = open.map(|checked| format!("{} is {}", checked.dns_name, checked.status)).collect();
        (!open.is_empty()).then(|| open.join(", "))
    }
}

/// What came of the check of a domain's proof.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct TokenCheck {
    /// `active` when the proof was found.
    pub status: ValidationStatus,
    /// The value.
    #[serde(deserialize_with = "lenient::text")]
    pub token: Option<String>,
    /// Why it was not found, when the answer was an error or holds one.
    #[serde(deserialize_with = "error::errors")]
    pub errors: Vec<crate::ApiError>,
}
