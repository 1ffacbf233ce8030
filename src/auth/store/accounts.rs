//! The statements of users and their tenants.

use crate::auth::account::{Account, Tenant, User};
use crate::auth::error::Error;
use crate::database::{Client, Statement, Transaction};
use crate::ids::{Role, TenantId, Tier, UserId};

pub(in crate::auth) struct NewUser<'a> {
    pub(in crate::auth) tenant_id: TenantId,
    pub(in crate::auth) email: Option<&'a str>,
    pub(in crate::auth) name: &'a str,
    pub(in crate::auth) role: Role,
    pub(in crate::auth) tier: Tier,
    pub(in crate::auth) password_hash: Option<&'a str>,
}

pub(in crate::auth) async fn insert_tenant(tx: &Transaction<'_>, name: &str) -> Result<Tenant, Error> {
    const INSERT: Statement = Statement::new(
        "tenants.insert",
        "INSERT INTO tenants AS t (id, name) VALUES ($1, $2) \
         RETURNING t.id AS tenant_id, t.name AS tenant_name, t.plan AS tenant_plan, t.created_at AS tenant_created_at",
    );
    let row = tx.query_one(&INSERT, &[&TenantId::new().0, &name]).await?;
    Tenant::from_row(&row)
}

pub(in crate::auth) async fn find_tenant(tx: &Transaction<'_>, tenant_id: TenantId) -> Result<Option<Tenant>, Error> {
    const FIND: Statement = Statement::new(
        "tenants.find",
        "SELECT t.id AS tenant_id, t.name AS tenant_name, t.plan AS tenant_plan, t.created_at AS tenant_created_at \
         FROM tenants t WHERE t.id = $1",
    );
    tx.query_opt(&FIND, &[&tenant_id.0])
        .await?
        .as_ref()
        .map(Tenant::from_row)
        .transpose()
}

pub(in crate::auth) async fn insert_user(tx: &Transaction<'_>, new: &NewUser<'_>) -> Result<User, Error> {
    const INSERT: Statement = Statement::new(
        "users.insert",
        "INSERT INTO users AS u (tenant_id, id, email, name, role, tier, password_hash) \
         VALUES ($1, $2, $3, $4, $5, $6, $7) \
         RETURNING u.id AS user_id, u.name AS user_name, u.kind, u.email, u.role, u.tier, u.status, \
                   u.created_at AS user_created_at, u.updated_at",
    );
    let id = UserId::new();
    let row = tx
        .query_one(
            &INSERT,
            &[
                &new.tenant_id.0,
                &id.0,
                &new.email,
                &new.name,
                &new.role.as_str(),
                &new.tier.as_str(),
                &new.password_hash,
            ],
        )
        .await
        .map_err(Error::of_new_user)?;
    User::from_row(&row)
}

pub(in crate::auth) async fn has_user(client: &Client, tenant_id: TenantId, user_id: UserId) -> Result<bool, Error> {
    const FIND: Statement = Statement::new("users.exists", "SELECT FROM users WHERE tenant_id = $1 AND id = $2");
    Ok(client.query_opt(&FIND, &[&tenant_id.0, &user_id.0]).await?.is_some())
}

/// Replaces the hash of a password by another of the same, unless it was changed meanwhile.
pub(in crate::auth) async fn update_password_hash(
    client: &Client,
    tenant_id: TenantId,
    user_id: UserId,
    old: &str,
    renewed: &str,
) -> Result<(), Error> {
    const UPDATE: Statement = Statement::new(
        "users.update_password_hash",
        "UPDATE users SET password_hash = $4 WHERE tenant_id = $1 AND id = $2 AND password_hash = $3",
    );
    client
        .execute(&UPDATE, &[&tenant_id.0, &user_id.0, &old, &renewed])
        .await?;
    Ok(())
}

/// The address and the hash of the password of a user; `None` for one without.
pub(in crate::auth) async fn find_password(
    client: &Client,
    tenant_id: TenantId,
    user_id: UserId,
) -> Result<Option<(String, String)>, Error> {
    const FIND: Statement = Statement::new(
        "users.find_password",
        "SELECT email, password_hash FROM users \
         WHERE tenant_id = $1 AND id = $2 AND email IS NOT NULL AND password_hash IS NOT NULL",
    );
    let Some(row) = client.query_opt(&FIND, &[&tenant_id.0, &user_id.0]).await? else {
        return Ok(None);
    };
    Ok(Some((row.try_get("email")?, row.try_get("password_hash")?)))
}

/// The hash of a user's password as it is now, and stays until the end of the transaction: who
/// changes it locks the row, and who opens a login does.
pub(in crate::auth) async fn lock_password(
    tx: &Transaction<'_>,
    tenant_id: TenantId,
    user_id: UserId,
) -> Result<Option<String>, Error> {
    const LOCK: Statement = Statement::new(
        "users.lock_password",
        "SELECT password_hash FROM users WHERE tenant_id = $1 AND id = $2 FOR NO KEY UPDATE",
    );
    let Some(row) = tx.query_opt(&LOCK, &[&tenant_id.0, &user_id.0]).await? else {
        return Ok(None);
    };
    Ok(row.try_get("password_hash")?)
}

pub(in crate::auth) async fn set_password_hash(
    tx: &Transaction<'_>,
    tenant_id: TenantId,
    user_id: UserId,
    hash: &str,
) -> Result<(), Error> {
    const SET: Statement = Statement::new(
        "users.set_password_hash",
        "UPDATE users SET password_hash = $3 WHERE tenant_id = $1 AND id = $2",
    );
    tx.execute(&SET, &[&tenant_id.0, &user_id.0, &hash]).await?;
    Ok(())
}

/// Takes back a user who could not be let in; fails if something refers to them already.
pub(in crate::auth) async fn delete_user(
    client: &Client,
    tenant_id: TenantId,
    user_id: UserId,
    invite: Option<&str>,
) -> Result<(), Error> {
    const DELETE: Statement = Statement::new(
        "users.delete",
        "WITH gone AS (DELETE FROM users WHERE tenant_id = $1 AND id = $2 RETURNING role) \
         UPDATE invites SET guests = guests - 1 \
         WHERE tenant_id = $1 AND code = $3 AND guests > 0 AND EXISTS (SELECT FROM gone WHERE role = 'guest')",
    );
    client.execute(&DELETE, &[&tenant_id.0, &user_id.0, &invite]).await?;
    Ok(())
}

/// The account of an address, with its password hash.
pub(in crate::auth) async fn find_by_email(
    client: &Client,
    email: &str,
) -> Result<Option<(Account, Option<String>)>, Error> {
    const FIND: Statement = Statement::new(
        "users.find_by_email",
        "SELECT u.id AS user_id, u.name AS user_name, u.kind, u.email, u.role, u.tier, u.status, \
                u.created_at AS user_created_at, u.updated_at, u.password_hash, \
                t.id AS tenant_id, t.name AS tenant_name, t.plan AS tenant_plan, t.created_at AS tenant_created_at \
         FROM users u JOIN tenants t ON t.id = u.tenant_id \
         WHERE lower(u.email) = lower($1) AND u.email IS NOT NULL",
    );
    let Some(row) = client.query_opt(&FIND, &[&email]).await? else {
        return Ok(None);
    };
    Ok(Some((Account::from_row(&row)?, row.try_get("password_hash")?)))
}
