//! The comparison of revisions: what a conversation has missed, the database knows.
//!
//! Publications and receipts may be lost. Every four seconds the revisions of all active
//! conversations are compared with the database. A conversation that is behind is notified of how
//! far the database is, and reads on. So a loss costs time and never a message. Used by the
//! registry.

use super::dependencies::ConversationContext;
use super::event::ConversationEvent;
use super::store;
use crate::ids::{ConversationId, Rev};
use crate::wire::Committed;
use std::time::Duration;

/// Between two comparisons. Five seconds are promised; the rest is for the comparison and for
/// reading what was missed.
pub(super) const COMPARE_INTERVAL: Duration = Duration::from_secs(4);
/// Conversations in one comparing query: one is enough for most nodes, and it stays far below the
/// statement timeout.
const COMPARE_IDS: usize = 10_000;

/// Compares all active conversations.
pub(super) async fn compare_all(context: &ConversationContext) {
    let mut known = context.slots.revs();
    // In the order of the index: it is walked from neighbour to neighbour.
    known.sort_unstable_by_key(|(id, _)| *id);
    compare(context, &known).await;
}

/// Compares those of the conversations that are active.
pub(super) async fn compare_some(context: &ConversationContext, ids: &[ConversationId]) {
    compare(context, &context.slots.revs_of(ids)).await;
}

async fn compare(context: &ConversationContext, known: &[(ConversationId, Rev)]) {
    for known in known.chunks(COMPARE_IDS) {
        match store::list_newer(&context.database, known).await {
            Ok(revs) => {
                for (conversation_id, observed) in revs {
                    let committed = Committed {
                        conversation_id,
                        tenant_id: None,
                        changes: Vec::new(),
                        observed,
                        since: None,
                        committed_at: None,
                    };
                    let event = ConversationEvent::CommittedElsewhere(committed);
                    context.slots.notify(conversation_id, event);
                }
            }
            Err(error) => tracing::warn!(%error, "revisions not compared"),
        }
    }
}
