//! Rate limits: how much of the server anybody may use.
//!
//! | file | what |
//! |---|---|
//! | `window.rs` | two sliding windows of one subject; pure |
//! | `lease.rs` | the slices of a quota that this node holds, each with when it ends and where it is given back; pure |
//! | `share.rs` | what this node holds of a quota that nodes share; pure |
//! | `table.rs` | what is known of all subjects, in shards |
//! | `supervisor.rs` | the actor that asks Redis and looks after the table |
//! | `lender.rs`, `lease.lua` | how Redis is asked, and how it counts |
//!
//! A subject is a user, over all of their connections and credentials, or the network of a client that shows none. What
//! they may use follows from their tier, which is asked anew with every request, so a changed tier counts as soon as
//! authentication knows of it.
//!
//! The handle decides by itself, in the table, from whichever thread asks: a fraction of a microsecond, without waiting.
//! Where nodes share quotas it spends what the node has leased, and only where nothing is left it waits for the supervisor,
//! which asks Redis for everybody who waits in one call.
//!
//! Bounds: 65,536 users and as many networks, then newcomers share budgets (`table.rs`); [`ASKS_MAX`] questions, then this
//! node counts alone, as it does while Redis is away: each node then gives at most the quota, never more, and never
//! nothing. [`DEBTORS_MAX`] are remembered who were counted so.

mod lease;
mod lender;
mod share;
mod supervisor;
mod table;
mod window;

pub use window::{Decision, Millis, Quota, Spans};

use crate::config::{LimitsConfig, QuotaConfig};
use crate::ids::{Tier, UserId};
use crate::metrics::{Depth, metrics};
use crate::redis::Redis;
use crate::supervision::{ArbiterPool, Mailbox};
use parking_lot::Mutex;
use share::Standing;
use std::collections::VecDeque;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use supervisor::Supervisor;
use table::{Entry, Key, Place, Table};
use tokio::sync::futures::OwnedNotified;

/// Questions to Redis that wait.
const ASKS_MAX: usize = 10_000;
/// Subjects of which Redis is told, when it is back, what they used meanwhile; of those beyond, with their next question.
const DEBTORS_MAX: usize = 10_000;
/// For how long Redis is left alone after it has failed; about one subject, after a question that was not heard.
const ALONE: Millis = 250;

/// Whose budget a request is taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payer {
    key: Key,
    tier: Tier,
}

impl Payer {
    /// A user.
    #[must_use]
    pub const fn user(id: UserId, tier: Tier) -> Self {
        Self {
            key: Key::User(id),
            tier,
        }
    }

    /// Whoever is at this address without valid credentials: anonymous.
    #[must_use]
    pub fn address(address: IpAddr) -> Self {
        Self {
            key: Key::Network(address.into()),
            tier: Tier::Anonymous,
        }
    }

    /// The same caller's budget for what costs much, which is taken from besides.
    #[must_use]
    pub const fn expensive(self) -> Self {
        let key = match self.key {
            Key::User(id) | Key::UserExpensive(id) => Key::UserExpensive(id),
            Key::Network(network) | Key::NetworkExpensive(network) => Key::NetworkExpensive(network),
        };
        Self { key, ..self }
    }

    /// The tier of the quota.
    #[must_use]
    pub const fn tier(&self) -> Tier {
        self.tier
    }
}

/// An answer, or the promise of one.
#[derive(Debug)]
pub enum Verdict {
    /// Known at once, which is the rule.
    Decided(Decision),
    /// Redis is asked; it takes about as long as a round trip, and never longer than twice its deadline.
    Pending(Pending),
}

/// A decision that waits for Redis.
#[derive(Debug)]
pub struct Pending {
    limits: RateLimits,
    payer: Payer,
    cost: u32,
    answered: OwnedNotified,
    deadline: Instant,
}

impl Pending {
    /// Waits for it. Without an answer in time the counters of this node decide.
    pub async fn decide(mut self) -> Decision {
        loop {
            let is_late = tokio::time::timeout_at(self.deadline.into(), self.answered)
                .await
                .is_err();
            let shared = &self.limits.shared;
            if is_late {
                // One subject's lateness says nothing about the others: only an error of Redis does.
                return shared.decide_late(self.payer, self.cost);
            }
            match self.limits.ask(self.payer, self.cost) {
                Verdict::Decided(decision) => return decision,
                // Others were quicker with what was granted.
                Verdict::Pending(again) => self.answered = again.answered,
            }
        }
    }
}

/// The limits of this node. Cheap to clone.
#[derive(Clone)]
pub struct RateLimits {
    shared: Arc<Shared>,
}

impl fmt::Debug for RateLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimits").finish_non_exhaustive()
    }
}

