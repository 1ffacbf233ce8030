//! The task of one socket: it polls the session, so that it reads, and writes what waits in the
//! outbox.
//!
//! It ends when the session has ended, when both sides have closed, when the connection breaks, or
//! when it is told to from outside (the sweep, for a socket that takes no bytes).
//!
//! After the last close frame it waits for the client's side of the connection to end, for at most
//! [`LINGER`], and reads on meanwhile: closing a connection whose bytes were not read would take
//! back the close frame (RFC 9112 §9.6 has the same rule for HTTP).
//!
//! Bound: what waits is in the outbox. Here is one piece of it, 64 KiB and less unless a single
//! frame is larger. A panic of the session ends this task and the connection, and nothing else.

use super::link::Link;
use super::pace::Pace;
use super::reader::{Reader, poll_discard};
use super::upgraded::Upgraded;
use super::writer::Writer;
use crate::supervision::{Running, enter};
use crate::wire::{Drained, Outbox};
use futures_util::Stream;
use socket2::SockRef;
use std::net::Shutdown;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::Sleep;

/// What a session is called in logs and metrics.
const ACTOR: &str = "session";
/// Bytes taken from the outbox at a time.
const DRAIN_BYTES_MAX: usize = 64 * 1024;
/// How long the client may take to end its side after the last close frame.
const LINGER: Duration = Duration::from_secs(1);

/// The task of a socket; `S` is the running session, which writes nothing itself.
pub struct SocketTask<S> {
    session: Pin<Box<S>>,
    outbox: Arc<Outbox>,
    link: Rc<Link>,
    stream: Rc<TcpStream>,
    writer: Writer,
    /// For the log, should the session panic.
    running: Running,
    pace: Pace,
    /// Set when the last close frame is out.
    lingering: Option<Pin<Box<Sleep>>>,
}

impl<S> SocketTask<S> {
    /// Runs a socket; `session` makes the session that reads from it.
    #[must_use]
    pub fn new(upgraded: Upgraded, outbox: Arc<Outbox>, link: Rc<Link>, session: impl FnOnce(Reader) -> S) -> Self {
        let stream = Rc::new(upgraded.stream);
        let running = Running {
            name: ACTOR,
            id: Some(link.connection_id().0),
        };
        Self {
            session: Box::pin(session(Reader::new(stream.clone(), upgraded.received))),
            outbox,
            link,
            writer: Writer::new(stream.clone(), upgraded.head),
            stream,
            running,
            pace: Pace::default(),
            lingering: None,
        }
    }

    /// Writes what waits, until nothing does; ready when the connection is over.
    fn poll_outbox(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if ready!(self.writer.poll_write(cx)).is_err() {
                return Poll::Ready(());
            }
            if self.pace.must_wait(cx) {
                return Poll::Pending;
            }
            match self.outbox.drain(DRAIN_BYTES_MAX, cx.waker()) {
                Drained::Chunk { bytes, replies } => {
                    self.link.replied(replies);
                    self.pace.taken(bytes.len());
                    self.writer.add(bytes);
                }
                Drained::Close(bytes) => self.writer.add(bytes),
                // After our close frame we wait for the client's, or until the sweep loses
                // patience.
                Drained::Finished if self.link.is_over() => return self.poll_linger(cx),
                Drained::Finished | Drained::Idle => return Poll::Pending,
            }
        }
    }

    /// Says that nothing more comes, and waits for the client to do the same.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let stream = &self.stream;
        let lingering = self.lingering.get_or_insert_with(|| {
            // It fails only when the connection is gone already.
            drop(SockRef::from(&**stream).shutdown(Shutdown::Write));
            Box::pin(tokio::time::sleep(LINGER))
        });
        if poll_discard(stream, cx).is_ready() {
            return Poll::Ready(());
        }
        lingering.as_mut().poll(cx)
    }
}

