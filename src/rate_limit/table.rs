//! The counters of all subjects, in shards. Each shard has a lock of its own, held for one look-up
//! and one count.
//!
//! Plain data: the handle counts in it from any thread, and the actor removes what is idle. Nothing
//! waits while a shard is locked. It outlives a crash of the actor, so a crash gives no quota away.
//!
//! Bounds: [`SUBJECTS_MAX`] subjects, half of them users and half networks. Addresses can be made
//! up and users cannot, so however many networks there are, no user shares a budget with one. When
//! half a shard is full, it first looks for idle subjects, at most once a second. If there are
//! none, further subjects share [`OVERFLOW`] budgets of that half, by their hash. So a flood of new
//! addresses gets no budgets of its own, and takes none from those who are known. And nobody is
//! shut out for good.

use super::local_quota::LocalQuota;
use super::window::{Millis, Spans, Window};
use crate::ids::{Network, TenantId, UserId};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Notify;

/// Subjects with a budget of their own. One takes 16 bytes for each
/// second of the last hour in which it was used: mostly 200 bytes, at most 60 KiB.
pub(super) const SUBJECTS_MAX: usize = 131_072;
/// Locks; more than threads that may want one.
const SHARDS: usize = 64;
/// Budgets that the subjects beyond the bound of half a shard share.
const OVERFLOW: usize = 16;
/// Between two looks of a full shard for idle subjects.
const CLEAN_INTERVAL: Millis = 1_000;

/// Whose budget it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum SubjectKey {
    User(UserId),
    Network(Network),
    /// A user's budget for what costs much.
    UserExpensive(UserId),
    NetworkExpensive(Network),
    /// All people of a tenant together, besides their own.
    Tenant(TenantId),
}

impl SubjectKey {
    /// Which half of a shard it is in.
    const fn half(self) -> usize {
        match self {
            Self::User(_) | Self::UserExpensive(_) | Self::Tenant(_) => 0,
            Self::Network(_) | Self::NetworkExpensive(_) => 1,
        }
    }
}

/// Whose entry it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EntryKind {
    /// That of this subject alone.
    Own,
    /// One that subjects beyond the bound share.
    Overflow,
}

/// What is known of one subject.
#[derive(Debug, Default)]
pub(super) struct SubjectEntry {
    pub(super) window: Window,
    /// Only where nodes share quotas.
    pub(super) local: LocalQuota,
    /// Notifies the tasks that wait for the reply of Redis about this subject. Made when someone does.
    pub(super) replied: Option<Arc<Notify>>,
}

impl SubjectEntry {
    /// A lease ends long before the windows are empty, and unsynced usage has left them by then.
    fn is_idle(&mut self, now: Millis, spans: Spans) -> bool {
        self.replied.is_none() && self.window.is_idle(now, spans)
    }
}

/// The users of a shard, and its networks.
type TableShard = [ShardHalf; 2];

#[derive(Debug, Default)]
struct ShardHalf {
    subjects: HashMap<SubjectKey, SubjectEntry>,
    overflow: Vec<SubjectEntry>,
    cleaned_at: Millis,
}

#[derive(Debug)]
pub(super) struct SubjectTable {
    shards: Box<[Mutex<TableShard>]>,
    hasher: RandomState,
    subjects_per_half: usize,
    spans: Spans,
    /// How often someone had to share.
    crowded: AtomicU64,
}

