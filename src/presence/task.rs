//! The task of presence: it takes in what other nodes publish, sends heartbeats and lets time pass.
//!
//! It has its own subscription of the bus, whose queue is bounded there (10,000; further envelopes
//! are dropped and counted). A crash loses what was in the queue; the versions in the next
//! heartbeats show it, and snapshots repair it.
//!
//! A process that was stopped for a while (a debugger, a machine that moved) has received nothing
//! meanwhile, and that was no other node's fault. So when a tick comes late, the others get time to
//! send something before they count as silent.

use super::exchange::PresenceExchange;
use crate::bus::Envelope;
use crate::metrics::metrics;
use crate::supervision::{ArbiterPool, supervise_task};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::{Interval, MissedTickBehavior, interval};

/// What the task is called in logs and metrics.
const TASK: &str = "presence";
/// How often a node says that it lives.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(3);
/// How often users whose grace has ended and silent nodes are looked for.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(1);
/// A tick that comes this long after the one before finds that the process was asleep.
const SLEEP_MIN: Duration = Duration::from_secs(4);

/// Starts the task under supervision.
pub(super) fn start(exchange: &Arc<PresenceExchange>, arbiters: &ArbiterPool) {
    let exchange = exchange.clone();
    arbiters.spawn(1, async move {
        let exchange = &exchange;
        supervise_task(TASK, |_| run(exchange)).await;
    });
}

async fn run(exchange: &PresenceExchange) {
    // Before the first heartbeat, which others reply to.
    let mut envelopes = exchange.subscribe();
    let (mut heartbeats, mut ticks) = (every(HEARTBEAT_INTERVAL), every(EXPIRY_INTERVAL));
    let mut ticked_at = Instant::now();
    loop {
        tokio::select! {
            Some(delivery) = envelopes.recv() => {
                metrics().bus_lagged(delivery.published_at.elapsed());
                if let Envelope::Presence(message) = delivery.envelope {
                    exchange.handle(message, Instant::now());
                }
            }
            _ = heartbeats.tick() => exchange.publish_heartbeat(),
            _ = ticks.tick() => {
                fail::fail_point!("presence::tick");
                let now = Instant::now();
                if now.duration_since(std::mem::replace(&mut ticked_at, now)) >= SLEEP_MIN {
                    tracing::warn!("the process was asleep; the silence of other nodes meanwhile does not count");
                    exchange.forgive_silence(now);
                }
                exchange.expire(now);
            }
        }
    }
}

/// Begins now. After a delay it goes on from there and makes up for nothing.
fn every(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
