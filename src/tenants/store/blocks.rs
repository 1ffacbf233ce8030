//! The SQL of whom a user has blocked.

use crate::database::{Client, Statement, Transaction};
use crate::ids::{TenantId, UserId, UserKind};
use crate::tenants::blocks::{BLOCKS_MAX, BlockedUser};
use crate::tenants::error::Error;
use crate::wire::frames::Timestamp;
use tokio_postgres::Row;

macro_rules! blocks {
    () => {
        "SELECT u.id, u.name, u.kind, b.created_at FROM user_blocks b \
         JOIN users u ON u.tenant_id = b.tenant_id AND u.id = b.blocked_id WHERE b.tenant_id = $1 AND b.user_id = $2"
    };
}

fn blocked_of(row: &Row) -> BlockedUser {
    BlockedUser {
        id: UserId(row.get("id")),
        name: row.get("name"),
        kind: UserKind::parse(row.get("kind")).unwrap_or(UserKind::Person),
        blocked_at: row.get("created_at"),
    }
}

pub(in crate::tenants) async fn list_blocks(
    client: &Client,
    tenant_id: TenantId,
    user_id: UserId,
    limit: i64,
    from: Option<(Timestamp, UserId)>,
) -> Result<Vec<BlockedUser>, Error> {
    const LIST: Statement = Statement::new(
        "user_blocks.list",
        concat!(
            blocks!(),
            " AND ($4::timestamptz IS NULL OR (b.created_at, b.blocked_id) < ($4, $5::uuid)) \
             ORDER BY b.created_at DESC, b.blocked_id DESC LIMIT $3"
        ),
    );
    let (at, last) = from.map(|(at, id)| (at, id.0)).unzip();
    let rows = client
        .query(&LIST, &[&tenant_id.0, &user_id.0, &limit, &at, &last])
        .await?;
    Ok(rows.iter().map(blocked_of).collect())
}

pub(in crate::tenants) async fn find_block(
    tx: &Transaction<'_>,
    tenant_id: TenantId,
    user_id: UserId,
    blocked: UserId,
) -> Result<Option<BlockedUser>, Error> {
    const FIND: Statement = Statement::new("user_blocks.find", concat!(blocks!(), " AND b.blocked_id = $3"));
    let row = tx.query_opt(&FIND, &[&tenant_id.0, &user_id.0, &blocked.0]).await?;
    Ok(row.as_ref().map(blocked_of))
}

/// Those who change what is counted of one user stand in line here.
pub(in crate::tenants) async fn lock_user(
    tx: &Transaction<'_>,
    tenant_id: TenantId,
    user_id: UserId,
) -> Result<(), Error> {
    const LOCK: Statement = Statement::new(
        "users.lock_counts",
        "SELECT 1 FROM users WHERE tenant_id = $1 AND id = $2 FOR NO KEY UPDATE",
    );
    tx.query_opt(&LOCK, &[&tenant_id.0, &user_id.0])
        .await?
        .ok_or(Error::NotFound)?;
    Ok(())
}

/// Blocks a user, unless there are too many; again is fine. Exact only under [`lock_user`].
pub(in crate::tenants) async fn insert_block(
    tx: &Transaction<'_>,
    tenant_id: TenantId,
    user_id: UserId,
    blocked: UserId,
) -> Result<(), Error> {
    const INSERT: Statement = Statement::new(
        "user_blocks.insert",
        "INSERT INTO user_blocks (tenant_id, user_id, blocked_id) SELECT $1, $2, $3 \
         WHERE (SELECT count(*) FROM user_blocks WHERE tenant_id = $1 AND user_id = $2) < $4 ON CONFLICT DO NOTHING",
    );
    tx.execute(&INSERT, &[&tenant_id.0, &user_id.0, &blocked.0, &BLOCKS_MAX])
        .await?;
    Ok(())
}

pub(in crate::tenants) async fn delete_block(
    client: &Client,
    tenant_id: TenantId,
    user_id: UserId,
    blocked: UserId,
) -> Result<(), Error> {
    const DELETE: Statement = Statement::new(
        "user_blocks.delete",
        "DELETE FROM user_blocks WHERE tenant_id = $1 AND user_id = $2 AND blocked_id = $3",
    );
    client.execute(&DELETE, &[&tenant_id.0, &user_id.0, &blocked.0]).await?;
    Ok(())
}
