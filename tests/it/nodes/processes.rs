//! Real processes on one PostgreSQL and one Redis: killed, frozen, thawed.

use crate::support::db::TestDatabase;
use crate::support::redis::TestRedis;
use crate::support::{Person, ServerProcess, Site, Socket, eventually, eventually_within};
use parlance::ids::{ConversationId, MessageId};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Several servers, each a process of its own.
pub struct Fleet {
    pub nodes: Vec<ServerProcess>,
    pub redis: TestRedis,
    pub database: TestDatabase,
}

impl Fleet {
    /// Starts so many, with more in their environment.
    pub async fn start(count: usize, more: &[(&str, &str)]) -> Self {
        let (database, redis) = (TestDatabase::create().await, TestRedis::start().await);
        let (redis_url, secret) = (redis.url(), uuid::Uuid::new_v4().to_string());
        let mut environment = vec![
            ("DATABASE_URL", database.url()),
            ("REDIS_URL", &redis_url),
            ("JWT_SECRET", &secret),
            ("RUST_LOG", "info"),
            // They share two cores, and the test's PostgreSQL with others.
            ("DATABASE_POOL_SIZE", "5"),
            ("PARLANCE_HTTP_WORKERS", "2"),
        ];
        environment.extend(more);
        let nodes = (0..count).map(|_| ServerProcess::start(&environment)).collect();
        Self { nodes, redis, database }
    }

    pub fn sites(&self) -> Vec<Site> {
        self.nodes.iter().map(|node| (**node).clone()).collect()
    }

    /// Ends all in order, and asserts that nothing is left behind.
    pub async fn stop(self) {
        for node in self.nodes {
            node.terminate();
        }
        self.database.remove().await;
    }
}

/// A frame that says that somebody is online, or is not.
fn turned(user: &Person, online: bool) -> impl Fn(&Value) -> bool {
    let user = json!(user.id);
    move |frame| frame["type"] == "presence" && frame["user"] == user && frame["online"] == online
}

async fn following(person: &Person, conversation: ConversationId) -> Socket {
    let mut socket = person.connect().await;
    socket.subscribe(conversation, None).await;
    socket
}

