//! Slowing down who guesses passwords, without locking out whose password it is: pure.
//!
//! Three things are counted: failures of an account from one network, of an account from anywhere, and of a network. Only
//! the first and the last make anybody wait, and both are the guesser's own: waits double from a second to five minutes for
//! the same account from the same network, and more gently, to a minute, for a network whatever the account. Failures of an
//! account from elsewhere never make its owner wait. They only make newcomers careful: where an account is under attack,
//! a network from which it was never entered has one free failure and not five. So a guesser with a thousand addresses has a
//! thousand tries, not five thousand, and the owner always has one, wherever they are; where they have entered before,
//! they keep all of theirs, also when the network guesses at other accounts.
//!
//! An attempt is counted as a failure when it begins and taken back when it turns out to be none, because guesses that
//! are made at the same time must not all be the first. Accounts that do not exist are counted like others, by a hash of
//! what was typed, so that waiting tells nobody who exists. Failures are halved every quarter of an hour.
//!
//! Signing up is counted likewise, by address typed and by network; there a success makes nobody trusted, and counts.
//!
//! Bounds: [`RECORDS_MAX`]; then the oldest is forgotten. Each costs a hashed password to make, some 50 ms of a core, so
//! to push a record out takes longer than it would last.

use super::Network;
use super::window::Millis;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};

/// Records that are kept; about 100 bytes each.
const RECORDS_MAX: usize = 100_000;
/// After this, half of the failures are forgotten.
const HALF_LIFE: Millis = 15 * 60 * 1_000;
/// For how long a network from which an account was entered is known.
const KNOWN_FOR: Millis = 7 * 24 * 3_600 * 1_000;
/// Failures of an account from anywhere that make it one under attack.
const ATTACK: u32 = 20;

/// How failures become waits.
#[derive(Clone, Copy, Debug)]
struct Policy {
    /// Failures without a wait.
    free: u32,
    /// Failures after which the wait doubles.
    step: u32,
    wait_max: Millis,
}

const PAIR: Policy = Policy {
    free: 5,
    step: 1,
    wait_max: 5 * 60 * 1_000,
};
const PAIR_UNDER_ATTACK: Policy = Policy { free: 1, ..PAIR };
const NETWORK: Policy = Policy {
    free: 20,
    step: 5,
    wait_max: 60 * 1_000,
};

impl Policy {
    /// How long to wait after so many failures.
    fn wait(self, failures: u32) -> Millis {
        let Some(beyond) = failures.checked_sub(self.free) else {
            return 0;
        };
        let doublings = (beyond / self.step).min(20);
        (1_000 << doublings).min(self.wait_max)
    }
}

/// What is attempted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Door {
    LogIn,
    SignUp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    Pair(Door, u64, Network),
    Account(Door, u64),
    Network(Door, Network),
}

#[derive(Clone, Copy, Debug, Default)]
struct Record {
    failures: u32,
    /// Since when `failures` were not halved.
    since: Millis,
    /// When the latest attempt was.
    at: Millis,
    /// Until when the pair is known as good.
    known_until: Millis,
}

impl Record {
    fn age(&mut self, now: Millis) {
        let halvings = now.saturating_sub(self.since) / HALF_LIFE;
        self.failures = self
            .failures
            .checked_shr(u32::try_from(halvings).unwrap_or(u32::MAX))
            .unwrap_or(0);
        self.since += halvings * HALF_LIFE;
    }

    /// When the next attempt may be made.
    fn free_at(&self, policy: Policy) -> Millis {
        self.at + policy.wait(self.failures)
    }
}

/// An attempt that was let through, until its end is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    door: Door,
    account: u64,
    network: Network,
}

/// Who has failed how often.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    records: HashMap<Key, Record>,
    /// The records in the order they were made.
    order: VecDeque<Key>,
    hasher: RandomState,
}

