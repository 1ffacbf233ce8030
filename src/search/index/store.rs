//! The SQL of the index: positions, what lies beyond them, and the words.
//!
//! All of it is upkeep: it runs over the conversations of all tenants, carries each one's tenant
//! along, and replies to nobody.

use super::vector::WordVector;
use crate::database::{Client, Error, Statement, Transaction};
use crate::ids::{ConversationId, Rev, Seq, TenantId};
use std::time::Duration;
use tokio_postgres::Row;
use uuid::Uuid;

/// How far a conversation is indexed, and how far it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Position {
    pub(super) conversation: ConversationId,
    pub(super) tenant: TenantId,
    pub(super) through: Rev,
    /// The revision of the conversation.
    pub(super) rev: Rev,
    pub(super) is_deleted: bool,
}

/// A message beyond its conversation's position.
pub(super) struct Unindexed {
    pub(super) conversation: ConversationId,
    pub(super) seq: Seq,
    pub(super) rev: Rev,
    /// Whether it is within the bytes of this batch. If not, it has no body here.
    pub(super) is_within: bool,
    /// `None` once deleted.
    pub(super) body: Option<String>,
}

/// The settings of a batch: plans by the indexes and in their order, so that what lies beyond the
/// limit is not read, whatever the sizes of tables were when they were made; and no wait for the
/// disk, since position and words are lost or kept together.
pub(super) async fn prepare(db: &Transaction<'_>) -> Result<(), Error> {
    const SQL: Statement = Statement::new(
        "search_index.prepare",
        "SELECT set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true),
                set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true),
                set_config('jit', 'off', true),
                set_config('plan_cache_mode', 'force_generic_plan', true),
                set_config('synchronous_commit', 'off', true)",
    );
    db.query_one(&SQL, &[]).await.map(drop)
}

/// Makes the positions that do not exist yet.
pub(super) async fn make_positions(db: &Transaction<'_>, conversations: &[Uuid]) -> Result<(), Error> {
    const SQL: Statement = Statement::new(
        "search_positions.insert",
        "INSERT INTO search_positions (conversation_id, tenant_id)
         SELECT c.id, c.tenant_id FROM unnest($1::uuid[]) AS wanted (id)
         CROSS JOIN LATERAL (SELECT c.id, c.tenant_id FROM conversations c WHERE c.id = wanted.id LIMIT 1) c
         WHERE NOT EXISTS (SELECT FROM search_positions p WHERE p.conversation_id = c.id)
         ORDER BY c.id ON CONFLICT DO NOTHING",
    );
    db.execute(&SQL, &[&conversations]).await.map(drop)
}

/// Locks the positions of conversations that are behind, and that nobody else has locked.
pub(super) async fn claim(db: &Transaction<'_>, conversations: &[Uuid]) -> Result<Vec<Position>, Error> {
    const SQL: Statement = Statement::new(
        "search_positions.claim",
        "SELECT p.conversation_id, p.tenant_id, p.through_rev, c.rev, c.deleted_at IS NOT NULL AS is_deleted
         FROM search_positions p JOIN conversations c ON c.id = p.conversation_id AND c.tenant_id = p.tenant_id
         WHERE p.conversation_id = ANY($1) AND p.through_rev < c.rev
         ORDER BY p.conversation_id FOR UPDATE OF p SKIP LOCKED",
    );
    let rows = db.query(&SQL, &[&conversations]).await?;
    let position = |row: &Row| Position {
        conversation: ConversationId(row.get("conversation_id")),
        tenant: TenantId(row.get("tenant_id")),
        through: Rev(row.get("through_rev")),
        rev: Rev(row.get("rev")),
        is_deleted: row.get("is_deleted"),
    };
    Ok(rows.iter().map(position).collect())
}

