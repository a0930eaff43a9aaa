//! Private keys and certificate signing requests (CSRs).
//!
//! A key is made here or read from any unencrypted PEM file; a CSR is made from it, or comes from elsewhere and is
//! looked through before it costs an order: a broken signature, a key or hash no public CA accepts, names that are not
//! ordered. Whether a key is known to be compromised is left to the CA.
//!
//! Making an RSA key takes up to seconds of one CPU; call it from `spawn_blocking` in a server.
//!
//! Sources: RFC 2986 (PKCS #10), RFC 5208 (PKCS #8), RFC 5915 (SEC1), RFC 8017 (PKCS #1); Baseline Requirements 6.1.5
//! (key sizes), 6.1.6 (parameters) and 7.1.3.2 (signature algorithms).

pub(crate) mod files;

use std::{collections::BTreeSet, fmt, io, path::Path, str::FromStr};

use pem::Pem;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384,
    PKCS_RSA_SHA256, PublicKeyData, SanType, SignatureAlgorithm,
};
use rsa::{
    RsaPrivateKey,
    pkcs1::DecodeRsaPrivateKey,
    pkcs8::{
        AlgorithmIdentifierRef, EncodePrivateKey, ObjectIdentifier, PrivateKeyInfo,
        der::{
            self, Decode, Encode, Reader,
            asn1::{BitStringRef, ContextSpecific, OctetStringRef},
        },
    },
    traits::PublicKeyParts,
};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use x509_parser::{
    certification_request::X509CertificationRequest,
    extensions::{GeneralName, ParsedExtension},
    prelude::FromDer,
    public_key::PublicKey,
    x509::SubjectPublicKeyInfo,
};
use zeroize::Zeroizing;

use crate::name::DnsName;

const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");

/// What is wrong with a key or a CSR. The text is one line: what is wrong and the way out; it never holds key material.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Not one of the kinds that can be made.
    #[error("`{0}` is no kind of key; use ecdsa-p256, ecdsa-p384, rsa2048, rsa3072 or rsa4096")]
    UnknownKind(String),
    /// The PEM holds something else, or nothing.
    #[error("{expected} is expected, but {found}")]
    NotExpected {
        /// "a private key in PEM" or the like.
        expected: &'static str,
        /// What was found instead, and the way out.
        found: String,
    },
    /// The private key is protected by a passphrase.
    #[error("the private key is encrypted; write it without a passphrase first: openssl pkey -in KEY -out KEY.plain")]
    Encrypted,
    /// The private key cannot be used.
    #[error("the private key cannot be used: {0}")]
    Unusable(String),
    /// The CSR is not one, byte for byte.
    #[error("the CSR is broken ({0}); make it anew and copy all of it, from -----BEGIN to -----END")]
    BrokenCsr(String),
    /// The CSR is not signed by its own key.
    #[error("the CSR's signature does not fit its key, so it was changed or cut off; make it anew")]
    BadSignature,
    /// The CSR's signature algorithm is not accepted.
    #[error(
        "the CSR is signed with {0}, which no CA accepts any more; make it anew with SHA-256 (openssl req -sha256)"
    )]
    WeakSignature(String),
    /// The CSR's key is not accepted.
    #[error("the CSR's key is {0}; make a new key: ecdsa-p256, or RSA of 2048 to 8192 bits")]
    WeakKey(String),
    /// The CSR names hosts that are not ordered. The CA takes the names from the order and would leave these out.
    #[error("the CSR also names {extra}, which {verb} not ordered{missing}; order them too or make a CSR without them",
        extra = extra.join(", "),
        verb = if extra.len() == 1 { "is" } else { "are" },
        missing = if missing.is_empty() { String::new() } else { format!(", and lacks {}", missing.join(", ")) })]
    OtherNames {
        /// In the CSR, not ordered.
        extra: Vec<String>,
        /// Ordered, not in the CSR. Alone that is no error.
        missing: Vec<String>,
    },
    /// The CSR could not be made.
    #[error("the CSR could not be made: {0}")]
    NotMade(String),
}

/// Kinds of private keys that can be made here.
///
/// ```
/// use dcv_core::key::KeyKind;
///
/// assert_eq!("rsa3072".parse::<KeyKind>()?, KeyKind::Rsa3072);
/// assert_eq!(KeyKind::default().to_string(), "ecdsa-p256");
/// # Ok::<(), dcv_core::key::KeyError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum KeyKind {
    /// ECDSA on NIST P-256: small, fast, known to every client of the last ten years.
    #[default]
    EcdsaP256,
    /// ECDSA on NIST P-384.
    EcdsaP384,
    /// RSA with 2048 bits, for old clients.
    Rsa2048,
    /// RSA with 3072 bits.
    Rsa3072,
    /// RSA with 4096 bits.
    Rsa4096,
}

