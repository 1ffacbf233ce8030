//! The task that counts: one of each node, and one of them at a time has the lease.
//!
//! * The lease is a lock of its connection, so it ends with the node. The others try every two
//!   seconds, and meanwhile show how far behind the counts are.
//! * Each [`TICK`] it notes the time, asks up to when everything is committed (`horizon.rs`), counts
//!   what was posted until then (`counter.rs`), and says so. Questions answer up to that moment.
//! * What was posted is found by its time. When it takes the lease, and every [`SWEEP_INTERVAL`], it
//!   compares all conversations with their positions instead: so it also finds what has an older
//!   time (a bulk load, a clock that was set back), and what others left.
//! * When the database is away it tries again with growing pauses. A crash loses nothing: counts and
//!   positions move together.
//!
//! Why not in the transaction of a post: all lanes would want the same rows of a tenant. ADR 0030.

use super::counter::{self, CountedBatch};
use super::horizon::Horizon;
use super::merger;
use crate::analytics::error::Error;
use crate::analytics::store::{self, Counted};
use crate::analytics::zone::DAY_MS;
use crate::database::{Database, Dedicated};
use crate::metrics::metrics;
use crate::supervision::{ArbiterPool, Backoff, jittered, supervise_task};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use tokio::time::sleep;
use uuid::Uuid;

/// What the task is called in logs and metrics.
const TASK: &str = "analytics_counts";
/// Between two looks.
const TICK: Duration = Duration::from_millis(750);
/// What is noted is so much older than now: rows whose time is that of the beginning of their
/// transaction (people, conversations) are locked a moment later than that.
const MARGIN_MS: i64 = 500;
/// Between two tries to get the lease.
const LEASE_RETRY: Duration = Duration::from_secs(2);
/// Between two comparisons of all conversations; and never more than a twentieth of the time is spent
/// on them.
const SWEEP_INTERVAL: Duration = Duration::from_secs(15);
const SWEEP_SHARE: u32 = 20;
/// Between two looks for days that are over.
const FINISH_INTERVAL: Duration = Duration::from_secs(600);
/// How much earlier than the last moment is looked for what was posted since.
const OVERLAP_MS: i64 = 10_000;
/// Conversations of a transaction.
const CONVERSATIONS: usize = 256;
/// Conversations that are listed at a time.
const LISTED: i64 = 10_000;
/// When the database is away.
const RETRY: Backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(5));

/// Counts messages behind the commits.
#[derive(Clone)]
pub struct CountsFollower {
    database: Database,
}

impl CountsFollower {
    #[must_use]
    pub const fn new(database: Database) -> Self {
        Self { database }
    }

    /// Starts the task of a node.
    pub fn start(self, arbiters: &ArbiterPool) {
        arbiters.spawn(1, async move {
            supervise_task(TASK, |_| run(&self.database)).await;
        });
    }
}

async fn run(database: &Database) {
    let mut retry = RETRY;
    loop {
        let ended = hold_lease(database, &mut retry).await;
        let Err(error) = ended;
        let pause = jittered(retry.next_pause());
        tracing::warn!(%error, pause_ms = pause.as_secs_f64() * 1e3, "the counts of analytics wait for the database");
        sleep(pause).await;
    }
}

/// Waits for the lease and counts as long as the connection lives.
async fn hold_lease(database: &Database, retry: &mut Backoff) -> Result<std::convert::Infallible, Error> {
    let mut connection = database.dedicated().await?;
    store::prepare_connection(&connection).await?;
    loop {
        let tx = connection.begin().await?;
        let is_ours = store::try_take_lease(&tx).await?;
        let lag = store::load_lag(&tx).await?;
        tx.commit().await?;
        metrics().analytics_lagged(lag.unwrap_or_default());
        if is_ours {
            break;
        }
        retry.reset();
        sleep(LEASE_RETRY).await;
    }
    let mut counting = Counting {
        connection,
        horizon: Horizon::default(),
        counted_through: None,
        sweep_at: Instant::now(),
        finish_at: Instant::now(),
    };
    loop {
        fail::fail_point!("analytics::tick");
        let started = Instant::now();
        counting.tick().await?;
        retry.reset();
        sleep(TICK.saturating_sub(started.elapsed())).await;
    }
}

