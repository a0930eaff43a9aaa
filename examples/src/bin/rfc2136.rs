//! A certificate by dynamic updates (RFC 2136):
//! `DCV_SERVER=ns1.example.com DCV_TSIG_NAME=dcv-key DCV_TSIG_SECRET=… cargo run --bin rfc2136 www.example.com`

use dcv_core::Method;
use dcv_examples::{dns, env, order};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let provider = dcv_rfc2136::builder(env("DCV_SERVER")?)
        .tsig(env("DCV_TSIG_NAME")?, env("DCV_TSIG_SECRET")?.into())
        .dns(dns()?)
        .build()?;
    order(provider, Method::DnsTxtToken).await
}
