//! What the follower of the log does: finds what was posted, counts it and moves its positions.

use super::timestamps::timestamp;
use crate::analytics::block::Packed;
use crate::analytics::replies::{Position, Replies};
use crate::database::{Dedicated, Error, Statement, Transaction};
use crate::ids::{ConversationId, Seq, TenantId, UserId, UserKind};
use crate::wire::frames::Timestamp;
use std::time::Duration;
use tokio_postgres::Row;
use uuid::Uuid;

/// Prepares a connection for the work: by indexes, and without a wait for the disk. A crash of
/// PostgreSQL loses counts and positions together. The connection has the lease, so PostgreSQL lets
/// go of one that says nothing, whose node is frozen or gone: it is asked for something each second.
pub(in crate::analytics) async fn prepare_connection(db: &Dedicated) -> Result<(), Error> {
    db.batch_execute(
        "SET synchronous_commit = off; SET enable_seqscan = off; SET jit = off; SET idle_session_timeout = '15s';
         SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3",
    )
    .await
    .map_err(Error::from)
}

/// Takes the lease of the follower for this connection, unless another one has it.
pub(in crate::analytics) async fn try_take_lease(db: &Transaction<'_>) -> Result<bool, Error> {
    // Numbers that no one else of this database uses: "count" in ASCII.
    const SQL: Statement = Statement::new(
        "analytics.try_take_lease",
        "SELECT pg_try_advisory_lock(x'636f756e74'::bigint)",
    );
    Ok(db.query_one(&SQL, &[]).await?.get(0))
}

/// Keeps generations as they are until the end of this transaction.
pub(in crate::analytics) async fn hold_counts(db: &Transaction<'_>) -> Result<(), Error> {
    // "counts" in ASCII.
    const SQL: Statement = Statement::new(
        "analytics.hold_counts",
        "SELECT pg_advisory_xact_lock(x'636f756e7473'::bigint)",
    );
    db.query_one(&SQL, &[]).await.map(drop)
}

/// The time, and the transactions that are changing something in this database. Not those that only
/// clean up, which hold such locks of indexes for long.
///
/// Who posts has locked its conversation's row, and by that its table, before the statement whose
/// time the message gets. So a message with an earlier time than this is committed, or its
/// transaction is one of these.
pub(in crate::analytics) async fn stamp(db: &Transaction<'_>) -> Result<(i64, Vec<String>), Error> {
    const SQL: Statement = Statement::new(
        "analytics.stamp",
        "SELECT statement_timestamp() AS now,
                array(SELECT DISTINCT l.virtualtransaction FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
                      WHERE c.relkind IN ('r', 'p') AND c.relnamespace <> 'pg_catalog'::regnamespace
                        AND l.locktype = 'relation' AND l.mode IN ('RowShareLock', 'RowExclusiveLock')
                        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
                        AND l.pid <> pg_backend_pid()) AS writers",
    );
    let row = db.query_one(&SQL, &[]).await?;
    Ok((row.get::<_, Timestamp>("now").timestamp_millis(), row.get("writers")))
}

