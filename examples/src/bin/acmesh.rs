//! A certificate by a `dns_*.sh` script of acme.sh, with the credentials that acme.sh has saved beside itself:
//! `ACMESH_SCRIPT=~/.acme.sh/dnsapi/dns_cf.sh ACMESH=~/.acme.sh/acme.sh cargo run --bin acmesh www.example.com`

use dcv_core::Method;
use dcv_examples::{config, dns, env, order};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // A script that calls none of acme.sh's helpers does without it.
    let acme_sh = env("ACMESH").map_or(String::new(), |path| format!("acme_sh = {path:?}"));
    let text = format!("script = {:?}\n{acme_sh}", env("ACMESH_SCRIPT")?);
    order(dcv_bridge::acmesh::from_config(config(&text)?, Some(dns()?)).await?, Method::DnsTxtToken).await
}
