//! A streaming replica of the database, for reads that may be some seconds old.
//!
//! Only [`Database::read_stale`](super::Database::read_stale) comes here, and only search and analytics may call that
//! (`tests/it/tidy.rs`). One task asks the primary and the replica each second how far they are and judges (`judge.rs`);
//! requests only look at its last verdict, so a replica that is away costs none of them a time-out. Whoever is being
//! answered by the replica when it is given up goes to the primary at that moment; a read that fails there is made once
//! more on the primary; and where the connection is what failed, the replica is not asked again before the task has found it
//! well. The task is started again if it dies, and a verdict that is older than [`VERDICT_AGE_MAX`] counts for nothing.
//!
//! Bounds: a pool of its own, as large as the database's; [`PROBE_TIMEOUT`] for each question of the task. Sessions are
//! read-only, so that nothing can be written there even when it has become a primary.

use super::{Client, Database, Dedicated, Error, Shared, Statement, build_pool, connect};
use crate::config::{DatabaseConfig, ReplicaConfig};
use crate::metrics::metrics;
use crate::supervision::named;
use deadpool_postgres::Pool;
use judge::{Identity, Marks, Reason, Report};
use parking_lot::Mutex;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle};
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
const RESTART_DELAY: Duration = Duration::from_secs(1);

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

    fn is_usable(&self) -> bool {
        self.usable.is_ok() && self.at.elapsed() < VERDICT_AGE_MAX
    }
}

/// A replica.
pub(super) struct Replica {
    pool: Pool,
    config: DatabaseConfig,
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
            address,
            statement_timeout: self.config.statement_timeout,
            lag_max: config.lag_max,
            verdict: self.verdict.clone(),
        };
        *self.task.lock() = Some(tokio::spawn(supervise(Arc::new(watcher))).abort_handle());
        Ok(())
    }

    /// Ends the task and the connections.
    pub(super) fn close(&self) {
        if let Some(task) = self.task.lock().take() {
            task.abort();
        }
        self.pool.close();
    }

    /// Does `work` on the replica; `None` where that was not possible, and it has to be done on the primary.
    pub(super) async fn attempt<T>(&self, work: &impl AsyncFn(&mut Client) -> Result<T, Error>) -> Option<T> {
        if !self.verdict.borrow().is_usable() {
            return None;
        }
        let mut verdict = self.verdict.subscribe();
        let answer = tokio::select! {
            answer = self.work(work) => Some(answer),
            _ = verdict.wait_for(|verdict| !verdict.is_usable()) => None,
        };
        let error = match answer {
            Some(Ok(answer)) => return Some(answer),
            Some(Err(error)) => Some(error),
            None => None,
        };
        metrics().replica_read_failed();
        if let Some(error) = error {
            tracing::warn!(%error, "a read on the replica failed; it is made on the primary");
            if error.is_unavailable() {
                tell(&self.verdict, Verdict::unusable(Reason::Failed));
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
        let trouble = match verdict.usable {
            Ok(()) if verdict.is_usable() => None,
            Ok(()) => Some(Reason::Unknown.to_string()),
            Err(reason) => Some(reason.to_string()),
        };
        ReplicaStatus {
            trouble,
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
    primary: Weak<Shared>,
    address: tokio_postgres::Config,
    statement_timeout: Duration,
    lag_max: Duration,
    verdict: Arc<watch::Sender<Verdict>>,
}

/// Aborts a task when its supervisor is aborted, which drops this.
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn supervise(watcher: Arc<Watcher>) {
    metrics().actor_supervised(TASK);
    while watcher.primary.strong_count() > 0 {
        let mut child = AbortOnDrop(tokio::spawn(named(TASK, None, run(watcher.clone()))));
        if let Err(error) = (&mut child.0).await {
            metrics().actor_restarted(TASK);
            tracing::error!(%error, "the watch over the replica failed; it is started again");
        }
        tell(&watcher.verdict, Verdict::unusable(Reason::Unknown));
        tokio::time::sleep(RESTART_DELAY).await;
    }
}

async fn run(watcher: Arc<Watcher>) {
    let mut ticks = tokio::time::interval(PROBE_INTERVAL.min(watcher.lag_max / 4));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut marks, mut connection) = (Marks::default(), None);
    loop {
        ticks.tick().await;
        let at = Instant::now();
        let Some(shared) = watcher.primary.upgrade() else {
            return;
        };
        let primary = Database { shared };
        // A primary that does not answer is not this task's business, but its replica then grows old.
        if let Ok(Ok((identity, position))) = tokio::time::timeout(PROBE_TIMEOUT, ask_primary(&primary)).await {
            marks.note(identity, position, at);
        }
        let verdict = match tokio::time::timeout(PROBE_TIMEOUT, watcher.ask_replica(&mut connection)).await {
            Ok(Ok(report)) => {
                let (usable, lag) = marks.judge(report, watcher.lag_max, Instant::now());
                let at = Instant::now();
                Verdict { usable, lag, at }
            }
            failed => {
                if let Ok(Err(error)) = failed {
                    tracing::debug!(%error, "the replica could not be asked");
                }
                connection = None;
                Verdict::unusable(Reason::Away)
            }
        };
        tell(&watcher.verdict, verdict);
    }
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

/// Which log the primary writes, and how far it is on the disk.
async fn ask_primary(primary: &Database) -> Result<(Identity, i64), Error> {
    const SQL: Statement = Statement::new(
        "replica.ask_primary",
        "SELECT system_identifier AS system, (SELECT oid FROM pg_database WHERE datname = current_database()) AS database,
                ('x' || left(pg_walfile_name(pg_current_wal_flush_lsn()), 8))::bit(32)::integer AS timeline,
                pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '0/0')::bigint AS position
         FROM pg_control_system()",
    );
    let row = primary.client().await?.query_one(&SQL, &[]).await?;
    Ok((identity(&row), row.get("position")))
}

impl Watcher {
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
        let dedicated = match connection {
            Some(dedicated) if !dedicated.is_closed() => dedicated,
            gone => {
                let wrapper = connect::connect(&self.address, PROBE_TIMEOUT).await?;
                gone.insert(Dedicated::new(wrapper, self.statement_timeout))
            }
        };
        let prepared = dedicated.prepare_named(&SQL).await?;
        let row = dedicated.time(&SQL, dedicated.query_one(&prepared, &[])).await?;
        Ok(Report {
            identity: identity(&row),
            replayed: row.get("replayed"),
        })
    }
}

fn identity(row: &tokio_postgres::Row) -> Identity {
    Identity {
        system: row.get("system"),
        database: row.get("database"),
        timeline: row.get("timeline"),
    }
}
