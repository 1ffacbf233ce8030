//! The part of the suite about several nodes: what the bus costs, how much later the readers of
//! another node see a message, how long a resume takes after much was missed, and how soon
//! everybody is back after a node was killed.
//!
//! The comparison takes turns between three setups: one node without Redis; one of two nodes with
//! it, where the other has nothing to do; two nodes with the members of every conversation spread
//! over both.

use super::arguments::{Extent, Part};
use super::rows::{Rows, promise};
use super::single_node::MAXIMUM;
use crate::context::Context;
use crate::error::Result;
use crate::installation::nodes::{Installation, Layout};
use crate::measure::stats::median;
use crate::profiles::comparison::{Rounds, Side, SideResult, compare};
use crate::profiles::connections::{ResumeNode, resumes_across_nodes};
use crate::profiles::reconnect_storm::{self, KilledNode, ReconnectStorm, StormShape};
use crate::profiles::traffic::{Pace, Shape};
use std::path::Path;

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
/// Sends of each writer in flight, where messages are sent as fast as acknowledgements allow.
const DEPTH: usize = 8;
/// A conversation leaves a node's memory so soon after the last subscriber, for the resumes on a
/// cold node.
const PASSIVATE_AFTER: &str = "1s";
/// Messages missed before a resume.
const MISSED: u64 = 10_000;
/// Who reconnects at once after a kill: 5,000 readers of the killed node.
const STORM_ROOMS: usize = 50;
const STORM_MEMBERS: usize = 100;
/// Messages per second meanwhile.
const STORM_RATE: f64 = 100.0;

/// What the parts about several nodes are measured with.
pub(super) struct Nodes<'a> {
    /// The program of the server.
    pub binary: &'a Path,
    /// The program of Redis.
    pub redis: &'a Path,
    /// For the data of all.
    pub folder: &'a Path,
    pub extent: Extent,
    pub template: &'a Context,
}

impl Nodes<'_> {
    /// Measures the parts that are wanted.
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
        if wanted(Part::ReconnectStorm) {
            reconnect_storms(&mut two, extent, template, rows)?;
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
    let fast = compare(&mut sides, Pace::ClosedLoop(DEPTH), extent.rounds)?;
    let per_s = |side: &SideResult| side.median(|traffic| traffic.deliveries_per_s);
    for side in &fast {
        let name = format!("deliveries/s as fast as acknowledged, {}", side.name);
        rows.note(&name, "/s", per_s(side));
    }
    costs(&fast, "as fast as acknowledged", rows);
    let maximum = rows.known(MAXIMUM).unwrap_or_else(|| per_s(&fast[0]));
    let quarter = Pace::Rate(maximum / 4.0 / SHAPE.members as f64);
    let slow = compare(&mut sides, quarter, extent.rounds)?;
    costs(&slow, "at a quarter of the maximum", rows);
    messages(one, two, extent.rounds, template, rows)?;
    let [_, _, spread] = &slow[..] else { return Ok(()) };
    let latency = |name, value| (format!("delivery {name} at a quarter of the maximum"), value);
    for (name, value) in [
        latency("p50 on the writer's node", spread.median(|t| t.same_node.p50_ms)),
        latency("p50 on the other node", spread.median(|t| t.other_node.p50_ms)),
        latency("p99 on the writer's node", spread.median(|t| t.same_node.p99_ms)),
        latency("p99 on the other node", spread.median(|t| t.other_node.p99_ms)),
    ] {
        rows.note(&name, "ms", value);
    }
    rows.add(
        "crossing nodes adds at p99, at a quarter of the maximum",
        "ms",
        spread.median(|t| t.other_node.p99_ms - t.same_node.p99_ms),
        promise(5.0, 2.0),
    );
    // Each side's faults are counted from when it was opened.
    rows.faults += slow.iter().map(SideResult::faults).sum::<u64>();
    Ok(())
}

