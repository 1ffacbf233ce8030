//! Who was active: in each bucket, and in the days that end with it. Pure.
//!
//! The time is divided where a day begins, and where the range does. Each part has the set of the
//! people who posted in it; everything else is their union.

use super::period::{Bucket, Period};
use super::question::ActiveCounts;
use super::tally::{BitSet, Cell, PartFinder};
use crate::ids::UserKind;

/// Days of the longest window.
const DAYS_OF_MONTH: i64 = 30;
const DAYS_OF_WEEK: i64 = 7;

/// The windows of a bucket: they end where it does.
struct Windows {
    bucket: Bucket,
    week_from: i64,
    month_from: i64,
}

pub(super) struct ActiveTally {
    windows: Vec<Windows>,
    starts: Vec<i64>,
    parts: PartFinder,
    people: Vec<BitSet>,
}

impl ActiveTally {
    pub(super) fn new(period: &Period, buckets: &[Bucket]) -> Self {
        let zone = &period.zone;
        let windows = buckets.iter().map(|bucket| {
            let last = zone.day(bucket.to - 1);
            Windows {
                bucket: *bucket,
                week_from: zone.first_instant(last - (DAYS_OF_WEEK - 1)),
                month_from: zone.first_instant(last - (DAYS_OF_MONTH - 1)),
            }
        });
        let windows: Vec<Windows> = windows.collect();
        let first = windows
            .iter()
            .map(|windows| windows.month_from.min(windows.bucket.from))
            .min();
        let first_day = zone.day(first.unwrap_or(period.from));
        let last_day = zone.day(period.to - 1);
        let mut starts: Vec<i64> = (first_day..=last_day).map(|day| zone.first_instant(day)).collect();
        starts.push(period.from);
        starts.sort_unstable();
        starts.dedup();
        Self {
            windows,
            parts: PartFinder::new(starts.clone()),
            people: vec![BitSet::default(); starts.len()],
            starts,
        }
    }

    /// Where the scan begins.
    pub(super) fn from(&self) -> i64 {
        self.starts.first().copied().unwrap_or_default()
    }

    /// Instants that divide what is told apart.
    pub(super) fn boundaries(&self) -> &[i64] {
        &self.starts
    }

    pub(super) fn add(&mut self, cell: &Cell) {
        if cell.kind == UserKind::Person {
            let part = self.parts.find(cell.at);
            self.people[part].insert(cell.user);
        }
    }

    fn union(&self, from: i64, to: i64) -> u64 {
        let first = self.starts.partition_point(|start| *start < from);
        let end = self.starts.partition_point(|start| *start < to);
        let mut people = BitSet::default();
        for part in self.people.get(first..end).unwrap_or_default() {
            people.add(part);
        }
        people.len()
    }

    /// `first_posts` has when people posted for the first time ever, for all who did so in the
    /// period, sorted.
    pub(super) fn finish(self, first_posts: &[i64]) -> Vec<ActiveCounts> {
        let counts = |windows: &Windows| {
            let Bucket { from, to, .. } = windows.bucket;
            let before = |end: i64| first_posts.partition_point(|at| *at < end);
            ActiveCounts {
                active: self.union(from, to),
                new: (before(to) - before(from)) as u64,
                weekly: self.union(windows.week_from, to),
                monthly: self.union(windows.month_from, to),
            }
        };
        self.windows.iter().map(counts).collect()
    }
}
