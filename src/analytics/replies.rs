//! How far a conversation is counted, and how long its people take to reply. Pure.

use super::summary::DELAY_END_MS;
use crate::ids::{ConversationId, Seq, TenantId, UserId, UserKind};

/// How far a conversation is counted in a generation.
#[derive(Clone, Debug)]
pub(super) struct Position {
    pub(super) conversation: ConversationId,
    pub(super) tenant: TenantId,
    pub(super) generation: i32,
    /// Every message up to this number is counted.
    pub(super) through: Seq,
    pub(super) replies: Replies,
}

/// What the next reply delay of a conversation begins with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Replies {
    /// Who posted last, and when.
    pub(super) last: Option<(UserId, i64)>,
    /// When the last was posted by another user than that.
    pub(super) other_at: Option<i64>,
}

impl Replies {
    /// The delay of the next message, if it is a reply of a person.
    pub(super) fn next(&mut self, author: UserId, kind: UserKind, at: i64) -> Option<i64> {
        if let Some((last_author, last_at)) = self.last
            && last_author != author
        {
            self.other_at = Some(last_at);
        }
        self.last = Some((author, at));
        delay(kind, at, self.other_at)
    }
}

/// The delay of a message behind the nearest earlier one of another user, if it counts.
pub(super) fn delay(kind: UserKind, at: i64, before: Option<i64>) -> Option<i64> {
    let delay = at - before?;
    (kind == UserKind::Person && delay < DELAY_END_MS).then_some(delay)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_is_behind_the_nearest_of_somebody_else() {
        let [ann, ben, bot] = [UserId::new(), UserId::new(), UserId::new()];
        let mut replies = Replies::default();
        let mut post = |author, kind, at| replies.next(author, kind, at);
        let person = UserKind::Person;
        assert_eq!(post(ann, person, 10), None);
        assert_eq!(post(ann, person, 20), None);
        assert_eq!(post(ben, person, 25), Some(5), "behind the last of Ann");
        assert_eq!(post(ben, person, 27), Some(7));
        assert_eq!(post(bot, UserKind::Agent, 30), None, "an agent's is not counted");
        assert_eq!(post(ben, person, 31), Some(1), "but replied to");
        assert_eq!(post(ann, person, 31 + DELAY_END_MS), None, "too late");
        assert_eq!(post(ben, person, 30 + DELAY_END_MS), Some(-1), "as the times say");
    }
}
