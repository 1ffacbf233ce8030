//! The way into the cache. Cheap to clone; every method runs on the caller's task.
//!
//! Used by auth, tenants and conversations. Nothing here waits for Redis but a look-up (one
//! deadline) and [`CacheHandle::flush`]. Writes to Redis are queued for the actor.

use super::actor;
use super::cacheable::{Cacheable, LoadedValue, Shareable};
use super::keys::{Key, Pattern};
use super::kind::Kind;
use super::levels::{Levels, Reads};
use super::local::Source;
use super::versions::Subject;
use crate::bus::{Bus, Invalidation};
use crate::config::CacheConfig;
use crate::ids::NodeId;
use crate::redis::{self, Redis};
use crate::supervision::ArbiterPool;
use std::sync::Arc;
use std::time::Duration;

/// The handle of a node's cache.
#[derive(Clone)]
pub struct CacheHandle {
    levels: Arc<Levels>,
}

/// The state of L2, for operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemoteStatus {
    /// Calls without a usable reply.
    pub errors: u64,
    /// Values found there that are of another version, or not ours.
    pub rejected: u64,
    /// Invalidations that have not reached Redis.
    pub waiting: usize,
}

impl CacheHandle {
    /// Starts the actor, too.
    #[must_use]
    pub fn start(
        node: NodeId,
        bus: Arc<dyn Bus>,
        redis: Option<Redis>,
        config: &CacheConfig,
        arbiters: &ArbiterPool,
    ) -> Self {
        let levels = Arc::new(Levels::new(node, bus, redis, config));
        actor::start(&levels, arbiters);
        Self { levels }
    }

    /// The value of a key: from L1, from L2, or from the loader. The loader is called once for all
    /// who ask at the same time. `None` means that there is no such thing.
    ///
    /// # Errors
    /// The loader's. It reaches all who waited, and it is not remembered.
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
        let levels = self.levels.clone();
        let text = key.text().clone();
        let load = move |since| async move { levels.load_shared(text, since, loader).await };
        self.levels.find_or_load(key, Duration::MAX, load).await
    }

    /// As [`Self::get_or_load`], but without L2 and not older than `age_max`. For values that
    /// depend on more than their key.
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
        F: Future<Output = Result<LoadedValue<T>, E>> + Send + 'static,
    {
        let levels = self.levels.clone();
        let text = key.text().clone();
        let load = move |since| async move {
            let loaded = loader().await?;
            let entry = levels.entry(&text, since, Source::Loader, loaded.value, &loaded.depends_on);
            if loaded.keep {
                levels.remember(text, &entry).await;
            }
            Ok(entry)
        };
        self.levels.find_or_load(key, age_max, load).await
    }

    /// Removes the value of a key on every node. Call it after the truth has changed, and before
    /// the response to the caller who changed it. Never waits.
    pub fn delete<T>(&self, key: &Key<T>) {
        let text = key.text();
        self.levels.invalidate_key(text);
        if let Some(remote) = &self.levels.remote {
            remote.invalidate(text);
        }
        self.levels.publish(Invalidation::Keys(vec![text.clone()]));
    }

    /// Removes the values of many keys on every node. Never waits.
    ///
    /// In memory, every node drops all it has. In Redis the removal takes a while, and a server is
    /// not read before its part is done.
    pub fn delete_pattern(&self, pattern: Pattern) {
        self.levels.versions.all_changed();
        if let Some(remote) = &self.levels.remote {
            remote.purge(pattern);
        }
        self.levels.publish(Invalidation::Everything);
    }

    /// A guard that calls [`Self::delete`] when it is dropped. Make it before the change: then it
    /// also works when the task that makes the change is cancelled in the middle.
    #[must_use]
    pub fn delete_on_drop<T>(&self, key: &Key<T>) -> impl Drop + use<T> {
        DeleteOnDrop {
            cache: self.clone(),
            key: key.clone(),
        }
    }

    /// Invalidates what depends on a subject, in this process. Call it after the truth has changed,
    /// and before the response to the caller who changed it. It costs two atomic operations, however much
    /// depends on the subject.
    pub fn invalidate(&self, subject: Subject) {
        self.levels.versions.changed(self.levels.versions.shard_of(subject));
    }

    /// A guard that calls [`Self::invalidate`] when it is dropped; see [`Self::delete_on_drop`].
    #[must_use]
    pub fn invalidate_on_drop(&self, subjects: Vec<Subject>) -> impl Drop + use<> {
        InvalidateOnDrop {
            cache: self.clone(),
            subjects,
        }
    }

    /// Invalidates everything in this process. For when invalidations may have been missed.
    pub fn invalidate_all(&self) {
        self.levels.versions.all_changed();
    }

    /// Waits until every invalidation has reached Redis; while Redis is away that may be long. For
    /// an orderly stop: no other node knows what waits here.
    pub async fn flush(&self) {
        if let Some(remote) = &self.levels.remote {
            remote.flush().await;
        }
    }

    /// Where the values of a kind were found.
    #[must_use]
    pub fn reads(&self, kind: Kind) -> Reads {
        self.levels.reads(kind)
    }

    /// Bytes and entries of L1. Both lag a little behind.
    #[must_use]
    pub fn size(&self) -> (u64, u64) {
        self.levels.local.size()
    }

    /// The state of L2; `None` without Redis.
    #[must_use]
    pub fn remote(&self) -> Option<RemoteStatus> {
        let remote = self.levels.remote.as_ref()?;
        Some(RemoteStatus {
            errors: remote.errors(),
            rejected: remote.rejected(),
            waiting: remote.waiting(),
        })
    }

    /// Whether L2, where there is one, can be used.
    ///
    /// # Errors
    /// Why not, for operators.
    pub async fn check(&self) -> Result<(), String> {
        let Some(remote) = &self.levels.remote else {
            return Ok(());
        };
        // Also read by strangers, so without what the client library says.
        remote.redis().ping().await.map_err(|error| match error {
            redis::Error::BreakerOpen => "not asked for now, after it failed several times",
            redis::Error::Timeout { .. } => "no answer in time",
            redis::Error::Settings(_) | redis::Error::NoOwner | redis::Error::Failed { .. } => "no usable answer",
        })?;
        match remote.waiting() {
            0 => Ok(()),
            _ => Err("invalidations wait for it".to_owned()),
        }
    }
}

struct DeleteOnDrop<T> {
    cache: CacheHandle,
    key: Key<T>,
}

impl<T> Drop for DeleteOnDrop<T> {
    fn drop(&mut self) {
        self.cache.delete(&self.key);
    }
}

struct InvalidateOnDrop {
    cache: CacheHandle,
    subjects: Vec<Subject>,
}

impl Drop for InvalidateOnDrop {
    fn drop(&mut self) {
        self.subjects.iter().for_each(|subject| self.cache.invalidate(*subject));
    }
}
