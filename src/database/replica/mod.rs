//! A streaming replica of the database, for reads that may be some seconds old.
//!
//! Only [`Database::read_stale`](super::Database::read_stale) comes here, and only search and analytics may call that
//! (`tests/it/tidy.rs`). One task asks the primary and the replica each second how far they are and judges (`judge.rs`);
//! requests only look at its last verdict, so a replica that is away costs none of them a time-out. Whoever is being
//! answered by the replica when it is given up goes to the primary at that moment; a read that fails there is made once
//! more on the primary; and where the connection is what failed, the replica is not asked again before the task has found it
//! well. What one caller asks for does not condemn it for others: a statement that took too long is answered as it is, and
//! who finds no connection free goes to the primary. The task is started again if it dies. A verdict grows older with the
//! replica it is about, and counts for nothing after [`VERDICT_AGE_MAX`].
//!
//! Bounds: a pool of its own, as large as the database's; two connections of the task, one to each server, so that it
//! waits for nobody; [`PROBE_TIMEOUT`] for each of its questions. Sessions are read-only, so that nothing can be written
//! there even when it has become a primary.

use super::{Client, Database, Dedicated, Error, Shared, Statement, build_pool, connect};
use crate::config::{DatabaseConfig, ReplicaConfig};
use crate::metrics::metrics;
use crate::supervision::supervise_task;
use deadpool_postgres::Pool;
use judge::{Identity, Marks, Reason, Report};
use parking_lot::Mutex;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::MissedTickBehavior;
use tokio_postgres::config::SslMode;

mod judge;

/// What the task is called in logs and metrics.
const TASK: &str = "replica_watch";
/// Between two verdicts, at most; shorter where the replica may be less than five seconds old.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// For an answer of the primary, and for one of the replica.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// A verdict is good for so long: two questions that are just answered in time, and the pause between.
const VERDICT_AGE_MAX: Duration = Duration::from_secs(4);

/// How a replica is doing.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplicaStatus {
    /// Why it is not read; `None` while it is.
    pub trouble: Option<String>,
    /// How old it is at most, where that is known.
    pub lag: Option<Duration>,
}

/// The last word on the replica.
#[derive(Clone, Copy, Debug)]
struct Verdict {
    usable: Result<(), Reason>,
    lag: Option<Duration>,
    at: Instant,
}

impl Verdict {
    fn unusable(reason: Reason) -> Self {
        Self {
            usable: Err(reason),
            lag: None,
            at: Instant::now(),
        }
    }

    /// Why the replica may not be read now: it has grown older since by as much as the verdict has.
    fn trouble(&self, lag_max: Duration) -> Option<Reason> {
        let since = self.at.elapsed();
        match self.usable {
            Err(reason) => Some(reason),
            Ok(()) if since >= VERDICT_AGE_MAX => Some(Reason::Unknown),
            Ok(()) if self.lag.is_none_or(|lag| lag + since > lag_max) => Some(Reason::Behind),
            Ok(()) => None,
        }
    }
}

/// A replica.
pub(super) struct Replica {
    pool: Pool,
    config: DatabaseConfig,
    lag_max: Duration,
    verdict: Arc<watch::Sender<Verdict>>,
    task: Mutex<Option<AbortHandle>>,
}

impl Replica {
    /// The replica of the configuration, if there is one. Whether it is any good is found out later, by the task.
    pub(super) fn open(config: &ReplicaConfig, database: &DatabaseConfig) -> Result<Option<Self>, Error> {
        let Some(address) = address(config, database)? else {
            return Ok(None);
        };
        Ok(Some(Self {
            pool: build_pool(&address, database)?,
            config: database.clone(),
            lag_max: config.lag_max,
            verdict: Arc::new(watch::Sender::new(Verdict::unusable(Reason::Unknown))),
            task: Mutex::new(None),
        }))
    }

    /// Starts the task. `primary` owns the replica, so the task does not own it; it ends with it, or by [`Self::close`].
    pub(super) fn watch_beside(&self, primary: &Database, config: &ReplicaConfig) -> Result<(), Error> {
        let Some(address) = address(config, &self.config)? else {
            return Ok(());
        };
        let watcher = Watcher {
            primary: Arc::downgrade(&primary.shared),
            primary_address: primary.shared.address.clone(),
            pool: self.pool.clone(),
            address,
            statement_timeout: self.config.statement_timeout,
            lag_max: config.lag_max,
            verdict: self.verdict.clone(),
        };
        *self.task.lock() = Some(tokio::spawn(watch(watcher)).abort_handle());
        Ok(())
    }

    /// Ends the task and the connections.
    pub(super) fn close(&self) {
        if let Some(task) = self.task.lock().take() {
            task.abort();
        }
        self.pool.close();
    }

