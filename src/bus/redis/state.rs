//! What the tasks of the bus share: the servers, what must be subscribed to, and the subscribers of
//! this node.
//!
//! Used by the service and by the tasks. Bounds: [`ENVELOPES_MAX`] envelopes wait for each
//! subscriber, and as many until a server has been found.

use super::servers::{BusServer, BusServers, Publication};
use super::subscriptions::ConversationSubscriptions;
use crate::bus::codec;
use crate::bus::{Delivery, ENVELOPES_MAX, Interest, To};
use crate::ids::{ConversationId, NodeId};
use crate::metrics::{BusDrop, metrics};
use crate::redis::{Address, Layout, RedisServers, Sealer, slot};
use chrono::Utc;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, Semaphore, mpsc, watch};

/// After so long without an envelope of another node, nothing need be published to everybody.
pub(super) const PEER_SILENCE_MAX: Duration = Duration::from_secs(60);

/// Between two lines of the log about forgeries.
const FORGERY_LOG_PAUSE: Duration = Duration::from_secs(60);

pub(super) struct RedisBusState {
    pub(super) node: NodeId,
    pub(super) servers: RedisServers,
    sealer: Sealer,
    /// When a forgery was logged last.
    forgery_logged: Mutex<Option<Instant>>,
    /// The number of the database in Redis. Channels do not belong to one, so their names contain
    /// it.
    database: i64,
    /// `None` until a server has replied.
    pub(super) known: watch::Sender<Option<BusServers>>,
    /// What is published before that.
    early: Mutex<Vec<(To, Vec<u8>)>>,
    /// The layout may have changed.
    pub(super) refresh: Notify,
    /// The subscribers of this node.
    subscribers: Mutex<Vec<(Interest, mpsc::Sender<Delivery>)>>,
    pub(super) subscriptions: Mutex<ConversationSubscriptions>,
    /// Anyone who holds it listens to the channels of everybody and of this node.
    pub(super) own_channels: Semaphore,
    pub(super) own_channels_connected: AtomicBool,
    /// When another node was last seen, in milliseconds of Unix time; at first, since when none can
    /// have been.
    peer_seen_ms: AtomicI64,
}

impl RedisBusState {
    pub(super) fn new(node: NodeId, servers: RedisServers, sealer: Sealer) -> Self {
        let database = servers.database();
        Self {
            node,
            servers,
            sealer,
            forgery_logged: Mutex::default(),
            database,
            known: watch::Sender::new(None),
            early: Mutex::default(),
            refresh: Notify::new(),
            subscribers: Mutex::default(),
            subscriptions: Mutex::new(ConversationSubscriptions::new(database, |database, id| {
                slot(&channel(database, To::Conversation(id)))
            })),
            own_channels: Semaphore::new(1),
            own_channels_connected: AtomicBool::new(false),
            peer_seen_ms: AtomicI64::new(Utc::now().timestamp_millis()),
        }
    }

    /// Delivers an encoded envelope that arrived on a channel, if another node has published it.
    pub(super) fn receive(&self, channel: &[u8], bytes: &[u8]) {
        // A node gets its own publications back. Of two nodes each gets half of them, so that is
        // checked first.
        if codec::sender(bytes) == Some(self.node) {
            return;
        }
        match codec::decode(&self.sealer, channel, bytes, Utc::now()) {
            Ok(received) => {
                self.note_peer();
                // By the clocks of two machines: good for a metric and for nothing else.
                let lag = (Utc::now() - received.published_at).to_std().unwrap_or_default();
                self.deliver(&Delivery {
                    envelope: received.envelope,
                    published_at: Instant::now().checked_sub(lag).unwrap_or_else(Instant::now),
                });
            }
            Err(error) if error.is_forgery() => self.note_forgery(channel, &error),
            Err(error) => {
                self.note_peer();
                metrics().bus_not_understood();
                tracing::debug!(%error, "the bus carried something that is not understood");
            }
        }
    }

