//! What nodes tell each other: the trait, and the bus within one process. The one between processes is in `redis/`.
//!
//! The bus is an accelerator, never the truth: an envelope may be lost, late or doubled. Durable changes carry their
//! revision and are repaired from PostgreSQL; the rest (typing, presence, notices) only matters now. So publishing never
//! waits: [`ENVELOPES_MAX`] envelopes wait for each ear of a node, further ones are dropped and counted.
//!
//! The in-process bus connects the nodes of one process. In a server there is one, and publishing costs a look at an
//! empty list; tests run several nodes in one process over it.

mod codec;
mod redis;

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

/// Envelopes that wait for one ear of a node.
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
    Peer(PeerWord),
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

/// What a node says of the users that are connected to it; see `sessions/elsewhere.rs`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum PeerWord {
    /// A user's first connection came, or their last one went.
    Changed {
        /// The node that says so.
        node: NodeId,
        /// The user.
        user_id: UserId,
        /// Come or gone.
        online: bool,
    },
    /// The node lives, and has told of so many changes since it started.
    Lives {
        /// The node that says so.
        node: NodeId,
        /// How many.
        number: u64,
    },
    /// A node should tell its whole roster.
    Ask {
        /// The node that is asked.
        node: NodeId,
    },
    /// A part of a roster.
    Roster {
        /// The node whose roster it is.
        node: NodeId,
        /// How many changes it had told of when it wrote this.
        number: u64,
        /// Which part this is, from 0.
        part: u32,
        /// How many parts there are.
        parts: u32,
        /// The users of this part.
        users: Vec<UserId>,
    },
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

    /// Lets a node listen; dropping the receiver ends it. A node may have several ears, each with its own queue.
    fn subscribe(&self, node: NodeId) -> mpsc::Receiver<Delivery>;

    /// The same, for who wants to hear of invalidations only: a message need not wake it. Nor need an ear that came by
    /// [`Bus::subscribe`] hear of those.
    fn subscribe_to_invalidations(&self, node: NodeId) -> mpsc::Receiver<Delivery> {
        self.subscribe(node)
    }

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

/// The bus within one process.
#[derive(Debug, Default)]
pub struct InProcessBus {
    nodes: RwLock<Vec<(NodeId, mpsc::Sender<Delivery>)>>,
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
        let concerns = |node: NodeId| node != from && !matches!(to, To::Node(other) if other != node);
        let delivery = Delivery {
            envelope,
            published_at: Instant::now(),
        };
        for (node, sender) in self.nodes.read().iter().filter(|(node, _)| concerns(*node)) {
            if let Err(mpsc::error::TrySendError::Full(_)) = sender.try_send(delivery.clone()) {
                self.dropped.fetch_add(1, Ordering::Relaxed);
                metrics().bus_dropped(BusDrop::IncomingFull, 1);
                tracing::warn!(node = %node, "bus envelope dropped: the node does not keep up");
            }
        }
    }

    fn has_peers(&self, node: NodeId) -> bool {
        self.nodes.read().iter().any(|(known, _)| *known != node)
    }

    fn may_have_peers(&self, node: NodeId) -> bool {
        self.others_unseen || self.has_peers(node)
    }

    fn subscribe(&self, node: NodeId) -> mpsc::Receiver<Delivery> {
        let (sender, receiver) = mpsc::channel(ENVELOPES_MAX);
        let mut nodes = self.nodes.write();
        nodes.retain(|(_, sender)| !sender.is_closed());
        nodes.push((node, sender));
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
    async fn others_hear_and_the_sender_does_not() {
        let bus = InProcessBus::default();
        let (here, there) = (NodeId::new(), NodeId::new());
        let mut mine = bus.subscribe(here);
        assert!(!bus.has_peers(here) && !bus.may_have_peers(here));
        let mut theirs = bus.subscribe(there);
        assert!(bus.has_peers(here));
        let lives = |number| Envelope::Peer(PeerWord::Lives { node: here, number });
        bus.publish(here, To::Everybody, lives(1));
        assert!(matches!(
            theirs.recv().await.map(|delivery| delivery.envelope),
            Some(Envelope::Peer(PeerWord::Lives { number: 1, .. }))
        ));
        assert!(mine.try_recv().is_err());
        bus.publish(here, To::Node(NodeId::new()), lives(2));
        assert!(theirs.try_recv().is_err(), "it was for another");
        for number in 0..=ENVELOPES_MAX as u64 {
            bus.publish(here, To::Everybody, lives(number));
        }
        assert_eq!(bus.dropped(), 1);
    }

    #[test]
    fn who_may_not_be_alone_says_so_though_nobody_is_heard() {
        let (bus, here) = (InProcessBus::among_others(), NodeId::new());
        let _mine = bus.subscribe(here);
        assert_eq!((bus.has_peers(here), bus.may_have_peers(here)), (false, true));
    }
}
