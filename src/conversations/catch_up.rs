//! Reads what a conversation has missed, for a state that is behind the database.

use super::dependencies::ConversationContext;
use super::store;
use crate::database::Error;
use crate::ids::{ConversationId, Rev};
use crate::wire::Change;

/// About how many changes are read at once; the conversation goes on from there. Fewer than an
/// outbox holds.
const CATCH_UP_MAX: usize = 500;
/// About how many bytes of them, likewise: what is pushed in one turn should leave room in the
/// outboxes of all subscribers.
const CATCH_UP_BYTES_MAX: usize = 256 * 1024;

/// What was read.
pub(super) struct CaughtUp {
    /// The net effect of what came after the revision that was known, ascending.
    pub(super) changes: Vec<Change>,
    /// The revision that the database has. More may be left to read.
    pub(super) latest: Rev,
}

/// Reads what came after a revision; at most about [`CATCH_UP_MAX`] changes and
/// [`CATCH_UP_BYTES_MAX`] of it. Waits for one of the node's permits to read.
pub(super) async fn read_changes_after(
    context: &ConversationContext,
    id: ConversationId,
    after: Rev,
) -> Result<CaughtUp, Error> {
    let _permit = context.catch_ups.acquire().await;
    let latest = store::load_rev(&context.database, id).await?;
    let mut found = Vec::new();
    let (mut from, mut bytes) = (after, 0);
    while from < latest && found.len() < CATCH_UP_MAX && bytes < CATCH_UP_BYTES_MAX {
        let page = store::load_changes(&context.database, id, from, latest).await?;
        bytes += page.changes.iter().map(Change::weight).sum::<usize>();
        found.extend(page.changes);
        from = page.through;
    }
    Ok(CaughtUp { changes: found, latest })
}
