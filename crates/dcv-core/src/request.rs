//! What a run is asked to do: everything that is needed to carry an order out, now or after a crash.

use std::path::PathBuf;

use certcentral::{DcvScope, NewOrder, NewReissue, OrderId, OrganizationId};
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, Result},
    key::{Csr, PrivateKey},
    limits,
    name::DnsName,
    placement::{Method, Placement},
    state::RunId,
};

/// What a run is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "purpose", rename_all = "snake_case")]
pub enum Purpose {
    /// A certificate by an order of its own; it may follow an earlier order.
    #[default]
    Order,
    /// A certificate in place of an order's present one, for as long as the order lives.
    Reissue {
        /// The order.
        order_id: OrderId,
    },
    /// One more certificate of an order.
    Duplicate {
        /// The order.
        order_id: OrderId,
    },
    /// No certificate: the domains are to be validated, so that orders for names below them are issued at once.
    Domains {
        /// Whose they are, for those that the account does not have yet.
        organization: Option<OrganizationId>,
        /// What they are validated for: `ov`, `ev`.
        types: Vec<String>,
        /// Those that are validated until then need nothing.
        until: Timestamp,
    },
}

impl Purpose {
    /// In a word or two, for people.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Order => "order",
            Self::Reissue { .. } => "reissue",
            Self::Duplicate { .. } => "duplicate",
            Self::Domains { .. } => "domain validation",
        }
    }

    /// The order that is there already.
    #[must_use]
    pub fn of_order(&self) -> Option<OrderId> {
        match self {
            Self::Reissue { order_id } | Self::Duplicate { order_id } => Some(*order_id),
            Self::Order | Self::Domains { .. } => None,
        }
    }

    /// Whether a certificate comes of it.
    #[must_use]
    pub fn has_certificate(&self) -> bool {
        !matches!(self, Self::Domains { .. })
    }
}

/// What is to be done: for a certificate, an order to be placed, proved and brought home. The journal keeps it; it holds no secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Request {
    /// What it is for.
    #[serde(default)]
    pub purpose: Purpose,
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
    /// What is run once the files are written.
    #[serde(default)]
    pub deploy: Option<Deploy>,
    /// What its owner calls it, e.g. in an inventory: runs of the same label are of the same certificate.
    #[serde(default)]
    pub label: Option<String>,
    /// How many runs of the label there were when it was decided to begin this one. Where there are more by now, somebody else
    /// has decided the same, and this one does not begin. `None`: any number will do.
    #[serde(default)]
    pub earlier: Option<u64>,
    /// Providers that were chosen for this run beside its owner's usual routes, as `SUFFIX=PROVIDER`. For whoever makes the router of
    /// those who go on with it; it is not read here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<String>,
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

