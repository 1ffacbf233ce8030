//! Quotas that two nodes share through a real Redis, also one that is killed, frozen or flushed.

use crate::support::app::TestApp;
use crate::support::client::Person;
use crate::support::redis::{Redises, TestRedis};
use crate::support::redis_cluster::{MASTERS, TestRedisCluster};
use crate::support::{eventually, pace};
use futures_util::future::join_all;
use parlance::config::{Config, FloodConfig, QuotaConfig};
use parlance::ids::{ConversationId, MessageId};
use std::time::{Duration, Instant};

const QUOTA: usize = 100;

/// Limits on, with a flood guard that no test meets.
fn limits(config: &mut Config) {
    let quota = QuotaConfig {
        per_minute: QUOTA,
        per_hour: 100_000,
    };
    let no_flood = FloodConfig {
        per_second: 1_000_000,
        burst: 1_000_000,
    };
    config.limits.enabled = true;
    (config.limits.regular, config.limits.anonymous) = (quota, quota);
    (config.limits.flood, config.limits.flood_auth) = (no_flood, no_flood);
}

async fn start(redis: &impl Redises) -> TestApp {
    TestApp::with(|config| {
        limits(config);
        config.redis = redis.config();
        // On a busy machine an answer may take its time; that is not what these tests are about.
        config.redis.timeout = Duration::from_secs(2);
    })
    .await
}

/// Sends on so many sockets at each node until everybody has been refused; how many messages were acknowledged.
async fn hammer(people: &[Person], sockets: usize, conversation: ConversationId) -> usize {
    let sockets = people.iter().flat_map(|person| (0..sockets).map(|_| person.connect()));
    let sockets = join_all(sockets).await;
    let sending = sockets.into_iter().map(|mut socket| async move {
        let mut acknowledged = 0;
        let mut refused = 0;
        while refused < 3 {
            match socket.try_post(conversation, MessageId::new(), "x").await {
                Ok(_) => acknowledged += 1,
                Err(error) => {
                    assert_eq!(error["code"], "rate_limited", "{error}");
                    assert!(error["retry_after_ms"].as_u64().unwrap() > 0, "{error}");
                    refused += 1;
                    // Longer than a refusal of Redis is repeated, so that it is asked each time.
                    pace(Duration::from_millis(120)).await;
                }
            }
        }
        acknowledged
    });
    join_all(sending).await.iter().sum()
}

/// What Redis has counted in the minutes of all subjects of a kind.
async fn counted(redis: &TestRedis, kind: &str) -> usize {
    let mut sum = 0;
    for key in redis.keys(&format!("parlance:rate_limit:{kind}:*")).await {
        let fields: Vec<String> = redis.ask(&["HGETALL", &key]).await;
        let minutes = fields.chunks(2).filter(|pair| pair[0].starts_with('m'));
        sum += minutes.map(|pair| pair[1].parse::<usize>().unwrap()).sum::<usize>();
    }
    sum
}

#[actix_web::test]
async fn two_nodes_give_one_quota_between_them() {
    let redis = TestRedis::start().await;
    let app = start(&redis).await;
    let peer = app.peer().await;
    let (ann, conversation) = app.person_with_conversation("Ann").await;
    let acknowledged = hammer(&[ann.clone(), ann.at(&peer)], 8, conversation).await;
    // One went into making the conversation; what a node has leased and cannot use is given back.
    assert!((QUOTA * 95 / 100..QUOTA).contains(&acknowledged), "{acknowledged}");
    for node in [&ann, &ann.at(&peer)] {
        let refused = node.get("/api/me").await;
        assert_eq!(refused.header("x-ratelimit-remaining"), Some("0"));
        assert!(refused.header("x-ratelimit-reset").is_some());
        refused.problem(429, "rate_limited");
    }
    peer.stop().await;
    app.stop().await;
}

