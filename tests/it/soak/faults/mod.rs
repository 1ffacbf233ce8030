//! What can go wrong, how it is made to, and how it is known to have been felt.
//!
//! A fault begins and ends ([`Fault::begin`], [`Active::end`]); in between the world is watched. Its end puts everything
//! right again and says whether it bit: the process has another number, the proxy has held bytes up, the log says that the
//! disk was full. A fault that did not bite proves nothing, and is not counted as survived.

mod begin;
mod end;

use super::world::{Link, NODES};
use crate::support::chaos::{Chaos, Effects};
use rustix::process::Pid;
use std::fmt;
use std::time::Duration;

/// A process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Victim {
    Node(usize),
    /// The master; stopped together with its workers.
    Nginx,
    NginxWorker,
    /// Killed, it is the main process; stopped, it is all of them.
    Postgres,
    /// The main process, which only lets new connections in.
    Postmaster,
    /// A process that serves a node.
    Backend,
    Redis,
}

/// What a proxy does to its link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    Delay,
    Jitter,
    Cut,
    BlackHole,
    LoseAnswers,
}

impl Trouble {
    pub const ALL: [Self; 5] = [Self::Delay, Self::Jitter, Self::Cut, Self::BlackHole, Self::LoseAnswers];

    pub fn chaos(self) -> Chaos {
        match self {
            Self::Delay => Chaos::Delay(Duration::from_millis(150)),
            Self::Jitter => Chaos::Jitter(Duration::from_millis(1), Duration::from_millis(400)),
            Self::Cut => Chaos::Cut,
            Self::BlackHole => Chaos::Freeze,
            Self::LoseAnswers => Chaos::LoseAnswers,
        }
    }
}

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    Kill(Victim),
    Stop(Victim),
    /// Stopped first, and then killed.
    StopKill(Victim),
    Link(Link, Trouble),
    FlushRedis,
    RestartPostgres,
    ReadOnly,
    DiskFull,
    /// The second node's clock jumps by so many seconds.
    Clock(i64),
    Descriptors(usize),
    RollingRestart,
    ReloadNginx,
}

/// What takes part in a fault; two at a time do not share any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Node(usize),
    Nginx,
    Postgres,
    Redis,
    Clients,
}

impl Fault {
    /// All there are.
    pub fn all() -> Vec<Self> {
        let nodes = || 0..NODES;
        let mut killed = vec![
            Victim::Nginx,
            Victim::NginxWorker,
            Victim::Postgres,
            Victim::Backend,
            Victim::Redis,
        ];
        killed.extend(nodes().map(Victim::Node));
        let mut faults: Vec<_> = killed.iter().map(|victim| Self::Kill(*victim)).collect();
        faults.extend(killed.iter().map(|victim| Self::Stop(*victim)));
        faults.push(Self::Stop(Victim::Postmaster));
        let stopped_first = [Victim::Node(0), Victim::Node(1), Victim::Postgres, Victim::Redis];
        faults.extend(stopped_first.map(Self::StopKill));
        for link in Link::ALL {
            faults.extend(Trouble::ALL.map(|trouble| Self::Link(link, trouble)));
        }
        faults.extend(nodes().map(Self::Descriptors));
        faults.extend([
            Self::FlushRedis,
            Self::RestartPostgres,
            Self::ReadOnly,
            Self::DiskFull,
            Self::Clock(3_600),
            Self::Clock(-3_600),
            Self::RollingRestart,
            Self::ReloadNginx,
        ]);
        faults
    }

    /// What it is counted as.
    pub fn kind(self) -> String {
        self.to_string()
    }

