//! The actor of one WebSocket. The only file that names actix-web-actors.
//!
//! It owns the identity, the subscriptions and the window of one connection. It reads messages from [`IncomingStream`]
//! (not from the crate's own reader; see there why), turns each into a command for a conversation, and never waits for
//! the answer: replies and frames go into the connection's outbox, from whichever thread they come. The body drains the
//! outbox only when the HTTP dispatcher asks for more bytes, so what waits is counted in the outbox and nowhere else, and
//! frames that wait together leave in one write.
//!
//! A command that finds its conversation's mailbox full is waited for, and nothing behind it is read meanwhile, so the
//! order of one connection's sends is kept. A session has no timers: the sweep looks after it from outside. When it
//! crashes, the connection breaks, and its client resumes.

use super::answers::{acknowledge, budget, confirm, hello};
use super::connection::Connection;
use super::directory::Full;
use super::refusals::{Refusals, Subscribes};
use super::transport::{Body, Incoming, IncomingStream, Link};
use super::{Refused, Sessions, Socket};
use crate::auth::Access;
use crate::auth::Principal;
use crate::conversations::{self, ConversationHandle, NewSubscriber, Request};
use crate::error::{CloseCode, Code};
use crate::ids::{ConversationId, Network};
use crate::metrics::{Surface, metrics};
use crate::rate_limit::{QuotaCheck, QuotaDecision};
use crate::wire::frames::{Budget, Done, ErrorFrame, Pong};
use crate::wire::{ClientFrame, ParseError, ParsedFrame, Reply, encode, limits, parse};
use actix::prelude::*;
use actix_web::{HttpRequest, HttpResponse, web};
use actix_web_actors::ws;
use bytes::Bytes;
use chrono::Utc;
use futures_util::Stream;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::Semaphore;

/// What a socket is opened with.
pub struct Opening {
    /// Who connects.
    pub principal: Principal,
    /// The id of the handshake's request, which the socket has in the log.
    pub request_id: String,
    /// The sub-protocol to agree to, if the client offered some.
    pub protocol: Option<&'static str>,
    /// The duplicate of the descriptor, by which a stuck socket is ended.
    pub socket: Option<Arc<Socket>>,
    /// Where the client is.
    pub network: Network,
}

/// Why a socket was not opened.
#[derive(Debug)]
pub enum Unopened {
    /// The request is not a WebSocket handshake.
    Handshake(actix_web::Error),
    /// The node went away while the request was looked at.
    Refused(Refused),
}

/// Upgrades a request to a socket and starts its session.
///
/// # Errors
/// [`Unopened`].
pub fn open(
    sessions: &Sessions,
    request: &HttpRequest,
    payload: web::Payload,
    opening: Opening,
) -> Result<HttpResponse, Unopened> {
    let connection = Arc::new(Connection::new(opening.principal, opening.network, opening.socket));
    let protocols: Vec<_> = opening.protocol.into_iter().collect();
    let response = ws::handshake_with_protocols(request, &protocols);
    let mut response = response.map_err(|error| Unopened::Handshake(error.into()))?;
    let link = Rc::new(Link::new(connection.clone(), &opening.request_id));
    // Before anybody else can speak to the connection: the first word is the server's `hello`.
    greet(sessions, &connection);
    if let Err(full) = sessions.connected(&connection) {
        if full == Full::Leaving {
            return Err(Unopened::Refused(Refused::Draining));
        }
        connection.outbox.cut(full.close_code());
        // Nobody looks after it from outside: it ends with the close frame.
        link.end();
    }
    metrics().socket_opened();
    // What was revoked after the credentials were checked and before the connection was in the table.
    sessions.recheck(&connection);
    let incoming = IncomingStream::new(payload, link.clone(), limits::FRAME_BYTES_MAX);
    let session = Session {
        sessions: sessions.clone(),
        connection,
        link: link.clone(),
        incoming: Some(incoming),
        subscriptions: HashMap::new(),
        asked: 0,
        permits: Arc::new(Semaphore::new(limits::SUBSCRIPTIONS_MAX)),
        bad_frames: 0,
        refusals: Refusals::default(),
        subscribes: Subscribes::default(),
    };
    let outbox = session.connection.outbox.clone();
    Ok(response.streaming(Body::new(run(session), outbox, link)))
}

/// A conversation that this connection follows, or tried to.
struct Subscription {
    conversation: ConversationHandle,
    /// The number of the latest asking; those within the window may not have been answered yet.
    asked: u64,
}

/// The session of one WebSocket.
struct Session {
    sessions: Sessions,
    connection: Arc<Connection>,
    link: Rc<Link>,
    /// Handed to the context when the session starts.
    incoming: Option<IncomingStream<web::Payload>>,
    /// The way to conversations this connection follows, or tried to.
    subscriptions: HashMap<ConversationId, Subscription>,
    /// How many subscriptions were asked for.
    asked: u64,
    /// One for each subscription; given back when it ends, for whatever reason.
    permits: Arc<Semaphore>,
    /// `bad_frame` errors in a row.
    bad_frames: u32,
    /// What was refused: for the user's quota, for the number of subscriptions, or because it was no good frame.
    refusals: Refusals,
    /// The `subscribe` that were taken up.
    subscribes: Subscribes,
}

