//! The declarations: the name, the meaning and the buckets of every metric.
//!
//! In groups, so that each can be read at once: requests and statements ([`RequestMetrics`]), what
//! protects the server ([`ProtectionMetrics`]), the way of a message from its author to its readers
//! ([`PipelineMetrics`]), the index of search ([`SearchMetrics`]), the counts of analytics
//! ([`AnalyticsMetrics`]), and the latencies that tenants are shown ([`LatencyMetrics`]).

use super::labels::{
    ActorLabel, BusDrop, BusDropLabel, BusRole, BusRoleLabel, CacheLabels, CacheTypeLabel, CodeLabel, Eviction,
    EvictionLabel, HeldBack, HeldBackLabels, QueryLabel, RefusalLabels, RequestLabels, RouteLabels, SharedResource,
    Surface, TargetLabel,
};
use crate::ids::Tier;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};
use std::sync::atomic::AtomicU64;

/// Requests, in seconds: the bounds are what is promised (20 ms, 100 ms for a request, 200 ms for a
/// login), when a statement is cancelled (5 s) and the deadline of a request (30 s), so that each
/// can be alerted on exactly.
const REQUEST_SECONDS: [f64; 13] = [
    0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 5.0, 30.0,
];
/// Statements, in seconds: around the 5 ms that are promised, up to the 500 ms that are logged and
/// the 5 s that are not exceeded.
const STATEMENT_SECONDS: [f64; 11] = [0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 5.0];
/// The way of a message, in seconds: a commit takes about a millisecond, an operation is given up
/// after 10 s.
const PIPELINE_SECONDS: [f64; 13] = [
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
];
/// Operations of a group: at most 532 (`commit/batch.rs`).
const BATCH_OPERATIONS: [f64; 10] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 350.0, 500.0];
/// Changes of a resume: 50 messages are a snapshot, 512 changes are kept in memory, beyond are
/// pages of 200.
const RESUME_CHANGES: [f64; 9] = [0.0, 1.0, 10.0, 50.0, 200.0, 512.0, 2_000.0, 10_000.0, 100_000.0];
/// Bytes of a resume: 64 KiB go at once, more by pages.
const RESUME_BYTES: [f64; 7] = [0.0, 1_024.0, 8_192.0, 65_536.0, 524_288.0, 4_194_304.0, 33_554_432.0];

/// A histogram for each label set, all with the same buckets.
type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// The registry while metrics are declared.
#[derive(Default)]
pub(super) struct Declaration {
    pub(super) registry: Registry,
    pub(super) names: Vec<String>,
}

impl Declaration {
    /// A counter. Its samples end with `_total`.
    fn counter<M: Metric + Clone + Default>(&mut self, name: &str, help: &str) -> M {
        self.names.push(format!("{name}_total"));
        self.add(name, help, M::default())
    }

    fn gauge<M: Metric + Clone + Default>(&mut self, name: &str, help: &str) -> M {
        self.names.push(name.to_owned());
        self.add(name, help, M::default())
    }

    fn histogram(&mut self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        self.names.push(name.to_owned());
        self.add(name, help, Histogram::new(buckets.iter().copied()))
    }

    fn histograms<L>(&mut self, name: &str, help: &str, make: fn() -> Histogram) -> Histograms<L>
    where
        Histograms<L>: Metric,
        L: Clone + std::hash::Hash + Eq,
    {
        self.names.push(name.to_owned());
        self.add(name, help, Family::new_with_constructor(make))
    }

    fn add<M: Metric + Clone>(&mut self, name: &str, help: &str, metric: M) -> M {
        self.registry.register(name, help, metric.clone());
        metric
    }

    /// The version, as the label of a series that is always 1.
    pub(super) fn version(&mut self, version: &'static str) {
        const NAME: &str = "parlance_build_info";
        self.names.push(NAME.to_owned());
        let build: Family<[(&'static str, &'static str); 1], Gauge> =
            self.add(NAME, "The version of this server", Family::default());
        build.get_or_create(&[("version", version)]).set(1);
    }
}

pub(super) struct RequestMetrics {
    pub(super) http_requests: Family<RequestLabels, Counter>,
    pub(super) http_request_duration: Histograms<RouteLabels>,
    pub(super) db_query_duration: Histograms<QueryLabel>,
    pub(super) db_pool_wait: Histogram,
    pub(super) db_pool_timeouts: Counter,
    pub(super) stale_reads: Family<TargetLabel, Counter>,
    pub(super) replica_failures: Counter,
}

