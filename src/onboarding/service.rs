//! Sign-up, guests and invites, in the order that leaves nothing half done.
//!
//! Joining by invite happens between making the user and opening their first login, because the
//! conversation decides. A user who could not join is removed again, so that the address can be
//! used once more. If the process dies in between, a user without a login stays behind.

use super::error::Error;
use crate::auth::{Access, Account, Auth, IssuedLogin, Principal, Registration};
use crate::conversations::{ConversationsHandle, Summary};
use std::net::IpAddr;

/// Lets people in. Cheap to clone; keeps nothing itself.
#[derive(Clone)]
pub struct Onboarding {
    auth: Auth,
    conversations: ConversationsHandle,
}

impl Onboarding {
    #[must_use]
    pub fn new(auth: Auth, conversations: ConversationsHandle) -> Self {
        Self { auth, conversations }
    }

    /// Signs someone up: into a tenant of their own, or by invite into someone else's. `address`
    /// is the client's, for the login throttle.
    ///
    /// # Errors
    /// As [`Auth::register`]; what the conversation of the invite says, and then no user was made.
    pub async fn register(&self, new: Registration, address: IpAddr) -> Result<IssuedLogin, Error> {
        let invite = new.invite.clone();
        let (account, principal) = self.auth.register(new, address).await?;
        self.admit(account, &principal, invite.as_deref()).await
    }

    /// Lets a guest into the conversation of an invite. `address` is the client's, for the login
    /// throttle.
    ///
    /// # Errors
    /// As [`Onboarding::register`].
    pub async fn register_guest(&self, name: &str, invite: &str, address: IpAddr) -> Result<IssuedLogin, Error> {
        let (account, principal) = self.auth.register_guest(name, invite, address).await?;
        self.admit(account, &principal, Some(invite)).await
    }

    /// Lets a user who is known already into the conversation of an invite. Again costs nothing.
    ///
    /// # Errors
    /// What the conversation says; not found for an invite that is unknown, spent, expired or
    /// withdrawn.
    pub async fn accept_invite(&self, access: Access, code: &str) -> Result<Summary, Error> {
        let id = self.conversations.accept_invite(access, code).await?;
        Ok(self.conversations.summary(access, id).await?)
    }

    /// Lets a user who was just made join, and opens their first login.
    async fn admit(&self, account: Account, principal: &Principal, invite: Option<&str>) -> Result<IssuedLogin, Error> {
        if let Some(code) = invite
            && let Err(error) = self.conversations.accept_invite(principal.access(), code).await
        {
            self.auth.discard(&account, invite).await;
            return Err(error.into());
        }
        Ok(self.auth.open_session(account, principal).await?)
    }
}
