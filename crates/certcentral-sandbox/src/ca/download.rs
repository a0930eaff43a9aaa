//! The files a certificate is downloaded as (CertCentral API glossary, certificate formats). All contents are PEM.

use std::io::{Cursor, Write};

use yasna::{Tag, models::ObjectIdentifier};
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

const ZIP: &str = "application/zip";
const PKCS7: &str = "application/x-pkcs7-certificates";
const PEM: &str = "application/x-pem-file";

const OID_DATA: &[u64] = &[1, 2, 840, 113_549, 1, 7, 1];
const OID_SIGNED_DATA: &[u64] = &[1, 2, 840, 113_549, 1, 7, 2];

/// A file to send.
#[derive(Clone, Debug)]
pub struct Download {
    /// Its `Content-Type`.
    pub content_type: &'static str,
    /// Name for `Content-Disposition`.
    pub file_name: String,
    /// Its bytes.
    pub body: Vec<u8>,
}

/// The certificate in one of the API's formats, or `None` if there is no such format. `name` is the common name; the
/// file is called after it.
pub fn download(format: &str, leaf_pem: &str, intermediate_pem: &str, root_pem: &str, name: &str) -> Option<Download> {
    let stem: String = match name.strip_prefix("*.") {
        Some(rest) => format!("star.{rest}"),
        None => name.to_owned(),
    };
    let stem: String =
        stem.chars().map(|char| if char.is_ascii_alphanumeric() || char == '-' { char } else { '_' }).collect();
    let file = |extension: &str| format!("{stem}.{extension}");
    let zipped = |extension: &str, root: bool| {
        let mut files =
            vec![(format!("{stem}.{extension}"), leaf_pem), (format!("DigiCertCA.{extension}"), intermediate_pem)];
        if root {
            files.push((format!("TrustedRoot.{extension}"), root_pem));
        }
        Some((ZIP, file("zip"), zip(&files)?))
    };
    let single = |extension: &str, parts: &[&str]| {
        Some((PEM, file(extension), parts.iter().map(|part| crlf(part)).collect::<String>().into_bytes()))
    };
    let bundle =
        |extension: &str| Some((PKCS7, file(extension), pkcs7(&[leaf_pem, intermediate_pem, root_pem])?.into_bytes()));
    let (content_type, file_name, body) = match format {
        "default" | "default_pem" => zipped("crt", true),
        "default_cer" => zipped("cer", true),
        "apache" => zipped("crt", false),
        "cer" => bundle("cer"),
        "p7b" => bundle("p7b"),
        "pem_all" => single("pem", &[leaf_pem, intermediate_pem, root_pem]),
        "pem_noroot" => single("pem", &[leaf_pem, intermediate_pem]),
        "pem_nointermediate" | "pem" => single("pem", &[leaf_pem]),
        "crt" => single("crt", &[leaf_pem]),
        _ => None,
    }?;
    Some(Download { content_type, file_name, body })
}

/// PEM with the line ends that the service writes, everywhere.
pub(crate) fn crlf(pem: &str) -> String {
    pem.lines().flat_map(|line| [line.trim_end(), "\r\n"]).collect()
}

fn zip(files: &[(String, &str)]) -> Option<Vec<u8>> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, content) in files {
        zip.start_file(name, stored).ok()?;
        zip.write_all(crlf(content).as_bytes()).ok()?;
    }
    Some(zip.finish().ok()?.into_inner())
}

/// A SignedData without content and signers, which is how certificates travel in PKCS #7 (RFC 2315 section 9.1).
fn pkcs7(certificates: &[&str]) -> Option<String> {
    let certificates: Vec<pem::Pem> = certificates.iter().map(pem::parse).collect::<Result<_, _>>().ok()?;
    let oid = ObjectIdentifier::from_slice;
    let der = yasna::construct_der(|writer| {
        writer.write_sequence(|writer| {
            writer.next().write_oid(&oid(OID_SIGNED_DATA));
            writer.next().write_tagged(Tag::context(0), |writer| {
                writer.write_sequence(|writer| {
                    writer.next().write_u8(1);
                    writer.next().write_set(|_| {});
                    writer.next().write_sequence(|writer| writer.next().write_oid(&oid(OID_DATA)));
                    // The order is kept, leaf first: readers take it as the chain's.
                    writer.next().write_tagged_implicit(Tag::context(0), |writer| {
                        writer.write_sequence(|writer| {
                            for certificate in &certificates {
                                writer.next().write_der(certificate.contents());
                            }
                        });
                    });
                    writer.next().write_set(|_| {});
                });
            });
        });
    });
    let lines = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::CRLF);
    Some(pem::encode_config(&pem::Pem::new("PKCS7", der), lines))
}
