//! Credentials, from where they are kept to where they are used, and nowhere else.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    process::Stdio,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::{ErrorKind, ProviderError, Result};

/// How long a command may take to say its secret; somebody may have to touch a token.
const COMMAND_DEADLINE: Duration = Duration::from_secs(30);

/// Where a credential is to be found. In `dcv.toml`:
///
/// ```toml
/// key = { env = "DIGICERT_API_KEY" }
/// key = { file = "/etc/dcv/api.key" }               # must not be readable by others
/// key = { credential = "api.key" }                  # of the service manager: LoadCredential= of systemd
/// key = { command = ["pass", "digicert/api"] }      # its standard output
/// key = "…"                                         # in place; works, but then the file is the secret
/// ```
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Secret {
    /// The name of an environment variable.
    Env {
        /// Its name.
        #[serde(deserialize_with = "variable")]
        env: String,
    },
    /// The name of a credential that the service manager hands over (systemd.exec(5), `LoadCredential=`): a file in the folder
    /// that `CREDENTIALS_DIRECTORY` names.
    Credential {
        /// Its name.
        credential: String,
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
    /// [`ErrorKind::Config`] when the variable is not set, the file is missing, empty or readable by
    /// others (mode beyond 0640), or the command fails; the error names the field and the way out, never the value.
    pub async fn read(&self, field: &str) -> Result<SecretString> {
        let wrong = |message: String| ProviderError::new(ErrorKind::Config, format!("{field}: {message}"));
        let (text, origin) = match self {
            Self::Inline(secret) => (secret.clone(), "the configuration".to_owned()),
            Self::Env { env } => {
                remember(env);
                let value = std::env::var(env).map_err(|_| {
                    wrong(format!("the environment variable `{env}` is not set; export it, or name another source"))
                })?;
                (value.into(), format!("the environment variable `{env}`"))
            }
            Self::File { file } => {
                let text = read_file(file).map_err(wrong)?;
                (text, format!("`{}`", file.display()))
            }
            Self::Credential { credential } => {
                let file = credential_file(credential).map_err(wrong)?;
                let text = read_file(&file).map_err(wrong)?;
                (text, format!("the credential `{credential}`"))
            }
            Self::Command { command } => {
                let text = run(command).await.map_err(wrong)?;
                (text, format!("the output of `{}`", command.first().map_or("", String::as_str)))
            }
        };
        match text.expose_secret().trim_end() {
            "" => Err(wrong(format!("{origin} is empty; put the secret there"))),
            trimmed => Ok(trimmed.into()),
        }
    }
}

/// The variables of the environment that configurations name for secrets. They are the process's, as its environment is.
static VARIABLES: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

fn remember(variable: &str) {
    VARIABLES.lock().unwrap_or_else(PoisonError::into_inner).insert(variable.to_owned());
}

fn variable<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    remember(&name);
    Ok(name)
}

/// A text of somebody who was told these secrets, without them: whoever is shown an error is not. To be used before anything is
/// cut off, since a piece of a secret is one, too.
#[must_use]
pub fn hide<'s>(text: String, secrets: impl IntoIterator<Item = &'s SecretString>) -> String {
    secrets.into_iter().map(ExposeSecret::expose_secret).filter(|secret| !secret.is_empty()).fold(
        text,
        |text, secret| {
            if text.contains(secret) { text.replace(secret, "[hidden]") } else { text }
        },
    )
}

/// Keeps from a program that is to be started the variables of the environment that hold secrets, as far as a configuration has
/// named them: they are none of its business.
pub fn withhold(program: &mut tokio::process::Command) -> &mut tokio::process::Command {
    for variable in VARIABLES.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        program.env_remove(variable);
    }
    program
}

fn credential_file(name: &str) -> Result<PathBuf, String> {
    if name.is_empty() || name.contains(['/', '\0']) || matches!(name, "." | "..") {
        return Err(format!(
            "`{}` is no name of a credential; give the one before the colon of LoadCredential=",
            name.escape_debug()
        ));
    }
    let folder = std::env::var_os("CREDENTIALS_DIRECTORY").filter(|folder| !folder.is_empty()).ok_or_else(|| {
        format!("the credential `{name}` is not to be had: CREDENTIALS_DIRECTORY is not set; run dcv as a service with LoadCredential={name}:PATH")
    })?;
    Ok(PathBuf::from(folder).join(name))
}

