//! The service: opens the database, borrows connections, and closes it. Cheap to clone.

use super::address::ServerAddress;
use super::client::{Client, Dedicated, Statement};
use super::error::Error;
use super::pool::ConnectionPool;
use super::replica::{Replica, ReplicaStatus};
use super::{connect, migrations, private, writable};
use crate::config::{Config, DatabaseConfig, PostgresAddress};
use crate::metrics::{ReadTarget, metrics};
use embedded_postgres::EmbeddedPostgres;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Instant;

/// The database of a node.
#[derive(Clone)]
pub struct Database {
    state: Arc<DatabaseState>,
}

struct DatabaseState {
    pool: ConnectionPool,
    /// `None` without `DATABASE_REPLICA_URL`.
    replica: Option<Replica>,
    /// The private server; `None` with `DATABASE_URL`, and once stopped.
    embedded: Mutex<Option<EmbeddedPostgres>>,
    address: ServerAddress,
    config: DatabaseConfig,
}

/// The state of the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolStatus {
    pub connections: usize,
    /// Connections that nobody uses.
    pub idle: usize,
    /// Callers that wait for a connection.
    pub waiting: usize,
    /// Connections that are kept when nobody needs them.
    pub connections_kept: usize,
    pub connections_max: usize,
}

impl Database {
    /// Connects, checks the server and migrates it. Without `DATABASE_URL` it first starts the
    /// private server.
    ///
    /// The connections of the pool run on the runtime that calls this.
    ///
    /// # Errors
    /// One message for the operator: no server, an unusable one, or a failed migration.
    pub async fn open(config: &Config) -> Result<Self, Error> {
        let replica = Replica::open(&config.replica, &config.database)?;
        let (address, embedded) = Self::locate(config).await?;
        match Self::prepare(&address, &config.database).await {
            Ok(pool) => {
                if let Some(replica) = &replica {
                    replica.monitor(&address);
                }
                let state = DatabaseState {
                    pool,
                    replica,
                    embedded: Mutex::new(embedded),
                    address,
                    config: config.database.clone(),
                };
                Ok(Self { state: Arc::new(state) })
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
    async fn locate(config: &Config) -> Result<(ServerAddress, Option<EmbeddedPostgres>), Error> {
        const NAME: &str = "DATABASE_URL";
        if let Some(url) = &config.database.url {
            let invalid = |problem| Error::Unusable(format!("{NAME}: {problem}"));
            let address = PostgresAddress::parse(url.expose()).map_err(invalid)?;
            let address = ServerAddress::new(NAME, address, &config.database)?;
            return Ok((address.for_changes(), None));
        }
        let embedded = private::start(config).await?;
        let address = PostgresAddress::plain(embedded.address().clone());
        Ok((ServerAddress::new(NAME, address, &config.database)?, Some(embedded)))
    }

    async fn prepare(address: &ServerAddress, config: &DatabaseConfig) -> Result<ConnectionPool, Error> {
        migrations::run(address, config).await?;
        ConnectionPool::build(address, config)
    }

    /// Borrows a connection of the pool.
    ///
    /// # Errors
    /// [`Error::PoolExhausted`] after `acquire_timeout`, [`Error::Connect`], [`Error::Closed`].
    pub async fn client(&self) -> Result<Client, Error> {
        let started = Instant::now();
        let client = self.state.pool.client(self.state.config.acquire_timeout).await;
        match &client {
            Ok(_) => metrics().db_pool_waited(started.elapsed()),
            Err(Error::PoolExhausted(_)) => metrics().db_pool_timed_out(),
            Err(_) => {}
        }
        client
    }

    /// Borrows a connection of the pool for statements that may take long: dropped before it is
    /// [settled](Client::settle), it ends the one under way in PostgreSQL.
    ///
    /// # Errors
    /// As [`Self::client`].
    pub async fn cancelling_client(&self) -> Result<Client, Error> {
        let mut client = self.client().await?;
        client.cancel_if_dropped(&self.state.address);
        Ok(client)
    }

    /// Does `work`, which only reads, on the replica. `None` where there is no replica that is
    /// well, or where it failed there: then the caller must do it on the primary.
    ///
    /// The result may be some seconds old, and older than an earlier one. So only search and
    /// analytics may call this (`tests/it/tidy.rs`), and nothing that decides what someone may
    /// see.
    ///
    /// # Errors
    /// Only that of a statement that PostgreSQL ended because it took too long. On the primary it
    /// would, too.
    pub async fn read_stale<T>(&self, work: impl AsyncFn(&mut Client) -> Result<T, Error>) -> Option<Result<T, Error>> {
        let result = self.state.replica.as_ref()?.attempt(&work).await?;
        metrics().read_stale(ReadTarget::Replica);
        Some(result)
    }

    /// The state of the replica, if there is one.
    #[must_use]
    pub fn replica_status(&self) -> Option<ReplicaStatus> {
        self.state.replica.as_ref().map(Replica::status)
    }

    /// Opens a connection outside the pool, for one owner. It runs on the runtime that calls this.
    ///
    /// # Errors
    /// [`Error::Connect`], [`Error::ConnectTimeout`].
    pub async fn dedicated(&self) -> Result<Dedicated, Error> {
        let config = &self.state.config;
        let wrapper = connect::connect(&self.state.address, config.connect_timeout).await?;
        let condition = self.state.pool.condition().clone();
        Ok(Dedicated::new(wrapper, config.statement_timeout, condition))
    }

    /// Whether PostgreSQL replies.
    ///
    /// # Errors
    /// As [`Self::client`] and [`Client::query`].
    pub async fn ping(&self) -> Result<(), Error> {
        const PING: Statement = Statement::new("database.ping", "SELECT 1");
        self.client().await?.query_one(&PING, &[]).await.map(drop)
    }

    /// Whether the database takes changes.
    ///
    /// # Errors
    /// [`Error::NotWritable`], and as [`Self::ping`].
    pub async fn check_writable(&self) -> Result<(), Error> {
        writable::check(&self.state.pool, self.state.config.acquire_timeout).await
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
        if let Some(replica) = &self.state.replica {
            replica.close();
        }
        self.state.pool.close();
        let embedded = self.state.embedded.lock().take();
        if let Some(embedded) = embedded {
            embedded.stop().await;
        }
    }

    /// The address of the private server, for other programs of its account; `None` with
    /// `DATABASE_URL`.
    #[must_use]
    pub fn private_url(&self) -> Option<String> {
        self.state
            .embedded
            .lock()
            .as_ref()
            .map(|private| private.url().to_owned())
    }

    /// The state of the pool.
    #[must_use]
    pub fn status(&self) -> PoolStatus {
        let status = self.state.pool.status();
        PoolStatus {
            connections: status.size,
            idle: status.available,
            waiting: status.waiting,
            connections_kept: self.state.config.pool_size,
            connections_max: status.max_size,
        }
    }
}
