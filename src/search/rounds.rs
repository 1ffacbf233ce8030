//! In which order a search looks at slices, and when it has seen enough. Pure.
//!
//! The messages of a conversation are in slices of 8,192 (`slices.rs`). Slices are searched in
//! rounds, those with the youngest messages first. A message has its place on the page as soon as
//! no slice is left that may hold a younger one. So a word that everybody uses is found in the
//! first few slices, and a word that hardly anybody uses costs no more than finding out that it is
//! not there.
//!
//! Rounds grow while they are quick. That a word was rare in one round says nothing of the next, so
//! a round gets half of the time that is left. One that would take longer is broken off, and
//! repeated with a quarter of the slices.
//!
//! Bounds: [`SLICES_MAX`] slices, [`TIME_MAX`]. A search that ends at one of them returns what it
//! has found, and says that it is not complete.

use crate::ids::Rev;
use crate::wire::frames::Timestamp;
use std::time::Duration;
use uuid::Uuid;

/// Slices of one page: 16 million messages of full ones, or the first 2,048 conversations.
pub(super) const SLICES_MAX: usize = 2_048;
/// All rounds together; after this none begins.
pub(super) const TIME_MAX: Duration = Duration::from_secs(2);
/// The least that a round is given, so the last one may end so much later.
const TIME_MIN: Duration = Duration::from_millis(100);
/// Slices of the first round.
const ROUND_MIN: usize = 16;
/// Slices of the largest: more in one statement are slower than the same in two.
const ROUND_MAX: usize = 256;
/// A round that took less is followed by one four times as large.
const QUICK: Duration = Duration::from_millis(100);

/// A slice of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slice {
    pub(super) conversation: Uuid,
    /// Its number in the conversation.
    pub(super) n: i64,
    /// Nothing in it is younger.
    pub(super) newest_at: Timestamp,
    /// Whether something in it is so young that a replica may not have it.
    pub(super) is_fresh: bool,
    /// The conversation has changes beyond this revision that are not in the index.
    pub(super) unindexed_after: Option<Rev>,
}

/// A message that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hit {
    pub(super) created_at: Timestamp,
    pub(super) id: Uuid,
    pub(super) conversation: Uuid,
    pub(super) seq: i64,
}

/// What a search has found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Hits {
    /// The page, youngest first.
    pub(super) page: Vec<Hit>,
    /// Whether there are more.
    pub(super) more: bool,
    /// Whether everything was looked through that may belong on the page.
    pub(super) complete: bool,
}

/// A search under way.
#[derive(Debug)]
pub(super) struct Rounds {
    /// Those with the youngest messages first.
    slices: Vec<Slice>,
    looked_at: usize,
    /// Whether there are more slices than may be looked through.
    cut: bool,
    /// Whether there are more messages outside the index than were read.
    missed_unindexed: bool,
    /// One more than the page has.
    wanted: usize,
    size: usize,
    size_max: usize,
    spent: Duration,
    hits: Vec<Hit>,
}

impl Rounds {
    /// A search through slices, youngest first, of which the last one only shows that there are too
    /// many; for a page of `limit` messages.
    pub(super) fn new(mut slices: Vec<Slice>, limit: usize) -> Self {
        let cut = slices.len() > SLICES_MAX;
        slices.truncate(SLICES_MAX);
        Self {
            slices,
            looked_at: 0,
            cut,
            missed_unindexed: false,
            wanted: limit + 1,
            size: ROUND_MIN,
            size_max: ROUND_MAX,
            spent: Duration::ZERO,
            hits: Vec::new(),
        }
    }

    /// Adds what was found among the messages that are not in the index; `is_cut` where there are
    /// too many of them to read all.
    pub(super) fn add_unindexed(&mut self, hits: impl IntoIterator<Item = Hit>, is_cut: bool) {
        self.missed_unindexed |= is_cut;
        self.merge(hits);
    }

    /// The slices to look through next; `None` when it is enough.
    pub(super) fn next_round(&self) -> Option<&[Slice]> {
        if self.is_final() || self.spent >= TIME_MAX {
            return None;
        }
        let end = (self.looked_at + self.size).min(self.slices.len());
        Some(&self.slices[self.looked_at..end])
    }

