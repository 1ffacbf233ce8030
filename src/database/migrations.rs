//! Bringing a database to the schema this program was built with.
//!
//! The migrations are part of the program.
//!
//! * Many nodes may start at once. Each takes the same advisory lock on a connection of its own. So
//!   one migrates, and the others wait and find nothing to do. If a node dies, its connection ends,
//!   its lock is free, and its migration is rolled back.
//! * A database that a newer version has migrated is accepted: migrations only expand what an older
//!   version still uses.
//! * Others who want a table wait behind a migration that waits for it. So a migration that does
//!   not get a lock (a backup or a report has it) is rolled back after
//!   `PARLANCE_MIGRATION_LOCK_TIMEOUT` and lets the others pass. It is tried again after a pause of
//!   the same length, [`LOCK_ATTEMPTS`] times. Then it fails and names who was in the way.
//! * The server is checked first: a PostgreSQL that is too old, or lacks pgvector, or a database in
//!   another encoding than UTF-8, is refused in one sentence.

use super::address::ServerAddress;
use super::connect;
use super::error::Error;
use crate::config::DatabaseConfig;
use deadpool_postgres::ClientWrapper;
use refinery::{Report, Runner};
use std::time::Duration;
use tokio_postgres::error::SqlState;

/// The oldest PostgreSQL that can be used, as in `server_version_num`.
const SERVER_VERSION_MIN: i32 = 150_000;

/// The oldest pgvector that can be used.
const VECTOR_VERSION_MIN: (u32, u32) = (0, 8);

/// The only encoding with every script and every emoji.
const SERVER_ENCODING: &str = "UTF8";

/// The advisory lock of migrations: the letters `parlance`.
const LOCK_KEY: i64 = 0x7061_726c_616e_6365;

/// How long to wait while another node migrates.
const LOCK_TIMEOUT: Duration = Duration::from_secs(600);

/// Tries of a migration to get its locks.
const LOCK_ATTEMPTS: u32 = 6;

mod embedded {
    refinery::embed_migrations!("migrations");
}

/// Identifies the schema. It changes with every migration that is added.
#[must_use]
pub fn fingerprint() -> String {
    use sha2::{Digest, Sha256};
    let mut digest = Sha256::new();
    for migration in embedded::migrations::runner().get_migrations() {
        digest.update(migration.version().to_be_bytes());
        digest.update(migration.sql().unwrap_or_default());
    }
    digest
        .finalize()
        .iter()
        .take(8)
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// The number of the last migration this program has.
pub(super) fn latest() -> i64 {
    let runner = embedded::migrations::runner();
    let versions = runner
        .get_migrations()
        .iter()
        .map(|migration| i64::from(migration.version()));
    versions.max().unwrap_or_default()
}

/// Checks the server and migrates the database. Returns how many migrations were applied.
pub(super) async fn run(address: &ServerAddress, config: &DatabaseConfig) -> Result<usize, Error> {
    let mut client = connect::connect(address, config.connect_timeout).await?;
    check_server(&client).await?;
    // A migration may take long, and so may the wait for another node.
    client
        .batch_execute("SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0")
        .await?;
    lock(&client).await?;
    // In a box: this future takes kilobytes, and it runs once.
    let applied = Box::pin(migrate(&mut client, config.migration_lock_timeout)).await;
    // The end of the connection would release the lock too, but only when the server notices it.
    client.execute("SELECT pg_advisory_unlock($1)", &[&LOCK_KEY]).await?;
    applied
}

/// Checks that this PostgreSQL can be used.
async fn check_server(client: &ClientWrapper) -> Result<(), Error> {
    let row = client
        .query_one(
            "SELECT current_setting('server_version_num')::int, current_setting('server_version'), \
             (SELECT default_version FROM pg_available_extensions WHERE name = 'vector'), \
             current_database()::text, current_setting('server_encoding')",
            &[],
        )
        .await?;
    let (number, text, vector): (i32, String, Option<String>) = (row.get(0), row.get(1), row.get(2));
    if number < SERVER_VERSION_MIN {
        return Err(Error::Unusable(format!(
            "PostgreSQL 15 or newer is needed; this server is {text}"
        )));
    }
    let (database, encoding): (String, String) = (row.get(3), row.get(4));
    if encoding != SERVER_ENCODING {
        return Err(Error::Unusable(format!(
            "the database {database} is in {encoding}, which cannot hold what people write; make one with CREATE DATABASE … \
             ENCODING 'UTF8' TEMPLATE template0, and give its address in DATABASE_URL"
        )));
    }
    match vector {
        Some(version) if parse_version(&version) >= Some(VECTOR_VERSION_MIN) => Ok(()),
        Some(version) => Err(Error::Unusable(format!(
            "this PostgreSQL ({text}) offers the extension vector {version}; 0.8 or newer is needed"
        ))),
        None => Err(Error::Unusable(format!(
            "this PostgreSQL ({text}) does not offer the extension vector; install pgvector 0.8 or newer for it, or \
             let `make run` fetch a PostgreSQL that has it"
        ))),
    }
}

fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split('.').map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??))
}

async fn lock(client: &ClientWrapper) -> Result<(), Error> {
    let free = client
        .query_one("SELECT pg_try_advisory_lock($1)", &[&LOCK_KEY])
        .await?;
    if free.get(0) {
        return Ok(());
    }
    tracing::info!("Waiting for another node to migrate the database");
    // An advisory lock taken twice counts twice. So it is tried above, and taken here only after
    // that failed.
    match tokio::time::timeout(
        LOCK_TIMEOUT,
        client.execute("SELECT pg_advisory_lock($1)", &[&LOCK_KEY]),
    )
    .await
    {
        Ok(result) => Ok(result.map(drop)?),
        Err(_) => Err(Error::Migration(format!(
            "another node has been migrating for {LOCK_TIMEOUT:?}"
        ))),
    }
}

