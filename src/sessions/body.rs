//! What a socket writes: the response body that drains the connection's outbox.
//!
//! The HTTP dispatcher asks it for bytes only while its own buffer has room, so frames stay in the outbox, where they are
//! counted, until they are really written; those that wait together leave in one write. Each time it is asked it also
//! polls the session, which reads: a socket that is not written to is not read from either, and nobody but the sweep can
//! end it.

use super::link::Link;
use crate::wire::{Drained, Outbox};
use bytes::Bytes;
use futures_util::Stream;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

/// Bytes joined into one write.
const WRITE_BYTES_MAX: usize = 64 * 1024;

/// The response body: polls the session, drains the outbox.
pub(super) struct Body<S> {
    /// The session's actor, as what runs it sees it.
    session: Pin<Box<S>>,
    outbox: Arc<Outbox>,
    link: Rc<Link>,
}

impl<S> Body<S> {
    pub(super) fn new(session: S, outbox: Arc<Outbox>, link: Rc<Link>) -> Self {
        Self {
            session: Box::pin(session),
            outbox,
            link,
        }
    }
}

impl<S, E> Stream for Body<S>
where
    S: Stream<Item = Result<Bytes, E>>,
{
    type Item = Result<Bytes, E>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        // The session writes nothing itself; it is polled to read.
        if let Poll::Ready(end) = this.session.as_mut().poll_next(cx) {
            return Poll::Ready(end);
        }
        match this.outbox.drain(WRITE_BYTES_MAX, cx.waker()) {
            Drained::Chunk { bytes, replies } => {
                this.link.answered(replies);
                Poll::Ready(Some(Ok(bytes)))
            }
            Drained::Close(bytes) => Poll::Ready(Some(Ok(bytes))),
            // After our close frame we wait for the client's, or until the sweep loses patience.
            Drained::Finished if this.link.is_over() => Poll::Ready(None),
            Drained::Finished | Drained::Idle => Poll::Pending,
        }
    }
}
