//! A certificate by Amazon Route 53, with the credentials that the AWS tools would use:
//! `cargo run --features route53 --bin route53 www.example.com`

use dcv_core::Method;
use dcv_examples::{dns, order};
use dcv_provider::zone::ZoneProvider;
use dcv_route53::{CredentialsFrom, Editor};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // `AWS_ENDPOINT_URL` is heeded, too.
    let editor = Editor::new(CredentialsFrom::Chain, None).await;
    order(ZoneProvider::new(editor, Some(dns()?)), Method::DnsTxtToken).await
}
