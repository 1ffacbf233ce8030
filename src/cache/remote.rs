//! The second level: what the nodes remember together, in Redis.
//!
//! Three dangers, and what is done about them. *A slow load writes an old value after an invalidation*, on whichever
//! nodes: an invalidation does not delete but leaves a tombstone for [`TOMBSTONE_TTL`], and a value is only written if
//! what stands there is still what its loader saw before it read the truth. *An invalidation does not reach Redis*: it
//! waits here, is tried again, and until then this node neither reads nor writes that key there; if too many wait, all
//! that is ours in Redis is removed, and nothing is read from a server before it is done there. *Redis comes back with
//! a memory of before* (restarted from a snapshot): the run id written beside our values is not its own, and all of
//! them are removed. So they are when it is gone: then Redis has forgotten things, our tombstones too, or makes room.
//!
//! On a cluster each command goes to the server of its key, and each server has such a mark under a name whose slot is its
//! own. A replica that has taken over carries the mark of its predecessor, and may have missed a tombstone: that is a memory
//! of before, too. When the slot of that name moves, the server is the same as ever: it gets its mark under another name, and
//! who has the slot now has its own written over it.
//!
//! Other nodes are told of an invalidation at once, and again when it has reached Redis: one that had its first level
//! emptied in between may have read the old value there once more. What is lost when this process dies before Redis has
//! heard of an invalidation ends with the value's TTL; nothing that decides a permission is cached.
//!
//! Bounds: what waits stands in `pending.rs`, with its bounds and those of a call; a pattern is removed in steps of about
//! [`SCAN_COUNT`] keys, never by one command that stops Redis.

use super::Shareable;
use super::keys::{PREFIX, Pattern};
use super::local::Terms;
use super::pending::{Next, Pending, Step};
use super::value::{self, Decoded};
use crate::metrics::metrics;
use crate::redis::{Address, Error, Redis, slot};
use futures_util::future::join_all;
use parking_lot::Mutex;
use redis::{Cmd, cmd, pipe};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Where the run id stands of the Redis that our values were written to; not itself under [`PREFIX`]. At a server of a
/// cluster a number follows that brings it into one of its slots.
const WRITTEN_TO: &str = "parlance:cache-written-to";
/// How many numbers are tried; more are not needed for servers that have a thousandth of the slots.
const MARKS_TRIED: u32 = 20_000;
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

/// What stands at a server, and where.
struct Mark {
    name: String,
    run_id: String,
}

/// What became of a part of a removal.
pub(super) enum Purged {
    /// The pattern is gone from a server.
    Gone,
    /// There is more to do.
    Some,
    /// Nothing to do before this has passed.
    Wait(Duration),
}

pub(super) struct Remote {
    redis: Redis,
    pending: Mutex<Pending>,
    /// An invalidation waits.
    pub(super) keys_wait: Notify,
    /// A removal waits.
    pub(super) purges_wait: Notify,
    /// Nothing waits any more, of one kind or the other.
    pub(super) idle: Notify,
    /// The marks of servers that this process has seen, or set.
    marked: Mutex<HashMap<Address, Mark>>,
    errors: AtomicU64,
    rejected: AtomicU64,
}

