//! The way to PostgreSQL: a pool of connections, named and timed statements, transactions.
//!
//! Features hold a [`Database`] and speak to it in [`Statement`]s that stand in their `store.rs`; nothing above this
//! folder sees a pool or a driver. Bounds: `DATABASE_POOL_SIZE` connections are kept, `DATABASE_MAX_OVERFLOW` more are
//! opened in need and closed when they come back while nobody waits; a caller waits `acquire_timeout` for one, connecting
//! included, then gets [`Error::PoolExhausted`], which is `unavailable` to its client. A connection is verified before it
//! is handed out and replaced after about an hour. If PostgreSQL dies, all connections fail at once, every caller gets an
//! error it may retry, and the next callers connect anew; nothing here needs to be restarted.
//! The loser: an ORM or query builder; the SQL is the interface we want to see, name and explain.

use crate::config::{Config, DatabaseConfig};
use crate::metrics::{ReadTarget, metrics};
use deadpool_postgres::{Hook, HookError, ManagerConfig, Pool, QueueMode, RecyclingMethod, Runtime};
use embedded_postgres::EmbeddedPostgres;
use parking_lot::Mutex;
use replica::Replica;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_postgres::config::SslMode;

mod client;
mod connect;
mod error;
pub mod migrations;
mod private;
mod replica;

pub use client::{Client, Dedicated, Params, Statement, Transaction};
pub use error::Error;
pub use replica::ReplicaStatus;

/// How long verifying a connection may take before it counts as dead.
const VERIFY_TIMEOUT: Duration = Duration::from_secs(1);

/// The database: cheap to clone, shared by everyone.
#[derive(Clone)]
pub struct Database {
    shared: Arc<Shared>,
}

struct Shared {
    pool: Pool,
    /// For reads that may be old; `None` without `DATABASE_REPLICA_URL`.
    replica: Option<Replica>,
    /// The private server; `None` with `DATABASE_URL`, and once stopped.
    embedded: Mutex<Option<EmbeddedPostgres>>,
    address: tokio_postgres::Config,
    config: DatabaseConfig,
}

/// How the pool is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolStatus {
    /// Connections that exist.
    pub connections: usize,
    /// Of these, how many wait to be used.
    pub idle: usize,
    /// Callers that wait for a connection.
    pub waiting: usize,
    /// How many of them are kept when nobody needs them.
    pub connections_kept: usize,
    /// How many connections there may be.
    pub connections_max: usize,
}

impl Database {
    /// Connects, checks the server and migrates it. Without `DATABASE_URL` it first starts the private server.
    ///
    /// The connections of the pool run on the runtime that calls this.
    ///
    /// # Errors
    /// One message for the operator: nothing there, unusable, or a migration that failed.
    pub async fn open(config: &Config) -> Result<Self, Error> {
        let replica = Replica::open(&config.replica, &config.database)?;
        let (address, embedded) = Self::locate(config).await?;
        match Self::prepare(&address, &config.database).await {
            Ok(pool) => {
                let database = Self {
                    shared: Arc::new(Shared {
                        pool,
                        replica,
                        embedded: Mutex::new(embedded),
                        address,
                        config: config.database.clone(),
                    }),
                };
                if let Some(replica) = &database.shared.replica {
                    replica.watch_beside(&database, &config.replica)?;
                }
                Ok(database)
            }
            Err(error) => {
                if let Some(embedded) = embedded {
                    embedded.stop().await;
                }
                Err(error)
            }
        }
    }

    /// The operator's server, or else the private one, with our session settings.
    async fn locate(config: &Config) -> Result<(tokio_postgres::Config, Option<EmbeddedPostgres>), Error> {
        let (address, embedded): (tokio_postgres::Config, _) = match &config.database.url {
            Some(url) => {
                let invalid = |_| Error::Unusable("DATABASE_URL is not valid".to_owned());
                (url.expose().parse().map_err(invalid)?, None)
            }
            None => {
                let embedded = private::start(config).await?;
                (embedded.address().clone(), Some(embedded))
            }
        };
        if address.get_ssl_mode() == SslMode::Require {
            let reason = "DATABASE_URL demands TLS (sslmode=require), which this build does not speak";
            return Err(Error::Unusable(reason.to_owned()));
        }
        Ok((connect::with_session_settings(address, &config.database), embedded))
    }

    async fn prepare(address: &tokio_postgres::Config, config: &DatabaseConfig) -> Result<Pool, Error> {
        migrations::run(address, config).await?;
        build_pool(address, config)
    }

    /// Borrows a connection of the pool.
    ///
    /// # Errors
    /// [`Error::PoolExhausted`] after `acquire_timeout`, [`Error::Connect`], [`Error::Closed`].
    pub async fn client(&self) -> Result<Client, Error> {
        let config = &self.shared.config;
        let started = Instant::now();
        match tokio::time::timeout(config.acquire_timeout, self.shared.pool.get()).await {
            Ok(Ok(object)) => {
                metrics().db_pool_waited(started.elapsed());
                Ok(Client::new(object, config.pool_size, config.statement_timeout))
            }
            Ok(Err(deadpool_postgres::PoolError::Backend(error))) => Err(Error::Connect(error)),
            Ok(Err(deadpool_postgres::PoolError::Closed)) => Err(Error::Closed),
            Ok(Err(_)) | Err(_) => {
                metrics().db_pool_timed_out();
                Err(Error::PoolExhausted(config.acquire_timeout))
            }
        }
    }

