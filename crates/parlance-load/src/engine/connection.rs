//! One connection of the load tool: connect, upgrade, subscribe, then read as cheaply as possible.
//!
//! Driven by the engine. The read buffer belongs to the engine and is shared by all connections; a
//! connection keeps only the bytes of a frame that a read cut off. Each event costs one `read`, one
//! look at the clock, and then only arithmetic on the bytes in place.

use crate::client::http::another_client;
use crate::client::server_frame::{self, Message, ServerFrame, Stamp};
use crate::client::websocket::{FrameWalker, Opcode, write_masked};
use crate::engine::backoff::Backoff;
use crate::engine::run_state::RunState;
use crate::engine::writer::Writer;
use crate::error::{Error, Result, io};
use crate::measure::check::{OTHER_CHANGE, Reader};
use memchr::memmem;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

/// Room for one read, in bytes; the shared buffer grows only for a longer frame.
const READ_BYTES: usize = 256 * 1024;

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// There is no socket.
    Closed,
    /// TCP connect under way.
    Connecting,
    /// Upgrade request sent.
    Upgrading,
    /// Waiting for `hello`.
    Greeting,
    /// Waiting for `subscribed`.
    Subscribing,
    Live,
}

/// The client of one member.
pub(crate) struct Connection {
    /// The number of its room.
    pub room: usize,
    /// The number of the node that it connects to.
    pub node: usize,
    token: String,
    /// The socket, while there is one.
    pub stream: Option<TcpStream>,
    pub phase: Phase,
    pub reader: Reader,
    /// Set for those who write.
    pub writer: Option<Box<Writer>>,
    /// Subscribe with `after` the reader's revision.
    pub resume: bool,
    /// Messages taken since `subscribe` was sent.
    pub replayed: u64,
    pub backoff: Backoff,
    /// When it was last subscribed.
    pub subscribed_ns: u64,
    /// The beginning of a frame that the last read cut off.
    tail: Vec<u8>,
    /// What waits to be written.
    out: Vec<u8>,
    /// When the connect began, and when `subscribe` was sent.
    opened_ns: u64,
    asked_ns: u64,
}

impl Connection {
    pub(crate) fn new(room: usize, node: usize, token: String) -> Self {
        Self {
            room,
            node,
            token,
            stream: None,
            phase: Phase::Closed,
            reader: Reader::default(),
            writer: None,
            resume: false,
            replayed: 0,
            backoff: Backoff::default(),
            subscribed_ns: 0,
            tail: Vec::new(),
            out: Vec::new(),
            opened_ns: 0,
            asked_ns: 0,
        }
    }

    /// Takes a socket whose connect has begun.
    pub(crate) fn connecting(&mut self, stream: TcpStream, now_ns: u64) {
        self.stream = Some(stream);
        self.phase = Phase::Connecting;
        self.opened_ns = now_ns;
        self.tail.clear();
        self.out.clear();
    }

    /// Gives up the socket, saying goodbye if it was live.
    pub(crate) fn close(&mut self, run: &mut RunState) {
        if self.phase == Phase::Live {
            run.live -= 1;
            write_masked(&mut self.out, Opcode::Close, &1000u16.to_be_bytes(), run.mask);
            // Best effort: the connection is given up in any case.
            drop(self.flush());
        }
        self.phase = Phase::Closed;
        self.stream = None;
        self.out = Vec::new();
        self.tail = Vec::new();
    }

    /// Whether bytes wait to be written.
    pub(crate) fn wants_write(&self) -> bool {
        self.phase == Phase::Connecting || !self.out.is_empty()
    }

    /// The socket takes bytes.
    pub(crate) fn on_writable(&mut self, run: &RunState) -> Result<()> {
        if self.phase == Phase::Connecting {
            let stream = self
                .stream
                .as_ref()
                .ok_or_else(|| Error::Protocol("no socket".into()))?;
            if let Some(error) = stream.take_error().map_err(io("connect"))? {
                return Err(Error::Io("connect", error));
            }
            self.phase = Phase::Upgrading;
            let request = format!(
                "GET /ws HTTP/1.1\r\nHost: {}\r\nX-Forwarded-For: {}\r\nAuthorization: Bearer {}\r\n\
                 Connection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: cGFybGFuY2UtbG9hZC0wMA==\r\n\
                 Sec-WebSocket-Protocol: parlance.v1\r\n\r\n",
                run.host,
                another_client(),
                self.token
            );
            self.out.extend_from_slice(request.as_bytes());
        }
        self.flush()
    }