/// The messages beyond some positions, ascending in each conversation: at most `each` of one, with
/// at most `bytes` of bodies together, the first message in any case.
///
/// The bytes are divided: a message comes the later, the more bytes of its tenant come before it,
/// and within a tenant the more of its conversation do. So long texts of one leave room for the rest.
pub(super) async fn list_unindexed(
    db: &Transaction<'_>,
    positions: &[Position],
    each: i64,
    bytes: i64,
) -> Result<Vec<Unindexed>, Error> {
    const SQL: Statement = Statement::new(
        "messages.list_unindexed",
        "WITH beyond AS MATERIALIZED (
             SELECT m.conversation_id, m.seq, m.rev, m.body, p.n, p.tenant_id,
                    coalesce(octet_length(m.body), 0) AS bytes
             FROM unnest($1::uuid[], $2::uuid[], $3::bigint[]) WITH ORDINALITY
                  AS p (tenant_id, conversation_id, through_rev, n)
             CROSS JOIN LATERAL (
                 SELECT m.conversation_id, m.seq, m.rev, m.body FROM messages m
                 WHERE m.conversation_id = p.conversation_id AND m.rev > p.through_rev AND m.tenant_id = p.tenant_id
                 ORDER BY m.rev LIMIT $4) m
         ), of_conversation AS (
             SELECT *, sum(bytes) OVER (PARTITION BY n ORDER BY rev) AS conversation_bytes FROM beyond
         ), of_tenant AS (
             SELECT *, sum(bytes) OVER (PARTITION BY tenant_id ORDER BY conversation_bytes, n, rev) AS tenant_bytes
             FROM of_conversation
         ), counted AS (
             SELECT *, sum(bytes) OVER (ORDER BY tenant_bytes, tenant_id, conversation_bytes, n, rev) - bytes
                       < $5::bigint AS is_within
             FROM of_tenant
         )
         SELECT conversation_id, seq, rev, is_within, CASE WHEN is_within THEN body END AS body
         FROM counted ORDER BY n, rev",
    );
    let tenants: Vec<Uuid> = positions.iter().map(|position| position.tenant.0).collect();
    let conversations: Vec<Uuid> = positions.iter().map(|position| position.conversation.0).collect();
    let revs: Vec<i64> = positions.iter().map(|position| position.through.0).collect();
    let rows = db
        .query(&SQL, &[&tenants, &conversations, &revs, &each, &bytes])
        .await?;
    let unindexed = |row: &Row| Unindexed {
        conversation: ConversationId(row.get("conversation_id")),
        seq: Seq(row.get("seq")),
        rev: Rev(row.get("rev")),
        is_within: row.get("is_within"),
        body: row.get("body"),
    };
    Ok(rows.iter().map(unindexed).collect())
}

/// Rows of the index, as the arrays of a statement.
#[derive(Default)]
pub(super) struct IndexRows {
    pub(super) tenants: Vec<Uuid>,
    pub(super) conversations: Vec<Uuid>,
    pub(super) seqs: Vec<i64>,
    /// None where rows are deleted.
    pub(super) words: Vec<WordVector>,
}

impl IndexRows {
    pub(super) fn push(&mut self, position: &Position, seq: Seq) {
        self.tenants.push(position.tenant.0);
        self.conversations.push(position.conversation.0);
        self.seqs.push(seq.0);
    }
}

/// Writes the words of messages, in place of those that were there.
pub(super) async fn upsert(db: &Transaction<'_>, rows: &IndexRows) -> Result<(), Error> {
    const SQL: Statement = Statement::new(
        "search_index.upsert",
        "INSERT INTO search_index AS i (conversation_id, seq, tenant_id, words)
         SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::tsvector[])
         ON CONFLICT (conversation_id, seq) DO UPDATE SET words = excluded.words
         WHERE i.words IS DISTINCT FROM excluded.words",
    );
    db.execute(&SQL, &[&rows.conversations, &rows.seqs, &rows.tenants, &rows.words])
        .await
        .map(drop)
}

/// Removes messages that have no words any more.
pub(super) async fn delete(db: &Transaction<'_>, rows: &IndexRows) -> Result<(), Error> {
    const SQL: Statement = Statement::new(
        "search_index.delete",
        "DELETE FROM search_index i USING unnest($1::uuid[], $2::bigint[], $3::uuid[]) AS gone (conversation_id, seq, tenant_id)
         WHERE i.conversation_id = gone.conversation_id AND i.seq = gone.seq AND i.tenant_id = gone.tenant_id",
    );
    db.execute(&SQL, &[&rows.conversations, &rows.seqs, &rows.tenants])
        .await
        .map(drop)
}

