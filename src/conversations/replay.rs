//! Brings a subscriber to the present: from memory when it is little, from the database in pages
//! when it is not.
//!
//! Little goes into the outbox at once, before its `subscribed`, and the subscriber is live.
//! Otherwise it is marked as replaying, and live frames pass it by. A task hands page after page to
//! its socket (`replay_pages.rs`) and at the end asks the conversation for what has happened
//! meanwhile. That is little, sooner or later, because the latest changes are in memory. Then it is
//! pushed, `subscribed` follows, and the subscriber is live: all within one turn of the actor, so
//! there is no gap and no overlap.

use super::actor::ConversationActor;
use super::replay_pages::{PageSource, ReplayError, ReplayProgress, ReplayTarget, encode_listed, fits, send_pages};
use super::replay_plan::ReplayPlan;
use super::subscribers::{NewSubscriber, Replay, ReplayStage, ReplayTotals, Subscriber, SubscriberPhase};
use crate::error::Code;
use crate::fairness::Claimant;
use crate::ids::{ConnectionId, Rev, Seq, UserId};
use crate::wire::{Change, Class, Frame, Outbox, Reply};
use actix::prelude::*;
use std::sync::Arc;

/// Rounds after which a replay no longer asks what is the reader's own in the latest changes.
const ROUNDS_MAX: u32 = 4;

/// A replay of one connection; the number tells it from an earlier one.
#[derive(Clone, Copy)]
pub(super) struct ReplayId {
    pub(super) connection: ConnectionId,
    pub(super) number: u64,
}

impl ConversationActor {
    /// Adds a new subscriber; it replaces what the same connection had.
    pub(super) fn subscribe(
        &mut self,
        new: NewSubscriber,
        user: UserId,
        after: Option<Rev>,
        reply: Reply,
        ctx: &mut Context<Self>,
    ) {
        let NewSubscriber {
            connection,
            outbox,
            permit,
        } = new;
        if permit.is_none() && !self.slot.subscribers.lock().contains(connection) {
            return reply.error(
                Code::LimitReached,
                "This connection has as many subscriptions as it can.",
            );
        }
        let known = after.unwrap_or(Rev::ZERO);
        let plan = self.state.plan_replay(after);
        let complete = match plan {
            ReplayPlan::Memory { complete, .. } => complete,
            ReplayPlan::Newest { after } => after == Seq::ZERO,
            ReplayPlan::Database => true,
        };
        let mut subscriber = Subscriber {
            connection,
            user,
            outbox: outbox.clone(),
            phase: SubscriberPhase::Live,
            delivered: self.state.rev,
            permit,
        };
        // Clients without `after` get the newest messages, and what changes from here on.
        let start = if after.is_some() { known } else { self.state.rev };
        if let ReplayPlan::Memory { changes, .. } = &plan
            && fits(changes)
            && let Some(frames) = encode_listed(user, changes, known)
        {
            // First into the table, so that an earlier replay of this connection ends before it.
            self.slot.subscribers.lock().insert(subscriber);
            push_all(&outbox, &frames).count();
            let frame = self.state.subscribed(user, reply.reference(), complete);
            return reply.give(&frame);
        }
        let (stage, source) = self.page_source(plan, known, start);
        let replay = Replay::new(self.number_replay(), start, stage, complete, reply);
        let id = ReplayId {
            connection,
            number: replay.number,
        };
        let target = self.replay_target(&replay, outbox, user);
        subscriber.phase = SubscriberPhase::Replaying(replay);
        self.slot.subscribers.lock().insert(subscriber);
        self.run_replay(id, target, source, ctx);
    }

    /// Where the pages of a plan come from, for a subscriber who has everything up to `known`, and is
    /// sent what follows `start`.
    fn page_source(&self, plan: ReplayPlan, known: Rev, start: Rev) -> (ReplayStage, PageSource) {
        let through = self.state.rev;
        match plan {
            ReplayPlan::Memory { changes, .. } => {
                let source = PageSource::Memory {
                    changes,
                    known,
                    through,
                };
                (ReplayStage::Snapshot, source)
            }
            ReplayPlan::Newest { after } => {
                let last = self.state.last_seq;
                (ReplayStage::Snapshot, PageSource::Newest { after, last, through })
            }
            ReplayPlan::Database => {
                let (known, from) = (start, start);
                (ReplayStage::Changes, PageSource::Database { known, from })
            }
        }
    }

    pub(super) fn replay_target(&self, replay: &Replay, outbox: Arc<Outbox>, user: UserId) -> ReplayTarget {
        ReplayTarget {
            outbox,
            watch: replay.interest.watch(),
            reader: Claimant {
                group: self.state.tenant_id,
                member: user,
            },
        }
    }

    pub(super) const fn number_replay(&mut self) -> u64 {
        self.replays += 1;
        self.replays
    }

