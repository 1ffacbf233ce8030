//! Whether a server is asked at all: a circuit breaker. Pure.
//!
//! * Closed: every call passes. [`FAILURES_MAX`] failures in a row open it.
//! * Open: no call passes until a pause is over.
//! * Half open: one call passes as a probe. Its success closes the breaker. Its failure opens it
//!   again for twice as long, up to [`PAUSE_MAX`]. Pauses are jittered, so nodes that lost Redis
//!   together do not return together.
//!
//! An outcome counts only in the state in which its call began: a call that was under way when the
//! breaker opened says nothing about now. A call that its caller cancels is no failure. If it was
//! the probe, the next call is the probe.

use crate::supervision::{Backoff, jitter};
use std::time::{Duration, Instant};

/// Failures in a row that open it. With the longest deadline of a call, 50 ms, one request loses at
/// most 200 ms to a Redis that does not reply.
pub(super) const FAILURES_MAX: u32 = 4;
/// How long it stays open after a first failure. That doubles with each failed probe.
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(5);
const BACKOFF: Backoff = Backoff::new(PAUSE_MIN, PAUSE_MAX);

/// The state of a breaker, for operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    Closed,
    Open,
    /// One call probes whether Redis is back.
    HalfOpen,
}

#[derive(Clone, Copy, Debug)]
enum Circuit {
    Closed { failures: u32 },
    Open { until: Instant, failed_probes: u32 },
    HalfOpen { failed_probes: u32 },
}

/// The right to make one call. Its outcome must be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BreakerPermit {
    epoch: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallOutcome {
    Success,
    Failure,
    /// The caller went away before the reply.
    Cancelled,
}

/// A change of state that is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BreakerChange {
    Opened(Duration),
    Closed,
}

#[derive(Debug)]
pub(super) struct Breaker {
    circuit: Circuit,
    /// Counts changes of state. A permit of an earlier epoch says nothing about this one.
    epoch: u64,
}

impl Breaker {
    pub(super) const fn new() -> Self {
        Self {
            circuit: Circuit::Closed { failures: 0 },
            epoch: 0,
        }
    }

