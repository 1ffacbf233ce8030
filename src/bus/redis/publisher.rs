//! Sends what waits for one server to it, as much as waits in one round trip.
//!
//! While a batch is under way the next one gathers; no timer delays anything. A batch that fails is not sent again: it may
//! have been carried out, and whoever missed it repairs it by revision. What a server of a cluster refuses because another
//! one has the slot now was not carried out: that goes to the other one, once.

use super::{CONNECTION_HELD_MIN, Connected, Letter, PATIENCE, RECONNECTS, Shard, Shared};
use crate::metrics::{BusDrop, BusRole, metrics};
use crate::supervision::{MailboxReader, jittered};
use ::redis::aio::{ConnectionLike as _, MultiplexedConnection};
use ::redis::{AsyncConnectionConfig, Client, RedisError, RedisResult, ServerError, Value, pipe};
use futures_util::StreamExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Most envelopes in one round trip.
const BATCH_MAX: usize = 512;

/// Publishes at one server for ever.
pub(super) async fn run(shared: Arc<Shared>, shard: Arc<Shard>) {
    let mut outgoing = shard.outgoing.reader().await;
    let mut reconnects = RECONNECTS;
    loop {
        match connect(&shared, &shard).await {
            Ok(connection) => {
                let (_connected, connected_at) = (Connected::new(&shard.publishes), Instant::now());
                let Err(error) = publish(&shared, &shard, &mut outgoing, connection).await else {
                    return;
                };
                tracing::warn!(%error, address = %shard.address, "the bus cannot publish; connecting again");
                if connected_at.elapsed() >= CONNECTION_HELD_MIN {
                    reconnects.reset();
                }
            }
            Err(error) => tracing::debug!(%error, address = %shard.address, "the bus cannot connect to publish"),
        }
        metrics().bus_reconnects(BusRole::Publisher);
        shared.look.notify_one();
        discard_for(&mut outgoing, jittered(reconnects.next_pause())).await;
    }
}

async fn connect(shared: &Shared, shard: &Shard) -> RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(PATIENCE))
        .set_response_timeout(Some(PATIENCE));
    Client::open(shared.servers.connection_info(&shard.address))?
        .get_multiplexed_async_connection_with_config(&config)
        .await
}

/// Publishes until that fails; `Ok` when nothing will come any more.
async fn publish(
    shared: &Shared,
    shard: &Shard,
    outgoing: &mut MailboxReader<Letter>,
    mut connection: MultiplexedConnection,
) -> RedisResult<()> {
    while let Some(first) = outgoing.next().await {
        let mut batch = vec![first];
        while batch.len() < BATCH_MAX
            && let Some(next) = outgoing.try_next()
        {
            batch.push(next);
        }
        let mut commands = pipe();
        for letter in &batch {
            commands.cmd(letter.command()).arg(&letter.channel).arg(&letter.bytes);
        }
        match connection.req_packed_commands(&commands, 0, batch.len()).await {
            Ok(answers) => take_back(shared, shard, batch, answers)?,
            Err(error) => {
                metrics().bus_dropped(BusDrop::RedisAway, batch.len());
                return Err(error);
            }
        }
    }
    Ok(())
}

/// Looks for what was refused, and sends it where it belongs; an error if there was another reason.
fn take_back(shared: &Shared, shard: &Shard, batch: Vec<Letter>, answers: Vec<Value>) -> RedisResult<()> {
    let mut problem = Ok(());
    for (letter, answer) in batch.into_iter().zip(answers) {
        let Value::ServerError(refusal) = answer else { continue };
        if !resend(shared, shard, letter, &refusal) {
            metrics().bus_dropped(BusDrop::RedisAway, 1);
        }
        let error = RedisError::from(refusal);
        if !super::is_of_another_layout(&error) {
            problem = Err(error);
        }
    }
    problem
}

/// Whether it waits for another server now.
fn resend(shared: &Shared, shard: &Shard, letter: Letter, refusal: &ServerError) -> bool {
    shared.look.notify_one();
    let error = RedisError::from(refusal.clone());
    let there = error
        .redirect_node()
        .and_then(|(text, _)| shard.address.redirected(text));
    let there = there.and_then(|address| shared.at(&address));
    match there {
        Some(there) if !letter.redirected => {
            let letter = Letter {
                redirected: true,
                ..letter
            };
            there.outgoing.sender().try_send(letter).is_ok()
        }
        _ => false,
    }
}

/// What waits while Redis is away would be old when it is back.
async fn discard_for(outgoing: &mut MailboxReader<Letter>, pause: Duration) {
    tokio::time::sleep(pause).await;
    let mut count = 0;
    while outgoing.try_next().is_some() {
        count += 1;
    }
    metrics().bus_dropped(BusDrop::RedisAway, count);
}
