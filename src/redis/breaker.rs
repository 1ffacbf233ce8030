//! Whether Redis is asked at all: a circuit breaker as a function of events and time. Pure.
//!
//! Closed, everybody passes; [`FAILURES_MAX`] failures in a row open it, and then nobody waits for Redis until a pause is
//! over. Half open, one call passes as a probe: its success closes the breaker, its failure opens it again for twice as
//! long, up to [`PAUSE_MAX`]. Pauses are jittered, so that nodes that lost Redis together do not return together.
//!
//! A result counts only in the state its call began in: what was under way when the breaker opened says nothing about
//! now. A call that was given up by its caller is no failure; if it was the probe, the next call is.

use crate::supervision::{Backoff, jitter};
use std::time::{Duration, Instant};

/// Failures in a row that open it. With the longest deadline of a call, 50 ms, this is also the bound of what one
/// request can lose to a Redis that does not answer, however often it asks: 200 ms.
pub(super) const FAILURES_MAX: u32 = 4;
/// How long it stays open after a first failure. That doubles with each failed probe.
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(5);
const BACKOFF: Backoff = Backoff::new(PAUSE_MIN, PAUSE_MAX);

/// What the breaker does now; for operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Redis is asked.
    Closed,
    /// Redis is not asked.
    Open,
    /// One call finds out whether Redis is back.
    HalfOpen,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Closed { failures: u32 },
    Open { until: Instant, failed_probes: u32 },
    HalfOpen { failed_probes: u32 },
}

/// The right to ask Redis once; to be settled with what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    epoch: u64,
}

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Success,
    Failure,
    /// The caller went away before it was known.
    Abandoned,
}

/// A change that operators should hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Opened(Duration),
    Closed,
}

#[derive(Debug)]
pub(super) struct Breaker {
    state: State,
    /// Counts changes of state: a ticket of an earlier epoch says nothing about this one.
    epoch: u64,
}

impl Breaker {
    pub(super) const fn new() -> Self {
        Self {
            state: State::Closed { failures: 0 },
            epoch: 0,
        }
    }