    /// What it touches.
    pub fn parts(self) -> Vec<Part> {
        match self {
            Self::Kill(victim) | Self::Stop(victim) | Self::StopKill(victim) => vec![match victim {
                Victim::Node(node) => Part::Node(node),
                Victim::Nginx | Victim::NginxWorker => Part::Nginx,
                Victim::Postgres | Victim::Postmaster | Victim::Backend => Part::Postgres,
                Victim::Redis => Part::Redis,
            }],
            Self::Link(link, _) => match link {
                Link::ClientNginx => vec![Part::Clients, Part::Nginx],
                Link::NginxNode(node) => vec![Part::Nginx, Part::Node(node)],
                Link::NodePostgres(node) => vec![Part::Node(node), Part::Postgres],
                Link::NodeRedis(node) => vec![Part::Node(node), Part::Redis],
            },
            Self::FlushRedis => vec![Part::Redis],
            Self::RestartPostgres | Self::ReadOnly | Self::DiskFull => vec![Part::Postgres],
            Self::Clock(_) => vec![Part::Node(1)],
            Self::Descriptors(node) => vec![Part::Node(node)],
            Self::RollingRestart => vec![
                Part::Node(0),
                Part::Node(1),
                Part::Nginx,
                Part::Postgres,
                Part::Redis,
                Part::Clients,
            ],
            Self::ReloadNginx => vec![Part::Nginx],
        }
    }

    /// Whether two may be there at the same time.
    pub fn goes_with(self, other: Self) -> bool {
        let others = other.parts();
        !self.parts().iter().any(|part| others.contains(part))
    }
}

impl fmt::Display for Victim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(node) => write!(f, "node {}", node + 1),
            Self::Nginx => f.write_str("nginx"),
            Self::NginxWorker => f.write_str("nginx worker"),
            Self::Postgres => f.write_str("PostgreSQL"),
            Self::Postmaster => f.write_str("PostgreSQL's postmaster"),
            Self::Backend => f.write_str("PostgreSQL backend"),
            Self::Redis => f.write_str("Redis"),
        }
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClientNginx => f.write_str("clients → nginx"),
            Self::NginxNode(node) => write!(f, "nginx → node {}", node + 1),
            Self::NodePostgres(node) => write!(f, "node {} → PostgreSQL", node + 1),
            Self::NodeRedis(node) => write!(f, "node {} → Redis", node + 1),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(victim) => write!(f, "kill -9: {victim}"),
            Self::Stop(victim) => write!(f, "stop and continue: {victim}"),
            Self::StopKill(victim) => write!(f, "stop, then kill -9: {victim}"),
            Self::Link(link, trouble) => {
                let what = match trouble {
                    Trouble::Delay => "delay",
                    Trouble::Jitter => "jitter",
                    Trouble::Cut => "cut",
                    Trouble::BlackHole => "black hole",
                    Trouble::LoseAnswers => "lost answers",
                };
                write!(f, "{what}: {link}")
            }
            Self::FlushRedis => f.write_str("FLUSHALL: Redis"),
            Self::RestartPostgres => f.write_str("restart: PostgreSQL"),
            Self::ReadOnly => f.write_str("read-only: PostgreSQL"),
            Self::DiskFull => f.write_str("disk full: PostgreSQL"),
            Self::Clock(seconds) if *seconds > 0 => f.write_str("clock jumps forward: node 2"),
            Self::Clock(_) => f.write_str("clock jumps back: node 2"),
            Self::Descriptors(node) => write!(f, "no file descriptors: node {}", node + 1),
            Self::RollingRestart => f.write_str("rolling restart: nodes"),
            Self::ReloadNginx => f.write_str("reload: nginx"),
        }
    }
}

/// A fault that has begun.
pub struct Active {
    pub fault: Fault,
    state: State,
}

/// What is known of the world before it, to be compared afterwards.
enum State {
    /// It could not be begun, for this reason.
    Not(String),
    Killed {
        before: Pid,
    },
    Stopped {
        pids: Vec<Pid>,
    },
    Link {
        before: Effects,
    },
    /// All there is to see was seen at its beginning.
    Seen {
        bit: bool,
        evidence: String,
    },
    Postgres {
        log_bytes: usize,
    },
    Clock,
    Descriptors {
        usual: u64,
        in_use: usize,
    },
    Nginx {
        workers: Vec<Pid>,
    },
}

/// How it was felt.
#[derive(Clone, Debug)]
pub struct Bite {
    pub bit: bool,
    pub evidence: String,
}

impl Bite {
    fn new(bit: bool, evidence: impl Into<String>) -> Self {
        let evidence = evidence.into();
        Self { bit, evidence }
    }
}
