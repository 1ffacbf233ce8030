//! The three sizes of a workload, and what is promised at each. Pure.

use serde::Serialize;
use std::time::Duration;

/// How large a workspace is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Size {
    /// 10 users for two minutes.
    Light,
    /// 50 users for ten minutes.
    Medium,
    /// 200 users for half an hour.
    Heavy,
}

/// What a size means.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    pub(super) people: usize,
    /// Users with a key and without a socket.
    pub(super) programs: usize,
    pub(super) duration: Duration,
    /// What a guide promises of the 95th percentile of all requests.
    pub(super) p95_ms: f64,
    /// And of the share of errors, in percent.
    pub(super) errors_percent: f64,
}

/// What we promise beside, at every size.
pub(super) const OUR_P95_MS: f64 = 20.0;
/// Of the look-ups of the server's cache, in percent.
pub(super) const HIT_RATE_PERCENT: f64 = 80.0;
/// Longest time until everybody is there.
const RAMP_MAX: Duration = Duration::from_secs(60);

impl Size {
    pub(super) const fn extent(self) -> Extent {
        match self {
            Self::Light => Extent {
                people: 8,
                programs: 2,
                duration: Duration::from_secs(120),
                p95_ms: 200.0,
                errors_percent: 0.1,
            },
            Self::Medium => Extent {
                people: 42,
                programs: 8,
                duration: Duration::from_secs(600),
                p95_ms: 300.0,
                errors_percent: 0.5,
            },
            Self::Heavy => Extent {
                people: 176,
                programs: 24,
                duration: Duration::from_secs(1_800),
                p95_ms: 500.0,
                errors_percent: 1.0,
            },
        }
    }

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Light => "light",
            Self::Medium => "medium",
            Self::Heavy => "heavy",
        }
    }
}

impl Extent {
    pub(super) const fn users(&self) -> usize {
        self.people + self.programs
    }

    /// Until everybody is there: a sixth of the time. What is judged comes after it.
    pub(super) fn ramp(&self) -> Duration {
        (self.duration / 6).min(RAMP_MAX)
    }
}
