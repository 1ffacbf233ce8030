//! Comparisons: the same traffic on several sides, in turns within one run. So a machine that is
//! slow for a while is slow for all of them. The results are medians and their ratios.
//!
//! Sides may share servers, as a direct and a proxied one do. Each has members and rooms of its
//! own. While one side is measured, nothing is sent on the others.

use crate::context::Context;
use crate::engine::Engine;
use crate::error::Result;
use crate::measure::report::Traffic;
use crate::measure::stats::median;
use crate::profiles::traffic::{Measurement, Pace, Shape, measure};
use std::time::Duration;

/// One of the setups that are compared.
pub(crate) struct Side {
    pub name: &'static str,
    context: Context,
    shape: Shape,
    engine: Engine,
}

/// What was measured on one side.
pub(crate) struct SideResult {
    /// That of the side.
    pub name: &'static str,
    rounds: Vec<Traffic>,
}

/// How often each side is measured, and for how long each time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rounds {
    pub count: usize,
    /// How long traffic flows before each measurement.
    pub warmup: Duration,
    pub measured: Duration,
}

impl Side {
    /// Makes the rooms of a side, connects its members and chooses its writers.
    pub(crate) fn open(name: &'static str, context: Context, shape: Shape) -> Result<Self> {
        let mut engine = context.engine(shape.rooms, shape.members, shape.body)?;
        engine.open(0..engine.len(), context.patience)?;
        engine.choose_writers(shape.writers);
        Ok(Self {
            name,
            context,
            shape,
            engine,
        })
    }
}

impl SideResult {
    /// The median of a value over the rounds.
    pub(crate) fn median(&self, of: impl Fn(&Traffic) -> f64) -> f64 {
        median(self.rounds.iter().map(of).collect())
    }

    /// Messages that were lost, doubled, reordered or swapped.
    pub(crate) fn faults(&self) -> u64 {
        // Each round counts from when the side was opened.
        self.rounds.iter().map(Traffic::faults).max().unwrap_or(0)
    }
}

/// Measures all sides at one pace, in turns.
pub(crate) fn compare(sides: &mut [Side], pace: Pace, rounds: Rounds) -> Result<Vec<SideResult>> {
    let empty = |side: &Side| SideResult {
        name: side.name,
        rounds: Vec::with_capacity(rounds.count),
    };
    let mut found: Vec<SideResult> = sides.iter().map(empty).collect();
    let measurement = Measurement {
        pace,
        warmup: rounds.warmup,
        measured: rounds.measured,
    };
    for round in 0..rounds.count {
        // Every other round backwards, so that none of them always comes after the same one.
        let mut order: Vec<usize> = (0..sides.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for at in order {
            let side = &mut sides[at];
            let traffic = measure(&side.context, &mut side.engine, side.shape, measurement, side.name)?;
            side.context.show(&format!(
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
