//! What waits for one socket: encoded frames, bounded by bytes and by count.
//!
//! An outbox is shared by the many who push (conversations, writer lanes, the heartbeat) and the one who drains (the
//! response body of the socket, on its worker thread). Pushing never waits: it takes a short lock, appends a reference to
//! bytes that were encoded once for all readers, and wakes the socket if it sleeps, once for however many frames.
//!
//! Bounds. Live frames count against 1 MiB and 1,024 frames. At half of that, frames that only matter now (`typing`,
//! `presence`, `read`) are dropped; when it is full, the connection is cut with 4201 and everything that waited is freed:
//! the reader resumes by revision. Replies do not count: the session's window of unanswered frames bounds them. A replay
//! waits here one page at a time, and its producer waits for the page to be taken before it reads the next.
//!
//! A socket that is not written to is not polled either (the response body is only asked for more when there is room),
//! so nobody can rely on the session to notice that it is stuck: [`Outbox::progress`] lets the sweep see it from outside.

use super::encode::{Frame, encode, encode_close, encode_ping, encode_pong};
use super::frames::ServerFrame;
use crate::error::CloseCode;
use crate::metrics::{Eviction, metrics};
use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;
use tokio::sync::oneshot;

/// Most bytes of live frames that wait for one socket.
const BYTES_MAX: usize = 1 << 20;
/// Most live frames that wait for one socket.
const FRAMES_MAX: usize = 1_024;
/// Pongs that wait; a client that pings without reading gets no more than these.
const PONGS_MAX: usize = 64;

/// How a frame is treated when room is short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Never dropped; when there is no room the connection is cut.
    Durable,
    /// Dropped when the outbox is half full.
    Ephemeral,
    /// The one direct reply to a client frame; does not count, the window bounds it.
    Reply,
    /// Part of a small snapshot or replay that goes before its `subscribed` reply; does not count, the window bounds it.
    Snapshot,
}

/// What became of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It will be written.
    Queued,
    /// It was ephemeral and there was little room.
    Dropped,
    /// There was no room: the connection is being cut.
    Overflowed,
    /// The connection is closing or gone.
    Closed,
}

/// Resolves when a page of a replay has been taken by the socket; fails when the connection ends first.
pub type PageSent = oneshot::Receiver<()>;

/// What the socket has to do next.
#[derive(Debug)]
pub enum Drained {
    /// Write this; it holds so many replies.
    Chunk {
        /// What to write.
        bytes: Bytes,
        /// How many replies it holds.
        replies: u32,
    },
    /// Write this close frame, then nothing more.
    Close(Bytes),
    /// Nothing to write; the waker is registered.
    Idle,
    /// The close frame has been written.
    Finished,
}

#[derive(Debug)]
struct Entry {
    frame: Frame,
    class: Class,
}

/// Held by who wants a replay to go on; when it is dropped, pages of the replay that still wait are not written.
#[derive(Debug, Default)]
pub struct ReplayInterest(Arc<AtomicBool>);

impl ReplayInterest {
    /// What the pages of the replay carry.
    #[must_use]
    pub fn watch(&self) -> ReplayWatch {
        ReplayWatch(self.0.clone())
    }
}

