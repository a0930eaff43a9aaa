//! A certificate by a file from a web server of our own, for hosts on which none runs:
//! `DCV_LISTEN=0.0.0.0:80 cargo run --bin standalone www.example.com`

use dcv_core::Method;
use dcv_examples::{env, order};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config = dcv_standalone::Config { listen: vec![env("DCV_LISTEN")?.parse()?] };
    order(dcv_standalone::Standalone::new(config)?, Method::HttpToken).await
}
