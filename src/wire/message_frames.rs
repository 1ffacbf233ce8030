//! The frames `message` and `updated`: a message as it stands, for a reader who is new to it and for
//! one who is not. `frames.rs` has the others, and gives these on to whoever uses frames.

use super::timestamp::{optional_timestamp, timestamp};
use crate::ids::{ConversationId, MessageId, Rev, Seq, UserId, UserKind};
use bytestring::ByteString;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One reaction of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Reaction {
    /// The emoji.
    pub emoji: String,
    /// How many users reacted with it.
    pub count: i64,
    /// The first 20 of them.
    pub users: Vec<UserId>,
}

/// Who caused a change of a message, as `updated` says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    pub by: UserId,
    /// The emoji that was added or removed, if it was a reaction.
    pub reaction: Option<(String, bool)>,
}

/// `message`, and the items of the history pages: a message as it stands now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Message {
    /// The conversation.
    pub conversation: ConversationId,
    /// The revision of the message's latest change.
    pub rev: Rev,
    /// Its number in the conversation.
    pub seq: Seq,
    /// Its id, made by the author's client.
    pub id: MessageId,
    /// Who wrote it.
    pub author: UserId,
    /// Person, agent or system.
    pub kind: UserKind,
    /// The text; null once deleted.
    #[schema(value_type = Option<String>)]
    pub body: Option<ByteString>,
    /// The message it answers.
    pub reply_to: Option<MessageId>,
    /// When it was committed.
    #[serde(serialize_with = "timestamp")]
    pub created_at: DateTime<Utc>,
    /// When its body last changed.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "optional_timestamp")]
    pub edited_at: Option<DateTime<Utc>>,
    /// When it was deleted.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "optional_timestamp")]
    pub deleted_at: Option<DateTime<Utc>>,
    /// Its reactions, if any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reactions: Vec<Reaction>,
    /// Those of them that are the caller's own. Left out where there are no reactions, and in what is
    /// pushed to all readers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mine: Option<Vec<String>>,
    /// Who caused the latest change, where that is known: in the moment it happens. Not on the wire.
    #[serde(skip)]
    #[schema(ignore)]
    pub cause: Option<Box<Cause>>,
    /// The revision it was posted with: tells a replay whether the reader knows it already. Not on
    /// the wire.
    #[serde(skip)]
    #[schema(ignore)]
    pub posted_rev: Rev,
}

/// `updated`: a message's whole state after an edit, deletion or reaction.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Updated {
    /// The conversation.
    pub conversation: ConversationId,
    /// The revision of the change.
    pub rev: Rev,
    /// The message's number.
    pub seq: Seq,
    /// Its id.
    pub id: MessageId,
    /// Who wrote it.
    pub author: UserId,
    /// Person, agent or system.
    pub kind: UserKind,
    /// The text; null once deleted.
    #[schema(value_type = Option<String>)]
    pub body: Option<ByteString>,
    /// The message it answers.
    pub reply_to: Option<MessageId>,
    /// When it was committed.
    #[serde(serialize_with = "timestamp")]
    pub created_at: DateTime<Utc>,
    /// When its body last changed.
    #[serde(serialize_with = "optional_timestamp")]
    pub edited_at: Option<DateTime<Utc>>,
    /// When it was deleted.
    #[serde(serialize_with = "optional_timestamp")]
    pub deleted_at: Option<DateTime<Utc>>,
    /// Its reactions; empty once deleted.
    pub reactions: Vec<Reaction>,
    /// In a replay: those of them that are the reader's own. Left out where there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mine: Option<Vec<String>>,
    /// Live: who caused the change, if the node knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<UserId>,
    /// Live: the emoji that was added or removed, if it was a reaction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub emoji: Option<String>,
    /// Live: whether it was added.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on: Option<bool>,
}

impl From<&Message> for Updated {
    fn from(m: &Message) -> Self {
        let reaction = m.cause.as_ref().and_then(|cause| cause.reaction.as_ref());
        Self {
            conversation: m.conversation,
            rev: m.rev,
            seq: m.seq,
            id: m.id,
            author: m.author,
            kind: m.kind,
            body: m.body.clone(),
            reply_to: m.reply_to,
            created_at: m.created_at,
            edited_at: m.edited_at,
            deleted_at: m.deleted_at,
            reactions: m.reactions.clone(),
            mine: m.mine.clone(),
            by: m.cause.as_ref().map(|cause| cause.by),
            emoji: reaction.map(|(emoji, _)| emoji.clone()),
            on: reaction.map(|(_, on)| *on),
        }
    }
}

#[cfg(test)]
impl Message {
    /// A posted one.
    pub(crate) fn for_tests(seq: Seq) -> Self {
        Self {
            conversation: ConversationId::new(),
            rev: Rev(seq.0),
            seq,
            id: MessageId::new(),
            author: UserId::new(),
            kind: UserKind::Person,
            body: Some("hello".into()),
            reply_to: None,
            created_at: DateTime::UNIX_EPOCH,
            edited_at: None,
            deleted_at: None,
            reactions: Vec::new(),
            mine: None,
            cause: None,
            posted_rev: Rev(seq.0),
        }
    }
}
