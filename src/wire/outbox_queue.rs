//! The frames that wait for one socket, and how they are counted. Pure but for two counters of
//! metrics; the lock, the waker and the end of the connection are in `outbox.rs`.
//!
//! Bounds: live frames count against [`BYTES_MAX`] and [`FRAMES_MAX`]. At half of that, ephemeral
//! ones are dropped; at the whole, everything is freed and the connection has to be cut.

use super::encode::Frame;
use super::replay_page::ReplayPage;
use crate::metrics::{Eviction, metrics};
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;

/// Most bytes of live frames that wait for one socket.
pub(super) const BYTES_MAX: usize = 1 << 20;
/// Most bytes that should come at once: a reader who has read everything has room for four times as
/// many.
pub const PUSH_BYTES_MAX: usize = BYTES_MAX / 4;
/// Most live frames that wait for one socket.
pub(super) const FRAMES_MAX: usize = 1_024;
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
    /// Part of a small snapshot or replay that goes before its `subscribed` reply; does not count,
    /// the window bounds it.
    Snapshot,
}

impl Class {
    const fn is_limited(self) -> bool {
        matches!(self, Self::Durable | Self::Ephemeral)
    }
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

#[derive(Debug)]
struct QueuedFrame {
    frame: Frame,
    class: Class,
}

/// What waits for one socket.
#[derive(Debug, Default)]
pub(super) struct OutboxQueue {
    frames: VecDeque<QueuedFrame>,
    /// All bytes in `frames`.
    bytes: usize,
    /// The bytes and frames that count against the limits.
    limited_bytes: usize,
    limited_frames: usize,
    pongs: usize,
    pages: VecDeque<ReplayPage>,
}

impl OutboxQueue {
    /// Appends a frame if there is room. When it overflows, everything has been freed.
    pub(super) fn push(&mut self, frame: Frame, class: Class) -> Pushed {
        if frame.is_empty() {
            return Pushed::Dropped;
        }
        if class.is_limited() {
            let bytes = self.limited_bytes + frame.len();
            let frames = self.limited_frames + frame.count() as usize;
            if class == Class::Ephemeral && (bytes > BYTES_MAX / 2 || frames > FRAMES_MAX / 2) {
                metrics().outbox_dropped();
                return Pushed::Dropped;
            }
            if bytes > BYTES_MAX || frames > FRAMES_MAX {
                self.clear();
                metrics().outbox_evicted(Eviction::Overflow);
                return Pushed::Overflowed;
            }
            self.limited_bytes = bytes;
            self.limited_frames = frames;
        }
        self.bytes += frame.len();
        self.frames.push_back(QueuedFrame { frame, class });
        Pushed::Queued
    }

    /// Whether one more pong may wait; then it is counted.
    pub(super) const fn admit_pong(&mut self) -> bool {
        let is_admitted = self.pongs < PONGS_MAX;
        if is_admitted {
            self.pongs += 1;
        }
        is_admitted
    }

    pub(super) fn push_page(&mut self, page: ReplayPage) {
        self.pages.push_back(page);
    }

    /// Frees the pages, whose producers then wait no longer.
    pub(super) fn clear_pages(&mut self) {
        self.pages.clear();
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// All bytes that wait.
    pub(super) fn len(&self) -> usize {
        self.bytes + self.pages.iter().map(|page| page.frame.len()).sum::<usize>()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty() && self.pages.is_empty()
    }

    /// Takes what should be written next: frames of at most `bytes_max` bytes unless a single one
    /// is larger, and a page of a replay that is still wanted.
    pub(super) fn take(&mut self, bytes_max: usize) -> Option<TakenFrames> {
        let (frames, bytes) = self.take_frames(bytes_max);
        let page = self.take_page();
        (!frames.is_empty() || page.is_some()).then_some(TakenFrames { frames, bytes, page })
    }

    fn take_page(&mut self) -> Option<ReplayPage> {
        while let Some(page) = self.pages.pop_front() {
            if !page.watch.is_over() {
                return Some(page);
            }
        }
        None
    }

    fn take_frames(&mut self, bytes_max: usize) -> (VecDeque<QueuedFrame>, usize) {
        if self.bytes <= bytes_max {
            let total = self.bytes;
            self.bytes = 0;
            self.limited_bytes = 0;
            self.limited_frames = 0;
            self.pongs = 0;
            return (std::mem::take(&mut self.frames), total);
        }
        let mut taken = VecDeque::new();
        let mut total = 0;
        while let Some(next) = self.frames.front() {
            if total > 0 && total + next.frame.len() > bytes_max {
                break;
            }
            let Some(next) = self.frames.pop_front() else { break };
            total += next.frame.len();
            if next.class.is_limited() {
                self.limited_bytes -= next.frame.len();
                self.limited_frames -= next.frame.count() as usize;
            }
            taken.push_back(next);
        }
        self.bytes -= total;
        (taken, total)
    }
}

/// What is written together.
#[derive(Debug)]
pub(super) struct TakenFrames {
    frames: VecDeque<QueuedFrame>,
    /// All bytes in `frames`.
    bytes: usize,
    page: Option<ReplayPage>,
}

impl TakenFrames {
    /// All bytes.
    pub(super) fn len(&self) -> usize {
        self.bytes + self.page.as_ref().map_or(0, |page| page.frame.len())
    }

    /// How many direct replies are among them.
    pub(super) fn replies(&self) -> u32 {
        let replies = self.frames.iter().filter(|queued| queued.class == Class::Reply);
        u32::try_from(replies.count()).unwrap_or(u32::MAX)
    }

    /// One piece of bytes; a lone frame is passed on without a copy. The producer of the page
    /// learns that it was taken.
    pub(super) fn join(mut self) -> Bytes {
        if self.frames.len() == 1 && self.page.is_none() {
            let lone = self.frames.pop_front();
            return lone.map(|queued| queued.frame.into_bytes()).unwrap_or_default();
        }
        let page = self.page.map(|page| {
            // The producer may be gone; then nobody waits for this page.
            page.sent.send(()).unwrap_or_default();
            page.frame.into_bytes()
        });
        match page {
            Some(bytes) if self.frames.is_empty() => bytes,
            page => {
                let mut joined = BytesMut::with_capacity(self.bytes + page.as_ref().map_or(0, Bytes::len));
                for queued in &self.frames {
                    joined.extend_from_slice(queued.frame.bytes());
                }
                if let Some(bytes) = page {
                    joined.extend_from_slice(&bytes);
                }
                joined.freeze()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn accounting_never_drifts(
            sizes in proptest::collection::vec((0_usize..3_000, 0_u8..4), 1..200),
            max in 1_usize..9_000,
        ) {
            let mut queue = OutboxQueue::default();
            let mut pushed = 0;
            for (size, class) in sizes {
                let class = [Class::Durable, Class::Ephemeral, Class::Reply, Class::Snapshot][usize::from(class)];
                let frame = Frame::raw(0x1, &vec![b'x'; size]);
                let length = frame.len();
                if queue.push(frame, class) == Pushed::Queued {
                    pushed += length;
                }
            }
            let mut taken = 0;
            while let Some(frames) = queue.take(max) {
                taken += frames.join().len();
            }
            let left = (queue.bytes, queue.limited_bytes, queue.limited_frames);
            proptest::prop_assert_eq!((pushed, left), (taken, (0, 0, 0)));
        }
    }
}
