//! The bus between processes: Redis Pub/Sub, with one connection that publishes and one that listens, for each server.
//!
//! | file | what |
//! |---|---|
//! | `shards.rs` | the servers, as many as the layout has, and the tasks for each |
//! | `publisher.rs` | the task that sends what waits for a server, many in one round trip |
//! | `subscriber.rs` | the task that listens to a server, and tells it what the node wants to hear |
//! | `topics.rs` | what the node wants to hear, and where; pure |
//!
//! A node hears what is for everybody, for itself, and for the conversations that are active on it; so what a node
//! receives grows with what it serves and not with the size of the installation. On a Redis Cluster the channels of
//! conversations are sharded (`SPUBLISH`, `SSUBSCRIBE`): a publication reaches the shard of its slot and no other. The other
//! two stay plain: a cluster carries them to all of its servers, so they are heard while any of them lives; they are few, and
//! without them a node would be deaf.
//!
//! The tasks are supervised and connect again with growing, jittered pauses. Nothing is kept while Redis is away: what was
//! to be published is dropped and counted, and after every connect, and when a slot has moved, the node is told which
//! conversations it may have missed something of ([`Envelope::Resumed`]); it compares their revisions with PostgreSQL.
//!
//! Bounds: [`ENVELOPES_MAX`] envelopes wait to be published at each server and as many to be taken up, further ones are
//! dropped and counted.

mod publisher;
mod shards;
mod subscriber;
mod topics;

use super::{Bus, Delivery, ENVELOPES_MAX, Envelope, Interest, To, codec};
use crate::config::RedisConfig;
use crate::ids::{ConversationId, NodeId};
use crate::metrics::{BusDrop, BusReach, Depth, metrics};
use crate::redis::{Address, Servers, slot};
use crate::supervision::{ArbiterPool, Backoff, supervise_task};
use ::redis::{ErrorKind, RedisError, ServerErrorKind};
use chrono::Utc;
use parking_lot::Mutex;
use shards::{Shard, Shards};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use topics::Topics;

/// What the tasks are called in logs and metrics.
const PUBLISHER: &str = "bus_publisher";
const SUBSCRIBER: &str = "bus_subscriber";
/// How long one round trip, or the making of a connection, may take until the connection counts as broken.
const PATIENCE: Duration = Duration::from_secs(2);
/// Another node that has not been heard for this long need not be told of everything.
const PEER_SILENCE_MAX: Duration = Duration::from_secs(60);
/// The pauses between tries to connect: short at first, then longer. It is tried for ever.
const RECONNECTS: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
/// After a connection that held for so long, the pauses are short again.
const CONNECTION_HELD_MIN: Duration = Duration::from_secs(60);

/// What waits to be published.
struct Letter {
    channel: String,
    bytes: Vec<u8>,
    sharded: bool,
    /// A server has refused it because another one has the slot.
    redirected: bool,
}

impl Letter {
    const fn command(&self) -> &'static str {
        if self.sharded { "SPUBLISH" } else { "PUBLISH" }
    }
}

struct Shared {
    node: NodeId,
    servers: Servers,
    /// The number of the database in Redis. Channels do not belong to one, so it stands in their names.
    database: i64,
    /// None until one has answered.
    shards: watch::Sender<Option<Shards>>,
    /// What is published before that.
    early: Mutex<Vec<(To, Vec<u8>)>>,
    /// The layout may have changed.
    look: Notify,
    /// The subscribers of this node: three at most times.
    subscriptions: Mutex<Vec<(Interest, mpsc::Sender<Delivery>)>>,
    topics: Mutex<Topics>,
    /// Whoever holds it listens to what is for everybody and for this node.
    own_channels: Semaphore,
    hears_own: AtomicBool,
    /// When another node was last heard, in milliseconds of Unix time; or since when none can have been.
    peer_heard_ms: AtomicI64,
}

/// The bus over Redis.
pub struct RedisBus {
    shared: Arc<Shared>,
}

