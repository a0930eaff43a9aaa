//! A certificate by Google Cloud DNS, with application default credentials:
//! `GOOGLE_CLOUD_PROJECT=… cargo run --bin gcloud www.example.com`

use dcv_core::Method;
use dcv_examples::{config, dns, order};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let provider = dcv_gcloud::from_config(config("")?, Some(dns()?)).await?;
    order(provider, Method::DnsTxtToken).await
}