    /// How long the round may take.
    pub(super) fn time_left(&self) -> Duration {
        (TIME_MAX.saturating_sub(self.spent) / 2).max(TIME_MIN)
    }

    /// The last round took too long and was broken off: it is made again, smaller.
    pub(super) fn break_off(&mut self, elapsed: Duration) {
        self.spent += elapsed.max(self.time_left());
        self.size_max = (self.size / 4).max(1);
        self.size = self.size_max;
    }

    /// Adds what the last round has found: the youngest of its slices, at most as many as are
    /// wanted.
    pub(super) fn add(&mut self, hits: impl IntoIterator<Item = Hit>, elapsed: Duration) {
        self.looked_at = (self.looked_at + self.size).min(self.slices.len());
        self.spent += elapsed;
        if elapsed < QUICK {
            self.size = (self.size * 4).min(self.size_max);
        }
        self.merge(hits);
    }

    fn merge(&mut self, hits: impl IntoIterator<Item = Hit>) {
        self.hits.extend(hits);
        self.hits
            .sort_unstable_by_key(|hit| std::cmp::Reverse((hit.created_at, hit.id)));
        // What is just being indexed may be found twice.
        self.hits.dedup();
        self.hits.truncate(self.wanted);
    }

    /// Ends the search, and gives the page.
    pub(super) fn finish(mut self) -> Hits {
        let all_slices = !self.cut || self.looked_at < self.slices.len();
        let complete = self.is_final() && all_slices && !self.missed_unindexed;
        let more = self.hits.len() == self.wanted;
        self.hits.truncate(self.wanted - 1);
        Hits {
            page: self.hits,
            more,
            complete,
        }
    }

    /// Whether nothing that was not looked at can change the page.
    fn is_final(&self) -> bool {
        let Some(next) = self.slices.get(self.looked_at) else {
            return true;
        };
        let last = self.hits.get(self.wanted - 1);
        last.is_some_and(|last| last.created_at > next.newest_at)
    }

