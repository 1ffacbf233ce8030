//! What one generation of a conversation has entered into the node's table of memberships.
//!
//! The table says in which active conversations a user is a member; presence needs it. The entries
//! are the generation's, so they are removed with it, also when it panics. The successor enters
//! what it loads.

use super::dependencies::ConversationContext;
use super::slot::Slot;
use crate::ids::UserId;
use std::collections::HashSet;
use std::sync::Arc;

pub(super) struct MembershipGuard {
    context: Arc<ConversationContext>,
    slot: Arc<Slot>,
    users: HashSet<UserId>,
}

impl MembershipGuard {
    pub(super) fn new(context: Arc<ConversationContext>, slot: Arc<Slot>) -> Self {
        Self {
            context,
            slot,
            users: HashSet::new(),
        }
    }

    pub(super) fn add(&mut self, user: UserId) {
        if self.users.insert(user) {
            self.context.slots.add_membership(user, self.slot.id);
        }
    }

    pub(super) fn remove(&mut self, user: UserId) {
        if self.users.remove(&user) {
            self.context.slots.remove_membership(user, self.slot.id);
        }
    }
}

impl Drop for MembershipGuard {
    fn drop(&mut self) {
        for user in &self.users {
            self.context.slots.remove_membership(*user, self.slot.id);
        }
    }
}
