//! Tenants and their people: the workspace's name, its users, their roles, tiers and status.
//!
//! The rules are in `auth::permissions`; this file reads and writes. A change of a user locks the tenant's row first, so
//! that two admins at once cannot leave a tenant without an owner, and writes its `auth_events` row in the same
//! transaction, so that every node hears of it; this node at once. Called by `http/` only; holds no state of its own.
//! Bounds: lists are pages of at most a hundred.
//!
//! A user and a tenant are read through the cache (`cached.rs`), to be shown; what somebody may do is never decided by
//! what is cached. `store.rs` has the SQL.

mod cached;
mod store;

use crate::auth::{self, Account, Action, Auth, ChangedUser, Principal, Tenant, User, UserChange, UserChangeRefusal};
use crate::cache::{CacheHandle, keys};
use crate::database::{self, Database};
use crate::error::Code;
use crate::ids::{Role, TenantId, Tier, UserId, UserKind, UserStatus};
use crate::supervision::ArbiterPool;
use crate::wire::frames::{Timestamp, optional_timestamp};
use bytestring::ByteString;
use cached::{CachedTenant, CachedUser};
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// Why something about a tenant or its people was not done. The texts are public, except of those that are logged instead.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not there, or in another tenant.
    #[error("There is no such user here.")]
    NotFound,
    /// The caller's role does not allow it, or the tenant would be left without an owner.
    #[error(transparent)]
    Refused(#[from] UserChangeRefusal),
    /// A field is wrong, or a row could not be read.
    #[error(transparent)]
    Auth(#[from] auth::Error),
    /// The database refused or is away.
    #[error(transparent)]
    Database(#[from] database::Error),
    /// Any of these, met by somebody who loaded for several.
    #[error(transparent)]
    Shared(Arc<Self>),
}

impl From<Arc<Self>> for Error {
    fn from(error: Arc<Self>) -> Self {
        Arc::try_unwrap(error).unwrap_or_else(Self::Shared)
    }
}

impl Error {
    /// The public code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::NotFound => Code::NotFound,
            Self::Refused(UserChangeRefusal::LastOwner | UserChangeRefusal::Oneself) => Code::Conflict,
            Self::Refused(UserChangeRefusal::Role) => Code::Forbidden,
            Self::Auth(error) => error.code(),
            Self::Database(error) => error.code(),
            Self::Shared(error) => error.code(),
        }
    }
}

/// A user as far as the caller may see them: id, name and kind for everyone, the rest for the user and for admins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct UserView {
    /// The user's id.
    pub id: UserId,
    /// Display name.
    #[schema(value_type = String)]
    pub name: ByteString,
    /// Person, agent or system.
    pub kind: UserKind,
    /// Address; null for guests and agents.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub email: Option<Option<String>>,
    /// Role in the tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Tier of the limits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tier: Option<Tier>,
    /// Whether they may sign in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<UserStatus>,
    /// When they were made.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "optional_timestamp")]
    #[schema(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    pub created_at: Option<Timestamp>,
}

impl UserView {
    fn new(caller: &Principal, user: User) -> Self {
        let full = caller.user_id == user.id || caller.allows(Action::SeeUserDetails);
        Self {
            id: user.id,
            name: user.name,
            kind: user.kind,
            email: full.then_some(user.email),
            role: full.then_some(user.role),
            tier: full.then_some(user.tier),
            status: full.then_some(user.status),
            created_at: full.then_some(user.created_at),
        }
    }
}

/// What is to become of a user.
#[derive(Clone, Debug, Default)]
pub struct UserPatch {
    /// New display name: for oneself, or by an admin.
    pub name: Option<String>,
    /// What only admins change.
    pub change: UserChange,
}

/// The way in. Cheap to clone.
#[derive(Clone)]
pub struct Tenants {
    database: Database,
    auth: Auth,
    cache: CacheHandle,
}

impl Tenants {
    /// Over a pool, telling `auth` and the cache what changes, and hearing from `auth` what changes elsewhere.
    #[must_use]
    pub fn start(database: Database, auth: Auth, cache: CacheHandle, arbiters: &ArbiterPool) -> Self {
        cached::follow_changes(&auth, &cache, arbiters);
        Self { database, auth, cache }
    }

    /// The caller and their tenant.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the user has been removed, [`Error::Database`].
    pub async fn account(&self, caller: &Principal) -> Result<Account, Error> {
        let user = self.find_user(caller.tenant_id, caller.user_id);
        let (user, tenant) = tokio::try_join!(user, self.tenant(caller))?;
        let user = user.ok_or(Error::NotFound)?;
        Ok(Account { user, tenant })
    }

    /// The caller's tenant.
    ///
    /// # Errors
    /// [`Error::NotFound`] if it has been removed, [`Error::Database`].
    pub async fn tenant(&self, caller: &Principal) -> Result<Tenant, Error> {
        let (id, database) = (caller.tenant_id, self.database.clone());
        let load = move || async move {
            let client = database.client().await?;
            let tenant = store::load_tenant(&client, id).await?;
            Ok::<_, Error>(tenant.map(CachedTenant::from))
        };
        let tenant = self.cache.get_or_load(&keys::tenant(id), load).await?;
        tenant.map(Tenant::from).ok_or(Error::NotFound)
    }

