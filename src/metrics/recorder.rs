//! The recorder: one method for each thing that happens, and the text of a scrape.
//!
//! Used by every folder, through [`metrics`].

use super::declared::{
    AnalyticsMetrics, Declaration, LatencyMetrics, PipelineMetrics, ProtectionMetrics, RequestMetrics, SearchMetrics,
};
use super::labels::{
    self, ActorLabel, BusDrop, BusDropLabel, BusRole, BusRoleLabel, CacheLabels, CacheTypeLabel, CodeLabel, Eviction,
    EvictionLabel, HeldBack, HeldBackLabels, Level, QueryLabel, ReadTarget, RefusalLabels, RequestLabels, RouteLabels,
    SharedResource, Surface, TargetLabel,
};
use super::readings::Readings;
use crate::error::CloseCode;
use crate::ids::Tier;
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use std::sync::LazyLock;
use std::time::Duration;

/// The media type of [`Metrics::expose`]. Prometheus 2 and 3 read it, and everything that reads
/// OpenMetrics.
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The metrics of this process.
#[must_use]
pub fn metrics() -> &'static Metrics {
    static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::declare);
    &METRICS
}

/// Everything that is counted. What each metric means stands in its declaration in `declared.rs`.
pub struct Metrics {
    registry: Registry,
    names: Vec<String>,
    requests: RequestMetrics,
    protection: ProtectionMetrics,
    pipeline: PipelineMetrics,
    search: SearchMetrics,
    analytics: AnalyticsMetrics,
    latencies: LatencyMetrics,
}

