//! The queue of users whose presence may have changed, for the conversations.
//!
//! Filled by sessions and by the task of presence, which never wait. Read by the task `presences`
//! of the conversations. A user in it stands for a question: whether they are online is asked when
//! the entry is handled, because what was noticed first may be overtaken by what was noticed on
//! another node.
//!
//! Bound: [`CHANGES_MAX`]. When it is full, the reader has to look at everybody. A reader that
//! dies loses the entry in its hand; its successor looks at everybody, too.

use crate::ids::UserId;
use crate::metrics::Depth;
use crate::supervision::{Mailbox, MailboxReader};
use futures_util::StreamExt as _;
use std::sync::Arc;
use tokio::sync::Notify;

/// What reads the queue is called this in logs and metrics.
pub const PRESENCES: &str = "presences";
/// Users that wait for the conversations.
const CHANGES_MAX: usize = 10_000;

/// Whose presence may have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangedUsers {
    One(UserId),
    /// Some changes found no room.
    All,
}

#[derive(Debug)]
pub(super) struct ChangeQueue {
    mailbox: Mailbox<UserId>,
    overflowed: Arc<Notify>,
}

impl ChangeQueue {
    pub(super) fn new() -> Self {
        Self {
            mailbox: Mailbox::new(CHANGES_MAX),
            overflowed: Arc::default(),
        }
    }

    /// Taken by [`PresenceChanges::next`].
    pub(super) fn push(&self, user: UserId) {
        if self.mailbox.sender().try_send(user).is_err() {
            self.overflowed.notify_one();
        }
    }

    pub(super) fn depth(&self) -> Depth {
        let total = self.mailbox.depth();
        Depth {
            actor: PRESENCES,
            total,
            deepest: total,
        }
    }

    /// The way out, once the reader before is gone.
    pub(super) async fn reader(&self) -> PresenceChanges {
        PresenceChanges {
            users: self.mailbox.reader().await,
            overflowed: self.overflowed.clone(),
        }
    }
}

/// The one reader of the queue.
#[derive(Debug)]
pub struct PresenceChanges {
    users: MailboxReader<UserId>,
    overflowed: Arc<Notify>,
}

impl PresenceChanges {
    /// Waits for the next change.
    pub async fn next(&mut self) -> ChangedUsers {
        tokio::select! {
            // Looking at everybody is dear: only when nothing else waits.
            biased;
            Some(user) = self.users.next() => ChangedUsers::One(user),
            () = self.overflowed.notified() => ChangedUsers::All,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_finds_no_room_is_told_as_everybody_and_once() {
        let queue = ChangeQueue::new();
        let user = UserId::new();
        for _ in 0..CHANGES_MAX + 5 {
            queue.push(user);
        }
        assert_eq!(queue.depth().total, CHANGES_MAX);
        let mut reader = queue.reader().await;
        for _ in 0..CHANGES_MAX {
            assert_eq!(reader.next().await, ChangedUsers::One(user));
        }
        assert_eq!(reader.next().await, ChangedUsers::All);
        assert_eq!(futures_util::FutureExt::now_or_never(reader.next()), None);
        assert_eq!(queue.depth().total, 0);
    }
}