/// Removes up to `most` messages of a deleted conversation; returns how many.
pub(super) async fn delete_conversation(db: &Transaction<'_>, position: &Position, most: i64) -> Result<u64, Error> {
    const SQL: Statement = Statement::new(
        "search_index.delete_conversation",
        "DELETE FROM search_index WHERE tenant_id = $1 AND conversation_id = $2
           AND seq IN (SELECT seq FROM search_index WHERE conversation_id = $2 ORDER BY seq LIMIT $3)",
    );
    db.execute(&SQL, &[&position.tenant.0, &position.conversation.0, &most])
        .await
}

/// A position that moves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Move {
    pub(super) from: Position,
    pub(super) through: Rev,
    /// Whether messages were indexed. If not, only other things of the conversation changed.
    pub(super) has_messages: bool,
}

/// Moves positions to new revisions.
pub(super) async fn move_positions(db: &Transaction<'_>, moves: &[Move]) -> Result<(), Error> {
    const SQL: Statement = Statement::new(
        "search_positions.move",
        "UPDATE search_positions p SET through_rev = moved.rev,
                indexed_at = CASE WHEN moved.has_messages THEN clock_timestamp() ELSE p.indexed_at END
         FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::boolean[]) AS moved (tenant_id, conversation_id, rev, has_messages)
         WHERE p.tenant_id = moved.tenant_id AND p.conversation_id = moved.conversation_id",
    );
    let tenants: Vec<Uuid> = moves.iter().map(|one| one.from.tenant.0).collect();
    let conversations: Vec<Uuid> = moves.iter().map(|one| one.from.conversation.0).collect();
    let revs: Vec<i64> = moves.iter().map(|one| one.through.0).collect();
    let has_messages: Vec<bool> = moves.iter().map(|one| one.has_messages).collect();
    db.execute(&SQL, &[&tenants, &conversations, &revs, &has_messages])
        .await
        .map(drop)
}

/// Works off the list in which new entries of the index wait, so that no search reads it.
pub(super) async fn merge_pending(db: &Client) -> Result<(), Error> {
    const SQL: Statement = Statement::new(
        "search_index.merge_pending",
        "SELECT gin_clean_pending_list('search_index_words_idx'::regclass)",
    );
    db.query_one(&SQL, &[]).await.map(drop)
}

/// Takes the sweep for this transaction, unless another node is at it.
pub(super) async fn try_lock_sweep(db: &Transaction<'_>) -> Result<bool, Error> {
    // Any number that no one else of this database uses: "search" in ASCII.
    const SQL: Statement = Statement::new(
        "search_positions.try_lock_sweep",
        "SELECT pg_try_advisory_xact_lock(x'736561726368'::bigint)",
    );
    Ok(db.query_one(&SQL, &[]).await?.get(0))
}

/// A conversation that is behind its own revision.
pub(super) struct Behind {
    pub(super) conversation: ConversationId,
    pub(super) tenant: TenantId,
    /// How long the first post that is not indexed has waited.
    pub(super) waited: Duration,
}

/// Conversations that are behind their own revision, at most `most`.
pub(super) async fn list_behind(db: &Transaction<'_>, most: i64) -> Result<Vec<Behind>, Error> {
    const SQL: Statement = Statement::new(
        "search_positions.list_behind",
        "SELECT c.id, c.tenant_id, coalesce(extract(epoch FROM now() - first.created_at), 0)::float8 AS waited
         FROM conversations c LEFT JOIN search_positions p ON p.conversation_id = c.id
         LEFT JOIN LATERAL (
             SELECT m.created_at FROM messages m
             WHERE m.conversation_id = c.id AND m.rev > coalesce(p.through_rev, 0) AND m.rev = m.posted_rev
             ORDER BY m.rev LIMIT 1) first ON c.deleted_at IS NULL
         WHERE c.last_seq > 0 AND c.rev > coalesce(p.through_rev, 0) LIMIT $1",
    );
    let rows = db.query(&SQL, &[&most]).await?;
    let behind = |row: &Row| {
        let waited = Duration::try_from_secs_f64(row.get("waited")).unwrap_or_default();
        Behind {
            conversation: ConversationId(row.get("id")),
            tenant: TenantId(row.get("tenant_id")),
            waited,
        }
    };
    Ok(rows.iter().map(behind).collect())
}

