//! The counters of all subjects, in shards, each under a lock of its own that is held for one look-up and one count.
//!
//! It is plain data shared by the handle, which counts in it from any thread, and the supervisor, which removes what is
//! idle; nothing waits while a shard is locked. It outlives a crash of the supervisor, so a crash gives no quota away.
//!
//! Bounds: [`SUBJECTS_MAX`] subjects, half of them users and half networks, because addresses can be made up and users
//! cannot: however many networks there are, no user shares a budget with one. A half of a shard that is full first looks, at
//! most once a second, for subjects that are idle; if there are none, further subjects share [`OVERFLOW`] budgets of that
//! half by their hash. So a flood of new addresses makes room neither for itself (everybody beyond shares) nor at the cost
//! of those who are known (they keep theirs), and nobody is shut out for good.

use super::share::Share;
use super::window::{Millis, Spans, Window};
use crate::ids::{Network, UserId};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Notify;

/// Subjects with a budget of their own. Of a premium user who uses all of it, one takes about 4 KiB; most take 200 bytes.
pub(super) const SUBJECTS_MAX: usize = 131_072;
/// Locks; more than threads that may want one.
const SHARDS: usize = 64;
/// Budgets that the subjects beyond the bound of half a shard share.
const OVERFLOW: usize = 16;
/// Between two looks of a full shard for idle subjects.
const CLEAN_INTERVAL: Millis = 1_000;

/// Whose budget it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    User(UserId),
    Network(Network),
    /// A user's budget for what costs much.
    UserExpensive(UserId),
    NetworkExpensive(Network),
}

impl Key {
    /// Which half of a shard it is in.
    const fn half(self) -> usize {
        match self {
            Self::User(_) | Self::UserExpensive(_) => 0,
            Self::Network(_) | Self::NetworkExpensive(_) => 1,
        }
    }
}

/// Whether a subject has a budget of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Own,
    Shared,
}

/// What is known of one subject.
#[derive(Debug, Default)]
pub(super) struct Entry {
    pub(super) window: Window,
    /// Only where nodes share quotas.
    pub(super) share: Share,
    /// Whoever waits for Redis' answer about this subject; made when somebody does.
    pub(super) answered: Option<Arc<Notify>>,
}

impl Entry {
    /// A lease ends long before the windows are empty, and what is owed has left them by then.
    fn is_idle(&mut self, now: Millis, spans: Spans) -> bool {
        self.answered.is_none() && self.window.is_idle(now, spans)
    }
}

/// The users of a shard, and its networks.
type Shard = [Half; 2];

#[derive(Debug, Default)]
struct Half {
    subjects: HashMap<Key, Entry>,
    overflow: Vec<Entry>,
    cleaned_at: Millis,
}

/// The counters.
#[derive(Debug)]
pub(super) struct Table {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    subjects_per_half: usize,
    spans: Spans,
    /// How often somebody had to share.
    crowded: AtomicU64,
}

impl Table {
    pub(super) fn new(subjects_max: usize, spans: Spans) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            subjects_per_half: subjects_max.div_ceil(2 * SHARDS),
            spans,
            crowded: AtomicU64::new(0),
        }
    }

    /// Does something with what is known of a subject, or of those it shares a budget with.
    pub(super) fn with<R>(&self, key: Key, now: Millis, act: impl FnOnce(&mut Entry, Place) -> R) -> R {
        let hash = self.hasher.hash_one(key);
        let shard = &mut self.shards[hash as usize % SHARDS].lock()[key.half()];
        if let Some(entry) = shard.subjects.get_mut(&key) {
            return act(entry, Place::Own);
        }
        if shard.subjects.len() >= self.subjects_per_half && now >= shard.cleaned_at + CLEAN_INTERVAL {
            shard.clean(now, self.spans);
        }
        if shard.subjects.len() < self.subjects_per_half {
            return act(shard.subjects.entry(key).or_default(), Place::Own);
        }
        self.crowded.fetch_add(1, Ordering::Relaxed);
        if shard.overflow.is_empty() {
            shard.overflow.resize_with(OVERFLOW, Entry::default);
        }
        act(&mut shard.overflow[(hash as usize / SHARDS) % OVERFLOW], Place::Shared)
    }

    /// Does something with what is known of a subject that has a place of its own; nothing where there is none.
    pub(super) fn with_known<R>(&self, key: Key, act: impl FnOnce(&mut Entry) -> R) -> Option<R> {
        let hash = self.hasher.hash_one(key);
        self.shards[hash as usize % SHARDS].lock()[key.half()]
            .subjects
            .get_mut(&key)
            .map(act)
    }

    /// How many shards there are to clean.
    pub(super) fn shards(&self) -> usize {
        self.shards.len()
    }

    /// Forgets the idle subjects of one shard.
    pub(super) fn clean(&self, shard: usize, now: Millis) {
        for half in self.shards[shard % SHARDS].lock().iter_mut() {
            half.clean(now, self.spans);
        }
    }

    /// How many subjects are known.
    pub(super) fn len(&self) -> usize {
        let known = |shard: &Mutex<Shard>| shard.lock().iter().map(|half| half.subjects.len()).sum::<usize>();
        self.shards.iter().map(known).sum()
    }

    /// How often since the last time somebody had to share, because there were too many.
    pub(super) fn take_crowded(&self) -> u64 {
        self.crowded.swap(0, Ordering::Relaxed)
    }
}

impl Half {
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

    fn admitted(table: &Table, key: Key, now: Millis) -> bool {
        table.with(key, now, |entry, _| {
            entry.window.check(1, now, QUOTA, SPANS).is_admitted()
        })
    }

    fn user() -> Key {
        Key::User(UserId::new())
    }

    #[test]
    fn a_full_table_is_neither_wide_open_nor_shut() {
        let table = Table::new(2 * SHARDS, SPANS);
        let known: Vec<_> = std::iter::repeat_with(user)
            .filter(|key| admitted(&table, *key, 0))
            .take(1_000)
            .collect();
        assert!(table.len() <= SHARDS);
        assert!(table.take_crowded() > 0);
        // Whatever is asked of it, no more than its budgets are given out.
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
        let table = Table::new(8 * SHARDS, SPANS);
        for n in 1..=20_000_u128 {
            let network = Network::from(std::net::IpAddr::from((n << 64).to_be_bytes()));
            admitted(&table, Key::Network(network), 0);
        }
        assert!(table.take_crowded() > 0 && table.len() <= 4 * SHARDS);
        // Each user has a whole budget all the same: there are far fewer than places, in any shard.
        for key in std::iter::repeat_with(user).take(SHARDS / 16) {
            for n in 0..10 {
                assert!(admitted(&table, key, 1), "{n}");
            }
            assert!(!admitted(&table, key, 1));
        }
        assert_eq!(table.take_crowded(), 0);
    }
}
