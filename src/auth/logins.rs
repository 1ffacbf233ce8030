//! Logins: opening, refreshing and ending them, as methods of [`Auth`].
//!
//! A login is a row of `sessions` with the family of refresh tokens that descends from one
//! authentication. A refresh token is exchanged in one transaction. Of two requests with the same
//! token one gets the next token; the other is reuse. Reuse revokes the whole login, because it
//! means that someone else holds the token. There is no grace for two tabs: clients serialise
//! refreshes.

use super::account::{Account, EMAIL_BYTES_MAX, Tenant, User};
use super::error::Error;
use super::events::AuthEvent;
use super::login_failures::AttemptKind;
use super::opaque::{expiry, hash_opaque, is_plausible, make_opaque};
use super::password;
use super::principal::{CredentialId, Principal};
use super::service::Auth;
use super::store::accounts::{find_by_email, find_guest_conversation};
use super::store::logins as store;
use crate::ids::{Role, SessionId, UserId, UserStatus};
use crate::wire::frames::Timestamp;
use chrono::{DateTime, TimeDelta, Utc};
use std::net::IpAddr;
use std::time::Instant;
use uuid::Uuid;

/// A login that was just opened or refreshed.
#[derive(Debug)]
pub struct IssuedLogin {
    pub user: User,
    pub tenant: Tenant,
    /// For `Authorization` and the `session` cookie.
    pub access_token: String,
    pub expires_at: Timestamp,
    /// For the `refresh` cookie.
    pub refresh_token: String,
    pub refresh_expires_at: Timestamp,
}

impl Auth {
    /// Opens a login for a user who was just made. `principal` is the one that [`Auth::register`]
    /// or [`Auth::register_guest`] returned.
    ///
    /// # Errors
    /// [`Error::NeedsSession`] for a key's principal, [`Error::Database`].
    pub async fn open_session(&self, account: Account, principal: &Principal) -> Result<IssuedLogin, Error> {
        let now = Utc::now();
        let refresh_expires_at = expiry(now, self.inner.refresh_token_ttl);
        let (refresh_token, hash) = make_opaque();
        let mut client = self.inner.database.client().await?;
        let tx = client.transaction().await?;
        let session_id = principal.session_id().ok_or(Error::NeedsSession)?;
        store::insert_session(&tx, account.tenant.id, account.user.id, session_id, refresh_expires_at).await?;
        store::insert_refresh_token(&tx, session_id, &hash).await?;
        tx.commit().await?;
        let (access_token, expires_at) = self.inner.signer.issue(principal, now, Uuid::now_v7())?;
        let Account { user, tenant } = account;
        Ok(IssuedLogin {
            user,
            tenant,
            access_token,
            expires_at,
            refresh_token,
            refresh_expires_at,
        })
    }

    /// Signs in with address and password. `address` is the client's, for the login throttle.
    ///
    /// # Errors
    /// [`Error::Throttled`] before anything was tried; [`Error::Credentials`] for an unknown
    /// address as for a wrong password, after the same time; [`Error::Suspended`] only to whom the
    /// password is known.
    pub async fn login(&self, email: &str, password: String, address: IpAddr) -> Result<IssuedLogin, Error> {
        let attempt = self.inner.login_throttle.begin(AttemptKind::Login, email, address)?;
        attempt.finish(self.check_login(email, password).await)
    }

    async fn check_login(&self, email: &str, password: String) -> Result<IssuedLogin, Error> {
        // PostgreSQL's text cannot hold a NUL; such an address or one too long is simply unknown.
        let found = if email.contains('\0') || email.len() > EMAIL_BYTES_MAX {
            None
        } else {
            let client = self.inner.database.client().await?;
            find_by_email(&client, email).await?
        };
        let (account, hash) = found.map_or((None, None), |(account, hash)| (Some(account), hash));
        let long = password.len() > 4 * password::PASSWORD_CHARS_MAX;
        let matches = self
            .inner
            .passwords
            .verify(if long { String::new() } else { password }, hash)
            .await?;
        let account = account.filter(|_| matches).ok_or(Error::Credentials)?;
        if account.user.status == UserStatus::Suspended {
            return Err(Error::Suspended);
        }
        let principal = account.principal(SessionId::new(), None);
        self.open_session(account, &principal).await
    }

