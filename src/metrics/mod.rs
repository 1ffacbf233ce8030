//! What the server counts: every metric declared once, with its name, its meaning and its bounds.
//!
//! There is one [`Metrics`] for the process ([`metrics`]), besides the log the only global: counting must not need a
//! handle that is passed through everything. What only mirrors state (open sockets, waiting messages, the pool) is not
//! counted along but read when somebody asks, from the handles of the node, as [`Readings`]; so it cannot drift, and costs
//! nothing until then.
//!
//! Bounds. A label has a fixed vocabulary: route patterns and never paths, names of statements, actors and kinds of keys
//! that stand in the source, or enums. Nothing that a client chooses becomes a label, so no client can make a series.
//!
//! Costs. A counter is one atomic addition, a histogram a short lock of its own, a labelled one a look-up under a read lock
//! before that (some 50 ns): nothing here is called for each delivery to a socket. A fan-out is counted once for all
//! its readers, a commit once for its group.
//!
//! When you add a metric: declare it here, count it where it happens, and describe it in `docs/operations.md` (a test
//! compares the table with what is declared).

mod declared;
mod labels;
mod process;
mod readings;

pub use labels::{BusDrop, BusRole, Eviction, Level, Surface, Target};
pub use readings::{BusReach, Depth, Readings};

use crate::error::CloseCode;
use crate::ids::Tier;
use declared::{Declaration, Requests, Road, Shields};
use labels::{
    ActorLabel, BusDropLabel, BusRoleLabel, CacheLabels, CacheTypeLabel, CodeLabel, EvictionLabel, QueryLabel,
    RefusalLabels, RequestLabels, RouteLabels, TargetLabel,
};
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use std::sync::LazyLock;
use std::time::Duration;

/// The media type of [`Metrics::expose`]; Prometheus 2 and 3 know it, and so does whatever reads OpenMetrics.
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The metrics of this process.
#[must_use]
pub fn metrics() -> &'static Metrics {
    static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::declare);
    &METRICS
}

/// Everything that is counted along; what each is for stands in its declaration in `declared.rs`.
pub struct Metrics {
    registry: Registry,
    names: Vec<String>,
    requests: Requests,
    shields: Shields,
    road: Road,
}

impl Metrics {
    fn declare() -> Self {
        let mut all = Declaration::default();
        let (requests, shields, road) = (
            Requests::declare(&mut all),
            Shields::declare(&mut all),
            Road::declare(&mut all),
        );
        all.version(env!("CARGO_PKG_VERSION"));
        Self {
            registry: all.registry,
            names: all.names,
            requests,
            shields,
            road,
        }
    }

