//! Bytes of a socket into whole messages, under the session's control.
//!
//! `actix-web-actors` would read the socket until it has nothing more, buffer a frame however long
//! its header says it is, and hand over fragments unchecked. This stream takes its place. It reads
//! only when the session has room for another frame, so TCP pushes back and nothing is dropped. It
//! refuses a frame by its header, before its payload is buffered. It joins fragments within the
//! same limit, and checks UTF-8 fragment by fragment. Frames themselves are decoded by actix-http's
//! codec.
//!
//! Bound: one message of `limit` bytes, plus one piece of what was read (32 KiB).

use super::link::Link;
use crate::error::CloseCode;
use actix_http::ws::{Codec, Frame, Item, ProtocolError};
use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use futures_util::Stream;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use tokio_util::codec::Decoder as _;

/// What a client has sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming {
    Text(ByteString),
    Binary(Bytes),
    Ping(Bytes),
    /// The reply to a ping of ours.
    Pong,
    Close,
    /// The client broke the WebSocket protocol; nothing after it is read.
    Broken(CloseCode),
}

/// A message of which fragments have arrived.
struct PartialMessage {
    text: bool,
    bytes: BytesMut,
    /// For text: everything before is valid UTF-8.
    valid: usize,
}

/// The messages of one socket.
pub struct IncomingStream<S> {
    payload: S,
    codec: Codec,
    buffer: BytesMut,
    partial: Option<PartialMessage>,
    link: Rc<Link>,
    limit: usize,
    ended: bool,
}

impl<S, E> IncomingStream<S>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
{
    /// Reads messages of at most `limit` bytes from `payload`.
    #[must_use]
    pub fn new(payload: S, link: Rc<Link>, limit: usize) -> Self {
        // The codec's own limit would drop a frame that is one byte too long only after buffering
        // it; ours comes first.
        let codec = Codec::new().max_size(limit);
        Self {
            payload,
            codec,
            buffer: BytesMut::new(),
            partial: None,
            link,
            limit,
            ended: false,
        }
    }

    /// The next frame that is complete in the buffer, as a message or as `None` when it was a
    /// fragment.
    fn decode(&mut self) -> Result<Option<Option<Incoming>>, CloseCode> {
        if announced_length(&self.buffer).is_some_and(|length| length > self.limit as u64) {
            return Err(CloseCode::TooLarge);
        }
        let frame = self.codec.decode(&mut self.buffer).map_err(|error| match error {
            ProtocolError::Overflow => CloseCode::TooLarge,
            _ => CloseCode::ProtocolError,
        })?;
        let Some(frame) = frame else { return Ok(None) };
        if self.buffer.is_empty() {
            // An idle connection keeps no buffer.
            self.buffer = BytesMut::new();
        }
        Ok(Some(match frame {
            Frame::Text(bytes) => Some(text(bytes)?),
            Frame::Binary(bytes) => Some(Incoming::Binary(bytes)),
            Frame::Continuation(item) => self.join(item)?,
            Frame::Ping(payload) => Some(Incoming::Ping(payload)),
            Frame::Pong(_) => Some(Incoming::Pong),
            Frame::Close(_) => Some(Incoming::Close),
        }))
    }

    fn join(&mut self, item: Item) -> Result<Option<Incoming>, CloseCode> {
        let (fragment, last) = match item {
            Item::FirstText(fragment) => {
                self.partial = Some(PartialMessage {
                    text: true,
                    bytes: BytesMut::new(),
                    valid: 0,
                });
                (fragment, false)
            }
            Item::FirstBinary(fragment) => {
                self.partial = Some(PartialMessage {
                    text: false,
                    bytes: BytesMut::new(),
                    valid: 0,
                });
                (fragment, false)
            }
            Item::Continue(fragment) => (fragment, false),
            Item::Last(fragment) => (fragment, true),
        };
        let Some(partial) = &mut self.partial else {
            return Err(CloseCode::ProtocolError);
        };
        if partial.bytes.len() + fragment.len() > self.limit {
            return Err(CloseCode::TooLarge);
        }
        partial.bytes.extend_from_slice(&fragment);
        if partial.text {
            partial.check_utf8()?;
        }
        if !last {
            return Ok(None);
        }
        let Some(PartialMessage {
            text: is_text, bytes, ..
        }) = self.partial.take()
        else {
            return Ok(None);
        };
        if is_text {
            text(bytes.freeze()).map(Some)
        } else {
            Ok(Some(Incoming::Binary(bytes.freeze())))
        }
    }
}

impl PartialMessage {
    /// Finds invalid text as soon as it is there; a character may be split between fragments.
    fn check_utf8(&mut self) -> Result<(), CloseCode> {
        match std::str::from_utf8(&self.bytes[self.valid..]) {
            Ok(_) => self.valid = self.bytes.len(),
            Err(error) if error.error_len().is_none() => self.valid += error.valid_up_to(),
            Err(_) => return Err(CloseCode::InvalidUtf8),
        }
        Ok(())
    }
}

