//! The one thread that drives every connection: an epoll loop, the schedule of sends, reconnection.
//!
//! The tool shares two cores with the server it measures, so there is no runtime, no task and no wake-up per connection: one
//! `epoll_wait` returns a batch of readable sockets and each is read once. The number of connections in the act of
//! connecting is bounded (a flood of SYNs would measure the accept queue). A connection that the server cuts is
//! opened again and resumes by `rev`; that is counted, and what it missed meanwhile still has to arrive.

use crate::conn::{Conn, Phase, Room, Shared};
use crate::error::{Error, Result, errno, io};
use crate::setup::Members;
use crate::stats::{self, Interval};
use crate::writer::Writer;
use rustix::event::{Timespec, epoll};
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// Events taken per turn; small, so that sends that become due do not wait long behind reads.
const EVENTS_PER_TURN: usize = 64;
/// Connections from one source address; below the ephemeral port range of Linux (28,000).
const CONNECTIONS_PER_ADDRESS: usize = 25_000;
/// Wait before a lost connection is opened again.
const RECONNECT_PAUSE_NS: u64 = 100_000_000;
/// Sends that fall due closer together than this go out together, so that the tool does not wake up for each.
const TICK_NS: u64 = 500_000;
/// Longest sleep of the loop.
const IDLE_WAIT: Duration = Duration::from_millis(50);

/// Sends at a fixed rate, spread evenly over the writers.
struct Schedule {
    interval_ns: f64,
    next_ns: f64,
    next_writer: usize,
}