    /// The names of all metrics as they are exposed, without the suffixes of histograms.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let read = Readings::names().map(str::to_owned);
        self.names.iter().cloned().chain(read).collect()
    }

    /// Everything that was counted, and `readings`, in the text format of OpenMetrics.
    #[must_use]
    pub fn expose(&self, readings: &Readings) -> String {
        let mut text = String::with_capacity(32 * 1_024);
        // Writing to a string does not fail.
        text::encode_registry(&mut text, &self.registry).ok();
        text::encode(&mut text, &readings.registry()).ok();
        text
    }

    /// A request was answered. `route` is the pattern that matched.
    pub fn http_answered(&self, method: &str, route: String, status_code: u16, elapsed: Duration) {
        let method = labels::method(method);
        let labels = RouteLabels { method, path: route };
        self.requests
            .http_request_duration
            .get_or_create(&labels)
            .observe(elapsed.as_secs_f64());
        let labels = RequestLabels {
            method,
            path: labels.path,
            status_code,
        };
        self.requests.http_requests.get_or_create(&labels).inc();
    }

    /// A statement was answered, or was not in time.
    pub fn db_queried(&self, query: &'static str, elapsed: Duration) {
        self.requests
            .db_query_duration
            .get_or_create(&QueryLabel { query })
            .observe(elapsed.as_secs_f64());
    }

    /// Somebody got a connection of the pool after waiting this long.
    pub fn db_pool_waited(&self, waited: Duration) {
        self.requests.db_pool_wait.observe(waited.as_secs_f64());
    }

    /// Somebody got no connection of the pool in time.
    pub fn db_pool_timed_out(&self) {
        self.requests.db_pool_timeouts.inc();
    }

    /// A read that may be some seconds old was made.
    pub fn read_stale(&self, target: Target) {
        self.requests.stale_reads.get_or_create(&TargetLabel { target }).inc();
    }

    /// A read on the replica failed, or was given up with it.
    pub fn replica_read_failed(&self) {
        self.requests.replica_failures.inc();
    }

    /// The cache had an answer; `cache_type` is the first part of the key (`user`, `api_key`).
    pub fn cache_hit(&self, cache_type: &'static str, level: Level) {
        self.shields
            .cache_hits
            .get_or_create(&CacheLabels { cache_type, level })
            .inc();
    }

    /// The cache had no answer and the loader was asked.
    pub fn cache_missed(&self, cache_type: &'static str) {
        self.shields
            .cache_misses
            .get_or_create(&CacheTypeLabel { cache_type })
            .inc();
    }

    /// A call to the second level failed, or was given up.
    pub fn cache_l2_failed(&self) {
        self.shields.cache_l2_errors.inc();
    }

    /// The second level is given up for a while.
    pub fn cache_l2_breaker_opened(&self) {
        self.shields.cache_l2_breaker_openings.inc();
    }

    /// Something was refused because there was too much of it.
    pub fn rate_limited(&self, tier: Tier, surface: Surface) {
        self.shields
            .rate_limited
            .get_or_create(&RefusalLabels { tier, surface })
            .inc();
    }

    /// A decision was made with local counters, the shared ones being out of reach.
    pub fn rate_limit_fell_back(&self) {
        self.shields.rate_limit_fallbacks.inc();
    }

    /// An actor of that name is kept alive from now on: its restarts are counted from zero, and not from the first one,
    /// which no rate would see. Without effect when repeated.
    pub fn actor_supervised(&self, actor: &'static str) {
        drop(self.shields.actor_restarts.get_or_create(&ActorLabel { actor }));
    }

    /// An actor has died and is started again, now or when its budget allows.
    pub fn actor_restarted(&self, actor: &'static str) {
        self.shields.actor_restarts.get_or_create(&ActorLabel { actor }).inc();
    }

    /// Something panicked.
    pub fn panicked(&self) {
        self.shields.panics.inc();
    }

    /// A group was committed.
    pub fn committed(&self, operations: usize, elapsed: Duration) {
        self.road.commit_batch_size.observe(operations as f64);
        self.road.commit_duration.observe(elapsed.as_secs_f64());
    }

    /// A group was not committed and will be tried again.
    pub fn commit_retried(&self) {
        self.road.commit_retries.inc();
    }

    /// A post got its receipt.
    pub fn acknowledged(&self, elapsed: Duration) {
        self.road.append_to_ack.observe(elapsed.as_secs_f64());
    }

    /// Posts are in the outboxes of their readers; the oldest was taken up this long ago.
    pub fn delivered(&self, elapsed: Duration) {
        self.road.append_to_delivery.observe(elapsed.as_secs_f64());
    }

    /// Frames were put into outboxes: frames times readers.
    pub fn pushed(&self, deliveries: u64) {
        self.road.deliveries.inc_by(deliveries);
    }

    /// An ephemeral frame was left out.
    pub fn outbox_dropped(&self) {
        self.road.outbox_dropped.inc();
    }

    /// A socket was cut because its reader is too slow.
    pub fn outbox_evicted(&self, reason: Eviction) {
        self.road
            .outbox_evictions
            .get_or_create(&EvictionLabel { reason })
            .inc();
    }

    /// A socket was opened.
    pub fn socket_opened(&self) {
        self.road.sockets_opened.inc();
    }

    /// A socket has ended; the code we closed it with, if we did.
    pub fn socket_closed(&self, code: Option<CloseCode>) {
        let code = code.map_or(0, CloseCode::as_u16);
        self.road.sockets_closed.get_or_create(&CodeLabel { code }).inc();
    }

    /// A reader was brought to the present.
    pub fn resumed(&self, changes: usize, bytes: usize) {
        self.road.resume_changes.observe(changes as f64);
        self.road.resume_bytes.observe(bytes as f64);
    }

    /// So many envelopes were dropped.
    pub fn bus_dropped(&self, reason: BusDrop, count: usize) {
        self.road
            .bus_dropped
            .get_or_create(&BusDropLabel { reason })
            .inc_by(count as u64);
    }

    /// A connection of the bus broke or could not be made, and is tried again.
    pub fn bus_reconnects(&self, role: BusRole) {
        self.road.bus_reconnects.get_or_create(&BusRoleLabel { role }).inc();
    }

    /// Another node has sent something that is not understood.
    pub fn bus_not_understood(&self) {
        self.road.bus_not_understood.inc();
    }

    /// An envelope was taken up this long after it was published.
    pub fn bus_lagged(&self, lag: Duration) {
        self.road.bus_lag.observe(lag.as_secs_f64());
    }
}
