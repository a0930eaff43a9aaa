//! Webhooks: CertCentral tells of what has happened. A hint, never a proof: ask for the order before acting on it.

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};
use subtle::ConstantTimeEq;

use super::{CertificateId, OrderId, WebhookId};
use crate::lenient;

/// A webhook of the account.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(remote = "Self")]
pub struct Webhook {
    /// Its number.
    pub id: WebhookId,
    /// Where events are sent.
    #[serde(default, deserialize_with = "lenient::text")]
    pub endpoint: Option<String>,
    /// `active`, `pending`, …
    #[serde(default, deserialize_with = "lenient::text")]
    pub status: Option<String>,
    /// Which events.
    #[serde(default, deserialize_with = "lenient::texts")]
    pub events: Vec<String>,
}

two_names! {
    Webhook: "id" or "webhook_id";
}

/// The body of a webhook (API page "Create webhook").
#[derive(Clone, Debug, Serialize)]
pub struct NewWebhook {
    /// An HTTPS address that answers POST with 2xx.
    pub endpoint: String,
    /// Sent with each event; at least 32 characters.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "exposed")]
    pub secret: Option<SecretString>,
    /// Which events; `certificate_issued` unless given.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<String>,
}

#[expect(clippy::ref_option, reason = "the signature is serde's")]
fn exposed<S: Serializer>(secret: &Option<SecretString>, serializer: S) -> Result<S::Ok, S::Error> {
    secret.as_ref().map(ExposeSecret::expose_secret).serialize(serializer)
}

/// The header that carries a webhook's secret.
pub const WEBHOOK_SECRET_HEADER: &str = "X-WEBHOOK-KEY";

/// An event as it is delivered (API page "CertCentral event types"). Names and data are open.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct WebhookEvent {
    /// `certificate_issued`, `certificate_revoked`, `order_rejected`, `domain_expired`, …
    #[serde(deserialize_with = "lenient::string")]
    pub event: String,
    /// What it is about.
    pub data: Map<String, Value>,
}

impl WebhookEvent {
    /// Reads the body of a delivery.
    ///
    /// # Errors
    /// When it is no event.
    pub fn read(body: &[u8]) -> serde_json::Result<Self> {
        lenient::json(body)
    }

    /// The order it is about.
    #[must_use]
    pub fn order_id(&self) -> Option<OrderId> {
        self.number("order_id").map(OrderId)
    }

    /// The certificate it is about.
    #[must_use]
    pub fn certificate_id(&self) -> Option<CertificateId> {
        self.number("certificate_id").map(CertificateId)
    }

    fn number(&self, field: &str) -> Option<u64> {
        self.data.get(field).and_then(|value| lenient::number(value).ok()?)
    }
}

/// Whether the secret of a delivery's [header](WEBHOOK_SECRET_HEADER) is ours; the time it takes tells nothing of it.
#[must_use]
pub fn is_our_webhook(secret: &SecretString, header: &str) -> bool {
    secret.expose_secret().as_bytes().ct_eq(header.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_and_secrets_compared() {
        let event =
            WebhookEvent::read(br#"{"event":"certificate_issued","data":{"order_id":"12","certificate_id":34}}"#)
                .expect("an event");
        assert_eq!((event.order_id(), event.certificate_id()), (Some(OrderId(12)), Some(CertificateId(34))));
        assert_eq!(WebhookEvent::read(b"{}").expect("an open map").order_id(), None);
        let secret = SecretString::from("a".repeat(32));
        assert!(is_our_webhook(&secret, &"a".repeat(32)));
        assert!(!is_our_webhook(&secret, &"a".repeat(31)) && !is_our_webhook(&secret, ""));
    }

    #[test]
    fn the_secret_is_sent_and_not_shown() {
        let webhook = NewWebhook {
            endpoint: "https://hooks.example.com/".to_owned(),
            secret: Some("planted-secret".into()),
            events: Vec::new(),
        };
        assert!(!format!("{webhook:?}").contains("planted"));
        assert_eq!(serde_json::to_value(&webhook).expect("JSON")["secret"], "planted-secret");
    }
}
