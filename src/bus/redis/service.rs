//! The service: starts the tasks, and publishes and subscribes through what they share.

use super::servers::BusServer;
use super::state::RedisBusState;
use super::{publisher, subscriber, tasks};
use crate::bus::codec;
use crate::bus::{Bus, Delivery, Envelope, Interest, To};
use crate::config::RedisConfig;
use crate::ids::{ConversationId, NodeId};
use crate::metrics::{BusReach, Depth};
use crate::redis::{self, RedisServers, Sealer};
use crate::supervision::{ArbiterPool, supervise_task};
use chrono::Utc;
use std::sync::Arc;
use tokio::sync::mpsc;

/// The names of the tasks in logs and metrics.
const PUBLISHER: &str = "bus_publisher";
const SUBSCRIBER: &str = "bus_subscriber";

/// The bus over Redis.
pub struct RedisBus {
    state: Arc<RedisBusState>,
}

impl RedisBus {
    /// Starts the tasks. `None` without `REDIS_URL`. `sealer` has the secret of all nodes.
    ///
    /// # Errors
    /// [`redis::Error::Settings`].
    pub fn start(
        node: NodeId,
        config: &RedisConfig,
        sealer: Sealer,
        arbiters: &ArbiterPool,
    ) -> Result<Option<Self>, redis::Error> {
        let Some(servers) = RedisServers::of(config)? else {
            return Ok(None);
        };
        let state = Arc::new(RedisBusState::new(node, servers, sealer));
        let publishing = state.clone();
        arbiters.spawn(0, async move {
            let publish = |_| tasks::for_each_server(publishing.clone(), PUBLISHER, publisher::run);
            supervise_task(PUBLISHER, publish).await;
        });
        let listening = state.clone();
        arbiters.spawn(1, async move {
            let listen = async |_| {
                tokio::select! {
                    () = tasks::follow_layout(&listening) => {}
                    () = tasks::for_each_server(listening.clone(), SUBSCRIBER, subscriber::run) => {}
                }
            };
            supervise_task(SUBSCRIBER, listen).await;
        });
        Ok(Some(Self { state }))
    }
}

impl Bus for RedisBus {
    fn publish(&self, from: NodeId, to: To, envelope: Envelope) {
        if let Some(bytes) = codec::encode(from, Utc::now(), &envelope) {
            self.state.publish(to, bytes);
        }
    }

    fn has_peers(&self, _: NodeId) -> bool {
        self.state.has_peers()
    }

    /// Always: Redis is there to be shared, and other nodes change things also while it is away.
    fn may_have_peers(&self, _: NodeId) -> bool {
        true
    }

    fn subscribe(&self, _: NodeId, interest: Interest) -> mpsc::Receiver<Delivery> {
        self.state.add_subscriber(interest)
    }

    fn subscribe_to(&self, _: NodeId, conversation: ConversationId) {
        let server = self.state.subscriptions.lock().subscribe(conversation);
        self.state.notify_subscriber(server);
    }

    fn unsubscribe_from(&self, _: NodeId, conversation: ConversationId) {
        let server = self.state.subscriptions.lock().unsubscribe(conversation);
        self.state.notify_subscriber(server);
    }

    fn name(&self) -> &'static str {
        "redis"
    }

    fn depth(&self) -> Option<Depth> {
        let known = self.state.known.borrow();
        let servers = known.iter().flat_map(|servers| &servers.all);
        let depths = servers.map(|server| server.outgoing.depth());
        Some(Depth {
            actor: PUBLISHER,
            total: depths.clone().sum(),
            deepest: depths.max().unwrap_or_default(),
        })
    }

    fn reach(&self) -> BusReach {
        let known = self.state.known.borrow();
        let servers = known.as_ref().map_or(&[][..], |servers| &servers.all);
        BusReach {
            conversations_subscribed: self.state.subscriptions.lock().len(),
            servers: servers.len(),
            servers_connected: servers.iter().filter(|server| server.is_up()).count(),
        }
    }

    fn trouble(&self) -> Option<&'static str> {
        let known = self.state.known.borrow();
        let servers: &[Arc<BusServer>] = known.as_ref().map_or(&[], |servers| &servers.all);
        if !servers.iter().any(|server| server.is_up()) {
            return Some("Redis is away: other nodes hear of changes with a delay of seconds");
        }
        let is_whole = known.as_ref().is_some_and(|servers| servers.layout.is_whole());
        (!is_whole || !servers.iter().all(|server| server.is_up())).then_some(
            "a part of Redis is away: other nodes hear of changes in some conversations with a delay of seconds",
        )
    }
}
