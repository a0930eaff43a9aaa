//! From the command line and the configuration to a request: everything that can be found wrong before anybody is asked.
//!
//! The private key is made here and written beside where it will stay, readable by its owner only, before the order exists:
//! whatever dies afterwards, the key of the certificate is not lost. The journal never holds it.

use std::path::{Path, PathBuf};

use certcentral::{Client, Reference, Validity};
use dcv_core::{
    Output, Request,
    key::{Csr, PrivateKey},
    name::{DnsName, check_set},
};
use jiff::{Timestamp, tz::TimeZone};
use rand::Rng;
use rustix::fs::Access;

use crate::{
    args,
    config::Config,
    exit::{Failure, Result, did_you_mean},
};

/// Where certificates go unless told otherwise.
const DEFAULT_OUT: &str = "certificates/{name}";
/// What the file of a new key is called until the certificate is there, but for a random tail.
const PENDING_KEY: &str = ".privkey.";

/// A request that is ready but for the key's file.
pub(crate) struct Prepared {
    pub(crate) request: Request,
    /// Names that a wildcard of the same order covers already, with the wildcard.
    pub(crate) covered: Vec<(DnsName, DnsName)>,
    dir: PathBuf,
    /// The first folder above `dir` that was there before.
    existing: PathBuf,
    /// The key that was made for this order.
    new_key: Option<PrivateKey>,
}

/// Reads names as people give them; all that are wrong are told at once.
pub(crate) fn read_names(given: &[String]) -> Result<Vec<DnsName>> {
    let (names, errors): (Vec<_>, Vec<_>) = given.iter().map(|name| DnsName::parse(name)).partition(Result::is_ok);
    let errors: Vec<String> = errors.into_iter().filter_map(Result::err).map(|e| e.to_string()).collect();
    if errors.is_empty() {
        Ok(names.into_iter().flatten().collect())
    } else {
        Err(Failure::usage("names", errors.join("; ")))
    }
}

impl Prepared {
    /// Checks what was asked for, reads or makes key and CSR, and touches nothing.
    pub(crate) fn new(config: &Config, issue: &args::Issue) -> Result<Self> {
        let defaults = &config.defaults;
        let csr = issue.csr.as_deref().map(read_csr).transpose()?;
        let key = issue.key.as_deref().map(read_key).transpose()?;
        let given = match &csr {
            Some(csr) if issue.names.is_empty() => csr.names().to_vec(),
            _ => issue.names.clone(),
        };
        let set = check_set(&read_names(&given)?, None);
        let Some(common_name) = set.names.first() else {
            return Err(Failure::usage("names", "the CSR names none; give them on the command line"));
        };

        let Some(product) = issue.product.as_ref().or(defaults.product.as_ref()) else {
            let way_out = "none is given; use --product or defaults.product, e.g. ssl_basic";
            return Err(Failure::usage("product", way_out));
        };
        let Some(organization) = issue.organization.or(defaults.organization) else {
            let way_out =
                "none is given; use --organization or defaults.organization, the number CertCentral shows for it";
            return Err(Failure::usage("organization", way_out));
        };
        let validity = validity(issue, config)?;
        let method = issue.method.unwrap_or(defaults.method);

        let out = issue.out.as_deref().or(defaults.out.as_deref()).unwrap_or(DEFAULT_OUT);
        let dir = out_dir(out, common_name)?;
        let existing = check_writable(&dir)?;

        if let (Some(csr), Some(key)) = (&csr, &key)
            && !csr.matches_key(key)
        {
            let message = "the CSR was not made with this key; give the key it was made with, or leave --key out";
            return Err(Failure::usage("--key", message));
        }
        let mut new_key = None;
        let mut request = match (&csr, key) {
            (Some(csr), _) => Request::with_csr(product, organization, set.names, csr)?,
            (None, Some(key)) => Request::new(product, organization, set.names, &key)?,
            (None, None) => {
                let kind = issue.key_type.unwrap_or(defaults.key_type);
                let made = PrivateKey::generate(kind).map_err(|error| Failure::usage("--key-type", error))?;
                let request = Request::new(product, organization, set.names, &made)?;
                new_key = Some(made);
                request
            }
        };
        request = request.method(method).output(Output { dir: dir.clone(), pending_key: None });
        request.placement = defaults.placement();
        request.tokens = defaults.tokens;
        let order = &mut request.order;
        order.order_validity = validity.or_else(|| order.order_validity.take());
        order.certificate_dcv_scope.clone_from(&defaults.scope);
        order.skip_approval = defaults.skip_approval.or(order.skip_approval);
        order.payment_method.clone_from(&defaults.payment_method);
        order.container = defaults.division.map(|id| Reference { id });
        Ok(Self { request, covered: set.covered, dir, existing, new_key })
    }

