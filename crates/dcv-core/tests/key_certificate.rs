//! The certificate that came home: order of the chain, comparison with the order, files.

use dcv_core::{
    certificate::{CERT_FILE, CHAIN_FILE, Chain, ChainError, FULLCHAIN_FILE, KEY_FILE, write_set},
    key::{Csr, KeyKind, PrivateKey},
    name::DnsName,
};
use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair, SerialNumber,
    SubjectPublicKeyInfo,
};

/// A root, an intermediate below it, and certificates below that.
struct Ca {
    root: CertifiedIssuer<'static, KeyPair>,
    intermediate: CertifiedIssuer<'static, KeyPair>,
}

impl Ca {
    fn new() -> Self {
        let params = |name: &str| {
            let mut params = CertificateParams::default();
            params.distinguished_name = DistinguishedName::new();
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params
        };
        let root = CertifiedIssuer::self_signed(params("Root"), KeyPair::generate().unwrap()).unwrap();
        let intermediate =
            CertifiedIssuer::signed_by(params("Intermediate"), KeyPair::generate().unwrap(), &root).unwrap();
        Self { root, intermediate }
    }

    fn leaf(&self, csr: &Csr, names: &[&str], serial: &[u8]) -> String {
        let mut params = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, names[0]);
        params.serial_number = Some(SerialNumber::from_slice(serial));
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2026, 7, 18);
        let spki = SubjectPublicKeyInfo::from_der(csr.spki()).unwrap();
        params.signed_by(&spki, &self.intermediate).unwrap().pem()
    }

    fn intermediate(&self) -> String {
        self.intermediate.pem()
    }

    fn root(&self) -> String {
        self.root.pem()
    }
}

fn ordered(texts: &[&str]) -> Vec<DnsName> {
    texts.iter().map(|text| DnsName::parse(text).unwrap()).collect()
}

fn now() -> Timestamp {
    "2026-03-01T00:00:00Z".parse().unwrap()
}

const NAMES: [&str; 2] = ["www.example.com", "*.example.org"];

fn order() -> (PrivateKey, Csr) {
    let key = PrivateKey::generate(KeyKind::EcdsaP256).unwrap();
    let csr = key.csr(&ordered(&NAMES)).unwrap();
    (key, csr)
}

fn normal(pem: &str) -> String {
    pem.replace("\r\n", "\n")
}

#[test]
fn any_order_and_any_line_ends_give_the_same_chain() {
    let ca = Ca::new();
    let (_, csr) = order();
    let parts = [ca.leaf(&csr, &NAMES, &[0x8A, 0xBC]), ca.intermediate(), ca.root()];
    for permutation in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [2, 0, 1], [1, 2, 0], [0, 2, 1]] {
        for (line_end, between) in [("\n", ""), ("\r\n", ""), ("\r\n", "subject=CN=who\r\n\r\n")] {
            let pem = permutation.map(|at| normal(&parts[at]).replace('\n', line_end));
            let chain = Chain::from_pem(pem.join(between).as_bytes()).unwrap();
            assert_eq!(chain.cert_pem(), normal(&parts[0]));
            assert_eq!(chain.chain_pem(), normal(&parts[1]));
            assert_eq!(chain.fullchain_pem(), normal(&(parts[0].clone() + &parts[1])));
            chain.verify_leaf_at(&csr, &ordered(&NAMES), now()).unwrap();
        }
    }
    let chain = Chain::from_pem(parts.concat().as_bytes()).unwrap();
    assert_eq!(chain.serial(), "8ABC");
    assert_eq!(chain.names(), NAMES);
    assert_eq!(chain.not_before().to_string(), "2026-01-01T00:00:00Z");
    assert_eq!(chain.not_after().to_string(), "2026-07-18T00:00:00Z");
    // What we wrote reads the same.
    assert_eq!(Chain::from_pem(chain.fullchain_pem().as_bytes()).unwrap().fullchain_pem(), chain.fullchain_pem());
}

#[test]
fn duplicates_and_strangers_are_left_out() {
    let ca = Ca::new();
    let other = Ca::new();
    let (_, csr) = order();
    let leaf = ca.leaf(&csr, &NAMES, &[1]);
    // The other CA's certificates bear the same names, but their keys have not signed ours.
    let pem = [other.root(), other.intermediate(), leaf.clone(), leaf.clone(), ca.intermediate(), ca.intermediate()];
    let chain = Chain::from_pem(pem.concat().as_bytes()).unwrap();
    assert_eq!(chain.fullchain_pem(), normal(&(leaf + &ca.intermediate())));
}

#[test]
fn a_certificate_of_another_order_is_told_from_ours() {
    let ca = Ca::new();
    let (_, csr) = order();
    let (_, other) = order();
    let check = |leaf: String, intermediate: bool, at: Timestamp| {
        let pem = if intermediate { leaf + &ca.intermediate() } else { leaf };
        Chain::from_pem(pem.as_bytes()).unwrap().verify_leaf_at(&csr, &ordered(&NAMES), at)
    };
    let ours = || ca.leaf(&csr, &NAMES, &[1]);
    check(ours(), true, now()).unwrap();
    check(ca.leaf(&csr, &["example.com", "WWW.example.com", "*.example.org"], &[1]), true, now()).unwrap();

    let error = check(ca.leaf(&other, &NAMES, &[0x0C, 1]), true, now()).unwrap_err();
    assert!(matches!(error, ChainError::OtherKey { .. }), "{error:?}");
    assert!(error.to_string().contains("another order: certificate 0C01 (CN=www.example.com)"), "{error}");
    match check(ca.leaf(&csr, &["www.example.com"], &[1]), true, now()) {
        Err(ChainError::MissingNames { missing, present, .. }) => {
            assert_eq!((missing, present), (vec!["*.example.org".to_owned()], vec!["www.example.com".to_owned()]));
        }
        other => panic!("{other:?}"),
    }
    assert!(
        matches!(check(ours(), false, now()), Err(ChainError::NoIntermediate { issuer, .. }) if issuer == "CN=Intermediate")
    );
    let end: Timestamp = "2026-07-18T00:00:00Z".parse().unwrap();
    check(ours(), true, end).unwrap();
    let error = check(ours(), true, end + jiff::SignedDuration::from_secs(1)).unwrap_err();
    assert!(matches!(error, ChainError::Expired { .. }), "{error:?}");
}

