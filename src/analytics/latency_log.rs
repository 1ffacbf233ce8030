//! Stores what `latency/` has recorded: once a minute, when it fills up, before a question of this
//! node is answered, and when the node stops.
//!
//! * A batch is what was recorded since the last one. It is merged into the rows of this run of the
//!   node, which nobody else writes, in transactions of [`ROWS`] rows.
//! * Where the database is away, the batch is kept and sent again. A row knows the last batch that
//!   is in it, so one whose reply was lost counts once. What is recorded meanwhile waits in
//!   `latency/`, within its bound.
//! * A crash loses what was not stored: a minute at most.

use super::store::latency::{self as latency_store, LatencyKey, LatencyRow, LatencySpan};
use crate::database::{Database, Error};
use crate::ids::NodeId;
use crate::latency::{LatencyRecorder, MeasuredLatency};
use crate::metrics::metrics;
use crate::supervision::{ArbiterPool, jittered, supervise_task};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// What the task is called in logs and metrics.
const TASK: &str = "latencies";
/// Between two batches; with the jitter and the time that storing takes, less than a minute.
const INTERVAL: Duration = Duration::from_secs(45);
/// How far an answer may be behind what was measured anywhere.
pub(super) const BEHIND_MAX: Duration = Duration::from_secs(60);
/// Between two batches because of questions: what a question does not find then is of the last
/// moment.
const LATELY: Duration = Duration::from_millis(500);
/// Rows of a transaction.
const ROWS: usize = 512;

/// The way of latencies into the database. Cheap to clone.
#[derive(Clone)]
pub struct LatencyLog {
    inner: Arc<Inner>,
}

struct Inner {
    node: NodeId,
    database: Database,
    recorder: LatencyRecorder,
    sending: Mutex<Batch>,
}

/// What is being sent. Empty once it is stored.
#[derive(Default)]
struct Batch {
    number: i64,
    measured: Vec<MeasuredLatency>,
    stored_at: Option<Instant>,
}

impl LatencyLog {
    /// Starts the task that stores.
    #[must_use]
    pub fn start(node: NodeId, database: Database, recorder: LatencyRecorder, arbiters: &ArbiterPool) -> Self {
        let log = Self {
            inner: Arc::new(Inner {
                node,
                database,
                recorder,
                sending: Mutex::default(),
            }),
        };
        let storing = log.clone();
        arbiters.spawn(2, async move {
            supervise_task(TASK, |_| storing.run()).await;
        });
        log
    }

    async fn run(&self) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(jittered(INTERVAL)) => {}
                () = self.inner.recorder.filling() => {}
            }
            fail::fail_point!("analytics::latencies");
            if let Err(error) = self.store().await {
                tracing::warn!(%error, "latencies are not stored yet");
            }
        }
    }

    /// Stores everything recorded so far.
    ///
    /// # Errors
    /// [`Error`]; then it is kept, and the next call tries again.
    pub async fn store(&self) -> Result<(), Error> {
        let mut batch = self.inner.sending.lock().await;
        self.send(&mut batch).await
    }

    /// Stores what is left when the node stops. What cannot be stored is lost.
    pub async fn stop(&self) {
        if let Err(error) = self.store().await {
            tracing::warn!(%error, "the last latencies are lost");
        }
    }

    /// The same before a question, unless it was done a moment ago.
    ///
    /// # Errors
    /// As [`Self::store`].
    pub(super) async fn store_lately(&self) -> Result<(), Error> {
        let mut batch = self.inner.sending.lock().await;
        if batch.stored_at.is_some_and(|at| at.elapsed() < LATELY) {
            return Ok(());
        }
        self.send(&mut batch).await
    }

    async fn send(&self, batch: &mut Batch) -> Result<(), Error> {
        if batch.measured.is_empty() {
            batch.measured = self.inner.recorder.take();
            batch.number += 1;
        }
        if batch.measured.is_empty() {
            batch.stored_at = Some(Instant::now());
            return Ok(());
        }
        for rows in rows(&batch.measured).chunks(ROWS) {
            self.merge(batch.number, rows).await?;
        }
        let stored = batch.measured.iter().map(|one| one.histogram.count()).sum();
        batch.measured.clear();
        batch.stored_at = Some(Instant::now());
        metrics().latencies_stored(stored);
        Ok(())
    }

    /// Adds rows to those of this node, unless they are in it.
    async fn merge(&self, batch: i64, rows: &[LatencyRow]) -> Result<(), Error> {
        let mut client = self.inner.database.client().await?;
        let tx = client.transaction().await?;
        let mut known = latency_store::find_own(&tx, self.inner.node, rows).await?;
        let merged = rows.iter().filter_map(|LatencyRow { key, histogram }| {
            let mut histogram = histogram.clone();
            match known.remove(key) {
                Some(stored) if stored.batch >= batch => return None,
                Some(stored) => histogram.merge(&stored.histogram),
                None => {}
            }
            Some(LatencyRow { key: *key, histogram })
        });
        let merged: Vec<LatencyRow> = merged.collect();
        latency_store::upsert(&tx, self.inner.node, batch, &merged).await?;
        tx.commit().await
    }
}

/// The rows of what was measured, in an order that does not change: each in its quarter and in its
/// hour. Pure.
fn rows(measured: &[MeasuredLatency]) -> Vec<LatencyRow> {
    let mut places: HashMap<LatencyKey, usize> = HashMap::new();
    let mut rows: Vec<LatencyRow> = Vec::with_capacity(2 * measured.len());
    for one in measured {
        let quarter_ms = i64::try_from(one.quarter).unwrap_or(0) * 1_000;
        for span in LatencySpan::ALL {
            let key = LatencyKey {
                tenant: one.tenant,
                kind: one.kind,
                span,
                at: quarter_ms - quarter_ms.rem_euclid(span.ms()),
            };
            match places.get(&key).and_then(|place| rows.get_mut(*place)) {
                Some(row) => row.histogram.merge(&one.histogram),
                None => {
                    places.insert(key, rows.len());
                    let histogram = one.histogram.clone();
                    rows.push(LatencyRow { key, histogram });
                }
            }
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::TenantId;
    use crate::latency::{LatencyHistogram, LatencyKind};

    #[test]
    fn a_wait_is_in_its_quarter_and_in_its_hour() {
        let tenant = TenantId::new();
        let measured = |quarter, ms| {
            let mut histogram = LatencyHistogram::default();
            histogram.record(Duration::from_millis(ms), 2);
            MeasuredLatency {
                tenant,
                kind: LatencyKind::Append,
                quarter,
                histogram,
            }
        };
        let rows = rows(&[measured(7_200, 1), measured(8_100, 3), measured(10_800, 5)]);
        let shape: Vec<_> = rows
            .iter()
            .map(|row| (row.key.span.minutes(), row.key.at / 1_000, row.histogram.count()))
            .collect();
        assert_eq!(
            shape,
            [
                (15, 7_200, 2),
                (60, 7_200, 4),
                (15, 8_100, 2),
                (15, 10_800, 2),
                (60, 10_800, 2)
            ]
        );
    }
}
