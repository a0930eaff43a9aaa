//! From the command line and the configuration to a request: everything that can be found wrong before anybody is asked.
//!
//! The private key is made here and written beside where it will stay, readable by its owner only, before the order exists:
//! whatever dies afterwards, the key of the certificate is not lost. The journal never holds it.

use std::path::{Path, PathBuf};

use certcentral::{
    Client, CustomField, DcvEmail, DcvScope, NewOrder, Organization, OrganizationChoice, OrganizationId, Product,
    ProductHint, Reference, Validity,
};
use dcv_core::{
    Method, Output, Purpose, Request,
    key::{Csr, PrivateKey},
    name::{DnsName, check_set},
};
use dcv_provider::dns::is_within;
use jiff::{Timestamp, tz::TimeZone};
use rand::Rng;
use rustix::fs::Access;

use crate::{
    args,
    config::Config,
    exit::{Failure, Result, did_you_mean},
};

/// Where certificates go unless told otherwise.
pub(crate) const DEFAULT_OUT: &str = "certificates/{name}";
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

/// What a certificate is wanted for: all that the certificate's own arguments do not say.
pub(crate) struct Wanted {
    pub(crate) purpose: Purpose,
    /// As people gave them.
    pub(crate) names: Vec<String>,
    pub(crate) product: String,
    /// Everything but the certificate.
    pub(crate) order: NewOrder,
}

impl Wanted {
    /// An order of its own.
    pub(crate) async fn order(config: &Config, names: &[String], args: &args::Order) -> Result<Self> {
        let Some(product) = args.product.as_ref().or(config.defaults.product.as_ref()) else {
            let way_out = config.not_given("use --product or defaults.product, e.g. ssl_basic");
            return Err(Failure::usage("product", way_out));
        };
        let organization = match (&args.organization_file, args.organization.as_ref(), &config.defaults.organization) {
            (Some(file), ..) => OrganizationChoice::Described(Box::new(read_toml(file, "--organization-file")?)),
            (None, Some(text), _) | (None, None, Some(text)) => OrganizationChoice::Known {
                id: organization_number(config, text).await?,
                contacts: config.contacts.clone(),
            },
            (None, None, None) => {
                let way_out =
                    config.not_given("use --organization or defaults.organization, its number or name in CertCentral");
                return Err(Failure::usage("organization", way_out));
            }
        };
        let order = NewOrder { organization: Some(organization), ..order_of(config, args)? };
        Ok(Self { purpose: Purpose::Order, names: names.to_vec(), product: product.clone(), order })
    }

    /// The successor of an order: for the same organization and of the same product unless told otherwise.
    pub(crate) async fn renewal(
        config: &Config,
        earlier: &certcentral::Order,
        names: &args::account::Names,
        args: &args::Order,
    ) -> Result<Self> {
        let organization = match (&args.organization, earlier.organization.as_ref().and_then(|o| o.id)) {
            (None, Some(id)) => id.to_string(),
            (Some(text), _) => text.clone(),
            (None, None) => config.defaults.organization.clone().unwrap_or_default(),
        };
        let args = args::Order {
            product: args.product.clone().or_else(|| product_of(earlier)),
            organization: Some(organization),
            division: args.division.or_else(|| earlier.container.as_ref().and_then(|container| container.id)),
            ..args.clone()
        };
        let mut wanted = Self::order(config, &names_of(earlier, names)?, &args).await?;
        wanted.order.renewal_of_order_id = Some(earlier.id);
        Ok(wanted)
    }

    /// A reissue or a duplicate of an order.
    pub(crate) fn again(purpose: Purpose, earlier: &certcentral::Order, names: &args::account::Names) -> Result<Self> {
        let Some(product) = product_of(earlier) else {
            let message = format!("CertCentral does not say of which product order {} is", earlier.id);
            return Err(Failure::new(crate::exit::Code::Refused, message));
        };
        Ok(Self { purpose, names: names_of(earlier, names)?, product, order: NewOrder::default() })
    }
}

