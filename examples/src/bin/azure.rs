//! A certificate by Azure DNS, with the environment's usual credentials (`AZURE_*`, managed or workload identity):
//! `AZURE_SUBSCRIPTION_ID=… cargo run --bin azure www.example.com`

use dcv_core::Method;
use dcv_examples::{config, dns, order};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let provider = dcv_azure::from_config(config("")?, Some(dns()?)).await?;
    order(provider, Method::DnsTxtToken).await
}
