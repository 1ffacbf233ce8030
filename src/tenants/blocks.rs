//! Whom a user has blocked, as methods of [`Tenants`].
//!
//! A blocked user does not add the one who blocked them to conversations; that is asked where
//! members are added (`commit/`, `conversations/`). They are not told, nor are others.
//!
//! Bound: [`BLOCKS_MAX`] of a user, counted under the lock of their row.

use super::error::Error;
use super::service::Tenants;
use super::store;
use crate::auth::Principal;
use crate::ids::{UserId, UserKind};
use crate::wire::frames::{Timestamp, timestamp};
use serde::Serialize;
use utoipa::ToSchema;

/// Users that one user blocks.
pub(super) const BLOCKS_MAX: i64 = 1_000;

/// A user whom the caller has blocked.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct BlockedUser {
    /// The user's id.
    pub id: UserId,
    /// Display name.
    pub name: String,
    /// Person, agent or system.
    pub kind: UserKind,
    /// Since when.
    #[serde(serialize_with = "timestamp")]
    #[schema(value_type = chrono::DateTime<chrono::Utc>)]
    pub blocked_at: Timestamp,
}

impl Tenants {
    /// Whom the caller has blocked, the last one first, after `from` (the last one of the page
    /// before). One more than `limit` if there are more.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn list_blocks(
        &self,
        caller: &Principal,
        limit: i64,
        from: Option<(Timestamp, UserId)>,
    ) -> Result<Vec<BlockedUser>, Error> {
        let client = self.database.client().await?;
        store::list_blocks(&client, caller.tenant_id, caller.user_id, limit + 1, from).await
    }

    /// Blocks a user; again is fine.
    ///
    /// # Errors
    /// [`Error::NotFound`] for who is not of the tenant, [`Error::BlocksOneself`],
    /// [`Error::TooManyBlocks`], [`Error::Database`].
    pub async fn block(&self, caller: &Principal, user_id: UserId) -> Result<BlockedUser, Error> {
        if user_id == caller.user_id {
            return Err(Error::BlocksOneself);
        }
        let mut client = self.database.client().await?;
        let tx = client.transaction().await?;
        store::lock_user(&tx, caller.tenant_id, caller.user_id).await?;
        store::find_user_in(&tx, caller.tenant_id, user_id)
            .await?
            .ok_or(Error::NotFound)?;
        store::insert_block(&tx, caller.tenant_id, caller.user_id, user_id).await?;
        let blocked = store::find_block(&tx, caller.tenant_id, caller.user_id, user_id).await?;
        tx.commit().await?;
        blocked.ok_or(Error::TooManyBlocks)
    }

    /// Blocks a user no longer; again is fine.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn unblock(&self, caller: &Principal, user_id: UserId) -> Result<(), Error> {
        let client = self.database.client().await?;
        store::delete_block(&client, caller.tenant_id, caller.user_id, user_id).await
    }
}
