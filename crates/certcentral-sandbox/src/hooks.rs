//! Webhooks: what has happened is told to the account's endpoint, with the secret it gave, a few times if it does not answer. ("Webhooks",
//! "CertCentral event types" of the API; how often the service repeats a delivery is not documented.)

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::state::{State, life::Shared};

/// How often a delivery is sent, and how long each may take.
const ATTEMPTS: u32 = 4;
const DEADLINE: Duration = Duration::from_secs(10);
/// How many deliveries are remembered.
const REMEMBERED: usize = 10_000;

/// The account's webhook.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Webhook {
    pub(crate) id: u64,
    pub(crate) endpoint: String,
    pub(crate) secret: Option<String>,
    pub(crate) events: Vec<String>,
    pub(crate) settings: Map<String, Value>,
    pub(crate) active: bool,
    pub(crate) created: Timestamp,
}

impl Webhook {
    /// Whether a setting is on: `"1"`, 1 and true are all written.
    fn has(&self, setting: &str) -> bool {
        self.settings.get(setting).is_some_and(|value| matches!(value.to_string().trim_matches('"'), "1" | "true"))
    }
}

/// An event and what became of it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Delivery {
    pub(crate) event: String,
    pub(crate) data: Value,
    pub(crate) at: Timestamp,
    pub(crate) attempts: u32,
    /// The last answer's status; `None` while there was none.
    pub(crate) status: Option<u16>,
    /// Nothing more is tried.
    pub(crate) over: bool,
}

impl State {
    /// Something has happened that a webhook may be told of.
    pub(crate) fn emit(&mut self, event: &str, data: Value, now: Timestamp) {
        let Some(webhook) = &self.webhook else { return };
        if !webhook.active || !webhook.events.iter().any(|one| one == event) {
            return;
        }
        let delivery = Delivery { event: event.to_owned(), data, at: now, attempts: 0, status: None, over: false };
        self.deliveries.push(delivery);
        let surplus = self.deliveries.len().saturating_sub(REMEMBERED);
        self.deliveries.drain(..surplus);
    }

    /// A certificate was issued; `chain` is what a setting adds.
    pub(crate) fn emit_issued(&mut self, order: u64, certificate: u64, chain: impl FnOnce() -> Value, now: Timestamp) {
        let with_chain = self.webhook.as_ref().is_some_and(|webhook| webhook.has("webhook_send_certificate_chain"));
        let mut data = json!({ "order_id": order, "certificate_id": certificate });
        if with_chain {
            data["certificate_chain"] = chain();
        }
        self.emit("certificate_issued", data, now);
    }

    /// The caller has the certificate in its answer already: nothing is sent, unless a setting wants it, and the chain is there by a
    /// setting of its own.
    pub(crate) fn was_instant(&mut self, certificate: u64, chain: impl FnOnce() -> Value) {
        let Some(webhook) = &self.webhook else { return };
        let (told, with_chain) = (
            webhook.has("instant_issue_webhook_notification"),
            webhook.has("webhook_send_instant_issued_certificate_chain"),
        );
        let is_it = |one: &Delivery| {
            one.attempts == 0 && one.data["certificate_id"] == certificate && one.event == "certificate_issued"
        };
        if !told {
            self.deliveries.retain(|one| !is_it(one));
        } else if let Some(one) = self.deliveries.iter_mut().find(|one| is_it(one)) {
            if with_chain {
                one.data["certificate_chain"] = chain();
            } else if let Some(data) = one.data.as_object_mut() {
                data.remove("certificate_chain");
            }
        }
    }
}

impl Shared {
    /// Sends what was not sent yet.
    pub(crate) fn deliver_hooks(self: &Arc<Self>) {
        let waiting = self.read(|state, _| state.deliveries.iter().any(|one| one.attempts == 0));
        if !waiting {
            return;
        }
        let (webhook, due) = self.write(|state, _| {
            let mut due = Vec::new();
            for (number, delivery) in state.deliveries.iter_mut().enumerate().filter(|(_, one)| one.attempts == 0) {
                delivery.attempts = 1;
                due.push((number, delivery.clone()));
            }
            (state.webhook.clone(), due)
        });
        let Some(webhook) = webhook else { return };
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            for (number, delivery) in due {
                shared.send(&webhook, number, &delivery).await;
            }
        });
    }

    async fn send(&self, webhook: &Webhook, number: usize, delivery: &Delivery) {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().timeout(DEADLINE).no_proxy().danger_accept_invalid_certs(false).build();
        let Ok(client) = client else { return };
        for attempt in 1..=ATTEMPTS {
            let mut request =
                client.post(&webhook.endpoint).json(&json!({ "event": delivery.event, "data": delivery.data }));
            if let Some(secret) = &webhook.secret {
                request = request.header("X-WEBHOOK-KEY", secret);
            }
            let status = request.send().await.ok().map(|response| response.status());
            let done = status.is_some_and(|status| status.is_success());
            self.write(|state, _| {
                if let Some(known) = state.deliveries.get_mut(number) {
                    known.attempts = attempt;
                    known.status = status.map(|status| status.as_u16());
                    known.over = done || attempt == ATTEMPTS;
                }
            });
            if done {
                return;
            }
            tokio::time::sleep(Duration::from_millis(200) * 2u32.pow(attempt)).await;
        }
    }
}
