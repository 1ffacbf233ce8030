//! What is found where, who loads, and what an invalidation reaches.

use super::{Node, Thing, Truth, in_redis, key};
use crate::support::redis::TestRedis;
use crate::support::{PATIENCE, eventually};
use parlance::bus::InProcessBus;
use parlance::cache::{CacheHandle, Kind, Pattern, Reads, keys};
use parlance::ids::{TenantId, UserId};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

async fn pair() -> (TestRedis, Node, Node) {
    let (redis, bus) = (TestRedis::start().await, Arc::default());
    let nodes = (Node::on(&bus, &redis), Node::on(&bus, &redis));
    super::until_marked(&redis).await;
    (redis, nodes.0, nodes.1)
}

fn reads(cache: &CacheHandle) -> Reads {
    cache.reads(Kind::User)
}

/// A value is written to Redis behind the reader's back.
async fn until_written(redis: &TestRedis, name: &str, bytes: &[u8]) {
    eventually("the value is in Redis", async || {
        redis.ask::<Option<Vec<u8>>>(&["GET", name]).await.as_deref() == Some(bytes)
    })
    .await;
}

#[actix_web::test]
async fn a_value_is_loaded_once_for_all_nodes() {
    let (redis, here, there) = pair().await;
    let (truth, key) = (Truth::new("Ann"), key());
    for _ in 0..3 {
        assert_eq!(here.read(&truth, &key).await.as_deref(), Some("Ann"));
    }
    until_written(&redis, &in_redis(&key), b"\x01\x01\x03Ann").await;
    let ttl: i64 = redis.ask(&["PTTL", &in_redis(&key)]).await;
    assert!(
        (265_000..=300_000).contains(&ttl),
        "{ttl} ms, of 300 s less a tenth at most"
    );
    assert_eq!(there.read(&truth, &key).await.as_deref(), Some("Ann"));
    assert_eq!(there.read(&truth, &key).await.as_deref(), Some("Ann"));
    assert_eq!(truth.loads(), 1);
    let expected = |local, remote, misses| Reads { local, remote, misses };
    assert_eq!(
        (reads(&here.cache), reads(&there.cache)),
        (expected(2, 0, 1), expected(1, 1, 0))
    );
}

#[actix_web::test]
async fn without_redis_each_node_remembers_for_itself() {
    let bus = Arc::default();
    let (here, there) = (Node::start(&bus, None), Node::start(&bus, None));
    let (truth, key) = (Truth::new("Ann"), key());
    for node in [&here, &there, &here, &there] {
        assert_eq!(node.read(&truth, &key).await.as_deref(), Some("Ann"));
    }
    assert_eq!(truth.loads(), 2);
    truth.set("Bea");
    here.cache.delete(&key);
    assert_eq!(
        here.read(&truth, &key).await.as_deref(),
        Some("Bea"),
        "at once where it is done"
    );
    eventually("the other node hears of it", async || {
        there.read(&truth, &key).await.as_deref() == Some("Bea")
    })
    .await;
}

#[actix_web::test]
async fn a_hundred_readers_at_once_load_once() {
    let (_redis, node, _) = pair().await;
    let (truth, key) = (Truth::new("Ann"), key());
    let gate = truth.gate.lock().await;
    let all = futures_util::future::join_all((0..100).map(|_| node.read(&truth, &key)));
    let (all, ()) = tokio::join!(all, async {
        eventually("the load has begun", async || truth.loads() == 1).await;
        drop(gate);
    });
    assert!(all.iter().all(|value| value.as_deref() == Some("Ann")));
    assert_eq!((truth.loads(), reads(&node.cache).misses), (1, 100));
}

#[actix_web::test]
async fn who_waits_is_not_left_by_who_began() {
    let node = Node::start(&Arc::default(), None);
    let (truth, key) = (Truth::new("Ann"), key());
    let gate = truth.gate.lock().await;
    let mut began = Box::pin(node.read(&truth, &key));
    assert!(futures_util::poll!(&mut began).is_pending());
    let mut waits = Box::pin(node.read(&truth, &key));
    assert!(futures_util::poll!(&mut waits).is_pending());
    drop(began);
    drop(gate);
    assert_eq!(waits.await.as_deref(), Some("Ann"));
    assert_eq!(truth.loads(), 1);
}