impl RequestMetrics {
    pub(super) fn declare(all: &mut Declaration) -> Self {
        Self {
            http_requests: all.counter("http_requests", "Requests answered, by route"),
            http_request_duration: all.histograms(
                "http_request_duration_seconds",
                "Time until an answer begins, by route",
                || Histogram::new(REQUEST_SECONDS),
            ),
            db_query_duration: all.histograms(
                "db_query_duration_seconds",
                "Time until a statement is answered, by its name",
                || Histogram::new(STATEMENT_SECONDS),
            ),
            db_pool_wait: all.histogram(
                "db_connection_pool_wait_seconds",
                "Time until a connection of the pool is had",
                &STATEMENT_SECONDS,
            ),
            db_pool_timeouts: all.counter(
                "db_connection_pool_timeouts",
                "Callers who got no connection of the pool in time",
            ),
            stale_reads: all.counter(
                "db_stale_reads",
                "Reads that may be made on the replica, by where they were made",
            ),
            replica_failures: all.counter(
                "db_replica_failures",
                "Reads on the replica that failed and were made on the primary",
            ),
        }
    }
}

/// What protects the server: cache, limits, supervision.
pub(super) struct ProtectionMetrics {
    pub(super) cache_hits: Family<CacheLabels, Counter>,
    pub(super) cache_misses: Family<CacheTypeLabel, Counter>,
    pub(super) cache_l2_errors: Counter,
    pub(super) cache_l2_breaker_openings: Counter,
    pub(super) rate_limited: Family<RefusalLabels, Counter>,
    pub(super) rate_limit_fallbacks: Counter,
    pub(super) held_back: Family<HeldBackLabels, Counter>,
    pub(super) actor_restarts: Family<ActorLabel, Counter>,
    pub(super) panics: Counter,
    pub(super) log_lines_dropped: Counter,
}

impl ProtectionMetrics {
    pub(super) fn declare(all: &mut Declaration) -> Self {
        let metrics = Self {
            cache_hits: all.counter(
                "cache_hits",
                "Reads answered by the cache, by what was read and where it was",
            ),
            cache_misses: all.counter("cache_misses", "Reads the cache had no answer to"),
            cache_l2_errors: all.counter(
                "cache_l2_errors",
                "Calls to the second level that failed or took too long",
            ),
            cache_l2_breaker_openings: all.counter(
                "cache_l2_breaker_openings",
                "How often the second level was given up for a while",
            ),
            rate_limited: all.counter("rate_limited", "Requests and frames refused for their number"),
            rate_limit_fallbacks: all.counter(
                "rate_limit_fallbacks",
                "Decisions made with local counters because the shared ones were not reachable",
            ),
            held_back: all.counter(
                "held_back",
                "Those who waited for, or did not get, their share of something that all tenants use",
            ),
            actor_restarts: all.counter("actor_restarts", "Actors and tasks that died and were started again"),
            panics: all.counter("panics", "Panics of any actor, task or request"),
            log_lines_dropped: all.counter("log_lines_dropped", "Lines of the log that standard error did not take"),
        };
        // As in `PipelineMetrics`; those of `actor_restarts` begin when the actor does.
        for (tier, surface) in refusals() {
            drop(metrics.rate_limited.get_or_create(&RefusalLabels { tier, surface }));
        }
        for resource in SharedResource::ALL {
            for outcome in HeldBack::ALL {
                drop(metrics.held_back.get_or_create(&HeldBackLabels { resource, outcome }));
            }
        }
        metrics
    }
}

/// Who may be refused where. Before the login there is no tier.
fn refusals() -> impl Iterator<Item = (Tier, Surface)> {
    let all = [Surface::Rest, Surface::Socket, Surface::Expensive, Surface::Connections];
    let tiers = [Tier::Anonymous, Tier::Regular, Tier::Premium];
    let of_tiers = tiers
        .into_iter()
        .flat_map(move |tier| all.map(|surface| (tier, surface)));
    of_tiers.chain([Surface::Login, Surface::Flood].map(|surface| (Tier::Anonymous, surface)))
}

/// The way of a message from its author to its readers, and what happens beside it.
pub(super) struct PipelineMetrics {
    pub(super) commit_batch_size: Histogram,
    pub(super) commit_duration: Histogram,
    pub(super) commit_retries: Counter,
    pub(super) append_to_ack: Histogram,
    pub(super) append_to_delivery: Histogram,
    pub(super) deliveries: Counter,
    pub(super) outbox_dropped: Counter,
    pub(super) outbox_evictions: Family<EvictionLabel, Counter>,
    pub(super) sockets_opened: Counter,
    pub(super) sockets_closed: Family<CodeLabel, Counter>,
    pub(super) resume_changes: Histogram,
    pub(super) resume_bytes: Histogram,
    pub(super) bus_dropped: Family<BusDropLabel, Counter>,
    pub(super) bus_reconnects: Family<BusRoleLabel, Counter>,
    pub(super) bus_not_understood: Counter,
    pub(super) bus_forged: Counter,
    pub(super) bus_lag: Histogram,
}

