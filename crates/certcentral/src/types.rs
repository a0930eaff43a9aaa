//! The wire types: what is sent and what is read, named as the API names it.
//!
//! All answers can be extended by the vendor at any time: unknown fields are ignored, unknown words are kept as `Other`,
//! and almost every field may be missing.

use std::{collections::BTreeMap, fmt};

use jiff::{Timestamp, civil};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::{Map, Value};

use crate::{error, lenient};

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<u64> for $name {
            fn from(id: u64) -> Self {
                Self(id)
            }
        }

        /// From a number or its text: order validation status, among others, writes ids as text.
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                lenient::number(deserializer)?
                    .map(Self)
                    .ok_or_else(|| serde::de::Error::custom(concat!(stringify!($name), ": a number was expected")))
            }
        }
    )*};
}

ids! {
    /// An order's number.
    OrderId,
    /// A certificate's number; an order with reissues and duplicates has several.
    CertificateId,
    /// A domain object's number.
    DomainId,
    /// An organization's number.
    OrganizationId,
    /// The number of a request for approval.
    RequestId,
}

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident { $($(#[$word_doc:meta])* $word:ident = $text:literal),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$word_doc])* $word,)*
            /// A word this version does not know, as it came.
            Other(String),
        }

        impl $name {
            /// As the API writes it.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$word => $text,)*
                    Self::Other(text) => text,
                }
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::Other(String::new())
            }
        }

        /// Case does not matter, and the non-breaking hyphens of the vendor's pages count as hyphens.
        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                let plain = text.trim().replace('\u{2011}', "-").to_ascii_lowercase();
                match plain.as_str() {
                    $($text => Self::$word,)*
                    _ => Self::Other(text.to_owned()),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Ok(Self::from(lenient::text(deserializer)?.unwrap_or_default().as_str()))
            }
        }
    )*};
}

/// For types with a field that has two names on the wire. Serde's aliases would refuse an answer that holds both.
macro_rules! two_names {
    ($($name:ident: $field:literal or $also:literal;)*) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let mut fields = Map::deserialize(deserializer)?;
                lenient::one_name(&mut fields, $field, $also);
                // The derived function of `serde(remote = "Self")`, not this one.
                Self::deserialize(Value::Object(fields)).map_err(D::Error::custom)
            }
        }
    )*};
}

two_names! {
    CheckedName: "dns_name" or "name";
    DcvCheck: "dns_name_validations" or "dns_names_validations";
    Domain: "name" or "dns_name";
    Order: "id" or "order_id";
    StatusChange: "order_id" or "id";
}

words! {
    /// Status of an order (API page "List orders").
    OrderStatus {
        /// Waits for validation.
        Pending = "pending",
        /// A reissue waits for validation; the earlier certificate stays good.
        ReissuePending = "reissue_pending",
        /// Waits for an approver.
        NeedsApproval = "needs_approval",
        /// Waits for a CSR.
        NeedsCsr = "needs_csr",
        /// On its way.
        Processing = "processing",
        /// Issued, to be fetched by hand.
        WaitingPickup = "waiting_pickup",
        /// The certificate is there.
        Issued = "issued",
        /// The certificate has ended.
        Expired = "expired",
        /// The certificate is revoked.
        Revoked = "revoked",
        /// Not approved.
        Rejected = "rejected",
        /// Canceled.
        Canceled = "canceled",
    }
    /// Status of a validation, of a domain or of an organization.
    ValidationStatus {
        /// Not done yet.
        Pending = "pending",
        /// Done (domains).
        Approved = "approved",
        /// Done (older answers).
        Complete = "complete",
        /// Done, and in force.
        Active = "active",
        /// Done (answers of a check).
        Valid = "valid",
        /// Was done, too long ago.
        Expired = "expired",
        /// Not done, or not found.
        Inactive = "inactive",
    }
    /// How control of a domain is shown (API glossary, DCV methods).
    DcvMethod {
        /// A mail with a link.
        Email = "email",
        /// A random value in a TXT record.
        DnsTxtToken = "dns-txt-token",
        /// A random value in a CNAME's target.
        DnsCnameToken = "dns-cname-token",
        /// A random value in `fileauth.txt`.
        HttpToken = "http-token",
        /// A random value in a file with a name of its own.
        HttpTokenDynamic = "http-token-dynamic",
    }
    /// At which name the domains of an order are validated.
    DcvScope {
        /// At their registrable domain.
        BaseDomain = "base_domain",
        /// As they were ordered.
        Fqdn = "fqdn",
    }
    /// Status of a request for approval.
    RequestStatus {
        /// Submitted.
        Submitted = "submitted",
        /// To be decided.
        Pending = "pending",
        /// Let pass.
        Approved = "approved",
        /// Refused.
        Rejected = "rejected",
    }
    /// A file format of a download (API glossary, certificate formats).
    DownloadFormat {
        /// One PEM file: leaf, intermediates, root.
        PemAll = "pem_all",
        /// One PEM file without the root.
        PemNoRoot = "pem_noroot",
        /// One PEM file: leaf and root.
        PemNoIntermediate = "pem_nointermediate",
        /// One PKCS#7 bundle.
        P7b = "p7b",
        /// A ZIP of three files.
        Default = "default",
        /// A ZIP of intermediate and leaf.
        Apache = "apache",
    }
}

