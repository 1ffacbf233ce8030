//! Redis dead, frozen, emptied, restarted or mad, and the supervisor dying: reads go on, and nobody waits for it.

use super::{Node, Thing, Truth, in_redis, key};
use crate::support::redis::{TestRedis, timed};
use crate::support::{PATIENCE, eventually, pace};
use parlance::bus::{Bus as _, Envelope, InProcessBus, Invalidation, To};
use parlance::cache::Key;
use parlance::config::{RedisConfig, Secret};
use parlance::ids::NodeId;
use parlance::redis::{BreakerState, Redis};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// What no request may lose to Redis.
const LOSS_MAX: Duration = Duration::from_millis(250);

struct Scene {
    redis: TestRedis,
    client: Redis,
    bus: Arc<InProcessBus>,
    node: Node,
}

impl Scene {
    async fn new() -> Self {
        let (redis, bus) = (TestRedis::start().await, Arc::default());
        let client = Redis::open(&redis.config()).unwrap().unwrap();
        let node = Node::start(&bus, Some(client.clone()));
        let scene = Self {
            redis,
            client,
            bus,
            node,
        };
        scene.until_marked().await;
        scene
    }

    /// Reads things that are nowhere but in the truth; none may take long.
    async fn read_on(&self, n: usize) {
        let truth = Truth::new("Ann");
        for _ in 0..n {
            let (value, took) = timed(self.node.read(&truth, &key())).await;
            assert!(
                value.as_deref() == Some("Ann") && took < LOSS_MAX,
                "{value:?} after {took:?}"
            );
        }
        assert_eq!(truth.loads(), n);
    }

    async fn until_written(&self, key: &Key<Thing>) {
        eventually("the value is in Redis", async || {
            !self.redis.keys(&in_redis(key)).await.is_empty()
        })
        .await;
    }

    async fn until_marked(&self) {
        super::until_marked(&self.redis).await;
    }

    /// Takes values out of Redis without a word to anybody.
    async fn take_away(&self, keys: [&Key<Thing>; 2]) {
        for key in keys {
            self.redis.ask::<()>(&["DEL", &in_redis(key)]).await;
        }
    }

    async fn until_redis_is_used_again(&self) {
        eventually("the breaker closes", async || {
            self.client.status().breaker == BreakerState::Closed
        })
        .await;
        eventually("values are shared again", async || {
            let (truth, key) = (Truth::new("Ann"), key());
            self.node.read(&truth, &key).await;
            pace(Duration::from_millis(20)).await;
            !self.redis.keys(&in_redis(&key)).await.is_empty()
        })
        .await;
    }
}

#[actix_web::test]
async fn a_redis_that_freezes_costs_little_and_is_used_again() {
    let scene = Scene::new().await;
    scene.read_on(5).await;
    scene.redis.freeze();
    scene.read_on(50).await;
    let status = scene.client.status();
    assert!(status.openings > 0 && status.failures > 0, "{status:?}");
    // An invalidation that does not reach it waits, and until then this node does not believe it.
    let (truth, key) = (Truth::new("new"), key());
    scene.node.cache.delete(&key);
    assert_eq!(scene.node.cache.remote().unwrap().waiting, 1);
    assert!(scene.node.cache.check().await.is_err());
    let soon = tokio::time::timeout(Duration::from_millis(200), scene.node.cache.flush());
    assert!(soon.await.is_err(), "it has not arrived");
    assert_eq!(scene.node.read(&truth, &key).await.as_deref(), Some("new"));
    scene.redis.thaw();
    let flush = tokio::time::timeout(PATIENCE, scene.node.cache.flush());
    flush.await.expect("the invalidation arrives");
    assert_eq!(scene.node.cache.remote().unwrap().waiting, 0);
    scene.until_redis_is_used_again().await;
    assert!(scene.node.cache.check().await.is_ok());
    let bytes: Vec<u8> = scene.redis.ask(&["GET", &in_redis(&key)]).await;
    assert_eq!(bytes.first(), Some(&0), "{bytes:?}");
}

#[actix_web::test]
async fn a_redis_that_is_killed_and_comes_back_with_old_values_is_not_believed() {
    let mut scene = Scene::new().await;
    let (truth, key) = (Truth::new("old"), key());
    scene.node.read(&truth, &key).await;
    scene.until_marked().await;
    let before: String = scene.redis.ask(&["GET", "parlance:cache-written-to"]).await;
    scene.redis.kill_9();
    scene.read_on(50).await;
    truth.set("new");
    scene.node.cache.delete(&key);
    scene.redis.restart().await;
    // As if it had been restarted from a snapshot of before.
    scene
        .redis
        .ask::<()>(&["SET", "parlance:cache-written-to", &before])
        .await;
    let stale = super::key();
    for key in [&key, &stale] {
        scene
            .redis
            .ask::<()>(&["SET", &in_redis(key), "\u{1}\u{1}\u{3}old"])
            .await;
    }
    assert_eq!(scene.node.read(&truth, &key).await.as_deref(), Some("new"));
    eventually("what it remembers is removed", async || {
        scene.redis.keys(&in_redis(&stale)).await.is_empty()
    })
    .await;
    scene.until_redis_is_used_again().await;
}

