//! The row of a conversation: its revision, title and end.

use crate::database::{Error, Statement, Transaction};
use crate::ids::{ConversationId, Rev, Seq, TenantId};
use crate::wire::frames::Timestamp;

/// A conversation under lock.
#[derive(Debug)]
pub(in crate::commit) struct LockedConversation {
    pub(in crate::commit) title: String,
    pub(in crate::commit) last_seq: Seq,
    pub(in crate::commit) properties_rev: Rev,
    pub(in crate::commit) member_count: i32,
    pub(in crate::commit) is_deleted: bool,
}

pub(in crate::commit) async fn load_conversation(
    db: &Transaction<'_>,
    tenant_id: TenantId,
    id: ConversationId,
) -> Result<Option<LockedConversation>, Error> {
    const SQL: Statement = Statement::new(
        "conversations.load_locked",
        "SELECT title, last_seq, properties_rev, member_count, deleted_at IS NOT NULL AS is_deleted
         FROM conversations WHERE tenant_id = $1 AND id = $2",
    );
    let row = db.query_opt(&SQL, &[&tenant_id.0, &id.0]).await?;
    Ok(row.map(|row| LockedConversation {
        title: row.get("title"),
        last_seq: Seq(row.get("last_seq")),
        properties_rev: Rev(row.get("properties_rev")),
        member_count: row.get("member_count"),
        is_deleted: row.get("is_deleted"),
    }))
}

/// Takes the conversation's next revision.
pub(in crate::commit) async fn advance_rev(
    db: &Transaction<'_>,
    tenant_id: TenantId,
    id: ConversationId,
) -> Result<Rev, Error> {
    const SQL: Statement = Statement::new(
        "conversations.advance_rev",
        "UPDATE conversations SET rev = rev + 1 WHERE tenant_id = $1 AND id = $2 RETURNING rev",
    );
    Ok(Rev(db.query_one(&SQL, &[&tenant_id.0, &id.0]).await?.get("rev")))
}

pub(in crate::commit) async fn update_title(
    db: &Transaction<'_>,
    tenant_id: TenantId,
    id: ConversationId,
    title: &str,
    rev: Rev,
) -> Result<(), Error> {
    const SQL: Statement = Statement::new(
        "conversations.update_title",
        "UPDATE conversations SET title = $3, properties_rev = $4 WHERE tenant_id = $1 AND id = $2",
    );
    db.execute(&SQL, &[&tenant_id.0, &id.0, &title, &rev.0]).await.map(drop)
}

pub(in crate::commit) async fn delete_conversation(
    db: &Transaction<'_>,
    tenant_id: TenantId,
    id: ConversationId,
    rev: Rev,
) -> Result<Timestamp, Error> {
    const SQL: Statement = Statement::new(
        "conversations.delete",
        "UPDATE conversations SET deleted_at = date_trunc('milliseconds', clock_timestamp()), properties_rev = $3
         WHERE tenant_id = $1 AND id = $2 RETURNING deleted_at",
    );
    Ok(db
        .query_one(&SQL, &[&tenant_id.0, &id.0, &rev.0])
        .await?
        .get("deleted_at"))
}
