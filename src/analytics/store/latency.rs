//! The SQL of stored latencies.

use crate::database::{Client, Error, Statement, Transaction};
use crate::ids::{NodeId, TenantId};
use crate::latency::{LatencyHistogram, LatencyKind};
use chrono::{DateTime, Utc};
use std::collections::HashMap;
use uuid::Uuid;

/// How long the rows of a level are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::analytics) enum LatencySpan {
    Quarter,
    Hour,
}

impl LatencySpan {
    pub(in crate::analytics) const ALL: [Self; 2] = [Self::Quarter, Self::Hour];

    pub(in crate::analytics) const fn minutes(self) -> i16 {
        match self {
            Self::Quarter => 15,
            Self::Hour => 60,
        }
    }

    pub(in crate::analytics) const fn ms(self) -> i64 {
        self.minutes() as i64 * 60_000
    }
}

/// Which row of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::analytics) struct LatencyKey {
    pub(in crate::analytics) tenant: TenantId,
    pub(in crate::analytics) kind: LatencyKind,
    pub(in crate::analytics) span: LatencySpan,
    /// In milliseconds of Unix time.
    pub(in crate::analytics) at: i64,
}

/// A row as it is to be.
pub(in crate::analytics) struct LatencyRow {
    pub(in crate::analytics) key: LatencyKey,
    pub(in crate::analytics) histogram: LatencyHistogram,
}

/// A row as it is.
pub(in crate::analytics) struct StoredLatency {
    pub(in crate::analytics) histogram: LatencyHistogram,
    /// The last batch that is in it.
    pub(in crate::analytics) batch: i64,
}

#[derive(Default)]
struct KeyColumns {
    tenants: Vec<Uuid>,
    kinds: Vec<&'static str>,
    minutes: Vec<i16>,
    ats: Vec<DateTime<Utc>>,
}

impl KeyColumns {
    fn of<'a>(keys: impl Iterator<Item = &'a LatencyKey>) -> Self {
        let mut columns = Self::default();
        for key in keys {
            columns.tenants.push(key.tenant.0);
            columns.kinds.push(key.kind.as_str());
            columns.minutes.push(key.span.minutes());
            columns.ats.push(moment(key.at));
        }
        columns
    }
}

fn moment(ms: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(ms).unwrap_or_default()
}

/// The rows of a node that are there already.
pub(in crate::analytics) async fn find_own(
    tx: &Transaction<'_>,
    node: NodeId,
    rows: &[LatencyRow],
) -> Result<HashMap<LatencyKey, StoredLatency>, Error> {
    const SQL: Statement = Statement::new(
        "latency_histograms.find_own",
        "SELECT h.buckets, h.max_us, h.batch, i.n
         FROM unnest($1::uuid[], $2::text[], $3::smallint[], $4::timestamptz[]) WITH ORDINALITY
              AS i (tenant_id, kind, minutes, at, n)
         JOIN latency_histograms h ON h.tenant_id = i.tenant_id AND h.kind = i.kind AND h.minutes = i.minutes
              AND h.at = i.at AND h.node_id = $5",
    );
    let KeyColumns {
        tenants,
        kinds,
        minutes,
        ats,
    } = KeyColumns::of(rows.iter().map(|row| &row.key));
    let found = tx.query(&SQL, &[&tenants, &kinds, &minutes, &ats, &node.0]).await?;
    let stored = found.iter().filter_map(|row| {
        let n = usize::try_from(row.get::<_, i64>("n") - 1).ok()?;
        let max_us = u64::try_from(row.get::<_, i64>("max_us")).unwrap_or(0);
        let histogram = LatencyHistogram::decode(row.get("buckets"), max_us).unwrap_or_default();
        let batch = row.get("batch");
        Some((rows.get(n)?.key, StoredLatency { histogram, batch }))
    });
    Ok(stored.collect())
}

pub(in crate::analytics) async fn upsert(
    tx: &Transaction<'_>,
    node: NodeId,
    batch: i64,
    rows: &[LatencyRow],
) -> Result<(), Error> {
    const SQL: Statement = Statement::new(
        "latency_histograms.upsert",
        "INSERT INTO latency_histograms (tenant_id, kind, minutes, at, node_id, buckets, max_us, batch)
         SELECT i.tenant_id, i.kind, i.minutes, i.at, $5, i.buckets, i.max_us, $8
         FROM unnest($1::uuid[], $2::text[], $3::smallint[], $4::timestamptz[], $6::bytea[], $7::bigint[])
              AS i (tenant_id, kind, minutes, at, buckets, max_us)
         ON CONFLICT (tenant_id, kind, minutes, at, node_id) DO UPDATE
         SET buckets = excluded.buckets, max_us = excluded.max_us, batch = excluded.batch",
    );
    let KeyColumns {
        tenants,
        kinds,
        minutes,
        ats,
    } = KeyColumns::of(rows.iter().map(|row| &row.key));
    let buckets: Vec<Vec<u8>> = rows.iter().map(|row| row.histogram.encode()).collect();
    let max_us = rows
        .iter()
        .map(|row| i64::try_from(row.histogram.max_us()).unwrap_or(i64::MAX));
    let max_us: Vec<i64> = max_us.collect();
    tx.execute(
        &SQL,
        &[&tenants, &kinds, &minutes, &ats, &node.0, &buckets, &max_us, &batch],
    )
    .await
    .map(drop)
}

/// What a range of time of a tenant is read by.
pub(in crate::analytics) struct LatencyRange {
    pub(in crate::analytics) tenant: TenantId,
    pub(in crate::analytics) kind: LatencyKind,
    pub(in crate::analytics) span: LatencySpan,
    /// In milliseconds of Unix time, half open.
    pub(in crate::analytics) from: i64,
    pub(in crate::analytics) to: i64,
}

/// The rows of all nodes that begin in a range, in the order of time. The caller bounds the range.
pub(in crate::analytics) async fn list(
    client: &Client,
    range: &LatencyRange,
    mut found: impl FnMut(i64, &LatencyHistogram),
) -> Result<(), Error> {
    const SQL: Statement = Statement::new(
        "latency_histograms.list",
        "SELECT at, buckets, max_us FROM latency_histograms
         WHERE tenant_id = $1 AND kind = $2 AND minutes = $3 AND at >= $4 AND at < $5 ORDER BY at",
    );
    let rows = client
        .query(
            &SQL,
            &[
                &range.tenant.0,
                &range.kind.as_str(),
                &range.span.minutes(),
                &moment(range.from),
                &moment(range.to),
            ],
        )
        .await?;
    for row in &rows {
        let max_us = u64::try_from(row.get::<_, i64>("max_us")).unwrap_or(0);
        match LatencyHistogram::decode(row.get("buckets"), max_us) {
            Some(histogram) => found(row.get::<_, DateTime<Utc>>("at").timestamp_millis(), &histogram),
            None => tracing::error!("a stored latency histogram cannot be read"),
        }
    }
    Ok(())
}
