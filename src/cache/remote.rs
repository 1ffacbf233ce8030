//! L2: what the nodes remember together, in Redis.
//!
//! Three dangers, and what is done about them.
//!
//! * *A slow load writes an old value after an invalidation*, on whichever nodes. So an
//!   invalidation does not delete a value but leaves a tombstone for [`TOMBSTONE_TTL`]. And a value
//!   is written only if the key still holds what its loader saw before it read the truth.
//! * *An invalidation does not reach Redis.* It waits here and is tried again. Until then this node
//!   neither reads nor writes that key in Redis. If too many wait, everything that is ours is
//!   purged, and a server is not read before its purge is done.
//! * *Redis comes back with an old memory* (restarted from a snapshot). Then the run id beside our
//!   values, the "mark", is not its own, and our values are purged. The same happens when the mark
//!   is gone: Redis has dropped things, our tombstones perhaps too.
//!
//! On a cluster each command goes to the server of its key. Each server has its own mark, under a
//! name whose slot is its own. A replica that has taken over carries the mark of its predecessor
//! and may have missed a tombstone: that is an old memory too. When only the slot of that name
//! moves, the server gets its mark under another name, and the new owner of the slot writes its
//! own.
//!
//! Other nodes get an invalidation at once, and again when Redis has it: a node may have read the
//! old value there in between. If this process dies before Redis has it, the TTL ends the old
//! value; nothing that decides a permission is cached.
//!
//! Bounds: those of `pending.rs`. A purge works in steps of about [`SCAN_COUNT`] keys, never by one
//! command that stops Redis.

use super::cacheable::Shareable;
use super::encoding::{self, Decoded};
use super::keys::{PREFIX, Pattern};
use super::local::Validity;
use super::pending::{NextPurge, PendingInvalidations, PurgeStep, StepOutcome};
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

/// The name of the mark. It is not under [`PREFIX`]. On a cluster a number follows, which brings it
/// into a slot of the server.
const WRITTEN_TO: &str = "parlance:cache-written-to";
/// Numbers that are tried: enough for a server with a thousandth of the slots.
const MARKS_TRIED: u32 = 20_000;
/// About how many keys one step of a purge looks at.
const SCAN_COUNT: usize = 500;
/// Longer than any load takes, from its look-up in Redis to its write.
const TOMBSTONE_TTL: Duration = Duration::from_secs(30);

/// Writes a value if the key still holds what the loader saw.
const WRITE_IF_UNCHANGED: &str = "local there = redis.call('GET', KEYS[1])
if there == ARGV[1] then redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
return 0";

/// The bytes of a key that held no value. Needed to write one.
pub(super) type SeenBytes = Option<Vec<u8>>;

pub(super) enum RemoteLookup<T> {
    Value(Option<T>),
    /// There is no value. A new one may be written over what was seen.
    Missing(SeenBytes),
    /// No reply, or not asked. Nothing may be written.
    Unknown,
}

/// A value to be written.
pub(super) struct RemoteWrite {
    pub(super) key: Arc<str>,
    pub(super) bytes: Vec<u8>,
    pub(super) seen: SeenBytes,
    /// Not written if it does not hold any more.
    pub(super) validity: Validity,
    pub(super) ttl: Duration,
}

/// The mark of a server, and where it stands.
struct Mark {
    name: String,
    run_id: String,
}

/// What a step of the purges has achieved.
pub(super) enum PurgeProgress {
    /// The pattern is gone from a server.
    ServerDone,
    /// There is more to do.
    Unfinished,
    /// Every server rests for at least this long.
    Wait(Duration),
}

pub(super) struct Remote {
    redis: Redis,
    pending: Mutex<PendingInvalidations>,
    /// Notified when a key is queued.
    pub(super) keys_wait: Notify,
    /// Notified when a pattern is queued.
    pub(super) purges_wait: Notify,
    /// Notified when no key waits any more, and when no pattern does.
    pub(super) idle: Notify,
    /// The marks that this process has seen or set.
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

