//! Posts: numbered and inserted, a whole group by one statement.
//!
//! There are two. [`APPEND_NEW`] is for groups in which every post is new, and nearly every group is
//! such: it does not look for earlier posts of the same id, and fails by their unique index where
//! there is one. [`APPEND`] looks, and judges. A group that the first refuses is given to the second
//! ([ADR 0024](../../../docs/adr/0024-the-append-expects-new-posts.md)).

use crate::commit::digest::digest;
use crate::commit::operation::{Operation, Request};
use crate::database::Statement;
use crate::ids::{Rev, Seq};
use crate::wire::frames::Timestamp;
use tokio_postgres::Row;
use uuid::Uuid;

/// Locks the conversations of a group, in the order of their ids.
pub(in crate::commit) const LOCK: Statement = Statement::new(
    "conversations.lock",
    "SELECT id FROM conversations WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE",
);

/// Judges and numbers the posts of a group, inserts those that are new, and advances their
/// conversations. Returns one row for each post, in the order of the parameters.
///
/// The plan is made once for each connection, maybe while every table is empty, and must be good
/// for ever. So each look-up is a lateral one with a limit: it can only be a probe of an index for
/// each post, and never a scan of the whole table for each group. The update names the group's
/// conversations once more for the same reason.
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

/// The same for a group of posts of which none is known: fails with a violation of
/// `messages_tenant_id_id_key` where one is.
///
/// Cheaper than [`APPEND`] in three ways. It probes each conversation once and not for each post; it
/// does not probe for known posts; and bodies are not carried through the steps in between: these
/// work on places in arrays, and make the arrays of numbers with which the bodies are unnested at
/// the end. `$9` has each conversation of the group once, `$10` the place of each post's in it, from 1.
pub(in crate::commit) const APPEND_NEW: Statement = Statement::new(
    "messages.append_new",
    "WITH found AS MATERIALIZED (
         SELECT array_agg(coalesce(c.tenant_id, '00000000-0000-0000-0000-000000000000') ORDER BY g.place) AS tenants,
                array_agg(coalesce(c.last_seq, 0) ORDER BY g.place) AS seqs,
                array_agg(coalesce(c.rev, 0) ORDER BY g.place) AS revs
         FROM unnest($9::uuid[]) WITH ORDINALITY AS g (id, place)
         LEFT JOIN LATERAL (
             SELECT c.tenant_id, c.last_seq, c.rev FROM conversations c
             WHERE c.id = g.id AND c.deleted_at IS NULL LIMIT 1) c ON true
     ), judged AS MATERIALIZED (
         SELECT i.position, i.place, found.seqs[i.place] AS last_seq, found.revs[i.place] AS rev,
                CASE
                    WHEN found.tenants[i.place] <> i.tenant_id OR m.user_id IS NULL THEN 1
                    WHEN i.reply_to IS NOT NULL AND target.conversation_id IS DISTINCT FROM i.conversation_id THEN 2
                    ELSE 0
                END AS verdict
         FROM found, unnest($1::uuid[], $2::uuid[], $4::uuid[], $7::uuid[], $10::int[]) WITH ORDINALITY
              AS i (tenant_id, conversation_id, author_id, reply_to, place, position)
         LEFT JOIN LATERAL (
             SELECT m.user_id FROM conversation_members m
             WHERE m.conversation_id = i.conversation_id AND m.user_id = i.author_id AND m.removed_at IS NULL
             LIMIT 1) m ON true
         LEFT JOIN LATERAL (
             SELECT m.conversation_id FROM messages m
             WHERE i.reply_to IS NOT NULL AND m.tenant_id = i.tenant_id AND m.id = i.reply_to LIMIT 1) target ON true
     ), numbered AS MATERIALIZED (
         SELECT position, place, verdict, last_seq, rev,
                CASE WHEN verdict = 0 THEN row_number() OVER (PARTITION BY place, verdict ORDER BY position) END AS n
         FROM judged
     ), numbers AS MATERIALIZED (
         SELECT array_agg(last_seq + n ORDER BY position) AS seqs, array_agg(rev + n ORDER BY position) AS revs
         FROM numbered
     ), inserted AS (
         INSERT INTO messages (conversation_id, seq, tenant_id, id, author_id, kind, body, reply_to, posted_rev, rev,
                               digest, created_at)
         SELECT i.conversation_id, i.seq, i.tenant_id, i.id, i.author_id, i.kind, i.body, i.reply_to, i.rev, i.rev,
                i.digest, date_trunc('milliseconds', statement_timestamp())
         FROM numbers, unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::uuid[],
                              $8::bytea[], numbers.seqs, numbers.revs)
              AS i (tenant_id, conversation_id, id, author_id, kind, body, reply_to, digest, seq, rev)
         WHERE i.seq IS NOT NULL
     ), advanced AS (
         UPDATE conversations c
         SET last_seq = c.last_seq + p.n, rev = c.rev + p.n,
             last_message_at = date_trunc('milliseconds', statement_timestamp())
         FROM (SELECT place, max(n) AS n FROM numbered WHERE verdict = 0 GROUP BY place) p
         WHERE c.id = ($9::uuid[])[p.place]
     )
     SELECT CASE verdict WHEN 0 THEN 'posted' WHEN 1 THEN 'not_found' ELSE 'no_target' END AS verdict,
            last_seq + n AS seq, rev + n AS rev, date_trunc('milliseconds', statement_timestamp()) AS created_at
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
    /// The place of each post's conversation in the list of them, from 1.
    places: Vec<i32>,
}

impl<'a> PostColumns<'a> {
    /// `conversations` has those of the posts, each once, sorted.
    pub(in crate::commit) fn of(posts: &'a [Operation], conversations: &[Uuid]) -> Self {
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
            let place = conversations.partition_point(|id| *id < operation.conversation_id.0) + 1;
            columns.places.push(i32::try_from(place).unwrap_or(i32::MAX));
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

    /// The parameters of [`APPEND_NEW`].
    pub(in crate::commit) fn params_new<'b>(
        &'b self,
        conversations: &'b Vec<Uuid>,
    ) -> [&'b (dyn tokio_postgres::types::ToSql + Sync); 10] {
        let [a, b, c, d, e, f, g, h] = self.params();
        [a, b, c, d, e, f, g, h, conversations, &self.places]
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