impl Prepared {
    /// Checks what was asked for, reads or makes key and CSR, and touches nothing.
    pub(crate) fn new(config: &Config, wanted: Wanted, args: &args::Certificate) -> Result<Self> {
        let defaults = &config.defaults;
        let csr = args.csr.as_deref().map(read_csr).transpose()?;
        let key = args.key.as_deref().map(read_key).transpose()?;
        let given = match &csr {
            Some(csr) if wanted.names.is_empty() => csr.names().to_vec(),
            _ => wanted.names,
        };
        let set = check_set(&read_names(&given)?, None);
        let Some(common_name) = set.names.first() else {
            return Err(Failure::usage("names", "there are none; give them on the command line"));
        };
        let method = args.method.unwrap_or(defaults.method);
        let out = args.out.as_deref().or(defaults.out.as_deref()).unwrap_or(DEFAULT_OUT);
        let dir = out_dir(out, common_name)?;
        let existing = check_writable(&dir)?;

        if let (Some(csr), Some(key)) = (&csr, &key)
            && !csr.matches_key(key)
        {
            let message = "the CSR was not made with this key; give the key it was made with, or leave --key out";
            return Err(Failure::usage("--key", message));
        }
        let mut new_key = None;
        // The organization is filled in with the rest of the order.
        let (product, nobody) = (&wanted.product, 0);
        let mut request = match (&csr, key) {
            (Some(csr), _) => Request::with_csr(product, nobody, set.names, csr)?,
            (None, Some(key)) => Request::new(product, nobody, set.names, &key)?,
            (None, None) => {
                let kind = args.key_type.unwrap_or(defaults.key_type);
                let made = PrivateKey::generate(kind).map_err(|error| Failure::usage("--key-type", error))?;
                let request = Request::new(product, nobody, set.names, &made)?;
                new_key = Some(made);
                request
            }
        };
        request = request.method(method).purpose(wanted.purpose).output(Output { dir: dir.clone(), pending_key: None });
        request.placement = defaults.placement();
        request.tokens = defaults.tokens;
        let usual = std::mem::take(&mut request.order);
        let order = &mut request.order;
        *order = NewOrder { certificate: usual.certificate, ..wanted.order };
        order.skip_approval =
            if args.ask_approval { Some(false) } else { defaults.skip_approval.or(usual.skip_approval) };
        order.comments.clone_from(&args.comment);
        order.certificate_dcv_scope = args.scope.as_deref().map(DcvScope::from).or_else(|| defaults.scope.clone());
        order.dcv_emails = mails(&args.email, &request.names)?;
        let certificate = &mut order.certificate;
        if let Some(hash) = &args.signature_hash {
            certificate.signature_hash.clone_from(hash);
        }
        certificate.ca_cert_id.clone_from(&args.ca_cert);
        certificate.profile_option.clone_from(&args.profile);
        let (days, custom_expiration_date) = (args.cert_days, args.cert_till);
        if days.is_some() || custom_expiration_date.is_some() {
            certificate.cert_validity = Some(Validity { years: None, days, custom_expiration_date });
        }
        if !order.dcv_emails.is_empty() && method != Method::Email {
            return Err(Failure::usage("--email", format!("addresses are for --method email; this is {method}")));
        }
        Ok(Self { request, covered: set.covered, dir, existing, new_key })
    }

    /// A request for which no key is made and no file is written.
    pub(crate) fn without_certificate(request: Request) -> Self {
        Self { request, covered: Vec::new(), dir: PathBuf::new(), existing: PathBuf::new(), new_key: None }
    }

