//! A certificate by Gandi:
//! `GANDI_TOKEN=… cargo run --bin gandi www.example.com`

use dcv_core::Method;
use dcv_examples::{config, dns, order};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let provider = dcv_gandi::from_config(config("token = { env = \"GANDI_TOKEN\" }")?, Some(dns()?)).await?;
    order(provider, Method::DnsTxtToken).await
}