/// Each subject is counted at the server of its slot, and a server that is away concerns its own subjects.
#[actix_web::test]
async fn on_a_cluster_quotas_are_counted_at_every_server() {
    let mut cluster = TestRedisCluster::start().await;
    let app = start(&cluster).await;
    let peer = app.peer().await;
    let shard = |person: &Person| TestRedisCluster::home(&format!("parlance:rate_limit:user:{}", person.id));
    let mut people: Vec<Option<Person>> = vec![None; MASTERS];
    while people.iter().any(Option::is_none) {
        let person = app.register("Ann").await;
        people[shard(&person)].get_or_insert(person);
    }
    let people: Vec<_> = people.into_iter().flatten().collect();
    let spent = async |person: &Person| {
        let conversation = person.create_conversation("Own").await;
        hammer(&[person.clone(), person.at(&peer)], 4, conversation).await
    };
    for n in [0, 2] {
        let acknowledged = spent(&people[n]).await;
        assert!((QUOTA * 95 / 100..QUOTA).contains(&acknowledged), "{n}: {acknowledged}");
        let key = format!("parlance:rate_limit:user:{}", people[n].id);
        assert_eq!(cluster.ask::<u64>(n, &["EXISTS", &key]).await, 1);
    }
    cluster.kill_9(1);
    // Each node counts her alone: she has up to two quotas, and at least her own.
    let acknowledged = spent(&people[1]).await;
    assert!((QUOTA * 95 / 100..=2 * QUOTA).contains(&acknowledged), "{acknowledged}");
    let again = people[2].get("/api/me").await;
    assert!(
        again.status == 200 || again.status == 429,
        "the others are counted as ever"
    );
    assert_eq!(
        cluster
            .ask::<u64>(2, &["EXISTS", &format!("parlance:rate_limit:user:{}", people[2].id)])
            .await,
        1
    );
    peer.stop().await;
    app.stop().await;
}

#[actix_web::test]
async fn what_is_not_used_of_a_lease_is_returned() {
    let redis = TestRedis::start().await;
    let app = start(&redis).await;
    let peer = app.peer().await;
    let ann = app.register("Ann").await;
    let first = ann.get("/api/me").await;
    let second = ann.at(&peer).get("/api/me").await;
    let left =
        |answer: &crate::support::Answer| -> usize { answer.header("x-ratelimit-remaining").unwrap().parse().unwrap() };
    assert_eq!(left(&first), QUOTA - 1);
    assert!((QUOTA - 6..QUOTA - 1).contains(&left(&second)), "{}", left(&second));
    // A slice was leased at each node, of which one was used.
    assert!(counted(&redis, "user").await > 2);
    eventually("the rest is given back", async || counted(&redis, "user").await == 2).await;
    assert_eq!(
        left(&ann.get("/api/me").await),
        QUOTA - 3,
        "and every node knows what the other used"
    );
    // The credentials of nobody: counted for the address.
    app.request(reqwest::Method::GET, "/api/me", None, None)
        .await
        .problem(401, "unauthenticated");
    eventually("counted", async || counted(&redis, "network").await > 0).await;
    peer.stop().await;
    app.stop().await;
}

#[actix_web::test]
async fn without_redis_each_node_counts_alone_and_syncs_later() {
    let mut redis = TestRedis::start().await;
    let app = TestApp::with(|config| {
        limits(config);
        config.redis = redis.config();
    })
    .await;
    let peer = app.peer().await;
    let (ann, conversation) = app.person_with_conversation("Ann").await;
    redis.kill_9();
    let alone = hammer(std::slice::from_ref(&ann), 8, conversation).await;
    // Only what was leased before the kill, and not synced, may be missing.
    assert!((QUOTA - 1 - QUOTA / 20..QUOTA).contains(&alone), "{alone}");
    // The other node does not know; it is not wide open either.
    let bob = ann.at(&peer);
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..30 {
        match bob.get("/api/me").await.status {
            200 => taken += 1,
            _ => refused += 1,
        }
    }
    assert_eq!((taken, refused), (30, 0));
    redis.restart().await;
    // Usage is synced without any further request, but for what was leased before.
    eventually("both have synced", async || {
        counted(&redis, "user").await >= alone + taken - QUOTA / 20
    })
    .await;
    // As soon as both have synced, both know that it is more than the quota: long before either's own window is full.
    let mut more = 0;
    eventually("the nodes share again", async || {
        ann.get("/api/me").await.problem(429, "rate_limited");
        let is_known = bob.get("/api/me").await.status == 429;
        more += usize::from(!is_known);
        pace(Duration::from_millis(400)).await;
        is_known
    })
    .await;
    assert!(more < QUOTA - taken - 20, "{more}");
    peer.stop().await;
    app.stop().await;
}

