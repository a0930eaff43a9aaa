//! A certificate by acme-dns. `ACME_DNS_ACCOUNTS` is a file with the registration of each domain, of which `_dnsauth.DOMAIN` is an alias:
//! `"example.com" = { fulldomain = "…", subdomain = "…", username = "…", password = { file = "…" } }`. The server has to take texts of any length.
//! `ACME_DNS_URL=https://auth.example.org ACME_DNS_ACCOUNTS=accounts.toml cargo run --bin acmedns www.example.com`

use dcv_core::{Method, TxtOwner};
use dcv_examples::{config, dns, env, order_at};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let accounts = std::fs::read_to_string(env("ACME_DNS_ACCOUNTS")?)?;
    let text = format!("base_url = {:?}\nany_text = true\n[accounts]\n{accounts}", env("ACME_DNS_URL")?);
    let provider = dcv_acmedns::from_config(config(&text)?, Some(dns()?)).await?;
    order_at(provider, Method::DnsTxtToken, TxtOwner::Dnsauth).await
}
