//! The readiness of a node: its parts, and whether it is going away.

use super::parts::{HealthParts, PartChecks};
use super::recent::RecentChecks;
use super::report::{HealthReport, HealthStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Cheap to clone.
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
            recent: Arc::default(),
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
