//! The statements of the changes that are not posts: edits, deletions, reactions, members, titles, invitations.

use super::{member_from_row, message_columns, message_from_row};
use crate::database::{Error, Statement, Transaction};
use crate::ids::{ConversationId, InviteId, MemberRole, MessageId, Rev, Seq, TenantId, UserId, UserKind, UserStatus};
use crate::wire::frames::{MemberChanged, MemberUser, Message, Timestamp};
use tokio_postgres::types::ToSql;

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

pub(in crate::commit) async fn update_body(
    db: &Transaction<'_>,
    tenant_id: TenantId,
    id: MessageId,
    body: &str,
    rev: Rev,
) -> Result<(), Error> {
    const SQL: Statement = Statement::new(
        "messages.update_body",
        "UPDATE messages SET body = $3, rev = $4, edited_at = date_trunc('milliseconds', clock_timestamp())
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
         UPDATE messages SET body = NULL, rev = $5, deleted_at = date_trunc('milliseconds', clock_timestamp())
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

/// A membership, present or past.
pub(in crate::commit) async fn find_member(
    db: &Transaction<'_>,
    tenant_id: TenantId,
    conversation_id: ConversationId,
    user_id: UserId,
) -> Result<Option<MemberChanged>, Error> {
    const SQL: Statement = Statement::new(
        "conversation_members.find",
        "SELECT m.conversation_id, m.user_id, u.name, u.kind, m.role, m.rev, m.joined_rev, m.removed_at
         FROM conversation_members m JOIN users u ON u.id = m.user_id
         WHERE m.tenant_id = $1 AND m.conversation_id = $2 AND m.user_id = $3",
    );
    let row = db
        .query_opt(&SQL, &[&tenant_id.0, &conversation_id.0, &user_id.0])
        .await?;
    Ok(row.map(|row| member_from_row(&row)))
}

/// A user who may become a member.
#[derive(Debug)]
pub(in crate::commit) struct Candidate {
    pub(in crate::commit) status: UserStatus,
    pub(in crate::commit) guest: bool,
    pub(in crate::commit) user: MemberUser,
}

pub(in crate::commit) async fn find_candidate(
    db: &Transaction<'_>,
    tenant_id: TenantId,
    user_id: UserId,
) -> Result<Option<Candidate>, Error> {
    const SQL: Statement = Statement::new(
        "users.find_candidate",
        "SELECT name, kind, role, status FROM users WHERE tenant_id = $1 AND id = $2",
    );
    let row = db.query_opt(&SQL, &[&tenant_id.0, &user_id.0]).await?;
    Ok(row.map(|row| Candidate {
        status: UserStatus::parse(row.get("status")).unwrap_or(UserStatus::Suspended),
        guest: row.get::<_, &str>("role") == "guest",
        user: MemberUser {
            id: user_id,
            name: row.get::<_, String>("name").into(),
            kind: UserKind::parse(row.get("kind")).unwrap_or(UserKind::Person),
            role: MemberRole::Member,
        },
    }))
}

/// Lets a user join or return, with everything so far marked as read.
pub(in crate::commit) async fn upsert_member(
    db: &Transaction<'_>,
    tenant_id: TenantId,
    member: &MemberChanged,
    last_seq: Seq,
) -> Result<(), Error> {
    const SQL: Statement = Statement::new(
        "conversation_members.upsert",
        "WITH counted AS (UPDATE conversations SET member_count = member_count + 1 WHERE tenant_id = $1 AND id = $2)
         INSERT INTO conversation_members (tenant_id, conversation_id, user_id, role, joined_rev, rev, read_seq)
         VALUES ($1, $2, $3, $4, $5, $5, $6)
         ON CONFLICT (conversation_id, user_id) DO UPDATE
         SET role = excluded.role, joined_rev = excluded.joined_rev, rev = excluded.rev, removed_at = NULL,
             joined_at = now(), read_seq = greatest(conversation_members.read_seq, excluded.read_seq)",
    );
    let params: [&(dyn ToSql + Sync); 6] = [
        &tenant_id.0,
        &member.conversation.0,
        &member.user.id.0,
        &member.user.role.as_str(),
        &member.rev.0,
        &last_seq.0,
    ];
    db.execute(&SQL, &params).await.map(drop)
}

pub(in crate::commit) async fn update_member_role(
    db: &Transaction<'_>,
    tenant_id: TenantId,
    member: &MemberChanged,
) -> Result<(), Error> {
    const SQL: Statement = Statement::new(
        "conversation_members.update_role",
        "UPDATE conversation_members SET role = $4, rev = $5
         WHERE tenant_id = $1 AND conversation_id = $2 AND user_id = $3",
    );
    let role = member.user.role.as_str();
    db.execute(
        &SQL,
        &[
            &tenant_id.0,
            &member.conversation.0,
            &member.user.id.0,
            &role,
            &member.rev.0,
        ],
    )
    .await
    .map(drop)
}

pub(in crate::commit) async fn remove_member(
    db: &Transaction<'_>,
    tenant_id: TenantId,
    conversation_id: ConversationId,
    user_id: UserId,
    removed_by: UserId,
    rev: Rev,
) -> Result<(), Error> {
    const SQL: Statement = Statement::new(
        "conversation_members.remove",
        "WITH counted AS (UPDATE conversations SET member_count = member_count - 1 WHERE tenant_id = $1 AND id = $2)
         UPDATE conversation_members SET removed_at = clock_timestamp(), removed_by = $5, rev = $4
         WHERE tenant_id = $1 AND conversation_id = $2 AND user_id = $3",
    );
    db.execute(
        &SQL,
        &[&tenant_id.0, &conversation_id.0, &user_id.0, &rev.0, &removed_by.0],
    )
    .await
    .map(drop)
}

pub(in crate::commit) async fn count_owners(
    db: &Transaction<'_>,
    tenant_id: TenantId,
    conversation_id: ConversationId,
) -> Result<i64, Error> {
    const SQL: Statement = Statement::new(
        "conversation_members.count_owners",
        "SELECT count(*) AS owners FROM conversation_members
         WHERE tenant_id = $1 AND conversation_id = $2 AND role = 'owner' AND removed_at IS NULL",
    );
    Ok(db
        .query_one(&SQL, &[&tenant_id.0, &conversation_id.0])
        .await?
        .get("owners"))
}

/// Counts a use of an invitation by this user, once; false when it is spent, expired, withdrawn or not of this place, and
/// for whoever was removed from here by somebody else since it was made: an old link does not undo that.
pub(in crate::commit) async fn use_invite(
    db: &Transaction<'_>,
    tenant_id: TenantId,
    conversation_id: ConversationId,
    id: InviteId,
    user_id: UserId,
) -> Result<bool, Error> {
    const SQL: Statement = Statement::new(
        "invites.use",
        "WITH invite AS (
             SELECT id, max_uses, uses FROM invites
             WHERE tenant_id = $1 AND conversation_id = $2 AND id = $3 AND revoked_at IS NULL
               AND (expires_at IS NULL OR expires_at > clock_timestamp())
               AND NOT EXISTS (
                   SELECT FROM conversation_members m WHERE m.conversation_id = $2 AND m.user_id = $4
                     AND m.removed_at >= invites.created_at AND m.removed_by IS DISTINCT FROM $4)
             FOR UPDATE
         ), known AS (
             SELECT 1 FROM invite_uses WHERE invite_id = $3 AND user_id = $4
         ), counted AS (
             UPDATE invites SET uses = invites.uses + 1 FROM invite
             WHERE invites.id = invite.id AND NOT EXISTS (SELECT FROM known)
               AND (invite.max_uses IS NULL OR invite.uses < invite.max_uses)
             RETURNING invites.id
         ), used AS (
             INSERT INTO invite_uses (invite_id, user_id) SELECT id, $4 FROM counted
         )
         SELECT EXISTS (SELECT FROM invite) AND (EXISTS (SELECT FROM known) OR EXISTS (SELECT FROM counted)) AS usable",
    );
    let row = db
        .query_one(&SQL, &[&tenant_id.0, &conversation_id.0, &id.0, &user_id.0])
        .await?;
    Ok(row.get("usable"))
}
