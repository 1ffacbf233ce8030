//! The counters of all subjects, in shards. Each shard has a lock of its own, held for one look-up
//! and one count.
//!
//! Plain data: the handle counts in it from any thread, and the actor removes what is idle. Nothing
//! waits while a shard is locked. It outlives a crash of the actor, so a crash gives no quota away.
//!
//! Bounds: [`SUBJECTS_MAX`] subjects, half of them users and half networks. Addresses can be made
//! up and users cannot, so however many networks there are, no user shares a budget with one. When
//! half a shard is full, it first looks for idle subjects, at most once a second. If there are
//! none, further subjects share [`OVERFLOW`] budgets of that half. So a flood of new addresses gets
//! no budgets of its own, and takes none from those who are known. And nobody is shut out for good.
//!
//! A /48 of IPv6 has as many networks as this table has places, and one customer has it. So it gets
//! one place in [`BLOCK_SHARE`], its further networks share a budget of the /48 in each shard, and
//! newcomers of elsewhere hardly ever the same one.

use super::local_quota::LocalQuota;
use super::window::{Millis, Spans, Window};
use crate::ids::{Network, NetworkBlock, TenantId, UserId};
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
const OVERFLOW: usize = 256;
/// One place in so many may be of networks of one /48.
const BLOCK_SHARE: usize = 32;
/// Between two looks of a full shard for idle subjects.
const CLEAN_INTERVAL: Millis = 1_000;

/// Whose budget it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum SubjectKey {
    User(UserId),
    Network(Network),
    /// What a network's false credentials cost: apart, so that they refuse nobody who shows none.
    NetworkCredentials(Network),
    /// What a network's sign-ups and guests cost.
    NetworkSignUp(Network),
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
            Self::Network(_) | Self::NetworkCredentials(_) | Self::NetworkSignUp(_) | Self::NetworkExpensive(_) => 1,
        }
    }

    /// The /48 of a network, if it is in one.
    const fn block(self) -> Option<NetworkBlock> {
        match self {
            Self::User(_) | Self::UserExpensive(_) | Self::Tenant(_) => None,
            Self::Network(network)
            | Self::NetworkCredentials(network)
            | Self::NetworkSignUp(network)
            | Self::NetworkExpensive(network) => network.block(),
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
    /// How many of the subjects are in each /48.
    blocks: HashMap<NetworkBlock, usize>,
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
        let block = key.block();
        if !shard.has_room(block, self.subjects_per_half) && now >= shard.cleaned_at + CLEAN_INTERVAL {
            shard.clean(now, self.spans);
        }
        if shard.has_room(block, self.subjects_per_half) {
            if let Some(block) = block {
                *shard.blocks.entry(block).or_default() += 1;
            }
            return act(shard.subjects.entry(key).or_default(), EntryKind::Own);
        }
        self.crowded.fetch_add(1, Ordering::Relaxed);
        if shard.overflow.is_empty() {
            shard.overflow.resize_with(OVERFLOW, SubjectEntry::default);
        }
        let shared = block.map_or(hash, |block| self.hasher.hash_one(block));
        act(
            &mut shard.overflow[(shared as usize / SHARDS) % OVERFLOW],
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
    /// Whether a subject, of this /48, gets a place of its own among `places`.
    fn has_room(&self, block: Option<NetworkBlock>, places: usize) -> bool {
        let of_block = block.and_then(|block| self.blocks.get(&block)).copied().unwrap_or(0);
        self.subjects.len() < places && of_block < (places / BLOCK_SHARE).max(1)
    }

    fn clean(&mut self, now: Millis, spans: Spans) {
        self.cleaned_at = now;
        self.subjects.retain(|_, entry| !entry.is_idle(now, spans));
        self.blocks.clear();
        for block in self.subjects.keys().filter_map(|key| key.block()) {
            *self.blocks.entry(block).or_default() += 1;
        }
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
    fn a_48_leaves_room_for_newcomers_of_elsewhere() {
        let table = SubjectTable::new(SUBJECTS_MAX, SPANS);
        let network = |bits: u128| SubjectKey::Network(Network::from(std::net::IpAddr::from(bits.to_be_bytes())));
        let block = 0x2001_0db8_0001_u128 << 80;
        // All of its networks, each as often as it may.
        let admitted_of_block: usize = (0..65_536_u128)
            .map(|n| {
                (0..11)
                    .filter(|_| admitted(&table, network(block | n << 64), 0))
                    .count()
            })
            .sum();
        let places = SUBJECTS_MAX / 2 / BLOCK_SHARE;
        assert!(table.len() <= places, "{}", table.len());
        assert!(admitted_of_block <= (places + SHARDS) * 10, "{admitted_of_block}");
        // Whoever comes from elsewhere has all of theirs: 9,999 other networks, of either kind.
        for n in 0..9_999_u128 {
            let other = if n % 2 == 0 {
                network((0x2001_0db9_0000_u128 + n) << 80)
            } else {
                SubjectKey::Network(Network::from(std::net::IpAddr::from(
                    u32::try_from(n).unwrap().to_be_bytes(),
                )))
            };
            assert_eq!((0..11).filter(|_| admitted(&table, other, 1)).count(), 10, "{n}");
        }
        // Places that are idle again are given back.
        for shard in 0..table.shards() {
            table.clean(shard, 300_000);
        }
        assert!(admitted(&table, network(block), 300_001) && table.len() == 1);
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
