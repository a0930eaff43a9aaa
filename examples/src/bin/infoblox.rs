//! A certificate by an Infoblox grid:
//! `INFOBLOX_URL=https://grid.example.com/wapi/v2.12 INFOBLOX_USER=dcv INFOBLOX_PASSWORD=… cargo run --bin infoblox www.example.com`

use dcv_core::Method;
use dcv_examples::{config, dns, env, order};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let (url, user) = (env("INFOBLOX_URL")?, env("INFOBLOX_USER")?);
    let text = format!("base_url = {url:?}\nusername = {user:?}\npassword = {{ env = \"INFOBLOX_PASSWORD\" }}");
    order(dcv_infoblox::from_config(config(&text)?, Some(dns()?)).await?, Method::DnsTxtToken).await
}
