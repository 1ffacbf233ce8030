//! The observer of commits that notifies the conversations of this node.
//!
//! The queue is the mailbox of events of each slot: 4,096 wait (`slot.rs`, taken by `actor.rs`).
//! When it is full, the event is dropped and logged, and the conversation catches up from the
//! database: revisions are compared (`revisions.rs`).

use super::event::ConversationEvent;
use super::slot_table::SlotTable;
use crate::commit::CommitObserver;
use crate::wire::Committed;
use std::sync::Arc;

pub struct SlotObserver {
    slots: Arc<SlotTable>,
}

impl SlotObserver {
    #[must_use]
    pub const fn new(slots: Arc<SlotTable>) -> Self {
        Self { slots }
    }
}

impl CommitObserver for SlotObserver {
    fn committed(&self, committed: &Committed) {
        if let Some(slot) = self.slots.find(committed.conversation_id) {
            slot.notify(ConversationEvent::Committed(committed.clone()));
        }
    }
}
