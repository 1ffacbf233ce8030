//! The profiles about messages: what is opened, written and measured in `fanout` and `storm`.
//!
//! Every profile makes its own rooms and identities, so that profiles do not see each other's history, and ends with
//! the same question: has everybody everything, once and in order?

use crate::engine::{Engine, Options};
use crate::error::{Error, Result};
use crate::process::Processes;
use crate::report::{Surroundings, Traffic, say};
use crate::setup;
use crate::stats::Interval;
use std::net::SocketAddr;
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

/// What every profile needs to know.
#[derive(Clone)]
pub(crate) struct Context {
    /// The nodes of the server, or what is in front of them.
    pub addresses: Vec<SocketAddr>,
    /// Whose cost is measured.
    pub processes: Processes,
    /// Compare every frame with its complete parse.
    pub verify: bool,
    /// Say each second how it goes.
    pub progress: bool,
    /// Most connections in the act of connecting.
    pub concurrency: usize,
    /// How long connections may take to be subscribed, and everything sent to be answered and delivered.
    pub patience: Duration,
}

/// Rooms, members and who writes what.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Shape {
    /// Conversations.
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

/// How fast messages are due and for how long that is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// Each writer keeps so many sends unanswered.
    ClosedLoop(usize),
    /// Messages per second over all rooms.
    Rate(f64),
}

impl Context {
    /// Where requests go.
    pub(crate) fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// Makes rooms and members, none connected yet.
    pub(crate) fn engine(&self, rooms: usize, members: usize, body_bytes: usize) -> Result<Engine> {
        let minimum = crate::fields::BODY_BYTES_MIN;
        if !(minimum..=16_384).contains(&body_bytes) {
            return Err(Error::Arguments(format!("a body has {minimum} to 16384 bytes")));
        }
        self.note(&format!("  making {rooms} rooms with {members} members each\x1b[K\r"));
        let members = setup::make(self.address(), rooms, members)?;
        let options = Options {
            addresses: self.addresses.clone(),
            verify: self.verify,
            body_bytes,
            concurrency: self.concurrency,
            progress: self.progress,
        };
        Engine::new(options, members)
    }

    /// Progress, if it is wanted.
    pub(crate) fn note(&self, text: &str) {
        if self.progress {
            say(text);
        }
    }
}

/// `fanout`: messages at a pace, measured after a warm-up.
pub(crate) fn fanout(
    context: &Context,
    shape: Shape,
    pace: Pace,
    warmup: Duration,
    measured: Duration,
) -> Result<Traffic> {
    let mut engine = context.engine(shape.rooms, shape.members, shape.body)?;
    engine.open(0..engine.len(), context.patience)?;
    engine.appoint_writers(shape.writers);
    let traffic = measure(context, &mut engine, shape, pace, warmup, measured, "fanout");
    context.note("\x1b[K");
    traffic
}

/// Messages at a pace on an engine whose writers are appointed, measured after a warm-up.
pub(crate) fn measure(
    context: &Context,
    engine: &mut Engine,
    shape: Shape,
    pace: Pace,
    warmup: Duration,
    measured: Duration,
    profile: &str,
) -> Result<Traffic> {
    let rate = match pace {
        Pace::ClosedLoop(depth) => {
            engine.write_closed_loop(depth)?;
            None
        }
        Pace::Rate(rate) => {
            engine.write_at_rate(rate);
            Some(rate)
        }
    };
    engine.run_for(warmup)?;
    engine.take_interval()?;
    let (cpu, started) = (context.processes.cpu(), Instant::now());
    engine.run_for(measured)?;
    let (cpu, seconds) = (context.processes.cpu().since(cpu), started.elapsed().as_secs_f64());
    let mut interval = engine.take_interval()?;
    let rss = context.processes.resident_bytes()?;
    engine.drain(context.patience)?;
    keep_percentiles_of_late_answers(&mut interval, &engine.take_interval()?);
    let around = Surroundings {
        profile: profile.into(),
        shape: (shape.rooms, shape.members),
        rate,
        seconds,
        cpu,
        rss,
    };
    Ok(Traffic::new(&interval, engine.faults(), around))
}

/// What went wrong while the last answers came in belongs to the measurement; its deliveries do not.
fn keep_percentiles_of_late_answers(interval: &mut Interval, drained: &Interval) {
    for (code, count) in &drained.closed {
        *interval.closed.entry(code.clone()).or_default() += count;
    }
}

/// `storm`: raises the rate until it is not held, then narrows down; the best that was held.
pub(crate) fn storm(context: &Context, shape: Shape, first_rate: f64, step: Duration) -> Result<Traffic> {
    let mut engine = context.engine(shape.rooms, shape.members, shape.body)?;
    engine.open(0..engine.len(), context.patience)?;
    engine.appoint_writers(shape.writers);
    // The server's and PostgreSQL's first seconds (cold caches, first statements) are not what is asked.
    measure(
        context,
        &mut engine,
        shape,
        Pace::Rate(first_rate),
        step / 2,
        step / 2,
        "storm",
    )?;
    let mut held: Option<Traffic> = None;
    let (mut low, mut high) = (0.0, f64::INFINITY);
    let mut rate = first_rate;
    while rate <= STORM_RATE_MAX {
        let traffic = measure(context, &mut engine, shape, Pace::Rate(rate), step / 3, step, "storm")?;
        let is_held = traffic.is_sound()
            && traffic.closed.is_empty()
            && traffic.refused.is_empty()
            && traffic.delivery.p99_ms < HELD_P99_MS
            && traffic.deliveries_per_s >= HELD_SHARE * rate * shape.members as f64;
        context.note(&format!(
            "  {} {:>8.0} messages/s: {:>9.0} deliveries/s, p99 {:.1} ms{}\x1b[K\n",
            if is_held { "held    " } else { "not held" },
            rate,
            traffic.deliveries_per_s,
            traffic.delivery.p99_ms,
            if traffic.closed.is_empty() {
                String::new()
            } else {
                format!(", {:?}", traffic.closed)
            }
        ));
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
    context.note("\x1b[K");
    held.ok_or_else(|| Error::Protocol("no rate was held".into()))
}
