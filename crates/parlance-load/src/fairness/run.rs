//! One way after the other on one server, and the quiet node before them.

use crate::context::Context;
use crate::error::{Error, Result};
use crate::fairness::arguments::Arguments;
use crate::fairness::neighbour::{self, wait_until};
use crate::fairness::people::Tenant;
use crate::fairness::report::{Report, Row};
use crate::fairness::socket::Socket;
use crate::fairness::ways::Attack;
use crate::installation::server::{Server, ServerPlan};
use serde_json::json;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// People of the neighbour; half of them act.
const NEIGHBOURS: usize = 48;
/// For how long an attack goes on before the neighbour is looked at, and what is left of the one
/// before it.
const WARM_UP: Duration = Duration::from_secs(3);

/// Runs all ways.
pub(crate) fn run(arguments: &Arguments, context: &Context) -> Result<Report> {
    let mut plan = ServerPlan::alone(&arguments.server, &arguments.data);
    // As delivered, but for the hour: the run has to be over before it.
    plan.settings.extend([
        ("RATE_LIMIT_ENABLED", "true".to_owned()),
        ("RATE_LIMIT_REGULAR_PER_HOUR", "100000".to_owned()),
        ("RATE_LIMIT_TENANT_REGULAR_PER_HOUR", "10000000".to_owned()),
        ("PARLANCE_CONNECTIONS_PER_ADDRESS", "1000".to_owned()),
        ("TRUSTED_PROXIES", "127.0.0.1".to_owned()),
    ]);
    let server = Server::start(&plan)?;
    let address = server.address;
    context.show("  signing people up\x1b[K\r");
    let neighbour = Tenant::make(address, "neighbour", NEIGHBOURS)?;
    let attackers = Tenant::make(address, "attackers", arguments.accounts.max(1))?;
    attackers.write_long(address)?;
    let target = Uuid::new_v4().to_string();
    let first = &attackers.people[0];
    let message = json!({"type": "send", "conversation": attackers.common, "id": target, "body": "React to this."});
    Socket::open(address, first.origin, &first.token)?.ask(message)?;
    let time = Duration::from_secs(arguments.seconds);
    context.show("  the quiet node\x1b[K\r");
    neighbour::observe(address, &neighbour, WARM_UP)?;
    let quiet = Row::new("quiet", &neighbour::observe(address, &neighbour, time)?, 0.0);
    let mut attacked = Vec::new();
    for way in arguments.ways() {
        context.show(&format!("  {}\x1b[K\r", way.as_str()));
        let attack = Attack {
            address,
            way,
            attackers: &attackers,
            neighbour: &neighbour,
            target: &target,
        };
        attacked.push(under(&attack, time)?);
    }
    context.show("\x1b[K");
    server.stop()?;
    Ok(Report {
        quiet,
        attacked,
        tolerance: arguments.tolerance,
        floor_ms: arguments.floor_ms,
    })
}

/// What the neighbour sees while an attack goes on.
fn under(attack: &Attack<'_>, time: Duration) -> Result<Row> {
    let stop = AtomicBool::new(false);
    let started = Instant::now();
    let (done, served) = std::thread::scope(|scope| {
        let attacking = scope.spawn(|| attack.run(&stop));
        wait_until(started + WARM_UP);
        let served = neighbour::observe(attack.address, attack.neighbour, time);
        stop.store(true, Ordering::Relaxed);
        (attacking.join(), served)
    });
    let done = done.map_err(|_| Error::Protocol("the attack panicked".into()))?;
    let per_s = done as f64 / started.elapsed().as_secs_f64();
    wait_until(Instant::now() + WARM_UP);
    Ok(Row::new(attack.way.as_str(), &served?, per_s))
}
