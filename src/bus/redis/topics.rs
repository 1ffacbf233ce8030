//! Which conversations the node wants to hear of, and what of that Redis has been told: pure.
//!
//! The same conversation may be wanted twice for a moment, when it is started again while its predecessor ends; so it is
//! counted. Changes are gathered until the subscriber takes them, and what was wanted and is not any more by then costs
//! nothing.

use crate::ids::ConversationId;
use std::collections::{HashMap, HashSet};

/// The wishes, and what has become of them.
#[derive(Debug, Default)]
pub(super) struct Topics {
    wanted: HashMap<ConversationId, u32>,
    subscribed: HashSet<ConversationId>,
    /// Those of which `wanted` and `subscribed` may say different things.
    changed: HashSet<ConversationId>,
}

/// What Redis is to be told.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    pub(super) subscribe: Vec<ConversationId>,
    pub(super) unsubscribe: Vec<ConversationId>,
}

impl Topics {
    /// Whether that changed anything.
    pub(super) fn follow(&mut self, id: ConversationId) -> bool {
        let times = self.wanted.entry(id).or_default();
        *times += 1;
        *times == 1 && self.changed.insert(id)
    }

    /// Whether that changed anything.
    pub(super) fn ignore(&mut self, id: ConversationId) -> bool {
        let Some(times) = self.wanted.get_mut(&id) else {
            return false;
        };
        *times -= 1;
        if *times > 0 {
            return false;
        }
        self.wanted.remove(&id);
        self.changed.insert(id)
    }

    /// What has to be told to Redis now; it counts as told.
    pub(super) fn take_changes(&mut self) -> Changes {
        let mut changes = Changes::default();
        for id in self.changed.drain() {
            if self.wanted.contains_key(&id) {
                if self.subscribed.insert(id) {
                    changes.subscribe.push(id);
                }
            } else if self.subscribed.remove(&id) {
                changes.unsubscribe.push(id);
            }
        }
        changes
    }

    /// On a fresh connection nothing has been told.
    pub(super) fn start_over(&mut self) {
        self.subscribed.clear();
        self.changed = self.wanted.keys().copied().collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn redis_knows_what_is_wanted(steps in proptest::collection::vec((0_usize..3, 0_u8..4), 0..60)) {
            let ids: Vec<_> = std::iter::repeat_with(ConversationId::new).take(3).collect();
            let (mut topics, mut there) = (Topics::default(), HashSet::new());
            let mut wanted = [0_u32; 3];
            for (who, what) in steps {
                match what {
                    0 => { topics.follow(ids[who]); wanted[who] += 1; }
                    1 if wanted[who] > 0 => { topics.ignore(ids[who]); wanted[who] -= 1; }
                    2 => { topics.start_over(); there.clear(); }
                    _ => {
                        let changes = topics.take_changes();
                        for id in changes.unsubscribe { prop_assert!(there.remove(&id)); }
                        for id in changes.subscribe { prop_assert!(there.insert(id)); }
                        let expected: HashSet<_> = (0..3).filter(|n| wanted[*n] > 0).map(|n| ids[n]).collect();
                        prop_assert_eq!(&there, &expected);
                    }
                }
            }
        }
    }
}
