//! The certificate that came home: is it ours, in which order does its chain stand, and the files a server reads.
//!
//! CertCentral sends PEM in several formats (`pem_all`: leaf, intermediates, root; `default_pem`: the other way round)
//! and has been seen to send the certificate of another order when several were fetched quickly. So the leaf is found
//! by the links between the certificates, and [`Chain::verify_leaf`] compares its key and names with what was ordered
//! before anything is written. Whether clients trust the root is left to them.
//!
//! Sources: RFC 5280 sections 4.1 and 6.1, RFC 7468 (PEM), RFC 8446 section 4.4.2 (order of a chain).

use std::{fmt, io, path::Path};

use jiff::Timestamp;
use x509_parser::{certificate::X509Certificate, error::X509Error, extensions::GeneralName, prelude::FromDer};

use crate::{
    key::{Csr, PrivateKey, encode, fault, files, printable},
    name::DnsName,
};

/// The private key's file in the folder of a certificate, for its owner only.
pub const KEY_FILE: &str = "privkey.pem";
/// The certificate alone.
pub const CERT_FILE: &str = "cert.pem";
/// The intermediates, without the root.
pub const CHAIN_FILE: &str = "chain.pem";
/// The certificate and the intermediates: what a server sends.
pub const FULLCHAIN_FILE: &str = "fullchain.pem";

/// Why certificates cannot be used. The text is one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// No PEM, damaged PEM, or no certificate in it.
    #[error("this is no certificate in PEM ({0}); fetch it in the format pem_all or pem_noroot")]
    NotPem(String),
    /// A certificate could not be parsed.
    #[error("certificate {position} of {count} is damaged ({why}); fetch it again")]
    Damaged {
        /// Counted from 1.
        position: usize,
        /// How many there are.
        count: usize,
        /// What the parser says.
        why: String,
    },
    /// Which one is the leaf cannot be told.
    #[error("{} end-entity certificates came where one is expected ({}); fetch one certificate at a time", .0.len(), .0.join("; "))]
    NotOneLeaf(Vec<String>),
    /// The leaf has another key than the CSR.
    #[error(
        "the CA sent the certificate of another order: {certificate} is for another key than the CSR's; fetch it again by its certificate id"
    )]
    OtherKey {
        /// Subject and serial of what came.
        certificate: String,
    },
    /// The leaf lacks names.
    #[error("{certificate} lacks {missing}, which {verb} ordered (it is for {present}); ask the CA for a reissue with all names",
        missing = missing.join(", "), verb = if missing.len() == 1 { "is" } else { "are" },
        present = if present.is_empty() { "no names".to_owned() } else { present.join(", ") })]
    MissingNames {
        /// Subject and serial of what came.
        certificate: String,
        /// Ordered, not in it.
        missing: Vec<String>,
        /// In it.
        present: Vec<String>,
    },
    /// The leaf's time is over.
    #[error("{certificate} expired at {not_after}; order a new one")]
    Expired {
        /// Subject and serial of what came.
        certificate: String,
        /// When.
        not_after: Timestamp,
    },
    /// No certificate of the set has signed the leaf.
    #[error(
        "{certificate} came without the intermediate certificate that signed it ({issuer}); fetch it in the format pem_all or pem_noroot"
    )]
    NoIntermediate {
        /// Subject and serial of what came.
        certificate: String,
        /// The name of the missing one.
        issuer: String,
    },
}

/// A certificate with the certificates that lead to its root: the leaf first, each signed by the next.
#[derive(Clone, PartialEq, Eq)]
pub struct Chain {
    leaf: Certificate,
    intermediates: Vec<Certificate>,
    /// Only a root that came along.
    root: Option<Certificate>,
}

/// The texts of the files a server reads, with `\n` at line ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// [`CERT_FILE`].
    pub cert: String,
    /// [`CHAIN_FILE`].
    pub chain: String,
    /// [`FULLCHAIN_FILE`].
    pub fullchain: String,
}

