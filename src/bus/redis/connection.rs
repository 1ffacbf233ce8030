//! When a connection of the bus counts as broken, and when the next one is tried.

use crate::supervision::Backoff;
use redis::{ErrorKind, RedisError, ServerErrorKind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long one round trip, or the making of a connection, may take.
pub(super) const REPLY_TIMEOUT: Duration = Duration::from_secs(2);
/// The pauses between tries to connect: short at first, then longer. It is tried for ever.
pub(super) const RECONNECTS: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
/// After a connection that held for so long, the pauses are short again.
const HELD_MIN: Duration = Duration::from_secs(60);

/// Makes the pauses short again after a connection that held for long.
pub(super) fn reset_if_held(reconnects: &mut Backoff, connected_at: Instant) {
    if connected_at.elapsed() >= HELD_MIN {
        reconnects.reset();
    }
}

/// Sets a flag while a connection works: until this is dropped, also by a panic.
pub(super) struct ConnectedGuard<'a>(&'a AtomicBool);

impl<'a> ConnectedGuard<'a> {
    pub(super) fn new(flag: &'a AtomicBool) -> Self {
        flag.store(true, Ordering::Relaxed);
        Self(flag)
    }
}

impl Drop for ConnectedGuard<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// Whether a server refused something because it does not have the slot, or not alone.
pub(super) fn is_of_another_layout(error: &RedisError) -> bool {
    let ErrorKind::Server(kind) = error.kind() else {
        return false;
    };
    matches!(
        kind,
        ServerErrorKind::Moved | ServerErrorKind::Ask | ServerErrorKind::TryAgain | ServerErrorKind::ClusterDown
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_counts_as_broken_also_after_a_panic() {
        let flag = AtomicBool::new(false);
        let dies = std::panic::AssertUnwindSafe(|| {
            let _connected = ConnectedGuard::new(&flag);
            assert!(!flag.load(Ordering::Relaxed), "on purpose");
        });
        assert!(std::panic::catch_unwind(dies).is_err());
        assert!(!flag.load(Ordering::Relaxed));
    }

    #[test]
    fn only_a_connection_that_held_makes_the_pauses_short_again() {
        let mut reconnects = RECONNECTS;
        for _ in 0..10 {
            assert!(reconnects.next_pause() <= Duration::from_secs(2));
            reset_if_held(&mut reconnects, Instant::now());
        }
        assert_eq!(reconnects.next_pause(), Duration::from_secs(2));
        if let Some(long_ago) = Instant::now().checked_sub(HELD_MIN) {
            reset_if_held(&mut reconnects, long_ago);
            assert_eq!(reconnects.next_pause(), Duration::from_millis(100));
        }
    }
}
