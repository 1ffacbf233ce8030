//! The observer of commits that keeps the cached first pages of conversations true.
//!
//! It invalidates what the pages depend on: two atomic operations for a message, done at once. So
//! it needs no queue and is never full. It is the first in the list of observers: anyone who waits for
//! the receipt may list conversations next.

use crate::cache::{CacheHandle, Subject};
use crate::commit::CommitObserver;
use crate::wire::{Change, Committed};

pub struct FirstPageObserver {
    cache: CacheHandle,
}

impl FirstPageObserver {
    #[must_use]
    pub const fn new(cache: CacheHandle) -> Self {
        Self { cache }
    }
}

impl CommitObserver for FirstPageObserver {
    fn committed(&self, committed: &Committed) {
        invalidate_first_pages(&self.cache, committed);
    }
}

/// Invalidates what first pages depend on, for a commit of whichever node.
pub(super) fn invalidate_first_pages(cache: &CacheHandle, committed: &Committed) {
    for change in &committed.changes {
        // Anyone who joins has pages that do not know the conversation yet.
        if let Change::Member(member) = change {
            cache.invalidate(Subject::User(member.user.id));
        }
    }
    cache.invalidate(Subject::Conversation(committed.conversation_id));
}
