//! When refusing is not enough: a client that goes on sending what is refused is closed with 4101.
//! Pure.
//!
//! A refusal costs little, but a client that heeds none would be replied to for ever. A decent one
//! waits as long as the refusal says and never comes near the bound: [`REFUSALS_MAX`] refusals within
//! [`WINDOW`]. A frame that is none, or a wrong one, counts as a refusal, too.
//!
//! No quota counts subscribing, but each one replays from the database. So it is refused after
//! [`SUBSCRIBES_MAX`] within the window: all that a connection can have at once, which is what a
//! client that resumes asks for. Each of the two remembers as many moments as its bound.

use crate::wire::limits;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Refusals within the window that are tolerated.
const REFUSALS_MAX: usize = 50;
/// Accepted `subscribe` frames within the window.
const SUBSCRIBES_MAX: usize = limits::SUBSCRIPTIONS_MAX;
const WINDOW: Duration = Duration::from_secs(10);

/// The latest refusals of one connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Refusals {
    at: VecDeque<Instant>,
}

impl Refusals {
    /// Notes a refusal; true when it is one too many.
    pub(super) fn record(&mut self, now: Instant) -> bool {
        remove_old(&mut self.at, now);
        self.at.push_back(now);
        self.at.len() > REFUSALS_MAX
    }
}

/// The latest accepted `subscribe` frames of one connection.
#[derive(Clone, Debug, Default)]
pub(super) struct SubscribeRate {
    at: VecDeque<Instant>,
}

impl SubscribeRate {
    /// Notes one, or says how long the next has to wait.
    pub(super) fn admit(&mut self, now: Instant) -> Result<(), Duration> {
        remove_old(&mut self.at, now);
        if let Some(oldest) = self.at.front()
            && self.at.len() >= SUBSCRIBES_MAX
        {
            return Err((*oldest + WINDOW).saturating_duration_since(now));
        }
        self.at.push_back(now);
        Ok(())
    }
}

/// Removes what has left the window.
fn remove_old(at: &mut VecDeque<Instant>, now: Instant) {
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
    fn as_many_may_subscribe_as_have_permits_and_the_next_is_told_when() {
        let (mut subscribes, start) = (SubscribeRate::default(), Instant::now());
        assert!((0..200).all(|n| subscribes.admit(start + Duration::from_millis(n)).is_ok()));
        let late = start + Duration::from_secs(4);
        assert_eq!(subscribes.admit(late), Err(Duration::from_secs(6)));
        assert_eq!(subscribes.admit(start + WINDOW), Ok(()), "it was true");
        assert!(subscribes.admit(start + WINDOW).is_err());
    }

    #[test]
    fn who_waits_between_them_is_never_closed() {
        let (mut refusals, start) = (Refusals::default(), Instant::now());
        assert!((0..1_000).all(|n| !refusals.record(start + Duration::from_millis(200 * n))));
    }
}
