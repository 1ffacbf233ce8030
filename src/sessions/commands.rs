//! What a session does with the frames of its client.
//!
//! A frame is parsed, accepted (it counts against the window until its reply has been handed to the
//! socket), checked against the user's quota, and then performed. Nothing here waits: what has to
//! be waited for, a quota in Redis or room in a mailbox, blocks the reader of the socket instead,
//! so nothing overtakes it.

use super::credentials;
use super::replies::{acknowledge, budget, confirm};
use super::session::{SessionActor, SessionContext};
use crate::auth::Access;
use crate::conversations::{ConversationHandle, MailboxFull, NewSubscriber, Request};
use crate::error::{CloseCode, Code};
use crate::ids::{ConversationId, Rev};
use crate::metrics::{Surface, metrics};
use crate::rate_limit::{QuotaCheck, QuotaDecision};
use crate::wire::frames::{Budget, Done, ErrorFrame, Pong};
use crate::wire::{ClientFrame, ParseError, ParsedFrame, Reply, limits, parse};
use actix::prelude::*;
use chrono::Utc;
use std::time::{Duration, Instant};

impl SessionActor {
    pub(super) fn handle_frame(&mut self, text: &str, ctx: &mut SessionContext) {
        let ParsedFrame { reference, frame } = match parse(text) {
            Ok(parsed) => parsed,
            Err(error) => return self.refuse_frame(error),
        };
        self.bad_frames = 0;
        let reply = if matches!(frame, ClientFrame::Typing { .. }) && reference.is_none() {
            Reply::none()
        } else {
            if !self.connection.accept_frame() {
                return;
            }
            Reply::new(self.connection.outbox.clone(), reference)
        };
        if !frame.is_limited() {
            return self.perform(frame, reply, None, ctx);
        }
        match self.sessions.dependencies.limits.try_check(self.connection.payer(), 1) {
            None => self.perform(frame, reply, None, ctx),
            Some(QuotaCheck::Decided(decision)) => self.perform_within_quota(frame, reply, decision, ctx),
            Some(QuotaCheck::Pending(pending)) => {
                // Nothing may overtake it.
                self.link.block();
                let decided = pending.decide().into_actor(self);
                ctx.spawn(decided.map(move |decision, session, ctx| {
                    session.link.unblock();
                    session.perform_within_quota(frame, reply, decision, ctx);
                }));
            }
        }
    }

    /// Performs what its user's quota allows, and refuses the rest before anything is done.
    fn perform_within_quota(
        &mut self,
        frame: ClientFrame,
        reply: Reply,
        decision: QuotaDecision,
        ctx: &mut SessionContext,
    ) {
        if self.connection.outbox.is_closed() {
            // While Redis was asked: revoked, say.
            return reply.skip();
        }
        let Some(retry_after_ms) = decision.retry_after_ms else {
            return self.perform(frame, reply, budget(decision), ctx);
        };
        self.refuse_limited(reply, retry_after_ms);
    }

    fn refuse_limited(&mut self, reply: Reply, retry_after_ms: u64) {
        metrics().rate_limited(self.connection.payer().tier(), Surface::Socket);
        reply.limited(retry_after_ms);
        self.connection.outbox.note_refusal();
    }

    fn perform(&mut self, frame: ClientFrame, reply: Reply, budget: Option<Budget>, ctx: &mut SessionContext) {
        match frame {
            ClientFrame::Ping => {
                let pong = Pong {
                    reference: reply.reference(),
                    server_time: Utc::now(),
                };
                reply.give(&pong);
            }
            ClientFrame::Refresh { token } => self.refresh(&token, reply),
            ClientFrame::Typing { conversation, on } => {
                self.with_subscribed(conversation, reply, ctx, |known, access, reply| {
                    known.typing(access, on, reply)
                });
            }
            ClientFrame::Subscribe { conversation, after } => self.subscribe(conversation, after, reply, ctx),
            ClientFrame::Unsubscribe { conversation } => {
                let Some(mut known) = self.subscriptions.remove(conversation) else {
                    return reply.ok(None);
                };
                let sent = known.unsubscribe(self.connection.id, reply);
                self.wait_for_room(sent, ctx);
            }
            ClientFrame::Read { conversation, seq } => {
                self.with_subscribed(conversation, reply, ctx, |known, access, reply| {
                    known.read(access, seq, reply)
                });
            }
            ClientFrame::Send {
                conversation,
                id,
                body,
                reply_to,
            } => {
                let request = Request::Post { id, body, reply_to };
                self.with_conversation(conversation, reply, ctx, |known, access, reply| {
                    known.change(access, request, acknowledge(reply, conversation, id, budget))
                });
            }
            ClientFrame::Edit {
                conversation,
                id,
                body,
                if_rev,
            } => {
                self.change(conversation, Request::Edit { id, body, if_rev }, reply, ctx);
            }
            ClientFrame::Delete {
                conversation,
                id,
                if_rev,
            } => {
                self.change(conversation, Request::Delete { id, if_rev }, reply, ctx);
            }
            ClientFrame::React {
                conversation,
                id,
                emoji,
                on,
                if_rev,
            } => {
                self.change(conversation, Request::React { id, emoji, on, if_rev }, reply, ctx);
            }
        }
    }