fn read_file(path: &std::path::Path) -> Result<SecretString, String> {
    let name = path.display();
    let cannot = |error: std::io::Error| format!("the secret file `{name}` cannot be read: {error}; check the path");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(path).map_err(cannot)?.permissions().mode() & 0o777;
        // The group may read: that is how services share a credential. Nobody else, and nobody may change it but its owner.
        if mode & 0o037 != 0 {
            return Err(format!(
                "the secret file `{name}` has mode {mode:04o}, so others can get at it; chmod 600 {name}"
            ));
        }
    }
    std::fs::read_to_string(path).map(Into::into).map_err(cannot)
}

async fn run(command: &[String]) -> Result<SecretString, String> {
    let (program, arguments) = command.split_first().ok_or("the command is empty; give a program and its arguments")?;
    let mut child = tokio::process::Command::new(program);
    let child =
        withhold(&mut child).args(arguments).stdin(Stdio::null()).stderr(Stdio::inherit()).kill_on_drop(true).output();
    let output = tokio::time::timeout(COMMAND_DEADLINE, child)
        .await
        .map_err(|_| format!("`{program}` has not ended after {} s", COMMAND_DEADLINE.as_secs()))?
        .map_err(|e| format!("`{program}` cannot be run: {e}"))?;
    if !output.status.success() {
        return Err(format!("`{program}` failed ({}); run it by hand to see why", output.status));
    }
    String::from_utf8(output.stdout).map(Into::into).map_err(|_| format!("the output of `{program}` is no text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(json: serde_json::Value) -> Result<String, String> {
        let secret: Secret = serde_json::from_value(json).expect("a secret");
        assert!(!format!("{secret:?}").contains("planted"), "it shows itself");
        secret.read("ca.key").await.map(|s| s.expose_secret().to_owned()).map_err(|e| e.to_string())
    }

    #[tokio::test]
    async fn secrets_come_from_everywhere_but_a_file_that_others_read() {
        let folder = std::env::temp_dir().join(format!("dcv-secret-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let file = folder.join("key");
        std::fs::write(&file, "planted-file\n").expect("a file");
        let mode = |mode| {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("a mode");
        };
        let from_file = serde_json::json!({ "file": file });
        mode(0o640);
        assert_eq!(read(from_file.clone()).await.as_deref(), Ok("planted-file"));
        mode(0o644);
        let error = read(from_file).await.expect_err("others read it");
        assert!(error.starts_with("ca.key: ") && error.contains("0644") && error.contains("chmod 600"), "{error}");
        std::fs::remove_dir_all(&folder).expect("removed");

        assert_eq!(read(serde_json::json!("planted-inline")).await.as_deref(), Ok("planted-inline"));
        assert_eq!(read(serde_json::json!({"command": ["echo", "said"]})).await.as_deref(), Ok("said"));
        // What a configuration names is kept from other programs, read or not.
        let _: Secret = serde_json::from_value(serde_json::json!({"env": "CARGO_PKG_NAME"})).expect("a secret");
        let said = read(serde_json::json!({"command": ["sh", "-c", "echo ${CARGO_PKG_NAME-gone} $CARGO_PKG_VERSION"]}));
        assert_eq!(said.await, Ok(format!("gone {}", env!("CARGO_PKG_VERSION"))));
        for (source, part) in [
            (serde_json::json!({"env": "DCV_NO_SUCH_VARIABLE"}), "DCV_NO_SUCH_VARIABLE"),
            (serde_json::json!({"file": "/no/such/file"}), "/no/such/file"),
            (serde_json::json!({"credential": "api-key"}), "CREDENTIALS_DIRECTORY is not set"),
            (serde_json::json!({"credential": "../api-key"}), "no name of a credential"),
            (serde_json::json!({"command": ["false"]}), "`false` failed"),
            (serde_json::json!({"command": ["/no/such/program"]}), "/no/such/program"),
            (serde_json::json!({"command": []}), "the command is empty"),
            (serde_json::json!({"command": ["true"]}), "is empty"),
            (serde_json::json!(""), "is empty"),
        ] {
            let error = read(source).await.expect_err(part);
            assert!(error.contains(part), "{error}");
        }
    }
}
