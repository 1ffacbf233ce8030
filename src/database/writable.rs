//! Whether the database takes changes: for the readiness of a node.
//!
//! A database may reply and be of no use: it is a standby, an operator or the disk has made it
//! read-only. So it is asked for its state and not just for a reply. A full disk has no state that
//! can be asked for: files that have room go on taking rows. So when a statement has met it, it
//! counts as full until a trial has made room for some pages. The trial's table is temporary and
//! rolled back.
//!
//! A connection to a server that takes no changes is not believed if it is an old one: the database
//! may be elsewhere by now. It is given up, and a new one asked.

use super::client::{Client, Statement};
use super::error::{Error, NotWritable};
use super::pool::ConnectionPool;
use std::time::Duration;
use tokio_postgres::error::SqlState;

const STATE: Statement = Statement::new(
    "database.ask_writable",
    "SELECT pg_is_in_recovery() AS is_standby, current_setting('transaction_read_only')::boolean AS is_read_only",
);

/// Where tables are: temporary ones may be elsewhere.
const SAME_DISK: Statement = Statement::new(
    "database.try_disk_here",
    "SELECT set_config('temp_tablespaces', '', true)",
);

/// Takes some pages of disk.
const TAKE_PAGES: Statement = Statement::new(
    "database.try_disk",
    "CREATE TEMPORARY TABLE parlance_disk_trial ON COMMIT DROP AS SELECT generate_series(1, 4096) AS n",
);

/// Whether the database of a pool takes changes.
///
/// # Errors
/// [`Error::NotWritable`], or that it does not reply.
pub(super) async fn check(pool: &ConnectionPool, patience: Duration) -> Result<(), Error> {
    let first = ask(&pool.client(patience).await?).await;
    if matches!(first, Err(Error::NotWritable(_))) {
        ask(&pool.client(patience).await?).await?;
    } else {
        first?;
    }
    if pool.condition().is_disk_full() {
        try_disk(pool, patience).await?;
    }
    Ok(())
}

async fn ask(client: &Client) -> Result<(), Error> {
    let row = client.query_one(&STATE, &[]).await?;
    let reason = match (row.get("is_standby"), row.get("is_read_only")) {
        (true, _) => NotWritable::Standby,
        (false, true) => NotWritable::ReadOnly,
        (false, false) => return Ok(()),
    };
    let error = Error::NotWritable(reason);
    client.note(&error);
    Err(error)
}

async fn try_disk(pool: &ConnectionPool, patience: Duration) -> Result<(), Error> {
    let mut client = pool.client(patience).await?;
    let transaction = client.transaction().await?;
    transaction.query(&SAME_DISK, &[]).await?;
    match transaction.execute(&TAKE_PAGES, &[]).await {
        Err(error) if error.sql_state() == Some(&SqlState::DISK_FULL) => Err(Error::NotWritable(NotWritable::DiskFull)),
        // Where the trial cannot be made (no right to temporary tables), the next statement tells.
        _ => {
            pool.condition().set_disk_full(false);
            Ok(())
        }
    }
}
