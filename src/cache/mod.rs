//! The cache: what this process remembers (L1), what the nodes remember together in Redis (L2), and who loads the rest.
//!
//! It answers reads that would ask PostgreSQL the same question again. Nothing rests on it: without it everything is
//! slower and as right. Messages and revisions are not cached, the conversation's actor is their cache; and nothing is that
//! decides a permission by itself, so that a change of rights never waits for a TTL: who an API key stands for is, in this
//! process only, and each use is checked against what `auth` knows of changes since.
//!
//! `keys.rs` names things, `stamps.rs` (pure) says what may still be shown, `local.rs` is the first level, `remote.rs`
//! and `value.rs` the second, `flights.rs` lets one load for all who wait, `supervisor.rs` is the actor that talks to Redis
//! and hears the other nodes.
//!
//! **What a reader may rely on.** On this node: a read that begins after [`Cache::delete`] or [`Cache::touch`] returned
//! never gets what was true before. On another node: as soon as the bus has told it, and whatever is lost on the way ends
//! with the TTL. A failed load is not remembered; what is not there is, for `CACHE_TTL_NEGATIVE`.
//!
//! Bounds: L1 in bytes (`PARLANCE_CACHE_BYTES`) and a minute (`CACHE_TTL_LOCAL`); waiting for Redis, one deadline of
//! `redis::Redis` for each look-up. Full means that something is forgotten and loaded again.

mod flights;
pub mod keys;
mod local;
mod pending;
mod remote;
mod stamps;
mod supervisor;
mod value;

pub use keys::{Key, Kind, Pattern};
pub use stamps::Subject;

use crate::bus::{Bus, Envelope, Invalidation, To};
use crate::config::CacheConfig;
use crate::ids::NodeId;
use crate::metrics::{Level, metrics};
use crate::redis::{self, Redis};
use crate::supervision::{ArbiterPool, Mailbox};
use flights::{Flights, Joined};
use futures_util::FutureExt as _;
use local::{Entry, Local, Source, Terms};
use remote::{Found, Put, Remote, Seen};
use serde::Serialize;
use serde::de::DeserializeOwned;
use stamps::{Moment, Stamps};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How much earlier than its TTL an entry may end, as a share: what was cached together is not loaded together again.
const JITTER: f64 = 0.1;

/// What can be remembered in this process. Cloning must be cheap: it is done on every hit.
pub trait Cacheable: Clone + Send + Sync + 'static {
    /// As what it is cached.
    const KIND: Kind;

    /// About how many bytes it holds in memory.
    fn weight(&self) -> usize;
}

/// What can be remembered in Redis too: a shape made for it, apart from the wire's.
pub trait Shareable: Cacheable + Serialize + DeserializeOwned {
    /// The version of the shape, from 1: another one after every change of the type, or of a type in it.
    const VERSION: u8;
}

/// What a loader brings for this process alone.
#[derive(Debug)]
pub struct Loaded<T> {
    /// The value; `None` when there is no such thing.
    pub value: Option<T>,
    /// What it depends on besides its key.
    pub depends_on: Vec<Subject>,
    /// Whether it may be shown to anybody but those who wait for it.
    pub keep: bool,
}

/// The handle. Cheap to clone.
#[derive(Clone)]
pub struct Cache {
    shared: Arc<Shared>,
}

struct Shared {
    node: NodeId,
    bus: Arc<dyn Bus>,
    config: CacheConfig,
    stamps: Stamps,
    local: Local,
    flights: Arc<Flights>,
    remote: Option<Arc<Remote>>,
    /// Values that wait to be written to Redis.
    puts: Mailbox<Put>,
    counts: [Counts; Kind::ALL.len()],
}

/// Reads of one kind.
#[derive(Default)]
struct Counts {
    local: AtomicU64,
    remote: AtomicU64,
    misses: AtomicU64,
}

/// Reads of one kind, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// Answered by this process.
    pub local: u64,
    /// Answered by Redis.
    pub remote: u64,
    /// Answered by a loader, one's own or one that was under way.
    pub misses: u64,
}

