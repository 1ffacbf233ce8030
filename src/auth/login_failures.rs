//! How often logins and sign-ups have failed, and how long the next attempt has to wait. Pure.
//!
//! Slows down who guesses passwords, without locking out the owner of the password.
//! `login_throttle.rs` owns these numbers.
//!
//! Four numbers of failures are kept: of an account from one network, of an account from anywhere,
//! of a network, and of its /48.
//!
//! - *Account from one network* makes wait: from one second, doubling to five minutes.
//! - *Network, whatever the account* makes wait too, more gently: up to one minute. So does its /48,
//!   after ten times as many: one customer has all of its 65,536 networks.
//! - *Account from anywhere* never makes its owner wait. It only makes newcomers careful: while an
//!   account is under attack, a network that has never logged in to it has one free failure instead
//!   of five.
//!
//! So a guesser with a thousand addresses has a thousand attempts, not five thousand. The owner
//! always has one attempt, wherever they are. Where they have logged in before, they keep all of
//! theirs, also while that network guesses at other accounts.
//!
//! An attempt counts as a failure when it begins, and is taken back when it turns out to be none:
//! guesses that are made at the same time must not all be the first. Accounts that do not exist are
//! counted like others, by a hash of what was typed, so a wait shows nobody who exists. Failures
//! are halved every quarter of an hour.
//!
//! Sign-ups are counted likewise, by the address typed and by network. There a success makes nobody
//! trusted, and counts.
//!
//! Bound: [`RECORDS_MAX`]; then the oldest is removed. Each record costs a password hash to make,
//! some 50 ms of a core, so pushing a record out takes longer than it would last. Where an account
//! was logged in to before is remembered apart (`known_places.rs`), so that no failure pushes it out.

use super::known_places::{ClockMs, KnownPlaces};
use crate::ids::{Network, NetworkBlock};
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};

/// Records that are kept; about 100 bytes each.
const RECORDS_MAX: usize = 100_000;
/// After this, the failures are halved.
const HALF_LIFE: ClockMs = 15 * 60 * 1_000;
/// Failures of an account from anywhere that make it one under attack.
const ATTACK: u32 = 20;

/// How failures become waits.
#[derive(Clone, Copy, Debug)]
struct WaitPolicy {
    /// Failures without a wait.
    free: u32,
    /// Failures after which the wait doubles.
    step: u32,
    wait_max: ClockMs,
}

const PAIR: WaitPolicy = WaitPolicy {
    free: 5,
    step: 1,
    wait_max: 5 * 60 * 1_000,
};
const PAIR_UNDER_ATTACK: WaitPolicy = WaitPolicy { free: 1, ..PAIR };
const NETWORK: WaitPolicy = WaitPolicy {
    free: 20,
    step: 5,
    wait_max: 60 * 1_000,
};

const BLOCK: WaitPolicy = WaitPolicy {
    free: 200,
    step: 50,
    wait_max: 60 * 1_000,
};

