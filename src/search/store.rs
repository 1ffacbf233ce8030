//! The SQL of searching: which slices, what may be in them, what is not in the index yet, and what
//! the messages say now.

use super::request::Criteria;
use super::results::FoundConversation;
use super::rounds::{Hit, SLICES_MAX, Slice};
use super::slices::SliceKey;
use crate::auth::Access;
use crate::commit::{mark_own, message_columns, message_from_row};
use crate::database::{Client, Error, Statement, Transaction};
use crate::ids::{ConversationId, Rev};
use crate::wire::frames::Message;
use std::time::Duration;
use tokio_postgres::Row;
use uuid::Uuid;

/// The slices of the caller's conversations that may hold something, youngest first; one more than
/// may be looked through if there are more. The oldest message of a slice says where it and the one
/// before end; for the first slice the conversation's own beginning is near enough.
///
/// A slice is fresh, so that a replica may not have it, when something in it is younger than ten
/// seconds, or was indexed in the last ten.
pub(super) async fn list_slices(
    db: &Client,
    access: Access,
    only: Option<ConversationId>,
    criteria: &Criteria<'_>,
) -> Result<Vec<Slice>, Error> {
    const SQL: Statement = Statement::new(
        "search.list_slices",
        "WITH mine AS (
             SELECT c.id, c.last_seq, c.created_at, coalesce(c.last_message_at, c.created_at) AS last_message_at,
                    CASE WHEN coalesce(p.through_rev, 0) < c.rev THEN coalesce(p.through_rev, 0) END AS unindexed_after,
                    coalesce(p.indexed_at > now() - interval '10 seconds', false) AS is_just_indexed
             FROM conversation_members m JOIN conversations c ON c.id = m.conversation_id
             LEFT JOIN search_positions p ON p.conversation_id = c.id
             WHERE m.user_id = $2 AND m.removed_at IS NULL AND c.tenant_id = $1 AND c.deleted_at IS NULL
               AND c.last_seq > 0 AND ($3::uuid IS NULL OR c.id = $3)
         ), slices AS (
             SELECT mine.id, mine.last_message_at, mine.unindexed_after, mine.is_just_indexed, n,
                    CASE WHEN n = 0 THEN mine.created_at
                         ELSE (SELECT m.created_at FROM messages m WHERE m.conversation_id = mine.id AND m.seq = n << 13)
                    END AS oldest_at
             FROM mine CROSS JOIN LATERAL generate_series(0, mine.last_seq >> 13) AS n
         ), bounded AS (
             SELECT *, coalesce(lead(oldest_at) OVER (PARTITION BY id ORDER BY n), last_message_at) AS newest_at
             FROM slices
         )
         SELECT id, n, newest_at, unindexed_after,
                is_just_indexed OR newest_at > now() - interval '10 seconds' AS is_fresh
         FROM bounded
         WHERE ($4::timestamptz IS NULL OR newest_at > $4) AND ($5::timestamptz IS NULL OR oldest_at <= $5)
         ORDER BY newest_at DESC, id, n DESC LIMIT $6",
    );
    let most = i64::try_from(SLICES_MAX).unwrap_or(i64::MAX) + 1;
    let (tenant, user, only) = (access.tenant_id.0, access.user_id.0, only.map(|id| id.0));
    let rows = db
        .query(
            &SQL,
            &[&tenant, &user, &only, &criteria.after, &criteria.until(), &most],
        )
        .await?;
    let slice = |row: &Row| Slice {
        conversation: row.get("id"),
        n: row.get("n"),
        newest_at: row.get("newest_at"),
        is_fresh: row.get("is_fresh"),
        unindexed_after: row.get::<_, Option<i64>>("unindexed_after").map(Rev),
    };
    Ok(rows.iter().map(slice).collect())
}

/// Whether the caller is a member of a conversation.
pub(super) async fn is_member(db: &Client, access: Access, id: ConversationId) -> Result<bool, Error> {
    const SQL: Statement = Statement::new(
        "search.is_member",
        "SELECT EXISTS (
             SELECT FROM conversations c JOIN conversation_members p ON p.conversation_id = c.id
             WHERE c.tenant_id = $1 AND c.id = $2 AND c.deleted_at IS NULL AND p.user_id = $3 AND p.removed_at IS NULL)",
    );
    let row = db
        .query_one(&SQL, &[&access.tenant_id.0, &id.0, &access.user_id.0])
        .await?;
    Ok(row.get(0))
}