impl Throttle {
    /// Lets an attempt through and counts it as failed for now, or says how long to wait.
    pub(super) fn begin(
        &mut self,
        door: Door,
        account: &str,
        network: Network,
        now: Millis,
    ) -> Result<Attempt, Millis> {
        let account = self.hasher.hash_one(account.trim().to_lowercase());
        let pair = self.look(Key::Pair(door, account, network), now);
        let is_known = now < pair.known_until;
        let is_attacked = self.look(Key::Account(door, account), now).failures >= ATTACK;
        let mut free_at = pair.free_at(if is_attacked && !is_known {
            PAIR_UNDER_ATTACK
        } else {
            PAIR
        });
        if !is_known {
            free_at = free_at.max(self.look(Key::Network(door, network), now).free_at(NETWORK));
        }
        if free_at > now {
            return Err(free_at - now);
        }
        let attempt = Attempt { door, account, network };
        for key in attempt.keys() {
            let record = self.record(key, now);
            record.failures = record.failures.saturating_add(1);
            record.at = now;
        }
        Ok(attempt)
    }

    /// The attempt was right: whoever enters from there is known.
    pub(super) fn succeeded(&mut self, attempt: Attempt, now: Millis) {
        if attempt.door == Door::SignUp {
            return;
        }
        self.undecided(attempt);
        let [pair, _, _] = attempt.keys();
        let record = self.record(pair, now);
        (record.failures, record.known_until) = (0, now + KNOWN_FOR);
    }

    /// The attempt was neither right nor wrong: something of ours failed.
    pub(super) fn undecided(&mut self, attempt: Attempt) {
        for key in attempt.keys() {
            if let Some(record) = self.records.get_mut(&key) {
                record.failures = record.failures.saturating_sub(1);
            }
        }
    }

    /// Forgets what does not count any more.
    pub(super) fn clean(&mut self, now: Millis) {
        self.records.retain(|_, record| {
            record.age(now);
            record.failures > 0 || now < record.known_until
        });
        self.order.retain(|key| self.records.contains_key(key));
        self.records.shrink_to(2 * self.order.len());
        self.order.shrink_to(2 * self.records.len());
    }

    fn look(&mut self, key: Key, now: Millis) -> Record {
        self.records.get_mut(&key).map_or_else(Record::default, |record| {
            record.age(now);
            *record
        })
    }

    fn record(&mut self, key: Key, now: Millis) -> &mut Record {
        if !self.records.contains_key(&key) {
            while self.records.len() >= RECORDS_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.records.remove(&oldest);
            }
            self.order.push_back(key);
        }
        self.records.entry(key).or_insert(Record {
            since: now,
            ..Record::default()
        })
    }
}

