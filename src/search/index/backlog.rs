//! The conversations with something to index, in turns of tenants; of one tenant, those that wait
//! longest first.
//!
//! Filled by the observer of commits and by the sweep, emptied by the task. What the turns do not
//! divide, the bytes of a batch, is divided where it is read (`store.rs`).
//!
//! Bounded: a conversation is in it once, and there are [`CONVERSATIONS_MAX`]. When it is full, a
//! conversation of the tenant with most of them is dropped. The sweep finds it again, because what
//! is to be indexed stands in the tables. A crash loses nothing for the same reason.

use crate::ids::{ConversationId, TenantId};
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Most conversations that wait.
const CONVERSATIONS_MAX: usize = 65_536;

/// A conversation with something to index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) conversation: ConversationId,
    pub(super) tenant: TenantId,
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
    /// None of them is empty.
    of_tenant: HashMap<TenantId, VecDeque<Waiting>>,
    /// Each tenant that waits, once: the first one is next.
    turns: VecDeque<TenantId>,
    known: HashSet<ConversationId>,
}

impl Queue {
    fn push(&mut self, waiting: Waiting) {
        if !self.known.insert(waiting.conversation) {
            return;
        }
        let own = self.of_tenant.entry(waiting.tenant).or_default();
        if own.is_empty() {
            self.turns.push_back(waiting.tenant);
        }
        own.push_back(waiting);
        if self.known.len() > CONVERSATIONS_MAX {
            let most = self.of_tenant.values_mut().max_by_key(|own| own.len());
            let dropped = most.and_then(|own| Some((own.pop_back()?, own.is_empty())));
            if let Some((dropped, was_last)) = dropped {
                self.known.remove(&dropped.conversation);
                if was_last {
                    self.of_tenant.remove(&dropped.tenant);
                    self.turns.retain(|tenant| *tenant != dropped.tenant);
                }
            }
        }
    }

    fn pop(&mut self) -> Option<Waiting> {
        let tenant = self.turns.pop_front()?;
        let own = self.of_tenant.get_mut(&tenant)?;
        let next = own.pop_front();
        if own.is_empty() {
            self.of_tenant.remove(&tenant);
        } else {
            self.turns.push_back(tenant);
        }
        if let Some(waiting) = &next {
            self.known.remove(&waiting.conversation);
        }
        next
    }
}

impl Backlog {
    /// Adds a conversation, unless it waits already.
    pub(super) fn push(&self, waiting: Waiting) {
        let mut queue = self.waiting.lock();
        queue.push(waiting);
        if queue.known.len() == 1 {
            self.filled.notify_one();
        }
    }

    /// Takes up to `most`, in turns of tenants.
    pub(super) fn take(&self, most: usize) -> Vec<Waiting> {
        let mut queue = self.waiting.lock();
        std::iter::from_fn(|| queue.pop()).take(most).collect()
    }

    /// Puts back what is not finished, behind the rest of its tenant.
    pub(super) fn put_back(&self, unfinished: &[Waiting]) {
        for waiting in unfinished {
            self.push(*waiting);
        }
    }

    /// Resolves when something waits.
    pub(super) async fn filled(&self) {
        while self.len() == 0 {
            self.filled.notified().await;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.lock().known.len()
    }

    /// How long the one that waits longest has waited.
    pub(super) fn lag(&self, now: Instant) -> Duration {
        let queue = self.waiting.lock();
        let oldest = queue.of_tenant.values().flatten().map(|waiting| waiting.since).min();
        oldest.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(tenant: TenantId, since: Instant) -> Waiting {
        Waiting {
            conversation: ConversationId::new(),
            tenant,
            since,
        }
    }

    #[tokio::test]
    async fn each_waits_once_and_has_its_turn() {
        let (backlog, now, tenant) = (Backlog::default(), Instant::now(), TenantId::new());
        let [one, other] = [waiting(tenant, now), waiting(tenant, now)];
        backlog.push(one);
        backlog.push(other);
        backlog.push(Waiting {
            since: now + Duration::from_secs(9),
            ..one
        });
        assert_eq!(
            (backlog.len(), backlog.lag(now + Duration::from_secs(3))),
            (2, Duration::from_secs(3))
        );
        backlog.filled().await;
        let taken = backlog.take(1);
        assert_eq!(taken, [one]);
        backlog.put_back(&taken);
        assert_eq!(backlog.take(9), [other, one]);
        assert_eq!((backlog.len(), backlog.lag(now)), (0, Duration::ZERO));
    }

    #[test]
    fn a_tenant_with_many_has_one_turn_of_two() {
        let (backlog, now) = (Backlog::default(), Instant::now());
        let [many, few] = [TenantId::new(), TenantId::new()];
        (0..1_000).for_each(|_| backlog.push(waiting(many, now)));
        (0..3).for_each(|_| backlog.push(waiting(few, now)));
        let taken = backlog.take(8);
        let is_of_few: Vec<_> = taken.iter().map(|waiting| waiting.tenant == few).collect();
        assert_eq!(is_of_few, [false, true, false, true, false, true, false, false]);
        // Whoever comes back has no turn before the others.
        backlog.push(waiting(few, now));
        assert_eq!(
            backlog.take(2).iter().filter(|waiting| waiting.tenant == few).count(),
            1
        );
    }

    #[test]
    fn it_is_bounded_and_full_for_who_filled_it() {
        let (backlog, now) = (Backlog::default(), Instant::now());
        let [many, few] = [TenantId::new(), TenantId::new()];
        (0..=CONVERSATIONS_MAX).for_each(|_| backlog.push(waiting(many, now)));
        assert_eq!(backlog.len(), CONVERSATIONS_MAX);
        let late = waiting(few, now);
        backlog.push(late);
        assert_eq!(backlog.len(), CONVERSATIONS_MAX);
        assert!(backlog.take(2).contains(&late));
        assert_eq!(backlog.take(usize::MAX).len(), CONVERSATIONS_MAX - 2);
        assert_eq!(backlog.waiting.lock().turns.len(), 0);
    }
}