#[test]
fn what_is_no_certificate_says_what_it_is() {
    let ca = Ca::new();
    let (_, csr) = order();
    let (_, other) = order();
    let leaf = ca.leaf(&csr, &NAMES, &[1]);
    let der = pem::parse(&leaf).unwrap().into_contents();
    let damaged = pem::encode(&pem::Pem::new("CERTIFICATE", &der[..der.len() - 3]));
    let table: Vec<(Vec<u8>, &str)> = vec![
        (b"PK\x03\x04...".to_vec(), "ZIP"),
        (Vec::new(), "no -----BEGIN CERTIFICATE"),
        (b"<html>503</html>".to_vec(), "no -----BEGIN CERTIFICATE"),
        (csr.pem().as_bytes().to_vec(), "no -----BEGIN CERTIFICATE"),
        ((leaf.clone() + &damaged).into_bytes(), "certificate 2 of 2 is damaged"),
        (leaf.as_bytes()[..leaf.len() - 50].to_vec(), "PEM"),
        ((leaf + &ca.leaf(&other, &NAMES, &[2])).into_bytes(), "2 end-entity certificates"),
    ];
    for (given, expected) in table {
        let error = Chain::from_pem(&given).unwrap_err().to_string();
        assert!(error.contains(expected) && !error.contains('\n'), "{error}");
    }
}

#[test]
fn the_thumbprint_is_the_one_openssl_prints() {
    let ca = Ca::new();
    let (_, csr) = order();
    let dir = tempfile::tempdir().unwrap();
    let chain = Chain::from_pem((ca.leaf(&csr, &NAMES, &[0x0A, 0xB1]) + &ca.intermediate()).as_bytes()).unwrap();
    std::fs::write(dir.path().join("cert.pem"), chain.cert_pem()).unwrap();
    let output = std::process::Command::new("openssl")
        .args(["x509", "-in", "cert.pem", "-noout", "-fingerprint", "-sha1", "-serial"])
        .current_dir(dir.path())
        .output()
        .expect("the program `openssl` is installed");
    let text = String::from_utf8(output.stdout).unwrap().replace(':', "");
    assert!(text.contains(&chain.thumbprint()) && text.contains(&format!("serial={}", chain.serial())), "{text}");
}

#[cfg(unix)]
#[test]
fn a_set_is_written_whole_or_not_at_all() {
    use std::os::unix::fs::PermissionsExt;
    let ca = Ca::new();
    let (key, csr) = order();
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("live/www.example.com");
    let chain = Chain::from_pem((ca.leaf(&csr, &NAMES, &[1]) + &ca.intermediate() + &ca.root()).as_bytes()).unwrap();
    write_set(&dir, Some(&key), &chain).unwrap();
    let read = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap();
    assert_eq!(PrivateKey::from_pem(&read(KEY_FILE)).unwrap().spki(), key.spki());
    assert_eq!((read(CERT_FILE), read(CHAIN_FILE)), (chain.cert_pem(), chain.chain_pem()));
    assert_eq!(read(FULLCHAIN_FILE), chain.fullchain_pem());
    assert_eq!(std::fs::metadata(dir.join(KEY_FILE)).unwrap().permissions().mode() & 0o777, 0o600);

    // The next one fails on its last file: the first set stays as it was, and nothing lies about.
    let (next_key, next_csr) = order();
    let next = Chain::from_pem((ca.leaf(&next_csr, &NAMES, &[2]) + &ca.intermediate()).as_bytes()).unwrap();
    let kept = std::fs::read_to_string(dir.join(FULLCHAIN_FILE)).unwrap();
    std::fs::remove_file(dir.join(FULLCHAIN_FILE)).unwrap();
    std::fs::create_dir(dir.join(FULLCHAIN_FILE)).unwrap();
    let error = write_set(&dir, Some(&next_key), &next).unwrap_err().to_string();
    assert!(error.contains(FULLCHAIN_FILE), "{error}");
    assert_eq!(read(CERT_FILE), chain.cert_pem());
    assert_eq!(PrivateKey::from_pem(&read(KEY_FILE)).unwrap().spki(), key.spki());
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 4);
    std::fs::remove_dir(dir.join(FULLCHAIN_FILE)).unwrap();
    std::fs::write(dir.join(FULLCHAIN_FILE), kept).unwrap();

    // A key that is not the certificate's is never written beside it.
    let error = write_set(&dir, Some(&key), &next).unwrap_err().to_string();
    assert!(error.contains("nothing was written"), "{error}");
    assert_eq!(read(CERT_FILE), chain.cert_pem());

    write_set(&dir, Some(&next_key), &next).unwrap();
    assert_eq!(read(CERT_FILE), next.cert_pem());
    // Without a key, the one that is there stays.
    write_set(&dir, None, &next).unwrap();
    assert_eq!(PrivateKey::from_pem(&read(KEY_FILE)).unwrap().spki(), next_key.spki());
}
