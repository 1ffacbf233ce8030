//! A whole workload: a fresh server, its workspace, the users, and the report.

use super::action::date;
use super::board::Board;
use super::cast;
use super::page::page;
use super::sample::{ActionRow, Sample, Sampler, rows};
use super::size::{Extent, Size};
use super::user::{Stage, act};
use super::verdict::{Check, Measured, judge};
use crate::context::Context;
use crate::error::{Error, Result, io};
use crate::installation::server::{Server, ServerPlan};
use crate::measure::process::Processes;
use crate::measure::report::{print, show_progress};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Samples of a report; longer intervals where a run is long.
const SAMPLES_MAX: u64 = 900;
/// Shortest run: below it nothing is left after the ramp.
const DURATION_MIN_S: u64 = 6;

/// The arguments of `parlance-load profile`.
#[derive(Debug, clap::Args)]
pub(crate) struct WorkloadArguments {
    /// How large the workspace is, and for how long it works.
    #[arg(value_enum)]
    pub size: Size,
    /// The program of the server.
    #[arg(long)]
    pub server: PathBuf,
    /// A folder for its data, made if missing.
    #[arg(long)]
    pub data: PathBuf,
    /// Where to write the report for a browser.
    #[arg(long)]
    pub html: PathBuf,
    /// Seconds of work, instead of those of the size.
    #[arg(long, value_parser = clap::value_parser!(u64).range(DURATION_MIN_S..))]
    pub duration: Option<u64>,
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    pub(super) profile: &'static str,
    pub(super) users: usize,
    pub(super) seconds: f64,
    /// After everybody was there.
    pub(super) counted_seconds: f64,
    /// Whether programs have asked for numbers of the workspace.
    pub(super) analytics: bool,
    pub(super) checks: Vec<Check>,
    pub(super) actions: Vec<ActionRow>,
    pub(super) errors: BTreeMap<String, u64>,
    pub(super) samples: Vec<Sample>,
}

impl Report {
    pub(super) fn is_kept(&self) -> bool {
        self.checks.iter().all(|check| check.is_kept)
    }

    /// The report without what it says for each interval.
    fn json_line(&self) -> String {
        let brief = Self {
            samples: Vec::new(),
            ..self.clone()
        };
        serde_json::to_string(&brief).unwrap_or_default()
    }

    fn table(&self) -> String {
        let mut table = format!(
            "\n{:<10} {:>9} {:>7} {:>9} {:>9} {:>9} {:>9}\n",
            "action", "done", "failed", "p50 ms", "p95 ms", "p99 ms", "max ms"
        );
        for row in &self.actions {
            writeln!(
                table,
                "{:<10} {:>9} {:>7} {:>9.2} {:>9.2} {:>9.2} {:>9.2}",
                row.action, row.done, row.failed, row.p50_ms, row.p95_ms, row.p99_ms, row.max_ms
            )
            .unwrap_or_default();
        }
        table.push('\n');
        for check in &self.checks {
            let word = if check.is_kept { "kept" } else { "BROKEN" };
            writeln!(
                table,
                "{:<16} {:<14} {:>12}  {word}",
                check.name, check.promised, check.measured
            )
            .unwrap_or_default();
        }
        for (error, n) in &self.errors {
            writeln!(table, "{n} × {error}").unwrap_or_default();
        }
        if !self.analytics {
            table.push_str("This server has no analytics; programs listed conversations instead.\n");
        }
        table
    }
}

/// Runs a workload against a server that it starts; true when every promise was kept.
pub(crate) fn run(arguments: &WorkloadArguments, json: bool, template: &Context) -> Result<bool> {
    let mut extent = arguments.size.extent();
    if let Some(seconds) = arguments.duration {
        extent.duration = Duration::from_secs(seconds);
    }
    std::fs::create_dir_all(&arguments.data).map_err(io("data folder"))?;
    let server = Server::start(&ServerPlan::alone(&arguments.server, &arguments.data.join("data")))?;
    let context = Context {
        addresses: vec![server.address],
        processes: Processes::new(Some(server.pid()), None)?,
        ..template.clone()
    };
    let report = work(arguments.size, &extent, &context)?;
    server.stop()?;
    std::fs::write(&arguments.html, page(&report)).map_err(io("the report"))?;
    if !json {
        print(&report.table());
    }
    print(&report.json_line());
    show_progress(&format!("The report is at {}\n", arguments.html.display()));
    Ok(report.is_kept())
}