impl ValidationStatus {
    /// Whether the validation is done and in force.
    #[must_use]
    pub fn is_validated(&self) -> bool {
        match self {
            Self::Approved | Self::Complete | Self::Active | Self::Valid => true,
            Self::Other(text) => matches!(text.to_ascii_lowercase().as_str(), "issued" | "completed" | "validated"),
            _ => false,
        }
    }
}

/// A moment as the API gives it: with a time, or as a bare date whose zone is not documented.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Moment {
    /// A point in time.
    At(Timestamp),
    /// A day.
    On(civil::Date),
    /// Something else, as it came.
    Unclear(String),
}

impl Moment {
    /// The point in time. A bare date counts as its beginning in UTC, which is early rather than late for an end.
    #[must_use]
    pub fn timestamp(&self) -> Option<Timestamp> {
        match self {
            Self::At(timestamp) => Some(*timestamp),
            Self::On(date) => jiff::tz::TimeZone::UTC.to_timestamp(date.at(0, 0, 0, 0)).ok(),
            Self::Unclear(_) => None,
        }
    }
}

impl From<&str> for Moment {
    fn from(text: &str) -> Self {
        let text = text.trim();
        if let Ok(timestamp) = text.parse() {
            return Self::At(timestamp);
        }
        // `+0000`, as PHP's older constant for ISO 8601 has it.
        if let Ok(zoned) = Timestamp::strptime("%Y-%m-%dT%H:%M:%S%z", text) {
            return Self::At(zoned);
        }
        if text.len() > 10
            && let Ok(plain) = text.parse::<civil::DateTime>()
            && let Ok(timestamp) = jiff::tz::TimeZone::UTC.to_timestamp(plain)
        {
            return Self::At(timestamp);
        }
        text.parse().map_or_else(|_| Self::Unclear(text.to_owned()), Self::On)
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(timestamp) => timestamp.fmt(f),
            Self::On(date) => date.fmt(f),
            Self::Unclear(text) => f.write_str(text),
        }
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::from(lenient::text(deserializer)?.unwrap_or_default().as_str()))
    }
}

// ---- placing an order

/// The body of an order (API pages "Order Basic OV" and the other order pages). Absent fields are not sent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NewOrder {
    /// What the certificate shall hold.
    pub certificate: NewCertificate,
    /// Who it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization: Option<OrganizationChoice>,
    /// How long the order lives; one form is required, here or in the older fields of the same meaning that follow. What is
    /// given here overrides them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_validity: Option<Validity>,
    /// Older form of `order_validity.years`.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "lenient::number")]
    pub validity_years: Option<u64>,
    /// Older form of `order_validity.days`.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "lenient::number")]
    pub validity_days: Option<u64>,
    /// Older form of `order_validity.custom_expiration_date`.
    #[serde(skip_serializing_if = "Option::is_none", with = "expiration_date")]
    pub custom_expiration_date: Option<civil::Date>,
    /// How control of the domains will be shown. CertCentral's default is `email`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dcv_method: Option<DcvMethod>,
    /// For `email`: who gets the mails, and then only they.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dcv_emails: Vec<DcvEmail>,
    /// At which name the domains are validated; else the account's setting holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_dcv_scope: Option<DcvScope>,
    /// Do not wait for an approver; the key's user must be allowed to approve.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip_approval: Option<bool>,
    /// A word to the approver.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comments: Option<String>,
    /// The division.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<Reference>,
    /// The order that this one follows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renewal_of_order_id: Option<OrderId>,
    /// SHA-1 thumbprint of the certificate that this one follows, instead of its order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renewed_thumbprint: Option<String>,
    /// 1 to renew by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_renew: Option<u8>,
    /// 1 to reissue by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_reissue: Option<u8>,
    /// Added to renewal notices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custom_renewal_message: Option<String>,
    /// No renewal notices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disable_renewal_notifications: Option<bool>,
    /// Further receivers of notices.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub additional_emails: Vec<String>,
    /// Language of mails, e.g. `en`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    /// `balance`, `profile`, `card` or `wire_transfer`; else the account's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payment_method: Option<String>,
    /// The payment profile, for `profile`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payment_profile: Option<Reference>,
    /// Keep the certificate out of the CT logs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disable_ct: Option<bool>,
    /// The account's own fields.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub custom_fields: Vec<CustomField>,
    /// The caller's own id, by which the order can be found again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alternative_order_id: Option<String>,
    /// For the product `ssl`: what kind it should become.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub product: Option<ProductHint>,
}

