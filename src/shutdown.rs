//! Going away in order, under one deadline.
//!
//! 1. Readiness goes. Where a balancer needs time to notice, the node goes on serving for that time.
//! 2. The sockets get `goodbye`, one after the other and not all at once. What was accepted is
//!    committed and acknowledged, and they are closed with 4203. All this while requests are served,
//!    the last ones with `Connection: close`; new sockets get a clean 503.
//! 3. The HTTP server stops: nothing is accepted any more, idle connections end, requests under way
//!    are finished.
//! 4. The writers, what they took, and the cache: Redis learns which of its values are old, unless it is away.
//! 5. Logins, the arbiters and at last the database.
//!
//! Told a second time to stop, the node waits for nobody any more, and goes straight to the arbiters
//! and the database.
//!
//! A step that does not end by the deadline is left behind: what was acknowledged is durable
//! anyway, and what was not is repeated by its client. So everything together takes
//! `PARLANCE_DRAIN_DELAY` and `PARLANCE_SHUTDOWN_TIMEOUT` at most, and a moment for the process to
//! end. Anyone who starts the process should not kill it before that.

use crate::analytics::LatencyLog;
use crate::auth::Auth;
use crate::cache::CacheHandle;
use crate::commit::CommitHandle;
use crate::database::Database;
use crate::http::{Health, HttpServersHandle};
use crate::sessions::SessionsHandle;
use crate::supervision::ArbiterPool;
use std::time::{Duration, Instant};

/// The share of the time that is kept for the database to stop.
const DATABASE_SHARE: u32 = 4;
/// How long Redis may take to learn what is old. What it does not learn ends there with its TTL.
const CACHE_TIME_MAX: Duration = Duration::from_secs(3);

/// What has to be stopped, in the order of stopping.
pub struct Shutdown {
    pub health: Health,
    pub sessions: SessionsHandle,
    pub servers: HttpServersHandle,
    pub commits: CommitHandle,
    pub latencies: LatencyLog,
    pub cache: CacheHandle,
    pub auth: Auth,
    pub arbiters: ArbiterPool,
    /// With the private server, if there is one.
    pub database: Database,
    /// How long the node still serves after it was told to stop.
    pub drain_delay: Duration,
    /// How long stopping may take then.
    pub timeout: Duration,
}

impl Shutdown {
    /// Stops everything; once `hurry` resolves, without waiting for clients and requests.
    pub async fn run(self, hurry: impl Future<Output = ()>) {
        self.health.drain();
        let told = Instant::now();
        let started = tokio::select! {
            started = self.stop_serving() => started,
            () = hurry => {
                tracing::warn!("told to stop a second time: what is under way is not waited for");
                told
            }
        };
        self.arbiters.stop();
        // Not earlier than a moment from now, however long the rest took: PostgreSQL goes with us.
        let deadline = (started + self.timeout).max(Instant::now() + self.timeout / DATABASE_SHARE);
        within(deadline, "database", self.database.close()).await;
        tracing::info!(duration_ms = started.elapsed().as_secs_f64() * 1e3, "shut down");
    }

    /// Everything that clients can notice, in order. Returns when it began, after the delay.
    async fn stop_serving(&self) -> Instant {
        if !self.drain_delay.is_zero() {
            tracing::info!(
                delay_ms = self.drain_delay.as_secs_f64() * 1e3,
                "going away: not ready any more, still serving"
            );
            tokio::time::sleep(self.drain_delay).await;
        }
        let started = Instant::now();
        let deadline = started + self.timeout - self.timeout / DATABASE_SHARE;
        let sockets = self.sessions.open_count();
        tracing::info!(sockets, "shutting down: saying goodbye");
        self.sessions.drain(deadline).await;
        within(deadline, "HTTP server", self.servers.stop()).await;
        within(deadline, "writers", self.commits.flush()).await;
        within(deadline, "latencies", self.latencies.stop()).await;
        // After the last change.
        let soon = deadline.min(Instant::now() + CACHE_TIME_MAX);
        within(soon, "cache", self.cache.flush()).await;
        // Until here, so that a scraper sees the end of the work.
        within(deadline, "metrics", self.servers.stop_metrics()).await;
        within(deadline, "logins", self.auth.stop()).await;
        started
    }
}

async fn within(deadline: Instant, part: &'static str, step: impl Future<Output = ()>) {
    if tokio::time::timeout_at(deadline.into(), step).await.is_err() {
        tracing::error!(part, "did not stop in time; left behind");
    }
}
