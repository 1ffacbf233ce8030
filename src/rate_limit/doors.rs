//! The handle's side of the throttle: an attempt to enter, from its beginning to what came of it.
//!
//! One lock over all records: an attempt costs some 50 ms of hashing, so the lock is never what anybody waits for. What is
//! counted is this node's: another node gives a guesser as many tries again, which the flood guard and the price of a
//! hash bound; and nothing is written anywhere about who failed.

use super::throttle::{Attempt, Door};
use super::{Network, RateLimits};
use crate::ids::Tier;
use crate::metrics::{Surface, metrics};
use std::net::IpAddr;
use std::time::Duration;

/// An attempt that was let through. Dropped without a word, it has failed: so does one whose client has gone.
#[derive(Debug)]
#[must_use = "dropped, it counts as a failure"]
pub struct Entering {
    limits: RateLimits,
    /// None when limits are off.
    attempt: Option<Attempt>,
}

impl Entering {
    /// It was right.
    pub fn succeeded(self) {
        let shared = &self.limits.shared;
        if let Some(attempt) = self.attempt {
            shared.throttle.lock().succeeded(attempt, shared.now());
        }
    }

    /// It was neither right nor wrong: something of ours failed, or it was not about the password.
    pub fn undecided(self) {
        if let Some(attempt) = self.attempt {
            self.limits.shared.throttle.lock().undecided(attempt);
        }
    }
}

impl RateLimits {
    /// Somebody tries to sign in to an account, which may not exist.
    ///
    /// # Errors
    /// How long to wait.
    pub fn begin_log_in(&self, account: &str, address: IpAddr) -> Result<Entering, Duration> {
        self.enter(Door::LogIn, account, address)
    }

    /// Somebody tries to sign up under a name or address.
    ///
    /// # Errors
    /// How long to wait.
    pub fn begin_sign_up(&self, account: &str, address: IpAddr) -> Result<Entering, Duration> {
        self.enter(Door::SignUp, account, address)
    }

    fn enter(&self, door: Door, account: &str, address: IpAddr) -> Result<Entering, Duration> {
        let shared = &self.shared;
        let begin = || {
            let mut throttle = shared.throttle.lock();
            throttle.begin(door, account, Network::from(address), shared.now())
        };
        let attempt = shared.enabled.then(begin).transpose().map_err(|wait_ms| {
            metrics().rate_limited(Tier::Anonymous, Surface::Login);
            Duration::from_millis(wait_ms)
        })?;
        Ok(Entering {
            limits: self.clone(),
            attempt,
        })
    }
}