impl NewOrder {
    /// An order of a year with SHA-256 that does not wait for an approver, as the vendor's best practices ask of programs.
    pub fn new(
        common_name: impl Into<String>,
        csr: impl Into<String>,
        organization: impl Into<OrganizationId>,
    ) -> Self {
        Self {
            certificate: NewCertificate {
                common_name: common_name.into(),
                csr: csr.into(),
                signature_hash: "sha256".to_owned(),
                ..NewCertificate::default()
            },
            organization: Some(OrganizationChoice::Known { id: organization.into(), contacts: Vec::new() }),
            order_validity: Some(Validity { years: Some(1), ..Validity::default() }),
            skip_approval: Some(true),
            ..Self::default()
        }
    }
}

/// What a certificate shall hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NewCertificate {
    /// The first name. CertCentral takes no names from the CSR.
    pub common_name: String,
    /// The other names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns_names: Vec<String>,
    /// The certificate request, PEM.
    pub csr: String,
    /// `sha256`, `sha384` or `sha512`.
    pub signature_hash: String,
    /// Organizational units, for products that still have them; public TLS certificates have none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub organization_units: Vec<String>,
    /// The server's software, for the format of downloads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_platform: Option<Platform>,
    /// How long the certificate lives; else as long as the order and the industry's limit allow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_validity: Option<Validity>,
    /// The issuing CA, for products and accounts that may choose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_cert_id: Option<String>,
    /// A profile such as `server_auth_only_eku`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile_option: Option<String>,
}

/// A validity. When several forms are given, the date overrides the days, and the days the years.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Validity {
    /// Years.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "lenient::number")]
    pub years: Option<u64>,
    /// Days.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "lenient::number")]
    pub days: Option<u64>,
    /// The last day. Sent as `09 JUN 2027`.
    #[serde(skip_serializing_if = "Option::is_none", with = "expiration_date")]
    pub custom_expiration_date: Option<civil::Date>,
}

/// Who a certificate is for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum OrganizationChoice {
    /// An organization of the account.
    Known {
        /// Its number.
        id: OrganizationId,
        /// Contacts of the order.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        contacts: Vec<Contact>,
    },
    /// One to be made, or found by its details.
    Described(Box<NewOrganization>),
}

/// An organization in full (API page "Create organization").
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NewOrganization {
    /// Legal name.
    pub name: String,
    /// Trade name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assumed_name: Option<String>,
    /// Street.
    pub address: String,
    /// More of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address2: Option<String>,
    /// Post code.
    pub zip: String,
    /// City.
    pub city: String,
    /// State or province.
    pub state: String,
    /// Two letters.
    pub country: String,
    /// Telephone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub telephone: Option<String>,
    /// Contacts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub contacts: Vec<Contact>,
    /// Make a new one even where one of these details exists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip_duplicate_org_check: Option<bool>,
}

/// A person: a user of the account, or in full.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Contact {
    /// `organization_contact`, `technical_contact`, `verified_contact`.
    pub contact_type: String,
    /// A user of the account.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "lenient::number")]
    pub user_id: Option<u64>,
    /// First name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_name: Option<String>,
    /// Last name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_name: Option<String>,
    /// Job title.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_title: Option<String>,
    /// Telephone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub telephone: Option<String>,
    /// E-mail address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
}

/// Who gets the mail for a domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DcvEmail {
    /// The ordered name.
    pub dns_name: String,
    /// The domain whose control is shown.
    pub email_domain: String,
    /// The address.
    pub email: String,
}

/// Something known by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// The number.
    pub id: u64,
}

/// A server platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// Its number; -1 is "other".
    pub id: i64,
}

/// A field of the account's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomField {
    /// The field's number.
    pub metadata_id: u64,
    /// Its value.
    pub value: String,
}

