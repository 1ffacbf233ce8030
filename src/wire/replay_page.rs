//! A page of a replay that waits for its socket, and how its producer and the outbox keep in step.
//!
//! The producer reads the next page when the one before has been taken ([`PageSent`]). When nobody
//! wants the replay any more ([`ReplayInterest`] is dropped), pages that still wait are not
//! written.

use super::encode::Frame;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::oneshot;

/// Resolves when a page of a replay has been taken by the socket; fails when the connection ends
/// first.
pub type PageSent = oneshot::Receiver<()>;

/// Held by who wants a replay to go on.
#[derive(Debug, Default)]
pub struct ReplayInterest(Arc<AtomicBool>);

impl ReplayInterest {
    /// What the pages of the replay carry.
    #[must_use]
    pub fn watch(&self) -> ReplayWatch {
        ReplayWatch(self.0.clone())
    }
}

impl Drop for ReplayInterest {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Shows whether a replay is still wanted.
#[derive(Clone, Debug)]
pub struct ReplayWatch(Arc<AtomicBool>);

impl ReplayWatch {
    /// Whether nobody wants the replay any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// A page that waits.
#[derive(Debug)]
pub(super) struct ReplayPage {
    pub(super) frame: Frame,
    pub(super) watch: ReplayWatch,
    pub(super) sent: oneshot::Sender<()>,
}