/// A mark that is gone may have been forgotten together with tombstones.
#[actix_web::test]
async fn a_redis_that_has_forgotten_whose_values_it_holds_is_not_believed() {
    let scene = Scene::new().await;
    scene.until_marked().await;
    let stale = super::key();
    scene
        .redis
        .ask::<()>(&["SET", &in_redis(&stale), "\u{1}\u{1}\u{3}old"])
        .await;
    scene.redis.ask::<()>(&["DEL", "parlance:cache-written-to"]).await;
    scene.until_marked().await;
    assert!(scene.redis.keys(&in_redis(&stale)).await.is_empty());
    scene.until_redis_is_used_again().await;
}

#[actix_web::test]
async fn a_redis_that_is_emptied_is_filled_again() {
    let scene = Scene::new().await;
    let (truth, key) = (Truth::new("Ann"), key());
    for loads in 1..=2 {
        scene.node.cache.invalidate_all();
        scene.node.read(&truth, &key).await;
        assert_eq!(truth.loads(), loads);
        scene.until_written(&key).await;
        scene.redis.flush().await;
        scene.until_marked().await;
    }
    scene.read_on(5).await;
}

#[actix_web::test]
async fn a_server_that_talks_nonsense_harms_nobody() {
    for nonsense in [
        "+OK\r\n",
        "*1\r\n:7\r\n",
        "HTTP/1.1 400 Bad Request\r\n\r\n",
        "$-7\r\n",
        "-LOADING\r\n",
        ":1\r\n",
    ] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut buffer = [0; 4_096];
                    while client.read(&mut buffer).await.is_ok_and(|n| n > 0) {
                        if client.write_all(nonsense.as_bytes()).await.is_err() {
                            break;
                        }
                    }
                });
            }
        });
        let config = RedisConfig {
            url: Some(Secret::new(format!("redis://{address}"))),
            ..RedisConfig::default()
        };
        let node = Node::start(&Arc::default(), Redis::open(&config).unwrap());
        let truth = Truth::new("Ann");
        for n in 1..=20 {
            let key = key();
            let (value, took) = timed(node.read(&truth, &key)).await;
            assert!(
                value.as_deref() == Some("Ann") && took < LOSS_MAX,
                "{nonsense:?}: {value:?} after {took:?}"
            );
            node.cache.delete(&key);
            assert_eq!(truth.loads(), n, "{nonsense:?} was believed");
        }
        let status = node.cache.remote().unwrap();
        assert!(status.errors + status.rejected > 0, "{nonsense:?}: {status:?}");
        server.abort();
    }
}

#[actix_web::test]
async fn many_readers_at_once_do_not_wait_for_a_frozen_redis() {
    let scene = Scene::new().await;
    scene.redis.freeze();
    let truth = Truth::new("Ann");
    let all = (0..500).map(|_| async { timed(scene.node.read(&truth, &key())).await });
    for (value, took) in futures_util::future::join_all(all).await {
        assert!(value.is_some() && took < LOSS_MAX, "{took:?}");
    }
    scene.redis.thaw();
    scene.until_redis_is_used_again().await;
}

#[actix_web::test]
async fn the_supervisor_dies_and_what_it_did_goes_on() {
    let scene = Scene::new().await;
    let (truth, first, second) = (Truth::new("old"), key(), key());
    for key in [&first, &second] {
        scene.node.read(&truth, key).await;
        scene.until_written(key).await;
    }
    truth.set("new");
    scene.take_away([&first, &second]).await;
    fail::cfg("cache::actor", "1*panic(on purpose)").unwrap();
    let elsewhere = NodeId::new();
    let invalidate = |key: &Key<Thing>| {
        let keys = vec![key.text().clone()];
        scene.bus.publish(
            elsewhere,
            To::Everybody,
            Envelope::Invalidated(Invalidation::Keys(keys)),
        );
    };
    invalidate(&first);
    // The invalidation died with it, and others may have: the successor forgets everything.
    for key in [&first, &second] {
        eventually("the successor forgets", async || {
            scene.node.read(&truth, key).await.as_deref() == Some("new")
        })
        .await;
    }
    scene.until_redis_is_used_again().await;
    for key in [&first, &second] {
        scene.until_written(key).await;
    }
    truth.set("newer");
    scene.take_away([&first, &second]).await;
    invalidate(&first);
    eventually("the successor hears the bus", async || {
        scene.node.read(&truth, &first).await.as_deref() == Some("newer")
    })
    .await;
    scene.node.cache.delete(&second);
    eventually("and delivers to Redis", async || {
        scene.node.cache.remote().unwrap().waiting == 0
    })
    .await;
}
