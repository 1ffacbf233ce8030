//! A look-up through the levels: L1, then a flight through L2 to the loader.
//!
//! Used by the handle, on the caller's task, and by the actor. Bound: at most [`WRITES_MAX`] values
//! wait to be written to Redis. Further ones are not written, and are loaded again by the next that needs
//! them there.

use super::cacheable::{Cacheable, Shareable};
use super::encoding;
use super::flights::{FlightJoin, Flights};
use super::keys::Key;
use super::kind::Kind;
use super::local::{CacheEntry, Local, Source, Validity};
use super::remote::{Remote, RemoteLookup, RemoteWrite, SeenBytes};
use super::versions::{Subject, Version, Versions};
use crate::bus::{Bus, Envelope, Invalidation, To};
use crate::config::CacheConfig;
use crate::ids::NodeId;
use crate::metrics::{Level, metrics};
use crate::redis::Redis;
use crate::supervision::Mailbox;
use futures_util::FutureExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Values that wait to be written to Redis; taken by the actor.
const WRITES_MAX: usize = 1_024;
/// How much earlier than its TTL an entry may end, as a share: what was cached together is not
/// loaded together again.
const TTL_SPREAD: f64 = 0.1;

/// Both levels of a node, and the loads that are under way.
pub(super) struct Levels {
    pub(super) node: NodeId,
    pub(super) bus: Arc<dyn Bus>,
    config: CacheConfig,
    pub(super) versions: Versions,
    pub(super) local: Local,
    flights: Arc<Flights>,
    /// `None` without Redis.
    pub(super) remote: Option<Arc<Remote>>,
    pub(super) writes: Mailbox<RemoteWrite>,
    counts: [ReadCounts; Kind::ALL.len()],
}

/// Reads of one kind.
#[derive(Default)]
struct ReadCounts {
    local: AtomicU64,
    remote: AtomicU64,
    misses: AtomicU64,
}

/// Reads of one kind, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// Found in this process.
    pub local: u64,
    /// Values that were found in Redis.
    pub remote: u64,
    /// Loaded, by the reader or by a load that was under way.
    pub misses: u64,
}

impl Levels {
    pub(super) fn new(node: NodeId, bus: Arc<dyn Bus>, redis: Option<Redis>, config: &CacheConfig) -> Self {
        Self {
            node,
            bus,
            config: config.clone(),
            versions: Versions::new(),
            local: Local::new(config.bytes, config.ttl_local),
            flights: Arc::default(),
            remote: redis.map(|redis| Arc::new(Remote::new(redis))),
            writes: Mailbox::new(WRITES_MAX),
            counts: Default::default(),
        }
    }

    const fn counts(&self, kind: Kind) -> &ReadCounts {
        &self.counts[kind as usize]
    }

    pub(super) fn reads(&self, kind: Kind) -> Reads {
        let counts = self.counts(kind);
        Reads {
            local: counts.local.load(Ordering::Relaxed),
            remote: counts.remote.load(Ordering::Relaxed),
            misses: counts.misses.load(Ordering::Relaxed),
        }
    }

    /// Invalidates on the other nodes.
    pub(super) fn publish(&self, invalidation: Invalidation) {
        if self.bus.has_peers(self.node) {
            self.bus
                .publish(self.node, To::Everybody, Envelope::Invalidated(invalidation));
        }
    }

    /// Invalidates a key in L1.
    pub(super) fn invalidate_key(&self, key: &str) {
        self.versions.changed(self.versions.shard_of_key(key));
    }

    /// The value of a key: from L1, or from the flight that `load` makes. `load` gets the version
    /// before anything is read.
    pub(super) async fn find_or_load<T, E, F>(
        self: &Arc<Self>,
        key: &Key<T>,
        age_max: Duration,
        load: impl FnOnce(Version) -> F + Send + 'static,
    ) -> Result<Option<T>, Arc<E>>
    where
        T: Cacheable,
        E: Send + Sync + 'static,
        F: Future<Output = Result<Arc<CacheEntry<T>>, E>> + Send + 'static,
    {
        let arrival = self.versions.now();
        let counts = self.counts(T::KIND);
        if let Some(entry) = self.local.find::<T>(key.text(), age_max, &self.versions).await {
            counts.local.fetch_add(1, Ordering::Relaxed);
            metrics().cache_hit(T::KIND.as_str(), Level::L1);
            return Ok(entry.value.clone());
        }
        // The version is taken before anything is read, by the one that begins the flight.
        let mut start = || {
            let since = self.versions.now();
            load(since).map(|result| result.map_err(Arc::new))
        };
        let entry = loop {
            match self.flights.join(key.text(), start) {
                FlightJoin::Own(flight) => break flight.await?,
                FlightJoin::Other(flight, unused) => {
                    start = unused;
                    let entry = flight.await?;
                    // It may have begun before a change that this caller knows of. Then the next
                    // one is good enough.
                    if entry.validity.since >= arrival || entry.validity.holds(&self.versions) {
                        break entry;
                    }
                }
            }
        };
        match entry.source {
            Source::Remote => {
                counts.remote.fetch_add(1, Ordering::Relaxed);
                metrics().cache_hit(T::KIND.as_str(), Level::L2);
            }
            Source::Loader => {
                counts.misses.fetch_add(1, Ordering::Relaxed);
                metrics().cache_missed(T::KIND.as_str());
            }
        }
        Ok(entry.value.clone())
    }

