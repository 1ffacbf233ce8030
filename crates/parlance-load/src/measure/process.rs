//! What the server costs, read from `/proc`: its own CPU time and memory, and PostgreSQL's apart
//! from it.
//!
//! PostgreSQL's main process is found among the server's children (the private PostgreSQL), or
//! `--postgres-pid` names it. Its CPU time is that of all its processes, ended ones included. The
//! times of several nodes are added up. Without a server's process everything reads as zero.

use crate::error::{Error, Result, io};
use std::fs;

/// Clock ticks per second of `/proc/*/stat`; 100 on every Linux that Rust runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// The processes that are measured.
#[derive(Clone, Debug, Default)]
pub(crate) struct Processes {
    /// One for each node.
    pub servers: Vec<u32>,
    /// The main process of PostgreSQL.
    pub postgres: Option<u32>,
    pub redis: Option<u32>,
    /// The master process of the proxy in front.
    pub proxy: Option<u32>,
}

/// CPU seconds used so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cpu {
    /// All nodes of the server together.
    pub server: f64,
    /// PostgreSQL with all its backends.
    pub postgres: f64,
    pub redis: f64,
    /// The proxy with all its workers.
    pub proxy: f64,
    /// Of the load tool itself.
    pub tool: f64,
}

impl Cpu {
    /// What was used since `earlier`.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            server: self.server - earlier.server,
            postgres: self.postgres - earlier.postgres,
            redis: self.redis - earlier.redis,
            proxy: self.proxy - earlier.proxy,
            tool: self.tool - earlier.tool,
        }
    }
}

struct Stat {
    parent: u32,
    name: String,
    own_ticks: u64,
    reaped_ticks: u64,
}

impl Processes {
    /// The server and, unless given, the postmaster among its children.
    pub(crate) fn new(server: Option<u32>, postgres: Option<u32>) -> Result<Self> {
        if let Some(server) = server {
            stat(server).ok_or_else(|| Error::Arguments(format!("there is no process {server}")))?;
        }
        Ok(Self {
            servers: server.into_iter().collect(),
            postgres: postgres.or_else(|| server.and_then(postmaster_of)),
            ..Self::default()
        })
    }

    /// The CPU time used so far.
    pub(crate) fn cpu(&self) -> Cpu {
        let own = |pid: u32| stat(pid).map_or(0, |s| s.own_ticks);
        let family = |pid: u32| {
            let postmaster = stat(pid).map_or(0, |s| s.own_ticks + s.reaped_ticks);
            postmaster + children(pid).iter().map(|(_, s)| s.own_ticks).sum::<u64>()
        };
        Cpu {
            server: self.servers.iter().map(|pid| own(*pid)).sum::<u64>() as f64 / TICKS_PER_SECOND,
            postgres: self.postgres.map_or(0, family) as f64 / TICKS_PER_SECOND,
            redis: self.redis.map_or(0, own) as f64 / TICKS_PER_SECOND,
            proxy: self.proxy.map_or(0, family) as f64 / TICKS_PER_SECOND,
            tool: own(std::process::id()) as f64 / TICKS_PER_SECOND,
        }
    }

    /// The resident memory of the first node in bytes.
    pub(crate) fn resident_bytes(&self) -> Result<u64> {
        let Some(server) = self.servers.first() else {
            return Ok(0);
        };
        let status = fs::read_to_string(format!("/proc/{server}/status")).map_err(io("/proc/…/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line
            .and_then(|line| line.split_whitespace().next())
            .and_then(|kib| kib.parse::<u64>().ok());
        Ok(kib.unwrap_or(0) * 1024)
    }
}

/// The PostgreSQL that a process runs for itself.
pub(crate) fn postmaster_of(parent: u32) -> Option<u32> {
    let is_postgres = |(pid, s): (u32, Stat)| (s.name == "postgres").then_some(pid);
    children(parent).into_iter().find_map(is_postgres)
}

fn stat(pid: u32) -> Option<Stat> {
    parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The fields after the name; the name may itself hold spaces and brackets.
fn parse(line: &str) -> Option<Stat> {
    let open = line.find('(')?;
    let close = line.rfind(')')?;
    let fields: Vec<&str> = line.get(close + 1..)?.split_whitespace().collect();
    let number = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok());
    Some(Stat {
        parent: u32::try_from(number(1)?).ok()?,
        name: line.get(open + 1..close)?.to_owned(),
        own_ticks: number(11)? + number(12)?,
        reaped_ticks: number(13)? + number(14)?,
    })
}

fn children(parent: u32) -> Vec<(u32, Stat)> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| stat(pid).filter(|s| s.parent == parent).map(|s| (pid, s)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_with_an_awkward_name_is_read() {
        let line = "42 (a) b (c) S 7 42 42 0 -1 4194304 1 2 3 4 150 50 30 20 20 0 1 0 100 0 0";
        let stat = parse(line).unwrap();
        assert_eq!((stat.parent, stat.name.as_str()), (7, "a) b (c"));
        assert_eq!((stat.own_ticks, stat.reaped_ticks), (200, 50));
    }

    #[test]
    fn this_process_can_be_measured() {
        let processes = Processes::new(Some(std::process::id()), None).unwrap();
        assert!(processes.resident_bytes().unwrap() > 100_000);
        assert!(Processes::new(Some(u32::MAX - 1), None).is_err());
    }
}
