//! Merging blocks, rebuilding and verifying.

use super::counting::Counted;
use crate::analytics::block::{BLOCK_BYTES_MAX, Counts};
use crate::analytics::error::Error;
use crate::database::{self, Statement, Transaction};
use crate::ids::{TenantId, UserId};
use crate::wire::frames::Timestamp;
use std::collections::BTreeMap;
use tokio_postgres::Row;
use uuid::Uuid;

/// Blocks of one day that become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::analytics) struct Mergeable {
    pub(in crate::analytics) day: Counted,
    /// Only those of this level; `None` is all.
    pub(in crate::analytics) level: Option<i16>,
}

fn bytes_max() -> i64 {
    i64::try_from(BLOCK_BYTES_MAX).unwrap_or(i64::MAX)
}

/// Of some days, the levels that have at least `fanout` blocks, and not too large ones.
pub(in crate::analytics) async fn find_mergeable(
    db: &Transaction<'_>,
    days: &[Counted],
    fanout: i64,
) -> Result<Vec<Mergeable>, database::Error> {
    const SQL: Statement = Statement::new(
        "analytics_blocks.find_mergeable",
        "SELECT d.tenant_id, d.generation, d.day, m.level
         FROM unnest($1::uuid[], $2::int[], $3::int[]) AS d (tenant_id, generation, day)
         CROSS JOIN LATERAL (
             SELECT b.level FROM analytics_blocks b
             WHERE b.tenant_id = d.tenant_id AND b.generation = d.generation AND b.day = d.day
             GROUP BY b.level
             HAVING count(*) >= $4 AND sum(octet_length(b.cells) + octet_length(b.delays)) <= $5) m",
    );
    let tenants: Vec<Uuid> = days.iter().map(|one| one.tenant.0).collect();
    let generations: Vec<i32> = days.iter().map(|one| one.generation).collect();
    let numbers: Vec<i32> = days.iter().map(|one| one.day).collect();
    let rows = db
        .query(&SQL, &[&tenants, &generations, &numbers, &fanout, &bytes_max()])
        .await?;
    Ok(rows
        .iter()
        .map(|row| Mergeable {
            day: counted(row),
            level: Some(row.get("level")),
        })
        .collect())
}

fn counted(row: &Row) -> Counted {
    Counted {
        tenant: TenantId(row.get("tenant_id")),
        generation: row.get("generation"),
        day: row.get("day"),
    }
}

/// Days before `before`, of all tenants, with more than one block; at most `most`.
pub(in crate::analytics) async fn list_unmerged(
    db: &Transaction<'_>,
    before: i32,
    most: i64,
) -> Result<Vec<Mergeable>, database::Error> {
    const SQL: Statement = Statement::new(
        "analytics_blocks.list_unmerged",
        "SELECT tenant_id, generation, day FROM analytics_blocks WHERE day < $1
         GROUP BY tenant_id, generation, day
         HAVING count(*) > 1 AND sum(octet_length(cells) + octet_length(delays)) <= $2 LIMIT $3",
    );
    let rows = db.query(&SQL, &[&before, &bytes_max(), &most]).await?;
    Ok(rows
        .iter()
        .map(|row| Mergeable {
            day: counted(row),
            level: None,
        })
        .collect())
}

/// The blocks of a day added up, their numbers and the highest of their levels.
pub(in crate::analytics) async fn load_blocks(
    db: &Transaction<'_>,
    merged: &Mergeable,
) -> Result<(Counts, Vec<i64>, i16), Error> {
    const SQL: Statement = Statement::new(
        "analytics_blocks.load",
        "SELECT number, level, cells, delays FROM analytics_blocks
         WHERE tenant_id = $1 AND generation = $2 AND day = $3 AND ($4::smallint IS NULL OR level = $4)",
    );
    let Mergeable { day, level } = merged;
    let rows = db
        .query(&SQL, &[&day.tenant.0, &day.generation, &day.day, level])
        .await?;
    let (mut counts, mut numbers, mut highest) = (Counts::default(), Vec::new(), 0);
    for row in &rows {
        counts.add_packed(row.get("cells"), row.get("delays"))?;
        numbers.push(row.get("number"));
        highest = highest.max(row.get("level"));
    }
    Ok((counts, numbers, highest))
}