/// Who is online, as somebody who comes now is told.
async fn online(person: &Person, conversation: ConversationId) -> Vec<String> {
    let mut socket = person.connect().await;
    let seen = socket.subscribe(conversation, None).await.subscribed;
    socket.close().await;
    let members = seen["members"].as_array().unwrap().iter();
    let online = members.filter(|member| member["online"] == true);
    let mut names: Vec<_> = online
        .map(|member| member["name"].as_str().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

/// Ann on the first node, Bob on one that is killed, Carl on one that stands still for a while.
#[actix_web::test]
async fn a_killed_node_leaves_no_ghosts_and_a_frozen_one_gets_its_people_back() {
    // Shorter than the time for which the node stands still: it must not hold its own sleep against its clients.
    let heartbeat = [("PARLANCE_HEARTBEAT", "2"), ("PARLANCE_HEARTBEAT_TIMEOUT", "8")];
    let mut fleet = Fleet::start(3, &heartbeat).await;
    let ([ann, bob, carl], conversation) = fleet.nodes[0].conversation_of(["Ann", "Bob", "Carl"]).await;
    let (bob, carl) = (bob.at(&fleet.nodes[1]), carl.at(&fleet.nodes[2]));
    let mut anns = following(&ann, conversation).await;
    let (bobs, mut carls) = (
        following(&bob, conversation).await,
        following(&carl, conversation).await,
    );
    for node in &fleet.nodes {
        eventually("each node knows of everybody", async || {
            online(&ann.at(node), conversation).await == ["Ann", "Bob", "Carl"]
        })
        .await;
    }
    anns.drain();
    let since = Instant::now();
    fleet.nodes[1].kill_9();
    fleet.nodes[2].freeze();
    drop(bobs);
    eventually_within(Duration::from_secs(30), "there are no ghosts", async || {
        online(&ann, conversation).await == ["Ann"]
    })
    .await;
    eprintln!("offline after {:?}", since.elapsed());
    for gone in [&bob, &carl] {
        anns.expect_where("who follows is told", turned(gone, false)).await;
    }
    let mut posted = Vec::new();
    for n in 0..20 {
        posted.push(anns.post(conversation, MessageId::new(), &format!("{n}")).await);
    }
    anns.drain();

    fleet.nodes[2].thaw();
    let thawed = Instant::now();
    // On the same connection, everything in order; and he counts as online again, though nobody reconnected.
    for ack in &posted {
        let frame = carls.expect("message").await;
        assert_eq!((&frame["seq"], &frame["rev"]), (&json!(ack.seq), &json!(ack.rev)));
    }
    anns.expect_where("Carl is back", turned(&carl, true)).await;
    eprintln!("thawed: back after {:?}", thawed.elapsed());
    let ack = carls.post(conversation, MessageId::new(), "still here").await;
    let is_it = |frame: &Value| frame["type"] == "message" && frame["seq"] == ack.seq;
    anns.expect_where("what Carl wrote", is_it).await;
    eventually("Carl sees Ann", async || {
        online(&carl, conversation).await == ["Ann", "Carl"]
    })
    .await;

    // Bob's node comes back, and Bob with it.
    fleet.nodes[1].restart();
    let mut bobs = following(&bob, conversation).await;
    anns.expect_where("Bob is back", turned(&bob, true)).await;
    anns.post(conversation, MessageId::new(), "welcome").await;
    bobs.expect_where("the message", |frame| frame["body"] == "welcome")
        .await;
    fleet.stop().await;
}

async fn part(site: &Site, name: &str) -> Value {
    let answer = site.request(reqwest::Method::GET, "/health/ready", None, None).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body["parts"][name].clone()
}

/// Logged out, suspended, a key deleted: on one node, while Redis is dead; heard on the other.
#[actix_web::test]
async fn what_is_revoked_on_one_process_is_revoked_on_all_without_redis_too() {
    const WITHIN: Duration = Duration::from_secs(5);
    let mut fleet = Fleet::start(2, &[]).await;
    for is_dead in [false, true] {
        if is_dead {
            fleet.redis.kill_9();
        }
        let status = if is_dead { "degraded" } else { "ok" };
        for site in fleet.sites() {
            eventually("readiness shows the bus and how it is", async || {
                let bus = part(&site, "bus").await;
                assert_eq!(bus["kind"], "redis");
                bus["status"] == status
            })
            .await;
        }
        let ([ann, bob, carl], _) = fleet.nodes[0].conversation_of(["Ann", "Bob", "Carl"]).await;
        let there = &fleet.nodes[1];
        let key = ann
            .post("/api/keys", json!({"name": "Bot", "scopes": ["chat"]}))
            .await
            .ok();
        let secret = key["secret"].as_str().unwrap();
        let mut sockets = vec![
            (Socket::connect(there, secret).await, 4001),
            (bob.at(there).connect().await, 4003),
            (carl.at(there).connect().await, 4001),
        ];
        let since = Instant::now();
        let path = format!("/api/keys/{}", key["id"].as_str().unwrap());
        assert_eq!(ann.delete(&path).await.status, 204);
        let suspended = json!({"status": "suspended"});
        ann.patch(&format!("/api/users/{}", bob.id), suspended).await.ok();
        carl.post("/auth/logout", Value::Null).await.ok();
        for (socket, code) in &mut sockets {
            socket.expect_close(*code).await;
        }
        assert!(since.elapsed() < WITHIN, "{:?}", since.elapsed());
        eprintln!("Redis dead: {is_dead}; revoked after {:?}", since.elapsed());
        for (token, status) in [(secret, 401), (&bob.token, 403), (&carl.token, 401)] {
            let answer = there.request(reqwest::Method::GET, "/api/me", Some(token), None).await;
            assert_eq!(answer.status, status, "{}", answer.body);
        }
        ann.at(there).get("/api/me").await.ok();
    }
    fleet.stop().await;
}
