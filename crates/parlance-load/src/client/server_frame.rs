//! The few fields of a server frame that the load tool needs, taken from the text without parsing
//! JSON.
//!
//! Used by `engine/connection.rs`. A delivery costs the client only some tens of nanoseconds if it
//! is read by position: the server writes the fields of a `message` in one order, so the fast path
//! compares fixed pieces of text. Where the order differs, fields are searched for by name
//! (`memmem`). That is right for any order as long as no body of ours holds a field's name, and
//! none does. `--verify` parses every frame completely and compares. Pure.

use memchr::memmem;
use uuid::Uuid;

/// Length of a hyphenated UUID.
pub(crate) const UUID_CHARS: usize = 36;
/// Shortest body that holds a stamp.
pub(crate) const BODY_BYTES_MIN: usize = STAMP_CHARS;

const STAMP_MARK: &[u8] = b"pl1.";
const STAMP_CHARS: usize = 4 + 8 + 8 + 16;

/// What the tool writes into the body of each message, to know it again at every reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// The number of the writer, over all rooms of the run.
    pub writer: u32,
    /// The writer's own count of messages.
    pub counter: u32,
    /// When it was sent (with a rate: was due), in nanoseconds since the start of the run.
    pub sent_ns: u64,
}

impl Stamp {
    /// Writes the stamp over the beginning of a body.
    pub(crate) fn write(self, body: &mut [u8]) {
        body[..4].copy_from_slice(STAMP_MARK);
        write_hex(&mut body[4..12], u64::from(self.writer));
        write_hex(&mut body[12..20], u64::from(self.counter));
        write_hex(&mut body[20..36], self.sent_ns);
    }

    /// Reads the stamp at the beginning of a body.
    #[inline]
    pub(crate) fn read(body: &[u8]) -> Option<Self> {
        let text = body.get(..STAMP_CHARS)?;
        if &text[..4] != STAMP_MARK {
            return None;
        }
        Some(Self {
            writer: read_hex(&text[4..12])? as u32,
            counter: read_hex(&text[12..20])? as u32,
            sent_ns: read_hex(&text[20..36])?,
        })
    }
}

fn write_hex(out: &mut [u8], mut value: u64) {
    for digit in out.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(value & 15) as usize];
        value >>= 4;
    }
}

#[inline]
fn read_hex(text: &[u8]) -> Option<u64> {
    let mut value = 0;
    for &digit in text {
        let nibble = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        value = value << 4 | u64::from(nibble);
    }
    Some(value)
}

/// Reads decimal digits from the start of `text`: the number and how many there were.
#[inline]
fn read_decimal(text: &[u8]) -> Option<(i64, usize)> {
    let mut value: i64 = 0;
    let mut digits = 0;
    while let Some(digit @ b'0'..=b'9') = text.get(digits) {
        value = value.checked_mul(10)?.checked_add(i64::from(digit - b'0'))?;
        digits += 1;
    }
    (digits > 0).then_some((value, digits))
}

/// A server frame as far as the tool cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServerFrame<'a> {
    /// A message shown to everyone.
    Message(Message<'a>),
    /// Another durable change: it takes a revision.
    Change { conversation: &'a [u8], rev: i64 },
    /// A send has become durable.
    Ack { reference: u32, rev: i64, duplicate: bool },
    /// A frame of ours was refused.
    Refused { reference: Option<u32>, code: &'a [u8] },
    /// The snapshot or replay is complete.
    Subscribed { rev: i64 },
    /// The first frame of every connection.
    Hello,
    /// The server is about to close; come back after so many milliseconds.
    Goodbye { retry_after_ms: i64 },
    /// Something the tool does not look at.
    Other,
}

/// The fields of a `message` frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    pub conversation: &'a [u8],
    pub rev: i64,
    pub seq: i64,
    /// The body from its first byte on (escapes are left as they are; it may run past the body's
    /// end).
    pub body: &'a [u8],
}

/// Reads a text frame; `None` when it is not a frame of the protocol.
#[inline]
pub(crate) fn read(text: &[u8]) -> Option<ServerFrame<'_>> {
    if let Some(message) = read_message_by_position(text) {
        return Some(ServerFrame::Message(message));
    }
    read_by_name(text)
}

