//! One notice as frames for many users, who differ only in how much they have not read.
//!
//! What they share is encoded once. Users with the same count share one frame. Used where notices
//! are sent (`conversations/`), once a second for a conversation at most. Pure.

use super::encode::{Frame, text_frame};
use super::frames::ServerFrame as _;
use super::notice::Notice;
use std::collections::HashMap;

/// The frames of one notice. Bounded by the users who get it.
#[derive(Debug)]
pub struct NoticeFrames {
    /// The JSON up to the value of `unread`.
    shared: Vec<u8>,
    by_unread: HashMap<i64, Frame>,
}

impl NoticeFrames {
    /// `unread` of the notice does not matter.
    #[must_use]
    pub fn new(notice: &Notice) -> Self {
        let mut shared = serde_json::to_vec(&notice.tagged()).unwrap_or_else(|error| {
            // These types have neither maps with odd keys nor implementations that fail.
            tracing::error!(%error, "a notice could not be encoded");
            Vec::new()
        });
        // `unread` is the last field.
        let value = shared
            .iter()
            .rposition(|byte| *byte == b':')
            .map_or(0, |colon| colon + 1);
        shared.truncate(value);
        Self {
            shared,
            by_unread: HashMap::new(),
        }
    }

    /// The frame for those who have not read so many messages.
    pub fn frame(&mut self, unread: i64) -> Frame {
        let shared = &self.shared;
        let encode = || text_frame(&[shared, unread.to_string().as_bytes(), b"}"].concat());
        self.by_unread.entry(unread).or_insert_with(encode).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ConversationId, MessageId, Rev, Seq, UserId, UserKind};
    use crate::wire::encode;
    use crate::wire::notice::NoticeMessage;
    use chrono::DateTime;

    #[test]
    fn the_frames_are_those_of_each_notice_alone() {
        let at = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let mut notice = Notice {
            conversation: ConversationId::new(),
            rev: Rev(9),
            title: "a \"title\": {\"unread\":7}".into(),
            last_seq: Seq(4),
            last_message: Some(NoticeMessage {
                id: MessageId::new(),
                seq: Seq(4),
                author: UserId::new(),
                author_name: Some("Ann".into()),
                kind: UserKind::Person,
                body: Some("well: \"unread\":0}".into()),
                created_at: at,
            }),
            last_message_at: Some(at),
            removed: false,
            unread: 0,
        };
        for removed in [false, true] {
            notice.removed = removed;
            let mut frames = NoticeFrames::new(&notice);
            for unread in [0, 7, 1_234_567, 7] {
                notice.unread = unread;
                assert_eq!(frames.frame(unread).bytes(), encode(&notice).bytes());
            }
            assert_eq!(frames.by_unread.len(), 3, "those with the same count share a frame");
        }
    }
}
