//! A certificate by a server written for lego's `httpreq` provider:
//! `HTTPREQ_ENDPOINT=https://dns.example.net HTTPREQ_USERNAME=dcv HTTPREQ_PASSWORD=… cargo run --bin httpreq www.example.com`

use dcv_core::Method;
use dcv_examples::{config, dns, env, order};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let (endpoint, user) = (env("HTTPREQ_ENDPOINT")?, env("HTTPREQ_USERNAME")?);
    let text = format!("endpoint = {endpoint:?}\nusername = {user:?}\npassword = {{ env = \"HTTPREQ_PASSWORD\" }}");
    order(dcv_bridge::httpreq::from_config(config(&text)?, Some(dns()?)).await?, Method::DnsTxtToken).await
}
