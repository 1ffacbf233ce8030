//! The actor of one conversation: a shell around the pure [`State`].
//!
//! It owns the state of one generation and is the only one that touches the subscribers of its slot. Sessions and REST
//! handlers reach it through the slot's command mailbox (1,024; full: the caller waits until its deadline, then
//! `overloaded`), writer lanes and the bus through the facts (4,096; full: dropped, the revision check repairs it). It
//! never waits for a socket: a push that finds an outbox full cuts that connection and goes on.
//!
//! A crash loses what is nowhere else: who was typing, a half-made broadcast. The successor loads the state from
//! PostgreSQL, finds the subscribers in the slot with the last revision each was given, and goes on from there. With no
//! subscriber and no command for the passivation time it stops on purpose.
//!
//! It is an actor because a conversation needs one place where order is decided: who sees which revision after which
//! snapshot. `State` decides it; this file turns its effects into pushes and calls.

use super::Error;
use super::memberships::MembershipGuard;
use super::permissions;
use super::registry::Shared;
use super::slots::{Command, Fact, Slot};
use super::state::{Effect, Millis, State};
use super::subscribers::{Phase, Subscriber};
use crate::auth::Access;
use crate::bus::Envelope;
use crate::cache::Subject;
use crate::commit::{Completion, Operation, Request};
use crate::error::Code;
use crate::ids::{Rev, UserId};
use crate::metrics::metrics;
use crate::supervision::{DeathGuard, MailboxReader};
use crate::wire::frames::{Notice, Presence, ReadMoved, Typing};
use crate::wire::{Change, Class, Frame, encode};
use actix::prelude::*;
use futures_util::StreamExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Frames joined into one push; a bound on how much a single entry of an outbox holds.
const BATCH_FRAMES_MAX: usize = 64;
/// Bytes joined into one push.
const BATCH_BYTES_MAX: usize = 64 * 1024;

/// One generation of a conversation.
pub(super) struct Conversation {
    pub(super) state: State,
    pub(super) slot: Arc<Slot>,
    pub(super) shared: Arc<Shared>,
    /// Numbers replays, so that the end of an abandoned one is recognised.
    pub(super) replays: u64,
    /// Whether something was done on this node since the last notices: then it is this one that tells the others.
    told_here: bool,
    /// Whether a replay may wait for this node to catch up with the database.
    pub(super) replays_wait: bool,
    commands: Option<MailboxReader<Command>>,
    facts: Option<MailboxReader<Fact>>,
    guard: DeathGuard,
    members: MembershipGuard,
    effects: Vec<Effect>,
    timer: Option<(Millis, SpawnHandle)>,
    idle_since: Millis,
}

impl Conversation {
    pub(super) fn new(
        state: State,
        slot: Arc<Slot>,
        shared: Arc<Shared>,
        (commands, facts): (MailboxReader<Command>, MailboxReader<Fact>),
        guard: DeathGuard,
    ) -> Self {
        let members = MembershipGuard::new(shared.clone(), slot.clone());
        let idle_since = shared.clock.now();
        Self {
            state,
            slot,
            shared,
            replays: 0,
            told_here: false,
            replays_wait: false,
            commands: Some(commands),
            facts: Some(facts),
            guard,
            members,
            effects: Vec::new(),
            timer: None,
            idle_since,
        }
    }

    pub(super) fn now(&self) -> Millis {
        self.shared.clock.now()
    }
}

impl Actor for Conversation {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if self.state.is_social() {
            let users: Vec<_> = self.state.member_ids().collect();
            let now = self.now();
            for user in users {
                self.members.add(user);
                self.state.presence(user, self.shared.presence.is_online(user), now);
            }
        }
        // Facts first: a command that follows a commit should find it applied.
        if let Some(facts) = self.facts.take() {
            ctx.add_stream(facts);
        }
        if let Some(commands) = self.commands.take() {
            let late = std::mem::take(&mut *self.slot.late.lock());
            ctx.add_stream(futures_util::stream::iter(late).chain(commands));
        }
        self.adopt_subscribers(ctx);
        self.settle(ctx);
        self.watch_idleness(ctx, self.shared.passivate_after);
    }
}