/// A conversation as maintenance sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scanned {
    pub(super) conversation: ConversationId,
    pub(super) tenant: TenantId,
    pub(super) last_seq: Seq,
}

/// Conversations with messages, in the order of their ids, after one of them; not deleted.
pub(super) async fn list_conversations(
    db: &Client,
    after: Option<ConversationId>,
    most: i64,
) -> Result<Vec<Scanned>, Error> {
    const SQL: Statement = Statement::new(
        "search_index.list_conversations",
        "SELECT id, tenant_id, last_seq FROM conversations
         WHERE ($1::uuid IS NULL OR id > $1) AND last_seq > 0 AND deleted_at IS NULL ORDER BY id LIMIT $2",
    );
    let rows = db.query(&SQL, &[&after.map(|id| id.0), &most]).await?;
    let scanned = |row: &Row| Scanned {
        conversation: ConversationId(row.get("id")),
        tenant: TenantId(row.get("tenant_id")),
        last_seq: Seq(row.get("last_seq")),
    };
    Ok(rows.iter().map(scanned).collect())
}

/// How many messages there are in all conversations that are not deleted.
pub(super) async fn count_messages(db: &Client) -> Result<u64, Error> {
    const SQL: Statement = Statement::new(
        "search_index.count_messages",
        "SELECT coalesce(sum(last_seq), 0)::bigint FROM conversations WHERE deleted_at IS NULL",
    );
    let count: i64 = db.query_one(&SQL, &[]).await?.get(0);
    Ok(u64::try_from(count).unwrap_or_default())
}

/// A message beside its entry of the index; one of them may be missing.
pub(super) struct Compared {
    pub(super) seq: Seq,
    /// `None` when it is deleted, or not there at all.
    pub(super) body: Option<String>,
    /// The words of the index, sorted; `None` without an entry.
    pub(super) words: Option<Vec<String>>,
    /// It was changed after the conversation's position: the index need not know.
    pub(super) is_beyond: bool,
}

/// The messages of a conversation with a number in `after..=through`, beside the index.
pub(super) async fn compare(db: &Client, scanned: &Scanned, after: Seq, through: Seq) -> Result<Vec<Compared>, Error> {
    const SQL: Statement = Statement::new(
        "search_index.compare",
        "SELECT coalesce(m.seq, i.seq) AS seq, m.body, tsvector_to_array(i.words) AS words,
                coalesce(m.rev > coalesce((SELECT p.through_rev FROM search_positions p WHERE p.conversation_id = $2), 0), false)
                    AS is_beyond
         FROM (SELECT seq, body, rev FROM messages
               WHERE tenant_id = $1 AND conversation_id = $2 AND seq > $3 AND seq <= $4) m
         FULL JOIN (SELECT seq, words FROM search_index
                    WHERE conversation_id = $2 AND seq > $3 AND seq <= $4) i ON i.seq = m.seq
         ORDER BY 1",
    );
    let rows = db
        .query(
            &SQL,
            &[&scanned.tenant.0, &scanned.conversation.0, &after.0, &through.0],
        )
        .await?;
    let compared = |row: &Row| Compared {
        seq: Seq(row.get("seq")),
        body: row.get("body"),
        words: row.get("words"),
        is_beyond: row.get("is_beyond"),
    };
    Ok(rows.iter().map(compared).collect())
}

/// Has a conversation indexed anew: sets its position to the beginning, and removes what is in the
/// index without a message.
pub(super) async fn reset(db: &Client, scanned: &Scanned) -> Result<(), Error> {
    const SQL: Statement = Statement::new(
        "search_positions.reset",
        "WITH superfluous AS (
             DELETE FROM search_index i WHERE i.tenant_id = $1 AND i.conversation_id = $2
               AND NOT EXISTS (SELECT FROM messages m
                               WHERE m.conversation_id = i.conversation_id AND m.seq = i.seq AND m.deleted_at IS NULL)
         )
         UPDATE search_positions SET through_rev = 0 WHERE tenant_id = $1 AND conversation_id = $2",
    );
    db.execute(&SQL, &[&scanned.tenant.0, &scanned.conversation.0])
        .await
        .map(drop)
}