#[actix_web::test]
async fn a_frozen_redis_holds_nobody_up() {
    let redis = TestRedis::start().await;
    let app = TestApp::with(|config| {
        limits(config);
        config.redis = redis.config();
    })
    .await;
    let (ann, conversation) = app.person_with_conversation("Ann").await;
    let mut socket = ann.connect().await;
    socket.post(conversation, MessageId::new(), "x").await;
    redis.freeze();
    let mut longest = Duration::ZERO;
    for _ in 0..40 {
        let asked = Instant::now();
        socket.post(conversation, MessageId::new(), "x").await;
        longest = longest.max(asked.elapsed());
    }
    // Twice the deadline of Redis, and what a commit takes on a busy machine.
    assert!(longest < Duration::from_millis(600), "{longest:?}");
    redis.thaw();
    // Without any help it is used again, and what was admitted meanwhile is synced.
    eventually("Redis is used again", async || {
        socket
            .ask(
                serde_json::json!({"type": "react", "conversation": conversation, "id": MessageId::new(),
            "emoji": "x", "on": true}),
            )
            .await;
        counted(&redis, "user").await >= 42
    })
    .await;
    app.stop().await;
}

#[actix_web::test]
async fn a_crash_of_the_actor_gives_nothing_away() {
    let redis = TestRedis::start().await;
    let app = TestApp::with(|config| {
        limits(config);
        config.redis = redis.config();
    })
    .await;
    let (ann, conversation) = app.person_with_conversation("Ann").await;
    // Again and again, until its budget of restarts is spent: this node counts alone then.
    fail::cfg("rate_limit::ask", "panic").unwrap();
    let (mut socket, mut longest) = (ann.connect().await, Duration::ZERO);
    for _ in 0..20 {
        let asked = Instant::now();
        socket.post(conversation, MessageId::new(), "x").await;
        longest = longest.max(asked.elapsed());
    }
    assert!(longest < Duration::from_secs(1), "{longest:?}");
    fail::remove("rate_limit::ask");
    let acknowledged = 20 + hammer(std::slice::from_ref(&ann), 4, conversation).await;
    assert!((QUOTA * 95 / 100..QUOTA).contains(&acknowledged), "{acknowledged}");
    // Flushed, too: Redis has forgotten, the node has not.
    redis.flush().await;
    ann.get("/api/me").await.problem(429, "rate_limited");
    app.stop().await;
}

#[actix_web::test]
async fn sends_keep_their_order_while_redis_is_asked() {
    let redis = TestRedis::start().await;
    let app = start(&redis).await;
    let (ann, conversation) = app.person_with_conversation("Ann").await;
    let mut socket = ann.connect().await;
    const SENDS: usize = 60;
    for n in 0..SENDS {
        let id = MessageId::new();
        let frame = serde_json::json!({"type": "send", "ref": format!("r{n}"), "conversation": conversation,
            "id": id, "body": format!("{n}")});
        socket.send_json(&frame).await;
    }
    for n in 0..SENDS {
        let ack = socket.reply_to(&format!("r{n}")).await;
        assert_eq!((&ack["type"], &ack["seq"]), (&"ack".into(), &(n + 1).into()), "{ack}");
    }
    app.stop().await;
}
