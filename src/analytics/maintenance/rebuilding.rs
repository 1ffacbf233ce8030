//! Makes the counts of tenants anew from their messages, while questions are answered from those
//! that are there.
//!
//! A tenant's next generation is made beside the present one, conversation by conversation, and takes
//! its place in one transaction at the end. Interrupted, it goes on where its positions are. One
//! rebuild at a time: a second one waits, by a lock of its connection.

use super::report::{CountsReport, MaintenanceError};
use crate::analytics::error::Error;
use crate::analytics::follower::{CountedBatch, count, merge_touched};
use crate::analytics::store;
use crate::database::{Database, Dedicated};
use crate::ids::TenantId;
use std::time::Duration;
use uuid::Uuid;

/// Conversations that are counted in one transaction.
const CONVERSATIONS: i64 = 16;
/// Between two tries to begin.
const RETRY: Duration = Duration::from_millis(500);

/// Makes the counts of all tenants, or of one, anew. `progress` is called after each transaction.
///
/// # Errors
/// [`MaintenanceError`]; then what is answered is as it was, and the next rebuild goes on.
pub async fn rebuild(
    database: &Database,
    only: Option<TenantId>,
    mut progress: impl FnMut(&CountsReport),
) -> Result<CountsReport, MaintenanceError> {
    let mut connection = database.dedicated().await?;
    store::prepare_connection(&connection).await?;
    take_turn(&mut connection).await?;
    let tx = connection.begin().await?;
    let tenants = store::list_tenants(&tx, only).await?;
    let mut report = CountsReport::default();
    for tenant in &tenants {
        report.total += store::count_messages(&tx, *tenant).await?;
    }
    tx.commit().await?;
    if let Some(unknown) = only.filter(|_| tenants.is_empty()) {
        return Err(MaintenanceError::UnknownTenant(unknown));
    }
    for tenant in tenants {
        rebuild_tenant(&mut connection, tenant, &mut report, &mut progress).await?;
    }
    Ok(report)
}

/// Waits until no other rebuild is under way.
async fn take_turn(connection: &mut Dedicated) -> Result<(), Error> {
    let mut is_told = false;
    loop {
        let tx = connection.begin().await?;
        let is_ours = store::try_take_rebuild(&tx).await?;
        tx.commit().await?;
        if is_ours {
            return Ok(());
        }
        if !is_told {
            tracing::info!("another rebuild is under way; this one waits for its end");
            is_told = true;
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn rebuild_tenant(
    connection: &mut Dedicated,
    tenant: TenantId,
    report: &mut CountsReport,
    progress: &mut impl FnMut(&CountsReport),
) -> Result<(), Error> {
    let tx = connection.begin().await?;
    let generation = store::begin_generation(&tx, tenant).await?;
    tx.commit().await?;
    let mut after = None;
    loop {
        let tx = connection.begin().await?;
        // What is later is not said to be counted, so it must not be in it.
        let through = store::find_progress(&tx).await?.unwrap_or(i64::MAX);
        let some = store::list_unbuilt(&tx, tenant, generation, after, CONVERSATIONS).await?;
        tx.commit().await?;
        let Some(last) = some.last().copied() else { break };
        build(connection, generation, some, through, |messages| {
            report.messages += messages as u64;
            progress(report);
        })
        .await?;
        after = Some(last);
    }
    fail::fail_point!("analytics::rebuild");
    finish(connection, tenant, generation, report).await?;
    let tx = connection.begin().await?;
    store::delete_old_generations(&tx, tenant).await?;
    tx.commit().await?;
    Ok(())
}

/// Counts some conversations of the generation that is made, to their end.
async fn build(
    connection: &mut Dedicated,
    generation: i32,
    mut left: Vec<Uuid>,
    through: i64,
    mut counted: impl FnMut(usize),
) -> Result<(), Error> {
    while !left.is_empty() {
        let tx = connection.begin().await?;
        let CountedBatch {
            messages,
            days,
            unfinished,
        } = count(&tx, &left, through, Some(generation)).await?;
        tx.commit().await?;
        counted(messages);
        merge_touched(connection, &days).await?;
        left = unfinished;
    }
    Ok(())
}

/// Counts what has come meanwhile, and puts the generation into its place, in one transaction in
/// which nobody else counts.
async fn finish(
    connection: &mut Dedicated,
    tenant: TenantId,
    generation: i32,
    report: &mut CountsReport,
) -> Result<(), Error> {
    let tx = connection.begin().await?;
    store::hold_counts(&tx).await?;
    let through = store::find_progress(&tx).await?.unwrap_or(i64::MAX);
    let mut after = None;
    loop {
        let mut left = store::list_unbuilt(&tx, tenant, generation, after, CONVERSATIONS).await?;
        let Some(last) = left.last().copied() else { break };
        while !left.is_empty() {
            let batch = count(&tx, &left, through, Some(generation)).await?;
            report.messages += batch.messages as u64;
            left = batch.unfinished;
        }
        after = Some(last);
    }
    store::switch_generation(&tx, tenant).await?;
    tx.commit().await?;
    Ok(())
}
