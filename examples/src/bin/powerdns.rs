//! A certificate by the HTTP API of PowerDNS:
//! `DCV_PDNS_URL=https://ns1.example.com:8081 DCV_PDNS_KEY=… cargo run --bin powerdns www.example.com`

use dcv_core::Method;
use dcv_examples::{dns, env, order};
use dcv_provider::zone::ZoneProvider;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let editor = dcv_powerdns::Editor::new(&env("DCV_PDNS_URL")?, env("DCV_PDNS_KEY")?.into())?;
    order(ZoneProvider::new(editor, Some(dns()?)), Method::DnsTxtToken).await
}
