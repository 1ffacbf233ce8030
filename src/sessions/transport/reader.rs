//! The bytes that come in on a socket.
//!
//! All sockets of a worker read into one buffer of [`READ_BYTES_MAX`], and each keeps only what it
//! was sent. So a socket that receives nothing has no buffer. Used by `incoming.rs`, which asks for
//! more only when there is room for another frame.

use bytes::Bytes;
use futures_util::Stream;
use std::cell::RefCell;
use std::io::{Error, ErrorKind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::net::TcpStream;

/// Bytes taken from the kernel at a time.
const READ_BYTES_MAX: usize = 32 * 1024;

thread_local! {
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES_MAX].into_boxed_slice());
}

/// What a client sends, piece by piece; ends with the connection.
pub struct Reader {
    stream: Rc<TcpStream>,
    /// What had come with the handshake.
    first: Bytes,
}

impl Reader {
    pub(super) const fn new(stream: Rc<TcpStream>, first: Bytes) -> Self {
        Self { stream, first }
    }
}

/// Reads a piece into the worker's buffer and gives it to `take`; empty at the end of the
/// connection.
fn poll_read<T>(stream: &TcpStream, cx: &mut Context<'_>, take: impl FnOnce(&[u8]) -> T) -> Poll<Result<T, Error>> {
    BUFFER.with_borrow_mut(|buffer| {
        loop {
            ready!(stream.poll_read_ready(cx))?;
            match stream.try_read(buffer) {
                Ok(read) => return Poll::Ready(Ok(take(&buffer[..read]))),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    })
}

/// Reads and throws away; ready when the client's side of the connection has ended.
pub(super) fn poll_discard(stream: &TcpStream, cx: &mut Context<'_>) -> Poll<()> {
    while let Ok(more) = ready!(poll_read(stream, cx, |bytes| !bytes.is_empty())) {
        if !more {
            break;
        }
    }
    Poll::Ready(())
}

impl Stream for Reader {
    type Item = Result<Bytes, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if !this.first.is_empty() {
            return Poll::Ready(Some(Ok(std::mem::take(&mut this.first))));
        }
        let bytes = ready!(poll_read(&this.stream, cx, Bytes::copy_from_slice))?;
        Poll::Ready((!bytes.is_empty()).then_some(Ok(bytes)))
    }
}