pub(in crate::analytics) async fn delete_blocks(
    db: &Transaction<'_>,
    day: Counted,
    numbers: &[i64],
) -> Result<(), database::Error> {
    const SQL: Statement = Statement::new(
        "analytics_blocks.delete",
        "DELETE FROM analytics_blocks WHERE tenant_id = $1 AND generation = $2 AND day = $3 AND number = ANY($4)",
    );
    db.execute(&SQL, &[&day.tenant.0, &day.generation, &day.day, &numbers])
        .await
        .map(drop)
}

/// Takes the right to rebuild for this connection, unless another one has it.
pub(in crate::analytics) async fn try_take_rebuild(db: &Transaction<'_>) -> Result<bool, database::Error> {
    // "recount" in ASCII.
    const SQL: Statement = Statement::new(
        "analytics.try_take_rebuild",
        "SELECT pg_try_advisory_lock(x'7265636f756e74'::bigint)",
    );
    Ok(db.query_one(&SQL, &[]).await?.get(0))
}

/// All tenants, or the one that is named if there is such a one.
pub(in crate::analytics) async fn list_tenants(
    db: &Transaction<'_>,
    only: Option<TenantId>,
) -> Result<Vec<TenantId>, database::Error> {
    const SQL: Statement = Statement::new(
        "analytics.list_tenants",
        "SELECT id FROM tenants WHERE $1::uuid IS NULL OR id = $1 ORDER BY id",
    );
    let rows = db.query(&SQL, &[&only.map(|tenant| tenant.0)]).await?;
    Ok(rows.iter().map(|row| TenantId(row.get(0))).collect())
}

/// How many messages a tenant has.
pub(in crate::analytics) async fn count_messages(
    db: &Transaction<'_>,
    tenant: TenantId,
) -> Result<u64, database::Error> {
    const SQL: Statement = Statement::new(
        "analytics.count_messages",
        "SELECT coalesce(sum(last_seq), 0)::bigint FROM conversations WHERE tenant_id = $1",
    );
    let count: i64 = db.query_one(&SQL, &[&tenant.0]).await?.get(0);
    Ok(u64::try_from(count).unwrap_or_default())
}

/// Begins the next generation of a tenant's counts, or goes on with the one that was begun.
pub(in crate::analytics) async fn begin_generation(
    db: &Transaction<'_>,
    tenant: TenantId,
) -> Result<i32, database::Error> {
    const SQL: Statement = Statement::new(
        "analytics_tenants.begin_generation",
        "INSERT INTO analytics_tenants AS known (tenant_id, building) VALUES ($1, 1)
         ON CONFLICT (tenant_id) DO UPDATE SET building = coalesce(known.building, known.generation + 1)
         RETURNING building",
    );
    Ok(db.query_one(&SQL, &[&tenant.0]).await?.get(0))
}

