//! The account the sandbox starts with and how it behaves: keys and their users, organizations and how far their
//! validation is, products, and the switches between the answers that different ages of the API gave. Everything has a
//! default that works; everything but the validator's configuration can be read from TOML.

mod products;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use jiff::Timestamp;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

pub use products::{Product, Validation};

use crate::{faults, limits, va};

/// How a sandbox starts.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where state and the CA's keys are kept; without it everything is in memory and ends with the process.
    pub state_dir: Option<PathBuf>,
    /// Folder in which mails of the DCV method `email` are put as files; without it they are only listed by the control endpoint.
    pub mailbox: Option<PathBuf>,
    /// Speak HTTPS, with a certificate for this machine that the sandbox's own root has signed.
    pub tls: bool,
    /// When the sandbox's time begins; else it is the system's.
    pub now: Option<jiff::Timestamp>,
    /// How many times as fast the sandbox's time runs: with 86,400 a second is a day.
    pub speed: Option<f64>,
    /// Who may call.
    pub keys: Vec<ApiKey>,
    /// The organizations of the account.
    pub organizations: Vec<Organization>,
    /// What can be ordered.
    pub products: Vec<Product>,
    /// How domains are checked.
    #[serde(skip)]
    pub va: va::Config,
    /// Requests per key over rolling windows; none means no limit.
    pub rate: Vec<limits::Window>,
    /// Whether the CA looks for proofs by itself on the vendor's schedule.
    pub polling: bool,
    /// How long an order that has everything waits for its certificate, in sandbox time.
    pub issue_delay_seconds: u32,
    /// Who approves orders.
    pub approval: Approval,
    /// Whether revoking the last certificate of an order by itself revokes the order.
    pub revoke_order_with_last_certificate: bool,
    /// Longest public certificate, in days; the limits of the day hold beside it.
    pub certificate_days: i64,
    /// How long a validation may be used again, in days; by the limits of the day unless given.
    pub dcv_reuse_days: Option<i64>,
    /// Life of a random value, in days.
    pub random_value_days: i64,
    /// Scope of orders that do not say `certificate_dcv_scope`.
    pub default_scope: Scope,
    /// Faults in waiting from the beginning.
    pub faults: Vec<faults::Order>,
    /// Which age of the API answers.
    pub switches: Switches,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            state_dir: None,
            mailbox: None,
            tls: false,
            now: None,
            speed: None,
            keys: vec![ApiKey::new("sandbox", Role::Administrator)],
            organizations: vec![
                Organization::validated(10_001, "Example Organization"),
                Organization::pending(10_002, "Pending Organization"),
            ],
            products: Product::catalog(),
            va: va::Config::default(),
            rate: limits::documented(),
            polling: true,
            issue_delay_seconds: 0,
            approval: Approval::default(),
            revoke_order_with_last_certificate: false,
            certificate_days: 199,
            dcv_reuse_days: None,
            random_value_days: 30,
            default_scope: Scope::BaseDomain,
            faults: Vec::new(),
            switches: Switches::default(),
        }
    }
}

/// An API key and the user it belongs to. The sandbox's keys open nothing but the sandbox, and are kept out of
/// `Debug` all the same.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    /// Value of the header `X-DC-DEVKEY`.
    pub key: SecretString,
    /// What the key may do.
    #[serde(default)]
    pub role: Role,
    /// Id of the user the key belongs to.
    #[serde(default = "first_user")]
    pub user_id: u64,
    /// Whether that user may approve EV orders.
    #[serde(default = "yes")]
    pub ev_approver: bool,
}

impl ApiKey {
    /// A key of the first user, who may approve EV orders.
    pub fn new(key: &str, role: Role) -> Self {
        Self { key: SecretString::from(key), role, user_id: first_user(), ev_approver: true }
    }
}

fn first_user() -> u64 {
    20_001
}

fn yes() -> bool {
    true
}

/// What a key may do (API key roles of the API glossary).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Everything.
    #[default]
    Administrator,
    /// Orders, requests and certificates.
    Orders,
    /// Those, domains and organizations.
    OrdersDomainsOrganizations,
    /// GET only.
    ViewOnly,
}

