//! The profiles about connections rather than messages: how they open and what they cost (`idle`),
//! how they resume (`churn`).

use crate::context::Context;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::measure::report::{Latency, table};
use crate::measure::stats::{histogram, median};
use serde::Serialize;
use std::time::{Duration, Instant};

/// The result of `idle`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Idle {
    /// Those that were subscribed.
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
    pub(crate) fn table(&self) -> String {
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
pub(crate) fn idle(context: &Context, connections: usize, members: usize, hold: Duration) -> Result<Idle> {
    let rooms = connections.div_ceil(members) + 1;
    let mut engine = context.engine(rooms, members, 128)?;
    // The first room pays for what the server allocates once; then the memory of the others is
    // theirs.
    engine.open(0..members, context.patience)?;
    engine.run_for(Duration::from_millis(500))?;
    let (rss, cpu) = (context.processes.resident_bytes()?, context.processes.cpu());
    engine.run.opened_us = histogram()?;
    let took = engine.open(members..members + connections, context.patience)?;
    let used = context.processes.cpu().since(cpu);
    engine.run_for(Duration::from_secs(1))?;
    let full = context.processes.resident_bytes()?;
    let (cpu, since) = (context.processes.cpu(), Instant::now());
    engine.run_for(hold)?;
    let idle = context.processes.cpu().since(cpu);
    context.show("\x1b[K");
    Ok(Idle {
        connections,
        opened_per_s: connections as f64 / took.as_secs_f64(),
        open: Latency::of(&engine.run.opened_us),
        server_bytes_per_connection: full.saturating_sub(rss) as f64 / connections as f64,
        server_rss_bytes: full,
        server_cpu_s_per_thousand: used.server * 1_000.0 / connections as f64,
        server_cpu_s_idle: idle.server / since.elapsed().as_secs_f64(),
    })
}

/// The result of `churn`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Churn {
    /// Changes missed before each resume.
    pub missed: u64,
    /// How often someone resumed.
    pub rounds: usize,
    /// From `subscribe` to `subscribed` with everything missed in between.
    pub resume: Latency,
    /// From connect to `subscribed`.
    pub reconnect: Latency,
    /// Missed changes that did not come, came twice or in another order.
    pub faults: u64,
}

impl Churn {
    pub(crate) fn table(&self) -> String {
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
pub(crate) fn churn(context: &Context, missed: u64, rounds: usize) -> Result<Churn> {
    // Member 0 writes and stays; each of the others was there before, left, missed everything and
    // comes back once.
    let mut engine = context.engine(1, rounds + 1, 128)?;
    engine.open(0..rounds + 1, context.patience)?;
    engine.choose_writers(1);
    for member in 1..=rounds {
        engine.close(member);
    }
    engine.run.opened_us = histogram()?;
    engine.run.subscribed_us = histogram()?;
    write_alone(&mut engine, missed, context.patience)?;
    let mut faults = 0;
    for member in 1..=rounds {
        engine.open(member..member + 1, context.patience)?;
        let replayed = engine.connection(member).replayed;
        faults += replayed.abs_diff(missed);
        engine.close(member);
    }
    context.show("\x1b[K");
    Ok(Churn {
        missed,
        rounds,
        resume: Latency::of(&engine.run.subscribed_us),
        reconnect: Latency::of(&engine.run.opened_us),
        faults: faults + engine.faults().total(),
    })
}

/// Where someone resumes after having missed messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResumeNode {
    /// The node on which the messages were written.
    Same,
    /// Another node, on which others are subscribed to the conversation.
    Other,
    /// Another node, on which nobody has been subscribed for a while.
    Cold,
}

/// How long everybody is away from a node before it is cold. Its `PARLANCE_PASSIVATE_AFTER` is
/// less.
const COLD_AFTER: Duration = Duration::from_millis(2_500);

/// Members of one conversation on two nodes who come back to either. The median, in milliseconds,
/// from `subscribe` until they have everything. Faults are added to the count given.
pub(crate) fn resumes_across_nodes(
    context: &Context,
    missed: u64,
    rounds: usize,
    faults: &mut u64,
) -> Result<Vec<(ResumeNode, f64)>> {
    let kinds = [ResumeNode::Same, ResumeNode::Other, ResumeNode::Cold];
    // Member 0 writes on the first node, member 1 listens on the second; each of the others was
    // there before, left, missed everything and comes back once.
    let mut engine = context.engine(1, 2 + kinds.len() * rounds, 128)?;
    for member in 2..engine.len() {
        engine.move_to_node(member, 0);
    }
    engine.open(0..engine.len(), context.patience)?;
    engine.choose_writers(1);
    (2..engine.len()).for_each(|member| engine.close(member));
    write_alone(&mut engine, missed, context.patience)?;
    let mut found = Vec::new();
    let mut member = 2;
    for kind in kinds {
        let mut took_ms = Vec::new();
        if kind == ResumeNode::Cold {
            engine.close(1);
        }
        for _ in 0..rounds {
            if kind == ResumeNode::Cold {
                engine.run_for(COLD_AFTER)?;
            }
            engine.move_to_node(member, usize::from(kind != ResumeNode::Same));
            engine.run.subscribed_us = histogram()?;
            engine.open(member..member + 1, context.patience)?;
            took_ms.push(Latency::of(&engine.run.subscribed_us).max_ms);
            *faults += engine.connection(member).replayed.abs_diff(missed);
            engine.close(member);
            member += 1;
        }
        context.show(&format!("  {kind:?}: {took_ms:.1?} ms\x1b[K\n"));
        found.push((kind, median(took_ms)));
    }
    *faults += engine.faults().total();
    Ok(found)
}

/// Writes while the others are away. It does not wait for what they are missing.
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
