//! Readiness: whether the node should get work, and how the parts are that this depends on.
//!
//! Used by the routes of health, by `app.rs`, and by the shutdown, which makes the node unready.
//! All parts are asked at once, each for [`CHECK_TIME_MAX`] at most. The node cannot serve without
//! its database and the schema of this version. It can serve without the bus, Redis and the
//! replica, more slowly or with less: such a part is `degraded` when it fails, and the node stays
//! ready.
//!
//! Everybody may ask, as often as they like, and no quota counts it. So the parts are asked once at
//! a time, and their replies are good for [`REMEMBERED_FOR`]: what they cost does not grow with
//! those who ask.

use crate::bus::Bus;
use crate::cache::CacheHandle;
use crate::database::{self, Database};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use utoipa::ToSchema;

/// Longest that a part may take to reply.
const CHECK_TIME_MAX: Duration = Duration::from_secs(2);
/// For how long the replies of the parts are repeated.
const REMEMBERED_FOR: Duration = Duration::from_secs(1);

/// `Err` says what is wrong with a part: for operators, and nothing that strangers should not read.
type PartCheck = Result<(), String>;

/// The parts that readiness depends on.
#[derive(Clone)]
pub struct HealthParts {
    /// Also asked about its schema, and about its replica where it has one.
    pub database: Database,
    pub bus: Arc<dyn Bus>,
    /// Asked about Redis, where it has it.
    pub cache: CacheHandle,
}

/// How each part is.
#[derive(Clone)]
struct PartChecks {
    database: PartCheck,
    migrations: PartCheck,
    bus: PartCheck,
    /// Which bus it is: `in_process` or `redis`.
    bus_kind: &'static str,
    /// `None` without Redis.
    redis: Option<PartCheck>,
    /// `None` without a replica.
    replica: Option<PartCheck>,
}

impl HealthParts {
    /// Asks all parts at once.
    async fn check(&self) -> PartChecks {
        let (database, migrations, redis) = tokio::join!(
            in_time(self.check_database()),
            in_time(self.check_migrations()),
            in_time(self.cache.check()),
        );
        let replica = self.database.replica_status();
        PartChecks {
            database,
            migrations,
            bus: self.bus.trouble().map_or(Ok(()), |trouble| Err(trouble.to_owned())),
            bus_kind: self.bus.name(),
            redis: self.cache.remote().map(|_| redis),
            replica: replica.map(|replica| replica.trouble.map_or(Ok(()), Err)),
        }
    }

    async fn check_database(&self) -> PartCheck {
        self.database.ping().await.map_err(|error| error.code().to_string())
    }

    async fn check_migrations(&self) -> PartCheck {
        self.database.check_schema().await.map_err(|error| match error {
            database::Error::Migration(reason) => reason,
            other => other.code().to_string(),
        })
    }
}

async fn in_time(check: impl Future<Output = PartCheck>) -> PartCheck {
    let reply = tokio::time::timeout(CHECK_TIME_MAX, check).await;
    reply.unwrap_or_else(|_| Err("no answer in time".to_owned()))
}

impl PartChecks {
    /// Whether the node can serve.
    fn is_ready(&self) -> bool {
        self.database.is_ok() && self.migrations.is_ok()
    }

    /// The parts that there are, each by its name.
    fn reports(&self) -> BTreeMap<&'static str, PartReport> {
        let bus = PartReport {
            kind: Some(self.bus_kind),
            ..PartReport::optional(&self.bus)
        };
        let mut reports = BTreeMap::from([
            ("database", PartReport::required(&self.database)),
            ("migrations", PartReport::required(&self.migrations)),
            ("bus", bus),
        ]);
        reports.extend(self.redis.iter().map(|check| ("redis", PartReport::optional(check))));
        reports.extend(
            self.replica
                .iter()
                .map(|check| ("replica", PartReport::optional(check))),
        );
        reports
    }
}

/// The latest checks, which are repeated for a short time.
struct RecentChecks<T>(Mutex<Option<(Instant, T)>>);

impl<T: Clone> RecentChecks<T> {
    /// Checks, or repeats what was just found. Whoever comes meanwhile waits for the same checks.
    async fn get_or(&self, check: impl Future<Output = T>) -> T {
        let mut latest = self.0.lock().await;
        if let Some((at, found)) = &*latest
            && at.elapsed() < REMEMBERED_FOR
        {
            return found.clone();
        }
        let found = check.await;
        *latest = Some((Instant::now(), found.clone()));
        found
    }
}

/// The readiness of a node. Cheap to clone.
#[derive(Clone)]
pub struct Health {
    is_draining: Arc<AtomicBool>,
    started: Instant,
    parts: HealthParts,
    recent: Arc<RecentChecks<PartChecks>>,
}

impl Health {
    /// Readiness that depends on `parts`. The node's uptime begins.
    #[must_use]
    pub fn new(parts: HealthParts) -> Self {
        Self {
            is_draining: Arc::default(),
            started: Instant::now(),
            parts,
            recent: Arc::new(RecentChecks(Mutex::default())),
        }
    }

    /// From now on not ready: the node is going away.
    pub fn drain(&self) {
        self.is_draining.store(true, Ordering::Release);
    }

    /// Whether the node is going away.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Acquire)
    }

    /// That the process responds; no part is asked.
    pub(crate) fn liveness(&self) -> HealthReport {
        HealthReport::new(HealthStatus::Ok, self.started)
    }

    /// How the node and its parts are.
    pub(crate) async fn readiness(&self) -> HealthReport {
        let checks = self.recent.get_or(self.parts.check()).await;
        // That the node is going away is never remembered, but known.
        HealthReport::of(&checks, self.is_draining(), self.started)
    }
}

