//! Which of a message's reactions are the reader's own. Pure.
//!
//! A reaction lists its first 20 users. Whoever reacted later finds themselves nowhere in it, so
//! what is encoded for one reader says which emojis are theirs. Where all users are listed, the
//! message tells; only of the others the database has to be asked ([`has_unlisted`]).

use super::frames::Message;
use crate::ids::{MessageId, UserId};
use std::collections::HashMap;

/// Whether a message has reactions whose users are not all listed.
#[must_use]
pub fn has_unlisted(message: &Message) -> bool {
    let mut reactions = message.reactions.iter();
    reactions.any(|reaction| usize::try_from(reaction.count).is_ok_and(|count| count > reaction.users.len()))
}

/// The reactions of one reader.
#[derive(Clone, Debug)]
pub struct OwnReactions {
    user: UserId,
    asked: HashMap<MessageId, Vec<String>>,
}

impl OwnReactions {
    /// Of a reader of messages none of which [`has_unlisted`].
    #[must_use]
    pub fn listed(user: UserId) -> Self {
        Self::asked(user, [])
    }

    /// With what the database says of those that have.
    #[must_use]
    pub fn asked(user: UserId, rows: impl IntoIterator<Item = (MessageId, String)>) -> Self {
        let mut asked = HashMap::<_, Vec<_>>::new();
        for (id, emoji) in rows {
            asked.entry(id).or_default().push(emoji);
        }
        Self { user, asked }
    }

    /// The reader's emojis, in the order of the message's; `None` if it has no reactions.
    #[must_use]
    pub fn of(&self, message: &Message) -> Option<Vec<String>> {
        if message.reactions.is_empty() {
            return None;
        }
        let asked = self.asked.get(&message.id);
        let is_own = |emoji: &String| asked.is_some_and(|asked| asked.contains(emoji));
        let own = message
            .reactions
            .iter()
            .filter(|reaction| reaction.users.contains(&self.user) || is_own(&reaction.emoji));
        Some(own.map(|reaction| reaction.emoji.clone()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::frames::Reaction;
    use super::*;
    use crate::ids::Seq;

    #[test]
    fn who_is_listed_needs_no_question_and_the_others_are_asked_for() {
        let (ann, bob) = (UserId::new(), UserId::new());
        let reaction = |emoji: &str, count, users: &[UserId]| Reaction {
            emoji: emoji.to_owned(),
            count,
            users: users.to_vec(),
        };
        let mut message = Message::for_tests(Seq(7));
        assert_eq!(OwnReactions::listed(ann).of(&message), None, "no reactions");
        message.reactions = vec![reaction("a", 2, &[ann, bob]), reaction("b", 1, &[bob])];
        assert!(!has_unlisted(&message));
        assert_eq!(OwnReactions::listed(ann).of(&message), Some(vec!["a".to_owned()]));
        message.reactions.push(reaction("c", 21, &[bob]));
        assert!(has_unlisted(&message));
        let asked = OwnReactions::asked(ann, [(message.id, "c".to_owned()), (MessageId::new(), "b".to_owned())]);
        assert_eq!(asked.of(&message), Some(vec!["a".to_owned(), "c".to_owned()]));
        assert_eq!(OwnReactions::listed(UserId::new()).of(&message), Some(Vec::new()));
    }
}
