//! The arguments of commands on what the account has already: orders, domains, organizations, requests, products.

use std::path::PathBuf;

use certcentral::{DownloadFormat, RevocationReason};
use clap::{Args, Subcommand};
use jiff::civil::Date;

use super::{Certificate, Order, Way, parse};

/// Which names a certificate of an order that is there already shall have.
#[derive(Debug, Default, Args)]
pub(crate) struct Names {
    /// Names of the certificate, the first being the common name; the order's present names unless given
    #[arg(value_name = "NAME")]
    pub(crate) all: Vec<String>,
    /// Add a name to the present ones; may be repeated
    #[arg(long, value_name = "NAME", conflicts_with = "all")]
    pub(crate) add: Vec<String>,
    /// Leave one of the present names out; may be repeated
    #[arg(long, value_name = "NAME", conflicts_with = "all")]
    pub(crate) remove: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Renew {
    /// Number of the order, or serial number or thumbprint of its certificate
    #[arg(value_name = "ORDER")]
    pub(crate) of: String,
    #[command(flatten)]
    pub(crate) names: Names,
    #[command(flatten)]
    pub(crate) order: Order,
    #[command(flatten)]
    pub(crate) certificate: Certificate,
}

#[derive(Debug, Args)]
pub(crate) struct Again {
    /// Number of the order, or serial number or thumbprint of its certificate
    #[arg(value_name = "ORDER")]
    pub(crate) of: String,
    #[command(flatten)]
    pub(crate) names: Names,
    #[command(flatten)]
    pub(crate) certificate: Certificate,
}

#[derive(Debug, Args)]
pub(crate) struct Revoke {
    /// Number of the order: all its certificates, duplicates and reissues too
    #[arg(value_name = "ORDER", required_unless_present = "certificate", conflicts_with = "certificate")]
    pub(crate) order: Option<u64>,
    /// One certificate only, by its number
    #[arg(long, value_name = "ID")]
    pub(crate) certificate: Option<u64>,
    /// Why: keyCompromise, affiliationChanged, superseded, cessationOfOperation or unspecified
    #[arg(long, value_parser = reason)]
    pub(crate) reason: Option<RevocationReason>,
    /// A word to the approver
    #[arg(long, value_name = "TEXT")]
    pub(crate) comment: Option<String>,
    /// Do not wait for an approver; needs an administrator's key
    #[arg(long)]
    pub(crate) skip_approval: bool,
    /// Do not ask back
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Download {
    /// Number of the order, or serial number or thumbprint of its certificate
    #[arg(value_name = "ORDER", required_unless_present = "certificate", conflicts_with = "certificate")]
    pub(crate) order: Option<String>,
    /// A certificate by its number: also duplicates and earlier reissues
    #[arg(long, value_name = "ID")]
    pub(crate) certificate: Option<u64>,
    /// pem_all, pem_noroot, pem_nointermediate, pem, crt, cer, p7b, default, default_cer, default_pem, apache; or
    /// platform, for the format of the order's server platform
    #[arg(long, default_value = "pem_all", value_parser = format)]
    pub(crate) format: Format,
    /// File to write, `-` for standard output; named by number and format unless given
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

/// A format of the CA's, or the one of the order's platform.
#[derive(Clone, Debug)]
pub(crate) enum Format {
    Platform,
    Named(DownloadFormat),
}

#[derive(Debug, Subcommand)]
pub(crate) enum OrderCommand {
    /// List the account's orders
    List(OrderList),
    /// Show an order: its certificate, validations, reissues and duplicates, and who has to act
    Show {
        /// Number of the order, or serial number or thumbprint of its certificate
        order: String,
    },
    /// Cancel a pending order or reissue that no run of the journal is for
    Cancel {
        /// Number of the order
        order: u64,
        /// Why, for CertCentral's notes
        #[arg(long, default_value = "canceled with dcv")]
        reason: String,
    },
    /// Send the mails of a pending order again
    ResendMails {
        /// Number of the order
        order: u64,
        /// An ordered name and the address its mail shall go to; may be repeated
        #[arg(long = "email", value_name = "NAME=ADDRESS", value_parser = super::pair, required = true)]
        emails: Vec<(String, String)>,
    },
    /// Change how a pending order's domains are proved
    Method {
        /// Number of the order
        order: u64,
        /// dns-txt-token, dns-cname-token, http-token, http-token-dynamic or email
        #[arg(value_parser = parse::<dcv_core::Method>)]
        method: dcv_core::Method,
    },
}

#[derive(Debug, Args)]
pub(crate) struct OrderList {
    /// Only of this status, e.g. pending, issued; may be repeated
    #[arg(long)]
    pub(crate) status: Vec<String>,
    /// Only with this name, as common name or among the others
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Only whose certificate ends before this day
    #[arg(long, value_name = "DATE", value_parser = parse::<Date>)]
    pub(crate) ends_before: Option<Date>,
    /// Any of the API's filters, e.g. organization_id=12; may be repeated
    #[arg(long, value_name = "PROPERTY=VALUE", value_parser = super::pair)]
    pub(crate) filter: Vec<(String, String)>,
    /// Sort by this property; with a hyphen before it, the other way round
    #[arg(long, value_name = "[-]PROPERTY", default_value = "-date_created", allow_hyphen_values = true)]
    pub(crate) sort: String,
    /// Write CSV
    #[arg(long, conflicts_with = "json")]
    pub(crate) csv: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DomainCommand {
    /// List the account's domains and until when they are validated
    List {
        /// Only those whose name is or contains this
        search: Option<String>,
        /// Write CSV
        #[arg(long, conflicts_with = "json")]
        csv: bool,
    },
    /// Show a domain: its validations, and what proves it
    Show {
        /// The domain, or its number
        domain: String,
    },
    /// Prove domains ahead of any order, so that orders below them are issued at once
    Validate(DomainValidate),
    /// Send a domain's mails again
    ResendMails {
        /// The domain, or its number
        domain: String,
        /// Only to this address; may be repeated
        #[arg(long = "email", value_name = "ADDRESS")]
        emails: Vec<String>,
    },
    /// Let a domain be used in orders
    Activate {
        /// The domain, or its number
        domain: String,
    },
    /// Let a domain be used in orders no longer
    Deactivate {
        /// The domain, or its number
        domain: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct DomainValidate {
    /// The domains
    #[arg(value_name = "DOMAIN", required = true)]
    pub(crate) names: Vec<String>,
    /// For what: ov, ev; may be repeated
    #[arg(long = "type", value_name = "TYPE", default_values_t = ["ov".to_owned()], value_parser = ["ov", "ev"])]
    pub(crate) types: Vec<String>,
    /// Number or name of the organization, for domains that are new to the account
    #[arg(long, value_name = "ID|NAME")]
    pub(crate) organization: Option<String>,
    /// Leave domains alone that are validated for at least this many days
    #[arg(long, value_name = "DAYS", default_value_t = 30)]
    pub(crate) unless_days: u32,
    /// How control is shown: dns-txt-token, dns-cname-token, http-token, http-token-dynamic or email
    #[arg(long, value_parser = parse::<dcv_core::Method>)]
    pub(crate) method: Option<dcv_core::Method>,
    #[command(flatten)]
    pub(crate) way: Way,
}

#[derive(Debug, Subcommand)]
pub(crate) enum OrganizationCommand {
    /// List the account's organizations
    List,
    /// Show an organization and its validations
    Show {
        /// Its number or name
        organization: String,
    },
    /// Add an organization
    Add {
        /// TOML file with its details, as the API names them
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Have an organization validated
    Validate {
        /// Its number or name
        organization: String,
        /// For what: ov, ev, …; may be repeated
        #[arg(long = "type", value_name = "TYPE", default_values_t = ["ov".to_owned()])]
        types: Vec<String>,
        /// For EV: TOML file with `[[contact]]` tables of the people who speak for it
        #[arg(long, value_name = "FILE")]
        contacts: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum RequestCommand {
    /// List requests that wait for an approver
    List {
        /// Of this status: submitted, pending, approved, rejected; or all
        #[arg(long, default_value = "pending")]
        status: String,
    },
    /// Show a request
    Show {
        /// Its number
        request: u64,
    },
    /// Let a request pass. It may cost money
    Approve(Decide),
    /// Refuse a request
    Reject(Decide),
}

#[derive(Debug, Args)]
pub(crate) struct Decide {
    /// Its number
    pub(crate) request: u64,
    /// A word on it
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) comment: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ProductCommand {
    /// List the products that can be ordered
    List,
    /// Show a product: validities, issuing CAs, hashes
    Show {
        /// Its identifier, e.g. ssl_basic
        product: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum WebhookCommand {
    /// List the account's webhook
    List,
    /// Make the account's webhook; its secret is `webhook.secret` of the configuration
    Create {
        /// HTTPS address that CertCentral can reach and that leads to `webhook.listen`
        endpoint: String,
        /// Events to be told of; may be repeated
        #[arg(long = "event", value_name = "EVENT", default_values_t = ["certificate_issued".to_owned(), "order_rejected".to_owned()])]
        events: Vec<String>,
    },
    /// Switch the webhook on
    Activate {
        /// Its number
        webhook: u64,
    },
    /// Switch the webhook off
    Deactivate {
        /// Its number
        webhook: u64,
    },
}

fn reason(text: &str) -> Result<RevocationReason, String> {
    match RevocationReason::from(text) {
        RevocationReason::Other(_) => Err(format!(
            "`{text}` is no reason; use keyCompromise, affiliationChanged, superseded, cessationOfOperation or unspecified"
        )),
        reason => Ok(reason),
    }
}

fn format(text: &str) -> Result<Format, String> {
    if text == "platform" {
        return Ok(Format::Platform);
    }
    match DownloadFormat::from(text) {
        DownloadFormat::Other(_) => Err(format!("`{text}` is no format; `dcv download --help` lists them")),
        format => Ok(Format::Named(format)),
    }
}
