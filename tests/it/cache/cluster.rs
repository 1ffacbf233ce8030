//! The second level on a Redis Cluster: every key at its server, also while slots move, and nothing that names two slots.

use super::{Node, Truth, in_redis, key};
use crate::support::redis::Redises as _;
use crate::support::redis_cluster::{MASTERS, TestRedisCluster};
use crate::support::{eventually, pace};
use parlance::bus::InProcessBus;
use parlance::cache::{Kind, keys};
use parlance::config::RedisConfig;
use parlance::ids::{TenantId, UserId};
use parlance::redis::{Redis, slot};
use std::sync::Arc;
use std::time::Duration;

/// On a busy machine an answer may take its time; that is not what these tests are about.
fn patient(cluster: &TestRedisCluster) -> RedisConfig {
    RedisConfig {
        timeout: Duration::from_secs(2),
        ..cluster.config()
    }
}

/// A node that knows the cluster, whose servers are marked.
async fn node(bus: &Arc<InProcessBus>, cluster: &TestRedisCluster) -> Node {
    let redis = Redis::open(&patient(cluster)).unwrap().unwrap();
    eventually("the servers are known", async || redis.addresses().len() == MASTERS).await;
    let node = Node::start(bus, Some(redis));
    for n in 0..MASTERS {
        eventually("every server is marked", async || {
            !cluster
                .ask::<Vec<String>>(n, &["KEYS", "parlance:cache-written-to:*"])
                .await
                .is_empty()
        })
        .await;
    }
    node
}

async fn cached_at(cluster: &TestRedisCluster, n: usize, pattern: &str) -> usize {
    cluster.ask::<Vec<String>>(n, &["KEYS", pattern]).await.len()
}

#[actix_web::test]
async fn values_are_spread_over_the_servers_and_removed_from_all() {
    let (cluster, bus) = (TestRedisCluster::start().await, Arc::default());
    let (here, there) = (node(&bus, &cluster).await, node(&bus, &cluster).await);
    let (truth, tenant) = (Truth::new("Ann"), TenantId::new());
    let all: Vec<_> = (0..60).map(|_| keys::user(tenant, UserId::new())).collect();
    for key in &all {
        assert_eq!(here.read(&truth, key).await.as_deref(), Some("Ann"));
    }
    let pattern = format!("parlance:cache:user:{tenant}:*");
    let counts = async || {
        let mut counts = Vec::new();
        for n in 0..MASTERS {
            counts.push(cached_at(&cluster, n, &pattern).await);
        }
        counts
    };
    eventually("all are in Redis", async || {
        counts().await.iter().sum::<usize>() == all.len()
    })
    .await;
    assert!(counts().await.iter().all(|count| *count > 5), "{:?}", counts().await);
    for key in &all {
        assert_eq!(there.read(&truth, key).await.as_deref(), Some("Ann"));
    }
    assert_eq!(truth.loads(), all.len(), "the other node found them in Redis");
    assert_eq!(there.cache.reads(Kind::User).remote, all.len() as u64);
    // Tombstones at every server, in one batch.
    truth.set("Bea");
    all.iter().for_each(|key| here.cache.delete(key));
    here.cache.flush().await;
    for key in &all {
        assert_eq!(there.read(&truth, key).await.as_deref(), Some("Bea"));
    }
    truth.set("Cid");
    here.cache.delete_pattern(keys::users_of(tenant));
    here.cache.flush().await;
    for key in &all {
        eventually("what is removed by pattern is removed everywhere", async || {
            there.read(&truth, key).await.as_deref() == Some("Cid")
        })
        .await;
    }
    assert_eq!(here.cache.remote().unwrap().waiting, 0);
}

#[actix_web::test]
async fn a_value_is_found_and_written_while_its_slot_moves_and_after() {
    let (cluster, bus) = (TestRedisCluster::start().await, Arc::default());
    let (here, there) = (node(&bus, &cluster).await, node(&bus, &cluster).await);
    let (truth, key) = (Truth::new("Ann"), key());
    let name = in_redis(&key);
    let (slot, from) = (slot(&name), TestRedisCluster::home(&name));
    let to = (from + 1) % MASTERS;
    cluster.begin_move(slot, from, to).await;
    // The old server has no such key and sends whoever asks to the new one, which must be asked in another way (ASK).
    here.read(&truth, &key).await;
    eventually("it is written at the new server", async || {
        let count: u64 = cluster
            .ask(to, &["CLUSTER", "COUNTKEYSINSLOT", &slot.to_string()])
            .await;
        count == 1
    })
    .await;
    assert_eq!(there.read(&truth, &key).await.as_deref(), Some("Ann"));
    assert_eq!(truth.loads(), 1, "and found there");
    cluster.finish_move(slot, from, to).await;
    // Both still believe in the old server, which says MOVED.
    truth.set("Bea");
    here.cache.delete(&key);
    here.cache.flush().await;
    assert_eq!(there.read(&truth, &key).await.as_deref(), Some("Bea"));
    assert_eq!(here.cache.remote().unwrap().waiting, 0);
}

