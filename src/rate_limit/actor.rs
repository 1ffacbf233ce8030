//! The actor of the rate limits. It does what no request should have to do.
//!
//! It owns the conversation with Redis. It requests slices of quotas for all who wait, in one call.
//! It returns what was not spent when a lease ends. While Redis fails it lets everybody count
//! alone, and as soon as Redis replies again, it syncs what was admitted meanwhile. It also looks
//! after the table: it removes who is idle, a shard every [`TICK`], and it warns when the table is
//! so full that subjects share budgets.
//!
//! Counting itself is done by the handle, directly in the table, on whichever thread calls. A
//! message to an actor costs microseconds and its turn in a mailbox, a count under the lock of a
//! shard a tenth of one, and a socket checks every frame.
//!
//! Bounds: 10,000 demands wait (then the caller counts alone). [`BATCH`] are requested in one call,
//! one call at a time. [`LEASES_MAX`] leases are remembered; those beyond lapse. Up to 10,000
//! subjects wait to be synced, a batch every [`SYNC_PAUSE`], so that who waits for a lease gets it
//! in between.
//!
//! A crash loses no count: they are not in it. Requests under way are lost; who waits for them
//! counts alone after twice the deadline of Redis. Demands that wait are taken by the successor.
//! Leases it remembered lapse: what was not spent of them counts as used until it leaves the
//! window, at most a twentieth of a quota. While it is down, nodes count alone.

use super::counters::{LOCAL_ONLY, LeaseDemand, LeaseQueue, QuotaCounters};
use super::lease_client;
use super::local_quota::{LeaseGrant, LeaseRequest};
use super::table::{SubjectEntry, SubjectKey};
use super::window::{Millis, Quota};
use crate::supervision::{ArbiterPool, DeathGuard, MailboxReader, start, supervise};
use actix::prelude::*;
use futures_util::StreamExt;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// What it is called in logs and metrics.
pub(super) const ACTOR: &str = "rate_limit";
/// Between two shards that are cleaned (all of them in 16 s), and two looks for leases that have
/// ended.
const TICK: Duration = Duration::from_millis(250);
/// Requests in one call: Redis does nothing else meanwhile.
const BATCH: usize = 32;
/// Between two batches of unsynced usage.
const SYNC_PAUSE: Duration = Duration::from_millis(10);
/// Leases whose end is waited for.
const LEASES_MAX: usize = 100_000;
/// The arbiter it runs on, if there are as many.
const ARBITER: u128 = 2;
/// The quota of a request that wants nothing.
const NO_QUOTA: Quota = Quota {
    per_minute: u32::MAX >> 1,
    per_hour: u32::MAX >> 1,
};

pub(super) struct RateLimitActor {
    counters: Arc<QuotaCounters>,
    /// Handed to the context when the actor starts.
    demands: Option<MailboxReader<LeaseDemand>>,
    /// Leases and when they end, in that order.
    leases: VecDeque<HeldLease>,
    /// The shard to clean next.
    shard: usize,
    /// Whether the next batch of unsynced usage is due soon.
    is_syncing: bool,
    _guard: DeathGuard,
}

/// A lease whose end is waited for.
struct HeldLease {
    until: Millis,
    key: SubjectKey,
}

impl RateLimitActor {
    pub(super) fn start_supervised(counters: &Arc<QuotaCounters>, arbiters: &ArbiterPool) {
        let counters = counters.clone();
        arbiters.spawn(ARBITER, async move {
            let begin = |_, guard| {
                let counters = counters.clone();
                actix::spawn(async move {
                    let demands = match &counters.leases {
                        Some(leases) => Some(leases.demands.reader().await),
                        None => None,
                    };
                    let actor = Self {
                        counters,
                        demands,
                        leases: VecDeque::new(),
                        shard: 0,
                        is_syncing: false,
                        _guard: guard,
                    };
                    start(ACTOR, None, actor);
                });
            };
            supervise(ACTOR, begin).await;
        });
    }

    fn tick(&mut self, ctx: &mut Context<Self>) {
        fail::fail_point!("rate_limit::tick");
        let (table, now) = (&self.counters.table, self.counters.now());
        table.clean(self.shard, now);
        self.shard = (self.shard + 1) % table.shards();
        let crowded = table.take_crowded();
        if crowded > 0 {
            let subjects = table.len();
            tracing::warn!(
                crowded,
                subjects,
                "too many callers to count each alone: some share a budget"
            );
        }
        self.return_ended(now, ctx);
        if !self.is_syncing {
            self.sync(ctx);
        }
    }

