//! The second level: what the nodes remember together, in Redis.
//!
//! Three dangers, and what is done about them. *A slow load writes an old value after an invalidation*, on whichever
//! nodes: an invalidation does not delete but leaves a tombstone for [`TOMBSTONE_TTL`], and a value is only written if
//! what stands there is still what its loader saw before it read the truth. *An invalidation does not reach Redis*: it
//! waits here, is tried again, and until then this node neither reads nor writes that key there; if too many wait, all
//! that is ours in Redis is removed, and none of it is read before. *Redis comes back with a memory of before*
//! (restarted from a snapshot): the run id written beside our values is not its own, and all of them are removed. So they
//! are when it is gone: then Redis has forgotten things, our tombstones too, or makes room.
//!
//! Other nodes are told of an invalidation at once, and again when it has reached Redis: one that had its first level
//! emptied in between may have read the old value there once more. What is lost when this process dies before Redis has
//! heard of an invalidation ends with the value's TTL; nothing that decides a permission is cached.
//!
//! Bounds: [`PENDING_MAX`] keys and [`PURGES_MAX`] patterns wait; [`BATCH_MAX`] commands in one call; a pattern is
//! removed in steps of about [`SCAN_COUNT`] keys, never by one command that stops Redis.

use super::Shareable;
use super::keys::{PREFIX, Pattern};
use super::local::Terms;

use super::value::{self, Decoded};
use crate::metrics::metrics;
use crate::redis::{Error, Redis};
use parking_lot::Mutex;
use redis::{Cmd, Pipeline, Value, cmd, pipe};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// Invalidations that wait for Redis.
const PENDING_MAX: usize = 10_000;
/// Patterns that wait for Redis.
const PURGES_MAX: usize = 8;
/// Commands in one call.
pub(super) const BATCH_MAX: usize = 64;
/// Where the run id stands of the Redis that our values were written to; not itself under [`PREFIX`].
const WRITTEN_TO: &str = "parlance:cache-written-to";
/// How often the keys are gone through, with a pause between: a value that was on its way when the removal was announced
/// may be written behind the first pass.
const PURGE_PASSES: u32 = 2;
/// About how many keys one step of a removal looks at.
const SCAN_COUNT: usize = 500;
/// How long a tombstone stays: longer than any load takes, from its first look at Redis to its write.
const TOMBSTONE_TTL: Duration = Duration::from_secs(30);

/// Writes a value unless somebody else has been there: what is there must be what the loader saw, or still nothing.
const PUT_IF_UNCHANGED: &str = "local there = redis.call('GET', KEYS[1])
if there == ARGV[1] then redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
return 0";

/// What stood under a key that held no value; needed to write one.
pub(super) type Seen = Option<Vec<u8>>;

/// What a look at Redis brought.
pub(super) enum Found<T> {
    Value(Option<T>),
    Nothing(Seen),
    /// No answer, or not to be asked: nothing may be written either.
    Unknown,
}

/// A value to be written.
pub(super) struct Put {
    pub(super) key: Arc<str>,
    pub(super) bytes: Vec<u8>,
    pub(super) seen: Seen,
    /// Not written if they do not hold any more.
    pub(super) terms: Terms,
    pub(super) ttl: Duration,
}

/// What waits for Redis.
#[derive(Default)]
struct Pending {
    /// Each with a number, by which a later invalidation of the same key is told from the one being delivered.
    keys: HashMap<Arc<str>, u64>,
    number: u64,
    purges: VecDeque<Purge>,
    /// What the mark becomes when all removals are done.
    run_id: Option<String>,
}

struct Purge {
    pattern: Pattern,
    cursor: u64,
    /// How often the keys are still to be gone through.
    passes: u32,
}

impl Pending {
    fn purge(&mut self, pattern: Pattern) {
        if self.purges.len() >= PURGES_MAX {
            self.purges.clear();
            return self.purge(Pattern::everything());
        }
        self.purges.push_back(Purge {
            pattern,
            cursor: 0,
            passes: PURGE_PASSES,
        });
    }

    /// Notes a step of the first removal; the mark to be set, if it was the last step of the last one.
    fn purged(&mut self, pattern: &Pattern, next: u64) -> (Delivered, Option<String>) {
        // It may have been replaced by a larger one meanwhile, which begins at its beginning.
        let Some(purge) = self.purges.front_mut().filter(|purge| purge.pattern == *pattern) else {
            return (Delivered::Some, None);
        };
        purge.cursor = next;
        if next != 0 {
            return (Delivered::Some, None);
        }
        purge.passes -= 1;
        if purge.passes > 0 {
            return (Delivered::Pass, None);
        }
        self.purges.pop_front();
        let run_id = if self.purges.is_empty() {
            self.run_id.take()
        } else {
            None
        };
        (Delivered::Pattern, run_id)
    }
}

