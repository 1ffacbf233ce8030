//! What one measured interval adds up to, and the histograms behind it.
//!
//! Latencies are kept in microseconds with three digits, from 1 µs to 100 s. A message sent before
//! the interval began counts as a delivery but not in the histograms, so that what a warm-up left
//! behind does not spoil the percentiles.

use crate::error::{Error, Result};
use hdrhistogram::Histogram;
use std::collections::BTreeMap;

/// A longer latency counts as this, in microseconds.
const LATENCY_MAX_US: u64 = 100_000_000;

/// An empty histogram for microseconds.
pub(crate) fn histogram() -> Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, LATENCY_MAX_US, 3).map_err(|e| Error::Arguments(e.to_string()))
}

/// What happened since the interval began.
pub(crate) struct Interval {
    /// When it began, in nanoseconds since the start of the run.
    pub since_ns: u64,
    /// Messages that readers got.
    pub deliveries: u64,
    /// Payload bytes of those.
    pub bytes: u64,
    /// Sends that were acknowledged.
    pub acked: u64,
    /// Send to delivery on the writer's node, in microseconds.
    pub same_node_us: Histogram<u64>,
    /// Send to delivery on another node.
    pub other_node_us: Histogram<u64>,
    /// Send to acknowledgement, in microseconds.
    pub ack_us: Histogram<u64>,
    /// Error codes of the server, with how often.
    pub refused: BTreeMap<String, u64>,
    /// How connections ended, with how often.
    pub closed: BTreeMap<String, u64>,
}

impl Interval {
    pub(crate) fn new(since_ns: u64) -> Result<Self> {
        Ok(Self {
            since_ns,
            deliveries: 0,
            bytes: 0,
            acked: 0,
            same_node_us: histogram()?,
            other_node_us: histogram()?,
            ack_us: histogram()?,
            refused: BTreeMap::new(),
            closed: BTreeMap::new(),
        })
    }

    /// A reader got a message of `bytes` payload bytes.
    #[inline]
    pub(crate) fn delivered(&mut self, sent_ns: u64, now_ns: u64, bytes: usize, other_node: bool) {
        self.deliveries += 1;
        self.bytes += bytes as u64;
        if sent_ns >= self.since_ns {
            let into = if other_node {
                &mut self.other_node_us
            } else {
                &mut self.same_node_us
            };
            into.saturating_record((now_ns.saturating_sub(sent_ns) / 1_000).max(1));
        }
    }

    pub(crate) fn acknowledged(&mut self, sent_ns: u64, now_ns: u64) {
        self.acked += 1;
        if sent_ns >= self.since_ns {
            self.ack_us
                .saturating_record((now_ns.saturating_sub(sent_ns) / 1_000).max(1));
        }
    }

    /// Send to delivery, wherever the writer is.
    pub(crate) fn delivery_us(&self) -> Histogram<u64> {
        let mut all = self.same_node_us.clone();
        all += &self.other_node_us;
        all
    }

    /// Adds what another interval counted.
    pub(crate) fn add(&mut self, other: &Self) {
        self.deliveries += other.deliveries;
        self.bytes += other.bytes;
        self.acked += other.acked;
        // All have the same bounds, so adding cannot fail.
        self.same_node_us += &other.same_node_us;
        self.other_node_us += &other.other_node_us;
        self.ack_us += &other.ack_us;
        for (into, from) in [(&mut self.refused, &other.refused), (&mut self.closed, &other.closed)] {
            for (name, count) in from {
                *into.entry(name.clone()).or_default() += count;
            }
        }
    }
}

/// A percentile of a histogram in milliseconds.
pub(crate) fn percentile_ms(histogram: &Histogram<u64>, percentile: f64) -> f64 {
    if histogram.is_empty() {
        return 0.0;
    }
    histogram.value_at_percentile(percentile) as f64 / 1_000.0
}

/// The middle one; NaN of none.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_is_found() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!(median(Vec::new()).is_nan());
    }
}
