//! The actor of one conversation: a shell around the pure [`ConversationState`].
//!
//! It owns the state of one generation and is the only one that changes the subscribers of its
//! slot. Sessions and REST handlers reach it through the slot's commands (1,024 wait; when full,
//! the caller waits until its deadline, then gets `overloaded`). Observers of commits and the bus
//! reach it through the slot's events (4,096 wait; when full, events are dropped and the comparison
//! of revisions repairs it). It never waits for a socket: a push that finds an outbox full closes
//! that connection and goes on.
//!
//! A crash loses what is nowhere else: who was typing, a broadcast that was half done. The
//! successor loads the state from PostgreSQL, finds the subscribers in the slot, each with the last
//! revision it was pushed, and goes on from there (`adoption.rs`). With no subscriber and no
//! command for the passivation time the actor stops on purpose.
//!
//! It is an actor because a conversation needs one place where order is decided: who sees which
//! revision after which snapshot. The state decides it; `perform.rs` turns its effects into pushes
//! and calls.

use super::command::ConversationCommand;
use super::dependencies::ConversationContext;
use super::effects::Effect;
use super::error::Error;
use super::event::ConversationEvent;
use super::memberships::MembershipGuard;
use super::pending_rechecks::PendingRechecks;
use super::permissions;
use super::slot::Slot;
use super::state::ConversationState;
use super::timer::Millis;
use crate::auth::Access;
use crate::bus::Envelope;
use crate::commit::{Completion, Operation, Request, Requirement};
use crate::error::Code;
use crate::ids::MemberRole;
use crate::metrics::metrics;
use crate::supervision::{DeathGuard, MailboxReader};
use crate::wire::Reply;
use actix::prelude::*;
use futures_util::StreamExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The readers of a slot's mailboxes.
pub(super) struct SlotReaders {
    pub(super) commands: MailboxReader<ConversationCommand>,
    pub(super) events: MailboxReader<ConversationEvent>,
}

/// One generation of a conversation.
pub(super) struct ConversationActor {
    pub(super) state: ConversationState,
    pub(super) slot: Arc<Slot>,
    pub(super) context: Arc<ConversationContext>,
    /// Numbers replays, so that the end of one that was replaced is recognised.
    pub(super) replays: u64,
    /// Whether something was done on this node since the last notices: then this node sends them to
    /// the others.
    pub(super) changed_here: bool,
    /// Whether a replay may wait for this node to catch up with the database.
    pub(super) replays_wait: bool,
    /// Commands that wait for the same.
    pub(super) rechecks: PendingRechecks,
    /// When this node committed what is being shown; `None` where it has not.
    pub(super) committed_at: Option<Instant>,
    /// Handed to the actor's context when it starts.
    readers: Option<SlotReaders>,
    guard: DeathGuard,
    pub(super) memberships: MembershipGuard,
    pub(super) effects: Vec<Effect>,
    timer: Option<(Millis, SpawnHandle)>,
    idle_since: Millis,
}

impl ConversationActor {
    pub(super) fn new(
        state: ConversationState,
        slot: Arc<Slot>,
        context: Arc<ConversationContext>,
        readers: SlotReaders,
        guard: DeathGuard,
    ) -> Self {
        let memberships = MembershipGuard::new(context.clone(), slot.clone());
        let idle_since = context.clock.now();
        Self {
            state,
            slot,
            context,
            replays: 0,
            changed_here: false,
            replays_wait: false,
            rechecks: PendingRechecks::default(),
            committed_at: None,
            readers: Some(readers),
            guard,
            memberships,
            effects: Vec::new(),
            timer: None,
            idle_since,
        }
    }

    pub(super) fn now(&self) -> Millis {
        self.context.clock.now()
    }
}

impl Actor for ConversationActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if self.state.is_small() {
            let users: Vec<_> = self.state.member_ids().collect();
            let now = self.now();
            for user in users {
                self.memberships.add(user);
                self.state.presence(user, self.context.presence.is_online(user), now);
            }
        }
        if let Some(SlotReaders { commands, events }) = self.readers.take() {
            // Events first: a command that follows a commit should find it applied.
            ctx.add_stream(events);
            let late = std::mem::take(&mut *self.slot.late.lock());
            ctx.add_stream(futures_util::stream::iter(late).chain(commands));
        }
        self.adopt_subscribers(ctx);
        self.finish_turn(ctx);
        self.watch_idleness(ctx, self.context.passivate_after);
    }
}

impl StreamHandler<ConversationCommand> for ConversationActor {
    fn handle(&mut self, command: ConversationCommand, ctx: &mut Self::Context) {
        fail::fail_point!("conversations::command");
        self.idle_since = self.now();
        if let Some(command) = self.recheck(command, ctx) {
            self.carry_out(command, ctx);
        }
        self.finish_turn(ctx);
    }

    fn finished(&mut self, _: &mut Self::Context) {}
}

