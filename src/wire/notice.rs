//! `notice`: what a list of conversations shows of one of them.
//!
//! Made by conversations, carried between nodes by the bus, and encoded by `notice_frames.rs`. Pure.

use super::client::limits;
use super::timestamp::{optional_timestamp, timestamp};
use crate::ids::{ConversationId, MessageId, Rev, Seq, UserId, UserKind};
use bytestring::ByteString;
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

/// `notice`: what a list shows of a conversation has changed, and this connection is not subscribed
/// to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Notice {
    /// The conversation.
    pub conversation: ConversationId,
    /// Its revision: of two notices the one with the higher is newer.
    pub rev: Rev,
    /// Its title.
    #[schema(value_type = String)]
    pub title: ByteString,
    /// The number of its latest message.
    pub last_seq: Seq,
    /// Its latest message, if there is one.
    pub last_message: Option<NoticeMessage>,
    /// When that was posted.
    #[serde(serialize_with = "optional_timestamp")]
    pub last_message_at: Option<DateTime<Utc>>,
    /// Present and true when the conversation is gone for this user: they are no longer a member,
    /// or it was deleted.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub removed: bool,
    /// How many messages this user has not read. The last field: all before it are the same for
    /// everybody (`notice_frames.rs`).
    pub unread: i64,
}

/// The latest message in `notice`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct NoticeMessage {
    /// Its id.
    pub id: MessageId,
    /// Its number in the conversation.
    pub seq: Seq,
    /// Who wrote it.
    pub author: UserId,
    /// Their name; null when they are no longer a member.
    #[schema(value_type = Option<String>)]
    pub author_name: Option<ByteString>,
    /// Person, agent or system.
    pub kind: UserKind,
    /// The first 200 bytes of the text, cut between two characters; null once deleted.
    #[schema(value_type = Option<String>)]
    pub body: Option<ByteString>,
    /// When it was committed.
    #[serde(serialize_with = "timestamp")]
    pub created_at: DateTime<Utc>,
}

/// The beginning of a text, at most [`limits::NOTICE_BODY_BYTES`], cut between two characters.
#[must_use]
pub fn beginning(text: &ByteString) -> ByteString {
    let end = text.floor_char_boundary(limits::NOTICE_BODY_BYTES);
    text.slice_ref(&text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_ends_between_two_characters() {
        assert_eq!(beginning(&"short".into()), "short");
        let wide = ByteString::from("ä".repeat(150));
        assert_eq!(beginning(&wide), "ä".repeat(100));
        let shifted = ByteString::from(format!("x{}", "👍".repeat(100)));
        assert_eq!(beginning(&shifted), format!("x{}", "👍".repeat(49)));
    }
}
