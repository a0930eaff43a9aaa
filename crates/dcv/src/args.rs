//! The command line. It decides what is legal to say together; what it means is for the commands.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use dcv_core::{Method, RunId, key::KeyKind};
use jiff::{SignedDuration, civil::Date};

use crate::exit::Code;

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
    /// Find out what would make an order fail: DNS, CAA, API key, credentials of providers
    Doctor(Doctor),
    /// List the DNS hosts and web targets this program knows, with their options
    Providers,
    /// Look at a dynamically loaded provider plugin
    #[command(subcommand)]
    Plugin(Plugin),
    /// See it work in seconds, offline: an embedded CA and name server, and the real flow between them
    Quickstart(Quickstart),
    /// Run an offline CertCentral until Ctrl-C
    Sandbox(Sandbox),
}

#[derive(Debug, Default, Args)]
pub(crate) struct Issue {
    /// Names of the certificate; the first is the common name. With --csr, those of the CSR unless given
    #[arg(value_name = "NAME", required_unless_present = "csr")]
    pub(crate) names: Vec<String>,
    /// Product, e.g. ssl_basic, ssl_ev_securesite
    #[arg(long)]
    pub(crate) product: Option<String>,
    /// Number of the organization in CertCentral
    #[arg(long, value_name = "ID")]
    pub(crate) organization: Option<u64>,
    /// How control is shown: dns-txt-token, dns-cname-token or http-token
    #[arg(long, value_parser = parse::<Method>)]
    pub(crate) method: Option<Method>,
    /// Use this CSR
    #[arg(long, value_name = "FILE", conflicts_with = "key_type")]
    pub(crate) csr: Option<PathBuf>,
    /// Use this private key (it stays where it is); without it a new one is made
    #[arg(long, value_name = "FILE", conflicts_with = "key_type")]
    pub(crate) key: Option<PathBuf>,
    /// Kind of the new key: ecdsa-p256, ecdsa-p384, rsa2048, rsa3072 or rsa4096
    #[arg(long, value_parser = parse::<KeyKind>)]
    pub(crate) key_type: Option<KeyKind>,
    /// Folder for cert.pem, chain.pem, fullchain.pem and privkey.pem; `{name}` stands for the common name
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<String>,
    #[command(flatten)]
    pub(crate) validity: Validity,
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
    /// Organizations, products and switches of the account, in TOML
    #[arg(long, value_name = "FILE")]
    pub(crate) account: Option<PathBuf>,
}

fn parse<T: std::str::FromStr>(text: &str) -> Result<T, String>
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
            "dcv resume",
            "dcv status -q -v",
            "dcv sandbox --zone example.com --dns 127.0.0.1:53",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