/// How the second level is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemoteStatus {
    /// Calls without a usable answer.
    pub errors: u64,
    /// Values found that were none of ours.
    pub rejected: u64,
    /// Invalidations that have not arrived.
    pub waiting: usize,
}

impl Cache {
    /// Starts the supervisor.
    #[must_use]
    pub fn start(
        (node, bus): (NodeId, Arc<dyn Bus>),
        redis: Option<Redis>,
        config: &CacheConfig,
        arbiters: &ArbiterPool,
    ) -> Self {
        let shared = Arc::new(Shared {
            node,
            bus,
            config: config.clone(),
            stamps: Stamps::new(),
            local: Local::new(config.bytes, config.ttl_local),
            flights: Arc::default(),
            remote: redis.map(|redis| Arc::new(Remote::new(redis))),
            puts: Mailbox::new(supervisor::PUTS_MAX),
            counts: Default::default(),
        });
        supervisor::start(&shared, arbiters);
        Self { shared }
    }

    /// What is known under a key, from L1, from L2, or from the loader, which is called at most once for all who ask at
    /// the same time. `None` means that there is no such thing.
    ///
    /// # Errors
    /// The loader's; it reaches all who waited for it, and is not remembered.
    pub async fn get_or_load<T, E, F>(
        &self,
        key: &Key<T>,
        loader: impl FnOnce() -> F + Send + 'static,
    ) -> Result<Option<T>, Arc<E>>
    where
        T: Shareable,
        E: Send + Sync + 'static,
        F: Future<Output = Result<Option<T>, E>> + Send + 'static,
    {
        let shared = self.shared.clone();
        let text = key.text().clone();
        let load = move |since| async move { shared.load_shared(text, since, loader).await };
        self.shared.find_or_load(key, Duration::MAX, load).await
    }

    /// As [`Self::get_or_load`] without L2, for what depends on more than its key; not if it is older than `age_max`.
    ///
    /// # Errors
    /// The loader's.
    pub async fn get_or_load_here<T, E, F>(
        &self,
        key: &Key<T>,
        age_max: Duration,
        loader: impl FnOnce() -> F + Send + 'static,
    ) -> Result<Option<T>, Arc<E>>
    where
        T: Cacheable,
        E: Send + Sync + 'static,
        F: Future<Output = Result<Loaded<T>, E>> + Send + 'static,
    {
        let shared = self.shared.clone();
        let text = key.text().clone();
        let load = move |since| async move {
            let loaded = loader().await?;
            let entry = shared.entry(&text, since, Source::Loader, loaded.value, &loaded.depends_on);
            if loaded.keep {
                shared.remember(text, &entry).await;
            }
            Ok(entry)
        };
        self.shared.find_or_load(key, age_max, load).await
    }

    /// Forgets what is known under a key, on every node. To be called when the truth has changed, before whoever
    /// changed it is answered; never waits.
    pub fn delete<T>(&self, key: &Key<T>) {
        let text = key.text();
        self.shared.forget(text);
        if let Some(remote) = &self.shared.remote {
            remote.invalidate(text);
        }
        self.shared.publish(Invalidation::Keys(vec![text.clone()]));
    }

    /// Forgets everything under keys like these, on every node; this process and the others forget all they have in
    /// memory. In Redis it goes on for a while; until it is done at a server, nothing is read there. Never waits.
    pub fn delete_pattern(&self, pattern: Pattern) {
        self.shared.stamps.touch_all();
        if let Some(remote) = &self.shared.remote {
            remote.purge(pattern);
        }
        self.shared.publish(Invalidation::Everything);
    }

    /// Makes a guard that forgets a key when it is dropped: made before the change, it also does when whoever makes the
    /// change goes away in the middle of it.
    #[must_use]
    pub fn delete_on_drop<T>(&self, key: &Key<T>) -> impl Drop + use<T> {
        Stale {
            cache: self.clone(),
            key: key.clone(),
        }
    }