/// What the holder of the lease knows.
struct Counting {
    connection: Dedicated,
    horizon: Horizon,
    /// The last moment that was reached under this lease.
    counted_through: Option<i64>,
    sweep_at: Instant,
    finish_at: Instant,
}

impl Counting {
    async fn tick(&mut self) -> Result<(), Error> {
        let tx = self.connection.begin().await?;
        let (now, writers) = store::stamp(&tx).await?;
        tx.commit().await?;
        if let Some(through) = self.horizon.note(now - MARGIN_MS, writers) {
            self.count_through(through).await?;
        }
        if let Some(through) = self.counted_through {
            let lag = Duration::from_millis(u64::try_from(now - through).unwrap_or_default());
            metrics().analytics_lagged(lag);
        }
        if self.finish_at <= Instant::now() {
            let today = i32::try_from(now.div_euclid(DAY_MS)).unwrap_or(i32::MAX);
            if !merger::merge_finished(&mut self.connection, today).await? {
                self.finish_at = Instant::now() + FINISH_INTERVAL;
            }
        }
        Ok(())
    }

    /// Counts everything from before `through`, and says so.
    async fn count_through(&mut self, through: i64) -> Result<(), Error> {
        let mut touched = BTreeSet::new();
        let mut switches = self.switches().await?;
        let is_swept = match self.counted_through {
            Some(since) if self.sweep_at > Instant::now() => {
                let tx = self.connection.begin().await?;
                let posted = store::list_posted(&tx, (since - OVERLAP_MS, through), LISTED).await?;
                tx.commit().await?;
                let is_all = i64::try_from(posted.len()).unwrap_or(i64::MAX) < LISTED;
                self.count(&posted, through, &mut touched).await?;
                is_all
            }
            _ => false,
        };
        if !is_swept {
            self.sweep(through, &mut touched).await?;
        }
        while !self.publish(through, switches).await? {
            // A rebuild has put other counts in place meanwhile, which may lack what was counted now.
            switches = self.switches().await?;
            self.sweep(through, &mut touched).await?;
        }
        self.counted_through = Some(through);
        let touched: Vec<Counted> = touched.into_iter().collect();
        if !touched.is_empty() {
            merger::merge_touched(&mut self.connection, &touched).await?;
        }
        Ok(())
    }

    async fn switches(&mut self) -> Result<i64, Error> {
        let tx = self.connection.begin().await?;
        let switches = store::load_switches(&tx).await?;
        tx.commit().await?;
        Ok(switches)
    }

    /// Says that everything from before `through` is counted, unless generations have changed since.
    async fn publish(&mut self, through: i64, switches: i64) -> Result<bool, Error> {
        let tx = self.connection.begin().await?;
        store::hold_counts(&tx).await?;
        let is_same = store::load_switches(&tx).await? == switches;
        if is_same {
            store::update_progress(&tx, through).await?;
        }
        tx.commit().await?;
        Ok(is_same)
    }

    /// Counts whatever is behind.
    async fn sweep(&mut self, through: i64, touched: &mut BTreeSet<Counted>) -> Result<(), Error> {
        let mut after = None;
        let mut compared = Duration::ZERO;
        loop {
            let started = Instant::now();
            let tx = self.connection.begin().await?;
            let behind = store::list_behind(&tx, after, LISTED).await?;
            tx.commit().await?;
            compared += started.elapsed();
            self.count(&behind, through, touched).await?;
            match behind.last() {
                Some(last) => after = Some(*last),
                None => break,
            }
        }
        self.sweep_at = Instant::now() + SWEEP_INTERVAL.max(compared * SWEEP_SHARE);
        Ok(())
    }

    /// Counts what some conversations have from before `through`.
    async fn count(
        &mut self,
        conversations: &[Uuid],
        through: i64,
        touched: &mut BTreeSet<Counted>,
    ) -> Result<(), Error> {
        for some in conversations.chunks(CONVERSATIONS) {
            let mut left = some.to_vec();
            while !left.is_empty() {
                left.sort_unstable();
                let tx = self.connection.begin().await?;
                store::hold_counts(&tx).await?;
                let batch = counter::count(&tx, &left, through, None).await?;
                fail::fail_point!("analytics::count");
                tx.commit().await?;
                let CountedBatch {
                    messages,
                    days,
                    unfinished,
                } = batch;
                metrics().analytics_counted(messages);
                touched.extend(days);
                left = unfinished;
            }
        }
        Ok(())
    }
}