/// Most messages of a conversation that are read because they are not in the index.
pub(super) const UNINDEXED_EACH_MAX: i64 = 1_000;
/// Most of them in all conversations together.
const UNINDEXED_MAX: i64 = 10_000;
/// Most bytes of their bodies.
const UNINDEXED_BYTES_MAX: i64 = 4 << 20;

/// A message that may be a hit, with its body where that has to be judged.
pub(super) struct Candidate {
    pub(super) hit: Hit,
    pub(super) body: Option<String>,
}

/// The messages that are not in the index, of conversations and beyond the revisions given, that
/// meet the criteria but for the words; the youngest of them, and whether there are more.
pub(super) async fn read_unindexed(
    db: &Client,
    access: Access,
    beyond: &[(Uuid, Rev)],
    criteria: &Criteria<'_>,
) -> Result<(Vec<Candidate>, bool), Error> {
    const SQL: Statement = Statement::new(
        "search.read_unindexed",
        "WITH unindexed AS MATERIALIZED (
             SELECT m.*
             FROM unnest($2::uuid[], $3::bigint[]) AS beyond (conversation_id, rev)
             CROSS JOIN LATERAL (
                 SELECT m.conversation_id, m.seq, m.id, m.author_id, m.created_at, m.deleted_at, m.body,
                        count(*) OVER () > $4::bigint AS is_cut
                 FROM (SELECT * FROM messages m
                       WHERE m.conversation_id = beyond.conversation_id AND m.rev > beyond.rev AND m.tenant_id = $1
                       ORDER BY m.rev DESC LIMIT $4::bigint + 1) m
                 ORDER BY m.rev DESC LIMIT $4) m
         ), numbered AS (
             SELECT *, count(*) OVER youngest AS n, sum(octet_length(body)) OVER youngest AS bytes,
                    bool_or(is_cut) OVER () AS is_any_cut
             FROM unindexed
             WINDOW youngest AS (ORDER BY created_at DESC, id DESC)
         )
         SELECT conversation_id, seq, id, created_at, is_any_cut,
                n > $5::bigint OR bytes > $6::bigint AS is_beyond, CASE WHEN n <= $5 AND bytes <= $6 THEN body END AS body
         FROM numbered
         WHERE deleted_at IS NULL AND n <= $5 + 1
           AND ($7::uuid IS NULL OR author_id = $7)
           AND ($8::timestamptz IS NULL OR created_at > $8) AND ($9::timestamptz IS NULL OR created_at < $9)
           AND ($10::timestamptz IS NULL OR (created_at, id) < ($10, $11::uuid))",
    );
    let (conversations, revs): (Vec<Uuid>, Vec<i64>) = beyond.iter().map(|(id, rev)| (*id, rev.0)).unzip();
    let author = criteria.author.map(|id| id.0);
    let (from, from_id) = criteria.from.map(|from| (from.created_at, from.id)).unzip();
    let rows = db
        .query(
            &SQL,
            &[
                &access.tenant_id.0,
                &conversations,
                &revs,
                &UNINDEXED_EACH_MAX,
                &UNINDEXED_MAX,
                &UNINDEXED_BYTES_MAX,
                &author,
                &criteria.after,
                &criteria.before,
                &from,
                &from_id,
            ],
        )
        .await?;
    let is_cut = rows
        .iter()
        .any(|row| row.get("is_any_cut") || row.get::<_, Option<bool>>("is_beyond") == Some(true));
    Ok((rows.iter().map(candidate_from_row).collect(), is_cut))
}