impl SubjectTable {
    pub(super) fn new(subjects_max: usize, spans: Spans) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            subjects_per_half: subjects_max.div_ceil(2 * SHARDS),
            spans,
            crowded: AtomicU64::new(0),
        }
    }

    /// Calls `act` with the entry of a subject, or with one that it shares with others.
    pub(super) fn with<R>(
        &self,
        key: SubjectKey,
        now: Millis,
        act: impl FnOnce(&mut SubjectEntry, EntryKind) -> R,
    ) -> R {
        let hash = self.hasher.hash_one(key);
        let shard = &mut self.shards[hash as usize % SHARDS].lock()[key.half()];
        if let Some(entry) = shard.subjects.get_mut(&key) {
            return act(entry, EntryKind::Own);
        }
        if shard.subjects.len() >= self.subjects_per_half && now >= shard.cleaned_at + CLEAN_INTERVAL {
            shard.clean(now, self.spans);
        }
        if shard.subjects.len() < self.subjects_per_half {
            return act(shard.subjects.entry(key).or_default(), EntryKind::Own);
        }
        self.crowded.fetch_add(1, Ordering::Relaxed);
        if shard.overflow.is_empty() {
            shard.overflow.resize_with(OVERFLOW, SubjectEntry::default);
        }
        act(
            &mut shard.overflow[(hash as usize / SHARDS) % OVERFLOW],
            EntryKind::Overflow,
        )
    }

    /// Calls `act` with the entry of a subject, if it has one of its own.
    pub(super) fn with_known<R>(&self, key: SubjectKey, act: impl FnOnce(&mut SubjectEntry) -> R) -> Option<R> {
        let hash = self.hasher.hash_one(key);
        self.shards[hash as usize % SHARDS].lock()[key.half()]
            .subjects
            .get_mut(&key)
            .map(act)
    }

    /// How many shards there are.
    pub(super) fn shards(&self) -> usize {
        self.shards.len()
    }

    /// Removes the idle subjects of one shard.
    pub(super) fn clean(&self, shard: usize, now: Millis) {
        for half in self.shards[shard % SHARDS].lock().iter_mut() {
            half.clean(now, self.spans);
        }
    }

    /// How many subjects are known.
    pub(super) fn len(&self) -> usize {
        let known = |shard: &Mutex<TableShard>| shard.lock().iter().map(|half| half.subjects.len()).sum::<usize>();
        self.shards.iter().map(known).sum()
    }

    /// How often someone had to share since the last call.
    pub(super) fn take_crowded(&self) -> u64 {
        self.crowded.swap(0, Ordering::Relaxed)
    }
}

impl ShardHalf {
    fn clean(&mut self, now: Millis, spans: Spans) {
        self.cleaned_at = now;
        self.subjects.retain(|_, entry| !entry.is_idle(now, spans));
        if self.subjects.capacity() > 4 * self.subjects.len() {
            self.subjects.shrink_to(2 * self.subjects.len());
        }
        if self.overflow.iter_mut().all(|entry| entry.is_idle(now, spans)) {
            self.overflow = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::window::Quota;
    use super::*;

    const SPANS: Spans = Spans {
        minute: 60_000,
        hour: 60_000,
    };
    const QUOTA: Quota = Quota {
        per_minute: 10,
        per_hour: 1_000,
    };

    fn admitted(table: &SubjectTable, key: SubjectKey, now: Millis) -> bool {
        table.with(key, now, |entry, _| {
            entry.window.check(1, now, QUOTA, SPANS).is_admitted()
        })
    }

    fn user() -> SubjectKey {
        SubjectKey::User(UserId::new())
    }

    #[test]
    fn a_full_table_is_neither_wide_open_nor_shut() {
        let table = SubjectTable::new(2 * SHARDS, SPANS);
        let known: Vec<_> = std::iter::repeat_with(user)
            .filter(|key| admitted(&table, *key, 0))
            .take(1_000)
            .collect();
        assert!(table.len() <= SHARDS);
        assert!(table.take_crowded() > 0);
        // Anyone who comes, no more than its budgets are given out.
        let more = (0..100_000).filter(|_| admitted(&table, user(), 1)).count();
        assert!(more <= SHARDS * (OVERFLOW + 1) * 10, "{more}");
        // Those who came first still have theirs.
        assert!(known[..10].iter().any(|key| admitted(&table, *key, 2)));
        // And a minute later there is room again for anybody.
        assert!(admitted(&table, user(), 121_002));
        for shard in 0..table.shards() {
            table.clean(shard, 300_000);
        }
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn made_up_networks_crowd_only_each_other() {
        let table = SubjectTable::new(8 * SHARDS, SPANS);
        for n in 1..=20_000_u128 {
            let network = Network::from(std::net::IpAddr::from((n << 64).to_be_bytes()));
            admitted(&table, SubjectKey::Network(network), 0);
        }
        assert!(table.take_crowded() > 0 && table.len() <= 4 * SHARDS);
        // Each user has a whole budget all the same: in any shard, there are far fewer than the
        // bound.
        for key in std::iter::repeat_with(user).take(SHARDS / 16) {
            for n in 0..10 {
                assert!(admitted(&table, key, 1), "{n}");
            }
            assert!(!admitted(&table, key, 1));
        }
        assert_eq!(table.take_crowded(), 0);
    }
}
