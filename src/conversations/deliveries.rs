//! Envelopes of other nodes, as the bus delivers them: passed on to the conversation, or to the
//! sessions.
//!
//! Used by the registry, which takes them from its bounded subscription to the bus. Nothing here
//! waits.

use super::dependencies::ConversationContext;
use super::event::ConversationEvent;
use super::first_page_observer::invalidate_first_pages;
use crate::bus::Envelope;
use crate::cache::Subject;
use crate::ids::{ConversationId, Seq, UserId};
use crate::wire::frames::Notice;

/// Passes an envelope on. The ids of conversations whose revisions must be compared, if the bus may
/// have lost something.
pub(super) fn deliver(context: &ConversationContext, envelope: Envelope) -> Option<Vec<ConversationId>> {
    match envelope {
        Envelope::Committed(committed) => {
            invalidate_first_pages(&context.cache, &committed);
            let id = committed.conversation_id;
            context
                .slots
                .notify(id, ConversationEvent::CommittedElsewhere(committed));
        }
        Envelope::Read {
            conversation_id,
            user_id: user,
            seq,
        } => {
            context.cache.invalidate(Subject::User(user));
            context
                .slots
                .notify(conversation_id, ConversationEvent::Read { user, seq });
        }
        Envelope::Typing {
            conversation_id,
            user_id: user,
            on,
        } => context
            .slots
            .notify(conversation_id, ConversationEvent::Typing { user, on }),
        Envelope::Resumed(ids) => return Some(ids),
        Envelope::Notices {
            conversation_id,
            last_seq,
            unread,
        } => deliver_notices(context, conversation_id, last_seq, unread),
        // They have subscriptions of their own.
        Envelope::Presence(_) | Envelope::Invalidated(_) => {}
    }
    None
}

fn deliver_notices(context: &ConversationContext, id: ConversationId, last_seq: Seq, notices: Vec<(UserId, i64)>) {
    let slot = context.slots.find(id);
    if slot.is_some() && last_seq != Seq::ZERO {
        // Active here: its own actor is notified of the change, and sends the notices.
        return;
    }
    let subscribed = |connection| {
        slot.as_ref()
            .is_some_and(|slot| slot.subscribers.lock().contains(connection))
    };
    for (user, unread) in notices {
        if last_seq == Seq::ZERO {
            // A new conversation: no commit has invalidated the user's pages.
            context.cache.invalidate(Subject::User(user));
        }
        let notice = Notice {
            conversation: id,
            last_seq,
            unread,
        };
        context.audience.notify(user, notice, &subscribed);
    }
}
