//! What a node says about its health. Pure.
//!
//! A part that the node can serve without is `degraded` when it fails, and the node stays ready.

use super::parts::{PartCheck, PartChecks};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Instant;
use utoipa::ToSchema;

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
    pub(super) fn new(status: HealthStatus, started: Instant) -> Self {
        Self {
            status,
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: started.elapsed().as_secs(),
            parts: BTreeMap::new(),
            pool: None,
        }
    }

    /// The report on a node whose parts are as `checks` say.
    pub(super) fn of(checks: &PartChecks, is_draining: bool, started: Instant) -> Self {
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
