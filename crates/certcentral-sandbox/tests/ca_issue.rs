//! CSRs made by OpenSSL, certificates and downloads judged by OpenSSL and by rustls-webpki.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use certcentral_sandbox::ca::{
    Authority, Csr, CsrError, Extended, IssueRequest, Issued, KeyAlgorithm, Subject, download,
};
use jiff::Timestamp;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

fn openssl(dir: &Path, args: &str) -> Output {
    Command::new("openssl")
        .current_dir(dir)
        .args(args.split(' ').map(|arg| arg.replace('\u{a0}', " ")))
        .output()
        .unwrap_or_else(|error| panic!("this test needs openssl: {error}"))
}

/// What OpenSSL prints; it must succeed.
fn told(dir: &Path, args: &str) -> String {
    let output = openssl(dir, args);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "openssl {args}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// A new key and a request for it.
fn csr(dir: &Path, key: &str, more: &str) -> String {
    let more = if more.is_empty() { String::new() } else { format!(" {more}") };
    told(
        dir,
        &format!("req -new -newkey {key} -nodes -keyout key.pem -out csr.pem -subj /C=DE/CN=www.example.com{more}"),
    );
    fs::read_to_string(dir.join("csr.pem")).unwrap()
}

const NAMES: [&str; 2] = ["www.example.com", "*.example.com"];

fn issue(authority: &Authority, text: &str, server_auth_only: bool) -> Issued {
    let csr = Csr::parse(text).unwrap();
    let now = Timestamp::now();
    authority
        .issue(&IssueRequest {
            csr: &csr,
            subject: Subject {
                common_name: "www.example.com",
                organization: "Straße & Söhne, Ltd.",
                city: "Köln",
                state: "",
                country: "de",
            },
            dns_names: &NAMES.map(str::to_owned),
            not_before: now,
            not_after: now + jiff::Span::new().hours(199 * 24),
            signature_hash: "sha256",
            server_auth_only,
            extended: None,
        })
        .unwrap()
}

#[test]
fn every_usual_request_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let extensions = "-addext subjectAltName=DNS:www.example.com,DNS:example.com,IP:192.0.2.1 \
        -addext subjectKeyIdentifier=hash -addext tlsfeature=status_request -addext keyUsage=critical,digitalSignature \
        -addext extendedKeyUsage=serverAuth,clientAuth -addext basicConstraints=CA:FALSE \
        -addext 1.2.3.4.5=ASN1:UTF8String:custom";
    let extensions = extensions.split_whitespace().collect::<Vec<_>>().join(" ");
    let table = [
        ("rsa:2048", "", KeyAlgorithm::Rsa, 2048),
        ("rsa:3072", "-sha384", KeyAlgorithm::Rsa, 3072),
        ("rsa:4096", "-sha512", KeyAlgorithm::Rsa, 4096),
        ("rsa:2048", extensions.as_str(), KeyAlgorithm::Rsa, 2048),
        ("rsa:2048", "-sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:32", KeyAlgorithm::Rsa, 2048),
        ("ec -pkeyopt ec_paramgen_curve:P-256", "", KeyAlgorithm::EcP256, 256),
        ("ec -pkeyopt ec_paramgen_curve:P-256", "-sha384", KeyAlgorithm::EcP256, 256),
        ("ec -pkeyopt ec_paramgen_curve:P-384", extensions.as_str(), KeyAlgorithm::EcP384, 384),
        ("ec -pkeyopt ec_paramgen_curve:P-384", "-sha384", KeyAlgorithm::EcP384, 384),
    ];
    let authority = Authority::generate(Timestamp::now()).unwrap();
    for (key, more, algorithm, size) in table {
        let text = csr(dir.path(), key, more);
        let read = Csr::parse(&text).unwrap_or_else(|error| panic!("{key} {more}: {error}"));
        assert_eq!((read.key_algorithm, read.key_size), (algorithm, size), "{key} {more}");
        assert_eq!(read.common_name.as_deref(), Some("www.example.com"));
        let names: &[&str] = if more.contains("DNS:") { &["www.example.com", "example.com"] } else { &[] };
        assert_eq!(read.dns_names, names, "{key} {more}");
        assert_eq!(told(dir.path(), "pkey -in key.pem -pubout -outform DER -out spki.der"), "");
        assert_eq!(read.spki, fs::read(dir.path().join("spki.der")).unwrap(), "{key} {more}");
        // The certificate is for that key.
        fs::write(dir.path().join("leaf.pem"), issue(&authority, &text, true).leaf_pem).unwrap();
        let of_key = told(dir.path(), "pkey -in key.pem -pubout");
        assert_eq!(told(dir.path(), "x509 -in leaf.pem -noout -pubkey"), of_key, "{key} {more}");
    }
}