/// How the node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Status)]
#[serde(rename_all = "snake_case")]
pub(crate) enum HealthStatus {
    /// It serves.
    Ok,
    /// A part that it needs fails.
    Unavailable,
    /// It is going away.
    Draining,
}

/// How a part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PartStatus {
    /// Well.
    Ok,
    /// Failing, and the node serves without it.
    Degraded,
    /// Failing, and the node should get no work.
    Failing,
}

/// A part of the node.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = PartAnswer)]
pub(crate) struct PartReport {
    /// How it is.
    status: PartStatus,
    /// Which kind of it is in use, where there are several (`in_process` or `redis` for the bus).
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    /// What is wrong with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

impl PartReport {
    /// Of a part that the node cannot serve without.
    fn required(check: &PartCheck) -> Self {
        Self::new(check, PartStatus::Failing)
    }

    /// Of a part that the node can serve without.
    fn optional(check: &PartCheck) -> Self {
        Self::new(check, PartStatus::Degraded)
    }

    fn new(check: &PartCheck, otherwise: PartStatus) -> Self {
        Self {
            status: if check.is_ok() { PartStatus::Ok } else { otherwise },
            kind: None,
            detail: check.clone().err(),
        }
    }
}

/// The pool of database connections.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PoolAnswer)]
pub(crate) struct PoolReport {
    /// Connections that exist.
    pub(crate) size: usize,
    /// Of these, those beyond the number that is kept.
    pub(crate) overflow: usize,
    /// Of these, those that nobody uses.
    pub(crate) idle: usize,
    /// Callers that wait for one.
    pub(crate) waiting: usize,
    /// How many there may be.
    pub(crate) max: usize,
}

/// The state of the node and its parts.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = HealthAnswer)]
pub(crate) struct HealthReport {
    /// How the node is.
    pub(crate) status: HealthStatus,
    /// The program's version.
    version: &'static str,
    /// Whole seconds since the node was started.
    uptime_seconds: u64,
    /// Each part by its name; none where only the process was asked about.
    parts: BTreeMap<&'static str, PartReport>,
    /// The pool of database connections; for admins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pool: Option<PoolReport>,
}

impl HealthReport {
    fn new(status: HealthStatus, started: Instant) -> Self {
        Self {
            status,
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: started.elapsed().as_secs(),
            parts: BTreeMap::new(),
            pool: None,
        }
    }

    /// The report on a node whose parts are as `checks` say.
    fn of(checks: &PartChecks, is_draining: bool, started: Instant) -> Self {
        let status = match (is_draining, checks.is_ready()) {
            (true, _) => HealthStatus::Draining,
            (false, true) => HealthStatus::Ok,
            (false, false) => HealthStatus::Unavailable,
        };
        let node = if is_draining {
            Err("going away".to_owned())
        } else {
            Ok(())
        };
        let mut parts = checks.reports();
        parts.insert("node", PartReport::required(&node));
        Self {
            parts,
            ..Self::new(status, started)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::future::join_all;
    use std::sync::atomic::AtomicUsize;

    fn all_well() -> PartChecks {
        PartChecks {
            database: Ok(()),
            migrations: Ok(()),
            bus: Ok(()),
            bus_kind: "in_process",
            redis: None,
            replica: None,
        }
    }

    fn report(checks: &PartChecks, is_draining: bool) -> HealthReport {
        HealthReport::of(checks, is_draining, Instant::now())
    }

    #[test]
    fn only_what_is_needed_and_fails_makes_a_node_unready() {
        let away = || Err("away".to_owned());
        let without_optional = PartChecks {
            bus: away(),
            redis: Some(away()),
            replica: Some(away()),
            ..all_well()
        };
        let degraded = report(&without_optional, false);
        assert_eq!(degraded.status, HealthStatus::Ok);
        for name in ["bus", "redis", "replica"] {
            assert_eq!(degraded.parts[name].status, PartStatus::Degraded, "{name}");
            assert_eq!(degraded.parts[name].detail.as_deref(), Some("away"));
        }
        let required = [
            PartChecks {
                database: away(),
                ..all_well()
            },
            PartChecks {
                migrations: away(),
                ..all_well()
            },
        ];
        for (checks, name) in required.iter().zip(["database", "migrations"]) {
            let unready = report(checks, false);
            assert_eq!(unready.status, HealthStatus::Unavailable);
            assert_eq!(unready.parts[name].status, PartStatus::Failing);
        }
        let draining = report(&all_well(), true);
        assert_eq!(draining.status, HealthStatus::Draining);
        assert_eq!(draining.parts["node"].status, PartStatus::Failing);
    }

    #[test]
    fn a_report_has_the_parts_that_there_are() {
        let names = |checks: &PartChecks| report(checks, false).parts.into_keys().collect::<Vec<_>>();
        assert_eq!(names(&all_well()), ["bus", "database", "migrations", "node"]);
        let more = PartChecks {
            redis: Some(Ok(())),
            replica: Some(Ok(())),
            ..all_well()
        };
        assert_eq!(
            names(&more),
            ["bus", "database", "migrations", "node", "redis", "replica"]
        );
    }

    #[tokio::test]
    async fn many_who_ask_at_once_cost_one_check() {
        let (asked, recent) = (AtomicUsize::new(0), RecentChecks(Mutex::default()));
        let check = || async {
            asked.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
            7
        };
        let found = join_all((0..100).map(|_| recent.get_or(check()))).await;
        assert!(found.iter().all(|found| *found == 7));
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_that_says_nothing_fails_in_time() {
        let silent = in_time(std::future::pending()).await;
        assert_eq!(silent, Err("no answer in time".to_owned()));
    }
}
