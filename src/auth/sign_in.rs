//! Signing up, in and out: what each does, as methods of [`Auth`].
//!
//! A refresh token is 256 random bits of which only the SHA-256 is kept. It is exchanged in one transaction: of two
//! requests with the same token one gets the next token, the other is reuse, and reuse revokes the whole log-in,
//! because it means that somebody else holds the token. There is no grace for two tabs: clients serialise refreshes.
//!
//! Making a user and letting them in are two steps, because joining a conversation is the conversation's business and
//! happens in between; a user who could not join is taken back with [`Auth::discard`].

use super::account::{Account, check_email, check_name};
use super::revocation::Row;
use super::store::{self, NewUser};
use super::{Auth, Error, Principal, Tenant, User, password};
use crate::ids::{ConversationId, Role, SessionId, TenantId, Tier, UserId, UserStatus};
use crate::wire::frames::Timestamp;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use sha2::{Digest, Sha256};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// How long a socket ticket can be redeemed.
const TICKET_TTL: Duration = Duration::from_secs(30);
/// Longest opaque token or invite code that is looked up, in bytes.
const OPAQUE_BYTES_MAX: usize = 128;

/// What signing up takes.
#[derive(Debug)]
pub struct Registration {
    /// Address.
    pub email: String,
    /// Password, as typed.
    pub password: String,
    /// Display name.
    pub name: String,
    /// Name of the new tenant; made from the user's name if missing.
    pub workspace: Option<String>,
    /// Code of an invite: then the user joins its tenant instead of a new one.
    pub invite: Option<String>,
}

/// A fresh log-in or a renewed one.
#[derive(Debug)]
pub struct SignedIn {
    /// The user.
    pub user: User,
    /// Their tenant.
    pub tenant: Tenant,
    /// For `Authorization` and the `session` cookie.
    pub access_token: String,
    /// When the access token runs out.
    pub expires_at: Timestamp,
    /// For the `refresh` cookie.
    pub refresh_token: String,
    /// When the refresh token runs out.
    pub refresh_expires_at: Timestamp,
}

/// Single-use admission to the socket.
#[derive(Debug)]
pub struct Ticket {
    /// The ticket.
    pub ticket: String,
    /// How long it can be redeemed.
    pub expires_in: Duration,
}

/// 256 random bits as text, and what is kept of them.
fn make_opaque() -> (String, Vec<u8>) {
    let secret: [u8; 32] = rand::random();
    let text = BASE64_URL_SAFE_NO_PAD.encode(secret);
    let hash = hash_opaque(&text);
    (text, hash)
}

fn hash_opaque(text: &str) -> Vec<u8> {
    Sha256::digest(text.as_bytes()).to_vec()
}

fn after(now: DateTime<Utc>, ttl: Duration) -> DateTime<Utc> {
    TimeDelta::from_std(ttl)
        .ok()
        .and_then(|ttl| now.checked_add_signed(ttl))
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}

fn principal(account: &Account, session_id: SessionId, conversation: Option<ConversationId>) -> Principal {
    let user = &account.user;
    Principal {
        tenant_id: account.tenant.id,
        user_id: user.id,
        session_id,
        kind: user.kind,
        name: user.name.clone(),
        role: user.role,
        tier: user.tier,
        conversation,
        expires_at: None,
    }
}

impl Auth {
    /// Makes a user: the owner of a new tenant, or with an invite a member of its tenant, whom the caller then lets join
    /// the conversation. Not signed in yet. The principal is what joining needs.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::EmailTaken`], [`Error::InviteNotFound`] (then no user was made),
    /// [`Error::Overloaded`], [`Error::Database`].
    pub async fn register(&self, new: Registration) -> Result<(Account, Principal), Error> {
        check_email(&new.email)?;
        password::check_length(&new.password)?;
        let name = check_name("name", &new.name)?;
        let workspace = match &new.workspace {
            Some(workspace) => check_name("workspace", workspace)?.to_owned(),
            None => default_workspace(name),
        };
        let invited = match &new.invite {
            Some(_) if new.workspace.is_some() => {
                return Err(Error::invalid(
                    "workspace",
                    "An invite leads to a workspace of its own.",
                ));
            }
            Some(code) => Some(self.find_invite(code).await?),
            None => None,
        };
        let hash = self.shared.passwords.hash(new.password).await?;
        let mut client = self.shared.database.client().await?;
        let tx = client.transaction().await?;
        let (tenant, role) = match invited {
            Some((tenant_id, _)) => (
                store::find_tenant(&tx, tenant_id).await?.ok_or(Error::InviteNotFound)?,
                Role::Member,
            ),
            None => (store::insert_tenant(&tx, &workspace).await?, Role::Owner),
        };
        let row = NewUser {
            tenant_id: tenant.id,
            email: Some(&new.email),
            name,
            role,
            tier: Tier::Regular,
            password_hash: Some(&hash),
        };
        let user = store::insert_user(&tx, &row).await?;
        tx.commit().await?;
        let account = Account { user, tenant };
        let principal = principal(&account, SessionId::new(), None);
        Ok((account, principal))
    }

    /// Makes a guest for the conversation of an invite. Not signed in yet, and not a member yet.
    ///
    /// # Errors
    /// As [`Auth::register`].
    pub async fn register_guest(&self, name: &str, invite: &str) -> Result<(Account, Principal), Error> {
        let name = check_name("name", name)?;
        let (tenant_id, conversation) = self.find_invite(invite).await?;
        let mut client = self.shared.database.client().await?;
        let tx = client.transaction().await?;
        let tenant = store::find_tenant(&tx, tenant_id).await?.ok_or(Error::InviteNotFound)?;
        let row = NewUser {
            tenant_id,
            email: None,
            name,
            role: Role::Guest,
            tier: Tier::Anonymous,
            password_hash: None,
        };
        let user = store::insert_user(&tx, &row).await?;
        tx.commit().await?;
        let account = Account { user, tenant };
        let principal = principal(&account, SessionId::new(), Some(conversation));
        Ok((account, principal))
    }