impl RedisBus {
    /// Starts its tasks. `None` without `REDIS_URL`, or if it is none (the configuration has been checked for that).
    #[must_use]
    pub fn start(node: NodeId, config: &RedisConfig, arbiters: &ArbiterPool) -> Option<Self> {
        let shared = Arc::new(Shared::new(node, Servers::of(config)?));
        let publishing = shared.clone();
        arbiters.spawn(0, async move {
            let publish = |_| shards::for_each(publishing.clone(), PUBLISHER, publisher::run);
            supervise_task(PUBLISHER, publish).await;
        });
        let listening = shared.clone();
        arbiters.spawn(1, async move {
            let listen = async |_| {
                tokio::select! {
                    () = shards::watch(&listening) => {}
                    () = shards::for_each(listening.clone(), SUBSCRIBER, subscriber::run) => {}
                }
            };
            supervise_task(SUBSCRIBER, listen).await;
        });
        Some(Self { shared })
    }
}

/// A connection that works, until this is dropped, however that comes.
struct Connected<'a>(&'a AtomicBool);

impl<'a> Connected<'a> {
    fn new(flag: &'a AtomicBool) -> Self {
        flag.store(true, Ordering::Relaxed);
        Self(flag)
    }
}

impl Drop for Connected<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl Shared {
    fn new(node: NodeId, servers: Servers) -> Self {
        let database = servers.database();
        Self {
            node,
            servers,
            database,
            shards: watch::Sender::new(None),
            early: Mutex::default(),
            look: Notify::new(),
            subscriptions: Mutex::default(),
            topics: Mutex::new(Topics::new(database, |database, id| {
                slot(&channel(database, To::Conversation(id)))
            })),
            own_channels: Semaphore::new(1),
            hears_own: AtomicBool::new(false),
            peer_heard_ms: AtomicI64::new(Utc::now().timestamp_millis()),
        }
    }

    /// Hands on what an envelope says, if another node has sent it.
    fn take_up(&self, bytes: &[u8]) {
        // A node hears itself, too: of two nodes each gets half of it back, so that is looked at first.
        if codec::sender(bytes) == Some(self.node) {
            return;
        }
        match codec::decode(bytes) {
            Ok(received) => {
                self.heard_peer();
                // By the clocks of two machines, so it is good for a metric and for nothing else.
                let lag = (Utc::now() - received.at).to_std().unwrap_or_default();
                self.deliver(&Delivery {
                    envelope: received.envelope,
                    published_at: Instant::now().checked_sub(lag).unwrap_or_else(Instant::now),
                });
            }
            Err(error) => {
                self.heard_peer();
                metrics().bus_not_understood();
                tracing::debug!(%error, "the bus carried something that is not understood");
            }
        }
    }

    fn channel(&self, to: To) -> String {
        channel(self.database, to)
    }

    /// Hands an envelope to the node; dropped when it does not keep up.
    fn deliver(&self, delivery: &Delivery) {
        let interest = Interest::of(&delivery.envelope);
        let subscriptions = self.subscriptions.lock();
        for (_, queue) in subscriptions.iter().filter(|(wanted, _)| *wanted == interest) {
            if let Err(mpsc::error::TrySendError::Full(_)) = queue.try_send(delivery.clone()) {
                metrics().bus_dropped(BusDrop::IncomingFull, 1);
            }
        }
    }

    fn is_cluster(&self) -> bool {
        self.shards
            .borrow()
            .as_ref()
            .is_some_and(|shards| shards.layout.is_cluster())
    }

    fn at(&self, address: &Address) -> Option<Arc<Shard>> {
        self.shards.borrow().as_ref()?.at(address).cloned()
    }

