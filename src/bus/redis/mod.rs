//! The bus between processes: Redis Pub/Sub, with one connection that publishes and one that listens.
//!
//! | file | what |
//! |---|---|
//! | `publisher.rs` | the task that sends what waits, many in one round trip |
//! | `subscriber.rs` | the task that listens, and follows what the node wants to hear |
//! | `topics.rs` | what the node wants to hear; pure |
//!
//! A node hears what is for everybody, for itself, and for the conversations that are active on it; so what a node
//! receives grows with what it serves and not with the size of the installation. Both tasks are supervised and connect
//! again with growing, jittered pauses. Nothing is kept while Redis is away: what was to be published is dropped and
//! counted, and after every connect the node is told which conversations it may have missed something of
//! ([`Envelope::Resumed`]); it compares their revisions with PostgreSQL.
//!
//! Bounds: [`ENVELOPES_MAX`] envelopes wait to be published and as many to be taken up, further ones are dropped and
//! counted.

mod publisher;
mod subscriber;
mod topics;

use super::{Bus, Delivery, ENVELOPES_MAX, Envelope, To, codec};
use crate::config::RedisConfig;
use crate::ids::{ConversationId, NodeId};
use crate::metrics::{Depth, metrics};
use crate::supervision::{ArbiterPool, Mailbox, RestartBudget, RestartPolicy, Verdict, jittered, named, supervise};
use ::redis::Client;
use chrono::Utc;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc};
use topics::Topics;

/// What the tasks are called in logs and metrics.
const PUBLISHER: &str = "bus_publisher";
const SUBSCRIBER: &str = "bus_subscriber";
/// How long one round trip, or the making of a connection, may take until the connection counts as broken.
const PATIENCE: Duration = Duration::from_secs(2);
/// Another node that has not been heard for this long need not be told of everything.
const PEER_SILENCE_MAX: Duration = Duration::from_secs(60);
/// How often connecting is tried: soon, then less often, for ever; a spent budget only means the longest pause.
const RECONNECTS: RestartPolicy = RestartPolicy {
    restarts_max: 32,
    window: Duration::from_secs(60),
    delay_min: Duration::from_millis(100),
    delay_max: Duration::from_secs(2),
};

/// What waits to be published.
struct Letter {
    channel: String,
    bytes: Vec<u8>,
}

struct Shared {
    node: NodeId,
    client: Client,
    /// The number of the database in Redis. Channels do not belong to one, so it stands in their names.
    database: i64,
    outgoing: Mailbox<Letter>,
    /// Those who listen on this node.
    incoming: Mutex<Vec<mpsc::Sender<Delivery>>>,
    topics: Mutex<Topics>,
    topics_changed: Notify,
    /// Whether the publisher and the subscriber are connected.
    publishes: AtomicBool,
    listens: AtomicBool,
    /// When another node was last heard, in milliseconds of Unix time; or since when none can have been.
    peer_heard_ms: AtomicI64,
}

/// The bus over Redis.
pub struct RedisBus {
    shared: Arc<Shared>,
}