    async fn find_invite(&self, code: &str) -> Result<(TenantId, ConversationId), Error> {
        if code.len() > OPAQUE_BYTES_MAX || code.contains('\0') {
            return Err(Error::InviteNotFound);
        }
        let client = self.shared.database.client().await?;
        store::find_invite(&client, code).await?.ok_or(Error::InviteNotFound)
    }

    /// Takes back a user who was made but could not join. If the join went through after all, the user stays: somebody
    /// refers to them then, and the database refuses.
    pub async fn discard(&self, account: &Account) {
        let result = match self.shared.database.client().await {
            Ok(client) => store::delete_user(&client, account.tenant.id, account.user.id).await,
            Err(error) => Err(error.into()),
        };
        if let Err(error) = result {
            tracing::warn!(%error, user.id = %account.user.id, "a user who could not join stays behind");
        }
    }

    /// Opens a log-in for a user who was just made. `principal` is the one that [`Auth::register`] or
    /// [`Auth::register_guest`] answered.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn open_session(&self, account: Account, principal: &Principal) -> Result<SignedIn, Error> {
        let now = Utc::now();
        let refresh_expires_at = after(now, self.shared.refresh_token_ttl);
        let (refresh_token, hash) = make_opaque();
        let mut client = self.shared.database.client().await?;
        let tx = client.transaction().await?;
        let session_id = principal.session_id;
        store::insert_session(&tx, account.tenant.id, account.user.id, session_id, refresh_expires_at).await?;
        store::insert_refresh_token(&tx, session_id, &hash).await?;
        tx.commit().await?;
        let (access_token, expires_at) = self.shared.signer.issue(principal, now, Uuid::now_v7())?;
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

    /// Signs in with address and password.
    ///
    /// # Errors
    /// [`Error::Credentials`] for an unknown address as for a wrong password, after the same time; [`Error::Suspended`]
    /// only to whom the password is known.
    pub async fn login(&self, email: &str, password: String) -> Result<SignedIn, Error> {
        // PostgreSQL's text cannot hold a NUL; such an address or one too long is simply unknown.
        let found = if email.contains('\0') || email.len() > super::EMAIL_BYTES_MAX {
            None
        } else {
            let client = self.shared.database.client().await?;
            store::find_by_email(&client, email).await?
        };
        let (account, hash) = found.map_or((None, None), |(account, hash)| (Some(account), hash));
        let long = password.len() > 4 * password::PASSWORD_CHARS_MAX;
        let matches = self
            .shared
            .passwords
            .verify(if long { String::new() } else { password }, hash)
            .await?;
        let account = account.filter(|_| matches).ok_or(Error::Credentials)?;
        if account.user.status == UserStatus::Suspended {
            return Err(Error::Suspended);
        }
        let principal = principal(&account, SessionId::new(), None);
        self.open_session(account, &principal).await
    }

    /// Exchanges a refresh token for new tokens. A token seen before revokes its log-in.
    ///
    /// # Errors
    /// [`Error::Spent`], [`Error::Suspended`], [`Error::Database`].
    pub async fn refresh(&self, token: &str) -> Result<SignedIn, Error> {
        if token.len() > OPAQUE_BYTES_MAX {
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
        if token.len() > OPAQUE_BYTES_MAX {
            return Err(Error::Spent);
        }
        let mut client = self.shared.database.client().await?;
        let tx = client.transaction().await?;
        let found = store::find_refresh_token(&tx, &hash_opaque(token)).await?;
        tx.commit().await?;
        found.ok_or(Error::Spent)
    }

    fn apply_revoked(&self, sessions: Vec<SessionId>) {
        self.shared
            .picture
            .apply(sessions.into_iter().map(Row::Revoked).collect(), Instant::now());
    }

    /// A ticket for the socket, bound to the caller's log-in.
    ///
    /// # Errors
    /// [`Error::TooManyTickets`], [`Error::Database`].
    pub async fn issue_ticket(&self, principal: &Principal) -> Result<Ticket, Error> {
        let (ticket, hash) = make_opaque();
        let client = self.shared.database.client().await?;
        let expires_at = after(Utc::now(), TICKET_TTL);
        if !store::insert_ticket(&client, principal.session_id, &hash, expires_at).await? {
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
        if ticket.len() > OPAQUE_BYTES_MAX {
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

/// The name of a tenant nobody named, within the bounds of names.
fn default_workspace(name: &str) -> String {
    const SUFFIX: &str = "'s workspace";
    let mut end = name.len().min(crate::wire::limits::NAME_BYTES_MAX - SUFFIX.len());
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{SUFFIX}", name.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opaque_tokens_are_long_and_kept_as_a_hash() {
        let (a, hash) = make_opaque();
        let (b, _) = make_opaque();
        assert_ne!(a, b);
        assert_eq!((a.len(), hash.len()), (43, 32));
        assert_eq!(hash_opaque(&a), hash);
        assert!(a.len() <= OPAQUE_BYTES_MAX);
    }

    #[test]
    fn an_unnamed_workspace_fits_its_column() {
        assert_eq!(default_workspace("Ann"), "Ann's workspace");
        let long = default_workspace(&"ä".repeat(100));
        assert!(check_name("workspace", &long).is_ok(), "{}", long.len());
    }
}
