//! Whose turn it is, by what each has used so far. Pure.
//!
//! Start-time fair queueing (Goyal, Vin, Cheng: "Start-time Fair Queuing", SIGCOMM 1996). A virtual
//! clock moves on with what is served. Each key has an account: the virtual time until which it has
//! had its share. The one whose account ends first is next. So whoever uses little is served soon,
//! however much the others ask for, and whoever was idle has saved nothing up.
//!
//! What a turn costs is often known only when it is over. It is charged as expected, and corrected
//! then (Mace et al.: "2DFQ", SIGCOMM 2016), so nobody gains by expensive work that looks cheap.
//!
//! Used by `turns.rs`, once for groups and once for the members of each. Bounds: an account is kept
//! while its key waits, or has used more than its share, at most [`ACCOUNTS_IDLE_MAX`] of the
//! latter. All operations are logarithmic.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

/// Accounts of keys that do not wait. Beyond it the one with the least debt is forgotten.
const ACCOUNTS_IDLE_MAX: usize = 4_096;

/// A position in virtual time, in the unit of the costs.
type VirtualTime = u64;

#[derive(Clone, Copy, Debug)]
struct Account {
    /// Until when it has had its share.
    paid_until: VirtualTime,
    /// Where it stands among those who wait, if it does.
    waits_since: Option<Place>,
}

/// Earlier is served first; of the same start, who came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    start: VirtualTime,
    arrival: u64,
}

#[derive(Debug)]
pub(super) struct VirtualOrder<K> {
    now: VirtualTime,
    arrivals: u64,
    accounts: HashMap<K, Account>,
    waiting: BTreeSet<(Place, K)>,
    /// Those who do not wait and have used more than their share, by when it will be theirs again.
    idle: BTreeSet<(VirtualTime, K)>,
}

impl<K> Default for VirtualOrder<K> {
    fn default() -> Self {
        Self {
            now: 0,
            arrivals: 0,
            accounts: HashMap::new(),
            waiting: BTreeSet::new(),
            idle: BTreeSet::new(),
        }
    }
}

impl<K: Copy + Ord + Hash> VirtualOrder<K> {
    /// The key whose turn is next.
    pub(super) fn first(&self) -> Option<K> {
        self.waiting.first().map(|(_, key)| *key)
    }

    /// The key waits for a turn. Repeating it changes nothing.
    pub(super) fn wait(&mut self, key: K) {
        let now = self.now;
        let account = self.accounts.entry(key).or_insert(Account {
            paid_until: now,
            waits_since: None,
        });
        if account.waits_since.is_some() {
            return;
        }
        self.arrivals += 1;
        let place = Place {
            start: account.paid_until.max(now),
            arrival: self.arrivals,
        };
        account.waits_since = Some(place);
        self.idle.remove(&(account.paid_until, key));
        self.waiting.insert((place, key));
    }

    /// The key does not wait any more.
    pub(super) fn stop_waiting(&mut self, key: K) {
        let Some(account) = self.accounts.get_mut(&key) else {
            return;
        };
        let Some(place) = account.waits_since.take() else {
            return;
        };
        self.waiting.remove(&(place, key));
        self.rest(key);
    }

    /// Gives the key its turn, charged with `expected`. It does not wait any more.
    pub(super) fn serve(&mut self, key: K, expected: u64) {
        let Some(account) = self.accounts.get_mut(&key) else {
            return;
        };
        let Some(place) = account.waits_since.take() else {
            return;
        };
        self.waiting.remove(&(place, key));
        self.now = self.now.max(place.start);
        account.paid_until = place.start + expected;
        self.rest(key);
        while let Some((paid_until, key)) = self.idle.first().copied()
            && (paid_until <= self.now || self.idle.len() > ACCOUNTS_IDLE_MAX)
        {
            self.idle.remove(&(paid_until, key));
            self.accounts.remove(&key);
        }
    }

