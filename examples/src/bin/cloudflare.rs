//! A certificate by Cloudflare DNS:
//! `DCV_CLOUDFLARE_TOKEN=… cargo run --bin cloudflare www.example.com`

use dcv_cloudflare::{BASE_URL, Editor};
use dcv_core::Method;
use dcv_examples::{dns, env, order};
use dcv_provider::zone::ZoneProvider;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let url = env("DCV_CLOUDFLARE_URL").unwrap_or_else(|_| BASE_URL.to_owned());
    let editor = Editor::new(&url, env("DCV_CLOUDFLARE_TOKEN")?.into())?;
    order(ZoneProvider::new(editor, Some(dns()?)), Method::DnsTxtToken).await
}
