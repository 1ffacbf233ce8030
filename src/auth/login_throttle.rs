//! The login throttle: slows down who guesses passwords. How it counts is in `login_failures.rs`.
//!
//! Login, sign-up and guests begin an attempt before they do anything, and report the outcome. One
//! lock over all records: an attempt costs some 50 ms of hashing, so nobody ever waits for the
//! lock. Every node counts for itself. Another node gives a guesser as many attempts again; the
//! flood guard and the price of a hash bound that. Nothing about failures is written anywhere.
//!
//! Bound: 100,000 records, then the oldest is removed. A crash of the upkeep task loses no record.
//! It only delays removals.

use super::error::Error;
use super::login_failures::{AttemptKind, CountedAttempt, LoginFailures};
use super::password_places::Familiarity;
use crate::ids::{Network, Tier};
use crate::metrics::{Surface, metrics};
use parking_lot::Mutex;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// All clones count together.
#[derive(Clone, Debug)]
pub(super) struct LoginThrottle {
    /// `None` when limits are off: everything is admitted.
    counted: Option<Arc<Counted>>,
}

#[derive(Debug)]
struct Counted {
    failures: Mutex<LoginFailures>,
    /// Where the clock of the failures begins.
    started: Instant,
}

impl Counted {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl LoginThrottle {
    pub(super) fn new(is_enabled: bool) -> Self {
        let counted = is_enabled.then(|| {
            Arc::new(Counted {
                failures: Mutex::default(),
                started: Instant::now(),
            })
        });
        Self { counted }
    }

    /// Admits an attempt, or not yet.
    ///
    /// # Errors
    /// [`Error::Throttled`].
    pub(super) fn begin(&self, kind: AttemptKind, account: &str, address: IpAddr) -> Result<LoginAttempt, Error> {
        let admitted = self.counted.as_ref().map(|counted| {
            let mut failures = counted.failures.lock();
            let attempt = failures.begin(kind, account, Network::from(address), counted.now_ms())?;
            Ok((counted.clone(), attempt))
        });
        let admitted = admitted.transpose().map_err(|wait_ms| {
            metrics().rate_limited(Tier::Anonymous, Surface::Login);
            Error::Throttled(Duration::from_millis(wait_ms))
        })?;
        Ok(LoginAttempt { admitted })
    }

    /// Whether a login to the account was right from this address lately. Everybody is, when limits
    /// are off.
    pub(super) fn is_known(&self, account: &str, address: IpAddr) -> bool {
        self.counted.as_ref().is_none_or(|counted| {
            let failures = counted.failures.lock();
            failures.is_known(account, Network::from(address), counted.now_ms())
        })
    }

    /// Removes the records that do not count any more.
    pub(super) fn clean(&self) {
        if let Some(counted) = &self.counted {
            counted.failures.lock().clean(counted.now_ms());
        }
    }
}

/// An attempt to log in or sign up that was admitted. It counts as a failure unless its outcome
/// says otherwise; so does one whose client has gone.
#[derive(Debug)]
#[must_use = "dropped, it counts as a failure"]
pub(super) struct LoginAttempt {
    /// `None` when limits are off.
    admitted: Option<(Arc<Counted>, CountedAttempt)>,
}

impl LoginAttempt {
    /// Whether the account was logged in to from there before.
    pub(super) fn familiarity(&self) -> Familiarity {
        match &self.admitted {
            Some((_, attempt)) if attempt.is_known() => Familiarity::Known,
            _ => Familiarity::Unknown,
        }
    }

    /// Counts the outcome of the attempt, and gives it back.
    ///
    /// # Errors
    /// That of `outcome`.
    pub(super) fn finish<T>(self, outcome: Result<T, Error>) -> Result<T, Error> {
        let Some((counted, attempt)) = self.admitted else {
            return outcome;
        };
        match &outcome {
            Ok(_) => counted.failures.lock().succeeded(attempt, counted.now_ms()),
            // What a guesser would see: it stays counted.
            Err(Error::Credentials | Error::EmailTaken | Error::InviteNotFound) => {}
            // It was not about the password, or something on our side failed.
            Err(_) => counted.failures.lock().undecided(attempt),
        }
        outcome
    }
}
