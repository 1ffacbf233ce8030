//! How faults begin.

use super::super::clients::Desk;
use super::super::daemon::{children, lives, wait_gone};
use super::super::world::{NODES, World};
use super::end::ahead;
use super::{Active, Fault, State, Victim};
use crate::support::{PATIENCE, pace};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use std::time::{Duration, Instant};

/// Numbers of descriptors that a node may still use when it has none left.
const DESCRIPTORS_LEFT: u64 = 8;

/// What clients count a connection as that ended without a word, and not after `goodbye`.
const BROKEN: &str = "connection broken";

/// How long a node may take to go in order.
const STOP_PATIENCE: Duration = Duration::from_secs(30);

impl Fault {
    /// Makes it happen. Some are over at once; all have to be ended.
    pub async fn begin(self, world: &mut World, desk: &Desk) -> Active {
        let state = self.make(world, desk).await.unwrap_or_else(State::Not);
        Active { fault: self, state }
    }

    async fn make(self, world: &mut World, desk: &Desk) -> Result<State, String> {
        Ok(match self {
            Self::Kill(victim) => kill(world, victim).await?,
            Self::Stop(victim) | Self::StopKill(victim) => stop(world, victim).await?,
            Self::Link(link, trouble) => {
                let proxy = &world.links[&link];
                let before = proxy.effects();
                proxy.set(trouble.chaos());
                State::Link { before }
            }
            Self::FlushRedis => flush(world).await?,
            Self::RestartPostgres => {
                let before = world.postgres.daemon.pid();
                world.postgres.daemon.may_end = true;
                world.postgres.stop_fast().await;
                State::Killed { before }
            }
            Self::ReadOnly => {
                let log_bytes = world.postgres.daemon.log().len();
                set_read_only(world, true).await?;
                State::Postgres { log_bytes }
            }
            Self::DiskFull => fill_disk(world)?,
            Self::Clock(seconds) => {
                let clock = world.nodes[1].clock.as_ref();
                let clock = clock.ok_or("libfaketime is not there (FAKETIME_LIBRARY)")?;
                std::fs::write(clock, format!("{seconds:+}\n")).unwrap();
                // It says the time once in half a second anew.
                let deadline = Instant::now() + Duration::from_secs(3);
                let is_there = |ahead: i64| (ahead - seconds).abs() < 10;
                while !ahead(world, 1).await.is_some_and(is_there) && Instant::now() < deadline {
                    world.watch(Duration::from_millis(100)).await;
                }
                State::Clock
            }
            Self::Descriptors(node) => exhaust(world, node)?,
            Self::RollingRestart => roll(world, desk).await,
            Self::ReloadNginx => {
                let workers = children(world.nginx.pid());
                world.nginx.signal(Signal::HUP);
                State::Nginx { workers }
            }
        })
    }
}

async fn kill(world: &mut World, victim: Victim) -> Result<State, String> {
    let before = match victim {
        Victim::Node(node) => {
            let daemon = &mut world.nodes[node].daemon;
            let before = daemon.pid();
            daemon.may_end = true;
            daemon.kill_9();
            before
        }
        Victim::Redis => {
            let before = world.redis.pid();
            world.redis.may_end = true;
            world.redis.kill_9();
            before
        }
        Victim::Postgres | Victim::Postmaster => {
            let before = world.postgres.daemon.pid();
            world.postgres.daemon.may_end = true;
            world.postgres.daemon.kill_9();
            before
        }
        Victim::Nginx => {
            // Its workers would go on for ever with the ports; who supervises it kills all of a service.
            let (before, workers) = (world.nginx.pid(), children(world.nginx.pid()));
            world.nginx.may_end = true;
            world.nginx.kill_9();
            kill_all(&workers);
            before
        }
        Victim::NginxWorker => {
            let workers = children(world.nginx.pid());
            let worker = *workers.first().ok_or("nginx has no workers")?;
            kill_all(&[worker]);
            worker
        }
        Victim::Backend => {
            let backends = world.postgres.backends().await?;
            let backend = *backends.first().ok_or("nobody is connected")?;
            kill_all(&[backend]);
            backend
        }
    };
    Ok(State::Killed { before })
}

fn kill_all(pids: &[Pid]) {
    for pid in pids {
        // It may just have ended.
        let _: Result<(), _> = kill_process(*pid, Signal::KILL);
    }
    wait_gone(pids, PATIENCE);
}

async fn stop(world: &World, victim: Victim) -> Result<State, String> {
    let pids = match victim {
        Victim::Node(node) => vec![world.nodes[node].daemon.pid()],
        Victim::Redis => vec![world.redis.pid()],
        Victim::Postmaster => vec![world.postgres.daemon.pid()],
        Victim::Postgres => world.postgres.processes(),
        Victim::Backend => world.postgres.backends().await?.into_iter().take(1).collect(),
        Victim::Nginx => {
            let mut all = vec![world.nginx.pid()];
            all.extend(children(world.nginx.pid()));
            all
        }
        Victim::NginxWorker => children(world.nginx.pid()).into_iter().take(1).collect(),
    };
    if pids.is_empty() {
        return Err("there is no such process".to_owned());
    }
    for pid in &pids {
        // Killed with us, should we end before it goes on.
        world.guardian.tell("pid", pid.as_raw_nonzero());
        let _: Result<(), _> = kill_process(*pid, Signal::STOP);
    }
    Ok(State::Stopped { pids })
}

