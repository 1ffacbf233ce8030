//! The part of the suite about several nodes: what the bus costs, how much later the readers of another node see a
//! message, how long those take who missed much, and how soon everybody is back after a node was killed.
//!
//! What is compared runs in turns: one node without Redis, one of two nodes with it (the other has nothing to do but is
//! told what is active there), and two nodes with the members of every conversation spread over both.

use super::rows::Rows;
use super::single::MAXIMUM;
use super::{Extent, Part};
use crate::error::Result;
use crate::herd::{self, Fate, herd};
use crate::nodes::{Installation, Layout};
use crate::profiles::{Context, Pace, Shape};
use crate::turns::{Rounds, Side, Turns, in_turns, median};
use crate::visits::{Return, returns};
use std::path::Path;
use std::time::Duration;

/// Ten rooms of a hundred, as for the maximum.
const SHAPE: Shape = Shape {
    rooms: 10,
    members: 100,
    writers: 4,
    body: 128,
};
/// Many conversations of two.
const PAIRS: Shape = Shape {
    rooms: 200,
    members: 2,
    writers: 2,
    body: 128,
};
/// Messages per second in them.
const PAIRS_RATE: f64 = 2_000.0;
/// Unanswered sends of each writer, where messages are sent as fast as acknowledgements allow.
const DEPTH: usize = 8;
/// A conversation leaves a node's memory so soon after the last subscriber, for the resumes on a cold node.
const PASSIVATE_AFTER: &str = "1s";
/// Messages missed before a resume.
const MISSED: u64 = 10_000;
/// Who comes back at once after a kill: 5,000 readers of the killed node.
const HERD_ROOMS: usize = 50;
const HERD_MEMBERS: usize = 100;
/// Messages per second meanwhile.
const HERD_RATE: f64 = 100.0;

/// Two nodes beside one.
pub(super) struct Nodes<'a> {
    /// The server's program, and that of Redis.
    pub binary: &'a Path,
    pub redis: &'a Path,
    /// Where their data is.
    pub folder: &'a Path,
    pub extent: Extent,
    pub template: &'a Context,
}

impl Nodes<'_> {
    /// Measures those parts of it that are wanted.
    pub(super) fn run(&self, wanted: impl Fn(Part) -> bool, rows: &mut Rows) -> Result<()> {
        let Self { extent, template, .. } = *self;
        let mut two = self.start("two", 2)?;
        if wanted(Part::Bus) {
            let one = self.start("one", 1)?;
            traffic(&one, &two, extent, template, rows)?;
            one.stop()?;
        }
        if wanted(Part::Resumes) {
            resumes(&two, extent, template, rows)?;
        }
        if wanted(Part::Herd) {
            herds(&mut two, extent, template, rows)?;
        }
        two.stop()
    }

    fn start(&self, name: &str, nodes: usize) -> Result<Installation> {
        Installation::start(&Layout {
            binary: self.binary,
            folder: self.folder.join(name),
            nodes,
            // One alone is what the others are compared with.
            redis: (nodes > 1).then_some(self.redis),
            settings: vec![("PARLANCE_PASSIVATE_AFTER", PASSIVATE_AFTER.into())],
        })
    }
}

fn traffic(one: &Installation, two: &Installation, extent: Extent, template: &Context, rows: &mut Rows) -> Result<()> {
    let mut sides = [
        Side::open("one node", one.context(template, &[0]), SHAPE)?,
        Side::open("one node of two, with Redis", two.context(template, &[0]), SHAPE)?,
        Side::open("two nodes, members on both", two.context(template, &[0, 1]), SHAPE)?,
    ];
    let turns = Turns {
        rounds: extent.rounds,
        warmup: Duration::from_secs(1),
        measured: extent.round,
    };
    let fast = in_turns(&mut sides, Pace::ClosedLoop(DEPTH), turns)?;
    let per_s = |rounds: &Rounds| rounds.median(|traffic| traffic.deliveries_per_s);
    for rounds in &fast {
        let name = format!("deliveries/s as fast as acknowledged, {}", rounds.name);
        rows.tell(&name, "/s", per_s(rounds));
    }
    costs(&fast, "as fast as acknowledged", rows);
    let maximum = rows.known(MAXIMUM).unwrap_or_else(|| per_s(&fast[0]));
    let quarter = Pace::Rate(maximum / 4.0 / SHAPE.members as f64);
    let slow = in_turns(&mut sides, quarter, turns)?;
    costs(&slow, "at a quarter of the maximum", rows);
    messages(one, two, turns, template, rows)?;
    let [_, _, spread] = &slow[..] else { return Ok(()) };
    let latency = |name, value| (format!("delivery {name} at a quarter of the maximum"), value);
    for (name, value) in [
        latency("p50 on the writer's node", spread.median(|t| t.home.p50_ms)),
        latency("p50 on the other node", spread.median(|t| t.across.p50_ms)),
        latency("p99 on the writer's node", spread.median(|t| t.home.p99_ms)),
        latency("p99 on the other node", spread.median(|t| t.across.p99_ms)),
    ] {
        rows.tell(&name, "ms", value);
    }
    rows.add(
        "crossing nodes adds at p99, at a quarter of the maximum",
        "ms",
        spread.median(|t| t.across.p99_ms - t.home.p99_ms),
        (5.0, 2.0),
    );
    // Each side's faults are counted from when it was opened.
    rows.faults += slow.iter().map(Rounds::faults).sum::<u64>();
    Ok(())
}

