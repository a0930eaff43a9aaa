//! CertCentral's webhook: its commands, and the listener that makes runs look at once instead of at the next tick.
//!
//! An event is a hint. Its secret is compared, its body is read for the log, and then the runs ask CertCentral themselves.

use std::sync::Arc;

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use certcentral::{NewWebhook, WEBHOOK_SECRET_HEADER, WebhookEvent, WebhookId, is_our_webhook};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use crate::{
    args::account::WebhookCommand,
    config::Config,
    exit::{Code, Failure, Result},
    show::Screen,
};

/// The shortest secret that CertCentral takes.
const SHORTEST_SECRET: usize = 32;

pub(crate) async fn webhooks(config: &Config, screen: Screen, command: &WebhookCommand) -> Result<Code> {
    let client = config.client().await?;
    match command {
        WebhookCommand::List => {
            let all = client.webhooks().await?;
            let rows: Vec<Vec<String>> = all
                .iter()
                .map(|one| {
                    vec![
                        one.id.to_string(),
                        one.status.clone().unwrap_or_default(),
                        one.endpoint.clone().unwrap_or_default(),
                        one.events.join(" "),
                    ]
                })
                .collect();
            screen.table(&["WEBHOOK", "STATUS", "ENDPOINT", "EVENTS"], &rows, "no webhook", json!({ "webhooks": all }));
        }
        WebhookCommand::Create { endpoint, events } => {
            if !endpoint.starts_with("https://") {
                let message =
                    format!("`{endpoint}`: CertCentral calls https:// only; put a TLS proxy before webhook.listen");
                return Err(Failure::usage("endpoint", message));
            }
            let secret = secret(config).await?;
            let webhook = NewWebhook { endpoint: endpoint.clone(), secret: Some(secret), events: events.clone() };
            let id = client.create_webhook(&webhook).await?;
            screen.result(
                format!("webhook {id} is made; `dcv webhook activate {id}` switches it on"),
                json!({ "result": "created", "webhook_id": id }),
            );
        }
        WebhookCommand::Activate { webhook } => set_active(&client, screen, *webhook, true).await?,
        WebhookCommand::Deactivate { webhook } => set_active(&client, screen, *webhook, false).await?,
    }
    Ok(Code::Done)
}

async fn set_active(client: &certcentral::Client, screen: Screen, id: u64, active: bool) -> Result<()> {
    client.set_webhook_active(WebhookId(id), active).await?;
    let text = if active { "on" } else { "off" };
    screen
        .result(format!("webhook {id} is {text}"), json!({ "result": "changed", "webhook_id": id, "active": active }));
    Ok(())
}

async fn secret(config: &Config) -> Result<SecretString> {
    let Some(webhook) = &config.webhook else {
        let message = "the configuration has no [webhook] with `listen` and `secret`; add it";
        return Err(Failure::usage("webhook", message));
    };
    let secret =
        webhook.secret.read("webhook.secret").await.map_err(|error| Failure::new(Code::Usage, error.to_string()))?;
    if secret.expose_secret().len() < SHORTEST_SECRET {
        let message = format!("it is shorter than {SHORTEST_SECRET} characters, which CertCentral does not take");
        return Err(Failure::usage("webhook.secret", message));
    }
    Ok(secret)
}

/// Listens until dropped.
pub(crate) struct Listener(tokio::task::JoinHandle<()>);

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What is called for each event.
type Hint = Arc<dyn Fn() + Send + Sync>;

/// Listens for events where the configuration says so, and passes them on as hints.
pub(crate) async fn listen(config: &Config, hint: impl Fn() + Send + Sync + 'static) -> Result<Option<Listener>> {
    let Some(webhook) = &config.webhook else { return Ok(None) };
    let secret = secret(config).await?;
    let listener = tokio::net::TcpListener::bind(webhook.listen).await.map_err(|error| {
        Failure::usage("webhook.listen", format!("`{}` cannot be listened on: {error}; choose another", webhook.listen))
    })?;
    let app = Router::new()
        .route("/", post(event))
        .route("/{*path}", post(event))
        .with_state((Arc::new(hint) as Hint, secret));
    Ok(Some(Listener(tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, app).await {
            tracing::warn!(%error, "the webhook's listener has ended");
        }
    }))))
}

async fn event(State((hint, secret)): State<(Hint, SecretString)>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let sent = headers.get(WEBHOOK_SECRET_HEADER).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !is_our_webhook(&secret, sent) {
        tracing::warn!("an event without our secret was refused");
        return StatusCode::UNAUTHORIZED;
    }
    // Whatever it says, looking is harmless.
    let event = WebhookEvent::read(&body).unwrap_or_default();
    tracing::info!(event = event.event, order = ?event.order_id(), "told by the webhook");
    hint();
    StatusCode::NO_CONTENT
}