impl PipelineMetrics {
    pub(super) fn declare(all: &mut Declaration) -> Self {
        let metrics = Self {
            commit_batch_size: all.histogram(
                "commit_batch_size",
                "Operations in a committed group",
                &BATCH_OPERATIONS,
            ),
            commit_duration: all.histogram(
                "commit_duration_seconds",
                "Time a group took to be committed, without repetitions",
                &PIPELINE_SECONDS,
            ),
            commit_retries: all.counter(
                "commit_retries",
                "Attempts to commit a group that failed and were repeated",
            ),
            append_to_ack: all.histogram(
                "append_to_ack_seconds",
                "Time from taking a post up to its receipt",
                &PIPELINE_SECONDS,
            ),
            append_to_delivery: all.histogram(
                "append_to_delivery_seconds",
                "Time from taking a post up until it waits in the outbox of every reader of this node",
                &PIPELINE_SECONDS,
            ),
            deliveries: all.counter("deliveries", "Live frames put into outboxes, one for each reader"),
            outbox_dropped: all.counter("outbox_dropped", "Ephemeral frames left out because a reader was slow"),
            outbox_evictions: all.counter("outbox_evictions", "Sockets cut because their reader was too slow"),
            sockets_opened: all.counter("sockets_opened", "Sockets opened"),
            sockets_closed: all.counter(
                "sockets_closed",
                "Sockets that ended, by the code they were closed with",
            ),
            resume_changes: all.histogram(
                "resume_changes",
                "Changes that brought a reader to the present",
                &RESUME_CHANGES,
            ),
            resume_bytes: all.histogram(
                "resume_bytes",
                "Bytes that brought a reader to the present",
                &RESUME_BYTES,
            ),
            bus_dropped: all.counter(
                "bus_dropped",
                "Envelopes dropped on their way between nodes, by the reason",
            ),
            bus_reconnects: all.counter(
                "bus_reconnects",
                "Connections of the bus to Redis that broke or could not be made, by what they are for",
            ),
            bus_not_understood: all.counter("bus_not_understood", "Envelopes of another version, or that are none"),
            bus_forged: all.counter(
                "bus_forged",
                "Envelopes that were ignored because no node has sealed them, or long ago",
            ),
            bus_lag: all.histogram(
                "bus_lag_seconds",
                "Time from publishing an envelope until a node took it up",
                &PIPELINE_SECONDS,
            ),
        };
        metrics.begin_known_series();
        metrics
    }

    /// Known series begin with zero: a rate over one that appears with its first event would miss
    /// that event.
    fn begin_known_series(&self) {
        for reason in [Eviction::Overflow, Eviction::Stalled] {
            drop(self.outbox_evictions.get_or_create(&EvictionLabel { reason }));
        }
        for reason in [BusDrop::OutgoingFull, BusDrop::IncomingFull, BusDrop::RedisAway] {
            drop(self.bus_dropped.get_or_create(&BusDropLabel { reason }));
        }
        for role in [BusRole::Publisher, BusRole::Subscriber] {
            drop(self.bus_reconnects.get_or_create(&BusRoleLabel { role }));
        }
    }
}

/// The index of search, which is filled behind the commits.
pub(super) struct SearchMetrics {
    pub(super) indexed: Counter,
    pub(super) lag: Gauge<f64, AtomicU64>,
    pub(super) waiting: Gauge,
}

impl SearchMetrics {
    pub(super) fn declare(all: &mut Declaration) -> Self {
        Self {
            indexed: all.counter(
                "search_indexed_messages",
                "Messages whose words were taken into the index of search",
            ),
            lag: all.gauge(
                "search_index_lag_seconds",
                "How long the conversation that waits longest for the index of search has waited on this node",
            ),
            waiting: all.gauge(
                "search_index_waiting_conversations",
                "Conversations with something that this node has to take into the index of search",
            ),
        }
    }
}

pub(super) struct AnalyticsMetrics {
    pub(super) counted: Counter,
    pub(super) lag: Gauge<f64, AtomicU64>,
    pub(super) duration: Histogram,
}

impl AnalyticsMetrics {
    pub(super) fn declare(all: &mut Declaration) -> Self {
        Self {
            counted: all.counter(
                "analytics_counted_messages",
                "Messages that this node has counted for analytics",
            ),
            lag: all.gauge(
                "analytics_lag_seconds",
                "How long ago everything was counted for analytics",
            ),
            duration: all.histogram(
                "analytics_question_duration_seconds",
                "Time of a question of analytics that was not answered from the cache",
                &REQUEST_SECONDS,
            ),
        }
    }
}

/// The latencies that tenants are shown, on their way into the database.
pub(super) struct LatencyMetrics {
    pub(super) stored: Counter,
    pub(super) dropped: Counter,
}

impl LatencyMetrics {
    pub(super) fn declare(all: &mut Declaration) -> Self {
        Self {
            stored: all.counter(
                "analytics_latencies_stored",
                "Latencies of messages and deliveries that were stored for the analytics of tenants",
            ),
            dropped: all.counter(
                "analytics_latencies_dropped",
                "Latencies that were not recorded for the analytics of tenants, because too many waited to be stored",
            ),
        }
    }
}
