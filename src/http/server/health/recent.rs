//! The latest checks, repeated for a short time.
//!
//! Everybody may ask for health, as often as they like, and no quota counts it. So the parts are
//! asked once at a time, and their replies are good for [`REMEMBERED_FOR`]: what they cost does not
//! grow with those who ask.

use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// For how long the replies of the parts are repeated.
const REMEMBERED_FOR: Duration = Duration::from_secs(1);

/// The latest checks and when they ended; none at first.
pub(super) struct RecentChecks<T>(Mutex<Option<(Instant, T)>>);

impl<T> Default for RecentChecks<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T: Clone> RecentChecks<T> {
    /// Checks, or repeats what was just found. Anyone who comes meanwhile waits for the same checks.
    pub(super) async fn get_or(&self, check: impl Future<Output = T>) -> T {
        let mut latest = self.0.lock().await;
        if let Some((at, found)) = &*latest
            && at.elapsed() < REMEMBERED_FOR
        {
            return found.clone();
        }
        let found = check.await;
        *latest = Some((Instant::now(), found.clone()));
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::future::join_all;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn many_who_ask_at_once_cost_one_check() {
        let (asked, recent) = (AtomicUsize::new(0), RecentChecks::default());
        let check = || async {
            asked.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
            7
        };
        let found = join_all((0..100).map(|_| recent.get_or(check()))).await;
        assert!(found.iter().all(|found| *found == 7));
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }
}