    fn refuse_frame(&mut self, error: ParseError) {
        let outbox = &self.connection.outbox;
        if !self.connection.accept_frame() {
            return;
        }
        outbox.reply(&ErrorFrame {
            reference: error.reference,
            code: error.code,
            message: error.message,
            retry_after_ms: error.code.retry_after_ms(),
        });
        if error.code == Code::BadFrame {
            self.bad_frames += 1;
        } else {
            self.bad_frames = 0;
        }
        if self.bad_frames >= limits::BAD_FRAMES_MAX {
            outbox.close(Some(CloseCode::BadProtocol));
        } else {
            outbox.note_refusal();
        }
    }

    fn refresh(&self, token: &str, reply: Reply) {
        match credentials::renew(&self.sessions.dependencies.auth, &self.connection, token) {
            Ok(token_expires_at) => {
                let frame = Done {
                    reference: reply.reference(),
                    rev: None,
                    token_expires_at,
                };
                reply.give(&frame);
            }
            Err(error) => reply.error(error.code, error.message),
        }
    }

    fn subscribe(&mut self, id: ConversationId, after: Option<Rev>, reply: Reply, ctx: &mut SessionContext) {
        if self.sessions.dependencies.limits.is_enabled()
            && let Err(wait) = self.subscribe_rate.admit(Instant::now())
        {
            return self.refuse_limited(reply, rounded_up_ms(wait));
        }
        let Ok(permit) = self.subscriptions.permit(id) else {
            return reply.error(
                Code::LimitReached,
                "This connection has as many subscriptions as it can.",
            );
        };
        let subscriber = NewSubscriber {
            connection: self.connection.id,
            outbox: self.connection.outbox.clone(),
            permit,
        };
        let access = self.connection.principal().access();
        let mut conversation = match self.find_or_start(id, &access) {
            Ok(conversation) => conversation,
            Err(error) => return self.refuse_start(reply, &error),
        };
        let sent = conversation.subscribe(access, subscriber, after, reply);
        self.subscriptions.requested(conversation);
        self.wait_for_room(sent, ctx);
    }

    fn change(&mut self, id: ConversationId, request: Request, reply: Reply, ctx: &mut SessionContext) {
        self.with_conversation(id, reply, ctx, |known, access, reply| {
            known.change(access, request, confirm(reply))
        });
    }

    /// Hands a command to a conversation; when its mailbox is full, nothing more is read until
    /// there was room.
    fn with_conversation(
        &mut self,
        id: ConversationId,
        reply: Reply,
        ctx: &mut SessionContext,
        command: impl FnOnce(&mut ConversationHandle, Access, Reply) -> Result<(), MailboxFull>,
    ) {
        let access = self.connection.principal().access();
        let sent = match self.subscriptions.handle_mut(id) {
            Some(known) => command(known, access, reply),
            None => match self.find_or_start(id, &access) {
                Ok(mut known) => command(&mut known, access, reply),
                Err(error) => return self.refuse_start(reply, &error),
            },
        };
        self.wait_for_room(sent, ctx);
    }

    /// The same for what only a subscriber may: it starts nothing, so it costs nothing.
    fn with_subscribed(
        &mut self,
        id: ConversationId,
        reply: Reply,
        ctx: &mut SessionContext,
        command: impl FnOnce(&mut ConversationHandle, Access, Reply) -> Result<(), MailboxFull>,
    ) {
        let access = self.connection.principal().access();
        let Some(known) = self.subscriptions.handle_mut(id) else {
            if reply.is_none() {
                // Nobody else counts it.
                self.connection.outbox.note_refusal();
            }
            return reply.error(Code::NotFound, "There is no such subscription on this connection.");
        };
        let sent = command(known, access, reply);
        self.wait_for_room(sent, ctx);
    }

    fn find_or_start(
        &self,
        id: ConversationId,
        access: &Access,
    ) -> Result<ConversationHandle, crate::conversations::Error> {
        match self.subscriptions.handle(id) {
            Some(known) => Ok(known.clone()),
            None => self.sessions.dependencies.conversations.conversation(access, id),
        }
    }

    fn refuse_start(&mut self, reply: Reply, error: &crate::conversations::Error) {
        match error {
            crate::conversations::Error::StartsSpent(wait) => self.refuse_limited(reply, rounded_up_ms(*wait)),
            other => reply.refuse(other.code()),
        }
    }

    fn wait_for_room(&self, sent: Result<(), MailboxFull>, ctx: &mut SessionContext) {
        let Err(full) = sent else { return };
        self.link.block();
        let link = self.link.clone();
        ctx.spawn(full.wait().into_actor(self).map(move |(), _, _| link.unblock()));
    }
}

/// A wait in milliseconds, rounded up, so that it is true.
fn rounded_up_ms(wait: Duration) -> u64 {
    u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).saturating_add(1)
}
