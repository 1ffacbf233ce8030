//! When refusing is not enough: a client that goes on sending what is refused is cut off. Pure.
//!
//! A refusal costs little, but a client that heeds none of them would be answered for ever; a decent one waits as it was
//! told and never comes near the bound. So more than [`REFUSALS_MAX`] refusals within [`WINDOW`] mean that nobody
//! listens there, and the connection is closed with 4101. A frame that is none, or a wrong one, is refused like one too
//! many. And subscribing, which no quota counts but each replays from the database, is refused after
//! [`SUBSCRIBES_MAX`] within the window: all that a connection can follow, at once, which is what a resume asks for.
//! Bounded by what it remembers.

use crate::wire::limits;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Refusals within the window that are put up with.
const REFUSALS_MAX: usize = 50;
/// Subscriptions asked for within the window.
const SUBSCRIBES_MAX: usize = limits::SUBSCRIPTIONS_MAX;
/// The window.
const WINDOW: Duration = Duration::from_secs(10);

/// The latest refusals of one connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Refusals {
    at: VecDeque<Instant>,
}

impl Refusals {
    /// Notes a refusal; true when it is one too many.
    pub(super) fn record(&mut self, now: Instant) -> bool {
        forget(&mut self.at, now);
        self.at.push_back(now);
        self.at.len() > REFUSALS_MAX
    }
}

/// The latest `subscribe` of one connection that were taken up.
#[derive(Clone, Debug, Default)]
pub(super) struct Subscribes {
    at: VecDeque<Instant>,
}

impl Subscribes {
    /// Notes one, or says how long the next has to wait.
    pub(super) fn admit(&mut self, now: Instant) -> Result<(), Duration> {
        forget(&mut self.at, now);
        if let Some(oldest) = self.at.front()
            && self.at.len() >= SUBSCRIBES_MAX
        {
            return Err((*oldest + WINDOW).saturating_duration_since(now));
        }
        self.at.push_back(now);
        Ok(())
    }
}

/// Forgets what has left the window.
fn forget(at: &mut VecDeque<Instant>, now: Instant) {
    while at.front().is_some_and(|at| now.duration_since(*at) >= WINDOW) {
        at.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fifty_first_within_ten_seconds_is_one_too_many() {
        let (mut refusals, start) = (Refusals::default(), Instant::now());
        for n in 0..50 {
            assert!(!refusals.record(start + Duration::from_millis(n)));
        }
        assert!(refusals.clone().record(start + Duration::from_millis(9_999)));
        assert!(
            !refusals.record(start + Duration::from_millis(10_000)),
            "the first has left"
        );
    }

    #[test]
    fn as_many_subscribe_as_can_be_followed_and_the_next_is_told_when() {
        let (mut subscribes, start) = (Subscribes::default(), Instant::now());
        assert!((0..200).all(|n| subscribes.admit(start + Duration::from_millis(n)).is_ok()));
        let late = start + Duration::from_secs(4);
        assert_eq!(subscribes.admit(late), Err(Duration::from_secs(6)));
        assert_eq!(subscribes.admit(start + WINDOW), Ok(()), "it was true");
        assert!(subscribes.admit(start + WINDOW).is_err());
    }

    #[test]
    fn who_waits_between_them_is_never_cut() {
        let (mut refusals, start) = (Refusals::default(), Instant::now());
        assert!((0..1_000).all(|n| !refusals.record(start + Duration::from_millis(200 * n))));
    }
}