    /// Does something that only reads, on the replica; `None` where there is none that is well, or where it failed there,
    /// and the caller has to do it on the database itself.
    ///
    /// What is read may be some seconds old, and older than what was read before: only search and analytics may call this
    /// (`tests/it/tidy.rs`), and nothing that decides what somebody may see.
    ///
    /// # Errors
    /// Only a statement that PostgreSQL ended because it took too long, which it would on the database itself, too.
    pub async fn read_stale<T>(&self, work: impl AsyncFn(&mut Client) -> Result<T, Error>) -> Option<Result<T, Error>> {
        let answer = self.shared.replica.as_ref()?.attempt(&work).await?;
        metrics().read_stale(ReadTarget::Replica);
        Some(answer)
    }

    /// How the replica is doing, if there is one.
    #[must_use]
    pub fn replica_status(&self) -> Option<ReplicaStatus> {
        self.shared.replica.as_ref().map(Replica::status)
    }

    /// Opens a connection outside the pool, for one owner; it runs on the runtime that calls this.
    ///
    /// # Errors
    /// [`Error::Connect`], [`Error::ConnectTimeout`].
    pub async fn dedicated(&self) -> Result<Dedicated, Error> {
        let config = &self.shared.config;
        let wrapper = connect::connect(&self.shared.address, config.connect_timeout).await?;
        Ok(Dedicated::new(wrapper, config.statement_timeout))
    }

    /// Whether PostgreSQL answers.
    ///
    /// # Errors
    /// As [`Self::client`] and [`Client::query`].
    pub async fn ping(&self) -> Result<(), Error> {
        const PING: Statement = Statement::new("database.ping", "SELECT 1");
        self.client().await?.query_one(&PING, &[]).await.map(drop)
    }

    /// Whether the database has the schema of this program, or a later one.
    ///
    /// # Errors
    /// As [`Self::ping`]; [`Error::Migration`] when migrations are missing.
    pub async fn check_schema(&self) -> Result<(), Error> {
        const VERSION: Statement = Statement::new(
            "database.schema_version",
            "SELECT coalesce(max(version), 0)::bigint FROM refinery_schema_history",
        );
        let applied: i64 = self.client().await?.query_one(&VERSION, &[]).await?.get(0);
        let wanted = migrations::latest();
        if applied < wanted {
            return Err(Error::Migration(format!("the schema is {applied}, not {wanted}")));
        }
        Ok(())
    }

    /// Closes the pool and stops the private server, if there is one.
    pub async fn close(self) {
        if let Some(replica) = &self.shared.replica {
            replica.close();
        }
        self.shared.pool.close();
        let embedded = self.shared.embedded.lock().take();
        if let Some(embedded) = embedded {
            embedded.stop().await;
        }
    }

    /// The address of the private server, for other programs of its account; `None` with `DATABASE_URL`.
    #[must_use]
    pub fn private_url(&self) -> Option<String> {
        self.shared
            .embedded
            .lock()
            .as_ref()
            .map(|private| private.url().to_owned())
    }

    /// How the pool is doing.
    #[must_use]
    pub fn status(&self) -> PoolStatus {
        let status = self.shared.pool.status();
        PoolStatus {
            connections: status.size,
            idle: status.available,
            waiting: status.waiting,
            connections_kept: self.shared.config.pool_size,
            connections_max: status.max_size,
        }
    }
}

fn build_pool(address: &tokio_postgres::Config, config: &DatabaseConfig) -> Result<Pool, Error> {
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
            // Where its cache lies tells one connection from another for as long as it lives.
            if metrics.age() > jittered(lifetime, Arc::as_ptr(&client.statement_cache) as usize) {
                return Err(HookError::message("old enough to be replaced"));
            }
            Ok(())
        }))
        .build()
        .map_err(|error| Error::Unusable(error.to_string()))
}

/// Between nine tenths and eleven tenths of a lifetime, the same for the same connection: connections that were opened
/// together at the start should not all be replaced in the same moment.
fn jittered(lifetime: Duration, identity: usize) -> Duration {
    let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(identity);
    let thousandths = u32::try_from(hash % 201).unwrap_or(100) + 900;
    lifetime * thousandths / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_differ_by_at_most_a_tenth() {
        let lifetimes: Vec<Duration> = (0..1_000)
            .map(|n| jittered(Duration::from_secs(3_600), n * 64))
            .collect();
        assert!(lifetimes.iter().all(|l| (3_240..=3_960).contains(&l.as_secs())));
        assert!(lifetimes.iter().any(|l| l.as_secs() < 3_400) && lifetimes.iter().any(|l| l.as_secs() > 3_800));
    }
}