    /// What takes back all that [`write_key`](Self::write_key) does.
    pub(crate) fn undo(&self) -> impl FnOnce() + use<> {
        let (output, dir, existing) = (self.request.output.clone(), self.dir.clone(), self.existing.clone());
        move || {
            discard_key(output.as_ref());
            // Folders that are not empty stay, and end it.
            let ours = dir.ancestors().take_while(|folder| *folder != existing);
            let _ = ours.map(std::fs::remove_dir).take_while(|removed| !removed.as_ref().is_err_and(is_in_use)).count();
        }
    }

    /// Writes the new key, if there is one, into the output folder. It stays there until the certificate takes it over; see
    /// [`discard_key`].
    pub(crate) fn write_key(&mut self) -> Result<()> {
        let Some(key) = self.new_key.take() else { return Ok(()) };
        let tail: u64 = rand::rng().random();
        let path = self.dir.join(format!("{PENDING_KEY}{tail:016x}.pem"));
        let cannot = |error: std::io::Error| {
            let message =
                format!("the key cannot be written to `{}`: {error}; choose another folder", self.dir.display());
            Failure::usage("out", message)
        };
        std::fs::create_dir_all(&self.dir).map_err(cannot)?;
        key.write(&path).map_err(cannot)?;
        if let Some(output) = &mut self.request.output {
            output.pending_key = Some(path);
        }
        Ok(())
    }
}

/// Whether a file of this name holds the key of a certificate that is still to come.
pub(crate) fn is_pending_key(file: &str) -> bool {
    file.starts_with(PENDING_KEY)
}

/// Removes the key that was made for a request which came to nothing, and its folder when that holds nothing else.
pub(crate) fn discard_key(output: Option<&Output>) {
    let Some(Output { dir, pending_key: Some(key) }) = output else { return };
    if std::fs::remove_file(key).is_ok() {
        // Fails when something else is in there, as it should.
        let _ = std::fs::remove_dir(dir);
    }
}

/// Asks CertCentral, before it costs anything, whether the key works and the product can be ordered.
pub(crate) async fn check_account(client: &Client, request: &Request) -> Result<()> {
    let products = match client.products().await {
        Ok(products) => products,
        // A key that may order need not be allowed to list.
        Err(error) if error.is_auth() => {
            return client.me().await.map(drop).map_err(|error| refused_key(&error));
        }
        Err(error @ certcentral::Error::Transport { .. }) => return Err(error.into()),
        Err(error) => {
            tracing::debug!(%error, "the products cannot be listed; the CA will say whether this one can be ordered");
            return Ok(());
        }
    };
    let known = || products.iter().map(|product| product.name_id.as_str());
    // `ssl` is a way to order, not an entry of the list.
    if request.product == "ssl" || products.is_empty() || known().any(|id| id == request.product) {
        return Ok(());
    }
    let near = did_you_mean(&request.product, known());
    let list = known().collect::<Vec<_>>().join(", ");
    let message = format!("`{}` cannot be ordered by this account{near}; it has {list}", request.product);
    Err(Failure::usage("product", message))
}

/// An API key that is not accepted.
pub(crate) fn refused_key(error: &certcentral::Error) -> Failure {
    let failure = Failure::new(crate::exit::Code::Refused, error.to_string());
    if error.is_auth() { Failure { message: format!("ca.key: {}", failure.message), ..failure } } else { failure }
}

fn read_csr(path: &Path) -> Result<Csr> {
    let text = read(path, "--csr")?;
    Csr::from_pem(&text).map_err(|error| Failure::usage("--csr", format!("`{}`: {error}", path.display())))
}

