//! Listens to one server, and tells it what the node wants to hear there.
//!
//! A connection that has died without a word (a frozen Redis, a network that swallows packets) is noticed because it does
//! not answer a ping. After every connect, and whenever another conversation is followed or its slot has moved, the node is
//! told to compare its revision: something may have been said while nobody listened.
//!
//! One of the subscribers also listens to what is for everybody and for this node: those channels are plain also on a
//! cluster, whose servers pass them on to each other, so any of them will do, and another one takes over when it is away.
//!
//! Bounds: what comes is taken up by the task that reads the connection, as it comes; taking it up is to hand it on or to
//! drop it, and waits for nobody. [`CHANNELS_MAX`] subscriptions are under way at a time.

use super::{CONNECTION_HELD_MIN, Connected, PATIENCE, RECONNECTS, Shard, Shared, is_of_another_layout};
use crate::bus::{Delivery, Envelope, To};
use crate::ids::ConversationId;
use crate::metrics::{BusRole, metrics};
use crate::supervision::jittered;
use ::redis::aio::{ConnectionLike as _, MultiplexedConnection};
use ::redis::{
    AsyncConnectionConfig, Client, ErrorKind, Pipeline, ProtocolVersion, PushInfo, PushKind, RedisError, RedisResult,
    Value, cmd, pipe,
};
use parking_lot::Mutex;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Between two pings.
const PING_INTERVAL: Duration = Duration::from_secs(2);
/// Channels that are subscribed to in one round trip.
const CHANNELS_MAX: usize = 500;

/// Listens at one server for ever.
pub(super) async fn run(shared: Arc<Shared>, shard: Arc<Shard>) {
    let mut reconnects = RECONNECTS;
    loop {
        let mut slots_moved = false;
        match connect(&shared, &shard).await {
            Ok(mut ear) => {
                let connected_at = Instant::now();
                if let Err(error) = ear.listen().await {
                    tracing::warn!(%error, address = %shard.address, "the bus does not hear any more; connecting again");
                }
                slots_moved = ear.line.slots_moved.load(Ordering::Acquire);
                if connected_at.elapsed() >= CONNECTION_HELD_MIN {
                    reconnects.reset();
                }
            }
            Err(error) => tracing::debug!(%error, address = %shard.address, "the bus cannot connect to listen"),
        }
        metrics().bus_reconnects(BusRole::Subscriber);
        shared.look.notify_one();
        // Moving slots is no failure of the server, and may take long: the pause does not grow with it.
        let pause = if slots_moved {
            RECONNECTS.pause_after(0)
        } else {
            reconnects.next_pause()
        };
        tokio::time::sleep(jittered(pause)).await;
    }
}

async fn connect(shared: &Arc<Shared>, shard: &Arc<Shard>) -> RedisResult<Ear> {
    let line = Arc::new(Line {
        shared: shared.clone(),
        shard: shard.clone(),
        asking: AtomicBool::new(false),
        leaving: Mutex::default(),
        broken: AtomicBool::new(false),
        slots_moved: AtomicBool::new(false),
        ended: Notify::new(),
    });
    let incoming = line.clone();
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(PATIENCE))
        .set_response_timeout(Some(PATIENCE))
        .set_push_sender(move |push| {
            incoming.take_in(&push);
            Ok::<(), ()>(())
        });
    let info = shared.servers.connection_info(&shard.address);
    // Only there what is pushed can be told from what was asked for.
    let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    let link = Client::open(info.set_redis_settings(settings))?
        .get_multiplexed_async_connection_with_config(&config)
        .await?;
    Ok(Ear { line, link })
}

/// What the reading side of a connection knows and leaves behind.
struct Line {
    shared: Arc<Shared>,
    shard: Arc<Shard>,
    /// An answer is awaited.
    asking: AtomicBool,
    /// What is being unsubscribed from.
    leaving: Mutex<HashSet<ConversationId>>,
    /// It has ended, or must not be used any more.
    broken: AtomicBool,
    /// That is because slots have moved while an answer was awaited.
    slots_moved: AtomicBool,
    ended: Notify,
}

impl Line {
    fn take_in(&self, push: &PushInfo) {
        match push.kind {
            PushKind::Message | PushKind::SMessage => {
                if let [_, Value::BulkString(bytes)] = push.data.as_slice() {
                    self.shared.take_up(bytes);
                }
            }
            PushKind::SUnsubscribe => {
                if let Some(Value::BulkString(channel)) = push.data.first() {
                    self.left(channel);
                }
            }
            PushKind::Disconnection => self.end(),
            _ => {}
        }
    }

    /// A channel is not heard any more. If nobody asked for that, its slot has moved.
    fn left(&self, channel: &[u8]) {
        let Some(id) = self.shared.conversation_of(channel) else {
            return;
        };
        if self.leaving.lock().remove(&id) {
            return;
        }
        self.shared.topics.lock().lose(&self.shard.address, id);
        self.shared.look.notify_one();
        // The client library takes this for the answer to what was asked, and every answer after it for that to another
        // question.
        if self.asking.load(Ordering::Acquire) {
            self.slots_moved.store(true, Ordering::Release);
            self.end();
        }
    }

    fn end(&self) {
        self.broken.store(true, Ordering::Release);
        self.ended.notify_one();
    }
}

/// A connection that listens.
struct Ear {
    line: Arc<Line>,
    link: MultiplexedConnection,
}

