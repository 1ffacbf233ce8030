//! What is read when someone asks: the state of one node at that moment.
//!
//! A node fills in [`Readings`] for each scrape. So several nodes of one process, as in tests, each
//! show their own.

use super::process::Process;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::{Metric, Registry};

/// The messages that wait for the actors of one name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// The name under which it is supervised.
    pub actor: &'static str,
    /// In all their mailboxes together.
    pub total: usize,
    /// In the fullest of them.
    pub deepest: usize,
}

/// What the bus is subscribed to, and through which servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BusReach {
    /// Conversations that this node has subscribed to.
    pub conversations_subscribed: usize,
    /// Servers of Redis: one, or the shards of a cluster.
    pub servers: usize,
    /// Those to which both connections are open.
    pub servers_connected: usize,
}

/// The state of a node.
#[derive(Clone, Debug, Default)]
pub struct Readings {
    pub pool_size: usize,
    /// Connections beyond the number that is kept.
    pub pool_overflow: usize,
    /// Connections that nobody uses.
    pub pool_idle: usize,
    /// Callers that wait for a connection.
    pub pool_waiting: usize,
    pub pool_max: usize,
    /// Whether the replica is read, and how many seconds old it is at most. `None` where there is
    /// none, or it is not known.
    pub replica: Option<(bool, Option<f64>)>,
    pub sockets_open: usize,
    pub sockets_max: usize,
    pub conversations_active: usize,
    /// Values in the level of this process.
    pub cache_entries: u64,
    pub cache_bytes: u64,
    /// Invalidations that Redis has not taken yet.
    pub cache_invalidations_waiting: usize,
    pub bus: BusReach,
    pub depths: Vec<Depth>,
}

/// The gauges that [`Readings`] becomes.
const GAUGES: [(&str, &str); 14] = [
    ("db_connection_pool_size", "Connections of the pool that exist"),
    (
        "db_connection_pool_overflow",
        "Connections of the pool beyond those that are kept",
    ),
    ("db_connection_pool_idle", "Connections of the pool that nobody uses"),
    (
        "db_connection_pool_waiting",
        "Callers that wait for a connection of the pool",
    ),
    ("db_connection_pool_max", "Connections the pool may have"),
    ("sockets_open", "Open sockets"),
    ("sockets_max", "Sockets that are admitted"),
    ("conversations_active", "Conversations in memory"),
    ("cache_entries", "Values the cache holds in this process"),
    ("cache_bytes", "Bytes of the values the cache holds in this process"),
    (
        "cache_invalidations_waiting",
        "Invalidations that Redis has not taken yet",
    ),
    (
        "bus_conversations_followed",
        "Conversations whose changes on other nodes are heard through Redis",
    ),
    ("bus_servers", "Servers of Redis that the bus speaks to"),
    (
        "bus_servers_connected",
        "Servers of Redis with which both connections of the bus stand",
    ),
];
const REPLICA_UP: (&str, &str) = ("db_replica_up", "Whether the replica is read");
const REPLICA_LAG: (&str, &str) = (
    "db_replica_lag_seconds",
    "How far the replica is behind the database at most",
);
const DEPTH: (&str, &str) = ("actor_mailbox_depth", "Messages that wait for all actors of a name");
const DEEPEST: (&str, &str) = ("actor_mailbox_depth_max", "Messages in the fullest mailbox of a name");
const PROCESS: [&str; 7] = [
    "process_resident_memory_bytes",
    "process_virtual_memory_bytes",
    "process_cpu_seconds_total",
    "process_start_time_seconds",
    "process_threads",
    "process_open_fds",
    "process_max_fds",
];

impl Readings {
    pub(super) fn names() -> impl Iterator<Item = &'static str> {
        let gauges = GAUGES
            .into_iter()
            .chain([REPLICA_UP, REPLICA_LAG, DEPTH, DEEPEST])
            .map(|(name, _)| name);
        gauges.chain(PROCESS)
    }

    /// A registry of what was read, for one scrape.
    pub(super) fn registry(&self) -> Registry {
        let mut registry = Registry::default();
        let values = [
            self.pool_size,
            self.pool_overflow,
            self.pool_idle,
            self.pool_waiting,
            self.pool_max,
            self.sockets_open,
            self.sockets_max,
            self.conversations_active,
        ]
        .map(|count| count as u64)
        .into_iter()
        .chain([
            self.cache_entries,
            self.cache_bytes,
            self.cache_invalidations_waiting as u64,
            self.bus.conversations_subscribed as u64,
            self.bus.servers as u64,
            self.bus.servers_connected as u64,
        ]);
        for ((name, help), value) in GAUGES.into_iter().zip(values) {
            registry.register(name, help, ConstGauge::new(signed(value)));
        }
        if let Some((is_up, lag_seconds)) = self.replica {
            registry.register(REPLICA_UP.0, REPLICA_UP.1, ConstGauge::new(i64::from(is_up)));
            if let Some(seconds) = lag_seconds {
                registry.register(REPLICA_LAG.0, REPLICA_LAG.1, ConstGauge::new(seconds));
            }
        }
        registry.register(DEPTH.0, DEPTH.1, self.by_actor(|depth| depth.total));
        registry.register(DEEPEST.0, DEEPEST.1, self.by_actor(|depth| depth.deepest));
        if let Some(process) = Process::read() {
            add_process(&mut registry, process);
        }
        registry
    }

    fn by_actor(&self, value: impl Fn(&Depth) -> usize) -> impl Metric {
        let family = Family::<[(&'static str, &'static str); 1], Gauge>::default();
        for depth in &self.depths {
            family
                .get_or_create(&[("actor", depth.actor)])
                .set(signed(value(depth) as u64));
        }
        family
    }
}

fn add_process(registry: &mut Registry, process: Process) {
    let mut gauge = |name: &str, help: &str, value: u64| {
        registry.register(name, help, ConstGauge::new(signed(value)));
    };
    gauge(
        PROCESS[0],
        "Memory of the process that is in RAM",
        process.resident_memory_bytes,
    );
    gauge(PROCESS[1], "Address space of the process", process.virtual_memory_bytes);
    gauge(PROCESS[4], "Threads of the process", process.threads);
    gauge(PROCESS[5], "Open file descriptors", process.open_fds);
    if let Some(limit) = process.max_fds {
        gauge(PROCESS[6], "File descriptors that may be open", limit);
    }
    registry.register(
        PROCESS[2].trim_end_matches("_total"),
        "Time the process has computed, in user and system mode",
        ConstCounter::new(process.cpu_seconds),
    );
    registry.register(
        PROCESS[3],
        "When the process was started, in Unix time",
        ConstGauge::new(process.start_time_seconds),
    );
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
