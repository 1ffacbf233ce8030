//! What the parts of one socket share on their worker thread: the actor that reads, the stream it
//! reads from, and the task that writes.
//!
//! The window is here. A frame counts from when it is accepted until its reply has been handed to
//! the socket. At [`limits::WINDOW`] the stream stops, TCP pushes back, and nothing is dropped.
//! Everything here belongs to one thread. What others look at (silence, frames in flight) is in the
//! shared [`Connection`].

use crate::error::CloseCode;
use crate::ids::ConnectionId;
use crate::metrics::metrics;
use crate::sessions::connection::Connection;
use crate::wire::limits;
use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::task::{Context, Waker};
use tracing::Span;

/// The state that actor, stream and task share.
pub struct Link {
    connection: Arc<Connection>,
    /// A command waits for room in its conversation, and nothing may overtake it.
    blocked: Cell<bool>,
    /// The client has closed, or broke the protocol: the task ends when the close frame is out.
    over: Cell<bool>,
    reader: RefCell<Option<Waker>>,
    /// Who is connected, for whatever is logged on behalf of this socket. Made once. Entered for a
    /// frame that comes in and not for those that go out, of which there are a million a second.
    span: Span,
}

impl Link {
    /// The link of a socket; `request_id` is its handshake's.
    #[must_use]
    pub fn new(connection: Arc<Connection>, request_id: &str) -> Self {
        let span = tracing::info_span!(
            parent: None,
            "socket",
            request.id = request_id,
            connection.id = %connection.id,
            tenant.id = %connection.tenant_id,
            user.id = %connection.user_id,
        );
        Self {
            connection,
            span,
            blocked: Cell::new(false),
            over: Cell::new(false),
            reader: RefCell::new(None),
        }
    }

    #[cfg(test)]
    pub(crate) fn for_tests() -> Self {
        Self::new(Arc::new(Connection::for_tests()), "test")
    }

    #[cfg(test)]
    pub(super) const fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    pub(crate) const fn span(&self) -> &Span {
        &self.span
    }

    /// Counts and logs the end of the socket, and the code it was closed with, unless its client
    /// was just gone.
    pub(crate) fn ended(&self, code: Option<CloseCode>) {
        metrics().socket_closed(code);
        let seconds = self.connection.age().as_secs_f64();
        self.span
            .in_scope(|| tracing::info!(target: "access", code = code.map(CloseCode::as_u16), seconds, "socket ended"));
    }

    pub(crate) fn connection_id(&self) -> ConnectionId {
        self.connection.id
    }

    /// Whether another frame may be read; if not, the reader is woken when it may.
    pub(crate) fn may_read(&self, cx: &Context<'_>) -> bool {
        // A closing connection accepts nothing any more, but waits for the client's close frame.
        let may =
            self.connection.outbox.is_closed() || (!self.blocked.get() && self.connection.in_flight() < limits::WINDOW);
        if !may {
            *self.reader.borrow_mut() = Some(cx.waker().clone());
        }
        may
    }

    /// Whether the connection is to end at once; if not, the task is woken when it is.
    pub(crate) fn must_end(&self, cx: &Context<'_>) -> bool {
        self.connection.is_shut_down(cx.waker())
    }

    /// Bytes have come in.
    pub(crate) fn received(&self) {
        self.connection.received();
    }

    /// Nothing more is read until [`Self::unblock`].
    pub(crate) fn block(&self) {
        self.blocked.set(true);
    }

    /// Undoes [`Self::block`].
    pub(crate) fn unblock(&self) {
        self.blocked.set(false);
        self.wake();
    }

    /// Replies have been handed to the socket.
    pub(crate) fn replied(&self, replies: u32) {
        if replies > 0 {
            self.connection.replied(replies);
            self.wake();
        }
    }

    /// The client will not send anything that matters.
    pub fn end(&self) {
        self.over.set(true);
    }

    /// Whether the client will not send anything that matters.
    pub(crate) const fn is_over(&self) -> bool {
        self.over.get()
    }

    fn wake(&self) {
        if let Some(reader) = self.reader.borrow_mut().take() {
            reader.wake();
        }
    }
}
