//! Listens to Redis, and tells it what the node wants to hear.
//!
//! A connection that has died without a word (a frozen Redis, a network that swallows packets) is noticed because it does
//! not answer a ping. After every connect, and whenever another conversation is followed, the node is told to compare its
//! revision: something may have been said while nobody listened.

use super::{PATIENCE, RECONNECTS, Shared, channel, pause};
use crate::bus::{Delivery, Envelope, To, codec};
use crate::ids::ConversationId;
use crate::supervision::{DeathGuard, RestartBudget};
use ::redis::aio::{PubSubSink, PubSubStream};
use ::redis::{ErrorKind, RedisError, RedisResult, Value};
use chrono::Utc;
use futures_util::StreamExt as _;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Between two pings.
const PING_INTERVAL: Duration = Duration::from_secs(2);
/// Channels in one command.
const CHANNELS_MAX: usize = 500;

/// Listens for ever; `guard` tells when it does no longer.
pub(super) async fn run(shared: Arc<Shared>, guard: DeathGuard) {
    let _guard = guard;
    let mut reconnects = RestartBudget::new(RECONNECTS);
    loop {
        match within(shared.client.get_async_pubsub()).await {
            Ok(pubsub) => {
                let (sink, stream) = pubsub.split();
                if let Err(error) = listen(&shared, sink, stream).await {
                    tracing::warn!(%error, "the bus does not hear any more; connecting again");
                }
            }
            Err(error) => tracing::debug!(%error, "the bus cannot connect to listen"),
        }
        shared.listens.store(false, Ordering::Relaxed);
        tokio::time::sleep(pause(&mut reconnects, Instant::now())).await;
    }
}

/// Waits for an answer, but not longer than for a connection that works.
async fn within<T>(answer: impl Future<Output = RedisResult<T>>) -> RedisResult<T> {
    let late = || RedisError::from((ErrorKind::Io, "no answer in time"));
    tokio::time::timeout(PATIENCE, answer)
        .await
        .unwrap_or_else(|_| Err(late()))
}

/// Listens until the connection breaks.
async fn listen(shared: &Shared, mut sink: PubSubSink, mut stream: PubSubStream) -> RedisResult<()> {
    shared.topics.lock().start_over();
    within(sink.subscribe(&[channel(To::Everybody), channel(To::Node(shared.node))])).await?;
    follow(shared, &mut sink).await?;
    shared.listens.store(true, Ordering::Relaxed);
    // Whoever is there may not have spoken for long; until they do they are assumed.
    shared.heard_peer();
    let mut pings = tokio::time::interval(PING_INTERVAL);
    loop {
        tokio::select! {
            message = stream.next() => match message {
                Some(message) => take_in(shared, message.get_payload_bytes()),
                None => return Err((ErrorKind::Io, "the connection was closed").into()),
            },
            () = shared.topics_changed.notified() => follow(shared, &mut sink).await?,
            _ = pings.tick() => {
                within(sink.ping::<Value>()).await?;
            }
        }
    }
}

/// Tells Redis what has changed in what the node wants to hear.
async fn follow(shared: &Shared, sink: &mut PubSubSink) -> RedisResult<()> {
    let changes = shared.topics.lock().take_changes();
    let names = |ids: &[ConversationId]| ids.iter().map(|id| channel(To::Conversation(*id))).collect::<Vec<_>>();
    for ids in changes.unsubscribe.chunks(CHANNELS_MAX) {
        within(sink.unsubscribe(names(ids))).await?;
    }
    for ids in changes.subscribe.chunks(CHANNELS_MAX) {
        within(sink.subscribe(names(ids))).await?;
        shared.deliver(&Delivery {
            envelope: Envelope::Resumed(ids.to_vec()),
            published_at: Instant::now(),
        });
    }
    Ok(())
}

fn take_in(shared: &Shared, bytes: &[u8]) {
    match codec::decode(bytes) {
        // A node hears itself, too.
        Ok(received) if received.from == shared.node => {}
        Ok(received) => {
            shared.heard_peer();
            // By the clocks of two machines, so it is good for a metric and for nothing else.
            let lag = (Utc::now() - received.at).to_std().unwrap_or_default();
            shared.deliver(&Delivery {
                envelope: received.envelope,
                published_at: Instant::now().checked_sub(lag).unwrap_or_else(Instant::now),
            });
        }
        Err(error) => {
            shared.heard_peer();
            tracing::debug!(%error, "the bus carried something that is not understood");
        }
    }
}
