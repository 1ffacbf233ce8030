//! The profiles about messages: `fanout` at a pace, `storm` at a rate that is raised until it is
//! not held.

use crate::context::Context;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::measure::report::{Circumstances, Traffic};
use crate::measure::stats::Interval;
use std::time::{Duration, Instant};

/// A latency beyond which a rate does not count as held, in milliseconds.
const HELD_P99_MS: f64 = 250.0;
/// Share of the due messages that must have been delivered for a rate to count as held.
const HELD_SHARE: f64 = 0.97;
/// Factor between the rates of a storm, then between the bounds when it stops.
const STORM_STEP: f64 = 1.5;
const STORM_PRECISION: f64 = 1.06;
/// A storm beyond this is the tool's limit, not the server's, in messages per second.
const STORM_RATE_MAX: f64 = 200_000.0;

/// Rooms, members and who writes what.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Shape {
    /// How many conversations there are.
    #[arg(long, default_value_t = 10)]
    pub rooms: usize,
    /// Members of each, one connection per member.
    #[arg(long, default_value_t = 100)]
    pub members: usize,
    /// Members of each room that write.
    #[arg(long, default_value_t = 2)]
    pub writers: usize,
    /// Bytes of a message body.
    #[arg(long, default_value_t = 128)]
    pub body: usize,
}

/// How fast messages are due.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// As fast as acknowledgements allow: each writer keeps so many sends in flight.
    ClosedLoop(usize),
    /// Messages per second over all rooms.
    Rate(f64),
}

/// A pace, and for how long it is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measurement {
    pub pace: Pace,
    /// Before it is measured.
    pub warmup: Duration,
    pub measured: Duration,
}

/// `fanout`: messages at a pace, measured after a warm-up.
pub(crate) fn fanout(context: &Context, shape: Shape, measurement: Measurement) -> Result<Traffic> {
    let mut engine = context.engine(shape.rooms, shape.members, shape.body)?;
    engine.open(0..engine.len(), context.patience)?;
    engine.choose_writers(shape.writers);
    let traffic = measure(context, &mut engine, shape, measurement, "fanout");
    context.show("\x1b[K");
    traffic
}

/// Messages at a pace on an engine whose writers are chosen, measured after a warm-up.
pub(crate) fn measure(
    context: &Context,
    engine: &mut Engine,
    shape: Shape,
    measurement: Measurement,
    profile: &str,
) -> Result<Traffic> {
    let rate = match measurement.pace {
        Pace::ClosedLoop(depth) => {
            engine.write_closed_loop(depth)?;
            None
        }
        Pace::Rate(rate) => {
            engine.write_at_rate(rate);
            Some(rate)
        }
    };
    engine.run_for(measurement.warmup)?;
    engine.take_interval()?;
    let (cpu, started) = (context.processes.cpu(), Instant::now());
    engine.run_for(measurement.measured)?;
    let (cpu, seconds) = (context.processes.cpu().since(cpu), started.elapsed().as_secs_f64());
    let mut interval = engine.take_interval()?;
    let rss = context.processes.resident_bytes()?;
    engine.drain(context.patience)?;
    keep_late_closes(&mut interval, &engine.take_interval()?);
    let circumstances = Circumstances {
        profile: profile.into(),
        rooms: shape.rooms,
        members: shape.members,
        rate,
        seconds,
        cpu,
        server_rss_bytes: rss,
    };
    Ok(Traffic::new(&interval, engine.faults(), circumstances))
}

/// Connections that ended while the last replies came in belong to the measurement; the deliveries
/// of that time do not.
fn keep_late_closes(interval: &mut Interval, drained: &Interval) {
    for (code, count) in &drained.closed {
        *interval.closed.entry(code.clone()).or_default() += count;
    }
}

/// `storm`: raises the rate until it is not held, then narrows down; the best that was held.
pub(crate) fn storm(context: &Context, shape: Shape, first_rate: f64, step: Duration) -> Result<Traffic> {
    let mut engine = context.engine(shape.rooms, shape.members, shape.body)?;
    engine.open(0..engine.len(), context.patience)?;
    engine.choose_writers(shape.writers);
    // The server's and PostgreSQL's first seconds (cold caches, first statements) are not what is
    // asked.
    let first = Measurement {
        pace: Pace::Rate(first_rate),
        warmup: step / 2,
        measured: step / 2,
    };
    measure(context, &mut engine, shape, first, "storm")?;
    let mut held: Option<Traffic> = None;
    let (mut low, mut high) = (0.0, f64::INFINITY);
    let mut rate = first_rate;
    while rate <= STORM_RATE_MAX {
        let step = Measurement {
            pace: Pace::Rate(rate),
            warmup: step / 3,
            measured: step,
        };
        let traffic = measure(context, &mut engine, shape, step, "storm")?;
        let is_held = is_held(&traffic, rate, shape);
        show_step(context, &traffic, rate, is_held);
        if !traffic.is_sound() {
            return Ok(traffic);
        }
        if is_held {
            low = rate;
            if held
                .as_ref()
                .is_none_or(|best| best.deliveries_per_s < traffic.deliveries_per_s)
            {
                held = Some(traffic);
            }
        } else {
            high = rate;
        }
        if high / low < STORM_PRECISION || high < 1.0 {
            break;
        }
        rate = if high.is_infinite() {
            low * STORM_STEP
        } else if low > 0.0 {
            (low * high).sqrt()
        } else {
            high / 2.0
        };
    }
    context.show("\x1b[K");
    held.ok_or_else(|| Error::Protocol("no rate was held".into()))
}

fn is_held(traffic: &Traffic, rate: f64, shape: Shape) -> bool {
    traffic.is_sound()
        && traffic.closed.is_empty()
        && traffic.refused.is_empty()
        && traffic.delivery.p99_ms < HELD_P99_MS
        && traffic.deliveries_per_s >= HELD_SHARE * rate * shape.members as f64
}

fn show_step(context: &Context, traffic: &Traffic, rate: f64, is_held: bool) {
    let held = if is_held { "held    " } else { "not held" };
    let closed = if traffic.closed.is_empty() {
        String::new()
    } else {
        format!(", {:?}", traffic.closed)
    };
    context.show(&format!(
        "  {held} {rate:>8.0} messages/s: {:>9.0} deliveries/s, p99 {:.1} ms{closed}\x1b[K\n",
        traffic.deliveries_per_s, traffic.delivery.p99_ms
    ));
}
