//! Messages that exist: edited, deleted, reacted to.

use crate::commit::rows::{message_columns, message_from_row};
use crate::database::{Error, Statement, Transaction};
use crate::ids::{ConversationId, MessageId, Rev, TenantId, UserId};
use crate::wire::frames::Message;

pub(in crate::commit) async fn find_message(
    db: &Transaction<'_>,
    tenant_id: TenantId,
    conversation_id: ConversationId,
    id: MessageId,
) -> Result<Option<Message>, Error> {
    const SQL: Statement = Statement::new(
        "messages.find",
        concat!(
            "SELECT ",
            message_columns!(),
            " FROM messages m WHERE m.tenant_id = $1 AND m.id = $3 AND m.conversation_id = $2"
        ),
    );
    let row = db.query_opt(&SQL, &[&tenant_id.0, &conversation_id.0, &id.0]).await?;
    Ok(row.map(|row| message_from_row(&row)))
}

/// The revision that the text of a message is of: that of its latest edit or deletion, or the one it
/// was posted with. For an edit from before it was kept, that of the latest change of any kind.
pub(in crate::commit) async fn find_text_rev(
    db: &Transaction<'_>,
    tenant_id: TenantId,
    id: MessageId,
) -> Result<Rev, Error> {
    const SQL: Statement = Statement::new(
        "messages.find_text_rev",
        "SELECT coalesce(text_rev, CASE WHEN edited_at IS NULL AND deleted_at IS NULL THEN posted_rev ELSE rev END)
         FROM messages WHERE tenant_id = $1 AND id = $2",
    );
    Ok(Rev(db.query_one(&SQL, &[&tenant_id.0, &id.0]).await?.get(0)))
}

pub(in crate::commit) async fn update_body(
    db: &Transaction<'_>,
    tenant_id: TenantId,
    id: MessageId,
    body: &str,
    rev: Rev,
) -> Result<(), Error> {
    const SQL: Statement = Statement::new(
        "messages.update_body",
        "UPDATE messages SET body = $3, rev = $4, text_rev = $4, edited_at = date_trunc('milliseconds', clock_timestamp())
         WHERE tenant_id = $1 AND id = $2",
    );
    db.execute(&SQL, &[&tenant_id.0, &id.0, &body, &rev.0]).await.map(drop)
}

/// Removes the body for good, with its reactions.
pub(in crate::commit) async fn delete_message(
    db: &Transaction<'_>,
    tenant_id: TenantId,
    message: &Message,
    rev: Rev,
) -> Result<(), Error> {
    const SQL: Statement = Statement::new(
        "messages.delete",
        "WITH gone AS (DELETE FROM reactions WHERE conversation_id = $3 AND seq = $4)
         UPDATE messages SET body = NULL, rev = $5, text_rev = $5, deleted_at = date_trunc('milliseconds', clock_timestamp())
         WHERE tenant_id = $1 AND id = $2",
    );
    db.execute(
        &SQL,
        &[
            &tenant_id.0,
            &message.id.0,
            &message.conversation.0,
            &message.seq.0,
            &rev.0,
        ],
    )
    .await
    .map(drop)
}

/// Sets a message's revision after a change that is not in its own row.
pub(in crate::commit) async fn touch_message(
    db: &Transaction<'_>,
    tenant_id: TenantId,
    id: MessageId,
    rev: Rev,
) -> Result<(), Error> {
    const SQL: Statement = Statement::new(
        "messages.touch",
        "UPDATE messages SET rev = $3 WHERE tenant_id = $1 AND id = $2",
    );
    db.execute(&SQL, &[&tenant_id.0, &id.0, &rev.0]).await.map(drop)
}

/// Whether this user has reacted with this emoji.
pub(in crate::commit) async fn has_reaction(
    db: &Transaction<'_>,
    message: &Message,
    user_id: UserId,
    emoji: &str,
) -> Result<bool, Error> {
    const SQL: Statement = Statement::new(
        "reactions.exists",
        "SELECT 1 FROM reactions WHERE conversation_id = $1 AND seq = $2 AND emoji = $3 AND user_id = $4",
    );
    let row = db
        .query_opt(&SQL, &[&message.conversation.0, &message.seq.0, &emoji, &user_id.0])
        .await?;
    Ok(row.is_some())
}

pub(in crate::commit) async fn insert_reaction(
    db: &Transaction<'_>,
    message: &Message,
    user_id: UserId,
    emoji: &str,
) -> Result<(), Error> {
    const SQL: Statement = Statement::new(
        "reactions.insert",
        "INSERT INTO reactions (conversation_id, seq, emoji, user_id) VALUES ($1, $2, $3, $4)",
    );
    db.execute(&SQL, &[&message.conversation.0, &message.seq.0, &emoji, &user_id.0])
        .await
        .map(drop)
}

pub(in crate::commit) async fn delete_reaction(
    db: &Transaction<'_>,
    message: &Message,
    user_id: UserId,
    emoji: &str,
) -> Result<(), Error> {
    const SQL: Statement = Statement::new(
        "reactions.delete",
        "DELETE FROM reactions WHERE conversation_id = $1 AND seq = $2 AND emoji = $3 AND user_id = $4",
    );
    db.execute(&SQL, &[&message.conversation.0, &message.seq.0, &emoji, &user_id.0])
        .await
        .map(drop)
}
