//! Redis ill, or the way of one node to it: everybody goes on being answered, the others follow within seconds, in one
//! order, and afterwards everything is as fast as before without anybody's restart.

use crate::support::chaos::{Chaos, Effects, Proxy, Upstream};
use crate::support::redis::TestRedis;
use crate::support::{Person, Socket, TestApp, eventually};
use parlance::config::{RedisConfig, Secret};
use parlance::ids::{ConversationId, MessageId};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// The comparison comes every four seconds, and within two more everything is there.
const REPAIRED_WITHIN: Duration = Duration::from_secs(6);
/// Nobody waits for Redis.
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);
/// Messages while something is ill.
const POSTS: usize = 20;

/// Two nodes, each with a way of its own to one Redis; Ann on the first, Bob on the second.
struct Pair {
    redis: TestRedis,
    links: [Proxy; 2],
    nodes: Vec<TestApp>,
    owner: Person,
    conversation: ConversationId,
    sockets: [Socket; 2],
    /// What each has seen, in its order.
    seen: [Vec<(i64, Value)>; 2],
}

impl Pair {
    async fn start() -> Self {
        let redis = TestRedis::start().await;
        let links = [
            Proxy::to(Upstream::Unix(redis.socket())).await,
            Proxy::to(Upstream::Unix(redis.socket())).await,
        ];
        let over = |link: &Proxy| RedisConfig {
            url: Some(Secret::new(link.redis_url())),
            ..redis.config()
        };
        let app = TestApp::start().await;
        let nodes = vec![
            app.peer_over_config(over(&links[0])).await,
            app.peer_over_config(over(&links[1])).await,
        ];
        app.stop().await;
        let ([ann, bob], conversation) = nodes[0].conversation_of(["Ann", "Bob"]).await;
        let mut sockets = [ann.connect().await, bob.at(&nodes[1]).connect().await];
        for socket in &mut sockets {
            socket.subscribe(conversation, None).await;
        }
        let mut pair = Self {
            redis,
            links,
            nodes,
            owner: ann,
            conversation,
            sockets,
            seen: [Vec::new(), Vec::new()],
        };
        pair.is_well().await;
        pair
    }

    /// Posts on one of the nodes.
    async fn post(&mut self, at: usize, text: &str) -> MessageId {
        let (id, asked) = (MessageId::new(), Instant::now());
        self.sockets[at].post(self.conversation, id, text).await;
        assert!(asked.elapsed() < ANSWERED_WITHIN, "{text}: {:?}", asked.elapsed());
        id
    }

    /// Reads until both have seen a message; how long that took.
    async fn both_see(&mut self, id: MessageId) -> Duration {
        let (started, id) = (Instant::now(), json!(id));
        for (socket, seen) in self.sockets.iter_mut().zip(&mut self.seen) {
            loop {
                let frame = socket.expect("message").await;
                seen.push((frame["rev"].as_i64().unwrap(), frame["id"].clone()));
                if frame["id"] == id {
                    break;
                }
            }
        }
        started.elapsed()
    }

    /// Waits until messages cross over at once, in both directions, several times in a row: one alone may have been found
    /// by a comparison that was just due.
    async fn is_well(&mut self) {
        let mut in_a_row = 0;
        eventually("messages cross over at once", async || {
            let at = in_a_row % 2;
            let id = self.post(at, "probe").await;
            let took = self.both_see(id).await;
            in_a_row = if took < Duration::from_millis(500) {
                in_a_row + 1
            } else {
                0
            };
            in_a_row == 6
        })
        .await;
    }

    /// Both write while something is ill, and both have everything in time.
    async fn goes_on(&mut self, what: &str) {
        let mut last = None;
        for n in 0..POSTS {
            last = Some(self.post(n % 2, &format!("{what} {n}")).await);
        }
        let took = self.both_see(last.unwrap()).await;
        eprintln!("{what}: both have everything after {took:?}");
        assert!(took < REPAIRED_WITHIN, "{what}: {took:?}");
    }

    /// Both have seen the same in the same order, without a hole.
    fn agree(&self) {
        let [anns, bobs] = &self.seen;
        assert_eq!(anns, bobs);
        assert!(anns.windows(2).all(|pair| pair[1].0 == pair[0].0 + 1), "no hole");
    }

    async fn stop(self) {
        self.agree();
        for node in self.nodes {
            node.stop().await;
        }
    }
}

#[actix_web::test]
async fn redis_is_killed_frozen_and_emptied() {
    let mut pair = Pair::start().await;
    pair.redis.kill_9();
    pair.goes_on("killed").await;
    pair.redis.restart().await;
    pair.is_well().await;
    pair.redis.freeze();
    pair.goes_on("frozen").await;
    // Once more: by now the nodes have noticed.
    pair.goes_on("still frozen").await;
    pair.redis.thaw();
    pair.is_well().await;
    pair.redis.flush().await;
    pair.goes_on("emptied").await;
    pair.is_well().await;
    pair.stop().await;
}

#[actix_web::test]
async fn one_node_is_cut_off_from_redis() {
    let mut pair = Pair::start().await;
    for at in [0, 1] {
        for chaos in [Chaos::Cut, Chaos::Freeze, Chaos::Delay(Duration::from_secs(1))] {
            let before = pair.links[at].effects();
            pair.links[at].set(chaos);
            pair.goes_on(&format!("node {at}: {chaos:?}")).await;
            let Effects { cut, held, .. } = pair.links[at].effects().since(&before);
            assert!(cut + held > 0, "{chaos:?} was not noticed");
            pair.links[at].heal();
            pair.is_well().await;
        }
    }
    pair.stop().await;
}

/// While an installation is upgraded, some nodes speak what others do not understand.
#[actix_web::test]
async fn what_is_not_understood_costs_seconds_and_harms_nobody() {
    let mut pair = Pair::start().await;
    // A node of another version is one that is heard by nobody and hears nobody.
    let newer = pair.nodes[0].peer_without_bus().await;
    let channels: Vec<String> = pair.redis.ask(&["PUBSUB", "CHANNELS", "*"]).await;
    assert!(
        channels.len() >= 4,
        "everybody's, each node's own, the conversation's: {channels:?}"
    );
    for n in 0..500 {
        for channel in &channels {
            // Another version with who knows what; our version with what is no envelope; nothing at all.
            let words = ["\u{7f}from the future", "\u{1}from nowhere", ""];
            pair.redis.ask::<i64>(&["PUBLISH", channel, words[n % 3]]).await;
        }
    }
    let dora = newer.join("Dora", &pair.owner.invite(pair.conversation).await).await;
    let mut doras = dora.connect().await;
    doras.subscribe(pair.conversation, None).await;
    let id = MessageId::new();
    doras.post(pair.conversation, id, "from another version").await;
    let took = pair.both_see(id).await;
    assert!(took < REPAIRED_WITHIN, "{took:?}");
    let id = pair.post(1, "to another version").await;
    let is_it = |frame: &Value| frame["type"] == "message" && frame["id"] == json!(id);
    let posted = Instant::now();
    doras.expect_where("the message", is_it).await;
    assert!(posted.elapsed() < REPAIRED_WITHIN);
    pair.both_see(id).await;
    // Those who understand each other are as fast as ever.
    pair.is_well().await;
    newer.stop().await;
    // Between, members came: revisions that are no messages.
    pair.seen = [Vec::new(), Vec::new()];
    pair.goes_on("afterwards").await;
    pair.stop().await;
}