    /// How many messages a round has to return at most.
    pub(super) const fn wanted(&self) -> usize {
        self.wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::DateTime;
    use proptest::prelude::*;

    fn at(ms: i64) -> Timestamp {
        DateTime::from_timestamp_millis(ms).unwrap()
    }

    fn slice(n: i64, newest_at: i64) -> Slice {
        Slice {
            conversation: Uuid::nil(),
            n,
            newest_at: at(newest_at),
            is_fresh: false,
            unindexed_after: None,
        }
    }

    fn hit(ms: i64, id: u128) -> Hit {
        Hit {
            created_at: at(ms),
            id: Uuid::from_u128(id),
            conversation: Uuid::nil(),
            seq: 1,
        }
    }

    #[test]
    fn it_ends_when_the_page_cannot_change() {
        let slices: Vec<_> = (0..100).map(|n| slice(n, 1_000 - n)).collect();
        let mut rounds = Rounds::new(slices, 2);
        assert_eq!(rounds.next_round().unwrap().len(), ROUND_MIN);
        rounds.add([hit(999, 1), hit(998, 2), hit(985, 3)], Duration::ZERO);
        let found = rounds.finish();
        assert_eq!((found.page.len(), found.more, found.complete), (2, true, true));
    }

    #[test]
    fn an_equal_time_may_still_come() {
        let slices: Vec<_> = (0..20).map(|n| slice(n, 1_000)).collect();
        let mut rounds = Rounds::new(slices, 1);
        rounds.add([hit(1_000, 1), hit(1_000, 2)], Duration::ZERO);
        assert_eq!(rounds.next_round().unwrap().len(), 4);
        rounds.add([hit(1_000, 9)], Duration::ZERO);
        assert_eq!(rounds.next_round(), None);
        assert_eq!(rounds.finish().page, [hit(1_000, 9)]);
    }

    #[test]
    fn rounds_grow_while_they_are_quick_and_end_with_the_time() {
        let slices: Vec<_> = (0..1_000).map(|n| slice(n, 0)).collect();
        let mut rounds = Rounds::new(slices, 10);
        for (size, took) in [(16, 1), (64, 1), (256, 100), (256, 1), (256, 1_900)] {
            assert_eq!(rounds.next_round().unwrap().len(), size);
            rounds.add([], Duration::from_millis(took));
        }
        assert_eq!(rounds.next_round(), None);
        assert_eq!(
            rounds.finish(),
            Hits {
                page: vec![],
                more: false,
                complete: false
            }
        );
    }

    #[test]
    fn a_round_that_is_too_slow_is_made_again_with_fewer_slices() {
        let slices: Vec<_> = (0..1_000).map(|n| slice(n, 1_000 - n)).collect();
        let mut rounds = Rounds::new(slices, 10);
        rounds.add([hit(900, 1)], Duration::ZERO);
        rounds.add([], Duration::ZERO);
        let mut tried = Vec::new();
        while let Some(round) = rounds.next_round() {
            tried.push((round[0].n, round.len(), rounds.time_left().as_millis()));
            match round.len() {
                256 => rounds.break_off(Duration::from_secs(1)),
                _ => rounds.add([], Duration::from_millis(250)),
            }
        }
        assert_eq!(
            tried,
            [
                (80, 256, 1_000),
                (80, 64, 500),
                (144, 64, 375),
                (208, 64, 250),
                (272, 64, 125)
            ]
        );
        let found = rounds.finish();
        assert_eq!((found.page.len(), found.more, found.complete), (1, false, false));
    }

    /// However soon the database gives up, it is queried a few times only.
    #[test]
    fn nothing_but_slow_rounds_come_to_an_end() {
        let mut rounds = Rounds::new(vec![slice(0, 0); 300], 10);
        let mut broken_off = 0;
        while rounds.next_round().is_some() {
            rounds.break_off(Duration::ZERO);
            broken_off += 1;
        }
        assert_eq!((broken_off, rounds.finish().complete), (6, false));
    }

    #[test]
    fn more_slices_than_allowed_are_not_complete() {
        for (n, complete) in [(SLICES_MAX, true), (SLICES_MAX + 1, false)] {
            let mut rounds = Rounds::new((0..n as i64).map(|n| slice(n, 0)).collect(), 10);
            while rounds.next_round().is_some() {
                rounds.add([], Duration::ZERO);
            }
            assert_eq!(rounds.finish().complete, complete);
        }
    }

    proptest! {
        /// Whatever is in the slices, the page is the one that sorting everything gives.
        #[test]
        fn the_page_is_the_youngest(
            slices in prop::collection::vec(prop::collection::vec((0_i64..500, any::<u16>()), 0..8), 0..60),
            limit in 1_usize..20,
        ) {
            let mut known: Vec<(Slice, Vec<Hit>)> = slices.into_iter().enumerate().map(|(n, hits)| {
                let newest = hits.iter().map(|(ms, _)| *ms).max().unwrap_or(7);
                let hits = hits.into_iter().map(|(ms, id)| hit(ms, u128::from(id))).collect();
                (slice(n as i64, newest), hits)
            }).collect();
            known.sort_by_key(|(slice, _)| std::cmp::Reverse(slice.newest_at));
            let mut all: Vec<Hit> = known.iter().flat_map(|(_, hits)| hits.clone()).collect();
            all.sort_by_key(|hit| std::cmp::Reverse((hit.created_at, hit.id)));
            let mut rounds = Rounds::new(known.iter().map(|(slice, _)| *slice).collect(), limit);
            while let Some(round) = rounds.next_round() {
                let keys: Vec<i64> = round.iter().map(|slice| slice.n).collect();
                let of_round = known.iter().filter(|(slice, _)| keys.contains(&slice.n));
                let mut hits: Vec<Hit> = of_round.flat_map(|(_, hits)| hits.clone()).collect();
                hits.sort_by_key(|hit| std::cmp::Reverse((hit.created_at, hit.id)));
                hits.truncate(rounds.wanted());
                rounds.add(hits, Duration::ZERO);
            }
            let found = rounds.finish();
            prop_assert!(found.complete);
            prop_assert_eq!(found.more, all.len() > limit);
            all.truncate(limit);
            prop_assert_eq!(found.page, all);
        }
    }
}