fn work(size: Size, extent: &Extent, context: &Context) -> Result<Report> {
    context.show(&format!("  signing up {} users\x1b[K\r", extent.users()));
    let cast = cast::make(context.address(), extent)?;
    let board = Board::new()?;
    let (began, ramp) = (Instant::now(), extent.ramp());
    let stage = Stage {
        address: context.address(),
        board: &board,
        analytics_key: cast.analytics_key.as_deref(),
        today: date(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()),
        ends_at: began + extent.duration,
    };
    let mut sampler = Sampler::new(context, &board)?;
    let users = std::thread::scope(|scope| {
        let threads: Vec<_> = cast
            .users
            .iter()
            .enumerate()
            .map(|(n, user)| {
                let begins_at = began + ramp.mul_f64(n as f64 / cast.users.len() as f64);
                let stage = &stage;
                scope.spawn(move || act(user, stage, begins_at))
            })
            .collect();
        let watched = watch(&mut sampler, extent, began, ramp);
        for thread in threads {
            thread
                .join()
                .unwrap_or_else(|_| Err(Error::Protocol("a user's thread panicked".into())))?;
        }
        watched
    });
    users?;
    context.show("\r\x1b[K");
    let counts = &sampler.counted;
    let actions = rows(counts)?;
    let p95_ms = actions.last().map_or(0.0, |all| all.p95_ms);
    let measured = Measured {
        done: counts.done(),
        failed: counts.failures(),
        p95_ms,
        hit_rate: sampler.hit_rate(),
    };
    Ok(Report {
        profile: size.as_str(),
        users: extent.users(),
        seconds: extent.duration.as_secs_f64(),
        counted_seconds: (extent.duration - ramp).as_secs_f64(),
        analytics: cast.analytics_key.is_some(),
        checks: judge(extent, measured),
        actions,
        errors: counts.errors.clone(),
        samples: sampler.samples,
    })
}

/// Takes samples until the end; what is before the end of the ramp is not judged.
fn watch(sampler: &mut Sampler<'_>, extent: &Extent, began: Instant, ramp: Duration) -> Result<()> {
    let interval = Duration::from_secs((extent.duration.as_secs() / SAMPLES_MAX).max(1));
    let ends_at = began + extent.duration;
    let mut is_ramping = true;
    let mut next = began;
    while next < ends_at {
        next = (next + interval).min(ends_at);
        rest_until(next);
        sampler.take()?;
        if is_ramping && began.elapsed() >= ramp {
            is_ramping = false;
            sampler.begin()?;
        }
        let there = (began.elapsed().as_secs_f64() / ramp.as_secs_f64().max(0.001)).min(1.0);
        sampler.show(
            (extent.users() as f64 * there) as usize,
            ends_at.saturating_duration_since(next),
        );
    }
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "the tool's first thread has nothing else to do until the next sample"
)]
fn rest_until(until: Instant) {
    std::thread::sleep(until.saturating_duration_since(Instant::now()));
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::workload) fn report() -> Report {
        let extent = Size::Light.extent();
        let measured = Measured {
            done: 500,
            failed: 1,
            p95_ms: 4.0,
            hit_rate: Some(97.0),
        };
        let sample = |at_s: f64| Sample {
            at_s,
            rate: 40.0 + at_s,
            deliveries: 80.0,
            p50_ms: 1.0,
            p95_ms: 4.0,
            p99_ms: 9.0,
            errors: 0,
            server_cpu: 12.0,
            postgres_cpu: 9.0,
            memory_mib: 60.0,
            hit_rate: (at_s > 2.0).then_some(97.0),
        };
        let row = |action| ActionRow {
            action,
            done: 250,
            failed: 0,
            p50_ms: 1.0,
            p95_ms: 4.0,
            p99_ms: 9.0,
            max_ms: 12.0,
        };
        Report {
            profile: Size::Light.as_str(),
            users: extent.users(),
            seconds: 10.0,
            counted_seconds: 8.0,
            analytics: true,
            checks: judge(&extent, measured),
            actions: vec![row("history"), row("all")],
            errors: BTreeMap::from([("search: <b>".to_owned(), 1)]),
            samples: (1..10).map(|n| sample(f64::from(n))).collect(),
        }
    }

    #[test]
    fn an_error_breaks_our_promise_and_the_line_is_one() {
        let report = report();
        assert!(!report.is_kept());
        assert!(report.table().contains("BROKEN"));
        assert!(!report.json_line().contains('\n') && report.json_line().contains("\"samples\":[]"));
    }
}
