//! A DNS host of one's own as a plugin. Where this one reads and writes a zone as a text file, yours calls an API; all else stays.
//! `cargo build -p dcv-example-plugin --example acme`, then `dcv plugin check target/debug/examples/libacme.so`.

use std::path::PathBuf;

use async_trait::async_trait;
use dcv_provider::{
    Descriptor, ErrorKind, OptionSpec, ProofKind, ProviderError, Result,
    dns::Dns,
    secret::Secret,
    zone::{Change, Record, Zone, ZoneEditor, ZoneProvider, longest_suffix, merge},
};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

const ACME: Descriptor = Descriptor {
    id: "acme",
    title: "Acme DNS",
    proofs: &[ProofKind::Txt, ProofKind::Cname],
    batch: "one write per zone",
    options: &[
        OptionSpec { name: "folder", help: "Where the zones are", required: true, secret: false },
        OptionSpec { name: "zones", help: "Which there are", required: true, secret: false },
        OptionSpec { name: "key", help: "API key", required: true, secret: true },
    ],
    example: "folder = \"/srv/acme\"\nzones = [\"example.com\"]\nkey = { file = \"/etc/dcv/acme.key\" }\n",
};

/// What stands in `config` of `dcv.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    folder: PathBuf,
    zones: Vec<String>,
    /// Read in the plugin's process, from wherever the configuration says.
    key: Secret,
}

struct Acme {
    folder: PathBuf,
    zones: Vec<Zone>,
    key: SecretString,
}

async fn from_config(config: Config) -> Result<ZoneProvider<Acme>> {
    let zones = config.zones.into_iter().map(|apex| Zone { id: apex.clone(), apex }).collect();
    let acme = Acme { folder: config.folder, zones, key: config.key.read("key").await? };
    // With name servers to ask, aliases at `_dnsauth` are followed.
    Ok(ZoneProvider::new(acme, Dns::system().ok()))
}

#[async_trait]
impl ZoneEditor for Acme {
    fn descriptor(&self) -> &Descriptor {
        &ACME
    }

    async fn find_zone(&self, name: &str) -> Result<Option<Zone>> {
        Ok(longest_suffix(&self.zones, name).cloned())
    }

    async fn check(&self, zone: &Zone, _records: &[Record]) -> Result<()> {
        if self.key.expose_secret() == "good" {
            return Ok(());
        }
        Err(ProviderError::new(ErrorKind::Credentials, "key: it is not accepted").about([&zone.apex]))
    }

    async fn apply(&self, zone: &Zone, change: &Change) -> Result<()> {
        let path = self.folder.join(&zone.apex);
        let failed =
            |error: std::io::Error| ProviderError::new(ErrorKind::Unavailable, format!("{}: {error}", path.display()));
        // A zone that has no records yet has no file.
        let mut records: Vec<String> = match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            text => text.map_err(failed)?.lines().map(str::to_owned).collect(),
        };
        for ((name, rtype), (add, remove)) in change.by_record_set() {
            let start = format!("{name} {rtype} ");
            let values: Vec<String> =
                records.iter().filter_map(|line| line.strip_prefix(&start)).map(str::to_owned).collect();
            records.retain(|line| !line.starts_with(&start));
            // Other people's values stay.
            records.extend(merge(&values, &add, &remove).into_iter().map(|value| format!("{start}{value}")));
        }
        let text: String = records.iter().map(|line| format!("{line}\n")).collect();
        std::fs::write(&path, text).map_err(failed)
    }

    fn place(&self) -> String {
        self.folder.display().to_string()
    }
}

dcv_plugin::export_provider!(ACME, from_config);