/// Who approves an order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Approval {
    /// The order does with `skip_approval`; without it the order waits.
    #[default]
    AsOrdered,
    /// The account approves every order by itself; answers then carry an approved request.
    Automatic,
    /// Every order waits for an approver, whatever it says.
    Required,
}

/// Where names of an order are validated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// At their registrable domain.
    BaseDomain,
    /// As they are.
    Fqdn,
}

impl Scope {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::BaseDomain => "base_domain",
            Self::Fqdn => "fqdn",
        }
    }
}

/// The answers that differed over the years or that no public copy settles.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Switches {
    /// What `check-dcv` says of names without a proof.
    pub check_dcv: CheckAnswer,
    /// Whether and how order answers list their domains.
    pub order_domains: OrderDomains,
    /// Type of the ids in order validation status.
    pub validation_ids: IdType,
    /// What status-changes says when nothing changed.
    pub no_changes: NoChanges,
    /// What creating an organization says that the account has already.
    pub duplicate_organization: DuplicateOrganization,
    /// Where an order's `alternative_order_id` can be read.
    pub alternative_ids: AlternativeIds,
    /// How long a change stays out of status-changes, in seconds.
    pub status_change_delay_seconds: u32,
    /// Accept names below top level names that the public suffix list does not know, such as `.test`.
    pub unlisted_suffixes: bool,
}

impl Default for Switches {
    fn default() -> Self {
        Self {
            check_dcv: CheckAnswer::PerName,
            order_domains: OrderDomains::Name,
            validation_ids: IdType::String,
            no_changes: NoChanges::EmptyObject,
            duplicate_organization: DuplicateOrganization::Refused,
            alternative_ids: AlternativeIds::Everywhere,
            status_change_delay_seconds: 0,
            unlisted_suffixes: false,
        }
    }
}

/// Where an order's `alternative_order_id` can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AlternativeIds {
    /// In lists of orders, too, and there is a call that finds an order by it.
    Everywhere,
    /// In Order info only.
    OrderInfo,
}

/// What `check-dcv` says when a DNS proof is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckAnswer {
    /// 200 and one entry per name (today).
    PerName,
    /// 400 `invalid_dns_txt`, and no list (earlier copies).
    AllOrError,
}

/// The `domains` array of order answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OrderDomains {
    /// Not there.
    Absent,
    /// Entries name themselves `name`.
    Name,
    /// Entries name themselves `dns_name`.
    DnsName,
}

/// Type of the ids in order validation status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IdType {
    /// `"1234"` (documented).
    String,
    /// `1234`.
    Integer,
}

/// The status-changes answer of a quiet window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoChanges {
    /// `{}` (documented).
    EmptyObject,
    /// `{"orders":[]}`.
    EmptyList,
}

/// `POST organization` with the details of an organization that is already there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DuplicateOrganization {
    /// 400 (today).
    Refused,
    /// 201 with the id of the oldest (earlier copies). Orders always do that.
    Reused,
}

/// How far one kind of organization validation is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", tag = "status", deny_unknown_fields)]
pub enum OrganizationValidation {
    /// Asked for and not done.
    Pending,
    /// Done; counts until then, or as long as the sandbox lives.
    Active {
        /// End of the validation.
        #[serde(default)]
        until: Option<Timestamp>,
    },
}

impl OrganizationValidation {
    pub(crate) fn live(&self, now: Timestamp) -> bool {
        matches!(self, Self::Active { until } if until.is_none_or(|until| until > now))
    }
}

/// An organization of the account.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Organization {
    /// Its id.
    pub id: u64,
    /// Its legal name.
    pub name: String,
    /// Another name it goes by.
    #[serde(default)]
    pub assumed_name: Option<String>,
    /// Inactive organizations cannot order.
    #[serde(default = "yes")]
    pub active: bool,
    /// Street.
    #[serde(default)]
    pub address: String,
    /// More of the street.
    #[serde(default)]
    pub address2: String,
    /// Postal code.
    #[serde(default)]
    pub zip: String,
    /// City.
    #[serde(default)]
    pub city: String,
    /// State or province.
    #[serde(default)]
    pub state: String,
    /// Two letters.
    #[serde(default)]
    pub country: String,
    /// Telephone.
    #[serde(default)]
    pub telephone: String,
    /// OV validation, if ever asked for.
    #[serde(default)]
    pub ov: Option<OrganizationValidation>,
    /// EV validation, if ever asked for.
    #[serde(default)]
    pub ev: Option<OrganizationValidation>,
    /// Other validations it was submitted for (`cs`, `ev_cs`, `ds`, `smime`); they stay pending.
    #[serde(default)]
    pub other: std::collections::BTreeSet<String>,
    /// Who speaks for it.
    #[serde(default)]
    pub contact: Option<Contact>,
    /// Who may approve its EV orders (verified contacts).
    #[serde(default)]
    pub approvers: Vec<Contact>,
    /// When it was entered; organizations of the configuration were there before.
    #[serde(default)]
    pub created: Option<Timestamp>,
}

