//! A WebSocket connection as a client uses it: every wait has an end, and whatever may happen to a line is a value.

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::ClientRequestBuilder;
use tokio_tungstenite::tungstenite::{self, Message};

/// For the whole handshake, `hello` included.
const OPEN_PATIENCE: Duration = Duration::from_secs(8);
/// For a frame to be taken by the kernel.
const SEND_PATIENCE: Duration = Duration::from_secs(5);

/// How a line ended, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// A close frame with this code (1005: without one).
    Closed(u16),
    /// The handshake was answered with this status.
    Refused(u16),
    /// Anything else: cut, refused, not answered in time.
    Broken,
}

pub(super) struct Line {
    sink: SplitSink<WebSocketStream<TcpStream>, Message>,
    stream: SplitStream<WebSocketStream<TcpStream>>,
}

impl Line {
    /// Opens one and hears `hello`.
    pub(super) async fn open(address: SocketAddr, token: &str) -> Result<(Self, Value), End> {
        tokio::time::timeout(OPEN_PATIENCE, Self::shake_hands(address, token))
            .await
            .unwrap_or(Err(End::Broken))
    }

    async fn shake_hands(address: SocketAddr, token: &str) -> Result<(Self, Value), End> {
        let request = ClientRequestBuilder::new(format!("ws://{address}/ws").parse().unwrap())
            .with_header("Authorization", format!("Bearer {token}"))
            .with_sub_protocol("parlance.v1");
        let tcp = TcpStream::connect(address).await.map_err(|_| End::Broken)?;
        tcp.set_nodelay(true).map_err(|_| End::Broken)?;
        let (stream, _) = tokio_tungstenite::client_async(request, tcp)
            .await
            .map_err(|error| match error {
                tungstenite::Error::Http(answer) => End::Refused(answer.status().as_u16()),
                _ => End::Broken,
            })?;
        let (sink, stream) = stream.split();
        let mut line = Self { sink, stream };
        let hello = line.next().await?;
        Ok((line, hello))
    }

    /// The next frame. It may be waited for together with other things.
    pub(super) async fn next(&mut self) -> Result<Value, End> {
        loop {
            match self.stream.next().await {
                Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).expect("frames are JSON")),
                Some(Ok(Message::Close(close))) => {
                    return Err(End::Closed(close.map_or(1005, |close| close.code.into())));
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(End::Broken),
            }
        }
    }

    pub(super) async fn send(&mut self, frame: &Value) -> Result<(), End> {
        let send = self.sink.send(Message::text(frame.to_string()));
        match tokio::time::timeout(SEND_PATIENCE, send).await {
            Ok(Ok(())) => Ok(()),
            // Its close frame may say more.
            Ok(Err(_)) => match tokio::time::timeout(SEND_PATIENCE, self.drain()).await {
                Ok(end) => Err(end),
                Err(_) => Err(End::Broken),
            },
            Err(_) => Err(End::Broken),
        }
    }

    async fn drain(&mut self) -> End {
        loop {
            if let Err(end) = self.next().await {
                return end;
            }
        }
    }
}
