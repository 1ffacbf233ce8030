//! What waits for one socket: encoded frames, bounded by bytes and by count.
//!
//! An outbox is shared by the many who push (conversations, writer lanes, the sweep) and the one
//! who drains (the response body of the socket, on its worker thread). Pushing never waits: it
//! takes a short lock, appends a reference to bytes that were encoded once for all readers, and
//! wakes the socket if it sleeps, once for however many frames. What is refused is counted here
//! (`refusals.rs`), because conversations refuse too, after the session has gone on.
//!
//! Bounds. Live frames count against 1 MiB and 1,024 frames (`outbox_queue.rs`). At half of that,
//! frames that only matter now (`typing`, `presence`, `read`) are dropped. When it is full, the
//! connection is cut with 4201 and everything that waited is freed: the reader resumes by revision.
//! Replies do not count: the session's window of unanswered frames bounds them. All replays of the
//! connection together wait here one page at a time ([`Outbox::page_turn`]): the producer of a page
//! makes it when it is its turn, and the next turn begins when the page has been taken.
//!
//! A socket that is not written to is not polled either (the response body is only asked for more
//! when there is room), so nobody can rely on the session to notice that it is stuck:
//! [`Outbox::progress`] lets the sweep see it from outside.

use super::encode::{Frame, encode, encode_close, encode_ping, encode_pong};
use super::frames::ServerFrame;
use super::outbox_queue::{Class, OutboxQueue, Pushed};
use super::refusals::Refusals;
use super::replay_page::{PageSent, PageTurn, ReplayPage, ReplayWatch};
use crate::error::CloseCode;
use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use std::task::Waker;
use std::time::Instant;
use tokio::sync::{Semaphore, oneshot};

/// What the socket has to do next.
#[derive(Debug)]
pub enum Drained {
    /// Bytes to write now.
    Chunk {
        bytes: Bytes,
        /// How many direct replies it holds.
        replies: u32,
    },
    /// Write this close frame, then nothing more.
    Close(Bytes),
    /// Nothing to write; the waker is registered.
    Idle,
    /// The close frame has been written.
    Finished,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OutboxPhase {
    Open,
    /// What waits is written first, then the close frame.
    Closing(Option<CloseCode>),
    Finished,
}

#[derive(Debug)]
struct OutboxState {
    queue: OutboxQueue,
    /// Grows with every drain that took something; see [`Outbox::progress`].
    drains: u64,
    /// Bytes that have been taken.
    taken_bytes: u64,
    phase: OutboxPhase,
    /// With what it was closed first.
    closed_with: Option<CloseCode>,
    waker: Option<Waker>,
    /// `None` when limits are off.
    refusals: Option<Refusals>,
}

/// The outbox of one socket.
#[derive(Debug)]
pub struct Outbox {
    state: Mutex<OutboxState>,
    /// One permit: for the page of a replay that is made, or waits here.
    page_turns: Semaphore,
}

/// What an outbox in which something waits looks like from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboxProgress {
    /// How often something was taken. The same number some seconds later means that the socket
    /// takes nothing.
    pub drains: u64,
    /// How many bytes were taken.
    pub taken_bytes: u64,
    /// How many wait.
    pub waiting_bytes: usize,
}

impl Default for Outbox {
    fn default() -> Self {
        Self::new(true)
    }
}

impl Outbox {
    /// `is_limited`: whether a client that goes on sending what is refused is closed.
    #[must_use]
    pub fn new(is_limited: bool) -> Self {
        Self {
            state: Mutex::new(OutboxState {
                queue: OutboxQueue::default(),
                drains: 0,
                taken_bytes: 0,
                phase: OutboxPhase::Open,
                closed_with: None,
                waker: None,
                refusals: is_limited.then(Refusals::default),
            }),
            page_turns: Semaphore::new(1),
        }
    }

    /// Counts a refusal, and closes with 4101 at one too many.
    pub fn note_refusal(&self) {
        let flooded = match &mut self.state.lock().refusals {
            Some(refusals) => refusals.record(Instant::now()),
            None => false,
        };
        if flooded {
            self.close(Some(CloseCode::Flooding));
        }
    }

    /// Appends a frame; never waits.
    pub fn push(&self, frame: Frame, class: Class) -> Pushed {
        let mut state = self.state.lock();
        if state.phase != OutboxPhase::Open {
            return Pushed::Closed;
        }
        let pushed = state.queue.push(frame, class);
        if pushed == Pushed::Overflowed {
            state.phase = OutboxPhase::Closing(Some(CloseCode::TooSlow));
            state.closed_with = Some(CloseCode::TooSlow);
        }
        if pushed != Pushed::Dropped {
            wake(state);
        }
        pushed
    }

    /// Encodes and appends the direct reply to a client frame.
    pub fn reply<F: ServerFrame>(&self, frame: &F) -> Pushed {
        self.push(encode(frame), Class::Reply)
    }

