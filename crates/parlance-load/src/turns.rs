//! Comparisons: the same traffic on several sides, in turns within one run, so that a machine that is slow for a while is
//! slow for all of them. What is told are medians and their ratios.
//!
//! Sides may share servers (a direct and a proxied one do); each has members and rooms of its own. While one side is
//! measured, nothing is sent on the others.

use crate::engine::Engine;
use crate::error::Result;
use crate::profiles::{Context, Pace, Shape, measure};
use crate::report::Traffic;
use serde::Serialize;
use std::time::Duration;

/// One of the things compared.
pub(crate) struct Side {
    /// What people call it.
    pub name: &'static str,
    context: Context,
    shape: Shape,
    engine: Engine,
}

/// What was measured on one side, a round each.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Rounds {
    /// The side.
    pub name: &'static str,
    /// Its rounds.
    pub rounds: Vec<Traffic>,
}

/// How long and how often a pace is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turns {
    /// Rounds.
    pub rounds: usize,
    /// Before each measurement.
    pub warmup: Duration,
    /// Measured each time.
    pub measured: Duration,
}

impl Side {
    /// Makes the rooms of a side, connects its members and appoints its writers.
    pub(crate) fn open(name: &'static str, context: Context, shape: Shape) -> Result<Self> {
        let mut engine = context.engine(shape.rooms, shape.members, shape.body)?;
        engine.open(0..engine.len(), context.patience)?;
        engine.appoint_writers(shape.writers);
        Ok(Self {
            name,
            context,
            shape,
            engine,
        })
    }
}

impl Rounds {
    /// The median of what a round says.
    pub(crate) fn median(&self, of: impl Fn(&Traffic) -> f64) -> f64 {
        median(self.rounds.iter().map(of).collect())
    }

    /// Messages that were lost, doubled, reordered or swapped.
    pub(crate) fn faults(&self) -> u64 {
        // Each round tells what has gone wrong since the side was opened.
        self.rounds.iter().map(Traffic::faults).max().unwrap_or(0)
    }
}

/// The middle one; NaN of none.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Measures all sides at one pace, in turns.
pub(crate) fn in_turns(sides: &mut [Side], pace: Pace, turns: Turns) -> Result<Vec<Rounds>> {
    let empty = |side: &Side| Rounds {
        name: side.name,
        rounds: Vec::with_capacity(turns.rounds),
    };
    let mut found: Vec<Rounds> = sides.iter().map(empty).collect();
    for round in 0..turns.rounds {
        // Every other round backwards, so that none of them always comes after the same one.
        let mut order: Vec<usize> = (0..sides.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for at in order {
            let side = &mut sides[at];
            let traffic = measure(
                &side.context,
                &mut side.engine,
                side.shape,
                pace,
                turns.warmup,
                turns.measured,
                side.name,
            )?;
            side.context.note(&format!(
                "  {:<44} {:>9.0} deliveries/s, p50 {:.1}, p99 {:.1} ms, server CPU {:.3} s/M\x1b[K\n",
                side.name,
                traffic.deliveries_per_s,
                traffic.delivery.p50_ms,
                traffic.delivery.p99_ms,
                traffic.server_cpu_s_per_million
            ));
            found[at].rounds.push(traffic);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_is_found() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!(median(Vec::new()).is_nan());
    }
}
