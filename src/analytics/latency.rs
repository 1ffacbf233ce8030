//! Answers what a tenant's messages and deliveries took, from the stored histograms of all nodes.
//!
//! What this node has recorded is stored first, so its own last minute is in the answer; that of
//! other nodes is within [`BEHIND_MAX`], which the answer says. A range that begins within a quarter
//! of an hour has all of that quarter.
//!
//! Long ranges are read by the hour where every bucket begins at one, and otherwise by the quarter:
//! a year are 8,760 rows of a kilobyte at most for each node, as a rule. Bound: [`WINDOW_MS`] of rows are in memory
//! at a time, and a histogram.

use super::error::Error;
use super::latency_log::{BEHIND_MAX, LatencyLog};
use super::period::{Bucket, Period};
use super::service::Analytics;
use super::store::latency::{self as latency_store, LatencyRange, LatencySpan};
use super::zone::{DAY_MS, HOUR_MS};
use crate::auth::Principal;
use crate::database::Database;
use crate::fairness::Claimant;
use crate::latency::{LatencyHistogram, LatencyKind};
use chrono::Utc;

/// How much is read at a time.
const WINDOW_MS: i64 = 31 * DAY_MS;

/// What a bucket of time had.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LatencyPoint {
    /// When it begins in the calendar, in milliseconds of Unix time.
    pub at: i64,
    pub count: u64,
    /// `None` where there is nothing.
    pub percentiles: Option<Percentiles>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Percentiles {
    pub p50_ms: f64,
    pub p95_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
}

/// The answer, and of when it is.
#[derive(Clone, Debug)]
pub struct LatencyAnswer {
    pub points: Vec<LatencyPoint>,
    /// In milliseconds of Unix time.
    pub generated_at: i64,
    /// Everything from before is in it, but for the last minute of a node that died.
    pub data_through: i64,
}

/// Stored latencies. Cheap to clone.
#[derive(Clone)]
pub struct Latencies {
    database: Database,
    log: LatencyLog,
    analytics: Analytics,
}

impl Latencies {
    #[must_use]
    pub const fn new(database: Database, log: LatencyLog, analytics: Analytics) -> Self {
        Self {
            database,
            log,
            analytics,
        }
    }

    /// The latencies of a kind in each of some buckets of a period.
    ///
    /// # Errors
    /// [`Error::Overloaded`], [`Error::Database`].
    pub async fn answer(
        &self,
        caller: &Principal,
        kind: LatencyKind,
        period: &Period,
        buckets: &[Bucket],
    ) -> Result<LatencyAnswer, Error> {
        let claimant = Claimant {
            group: caller.tenant_id,
            member: caller.user_id,
        };
        let _turn = self.analytics.take_turn(claimant).await?;
        let tenant = caller.tenant_id;
        let generated_at = Utc::now().timestamp_millis();
        if let Err(error) = self.log.store_lately().await {
            tracing::warn!(%error, "an answer is without the last minute of this node");
        }
        let span = span_of(buckets, period.to.min(generated_at));
        let first = period.from - period.from.rem_euclid(span.ms());
        let mut histograms = vec![LatencyHistogram::EMPTY; buckets.len()];
        let client = self.database.client().await?;
        let mut from = first;
        while from < period.to.min(generated_at) {
            let range = LatencyRange {
                tenant,
                kind,
                span,
                from,
                to: (from + WINDOW_MS).min(period.to),
            };
            from = range.to;
            latency_store::list(&client, &range, |at, found| {
                let place = buckets.partition_point(|bucket| bucket.from <= at);
                // The first may have begun before the period.
                if let Some(histogram) = histograms.get_mut(place.saturating_sub(1)) {
                    histogram.merge(found);
                }
            })
            .await?;
        }
        let points = buckets
            .iter()
            .zip(&histograms)
            .map(|(bucket, histogram)| point(bucket, histogram));
        Ok(LatencyAnswer {
            points: points.collect(),
            generated_at,
            data_through: generated_at - i64::try_from(BEHIND_MAX.as_millis()).unwrap_or(i64::MAX),
        })
    }
}

/// The longest rows that are parts of the buckets.
fn span_of(buckets: &[Bucket], end: i64) -> LatencySpan {
    let are_hours = buckets.iter().all(|bucket| bucket.from % HOUR_MS == 0) && {
        let last = buckets.last().map_or(0, |bucket| bucket.to);
        // What is to come is in no row.
        last >= end || last % HOUR_MS == 0
    };
    if are_hours {
        LatencySpan::Hour
    } else {
        LatencySpan::Quarter
    }
}

fn point(bucket: &Bucket, histogram: &LatencyHistogram) -> LatencyPoint {
    let count = histogram.count();
    LatencyPoint {
        at: bucket.at,
        count,
        percentiles: (count > 0).then(|| Percentiles {
            p50_ms: histogram.percentile_ms(50.0),
            p95_ms: histogram.percentile_ms(95.0),
            p99_ms: histogram.percentile_ms(99.0),
            max_ms: histogram.max_ms(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::period::Granularity;
    use super::*;

    fn span(from: &str, to: &str, tz: &str, granularity: Granularity) -> LatencySpan {
        let period = Period::parse(Some(from), Some(to), Some(tz), 0).unwrap();
        span_of(&period.buckets(granularity).unwrap(), i64::MAX)
    }

    #[test]
    fn hours_are_read_where_every_bucket_begins_at_one() {
        let (from, to) = ("2026-03-01", "2026-04-01");
        assert_eq!(span(from, to, "Europe/Berlin", Granularity::Day), LatencySpan::Hour);
        assert_eq!(span(from, to, "Asia/Kathmandu", Granularity::Day), LatencySpan::Quarter);
        // Half an hour in winter, which is June there.
        let lord_howe = |from, to| span(from, to, "Australia/Lord_Howe", Granularity::Hour);
        assert_eq!(lord_howe(from, to), LatencySpan::Hour);
        assert_eq!(lord_howe("2026-06-01", "2026-06-10"), LatencySpan::Quarter);
        assert_eq!(
            span("2026-03-01T00:15:00Z", to, "UTC", Granularity::Day),
            LatencySpan::Quarter
        );
        assert_eq!(
            span(from, "2026-03-31T10:01:00Z", "UTC", Granularity::Day),
            LatencySpan::Quarter
        );
    }
}