    /// Waits for the turn to make a page of a replay, and to append it; `None` when the connection
    /// ends first. The turn is held until the page has been taken.
    pub async fn page_turn(&self) -> Option<PageTurn<'_>> {
        let permit = self.page_turns.acquire().await.ok()?;
        Some(PageTurn { _permit: permit })
    }

    /// Appends one page of a replay, in its turn. The receiver resolves when the socket has taken it.
    pub fn push_page(&self, frame: Frame, watch: &ReplayWatch) -> PageSent {
        let (sent, receiver) = oneshot::channel();
        let mut state = self.state.lock();
        if state.phase == OutboxPhase::Open {
            state.queue.push_page(ReplayPage {
                frame,
                watch: watch.clone(),
                sent,
            });
            wake(state);
        }
        receiver
    }

    /// Appends a WebSocket ping.
    pub fn ping(&self) -> Pushed {
        self.push(encode_ping(), Class::Snapshot)
    }

    /// Appends the pong to a WebSocket ping. Past 64 unwritten ones it does nothing, which RFC 6455
    /// §5.5.3 allows.
    pub fn pong(&self, payload: &[u8]) {
        if self.state.lock().queue.admit_pong() {
            self.push(encode_pong(payload), Class::Snapshot);
        }
    }

    /// Closes after what waits has been written. The first close wins.
    pub fn close(&self, code: Option<CloseCode>) {
        self.end(code, false);
    }

    /// Closes at once: what waits is freed and not written.
    pub fn cut(&self, code: CloseCode) {
        self.end(Some(code), true);
    }

    fn end(&self, code: Option<CloseCode>, discard: bool) {
        let mut state = self.state.lock();
        if state.phase == OutboxPhase::Finished {
            return;
        }
        if discard {
            state.queue.clear();
        }
        if state.phase == OutboxPhase::Open {
            state.phase = OutboxPhase::Closing(code);
            state.closed_with = code;
        }
        // A page's producer must not wait for a socket that is closing.
        state.queue.clear_pages();
        self.page_turns.close();
        wake(state);
    }

    /// Marks the socket as gone and frees everything. Returns the code with which it was closed, if
    /// it was.
    pub fn finish(&self) -> Option<CloseCode> {
        let mut state = self.state.lock();
        state.queue.clear();
        self.page_turns.close();
        state.phase = OutboxPhase::Finished;
        state.waker = None;
        state.closed_with
    }

    /// Takes what the socket should write next, at most about `bytes_max` bytes, or registers
    /// `waker`.
    pub fn drain(&self, bytes_max: usize, waker: &Waker) -> Drained {
        let mut state = self.state.lock();
        if let Some(taken) = state.queue.take(bytes_max) {
            state.drains += 1;
            state.taken_bytes += taken.len() as u64;
            drop(state);
            let replies = taken.replies();
            return Drained::Chunk {
                bytes: taken.join(),
                replies,
            };
        }
        match state.phase {
            OutboxPhase::Open => {
                match &mut state.waker {
                    Some(known) => known.clone_from(waker),
                    none => *none = Some(waker.clone()),
                }
                Drained::Idle
            }
            OutboxPhase::Closing(code) => {
                state.phase = OutboxPhase::Finished;
                state.drains += 1;
                Drained::Close(encode_close(code).into_bytes())
            }
            OutboxPhase::Finished => Drained::Finished,
        }
    }

    /// How far the socket has got, if anything still waits.
    #[must_use]
    pub fn progress(&self) -> Option<OutboxProgress> {
        let state = self.state.lock();
        let waits = !state.queue.is_empty() || matches!(state.phase, OutboxPhase::Closing(_));
        waits.then(|| OutboxProgress {
            drains: state.drains,
            taken_bytes: state.taken_bytes,
            waiting_bytes: state.queue.len(),
        })
    }

    /// Whether the connection is closing or gone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.state.lock().phase != OutboxPhase::Open
    }
}

