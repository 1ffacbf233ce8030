//! From where people have logged in to their accounts. Pure.
//!
//! Used by `login_failures.rs`: what others do at an address, or to an account, does not make those
//! wait who have shown the right password there before. Only a right password makes an entry, so
//! nobody pushes out another's by guessing.
//!
//! Bound: [`KNOWN_MAX`] accounts, then the one that was entered first is forgotten;
//! [`NETWORKS_MAX`] networks of an account, then the one used longest ago. A restart forgets all.

use crate::ids::Network;
use std::collections::{HashMap, VecDeque};

/// Milliseconds of a clock that does not go back.
pub(super) type ClockMs = u64;

/// How long a place is known.
pub(super) const KNOWN_FOR: ClockMs = 7 * 24 * 3_600 * 1_000;
/// Accounts whose places are known; about 150 bytes each.
const KNOWN_MAX: usize = 100_000;
/// Places of one account.
const NETWORKS_MAX: usize = 16;

/// The networks of accounts, which are hashes.
#[derive(Debug, Default)]
pub(super) struct KnownPlaces {
    accounts: HashMap<u64, Vec<KnownPlace>>,
    /// The accounts in the order in which they were first entered.
    order: VecDeque<u64>,
}

#[derive(Clone, Copy, Debug)]
struct KnownPlace {
    network: Network,
    until: ClockMs,
}

impl KnownPlaces {
    pub(super) fn contains(&self, account: u64, network: Network, now: ClockMs) -> bool {
        let places = self.accounts.get(&account).map(Vec::as_slice).unwrap_or_default();
        places.iter().any(|place| place.network == network && now < place.until)
    }

    /// Somebody has logged in to the account from there.
    pub(super) fn note(&mut self, account: u64, network: Network, now: ClockMs) {
        if !self.accounts.contains_key(&account) {
            if self.accounts.len() >= KNOWN_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.accounts.remove(&oldest);
            }
            self.order.push_back(account);
        }
        let places = self.accounts.entry(account).or_default();
        places.retain(|place| place.network != network);
        if places.len() >= NETWORKS_MAX {
            places.remove(0);
        }
        places.push(KnownPlace {
            network,
            until: now + KNOWN_FOR,
        });
    }

    /// Forgets what is not known any more.
    pub(super) fn clean(&mut self, now: ClockMs) {
        self.accounts.retain(|_, places| {
            places.retain(|place| now < place.until);
            !places.is_empty()
        });
        self.order.retain(|account| self.accounts.contains_key(account));
        self.accounts.shrink_to(2 * self.order.len());
        self.order.shrink_to(2 * self.accounts.len());
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.accounts.is_empty() && self.order.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    fn network(n: u32) -> Network {
        IpAddr::from(n.to_be_bytes()).into()
    }

    #[test]
    fn an_account_has_few_places_and_the_latest() {
        let mut known = KnownPlaces::default();
        for n in 0..20 {
            known.note(1, network(n), 0);
        }
        known.note(1, network(5), 1);
        known.note(1, network(20), 1);
        let kept = (0..=20).filter(|n| known.contains(1, network(*n), 1));
        assert_eq!(kept.collect::<Vec<_>>(), [vec![5], (6..=20).collect()].concat());
        assert!(!known.contains(2, network(5), 1) && !known.contains(1, network(5), KNOWN_FOR + 1));
        known.clean(KNOWN_FOR + 1);
        assert!(known.is_empty());
    }

    #[test]
    fn accounts_are_bounded() {
        let mut known = KnownPlaces::default();
        for account in 0..KNOWN_MAX as u64 + 10 {
            known.note(account, network(1), 0);
        }
        assert_eq!((known.accounts.len(), known.order.len()), (KNOWN_MAX, KNOWN_MAX));
        assert!(!known.contains(9, network(1), 1) && known.contains(10, network(1), 1));
    }
}
