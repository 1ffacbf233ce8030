//! Tickets: single-use admission to the socket, as methods of [`Auth`].
//!
//! A browser cannot send an `Authorization` header with a socket, and a token in an address would
//! end up in logs. So a ticket is put there instead: good once, for 30 seconds.
//!
//! Bound: a hundred unredeemed tickets of a login, counted under its lock.

use super::error::Error;
use super::opaque::{expiry, hash_opaque, is_plausible};
use super::principal::Principal;
use super::service::Auth;
use super::store::invites::find_guest_conversation;
use super::store::logins as store;
use crate::ids::{Role, UserStatus};
use chrono::Utc;
use std::time::Duration;

/// How long a ticket can be redeemed.
const TICKET_TTL: Duration = Duration::from_secs(30);

/// Single-use admission to the socket.
#[derive(Debug)]
pub struct SocketTicket {
    pub ticket: String,
    /// How long it can be redeemed.
    pub expires_in: Duration,
}

impl Auth {
    /// A ticket for the socket, bound to the caller's login.
    ///
    /// # Errors
    /// [`Error::NeedsSession`] for a key, [`Error::Revoked`], [`Error::Suspended`],
    /// [`Error::TooManyTickets`], [`Error::Database`].
    pub async fn issue_ticket(&self, principal: &Principal) -> Result<SocketTicket, Error> {
        let session_id = principal.session_id().ok_or(Error::NeedsSession)?;
        let (ticket, hash) = self.inner.marks.make();
        let mut client = self.inner.database.client().await?;
        let tx = client.transaction().await?;
        // Under the lock of the login, so that those who ask at the same time are counted.
        let account = store::lock_session(&tx, session_id, self.inner.login_ttl_max).await?;
        if account.ok_or(Error::Revoked)?.user.status == UserStatus::Suspended {
            return Err(Error::Suspended);
        }
        let expires_at = expiry(Utc::now(), TICKET_TTL);
        if !store::insert_ticket(&tx, session_id, &hash, expires_at).await? {
            return Err(Error::TooManyTickets);
        }
        tx.commit().await?;
        Ok(SocketTicket {
            ticket,
            expires_in: TICKET_TTL,
        })
    }

    /// Who a ticket stands for; it is gone afterwards. The connection gets one access-token
    /// lifetime, then it has to send `refresh` like any other.
    ///
    /// # Errors
    /// [`Error::Spent`], [`Error::Revoked`], [`Error::Suspended`], [`Error::Database`].
    pub async fn redeem_ticket(&self, ticket: &str) -> Result<Principal, Error> {
        if !is_plausible(ticket) {
            return Err(Error::Spent);
        }
        let mut client = self.inner.database.client().await?;
        let tx = client.transaction().await?;
        let taken = store::take_ticket(&tx, &hash_opaque(ticket)).await?;
        let session_id = taken.ok_or_else(|| {
            self.inner.marks.note_refused(ticket);
            Error::Spent
        })?;
        let account = store::lock_session(&tx, session_id, self.inner.login_ttl_max).await?;
        let account = match account.ok_or(Error::Revoked) {
            Ok(account) => account,
            Err(error) => {
                tx.commit().await?;
                return Err(error);
            }
        };
        let conversation = match account.user.role {
            Role::Guest => find_guest_conversation(&tx, account.user.id).await?,
            _ => None,
        };
        tx.commit().await?;
        if account.user.status == UserStatus::Suspended {
            return Err(Error::Suspended);
        }
        let mut principal = account.principal(session_id, conversation);
        principal.expires_at = Some(expiry(Utc::now(), self.inner.access_token_ttl));
        self.recheck(principal)
    }
}
