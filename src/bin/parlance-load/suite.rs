//! The whole measurement: a fresh server, every profile, one table beside what the project promises.
//!
//! The short round (what `make load` runs) takes about a minute and shows that every profile works; `--full` takes
//! every number as the median of five, which is what the promises are judged by.

use crate::error::Result;
use crate::process::Processes;
use crate::profiles::{self, Context, Pace, Shape};
use crate::report::{Traffic, print, say};
use crate::rest;
use crate::server::Server;
use crate::visits;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A steady load that a small installation has: 10 rooms × 100 members × 20 messages/s in all rooms per 100 readers.
const STEADY_RATE: f64 = 200.0;
/// REST requests per second: two and a half times what a busy installation is expected to get.
const REST_RATE: f64 = 500.0;

/// How thorough the suite is.
#[derive(Clone, Copy)]
struct Extent {
    runs: usize,
    step: Duration,
    measured: Duration,
    idle: usize,
    resumes: usize,
}

const SHORT: Extent = Extent {
    runs: 1,
    step: Duration::from_secs(2),
    measured: Duration::from_secs(5),
    idle: 3_000,
    resumes: 20,
};

const FULL: Extent = Extent {
    runs: 5,
    step: Duration::from_secs(3),
    measured: Duration::from_secs(10),
    idle: 5_000,
    resumes: 40,
};

/// One line of the table: what was measured and what is promised.
#[derive(Clone, Debug, Serialize)]
struct Row {
    name: String,
    unit: &'static str,
    median: f64,
    runs: Vec<f64>,
    must: f64,
    aim: f64,
    more_is_better: bool,
}

impl Row {
    fn verdict(&self) -> &'static str {
        let reaches = |bound: f64| {
            if self.more_is_better {
                self.median >= bound
            } else {
                self.median <= bound
            }
        };
        if reaches(self.aim) {
            "aim"
        } else if reaches(self.must) {
            "must"
        } else {
            "MISSED"
        }
    }
}

#[derive(Default)]
struct Rows {
    rows: Vec<Row>,
    faults: u64,
}

impl Rows {
    fn add(&mut self, name: &str, unit: &'static str, value: f64, (must, aim): (f64, f64)) {
        if let Some(row) = self.rows.iter_mut().find(|row| row.name == name) {
            row.runs.push(value);
            let mut sorted = row.runs.clone();
            sorted.sort_by(f64::total_cmp);
            row.median = sorted[sorted.len() / 2];
            return;
        }
        self.rows.push(Row {
            name: name.into(),
            unit,
            median: value,
            runs: vec![value],
            must,
            aim,
            more_is_better: aim > must,
        });
    }

    fn sound(&mut self, traffic: &Traffic) {
        self.faults += traffic.lost + traffic.duplicate + traffic.out_of_order + traffic.mismatched;
    }

    fn table(&self) -> String {
        let mut lines = vec![format!("  {:<58} {:>12} {:>12} {:>12}", "", "median", "must", "aim")];
        for row in &self.rows {
            let digits = if row.aim.max(row.must) >= 100.0 { 0 } else { 2 };
            lines.push(format!(
                "  {:<58} {:>12.digits$} {:>12.digits$} {:>12.digits$}  {}",
                format!("{} ({})", row.name, row.unit),
                row.median,
                row.must,
                row.aim,
                row.verdict()
            ));
        }
        lines.push(format!(
            "  lost, duplicate, out of order or mismatched: {}",
            self.faults
        ));
        lines.join("\n")
    }
}

/// Runs the suite against servers it starts; true when no guarantee was broken.
pub(crate) fn run(binary: &Path, data_root: &Path, full: bool, json: bool, template: &Context) -> Result<bool> {
    let extent = if full { FULL } else { SHORT };
    let data_dir: PathBuf = data_root.join("data");
    let mut rows = Rows::default();
    let server = Server::start(binary, &data_dir)?;
    let context = Context {
        address: server.address,
        processes: Processes::new(Some(server.pid()), None)?,
        ..template.clone()
    };
    for run in 1..=extent.runs {
        if template.progress {
            say(&format!("run {run} of {}\x1b[K\n", extent.runs));
        }
        maxima(&context, extent, &mut rows)?;
        steady(&context, extent, &mut rows)?;
        resumes(&context, extent, &mut rows)?;
        requests(&context, extent, &mut rows)?;
    }
    server.stop()?;
    for _ in 0..extent.runs {
        let server = Server::start(binary, &data_dir)?;
        rows.add(
            "start to ready, existing data",
            "s",
            server.ready_after.as_secs_f64(),
            (1.5, 0.7),
        );
        // A server that has talked before has memory to spare, which would hide what connections cost.
        let context = Context {
            address: server.address,
            processes: Processes::new(Some(server.pid()), None)?,
            ..template.clone()
        };
        idle(&context, extent, &mut rows)?;
        server.stop()?;
    }
    print(&if json {
        serde_json::json!({"rows": rows.rows, "faults": rows.faults}).to_string()
    } else {
        rows.table()
    });
    Ok(rows.faults == 0)
}

