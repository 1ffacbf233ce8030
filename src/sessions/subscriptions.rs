//! The conversations that one connection is subscribed to, or has asked for.
//!
//! A subscription belongs to its conversation, which may end it at any time and then gives its
//! permit back. So this is only a memory of handles: it saves looking a conversation up for each
//! frame.
//!
//! Bounds: [`limits::SUBSCRIPTIONS_MAX`] permits. As many handles, and one for each frame in the
//! window.

use crate::conversations::ConversationHandle;
use crate::ids::{ConnectionId, ConversationId};
use crate::wire::limits;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

struct SubscribedConversation {
    handle: ConversationHandle,
    /// The number of the latest request. Those within the window may not have been replied to yet.
    requested: u64,
}

pub(super) struct Subscriptions {
    connection: ConnectionId,
    conversations: HashMap<ConversationId, SubscribedConversation>,
    /// How many requests there were.
    requested: u64,
    /// One for each subscription; given back when it ends, for whatever reason.
    permits: Arc<Semaphore>,
}

/// The connection has as many subscriptions as it may.
pub(super) struct TooManySubscriptions;

impl Subscriptions {
    pub(super) fn new(connection: ConnectionId) -> Self {
        Self {
            connection,
            conversations: HashMap::new(),
            requested: 0,
            permits: Arc::new(Semaphore::new(limits::SUBSCRIPTIONS_MAX)),
        }
    }

    pub(super) fn handle(&self, id: ConversationId) -> Option<&ConversationHandle> {
        self.conversations.get(&id).map(|known| &known.handle)
    }

    pub(super) fn handle_mut(&mut self, id: ConversationId) -> Option<&mut ConversationHandle> {
        self.conversations.get_mut(&id).map(|known| &mut known.handle)
    }

    pub(super) fn handles(&self) -> impl Iterator<Item = &ConversationHandle> {
        self.conversations.values().map(|known| &known.handle)
    }

    pub(super) fn remove(&mut self, id: ConversationId) -> Option<ConversationHandle> {
        self.conversations.remove(&id).map(|known| known.handle)
    }

    /// A permit for one more subscription. None for one that replaces another, when no permit is
    /// left.
    pub(super) fn permit(&self, id: ConversationId) -> Result<Option<OwnedSemaphorePermit>, TooManySubscriptions> {
        let permit = self.permits.clone().try_acquire_owned().ok();
        let is_subscribed = || {
            let known = self.conversations.get(&id);
            known.is_some_and(|known| known.handle.has_subscriber(self.connection))
        };
        if permit.is_none() && !is_subscribed() {
            return Err(TooManySubscriptions);
        }
        Ok(permit)
    }

    /// Notes that a subscription was requested.
    pub(super) fn requested(&mut self, handle: ConversationHandle) {
        if self.conversations.len() >= limits::SUBSCRIPTIONS_MAX + limits::WINDOW {
            // More than permits and window allow: some were refused, or have ended since. Requests
            // that are on their way stay.
            let replied = self.requested.saturating_sub(limits::WINDOW as u64);
            let connection = self.connection;
            self.conversations
                .retain(|_, known| known.requested >= replied || known.handle.has_subscriber(connection));
        }
        self.requested += 1;
        let requested = self.requested;
        self.conversations
            .insert(handle.id(), SubscribedConversation { handle, requested });
    }
}
