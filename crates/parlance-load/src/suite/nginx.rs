//! The part of the suite about the proxy: the same messages to readers who are connected directly,
//! and to readers who come through the shipped nginx. They take turns on one server.

use super::arguments::Extent;
use super::rows::{Rows, promise};
use super::single_node::MAXIMUM;
use crate::context::Context;
use crate::error::Result;
use crate::installation::proxy::{NginxPrograms, Proxy};
use crate::installation::server::{Server, ServerPlan};
use crate::measure::process::Processes;
use crate::profiles::comparison::{Side, SideResult, compare};
use crate::profiles::traffic::{Pace, Shape};
use std::path::Path;

/// Sends of each writer in flight.
const DEPTH: usize = 8;

/// A server, and nginx in front of it.
pub(super) struct Proxied<'a> {
    /// The program of the server.
    pub binary: &'a Path,
    pub programs: &'a NginxPrograms,
    /// For the data of both.
    pub folder: &'a Path,
    pub extent: Extent,
    pub template: &'a Context,
}

impl Proxied<'_> {
    /// Measures the server directly and through nginx.
    pub(super) fn run(&self, rows: &mut Rows) -> Result<()> {
        let server = Server::start(&ServerPlan::alone(self.binary, &self.folder.join("behind")))?;
        let proxy = Proxy::start(self.programs, &self.folder.join("nginx"), &[server.address])?;
        let direct = Context {
            addresses: vec![server.address],
            processes: Processes::new(Some(server.pid()), None)?,
            ..self.template.clone()
        };
        // The author of a large room is one reader of many; in a small one everything is more often
        // written alone.
        for (rooms, members, writers) in [(10, 100, 4), (100, 10, 1)] {
            let shape = Shape {
                rooms,
                members,
                writers,
                body: 128,
            };
            measure(&direct, &proxy, shape, self.extent, rows)?;
        }
        proxy.stop()?;
        server.stop()
    }
}

fn measure(direct: &Context, proxy: &Proxy, shape: Shape, extent: Extent, rows: &mut Rows) -> Result<()> {
    let mut sides = [
        Side::open("direct", direct.clone(), shape)?,
        Side::open("through nginx", proxy.in_front_of(direct), shape)?,
    ];
    let rooms = format!("{} × {}", shape.rooms, shape.members);
    let fast = compare(&mut sides, Pace::ClosedLoop(DEPTH), extent.rounds)?;
    let per_s = |side: &SideResult| side.median(|traffic| traffic.deliveries_per_s);
    let p99 = |side: &SideResult| side.median(|traffic| traffic.delivery.p99_ms);
    note(&fast, &format!("as fast as acknowledged, {rooms}"), rows);
    rows.add(
        &format!("deliveries/s through nginx, times direct, {rooms}"),
        "×",
        per_s(&fast[1]) / per_s(&fast[0]),
        promise(0.8, 0.95),
    );
    let known = (shape.rooms == 10).then(|| rows.known(MAXIMUM)).flatten();
    let quarter = known.unwrap_or_else(|| per_s(&fast[0])) / 4.0 / shape.members as f64;
    let slow = compare(&mut sides, Pace::Rate(quarter), extent.rounds)?;
    note(&slow, &format!("at a quarter of the maximum, {rooms}"), rows);
    for (sides, when) in [
        (&fast, "as fast as acknowledged"),
        (&slow, "at a quarter of the maximum"),
    ] {
        rows.add(
            &format!("delivery p99 through nginx, times direct, {when}, {rooms}"),
            "×",
            p99(&sides[1]) / p99(&sides[0]),
            promise(2.0, 1.3),
        );
    }
    rows.faults += slow.iter().map(SideResult::faults).sum::<u64>();
    Ok(())
}

fn note(sides: &[SideResult], when: &str, rows: &mut Rows) {
    for side in sides {
        let name = |what: &str| format!("{what}, {}, {when}", side.name);
        rows.note(
            &name("deliveries/s"),
            "/s",
            side.median(|traffic| traffic.deliveries_per_s),
        );
        rows.note(
            &name("delivery p99"),
            "ms",
            side.median(|traffic| traffic.delivery.p99_ms),
        );
        let cpu = side.median(|traffic| traffic.server_cpu_s_per_million + traffic.proxy_cpu_s_per_million);
        rows.note(&name("CPU s of server and proxy per million deliveries"), "s", cpu);
    }
}
