//! The trait: publish, subscribe, and what operators may ask.

use super::envelope::{Delivery, Envelope, To};
use super::interest::Interest;
use crate::ids::{ConversationId, NodeId};
use crate::metrics::{BusReach, Depth};
use tokio::sync::mpsc;

/// Envelopes that wait for one subscriber of a node.
pub const ENVELOPES_MAX: usize = 10_000;

/// The way to the other nodes.
pub trait Bus: Send + Sync + 'static {
    /// Publishes an envelope. Never waits, and may lose it. More nodes may get it than it concerns.
    fn publish(&self, from: NodeId, to: To, envelope: Envelope);

    /// Subscribes a node to a conversation. Subscriptions of the same conversation are counted.
    fn subscribe_to(&self, _node: NodeId, _conversation: ConversationId) {}

    /// Undoes one [`Bus::subscribe_to`].
    fn unsubscribe_from(&self, _node: NodeId, _conversation: ConversationId) {}

    /// Whether other nodes listen. Without them nothing need be published.
    fn has_peers(&self, node: NodeId) -> bool;

    /// Whether other nodes may change what this node remembers, although they do not publish at the
    /// moment. While this is true, what rests only on the bus is remembered for seconds at most.
    fn may_have_peers(&self, node: NodeId) -> bool {
        self.has_peers(node)
    }

    /// A queue of [`ENVELOPES_MAX`] envelopes of one kind. Dropping it ends the subscription. A
    /// node may have several.
    fn subscribe(&self, node: NodeId, interest: Interest) -> mpsc::Receiver<Delivery>;

    /// Its name in the responses of `/health`.
    fn name(&self) -> &'static str;

    /// What waits to be published, where anything waits.
    fn depth(&self) -> Option<Depth> {
        None
    }

    /// What it is subscribed to, and through how many servers.
    fn reach(&self) -> BusReach {
        BusReach::default()
    }

    /// What is wrong with it at the moment, for operators. Without a bus a node still works, with a
    /// delay of seconds.
    fn trouble(&self) -> Option<&'static str> {
        None
    }
}