    /// Exchanges a refresh token for new tokens. A token seen before revokes its login.
    ///
    /// # Errors
    /// [`Error::Spent`], [`Error::Suspended`], [`Error::Database`].
    pub async fn refresh(&self, token: &str) -> Result<IssuedLogin, Error> {
        if !is_plausible(token) {
            return Err(Error::Spent);
        }
        let old = hash_opaque(token);
        let now = Utc::now();
        let mut client = self.inner.database.client().await?;
        let tx = client.transaction().await?;
        let Some(session_id) = store::use_refresh_token(&tx, &old).await? else {
            let family = store::find_refresh_token(&tx, &old).await?;
            let revoked = match family {
                Some((user_id, session_id)) => store::revoke_sessions(&tx, user_id, Some(session_id)).await?,
                None => Vec::new(),
            };
            tx.commit().await?;
            if !revoked.is_empty() {
                tracing::warn!(session.id = ?revoked, "a refresh token was used twice; its login is revoked");
            }
            self.apply_revoked(revoked);
            return Err(Error::Spent);
        };
        // Without a commit the token stays unused; it then fails the same way next time.
        let account = store::lock_session(&tx, session_id).await?.ok_or(Error::Spent)?;
        if account.user.status == UserStatus::Suspended {
            return Err(Error::Suspended);
        }
        let conversation = match account.user.role {
            Role::Guest => find_guest_conversation(&tx, account.user.id).await?,
            _ => None,
        };
        let refresh_expires_at = expiry(now, self.inner.refresh_token_ttl);
        let (refresh_token, hash) = make_opaque();
        store::insert_refresh_token(&tx, session_id, &hash).await?;
        store::extend_session(&tx, session_id, refresh_expires_at).await?;
        let oldest = TimeDelta::from_std(self.inner.refresh_token_ttl)
            .ok()
            .and_then(|ttl| now.checked_sub_signed(ttl));
        store::delete_old_refresh_tokens(&tx, session_id, oldest.unwrap_or(DateTime::UNIX_EPOCH)).await?;
        tx.commit().await?;
        let principal = account.principal(session_id, conversation);
        let (access_token, expires_at) = self.inner.signer.issue(&principal, now, Uuid::now_v7())?;
        let Account { user, tenant } = account;
        Ok(IssuedLogin {
            user,
            tenant,
            access_token,
            expires_at,
            refresh_token,
            refresh_expires_at,
        })
    }

    /// Ends one login; again is fine.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn logout(&self, user_id: UserId, session_id: SessionId) -> Result<(), Error> {
        self.revoke(user_id, Some(session_id)).await
    }

    /// Ends all logins of a user.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn logout_all(&self, user_id: UserId) -> Result<(), Error> {
        self.revoke(user_id, None).await
    }

    async fn revoke(&self, user_id: UserId, only: Option<SessionId>) -> Result<(), Error> {
        let mut client = self.inner.database.client().await?;
        let tx = client.transaction().await?;
        let revoked = store::revoke_sessions(&tx, user_id, only).await?;
        tx.commit().await?;
        self.apply_revoked(revoked);
        Ok(())
    }

    /// The user and login of a refresh token, for logging out when the access token has run out
    /// already.
    ///
    /// # Errors
    /// [`Error::Spent`], [`Error::Database`].
    pub async fn find_refresh_token(&self, token: &str) -> Result<(UserId, SessionId), Error> {
        if !is_plausible(token) {
            return Err(Error::Spent);
        }
        let mut client = self.inner.database.client().await?;
        let tx = client.transaction().await?;
        let found = store::find_refresh_token(&tx, &hash_opaque(token)).await?;
        tx.commit().await?;
        found.ok_or(Error::Spent)
    }

    fn apply_revoked(&self, sessions: Vec<SessionId>) {
        self.inner.revocations.apply(
            sessions
                .into_iter()
                .map(|session| AuthEvent::Revoked(CredentialId::Session(session)))
                .collect(),
            Instant::now(),
        );
    }
}
