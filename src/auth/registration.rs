//! Making users: sign-up and guests, as methods of [`Auth`]. What follows is in `logins.rs`.
//!
//! Making a user and opening their first login are two steps. Joining the conversation of an invite
//! happens in between, and is the business of conversations. A user who could not join is taken
//! back with [`Auth::discard`].

use super::account::{Account, check_email};
use super::error::Error;
use super::login_failures::AttemptKind;
use super::names::check_name;
use super::opaque::is_plausible;
use super::password_places::{Familiarity, PasswordOrigin};
use super::password_text::PreparedPassword;
use super::principal::Principal;
use super::service::Auth;
use super::store::accounts::{self as store, NewUser};
use super::store::invites::{self, OpenInvite};
use crate::ids::{Role, SessionId, Tier};
use std::net::IpAddr;

/// What a sign-up takes.
#[derive(Debug)]
pub struct Registration {
    pub email: String,
    pub password: String,
    pub name: String,
    /// Name of the new tenant; made from the user's name if missing.
    pub workspace: Option<String>,
    /// Code of an invite: then the user joins its tenant instead of a new one.
    pub invite: Option<String>,
}

impl Auth {
    /// Makes a user: the owner of a new tenant, or with an invite a member of its tenant, whom the
    /// caller then lets join the conversation. Not logged in yet. The principal is what joining
    /// needs. `address` is the client's, for the login throttle.
    ///
    /// # Errors
    /// [`Error::Throttled`], [`Error::Invalid`], [`Error::EmailTaken`], [`Error::InviteNotFound`],
    /// [`Error::NotAdmitted`] (then no user was made), [`Error::Overloaded`], [`Error::Database`].
    pub async fn register(&self, new: Registration, address: IpAddr) -> Result<(Account, Principal), Error> {
        let throttle = &self.inner.login_throttle;
        let attempt = throttle.begin(AttemptKind::SignUp, &new.email, address)?;
        let origin = PasswordOrigin::new(address, Familiarity::Unknown);
        attempt.finish(self.make_user(new, origin).await)
    }

    async fn make_user(&self, new: Registration, origin: PasswordOrigin) -> Result<(Account, Principal), Error> {
        check_email(&new.email)?;
        let password = PreparedPassword::new(new.password)?;
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
            Some(code) => Some((self.find_invite(code, Role::Member).await?, code)),
            None => None,
        };
        let hash = self.inner.passwords.hash(password, origin).await?;
        let mut client = self.inner.database.client().await?;
        let tx = client.transaction().await?;
        let (tenant, role) = match &invited {
            Some((invite, _)) => (
                store::find_tenant(&tx, invite.tenant_id)
                    .await?
                    .ok_or(Error::InviteNotFound)?,
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
        let user = match invited {
            Some((_, code)) => {
                let made = invites::insert_invited_user(&tx, &row, code).await?;
                made.ok_or(Error::InviteNotFound)?
            }
            None => store::insert_user(&tx, &row).await?,
        };
        tx.commit().await?;
        let account = Account { user, tenant };
        let principal = account.principal(SessionId::new(), None);
        Ok((account, principal))
    }

    /// Makes a guest for the conversation of an invite. Not logged in yet, and not a member yet.
    ///
    /// # Errors
    /// As [`Auth::register`].
    pub async fn register_guest(
        &self,
        name: &str,
        invite: &str,
        address: IpAddr,
    ) -> Result<(Account, Principal), Error> {
        // A class that comes by one invite from one network is many guests. One name that fails on
        // and on is one.
        let account = format!("{name}\n{invite}");
        let throttle = &self.inner.login_throttle;
        let attempt = throttle.begin(AttemptKind::SignUp, &account, address)?;
        attempt.finish(self.make_guest(name, invite).await)
    }

    async fn make_guest(&self, name: &str, invite: &str) -> Result<(Account, Principal), Error> {
        let name = check_name("name", name)?;
        let found = self.find_invite(invite, Role::Guest).await?;
        let mut client = self.inner.database.client().await?;
        let tx = client.transaction().await?;
        let tenant = store::find_tenant(&tx, found.tenant_id)
            .await?
            .ok_or(Error::InviteNotFound)?;
        let row = NewUser {
            tenant_id: tenant.id,
            email: None,
            name,
            role: Role::Guest,
            tier: Tier::Anonymous,
            password_hash: None,
        };
        let made = invites::insert_invited_user(&tx, &row, invite).await?;
        let user = made.ok_or(Error::InviteNotFound)?;
        tx.commit().await?;
        let account = Account { user, tenant };
        let principal = account.principal(SessionId::new(), Some(found.conversation_id));
        Ok((account, principal))
    }

    async fn find_invite(&self, code: &str, role: Role) -> Result<OpenInvite, Error> {
        if !is_plausible(code) {
            return Err(Error::InviteNotFound);
        }
        let client = self.inner.database.client().await?;
        let found = invites::find_invite(&client, code, role).await?;
        let invite = found.ok_or(Error::InviteNotFound)?;
        match invite {
            OpenInvite { admits: false, .. } => Err(Error::NotAdmitted),
            OpenInvite { is_full: true, .. } => Err(Error::TooManyGuests),
            invite => Ok(invite),
        }
    }

    /// Takes back a user who was made but could not join, and the place that a guest took of the
    /// invitation. If the join went through after all, the
    /// user stays: someone refers to them then, and the database refuses.
    pub async fn discard(&self, account: &Account, invite: Option<&str>) {
        let result = match self.inner.database.client().await {
            Ok(client) => store::delete_user(&client, account.tenant.id, account.user.id, invite).await,
            Err(error) => Err(error.into()),
        };
        if let Err(error) = result {
            tracing::warn!(%error, user.id = %account.user.id, "a user who could not join stays behind");
        }
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
    fn an_unnamed_workspace_fits_its_column() {
        assert_eq!(default_workspace("Ann"), "Ann's workspace");
        let long = default_workspace(&"ä".repeat(100));
        assert!(check_name("workspace", &long).is_ok(), "{}", long.len());
    }
}
