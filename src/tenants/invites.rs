//! The invitations of a tenant, for its owners and admins, as methods of [`Tenants`].
//!
//! A conversation's moderators see and withdraw its links themselves (`conversations/invites.rs`).
//! Admins need it where these are gone or are the ones to be kept out.

use super::error::Error;
use super::service::Tenants;
use super::store::{self, InvitesPart};
use super::tenant_invite::{InviteFilter, TenantInvite};
use crate::auth::{Action, Principal, UserChangeRefusal};
use crate::ids::InviteId;
use crate::wire::frames::Timestamp;

const REFUSED: Error = Error::Refused(UserChangeRefusal::Role);

impl Tenants {
    /// The open invitations of the tenant that `filter` leaves, newest first, after `from` (the last
    /// one of the page before). One more than `limit` if there are more.
    ///
    /// # Errors
    /// [`Error::Refused`] unless the caller is an admin at this moment, [`Error::Database`].
    pub async fn list_invites(
        &self,
        caller: &Principal,
        filter: InviteFilter,
        limit: i64,
        from: Option<(Timestamp, InviteId)>,
    ) -> Result<Vec<TenantInvite>, Error> {
        check(caller)?;
        let client = self.database.client().await?;
        let part = InvitesPart { limit: limit + 1, from };
        store::list_invites(&client, caller.tenant_id, caller.user_id, filter, part)
            .await?
            .ok_or(REFUSED)
    }

    /// Withdraws an invitation; who joined by it stays.
    ///
    /// # Errors
    /// As [`Tenants::list_invites`]; [`Error::InviteNotFound`].
    pub async fn withdraw_invite(&self, caller: &Principal, id: InviteId) -> Result<(), Error> {
        check(caller)?;
        let client = self.database.client().await?;
        let was_open = store::withdraw_invite(&client, caller.tenant_id, caller.user_id, id).await?;
        if !was_open.ok_or(REFUSED)? {
            return Err(Error::InviteNotFound);
        }
        tracing::info!(invite.id = %id, by = %caller.user_id, "an admin withdrew an invitation");
        Ok(())
    }

    /// Withdraws all open invitations that `filter` leaves; how many.
    ///
    /// # Errors
    /// As [`Tenants::list_invites`].
    pub async fn withdraw_invites(&self, caller: &Principal, filter: InviteFilter) -> Result<i64, Error> {
        check(caller)?;
        let client = self.database.client().await?;
        let withdrawn = store::withdraw_invites(&client, caller.tenant_id, caller.user_id, filter).await?;
        let withdrawn = withdrawn.ok_or(REFUSED)?;
        tracing::info!(withdrawn, by = %caller.user_id, "an admin withdrew invitations");
        Ok(withdrawn)
    }
}

/// Refuses early, and keys without the scope. The statement asks again.
fn check(caller: &Principal) -> Result<(), Error> {
    if caller.allows(Action::ManageInvites) {
        Ok(())
    } else {
        Err(REFUSED)
    }
}
