//! The SQL of durable changes: one function a statement, tenant first.
//!
//! Everything here runs inside a writer's transaction, after [`LOCK`] has locked the rows of the group's conversations in
//! the order of their ids (so two writers cannot deadlock). Statements that follow take a fresh snapshot (READ COMMITTED),
//! so they see what earlier holders of the locks have committed: PostgreSQL is the sequencer.

use super::{Operation, Request, digest};
use crate::database::{Error, Statement, Transaction};
use crate::ids::{ConversationId, InviteId, MemberRole, MessageId, Rev, Seq, TenantId, UserId, UserKind, UserStatus};
use crate::wire::frames::{MemberChange, MemberChanged, MemberUser, Message, Reaction, Timestamp};
use bytestring::ByteString;
use tokio_postgres::Row;
use uuid::Uuid;

/// Locks the conversations of a group, in the order of their ids.
pub(super) const LOCK: Statement = Statement::new(
    "conversations.lock",
    "SELECT id FROM conversations WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE",
);

/// Judges and numbers the posts of a group, inserts those that are new, and advances their conversations. Answers one
/// row per post, in the order of the parameters.
pub(super) const APPEND: Statement = Statement::new(
    "messages.append",
    "WITH input AS MATERIALIZED (
         SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::uuid[], $8::bytea[])
             WITH ORDINALITY AS i (tenant_id, conversation_id, id, author_id, kind, body, reply_to, digest, position)
     ), judged AS MATERIALIZED (
         SELECT i.*, c.last_seq, c.rev, known.seq AS known_seq, known.posted_rev AS known_rev,
                known.created_at AS known_at,
                CASE
                    WHEN c.id IS NULL OR m.user_id IS NULL THEN 'not_found'
                    WHEN known.conversation_id = i.conversation_id AND known.author_id = i.author_id
                         AND known.digest = i.digest THEN 'duplicate'
                    WHEN known.id IS NOT NULL THEN 'conflict'
                    WHEN i.reply_to IS NOT NULL AND target.id IS NULL THEN 'no_target'
                    ELSE 'posted'
                END AS verdict
         FROM input i
         LEFT JOIN conversations c
             ON c.id = i.conversation_id AND c.tenant_id = i.tenant_id AND c.deleted_at IS NULL
         LEFT JOIN conversation_members m
             ON m.conversation_id = i.conversation_id AND m.user_id = i.author_id AND m.removed_at IS NULL
         LEFT JOIN messages known ON known.tenant_id = i.tenant_id AND known.id = i.id
         LEFT JOIN messages target
             ON target.tenant_id = i.tenant_id AND target.id = i.reply_to
             AND target.conversation_id = i.conversation_id
     ), numbered AS MATERIALIZED (
         SELECT *, row_number() OVER (PARTITION BY conversation_id, verdict ORDER BY position) AS n,
                date_trunc('milliseconds', statement_timestamp()) AS at
         FROM judged
     ), inserted AS (
         INSERT INTO messages (conversation_id, seq, tenant_id, id, author_id, kind, body, reply_to, posted_rev, rev,
                               digest, created_at)
         SELECT conversation_id, last_seq + n, tenant_id, id, author_id, kind, body, reply_to, rev + n, rev + n, digest,
                at
         FROM numbered WHERE verdict = 'posted'
     ), advanced AS (
         UPDATE conversations c
         SET last_seq = c.last_seq + p.n, rev = c.rev + p.n, last_message_at = p.at
         FROM (SELECT conversation_id, count(*) AS n, max(at) AS at FROM numbered WHERE verdict = 'posted'
               GROUP BY conversation_id) p
         WHERE c.id = p.conversation_id
     )
     SELECT verdict, coalesce(known_seq, last_seq + n) AS seq, coalesce(known_rev, rev + n) AS rev,
            coalesce(known_at, at) AS created_at
     FROM numbered ORDER BY position",
);

/// What became of one post.
#[derive(Debug)]
pub(super) struct Posted {
    pub(super) verdict: PostVerdict,
    pub(super) seq: Seq,
    pub(super) rev: Rev,
    pub(super) created_at: Timestamp,
}

/// The judgement on one post.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PostVerdict {
    Posted,
    Duplicate,
    Conflict,
    NotFound,
    NoTarget,
}

