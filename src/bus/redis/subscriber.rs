//! Listens to one server, and subscribes there to what the node wants.
//!
//! A connection that dies silently (a frozen Redis, a network that swallows packets) is noticed
//! because there is no reply to a ping. Every conversation that has just been subscribed is
//! reported to the node as resumed, after a connect and after a move of its slot too: something may
//! have been published while nobody listened.
//!
//! One of the subscribers also listens to the channels of everybody and of this node. They are
//! plain also on a cluster, whose servers pass them on to each other. So any server will do, and
//! another subscriber takes over when it is away.
//!
//! Bounds: the task that reads the connection delivers each envelope or drops it, and waits for
//! nobody. [`CHANNELS_MAX`] subscriptions are under way at a time.

use super::connection::{ConnectedGuard, RECONNECTS, REPLY_TIMEOUT, is_of_another_layout, reset_if_held};
use super::servers::BusServer;
use super::state::{RedisBusState, conversation_of};
use crate::bus::{Delivery, Envelope, To};
use crate::ids::ConversationId;
use crate::metrics::{BusRole, metrics};
use crate::redis::RedisLink;
use crate::supervision::jittered;
use parking_lot::Mutex;
use redis::aio::ConnectionLike as _;
use redis::{
    AsyncConnectionConfig, ErrorKind, Pipeline, PushInfo, PushKind, RedisError, RedisResult, Value, cmd, pipe,
};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Between two pings, which find out that a connection is dead.
const PING_INTERVAL: Duration = Duration::from_secs(2);
/// Channels that are subscribed to in one round trip.
const CHANNELS_MAX: usize = 500;

/// Listens at one server for ever.
pub(super) async fn run(state: Arc<RedisBusState>, server: Arc<BusServer>) {
    let mut reconnects = RECONNECTS;
    loop {
        let mut slots_moved = false;
        match connect(&state, &server).await {
            Ok(mut listener) => {
                let connected_at = Instant::now();
                if let Err(error) = listener.listen().await {
                    tracing::warn!(%error, address = %server.address, "the bus does not listen any more; connecting again");
                }
                slots_moved = listener.incoming.slots_moved.load(Ordering::Acquire);
                reset_if_held(&mut reconnects, connected_at);
            }
            Err(error) => tracing::debug!(%error, address = %server.address, "the bus cannot connect to listen"),
        }
        metrics().bus_reconnects(BusRole::Subscriber);
        state.refresh.notify_one();
        // Moving slots is no failure of the server and may take long, so the pause does not grow.
        let pause = if slots_moved {
            RECONNECTS.pause_after(0)
        } else {
            reconnects.next_pause()
        };
        tokio::time::sleep(jittered(pause)).await;
    }
}

async fn connect(state: &Arc<RedisBusState>, server: &Arc<BusServer>) -> RedisResult<BusListener> {
    let incoming = Arc::new(IncomingPushes {
        state: state.clone(),
        server: server.clone(),
        awaits_reply: AtomicBool::new(false),
        unsubscribing: Mutex::default(),
        is_broken: AtomicBool::new(false),
        slots_moved: AtomicBool::new(false),
        ended: Notify::new(),
    });
    let pushes = incoming.clone();
    let config = AsyncConnectionConfig::new()
        .set_response_timeout(Some(REPLY_TIMEOUT))
        .set_push_sender(move |push| {
            pushes.handle(&push);
            Ok::<(), ()>(())
        });
    let endpoint = state.servers.endpoint(&server.address).with_pushes();
    let link = endpoint.open(config, REPLY_TIMEOUT).await?;
    Ok(BusListener { incoming, link })
}

/// The reading side of a connection: handles what the server pushes.
struct IncomingPushes {
    state: Arc<RedisBusState>,
    server: Arc<BusServer>,
    awaits_reply: AtomicBool,
    /// Conversations that are being unsubscribed.
    unsubscribing: Mutex<HashSet<ConversationId>>,
    /// The connection has ended, or must not be used any more.
    is_broken: AtomicBool,
    /// Slots have moved while a reply was awaited.
    slots_moved: AtomicBool,
    ended: Notify,
}

