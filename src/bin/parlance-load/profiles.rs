//! The profiles: what is opened, written and measured in each.
//!
//! Every profile makes its own rooms and identities, so that profiles do not see each other's history, and ends with the
//! same question: has everybody everything, once and in order?

use crate::engine::{Engine, Options};
use crate::error::{Error, Result};
use crate::process::Processes;
use crate::report::{Latency, Surroundings, Traffic, say, table};
use crate::setup;
use crate::stats::{Interval, histogram};
use serde::Serialize;
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
pub struct Context {
    /// The server.
    pub address: SocketAddr,
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
pub struct Shape {
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
pub enum Pace {
    /// Each writer keeps so many sends unanswered.
    ClosedLoop(usize),
    /// Messages per second over all rooms.
    Rate(f64),
}

impl Context {
    fn engine(&self, rooms: usize, members: usize, body_bytes: usize) -> Result<Engine> {
        let minimum = crate::fields::BODY_BYTES_MIN;
        if !(minimum..=16_384).contains(&body_bytes) {
            return Err(Error::Arguments(format!("a body has {minimum} to 16384 bytes")));
        }
        self.note(&format!("  making {rooms} rooms with {members} members each\x1b[K\r"));
        let members = setup::make(self.address, rooms, members)?;
        let options = Options {
            address: self.address,
            verify: self.verify,
            body_bytes,
            concurrency: self.concurrency,
            progress: self.progress,
        };
        Engine::new(options, members)
    }

