//! Certificate signing requests as customers send them: any line ends, either label or none, any extensions. Decides
//! whether the key is good enough and whether the request was signed with it; names in it are only told.

use base64::{Engine, engine::general_purpose::STANDARD};
use rcgen::{PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256, PublicKeyData, SignatureAlgorithm};
use x509_parser::{
    certification_request::X509CertificationRequest,
    extensions::{GeneralName, ParsedExtension},
    prelude::FromDer,
    public_key::PublicKey,
    x509::SubjectPublicKeyInfo,
};

/// Kind of a certificate's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyAlgorithm {
    /// RSA, 2048 to 4096 bits.
    Rsa,
    /// ECDSA on P-256.
    EcP256,
    /// ECDSA on P-384.
    EcP384,
}

/// A request that was read and whose signature is right.
#[derive(Clone, Debug)]
pub struct Csr {
    /// In PEM with line feeds, whatever it came in.
    pub pem: String,
    /// Common name of the subject, the last if there are several.
    pub common_name: Option<String>,
    /// DNS names of the subject alternative name extension, as written.
    pub dns_names: Vec<String>,
    /// Bits of the modulus or of the curve.
    pub key_size: u32,
    /// What kind of key it is.
    pub key_algorithm: KeyAlgorithm,
    /// SubjectPublicKeyInfo, DER.
    pub spki: Vec<u8>,
    /// The content of the bit string in it.
    key: Vec<u8>,
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CsrError {
    /// Neither PEM nor base64.
    #[error("it is not PEM or base64")]
    Encoding,
    /// Not a PKCS #10 request.
    #[error("it is not a PKCS #10 certification request")]
    Structure,
    /// Fewer bits than 2048, or more than 4096.
    #[error("an RSA key must have 2048 to 4096 bits, this one has {0}")]
    RsaSize(u32),
    /// A kind of key that public CAs do not sign, or this one cannot.
    #[error("the key must be RSA, or ECDSA on P-256 or P-384")]
    KeyKind,
    /// The signature is wrong or of an unknown kind.
    #[error("its signature is not right for its key")]
    Signature,
}

impl Csr {
    /// Reads and verifies a request.
    ///
    /// ```
    /// use certcentral_sandbox::ca::{Csr, CsrError};
    /// assert_eq!(Csr::parse("no request").unwrap_err(), CsrError::Encoding);
    /// ```
    pub fn parse(text: &str) -> Result<Self, CsrError> {
        let der = decode(text).ok_or(CsrError::Encoding)?;
        let (rest, request) = X509CertificationRequest::from_der(&der).map_err(|_| CsrError::Structure)?;
        if !rest.is_empty() {
            return Err(CsrError::Structure);
        }
        let info = &request.certification_request_info;
        let (key_algorithm, key_size) = key_of(&info.subject_pki)?;
        request.verify_signature().map_err(|_| CsrError::Signature)?;
        let mut dns_names = Vec::new();
        for extension in request.requested_extensions().into_iter().flatten() {
            if let ParsedExtension::SubjectAlternativeName(names) = extension {
                dns_names.extend(names.general_names.iter().filter_map(|name| match name {
                    GeneralName::DNSName(name) => Some((*name).to_owned()),
                    _ => None,
                }));
            }
        }
        let common_name = info.subject.iter_common_name().last();
        let common_name = common_name.and_then(|name| name.as_str().ok()).map(ToOwned::to_owned);
        let spki = info.subject_pki.raw.to_vec();
        let key = info.subject_pki.subject_public_key.data.to_vec();
        let lines = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
        let pem = pem::encode_config(&pem::Pem::new("CERTIFICATE REQUEST", der.clone()), lines);
        Ok(Self { pem, common_name, dns_names, key_size, key_algorithm, spki, key })
    }
}

impl PublicKeyData for Csr {
    fn der_bytes(&self) -> &[u8] {
        &self.key
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        match self.key_algorithm {
            KeyAlgorithm::Rsa => &PKCS_RSA_SHA256,
            KeyAlgorithm::EcP256 => &PKCS_ECDSA_P256_SHA256,
            KeyAlgorithm::EcP384 => &PKCS_ECDSA_P384_SHA384,
        }
    }
}

/// The DER bytes of PEM with either label, or of bare base64. Text around a PEM block is passed over.
fn decode(text: &str) -> Option<Vec<u8>> {
    let body = match text.split_once("-----BEGIN ") {
        None => text,
        Some((_, rest)) => {
            let (label, rest) = rest.split_once("-----")?;
            if !matches!(label, "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST") {
                return None;
            }
            rest.split_once("-----END ")?.0
        }
    };
    let digits: String = body.chars().filter(|char| !char.is_ascii_whitespace()).collect();
    STANDARD.decode(digits).ok().filter(|der| !der.is_empty())
}

fn key_of(spki: &SubjectPublicKeyInfo<'_>) -> Result<(KeyAlgorithm, u32), CsrError> {
    match spki.parsed().map_err(|_| CsrError::KeyKind)? {
        PublicKey::RSA(key) => {
            let modulus = key.modulus.iter().position(|byte| *byte != 0).map_or(&[][..], |first| &key.modulus[first..]);
            let unused = modulus.first().map_or(0, |byte| byte.leading_zeros());
            let bits = u32::try_from(modulus.len() * 8).unwrap_or(u32::MAX).saturating_sub(unused);
            if (2048..=4096).contains(&bits) { Ok((KeyAlgorithm::Rsa, bits)) } else { Err(CsrError::RsaSize(bits)) }
        }
        PublicKey::EC(_) => {
            let curve = spki.algorithm.parameters.as_ref().and_then(|any| any.as_oid().ok());
            match curve.map(|oid| oid.to_id_string()).as_deref() {
                Some("1.2.840.10045.3.1.7") => Ok((KeyAlgorithm::EcP256, 256)),
                Some("1.3.132.0.34") => Ok((KeyAlgorithm::EcP384, 384)),
                _ => Err(CsrError::KeyKind),
            }
        }
        _ => Err(CsrError::KeyKind),
    }
}
