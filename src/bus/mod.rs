//! What nodes tell each other: the trait, and the bus within one process. The one between processes is in `redis/`.
//!
//! The bus is an accelerator, never the truth: an envelope may be lost, late or doubled. Durable changes carry their
//! revision and are repaired from PostgreSQL; the rest (typing, presence, notices) only matters now. So publishing never
//! waits: [`ENVELOPES_MAX`] envelopes wait for each subscriber of a node, further ones are dropped and counted.
//!
//! The in-process bus connects the nodes of one process. In a server there is one, and publishing costs a look at an
//! empty list; tests run several nodes in one process over it.

mod codec;
mod interest;
mod presence;
mod redis;

pub use interest::Interest;
pub use presence::{PresenceMessage, SnapshotPart};
pub use redis::RedisBus;

use crate::ids::{ConversationId, NodeId, Seq, UserId};
use crate::metrics::{BusDrop, BusReach, Depth, metrics};
use crate::wire::Committed;
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use tokio::sync::mpsc;

/// Envelopes that wait for one subscriber of a node.
pub const ENVELOPES_MAX: usize = 10_000;

/// What one node tells the others.
#[derive(Clone, Debug)]
pub enum Envelope {
    /// Changes were committed.
    Committed(Committed),
    /// A member has read up to `seq`.
    Read {
        /// The conversation.
        conversation_id: ConversationId,
        /// The reader.
        user_id: UserId,
        /// How far.
        seq: Seq,
    },
    /// A member started or stopped typing.
    Typing {
        /// The conversation.
        conversation_id: ConversationId,
        /// The typist.
        user_id: UserId,
        /// Started or stopped.
        on: bool,
    },
    /// Who is connected to a node.
    Presence(PresenceMessage),
    /// What was said about these conversations until now may have been lost; from now on it is heard. A bus says this to
    /// its own node, nobody publishes it.
    Resumed(Vec<ConversationId>),
    /// Connections of these users that are not subscribed should be told.
    Notices {
        /// The conversation.
        conversation_id: ConversationId,
        /// The number of its latest message.
        last_seq: Seq,
        /// Users, each with the number of messages they have not read.
        unread: Vec<(UserId, i64)>,
    },
    /// Something cached has changed.
    Invalidated(Invalidation),
}

/// What is not true any more in the caches of the other nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Invalidation {
    /// What is known under these keys.
    Keys(Vec<Arc<str>>),
    /// Everything may have changed.
    Everything,
}

/// An envelope on its way to one node.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// What is told.
    pub envelope: Envelope,
    /// When it was published, by this process's clock.
    pub published_at: Instant,
}

/// Whom an envelope concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// Every node.
    Everybody,
    /// Nodes on which the conversation is active.
    Conversation(ConversationId),
    /// One node.
    Node(NodeId),
}

/// The way to the other nodes.
pub trait Bus: Send + Sync + 'static {
    /// Tells other nodes; never waits, may lose. More nodes may hear it than it concerns.
    fn publish(&self, from: NodeId, to: To, envelope: Envelope);

    /// From now on the node wants to hear of a conversation; as often as this is said, so often [`Bus::ignore`] takes
    /// it back.
    fn follow(&self, _node: NodeId, _conversation: ConversationId) {}

    /// Undoes [`Bus::follow`].
    fn ignore(&self, _node: NodeId, _conversation: ConversationId) {}

    /// Whether anybody else listens, so that an envelope need not be made for nobody.
    fn has_peers(&self, node: NodeId) -> bool;

    /// Whether anybody else may change what this node remembers, though it is not heard at the moment. What is kept on
    /// the word of the bus is kept for seconds only while this is true.
    fn may_have_peers(&self, node: NodeId) -> bool {
        self.has_peers(node)
    }

    /// A queue of [`ENVELOPES_MAX`] envelopes of one kind; dropping it ends the subscription. A node may have several.
    fn subscribe(&self, node: NodeId, interest: Interest) -> mpsc::Receiver<Delivery>;

    /// What operators call it, in health answers.
    fn name(&self) -> &'static str;

    /// What waits to be sent, where anything waits.
    fn depth(&self) -> Option<Depth> {
        None
    }

    /// What it listens to, and through how many servers.
    fn reach(&self) -> BusReach {
        BusReach::default()
    }

    /// What is wrong with it at the moment, for operators. A node works without a bus, with a delay of seconds.
    fn trouble(&self) -> Option<&'static str> {
        None
    }
}