    fn note(&self, text: &str) {
        if self.progress {
            say(text);
        }
    }
}

/// `fanout`: messages at a pace, measured after a warm-up.
pub fn fanout(context: &Context, shape: Shape, pace: Pace, warmup: Duration, measured: Duration) -> Result<Traffic> {
    let mut engine = context.engine(shape.rooms, shape.members, shape.body)?;
    engine.open(0..engine.len(), context.patience)?;
    engine.appoint_writers(shape.writers);
    let traffic = measure(context, &mut engine, shape, pace, warmup, measured, "fanout");
    context.note("\x1b[K");
    traffic
}

fn measure(
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
pub fn storm(context: &Context, shape: Shape, first_rate: f64, step: Duration) -> Result<Traffic> {
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

/// What `idle` found.
#[derive(Clone, Debug, Serialize)]
pub struct Idle {
    /// Connections subscribed.
    pub connections: usize,
    /// Connected, authenticated and subscribed, per second.
    pub opened_per_s: f64,
    /// From connect to `subscribed`.
    pub open: Latency,
    /// Growth of the server's resident memory per connection.
    pub server_bytes_per_connection: f64,
    /// The server's resident memory with all of them.
    pub server_rss_bytes: u64,
    /// CPU seconds of the server per thousand connections opened.
    pub server_cpu_s_per_thousand: f64,
    /// CPU seconds of the server in one second with all of them idle.
    pub server_cpu_s_idle: f64,
}

impl Idle {
    /// The table for people.
    pub fn table(&self) -> String {
        table(&[
            ("idle", format!("{} connections", self.connections)),
            (
                "opened",
                format!(
                    "{:.0} /s (p50 {:.1}, p99 {:.1} ms)",
                    self.opened_per_s, self.open.p50_ms, self.open.p99_ms
                ),
            ),
            (
                "server memory per connection",
                format!("{:.1} KiB", self.server_bytes_per_connection / 1024.0),
            ),
            (
                "server memory",
                format!("{:.1} MiB", self.server_rss_bytes as f64 / 1_048_576.0),
            ),
            (
                "server CPU s per thousand opened",
                format!("{:.2}", self.server_cpu_s_per_thousand),
            ),
            ("server CPU s per idle second", format!("{:.3}", self.server_cpu_s_idle)),
        ])
    }
}

/// `idle`: opens connections that only listen.
pub fn idle(context: &Context, connections: usize, members: usize, hold: Duration) -> Result<Idle> {
    let rooms = connections.div_ceil(members) + 1;
    let mut engine = context.engine(rooms, members, 128)?;
    // The first room pays for what the server allocates once; then the memory of the others is theirs.
    engine.open(0..members, context.patience)?;
    engine.run_for(Duration::from_millis(500))?;
    let (rss, cpu) = (context.processes.resident_bytes()?, context.processes.cpu());
    engine.shared.opened_us = histogram()?;
    let took = engine.open(members..members + connections, context.patience)?;
    let used = context.processes.cpu().since(cpu);
    engine.run_for(Duration::from_secs(1))?;
    let full = context.processes.resident_bytes()?;
    let (cpu, since) = (context.processes.cpu(), Instant::now());
    engine.run_for(hold)?;
    let idle = context.processes.cpu().since(cpu);
    context.note("\x1b[K");
    Ok(Idle {
        connections,
        opened_per_s: connections as f64 / took.as_secs_f64(),
        open: Latency::of(&engine.shared.opened_us),
        server_bytes_per_connection: full.saturating_sub(rss) as f64 / connections as f64,
        server_rss_bytes: full,
        server_cpu_s_per_thousand: used.server * 1_000.0 / connections as f64,
        server_cpu_s_idle: idle.server / since.elapsed().as_secs_f64(),
    })
}

/// What `churn` found.
#[derive(Clone, Debug, Serialize)]
pub struct Churn {
    /// Changes missed before each resume.
    pub missed: u64,
    /// Resumes.
    pub rounds: usize,
    /// From `subscribe` to `subscribed` with everything missed in between.
    pub resume: Latency,
    /// From connect to `subscribed`.
    pub reconnect: Latency,
    /// Missed changes that did not come, came twice or in another order.
    pub faults: u64,
}

impl Churn {
    /// The table for people.
    pub fn table(&self) -> String {
        let latency = |l: &Latency| {
            format!(
                "{:.1} / {:.1} / {:.1} / {:.1} ms",
                l.p50_ms, l.p95_ms, l.p99_ms, l.max_ms
            )
        };
        table(&[
            (
                "churn",
                format!("{} resumes over {} missed changes", self.rounds, self.missed),
            ),
            ("resume p50/p95/p99/max", latency(&self.resume)),
            ("with connecting", latency(&self.reconnect)),
            ("faults", self.faults.to_string()),
        ])
    }
}

/// `churn`: members who connect, resume over what they missed, and leave.
pub fn churn(context: &Context, missed: u64, rounds: usize) -> Result<Churn> {
    // Member 0 writes and stays; each of the others was there before, left, missed everything and comes back once.
    let mut engine = context.engine(1, rounds + 1, 128)?;
    engine.open(0..rounds + 1, context.patience)?;
    engine.appoint_writers(1);
    for member in 1..=rounds {
        engine.close(member);
    }
    engine.shared.opened_us = histogram()?;
    engine.shared.subscribed_us = histogram()?;
    write_alone(&mut engine, missed, context.patience)?;
    let mut faults = 0;
    for member in 1..=rounds {
        engine.open(member..member + 1, context.patience)?;
        let replayed = engine.conn(member).replayed;
        faults += replayed.abs_diff(missed);
        engine.close(member);
    }
    context.note("\x1b[K");
    Ok(Churn {
        missed,
        rounds,
        resume: Latency::of(&engine.shared.subscribed_us),
        reconnect: Latency::of(&engine.shared.opened_us),
        faults: faults + engine.faults().total(),
    })
}

/// Writes while the others are away: their missing messages are no reason to wait.
fn write_alone(engine: &mut Engine, count: u64, patience: Duration) -> Result<()> {
    engine.write_count(count)?;
    engine.run_until(Instant::now() + patience, |engine| engine.backlog() == 0)?;
    match engine.backlog() {
        0 => engine.run_for(Duration::from_millis(100)),
        left => Err(Error::Timeout(
            format!("acknowledging the last {left} messages"),
            patience.as_secs(),
        )),
    }
}
