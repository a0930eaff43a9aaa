//! The command line. It decides what is legal to say together; what it means is for the commands.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use dcv_core::{Method, RunId, key::KeyKind};
use jiff::{SignedDuration, civil::Date};

use crate::exit::Code;

pub(crate) mod account;

const CONFIG_HELP: &str = "\
Configuration: --config, else DCV_CONFIG, else ./dcv.toml, else ~/.config/dcv/dcv.toml, else /etc/dcv/dcv.toml.
Without one, the API key is taken from DIGICERT_API_KEY.
With --json, stdout carries one JSON object per line and errors are one JSON object on stderr.";

/// Proves control of domains to DigiCert CertCentral and brings OV/EV certificates home.
#[derive(Debug, Parser)]
#[command(name = "dcv", version, max_term_width = 100, after_long_help = format!("{CONFIG_HELP}\n\n{}", Code::table()))]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Global {
    /// Configuration file
    #[arg(long, global = true, value_name = "FILE", env = "DCV_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Speak JSON: one object per line
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Say more; twice for debugging (RUST_LOG decides in detail)
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "quiet")]
    pub(crate) verbose: u8,
    /// Say nothing but results and errors
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// When to use colors; NO_COLOR is respected
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto)]
    pub(crate) color: Color,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Order a certificate, prove its names, and bring it home
    Issue(Issue),
    /// Show open runs and who has to act, or all that is known of one
    Status(Status),
    /// Go on with runs where they were left
    Resume(Resume),
    /// Cancel a run's order and take its proofs back
    Cancel(Cancel),
    /// Order the successor of an order that is about to end: its names and product, a new key
    Renew(account::Renew),
    /// Ask for another certificate of an order, in place of the present one: other names, a new key
    Reissue(account::Again),
    /// Ask for one more certificate of an order
    Duplicate(account::Again),
    /// Revoke an order's certificates, or one of them
    Revoke(account::Revoke),
    /// Fetch a certificate in any of the CA's formats
    Download(account::Download),
    /// Orders of the account: list, show, cancel
    #[command(subcommand)]
    Order(account::OrderCommand),
    /// Domains of the account: list, show, validate ahead of orders
    #[command(subcommand)]
    Domain(account::DomainCommand),
    /// Organizations of the account: list, show, add, have them validated
    #[command(subcommand)]
    Organization(account::OrganizationCommand),
    /// Requests for approval: list, show, approve, reject
    #[command(subcommand)]
    Request(account::RequestCommand),
    /// Products of the account, and what may be chosen for them
    #[command(subcommand)]
    Product(account::ProductCommand),
    /// The account's webhook
    #[command(subcommand)]
    Webhook(account::WebhookCommand),
    /// Show what will be done for the certificates and domains of the configuration, when, and why
    Plan(Plan),
    /// Keep the certificates and domains of the configuration valid: does what `plan` shows, again and again
    Run(Run),
    /// Write configuration for the orders that the account has already
    Import(Import),
    /// Find out what would make an order fail: DNS, CAA, API key, credentials of providers
    Doctor(Doctor),
    /// List the DNS hosts and web targets this program knows, with their options
    Providers,
    /// Dynamically loaded provider plugins: list, look at one, call one by hand
    #[command(subcommand)]
    Plugin(Plugin),
    /// See it work in seconds, offline: an embedded CA and name server, and the real flow between them
    Quickstart(Quickstart),
    /// Run an offline CertCentral until Ctrl-C
    Sandbox(Sandbox),
    /// Write the manual pages, the completions of a shell, the schema of dcv.toml, or a page with all commands
    Manual(Manual),
}

#[derive(Debug, Default, Args)]
pub(crate) struct Issue {
    /// Names of the certificate; the first is the common name. With --csr, those of the CSR unless given
    #[arg(value_name = "NAME", required_unless_present = "csr")]
    pub(crate) names: Vec<String>,
    #[command(flatten)]
    pub(crate) order: Order,
    #[command(flatten)]
    pub(crate) certificate: Certificate,
}

