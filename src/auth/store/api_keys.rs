//! The statements of API keys.

use crate::auth::error::Error;
use crate::auth::key_types::{ApiKey, KeyHolder};
use crate::auth::principal::{Credential, Principal};
use crate::auth::scopes::{Scope, Scopes};
use crate::database::{Client, Statement, Transaction};
use crate::ids::{ApiKeyId, Plan, Role, TenantId, Tier, UserId, UserKind, UserStatus};
use chrono::{DateTime, Utc};
use std::time::Duration;
use tokio_postgres::Row;

pub(in crate::auth) struct NewKeyRow<'a> {
    pub(in crate::auth) tenant_id: TenantId,
    pub(in crate::auth) user_id: UserId,
    pub(in crate::auth) name: &'a str,
    pub(in crate::auth) hash: &'a [u8],
    pub(in crate::auth) scopes: Scopes,
    pub(in crate::auth) expires_at: Option<DateTime<Utc>>,
}

fn scopes_of(row: &Row) -> Result<Scopes, Error> {
    let words: Vec<&str> = row.try_get("scopes")?;
    Ok(Scopes::from_words(words))
}

fn key_of(row: &Row) -> Result<ApiKey, Error> {
    Ok(ApiKey {
        id: ApiKeyId(row.try_get("id")?),
        name: row.try_get("name")?,
        scopes: scopes_of(row)?.iter().collect(),
        created_at: row.try_get("created_at")?,
        expires_at: row.try_get("expires_at")?,
        last_used_at: row.try_get("last_used_at")?,
    })
}

/// The role and status of a user as they are now; the makers of one user's keys stand in line
/// behind it.
pub(in crate::auth) async fn lock_user(
    tx: &Transaction<'_>,
    tenant_id: TenantId,
    user_id: UserId,
) -> Result<Option<(Role, UserStatus)>, Error> {
    const LOCK: Statement = Statement::new(
        "users.lock",
        "SELECT role, status FROM users WHERE tenant_id = $1 AND id = $2 FOR NO KEY UPDATE",
    );
    let Some(row) = tx.query_opt(&LOCK, &[&tenant_id.0, &user_id.0]).await? else {
        return Ok(None);
    };
    let role = Role::parse(row.try_get("role")?).ok_or(Error::Word("role"))?;
    let status = UserStatus::parse(row.try_get("status")?).ok_or(Error::Word("status"))?;
    Ok(Some((role, status)))
}

pub(in crate::auth) async fn count_api_keys(
    tx: &Transaction<'_>,
    tenant_id: TenantId,
    user_id: UserId,
) -> Result<i64, Error> {
    const COUNT: Statement = Statement::new(
        "api_keys.count",
        "SELECT count(*) AS n FROM api_keys WHERE tenant_id = $1 AND user_id = $2",
    );
    Ok(tx.query_one(&COUNT, &[&tenant_id.0, &user_id.0]).await?.try_get("n")?)
}

pub(in crate::auth) async fn insert_api_key(tx: &Transaction<'_>, new: &NewKeyRow<'_>) -> Result<ApiKey, Error> {
    const INSERT: Statement = Statement::new(
        "api_keys.insert",
        "INSERT INTO api_keys (tenant_id, user_id, id, name, hash, scopes, expires_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING id, name, scopes, created_at, expires_at, last_used_at",
    );
    let scopes: Vec<&str> = new.scopes.iter().map(Scope::as_str).collect();
    let row = tx
        .query_one(
            &INSERT,
            &[
                &new.tenant_id.0,
                &new.user_id.0,
                &ApiKeyId::new().0,
                &new.name,
                &new.hash,
                &scopes,
                &new.expires_at,
            ],
        )
        .await?;
    key_of(&row)
}

/// A page of a user's keys, newest first, after `from` (the last one of the page before).
pub(in crate::auth) async fn list_api_keys(
    client: &Client,
    tenant_id: TenantId,
    user_id: UserId,
    limit: i64,
    from: Option<(DateTime<Utc>, ApiKeyId)>,
) -> Result<Vec<ApiKey>, Error> {
    const LIST: Statement = Statement::new(
        "api_keys.list",
        "SELECT id, name, scopes, created_at, expires_at, last_used_at FROM api_keys \
         WHERE tenant_id = $1 AND user_id = $2 AND ($4::timestamptz IS NULL OR (created_at, id) < ($4, $5::uuid)) \
         ORDER BY created_at DESC, id DESC LIMIT $3",
    );
    let (made_at, last) = from.map(|(at, id)| (at, id.0)).unzip();
    let rows = client
        .query(&LIST, &[&tenant_id.0, &user_id.0, &limit, &made_at, &last])
        .await?;
    rows.iter().map(key_of).collect()
}

