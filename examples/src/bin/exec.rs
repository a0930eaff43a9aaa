//! A certificate by a script written for lego's `exec` provider:
//! `EXEC_PATH=/usr/local/bin/my-dns cargo run --bin exec www.example.com`

use dcv_core::Method;
use dcv_examples::{config, dns, env, order};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let text = format!("path = {:?}", env("EXEC_PATH")?);
    order(dcv_bridge::exec::from_config(config(&text)?, Some(dns()?)).await?, Method::DnsTxtToken).await
}