/// What the handle and the supervisor share.
struct Shared {
    enabled: bool,
    table: Table,
    anonymous: Quota,
    regular: Quota,
    premium: Quota,
    expensive: Quota,
    spans: Spans,
    started: Instant,
    /// The way to the other nodes' counters, where there is one.
    lending: Option<Lending>,
}

/// The way to the counters that all nodes share.
struct Lending {
    redis: Redis,
    asks: Mailbox<Ask>,
    /// Until when Redis is not asked, because it has just failed.
    alone_until: AtomicU64,
    /// Until when nobody is told, because some could not be.
    told_in_vain_until: AtomicU64,
    /// Who was counted alone, and has to be told of. Locked for one push or a few pops, also under a shard's lock.
    debtors: Mutex<VecDeque<Key>>,
    /// How long a question is waited for.
    patience: Duration,
}

/// Somebody needs a part of a subject's quota.
#[derive(Clone, Copy, Debug)]
struct Ask {
    key: Key,
    quota: Quota,
    cost: u32,
}

impl RateLimits {
    /// Starts the supervisor, unless limits are off. With Redis, quotas hold over all nodes that share it; `patience` is
    /// its deadline.
    #[must_use]
    pub fn start(config: &LimitsConfig, redis: Option<(Redis, Duration)>, arbiters: &ArbiterPool) -> Self {
        let spans = Spans {
            minute: millis(config.minute),
            hour: millis(config.hour),
        };
        let lending = redis.map(|(redis, deadline)| Lending {
            redis,
            asks: Mailbox::new(ASKS_MAX),
            alone_until: AtomicU64::new(0),
            told_in_vain_until: AtomicU64::new(0),
            debtors: Mutex::default(),
            patience: 2 * deadline,
        });
        let shared = Arc::new(Shared {
            enabled: config.enabled,
            table: Table::new(table::SUBJECTS_MAX, spans),
            anonymous: quota(config.anonymous),
            regular: quota(config.regular),
            premium: quota(config.premium),
            expensive: quota(QuotaConfig {
                per_minute: config.expensive_per_minute,
                // No bound of its own.
                per_hour: config.expensive_per_minute * 60,
            }),
            spans,
            started: Instant::now(),
            lending,
        });
        if config.enabled {
            Supervisor::start_supervised(&shared, arbiters);
        }
        Self { shared }
    }

    /// Whether anything is counted.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.shared.enabled
    }

    /// What waits for the supervisor.
    #[must_use]
    pub fn depth(&self) -> Depth {
        let asks = self.shared.lending.as_ref().map(|lending| lending.asks.sender());
        let total = asks.map_or(0, |asks| asks.max_capacity() - asks.capacity());
        Depth {
            actor: supervisor::ACTOR,
            total,
            deepest: total,
        }
    }

    /// Counts requests of one caller, all or none of them, and waits for Redis where that has to be. `None` when limits
    /// are off.
    pub async fn check(&self, payer: Payer, cost: u32) -> Option<Decision> {
        match self.try_check(payer, cost)? {
            Verdict::Decided(decision) => Some(decision),
            Verdict::Pending(pending) => Some(pending.decide().await),
        }
    }

    /// As [`Self::check`], for those who cannot wait here.
    #[must_use]
    pub fn try_check(&self, payer: Payer, cost: u32) -> Option<Verdict> {
        self.shared.enabled.then(|| self.ask(payer, cost))
    }

    /// The refusal that a request of one caller would get, as far as this node knows: counts nothing and asks nobody.
    #[must_use]
    pub fn foresee(&self, payer: Payer) -> Option<Decision> {
        let shared = &self.shared;
        let (now, quota) = (shared.now(), shared.quota(payer));
        let refusal = |entry: &mut Entry| {
            let own = entry.window.refusal(now, quota, shared.spans);
            own.or_else(|| {
                let wait = entry.share.refused_for(now)?;
                Some(entry.share.refusal(wait, quota, now))
            })
        };
        // Whoever is not known has used nothing, and nothing is ever known where limits are off.
        shared.table.with_known(payer.key, refusal).flatten()
    }

    fn ask(&self, payer: Payer, cost: u32) -> Verdict {
        let shared = &self.shared;
        let (now, quota) = (shared.now(), shared.quota(payer));
        let pending = |answered| {
            let deadline = shared
                .lending
                .as_ref()
                .map_or(Duration::ZERO, |lending| lending.patience);
            Verdict::Pending(Pending {
                limits: self.clone(),
                payer,
                cost,
                answered,
                deadline: Instant::now() + deadline,
            })
        };
        shared.table.with(payer.key, now, |entry, place| {
            let Some(lending) = &shared.lending else {
                return Verdict::Decided(entry.window.check(cost, now, quota, shared.spans));
            };
            let is_alone = entry.share.is_alone(now) || now < lending.alone_until.load(Ordering::Relaxed);
            if place == Place::Shared || is_alone {
                return Verdict::Decided(shared.count_alone(entry, payer.key, cost, (now, quota)));
            }
            let ask = Ask {
                key: payer.key,
                quota,
                cost,
            };
            match entry.share.standing(cost, now) {
                Standing::Held => {
                    let decision = shared.count_held(entry, cost, now, quota);
                    if decision.is_admitted() && entry.share.is_low(now, shared.spans) {
                        // If there is no room for the question, the next who needs it asks.
                        lending.send(ask, entry, now);
                    }
                    Verdict::Decided(decision)
                }
                Standing::Refused(retry_after_ms) => Verdict::Decided(entry.share.refusal(retry_after_ms, quota, now)),
                Standing::Unknown if lending.send(ask, entry, now) => {
                    entry.share.wait(cost);
                    pending(entry.answered.get_or_insert_default().clone().notified_owned())
                }
                Standing::Unknown => Verdict::Decided(shared.count_alone(entry, payer.key, cost, (now, quota))),
            }
        })
    }
}

