//! What people and programs read: a table on standard output, or one JSON line with `--json`;
//! progress on standard error.

use crate::measure::check::Faults;
use crate::measure::process::Cpu;
use crate::measure::stats::{Interval, percentile_ms};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Write;

/// Writes to standard error, without a line end. A run does not fail because nobody sees its
/// progress.
pub(crate) fn show_progress(text: &str) {
    let mut stderr = std::io::stderr().lock();
    drop(write!(stderr, "{text}").and_then(|()| stderr.flush()));
}

/// Writes a line of the result to standard output. That the reader has closed the pipe is no error.
pub(crate) fn print(line: &str) {
    drop(writeln!(std::io::stdout().lock(), "{line}"));
}

/// Percentiles of latencies, in milliseconds.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Latency {
    pub p50_ms: f64,
    pub p95_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
}

impl Latency {
    /// Reads them from a histogram in microseconds.
    pub(crate) fn of(histogram: &hdrhistogram::Histogram<u64>) -> Self {
        Self {
            p50_ms: percentile_ms(histogram, 50.0),
            p95_ms: percentile_ms(histogram, 95.0),
            p99_ms: percentile_ms(histogram, 99.0),
            max_ms: percentile_ms(histogram, 100.0),
        }
    }
}

/// The result of sending messages for a while.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Traffic {
    /// What was run, for people.
    pub profile: String,
    pub rooms: usize,
    /// Members of each room; all of them read.
    pub members: usize,
    /// How long was measured.
    pub seconds: f64,
    /// Messages due per second; none when as fast as acknowledgements allow.
    pub rate: Option<f64>,
    /// Messages received by readers, per second.
    pub deliveries_per_s: f64,
    /// Messages acknowledged, per second.
    pub acknowledged_per_s: f64,
    /// From send to delivery, wherever the reader is.
    pub delivery: Latency,
    /// Send to delivery to readers on the writer's node.
    pub same_node: Latency,
    /// Send to delivery to readers on other nodes.
    pub other_node: Latency,
    /// From send to acknowledgement.
    pub ack: Latency,
    /// The faults, as `check.rs` counts them.
    pub lost: u64,
    pub duplicate: u64,
    pub out_of_order: u64,
    pub mismatched: u64,
    /// CPU seconds of the server per million deliveries.
    pub server_cpu_s_per_million: f64,
    /// CPU seconds of PostgreSQL per million deliveries.
    pub postgres_cpu_s_per_million: f64,
    /// CPU seconds of Redis per million deliveries.
    pub redis_cpu_s_per_million: f64,
    /// CPU seconds of the proxy per million deliveries.
    pub proxy_cpu_s_per_million: f64,
    /// CPU seconds of this tool per million deliveries.
    pub tool_cpu_s_per_million: f64,
    /// The server's resident memory at the end, in bytes.
    pub server_rss_bytes: u64,
    /// Error codes of the server, with how often.
    pub refused: BTreeMap<String, u64>,
    /// How connections ended that should not have, with how often.
    pub closed: BTreeMap<String, u64>,
}

/// What belongs to an interval beside its counts.
pub(crate) struct Circumstances {
    /// What was run, for people.
    pub profile: String,
    pub rooms: usize,
    /// Members of each room; all of them read.
    pub members: usize,
    /// Messages due per second; none when as fast as acknowledgements allow.
    pub rate: Option<f64>,
    pub seconds: f64,
    /// What was used meanwhile.
    pub cpu: Cpu,
    pub server_rss_bytes: u64,
}

impl Traffic {
    pub(crate) fn new(interval: &Interval, faults: Faults, circumstances: Circumstances) -> Self {
        let per_million = |seconds: f64| seconds * 1e6 / (interval.deliveries.max(1) as f64);
        Self {
            profile: circumstances.profile,
            rooms: circumstances.rooms,
            members: circumstances.members,
            seconds: circumstances.seconds,
            rate: circumstances.rate,
            deliveries_per_s: interval.deliveries as f64 / circumstances.seconds,
            acknowledged_per_s: interval.acked as f64 / circumstances.seconds,
            delivery: Latency::of(&interval.delivery_us()),
            same_node: Latency::of(&interval.same_node_us),
            other_node: Latency::of(&interval.other_node_us),
            ack: Latency::of(&interval.ack_us),
            lost: faults.lost,
            duplicate: faults.duplicate,
            out_of_order: faults.out_of_order,
            mismatched: faults.mismatched,
            server_cpu_s_per_million: per_million(circumstances.cpu.server),
            postgres_cpu_s_per_million: per_million(circumstances.cpu.postgres),
            redis_cpu_s_per_million: per_million(circumstances.cpu.redis),
            proxy_cpu_s_per_million: per_million(circumstances.cpu.proxy),
            tool_cpu_s_per_million: per_million(circumstances.cpu.tool),
            server_rss_bytes: circumstances.server_rss_bytes,
            refused: interval.refused.clone(),
            closed: interval.closed.clone(),
        }
    }

    /// How often a guarantee was broken.
    pub(crate) fn faults(&self) -> u64 {
        self.lost + self.duplicate + self.out_of_order + self.mismatched
    }

    /// Whether every guarantee held.
    pub(crate) fn is_sound(&self) -> bool {
        self.faults() == 0
    }

    pub(crate) fn table(&self) -> String {
        let latency = |l: &Latency| {
            format!(
                "{:.1} / {:.1} / {:.1} / {:.1} ms",
                l.p50_ms, l.p95_ms, l.p99_ms, l.max_ms
            )
        };
        let rate = self
            .rate
            .map_or("as fast as acknowledged".into(), |rate| format!("{rate:.0} messages/s"));
        let mut rows = vec![
            (
                self.profile.as_str(),
                format!(
                    "{} rooms × {} members, {rate}, {:.1} s",
                    self.rooms, self.members, self.seconds
                ),
            ),
            (
                "deliveries",
                format!(
                    "{:.0} /s ({:.0} messages/s acknowledged)",
                    self.deliveries_per_s, self.acknowledged_per_s
                ),
            ),
            ("delivery p50/p95/p99/max", latency(&self.delivery)),
            ("append to ack p50/p95/p99/max", latency(&self.ack)),
            (
                "lost, duplicate, out of order, mismatched",
                format!(
                    "{}, {}, {}, {}",
                    self.lost, self.duplicate, self.out_of_order, self.mismatched
                ),
            ),
            (
                "CPU s per million deliveries",
                format!(
                    "server {:.2}, PostgreSQL {:.2}, this tool {:.2}",
                    self.server_cpu_s_per_million, self.postgres_cpu_s_per_million, self.tool_cpu_s_per_million
                ),
            ),
            (
                "server memory",
                format!("{:.1} MiB", self.server_rss_bytes as f64 / 1_048_576.0),
            ),
        ];
        if !self.refused.is_empty() {
            rows.push(("refused", format!("{:?}", self.refused)));
        }
        if !self.closed.is_empty() {
            rows.push(("connections ended", format!("{:?}", self.closed)));
        }
        table(&rows)
    }
}

/// Lines of a name and a value, aligned.
pub(crate) fn table(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    rows.iter()
        .map(|(name, value)| format!("  {name:<width$}  {value}"))
        .collect::<Vec<_>>()
        .join("\n")
}