    fn publish(&self, to: To, bytes: Vec<u8>) {
        if self.shards.borrow().is_none() {
            let mut early = self.early.lock();
            // Whoever is there now takes what waits here after that, under this lock.
            let nobody = self.shards.borrow().is_none();
            if nobody && early.len() < ENVELOPES_MAX {
                return early.push((to, bytes));
            }
            if nobody {
                return metrics().bus_dropped(BusDrop::OutgoingFull, 1);
            }
        }
        let channel = self.channel(to);
        let Some((shard, sharded)) = self.way_to(to, &channel) else {
            return metrics().bus_dropped(BusDrop::RedisAway, 1);
        };
        let letter = Letter {
            channel,
            bytes,
            sharded,
            redirected: false,
        };
        if shard.outgoing.sender().try_send(letter).is_err() {
            metrics().bus_dropped(BusDrop::OutgoingFull, 1);
        }
    }

    /// What was published before anybody had answered; somebody has, or it would be old.
    fn take_early(&self) -> Vec<(To, Vec<u8>)> {
        std::mem::take(&mut *self.early.lock())
    }

    /// Where something is to be published; and whether its channel is sharded.
    fn way_to(&self, to: To, channel: &str) -> Option<(Arc<Shard>, bool)> {
        let shards = self.shards.borrow();
        let shards = shards.as_ref()?;
        if let (To::Conversation(_), true) = (to, shards.layout.is_cluster()) {
            let owner = shards.layout.owner(slot(channel))?;
            return Some((shards.at(owner)?.clone(), true));
        }
        let connected = |shard: &&Arc<Shard>| shard.publishes.load(Ordering::Relaxed);
        let any = shards.all.iter().find(connected).or_else(|| shards.all.first())?;
        Some((any.clone(), false))
    }

    /// The conversation whose channel this is.
    fn conversation_of(&self, channel: &[u8]) -> Option<ConversationId> {
        let (_, id) = str::from_utf8(channel).ok()?.rsplit_once(':')?;
        Some(ConversationId(id.parse().ok()?))
    }

    /// Lets a server know that it has to be told something.
    fn tell(&self, address: Option<Address>) {
        if let Some(shard) = address.and_then(|address| self.at(&address)) {
            shard.topics_changed.notify_one();
        }
    }

    fn heard_peer(&self) {
        self.peer_heard_ms
            .store(Utc::now().timestamp_millis(), Ordering::Relaxed);
    }
}

/// Whether a server has refused something because it has not, or not alone, what it is about.
fn is_of_another_layout(error: &RedisError) -> bool {
    let ErrorKind::Server(kind) = error.kind() else {
        return false;
    };
    matches!(
        kind,
        ServerErrorKind::Moved | ServerErrorKind::Ask | ServerErrorKind::TryAgain | ServerErrorKind::ClusterDown
    )
}

/// Where what concerns somebody is published.
fn channel(database: i64, to: To) -> String {
    match to {
        To::Everybody => format!("parlance:bus:{database}:everybody"),
        To::Conversation(id) => format!("parlance:bus:{database}:conversation:{id}"),
        To::Node(id) => format!("parlance:bus:{database}:node:{id}"),
    }
}

impl Bus for RedisBus {
    fn publish(&self, from: NodeId, to: To, envelope: Envelope) {
        let Some(bytes) = codec::encode(from, Utc::now(), &envelope) else {
            return;
        };
        self.shared.publish(to, bytes);
    }

    fn has_peers(&self, _: NodeId) -> bool {
        if !self.shared.hears_own.load(Ordering::Relaxed) {
            // Whoever does not listen hears nobody, and knows nothing from that.
            return true;
        }
        let silence = Utc::now().timestamp_millis() - self.shared.peer_heard_ms.load(Ordering::Relaxed);
        u128::from(silence.unsigned_abs()) < PEER_SILENCE_MAX.as_millis()
    }

    /// Always: Redis is there to be shared, and others change things also while it is away.
    fn may_have_peers(&self, _: NodeId) -> bool {
        true
    }