impl Actor for Session {
    type Context = ws::WebsocketContext<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if let Some(incoming) = self.incoming.take() {
            ctx.add_stream(incoming);
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let code = self.connection.outbox.finish();
        self.link.ended(code);
        self.sessions.disconnected(&self.connection);
        for Subscription { conversation, .. } in self.subscriptions.values() {
            conversation.disconnected(self.connection.id);
        }
    }
}

/// Demanded by `WebsocketContext`; its own reader is given nothing to read.
impl StreamHandler<Result<ws::Message, ws::ProtocolError>> for Session {
    fn handle(&mut self, _: Result<ws::Message, ws::ProtocolError>, _: &mut Self::Context) {}
}

impl StreamHandler<Incoming> for Session {
    fn handle(&mut self, incoming: Incoming, ctx: &mut Self::Context) {
        let outbox = &self.connection.outbox;
        if matches!(incoming, Incoming::Close | Incoming::Broken(_)) {
            self.link.end();
        }
        match incoming {
            Incoming::Close => outbox.close(Some(CloseCode::Normal)),
            Incoming::Broken(code) => outbox.close(Some(code)),
            _ if outbox.is_closed() => {}
            Incoming::Ping(payload) => outbox.pong(&payload),
            Incoming::Pong => {}
            Incoming::Binary(_) => outbox.close(Some(CloseCode::BadProtocol)),
            // What is not taken up before the goodbye is repeated on another node.
            Incoming::Text(_) if self.connection.is_draining() => {}
            Incoming::Text(text) => self.link.clone().span().in_scope(|| self.take_up(&text, ctx)),
        }
    }

    fn finished(&mut self, _: &mut Self::Context) {
        // The client's side of the connection has ended.
        self.link.end();
        self.connection.outbox.close(None);
    }
}

fn greet(sessions: &Sessions, connection: &Connection) {
    let hello = hello(connection, sessions.shared.node, sessions.shared.heartbeat);
    connection.outbox.push(encode(&hello), crate::wire::Class::Snapshot);
}

impl Session {
    fn take_up(&mut self, text: &str, ctx: &mut ws::WebsocketContext<Self>) {
        let ParsedFrame { reference, frame } = match parse(text) {
            Ok(parsed) => parsed,
            Err(error) => return self.refuse_frame(error),
        };
        self.bad_frames = 0;
        let reply = if matches!(frame, ClientFrame::Typing { .. }) && reference.is_none() {
            Reply::none()
        } else {
            if !self.connection.take_up() {
                return;
            }
            Reply::new(self.connection.outbox.clone(), reference)
        };
        if !frame.is_limited() {
            return self.perform(frame, reply, None, ctx);
        }
        match self.sessions.shared.limits.try_check(self.connection.payer(), 1) {
            None => self.perform(frame, reply, None, ctx),
            Some(QuotaCheck::Decided(decision)) => self.settle(frame, reply, decision, ctx),
            Some(QuotaCheck::Pending(pending)) => {
                // Nothing may overtake it.
                self.link.block();
                let decided = pending.decide().into_actor(self);
                ctx.spawn(decided.map(move |decision, session, ctx| {
                    session.link.unblock();
                    session.settle(frame, reply, decision, ctx);
                }));
            }
        }
    }

    /// Does what its user's quota allows, and refuses the rest before anything is done.
    fn settle(
        &mut self,
        frame: ClientFrame,
        reply: Reply,
        decision: QuotaDecision,
        ctx: &mut ws::WebsocketContext<Self>,
    ) {
        if self.connection.outbox.is_closed() {
            // While Redis was asked: revoked, say.
            return reply.forgo();
        }
        let Some(retry_after_ms) = decision.retry_after_ms else {
            return self.perform(frame, reply, budget(decision), ctx);
        };
        self.refuse_for_number(reply, retry_after_ms);
    }

    fn refuse_for_number(&mut self, reply: Reply, retry_after_ms: u64) {
        metrics().rate_limited(self.connection.payer().tier(), Surface::Socket);
        reply.limited(retry_after_ms);
        self.note_refusal();
    }

    /// Cuts off a client that goes on sending what is refused, unless limits are off.
    fn note_refusal(&mut self) {
        if self.sessions.shared.limits.is_enabled() && self.refusals.record(Instant::now()) {
            self.connection.outbox.close(Some(CloseCode::Flooding));
        }
    }

