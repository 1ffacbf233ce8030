//! The engine: every connection of a run, who writes, and what profiles can ask of them.
//!
//! Used by the profiles. The tool shares its cores with the server that it measures. So there is no
//! runtime, no task and no wake-up per connection: one thread (`event_loop.rs`) takes readable
//! sockets in batches and reads each once. The number of connections in the act of connecting is
//! bounded, because a flood of SYNs would measure the accept queue. A connection that the server
//! cuts is opened again and resumes by `rev`. That is counted, and what it missed still has to
//! arrive.

use super::connection::Connection;
use super::run_state::{Room, RunState};
use super::writer::Writer;
use crate::client::setup::{Member, Members};
use crate::error::{Error, Result, errno};
use crate::measure::check::Faults;
use crate::measure::stats::{self, Interval};
use rustix::event::epoll;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// Events taken at a time; few, so that sends that become due do not wait long behind reads.
const EVENTS_AT_ONCE: usize = 64;
/// Sends that fall due closer together than this go out together, so that the tool does not wake up
/// for each.
pub(super) const TICK_NS: u64 = 500_000;

/// Sends at a fixed rate, spread evenly over the writers.
pub(super) struct Schedule {
    pub(super) interval_ns: f64,
    pub(super) next_ns: f64,
    pub(super) next_writer: usize,
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
    pub(super) options: Options,
    pub(super) epoll: OwnedFd,
    pub(super) connections: Vec<Connection>,
    /// What the connections share.
    pub run: RunState,
    /// What is read into; shared by all connections.
    pub(super) buffer: Vec<u8>,
    pub(super) events: Vec<epoll::Event>,
    /// The connections that write, by number.
    pub(super) writers: Vec<usize>,
    pub(super) schedule: Option<Schedule>,
    /// When which connection is to be opened, the earliest first.
    pub(super) to_open: BinaryHeap<Reverse<(u64, usize)>>,
    /// Connections in the act of connecting.
    pub(super) opening: usize,
    /// Everything measured, of which `run.interval` is the part since the last progress line.
    pub(super) measured: Interval,
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
        let connections = members
            .members
            .into_iter()
            .enumerate()
            .map(|(at, Member { room, token })| Connection::new(room, at % options.addresses.len(), token))
            .collect();
        let run = RunState {
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
            connections,
            run,
            buffer: Vec::new(),
            events: Vec::with_capacity(EVENTS_AT_ONCE),
            writers: Vec::new(),
            schedule: None,
            to_open: BinaryHeap::new(),
            opening: 0,
            measured: Interval::new(0)?,
        })
    }

    pub(crate) fn connection(&self, at: usize) -> &Connection {
        &self.connections[at]
    }

    pub(crate) fn len(&self) -> usize {
        self.connections.len()
    }

    /// Connects and subscribes members; returns how long it took until all were live.
    pub(crate) fn open(&mut self, members: std::ops::Range<usize>, timeout: Duration) -> Result<Duration> {
        let started = Instant::now();
        let live = self.run.live + members.len();
        self.to_open.extend(members.map(|at| Reverse((0, at))));
        self.run_until(started + timeout, |engine| engine.run.live >= live)?;
        if self.run.live < live {
            let what = format!("subscribing {live} connections (there are {})", self.run.live);
            return Err(Error::Timeout(what, timeout.as_secs()));
        }
        Ok(started.elapsed())
    }

    /// Moves a member to a node, from its next connect on.
    pub(crate) fn move_to_node(&mut self, at: usize, node: usize) {
        self.connections[at].node = node;
    }

    /// From now on any number of connections may be in the act of connecting.
    pub(crate) fn connect_without_limit(&mut self) {
        self.options.concurrency = usize::MAX;
    }

    /// Closes one connection; it is not opened again by itself.
    pub(crate) fn close(&mut self, at: usize) {
        self.connections[at].close(&mut self.run);
    }

    /// Makes the first `per_room` members of each room writers.
    pub(crate) fn choose_writers(&mut self, per_room: usize) {
        let mut chosen = vec![0; self.run.rooms.len()];
        // The first of every room before the second of any, so that a rate lower than the writers
        // spreads over rooms.
        let mut by_rank: Vec<(usize, usize)> = Vec::new();
        for (at, connection) in self.connections.iter().enumerate() {
            if chosen[connection.room] < per_room {
                by_rank.push((chosen[connection.room], at));
                chosen[connection.room] += 1;
            }
        }
        by_rank.sort_unstable();
        self.writers = by_rank.into_iter().map(|(_, at)| at).collect();
        self.run.writer_nodes = self.writers.iter().map(|at| self.connections[*at].node).collect();
        for (number, &at) in self.writers.iter().enumerate() {
            let connection = &mut self.connections[at];
            let conversation = &self.run.rooms[connection.room].conversation;
            connection.writer = Some(Box::new(Writer::new(
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
            next_ns: self.run.now_ns() as f64,
            next_writer: 0,
        });
    }

    /// From now on each writer keeps `depth` sends in flight.
    pub(crate) fn write_closed_loop(&mut self, depth: usize) -> Result<()> {
        self.each_writer(|writer, now_ns| writer.run_closed_loop(depth, now_ns));
        let now_ns = self.run.now_ns();
        for at in self.writers.clone() {
            self.pump(at, now_ns)?;
        }
        Ok(())
    }

    /// Makes `count` messages in all due now; they go out as fast as acknowledgements allow.
    pub(crate) fn write_count(&mut self, count: u64) -> Result<()> {
        self.each_writer(|writer, _| writer.run_open_loop());
        let now_ns = self.run.now_ns();
        let n_writers = self.writers.len() as u64;
        for (rank, at) in self.writers.clone().into_iter().enumerate() {
            let share = count / n_writers + u64::from((rank as u64) < count % n_writers);
            if let Some(writer) = &mut self.connections[at].writer {
                (0..share).for_each(|_| writer.push_due(now_ns));
            }
            self.pump(at, now_ns)?;
        }
        Ok(())
    }

    /// Stops sending and waits until everything sent has its reply and everybody has everything.
    /// False when that takes too long.
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
        let now_ns = self.run.now_ns();
        let last = std::mem::replace(&mut self.run.interval, Interval::new(now_ns)?);
        let mut ended = std::mem::replace(&mut self.measured, Interval::new(now_ns)?);
        ended.add(&last);
        Ok(ended)
    }

    /// What went wrong since the start, with what is missing now counted as lost.
    pub(crate) fn faults(&self) -> Faults {
        let mut faults = self.run.faults;
        let subscribed = self.connections.iter().filter(|connection| connection.resume);
        faults.lost = subscribed
            .map(|connection| connection.reader.missing(&self.run.rooms[connection.room].log))
            .sum();
        faults
    }

    /// Messages that wait for the window or for a reply.
    pub(crate) fn backlog(&self) -> usize {
        let writers = self
            .writers
            .iter()
            .filter_map(|at| self.connections[*at].writer.as_ref());
        writers.map(|writer| writer.waiting() + writer.in_flight()).sum()
    }

    fn is_quiet(&mut self) -> bool {
        let is_replied = self
            .writers
            .iter()
            .filter_map(|at| self.connections[*at].writer.as_ref())
            .all(|w| w.in_flight() == 0);
        is_replied && self.to_open.is_empty() && self.opening == 0 && self.faults().lost == 0
    }

    fn each_writer(&mut self, mut change: impl FnMut(&mut Writer, u64)) {
        let now_ns = self.run.now_ns();
        for &at in &self.writers {
            if let Some(writer) = &mut self.connections[at].writer {
                change(writer, now_ns);
            }
        }
    }
}
