//! What this node knows about users everywhere, and what it publishes about its own.
//!
//! Called by sessions (through the handle) on their threads, and by the task of presence. Nothing
//! waits under the lock, and publishing never waits: what is lost is repaired by a heartbeat and a
//! snapshot (see `remote.rs`). The state outlives the task, so the task's crash loses nothing.

use super::changes::{ChangeQueue, PresenceChanges};
use super::local::LocalPresence;
use super::remote::{PresenceChange, PresenceUpdate, ReceivedSnapshot, RemotePresence, SNAPSHOT_PART_USERS};
use crate::bus::{Bus, Delivery, Envelope, Interest, PresenceMessage, SnapshotPart, To};
use crate::ids::{NodeId, UserId};
use crate::metrics::Depth;
use parking_lot::RwLock;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

#[derive(Debug, Default)]
struct KnownUsers {
    local: LocalPresence,
    remote: RemotePresence,
}

impl KnownUsers {
    fn is_online(&self, user: UserId) -> bool {
        self.local.contains(user) || self.remote.contains(user)
    }
}

/// The presence of all users, as this node knows it.
pub(super) struct PresenceExchange {
    node: NodeId,
    bus: Arc<dyn Bus>,
    /// How long a user counts as connected after the last connection.
    grace: Duration,
    known: RwLock<KnownUsers>,
    changes: ChangeQueue,
}

impl PresenceExchange {
    pub(super) fn new(node: NodeId, bus: Arc<dyn Bus>, grace: Duration) -> Self {
        Self {
            node,
            bus,
            grace,
            known: RwLock::default(),
            changes: ChangeQueue::new(),
        }
    }

    /// The other nodes must know of a first connection also when its user is online there: each
    /// counts on how many nodes.
    pub(super) fn connected(&self, user: UserId) {
        if self.known.write().local.connected(user) {
            self.changes.push(user);
            self.publish_delta(user, true);
        }
    }

    pub(super) fn disconnected(&self, user: UserId, now: Instant) {
        self.known.write().local.disconnected(user, now + self.grace);
    }

    pub(super) fn is_online(&self, user: UserId) -> bool {
        self.known.read().is_online(user)
    }

    pub(super) fn nodes_of(&self, user: UserId) -> Vec<NodeId> {
        self.known.read().remote.nodes_of(user).collect()
    }

    pub(super) async fn changes(&self) -> PresenceChanges {
        self.changes.reader().await
    }

    pub(super) fn depth(&self) -> Depth {
        self.changes.depth()
    }

    pub(super) fn subscribe(&self) -> mpsc::Receiver<Delivery> {
        self.bus.subscribe(self.node, Interest::Presence)
    }

    /// Takes in what another node has published.
    pub(super) fn handle(&self, message: PresenceMessage, now: Instant) {
        let (node, update) = match message {
            PresenceMessage::SyncRequest { node } => {
                if node == self.node {
                    self.publish_snapshot(now);
                }
                return;
            }
            PresenceMessage::Delta { node, user_id, online } => {
                let change = PresenceChange { user_id, online };
                (node, self.known.write().remote.apply_delta(node, change, now))
            }
            PresenceMessage::Heartbeat { node, version } => {
                (node, self.known.write().remote.apply_heartbeat(node, version, now))
            }
            PresenceMessage::Snapshot(part) => (part.node, self.apply_part(part, now)),
        };
        if self.known.write().remote.take_newcomer() {
            // A node that has just come should not have to wait for our next heartbeat.
            self.publish_heartbeat();
        }
        if update.must_sync {
            self.publish(To::Node(node), PresenceMessage::SyncRequest { node });
        }
        self.note(update.changes);
    }

    fn apply_part(&self, part: SnapshotPart, now: Instant) -> PresenceUpdate {
        let received = self.known.write().remote.add_part(part, now);
        // Everybody who connects or is asked about waits for the lock: comparing is done without
        // it.
        let diff = received.map(ReceivedSnapshot::compare);
        let changes = diff.map(|diff| self.known.write().remote.adopt(diff));
        PresenceUpdate {
            changes: changes.unwrap_or_default(),
            must_sync: false,
        }
    }

    /// Time has passed: users whose grace has ended and nodes that are silent are removed.
    pub(super) fn expire(&self, now: Instant) {
        let (departed, changes) = {
            let mut known = self.known.write();
            (known.local.expire(now), known.remote.expire(now))
        };
        for user in departed {
            self.publish_delta(user, false);
            self.changes.push(user);
        }
        self.note(changes);
    }

    /// This node could receive nothing until now, so nobody's silence counts.
    pub(super) fn forgive_silence(&self, now: Instant) {
        self.known.write().remote.forgive_silence(now);
    }

    /// Always, not only when others are known: this is how nodes come to know each other.
    pub(super) fn publish_heartbeat(&self) {
        let version = self.known.read().local.version();
        let node = self.node;
        self.publish(To::Everybody, PresenceMessage::Heartbeat { node, version });
    }