    fn perform(
        &mut self,
        frame: ClientFrame,
        reply: Reply,
        budget: Option<Budget>,
        ctx: &mut ws::WebsocketContext<Self>,
    ) {
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
                self.with_conversation(conversation, reply, ctx, |known, access, reply| {
                    known.typing(access, on, reply)
                });
            }
            ClientFrame::Subscribe { conversation, after } => self.subscribe(conversation, after, reply, ctx),
            ClientFrame::Unsubscribe { conversation } => {
                let Some(mut known) = self.subscriptions.remove(&conversation) else {
                    return reply.ok(None);
                };
                let sent = known.conversation.unsubscribe(self.connection.id, reply);
                self.wait_for_room(sent, ctx);
            }
            ClientFrame::Read { conversation, seq } => {
                self.with_conversation(conversation, reply, ctx, |known, access, reply| {
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
            ClientFrame::Edit { conversation, id, body } => {
                self.change(conversation, Request::Edit { id, body }, reply, ctx);
            }
            ClientFrame::Delete { conversation, id } => self.change(conversation, Request::Delete { id }, reply, ctx),
            ClientFrame::React {
                conversation,
                id,
                emoji,
                on,
            } => {
                self.change(conversation, Request::React { id, emoji, on }, reply, ctx);
            }
        }
    }

    fn refuse_frame(&mut self, error: ParseError) {
        let outbox = &self.connection.outbox;
        if !self.connection.take_up() {
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
            self.note_refusal();
        }
    }

    fn refresh(&self, token: &str, reply: Reply) {
        match self.sessions.renew(&self.connection, token) {
            Ok(token_expires_at) => {
                let frame = Done {
                    reference: reply.reference(),
                    rev: None,
                    token_expires_at,
                };
                reply.give(&frame);
            }
            Err((code, message)) => reply.error(code, message),
        }
    }

    fn subscribe(
        &mut self,
        id: ConversationId,
        after: Option<crate::ids::Rev>,
        reply: Reply,
        ctx: &mut ws::WebsocketContext<Self>,
    ) {
        if self.sessions.shared.limits.is_enabled()
            && let Err(wait) = self.subscribes.admit(Instant::now())
        {
            // Rounded up, so that it is true.
            let wait = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            return self.refuse_for_number(reply, wait.saturating_add(1));
        }
        let connection = self.connection.id;
        let follows = |known: &Subscription| known.conversation.has_subscriber(connection);
        let permit = self.permits.clone().try_acquire_owned().ok();
        if permit.is_none() && !self.subscriptions.get(&id).is_some_and(follows) {
            return reply.error(
                Code::LimitReached,
                "This connection has as many subscriptions as it can.",
            );
        }
        let subscriber = NewSubscriber {
            connection,
            outbox: self.connection.outbox.clone(),
            permit,
        };
        self.with_conversation(id, reply, ctx, |known, access, reply| {
            known.subscribe(access, subscriber, after, reply)
        });
        if self.subscriptions.len() >= limits::SUBSCRIPTIONS_MAX + limits::WINDOW {
            // More than can be followed or asked for: some were refused, or have ended since. What is on its way stays.
            let answered = self.asked.saturating_sub(limits::WINDOW as u64);
            self.subscriptions
                .retain(|_, known| known.asked >= answered || follows(known));
        }
        self.asked += 1;
        let asked = self.asked;
        if let Some(known) = self.subscriptions.get_mut(&id) {
            known.asked = asked;
        } else if let Ok(conversation) = self.sessions.shared.conversations.conversation(id) {
            self.subscriptions.insert(id, Subscription { conversation, asked });
        }
    }

    fn change(&mut self, id: ConversationId, request: Request, reply: Reply, ctx: &mut ws::WebsocketContext<Self>) {
        self.with_conversation(id, reply, ctx, |known, access, reply| {
            known.change(access, request, confirm(reply))
        });
    }

    /// Hands a command to a conversation; when its mailbox is full, nothing more is read until there was room.
    fn with_conversation(
        &mut self,
        id: ConversationId,
        reply: Reply,
        ctx: &mut ws::WebsocketContext<Self>,
        command: impl FnOnce(&mut ConversationHandle, Access, Reply) -> Result<(), conversations::MailboxFull>,
    ) {
        let access = self.connection.principal().access();
        let sent = match self.subscriptions.get_mut(&id) {
            Some(known) => command(&mut known.conversation, access, reply),
            None => match self.sessions.shared.conversations.conversation(id) {
                Ok(mut known) => command(&mut known, access, reply),
                Err(error) => return reply.refuse(error.code()),
            },
        };
        self.wait_for_room(sent, ctx);
    }

    fn wait_for_room(&self, sent: Result<(), conversations::MailboxFull>, ctx: &mut ws::WebsocketContext<Self>) {
        let Err(full) = sent else { return };
        self.link.block();
        let link = self.link.clone();
        ctx.spawn(full.wait().into_actor(self).map(move |(), _, _| link.unblock()));
    }
}

/// Runs a session; the stream is polled so that it reads, and yields nothing.
fn run(session: Session) -> impl Stream<Item = Result<Bytes, actix_web::Error>> {
    let nothing = futures_util::stream::pending::<Result<Bytes, actix_web::error::PayloadError>>();
    ws::WebsocketContext::create(session, nothing)
}