impl Ear {
    /// Listens until the connection breaks.
    async fn listen(&mut self) -> RedisResult<()> {
        let (shared, shard) = (self.line.shared.clone(), self.line.shard.clone());
        shared.topics.lock().start_over(&shard.address);
        self.follow().await?;
        let _connected = Connected::new(&shard.listens);
        let mut own = None;
        let mut pings = tokio::time::interval(PING_INTERVAL);
        loop {
            let line = self.line.clone();
            tokio::select! {
                () = line.ended.notified() => return Err(ended()),
                () = shard.topics_changed.notified() => self.follow().await?,
                turn = shared.own_channels.acquire(), if own.is_none() => {
                    self.hear_own().await?;
                    own = turn.ok().map(|turn| (Connected::new(&shared.hears_own), turn));
                }
                _ = pings.tick() => {
                    let mut ping = pipe();
                    ping.add_command(cmd("PING"));
                    self.ask(&ping, 1).await?;
                }
            }
        }
    }

    /// Subscribes to what is for everybody and for this node.
    async fn hear_own(&mut self) -> RedisResult<()> {
        let shared = self.line.shared.clone();
        let mut both = pipe();
        for to in [To::Everybody, To::Node(shared.node)] {
            both.cmd("SUBSCRIBE").arg(shared.channel(to));
        }
        for answer in self.ask(&both, 2).await? {
            answer.extract_error()?;
        }
        // Whoever is there may not have spoken for long; until they do they are assumed.
        shared.heard_peer();
        Ok(())
    }

    /// Tells the server what has changed in what the node wants to hear of it.
    async fn follow(&mut self) -> RedisResult<()> {
        let (shared, shard) = (self.line.shared.clone(), self.line.shard.clone());
        let changes = shared.topics.lock().take_changes(&shard.address);
        let (subscribe, unsubscribe) = if shared.is_cluster() {
            ("SSUBSCRIBE", "SUNSUBSCRIBE")
        } else {
            ("SUBSCRIBE", "UNSUBSCRIBE")
        };
        for ids in changes.unsubscribe.chunks(CHANNELS_MAX) {
            self.line.leaving.lock().extend(ids);
            // Refused by who has given the slot away, and then nothing is heard there either.
            self.ask(&self.each(unsubscribe, ids), ids.len()).await?;
            self.line.leaving.lock().clear();
        }
        for ids in changes.subscribe.chunks(CHANNELS_MAX) {
            let answers = self.ask(&self.each(subscribe, ids), ids.len()).await?;
            let mut heard = Vec::with_capacity(ids.len());
            for (id, answer) in ids.iter().zip(answers) {
                match answer.extract_error() {
                    Ok(_) => heard.push(*id),
                    Err(error) if is_of_another_layout(&error) => {
                        shared.topics.lock().lose(&shard.address, *id);
                        shared.look.notify_one();
                    }
                    Err(error) => return Err(error),
                }
            }
            if !heard.is_empty() {
                shared.deliver(&Delivery {
                    envelope: Envelope::Resumed(heard),
                    published_at: Instant::now(),
                });
            }
        }
        Ok(())
    }

    /// A command for each channel: those of a cluster may be in different slots.
    fn each(&self, command: &str, ids: &[ConversationId]) -> Pipeline {
        let mut all = pipe();
        for id in ids {
            all.cmd(command).arg(self.line.shared.channel(To::Conversation(*id)));
        }
        all
    }

    /// The answers to commands, refusals among them.
    async fn ask(&mut self, commands: &Pipeline, count: usize) -> RedisResult<Vec<Value>> {
        self.line.asking.store(true, Ordering::Release);
        let answers = self.link.req_packed_commands(commands, 0, count).await;
        self.line.asking.store(false, Ordering::Release);
        if self.line.broken.load(Ordering::Acquire) {
            return Err(ended());
        }
        answers
    }
}

fn ended() -> RedisError {
    (
        ErrorKind::Io,
        "the connection has ended, or slots moved while an answer was awaited",
    )
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::redis::{bus_for_tests, shards};
    use crate::redis::{Address, Layout};

    /// What a server sends when a channel is not heard any more.
    fn left(channel: String) -> PushInfo {
        PushInfo {
            kind: PushKind::SUnsubscribe,
            data: vec![Value::BulkString(channel.into_bytes()), Value::Int(0)],
        }
    }

    #[test]
    fn a_slot_that_moves_is_noticed_and_while_an_answer_is_awaited_it_ends_the_connection() {
        let shared = bus_for_tests().shared;
        let address = Address::new("redis", 1);
        shards::adopt(&shared, Layout::of_ranges([(0, 16_383, address.clone())]));
        let line = Line {
            shared: shared.clone(),
            shard: shared.at(&address).unwrap(),
            asking: AtomicBool::new(true),
            leaving: Mutex::default(),
            broken: AtomicBool::new(false),
            slots_moved: AtomicBool::new(false),
            ended: Notify::new(),
        };
        let is_broken = || line.broken.load(Ordering::Acquire);
        let (moved, asked_for) = (ConversationId::new(), ConversationId::new());
        for id in [moved, asked_for] {
            shared.topics.lock().follow(id);
        }
        assert_eq!(shared.topics.lock().take_changes(&address).subscribe.len(), 2);
        line.leaving.lock().insert(asked_for);
        line.take_in(&left(shared.channel(To::Conversation(asked_for))));
        assert!(!is_broken(), "that was the answer");
        line.asking.store(false, Ordering::Release);
        line.take_in(&left(shared.channel(To::Conversation(moved))));
        assert!(!is_broken(), "nothing else was awaited");
        shared
            .topics
            .lock()
            .rearrange(&Layout::of_ranges([(0, 16_383, address.clone())]));
        assert_eq!(shared.topics.lock().take_changes(&address).subscribe, [moved]);
        line.asking.store(true, Ordering::Release);
        line.take_in(&left(shared.channel(To::Conversation(moved))));
        assert!(is_broken(), "the answers do not fit their questions any more");
        assert!(line.slots_moved.load(Ordering::Acquire), "the server has not failed");
    }
}
