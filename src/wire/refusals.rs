//! When refusing is not enough: a client that goes on sending what is refused is closed with 4101.
//! Pure.
//!
//! A refusal costs little, but a client that heeds none would be replied to for ever. A decent one
//! waits as long as the refusal says and never comes near the bound: [`REFUSALS_MAX`] refusals within
//! [`WINDOW`]. A frame that is none, or a wrong one, counts as a refusal, too, and so does naming what
//! is not there. As many moments are remembered as the bound.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Refusals within the window that are tolerated.
const REFUSALS_MAX: usize = 50;
const WINDOW: Duration = Duration::from_secs(10);

/// The latest refusals of one connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Refusals {
    at: VecDeque<Instant>,
}

impl Refusals {
    /// Notes a refusal; true when it is one too many.
    pub(super) fn record(&mut self, now: Instant) -> bool {
        while self.at.front().is_some_and(|at| now.duration_since(*at) >= WINDOW) {
            self.at.pop_front();
        }
        self.at.push_back(now);
        self.at.len() > REFUSALS_MAX
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
    fn who_waits_between_them_is_never_closed() {
        let (mut refusals, start) = (Refusals::default(), Instant::now());
        assert!((0..1_000).all(|n| !refusals.record(start + Duration::from_millis(200 * n))));
    }
}
