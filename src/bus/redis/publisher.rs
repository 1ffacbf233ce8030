//! Sends to one server what waits for it, many in one round trip.
//!
//! While a batch is under way the next one gathers; no timer delays anything. A batch that fails is
//! not sent again: it may have been carried out, and a node that missed it repairs it by revision. A
//! publication that a server of a cluster refuses, because another one has the slot now, goes to
//! that one, once.

use super::connection::{ConnectedGuard, RECONNECTS, REPLY_TIMEOUT, is_of_another_layout, reset_if_held};
use super::servers::{BusServer, Publication};
use super::state::RedisBusState;
use crate::metrics::{BusDrop, BusRole, metrics};
use crate::redis::RedisLink;
use crate::supervision::{MailboxReader, jittered};
use futures_util::StreamExt as _;
use redis::aio::ConnectionLike as _;
use redis::{AsyncConnectionConfig, RedisError, RedisResult, ServerError, Value, pipe};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Most envelopes in one round trip.
const BATCH_MAX: usize = 512;

/// Publishes at one server for ever.
pub(super) async fn run(state: Arc<RedisBusState>, server: Arc<BusServer>) {
    let mut outgoing = server.outgoing.reader().await;
    let mut reconnects = RECONNECTS;
    loop {
        match connect(&state, &server).await {
            Ok(connection) => {
                let (_connected, connected_at) = (ConnectedGuard::new(&server.publisher_connected), Instant::now());
                let Err(error) = publish(&state, &server, &mut outgoing, connection).await else {
                    return;
                };
                tracing::warn!(%error, address = %server.address, "the bus cannot publish; connecting again");
                reset_if_held(&mut reconnects, connected_at);
            }
            Err(error) => tracing::debug!(%error, address = %server.address, "the bus cannot connect to publish"),
        }
        metrics().bus_reconnects(BusRole::Publisher);
        state.refresh.notify_one();
        discard_for(&mut outgoing, jittered(reconnects.next_pause())).await;
    }
}

async fn connect(state: &RedisBusState, server: &BusServer) -> RedisResult<RedisLink> {
    let config = AsyncConnectionConfig::new().set_response_timeout(Some(REPLY_TIMEOUT));
    let endpoint = state.servers.endpoint(&server.address);
    endpoint.open(config, REPLY_TIMEOUT).await
}

/// Publishes until that fails. `Ok` when nothing can come any more.
async fn publish(
    state: &RedisBusState,
    server: &BusServer,
    outgoing: &mut MailboxReader<Publication>,
    mut connection: RedisLink,
) -> RedisResult<()> {
    while let Some(first) = outgoing.next().await {
        let mut batch = vec![first];
        while batch.len() < BATCH_MAX
            && let Some(next) = outgoing.try_next()
        {
            batch.push(next);
        }
        let mut commands = pipe();
        for publication in &batch {
            commands
                .cmd(publication.command())
                .arg(&publication.channel)
                .arg(&publication.bytes);
        }
        match connection.req_packed_commands(&commands, 0, batch.len()).await {
            Ok(replies) => resend_refused(state, server, batch, replies)?,
            Err(error) => {
                metrics().bus_dropped(BusDrop::RedisAway, batch.len());
                return Err(error);
            }
        }
    }
    Ok(())
}

/// Resends what was refused to the server that has the slot. An error if there was another reason.
fn resend_refused(
    state: &RedisBusState,
    server: &BusServer,
    batch: Vec<Publication>,
    replies: Vec<Value>,
) -> RedisResult<()> {
    let mut problem = Ok(());
    for (publication, reply) in batch.into_iter().zip(replies) {
        let Value::ServerError(refusal) = reply else { continue };
        if !resend(state, server, publication, &refusal) {
            metrics().bus_dropped(BusDrop::RedisAway, 1);
        }
        let error = RedisError::from(refusal);
        if !is_of_another_layout(&error) {
            problem = Err(error);
        }
    }
    problem
}

/// Queues a publication at the server that has the slot. False if that is not possible.
fn resend(state: &RedisBusState, server: &BusServer, publication: Publication, refusal: &ServerError) -> bool {
    state.refresh.notify_one();
    let error = RedisError::from(refusal.clone());
    let target = error
        .redirect_node()
        .and_then(|(text, _)| server.address.redirected(text));
    let target = target.and_then(|address| state.at(&address));
    match target {
        Some(target) if !publication.is_redirected => {
            let publication = Publication {
                is_redirected: true,
                ..publication
            };
            target.outgoing.sender().try_send(publication).is_ok()
        }
        _ => false,
    }
}

/// Drops what waits while Redis is away: it would be too old.
async fn discard_for(outgoing: &mut MailboxReader<Publication>, pause: Duration) {
    tokio::time::sleep(pause).await;
    let mut count = 0;
    while outgoing.try_next().is_some() {
        count += 1;
    }
    metrics().bus_dropped(BusDrop::RedisAway, count);
}
