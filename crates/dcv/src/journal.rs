//! Where the journal is, and the one way to open it: a SQLite file, or a PostgreSQL database (feature `postgres`).

use std::{path::PathBuf, sync::Arc, time::Duration};

use dcv_core::journal::{Journal, SqliteJournal};
use dcv_provider::secret::Secret;
use serde::Deserializer;

use crate::{
    config::{Config, text_as},
    exit::Result,
};

/// Where a journal is kept.
pub(crate) enum Place<'c> {
    File(PathBuf),
    Database {
        database: &'c Database,
        password: Option<&'c Secret>,
        /// How long a worker holds a run after its last sign of life.
        lease: Option<Duration>,
    },
}

/// The journal; it is made where there is none.
pub(crate) async fn open(config: &Config) -> Result<Arc<dyn Journal>> {
    match config.journal() {
        Place::File(path) => Ok(Arc::new(SqliteJournal::open(path).await?)),
        // Boxed: what connecting needs would be part of every command.
        Place::Database { database, password, lease } => Box::pin(database.open(password, lease)).await,
    }
}

/// The journal, unless there is none yet: looking must not make one.
pub(crate) async fn open_if_any(config: &Config) -> Result<Option<Arc<dyn Journal>>> {
    match config.journal() {
        Place::File(path) if !path.exists() => Ok(None),
        _ => open(config).await.map(Some),
    }
}

/// A database by its URL.
pub(crate) fn database<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<Database>, D::Error> {
    text_as(deserializer, Database::read).map(Some)
}

#[cfg(feature = "postgres")]
pub(crate) use postgres::Database;

#[cfg(feature = "postgres")]
mod postgres {
    use std::{sync::Arc, time::Duration};

    use dcv_core::journal::{Journal, JournalError};
    use dcv_journal_postgres::{Options, PostgresJournal};
    use dcv_provider::secret::Secret;

    use crate::exit::{Code, Failure, Result};

    pub(crate) struct Database(Options);

    impl Database {
        pub(super) fn read(url: &str) -> std::result::Result<Self, String> {
            PostgresJournal::at(url).map(Self).map_err(|error| match error {
                JournalError::Store { message, .. } => message,
                other => other.to_string(),
            })
        }

        pub(crate) fn has_password(&self) -> bool {
            self.0.has_password()
        }

        pub(super) async fn open(
            &self,
            password: Option<&Secret>,
            lease: Option<Duration>,
        ) -> Result<Arc<dyn Journal>> {
            let mut options = self.0.clone();
            // As PostgreSQL's own programs have it.
            let usual = Secret::Env { env: "PGPASSWORD".to_owned() };
            let usual = (!options.has_password() && std::env::var_os("PGPASSWORD").is_some()).then_some(&usual);
            if let Some(password) = password.or(usual) {
                let password = password.read("state.password").await;
                options = options.password(&password.map_err(|error| Failure::new(Code::Usage, error.to_string()))?);
            }
            if let Some(lease) = lease {
                options = options.lease(lease);
            }
            Ok(Arc::new(options.connect().await?))
        }
    }
}

/// Stands for a database that this program cannot reach. There is none of it.
#[cfg(not(feature = "postgres"))]
pub(crate) enum Database {}

#[cfg(not(feature = "postgres"))]
impl Database {
    fn read(_url: &str) -> std::result::Result<Self, String> {
        Err("this dcv is built without PostgreSQL; build it with `cargo build --features postgres`, or give `path` for a SQLite file".to_owned())
    }

    pub(crate) fn has_password(&self) -> bool {
        match *self {}
    }

    #[expect(clippy::unused_async, reason = "it is called as the one of the feature is")]
    async fn open(&self, _password: Option<&Secret>, _lease: Option<Duration>) -> Result<Arc<dyn Journal>> {
        match *self {}
    }
}