    /// Counts what is no node's, and logs the first of a minute: a flood of the bus must not
    /// flood the log.
    fn note_forgery(&self, channel: &[u8], error: &codec::Error) {
        metrics().bus_forged();
        let mut logged = self.forgery_logged.lock();
        if logged.is_some_and(|at| at.elapsed() < FORGERY_LOG_PAUSE) {
            return;
        }
        *logged = Some(Instant::now());
        drop(logged);
        tracing::warn!(
            %error,
            channel = %String::from_utf8_lossy(channel),
            "the bus carries envelopes that are no node's: somebody else writes to Redis, or a node has another \
             JWT_SECRET or a wrong clock; they are ignored"
        );
    }

    /// Delivers an envelope to its subscribers. Dropped where one does not keep up.
    pub(super) fn deliver(&self, delivery: &Delivery) {
        let interest = Interest::of(&delivery.envelope);
        let subscribers = self.subscribers.lock();
        for (_, queue) in subscribers.iter().filter(|(wanted, _)| *wanted == interest) {
            if let Err(mpsc::error::TrySendError::Full(_)) = queue.try_send(delivery.clone()) {
                metrics().bus_dropped(BusDrop::IncomingFull, 1);
            }
        }
    }

    pub(super) fn add_subscriber(&self, interest: Interest) -> mpsc::Receiver<Delivery> {
        let (queue, receiver) = mpsc::channel(ENVELOPES_MAX);
        let mut subscribers = self.subscribers.lock();
        subscribers.retain(|(_, queue)| !queue.is_closed());
        subscribers.push((interest, queue));
        receiver
    }

    pub(super) fn is_cluster(&self) -> bool {
        let known = self.known.borrow();
        known.as_ref().is_some_and(|servers| servers.layout.is_cluster())
    }

    pub(super) fn at(&self, address: &Address) -> Option<Arc<BusServer>> {
        self.known.borrow().as_ref()?.at(address).cloned()
    }

    /// Seals an encoded envelope and queues it at a server; taken by its publisher.
    pub(super) fn publish(&self, to: To, mut bytes: Vec<u8>) {
        if self.known.borrow().is_none() {
            let mut early = self.early.lock();
            // Anyone who finds the servers takes what waits here afterwards, under this lock.
            let is_unknown = self.known.borrow().is_none();
            if is_unknown && early.len() < ENVELOPES_MAX {
                return early.push((to, bytes));
            }
            if is_unknown {
                return metrics().bus_dropped(BusDrop::OutgoingFull, 1);
            }
        }
        let channel = self.channel(to);
        let Some((server, is_sharded)) = self.server_for(to, &channel) else {
            return metrics().bus_dropped(BusDrop::RedisAway, 1);
        };
        codec::seal(&self.sealer, &channel, &mut bytes);
        let publication = Publication {
            channel,
            bytes,
            is_sharded,
            is_redirected: false,
        };
        if server.outgoing.sender().try_send(publication).is_err() {
            metrics().bus_dropped(BusDrop::OutgoingFull, 1);
        }
    }

    /// What was published before a server had been found. Once one has, what is left is too old.
    pub(super) fn take_early(&self) -> Vec<(To, Vec<u8>)> {
        std::mem::take(&mut *self.early.lock())
    }

    /// Where an envelope is published, and whether its channel is sharded.
    pub(super) fn server_for(&self, to: To, channel: &str) -> Option<(Arc<BusServer>, bool)> {
        let known = self.known.borrow();
        let servers = known.as_ref()?;
        if let (To::Conversation(_), true) = (to, servers.layout.is_cluster()) {
            let owner = servers.layout.owner(slot(channel))?;
            return Some((servers.at(owner)?.clone(), true));
        }
        let is_connected = |server: &&Arc<BusServer>| server.publisher_connected.load(Ordering::Relaxed);
        let any = servers.all.iter().find(is_connected).or_else(|| servers.all.first())?;
        Some((any.clone(), false))
    }

    pub(super) fn channel(&self, to: To) -> String {
        channel(self.database, to)
    }

