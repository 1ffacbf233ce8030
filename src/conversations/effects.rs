//! What follows from an event, as data: the state decides it (`state.rs`), the actor performs it
//! (`perform.rs`). Pure.

use crate::ids::{Rev, Seq, UserId};
use crate::wire::Change;
use std::collections::HashSet;

#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Push a durable change to every live subscriber.
    Broadcast(Change),
    /// Push to every live subscriber that `user` has read up to `seq`.
    BroadcastRead { user: UserId, seq: Seq },
    /// Push to every live subscriber but the typist.
    BroadcastTyping { user: UserId, on: bool },
    /// Push to every live subscriber but the person.
    BroadcastPresence { user: UserId, online: bool },
    /// Write a read marker.
    MarkRead { user: UserId, seq: Seq },
    /// Publish to other nodes how far a member has read.
    PublishRead { user: UserId, seq: Seq },
    /// Notify connections of these members that are not subscribed.
    Notify(NoticeRecipients),
    /// End the subscriptions of a user who is no longer a member.
    Detach { user: UserId, farewell: Change },
    /// The conversation is deleted: end every subscription.
    End { farewell: Change },
    /// Read the changes after this revision.
    CatchUp { after: Rev },
    /// The set of members changed.
    MembersChanged { user: UserId, joined: bool },
}

/// Who gets a notice of what lists show of the conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NoticeRecipients {
    /// Every member: what is shown is another for all of them.
    pub all: bool,
    /// These, also without that: they were added, or have read.
    pub users: HashSet<UserId>,
}
