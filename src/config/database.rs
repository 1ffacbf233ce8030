//! The settings of PostgreSQL: where it is, how many connections it gets, and how long anybody
//! waits for it.

use super::postgres::PostgresAddress;
use super::values::{DAY, Secret, pause, seconds};
use super::walk::SettingsWalk;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct DatabaseConfig {
    pub url: Option<Secret>,
    pub pool_size: usize,
    pub max_overflow: usize,
    pub connect_timeout: Duration,
    pub acquire_timeout: Duration,
    pub statement_timeout: Duration,
    pub connection_lifetime: Duration,
    pub migration_lock_timeout: Duration,
    pub postgres_bin_dir: Option<PathBuf>,
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        Self {
            url: None,
            pool_size: 20,
            max_overflow: 10,
            connect_timeout: Duration::from_secs(10),
            acquire_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(5),
            connection_lifetime: Duration::from_hours(1),
            migration_lock_timeout: Duration::from_secs(5),
            postgres_bin_dir: None,
        }
    }
}

impl DatabaseConfig {
    pub(super) fn walk(&mut self, walk: &mut SettingsWalk<'_>) {
        walk.section("Database", "");
        walk.value(
            "DATABASE_URL",
            &mut self.url,
            "A PostgreSQL of your own, 15 or newer, with pgvector 0.8 or newer: \
             `postgres://user:password@host:5432/database`. TLS as libpq does it: \
             `?sslmode=verify-full&sslrootcert=/etc/ssl/db-ca.pem` (or `sslrootcert=system`), `sslcert` and `sslkey` for \
             a certificate of its own. Without `sslmode` it is `prefer`: TLS if the server offers it, unchecked.",
        );
        walk.unset("the server runs a private PostgreSQL in `DATA_DIR`");
        walk.bounded(
            "DATABASE_POOL_SIZE",
            &mut self.pool_size,
            1..=1_000,
            "Connections that are kept open.",
        );
        walk.bounded(
            "DATABASE_MAX_OVERFLOW",
            &mut self.max_overflow,
            0..=1_000,
            "How many more connections may be opened when these are all in use.",
        );
        walk.bounded(
            "PARLANCE_DATABASE_CONNECT_TIMEOUT",
            &mut self.connect_timeout,
            pause(),
            "How long opening one connection may take.",
        );
        walk.bounded(
            "PARLANCE_DATABASE_ACQUIRE_TIMEOUT",
            &mut self.acquire_timeout,
            pause(),
            "How long a request waits for a connection of the pool.",
        );
        walk.bounded(
            "PARLANCE_DATABASE_STATEMENT_TIMEOUT",
            &mut self.statement_timeout,
            pause(),
            "After this time PostgreSQL cancels a statement.",
        );
        walk.bounded(
            "PARLANCE_DATABASE_CONNECTION_LIFETIME",
            &mut self.connection_lifetime,
            seconds(1, 7 * DAY),
            "After this time, give or take a tenth, a connection is replaced.",
        );
        walk.bounded(
            "PARLANCE_MIGRATION_LOCK_TIMEOUT",
            &mut self.migration_lock_timeout,
            pause(),
            "How long a migration waits for a lock. Others wait behind it, so after this time it lets them pass and tries \
             again. After six attempts it gives up.",
        );
        walk.value(
            "POSTGRES_BIN_DIR",
            &mut self.postgres_bin_dir,
            "Where the private PostgreSQL's programs `postgres` and `initdb` are.",
        );
        walk.unset("`.dev/postgres/bin`, then what `pg_config` says");
    }

    /// What is wrong with the address.
    pub(super) fn check(&self, errors: &mut Vec<String>) {
        let address = self.url.as_ref().map(|url| PostgresAddress::parse(url.expose()));
        if let Some(Err(problem)) = address {
            errors.push(format!("DATABASE_URL: {problem}"));
        }
    }
}
