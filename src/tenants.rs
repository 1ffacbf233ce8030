//! Tenants and their people: the workspace's name, its users, their roles, tiers and status.
//!
//! The rules are in `auth::permissions`; this file reads and writes. A change of a user locks the tenant's row first, so
//! that two admins at once cannot leave a tenant without an owner, and writes its `auth_events` row in the same
//! transaction, so that every node hears of it; this node at once. Called by `http/` only; holds no state of its own.
//! Bounds: lists are pages of at most a hundred.

use crate::auth::{self, Account, Action, Auth, Principal, Refusal, Target, Tenant, User, UserChange};
use crate::database::{self, Client, Database, Statement, Transaction};
use crate::error::Code;
use crate::ids::{ConversationId, Role, TenantId, Tier, UserId, UserKind, UserStatus};
use crate::wire::frames::{Timestamp, optional_timestamp};
use bytestring::ByteString;
use serde::Serialize;
use utoipa::ToSchema;

/// Why something about a tenant or its people was not done. The texts are public, except of those that are logged instead.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not there, or in another tenant.
    #[error("There is no such user here.")]
    NotFound,
    /// The caller's role does not allow it, or the tenant would be left without an owner.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A field is wrong, or a row could not be read.
    #[error(transparent)]
    Auth(#[from] auth::Error),
    /// The database refused or is away.
    #[error(transparent)]
    Database(#[from] database::Error),
}

impl Error {
    /// The public code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::NotFound => Code::NotFound,
            Self::Refused(Refusal::LastOwner | Refusal::Oneself) => Code::Conflict,
            Self::Refused(Refusal::Role) => Code::Forbidden,
            Self::Auth(error) => error.code(),
            Self::Database(error) => error.code(),
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
}

impl Tenants {
    /// Over a pool, telling `auth` what changes.
    #[must_use]
    pub fn new(database: Database, auth: Auth) -> Self {
        Self { database, auth }
    }

    /// The caller and their tenant.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the user has been removed, [`Error::Database`].
    pub async fn account(&self, caller: &Principal) -> Result<Account, Error> {
        let client = self.database.client().await?;
        find_account(&client, caller.tenant_id, caller.user_id)
            .await?
            .ok_or(Error::NotFound)
    }

    /// Gives the caller's tenant another name.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Auth`] for a bad name, [`Error::Database`].
    pub async fn rename_tenant(&self, caller: &Principal, name: &str) -> Result<Tenant, Error> {
        if !caller.allows(Action::RenameTenant) {
            return Err(Refusal::Role.into());
        }
        let name = auth::check_name("name", name)?;
        let client = self.database.client().await?;
        update_tenant(&client, caller.tenant_id, name).await
    }

    /// A page of the tenant's users, oldest first; one more than `limit` if there are more.
    ///
    /// # Errors
    /// [`Error::Refused`] for guests, [`Error::Database`].
    pub async fn list_users(&self, caller: &Principal, limit: i64, offset: i64) -> Result<Vec<UserView>, Error> {
        if !caller.allows(Action::ListUsers) {
            return Err(Refusal::Role.into());
        }
        let client = self.database.client().await?;
        let users = list_users(&client, caller.tenant_id, limit + 1, offset).await?;
        Ok(users.into_iter().map(|user| UserView::new(caller, user)).collect())
    }

    /// One user. Guests see who is or was in their conversation.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Database`].
    pub async fn user(&self, caller: &Principal, user_id: UserId) -> Result<UserView, Error> {
        let client = self.database.client().await?;
        let user = find_user(&client, caller.tenant_id, user_id)
            .await?
            .ok_or(Error::NotFound)?;
        if caller.role == Role::Guest && caller.user_id != user_id {
            let conversation = caller.conversation.ok_or(Error::NotFound)?;
            if !was_member(&client, caller.tenant_id, conversation, user_id).await? {
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
            return Err(Refusal::Role.into());
        }
        let mut client = self.database.client().await?;
        let tx = client.transaction().await?;
        // Changes of a tenant's people stand in line: the count of owners must not change under a decision.
        lock_tenant(&tx, caller.tenant_id).await?;
        let before = find_user_in(&tx, caller.tenant_id, user_id)
            .await?
            .ok_or(Error::NotFound)?;
        let only_own_name = is_caller && patch.change == UserChange::default();
        if !only_own_name {
            // What the caller may do is decided by what they are now, not by what their token says.
            let role = find_user_in(&tx, caller.tenant_id, caller.user_id)
                .await?
                .map(|user| user.role);
            let n_owners = count_active_owners(&tx, caller.tenant_id).await?;
            let target = Target {
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
        let after = update_user(&tx, caller.tenant_id, &after).await?;
        insert_event(&tx, caller.tenant_id, user_id).await?;
        tx.commit().await?;
        self.auth.apply_user_change(after.state(caller.tenant_id));
        tracing::info!(
            user.id = %user_id, by = %caller.user_id, role = %after.role, tier = %after.tier, status = %after.status,
            "user changed"
        );
        Ok(UserView::new(caller, after))
    }
}

async fn find_account(client: &Client, tenant_id: TenantId, user_id: UserId) -> Result<Option<Account>, Error> {
    const FIND: Statement = Statement::new(
        "users.find_account",
        "SELECT u.id AS user_id, u.name AS user_name, u.kind, u.email, u.role, u.tier, u.status, \
                u.created_at AS user_created_at, u.updated_at, \
                t.id AS tenant_id, t.name AS tenant_name, t.created_at AS tenant_created_at \
         FROM users u JOIN tenants t ON t.id = u.tenant_id WHERE u.tenant_id = $1 AND u.id = $2",
    );
    let row = client.query_opt(&FIND, &[&tenant_id.0, &user_id.0]).await?;
    Ok(row.as_ref().map(Account::from_row).transpose()?)
}

async fn update_tenant(client: &Client, tenant_id: TenantId, name: &str) -> Result<Tenant, Error> {
    const UPDATE: Statement = Statement::new(
        "tenants.update",
        "UPDATE tenants t SET name = $2 WHERE t.id = $1 \
         RETURNING t.id AS tenant_id, t.name AS tenant_name, t.created_at AS tenant_created_at",
    );
    let row = client.query_one(&UPDATE, &[&tenant_id.0, &name]).await?;
    Ok(Tenant::from_row(&row)?)
}

async fn lock_tenant(tx: &Transaction<'_>, tenant_id: TenantId) -> Result<(), Error> {
    const LOCK: Statement = Statement::new("tenants.lock", "SELECT 1 FROM tenants WHERE id = $1 FOR NO KEY UPDATE");
    tx.query_opt(&LOCK, &[&tenant_id.0]).await?.ok_or(Error::NotFound)?;
    Ok(())
}

async fn list_users(client: &Client, tenant_id: TenantId, limit: i64, offset: i64) -> Result<Vec<User>, Error> {
    const LIST: Statement = Statement::new(
        "users.list",
        "SELECT u.id AS user_id, u.name AS user_name, u.kind, u.email, u.role, u.tier, u.status, \
                u.created_at AS user_created_at, u.updated_at \
         FROM users u WHERE u.tenant_id = $1 ORDER BY u.created_at, u.id LIMIT $2 OFFSET $3",
    );
    let rows = client.query(&LIST, &[&tenant_id.0, &limit, &offset]).await?;
    Ok(rows.iter().map(User::from_row).collect::<Result<_, _>>()?)
}

const FIND_USER: Statement = Statement::new(
    "users.find",
    "SELECT u.id AS user_id, u.name AS user_name, u.kind, u.email, u.role, u.tier, u.status, \
            u.created_at AS user_created_at, u.updated_at \
     FROM users u WHERE u.tenant_id = $1 AND u.id = $2",
);

async fn find_user(client: &Client, tenant_id: TenantId, user_id: UserId) -> Result<Option<User>, Error> {
    let row = client.query_opt(&FIND_USER, &[&tenant_id.0, &user_id.0]).await?;
    Ok(row.as_ref().map(User::from_row).transpose()?)
}

async fn find_user_in(tx: &Transaction<'_>, tenant_id: TenantId, user_id: UserId) -> Result<Option<User>, Error> {
    let row = tx.query_opt(&FIND_USER, &[&tenant_id.0, &user_id.0]).await?;
    Ok(row.as_ref().map(User::from_row).transpose()?)
}

async fn was_member(
    client: &Client,
    tenant_id: TenantId,
    conversation_id: ConversationId,
    user_id: UserId,
) -> Result<bool, Error> {
    const FIND: Statement = Statement::new(
        "conversation_members.exists",
        "SELECT 1 FROM conversation_members WHERE tenant_id = $1 AND conversation_id = $2 AND user_id = $3",
    );
    Ok(client
        .query_opt(&FIND, &[&tenant_id.0, &conversation_id.0, &user_id.0])
        .await?
        .is_some())
}

async fn count_active_owners(tx: &Transaction<'_>, tenant_id: TenantId) -> Result<i64, Error> {
    const COUNT: Statement = Statement::new(
        "users.count_active_owners",
        "SELECT count(*) AS n FROM users WHERE tenant_id = $1 AND role = 'owner' AND status = $2",
    );
    let row = tx
        .query_one(&COUNT, &[&tenant_id.0, &UserStatus::Active.as_str()])
        .await?;
    Ok(row.try_get("n").map_err(auth::Error::Row)?)
}

async fn update_user(tx: &Transaction<'_>, tenant_id: TenantId, user: &User) -> Result<User, Error> {
    const UPDATE: Statement = Statement::new(
        "users.update",
        "UPDATE users u SET name = $3, role = $4, tier = $5, status = $6, updated_at = clock_timestamp() \
         WHERE u.tenant_id = $1 AND u.id = $2 \
         RETURNING u.id AS user_id, u.name AS user_name, u.kind, u.email, u.role, u.tier, u.status, \
                   u.created_at AS user_created_at, u.updated_at",
    );
    let row = tx
        .query_one(
            &UPDATE,
            &[
                &tenant_id.0,
                &user.id.0,
                &&*user.name,
                &user.role.as_str(),
                &user.tier.as_str(),
                &user.status.as_str(),
            ],
        )
        .await?;
    Ok(User::from_row(&row)?)
}

async fn insert_event(tx: &Transaction<'_>, tenant_id: TenantId, user_id: UserId) -> Result<(), Error> {
    const INSERT: Statement = Statement::new(
        "auth_events.insert",
        "INSERT INTO auth_events (tenant_id, user_id) VALUES ($1, $2)",
    );
    tx.execute(&INSERT, &[&tenant_id.0, &user_id.0]).await?;
    Ok(())
}
