//! What may still be shown: which version of the world each cached value was loaded at, and what
//! has changed since. Pure.
//!
//! * A counter counts all changes. Its value is a [`Version`].
//! * Each subject (a key, a conversation, a user) belongs to a shard. A shard holds the version of
//!   its latest change.
//! * A load notes the version *before* it reads the truth, and the shards its result depends on.
//!   The result may be shown while none of these shards has a later version.
//!
//! So a load that began before a change can never bring the old value back, however late it ends.
//! Nothing has to be found and removed. A change costs two atomic operations, whether one reader
//! depends on it or a thousand: a message in a conversation of a thousand members costs what one in
//! a conversation of two costs.
//!
//! The order matters: the truth changes (the transaction commits), then the counter, then the
//! shard, and then the caller gets a response. Subjects of one shard invalidate each
//! other needlessly, but never too little.
//!
//! Bound: [`SHARDS`] words.

use crate::ids::{ConversationId, UserId};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// 4 MiB. With a thousand busy conversations, the list of a user with fifty quiet ones shares a
/// shard with a busy one once in ten.
const SHARDS: usize = 1 << 19;

/// What cached values depend on, besides their own key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// Its messages, members and properties.
    Conversation(ConversationId),
    /// Which conversations they are a member of, and how far they have read.
    User(UserId),
}

/// The shard of a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct VersionShard(u32);

/// A number of changes since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(u64);

pub(super) struct Versions {
    latest: AtomicU64,
    /// The version at which everything may have changed.
    all_changed_at: AtomicU64,
    shards: Box<[AtomicU64]>,
    hasher: RandomState,
}

impl Versions {
    pub(super) fn new() -> Self {
        Self::with_shards(SHARDS)
    }

    fn with_shards(n: usize) -> Self {
        Self {
            latest: AtomicU64::new(0),
            all_changed_at: AtomicU64::new(0),
            shards: (0..n).map(|_| AtomicU64::new(0)).collect(),
            hasher: RandomState::new(),
        }
    }

    pub(super) fn shard_of_key(&self, key: &str) -> VersionShard {
        self.shard(self.hasher.hash_one(key))
    }

    pub(super) fn shard_of(&self, subject: Subject) -> VersionShard {
        self.shard(self.hasher.hash_one(subject))
    }

    fn shard(&self, hash: u64) -> VersionShard {
        let n = hash % self.shards.len() as u64;
        VersionShard(u32::try_from(n).unwrap_or_default())
    }

    /// The present version. To be taken before the truth is read.
    pub(super) fn now(&self) -> Version {
        Version(self.latest.load(Ordering::SeqCst))
    }

    /// Notes a change. To be called after the truth has changed.
    pub(super) fn changed(&self, shard: VersionShard) {
        let now = self.latest.fetch_add(1, Ordering::SeqCst) + 1;
        if let Some(word) = self.shards.get(shard.0 as usize) {
            word.fetch_max(now, Ordering::SeqCst);
        }
    }

    /// Notes that everything may have changed.
    pub(super) fn all_changed(&self) {
        let now = self.latest.fetch_add(1, Ordering::SeqCst) + 1;
        self.all_changed_at.fetch_max(now, Ordering::SeqCst);
    }

    /// Whether none of these shards has changed since.
    pub(super) fn unchanged(&self, since: Version, shards: &[VersionShard]) -> bool {
        let is_older = |word: &AtomicU64| word.load(Ordering::SeqCst) <= since.0;
        is_older(&self.all_changed_at)
            && shards
                .iter()
                .all(|shard| self.shards.get(shard.0 as usize).is_some_and(is_older))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_change_counts_from_when_it_is_noted_and_only_for_its_subject() {
        let versions = Versions::new();
        let (a, b) = (versions.shard_of_key("a"), versions.shard_of_key("b"));
        let before = versions.now();
        assert!(versions.unchanged(before, &[a, b]));
        versions.changed(a);
        assert!(!versions.unchanged(before, &[a, b]) && versions.unchanged(before, &[b]));
        let after = versions.now();
        assert!(versions.unchanged(after, &[a, b]));
        versions.all_changed();
        assert!(!versions.unchanged(after, &[]) && versions.unchanged(versions.now(), &[a, b]));
    }

    #[test]
    fn subjects_of_different_kinds_are_different() {
        let versions = Versions::new();
        let id = uuid::Uuid::now_v7();
        let conversation = versions.shard_of(Subject::Conversation(ConversationId(id)));
        assert_ne!(conversation, versions.shard_of(Subject::User(UserId(id))));
    }

    /// What happens, in one of all the orders in which it can.
    #[derive(Clone, Copy, Debug)]
    enum Event {
        /// A writer commits to a subject, and will note the change later.
        Commit(usize),
        /// The oldest change that was not noted is noted.
        Notify,
        /// A reader takes the version.
        Begin,
        /// The reader that took its version first reads the truth and caches what it read.
        Read,
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            (0_usize..3).prop_map(Event::Commit),
            Just(Event::Notify),
            Just(Event::Begin),
            Just(Event::Read),
        ]
    }

    proptest! {
        /// Whatever overlaps: what counts as unchanged has every change that was noted.
        #[test]
        fn nothing_old_is_shown_after_a_change_was_noted(
            events in prop::collection::vec(event(), 1..120), shards in 1_usize..4
        ) {
            let versions = Versions::with_shards(shards);
            let shard = |n: usize| versions.shard(n as u64);
            let (mut truth, mut noted) = ([0_u32; 3], [0_u32; 3]);
            let (mut unnoted, mut begun, mut cached) = (Vec::new(), Vec::new(), Vec::new());
            for event in events {
                match event {
                    Event::Commit(n) => {
                        truth[n] += 1;
                        unnoted.push((n, truth[n]));
                    }
                    Event::Notify if !unnoted.is_empty() => {
                        let (n, version) = unnoted.remove(0);
                        versions.changed(shard(n));
                        noted[n] = noted[n].max(version);
                    }
                    Event::Begin => begun.push(versions.now()),
                    Event::Read if !begun.is_empty() => cached.push((begun.remove(0), truth)),
                    Event::Notify | Event::Read => {}
                }
                for (since, seen) in &cached {
                    for n in 0..3 {
                        if versions.unchanged(*since, &[shard(n)]) {
                            prop_assert!(seen[n] >= noted[n], "version {} shown after {} was noted", seen[n], noted[n]);
                        }
                    }
                }
            }
        }
    }
}
