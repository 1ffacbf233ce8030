//! How faults end: everything is put right, and what was seen of them is said.

use super::super::clients::Desk;
use super::super::daemon::{children, state};
use super::super::world::{Link, World};
use super::begin::{is_there, set_read_only};
use super::{Active, Bite, Fault, State, Trouble, Victim};
use crate::support::pace;
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use std::time::{Duration, Instant};

impl Active {
    /// Puts it right.
    pub async fn end(self, world: &mut World, _desk: &Desk) -> Bite {
        match self.state {
            State::Not(reason) => Bite::new(false, format!("could not be begun: {reason}")),
            State::Seen { bit, evidence } => Bite::new(bit, evidence),
            State::Killed { before } => started_again(world, self.fault, before).await,
            State::Stopped { ref pids } => {
                let stopped = pids.iter().filter(|pid| state(**pid) == Some('T')).count();
                let mut bite = Bite::new(
                    stopped == pids.len(),
                    format!("{stopped} of {} processes stood still", pids.len()),
                );
                if let (Fault::StopKill(victim), true) = (self.fault, bite.bit) {
                    bite = killed_while_stopped(world, victim, pids).await;
                } else {
                    let _: Vec<Result<(), _>> = pids.iter().map(|pid| kill_process(*pid, Signal::CONT)).collect();
                }
                forget(world, pids);
                bite
            }
            State::Link { before } => {
                let Fault::Link(link, trouble) = self.fault else {
                    unreachable!()
                };
                healed(world, link, trouble, &before)
            }
            State::Postgres { log_bytes } => postgres_is_well(world, self.fault, log_bytes).await,
            State::Clock => clock_is_right(world).await,
            State::Descriptors { usual, in_use } => {
                let Fault::Descriptors(node) = self.fault else {
                    unreachable!()
                };
                descriptors_are_back(world, node, usual, in_use).await
            }
            State::Nginx { workers } => {
                let now = children(world.nginx.pid());
                let fresh = now.iter().filter(|pid| !workers.contains(pid)).count();
                Bite::new(fresh > 0, format!("{fresh} new workers"))
            }
        }
    }
}

fn forget(world: &World, pids: &[Pid]) {
    // Daemons are known to the guardian for as long as they run.
    let daemons = [&world.nginx, &world.redis, &world.postgres.daemon];
    let daemons = daemons.into_iter().chain(world.nodes.iter().map(|node| &node.daemon));
    let kept: Vec<Pid> = daemons
        .filter(|daemon| daemon.runs())
        .map(|daemon| daemon.pid())
        .collect();
    for pid in pids.iter().filter(|pid| !kept.contains(pid)) {
        world.guardian.tell("gone", pid.as_raw_nonzero());
    }
}

async fn started_again(world: &mut World, fault: Fault, before: Pid) -> Bite {
    let victim = match fault {
        Fault::RestartPostgres => Victim::Postgres,
        Fault::Kill(victim) | Fault::StopKill(victim) => victim,
        _ => unreachable!(),
    };
    let now = match victim {
        Victim::Node(node) => {
            world.nodes[node].daemon.start();
            world.nodes[node].daemon.pid()
        }
        Victim::Redis => {
            world.redis.start();
            world.redis.pid()
        }
        Victim::Postgres | Victim::Postmaster => {
            world.postgres.start().await;
            world.postgres.daemon.pid()
        }
        Victim::Nginx => {
            world.nginx.start();
            world.nginx.pid()
        }
        Victim::NginxWorker | Victim::Backend => {
            let number = before.as_raw_nonzero();
            return Bite::new(!is_there(before), format!("process {number} is gone"));
        }
    };
    let (before, now) = (before.as_raw_nonzero(), now.as_raw_nonzero());
    Bite::new(before != now, format!("process {before}, now {now}"))
}

async fn killed_while_stopped(world: &mut World, victim: Victim, pids: &[Pid]) -> Bite {
    let before = pids[0];
    match victim {
        Victim::Node(node) => world.nodes[node].daemon.kill_9(),
        Victim::Redis => world.redis.kill_9(),
        _ => {
            world.postgres.daemon.kill_9();
            // They cannot notice while they stand still.
            let _: Vec<Result<(), _>> = pids[1..].iter().map(|pid| kill_process(*pid, Signal::KILL)).collect();
        }
    }
    started_again(world, Fault::Kill(victim), before).await
}

