//! The servers as they are known, and the task that finds out when they have changed.
//!
//! The layout is read when the handle is made, and whenever an answer is a sign that it is another: at most every
//! [`LOOK_PAUSE`], and less often while nobody can say. Who is in the new layout, too, keeps its pool and its breaker. If the
//! task panics it is started again, and looks.

use super::Shared;
use super::shard::Shard;
use super::topology::{Address, Layout, slot};
use crate::supervision::{Backoff, jittered, supervise_task};
use redis::Client;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::Notify;

/// What the task is called in logs and metrics.
const TASK: &str = "redis_layout";
/// Between two looks at the layout at least.
const LOOK_PAUSE: Duration = Duration::from_millis(250);
/// The longest pause after looks that failed.
const LOOK_PAUSE_MAX: Duration = Duration::from_secs(5);

/// The servers as they are known.
pub(super) struct Map {
    pub(super) layout: Arc<Layout>,
    pub(super) shards: Vec<Arc<Shard>>,
}

impl Map {
    pub(super) fn at(&self, address: &Address) -> Option<Arc<Shard>> {
        self.shards.iter().find(|shard| shard.address == *address).cloned()
    }

    pub(super) fn owner(&self, key: &str) -> Option<Arc<Shard>> {
        if let [only] = self.shards.as_slice()
            && !self.layout.is_cluster()
        {
            return Some(only.clone());
        }
        self.at(self.layout.owner(slot(key))?)
    }
}

impl Shared {
    /// The way to a server that another one has named.
    pub(super) fn way_to(&self, address: Address) -> Option<Arc<Shard>> {
        if let Some(known) = self.map.read().at(&address) {
            return Some(known);
        }
        // It stands in the layout soon; until then this one call has a way of its own.
        let client = Client::open(self.servers.connection_info(&address)).ok()?;
        Some(Arc::new(Shard::new(address, client, &self.terms)))
    }

    /// From now on it is like this; who is known stays with what is known of them.
    fn adopt(&self, layout: Layout) {
        let mut map = self.map.write();
        if *map.layout == layout {
            return;
        }
        let ways = layout.masters().into_iter().filter_map(|address| {
            let known = map.at(&address);
            known.or_else(|| {
                let client = Client::open(self.servers.connection_info(&address)).ok()?;
                Some(Arc::new(Shard::new(address, client, &self.terms)))
            })
        });
        let shards: Vec<_> = ways.collect();
        if layout.is_cluster() {
            tracing::info!(shards = shards.len(), "Redis is a cluster, or has changed its layout");
        }
        *map = Arc::new(Map {
            layout: Arc::new(layout),
            shards,
        });
    }
}

/// Keeps the task that looks around alive, until nobody has a handle any more.
pub(super) async fn watch(shared: Weak<Shared>, look: Arc<Notify>) {
    supervise_task(TASK, |generation| {
        if generation > 1 {
            // What the one before was about to look for.
            look.notify_one();
        }
        look_around(shared.clone(), look.clone())
    })
    .await;
}

/// Reads the layout whenever there are signs that it has changed, until nobody has a handle any more.
async fn look_around(shared: Weak<Shared>, look: Arc<Notify>) {
    let mut failures = Backoff::new(2 * LOOK_PAUSE, LOOK_PAUSE_MAX);
    loop {
        look.notified().await;
        let Some(shared) = shared.upgrade() else { return };
        fail::fail_point!("redis::look_around");
        let known = shared.map.read().layout.clone();
        let pause = match shared.servers.ask(Some(&known)).await {
            Ok(layout) => {
                shared.adopt(layout);
                failures.reset();
                LOOK_PAUSE
            }
            Err(error) => {
                tracing::debug!(%error, "the layout of Redis is not known");
                look.notify_one();
                failures.next_pause()
            }
        };
        drop(shared);
        tokio::time::sleep(jittered(pause)).await;
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.look.notify_one();
    }
}