impl Chain {
    /// Reads certificates in any order, with any line ends, and with any text or other PEM blocks between them.
    /// Certificates that do not belong to the leaf's chain are left out.
    ///
    /// # Errors
    /// [`ChainError::NotPem`], [`ChainError::Damaged`], [`ChainError::NotOneLeaf`].
    pub fn from_pem(pem: &[u8]) -> Result<Self, ChainError> {
        if pem.starts_with(b"PK") {
            return Err(ChainError::NotPem("it is a ZIP archive".to_owned()));
        }
        let blocks = pem::parse_many(pem).map_err(|e| ChainError::NotPem(fault(&e).to_owned()))?;
        let ders: Vec<&[u8]> = blocks
            .iter()
            .filter(|block| matches!(block.tag(), "CERTIFICATE" | "X509 CERTIFICATE"))
            .map(pem::Pem::contents)
            .collect();
        if ders.is_empty() {
            return Err(ChainError::NotPem("there is no -----BEGIN CERTIFICATE----- in it".to_owned()));
        }
        let mut pool: Vec<Certificate> = Vec::new();
        for (index, der) in ders.iter().enumerate() {
            let (position, count) = (index + 1, ders.len());
            let certificate = Certificate::from_der(der).map_err(|why| ChainError::Damaged { position, count, why })?;
            if !pool.contains(&certificate) {
                pool.push(certificate);
            }
        }
        let leaf = take_leaf(&mut pool)?;
        let (mut intermediates, mut root) = (Vec::new(), None);
        let mut last = leaf.clone();
        while !last.is_self_issued() {
            // A cross-signed intermediate leads on, a root does not: take the root only when nothing else fits.
            let signers = || pool.iter().enumerate().filter(|(_, other)| other.has_signed(&last));
            let Some(at) = signers().min_by_key(|(_, other)| other.is_self_issued()).map(|(at, _)| at) else { break };
            last = pool.swap_remove(at);
            if last.is_self_issued() {
                root = Some(last.clone());
            } else {
                intermediates.push(last.clone());
            }
        }
        Ok(Self { leaf, intermediates, root })
    }

    /// Compares the leaf with what was ordered: same key as the CSR, every name there, not expired, and its issuer came
    /// along. Names beyond those ordered are fine: CertCentral adds `example.com` to `www.example.com` for free.
    ///
    /// # Errors
    /// The first difference, most telling first.
    pub fn verify_leaf(&self, csr: &Csr, names: &[DnsName]) -> Result<(), ChainError> {
        self.verify_leaf_at(csr, names, Timestamp::now())
    }

    /// [`verify_leaf`](Self::verify_leaf) as of another time than now.
    ///
    /// # Errors
    /// The first difference, most telling first.
    pub fn verify_leaf_at(&self, csr: &Csr, names: &[DnsName], now: Timestamp) -> Result<(), ChainError> {
        let certificate = self.leaf.to_string();
        if self.leaf.public_key != csr.public_key() {
            return Err(ChainError::OtherKey { certificate });
        }
        let present = &self.leaf.names;
        let missing: Vec<String> =
            names.iter().map(ToString::to_string).filter(|name| !present.contains(name)).collect();
        if !missing.is_empty() {
            return Err(ChainError::MissingNames { certificate, missing, present: present.clone() });
        }
        if self.leaf.not_after < now {
            return Err(ChainError::Expired { certificate, not_after: self.leaf.not_after });
        }
        if self.intermediates.is_empty() && self.root.is_none() && !self.leaf.is_self_issued() {
            return Err(ChainError::NoIntermediate { certificate, issuer: self.leaf.issuer_text.clone() });
        }
        Ok(())
    }

    /// Whether the leaf is for this key.
    pub fn matches_key(&self, key: &PrivateKey) -> bool {
        self.leaf.public_key == key.public_key()
    }

    /// The serial number of the leaf in hexadecimal, upper case, as CertCentral writes it.
    pub fn serial(&self) -> String {
        self.leaf.serial.clone()
    }

    /// From when the leaf is valid.
    pub fn not_before(&self) -> Timestamp {
        self.leaf.not_before
    }

    /// Until when the leaf is valid, that second included.
    pub fn not_after(&self) -> Timestamp {
        self.leaf.not_after
    }

    /// The DNS names the leaf is for, in lower case and in its own order.
    pub fn names(&self) -> &[String] {
        &self.leaf.names
    }

    /// The SHA-1 of the leaf in hexadecimal, upper case: by this name CertCentral knows certificates.
    pub fn thumbprint(&self) -> String {
        let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, &self.leaf.der);
        hex(digest.as_ref())
    }

    /// The leaf in PEM.
    pub fn cert_pem(&self) -> String {
        self.leaf.pem()
    }

    /// The intermediates in PEM, without the root; empty when the root signed the leaf itself.
    pub fn chain_pem(&self) -> String {
        self.intermediates.iter().map(Certificate::pem).collect()
    }

    /// The leaf and the intermediates in PEM: what a server sends.
    pub fn fullchain_pem(&self) -> String {
        self.cert_pem() + &self.chain_pem()
    }

    /// The texts of all files.
    pub fn files(&self) -> Files {
        Files { cert: self.cert_pem(), chain: self.chain_pem(), fullchain: self.fullchain_pem() }
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = std::iter::once(&self.leaf).chain(&self.intermediates).chain(&self.root);
        f.debug_list().entries(all.map(ToString::to_string)).finish()
    }
}