    /// Says that a subject has changed: what depends on it in this process is not shown any more. To be called when the
    /// truth has changed, before whoever changed it is answered. Two atomic operations, however much depends on it.
    pub fn touch(&self, subject: Subject) {
        self.shared.stamps.touch(self.shared.stamps.stripe_of(subject));
    }

    /// Makes a guard that says so when it is dropped, as [`Self::delete_on_drop`].
    #[must_use]
    pub fn touch_on_drop(&self, subjects: Vec<Subject>) -> impl Drop + use<> {
        Changed {
            cache: self.clone(),
            subjects,
        }
    }

    /// Forgets everything in this process: something may have changed that nobody was told of.
    pub fn touch_all(&self) {
        self.shared.stamps.touch_all();
    }

    /// Returns when every invalidation has reached Redis; while Redis is away that is not soon. For an orderly stop: what
    /// waits is known to nobody else.
    pub async fn flush(&self) {
        if let Some(remote) = &self.shared.remote {
            remote.flush().await;
        }
    }

    /// How reads of a kind were answered.
    #[must_use]
    pub fn reads(&self, kind: Kind) -> Reads {
        let counts = self.shared.counts(kind);
        Reads {
            local: counts.local.load(Ordering::Relaxed),
            remote: counts.remote.load(Ordering::Relaxed),
            misses: counts.misses.load(Ordering::Relaxed),
        }
    }

    /// Bytes and entries in this process; both lag a little.
    #[must_use]
    pub fn size(&self) -> (u64, u64) {
        self.shared.local.size()
    }

    /// How the second level is, where there is one.
    #[must_use]
    pub fn remote(&self) -> Option<RemoteStatus> {
        let remote = self.shared.remote.as_ref()?;
        Some(RemoteStatus {
            errors: remote.errors(),
            rejected: remote.rejected(),
            waiting: remote.waiting(),
        })
    }

    /// Whether the second level, where there is one, can be used.
    ///
    /// # Errors
    /// Why not, for operators.
    pub async fn check(&self) -> Result<(), String> {
        let Some(remote) = &self.shared.remote else {
            return Ok(());
        };
        // Also read by strangers, so without what the client library says.
        remote.redis().ping().await.map_err(|error| match error {
            redis::Error::Open => "not asked for now, after it failed several times",
            redis::Error::Timeout { .. } => "no answer in time",
            redis::Error::Url | redis::Error::Nobody | redis::Error::Failed { .. } => "no usable answer",
        })?;
        match remote.waiting() {
            0 => Ok(()),
            _ => Err("invalidations wait for it".to_owned()),
        }
    }
}

struct Stale<T> {
    cache: Cache,
    key: Key<T>,
}

impl<T> Drop for Stale<T> {
    fn drop(&mut self) {
        self.cache.delete(&self.key);
    }
}

struct Changed {
    cache: Cache,
    subjects: Vec<Subject>,
}

impl Drop for Changed {
    fn drop(&mut self) {
        self.subjects.iter().for_each(|subject| self.cache.touch(*subject));
    }
}

impl Shared {
    const fn counts(&self, kind: Kind) -> &Counts {
        &self.counts[kind as usize]
    }

    fn publish(&self, invalidation: Invalidation) {
        if self.bus.has_peers(self.node) {
            self.bus
                .publish(self.node, To::Everybody, Envelope::Invalidated(invalidation));
        }
    }

    fn forget(&self, key: &str) {
        self.stamps.touch(self.stamps.stripe_of_key(key));
    }