/// What an order is made of beside its certificate.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Order")]
pub(crate) struct Order {
    /// Product, e.g. ssl_basic, ssl_ev_securesite; `ssl` lets the CA choose by --type-hint
    #[arg(long)]
    pub(crate) product: Option<String>,
    /// For the product `ssl`: what kind it should become, e.g. ov, ev
    #[arg(long, value_name = "HINT")]
    pub(crate) type_hint: Option<String>,
    /// Number or name of the organization in CertCentral
    #[arg(long, value_name = "ID|NAME")]
    pub(crate) organization: Option<String>,
    /// TOML file with an organization in full, to be made, or found by its details
    #[arg(long, value_name = "FILE", conflicts_with = "organization")]
    pub(crate) organization_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) validity: Validity,
    /// Further receivers of notices; may be repeated
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) notify: Vec<String>,
    /// A field of the account's own: its number and value; may be repeated
    #[arg(long, value_name = "ID=VALUE", value_parser = custom_field)]
    pub(crate) custom_field: Vec<(u64, String)>,
    /// How it is paid: balance, profile, card or wire_transfer
    #[arg(long, value_name = "METHOD")]
    pub(crate) payment_method: Option<String>,
    /// Number of the division (container)
    #[arg(long, value_name = "ID")]
    pub(crate) division: Option<u64>,
    /// Language of the CA's mails, e.g. en
    #[arg(long)]
    pub(crate) locale: Option<String>,
}

/// What a certificate is made of, and how it is brought home.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Certificate")]
pub(crate) struct Certificate {
    /// How control is shown: dns-txt-token, dns-cname-token, http-token, http-token-dynamic or email
    #[arg(long, value_parser = parse::<Method>)]
    pub(crate) method: Option<Method>,
    /// For email: who gets the mail for a domain, and then only they; may be repeated
    #[arg(long, value_name = "DOMAIN=ADDRESS", value_parser = pair)]
    pub(crate) email: Vec<(String, String)>,
    /// At which name domains are validated: base_domain or fqdn
    #[arg(long, value_parser = ["base_domain", "fqdn"])]
    pub(crate) scope: Option<String>,
    /// Use this CSR
    #[arg(long, value_name = "FILE", conflicts_with = "key_type")]
    pub(crate) csr: Option<PathBuf>,
    /// Use this private key (it stays where it is); without it a new one is made
    #[arg(long, value_name = "FILE", conflicts_with = "key_type")]
    pub(crate) key: Option<PathBuf>,
    /// Kind of the new key: ecdsa-p256, ecdsa-p384, rsa2048, rsa3072 or rsa4096
    #[arg(long, value_parser = parse::<KeyKind>)]
    pub(crate) key_type: Option<KeyKind>,
    /// Hash of the CA's signature
    #[arg(long, value_parser = ["sha256", "sha384", "sha512"])]
    pub(crate) signature_hash: Option<String>,
    /// Validity of the certificate in days, within the order's; as long as can be unless given
    #[arg(long, value_name = "DAYS", conflicts_with = "cert_till")]
    pub(crate) cert_days: Option<u64>,
    /// Last day of the certificate, e.g. 2027-03-01
    #[arg(long, value_name = "DATE", value_parser = parse::<Date>)]
    pub(crate) cert_till: Option<Date>,
    /// Issuing CA, by the id that `dcv product show` lists
    #[arg(long, value_name = "ID")]
    pub(crate) ca_cert: Option<String>,
    /// Profile of the certificate, e.g. server_auth_only_eku
    #[arg(long, value_name = "OPTION")]
    pub(crate) profile: Option<String>,
    /// Folder for cert.pem, chain.pem, fullchain.pem and privkey.pem; `{name}` stands for the common name
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<String>,
    /// A word to the approver
    #[arg(long, value_name = "TEXT")]
    pub(crate) comment: Option<String>,
    /// Wait for an approver, also where the key's user may approve
    #[arg(long)]
    pub(crate) ask_approval: bool,
    #[command(flatten)]
    pub(crate) way: Way,
}