#[test]
fn every_spelling_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let text = csr(dir.path(), "ec -pkeyopt ec_paramgen_curve:P-256", "");
    let bare: String = text.lines().filter(|line| !line.starts_with("--")).collect();
    let spellings = [
        text.clone(),
        text.replace('\n', "\r\n"),
        text.replace('\n', "\r"),
        text.replace('\n', " "),
        text.replace("CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"),
        format!("Certificate Request:\n    Data:\n{text}\n\n"),
        bare.clone(),
        format!("  {bare}\n"),
    ];
    for spelling in spellings {
        let read = Csr::parse(&spelling).unwrap_or_else(|error| panic!("{error}: {spelling:?}"));
        assert_eq!(read.pem, text, "{spelling:?}");
    }
}

#[test]
fn bad_requests_are_told_apart() {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let dir = tempfile::tempdir().unwrap();
    let refused = |key: &str| Csr::parse(&csr(dir.path(), key, "")).unwrap_err();
    assert_eq!(refused("rsa:1024"), CsrError::RsaSize(1024));
    assert_eq!(refused("rsa:2047"), CsrError::RsaSize(2047));
    assert_eq!(refused("rsa:4104"), CsrError::RsaSize(4104));
    assert_eq!(refused("ec -pkeyopt ec_paramgen_curve:P-521"), CsrError::KeyKind);
    assert_eq!(refused("ec -pkeyopt ec_paramgen_curve:secp256k1"), CsrError::KeyKind);
    assert_eq!(refused("ed25519"), CsrError::KeyKind);

    let good = csr(dir.path(), "ec -pkeyopt ec_paramgen_curve:P-256", "");
    let mut der = pem::parse(&good).unwrap().into_contents();
    let trailing = STANDARD.encode([&der[..], &[0]].concat());
    assert_eq!(Csr::parse(&trailing).unwrap_err(), CsrError::Structure);
    assert_eq!(Csr::parse(&STANDARD.encode(&der[..der.len() / 2])).unwrap_err(), CsrError::Structure);
    // Another name than was signed.
    let at = der.windows(3).position(|three| three == b"www").unwrap();
    der[at] = b'x';
    assert_eq!(Csr::parse(&STANDARD.encode(&der)).unwrap_err(), CsrError::Signature);

    let certificate = Authority::generate(Timestamp::now()).unwrap();
    for text in ["", "   ", "-----BEGIN CERTIFICATE REQUEST-----", "not base64!", certificate.root_pem()] {
        assert_eq!(Csr::parse(text).unwrap_err(), CsrError::Encoding, "{text:?}");
    }
    assert_eq!(Csr::parse("MAA=").unwrap_err(), CsrError::Structure);
}

