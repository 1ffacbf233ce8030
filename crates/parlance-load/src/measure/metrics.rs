//! What the server says on `/metrics`, read before and after a measurement: how often its cache
//! served, how long statements took.
//!
//! Only what is needed of the text format: a name, labels as they stand, a value.

use crate::client::http::Client;
use crate::error::Result;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Samples by name and labels, as they were at one moment.
pub(crate) struct Scrape {
    samples: BTreeMap<String, f64>,
}

impl Scrape {
    /// Reads `/metrics`; empty when the server does not offer it there.
    pub(crate) fn of(address: SocketAddr) -> Result<Self> {
        let (status, text) = Client::connect(address)?.request("GET", "/metrics", None, "")?;
        Ok(Self::parse(if status == 200 { &text } else { "" }))
    }

    fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let samples = lines.filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Self {
            samples: samples.collect(),
        }
    }

    /// What the samples of a name grew by, each with its labels.
    fn growth<'a>(&'a self, earlier: &'a Self, name: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
        self.samples.iter().filter_map(move |(sample, value)| {
            let labels = sample.strip_prefix(name)?;
            if !labels.is_empty() && !labels.starts_with('{') {
                return None;
            }
            Some((labels, value - earlier.samples.get(sample).copied().unwrap_or(0.0)))
        })
    }

    /// Hits by look-ups, over all kinds of things.
    pub(crate) fn hit_rate_since(&self, earlier: &Self) -> Option<f64> {
        let sum = |name| self.growth(earlier, name).map(|(_, grown)| grown).sum::<f64>();
        let (hits, misses) = (sum("cache_hits_total"), sum("cache_misses_total"));
        (hits + misses > 0.0).then(|| hits / (hits + misses))
    }

    /// A percentile of all statements, in milliseconds: the upper bound of the bucket it lies in.
    pub(crate) fn statement_percentile_ms_since(&self, earlier: &Self, percentile: f64) -> Option<f64> {
        let mut buckets = BTreeMap::<u64, f64>::new();
        for (labels, grown) in self.growth(earlier, "db_query_duration_seconds_bucket") {
            let bound = labels.split("le=\"").nth(1)?.split('"').next()?;
            let us = if bound == "+Inf" {
                u64::MAX
            } else {
                (bound.parse::<f64>().ok()? * 1e6) as u64
            };
            *buckets.entry(us).or_default() += grown;
        }
        let total = buckets.get(&u64::MAX).copied().filter(|total| *total > 0.0)?;
        let (us, _) = buckets.iter().find(|(_, count)| **count >= percentile * total)?;
        Some(*us as f64 / 1_000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "# TYPE cache_hits counter\ncache_hits_total{cache_type=\"user\",level=\"l1\"} 10\n";
    const AFTER: &str = "cache_hits_total{cache_type=\"user\",level=\"l1\"} 40\ncache_hits_total{cache_type=\"key\",level=\"l2\"} 15\n\
        cache_misses_total{cache_type=\"user\"} 5\ncache_hits_total_other 99\n\
        db_query_duration_seconds_bucket{le=\"0.001\",query=\"a\"} 90\ndb_query_duration_seconds_bucket{le=\"0.005\",query=\"a\"} 99\n\
        db_query_duration_seconds_bucket{le=\"+Inf\",query=\"a\"} 100\n";

    #[test]
    fn growth_is_summed_over_all_labels() {
        let (before, after) = (Scrape::parse(BEFORE), Scrape::parse(AFTER));
        assert_eq!(after.hit_rate_since(&before), Some(0.9));
        assert_eq!(after.statement_percentile_ms_since(&before, 0.95), Some(5.0));
        assert_eq!(after.statement_percentile_ms_since(&before, 0.5), Some(1.0));
        assert_eq!(before.hit_rate_since(&before), None);
        assert_eq!(before.statement_percentile_ms_since(&after, 0.5), None);
    }
}