    /// Does `work` on the replica; `None` where that was not possible, and it has to be done on the primary. The error is
    /// that of a statement which took too long: on the primary it would, too.
    pub(super) async fn attempt<T>(
        &self,
        work: &impl AsyncFn(&mut Client) -> Result<T, Error>,
    ) -> Option<Result<T, Error>> {
        if self.verdict.borrow().trouble(self.lag_max).is_some() {
            return None;
        }
        let mut verdict = self.verdict.subscribe();
        let answer = tokio::select! {
            answer = self.work(work) => Some(answer),
            _ = verdict.wait_for(|verdict| verdict.usable.is_err()) => None,
        };
        let error = match answer {
            Some(Ok(answer)) => return Some(Ok(answer)),
            Some(Err(error)) if error.is_cancelled() => return Some(Err(error)),
            Some(Err(error)) => Some(error),
            None => None,
        };
        metrics().replica_read_failed();
        if let Some(error) = error {
            tracing::warn!(%error, "a read on the replica failed; it is made on the primary");
            if error.is_of_connection() {
                tell(&self.verdict, Verdict::unusable(Reason::Failed));
                forget_connections(&self.pool);
            }
        }
        None
    }

    async fn work<T>(&self, work: &impl AsyncFn(&mut Client) -> Result<T, Error>) -> Result<T, Error> {
        let connecting = tokio::time::timeout(PROBE_TIMEOUT, self.pool.get());
        let object = match connecting.await {
            Ok(Ok(object)) => object,
            Ok(Err(deadpool_postgres::PoolError::Backend(error))) => return Err(Error::Connect(error)),
            Ok(Err(_)) | Err(_) => return Err(Error::PoolExhausted(PROBE_TIMEOUT)),
        };
        let mut client = Client::new(object, self.config.pool_size, self.config.statement_timeout);
        work(&mut client).await
    }

    /// How it is doing.
    pub(super) fn status(&self) -> ReplicaStatus {
        let verdict = *self.verdict.borrow();
        ReplicaStatus {
            trouble: verdict.trouble(self.lag_max).map(|reason| reason.to_string()),
            lag: verdict.lag,
        }
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.close();
    }
}

/// Where the replica is, with our session settings.
fn address(config: &ReplicaConfig, database: &DatabaseConfig) -> Result<Option<tokio_postgres::Config>, Error> {
    let Some(url) = &config.url else { return Ok(None) };
    let invalid = |_| Error::Unusable("DATABASE_REPLICA_URL is not valid".to_owned());
    let address: tokio_postgres::Config = url.expose().parse().map_err(invalid)?;
    if address.get_ssl_mode() == SslMode::Require {
        let reason = "DATABASE_REPLICA_URL demands TLS (sslmode=require), which this build does not speak";
        return Err(Error::Unusable(reason.to_owned()));
    }
    let mut address = connect::with_session_settings(address, database);
    let ours = address.get_options().unwrap_or_default();
    let options = format!("{ours} -c default_transaction_read_only=on");
    address.options(options);
    Ok(Some(address))
}

/// What the task needs.
struct Watcher {
    /// Shows whether the database is still in use.
    primary: Weak<Shared>,
    primary_address: tokio_postgres::Config,
    pool: Pool,
    address: tokio_postgres::Config,
    statement_timeout: Duration,
    lag_max: Duration,
    verdict: Arc<watch::Sender<Verdict>>,
}

async fn watch(watcher: Watcher) {
    supervise_task(TASK, |_| run(&watcher)).await;
}

/// Asks both servers again and again. Ends when nobody uses the database any more.
async fn run(watcher: &Watcher) {
    // What the one before knew when it died.
    tell(&watcher.verdict, Verdict::unusable(Reason::Unknown));
    let mut ticks = tokio::time::interval(PROBE_INTERVAL.min(watcher.lag_max / 4));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut marks, mut to_primary, mut to_replica) = (Marks::default(), None, None);
    loop {
        ticks.tick().await;
        if watcher.primary.strong_count() == 0 {
            return;
        }
        let at = Instant::now();
        // A primary that does not answer is not this task's business, but how old its replica is is then not known.
        match tokio::time::timeout(PROBE_TIMEOUT, watcher.ask_primary(&mut to_primary)).await {
            Ok(Ok((identity, position))) => marks.note(identity, position, at),
            failed => {
                if let Ok(Err(error)) = failed {
                    tracing::debug!(%error, "the primary could not be asked");
                }
                to_primary = None;
            }
        }
        let verdict = match tokio::time::timeout(PROBE_TIMEOUT, watcher.ask_replica(&mut to_replica)).await {
            Ok(Ok(report)) => {
                let at = Instant::now();
                let (usable, lag) = marks.judge(report, watcher.lag_max, at);
                Verdict { usable, lag, at }
            }
            failed => {
                if let Ok(Err(error)) = failed {
                    tracing::debug!(%error, "the replica could not be asked");
                }
                to_replica = None;
                forget_connections(&watcher.pool);
                Verdict::unusable(Reason::Away)
            }
        };
        tell(&watcher.verdict, verdict);
    }
}