impl Drop for ReplayInterest {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Tells whether a replay is still wanted.
#[derive(Clone, Debug)]
pub struct ReplayWatch(Arc<AtomicBool>);

impl ReplayWatch {
    /// Whether nobody wants the replay any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

#[derive(Debug)]
struct Page {
    frame: Frame,
    watch: ReplayWatch,
    sent: oneshot::Sender<()>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// What waits is written first, then the close frame.
    Closing(Option<CloseCode>),
    Finished,
}

#[derive(Debug)]
struct Inner {
    queue: VecDeque<Entry>,
    /// All bytes in `queue`.
    bytes: usize,
    /// The bytes and frames that count against the limits.
    limited_bytes: usize,
    limited_frames: usize,
    pongs: usize,
    pages: VecDeque<Page>,
    /// Grows with every drain that took something; see [`Outbox::progress`].
    drains: u64,
    phase: Phase,
    /// With what it was closed first.
    closed_with: Option<CloseCode>,
    waker: Option<Waker>,
}

/// What waits for one socket.
#[derive(Debug)]
pub struct Outbox {
    inner: Mutex<Inner>,
}

impl Default for Outbox {
    fn default() -> Self {
        Self::new()
    }
}

impl Outbox {
    /// An empty, open outbox.
    #[must_use]
    pub fn new() -> Self {
        let inner = Inner {
            queue: VecDeque::new(),
            bytes: 0,
            limited_bytes: 0,
            limited_frames: 0,
            pongs: 0,
            pages: VecDeque::new(),
            drains: 0,
            phase: Phase::Open,
            closed_with: None,
            waker: None,
        };
        Self {
            inner: Mutex::new(inner),
        }
    }

    /// Appends a frame; never waits.
    pub fn push(&self, frame: Frame, class: Class) -> Pushed {
        let mut inner = self.inner.lock();
        if inner.phase != Phase::Open {
            return Pushed::Closed;
        }
        let pushed = inner.admit(frame, class);
        let waker = if pushed == Pushed::Dropped {
            None
        } else {
            inner.waker.take()
        };
        drop(inner);
        if let Some(waker) = waker {
            waker.wake();
        }
        pushed
    }

    /// Encodes and appends the direct reply to a client frame.
    pub fn reply<F: ServerFrame>(&self, frame: &F) -> Pushed {
        self.push(encode(frame), Class::Reply)
    }

