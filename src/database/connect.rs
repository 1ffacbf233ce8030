//! How a connection to PostgreSQL is made: its session settings, its keep-alives, and where its
//! task runs.
//!
//! A connection's socket lives in the runtime that opened it. Every worker thread of the server has
//! a runtime. A worker that opened a connection of the pool would carry everyone's traffic on it,
//! and end it when it stops. So the pool opens its connections on the runtime that opened the
//! database. A dedicated connection runs where its owner runs, without a hop between threads.

use super::error::{Brief, Error};
use crate::config::DatabaseConfig;
use deadpool_postgres::ClientWrapper;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_postgres::{Config, NoTls};

/// Our name in `pg_stat_activity`.
const APPLICATION_NAME: &str = "parlance";

/// A transaction that a stalled node leaves open holds row locks. PostgreSQL ends it after this
/// many statement timeouts.
const IDLE_IN_TRANSACTION_FACTOR: u32 = 2;

/// Adds the settings of every connection to an address.
pub(super) fn with_session_settings(mut address: Config, config: &DatabaseConfig) -> Config {
    let timeout = config.statement_timeout;
    // `synchronous_commit` is the default, but receipts depend on it, whatever the server's
    // configuration says. Notices are of no use here, and may quote what people write or search
    // for.
    let ours = format!(
        "-c synchronous_commit=on -c statement_timeout={} -c idle_in_transaction_session_timeout={} -c jit=off \
         -c client_min_messages=warning",
        timeout.as_millis(),
        (timeout * IDLE_IN_TRANSACTION_FACTOR).as_millis(),
    );
    let options = address
        .get_options()
        .map_or_else(|| ours.clone(), |theirs| format!("{theirs} {ours}"));
    address
        .options(options)
        .application_name(APPLICATION_NAME)
        .connect_timeout(config.connect_timeout)
        .keepalives(true)
        .keepalives_idle(Duration::from_secs(30))
        .keepalives_interval(Duration::from_secs(10))
        .keepalives_retries(5)
        // As long as keep-alives take to notice a dead connection.
        .tcp_user_timeout(Duration::from_secs(80));
    address
}

/// Opens a connection whose task runs on the present runtime.
pub(super) async fn connect(address: &Config, timeout: Duration) -> Result<ClientWrapper, Error> {
    match tokio::time::timeout(timeout, open(address)).await {
        Ok(Ok((client, task))) => Ok(ClientWrapper::new(client, task)),
        Ok(Err(error)) => Err(Error::Connect(error)),
        Err(_) => Err(Error::ConnectTimeout(timeout)),
    }
}

type Opened = (tokio_postgres::Client, JoinHandle<()>);

async fn open(address: &Config) -> Result<Opened, tokio_postgres::Error> {
    let (client, connection) = address.connect(NoTls).await?;
    let task = tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::warn!("Database connection lost: {}", Brief(&error));
        }
    });
    Ok((client, task))
}

/// Opens the pool's connections, all on one runtime.
pub(super) struct OnRuntime(pub(super) Handle);

impl deadpool_postgres::Connect for OnRuntime {
    fn connect(
        &self,
        address: &Config,
    ) -> Pin<Box<dyn Future<Output = Result<Opened, tokio_postgres::Error>> + Send + '_>> {
        let address = address.clone();
        Box::pin(async move {
            // A caller that gives up drops this future. Then the task still finishes, and its
            // connection closes with its client.
            match self.0.spawn(async move { open(&address).await }).await {
                Ok(opened) => opened,
                // The runtime is stopping, so there is nothing to connect for.
                Err(_) => std::future::pending().await,
            }
        })
    }
}