    /// A flight through L2 to the loader.
    pub(super) async fn load_shared<T, E, F>(
        &self,
        key: Arc<str>,
        since: Version,
        loader: impl FnOnce() -> F,
    ) -> Result<Arc<CacheEntry<T>>, E>
    where
        T: Shareable,
        F: Future<Output = Result<Option<T>, E>>,
    {
        let found = match &self.remote {
            Some(remote) if !self.kind_ttl(T::KIND).is_zero() => remote.find(&key).await,
            _ => RemoteLookup::Unknown,
        };
        let (value, source, seen) = match found {
            RemoteLookup::Value(value) => (value, Source::Remote, None),
            RemoteLookup::Missing(seen) => (loader().await?, Source::Loader, Some(seen)),
            RemoteLookup::Unknown => (loader().await?, Source::Loader, None),
        };
        let entry = self.entry(&key, since, source, value, &[]);
        if let Some(seen) = seen {
            self.write_to_remote(&key, &entry, seen);
        }
        self.remember(key, &entry).await;
        Ok(entry)
    }

    pub(super) fn entry<T: Cacheable>(
        &self,
        key: &str,
        since: Version,
        source: Source,
        value: Option<T>,
        depends_on: &[Subject],
    ) -> Arc<CacheEntry<T>> {
        let own = std::iter::once(self.versions.shard_of_key(key));
        let others = depends_on.iter().map(|subject| self.versions.shard_of(*subject));
        let ttl = self.ttl(&value).min(self.config.ttl_local);
        Arc::new(CacheEntry {
            value,
            source,
            validity: Validity {
                since,
                shards: own.chain(others).collect(),
                loaded_at: Instant::now(),
                ttl: spread(ttl),
            },
        })
    }

    const fn kind_ttl(&self, kind: Kind) -> Duration {
        match kind {
            Kind::User => self.config.ttl_user,
            Kind::Tenant => self.config.ttl_tenant,
            Kind::Conversations => self.config.ttl_conversations,
            Kind::ApiKey => self.config.ttl_api_key,
            Kind::Analytics => self.config.ttl_analytics,
        }
    }

    fn ttl<T: Cacheable>(&self, value: &Option<T>) -> Duration {
        let ttl = self.kind_ttl(T::KIND);
        if value.is_some() {
            ttl
        } else {
            ttl.min(self.config.ttl_negative)
        }
    }

    /// Puts an entry into L1, unless it is old already.
    pub(super) async fn remember<T: Cacheable>(&self, key: Arc<str>, entry: &Arc<CacheEntry<T>>) {
        if !entry.validity.ttl.is_zero() && entry.validity.holds(&self.versions) {
            self.local.insert(key, entry.clone()).await;
        }
    }

    /// Queues a value for L2; taken by the actor.
    fn write_to_remote<T: Shareable>(&self, key: &Arc<str>, entry: &CacheEntry<T>, seen: SeenBytes) {
        let ttl = self.ttl(&entry.value);
        if ttl.is_zero() {
            return;
        }
        let Some(bytes) = encoding::encode(&entry.value) else {
            return;
        };
        let write = RemoteWrite {
            key: key.clone(),
            bytes,
            seen,
            validity: entry.validity.clone(),
            ttl: spread(ttl),
        };
        if self.writes.sender().try_send(write).is_err() {
            tracing::debug!("too many values wait for Redis; one is not written");
        }
    }
}

/// A TTL, or up to a tenth less.
fn spread(ttl: Duration) -> Duration {
    ttl.mul_f64(rand::random_range(1.0 - TTL_SPREAD..=1.0))
}
