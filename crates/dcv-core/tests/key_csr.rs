//! Keys and CSRs, ours and those that OpenSSL makes.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use dcv_core::{
    key::{Csr, KeyError, KeyKind, PrivateKey, PublicKeyKind},
    name::DnsName,
};
use secrecy::ExposeSecret;
use tempfile::TempDir;

fn names(texts: &[&str]) -> Vec<DnsName> {
    texts.iter().map(|text| DnsName::parse(text).unwrap()).collect()
}

/// Runs `openssl ARGS` in `dir`, the arguments being separated by single blanks.
fn openssl(dir: &Path, args: &str) -> String {
    let output = Command::new("openssl")
        .args(args.split(' '))
        .current_dir(dir)
        .stdin(Stdio::null())
        .output()
        .expect("the program `openssl` is installed");
    assert!(output.status.success(), "openssl {args}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn kinds_are_written_and_read() {
    let table = [
        ("ecdsa-p256", KeyKind::EcdsaP256),
        ("P-256", KeyKind::EcdsaP256),
        ("ECDSA_P384", KeyKind::EcdsaP384),
        ("p384", KeyKind::EcdsaP384),
        ("rsa2048", KeyKind::Rsa2048),
        ("RSA-3072", KeyKind::Rsa3072),
        ("rsa4096", KeyKind::Rsa4096),
    ];
    for (text, kind) in table {
        assert_eq!(text.parse::<KeyKind>().unwrap(), kind, "{text}");
        assert_eq!(kind.to_string().parse::<KeyKind>().unwrap(), kind);
        assert_eq!(serde_json::from_str::<KeyKind>(&serde_json::to_string(&kind).unwrap()).unwrap(), kind);
    }
    for text in ["rsa1024", "rsa", "", "ed25519", "256", "ecdsa"] {
        let error = text.parse::<KeyKind>().unwrap_err().to_string();
        assert!(error.contains("use ecdsa-p256"), "{error}");
    }
}

#[test]
fn every_kind_makes_a_key_and_a_csr_that_openssl_accepts() {
    let dir = folder();
    let wanted = names(&["example.com", "*.example.com", "münchen.de"]);
    for (kind, public) in [
        (KeyKind::EcdsaP256, PublicKeyKind::EcdsaP256),
        (KeyKind::EcdsaP384, PublicKeyKind::EcdsaP384),
        (KeyKind::Rsa2048, PublicKeyKind::Rsa { bits: 2048 }),
        (KeyKind::Rsa3072, PublicKeyKind::Rsa { bits: 3072 }),
    ] {
        let key = PrivateKey::generate(kind).unwrap();
        assert_eq!(key.kind(), public);
        let csr = key.csr(&wanted).unwrap();
        assert_eq!(csr.key_kind(), public);
        assert!(csr.matches_key(&key));
        assert_eq!(csr.spki(), key.spki());
        assert_eq!(csr.names(), ["example.com", "*.example.com", "xn--mnchen-3ya.de"]);
        csr.check_names(&wanted).unwrap();

        std::fs::write(dir.path().join("csr.pem"), csr.pem()).unwrap();
        key.write(&dir.path().join("key.pem")).unwrap();
        let text = openssl(dir.path(), "req -in csr.pem -noout -verify -text");
        assert!(text.contains("DNS:example.com, DNS:*.example.com, DNS:xn--mnchen-3ya.de"), "{text}");
        assert!(text.contains("Subject: CN = example.com\n"), "{text}");
        let of_csr = openssl(dir.path(), "req -in csr.pem -noout -pubkey");
        assert_eq!(of_csr, openssl(dir.path(), "pkey -in key.pem -pubout"));

        let again = PrivateKey::from_pem(key.to_pem().expose_secret()).unwrap();
        assert_eq!(again.spki(), key.spki());
        assert!(!csr.matches_key(&PrivateKey::generate(KeyKind::EcdsaP256).unwrap()));
    }
}

#[test]
fn a_name_too_long_for_the_common_name_stands_in_the_extension_only() {
    let long = names(&[&format!("{}.example.com", "a".repeat(60)), "example.com"]);
    let csr = PrivateKey::generate(KeyKind::EcdsaP256).unwrap().csr(&long).unwrap();
    csr.check_names(&long).unwrap();
    assert_eq!(csr.names().len(), 2);
}

#[test]
fn nothing_of_a_key_is_shown() {
    let key = PrivateKey::generate(KeyKind::EcdsaP256).unwrap();
    assert_eq!(format!("{key:?}"), "PrivateKey { kind: EcdsaP256, .. }");
    assert!(!format!("{:?}", key.to_pem()).contains("BEGIN"));
}

#[cfg(unix)]
#[test]
fn a_written_key_is_whole_private_and_alone() {
    use std::os::unix::fs::PermissionsExt;
    let dir = folder();
    let path = dir.path().join("key.pem");
    std::fs::write(&path, "old").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let key = PrivateKey::generate(KeyKind::EcdsaP256).unwrap();
    key.write(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let read = PrivateKey::from_pem(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(read.spki(), key.spki());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);

    let error = key.write(&dir.path().join("no/such/key.pem")).unwrap_err().to_string();
    assert!(error.contains("no/such/key.pem"), "{error}");
    std::fs::create_dir(dir.path().join("folder")).unwrap();
    let error = key.write(&dir.path().join("folder")).unwrap_err().to_string();
    assert!(error.contains("is a folder"), "{error}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[test]
fn keys_of_other_tools_are_read() {
    let dir = folder();
    let at = dir.path();
    openssl(at, "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out rsa8.pem");
    openssl(at, "rsa -in rsa8.pem -traditional -out rsa1.pem");
    openssl(at, "ecparam -name prime256v1 -genkey -out sec1-256.pem");
    openssl(at, "ecparam -name secp384r1 -genkey -noout -out sec1-384.pem");
    openssl(at, "pkey -in sec1-256.pem -out ec8.pem");
    let crlf = std::fs::read_to_string(at.join("sec1-256.pem")).unwrap().replace('\n', "\r\n");
    std::fs::write(at.join("crlf.pem"), format!("Bag Attributes\r\n{crlf}")).unwrap();
    let table = [
        ("rsa8.pem", PublicKeyKind::Rsa { bits: 2048 }),
        ("rsa1.pem", PublicKeyKind::Rsa { bits: 2048 }),
        ("sec1-256.pem", PublicKeyKind::EcdsaP256),
        ("sec1-384.pem", PublicKeyKind::EcdsaP384),
        ("ec8.pem", PublicKeyKind::EcdsaP256),
        ("crlf.pem", PublicKeyKind::EcdsaP256),
    ];
    for (file, kind) in table {
        let key = PrivateKey::from_pem(&std::fs::read_to_string(at.join(file)).unwrap())
            .unwrap_or_else(|e| panic!("{file}: {e}"));
        assert_eq!(key.kind(), kind, "{file}");
        key.write(&at.join("again.pem")).unwrap();
        let of = |name: &str| openssl(at, &format!("pkey -in {name} -pubout"));
        assert_eq!(of("again.pem"), of(file), "{file}");
        key.csr(&names(&["example.com"])).unwrap();
    }
}

#[test]
fn keys_that_cannot_be_used_say_why() {
    let dir = folder();
    let at = dir.path();
    openssl(at, "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out ec.pem");
    openssl(at, "pkey -in ec.pem -aes256 -passout pass:x -out encrypted8.pem");
    openssl(at, "genrsa -traditional -aes128 -passout pass:x -out encrypted1.pem 2048");
    openssl(at, "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024 -out small.pem");
    openssl(at, "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-521 -out p521.pem");
    openssl(at, "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:secp256k1 -out k1.pem");
    openssl(at, "ecparam -name brainpoolP256r1 -genkey -noout -out brainpool.pem");
    openssl(at, "genpkey -algorithm ED25519 -out ed.pem");
    openssl(at, "ec -in ec.pem -no_public -out nopublic.pem");
    openssl(at, "pkey -in ec.pem -pubout -out public.pem");
    openssl(at, "req -new -key ec.pem -subj /CN=example.com -out csr.pem");
    std::fs::write(at.join("empty.pem"), "").unwrap();
    let pem = std::fs::read_to_string(at.join("ec.pem")).unwrap();
    std::fs::write(at.join("cut.pem"), &pem[..pem.len() - 40]).unwrap();
    std::fs::write(
        at.join("ssh.pem"),
        "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n",
    )
    .unwrap();
    let table = [
        ("encrypted8.pem", "without a passphrase"),
        ("encrypted1.pem", "without a passphrase"),
        ("small.pem", "RSA of 1024 bits"),
        ("p521.pem", "P-521"),
        ("k1.pem", "neither P-256 nor P-384"),
        ("brainpool.pem", "neither P-256 nor P-384"),
        ("ed.pem", "neither ECDSA nor RSA"),
        ("nopublic.pem", "public part is missing"),
        ("public.pem", "`PUBLIC KEY` was found"),
        ("csr.pem", "`CERTIFICATE REQUEST` was found"),
        ("empty.pem", "no -----BEGIN"),
        ("cut.pem", "PEM"),
        ("ssh.pem", "ssh-keygen"),
    ];
    for (file, expected) in table {
        let error = PrivateKey::from_pem(&std::fs::read_to_string(at.join(file)).unwrap()).unwrap_err().to_string();
        assert!(error.contains(expected), "{file}: {error}");
        assert!(!error.contains('\n'), "{file}: {error}");
    }
}

#[test]
fn csrs_of_other_tools_are_read() {
    let dir = folder();
    let at = dir.path();
    openssl(at, "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out rsa.pem");
    openssl(at, "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out ec.pem");
    openssl(at, "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-521 -out p521.pem");
    let make = |file: &str, args: &str| {
        openssl(at, &format!("req -new -out {file} {args}"));
        Csr::from_pem(&std::fs::read_to_string(at.join(file)).unwrap()).unwrap_or_else(|e| panic!("{file}: {e}"))
    };
    // A subject as openssl asks for, must-staple, key usage and a challenge password: none of our business.
    let csr = make(
        "full.pem",
        "-key rsa.pem -subj /C=DE/O=Example/CN=WWW.Example.com/emailAddress=a@example.com \
         -addext subjectAltName=DNS:example.com,DNS:www.example.com,email:a@example.com,IP:192.0.2.1 \
         -addext tlsfeature=status_request -addext keyUsage=digitalSignature -addext subjectKeyIdentifier=hash"
            .replace("         ", "")
            .as_str(),
    );
    assert_eq!(csr.names(), ["www.example.com", "example.com", "192.0.2.1"]);
    assert_eq!(csr.key_kind(), PublicKeyKind::Rsa { bits: 2048 });

    assert_eq!(make("cn.pem", "-key ec.pem -subj /CN=example.com").names(), ["example.com"]);
    assert!(make("org.pem", "-key ec.pem -subj /CN=Example.Ltd./O=Example").names().len() <= 1);
    assert!(make("person.pem", "-key ec.pem -subj /CN=JaneDoe").names().is_empty());
    assert!(make("none.pem", "-key ec.pem -subj /").names().is_empty());
    assert_eq!(make("p521-csr.pem", "-key p521.pem -subj /CN=example.com").key_kind(), PublicKeyKind::EcdsaP521);
    make("sha512.pem", "-key ec.pem -sha512 -subj /CN=example.com");
    make("sha384.pem", "-key rsa.pem -sha384 -subj /CN=example.com");
    make(
        "pss.pem",
        "-key rsa.pem -sha256 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:32 -subj /CN=example.com",
    );

    // What is sent is written in one way, however it came.
    let plain = std::fs::read_to_string(at.join("cn.pem")).unwrap();
    let odd = format!(
        "Certificate Request:\r\n{}",
        plain.replace('\n', "\r\n").replace("BEGIN CERT", "BEGIN NEW CERT").replace("END CERT", "END NEW CERT")
    );
    assert_eq!(Csr::from_pem(&odd).unwrap().pem(), plain);
}

#[test]
fn csrs_that_no_ca_accepts_say_why() {
    let dir = folder();
    let at = dir.path();
    openssl(at, "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out rsa.pem");
    openssl(at, "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024 -out small.pem");
    openssl(at, "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -pkeyopt rsa_keygen_pubexp:3 -out e3.pem");
    openssl(at, "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2052 -out odd.pem");
    openssl(at, "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out ec.pem");
    openssl(at, "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:secp256k1 -out k1.pem");
    openssl(
        at,
        "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -pkeyopt ec_param_enc:explicit -out explicit.pem",
    );
    openssl(at, "ec -in ec.pem -conv_form compressed -out compressed.pem");
    openssl(at, "genpkey -algorithm ED25519 -out ed.pem");
    let make = |args: &str| openssl(at, &format!("req -new -subj /CN=example.com {args}"));
    let good = make("-key ec.pem");
    let der = pem::parse(&good).unwrap().into_contents();
    let again = |der: Vec<u8>| pem::encode(&pem::Pem::new("CERTIFICATE REQUEST", der));
    // The subject says example.com; a CSR for example.org with that signature is a forgery.
    let mut forged = der.clone();
    let com = forged.windows(4).position(|window| window == b".com").unwrap();
    forged[com + 1..com + 4].copy_from_slice(b"org");
    let table: Vec<(&str, String, &str)> = vec![
        ("1024", make("-key small.pem"), "RSA of 1024 bits"),
        ("e=3", make("-key e3.pem"), "exponent"),
        ("2052", make("-key odd.pem"), "RSA of 2052 bits"),
        ("k1", make("-key k1.pem"), "on the curve 1.3.132.0.10"),
        ("explicit", make("-key explicit.pem"), "unnamed curve"),
        ("compressed", make("-key compressed.pem"), "compressed"),
        ("ed25519", make("-key ed.pem"), "of a kind (1.3.101.112)"),
        ("sha1", make("-key rsa.pem -sha1"), "SHA-1"),
        ("ecdsa sha1", make("-key ec.pem -sha1"), "SHA-1"),
        ("md5", make("-key rsa.pem -md5"), "MD5"),
        ("pss sha1", make("-key rsa.pem -sha1 -sigopt rsa_padding_mode:pss"), "weak hash"),
        ("forged", again(forged), "signature does not fit"),
        ("cut", again(der[..der.len() - 5].to_vec()), "broken"),
        ("longer", again([der, vec![0]].concat()), "too many"),
        ("key", std::fs::read_to_string(at.join("ec.pem")).unwrap(), "`PRIVATE KEY` was found"),
        ("base64 only", good.lines().filter(|line| !line.starts_with('-')).collect(), "no -----BEGIN"),
    ];
    for (what, pem, expected) in table {
        let error = Csr::from_pem(&pem).err().unwrap_or_else(|| panic!("{what} was taken")).to_string();
        assert!(error.contains(expected), "{what}: {error}");
        assert!(!error.contains('\n'), "{what}: {error}");
    }
}

#[test]
fn names_in_a_csr_that_are_not_ordered_are_an_error() {
    let key = PrivateKey::generate(KeyKind::EcdsaP256).unwrap();
    let csr = key.csr(&names(&["example.com", "old.example.com", "older.example.com"])).unwrap();
    match csr.check_names(&names(&["example.com", "new.example.com"])) {
        Err(KeyError::OtherNames { extra, missing }) => {
            assert_eq!(extra, ["old.example.com", "older.example.com"]);
            assert_eq!(missing, ["new.example.com"]);
        }
        other => panic!("{other:?}"),
    }
    let error = key.csr(&names(&["a.com"])).unwrap().check_names(&names(&["b.com"])).unwrap_err().to_string();
    assert_eq!(
        error,
        "the CSR also names a.com, which is not ordered, and lacks b.com; order them too or make a CSR without them"
    );
    // Fewer or none are fine: the order's names count.
    key.csr(&names(&["example.com"])).unwrap().check_names(&names(&["example.com", "www.example.com"])).unwrap();
    key.csr(&[]).unwrap().check_names(&names(&["example.com"])).unwrap();
}
