//! What the engine's thread does, again and again: send what is due, begin connects, take events,
//! open what was lost.
//!
//! One `epoll_wait` returns a batch of sockets, and each is read once. A sleep ends when the next
//! send or connect is due.

use super::connection::Phase;
use super::driver::{Engine, TICK_NS};
use crate::error::{Error, Result, errno};
use crate::measure::report::show_progress;
use crate::measure::stats::{self, Interval};
use rustix::event::{Timespec, epoll};
use std::cmp::Reverse;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

/// Connections from one source address; below the ephemeral port range of Linux (28,000).
const CONNECTIONS_PER_ADDRESS: usize = 25_000;
/// Longest sleep of the loop.
const IDLE_WAIT: Duration = Duration::from_millis(50);

impl Engine {
    /// Goes on until `done` or the deadline, and shows its progress each second.
    pub(crate) fn run_until(&mut self, deadline: Instant, mut done: impl FnMut(&mut Self) -> bool) -> Result<()> {
        let mut next_progress = Instant::now() + Duration::from_secs(1);
        let mut next_check = Instant::now();
        loop {
            let now = Instant::now();
            if now >= next_check {
                // `done` may look at every connection, so it is not asked every time.
                if done(self) {
                    return Ok(());
                }
                next_check = now + Duration::from_millis(1);
            }
            if now >= deadline {
                return Ok(());
            }
            if now >= next_progress {
                self.show_progress()?;
                next_progress = now + Duration::from_secs(1);
            }
            self.poll_once(deadline.min(next_progress) - now)?;
        }
    }

    fn show_progress(&mut self) -> Result<()> {
        let fresh = Interval::new(self.measured.since_ns)?;
        let last = std::mem::replace(&mut self.run.interval, fresh);
        if self.options.progress {
            let line = format!(
                "  {} live · {:>9} deliveries/s · {:>7} acknowledged/s · p99 {:>7.1} ms · {} waiting\x1b[K\r",
                self.run.live,
                last.deliveries,
                last.acked,
                stats::percentile_ms(&last.delivery_us(), 99.0),
                self.backlog()
            );
            show_progress(&line);
        }
        self.measured.add(&last);
        Ok(())
    }

    fn poll_once(&mut self, longest: Duration) -> Result<()> {
        let now_ns = self.run.now_ns();
        let next_send_ns = self.send_due(now_ns)?;
        self.open_next(now_ns)?;
        let mut wait = longest.min(IDLE_WAIT);
        if let Some(Reverse((due_ns, _))) = self.to_open.peek() {
            wait = wait.min(Duration::from_nanos(due_ns.saturating_sub(now_ns).max(TICK_NS)));
        }
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
            // Within two ticks the tool's own batching is to blame and the message counts as sent
            // now; a longer delay is the server's doing and counts from when the message was due.
            let late = now - schedule.next_ns > 2.0 * TICK_NS as f64;
            let due_ns = if late { schedule.next_ns as u64 } else { now_ns };
            if let Some(writer) = &mut self.connections[at].writer {
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
        if !self.run.interval.refused.is_empty() || !self.measured.refused.is_empty() {
            for rank in 0..self.writers.len() {
                self.pump(self.writers[rank], now_ns)?;
            }
        }
        Ok(None)
    }

    pub(super) fn pump(&mut self, at: usize, now_ns: u64) -> Result<()> {
        let outcome = self.connections[at].pump(&self.run, now_ns);
        self.after(at, outcome.map(|()| true))
    }

    fn open_next(&mut self, now_ns: u64) -> Result<()> {
        while self.opening < self.options.concurrency
            && let Some(Reverse((due_ns, at))) = self.to_open.peek().copied()
            && due_ns <= now_ns
        {
            self.to_open.pop();
            let address = self.options.addresses[self.connections[at].node];
            self.opening += 1;
            let stream = match connect(address, at) {
                Ok(stream) => stream,
                Err(error) => {
                    // Within one machine a refusal may come at once.
                    self.connections[at].phase = Phase::Connecting;
                    self.after(at, Err(Error::Io("connect", error)))?;
                    continue;
                }
            };
            let interest = epoll::EventFlags::IN | epoll::EventFlags::OUT;
            epoll::add(&self.epoll, &stream, epoll::EventData::new_u64(at as u64), interest).map_err(errno("epoll"))?;
            self.connections[at].connecting(stream, now_ns);
        }
        Ok(())
    }

    fn handle(&mut self, at: usize, flags: epoll::EventFlags) -> Result<()> {
        let connection = &mut self.connections[at];
        if connection.stream.is_none() {
            return Ok(());
        }
        let before = connection.phase;
        let mut outcome = Ok(true);
        if flags.contains(epoll::EventFlags::OUT) || connection.phase == Phase::Connecting {
            outcome = connection.on_writable(&self.run).map(|()| true);
        }
        if outcome.is_ok() && flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::HUP | epoll::EventFlags::ERR)
        {
            outcome = connection.on_readable(&mut self.run, &mut self.buffer);
        }
        if before != Phase::Live && connection.phase == Phase::Live {
            self.opening -= 1;
        }
        if flags.contains(epoll::EventFlags::OUT) || connection.wants_write() {
            self.set_interest(at)?;
        }
        self.after(at, outcome)
    }

    fn set_interest(&mut self, at: usize) -> Result<()> {
        let connection = &self.connections[at];
        if let Some(stream) = &connection.stream {
            let mut interest = epoll::EventFlags::IN;
            if connection.wants_write() {
                interest |= epoll::EventFlags::OUT;
            }
            let data = epoll::EventData::new_u64(at as u64);
            epoll::modify(&self.epoll, stream, data, interest).map_err(errno("epoll"))?;
        }
        Ok(())
    }

    /// Opens a lost connection again; broken protocol ends the run, and so does a server that
    /// refuses everybody.
    fn after(&mut self, at: usize, outcome: Result<bool>) -> Result<()> {
        let connection = &mut self.connections[at];
        match outcome {
            Ok(true) => {
                return if connection.wants_write() {
                    self.set_interest(at)
                } else {
                    Ok(())
                };
            }
            Ok(false) => {}
            Err(Error::Io(doing, error)) if connection.resume => {
                *self.run.interval.closed.entry(format!("{doing}: {error}")).or_default() += 1;
            }
            Err(error) => return Err(error),
        }
        if !connection.resume {
            return Err(Error::Protocol(
                "the server closed a connection before it was subscribed".into(),
            ));
        }
        match connection.phase {
            Phase::Live => self.run.live -= 1,
            Phase::Closed => return Ok(()),
            _ => self.opening -= 1,
        }
        connection.phase = Phase::Closed;
        connection.close(&mut self.run);
        if connection.backoff.has_failed() {
            connection.node = (connection.node + 1) % self.options.addresses.len();
        }
        let pause_ns = connection.backoff.pause_ns(rand::random());
        self.to_open.push(Reverse((self.run.now_ns() + pause_ns, at)));
        Ok(())
    }
}

/// Begins a connect; the source address changes every 25,000 connections, because an address has
/// only so many ports.
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
