//! The part of the suite about one node by itself: what it holds, how fast it responds, what a
//! connection costs.

use super::arguments::Extent;
use super::rows::{Rows, promise};
use crate::context::Context;
use crate::error::Result;
use crate::installation::server::{Server, ServerPlan};
use crate::measure::process::Processes;
use crate::measure::report::show_progress;
use crate::profiles::connections;
use crate::profiles::rest;
use crate::profiles::traffic::{self, Measurement, Pace, Shape};
use std::path::Path;
use std::time::Duration;

/// A steady load that a small installation has: 10 rooms × 100 members × 20 messages/s in all rooms
/// per 100 readers.
const STEADY_RATE: f64 = 200.0;
/// REST requests per second: two and a half times what a busy installation is expected to get.
const REST_RATE: f64 = 500.0;
/// What the deliveries per second of ten rooms are called, from which others derive their rates.
pub(super) const MAXIMUM: &str = "deliveries/s, 10 × 100";

pub(super) fn run(binary: &Path, folder: &Path, extent: Extent, template: &Context, rows: &mut Rows) -> Result<()> {
    let plan = ServerPlan::alone(binary, &folder.join("data"));
    let server = Server::start(&plan)?;
    let context = alone(&server, template)?;
    for run in 1..=extent.runs {
        if template.progress {
            show_progress(&format!("run {run} of {}\x1b[K\n", extent.runs));
        }
        maxima(&context, extent, rows)?;
        steady(&context, extent, rows)?;
        resumes(&context, extent, rows)?;
        requests(&context, extent, rows)?;
    }
    server.stop()?;
    for _ in 0..extent.runs {
        let server = Server::start(&plan)?;
        rows.add(
            "start to ready, existing data",
            "s",
            server.ready_after.as_secs_f64(),
            promise(1.5, 0.7),
        );
        // A server that has talked before has memory to spare, which would hide what connections
        // cost.
        idle(&alone(&server, template)?, extent, rows)?;
        server.stop()?;
    }
    Ok(())
}

fn alone(server: &Server, template: &Context) -> Result<Context> {
    Ok(Context {
        addresses: vec![server.address],
        processes: Processes::new(Some(server.pid()), None)?,
        ..template.clone()
    })
}

fn maxima(context: &Context, extent: Extent, rows: &mut Rows) -> Result<()> {
    let shapes = [
        (10, 100, promise(300_000.0, 1_000_000.0)),
        (100, 10, promise(100_000.0, 200_000.0)),
        (1, 1_000, promise(300_000.0, 1_000_000.0)),
    ];
    for (n_rooms, members, promised) in shapes {
        let name = format!("deliveries/s, {n_rooms} × {members}");
        // A writer's window is 32, so a single room needs more writers than ten do.
        let writers = (40 / n_rooms).clamp(1, 20);
        let shape = Shape {
            rooms: n_rooms,
            members,
            writers,
            body: 128,
        };
        let known = rows.known(&name).map(|median| median / members as f64);
        let first_rate = known.map_or(promised.must / members as f64 / 2.0, |rate| rate * 0.7);
        let best = traffic::storm(context, shape, first_rate, extent.step)?;
        rows.count_faults(&best);
        rows.add(&name, "/s", best.deliveries_per_s, promised);
        let cpu = format!("server CPU s per million deliveries at that, {n_rooms} × {members}");
        rows.add(&cpu, "s", best.server_cpu_s_per_million, promise(4.0, 1.5));
        if n_rooms == 10 {
            let half = measurement(best.deliveries_per_s / members as f64 / 2.0, extent);
            let half = traffic::fanout(context, shape, half)?;
            rows.count_faults(&half);
            rows.add(
                "delivery p50 at half of the maximum, 10 × 100",
                "ms",
                half.delivery.p50_ms,
                promise(10.0, 4.0),
            );
            rows.add(
                "delivery p99 at half of the maximum, 10 × 100",
                "ms",
                half.delivery.p99_ms,
                promise(40.0, 15.0),
            );
        }
    }
    Ok(())
}

fn measurement(rate: f64, extent: Extent) -> Measurement {
    Measurement {
        pace: Pace::Rate(rate),
        warmup: Duration::from_secs(2),
        measured: extent.measured,
    }
}

fn steady(context: &Context, extent: Extent, rows: &mut Rows) -> Result<()> {
    let shape = Shape {
        rooms: 10,
        members: 100,
        writers: 2,
        body: 128,
    };
    let traffic = traffic::fanout(context, shape, measurement(STEADY_RATE, extent))?;
    rows.count_faults(&traffic);
    let cpu = traffic.server_cpu_s_per_million;
    rows.add(
        "server CPU s per million deliveries at 20,000 deliveries/s",
        "s",
        cpu,
        promise(14.0, 9.0),
    );
    rows.add(
        "append to ack p50 at 200 messages/s",
        "ms",
        traffic.ack.p50_ms,
        promise(2.5, 1.5),
    );
    rows.add(
        "append to ack p99 at 200 messages/s",
        "ms",
        traffic.ack.p99_ms,
        promise(12.0, 5.0),
    );
    Ok(())
}

fn idle(context: &Context, extent: Extent, rows: &mut Rows) -> Result<()> {
    let idle = connections::idle(context, extent.idle, 100, Duration::from_secs(2))?;
    let name = format!("server memory per idle subscribed connection, {}", extent.idle);
    rows.add(
        &name,
        "KiB",
        idle.server_bytes_per_connection / 1024.0,
        promise(20.0, 12.0),
    );
    rows.add(
        "opened, authenticated and subscribed per second",
        "/s",
        idle.opened_per_s,
        promise(1_500.0, 4_000.0),
    );
    Ok(())
}

fn resumes(context: &Context, extent: Extent, rows: &mut Rows) -> Result<()> {
    let churn = connections::churn(context, 1_000, extent.resumes)?;
    rows.faults += churn.faults;
    rows.add(
        "resume over 1,000 missed changes, p50",
        "ms",
        churn.resume.p50_ms,
        promise(40.0, 15.0),
    );
    Ok(())
}

fn requests(context: &Context, extent: Extent, rows: &mut Rows) -> Result<()> {
    let rest = rest::rest(context, REST_RATE, extent.measured)?;
    let unknown = f64::NAN;
    for (name, unit, value, promised) in [
        ("REST p95 at 500 requests/s", "ms", rest.all.p95_ms, promise(20.0, 10.0)),
        ("REST p99 at 500 requests/s", "ms", rest.all.p99_ms, promise(50.0, 20.0)),
        ("REST errors", "%", rest.error_rate * 100.0, promise(0.1, 0.0)),
        (
            "cached lists/s",
            "/s",
            rest.cached_lists_per_s,
            promise(8_000.0, 16_000.0),
        ),
        (
            "cache hit rate of the mix",
            "%",
            rest.hit_rate.unwrap_or(unknown) * 100.0,
            promise(90.0, 95.0),
        ),
        (
            "database statements p95, at most",
            "ms",
            rest.statement_p95_ms.unwrap_or(unknown),
            promise(5.0, 2.5),
        ),
        ("login p95", "ms", rest.login.p95_ms, promise(200.0, 100.0)),
    ] {
        rows.add(name, unit, value, promised);
    }
    Ok(())
}
