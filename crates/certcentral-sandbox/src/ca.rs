//! The issuing CA: a throw-away root and intermediate, and leaf certificates with the profile of a public OV
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
pub use download::{Download, download};

const ROOT_NAME: &str = "DCV Sandbox Root CA - NOT TRUSTED";
const INTERMEDIATE_NAME: &str = "DCV Sandbox TLS CA 1 - NOT TRUSTED";
/// Both certificates and both keys in one file, so that they are replaced together or not at all.
const FILE: &str = "authority.pem";

const OID_CERTIFICATE_POLICIES: &[u64] = &[2, 5, 29, 32];
/// CA/Browser Forum: organization validated (Baseline Requirements 7.1.6.1).
const OID_ORGANIZATION_VALIDATED: &[u64] = &[2, 23, 140, 1, 2, 2];

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
    #[error("{path}: not a sandbox CA (expected two certificates and two keys); move it away to make a new CA")]
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

/// Root, intermediate and the intermediate's key.
pub struct Authority {
    root_pem: String,
    intermediate_pem: String,
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
    /// A new CA in memory: the root is valid for 20 years from `now`, the intermediate for 10.
    pub fn generate(now: Timestamp) -> Result<Self, Error> {
        Ok(Self::create(now)?.0)
    }

    /// The CA of a directory, made there if there is none. Keys are readable by their owner only.
    pub fn load_or_create(dir: &Path, now: Timestamp) -> Result<Self, Error> {
        let path = dir.join(FILE);
        let failed = |source| Error::File { path: path.clone(), source };
        match fs::read_to_string(&path) {
            Ok(text) => Self::read(&text).ok_or(Error::Content { path }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(dir).map_err(failed)?;
                let (authority, keys) = Self::create(now)?;
                let text = format!("{}{}{keys}", authority.root_pem, authority.intermediate_pem);
                write_private(&path, text.as_bytes()).map_err(failed)?;
                Ok(authority)
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// The CA and the keys of root and intermediate, in PEM.
    fn create(now: Timestamp) -> Result<(Self, String), Error> {
        let root_key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384)?;
        let root_params = ca_params(ROOT_NAME, BasicConstraints::Unconstrained, now, 20)?;
        let root_pem = root_params.self_signed(&root_key)?.pem();
        let keys = root_key.serialize_pem();
        let root = Issuer::new(root_params, root_key);

        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let keys = keys + &key.serialize_pem();
        let mut params = ca_params(INTERMEDIATE_NAME, BasicConstraints::Constrained(0), now, 10)?;
        params.use_authority_key_identifier_extension = true;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.custom_extensions = vec![policies()];
        let intermediate_pem = params.signed_by(&key, &root)?.pem();
        Ok((Self { root_pem, intermediate_pem, issuer: Issuer::new(params, key) }, keys))
    }

    fn read(text: &str) -> Option<Self> {
        let blocks = pem::parse_many(text).ok()?;
        let [root, intermediate, _, key] = blocks.as_slice() else { return None };
        let encode = |block| pem::encode_config(block, pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF));
        let key = KeyPair::from_pem(&encode(key)).ok()?;
        let intermediate_pem = encode(intermediate);
        let issuer = Issuer::from_ca_cert_pem(&intermediate_pem, key).ok()?;
        Some(Self { root_pem: encode(root), intermediate_pem, issuer })
    }

    /// The root certificate.
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }

    /// The certificate that signs leaves.
    pub fn intermediate_pem(&self) -> &str {
        &self.intermediate_pem
    }

    /// Common name of the intermediate.
    pub fn intermediate_name(&self) -> &'static str {
        INTERMEDIATE_NAME
    }

    /// The API's id of the intermediate (`ca_cert.id`): 16 upper case hexadecimal digits, as the vendor's are.
    pub fn intermediate_id(&self) -> String {
        hex(&Sha1::digest(self.intermediate_pem.as_bytes())[..8])
    }

    /// Signs a leaf certificate.
    pub fn issue(&self, request: &IssueRequest<'_>) -> Result<Issued, Error> {
        let mut params = CertificateParams::default();
        set_validity(&mut params, request.not_before, request.not_after)?;
        params.distinguished_name = subject(&request.subject)?;
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
        params.custom_extensions = vec![policies()];
        let certificate = params.signed_by(request.csr, &self.issuer)?;
        Ok(Issued {
            leaf_pem: certificate.pem(),
            serial_number: hex(&serial),
            thumbprint: hex(&Sha1::digest(certificate.der())),
            not_before: request.not_before,
            not_after: request.not_after,
        })
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

fn subject(subject: &Subject<'_>) -> Result<DistinguishedName, Error> {
    let mut name = DistinguishedName::new();
    let country = subject.country.to_ascii_uppercase();
    let printable = country.as_str().try_into();
    let printable = printable.map_err(|_| Error::Value { field: "country", value: country.clone() })?;
    name.push(DnType::CountryName, DnValue::PrintableString(printable));
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

fn policies() -> CustomExtension {
    let content = yasna::construct_der(|writer| {
        writer.write_sequence(|writer| {
            writer.next().write_sequence(|writer| {
                writer.next().write_oid(&yasna::models::ObjectIdentifier::from_slice(OID_ORGANIZATION_VALIDATED));
            });
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

fn hex(bytes: &[u8]) -> String {
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