impl KeyKind {
    /// All kinds, the default first.
    pub const ALL: [KeyKind; 5] = [Self::EcdsaP256, Self::EcdsaP384, Self::Rsa2048, Self::Rsa3072, Self::Rsa4096];
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::EcdsaP256 => "ecdsa-p256",
            Self::EcdsaP384 => "ecdsa-p384",
            Self::Rsa2048 => "rsa2048",
            Self::Rsa3072 => "rsa3072",
            Self::Rsa4096 => "rsa4096",
        })
    }
}

/// Case and hyphens do not matter; `p256` and `rsa-2048` are understood too.
impl FromStr for KeyKind {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let plain = text.to_ascii_lowercase().replace(['-', '_'], "");
        let is = |kind: &KeyKind| {
            let name = kind.to_string().replace('-', "");
            plain == name || name.strip_prefix("ecdsa").is_some_and(|curve| plain == curve)
        };
        Self::ALL.into_iter().find(is).ok_or_else(|| KeyError::UnknownKind(text.to_owned()))
    }
}

impl TryFrom<String> for KeyKind {
    type Error = KeyError;

    fn try_from(text: String) -> Result<Self, KeyError> {
        text.parse()
    }
}

impl From<KeyKind> for String {
    fn from(kind: KeyKind) -> Self {
        kind.to_string()
    }
}

/// What a public key is: also those that cannot be made here, but come in CSRs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PublicKeyKind {
    /// RSA, with the size of the modulus.
    Rsa {
        /// Bits of the modulus.
        bits: usize,
    },
    /// ECDSA on NIST P-256.
    EcdsaP256,
    /// ECDSA on NIST P-384.
    EcdsaP384,
    /// ECDSA on NIST P-521.
    EcdsaP521,
}

impl fmt::Display for PublicKeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rsa { bits } => write!(f, "RSA, {bits} bits"),
            Self::EcdsaP256 => f.write_str("ECDSA P-256"),
            Self::EcdsaP384 => f.write_str("ECDSA P-384"),
            Self::EcdsaP521 => f.write_str("ECDSA P-521"),
        }
    }
}

// ---- private keys

/// A private key that can sign a CSR. `Debug` shows its kind only; its bytes are wiped when it is dropped.
pub struct PrivateKey {
    pkcs8: Zeroizing<Vec<u8>>,
    algorithm: &'static SignatureAlgorithm,
    kind: PublicKeyKind,
    /// The public key as it stands in the BIT STRING of a SubjectPublicKeyInfo.
    public_key: Vec<u8>,
    spki: Vec<u8>,
}

impl PrivateKey {
    /// Makes a new key from the system's random source. RSA takes 0.1 s to several seconds.
    ///
    /// # Errors
    /// Only when the system gives no random numbers.
    pub fn generate(kind: KeyKind) -> Result<Self, KeyError> {
        let ecdsa = |algorithm| {
            let pair = KeyPair::generate_for(algorithm).map_err(|e| KeyError::Unusable(e.to_string()))?;
            Ok(Zeroizing::new(pair.serialize_der()))
        };
        let rsa = |bits| {
            let key = RsaPrivateKey::new(&mut rsa::rand_core::OsRng, bits).map_err(unusable)?;
            Ok(Zeroizing::new(key.to_pkcs8_der().map_err(unusable)?.as_bytes().to_vec()))
        };
        Self::from_pkcs8(match kind {
            KeyKind::EcdsaP256 => ecdsa(&PKCS_ECDSA_P256_SHA256),
            KeyKind::EcdsaP384 => ecdsa(&PKCS_ECDSA_P384_SHA384),
            KeyKind::Rsa2048 => rsa(2048),
            KeyKind::Rsa3072 => rsa(3072),
            KeyKind::Rsa4096 => rsa(4096),
        }?)
    }

