//! WebSocket clients: one that follows a script, and one that speaks bytes.
//!
//! The scripted one is strict: a server frame that is not JSON or has no `type`, or a reply without its `ref`, fails the
//! test whatever it is about.

use super::PATIENCE;
use super::client::Site;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use parlance::ids::{ConversationId, MessageId};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::ClientRequestBuilder;
use tokio_tungstenite::tungstenite::{self, Message};

/// What came instead of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// A close frame with this code (1005: without one).
    Closed(u16),
    /// The connection broke.
    Broken(String),
    /// Nothing came in time.
    TimedOut,
}

/// A reply to `send`, as far as tests look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    pub seq: i64,
    pub rev: i64,
    pub duplicate: bool,
}

impl Ack {
    /// Reads an `ack` frame, or its fields in an answer of REST.
    pub fn of(frame: &Value) -> Self {
        Self {
            seq: frame["seq"].as_i64().unwrap(),
            rev: frame["rev"].as_i64().unwrap(),
            duplicate: frame["duplicate"].as_bool().unwrap_or(false),
        }
    }
}

/// The answer to `subscribe`.
#[derive(Debug)]
pub struct Subscribed {
    /// The snapshot or replay.
    pub frames: Vec<Value>,
    pub subscribed: Value,
}

impl Subscribed {
    pub fn rev(&self) -> i64 {
        self.subscribed["rev"].as_i64().unwrap()
    }
}

/// Frames that are read ahead of the test, before the client stops reading.
const READ_AHEAD: usize = 100_000;

/// A socket. Like a browser it reads all the time, and answers pings and the server's close, whatever the test does;
/// [`RawSocket`] is for clients that do not.
pub struct Socket {
    sink: SplitSink<WebSocketStream<TcpStream>, Message>,
    frames: mpsc::Receiver<Result<Value, Ended>>,
    hello: Value,
    /// Frames that came while something else was waited for, in their order.
    waiting: VecDeque<Value>,
    references: u64,
}

impl Socket {
    /// Opens a socket with a token and hears its `hello`.
    pub async fn connect(site: &Site, token: &str) -> Self {
        Self::try_connect(site, token)
            .await
            .unwrap_or_else(|error| panic!("the handshake failed: {error}"))
    }

    /// Opens a socket with a token and hears its `hello`, or says why that failed.
    pub async fn try_connect(site: &Site, token: &str) -> Result<Self, tungstenite::Error> {
        let uri = format!("ws://{}/ws", site.address).parse().unwrap();
        let request = ClientRequestBuilder::new(uri)
            .with_header("Authorization", format!("Bearer {token}"))
            .with_sub_protocol("parlance.v1");
        let open = Self::handshake(site.address, request);
        let timed_out = || tungstenite::Error::Io(std::io::ErrorKind::TimedOut.into());
        tokio::time::timeout(PATIENCE, open)
            .await
            .unwrap_or_else(|_| Err(timed_out()))
    }

    /// Opens a socket with a request of the test's own (`ws://…/ws?ticket=…`, `Origin`, …).
    pub async fn handshake(address: SocketAddr, request: ClientRequestBuilder) -> Result<Self, tungstenite::Error> {
        let tcp = TcpStream::connect(address).await?;
        tcp.set_nodelay(true)?;
        let (stream, _) = tokio_tungstenite::client_async(request, tcp).await?;
        let (sink, stream) = stream.split();
        let (sender, frames) = mpsc::channel(READ_AHEAD);
        tokio::spawn(read(stream, sender));
        let mut socket = Self {
            sink,
            frames,
            hello: Value::Null,
            waiting: VecDeque::new(),
            references: 0,
        };
        match socket.next_frame(PATIENCE).await {
            Ok(hello) => {
                assert_eq!(hello["type"], "hello", "the server speaks first: {hello}");
                socket.hello = hello;
                Ok(socket)
            }
            Err(Ended::Closed(code)) => panic!("closed with {code} before `hello`"),
            Err(_) => Err(tungstenite::Error::ConnectionClosed),
        }
    }

    /// The server's first frame.
    pub fn hello(&self) -> &Value {
        &self.hello
    }

    pub async fn send_json(&mut self, frame: &Value) {
        self.send_raw(Message::text(frame.to_string())).await;
    }

    pub async fn send_raw(&mut self, message: Message) {
        self.sink
            .send(message)
            .await
            .unwrap_or_else(|error| panic!("sending failed: {error}"));
    }

    /// Sends a frame; false when the connection is broken.
    pub async fn try_send_json(&mut self, frame: &Value) -> bool {
        self.sink.send(Message::text(frame.to_string())).await.is_ok()
    }