/// Deletes a key of a user and writes its event; false if there is no such key.
pub(in crate::auth) async fn delete_api_key(
    client: &Client,
    tenant_id: TenantId,
    user_id: UserId,
    id: ApiKeyId,
) -> Result<bool, Error> {
    const DELETE: Statement = Statement::new(
        "api_keys.delete",
        "WITH gone AS (DELETE FROM api_keys WHERE tenant_id = $1 AND user_id = $2 AND id = $3 \
                       RETURNING tenant_id, user_id, id) \
         INSERT INTO auth_events (tenant_id, user_id, api_key_id) SELECT tenant_id, user_id, id FROM gone",
    );
    Ok(client.execute(&DELETE, &[&tenant_id.0, &user_id.0, &id.0]).await? == 1)
}

/// Deletes all keys of a user and writes their events; which.
pub(in crate::auth) async fn delete_all_api_keys(
    tx: &Transaction<'_>,
    tenant_id: TenantId,
    user_id: UserId,
) -> Result<Vec<ApiKeyId>, Error> {
    const DELETE: Statement = Statement::new(
        "api_keys.delete_all",
        "WITH gone AS (DELETE FROM api_keys WHERE tenant_id = $1 AND user_id = $2 RETURNING tenant_id, user_id, id) \
         INSERT INTO auth_events (tenant_id, user_id, api_key_id) SELECT tenant_id, user_id, id FROM gone \
         RETURNING api_key_id",
    );
    let rows = tx.query(&DELETE, &[&tenant_id.0, &user_id.0]).await?;
    rows.iter()
        .map(|row| Ok(ApiKeyId(row.try_get("api_key_id")?)))
        .collect()
}

/// Whom a key stands for. The one statement of this crate that names no tenant first but the
/// login's: the hash of 192 random bits leads to one row of the installation, and the row to the
/// tenant.
pub(in crate::auth) async fn find_api_key(client: &Client, hash: &[u8]) -> Result<Option<KeyHolder>, Error> {
    const FIND: Statement = Statement::new(
        "api_keys.find",
        "SELECT k.id, k.scopes, k.expires_at, u.tenant_id, u.id AS user_id, u.name, u.kind, u.role, u.tier, u.status, \
                t.plan \
         FROM api_keys k JOIN users u ON u.tenant_id = k.tenant_id AND u.id = k.user_id \
         JOIN tenants t ON t.id = u.tenant_id WHERE k.hash = $1",
    );
    let Some(row) = client.query_opt(&FIND, &[&hash]).await? else {
        return Ok(None);
    };
    let principal = Principal {
        tenant_id: TenantId(row.try_get("tenant_id")?),
        user_id: UserId(row.try_get("user_id")?),
        credential: Credential::ApiKey {
            id: ApiKeyId(row.try_get("id")?),
            scopes: scopes_of(&row)?,
        },
        kind: UserKind::parse(row.try_get("kind")?).ok_or(Error::Word("kind"))?,
        name: row.try_get::<_, String>("name")?.into(),
        role: Role::parse(row.try_get("role")?).ok_or(Error::Word("role"))?,
        tier: Tier::parse(row.try_get("tier")?).ok_or(Error::Word("tier"))?,
        plan: Plan::parse(row.try_get("plan")?).ok_or(Error::Word("plan"))?,
        conversation: None,
        expires_at: row.try_get("expires_at")?,
    };
    let status = UserStatus::parse(row.try_get("status")?).ok_or(Error::Word("status"))?;
    Ok(Some(KeyHolder { principal, status }))
}

/// Writes when keys were last used. Rows are locked in the order of their ids, so that nodes that
/// write the same keys wait for each other and do not deadlock.
pub(in crate::auth) async fn touch_api_keys(client: &Client, used: &[(ApiKeyId, DateTime<Utc>)]) -> Result<(), Error> {
    const TOUCH: Statement = Statement::new(
        "api_keys.touch",
        "WITH used AS (SELECT k.id, v.at FROM unnest($1::uuid[], $2::timestamptz[]) AS v (id, at) \
                       JOIN api_keys k ON k.id = v.id ORDER BY k.id FOR NO KEY UPDATE OF k) \
         UPDATE api_keys k SET last_used_at = greatest(k.last_used_at, used.at) FROM used WHERE k.id = used.id",
    );
    let (ids, times): (Vec<_>, Vec<_>) = used.iter().map(|(id, at)| (id.0, *at)).unzip();
    client.execute(&TOUCH, &[&ids, &times]).await?;
    Ok(())
}

/// Removes one portion of keys that ran out longer than `age` ago; how many.
pub(in crate::auth) async fn delete_expired_api_keys(
    client: &Client,
    age: Duration,
    rows_max: i64,
) -> Result<u64, Error> {
    const DELETE: Statement = Statement::new(
        "api_keys.delete_expired",
        "DELETE FROM api_keys WHERE id IN \
         (SELECT id FROM api_keys WHERE expires_at < now() - $1::float8 * interval '1 second' \
          ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)",
    );
    Ok(client.execute(&DELETE, &[&age.as_secs_f64(), &rows_max]).await?)
}
