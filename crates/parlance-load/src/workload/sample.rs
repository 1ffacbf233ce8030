//! What was counted and used in each interval of a workload, and the live line that shows it.

use super::action::Action;
use super::board::{Board, Counts};
use crate::context::Context;
use crate::error::Result;
use crate::measure::metrics::Scrape;
use crate::measure::process::Cpu;
use crate::measure::stats::percentile_ms;
use serde::Serialize;
use std::time::{Duration, Instant};

/// One interval.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Sample {
    /// Its end, in seconds since the start.
    pub(super) at_s: f64,
    /// Actions per second.
    pub(super) rate: f64,
    /// Messages of others that came over sockets, per second.
    pub(super) deliveries: f64,
    pub(super) p50_ms: f64,
    pub(super) p95_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) errors: u64,
    /// Of one core, in percent.
    pub(super) server_cpu: f64,
    pub(super) postgres_cpu: f64,
    pub(super) memory_mib: f64,
    /// Of the cache, in percent; none when nothing was looked up.
    pub(super) hit_rate: Option<f64>,
}

/// Takes samples one after another.
pub(super) struct Sampler<'a> {
    context: &'a Context,
    board: &'a Board,
    began: Instant,
    last: Instant,
    cpu: Cpu,
    scrape: Scrape,
    /// Everything since the last call of [`Sampler::begin`].
    pub(super) counted: Counts,
    first_scrape: Scrape,
    pub(super) samples: Vec<Sample>,
}

impl<'a> Sampler<'a> {
    pub(super) fn new(context: &'a Context, board: &'a Board) -> Result<Self> {
        let now = Instant::now();
        Ok(Self {
            context,
            board,
            began: now,
            last: now,
            cpu: context.processes.cpu(),
            scrape: Scrape::of(context.address())?,
            counted: Counts::new()?,
            first_scrape: Scrape::of(context.address())?,
            samples: Vec::new(),
        })
    }

    /// From here on it counts for the verdict.
    pub(super) fn begin(&mut self) -> Result<()> {
        self.counted = Counts::new()?;
        self.first_scrape = Scrape::of(self.context.address())?;
        Ok(())
    }

    /// Ends an interval.
    pub(super) fn take(&mut self) -> Result<()> {
        let counts = self.board.drain()?;
        let now = Instant::now();
        let seconds = now.duration_since(self.last).as_secs_f64().max(1e-3);
        let (cpu, scrape) = (self.context.processes.cpu(), Scrape::of(self.context.address())?);
        let used = cpu.since(self.cpu);
        let all = counts.all()?;
        self.samples.push(Sample {
            at_s: now.duration_since(self.began).as_secs_f64(),
            rate: counts.done() as f64 / seconds,
            deliveries: counts.deliveries as f64 / seconds,
            p50_ms: percentile_ms(&all, 50.0),
            p95_ms: percentile_ms(&all, 95.0),
            p99_ms: percentile_ms(&all, 99.0),
            errors: counts.failures(),
            server_cpu: used.server / seconds * 100.0,
            postgres_cpu: used.postgres / seconds * 100.0,
            memory_mib: self.context.processes.resident_bytes()? as f64 / 1_048_576.0,
            hit_rate: scrape.hit_rate_since(&self.scrape).map(|rate| rate * 100.0),
        });
        self.counted.add(&counts);
        (self.last, self.cpu, self.scrape) = (now, cpu, scrape);
        Ok(())
    }

    /// The share of look-ups that the cache served since the beginning, in percent.
    pub(super) fn hit_rate(&self) -> Option<f64> {
        self.scrape.hit_rate_since(&self.first_scrape).map(|rate| rate * 100.0)
    }

    /// What is going on, on one line.
    pub(super) fn show(&self, users: usize, left: Duration) {
        if let Some(sample) = self.samples.last() {
            self.context.show(&format!(
                "\r  {users:>3} users  {:>6.0} actions/s  {:>6.0} deliveries/s  p95 {:>6.1} ms  {} errors  \
                 server {:>3.0} %  {:>4.0} MiB  {} s left\x1b[K",
                sample.rate,
                sample.deliveries,
                sample.p95_ms,
                self.samples.iter().map(|sample| sample.errors).sum::<u64>(),
                sample.server_cpu,
                sample.memory_mib,
                left.as_secs()
            ));
        }
    }
}

/// The numbers of one action, for the table.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ActionRow {
    pub(super) action: &'static str,
    pub(super) done: u64,
    pub(super) failed: u64,
    pub(super) p50_ms: f64,
    pub(super) p95_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) max_ms: f64,
}

/// A row for each action, and one for all.
pub(super) fn rows(counts: &Counts) -> Result<Vec<ActionRow>> {
    let row = |action, histogram: &hdrhistogram::Histogram<u64>, failed| ActionRow {
        action,
        done: histogram.len(),
        failed,
        p50_ms: percentile_ms(histogram, 50.0),
        p95_ms: percentile_ms(histogram, 95.0),
        p99_ms: percentile_ms(histogram, 99.0),
        max_ms: percentile_ms(histogram, 100.0),
    };
    let mut rows: Vec<ActionRow> = Action::ALL
        .into_iter()
        .map(|action| {
            row(
                action.as_str(),
                &counts.latencies[action.index()],
                counts.failed[action.index()],
            )
        })
        .filter(|row| row.done + row.failed > 0)
        .collect();
    rows.push(row("all", &counts.all()?, counts.failures()));
    Ok(rows)
}
