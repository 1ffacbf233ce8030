//! Logins: opening, refreshing and ending them, as methods of [`Auth`].
//!
//! A login is a row of `sessions` with the family of refresh tokens that descends from one
//! authentication. A refresh token is exchanged in one transaction, under the lock of its login, so
//! that the requests of one login are judged one after the other. A token that comes again may be a
//! client that never got the answer, or someone else who holds the token. What tells them apart is
//! in `refresh_judgement.rs`; the latter revokes the whole login.
//!
//! A login ends for good when it is as old as `PARLANCE_LOGIN_TTL_MAX`, however often it is used.
//!
//! Bounds: [`LOGINS_MAX`] logins of a user; a query for each request with several refresh cookies,
//! however many they are.

use super::account::{Account, EMAIL_BYTES_MAX, Tenant, User};
use super::error::Error;
use super::events::AuthEvent;
use super::login_failures::AttemptKind;
use super::opaque::{expiry, hash_opaque, is_plausible};
use super::password::Verification;
use super::password_places::PasswordOrigin;
use super::password_text::TypedPassword;
use super::principal::{CredentialId, Principal};
use super::refresh_judgement::{Judgement, judge};
use super::service::Auth;
use super::store::accounts::{find_by_email, lock_password, update_password_hash};
use super::store::api_keys::{delete_all_api_keys, lock_user};
use super::store::invites::find_guest_conversation;
use super::store::logins as store;
use crate::ids::{Role, SessionId, UserId, UserStatus};
use crate::wire::frames::Timestamp;
use chrono::{DateTime, TimeDelta, Utc};
use std::net::IpAddr;
use std::time::Instant;
use uuid::Uuid;

/// Living logins of one user. One more ends the oldest.
const LOGINS_MAX: i64 = 100;