impl Lending {
    /// Puts a question to the supervisor, unless one is under way; false when its mailbox is full.
    fn send(&self, ask: Ask, entry: &mut Entry, now: Millis) -> bool {
        if !entry.share.may_ask(now, millis(self.patience)) {
            return true;
        }
        let is_sent = self.asks.sender().try_send(ask).is_ok();
        if !is_sent {
            entry.share.was_not_asked();
        }
        is_sent
    }

    /// Notes of whom Redis has to be told, as far as there is room.
    fn note_debtors(&self, keys: impl IntoIterator<Item = Key>) {
        let mut debtors = self.debtors.lock();
        let room = DEBTORS_MAX.saturating_sub(debtors.len());
        debtors.extend(keys.into_iter().take(room));
    }

    /// Notes again of whom Redis, or a part of it, could not be told; nobody is told for a while.
    fn told_in_vain(&self, keys: Vec<Key>, now: Millis) {
        self.told_in_vain_until.store(now + ALONE, Ordering::Relaxed);
        self.note_debtors(keys);
    }

    /// Some of those whom Redis has to be told of; nobody while it is left alone.
    fn debtors(&self, most: usize, now: Millis) -> Vec<Key> {
        let until = |moment: &AtomicU64| moment.load(Ordering::Relaxed);
        if now < until(&self.alone_until).max(until(&self.told_in_vain_until)) {
            return Vec::new();
        }
        let mut debtors = self.debtors.lock();
        let count = debtors.len().min(most);
        debtors.drain(..count).collect()
    }
}

impl Shared {
    /// Counts what a lease has room for. The window of this node has the last word: after an outage it knows more.
    fn count_held(&self, entry: &mut Entry, cost: u32, now: Millis, quota: Quota) -> Decision {
        let own = entry.window.check(cost, now, quota, self.spans);
        if !own.is_admitted() {
            return own;
        }
        entry.share.spend(cost, now);
        entry.share.correct(own, quota, now)
    }

    /// Counts without the other nodes, who hear of it when Redis can be asked again.
    fn count_alone(&self, entry: &mut Entry, key: Key, cost: u32, (now, quota): (Millis, Quota)) -> Decision {
        metrics().rate_limit_fell_back();
        let own = entry.window.check(cost, now, quota, self.spans);
        if own.is_admitted()
            && entry.share.owe(cost, quota)
            && let Some(lending) = &self.lending
        {
            lending.note_debtors([key]);
        }
        own
    }

    /// For a while nobody asks Redis, which has failed.
    fn be_alone(&self) {
        if let Some(lending) = &self.lending {
            lending.alone_until.store(self.now() + ALONE, Ordering::Relaxed);
        }
    }

    /// Decides for one who has waited in vain.
    fn decide_late(&self, payer: Payer, cost: u32) -> Decision {
        let (now, quota) = (self.now(), self.quota(payer));
        let patience = self.lending.as_ref().map_or(0, |lending| millis(lending.patience));
        self.table.with(payer.key, now, |entry, _| {
            entry.share.was_late(now, patience, ALONE);
            self.count_alone(entry, payer.key, cost, (now, quota))
        })
    }

    fn now(&self) -> Millis {
        millis(self.started.elapsed())
    }

    const fn quota(&self, payer: Payer) -> Quota {
        match (payer.key, payer.tier) {
            (Key::UserExpensive(_) | Key::NetworkExpensive(_), _) => self.expensive,
            (_, Tier::Anonymous) => self.anonymous,
            (_, Tier::Regular) => self.regular,
            (_, Tier::Premium) => self.premium,
        }
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