async fn flush(world: &World) -> Result<State, String> {
    let mut connection = world.redis().await.map_err(|error| error.to_string())?;
    let keys: u64 = redis::cmd("DBSIZE")
        .query_async(&mut connection)
        .await
        .map_err(|error| error.to_string())?;
    redis::cmd("FLUSHALL")
        .query_async::<()>(&mut connection)
        .await
        .map_err(|error| error.to_string())?;
    let evidence = format!("{keys} keys are gone");
    Ok(State::Seen {
        bit: keys > 0,
        evidence,
    })
}

/// For all transactions that begin from now on.
pub(super) async fn set_read_only(world: &World, on: bool) -> Result<(), String> {
    let setting = if on {
        "ALTER SYSTEM SET default_transaction_read_only = on"
    } else {
        "ALTER SYSTEM RESET default_transaction_read_only"
    };
    world.postgres.ask(setting).await?;
    world.postgres.ask("SELECT pg_reload_conf()").await?;
    Ok(())
}

fn fill_disk(world: &mut World) -> Result<State, String> {
    world.postgres.disk_is_its_own.clone()?;
    let log_bytes = world.postgres.daemon.log().len();
    // Out of room for its log of changes, PostgreSQL ends, and is started again when there is some.
    world.postgres.daemon.may_end = true;
    let disk = &world.postgres.disk;
    let ballast = std::fs::File::create(disk.join("ballast")).map_err(|error| error.to_string())?;
    // PostgreSQL takes and gives back meanwhile, so it is found out how much there is, piece by piece.
    let (mut length, mut piece) = (0, 64 * 1_024 * 1_024);
    while piece >= 4_096 {
        match rustix::fs::fallocate(&ballast, rustix::fs::FallocateFlags::empty(), length, piece) {
            Ok(()) => length += piece,
            Err(_) => piece /= 2,
        }
    }
    Ok(State::Postgres { log_bytes })
}

fn exhaust(world: &World, node: usize) -> Result<State, String> {
    let pid = world.nodes[node].daemon.pid();
    let in_use = world.nodes[node].daemon.usage().descriptors;
    let usual = descriptor_limit(pid).ok_or("its limit cannot be read")?;
    let low = Rlimit {
        // A new one gets the lowest free number, and those below this have been taken since the start.
        current: Some(DESCRIPTORS_LEFT),
        maximum: Some(usual),
    };
    prlimit(Some(pid), Resource::Nofile, low).map_err(|error| error.to_string())?;
    Ok(State::Descriptors { usual, in_use })
}

/// How many files a process may open at most.
fn descriptor_limit(pid: Pid) -> Option<u64> {
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", pid.as_raw_nonzero())).ok()?;
    let line = limits.lines().find(|line| line.starts_with("Max open files"))?;
    line.split_whitespace().nth(4)?.parse().ok()
}

/// Both nodes in turn, each told to go, waited for, started again and waited for.
async fn roll(world: &mut World, desk: &Desk) -> State {
    let (goodbyes, broken) = (desk.counted("goodbyes"), desk.counted(BROKEN));
    let closed = desk.counted("closed: 4203");
    let mut took = Vec::new();
    for node in 0..NODES {
        let began = Instant::now();
        let daemon = &mut world.nodes[node].daemon;
        daemon.may_end = true;
        daemon.signal(Signal::TERM);
        let status = loop {
            if let Some(status) = daemon.ended() {
                break Some(status);
            }
            if began.elapsed() > STOP_PATIENCE {
                daemon.kill_9();
                break None;
            }
            pace(Duration::from_millis(50)).await;
        };
        took.push(format!("{:.1} s", began.elapsed().as_secs_f64()));
        if !status.is_some_and(|status| status.success()) {
            world.complain(format!("node {} did not go in order: {status:?}", node + 1));
        }
        world.nodes[node].daemon.start();
        let started = Instant::now();
        while world.health(node).await.is_err() && started.elapsed() < PATIENCE {
            world.watch(Duration::from_millis(100)).await;
        }
    }
    let goodbyes = desk.counted("goodbyes") - goodbyes;
    let (closed, broken) = (desk.counted("closed: 4203") - closed, desk.counted(BROKEN) - broken);
    if broken > 0 {
        world.complain(format!("{broken} sockets broke without a word in a rolling restart"));
    }
    State::Seen {
        bit: goodbyes > 0 && closed > 0,
        evidence: format!(
            "{goodbyes} goodbyes, {closed} closed with 4203, {broken} without a word; stopped within {}",
            took.join(" and ")
        ),
    }
}

/// Whether a process is the same that it was.
pub(super) fn is_there(pid: Pid) -> bool {
    lives(pid)
}