fn maxima(context: &Context, extent: Extent, rows: &mut Rows) -> Result<()> {
    let shapes = [
        (10, 100, 300_000.0, 1_000_000.0),
        (100, 10, 100_000.0, 200_000.0),
        (1, 1_000, 300_000.0, 1_000_000.0),
    ];
    for (n_rooms, members, must, aim) in shapes {
        let name = format!("deliveries/s, {n_rooms} × {members}");
        // A writer's window is 32, so a single room needs more writers than ten do.
        let writers = (40 / n_rooms).clamp(1, 20);
        let shape = Shape {
            rooms: n_rooms,
            members,
            writers,
            body: 128,
        };
        let known = rows
            .rows
            .iter()
            .find(|row| row.name == name)
            .map(|row| row.median / members as f64);
        let first_rate = known.map_or(must / members as f64 / 2.0, |rate| rate * 0.7);
        let best = profiles::storm(context, shape, first_rate, extent.step)?;
        rows.sound(&best);
        rows.add(&name, "/s", best.deliveries_per_s, (must, aim));
        let cpu = format!("server CPU s per million deliveries at that, {n_rooms} × {members}");
        rows.add(&cpu, "s", best.server_cpu_s_per_million, (4.0, 1.5));
        if n_rooms == 10 {
            let half = Pace::Rate(best.deliveries_per_s / members as f64 / 2.0);
            let half = profiles::fanout(context, shape, half, Duration::from_secs(2), extent.measured)?;
            rows.sound(&half);
            rows.add(
                "delivery p50 at half of the maximum, 10 × 100",
                "ms",
                half.delivery.p50_ms,
                (10.0, 4.0),
            );
            rows.add(
                "delivery p99 at half of the maximum, 10 × 100",
                "ms",
                half.delivery.p99_ms,
                (40.0, 15.0),
            );
        }
    }
    Ok(())
}

fn steady(context: &Context, extent: Extent, rows: &mut Rows) -> Result<()> {
    let shape = Shape {
        rooms: 10,
        members: 100,
        writers: 2,
        body: 128,
    };
    let traffic = profiles::fanout(
        context,
        shape,
        Pace::Rate(STEADY_RATE),
        Duration::from_secs(2),
        extent.measured,
    )?;
    rows.sound(&traffic);
    let cpu = traffic.server_cpu_s_per_million;
    rows.add(
        "server CPU s per million deliveries at 20,000 deliveries/s",
        "s",
        cpu,
        (14.0, 9.0),
    );
    rows.add(
        "append to ack p50 at 200 messages/s",
        "ms",
        traffic.ack.p50_ms,
        (2.5, 1.5),
    );
    rows.add(
        "append to ack p99 at 200 messages/s",
        "ms",
        traffic.ack.p99_ms,
        (12.0, 5.0),
    );
    Ok(())
}

fn idle(context: &Context, extent: Extent, rows: &mut Rows) -> Result<()> {
    let idle = visits::idle(context, extent.idle, 100, Duration::from_secs(2))?;
    let name = format!("server memory per idle subscribed connection, {}", extent.idle);
    rows.add(&name, "KiB", idle.server_bytes_per_connection / 1024.0, (20.0, 12.0));
    rows.add(
        "opened, authenticated and subscribed per second",
        "/s",
        idle.opened_per_s,
        (1_500.0, 4_000.0),
    );
    Ok(())
}

fn resumes(context: &Context, extent: Extent, rows: &mut Rows) -> Result<()> {
    let churn = visits::churn(context, 1_000, extent.resumes)?;
    rows.faults += churn.faults;
    rows.add(
        "resume over 1,000 missed changes, p50",
        "ms",
        churn.resume.p50_ms,
        (40.0, 15.0),
    );
    Ok(())
}

fn requests(context: &Context, extent: Extent, rows: &mut Rows) -> Result<()> {
    let rest = rest::rest(context, REST_RATE, extent.measured)?;
    let unknown = f64::NAN;
    for (name, unit, value, bounds) in [
        ("REST p95 at 500 requests/s", "ms", rest.all.p95_ms, (20.0, 10.0)),
        ("REST p99 at 500 requests/s", "ms", rest.all.p99_ms, (50.0, 20.0)),
        ("REST errors", "%", rest.error_rate * 100.0, (0.1, 0.0)),
        ("cached lists/s", "/s", rest.cached_lists_per_s, (8_000.0, 16_000.0)),
        (
            "cache hit rate of the mix",
            "%",
            rest.hit_rate.unwrap_or(unknown) * 100.0,
            (90.0, 95.0),
        ),
        (
            "database statements p95, at most",
            "ms",
            rest.statement_p95_ms.unwrap_or(unknown),
            (5.0, 2.5),
        ),
        ("log-in p95", "ms", rest.log_in.p95_ms, (200.0, 100.0)),
    ] {
        rows.add(name, unit, value, bounds);
    }
    Ok(())
}