    /// Appends one page of a replay. The receiver resolves when the socket has taken it.
    pub fn push_page(&self, frame: Frame, watch: &ReplayWatch) -> PageSent {
        let (sent, receiver) = oneshot::channel();
        let mut inner = self.inner.lock();
        if inner.phase == Phase::Open {
            inner.pages.push_back(Page {
                frame,
                watch: watch.clone(),
                sent,
            });
            let waker = inner.waker.take();
            drop(inner);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
        receiver
    }

    /// Appends a WebSocket ping.
    pub fn ping(&self) -> Pushed {
        self.push(encode_ping(), Class::Snapshot)
    }

    /// Answers a WebSocket ping; past 64 unwritten pongs, silently not (RFC 6455 §5.5.3 allows it).
    pub fn pong(&self, payload: &[u8]) {
        {
            let mut inner = self.inner.lock();
            if inner.pongs >= PONGS_MAX {
                return;
            }
            inner.pongs += 1;
        }
        self.push(encode_pong(payload), Class::Snapshot);
    }

    /// Closes after what waits has been written. The first close wins.
    pub fn close(&self, code: Option<CloseCode>) {
        self.shut(code, false);
    }

    /// Closes at once: what waits is freed and not written.
    pub fn cut(&self, code: CloseCode) {
        self.shut(Some(code), true);
    }

    fn shut(&self, code: Option<CloseCode>, discard: bool) {
        let mut inner = self.inner.lock();
        if inner.phase == Phase::Finished {
            return;
        }
        if discard {
            inner.discard();
        }
        if inner.phase == Phase::Open {
            inner.phase = Phase::Closing(code);
            inner.closed_with = code;
        }
        // A page's producer must not wait for a socket that is closing.
        inner.pages.clear();
        let waker = inner.waker.take();
        drop(inner);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Marks the socket as gone and frees everything; with what code it had been closed, if it had.
    pub fn finish(&self) -> Option<CloseCode> {
        let mut inner = self.inner.lock();
        inner.discard();
        inner.phase = Phase::Finished;
        inner.waker = None;
        inner.closed_with
    }

    /// Takes what the socket should write next, at most about `bytes_max` bytes, or registers `waker`.
    pub fn drain(&self, bytes_max: usize, waker: &Waker) -> Drained {
        let mut inner = self.inner.lock();
        let (entries, total) = inner.take_entries(bytes_max);
        let page = inner.take_page();
        if entries.is_empty() && page.is_none() {
            return match inner.phase {
                Phase::Open => {
                    match &mut inner.waker {
                        Some(known) => known.clone_from(waker),
                        none => *none = Some(waker.clone()),
                    }
                    Drained::Idle
                }
                Phase::Closing(code) => {
                    inner.phase = Phase::Finished;
                    inner.drains += 1;
                    Drained::Close(encode_close(code).into_bytes())
                }
                Phase::Finished => Drained::Finished,
            };
        }
        inner.drains += 1;
        drop(inner);
        let replies = entries.iter().filter(|entry| entry.class == Class::Reply).count();
        let bytes = join(entries, total, page);
        Drained::Chunk {
            bytes,
            replies: u32::try_from(replies).unwrap_or(u32::MAX),
        }
    }

    /// How often something was taken, if anything still waits. Two equal answers some seconds apart mean that the socket
    /// takes nothing.
    #[must_use]
    pub fn progress(&self) -> Option<u64> {
        let inner = self.inner.lock();
        let waiting = !inner.queue.is_empty() || !inner.pages.is_empty() || matches!(inner.phase, Phase::Closing(_));
        waiting.then_some(inner.drains)
    }

    /// Whether the connection is closing or gone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.inner.lock().phase != Phase::Open
    }
}

impl Inner {
    fn admit(&mut self, frame: Frame, class: Class) -> Pushed {
        if frame.is_empty() {
            return Pushed::Dropped;
        }
        if matches!(class, Class::Durable | Class::Ephemeral) {
            let bytes = self.limited_bytes + frame.len();
            let frames = self.limited_frames + frame.count() as usize;
            if class == Class::Ephemeral && (bytes > BYTES_MAX / 2 || frames > FRAMES_MAX / 2) {
                metrics().outbox_dropped();
                return Pushed::Dropped;
            }
            if bytes > BYTES_MAX || frames > FRAMES_MAX {
                self.discard();
                self.phase = Phase::Closing(Some(CloseCode::TooSlow));
                self.closed_with = Some(CloseCode::TooSlow);
                metrics().outbox_evicted(Eviction::Overflow);
                return Pushed::Overflowed;
            }
            self.limited_bytes = bytes;
            self.limited_frames = frames;
        }
        self.bytes += frame.len();
        self.queue.push_back(Entry { frame, class });
        Pushed::Queued
    }

    fn discard(&mut self) {
        self.queue = VecDeque::new();
        self.pages = VecDeque::new();
        self.bytes = 0;
        self.limited_bytes = 0;
        self.limited_frames = 0;
        self.pongs = 0;
    }

    /// The next page of a replay that is still wanted.
    fn take_page(&mut self) -> Option<Page> {
        while let Some(page) = self.pages.pop_front() {
            if !page.watch.is_over() {
                return Some(page);
            }
        }
        None
    }