/// A login that was just opened or refreshed.
#[derive(Debug)]
pub struct IssuedLogin {
    pub user: User,
    pub tenant: Tenant,
    /// For `Authorization` and the session cookie.
    pub access_token: String,
    pub expires_at: Timestamp,
    /// For the refresh cookie.
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
        self.open_session_by(account, principal, None).await
    }

    /// Opens a login that was allowed by a password, if that is still the one of `verified`.
    async fn open_session_by(
        &self,
        account: Account,
        principal: &Principal,
        verified: Option<VerifiedHash<'_>>,
    ) -> Result<IssuedLogin, Error> {
        let session_id = principal.session_id().ok_or(Error::NeedsSession)?;
        let fresh = FreshTokens::new(self);
        let mut client = self.inner.database.client().await?;
        let tx = client.transaction().await?;
        let (tenant, user, expires_at) = (account.tenant.id, account.user.id, fresh.refresh_expires_at);
        // Those who sign in as the same user at the same moment are counted.
        lock_user(&tx, tenant, user).await?.ok_or(Error::Credentials)?;
        if let Some(verified) = verified {
            let now = lock_password(&tx, tenant, user).await?;
            if !now.is_some_and(|now| verified.is(&now)) {
                return Err(Error::Credentials);
            }
        }
        store::insert_session(&tx, tenant, user, session_id, expires_at).await?;
        store::insert_refresh_token(&tx, session_id, &fresh.hash, None).await?;
        let ended = store::revoke_oldest_sessions(&tx, tenant, user, LOGINS_MAX).await?;
        tx.commit().await?;
        if !ended.is_empty() {
            tracing::info!(user.id = %user, ended = ended.len(), "the oldest logins of a user made room for a new one");
            self.apply_revoked(ended);
        }
        self.inner.known_users.note(principal).await;
        fresh.issue(self, account, principal)
    }

    /// Signs in with address and password. `address` is the client's, for the login throttle.
    ///
    /// # Errors
    /// [`Error::Throttled`] before anything was tried, or when the user has opened too many;
    /// [`Error::Credentials`] for an unknown
    /// address as for a wrong password, after the same time; [`Error::Suspended`] only to whom the
    /// password is known.
    pub async fn login(&self, email: &str, password: String, address: IpAddr) -> Result<IssuedLogin, Error> {
        let attempt = self.inner.login_throttle.begin(AttemptKind::Login, email, address)?;
        let origin = PasswordOrigin::new(address, attempt.familiarity());
        attempt.finish(self.check_login(email, password, origin).await)
    }

    async fn check_login(&self, email: &str, password: String, origin: PasswordOrigin) -> Result<IssuedLogin, Error> {
        // PostgreSQL's text cannot hold a NUL; such an address or one too long is simply unknown.
        let found = if email.contains('\0') || email.len() > EMAIL_BYTES_MAX {
            None
        } else {
            let client = self.inner.database.client().await?;
            find_by_email(&client, email).await?
        };
        let (account, hash) = found.map_or((None, None), |(account, hash)| (Some(account), hash));
        let verification = self
            .inner
            .passwords
            .verify(TypedPassword::new(password), hash.clone(), origin);
        let verification = verification.await?;
        let is_right = verification != Verification::Wrong;
        let account = account.filter(|_| is_right).ok_or(Error::Credentials)?;
        if let (Verification::RightInOldForm(renewed), Some(old)) = (&verification, &hash) {
            self.renew_hash(&account, old, renewed).await;
        }
        if account.user.status == UserStatus::Suspended {
            return Err(Error::Suspended);
        }
        self.inner.issue_budget.spend(account.user.id)?;
        let principal = account.principal(SessionId::new(), None);
        let Some(old) = &hash else {
            return Err(Error::Credentials);
        };
        let renewed = match &verification {
            Verification::RightInOldForm(renewed) => renewed,
            Verification::Right | Verification::Wrong => old,
        };
        let verified = VerifiedHash { old, renewed };
        self.open_session_by(account, &principal, Some(verified)).await
    }

    /// Keeps the hash of a password in its one form. If that fails, the next login tries again.
    async fn renew_hash(&self, account: &Account, old: &str, renewed: &str) {
        let (tenant_id, user_id) = (account.tenant.id, account.user.id);
        let result = match self.inner.database.client().await {
            Ok(client) => update_password_hash(&client, tenant_id, user_id, old, renewed).await,
            Err(error) => Err(error.into()),
        };
        if let Err(error) = result {
            tracing::warn!(%error, user.id = %user_id, "the hash of a password could not be renewed");
        }
    }

    /// Exchanges a refresh token for new tokens. Of several the one counts that is good. A token
    /// that comes again when it should not revokes its login.
    ///
    /// # Errors
    /// [`Error::Spent`], [`Error::SeveralLogins`], [`Error::Suspended`], [`Error::Throttled`],
    /// [`Error::Database`].
    pub async fn refresh(&self, tokens: &[&str]) -> Result<IssuedLogin, Error> {
        let chosen = self.choose_refresh_token(tokens).await?;
        let renewed = self.exchange(&hash_opaque(chosen)).await;
        if matches!(renewed, Err(Error::Spent)) {
            self.note_refused(tokens);
        }
        renewed
    }

    async fn exchange(&self, token: &[u8]) -> Result<IssuedLogin, Error> {
        let mut client = self.inner.database.client().await?;
        let tx = client.transaction().await?;
        let (user_id, session_id) = store::find_refresh_token(&tx, token).await?.ok_or(Error::Spent)?;
        self.inner.issue_budget.spend(user_id)?;
        let account = store::lock_session(&tx, session_id, self.inner.login_ttl_max).await?;
        let account = account.ok_or(Error::Spent)?;
        // Read under the lock: what others did with the family has been committed.
        let record = store::load_refresh_token(&tx, token).await?.ok_or(Error::Spent)?;
        let judgement = judge(&record);
        if judgement == Judgement::Reuse {
            let revoked = store::revoke_sessions(&tx, user_id, Some(session_id)).await?;
            tx.commit().await?;
            tracing::warn!(session.id = %session_id, "a refresh token was used twice; its login is revoked");
            self.apply_revoked(revoked);
            return Err(Error::Spent);
        }
        // Without a commit the token stays as it was; it then fails the same way next time.
        if account.user.status == UserStatus::Suspended {
            return Err(Error::Suspended);
        }
        let conversation = match account.user.role {
            Role::Guest => find_guest_conversation(&tx, account.user.id).await?,
            _ => None,
        };
        let mut fresh = FreshTokens::new(self);
        store::use_refresh_token(&tx, token).await?;
        store::insert_refresh_token(&tx, session_id, &fresh.hash, Some(token)).await?;
        let (wanted, age_max) = (fresh.refresh_expires_at, self.inner.login_ttl_max);
        fresh.refresh_expires_at = store::extend_session(&tx, session_id, wanted, age_max).await?;
        let ttl = TimeDelta::from_std(self.inner.refresh_token_ttl).ok();
        let oldest = ttl.and_then(|ttl| fresh.now.checked_sub_signed(ttl));
        store::delete_old_refresh_tokens(&tx, session_id, oldest.unwrap_or(DateTime::UNIX_EPOCH)).await?;
        tx.commit().await?;
        if judgement == Judgement::Repeated {
            tracing::info!(session.id = %session_id, "a refresh was repeated; its answer had been lost");
        }
        let principal = account.principal(session_id, conversation);
        self.inner.known_users.note(&principal).await;
        fresh.issue(self, account, &principal)
    }

    /// The one of these tokens that a refresh is tried with: the only one that is good, or else the
    /// first.
    async fn choose_refresh_token<'a>(&self, tokens: &[&'a str]) -> Result<&'a str, Error> {
        let plausible: Vec<&str> = tokens.iter().copied().filter(|token| is_plausible(token)).collect();
        match plausible[..] {
            [] => return Err(Error::Spent),
            [only] => return Ok(only),
            [..] => {}
        }
        let hashes: Vec<Vec<u8>> = plausible.iter().map(|token| hash_opaque(token)).collect();
        let client = self.inner.database.client().await?;
        let records = store::list_refresh_tokens(&client, &hashes).await?;
        let is_good = |hash: &Vec<u8>| {
            let mut records = records.iter().filter(|(known, _)| known == hash);
            records.any(|(_, record)| judge(record) != Judgement::Reuse)
        };
        let mut good = plausible.iter().zip(&hashes).filter(|(_, hash)| is_good(hash));
        match (good.next(), good.next()) {
            (Some((token, _)), None) => Ok(*token),
            (Some(_), Some(_)) => Err(Error::SeveralLogins),
            (None, _) => plausible.first().copied().ok_or(Error::Spent),
        }
    }

    /// Ends one login; again is fine.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn logout(&self, user_id: UserId, session_id: SessionId) -> Result<(), Error> {
        self.revoke(user_id, Some(session_id)).await
    }

    /// Ends all logins of a user, and with [`Keys::End`] their API keys too.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn logout_all(&self, caller: &Principal, keys: Keys) -> Result<(), Error> {
        let mut client = self.inner.database.client().await?;
        let tx = client.transaction().await?;
        let revoked = store::revoke_sessions(&tx, caller.user_id, None).await?;
        let deleted = match keys {
            Keys::Keep => Vec::new(),
            Keys::End => delete_all_api_keys(&tx, caller.tenant_id, caller.user_id).await?,
        };
        tx.commit().await?;
        self.apply_revoked(revoked);
        let deleted = deleted
            .into_iter()
            .map(|id| AuthEvent::Revoked(CredentialId::ApiKey(id)));
        self.inner.revocations.apply(deleted.collect(), Instant::now());
        Ok(())
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
    /// [`Error::Spent`], [`Error::SeveralLogins`], [`Error::Database`].
    pub async fn find_refresh_token(&self, tokens: &[&str]) -> Result<(UserId, SessionId), Error> {
        let token = self.choose_refresh_token(tokens).await?;
        let mut client = self.inner.database.client().await?;
        let tx = client.transaction().await?;
        let found = store::find_refresh_token(&tx, &hash_opaque(token)).await?;
        tx.commit().await?;
        found.ok_or_else(|| {
            self.note_refused(tokens);
            Error::Spent
        })
    }

    /// None of these is good. All are noted, because a request is looked up if one of them has a
    /// mark.
    fn note_refused(&self, tokens: &[&str]) {
        tokens.iter().for_each(|token| self.inner.marks.note_refused(token));
    }

    pub(super) fn apply_revoked(&self, sessions: Vec<SessionId>) {
        self.inner.revocations.apply(
            sessions
                .into_iter()
                .map(|session| AuthEvent::Revoked(CredentialId::Session(session)))
                .collect(),
            Instant::now(),
        );
    }
}

