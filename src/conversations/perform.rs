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
use crate::ids::{Rev, UserId};
use crate::wire::frames::{Presence, ReadMoved, Typing};
use crate::wire::{Change, Class, Frame, encode};
use actix::prelude::*;

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
                    batch.add(change.encode_live(), change.rev());
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
    }

    fn flush(&self, batch: &mut FrameBatch) {
        if let Some((frame, rev)) = batch.take() {
            self.slot.subscribers.lock().push_durable(&frame, rev);
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
                Ok(found) => actor.state.caught_up(&found, now, &mut actor.effects),
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
}

impl FrameBatch {
    fn add(&mut self, frame: Frame, rev: Rev) {
        self.bytes += frame.len();
        self.frames.push(frame);
        self.rev = rev;
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
