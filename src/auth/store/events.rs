//! The statements of `auth_events`: what was revoked or changed, for all nodes. The rows are
//! written in the transactions of the changes themselves.

use crate::auth::error::Error;
use crate::auth::events::{AuthEvent, UserState};
use crate::auth::principal::CredentialId;
use crate::database::{Client, Statement};
use crate::ids::{ApiKeyId, Role, SessionId, TenantId, Tier, UserId, UserStatus};
use std::time::Duration;

/// What was revoked or changed within `window`, each thing once, users as they are now.
pub(in crate::auth) async fn list_auth_events(client: &Client, window: Duration) -> Result<Vec<AuthEvent>, Error> {
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
            events.push(AuthEvent::Revoked(CredentialId::Session(SessionId(session_id))));
        } else if let Some(key_id) = row.try_get("api_key_id")? {
            events.push(AuthEvent::Revoked(CredentialId::ApiKey(ApiKeyId(key_id))));
        } else if let Some(user_id) = row.try_get("user_id")? {
            events.push(AuthEvent::UserChanged(UserState {
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

/// Removes one portion of events older than `age`; how many.
pub(in crate::auth) async fn delete_old_events(client: &Client, age: Duration, rows_max: i64) -> Result<u64, Error> {
    const DELETE: Statement = Statement::new(
        "auth_events.delete_old",
        "DELETE FROM auth_events WHERE id IN \
         (SELECT id FROM auth_events WHERE created_at < now() - $1::float8 * interval '1 second' \
          ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED)",
    );
    Ok(client.execute(&DELETE, &[&age.as_secs_f64(), &rows_max]).await?)
}