    /// The next frame, earlier ones that were passed over first.
    pub async fn next_frame(&mut self, timeout: Duration) -> Result<Value, Ended> {
        match self.waiting.pop_front() {
            Some(frame) => Ok(frame),
            None => self.receive(timeout).await,
        }
    }

    /// The next frame from the network.
    async fn receive(&mut self, timeout: Duration) -> Result<Value, Ended> {
        match tokio::time::timeout(timeout, self.frames.recv()).await {
            Ok(Some(frame)) => frame,
            Ok(None) => Err(Ended::Broken("it has ended before".to_owned())),
            Err(_) => Err(Ended::TimedOut),
        }
    }

    /// The first frame for which `wanted` is true; others are kept for later.
    pub async fn expect_where(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        if let Some(at) = self.waiting.iter().position(&wanted) {
            return self.waiting.remove(at).unwrap();
        }
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            match self.receive(deadline - tokio::time::Instant::now()).await {
                Ok(frame) if wanted(&frame) => return frame,
                Ok(frame) => self.waiting.push_back(frame),
                Err(ended) => panic!("{ended:?} while waiting for {what}; seen: {:?}", self.waiting),
            }
        }
    }

    /// The first frame of a type; others are kept for later.
    pub async fn expect(&mut self, kind: &str) -> Value {
        self.expect_where(kind, |frame| frame["type"] == kind).await
    }

    /// Sends a frame with a `ref` and returns its reply, whatever it is.
    pub async fn ask(&mut self, mut frame: Value) -> Value {
        let reference = self.next_reference();
        frame["ref"] = json!(reference);
        self.send_json(&frame).await;
        self.reply_to(&reference).await
    }

    /// A `ref` of this socket that was not used before.
    pub fn next_reference(&mut self) -> String {
        self.references += 1;
        format!("t{}", self.references)
    }

    /// The reply with a `ref`.
    pub async fn reply_to(&mut self, reference: &str) -> Value {
        self.expect_where(&format!("the reply to {reference}"), |frame| frame["ref"] == reference)
            .await
    }

    /// Sends a frame that must be refused, and returns the `error`.
    pub async fn refused(&mut self, frame: Value, code: &str) -> Value {
        let reply = self.ask(frame).await;
        assert_eq!(
            (&reply["type"], &reply["code"]),
            (&json!("error"), &json!(code)),
            "{reply}"
        );
        reply
    }

    /// Subscribes; durable frames of the conversation until `subscribed` are its snapshot or replay.
    pub async fn subscribe(&mut self, conversation: ConversationId, after: Option<i64>) -> Subscribed {
        let mut frame = json!({"type": "subscribe", "conversation": conversation});
        if let Some(after) = after {
            frame["after"] = json!(after);
        }
        let subscribed = self.ask(frame).await;
        assert_eq!(subscribed["type"], "subscribed", "{subscribed}");
        let id = json!(conversation);
        let of_replay = |frame: &Value| {
            frame["conversation"] == id
                && matches!(
                    frame["type"].as_str(),
                    Some("message" | "updated" | "member" | "conversation")
                )
        };
        let (frames, waiting): (Vec<_>, Vec<_>) = self.waiting.drain(..).partition(of_replay);
        self.waiting = waiting.into();
        Subscribed { frames, subscribed }
    }

    /// Posts a message and waits until it is durable.
    pub async fn post(&mut self, conversation: ConversationId, id: MessageId, body: &str) -> Ack {
        self.try_post(conversation, id, body)
            .await
            .unwrap_or_else(|error| panic!("refused: {error}"))
    }

    /// Posts a message; `Err` is the `error` frame.
    pub async fn try_post(&mut self, conversation: ConversationId, id: MessageId, body: &str) -> Result<Ack, Value> {
        let frame = json!({"type": "send", "conversation": conversation, "id": id, "body": body});
        let reply = self.ask(frame).await;
        match reply["type"].as_str() {
            Some("ack") => {
                assert_eq!(
                    (&reply["conversation"], &reply["id"]),
                    (&json!(conversation), &json!(id)),
                    "{reply}"
                );
                Ok(Ack::of(&reply))
            }
            Some("error") => Err(reply),
            _ => panic!("not a reply to `send`: {reply}"),
        }
    }

    /// Waits for the close frame; frames before it are kept.
    pub async fn expect_close(&mut self, code: u16) {
        assert_eq!(
            self.until_end().await,
            Ended::Closed(code),
            "before it came: {:?}",
            self.waiting
        );
    }

    /// Reads until the connection ends, and says how.
    pub async fn until_end(&mut self) -> Ended {
        let deadline = tokio::time::Instant::now() + PATIENCE * 2;
        loop {
            match self.receive(deadline - tokio::time::Instant::now()).await {
                Ok(frame) => self.waiting.push_back(frame),
                Err(ended) => return ended,
            }
        }
    }

    /// Asserts that nothing of a type comes until everything sent before has been answered.
    pub async fn expect_none(&mut self, kind: &str) {
        let pong = self.ask(json!({"type": "ping"})).await;
        assert_eq!(pong["type"], "pong");
        assert!(
            !self.waiting.iter().any(|frame| frame["type"] == kind),
            "{:?}",
            self.waiting
        );
    }

    /// Asserts that nothing of a type comes for a time.
    pub async fn expect_none_for(&mut self, kind: &str, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            super::pace(Duration::from_millis(100)).await;
            self.expect_none(kind).await;
        }
    }

    /// What came and was not asked for yet.
    pub fn drain(&mut self) -> Vec<Value> {
        self.waiting.drain(..).collect()
    }

    /// Closes it and waits until the server has, too.
    pub async fn close(mut self) {
        // The server may have closed it already.
        if self.sink.close().await.is_ok() {
            self.until_end().await;
        }
    }
}