    fn publish_delta(&self, user_id: UserId, online: bool) {
        let node = self.node;
        if self.bus.has_peers(node) {
            self.publish(To::Everybody, PresenceMessage::Delta { node, user_id, online });
        }
    }

    fn publish_snapshot(&self, now: Instant) {
        let Some((version, users)) = self.known.write().local.snapshot(now) else {
            return;
        };
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        // An empty list is one part, too.
        let parts = users.len().div_ceil(SNAPSHOT_PART_USERS).max(1);
        for part in 0..parts {
            let users = users.iter().skip(part * SNAPSHOT_PART_USERS).take(SNAPSHOT_PART_USERS);
            let part = SnapshotPart {
                node: self.node,
                version,
                part: count(part),
                parts: count(parts),
                users: users.copied().collect(),
            };
            self.publish(To::Everybody, PresenceMessage::Snapshot(part));
        }
    }

    fn publish(&self, to: To, message: PresenceMessage) {
        self.bus.publish(self.node, to, Envelope::Presence(message));
    }

    /// Passes on what changed on other nodes, unless the user is here anyway.
    fn note(&self, mut changes: Vec<PresenceChange>) {
        if changes.is_empty() {
            return;
        }
        {
            let known = self.known.read();
            changes.retain(|change| !known.local.contains(change.user_id));
        }
        for change in changes {
            self.changes.push(change.user_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::InProcessBus;

    /// Two nodes on one bus, and what each receives.
    struct Pair {
        here: PresenceExchange,
        there: PresenceExchange,
        to_here: mpsc::Receiver<Delivery>,
        to_there: mpsc::Receiver<Delivery>,
    }

    impl Pair {
        fn new() -> Self {
            let bus = Arc::new(InProcessBus::default());
            let node = || PresenceExchange::new(NodeId::new(), bus.clone(), Duration::from_secs(15));
            let (here, there) = (node(), node());
            Self {
                to_here: here.subscribe(),
                to_there: there.subscribe(),
                here,
                there,
            }
        }

        /// Hands over everything that was published, and what that leads to.
        fn deliver(&mut self, now: Instant) {
            loop {
                let before = (self.to_here.len(), self.to_there.len());
                take_in(&self.here, &mut self.to_here, now);
                take_in(&self.there, &mut self.to_there, now);
                if before == (0, 0) {
                    return;
                }
            }
        }
    }

    fn take_in(node: &PresenceExchange, envelopes: &mut mpsc::Receiver<Delivery>, now: Instant) {
        while let Ok(delivery) = envelopes.try_recv() {
            let Envelope::Presence(message) = delivery.envelope else {
                panic!("another kind of envelope")
            };
            node.handle(message, now);
        }
    }

    #[tokio::test]
    async fn nodes_come_to_know_whom_the_others_have_and_lose_them_with_the_node() {
        let (mut pair, now) = (Pair::new(), Instant::now());
        let ann = UserId::new();
        pair.there.connected(ann);
        // The delta is lost: the heartbeat shows it.
        while pair.to_here.try_recv().is_ok() {}
        assert!(!pair.here.is_online(ann));
        pair.there.publish_heartbeat();
        pair.deliver(now);
        assert!(pair.here.is_online(ann));
        assert_eq!(pair.here.nodes_of(ann), [pair.there.node]);
        assert_eq!(
            pair.here.changes().await.next().await,
            super::super::ChangedUsers::One(ann)
        );
        assert!(
            pair.there.known.read().remote.nodes_of(ann).next().is_none(),
            "a node does not know itself as another"
        );
        pair.here.expire(now + Duration::from_secs(20));
        assert!(!pair.here.is_online(ann));
        assert_eq!(pair.here.depth().total, 1);
    }

    #[test]
    fn what_changes_elsewhere_is_no_news_about_who_is_here() {
        let (mut pair, now) = (Pair::new(), Instant::now());
        let ann = UserId::new();
        pair.there.publish_heartbeat();
        pair.deliver(now);
        pair.here.connected(ann);
        pair.there.connected(ann);
        pair.deliver(now);
        assert_eq!(pair.here.depth().total, 1, "her own connection");
        assert_eq!(pair.there.depth().total, 1, "also news where she is online already");
        assert_eq!(pair.here.nodes_of(ann), [pair.there.node]);
        pair.here.disconnected(ann, now);
        pair.here.expire(now + Duration::from_secs(15));
        pair.deliver(now);
        assert!(pair.here.is_online(ann), "she is still there");
        assert!(pair.there.nodes_of(ann).is_empty());
    }

    #[test]
    fn a_large_node_has_a_snapshot_of_several_parts() {
        let (mut pair, now) = (Pair::new(), Instant::now());
        let users: Vec<_> = std::iter::repeat_with(UserId::new)
            .take(2 * SNAPSHOT_PART_USERS + 1)
            .collect();
        for user in &users {
            pair.there.connected(*user);
        }
        while pair.to_here.try_recv().is_ok() {}
        pair.there.publish_heartbeat();
        pair.deliver(now);
        assert!(users.iter().all(|user| pair.here.is_online(*user)));
    }
}
