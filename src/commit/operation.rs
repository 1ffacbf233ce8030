//! An operation: a request with everything that is needed to carry it out.

use super::receipt::Completion;
use crate::ids::{ConversationId, InviteId, MemberRole, MessageId, Rev, TenantId, UserId, UserKind};
use bytestring::ByteString;
use std::time::{Duration, Instant};

/// How long an operation may take from acceptance to commit, retries included.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// What is asked for; the fields are the protocol's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    Post {
        id: MessageId,
        body: ByteString,
        reply_to: Option<MessageId>,
    },
    Edit {
        id: MessageId,
        body: ByteString,
        /// The message's revision that the user saw: not done if it was edited or deleted since.
        if_rev: Option<Rev>,
    },
    Delete {
        id: MessageId,
        if_rev: Option<Rev>,
    },
    React {
        id: MessageId,
        emoji: String,
        on: bool,
        if_rev: Option<Rev>,
    },
    AddMember {
        user_id: UserId,
        role: Option<MemberRole>,
    },
    ChangeMember {
        user_id: UserId,
        role: MemberRole,
    },
    /// Removes a member; oneself to leave.
    RemoveMember {
        user_id: UserId,
    },
    /// Joins by an invitation, whose use is counted in the same transaction.
    Join {
        invite_id: InviteId,
    },
    Rename {
        title: ByteString,
    },
    DeleteConversation,
}

/// What the actor must be for the request. Decided in `conversations/permissions.rs`, enforced
/// under the row lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// A member with at least this role.
    Role(MemberRole),
    /// A member who wrote the message.
    Author,
    /// A member who wrote the message, or who has at least this role.
    AuthorOrRole(MemberRole),
    /// The user alone is enough: an invitation stands for the membership.
    Invitation,
}

#[derive(Debug)]
pub struct Operation {
    /// Of the actor and the conversation.
    pub tenant_id: TenantId,
    pub conversation_id: ConversationId,
    /// The user who asks.
    pub actor_id: UserId,
    pub actor_kind: UserKind,
    pub requirement: Requirement,
    pub request: Request,
    /// Until when it may be tried: [`DEADLINE`] after it was accepted.
    pub deadline: Instant,
    pub done: Completion,
}

impl Operation {
    /// When it was accepted from its client.
    #[must_use]
    pub fn accepted_at(&self) -> Instant {
        self.deadline.checked_sub(DEADLINE).unwrap_or(self.deadline)
    }
}