/// Writes [`KEY_FILE`] (when a key is given), [`CERT_FILE`], [`CHAIN_FILE`] and [`FULLCHAIN_FILE`] into `dir`, which is
/// made when missing. All are on disk before the first one takes its place; on an error before that nothing has changed
/// and nothing is left behind.
///
/// # Errors
/// What the system says, with the path; and [`io::ErrorKind::InvalidInput`] when the key is not the certificate's.
pub fn write_set(dir: &Path, key: Option<&PrivateKey>, chain: &Chain) -> io::Result<()> {
    if key.is_some_and(|key| !chain.matches_key(key)) {
        let message = format!("the key is not the one of {}; nothing was written to {}", chain.leaf, dir.display());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    std::fs::create_dir_all(dir).map_err(|e| files::at(dir, e))?;
    let texts = chain.files();
    let mut staged = files::Staged::default();
    if let Some(key) = key {
        key.stage(&mut staged, &dir.join(KEY_FILE))?;
    }
    for (name, text) in [(CERT_FILE, &texts.cert), (CHAIN_FILE, &texts.chain), (FULLCHAIN_FILE, &texts.fullchain)] {
        staged.add(&dir.join(name), text.as_bytes(), files::PUBLIC)?;
    }
    staged.commit()
}

/// What is needed of one certificate, so that it is parsed once.
#[derive(Clone, PartialEq, Eq)]
struct Certificate {
    der: Vec<u8>,
    subject: Vec<u8>,
    issuer: Vec<u8>,
    subject_text: String,
    issuer_text: String,
    is_ca: bool,
    serial: String,
    not_before: Timestamp,
    not_after: Timestamp,
    names: Vec<String>,
    /// The BIT STRING only: encoders differ in the parameters of the algorithm.
    public_key: Vec<u8>,
}

impl Certificate {
    fn from_der(der: &[u8]) -> Result<Self, String> {
        let (rest, parsed) = X509Certificate::from_der(der).map_err(|e| e.to_string())?;
        if !rest.is_empty() {
            return Err(format!("{} octets too many at its end", rest.len()));
        }
        let time = |time: x509_parser::time::ASN1Time| {
            Timestamp::from_second(time.timestamp()).map_err(|e| format!("its validity: {e}"))
        };
        let names = match parsed.subject_alternative_name().map_err(|e| e.to_string())? {
            Some(san) => san.value.general_names.iter().filter_map(dns_name).collect(),
            // Without the extension a certificate is for no name (RFC 6125 section 6.4.4, CN is no fall-back any more).
            None => Vec::new(),
        };
        let serial = parsed.raw_serial();
        Ok(Self {
            der: der.to_vec(),
            subject: parsed.subject().as_raw().to_vec(),
            issuer: parsed.issuer().as_raw().to_vec(),
            subject_text: printable(&parsed.subject().to_string()),
            issuer_text: printable(&parsed.issuer().to_string()),
            is_ca: parsed.is_ca(),
            // The sign octet is not part of the number.
            serial: hex(serial.strip_prefix(&[0]).filter(|rest| !rest.is_empty()).unwrap_or(serial)),
            not_before: time(parsed.validity().not_before)?,
            not_after: time(parsed.validity().not_after)?,
            names,
            public_key: parsed.public_key().subject_public_key.data.to_vec(),
        })
    }

    fn is_self_issued(&self) -> bool {
        self.subject == self.issuer
    }

    /// Whether `other` names this certificate as its issuer and bears its signature. A signature of a kind unknown here
    /// (P-521) is taken on trust: what is decided is only the order of the files.
    fn has_signed(&self, other: &Certificate) -> bool {
        if self.subject != other.issuer || self.der == other.der {
            return false;
        }
        let parse = |der| X509Certificate::from_der(der).map(|(_, parsed)| parsed);
        let (Ok(issuer), Ok(signed)) = (parse(&self.der), parse(&other.der)) else { return false };
        matches!(
            signed.verify_signature(Some(issuer.public_key())),
            Ok(()) | Err(X509Error::SignatureUnsupportedAlgorithm)
        )
    }

    fn pem(&self) -> String {
        encode("CERTIFICATE", self.der.clone())
    }
}

impl fmt::Display for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subject = if self.subject_text.is_empty() { "without a subject" } else { &self.subject_text };
        write!(f, "certificate {} ({subject})", self.serial)
    }
}

/// The certificate that is no CA; failing that, the only one that has signed no other.
fn take_leaf(pool: &mut Vec<Certificate>) -> Result<Certificate, ChainError> {
    let end_entities: Vec<usize> = (0..pool.len()).filter(|at| !pool[*at].is_ca).collect();
    let candidates = match end_entities.len() {
        0 => (0..pool.len()).filter(|at| !pool.iter().any(|other| pool[*at].has_signed(other))).collect(),
        _ => end_entities,
    };
    match candidates[..] {
        [at] => Ok(pool.swap_remove(at)),
        _ => Err(ChainError::NotOneLeaf(candidates.iter().map(|at| pool[*at].to_string()).collect())),
    }
}

fn dns_name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(dns) => Some(printable(&dns.to_ascii_lowercase())),
        _ => None,
    }
}

fn hex(octets: &[u8]) -> String {
    use fmt::Write;
    octets.iter().fold(String::with_capacity(2 * octets.len()), |mut text, octet| {
        let _ = write!(text, "{octet:02X}");
        text
    })
}
