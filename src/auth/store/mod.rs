//! Every statement of signing in, one named function each.
//!
//! Functions that belong to a change take the transaction, so that they cannot be called outside of one; the `auth_events`
//! row of a revocation or change is always written by the same transaction as the change itself.

pub(super) mod api_keys;

use super::account::{Account, Tenant, User};
use super::revocation::Row as EventRow;
use super::{CredentialId, Error, UserState};
use crate::database::{Client, Statement, Transaction};
use crate::ids::{ApiKeyId, ConversationId, Role, SessionId, TenantId, Tier, UserId, UserStatus};
use chrono::{DateTime, Utc};
use std::time::Duration;

/// Rows one statement of the periodic removal deletes at most, so that it never holds locks for long.
pub(super) const DELETE_ROWS_MAX: i64 = 1_000;
/// Unredeemed tickets of one log-in.
const TICKETS_MAX: i64 = 100;

/// What a new user is made of.
pub(super) struct NewUser<'a> {
    pub tenant_id: TenantId,
    pub email: Option<&'a str>,
    pub name: &'a str,
    pub role: Role,
    pub tier: Tier,
    pub password_hash: Option<&'a str>,
}

pub(super) async fn insert_tenant(tx: &Transaction<'_>, name: &str) -> Result<Tenant, Error> {
    const INSERT: Statement = Statement::new(
        "tenants.insert",
        "INSERT INTO tenants AS t (id, name) VALUES ($1, $2) \
         RETURNING t.id AS tenant_id, t.name AS tenant_name, t.created_at AS tenant_created_at",
    );
    let row = tx.query_one(&INSERT, &[&TenantId::new().0, &name]).await?;
    Tenant::from_row(&row)
}

