//! Members: joining, leaving, roles, and the use of invitations.

use crate::commit::rows::member_from_row;
use crate::database::{Error, Statement, Transaction};
use crate::ids::{ConversationId, InviteId, MemberRole, Rev, Seq, TenantId, UserId, UserKind, UserStatus};
use crate::wire::frames::{MemberChanged, MemberUser};
use tokio_postgres::types::ToSql;

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
    /// Whether they have blocked the one who adds them, or declined this conversation.
    pub(in crate::commit) refuses: bool,
    pub(in crate::commit) user: MemberUser,
}

pub(in crate::commit) async fn find_candidate(
    db: &Transaction<'_>,
    tenant_id: TenantId,
    conversation_id: ConversationId,
    user_id: UserId,
    added_by: UserId,
) -> Result<Option<Candidate>, Error> {
    const SQL: Statement = Statement::new(
        "users.find_candidate",
        "SELECT name, kind, role, status,
                EXISTS (SELECT FROM user_blocks b WHERE b.tenant_id = $1 AND b.user_id = $2 AND b.blocked_id = $3)
                OR EXISTS (SELECT FROM declined_conversations d WHERE d.tenant_id = $1 AND d.user_id = $2
                             AND d.conversation_id = $4) AS refuses
         FROM users WHERE tenant_id = $1 AND id = $2",
    );
    let row = db
        .query_opt(&SQL, &[&tenant_id.0, &user_id.0, &added_by.0, &conversation_id.0])
        .await?;
    Ok(row.map(|row| Candidate {
        status: UserStatus::parse(row.get("status")).unwrap_or(UserStatus::Suspended),
        guest: row.get::<_, &str>("role") == "guest",
        refuses: row.get("refuses"),
        user: MemberUser {
            id: user_id,
            name: row.get::<_, String>("name").into(),
            kind: UserKind::parse(row.get("kind")).unwrap_or(UserKind::Person),
            role: MemberRole::Member,
        },
    }))
}

/// Forgets that a user declined a conversation: they have come back by themselves.
pub(in crate::commit) async fn delete_declined(
    db: &Transaction<'_>,
    tenant_id: TenantId,
    conversation_id: ConversationId,
    user_id: UserId,
) -> Result<(), Error> {
    const SQL: Statement = Statement::new(
        "declined_conversations.delete",
        "DELETE FROM declined_conversations WHERE tenant_id = $1 AND conversation_id = $2 AND user_id = $3",
    );
    db.execute(&SQL, &[&tenant_id.0, &conversation_id.0, &user_id.0])
        .await
        .map(drop)
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

/// Counts a use of an invitation by this user, once. False when it is spent, expired, withdrawn, not
/// of this place, or of somebody who may not invite here any more. Also for a user who was removed
/// from here by someone else since it was made: an old link does not undo that.
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
               AND EXISTS (SELECT FROM inviters n WHERE n.tenant_id = $1 AND n.conversation_id = $2
                             AND n.user_id = invites.created_by)
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
