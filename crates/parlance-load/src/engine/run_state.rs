//! What all connections of a run share: the rooms, what is counted, and what went wrong.
//!
//! It belongs to the engine's thread, so there are no locks.

use crate::measure::check::{Faults, RoomLog};
use crate::measure::stats::Interval;
use hdrhistogram::Histogram;
use std::time::Instant;

/// A conversation of the run.
pub(crate) struct Room {
    /// In lower case, as the server writes it.
    pub conversation: String,
    pub log: RoomLog,
}

/// The state of one run.
pub(crate) struct RunState {
    pub rooms: Vec<Room>,
    /// What is counted since the last progress line.
    pub interval: Interval,
    /// What went wrong since the start.
    pub faults: Faults,
    /// From connect to `subscribed`, in microseconds.
    pub opened_us: Histogram<u64>,
    /// From the subscribe frame to `subscribed`, in microseconds.
    pub subscribed_us: Histogram<u64>,
    /// Connections that are subscribed.
    pub live: usize,
    /// Frames whose complete parse is compared with what was read.
    pub verify: bool,
    pub verified: u64,
    /// Masks the frames of all clients.
    pub mask: [u8; 4],
    /// The node of each writer.
    pub writer_nodes: Vec<usize>,
    /// Started with the run.
    pub clock: Instant,
    /// `Host` of the requests.
    pub host: String,
}

impl RunState {
    /// Nanoseconds since the start of the run.
    pub(crate) fn now_ns(&self) -> u64 {
        self.clock.elapsed().as_nanos() as u64
    }

    /// Whether a message of a writer comes to a reader on `node` from another one.
    #[inline]
    pub(crate) fn is_other_node(&self, writer: u32, node: usize) -> bool {
        self.writer_nodes
            .get(writer as usize)
            .is_some_and(|writers| *writers != node)
    }

    /// A connection ended that should not have.
    pub(crate) fn count_close(&mut self, how: &str) {
        *self.interval.closed.entry(how.to_owned()).or_default() += 1;
    }
}