/// A step of delivering what waits.
pub(super) enum Delivered {
    /// These keys have their tombstones.
    Keys(Vec<Arc<str>>),
    /// A pattern is gone.
    Pattern,
    /// A pattern was gone through; once more after a pause.
    Pass,
    /// There is more to do of the same.
    Some,
}

pub(super) struct Remote {
    redis: Redis,
    pending: Mutex<Pending>,
    /// Something waits.
    pub(super) wake: Notify,
    /// Nothing waits any more.
    pub(super) idle: Notify,
    /// Whether this process has seen the mark, or set it.
    marked: AtomicBool,
    errors: AtomicU64,
    rejected: AtomicU64,
}

impl Remote {
    pub(super) fn new(redis: Redis) -> Self {
        Self {
            redis,
            pending: Mutex::default(),
            wake: Notify::new(),
            idle: Notify::new(),
            marked: AtomicBool::new(false),
            errors: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
        }
    }

    pub(super) const fn redis(&self) -> &Redis {
        &self.redis
    }

    /// Calls without a usable answer; those that the breaker refused are not calls.
    pub(super) fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    /// Values that were none of ours.
    pub(super) fn rejected(&self) -> u64 {
        self.rejected.load(Ordering::Relaxed)
    }

    /// Invalidations that Redis has not heard of.
    pub(super) fn waiting(&self) -> usize {
        let pending = self.pending.lock();
        pending.keys.len() + pending.purges.len()
    }

    /// Returns when Redis has heard of every invalidation.
    pub(super) async fn flush(&self) {
        loop {
            // Before the look, so that what ends between the two is not missed.
            let idle = self.idle.notified();
            if self.waiting() == 0 {
                return;
            }
            idle.await;
        }
    }

    fn is_current(&self, key: &str) -> bool {
        let pending = self.pending.lock();
        pending.purges.is_empty() && !pending.keys.contains_key(key)
    }

    async fn ask<T: redis::FromRedisValue + Send>(
        &self,
        name: &'static str,
        command: &impl crate::redis::Command,
    ) -> Result<T, Error> {
        let answer = self.redis.run(name, command).await;
        if let Err(error) = &answer
            && !matches!(error, Error::Open)
        {
            self.errors.fetch_add(1, Ordering::Relaxed);
            metrics().cache_l2_failed();
            tracing::debug!(%error, "the cache goes on without Redis");
        }
        answer
    }

    /// Looks a value up.
    pub(super) async fn find<T: Shareable>(&self, key: &str) -> Found<T> {
        if !self.is_current(key) {
            return Found::Unknown;
        }
        let seen: Seen = match self.ask("cache.get", cmd("GET").arg(in_redis(key))).await {
            Ok(seen) => seen,
            Err(_) => return Found::Unknown,
        };
        match seen.as_deref().map(value::decode::<T>) {
            Some(Decoded::Value(value)) => return Found::Value(value),
            Some(Decoded::Foreign) => {
                self.rejected.fetch_add(1, Ordering::Relaxed);
            }
            Some(Decoded::Tombstone) | None => {}
        }
        Found::Nothing(seen)
    }

    /// Writes values, those that are still current.
    pub(super) async fn put(&self, puts: &[Put]) {
        let mut all = pipe();
        let mut n = 0;
        for put in puts.iter().filter(|put| self.is_current(&put.key)) {
            add_put(&mut all, put);
            n += 1;
        }
        if n > 0 && self.ask::<Value>("cache.put", &all).await.is_err() {
            tracing::debug!(values = n, "values were not written to Redis");
        }
    }

    /// Notes an invalidation for Redis.
    pub(super) fn invalidate(&self, key: &Arc<str>) {
        let mut pending = self.pending.lock();
        pending.number += 1;
        let number = pending.number;
        if pending.keys.len() >= PENDING_MAX && !pending.keys.contains_key(key) {
            tracing::warn!("too many invalidations wait for Redis; what is cached there will be removed");
            pending.keys.clear();
            pending.purge(Pattern::everything());
        } else {
            pending.keys.insert(key.clone(), number);
        }
        drop(pending);
        self.wake.notify_one();
    }

    /// Notes that a pattern is to be removed.
    pub(super) fn purge(&self, pattern: Pattern) {
        self.pending.lock().purge(pattern);
        self.wake.notify_one();
    }

    /// Delivers a part of what waits; `None` when nothing does.
    pub(super) async fn deliver(&self) -> Option<Result<Delivered, Error>> {
        let keys: Vec<(Arc<str>, u64)> = {
            let pending = self.pending.lock();
            let all = pending.keys.iter().map(|(key, number)| (key.clone(), *number));
            all.take(BATCH_MAX).collect()
        };
        if keys.is_empty() {
            return self.deliver_purge().await;
        }
        Some(self.deliver_keys(keys).await)
    }

