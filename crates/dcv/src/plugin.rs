//! `dcv plugin`: looking at a plugin before it is configured, and being the process of an isolated one.
//!
//! A plugin is looked at in a process of its own, too: loading it runs its code.

use std::path::Path;

use dcv_plugin::{Isolated, host};
use dcv_provider::DcvProvider;

use crate::{
    args,
    exit::{Code, Failure, Result},
    show::{self, Screen},
};

pub(crate) async fn plugin(screen: Screen, command: &args::Plugin) -> Result<Code> {
    match command {
        args::Plugin::Check { path, plugin_config } => check(screen, path, plugin_config.as_deref()).await,
        args::Plugin::Host { path, sha256, describe } => {
            let done = if *describe { dcv_plugin::describe(path) } else { dcv_plugin::serve(path, sha256.as_deref()) };
            done.map_err(|error| Failure::new(Code::Unexpected, format!("plugin host: {error}")))?;
            Ok(Code::Done)
        }
    }
}

async fn check(screen: Screen, path: &Path, config: Option<&str>) -> Result<Code> {
    let refused = |error: dcv_provider::ProviderError| Failure::new(Code::Usage, error.to_string());
    let wrong = |message: String| Failure::usage("plugin", message);
    let octets = std::fs::read(path).map_err(|e| wrong(format!("`{}`: {e}; check the path", path.display())))?;
    let program = std::env::current_exe().map_err(|e| wrong(e.to_string()))?;
    let mut host = vec![program.into_os_string(), "plugin".into(), "host".into(), path.into()];
    let config = if let Some(config) = config {
        serde_json::from_str(config)
            .map_err(|e| Failure::usage("--plugin-config", format!("it is no JSON object: {e}")))?
    } else {
        host.push("--describe".into());
        serde_json::Value::Null
    };
    let opened = Isolated::start(host, config).await;
    let provider = opened.map_err(refused)?;
    Ok(show::plugin(screen, provider.descriptor(), &host::sha256(&octets)))
}
