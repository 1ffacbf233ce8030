//! How the pool is built: its size, how a connection is verified, and when it is replaced.

use super::connect;
use super::error::Error;
use crate::config::DatabaseConfig;
use deadpool_postgres::{Hook, HookError, ManagerConfig, Pool, QueueMode, RecyclingMethod, Runtime};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::time::Duration;

/// How long verifying a connection may take before it counts as dead.
const VERIFY_TIMEOUT: Duration = Duration::from_secs(1);

/// A pool whose connections run on the present runtime.
pub(super) fn build(address: &tokio_postgres::Config, config: &DatabaseConfig) -> Result<Pool, Error> {
    let manager = deadpool_postgres::Manager::from_connect(
        address.clone(),
        connect::OnRuntime(tokio::runtime::Handle::current()),
        ManagerConfig {
            recycling_method: RecyclingMethod::Verified,
        },
    );
    let lifetime = config.connection_lifetime;
    Pool::builder(manager)
        .max_size(config.pool_size + config.max_overflow)
        // The connection used last is the warmest.
        .queue_mode(QueueMode::Lifo)
        .runtime(Runtime::Tokio1)
        .recycle_timeout(Some(VERIFY_TIMEOUT))
        .pre_recycle(Hook::sync_fn(move |client, metrics| {
            // The address of its cache identifies a connection for as long as it lives.
            if metrics.age() > lifetime_of(Arc::as_ptr(&client.statement_cache) as usize, lifetime) {
                return Err(HookError::message("old enough to be replaced"));
            }
            Ok(())
        }))
        .build()
        .map_err(|error| Error::Unusable(error.to_string()))
}

/// Drops the connections that nobody uses at the moment. After one has failed they are probably
/// dead too, and to find that out would cost a second each when the server is back.
pub(super) fn drop_idle_connections(pool: &Pool) {
    pool.retain(|_, _| false);
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