impl WaitPolicy {
    /// How long to wait after so many failures.
    fn wait(self, failures: u32) -> ClockMs {
        let Some(beyond) = failures.checked_sub(self.free) else {
            return 0;
        };
        let doublings = (beyond / self.step).min(20);
        (1_000 << doublings).min(self.wait_max)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum AttemptKind {
    Login,
    SignUp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum RecordKey {
    Pair(AttemptKind, u64, Network),
    Account(AttemptKind, u64),
    Network(AttemptKind, Network),
    Block(AttemptKind, NetworkBlock),
}

#[derive(Clone, Copy, Debug, Default)]
struct FailureRecord {
    failures: u32,
    /// Since when `failures` were not halved.
    since: ClockMs,
    /// When the latest attempt was.
    at: ClockMs,
}

impl FailureRecord {
    fn age(&mut self, now: ClockMs) {
        let halvings = now.saturating_sub(self.since) / HALF_LIFE;
        self.failures = self
            .failures
            .checked_shr(u32::try_from(halvings).unwrap_or(u32::MAX))
            .unwrap_or(0);
        self.since += halvings * HALF_LIFE;
    }

    /// When the next attempt may be made.
    fn free_at(&self, policy: WaitPolicy) -> ClockMs {
        self.at + policy.wait(self.failures)
    }
}

/// An attempt that was admitted and counted as failed, until its outcome is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct CountedAttempt {
    kind: AttemptKind,
    account: u64,
    network: Network,
    /// Whether the account was logged in to from there before.
    is_known: bool,
}

/// Who has failed how often.
#[derive(Debug, Default)]
pub(super) struct LoginFailures {
    records: HashMap<RecordKey, FailureRecord>,
    /// The records in the order they were made.
    order: VecDeque<RecordKey>,
    known: KnownPlaces,
    hasher: RandomState,
}

impl LoginFailures {
    /// Admits an attempt and counts it as failed for now, or says how long to wait.
    pub(super) fn begin(
        &mut self,
        kind: AttemptKind,
        account: &str,
        network: Network,
        now: ClockMs,
    ) -> Result<CountedAttempt, ClockMs> {
        let account = self.hash(account);
        let pair = self.look(RecordKey::Pair(kind, account, network), now);
        let is_known = kind == AttemptKind::Login && self.known.contains(account, network, now);
        let is_attacked = self.look(RecordKey::Account(kind, account), now).failures >= ATTACK;
        let mut free_at = pair.free_at(if is_attacked && !is_known {
            PAIR_UNDER_ATTACK
        } else {
            PAIR
        });
        if !is_known {
            free_at = free_at.max(self.look(RecordKey::Network(kind, network), now).free_at(NETWORK));
            if let Some(block) = network.block() {
                free_at = free_at.max(self.look(RecordKey::Block(kind, block), now).free_at(BLOCK));
            }
        }
        if free_at > now {
            return Err(free_at - now);
        }
        let attempt = CountedAttempt {
            kind,
            account,
            network,
            is_known,
        };
        for key in attempt.keys() {
            let record = self.record(key, now);
            record.failures = record.failures.saturating_add(1);
            record.at = now;
        }
        Ok(attempt)
    }

    /// Whether a login to the account was right from this network lately.
    pub(super) fn is_known(&self, account: &str, network: Network, now: ClockMs) -> bool {
        self.known.contains(self.hash(account), network, now)
    }

    /// The attempt was right: its network is known for the account from now on.
    pub(super) fn succeeded(&mut self, attempt: CountedAttempt, now: ClockMs) {
        if attempt.kind == AttemptKind::SignUp {
            return;
        }
        self.undecided(attempt);
        let pair = RecordKey::Pair(attempt.kind, attempt.account, attempt.network);
        if let Some(record) = self.records.get_mut(&pair) {
            record.failures = 0;
        }
        self.known.note(attempt.account, attempt.network, now);
    }

    /// The attempt was neither right nor wrong: something on our side failed.
    pub(super) fn undecided(&mut self, attempt: CountedAttempt) {
        for key in attempt.keys() {
            if let Some(record) = self.records.get_mut(&key) {
                record.failures = record.failures.saturating_sub(1);
            }
        }
    }

    /// Removes the records that do not count any more.
    pub(super) fn clean(&mut self, now: ClockMs) {
        self.records.retain(|_, record| {
            record.age(now);
            record.failures > 0
        });
        self.known.clean(now);
        self.order.retain(|key| self.records.contains_key(key));
        self.records.shrink_to(2 * self.order.len());
        self.order.shrink_to(2 * self.records.len());
    }

    fn hash(&self, account: &str) -> u64 {
        self.hasher.hash_one(account.trim().to_lowercase())
    }

    fn look(&mut self, key: RecordKey, now: ClockMs) -> FailureRecord {
        self.records
            .get_mut(&key)
            .map_or_else(FailureRecord::default, |record| {
                record.age(now);
                *record
            })
    }

    fn record(&mut self, key: RecordKey, now: ClockMs) -> &mut FailureRecord {
        if !self.records.contains_key(&key) {
            while self.records.len() >= RECORDS_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.records.remove(&oldest);
            }
            self.order.push_back(key);
        }
        self.records.entry(key).or_insert(FailureRecord {
            since: now,
            ..FailureRecord::default()
        })
    }
}

impl CountedAttempt {
    /// Whether the account was logged in to from there before.
    pub(super) const fn is_known(&self) -> bool {
        self.is_known
    }

