//! Turns the effects of a conversation's state into pushes and calls: the one place where they
//! become I/O.
//!
//! Nothing here waits. Changes that follow one another are joined into one push. A read of what was
//! missed runs beside the actor, which goes on when it is done.

use super::actor::ConversationActor;
use super::catch_up::read_changes_after;
use super::effects::Effect;
use super::recheck;
use super::subscribers::{Subscriber, SubscriberPhase};
use crate::bus::Envelope;
use crate::cache::Subject;
use crate::error::Code;
use crate::ids::{Rev, TenantId, UserId};
use crate::latency::{LatencyKind, LatencyRecorder, Wait};
use crate::wire::frames::{Presence, ReadMoved, Timestamp, Typing};
use crate::wire::{Change, Class, Frame, encode};
use actix::prelude::*;
use chrono::Utc;
use std::time::{Duration, Instant};

/// Frames joined into one push; a bound on how much a single entry of an outbox holds.
const BATCH_FRAMES_MAX: usize = 64;
/// Bytes joined into one push.
const BATCH_BYTES_MAX: usize = 64 * 1024;

impl ConversationActor {
    pub(super) fn run_effects(&mut self, ctx: &mut Context<Self>) {
        let mut batch = FrameBatch::default();
        for effect in std::mem::take(&mut self.effects) {
            match effect {
                Effect::Broadcast(change) => {
                    batch.add(&change);
                    if batch.is_full() {
                        self.flush(&mut batch);
                    }
                }
                Effect::MarkRead { user, seq } => {
                    self.context.commits.mark_read(self.state.id, user, seq);
                    self.context.cache.invalidate(Subject::User(user));
                }
                Effect::MembersChanged { user, joined } => self.membership_changed(user, joined),
                other => {
                    self.flush(&mut batch);
                    self.run_effect(other, ctx);
                }
            }
        }
        self.flush(&mut batch);
        batch
            .deliveries
            .record(&self.context.latencies, self.state.tenant_id, self.committed_at);
    }

    fn flush(&self, batch: &mut FrameBatch) {
        if let Some((frame, rev)) = batch.take() {
            let readers = self.slot.subscribers.lock().push_durable(&frame, rev);
            batch.deliveries.pushed(readers);
        }
    }

    fn run_effect(&mut self, effect: Effect, ctx: &mut Context<Self>) {
        let conversation = self.state.id;
        match effect {
            Effect::BroadcastRead { user, seq } => {
                self.push_ephemeral(
                    &encode(&ReadMoved {
                        conversation,
                        user,
                        seq,
                    }),
                    None,
                );
            }
            Effect::BroadcastTyping { user, on } => {
                self.push_ephemeral(&encode(&Typing { conversation, user, on }), Some(user));
            }
            Effect::BroadcastPresence { user, online } => {
                self.push_ephemeral(
                    &encode(&Presence {
                        conversation,
                        user,
                        online,
                    }),
                    Some(user),
                );
            }
            Effect::PublishRead { user, seq } => {
                self.context.publish(conversation, || Envelope::Read {
                    conversation_id: conversation,
                    user_id: user,
                    seq,
                });
            }
            Effect::Notify(recipients) => self.notify(&recipients),
            Effect::Detach { user, farewell } => {
                // First: who is subscribed gets the farewell, and nothing after it.
                self.notify_gone(&[user]);
                self.detach(&farewell, |subscriber| subscriber.user == user);
            }
            Effect::End { farewell } => {
                let members: Vec<_> = self.state.member_ids().collect();
                self.notify_gone(&members);
                self.detach(&farewell, |_| true);
            }
            Effect::CatchUp { after } => {
                // The cache has missed it too.
                self.context.cache.invalidate(Subject::Conversation(conversation));
                self.catch_up(after, ctx);
            }
            // Handled where effects are gathered, because they do not touch the order of pushes.
            Effect::Broadcast(_) | Effect::MarkRead { .. } | Effect::MembersChanged { .. } => {}
        }
    }

    fn push_ephemeral(&self, frame: &Frame, except: Option<UserId>) {
        self.slot.subscribers.lock().push_ephemeral(frame, except);
    }

    fn membership_changed(&mut self, user: UserId, joined: bool) {
        self.context.cache.invalidate(Subject::User(user));
        if !joined {
            self.memberships.remove(user);
        } else if self.state.is_small() {
            self.memberships.add(user);
            let online = self.context.presence.is_online(user);
            self.state.presence(user, online, self.context.clock.now());
        }
    }

    /// Ends subscriptions. Live ones have been pushed the farewell; those whose replay is under way
    /// get it now.
    fn detach(&self, farewell: &Change, gone: impl Fn(&Subscriber) -> bool) {
        let mut subscribers = self.slot.subscribers.lock();
        let ended: Vec<_> = subscribers
            .iter()
            .filter(|entry| gone(entry))
            .map(|entry| entry.connection)
            .collect();
        for connection in ended {
            if let Some(Subscriber {
                phase: SubscriberPhase::Replaying(replay),
                outbox,
                ..
            }) = subscribers.remove(connection)
            {
                outbox.push(farewell.encode_live(), Class::Durable);
                replay.reply.refuse(Code::NotFound);
            }
        }
    }

