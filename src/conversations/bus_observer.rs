//! The observer of commits that publishes them to the other nodes.
//!
//! The queue is the bus's own: 10,000 envelopes wait (`bus/`). When it is full, the bus drops and
//! counts the envelope. The other nodes catch up from the database: they compare revisions
//! (`revisions.rs`).

use crate::bus::{Bus, Envelope, To};
use crate::commit::CommitObserver;
use crate::ids::NodeId;
use crate::wire::Committed;
use std::sync::Arc;

pub struct BusObserver {
    node: NodeId,
    bus: Arc<dyn Bus>,
}

impl BusObserver {
    #[must_use]
    pub const fn new(node: NodeId, bus: Arc<dyn Bus>) -> Self {
        Self { node, bus }
    }
}

impl CommitObserver for BusObserver {
    fn committed(&self, committed: &Committed) {
        // Also without changes: after a lost receipt it says how far the conversation is.
        if self.bus.has_peers(self.node) {
            let to = To::Conversation(committed.conversation_id);
            self.bus.publish(self.node, to, Envelope::Committed(committed.clone()));
        }
    }
}
