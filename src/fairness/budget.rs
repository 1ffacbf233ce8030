//! How much each may spend over time: a rate, and a store of it for bursts. Pure.
//!
//! The generic cell rate algorithm: of each key only the moment is kept at which its store is full
//! again. Who has not spent anything lately is not kept at all. What something costs may turn out
//! afterwards; then it is charged, also beyond the store.
//!
//! Bound: [`KEYS_MAX`] keys; then the one whose store is nearest to full is forgotten. All operations
//! are logarithmic.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Keys that have spent something lately.
const KEYS_MAX: usize = 65_536;

/// How much may be spent.
#[derive(Clone, Copy, Debug)]
pub struct SpendingRate {
    /// For any length of time.
    pub per_second: u32,
    /// At once, after a pause.
    pub burst: u32,
}

/// What each key has spent.
#[derive(Debug)]
pub struct SpendingBudget<K> {
    per_unit: Duration,
    store: Duration,
    full_at: HashMap<K, Instant>,
    by_moment: BTreeSet<(Instant, K)>,
}

impl<K: Copy + Ord + Hash> SpendingBudget<K> {
    #[must_use]
    pub fn new(rate: SpendingRate) -> Self {
        let per_unit = Duration::from_secs(1) / rate.per_second.max(1);
        Self {
            per_unit,
            store: per_unit * rate.burst,
            full_at: HashMap::new(),
            by_moment: BTreeSet::new(),
        }
    }

    /// Spends, or says how long to wait until there is enough.
    ///
    /// # Errors
    /// The wait.
    pub fn spend(&mut self, key: K, units: u32, now: Instant) -> Result<(), Duration> {
        let full_at = self.full_at(key, now) + self.per_unit * units;
        let wait = full_at.saturating_duration_since(now + self.store);
        if !wait.is_zero() {
            return Err(wait);
        }
        self.set(key, full_at, now);
        Ok(())
    }

    /// Charges what has turned out to be spent already, at most as much as a whole store beyond what
    /// there is.
    pub fn charge(&mut self, key: K, units: u32, now: Instant) {
        let full_at = self.full_at(key, now) + self.per_unit * units;
        self.set(key, full_at.min(now + 2 * self.store), now);
    }

    fn full_at(&self, key: K, now: Instant) -> Instant {
        self.full_at.get(&key).copied().unwrap_or(now).max(now)
    }

    fn set(&mut self, key: K, full_at: Instant, now: Instant) {
        if let Some(before) = self.full_at.insert(key, full_at) {
            self.by_moment.remove(&(before, key));
        }
        self.by_moment.insert((full_at, key));
        while let Some((moment, key)) = self.by_moment.first().copied()
            && (moment <= now || self.by_moment.len() > KEYS_MAX)
        {
            self.by_moment.remove(&(moment, key));
            self.full_at.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RATE: SpendingRate = SpendingRate {
        per_second: 10,
        burst: 50,
    };

    #[test]
    fn a_burst_and_then_the_rate() {
        let (mut budget, start) = (SpendingBudget::new(RATE), Instant::now());
        assert!((0..50).all(|_| budget.spend('a', 1, start).is_ok()));
        assert_eq!(budget.spend('a', 1, start), Err(Duration::from_millis(100)));
        assert_eq!(budget.spend('b', 1, start), Ok(()), "each has a store of their own");
        let later = start + Duration::from_secs(1);
        assert_eq!((0..50).filter(|_| budget.spend('a', 1, later).is_ok()).count(), 10);
    }

    #[test]
    fn what_turns_out_dear_is_paid_later() {
        let (mut budget, start) = (SpendingBudget::new(RATE), Instant::now());
        budget.spend('a', 1, start).unwrap();
        budget.charge('a', 59, start);
        assert_eq!(budget.spend('a', 1, start), Err(Duration::from_millis(1_100)));
        budget.charge('a', 100_000, start);
        let wait = budget.spend('a', 1, start).unwrap_err();
        assert_eq!(wait, Duration::from_millis(5_100), "a debt has an end");
    }

    #[test]
    fn nobody_is_kept_who_has_not_spent_lately() {
        let (mut budget, start) = (SpendingBudget::new(RATE), Instant::now());
        (0..1_000).for_each(|key| budget.charge(key, 50, start));
        assert_eq!(budget.full_at.len(), 1_000);
        budget.charge(5_000, 1, start + Duration::from_secs(5));
        assert_eq!((budget.full_at.len(), budget.by_moment.len()), (1, 1));
        (0..KEYS_MAX + 10).for_each(|key| budget.charge(key, 50, start + Duration::from_secs(6)));
        assert_eq!((budget.full_at.len(), budget.by_moment.len()), (KEYS_MAX, KEYS_MAX));
    }

    proptest! {
        /// Whatever is asked for when, no more is given than the rate and one store.
        #[test]
        fn no_more_than_the_rate_and_a_store(asks in prop::collection::vec((0_u64..300, 1_u32..20), 1..200)) {
            let (mut budget, start) = (SpendingBudget::new(RATE), Instant::now());
            let (mut at, mut spent) = (0, 0);
            for (pause, units) in asks {
                at += pause;
                match budget.spend('a', units, start + Duration::from_millis(at)) {
                    Ok(()) => spent += u64::from(units),
                    Err(wait) => {
                        let then = start + Duration::from_millis(at) + wait;
                        prop_assert!(units > RATE.burst || budget.spend('a', units, then).is_ok(), "it was true");
                        spent += u64::from(units);
                        at += u64::try_from(wait.as_millis()).unwrap() + 1;
                    }
                }
                prop_assert!(spent <= u64::from(RATE.burst) + at / 100 + 1, "{spent} in {at} ms");
            }
        }
    }
}