fn read_key(path: &Path) -> Result<PrivateKey> {
    use std::os::unix::fs::PermissionsExt;
    let text = secrecy::SecretString::from(read(path, "--key")?);
    let mode = std::fs::metadata(path).map_or(0, |meta| meta.permissions().mode() & 0o777);
    if mode & 0o007 != 0 {
        let message = format!("`{0}` has mode {mode:04o}, so everybody can read it; chmod 600 {0}", path.display());
        return Err(Failure::usage("--key", message));
    }
    PrivateKey::from_pem(secrecy::ExposeSecret::expose_secret(&text))
        .map_err(|error| Failure::usage("--key", format!("`{}`: {error}", path.display())))
}

fn read(path: &Path, field: &str) -> Result<String> {
    std::fs::read_to_string(path)
        .map_err(|error| Failure::usage(field, format!("`{}` cannot be read: {error}; check the path", path.display())))
}

fn validity(issue: &args::Issue, config: &Config) -> Result<Option<Validity>> {
    let flags = &issue.validity;
    let said = flags.days.is_some() || flags.years.is_some() || flags.last_day.is_some();
    let chosen = if said { flags.clone() } else { config.defaults.validity() };
    let today = Timestamp::now().to_zoned_datetime(TimeZone::UTC).date();
    if let Some(date) = chosen.last_day.filter(|date| *date <= today) {
        let message = format!("{date} is not in the future; give a later date or --validity-days");
        return Err(Failure::usage("valid_till", message));
    }
    if chosen.days == Some(0) || chosen.years == Some(0) {
        return Err(Failure::usage("validity", "0 is no validity; give at least one day"));
    }
    let args::Validity { days, years, last_day: custom_expiration_date } = chosen;
    let any = days.is_some() || years.is_some() || custom_expiration_date.is_some();
    Ok(any.then_some(Validity { years, days, custom_expiration_date }))
}

/// The folder for a common name: absolute, so that a run can be resumed from elsewhere. A wildcard's star becomes `_`.
pub(crate) fn out_dir(template: &str, common_name: &DnsName) -> Result<PathBuf> {
    let dir = template.replace("{name}", &common_name.as_str().replace('*', "_"));
    if let Some(rest) = dir.split_once('{') {
        let message = format!("`{template}` holds `{{{}`; only {{name}} can stand in it", rest.1);
        return Err(Failure::usage("out", message));
    }
    std::path::absolute(&dir)
        .map_err(|error| Failure::usage("out", format!("`{dir}` is no path: {error}; name a folder")))
}

/// Whether files can be put there, found out without putting any. The folder that is there already, below which the others will be made.
fn check_writable(dir: &Path) -> Result<PathBuf> {
    let wrong = |message: String| Err(Failure::usage("out", message));
    let existing = dir.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    if !existing.is_dir() {
        return wrong(format!(
            "`{}` is not a folder, so `{}` cannot be; choose another",
            existing.display(),
            dir.display()
        ));
    }
    match rustix::fs::access(existing, Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) => Ok(existing.to_owned()),
        Err(error) => wrong(format!(
            "`{}` cannot be written: {error}; allow it for this user or choose another folder",
            existing.display()
        )),
    }
}

fn is_in_use(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::DirectoryNotEmpty
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_named_by_the_common_name() {
        let dir = |template, name| {
            let name = DnsName::parse(name).expect("a name");
            out_dir(template, &name).map(|dir| dir.display().to_string()).map_err(|failure| failure.message)
        };
        assert_eq!(dir("/x/{name}", "www.example.com").as_deref(), Ok("/x/www.example.com"));
        assert_eq!(dir("/x/{name}", "*.example.com").as_deref(), Ok("/x/_.example.com"));
        assert_eq!(dir("/x/y", "example.com").as_deref(), Ok("/x/y"));
        assert!(dir("/x/{nam}", "example.com").is_err_and(|message| message.contains("only {name}")));
        assert!(dir("x", "example.com").is_ok_and(|dir| dir.starts_with('/')));
    }

    #[test]
    fn all_wrong_names_are_told_at_once() {
        let given = ["www.example.com", "a_b.example.com", "10.0.0.1"].map(str::to_owned);
        let message = read_names(&given).expect_err("two are wrong").message;
        assert!(message.starts_with("names: ") && message.contains("a_b") && message.contains("10.0.0.1"), "{message}");
    }
}