/// The conversations, of all tenants, with messages of a range that are not counted; at most `most`.
pub(in crate::analytics) async fn list_posted(
    db: &Transaction<'_>,
    (from, to): (i64, i64),
    most: i64,
) -> Result<Vec<Uuid>, Error> {
    const SQL: Statement = Statement::new(
        "analytics.list_posted",
        "SELECT m.conversation_id FROM tenants t
         CROSS JOIN LATERAL (
             SELECT x.conversation_id, max(x.seq) AS seq FROM messages x
             WHERE x.tenant_id = t.id AND x.created_at >= $1 AND x.created_at < $2 GROUP BY x.conversation_id) m
         LEFT JOIN analytics_tenants g ON g.tenant_id = t.id
         LEFT JOIN analytics_positions p
             ON p.tenant_id = t.id AND p.conversation_id = m.conversation_id AND p.generation = coalesce(g.generation, 0)
         WHERE m.seq > coalesce(p.through_seq, 0) LIMIT $3",
    );
    let rows = db.query(&SQL, &[&timestamp(from), &timestamp(to), &most]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// The conversations, of all tenants, that are behind their last message, in the order of their ids,
/// after one of them.
pub(in crate::analytics) async fn list_behind(
    db: &Transaction<'_>,
    after: Option<Uuid>,
    most: i64,
) -> Result<Vec<Uuid>, Error> {
    const SQL: Statement = Statement::new(
        "analytics.list_behind",
        "SELECT c.id FROM conversations c
         LEFT JOIN analytics_tenants g ON g.tenant_id = c.tenant_id
         LEFT JOIN analytics_positions p ON p.conversation_id = c.id AND p.generation = coalesce(g.generation, 0)
         WHERE ($1::uuid IS NULL OR c.id > $1) AND c.last_seq > coalesce(p.through_seq, 0) ORDER BY c.id LIMIT $2",
    );
    let rows = db.query(&SQL, &[&after, &most]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Makes the positions that are missing, in the generation that is read or, with `building`, in the
/// one that is made.
pub(in crate::analytics) async fn make_positions(
    db: &Transaction<'_>,
    conversations: &[Uuid],
    building: Option<i32>,
) -> Result<(), Error> {
    const SQL: Statement = Statement::new(
        "analytics_positions.make",
        "INSERT INTO analytics_positions (conversation_id, generation, tenant_id)
         SELECT c.id, coalesce($2, g.generation, 0), c.tenant_id FROM conversations c
         LEFT JOIN analytics_tenants g ON g.tenant_id = c.tenant_id
         WHERE c.id = ANY($1) ON CONFLICT DO NOTHING",
    );
    db.execute(&SQL, &[&conversations, &building]).await.map(drop)
}

/// Locks the positions of some conversations.
pub(in crate::analytics) async fn claim_positions(
    db: &Transaction<'_>,
    conversations: &[Uuid],
    building: Option<i32>,
) -> Result<Vec<Position>, Error> {
    const SQL: Statement = Statement::new(
        "analytics_positions.claim",
        "SELECT p.conversation_id, p.generation, p.tenant_id, p.through_seq, p.last_author_id, p.last_at, p.other_at
         FROM analytics_positions p LEFT JOIN analytics_tenants g ON g.tenant_id = p.tenant_id
         WHERE p.conversation_id = ANY($1) AND p.generation = coalesce($2, g.generation, 0)
         ORDER BY p.conversation_id FOR UPDATE OF p",
    );
    let rows = db.query(&SQL, &[&conversations, &building]).await?;
    let ms = |row: &Row, name: &str| {
        let at: Option<Timestamp> = row.get(name);
        at.map(|at| at.timestamp_millis())
    };
    let position = |row: &Row| {
        let author: Option<Uuid> = row.get("last_author_id");
        Position {
            conversation: ConversationId(row.get("conversation_id")),
            tenant: TenantId(row.get("tenant_id")),
            generation: row.get("generation"),
            through: Seq(row.get("through_seq")),
            replies: Replies {
                last: author.map(UserId).zip(ms(row, "last_at")),
                other_at: ms(row, "other_at"),
            },
        }
    };
    Ok(rows.iter().map(position).collect())
}

/// A message that is not counted.
#[derive(Clone, Copy, Debug)]
pub(in crate::analytics) struct Uncounted {
    pub(in crate::analytics) conversation: ConversationId,
    pub(in crate::analytics) seq: Seq,
    pub(in crate::analytics) author: UserId,
    pub(in crate::analytics) kind: UserKind,
    pub(in crate::analytics) at: i64,
}

/// The first `each` messages of each conversation beyond its position, in their order.
pub(in crate::analytics) async fn list_uncounted(
    db: &Transaction<'_>,
    positions: &[Position],
    each: i64,
) -> Result<Vec<Uncounted>, Error> {
    const SQL: Statement = Statement::new(
        "analytics.list_uncounted",
        "SELECT m.* FROM unnest($1::uuid[], $2::uuid[], $3::bigint[]) AS p (tenant_id, conversation_id, through_seq)
         CROSS JOIN LATERAL (
             SELECT x.conversation_id, x.seq, x.author_id, x.kind, x.created_at FROM messages x
             WHERE x.tenant_id = p.tenant_id AND x.conversation_id = p.conversation_id AND x.seq > p.through_seq
             ORDER BY x.seq LIMIT $4) m",
    );
    let tenants: Vec<Uuid> = positions.iter().map(|one| one.tenant.0).collect();
    let conversations: Vec<Uuid> = positions.iter().map(|one| one.conversation.0).collect();
    let through: Vec<i64> = positions.iter().map(|one| one.through.0).collect();
    let rows = db.query(&SQL, &[&tenants, &conversations, &through, &each]).await?;
    let uncounted = |row: &Row| Uncounted {
        conversation: ConversationId(row.get(0)),
        seq: Seq(row.get(1)),
        author: UserId(row.get(2)),
        kind: UserKind::parse(row.get(3)).unwrap_or(UserKind::System),
        at: row.get::<_, Timestamp>(4).timestamp_millis(),
    };
    Ok(rows.iter().map(uncounted).collect())
}

/// A tenant's day of a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::analytics) struct Counted {
    pub(in crate::analytics) tenant: TenantId,
    pub(in crate::analytics) generation: i32,
    /// Since 1970-01-01.
    pub(in crate::analytics) day: i32,
}

/// Blocks to write, all of one level.
#[derive(Debug, Default)]
pub(in crate::analytics) struct WrittenBlocks {
    pub(in crate::analytics) level: i16,
    pub(in crate::analytics) blocks: Vec<(Counted, Packed)>,
}

pub(in crate::analytics) async fn insert_blocks(db: &Transaction<'_>, written: &WrittenBlocks) -> Result<(), Error> {
    const SQL: Statement = Statement::new(
        "analytics_blocks.insert",
        "INSERT INTO analytics_blocks (tenant_id, generation, day, level, cells, delays)
         SELECT u.tenant_id, u.generation, u.day, $4::smallint, u.cells, u.delays
         FROM unnest($1::uuid[], $2::int[], $3::int[], $5::bytea[], $6::bytea[])
             AS u (tenant_id, generation, day, cells, delays)",
    );
    let blocks = &written.blocks;
    let tenants: Vec<Uuid> = blocks.iter().map(|(key, _)| key.tenant.0).collect();
    let generations: Vec<i32> = blocks.iter().map(|(key, _)| key.generation).collect();
    let days: Vec<i32> = blocks.iter().map(|(key, _)| key.day).collect();
    let cells: Vec<&[u8]> = blocks.iter().map(|(_, packed)| &*packed.cells).collect();
    let delays: Vec<&[u8]> = blocks.iter().map(|(_, packed)| &*packed.delays).collect();
    db.execute(&SQL, &[&tenants, &generations, &days, &written.level, &cells, &delays])
        .await
        .map(drop)
}

/// Notes when people posted, where it is earlier than what is known.
pub(in crate::analytics) async fn upsert_people(
    db: &Transaction<'_>,
    people: &[(TenantId, i32, UserId, i64)],
) -> Result<(), Error> {
    const SQL: Statement = Statement::new(
        "analytics_people.upsert",
        "INSERT INTO analytics_people AS known (tenant_id, generation, user_id, first_at)
         SELECT * FROM unnest($1::uuid[], $2::int[], $3::uuid[], $4::timestamptz[])
         ON CONFLICT (tenant_id, generation, user_id) DO UPDATE SET first_at = excluded.first_at
         WHERE excluded.first_at < known.first_at",
    );
    let tenants: Vec<Uuid> = people.iter().map(|one| one.0.0).collect();
    let generations: Vec<i32> = people.iter().map(|one| one.1).collect();
    let users: Vec<Uuid> = people.iter().map(|one| one.2.0).collect();
    let first: Vec<Timestamp> = people.iter().map(|one| timestamp(one.3)).collect();
    db.execute(&SQL, &[&tenants, &generations, &users, &first])
        .await
        .map(drop)
}

pub(in crate::analytics) async fn move_positions(db: &Transaction<'_>, moved: &[Position]) -> Result<(), Error> {
    const SQL: Statement = Statement::new(
        "analytics_positions.move",
        "UPDATE analytics_positions p
         SET through_seq = m.through_seq, last_author_id = m.author_id, last_at = m.last_at, other_at = m.other_at
         FROM unnest($1::uuid[], $2::uuid[], $3::int[], $4::bigint[], $5::uuid[], $6::timestamptz[], $7::timestamptz[])
             AS m (tenant_id, conversation_id, generation, through_seq, author_id, last_at, other_at)
         WHERE p.tenant_id = m.tenant_id AND p.conversation_id = m.conversation_id AND p.generation = m.generation",
    );
    let tenants: Vec<Uuid> = moved.iter().map(|one| one.tenant.0).collect();
    let conversations: Vec<Uuid> = moved.iter().map(|one| one.conversation.0).collect();
    let generations: Vec<i32> = moved.iter().map(|one| one.generation).collect();
    let through: Vec<i64> = moved.iter().map(|one| one.through.0).collect();
    let authors: Vec<Option<Uuid>> = moved.iter().map(|one| one.replies.last.map(|last| last.0.0)).collect();
    let last: Vec<Option<Timestamp>> = moved
        .iter()
        .map(|one| one.replies.last.map(|last| timestamp(last.1)))
        .collect();
    let other: Vec<Option<Timestamp>> = moved.iter().map(|one| one.replies.other_at.map(timestamp)).collect();
    db.execute(
        &SQL,
        &[
            &tenants,
            &conversations,
            &generations,
            &through,
            &authors,
            &last,
            &other,
        ],
    )
    .await
    .map(drop)
}

/// Says that everything from before is counted. Never takes back what was said, whatever a clock does.
pub(in crate::analytics) async fn update_progress(db: &Transaction<'_>, through: i64) -> Result<(), Error> {
    const SQL: Statement = Statement::new(
        "analytics_progress.update",
        "INSERT INTO analytics_progress (data_through) VALUES ($1)
         ON CONFLICT (is_only) DO UPDATE SET data_through = greatest(analytics_progress.data_through, excluded.data_through)",
    );
    db.execute(&SQL, &[&timestamp(through)]).await.map(drop)
}

/// How far the counts are behind; `None` if nothing is counted yet.
pub(in crate::analytics) async fn load_lag(db: &Transaction<'_>) -> Result<Option<Duration>, Error> {
    const SQL: Statement = Statement::new(
        "analytics_progress.load_lag",
        "SELECT greatest(extract(epoch FROM statement_timestamp() - data_through), 0)::float8 FROM analytics_progress",
    );
    let row = db.query_opt(&SQL, &[]).await?;
    Ok(row.map(|row| Duration::try_from_secs_f64(row.get(0)).unwrap_or_default()))
}