/// The fast path: the order in which the server writes the fields of a `message`.
#[inline]
fn read_message_by_position(text: &[u8]) -> Option<Message<'_>> {
    const HEAD: &[u8] = br#"{"type":"message","conversation":""#;
    let rest = text.strip_prefix(HEAD)?;
    let (conversation, rest) = rest.split_at_checked(UUID_CHARS)?;
    let rest = rest.strip_prefix(br#"","rev":"#)?;
    let (rev, digits) = read_decimal(rest)?;
    let rest = rest[digits..].strip_prefix(br#","seq":"#)?;
    let (seq, digits) = read_decimal(rest)?;
    let rest = rest[digits..].strip_prefix(br#","id":""#)?;
    let rest = rest.get(UUID_CHARS..)?.strip_prefix(br#"","author":""#)?;
    let rest = rest.get(UUID_CHARS..)?.strip_prefix(br#"","kind":""#)?;
    let body = rest
        .strip_prefix(br#"person","body":""#)
        .or_else(|| after(rest, br#""body":""#))?;
    Some(Message {
        conversation,
        rev,
        seq,
        body,
    })
}

fn read_by_name(text: &[u8]) -> Option<ServerFrame<'_>> {
    let kind = quoted(after(text, br#""type":""#)?)?;
    Some(match kind {
        b"message" => ServerFrame::Message(Message {
            conversation: conversation_of(text)?,
            rev: number(text, br#""rev":"#)?,
            seq: number(text, br#""seq":"#)?,
            body: after(text, br#""body":""#).unwrap_or_default(),
        }),
        b"updated" | b"member" | b"conversation" => ServerFrame::Change {
            conversation: conversation_of(text)?,
            rev: number(text, br#""rev":"#)?,
        },
        b"ack" => ServerFrame::Ack {
            reference: reference(text)?,
            rev: number(text, br#""rev":"#)?,
            duplicate: memmem::find(text, br#""duplicate":true"#).is_some(),
        },
        b"error" => ServerFrame::Refused {
            reference: reference(text),
            code: quoted(after(text, br#""code":""#)?)?,
        },
        b"subscribed" => ServerFrame::Subscribed {
            // A title or a member's name could hold the field's name; the first one in the frame is
            // the field.
            rev: number(text, br#""rev":"#)?,
        },
        b"hello" => ServerFrame::Hello,
        b"goodbye" => ServerFrame::Goodbye {
            retry_after_ms: number(text, br#""retry_after_ms":"#).unwrap_or(0),
        },
        _ => ServerFrame::Other,
    })
}

fn after<'a>(text: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    memmem::find(text, name).map(|at| &text[at + name.len()..])
}

fn quoted(text: &[u8]) -> Option<&[u8]> {
    memchr::memchr(b'"', text).map(|end| &text[..end])
}

fn number(text: &[u8], name: &[u8]) -> Option<i64> {
    read_decimal(after(text, name)?).map(|(value, _)| value)
}

fn reference(text: &[u8]) -> Option<u32> {
    u32::try_from(read_decimal(after(text, br#""ref":""#)?)?.0).ok()
}

fn conversation_of(text: &[u8]) -> Option<&[u8]> {
    quoted(after(text, br#""conversation":""#)?)
}

/// Compares what was read with a complete parse of the frame; the text says what differs.
pub(crate) fn verify(text: &[u8], frame: Option<&ServerFrame<'_>>) -> Result<(), String> {
    let json: serde_json::Value = serde_json::from_slice(text).map_err(|e| format!("not JSON: {e}"))?;
    let kind = json["type"].as_str().ok_or("no type")?;
    let rev = json["rev"].as_i64();
    let conversation = json["conversation"].as_str().map(str::as_bytes);
    let reference = json["ref"].as_str();
    let same = match (kind, frame) {
        ("message", Some(ServerFrame::Message(m))) => {
            let body = json["body"].as_str().ok_or("no body")?;
            ["id", "author"]
                .iter()
                .all(|f| json[*f].as_str().is_some_and(|v| Uuid::parse_str(v).is_ok()))
                && json["created_at"].is_string()
                && conversation == Some(m.conversation)
                && (rev, json["seq"].as_i64()) == (Some(m.rev), Some(m.seq))
                && (m.body.starts_with(body.as_bytes()) || body.contains(['"', '\\']))
        }
        (
            "updated" | "member" | "conversation",
            Some(ServerFrame::Change {
                conversation: c,
                rev: r,
            }),
        ) => conversation == Some(c) && rev == Some(*r),
        (
            "ack",
            Some(ServerFrame::Ack {
                reference: f,
                rev: r,
                duplicate,
            }),
        ) => {
            reference.and_then(|v| v.parse().ok()) == Some(*f)
                && rev == Some(*r)
                && json["duplicate"].as_bool().unwrap_or(false) == *duplicate
        }
        ("error", Some(ServerFrame::Refused { reference: f, code })) => {
            reference.and_then(|v| v.parse().ok()) == *f && json["code"].as_str().map(str::as_bytes) == Some(code)
        }
        ("subscribed", Some(ServerFrame::Subscribed { rev: r })) => rev == Some(*r),
        ("hello", Some(ServerFrame::Hello)) => true,
        ("goodbye", Some(ServerFrame::Goodbye { retry_after_ms })) => {
            json["retry_after_ms"].as_i64() == Some(*retry_after_ms)
        }
        (_, other) => matches!(other, Some(ServerFrame::Other)),
    };
    same.then_some(())
        .ok_or_else(|| format!("read differently than parsed: {}", String::from_utf8_lossy(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONVERSATION: &str = "018f0000-0000-7000-8000-000000000001";

    fn body(stamp: Stamp, length: usize) -> String {
        let mut body = vec![b'.'; length];
        stamp.write(&mut body);
        String::from_utf8(body).unwrap()
    }

    #[test]
    fn a_stamp_survives_the_body() {
        for stamp in [
            Stamp {
                writer: 0,
                counter: 0,
                sent_ns: 0,
            },
            Stamp {
                writer: u32::MAX,
                counter: 77,
                sent_ns: u64::MAX,
            },
        ] {
            assert_eq!(Stamp::read(body(stamp, 128).as_bytes()), Some(stamp));
        }
        assert_eq!(Stamp::read(b"pl1.0000"), None);
        assert_eq!(Stamp::read(&[b'z'; 128]), None);
    }

    #[test]
    fn a_message_is_read_in_the_servers_order_and_in_any_other() {
        let stamp = Stamp {
            writer: 3,
            counter: 9,
            sent_ns: 123_456,
        };
        let body = body(stamp, 128);
        let id = "018f0000-0000-7000-8000-00000000000a";
        let usual = format!(
            r#"{{"type":"message","conversation":"{CONVERSATION}","rev":17,"seq":15,"id":"{id}","author":"{id}","kind":"person","body":"{body}","reply_to":null,"created_at":"2026-11-22T10:00:00.123Z"}}"#
        );
        let other = format!(
            r#"{{"body":"{body}","seq":15,"created_at":"2026-11-22T10:00:00.123Z","id":"{id}","author":"{id}","kind":"person","rev":17,"conversation":"{CONVERSATION}","type":"message"}}"#
        );
        assert!(read_message_by_position(usual.as_bytes()).is_some());
        for text in [usual, other] {
            let frame = read(text.as_bytes()).unwrap();
            let ServerFrame::Message(message) = frame else {
                panic!("{frame:?}")
            };
            assert_eq!(
                (message.rev, message.seq, message.conversation),
                (17, 15, CONVERSATION.as_bytes())
            );
            assert_eq!(Stamp::read(message.body), Some(stamp));
            verify(text.as_bytes(), Some(&frame)).unwrap();
        }
    }

    #[test]
    fn the_other_frames_are_read_by_name() {
        let id = CONVERSATION;
        let cases = [
            (
                format!(
                    r#"{{"type":"ack","ref":"12","conversation":"{id}","id":"{id}","seq":4,"rev":5,"created_at":"x"}}"#
                ),
                ServerFrame::Ack {
                    reference: 12,
                    rev: 5,
                    duplicate: false,
                },
            ),
            (
                format!(
                    r#"{{"type":"ack","ref":"12","conversation":"{id}","id":"{id}","seq":4,"rev":5,"created_at":"x","duplicate":true}}"#
                ),
                ServerFrame::Ack {
                    reference: 12,
                    rev: 5,
                    duplicate: true,
                },
            ),
            (
                r#"{"type":"error","ref":"3","code":"overloaded","message":"m"}"#.into(),
                ServerFrame::Refused {
                    reference: Some(3),
                    code: b"overloaded",
                },
            ),
            (
                format!(r#"{{"type":"subscribed","ref":"s","conversation":"{id}","title":"t","rev":40,"last_seq":3}}"#),
                ServerFrame::Subscribed { rev: 40 },
            ),
            (
                format!(r#"{{"type":"member","conversation":"{id}","rev":8,"user":{{}},"change":"added"}}"#),
                ServerFrame::Change {
                    conversation: id.as_bytes(),
                    rev: 8,
                },
            ),
            (r#"{"type":"presence","online":true}"#.into(), ServerFrame::Other),
            (r#"{"type":"hello","protocol":1}"#.into(), ServerFrame::Hello),
        ];
        for (text, expected) in cases {
            let frame = read(text.as_bytes());
            assert_eq!(frame, Some(expected), "{text}");
            verify(text.as_bytes(), frame.as_ref()).unwrap();
        }
        assert_eq!(read(b"{}"), None);
        assert_eq!(read(b"not json"), None);
    }

    #[test]
    fn verify_finds_a_wrong_reading() {
        let text = br#"{"type":"subscribed","ref":"s","title":"t","rev":40}"#;
        assert!(verify(text, Some(&ServerFrame::Subscribed { rev: 41 })).is_err());
        assert!(verify(text, None).is_err());
        assert!(verify(b"{", None).is_err());
    }
}
