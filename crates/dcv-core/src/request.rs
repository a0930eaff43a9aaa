//! What a run is asked to do: everything that is needed to carry an order out, now or after a crash.

use std::path::PathBuf;

use certcentral::{DcvScope, NewOrder};
use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, Result},
    key::{Csr, PrivateKey},
    name::DnsName,
    placement::{Method, Placement},
};

/// An order to be placed, proved and brought home. The journal keeps it; it holds no secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Request {
    /// Product identifier at the CA, e.g. `ssl_basic`.
    pub product: String,
    /// The names; the first becomes the common name.
    pub names: Vec<DnsName>,
    /// How control of the domains is shown.
    pub method: Method,
    /// Where the random values go.
    pub placement: Placement,
    /// Which of the CA's random values are used.
    pub tokens: TokenSource,
    /// Where the certificate is written to; `None` when the caller takes it from the outcome.
    pub output: Option<Output>,
    /// What is sent to the CA: organization, validity and all else. Names, method and the run's id are filled in from
    /// the fields above when the order is placed.
    pub order: NewOrder,
}

/// Which random values are used. CertCentral accepts either kind for a domain of an order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TokenSource {
    /// The domains' own, from Domain info with `include_dcv=true`, for up to ten open domains; beyond that the
    /// order's, which is good for all of them and costs no call.
    #[default]
    Auto,
    /// One value for each domain, always from Domain info.
    Domain,
    /// The order's value for all domains.
    Order,
}

/// Where the certificate is written to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The folder for `cert.pem`, `chain.pem`, `fullchain.pem` and, with a key, `privkey.pem`. It is made when missing.
    pub dir: PathBuf,
    /// A PEM file with the private key of the CSR, which was made for this run: it becomes `privkey.pem` together with
    /// the certificate, and is removed. `None` when the key is kept elsewhere.
    pub pending_key: Option<PathBuf>,
}

impl Request {
    /// A request for `names`, the first being the common name, with a CSR made from `key`.
    ///
    /// # Errors
    /// [`Error::Request`] when the names cannot be ordered together or the CSR cannot be made.
    pub fn new(product: &str, organization_id: u64, names: Vec<DnsName>, key: &PrivateKey) -> Result<Self> {
        let csr = key.csr(&names).map_err(|e| Error::request("key", e.to_string()))?;
        Self::with_csr(product, organization_id, names, &csr)
    }

    /// A request with a CSR from elsewhere.
    ///
    /// # Errors
    /// [`Error::Request`] when the names cannot be ordered together or the CSR is for others.
    pub fn with_csr(product: &str, organization_id: u64, names: Vec<DnsName>, csr: &Csr) -> Result<Self> {
        let Some(common_name) = names.first() else {
            return Err(Error::request("names", "there are none; give at least one, e.g. www.example.com"));
        };
        csr.check_names(&names).map_err(|e| Error::request("csr", e.to_string()))?;
        let order = NewOrder::new(common_name.to_string(), csr.pem(), organization_id);
        Ok(Self {
            product: product.to_owned(),
            names,
            method: Method::default(),
            placement: Placement::default(),
            tokens: TokenSource::default(),
            output: None,
            order,
        })
    }

    /// Sets the method.
    #[must_use]
    pub fn method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    /// Sets where the certificate is written to.
    #[must_use]
    pub fn output(mut self, output: Output) -> Self {
        self.output = Some(output);
        self
    }

    /// The CSR.
    pub(crate) fn csr(&self) -> Result<Csr> {
        Csr::from_pem(&self.order.certificate.csr).map_err(|e| Error::request("csr", e.to_string()))
    }

    /// Finds what can be found wrong without asking anybody.
    ///
    /// # Errors
    /// [`Error::Request`].
    pub(crate) fn check(&self) -> Result<()> {
        if self.product.is_empty() || !self.product.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            let message = format!("`{}` is not a product identifier; one looks like ssl_basic", self.product);
            return Err(Error::request("product", message));
        }
        if !self.method.covers_subdomains()
            && let Some(wildcard) = self.names.iter().find(|name| name.is_wildcard())
        {
            let message = format!(
                "{} cannot show control of `{wildcard}`: a file covers only its own host (BR 3.2.2.4.18); use dns-txt-token or dns-cname-token",
                self.method
            );
            return Err(Error::request("method", message));
        }
        self.csr()?.check_names(&self.names).map_err(|e| Error::request("csr", e.to_string()))
    }

    /// The domain that has to be proved for a name: its registrable domain (the CA's default), or the name itself where the
    /// scope is `fqdn` or the method shows control of one host only.
    pub(crate) fn domain_of<'n>(&self, name: &'n DnsName, scope: Option<&DcvScope>) -> &'n str {
        let exact = scope == Some(&DcvScope::Fqdn) || !self.method.covers_subdomains();
        if exact { name.base() } else { name.registrable() }
    }

    /// The domains that the CA will probably want proved, before it has said so, each once.
    pub(crate) fn expected_domains(&self) -> Vec<&str> {
        let scope = self.order.certificate_dcv_scope.as_ref();
        let mut domains: Vec<&str> = self.names.iter().map(|name| self.domain_of(name, scope)).collect();
        domains.sort_unstable();
        domains.dedup();
        domains
    }
}
