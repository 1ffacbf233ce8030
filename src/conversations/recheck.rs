//! Commands that the state would refuse: the database is asked first whether the state is behind.
//!
//! A membership or a role that another node gave a moment ago may not be in this node's state yet.
//! So what would be refused for want of it waits until the state has every revision that the
//! database had after the command came. Then it is judged for good. Used by `actor.rs`; what waits
//! is in `pending_rechecks.rs`.
//!
//! Bounds: one question at a time for each conversation, for all commands that wait for it. Too
//! many are refused with `overloaded`. When the database cannot be asked or read, those that wait
//! are refused with `unavailable`. A crash of the actor does the same.
//!
//! What the state allows asks nothing: on the way of a message it costs no query.

use super::actor::ConversationActor;
use super::command::ConversationCommand;
use super::permissions;
use super::store;
use crate::auth::Access;
use crate::commit::Requirement;
use crate::database::Error;
use crate::error::Code;
use crate::ids::{MemberRole, Rev};
use actix::prelude::*;

impl ConversationActor {
    /// Takes a command that the state would refuse, or that follows such a one of the same user; gives
    /// any other back.
    pub(super) fn recheck(
        &mut self,
        command: ConversationCommand,
        ctx: &mut Context<Self>,
    ) -> Option<ConversationCommand> {
        if !self.rechecks.has_before(&command) && !self.may_be_behind_for(&command) {
            return Some(command);
        }
        match self.rechecks.add(command) {
            Some(one_too_many) => one_too_many.refuse(Code::Overloaded),
            None => self.ask(ctx),
        }
        None
    }

    /// Whether another membership or role of the caller would make a difference.
    fn may_be_behind_for(&self, command: &ConversationCommand) -> bool {
        let lacks = |access: &Access, requirement| {
            self.is_reachable(access) && !permissions::may_meet(self.role(access), requirement)
        };
        match command {
            ConversationCommand::Change { access, request, .. } => {
                lacks(access, permissions::requirement(access.user_id, request))
            }
            ConversationCommand::Subscribe { access, .. } | ConversationCommand::Read { access, .. } => {
                lacks(access, Requirement::Role(MemberRole::Member))
            }
            // Not worth a question.
            ConversationCommand::Typing { .. } | ConversationCommand::Unsubscribe { .. } => false,
        }
    }

    /// Asks the database for its revision, unless a question is under way.
    fn ask(&mut self, ctx: &mut Context<Self>) {
        if !self.rechecks.start() {
            return;
        }
        let (context, id) = (self.context.clone(), self.state.id);
        let question = async move { store::load_rev(&context.database, id).await };
        ctx.spawn(question.into_actor(self).map(Self::asked));
    }

    fn asked(response: Result<Rev, Error>, actor: &mut Self, ctx: &mut Context<Self>) {
        match response {
            Ok(through) => {
                actor.rechecks.responded(through);
                let now = actor.now();
                actor.state.committed(Vec::new(), through, now, &mut actor.effects);
            }
            Err(error) => {
                tracing::warn!(%error, conversation.id = %actor.state.id, "revision not asked; refusing");
                refuse(actor.rechecks.take());
            }
        }
        actor.finish_turn(ctx);
    }

    /// Judges for good what the state has caught up with.
    pub(super) fn run_rechecks(&mut self, ctx: &mut Context<Self>) {
        for command in self.rechecks.take_due(self.state.rev) {
            self.carry_out(command, ctx);
            self.run_effects(ctx);
        }
        self.ask(ctx);
    }
}

/// Refuses what could not be judged.
pub(super) fn refuse(commands: Vec<ConversationCommand>) {
    for command in commands {
        command.refuse(Code::Unavailable);
    }
}