#[actix_web::test]
async fn errors_reach_all_who_wait_and_are_not_remembered() {
    let node = Node::start(&Arc::default(), None);
    let (key, loads) = (key(), Arc::new(AtomicUsize::new(0)));
    let gate = Arc::new(tokio::sync::Mutex::new(()));
    let fail = || {
        let (loads, gate) = (loads.clone(), gate.clone());
        move || async move {
            loads.fetch_add(1, Ordering::SeqCst);
            drop(gate.lock().await);
            Err::<Option<Thing>, _>("down")
        }
    };
    let held = gate.lock().await;
    let all = futures_util::future::join_all((0..10).map(|_| node.cache.get_or_load(&key, fail())));
    let (all, ()) = tokio::join!(all, async {
        eventually("the load has begun", async || loads.load(Ordering::SeqCst) == 1).await;
        drop(held);
    });
    assert!(
        all.iter()
            .all(|result| result.as_ref().is_err_and(|error| **error == "down"))
    );
    assert_eq!(loads.load(Ordering::SeqCst), 1);
    assert_eq!(node.read(&Truth::new("Ann"), &key).await.as_deref(), Some("Ann"));
}

#[actix_web::test]
async fn what_is_not_there_is_remembered_for_a_moment() {
    let (redis, here, there) = pair().await;
    let (truth, key) = (Truth::default(), key());
    for _ in 0..3 {
        assert_eq!(here.read(&truth, &key).await, None);
    }
    until_written(&redis, &in_redis(&key), b"\x01\x00").await;
    assert_eq!(there.read(&truth, &key).await, None);
    assert_eq!(truth.loads(), 1);
    let ttl: i64 = redis.ask(&["PTTL", &in_redis(&key)]).await;
    assert!((1..=5_000).contains(&ttl), "{ttl} ms");
}

#[actix_web::test]
async fn a_load_that_began_before_a_change_brings_nothing_back() {
    let (redis, here, there) = pair().await;
    let (truth, key) = (Truth::new("old"), key());
    let gate = truth.gate.lock().await;
    let slow = here.read(&truth, &key);
    let change = async {
        eventually("the old value has been read", async || truth.loads() == 1).await;
        truth.set("new");
        here.cache.delete(&key);
        // Joins the load under way, and must not be content with what it brings.
        let next = here.read(&truth, &key);
        let (next, ()) = tokio::join!(next, async { drop(gate) });
        assert_eq!(next.as_deref(), Some("new"));
    };
    let (slow, ()) = tokio::join!(slow, change);
    assert_eq!(slow.as_deref(), Some("old"), "who asked before may get what was");
    assert_eq!(here.read(&truth, &key).await.as_deref(), Some("new"));
    eventually("the tombstone or the new value is in Redis", async || {
        let there: Option<Vec<u8>> = redis.ask(&["GET", &in_redis(&key)]).await;
        there.is_some_and(|bytes| !bytes.ends_with(b"old"))
    })
    .await;
    assert_eq!(there.read(&truth, &key).await.as_deref(), Some("new"));
}

#[actix_web::test]
async fn a_slow_load_elsewhere_does_not_overwrite_a_tombstone() {
    let (redis, here, there) = pair().await;
    let (truth, key) = (Truth::new("old"), key());
    let gate = truth.gate.lock().await;
    let slow = there.read(&truth, &key);
    let change = async {
        eventually("the old value has been read there", async || truth.loads() == 1).await;
        truth.set("new");
        here.cache.delete(&key);
        eventually("the tombstone stands", async || {
            let bytes: Option<Vec<u8>> = redis.ask(&["GET", &in_redis(&key)]).await;
            bytes.is_some_and(|bytes| bytes.first() == Some(&0))
        })
        .await;
        drop(gate);
    };
    tokio::join!(slow, change);
    // A value of another key goes the same way behind it: when that is written, the old one would have been.
    let other = super::key();
    assert_eq!(there.read(&truth, &other).await.as_deref(), Some("new"));
    until_written(&redis, &in_redis(&other), b"\x01\x01\x03new").await;
    let bytes: Vec<u8> = redis.ask(&["GET", &in_redis(&key)]).await;
    assert_eq!(bytes.first(), Some(&0), "{bytes:?}");
    assert_eq!(there.read(&truth, &key).await.as_deref(), Some("new"));
    until_written(&redis, &in_redis(&key), b"\x01\x01\x03new").await;
}

