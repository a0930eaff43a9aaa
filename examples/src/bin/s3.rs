//! A certificate by a file in an S3 bucket that is the web site:
//! `S3_BUCKET=www.example.com AWS_REGION=eu-central-1 cargo run --features storage --bin s3 www.example.com`

use dcv_core::Method;
use dcv_examples::{config, env, order};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let text = format!("service = \"s3\"\nbucket = {:?}\nregion = {:?}", env("S3_BUCKET")?, env("AWS_REGION")?);
    order(dcv_storage::from_config(config(&text)?).await?, Method::HttpToken).await
}