    fn subscribe(&self, _: NodeId, interest: Interest) -> mpsc::Receiver<Delivery> {
        let (queue, receiver) = mpsc::channel(ENVELOPES_MAX);
        let mut subscriptions = self.shared.subscriptions.lock();
        subscriptions.retain(|(_, queue)| !queue.is_closed());
        subscriptions.push((interest, queue));
        receiver
    }

    fn follow(&self, _: NodeId, conversation: ConversationId) {
        let server = self.shared.topics.lock().follow(conversation);
        self.shared.tell(server);
    }

    fn ignore(&self, _: NodeId, conversation: ConversationId) {
        let server = self.shared.topics.lock().ignore(conversation);
        self.shared.tell(server);
    }

    fn name(&self) -> &'static str {
        "redis"
    }

    fn depth(&self) -> Option<Depth> {
        let shards = self.shared.shards.borrow();
        let depths = shards
            .iter()
            .flat_map(|shards| &shards.all)
            .map(|shard| shard.outgoing.depth());
        Some(Depth {
            actor: PUBLISHER,
            total: depths.clone().sum(),
            deepest: depths.max().unwrap_or_default(),
        })
    }

    fn reach(&self) -> BusReach {
        let shards = self.shared.shards.borrow();
        let up = |shard: &&Arc<Shard>| is_up(shard);
        BusReach {
            conversations_followed: self.shared.topics.lock().len(),
            servers: shards.as_ref().map_or(0, |shards| shards.all.len()),
            servers_connected: shards.iter().flat_map(|shards| &shards.all).filter(up).count(),
        }
    }

    fn trouble(&self) -> Option<&'static str> {
        let shards = self.shared.shards.borrow();
        let servers = shards.as_ref().map_or(&[][..], |shards| &shards.all);
        if !servers.iter().any(|shard| is_up(shard)) {
            return Some("Redis is away: other nodes hear of changes with a delay of seconds");
        }
        let whole = shards.as_ref().is_some_and(|shards| shards.layout.is_whole());
        (!whole || !servers.iter().all(|shard| is_up(shard))).then_some(
            "a part of Redis is away: other nodes hear of changes in some conversations with a delay of seconds",
        )
    }
}

fn is_up(shard: &Shard) -> bool {
    shard.publishes.load(Ordering::Relaxed) && shard.listens.load(Ordering::Relaxed)
}

