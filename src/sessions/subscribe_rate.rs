//! How often a connection may subscribe. Pure.
//!
//! No quota counts subscribing, but each one replays from the database. So it is refused after
//! [`SUBSCRIBES_MAX`] within [`WINDOW`]: all that a connection can have at once, which is what a
//! client that resumes asks for. As many moments are remembered.

use crate::wire::limits;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Accepted `subscribe` frames within the window.
const SUBSCRIBES_MAX: usize = limits::SUBSCRIPTIONS_MAX;
const WINDOW: Duration = Duration::from_secs(10);

/// The latest accepted `subscribe` frames of one connection.
#[derive(Clone, Debug, Default)]
pub(super) struct SubscribeRate {
    at: VecDeque<Instant>,
}

impl SubscribeRate {
    /// Notes one, or says how long the next has to wait.
    pub(super) fn admit(&mut self, now: Instant) -> Result<(), Duration> {
        while self.at.front().is_some_and(|at| now.duration_since(*at) >= WINDOW) {
            self.at.pop_front();
        }
        if let Some(oldest) = self.at.front()
            && self.at.len() >= SUBSCRIBES_MAX
        {
            return Err((*oldest + WINDOW).saturating_duration_since(now));
        }
        self.at.push_back(now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_may_subscribe_as_have_permits_and_the_next_is_told_when() {
        let (mut subscribes, start) = (SubscribeRate::default(), Instant::now());
        assert!((0..200).all(|n| subscribes.admit(start + Duration::from_millis(n)).is_ok()));
        let late = start + Duration::from_secs(4);
        assert_eq!(subscribes.admit(late), Err(Duration::from_secs(6)));
        assert_eq!(subscribes.admit(start + WINDOW), Ok(()), "it was true");
        assert!(subscribes.admit(start + WINDOW).is_err());
    }
}
