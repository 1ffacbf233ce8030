//! The pool of connections to one server: its size, how a connection is tried before it is lent, and
//! when it is replaced.
//!
//! Used by `service.rs` and by the replica. The connection used last is lent first, because it is
//! the warmest; so those at the bottom are used only in a rush, after hours perhaps. Each is tried
//! before it is lent, for [`TRIAL_TIMEOUT`] at most. One that gives no sign of life (a firewall has
//! forgotten it) condemns those that were idle for longer, or a request would lose a second to each
//! of them. `condition.rs` says which are not lent at all.

use super::address::ServerAddress;
use super::client::Client;
use super::condition::ServerCondition;
use super::connect::OnRuntime;
use super::error::Error;
use super::reply::ReplyWatch;
use crate::config::DatabaseConfig;
use deadpool_postgres::{
    ClientWrapper, Hook, HookError, ManagerConfig, Metrics, Pool, PoolError, QueueMode, RecyclingMethod, Runtime,
    Status,
};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::time::Duration;

/// How long a connection may take to give a sign of life before it counts as dead.
pub(super) const TRIAL_TIMEOUT: Duration = Duration::from_secs(1);

/// The connections to one server. Cheap to clone.
#[derive(Clone)]
pub(super) struct ConnectionPool {
    pool: Pool,
    keep_max: usize,
    statement_timeout: Duration,
    condition: Arc<ServerCondition>,
}

impl ConnectionPool {
    /// A pool whose connections run on the present runtime.
    pub(super) fn build(address: &ServerAddress, config: &DatabaseConfig) -> Result<Self, Error> {
        let manager = deadpool_postgres::Manager::from_connect(
            address.driver.clone(),
            OnRuntime {
                runtime: tokio::runtime::Handle::current(),
                address: address.clone(),
            },
            ManagerConfig {
                // Our own trial comes behind it.
                recycling_method: RecyclingMethod::Fast,
            },
        );
        let condition = Arc::new(ServerCondition::default());
        let (trusted, tried, lifetime) = (condition.clone(), condition.clone(), config.connection_lifetime);
        let pool = Pool::builder(manager)
            .max_size(config.pool_size + config.max_overflow)
            .queue_mode(QueueMode::Lifo)
            .runtime(Runtime::Tokio1)
            .pre_recycle(Hook::sync_fn(move |client, metrics| {
                // The address of its cache identifies a connection for as long as it lives.
                if metrics.age() > lifetime_of(Arc::as_ptr(&client.statement_cache) as usize, lifetime) {
                    return Err(HookError::message("old enough to be replaced"));
                }
                if !trusted.trusts(metrics.created, last_use(metrics)) {
                    return Err(HookError::message("not trusted any more"));
                }
                Ok(())
            }))
            .post_recycle(Hook::async_fn(move |client, metrics| {
                let condition = tried.clone();
                Box::pin(async move { try_out(client, metrics, &condition).await })
            }))
            .build()
            .map_err(|error| Error::Unusable(error.to_string()))?;
        Ok(Self {
            pool,
            keep_max: config.pool_size,
            statement_timeout: config.statement_timeout,
            condition,
        })
    }

    /// Borrows a connection.
    ///
    /// # Errors
    /// [`Error::PoolExhausted`] after `patience`, [`Error::Connect`], [`Error::Closed`].
    pub(super) async fn client(&self, patience: Duration) -> Result<Client, Error> {
        match tokio::time::timeout(patience, self.pool.get()).await {
            Ok(Ok(object)) => {
                let replies = ReplyWatch::new(self.statement_timeout, self.condition.clone());
                Ok(Client::new(object, self.keep_max, replies))
            }
            Ok(Err(PoolError::Backend(error))) => Err(Error::Connect(error)),
            Ok(Err(PoolError::Closed)) => Err(Error::Closed),
            Ok(Err(_)) | Err(_) => Err(Error::PoolExhausted(patience)),
        }
    }

    /// What its connections have told of the server.
    pub(super) const fn condition(&self) -> &Arc<ServerCondition> {
        &self.condition
    }

    /// Drops the connections that nobody uses at the moment. After one has failed they are probably
    /// dead too, and to find that out would cost a second each when the server is back.
    pub(super) fn drop_idle_connections(&self) {
        self.pool.retain(|_, _| false);
    }

    pub(super) fn status(&self) -> Status {
        self.pool.status()
    }

    pub(super) fn close(&self) {
        self.pool.close();
    }
}

/// Asks a connection for a sign of life.
async fn try_out(client: &ClientWrapper, metrics: &Metrics, condition: &ServerCondition) -> Result<(), HookError> {
    match tokio::time::timeout(TRIAL_TIMEOUT, client.simple_query("")).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(HookError::Backend(error)),
        Err(_elapsed) => {
            condition.distrust_used_until(last_use(metrics));
            Err(HookError::message("no sign of life"))
        }
    }
}

/// When a connection was lent last, or was made.
fn last_use(metrics: &Metrics) -> std::time::Instant {
    metrics.recycled.unwrap_or(metrics.created)
}

/// Between nine tenths and eleven tenths of `lifetime`, always the same for the same connection. So
/// connections that were opened together at the start are not all replaced at the same time.
fn lifetime_of(connection: usize, lifetime: Duration) -> Duration {
    let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(connection);
    let thousandths = u32::try_from(hash % 201).unwrap_or(100) + 900;
    lifetime * thousandths / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_differ_by_at_most_a_tenth() {
        let lifetimes: Vec<Duration> = (0..1_000)
            .map(|n| lifetime_of(n * 64, Duration::from_secs(3_600)))
            .collect();
        assert!(lifetimes.iter().all(|l| (3_240..=3_960).contains(&l.as_secs())));
        assert!(lifetimes.iter().any(|l| l.as_secs() < 3_400) && lifetimes.iter().any(|l| l.as_secs() > 3_800));
    }
}
