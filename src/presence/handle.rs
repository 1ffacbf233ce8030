//! The way into presence. Nothing here waits, and nothing asks the network: what is known is in
//! memory.

use super::changes::PresenceChanges;
use super::exchange::PresenceExchange;
use super::task;
use crate::bus::Bus;
use crate::ids::{NodeId, UserId};
use crate::metrics::Depth;
use crate::supervision::ArbiterPool;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The presence of all users, as this node knows it. Cheap to clone.
#[derive(Clone)]
pub struct PresenceHandle {
    exchange: Arc<PresenceExchange>,
}

impl PresenceHandle {
    /// Starts to exchange presence with the other nodes. For the time of `grace` a user counts as
    /// online after the last connection is gone.
    #[must_use]
    pub fn start(node: NodeId, bus: Arc<dyn Bus>, grace: Duration, arbiters: &ArbiterPool) -> Self {
        let exchange = Arc::new(PresenceExchange::new(node, bus, grace));
        task::start(&exchange, arbiters);
        Self { exchange }
    }

    /// A connection of a user has opened on this node.
    pub fn connected(&self, user: UserId) {
        self.exchange.connected(user);
    }

    /// A connection of a user on this node is gone. Once for each [`Self::connected`].
    pub fn disconnected(&self, user: UserId) {
        self.exchange.disconnected(user, Instant::now());
    }

    /// Whether a user is connected to any node, or was until a moment ago.
    #[must_use]
    pub fn is_online(&self, user: UserId) -> bool {
        self.exchange.is_online(user)
    }

    /// The other nodes that a user is connected to.
    #[must_use]
    pub fn nodes_of(&self, user: UserId) -> Vec<NodeId> {
        self.exchange.nodes_of(user)
    }

    /// The queue of users whose presence may have changed. It has one reader: the next one waits
    /// until the one before is gone.
    pub async fn changes(&self) -> PresenceChanges {
        self.exchange.changes().await
    }

    /// How many changes wait for their reader.
    #[must_use]
    pub fn depth(&self) -> Depth {
        self.exchange.depth()
    }
}