/// What kind of product `ssl` should become.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProductHint {
    /// The hint.
    pub type_hint: String,
}

/// `09 JUN 2027`, the form in which the order pages write dates of expiry.
mod expiration_date {
    use jiff::civil::Date;
    use serde::{Deserializer, Serializer};

    #[expect(clippy::ref_option, clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
    pub(super) fn serialize<S: Serializer>(date: &Option<Date>, serializer: S) -> Result<S::Ok, S::Error> {
        match date {
            Some(date) => serializer.serialize_str(&date.strftime("%d %b %Y").to_string().to_uppercase()),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Date>, D::Error> {
        let Some(text) = crate::lenient::text(deserializer)? else { return Ok(None) };
        Ok(text.parse().ok().or_else(|| Date::strptime("%d %b %Y", &text).ok()))
    }
}

/// The answer to an order, in all its forms. Only the order's number is needed: what else is missing or odd can be asked
/// for, and an answer that is not understood would leave open whether there is an order.
#[derive(Clone, Debug, Deserialize)]
pub struct PlacedOrder {
    /// The order's number.
    pub id: OrderId,
    /// The certificate's number; not there while the order needs approval.
    #[serde(default, deserialize_with = "lenient::maybe")]
    pub certificate_id: Option<CertificateId>,
    /// Requests for approval.
    #[serde(default, deserialize_with = "lenient::list_if_sensible")]
    pub requests: Vec<RequestSummary>,
    /// The order's random value, good for each of its domains.
    #[serde(default, deserialize_with = "lenient::text")]
    pub dcv_random_value: Option<String>,
    /// The domains and their own random values.
    #[serde(default, deserialize_with = "lenient::list_if_sensible")]
    pub domains: Vec<Domain>,
    /// The certificate, when it was issued at once: leaf, intermediates, root.
    #[serde(default, deserialize_with = "lenient::list_if_sensible")]
    pub certificate_chain: Vec<ChainCertificate>,
}

impl PlacedOrder {
    /// Whether the order waits for an approver.
    #[must_use]
    pub fn needs_approval(&self) -> bool {
        self.certificate_id.is_none() && self.requests.iter().any(RequestSummary::is_open)
    }
}

/// A certificate of a chain.
#[derive(Clone, Debug, Deserialize)]
pub struct ChainCertificate {
    /// Its common name.
    #[serde(default, deserialize_with = "lenient::text")]
    pub subject_common_name: Option<String>,
    /// PEM, with `\r\n` line ends.
    #[serde(deserialize_with = "lenient::needed")]
    pub pem: String,
}

/// A request for approval, in short.
#[derive(Clone, Debug, Deserialize)]
pub struct RequestSummary {
    /// Its number.
    pub id: RequestId,
    /// Where it stands.
    #[serde(default)]
    pub status: RequestStatus,
}

impl RequestSummary {
    /// Whether it is still to be decided.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.status, RequestStatus::Pending | RequestStatus::Submitted)
    }
}

// ---- following an order

/// An order (API page "Order info"); list items are the same with fewer fields.
#[derive(Clone, Debug, Deserialize)]
#[serde(remote = "Self")]
pub struct Order {
    /// Its number; `order_id` at times.
    pub id: OrderId,
    /// Where it stands.
    #[serde(default)]
    pub status: OrderStatus,
    /// The caller's own id.
    #[serde(default, deserialize_with = "lenient::text")]
    pub alternative_order_id: Option<String>,
    /// Its certificate.
    #[serde(default, deserialize_with = "lenient::maybe")]
    pub certificate: Option<OrderCertificate>,
    /// When it was placed.
    #[serde(default, deserialize_with = "lenient::maybe")]
    pub date_created: Option<Moment>,
    /// Its last day.
    #[serde(default, deserialize_with = "lenient::maybe")]
    pub order_valid_till: Option<Moment>,
    /// The product.
    #[serde(default, deserialize_with = "lenient::if_sensible")]
    pub product: Option<ProductInOrder>,
    /// The organization.
    #[serde(default, deserialize_with = "lenient::if_sensible")]
    pub organization: Option<OrganizationInOrder>,
    /// How its domains are proved.
    #[serde(default, deserialize_with = "lenient::maybe")]
    pub dcv_method: Option<DcvMethod>,
    /// Whether it follows an earlier order.
    #[serde(default, deserialize_with = "lenient::flag")]
    pub is_renewal: Option<bool>,
    /// That order; older answers write 0 for none.
    #[serde(default, deserialize_with = "lenient::if_sensible")]
    pub renewed_order_id: Option<OrderId>,
    /// Requests for approval.
    #[serde(default, deserialize_with = "lenient::list_if_sensible")]
    pub requests: Vec<RequestSummary>,
    /// What came of the CAA check, in words, by domain; only where asked for, and while the order is pending.
    #[serde(default, deserialize_with = "lenient::text_by_text")]
    pub caa_status_message: BTreeMap<String, String>,
}

/// The certificate of an order.
#[derive(Clone, Debug, Deserialize)]
pub struct OrderCertificate {
    /// Its number; not there while the order needs approval.
    #[serde(default, deserialize_with = "lenient::maybe")]
    pub id: Option<CertificateId>,
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
    /// First day, after issue.
    #[serde(default, deserialize_with = "lenient::maybe")]
    pub valid_from: Option<Moment>,
    /// Last day, after issue.
    #[serde(default, deserialize_with = "lenient::maybe")]
    pub valid_till: Option<Moment>,
    /// The certificate request, PEM.
    #[serde(default, deserialize_with = "lenient::text")]
    pub csr: Option<String>,
}

/// The product of an order.
#[derive(Clone, Debug, Deserialize)]
pub struct ProductInOrder {
    /// Identifier.
    #[serde(default, deserialize_with = "lenient::text")]
    pub name_id: Option<String>,
    /// Name.
    #[serde(default, deserialize_with = "lenient::text")]
    pub name: Option<String>,
}

/// The organization of an order.
#[derive(Clone, Debug, Deserialize)]
pub struct OrganizationInOrder {
    /// Number.
    #[serde(default, deserialize_with = "lenient::maybe")]
    pub id: Option<OrganizationId>,
    /// Name.
    #[serde(default, deserialize_with = "lenient::text")]
    pub name: Option<String>,
}

/// A page of a list.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// How many there are in all, when the answer says so.
    pub total: Option<u64>,
}