    pub(super) const fn state(&self) -> BreakerState {
        match self.circuit {
            Circuit::Closed { .. } => BreakerState::Closed,
            Circuit::Open { .. } => BreakerState::Open,
            Circuit::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// Lets a call pass, or not.
    pub(super) fn admit(&mut self, now: Instant) -> Option<BreakerPermit> {
        match self.circuit {
            Circuit::Closed { .. } => {}
            Circuit::Open { until, failed_probes } if now >= until => self.enter(Circuit::HalfOpen { failed_probes }),
            Circuit::Open { .. } | Circuit::HalfOpen { .. } => return None,
        }
        Some(BreakerPermit { epoch: self.epoch })
    }

    /// Records the outcome of a call. `random` is a number from 0 to 1.
    pub(super) fn record(
        &mut self,
        permit: BreakerPermit,
        outcome: CallOutcome,
        now: Instant,
        random: f64,
    ) -> Option<BreakerChange> {
        if permit.epoch != self.epoch {
            return None;
        }
        match (&mut self.circuit, outcome) {
            (Circuit::Closed { failures }, CallOutcome::Success) => *failures = 0,
            (Circuit::Closed { failures }, CallOutcome::Failure) => {
                *failures += 1;
                if *failures >= FAILURES_MAX {
                    return Some(self.open(0, now, random));
                }
            }
            (Circuit::HalfOpen { .. }, CallOutcome::Success) => {
                self.enter(Circuit::Closed { failures: 0 });
                return Some(BreakerChange::Closed);
            }
            (Circuit::HalfOpen { failed_probes }, CallOutcome::Failure) => {
                let failed_probes = failed_probes.saturating_add(1);
                return Some(self.open(failed_probes, now, random));
            }
            (Circuit::HalfOpen { failed_probes }, CallOutcome::Cancelled) => {
                let failed_probes = *failed_probes;
                self.enter(Circuit::Open {
                    until: now,
                    failed_probes,
                });
            }
            (Circuit::Closed { .. }, CallOutcome::Cancelled) | (Circuit::Open { .. }, _) => {}
        }
        None
    }

    fn open(&mut self, failed_probes: u32, now: Instant, random: f64) -> BreakerChange {
        let pause = jitter(BACKOFF.pause_after(failed_probes), random);
        let until = now + pause;
        self.enter(Circuit::Open { until, failed_probes });
        BreakerChange::Opened(pause)
    }

    const fn enter(&mut self, circuit: Circuit) {
        self.circuit = circuit;
        self.epoch += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A call at a time, in milliseconds, and what becomes of it at once.
    fn call(breaker: &mut Breaker, start: Instant, at_ms: u64, outcome: CallOutcome) -> (bool, Option<BreakerChange>) {
        let now = start + Duration::from_millis(at_ms);
        breaker.admit(now).map_or((false, None), |permit| {
            (true, breaker.record(permit, outcome, now, 1.0))
        })
    }

    #[track_caller]
    fn check(calls: &[(u64, CallOutcome, bool, Option<BreakerChange>)], end: BreakerState) {
        let (mut breaker, start) = (Breaker::new(), Instant::now());
        for (at_ms, outcome, passes, change) in calls {
            let seen = call(&mut breaker, start, *at_ms, *outcome);
            assert_eq!(seen, (*passes, *change), "at {at_ms} ms, {outcome:?}");
        }
        assert_eq!(breaker.state(), end);
    }

    const fn opened(ms: u64) -> Option<BreakerChange> {
        Some(BreakerChange::Opened(Duration::from_millis(ms)))
    }

    use BreakerState::{Closed, HalfOpen, Open};
    use CallOutcome::{Cancelled, Failure, Success};

    #[test]
    fn four_failures_in_a_row_open_it() {
        let down = [
            (0, Failure, true, None),
            (1, Failure, true, None),
            (2, Failure, true, None),
        ];
        check(&down, Closed);
        check(&[&down[..], &[(3, Failure, true, opened(250))]].concat(), Open);
        check(&[&down[..], &[(3, Cancelled, true, None)]].concat(), Closed);
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
        let back = [
            (250, Success, true, Some(BreakerChange::Closed)),
            (251, Failure, true, None),
        ];
        check(&[&fall[..], &back[..]].concat(), Closed);
        let again = [
            (250, Failure, true, opened(500)),
            (749, Success, false, None),
            (750, Failure, true, opened(1_000)),
            (1_750, Failure, true, opened(2_000)),
            (3_750, Failure, true, opened(4_000)),
            (7_750, Failure, true, opened(5_000)),
            (12_750, Failure, true, opened(5_000)),
            (17_750, Success, true, Some(BreakerChange::Closed)),
        ];
        check(&[&fall[..], &again[..]].concat(), Closed);
        let given_up = [
            (250, Cancelled, true, None),
            (250, Success, true, Some(BreakerChange::Closed)),
        ];
        check(&[&fall[..], &given_up[..]].concat(), Closed);
    }

    #[test]
    fn one_probe_at_a_time_and_old_results_do_not_count() {
        let (mut breaker, start) = (Breaker::new(), Instant::now());
        let early = breaker.admit(start).unwrap();
        for _ in 0..FAILURES_MAX {
            call(&mut breaker, start, 0, Failure);
        }
        assert_eq!(breaker.record(early, Success, start, 0.0), None);
        assert_eq!(breaker.state(), Open);
        let later = start + Duration::from_millis(250);
        let probe = breaker.admit(later).unwrap();
        assert_eq!((breaker.state(), breaker.admit(later)), (HalfOpen, None));
        assert_eq!(breaker.record(early, Failure, later, 0.0), None);
        assert_eq!(breaker.record(probe, Success, later, 0.0), Some(BreakerChange::Closed));
    }

    proptest! {
        /// However calls end and overlap, it never refuses for longer than the longest pause, and
        /// the pause has its bounds.
        #[test]
        fn it_always_lets_a_call_pass_in_the_end(
            steps in prop::collection::vec((0_u64..2_000, 0_u8..3, 0.0..=1.0_f64), 1..200)
        ) {
            let (mut breaker, mut now) = (Breaker::new(), Instant::now());
            let mut refused_since = None;
            for (wait_ms, outcome, random) in steps {
                now += Duration::from_millis(wait_ms);
                let Some(permit) = breaker.admit(now) else {
                    let since = *refused_since.get_or_insert(now);
                    prop_assert!(now.duration_since(since) <= PAUSE_MAX);
                    continue;
                };
                refused_since = None;
                let outcome = [Success, Failure, Cancelled][usize::from(outcome)];
                if let Some(BreakerChange::Opened(pause)) = breaker.record(permit, outcome, now, random) {
                    prop_assert!(pause >= PAUSE_MIN / 2 && pause <= PAUSE_MAX);
                }
            }
        }
    }
}
