//! The commands of one conversation that wait until its state is known not to be behind. Pure.
//!
//! Owned by the conversation's actor, used by `recheck.rs`. At most [`WAITING_MAX`] wait; a command
//! beyond is given back. It is a value because the order matters: a response says nothing to a
//! command that came after its question was asked.

use super::command::ConversationCommand;
use crate::ids::Rev;

/// Commands that wait in one conversation.
const WAITING_MAX: usize = 1_024;

#[derive(Default)]
pub(super) struct PendingRechecks {
    /// Came before the question that is under way.
    asked: Vec<ConversationCommand>,
    /// Came after it was asked: for the next one.
    waiting: Vec<ConversationCommand>,
    /// The response: those in `asked` are due when the state is here.
    through: Option<Rev>,
}

impl PendingRechecks {
    /// Adds a command, or gives it back when too many wait.
    pub(super) fn add(&mut self, command: ConversationCommand) -> Option<ConversationCommand> {
        if self.asked.len() + self.waiting.len() >= WAITING_MAX {
            return Some(command);
        }
        self.waiting.push(command);
        None
    }

    /// Whether no command waits.
    pub(super) fn is_empty(&self) -> bool {
        self.asked.is_empty() && self.waiting.is_empty()
    }

    /// Whether one waits that may not be overtaken by this one: of the same user, or about the
    /// subscription of the same connection.
    pub(super) fn has_before(&self, command: &ConversationCommand) -> bool {
        let (user, connection) = (command.user(), command.connection());
        self.asked.iter().chain(&self.waiting).any(|before| {
            (user.is_some() && before.user() == user) || (connection.is_some() && before.connection() == connection)
        })
    }

    /// Whether a question is to be asked now, for all that wait.
    pub(super) fn start(&mut self) -> bool {
        if !self.asked.is_empty() || self.waiting.is_empty() {
            return false;
        }
        self.asked = std::mem::take(&mut self.waiting);
        true
    }

    /// The response to the question.
    pub(super) fn responded(&mut self, through: Rev) {
        self.through = Some(through);
    }

    /// Those that are due now that the state has come to `rev`.
    pub(super) fn take_due(&mut self, rev: Rev) -> Vec<ConversationCommand> {
        if self.through.is_none_or(|through| rev < through) {
            return Vec::new();
        }
        self.take()
    }

    /// Those that wait for the state, whose read has failed. Others wait for their response, which
    /// is still to come.
    pub(super) fn take_responded(&mut self) -> Vec<ConversationCommand> {
        self.through.map(|_| self.take()).unwrap_or_default()
    }

    /// Those whose question was asked.
    pub(super) fn take(&mut self) -> Vec<ConversationCommand> {
        self.through = None;
        std::mem::take(&mut self.asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ConnectionId;
    use crate::wire::Reply;

    fn command() -> ConversationCommand {
        about(ConnectionId::new())
    }

    fn about(connection: ConnectionId) -> ConversationCommand {
        ConversationCommand::Unsubscribe {
            connection,
            reply: Reply::none(),
        }
    }

    #[test]
    fn nothing_overtakes_what_waits_of_the_same_connection() {
        let (mut pending, connection) = (PendingRechecks::default(), ConnectionId::new());
        assert!(!pending.has_before(&about(connection)));
        assert!(pending.add(about(connection)).is_none());
        assert!(pending.has_before(&about(connection)) && !pending.has_before(&command()));
        assert!(pending.start());
        assert!(pending.has_before(&about(connection)), "also when it is asked for");
    }

    #[test]
    fn a_response_says_nothing_to_what_came_after_its_question() {
        let mut pending = PendingRechecks::default();
        assert!(!pending.start(), "nothing waits");
        assert!(pending.add(command()).is_none());
        assert!(pending.start());
        assert!(pending.add(command()).is_none());
        assert!(!pending.start(), "one question at a time");
        assert!(pending.take_due(Rev(9)).is_empty(), "no response yet");
        pending.responded(Rev(5));
        assert!(pending.take_due(Rev(4)).is_empty(), "the state is behind");
        assert_eq!(pending.take_due(Rev(5)).len(), 1);
        assert!(pending.take_due(Rev(5)).is_empty());
        assert!(pending.start(), "for the one that came later");
        pending.responded(Rev(5));
        assert_eq!(pending.take_due(Rev(6)).len(), 1);
        assert!(!pending.start());
    }

    #[test]
    fn a_failed_read_takes_nothing_whose_response_is_to_come() {
        let mut pending = PendingRechecks::default();
        assert!(pending.add(command()).is_none());
        assert!(pending.start());
        assert!(pending.take_responded().is_empty());
        pending.responded(Rev(5));
        assert_eq!(pending.take_responded().len(), 1);
        assert!(pending.is_empty());
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut pending = PendingRechecks::default();
        for _ in 0..WAITING_MAX {
            assert!(pending.add(command()).is_none());
        }
        assert!(pending.add(command()).is_some());
        assert!(pending.start());
        assert!(pending.add(command()).is_some(), "those that were asked for count");
        assert_eq!(pending.take().len(), WAITING_MAX);
        assert!(pending.add(command()).is_none());
    }
}
