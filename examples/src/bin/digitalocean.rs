//! A certificate by DigitalOcean:
//! `DIGITALOCEAN_TOKEN=… cargo run --bin digitalocean www.example.com`

use dcv_core::Method;
use dcv_examples::{config, dns, order};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let provider =
        dcv_digitalocean::from_config(config("token = { env = \"DIGITALOCEAN_TOKEN\" }")?, Some(dns()?)).await?;
    order(provider, Method::DnsTxtToken).await
}
