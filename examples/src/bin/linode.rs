//! A certificate by Linode:
//! `LINODE_TOKEN=… cargo run --bin linode www.example.com`

use dcv_core::Method;
use dcv_examples::{config, dns, order};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let provider = dcv_linode::from_config(config("token = { env = \"LINODE_TOKEN\" }")?, Some(dns()?)).await?;
    order(provider, Method::DnsTxtToken).await
}