    /// Reads PKCS #8 (`PRIVATE KEY`), PKCS #1 (`RSA PRIVATE KEY`) or SEC1 (`EC PRIVATE KEY`), with or without other
    /// PEM blocks around it. ECDSA on P-256 and P-384 and RSA of 2048 to 4096 bits can be used.
    ///
    /// # Errors
    /// [`KeyError::Encrypted`], [`KeyError::NotExpected`], [`KeyError::Unusable`].
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        const EXPECTED: &str = "a private key in PEM";
        let mut blocks = pem::parse_many(pem).map_err(|e| not_pem(EXPECTED, &e))?;
        let Some(at) = blocks.iter().position(|block| block.tag().ends_with("PRIVATE KEY")) else {
            return Err(other_pem(EXPECTED, &blocks));
        };
        let block = blocks.swap_remove(at);
        let tag = label(&block).to_owned();
        if tag == "ENCRYPTED PRIVATE KEY" || block.headers().get("DEK-Info").is_some() {
            return Err(KeyError::Encrypted);
        }
        let der = Zeroizing::new(block.into_contents());
        Self::from_pkcs8(match tag.as_str() {
            "PRIVATE KEY" => der,
            "RSA PRIVATE KEY" => {
                let key = RsaPrivateKey::from_pkcs1_der(&der).map_err(unusable)?;
                Zeroizing::new(key.to_pkcs8_der().map_err(unusable)?.as_bytes().to_vec())
            }
            "EC PRIVATE KEY" => {
                let curve = Sec1::read(&der)?.curve.ok_or_else(|| unusable("it does not say on which curve it is"))?;
                wrap_sec1(curve, &der)?
            }
            "OPENSSH PRIVATE KEY" => {
                return Err(unusable("it is in the format of OpenSSH; convert it: ssh-keygen -p -m PKCS8 -f KEY"));
            }
            tag => return Err(unusable(format_args!("`{tag}` is not supported; use an ECDSA or RSA key"))),
        })
    }

    fn from_pkcs8(pkcs8: Zeroizing<Vec<u8>>) -> Result<Self, KeyError> {
        let info = PrivateKeyInfo::from_der(&pkcs8).map_err(unusable)?;
        let (algorithm, kind, pkcs8) = match info.algorithm.oid {
            RSA_ENCRYPTION => {
                let key = RsaPrivateKey::from_pkcs1_der(info.private_key).map_err(unusable)?;
                let bits = key.n().bits();
                if !(2048..=4096).contains(&bits) {
                    return Err(unusable(format_args!("it is RSA of {bits} bits; dcv signs with 2048 to 4096")));
                }
                (&PKCS_RSA_SHA256, PublicKeyKind::Rsa { bits }, pkcs8)
            }
            EC_PUBLIC_KEY => {
                let (algorithm, kind) = match info.algorithm.parameters_oid() {
                    Ok(P256) => (&PKCS_ECDSA_P256_SHA256, PublicKeyKind::EcdsaP256),
                    Ok(P384) => (&PKCS_ECDSA_P384_SHA384, PublicKeyKind::EcdsaP384),
                    Ok(P521) => {
                        return Err(unusable("dcv does not sign with P-521; give a ready CSR instead of the key"));
                    }
                    _ => return Err(unusable("its curve is neither P-256 nor P-384; make a new key: ecdsa-p256")),
                };
                if !Sec1::read(info.private_key)?.has_public_key {
                    return Err(unusable("its public part is missing; add it: openssl pkey -in KEY -out KEY.new"));
                }
                (algorithm, kind, pkcs8)
            }
            oid => {
                return Err(unusable(format_args!(
                    "its algorithm ({oid}) is neither ECDSA nor RSA, and no public CA signs others; make a new key: ecdsa-p256"
                )));
            }
        };
        let pair = load(&pkcs8, algorithm)?;
        let public_key = pair.public_key_raw().to_vec();
        let spki = pair.subject_public_key_info();
        Ok(Self { pkcs8, algorithm, kind, public_key, spki })
    }

    /// The key as PKCS #8 in PEM.
    pub fn to_pem(&self) -> SecretString {
        encode("PRIVATE KEY", self.pkcs8.to_vec()).into()
    }

    /// What the key is.
    pub fn kind(&self) -> PublicKeyKind {
        self.kind
    }

    /// The SubjectPublicKeyInfo of its public half, in DER.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// The public key without its algorithm, as in [`Csr::public_key`].
    pub(crate) fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    /// Writes the key as PKCS #8 in PEM, readable by its owner only. The file appears whole or not at all, and replaces
    /// one that is there.
    ///
    /// # Errors
    /// What the system says, with the path.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let mut staged = files::Staged::default();
        self.stage(&mut staged, path)?;
        staged.commit()
    }

    pub(crate) fn stage(&self, staged: &mut files::Staged, path: &Path) -> io::Result<()> {
        let pem = Zeroizing::new(encode("PRIVATE KEY", self.pkcs8.to_vec()));
        staged.add(path, pem.as_bytes(), files::PRIVATE)
    }

    /// A CSR for these names, the first being the common name (left out when it is longer than the 64 characters that
    /// fit). It names no organization: the CA puts in the validated one.
    ///
    /// # Errors
    /// [`KeyError::NotMade`].
    pub fn csr(&self, names: &[DnsName]) -> Result<Csr, KeyError> {
        let not_made = |e: rcgen::Error| KeyError::NotMade(e.to_string());
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        if let Some(first) = names.first().filter(|name| name.as_str().len() <= 64) {
            params.distinguished_name.push(DnType::CommonName, first.as_str());
        }
        for name in names {
            params.subject_alt_names.push(SanType::DnsName(name.as_str().try_into().map_err(not_made)?));
        }
        let pair = load(&self.pkcs8, self.algorithm)?;
        let request = params.serialize_request(&pair).map_err(not_made)?;
        Csr::from_der(request.der().to_vec())
    }
}

