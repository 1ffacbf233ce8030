//! The bus within one process: it connects the nodes that share the process.
//!
//! A server has one node, so publishing costs a look at an empty list. Tests run several nodes in
//! one process over it.

use super::envelope::{Delivery, Envelope, To};
use super::interest::Interest;
use super::interface::{Bus, ENVELOPES_MAX};
use crate::ids::NodeId;
use crate::metrics::{BusDrop, metrics};
use parking_lot::RwLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use tokio::sync::mpsc;

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
    /// Other processes may serve the same installation. This bus does not reach them.
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
    use super::super::presence::PresenceMessage;
    use super::*;

    #[tokio::test]
    async fn others_get_what_they_subscribed_to_and_the_sender_nothing() {
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
    fn a_node_that_may_not_be_alone_says_so() {
        let (bus, here) = (InProcessBus::among_others(), NodeId::new());
        let _mine = bus.subscribe(here, Interest::Presence);
        assert_eq!((bus.has_peers(here), bus.may_have_peers(here)), (false, true));
    }
}
