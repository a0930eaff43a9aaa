//! A certificate by Akamai Edge DNS, with the credentials of `~/.edgerc`:
//! `cargo run --bin akamai www.example.com`

use dcv_core::Method;
use dcv_examples::{config, dns, order};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let provider = dcv_akamai::from_config(config("")?, Some(dns()?)).await?;
    order(provider, Method::DnsTxtToken).await
}