    /// Wakes the subscriber of a server whose subscriptions have changed.
    pub(super) fn notify_subscriber(&self, server: Option<Address>) {
        if let Some(server) = server.and_then(|address| self.at(&address)) {
            server.subscriptions_changed.notify_one();
        }
    }

    /// Whether another node may be listening.
    pub(super) fn has_peers(&self) -> bool {
        if !self.own_channels_connected.load(Ordering::Relaxed) {
            // Without a connection, silence says nothing.
            return true;
        }
        let silence = Utc::now().timestamp_millis() - self.peer_seen_ms.load(Ordering::Relaxed);
        u128::from(silence.unsigned_abs()) < PEER_SILENCE_MAX.as_millis()
    }

    pub(super) fn note_peer(&self) {
        self.peer_seen_ms
            .store(Utc::now().timestamp_millis(), Ordering::Relaxed);
    }

    /// Replaces the layout. Servers that stay keep their connections and what waits for them.
    pub(super) fn adopt(&self, layout: Layout) {
        self.subscriptions.lock().adopt_layout(&layout);
        self.known.send_if_modified(|servers| {
            if servers.as_ref().is_some_and(|servers| servers.layout == layout) {
                return false;
            }
            let known = |address: &Address| servers.as_ref()?.at(address).cloned();
            let all: Vec<_> = layout
                .masters()
                .into_iter()
                .map(|address| known(&address).unwrap_or_else(|| Arc::new(BusServer::new(address))))
                .collect();
            for gone in servers.iter().flat_map(|servers| &servers.all) {
                if !all.iter().any(|server| server.address == gone.address) {
                    metrics().bus_dropped(BusDrop::RedisAway, gone.outgoing.depth());
                }
            }
            tracing::info!(
                servers = all.len(),
                cluster = layout.is_cluster(),
                whole = layout.is_whole(),
                "the bus speaks to Redis"
            );
            *servers = Some(BusServers { layout, all });
            true
        });
        if let Some(servers) = &*self.known.borrow() {
            for server in &servers.all {
                server.subscriptions_changed.notify_one();
            }
        }
        for (to, bytes) in self.take_early() {
            self.publish(to, bytes);
        }
    }
}

/// The name of a channel.
fn channel(database: i64, to: To) -> String {
    match to {
        To::Everybody => format!("parlance:bus:{database}:everybody"),
        To::Conversation(id) => format!("parlance:bus:{database}:conversation:{id}"),
        To::Node(id) => format!("parlance:bus:{database}:node:{id}"),
    }
}

/// The conversation of a channel.
pub(super) fn conversation_of(channel: &[u8]) -> Option<ConversationId> {
    let (_, id) = str::from_utf8(channel).ok()?.rsplit_once(':')?;
    Some(ConversationId(id.parse().ok()?))
}

/// A state without tasks.
#[cfg(test)]
pub(super) fn state_for_tests() -> Arc<RedisBusState> {
    let servers = RedisServers::of(&tests::config("")).ok().flatten();
    let servers = servers.unwrap_or_else(|| unreachable!("the address is valid"));
    Arc::new(RedisBusState::new(
        NodeId::new(),
        servers,
        Sealer::new(b"a secret", None, crate::redis::SealPurpose::Bus),
    ))
}

#[cfg(test)]
mod tests {
    use super::super::connection::ConnectedGuard;
    use super::*;
    use crate::bus::{Envelope, PresenceMessage};
    use crate::config::{RedisConfig, Secret};

    pub(super) fn config(path: &str) -> RedisConfig {
        RedisConfig {
            url: Some(Secret::new(format!("redis://127.0.0.1:6379{path}"))),
            ..RedisConfig::default()
        }
    }

