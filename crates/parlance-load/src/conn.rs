//! One connection of the load tool: connect, upgrade, subscribe, then read as cheaply as possible.
//!
//! The read buffer belongs to the engine and is shared by all connections; a connection keeps only the bytes of a
//! frame that a read cut off. Each event costs one `read`, one look at the clock and then only arithmetic on the
//! bytes in place.

use crate::check::{OTHER_CHANGE, Reader};
use crate::comeback::Comeback;
use crate::error::{Error, Result, io};
use crate::fields::{self, Frame, Message, Stamp};
use crate::frame::{Kind, Walker, write_masked};
use crate::http::another_client;
use crate::shared::Shared;
use crate::writer::Writer;
use memchr::memmem;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

/// Room for one read, in bytes; the shared buffer grows only for a longer frame.
const READ_BYTES: usize = 256 * 1024;

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// No socket.
    Closed,
    /// TCP connect under way.
    Connecting,
    /// Upgrade request sent.
    Upgrading,
    /// Waiting for `hello`.
    Greeting,
    /// Waiting for `subscribed`.
    Subscribing,
    /// Subscribed.
    Live,
}

/// One connection.
pub(crate) struct Conn {
    /// Its room.
    pub room: usize,
    /// The node it connects to.
    pub node: usize,
    token: String,
    /// The socket, while there is one.
    pub stream: Option<TcpStream>,
    /// Where it stands.
    pub phase: Phase,
    /// What it has seen.
    pub reader: Reader,
    /// Set when it writes.
    pub writer: Option<Box<Writer>>,
    /// Subscribe with `after` the reader's revision.
    pub resume: bool,
    /// Messages taken since `subscribe` was sent.
    pub replayed: u64,
    /// Its way back when the connection ends.
    pub comeback: Comeback,
    /// When it was last subscribed.
    pub subscribed_ns: u64,
    tail: Vec<u8>,
    out: Vec<u8>,
    opened_ns: u64,
    asked_ns: u64,
}

