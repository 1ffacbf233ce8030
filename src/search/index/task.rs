//! The task that keeps the index near the present.
//!
//! * It takes conversations from the backlog, indexes a batch, and rests (`pace.rs`).
//! * Every ten seconds it sweeps: it looks for conversations that are behind and that nobody works
//!   on, left by a node that died, by an older version, or dropped by a full backlog. One node
//!   does so at a time.
//! * When the database is away it tries again with growing pauses. What waits stays in the backlog.
//! * A crash loses what was in its hands; positions did not move, and the sweep finds it.

use super::backlog::{Backlog, Waiting};
use super::indexer::{self, CONVERSATIONS};
use super::pace::rest;
use super::store;
use crate::database::{Database, Error};
use crate::metrics::metrics;
use crate::supervision::{Backoff, jittered, supervise_task};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// What the task is called in logs and metrics.
const TASK: &str = "search_index";
/// Between two sweeps; and never more than a twentieth of the time is spent on them.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);
const SWEEP_SHARE: u32 = 20;
/// Conversations that a sweep finds at most.
const SWEEP_MAX: i64 = 10_000;
/// When the database is away.
const RETRY: Backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(10));

/// Keeps the task running.
pub(super) async fn supervise(database: Database, backlog: Arc<Backlog>) {
    supervise_task(TASK, |_| run(&database, &backlog)).await;
}

async fn run(database: &Database, backlog: &Backlog) {
    let mut retry = RETRY;
    let mut sweep_at = Instant::now();
    loop {
        tokio::select! {
            biased;
            () = tokio::time::sleep_until(sweep_at.into()) => {
                let started = Instant::now();
                // Not when it is at work anyway: then more would only wait.
                let swept = match backlog.len() < CONVERSATIONS {
                    true => sweep(database, backlog).await,
                    false => Ok(()),
                };
                let pause = SWEEP_INTERVAL.max(started.elapsed() * SWEEP_SHARE);
                sweep_at = Instant::now() + jittered(pause);
                recover(swept, &mut retry).await;
            }
            () = backlog.filled() => {
                fail::fail_point!("search::task");
                let started = Instant::now();
                let indexed = index(database, backlog).await;
                let lag = backlog.lag(Instant::now());
                metrics().search_lagged(lag, backlog.len());
                if recover(indexed, &mut retry).await {
                    sleep(rest(started.elapsed(), lag)).await;
                }
            }
        }
    }
}

/// One batch. What could not be indexed goes back into the backlog.
async fn index(database: &Database, backlog: &Backlog) -> Result<(), Error> {
    let waiting = backlog.take(CONVERSATIONS);
    match indexer::index(database, &waiting).await {
        Ok(batch) => {
            metrics().search_indexed(batch.messages);
            backlog.put_back(&batch.unfinished);
            Ok(())
        }
        Err(error) => {
            backlog.put_back(&waiting);
            Err(error)
        }
    }
}

async fn sweep(database: &Database, backlog: &Backlog) -> Result<(), Error> {
    let mut client = database.client().await?;
    let tx = client.transaction().await?;
    if store::try_lock_sweep(&tx).await? {
        let now = Instant::now();
        for behind in store::list_behind(&tx, SWEEP_MAX).await? {
            backlog.push(Waiting {
                conversation: behind.conversation,
                tenant: behind.tenant,
                since: now.checked_sub(behind.waited).unwrap_or(now),
            });
        }
    }
    tx.rollback().await
}

/// Whether it went well. If not, it is logged, and this waits before the next try.
async fn recover(result: Result<(), Error>, retry: &mut Backoff) -> bool {
    let Err(error) = result else {
        retry.reset();
        return true;
    };
    let pause = jittered(retry.next_pause());
    tracing::warn!(%error, pause_ms = pause.as_secs_f64() * 1e3, "the search index waits for the database");
    sleep(pause).await;
    false
}