impl IncomingPushes {
    fn handle(&self, push: &PushInfo) {
        match push.kind {
            PushKind::Message | PushKind::SMessage => {
                if let [Value::BulkString(channel), Value::BulkString(bytes)] = push.data.as_slice() {
                    self.state.receive(channel, bytes);
                }
            }
            PushKind::SUnsubscribe => {
                if let Some(Value::BulkString(channel)) = push.data.first() {
                    self.unsubscribed(channel);
                }
            }
            PushKind::Disconnection => self.end(),
            _ => {}
        }
    }

    /// A subscription has ended. If nobody asked for that, the slot has moved.
    fn unsubscribed(&self, channel: &[u8]) {
        let Some(id) = conversation_of(channel) else {
            return;
        };
        if self.unsubscribing.lock().remove(&id) {
            return;
        }
        self.state.subscriptions.lock().note_lost(&self.server.address, id);
        self.state.refresh.notify_one();
        // The client library takes this push for the reply that is awaited, and every later reply
        // for that of another command.
        if self.awaits_reply.load(Ordering::Acquire) {
            self.slots_moved.store(true, Ordering::Release);
            self.end();
        }
    }

    fn end(&self) {
        self.is_broken.store(true, Ordering::Release);
        self.ended.notify_one();
    }
}

/// A connection that listens.
struct BusListener {
    incoming: Arc<IncomingPushes>,
    link: RedisLink,
}

impl BusListener {
    /// Listens until the connection breaks.
    async fn listen(&mut self) -> RedisResult<()> {
        let (state, server) = (self.incoming.state.clone(), self.incoming.server.clone());
        state.subscriptions.lock().start_over(&server.address);
        self.apply_changes().await?;
        let _connected = ConnectedGuard::new(&server.subscriber_connected);
        let mut own = None;
        let mut pings = tokio::time::interval(PING_INTERVAL);
        loop {
            let incoming = self.incoming.clone();
            tokio::select! {
                () = incoming.ended.notified() => return Err(ended()),
                () = server.subscriptions_changed.notified() => self.apply_changes().await?,
                permit = state.own_channels.acquire(), if own.is_none() => {
                    self.subscribe_to_own_channels().await?;
                    own = permit.ok().map(|permit| (ConnectedGuard::new(&state.own_channels_connected), permit));
                }
                _ = pings.tick() => {
                    let mut ping = pipe();
                    ping.add_command(cmd("PING"));
                    self.ask(&ping, 1).await?;
                }
            }
        }
    }

    /// Subscribes to the channels of everybody and of this node.
    async fn subscribe_to_own_channels(&mut self) -> RedisResult<()> {
        let state = self.incoming.state.clone();
        let mut both = pipe();
        for to in [To::Everybody, To::Node(state.node)] {
            both.cmd("SUBSCRIBE").arg(state.channel(to));
        }
        for reply in self.ask(&both, 2).await? {
            reply.extract_error()?;
        }
        // Other nodes may not have published for long. Until the silence says otherwise, they are
        // assumed.
        state.note_peer();
        Ok(())
    }

    /// Subscribes and unsubscribes as the node wants.
    async fn apply_changes(&mut self) -> RedisResult<()> {
        let (state, server) = (self.incoming.state.clone(), self.incoming.server.clone());
        let changes = state.subscriptions.lock().take_changes(&server.address);
        let (subscribe, unsubscribe) = if state.is_cluster() {
            ("SSUBSCRIBE", "SUNSUBSCRIBE")
        } else {
            ("SUBSCRIBE", "UNSUBSCRIBE")
        };
        for ids in changes.unsubscribe.chunks(CHANNELS_MAX) {
            self.incoming.unsubscribing.lock().extend(ids);
            // A server that has given the slot away refuses, and then there is no subscription
            // either.
            self.ask(&self.each(unsubscribe, ids), ids.len()).await?;
            self.incoming.unsubscribing.lock().clear();
        }
        for ids in changes.subscribe.chunks(CHANNELS_MAX) {
            let replies = self.ask(&self.each(subscribe, ids), ids.len()).await?;
            let mut resumed = Vec::with_capacity(ids.len());
            for (id, reply) in ids.iter().zip(replies) {
                match reply.extract_error() {
                    Ok(_) => resumed.push(*id),
                    Err(error) if is_of_another_layout(&error) => {
                        state.subscriptions.lock().note_lost(&server.address, *id);
                        state.refresh.notify_one();
                    }
                    Err(error) => return Err(error),
                }
            }
            if !resumed.is_empty() {
                state.deliver(&Delivery {
                    envelope: Envelope::Resumed(resumed),
                    published_at: Instant::now(),
                });
            }
        }
        Ok(())
    }

