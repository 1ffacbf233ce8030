//! Going away in order, under one deadline.
//!
//! Readiness goes first, and where a balancer needs time to notice, the node goes on serving for that time. Then the
//! sockets are told goodbye, one after the other and not all at once, what was accepted is committed and answered, and
//! they are closed with 4203. All this while requests are answered, the last ones with `Connection: close`; new sockets
//! get a clean 503. Then the HTTP server stops: nothing is accepted any more, idle connections end, requests under way
//! are finished. Then writers, arbiters and at last the database. Between, Redis is told which of its values are old,
//! unless it is away.
//!
//! A step that does not end by the deadline is left behind: what was acknowledged is durable anyway, and what was not is
//! repeated by its client. So everything together takes `PARLANCE_DRAIN_DELAY` and `PARLANCE_SHUTDOWN_TIMEOUT` at most,
//! and a moment for the process to end; whoever starts the process should not kill it before that.

use crate::auth::Auth;
use crate::cache::CacheHandle;
use crate::commit::CommitHandle;
use crate::database::Database;
use crate::http::Health;
use crate::sessions::Sessions;
use crate::supervision::ArbiterPool;
use actix_web::dev::ServerHandle;
use std::time::{Duration, Instant};

/// The share of the time that is kept for the database to stop.
const DATABASE_SHARE: u32 = 4;
/// How long Redis may take to hear what is old; what it does not hear ends there with its TTL.
const CACHE_TIME_MAX: Duration = Duration::from_secs(3);

/// What has to be stopped, in the order of stopping.
pub struct Shutdown {
    /// Readiness.
    pub health: Health,
    /// The sockets.
    pub sessions: Sessions,
    /// The HTTP server.
    pub server: ServerHandle,
    /// The listener of the metrics, if they have their own.
    pub metrics: Option<ServerHandle>,
    /// The writers.
    pub commits: CommitHandle,
    /// What Redis has not heard of.
    pub cache: CacheHandle,
    /// Its upkeep.
    pub auth: Auth,
    /// The actors.
    pub arbiters: ArbiterPool,
    /// The database, and the private server.
    pub database: Database,
}

impl Shutdown {
    /// Stops everything, within `timeout` after `delay`.
    pub async fn run(self, delay: Duration, timeout: Duration) {
        self.health.drain();
        if !delay.is_zero() {
            tracing::info!(
                delay_ms = delay.as_secs_f64() * 1e3,
                "going away: not ready any more, still serving"
            );
            tokio::time::sleep(delay).await;
        }
        let started = Instant::now();
        let deadline = started + timeout - timeout / DATABASE_SHARE;
        let sockets = self.sessions.open_count();
        tracing::info!(sockets, "shutting down: saying goodbye");
        self.sessions.drain(deadline).await;
        within(deadline, "HTTP server", self.server.stop(true)).await;
        within(deadline, "writers", self.commits.flush()).await;
        // After the last change.
        let soon = deadline.min(Instant::now() + CACHE_TIME_MAX);
        within(soon, "cache", self.cache.flush()).await;
        // Until here, so that a scraper sees the end of the work.
        if let Some(metrics) = self.metrics {
            within(deadline, "metrics", metrics.stop(false)).await;
        }
        within(deadline, "logins", self.auth.stop()).await;
        self.arbiters.stop();
        within(started + timeout, "database", self.database.close()).await;
        tracing::info!(duration_ms = started.elapsed().as_secs_f64() * 1e3, "shut down");
    }
}

async fn within(deadline: Instant, part: &'static str, step: impl Future<Output = ()>) {
    if tokio::time::timeout_at(deadline.into(), step).await.is_err() {
        tracing::error!(part, "did not stop in time; left behind");
    }
}
