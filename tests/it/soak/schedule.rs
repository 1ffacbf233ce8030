//! Which fault comes when: pure, from a seed.
//!
//! The long form deals from a deck of all faults that can be had, so that each comes before any comes twice, and lets two
//! that share nothing overlap. The same seed makes the same steps with the same lengths; what else happens at those
//! moments (threads, networks) is not repeated by it.

use super::faults::Fault;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt, SeedableRng};
use std::time::Duration;

/// A fault, when it begins (from the beginning of its step) and how long it lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timed {
    pub fault: Fault,
    pub after: Duration,
    pub lasts: Duration,
}

/// One or two faults; then everybody must become whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub faults: Vec<Timed>,
    /// How long it is quiet when everybody is whole.
    pub calm: Duration,
}

/// The steps of the long form, without end.
pub struct Schedule {
    random: StdRng,
    all: Vec<Fault>,
    deck: Vec<Fault>,
}

impl Schedule {
    pub fn new(seed: u64, all: Vec<Fault>) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed),
            all,
            deck: Vec::new(),
        }
    }

    fn draw(&mut self) -> Fault {
        if self.deck.is_empty() {
            self.deck.clone_from(&self.all);
            self.deck.shuffle(&mut self.random);
        }
        self.deck.pop().expect("there are faults")
    }

    /// Mostly some seconds; sometimes longer than the patience of those who wait, and now and then than a node's with a
    /// silent peer.
    fn length(&mut self) -> Duration {
        let (least, most) = match self.random.random_range(0..100) {
            0..70 => (1_000, 5_000),
            70..95 => (5_000, 14_000),
            _ => (22_000, 28_000),
        };
        Duration::from_millis(self.random.random_range(least..most))
    }
}

impl Iterator for Schedule {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        let first = self.draw();
        let mut faults = vec![Timed {
            fault: first,
            after: Duration::ZERO,
            lasts: self.length(),
        }];
        if self.random.random_bool(0.45) {
            let partner = self.deck.iter().rposition(|fault| fault.goes_with(first));
            if let Some(at) = partner {
                let most = u64::try_from(faults[0].lasts.as_millis()).unwrap_or(1_000);
                let second = Timed {
                    fault: self.deck.remove(at),
                    after: Duration::from_millis(self.random.random_range(0..most)),
                    lasts: self.length(),
                };
                faults.push(second);
            }
        }
        let calm = Duration::from_millis(self.random.random_range(1_000..3_000));
        Some(Step { faults, calm })
    }
}

/// What happens in a step, in order: the number of a fault, and whether it begins or ends.
pub fn moments(step: &Step) -> Vec<(Duration, usize, bool)> {
    let mut moments = Vec::new();
    for (number, timed) in step.faults.iter().enumerate() {
        moments.push((timed.after, number, true));
        moments.push((timed.after + timed.lasts, number, false));
    }
    moments.sort_unstable();
    moments
}

#[test]
fn a_seed_replays_its_schedule_and_every_fault_has_its_turn() {
    let all = Fault::all();
    let steps = |seed| Schedule::new(seed, all.clone()).take(3 * all.len()).collect::<Vec<_>>();
    let one = steps(7);
    assert_eq!(one, steps(7));
    assert_ne!(one, steps(8));
    for fault in &all {
        let times = one
            .iter()
            .flat_map(|step| &step.faults)
            .filter(|timed| timed.fault == *fault);
        assert!(times.count() >= 3, "{fault}");
    }
    for step in &one {
        if let [first, second] = &step.faults[..] {
            assert!(first.fault.goes_with(second.fault), "{step:?}");
        }
        assert!(step.faults.len() <= 2 && moments(step).len() == 2 * step.faults.len());
    }
    assert!(one.iter().any(|step| step.faults.len() == 2));
}
