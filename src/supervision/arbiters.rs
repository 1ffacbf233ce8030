//! Where actors run: a fixed set of arbiters, each a thread of its own.
//!
//! A child is placed by its id, so that its messages stay on one thread.

use std::future::Future;
use std::sync::Arc;

/// The threads of the actors. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ArbiterPool {
    arbiters: Arc<[actix::ArbiterHandle]>,
}

impl ArbiterPool {
    /// Starts `size` arbiters (at least one) on the running actix system.
    #[must_use]
    pub fn start(size: usize) -> Self {
        let arbiters = (0..size.max(1)).map(|_| actix::Arbiter::new().handle()).collect();
        Self { arbiters }
    }

    /// Runs a future on the arbiter of `key`. False when that arbiter has stopped.
    pub fn spawn(&self, key: u128, future: impl Future<Output = ()> + Send + 'static) -> bool {
        let index = usize::try_from(key % self.arbiters.len() as u128).unwrap_or_default();
        self.arbiters[index].spawn(future)
    }

    /// Stops every arbiter. What still runs there is dropped.
    pub fn stop(&self) {
        for arbiter in &*self.arbiters {
            arbiter.stop();
        }
    }
}
