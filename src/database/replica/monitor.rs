//! The task that asks the primary and the replica how far they are, each second.
//!
//! Owned by [`super::Replica`]; it ends with it. It has two connections of its own, so it does not
//! wait for the pools: the wait would measure how busy this node is.

use super::assessment::{LogIdentity, PrimaryPositions, ReplicaReport, Unusable};
use super::health::{ReplicaHealth, update};
use crate::database::address::ServerAddress;
use crate::database::client::{Dedicated, Statement};
use crate::database::connect;
use crate::database::error::Error;
use crate::database::pool::ConnectionPool;
use crate::supervision::supervise_task;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

/// The task's name in logs and metrics.
const TASK: &str = "replica_watch";
/// Between two findings at most. Shorter where the replica may be less than five seconds old.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// For a reply of the primary, and for one of the replica.
pub(super) const REPLY_TIMEOUT: Duration = Duration::from_secs(1);

/// What the task needs.
pub(super) struct Monitor {
    /// The address of the primary.
    pub(super) primary: ServerAddress,
    /// The address of the replica.
    pub(super) replica: ServerAddress,
    /// The replica's pool, for its idle connections.
    pub(super) pool: ConnectionPool,
    pub(super) statement_timeout: Duration,
    pub(super) lag_max: Duration,
    pub(super) health: Arc<watch::Sender<ReplicaHealth>>,
}

impl Monitor {
    /// Asks for ever, and again after a panic.
    pub(super) async fn run_supervised(self) {
        supervise_task(TASK, |_| self.run()).await;
    }

    async fn run(&self) {
        // What an earlier run found is not known any more.
        update(&self.health, ReplicaHealth::unusable(Unusable::Unknown));
        let mut ticks = tokio::time::interval(PROBE_INTERVAL.min(self.lag_max / 4));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut positions, mut to_primary, mut to_replica) = (PrimaryPositions::default(), None, None);
        loop {
            ticks.tick().await;
            let at = Instant::now();
            // A primary without a reply is not this task's business. But then the age of its
            // replica is not known.
            match tokio::time::timeout(REPLY_TIMEOUT, self.ask_primary(&mut to_primary)).await {
                Ok(Ok((identity, position))) => positions.note(identity, position, at),
                failed => {
                    if let Ok(Err(error)) = failed {
                        tracing::debug!(%error, "the primary could not be asked");
                    }
                    to_primary = None;
                }
            }
            let health = match tokio::time::timeout(REPLY_TIMEOUT, self.ask_replica(&mut to_replica)).await {
                Ok(Ok(report)) => {
                    let at = Instant::now();
                    let (usable, lag) = positions.assess(report, self.lag_max, at);
                    ReplicaHealth { usable, lag, at }
                }
                failed => {
                    if let Ok(Err(error)) = failed {
                        tracing::debug!(%error, "the replica could not be asked");
                    }
                    to_replica = None;
                    self.pool.drop_idle_connections();
                    ReplicaHealth::unusable(Unusable::Away)
                }
            };
            update(&self.health, health);
        }
    }

    /// Which log the primary writes, and how far it is on the disk.
    async fn ask_primary(&self, connection: &mut Option<Dedicated>) -> Result<(LogIdentity, i64), Error> {
        const SQL: Statement = Statement::new(
            "replica.ask_primary",
            "SELECT system_identifier AS system, (SELECT oid FROM pg_database WHERE datname = current_database()) AS database,
                    ('x' || left(pg_walfile_name(pg_current_wal_flush_lsn()), 8))::bit(32)::integer AS timeline,
                    pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '0/0')::bigint AS position
             FROM pg_control_system()",
        );
        let row = self.ask(&self.primary, connection, &SQL).await?;
        Ok((identity(&row), row.get("position")))
    }

    /// Which log the replica follows, and how far it has replayed it.
    async fn ask_replica(&self, connection: &mut Option<Dedicated>) -> Result<ReplicaReport, Error> {
        // What the replica receives shows its timeline at once, if we may see it. Otherwise its
        // last checkpoint does.
        const SQL: Statement = Statement::new(
            "replica.ask_replica",
            "SELECT system_identifier AS system, (SELECT oid FROM pg_database WHERE datname = current_database()) AS database,
                    coalesce((SELECT received_tli FROM pg_stat_wal_receiver),
                             (SELECT timeline_id FROM pg_control_checkpoint())) AS timeline,
                    CASE WHEN pg_is_in_recovery()
                         THEN pg_wal_lsn_diff(coalesce(pg_last_wal_replay_lsn(), '0/0'), '0/0')::bigint END AS replayed
             FROM pg_control_system()",
        );
        let row = self.ask(&self.replica, connection, &SQL).await?;
        Ok(ReplicaReport {
            identity: identity(&row),
            replayed: row.get("replayed"),
        })
    }

    /// Asks a server, on the connection there is or else on a new one.
    async fn ask(
        &self,
        address: &ServerAddress,
        connection: &mut Option<Dedicated>,
        question: &Statement,
    ) -> Result<tokio_postgres::Row, Error> {
        let dedicated = match connection {
            Some(dedicated) if !dedicated.is_closed() => dedicated,
            gone => {
                let wrapper = connect::connect(address, REPLY_TIMEOUT).await?;
                gone.insert(Dedicated::new(wrapper, self.statement_timeout, Arc::default()))
            }
        };
        let prepared = dedicated.prepare_named(question).await?;
        Ok(dedicated.time(question, dedicated.query_one(&prepared, &[])).await?)
    }
}

fn identity(row: &tokio_postgres::Row) -> LogIdentity {
    LogIdentity {
        system: row.get("system"),
        database: row.get("database"),
        timeline: row.get("timeline"),
    }
}
