//! A certificate by deSEC:
//! `DESEC_TOKEN=… cargo run --bin desec www.example.com`

use dcv_core::Method;
use dcv_examples::{config, dns, order};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let provider = dcv_desec::from_config(config("token = { env = \"DESEC_TOKEN\" }")?, Some(dns()?)).await?;
    order(provider, Method::DnsTxtToken).await
}
