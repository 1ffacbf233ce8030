//! The supervisor of the counters: an actor that does what no request should have to do.
//!
//! It owns the conversation with Redis: it asks for slices of quotas, for all who wait in one call, gives back what was not
//! spent when a lease ends, and while Redis fails it lets everybody count alone; as soon as it answers again, it tells it of
//! all who were admitted meanwhile. And it owns the upkeep of the table: a shard every [`TICK`], it forgets who is idle, and it says when the table is so full that subjects share budgets.
//! Counting itself is done by the handle, directly in the table, from whichever thread asks: a question to an actor costs
//! microseconds and a turn in its mailbox, a count under a shard's lock a tenth of one, and the socket asks for every
//! message.
//!
//! Bounds: 10,000 questions wait (then the asker counts alone), [`BATCH`] are asked in one call, one call at a time;
//! [`LEASES_MAX`] leases are remembered, and those beyond lapse; 10,000 who were counted alone are told of, a batch every
//! [`TELL_PAUSE`], so that who waits for an answer gets it in between.
//!
//! A crash loses no count: they are not in it. Questions under way are lost, whose askers count alone after twice Redis'
//! deadline; questions that wait are asked by the successor; leases it remembered lapse: what was not spent of them counts
//! as used until it leaves the window, at most a twentieth of a quota. While it is down, nodes count alone.

use super::share::Question;
use super::table::Key;
use super::window::Millis;
use super::{ALONE, Ask, Shared, lender};
use crate::supervision::{ArbiterPool, DeathGuard, MailboxReader, start, supervise};
use actix::prelude::*;
use futures_util::StreamExt;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// What it is called in logs and metrics.
pub(super) const ACTOR: &str = "rate_limit";
/// Between two shards that are cleaned (all of them in half a minute), and two looks for leases that have ended.
const TICK: Duration = Duration::from_millis(250);
/// Questions in one call: Redis does nothing else meanwhile.
const BATCH: usize = 32;
/// Between two batches of those who were counted alone.
const TELL_PAUSE: Duration = Duration::from_millis(10);
/// Leases whose end is waited for.
const LEASES_MAX: usize = 100_000;
/// The arbiter it runs on, if there are as many.
const ARBITER: u128 = 2;

/// Who talks to Redis about counters, and looks after them.
pub(super) struct Supervisor {
    shared: Arc<Shared>,
    /// Handed to the context when the actor starts.
    asks: Option<MailboxReader<Ask>>,
    /// Leases and when they end, in that order.
    leases: VecDeque<(Millis, Key)>,
    /// The shard to clean next.
    shard: usize,
    /// Whether the next batch of those who were counted alone is due soon.
    is_telling: bool,
    _guard: DeathGuard,
}

impl Supervisor {
    /// Starts it under supervision.
    pub(super) fn start_supervised(shared: &Arc<Shared>, arbiters: &ArbiterPool) {
        let shared = shared.clone();
        arbiters.spawn(ARBITER, async move {
            let begin = |_, guard| {
                let shared = shared.clone();
                actix::spawn(async move {
                    let asks = match &shared.lending {
                        Some(lending) => Some(lending.asks.reader().await),
                        None => None,
                    };
                    let supervisor = Self {
                        shared,
                        asks,
                        leases: VecDeque::new(),
                        shard: 0,
                        is_telling: false,
                        _guard: guard,
                    };
                    start(ACTOR, None, supervisor);
                });
            };
            supervise(ACTOR, begin).await;
        });
    }

    fn tick(&mut self, ctx: &mut Context<Self>) {
        fail::fail_point!("rate_limit::tick");
        let (table, now) = (&self.shared.table, self.shared.now());
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
        self.give_back(now, ctx);
        if !self.is_telling {
            self.tell(ctx);
        }
    }

