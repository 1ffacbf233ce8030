//! The WebSocket framing a load client needs, walked in place.
//!
//! Used by `engine/connection.rs`. At a million deliveries a second, a client that copies or
//! allocates for each frame measures itself and not the server. So frames are found by their
//! headers in the read buffer and handed out as slices of it; what is cut off at the end stays for
//! the next read. That is why no WebSocket crate is used here: tungstenite has a state machine, a
//! buffer and a message of its own for each connection.
//!
//! Only what the server may send is accepted: frames that are not masked or fragmented and have no
//! reserved bits. Anything else is an error that ends the run, because then the server is broken.
//! Pure.

/// Largest frame believed, in bytes; a longer length means that framing is lost.
const FRAME_BYTES_MAX: usize = 8 << 20;
/// The bit of a complete message in the first byte.
const FIN: u8 = 0x80;
/// The bit of a masked payload in the second byte.
const MASKED: u8 = 0x80;

/// The kinds of frames that either side sends; neither sends binary ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opcode {
    /// A text message: one JSON object.
    Text,
    /// The server's heartbeat; a pong is the reply.
    Ping,
    Pong,
    Close,
}

/// Framing that no correct server sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("broken WebSocket framing from the server: first bytes {0:#04x} {1:#04x}")]
pub(crate) struct FramingError(pub u8, pub u8);

/// Walks the complete frames of a buffer.
pub(crate) struct FrameWalker<'a> {
    buffer: &'a [u8],
    at: usize,
}

impl<'a> FrameWalker<'a> {
    pub(crate) fn new(buffer: &'a [u8]) -> Self {
        Self { buffer, at: 0 }
    }

    /// How many bytes the frames handed out so far took; the rest belongs to the next read.
    pub(crate) fn consumed(&self) -> usize {
        self.at
    }

    /// The next complete frame, or `None` when the rest is incomplete.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<(Opcode, &'a [u8])>, FramingError> {
        let rest = &self.buffer[self.at..];
        let &[first, second, ..] = rest else {
            return Ok(None);
        };
        let kind = match first {
            0x81 => Opcode::Text,
            0x89 => Opcode::Ping,
            0x8a => Opcode::Pong,
            0x88 => Opcode::Close,
            _ => return Err(FramingError(first, second)),
        };
        let (header, length) = match second {
            0..=125 => (2, usize::from(second)),
            126 => match rest.get(2..4) {
                Some(&[a, b]) => (4, usize::from(u16::from_be_bytes([a, b]))),
                _ => return Ok(None),
            },
            127 => match rest.get(2..10) {
                Some(&[a, b, c, d, e, f, g, h]) => {
                    let length = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
                    (10, usize::try_from(length).unwrap_or(usize::MAX))
                }
                _ => return Ok(None),
            },
            _ => return Err(FramingError(first, second)),
        };
        if length > FRAME_BYTES_MAX {
            return Err(FramingError(first, second));
        }
        let Some(payload) = rest.get(header..header + length) else {
            return Ok(None);
        };
        self.at += header + length;
        Ok(Some((kind, payload)))
    }
}

/// Appends a masked client frame.
///
/// The mask is the same for a whole run: its purpose, to hide chosen bytes from proxies, does not
/// exist on loopback.
pub(crate) fn write_masked(out: &mut Vec<u8>, kind: Opcode, payload: &[u8], mask: [u8; 4]) {
    out.push(
        FIN | match kind {
            Opcode::Text => 1,
            Opcode::Close => 8,
            Opcode::Ping => 9,
            Opcode::Pong => 10,
        },
    );
    match payload.len() {
        short @ 0..=125 => out.push(MASKED | short as u8),
        medium @ 126..=0xffff => {
            out.push(MASKED | 126);
            out.extend_from_slice(&(medium as u16).to_be_bytes());
        }
        long => {
            out.push(MASKED | 127);
            out.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&mask);
    let start = out.len();
    out.extend_from_slice(payload);
    for (at, byte) in out[start..].iter_mut().enumerate() {
        *byte ^= mask[at & 3];
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A server frame, as the relay of the tests writes it.
    pub(crate) fn server_frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![first];
        match payload.len() {
            n @ 0..=125 => out.push(n as u8),
            n @ 126..=0xffff => {
                out.push(126);
                out.extend_from_slice(&(n as u16).to_be_bytes());
            }
            n => {
                out.push(127);
                out.extend_from_slice(&(n as u64).to_be_bytes());
            }
        }
        out.extend_from_slice(payload);
        out
    }

    #[test]
    fn frames_of_every_length_are_found_wherever_the_read_ends() {
        let payloads: Vec<Vec<u8>> = [0, 1, 125, 126, 127, 65_535, 65_536, 70_001]
            .iter()
            .map(|&n| vec![b'x'; n])
            .collect();
        let stream: Vec<u8> = payloads.iter().flat_map(|p| server_frame(0x81, p)).collect();
        for cut in (0..stream.len()).step_by(997).chain([1, 2, 3, 4, 5, stream.len()]) {
            let mut seen = Vec::new();
            let mut first = FrameWalker::new(&stream[..cut]);
            while let Some((kind, payload)) = first.next().unwrap() {
                assert_eq!(kind, Opcode::Text);
                seen.push(payload.len());
            }
            let mut second = FrameWalker::new(&stream[first.consumed()..]);
            while let Some((_, payload)) = second.next().unwrap() {
                seen.push(payload.len());
            }
            assert_eq!(seen, payloads.iter().map(Vec::len).collect::<Vec<_>>(), "cut at {cut}");
            assert_eq!(first.consumed() + second.consumed(), stream.len());
        }
    }

    #[test]
    fn what_no_server_may_send_is_refused() {
        for broken in [[0xc1, 0], [0x01, 0], [0x80, 0], [0x82, 0], [0x81, 0x80], [0x83, 0]] {
            assert_eq!(
                FrameWalker::new(&broken).next(),
                Err(FramingError(broken[0], broken[1])),
                "{broken:x?}"
            );
        }
        let huge = [0x81, 127, 0xff, 0, 0, 0, 0, 0, 0, 0];
        assert!(FrameWalker::new(&huge).next().is_err());
    }

    #[test]
    fn a_masked_frame_unmasks_to_what_was_written() {
        for length in [0, 5, 125, 126, 70_000] {
            let payload: Vec<u8> = (0..length).map(|n| n as u8).collect();
            let mut out = Vec::new();
            write_masked(&mut out, Opcode::Text, &payload, [1, 2, 3, 4]);
            let header = out.len() - length;
            assert_eq!(out[1] & MASKED, MASKED);
            let unmasked: Vec<u8> = out[header..]
                .iter()
                .enumerate()
                .map(|(at, b)| b ^ [1, 2, 3, 4][at & 3])
                .collect();
            assert_eq!(unmasked, payload);
        }
    }
}
