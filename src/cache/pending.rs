//! What waits to be told to Redis: invalidations by key, removals by pattern, and the marks that follow them. Pure.
//!
//! Keys are tried in the order in which they were last tried or noted, so those whose server is away do not keep the others
//! waiting. A removal goes through all keys of every server, more than once.
//!
//! Bounds: [`PENDING_MAX`] keys and [`PURGES_MAX`] patterns wait; more become one removal of everything that is ours.

use super::keys::Pattern;
use crate::redis::Address;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Invalidations that wait for Redis.
pub(super) const PENDING_MAX: usize = 10_000;
/// Patterns that wait for Redis.
const PURGES_MAX: usize = 8;
/// Commands in one call.
pub(super) const BATCH_MAX: usize = 64;
/// How often the keys are gone through, with a pause between: a value that was on its way when the removal was announced
/// may be written behind the first pass.
const PURGE_PASSES: u32 = 2;

/// What waits for Redis.
#[derive(Default)]
pub(super) struct Pending {
    /// Each with a number, by which a later invalidation of the same key is told from the one being delivered, and the
    /// order in which they are tried.
    pub(super) keys: HashMap<Arc<str>, u64>,
    pub(super) number: u64,
    pub(super) purges: VecDeque<Purge>,
    /// What marks become when all removals are done.
    pub(super) marks: Vec<(Address, String)>,
}

pub(super) struct Purge {
    pub(super) pattern: Pattern,
    /// The servers that are still to be gone through in this pass; `None` before it.
    pub(super) servers: Option<VecDeque<Address>>,
    /// How far the first of them is.
    pub(super) cursor: u64,
    /// How often the keys are still to be gone through.
    passes: u32,
}

impl Pending {
    pub(super) fn purge(&mut self, pattern: Pattern) {
        if self.purges.len() >= PURGES_MAX {
            self.purges.clear();
            return self.purge(Pattern::everything());
        }
        self.purges.push_back(Purge {
            pattern,
            servers: None,
            cursor: 0,
            passes: PURGE_PASSES,
        });
    }

    /// Some of the keys, those first that were not tried for the longest time.
    pub(super) fn next_keys(&self) -> Vec<(Arc<str>, u64)> {
        let mut keys: Vec<_> = self.keys.iter().map(|(key, number)| (key.clone(), *number)).collect();
        if keys.len() > BATCH_MAX {
            keys.select_nth_unstable_by_key(BATCH_MAX, |(_, number)| *number);
            keys.truncate(BATCH_MAX);
        }
        keys
    }

    /// Notes what became of keys; those that were delivered.
    pub(super) fn tried(&mut self, keys: Vec<(Arc<str>, u64)>, done: &[bool]) -> Vec<Arc<str>> {
        let mut delivered = Vec::new();
        for ((key, number), done) in keys.into_iter().zip(done) {
            let is_same = self.keys.get(&key) == Some(&number);
            if !done && is_same {
                self.number += 1;
                self.keys.insert(key, self.number);
            } else if *done {
                if is_same {
                    self.keys.remove(&key);
                }
                delivered.push(key);
            }
        }
        delivered
    }

    /// Notes a step of the first removal; the marks to be set, if it was the last step of the last one.
    pub(super) fn purged(&mut self, pattern: &Pattern, next: u64) -> (Delivered, Vec<(Address, String)>) {
        // It may have been replaced by a larger one meanwhile, which begins at its beginning.
        let Some(purge) = self.purges.front_mut().filter(|purge| purge.pattern == *pattern) else {
            return (Delivered::Some, Vec::new());
        };
        purge.cursor = next;
        if next != 0 {
            return (Delivered::Some, Vec::new());
        }
        let servers = purge.servers.get_or_insert_default();
        servers.pop_front();
        if !servers.is_empty() {
            return (Delivered::Some, Vec::new());
        }
        purge.servers = None;
        purge.passes -= 1;
        if purge.passes > 0 {
            return (Delivered::Pass, Vec::new());
        }
        self.purges.pop_front();
        let marks = if self.purges.is_empty() {
            std::mem::take(&mut self.marks)
        } else {
            Vec::new()
        };
        (Delivered::Pattern, marks)
    }
}

/// A step of delivering what waits.
#[derive(Debug, PartialEq, Eq)]
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
    #[test]
    fn what_cannot_be_delivered_does_not_keep_the_rest() {
        let mut pending = Pending::default();
        let key = |n: usize| Arc::<str>::from(format!("key {n}"));
        for n in 0..BATCH_MAX * 2 {
            pending.number += 1;
            pending.keys.insert(key(n), pending.number);
        }
        // Of the first half, those with even numbers are at a server that is away.
        let is_away = |key: &Arc<str>| (0..BATCH_MAX).step_by(2).any(|n| **key == *format!("key {n}"));
        for _ in 0..3 {
            let keys = pending.next_keys();
            assert!(keys.len() <= BATCH_MAX);
            let done: Vec<_> = keys.iter().map(|(key, _)| !is_away(key)).collect();
            pending.tried(keys, &done);
        }
        assert_eq!(pending.keys.len(), BATCH_MAX / 2);
        let keys = pending.next_keys();
        pending.number += 1;
        pending.keys.insert(keys[0].0.clone(), pending.number);
        let done = vec![true; keys.len()];
        assert_eq!(pending.tried(keys, &done).len(), BATCH_MAX / 2);
        assert_eq!(pending.keys.len(), 1, "invalidated again while it was on its way");
    }

    #[test]
    fn a_removal_goes_through_every_server_twice() {
        let mut pending = Pending::default();
        let everything = Pattern::everything();
        pending.purge(everything.clone());
        pending.marks.push((Address::new("a", 1), "run".to_owned()));
        let mut steps = Vec::new();
        for (cursor, servers) in [(0, 2), (7, 1), (0, 1), (0, 2), (0, 1)] {
            let all = (0..2).map(|n| Address::new("a", n)).collect();
            let left = pending.purges[0].servers.get_or_insert(all).len();
            assert_eq!(left, servers);
            steps.push(pending.purged(&everything, cursor));
        }
        let (last, marks) = steps.pop().unwrap();
        assert_eq!((last, marks.len()), (Delivered::Pattern, 1));
        let passes = steps.iter().filter(|(step, _)| *step == Delivered::Pass).count();
        assert_eq!((passes, pending.purges.len()), (1, 0));
    }
}
