//! A page of a replay that waits for its socket, and how its producer and the outbox keep in step.
//!
//! The producer reads the next page when the one before has been taken ([`PageSent`]), and the
//! connection's other replays have had their turn ([`PageTurn`]). When nobody wants the replay any
//! more ([`ReplayInterest`] is dropped), pages that still wait are not written.

use super::encode::Frame;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::{Notify, SemaphorePermit, oneshot};

/// Resolves when a page of a replay has been taken by the socket; fails when the connection ends
/// first.
pub type PageSent = oneshot::Receiver<()>;

/// Held by who makes and sends the next page for a connection: one page at a time is in memory.
#[derive(Debug)]
pub struct PageTurn<'a> {
    pub(super) _permit: SemaphorePermit<'a>,
}

#[derive(Debug, Default)]
struct Wanted {
    is_over: AtomicBool,
    over: Notify,
}

/// Held by who wants a replay to go on.
#[derive(Debug, Default)]
pub struct ReplayInterest(Arc<Wanted>);

impl ReplayInterest {
    /// What the pages of the replay carry.
    #[must_use]
    pub fn watch(&self) -> ReplayWatch {
        ReplayWatch(self.0.clone())
    }
}

impl Drop for ReplayInterest {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::Release);
        self.0.over.notify_waiters();
    }
}

/// Shows whether a replay is still wanted.
#[derive(Clone, Debug)]
pub struct ReplayWatch(Arc<Wanted>);

impl ReplayWatch {
    /// Whether nobody wants the replay any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.0.is_over.load(Ordering::Acquire)
    }

    /// Waits until nobody wants the replay any more.
    pub async fn over(&self) {
        // First, so that nothing is missed between the look and the wait.
        let over = self.0.over.notified();
        if !self.is_over() {
            over.await;
        }
    }
}

/// A page that waits.
#[derive(Debug)]
pub(super) struct ReplayPage {
    pub(super) frame: Frame,
    pub(super) watch: ReplayWatch,
    pub(super) sent: oneshot::Sender<()>,
}
