//! Growing pauses between tries of the same thing. Pure, but for [`jittered`].
//!
//! Used by the restart budget, the connections of the bus, the circuit breaker and the layout of
//! Redis, and the lanes of the commit. Bound: no pause is longer than `max`.

use std::time::Duration;

/// Pauses that start at `min` and double up to `max`.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    failures: u32,
}

impl Backoff {
    #[must_use]
    pub const fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, failures: 0 }
    }

    /// The pause after one more failure.
    pub fn next_pause(&mut self) -> Duration {
        let pause = self.pause_after(self.failures);
        self.failures = self.failures.saturating_add(1);
        pause
    }

    /// The pause after `failures` earlier ones.
    #[must_use]
    pub fn pause_after(&self, failures: u32) -> Duration {
        let factor = 1_u32.checked_shl(failures).unwrap_or(u32::MAX);
        self.min.saturating_mul(factor).min(self.max)
    }

    /// After a success: the next pause is the shortest again.
    pub const fn reset(&mut self) {
        self.failures = 0;
    }
}

/// Between half of a pause and all of it. `random` is a number from 0 to 1.
#[must_use]
pub fn jitter(pause: Duration, random: f64) -> Duration {
    pause.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0)
}

/// [`jitter`] with a random number, so that what failed together does not try again together.
#[must_use]
pub fn jittered(pause: Duration) -> Duration {
    jitter(pause, rand::random_range(0.0..=1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_start_again_after_a_success() {
        let mut backoff = Backoff::new(ms(100), ms(500));
        for expected in [100, 200, 400, 500, 500] {
            assert_eq!(backoff.next_pause(), ms(expected));
        }
        backoff.reset();
        assert_eq!(backoff.next_pause(), ms(100));
        assert_eq!(backoff.pause_after(u32::MAX), ms(500));
    }

    #[test]
    fn jitter_takes_away_half_at_most() {
        assert_eq!(jitter(ms(100), 0.0), ms(50));
        assert_eq!(jitter(ms(100), 1.0), ms(100));
        for _ in 0..100 {
            assert!((ms(50)..=ms(100)).contains(&jittered(ms(100))));
        }
    }
}
