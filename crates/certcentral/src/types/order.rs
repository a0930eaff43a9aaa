//! Orders: how they are placed, what is answered, and where they stand.

use std::{collections::BTreeMap, fmt};

use jiff::civil;
use serde::{Deserialize, Deserializer, Serialize};

use super::{
    CaCertificate, CertificateId, DcvMethod, DcvScope, Domain, DomainId, Moment, OrderId, OrderStatus, OrganizationId,
    RequestId, RequestStatus, ValidationStatus,
};
use crate::lenient;

two_names! {
    Order: "id" or "order_id";
    StatusChange: "order_id" or "id";
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
    /// Contacts, in an order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub contacts: Vec<Contact>,
    /// Whom to call, where an organization is made by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization_contact: Option<Contact>,
    /// The division, where an organization is made by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<Reference>,
    /// Make a new one even where one of these details exists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip_duplicate_org_check: Option<bool>,
}

/// A person: a user of the account, or in full.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Contact {
    /// `organization_contact`, `technical_contact`, `verified_contact`; empty where the place says it.
    #[serde(skip_serializing_if = "String::is_empty")]
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
    /// Its extension.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub telephone_extension: Option<String>,
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
#[derive(Clone, Debug, Deserialize, Serialize)]
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
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ChainCertificate {
    /// Its common name.
    #[serde(default, deserialize_with = "lenient::text")]
    pub subject_common_name: Option<String>,
    /// PEM, with `\r\n` line ends.
    #[serde(deserialize_with = "lenient::needed")]
    pub pem: String,
}

/// A request for approval, in short.
#[derive(Clone, Debug, Deserialize, Serialize)]
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
#[derive(Clone, Debug, Deserialize, Serialize)]
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
    /// Whether a later order has followed it.
    #[serde(default, deserialize_with = "lenient::flag")]
    pub is_renewed: Option<bool>,
    /// The division.
    #[serde(default, deserialize_with = "lenient::if_sensible")]
    pub container: Option<Container>,
    /// Whether it has duplicates.
    #[serde(default, deserialize_with = "lenient::flag")]
    pub has_duplicates: Option<bool>,
    /// How many reissues it has had.
    #[serde(default, deserialize_with = "lenient::number")]
    pub reissues_count: Option<u64>,
    /// How many duplicates it has.
    #[serde(default, deserialize_with = "lenient::number")]
    pub duplicates_count: Option<u64>,
    /// What came of the CAA check, in words, by domain; only where asked for, and while the order is pending.
    #[serde(default, deserialize_with = "lenient::text_by_text")]
    pub caa_status_message: BTreeMap<String, String>,
}

/// The certificate of an order.
#[derive(Clone, Debug, Deserialize, Serialize)]
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
    /// Days until its last day.
    #[serde(default, deserialize_with = "lenient::if_sensible")]
    pub days_remaining: Option<i64>,
    /// `sha256`, …
    #[serde(default, deserialize_with = "lenient::text")]
    pub signature_hash: Option<String>,
    /// The issuing CA.
    #[serde(default, deserialize_with = "lenient::if_sensible")]
    pub ca_cert: Option<CaCertificate>,
}

/// The product of an order.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ProductInOrder {
    /// Identifier.
    #[serde(default, deserialize_with = "lenient::text")]
    pub name_id: Option<String>,
    /// Name.
    #[serde(default, deserialize_with = "lenient::text")]
    pub name: Option<String>,
    /// `OV`, `EV`, in either case.
    #[serde(default, deserialize_with = "lenient::text")]
    pub validation_type: Option<String>,
}

/// A division of the account.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Container {
    /// Number.
    #[serde(default, deserialize_with = "lenient::number")]
    pub id: Option<u64>,
    /// Name.
    #[serde(default, deserialize_with = "lenient::text")]
    pub name: Option<String>,
}

/// The organization of an order.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct OrganizationInOrder {
    /// Number.
    #[serde(default, deserialize_with = "lenient::maybe")]
    pub id: Option<OrganizationId>,
    /// Name.
    #[serde(default, deserialize_with = "lenient::text")]
    pub name: Option<String>,
}

/// A page of a list.
#[derive(Clone, Debug, Serialize)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// How many there are in all, when the answer says so.
    pub total: Option<u64>,
}

/// What an order's validations look like (API page "Order validation status").
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
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
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
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
    /// The people who have to confirm an EV order.
    #[serde(deserialize_with = "lenient::list_if_sensible")]
    pub verified_contacts: Vec<VerifiedContact>,
}

/// Somebody who speaks for an organization.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct VerifiedContact {
    /// First name.
    #[serde(deserialize_with = "lenient::text")]
    pub first_name: Option<String>,
    /// Last name.
    #[serde(deserialize_with = "lenient::text")]
    pub last_name: Option<String>,
    /// Both in one.
    #[serde(deserialize_with = "lenient::text")]
    pub name: Option<String>,
    /// E-mail address.
    #[serde(deserialize_with = "lenient::text")]
    pub email: Option<String>,
    /// Where the confirmation stands.
    #[serde(deserialize_with = "lenient::maybe")]
    pub status: Option<ValidationStatus>,
}

impl fmt::Display for VerifiedContact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [self.first_name.as_deref(), self.last_name.as_deref()];
        let name = parts.into_iter().flatten().collect::<Vec<_>>().join(" ");
        let name = if name.is_empty() { self.name.as_deref().unwrap_or("a contact") } else { &name };
        match &self.email {
            Some(email) => write!(f, "{name} <{email}>"),
            None => f.write_str(name),
        }
    }
}

/// The validation of a domain of an order.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
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