/// The queue of one subscriber.
#[derive(Debug)]
struct Subscription {
    node: NodeId,
    interest: Interest,
    queue: mpsc::Sender<Delivery>,
}

/// The bus within one process.
#[derive(Debug, Default)]
pub struct InProcessBus {
    subscriptions: RwLock<Vec<Subscription>>,
    dropped: AtomicU64,
    /// Whether other processes may serve the same installation, which this bus cannot reach.
    others_unseen: bool,
}

impl InProcessBus {
    /// The bus of a process that may not be the only one on its database.
    #[must_use]
    pub fn among_others() -> Self {
        Self {
            others_unseen: true,
            ..Self::default()
        }
    }

    /// How many envelopes were dropped because a node did not keep up.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

impl Bus for InProcessBus {
    fn publish(&self, from: NodeId, to: To, envelope: Envelope) {
        let interest = Interest::of(&envelope);
        let concerns = |subscription: &&Subscription| {
            subscription.node != from
                && subscription.interest == interest
                && !matches!(to, To::Node(other) if other != subscription.node)
        };
        let delivery = Delivery {
            envelope,
            published_at: Instant::now(),
        };
        for Subscription { node, queue, .. } in self.subscriptions.read().iter().filter(concerns) {
            if let Err(mpsc::error::TrySendError::Full(_)) = queue.try_send(delivery.clone()) {
                self.dropped.fetch_add(1, Ordering::Relaxed);
                metrics().bus_dropped(BusDrop::IncomingFull, 1);
                tracing::warn!(node = %node, "bus envelope dropped: the node does not keep up");
            }
        }
    }

    fn has_peers(&self, node: NodeId) -> bool {
        self.subscriptions.read().iter().any(|known| known.node != node)
    }

    fn may_have_peers(&self, node: NodeId) -> bool {
        self.others_unseen || self.has_peers(node)
    }

    fn subscribe(&self, node: NodeId, interest: Interest) -> mpsc::Receiver<Delivery> {
        let (queue, receiver) = mpsc::channel(ENVELOPES_MAX);
        let mut subscriptions = self.subscriptions.write();
        subscriptions.retain(|subscription| !subscription.queue.is_closed());
        subscriptions.push(Subscription { node, interest, queue });
        receiver
    }

    fn name(&self) -> &'static str {
        "in_process"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn others_are_handed_what_they_want_and_the_sender_nothing() {
        let bus = InProcessBus::default();
        let (here, there) = (NodeId::new(), NodeId::new());
        let mut mine = bus.subscribe(here, Interest::Presence);
        assert!(!bus.has_peers(here) && !bus.may_have_peers(here));
        let mut theirs = bus.subscribe(there, Interest::Presence);
        let mut their_changes = bus.subscribe(there, Interest::Conversations);
        assert!(bus.has_peers(here));
        let heartbeat = |version| Envelope::Presence(PresenceMessage::Heartbeat { node: here, version });
        bus.publish(here, To::Everybody, heartbeat(1));
        assert!(matches!(
            theirs.recv().await.map(|delivery| delivery.envelope),
            Some(Envelope::Presence(PresenceMessage::Heartbeat { version: 1, .. }))
        ));
        assert!(mine.try_recv().is_err() && their_changes.try_recv().is_err());
        bus.publish(here, To::Node(NodeId::new()), heartbeat(2));
        assert!(theirs.try_recv().is_err(), "it was for another");
        for version in 0..=ENVELOPES_MAX as u64 {
            bus.publish(here, To::Everybody, heartbeat(version));
        }
        assert_eq!(bus.dropped(), 1);
    }

    #[test]
    fn who_may_not_be_alone_says_so_though_nobody_is_heard() {
        let (bus, here) = (InProcessBus::among_others(), NodeId::new());
        let _mine = bus.subscribe(here, Interest::Presence);
        assert_eq!((bus.has_peers(here), bus.may_have_peers(here)), (false, true));
    }
}
