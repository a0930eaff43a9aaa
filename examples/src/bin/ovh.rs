//! A certificate by OVHcloud:
//! `OVH_APPLICATION_KEY=… OVH_APPLICATION_SECRET=… OVH_CONSUMER_KEY=… cargo run --bin ovh www.example.com`

use dcv_core::Method;
use dcv_examples::{config, dns, order};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let keys = r#"
        application_key = { env = "OVH_APPLICATION_KEY" }
        application_secret = { env = "OVH_APPLICATION_SECRET" }
        consumer_key = { env = "OVH_CONSUMER_KEY" }
    "#;
    let provider = dcv_ovh::from_config(config(keys)?, Some(dns()?)).await?;
    order(provider, Method::DnsTxtToken).await
}
