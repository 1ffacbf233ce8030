//! What questions read. All but names and titles within one snapshot, so that every number is of the
//! same moment.

use super::timestamps::timestamp;
use crate::analytics::tally::RawMessage;
use crate::database::{Client, Error, Statement, Transaction};
use crate::ids::{ConversationId, TenantId, UserId, UserKind};
use crate::wire::frames::Timestamp;
use std::collections::HashMap;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

/// What a snapshot can answer.
#[derive(Clone, Copy, Debug)]
pub(in crate::analytics) struct Answerable {
    /// When it was taken.
    pub(in crate::analytics) now: i64,
    /// Everything from before is counted; `None` if nothing is yet.
    pub(in crate::analytics) data_through: Option<i64>,
    /// The generation of the tenant's counts.
    pub(in crate::analytics) generation: i32,
}

/// What can be answered of a tenant. From then on the transaction reads by indexes only.
pub(in crate::analytics) async fn load_answerable(db: &Transaction<'_>, tenant: TenantId) -> Result<Answerable, Error> {
    const SQL: Statement = Statement::new(
        "analytics.load_answerable",
        "SELECT statement_timestamp() AS now, (SELECT data_through FROM analytics_progress) AS data_through,
                coalesce((SELECT generation FROM analytics_tenants WHERE tenant_id = $1), 0) AS generation,
                set_config('enable_seqscan', 'off', true) AS plan",
    );
    let row = db.query_one(&SQL, &[&tenant.0]).await?;
    let data_through: Option<Timestamp> = row.get("data_through");
    Ok(Answerable {
        now: row.get::<_, Timestamp>("now").timestamp_millis(),
        data_through: data_through.map(|at| at.timestamp_millis()),
        generation: row.get("generation"),
    })
}

/// The cells of the blocks of some days, the first and the last included.
pub(in crate::analytics) async fn list_cells(
    db: &Transaction<'_>,
    tenant: TenantId,
    generation: i32,
    (first, last): (i32, i32),
) -> Result<Vec<Row>, Error> {
    const SQL: Statement = Statement::new(
        "analytics_blocks.list_cells",
        "SELECT cells FROM analytics_blocks WHERE tenant_id = $1 AND generation = $2 AND day >= $3 AND day <= $4
         ORDER BY day, number",
    );
    db.query(&SQL, &[&tenant.0, &generation, &first, &last]).await
}

/// The delays of the blocks of some days, the first and the last included.
pub(in crate::analytics) async fn list_delays(
    db: &Transaction<'_>,
    tenant: TenantId,
    generation: i32,
    (first, last): (i32, i32),
) -> Result<Vec<Row>, Error> {
    const SQL: Statement = Statement::new(
        "analytics_blocks.list_delays",
        "SELECT delays FROM analytics_blocks WHERE tenant_id = $1 AND generation = $2 AND day >= $3 AND day <= $4
         ORDER BY day, number",
    );
    db.query(&SQL, &[&tenant.0, &generation, &first, &last]).await
}

/// The messages of some ranges.
pub(in crate::analytics) async fn list_raw(
    db: &Transaction<'_>,
    tenant: TenantId,
    ranges: &[(i64, i64)],
) -> Result<Vec<RawMessage>, Error> {
    const SQL: Statement = Statement::new(
        "analytics.list_raw",
        "SELECT m.conversation_id, m.author_id, m.kind, m.created_at
         FROM unnest($2::timestamptz[], $3::timestamptz[]) AS r (since, until)
         CROSS JOIN LATERAL (
             SELECT x.conversation_id, x.author_id, x.kind, x.created_at FROM messages x
             WHERE x.tenant_id = $1 AND x.created_at >= r.since AND x.created_at < r.until) m",
    );
    let rows = db.query(&SQL, &range_params(&tenant.0, &bounds(ranges))).await?;
    Ok(rows.iter().map(raw_message).collect())
}

/// The messages of some ranges, each with the moment of the nearest earlier one of another user.
///
/// Only the first message of a range in its conversation is looked for backwards, past what the same
/// author may have posted by the thousand. What follows has it from the message before.
pub(in crate::analytics) async fn list_raw_with_replies(
    db: &Transaction<'_>,
    tenant: TenantId,
    ranges: &[(i64, i64)],
) -> Result<Vec<RawMessage>, Error> {
    const SQL: Statement = Statement::new(
        "analytics.list_raw_with_replies",
        "SELECT m.conversation_id, m.seq, m.author_id, m.kind, m.created_at, prior.seq AS prior_seq,
                prior.author_id AS prior_author, prior.created_at AS prior_at, earlier.created_at AS earlier_at
         FROM unnest($2::timestamptz[], $3::timestamptz[]) AS r (since, until)
         CROSS JOIN LATERAL (
             SELECT x.conversation_id, x.seq, x.author_id, x.kind, x.created_at FROM messages x
             WHERE x.tenant_id = $1 AND x.created_at >= r.since AND x.created_at < r.until) m
         LEFT JOIN LATERAL (
             SELECT e.seq, e.author_id, e.created_at FROM messages e
             WHERE e.tenant_id = $1 AND e.conversation_id = m.conversation_id AND e.seq < m.seq
             ORDER BY e.seq DESC LIMIT 1) prior ON true
         LEFT JOIN LATERAL (
             SELECT e.created_at FROM messages e
             WHERE e.tenant_id = $1 AND e.conversation_id = m.conversation_id AND e.seq < m.seq
               AND e.author_id <> m.author_id
             ORDER BY e.seq DESC LIMIT 1) earlier
           ON prior.author_id = m.author_id AND NOT (prior.created_at >= r.since AND prior.created_at < r.until)
         ORDER BY m.conversation_id, m.seq",
    );
    let rows = db.query(&SQL, &range_params(&tenant.0, &bounds(ranges))).await?;
    let moment = |row: &Row, column| row.get::<_, Option<Timestamp>>(column).map(|at| at.timestamp_millis());
    let mut known = HashMap::<(Uuid, i64), Option<i64>>::new();
    let mut messages = Vec::with_capacity(rows.len());
    for row in &rows {
        let (conversation, author): (Uuid, Uuid) = (row.get("conversation_id"), row.get("author_id"));
        let before = match row.get::<_, Option<Uuid>>("prior_author") {
            Some(prior) if prior != author => moment(row, "prior_at"),
            Some(_) => match known.get(&(conversation, row.get("prior_seq"))) {
                Some(before) => *before,
                None => moment(row, "earlier_at"),
            },
            None => None,
        };
        known.insert((conversation, row.get("seq")), before);
        messages.push(RawMessage {
            before,
            ..raw_message(row)
        });
    }
    Ok(messages)
}