    pub(super) const fn state(&self) -> BreakerState {
        match self.state {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// Lets a call pass, or not.
    pub(super) fn admit(&mut self, now: Instant) -> Option<Ticket> {
        match self.state {
            State::Closed { .. } => {}
            State::Open { until, failed_probes } if now >= until => self.enter(State::HalfOpen { failed_probes }),
            State::Open { .. } | State::HalfOpen { .. } => return None,
        }
        Some(Ticket { epoch: self.epoch })
    }

    /// Takes the outcome of a call. `random` is a number from 0 to 1.
    pub(super) fn settle(&mut self, ticket: Ticket, outcome: Outcome, now: Instant, random: f64) -> Option<Change> {
        if ticket.epoch != self.epoch {
            return None;
        }
        match (&mut self.state, outcome) {
            (State::Closed { failures }, Outcome::Success) => *failures = 0,
            (State::Closed { failures }, Outcome::Failure) => {
                *failures += 1;
                if *failures >= FAILURES_MAX {
                    return Some(self.open(0, now, random));
                }
            }
            (State::HalfOpen { .. }, Outcome::Success) => {
                self.enter(State::Closed { failures: 0 });
                return Some(Change::Closed);
            }
            (State::HalfOpen { failed_probes }, Outcome::Failure) => {
                let failed_probes = failed_probes.saturating_add(1);
                return Some(self.open(failed_probes, now, random));
            }
            (State::HalfOpen { failed_probes }, Outcome::Abandoned) => {
                let failed_probes = *failed_probes;
                self.enter(State::Open {
                    until: now,
                    failed_probes,
                });
            }
            (State::Closed { .. }, Outcome::Abandoned) | (State::Open { .. }, _) => {}
        }
        None
    }

    fn open(&mut self, failed_probes: u32, now: Instant, random: f64) -> Change {
        let pause = jitter(BACKOFF.pause_after(failed_probes), random);
        let until = now + pause;
        self.enter(State::Open { until, failed_probes });
        Change::Opened(pause)
    }

    const fn enter(&mut self, state: State) {
        self.state = state;
        self.epoch += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A call at a time, in milliseconds, and what becomes of it at once.
    fn call(breaker: &mut Breaker, start: Instant, at_ms: u64, outcome: Outcome) -> (bool, Option<Change>) {
        let now = start + Duration::from_millis(at_ms);
        breaker.admit(now).map_or((false, None), |ticket| {
            (true, breaker.settle(ticket, outcome, now, 1.0))
        })
    }

    #[track_caller]
    fn check(calls: &[(u64, Outcome, bool, Option<Change>)], end: BreakerState) {
        let (mut breaker, start) = (Breaker::new(), Instant::now());
        for (at_ms, outcome, passes, change) in calls {
            let seen = call(&mut breaker, start, *at_ms, *outcome);
            assert_eq!(seen, (*passes, *change), "at {at_ms} ms, {outcome:?}");
        }
        assert_eq!(breaker.state(), end);
    }

    const fn opened(ms: u64) -> Option<Change> {
        Some(Change::Opened(Duration::from_millis(ms)))
    }

    use BreakerState::{Closed, HalfOpen, Open};
    use Outcome::{Abandoned, Failure, Success};

    #[test]
    fn four_failures_in_a_row_open_it() {
        let down = [
            (0, Failure, true, None),
            (1, Failure, true, None),
            (2, Failure, true, None),
        ];
        check(&down, Closed);
        check(&[&down[..], &[(3, Failure, true, opened(250))]].concat(), Open);
        check(&[&down[..], &[(3, Abandoned, true, None)]].concat(), Closed);
        let with_a_success = [(3, Success, true, None), (4, Failure, true, None)];
        check(&[&down[..], &with_a_success[..]].concat(), Closed);
    }

    #[test]
    fn it_probes_backs_off_and_closes() {
        let fall = [
            (0, Failure, true, None),
            (0, Failure, true, None),
            (0, Failure, true, None),
            (0, Failure, true, opened(250)),
            (249, Success, false, None),
        ];
        let back = [(250, Success, true, Some(Change::Closed)), (251, Failure, true, None)];
        check(&[&fall[..], &back[..]].concat(), Closed);
        let again = [
            (250, Failure, true, opened(500)),
            (749, Success, false, None),
            (750, Failure, true, opened(1_000)),
            (1_750, Failure, true, opened(2_000)),
            (3_750, Failure, true, opened(4_000)),
            (7_750, Failure, true, opened(5_000)),
            (12_750, Failure, true, opened(5_000)),
            (17_750, Success, true, Some(Change::Closed)),
        ];
        check(&[&fall[..], &again[..]].concat(), Closed);
        let given_up = [(250, Abandoned, true, None), (250, Success, true, Some(Change::Closed))];
        check(&[&fall[..], &given_up[..]].concat(), Closed);
    }

    #[test]
    fn one_probe_at_a_time_and_old_results_do_not_count() {
        let (mut breaker, start) = (Breaker::new(), Instant::now());
        let early = breaker.admit(start).unwrap();
        for _ in 0..FAILURES_MAX {
            call(&mut breaker, start, 0, Failure);
        }
        assert_eq!(breaker.settle(early, Success, start, 0.0), None);
        assert_eq!(breaker.state(), Open);
        let later = start + Duration::from_millis(250);
        let probe = breaker.admit(later).unwrap();
        assert_eq!((breaker.state(), breaker.admit(later)), (HalfOpen, None));
        assert_eq!(breaker.settle(early, Failure, later, 0.0), None);
        assert_eq!(breaker.settle(probe, Success, later, 0.0), Some(Change::Closed));
    }

    proptest! {
        /// However calls end and overlap, it never refuses for longer than the longest pause, and the pause has its bounds.
        #[test]
        fn it_always_lets_a_call_pass_in_the_end(
            steps in prop::collection::vec((0_u64..2_000, 0_u8..3, 0.0..=1.0_f64), 1..200)
        ) {
            let (mut breaker, mut now) = (Breaker::new(), Instant::now());
            let mut refused_since = None;
            for (wait_ms, outcome, random) in steps {
                now += Duration::from_millis(wait_ms);
                let Some(ticket) = breaker.admit(now) else {
                    let since = *refused_since.get_or_insert(now);
                    prop_assert!(now.duration_since(since) <= PAUSE_MAX);
                    continue;
                };
                refused_since = None;
                let outcome = [Success, Failure, Abandoned][usize::from(outcome)];
                if let Some(Change::Opened(pause)) = breaker.settle(ticket, outcome, now, random) {
                    prop_assert!(pause >= PAUSE_MIN / 2 && pause <= PAUSE_MAX);
                }
            }
        }
    }
}
