//! What a caller asks of a conversation. Commands wait in the mailbox of its slot (`slot.rs`) and
//! are taken by `actor.rs`.

use super::starts::{Starter, starter};
use super::subscribers::NewSubscriber;
use crate::auth::Access;
use crate::commit::{Completion, Request};
use crate::error::Code;
use crate::ids::{ConnectionId, Rev, Seq, UserId};
use crate::wire::Reply;
use std::time::Instant;

#[derive(Debug)]
pub(super) enum ConversationCommand {
    Change {
        access: Access,
        request: Request,
        deadline: Instant,
        done: Completion,
    },
    /// Subscribe a connection, from `after` or from the newest messages.
    Subscribe {
        access: Access,
        subscriber: NewSubscriber,
        after: Option<Rev>,
        reply: Reply,
    },
    Unsubscribe {
        connection: ConnectionId,
        reply: Reply,
    },
    /// Move the caller's read marker.
    Read {
        access: Access,
        seq: Seq,
        reply: Reply,
    },
    /// The caller types, or no longer.
    Typing {
        access: Access,
        on: bool,
        reply: Reply,
    },
}

impl ConversationCommand {
    /// For whom it may start its conversation; `None` for what only a subscriber asks, whose
    /// conversation is active.
    pub(super) const fn starter(&self) -> Option<Starter> {
        match self {
            Self::Change { access, .. } | Self::Subscribe { access, .. } => Some(starter(access)),
            Self::Unsubscribe { .. } | Self::Read { .. } | Self::Typing { .. } => None,
        }
    }

    /// Replies to a command whose conversation is not active, and is not started for it.
    pub(super) fn miss(self) {
        match self {
            // So it is already.
            Self::Unsubscribe { reply, .. } => reply.ok(None),
            other => other.refuse(Code::NotFound),
        }
    }

    /// Who asks; the session's own ending of a subscription says only whose connection it is.
    pub(super) const fn user(&self) -> Option<UserId> {
        match self {
            Self::Change { access, .. }
            | Self::Subscribe { access, .. }
            | Self::Read { access, .. }
            | Self::Typing { access, .. } => Some(access.user_id),
            Self::Unsubscribe { .. } => None,
        }
    }

    /// The connection whose subscription this begins or ends.
    pub(super) const fn connection(&self) -> Option<ConnectionId> {
        match self {
            Self::Subscribe { subscriber, .. } => Some(subscriber.connection),
            Self::Unsubscribe { connection, .. } => Some(*connection),
            Self::Change { .. } | Self::Read { .. } | Self::Typing { .. } => None,
        }
    }

    /// Replies to a command that nobody will carry out.
    pub(super) fn refuse(self, code: Code) {
        match self {
            Self::Change { done, .. } => {
                done.complete(Err(crate::commit::Error::Refused(code, code.text())));
            }
            Self::Subscribe { reply, .. }
            | Self::Unsubscribe { reply, .. }
            | Self::Read { reply, .. }
            | Self::Typing { reply, .. } => reply.refuse(code),
        }
    }
}
