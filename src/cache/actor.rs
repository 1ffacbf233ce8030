//! The actor of the cache: writes to Redis, and listens to the other nodes.
//!
//! * Owns: the subscription to invalidations on the bus, and four loops. They write values in
//!   batches, deliver invalidations and removals until they have arrived, and check once a second
//!   that Redis is well and still the same.
//! * Used by: the handle, through queues. So no request waits for a write to Redis.
//! * Bounds: the queue of writes in `levels.rs`, what waits in `pending.rs`. Both outlive this
//!   actor.
//! * A crash loses invalidations of other nodes that were on their way. So a successor first
//!   invalidates everything that this node remembers.
//!
//! It is an actor for its place in the supervision tree.

use super::levels::Levels;
use super::pending::{BATCH_MAX, RETRY};
use super::remote::{PurgeProgress, Remote, RemoteWrite};
use crate::bus::{Delivery, Envelope, Interest, Invalidation};
use crate::supervision::{self, ArbiterPool, DeathGuard, MailboxReader, supervise};
use actix::prelude::*;
use futures_util::StreamExt as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Its name in logs and metrics.
const ACTOR: &str = "cache";
/// Between two checks of Redis.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Starts it under supervision.
pub(super) fn start(levels: &Arc<Levels>, arbiters: &ArbiterPool) {
    let levels = levels.clone();
    // Before anything can be remembered that someone else may change.
    let mut first = Some(levels.bus.subscribe(levels.node, Interest::Invalidations));
    arbiters.spawn(0, async move {
        let begin = |generation, guard| {
            let (levels, first) = (levels.clone(), first.take());
            actix::spawn(async move {
                let writes = levels.writes.reader().await;
                let envelopes = first.unwrap_or_else(|| levels.bus.subscribe(levels.node, Interest::Invalidations));
                if generation > 1 {
                    // Nobody listened between two generations.
                    levels.versions.all_changed();
                }
                let actor = CacheActor {
                    levels,
                    writes: Some(writes),
                    envelopes: Some(envelopes),
                    _guard: guard,
                };
                supervision::start(ACTOR, None, actor);
            });
        };
        supervise(ACTOR, begin).await;
    });
}

struct CacheActor {
    levels: Arc<Levels>,
    /// Taken when the actor starts, as `envelopes` is.
    writes: Option<MailboxReader<RemoteWrite>>,
    envelopes: Option<mpsc::Receiver<Delivery>>,
    _guard: DeathGuard,
}

impl Actor for CacheActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if let Some(mut envelopes) = self.envelopes.take() {
            ctx.add_stream(futures_util::stream::poll_fn(move |cx| envelopes.poll_recv(cx)));
        }
        if let (Some(remote), Some(writes)) = (&self.levels.remote, self.writes.take()) {
            ctx.spawn(write(self.levels.clone(), remote.clone(), writes).into_actor(self));
            ctx.spawn(deliver_keys(self.levels.clone(), remote.clone()).into_actor(self));
            ctx.spawn(deliver_purges(self.levels.clone(), remote.clone()).into_actor(self));
            ctx.spawn(check(remote.clone()).into_actor(self));
        }
    }
}

impl StreamHandler<Delivery> for CacheActor {
    fn handle(&mut self, delivery: Delivery, _: &mut Self::Context) {
        let Envelope::Invalidated(invalidation) = delivery.envelope else {
            return;
        };
        fail::fail_point!("cache::actor");
        match invalidation {
            Invalidation::Keys(keys) => keys.iter().for_each(|key| self.levels.invalidate_key(key)),
            Invalidation::Everything => self.levels.versions.all_changed(),
        }
    }

    fn finished(&mut self, _: &mut Self::Context) {}
}

/// Writes values as they come, many at a time when many come.
async fn write(levels: Arc<Levels>, remote: Arc<Remote>, mut writes: MailboxReader<RemoteWrite>) {
    while let Some(first) = writes.next().await {
        let mut batch = vec![first];
        while batch.len() < BATCH_MAX
            && let Some(next) = writes.try_next()
        {
            batch.push(next);
        }
        batch.retain(|write| write.validity.holds(&levels.versions));
        remote.write(&batch).await;
    }
}

/// Delivers invalidations until none waits, then waits for some.
async fn deliver_keys(levels: Arc<Levels>, remote: Arc<Remote>) {
    loop {
        match remote.deliver_keys().await {
            // Published again now that Redis has it: another node may have read the old value there
            // in between.
            Some(Ok(keys)) => levels.publish(Invalidation::Keys(keys)),
            Some(Err(_)) => tokio::time::sleep(RETRY).await,
            None => {
                remote.idle.notify_waiters();
                remote.keys_wait.notified().await;
            }
        }
    }
}

/// Removes patterns until none waits, then waits for some. Apart from the invalidations, because
/// the two may wait for different servers.
async fn deliver_purges(levels: Arc<Levels>, remote: Arc<Remote>) {
    loop {
        match remote.deliver_purge().await {
            // Published again, as above.
            Some(PurgeProgress::ServerDone) => {
                levels.versions.all_changed();
                levels.publish(Invalidation::Everything);
            }
            Some(PurgeProgress::Unfinished) => {}
            Some(PurgeProgress::Wait(rest)) => tokio::time::sleep(rest).await,
            None => {
                remote.idle.notify_waiters();
                remote.purges_wait.notified().await;
            }
        }
    }
}

async fn check(remote: Arc<Remote>) {
    let mut ticks = tokio::time::interval(CHECK_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        remote.check_servers().await;
    }
}
