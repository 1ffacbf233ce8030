//! The bytes that go out on a socket: what was taken from the outbox and not yet written.
//!
//! Used by `task.rs`. What waits is in the outbox; here is one piece of it.

use bytes::{Buf as _, Bytes};
use std::io::{Error, ErrorKind};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::net::TcpStream;

/// Writes to a socket.
pub(super) struct Writer {
    stream: Rc<TcpStream>,
    /// Not yet written.
    rest: Bytes,
}

impl Writer {
    /// A writer that begins with `head`.
    pub(super) const fn new(stream: Rc<TcpStream>, head: Bytes) -> Self {
        Self { stream, rest: head }
    }

    /// Adds bytes, when everything before is written.
    pub(super) fn add(&mut self, bytes: Bytes) {
        debug_assert!(self.rest.is_empty(), "bytes would be lost");
        self.rest = bytes;
    }

    /// Writes what was added; ready when the kernel has all of it.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        while !self.rest.is_empty() {
            match self.stream.try_write(&self.rest) {
                Ok(0) => return Poll::Ready(Err(ErrorKind::WriteZero.into())),
                Ok(written) => self.rest.advance(written),
                Err(error) if error.kind() == ErrorKind::WouldBlock => ready!(self.stream.poll_write_ready(cx))?,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        // What was written is freed now, not with the next.
        self.rest = Bytes::new();
        Poll::Ready(Ok(()))
    }
}