/// What a message costs that hardly anybody reads: two members, on both nodes where there are two.
/// The difference between the sides is a publication and its reception.
fn messages(one: &Installation, two: &Installation, rounds: Rounds, template: &Context, rows: &mut Rows) -> Result<()> {
    let mut sides = [
        Side::open("one node", one.context(template, &[0]), PAIRS)?,
        Side::open("one node of two, with Redis", two.context(template, &[0]), PAIRS)?,
        Side::open("two nodes, members on both", two.context(template, &[0, 1]), PAIRS)?,
    ];
    let found = compare(&mut sides, Pace::Rate(PAIRS_RATE), rounds)?;
    for side in &found {
        for (who, cost) in [
            ("nodes", side.median(|traffic| traffic.server_cpu_s_per_million)),
            ("PostgreSQL", side.median(|traffic| traffic.postgres_cpu_s_per_million)),
            ("Redis", side.median(|traffic| traffic.redis_cpu_s_per_million)),
        ] {
            // So many seconds per million deliveries are microseconds of one.
            let us = cost * PAIRS.members as f64;
            if us > 0.0 {
                let name = format!("CPU of {who} per message to two, {PAIRS_RATE}/s, {}", side.name);
                rows.note(&name, "µs", us);
            }
        }
    }
    rows.faults += found.iter().map(SideResult::faults).sum::<u64>();
    Ok(())
}

/// What a delivery costs on each side, and how many times what it costs one node without Redis.
fn costs(sides: &[SideResult], when: &str, rows: &mut Rows) {
    let cpu = |side: &SideResult| side.median(|traffic| traffic.server_cpu_s_per_million);
    for side in sides {
        let name = format!("server CPU s per million deliveries {when}, {}", side.name);
        rows.note(&name, "s", cpu(side));
        let redis = side.median(|traffic| traffic.redis_cpu_s_per_million);
        if redis > 0.0 {
            let name = format!("CPU s of Redis per million deliveries {when}, {}", side.name);
            rows.note(&name, "s", redis);
        }
    }
    for side in &sides[1..] {
        let name = format!("the same, times that of one node: {}, {when}", side.name);
        rows.add(&name, "×", cpu(side) / cpu(&sides[0]), promise(1.3, 1.15));
    }
}

fn resumes(two: &Installation, extent: Extent, template: &Context, rows: &mut Rows) -> Result<()> {
    let context = two.context(template, &[0, 1]);
    for (kind, took_ms) in resumes_across_nodes(&context, MISSED, extent.rounds.count + 2, &mut rows.faults)? {
        let place = match kind {
            ResumeNode::Same => "on the writer's node",
            ResumeNode::Other => "on the other node",
            ResumeNode::Cold => "on a node where it is cold",
        };
        let name = format!("resume over 10,000 missed changes, {place}");
        rows.add(&name, "ms", took_ms, promise(300.0, 150.0));
    }
    Ok(())
}

fn reconnect_storms(two: &mut Installation, extent: Extent, template: &Context, rows: &mut Rows) -> Result<()> {
    let runs = extent.runs.div_ceil(2);
    for killed in [KilledNode::Restarts, KilledNode::StaysAway] {
        let name = match killed {
            KilledNode::Restarts => "a node was killed and started again",
            KilledNode::StaysAway => "one of two nodes was killed",
        };
        let shape = StormShape {
            rooms: STORM_ROOMS,
            members: STORM_MEMBERS,
            rate: STORM_RATE,
        };
        let mut found = Vec::new();
        for _ in 0..runs {
            found.push(reconnect_storm::run(two, template, shape, killed)?);
            if killed == KilledNode::StaysAway {
                two.restart(0)?;
                two.wait_until_ready(0)?;
            }
        }
        rows.faults += found.iter().map(|storm| storm.faults).sum::<u64>();
        let of = |value: fn(&ReconnectStorm) -> f64| median(found.iter().map(value).collect()) / 1_000.0;
        let name_cpu = format!("CPU of the nodes per reader that reconnects, {name}");
        rows.note(
            &name_cpu,
            "µs",
            median(found.iter().map(|storm| storm.server_cpu_s_per_reader * 1e6).collect()),
        );
        let row = |what| format!("{} readers back after {name}, {what}", STORM_ROOMS * STORM_MEMBERS);
        rows.note(&row("p50"), "s", of(|storm| storm.recovered.p50_ms));
        rows.add(
            &row("the last one"),
            "s",
            of(|storm| storm.recovered.max_ms),
            promise(30.0, 10.0),
        );
    }
    Ok(())
}
