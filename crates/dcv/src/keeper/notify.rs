//! Telling people that somebody has to act: by a command, by a webhook of theirs, or both. Each gets one JSON object.

use std::time::Duration;

use secrecy::ExposeSecret;
use serde_json::json;
use tokio::io::AsyncWriteExt;

use crate::{config::Keep, exit::Code};

/// How long either may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// Tells people; returns what could not be told, and why.
pub(super) async fn notify(keep: &Keep, label: &str, code: Code, text: &str) -> Vec<String> {
    let message = json!({ "label": label, "waiting": code == Code::Waiting, "text": text }).to_string();
    let (by_command, by_webhook) = tokio::join!(by_command(keep, &message), by_webhook(keep, &message));
    let failed = [("notify", by_command), ("notify_url", by_webhook)];
    failed.into_iter().filter_map(|(field, told)| Some(format!("keep.{field}: {}", told.err()?))).collect()
}

async fn by_command(keep: &Keep, message: &str) -> Result<(), String> {
    let Some((program, arguments)) = keep.notify.split_first() else { return Ok(()) };
    let mut child = tokio::process::Command::new(program);
    let mut child = dcv_provider::secret::withhold(&mut child)
        .args(arguments)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("`{program}` cannot be run: {error}"))?;
    let stdin = child.stdin.take();
    let told = async {
        if let Some(mut stdin) = stdin {
            // One that does not read is its own business.
            let _ = stdin.write_all(message.as_bytes()).await;
        }
        child.wait().await
    };
    match tokio::time::timeout(DEADLINE, told).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(format!("`{program}` failed ({status})")),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("`{program}` has not ended after {} s", DEADLINE.as_secs())),
    }
}

/// The address is a secret: who knows it can write there. Of what goes wrong only that is told in which it does not occur.
async fn by_webhook(keep: &Keep, message: &str) -> Result<(), String> {
    let Some(url) = &keep.notify_url else { return Ok(()) };
    let url = url.read("keep.notify_url").await.map_err(|error| error.to_string())?;
    let url = reqwest::Url::parse(url.expose_secret().trim()).map_err(|error| format!("it is no URL: {error}"))?;
    let to_itself = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    if url.scheme() != "https" && !(url.scheme() == "http" && to_itself) {
        return Err("it has to be https://, since whoever reads it can write there".to_owned());
    }
    let client = dcv_provider::http::client().map_err(|error| error.to_string())?;
    let request =
        client.post(url).header("Content-Type", "application/json").body(message.to_owned()).timeout(DEADLINE);
    let answer = request.send().await.map_err(|error| error.without_url().to_string())?;
    if answer.status().is_success() { Ok(()) } else { Err(format!("it was answered with {}", answer.status())) }
}
