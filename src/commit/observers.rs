//! Who is notified of commits.
//!
//! The list is made in `app.rs`. The writer of each lane calls every observer, in the order of the
//! list, after the commit and before it gives out the receipts. Nobody waits for an observer, and
//! an observer waits for nobody: one that has more to do than a few memory operations puts the
//! commit into a bounded queue of its own, and says in its documentation what happens when that is
//! full. What it has missed then, it reads from the database by position (revision or sequence
//! number).
//!
//! An observer may miss a commit: when the process dies between the commit and the call, or when
//! the reply to the commit was lost and nobody repeats the operation.

use crate::latency::LatencyRecorder;
use crate::wire::Committed;
use std::sync::Arc;

pub trait CommitObserver: Send + Sync + 'static {
    /// One conversation's part of a commit. Must not block.
    fn committed(&self, committed: &Committed);
}

/// The observers, in the order in which they are called, and what commits took. Cheap to clone.
#[derive(Clone)]
pub struct CommitObservers {
    observers: Arc<[Arc<dyn CommitObserver>]>,
    latencies: LatencyRecorder,
}

impl CommitObservers {
    #[must_use]
    pub fn new(observers: Vec<Arc<dyn CommitObserver>>) -> Self {
        Self {
            observers: observers.into(),
            latencies: LatencyRecorder::default(),
        }
    }

    /// Records what posts take from acceptance to commit there.
    #[must_use]
    pub fn recording(self, latencies: LatencyRecorder) -> Self {
        Self { latencies, ..self }
    }

    pub(super) const fn latencies(&self) -> &LatencyRecorder {
        &self.latencies
    }

    pub(super) fn notify(&self, committed: &Committed) {
        for observer in &*self.observers {
            observer.committed(committed);
        }
    }
}