    #[test]
    fn a_node_is_alone_after_a_minute_of_silence_unless_it_does_not_listen() {
        let state = state_for_tests();
        let silent_for_long = || {
            let silence = i64::try_from(PEER_SILENCE_MAX.as_millis()).unwrap();
            let then = Utc::now().timestamp_millis() - silence - 1;
            state.peer_seen_ms.store(then, Ordering::Relaxed);
        };
        silent_for_long();
        assert!(state.has_peers(), "it does not listen");
        let connected = ConnectedGuard::new(&state.own_channels_connected);
        assert!(!state.has_peers());
        let channel = state.channel(To::Everybody);
        let heartbeat = |node| {
            let envelope = Envelope::Presence(PresenceMessage::Heartbeat { node, version: 1 });
            let mut bytes = codec::encode(node, Utc::now(), &envelope).unwrap();
            codec::seal(&state.sealer, &channel, &mut bytes);
            bytes
        };
        state.receive(channel.as_bytes(), &heartbeat(state.node));
        assert!(!state.has_peers(), "that was its own");
        state.receive(b"another channel", &heartbeat(NodeId::new()));
        assert!(!state.has_peers(), "that was nobody's");
        state.receive(channel.as_bytes(), &heartbeat(NodeId::new()));
        assert!(state.has_peers());
        silent_for_long();
        state.receive(channel.as_bytes(), b"a node of another version");
        assert!(state.has_peers(), "another node is there, even if unknown");
        silent_for_long();
        drop(connected);
        assert!(state.has_peers());
    }

    #[test]
    fn a_subscriber_that_does_not_keep_up_loses_what_is_too_much() {
        let state = state_for_tests();
        let mut receiver = state.add_subscriber(Interest::Presence);
        let request = Envelope::Presence(PresenceMessage::SyncRequest { node: state.node });
        let mut bytes = codec::encode(NodeId::new(), Utc::now(), &request).unwrap();
        let channel = state.channel(To::Everybody);
        codec::seal(&state.sealer, &channel, &mut bytes);
        for _ in 0..ENVELOPES_MAX + 5 {
            state.receive(channel.as_bytes(), &bytes);
        }
        let mut count = 0;
        while receiver.try_recv().is_ok() {
            count += 1;
        }
        assert_eq!(count, ENVELOPES_MAX);
    }

    #[test]
    fn conversations_go_to_the_server_of_their_slot_and_the_rest_to_any_that_is_connected() {
        let state = state_for_tests();
        let to = To::Conversation(ConversationId::new());
        assert!(
            state.server_for(to, &state.channel(to)).is_none(),
            "no server has replied yet"
        );
        state.publish(To::Everybody, vec![1]);
        let address = |n| Address::new("redis", n);
        state.adopt(Layout::of_ranges([
            (0, 9_999, address(1)),
            (10_000, 16_000, address(2)),
        ]));
        let depth = |n| state.at(&address(n)).unwrap().outgoing.depth();
        assert_eq!(depth(1) + depth(2), 1, "what was published early waits at a server now");
        let mut seen = [0; 3];
        for _ in 0..200 {
            let to = To::Conversation(ConversationId::new());
            let channel = state.channel(to);
            assert_eq!(conversation_of(channel.as_bytes()).map(To::Conversation), Some(to));
            match (slot(&channel), state.server_for(to, &channel)) {
                (0..=9_999, Some((server, true))) if server.address == address(1) => seen[0] += 1,
                (10_000..=16_000, Some((server, true))) if server.address == address(2) => seen[1] += 1,
                (16_001.., None) => seen[2] += 1,
                (slot, found) => panic!("{slot} went to {:?}", found.map(|(server, _)| server.address.clone())),
            }
        }
        assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
        let second = state.at(&address(2)).unwrap();
        let _connected = ConnectedGuard::new(&second.publisher_connected);
        let (any, is_sharded) = state.server_for(To::Everybody, &state.channel(To::Everybody)).unwrap();
        assert_eq!(
            (&any.address, is_sharded),
            (&address(2), false),
            "the one that is connected"
        );
    }

    #[test]
    fn installations_in_different_databases_of_one_redis_have_different_channels() {
        let database = |path| RedisServers::of(&config(path)).unwrap().unwrap().database();
        assert_eq!(channel(database(""), To::Everybody), "parlance:bus:0:everybody");
        assert_eq!(channel(database("/3"), To::Everybody), "parlance:bus:3:everybody");
    }
}
