//! Who is calling, and by what: plain data that every request and socket carries.

use super::access::{Access, AllowedConversations};
use super::permissions::{self, Action};
use super::scopes::{Scope, Scopes};
use crate::ids::{ApiKeyId, ConversationId, Plan, Role, SessionId, TenantId, Tier, UserId, UserKind};
use crate::wire::frames::Timestamp;
use bytestring::ByteString;

/// Who is calling, as the credentials and all changes since say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The caller's tenant; every query names it first.
    pub tenant_id: TenantId,
    pub user_id: UserId,
    /// What the caller showed.
    pub credential: Credential,
    pub kind: UserKind,
    pub name: ByteString,
    pub role: Role,
    pub tier: Tier,
    /// That of the tenant, as of when the token was issued or the key looked up.
    pub plan: Plan,
    /// For guests: the only conversation they may touch.
    pub conversation: Option<ConversationId>,
    /// When the credentials expire, if they do.
    pub expires_at: Option<Timestamp>,
}

/// What a caller showed: never the secret itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential {
    /// An access token or ticket of this login: a person.
    Session(SessionId),
    /// An API key: a program.
    ApiKey {
        id: ApiKeyId,
        /// What the key was given. What it may do now is [`Principal::scopes`].
        scopes: Scopes,
    },
}

/// Which login or key: what is revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CredentialId {
    Session(SessionId),
    ApiKey(ApiKeyId),
}

impl Credential {
    /// Which login or key it is.
    #[must_use]
    pub const fn id(&self) -> CredentialId {
        match self {
            Self::Session(id) => CredentialId::Session(*id),
            Self::ApiKey { id, .. } => CredentialId::ApiKey(*id),
        }
    }
}

impl Principal {
    /// What the credentials are good for now: a person has all that their role gives, a key what of
    /// it it was given.
    #[must_use]
    pub fn scopes(&self) -> Scopes {
        match self.credential {
            Credential::Session(_) => Scopes::of_role(self.role),
            Credential::ApiKey { scopes, .. } => scopes.of_key(self.role),
        }
    }

    /// What conversations and search need to know of the caller.
    #[must_use]
    pub const fn access(&self) -> Access {
        let conversations = match (self.role, self.conversation) {
            (Role::Guest, Some(only)) => AllowedConversations::Only(only),
            (Role::Guest, None) => AllowedConversations::None,
            _ => AllowedConversations::All,
        };
        Access {
            tenant_id: self.tenant_id,
            user_id: self.user_id,
            kind: self.kind,
            conversations,
        }
    }

    /// Whether the caller may do something in the tenant: by role, and with a key also by scope.
    #[must_use]
    pub fn allows(&self, action: Action) -> bool {
        let scopes = self.scopes();
        permissions::allows(self.role, action) && action.scopes().iter().any(|scope| scopes.contains(*scope))
    }

    /// The login, unless the caller came with a key.
    #[must_use]
    pub const fn session_id(&self) -> Option<SessionId> {
        match self.credential {
            Credential::Session(id) => Some(id),
            Credential::ApiKey { .. } => None,
        }
    }

    /// Until when a client has to send `refresh`: a key is not renewed, so it says nothing.
    #[must_use]
    pub fn token_expires_at(&self) -> Option<Timestamp> {
        self.session_id().and(self.expires_at)
    }
}

impl Action {
    /// The scopes of which a key needs one for it.
    #[must_use]
    pub const fn scopes(self) -> &'static [Scope] {
        match self {
            Self::CreateConversation | Self::ListUsers => &[Scope::Chat],
            Self::SeeUserDetails | Self::ManageUsers | Self::ChangeTenant | Self::ManageInvites => &[Scope::Admin],
            Self::ReadAnalytics => &[Scope::AnalyticsRead, Scope::Admin],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_without_admin_is_no_admin() {
        let mut owner = Principal {
            tenant_id: TenantId::new(),
            user_id: UserId::new(),
            credential: Credential::Session(SessionId::new()),
            kind: UserKind::Person,
            name: "Ann".into(),
            role: Role::Owner,
            tier: Tier::Regular,
            plan: Plan::Regular,
            conversation: None,
            expires_at: None,
        };
        assert!(owner.allows(Action::ManageUsers) && owner.allows(Action::CreateConversation));
        owner.credential = Credential::ApiKey {
            id: ApiKeyId::new(),
            scopes: [Scope::Chat].into_iter().collect(),
        };
        assert!(owner.allows(Action::CreateConversation));
        for action in [
            Action::SeeUserDetails,
            Action::ManageUsers,
            Action::ChangeTenant,
            Action::ManageInvites,
            Action::ReadAnalytics,
        ] {
            assert!(!owner.allows(action), "{action:?}");
        }
        for scope in [Scope::AnalyticsRead, Scope::Admin] {
            owner.credential = Credential::ApiKey {
                id: ApiKeyId::new(),
                scopes: [scope].into_iter().collect(),
            };
            assert!(owner.allows(Action::ReadAnalytics), "{scope}");
        }
        owner.expires_at = Some(chrono::Utc::now());
        assert_eq!(owner.token_expires_at(), None);
    }
}
