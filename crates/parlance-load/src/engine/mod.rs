//! The one thread that drives every connection: an epoll loop, the schedule of sends, reconnection.
//!
//! The tool shares two cores with the server it measures, so there is no runtime, no task and no wake-up per
//! connection: one `epoll_wait` returns a batch of readable sockets and each is read once. The number of connections
//! in the act of connecting is bounded (a flood of SYNs would measure the accept queue). A connection that the server
//! cuts is opened again and resumes by `rev`; that is counted, and what it missed meanwhile still has to arrive.

mod turn;

use crate::conn::Conn;
use crate::error::{Error, Result, errno};
use crate::setup::Members;
use crate::shared::{Room, Shared};
use crate::stats::{self, Interval};
use crate::writer::Writer;
use rustix::event::epoll;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// Events taken per turn; small, so that sends that become due do not wait long behind reads.
const EVENTS_PER_TURN: usize = 64;
/// Sends that fall due closer together than this go out together, so that the tool does not wake up for each.
const TICK_NS: u64 = 500_000;

/// Sends at a fixed rate, spread evenly over the writers.
struct Schedule {
    interval_ns: f64,
    next_ns: f64,
    next_writer: usize,
}

/// How the run is set up.
pub(crate) struct Options {
    /// The nodes; members are spread over them in turn.
    pub addresses: Vec<SocketAddr>,
    /// Compare every frame with its complete parse.
    pub verify: bool,
    /// Bytes of a message body.
    pub body_bytes: usize,
    /// Most connections in the act of connecting.
    pub concurrency: usize,
    /// Say each second how it goes.
    pub progress: bool,
}

/// Every connection of a run and the loop that drives them.
pub(crate) struct Engine {
    options: Options,
    epoll: OwnedFd,
    conns: Vec<Conn>,
    /// What the connections share: rooms, counts, faults.
    pub shared: Shared,
    buffer: Vec<u8>,
    events: Vec<epoll::Event>,
    writers: Vec<usize>,
    schedule: Option<Schedule>,
    to_open: BinaryHeap<Reverse<(u64, usize)>>,
    opening: usize,
    /// Everything measured, of which `shared.interval` is the part since the last progress line.
    measured: Interval,
}