/// Shows nothing but the kind.
impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrivateKey").field("kind", &self.kind).finish_non_exhaustive()
    }
}

fn load(pkcs8: &[u8], algorithm: &'static SignatureAlgorithm) -> Result<KeyPair, KeyError> {
    KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8.into(), algorithm).map_err(unusable)
}

/// What matters of an `ECPrivateKey` (RFC 5915).
struct Sec1 {
    curve: Option<ObjectIdentifier>,
    has_public_key: bool,
}

impl Sec1 {
    fn read(der: &[u8]) -> Result<Self, KeyError> {
        let mut reader = der::SliceReader::new(der).map_err(unusable)?;
        reader
            .sequence(|r| {
                u8::decode(r)?;
                OctetStringRef::decode(r)?;
                let curve = ContextSpecific::<ObjectIdentifier>::decode_explicit(r, der::TagNumber::N0)?;
                let public_key = ContextSpecific::<BitStringRef<'_>>::decode_explicit(r, der::TagNumber::N1)?;
                Ok(Self { curve: curve.map(|curve| curve.value), has_public_key: public_key.is_some() })
            })
            .map_err(unusable)
    }
}

fn wrap_sec1(curve: ObjectIdentifier, sec1: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let algorithm = AlgorithmIdentifierRef { oid: EC_PUBLIC_KEY, parameters: Some((&curve).into()) };
    PrivateKeyInfo::new(algorithm, sec1).to_der().map(Zeroizing::new).map_err(unusable)
}

// ---- CSRs

/// A certificate signing request that a public CA could accept.
#[derive(Clone, PartialEq, Eq)]
pub struct Csr {
    pem: String,
    kind: PublicKeyKind,
    names: Vec<String>,
    public_key: Vec<u8>,
    spki: Vec<u8>,
}

impl Csr {
    /// Reads and checks a CSR in PEM, with or without text and other blocks around it.
    ///
    /// The signature of a P-521 key and ECDSA with SHA-512 are accepted unchecked: the cryptography in use does not
    /// know them. The CA checks them.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        const EXPECTED: &str = "a CSR in PEM";
        let blocks = pem::parse_many(pem).map_err(|e| not_pem(EXPECTED, &e))?;
        // `NEW CERTIFICATE REQUEST` is what Microsoft's and Java's tools write.
        match blocks.iter().position(|block| block.tag().ends_with("CERTIFICATE REQUEST")) {
            Some(at) => Self::from_der(blocks[at].contents().to_vec()),
            None => Err(other_pem(EXPECTED, &blocks)),
        }
    }

    fn from_der(der: Vec<u8>) -> Result<Self, KeyError> {
        let (rest, csr) = X509CertificationRequest::from_der(&der).map_err(|e| KeyError::BrokenCsr(e.to_string()))?;
        if !rest.is_empty() {
            return Err(KeyError::BrokenCsr(format!("{} octets too many at its end", rest.len())));
        }
        let spki = &csr.certification_request_info.subject_pki;
        let kind = check_public_key(spki)?;
        check_signature(&csr)?;
        let (names, public_key, spki) = (names_in(&csr), spki.subject_public_key.data.to_vec(), spki.raw.to_vec());
        Ok(Self { pem: encode("CERTIFICATE REQUEST", der), kind, names, public_key, spki })
    }

    /// The CSR in PEM, with `\n` at line ends, whatever it was read from.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// What its key is.
    pub fn key_kind(&self) -> PublicKeyKind {
        self.kind
    }

    /// The host names in its subject alternative names and, where it is one, its common name; lower case, each once.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The SubjectPublicKeyInfo of its key, in DER.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// The key without its algorithm: what is compared, since encoders differ in the parameters they write.
    pub(crate) fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    /// Whether this is the key the CSR was made with.
    pub fn matches_key(&self, key: &PrivateKey) -> bool {
        self.public_key == key.public_key
    }

    /// Refuses a CSR that names hosts beyond `ordered`: the CA takes the names from the order, so the certificate would
    /// lack them. A CSR that names fewer, or none, is fine.
    ///
    /// # Errors
    /// [`KeyError::OtherNames`].
    pub fn check_names(&self, ordered: &[DnsName]) -> Result<(), KeyError> {
        let wanted: BTreeSet<&str> = ordered.iter().map(DnsName::as_str).collect();
        let present: BTreeSet<&str> = self.names.iter().map(String::as_str).collect();
        let list = |names: BTreeSet<&str>, without: &BTreeSet<&str>| -> Vec<String> {
            names.difference(without).map(ToString::to_string).collect()
        };
        let extra = list(present.clone(), &wanted);
        if extra.is_empty() {
            return Ok(());
        }
        Err(KeyError::OtherNames { extra, missing: list(wanted, &present) })
    }
}