    async fn find_or_load<T, E, F>(
        self: &Arc<Self>,
        key: &Key<T>,
        age_max: Duration,
        load: impl FnOnce(Moment) -> F + Send + 'static,
    ) -> Result<Option<T>, Arc<E>>
    where
        T: Cacheable,
        E: Send + Sync + 'static,
        F: Future<Output = Result<Arc<Entry<T>>, E>> + Send + 'static,
    {
        let arrival = self.stamps.now();
        let counts = self.counts(T::KIND);
        if let Some(entry) = self.local.find::<T>(key.text(), age_max, &self.stamps).await {
            counts.local.fetch_add(1, Ordering::Relaxed);
            metrics().cache_hit(T::KIND.as_str(), Level::L1);
            return Ok(entry.value.clone());
        }
        // The moment is taken before anything is read, by whoever begins the flight.
        let mut start = || {
            let since = self.stamps.now();
            load(since).map(|result| result.map_err(Arc::new))
        };
        let entry = loop {
            match self.flights.join(key.text(), start) {
                Joined::Own(flight) => break flight.await?,
                Joined::Other(flight, unused) => {
                    start = unused;
                    let entry = flight.await?;
                    // Begun before a change that this caller may know of, it is not good enough; the next one will be.
                    if entry.terms.since >= arrival || entry.terms.hold(&self.stamps) {
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
    async fn load_shared<T, E, F>(
        &self,
        key: Arc<str>,
        since: Moment,
        loader: impl FnOnce() -> F,
    ) -> Result<Arc<Entry<T>>, E>
    where
        T: Shareable,
        F: Future<Output = Result<Option<T>, E>>,
    {
        let found = match &self.remote {
            Some(remote) if !self.kind_ttl(T::KIND).is_zero() => remote.find(&key).await,
            _ => Found::Unknown,
        };
        let (value, source, seen) = match found {
            Found::Value(value) => (value, Source::Remote, None),
            Found::Nothing(seen) => (loader().await?, Source::Loader, Some(seen)),
            Found::Unknown => (loader().await?, Source::Loader, None),
        };
        let entry = self.entry(&key, since, source, value, &[]);
        if let Some(seen) = seen {
            self.offer(&key, &entry, seen);
        }
        self.remember(key, &entry).await;
        Ok(entry)
    }

    fn entry<T: Cacheable>(
        &self,
        key: &str,
        since: Moment,
        source: Source,
        value: Option<T>,
        depends_on: &[Subject],
    ) -> Arc<Entry<T>> {
        let own = std::iter::once(self.stamps.stripe_of_key(key));
        let others = depends_on.iter().map(|subject| self.stamps.stripe_of(*subject));
        let ttl = self.ttl(&value).min(self.config.ttl_local);
        Arc::new(Entry {
            value,
            source,
            terms: Terms {
                since,
                stripes: own.chain(others).collect(),
                loaded_at: Instant::now(),
                ttl: jittered(ttl),
            },
        })
    }

    const fn kind_ttl(&self, kind: Kind) -> Duration {
        match kind {
            Kind::User => self.config.ttl_user,
            Kind::Tenant => self.config.ttl_tenant,
            Kind::Conversations => self.config.ttl_conversations,
            Kind::ApiKey => self.config.ttl_api_key,
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

    /// Into L1, unless it is old already.
    async fn remember<T: Cacheable>(&self, key: Arc<str>, entry: &Arc<Entry<T>>) {
        if !entry.terms.ttl.is_zero() && entry.terms.hold(&self.stamps) {
            self.local.insert(key, entry.clone()).await;
        }
    }

    /// To L2, when the supervisor comes to it.
    fn offer<T: Shareable>(&self, key: &Arc<str>, entry: &Entry<T>, seen: Seen) {
        let ttl = self.ttl(&entry.value);
        if ttl.is_zero() {
            return;
        }
        let Some(bytes) = value::encode(&entry.value) else {
            return;
        };
        let put = Put {
            key: key.clone(),
            bytes,
            seen,
            terms: entry.terms.clone(),
            ttl: jittered(ttl),
        };
        if self.puts.sender().try_send(put).is_err() {
            tracing::debug!("too many values wait for Redis; one is not written");
        }
    }
}

fn jittered(ttl: Duration) -> Duration {
    ttl.mul_f64(rand::random_range(1.0 - JITTER..=1.0))
}
