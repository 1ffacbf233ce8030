//! Sends what waits to Redis, as much as waits in one round trip.
//!
//! While a batch is under way the next one gathers; no timer delays anything. A batch that fails is not sent again: it may
//! have been carried out, and whoever missed it repairs it by revision.

use super::{Connected, Letter, PATIENCE, RECONNECTS, Shared, pause};
use crate::metrics::metrics;
use crate::supervision::{DeathGuard, Reader, RestartBudget};
use ::redis::aio::MultiplexedConnection;
use ::redis::{AsyncConnectionConfig, RedisError, pipe};
use futures_util::StreamExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Most envelopes in one round trip.
const BATCH_MAX: usize = 512;

/// Publishes for ever; `guard` tells when it does no longer.
pub(super) async fn run(shared: Arc<Shared>, guard: DeathGuard) {
    let (_guard, mut outgoing) = (guard, shared.outgoing.reader().await);
    let mut reconnects = RestartBudget::new(RECONNECTS);
    loop {
        match connect(&shared).await {
            Ok(connection) => {
                let _connected = Connected::new(&shared.publishes);
                let Err(error) = publish(&mut outgoing, connection).await else {
                    return;
                };
                tracing::warn!(%error, "the bus cannot publish; connecting again");
            }
            Err(error) => tracing::debug!(%error, "the bus cannot connect to publish"),
        }
        discard_for(&mut outgoing, pause(&mut reconnects, Instant::now())).await;
    }
}

async fn connect(shared: &Shared) -> Result<MultiplexedConnection, RedisError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(PATIENCE))
        .set_response_timeout(Some(PATIENCE));
    shared
        .client
        .get_multiplexed_async_connection_with_config(&config)
        .await
}

/// Publishes until that fails; `Ok` when nothing will come any more.
async fn publish(outgoing: &mut Reader<Letter>, mut connection: MultiplexedConnection) -> Result<(), RedisError> {
    while let Some(first) = outgoing.next().await {
        let mut batch = pipe();
        let mut next = Some(first);
        let mut count = 0;
        while let Some(letter) = next {
            batch.cmd("PUBLISH").arg(letter.channel).arg(letter.bytes).ignore();
            count += 1;
            next = if count < BATCH_MAX { outgoing.try_next() } else { None };
        }
        let sent: Result<(), RedisError> = batch.query_async(&mut connection).await;
        if let Err(error) = sent {
            (0..count).for_each(|_| metrics().bus_dropped());
            return Err(error);
        }
    }
    Ok(())
}

/// What waits while Redis is away would be old when it is back.
async fn discard_for(outgoing: &mut Reader<Letter>, pause: Duration) {
    tokio::time::sleep(pause).await;
    while outgoing.try_next().is_some() {
        metrics().bus_dropped();
    }
}