impl Attempt {
    const fn keys(&self) -> [Key; 3] {
        [
            Key::Pair(self.door, self.account, self.network),
            Key::Account(self.door, self.account),
            Key::Network(self.door, self.network),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    fn network(n: u32) -> Network {
        IpAddr::from(n.to_be_bytes()).into()
    }

    /// Fails as often as it is let through at one moment; how often that was.
    fn guess(throttle: &mut Throttle, account: &str, network: Network, now: Millis) -> usize {
        (0..1_000)
            .take_while(|_| throttle.begin(Door::LogIn, account, network, now).is_ok())
            .count()
    }

    #[test]
    fn the_guesser_waits_longer_and_longer() {
        let (mut throttle, here) = (Throttle::default(), network(1));
        assert_eq!(guess(&mut throttle, "ann@example.org", here, 0), 5);
        let mut now = 0;
        let mut waits = Vec::new();
        for _ in 0..12 {
            let wait = throttle.begin(Door::LogIn, " Ann@Example.org ", here, now).unwrap_err();
            waits.push(wait / 1_000);
            // Later ones are long enough for failures to be forgotten meanwhile.
            let is_early = waits.len() <= 7;
            assert!(
                !is_early
                    || throttle
                        .begin(Door::LogIn, "ann@example.org", here, now + wait - 1)
                        .is_err()
            );
            now += wait;
            assert!(throttle.begin(Door::LogIn, "ann@example.org", here, now).is_ok());
        }
        assert_eq!(waits[..7], [1, 2, 4, 8, 16, 32, 64]);
        assert!(waits.iter().all(|wait| *wait <= 300), "{waits:?}");
    }

    #[test]
    fn the_owner_is_never_locked_out_from_elsewhere() {
        let mut throttle = Throttle::default();
        let home = network(1);
        let attempt = throttle.begin(Door::LogIn, "ann", home, 0).unwrap();
        throttle.succeeded(attempt, 0);
        // A thousand addresses guess.
        let tries: usize = (0..1_000)
            .map(|n| guess(&mut throttle, "ann", network(1_000 + n), 1))
            .sum();
        assert!(tries < 1_200, "{tries}");
        assert_eq!(
            guess(&mut throttle, "ann", home, 2),
            5,
            "where they entered before they have all of theirs"
        );
        let attempt = throttle
            .begin(Door::LogIn, "ann", network(7), 2)
            .expect("and one try anywhere");
        throttle.succeeded(attempt, 2);
        assert!(throttle.begin(Door::LogIn, "ann", network(7), 2).is_ok());
    }

    #[test]
    fn a_network_that_tries_every_account_waits_but_not_those_known_there() {
        let (mut throttle, office) = (Throttle::default(), network(1));
        let attempt = throttle.begin(Door::LogIn, "bob", office, 0).unwrap();
        throttle.succeeded(attempt, 0);
        let tries = (0..100).filter(|n| throttle.begin(Door::LogIn, &format!("user{n}"), office, 1).is_ok());
        assert_eq!(tries.count(), 20);
        assert!(throttle.begin(Door::LogIn, "carol", office, 2).is_err());
        assert!(throttle.begin(Door::LogIn, "bob", office, 2).is_ok());
        assert!(throttle.begin(Door::LogIn, "carol", office, 60_001).is_ok());
    }

    #[test]
    fn what_is_no_failure_does_not_count_and_what_is_gets_old() {
        let (mut throttle, here) = (Throttle::default(), network(1));
        for _ in 0..100 {
            let attempt = throttle.begin(Door::LogIn, "ann", here, 0).unwrap();
            throttle.undecided(attempt);
            let attempt = throttle.begin(Door::LogIn, "ann", here, 0).unwrap();
            throttle.succeeded(attempt, 0);
        }
        assert_eq!(guess(&mut throttle, "ann", here, 0), 5);
        assert_eq!(
            guess(&mut throttle, "ann", here, HALF_LIFE),
            3,
            "half of them are forgotten"
        );
        throttle.clean(10 * HALF_LIFE);
        assert_eq!(throttle.records.len(), 1, "only that it is a known place");
        throttle.clean(KNOWN_FOR + 10 * HALF_LIFE);
        assert!(throttle.records.is_empty() && throttle.order.is_empty());
    }

    #[test]
    fn signing_up_counts_whatever_comes_of_it() {
        let (mut throttle, here) = (Throttle::default(), network(1));
        for n in 0..20 {
            let attempt = throttle.begin(Door::SignUp, &format!("user{n}"), here, 0).unwrap();
            throttle.succeeded(attempt, 0);
        }
        assert_eq!(throttle.begin(Door::SignUp, "one more", here, 0).unwrap_err(), 1_000);
        assert!(throttle.begin(Door::LogIn, "user1", here, 0).is_ok(), "another door");
    }

    #[test]
    fn memory_is_bounded() {
        let mut throttle = Throttle::default();
        for n in 0..50_000 {
            throttle.begin(Door::LogIn, "ann", network(n), 0).ok();
            throttle.begin(Door::LogIn, &n.to_string(), network(n), 0).ok();
        }
        assert!(throttle.records.len() <= RECORDS_MAX && throttle.order.len() <= RECORDS_MAX);
    }
}