/// What an order's validations look like (API page "Order validation status").
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct OrderValidation {
    /// The order.
    #[serde(deserialize_with = "lenient::if_sensible")]
    pub order_id: Option<OrderId>,
    /// Where the order stands.
    pub order_status: OrderStatus,
    /// At which names its domains are validated.
    #[serde(deserialize_with = "lenient::maybe")]
    pub order_name_scope: Option<DcvScope>,
    /// How.
    #[serde(deserialize_with = "lenient::maybe")]
    pub order_dcv_method: Option<DcvMethod>,
    /// The organization.
    #[serde(deserialize_with = "lenient::if_sensible")]
    pub organization_id: Option<OrganizationId>,
    /// The organization's name.
    #[serde(deserialize_with = "lenient::text")]
    pub organization_name: Option<String>,
    /// The organization's validations; none for DV.
    #[serde(deserialize_with = "lenient::list")]
    pub organization_validations: Vec<OrganizationValidation>,
    /// The domains' validations.
    #[serde(deserialize_with = "lenient::list")]
    pub dns_name_validations: Vec<DnsNameValidation>,
}

/// A validation of an organization.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct OrganizationValidation {
    /// `ov`, `ev`, …
    #[serde(rename = "type", deserialize_with = "lenient::string")]
    pub validation_type: String,
    /// For people: `OV`.
    #[serde(deserialize_with = "lenient::text")]
    pub name: Option<String>,
    /// Where it stands.
    pub status: ValidationStatus,
    /// Its end.
    #[serde(deserialize_with = "lenient::maybe")]
    pub validated_until: Option<Moment>,
}

/// The validation of a domain of an order.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct DnsNameValidation {
    /// The domain object.
    #[serde(deserialize_with = "lenient::maybe")]
    pub domain_id: Option<DomainId>,
    /// The domain under validation.
    #[serde(deserialize_with = "lenient::text")]
    pub name_scope: Option<String>,
    /// What an approval covers: `subdomains`.
    #[serde(deserialize_with = "lenient::text")]
    pub approval_scope: Option<String>,
    /// Where it stands.
    pub status: ValidationStatus,
    /// How it is proved.
    #[serde(deserialize_with = "lenient::maybe")]
    pub method: Option<DcvMethod>,
    /// The ordered names that hang on it.
    #[serde(deserialize_with = "lenient::texts")]
    pub dns_names: Vec<String>,
}

/// A change of an order's status.
#[derive(Clone, Debug, Deserialize)]
#[serde(remote = "Self")]
pub struct StatusChange {
    /// The order.
    pub order_id: OrderId,
    /// Its certificate; may be missing before approval.
    #[serde(default, deserialize_with = "lenient::maybe")]
    pub certificate_id: Option<CertificateId>,
    /// Where the order stands now.
    #[serde(default)]
    pub status: OrderStatus,
}

