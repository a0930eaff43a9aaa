//! Calls on webhooks (API pages under "Webhooks"; the feature has to be switched on for the account).

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Call, Client};
use crate::{
    error::Result,
    lenient,
    types::{NewWebhook, Webhook, WebhookId},
};

impl Client {
    /// The account's webhooks; there is one at most.
    ///
    /// # Errors
    /// As any read.
    pub async fn webhooks(&self) -> Result<Vec<Webhook>> {
        let answer: Value = self.json_or_default(Call::get("/webhook")).await?;
        // A list under a name, a bare list, or the one.
        let list = match answer {
            Value::Object(mut fields) if fields.contains_key("webhooks") => {
                fields.remove("webhooks").unwrap_or_default()
            }
            Value::Object(fields) if fields.is_empty() => Value::Null,
            one @ Value::Object(_) => Value::Array(vec![one]),
            other => other,
        };
        Ok(lenient::list(list).unwrap_or_default())
    }

    /// Makes the account's webhook (API page "Create webhook"). It sends nothing before it is
    /// [active](Self::set_webhook_active).
    ///
    /// # Errors
    /// 400 with a code for whatever is wrong with it.
    pub async fn create_webhook(&self, webhook: &NewWebhook) -> Result<WebhookId> {
        #[derive(Deserialize)]
        struct Created {
            webhook_id: WebhookId,
        }
        let created: Created = self.json(Call::post("/webhook").body(webhook)).await?;
        Ok(created.webhook_id)
    }

    /// Changes a webhook.
    ///
    /// # Errors
    /// [`Error::is_not_found`](crate::Error::is_not_found).
    pub async fn update_webhook(&self, id: WebhookId, webhook: &NewWebhook) -> Result<()> {
        self.nothing(Call::put(format!("/webhook/{id}")).body(webhook)).await
    }

    /// Switches a webhook on or off.
    ///
    /// # Errors
    /// [`Error::is_not_found`](crate::Error::is_not_found).
    pub async fn set_webhook_active(&self, id: WebhookId, active: bool) -> Result<()> {
        let verb = if active { "activate" } else { "deactivate" };
        self.nothing(Call::put(format!("/webhook/{id}/{verb}"))).await
    }

    /// Has CertCentral call an address once, to see whether it answers.
    ///
    /// # Errors
    /// 400 when it does not.
    pub async fn test_webhook_endpoint(&self, endpoint: &str) -> Result<()> {
        self.nothing(Call::post("/webhook/test-endpoint").body(json!({ "endpoint": endpoint }))).await
    }
}
