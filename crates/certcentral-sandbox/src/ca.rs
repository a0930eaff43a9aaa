//! The issuing CA: a throw-away root and intermediates, and leaf certificates with the profile of a public OV
//! certificate (Baseline Requirements 7.1.2.7). Decides what a certificate says; whether one may be issued is decided
//! before. Reading CSRs is in `ca/csr.rs`, the download formats are in `ca/download.rs`.

mod csr;
mod download;

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, DnValue, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, SanType, SerialNumber,
};
use sha1::{Digest, Sha1};

use crate::clock::later;

pub use csr::{Csr, CsrError, KeyAlgorithm};
pub(crate) use download::crlf;
pub use download::{Download, download};

const ROOT_NAME: &str = "DCV Sandbox Root CA - NOT TRUSTED";
/// Common name, whether the key is P-384 rather than P-256, whether it is for private products. The first is the usual
/// one; new ones go to the end.
const ISSUING: [(&str, bool, bool); 3] = [
    ("DCV Sandbox TLS CA 1 - NOT TRUSTED", false, false),
    ("DCV Sandbox TLS CA 2 - NOT TRUSTED", true, false),
    ("DCV Sandbox Private TLS CA 1 - NOT TRUSTED", false, true),
];
/// All certificates and keys in one file, so that they are replaced together or not at all.
const FILE: &str = "authority.pem";

const OID_CERTIFICATE_POLICIES: &[u64] = &[2, 5, 29, 32];
/// CA/Browser Forum: organization validated (Baseline Requirements 7.1.6.1).
const OID_ORGANIZATION_VALIDATED: &[u64] = &[2, 23, 140, 1, 2, 2];
/// CA/Browser Forum: extended validation.
const OID_EXTENDED_VALIDATED: &[u64] = &[2, 23, 140, 1, 1];
const OID_SERIAL_NUMBER: &[u64] = &[2, 5, 4, 5];
const OID_BUSINESS_CATEGORY: &[u64] = &[2, 5, 4, 15];
const OID_JURISDICTION_COUNTRY: &[u64] = &[1, 3, 6, 1, 4, 1, 311, 60, 2, 1, 3];

/// Why the CA cannot sign or cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The key file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The key file is not one of ours.
    #[error("{path}: not a sandbox CA (expected certificates and as many keys); move it away to make a new CA")]
    Content {
        /// The file.
        path: PathBuf,
    },
    /// A value does not fit into a certificate.
    #[error("{field} '{value}' does not fit into a certificate")]
    Value {
        /// Name of the field.
        field: &'static str,
        /// The value as given.
        value: String,
    },
    /// Encoding or signing failed.
    #[error("signing failed: {0}")]
    Sign(#[from] rcgen::Error),
    /// The system has no randomness.
    #[error("no randomness from the system")]
    Random,
}

/// The root, and the intermediates that sign leaves.
pub struct Authority {
    root_pem: String,
    issuing: Vec<Issuing>,
}

/// An intermediate with its key.
pub struct Issuing {
    name: &'static str,
    /// Whether it is for private products.
    private: bool,
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// Subject of a leaf certificate.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// CN, one of the DNS names.
    pub common_name: &'a str,
    /// O.
    pub organization: &'a str,
    /// L; left out if empty.
    pub city: &'a str,
    /// ST; left out if empty.
    pub state: &'a str,
    /// C, two letters.
    pub country: &'a str,
}

/// What an EV certificate says of its subject beside the rest (EV Guidelines 7.1.4.2).
#[derive(Clone, Copy, Debug)]
pub struct Extended<'a> {
    /// Number in the register of companies.
    pub registration_number: &'a str,
    /// Country of that register, two letters.
    pub jurisdiction: &'a str,
}

/// What to sign.
#[derive(Clone, Copy, Debug)]
pub struct IssueRequest<'a> {
    /// Whose key it is. Nothing but the key is taken from it.
    pub csr: &'a Csr,
    /// Subject as validated.
    pub subject: Subject<'a>,
    /// Names as validated, A-labels, `*.` allowed.
    pub dns_names: &'a [String],
    /// First second of validity.
    pub not_before: Timestamp,
    /// Last second of validity.
    pub not_after: Timestamp,
    /// `signature_hash` of the order. An ECDSA CA signs with the hash of its curve, so this one always signs with
    /// SHA-256 whatever is asked for.
    pub signature_hash: &'a str,
    /// Whether the extended key usage is only serverAuth, or clientAuth too.
    pub server_auth_only: bool,
    /// What an EV certificate says beside that; none for OV.
    pub extended: Option<Extended<'a>>,
}

/// A certificate that was signed.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The certificate.
    pub leaf_pem: String,
    /// Upper case hexadecimal digits.
    pub serial_number: String,
    /// SHA-1 of the DER form, upper case hexadecimal digits.
    pub thumbprint: String,
    /// First second of validity.
    pub not_before: Timestamp,
    /// Last second of validity.
    pub not_after: Timestamp,
}

impl Authority {
    /// A new CA in memory: the root is valid for 20 years from `now`, the intermediates for 10.
    pub fn generate(now: Timestamp) -> Result<Self, Error> {
        Ok(Self::create(now)?.0)
    }

