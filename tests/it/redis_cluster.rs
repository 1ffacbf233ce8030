//! Nodes on a real Redis Cluster: what crosses over through which shard, and what it costs when one dies or a slot moves.

use crate::support::redis::{Redises as _, TestRedis};
use crate::support::redis_cluster::{MASTERS, REPLICA, TestRedisCluster};
use crate::support::{Person, Socket, TestApp, eventually, stays};
use parlance::config::{RedisConfig, Secret};
use parlance::ids::{ConversationId, MessageId};
use parlance::redis::{Redis, slot};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// A comparison of revisions comes every four seconds; what is heard sooner came over the bus.
const BEFORE_COMPARISON: Duration = Duration::from_millis(2_500);

/// Two nodes on one cluster; Ann on the first, Bob on the second, both following a conversation in each shard.
struct Scene {
    cluster: TestRedisCluster,
    nodes: [TestApp; 2],
    ann: Person,
    /// By the shard they are in.
    conversations: Vec<ConversationId>,
    sockets: [Socket; 2],
}

fn channel(conversation: ConversationId) -> String {
    format!("parlance:bus:0:conversation:{conversation}")
}

fn shard(conversation: ConversationId) -> usize {
    TestRedisCluster::home(&channel(conversation))
}

/// What a node says of its parts.
async fn parts(node: &TestApp) -> Value {
    let answer = node.request(Method::GET, "/health/ready", None, None).await;
    answer.body["parts"].clone()
}

impl Scene {
    async fn new() -> Self {
        let cluster = TestRedisCluster::start().await;
        let app = TestApp::over(&cluster).await;
        let peer = app.peer_over(&cluster).await;
        let ([ann, bob], first) = app.conversation_of(["Ann", "Bob"]).await;
        let mut conversations = vec![None; MASTERS];
        conversations[shard(first)] = Some(first);
        while conversations.contains(&None) {
            let next = ann.create_conversation("Another").await;
            ann.add_member(next, bob.id, "member").await.ok();
            conversations[shard(next)].get_or_insert(next);
        }
        let conversations: Vec<_> = conversations.into_iter().flatten().collect();
        let mut sockets = [ann.connect().await, bob.at(&peer).connect().await];
        for conversation in &conversations {
            for socket in &mut sockets {
                socket.subscribe(*conversation, None).await;
            }
        }
        let mut scene = Self {
            cluster,
            nodes: [app, peer],
            ann,
            conversations,
            sockets,
        };
        for shard in 0..MASTERS {
            scene.until_crossing(shard).await;
        }
        scene
    }

    /// Waits until messages in a shard's conversation cross over at once in both directions.
    async fn until_crossing(&mut self, shard: usize) {
        for way in [(0, 1), (1, 0)] {
            // One alone may have been found by a comparison that was just due.
            let mut in_a_row = 0;
            eventually("the nodes hear each other", async || {
                let took = self.crosses(way, shard, "probe").await;
                in_a_row = if took < Duration::from_millis(500) {
                    in_a_row + 1
                } else {
                    0
                };
                in_a_row == 3
            })
            .await;
        }
    }

    /// How long a message takes from one node to the other.
    async fn crosses(&mut self, (from, to): (usize, usize), shard: usize, text: &str) -> Duration {
        let (posted, id) = (Instant::now(), MessageId::new());
        self.sockets[from].post(self.conversations[shard], id, text).await;
        let is_it = |frame: &Value| frame["type"] == "message" && frame["id"] == json!(id);
        self.sockets[to].expect_where("the message", is_it).await;
        posted.elapsed()
    }

    /// What the first node says of its bus.
    async fn bus(&self) -> Value {
        parts(&self.nodes[0]).await["bus"].clone()
    }

    async fn stop(self) {
        for node in self.nodes {
            node.stop().await;
        }
    }
}

#[actix_web::test]
async fn a_publication_reaches_the_shard_of_its_conversation_and_no_other() {
    let mut scene = Scene::new().await;
    // One that only Ann's node hosts.
    let alone = scene.ann.create_conversation("Alone").await;
    scene.sockets[0].subscribe(alone, None).await;
    eventually("her node listens to it", async || {
        scene.cluster.listeners(shard(alone), &channel(alone)).await == 1
    })
    .await;
    for (home, conversation) in scene.conversations.iter().enumerate() {
        for n in 0..MASTERS {
            let expected = if n == home { 2 } else { 0 };
            assert_eq!(scene.cluster.listeners(n, &channel(*conversation)).await, expected);
        }
    }
    for home in 0..MASTERS {
        let mut before = Vec::new();
        for n in 0..MASTERS {
            before.push(scene.cluster.calls(n, "spublish").await);
        }
        for n in 0..10 {
            let took = scene.crosses((0, 1), home, &format!("message {n}")).await;
            assert!(took < BEFORE_COMPARISON, "{took:?}");
        }
        for (n, before) in before.into_iter().enumerate() {
            let published = scene.cluster.calls(n, "spublish").await - before;
            assert!(
                if n == home { published >= 10 } else { published == 0 },
                "{published} at {n}"
            );
        }
    }
    // What is for everybody and for a node is plain: presence and notices.
    let seen = scene.sockets[0].subscribe(scene.conversations[0], None).await;
    let members = seen.subscribed["members"].as_array().unwrap().clone();
    assert!(members.iter().all(|member| member["online"] == true), "{members:?}");
    let bus = scene.bus().await;
    assert_eq!(bus["status"], "ok", "{bus}");
    scene.stop().await;
}