    /// Writes what waits; the rest stays for the next `on_writable`.
    pub(crate) fn flush(&mut self) -> Result<()> {
        let Some(mut stream) = self.stream.as_ref() else {
            return Ok(());
        };
        while !self.out.is_empty() {
            match stream.write(&self.out) {
                Ok(0) => return Err(Error::Protocol("the socket takes no bytes".into())),
                Ok(written) if written == self.out.len() => self.out.clear(),
                Ok(written) => drop(self.out.drain(..written)),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::Io("write", e)),
            }
        }
        Ok(())
    }

    /// Sends what is due, if this connection writes and is live.
    pub(crate) fn pump(&mut self, run: &RunState, now_ns: u64) -> Result<()> {
        if self.phase == Phase::Live
            && let Some(writer) = &mut self.writer
        {
            writer.pump(now_ns, run.mask, &mut self.out);
            return self.flush();
        }
        Ok(())
    }

    /// Reads once and takes every complete frame. False when the server has closed.
    pub(crate) fn on_readable(&mut self, run: &mut RunState, buffer: &mut Vec<u8>) -> Result<bool> {
        let kept = self.tail.len();
        if buffer.len() < kept + READ_BYTES {
            buffer.resize(kept + READ_BYTES, 0);
        }
        buffer[..kept].copy_from_slice(&self.tail);
        let Some(mut stream) = self.stream.as_ref() else {
            return Ok(true);
        };
        let read = match stream.read(&mut buffer[kept..]) {
            Ok(0) => {
                run.count_close("connection lost");
                return Ok(false);
            }
            Ok(read) => read,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return Ok(true),
            Err(e) => return Err(Error::Io("read", e)),
        };
        let now_ns = run.now_ns();
        let bytes = &buffer[..kept + read];
        let start = if self.phase == Phase::Upgrading {
            match self.on_response(bytes, run)? {
                Some(taken) => taken,
                None => return Ok(false),
            }
        } else {
            0
        };
        let mut walker = FrameWalker::new(&bytes[start..]);
        let mut open = true;
        if self.phase != Phase::Upgrading {
            while let Some((kind, payload)) = walker.next().map_err(|e| Error::Protocol(e.to_string()))? {
                open &= self.on_frame(kind, payload, run, now_ns)?;
            }
        }
        let rest = start + walker.consumed();
        self.tail.clear();
        self.tail.extend_from_slice(&bytes[rest..]);
        if self.writer.is_some() {
            self.pump(run, now_ns)?;
        }
        self.flush()?;
        Ok(open)
    }

    /// Looks for the end of the upgrade response; returns how many bytes it takes, 0 while it is
    /// incomplete. `None` when someone who was there before was sent away for now.
    fn on_response(&mut self, bytes: &[u8], run: &mut RunState) -> Result<Option<usize>> {
        let Some(end) = memmem::find(bytes, b"\r\n\r\n") else {
            return Ok(Some(0));
        };
        if !bytes.starts_with(b"HTTP/1.1 101") {
            let status = bytes.get(9..12).unwrap_or_default();
            if self.resume && matches!(status, b"502" | b"503" | b"504") {
                run.count_close(&format!("upgrade got {}", String::from_utf8_lossy(status)));
                return Ok(None);
            }
            let text = String::from_utf8_lossy(&bytes[..bytes.len().min(600)]);
            return Err(Error::Protocol(format!("the upgrade was refused: {text}")));
        }
        self.phase = Phase::Greeting;
        Ok(Some(end + 4))
    }

    #[inline]
    fn on_frame(&mut self, kind: Opcode, payload: &[u8], run: &mut RunState, now_ns: u64) -> Result<bool> {
        match kind {
            Opcode::Text => self.on_text(payload, run, now_ns)?,
            Opcode::Ping => write_masked(&mut self.out, Opcode::Pong, payload, run.mask),
            Opcode::Pong => {}
            Opcode::Close => {
                let code = payload
                    .first_chunk::<2>()
                    .map_or(1005, |code| u16::from_be_bytes(*code));
                run.count_close(&format!("close {code}"));
                return Ok(false);
            }
        }
        Ok(true)
    }

    #[inline]
    fn on_text(&mut self, text: &[u8], run: &mut RunState, now_ns: u64) -> Result<()> {
        let frame = server_frame::read(text);
        if run.verify {
            server_frame::verify(text, frame.as_ref()).map_err(Error::Protocol)?;
            run.verified += 1;
        }
        match frame {
            Some(ServerFrame::Message(message)) => self.on_message(&message, text.len(), run, now_ns),
            Some(other) => self.on_other(other, run, now_ns)?,
            None => {
                return Err(Error::Protocol(format!(
                    "not a frame: {}",
                    String::from_utf8_lossy(text)
                )));
            }
        }
        Ok(())
    }

    #[inline]
    fn on_message(&mut self, message: &Message<'_>, bytes: usize, run: &mut RunState, now_ns: u64) {
        if self.phase != Phase::Live && !self.resume {
            // The snapshot of a first subscription: known history, not a delivery.
            return;
        }
        let room = &mut run.rooms[self.room];
        if message.conversation != room.conversation.as_bytes() {
            run.faults.mismatched += 1;
            return;
        }
        let stamp = Stamp::read(message.body);
        let what = stamp.map_or(OTHER_CHANGE, |s| (s.writer, s.counter));
        if self.reader.take(&mut room.log, message.rev, what, &mut run.faults) {
            if self.phase != Phase::Live {
                self.replayed += 1;
            } else if let Some(stamp) = stamp {
                let is_other_node = run.is_other_node(stamp.writer, self.node);
                run.interval.delivered(stamp.sent_ns, now_ns, bytes, is_other_node);
            }
        }
    }

    fn on_other(&mut self, frame: ServerFrame<'_>, run: &mut RunState, now_ns: u64) -> Result<()> {
        match frame {
            ServerFrame::Hello => self.subscribe(run, now_ns),
            ServerFrame::Subscribed { rev } => self.on_subscribed(rev, run, now_ns),
            ServerFrame::Ack { reference, rev, .. } => {
                let writer = self.writer.as_mut().and_then(|w| w.acknowledged(reference, now_ns));
                if let Some((what, sent_ns)) = writer {
                    run.interval.acknowledged(sent_ns, now_ns);
                    if !run.rooms[self.room].log.agree(rev, what) {
                        run.faults.mismatched += 1;
                    }
                }
            }
            ServerFrame::Refused { reference, code } => {
                let code = String::from_utf8_lossy(code).into_owned();
                if self.phase != Phase::Live {
                    return Err(Error::Protocol(format!("subscribe was refused: {code}")));
                }
                *run.interval.refused.entry(code).or_default() += 1;
                if let (Some(reference), Some(writer)) = (reference, &mut self.writer) {
                    writer.refused(reference, now_ns);
                }
            }
            ServerFrame::Change { rev, .. } if self.phase == Phase::Live || self.resume => {
                let room = &mut run.rooms[self.room];
                self.reader.take(&mut room.log, rev, OTHER_CHANGE, &mut run.faults);
            }
            ServerFrame::Goodbye { retry_after_ms } => self.backoff.set_retry_after(retry_after_ms),
            ServerFrame::Change { .. } | ServerFrame::Other | ServerFrame::Message(_) => {}
        }
        Ok(())
    }

    fn subscribe(&mut self, run: &RunState, now_ns: u64) {
        let conversation = &run.rooms[self.room].conversation;
        let text = if self.resume {
            let after = self.reader.rev;
            format!(r#"{{"type":"subscribe","ref":"s","conversation":"{conversation}","after":{after}}}"#)
        } else {
            format!(r#"{{"type":"subscribe","ref":"s","conversation":"{conversation}"}}"#)
        };
        write_masked(&mut self.out, Opcode::Text, text.as_bytes(), run.mask);
        self.phase = Phase::Subscribing;
        self.asked_ns = now_ns;
        self.replayed = 0;
    }

    fn on_subscribed(&mut self, rev: i64, run: &mut RunState, now_ns: u64) {
        if !self.resume {
            self.reader.start(rev);
        }
        run.rooms[self.room].log.start(rev);
        self.phase = Phase::Live;
        self.resume = true;
        self.backoff.reset();
        self.subscribed_ns = now_ns;
        run.live += 1;
        run.opened_us
            .saturating_record((now_ns.saturating_sub(self.opened_ns) / 1_000).max(1));
        run.subscribed_us
            .saturating_record((now_ns.saturating_sub(self.asked_ns) / 1_000).max(1));
        if let Some(writer) = &mut self.writer {
            writer.repeat_unacknowledged(run.mask, &mut self.out);
        }
    }
}