#[actix_web::test]
async fn an_invalidation_reaches_both_levels_of_both_nodes() {
    let (redis, here, there) = pair().await;
    let (truth, key) = (Truth::new("old"), key());
    here.read(&truth, &key).await;
    until_written(&redis, &in_redis(&key), b"\x01\x01\x03old").await;
    there.read(&truth, &key).await;
    truth.set("new");
    here.cache.delete(&key);
    assert_eq!(
        here.read(&truth, &key).await.as_deref(),
        Some("new"),
        "before Redis has heard of it"
    );
    eventually("the other node hears of it", async || {
        there.read(&truth, &key).await.as_deref() == Some("new")
    })
    .await;
    eventually("nothing waits", async || here.cache.remote().unwrap().waiting == 0).await;
}

#[actix_web::test]
async fn other_shapes_are_loaded_again_and_overwritten() {
    let (redis, node, _) = pair().await;
    let truth = Truth::new("Ann");
    for (n, foreign) in ["\u{7}\u{1}\u{3}Bea", "garbage", "\u{1}", ""].iter().enumerate() {
        let key = key();
        redis.ask::<()>(&["SET", &in_redis(&key), foreign]).await;
        assert_eq!(node.read(&truth, &key).await.as_deref(), Some("Ann"), "{foreign:?}");
        until_written(&redis, &in_redis(&key), b"\x01\x01\x03Ann").await;
        assert_eq!(node.cache.remote().unwrap().rejected, n as u64 + 1);
    }
}

#[actix_web::test]
async fn a_pattern_removes_what_it_names_and_nothing_else() {
    let (redis, here, there) = pair().await;
    let truth = Truth::new("old");
    let (ours, others) = (TenantId::new(), TenantId::new());
    let keys: Vec<_> = (0..1_200)
        .map(|n| keys::user::<Thing>(if n < 1_100 { ours } else { others }, UserId::new()))
        .collect();
    for key in &keys {
        redis.ask::<()>(&["SET", &in_redis(key), "\u{1}\u{1}\u{3}old"]).await;
    }
    redis.ask::<()>(&["SET", "somebody:else", "stays"]).await;
    for node in [&here, &there] {
        assert_eq!(node.read(&truth, &keys[0]).await.as_deref(), Some("old"));
    }
    assert_eq!(truth.loads(), 0);
    truth.set("new");
    here.cache.delete_pattern(keys::users_of(ours));
    assert_eq!(
        here.read(&truth, &keys[1]).await.as_deref(),
        Some("new"),
        "at once where it is done"
    );
    eventually("they are gone", async || {
        redis.keys(&format!("parlance:cache:user:{ours}:*")).await.len() <= 1
            && here.cache.remote().unwrap().waiting == 0
    })
    .await;
    assert_eq!(redis.keys(&format!("parlance:cache:user:{others}:*")).await.len(), 100);
    eventually("the other node hears of it", async || {
        there.read(&truth, &keys[0]).await.as_deref() == Some("new")
    })
    .await;
    here.cache.delete_pattern(Pattern::everything());
    eventually("all of ours is gone", async || {
        redis.keys("parlance:cache:*").await.is_empty()
    })
    .await;
}

#[actix_web::test]
async fn memory_is_bounded() {
    let config = parlance::config::CacheConfig {
        bytes: 1 << 20,
        ..parlance::config::CacheConfig::default()
    };
    let arbiters = parlance::supervision::ArbiterPool::start(1);
    let bus: Arc<dyn parlance::bus::Bus> = Arc::new(InProcessBus::default());
    let cache = CacheHandle::start(parlance::ids::NodeId::new(), bus, None, &config, &arbiters);
    let load = || async { Ok::<_, ()>(Some(Thing("x".repeat(10_000)))) };
    for _ in 0..1_000 {
        cache.get_or_load(&key(), load).await.unwrap();
    }
    let within = tokio::time::timeout(PATIENCE, async {
        while cache.size().0 > 1 << 20 {
            cache.get_or_load(&key(), load).await.unwrap();
            crate::support::pace(Duration::from_millis(10)).await;
        }
    });
    within.await.expect("10 MB do not stay in 1 MiB");
    assert!(cache.size().1 > 10, "something stays");
    arbiters.stop();
}
