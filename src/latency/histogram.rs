//! One histogram: buckets that grow with the value, so that every percentile is right to one in a
//! hundred; they merge without losing that. Pure.
//!
//! Values are microseconds, from 1 to a minute; a longer one counts as a minute, but the longest is
//! kept exactly. Memory: 1 to 10 KiB, by the longest value.
//!
//! The stored form is our own, and not that of the crate: pairs of a value (as the distance from the
//! one before) and a count, as varints. So it is small (3 bytes for each bucket in use), and does
//! not depend on how the crate divides its buckets.

use hdrhistogram::Histogram;
use std::time::Duration;

/// The longest that is told from others, in microseconds.
const MAX_US: u64 = 60_000_000;
/// Significant digits of a value.
const DIGITS: u8 = 2;
/// Pairs of a stored histogram; more is none of ours.
const PAIRS_MAX: usize = 8_192;

#[derive(Clone, Debug)]
pub struct LatencyHistogram {
    /// `None` until something is recorded.
    buckets: Option<Histogram<u64>>,
    max_us: u64,
}

impl Default for LatencyHistogram {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl LatencyHistogram {
    pub const EMPTY: Self = Self {
        buckets: None,
        max_us: 0,
    };

    /// Records a wait that `n` readers or messages had.
    pub fn record(&mut self, elapsed: Duration, n: u64) {
        let us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX).max(1);
        self.max_us = self.max_us.max(us);
        self.add_bucket(us, n);
    }

    /// Adds what another has.
    pub fn merge(&mut self, other: &Self) {
        self.max_us = self.max_us.max(other.max_us);
        for bucket in other.buckets.iter().flat_map(Histogram::iter_recorded) {
            self.add_bucket(bucket.value_iterated_to(), bucket.count_since_last_iteration());
        }
    }

    /// How many waits it has.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.as_ref().map_or(0, Histogram::len)
    }

    /// The wait that so many of a hundred do not exceed, in milliseconds.
    #[must_use]
    pub fn percentile_ms(&self, percentile: f64) -> f64 {
        let us = self
            .buckets
            .as_ref()
            .map_or(0, |buckets| buckets.value_at_percentile(percentile));
        // A bucket ends above the longest of its values.
        us.min(self.max_us) as f64 / 1_000.0
    }

    /// The longest wait, in milliseconds.
    #[must_use]
    pub fn max_ms(&self) -> f64 {
        self.max_us as f64 / 1_000.0
    }

    /// The longest wait, in microseconds, which is stored beside the buckets.
    #[must_use]
    pub const fn max_us(&self) -> u64 {
        self.max_us
    }

    /// The buckets as they are stored.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut last = 0;
        let pairs: Vec<StoredBucket> = self
            .buckets
            .iter()
            .flat_map(Histogram::iter_recorded)
            .map(|bucket| {
                let value = bucket.value_iterated_to();
                let distance = value - std::mem::replace(&mut last, value);
                StoredBucket {
                    distance,
                    count: bucket.count_since_last_iteration(),
                }
            })
            .collect();
        postcard::to_allocvec(&pairs).unwrap_or_default()
    }

    /// What [`Self::encode`] wrote. `None` of anything else.
    #[must_use]
    pub fn decode(bytes: &[u8], max_us: u64) -> Option<Self> {
        let pairs: Vec<StoredBucket> = postcard::from_bytes(bytes).ok()?;
        if pairs.len() > PAIRS_MAX {
            return None;
        }
        let (mut histogram, mut value) = (Self { buckets: None, max_us }, 0_u64);
        for StoredBucket { distance, count } in pairs {
            value = value.checked_add(distance)?;
            histogram.add_bucket(value, count);
        }
        Some(histogram)
    }

    fn add_bucket(&mut self, us: u64, n: u64) {
        if self.buckets.is_none() {
            // The number of digits is one that the crate takes.
            self.buckets = Histogram::new(DIGITS).ok();
        }
        if let Some(buckets) = &mut self.buckets
            && buckets.record_n(us.min(MAX_US), n).is_err()
        {
            // It grows by itself, so this does not happen.
            tracing::error!(us, "a latency was not recorded");
        }
    }
}

/// A bucket in the stored form.
#[derive(serde::Serialize, serde::Deserialize)]
struct StoredBucket {
    /// Its value less that of the bucket before.
    distance: u64,
    count: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(waits: &[u64]) -> LatencyHistogram {
        let mut histogram = LatencyHistogram::EMPTY;
        for us in waits {
            histogram.record(Duration::from_micros(*us), 1);
        }
        histogram
    }

    #[test]
    fn nothing_is_nothing() {
        let empty = LatencyHistogram::EMPTY;
        assert_eq!((empty.count(), empty.max_us()), (0, 0));
        assert!(empty.percentile_ms(95.0) < f64::EPSILON);
        assert_eq!(LatencyHistogram::decode(&empty.encode(), 0).unwrap().count(), 0);
        assert!(LatencyHistogram::decode(&[200, 1, 2], 0).is_none());
    }

    #[test]
    fn a_usual_hour_is_small() {
        let waits: Vec<u64> = (0..100_000).map(|n| 900 + n * n % 7_919 + n % 13 * 300).collect();
        assert!(of(&waits).encode().len() < 1_500, "{}", of(&waits).encode().len());
    }

    proptest! {
        /// Merged from parts that were stored, percentiles are those of all waits, to two in a hundred.
        #[test]
        fn what_was_stored_in_parts_is_right(
            parts in prop::collection::vec(prop::collection::vec(1_u64..50_000_000, 1..60), 1..6)
        ) {
            let mut merged = LatencyHistogram::EMPTY;
            for part in &parts {
                let part = of(part);
                merged.merge(&LatencyHistogram::decode(&part.encode(), part.max_us()).unwrap());
            }
            let mut all: Vec<u64> = parts.concat();
            all.sort_unstable();
            prop_assert_eq!(merged.count(), all.len() as u64);
            prop_assert_eq!(merged.max_us(), *all.last().unwrap());
            for percentile in [50.0, 95.0, 99.0, 100.0] {
                let rank = ((percentile / 100.0 * all.len() as f64).ceil() as usize).max(1) - 1;
                let exact = all[rank] as f64 / 1_000.0;
                let found = merged.percentile_ms(percentile);
                prop_assert!((found - exact).abs() <= 0.02 * exact + 0.000_5, "p{}: {} for {}", percentile, found, exact);
            }
        }
    }
}
