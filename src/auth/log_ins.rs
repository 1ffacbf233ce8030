//! What happens to a log-in after it was opened: refreshing, ending, tickets for the socket.
//!
//! A refresh token is 256 random bits of which only the SHA-256 is kept. It is exchanged in one transaction: of two
//! requests with the same token one gets the next token, the other is reuse, and reuse revokes the whole log-in,
//! because it means that somebody else holds the token. There is no grace for two tabs: clients serialise refreshes.

use super::account::Account;
use super::revocation::Row;
use super::sign_in::{SignedIn, after, hash_opaque, is_plausible, make_opaque, principal};
use super::{Auth, CredentialId, Error, Principal, store};
use crate::ids::{Role, SessionId, UserId, UserStatus};
use chrono::{DateTime, TimeDelta, Utc};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// How long a socket ticket can be redeemed.
const TICKET_TTL: Duration = Duration::from_secs(30);

/// Single-use admission to the socket.
#[derive(Debug)]
pub struct Ticket {
    /// The ticket.
    pub ticket: String,
    /// How long it can be redeemed.
    pub expires_in: Duration,
}

impl Auth {
    /// Exchanges a refresh token for new tokens. A token seen before revokes its log-in.
    ///
    /// # Errors
    /// [`Error::Spent`], [`Error::Suspended`], [`Error::Database`].
    pub async fn refresh(&self, token: &str) -> Result<SignedIn, Error> {
        if !is_plausible(token) {
            return Err(Error::Spent);
        }
        let old = hash_opaque(token);
        let now = Utc::now();
        let mut client = self.shared.database.client().await?;
        let tx = client.transaction().await?;
        let Some(session_id) = store::use_refresh_token(&tx, &old).await? else {
            let family = store::find_refresh_token(&tx, &old).await?;
            let revoked = match family {
                Some((user_id, session_id)) => store::revoke_sessions(&tx, user_id, Some(session_id)).await?,
                None => Vec::new(),
            };
            tx.commit().await?;
            if !revoked.is_empty() {
                tracing::warn!(session.id = ?revoked, "a refresh token was used twice; its log-in is revoked");
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
            Role::Guest => store::find_guest_conversation(&tx, account.user.id).await?,
            _ => None,
        };
        let refresh_expires_at = after(now, self.shared.refresh_token_ttl);
        let (refresh_token, hash) = make_opaque();
        store::insert_refresh_token(&tx, session_id, &hash).await?;
        store::extend_session(&tx, session_id, refresh_expires_at).await?;
        let oldest = TimeDelta::from_std(self.shared.refresh_token_ttl)
            .ok()
            .and_then(|ttl| now.checked_sub_signed(ttl));
        store::delete_old_refresh_tokens(&tx, session_id, oldest.unwrap_or(DateTime::UNIX_EPOCH)).await?;
        tx.commit().await?;
        let principal = principal(&account, session_id, conversation);
        let (access_token, expires_at) = self.shared.signer.issue(&principal, now, Uuid::now_v7())?;
        let Account { user, tenant } = account;
        Ok(SignedIn {
            user,
            tenant,
            access_token,
            expires_at,
            refresh_token,
            refresh_expires_at,
        })
    }

    /// Ends one log-in; again is fine.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn logout(&self, user_id: UserId, session_id: SessionId) -> Result<(), Error> {
        self.revoke(user_id, Some(session_id)).await
    }

    /// Ends all log-ins of a user.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn logout_all(&self, user_id: UserId) -> Result<(), Error> {
        self.revoke(user_id, None).await
    }

    async fn revoke(&self, user_id: UserId, only: Option<SessionId>) -> Result<(), Error> {
        let mut client = self.shared.database.client().await?;
        let tx = client.transaction().await?;
        let revoked = store::revoke_sessions(&tx, user_id, only).await?;
        tx.commit().await?;
        self.apply_revoked(revoked);
        Ok(())
    }

    /// The user and log-in of a refresh token, for logging out when the access token has run out already.
    ///
    /// # Errors
    /// [`Error::Spent`], [`Error::Database`].
    pub async fn find_refresh_token(&self, token: &str) -> Result<(UserId, SessionId), Error> {
        if !is_plausible(token) {
            return Err(Error::Spent);
        }
        let mut client = self.shared.database.client().await?;
        let tx = client.transaction().await?;
        let found = store::find_refresh_token(&tx, &hash_opaque(token)).await?;
        tx.commit().await?;
        found.ok_or(Error::Spent)
    }

    fn apply_revoked(&self, sessions: Vec<SessionId>) {
        self.shared.picture.apply(
            sessions
                .into_iter()
                .map(|session| Row::Revoked(CredentialId::Session(session)))
                .collect(),
            Instant::now(),
        );
    }

    /// A ticket for the socket, bound to the caller's log-in.
    ///
    /// # Errors
    /// [`Error::NeedsSession`] for a key, [`Error::TooManyTickets`], [`Error::Database`].
    pub async fn issue_ticket(&self, principal: &Principal) -> Result<Ticket, Error> {
        let session_id = principal.session_id().ok_or(Error::NeedsSession)?;
        let (ticket, hash) = make_opaque();
        let client = self.shared.database.client().await?;
        let expires_at = after(Utc::now(), TICKET_TTL);
        if !store::insert_ticket(&client, session_id, &hash, expires_at).await? {
            return Err(Error::TooManyTickets);
        }
        Ok(Ticket {
            ticket,
            expires_in: TICKET_TTL,
        })
    }

    /// Who a ticket stands for; it is gone afterwards. The connection gets one access-token lifetime, then it has to send
    /// `refresh` like any other.
    ///
    /// # Errors
    /// [`Error::Spent`], [`Error::Revoked`], [`Error::Suspended`], [`Error::Database`].
    pub async fn redeem_ticket(&self, ticket: &str) -> Result<Principal, Error> {
        if !is_plausible(ticket) {
            return Err(Error::Spent);
        }
        let mut client = self.shared.database.client().await?;
        let tx = client.transaction().await?;
        let session_id = store::take_ticket(&tx, &hash_opaque(ticket))
            .await?
            .ok_or(Error::Spent)?;
        let account = store::lock_session(&tx, session_id).await?.ok_or(Error::Revoked);
        let account = match account {
            Ok(account) => account,
            Err(error) => {
                tx.commit().await?;
                return Err(error);
            }
        };
        let conversation = match account.user.role {
            Role::Guest => store::find_guest_conversation(&tx, account.user.id).await?,
            _ => None,
        };
        tx.commit().await?;
        if account.user.status == UserStatus::Suspended {
            return Err(Error::Suspended);
        }
        let mut principal = principal(&account, session_id, conversation);
        principal.expires_at = Some(after(Utc::now(), self.shared.access_token_ttl));
        self.recheck(principal)
    }
}
