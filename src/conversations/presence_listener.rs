//! Passes changes of presence on to the active conversations of a user.
//!
//! A task of its own under supervision, because the registry must not wait for it. It reads the queue of presence and puts
//! an event into each conversation's mailbox; it waits for no conversation. When the queue has overflowed, and after a crash,
//! it looks at every member of every active conversation: an event that changes nothing costs nothing there.

use super::registry::Shared;
use super::slots::Fact;
use crate::ids::UserId;
use crate::presence::{ChangedUsers, PRESENCES};
use crate::supervision::supervise_task;
use std::sync::Arc;

/// Users that are looked at before other tasks of the thread have their turn.
const USERS_AT_ONCE: usize = 500;

/// Starts the task under supervision.
pub(super) fn start(shared: &Arc<Shared>) {
    let listening = shared.clone();
    shared.arbiters.spawn(0, async move {
        let shared = &listening;
        supervise_task(PRESENCES, |generation| listen(shared, generation)).await;
    });
}

async fn listen(shared: &Shared, generation: u64) {
    let mut changes = shared.presence.changes().await;
    if generation > 1 {
        // The predecessor may have died with a change in its hand.
        notify_all(shared).await;
    }
    loop {
        let changed = changes.next().await;
        fail::fail_point!("conversations::presences");
        match changed {
            ChangedUsers::One(user) => notify(shared, user),
            ChangedUsers::All => {
                tracing::warn!("too many presence changes waited; every member of active conversations is looked at");
                notify_all(shared).await;
            }
        }
    }
}

async fn notify_all(shared: &Shared) {
    for users in shared.slots.members().chunks(USERS_AT_ONCE) {
        users.iter().for_each(|user| notify(shared, *user));
        tokio::task::yield_now().await;
    }
}

/// Tells the conversations of a user how they are now. What the change was when it was noticed is not passed on: it may be
/// overtaken by what another node says.
fn notify(shared: &Shared, user: UserId) {
    let online = shared.presence.is_online(user);
    shared
        .slots
        .tell_conversations_of(user, || Fact::Presence { user, online });
}
