//! The socket of one person: opened, asked, and listened to by the person's own thread.
//!
//! Blocking, with the time until the next action as the time-out of reads. What comes between is
//! counted and dropped; pings are replied to.

use crate::client::http::another_client;
use crate::client::websocket::{FrameWalker, Opcode, write_masked};
use crate::error::{Error, Result, io};
use serde_json::Value;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long anything may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The mask of all frames; on loopback it hides nothing from anybody.
const MASK: [u8; 4] = [0x5a, 0xc3, 0x96, 0x3c];
/// What is read at a time.
const READ_BYTES: usize = 64 * 1_024;
/// Longest response to a handshake.
const HEAD_BYTES_MAX: usize = 16 * 1_024;

pub(super) struct PersonSocket {
    stream: TcpStream,
    /// What was read and is no whole frame yet.
    rest: Vec<u8>,
    buffer: Vec<u8>,
    next_ref: u64,
    /// Messages that came since they were last counted.
    pub(super) messages: u64,
}

impl PersonSocket {
    /// Opens one; returns when the server has said hello.
    pub(super) fn open(address: SocketAddr, token: &str) -> Result<Self> {
        let mut stream = TcpStream::connect_timeout(&address, TIMEOUT).map_err(io("connect"))?;
        stream.set_nodelay(true).map_err(io("connect"))?;
        stream.set_read_timeout(Some(TIMEOUT)).map_err(io("connect"))?;
        let request = format!(
            "GET /ws HTTP/1.1\r\nHost: {address}\r\nX-Forwarded-For: {}\r\nAuthorization: Bearer {token}\r\n\
             Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: cGFybGFuY2UtbG9hZC0wMA==\r\nSec-WebSocket-Protocol: parlance.v1\r\n\r\n",
            another_client()
        );
        stream.write_all(request.as_bytes()).map_err(io("handshake"))?;
        let mut socket = Self {
            stream,
            rest: Vec::new(),
            buffer: vec![0; READ_BYTES],
            next_ref: 0,
            messages: 0,
        };
        socket.read_head()?;
        socket.wait_for(Instant::now() + TIMEOUT, |frame| frame["type"] == "hello")?;
        Ok(socket)
    }

    fn read_head(&mut self) -> Result<()> {
        loop {
            if let Some(end) = self.rest.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(self.rest.get(..end).unwrap_or_default()).into_owned();
                self.rest.drain(..end + 4);
                return match head.starts_with("HTTP/1.1 101") {
                    true => Ok(()),
                    false => Err(Error::Protocol(head.lines().next().unwrap_or_default().to_owned())),
                };
            }
            if self.rest.len() > HEAD_BYTES_MAX || !self.read()? {
                return Err(Error::Protocol("the handshake has no end".into()));
            }
        }
    }

    /// Sends a frame, and returns its reply.
    pub(super) fn ask(&mut self, mut frame: Value) -> Result<Value> {
        self.next_ref += 1;
        let reference = self.next_ref.to_string();
        frame["ref"] = Value::String(reference.clone());
        self.send(&frame)?;
        let reply = self.wait_for(Instant::now() + TIMEOUT, |reply| reply["ref"] == reference.as_str())?;
        match reply["type"] == "error" {
            true => Err(Error::Protocol(reply["code"].as_str().unwrap_or("error").to_owned())),
            false => Ok(reply),
        }
    }

    fn send(&mut self, frame: &Value) -> Result<()> {
        self.write(Opcode::Text, frame.to_string().as_bytes())
    }

    fn write(&mut self, kind: Opcode, payload: &[u8]) -> Result<()> {
        let mut out = Vec::with_capacity(payload.len() + 14);
        write_masked(&mut out, kind, payload, MASK);
        self.stream.write_all(&out).map_err(io("socket"))
    }

    /// Listens until then.
    pub(super) fn listen(&mut self, until: Instant) -> Result<()> {
        match self.wait_for(until, |_| false) {
            Err(Error::Timeout(..)) => Ok(()),
            other => other.map(drop),
        }
    }

    /// The first frame that is wanted.
    fn wait_for(&mut self, until: Instant, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        loop {
            if let Some(frame) = self.take_frame(&wanted)? {
                return Ok(frame);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::Timeout("a frame".into(), TIMEOUT.as_secs()));
            }
            // Zero would be for ever.
            let left = left.max(Duration::from_millis(1));
            self.stream.set_read_timeout(Some(left)).map_err(io("socket"))?;
            self.read()?;
        }
    }

    /// Works off whole frames up to the first that is wanted.
    fn take_frame(&mut self, wanted: &impl Fn(&Value) -> bool) -> Result<Option<Value>> {
        let rest = std::mem::take(&mut self.rest);
        let mut walker = FrameWalker::new(&rest);
        let mut found = None;
        while found.is_none()
            && let Some((kind, payload)) = walker.next().map_err(|error| Error::Protocol(error.to_string()))?
        {
            match kind {
                Opcode::Ping => self.write(Opcode::Pong, payload)?,
                Opcode::Pong => {}
                Opcode::Close => return Err(Error::Protocol(format!("closed: {}", close_code(payload)))),
                Opcode::Text => {
                    let frame: Value = serde_json::from_slice(payload).map_err(|e| Error::Protocol(e.to_string()))?;
                    self.messages += u64::from(frame["type"] == "message");
                    found = wanted(&frame).then_some(frame);
                }
            }
        }
        self.rest = rest.get(walker.consumed()..).unwrap_or_default().to_vec();
        Ok(found)
    }

    /// Reads once; false when nothing came in time.
    fn read(&mut self) -> Result<bool> {
        match self.stream.read(&mut self.buffer) {
            Ok(0) => Err(Error::Protocol("the server closed the connection".into())),
            Ok(n) => {
                self.rest.extend_from_slice(self.buffer.get(..n).unwrap_or_default());
                Ok(true)
            }
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) =>
            {
                Ok(false)
            }
            Err(error) => Err(Error::Io("socket", error)),
        }
    }

    /// Says goodbye; nobody waits for the reply.
    pub(super) fn close(mut self) {
        drop(self.write(Opcode::Close, &1_000_u16.to_be_bytes()));
    }
}

fn close_code(payload: &[u8]) -> u16 {
    match *payload {
        [a, b, ..] => u16::from_be_bytes([a, b]),
        _ => 1005,
    }
}