/// Whether the API keys of a user end with their logins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    Keep,
    End,
}

/// The hash that a password was right for, before and after it was brought to its one form.
#[derive(Clone, Copy)]
struct VerifiedHash<'a> {
    old: &'a str,
    renewed: &'a str,
}

impl VerifiedHash<'_> {
    fn is(self, hash: &str) -> bool {
        hash == self.old || hash == self.renewed
    }
}

/// The tokens of a login that is about to be opened or refreshed: made before anything is written,
/// handed out after the commit.
struct FreshTokens {
    now: DateTime<Utc>,
    refresh_token: String,
    hash: Vec<u8>,
    refresh_expires_at: Timestamp,
}

impl FreshTokens {
    fn new(auth: &Auth) -> Self {
        let now = Utc::now();
        let (refresh_token, hash) = auth.inner.marks.make();
        Self {
            now,
            refresh_token,
            hash,
            refresh_expires_at: expiry(now, auth.inner.refresh_token_ttl.min(auth.inner.login_ttl_max)),
        }
    }

    fn issue(self, auth: &Auth, account: Account, principal: &Principal) -> Result<IssuedLogin, Error> {
        let (access_token, expires_at) = auth.inner.signer.issue(principal, self.now, Uuid::now_v7())?;
        let Account { user, tenant } = account;
        Ok(IssuedLogin {
            user,
            tenant,
            access_token,
            expires_at,
            refresh_token: self.refresh_token,
            refresh_expires_at: self.refresh_expires_at,
        })
    }
}
