//! Passes changes of presence on to the active conversations of a user.
//!
//! A task of its own under supervision, because the registry must not wait for it. It reads the
//! queue of presence and puts an event into each conversation's mailbox; it waits for no
//! conversation. When the queue has overflowed, and after a crash, it looks at every member of
//! every active conversation: an event that changes nothing costs nothing there.

use super::dependencies::ConversationContext;
use super::event::ConversationEvent;
use crate::ids::UserId;
use crate::presence::{ChangedUsers, PRESENCES};
use crate::supervision::supervise_task;
use std::sync::Arc;

/// Users that are looked at before other tasks of the thread have their turn.
const USERS_AT_ONCE: usize = 500;

/// Starts the task under supervision.
pub(super) fn start(context: &Arc<ConversationContext>) {
    let listening = context.clone();
    context.arbiters.spawn(0, async move {
        let context = &listening;
        supervise_task(PRESENCES, |generation| listen(context, generation)).await;
    });
}

async fn listen(context: &ConversationContext, generation: u64) {
    let mut changes = context.presence.changes().await;
    if generation > 1 {
        // The predecessor may have died with a change in its hand.
        notify_all(context).await;
    }
    loop {
        let changed = changes.next().await;
        fail::fail_point!("conversations::presences");
        match changed {
            ChangedUsers::One(user) => notify(context, user),
            ChangedUsers::All => {
                tracing::warn!("too many presence changes waited; every member of active conversations is looked at");
                notify_all(context).await;
            }
        }
    }
}

async fn notify_all(context: &ConversationContext) {
    for users in context.slots.members().chunks(USERS_AT_ONCE) {
        users.iter().for_each(|user| notify(context, *user));
        tokio::task::yield_now().await;
    }
}

/// Notifies the conversations of a user of how they are now. What the change was when it was
/// noticed is not passed on: it may be overtaken by what another node says.
fn notify(context: &ConversationContext, user: UserId) {
    let online = context.presence.is_online(user);
    context
        .slots
        .notify_conversations_of(user, || ConversationEvent::Presence { user, online });
}