impl StreamHandler<Command> for Conversation {
    fn handle(&mut self, command: Command, ctx: &mut Self::Context) {
        fail::fail_point!("conversations::command");
        self.idle_since = self.now();
        match command {
            Command::Submit {
                access,
                request,
                deadline,
                done,
            } => self.submit(&access, request, deadline, done),
            Command::Subscribe {
                access,
                follower,
                after,
                reply,
            } => {
                if self.role(&access).is_none() {
                    return reply.refuse(Code::NotFound);
                }
                // Who subscribes is connected, also if the queue of changes has not brought that yet.
                let online = self.shared.presence.is_online(access.user_id);
                self.state.presence(access.user_id, online, self.now());
                self.subscribe(follower, access.user_id, after, reply, ctx);
            }
            Command::Unsubscribe { connection, reply } => {
                self.slot.subscribers.lock().remove(connection);
                reply.ok(None);
            }
            Command::Read { access, seq, reply } => {
                if self.role(&access).is_none() {
                    return reply.refuse(Code::NotFound);
                }
                self.told_here = true;
                self.state.read(access.user_id, seq, self.now(), &mut self.effects);
                // Before the answer: whoever has it may list conversations next.
                self.settle(ctx);
                reply.ok(None);
            }
            Command::Typing { access, on, reply } => self.typing(&access, on, reply),
            Command::Authorize {
                access,
                requirement,
                answer,
            } => {
                let result = self.authorize(&access, requirement);
                // The asker may have gone.
                drop(answer.send(result));
            }
        }
        self.settle(ctx);
    }

    fn finished(&mut self, _: &mut Self::Context) {}
}

impl StreamHandler<Fact> for Conversation {
    fn handle(&mut self, fact: Fact, ctx: &mut Self::Context) {
        fail::fail_point!("conversations::fact");
        let now = self.now();
        let mut since = None;
        match fact {
            Fact::Committed(committed) => {
                since = committed.since;
                self.told_here |= !committed.changes.is_empty();
                self.state
                    .committed(committed.changes, committed.observed, now, &mut self.effects);
            }
            Fact::Heard(committed) => {
                since = committed.since;
                self.state
                    .committed(committed.changes, committed.observed, now, &mut self.effects);
            }
            Fact::Read { user, seq } => self.state.read_elsewhere(user, seq, now),
            Fact::Typing { user, on } => self.state.typing(user, on, now, &mut self.effects),
            Fact::Presence { user, online } => self.state.presence(user, online, now),
            Fact::Renamed { user, name } => self.state.renamed(user, &name),
            Fact::Disconnected { connection } => drop(self.slot.subscribers.lock().remove(connection)),
        }
        self.settle(ctx);
        if let Some(since) = since {
            // Once for all readers: they have been pushed to.
            metrics().delivered(since.elapsed());
        }
        if self.replays_wait {
            self.continue_waiting(ctx);
        }
    }

    fn finished(&mut self, _: &mut Self::Context) {}
}

impl Conversation {
    fn role(&self, access: &Access) -> Option<crate::ids::MemberRole> {
        // Another tenant's conversation, or a guest's other one, does not exist for the caller.
        if access.tenant_id != self.state.tenant_id || !access.allows(self.state.id) {
            return None;
        }
        self.state.role_of(access.user_id)
    }

    fn authorize(&self, access: &Access, requirement: crate::commit::Requirement) -> Result<(), Error> {
        let role = self.role(access);
        let invited = requirement == crate::commit::Requirement::Invitation
            && access.tenant_id == self.state.tenant_id
            && access.allows(self.state.id)
            && self.state.deleted_at.is_none();
        if invited || permissions::may_meet(role, requirement) {
            return Ok(());
        }
        let code = if role.is_some() {
            Code::Forbidden
        } else {
            Code::NotFound
        };
        Err(Error::Refused(code, code.text()))
    }

    fn submit(&self, access: &Access, request: Request, deadline: Instant, done: Completion) {
        let requirement = permissions::requirement(access.user_id, &request);
        if let Err(error) = self.authorize(access, requirement) {
            return done.settle(Err(crate::commit::Error::Refused(error.code(), error.message())));
        }
        self.shared.persistence.submit(Operation {
            tenant_id: access.tenant_id,
            conversation_id: self.state.id,
            actor_id: access.user_id,
            actor_kind: access.kind,
            requirement,
            request,
            deadline,
            done,
        });
    }

    fn typing(&mut self, access: &Access, on: bool, reply: crate::wire::Reply) {
        if self.role(access).is_none() {
            return reply.refuse(Code::NotFound);
        }
        let before = self.effects.len();
        self.state.typing(access.user_id, on, self.now(), &mut self.effects);
        if self.effects.len() > before {
            let (conversation_id, user_id) = (self.state.id, access.user_id);
            self.shared.publish(conversation_id, || Envelope::Typing {
                conversation_id,
                user_id,
                on,
            });
        }
        reply.ok(None);
    }

    /// Performs the effects of what just happened and arms the next timer.
    pub(super) fn settle(&mut self, ctx: &mut Context<Self>) {
        self.run_effects(ctx);
        self.slot.reached(self.state.rev);
        self.arm_timer(ctx);
    }

