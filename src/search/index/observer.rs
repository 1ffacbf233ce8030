//! The observer of commits that says which conversations have something to index.
//!
//! It puts the conversation into the backlog, which is bounded; when that is full, the sweep finds
//! the conversation later. Commits of other nodes are not heard of here: each node indexes what it
//! has committed, and the sweep finds what a node has left behind that died.

use super::backlog::{Backlog, Waiting};
use crate::commit::CommitObserver;
use crate::wire::{Change, Committed};
use std::sync::Arc;
use std::time::Instant;

pub struct SearchObserver {
    backlog: Arc<Backlog>,
}

impl SearchObserver {
    pub(super) const fn new(backlog: Arc<Backlog>) -> Self {
        Self { backlog }
    }
}

impl CommitObserver for SearchObserver {
    fn committed(&self, committed: &Committed) {
        // Without any change it is only known that something was committed.
        let is_of_member = |change: &Change| matches!(change, Change::Member(_));
        let concerns_words = committed.changes.is_empty() || !committed.changes.iter().all(is_of_member);
        // Whose it is, this node knows of what it has committed.
        if let Some(tenant) = committed.tenant_id.filter(|_| concerns_words) {
            self.backlog.push(Waiting {
                conversation: committed.conversation_id,
                tenant,
                since: Instant::now(),
            });
        }
    }
}