impl<S, T> Future for SocketTask<S>
where
    S: Stream<Item = T>,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let _entered = enter(this.running);
        if this.link.must_end(cx) {
            return Poll::Ready(());
        }
        // A session yields nothing but its end.
        if this.session.as_mut().poll_next(cx).is_ready() {
            return Poll::Ready(());
        }
        this.poll_outbox(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::super::incoming::{Incoming, IncomingStream};
    use super::*;
    use crate::error::CloseCode;
    use crate::wire::{Class, Frame};
    use bytes::Bytes;
    use futures_util::{FutureExt as _, StreamExt as _};
    use std::cell::RefCell;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    /// A client, and the server's side of its connection after a handshake with this head.
    async fn connection(received: &'static [u8]) -> (TcpStream, Upgraded) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let (client, accepted) = tokio::join!(client, listener.accept());
        let upgraded = Upgraded {
            stream: accepted.unwrap().0,
            received: Bytes::from_static(received),
            head: Bytes::from_static(b"head"),
        };
        (client.unwrap(), upgraded)
    }

    fn parts() -> (Arc<Outbox>, Rc<Link>) {
        let link = Rc::new(Link::for_tests());
        (link.connection().outbox.clone(), link)
    }

    /// A session that never ends.
    fn silent(_: Reader) -> impl Stream<Item = ()> {
        futures_util::stream::pending()
    }

    #[actix_web::test]
    async fn a_session_has_a_name_while_it_runs() {
        let ((_client, upgraded), (outbox, link)) = (connection(b"").await, parts());
        let running = Running {
            name: ACTOR,
            id: Some(link.connection_id().0),
        };
        SocketTask::new(upgraded, outbox, link, |_| {
            futures_util::stream::poll_fn(move |_| {
                assert_eq!(crate::supervision::current(), Some(running));
                Poll::Ready(Some(()))
            })
        })
        .await;
        assert_eq!(crate::supervision::current(), None);
    }

    #[actix_web::test]
    async fn everything_is_written_and_then_the_connection_ends() {
        let ((mut client, upgraded), (outbox, link)) = (connection(b"").await, parts());
        outbox.push(Frame::raw(0x2, &[7; 200_000]), Class::Reply);
        outbox.close(Some(CloseCode::Draining));
        link.end();
        let task = SocketTask::new(upgraded, outbox, link, silent);
        let reading = async {
            let mut read = Vec::new();
            client.read_to_end(&mut read).await.unwrap();
            // Nobody reads this any more; it takes nothing back.
            client.write_all(b"late").await.unwrap();
            client.shutdown().await.unwrap();
            read
        };
        let ((), read) = tokio::join!(task, reading);
        let (head, rest) = read.split_at(4);
        let (frame, close) = rest.split_at(10 + 200_000);
        assert_eq!((head, &frame[10..]), (&b"head"[..], &[7; 200_000][..]));
        assert_eq!(close[0], 0x88, "{close:?}");
    }

    #[actix_web::test]
    async fn a_socket_that_takes_nothing_is_ended_from_outside() {
        let ((client, upgraded), (outbox, link)) = (connection(b"").await, parts());
        // More than the kernel holds for a client that does not read.
        outbox.push(Frame::raw(0x2, &vec![7; 64 << 20]), Class::Reply);
        let mut task = SocketTask::new(upgraded, outbox.clone(), link.clone(), silent);
        for _ in 0..100 {
            assert!(futures_util::poll!(&mut task).is_pending());
            tokio::task::yield_now().await;
        }
        assert!(outbox.progress().is_none(), "it is on its way");
        link.connection().shut_down();
        task.now_or_never().expect("it ends at once");
        drop(client);
    }

    #[actix_web::test]
    async fn what_came_with_the_handshake_is_read_first() {
        // Two frames, masked with zeros: one came early.
        let ((mut client, upgraded), (outbox, link)) = (connection(b"\x81\x81\0\0\0\0a").await, parts());
        client.write_all(b"\x81\x81\0\0\0\0b").await.unwrap();
        client.shutdown().await.unwrap();
        let read = Rc::new(RefCell::new(Vec::new()));
        let taken = read.clone();
        let task = SocketTask::new(upgraded, outbox, link.clone(), move |reader| {
            let incoming = IncomingStream::new(reader, link.clone(), 1_000);
            incoming
                .map(move |incoming| taken.borrow_mut().push(incoming))
                .filter(|()| futures_util::future::ready(false))
        });
        task.await;
        assert_eq!(*read.borrow(), [Incoming::Text("a".into()), Incoming::Text("b".into())]);
    }
}
