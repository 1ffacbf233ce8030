//! The profile about everybody coming back at once: a node is killed under thousands of connected readers while people go
//! on writing, and is started again; or one of two nodes is killed, and its readers go to the other one.
//!
//! Readers keep to the protocol: they try again after a random, growing time. The number of connections in the act of
//! connecting is not bounded here, because that is what is asked. A reader is whole when it is subscribed again, which
//! comes after everything it missed; at the end everybody must have everything, once and in order.

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::nodes::Installation;
use crate::profiles::Context;
use crate::report::{Latency, say};
use crate::stats::histogram;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How many there are and how much is written meanwhile.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Conversations.
    pub rooms: usize,
    /// Members of each on the node that is killed.
    pub members: usize,
    /// Messages per second over all rooms.
    pub rate: f64,
}

/// What happens to the readers' node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is killed and started again at once.
    Restarted,
    /// It is killed and stays away; there is another one.
    Gone,
}

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Herd {
    /// Readers whose connection broke.
    pub cut: usize,
    /// From the kill until a reader was subscribed again and had what it had missed.
    pub whole: Latency,
    /// Attempts to connect that failed, and connections that ended: how, and how often.
    pub closed: BTreeMap<String, u64>,
    /// CPU seconds of the nodes that are there afterwards, for each reader that came back.
    pub server_cpu_s_per_reader: f64,
    /// Messages lost, doubled, reordered or swapped.
    pub faults: u64,
}

/// Kills the first node under the herd and waits until all are whole.
pub(crate) fn herd(installation: &mut Installation, template: &Context, shape: Shape, fate: Fate) -> Result<Herd> {
    let numbers: Vec<usize> = (0..installation.nodes.len()).collect();
    let mut context = installation.context(template, &numbers);
    let others = shape.members / 10;
    let mut engine = context.engine(shape.rooms, others + shape.members, 128)?;
    for member in 0..engine.len() {
        // The first of each room, who write, are elsewhere and go on.
        let is_other = member % (others + shape.members) < others;
        engine.place(member, usize::from(is_other));
    }
    engine.open(0..engine.len(), context.patience)?;
    engine.appoint_writers(1);
    engine.write_at_rate(shape.rate);
    engine.run_for(Duration::from_secs(1))?;
    engine.take_interval()?;
    engine.admit_all();
    let readers: Vec<usize> = (0..engine.len()).filter(|at| engine.conn(*at).node == 0).collect();
    let killed_ns = engine.shared.now_ns();
    installation.kill(0)?;
    if fate == Fate::Restarted {
        installation.begin(0)?;
    }
    context = installation.context(template, &numbers);
    let before = context.processes.cpu();
    let deadline = Instant::now() + context.patience;
    engine.run_until(deadline, |engine| {
        engine.shared.live == engine.len() && readers.iter().all(|at| engine.conn(*at).subscribed_ns > killed_ns)
    })?;
    let cpu = context.processes.cpu().since(before);
    let late = readers
        .iter()
        .filter(|at| engine.conn(**at).subscribed_ns <= killed_ns)
        .count();
    if late > 0 {
        let closed = engine.take_interval()?.closed;
        let what = format!("{late} of {} readers being whole again ({closed:?})", readers.len());
        return Err(Error::Timeout(what, context.patience.as_secs()));
    }
    engine.drain(context.patience)?;
    let herd = Herd {
        cut: readers.len(),
        whole: whole(&engine, &readers, killed_ns)?,
        closed: engine.take_interval()?.closed,
        server_cpu_s_per_reader: cpu.server / readers.len().max(1) as f64,
        faults: engine.faults().total(),
    };
    if template.progress {
        say(&format!(
            "  {} readers cut: whole after p50 {:.0}, p99 {:.0}, max {:.0} ms; server CPU {:.0} µs each; {:?}\x1b[K\n",
            herd.cut,
            herd.whole.p50_ms,
            herd.whole.p99_ms,
            herd.whole.max_ms,
            herd.server_cpu_s_per_reader * 1e6,
            herd.closed
        ));
    }
    Ok(herd)
}

fn whole(engine: &Engine, readers: &[usize], killed_ns: u64) -> Result<Latency> {
    let mut whole_us = histogram()?;
    for at in readers {
        let took_ns = engine.conn(*at).subscribed_ns.saturating_sub(killed_ns);
        whole_us.saturating_record((took_ns / 1_000).max(1));
    }
    Ok(Latency::of(&whole_us))
}
