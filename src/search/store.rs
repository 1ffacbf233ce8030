//! The SQL of search: which slices, what is in them, and what it says now.

use super::request::Criteria;
use super::results::FoundConversation;
use super::rounds::{Hit, SLICES_MAX, Slice};
use super::snippet::{HIT_BEGINS, HIT_ENDS};

use crate::auth::Access;
use crate::commit::{message_columns, message_from_row};
use crate::database::{Client, Error, Statement, Transaction};
use crate::ids::ConversationId;
use crate::wire::frames::Message;
use std::time::Duration;
use tokio_postgres::Row;
use uuid::Uuid;

/// The slices of the caller's conversations that may hold something, youngest first; one more than
/// may be looked through if there are more. None when the query asks for no word. The oldest
/// message of a slice says where it and the one before end; for the first slice the conversation's
/// own beginning is near enough.
pub(super) async fn list_slices(
    db: &Client,
    access: Access,
    only: Option<ConversationId>,
    criteria: &Criteria<'_>,
) -> Result<Vec<Slice>, Error> {
    const SQL: Statement = Statement::new(
        "search.list_slices",
        "WITH mine AS (
             SELECT c.id, c.last_seq, c.created_at, coalesce(c.last_message_at, c.created_at) AS last_message_at
             FROM conversation_members p JOIN conversations c ON c.id = p.conversation_id
             WHERE p.user_id = $2 AND p.removed_at IS NULL AND c.tenant_id = $1 AND c.deleted_at IS NULL
               AND c.last_seq > 0 AND ($3::uuid IS NULL OR c.id = $3)
               AND (SELECT querytree(search_query($4)) NOT IN ('', 'T'))
         ), slices AS (
             SELECT mine.id, mine.last_message_at, n,
                    CASE WHEN n = 0 THEN mine.created_at
                         ELSE (SELECT m.created_at FROM messages m WHERE m.conversation_id = mine.id AND m.seq = n << 13)
                    END AS oldest_at
             FROM mine CROSS JOIN LATERAL generate_series(0, mine.last_seq >> 13) AS n
         ), bounded AS (
             SELECT id, n, oldest_at,
                    coalesce(lead(oldest_at) OVER (PARTITION BY id ORDER BY n), last_message_at) AS newest_at
             FROM slices
         )
         SELECT id, search_slice(id, n << 13) AS key, newest_at, newest_at > now() - interval '10 seconds' AS is_fresh
         FROM bounded
         WHERE ($5::timestamptz IS NULL OR newest_at > $5) AND ($6::timestamptz IS NULL OR oldest_at <= $6)
         ORDER BY newest_at DESC, id, n DESC LIMIT $7",
    );
    let most = i64::try_from(SLICES_MAX).unwrap_or(i64::MAX) + 1;
    let (tenant, user, only) = (access.tenant_id.0, access.user_id.0, only.map(|id| id.0));
    let rows = db
        .query(
            &SQL,
            &[
                &tenant,
                &user,
                &only,
                &criteria.words,
                &criteria.after,
                &criteria.until(),
                &most,
            ],
        )
        .await?;
    let slice = |row: &Row| Slice {
        key: row.get("key"),
        conversation: row.get("id"),
        newest_at: row.get("newest_at"),
        is_fresh: row.get("is_fresh"),
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

/// The youngest messages of some slices that meet the criteria, at most `limit`; the statement is
/// cancelled where that would take longer than `time`.
///
/// The conditions on words and slices stand inside, so that the index on them is the only one that
/// can be used, and the plan is made for these words each time: a plan for any words, or made while
/// the table was empty, would read it whole.
pub(super) async fn find_hits(
    db: &mut Client,
    access: Access,
    slices: &[Slice],
    criteria: &Criteria<'_>,
    limit: usize,
    time: Duration,
) -> Result<Vec<Hit>, Error> {
    const PLAN: Statement = Statement::new(
        "search.plan",
        "SELECT set_config('enable_seqscan', 'off', true), set_config('plan_cache_mode', 'force_custom_plan', true),
                set_config('statement_timeout', $1, true)",
    );
    const SQL: Statement = Statement::new(
        "search.find_hits",
        "SELECT h.conversation_id, h.seq, h.id, h.created_at
         FROM (SELECT m.tenant_id, m.conversation_id, m.seq, m.id, m.author_id, m.created_at, m.deleted_at
               FROM messages m
               WHERE ARRAY[search_slice(m.conversation_id, m.seq)] && $2::bigint[]
                 AND search_vector(m.body) @@ search_query($4)
               OFFSET 0) h
         WHERE h.tenant_id = $1 AND h.conversation_id = ANY($3::uuid[]) AND h.deleted_at IS NULL
           AND ($5::uuid IS NULL OR h.author_id = $5)
           AND ($6::timestamptz IS NULL OR h.created_at > $6) AND ($7::timestamptz IS NULL OR h.created_at < $7)
           AND ($8::timestamptz IS NULL OR (h.created_at, h.id) < ($8, $9::uuid))
         ORDER BY h.created_at DESC, h.id DESC LIMIT $10",
    );
    let keys: Vec<i64> = slices.iter().map(|slice| slice.key).collect();
    let conversations: Vec<Uuid> = slices.iter().map(|slice| slice.conversation).collect();
    let author = criteria.author.map(|id| id.0);
    let (from, from_id) = criteria.from.map(|from| (from.created_at, from.id)).unzip();
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let transaction = db.read_snapshot().await?;
    let time = time.min(transaction.statement_timeout()).as_millis().to_string();
    transaction.query_one(&PLAN, &[&time]).await?;
    let rows = transaction
        .query(
            &SQL,
            &[
                &access.tenant_id.0,
                &keys,
                &conversations,
                &criteria.words,
                &author,
                &criteria.after,
                &criteria.before,
                &from,
                &from_id,
                &limit,
            ],
        )
        .await?;
    end(transaction).await?;
    let hit = |row: &Row| Hit {
        created_at: row.get("created_at"),
        id: row.get("id"),
        conversation: row.get("conversation_id"),
        seq: row.get("seq"),
    };
    Ok(rows.iter().map(hit).collect())
}

/// Ends what only read; the connection goes back without its settings.
async fn end(transaction: Transaction<'_>) -> Result<(), Error> {
    transaction.rollback().await
}

/// A message that was found, as it is now.
pub(super) struct ReadHit {
    pub(super) message: Message,
    pub(super) conversation: FoundConversation,
    /// Its body, marked, as `search_text` sees it.
    pub(super) marked: String,
}

/// What was found, as it stands now, youngest first: without what was deleted, or says something
/// else, or stands where the caller is not a member any more.
pub(super) async fn read(db: &Client, access: Access, hits: &[Hit], words: &str) -> Result<Vec<ReadHit>, Error> {
    const SQL: Statement = Statement::new(
        "search.read",
        concat!(
            "SELECT c.title, ts_headline('pg_catalog.simple'::regconfig, search_text(m.body), search_query($3), $6)
                    AS marked, ",
            message_columns!(),
            " FROM unnest($4::uuid[], $5::bigint[]) AS hit (conversation_id, seq)
             CROSS JOIN LATERAL (
                 SELECT c.title FROM conversations c
                 WHERE c.id = hit.conversation_id AND c.tenant_id = $1 AND c.deleted_at IS NULL LIMIT 1) c
             CROSS JOIN LATERAL (
                 SELECT FROM conversation_members p
                 WHERE p.conversation_id = hit.conversation_id AND p.user_id = $2 AND p.removed_at IS NULL LIMIT 1) p
             CROSS JOIN LATERAL (
                 SELECT * FROM messages x
                 WHERE x.conversation_id = hit.conversation_id AND x.seq = hit.seq AND x.deleted_at IS NULL LIMIT 1) m
             WHERE search_vector(m.body) @@ search_query($3)
             ORDER BY m.created_at DESC, m.id DESC"
        ),
    );
    let marks = format!("HighlightAll=true, StartSel=\"{HIT_BEGINS}\", StopSel=\"{HIT_ENDS}\"");
    let conversations: Vec<Uuid> = hits.iter().map(|hit| hit.conversation).collect();
    let seqs: Vec<i64> = hits.iter().map(|hit| hit.seq).collect();
    let (tenant, user) = (access.tenant_id.0, access.user_id.0);
    let rows = db
        .query(&SQL, &[&tenant, &user, &words, &conversations, &seqs, &marks])
        .await?;
    let read = |row: &Row| {
        let message = message_from_row(row);
        ReadHit {
            conversation: FoundConversation {
                id: message.conversation,
                title: row.get("title"),
            },
            marked: row.get("marked"),
            message,
        }
    };
    Ok(rows.iter().map(read).collect())
}