/// A person.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Contact {
    /// Id of the contact, which is not that of a user.
    pub id: u64,
    /// Id of the user, if the person is one.
    pub user_id: Option<u64>,
    /// Given name.
    pub first_name: String,
    /// Family name.
    pub last_name: String,
    /// Mail address.
    pub email: String,
    /// What they do.
    pub job_title: String,
    /// Telephone.
    pub telephone: String,
    /// Telephone extension.
    pub telephone_extension: String,
}

impl Contact {
    /// The one person that every user of the sandbox is.
    pub(crate) fn user(id: u64, user_id: u64) -> Self {
        let text = str::to_owned;
        Self {
            id,
            user_id: Some(user_id),
            first_name: text("Sandbox"),
            last_name: text("User"),
            email: text("user@example.com"),
            job_title: text("Engineer"),
            telephone: text("801-555-0100"),
            telephone_extension: String::new(),
        }
    }
}

impl Organization {
    /// An organization whose OV and EV validation is done.
    pub fn validated(id: u64, name: &str) -> Self {
        let done = Some(OrganizationValidation::Active { until: None });
        Self { ov: done.clone(), ev: done, ..Self::pending(id, name) }
    }

    /// An organization whose OV and EV validation is not done.
    pub fn pending(id: u64, name: &str) -> Self {
        Self {
            id,
            name: name.to_owned(),
            assumed_name: None,
            active: true,
            address: "333 S 520 W".to_owned(),
            address2: String::new(),
            zip: "84042".to_owned(),
            city: "Lindon".to_owned(),
            state: "Utah".to_owned(),
            country: "us".to_owned(),
            telephone: "801-555-0100".to_owned(),
            ov: Some(OrganizationValidation::Pending),
            ev: Some(OrganizationValidation::Pending),
            other: std::collections::BTreeSet::new(),
            contact: None,
            approvers: Vec::new(),
            created: None,
        }
    }

    /// Name and assumed name.
    pub(crate) fn display_name(&self) -> String {
        match &self.assumed_name {
            Some(assumed) => format!("{} ({assumed})", self.name),
            None => self.name.clone(),
        }
    }
}

impl Config {
    pub(crate) fn product(&self, name_id: &str) -> Option<&Product> {
        self.products.iter().find(|product| product.name_id == name_id)
    }

    pub(crate) fn issue_delay(&self) -> Duration {
        Duration::from_secs(self.issue_delay_seconds.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_says_only_what_differs() {
        let text = r#"{
            "keys": [{"key": "k", "role": "view-only"}],
            "organizations": [{"id": 5, "name": "Five", "ov": {"status": "active", "until": "2027-01-01T00:00:00Z"}}],
            "rate": [], "approval": "required", "switches": {"check_dcv": "all-or-error"}
        }"#;
        let config: Config = serde_json::from_str(text).unwrap();
        assert!(!format!("{config:?}").contains("\"k\""), "keys are not printed");
        assert_eq!((config.approval, config.rate.len(), config.certificate_days), (Approval::Required, 0, 199));
        assert_eq!(config.keys[0].role, Role::ViewOnly);
        let ov = config.organizations[0].ov.clone().unwrap();
        assert!(ov.live("2026-12-31T00:00:00Z".parse().unwrap()) && !ov.live("2027-01-01T00:00:00Z".parse().unwrap()));
        assert!(serde_json::from_str::<Config>(r#"{"swiches": {}}"#).is_err());
    }
}