    pub(super) fn run_replay(&self, id: ReplayId, target: ReplayTarget, source: PageSource, ctx: &mut Context<Self>) {
        let (context, conversation) = (self.context.clone(), self.state.id);
        let send = async move { send_pages(&context, conversation, &target, source).await };
        ctx.spawn(send.into_actor(self).map(move |sent, actor, ctx| {
            match sent {
                Ok(progress) => actor.finish_replay(id, progress, ctx),
                Err(error) => actor.fail_replay(id, &error),
            }
            actor.finish_turn(ctx);
        }));
    }

    /// Everything up to `through` is with the socket. Pushes the rest, if it is little, and
    /// `subscribed`; otherwise runs another round.
    fn finish_replay(&mut self, id: ReplayId, progress: ReplayProgress, ctx: &mut Context<Self>) {
        let through = progress.through;
        if through > self.state.rev {
            // The database is ahead of this node: what is between arrives as an event, or is read.
            let mut effects = Vec::new();
            self.state.committed(Vec::new(), through, self.now(), &mut effects);
        }
        let mut subscribers = self.slot.subscribers.lock();
        let Some(subscriber) = subscribers.find_mut(id.connection) else {
            return;
        };
        let SubscriberPhase::Replaying(replay) = &mut subscriber.phase else {
            return;
        };
        if replay.number != id.number {
            return;
        }
        replay.through = through;
        replay.sent = replay.sent.plus(progress.sent);
        replay.stage = ReplayStage::Changes;
        replay.waits = through > self.state.rev;
        if replay.waits {
            self.replays_wait = true;
            return;
        }
        if self.state.role_of(subscriber.user).is_none() {
            if let Some(replay) = subscribers.remove_replaying(id.connection) {
                replay.reply.refuse(Code::NotFound);
            }
            return;
        }
        let rest = match self.state.plan_replay(Some(through)) {
            ReplayPlan::Memory { changes, .. } if fits(&changes) => {
                let listed = encode_listed(subscriber.user, &changes, replay.after);
                // Somebody reacts all the time. What is missing is what a live reader knows anyway.
                listed.or_else(|| (replay.rounds >= ROUNDS_MAX).then(|| encode_live(&changes, replay.after)))
            }
            _ => None,
        };
        let Some(frames) = rest else {
            replay.rounds += 1;
            let target = self.replay_target(replay, subscriber.outbox.clone(), subscriber.user);
            let source = PageSource::Database {
                known: replay.after,
                from: through,
            };
            drop(subscribers);
            return self.run_replay(id, target, source, ctx);
        };
        let (outbox, user) = (subscriber.outbox.clone(), subscriber.user);
        let rest = push_all(&outbox, &frames);
        subscriber.delivered = self.state.rev;
        if let SubscriberPhase::Replaying(replay) = std::mem::replace(&mut subscriber.phase, SubscriberPhase::Live) {
            replay.sent.plus(rest).count();
            let frame = self.state.subscribed(user, replay.reply.reference(), replay.complete);
            replay.reply.give(&frame);
        }
    }

    /// After the state has got further: goes on with replays that waited for this node to know what
    /// their sockets already have.
    pub(super) fn continue_waiting(&mut self, ctx: &mut Context<Self>) {
        self.replays_wait = false;
        let waiting: Vec<_> = {
            let subscribers = self.slot.subscribers.lock();
            let replays = subscribers.iter().filter_map(|subscriber| match &subscriber.phase {
                SubscriberPhase::Replaying(replay) if replay.waits => {
                    let id = ReplayId {
                        connection: subscriber.connection,
                        number: replay.number,
                    };
                    Some((id, replay.through))
                }
                _ => None,
            });
            replays.collect()
        };
        for (id, through) in waiting {
            let sent = ReplayTotals::default();
            self.finish_replay(id, ReplayProgress { through, sent }, ctx);
        }
    }

    fn fail_replay(&self, id: ReplayId, error: &ReplayError) {
        let mut subscribers = self.slot.subscribers.lock();
        let current = subscribers.find_mut(id.connection).is_some_and(
            |entry| matches!(&entry.phase, SubscriberPhase::Replaying(replay) if replay.number == id.number),
        );
        if !current {
            return;
        }
        let Some(replay) = subscribers.remove_replaying(id.connection) else {
            return;
        };
        match (error.code(), error) {
            (None, _) => replay.reply.skip(),
            (Some(code), ReplayError::Ahead) => {
                let text = "`after` is ahead of the conversation; subscribe without it.";
                replay.reply.error(code, text);
            }
            (Some(code), ReplayError::Database(error)) => {
                tracing::warn!(%error, conversation.id = %self.state.id, "replay not read");
                replay.reply.refuse(code);
            }
            (Some(code), _) => replay.reply.refuse(code),
        }
    }
}

/// As for live readers: without what is the reader's own.
fn encode_live(changes: &[Change], known: Rev) -> Vec<Frame> {
    changes.iter().map(|change| change.encode_after(known)).collect()
}

fn push_all(outbox: &Outbox, frames: &[Frame]) -> ReplayTotals {
    let mut sent = ReplayTotals::default();
    if !frames.is_empty() {
        outbox.push(Frame::concat(frames), Class::Snapshot);
        sent.add(frames);
    }
    sent
}
