//! When each API key was last used: noted in memory at every use, written in batches by
//! `upkeep.rs`.
//!
//! A key that is used a thousand times a second costs one write a minute ([`WRITE_INTERVAL`]). The
//! first use is written in the next round, about a second later.
//!
//! Bound: [`KEYS_MAX`] keys. Uses of further keys are not noted until others have been written. A
//! crash loses at most a minute. Both only make a time in a list of keys older.

use super::error::Error;
use super::store::api_keys as store;
use crate::database::Database;
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
const BATCH_MAX: usize = 1_000;

/// The uses that are not written yet, and when each key was last written.
#[derive(Default)]
pub(super) struct LastUsed {
    uses: Mutex<HashMap<ApiKeyId, KeyUse>>,
}

struct KeyUse {
    at: DateTime<Utc>,
    is_written: bool,
    written_at: Option<Instant>,
}

/// Which uses are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WriteScope {
    /// Those whose last write is long enough ago.
    Coalesced,
    /// All: the node stops.
    All,
}

impl LastUsed {
    /// A key was used.
    pub(super) fn note(&self, key: ApiKeyId, at: DateTime<Utc>) {
        let mut uses = self.uses.lock();
        if let Some(known) = uses.get_mut(&key) {
            known.at = known.at.max(at);
            known.is_written = false;
        } else if uses.len() < KEYS_MAX {
            let fresh = KeyUse {
                at,
                is_written: false,
                written_at: None,
            };
            uses.insert(key, fresh);
        }
    }

    /// Writes the uses. What cannot be written is tried again in the next round.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub(super) async fn write(&self, database: &Database, scope: WriteScope) -> Result<(), Error> {
        loop {
            let batch = self.take(scope, Instant::now());
            if batch.is_empty() {
                return Ok(());
            }
            let written = match database.client().await {
                Ok(client) => store::touch_api_keys(&client, &batch).await,
                Err(error) => Err(error.into()),
            };
            if let Err(error) = written {
                self.put_back(&batch);
                return Err(error);
            }
        }
    }

    /// One batch, which counts as written from now on. Keys that were not used for long are removed
    /// from memory.
    fn take(&self, scope: WriteScope, now: Instant) -> Vec<(ApiKeyId, DateTime<Utc>)> {
        let is_old = |at: Option<Instant>| at.is_none_or(|at| now.duration_since(at) >= WRITE_INTERVAL);
        let mut uses = self.uses.lock();
        uses.retain(|_, known| !known.is_written || !is_old(known.written_at));
        let wanted = |known: &KeyUse| !known.is_written && (scope == WriteScope::All || is_old(known.written_at));
        let mut batch = Vec::new();
        for (key, known) in uses.iter_mut().filter(|(_, known)| wanted(known)).take(BATCH_MAX) {
            (known.is_written, known.written_at) = (true, Some(now));
            batch.push((*key, known.at));
        }
        batch
    }

    /// A batch could not be written: it is due again.
    fn put_back(&self, batch: &[(ApiKeyId, DateTime<Utc>)]) {
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
            writes.extend(uses.take(
                WriteScope::Coalesced,
                start + Duration::from_secs(second.unsigned_abs()),
            ));
        }
        assert_eq!(writes, [(key, at(0)), (key, at(60)), (key, at(120))]);
        let end = start + Duration::from_secs(180);
        assert_eq!(
            uses.take(WriteScope::All, end),
            [(key, at(179))],
            "nothing is lost at the end"
        );
        assert!(uses.take(WriteScope::All, end).is_empty());
        assert!(uses.take(WriteScope::Coalesced, end + WRITE_INTERVAL).is_empty());
        assert!(uses.uses.lock().is_empty(), "idle keys are forgotten");
    }

    #[test]
    fn a_failed_write_is_due_again() {
        let (uses, key, now) = (LastUsed::default(), ApiKeyId::new(), Instant::now());
        uses.note(key, DateTime::UNIX_EPOCH);
        let batch = uses.take(WriteScope::Coalesced, now);
        uses.put_back(&batch);
        assert_eq!(uses.take(WriteScope::Coalesced, now), batch);
    }

    #[test]
    fn memory_is_bounded_and_batches_are() {
        let (uses, now) = (LastUsed::default(), Instant::now());
        for _ in 0..KEYS_MAX + 10 {
            uses.note(ApiKeyId::new(), DateTime::UNIX_EPOCH);
        }
        let mut total = 0;
        loop {
            let batch = uses.take(WriteScope::Coalesced, now);
            assert!(batch.len() <= BATCH_MAX);
            if batch.is_empty() {
                break;
            }
            total += batch.len();
        }
        assert_eq!(total, KEYS_MAX);
    }
}
