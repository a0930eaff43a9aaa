//! A certificate by a file below the document root of a running web server:
//! `DCV_ROOT=/var/www/html cargo run --bin webroot www.example.com`

use dcv_core::Method;
use dcv_examples::{env, order};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let provider = dcv_webroot::Webroot::new(dcv_webroot::Config::new(env("DCV_ROOT")?))?;
    order(provider, Method::HttpToken).await
}