/// The youngest messages of some slices that may be hits and meet the criteria, at most `limit`,
/// older than `older_than`; the statement is cancelled where that would take longer than `time`.
/// With their bodies, unless every candidate is a hit.
///
/// The condition on words stands inside, so that the index on them is the only one that can be
/// used, and the plan is made for these words each time: a plan for any words, or made while the
/// table was empty, would read it whole.
pub(super) async fn find_candidates(
    db: &mut Client,
    access: Access,
    slices: &[Slice],
    criteria: &Criteria<'_>,
    older_than: Option<Hit>,
    limit: usize,
    time: Duration,
) -> Result<Vec<Candidate>, Error> {
    const PLAN: Statement = Statement::new(
        "search.plan",
        "SELECT set_config('enable_seqscan', 'off', true), set_config('plan_cache_mode', 'force_custom_plan', true),
                set_config('statement_timeout', $1, true)",
    );
    const SQL: Statement = Statement::new(
        "search.find_hits",
        "SELECT m.conversation_id, m.seq, m.id, m.created_at, CASE WHEN $10 THEN m.body END AS body
         FROM (SELECT i.tenant_id, i.conversation_id, i.seq FROM search_index i
               WHERE i.words @@ ANY($2::text[]::tsquery[]) OFFSET 0) i
         JOIN messages m ON m.conversation_id = i.conversation_id AND m.seq = i.seq
         WHERE i.tenant_id = $1 AND i.conversation_id = ANY($3::uuid[]) AND m.deleted_at IS NULL
           AND ($4::uuid IS NULL OR m.author_id = $4)
           AND ($5::timestamptz IS NULL OR m.created_at > $5) AND ($6::timestamptz IS NULL OR m.created_at < $6)
           AND ($7::timestamptz IS NULL OR (m.created_at, m.id) < ($7, $8::uuid))
         ORDER BY m.created_at DESC, m.id DESC LIMIT $9",
    );
    let queries: Vec<String> = slices
        .iter()
        .map(|slice| {
            criteria
                .query
                .candidates(SliceKey::of(ConversationId(slice.conversation), slice.n))
        })
        .collect();
    let conversations: Vec<Uuid> = slices.iter().map(|slice| slice.conversation).collect();
    let author = criteria.author.map(|id| id.0);
    let of_request = criteria.from.map(|from| (from.created_at, from.id));
    let (from, from_id) = older_than.map(|hit| (hit.created_at, hit.id)).or(of_request).unzip();
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let transaction = db.read_snapshot().await?;
    let time = time.min(transaction.statement_timeout()).as_millis().to_string();
    transaction.query_one(&PLAN, &[&time]).await?;
    let rows = transaction
        .query(
            &SQL,
            &[
                &access.tenant_id.0,
                &queries,
                &conversations,
                &author,
                &criteria.after,
                &criteria.before,
                &from,
                &from_id,
                &limit,
                &!criteria.query.is_exact(),
            ],
        )
        .await?;
    end(transaction).await?;
    Ok(rows.iter().map(candidate_from_row).collect())
}

fn candidate_from_row(row: &Row) -> Candidate {
    Candidate {
        hit: Hit {
            created_at: row.get("created_at"),
            id: row.get("id"),
            conversation: row.get("conversation_id"),
            seq: row.get("seq"),
        },
        body: row.get("body"),
    }
}

/// Ends what only read; the connection goes back without its settings.
async fn end(transaction: Transaction<'_>) -> Result<(), Error> {
    transaction.rollback().await
}

/// A message that was found, as it is now.
pub(super) struct ReadHit {
    pub(super) message: Message,
    pub(super) conversation: FoundConversation,
}

/// What was found, as it stands now, youngest first: without what was deleted, or stands where the
/// caller is not a member any more. Whether it still says what was asked for is not judged here.
pub(super) async fn read(db: &Client, access: Access, hits: &[Hit]) -> Result<Vec<ReadHit>, Error> {
    const SQL: Statement = Statement::new(
        "search.read",
        concat!(
            "SELECT c.title, ",
            message_columns!(),
            " FROM unnest($3::uuid[], $4::bigint[]) AS hit (conversation_id, seq)
             CROSS JOIN LATERAL (
                 SELECT c.title FROM conversations c
                 WHERE c.id = hit.conversation_id AND c.tenant_id = $1 AND c.deleted_at IS NULL LIMIT 1) c
             CROSS JOIN LATERAL (
                 SELECT FROM conversation_members p
                 WHERE p.conversation_id = hit.conversation_id AND p.user_id = $2 AND p.removed_at IS NULL LIMIT 1) p
             CROSS JOIN LATERAL (
                 SELECT * FROM messages x
                 WHERE x.conversation_id = hit.conversation_id AND x.seq = hit.seq AND x.deleted_at IS NULL LIMIT 1) m
             ORDER BY m.created_at DESC, m.id DESC"
        ),
    );
    let conversations: Vec<Uuid> = hits.iter().map(|hit| hit.conversation).collect();
    let seqs: Vec<i64> = hits.iter().map(|hit| hit.seq).collect();
    let (tenant, user) = (access.tenant_id.0, access.user_id.0);
    let rows = db.query(&SQL, &[&tenant, &user, &conversations, &seqs]).await?;
    let read = |row: &Row| {
        let message = message_from_row(row);
        ReadHit {
            conversation: FoundConversation {
                id: message.conversation,
                title: row.get("title"),
            },
            message,
        }
    };
    let mut hits: Vec<_> = rows.iter().map(read).collect();
    mark_own(db, access.user_id, hits.iter_mut().map(|hit| &mut hit.message)).await?;
    Ok(hits)
}