// ---- control of domains

/// A random value of an order.
#[derive(Clone, Debug, Deserialize)]
pub struct RandomValue {
    /// The value.
    #[serde(deserialize_with = "lenient::needed")]
    pub dcv_random_value: String,
    /// Its end.
    #[serde(default, deserialize_with = "lenient::maybe")]
    pub expiration_date: Option<Moment>,
}

/// A random value of a domain.
#[derive(Clone, Debug, Deserialize)]
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
#[derive(Clone, Debug, Deserialize)]
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
}

impl Domain {
    /// Whether control of the domain is shown for OV at this moment, as far as the answer tells.
    #[must_use]
    pub fn is_validated_at(&self, moment: Timestamp) -> bool {
        let end = self.dcv_expiration.as_ref().and_then(|ends| ends.ov.as_ref()).and_then(Moment::timestamp);
        self.is_active != Some(false) && end.is_some_and(|end| end > moment)
    }
}

/// When a domain's validations end.
#[derive(Clone, Debug, Default, Deserialize)]
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
#[derive(Clone, Debug, Default, Deserialize)]
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
#[derive(Clone, Debug, Default, Deserialize)]
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
    /// Name by name; missing in older answers.
    #[serde(deserialize_with = "lenient::list")]
    pub dns_name_validations: Vec<CheckedName>,
    /// Why proofs were not found, when the answer was an error or holds one.
    #[serde(deserialize_with = "error::errors")]
    pub errors: Vec<crate::ApiError>,
}

/// What came of the check of one name.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, remote = "Self")]
pub struct CheckedName {
    /// The name.
    #[serde(deserialize_with = "lenient::string")]
    pub dns_name: String,
    /// `approved`, or something else.
    pub status: ValidationStatus,
}

impl DcvCheck {
    /// Whether this name was found proved. Without a list, all names share the answer's own status.
    #[must_use]
    pub fn is_approved(&self, name: &str) -> bool {
        if self.dns_name_validations.is_empty() {
            return self.errors.is_empty()
                && (self.dcv_status.is_validated() || self.order_status == Some(OrderStatus::Issued));
        }
        let plain = |name: &str| name.trim_start_matches("*.").to_ascii_lowercase();
        let exact = self.dns_name_validations.iter().filter(|checked| checked.dns_name.eq_ignore_ascii_case(name));
        let mut of_name: Vec<_> = exact.collect();
        if of_name.is_empty() {
            let alike = |checked: &&CheckedName| plain(&checked.dns_name) == plain(name);
            of_name = self.dns_name_validations.iter().filter(alike).collect();
        }
        !of_name.is_empty() && of_name.iter().all(|checked| checked.status.is_validated())
    }

    /// Why something was not found, in the CA's words.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        if let Some(error) = self.errors.first() {
            return Some(format!("{}: {}", error.code, error.message));
        }
        let open = self.dns_name_validations.iter().filter(|checked| !checked.status.is_validated());
        let open: Vec<String> = open.map(|checked| format!("{} is {}", checked.dns_name, checked.status)).collect();
        (!open.is_empty()).then(|| open.join(", "))
    }
}

/// What came of the check of a domain's proof.
#[derive(Clone, Debug, Default, Deserialize)]
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

// ---- the account

/// The user an API key belongs to (API page "My user info").
#[derive(Clone, Debug, Deserialize)]
pub struct User {
    /// Number.
    #[serde(default, deserialize_with = "lenient::number")]
    pub id: Option<u64>,
    /// Login name.
    #[serde(default, deserialize_with = "lenient::text")]
    pub username: Option<String>,
    /// First name.
    #[serde(default, deserialize_with = "lenient::text")]
    pub first_name: Option<String>,
    /// Last name.
    #[serde(default, deserialize_with = "lenient::text")]
    pub last_name: Option<String>,
    /// What the user may do.
    #[serde(default, deserialize_with = "lenient::list")]
    pub access_roles: Vec<AccessRole>,
}

/// What a user may do.
#[derive(Clone, Debug, Deserialize)]
pub struct AccessRole {
    /// `Administrator`, `Manager`, …
    #[serde(default, deserialize_with = "lenient::text")]
    pub name: Option<String>,
}