/// Reads a socket to its end.
async fn read(mut stream: SplitStream<WebSocketStream<TcpStream>>, frames: mpsc::Sender<Result<Value, Ended>>) {
    let mut ended = None;
    while let Some(message) = stream.next().await {
        let frame = match message {
            Ok(Message::Text(text)) => Ok(parse(&text)),
            Ok(Message::Binary(_)) => panic!("the server sent a binary frame"),
            // Reading on sends our own close frame.
            Ok(Message::Close(close)) => {
                ended = Some(Ended::Closed(close.map_or(1005, |close| close.code.into())));
                continue;
            }
            Ok(_) => continue,
            Err(error) => {
                ended = ended.or(Some(Ended::Broken(error.to_string())));
                break;
            }
        };
        if frames.send(frame).await.is_err() {
            return;
        }
    }
    let ended = ended.unwrap_or_else(|| Ended::Broken("end of stream".to_owned()));
    // The test may not want to know.
    let _: Result<(), _> = frames.send(Err(ended)).await;
}

fn parse(text: &str) -> Value {
    let frame: Value = serde_json::from_str(text).expect("server frames are JSON");
    assert!(frame["type"].is_string(), "server frames have a type: {frame}");
    frame
}

/// A socket after the handshake, as bytes: for broken frames, and for a client that never reads.
pub struct RawSocket {
    pub stream: TcpStream,
}

impl RawSocket {
    /// Shakes hands; `receive_buffer` makes the kernel hold fewer bytes for a client that does not read.
    pub async fn connect(address: SocketAddr, token: &str, receive_buffer: Option<u32>) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        if let Some(bytes) = receive_buffer {
            socket.set_recv_buffer_size(bytes).unwrap();
        }
        let mut stream = socket.connect(address).await.unwrap();
        let request = format!(
            "GET /ws HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: cGFybGFuY2UtdGVzdC0wMA==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
        Self { stream }
    }

    pub async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Writes one masked frame; `first` is its first byte (FIN, reserved bits, opcode).
    pub async fn write_frame(&mut self, first: u8, payload: &[u8]) {
        self.write(&frame(first, payload)).await;
    }

    /// Reads frames until a close frame; its code, or `None` when the connection ended without one.
    pub async fn close_code(&mut self) -> Option<u16> {
        tokio::time::timeout(PATIENCE * 2, async {
            loop {
                let (first, payload) = self.read_frame().await?;
                if first & 0x0F == 8 {
                    return payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                }
            }
        })
        .await
        .expect("the server neither closed nor broke the connection")
    }

    /// One frame of the server: first byte and payload; `None` at the end of the connection.
    pub async fn read_frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let first = self.stream.read_u8().await.ok()?;
        let length = match self.stream.read_u8().await.ok()? {
            126 => u64::from(self.stream.read_u16().await.ok()?),
            127 => self.stream.read_u64().await.ok()?,
            length => u64::from(length),
        };
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        self.stream.read_exact(&mut payload).await.ok()?;
        Some((first, payload))
    }
}

/// A masked frame.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x11, 0x22, 0x33, 0x44];
    let mut bytes = vec![first];
    match payload.len() {
        length @ 0..=125 => bytes.push(0x80 | u8::try_from(length).unwrap()),
        length @ 126..=0xFFFF => {
            bytes.push(0x80 | 126);
            bytes.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
        length => {
            bytes.push(0x80 | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}