pub(super) async fn find_tenant(tx: &Transaction<'_>, tenant_id: TenantId) -> Result<Option<Tenant>, Error> {
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

pub(super) async fn insert_user(tx: &Transaction<'_>, new: &NewUser<'_>) -> Result<User, Error> {
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

/// Takes back a user who could not be let in; fails if something refers to them already.
pub(super) async fn delete_user(client: &Client, tenant_id: TenantId, user_id: UserId) -> Result<(), Error> {
    const DELETE: Statement = Statement::new("users.delete", "DELETE FROM users WHERE tenant_id = $1 AND id = $2");
    client.execute(&DELETE, &[&tenant_id.0, &user_id.0]).await?;
    Ok(())
}

/// The account of an address, with its password hash.
pub(super) async fn find_by_email(client: &Client, email: &str) -> Result<Option<(Account, Option<String>)>, Error> {
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
pub(super) async fn find_invite(client: &Client, code: &str) -> Result<Option<(TenantId, ConversationId)>, Error> {
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
pub(super) async fn find_guest_conversation(
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

pub(super) async fn insert_session(
    tx: &Transaction<'_>,
    tenant_id: TenantId,
    user_id: UserId,
    session_id: SessionId,
    expires_at: DateTime<Utc>,
) -> Result<(), Error> {
    const INSERT: Statement = Statement::new(
        "sessions.insert",
        "INSERT INTO sessions (tenant_id, user_id, id, expires_at) VALUES ($1, $2, $3, $4)",
    );
    tx.execute(&INSERT, &[&tenant_id.0, &user_id.0, &session_id.0, &expires_at])
        .await?;
    Ok(())
}

/// Locks a live log-in and reads its account.
pub(super) async fn lock_session(tx: &Transaction<'_>, session_id: SessionId) -> Result<Option<Account>, Error> {
    const LOCK: Statement = Statement::new(
        "sessions.lock",
        "SELECT u.id AS user_id, u.name AS user_name, u.kind, u.email, u.role, u.tier, u.status, \
                u.created_at AS user_created_at, u.updated_at, \
                t.id AS tenant_id, t.name AS tenant_name, t.created_at AS tenant_created_at \
         FROM sessions s JOIN users u ON u.id = s.user_id JOIN tenants t ON t.id = u.tenant_id \
         WHERE s.id = $1 AND s.revoked_at IS NULL AND s.expires_at > now() FOR UPDATE OF s",
    );
    tx.query_opt(&LOCK, &[&session_id.0])
        .await?
        .as_ref()
        .map(Account::from_row)
        .transpose()
}

pub(super) async fn extend_session(
    tx: &Transaction<'_>,
    session_id: SessionId,
    expires_at: DateTime<Utc>,
) -> Result<(), Error> {
    const EXTEND: Statement = Statement::new("sessions.extend", "UPDATE sessions SET expires_at = $2 WHERE id = $1");
    tx.execute(&EXTEND, &[&session_id.0, &expires_at]).await?;
    Ok(())
}

/// Ends log-ins of a user: `only`, or all of them; those that ended with this.
pub(super) async fn revoke_sessions(
    tx: &Transaction<'_>,
    user_id: UserId,
    only: Option<SessionId>,
) -> Result<Vec<SessionId>, Error> {
    const REVOKE: Statement = Statement::new(
        "sessions.revoke",
        "WITH gone AS (UPDATE sessions SET revoked_at = now() \
                       WHERE user_id = $1 AND revoked_at IS NULL AND ($2::uuid IS NULL OR id = $2) \
                       RETURNING tenant_id, user_id, id) \
         INSERT INTO auth_events (tenant_id, user_id, session_id) SELECT tenant_id, user_id, id FROM gone \
         RETURNING session_id",
    );
    let rows = tx.query(&REVOKE, &[&user_id.0, &only.map(|id| id.0)]).await?;
    rows.iter()
        .map(|row| Ok(SessionId(row.try_get("session_id")?)))
        .collect()
}

pub(super) async fn insert_refresh_token(
    tx: &Transaction<'_>,
    session_id: SessionId,
    hash: &[u8],
) -> Result<(), Error> {
    const INSERT: Statement = Statement::new(
        "refresh_tokens.insert",
        "INSERT INTO refresh_tokens (session_id, hash) VALUES ($1, $2)",
    );
    tx.execute(&INSERT, &[&session_id.0, &hash]).await?;
    Ok(())
}

/// Marks an unused token as used. Of two at once exactly one gets the log-in.
pub(super) async fn use_refresh_token(tx: &Transaction<'_>, hash: &[u8]) -> Result<Option<SessionId>, Error> {
    const USE: Statement = Statement::new(
        "refresh_tokens.use",
        "UPDATE refresh_tokens SET used_at = now() WHERE hash = $1 AND used_at IS NULL RETURNING session_id",
    );
    let row = tx.query_opt(&USE, &[&hash]).await?;
    Ok(row.map(|row| row.try_get("session_id")).transpose()?.map(SessionId))
}

/// The log-in a token belongs to, used or not.
pub(super) async fn find_refresh_token(
    tx: &Transaction<'_>,
    hash: &[u8],
) -> Result<Option<(UserId, SessionId)>, Error> {
    const FIND: Statement = Statement::new(
        "refresh_tokens.find",
        "SELECT s.user_id, s.id FROM refresh_tokens r JOIN sessions s ON s.id = r.session_id WHERE r.hash = $1",
    );
    let Some(row) = tx.query_opt(&FIND, &[&hash]).await? else {
        return Ok(None);
    };
    Ok(Some((UserId(row.try_get("user_id")?), SessionId(row.try_get("id")?))))
}

/// Forgets tokens of a log-in that could not be exchanged any more even if they were unused.
pub(super) async fn delete_old_refresh_tokens(
    tx: &Transaction<'_>,
    session_id: SessionId,
    before: DateTime<Utc>,
) -> Result<(), Error> {
    const DELETE: Statement = Statement::new(
        "refresh_tokens.delete_old",
        "DELETE FROM refresh_tokens WHERE session_id = $1 AND created_at < $2",
    );
    tx.execute(&DELETE, &[&session_id.0, &before]).await?;
    Ok(())
}

/// Keeps a ticket; false when the log-in has too many already.
pub(super) async fn insert_ticket(
    client: &Client,
    session_id: SessionId,
    hash: &[u8],
    expires_at: DateTime<Utc>,
) -> Result<bool, Error> {
    const INSERT: Statement = Statement::new(
        "socket_tickets.insert",
        "INSERT INTO socket_tickets (session_id, hash, expires_at) SELECT $1, $2, $3 \
         WHERE (SELECT count(*) FROM socket_tickets WHERE session_id = $1 AND expires_at > now()) < $4",
    );
    Ok(client
        .execute(&INSERT, &[&session_id.0, &hash, &expires_at, &TICKETS_MAX])
        .await?
        == 1)
}

/// Takes a ticket out and answers its log-in, if that still lives; single use because of the `DELETE`.
pub(super) async fn take_ticket(tx: &Transaction<'_>, hash: &[u8]) -> Result<Option<SessionId>, Error> {
    const TAKE: Statement = Statement::new(
        "socket_tickets.take",
        "DELETE FROM socket_tickets WHERE hash = $1 RETURNING session_id, expires_at > now() AS live",
    );
    let Some(row) = tx.query_opt(&TAKE, &[&hash]).await? else {
        return Ok(None);
    };
    let live: bool = row.try_get("live")?;
    Ok(if live {
        Some(SessionId(row.try_get("session_id")?))
    } else {
        None
    })
}

/// What was revoked or changed within `window`, each thing once, users as they are now.
pub(super) async fn list_auth_events(client: &Client, window: Duration) -> Result<Vec<EventRow>, Error> {
    const LIST: Statement = Statement::new(
        "auth_events.list",
        "SELECT e.session_id, e.api_key_id, u.tenant_id, u.id AS user_id, u.name, u.role, u.tier, u.status, u.updated_at \
         FROM (SELECT DISTINCT user_id, session_id, api_key_id FROM auth_events \
               WHERE created_at > clock_timestamp() - $1::float8 * interval '1 second') e \
         LEFT JOIN users u ON e.session_id IS NULL AND e.api_key_id IS NULL AND u.id = e.user_id",
    );
    let rows = client.query(&LIST, &[&window.as_secs_f64()]).await?;
    let mut events = Vec::with_capacity(rows.len());
    for row in &rows {
        if let Some(session_id) = row.try_get("session_id")? {
            events.push(EventRow::Revoked(CredentialId::Session(SessionId(session_id))));
        } else if let Some(key_id) = row.try_get("api_key_id")? {
            events.push(EventRow::Revoked(CredentialId::ApiKey(ApiKeyId(key_id))));
        } else if let Some(user_id) = row.try_get("user_id")? {
            events.push(EventRow::Changed(UserState {
                tenant_id: TenantId(row.try_get("tenant_id")?),
                user_id: UserId(user_id),
                name: row.try_get::<_, String>("name")?.into(),
                role: Role::parse(row.try_get("role")?).ok_or(Error::Word("role"))?,
                tier: Tier::parse(row.try_get("tier")?).ok_or(Error::Word("tier"))?,
                status: UserStatus::parse(row.try_get("status")?).ok_or(Error::Word("status"))?,
                updated_at: row.try_get("updated_at")?,
            }));
        }
    }
    Ok(events)
}

/// Removes one portion of log-ins that have run out, with their tokens and tickets; how many.
pub(super) async fn delete_expired_sessions(client: &Client) -> Result<u64, Error> {
    const DELETE: Statement = Statement::new(
        "sessions.delete_expired",
        "DELETE FROM sessions WHERE id IN \
         (SELECT id FROM sessions WHERE expires_at < now() ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED)",
    );
    Ok(client.execute(&DELETE, &[&DELETE_ROWS_MAX]).await?)
}

/// Removes one portion of tickets that have run out; how many.
pub(super) async fn delete_expired_tickets(client: &Client) -> Result<u64, Error> {
    const DELETE: Statement = Statement::new(
        "socket_tickets.delete_expired",
        "DELETE FROM socket_tickets WHERE hash IN \
         (SELECT hash FROM socket_tickets WHERE expires_at < now() ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED)",
    );
    Ok(client.execute(&DELETE, &[&DELETE_ROWS_MAX]).await?)
}

/// Removes one portion of events older than `age`; how many.
pub(super) async fn delete_old_events(client: &Client, age: Duration) -> Result<u64, Error> {
    const DELETE: Statement = Statement::new(
        "auth_events.delete_old",
        "DELETE FROM auth_events WHERE id IN \
         (SELECT id FROM auth_events WHERE created_at < now() - $1::float8 * interval '1 second' \
          ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED)",
    );
    Ok(client.execute(&DELETE, &[&age.as_secs_f64(), &DELETE_ROWS_MAX]).await?)
}
