//! The form of envelopes between nodes, in postcard: the order of variants and fields is what stands
//! on the wire.
//!
//! Used by `codec.rs`, which says when a change of these types needs another version. Changes have
//! their own form here, because their `Serialize` is that of the client protocol. It leaves out what
//! clients need not know, and times are text in it.

use super::envelope::Invalidation;
use super::presence::PresenceMessage;
use crate::ids::{ConversationId, MemberRole, MessageId, NodeId, Rev, Seq, UserId, UserKind};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Microseconds of Unix time.
pub(super) type Micros = i64;

#[derive(Serialize, Deserialize)]
pub(super) struct EncodedEnvelope<'a> {
    pub(super) from: NodeId,
    pub(super) published_at: Micros,
    #[serde(borrow)]
    pub(super) content: EncodedContent<'a>,
}

#[derive(Serialize, Deserialize)]
pub(super) enum EncodedContent<'a> {
    Committed {
        conversation_id: ConversationId,
        #[serde(borrow)]
        changes: Vec<EncodedChange<'a>>,
        observed: Rev,
    },
    Read {
        conversation_id: ConversationId,
        user_id: UserId,
        seq: Seq,
    },
    Typing {
        conversation_id: ConversationId,
        user_id: UserId,
        on: bool,
    },
    Presence(PresenceMessage),
    Notices {
        #[serde(borrow)]
        notice: EncodedNotice<'a>,
        unread: Vec<(UserId, i64)>,
    },
    Invalidated(Invalidation),
}

/// A notice without what is different for each user.
#[derive(Serialize, Deserialize)]
pub(super) struct EncodedNotice<'a> {
    pub(super) conversation: ConversationId,
    pub(super) rev: Rev,
    #[serde(borrow)]
    pub(super) title: Cow<'a, str>,
    pub(super) last_seq: Seq,
    pub(super) last_message: Option<EncodedNoticeMessage<'a>>,
    pub(super) last_message_at: Option<Micros>,
    pub(super) removed: bool,
}

#[derive(Serialize, Deserialize)]
pub(super) struct EncodedNoticeMessage<'a> {
    pub(super) id: MessageId,
    pub(super) seq: Seq,
    pub(super) author: UserId,
    #[serde(borrow)]
    pub(super) author_name: Option<Cow<'a, str>>,
    pub(super) kind: UserKind,
    pub(super) body: Option<Cow<'a, str>>,
    pub(super) created_at: Micros,
}

/// A change without its conversation, which stands once in the envelope.
#[derive(Serialize, Deserialize)]
pub(super) enum EncodedChange<'a> {
    Message {
        rev: Rev,
        posted_rev: Rev,
        seq: Seq,
        id: MessageId,
        author: UserId,
        kind: UserKind,
        #[serde(borrow)]
        body: Option<Cow<'a, str>>,
        reply_to: Option<MessageId>,
        created_at: Micros,
        edited_at: Option<Micros>,
        deleted_at: Option<Micros>,
        reactions: Vec<(Cow<'a, str>, i64, Vec<UserId>)>,
        cause: Option<EncodedCause<'a>>,
    },
    Member {
        rev: Rev,
        joined_rev: Rev,
        id: UserId,
        name: Cow<'a, str>,
        kind: UserKind,
        role: MemberRole,
        change: EncodedMemberChange,
    },
    Properties {
        rev: Rev,
        title: Cow<'a, str>,
        deleted_at: Option<Micros>,
    },
}

/// Who caused a change of a message, and by which reaction.
#[derive(Serialize, Deserialize)]
pub(super) struct EncodedCause<'a> {
    pub(super) by: UserId,
    #[serde(borrow)]
    pub(super) reaction: Option<(Cow<'a, str>, bool)>,
}

#[derive(Serialize, Deserialize)]
pub(super) enum EncodedMemberChange {
    Added,
    Changed,
    Removed,
}