    /// Calls without a usable reply. What the breaker refused is no call.
    pub(super) fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    /// Values of another version, or not ours.
    pub(super) fn rejected(&self) -> u64 {
        self.rejected.load(Ordering::Relaxed)
    }

    /// Keys and patterns that Redis has not taken yet.
    pub(super) fn waiting(&self) -> usize {
        self.pending.lock().len()
    }

    /// Returns when nothing waits.
    pub(super) async fn flush(&self) {
        loop {
            // Before the look, so that an end between the two is not missed.
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

    /// Counts an error, if it is one. What the breaker refused is none.
    fn counted<T>(&self, reply: Result<T, Error>) -> Result<T, Error> {
        if let Err(error) = &reply
            && !matches!(error, Error::BreakerOpen)
        {
            self.errors.fetch_add(1, Ordering::Relaxed);
            metrics().cache_l2_failed();
            tracing::debug!(%error, "the cache goes on without Redis");
        }
        reply
    }

    pub(super) async fn find<T: Shareable>(&self, key: &str) -> RemoteLookup<T> {
        if !self.is_current(key) {
            return RemoteLookup::Unknown;
        }
        let key = in_redis(key);
        let seen = self.redis.run_for(&key, "cache.get", cmd("GET").arg(&key)).await;
        let Ok::<SeenBytes, _>(seen) = self.counted(seen) else {
            return RemoteLookup::Unknown;
        };
        match seen.as_deref().map(encoding::decode::<T>) {
            Some(Decoded::Value(value)) => return RemoteLookup::Value(value),
            Some(Decoded::Foreign) => {
                self.rejected.fetch_add(1, Ordering::Relaxed);
            }
            Some(Decoded::Tombstone) | None => {}
        }
        RemoteLookup::Missing(seen)
    }

    /// Writes the values that are still current.
    pub(super) async fn write(&self, writes: &[RemoteWrite]) {
        let current = writes.iter().filter(|write| self.is_current(&write.key));
        let commands: Vec<_> = current.map(|write| (in_redis(&write.key), command_of(write))).collect();
        if commands.is_empty() {
            return;
        }
        let (_, all) = self.redis.run_all("cache.put", &commands).await;
        if self.counted(all).is_err() {
            tracing::debug!(values = commands.len(), "not all values were written to Redis");
        }
    }

    /// Queues a key; taken by the actor.
    pub(super) fn invalidate(&self, key: &Arc<str>) {
        if self.pending.lock().invalidate(key) {
            return self.keys_wait.notify_one();
        }
        tracing::warn!("too many invalidations wait for Redis; what is cached there will be removed");
        self.purge(Pattern::everything());
    }

    /// Queues a pattern; taken by the actor.
    pub(super) fn purge(&self, pattern: Pattern) {
        let layout = self.redis.layout();
        self.pending.lock().purge(pattern, None, &layout);
        self.purges_wait.notify_one();
    }

    /// Delivers some of the keys that wait; `None` when there are none. It is an error only if none
    /// could be delivered: where a part of a cluster is away, the rest does not wait for it.
    pub(super) async fn deliver_keys(&self) -> Option<Result<Vec<Arc<str>>, Error>> {
        let keys = self.pending.lock().next_keys();
        if keys.is_empty() {
            return None;
        }
        let tombstone = |key: &Arc<str>| (in_redis(key), set(key, &encoding::tombstone(), TOMBSTONE_TTL));
        let commands: Vec<_> = keys.iter().map(|(key, _)| tombstone(key)).collect();
        let (done, all) = self.redis.run_all("cache.invalidate", &commands).await;
        let delivered = self.pending.lock().tried(keys, &done);
        match self.counted(all) {
            Err(error) if delivered.is_empty() => Some(Err(error)),
            _ => Some(Ok(delivered)),
        }
    }

    /// One step of the purges; `None` when there are none.
    pub(super) async fn deliver_purge(&self) -> Option<PurgeProgress> {
        let layout = self.redis.layout();
        let next = self.pending.lock().next_step(&layout, Instant::now());
        let step = match next {
            NextPurge::Step(step) => step,
            NextPurge::Wait(rest) => return Some(PurgeProgress::Wait(rest)),
            NextPurge::Nothing => return None,
        };
        let cursor = self.purge_step(&step).await.ok();
        let outcome = self.pending.lock().stepped(&step, cursor, Instant::now());
        let StepOutcome::Finished { mark } = outcome else {
            return Some(PurgeProgress::Unfinished);
        };
        if let Some(run_id) = mark {
            self.mark(&step.server, &run_id).await;
        }
        Some(PurgeProgress::ServerDone)
    }

    async fn purge_step(&self, step: &PurgeStep) -> Result<u64, Error> {
        let mut scan = cmd("SCAN");
        scan.arg(step.cursor).arg("MATCH").arg(step.pattern.in_redis());
        scan.arg("COUNT").arg(SCAN_COUNT);
        let found = self.redis.run_on(&step.server, "cache.scan", &scan).await;
        let (next, keys): (u64, Vec<Vec<u8>>) = self.counted(found)?;
        // Our names are text.
        let keys = keys.into_iter().filter_map(|key| String::from_utf8(key).ok());
        let unlink = |key: String| {
            let mut unlink = cmd("UNLINK");
            unlink.arg(&key);
            (key, unlink)
        };
        let commands: Vec<_> = keys.map(unlink).collect();
        if !commands.is_empty() {
            let (_, all) = self.redis.run_all("cache.unlink", &commands).await;
            self.counted(all)?;
        }
        Ok(next)
    }

    /// Checks that every server is the one that our values were written to, by its mark. These
    /// calls also close the breaker when nobody else asks.
    pub(super) async fn check_servers(&self) {
        let servers = self.redis.addresses();
        join_all(servers.iter().map(|server| self.check_server(server))).await;
        self.marked.lock().retain(|server, _| servers.contains(server));
    }

    async fn check_server(&self, server: &Address) {
        let Some(name) = self.name_of_mark(server) else {
            return;
        };
        let mut look = pipe();
        look.cmd("INFO").arg("server").cmd("GET").arg(&name).cmd("DBSIZE");
        let reply = self.redis.run_on(server, "cache.watch", &look).await;
        let Ok::<(String, Option<String>, u64), _>((info, written_to, keys)) = self.counted(reply) else {
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
        // During a purge there, the mark is set at its end. If this process dies before, another
        // node does the same.
        if self.pending.lock().is_purging(server) {
            return;
        }
        // The same Redis whose slots have moved; or a new one with nothing in it that could be old.
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

    /// The name of a server's mark: the first that is in one of its slots.
    fn name_of_mark(&self, server: &Address) -> Option<String> {
        if !self.redis.is_cluster() {
            return Some(WRITTEN_TO.to_owned());
        }
        let mut names = (0..MARKS_TRIED).map(|number| format!("{WRITTEN_TO}:{number}"));
        names.find(|name| self.redis.owner(name).as_ref() == Some(server))
    }

    /// Writes the mark of a server. If that fails, the next check tries again.
    async fn mark(&self, server: &Address, run_id: &str) {
        let Some(name) = self.name_of_mark(server) else { return };
        let marked = self
            .redis
            .run_on(server, "cache.mark", cmd("SET").arg(&name).arg(run_id))
            .await;
        match self.counted::<()>(marked) {
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

fn command_of(write: &RemoteWrite) -> Cmd {
    let Some(seen) = &write.seen else {
        let mut set = set(&write.key, &write.bytes, write.ttl);
        set.arg("NX");
        return set;
    };
    let mut eval = cmd("EVAL");
    eval.arg(WRITE_IF_UNCHANGED).arg(1).arg(in_redis(&write.key));
    eval.arg(seen.as_slice())
        .arg(write.bytes.as_slice())
        .arg(millis(write.ttl));
    eval
}

fn millis(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1)
}