impl StreamHandler<ConversationEvent> for ConversationActor {
    fn handle(&mut self, event: ConversationEvent, ctx: &mut Self::Context) {
        fail::fail_point!("conversations::event");
        let now = self.now();
        let mut since = None;
        match event {
            ConversationEvent::Committed(committed) => {
                since = committed.since;
                self.committed_at = committed.committed_at;
                self.changed_here |= !committed.changes.is_empty();
                self.state
                    .committed(committed.changes, committed.observed, now, &mut self.effects);
            }
            ConversationEvent::CommittedElsewhere(committed) => {
                since = committed.since;
                self.state
                    .committed(committed.changes, committed.observed, now, &mut self.effects);
            }
            ConversationEvent::Read { user, seq } => self.state.read_elsewhere(user, seq, now),
            ConversationEvent::Typing { user, on } => self.state.typing(user, on, now, &mut self.effects),
            ConversationEvent::Presence { user, online } => self.state.presence(user, online, now),
            ConversationEvent::Renamed { user, name } => self.state.renamed(user, &name),
            ConversationEvent::MakeRoom => self.make_room(ctx),
            ConversationEvent::Disconnected { connection } => drop(self.slot.subscribers.lock().remove(connection)),
        }
        self.finish_turn(ctx);
        self.committed_at = None;
        if let Some(since) = since {
            // Once for all subscribers: they have been pushed to.
            metrics().delivered(since.elapsed());
        }
        if self.replays_wait {
            self.continue_waiting(ctx);
        }
    }

    fn finished(&mut self, _: &mut Self::Context) {}
}

impl ConversationActor {
    /// Carries out a command by what the state knows.
    pub(super) fn carry_out(&mut self, command: ConversationCommand, ctx: &mut Context<Self>) {
        match command {
            ConversationCommand::Change {
                access,
                request,
                deadline,
                done,
            } => self.change(&access, request, deadline, done),
            ConversationCommand::Subscribe {
                access,
                subscriber,
                after,
                reply,
            } => {
                if self.role(&access).is_none() {
                    return reply.refuse(Code::NotFound);
                }
                // Who subscribes is connected, also if the queue of changes has not brought that
                // yet.
                let online = self.context.presence.is_online(access.user_id);
                self.state.presence(access.user_id, online, self.now());
                self.subscribe(subscriber, access.user_id, after, reply, ctx);
            }
            ConversationCommand::Unsubscribe { connection, reply } => {
                self.slot.subscribers.lock().remove(connection);
                reply.ok(None);
            }
            ConversationCommand::Read { access, seq, reply } => {
                if self.role(&access).is_none() {
                    return reply.refuse(Code::NotFound);
                }
                self.changed_here = true;
                self.state.read(access.user_id, seq, self.now(), &mut self.effects);
                // Before the reply: anyone who has it may list conversations next.
                self.finish_turn(ctx);
                reply.ok(None);
            }
            ConversationCommand::Typing { access, on, reply } => self.typing(&access, on, reply),
        }
    }

    /// Whether the caller could be a member: another tenant's conversation, a guest's other one, or
    /// a deleted one does not exist for the caller.
    pub(super) fn is_reachable(&self, access: &Access) -> bool {
        access.tenant_id == self.state.tenant_id && access.allows(self.state.id) && self.state.deleted_at.is_none()
    }

    pub(super) fn role(&self, access: &Access) -> Option<MemberRole> {
        self.is_reachable(access)
            .then(|| self.state.role_of(access.user_id))
            .flatten()
    }

    fn authorize(&self, access: &Access, requirement: Requirement) -> Result<(), Error> {
        let role = self.role(access);
        let invited = requirement == Requirement::Invitation && self.is_reachable(access);
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

    fn change(&self, access: &Access, request: Request, deadline: Instant, done: Completion) {
        let requirement = permissions::requirement(access.user_id, &request);
        if let Err(error) = self.authorize(access, requirement) {
            return done.complete(Err(crate::commit::Error::Refused(error.code(), error.message())));
        }
        self.context.commits.submit(Operation {
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

    fn typing(&mut self, access: &Access, on: bool, reply: Reply) {
        if self.role(access).is_none() {
            return reply.refuse(Code::NotFound);
        }
        let before = self.effects.len();
        self.state.typing(access.user_id, on, self.now(), &mut self.effects);
        if self.effects.len() > before {
            let (conversation_id, user_id) = (self.state.id, access.user_id);
            self.context.publish(conversation_id, || Envelope::Typing {
                conversation_id,
                user_id,
                on,
            });
        }
        reply.ok(None);
    }

    /// At the end of every turn: performs the effects of what just happened and arms the next
    /// timer.
    pub(super) fn finish_turn(&mut self, ctx: &mut Context<Self>) {
        self.run_effects(ctx);
        self.run_rechecks(ctx);
        self.slot.set_rev(self.state.rev);
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
            let handle = ctx.run_later(delay, |actor, ctx| {
                actor.timer = None;
                actor.state.tick(actor.context.clock.now(), &mut actor.effects);
                actor.finish_turn(ctx);
            });
            self.timer = Some((at, handle));
        }
    }

    /// Passivates at once, if nobody has come in the meantime.
    fn make_room(&mut self, ctx: &mut Context<Self>) {
        let is_subscribed = self.slot.subscribers.lock().remove_closed();
        if self.slot.is_empty() && self.rechecks.is_empty() && !is_subscribed {
            tracing::debug!(conversation.id = %self.state.id, "conversation makes room for another");
            self.guard.stopping();
            ctx.stop();
        }
    }

    fn watch_idleness(&self, ctx: &mut Context<Self>, delay: Duration) {
        ctx.run_later(delay, |actor, ctx| {
            let limit = u64::try_from(actor.context.passivate_after.as_millis()).unwrap_or(u64::MAX);
            let idle = actor.now().saturating_sub(actor.idle_since);
            let is_used = actor.slot.subscribers.lock().remove_closed() || !actor.rechecks.is_empty();
            if !is_used && idle >= limit {
                tracing::debug!(conversation.id = %actor.state.id, "conversation passivates");
                actor.guard.stopping();
                ctx.stop();
                return;
            }
            let rest = if is_used { limit } else { limit - idle };
            actor.watch_idleness(ctx, Duration::from_millis(rest.max(1)));
        });
    }
}