/// Wakes the socket if it sleeps, after the lock has been released.
fn wake(mut state: MutexGuard<'_, OutboxState>) {
    let waker = state.waker.take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::super::outbox_queue::{BYTES_MAX, FRAMES_MAX};
    use super::super::replay_page::ReplayInterest;
    use super::*;
    use futures_util::FutureExt as _;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    struct CountWakes(AtomicUsize);
    impl Wake for CountWakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn frame_of(payload_bytes: usize) -> Frame {
        Frame::raw(0x1, &vec![b'x'; payload_bytes])
    }

    fn chunk(outbox: &Outbox) -> (Bytes, u32) {
        match outbox.drain(64 * 1024, Waker::noop()) {
            Drained::Chunk { bytes, replies } => (bytes, replies),
            other => panic!("expected a chunk, got {other:?}"),
        }
    }

    #[test]
    fn many_pushes_wake_once_and_leave_in_one_chunk() {
        let outbox = Outbox::default();
        let wakes = Arc::new(CountWakes(AtomicUsize::new(0)));
        assert!(matches!(outbox.drain(1024, &Waker::from(wakes.clone())), Drained::Idle));
        for _ in 0..5 {
            assert_eq!(outbox.push(frame_of(10), Class::Durable), Pushed::Queued);
        }
        outbox.push(frame_of(10), Class::Reply);
        assert_eq!(wakes.0.load(Ordering::SeqCst), 1);
        let (bytes, replies) = chunk(&outbox);
        assert_eq!((bytes.len(), replies), (6 * 12, 1));
    }

    #[test]
    fn ephemeral_frames_give_way_at_half_and_durable_ones_cut_at_full() {
        let outbox = Outbox::default();
        for _ in 0..FRAMES_MAX / 2 {
            assert_eq!(outbox.push(frame_of(1), Class::Durable), Pushed::Queued);
        }
        assert_eq!(outbox.push(frame_of(1), Class::Ephemeral), Pushed::Dropped);
        for _ in 0..FRAMES_MAX / 2 {
            assert_eq!(outbox.push(frame_of(1), Class::Durable), Pushed::Queued);
        }
        assert_eq!(
            outbox.push(frame_of(1), Class::Reply),
            Pushed::Queued,
            "a reply never cuts its client"
        );
        assert_eq!(outbox.push(frame_of(1), Class::Durable), Pushed::Overflowed);
        assert_eq!(outbox.push(frame_of(1), Class::Durable), Pushed::Closed);
        let Drained::Close(bytes) = outbox.drain(1024, Waker::noop()) else {
            panic!("the queue was freed")
        };
        assert_eq!(bytes[2..4], 4201_u16.to_be_bytes());
    }

    #[test]
    fn bytes_are_bounded_too() {
        let outbox = Outbox::default();
        let big = frame_of(BYTES_MAX / 2);
        assert_eq!(outbox.push(big.clone(), Class::Durable), Pushed::Queued);
        assert_eq!(outbox.push(big, Class::Durable), Pushed::Overflowed);
    }

    #[test]
    fn what_waits_is_written_before_a_close_and_nothing_after_a_cut() {
        let outbox = Outbox::default();
        outbox.push(frame_of(3), Class::Durable);
        outbox.close(Some(CloseCode::Draining));
        assert_eq!(outbox.push(frame_of(3), Class::Durable), Pushed::Closed);
        assert_eq!(chunk(&outbox).0.len(), 5);
        assert!(matches!(outbox.drain(10, Waker::noop()), Drained::Close(_)));
        assert!(matches!(outbox.drain(10, Waker::noop()), Drained::Finished));

        let outbox = Outbox::default();
        outbox.push(frame_of(3), Class::Durable);
        outbox.cut(CloseCode::Revoked);
        assert!(matches!(outbox.drain(10, Waker::noop()), Drained::Close(_)));
    }

    #[test]
    fn a_page_does_not_count_and_tells_when_it_was_taken() {
        let outbox = Outbox::default();
        let interest = ReplayInterest::default();
        let mut sent = outbox.push_page(frame_of(BYTES_MAX * 2), &interest.watch());
        assert_eq!(outbox.push(frame_of(1), Class::Durable), Pushed::Queued);
        assert!(sent.try_recv().is_err());
        let waiting_bytes = 2 * BYTES_MAX + 10 + 3;
        let progress = OutboxProgress {
            drains: 0,
            taken_bytes: 0,
            waiting_bytes,
        };
        assert_eq!(outbox.progress(), Some(progress));
        chunk(&outbox);
        assert!(sent.try_recv().is_ok());
        assert_eq!(outbox.progress(), None);
        outbox.push(frame_of(1), Class::Durable);
        let progress = OutboxProgress {
            drains: 1,
            taken_bytes: waiting_bytes as u64,
            waiting_bytes: 3,
        };
        assert_eq!(outbox.progress(), Some(progress));
    }

    #[tokio::test]
    async fn one_page_of_a_connection_is_made_at_a_time() {
        let outbox = Outbox::default();
        let first = outbox.page_turn().await.unwrap();
        let mut second = Box::pin(outbox.page_turn());
        assert!(second.as_mut().now_or_never().is_none());
        drop(first);
        let second = second.now_or_never().unwrap();
        assert!(second.is_some());
        // Nobody waits for a connection that is gone.
        let mut third = Box::pin(outbox.page_turn());
        assert!(third.as_mut().now_or_never().is_none());
        outbox.close(None);
        assert!(third.now_or_never().unwrap().is_none());
    }

    #[tokio::test]
    async fn the_end_of_a_replay_can_be_waited_for() {
        let interest = ReplayInterest::default();
        let watch = interest.watch();
        let mut over = Box::pin(watch.over());
        assert!(over.as_mut().now_or_never().is_none());
        drop(interest);
        assert!(over.now_or_never().is_some());
        assert!(watch.over().now_or_never().is_some());
    }

    #[test]
    fn pages_of_an_abandoned_replay_are_not_written() {
        let outbox = Outbox::default();
        let interest = ReplayInterest::default();
        let mut sent = outbox.push_page(frame_of(10), &interest.watch());
        drop(interest);
        assert!(matches!(outbox.drain(1024, Waker::noop()), Drained::Idle));
        assert!(sent.try_recv().is_err());
    }
}