#[actix_web::test]
async fn while_a_shard_is_dead_the_others_go_on_and_its_conversations_are_compared() {
    let mut scene = Scene::new().await;
    scene.cluster.kill_9(1);
    // Acknowledged at once; the other node finds out by comparing.
    let took = scene.crosses((0, 1), 1, "while it is dead").await;
    assert!(took < Duration::from_secs(6), "{took:?}");
    // The bus may have to choose another server for what is for everybody; conversations do not wait for that.
    for shard in [0, 2] {
        let took = scene.crosses((0, 1), shard, "as ever").await;
        assert!(took < BEFORE_COMPARISON, "shard {shard}: {took:?}");
    }
    eventually("operators are told", async || scene.bus().await["status"] == "degraded").await;
    scene.cluster.restart(1).await;
    scene.until_crossing(1).await;
    eventually("all is well", async || scene.bus().await["status"] == "ok").await;
    scene.stop().await;
}

#[actix_web::test]
async fn a_replica_that_takes_over_is_found() {
    let mut scene = Scene::new().await;
    scene.cluster.kill_9(0);
    let took = scene.crosses((1, 0), 0, "before it takes over").await;
    assert!(took < Duration::from_secs(6), "{took:?}");
    scene.cluster.until_master(REPLICA).await;
    scene.until_crossing(0).await;
    let heard = scene.cluster.listeners(REPLICA, &channel(scene.conversations[0])).await;
    assert_eq!(heard, 2, "both listen to the one that has taken over");
    eventually("all is well", async || scene.bus().await["status"] == "ok").await;
    // The dead one comes back as a replica of its successor, and nobody minds.
    scene.cluster.restart(0).await;
    scene.until_crossing(0).await;
    scene.stop().await;
}

#[actix_web::test]
async fn a_frozen_master_is_noticed_and_its_replica_used() {
    let mut scene = Scene::new().await;
    scene.cluster.freeze(0);
    let acknowledged = Instant::now();
    scene.sockets[0]
        .post(scene.conversations[0], MessageId::new(), "while it stands still")
        .await;
    assert!(
        acknowledged.elapsed() < Duration::from_secs(1),
        "nobody waits for Redis"
    );
    let took = scene.crosses((0, 1), 2, "as ever").await;
    assert!(took < BEFORE_COMPARISON, "{took:?}");
    scene.cluster.until_master(REPLICA).await;
    scene.until_crossing(0).await;
    scene.cluster.thaw(0);
    scene.until_crossing(0).await;
    scene.stop().await;
}

#[actix_web::test]
async fn a_conversation_is_followed_to_where_its_slot_moves() {
    let mut scene = Scene::new().await;
    let conversation = scene.conversations[0];
    let slot = slot(&channel(conversation));
    scene.cluster.begin_move(slot, 0, 2).await;
    let took = scene.crosses((0, 1), 0, "while it moves").await;
    assert!(took < BEFORE_COMPARISON, "{took:?}");
    scene.cluster.finish_move(slot, 0, 2).await;
    // Whatever was said in between is found.
    let took = scene.crosses((0, 1), 0, "when it has moved").await;
    assert!(took < Duration::from_secs(6), "{took:?}");
    eventually("both nodes listen at its new place", async || {
        scene.cluster.listeners(2, &channel(conversation)).await == 2
    })
    .await;
    scene.until_crossing(0).await;
    scene.stop().await;
}

#[actix_web::test]
async fn any_server_is_enough_to_find_the_others() {
    let cluster = TestRedisCluster::start().await;
    let app = TestApp::start().await;
    let on = |n: usize| {
        let mut config = app.config.clone();
        config.redis.url = Some(Secret::new(cluster.url_of(n)));
        config.redis
    };
    // One node knows a master, the other one only a replica, which has no slots itself.
    let nodes = [
        app.peer_over_config(on(2)).await,
        app.peer_over_config(on(REPLICA)).await,
    ];
    for node in &nodes {
        eventually("all shards are found", async || {
            let parts = parts(node).await;
            parts["bus"]["status"] == "ok" && parts["redis"]["status"] == "ok"
        })
        .await;
    }
    for node in nodes.into_iter().chain([app]) {
        node.stop().await;
    }
}

#[actix_web::test]
async fn the_watch_over_the_layout_dies_and_its_successor_looks() {
    let cluster = TestRedisCluster::start().await;
    fail::cfg("redis::read_layout", "1*panic(on purpose)").unwrap();
    let redis = Redis::open(&cluster.config()).unwrap().unwrap();
    eventually("the servers are known", async || redis.addresses().len() == MASTERS).await;
}

#[actix_web::test]
async fn several_servers_that_are_no_cluster_are_refused() {
    let servers = [
        TestRedis::start_with_password("same").await,
        TestRedis::start_with_password("same").await,
    ];
    let app = TestApp::start().await;
    let urls = servers.each_ref().map(TestRedis::url);
    let url = urls.join(",");
    let redis = RedisConfig {
        url: Some(Secret::new(url)),
        ..RedisConfig::default()
    };
    let node = app.peer_over_config(redis).await;
    // Nodes might each listen to another one: better none.
    stays("the bus is degraded", Duration::from_millis(1_500), async || {
        parts(&node).await["bus"]["status"] == "degraded"
    })
    .await;
    for node in [node, app] {
        node.stop().await;
    }
}
