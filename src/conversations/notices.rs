//! Sends notices: to the members who are connected to this node and not subscribed here, and to
//! nodes where the conversation is not active.
//!
//! At most once a second for a conversation (`ephemeral.rs`), but for a farewell, which is sent at
//! once. Nothing here waits. A notice is made and encoded only when somebody gets it, so a
//! conversation whose members are all subscribed costs a look-up for each.
//!
//! A connection that is subscribed learns all of this by its frames. One thing it does not learn
//! where the conversation is too large for `read` frames: that its user has read elsewhere. So there
//! all connections of who has read get the notice.

use super::actor::ConversationActor;
use super::dependencies::ConversationContext;
use super::effects::NoticeRecipients;
use crate::bus::{Envelope, To};
use crate::ids::{NodeId, UserId};
use crate::wire::NoticeFrames;
use crate::wire::frames::Notice;
use std::collections::HashMap;

impl ConversationActor {
    pub(super) fn notify(&mut self, recipients: &NoticeRecipients) {
        let is_small = self.state.is_small();
        let (state, audience) = (&self.state, &self.context.audience);
        let mut frames = None;
        {
            let subscribers = self.slot.subscribers.lock();
            state.each_recipient(recipients, |user, unread| {
                let everywhere = !is_small && recipients.users.contains(&user);
                let wanted = |connection| everywhere || !subscribers.contains(connection);
                audience.notify(user, state.id, &wanted, &mut || {
                    let frames = frames.get_or_insert_with(|| NoticeFrames::new(&state.notice()));
                    frames.frame(unread)
                });
            });
        }
        if std::mem::take(&mut self.changed_here) && self.context.has_peers() {
            let mut unread = Vec::new();
            self.state
                .each_recipient(recipients, |user, count| unread.push((user, count)));
            self.context.publish_notice(|| self.state.notice(), unread);
        }
    }

    /// The conversation is gone for these users. Their connections that are subscribed are pushed
    /// the change itself; the others, and those on other nodes, get a notice.
    pub(super) fn notify_gone(&self, users: &[UserId]) {
        let mut frames = None;
        {
            let subscribers = self.slot.subscribers.lock();
            for user in users {
                let wanted = |connection| !subscribers.contains(connection);
                self.context.audience.notify(*user, self.state.id, &wanted, &mut || {
                    let frames = frames.get_or_insert_with(|| NoticeFrames::new(&self.state.farewell_notice()));
                    frames.frame(0)
                });
            }
        }
        if self.changed_here && self.context.has_peers() {
            let unread = users.iter().map(|user| (*user, 0)).collect();
            self.context.publish_notice(|| self.state.farewell_notice(), unread);
        }
    }
}

impl ConversationContext {
    /// Pushes the notice of a new conversation to all connections of its members.
    pub(super) fn notify_made(&self, notice: Notice, members: impl Iterator<Item = UserId>) {
        let mut frames = NoticeFrames::new(&notice);
        let members: Vec<_> = members.map(|user| (user, 0)).collect();
        for (user, unread) in &members {
            self.audience
                .notify(*user, notice.conversation, &|_| true, &mut || frames.frame(*unread));
        }
        self.publish_notice(|| notice, members);
    }

    /// Pushes the farewell of a conversation that is not active here to all connections of the user
    /// who left it.
    pub(super) fn notify_left(&self, notice: Notice, user: UserId) {
        let mut frames = NoticeFrames::new(&notice);
        self.audience
            .notify(user, notice.conversation, &|_| true, &mut || frames.frame(0));
        self.publish_notice(|| notice, vec![(user, 0)]);
    }

    /// Publishes a notice to the nodes that the users are connected to; each node gets its own
    /// users, with how many messages each has not read.
    fn publish_notice(&self, notice: impl FnOnce() -> Notice, unread: Vec<(UserId, i64)>) {
        if !self.has_peers() {
            return;
        }
        let mut by_node = HashMap::<NodeId, Vec<(UserId, i64)>>::new();
        for (user, unread) in unread {
            for node in self.presence.nodes_of(user) {
                by_node.entry(node).or_default().push((user, unread));
            }
        }
        if by_node.is_empty() {
            return;
        }
        let notice = notice();
        for (node, unread) in by_node {
            let envelope = Envelope::Notices {
                notice: notice.clone(),
                unread,
            };
            self.bus.publish(self.node, To::Node(node), envelope);
        }
    }
}