/// A program that takes a new certificate into use. It runs without a shell, with the variables `DCV_NAME` (the common name),
/// `DCV_NAMES` (all, by spaces), `DCV_DIR`, `DCV_RUN` and `DCV_ORDER`; exit code 0 means done. It may be run more than once for one
/// certificate: after a crash nobody knows whether it had ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deploy {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// How long it may take; then it and all that it has started are killed.
    pub timeout: std::time::Duration,
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
            purpose: Purpose::Order,
            product: product.to_owned(),
            names,
            method: Method::default(),
            placement: Placement::default(),
            tokens: TokenSource::default(),
            output: None,
            deploy: None,
            label: None,
            earlier: None,
            routes: Vec::new(),
            order,
        })
    }

    /// A request to validate domains, ahead of any order, for `types` (`ov`, `ev`); those that are validated until `until` are left
    /// alone. `organization` is whose domain one becomes that the account does not have yet.
    ///
    /// # Errors
    /// [`Error::Request`] when a name is a wildcard, or there are none.
    pub fn domains(
        names: Vec<DnsName>,
        organization: Option<OrganizationId>,
        types: &[&str],
        until: Timestamp,
    ) -> Result<Self> {
        if names.is_empty() {
            return Err(Error::request("names", "there are none; give at least one domain, e.g. example.com"));
        }
        if let Some(wildcard) = names.iter().find(|name| name.is_wildcard()) {
            let message = format!("`{wildcard}` is no domain; give `{}`, which covers it", wildcard.base());
            return Err(Error::request("names", message));
        }
        let types = types.iter().map(|one| (*one).to_owned()).collect();
        Ok(Self {
            purpose: Purpose::Domains { organization, types, until },
            product: String::new(),
            names,
            method: Method::default(),
            placement: Placement::default(),
            tokens: TokenSource::Domain,
            output: None,
            deploy: None,
            label: None,
            earlier: None,
            routes: Vec::new(),
            order: NewOrder::default(),
        })
    }

    /// Sets what it is for.
    #[must_use]
    pub fn purpose(mut self, purpose: Purpose) -> Self {
        self.purpose = purpose;
        self
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
        let today = Timestamp::now().to_zoned_datetime(TimeZone::UTC).date();
        if self.method == Method::Email && today >= limits::EMAIL_ENDS {
            let message = format!("email has ended on {} (BR, ballot SC-090); use dns-txt-token", limits::EMAIL_ENDS);
            return Err(Error::request("method", message));
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
        if !self.purpose.has_certificate() {
            return Ok(());
        }
        if self.product.is_empty() || !self.product.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            let message = format!("`{}` is not a product identifier; one looks like ssl_basic", self.product);
            return Err(Error::request("product", message));
        }
        self.check_validity(today)?;
        self.csr()?.check_names(&self.names).map_err(|e| Error::request("csr", e.to_string()))
    }

    /// The certificate's life against the industry's limit. The order's may be longer: it is filled by reissues.
    fn check_validity(&self, today: Date) -> Result<()> {
        let Some(validity) = &self.order.certificate.cert_validity else { return Ok(()) };
        if limits::is_private(&self.product) {
            return Ok(());
        }
        let most = limits::on(today).certificate_days;
        // The date overrides the days, and the days the years.
        let days = match (validity.custom_expiration_date, validity.days, validity.years) {
            (Some(date), ..) => i64::from(today.until(date).map_or(0, |span| span.get_days())),
            (None, Some(days), _) => i64::try_from(days).unwrap_or(i64::MAX),
            // A year is what the CA makes of it.
            _ => return Ok(()),
        };
        if (1..=i64::from(most)).contains(&days) {
            return Ok(());
        }
        let message = format!(
            "{days} days; a public TLS certificate lives 1 to {most} days today (BR 6.3.2); ask for less, and renew it"
        );
        Err(Error::request("cert_validity", message))
    }

    /// What is sent for a reissue or a duplicate.
    pub(crate) fn reissue_to_send(&self) -> NewReissue {
        let order = self.order_to_send(None);
        NewReissue {
            certificate: order.certificate,
            skip_approval: order.skip_approval,
            comments: order.comments,
            dcv_method: order.dcv_method,
            certificate_dcv_scope: order.certificate_dcv_scope,
        }
    }

    /// What is sent for an order, with this id of our own.
    pub(crate) fn order_to_send(&self, id: Option<&RunId>) -> NewOrder {
        let mut order = self.order.clone();
        let mut names = self.names.iter().map(ToString::to_string);
        order.certificate.common_name = names.next().unwrap_or_default();
        order.certificate.dns_names = names.collect();
        order.dcv_method = Some(self.method.into());
        order.alternative_order_id = id.map(ToString::to_string);
        order
    }

    /// The domain that has to be proved for a name; a domain that no order is for is proved itself.
    pub(crate) fn domain_of<'n>(&self, name: &'n DnsName, scope: Option<&DcvScope>) -> &'n str {
        if self.purpose.has_certificate() { self.method.domain_of(name, scope) } else { name.base() }
    }

    /// What the domains have to be validated for: `ov` or `ev`.
    pub(crate) fn validation_type(&self) -> &'static str {
        let hint = self.order.product.as_ref().is_some_and(|hint| hint.type_hint.eq_ignore_ascii_case("ev"));
        if hint || self.product.contains("_ev") { "ev" } else { "ov" }
    }

    /// Whether no name of the request but the domain itself hangs on it.
    pub(crate) fn is_only_for(&self, domain: &str) -> bool {
        let scope = self.order.certificate_dcv_scope.as_ref();
        let mut of_domain = self.names.iter().filter(|name| self.domain_of(name, scope) == domain);
        of_domain.all(|name| name.as_str() == domain)
    }

    /// The domains that the CA will probably want proved, before it has said so, each once.
    #[must_use]
    pub fn expected_domains(&self) -> Vec<&str> {
        let scope = self.order.certificate_dcv_scope.as_ref();
        let mut domains: Vec<&str> = self.names.iter().map(|name| self.domain_of(name, scope)).collect();
        domains.sort_unstable();
        domains.dedup();
        domains
    }
}
