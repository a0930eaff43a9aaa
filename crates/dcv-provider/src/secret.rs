//! Credentials, from where they are kept to where they are used, and nowhere else.

use std::path::PathBuf;

use secrecy::SecretString;
use serde::Deserialize;

use crate::Result;

/// Where a credential is to be found. In `dcv.toml`:
///
/// ```toml
/// key = { env = "DIGICERT_API_KEY" }
/// key = { file = "/run/credentials/dcv/api-key" }   # must not be readable by others
/// key = { command = ["pass", "digicert/api"] }      # its standard output
/// key = "…"                                         # in place; works, but then the file is the secret
/// ```
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Secret {
    /// The name of an environment variable.
    Env {
        /// Its name.
        env: String,
    },
    /// A file whose content, less the white space at its end, is the secret.
    File {
        /// Its path.
        file: PathBuf,
    },
    /// A program and its arguments; no shell is involved.
    Command {
        /// Program and arguments.
        command: Vec<String>,
    },
    /// The secret itself.
    Inline(SecretString),
}

impl Secret {
    /// Reads the secret. `field` is the configuration key it was given for, as errors name it.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) when the variable is not set, the file is missing, empty or readable by
    /// others (mode beyond 0640), or the command fails; the error names the field and the way out, never the value.
    pub async fn read(&self, field: &str) -> Result<SecretString> {
        let _ = field;
        Err(crate::ProviderError::new(crate::ErrorKind::Config, "not written yet"))
    }
}
