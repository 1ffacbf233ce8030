//! The part of the suite about the proxy: the same messages to readers who are connected directly and to readers who come
//! through the shipped nginx, in turns on one server.

use super::Extent;
use super::rows::Rows;
use super::single::MAXIMUM;
use crate::error::Result;
use crate::process::Processes;
use crate::profiles::{Context, Pace, Shape};
use crate::proxy::{Kit, Proxy};
use crate::server::{Plan, Server};
use crate::turns::{Rounds, Side, Turns, in_turns};
use std::path::Path;
use std::time::Duration;

/// Unanswered sends of each writer.
const DEPTH: usize = 8;

/// Measures a server directly and through nginx.
pub(super) fn run(
    binary: &Path,
    kit: &Kit,
    folder: &Path,
    extent: Extent,
    template: &Context,
    rows: &mut Rows,
) -> Result<()> {
    let server = Server::start(&Plan::alone(binary, &folder.join("behind")))?;
    let proxy = Proxy::start(kit, &folder.join("nginx"), &[server.address])?;
    let direct = Context {
        addresses: vec![server.address],
        processes: Processes::new(Some(server.pid()), None)?,
        ..template.clone()
    };
    // The author of a large room is one reader of many; in a small one everything is more often written alone.
    for (rooms, members, writers) in [(10, 100, 4), (100, 10, 1)] {
        let shape = Shape {
            rooms,
            members,
            writers,
            body: 128,
        };
        compare(&direct, &proxy, shape, extent, rows)?;
    }
    proxy.stop()?;
    server.stop()
}

fn compare(direct: &Context, proxy: &Proxy, shape: Shape, extent: Extent, rows: &mut Rows) -> Result<()> {
    let mut sides = [
        Side::open("direct", direct.clone(), shape)?,
        Side::open("through nginx", proxy.before(direct), shape)?,
    ];
    let turns = Turns {
        rounds: extent.rounds,
        warmup: Duration::from_secs(1),
        measured: extent.round,
    };
    let rooms = format!("{} × {}", shape.rooms, shape.members);
    let fast = in_turns(&mut sides, Pace::ClosedLoop(DEPTH), turns)?;
    let per_s = |rounds: &Rounds| rounds.median(|traffic| traffic.deliveries_per_s);
    let p99 = |rounds: &Rounds| rounds.median(|traffic| traffic.delivery.p99_ms);
    tell(&fast, &format!("as fast as acknowledged, {rooms}"), rows);
    rows.add(
        &format!("deliveries/s through nginx, times direct, {rooms}"),
        "×",
        per_s(&fast[1]) / per_s(&fast[0]),
        (0.8, 0.95),
    );
    let known = (shape.rooms == 10).then(|| rows.known(MAXIMUM)).flatten();
    let quarter = known.unwrap_or_else(|| per_s(&fast[0])) / 4.0 / shape.members as f64;
    let slow = in_turns(&mut sides, Pace::Rate(quarter), turns)?;
    tell(&slow, &format!("at a quarter of the maximum, {rooms}"), rows);
    for (rounds, when) in [
        (&fast, "as fast as acknowledged"),
        (&slow, "at a quarter of the maximum"),
    ] {
        rows.add(
            &format!("delivery p99 through nginx, times direct, {when}, {rooms}"),
            "×",
            p99(&rounds[1]) / p99(&rounds[0]),
            (2.0, 1.3),
        );
    }
    rows.faults += slow.iter().map(Rounds::faults).sum::<u64>();
    Ok(())
}

fn tell(sides: &[Rounds], when: &str, rows: &mut Rows) {
    for rounds in sides {
        let name = |what: &str| format!("{what}, {}, {when}", rounds.name);
        rows.tell(
            &name("deliveries/s"),
            "/s",
            rounds.median(|traffic| traffic.deliveries_per_s),
        );
        rows.tell(
            &name("delivery p99"),
            "ms",
            rounds.median(|traffic| traffic.delivery.p99_ms),
        );
        let cpu = rounds.median(|traffic| traffic.server_cpu_s_per_million + traffic.proxy_cpu_s_per_million);
        rows.tell(&name("CPU s of server and proxy per million deliveries"), "s", cpu);
    }
}
