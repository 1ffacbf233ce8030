//! Read markers, coalesced: whatever a person reads within a second is one row of one statement.
//!
//! A marker only moves forward. So the latest replaces the earlier, a crash sets one back by about
//! a second at most, and a repeated write changes nothing. Bounded by [`MARKERS_MAX`]; beyond it
//! further people's markers are dropped until the next flush, which the clients' next `read`
//! repairs.
//!
//! What waits, and what was written last, can be asked for. A person who has just read, or sent,
//! and then lists their conversations must not find them unread because the row is a second behind.

use super::store;
use crate::database::Database;
use crate::ids::{ConversationId, Seq, UserId};
use parking_lot::Mutex;
use std::collections::HashMap;

/// Markers that wait for a flush.
const MARKERS_MAX: usize = 200_000;
/// Markers in one statement.
const FLUSH_ROWS: usize = 5_000;

type MarkerKey = (ConversationId, UserId);

#[derive(Debug, Default)]
pub(super) struct ReadMarkers {
    waiting: Mutex<HashMap<MarkerKey, Seq>>,
    /// What the latest flush took, kept until the next: someone may have read the row just before
    /// it was written.
    flushed: Mutex<HashMap<MarkerKey, Seq>>,
    /// One flush at a time, so that the last one before the end waits for the one under way.
    flushing: tokio::sync::Mutex<()>,
}

impl ReadMarkers {
    pub(super) fn mark(&self, conversation_id: ConversationId, user_id: UserId, seq: Seq) {
        let mut waiting = self.waiting.lock();
        if waiting.len() >= MARKERS_MAX && !waiting.contains_key(&(conversation_id, user_id)) {
            return;
        }
        let marker = waiting.entry((conversation_id, user_id)).or_insert(seq);
        *marker = (*marker).max(seq);
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.lock().len()
    }

    /// How far a user has read, if it was noted within about the last second.
    pub(super) fn latest(&self, conversation_id: ConversationId, user_id: UserId) -> Option<Seq> {
        let key = (conversation_id, user_id);
        let waiting = self.waiting.lock();
        let flushed = self.flushed.lock();
        waiting.get(&key).max(flushed.get(&key)).copied()
    }

    /// Takes what waits; it stays visible in `flushed`, without a moment in between where it is in
    /// neither.
    fn take(&self) -> Vec<(MarkerKey, Seq)> {
        let mut waiting = self.waiting.lock();
        let mut flushed = self.flushed.lock();
        *flushed = std::mem::take(&mut *waiting);
        flushed.iter().map(|(key, seq)| (*key, *seq)).collect()
    }

    /// Writes what waits. What cannot be written waits on.
    pub(super) async fn flush(&self, database: &Database) {
        let _alone = self.flushing.lock().await;
        let mut markers: Vec<(MarkerKey, Seq)> = self.take();
        // The same order everywhere, so that two nodes cannot deadlock on the rows.
        markers.sort_unstable();
        let mut written = 0;
        for rows in markers.chunks(FLUSH_ROWS) {
            if let Err(error) = write(database, rows).await {
                tracing::warn!(%error, rows = markers.len() - written, "read markers not written; they wait");
                for ((conversation_id, user_id), seq) in &markers[written..] {
                    self.mark(*conversation_id, *user_id, *seq);
                }
                return;
            }
            written += rows.len();
        }
    }
}

async fn write(database: &Database, rows: &[(MarkerKey, Seq)]) -> Result<(), crate::database::Error> {
    let conversation_ids: Vec<_> = rows.iter().map(|((id, _), _)| id.0).collect();
    let user_ids: Vec<_> = rows.iter().map(|((_, id), _)| id.0).collect();
    let seqs: Vec<_> = rows.iter().map(|(_, seq)| seq.0).collect();
    let client = database.client().await?;
    store::move_read_markers(&client, &conversation_ids, &user_ids, &seqs).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_marker_is_visible_before_during_and_after_its_flush() {
        let (markers, conversation, user) = (ReadMarkers::default(), ConversationId::new(), UserId::new());
        assert_eq!(markers.latest(conversation, user), None);
        markers.mark(conversation, user, Seq(7));
        markers.mark(conversation, user, Seq(5));
        assert_eq!(
            markers.latest(conversation, user),
            Some(Seq(7)),
            "it only moves forward"
        );
        assert_eq!(markers.take(), vec![((conversation, user), Seq(7))]);
        assert_eq!(markers.latest(conversation, user), Some(Seq(7)));
        markers.mark(conversation, user, Seq(9));
        assert_eq!(markers.latest(conversation, user), Some(Seq(9)));
        markers.take();
        assert!(markers.take().is_empty());
        assert_eq!(markers.latest(conversation, user), None, "by then the row has it");
    }
}
