//! Keys, requests and certificates in PEM.

use certcentral_sandbox::ca;
use dcv_core::{
    certificate::Chain,
    key::{Csr, PrivateKey, PublicKeyKind},
    name::DnsName,
};
use secrecy::ExposeSecret;

use crate::one_line;

/// A private key, of whatever tool.
pub(crate) fn key(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    match PrivateKey::from_pem(text) {
        Ok(key) => {
            let again = PrivateKey::from_pem(key.to_pem().expose_secret()).expect("what we write is read");
            assert_eq!(again.spki(), key.spki());
            let name = DnsName::parse("example.com").expect("a name");
            // Numbers of RSA that are no key show when it signs.
            match key.csr(&[name]) {
                Ok(csr) => assert!(csr.matches_key(&key)),
                Err(error) => one_line(&error.to_string()),
            }
        }
        Err(error) => one_line(&error.to_string()),
    }
}

/// A request, as we read it and as the CA does.
pub(crate) fn csr(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    match Csr::from_pem(&text) {
        Ok(csr) => {
            let again = Csr::from_pem(csr.pem()).expect("what we write is read");
            assert_eq!(again, csr);
            if let Err(error) = csr.check_names(&[]) {
                one_line(&error.to_string());
            }
            let signs = match csr.key_kind() {
                PublicKeyKind::Rsa { bits } => (2048..=4096).contains(&bits),
                PublicKeyKind::EcdsaP256 | PublicKeyKind::EcdsaP384 => true,
                PublicKeyKind::EcdsaP521 => false,
            };
            // Whatever we let pass, the CA takes as well. What it cannot verify, it may refuse.
            match ca::Csr::parse(csr.pem()) {
                Ok(theirs) => assert_eq!(theirs.spki, csr.spki()),
                Err(error) => assert!(!signs || error == ca::CsrError::Signature, "{error}"),
            }
        }
        Err(error) => one_line(&error.to_string()),
    }
    if let Ok(csr) = ca::Csr::parse(&text) {
        let again = ca::Csr::parse(&csr.pem).expect("what it writes is read");
        assert_eq!((again.spki, again.dns_names, again.pem), (csr.spki, csr.dns_names, csr.pem));
    }
}

/// A certificate with its chain.
pub(crate) fn chain(input: &[u8]) {
    match Chain::from_pem(input) {
        Ok(chain) => {
            let full = chain.fullchain_pem();
            let again = Chain::from_pem(full.as_bytes()).expect("what we write is read");
            assert_eq!(again.fullchain_pem(), full);
            assert_eq!((again.serial(), again.thumbprint()), (chain.serial(), chain.thumbprint()));
            one_line(&format!("{chain:?}"));
            let csr = Csr::from_pem(include_str!("../seeds/csr/ec.pem")).expect("a request");
            let ordered = DnsName::parse("other.example.com").expect("a name");
            let compared = chain.verify_leaf_at(&csr, &[ordered], jiff::Timestamp::UNIX_EPOCH);
            one_line(&compared.expect_err("it is not for this name").to_string());
        }
        Err(error) => one_line(&error.to_string()),
    }
}