/// An organization of the account.
#[derive(Clone, Debug, Deserialize)]
pub struct Organization {
    /// Number.
    pub id: OrganizationId,
    /// Legal name.
    #[serde(default, deserialize_with = "lenient::text")]
    pub name: Option<String>,
    /// Legal and trade name.
    #[serde(default, deserialize_with = "lenient::text")]
    pub display_name: Option<String>,
    /// Trade name.
    #[serde(default, deserialize_with = "lenient::text")]
    pub assumed_name: Option<String>,
    /// `active` or not.
    #[serde(default, deserialize_with = "lenient::text")]
    pub status: Option<String>,
    /// Whether it may be used.
    #[serde(default, deserialize_with = "lenient::flag")]
    pub is_active: Option<bool>,
    /// City.
    #[serde(default, deserialize_with = "lenient::text")]
    pub city: Option<String>,
    /// State or province.
    #[serde(default, deserialize_with = "lenient::text")]
    pub state: Option<String>,
    /// Two letters, in either case.
    #[serde(default, deserialize_with = "lenient::text")]
    pub country: Option<String>,
    /// Validations.
    #[serde(default, deserialize_with = "lenient::list")]
    pub validations: Vec<OrganizationValidation>,
}

/// A product of the account.
#[derive(Clone, Debug, Deserialize)]
pub struct Product {
    /// Identifier.
    #[serde(deserialize_with = "lenient::needed")]
    pub name_id: String,
    /// Name.
    #[serde(default, deserialize_with = "lenient::text")]
    pub name: Option<String>,
    /// `ssl_certificate`, …
    #[serde(default, rename = "type", deserialize_with = "lenient::text")]
    pub product_type: Option<String>,
    /// `OV`, `EV`, …
    #[serde(default, deserialize_with = "lenient::text")]
    pub validation_type: Option<String>,
    /// Years that an order may last, as the answer has them.
    #[serde(default, deserialize_with = "lenient::texts")]
    pub allowed_order_validity_years: Vec<String>,
    /// Issuing CAs to choose from.
    #[serde(default, deserialize_with = "lenient::list_if_sensible")]
    pub allowed_ca_certs: Vec<CaCertificate>,
}

/// An issuing CA that an order may choose.
#[derive(Clone, Debug, Deserialize)]
pub struct CaCertificate {
    /// Its identifier, for [`NewCertificate::ca_cert_id`].
    #[serde(deserialize_with = "lenient::needed")]
    pub id: String,
    /// Its name.
    #[serde(default, deserialize_with = "lenient::text")]
    pub name: Option<String>,
}

/// A request for approval (API page "List requests").
#[derive(Clone, Debug, Deserialize)]
pub struct Request {
    /// Its number.
    pub id: RequestId,
    /// Where it stands.
    #[serde(default)]
    pub status: RequestStatus,
    /// When it was made.
    #[serde(default, deserialize_with = "lenient::maybe")]
    pub date: Option<Moment>,
    /// What the requester said.
    #[serde(default, deserialize_with = "lenient::text")]
    pub comments: Option<String>,
    /// What the approver said.
    #[serde(default, deserialize_with = "lenient::text")]
    pub processor_comment: Option<String>,
    /// `new_request`, `reissue`, `duplicate`, `revoke`.
    #[serde(default, rename = "type", deserialize_with = "lenient::text")]
    pub request_type: Option<String>,
    /// Its order, as it was when the request was made: ask for the order itself before deciding on it.
    #[serde(default, deserialize_with = "lenient::if_sensible")]
    pub order: Option<Order>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_from_numbers_and_text() {
        assert_eq!(serde_json::from_str::<OrderId>("112233").unwrap(), OrderId(112_233));
        assert_eq!(serde_json::from_str::<OrderId>("\"112233\"").unwrap(), OrderId(112_233));
        assert!(serde_json::from_str::<OrderId>("\"abc\"").is_err());
    }

    #[test]
    fn moments_keep_dates_and_times_apart() {
        let at = |text: &str| Moment::from(text).timestamp().map(|t| t.to_string());
        assert_eq!(at("2018-10-15T21:46:29+00:00").as_deref(), Some("2018-10-15T21:46:29Z"));
        assert_eq!(at("2018-10-15T21:46:29Z").as_deref(), Some("2018-10-15T21:46:29Z"));
        assert_eq!(at("2018-10-15T21:46:29.123Z").as_deref(), Some("2018-10-15T21:46:29.123Z"));
        assert_eq!(at("2018-10-15T21:46:29+0000").as_deref(), Some("2018-10-15T21:46:29Z"));
        assert_eq!(at("2018-10-15T15:46:29-06:00").as_deref(), Some("2018-10-15T21:46:29Z"));
        assert_eq!(at("2018-10-15 21:46:29").as_deref(), Some("2018-10-15T21:46:29Z"));
        assert_eq!(at("2018-10-15").as_deref(), Some("2018-10-15T00:00:00Z"));
        assert_eq!(Moment::from("2018-10-15"), Moment::On(civil::date(2018, 10, 15)));
        assert_eq!(at("soon"), None);
    }