/// What a message costs that hardly anybody reads: two members, on both nodes where there are two. The difference between
/// the sides is a publication and its reception.
fn messages(one: &Installation, two: &Installation, turns: Turns, template: &Context, rows: &mut Rows) -> Result<()> {
    let mut sides = [
        Side::open("one node", one.context(template, &[0]), PAIRS)?,
        Side::open("one node of two, with Redis", two.context(template, &[0]), PAIRS)?,
        Side::open("two nodes, members on both", two.context(template, &[0, 1]), PAIRS)?,
    ];
    let found = in_turns(&mut sides, Pace::Rate(PAIRS_RATE), turns)?;
    for rounds in &found {
        for (who, cost) in [
            ("nodes", rounds.median(|traffic| traffic.server_cpu_s_per_million)),
            (
                "PostgreSQL",
                rounds.median(|traffic| traffic.postgres_cpu_s_per_million),
            ),
            ("Redis", rounds.median(|traffic| traffic.redis_cpu_s_per_million)),
        ] {
            // So many seconds per million deliveries are microseconds of one.
            let us = cost * PAIRS.members as f64;
            if us > 0.0 {
                let name = format!("CPU of {who} per message to two, {PAIRS_RATE}/s, {}", rounds.name);
                rows.tell(&name, "µs", us);
            }
        }
    }
    rows.faults += found.iter().map(Rounds::faults).sum::<u64>();
    Ok(())
}

/// What a delivery costs on each side, and how many times what it costs one node without Redis.
fn costs(sides: &[Rounds], when: &str, rows: &mut Rows) {
    let cpu = |rounds: &Rounds| rounds.median(|traffic| traffic.server_cpu_s_per_million);
    for rounds in sides {
        let name = format!("server CPU s per million deliveries {when}, {}", rounds.name);
        rows.tell(&name, "s", cpu(rounds));
        let redis = rounds.median(|traffic| traffic.redis_cpu_s_per_million);
        if redis > 0.0 {
            let name = format!("CPU s of Redis per million deliveries {when}, {}", rounds.name);
            rows.tell(&name, "s", redis);
        }
    }
    for rounds in &sides[1..] {
        let name = format!("the same, times that of one node: {}, {when}", rounds.name);
        rows.add(&name, "×", cpu(rounds) / cpu(&sides[0]), (1.3, 1.15));
    }
}

fn resumes(two: &Installation, extent: Extent, template: &Context, rows: &mut Rows) -> Result<()> {
    let context = two.context(template, &[0, 1]);
    for (kind, took_ms) in returns(&context, MISSED, extent.rounds + 2, &mut rows.faults)? {
        let wher = match kind {
            Return::Home => "on the writer's node",
            Return::Elsewhere => "on the other node",
            Return::Cold => "on a node where it is cold",
        };
        let name = format!("resume over 10,000 missed changes, {wher}");
        rows.add(&name, "ms", took_ms, (300.0, 150.0));
    }
    Ok(())
}

fn herds(two: &mut Installation, extent: Extent, template: &Context, rows: &mut Rows) -> Result<()> {
    let runs = extent.runs.div_ceil(2);
    for fate in [Fate::Restarted, Fate::Gone] {
        let name = match fate {
            Fate::Restarted => "a node was killed and started again",
            Fate::Gone => "one of two nodes was killed",
        };
        let shape = herd::Shape {
            rooms: HERD_ROOMS,
            members: HERD_MEMBERS,
            rate: HERD_RATE,
        };
        let mut found = Vec::new();
        for _ in 0..runs {
            found.push(herd(two, template, shape, fate)?);
            if fate == Fate::Gone {
                two.begin(0)?;
                two.wait(0)?;
            }
        }
        rows.faults += found.iter().map(|herd| herd.faults).sum::<u64>();
        let of = |value: fn(&herd::Herd) -> f64| median(found.iter().map(value).collect()) / 1_000.0;
        let name_cpu = format!("CPU of the nodes per reader that comes back, {name}");
        rows.tell(
            &name_cpu,
            "µs",
            median(found.iter().map(|herd| herd.server_cpu_s_per_reader * 1e6).collect()),
        );
        let row = |what| format!("{} readers whole after {name}, {what}", HERD_ROOMS * HERD_MEMBERS);
        rows.tell(&row("p50"), "s", of(|herd| herd.whole.p50_ms));
        rows.add(&row("the last one"), "s", of(|herd| herd.whole.max_ms), (30.0, 10.0));
    }
    Ok(())
}
