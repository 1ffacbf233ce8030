//! The statements of logins, their refresh tokens and socket tickets.

use crate::auth::account::Account;
use crate::auth::error::Error;
use crate::auth::refresh_judgement::{Exchanged, REPEAT_WITHIN, RefreshTokenRecord};
use crate::database::{Client, Statement, Transaction};
use crate::ids::{SessionId, TenantId, UserId};
use chrono::{DateTime, Utc};
use std::time::Duration;
use tokio_postgres::Row;

/// Tokens of one login that are remembered, to tell that one comes again: more than a client that
/// refreshes every quarter of an hour uses in a month.
const LOGIN_TOKENS_MAX: i64 = 4_000;
/// Unredeemed tickets of one login.
const TICKETS_MAX: i64 = 100;

pub(in crate::auth) async fn insert_session(
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

/// Ends the oldest living logins of a user beyond the newest `kept`; those that ended with this.
/// Exact only under the lock of the user.
pub(in crate::auth) async fn revoke_oldest_sessions(
    tx: &Transaction<'_>,
    tenant_id: TenantId,
    user_id: UserId,
    kept: i64,
) -> Result<Vec<SessionId>, Error> {
    const REVOKE: Statement = Statement::new(
        "sessions.revoke_oldest",
        "WITH old AS (SELECT id FROM sessions \
                      WHERE tenant_id = $1 AND user_id = $2 AND revoked_at IS NULL AND expires_at > now() \
                      ORDER BY created_at DESC, id DESC OFFSET $3), \
              gone AS (UPDATE sessions s SET revoked_at = now() FROM old WHERE s.id = old.id \
                       RETURNING s.tenant_id, s.user_id, s.id) \
         INSERT INTO auth_events (tenant_id, user_id, session_id) SELECT tenant_id, user_id, id FROM gone \
         RETURNING session_id",
    );
    let rows = tx.query(&REVOKE, &[&tenant_id.0, &user_id.0, &kept]).await?;
    rows.iter()
        .map(|row| Ok(SessionId(row.try_get("session_id")?)))
        .collect()
}

/// Locks a live login that is not older than `age_max`, and reads its account.
pub(in crate::auth) async fn lock_session(
    tx: &Transaction<'_>,
    session_id: SessionId,
    age_max: Duration,
) -> Result<Option<Account>, Error> {
    const LOCK: Statement = Statement::new(
        "sessions.lock",
        "SELECT u.id AS user_id, u.name AS user_name, u.kind, u.email, u.role, u.tier, u.status, \
                u.created_at AS user_created_at, u.updated_at, \
                t.id AS tenant_id, t.name AS tenant_name, t.plan AS tenant_plan, t.created_at AS tenant_created_at \
         FROM sessions s JOIN users u ON u.id = s.user_id JOIN tenants t ON t.id = u.tenant_id \
         WHERE s.id = $1 AND s.revoked_at IS NULL AND s.expires_at > now() \
           AND s.created_at > now() - $2::float8 * interval '1 second' FOR UPDATE OF s",
    );
    tx.query_opt(&LOCK, &[&session_id.0, &age_max.as_secs_f64()])
        .await?
        .as_ref()
        .map(Account::from_row)
        .transpose()
}

/// Lets a login last until `expires_at`, or until it is as old as `age_max`; when that is.
pub(in crate::auth) async fn extend_session(
    tx: &Transaction<'_>,
    session_id: SessionId,
    expires_at: DateTime<Utc>,
    age_max: Duration,
) -> Result<DateTime<Utc>, Error> {
    const EXTEND: Statement = Statement::new(
        "sessions.extend",
        "UPDATE sessions SET expires_at = least($2, created_at + $3::float8 * interval '1 second') \
         WHERE id = $1 RETURNING expires_at",
    );
    let row = tx
        .query_one(&EXTEND, &[&session_id.0, &expires_at, &age_max.as_secs_f64()])
        .await?;
    Ok(row.try_get("expires_at")?)
}

/// Ends logins of a user: `only`, or all of them; those that ended with this.
pub(in crate::auth) async fn revoke_sessions(
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

/// Ends all logins of a user but one; those that ended with this.
pub(in crate::auth) async fn revoke_other_sessions(
    tx: &Transaction<'_>,
    user_id: UserId,
    kept: SessionId,
) -> Result<Vec<SessionId>, Error> {
    const REVOKE: Statement = Statement::new(
        "sessions.revoke_others",
        "WITH gone AS (UPDATE sessions SET revoked_at = now() \
                       WHERE user_id = $1 AND revoked_at IS NULL AND id <> $2 RETURNING tenant_id, user_id, id) \
         INSERT INTO auth_events (tenant_id, user_id, session_id) SELECT tenant_id, user_id, id FROM gone \
         RETURNING session_id",
    );
    let rows = tx.query(&REVOKE, &[&user_id.0, &kept.0]).await?;
    rows.iter()
        .map(|row| Ok(SessionId(row.try_get("session_id")?)))
        .collect()
}

/// Keeps a new token; `parent` is the one that it was exchanged for.
pub(in crate::auth) async fn insert_refresh_token(
    tx: &Transaction<'_>,
    session_id: SessionId,
    hash: &[u8],
    parent: Option<&[u8]>,
) -> Result<(), Error> {
    const INSERT: Statement = Statement::new(
        "refresh_tokens.insert",
        "INSERT INTO refresh_tokens (session_id, hash, parent) VALUES ($1, $2, $3)",
    );
    tx.execute(&INSERT, &[&session_id.0, &hash, &parent]).await?;
    Ok(())
}

/// Marks a token as exchanged, or as exchanged once more.
pub(in crate::auth) async fn use_refresh_token(tx: &Transaction<'_>, hash: &[u8]) -> Result<(), Error> {
    const USE: Statement = Statement::new(
        "refresh_tokens.use",
        "UPDATE refresh_tokens SET used_at = coalesce(used_at, clock_timestamp()), \
                repeated_at = CASE WHEN used_at IS NULL THEN NULL ELSE clock_timestamp() END \
         WHERE hash = $1",
    );
    tx.execute(&USE, &[&hash]).await?;
    Ok(())
}

/// What is known of a token and its relatives. Whole only under the lock of its login.
pub(in crate::auth) async fn load_refresh_token(
    tx: &Transaction<'_>,
    hash: &[u8],
) -> Result<Option<RefreshTokenRecord>, Error> {
    let rows = tx
        .query(
            &LIST_REFRESH_TOKENS,
            &[&[hash].as_slice(), &REPEAT_WITHIN.as_secs_f64()],
        )
        .await?;
    rows.first().map(refresh_token_record).transpose()
}

/// What is known of these tokens of living logins; unknown ones are left out.
pub(in crate::auth) async fn list_refresh_tokens(
    client: &Client,
    hashes: &[Vec<u8>],
) -> Result<Vec<(Vec<u8>, RefreshTokenRecord)>, Error> {
    let rows = client
        .query(&LIST_REFRESH_TOKENS, &[&hashes, &REPEAT_WITHIN.as_secs_f64()])
        .await?;
    rows.iter()
        .map(|row| Ok((row.try_get("hash")?, refresh_token_record(row)?)))
        .collect()
}

/// By index: relatives are found among the tokens of the same login.
const LIST_REFRESH_TOKENS: Statement = Statement::new(
    "refresh_tokens.list",
    "SELECT r.hash, r.used_at IS NOT NULL AS is_used, \
            coalesce(r.used_at > clock_timestamp() - $2::float8 * interval '1 second', false) AS is_used_lately, \
            r.repeated_at IS NOT NULL AS is_repeated, \
            (SELECT bool_or(c.used_at IS NOT NULL) FROM refresh_tokens c \
             WHERE c.session_id = r.session_id AND c.parent = r.hash) AS successor_used, \
            EXISTS (SELECT FROM refresh_tokens b WHERE b.session_id = r.session_id AND b.parent = r.parent \
                    AND b.hash <> r.hash AND b.used_at IS NOT NULL) AS sibling_used \
     FROM refresh_tokens r JOIN sessions s ON s.id = r.session_id \
     WHERE r.hash = ANY($1) AND s.revoked_at IS NULL AND s.expires_at > now()",
);

fn refresh_token_record(row: &Row) -> Result<RefreshTokenRecord, Error> {
    let exchanged = match (row.try_get("is_used")?, row.try_get("is_used_lately")?) {
        (false, _) => Exchanged::Never,
        (true, true) => Exchanged::Lately,
        (true, false) => Exchanged::LongAgo,
    };
    Ok(RefreshTokenRecord {
        exchanged,
        is_repeated: row.try_get("is_repeated")?,
        successor_used: row.try_get("successor_used")?,
        sibling_used: row.try_get("sibling_used")?,
    })
}

/// The login a token belongs to, used or not.
pub(in crate::auth) async fn find_refresh_token(
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

/// Forgets tokens of a login that could not be exchanged any more even if they were unused, and the
/// oldest beyond [`LOGIN_TOKENS_MAX`].
pub(in crate::auth) async fn delete_old_refresh_tokens(
    tx: &Transaction<'_>,
    session_id: SessionId,
    before: DateTime<Utc>,
) -> Result<(), Error> {
    const DELETE: Statement = Statement::new(
        "refresh_tokens.delete_old",
        "DELETE FROM refresh_tokens WHERE session_id = $1 AND (created_at < $2 OR hash IN \
             (SELECT hash FROM refresh_tokens WHERE session_id = $1 ORDER BY created_at DESC, used_at DESC NULLS FIRST \
              OFFSET $3))",
    );
    tx.execute(&DELETE, &[&session_id.0, &before, &LOGIN_TOKENS_MAX])
        .await?;
    Ok(())
}

/// Keeps a ticket; false when the login has too many already. Exact only under the lock of the login.
pub(in crate::auth) async fn insert_ticket(
    tx: &Transaction<'_>,
    session_id: SessionId,
    hash: &[u8],
    expires_at: DateTime<Utc>,
) -> Result<bool, Error> {
    const INSERT: Statement = Statement::new(
        "socket_tickets.insert",
        "INSERT INTO socket_tickets (session_id, hash, expires_at) SELECT $1, $2, $3 \
         WHERE (SELECT count(*) FROM socket_tickets WHERE session_id = $1 AND expires_at > now()) < $4",
    );
    Ok(tx
        .execute(&INSERT, &[&session_id.0, &hash, &expires_at, &TICKETS_MAX])
        .await?
        == 1)
}

/// Takes a ticket out and returns its login, if that still lives. Single use because of the
/// `DELETE`.
pub(in crate::auth) async fn take_ticket(tx: &Transaction<'_>, hash: &[u8]) -> Result<Option<SessionId>, Error> {
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

/// Removes one portion of logins that have run out, with their tokens and tickets; how many.
pub(in crate::auth) async fn delete_expired_sessions(client: &Client, rows_max: i64) -> Result<u64, Error> {
    const DELETE: Statement = Statement::new(
        "sessions.delete_expired",
        "DELETE FROM sessions WHERE id IN \
         (SELECT id FROM sessions WHERE expires_at < now() ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED)",
    );
    Ok(client.execute(&DELETE, &[&rows_max]).await?)
}

/// Removes one portion of logins that were ended longer than `age` ago, with their tokens and tickets;
/// how many.
pub(in crate::auth) async fn delete_revoked_sessions(
    client: &Client,
    age: Duration,
    rows_max: i64,
) -> Result<u64, Error> {
    const DELETE: Statement = Statement::new(
        "sessions.delete_revoked",
        "DELETE FROM sessions WHERE id IN \
         (SELECT id FROM sessions WHERE revoked_at < now() - $1::float8 * interval '1 second' \
          ORDER BY revoked_at LIMIT $2 FOR UPDATE SKIP LOCKED)",
    );
    Ok(client.execute(&DELETE, &[&age.as_secs_f64(), &rows_max]).await?)
}

/// Removes one portion of tickets that have run out; how many.
pub(in crate::auth) async fn delete_expired_tickets(client: &Client, rows_max: i64) -> Result<u64, Error> {
    const DELETE: Statement = Statement::new(
        "socket_tickets.delete_expired",
        "DELETE FROM socket_tickets WHERE hash IN \
         (SELECT hash FROM socket_tickets WHERE expires_at < now() ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED)",
    );
    Ok(client.execute(&DELETE, &[&rows_max]).await?)
}
