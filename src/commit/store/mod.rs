//! The SQL of durable changes: one function a statement, tenant first.
//!
//! Everything here runs inside a writer's transaction, after [`LOCK`] has locked the rows of the group's conversations in
//! the order of their ids (so two writers cannot deadlock). Statements that follow take a fresh snapshot (READ COMMITTED),
//! so they see what earlier holders of the locks have committed: PostgreSQL is the sequencer.

mod changes;

pub(super) use changes::*;

use super::{Operation, Request, digest};
use crate::database::{Error, Statement};
use crate::ids::{ConversationId, MemberRole, MessageId, Rev, Seq, UserId, UserKind};
use crate::wire::frames::{MemberChange, MemberChanged, MemberUser, Message, Reaction, Timestamp};
use bytestring::ByteString;
use tokio_postgres::Row;
use uuid::Uuid;

/// Locks the conversations of a group, in the order of their ids.
pub(in crate::commit) const LOCK: Statement = Statement::new(
    "conversations.lock",
    "SELECT id FROM conversations WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE",
);

/// Judges and numbers the posts of a group, inserts those that are new, and advances their conversations. Answers one
/// row per post, in the order of the parameters.
///
/// The plan is made once for each connection, maybe while every table is empty, and must be good for ever: each look-up
/// is a lateral one with a limit, so that it can only be a probe of an index for each post, and never a scan of the whole
/// table for each group; the update names the group's conversations once more for the same reason.
pub(in crate::commit) const APPEND: Statement = Statement::new(
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
                    WHEN i.reply_to IS NOT NULL AND target.conversation_id IS DISTINCT FROM i.conversation_id
                         THEN 'no_target'
                    ELSE 'posted'
                END AS verdict
         FROM input i
         LEFT JOIN LATERAL (
             SELECT c.id, c.last_seq, c.rev FROM conversations c
             WHERE c.id = i.conversation_id AND c.tenant_id = i.tenant_id AND c.deleted_at IS NULL LIMIT 1) c ON true
         LEFT JOIN LATERAL (
             SELECT m.user_id FROM conversation_members m
             WHERE m.conversation_id = i.conversation_id AND m.user_id = i.author_id AND m.removed_at IS NULL
             LIMIT 1) m ON true
         LEFT JOIN LATERAL (
             SELECT m.* FROM messages m WHERE m.tenant_id = i.tenant_id AND m.id = i.id LIMIT 1) known ON true
         LEFT JOIN LATERAL (
             SELECT m.conversation_id FROM messages m WHERE m.tenant_id = i.tenant_id AND m.id = i.reply_to
             LIMIT 1) target ON true
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
         WHERE c.id = p.conversation_id AND c.id = ANY($2)
     )
     SELECT verdict, coalesce(known_seq, last_seq + n) AS seq, coalesce(known_rev, rev + n) AS rev,
            coalesce(known_at, at) AS created_at
     FROM numbered ORDER BY position",
);

/// What became of one post.
#[derive(Debug)]
pub(in crate::commit) struct Posted {
    pub(in crate::commit) verdict: PostVerdict,
    pub(in crate::commit) seq: Seq,
    pub(in crate::commit) rev: Rev,
    pub(in crate::commit) created_at: Timestamp,
}

/// The judgement on one post.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::commit) enum PostVerdict {
    Posted,
    Duplicate,
    Conflict,
    NotFound,
    NoTarget,
}

/// The posts of a group as the arrays that [`APPEND`] takes.
#[derive(Default)]
pub(in crate::commit) struct PostColumns<'a> {
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
    pub(in crate::commit) fn of(posts: &'a [Operation]) -> Self {
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

    pub(in crate::commit) fn params(&self) -> [&(dyn tokio_postgres::types::ToSql + Sync); 8] {
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

pub(in crate::commit) fn posted_from_row(row: &Row) -> Posted {
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

/// Moves read markers forward; at most one row per member.
pub(in crate::commit) async fn move_read_markers(
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
