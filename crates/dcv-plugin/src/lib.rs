//! Provider plugins: any program's DNS host, in any language, without a line of it in `dcv`.
//!
//! A plugin is a shared library with one exported function, described in `include/dcv_plugin.h`: a versioned C ABI, with JSON
//! across it. [`Plugin::load`] loads one into this process; [`Isolated`] runs it in a process of its own, where a crash, a hang or a
//! leak of the plugin is an error of one call and not the end of the host. Rust guests need one line, [`export_provider!`].
//!
//! The crate decides nothing about proofs. It is the only one with unsafe code, all of it in [`mod@host`] and [`guest`].

pub mod guest;
pub mod host;
mod isolated;
pub mod wire;

use std::path::PathBuf;

use dcv_provider::{Descriptor, OptionSpec, Proof, ProofKind, Result, dns::Dns};
use serde::Deserialize;

pub use host::{Opened, Plugin, PluginError};
pub use isolated::{Isolated, describe, serve};

/// The version of the ABI.
pub const ABI: u32 = 1;

/// What this kind of provider is; what a plugin itself is, it says when it is loaded.
pub const DESCRIPTOR: Descriptor = Descriptor {
    id: "plugin",
    title: "Dynamically loaded plugin",
    proofs: &[ProofKind::Txt, ProofKind::Cname, ProofKind::File],
    batch: "as the plugin does",
    options: &[
        OptionSpec { name: "path", help: "The shared library", required: true, secret: false },
        OptionSpec {
            name: "sha256",
            help: "Its SHA-256 in hexadecimal; another file is refused",
            required: false,
            secret: false,
        },
        OptionSpec {
            name: "isolation",
            help: "\"process\" (default): in a process of its own; \"none\": in this one",
            required: false,
            secret: false,
        },
        OptionSpec { name: "config", help: "The plugin's own configuration, a table", required: false, secret: false },
    ],
    example: r#"type = "plugin"
path = "/usr/lib/dcv/libacme_dns.so"
sha256 = "…"
config = { account = "example" }
"#,
};

/// The configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The shared library.
    pub path: PathBuf,
    /// Its SHA-256.
    pub sha256: Option<String>,
    /// Where it runs.
    #[serde(default)]
    pub isolation: Isolation,
    /// The plugin's own configuration.
    #[serde(default)]
    pub config: serde_json::Map<String, serde_json::Value>,
}

/// Where a plugin runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// In a process of its own.
    #[default]
    Process,
    /// In this one: faster by a few microseconds a call, and as safe as the plugin.
    None,
}

/// A plugin in either form.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one for each provider")]
pub enum PluginProvider {
    /// In this process.
    Loaded(Opened),
    /// In its own.
    Isolated(Isolated),
}

/// Sets a plugin up from a configuration. The host process of an isolated one is this program with the arguments
/// `plugin host`.
///
/// # Errors
/// [`ErrorKind::Config`](dcv_provider::ErrorKind::Config) when it cannot be loaded, is another file than the pinned one, or refuses its configuration.
pub async fn from_config(config: Config, _: Option<Dns>) -> Result<PluginProvider> {
    let settings = serde_json::Value::Object(config.config);
    match config.isolation {
        Isolation::Process => {
            let program = std::env::current_exe().map_err(|e| PluginError::Host(e.to_string()))?;
            let mut command = vec![program.into_os_string(), "plugin".into(), "host".into(), config.path.into()];
            command.extend(config.sha256.into_iter().flat_map(|sum| ["--sha256".into(), sum.into()]));
            Isolated::start(command, settings).await.map(PluginProvider::Isolated)
        }
        Isolation::None => {
            let plugin = Plugin::load(&config.path, config.sha256.as_deref())?;
            plugin.open(settings).await.map(PluginProvider::Loaded)
        }
    }
}

impl PluginProvider {
    fn descriptor_of_plugin(&self) -> &'static Descriptor {
        match self {
            Self::Loaded(provider) => provider.descriptor_of_plugin(),
            Self::Isolated(provider) => provider.descriptor_of_plugin(),
        }
    }

    async fn call(&self, verb: wire::Verb, proofs: &[Proof]) -> Result<wire::Reply> {
        match self {
            Self::Loaded(provider) => provider.call(verb, proofs).await,
            Self::Isolated(provider) => provider.call(verb, proofs).await,
        }
    }
}

wire::provider_by_verb!(PluginProvider);
