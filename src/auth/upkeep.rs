//! The one background task of auth: polls revocations each second, writes when API keys were last
//! used, and removes what has expired.
//!
//! It is a task and not an actor, because nobody sends it anything. It ends with the last handle of
//! `Auth`. After a panic it is started again; its next poll begins where the last successful one
//! did. A database that is away costs a log line at the first failure, and another when it is back.
//!
//! Bounds: rows are deleted in portions of [`DELETE_ROWS_MAX`], at most [`PORTIONS_MAX`] of each
//! kind in one round.

use super::error::Error;
use super::last_used::{LastUsed, WriteScope};
use super::login_throttle::LoginThrottle;
use super::revocation::{GAP_MAX, POLL_INTERVAL, RevocationCache};
use super::store::{api_keys, events, logins};
use crate::database::Database;
use crate::supervision::supervise_task;
use parking_lot::Mutex;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::AbortHandle;
use tokio::time::MissedTickBehavior;

/// What the task is called in logs and metrics.
const TASK: &str = "auth_upkeep";
/// Between two removals of rows.
const CLEAN_INTERVAL: Duration = Duration::from_secs(600);
/// Between two removals of old records of failed logins, in memory.
const THROTTLE_CLEAN_INTERVAL: Duration = Duration::from_secs(15);
/// Rows that one statement deletes at most, so that it never holds locks for long.
const DELETE_ROWS_MAX: i64 = 1_000;
const PORTIONS_MAX: usize = 100;
/// Events are kept longer than any node needs them, for people who look into an incident.
const EVENTS_AGE: Duration = GAP_MAX.saturating_add(Duration::from_secs(3_600));
/// Logins that were ended are kept for as long, for people who look into an incident. Their tokens are
/// refused with and without the row.
const REVOKED_LOGINS_AGE: Duration = Duration::from_secs(24 * 3_600);
/// Keys that have expired are listed for this long, so that it can be seen why a program stopped.
const EXPIRED_KEYS_AGE: Duration = Duration::from_secs(30 * 24 * 3_600);

/// The running task. It ends when this is dropped.
pub(super) struct Upkeep {
    task: AbortHandle,
}

impl Upkeep {
    pub(super) fn start(task: UpkeepTask) -> Self {
        let task = Arc::new(task);
        let supervised = supervise_task(TASK, move |_| {
            let task = task.clone();
            async move { task.run().await }
        });
        Self {
            task: tokio::spawn(supervised).abort_handle(),
        }
    }

    /// May be called more than once.
    pub(super) fn stop(&self) {
        self.task.abort();
    }
}

impl Drop for Upkeep {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What the task works on.
pub(super) struct UpkeepTask {
    pub(super) database: Database,
    pub(super) revocations: Arc<RevocationCache>,
    pub(super) last_used: Arc<LastUsed>,
    pub(super) login_throttle: LoginThrottle,
    pub(super) access_token_ttl: Duration,
    /// When the last successful poll began. Outlives a panic.
    pub(super) polled_at: Mutex<Instant>,
}

impl UpkeepTask {
    async fn run(&self) {
        let mut ticks = tokio::time::interval(POLL_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_away = false;
        let mut clean_at = Instant::now() + CLEAN_INTERVAL;
        let mut clean_throttle_at = Instant::now() + THROTTLE_CLEAN_INTERVAL;
        loop {
            ticks.tick().await;
            if Instant::now() >= clean_throttle_at {
                clean_throttle_at = Instant::now() + THROTTLE_CLEAN_INTERVAL;
                self.login_throttle.clean();
            }
            is_away = !self.poll(is_away).await;
            if is_away {
                continue;
            }
            if let Err(error) = self.last_used.write(&self.database, WriteScope::Coalesced).await {
                tracing::warn!(%error, "when API keys were last used could not be written; trying again");
            }
            if Instant::now() >= clean_at {
                clean_at = Instant::now() + CLEAN_INTERVAL;
                if let Err(error) = self.clean().await {
                    tracing::warn!(%error, "what has run out could not be removed; trying again later");
                }
            }
        }
    }

    /// Reads what was revoked or changed. Whether that succeeded.
    async fn poll(&self, was_away: bool) -> bool {
        let since = *self.polled_at.lock();
        match self.revocations.poll(&self.database, Some(since)).await {
            Ok(at) => {
                *self.polled_at.lock() = at;
                if was_away {
                    tracing::info!("revocations are read again");
                }
                true
            }
            Err(error) => {
                if !was_away {
                    tracing::warn!(%error, "revocations cannot be read; trying each second");
                }
                false
            }
        }
    }

    async fn clean(&self) -> Result<(), Error> {
        let client = self.database.client().await?;
        let age = EVENTS_AGE.max(2 * self.access_token_ttl);
        let tickets = in_portions(|| logins::delete_expired_tickets(&client, DELETE_ROWS_MAX)).await?;
        let sessions = in_portions(|| logins::delete_expired_sessions(&client, DELETE_ROWS_MAX)).await?;
        let delete_revoked = || logins::delete_revoked_sessions(&client, REVOKED_LOGINS_AGE, DELETE_ROWS_MAX);
        let revoked = in_portions(delete_revoked).await?;
        let delete_keys = || api_keys::delete_expired_api_keys(&client, EXPIRED_KEYS_AGE, DELETE_ROWS_MAX);
        let keys = in_portions(delete_keys).await?;
        let events = in_portions(|| events::delete_old_events(&client, age, DELETE_ROWS_MAX)).await?;
        if tickets + sessions + revoked + keys + events > 0 {
            tracing::info!(tickets, sessions, revoked, keys, events, "removed what has run out");
        }
        Ok(())
    }
}

/// Repeats a delete until it found less than a full portion. How many rows it deleted.
async fn in_portions<F: Future<Output = Result<u64, Error>>>(delete: impl Fn() -> F) -> Result<u64, Error> {
    let mut total = 0;
    for _ in 0..PORTIONS_MAX {
        let n = delete().await?;
        total += n;
        if n < DELETE_ROWS_MAX.unsigned_abs() {
            break;
        }
    }
    Ok(total)
}