/// A tenant's conversations with messages beyond their positions of a generation, in the order of
/// their ids, after one of them.
pub(in crate::analytics) async fn list_unbuilt(
    db: &Transaction<'_>,
    tenant: TenantId,
    generation: i32,
    after: Option<Uuid>,
    most: i64,
) -> Result<Vec<Uuid>, database::Error> {
    const SQL: Statement = Statement::new(
        "analytics.list_unbuilt",
        "SELECT c.id FROM conversations c
         LEFT JOIN analytics_positions p ON p.conversation_id = c.id AND p.generation = $2
         WHERE c.tenant_id = $1 AND ($3::uuid IS NULL OR c.id > $3)
           AND EXISTS (SELECT FROM messages m WHERE m.conversation_id = c.id AND m.seq > coalesce(p.through_seq, 0))
         ORDER BY c.id LIMIT $4",
    );
    let rows = db.query(&SQL, &[&tenant.0, &generation, &after, &most]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Up to when everything is counted.
pub(in crate::analytics) async fn find_progress(db: &Transaction<'_>) -> Result<Option<i64>, database::Error> {
    const SQL: Statement = Statement::new("analytics_progress.find", "SELECT data_through FROM analytics_progress");
    let row = db.query_opt(&SQL, &[]).await?;
    Ok(row.map(|row| row.get::<_, Timestamp>(0).timestamp_millis()))
}

/// Has the generation that was made read from now on.
pub(in crate::analytics) async fn switch_generation(
    db: &Transaction<'_>,
    tenant: TenantId,
) -> Result<(), database::Error> {
    const SQL: Statement = Statement::new(
        "analytics_tenants.switch_generation",
        "UPDATE analytics_tenants SET generation = building, building = NULL
         WHERE tenant_id = $1 AND building IS NOT NULL",
    );
    db.execute(&SQL, &[&tenant.0]).await.map(drop)
}

/// A number that changes whenever the generation of some tenant does.
pub(in crate::analytics) async fn load_switches(db: &Transaction<'_>) -> Result<i64, database::Error> {
    const SQL: Statement = Statement::new(
        "analytics_tenants.load_switches",
        "SELECT coalesce(sum(generation), 0)::bigint FROM analytics_tenants",
    );
    Ok(db.query_one(&SQL, &[]).await?.get(0))
}

/// Removes what is of older generations.
pub(in crate::analytics) async fn delete_old_generations(
    db: &Transaction<'_>,
    tenant: TenantId,
) -> Result<(), database::Error> {
    const SQL: Statement = Statement::new(
        "analytics.delete_old_generations",
        "WITH present AS (SELECT generation FROM analytics_tenants WHERE tenant_id = $1),
              blocks AS (DELETE FROM analytics_blocks WHERE tenant_id = $1 AND generation < (SELECT generation FROM present)),
              people AS (DELETE FROM analytics_people WHERE tenant_id = $1 AND generation < (SELECT generation FROM present))
         DELETE FROM analytics_positions WHERE tenant_id = $1 AND generation < (SELECT generation FROM present)",
    );
    db.execute(&SQL, &[&tenant.0]).await.map(drop)
}

/// The first and the last day (UTC, since 1970) on which a tenant has messages or blocks.
pub(in crate::analytics) async fn find_span(
    db: &Transaction<'_>,
    tenant: TenantId,
    generation: i32,
) -> Result<Option<(i32, i32)>, database::Error> {
    const SQL: Statement = Statement::new(
        "analytics.find_span",
        "SELECT least((SELECT floor(extract(epoch FROM created_at) / 86400)::int FROM messages
                       WHERE tenant_id = $1 ORDER BY created_at LIMIT 1),
                      (SELECT min(day) FROM analytics_blocks WHERE tenant_id = $1 AND generation = $2)) AS first,
                greatest((SELECT floor(extract(epoch FROM created_at) / 86400)::int FROM messages
                          WHERE tenant_id = $1 ORDER BY created_at DESC LIMIT 1),
                         (SELECT max(day) FROM analytics_blocks WHERE tenant_id = $1 AND generation = $2)) AS last",
    );
    let row = db.query_one(&SQL, &[&tenant.0, &generation]).await?;
    let (first, last): (Option<i32>, Option<i32>) = (row.get("first"), row.get("last"));
    Ok(first.zip(last))
}

/// When people posted for the first time, as it is known.
pub(in crate::analytics) async fn list_people(
    db: &Transaction<'_>,
    tenant: TenantId,
    generation: i32,
) -> Result<BTreeMap<UserId, i64>, database::Error> {
    const SQL: Statement = Statement::new(
        "analytics_people.list",
        "SELECT user_id, first_at FROM analytics_people WHERE tenant_id = $1 AND generation = $2",
    );
    let rows = db.query(&SQL, &[&tenant.0, &generation]).await?;
    let first = |row: &Row| {
        let at: Timestamp = row.get("first_at");
        (UserId(row.get("user_id")), at.timestamp_millis())
    };
    Ok(rows.iter().map(first).collect())
}
