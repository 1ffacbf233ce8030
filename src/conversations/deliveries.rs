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
use crate::ids::{ConversationId, Rev, Seq, UserId};
use crate::wire::NoticeFrames;
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
        Envelope::Notices { notice, unread } => deliver_notices(context, &notice, unread),
        // They have subscriptions of their own.
        Envelope::Presence(_) | Envelope::Invalidated(_) => {}
    }
    None
}

/// A notice that another node sends, because the conversation may not be active here.
fn deliver_notices(context: &ConversationContext, notice: &Notice, unread: Vec<(UserId, i64)>) {
    let id = notice.conversation;
    // A new conversation has no actor that was notified of a change.
    let is_new = notice.last_seq == Seq::ZERO;
    let slot = context.slots.find(id);
    if !is_new && slot.as_ref().is_some_and(|slot| slot.rev() != Rev::ZERO) {
        // Active here: its own actor is notified of the change, and sends the notices. One that is
        // just being loaded may know the change already, and then sends none.
        return;
    }
    for (user, _) in &unread {
        // The commit may not have invalidated the user's pages here.
        context.cache.invalidate(Subject::User(*user));
    }
    let subscribers = slot.as_ref().map(|slot| slot.subscribers.lock());
    let wanted = |connection| !subscribers.as_ref().is_some_and(|table| table.contains(connection));
    let mut frames = NoticeFrames::new(notice);
    for (user, unread) in unread {
        context.audience.notify(user, id, &wanted, &mut || frames.frame(unread));
    }
}
