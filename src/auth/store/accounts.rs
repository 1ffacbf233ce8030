//! The statements of users, their tenants, and invites as sign-up sees them.

use crate::auth::account::{Account, Tenant, User};
use crate::auth::error::Error;
use crate::database::{Client, Statement, Transaction};
use crate::ids::{ConversationId, Role, TenantId, Tier, UserId};

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
         RETURNING t.id AS tenant_id, t.name AS tenant_name, t.created_at AS tenant_created_at",
    );
    let row = tx.query_one(&INSERT, &[&TenantId::new().0, &name]).await?;
    Tenant::from_row(&row)
}

pub(in crate::auth) async fn find_tenant(tx: &Transaction<'_>, tenant_id: TenantId) -> Result<Option<Tenant>, Error> {
    const FIND: Statement = Statement::new(
        "tenants.find",
        "SELECT t.id AS tenant_id, t.name AS tenant_name, t.created_at AS tenant_created_at \
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
        .map_err(|error| match error.constraint() {
            Some("users_email_key") => Error::EmailTaken,
            _ => Error::Database(error),
        })?;
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

/// Takes back a user who could not be let in; fails if something refers to them already.
pub(in crate::auth) async fn delete_user(client: &Client, tenant_id: TenantId, user_id: UserId) -> Result<(), Error> {
    const DELETE: Statement = Statement::new("users.delete", "DELETE FROM users WHERE tenant_id = $1 AND id = $2");
    client.execute(&DELETE, &[&tenant_id.0, &user_id.0]).await?;
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
                t.id AS tenant_id, t.name AS tenant_name, t.created_at AS tenant_created_at \
         FROM users u JOIN tenants t ON t.id = u.tenant_id \
         WHERE lower(u.email) = lower($1) AND u.email IS NOT NULL",
    );
    let Some(row) = client.query_opt(&FIND, &[&email]).await? else {
        return Ok(None);
    };
    Ok(Some((Account::from_row(&row)?, row.try_get("password_hash")?)))
}

/// Where an invite that can still be used leads to.
pub(in crate::auth) async fn find_invite(
    client: &Client,
    code: &str,
) -> Result<Option<(TenantId, ConversationId)>, Error> {
    const FIND: Statement = Statement::new(
        "invites.find_open",
        "SELECT i.tenant_id, i.conversation_id FROM invites i JOIN conversations c ON c.id = i.conversation_id \
         WHERE i.code = $1 AND i.revoked_at IS NULL AND (i.expires_at IS NULL OR i.expires_at > now()) \
           AND (i.max_uses IS NULL OR i.uses < i.max_uses) AND c.deleted_at IS NULL",
    );
    let Some(row) = client.query_opt(&FIND, &[&code]).await? else {
        return Ok(None);
    };
    Ok(Some((
        TenantId(row.try_get("tenant_id")?),
        ConversationId(row.try_get("conversation_id")?),
    )))
}

/// The conversation a guest was let in to.
pub(in crate::auth) async fn find_guest_conversation(
    tx: &Transaction<'_>,
    user_id: UserId,
) -> Result<Option<ConversationId>, Error> {
    const FIND: Statement = Statement::new(
        "invite_uses.find_guest_conversation",
        "SELECT i.conversation_id FROM conversation_members m \
         JOIN invites i ON i.conversation_id = m.conversation_id \
         JOIN invite_uses n ON n.invite_id = i.id AND n.user_id = m.user_id \
         WHERE m.user_id = $1 AND m.removed_at IS NULL ORDER BY n.used_at LIMIT 1",
    );
    let row = tx.query_opt(&FIND, &[&user_id.0]).await?;
    Ok(row
        .map(|row| row.try_get("conversation_id"))
        .transpose()?
        .map(ConversationId))
}