    /// Corrects what a turn was charged with.
    pub(super) fn correct(&mut self, key: K, expected: u64, actual: u64) {
        let now = self.now;
        let correct = |paid_until: VirtualTime| (paid_until + actual).saturating_sub(expected);
        let Some(account) = self.accounts.get_mut(&key) else {
            // Its share had come again, at the price that was expected.
            let paid_until = correct(now);
            if paid_until > now {
                let waits_since = None;
                self.accounts.insert(
                    key,
                    Account {
                        paid_until,
                        waits_since,
                    },
                );
                self.idle.insert((paid_until, key));
            }
            return;
        };
        let before = account.paid_until;
        account.paid_until = correct(before);
        if let Some(place) = &mut account.waits_since {
            self.waiting.remove(&(*place, key));
            place.start = account.paid_until.max(now);
            self.waiting.insert((*place, key));
        } else {
            self.idle.remove(&(before, key));
            self.rest(key);
        }
    }

    /// Nobody waits and nothing is under way: everybody begins even.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    /// Keeps the account of a key that does not wait only if it has a debt.
    fn rest(&mut self, key: K) {
        let Some(account) = self.accounts.get(&key) else { return };
        if account.paid_until > self.now {
            self.idle.insert((account.paid_until, key));
        } else {
            self.accounts.remove(&key);
        }
    }

    #[cfg(test)]
    pub(super) fn accounts(&self) -> usize {
        self.accounts.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Serves keys that always wait, and returns what each has cost.
    fn serve_all(costs: &[u64], turns: usize, expected: u64) -> Vec<u64> {
        let mut order = VirtualOrder::default();
        let mut used = vec![0; costs.len()];
        (0..costs.len()).for_each(|key| order.wait(key));
        for _ in 0..turns {
            let key = order.first().unwrap();
            order.serve(key, expected);
            order.wait(key);
            order.correct(key, expected, costs[key]);
            used[key] += costs[key];
        }
        used
    }

    #[test]
    fn shares_are_of_costs_and_not_of_turns() {
        let used = serve_all(&[100, 1], 10_000, 10);
        let (dear, cheap) = (used[0], used[1]);
        assert!(dear.abs_diff(cheap) <= 200, "{dear} {cheap}");
    }

    #[test]
    fn who_was_idle_has_saved_nothing_up() {
        let mut order = VirtualOrder::default();
        order.wait('a');
        for _ in 0..100 {
            order.serve('a', 10);
            order.wait('a');
        }
        order.wait('b');
        let mut turns = Vec::new();
        for _ in 0..6 {
            let key = order.first().unwrap();
            turns.push(key);
            order.serve(key, 10);
            order.wait(key);
        }
        let of_b = turns.iter().filter(|key| **key == 'b').count();
        assert!((3..=4).contains(&of_b), "{turns:?}");
    }

    #[test]
    fn a_debt_is_remembered_until_it_is_paid_and_no_longer() {
        let mut order = VirtualOrder::default();
        order.wait('a');
        order.serve('a', 1);
        order.correct('a', 1, 50);
        assert_eq!(order.accounts(), 1);
        order.wait('b');
        for _ in 0..5 {
            order.serve('b', 10);
            order.wait('b');
        }
        order.wait('a');
        assert_eq!(order.first(), Some('b'), "a has had 50, b 50, and b waits for longer");
        order.serve('b', 10);
        order.wait('b');
        assert_eq!(order.first(), Some('a'));
        order.stop_waiting('a');
        assert_eq!(order.accounts(), 1, "what a had is its share by now");
    }

    proptest! {
        /// However different the costs, two keys that always wait have used the same, but for what
        /// one turn of each may cost.
        #[test]
        fn who_always_waits_gets_an_equal_share(
            costs in prop::collection::vec(1_u64..1_000, 2..6),
            expected in 1_u64..1_000,
        ) {
            let most = costs.iter().copied().max().unwrap();
            let used = serve_all(&costs, 1_000, expected);
            let (low, high) = (used.iter().min().unwrap(), used.iter().max().unwrap());
            prop_assert!(high - low <= 2 * most.max(expected), "{used:?} of {costs:?}");
        }
    }
}