    fn keys(&self) -> impl Iterator<Item = RecordKey> + use<> {
        let kind = self.kind;
        let block = self.network.block().map(|block| RecordKey::Block(kind, block));
        [
            RecordKey::Pair(kind, self.account, self.network),
            RecordKey::Account(kind, self.account),
            RecordKey::Network(kind, self.network),
        ]
        .into_iter()
        .chain(block)
    }
}

#[cfg(test)]
mod tests {
    use super::super::known_places::KNOWN_FOR;
    use super::*;
    use std::net::IpAddr;

    fn network(n: u32) -> Network {
        IpAddr::from(n.to_be_bytes()).into()
    }

    /// Fails as often as it is let through at one moment; how often that was.
    fn guess(failures: &mut LoginFailures, account: &str, network: Network, now: ClockMs) -> usize {
        (0..1_000)
            .take_while(|_| failures.begin(AttemptKind::Login, account, network, now).is_ok())
            .count()
    }

    #[test]
    fn the_guesser_waits_longer_and_longer() {
        let (mut failures, here) = (LoginFailures::default(), network(1));
        assert_eq!(guess(&mut failures, "ann@example.org", here, 0), 5);
        let mut now = 0;
        let mut waits = Vec::new();
        for _ in 0..12 {
            let wait = failures
                .begin(AttemptKind::Login, " Ann@Example.org ", here, now)
                .unwrap_err();
            waits.push(wait / 1_000);
            // Later ones are so long that failures are halved meanwhile.
            let is_early = waits.len() <= 7;
            assert!(
                !is_early
                    || failures
                        .begin(AttemptKind::Login, "ann@example.org", here, now + wait - 1)
                        .is_err()
            );
            now += wait;
            assert!(failures.begin(AttemptKind::Login, "ann@example.org", here, now).is_ok());
        }
        assert_eq!(waits[..7], [1, 2, 4, 8, 16, 32, 64]);
        assert!(waits.iter().all(|wait| *wait <= 300), "{waits:?}");
    }

    #[test]
    fn the_owner_is_never_locked_out_from_elsewhere() {
        let mut failures = LoginFailures::default();
        let home = network(1);
        let attempt = failures.begin(AttemptKind::Login, "ann", home, 0).unwrap();
        failures.succeeded(attempt, 0);
        // A thousand addresses guess.
        let tries: usize = (0..1_000)
            .map(|n| guess(&mut failures, "ann", network(1_000 + n), 1))
            .sum();
        assert!(tries < 1_200, "{tries}");
        assert_eq!(
            guess(&mut failures, "ann", home, 2),
            5,
            "where they logged in before they have all of theirs"
        );
        let attempt = failures
            .begin(AttemptKind::Login, "ann", network(7), 2)
            .expect("and one try anywhere");
        failures.succeeded(attempt, 2);
        assert!(failures.begin(AttemptKind::Login, "ann", network(7), 2).is_ok());
    }

    #[test]
    fn a_network_that_tries_every_account_waits_but_not_those_known_there() {
        let (mut failures, office) = (LoginFailures::default(), network(1));
        let attempt = failures.begin(AttemptKind::Login, "bob", office, 0).unwrap();
        failures.succeeded(attempt, 0);
        let tries = (0..100).filter(|n| {
            failures
                .begin(AttemptKind::Login, &format!("user{n}"), office, 1)
                .is_ok()
        });
        assert_eq!(tries.count(), 20);
        assert!(failures.begin(AttemptKind::Login, "carol", office, 2).is_err());
        assert!(failures.begin(AttemptKind::Login, "bob", office, 2).is_ok());
        assert!(failures.begin(AttemptKind::Login, "carol", office, 60_001).is_ok());
    }