    fn catch_up(&self, after: Rev, ctx: &mut Context<Self>) {
        let (context, id) = (self.context.clone(), self.state.id);
        let read = async move { read_changes_after(&context, id, after).await };
        ctx.spawn(read.into_actor(self).map(|found, actor, ctx| {
            let now = actor.now();
            match found {
                Ok(found) => actor
                    .state
                    .caught_up(&found.changes, found.latest, now, &mut actor.effects),
                Err(error) => {
                    tracing::warn!(%error, conversation.id = %actor.state.id, "changes not read; trying again");
                    actor.state.catch_up_failed(now);
                    recheck::refuse(actor.rechecks.take_responded());
                }
            }
            actor.finish_turn(ctx);
            actor.continue_waiting(ctx);
        }));
    }
}

/// Frames on their way to the same subscribers.
#[derive(Default)]
struct FrameBatch {
    frames: Vec<Frame>,
    bytes: usize,
    rev: Rev,
    /// Of all batches of the turn.
    deliveries: TurnDeliveries,
}

impl FrameBatch {
    fn add(&mut self, change: &Change) {
        let frame = change.encode_live();
        self.bytes += frame.len();
        self.frames.push(frame);
        self.rev = change.rev();
        self.deliveries.add(change);
    }

    const fn is_full(&self) -> bool {
        self.frames.len() >= BATCH_FRAMES_MAX || self.bytes >= BATCH_BYTES_MAX
    }

    fn take(&mut self) -> Option<(Frame, Rev)> {
        if self.frames.is_empty() {
            return None;
        }
        let frame = Frame::concat(&self.frames);
        self.frames.clear();
        self.bytes = 0;
        Some((frame, self.rev))
    }
}

/// Deliveries of new messages in one turn of a conversation: what they took from their commit to the
/// outboxes of their readers, weighted by the readers.
///
/// What this node has committed is measured by the monotonic clock. What another node has committed,
/// or what was read after a gap, is measured from the message's own time, so it is as right as the
/// clocks of the machines agree.
#[derive(Default)]
pub(super) struct TurnDeliveries {
    /// Messages that are about to be pushed.
    posts: u64,
    /// Messages times readers.
    n: u64,
    /// The first of the messages.
    oldest: Option<Timestamp>,
}

impl TurnDeliveries {
    /// A change is about to be pushed. Only new messages are deliveries.
    pub(super) fn add(&mut self, change: &Change) {
        if let Change::Message(message) = change
            && message.rev == message.posted_rev
        {
            self.posts += 1;
            self.oldest = Some(self.oldest.map_or(message.created_at, |at| at.min(message.created_at)));
        }
    }

    /// What was added since is in the outboxes of so many readers.
    pub(super) fn pushed(&mut self, readers: u64) {
        self.n += std::mem::take(&mut self.posts) * readers;
    }

    /// Records them at the end of the turn.
    pub(super) fn record(self, latencies: &LatencyRecorder, tenant: TenantId, committed_at: Option<Instant>) {
        let Self { n: n @ 1.., oldest, .. } = self else { return };
        let elapsed = match (committed_at, oldest) {
            (Some(at), _) => at.elapsed(),
            (None, Some(at)) => Utc::now().signed_duration_since(at).to_std().unwrap_or_default(),
            (None, None) => Duration::ZERO,
        };
        latencies.record(LatencyKind::Deliver, [Wait { tenant, elapsed, n }]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ConversationId, MessageId, Rev, Seq, UserId, UserKind};
    use crate::wire::frames::Message;
    use std::sync::Arc;

    fn change(rev: i64, posted_rev: i64, age: Duration) -> Change {
        Change::Message(Arc::new(Message {
            conversation: ConversationId::new(),
            rev: Rev(rev),
            seq: Seq(1),
            id: MessageId::new(),
            author: UserId::new(),
            kind: UserKind::Person,
            body: Some("hello".into()),
            reply_to: None,
            created_at: Utc::now() - age,
            edited_at: None,
            deleted_at: None,
            reactions: Vec::new(),
            mine: None,
            cause: None,
            posted_rev: Rev(posted_rev),
        }))
    }

    #[test]
    fn a_delivery_is_a_new_message_times_a_reader() {
        let (recorder, tenant) = (LatencyRecorder::default(), TenantId::new());
        let mut turn = TurnDeliveries::default();
        turn.add(&change(3, 3, Duration::from_secs(7)));
        turn.add(&change(4, 4, Duration::from_secs(2)));
        turn.pushed(10);
        turn.add(&change(5, 3, Duration::ZERO));
        turn.pushed(10);
        turn.record(&recorder, tenant, None);
        TurnDeliveries::default().record(&recorder, tenant, None);
        let taken = recorder.take();
        assert_eq!(taken.iter().map(|one| one.histogram.count()).sum::<u64>(), 20);
        assert!(
            (6_900.0..9_000.0).contains(&taken[0].histogram.max_ms()),
            "{}",
            taken[0].histogram.max_ms()
        );
    }

    #[test]
    fn what_this_node_committed_is_measured_by_its_own_clock() {
        let (recorder, tenant) = (LatencyRecorder::default(), TenantId::new());
        let mut turn = TurnDeliveries::default();
        turn.add(&change(3, 3, Duration::from_secs(7)));
        turn.pushed(2);
        turn.record(&recorder, tenant, Some(Instant::now()));
        assert!(recorder.take()[0].histogram.max_ms() < 1_000.0);
    }
}