/// The beginnings and ends of ranges.
fn bounds(ranges: &[(i64, i64)]) -> (Vec<Timestamp>, Vec<Timestamp>) {
    ranges
        .iter()
        .map(|(since, until)| (timestamp(*since), timestamp(*until)))
        .unzip()
}

fn range_params<'a>(
    tenant: &'a Uuid,
    (since, until): &'a (Vec<Timestamp>, Vec<Timestamp>),
) -> [&'a (dyn ToSql + Sync); 3] {
    [tenant, since, until]
}

fn raw_message(row: &Row) -> RawMessage {
    RawMessage {
        at: row.get::<_, Timestamp>("created_at").timestamp_millis(),
        user: UserId(row.get("author_id")),
        conversation: ConversationId(row.get("conversation_id")),
        kind: UserKind::parse(row.get("kind")).unwrap_or(UserKind::System),
        before: None,
    }
}

/// When people posted for the first time ever, those of a range, in order.
pub(in crate::analytics) async fn list_first_posts(
    db: &Transaction<'_>,
    tenant: TenantId,
    generation: i32,
    (from, to): (i64, i64),
) -> Result<Vec<i64>, Error> {
    const SQL: Statement = Statement::new(
        "analytics_people.list_first_posts",
        "SELECT first_at FROM analytics_people
         WHERE tenant_id = $1 AND generation = $2 AND first_at >= $3 AND first_at < $4 ORDER BY first_at",
    );
    let rows = db
        .query(&SQL, &[&tenant.0, &generation, &timestamp(from), &timestamp(to)])
        .await?;
    Ok(rows
        .iter()
        .map(|row| row.get::<_, Timestamp>(0).timestamp_millis())
        .collect())
}

/// What was made in a range.
#[derive(Clone, Copy, Debug)]
pub(in crate::analytics) struct Made {
    pub(in crate::analytics) conversations: u64,
    pub(in crate::analytics) people: u64,
}

/// How many conversations and people were made in a range.
pub(in crate::analytics) async fn count_made(
    db: &Transaction<'_>,
    tenant: TenantId,
    (from, to): (i64, i64),
) -> Result<Made, Error> {
    const SQL: Statement = Statement::new(
        "analytics.count_made",
        "SELECT (SELECT count(*) FROM conversations
                 WHERE tenant_id = $1 AND created_at >= $2 AND created_at < $3) AS conversations,
                (SELECT count(*) FROM users
                 WHERE tenant_id = $1 AND created_at >= $2 AND created_at < $3 AND kind = 'person') AS people",
    );
    let row = db
        .query_one(&SQL, &[&tenant.0, &timestamp(from), &timestamp(to)])
        .await?;
    let count = |name: &str| u64::try_from(row.get::<_, i64>(name)).unwrap_or_default();
    Ok(Made {
        conversations: count("conversations"),
        people: count("people"),
    })
}

/// Name and kind of some users.
pub(in crate::analytics) async fn list_users(
    db: &Client,
    tenant: TenantId,
    users: &[Uuid],
) -> Result<HashMap<UserId, (String, UserKind)>, Error> {
    const SQL: Statement = Statement::new(
        "analytics.list_users",
        "SELECT id, name, kind FROM users WHERE tenant_id = $1 AND id = ANY($2)",
    );
    let rows = db.query(&SQL, &[&tenant.0, &users]).await?;
    let named = |row: &Row| {
        let kind = UserKind::parse(row.get("kind")).unwrap_or(UserKind::System);
        (UserId(row.get("id")), (row.get("name"), kind))
    };
    Ok(rows.iter().map(named).collect())
}

/// The titles of those of some conversations that are not deleted and that a user is a member of.
pub(in crate::analytics) async fn list_titles(
    db: &Client,
    tenant: TenantId,
    user: UserId,
    conversations: &[Uuid],
) -> Result<HashMap<ConversationId, String>, Error> {
    const SQL: Statement = Statement::new(
        "analytics.list_titles",
        "SELECT c.id, c.title FROM conversations c
         JOIN conversation_members m ON m.conversation_id = c.id AND m.user_id = $2 AND m.removed_at IS NULL
         WHERE c.tenant_id = $1 AND c.id = ANY($3) AND c.deleted_at IS NULL",
    );
    let rows = db.query(&SQL, &[&tenant.0, &user.0, &conversations]).await?;
    Ok(rows
        .iter()
        .map(|row| (ConversationId(row.get("id")), row.get("title")))
        .collect())
}