impl Metrics {
    fn declare() -> Self {
        let mut all = Declaration::default();
        let (requests, protection, pipeline, search, analytics) = (
            RequestMetrics::declare(&mut all),
            ProtectionMetrics::declare(&mut all),
            PipelineMetrics::declare(&mut all),
            SearchMetrics::declare(&mut all),
            AnalyticsMetrics::declare(&mut all),
        );
        let latencies = LatencyMetrics::declare(&mut all);
        all.version(env!("CARGO_PKG_VERSION"));
        Self {
            registry: all.registry,
            names: all.names,
            requests,
            protection,
            pipeline,
            search,
            analytics,
            latencies,
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

    /// A response to a request began. `route` is the pattern that matched.
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

    /// A statement was carried out, or its deadline passed.
    pub fn db_queried(&self, query: &'static str, elapsed: Duration) {
        self.requests
            .db_query_duration
            .get_or_create(&QueryLabel { query })
            .observe(elapsed.as_secs_f64());
    }

    /// Someone got a connection of the pool after waiting this long.
    pub fn db_pool_waited(&self, waited: Duration) {
        self.requests.db_pool_wait.observe(waited.as_secs_f64());
    }

    /// Someone got no connection of the pool in time.
    pub fn db_pool_timed_out(&self) {
        self.requests.db_pool_timeouts.inc();
    }

    /// A read that may be some seconds old was made.
    pub fn read_stale(&self, target: ReadTarget) {
        self.requests.stale_reads.get_or_create(&TargetLabel { target }).inc();
    }

    /// A read on the replica failed, or was given up with it.
    pub fn replica_read_failed(&self) {
        self.requests.replica_failures.inc();
    }

    /// The cache had the value. `cache_type` is the first part of the key (`user`, `api_key`).
    pub fn cache_hit(&self, cache_type: &'static str, level: Level) {
        self.protection
            .cache_hits
            .get_or_create(&CacheLabels { cache_type, level })
            .inc();
    }

    /// The cache did not have the value, and the loader was asked.
    pub fn cache_missed(&self, cache_type: &'static str) {
        self.protection
            .cache_misses
            .get_or_create(&CacheTypeLabel { cache_type })
            .inc();
    }

    /// A call to L2 failed, or its deadline passed.
    pub fn cache_l2_failed(&self) {
        self.protection.cache_l2_errors.inc();
    }

    /// L2 is not asked for a while.
    pub fn cache_l2_breaker_opened(&self) {
        self.protection.cache_l2_breaker_openings.inc();
    }

    /// Something was refused because there was too much of it.
    pub fn rate_limited(&self, tier: Tier, surface: Surface) {
        self.protection
            .rate_limited
            .get_or_create(&RefusalLabels { tier, surface })
            .inc();
    }

    /// A decision was made with local counters, the shared ones being out of reach.
    pub fn rate_limit_fell_back(&self) {
        self.protection.rate_limit_fallbacks.inc();
    }

    /// Somebody waited for, or did not get, their share of something.
    pub fn held_back(&self, resource: SharedResource, outcome: HeldBack) {
        self.protection
            .held_back
            .get_or_create(&HeldBackLabels { resource, outcome })
            .inc();
    }

    /// An actor of that name is supervised from now on. Its restarts are counted from zero, so that
    /// a rate sees the first one. Repeating it has no effect.
    pub fn actor_supervised(&self, actor: &'static str) {
        drop(self.protection.actor_restarts.get_or_create(&ActorLabel { actor }));
    }

    /// An actor has died. It is started again when its budget allows.
    pub fn actor_restarted(&self, actor: &'static str) {
        self.protection
            .actor_restarts
            .get_or_create(&ActorLabel { actor })
            .inc();
    }

    pub fn panicked(&self) {
        self.protection.panics.inc();
    }

    /// Lines of the log found no room, or could not be written.
    pub fn log_lines_dropped(&self, lines: u64) {
        self.protection.log_lines_dropped.inc_by(lines);
    }

    /// A group was committed.
    pub fn committed(&self, operations: usize, elapsed: Duration) {
        self.pipeline.commit_batch_size.observe(operations as f64);
        self.pipeline.commit_duration.observe(elapsed.as_secs_f64());
    }

    /// A group was not committed and will be tried again.
    pub fn commit_retried(&self) {
        self.pipeline.commit_retries.inc();
    }

    /// A post got its receipt.
    pub fn acknowledged(&self, elapsed: Duration) {
        self.pipeline.append_to_ack.observe(elapsed.as_secs_f64());
    }

    /// Posts are in the outboxes of their readers; the oldest was accepted this long ago.
    pub fn delivered(&self, elapsed: Duration) {
        self.pipeline.append_to_delivery.observe(elapsed.as_secs_f64());
    }

    /// Frames were put into outboxes: frames times readers.
    pub fn pushed(&self, deliveries: u64) {
        self.pipeline.deliveries.inc_by(deliveries);
    }

    /// An ephemeral frame was dropped.
    pub fn outbox_dropped(&self) {
        self.pipeline.outbox_dropped.inc();
    }

    /// A socket was cut because its reader is too slow.
    pub fn outbox_evicted(&self, reason: Eviction) {
        self.pipeline
            .outbox_evictions
            .get_or_create(&EvictionLabel { reason })
            .inc();
    }

    pub fn socket_opened(&self) {
        self.pipeline.sockets_opened.inc();
    }

    /// A socket has ended. `code` is the code we closed it with, if we did.
    pub fn socket_closed(&self, code: Option<CloseCode>) {
        let code = code.map_or(0, CloseCode::as_u16);
        self.pipeline.sockets_closed.get_or_create(&CodeLabel { code }).inc();
    }

    /// A reader was brought to the present.
    pub fn resumed(&self, changes: usize, bytes: usize) {
        self.pipeline.resume_changes.observe(changes as f64);
        self.pipeline.resume_bytes.observe(bytes as f64);
    }

    pub fn bus_dropped(&self, reason: BusDrop, count: usize) {
        self.pipeline
            .bus_dropped
            .get_or_create(&BusDropLabel { reason })
            .inc_by(count as u64);
    }

    /// A connection of the bus broke or could not be made, and is tried again.
    pub fn bus_reconnects(&self, role: BusRole) {
        self.pipeline.bus_reconnects.get_or_create(&BusRoleLabel { role }).inc();
    }

    /// Another node has sent something that is not understood.
    pub fn bus_not_understood(&self) {
        self.pipeline.bus_not_understood.inc();
    }

    /// An envelope was ignored: no node has sealed it, or it is old.
    pub fn bus_forged(&self) {
        self.pipeline.bus_forged.inc();
    }

    /// An envelope was received this long after it was published.
    pub fn bus_lagged(&self, lag: Duration) {
        self.pipeline.bus_lag.observe(lag.as_secs_f64());
    }

    /// Messages were taken into the index of search.
    pub fn search_indexed(&self, messages: usize) {
        self.search.indexed.inc_by(messages as u64);
    }

    /// Latencies of tenants were not recorded, because there is no place for more of them.
    pub fn latencies_dropped(&self, n: u64) {
        self.latencies.dropped.inc_by(n);
    }

    /// Latencies of tenants are in the database.
    pub fn latencies_stored(&self, n: u64) {
        self.latencies.stored.inc_by(n);
    }

    /// What waits for the index of search, and how long the first of it has waited.
    pub fn search_lagged(&self, lag: Duration, conversations: usize) {
        self.search.lag.set(lag.as_secs_f64());
        let conversations = i64::try_from(conversations).unwrap_or(i64::MAX);
        self.search.waiting.set(conversations);
    }

    /// Messages were counted for analytics.
    pub fn analytics_counted(&self, messages: usize) {
        self.analytics.counted.inc_by(messages as u64);
    }

    /// How long ago everything was counted for analytics.
    pub fn analytics_lagged(&self, lag: Duration) {
        self.analytics.lag.set(lag.as_secs_f64());
    }

    /// A question of analytics was answered, and not from the cache.
    pub fn analytics_answered(&self, elapsed: Duration) {
        self.analytics.duration.observe(elapsed.as_secs_f64());
    }
}