/// The posts of a group as the arrays that [`APPEND`] takes.
#[derive(Default)]
pub(super) struct PostColumns<'a> {
    tenant_ids: Vec<Uuid>,
    conversation_ids: Vec<Uuid>,
    ids: Vec<Uuid>,
    author_ids: Vec<Uuid>,
    kinds: Vec<&'static str>,
    bodies: Vec<&'a str>,
    reply_tos: Vec<Option<Uuid>>,
    digests: Vec<Vec<u8>>,
}

impl<'a> PostColumns<'a> {
    pub(super) fn of(posts: &'a [Operation]) -> Self {
        let mut columns = Self::default();
        for operation in posts {
            let Request::Post { id, body, reply_to } = &operation.request else {
                continue;
            };
            columns.tenant_ids.push(operation.tenant_id.0);
            columns.conversation_ids.push(operation.conversation_id.0);
            columns.ids.push(id.0);
            columns.author_ids.push(operation.actor_id.0);
            columns.kinds.push(operation.actor_kind.as_str());
            columns.bodies.push(body);
            columns.reply_tos.push(reply_to.map(|id| id.0));
            columns.digests.push(digest(body, *reply_to).to_vec());
        }
        columns
    }

    pub(super) fn params(&self) -> [&(dyn tokio_postgres::types::ToSql + Sync); 8] {
        [
            &self.tenant_ids,
            &self.conversation_ids,
            &self.ids,
            &self.author_ids,
            &self.kinds,
            &self.bodies,
            &self.reply_tos,
            &self.digests,
        ]
    }
}

pub(super) fn posted_from_row(row: &Row) -> Posted {
    let verdict = match row.get("verdict") {
        "posted" => PostVerdict::Posted,
        "duplicate" => PostVerdict::Duplicate,
        "conflict" => PostVerdict::Conflict,
        "no_target" => PostVerdict::NoTarget,
        _ => PostVerdict::NotFound,
    };
    Posted {
        verdict,
        seq: Seq(row.get::<_, Option<i64>>("seq").unwrap_or_default()),
        rev: Rev(row.get::<_, Option<i64>>("rev").unwrap_or_default()),
        created_at: row.get("created_at"),
    }
}

/// The columns of [`message_from_row`], for a `messages` table named `m`; a macro, so that `concat!` takes it.
macro_rules! message_columns {
    () => {
        "m.conversation_id, m.seq, m.id, m.author_id, m.kind, m.body, m.reply_to, m.posted_rev, m.rev, m.created_at,
         m.edited_at, m.deleted_at,
         (SELECT json_agg(json_build_object('emoji', r.emoji, 'count', r.count, 'users', r.users)
                          ORDER BY r.first, r.emoji)
          FROM (SELECT emoji, count(*) AS count, min(created_at) AS first,
                       (array_agg(user_id ORDER BY created_at, user_id))[1:20] AS users
                FROM reactions WHERE conversation_id = m.conversation_id AND seq = m.seq GROUP BY emoji) r) AS reactions"
    };
}
pub(crate) use message_columns;

/// A message as it stands now.
#[must_use]
pub fn message_from_row(row: &Row) -> Message {
    let reactions: Option<tokio_postgres::types::Json<Vec<Reaction>>> = row.get("reactions");
    Message {
        conversation: ConversationId(row.get("conversation_id")),
        rev: Rev(row.get("rev")),
        seq: Seq(row.get("seq")),
        id: MessageId(row.get("id")),
        author: UserId(row.get("author_id")),
        kind: UserKind::parse(row.get("kind")).unwrap_or(UserKind::Person),
        body: row.get::<_, Option<String>>("body").map(ByteString::from),
        reply_to: row.get::<_, Option<Uuid>>("reply_to").map(MessageId),
        created_at: row.get("created_at"),
        edited_at: row.get("edited_at"),
        deleted_at: row.get("deleted_at"),
        reactions: reactions.map(|json| json.0).unwrap_or_default(),
        posted_rev: Rev(row.get("posted_rev")),
    }
}

