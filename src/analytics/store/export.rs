//! The SQL of exports: pages behind a row, by the index of a tenant's messages by time.

use crate::analytics::export_rows::{ExportedCount, ExportedMessage};
use crate::database::{Error, Statement, Transaction};
use crate::ids::{ConversationId, MessageId, Seq, TenantId, UserId, UserKind};
use crate::wire::frames::Timestamp;
use chrono::DateTime;
use tokio_postgres::Row;
use uuid::Uuid;

/// Which messages: from a row on, or from a moment on.
#[derive(Clone, Copy, Debug)]
pub(in crate::analytics) struct MessagesAfter {
    /// Not before this, in milliseconds of Unix time.
    pub(in crate::analytics) at: i64,
    /// Of those of exactly that moment, only those behind this conversation and number.
    pub(in crate::analytics) conversation: ConversationId,
    pub(in crate::analytics) seq: Seq,
    /// Before this.
    pub(in crate::analytics) to: i64,
}

/// Some hours; of the first only what is behind a row.
pub(in crate::analytics) struct CountsAfter {
    /// The beginnings of the hours, cut by the range.
    pub(in crate::analytics) from: Vec<i64>,
    pub(in crate::analytics) to: Vec<i64>,
    pub(in crate::analytics) conversation: ConversationId,
    pub(in crate::analytics) user: UserId,
    /// The word of the kind.
    pub(in crate::analytics) kind: &'static str,
}

fn moment(ms: i64) -> Timestamp {
    DateTime::from_timestamp_millis(ms).unwrap_or_default()
}

fn kind_of(row: &Row) -> UserKind {
    UserKind::parse(row.get("kind")).unwrap_or(UserKind::Person)
}

/// Has this transaction read by indexes only, however small a table looks.
pub(in crate::analytics) async fn prepare(tx: &Transaction<'_>) -> Result<(), Error> {
    const SQL: Statement = Statement::new(
        "analytics.export_prepare",
        "SELECT set_config('enable_seqscan', 'off', true)",
    );
    tx.query_one(&SQL, &[]).await.map(drop)
}

/// Messages by time, those of one moment by conversation and number.
///
/// PostgreSQL compares the rows by the index up to the moment, and sorts only those of one moment.
pub(in crate::analytics) async fn list_messages(
    tx: &Transaction<'_>,
    tenant: TenantId,
    after: &MessagesAfter,
    most: i64,
) -> Result<Vec<ExportedMessage>, Error> {
    const SQL: Statement = Statement::new(
        "analytics.export_messages",
        "SELECT conversation_id, seq, id, author_id, kind, created_at, coalesce(octet_length(body), 0)::bigint AS bytes,
                edited_at IS NOT NULL AS is_edited, deleted_at IS NOT NULL AS is_deleted
         FROM messages
         WHERE tenant_id = $1 AND created_at >= $2 AND created_at < $3
           AND (created_at > $2 OR (conversation_id, seq) > ($4, $5))
         ORDER BY created_at, conversation_id, seq LIMIT $6",
    );
    let rows = tx
        .query(
            &SQL,
            &[
                &tenant.0,
                &moment(after.at),
                &moment(after.to),
                &after.conversation.0,
                &after.seq.0,
                &most,
            ],
        )
        .await?;
    let message = |row: &Row| ExportedMessage {
        conversation: ConversationId(row.get("conversation_id")),
        seq: Seq(row.get("seq")),
        id: MessageId(row.get("id")),
        author: UserId(row.get("author_id")),
        kind: kind_of(row),
        created_at: row.get::<_, Timestamp>("created_at").timestamp_millis(),
        bytes: row.get("bytes"),
        is_edited: row.get("is_edited"),
        is_deleted: row.get("is_deleted"),
    };
    Ok(rows.iter().map(message).collect())
}

/// Counts of some hours, in the order of hour, conversation, user and kind. `hours` has the
/// beginnings of the hours in the calendar.
pub(in crate::analytics) async fn list_counts(
    tx: &Transaction<'_>,
    tenant: TenantId,
    after: &CountsAfter,
    hours: &[i64],
    most: i64,
) -> Result<Vec<ExportedCount>, Error> {
    const SQL: Statement = Statement::new(
        "analytics.export_counts",
        "SELECT h.n, m.conversation_id, m.author_id, m.kind, m.messages
         FROM unnest($2::timestamptz[], $3::timestamptz[]) WITH ORDINALITY AS h (since, until, n)
         CROSS JOIN LATERAL (
             SELECT x.conversation_id, x.author_id, x.kind, count(*) AS messages FROM messages x
             WHERE x.tenant_id = $1 AND x.created_at >= h.since AND x.created_at < h.until
               AND (h.n > 1 OR (x.conversation_id, x.author_id, x.kind) > ($4::uuid, $5::uuid, $6::text))
             GROUP BY x.conversation_id, x.author_id, x.kind) m
         ORDER BY h.n, m.conversation_id, m.author_id, m.kind LIMIT $7",
    );
    let moments = |all: &[i64]| all.iter().map(|ms| moment(*ms)).collect::<Vec<_>>();
    let (since, until): (Vec<Timestamp>, Vec<Timestamp>) = (moments(&after.from), moments(&after.to));
    let rows = tx
        .query(
            &SQL,
            &[
                &tenant.0,
                &since,
                &until,
                &after.conversation.0,
                &after.user.0,
                &after.kind,
                &most,
            ],
        )
        .await?;
    let count = |row: &Row| {
        let n = usize::try_from(row.get::<_, i64>("n") - 1).unwrap_or(0);
        ExportedCount {
            hour: hours.get(n).copied().unwrap_or_default(),
            conversation: ConversationId(row.get("conversation_id")),
            user: UserId(row.get("author_id")),
            kind: kind_of(row),
            messages: row.get("messages"),
        }
    };
    Ok(rows.iter().map(count).collect())
}

/// Before every id.
pub(in crate::analytics) const NO_ID: Uuid = Uuid::nil();
