//! The first level: what this process remembers, bounded in bytes and in time.
//!
//! An entry that may not be shown any more is not removed, it is not found: by `stamps.rs`, by its age. It leaves when it
//! is replaced, when its time is over, or when the room is needed. An entry holds its value as it is used, not encoded,
//! so a hit copies pointers.

use super::Cacheable;
use super::stamps::{Moment, Stamps, Stripe};
use moka::future::Cache as Moka;
use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What an entry costs besides its key and its value: the table's own, roughly.
const OVERHEAD_BYTES: usize = 200;

/// Where a value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Remote,
    Loader,
}

/// For how long something may be shown.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    /// The moment before it was loaded.
    pub(super) since: Moment,
    /// What it depends on, its key included.
    pub(super) stripes: Arc<[Stripe]>,
    pub(super) loaded_at: Instant,
    /// How old it may become.
    pub(super) ttl: Duration,
}

impl Terms {
    pub(super) fn hold(&self, stamps: &Stamps) -> bool {
        stamps.unchanged(self.since, &self.stripes)
    }
}

/// A value, or the knowledge that there is none.
pub(super) struct Entry<T> {
    pub(super) value: Option<T>,
    pub(super) source: Source,
    pub(super) terms: Terms,
}

impl<T: Cacheable> Entry<T> {
    fn weight(&self, key: &str) -> u32 {
        let value = self.value.as_ref().map_or(0, Cacheable::weight);
        let bytes = OVERHEAD_BYTES + key.len() + value + size_of_val(&*self.terms.stripes);
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }
}

/// An entry of whatever type.
#[derive(Clone)]
struct Held {
    entry: Arc<dyn Any + Send + Sync>,
    weight: u32,
}

pub(super) struct Local {
    entries: Moka<Arc<str>, Held>,
}

impl Local {
    /// Room for `bytes`; nothing stays longer than `ttl`.
    pub(super) fn new(bytes: usize, ttl: Duration) -> Self {
        let entries = Moka::builder()
            .max_capacity(u64::try_from(bytes).unwrap_or(u64::MAX))
            .weigher(|_, held: &Held| held.weight)
            .time_to_live(ttl.max(Duration::from_millis(1)))
            .build();
        Self { entries }
    }

    /// What is known and may be shown; not if it is older than `age_max`.
    pub(super) async fn find<T: Cacheable>(
        &self,
        key: &str,
        age_max: Duration,
        stamps: &Stamps,
    ) -> Option<Arc<Entry<T>>> {
        let entry = self.entries.get(key).await?.entry.downcast::<Entry<T>>().ok()?;
        let terms = &entry.terms;
        let fresh = terms.loaded_at.elapsed() < terms.ttl.min(age_max);
        (fresh && terms.hold(stamps)).then_some(entry)
    }

    pub(super) async fn insert<T: Cacheable>(&self, key: Arc<str>, entry: Arc<Entry<T>>) {
        let weight = entry.weight(&key);
        self.entries.insert(key, Held { entry, weight }).await;
    }

    /// Bytes in use, and how many entries; both lag a little.
    pub(super) fn size(&self) -> (u64, u64) {
        (self.entries.weighted_size(), self.entries.entry_count())
    }
}
