//! How much of the time the task works. Pure.
//!
//! Posting comes first: what it needs of PostgreSQL and of the processors, the index should not
//! take. A search is right at any lag, it only has more to read. So while little waits, the task
//! works a tenth of the time. The longer something waits, the larger is its share; when it has
//! waited for a minute, the task does not rest at all.

use std::time::Duration;

/// The share of the time at little lag.
const SHARE_MIN: f64 = 0.1;
/// Up to this lag the share is the least.
const LAG_SMALL: Duration = Duration::from_secs(5);
/// From this lag on there is no rest.
const LAG_LARGE: Duration = Duration::from_secs(60);
/// The shortest rest at little lag. What is posted meanwhile is one batch.
const REST_MIN: Duration = Duration::from_millis(100);
/// The longest, so that one slow batch does not stop the task for long.
const REST_MAX: Duration = Duration::from_secs(2);

/// How long to rest after a batch that took `worked`, where something has waited for `lag`.
pub(super) fn rest(worked: Duration, lag: Duration) -> Duration {
    if lag >= LAG_LARGE {
        return Duration::ZERO;
    }
    let late = lag.saturating_sub(LAG_SMALL).as_secs_f64() / (LAG_LARGE - LAG_SMALL).as_secs_f64();
    let share = SHARE_MIN + (1.0 - SHARE_MIN) * late;
    let rest = worked.mul_f64(1.0 / share - 1.0).min(REST_MAX);
    if lag > LAG_SMALL { rest } else { rest.max(REST_MIN) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_it_waits_the_less_it_rests() {
        let of = |worked, lag| rest(Duration::from_millis(worked), Duration::from_secs(lag));
        assert_eq!(of(1, 0), REST_MIN);
        assert_eq!(of(20, 0), Duration::from_millis(180));
        assert_eq!(of(20, 5), Duration::from_millis(180));
        assert!(of(20, 30) < Duration::from_millis(40) && of(20, 30) > Duration::from_millis(10));
        assert_eq!(of(20, 60), Duration::ZERO);
        assert_eq!(of(60_000, 0), REST_MAX);
        let rests: Vec<_> = (5..=60).map(|lag| of(50, lag)).collect();
        assert!(rests.is_sorted_by(|a, b| a >= b));
    }
}