/// How a run is carried out.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Run")]
pub(crate) struct Way {
    /// Provider for all names, or NAME=PROVIDER for a name and all below it; may be repeated
    #[arg(long, value_name = "[NAME=]PROVIDER")]
    pub(crate) provider: Vec<String>,
    /// How long to wait for others, e.g. 90s, 10m, 2h
    #[arg(long, value_parser = duration)]
    pub(crate) wait: Option<Duration>,
    /// Check everything and show what would be done; order and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Clone, Debug, Default, Args)]
#[group(multiple = false)]
pub(crate) struct Validity {
    /// Validity of the order in days
    #[arg(long = "validity-days", value_name = "DAYS", value_parser = clap::value_parser!(u64).range(1..=2200))]
    pub(crate) days: Option<u64>,
    /// Validity of the order in years
    #[arg(long = "validity-years", value_name = "YEARS", value_parser = clap::value_parser!(u64).range(1..=6))]
    pub(crate) years: Option<u64>,
    /// Last day of the order, e.g. 2027-06-09
    #[arg(long = "valid-till", value_name = "DATE", value_parser = parse::<Date>)]
    pub(crate) last_day: Option<Date>,
}

#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// Only these certificates and domains
    #[arg(value_name = "LABEL")]
    pub(crate) labels: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Do what is due and end, for timers
    #[arg(long)]
    pub(crate) once: bool,
    /// Only these certificates and domains
    #[arg(value_name = "LABEL")]
    pub(crate) labels: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// Only orders with this name
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// A run or the number of its order; without it, all open runs
    pub(crate) run: Option<String>,
    /// Closed runs, too
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Resume {
    /// Runs, as `dcv status` lists them
    #[arg(value_name = "RUN", required_unless_present = "all", conflicts_with = "all")]
    pub(crate) runs: Vec<RunId>,
    /// All open runs
    #[arg(long)]
    pub(crate) all: bool,
    /// Providers, where the run was begun with --provider
    #[arg(long, value_name = "[NAME=]PROVIDER")]
    pub(crate) provider: Vec<String>,
    /// How long to wait for others, e.g. 90s, 10m, 2h
    #[arg(long, value_parser = duration)]
    pub(crate) wait: Option<Duration>,
}

#[derive(Debug, Args)]
pub(crate) struct Cancel {
    /// The run
    pub(crate) run: RunId,
    /// Why, for CertCentral's notes
    #[arg(long, default_value = "canceled with dcv")]
    pub(crate) reason: String,
    /// Providers, where the run was begun with --provider
    #[arg(long, value_name = "[NAME=]PROVIDER")]
    pub(crate) provider: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Names that are to be in a certificate
    #[arg(value_name = "NAME", required = true)]
    pub(crate) names: Vec<String>,
    /// How control would be shown
    #[arg(long, value_parser = parse::<Method>)]
    pub(crate) method: Option<Method>,
    /// Write nothing: leave out the probe record or file that is written, read back and removed
    #[arg(long)]
    pub(crate) no_probe: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Plugin {
    /// List the plugins of the configuration and of folders, each loaded in a process of its own
    List {
        /// Folders to look into. Default: DCV_PLUGINS, else /usr/local/lib/dcv and /usr/lib/dcv
        #[arg(value_name = "DIR", env = "DCV_PLUGINS", value_delimiter = ':')]
        dirs: Vec<PathBuf>,
    },
    /// Call a plugin by hand, in a process of its own
    Run {
        /// The shared library
        path: PathBuf,
        /// What to call
        #[arg(value_enum)]
        verb: Verb,
        /// Its configuration, a JSON object
        #[arg(long, value_name = "JSON", default_value = "{}")]
        plugin_config: String,
        /// A TXT record; may be repeated
        #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
        txt: Vec<(String, String)>,
        /// A CNAME record; may be repeated
        #[arg(long, value_name = "NAME=TARGET", value_parser = pair)]
        cname: Vec<(String, String)>,
        /// The file of http-token on a host; may be repeated
        #[arg(long, value_name = "HOST=CONTENT", value_parser = pair)]
        file: Vec<(String, String)>,
    },
    /// Load a plugin in a process of its own, and show what it says it is and its SHA-256
    Check {
        /// The shared library
        path: PathBuf,
        /// Its configuration, a JSON object: open it, too
        #[arg(long, value_name = "JSON")]
        plugin_config: Option<String>,
    },
    /// Be the process of an isolated plugin (for dcv itself)
    #[command(hide = true)]
    Host {
        /// The shared library
        path: PathBuf,
        /// Refuse any other than this one
        #[arg(long)]
        sha256: Option<String>,
        /// Describe the plugin and end, without opening it
        #[arg(long)]
        describe: bool,
    },
}

/// What a plugin is asked to do.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Verb {
    Preflight,
    Present,
    Retract,
}

#[derive(Debug, Args)]
pub(crate) struct Quickstart {
    /// Names of the certificate
    #[arg(value_name = "NAME", default_values_t = ["shop.example.com".to_owned(), "www.example.com".to_owned()])]
    pub(crate) names: Vec<String>,
    /// Folder for the certificate; `{name}` stands for the common name
    #[arg(long, value_name = "DIR", default_value = "certificates/{name}")]
    pub(crate) out: String,
}

#[derive(Debug, Args)]
pub(crate) struct Sandbox {
    /// Where the API listens
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8443")]
    pub(crate) listen: SocketAddr,
    /// Keep orders and the CA's keys here; without it everything ends with the process
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    /// Name servers that the CA asks; one after the other until one answers. Default: the system's resolvers
    #[arg(long, value_name = "IP:PORT", conflicts_with = "zone")]
    pub(crate) dns: Vec<SocketAddr>,
    /// Serve this zone from an embedded name server that takes signed updates (RFC 2136); may be repeated
    #[arg(long, value_name = "ZONE")]
    pub(crate) zone: Vec<String>,
    /// Where the embedded name server listens
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8053")]
    pub(crate) zone_listen: SocketAddr,
    /// Port at which the CA fetches files by HTTP
    #[arg(long, value_name = "PORT", default_value_t = 80)]
    pub(crate) http_port: u16,
    /// Port at which the CA fetches files by HTTPS
    #[arg(long, value_name = "PORT", default_value_t = 443)]
    pub(crate) https_port: u16,
    /// API key that is accepted; may be repeated. Default: sandbox
    #[arg(long, value_name = "KEY")]
    pub(crate) key: Vec<String>,
    /// Speak HTTPS, with a certificate for this machine below the sandbox's root
    #[arg(long)]
    pub(crate) tls: bool,
    /// When the sandbox's time begins, e.g. 2027-03-15T00:00:00Z
    #[arg(long, value_name = "TIME", value_parser = parse::<jiff::Timestamp>)]
    pub(crate) now: Option<jiff::Timestamp>,
    /// How many times as fast the sandbox's time runs; 86400 makes a day of a second
    #[arg(long, value_name = "FACTOR", value_parser = speed)]
    pub(crate) speed: Option<f64>,
    /// Folder for the CA's mails (method email), one file each with the link that approves
    #[arg(long, value_name = "DIR")]
    pub(crate) mailbox: Option<PathBuf>,
    /// Organizations, products and switches of the account, in TOML
    #[arg(long, value_name = "FILE")]
    pub(crate) account: Option<PathBuf>,
    /// Write a dcv.toml for this sandbox here, as soon as it listens
    #[arg(long, value_name = "FILE")]
    pub(crate) write_config: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Manual {
    /// Folder for one manual page per command
    #[arg(long, value_name = "DIR")]
    pub(crate) man: Option<PathBuf>,
    /// Write this shell's completions to standard output
    #[arg(long, value_name = "SHELL")]
    pub(crate) completions: Option<clap_complete::Shell>,
    /// Write the JSON schema of dcv.toml to standard output
    #[arg(long)]
    pub(crate) schema: bool,
    /// Write a page with all commands and their options, in Markdown, to standard output
    #[arg(long)]
    pub(crate) markdown: bool,
}

fn speed(text: &str) -> Result<f64, String> {
    let speed: Option<f64> = text.parse().ok().filter(|speed: &f64| speed.is_finite() && (0.001..=1e7).contains(speed));
    speed.ok_or_else(|| format!("`{text}` is no factor; write a number above 0, e.g. 86400"))
}

/// `LEFT=RIGHT`, neither empty.
fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((left, right)) if !left.is_empty() && !right.is_empty() => Ok((left.to_owned(), right.to_owned())),
        _ => Err(format!("`{text}` has no two sides; write it LEFT=RIGHT")),
    }
}