    /// The CA of a directory, made there if there is none. Keys are readable by their owner only.
    pub fn load_or_create(dir: &Path, now: Timestamp) -> Result<Self, Error> {
        let path = dir.join(FILE);
        let failed = |source| Error::File { path: path.clone(), source };
        match fs::read_to_string(&path) {
            Ok(text) => {
                let content = || Error::Content { path: path.clone() };
                let mut file = File::read(&text).ok_or_else(content)?;
                // A directory of an older sandbox has fewer intermediates.
                let added = file.complete(now).map_err(|_| content())?;
                let authority = file.authority().map_err(|_| content())?;
                if added {
                    write_private(&path, file.text().as_bytes()).map_err(failed)?;
                }
                Ok(authority)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(dir).map_err(failed)?;
                let (authority, file) = Self::create(now)?;
                write_private(&path, file.text().as_bytes()).map_err(failed)?;
                Ok(authority)
            }
            Err(error) => Err(failed(error)),
        }
    }

    fn create(now: Timestamp) -> Result<(Self, File), Error> {
        let root_key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384)?;
        let root = ca_params(ROOT_NAME, BasicConstraints::Unconstrained, now, 20)?.self_signed(&root_key)?.pem();
        let mut file = File { certificates: vec![root], keys: vec![root_key.serialize_pem()] };
        file.complete(now)?;
        Ok((file.authority()?, file))
    }

    /// The root certificate.
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }

    /// The certificate that signs leaves if nothing else is asked for.
    pub fn intermediate_pem(&self) -> &str {
        self.issuing[0].pem()
    }

    /// The API's id of that certificate.
    pub fn intermediate_id(&self) -> String {
        self.issuing[0].id()
    }

    /// All intermediates, the usual one first.
    pub fn issuing(&self) -> &[Issuing] {
        &self.issuing
    }

    /// The intermediate with this id; the usual one if there is none.
    pub fn issuing_with(&self, id: &str) -> &Issuing {
        self.issuing.iter().find(|one| one.id() == id).unwrap_or(&self.issuing[0])
    }

    /// Signs a leaf certificate with the usual intermediate.
    pub fn issue(&self, request: &IssueRequest<'_>) -> Result<Issued, Error> {
        self.issuing[0].issue(request)
    }
}

impl Issuing {
    /// Its certificate.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Its common name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Whether it signs for private products, and not for public ones.
    pub fn is_private(&self) -> bool {
        self.private
    }

    /// The API's id (`ca_cert.id`): 16 upper case hexadecimal digits, as the vendor's are.
    pub fn id(&self) -> String {
        hex(&Sha1::digest(self.pem.as_bytes())[..8])
    }

    /// Signs a leaf certificate.
    pub fn issue(&self, request: &IssueRequest<'_>) -> Result<Issued, Error> {
        let mut params = CertificateParams::default();
        set_validity(&mut params, request.not_before, request.not_after)?;
        params.distinguished_name = subject(&request.subject, request.extended.as_ref())?;
        for name in request.dns_names {
            let value = name.as_str().try_into();
            let value = value.map_err(|_| Error::Value { field: "dns_names", value: name.clone() })?;
            params.subject_alt_names.push(SanType::DnsName(value));
        }
        let serial = serial()?;
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = match request.csr.key_algorithm {
            KeyAlgorithm::Rsa => vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment],
            KeyAlgorithm::EcP256 | KeyAlgorithm::EcP384 => vec![KeyUsagePurpose::DigitalSignature],
        };
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        if !request.server_auth_only {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
        }
        params.use_authority_key_identifier_extension = true;
        let policy = if request.extended.is_some() { OID_EXTENDED_VALIDATED } else { OID_ORGANIZATION_VALIDATED };
        params.custom_extensions = vec![policies(&[policy])];
        let certificate = params.signed_by(request.csr, &self.issuer)?;
        Ok(Issued {
            leaf_pem: certificate.pem(),
            serial_number: hex(&serial),
            thumbprint: thumbprint(certificate.der()),
            not_before: request.not_before,
            not_after: request.not_after,
        })
    }
}

/// What [`FILE`] holds, in PEM: the root and the intermediates, and their keys in the same order.
struct File {
    certificates: Vec<String>,
    keys: Vec<String>,
}