fn healed(world: &World, link: Link, trouble: Trouble, before: &crate::support::chaos::Effects) -> Bite {
    let proxy = &world.links[&link];
    let done = proxy.effects().since(before);
    proxy.heal();
    let bit = match trouble {
        Trouble::Delay | Trouble::Jitter | Trouble::BlackHole => done.held > 0,
        Trouble::Cut => done.cut > 0,
        Trouble::LoseAnswers => done.lost > 0,
    };
    let evidence = match trouble {
        Trouble::Delay | Trouble::Jitter | Trouble::BlackHole => format!("{} bytes held up", done.held),
        Trouble::Cut => format!("{} connections cut, {} refused", done.cut, done.refused),
        Trouble::LoseAnswers => format!("{} bytes of answers lost", done.lost),
    };
    Bite::new(bit, evidence)
}

async fn postgres_is_well(world: &mut World, fault: Fault, log_bytes: usize) -> Bite {
    let mark = match fault {
        Fault::DiskFull => {
            // Gone already, or never there.
            let _: Result<(), _> = std::fs::remove_file(world.postgres.disk.join("ballast"));
            // It may be about to end.
            pace(Duration::from_millis(300)).await;
            let ended = world.postgres.daemon.ended();
            world.postgres.start().await;
            world.postgres.daemon.may_end = false;
            if let Some(status) = ended {
                eprintln!("     PostgreSQL had ended: {status}");
            }
            "No space left on device"
        }
        _ => {
            let deadline = Instant::now() + Duration::from_secs(20);
            while let Err(error) = set_read_only(world, false).await {
                if Instant::now() > deadline {
                    world.complain(format!("PostgreSQL stays read-only: {error}"));
                    break;
                }
                pace(Duration::from_millis(200)).await;
            }
            "in a read-only transaction"
        }
    };
    let log = world.postgres.daemon.log();
    let said = log.get(log_bytes..).unwrap_or_default().matches(mark).count();
    Bite::new(said > 0, format!("PostgreSQL said {said} times: {mark}"))
}

/// What a node's clock is ahead by, as its answers say.
pub(super) async fn ahead(world: &World, node: usize) -> Option<i64> {
    let url = format!("http://{}/health/live", world.nodes[node].address);
    let http = reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(3))
        .build()
        .unwrap();
    let answer = http.get(url).send().await.ok()?;
    let date = answer.headers().get("date")?.to_str().ok()?;
    let date = chrono::DateTime::parse_from_rfc2822(date).ok()?;
    Some(date.timestamp() - chrono::Utc::now().timestamp())
}

async fn clock_is_right(world: &mut World) -> Bite {
    let seen = ahead(world, 1).await;
    if let Some(clock) = &world.nodes[1].clock {
        std::fs::write(clock, "+0\n").unwrap();
    }
    // The library looks once a second.
    let deadline = Instant::now() + Duration::from_secs(5);
    while ahead(world, 1).await.is_some_and(|ahead| ahead.abs() > 5) && Instant::now() < deadline {
        world.watch(Duration::from_millis(100)).await;
    }
    let text = seen.map_or_else(
        || "no answer".to_owned(),
        |seen| format!("its answers were {seen} s ahead"),
    );
    Bite::new(seen.is_some_and(|seen| seen.abs() > 60), text)
}

async fn descriptors_are_back(world: &mut World, node: usize, usual: u64, in_use: usize) -> Bite {
    // While it lasts nobody new is let in.
    let let_in = ahead(world, node).await.is_some();
    let pid = world.nodes[node].daemon.pid();
    let limit = Rlimit {
        current: Some(usual),
        maximum: Some(usual),
    };
    if let Err(error) = prlimit(Some(pid), Resource::Nofile, limit) {
        world.complain(format!(
            "the limit of node {} could not be put right: {error}",
            node + 1
        ));
    }
    Bite::new(
        !let_in,
        format!("{in_use} descriptors were in use; a new connection was let in: {let_in}"),
    )
}
