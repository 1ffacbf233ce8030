//! How large a message is, in memory and as JSON, without encoding it. Pure.
//!
//! What is bounded by bytes is judged by these before it is made: pages of a replay, pages over
//! REST, what a conversation keeps. They are exact for texts and a little too large for the rest, so
//! that a bound holds.

use super::encode::encoded_len;
use super::frames::{Message, Reaction};

/// Bytes of a frame about a message, a member or a conversation, without its texts and reactions,
/// or a few more.
pub(super) const FRAME_BYTES: usize = 640;

impl Message {
    /// About how many bytes it holds in memory.
    #[must_use]
    pub fn weight(&self) -> usize {
        let reaction = |reaction: &Reaction| 64 + reaction.emoji.len() + 16 * reaction.users.len();
        let reactions: usize = self.reactions.iter().map(reaction).sum();
        256 + self.body.as_ref().map_or(0, |body| body.len()) + reactions
    }

    /// How many bytes it has as JSON, or a few more.
    #[must_use]
    pub fn encoded_bytes(&self) -> usize {
        // A user's id stands between quotes, and behind a comma. The emoji may be the reader's own,
        // and stands there again.
        let reaction = |reaction: &Reaction| 68 + 2 * encoded_len(&reaction.emoji) + 39 * reaction.users.len();
        let reactions: usize = self.reactions.iter().map(reaction).sum();
        FRAME_BYTES + self.body.as_ref().map_or(0, |body| encoded_len(body)) + reactions
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ConversationId, MessageId, Rev, Seq, UserId, UserKind};
    use crate::wire::Change;
    use chrono::DateTime;
    use std::sync::Arc;

    #[test]
    fn the_frame_of_a_message_is_not_larger_than_was_said_and_not_much_smaller() {
        let at = DateTime::UNIX_EPOCH;
        let largest = i64::MAX;
        let plain = Message {
            conversation: ConversationId::new(),
            rev: Rev(largest),
            seq: Seq(largest),
            id: MessageId::new(),
            author: UserId::new(),
            kind: UserKind::System,
            body: None,
            reply_to: Some(MessageId::new()),
            created_at: at,
            edited_at: Some(at),
            deleted_at: Some(at),
            reactions: Vec::new(),
            mine: None,
            cause: None,
            posted_rev: Rev::ZERO,
        };
        let reaction = |count: usize| Reaction {
            emoji: "\u{1f469}\u{200d}\u{1f680}".to_owned(),
            count: largest,
            users: (0..count).map(|_| UserId::new()).collect(),
        };
        let text = |text: &str| Message {
            body: Some(text.into()),
            ..plain.clone()
        };
        let reacted = Message {
            reactions: (0..20).map(|_| reaction(20)).collect(),
            ..text("hello")
        };
        for message in [
            plain.clone(),
            text(&"\u{1}".repeat(16_384)),
            text(&"\u{e4}\"".repeat(99)),
            reacted,
        ] {
            let said = message.encoded_bytes();
            let change = Change::Message(Arc::new(message));
            assert_eq!(change.encoded_bytes(), said);
            for after in [Rev::ZERO, Rev(largest)] {
                let real = change.encode_after(after).len();
                assert!((real..real + 1_000).contains(&said), "{said} for {real}");
            }
        }
    }
}