    /// The other one of `example.com` and `www.example.com`, which costs nothing beside the common name, when it is missing.
    pub(crate) fn free_name(&self) -> Option<String> {
        let common_name = self.request.names.first().filter(|name| !name.is_wildcard())?;
        let (name, apex) = (common_name.as_str(), common_name.registrable());
        let other = if name == apex { format!("www.{apex}") } else { name.strip_prefix("www.")?.to_owned() };
        let there = self
            .request
            .names
            .iter()
            .any(|known| known.as_str() == other || DnsName::parse(&other).is_ok_and(|other| known.covers(&other)));
        (other == apex || name == apex).then_some(other).filter(|_| !there)
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

/// The order's part that is no certificate and no organization.
fn order_of(config: &Config, args: &args::Order) -> Result<NewOrder> {
    let defaults = &config.defaults;
    let field = |(metadata_id, value): &(u64, String)| CustomField { metadata_id: *metadata_id, value: value.clone() };
    let validity = validity(&args.validity, config)?;
    Ok(NewOrder {
        order_validity: Some(validity.unwrap_or(Validity { years: Some(1), ..Validity::default() })),
        additional_emails: args.notify.clone(),
        custom_fields: args.custom_field.iter().map(field).collect(),
        payment_method: args.payment_method.clone().or_else(|| defaults.payment_method.clone()),
        container: args.division.or(defaults.division).map(|id| Reference { id }),
        locale: args.locale.clone(),
        product: args.type_hint.clone().map(|type_hint| ProductHint { type_hint }),
        ..NewOrder::default()
    })
}

/// Who gets the mails: a chosen address for a domain is for all ordered names at or below it.
fn mails(chosen: &[(String, String)], names: &[DnsName]) -> Result<Vec<DcvEmail>> {
    let mut all = Vec::new();
    for (domain, email) in chosen {
        let wrong = |message: String| Failure::usage("--email", message);
        let Some((_, email_domain)) = email.split_once('@').filter(|(user, at)| !user.is_empty() && at.contains('.'))
        else {
            return Err(wrong(format!("`{email}` is not an address; write DOMAIN=USER@DOMAIN")));
        };
        let domain = DnsName::parse(domain).map_err(|error| wrong(error.to_string()))?;
        let below: Vec<&DnsName> = names.iter().filter(|name| is_within(name.base(), domain.base())).collect();
        if below.is_empty() {
            return Err(wrong(format!("no ordered name is at or below `{domain}`; give one that is")));
        }
        all.extend(below.into_iter().map(|name| DcvEmail {
            dns_name: name.to_string(),
            email_domain: email_domain.to_ascii_lowercase(),
            email: email.clone(),
        }));
    }
    Ok(all)
}

fn product_of(order: &certcentral::Order) -> Option<String> {
    order.product.as_ref().and_then(|product| product.name_id.clone())
}

/// The names of an order's next certificate: those given, or its present ones with some more and some less.
fn names_of(order: &certcentral::Order, wanted: &args::account::Names) -> Result<Vec<String>> {
    if !wanted.all.is_empty() {
        return Ok(wanted.all.clone());
    }
    let certificate = order.certificate.as_ref();
    let mut names: Vec<String> =
        certificate.and_then(|certificate| certificate.common_name.clone()).into_iter().collect();
    for name in certificate.map(|certificate| certificate.dns_names.as_slice()).unwrap_or_default() {
        if !names.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            names.push(name.clone());
        }
    }
    for name in &wanted.remove {
        let Some(place) = names.iter().position(|known| known.eq_ignore_ascii_case(name)) else {
            let message = format!("`{name}` is not a name of order {}, which has {}", order.id, names.join(", "));
            return Err(Failure::usage("--remove", message));
        };
        names.remove(place);
    }
    names.extend(wanted.add.iter().cloned());
    if names.is_empty() {
        return Err(Failure::usage("names", format!("none would be left of order {}", order.id)));
    }
    Ok(names)
}

/// An organization by its number, or by its name in the account.
pub(crate) async fn organization_number(config: &Config, text: &str) -> Result<OrganizationId> {
    if let Ok(id) = text.parse() {
        return Ok(OrganizationId(id));
    }
    let all = config.client().await?.organizations().await.map_err(|error| refused_key(&error))?;
    let names = |one: &Organization| [one.name.clone(), one.display_name.clone(), one.assumed_name.clone()];
    let is_it = |one: &&Organization| names(one).into_iter().flatten().any(|name| name.eq_ignore_ascii_case(text));
    let active = |one: &&Organization| one.is_active != Some(false);
    match all.iter().filter(is_it).filter(active).collect::<Vec<_>>()[..] {
        [one] => Ok(one.id),
        [] => {
            let known: Vec<String> = all.iter().filter_map(|one| one.name.clone()).collect();
            let near = did_you_mean(text, known.iter().map(String::as_str));
            let message = format!("the account has no active `{text}`{near}; `dcv organization list` shows them");
            Err(Failure::usage("organization", message))
        }
        ref several => {
            let ids: Vec<String> = several.iter().map(|one| one.id.to_string()).collect();
            let message = format!("`{text}` is the name of several: {}; give the number", ids.join(", "));
            Err(Failure::usage("organization", message))
        }
    }
}

/// A TOML file whose fields are the API's.
pub(crate) fn read_toml<T: serde::de::DeserializeOwned>(path: &Path, field: &str) -> Result<T> {
    toml::from_str(&read(path, field)?)
        .map_err(|error| Failure::usage(field, format!("`{}`: {}", path.display(), error.message())))
}

/// Asks CertCentral, before it costs anything, whether the key works and the product can be ordered like this.
pub(crate) async fn check_account(client: &Client, request: &Request) -> Result<()> {
    if request.purpose != Purpose::Order {
        return Ok(());
    }
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
    if request.product == "ssl" || products.is_empty() {
        return Ok(());
    }
    let Some(product) = products.iter().find(|product| product.name_id == request.product) else {
        let near = did_you_mean(&request.product, known());
        let list = known().collect::<Vec<_>>().join(", ");
        let message = format!("`{}` cannot be ordered by this account{near}; it has {list}", request.product);
        return Err(Failure::usage("product", message));
    };
    check_choices(product, &request.order)
}

/// What was chosen against what the product allows, as far as its list entry says.
fn check_choices(product: &Product, order: &NewOrder) -> Result<()> {
    if let (Some(chosen), known) = (&order.certificate.ca_cert_id, &product.allowed_ca_certs)
        && !known.is_empty()
        && !known.iter().any(|ca| ca.id.eq_ignore_ascii_case(chosen))
    {
        let list: Vec<String> =
            known.iter().map(|ca| format!("{} ({})", ca.id, ca.name.as_deref().unwrap_or("no name"))).collect();
        let message = format!("`{chosen}` issues no {}; it has {}", product.name_id, list.join(", "));
        return Err(Failure::usage("--ca-cert", message));
    }
    let years = order.order_validity.as_ref().and_then(|validity| validity.years).filter(|years| *years > 1);
    let allowed = &product.allowed_order_validity_years;
    if let Some(years) = years
        && !allowed.is_empty()
        && !allowed.iter().any(|one| one.parse() == Ok(years))
    {
        let message = format!("{years} years; orders for {} last {} years", product.name_id, allowed.join(" or "));
        return Err(Failure::usage("validity_years", message));
    }
    let hashes =
        product.signature_hash_types.as_ref().map(|types| types.allowed_hash_types.as_slice()).unwrap_or_default();
    let hash = &order.certificate.signature_hash;
    if !hashes.is_empty() && !hashes.iter().any(|one| one.id.eq_ignore_ascii_case(hash)) {
        let list: Vec<&str> = hashes.iter().map(|one| one.id.as_str()).collect();
        let message = format!("`{hash}` is not for {}, which takes {}", product.name_id, list.join(", "));
        return Err(Failure::usage("--signature-hash", message));
    }
    Ok(())
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

fn validity(flags: &args::Validity, config: &Config) -> Result<Option<Validity>> {
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
    fn names_of_an_order_are_kept_but_for_what_is_said() {
        let order: certcentral::Order = serde_json::from_value(serde_json::json!({
            "id": 1, "certificate": {"common_name": "a.example.com", "dns_names": ["a.example.com", "b.example.com"]},
        }))
        .expect("an order");
        let names = |names: &[&str], add: &[&str], remove: &[&str]| {
            let own = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
            let wanted = args::account::Names { all: own(names), add: own(add), remove: own(remove) };
            names_of(&order, &wanted).map_err(|failure| failure.message)
        };
        assert_eq!(names(&[], &[], &[]).unwrap(), ["a.example.com", "b.example.com"]);
        assert_eq!(names(&["c.example.com"], &[], &[]).unwrap(), ["c.example.com"]);
        assert_eq!(names(&[], &["c.example.com"], &["B.example.com"]).unwrap(), ["a.example.com", "c.example.com"]);
        assert!(names(&[], &[], &["x.example.com"]).unwrap_err().starts_with("--remove: `x.example.com`"));
        assert!(names(&[], &[], &["a.example.com", "b.example.com"]).is_err());
    }

    #[test]
    fn mails_go_to_whom_they_were_chosen_for() {
        let names = [DnsName::parse("a.example.com").unwrap(), DnsName::parse("*.example.net").unwrap()];
        let chosen = |domain: &str, email: &str| mails(&[(domain.to_owned(), email.to_owned())], &names);
        let one = chosen("example.com", "admin@example.com").unwrap();
        assert_eq!((one[0].dns_name.as_str(), one[0].email_domain.as_str()), ("a.example.com", "example.com"));
        assert_eq!(chosen("example.net", "x@example.net").unwrap()[0].dns_name, "*.example.net");
        for (domain, email) in [("example.org", "x@example.org"), ("example.com", "x"), ("a b", "x@example.com")] {
            assert!(chosen(domain, email).is_err(), "{domain} {email}");
        }
    }

    #[test]
    fn all_wrong_names_are_told_at_once() {
        let given = ["www.example.com", "a_b.example.com", "10.0.0.1"].map(str::to_owned);
        let message = read_names(&given).expect_err("two are wrong").message;
        assert!(message.starts_with("names: ") && message.contains("a_b") && message.contains("10.0.0.1"), "{message}");
    }
}
