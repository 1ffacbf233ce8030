//! Nodes that speak over a real Redis: what crosses over, and what it costs when Redis is killed, frozen or flushed.

use crate::support::redis::TestRedis;
use crate::support::{PATIENCE, Person, Scrape, ServerProcess, Socket, TestApp, eventually};
use futures_util::StreamExt as _;
use parlance::ids::{ConversationId, MessageId};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// A comparison of revisions comes every four seconds; what is heard sooner came over the bus.
const BEFORE_COMPARISON: Duration = Duration::from_millis(2_500);

/// Two nodes on one Redis; Ann on the first, Bob on the second, both following.
async fn two_nodes(redis: &TestRedis) -> (TestApp, TestApp, (Person, Person), ConversationId, [Socket; 2]) {
    let app = TestApp::over(redis).await;
    let peer = app.peer_over(redis).await;
    let ([ann, bob], conversation) = app.conversation_of(["Ann", "Bob"]).await;
    let bob = bob.at(&peer);
    let mut sockets = [ann.connect().await, bob.connect().await];
    for socket in &mut sockets {
        socket.subscribe(conversation, None).await;
    }
    crossing(&mut sockets, conversation).await;
    (app, peer, (ann, bob), conversation, sockets)
}

/// Waits until messages cross over at once in both directions: to subscribe to channels takes a moment.
async fn crossing(sockets: &mut [Socket; 2], conversation: ConversationId) {
    for (from, to) in [(0, 1), (1, 0)] {
        // One alone may have been found by a comparison that was just due.
        let mut in_a_row = 0;
        eventually("the nodes hear each other", async || {
            let took = crosses(sockets, (from, to), conversation, "probe").await;
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

/// How long a message takes from one socket to the other.
async fn crosses(
    sockets: &mut [Socket; 2],
    (from, to): (usize, usize),
    conversation: ConversationId,
    text: &str,
) -> Duration {
    let (posted, id) = (Instant::now(), MessageId::new());
    sockets[from].post(conversation, id, text).await;
    let is_it = |frame: &Value| frame["type"] == "message" && frame["id"] == json!(id);
    sockets[to].expect_where("the message", is_it).await;
    posted.elapsed()
}

#[actix_web::test]
async fn messages_notices_and_presence_cross_over_redis() {
    let redis = TestRedis::start().await;
    let (app, peer, (ann, bob), conversation, mut sockets) = two_nodes(&redis).await;
    for n in 0..20 {
        let took = crosses(&mut sockets, (0, 1), conversation, &format!("message {n}")).await;
        assert!(took < BEFORE_COMPARISON, "{took:?}");
    }
    // A node hears of users who are connected to it though the conversation is not active there.
    let other = ann.create_conversation("Other").await;
    ann.add_member(other, bob.id, "member").await.ok();
    let told = |frame: &Value| frame["type"] == "notice" && frame["conversation"] == json!(other);
    sockets[1].expect_where("a notice", told).await;
    let seen = sockets[0].subscribe(conversation, None).await;
    let members = seen.subscribed["members"].as_array().unwrap().clone();
    assert!(members.iter().all(|member| member["online"] == true), "{members:?}");
    for app in [peer, app] {
        app.stop().await;
    }
}

/// What a node says of its bus.
async fn bus_status(node: &TestApp) -> String {
    let ready = node.request(Method::GET, "/health/ready", None, None).await;
    ready.body["parts"]["bus"]["status"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

#[actix_web::test]
async fn without_redis_every_node_goes_on_and_the_others_follow() {
    let mut redis = TestRedis::start().await;
    let (app, peer, _, conversation, mut sockets) = two_nodes(&redis).await;
    redis.kill_9();
    // Acknowledged at once; the other node finds out by comparing.
    let took = crosses(&mut sockets, (0, 1), conversation, "while it is dead").await;
    assert!(took < Duration::from_secs(5), "{took:?}");
    redis.restart().await;
    crossing(&mut sockets, conversation).await;
    let took = crosses(&mut sockets, (0, 1), conversation, "and back").await;
    assert!(took < BEFORE_COMPARISON, "{took:?}");
    redis.flush().await;
    let took = crosses(&mut sockets, (0, 1), conversation, "flushed").await;
    assert!(took < BEFORE_COMPARISON, "{took:?}");
    redis.freeze();
    let acknowledged = Instant::now();
    sockets[0]
        .post(conversation, MessageId::new(), "while it stands still")
        .await;
    assert!(
        acknowledged.elapsed() < Duration::from_secs(1),
        "nobody waits for Redis"
    );
    let is_it = |frame: &Value| frame["body"] == "while it stands still";
    sockets[1].expect_where("the message", is_it).await;
    // Both nodes notice, so that they connect again.
    for node in [&app, &peer] {
        eventually("the bus is known to be away", async || {
            bus_status(node).await == "degraded"
        })
        .await;
    }
    redis.thaw();
    crossing(&mut sockets, conversation).await;
    let took = crosses(&mut sockets, (0, 1), conversation, "thawed").await;
    assert!(took < BEFORE_COMPARISON, "{took:?}");
    for app in [peer, app] {
        app.stop().await;
    }
}

#[actix_web::test]
async fn nodes_speak_over_tcp_with_a_password() {
    let redis = TestRedis::start_with_password("password").await;
    let (app, peer, _, conversation, mut sockets) = two_nodes(&redis).await;
    let took = crosses(&mut sockets, (0, 1), conversation, "hello").await;
    assert!(took < BEFORE_COMPARISON, "{took:?}");
    for app in [peer, app] {
        app.stop().await;
    }
}

#[actix_web::test]
async fn operators_see_what_the_bus_reaches_and_why_it_loses() {
    let mut redis = TestRedis::start().await;
    let (app, peer, _, conversation, mut sockets) = two_nodes(&redis).await;
    let page = Scrape::of(&app).await;
    assert_eq!(page.value("bus_conversations_followed", &[]), 1.0);
    assert_eq!(page.value("bus_servers", &[]), 1.0);
    assert_eq!(page.value("bus_servers_connected", &[]), 1.0);
    assert!(page.value("bus_lag_seconds_count", &[]) > 0.0);
    let nonsense = page.value("bus_not_understood_total", &[]);
    redis
        .ask::<i64>(&["PUBLISH", "parlance:bus:0:everybody", "\u{7f}of another version"])
        .await;
    eventually("it is counted", async || {
        Scrape::of(&app).await.value("bus_not_understood_total", &[]) > nonsense
    })
    .await;
    redis.kill_9();
    crosses(&mut sockets, (0, 1), conversation, "while it is dead").await;
    eventually("what was lost, and that it connects again, is counted", async || {
        let page = Scrape::of(&app).await;
        page.value("bus_dropped_total", &[("reason", "redis_away")]) > 0.0
            && page.value("bus_reconnects_total", &[("role", "publisher")]) > 0.0
            && page.value("bus_reconnects_total", &[("role", "subscriber")]) > 0.0
            && page.value("bus_servers_connected", &[]) == 0.0
    })
    .await;
    for app in [peer, app] {
        app.stop().await;
    }
}

/// An envelope that a node has published on a channel, as somebody sees it who can read Redis.
async fn overheard(redis: &TestRedis, channel: &str, publish: impl AsyncFnOnce()) -> Vec<u8> {
    let client = redis::Client::open(redis.url()).unwrap();
    let mut listener = client.get_async_pubsub().await.unwrap();
    listener.subscribe(channel).await.unwrap();
    publish().await;
    let heard = tokio::time::timeout(PATIENCE, listener.on_message().next()).await;
    heard.unwrap().unwrap().get_payload().unwrap()
}

#[actix_web::test]
async fn whoever_can_write_to_redis_is_not_believed() {
    let redis = TestRedis::start().await;
    let process = ServerProcess::start(&[("REDIS_URL", &redis.url())]);
    let ([ann, bob, carl], conversation) = process.conversation_of(["Ann", "Bob", "Carl"]).await;
    let mut sockets = [ann.connect().await, bob.connect().await];
    for socket in &mut sockets {
        socket.subscribe(conversation, None).await;
    }
    eventually("the bus is up", async || {
        Scrape::of(&process).await.value("bus_servers_connected", &[]) == 1.0
    })
    .await;
    let channel = format!("parlance:bus:0:conversation:{conversation}");
    let typing = json!({"type": "typing", "conversation": conversation, "on": true});
    let genuine = overheard(&redis, &channel, async || sockets[0].send_json(&typing).await).await;
    sockets[1].expect("typing").await;

    // Another node would say the same of Carl, but for the seal.
    let mut forged = genuine;
    let place = |bytes: &[u8], what: &[u8]| bytes.windows(what.len()).position(|window| window == what);
    let user = place(&forged, ann.id.0.as_bytes()).expect("the user stands in it");
    forged[user..user + 16].copy_from_slice(carl.id.0.as_bytes());
    let (head, content) = forged.split_at_mut(17);
    content[1..17].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
    head[1..].fill(7);
    for _ in 0..20 {
        assert!(redis.publish(&channel, &forged).await > 0, "the node listens");
    }
    // As it was before there were seals.
    let unsealed = [&[1], &forged[17..]].concat();
    redis.publish(&channel, &unsealed).await;
    eventually("all are counted", async || {
        let page = Scrape::of(&process).await;
        page.value("bus_forged_total", &[]) == 20.0 && page.value("bus_not_understood_total", &[]) == 1.0
    })
    .await;
    sockets[1].expect_none("typing").await;
    assert_eq!(
        process.log().matches("that are no node's").count(),
        1,
        "{}",
        process.log()
    );
    process.terminate();
}
