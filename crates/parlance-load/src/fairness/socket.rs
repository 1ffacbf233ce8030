//! A WebSocket that sends one frame and waits for its reply.
//!
//! Used by the neighbour and by the attackers. One thread, blocking, with a timeout. What comes
//! meanwhile is thrown away.

use crate::client::websocket::{FrameWalker, Opcode, write_masked};
use crate::error::{Error, Result, io};
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Hides nothing on this machine.
const MASK: [u8; 4] = [1, 2, 3, 4];

pub(super) struct Socket {
    stream: TcpStream,
    read: Vec<u8>,
    references: u64,
}

impl Socket {
    /// Opens one and waits for `hello`.
    pub(super) fn open(address: SocketAddr, origin: IpAddr, token: &str) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(io("connect"))?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(io("connect"))?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(io("connect"))?;
        stream.set_nodelay(true).map_err(io("connect"))?;
        let request = format!(
            "GET /ws HTTP/1.1\r\nHost: {address}\r\nX-Forwarded-For: {origin}\r\nAuthorization: Bearer {token}\r\n\
             Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: cGFybGFuY2UtbG9hZC0wMA==\r\nSec-WebSocket-Protocol: parlance.v1\r\n\r\n"
        );
        let mut socket = Self {
            stream,
            read: Vec::new(),
            references: 0,
        };
        socket.stream.write_all(request.as_bytes()).map_err(io("upgrade"))?;
        let end = loop {
            if let Some(at) = socket.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            socket.fill()?;
        };
        if !socket.read.starts_with(b"HTTP/1.1 101") {
            return Err(Error::Protocol("the socket was refused".into()));
        }
        socket.read.drain(..end);
        socket.wait_for(|frame| frame["type"] == "hello")?;
        Ok(socket)
    }

    /// Sends a frame and waits for its reply.
    pub(super) fn ask(&mut self, mut frame: Value) -> Result<Value> {
        self.references += 1;
        let reference = self.references.to_string();
        frame["ref"] = reference.as_str().into();
        self.send(&frame)?;
        self.wait_for(|reply| reply["ref"] == reference.as_str())
    }

    /// Sends a frame.
    pub(super) fn send(&mut self, frame: &Value) -> Result<()> {
        let mut bytes = Vec::new();
        write_masked(&mut bytes, Opcode::Text, frame.to_string().as_bytes(), MASK);
        self.stream.write_all(&bytes).map_err(io("send"))
    }

    fn wait_for(&mut self, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut found = None;
            let mut walker = FrameWalker::new(&self.read);
            let mut pongs = Vec::new();
            while let Some((opcode, payload)) = walker.next().map_err(|e| Error::Protocol(e.to_string()))? {
                match opcode {
                    Opcode::Text => {
                        let frame: Value = serde_json::from_slice(payload).unwrap_or_default();
                        if wanted(&frame) {
                            found = Some(frame);
                            break;
                        }
                    }
                    Opcode::Ping => write_masked(&mut pongs, Opcode::Pong, payload, MASK),
                    Opcode::Pong => {}
                    Opcode::Close => return Err(Error::Protocol("the socket was closed".into())),
                }
            }
            let consumed = walker.consumed();
            self.read.drain(..consumed);
            self.stream.write_all(&pongs).map_err(io("pong"))?;
            if let Some(frame) = found {
                return Ok(frame);
            }
            if Instant::now() > deadline {
                return Err(Error::Timeout("a reply".into(), PATIENCE.as_secs()));
            }
            self.fill()?;
        }
    }

    fn fill(&mut self) -> Result<()> {
        let mut piece = vec![0; 64 * 1_024];
        match self.stream.read(&mut piece).map_err(io("read"))? {
            0 => Err(Error::Protocol("the socket has ended".into())),
            count => {
                self.read.extend_from_slice(&piece[..count]);
                Ok(())
            }
        }
    }
}
