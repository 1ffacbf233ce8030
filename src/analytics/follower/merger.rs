//! Makes few blocks of many: eight of a day and level become one of the next level, and all of a day
//! that is over become one. So the work for each message is bounded, and a year is few rows.
//!
//! A transaction for each merge: blocks are replaced by their sum at once, and no question sees both.

use crate::analytics::error::Error;
use crate::analytics::store::{self, Counted, Mergeable, WrittenBlocks};
use crate::database::{Dedicated, Transaction};

/// So many blocks of a level become one.
pub(in crate::analytics) const FANOUT: i64 = 8;
/// Days that are merged with one look.
const DAYS_MAX: i64 = 1_000;

/// Merges where some days have got many blocks.
pub(in crate::analytics) async fn merge_touched(connection: &mut Dedicated, days: &[Counted]) -> Result<(), Error> {
    let tx = connection.begin().await?;
    let mergeable = store::find_mergeable(&tx, days, FANOUT).await?;
    tx.commit().await?;
    merge_all(connection, &mergeable).await
}

/// Merges the days before `today` that have more than one block; whether there may be more.
pub(in crate::analytics) async fn merge_finished(connection: &mut Dedicated, today: i32) -> Result<bool, Error> {
    let tx = connection.begin().await?;
    let mergeable = store::list_unmerged(&tx, today, DAYS_MAX).await?;
    tx.commit().await?;
    let is_full = i64::try_from(mergeable.len()).unwrap_or(i64::MAX) >= DAYS_MAX;
    merge_all(connection, &mergeable).await?;
    Ok(is_full)
}

async fn merge_all(connection: &mut Dedicated, mergeable: &[Mergeable]) -> Result<(), Error> {
    for one in mergeable {
        let tx = connection.begin().await?;
        store::hold_counts(&tx).await?;
        merge(&tx, one).await?;
        tx.commit().await?;
    }
    Ok(())
}

/// Replaces blocks of a day by one.
async fn merge(tx: &Transaction<'_>, merged: &Mergeable) -> Result<(), Error> {
    let (mut counts, numbers, level) = store::load_blocks(tx, merged).await?;
    if numbers.len() < 2 {
        return Ok(());
    }
    store::delete_blocks(tx, merged.day, &numbers).await?;
    let written = WrittenBlocks {
        level: level.saturating_add(1),
        blocks: vec![(merged.day, counts.pack())],
    };
    Ok(store::insert_blocks(tx, &written).await?)
}