async fn migrate(client: &mut ClientWrapper, lock_timeout: Duration) -> Result<usize, Error> {
    // Not earlier: waiting for another node is waiting for a lock, too.
    client
        .batch_execute(&format!("SET lock_timeout = {}", lock_timeout.as_millis()))
        .await?;
    let runner = embedded::migrations::runner().set_abort_missing(false);
    let mut attempts = 0;
    let mut applied = 0;
    loop {
        attempts += 1;
        let result = runner.run_async(&mut **client).await;
        let report = result.as_ref().map_or_else(|error| error.report(), Some);
        for migration in report.map(Report::applied_migrations).into_iter().flatten() {
            tracing::info!("Applied migration {migration}");
            applied += 1;
        }
        let error = match result {
            Ok(_) => break,
            Err(error) => error,
        };
        if !is_lock_timeout(&error) {
            return Err(Error::Migration(brief(&error)));
        }
        let holder = lock_holder(client).await?;
        if attempts == LOCK_ATTEMPTS {
            return Err(Error::Migration(format!(
                "a lock was not to be had in {attempts} attempts of {lock_timeout:?} each, and nothing was changed: \
                 {holder}. Wait until it has ended, or end it (pg_terminate_backend), and start again; who holds locks is \
                 in pg_locks and pg_stat_activity. ({})",
                brief(&error)
            )));
        }
        tracing::warn!(
            attempts,
            "A migration does not get a lock, and lets others pass: {holder}"
        );
        tokio::time::sleep(lock_timeout).await;
    }
    warn_of_unknown(client, &runner).await?;
    Ok(applied)
}

/// Whether PostgreSQL gave up waiting for a lock.
fn is_lock_timeout(error: &refinery::Error) -> bool {
    causes(error)
        .filter_map(|cause| cause.downcast_ref::<tokio_postgres::Error>())
        .any(|cause| cause.code() == Some(&SqlState::LOCK_NOT_AVAILABLE))
}

/// Who has held locks on our tables for longest, in words. Of another account only the process
/// number is certain.
async fn lock_holder(client: &ClientWrapper) -> Result<String, Error> {
    let row = client
        .query_opt(
            "SELECT a.pid, coalesce(nullif(a.application_name, ''), 'unnamed'), coalesce(a.usename::text, 'unknown'), \
             extract(epoch FROM clock_timestamp() - a.xact_start)::bigint, string_agg(DISTINCT c.relname, ', ') \
             FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid JOIN pg_class c ON c.oid = l.relation \
             WHERE l.granted AND l.locktype = 'relation' AND a.pid <> pg_backend_pid() AND a.datname = current_database() \
             AND c.relkind IN ('r', 'p') AND c.relnamespace = current_schema()::regnamespace \
             GROUP BY a.pid, a.application_name, a.usename, a.xact_start ORDER BY a.xact_start LIMIT 1",
            &[],
        )
        .await?;
    let Some(row) = row else {
        return Ok("the process that held it has just ended".to_owned());
    };
    let (pid, program, user, seconds, tables): (i32, String, String, Option<i64>, String) =
        (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4));
    let since = seconds.map_or_else(String::new, |seconds| format!(" for {seconds} s"));
    Ok(format!(
        "the process {pid} of PostgreSQL ({program}, user {user}) has held locks{since} on {tables}"
    ))
}

/// Logs which migrations of the database this program does not know, and which of its own the
/// database lacks.
async fn warn_of_unknown(client: &mut ClientWrapper, runner: &Runner) -> Result<(), Error> {
    let applied = runner
        .get_applied_migrations_async(&mut **client)
        .await
        .map_err(|error| Error::Migration(brief(&error)))?;
    let ours = |version: i64| {
        runner
            .get_migrations()
            .iter()
            .any(|own| i64::from(own.version()) == version)
    };
    let known = latest();
    let versions = applied.iter().map(|migration| i64::from(migration.version()));
    let schema = versions.clone().max().unwrap_or_default();
    if schema > known {
        tracing::info!(
            schema,
            known,
            "The database has been migrated by a newer version, and this one goes on with it: so it is while nodes are \
             upgraded one after the other, and after going back one version"
        );
    }
    for migration in &applied {
        let version = i64::from(migration.version());
        if version <= known && !ours(version) {
            tracing::warn!("The database has had the migration {migration}, which this version does not know");
        }
    }
    for own in runner.get_migrations() {
        if !versions.clone().any(|version| version == i64::from(own.version())) {
            tracing::warn!("The database has later migrations, and has never had {own}");
        }
    }
    Ok(())
}

/// An error with its causes, which refinery keeps apart.
fn brief(error: &refinery::Error) -> String {
    causes(error).fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

fn causes(error: &refinery::Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(std::error::Error::source(error), |cause| cause.source())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        for (text, enough) in [
            ("0.8.6", true),
            ("0.8", true),
            ("0.10.0", true),
            ("1.0", true),
            ("0.7.4", false),
            ("x", false),
        ] {
            assert_eq!(parse_version(text) >= Some(VECTOR_VERSION_MIN), enough, "{text}");
        }
    }

    #[test]
    fn the_fingerprint_is_short_and_stable() {
        assert_eq!(fingerprint().len(), 16);
        assert_eq!(fingerprint(), fingerprint());
    }
}
