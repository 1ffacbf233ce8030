//! The one background task of signing in: reads `auth_events` each second, writes when API keys were last used, and now and
//! then removes what has run out.
//!
//! It is a task and not an actor because nobody sends it anything. It holds the shared state only weakly, so it ends
//! with the last handle; a panic in it is seen by the outer loop, logged, and answered with a new start after
//! [`RESTART_DELAY`]. A database that is away costs a log line on the first failure and another when it is back.
//!
//! Bounds: deletes in portions of a thousand rows, at most [`PORTIONS_MAX`] of each kind a round.

use super::last_used::Due;
use super::revocation::{GAP_MAX, POLL_INTERVAL};
use super::{Error, Shared, api_keys, store};
use crate::database::Client;
use crate::metrics::metrics;
use crate::supervision::named;
use parking_lot::Mutex;
use std::future::Future;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::MissedTickBehavior;

/// What the task is called in logs and metrics.
const TASK: &str = "auth_upkeep";
const RESTART_DELAY: Duration = Duration::from_secs(1);
/// Interval of the removals.
const CLEAN_INTERVAL: Duration = Duration::from_secs(600);
const PORTIONS_MAX: usize = 100;
/// Events are kept longer than any node needs them, for people who look into an incident.
const EVENTS_AGE: Duration = GAP_MAX.saturating_add(Duration::from_secs(3_600));

/// The running task, if any.
#[derive(Default)]
pub(super) struct Upkeep {
    task: Mutex<Option<AbortHandle>>,
}

impl Upkeep {
    pub(super) fn start(&self, shared: &Arc<Shared>, read_at: Instant) {
        let task = tokio::spawn(supervise(Arc::downgrade(shared), read_at));
        if let Some(old) = self.task.lock().replace(task.abort_handle()) {
            old.abort();
        }
    }

    pub(super) fn stop(&self) {
        if let Some(task) = self.task.lock().take() {
            task.abort();
        }
    }
}

impl Drop for Upkeep {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Aborts a task when its supervisor is aborted, which drops this.
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn supervise(shared: Weak<Shared>, read_at: Instant) {
    metrics().actor_supervised(TASK);
    let read_at = Arc::new(Mutex::new(read_at));
    while shared.strong_count() > 0 {
        let mut child = AbortOnDrop(tokio::spawn(named(
            TASK,
            None,
            run(Weak::clone(&shared), Arc::clone(&read_at)),
        )));
        match (&mut child.0).await {
            Ok(()) => return,
            Err(error) => {
                metrics().actor_restarted(TASK);
                tracing::error!(%error, "the upkeep of log-ins failed; it is started again");
            }
        }
        tokio::time::sleep(RESTART_DELAY).await;
    }
}

/// Ends when nobody holds the shared state any more.
async fn run(shared: Weak<Shared>, read_at: Arc<Mutex<Instant>>) {
    let mut ticks = tokio::time::interval(POLL_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut away = false;
    let mut clean_at = Instant::now() + CLEAN_INTERVAL;
    loop {
        ticks.tick().await;
        let Some(shared) = shared.upgrade() else { return };
        let since = *read_at.lock();
        match shared.picture.poll(&shared.database, Some(since)).await {
            Ok(at) => {
                *read_at.lock() = at;
                if away {
                    tracing::info!("revocations are read again");
                }
                away = false;
            }
            Err(error) if !away => {
                tracing::warn!(%error, "revocations cannot be read; trying each second");
                away = true;
            }
            Err(_) => {}
        }
        if !away && let Err(error) = shared.write_last_used(Due::Coalesced).await {
            tracing::warn!(%error, "when API keys were last used could not be written; trying again");
        }
        if !away && Instant::now() >= clean_at {
            clean_at = Instant::now() + CLEAN_INTERVAL;
            if let Err(error) = clean(&shared).await {
                tracing::warn!(%error, "what has run out could not be removed; trying again later");
            }
        }
    }
}

async fn clean(shared: &Shared) -> Result<(), Error> {
    let client = shared.database.client().await?;
    let age = EVENTS_AGE.max(2 * shared.access_token_ttl);
    let tickets = in_portions(|| store::delete_expired_tickets(&client)).await?;
    let sessions = in_portions(|| store::delete_expired_sessions(&client)).await?;
    let keys = in_portions(|| store::api_keys::delete_expired_api_keys(&client, api_keys::EXPIRED_AGE)).await?;
    let events = in_portions(|| delete_events(&client, age)).await?;
    if tickets + sessions + keys + events > 0 {
        tracing::info!(tickets, sessions, keys, events, "removed what has run out");
    }
    Ok(())
}

async fn delete_events(client: &Client, age: Duration) -> Result<u64, Error> {
    store::delete_old_events(client, age).await
}

/// Repeats a delete until it found less than a full portion.
async fn in_portions<F: Future<Output = Result<u64, Error>>>(delete: impl Fn() -> F) -> Result<u64, Error> {
    let mut total = 0;
    for _ in 0..PORTIONS_MAX {
        let n = delete().await?;
        total += n;
        if n < store::DELETE_ROWS_MAX.unsigned_abs() {
            break;
        }
    }
    Ok(total)
}