    async fn deliver_keys(&self, keys: Vec<(Arc<str>, u64)>) -> Result<Delivered, Error> {
        let mut all = pipe();
        for (key, _) in &keys {
            all.add_command(set(key, &value::tombstone(), TOMBSTONE_TTL)).ignore();
        }
        self.ask::<()>("cache.invalidate", &all).await?;
        let mut pending = self.pending.lock();
        for (key, number) in &keys {
            if pending.keys.get(key) == Some(number) {
                pending.keys.remove(key);
            }
        }
        Ok(Delivered::Keys(keys.into_iter().map(|(key, _)| key).collect()))
    }

    /// One step of the first removal that waits.
    async fn deliver_purge(&self) -> Option<Result<Delivered, Error>> {
        let (pattern, cursor) = {
            let pending = self.pending.lock();
            let purge = pending.purges.front()?;
            (purge.pattern.clone(), purge.cursor)
        };
        let next = match self.purge_step(&pattern, cursor).await {
            Ok(next) => next,
            Err(error) => return Some(Err(error)),
        };
        let (delivered, run_id) = self.pending.lock().purged(&pattern, next);
        if let Some(run_id) = run_id {
            self.mark(&run_id).await;
        }
        Some(Ok(delivered))
    }

    async fn purge_step(&self, pattern: &Pattern, cursor: u64) -> Result<u64, Error> {
        let mut scan = cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(pattern.in_redis());
        scan.arg("COUNT").arg(SCAN_COUNT);
        let (next, keys): (u64, Vec<Vec<u8>>) = self.ask("cache.scan", &scan).await?;
        if !keys.is_empty() {
            self.ask::<i64>("cache.unlink", cmd("UNLINK").arg(keys)).await?;
        }
        Ok(next)
    }

    /// Looks whether Redis is the one that our values were written to: its run id stands beside them. One that was
    /// restarted from a snapshot has another, and may remember what was invalidated since. Also what closes the breaker
    /// when nobody else asks.
    pub(super) async fn watch(&self) {
        let mut look = pipe();
        look.cmd("INFO").arg("server").cmd("GET").arg(WRITTEN_TO).cmd("DBSIZE");
        let answer = self.ask::<(String, Option<String>, u64)>("cache.watch", &look).await;
        let Ok((info, written_to, keys)) = answer else {
            return;
        };
        let Some(id) = info.lines().find_map(|line| line.strip_prefix("run_id:")) else {
            return;
        };
        match written_to {
            Some(known) if known == id => self.marked.store(true, Ordering::Relaxed),
            // Being removed. The mark is set when that is done, so that whoever comes later does the same if we die.
            _ if !self.pending.lock().purges.is_empty() => {}
            // Nobody's, and nothing of anybody's that could be old.
            None if keys == 0 && !self.marked.load(Ordering::Relaxed) => self.mark(id).await,
            _ => {
                tracing::warn!("Redis was restarted or has forgotten; what is cached there is removed");
                self.pending.lock().run_id = Some(id.to_owned());
                self.purge(Pattern::everything());
            }
        }
    }

    /// Writes which Redis our values are written to; tried again by the next look if it does not succeed.
    async fn mark(&self, run_id: &str) {
        let marked = self
            .ask::<()>("cache.mark", cmd("SET").arg(WRITTEN_TO).arg(run_id))
            .await;
        match marked {
            Ok(()) => self.marked.store(true, Ordering::Relaxed),
            Err(_) => tracing::debug!("Redis could not be marked"),
        }
    }
}

fn in_redis(key: &str) -> String {
    format!("{PREFIX}{key}")
}

fn set(key: &str, bytes: &[u8], ttl: Duration) -> Cmd {
    let mut set = cmd("SET");
    set.arg(in_redis(key)).arg(bytes).arg("PX").arg(millis(ttl));
    set
}

fn add_put(all: &mut Pipeline, put: &Put) {
    match &put.seen {
        None => {
            let mut set = set(&put.key, &put.bytes, put.ttl);
            set.arg("NX");
            all.add_command(set).ignore();
        }
        Some(seen) => {
            let mut eval = cmd("EVAL");
            eval.arg(PUT_IF_UNCHANGED).arg(1).arg(in_redis(&put.key));
            eval.arg(seen.as_slice()).arg(put.bytes.as_slice()).arg(millis(put.ttl));
            all.add_command(eval).ignore();
        }
    }
}

fn millis(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_much_waiting_becomes_one_removal_of_everything() {
        let mut pending = Pending::default();
        for _ in 0..=PURGES_MAX {
            pending.purge(crate::cache::keys::users_of(crate::ids::TenantId::new()));
        }
        assert_eq!(pending.purges.len(), 1);
        assert_eq!(pending.purges[0].pattern, Pattern::everything());
    }
}