impl File {
    fn read(text: &str) -> Option<Self> {
        let encode =
            |block: &pem::Pem| pem::encode_config(block, pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF));
        let blocks = pem::parse_many(text).ok()?;
        let (certificates, keys): (Vec<_>, Vec<_>) = blocks.iter().partition(|block| block.tag() == "CERTIFICATE");
        let file = Self {
            certificates: certificates.into_iter().map(encode).collect(),
            keys: keys.into_iter().map(encode).collect(),
        };
        (file.certificates.len() == file.keys.len() && file.keys.len() >= 2).then_some(file)
    }

    fn text(&self) -> String {
        self.certificates.iter().chain(&self.keys).map(String::as_str).collect()
    }

    /// Makes the intermediates that are missing; whether there were any.
    fn complete(&mut self, now: Timestamp) -> Result<bool, Error> {
        let missing = ISSUING.get(self.keys.len() - 1..).unwrap_or_default();
        if missing.is_empty() {
            return Ok(false);
        }
        let root = Issuer::from_ca_cert_pem(&self.certificates[0], KeyPair::from_pem(&self.keys[0])?)?;
        for (name, large, _) in missing {
            let algorithm = if *large { &PKCS_ECDSA_P384_SHA384 } else { &PKCS_ECDSA_P256_SHA256 };
            let key = KeyPair::generate_for(algorithm)?;
            let mut params = ca_params(name, BasicConstraints::Constrained(0), now, 10)?;
            params.use_authority_key_identifier_extension = true;
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
            params.custom_extensions = vec![policies(&[OID_ORGANIZATION_VALIDATED, OID_EXTENDED_VALIDATED])];
            self.certificates.push(params.signed_by(&key, &root)?.pem());
            self.keys.push(key.serialize_pem());
        }
        Ok(true)
    }

    fn authority(&self) -> Result<Authority, Error> {
        let pairs = self.certificates.iter().zip(&self.keys).skip(1);
        let issuing = pairs.zip(ISSUING).map(|((pem, key), (name, _, private))| {
            let issuer = Issuer::from_ca_cert_pem(pem, KeyPair::from_pem(key)?)?;
            Ok::<_, Error>(Issuing { name, private, pem: pem.clone(), issuer })
        });
        Ok(Authority { root_pem: self.certificates[0].clone(), issuing: issuing.collect::<Result<_, _>>()? })
    }
}

fn ca_params(
    name: &str,
    constraints: BasicConstraints,
    now: Timestamp,
    years: i64,
) -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::default();
    // A day back, for whoever's clock is behind.
    set_validity(&mut params, later(now, -86_400), later(now, years * 365 * 86_400))?;
    params.serial_number = Some(SerialNumber::from_slice(&serial()?));
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, "DCV Sandbox");
    subject.push(DnType::CommonName, name);
    params.distinguished_name = subject;
    params.is_ca = IsCa::Ca(constraints);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn subject(subject: &Subject<'_>, extended: Option<&Extended<'_>>) -> Result<DistinguishedName, Error> {
    let printable = |field: &'static str, text: &str| match text.try_into() {
        Ok(text) => Ok(DnValue::PrintableString(text)),
        Err(_) => Err(Error::Value { field, value: text.to_owned() }),
    };
    let mut name = DistinguishedName::new();
    if let Some(extended) = extended {
        let custom = |oid: &[u64]| DnType::CustomDnType(oid.to_vec());
        name.push(custom(OID_BUSINESS_CATEGORY), "Private Organization");
        let country = extended.jurisdiction.to_ascii_uppercase();
        name.push(custom(OID_JURISDICTION_COUNTRY), printable("jurisdiction", &country)?);
        name.push(custom(OID_SERIAL_NUMBER), printable("registration_number", extended.registration_number)?);
    }
    name.push(DnType::CountryName, printable("country", &subject.country.to_ascii_uppercase())?);
    let rest = [
        (DnType::StateOrProvinceName, subject.state),
        (DnType::LocalityName, subject.city),
        (DnType::OrganizationName, subject.organization),
        (DnType::CommonName, subject.common_name),
    ];
    for (kind, value) in rest.into_iter().filter(|(_, value)| !value.is_empty()) {
        name.push(kind, value);
    }
    Ok(name)
}

fn policies(oids: &[&[u64]]) -> CustomExtension {
    let content = yasna::construct_der(|writer| {
        writer.write_sequence(|writer| {
            for oid in oids {
                writer.next().write_sequence(|writer| {
                    writer.next().write_oid(&yasna::models::ObjectIdentifier::from_slice(oid));
                });
            }
        });
    });
    CustomExtension::from_oid_content(OID_CERTIFICATE_POLICIES, content)
}

/// 16 random bytes, positive and without a leading zero, so that the hexadecimal form is the DER form.
fn serial() -> Result<[u8; 16], Error> {
    let mut bytes = [0; 16];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes).map_err(|_| Error::Random)?;
    bytes[0] = bytes[0] & 0x3f | 0x40;
    Ok(bytes)
}

fn set_validity(params: &mut CertificateParams, from: Timestamp, to: Timestamp) -> Result<(), Error> {
    let since_epoch = |at: Timestamp| match u64::try_from(at.as_second()) {
        Ok(seconds) => Ok(Duration::from_secs(seconds)),
        Err(_) => Err(Error::Value { field: "validity", value: at.to_string() }),
    };
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + since_epoch(from)?;
    params.not_after = epoch + since_epoch(to)?;
    Ok(())
}

/// SHA-1 of a certificate in DER, as the API shows it.
pub(crate) fn thumbprint(der: &[u8]) -> String {
    hex(&Sha1::digest(der))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from(b"0123456789ABCDEF"[usize::from(value)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)]).collect()
}

/// Written beside its place and moved there, never readable by others.
fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    use io::Write;
    let beside = path.with_extension("pem.new");
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&beside)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&beside, path)
}
