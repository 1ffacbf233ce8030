//! When what last changed: the one place that says whether something cached may still be shown.
//!
//! A clock counts changes; each subject (a key, a conversation, a user) has a stripe that holds the clock of its latest
//! change. Whoever loads something notes the clock *before* reading the truth, and which subjects the result depends on;
//! it may be shown for as long as none of their stripes is later than that. So a load that began before a change can
//! never bring the old value back, however late it ends; nothing has to be found and removed; and telling a change is two
//! atomic operations, whether one reader depends on it or a thousand: a message in a conversation of a thousand members
//! costs what one in a conversation of two costs.
//!
//! The order is what it rests on: the truth changes (the transaction commits), then the clock, then the stripe, and only
//! then is whoever made the change answered. Subjects that share a stripe invalidate each other needlessly, never too
//! little. Bounded: [`STRIPES`] words, whatever there is.

use crate::ids::{ConversationId, UserId};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// So many that with a thousand busy conversations the list of a user with fifty quiet ones shares a stripe with one of
/// them once in ten; 4 MiB.
const STRIPES: usize = 1 << 19;

/// What cached things depend on, besides their own key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A conversation: its messages, members and properties.
    Conversation(ConversationId),
    /// A user: which conversations they are a member of, and how far they have read.
    User(UserId),
}

/// The stripe of a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stripe(u32);

/// A moment on the clock of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(u64);

pub(super) struct Stamps {
    clock: AtomicU64,
    /// Everything changed at this moment.
    floor: AtomicU64,
    stripes: Box<[AtomicU64]>,
    hasher: RandomState,
}

impl Stamps {
    pub(super) fn new() -> Self {
        Self::with_stripes(STRIPES)
    }

    fn with_stripes(n: usize) -> Self {
        Self {
            clock: AtomicU64::new(0),
            floor: AtomicU64::new(0),
            stripes: (0..n).map(|_| AtomicU64::new(0)).collect(),
            hasher: RandomState::new(),
        }
    }

    pub(super) fn stripe_of_key(&self, key: &str) -> Stripe {
        self.stripe(self.hasher.hash_one(key))
    }

    pub(super) fn stripe_of(&self, subject: Subject) -> Stripe {
        self.stripe(self.hasher.hash_one(subject))
    }

    fn stripe(&self, hash: u64) -> Stripe {
        let n = hash % self.stripes.len() as u64;
        Stripe(u32::try_from(n).unwrap_or_default())
    }

    /// The present moment; to be taken before the truth is read.
    pub(super) fn now(&self) -> Moment {
        Moment(self.clock.load(Ordering::SeqCst))
    }

    /// Something has changed; to be called after the truth has.
    pub(super) fn touch(&self, stripe: Stripe) {
        let now = self.clock.fetch_add(1, Ordering::SeqCst) + 1;
        if let Some(word) = self.stripes.get(stripe.0 as usize) {
            word.fetch_max(now, Ordering::SeqCst);
        }
    }

    /// Everything may have changed.
    pub(super) fn touch_all(&self) {
        let now = self.clock.fetch_add(1, Ordering::SeqCst) + 1;
        self.floor.fetch_max(now, Ordering::SeqCst);
    }

    /// Whether nothing of this has changed since.
    pub(super) fn unchanged(&self, since: Moment, stripes: &[Stripe]) -> bool {
        let older = |word: &AtomicU64| word.load(Ordering::SeqCst) <= since.0;
        older(&self.floor)
            && stripes
                .iter()
                .all(|stripe| self.stripes.get(stripe.0 as usize).is_some_and(older))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_change_counts_from_when_it_is_told_and_only_for_its_subject() {
        let stamps = Stamps::new();
        let (a, b) = (stamps.stripe_of_key("a"), stamps.stripe_of_key("b"));
        let before = stamps.now();
        assert!(stamps.unchanged(before, &[a, b]));
        stamps.touch(a);
        assert!(!stamps.unchanged(before, &[a, b]) && stamps.unchanged(before, &[b]));
        let after = stamps.now();
        assert!(stamps.unchanged(after, &[a, b]));
        stamps.touch_all();
        assert!(!stamps.unchanged(after, &[]) && stamps.unchanged(stamps.now(), &[a, b]));
    }

    #[test]
    fn subjects_of_different_kinds_are_different() {
        let stamps = Stamps::new();
        let id = uuid::Uuid::now_v7();
        let conversation = stamps.stripe_of(Subject::Conversation(ConversationId(id)));
        assert_ne!(conversation, stamps.stripe_of(Subject::User(UserId(id))));
    }

    /// What happens, in one of all the orders in which it can.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        /// A writer commits to a subject, and will tell it later.
        Commit(usize),
        /// The oldest change that has not been told is told.
        Tell,
        /// A reader notes the moment.
        Begin,
        /// The reader that noted the moment first reads the truth and caches what it read.
        Read,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0_usize..3).prop_map(Step::Commit),
            Just(Step::Tell),
            Just(Step::Begin),
            Just(Step::Read),
        ]
    }

    proptest! {
        /// Whatever overlaps: what counts as unchanged has every change that was told.
        #[test]
        fn nothing_old_is_shown_after_a_change_was_told(
            steps in prop::collection::vec(step(), 1..120), stripes in 1_usize..4
        ) {
            let stamps = Stamps::with_stripes(stripes);
            let stripe = |n: usize| stamps.stripe(n as u64);
            let (mut truth, mut told) = ([0_u32; 3], [0_u32; 3]);
            let (mut untold, mut begun, mut cached) = (Vec::new(), Vec::new(), Vec::new());
            for step in steps {
                match step {
                    Step::Commit(n) => {
                        truth[n] += 1;
                        untold.push((n, truth[n]));
                    }
                    Step::Tell if !untold.is_empty() => {
                        let (n, version) = untold.remove(0);
                        stamps.touch(stripe(n));
                        told[n] = told[n].max(version);
                    }
                    Step::Begin => begun.push(stamps.now()),
                    Step::Read if !begun.is_empty() => cached.push((begun.remove(0), truth)),
                    Step::Tell | Step::Read => {}
                }
                for (since, seen) in &cached {
                    for n in 0..3 {
                        if stamps.unchanged(*since, &[stripe(n)]) {
                            prop_assert!(seen[n] >= told[n], "version {} shown after {} was told", seen[n], told[n]);
                        }
                    }
                }
            }
        }
    }
}
