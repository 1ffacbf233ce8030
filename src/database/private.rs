//! The private PostgreSQL as this server wants it: its settings, and which of ours would help when
//! it does not start.
//!
//! Used by [`Database::open`](super::Database::open) where there is no `DATABASE_URL`. What it does
//! is in the crate `embedded-postgres`, which knows nothing of this server.

use super::error::Error;
use crate::config::Config;
use embedded_postgres::{EmbeddedPostgres, Settings};
use std::path::PathBuf;

/// The user, the database, and the beginning of the socket's directory.
const NAME: &str = "parlance";

/// Where `make run` puts the programs, relative to the working directory.
const DEVELOPMENT_BIN_DIR: &str = ".dev/postgres/bin";

/// Connections beside the pool and the lanes of commit: listeners, migrations, people with `psql`,
/// PostgreSQL's own three.
const OTHER_CONNECTIONS: usize = 30;

/// Starts it, or takes over the one that a killed server left.
pub(super) async fn start(config: &Config) -> Result<EmbeddedPostgres, Error> {
    let settings = settings(config);
    let started = EmbeddedPostgres::start(&settings).await;
    started.map_err(|error| Error::Embedded(explain(&error)))
}

fn settings(config: &Config) -> Settings {
    let pool = config.database.pool_size + config.database.max_overflow;
    Settings {
        name: NAME.to_owned(),
        data_dir: config.data_dir.clone(),
        bin_dir: config.database.postgres_bin_dir.clone(),
        bin_dir_candidates: vec![PathBuf::from(DEVELOPMENT_BIN_DIR)],
        max_connections: pool + config.conversations.persistence_lanes + OTHER_CONNECTIONS,
        connect_timeout: config.database.connect_timeout,
    }
}

/// The error with what the operator can do about it.
fn explain(error: &embedded_postgres::Error) -> String {
    use embedded_postgres::Error as Cause;
    match error {
        // Where a private server was not meant, the first half is what is wrong.
        Cause::DataDir { .. } => format!("DATABASE_URL is not set, and DATA_DIR {error}"),
        Cause::InUse { data_dir, holder } => format!(
            "{} is in use by another Parlance server, process {holder}; stop it, or set DATA_DIR to another directory",
            data_dir.display()
        ),
        Cause::NoPrograms(dir) => format!(
            "POSTGRES_BIN_DIR is {}, but there are no postgres and initdb in it",
            dir.display()
        ),
        Cause::NotFound => format!(
            "{error}; run `make run`, which fetches one, set POSTGRES_BIN_DIR to the directory of its binaries, or set \
             DATABASE_URL to a server that runs"
        ),
        Cause::NoAccount => format!("{error}; start the server as an ordinary user"),
        Cause::OutOfReach { .. } => format!(
            "{error}; start the server as an ordinary user, set DATA_DIR and POSTGRES_BIN_DIR to places it can reach, \
             or set DATABASE_URL"
        ),
        Cause::NoData(_) => format!("{error}; move it away, or set DATA_DIR to another directory"),
        Cause::OtherVersion { version, .. } => {
            format!("{error}; set POSTGRES_BIN_DIR to a PostgreSQL {version}, or move the data with pg_upgrade")
        }
        _ => error.to_string(),
    }
}
