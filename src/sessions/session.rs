//! The actor of one WebSocket. The only file that names actix-web-actors.
//!
//! It owns the identity, the subscriptions and the window of one connection. It reads messages from
//! [`IncomingStream`] (not from the crate's own reader; see there why) and turns each into a
//! command for a conversation (`commands.rs`). It never waits for a reply: replies and frames go
//! into the connection's outbox, from whichever thread they come. The socket's task drains the
//! outbox only when everything before has been written. So what waits is counted in the outbox and
//! nowhere else, and frames that wait together leave in one write.
//!
//! A command that finds its conversation's mailbox full is waited for, and nothing behind it is
//! read meanwhile, so the order of one connection's sends is kept. A session has no timers: the
//! sweep looks after it from outside. When it crashes, the connection breaks, and its client
//! resumes.

use super::connection::Connection;
use super::credentials;
use super::directory::AdmissionError;
use super::handle::SessionsHandle;
use super::replies::hello;
use super::subscribe_rate::SubscribeRate;
use super::subscriptions::Subscriptions;
use super::transport::{Incoming, IncomingStream, Link, Reader, SocketTask, Takeover};
use crate::auth::Principal;
use crate::error::CloseCode;
use crate::ids::Network;
use crate::metrics::metrics;
use crate::wire::{Class, encode, limits};
use actix::prelude::*;
use actix_web::{HttpRequest, HttpResponse};
use actix_web_actors::ws;
use bytes::Bytes;
use futures_util::Stream;
use std::rc::Rc;
use std::sync::Arc;

/// What a socket is opened with.
pub struct SocketRequest {
    pub principal: Principal,
    /// The id of the handshake's request, which the socket has in the log.
    pub request_id: String,
    /// The sub-protocol to agree to, if the client offered some.
    pub protocol: Option<&'static str>,
    /// Where the client is.
    pub network: Network,
}

/// Why a socket was not opened.
#[derive(Debug)]
pub enum OpenError {
    /// The request is not a WebSocket handshake.
    Handshake(actix_web::Error),
    /// The node began to drain after it had been asked.
    Admission(AdmissionError),
}

/// Responds to the handshake of a socket, and leaves in the response what runs its session once the
/// server has let go of the connection. A user or an address that has too many gets a socket, too:
/// it is closed at once, with a code that says why.
///
/// # Errors
/// [`OpenError`].
pub fn open(sessions: &SessionsHandle, http: &HttpRequest, request: SocketRequest) -> Result<HttpResponse, OpenError> {
    let is_limited = sessions.dependencies.limits.is_enabled();
    let connection = Arc::new(Connection::new(request.principal, request.network, is_limited));
    let protocols: Vec<_> = request.protocol.into_iter().collect();
    let response = ws::handshake_with_protocols(http, &protocols);
    let mut response = response.map_err(|error| OpenError::Handshake(error.into()))?;
    let link = Rc::new(Link::new(connection.clone(), &request.request_id));
    // Before anybody else can push to the connection: the first frame is `hello`.
    greet(sessions, &connection);
    if let Err(error) = sessions.connected(&connection) {
        if error == AdmissionError::Draining {
            return Err(OpenError::Admission(error));
        }
        connection.outbox.cut(error.close_code());
        // The sweep does not know it: it ends with the close frame.
        link.end();
    }
    metrics().socket_opened();
    // What was revoked after the credentials were checked and before the connection was admitted.
    credentials::recheck(&sessions.dependencies.auth, &connection);
    let session = SessionActor {
        sessions: sessions.clone(),
        subscriptions: Subscriptions::new(connection.id),
        connection,
        link,
        incoming: None,
        bad_frames: 0,
        subscribe_rate: SubscribeRate::default(),
    };
    let takeover = Takeover::new(move |upgraded| {
        let (outbox, link) = (session.connection.outbox.clone(), session.link.clone());
        SocketTask::new(upgraded, outbox, link, |reader| session.run(reader))
    });
    let mut response = response.finish();
    response.extensions_mut().insert(takeover);
    Ok(response)
}

/// The session of one WebSocket.
pub(super) struct SessionActor {
    pub(super) sessions: SessionsHandle,
    pub(super) connection: Arc<Connection>,
    pub(super) link: Rc<Link>,
    /// Handed to the context when the session starts.
    incoming: Option<IncomingStream<Reader>>,
    pub(super) subscriptions: Subscriptions,
    /// `bad_frame` errors in a row.
    pub(super) bad_frames: u32,
    pub(super) subscribe_rate: SubscribeRate,
}

pub(super) type SessionContext = ws::WebsocketContext<SessionActor>;

impl SessionActor {
    /// Runs the session on what is read; the stream is polled so that it reads, and yields nothing.
    fn run(mut self, reader: Reader) -> impl Stream<Item = Result<Bytes, actix_web::Error>> {
        self.incoming = Some(IncomingStream::new(reader, self.link.clone(), limits::FRAME_BYTES_MAX));
        let nothing = futures_util::stream::pending::<Result<Bytes, actix_web::error::PayloadError>>();
        ws::WebsocketContext::create(self, nothing)
    }
}

impl Actor for SessionActor {
    type Context = SessionContext;

    fn started(&mut self, ctx: &mut Self::Context) {
        if let Some(incoming) = self.incoming.take() {
            ctx.add_stream(incoming);
        }
    }
}

impl Drop for SessionActor {
    fn drop(&mut self) {
        let code = self.connection.outbox.finish();
        self.link.ended(code);
        self.sessions.disconnected(&self.connection);
        for conversation in self.subscriptions.handles() {
            conversation.disconnected(self.connection.id);
        }
    }
}

/// Demanded by `WebsocketContext`; its own reader is given nothing to read.
impl StreamHandler<Result<ws::Message, ws::ProtocolError>> for SessionActor {
    fn handle(&mut self, _: Result<ws::Message, ws::ProtocolError>, _: &mut Self::Context) {}
}

impl StreamHandler<Incoming> for SessionActor {
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
            // The client repeats on another node what was not accepted before the goodbye.
            Incoming::Text(_) if self.connection.is_draining() => {}
            Incoming::Text(text) => self.link.clone().span().in_scope(|| self.handle_frame(&text, ctx)),
        }
    }

    fn finished(&mut self, _: &mut Self::Context) {
        // The client's side of the connection has ended.
        self.link.end();
        self.connection.outbox.close(None);
    }
}

fn greet(sessions: &SessionsHandle, connection: &Connection) {
    let hello = hello(connection, sessions.dependencies.node, sessions.heartbeat);
    connection.outbox.push(encode(&hello), Class::Snapshot);
}
