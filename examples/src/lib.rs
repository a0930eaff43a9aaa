//! What all examples share: an order for the names on the command line, with whatever provider the example chose.
//!
//! Every example reads `DIGICERT_API_KEY`, `DCV_ORGANIZATION` (a number) and, for test set-ups, `DCV_CA_URL`, `DCV_RESOLVER`
//! (`address:port`) and `DCV_HTTP_PORT`; what its provider needs it reads itself. The certificate goes to standard output.

use anyhow::{Context, Result};
use dcv_core::{
    Dcv, DcvBuilder, Method, Outcome, Request, Settings, TxtOwner,
    key::{KeyKind, PrivateKey},
    name::DnsName,
};
use dcv_provider::{DcvProvider, dns::Dns};

/// A variable of the environment, or an error that names it.
pub fn env(name: &str) -> Result<String> {
    std::env::var(name).with_context(|| format!("set {name}"))
}

/// A provider's configuration, as it would stand in `dcv.toml`.
pub fn config<C: serde::de::DeserializeOwned>(text: &str) -> Result<C> {
    toml::from_str(text).context("the provider's configuration")
}

/// Where questions go: the system's resolvers, or `DCV_RESOLVER`, which then also stands for the authorities' port.
pub fn dns() -> Result<Dns> {
    match std::env::var("DCV_RESOLVER") {
        Ok(resolver) => {
            let resolver: std::net::SocketAddr = resolver.parse().context("DCV_RESOLVER")?;
            Ok(Dns::new(vec![resolver]).with_authority_port(resolver.port()))
        }
        Err(_) => Ok(Dns::system()?),
    }
}

/// Orders a certificate for the names on the command line and prints it.
pub async fn order(provider: impl DcvProvider + 'static, method: Method) -> Result<()> {
    order_at(provider, method, TxtOwner::Domain).await
}

/// The same, and says where texts go.
pub async fn order_at(provider: impl DcvProvider + 'static, method: Method, txt: TxtOwner) -> Result<()> {
    order_by(&builder(provider)?.build().await?, method, txt).await
}

/// The library, with all that examples have in common.
pub fn builder(provider: impl DcvProvider + 'static) -> Result<DcvBuilder> {
    let client = certcentral::Client::builder(env("DIGICERT_API_KEY")?.into())
        .base_url(std::env::var("DCV_CA_URL").unwrap_or_else(|_| certcentral::US.to_owned()))
        .build()?;
    let mut settings = Settings::default();
    if let Ok(port) = std::env::var("DCV_HTTP_PORT") {
        settings.propagation.web_ports.0 = port.parse().context("DCV_HTTP_PORT")?;
    }
    Ok(Dcv::builder(client).provider(provider).dns(dns()?).settings(settings))
}

/// Orders by this one.
pub async fn order_by(dcv: &Dcv, method: Method, txt: TxtOwner) -> Result<()> {
    let names = std::env::args().skip(1).map(|name| Ok(DnsName::parse(&name)?)).collect::<Result<Vec<_>>>()?;
    let key = PrivateKey::generate(KeyKind::EcdsaP256)?;
    let organization = env("DCV_ORGANIZATION")?.parse().context("DCV_ORGANIZATION")?;
    let mut request = Request::new("ssl_basic", organization, names, &key)?.method(method);
    request.placement.txt = txt;
    match dcv.issue(request).await? {
        Outcome::Issued(issued) => println!("{}", issued.chain.fullchain_pem()),
        other => anyhow::bail!("{other}"),
    }
    Ok(())
}
