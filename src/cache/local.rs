//! L1: what this process remembers.
//!
//! An entry that may not be shown any more is not removed. It is not found, because of its versions
//! or its age. It leaves when it is replaced, when its TTL ends, or when the space is needed. It
//! holds the value as it is used, not encoded, so a hit copies pointers. Bounded in bytes and in
//! time.

use super::cacheable::Cacheable;
use super::versions::{Version, VersionShard, Versions};
use moka::future::Cache as Moka;
use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What an entry costs besides its key and its value, roughly.
const OVERHEAD_BYTES: usize = 200;

/// Where a value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Remote,
    Loader,
}

/// Until when a value may be shown.
#[derive(Clone, Debug)]
pub(super) struct Validity {
    /// The version before it was loaded.
    pub(super) since: Version,
    /// The shards of what it depends on, its key included.
    pub(super) shards: Arc<[VersionShard]>,
    pub(super) loaded_at: Instant,
    /// How old it may become.
    pub(super) ttl: Duration,
}

impl Validity {
    /// Whether nothing that the value depends on has changed.
    pub(super) fn holds(&self, versions: &Versions) -> bool {
        versions.unchanged(self.since, &self.shards)
    }
}

/// A value, or the knowledge that there is none.
pub(super) struct CacheEntry<T> {
    pub(super) value: Option<T>,
    pub(super) source: Source,
    pub(super) validity: Validity,
}

impl<T: Cacheable> CacheEntry<T> {
    fn weight(&self, key: &str) -> u32 {
        let value = self.value.as_ref().map_or(0, Cacheable::weight);
        let bytes = OVERHEAD_BYTES + key.len() + value + size_of_val(&*self.validity.shards);
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }
}

/// An entry of any type.
#[derive(Clone)]
struct AnyEntry {
    entry: Arc<dyn Any + Send + Sync>,
    weight: u32,
}

pub(super) struct Local {
    entries: Moka<Arc<str>, AnyEntry>,
}

impl Local {
    /// Space for `bytes`. Nothing stays longer than `ttl`.
    pub(super) fn new(bytes: usize, ttl: Duration) -> Self {
        let entries = Moka::builder()
            .max_capacity(u64::try_from(bytes).unwrap_or(u64::MAX))
            .weigher(|_, held: &AnyEntry| held.weight)
            .time_to_live(ttl.max(Duration::from_millis(1)))
            .build();
        Self { entries }
    }

    /// The entry of a key, if it may be shown and is not older than `age_max`.
    pub(super) async fn find<T: Cacheable>(
        &self,
        key: &str,
        age_max: Duration,
        versions: &Versions,
    ) -> Option<Arc<CacheEntry<T>>> {
        let entry = self.entries.get(key).await?.entry.downcast::<CacheEntry<T>>().ok()?;
        let validity = &entry.validity;
        let is_fresh = validity.loaded_at.elapsed() < validity.ttl.min(age_max);
        (is_fresh && validity.holds(versions)).then_some(entry)
    }

    pub(super) async fn insert<T: Cacheable>(&self, key: Arc<str>, entry: Arc<CacheEntry<T>>) {
        let weight = entry.weight(&key);
        self.entries.insert(key, AnyEntry { entry, weight }).await;
    }

    /// Bytes in use, and entries. Both lag a little behind.
    pub(super) fn size(&self) -> (u64, u64) {
        (self.entries.weighted_size(), self.entries.entry_count())
    }
}