    /// Tells Redis of some who were counted alone, and of the others soon after.
    fn tell(&mut self, ctx: &mut Context<Self>) {
        self.is_telling = false;
        let now = self.shared.now();
        let Some(lending) = &self.shared.lending else {
            return;
        };
        let debtors = lending.debtors(BATCH, now);
        if debtors.is_empty() {
            return;
        }
        self.report(debtors, now, ctx);
        self.is_telling = true;
        ctx.run_later(TELL_PAUSE, Self::tell);
    }

    /// Gives back what is left of leases that have ended.
    fn give_back(&mut self, now: Millis, ctx: &mut Context<Self>) {
        let mut ended = Vec::new();
        while ended.len() < BATCH
            && let Some((until, key)) = self.leases.front().copied()
            && until <= now
        {
            self.leases.pop_front();
            ended.push(key);
        }
        self.report(ended, now, ctx);
    }

    /// Says what there is to say of these subjects, and wants nothing.
    fn report(&self, keys: Vec<Key>, now: Millis, ctx: &mut Context<Self>) {
        let question = |key| {
            let ask = |entry: &mut super::Entry| entry.share.question(0, UNASKED, now);
            let question = self.shared.table.with_known(key, ask)?;
            (question.back + question.arrears > 0).then_some((key, question))
        };
        let questions: Vec<_> = keys.into_iter().filter_map(question).collect();
        if !questions.is_empty() {
            self.ask(questions, ctx);
        }
    }

    /// Asks Redis, and nothing else meanwhile: what comes next is asked together.
    fn ask(&self, questions: Vec<(Key, Question)>, ctx: &mut Context<Self>) {
        let shared = self.shared.clone();
        let asked_at = shared.now();
        let asking = async move {
            let Some(lending) = &shared.lending else {
                return Vec::new();
            };
            let answers = match lender::ask(&lending.redis, shared.spans, &questions).await {
                Ok(answers) => answers,
                Err(error) => {
                    shared.be_alone();
                    tracing::debug!(%error, "quotas are counted by this node alone");
                    Vec::new()
                }
            };
            let mut answers = answers.into_iter();
            let (mut leases, mut unheard) = (Vec::new(), Vec::new());
            for (key, question) in questions {
                let (answer, now) = (answers.next().flatten(), shared.now());
                let until = shared.table.with_known(key, |entry| {
                    match answer {
                        Some(grant) => entry.share.granted(&question, grant, (asked_at, now), shared.spans),
                        None => entry.share.failed(&question, now + ALONE),
                    }
                    if let Some(waiting) = entry.answered.take() {
                        waiting.notify_waiters();
                    }
                    entry.share.lease_until()
                });
                if answer.is_none() && question.arrears > 0 {
                    unheard.push(key);
                }
                if answer.is_some_and(|grant| grant.granted > 0) {
                    leases.extend(until.map(|until| (until, key)));
                }
            }
            if !unheard.is_empty() {
                lending.told_in_vain(unheard, shared.now());
            }
            leases
        };
        ctx.wait(asking.into_actor(self).map(|leases, supervisor, _| {
            let room = LEASES_MAX.saturating_sub(supervisor.leases.len());
            supervisor.leases.extend(leases.into_iter().take(room));
        }));
    }
}

/// The quota of a question that wants nothing.
const UNASKED: super::Quota = super::Quota {
    per_minute: u32::MAX >> 1,
    per_hour: u32::MAX >> 1,
};

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(TICK, Self::tick);
        if let Some(asks) = self.asks.take() {
            ctx.add_stream(asks.ready_chunks(BATCH));
        }
    }
}

impl StreamHandler<Vec<Ask>> for Supervisor {
    fn handle(&mut self, asks: Vec<Ask>, ctx: &mut Self::Context) {
        fail::fail_point!("rate_limit::ask");
        let now = self.shared.now();
        let questions = asks.into_iter().filter_map(|Ask { key, quota, cost }| {
            let question = |entry: &mut super::Entry| entry.share.question(cost, quota, now);
            Some((key, self.shared.table.with_known(key, question)?))
        });
        let questions = questions.collect();
        self.ask(questions, ctx);
    }
}
