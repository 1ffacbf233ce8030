//! Signing up and in: making users and opening log-ins, as methods of [`Auth`]; what follows is in `log_ins.rs`.
//!
//! Making a user and letting them in are two steps, because joining a conversation is the conversation's business and
//! happens in between; a user who could not join is taken back with [`Auth::discard`].

use super::account::{Account, check_email, check_name};
use super::store::{self, NewUser};
use super::{Auth, Credential, Error, Principal, Tenant, User, password};
use crate::ids::{ConversationId, Role, SessionId, TenantId, Tier, UserStatus};
use crate::wire::frames::Timestamp;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use sha2::{Digest, Sha256};
use std::time::Duration;
use uuid::Uuid;

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

/// 256 random bits as text, and what is kept of them.
pub(super) fn make_opaque() -> (String, Vec<u8>) {
    let secret: [u8; 32] = rand::random();
    let text = BASE64_URL_SAFE_NO_PAD.encode(secret);
    let hash = hash_opaque(&text);
    (text, hash)
}

pub(super) fn hash_opaque(text: &str) -> Vec<u8> {
    Sha256::digest(text.as_bytes()).to_vec()
}

/// Whether a text can be an opaque token or a code at all; PostgreSQL's text cannot hold a NUL.
pub(super) fn is_plausible(text: &str) -> bool {
    text.len() <= OPAQUE_BYTES_MAX && !text.contains('\0')
}

pub(super) fn after(now: DateTime<Utc>, ttl: Duration) -> DateTime<Utc> {
    TimeDelta::from_std(ttl)
        .ok()
        .and_then(|ttl| now.checked_add_signed(ttl))
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}

pub(super) fn principal(account: &Account, session_id: SessionId, conversation: Option<ConversationId>) -> Principal {
    let user = &account.user;
    Principal {
        tenant_id: account.tenant.id,
        user_id: user.id,
        credential: Credential::Session(session_id),
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
        if !is_plausible(code) {
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
    /// [`Error::NeedsSession`] for a key's principal, [`Error::Database`].
    pub async fn open_session(&self, account: Account, principal: &Principal) -> Result<SignedIn, Error> {
        let now = Utc::now();
        let refresh_expires_at = after(now, self.shared.refresh_token_ttl);
        let (refresh_token, hash) = make_opaque();
        let mut client = self.shared.database.client().await?;
        let tx = client.transaction().await?;
        let session_id = principal.session_id().ok_or(Error::NeedsSession)?;
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