/// A membership as it stands now; a removed one as `removed`. Columns: `conversation_id`, `user_id`, `name`, `kind`,
/// `role`, `rev`, `joined_rev`, `removed_at`.
#[must_use]
pub fn member_from_row(row: &Row) -> MemberChanged {
    let removed: Option<Timestamp> = row.get("removed_at");
    let (rev, joined_rev) = (Rev(row.get("rev")), Rev(row.get("joined_rev")));
    let change = match removed {
        Some(_) => MemberChange::Removed,
        None if rev == joined_rev => MemberChange::Added,
        None => MemberChange::Changed,
    };
    MemberChanged {
        conversation: ConversationId(row.get("conversation_id")),
        rev,
        user: MemberUser {
            id: UserId(row.get("user_id")),
            name: row.get::<_, String>("name").into(),
            kind: UserKind::parse(row.get("kind")).unwrap_or(UserKind::Person),
            role: MemberRole::parse(row.get("role")).unwrap_or(MemberRole::Member),
        },
        change,
        joined_rev,
    }
}

/// A conversation under lock.
#[derive(Debug)]
pub(super) struct LockedConversation {
    pub(super) title: String,
    pub(super) last_seq: Seq,
    pub(super) properties_rev: Rev,
    pub(super) member_count: i32,
    pub(super) is_deleted: bool,
}

pub(super) async fn load_conversation(
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
pub(super) async fn advance_rev(db: &Transaction<'_>, tenant_id: TenantId, id: ConversationId) -> Result<Rev, Error> {
    const SQL: Statement = Statement::new(
        "conversations.advance_rev",
        "UPDATE conversations SET rev = rev + 1 WHERE tenant_id = $1 AND id = $2 RETURNING rev",
    );
    Ok(Rev(db.query_one(&SQL, &[&tenant_id.0, &id.0]).await?.get("rev")))
}

pub(super) async fn update_title(
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

pub(super) async fn delete_conversation(
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

pub(super) async fn find_message(
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

pub(super) async fn update_body(
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
pub(super) async fn delete_message(
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
pub(super) async fn touch_message(
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
pub(super) async fn has_reaction(
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

pub(super) async fn insert_reaction(
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

pub(super) async fn delete_reaction(
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
pub(super) async fn find_member(
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
pub(super) struct Candidate {
    pub(super) status: UserStatus,
    pub(super) guest: bool,
    pub(super) user: MemberUser,
}

pub(super) async fn find_candidate(
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
pub(super) async fn upsert_member(
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
    let params: [&(dyn tokio_postgres::types::ToSql + Sync); 6] = [
        &tenant_id.0,
        &member.conversation.0,
        &member.user.id.0,
        &member.user.role.as_str(),
        &member.rev.0,
        &last_seq.0,
    ];
    db.execute(&SQL, &params).await.map(drop)
}

pub(super) async fn update_member_role(
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

pub(super) async fn remove_member(
    db: &Transaction<'_>,
    tenant_id: TenantId,
    conversation_id: ConversationId,
    user_id: UserId,
    rev: Rev,
) -> Result<(), Error> {
    const SQL: Statement = Statement::new(
        "conversation_members.remove",
        "WITH counted AS (UPDATE conversations SET member_count = member_count - 1 WHERE tenant_id = $1 AND id = $2)
         UPDATE conversation_members SET removed_at = clock_timestamp(), rev = $4
         WHERE tenant_id = $1 AND conversation_id = $2 AND user_id = $3",
    );
    db.execute(&SQL, &[&tenant_id.0, &conversation_id.0, &user_id.0, &rev.0])
        .await
        .map(drop)
}

pub(super) async fn count_owners(
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

/// Counts a use of an invitation by this user, once; false when it is spent, expired, withdrawn or not of this place.
pub(super) async fn use_invite(
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

/// Moves read markers forward; at most one row per member.
pub(super) async fn move_read_markers(
    db: &crate::database::Client,
    conversation_ids: &[Uuid],
    user_ids: &[Uuid],
    seqs: &[i64],
) -> Result<(), Error> {
    const SQL: Statement = Statement::new(
        "conversation_members.move_read_markers",
        "UPDATE conversation_members m SET read_seq = i.seq
         FROM unnest($1::uuid[], $2::uuid[], $3::bigint[]) AS i (conversation_id, user_id, seq)
         WHERE m.conversation_id = i.conversation_id AND m.user_id = i.user_id AND m.read_seq < i.seq",
    );
    db.execute(&SQL, &[&conversation_ids, &user_ids, &seqs]).await.map(drop)
}
