//! When a client whose connection ended connects again, and to which node. Pure.
//!
//! It is the backoff that the protocol asks for. The first attempt is made at once, or after the
//! time that a `goodbye` gave. Each further one is made after a random part of 500 ms, doubling to
//! 30 s, until the client is subscribed again. Where there are several nodes, an attempt that
//! failed is followed by one to the next of them, as a balancer in front would do.

/// The first pause and the longest, in nanoseconds, before a random part of it is taken.
const PAUSE_MIN_NS: u64 = 500_000_000;
const PAUSE_MAX_NS: u64 = 30_000_000_000;

/// The attempts of one client.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Backoff {
    /// Attempts since it was last subscribed.
    attempts: u32,
    /// What a `goodbye` gave, in nanoseconds.
    retry_after_ns: Option<u64>,
}

impl Backoff {
    /// A `goodbye` came: the next attempt is made after so long.
    pub(crate) fn set_retry_after(&mut self, retry_after_ms: i64) {
        self.retry_after_ns = u64::try_from(retry_after_ms).ok().map(|ms| ms * 1_000_000);
    }

    /// The client is subscribed.
    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }

    /// Whether the attempt before this one failed, so that another node should be tried.
    pub(crate) fn has_failed(&self) -> bool {
        self.attempts > 0
    }

    /// The connection, or the attempt to make it, has ended: how long to wait. `random` is from 0
    /// to 1.
    pub(crate) fn pause_ns(&mut self, random: f64) -> u64 {
        let attempt = self.attempts;
        self.attempts = attempt.saturating_add(1);
        if let Some(pause) = self.retry_after_ns.take() {
            return pause;
        }
        let Some(doublings) = attempt.checked_sub(1) else {
            return 0;
        };
        let longest = PAUSE_MIN_NS.saturating_mul(1 << doublings.min(10)).min(PAUSE_MAX_NS);
        (longest as f64 * random) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_attempt_is_made_at_once_and_the_next_ones_later_and_later() {
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = (0..9).map(|_| backoff.pause_ns(1.0) / 1_000_000).collect();
        assert_eq!(pauses, [0, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
        assert_eq!(backoff.pause_ns(0.5), 15_000_000_000);
        backoff.reset();
        assert!(!backoff.has_failed());
        assert_eq!(backoff.pause_ns(1.0), 0);
        assert!(backoff.has_failed());
    }

    #[test]
    fn what_a_goodbye_gave_is_waited_once() {
        let mut backoff = Backoff::default();
        backoff.set_retry_after(1_700);
        assert_eq!(backoff.pause_ns(0.1), 1_700_000_000);
        assert_eq!(backoff.pause_ns(1.0), 500_000_000);
    }
}
