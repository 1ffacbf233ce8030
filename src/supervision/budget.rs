//! How often a child may be restarted, and after which pause. Pure.
//!
//! Used by [`super::supervise`] and by the conversations, which load their state between two
//! generations. Bound: it remembers at most `restarts_max` deaths.

use super::backoff::Backoff;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How often a child may be restarted, and how fast.
#[derive(Clone, Copy, Debug)]
pub struct RestartPolicy {
    /// Restarts within `window` before the child stays down.
    pub restarts_max: usize,
    /// The sliding window of the budget.
    pub window: Duration,
    /// Pause before the first restart in a window. It doubles with each further one.
    pub delay_min: Duration,
    /// The longest pause while the budget lasts.
    pub delay_max: Duration,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            restarts_max: 5,
            window: Duration::from_secs(60),
            delay_min: Duration::from_millis(10),
            delay_max: Duration::from_secs(5),
        }
    }
}

/// What to do about a death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartDecision {
    /// Start the successor after this pause.
    Restart(Duration),
    /// The budget is spent. It has room again after this pause.
    Exhausted(Duration),
}

/// The deaths of one child within the window.
#[derive(Clone, Debug)]
pub struct RestartBudget {
    policy: RestartPolicy,
    deaths: VecDeque<Instant>,
}

impl RestartBudget {
    #[must_use]
    pub fn new(policy: RestartPolicy) -> Self {
        Self {
            policy,
            deaths: VecDeque::with_capacity(policy.restarts_max),
        }
    }

    /// Counts a death at `now` and says what to do.
    pub fn record(&mut self, now: Instant) -> RestartDecision {
        while self
            .deaths
            .front()
            .is_some_and(|at| now.duration_since(*at) >= self.policy.window)
        {
            self.deaths.pop_front();
        }
        if self.deaths.len() >= self.policy.restarts_max {
            let free_at = self.deaths.front().map_or(now, |oldest| *oldest + self.policy.window);
            self.deaths.pop_front();
            self.deaths.push_back(free_at);
            return RestartDecision::Exhausted(free_at.duration_since(now));
        }
        let earlier = u32::try_from(self.deaths.len()).unwrap_or(u32::MAX);
        self.deaths.push_back(now);
        let backoff = Backoff::new(self.policy.delay_min, self.policy.delay_max);
        RestartDecision::Restart(backoff.pause_after(earlier))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_backs_off_and_is_spent_and_frees_itself() {
        let mut budget = RestartBudget::new(RestartPolicy::default());
        let start = Instant::now();
        for doublings in 0..5 {
            assert_eq!(
                budget.record(start),
                RestartDecision::Restart(Duration::from_millis(10 << doublings))
            );
        }
        let later = start + Duration::from_secs(20);
        assert_eq!(
            budget.record(later),
            RestartDecision::Exhausted(Duration::from_secs(40))
        );
        let free = start + Duration::from_secs(121);
        assert_eq!(budget.record(free), RestartDecision::Restart(Duration::from_millis(10)));
    }
}
