//! Reads on the replica, while it is well.

use super::assessment::Unusable;
use super::health::{ReplicaHealth, ReplicaStatus, update};
use super::monitor::{Monitor, REPLY_TIMEOUT};
use crate::config::{DatabaseConfig, PostgresAddress, ReplicaConfig};
use crate::database::address::ServerAddress;
use crate::database::client::Client;
use crate::database::error::Error;
use crate::database::pool::ConnectionPool;
use crate::metrics::metrics;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// A replica. Owned by the database; its task ends with it.
pub(in crate::database) struct Replica {
    pool: ConnectionPool,
    address: ServerAddress,
    config: DatabaseConfig,
    lag_max: Duration,
    health: Arc<watch::Sender<ReplicaHealth>>,
    task: Mutex<Option<AbortHandle>>,
}

impl Replica {
    /// The replica of the configuration, if there is one. Whether it is well is found out later, by
    /// the task.
    pub(in crate::database) fn open(config: &ReplicaConfig, database: &DatabaseConfig) -> Result<Option<Self>, Error> {
        let Some(address) = address(config, database)? else {
            return Ok(None);
        };
        let health = ReplicaHealth::unusable(Unusable::Unknown);
        Ok(Some(Self {
            pool: ConnectionPool::build(&address, database)?,
            address,
            config: database.clone(),
            lag_max: config.lag_max,
            health: Arc::new(watch::Sender::new(health)),
            task: Mutex::new(None),
        }))
    }

    /// Starts the task that asks the primary at this address, and the replica.
    pub(in crate::database) fn monitor(&self, primary: &ServerAddress) {
        let monitor = Monitor {
            primary: primary.clone(),
            replica: self.address.clone(),
            pool: self.pool.clone(),
            statement_timeout: self.config.statement_timeout,
            lag_max: self.lag_max,
            health: self.health.clone(),
        };
        *self.task.lock() = Some(tokio::spawn(monitor.run_supervised()).abort_handle());
    }

    /// Ends the task and the connections.
    pub(in crate::database) fn close(&self) {
        if let Some(task) = self.task.lock().take() {
            task.abort();
        }
        self.pool.close();
    }

    /// Does `work` on the replica. `None` where that was not possible, and it must be done on the
    /// primary. The error is that of a statement that took too long; it would on the primary, too.
    pub(in crate::database) async fn attempt<T>(
        &self,
        work: &impl AsyncFn(&mut Client) -> Result<T, Error>,
    ) -> Option<Result<T, Error>> {
        if self.health.borrow().trouble(self.lag_max).is_some() {
            return None;
        }
        let mut health = self.health.subscribe();
        let result = tokio::select! {
            result = self.run(work) => Some(result),
            _ = health.wait_for(|health| health.usable.is_err()) => None,
        };
        let error = match result {
            Some(Ok(value)) => return Some(Ok(value)),
            Some(Err(error)) if error.is_cancelled() => return Some(Err(error)),
            Some(Err(error)) => Some(error),
            None => None,
        };
        metrics().replica_read_failed();
        if let Some(error) = error {
            tracing::warn!(%error, "a read on the replica failed; it is made on the primary");
            if error.is_of_connection() {
                update(&self.health, ReplicaHealth::unusable(Unusable::Failed));
                self.pool.drop_idle_connections();
            }
        }
        None
    }

    async fn run<T>(&self, work: &impl AsyncFn(&mut Client) -> Result<T, Error>) -> Result<T, Error> {
        let mut client = self.pool.client(REPLY_TIMEOUT).await?;
        client.cancel_if_dropped(&self.address);
        let result = work(&mut client).await;
        client.settle();
        result
    }

    pub(in crate::database) fn status(&self) -> ReplicaStatus {
        let health = *self.health.borrow();
        ReplicaStatus {
            trouble: health.trouble(self.lag_max).map(|reason| reason.to_string()),
            lag: health.lag,
        }
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.close();
    }
}

/// The address of the replica, with our session settings.
fn address(config: &ReplicaConfig, database: &DatabaseConfig) -> Result<Option<ServerAddress>, Error> {
    const NAME: &str = "DATABASE_REPLICA_URL";
    let Some(url) = &config.url else { return Ok(None) };
    let invalid = |problem| Error::Unusable(format!("{NAME}: {problem}"));
    let address = PostgresAddress::parse(url.expose()).map_err(invalid)?;
    Ok(Some(ServerAddress::new(NAME, address, database)?.for_reads()))
}