    async fn find_user(&self, tenant_id: TenantId, id: UserId) -> Result<Option<User>, Error> {
        let database = self.database.clone();
        let load = move || async move {
            let client = database.client().await?;
            let user = store::find_user(&client, tenant_id, id).await?;
            Ok::<_, Error>(user.map(CachedUser::from))
        };
        let user = self.cache.get_or_load(&keys::user(tenant_id, id), load).await?;
        Ok(user.map(User::from))
    }

    /// Gives the caller's tenant another name.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Auth`] for a bad name, [`Error::Database`].
    pub async fn rename_tenant(&self, caller: &Principal, name: &str) -> Result<Tenant, Error> {
        if !caller.allows(Action::RenameTenant) {
            return Err(UserChangeRefusal::Role.into());
        }
        let name = auth::check_name("name", name)?;
        let client = self.database.client().await?;
        // Also when the caller goes away while it is being changed.
        let _stale = self
            .cache
            .delete_on_drop(&keys::tenant::<CachedTenant>(caller.tenant_id));
        store::update_tenant(&client, caller.tenant_id, name).await
    }

    /// A page of the tenant's users, oldest first; one more than `limit` if there are more.
    ///
    /// # Errors
    /// [`Error::Refused`] for guests, [`Error::Database`].
    pub async fn list_users(&self, caller: &Principal, limit: i64, offset: i64) -> Result<Vec<UserView>, Error> {
        if !caller.allows(Action::ListUsers) {
            return Err(UserChangeRefusal::Role.into());
        }
        let client = self.database.client().await?;
        let users = store::list_users(&client, caller.tenant_id, limit + 1, offset).await?;
        Ok(users.into_iter().map(|user| UserView::new(caller, user)).collect())
    }

    /// One user. Guests see who is or was in their conversation.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Database`].
    pub async fn user(&self, caller: &Principal, user_id: UserId) -> Result<UserView, Error> {
        let user = self
            .find_user(caller.tenant_id, user_id)
            .await?
            .ok_or(Error::NotFound)?;
        if caller.role == Role::Guest && caller.user_id != user_id {
            let conversation = caller.conversation.ok_or(Error::NotFound)?;
            // A permission, so asked and not remembered.
            let client = self.database.client().await?;
            if !store::was_member(&client, caller.tenant_id, conversation, user_id).await? {
                return Err(Error::NotFound);
            }
        }
        Ok(UserView::new(caller, user))
    }

    /// Changes a user; every node hears of it within five seconds, this one at once.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Refused`], [`Error::Auth`] for a bad name, [`Error::Database`].
    pub async fn update_user(&self, caller: &Principal, user_id: UserId, patch: &UserPatch) -> Result<UserView, Error> {
        let name = patch
            .name
            .as_deref()
            .map(|name| auth::check_name("name", name))
            .transpose()?;
        let is_caller = caller.user_id == user_id;
        if !caller.allows(Action::ManageUsers) && (!is_caller || patch.change != UserChange::default()) {
            return Err(UserChangeRefusal::Role.into());
        }
        let mut client = self.database.client().await?;
        let tx = client.transaction().await?;
        // Changes of a tenant's people stand in line: the count of owners must not change under a decision.
        store::lock_tenant(&tx, caller.tenant_id).await?;
        let before = store::find_user_in(&tx, caller.tenant_id, user_id)
            .await?
            .ok_or(Error::NotFound)?;
        let only_own_name = is_caller && patch.change == UserChange::default();
        if !only_own_name {
            // What the caller may do is decided by what they are now, not by what their token says.
            let role = store::find_user_in(&tx, caller.tenant_id, caller.user_id)
                .await?
                .filter(|user| user.status == UserStatus::Active)
                .map(|user| user.role);
            let n_owners = store::count_active_owners(&tx, caller.tenant_id).await?;
            let target = ChangedUser {
                role: before.role,
                status: before.status,
                is_caller,
                n_owners,
            };
            auth::check_user_change(role.unwrap_or(Role::Guest), target, patch.change)?;
        }
        let mut after = before.clone();
        if let Some(name) = name {
            after.name = name.into();
        }
        after.role = patch.change.role.unwrap_or(before.role);
        after.tier = patch.change.tier.unwrap_or(before.tier);
        after.status = patch.change.status.unwrap_or(before.status);
        if after == before {
            return Ok(UserView::new(caller, after));
        }
        let _stale = self
            .cache
            .delete_on_drop(&keys::user::<CachedUser>(caller.tenant_id, user_id));
        let after = store::update_user(&tx, caller.tenant_id, &after).await?;
        store::insert_event(&tx, caller.tenant_id, user_id).await?;
        tx.commit().await?;
        self.auth.apply_user_change(after.state(caller.tenant_id));
        tracing::info!(
            user.id = %user_id, by = %caller.user_id, role = %after.role, tier = %after.tier, status = %after.status,
            "user changed"
        );
        Ok(UserView::new(caller, after))
    }
}
