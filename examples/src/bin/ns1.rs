//! A certificate by NS1:
//! `NS1_API_KEY=… cargo run --bin ns1 www.example.com`

use dcv_core::Method;
use dcv_examples::{config, dns, order};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let provider = dcv_ns1::from_config(config("key = { env = \"NS1_API_KEY\" }")?, Some(dns()?)).await?;
    order(provider, Method::DnsTxtToken).await
}