#[actix_web::test]
async fn a_server_that_is_away_costs_only_its_own_keys() {
    let (mut cluster, bus) = (TestRedisCluster::start().await, Arc::default());
    let (here, there) = (node(&bus, &cluster).await, node(&bus, &cluster).await);
    let truth = Truth::new("Ann");
    let all: Vec<_> = (0..60).map(|_| key()).collect();
    cluster.kill_9(1);
    for key in &all {
        assert_eq!(here.read(&truth, key).await.as_deref(), Some("Ann"));
    }
    let alive = all.iter().filter(|key| TestRedisCluster::home(&in_redis(key)) != 1);
    let alive: Vec<_> = alive.collect();
    for key in &alive {
        let home = TestRedisCluster::home(&in_redis(key));
        eventually("the others take what is theirs", async || {
            cluster.ask::<u64>(home, &["EXISTS", &in_redis(key)]).await == 1
        })
        .await;
        assert_eq!(there.read(&truth, key).await.as_deref(), Some("Ann"));
    }
    assert_eq!(truth.loads(), all.len(), "and give it to the other node");
    truth.set("Bea");
    all.iter().for_each(|key| here.cache.delete(key));
    for key in &all {
        eventually("nobody sees what was before", async || {
            there.read(&truth, key).await.as_deref() == Some("Bea")
        })
        .await;
    }
    eventually("what the dead one has not heard waits for it", async || {
        here.cache.remote().unwrap().waiting == all.len() - alive.len()
    })
    .await;
    cluster.restart(1).await;
    eventually("until it is back", async || here.cache.remote().unwrap().waiting == 0).await;
}

#[actix_web::test]
async fn a_dead_server_does_not_keep_a_removal_from_the_others() {
    let (mut cluster, bus) = (TestRedisCluster::start().await, Arc::default());
    let node = node(&bus, &cluster).await;
    let (truth, tenant) = (Truth::new("Ann"), TenantId::new());
    let at = |n: usize| {
        let mut keys = std::iter::repeat_with(|| keys::user(tenant, UserId::new()));
        keys.find(|key| TestRedisCluster::home(&in_redis(key)) == n).unwrap()
    };
    let is_written = async |key: &_, n| cluster.ask::<u64>(n, &["EXISTS", &in_redis(key)]).await == 1;
    let before = [0, 2].map(|n| (at(n), n));
    for (key, n) in &before {
        node.read(&truth, key).await;
        eventually("it is in Redis", async || is_written(key, *n).await).await;
    }
    cluster.kill_9(1);
    // Both wait for the dead one: a key, and a removal.
    node.cache.delete(&at(1));
    node.cache.delete_pattern(keys::users_of(tenant));
    for (key, n) in &before {
        let gone = async || cluster.ask::<u64>(*n, &["EXISTS", &in_redis(key)]).await == 0;
        eventually("those that live have removed theirs", gone).await;
        eventually("and are used again", async || {
            let key = at(*n);
            node.read(&truth, &key).await;
            pace(Duration::from_millis(50)).await;
            cluster.ask::<u64>(*n, &["EXISTS", &in_redis(&key)]).await == 1
        })
        .await;
    }
    assert_eq!(node.cache.remote().unwrap().waiting, 2, "the dead one has not heard");
    cluster.restart(1).await;
    eventually("until it is back", async || node.cache.remote().unwrap().waiting == 0).await;
}

#[actix_web::test]
async fn a_mark_whose_slot_moves_is_set_again_and_nothing_is_removed() {
    let (cluster, bus) = (TestRedisCluster::start().await, Arc::default());
    let nodes = [node(&bus, &cluster).await, node(&bus, &cluster).await];
    let truth = Truth::new("Ann");
    let all: Vec<_> = (0..30).map(|_| key()).collect();
    let mark = "parlance:cache-written-to:0";
    let from = TestRedisCluster::home(mark);
    let to = (from + 1) % MASTERS;
    for key in &all {
        nodes[0].read(&truth, key).await;
    }
    let cached = async || {
        let mut count = 0;
        for n in 0..MASTERS {
            count += cached_at(&cluster, n, "parlance:cache:*").await;
        }
        count
    };
    eventually("all are in Redis", async || cached().await == all.len()).await;
    cluster.begin_move(slot(mark), from, to).await;
    cluster.finish_move(slot(mark), from, to).await;
    let own = async |n: usize| {
        let info: String = cluster.ask(n, &["INFO", "server"]).await;
        let id = info.lines().find_map(|line| line.strip_prefix("run_id:"));
        id.unwrap().to_owned()
    };
    eventually("who has the slot now stands there", async || {
        cluster.ask::<Option<String>>(to, &["GET", mark]).await == Some(own(to).await)
    })
    .await;
    eventually("who had it has another mark", async || {
        let names: Vec<String> = cluster.ask(from, &["KEYS", "parlance:cache-written-to:*"]).await;
        match names.as_slice() {
            [name] => cluster.ask::<String>(from, &["GET", name]).await == own(from).await,
            _ => false,
        }
    })
    .await;
    assert_eq!(cached().await, all.len(), "nothing was removed");
    for key in &all {
        assert_eq!(nodes[1].read(&truth, key).await.as_deref(), Some("Ann"));
    }
    assert_eq!(truth.loads(), all.len(), "the other node found them in Redis");
}
