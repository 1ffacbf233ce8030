//! The way into the rate limits.
//!
//! Used by `http/` for every request and by `sessions/` for every frame. The handle decides by
//! itself, in the table, on whichever thread calls: a fraction of a microsecond, without waiting.
//! Where nodes share quotas it spends what the node has leased. Only where nothing is left, it
//! waits for the actor, which calls Redis for everybody who waits in one call.
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
}

impl PendingDecision {
    /// Waits for it. Without a reply in time the counters of this node decide.
    pub async fn decide(mut self) -> QuotaDecision {
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
            CheckOutcome::Decided(decision) => QuotaCheck::Decided(decision),
            CheckOutcome::Waiting(replied) => QuotaCheck::Pending(PendingDecision {
                limits: self.clone(),
                payer,
                cost,
                replied,
                deadline: Instant::now() + self.patience(),
            }),
        })
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