fn custom_field(text: &str) -> Result<(u64, String), String> {
    let (id, value) = pair(text)?;
    let id = id.parse().map_err(|_| format!("`{id}` is not the number of a field; write it ID=VALUE"))?;
    Ok((id, value))
}

pub(crate) fn parse<T: std::str::FromStr>(text: &str) -> Result<T, String>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error: T::Err| error.to_string())
}

/// `90s`, `10m`, `2h 30m`: positive.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no duration; write it like 90s, 10m or 2h");
    let parsed: SignedDuration = text.parse().map_err(|_| wrong())?;
    Duration::try_from(parsed).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn durations_are_written_as_people_do() {
        for (text, seconds) in [("90s", 90), ("10m", 600), ("2h", 7200), ("1h 30m", 5400)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "10", "-5m", "soon"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_contradicts_is_refused() {
        for line in [
            "dcv issue a.example.com --validity-days 90 --validity-years 1",
            "dcv issue a.example.com --csr a.csr --key-type rsa2048",
            "dcv issue",
            "dcv issue a.example.com --method dns-txt",
            "dcv issue a.example.com --wait soon",
            "dcv issue a.example.com --cert-days 90 --cert-till 2027-01-01",
            "dcv issue a.example.com --custom-field x=1",
            "dcv issue a.example.com --email example.com",
            "dcv renew 1 a.example.com --add b.example.com",
            "dcv revoke",
            "dcv revoke 1 --certificate 2",
            "dcv manual",
            "dcv resume",
            "dcv status -q -v",
            "dcv sandbox --zone example.com --dns 127.0.0.1:53",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
