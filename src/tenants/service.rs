//! Reads and changes tenants and their people. Called by `http/` only.
//!
//! A user and a tenant are read through the cache, to be shown. What someone may do is never
//! decided by what is cached.
//!
//! A change of a user locks the row of the tenant first, so that two admins at once cannot leave a
//! tenant without an owner. Its `auth_events` row is written in the same transaction, so every node
//! knows of it within five seconds; this one does at once.
//!
//! Bounds: lists are pages of at most a hundred. No state of its own, so a crash loses nothing.

use super::cached::{CachedTenant, CachedUser};
use super::error::Error;
use super::store::{AddressMatch, ListPart};
use super::tenant_view::{TenantPatch, TenantView};
use super::user_filter::UserFilter;
use super::user_view::{UserPatch, UserView};
use super::{invalidation, store};
use crate::auth::{self, Account, Action, Auth, ChangedUser, Principal, User, UserChange, UserChangeRefusal};
use crate::cache::{CacheHandle, keys};
use crate::database::{Database, Transaction};
use crate::ids::{Plan, Role, TenantId, UserId, UserStatus};
use crate::supervision::ArbiterPool;

/// The way in. Cheap to clone.
#[derive(Clone)]
pub struct Tenants {
    pub(super) database: Database,
    auth: Auth,
    cache: CacheHandle,
}

impl Tenants {
    /// Starts the task that keeps the cache right when users change on other nodes.
    #[must_use]
    pub fn start(database: Database, auth: Auth, cache: CacheHandle, arbiters: &ArbiterPool) -> Self {
        invalidation::start(&auth, &cache, arbiters);
        Self { database, auth, cache }
    }

    /// The caller and their tenant.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the user has been removed, [`Error::Database`].
    pub async fn account(&self, caller: &Principal) -> Result<Account, Error> {
        let user = self.find_user(caller.tenant_id, caller.user_id);
        let (user, view) = tokio::try_join!(user, self.tenant(caller))?;
        let user = user.ok_or(Error::NotFound)?;
        let tenant = view.tenant;
        Ok(Account { user, tenant })
    }

    /// The caller's tenant, which the cache may hold.
    ///
    /// # Errors
    /// [`Error::NotFound`] if it has been removed, [`Error::Database`].
    pub async fn tenant(&self, caller: &Principal) -> Result<TenantView, Error> {
        let (id, database) = (caller.tenant_id, self.database.clone());
        let load = move || async move {
            let client = database.client().await?;
            let tenant = store::load_tenant(&client, id).await?;
            Ok::<_, Error>(tenant.map(CachedTenant::from))
        };
        let tenant = self.cache.get_or_load(&keys::tenant(id), load).await?;
        tenant.map(TenantView::from).ok_or(Error::NotFound)
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

    /// Changes the caller's tenant: its name, and whom it admits.
    ///
    /// # Errors
    /// [`Error::Refused`] unless the caller is an admin at this moment, [`Error::Auth`] for a bad
    /// name, [`Error::Database`].
    pub async fn update_tenant(&self, caller: &Principal, mut patch: TenantPatch) -> Result<TenantView, Error> {
        if !caller.allows(Action::ChangeTenant) {
            return Err(UserChangeRefusal::Role.into());
        }
        if let Some(name) = &mut patch.name {
            *name = auth::check_name("name", name)?.to_owned();
        }
        let client = self.database.client().await?;
        // Also when the caller goes away while it is being changed.
        let _stale = self
            .cache
            .delete_on_drop(&keys::tenant::<CachedTenant>(caller.tenant_id));
        let changed = store::update_tenant(&client, caller.tenant_id, caller.user_id, &patch).await?;
        let changed = changed.ok_or(UserChangeRefusal::Role)?;
        tracing::info!(
            by = %caller.user_id, admits_members = %changed.admits_members, admits_guests = %changed.admits_guests,
            "tenant changed"
        );
        Ok(changed)
    }

    /// A page of the tenant's users that `filter` leaves, oldest first; one more than `limit` if
    /// there are more.
    ///
    /// # Errors
    /// [`Error::Refused`] for guests, [`Error::Database`].
    pub async fn list_users(
        &self,
        caller: &Principal,
        filter: &UserFilter,
        limit: i64,
        offset: i64,
    ) -> Result<Vec<UserView>, Error> {
        if !caller.allows(Action::ListUsers) {
            return Err(UserChangeRefusal::Role.into());
        }
        let client = self.database.client().await?;
        let addresses = match caller.allows(Action::SeeUserDetails) {
            true => AddressMatch::Beginnings,
            false => AddressMatch::Whole,
        };
        let part = ListPart {
            limit: limit + 1,
            offset,
        };
        let users = store::list_users(&client, caller.tenant_id, filter, addresses, part).await?;
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
            // A permission, so it is read and not remembered.
            let client = self.database.client().await?;
            if !store::was_member(&client, caller.tenant_id, conversation, user_id).await? {
                return Err(Error::NotFound);
            }
        }
        Ok(UserView::new(caller, user))
    }

    /// Changes a user. Every node knows of it within five seconds, this one at once.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Refused`], [`Error::Auth`] for a bad name,
    /// [`Error::Database`].
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
        // One change of a tenant's people at a time: the count of owners must not change under a
        // decision.
        let plan = store::lock_tenant(&tx, caller.tenant_id).await?;
        let before = store::find_user_in(&tx, caller.tenant_id, user_id)
            .await?
            .ok_or(Error::NotFound)?;
        // A node that does not know of a suspension yet lets them ask.
        let is_active = before.status == UserStatus::Active;
        let is_only_own_name = is_caller && is_active && patch.change == UserChange::default();
        if !is_only_own_name {
            check_change(&tx, caller, &before, plan, patch.change).await?;
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

/// Whether the caller may change a user so. It is decided by what the caller is now, not by what
/// their token says.
async fn check_change(
    tx: &Transaction<'_>,
    caller: &Principal,
    before: &User,
    plan: Plan,
    change: UserChange,
) -> Result<(), Error> {
    let role = store::find_user_in(tx, caller.tenant_id, caller.user_id)
        .await?
        .filter(|user| user.status == UserStatus::Active)
        .map(|user| user.role);
    let changed = ChangedUser {
        role: before.role,
        status: before.status,
        is_caller: caller.user_id == before.id,
        n_owners: store::count_active_owners(tx, caller.tenant_id).await?,
        tier: before.tier,
        plan,
    };
    Ok(auth::check_user_change(role.unwrap_or(Role::Guest), changed, change)?)
}
