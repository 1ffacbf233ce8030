//! The histograms of all tenants since they were last taken.
//!
//! Recorded by the writers of `commit/` (once a group) and by conversations (once a fan-out), taken
//! once a minute by `analytics/`. A lock for each kind is held for some hundred nanoseconds.
//!
//! Bound: [`HISTOGRAMS_MAX`] of each kind, 10 MiB at most. Who takes them is woken when half of that
//! is in use. Beyond it nothing new is recorded until they are taken; that is counted
//! (`analytics_latencies_dropped_total`). A crash loses what was not taken.

use super::histogram::LatencyHistogram;
use crate::ids::TenantId;
use crate::metrics::metrics;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::Notify;

/// Most histograms of a kind: tenants, times the quarter hours since they were taken.
const HISTOGRAMS_MAX: usize = 1_024;
/// The shortest span that is told apart, in seconds: no zone begins its days or hours between.
const QUARTER_SECONDS: u64 = 900;

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LatencyKind {
    /// From the acceptance of a message to its commit.
    Append,
    /// From the commit of a message to its hand-over to a reader.
    Deliver,
    /// From a question's commit to the first text of its answer.
    Ttft,
}

impl LatencyKind {
    const ALL: [Self; 3] = [Self::Append, Self::Deliver, Self::Ttft];

    /// The word in SQL, in requests and in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Append => "append",
            Self::Deliver => "deliver",
            Self::Ttft => "ttft",
        }
    }

    /// The kind that a word stands for.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// What a tenant waited in a quarter of an hour.
#[derive(Clone, Debug)]
pub struct MeasuredLatency {
    pub tenant: TenantId,
    pub kind: LatencyKind,
    /// When the quarter began, in seconds since 1970.
    pub quarter: u64,
    pub histogram: LatencyHistogram,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    tenant: TenantId,
    quarter: u64,
}

type Histograms = HashMap<Key, LatencyHistogram>;

/// Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub struct LatencyRecorder {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    append: Mutex<Histograms>,
    deliver: Mutex<Histograms>,
    ttft: Mutex<Histograms>,
    filling: Notify,
}

impl LatencyRecorder {
    /// Records waits of one moment; each with how many had it.
    pub fn record(&self, kind: LatencyKind, waits: impl IntoIterator<Item = Wait>) {
        self.record_at(kind, waits, now());
    }

    fn record_at(&self, kind: LatencyKind, waits: impl IntoIterator<Item = Wait>, now: u64) {
        let quarter = now - now % QUARTER_SECONDS;
        let mut dropped = 0;
        let mut histograms = self.of(kind).lock();
        for Wait { tenant, elapsed, n } in waits {
            let key = Key { tenant, quarter };
            if histograms.len() >= HISTOGRAMS_MAX && !histograms.contains_key(&key) {
                dropped += n;
                continue;
            }
            histograms.entry(key).or_default().record(elapsed, n);
        }
        let is_filling = histograms.len() >= HISTOGRAMS_MAX / 2;
        drop(histograms);
        if is_filling {
            self.inner.filling.notify_one();
        }
        if dropped > 0 {
            metrics().latencies_dropped(dropped);
        }
    }

    /// Takes everything, and leaves nothing.
    #[must_use]
    pub fn take(&self) -> Vec<MeasuredLatency> {
        let mut taken = Vec::new();
        for kind in LatencyKind::ALL {
            let histograms = std::mem::take(&mut *self.of(kind).lock());
            taken.extend(histograms.into_iter().map(|(key, histogram)| MeasuredLatency {
                tenant: key.tenant,
                kind,
                quarter: key.quarter,
                histogram,
            }));
        }
        taken
    }

    /// Resolves when it should be taken before its time.
    pub async fn filling(&self) {
        self.inner.filling.notified().await;
    }

    fn of(&self, kind: LatencyKind) -> &Mutex<Histograms> {
        match kind {
            LatencyKind::Append => &self.inner.append,
            LatencyKind::Deliver => &self.inner.deliver,
            LatencyKind::Ttft => &self.inner.ttft,
        }
    }
}

/// A wait, and how many had it.
#[derive(Clone, Copy, Debug)]
pub struct Wait {
    pub tenant: TenantId,
    pub elapsed: Duration,
    pub n: u64,
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    fn wait(tenant: TenantId, ms: u64, n: u64) -> Wait {
        Wait {
            tenant,
            elapsed: Duration::from_millis(ms),
            n,
        }
    }

    #[test]
    fn each_tenant_kind_and_quarter_is_apart() {
        let (recorder, [one, other]) = (LatencyRecorder::default(), [TenantId::new(), TenantId::new()]);
        recorder.record_at(
            LatencyKind::Append,
            [wait(one, 3, 1), wait(other, 4, 1), wait(one, 5, 1)],
            899,
        );
        recorder.record_at(LatencyKind::Append, [wait(one, 7, 1)], 900);
        recorder.record_at(LatencyKind::Deliver, [wait(one, 9, 200)], 901);
        let mut taken = recorder.take();
        taken.sort_by_key(|one| (one.kind.as_str(), one.quarter, one.tenant != other));
        let counts: Vec<_> = taken.iter().map(|one| (one.quarter, one.histogram.count())).collect();
        assert_eq!(counts, [(0, 1), (0, 2), (900, 1), (900, 200)]);
        assert!(recorder.take().is_empty());
    }

    #[test]
    fn it_is_bounded_and_calls_in_time() {
        let recorder = LatencyRecorder::default();
        for _ in 0..HISTOGRAMS_MAX / 2 - 1 {
            recorder.record_at(LatencyKind::Deliver, [wait(TenantId::new(), 1, 1)], 0);
        }
        assert!(recorder.filling().now_or_never().is_none());
        for _ in 0..HISTOGRAMS_MAX {
            recorder.record_at(LatencyKind::Deliver, [wait(TenantId::new(), 1, 1)], 0);
        }
        assert!(recorder.filling().now_or_never().is_some());
        assert_eq!(recorder.take().len(), HISTOGRAMS_MAX);
    }
}
