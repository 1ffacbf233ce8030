//! The quotas and counters of this node, and the queue of lease requests. Shared by the handle and
//! the actor.
//!
//! Bounds: those of the table; [`LEASE_DEMANDS_MAX`] demands for leases wait for the actor, and
//! a caller who comes then is counted by this node alone; [`UNSYNCED_MAX`] subjects are noted to be
//! synced.

use super::local_quota::LeaseState;
use super::payer::Payer;
use super::table::{self, EntryKind, SubjectEntry, SubjectKey, SubjectTable};
use super::window::{Millis, Quota, QuotaDecision, Spans};
use crate::config::{LimitsConfig, QuotaConfig};
use crate::ids::{Plan, Tier};
use crate::metrics::metrics;
use crate::redis::Redis;
use crate::supervision::Mailbox;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::futures::OwnedNotified;

/// Demands for leases that wait for the actor.
const LEASE_DEMANDS_MAX: usize = 10_000;
/// Subjects whose usage is synced as soon as Redis is back. Usage of further ones is synced with
/// their next request.
const UNSYNCED_MAX: usize = 10_000;
/// For how long Redis is not called after it has failed; for one subject, after a request without a
/// reply.
pub(super) const LOCAL_ONLY: Millis = 250;

/// The counters of all subjects, and what is needed to count.
pub(super) struct QuotaCounters {
    pub(super) table: SubjectTable,
    pub(super) spans: Spans,
    /// `None` where nodes do not share quotas.
    pub(super) leases: Option<LeaseQueue>,
    anonymous: Quota,
    regular: Quota,
    premium: Quota,
    expensive: Quota,
    tenant_regular: Quota,
    tenant_premium: Quota,
    started: Instant,
}

/// The way to the counters that all nodes share.
pub(super) struct LeaseQueue {
    pub(super) redis: Redis,
    /// Taken by the actor.
    pub(super) demands: Mailbox<LeaseDemand>,
    /// How long a reply is waited for.
    pub(super) patience: Duration,
    /// Until when Redis is not called, because it has just failed.
    local_only_until: AtomicU64,
    /// Until when nothing is synced, because some usage could not be.
    sync_paused_until: AtomicU64,
    /// Subjects with unsynced usage. Locked for one push or a few pops, also under a shard's lock.
    unsynced: Mutex<VecDeque<SubjectKey>>,
}

/// Someone needs a part of a subject's quota.
#[derive(Clone, Copy, Debug)]
pub(super) struct LeaseDemand {
    pub(super) key: SubjectKey,
    pub(super) quota: Quota,
    pub(super) cost: u32,
}

/// What comes of a check.
pub(super) enum CheckOutcome {
    Decided(QuotaDecision),
    /// Redis is called; this resolves when the reply has come.
    Waiting(OwnedNotified),
}

impl QuotaCounters {
    /// With Redis, quotas hold over all nodes that share it; the duration is its deadline.
    pub(super) fn new(config: &LimitsConfig, redis: Option<(Redis, Duration)>) -> Self {
        let spans = Spans {
            minute: millis(config.minute),
            hour: millis(config.hour),
        };
        let leases = redis.map(|(redis, deadline)| LeaseQueue {
            redis,
            demands: Mailbox::new(LEASE_DEMANDS_MAX),
            patience: 2 * deadline,
            local_only_until: AtomicU64::new(0),
            sync_paused_until: AtomicU64::new(0),
            unsynced: Mutex::default(),
        });
        Self {
            table: SubjectTable::new(table::SUBJECTS_MAX, spans),
            spans,
            leases,
            anonymous: quota(config.anonymous),
            regular: quota(config.regular),
            premium: quota(config.premium),
            expensive: quota(QuotaConfig {
                per_minute: config.expensive_per_minute,
                // No bound of its own.
                per_hour: config.expensive_per_minute * 60,
            }),
            tenant_regular: quota(config.tenant_regular),
            tenant_premium: quota(config.tenant_premium),
            started: Instant::now(),
        }
    }

    pub(super) fn now(&self) -> Millis {
        millis(self.started.elapsed())
    }

    /// Counts `cost` requests, all or none of them, or puts a demand for a lease into the queue.
    pub(super) fn check(&self, payer: Payer, cost: u32) -> CheckOutcome {
        let now = self.now();
        let demand = LeaseDemand {
            key: payer.key(),
            quota: self.quota(payer),
            cost,
        };
        self.table.with(demand.key, now, |entry, kind| {
            let Some(leases) = &self.leases else {
                return CheckOutcome::Decided(entry.window.check(cost, now, demand.quota, self.spans));
            };
            if kind == EntryKind::Overflow || entry.local.is_local_only(now) || leases.is_local_only(now) {
                return CheckOutcome::Decided(self.count_alone(entry, demand, now));
            }
            match entry.local.state(cost, now) {
                LeaseState::Held => {
                    let decision = self.count_leased(entry, demand, now);
                    if decision.is_admitted() && entry.local.is_low(now, self.spans) {
                        // If there is no room for the demand, the next who needs a lease makes one.
                        leases.demand(demand, entry, now);
                    }
                    CheckOutcome::Decided(decision)
                }
                LeaseState::Refused(retry_after_ms) => {
                    CheckOutcome::Decided(entry.local.refusal(retry_after_ms, demand.quota, now))
                }
                LeaseState::Unknown if leases.demand(demand, entry, now) => {
                    entry.local.add_waiting(cost);
                    CheckOutcome::Waiting(entry.replied.get_or_insert_default().clone().notified_owned())
                }
                LeaseState::Unknown => CheckOutcome::Decided(self.count_alone(entry, demand, now)),
            }
        })
    }