/// One that speaks to nobody.
#[cfg(test)]
fn bus_for_tests() -> RedisBus {
    let config = RedisConfig {
        url: Some(crate::config::Secret::new("redis://127.0.0.1:6379".to_owned())),
        ..RedisConfig::default()
    };
    let shared = Servers::of(&config).map(|servers| Shared::new(NodeId::new(), servers));
    RedisBus {
        shared: Arc::new(shared.unwrap_or_else(|| unreachable!("the address is one"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::PresenceMessage;

    fn config(path: &str) -> RedisConfig {
        RedisConfig {
            url: Some(crate::config::Secret::new(format!("redis://127.0.0.1:6379{path}"))),
            ..RedisConfig::default()
        }
    }

    #[test]
    fn who_hears_nobody_for_a_minute_is_alone_unless_nobody_can_be_heard() {
        let bus = bus_for_tests();
        let (here, shared) = (bus.shared.node, bus.shared.clone());
        let long_ago = || {
            let silence = i64::try_from(PEER_SILENCE_MAX.as_millis()).unwrap();
            let then = Utc::now().timestamp_millis() - silence - 1;
            shared.peer_heard_ms.store(then, Ordering::Relaxed);
        };
        long_ago();
        assert!(bus.has_peers(here), "it does not listen");
        let connected = Connected::new(&shared.hears_own);
        assert!(!bus.has_peers(here) && bus.may_have_peers(here));
        let heartbeat = |node| Envelope::Presence(PresenceMessage::Heartbeat { node, version: 1 });
        shared.take_up(&codec::encode(here, Utc::now(), &heartbeat(here)).unwrap());
        assert!(!bus.has_peers(here), "it has heard itself");
        let other = NodeId::new();
        shared.take_up(&codec::encode(other, Utc::now(), &heartbeat(other)).unwrap());
        assert!(bus.has_peers(here));
        long_ago();
        shared.take_up(b"a node of another version");
        assert!(bus.has_peers(here), "whoever it is, somebody is there");
        long_ago();
        drop(connected);
        assert!(bus.has_peers(here));
    }

    #[test]
    fn whoever_does_not_take_up_what_it_hears_loses_what_is_too_much() {
        let bus = bus_for_tests();
        let mut ear = bus.subscribe(bus.shared.node, Interest::Presence);
        let other = NodeId::new();
        let request = Envelope::Presence(PresenceMessage::SyncRequest { node: bus.shared.node });
        let bytes = codec::encode(other, Utc::now(), &request).unwrap();
        for _ in 0..ENVELOPES_MAX + 5 {
            bus.shared.take_up(&bytes);
        }
        let mut count = 0;
        while ear.try_recv().is_ok() {
            count += 1;
        }
        assert_eq!(count, ENVELOPES_MAX);
    }

    #[test]
    fn conversations_go_to_their_shard_and_the_rest_to_any_that_is_there() {
        let bus = bus_for_tests();
        let shared = &bus.shared;
        let to = To::Conversation(ConversationId::new());
        assert!(
            shared.way_to(to, &shared.channel(to)).is_none(),
            "nobody has answered yet"
        );
        let request = Envelope::Presence(PresenceMessage::SyncRequest { node: shared.node });
        bus.publish(shared.node, To::Everybody, request);
        let address = |n| Address::new("redis", n);
        shards::adopt(
            shared,
            crate::redis::Layout::of_ranges([(0, 9_999, address(1)), (10_000, 16_000, address(2))]),
        );
        assert_eq!(
            bus.depth().unwrap().total,
            1,
            "what was said early waits for whoever is there now"
        );
        let mut seen = [0; 3];
        for _ in 0..200 {
            let to = To::Conversation(ConversationId::new());
            let channel = shared.channel(to);
            assert_eq!(
                shared.conversation_of(channel.as_bytes()).map(To::Conversation),
                Some(to)
            );
            match (slot(&channel), shared.way_to(to, &channel)) {
                (0..=9_999, Some((shard, true))) if shard.address == address(1) => seen[0] += 1,
                (10_000..=16_000, Some((shard, true))) if shard.address == address(2) => seen[1] += 1,
                (16_001.., None) => seen[2] += 1,
                (slot, way) => panic!("{slot} went to {:?}", way.map(|(shard, _)| shard.address.clone())),
            }
        }
        assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
        let second = shared.at(&address(2)).unwrap();
        let _connected = Connected::new(&second.publishes);
        let (any, sharded) = shared.way_to(To::Everybody, &shared.channel(To::Everybody)).unwrap();
        assert_eq!(
            (&any.address, sharded),
            (&address(2), false),
            "the one that is connected"
        );
        assert!(bus.trouble().is_some());
    }

    #[test]
    fn installations_in_different_databases_of_one_redis_do_not_hear_each_other() {
        let database = |path| Servers::of(&config(path)).unwrap().database();
        assert_eq!(channel(database(""), To::Everybody), "parlance:bus:0:everybody");
        assert_eq!(channel(database("/3"), To::Everybody), "parlance:bus:3:everybody");
    }

    #[test]
    fn a_connection_counts_as_broken_also_after_a_panic() {
        let flag = AtomicBool::new(false);
        let dies = std::panic::AssertUnwindSafe(|| {
            let _connected = Connected::new(&flag);
            assert!(!flag.load(Ordering::Relaxed), "on purpose");
        });
        assert!(std::panic::catch_unwind(dies).is_err());
        assert!(!flag.load(Ordering::Relaxed));
    }
}