impl Conn {
    /// A member of a room with its node and access token.
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
            comeback: Comeback::default(),
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
    pub(crate) fn close(&mut self, shared: &mut Shared) {
        if self.phase == Phase::Live {
            shared.live -= 1;
            write_masked(&mut self.out, Kind::Close, &1000u16.to_be_bytes(), shared.mask);
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
    pub(crate) fn on_writable(&mut self, shared: &Shared) -> Result<()> {
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
                shared.host,
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
    pub(crate) fn pump(&mut self, shared: &Shared, now_ns: u64) -> Result<()> {
        if self.phase == Phase::Live
            && let Some(writer) = &mut self.writer
        {
            writer.pump(now_ns, shared.mask, &mut self.out);
            return self.flush();
        }
        Ok(())
    }

    /// Reads once and takes every complete frame. False when the server has closed.
    pub(crate) fn on_readable(&mut self, shared: &mut Shared, buffer: &mut Vec<u8>) -> Result<bool> {
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
                shared.count_close("connection lost");
                return Ok(false);
            }
            Ok(read) => read,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return Ok(true),
            Err(e) => return Err(Error::Io("read", e)),
        };
        let now_ns = shared.now_ns();
        let bytes = &buffer[..kept + read];
        let start = if self.phase == Phase::Upgrading {
            match self.on_response(bytes, shared)? {
                Some(taken) => taken,
                None => return Ok(false),
            }
        } else {
            0
        };
        let mut walker = Walker::new(&bytes[start..]);
        let mut open = true;
        if self.phase != Phase::Upgrading {
            while let Some((kind, payload)) = walker.next().map_err(|e| Error::Protocol(e.to_string()))? {
                open &= self.on_frame(kind, payload, shared, now_ns)?;
            }
        }
        let rest = start + walker.consumed();
        self.tail.clear();
        self.tail.extend_from_slice(&bytes[rest..]);
        if self.writer.is_some() {
            self.pump(shared, now_ns)?;
        }
        self.flush()?;
        Ok(open)
    }

    /// Looks for the end of the upgrade response; returns how many bytes it takes, 0 while it is incomplete. `None` when
    /// somebody who was there before was sent away for now.
    fn on_response(&mut self, bytes: &[u8], shared: &mut Shared) -> Result<Option<usize>> {
        let Some(end) = memmem::find(bytes, b"\r\n\r\n") else {
            return Ok(Some(0));
        };
        if !bytes.starts_with(b"HTTP/1.1 101") {
            let status = bytes.get(9..12).unwrap_or_default();
            if self.resume && matches!(status, b"502" | b"503" | b"504") {
                shared.count_close(&format!("upgrade answered {}", String::from_utf8_lossy(status)));
                return Ok(None);
            }
            let text = String::from_utf8_lossy(&bytes[..bytes.len().min(600)]);
            return Err(Error::Protocol(format!("the upgrade was refused: {text}")));
        }
        self.phase = Phase::Greeting;
        Ok(Some(end + 4))
    }

    #[inline]
    fn on_frame(&mut self, kind: Kind, payload: &[u8], shared: &mut Shared, now_ns: u64) -> Result<bool> {
        match kind {
            Kind::Text => self.on_text(payload, shared, now_ns)?,
            Kind::Ping => write_masked(&mut self.out, Kind::Pong, payload, shared.mask),
            Kind::Pong => {}
            Kind::Close => {
                let code = payload
                    .first_chunk::<2>()
                    .map_or(1005, |code| u16::from_be_bytes(*code));
                shared.count_close(&format!("close {code}"));
                return Ok(false);
            }
        }
        Ok(true)
    }

    #[inline]
    fn on_text(&mut self, text: &[u8], shared: &mut Shared, now_ns: u64) -> Result<()> {
        let frame = fields::read(text);
        if shared.verify {
            fields::verify(text, frame.as_ref()).map_err(Error::Protocol)?;
            shared.verified += 1;
        }
        match frame {
            Some(Frame::Message(message)) => self.on_message(&message, text.len(), shared, now_ns),
            Some(other) => self.on_other(other, shared, now_ns)?,
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
    fn on_message(&mut self, message: &Message<'_>, bytes: usize, shared: &mut Shared, now_ns: u64) {
        if self.phase != Phase::Live && !self.resume {
            // The snapshot of a first subscription: known history, not a delivery.
            return;
        }
        let room = &mut shared.rooms[self.room];
        if message.conversation != room.conversation.as_bytes() {
            shared.faults.mismatched += 1;
            return;
        }
        let stamp = Stamp::read(message.body);
        let what = stamp.map_or(OTHER_CHANGE, |s| (s.writer, s.counter));
        if self.reader.take(&mut room.log, message.rev, what, &mut shared.faults) {
            if self.phase != Phase::Live {
                self.replayed += 1;
            } else if let Some(stamp) = stamp {
                let across = shared.is_across(stamp.writer, self.node);
                shared.interval.delivered(stamp.sent_ns, now_ns, bytes, across);
            }
        }
    }

    fn on_other(&mut self, frame: Frame<'_>, shared: &mut Shared, now_ns: u64) -> Result<()> {
        match frame {
            Frame::Hello => self.subscribe(shared, now_ns),
            Frame::Subscribed { rev } => self.on_subscribed(rev, shared, now_ns),
            Frame::Ack { reference, rev, .. } => {
                let writer = self.writer.as_mut().and_then(|w| w.acknowledged(reference, now_ns));
                if let Some((what, sent_ns)) = writer {
                    shared.interval.acknowledged(sent_ns, now_ns);
                    if !shared.rooms[self.room].log.agree(rev, what) {
                        shared.faults.mismatched += 1;
                    }
                }
            }
            Frame::Refused { reference, code } => {
                let code = String::from_utf8_lossy(code).into_owned();
                if self.phase != Phase::Live {
                    return Err(Error::Protocol(format!("subscribe was answered {code}")));
                }
                *shared.interval.refused.entry(code).or_default() += 1;
                if let (Some(reference), Some(writer)) = (reference, &mut self.writer) {
                    writer.refused(reference, now_ns);
                }
            }
            Frame::Change { rev, .. } if self.phase == Phase::Live || self.resume => {
                let room = &mut shared.rooms[self.room];
                self.reader.take(&mut room.log, rev, OTHER_CHANGE, &mut shared.faults);
            }
            Frame::Goodbye { retry_after_ms } => self.comeback.told(retry_after_ms),
            Frame::Change { .. } | Frame::Other | Frame::Message(_) => {}
        }
        Ok(())
    }

    fn subscribe(&mut self, shared: &Shared, now_ns: u64) {
        let conversation = &shared.rooms[self.room].conversation;
        let text = if self.resume {
            let after = self.reader.rev;
            format!(r#"{{"type":"subscribe","ref":"s","conversation":"{conversation}","after":{after}}}"#)
        } else {
            format!(r#"{{"type":"subscribe","ref":"s","conversation":"{conversation}"}}"#)
        };
        write_masked(&mut self.out, Kind::Text, text.as_bytes(), shared.mask);
        self.phase = Phase::Subscribing;
        self.asked_ns = now_ns;
        self.replayed = 0;
    }

    fn on_subscribed(&mut self, rev: i64, shared: &mut Shared, now_ns: u64) {
        if !self.resume {
            self.reader.start(rev);
        }
        shared.rooms[self.room].log.start(rev);
        self.phase = Phase::Live;
        self.resume = true;
        self.comeback.arrived();
        self.subscribed_ns = now_ns;
        shared.live += 1;
        shared
            .opened_us
            .saturating_record((now_ns.saturating_sub(self.opened_ns) / 1_000).max(1));
        shared
            .subscribed_us
            .saturating_record((now_ns.saturating_sub(self.asked_ns) / 1_000).max(1));
        if let Some(writer) = &mut self.writer {
            writer.repeat_unanswered(shared.mask, &mut self.out);
        }
    }
}
