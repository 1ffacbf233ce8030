//! What a notice of the conversation says, and to whom. Pure.
//!
//! Part of the state (`state.rs`), which decides when there is one; `notices.rs` sends it.

use super::effects::NoticeRecipients;
use super::member::Member;
use super::state::ConversationState;
use super::timer::Millis;
use crate::ids::UserId;
use crate::wire::beginning;
use crate::wire::frames::{Message, Notice, NoticeMessage};

impl ConversationState {
    /// What lists show of the conversation now, for nobody in particular.
    pub(super) fn notice(&self) -> Notice {
        let last = self.recent.last().filter(|message| message.seq == self.last_seq);
        Notice {
            conversation: self.id,
            rev: self.rev,
            title: self.title.clone(),
            last_seq: self.last_seq,
            last_message_at: last.map(|message| message.created_at),
            last_message: last.map(|message| self.notice_message(message)),
            removed: false,
            unread: 0,
        }
    }

    /// What is said to those for whom the conversation is gone: nothing of what it holds.
    pub(super) fn farewell_notice(&self) -> Notice {
        Notice {
            last_message: None,
            last_message_at: None,
            removed: true,
            ..self.notice()
        }
    }

    fn notice_message(&self, message: &Message) -> NoticeMessage {
        NoticeMessage {
            id: message.id,
            seq: message.seq,
            author: message.author,
            author_name: self.members.get(&message.author).map(|member| member.name.clone()),
            kind: message.kind,
            body: message.body.as_ref().map(beginning),
            created_at: message.created_at,
        }
    }

    /// Whether lists show a message otherwise than before: it is the latest, and its text is
    /// another. Reactions are not shown there.
    pub(super) fn shows_otherwise(&self, message: &Message) -> bool {
        let known = self.recent.last().filter(|known| known.seq == message.seq);
        message.seq == self.last_seq && known.is_none_or(|known| known.body != message.body)
    }

    /// Everybody gets a notice: nobody knows what the generation before still had to say.
    pub(super) fn succeeds(&mut self, now: Millis) {
        self.ephemeral.notify_all(now);
    }

    /// Calls `each` with every recipient, and with how many messages they have not read.
    pub(super) fn each_recipient(&self, recipients: &NoticeRecipients, mut each: impl FnMut(UserId, i64)) {
        let unread = |member: &Member| self.last_seq.0 - member.read_seq.0;
        if recipients.all {
            for (user, member) in &self.members {
                each(*user, unread(member));
            }
        } else {
            for user in &recipients.users {
                if let Some(member) = self.members.get(user) {
                    each(*user, unread(member));
                }
            }
        }
    }
}