impl Remote {
    pub(super) fn new(redis: Redis) -> Self {
        Self {
            redis,
            pending: Mutex::default(),
            keys_wait: Notify::new(),
            purges_wait: Notify::new(),
            idle: Notify::new(),
            marked: Mutex::default(),
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
        self.pending.lock().len()
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
        let slot = || slot(&in_redis(key));
        self.pending.lock().is_current(key, slot, || self.redis.layout())
    }

    /// Counts what went wrong.
    fn noted<T>(&self, answer: Result<T, Error>) -> Result<T, Error> {
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
        let key = in_redis(key);
        let seen = self.redis.run_for(&key, "cache.get", cmd("GET").arg(&key)).await;
        let Ok::<Seen, _>(seen) = self.noted(seen) else {
            return Found::Unknown;
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
        let current = puts.iter().filter(|put| self.is_current(&put.key));
        let commands: Vec<_> = current.map(|put| (in_redis(&put.key), write(put))).collect();
        if commands.is_empty() {
            return;
        }
        let (_, all) = self.redis.run_all("cache.put", &commands).await;
        if self.noted(all).is_err() {
            tracing::debug!(values = commands.len(), "not all values were written to Redis");
        }
    }

    /// Notes an invalidation for Redis.
    pub(super) fn invalidate(&self, key: &Arc<str>) {
        if self.pending.lock().invalidate(key) {
            return self.keys_wait.notify_one();
        }
        tracing::warn!("too many invalidations wait for Redis; what is cached there will be removed");
        self.purge(Pattern::everything());
    }

    /// Notes that a pattern is to be removed.
    pub(super) fn purge(&self, pattern: Pattern) {
        let layout = self.redis.layout();
        self.pending.lock().purge(pattern, None, &layout);
        self.purges_wait.notify_one();
    }

    /// Delivers some of the invalidations that wait; `None` when there are none. Where a part of a cluster is away, the rest
    /// need not wait for it: an error only if none could be delivered.
    pub(super) async fn deliver_keys(&self) -> Option<Result<Vec<Arc<str>>, Error>> {
        let keys = self.pending.lock().next_keys();
        if keys.is_empty() {
            return None;
        }
        let tombstone = |key: &Arc<str>| (in_redis(key), set(key, &value::tombstone(), TOMBSTONE_TTL));
        let commands: Vec<_> = keys.iter().map(|(key, _)| tombstone(key)).collect();
        let (done, all) = self.redis.run_all("cache.invalidate", &commands).await;
        let delivered = self.pending.lock().tried(keys, &done);
        match self.noted(all) {
            Err(error) if delivered.is_empty() => Some(Err(error)),
            _ => Some(Ok(delivered)),
        }
    }

    /// One step of the removals that wait; `None` when there are none.
    pub(super) async fn deliver_purge(&self) -> Option<Purged> {
        let layout = self.redis.layout();
        let next = self.pending.lock().next_step(&layout, Instant::now());
        let step = match next {
            Next::Step(step) => step,
            Next::Wait(rest) => return Some(Purged::Wait(rest)),
            Next::Nothing => return None,
        };
        let next = self.purge_step(&step).await.ok();
        let (gone, mark) = self.pending.lock().stepped(&step, next, Instant::now());
        if let Some(run_id) = mark {
            self.mark(&step.server, &run_id).await;
        }
        Some(if gone { Purged::Gone } else { Purged::Some })
    }

    async fn purge_step(&self, step: &Step) -> Result<u64, Error> {
        let mut scan = cmd("SCAN");
        scan.arg(step.cursor).arg("MATCH").arg(step.pattern.in_redis());
        scan.arg("COUNT").arg(SCAN_COUNT);
        let found = self.redis.run_on(&step.server, "cache.scan", &scan).await;
        let (next, keys): (u64, Vec<Vec<u8>>) = self.noted(found)?;
        // Our names are texts.
        let keys = keys.into_iter().filter_map(|key| String::from_utf8(key).ok());
        let unlink = |key: String| {
            let mut unlink = cmd("UNLINK");
            unlink.arg(&key);
            (key, unlink)
        };
        let commands: Vec<_> = keys.map(unlink).collect();
        if !commands.is_empty() {
            let (_, all) = self.redis.run_all("cache.unlink", &commands).await;
            self.noted(all)?;
        }
        Ok(next)
    }

    /// Looks whether Redis is the one that our values were written to: its run id stands beside them. One that was
    /// restarted from a snapshot has another, and may remember what was invalidated since. Also what closes the breaker
    /// when nobody else asks.
    pub(super) async fn watch(&self) {
        let servers = self.redis.addresses();
        join_all(servers.iter().map(|server| self.watch_one(server))).await;
        self.marked.lock().retain(|server, _| servers.contains(server));
    }

    async fn watch_one(&self, server: &Address) {
        let Some(name) = self.name_of_mark(server) else {
            return;
        };
        let mut look = pipe();
        look.cmd("INFO").arg("server").cmd("GET").arg(&name).cmd("DBSIZE");
        let answer = self.redis.run_on(server, "cache.watch", &look).await;
        let Ok::<(String, Option<String>, u64), _>((info, written_to, keys)) = self.noted(answer) else {
            return;
        };
        let Some(id) = info.lines().find_map(|line| line.strip_prefix("run_id:")) else {
            return;
        };
        let (is_marked, has_moved) = {
            let mut marked = self.marked.lock();
            if written_to.as_deref() == Some(id) {
                let run_id = id.to_owned();
                marked.insert(server.clone(), Mark { name, run_id });
                return;
            }
            let known = marked.get(server);
            let has_moved = known.is_some_and(|mark| mark.run_id == id && mark.name != name);
            (known.is_some(), has_moved)
        };
        // While something is removed there, the mark is set when that is done, so that whoever comes later does the same if
        // we die.
        if self.pending.lock().owes(server) {
            return;
        }
        // The same Redis whose slots have moved; or nobody's, and nothing of anybody's in it that could be old.
        if has_moved || (written_to.is_none() && keys == 0 && !is_marked) {
            return self.mark(server, id).await;
        }
        tracing::warn!(address = %server, "Redis was restarted or has forgotten; what is cached there is removed");
        let layout = self.redis.layout();
        {
            let mut pending = self.pending.lock();
            pending.purge(Pattern::everything(), Some(server), &layout);
            pending.marks.insert(server.clone(), id.to_owned());
        }
        self.purges_wait.notify_one();
    }

    /// Where the mark of a server stands: under the first of our names that is in one of its slots.
    fn name_of_mark(&self, server: &Address) -> Option<String> {
        if !self.redis.is_cluster() {
            return Some(WRITTEN_TO.to_owned());
        }
        let mut names = (0..MARKS_TRIED).map(|number| format!("{WRITTEN_TO}:{number}"));
        names.find(|name| self.redis.owner(name).as_ref() == Some(server))
    }

    /// Writes which Redis our values are written to; tried again by the next look if it does not succeed.
    async fn mark(&self, server: &Address, run_id: &str) {
        let Some(name) = self.name_of_mark(server) else { return };
        let marked = self
            .redis
            .run_on(server, "cache.mark", cmd("SET").arg(&name).arg(run_id))
            .await;
        match self.noted::<()>(marked) {
            Ok(()) => {
                let run_id = run_id.to_owned();
                self.marked.lock().insert(server.clone(), Mark { name, run_id });
            }
            Err(_) => tracing::debug!(address = %server, "Redis could not be marked"),
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

fn write(put: &Put) -> Cmd {
    let Some(seen) = &put.seen else {
        let mut set = set(&put.key, &put.bytes, put.ttl);
        set.arg("NX");
        return set;
    };
    let mut eval = cmd("EVAL");
    eval.arg(PUT_IF_UNCHANGED).arg(1).arg(in_redis(&put.key));
    eval.arg(seen.as_slice()).arg(put.bytes.as_slice()).arg(millis(put.ttl));
    eval
}

fn millis(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1)
}
