//! The profile about a reconnect storm: thousands of readers connect again at once.
//!
//! A node is killed under them while people go on writing. It is started again, or it stays away
//! and its readers go to another node. Readers keep to the protocol: they try again after a random,
//! growing time. The number of connections in the act of connecting is not bounded here, because
//! that is what is asked. A reader has recovered when it is subscribed again, which comes after
//! everything that it missed. At the end everybody must have everything, once and in order.

use crate::context::Context;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::installation::nodes::Installation;
use crate::measure::report::{Latency, show_progress};
use crate::measure::stats::histogram;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How many readers there are, and how much is written meanwhile.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StormShape {
    pub rooms: usize,
    /// Members of each on the node that is killed.
    pub members: usize,
    /// Messages per second over all rooms.
    pub rate: f64,
}

/// What becomes of the node after it was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KilledNode {
    /// It is started again at once.
    Restarts,
    /// It stays away; there is another one.
    StaysAway,
}

/// What the storm cost and how long it took.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ReconnectStorm {
    /// Readers whose connection broke.
    pub cut: usize,
    /// From the kill until a reader was subscribed again and had what it had missed.
    pub recovered: Latency,
    /// Attempts to connect that failed, and connections that ended: how, and how often.
    pub closed: BTreeMap<String, u64>,
    /// CPU seconds of the nodes that are there afterwards, for each reader that came back.
    pub server_cpu_s_per_reader: f64,
    /// Messages that were lost, doubled, reordered or swapped.
    pub faults: u64,
}

/// Kills the first node under its readers and waits until all have recovered.
pub(crate) fn run(
    installation: &mut Installation,
    template: &Context,
    shape: StormShape,
    killed: KilledNode,
) -> Result<ReconnectStorm> {
    let numbers: Vec<usize> = (0..installation.nodes.len()).collect();
    let mut context = installation.context(template, &numbers);
    let others = shape.members / 10;
    let mut engine = context.engine(shape.rooms, others + shape.members, 128)?;
    for member in 0..engine.len() {
        // The first of each room, who write, are elsewhere and go on.
        let is_other = member % (others + shape.members) < others;
        engine.move_to_node(member, usize::from(is_other));
    }
    engine.open(0..engine.len(), context.patience)?;
    engine.choose_writers(1);
    engine.write_at_rate(shape.rate);
    engine.run_for(Duration::from_secs(1))?;
    engine.take_interval()?;
    engine.connect_without_limit();
    let readers: Vec<usize> = (0..engine.len())
        .filter(|at| engine.connection(*at).node == 0)
        .collect();
    let killed_ns = engine.run.now_ns();
    installation.kill(0)?;
    if killed == KilledNode::Restarts {
        installation.restart(0)?;
    }
    context = installation.context(template, &numbers);
    let before = context.processes.cpu();
    let deadline = Instant::now() + context.patience;
    engine.run_until(deadline, |engine| {
        engine.run.live == engine.len()
            && readers
                .iter()
                .all(|at| engine.connection(*at).subscribed_ns > killed_ns)
    })?;
    let cpu = context.processes.cpu().since(before);
    let late = readers
        .iter()
        .filter(|at| engine.connection(**at).subscribed_ns <= killed_ns)
        .count();
    if late > 0 {
        let closed = engine.take_interval()?.closed;
        let what = format!("{late} of {} readers having recovered ({closed:?})", readers.len());
        return Err(Error::Timeout(what, context.patience.as_secs()));
    }
    engine.drain(context.patience)?;
    let storm = ReconnectStorm {
        cut: readers.len(),
        recovered: recovered(&engine, &readers, killed_ns)?,
        closed: engine.take_interval()?.closed,
        server_cpu_s_per_reader: cpu.server / readers.len().max(1) as f64,
        faults: engine.faults().total(),
    };
    if template.progress {
        show_progress(&format!(
            "  {} readers cut: recovered after p50 {:.0}, p99 {:.0}, max {:.0} ms; server CPU {:.0} µs each; {:?}\x1b[K\n",
            storm.cut,
            storm.recovered.p50_ms,
            storm.recovered.p99_ms,
            storm.recovered.max_ms,
            storm.server_cpu_s_per_reader * 1e6,
            storm.closed
        ));
    }
    Ok(storm)
}

fn recovered(engine: &Engine, readers: &[usize], killed_ns: u64) -> Result<Latency> {
    let mut recovered_us = histogram()?;
    for at in readers {
        let took_ns = engine.connection(*at).subscribed_ns.saturating_sub(killed_ns);
        recovered_us.saturating_record((took_ns / 1_000).max(1));
    }
    Ok(Latency::of(&recovered_us))
}