    fn take_entries(&mut self, bytes_max: usize) -> (VecDeque<Entry>, usize) {
        if self.bytes <= bytes_max {
            let total = self.bytes;
            self.bytes = 0;
            self.limited_bytes = 0;
            self.limited_frames = 0;
            self.pongs = 0;
            return (std::mem::take(&mut self.queue), total);
        }
        let mut taken = VecDeque::new();
        let mut total = 0;
        while let Some(entry) = self.queue.front() {
            if total > 0 && total + entry.frame.len() > bytes_max {
                break;
            }
            let Some(entry) = self.queue.pop_front() else { break };
            total += entry.frame.len();
            if matches!(entry.class, Class::Durable | Class::Ephemeral) {
                self.limited_bytes -= entry.frame.len();
                self.limited_frames -= entry.frame.count() as usize;
            }
            taken.push_back(entry);
        }
        self.bytes -= total;
        (taken, total)
    }
}

/// Joins what is written together; a lone frame is passed on without a copy.
fn join(mut entries: VecDeque<Entry>, total: usize, page: Option<Page>) -> Bytes {
    if entries.len() == 1 && page.is_none() {
        return entries
            .pop_front()
            .map(|entry| entry.frame.into_bytes())
            .unwrap_or_default();
    }
    let page = page.map(|page| {
        // The producer may be gone; then nobody waits for this page.
        page.sent.send(()).unwrap_or_default();
        page.frame.into_bytes()
    });
    match page {
        Some(bytes) if entries.is_empty() => bytes,
        page => {
            let mut joined = BytesMut::with_capacity(total + page.as_ref().map_or(0, Bytes::len));
            for entry in &entries {
                joined.extend_from_slice(entry.frame.bytes());
            }
            if let Some(bytes) = page {
                joined.extend_from_slice(&bytes);
            }
            joined.freeze()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
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
        let outbox = Outbox::new();
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
        let outbox = Outbox::new();
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
        let outbox = Outbox::new();
        let big = frame_of(BYTES_MAX / 2);
        assert_eq!(outbox.push(big.clone(), Class::Durable), Pushed::Queued);
        assert_eq!(outbox.push(big, Class::Durable), Pushed::Overflowed);
    }

    #[test]
    fn what_waits_is_written_before_a_close_and_nothing_after_a_cut() {
        let outbox = Outbox::new();
        outbox.push(frame_of(3), Class::Durable);
        outbox.close(Some(CloseCode::Draining));
        assert_eq!(outbox.push(frame_of(3), Class::Durable), Pushed::Closed);
        assert_eq!(chunk(&outbox).0.len(), 5);
        assert!(matches!(outbox.drain(10, Waker::noop()), Drained::Close(_)));
        assert!(matches!(outbox.drain(10, Waker::noop()), Drained::Finished));

        let outbox = Outbox::new();
        outbox.push(frame_of(3), Class::Durable);
        outbox.cut(CloseCode::Revoked);
        assert!(matches!(outbox.drain(10, Waker::noop()), Drained::Close(_)));
    }

    #[test]
    fn a_page_does_not_count_and_tells_when_it_was_taken() {
        let outbox = Outbox::new();
        let interest = ReplayInterest::default();
        let mut sent = outbox.push_page(frame_of(BYTES_MAX * 2), &interest.watch());
        assert_eq!(outbox.push(frame_of(1), Class::Durable), Pushed::Queued);
        assert!(sent.try_recv().is_err());
        assert_eq!(outbox.progress(), Some(0));
        chunk(&outbox);
        assert!(sent.try_recv().is_ok());
        assert_eq!(outbox.progress(), None);
    }

    #[test]
    fn pages_of_an_abandoned_replay_are_not_written() {
        let outbox = Outbox::new();
        let interest = ReplayInterest::default();
        let mut sent = outbox.push_page(frame_of(10), &interest.watch());
        drop(interest);
        assert!(matches!(outbox.drain(1024, Waker::noop()), Drained::Idle));
        assert!(sent.try_recv().is_err());
    }

    proptest::proptest! {
        #[test]
        fn accounting_never_drifts(sizes in proptest::collection::vec((0_usize..3_000, 0_u8..4), 1..200), max in 1_usize..9_000) {
            let outbox = Outbox::new();
            let mut pushed = 0;
            for (size, class) in sizes {
                let class = [Class::Durable, Class::Ephemeral, Class::Reply, Class::Snapshot][usize::from(class)];
                let frame = frame_of(size);
                let length = frame.len();
                if outbox.push(frame, class) == Pushed::Queued {
                    pushed += length;
                }
            }
            let mut taken = 0;
            while let Drained::Chunk { bytes, .. } = outbox.drain(max, Waker::noop()) {
                taken += bytes.len();
            }
            let inner = outbox.inner.lock();
            proptest::prop_assert_eq!((pushed, inner.bytes, inner.limited_bytes, inner.limited_frames), (taken, 0, 0, 0));
        }
    }
}
