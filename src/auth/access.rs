//! Who calls for something of a conversation or a search: what those rooms need of a [`Principal`].
//!
//! Made by [`Principal::access`] for each command. Membership is not part of it: the conversation or
//! the statement checks that besides.
//!
//! [`Principal`]: super::Principal
//! [`Principal::access`]: super::Principal::access

use crate::ids::{ConversationId, TenantId, UserId, UserKind};

/// Who calls, and which conversations they may touch.
#[derive(Clone, Copy, Debug)]
pub struct Access {
    /// Every query names it first.
    pub tenant_id: TenantId,
    pub user_id: UserId,
    /// Stored with what the user writes.
    pub kind: UserKind,
    pub conversations: AllowedConversations,
}

/// Which conversations of the tenant a user may touch, if they are a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllowedConversations {
    /// Every user but a guest.
    All,
    /// A guest may touch the one they were invited to.
    Only(ConversationId),
    /// A guest whose conversation was deleted.
    None,
}

impl Access {
    /// Whether the user may touch this conversation, if they are a member of it.
    #[must_use]
    pub fn allows(&self, id: ConversationId) -> bool {
        match self.conversations {
            AllowedConversations::All => true,
            AllowedConversations::Only(only) => only == id,
            AllowedConversations::None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_may_touch_one_conversation_or_none() {
        let (one, other) = (ConversationId::new(), ConversationId::new());
        let access = |conversations| Access {
            tenant_id: TenantId::new(),
            user_id: UserId::new(),
            kind: UserKind::Person,
            conversations,
        };
        let everybody = access(AllowedConversations::All);
        assert!(everybody.allows(one) && everybody.allows(other));
        let guest = access(AllowedConversations::Only(one));
        assert!(guest.allows(one) && !guest.allows(other));
        assert!(!access(AllowedConversations::None).allows(one));
    }
}