fn text(bytes: Bytes) -> Result<Incoming, CloseCode> {
    ByteString::try_from(bytes)
        .map(Incoming::Text)
        .map_err(|_invalid| CloseCode::InvalidUtf8)
}

/// The payload length that a frame's header announces, once enough of the header is there (RFC 6455
/// §5.2).
fn announced_length(buffer: &[u8]) -> Option<u64> {
    let length = buffer.get(1)? & 0x7F;
    match length {
        126 => buffer
            .get(2..4)?
            .try_into()
            .ok()
            .map(|bytes| u64::from(u16::from_be_bytes(bytes))),
        127 => buffer.get(2..10)?.try_into().ok().map(u64::from_be_bytes),
        length => Some(u64::from(length)),
    }
}

impl<S, E> Stream for IncomingStream<S>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
{
    type Item = Incoming;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Incoming>> {
        let this = self.get_mut();
        loop {
            if this.ended {
                return Poll::Ready(None);
            }
            if !this.link.may_read(cx) {
                return Poll::Pending;
            }
            match this.decode() {
                Ok(Some(Some(incoming))) => return Poll::Ready(Some(incoming)),
                Ok(Some(None)) => continue,
                Ok(None) => {}
                Err(code) => {
                    this.ended = true;
                    this.buffer = BytesMut::new();
                    return Poll::Ready(Some(Incoming::Broken(code)));
                }
            }
            match Pin::new(&mut this.payload).poll_next(cx) {
                Poll::Ready(Some(Ok(chunk))) => {
                    this.link.received();
                    if this.buffer.is_empty() {
                        this.buffer = BytesMut::from(chunk);
                    } else {
                        this.buffer.extend_from_slice(&chunk);
                    }
                }
                Poll::Ready(Some(Err(_)) | None) => this.ended = true,
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::StreamExt as _;

    const MASK: [u8; 4] = [1, 2, 3, 4];

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![first];
        match payload.len() {
            n @ 0..=125 => bytes.push(0x80 | n as u8),
            n => {
                bytes.push(0x80 | 126);
                bytes.extend((n as u16).to_be_bytes());
            }
        }
        bytes.extend(MASK);
        bytes.extend(payload.iter().enumerate().map(|(i, byte)| byte ^ MASK[i % 4]));
        bytes
    }

    async fn read(chunks: Vec<Vec<u8>>) -> Vec<Incoming> {
        let payload = futures_util::stream::iter(chunks.into_iter().map(|chunk| Ok::<_, ()>(Bytes::from(chunk))));
        IncomingStream::new(payload, Rc::new(Link::for_tests()), 1_000)
            .collect()
            .await
    }

    #[tokio::test]
    async fn fragments_are_joined_around_a_ping_and_across_reads() {
        let bytes = [
            frame(0x01, "hé".as_bytes()[..2].into()),
            frame(0x89, b"p"),
            frame(0x80, &"hé".as_bytes()[2..]),
        ];
        let single: Vec<Vec<u8>> = bytes.concat().into_iter().map(|byte| vec![byte]).collect();
        let expected = vec![Incoming::Ping(Bytes::from_static(b"p")), Incoming::Text("hé".into())];
        assert_eq!(read(single).await, expected);
        assert_eq!(read(vec![bytes.concat()]).await, expected);
    }

    #[tokio::test]
    async fn what_is_broken_is_named() {
        let broken = |code| vec![Incoming::Broken(code)];
        assert_eq!(read(vec![frame(0x81, &[0xFF])]).await, broken(CloseCode::InvalidUtf8));
        assert_eq!(
            read(vec![frame(0x01, &[0xFF])]).await,
            broken(CloseCode::InvalidUtf8),
            "without waiting for the rest"
        );
        assert_eq!(
            read(vec![frame(0x81, &[b'x'; 1_001])[..8].to_vec()]).await,
            broken(CloseCode::TooLarge),
            "by the header"
        );
        let halves = vec![frame(0x01, &[b'x'; 600]), frame(0x80, &[b'x'; 600])];
        assert_eq!(read(halves).await, broken(CloseCode::TooLarge));
        assert_eq!(
            read(vec![frame(0xC1, b"x")]).await,
            broken(CloseCode::ProtocolError),
            "reserved bit"
        );
        assert_eq!(
            read(vec![frame(0x83, b"x")]).await,
            broken(CloseCode::ProtocolError),
            "reserved opcode"
        );
        assert_eq!(
            read(vec![frame(0x80, b"x")]).await,
            broken(CloseCode::ProtocolError),
            "nothing to continue"
        );
        assert_eq!(
            read(vec![frame(0x09, b"x")]).await,
            broken(CloseCode::ProtocolError),
            "a fragmented ping"
        );
        assert_eq!(
            read(vec![vec![0x81, 1, b'x']]).await,
            broken(CloseCode::ProtocolError),
            "not masked"
        );
    }
}
