//! The servers as they are known, and the task that finds out when they have changed.
//!
//! Used by `service.rs`, which keeps it alive; the task ends when nobody holds it any more. The
//! layout is read at the start, and whenever a reply is a sign of a change: at most every
//! [`REFRESH_PAUSE`], and less often while no server replies. A server that is in the new layout
//! too keeps its pool and its breaker. After a panic the task is started again.

use super::layout::{Address, Layout, slot};
use super::server_pool::{ServerPool, ServerSettings};
use super::servers::RedisServers;
use crate::supervision::{Backoff, jittered, supervise_task};
use parking_lot::RwLock;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::Notify;

/// The task's name in logs and metrics.
const TASK: &str = "redis_layout";
/// Between two reads of the layout at least.
const REFRESH_PAUSE: Duration = Duration::from_millis(250);
/// The longest pause after failed reads.
const REFRESH_PAUSE_MAX: Duration = Duration::from_secs(5);

/// The servers as they are known.
pub(super) struct ServerMap {
    pub(super) layout: Arc<Layout>,
    /// One of each server of the layout.
    pub(super) pools: Vec<Arc<ServerPool>>,
}

impl ServerMap {
    pub(super) fn at(&self, address: &Address) -> Option<Arc<ServerPool>> {
        self.pools.iter().find(|pool| pool.address == *address).cloned()
    }

    pub(super) fn owner(&self, key: &str) -> Option<Arc<ServerPool>> {
        if let [only] = self.pools.as_slice()
            && !self.layout.is_cluster()
        {
            return Some(only.clone());
        }
        self.at(self.layout.owner(slot(key))?)
    }
}

/// What is known of the servers, and how to find out more.
pub(super) struct Topology {
    pub(super) servers: RedisServers,
    pub(super) settings: ServerSettings,
    pub(super) map: RwLock<Arc<ServerMap>>,
    /// The layout may have changed.
    pub(super) refresh: Arc<Notify>,
}

impl Topology {
    /// The pool of a server that another server has named.
    pub(super) fn pool_of(&self, address: Address) -> Option<Arc<ServerPool>> {
        if let Some(known) = self.map.read().at(&address) {
            return Some(known);
        }
        // It will be in the layout soon. Until then this one call has a pool of its own.
        Some(self.open(address))
    }

    fn open(&self, address: Address) -> Arc<ServerPool> {
        let endpoint = self.servers.endpoint(&address);
        Arc::new(ServerPool::new(address, endpoint, &self.settings))
    }

    /// Replaces the layout. Servers that stay keep their pools.
    fn adopt(&self, layout: Layout) {
        let mut map = self.map.write();
        if *map.layout == layout {
            return;
        }
        let pools = layout
            .masters()
            .into_iter()
            .map(|address| map.at(&address).unwrap_or_else(|| self.open(address)));
        let pools: Vec<_> = pools.collect();
        if layout.is_cluster() {
            tracing::info!(shards = pools.len(), "Redis is a cluster, or has changed its layout");
        }
        *map = Arc::new(ServerMap {
            layout: Arc::new(layout),
            pools,
        });
    }
}

/// Keeps the task alive, until nobody holds the topology any more.
pub(super) async fn watch(topology: Weak<Topology>, refresh: Arc<Notify>) {
    supervise_task(TASK, |generation| {
        if generation > 1 {
            // The one before was about to read the layout.
            refresh.notify_one();
        }
        read_layouts(topology.clone(), refresh.clone())
    })
    .await;
}

/// Reads the layout whenever there are signs of a change, until nobody holds the topology any more.
async fn read_layouts(topology: Weak<Topology>, refresh: Arc<Notify>) {
    let mut failures = Backoff::new(2 * REFRESH_PAUSE, REFRESH_PAUSE_MAX);
    loop {
        refresh.notified().await;
        let Some(topology) = topology.upgrade() else { return };
        fail::fail_point!("redis::read_layout");
        let known = topology.map.read().layout.clone();
        let pause = match topology.servers.ask(Some(&known)).await {
            Ok(layout) => {
                topology.adopt(layout);
                failures.reset();
                REFRESH_PAUSE
            }
            Err(error) => {
                tracing::debug!(%error, "the layout of Redis is not known");
                refresh.notify_one();
                failures.next_pause()
            }
        };
        drop(topology);
        tokio::time::sleep(jittered(pause)).await;
    }
}

impl Drop for Topology {
    fn drop(&mut self) {
        // The task wakes up, and ends.
        self.refresh.notify_one();
    }
}
