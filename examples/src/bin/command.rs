//! A certificate by a program of your own, which reads on standard input what to do:
//! `DCV_PROGRAM=/usr/local/bin/my-dns cargo run --bin command www.example.com`

use dcv_core::Method;
use dcv_examples::{config, dns, env, order};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let text = format!("command = [{:?}]", env("DCV_PROGRAM")?);
    order(dcv_bridge::command::from_config(config(&text)?, Some(dns()?)).await?, Method::DnsTxtToken).await
}
