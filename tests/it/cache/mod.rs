//! The cache: its two levels against a real Redis, its faults, and what is read through it.

mod cluster;
mod faults;
mod levels;
mod lists;
mod reads;

use crate::support::redis::TestRedis;
use parking_lot::Mutex;
use parlance::bus::{Bus, InProcessBus};
use parlance::cache::{CacheHandle, Cacheable, Key, Kind, Shareable, keys};
use parlance::config::CacheConfig;
use parlance::ids::{NodeId, TenantId, UserId};
use parlance::redis::Redis;
use parlance::supervision::ArbiterPool;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Something to be cached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Thing(String);

impl Cacheable for Thing {
    const KIND: Kind = Kind::User;

    fn weight(&self) -> usize {
        self.0.len()
    }
}

impl Shareable for Thing {
    const VERSION: u8 = 1;
}

/// The cache of a node, without the node.
struct Node {
    cache: CacheHandle,
    arbiters: ArbiterPool,
}

impl Node {
    fn start(bus: &Arc<InProcessBus>, redis: Option<Redis>) -> Self {
        let arbiters = ArbiterPool::start(1);
        let bus: Arc<dyn Bus> = bus.clone();
        let cache = CacheHandle::start(NodeId::new(), bus, redis, &CacheConfig::default(), &arbiters);
        Self { cache, arbiters }
    }

    /// One that shares a Redis.
    fn on(bus: &Arc<InProcessBus>, redis: &TestRedis) -> Self {
        Self::start(bus, Redis::open(&redis.config()).unwrap())
    }

    async fn read(&self, truth: &Truth, key: &Key<Thing>) -> Option<String> {
        let truth = truth.clone();
        let load = move || async move { truth.load().await };
        let thing = self.cache.get_or_load(key, load).await;
        thing.unwrap_or_else(|error| panic!("{error}")).map(|thing| thing.0)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.arbiters.stop();
    }
}

/// What loaders read, and how often they did.
#[derive(Clone, Default)]
struct Truth {
    value: Arc<Mutex<Option<String>>>,
    loads: Arc<AtomicUsize>,
    /// Held by a test that wants loads to wait: they read the truth, and then wait.
    gate: Arc<tokio::sync::Mutex<()>>,
}

impl Truth {
    fn new(value: &str) -> Self {
        let truth = Self::default();
        truth.set(value);
        truth
    }

    fn set(&self, value: &str) {
        *self.value.lock() = Some(value.to_owned());
    }

    fn loads(&self) -> usize {
        self.loads.load(Ordering::SeqCst)
    }

    async fn load(&self) -> Result<Option<Thing>, String> {
        let value = self.value.lock().clone();
        self.loads.fetch_add(1, Ordering::SeqCst);
        drop(self.gate.lock().await);
        Ok(value.map(Thing))
    }
}

fn key() -> Key<Thing> {
    keys::user(TenantId::new(), UserId::new())
}

/// Waits until it stands in Redis whose values it holds: what is there before that is not believed.
async fn until_marked(redis: &TestRedis) {
    crate::support::eventually("it is written which Redis it is", async || {
        !redis.keys("parlance:cache-written-to").await.is_empty()
    })
    .await;
}

/// Where a key stands in Redis.
fn in_redis(key: &Key<Thing>) -> String {
    format!("parlance:cache:{}", key.text())
}