    /// The refusal that one request would get, as far as this node knows. Counts nothing and calls
    /// nobody.
    pub(super) fn peek(&self, payer: Payer) -> Option<QuotaDecision> {
        let (now, quota) = (self.now(), self.quota(payer));
        let refusal = |entry: &mut SubjectEntry| {
            let own = entry.window.refusal(now, quota, self.spans);
            own.or_else(|| {
                let wait = entry.local.refused_for(now)?;
                Some(entry.local.refusal(wait, quota, now))
            })
        };
        // Anyone who is not known has used nothing, and nothing is ever known where limits are off.
        self.table.with_known(payer.key(), refusal).flatten()
    }

    /// Decides for one who has waited for too long.
    pub(super) fn decide_late(&self, payer: Payer, cost: u32) -> QuotaDecision {
        let now = self.now();
        let demand = LeaseDemand {
            key: payer.key(),
            quota: self.quota(payer),
            cost,
        };
        let patience = self.leases.as_ref().map_or(0, |leases| millis(leases.patience));
        self.table.with(demand.key, now, |entry, _| {
            entry.local.timed_out(now, patience, LOCAL_ONLY);
            self.count_alone(entry, demand, now)
        })
    }

    /// Counts what a lease has room for. The window of this node decides in the end: after an outage
    /// it knows more.
    fn count_leased(&self, entry: &mut SubjectEntry, demand: LeaseDemand, now: Millis) -> QuotaDecision {
        let own = entry.window.check(demand.cost, now, demand.quota, self.spans);
        if !own.is_admitted() {
            return own;
        }
        entry.local.spend(demand.cost, now);
        entry.local.correct(own, demand.quota, now)
    }

    /// Counts without the other nodes. The usage is synced when Redis can be called again.
    fn count_alone(&self, entry: &mut SubjectEntry, demand: LeaseDemand, now: Millis) -> QuotaDecision {
        metrics().rate_limit_fell_back();
        let own = entry.window.check(demand.cost, now, demand.quota, self.spans);
        if own.is_admitted()
            && entry.local.add_unsynced(demand.cost, demand.quota)
            && let Some(leases) = &self.leases
        {
            leases.note_unsynced([demand.key]);
        }
        own
    }

    fn quota(&self, payer: Payer) -> Quota {
        match (payer.key(), payer.tier()) {
            (SubjectKey::UserExpensive(_) | SubjectKey::NetworkExpensive(_), _) => self.expensive,
            (SubjectKey::Tenant(_), _) => match payer.plan() {
                Plan::Regular => self.tenant_regular,
                Plan::Premium => self.tenant_premium,
            },
            (_, Tier::Anonymous) => self.anonymous,
            (_, Tier::Regular) => self.regular,
            (_, Tier::Premium) => self.premium,
        }
    }
}

impl LeaseQueue {
    /// Puts a demand into the queue, unless a request is under way. False when the queue is full.
    fn demand(&self, demand: LeaseDemand, entry: &mut SubjectEntry, now: Millis) -> bool {
        if !entry.local.begin_request(now, millis(self.patience)) {
            return true;
        }
        let is_sent = self.demands.sender().try_send(demand).is_ok();
        if !is_sent {
            entry.local.cancel_request();
        }
        is_sent
    }

    fn is_local_only(&self, now: Millis) -> bool {
        now < self.local_only_until.load(Ordering::Relaxed)
    }

    /// Redis has failed: nobody calls it for a while.
    pub(super) fn redis_failed(&self, now: Millis) {
        self.local_only_until.store(now + LOCAL_ONLY, Ordering::Relaxed);
    }

    /// Notes whose usage has to be synced, as far as there is room.
    fn note_unsynced(&self, keys: impl IntoIterator<Item = SubjectKey>) {
        let mut unsynced = self.unsynced.lock();
        let room = UNSYNCED_MAX.saturating_sub(unsynced.len());
        unsynced.extend(keys.into_iter().take(room));
    }

    /// Notes again whose usage Redis, or a part of it, could not be sent. Nothing is synced for a
    /// while.
    pub(super) fn sync_failed(&self, keys: Vec<SubjectKey>, now: Millis) {
        self.sync_paused_until.store(now + LOCAL_ONLY, Ordering::Relaxed);
        self.note_unsynced(keys);
    }

    /// Takes some of those whose usage has to be synced. Nobody while Redis is not called.
    pub(super) fn take_unsynced(&self, most: usize, now: Millis) -> Vec<SubjectKey> {
        if self.is_local_only(now) || now < self.sync_paused_until.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let mut unsynced = self.unsynced.lock();
        let count = unsynced.len().min(most);
        unsynced.drain(..count).collect()
    }
}

fn millis(duration: Duration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX)
}

fn quota(config: QuotaConfig) -> Quota {
    Quota {
        per_minute: u32::try_from(config.per_minute).unwrap_or(u32::MAX),
        per_hour: u32::try_from(config.per_hour).unwrap_or(u32::MAX),
    }
}