/// Lets go of the connections that nobody uses just now: they are probably as dead as the one that failed, and finding
/// that out costs each a second when the replica is there again.
fn forget_connections(pool: &Pool) {
    pool.retain(|_, _| false);
}

/// Passes a verdict on, and says so where it is another one.
fn tell(verdicts: &watch::Sender<Verdict>, verdict: Verdict) {
    let before = verdicts.send_replace(verdict);
    match (before.usable, verdict.usable) {
        (before, now) if before == now => {}
        (_, Ok(())) => tracing::info!("the replica is well; searches are made there"),
        (_, Err(Reason::Unknown)) => {}
        (_, Err(reason)) => tracing::warn!(%reason, "the replica is not used"),
    }
}

impl Watcher {
    /// Which log the primary writes, and how far it is on the disk; on a connection that is kept, because waiting for one
    /// of the pool would tell how busy this node is.
    async fn ask_primary(&self, connection: &mut Option<Dedicated>) -> Result<(Identity, i64), Error> {
        const SQL: Statement = Statement::new(
            "replica.ask_primary",
            "SELECT system_identifier AS system, (SELECT oid FROM pg_database WHERE datname = current_database()) AS database,
                    ('x' || left(pg_walfile_name(pg_current_wal_flush_lsn()), 8))::bit(32)::integer AS timeline,
                    pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '0/0')::bigint AS position
             FROM pg_control_system()",
        );
        let row = self.ask(&self.primary_address, connection, &SQL).await?;
        Ok((identity(&row), row.get("position")))
    }

    /// Which log the replica follows, and how far it has come; on a connection that is kept.
    async fn ask_replica(&self, connection: &mut Option<Dedicated>) -> Result<Report, Error> {
        // What a replica receives tells its timeline at once, to whom may see it; otherwise its last checkpoint does.
        const SQL: Statement = Statement::new(
            "replica.ask_replica",
            "SELECT system_identifier AS system, (SELECT oid FROM pg_database WHERE datname = current_database()) AS database,
                    coalesce((SELECT received_tli FROM pg_stat_wal_receiver),
                             (SELECT timeline_id FROM pg_control_checkpoint())) AS timeline,
                    CASE WHEN pg_is_in_recovery()
                         THEN pg_wal_lsn_diff(coalesce(pg_last_wal_replay_lsn(), '0/0'), '0/0')::bigint END AS replayed
             FROM pg_control_system()",
        );
        let row = self.ask(&self.address, connection, &SQL).await?;
        Ok(Report {
            identity: identity(&row),
            replayed: row.get("replayed"),
        })
    }

    /// Asks a server something, on the connection there is or else a new one.
    async fn ask(
        &self,
        address: &tokio_postgres::Config,
        connection: &mut Option<Dedicated>,
        question: &Statement,
    ) -> Result<tokio_postgres::Row, Error> {
        let dedicated = match connection {
            Some(dedicated) if !dedicated.is_closed() => dedicated,
            gone => {
                let wrapper = connect::connect(address, PROBE_TIMEOUT).await?;
                gone.insert(Dedicated::new(wrapper, self.statement_timeout))
            }
        };
        let prepared = dedicated.prepare_named(question).await?;
        Ok(dedicated.time(question, dedicated.query_one(&prepared, &[])).await?)
    }
}

fn identity(row: &tokio_postgres::Row) -> Identity {
    Identity {
        system: row.get("system"),
        database: row.get("database"),
        timeline: row.get("timeline"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: Duration = Duration::from_secs(5);

    fn verdict(lag: Duration, since: Duration) -> Verdict {
        Verdict {
            usable: Ok(()),
            lag: Some(lag),
            at: Instant::now().checked_sub(since).unwrap(),
        }
    }

    #[test]
    fn a_verdict_grows_old_with_the_replica() {
        for (lag, since, trouble) in [
            (0, 0, None),
            (0, 3, None),
            (3, 1, None),
            (5, 1, Some(Reason::Behind)),
            (3, 3, Some(Reason::Behind)),
            (0, 4, Some(Reason::Unknown)),
        ] {
            let verdict = verdict(Duration::from_secs(lag), Duration::from_secs(since));
            assert_eq!(verdict.trouble(MAX), trouble, "{lag} {since}");
        }
        assert_eq!(Verdict::unusable(Reason::Away).trouble(MAX), Some(Reason::Away));
    }
}