impl fmt::Debug for Csr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Csr").field("kind", &self.kind).field("names", &self.names).finish_non_exhaustive()
    }
}

fn check_public_key(spki: &SubjectPublicKeyInfo<'_>) -> Result<PublicKeyKind, KeyError> {
    let weak = |what: String| Err(KeyError::WeakKey(what));
    match spki.parsed() {
        Ok(PublicKey::RSA(rsa)) => {
            let modulus: &[u8] = &rsa.modulus[rsa.modulus.iter().take_while(|octet| **octet == 0).count()..];
            let bits = modulus.first().map_or(0, |top| modulus.len() * 8 - top.leading_zeros() as usize);
            if !(2048..=8192).contains(&bits) || !bits.is_multiple_of(8) {
                return weak(format!("RSA of {bits} bits, which no public CA signs"));
            }
            let exponent: &[u8] = &rsa.exponent[rsa.exponent.iter().take_while(|octet| **octet == 0).count()..];
            // Baseline Requirements 6.1.6: odd, and in the range 2^16+1 to 2^256-1.
            let in_range = matches!(exponent.len(), 3..=32) && exponent != [1, 0, 0];
            if !in_range || exponent.last().is_none_or(|last| last % 2 == 0) {
                return weak("RSA with an unusual exponent (65537 is expected)".to_owned());
            }
            Ok(PublicKeyKind::Rsa { bits })
        }
        Ok(PublicKey::EC(point)) => {
            let curve = spki.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
            let curve = curve.map(|oid| oid.to_id_string());
            let (kind, octets) = match curve.and_then(|oid| ObjectIdentifier::new(&oid).ok()) {
                Some(P256) => (PublicKeyKind::EcdsaP256, 32),
                Some(P384) => (PublicKeyKind::EcdsaP384, 48),
                Some(P521) => (PublicKeyKind::EcdsaP521, 66),
                Some(other) => {
                    return weak(format!("on the curve {other}, and public CAs sign P-256, P-384 and P-521 only"));
                }
                None => return weak("on an unnamed curve, and public CAs sign P-256, P-384 and P-521 only".to_owned()),
            };
            if point.data().first() != Some(&4) || point.data().len() != 1 + 2 * octets {
                return weak(format!("{kind} with a compressed or broken point"));
            }
            Ok(kind)
        }
        _ => weak(format!("of a kind ({}) that no public CA signs", spki.algorithm.algorithm)),
    }
}

