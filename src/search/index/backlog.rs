//! The conversations with something to index, those that wait longest first.
//!
//! Filled by the observer of commits and by the sweep, emptied by the task. Bounded: a conversation
//! is in it once, and one more than [`CONVERSATIONS_MAX`] is dropped. The sweep finds it again,
//! because what is to be indexed stands in the tables. A crash loses nothing for the same reason.

use crate::ids::ConversationId;
use parking_lot::Mutex;
use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Most conversations that wait.
const CONVERSATIONS_MAX: usize = 65_536;

/// A conversation with something to index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) conversation: ConversationId,
    /// Since when something of it is not indexed.
    pub(super) since: Instant,
}

#[derive(Default)]
pub(super) struct Backlog {
    waiting: Mutex<Queue>,
    /// Told when something comes into the empty queue.
    filled: Notify,
}

#[derive(Default)]
struct Queue {
    order: VecDeque<Waiting>,
    known: HashSet<ConversationId>,
}

impl Backlog {
    /// Adds a conversation, unless it waits already, or too many do.
    pub(super) fn push(&self, conversation: ConversationId, since: Instant) {
        let mut queue = self.waiting.lock();
        if queue.order.len() < CONVERSATIONS_MAX && queue.known.insert(conversation) {
            queue.order.push_back(Waiting { conversation, since });
            if queue.order.len() == 1 {
                self.filled.notify_one();
            }
        }
    }

    /// Takes up to `most`, the first ones first.
    pub(super) fn take(&self, most: usize) -> Vec<Waiting> {
        let mut queue = self.waiting.lock();
        let most = most.min(queue.order.len());
        let taken: Vec<Waiting> = queue.order.drain(..most).collect();
        for waiting in &taken {
            queue.known.remove(&waiting.conversation);
        }
        taken
    }

    /// Puts back what is not finished, to the end: others have their turn before.
    pub(super) fn put_back(&self, unfinished: &[Waiting]) {
        for waiting in unfinished {
            self.push(waiting.conversation, waiting.since);
        }
    }

    /// Resolves when something waits.
    pub(super) async fn filled(&self) {
        while self.waiting.lock().order.is_empty() {
            self.filled.notified().await;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.lock().order.len()
    }

    /// How long the one that waits longest has waited.
    pub(super) fn lag(&self, now: Instant) -> Duration {
        let queue = self.waiting.lock();
        let oldest = queue.order.iter().map(|waiting| waiting.since).min();
        oldest.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_waits_once_and_has_its_turn() {
        let (backlog, now) = (Backlog::default(), Instant::now());
        let [one, other] = [ConversationId::new(), ConversationId::new()];
        backlog.push(one, now);
        backlog.push(other, now);
        backlog.push(one, now + Duration::from_secs(9));
        assert_eq!(
            (backlog.len(), backlog.lag(now + Duration::from_secs(3))),
            (2, Duration::from_secs(3))
        );
        backlog.filled().await;
        let taken = backlog.take(1);
        assert_eq!(
            taken,
            [Waiting {
                conversation: one,
                since: now
            }]
        );
        backlog.put_back(&taken);
        let order: Vec<_> = backlog
            .take(9)
            .into_iter()
            .map(|waiting| waiting.conversation)
            .collect();
        assert_eq!(order, [other, one]);
        assert_eq!((backlog.len(), backlog.lag(now)), (0, Duration::ZERO));
    }

    #[test]
    fn it_is_bounded() {
        let (backlog, now) = (Backlog::default(), Instant::now());
        for _ in 0..=CONVERSATIONS_MAX {
            backlog.push(ConversationId::new(), now);
        }
        assert_eq!(backlog.len(), CONVERSATIONS_MAX);
    }
}
