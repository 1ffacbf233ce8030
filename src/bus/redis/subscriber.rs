//! Listens to Redis, and tells it what the node wants to hear.
//!
//! A connection that has died without a word (a frozen Redis, a network that swallows packets) is noticed because it does
//! not answer a ping. After every connect, and whenever another conversation is followed, the node is told to compare its
//! revision: something may have been said while nobody listened.
//!
//! Bounds: what has come is taken up also while an answer is awaited, because the client library keeps it without a bound
//! until then; taking it up is to hand it on or to drop it, and waits for nobody.

use super::{Connected, PATIENCE, RECONNECTS, Shared, pause};
use crate::bus::{Delivery, Envelope, To, codec};
use crate::ids::ConversationId;
use crate::supervision::{DeathGuard, RestartBudget};
use ::redis::aio::{PubSubSink, PubSubStream};
use ::redis::{ErrorKind, Msg, RedisError, RedisResult, Value};
use chrono::Utc;
use futures_util::StreamExt as _;
use std::future::Future;
use std::sync::Arc;
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
    let own = [shared.channel(To::Everybody), shared.channel(To::Node(shared.node))];
    meanwhile(shared, &mut stream, sink.subscribe(&own)).await?;
    follow(shared, &mut sink, &mut stream).await?;
    let _connected = Connected::new(&shared.listens);
    // Whoever is there may not have spoken for long; until they do they are assumed.
    shared.heard_peer();
    let mut pings = tokio::time::interval(PING_INTERVAL);
    loop {
        tokio::select! {
            message = stream.next() => take_in(shared, message)?,
            () = shared.topics_changed.notified() => follow(shared, &mut sink, &mut stream).await?,
            _ = pings.tick() => {
                meanwhile(shared, &mut stream, sink.ping::<Value>()).await?;
            }
        }
    }
}

/// Waits for an answer as [`within`], and takes up what comes meanwhile.
async fn meanwhile<T>(
    shared: &Shared,
    stream: &mut PubSubStream,
    answer: impl Future<Output = RedisResult<T>>,
) -> RedisResult<T> {
    let mut answer = std::pin::pin!(within(answer));
    loop {
        tokio::select! {
            answer = &mut answer => return answer,
            message = stream.next() => take_in(shared, message)?,
        }
    }
}

/// Tells Redis what has changed in what the node wants to hear.
async fn follow(shared: &Shared, sink: &mut PubSubSink, stream: &mut PubSubStream) -> RedisResult<()> {
    let changes = shared.topics.lock().take_changes();
    let names = |ids: &[ConversationId]| -> Vec<_> {
        let name = |id: &ConversationId| shared.channel(To::Conversation(*id));
        ids.iter().map(name).collect()
    };
    for ids in changes.unsubscribe.chunks(CHANNELS_MAX) {
        meanwhile(shared, stream, sink.unsubscribe(names(ids))).await?;
    }
    for ids in changes.subscribe.chunks(CHANNELS_MAX) {
        meanwhile(shared, stream, sink.subscribe(names(ids))).await?;
        shared.deliver(&Delivery {
            envelope: Envelope::Resumed(ids.to_vec()),
            published_at: Instant::now(),
        });
    }
    Ok(())
}

/// Hands on what a message says; an error when there are no more.
fn take_in(shared: &Shared, message: Option<Msg>) -> RedisResult<()> {
    let Some(message) = message else {
        return Err((ErrorKind::Io, "the connection was closed").into());
    };
    match codec::decode(message.get_payload_bytes()) {
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
    Ok(())
}
