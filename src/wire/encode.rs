//! Server frames as WebSocket frames: header and payload in one piece of bytes, encoded once for
//! all who receive them.
//!
//! A session writes these bytes as they are, so the copying and header writing of a codec is paid
//! once for a message and not once for each of its readers.

use super::frames::ServerFrame;
use crate::error::CloseCode;
use bytes::{BufMut, Bytes, BytesMut};

/// Longest WebSocket frame header of a server: two bytes and a 64-bit length.
const HEADER_BYTES_MAX: usize = 10;

/// One or more encoded WebSocket frames, shared by all who receive them.
#[derive(Clone, Debug)]
pub struct Frame {
    bytes: Bytes,
    count: u32,
}

impl Frame {
    /// One WebSocket frame, not fragmented, of an opcode of RFC 6455 §5.2 and a payload as it is.
    #[must_use]
    pub fn raw(opcode: u8, payload: &[u8]) -> Self {
        let mut buffer = Vec::with_capacity(HEADER_BYTES_MAX + payload.len());
        buffer.extend_from_slice(&[0; HEADER_BYTES_MAX]);
        buffer.extend_from_slice(payload);
        finish(buffer, opcode)
    }

    /// Bytes, headers included.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.bytes.len()
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// How many WebSocket frames it holds.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Headers included.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// Headers included.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Several frames as one, so that a reader's outbox is locked and woken once for all of them.
    #[must_use]
    pub fn concat(frames: &[Self]) -> Self {
        if let [only] = frames {
            return only.clone();
        }
        let mut bytes = BytesMut::with_capacity(frames.iter().map(Self::len).sum());
        for frame in frames {
            bytes.extend_from_slice(&frame.bytes);
        }
        Self {
            bytes: bytes.freeze(),
            count: frames.iter().map(|frame| frame.count).sum(),
        }
    }
}

/// Encodes a server frame as one WebSocket text frame.
#[must_use]
pub fn encode<F: ServerFrame>(frame: &F) -> Frame {
    let mut buffer = Vec::with_capacity(384);
    buffer.extend_from_slice(&[0; HEADER_BYTES_MAX]);
    if let Err(error) = serde_json::to_writer(&mut buffer, &frame.tagged()) {
        // Serialization of these types cannot fail: no maps with odd keys, no fallible impls, a
        // growing buffer.
        tracing::error!(%error, frame = F::TYPE, "frame could not be encoded");
        return Frame {
            bytes: Bytes::new(),
            count: 0,
        };
    }
    finish(buffer, OPCODE_TEXT)
}

/// JSON as one WebSocket text frame.
pub(super) fn text_frame(json: &[u8]) -> Frame {
    Frame::raw(OPCODE_TEXT, json)
}

const OPCODE_TEXT: u8 = 0x1;
const OPCODE_CLOSE: u8 = 0x8;
const OPCODE_PING: u8 = 0x9;
const OPCODE_PONG: u8 = 0xA;
const FIN: u8 = 0x80;

/// Writes the header right before the payload, which starts at [`HEADER_BYTES_MAX`].
fn finish(mut buffer: Vec<u8>, opcode: u8) -> Frame {
    let length = buffer.len() - HEADER_BYTES_MAX;
    let start = match length {
        0..=125 => HEADER_BYTES_MAX - 2,
        126..=65_535 => HEADER_BYTES_MAX - 4,
        _ => 0,
    };
    let mut header = &mut buffer[start..HEADER_BYTES_MAX];
    header.put_u8(FIN | opcode);
    match length {
        0..=125 => header.put_u8(u8::try_from(length).unwrap_or_default()),
        126..=65_535 => {
            header.put_u8(126);
            header.put_u16(u16::try_from(length).unwrap_or_default());
        }
        _ => {
            header.put_u8(127);
            header.put_u64(length as u64);
        }
    }
    Frame {
        bytes: Bytes::from(buffer).slice(start..),
        count: 1,
    }
}

/// Encodes a close frame; `None` is the empty close of RFC 6455 §5.5.1.
#[must_use]
pub fn encode_close(code: Option<CloseCode>) -> Frame {
    let Some(code) = code else {
        return Frame::raw(OPCODE_CLOSE, &[]);
    };
    let mut payload = Vec::with_capacity(2 + code.reason().len());
    payload.put_u16(code.as_u16());
    payload.extend_from_slice(code.reason().as_bytes());
    Frame::raw(OPCODE_CLOSE, &payload)
}

/// A WebSocket ping without payload.
pub(super) fn encode_ping() -> Frame {
    Frame::raw(OPCODE_PING, &[])
}

/// The pong to a ping.
pub(super) fn encode_pong(payload: &[u8]) -> Frame {
    Frame::raw(OPCODE_PONG, payload)
}

/// How many bytes a text has in a frame, between its quotes: JSON writes a control character as six.
#[must_use]
pub fn encoded_len(text: &str) -> usize {
    let extra = |byte: u8| match byte {
        b'"' | b'\\' | 0x08 | b'\t' | b'\n' | 0x0C | b'\r' => 1,
        0..0x20 => 5,
        _ => 0,
    };
    text.len() + text.bytes().map(extra).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ConversationId, UserId};
    use crate::wire::frames::Typing;

    fn frame_of(payload_bytes: usize) -> Frame {
        Frame::raw(OPCODE_TEXT, &vec![b'x'; payload_bytes])
    }

    #[test]
    fn headers_have_the_three_lengths_of_the_standard() {
        assert_eq!(frame_of(5).bytes()[..2], [0x81, 5]);
        assert_eq!(frame_of(200).bytes()[..4], [0x81, 126, 0, 200]);
        assert_eq!(
            frame_of(70_000).bytes()[..10],
            [0x81, 127, 0, 0, 0, 0, 0, 1, 0x11, 0x70]
        );
        let typing = encode(&Typing {
            conversation: ConversationId::new(),
            user: UserId::new(),
            on: true,
        });
        let text = String::from_utf8(typing.bytes()[2..].to_vec())
            .or_else(|_| String::from_utf8(typing.bytes()[4..].to_vec()));
        assert!(text.is_ok_and(|text| text.contains(r#""type":"typing""#)));
    }

    #[test]
    fn the_length_in_a_frame_is_known_beforehand() {
        let all: String = (0..0x250).filter_map(char::from_u32).collect();
        for text in ["", "plain", "\u{1}\u{1f}\"\\\n\u{7f}", "\u{e4}\u{1f44d}", &all] {
            let encoded = serde_json::to_string(text).unwrap();
            assert_eq!(encoded_len(text), encoded.len() - 2, "{text:?}");
        }
    }
}