#[test]
fn the_chain_holds_for_openssl_and_webpki() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::generate(Timestamp::now()).unwrap();
    fs::write(dir.path().join("root.pem"), authority.root_pem()).unwrap();
    fs::write(dir.path().join("intermediate.pem"), authority.intermediate_pem()).unwrap();
    for key in ["rsa:2048", "ec -pkeyopt ec_paramgen_curve:P-384"] {
        let issued = issue(&authority, &csr(dir.path(), key, ""), true);
        fs::write(dir.path().join("leaf.pem"), &issued.leaf_pem).unwrap();
        let verify = "verify -x509_strict -purpose sslserver -verify_hostname a.example.com -CAfile root.pem \
                      -untrusted intermediate.pem leaf.pem";
        assert_eq!(told(dir.path(), &verify.split_whitespace().collect::<Vec<_>>().join(" ")).trim(), "leaf.pem: OK");
        webpki_verifies(&authority, &issued.leaf_pem);

        let text = told(dir.path(), "x509 -in leaf.pem -noout -text -nameopt utf8");
        for part in [
            "CN=www.example.com",
            "O=Straße & Söhne, Ltd.",
            "L=Köln",
            "C=DE",
            "DCV Sandbox TLS CA 1 - NOT TRUSTED",
            "DNS:www.example.com, DNS:*.example.com",
            "CA:FALSE",
            "TLS Web Server Authentication\n",
            "X509v3 Subject Key Identifier",
            "X509v3 Authority Key Identifier",
            "Policy: 2.23.140.1.2.2",
            "Digital Signature",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        assert_eq!(text.contains("Key Encipherment"), key.starts_with("rsa"), "{text}");
        assert!(!text.contains("ST="), "{text}");
        assert_eq!(
            told(dir.path(), "x509 -in leaf.pem -noout -serial").trim(),
            format!("serial={}", issued.serial_number)
        );
        let thumbprint = told(dir.path(), "x509 -in leaf.pem -noout -fingerprint -sha1").replace(':', "");
        assert!(thumbprint.trim().ends_with(&issued.thumbprint), "{thumbprint}");
    }
    let both = issue(&authority, &csr(dir.path(), "ec -pkeyopt ec_paramgen_curve:P-256", ""), false);
    fs::write(dir.path().join("leaf.pem"), &both.leaf_pem).unwrap();
    assert!(told(dir.path(), "x509 -in leaf.pem -noout -text").contains("TLS Web Client Authentication"));
}

#[test]
fn extended_validation_says_more_of_the_subject_and_every_intermediate_chains() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::generate(Timestamp::now()).unwrap();
    fs::write(dir.path().join("root.pem"), authority.root_pem()).unwrap();
    let csr = Csr::parse(&csr(dir.path(), "ec -pkeyopt ec_paramgen_curve:P-256", "")).unwrap();
    let now = Timestamp::now();
    assert_eq!(authority.issuing().len(), 3);
    for issuing in authority.issuing() {
        assert!(std::ptr::eq(authority.issuing_with(&issuing.id()), issuing));
        let request = IssueRequest {
            csr: &csr,
            subject: Subject {
                common_name: "www.example.com",
                organization: "Example",
                city: "Lehi",
                state: "Utah",
                country: "us",
            },
            dns_names: &NAMES.map(str::to_owned),
            not_before: now,
            not_after: now + jiff::Span::new().hours(24),
            signature_hash: "sha256",
            server_auth_only: true,
            extended: Some(Extended { registration_number: "4711", jurisdiction: "us" }),
        };
        fs::write(dir.path().join("leaf.pem"), issuing.issue(&request).unwrap().leaf_pem).unwrap();
        fs::write(dir.path().join("intermediate.pem"), issuing.pem()).unwrap();
        let verified = told(dir.path(), "verify -x509_strict -CAfile root.pem -untrusted intermediate.pem leaf.pem");
        assert_eq!(verified.trim(), "leaf.pem: OK", "{}", issuing.name());
        let text = told(dir.path(), "x509 -in leaf.pem -noout -text -nameopt utf8");
        for part in [
            issuing.name(),
            "Policy: 2.23.140.1.1\n",
            "businessCategory=Private Organization",
            "jurisdictionC=US",
            "serialNumber=4711",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }
}

fn webpki_verifies(authority: &Authority, leaf: &str) {
    let der = |text: &str| CertificateDer::from(pem::parse(text).unwrap().into_contents());
    let (root, intermediate, leaf) = (der(authority.root_pem()), der(authority.intermediate_pem()), der(leaf));
    let anchor = webpki::anchor_from_trusted_cert(&root).unwrap();
    let end = webpki::EndEntityCert::try_from(&leaf).unwrap();
    let now = UnixTime::since_unix_epoch(Duration::from_secs(Timestamp::now().as_second().unsigned_abs() + 5));
    end.verify_for_usage(
        webpki::ALL_VERIFICATION_ALGS,
        &[anchor],
        &[intermediate],
        now,
        webpki::KeyUsage::server_auth(),
        None,
        None,
    )
    .unwrap();
    let valid = |name: &'static str| end.verify_is_valid_for_subject_name(&ServerName::try_from(name).unwrap()).is_ok();
    assert!(valid("www.example.com") && valid("b.example.com") && !valid("example.org"));
}

