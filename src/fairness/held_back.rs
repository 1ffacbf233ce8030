//! Who is held back, and by what: the metric, and a line of the log at most once a second.
//!
//! The metric has the shared thing and what happened as labels, and never who it happened to. Who is
//! in the log, in a sample: a flood of refusals must not become a flood of lines.

use crate::metrics::{HeldBack, SharedResource, metrics};
use parking_lot::Mutex;
use std::fmt;
use std::time::{Duration, Instant};

/// Between two lines about one shared thing.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// Admits an event to the log once in an interval. Pure.
#[derive(Debug, Default)]
pub struct LogSample {
    next: Option<Instant>,
    left_out: u64,
}

impl LogSample {
    /// Whether to log this one; then with how many were left out since the last.
    pub fn admit(&mut self, now: Instant) -> Option<u64> {
        if self.next.is_some_and(|next| now < next) {
            self.left_out += 1;
            return None;
        }
        self.next = Some(now + LOG_INTERVAL);
        Some(std::mem::take(&mut self.left_out))
    }
}

/// Reports who is held back at one shared thing.
#[derive(Debug)]
pub struct HeldBackReport {
    resource: SharedResource,
    sample: Mutex<LogSample>,
}

impl HeldBackReport {
    #[must_use]
    pub fn new(resource: SharedResource) -> Self {
        Self {
            resource,
            sample: Mutex::default(),
        }
    }

    /// Somebody had to wait, and got what they asked for.
    pub fn waited(&self) {
        metrics().held_back(self.resource, HeldBack::Waited);
    }

    /// Somebody did not get what they asked for. `group` is the tenant, where there is one.
    pub fn refused(&self, outcome: HeldBack, group: &impl fmt::Display, member: &impl fmt::Display) {
        metrics().held_back(self.resource, outcome);
        let admitted = self.sample.lock().admit(Instant::now());
        if let Some(left_out) = admitted {
            let (resource, outcome) = (self.resource.as_str(), outcome.as_str());
            tracing::warn!(resource, outcome, %group, %member, left_out, "somebody is beyond their share");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_makes_one_line_a_second() {
        let (mut sample, start) = (LogSample::default(), Instant::now());
        let admitted: Vec<u64> = (0..5_000)
            .filter_map(|ms| sample.admit(start + Duration::from_millis(ms)))
            .collect();
        assert_eq!(admitted, [0, 999, 999, 999, 999]);
    }
}