fn check_signature(csr: &X509CertificationRequest<'_>) -> Result<(), KeyError> {
    let oid = csr.signature_algorithm.algorithm.to_id_string();
    let unchecked_is_fine = match oid.as_str() {
        // RSA with SHA-256, SHA-384, SHA-512; PSS, where an unknown hash is SHA-1 or worse; ECDSA with SHA-256, SHA-384.
        "1.2.840.113549.1.1.11" | "1.2.840.113549.1.1.12" | "1.2.840.113549.1.1.13" | "1.2.840.113549.1.1.10" => false,
        "1.2.840.10045.4.3.2" | "1.2.840.10045.4.3.3" | "1.2.840.10045.4.3.4" => true,
        "1.2.840.113549.1.1.4" => return Err(KeyError::WeakSignature("MD5".to_owned())),
        "1.2.840.113549.1.1.5" | "1.3.14.3.2.29" | "1.2.840.10045.4.1" => {
            return Err(KeyError::WeakSignature("SHA-1".to_owned()));
        }
        other => return Err(KeyError::WeakSignature(format!("the algorithm {other}"))),
    };
    match csr.verify_signature() {
        Err(x509_parser::error::X509Error::SignatureUnsupportedAlgorithm) if unchecked_is_fine => Ok(()),
        Err(x509_parser::error::X509Error::SignatureUnsupportedAlgorithm) => {
            Err(KeyError::WeakSignature("RSA-PSS and a weak hash".to_owned()))
        }
        Err(_) => Err(KeyError::BadSignature),
        Ok(()) => Ok(()),
    }
}

fn names_in(csr: &X509CertificationRequest<'_>) -> Vec<String> {
    let common_names = csr.certification_request_info.subject.iter_common_name().filter_map(|cn| cn.as_str().ok());
    // "Example Ltd" and "Jane Doe" are common names too, but no hosts.
    let hosts = common_names.filter_map(|cn| DnsName::parse(cn.trim()).ok()).map(String::from);
    let san = csr.requested_extensions().into_iter().flatten().filter_map(|extension| match extension {
        ParsedExtension::SubjectAlternativeName(san) => Some(&san.general_names),
        _ => None,
    });
    let san = san.flatten().filter_map(|name| match name {
        GeneralName::DNSName(dns) => {
            Some(DnsName::parse(dns).map_or_else(|_| printable(&dns.to_ascii_lowercase()), String::from))
        }
        GeneralName::IPAddress(octets) => Some(match octets.len() {
            4 => <[u8; 4]>::try_from(*octets).ok().map(|v4| std::net::IpAddr::from(v4).to_string()),
            _ => <[u8; 16]>::try_from(*octets).ok().map(|v6| std::net::IpAddr::from(v6).to_string()),
        }?),
        _ => None,
    });
    let mut names: Vec<String> = Vec::new();
    for name in hosts.chain(san) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

// ---- PEM

/// PEM with `\n` at line ends; what goes in is wiped, as it may be a key.
pub(crate) fn encode(tag: &str, der: Vec<u8>) -> String {
    let block = Pem::new(tag, der);
    let text = pem::encode_config(&block, pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF));
    drop(Zeroizing::new(block.into_contents()));
    text
}

fn unusable(why: impl fmt::Display) -> KeyError {
    KeyError::Unusable(why.to_string())
}

fn not_pem(expected: &'static str, error: &pem::PemError) -> KeyError {
    KeyError::NotExpected { expected, found: format!("the PEM is damaged: {}; copy all of it anew", fault(error)) }
}

/// What is wrong with a PEM, without a piece of it: where a line is broken, what the parser takes for a label is the key.
pub(crate) fn fault(error: &pem::PemError) -> &'static str {
    match error {
        pem::PemError::MismatchedTags(..) => "its END line does not fit its BEGIN line",
        pem::PemError::MissingBeginTag => "there is no BEGIN line",
        pem::PemError::MissingEndTag => "there is no END line",
        pem::PemError::MissingData => "there is nothing between its lines",
        pem::PemError::InvalidData(_) => "it is not Base64",
        pem::PemError::InvalidHeader(_) => "a header line is broken",
        pem::PemError::NotUtf8(_) => "it is no text",
        pem::PemError::MalformedFraming => "its BEGIN or END line is broken",
    }
}

/// A text of a certificate or request, for errors: control characters by their numbers.
pub(crate) fn printable(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut shown, c| {
        if c.is_control() {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
        shown
    })
}

/// A block's label, if it is one that anybody would write.
fn label(block: &Pem) -> &str {
    let tag = block.tag();
    let is_label = tag.len() <= 40 && tag.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b' ');
    if is_label { tag } else { "something else" }
}

fn other_pem(expected: &'static str, blocks: &[Pem]) -> KeyError {
    let found = match blocks.first() {
        None => "there is no -----BEGIN line; convert DER with openssl (-inform DER -outform PEM)".to_owned(),
        Some(block) => format!("`{}` was found; give the right file", label(block)),
    };
    KeyError::NotExpected { expected, found }
}
