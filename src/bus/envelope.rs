//! What a node publishes for others, and to whom.
//!
//! When you add a kind of envelope: a variant here, its form in `codec.rs`, who handles it in
//! `interest.rs`.

use super::presence::PresenceMessage;
use crate::ids::{ConversationId, NodeId, Seq, UserId};
use crate::wire::Committed;
use crate::wire::frames::Notice;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Instant;

/// What a node publishes for others.
#[derive(Clone, Debug)]
pub enum Envelope {
    /// Changes of a conversation that the sender has committed.
    Committed(Committed),
    /// A member has read up to `seq`.
    Read {
        conversation_id: ConversationId,
        user_id: UserId,
        seq: Seq,
    },
    /// A member started (`on`) or stopped typing.
    Typing {
        conversation_id: ConversationId,
        user_id: UserId,
        on: bool,
    },
    /// Who is connected to a node.
    Presence(PresenceMessage),
    /// Envelopes of these conversations may have been lost until now. From now on they arrive. A
    /// bus delivers this to its own node; it is never published.
    Resumed(Vec<ConversationId>),
    /// These users should get a notice on their connections that are not subscribed to the
    /// conversation.
    Notices {
        /// What is the same for all of them.
        notice: Notice,
        /// Users, each with the number of messages they have not read.
        unread: Vec<(UserId, i64)>,
    },
    /// Something that caches hold has changed.
    Invalidated(Invalidation),
}

/// What caches must not show any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Invalidation {
    /// The values of these keys.
    Keys(Vec<Arc<str>>),
    Everything,
}

/// An envelope as a subscriber gets it.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub envelope: Envelope,
    /// By this process's clock.
    pub published_at: Instant,
}

/// Whom an envelope concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    Everybody,
    /// The nodes that have subscribed to the conversation.
    Conversation(ConversationId),
    Node(NodeId),
}
