//! The wire types: what is sent and what is read, named as the API names it.
//!
//! All answers can be extended by the vendor at any time: unknown fields are ignored, unknown words are kept as `Other`,
//! and almost every field may be missing.

use std::fmt;

use jiff::{Timestamp, civil};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::lenient;

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
    /// A webhook's number.
    WebhookId,
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
                    $(word if word.eq_ignore_ascii_case($text) => Self::$word,)*
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
                let mut fields = serde_json::Map::deserialize(deserializer)?;
                lenient::one_name(&mut fields, $field, $also);
                // The derived function of `serde(remote = "Self")`, not this one.
                Self::deserialize(serde_json::Value::Object(fields)).map_err(serde::de::Error::custom)
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                Self::serialize(self, serializer)
            }
        }
    )*};
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
    /// Status of a reissue or a duplicate.
    CertificateStatus {
        /// Waits for validation or approval.
        Pending = "pending",
        /// Let pass, not issued yet.
        Approved = "approved",
        /// On its way.
        Processing = "processing",
        /// The certificate is there.
        Issued = "issued",
        /// Not approved.
        Rejected = "rejected",
        /// Canceled.
        Canceled = "canceled",
        /// Revoked.
        Revoked = "revoked",
        /// Has ended.
        Expired = "expired",
    }
    /// Why a certificate is revoked (RFC 5280, 5.3.1, and the CA/B Forum Baseline Requirements 7.2.2).
    RevocationReason {
        /// No reason is given.
        Unspecified = "unspecified",
        /// Somebody else may have the key.
        KeyCompromise = "keyCompromise",
        /// The organization's name or other data has changed.
        AffiliationChanged = "affiliationChanged",
        /// Another certificate is in its place.
        Superseded = "superseded",
        /// The site is no more.
        CessationOfOperation = "cessationOfOperation",
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
        /// The same as a `.cer` file.
        Cer = "cer",
        /// A ZIP of three `.crt` files: root, intermediate, leaf.
        Default = "default",
        /// A ZIP of three `.cer` files.
        DefaultCer = "default_cer",
        /// A ZIP of three `.crt` files, whatever the platform.
        DefaultPem = "default_pem",
        /// A ZIP of intermediate and leaf.
        Apache = "apache",
        /// The leaf as PEM.
        Pem = "pem",
        /// The leaf as a `.crt` file.
        Crt = "crt",
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

mod account;
mod certificate;
mod domain;
mod order;
mod webhook;

pub use account::*;
pub use certificate::*;
pub use domain::*;
pub use order::*;
pub use webhook::*;

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
