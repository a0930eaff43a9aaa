//! Holds `providers/README.md`, the table of providers, against what the providers say of themselves. `DCV_WRITE_PAGES=1 cargo test -p
//! dcv-tests --test providers_page` writes it anew.

use std::{fmt::Write as _, path::Path};

use dcv_provider::{Descriptor, ProofKind};

/// A provider, the folder of its crate, and by what its tests judge it.
const ALL: &[(&Descriptor, &str, &str)] = &[
    (&dcv_rfc2136::DESCRIPTOR, "rfc2136", "real servers: BIND, Knot"),
    (&dcv_powerdns::DESCRIPTOR, "powerdns", "real server: PowerDNS"),
    (&dcv_route53::DESCRIPTOR, "route53", "independent emulator: moto"),
    (&dcv_azure::DESCRIPTOR, "azure", "stand-in, held against Microsoft's OpenAPI document"),
    (&dcv_gcloud::DESCRIPTOR, "gcloud", "stand-in, held against Google's discovery document"),
    (&dcv_cloudflare::DESCRIPTOR, "cloudflare", "stand-in written from the vendor's documents"),
    (&dcv_akamai::DESCRIPTOR, "akamai", "stand-in; signatures by Akamai's published vectors"),
    (&dcv_infoblox::DESCRIPTOR, "infoblox", "stand-in written from the vendor's documents"),
    (&dcv_digitalocean::DESCRIPTOR, "digitalocean", "stand-in, held against DigitalOcean's OpenAPI document"),
    (&dcv_hetzner::DESCRIPTOR, "hetzner", "stand-in written from the vendor's documents and recorded answers"),
    (&dcv_ovh::DESCRIPTOR, "ovh", "stand-in written from recorded answers; signatures by OVHcloud's published example"),
    (&dcv_gandi::DESCRIPTOR, "gandi", "stand-in written from the vendor's documents and recorded answers"),
    (&dcv_desec::DESCRIPTOR, "desec", "stand-in written from the vendor's documents"),
    (&dcv_linode::DESCRIPTOR, "linode", "stand-in, held against Linode's OpenAPI document"),
    (&dcv_ns1::DESCRIPTOR, "ns1", "stand-in written from the vendor's documents"),
    (&dcv_acmedns::DESCRIPTOR, "acmedns", "stand-in written from the server's source"),
    (&dcv_bridge::command::DESCRIPTOR, "bridge", "real server: BIND, behind a program"),
    (&dcv_bridge::exec::DESCRIPTOR, "bridge", "real server: BIND, behind a script for lego"),
    (&dcv_bridge::httpreq::DESCRIPTOR, "bridge", "stand-in written from lego's source"),
    (&dcv_bridge::acmesh::DESCRIPTOR, "bridge", "real server: BIND, behind a script for acme.sh"),
    (&dcv_webroot::DESCRIPTOR, "webroot", "real server: nginx"),
    (&dcv_standalone::DESCRIPTOR, "standalone", "itself, by HTTP clients"),
    (
        &dcv_storage::DESCRIPTOR,
        "storage",
        "real servers: sshd, Apache, pyftpdlib; independent emulators: moto, azurite, fake-gcs-server",
    ),
    (&dcv_plugin::DESCRIPTOR, "../crates/dcv-plugin", "plugins in C and in Rust"),
];

/// The one with a workspace of its own, which cannot be asked here: it has a page of its own.
const OUTSIDE: &str = "dns-update";

fn lines(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).expect("a folder of sources").flatten();
    let of = |path: std::path::PathBuf| match path.is_dir() {
        true => lines(&path),
        false if path.extension().is_some_and(|end| end == "rs") => {
            std::fs::read_to_string(path).expect("a source").lines().count()
        }
        false => 0,
    };
    entries.map(|entry| of(entry.path())).sum()
}

fn page() -> String {
    let providers = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../providers"));
    let mut page = String::from(
        "# Providers\n\nMade from what the providers say of themselves, by `tests/tests/providers_page.rs`. All of them pass the same \
         [conformance suite](../crates/dcv-provider/src/conformance.rs) against what the fourth column names (acme-dns as far as it can: it \
         keeps two texts and removes none). What a provider needs is in the first paragraphs of its crate, its options in `dcv \
         providers`.\n\n| type | what | proofs | how many at once | judged by | lines of its crate, up to |\n|---|---|---|---|---|---|\n",
    );
    for (descriptor, folder, judged) in ALL {
        let word = |kind: &ProofKind| match kind {
            ProofKind::Txt => "TXT",
            ProofKind::Cname => "CNAME",
            ProofKind::File => "file",
        };
        let proofs = descriptor.proofs.iter().map(word).collect::<Vec<_>>().join(", ");
        let Descriptor { id, title, batch, .. } = descriptor;
        // Rounded, so that not every change of a line is a change of this page.
        let size = lines(&providers.join(folder).join("src")).div_ceil(100) * 100;
        let _ = writeln!(page, "| [`{id}`]({folder}/src/lib.rs) | {title} | {proofs} | {batch} | {judged} | {size} |");
    }
    page += "\nSome sixty hosts more are in [a plugin](dns-update/README.md).\n";
    page
}

#[test]
fn the_table_of_providers_says_what_they_say() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../providers/README.md");
    let page = page();
    if std::env::var_os("DCV_WRITE_PAGES").is_some() {
        std::fs::write(path, &page).expect("the page is written");
    }
    let known = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        known == page,
        "providers/README.md is of another day; DCV_WRITE_PAGES=1 cargo test -p dcv-tests --test providers_page"
    );
}

#[test]
fn every_crate_has_a_row() {
    let folders =
        std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../providers")).expect("the providers").flatten();
    for folder in folders.filter(|entry| entry.path().is_dir()) {
        let name = folder.file_name().to_string_lossy().into_owned();
        assert!(name == OUTSIDE || ALL.iter().any(|(_, of, _)| *of == name), "{name} has no row");
    }
}