impl Engine {
    /// Members of rooms, none connected.
    pub(crate) fn new(options: Options, members: Members) -> Result<Self> {
        let rooms: Vec<Room> = members
            .conversations
            .into_iter()
            .map(|conversation| Room {
                conversation,
                log: Default::default(),
            })
            .collect();
        let conns = members
            .tokens
            .into_iter()
            .enumerate()
            .map(|(at, (room, token))| Conn::new(room, at % options.addresses.len(), token))
            .collect();
        let shared = Shared {
            rooms,
            interval: Interval::new(0)?,
            faults: Default::default(),
            opened_us: stats::histogram()?,
            subscribed_us: stats::histogram()?,
            live: 0,
            verify: options.verify,
            verified: 0,
            mask: [0x5a, 0xc3, 0x96, 0x3c],
            clock: Instant::now(),
            writer_nodes: Vec::new(),
            host: options.addresses[0].to_string(),
        };
        Ok(Self {
            options,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC).map_err(errno("epoll"))?,
            conns,
            shared,
            buffer: Vec::new(),
            events: Vec::with_capacity(EVENTS_PER_TURN),
            writers: Vec::new(),
            schedule: None,
            to_open: BinaryHeap::new(),
            opening: 0,
            measured: Interval::new(0)?,
        })
    }

    /// One member's connection.
    pub(crate) fn conn(&self, at: usize) -> &Conn {
        &self.conns[at]
    }

    /// How many members there are.
    pub(crate) fn len(&self) -> usize {
        self.conns.len()
    }

    /// Connects and subscribes members; returns how long it took until all were live.
    pub(crate) fn open(&mut self, members: std::ops::Range<usize>, timeout: Duration) -> Result<Duration> {
        let started = Instant::now();
        let live = self.shared.live + members.len();
        self.to_open.extend(members.map(|at| Reverse((0, at))));
        self.run_until(started + timeout, |engine| engine.shared.live >= live)?;
        if self.shared.live < live {
            let what = format!("subscribing {live} connections (there are {})", self.shared.live);
            return Err(Error::Timeout(what, timeout.as_secs()));
        }
        Ok(started.elapsed())
    }

    /// Moves a member to a node, from its next connect on.
    pub(crate) fn place(&mut self, at: usize, node: usize) {
        self.conns[at].node = node;
    }

    /// From now on any number of connections may be in the act of connecting.
    pub(crate) fn admit_all(&mut self) {
        self.options.concurrency = usize::MAX;
    }

    /// Leaves with one connection.
    pub(crate) fn close(&mut self, at: usize) {
        self.conns[at].close(&mut self.shared);
    }

    /// Makes the first `per_room` members of each room writers.
    pub(crate) fn appoint_writers(&mut self, per_room: usize) {
        let mut appointed = vec![0; self.shared.rooms.len()];
        // The first of every room before the second of any, so that a rate lower than the writers spreads over rooms.
        let mut by_rank: Vec<(usize, usize)> = Vec::new();
        for (at, conn) in self.conns.iter().enumerate() {
            if appointed[conn.room] < per_room {
                by_rank.push((appointed[conn.room], at));
                appointed[conn.room] += 1;
            }
        }
        by_rank.sort_unstable();
        self.writers = by_rank.into_iter().map(|(_, at)| at).collect();
        self.shared.writer_nodes = self.writers.iter().map(|at| self.conns[*at].node).collect();
        for (number, &at) in self.writers.iter().enumerate() {
            let conn = &mut self.conns[at];
            let conversation = &self.shared.rooms[conn.room].conversation;
            conn.writer = Some(Box::new(Writer::new(
                number as u32,
                conversation,
                self.options.body_bytes,
            )));
        }
    }

    /// From now on `per_second` messages are due, spread over the writers.
    pub(crate) fn write_at_rate(&mut self, per_second: f64) {
        self.each_writer(|writer, _| writer.run_open_loop());
        self.schedule = Some(Schedule {
            interval_ns: 1e9 / per_second,
            next_ns: self.shared.now_ns() as f64,
            next_writer: 0,
        });
    }

    /// From now on each writer keeps `depth` sends unanswered.
    pub(crate) fn write_closed_loop(&mut self, depth: usize) -> Result<()> {
        self.each_writer(|writer, now_ns| writer.run_closed_loop(depth, now_ns));
        let now_ns = self.shared.now_ns();
        for at in self.writers.clone() {
            self.pump(at, now_ns)?;
        }
        Ok(())
    }

    /// Makes `count` messages in all due now; they go out as fast as acknowledgements allow.
    pub(crate) fn write_count(&mut self, count: u64) -> Result<()> {
        self.each_writer(|writer, _| writer.run_open_loop());
        let now_ns = self.shared.now_ns();
        let n_writers = self.writers.len() as u64;
        for (rank, at) in self.writers.clone().into_iter().enumerate() {
            let share = count / n_writers + u64::from((rank as u64) < count % n_writers);
            if let Some(writer) = &mut self.conns[at].writer {
                (0..share).for_each(|_| writer.push_due(now_ns));
            }
            self.pump(at, now_ns)?;
        }
        Ok(())
    }

    /// Stops sending and waits until everything sent is answered and everybody has everything. False when it takes
    /// too long.
    pub(crate) fn drain(&mut self, timeout: Duration) -> Result<bool> {
        self.schedule = None;
        self.each_writer(|writer, _| writer.stop());
        self.run_until(Instant::now() + timeout, Self::is_quiet)?;
        Ok(self.is_quiet())
    }

    /// Runs for a while; the counts go into the interval that `take_interval` returns.
    pub(crate) fn run_for(&mut self, duration: Duration) -> Result<()> {
        self.run_until(Instant::now() + duration, |_| false)
    }

    /// Starts a new interval and returns the one that ends.
    pub(crate) fn take_interval(&mut self) -> Result<Interval> {
        let now_ns = self.shared.now_ns();
        let last = std::mem::replace(&mut self.shared.interval, Interval::new(now_ns)?);
        let mut ended = std::mem::replace(&mut self.measured, Interval::new(now_ns)?);
        ended.add(&last);
        Ok(ended)
    }

    /// What went wrong since the start, with what is missing now counted as lost.
    pub(crate) fn faults(&self) -> crate::check::Faults {
        let mut faults = self.shared.faults;
        let subscribed = self.conns.iter().filter(|conn| conn.resume);
        faults.lost = subscribed
            .map(|conn| conn.reader.missing(&self.shared.rooms[conn.room].log))
            .sum();
        faults
    }

    /// Messages that wait for a window or an answer.
    pub(crate) fn backlog(&self) -> usize {
        let writers = self.writers.iter().filter_map(|at| self.conns[*at].writer.as_ref());
        writers.map(|writer| writer.waiting() + writer.in_flight()).sum()
    }

    fn is_quiet(&mut self) -> bool {
        let answered = self
            .writers
            .iter()
            .filter_map(|at| self.conns[*at].writer.as_ref())
            .all(|w| w.in_flight() == 0);
        answered && self.to_open.is_empty() && self.opening == 0 && self.faults().lost == 0
    }

    fn each_writer(&mut self, mut change: impl FnMut(&mut Writer, u64)) {
        let now_ns = self.shared.now_ns();
        for &at in &self.writers {
            if let Some(writer) = &mut self.conns[at].writer {
                change(writer, now_ns);
            }
        }
    }
}