#[test]
fn serial_numbers_differ_and_have_sixteen_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::generate(Timestamp::now()).unwrap();
    let text = csr(dir.path(), "ec -pkeyopt ec_paramgen_curve:P-256", "");
    let mut serials: Vec<String> = (0..50).map(|_| issue(&authority, &text, true).serial_number).collect();
    assert!(serials.iter().all(|serial| serial.len() == 32), "{serials:?}");
    serials.sort();
    serials.dedup();
    assert_eq!(serials.len(), 50);
}

#[test]
fn a_directory_keeps_its_authority() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let first = Authority::load_or_create(&state, Timestamp::now()).unwrap();
    let again = Authority::load_or_create(&state, Timestamp::now()).unwrap();
    assert_eq!(first.root_pem(), again.root_pem());
    assert_eq!(first.intermediate_pem(), again.intermediate_pem());
    assert_eq!(first.intermediate_id(), again.intermediate_id());
    // It signs as before.
    let issued = issue(&again, &csr(dir.path(), "ec -pkeyopt ec_paramgen_curve:P-256", ""), true);
    webpki_verifies(&first, &issued.leaf_pem);
    let files: Vec<_> = fs::read_dir(&state).unwrap().map(|entry| entry.unwrap()).collect();
    assert_eq!(files.len(), 1);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(files[0].metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
    let path = files[0].path();
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, &text[..text.len() / 2]).unwrap();
    let error = Authority::load_or_create(&state, Timestamp::now()).err().unwrap().to_string();
    assert!(error.contains("authority.pem") && error.contains("move it away"), "{error}");
}

#[test]
fn downloads_open() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::generate(Timestamp::now()).unwrap();
    let leaf = issue(&authority, &csr(dir.path(), "ec -pkeyopt ec_paramgen_curve:P-256", ""), true).leaf_pem;
    let (intermediate, root) = (authority.intermediate_pem(), authority.root_pem());
    let get = |format: &str| download(format, &leaf, intermediate, root, "*.example.com");

    for (format, extension, certificates) in
        [("default", "crt", 3), ("default_pem", "crt", 3), ("default_cer", "cer", 3), ("apache", "crt", 2)]
    {
        let file = get(format).unwrap();
        assert_eq!(file.content_type, "application/zip");
        assert_eq!(file.file_name, "star_example_com.zip");
        let mut zip = zip::ZipArchive::new(std::io::Cursor::new(file.body)).unwrap();
        let names: Vec<String> = zip.file_names().map(str::to_owned).collect();
        assert_eq!(names.len(), certificates, "{format}: {names:?}");
        assert!(names.iter().all(|name| name.ends_with(&format!(".{extension}"))), "{format}: {names:?}");
        let mut inner = String::new();
        let leaf_name = format!("star_example_com.{extension}");
        std::io::Read::read_to_string(&mut zip.by_name(&leaf_name).unwrap(), &mut inner).unwrap();
        assert_eq!(inner, leaf.replace('\n', "\r\n"), "lines end as the service ends them");
    }
    for (format, extension) in [("p7b", "p7b"), ("cer", "cer")] {
        let file = get(format).unwrap();
        assert_eq!(file.content_type, "application/x-pkcs7-certificates");
        assert!(file.file_name.ends_with(extension));
        assert!(file.body.starts_with(b"-----BEGIN PKCS7-----\r\n"));
        fs::write(dir.path().join("chain.p7b"), file.body).unwrap();
        let text = told(dir.path(), "pkcs7 -in chain.p7b -print_certs");
        let inside: Vec<Vec<u8>> = pem::parse_many(&text).unwrap().into_iter().map(pem::Pem::into_contents).collect();
        let wanted = [leaf.as_str(), intermediate, root].map(|text| pem::parse(text).unwrap().into_contents());
        assert_eq!(inside, wanted);
    }
    let blocks = |format: &str| {
        let file = get(format).unwrap();
        assert_eq!(file.content_type, "application/x-pem-file");
        pem::parse_many(file.body).unwrap().into_iter().map(pem::Pem::into_contents).collect::<Vec<_>>()
    };
    let [l, i, r] = [leaf.as_str(), intermediate, root].map(|text| pem::parse(text).unwrap().into_contents());
    assert_eq!(blocks("pem_all"), [l.clone(), i.clone(), r]);
    assert_eq!(blocks("pem_noroot"), [l.clone(), i]);
    for format in ["pem_nointermediate", "pem", "crt"] {
        assert_eq!(blocks(format), std::slice::from_ref(&l), "{format}");
    }
    assert!(get("pkcs12").is_none());
}
