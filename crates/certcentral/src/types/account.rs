//! The account: its user, organizations, products and requests for approval.

use serde::{Deserialize, Serialize};

use super::{Contact, Moment, Order, OrganizationId, OrganizationValidation, RequestId, RequestStatus};
use crate::lenient;

/// The user an API key belongs to (API page "My user info").
#[derive(Clone, Debug, Deserialize, Serialize)]
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
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct AccessRole {
    /// `Administrator`, `Manager`, …
    #[serde(default, deserialize_with = "lenient::text")]
    pub name: Option<String>,
}

/// An organization of the account.
#[derive(Clone, Debug, Deserialize, Serialize)]
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
    /// Street.
    #[serde(default, deserialize_with = "lenient::text")]
    pub address: Option<String>,
    /// Post code.
    #[serde(default, deserialize_with = "lenient::text")]
    pub zip: Option<String>,
    /// Telephone.
    #[serde(default, deserialize_with = "lenient::text")]
    pub telephone: Option<String>,
    /// Validations.
    #[serde(default, deserialize_with = "lenient::list")]
    pub validations: Vec<OrganizationValidation>,
}

/// What an organization shall be validated for (API page "Submit for validation").
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct NewOrganizationValidation {
    /// `ov`, `ev`, …
    #[serde(rename = "type")]
    pub validation_type: String,
    /// Who may speak for it; needed for `ev`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub verified_users: Vec<VerifiedUser>,
}

/// Somebody who may speak for an organization. Orders call a user `user_id`, and this call `id`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum VerifiedUser {
    /// A user of the account.
    Known {
        /// The user's number.
        id: u64,
    },
    /// A person in full.
    Described(Box<Contact>),
}

impl From<Contact> for VerifiedUser {
    fn from(contact: Contact) -> Self {
        match contact.user_id {
            Some(id) => Self::Known { id },
            // What somebody is to an order has no place here.
            None => Self::Described(Box::new(Contact { contact_type: String::new(), ..contact })),
        }
    }
}

/// A product of the account.
#[derive(Clone, Debug, Deserialize, Serialize)]
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
    /// Years that a certificate may last, as the answer has them.
    #[serde(default, deserialize_with = "lenient::texts")]
    pub allowed_validity_years: Vec<String>,
    /// Years that an order may last at most, in a Multi-year Plan.
    #[serde(default, deserialize_with = "lenient::number")]
    pub max_multi_year_order_validity_years: Option<u64>,
    /// Whether further names may be given.
    #[serde(default, deserialize_with = "lenient::flag")]
    pub additional_dns_names_allowed: Option<bool>,
    /// Whether a last day may be given.
    #[serde(default, deserialize_with = "lenient::flag")]
    pub custom_expiration_date_allowed: Option<bool>,
    /// Whether duplicates can be had.
    #[serde(default, deserialize_with = "lenient::flag")]
    pub duplicates_allowed: Option<bool>,
    /// Hashes to choose from.
    #[serde(default, deserialize_with = "lenient::if_sensible")]
    pub signature_hash_types: Option<SignatureHashes>,
}

/// The hashes that a product can be signed with.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct SignatureHashes {
    /// All of them.
    #[serde(deserialize_with = "lenient::list_if_sensible")]
    pub allowed_hash_types: Vec<SignatureHash>,
    /// The one that is taken unless another is asked for.
    #[serde(deserialize_with = "lenient::text")]
    pub default_hash_type_id: Option<String>,
}

/// A hash.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct SignatureHash {
    /// `sha256`, …
    #[serde(deserialize_with = "lenient::needed")]
    pub id: String,
}

/// An issuing CA that an order may choose.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct CaCertificate {
    /// Its identifier, for [`NewCertificate::ca_cert_id`](crate::NewCertificate::ca_cert_id).
    #[serde(deserialize_with = "lenient::needed")]
    pub id: String,
    /// Its name.
    #[serde(default, deserialize_with = "lenient::text")]
    pub name: Option<String>,
}

/// A request for approval (API page "List requests").
#[derive(Clone, Debug, Deserialize, Serialize)]
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
