//! The way into the rate limits.
//!
//! Used by `http/` for every request and by `sessions/` for every frame. The handle decides by
//! itself, in the table, on whichever thread calls: a fraction of a microsecond, without waiting.
//! Where nodes share quotas it spends what the node has leased. Only where nothing is left, it
//! waits for the actor, which calls Redis for everybody who waits in one call.
//!
//! A user pays twice: from their own quota, and from that of their tenant. The first is asked first.
//!
//! A check never fails. When Redis is away, late or behind a full queue, this node counts alone.

use super::actor::{ACTOR, RateLimitActor};
use super::counters::{CheckOutcome, QuotaCounters};
use super::payer::Payer;
use super::window::QuotaDecision;
use crate::config::LimitsConfig;
use crate::metrics::Depth;
use crate::redis::Redis;
use crate::supervision::ArbiterPool;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::futures::OwnedNotified;

/// The limits of this node. Cheap to clone.
#[derive(Clone)]
pub struct RateLimitHandle {
    counters: Arc<QuotaCounters>,
    is_enabled: bool,
}

impl fmt::Debug for RateLimitHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimitHandle").finish_non_exhaustive()
    }
}

/// A decision, or the promise of one.
#[derive(Debug)]
pub enum QuotaCheck {
    /// Known at once, which is the rule.
    Decided(QuotaDecision),
    /// Redis is called. It takes about a round trip, and never longer than twice the deadline of
    /// Redis.
    Pending(PendingDecision),
}

/// A decision that waits for Redis.
#[derive(Debug)]
pub struct PendingDecision {
    limits: RateLimitHandle,
    payer: Payer,
    cost: u32,
    replied: OwnedNotified,
    deadline: Instant,
    /// What the caller's own quota has said already, where it is the tenant's that is waited for.
    own: Option<QuotaDecision>,
}

impl PendingDecision {
    /// Waits for it. Without a reply in time the counters of this node decide.
    pub async fn decide(self) -> QuotaDecision {
        let (limits, payer, cost, own) = (self.limits.clone(), self.payer, self.cost, self.own);
        let decision = self.wait().await;
        let own = match own {
            Some(own) => return join(own, decision),
            None => decision,
        };
        match limits.check_tenant(payer, cost, own) {
            QuotaCheck::Decided(decision) => decision,
            QuotaCheck::Pending(pending) => join(own, pending.wait().await),
        }
    }

    async fn wait(mut self) -> QuotaDecision {
        let counters = &self.limits.counters;
        loop {
            let is_late = tokio::time::timeout_at(self.deadline.into(), self.replied)
                .await
                .is_err();
            if is_late {
                // The lateness of one subject says nothing about the others: only an error of Redis
                // does.
                return counters.decide_late(self.payer, self.cost);
            }
            match counters.check(self.payer, self.cost) {
                CheckOutcome::Decided(decision) => return decision,
                // Others were quicker with what was granted.
                CheckOutcome::Waiting(replied) => self.replied = replied,
            }
        }
    }
}

impl RateLimitHandle {
    /// Starts the actor, unless limits are off. With Redis, quotas hold over all nodes that share
    /// it; the duration is its deadline.
    #[must_use]
    pub fn start(config: &LimitsConfig, redis: Option<(Redis, Duration)>, arbiters: &ArbiterPool) -> Self {
        let counters = Arc::new(QuotaCounters::new(config, redis));
        if config.enabled {
            RateLimitActor::start_supervised(&counters, arbiters);
        }
        Self {
            counters,
            is_enabled: config.enabled,
        }
    }

    /// Whether anything is counted.
    #[must_use]
    pub const fn is_enabled(&self) -> bool {
        self.is_enabled
    }

    /// What waits for the actor.
    #[must_use]
    pub fn depth(&self) -> Depth {
        let demands = self.counters.leases.as_ref().map(|leases| leases.demands.sender());
        let total = demands.map_or(0, |demands| demands.max_capacity() - demands.capacity());
        Depth {
            actor: ACTOR,
            total,
            deepest: total,
        }
    }

    /// Counts requests of one caller, all or none of them, and waits for Redis where that has to
    /// be. `None` when limits are off.
    pub async fn check(&self, payer: Payer, cost: u32) -> Option<QuotaDecision> {
        match self.try_check(payer, cost)? {
            QuotaCheck::Decided(decision) => Some(decision),
            QuotaCheck::Pending(pending) => Some(pending.decide().await),
        }
    }

    /// As [`Self::check`], for those who cannot wait here.
    #[must_use]
    pub fn try_check(&self, payer: Payer, cost: u32) -> Option<QuotaCheck> {
        if !self.is_enabled {
            return None;
        }
        Some(match self.counters.check(payer, cost) {
            CheckOutcome::Decided(own) => self.check_tenant(payer, cost, own),
            CheckOutcome::Waiting(replied) => QuotaCheck::Pending(self.pending(payer, cost, replied, None)),
        })
    }

    /// Counts for the tenant of a caller what their own quota has admitted. What the tenant refuses
    /// stays counted for the caller.
    fn check_tenant(&self, payer: Payer, cost: u32, own: QuotaDecision) -> QuotaCheck {
        let Some(tenant) = payer.tenant().filter(|_| own.is_admitted()) else {
            return QuotaCheck::Decided(own);
        };
        match self.counters.check(tenant, cost) {
            CheckOutcome::Decided(of_tenant) => QuotaCheck::Decided(join(own, of_tenant)),
            CheckOutcome::Waiting(replied) => QuotaCheck::Pending(self.pending(tenant, cost, replied, Some(own))),
        }
    }

    fn pending(&self, payer: Payer, cost: u32, replied: OwnedNotified, own: Option<QuotaDecision>) -> PendingDecision {
        PendingDecision {
            limits: self.clone(),
            payer,
            cost,
            replied,
            deadline: Instant::now() + self.patience(),
            own,
        }
    }

    /// The refusal that a request of one caller would get, as far as this node knows: counts
    /// nothing and calls nobody.
    #[must_use]
    pub fn peek(&self, payer: Payer) -> Option<QuotaDecision> {
        self.counters.peek(payer)
    }

    fn patience(&self) -> Duration {
        self.counters
            .leases
            .as_ref()
            .map_or(Duration::ZERO, |leases| leases.patience)
    }
}

/// What a caller is told: what is left of their own quota, unless the tenant's has nothing left.
const fn join(own: QuotaDecision, of_tenant: QuotaDecision) -> QuotaDecision {
    if of_tenant.is_admitted() { own } else { of_tenant }
}