    fn arm_timer(&mut self, ctx: &mut Context<Self>) {
        let next = self.state.next_deadline();
        if self.timer.as_ref().map(|(at, _)| *at) == next {
            return;
        }
        if let Some((_, handle)) = self.timer.take() {
            ctx.cancel_future(handle);
        }
        if let Some(at) = next {
            let delay = Duration::from_millis(at.saturating_sub(self.now()).max(1));
            let handle = ctx.run_later(delay, |conversation, ctx| {
                conversation.timer = None;
                conversation
                    .state
                    .tick(conversation.shared.clock.now(), &mut conversation.effects);
                conversation.settle(ctx);
            });
            self.timer = Some((at, handle));
        }
    }

    fn watch_idleness(&self, ctx: &mut Context<Self>, delay: Duration) {
        ctx.run_later(delay, |conversation, ctx| {
            let limit = u64::try_from(conversation.shared.passivate_after.as_millis()).unwrap_or(u64::MAX);
            let idle = conversation.now().saturating_sub(conversation.idle_since);
            let followed = conversation.slot.subscribers.lock().drop_closed();
            if !followed && idle >= limit {
                tracing::debug!(conversation.id = %conversation.state.id, "conversation passivates");
                conversation.guard.stopping();
                ctx.stop();
                return;
            }
            let rest = if followed { limit } else { limit - idle };
            conversation.watch_idleness(ctx, Duration::from_millis(rest.max(1)));
        });
    }

    /// The one place where effects become I/O.
    fn run_effects(&mut self, ctx: &mut Context<Self>) {
        let mut batch = Batch::default();
        for effect in std::mem::take(&mut self.effects) {
            match effect {
                Effect::Broadcast(change) => {
                    batch.add(change.encode_live(), change.rev());
                    if batch.is_full() {
                        self.flush(&mut batch);
                    }
                }
                Effect::MarkRead { user, seq } => {
                    self.shared.persistence.mark_read(self.state.id, user, seq);
                    self.shared.cache.invalidate(Subject::User(user));
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

    fn flush(&self, batch: &mut Batch) {
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
                self.shared.publish(conversation, || Envelope::Read {
                    conversation_id: conversation,
                    user_id: user,
                    seq,
                });
            }
            Effect::Notify(told) => self.notify(told),
            Effect::Detach { user, farewell } => self.detach(&farewell, |subscriber| subscriber.user == user),
            Effect::End { farewell } => self.detach(&farewell, |_| true),
            Effect::CatchUp { after } => {
                // Nobody told the cache of what was missed either.
                self.shared.cache.invalidate(Subject::Conversation(conversation));
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
        self.shared.cache.invalidate(Subject::User(user));
        if !joined {
            self.members.remove(user);
        } else if self.state.is_social() {
            self.members.add(user);
            let online = self.shared.presence.is_online(user);
            self.state.presence(user, online, self.shared.clock.now());
        }
    }

    fn notify(&mut self, told: Vec<(UserId, i64)>) {
        let (conversation, last_seq) = (self.state.id, self.state.last_seq);
        {
            let subscribers = self.slot.subscribers.lock();
            for (user, unread) in &told {
                let notice = Notice {
                    conversation,
                    last_seq,
                    unread: *unread,
                };
                self.shared
                    .audience
                    .notify(*user, notice, &|connection| subscribers.contains(connection));
            }
        }
        if std::mem::take(&mut self.told_here) {
            self.shared.publish_notices(conversation, last_seq, told);
        }
    }

    /// Ends subscriptions. Live ones have been pushed the farewell; those whose replay is under way get it now.
    fn detach(&self, farewell: &Change, gone: impl Fn(&Subscriber) -> bool) {
        let mut subscribers = self.slot.subscribers.lock();
        let ended: Vec<_> = subscribers
            .iter()
            .filter(|entry| gone(entry))
            .map(|entry| entry.connection)
            .collect();
        for connection in ended {
            if let Some(Subscriber {
                phase: Phase::Replaying(replay),
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
        let (shared, id) = (self.shared.clone(), self.state.id);
        let read = async move { super::replay::read_all(&shared, id, after).await };
        ctx.spawn(read.into_actor(self).map(|found, conversation, ctx| {
            let now = conversation.now();
            match found {
                Ok(found) => conversation.state.caught_up(&found, now, &mut conversation.effects),
                Err(error) => {
                    tracing::warn!(%error, conversation.id = %conversation.state.id, "changes not read; trying again");
                    conversation.state.catch_up_failed(now);
                }
            }
            conversation.settle(ctx);
            conversation.continue_waiting(ctx);
        }));
    }
}

/// Frames on their way to the same readers.
#[derive(Default)]
struct Batch {
    frames: Vec<Frame>,
    bytes: usize,
    rev: Rev,
}

impl Batch {
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