    #[test]
    fn words_are_read_whatever_their_hyphens_and_case() {
        assert_eq!(DcvMethod::from("dns\u{2011}txt\u{2011}token"), DcvMethod::DnsTxtToken);
        assert_eq!(OrderStatus::from("ISSUED"), OrderStatus::Issued);
        assert_eq!(DcvMethod::from("persistent-txt").to_string(), "persistent-txt");
    }

    #[test]
    fn an_order_is_sent_with_nothing_it_does_not_say() {
        let mut order = NewOrder::new("a.example.com", "CSR", 7);
        order.certificate.cert_validity =
            Some(Validity { custom_expiration_date: Some(civil::date(2027, 6, 9)), ..Validity::default() });
        let expected = serde_json::json!({
            "certificate": {
                "common_name": "a.example.com", "csr": "CSR", "signature_hash": "sha256",
                "cert_validity": {"custom_expiration_date": "09 JUN 2027"},
            },
            "organization": {"id": 7},
            "order_validity": {"years": 1},
            "skip_approval": true,
        });
        assert_eq!(serde_json::to_value(&order).unwrap(), expected);
        assert_eq!(serde_json::from_value::<NewOrder>(expected).unwrap(), order);
    }

    #[test]
    fn every_field_of_an_order_goes_where_the_api_has_it() {
        let full = serde_json::json!({
            "certificate": {
                "common_name": "a.example.com", "dns_names": ["b.example.com"], "csr": "CSR", "signature_hash": "sha384",
                "organization_units": ["IT"], "server_platform": {"id": -1}, "cert_validity": {"days": 90},
                "ca_cert_id": "A1B2", "profile_option": "server_auth_only_eku",
            },
            "organization": {
                "name": "Example", "assumed_name": "Ex", "address": "1 St", "address2": "2nd", "zip": "1", "city": "C",
                "state": "S", "country": "us", "telephone": "5", "skip_duplicate_org_check": true,
                "contacts": [{"contact_type": "organization_contact", "first_name": "A", "last_name": "B",
                    "job_title": "J", "telephone": "6", "email": "a@example.com"},
                    {"contact_type": "verified_contact", "user_id": 3}],
            },
            "order_validity": {"years": 1}, "validity_years": 1, "validity_days": 199,
            "custom_expiration_date": "09 JUN 2027",
            "dcv_method": "email",
            "dcv_emails": [{"dns_name": "a.example.com", "email_domain": "example.com", "email": "admin@example.com"}],
            "certificate_dcv_scope": "base_domain", "skip_approval": false, "comments": "c", "container": {"id": 1},
            "renewal_of_order_id": 2, "renewed_thumbprint": "AB", "auto_renew": 1, "auto_reissue": 0,
            "custom_renewal_message": "m", "disable_renewal_notifications": true,
            "additional_emails": ["b@example.com"], "locale": "en", "payment_method": "profile",
            "payment_profile": {"id": 4}, "disable_ct": true, "custom_fields": [{"metadata_id": 5, "value": "v"}],
            "alternative_order_id": "mine-1", "product": {"type_hint": "ov"},
        });
        let order: NewOrder = serde_json::from_value(full.clone()).unwrap();
        assert_eq!(serde_json::to_value(order).unwrap(), full);
    }

    #[test]
    fn a_check_speaks_for_names_and_for_all() {
        let check = |json: &str| serde_json::from_str::<DcvCheck>(json).unwrap();
        let per_name = check(
            r#"{"order_status":"pending","dcv_status":"pending","dns_name_validations":[
                {"dns_name":"example.com","status":"approved"},{"dns_name":"other.com","status":"pending"}]}"#,
        );
        assert!(per_name.is_approved("example.com"));
        assert!(per_name.is_approved("*.example.com"));
        assert!(!per_name.is_approved("other.com"));
        assert!(!per_name.is_approved("third.com"));
        assert!(per_name.reason().unwrap().contains("other.com is pending"));
        assert!(
            check(r#"{"order_status":"pending","certificate_id":"5","dcv_status":"valid"}"#).is_approved("any.com")
        );
        assert!(!check(r#"{"order_status":"pending","dcv_status":"invalid"}"#).is_approved("any.com"));
    }
}
