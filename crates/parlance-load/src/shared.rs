//! What all connections of a run share: the rooms and what is counted.

use crate::check::{Faults, RoomLog};
use crate::stats::Interval;
use hdrhistogram::Histogram;
use std::time::Instant;

/// A conversation of the run.
pub(crate) struct Room {
    /// Its id, lower case.
    pub conversation: String,
    /// What its revisions hold.
    pub log: RoomLog,
}

/// What all connections share.
pub(crate) struct Shared {
    /// The rooms.
    pub rooms: Vec<Room>,
    /// What is being counted now.
    pub interval: Interval,
    /// What went wrong since the start.
    pub faults: Faults,
    /// Milestones of each connection made: from connect to subscribed, in microseconds.
    pub opened_us: Histogram<u64>,
    /// From the subscribe frame to `subscribed`, in microseconds.
    pub subscribed_us: Histogram<u64>,
    /// Connections that are subscribed.
    pub live: usize,
    /// Frames whose complete parse is compared with what was read.
    pub verify: bool,
    /// Frames verified.
    pub verified: u64,
    /// The mask of client frames.
    pub mask: [u8; 4],
    /// The node of each writer.
    pub writer_nodes: Vec<usize>,
    /// The start of the run.
    pub clock: Instant,
    /// `Host` of the requests.
    pub host: String,
}

impl Shared {
    /// Nanoseconds since the start of the run.
    pub(crate) fn now_ns(&self) -> u64 {
        self.clock.elapsed().as_nanos() as u64
    }

    /// Whether a message of a writer comes to a reader on `node` from another one.
    #[inline]
    pub(crate) fn is_across(&self, writer: u32, node: usize) -> bool {
        self.writer_nodes
            .get(writer as usize)
            .is_some_and(|writers| *writers != node)
    }

    /// A connection ended that should not have.
    pub(crate) fn count_close(&mut self, how: &str) {
        *self.interval.closed.entry(how.to_owned()).or_default() += 1;
    }
}