impl RedisBus {
    /// Starts both tasks. `None` without `REDIS_URL`, or if it is none (the configuration has been checked for that).
    #[must_use]
    pub fn start(node: NodeId, config: &RedisConfig, arbiters: &ArbiterPool) -> Option<Self> {
        let client = Client::open(config.url.as_ref()?.expose()).ok()?;
        let shared = Arc::new(Shared {
            node,
            database: client.get_connection_info().redis_settings().db(),
            client,
            outgoing: Mailbox::new(ENVELOPES_MAX),
            incoming: Mutex::default(),
            topics: Mutex::default(),
            topics_changed: Notify::new(),
            publishes: AtomicBool::new(false),
            listens: AtomicBool::new(false),
            peer_heard_ms: AtomicI64::new(Utc::now().timestamp_millis()),
        });
        let publishing = shared.clone();
        arbiters.spawn(0, async move {
            let start = |_, guard| {
                actix::spawn(named(PUBLISHER, None, publisher::run(publishing.clone(), guard)));
            };
            supervise(PUBLISHER, RestartPolicy::default(), start, |_| ()).await;
        });
        let listening = shared.clone();
        arbiters.spawn(1, async move {
            let start = |_, guard| {
                actix::spawn(named(SUBSCRIBER, None, subscriber::run(listening.clone(), guard)));
            };
            supervise(SUBSCRIBER, RestartPolicy::default(), start, |_| ()).await;
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
    fn channel(&self, to: To) -> String {
        channel(self.database, to)
    }

    /// Hands an envelope to the node; dropped when it does not keep up.
    fn deliver(&self, delivery: &Delivery) {
        for listener in &*self.incoming.lock() {
            if let Err(mpsc::error::TrySendError::Full(_)) = listener.try_send(delivery.clone()) {
                metrics().bus_dropped();
            }
        }
    }

    fn heard_peer(&self) {
        self.peer_heard_ms
            .store(Utc::now().timestamp_millis(), Ordering::Relaxed);
    }
}

/// The pause before connecting is tried again. A spent budget says when it has a place again, which may be much later than
/// Redis is back.
fn pause(reconnects: &mut RestartBudget, now: Instant) -> Duration {
    let (Verdict::Restart(delay) | Verdict::Exhausted(delay)) = reconnects.record(now);
    jittered(delay.min(RECONNECTS.delay_max))
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
        let letter = Letter {
            channel: self.shared.channel(to),
            bytes,
        };
        if self.shared.outgoing.sender().try_send(letter).is_err() {
            metrics().bus_dropped();
        }
    }

    fn has_peers(&self, _: NodeId) -> bool {
        if !self.shared.listens.load(Ordering::Relaxed) {
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

    fn subscribe(&self, _: NodeId) -> mpsc::Receiver<Delivery> {
        let (sender, receiver) = mpsc::channel(ENVELOPES_MAX);
        let mut incoming = self.shared.incoming.lock();
        incoming.retain(|listener| !listener.is_closed());
        incoming.push(sender);
        receiver
    }

    fn follow(&self, _: NodeId, conversation: ConversationId) {
        if self.shared.topics.lock().follow(conversation) {
            self.shared.topics_changed.notify_one();
        }
    }

    fn ignore(&self, _: NodeId, conversation: ConversationId) {
        if self.shared.topics.lock().ignore(conversation) {
            self.shared.topics_changed.notify_one();
        }
    }

    fn name(&self) -> &'static str {
        "redis"
    }

    fn depth(&self) -> Option<Depth> {
        let total = self.shared.outgoing.depth();
        Some(Depth {
            actor: PUBLISHER,
            total,
            deepest: total,
        })
    }

    fn trouble(&self) -> Option<&'static str> {
        let up = self.shared.publishes.load(Ordering::Relaxed) && self.shared.listens.load(Ordering::Relaxed);
        (!up).then_some("Redis is away: other nodes hear of changes with a delay of seconds")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn installations_in_different_databases_of_one_redis_do_not_hear_each_other() {
        let url = |path| crate::config::Secret::new(format!("redis://127.0.0.1:6379{path}"));
        let database = |path| {
            let client = Client::open(url(path).expose()).unwrap();
            client.get_connection_info().redis_settings().db()
        };
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

    #[test]
    fn however_often_connecting_fails_it_is_tried_again_soon() {
        let (mut reconnects, mut now) = (RestartBudget::new(RECONNECTS), Instant::now());
        for attempt in 0..500 {
            let pause = pause(&mut reconnects, now);
            assert!(pause <= RECONNECTS.delay_max, "attempt {attempt}: {pause:?}");
            // Refused at once, or after all patience.
            now += pause + if attempt % 3 == 0 { PATIENCE } else { Duration::ZERO };
        }
    }
}
