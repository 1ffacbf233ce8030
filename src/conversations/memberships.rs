//! What one generation of a conversation has entered into the node's table of memberships.
//!
//! The table tells in which active conversations a user is; presence needs it. The entries are the generation's, so they go
//! with it, also when it panics: the successor enters what it loads.

use super::registry::Shared;
use super::slots::Slot;
use crate::ids::UserId;
use std::collections::HashSet;
use std::sync::Arc;

/// What this generation has entered into the table of memberships; dropped with it, also by a panic.
pub(super) struct MembershipGuard {
    shared: Arc<Shared>,
    slot: Arc<Slot>,
    users: HashSet<UserId>,
}

impl MembershipGuard {
    pub(super) fn new(shared: Arc<Shared>, slot: Arc<Slot>) -> Self {
        Self {
            shared,
            slot,
            users: HashSet::new(),
        }
    }

    pub(super) fn add(&mut self, user: UserId) {
        if self.users.insert(user) {
            self.shared.slots.add_membership(user, self.slot.id);
        }
    }

    pub(super) fn remove(&mut self, user: UserId) {
        if self.users.remove(&user) {
            self.shared.slots.remove_membership(user, self.slot.id);
        }
    }
}

impl Drop for MembershipGuard {
    fn drop(&mut self) {
        for user in &self.users {
            self.shared.slots.remove_membership(*user, self.slot.id);
        }
    }
}
