//! The response body of one socket: it polls the session, so that it reads, and drains the outbox.
//!
//! The HTTP dispatcher copies what it is given into a write buffer of its own. That begins with 8
//! KiB, grows to hold the largest thing it ever was given, and keeps that size while the connection
//! lives (up to 128 KiB). A socket lives for days and is mostly idle, so the buffer must not grow.
//! So the body hands over at most [`PIECE_BYTES_MAX`] at a time, and the dispatcher is configured
//! (`http/server`) to write as soon as there might be no room for another piece.
//!
//! Bound: what waits is in the outbox. Here is one drain of it, 64 KiB and less unless a single
//! frame is larger.

use super::link::Link;
use super::pace::Pace;
use crate::supervision::{Running, enter};
use crate::wire::{Drained, Outbox};
use bytes::Bytes;
use futures_util::Stream;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

/// What a session is called in logs and metrics.
const ACTOR: &str = "session";
/// Bytes taken from the outbox at a time.
const DRAIN_BYTES_MAX: usize = 64 * 1024;
/// Bytes handed to the dispatcher at a time.
const PIECE_BYTES_MAX: usize = 4 * 1024;
/// The dispatcher writes when it holds this much: with less there is room for one more piece.
pub const WRITE_BUFFER_BYTES: usize = 8 * 1024 - PIECE_BYTES_MAX + 1;

/// The body; `S` is the running session, which writes nothing itself.
pub struct Body<S> {
    session: Pin<Box<S>>,
    outbox: Arc<Outbox>,
    link: Rc<Link>,
    /// For the log, should the session panic.
    running: Running,
    pace: Pace,
    /// Taken from the outbox, not yet handed over.
    rest: Bytes,
}

impl<S> Body<S> {
    /// Writes what waits in `outbox`; `session` is polled first, so that it reads.
    #[must_use]
    pub fn new(session: S, outbox: Arc<Outbox>, link: Rc<Link>) -> Self {
        let running = Running {
            name: ACTOR,
            id: Some(link.connection_id().0),
        };
        Self {
            running,
            session: Box::pin(session),
            outbox,
            link,
            pace: Pace::default(),
            rest: Bytes::new(),
        }
    }

    fn next_piece(&mut self) -> Bytes {
        self.rest.split_to(self.rest.len().min(PIECE_BYTES_MAX))
    }
}

impl<S, E> Stream for Body<S>
where
    S: Stream<Item = Result<Bytes, E>>,
{
    type Item = Result<Bytes, E>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let _entered = enter(this.running);
        if !this.rest.is_empty() {
            return Poll::Ready(Some(Ok(this.next_piece())));
        }
        if let Poll::Ready(end) = this.session.as_mut().poll_next(cx) {
            return Poll::Ready(end);
        }
        if this.pace.must_wait(cx) {
            return Poll::Pending;
        }
        match this.outbox.drain(DRAIN_BYTES_MAX, cx.waker()) {
            Drained::Chunk { bytes, replies } => {
                this.link.replied(replies);
                this.pace.taken(bytes.len());
                this.rest = bytes;
                Poll::Ready(Some(Ok(this.next_piece())))
            }
            Drained::Close(bytes) => Poll::Ready(Some(Ok(bytes))),
            // After our close frame we wait for the client's, or until the sweep loses patience.
            Drained::Finished if this.link.is_over() => Poll::Ready(None),
            Drained::Finished | Drained::Idle => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::CloseCode;
    use crate::wire::{Class, Frame};
    use futures_util::FutureExt as _;
    use futures_util::StreamExt as _;

    #[test]
    fn a_session_has_a_name_while_it_runs() {
        let link = Rc::new(Link::for_tests());
        let session = futures_util::stream::poll_fn(|_| {
            let running = crate::supervision::current();
            Poll::Ready(Some(Ok::<_, ()>(Bytes::from(format!("{running:?}")))))
        });
        let mut body = Body::new(session, Arc::new(Outbox::new()), link.clone());
        let said = body.next().now_or_never().unwrap().unwrap().unwrap();
        let running = Running {
            name: ACTOR,
            id: Some(link.connection_id().0),
        };
        assert_eq!(said, format!("{:?}", Some(running)));
        assert_eq!(crate::supervision::current(), None);
    }

    #[test]
    fn a_large_frame_leaves_in_pieces_that_never_make_the_buffer_grow() {
        let (outbox, link) = (Arc::new(Outbox::new()), Rc::new(Link::for_tests()));
        let session = futures_util::stream::pending::<Result<Bytes, ()>>();
        let mut body = Body::new(session, outbox.clone(), link.clone());
        outbox.push(Frame::raw(0x2, &[7; 20_000]), Class::Reply);
        outbox.close(Some(CloseCode::Draining));
        link.end();
        let pieces: Vec<_> = body.by_ref().map(Result::unwrap).collect().now_or_never().unwrap();
        let (close, data) = pieces.split_last().unwrap();
        assert_eq!(close[0], 0x88);
        assert_eq!(data.concat()[4..], [7; 20_000]);
        assert!(
            data.iter()
                .all(|piece| piece.len() + WRITE_BUFFER_BYTES - 1 <= 8 * 1024)
        );
    }
}
