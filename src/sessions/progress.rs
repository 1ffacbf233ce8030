//! Whether the reader of a socket gets on. Pure.
//!
//! Two kinds do not. Who takes nothing for the stall timeout while something waits. And who trickles:
//! takes a little now and then, so that it is never nothing, while what waits for it stays in memory.
//! The second is judged by bytes over time: at each look much waits, and over the stall timeout less
//! than [`BYTES_PER_SECOND_MIN`] was taken.
//!
//! Used by the sweep, once a second for each connection. Who has taken all in between begins anew.

use crate::wire::OutboxProgress;
use std::time::{Duration, Instant};

/// What waits is worth judging from here on. A reader with less is no burden, however slow.
const BURDEN_BYTES: usize = 64 * 1_024;
/// A modem takes as many.
const BYTES_PER_SECOND_MIN: u64 = 4 * 1_024;

/// What is remembered of one reader.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReadingProgress {
    /// What the outbox said last, if anything waited.
    seen: Option<OutboxProgress>,
    /// Since when nothing has been taken.
    unchanged_since: Instant,
    /// Since when much has waited at each look, and how many bytes had been taken by then.
    burden: Option<Burden>,
}

#[derive(Clone, Copy, Debug)]
struct Burden {
    since: Instant,
    taken_bytes: u64,
}

impl ReadingProgress {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            seen: None,
            unchanged_since: now,
            burden: None,
        }
    }

    /// Whether the reader has taken nothing, or next to nothing, for so long.
    pub(super) fn is_stuck(&mut self, seen: Option<OutboxProgress>, now: Instant, timeout: Duration) -> bool {
        let drains = |progress: OutboxProgress| progress.drains;
        if seen.is_none() || seen.map(drains) != self.seen.map(drains) {
            self.unchanged_since = now;
        }
        self.seen = seen;
        now.duration_since(self.unchanged_since) >= timeout || self.trickles(now, timeout)
    }

    fn trickles(&mut self, now: Instant, timeout: Duration) -> bool {
        let Some(seen) = self.seen.filter(|seen| seen.waiting_bytes >= BURDEN_BYTES) else {
            self.burden = None;
            return false;
        };
        let begun = Burden {
            since: now,
            taken_bytes: seen.taken_bytes,
        };
        let burden = *self.burden.get_or_insert(begun);
        let lasted = now.duration_since(burden.since);
        if lasted < timeout {
            return false;
        }
        // The next stretch is judged by itself.
        self.burden = Some(begun);
        let taken = seen.taken_bytes.saturating_sub(burden.taken_bytes);
        taken < BYTES_PER_SECOND_MIN * lasted.as_secs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(30);

    /// Whether one is found stuck who takes so many bytes each second while so many wait, in five
    /// minutes.
    fn is_found(waiting_bytes: usize, bytes_per_second: u64) -> Option<u64> {
        let start = Instant::now();
        let mut reading = ReadingProgress::new(start);
        (0..300).find(|second| {
            let progress = OutboxProgress {
                drains: if bytes_per_second == 0 { 0 } else { *second },
                taken_bytes: second * bytes_per_second,
                waiting_bytes,
            };
            reading.is_stuck(Some(progress), start + Duration::from_secs(*second), TIMEOUT)
        })
    }

    #[test]
    fn who_takes_nothing_or_next_to_nothing_is_stuck() {
        assert_eq!(is_found(1, 0), Some(30));
        assert_eq!(is_found(BURDEN_BYTES, 0), Some(30));
        assert_eq!(is_found(BURDEN_BYTES, 1), Some(30));
        assert_eq!(is_found(BURDEN_BYTES, BYTES_PER_SECOND_MIN - 1), Some(30));
        assert_eq!(is_found(BURDEN_BYTES, BYTES_PER_SECOND_MIN), None, "slow, and gets on");
        assert_eq!(is_found(BURDEN_BYTES - 1, 1), None, "no burden");
    }

    #[test]
    fn who_has_taken_all_begins_anew() {
        let start = Instant::now();
        let mut reading = ReadingProgress::new(start);
        for second in 0..300 {
            let progress = OutboxProgress {
                drains: second,
                taken_bytes: second,
                waiting_bytes: if second % 20 == 0 { 1 } else { BURDEN_BYTES },
            };
            let now = start + Duration::from_secs(second);
            assert!(!reading.is_stuck(Some(progress), now, TIMEOUT));
        }
    }
}
