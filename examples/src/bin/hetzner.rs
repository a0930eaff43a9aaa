//! A certificate by Hetzner:
//! `HETZNER_TOKEN=… cargo run --bin hetzner www.example.com`

use dcv_core::Method;
use dcv_examples::{config, dns, order};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let provider = dcv_hetzner::from_config(config("token = { env = \"HETZNER_TOKEN\" }")?, Some(dns()?)).await?;
    order(provider, Method::DnsTxtToken).await
}
