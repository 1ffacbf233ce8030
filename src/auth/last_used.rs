//! When each API key was last used: noted in memory at every use, written by the upkeep task in batches.
//!
//! A key that is used a thousand times a second costs one write a minute ([`WRITE_INTERVAL`]); the first use is written at
//! the next round, about a second later. Bounds: [`KEYS_MAX`] keys are remembered; the uses of further ones are not noted
//! until others have been written, which a list of keys survives. A crash loses at most a minute of it.

use crate::ids::ApiKeyId;
use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Between two writes of one key.
const WRITE_INTERVAL: Duration = Duration::from_secs(60);
/// Keys that are remembered.
const KEYS_MAX: usize = 10_000;
/// Keys that one statement writes at most.
pub(super) const BATCH_MAX: usize = 1_000;

/// The uses that are not written yet, and when each key was last written.
#[derive(Default)]
pub(super) struct LastUsed {
    uses: Mutex<HashMap<ApiKeyId, Use>>,
}

struct Use {
    at: DateTime<Utc>,
    is_written: bool,
    written_at: Option<Instant>,
}

/// Whose uses are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Those whose last write is long enough ago.
    Coalesced,
    /// All: the node stops.
    Everything,
}

impl LastUsed {
    /// A key was used.
    pub(super) fn note(&self, key: ApiKeyId, at: DateTime<Utc>) {
        let mut uses = self.uses.lock();
        if let Some(known) = uses.get_mut(&key) {
            known.at = known.at.max(at);
            known.is_written = false;
        } else if uses.len() < KEYS_MAX {
            let fresh = Use {
                at,
                is_written: false,
                written_at: None,
            };
            uses.insert(key, fresh);
        }
    }

    /// One batch of what is due, which counts as written from now on; what is of no use any more is forgotten.
    pub(super) fn take(&self, due: Due, now: Instant) -> Vec<(ApiKeyId, DateTime<Utc>)> {
        let is_old = |at: Option<Instant>| at.is_none_or(|at| now.duration_since(at) >= WRITE_INTERVAL);
        let mut uses = self.uses.lock();
        uses.retain(|_, known| !known.is_written || !is_old(known.written_at));
        let wanted = |known: &Use| !known.is_written && (due == Due::Everything || is_old(known.written_at));
        let mut batch = Vec::new();
        for (key, known) in uses.iter_mut().filter(|(_, known)| wanted(known)).take(BATCH_MAX) {
            (known.is_written, known.written_at) = (true, Some(now));
            batch.push((*key, known.at));
        }
        batch
    }

    /// A batch could not be written: it is due again.
    pub(super) fn put_back(&self, batch: &[(ApiKeyId, DateTime<Utc>)]) {
        let mut uses = self.uses.lock();
        for (key, _) in batch {
            if let Some(known) = uses.get_mut(key) {
                (known.is_written, known.written_at) = (false, None);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;

    #[test]
    fn a_busy_key_is_written_once_a_minute() {
        let (uses, key, start) = (LastUsed::default(), ApiKeyId::new(), Instant::now());
        let at = |seconds| DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds);
        let mut writes = Vec::new();
        for second in 0..180 {
            for _ in 0..10 {
                uses.note(key, at(second));
            }
            writes.extend(uses.take(Due::Coalesced, start + Duration::from_secs(second.unsigned_abs())));
        }
        assert_eq!(writes, [(key, at(0)), (key, at(60)), (key, at(120))]);
        let end = start + Duration::from_secs(180);
        assert_eq!(
            uses.take(Due::Everything, end),
            [(key, at(179))],
            "nothing is lost at the end"
        );
        assert!(uses.take(Due::Everything, end).is_empty());
        assert!(uses.take(Due::Coalesced, end + WRITE_INTERVAL).is_empty());
        assert!(uses.uses.lock().is_empty(), "idle keys are forgotten");
    }

    #[test]
    fn a_failed_write_is_due_again() {
        let (uses, key, now) = (LastUsed::default(), ApiKeyId::new(), Instant::now());
        uses.note(key, DateTime::UNIX_EPOCH);
        let batch = uses.take(Due::Coalesced, now);
        uses.put_back(&batch);
        assert_eq!(uses.take(Due::Coalesced, now), batch);
    }

    #[test]
    fn memory_is_bounded_and_batches_are() {
        let (uses, now) = (LastUsed::default(), Instant::now());
        for _ in 0..KEYS_MAX + 10 {
            uses.note(ApiKeyId::new(), DateTime::UNIX_EPOCH);
        }
        let mut total = 0;
        loop {
            let batch = uses.take(Due::Coalesced, now);
            assert!(batch.len() <= BATCH_MAX);
            if batch.is_empty() {
                break;
            }
            total += batch.len();
        }
        assert_eq!(total, KEYS_MAX);
    }
}