/// How the run is set up.
pub struct Options {
    /// The server.
    pub address: SocketAddr,
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
pub struct Engine {
    options: Options,
    epoll: OwnedFd,
    conns: Vec<Conn>,
    /// What the connections share: rooms, counts, faults.
    pub shared: Shared,
    buffer: Vec<u8>,
    events: Vec<epoll::Event>,
    writers: Vec<usize>,
    schedule: Option<Schedule>,
    to_open: VecDeque<(usize, u64)>,
    opening: usize,
    /// Everything measured, of which `shared.interval` is the part since the last progress line.
    measured: Interval,
}

impl Engine {
    /// Members of rooms, none connected.
    pub fn new(options: Options, members: Members) -> Result<Self> {
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
            .map(|(room, token)| Conn::new(room, token))
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
            host: options.address.to_string(),
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
            to_open: VecDeque::new(),
            opening: 0,
            measured: Interval::new(0)?,
        })
    }

    /// One member's connection.
    pub fn conn(&self, at: usize) -> &Conn {
        &self.conns[at]
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        self.conns.len()
    }

    /// Connects and subscribes members; returns how long it took until all were live.
    pub fn open(&mut self, members: std::ops::Range<usize>, timeout: Duration) -> Result<Duration> {
        let started = Instant::now();
        let live = self.shared.live + members.len();
        self.to_open.extend(members.map(|at| (at, 0)));
        self.run_until(started + timeout, |engine| engine.shared.live >= live)?;
        if self.shared.live < live {
            let what = format!("subscribing {live} connections (there are {})", self.shared.live);
            return Err(Error::Timeout(what, timeout.as_secs()));
        }
        Ok(started.elapsed())
    }

    /// Leaves with one connection.
    pub fn close(&mut self, at: usize) {
        self.conns[at].close(&mut self.shared);
    }

    /// Makes the first `per_room` members of each room writers.
    pub fn appoint_writers(&mut self, per_room: usize) {
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
    pub fn write_at_rate(&mut self, per_second: f64) {
        self.each_writer(|writer, _| writer.run_open_loop());
        self.schedule = Some(Schedule {
            interval_ns: 1e9 / per_second,
            next_ns: self.shared.now_ns() as f64,
            next_writer: 0,
        });
    }

    /// From now on each writer keeps `depth` sends unanswered.
    pub fn write_closed_loop(&mut self, depth: usize) -> Result<()> {
        self.each_writer(|writer, now_ns| writer.run_closed_loop(depth, now_ns));
        let now_ns = self.shared.now_ns();
        for at in self.writers.clone() {
            self.pump(at, now_ns)?;
        }
        Ok(())
    }

    /// Makes `count` messages in all due now; they go out as fast as acknowledgements allow.
    pub fn write_count(&mut self, count: u64) -> Result<()> {
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

    /// Stops sending and waits until everything sent is answered and everybody has everything. False when it takes too long.
    pub fn drain(&mut self, timeout: Duration) -> Result<bool> {
        self.schedule = None;
        self.each_writer(|writer, _| writer.stop());
        self.run_until(Instant::now() + timeout, Self::is_quiet)?;
        Ok(self.is_quiet())
    }

    /// Runs for a while; the counts go into the interval that `take_interval` returns.
    pub fn run_for(&mut self, duration: Duration) -> Result<()> {
        self.run_until(Instant::now() + duration, |_| false)
    }

    /// Starts a new interval and returns the one that ends.
    pub fn take_interval(&mut self) -> Result<Interval> {
        let now_ns = self.shared.now_ns();
        let last = std::mem::replace(&mut self.shared.interval, Interval::new(now_ns)?);
        let mut ended = std::mem::replace(&mut self.measured, Interval::new(now_ns)?);
        ended.add(&last);
        Ok(ended)
    }

    /// What went wrong since the start, with what is missing now counted as lost.
    pub fn faults(&self) -> crate::check::Faults {
        let mut faults = self.shared.faults;
        let subscribed = self.conns.iter().filter(|conn| conn.resume);
        faults.lost = subscribed
            .map(|conn| conn.reader.missing(&self.shared.rooms[conn.room].log))
            .sum();
        faults
    }

    /// Messages that wait for a window or an answer.
    pub fn backlog(&self) -> usize {
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

    /// Turns until `done` or the deadline, saying each second how it goes.
    pub fn run_until(&mut self, deadline: Instant, mut done: impl FnMut(&mut Self) -> bool) -> Result<()> {
        let mut next_progress = Instant::now() + Duration::from_secs(1);
        let mut next_check = Instant::now();
        loop {
            let now = Instant::now();
            if now >= next_check {
                // `done` may look at every connection, so it is not asked in every turn.
                if done(self) {
                    return Ok(());
                }
                next_check = now + Duration::from_millis(1);
            }
            if now >= deadline {
                return Ok(());
            }
            if now >= next_progress {
                self.say_progress()?;
                next_progress = now + Duration::from_secs(1);
            }
            self.turn(deadline.min(next_progress) - now)?;
        }
    }

    fn say_progress(&mut self) -> Result<()> {
        let fresh = Interval::new(self.measured.since_ns)?;
        let last = std::mem::replace(&mut self.shared.interval, fresh);
        if self.options.progress {
            let line = format!(
                "  {} live · {:>9} deliveries/s · {:>7} acknowledged/s · p99 {:>7.1} ms · {} waiting\x1b[K\r",
                self.shared.live,
                last.deliveries,
                last.acked,
                stats::percentile_ms(&last.delivery_us, 99.0),
                self.backlog()
            );
            crate::report::say(&line);
        }
        self.measured.add(&last);
        Ok(())
    }

    fn turn(&mut self, longest: Duration) -> Result<()> {
        let now_ns = self.shared.now_ns();
        let next_send_ns = self.send_due(now_ns)?;
        self.open_next(now_ns)?;
        let mut wait = longest.min(IDLE_WAIT);
        if let Some(at_ns) = next_send_ns {
            wait = wait.min(Duration::from_nanos(at_ns.saturating_sub(now_ns).max(TICK_NS)));
        }
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        let timeout = Timespec {
            tv_sec: 0,
            tv_nsec: i64::from(wait.subsec_nanos()),
        };
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(errno("epoll_wait")(e)),
        }
        for event in &events {
            self.handle(event.data.u64() as usize, event.flags)?;
        }
        self.events = events;
        Ok(())
    }

    /// Makes due what is due and returns when the next is.
    fn send_due(&mut self, now_ns: u64) -> Result<Option<u64>> {
        let Some(mut schedule) = self.schedule.take() else {
            return self.send_delayed(now_ns);
        };
        let now = now_ns as f64;
        while schedule.next_ns <= now && !self.writers.is_empty() {
            let at = self.writers[schedule.next_writer % self.writers.len()];
            // Within two ticks the tool's own batching is to blame and the message counts as sent now; a longer
            // delay is the server's doing and counts from when the message was due.
            let late = now - schedule.next_ns > 2.0 * TICK_NS as f64;
            let due_ns = if late { schedule.next_ns as u64 } else { now_ns };
            if let Some(writer) = &mut self.conns[at].writer {
                writer.push_due(due_ns);
            }
            self.pump(at, now_ns)?;
            schedule.next_writer = schedule.next_writer.wrapping_add(1);
            schedule.next_ns += schedule.interval_ns;
        }
        let next_ns = schedule.next_ns as u64;
        self.schedule = Some(schedule);
        Ok(Some(next_ns))
    }

    /// Without a schedule only refused sends wait for their time.
    fn send_delayed(&mut self, now_ns: u64) -> Result<Option<u64>> {
        if !self.shared.interval.refused.is_empty() || !self.measured.refused.is_empty() {
            for rank in 0..self.writers.len() {
                self.pump(self.writers[rank], now_ns)?;
            }
        }
        Ok(None)
    }

    fn pump(&mut self, at: usize, now_ns: u64) -> Result<()> {
        let outcome = self.conns[at].pump(&self.shared, now_ns);
        self.after(at, outcome.map(|()| true))
    }

    fn open_next(&mut self, now_ns: u64) -> Result<()> {
        while self.opening < self.options.concurrency
            && let Some((at, due_ns)) = self.to_open.front().copied()
            && due_ns <= now_ns
        {
            self.to_open.pop_front();
            let stream = connect(self.options.address, at).map_err(io("connect"))?;
            let interest = epoll::EventFlags::IN | epoll::EventFlags::OUT;
            epoll::add(&self.epoll, &stream, epoll::EventData::new_u64(at as u64), interest).map_err(errno("epoll"))?;
            self.conns[at].connecting(stream, now_ns);
            self.opening += 1;
        }
        Ok(())
    }

    fn handle(&mut self, at: usize, flags: epoll::EventFlags) -> Result<()> {
        let conn = &mut self.conns[at];
        if conn.stream.is_none() {
            return Ok(());
        }
        let before = conn.phase;
        let mut outcome = Ok(true);
        if flags.contains(epoll::EventFlags::OUT) || conn.phase == Phase::Connecting {
            outcome = conn.on_writable(&self.shared).map(|()| true);
        }
        if outcome.is_ok() && flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::HUP | epoll::EventFlags::ERR)
        {
            outcome = conn.on_readable(&mut self.shared, &mut self.buffer);
        }
        if before != Phase::Live && conn.phase == Phase::Live {
            self.opening -= 1;
        }
        if flags.contains(epoll::EventFlags::OUT) || conn.wants_write() {
            self.set_interest(at)?;
        }
        self.after(at, outcome)
    }

    fn set_interest(&mut self, at: usize) -> Result<()> {
        let conn = &self.conns[at];
        if let Some(stream) = &conn.stream {
            let mut interest = epoll::EventFlags::IN;
            if conn.wants_write() {
                interest |= epoll::EventFlags::OUT;
            }
            let data = epoll::EventData::new_u64(at as u64);
            epoll::modify(&self.epoll, stream, data, interest).map_err(errno("epoll"))?;
        }
        Ok(())
    }

    /// Opens a lost connection again; broken protocol ends the run, and so does a server that refuses everybody.
    fn after(&mut self, at: usize, outcome: Result<bool>) -> Result<()> {
        let conn = &mut self.conns[at];
        match outcome {
            Ok(true) => {
                return if conn.wants_write() {
                    self.set_interest(at)
                } else {
                    Ok(())
                };
            }
            Ok(false) => {}
            Err(Error::Io(doing, error)) if conn.resume => {
                *self
                    .shared
                    .interval
                    .closed
                    .entry(format!("{doing}: {error}"))
                    .or_default() += 1;
            }
            Err(error) => return Err(error),
        }
        if !conn.resume {
            return Err(Error::Protocol(
                "the server closed a connection before it was subscribed".into(),
            ));
        }
        match conn.phase {
            Phase::Live => self.shared.live -= 1,
            Phase::Closed => return Ok(()),
            _ => self.opening -= 1,
        }
        conn.phase = Phase::Closed;
        conn.close(&mut self.shared);
        self.to_open.push_back((at, self.shared.now_ns() + RECONNECT_PAUSE_NS));
        Ok(())
    }
}

/// Begins a connect; the source address changes every 25,000 connections, because an address has only so many ports.
fn connect(address: SocketAddr, at: usize) -> std::io::Result<std::net::TcpStream> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    if at >= CONNECTIONS_PER_ADDRESS && address.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST) {
        let host = 1 + (at / CONNECTIONS_PER_ADDRESS) as u8;
        socket.bind(&SocketAddr::from(([127, 0, 0, host], 0)).into())?;
    }
    match socket.connect(&address.into()) {
        Ok(()) => {}
        Err(e) if e.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {}
        Err(e) => return Err(e),
    }
    Ok(socket.into())
}