    /// Sends Redis some of the unsynced usage, and the rest soon after.
    fn sync(&mut self, ctx: &mut Context<Self>) {
        self.is_syncing = false;
        let now = self.counters.now();
        let Some(leases) = &self.counters.leases else {
            return;
        };
        let unsynced = leases.take_unsynced(BATCH, now);
        if unsynced.is_empty() {
            return;
        }
        self.report(unsynced, now, ctx);
        self.is_syncing = true;
        ctx.run_later(SYNC_PAUSE, Self::sync);
    }

    /// Returns what is left of leases that have ended.
    fn return_ended(&mut self, now: Millis, ctx: &mut Context<Self>) {
        let mut ended = Vec::new();
        while ended.len() < BATCH
            && let Some(lease) = self.leases.pop_front_if(|lease| lease.until <= now)
        {
            ended.push(lease.key);
        }
        self.report(ended, now, ctx);
    }

    /// Sends what there is to sync and to return of these subjects, and wants nothing.
    fn report(&self, keys: Vec<SubjectKey>, now: Millis, ctx: &mut Context<Self>) {
        let request = |key| {
            let make = |entry: &mut SubjectEntry| entry.local.request(0, NO_QUOTA, now);
            let request = self.counters.table.with_known(key, make)?;
            (request.returned + request.unsynced > 0).then_some((key, request))
        };
        let requests: Vec<_> = keys.into_iter().filter_map(request).collect();
        if !requests.is_empty() {
            self.call_redis(requests, ctx);
        }
    }

    /// Calls Redis, and does nothing else meanwhile: what comes next is requested together.
    fn call_redis(&self, requests: Vec<(SubjectKey, LeaseRequest)>, ctx: &mut Context<Self>) {
        let counters = self.counters.clone();
        let call = async move {
            let Some(leases) = &counters.leases else {
                return Vec::new();
            };
            let grants = match lease_client::request_leases(&leases.redis, counters.spans, &requests).await {
                Ok(grants) => grants,
                Err(error) => {
                    leases.redis_failed(counters.now());
                    tracing::debug!(%error, "quotas are counted by this node alone");
                    Vec::new()
                }
            };
            apply(&counters, leases, requests, grants)
        };
        ctx.wait(call.into_actor(self).map(|leases, actor, _| {
            let room = LEASES_MAX.saturating_sub(actor.leases.len());
            actor.leases.extend(leases.into_iter().take(room));
        }));
    }
}

/// Applies the grants of requests, which are in the same order, and notifies who waits. The leases
/// that were granted.
fn apply(
    counters: &QuotaCounters,
    leases: &LeaseQueue,
    requests: Vec<(SubjectKey, LeaseRequest)>,
    grants: Vec<Option<LeaseGrant>>,
) -> Vec<HeldLease> {
    let grants = grants.into_iter().chain(std::iter::repeat(None));
    let (mut held, mut unsynced) = (Vec::new(), Vec::new());
    for ((key, request), grant) in requests.into_iter().zip(grants) {
        let now = counters.now();
        let until = counters.table.with_known(key, |entry| {
            match grant {
                Some(grant) => entry.local.apply_grant(&request, grant, now, counters.spans),
                None => entry.local.request_failed(&request, now + LOCAL_ONLY),
            }
            if let Some(replied) = entry.replied.take() {
                replied.notify_waiters();
            }
            entry.local.lease_until()
        });
        if grant.is_none() && request.unsynced > 0 {
            unsynced.push(key);
        }
        if grant.is_some_and(|grant| grant.granted > 0) {
            held.extend(until.map(|until| HeldLease { until, key }));
        }
    }
    if !unsynced.is_empty() {
        leases.sync_failed(unsynced, counters.now());
    }
    held
}

impl Actor for RateLimitActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(TICK, Self::tick);
        if let Some(demands) = self.demands.take() {
            ctx.add_stream(demands.ready_chunks(BATCH));
        }
    }
}

impl StreamHandler<Vec<LeaseDemand>> for RateLimitActor {
    fn handle(&mut self, demands: Vec<LeaseDemand>, ctx: &mut Self::Context) {
        fail::fail_point!("rate_limit::ask");
        let now = self.counters.now();
        let requests = demands.into_iter().filter_map(|LeaseDemand { key, quota, cost }| {
            let request = |entry: &mut SubjectEntry| entry.local.request(cost, quota, now);
            Some((key, self.counters.table.with_known(key, request)?))
        });
        let requests = requests.collect();
        self.call_redis(requests, ctx);
    }
}
