//! The supervisor of the cache: invalidations from other nodes, and everything that Redis is told.
//!
//! Requests only look things up; what must be told to Redis (values, tombstones, removals) is done here, so that nobody
//! waits for it. It hears the bus, writes values in batches, delivers invalidations until they have arrived, and looks
//! once a second whether Redis is well and still the same.
//!
//! Bounds: [`PUTS_MAX`] values wait to be written; further ones are not, and will be loaded again. Invalidations wait
//! in `pending.rs`, which outlives this actor. A crash loses what was on its way from other nodes: so the successor begins
//! by forgetting everything this node remembers. It is an actor for its place in the supervision tree.

use super::Shared;
use super::pending::{BATCH_MAX, RETRY};
use super::remote::{Purged, Put, Remote};
use crate::bus::{Delivery, Envelope, Interest, Invalidation};
use crate::supervision::{self, ArbiterPool, DeathGuard, MailboxReader, supervise};
use actix::prelude::*;
use futures_util::StreamExt as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// What it is called in logs and metrics.
const ACTOR: &str = "cache";
/// Values that wait to be written to Redis.
pub(super) const PUTS_MAX: usize = 1_024;
/// How often Redis is looked at.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// Starts it under supervision.
pub(super) fn start(shared: &Arc<Shared>, arbiters: &ArbiterPool) {
    let shared = shared.clone();
    // Before anything can be remembered that somebody else may change.
    let mut first = Some(shared.bus.subscribe(shared.node, Interest::Invalidations));
    arbiters.spawn(0, async move {
        let begin = |generation, guard| {
            let (shared, first) = (shared.clone(), first.take());
            actix::spawn(async move {
                let puts = shared.puts.reader().await;
                let envelopes = first.unwrap_or_else(|| shared.bus.subscribe(shared.node, Interest::Invalidations));
                if generation > 1 {
                    // What was told between two generations was heard by nobody.
                    shared.stamps.touch_all();
                }
                let supervisor = Supervisor {
                    shared,
                    puts: Some(puts),
                    envelopes: Some(envelopes),
                    _guard: guard,
                };
                supervision::start(ACTOR, None, supervisor);
            });
        };
        supervise(ACTOR, begin).await;
    });
}

struct Supervisor {
    shared: Arc<Shared>,
    puts: Option<MailboxReader<Put>>,
    envelopes: Option<mpsc::Receiver<Delivery>>,
    _guard: DeathGuard,
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if let Some(mut envelopes) = self.envelopes.take() {
            ctx.add_stream(futures_util::stream::poll_fn(move |cx| envelopes.poll_recv(cx)));
        }
        if let (Some(remote), Some(puts)) = (&self.shared.remote, self.puts.take()) {
            ctx.spawn(write(self.shared.clone(), remote.clone(), puts).into_actor(self));
            ctx.spawn(deliver_keys(self.shared.clone(), remote.clone()).into_actor(self));
            ctx.spawn(deliver_purges(self.shared.clone(), remote.clone()).into_actor(self));
            ctx.spawn(watch(remote.clone()).into_actor(self));
        }
    }
}

impl StreamHandler<Delivery> for Supervisor {
    fn handle(&mut self, delivery: Delivery, _: &mut Self::Context) {
        let Envelope::Invalidated(invalidation) = delivery.envelope else {
            return;
        };
        fail::fail_point!("cache::supervisor");
        match invalidation {
            Invalidation::Keys(keys) => keys.iter().for_each(|key| self.shared.forget(key)),
            Invalidation::Everything => self.shared.stamps.touch_all(),
        }
    }

    fn finished(&mut self, _: &mut Self::Context) {}
}

/// Writes values as they come, many at a time when many come.
async fn write(shared: Arc<Shared>, remote: Arc<Remote>, mut puts: MailboxReader<Put>) {
    while let Some(first) = puts.next().await {
        let mut batch = vec![first];
        while batch.len() < BATCH_MAX
            && let Some(next) = puts.try_next()
        {
            batch.push(next);
        }
        batch.retain(|put| put.terms.hold(&shared.stamps));
        remote.put(&batch).await;
    }
}

/// Delivers invalidations until none waits, then waits for some.
async fn deliver_keys(shared: Arc<Shared>, remote: Arc<Remote>) {
    loop {
        match remote.deliver_keys().await {
            // Said again now that it has arrived: a node that heard of it before may have read the old value since.
            Some(Ok(keys)) => shared.publish(Invalidation::Keys(keys)),
            Some(Err(_)) => tokio::time::sleep(RETRY).await,
            None => {
                remote.idle.notify_waiters();
                remote.keys_wait.notified().await;
            }
        }
    }
}

/// Removes patterns until none waits, then waits for some; beside the invalidations, for both may wait for another server.
async fn deliver_purges(shared: Arc<Shared>, remote: Arc<Remote>) {
    loop {
        match remote.deliver_purge().await {
            // Said again, as above.
            Some(Purged::Gone) => {
                shared.stamps.touch_all();
                shared.publish(Invalidation::Everything);
            }
            Some(Purged::Some) => {}
            Some(Purged::Wait(rest)) => tokio::time::sleep(rest).await,
            None => {
                remote.idle.notify_waiters();
                remote.purges_wait.notified().await;
            }
        }
    }
}

async fn watch(remote: Arc<Remote>) {
    let mut ticks = tokio::time::interval(WATCH_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        remote.watch().await;
    }
}