    /// One command for each channel, because those of a cluster may be in different slots.
    fn each(&self, command: &str, ids: &[ConversationId]) -> Pipeline {
        let mut all = pipe();
        for id in ids {
            all.cmd(command).arg(self.incoming.state.channel(To::Conversation(*id)));
        }
        all
    }

    /// Sends commands. The replies may be refusals.
    async fn ask(&mut self, commands: &Pipeline, count: usize) -> RedisResult<Vec<Value>> {
        self.incoming.awaits_reply.store(true, Ordering::Release);
        let replies = self.link.req_packed_commands(commands, 0, count).await;
        self.incoming.awaits_reply.store(false, Ordering::Release);
        if self.incoming.is_broken.load(Ordering::Acquire) {
            return Err(ended());
        }
        replies
    }
}

fn ended() -> RedisError {
    (
        ErrorKind::Io,
        "the connection has ended, or slots moved while a reply was awaited",
    )
        .into()
}

#[cfg(test)]
mod tests {
    use super::super::state::state_for_tests;
    use super::*;
    use crate::redis::{Address, Layout};

    /// What a server pushes when a subscription has ended.
    fn unsubscribed(channel: String) -> PushInfo {
        PushInfo {
            kind: PushKind::SUnsubscribe,
            data: vec![Value::BulkString(channel.into_bytes()), Value::Int(0)],
        }
    }

    #[test]
    fn a_slot_that_moves_is_noticed_and_while_a_reply_is_awaited_it_ends_the_connection() {
        let state = state_for_tests();
        let address = Address::new("redis", 1);
        state.adopt(Layout::of_ranges([(0, 16_383, address.clone())]));
        let incoming = IncomingPushes {
            state: state.clone(),
            server: state.at(&address).unwrap(),
            awaits_reply: AtomicBool::new(true),
            unsubscribing: Mutex::default(),
            is_broken: AtomicBool::new(false),
            slots_moved: AtomicBool::new(false),
            ended: Notify::new(),
        };
        let is_broken = || incoming.is_broken.load(Ordering::Acquire);
        let (moved, asked_for) = (ConversationId::new(), ConversationId::new());
        for id in [moved, asked_for] {
            state.subscriptions.lock().subscribe(id);
        }
        assert_eq!(state.subscriptions.lock().take_changes(&address).subscribe.len(), 2);
        incoming.unsubscribing.lock().insert(asked_for);
        incoming.handle(&unsubscribed(state.channel(To::Conversation(asked_for))));
        assert!(!is_broken(), "that was the reply");
        incoming.awaits_reply.store(false, Ordering::Release);
        incoming.handle(&unsubscribed(state.channel(To::Conversation(moved))));
        assert!(!is_broken(), "nothing else was awaited");
        state
            .subscriptions
            .lock()
            .adopt_layout(&Layout::of_ranges([(0, 16_383, address.clone())]));
        assert_eq!(state.subscriptions.lock().take_changes(&address).subscribe, [moved]);
        incoming.awaits_reply.store(true, Ordering::Release);
        incoming.handle(&unsubscribed(state.channel(To::Conversation(moved))));
        assert!(is_broken(), "replies do not belong to their commands any more");
        assert!(
            incoming.slots_moved.load(Ordering::Acquire),
            "the server has not failed"
        );
    }
}