    #[test]
    fn all_networks_of_a_48_are_one_guesser_but_for_those_known_there() {
        let mut failures = LoginFailures::default();
        let of = |n: u128| Network::from(IpAddr::from((0x2001_0db8_0001_u128 << 80 | n << 64).to_be_bytes()));
        let attempt = failures.begin(AttemptKind::Login, "bob", of(1), 0).unwrap();
        failures.succeeded(attempt, 0);
        let tries = (0..2_000).filter(|n| {
            let account = format!("user{n}");
            failures.begin(AttemptKind::Login, &account, of(*n), 1).is_ok()
        });
        assert_eq!(tries.count(), 200);
        assert!(failures.begin(AttemptKind::Login, "bob", of(1), 2).is_ok());
        assert!(
            failures.begin(AttemptKind::Login, "carol", network(9), 2).is_ok(),
            "elsewhere"
        );
    }

    #[test]
    fn no_failures_push_out_where_somebody_logged_in() {
        let (mut failures, home) = (LoginFailures::default(), network(1));
        let attempt = failures.begin(AttemptKind::Login, "ann", home, 0).unwrap();
        failures.succeeded(attempt, 0);
        for n in 0..40_000 {
            let account = format!("user{n}");
            assert!(
                failures
                    .begin(AttemptKind::Login, &account, network(1_000 + n), 1)
                    .is_ok()
            );
        }
        assert_eq!(failures.records.len(), RECORDS_MAX);
        assert!(failures.is_known("ann", home, 2));
    }

    #[test]
    fn what_is_no_failure_does_not_count_and_what_is_gets_old() {
        let (mut failures, here) = (LoginFailures::default(), network(1));
        for _ in 0..100 {
            let attempt = failures.begin(AttemptKind::Login, "ann", here, 0).unwrap();
            failures.undecided(attempt);
            let attempt = failures.begin(AttemptKind::Login, "ann", here, 0).unwrap();
            failures.succeeded(attempt, 0);
        }
        assert_eq!(guess(&mut failures, "ann", here, 0), 5);
        assert_eq!(guess(&mut failures, "ann", here, HALF_LIFE), 3, "they were halved");
        failures.clean(10 * HALF_LIFE);
        assert!(
            failures.is_known("ann", here, 10 * HALF_LIFE),
            "only that it is a known place"
        );
        failures.clean(KNOWN_FOR + 10 * HALF_LIFE);
        assert!(failures.records.is_empty() && failures.order.is_empty() && failures.known.is_empty());
    }

    #[test]
    fn signing_up_counts_whatever_comes_of_it() {
        let (mut failures, here) = (LoginFailures::default(), network(1));
        for n in 0..20 {
            let attempt = failures
                .begin(AttemptKind::SignUp, &format!("user{n}"), here, 0)
                .unwrap();
            failures.succeeded(attempt, 0);
        }
        assert_eq!(
            failures.begin(AttemptKind::SignUp, "one more", here, 0).unwrap_err(),
            1_000
        );
        assert!(
            failures.begin(AttemptKind::Login, "user1", here, 0).is_ok(),
            "another kind"
        );
    }

    #[test]
    fn memory_is_bounded() {
        let mut failures = LoginFailures::default();
        for n in 0..50_000 {
            failures.begin(AttemptKind::Login, "ann", network(n), 0).ok();
            failures.begin(AttemptKind::Login, &n.to_string(), network(n), 0).ok();
        }
        assert!(failures.records.len() <= RECORDS_MAX && failures.order.len() <= RECORDS_MAX);
    }
}
