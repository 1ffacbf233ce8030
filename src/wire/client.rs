//! Client frames: one pure function from text to a typed frame, with every limit of the protocol.
//!
//! A frame is read twice. The first pass takes only `type` and `ref`, leniently, so that an error
//! reply can name the frame it is about; the second reads the fields of that one type and refuses
//! unknown ones, so that typing mistakes are seen. Two passes over a short text are cheaper than
//! serde's buffering of an internally tagged enum.

use crate::error::Code;
use crate::ids::{ConversationId, MessageId, Rev, Seq};
use bytestring::ByteString;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use std::sync::Arc;

/// The limits of protocol version 1, in one place; `hello` tells clients those they need.
pub mod limits {
    /// Largest client message after reassembly, in bytes; beyond it the socket is closed with 1009.
    pub const FRAME_BYTES_MAX: usize = 65_536;
    /// Largest message body, in bytes of UTF-8.
    pub const BODY_BYTES_MAX: usize = 16_384;
    /// Longest `ref`, in bytes.
    pub const REF_BYTES_MAX: usize = 64;
    /// Longest emoji, in bytes.
    pub const EMOJI_BYTES_MAX: usize = 64;
    /// Different emojis on one message.
    pub const EMOJIS_PER_MESSAGE_MAX: usize = 20;
    /// Reactions of one message, all emojis and users together: all of them are looked at to show it.
    pub const REACTIONS_PER_MESSAGE_MAX: i64 = 10_000;
    /// User ids listed with one reaction.
    pub const REACTION_USERS_LISTED: usize = 20;
    /// Subscriptions of one connection.
    pub const SUBSCRIPTIONS_MAX: usize = 200;
    /// Unanswered frames of one connection.
    pub const WINDOW: usize = 32;
    /// `bad_frame` errors in a row before the socket is closed with 4000.
    pub const BAD_FRAMES_MAX: u32 = 10;
    /// Members beyond which a conversation has no `read`, `typing` and `presence` frames, nor a
    /// member list.
    pub const MEMBERS_LISTED_MAX: usize = 200;
    /// Messages sent on a subscription without `after`.
    pub const SUBSCRIBE_MESSAGES: usize = 50;
    /// Interval between WebSocket pings, in milliseconds.
    pub const HEARTBEAT_MS: u64 = 25_000;
    /// What `notice` shows of the latest message, in bytes.
    pub const NOTICE_BODY_BYTES: usize = 200;
    /// Longest conversation title and user name, in bytes.
    pub const NAME_BYTES_MAX: usize = 200;
}

/// What a client has put into `ref`, its mark on a frame; the one reply echoes it.
pub type Ref = Arc<str>;

/// A well-formed client frame.
#[allow(missing_docs, reason = "the fields are the protocol's, and say what they are")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientFrame {
    /// Follow a conversation, from the newest messages or from a revision.
    Subscribe {
        conversation: ConversationId,
        after: Option<Rev>,
    },
    Unsubscribe {
        conversation: ConversationId,
    },
    Send {
        conversation: ConversationId,
        id: MessageId,
        body: ByteString,
        reply_to: Option<MessageId>,
    },
    /// Change the body of an own message.
    Edit {
        conversation: ConversationId,
        id: MessageId,
        body: ByteString,
        /// The message's revision that the user saw.
        if_rev: Option<Rev>,
    },
    Delete {
        conversation: ConversationId,
        id: MessageId,
        if_rev: Option<Rev>,
    },
    /// Add or remove a reaction.
    React {
        conversation: ConversationId,
        id: MessageId,
        emoji: String,
        on: bool,
        if_rev: Option<Rev>,
    },
    /// Move the own read marker.
    Read {
        conversation: ConversationId,
        seq: Seq,
    },
    Typing {
        conversation: ConversationId,
        on: bool,
    },
    /// Renew the connection's credentials.
    Refresh {
        token: String,
    },
    Ping,
}

impl ClientFrame {
    /// Whether it is taken from its user's quota: what makes a durable change.
    #[must_use]
    pub const fn is_limited(&self) -> bool {
        matches!(
            self,
            Self::Send { .. } | Self::Edit { .. } | Self::Delete { .. } | Self::React { .. }
        )
    }
}

/// A frame and its mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedFrame {
    pub reference: Option<Ref>,
    pub frame: ClientFrame,
}

/// Why a text is not a client frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// The mark, if it could be read.
    pub reference: Option<Ref>,
    /// `bad_frame`, `bad_request` or `too_large`.
    pub code: Code,
    /// What is wrong, for people.
    pub message: String,
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow, rename = "type", default)]
    kind: Option<&'a RawValue>,
    #[serde(borrow, rename = "ref", default)]
    reference: Option<&'a RawValue>,
}

macro_rules! fields {
    ($name:ident { $($(#[$attr:meta])* $field:ident: $ty:ty),* $(,)? }) => {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct $name {
            #[serde(rename = "type")]
            _kind: IgnoredAny,
            #[serde(rename = "ref", default)]
            _reference: IgnoredAny,
            $($(#[$attr])* $field: $ty),*
        }
    };
}

fields!(SubscribeFields { conversation: ConversationId, #[serde(default)] after: Option<Rev> });
fields!(UnsubscribeFields {
    conversation: ConversationId
});
fields!(SendFields {
    conversation: ConversationId,
    id: MessageId,
    body: String,
    #[serde(default)]
    reply_to: Option<MessageId>
});
fields!(EditFields {
    conversation: ConversationId,
    id: MessageId,
    body: String,
    #[serde(default)]
    if_rev: Option<Rev>
});
fields!(DeleteFields {
    conversation: ConversationId,
    id: MessageId,
    #[serde(default)]
    if_rev: Option<Rev>
});
fields!(ReactFields {
    conversation: ConversationId,
    id: MessageId,
    emoji: String,
    on: bool,
    #[serde(default)]
    if_rev: Option<Rev>
});
fields!(ReadFields {
    conversation: ConversationId,
    seq: Seq
});
fields!(TypingFields {
    conversation: ConversationId,
    on: bool
});
fields!(RefreshFields { token: String });
fields!(PingFields {});

/// Reads one client frame.
///
/// # Errors
/// [`ParseError`], with the code and the mark of the reply.
pub fn parse(text: &str) -> Result<ParsedFrame, ParseError> {
    let bad_frame = |reference, message: &str| ParseError {
        reference,
        code: Code::BadFrame,
        message: message.into(),
    };
    let head: Head<'_> = serde_json::from_str(text).map_err(|_| bad_frame(None, "The frame is not a JSON object."))?;
    let reference = match head.reference {
        None => None,
        Some(raw) => Some(parse_ref(raw)?),
    };
    let Some(kind) = head.kind.and_then(|raw| serde_json::from_str::<String>(raw.get()).ok()) else {
        return Err(bad_frame(reference, "The frame has no type."));
    };
    let result = match kind.as_str() {
        "subscribe" => read(text).and_then(|f| subscribe(&f)),
        "unsubscribe" => read(text).map(|f: UnsubscribeFields| ClientFrame::Unsubscribe {
            conversation: f.conversation,
        }),
        "send" => read(text).and_then(send),
        "edit" => read(text).and_then(edit),
        "delete" => read(text).and_then(|f| delete(&f)),
        "react" => read(text).and_then(react),
        "read" => read(text).and_then(|f| read_marker(&f)),
        "typing" => read(text).map(|f: TypingFields| ClientFrame::Typing {
            conversation: f.conversation,
            on: f.on,
        }),
        "refresh" => read(text).map(|f: RefreshFields| ClientFrame::Refresh { token: f.token }),
        "ping" => read(text).map(|_: PingFields| ClientFrame::Ping),
        _ => return Err(bad_frame(reference, "The frame's type is not known.")),
    };
    match result {
        Ok(frame) => Ok(ParsedFrame { reference, frame }),
        Err(InvalidField { code, message }) => Err(ParseError {
            reference,
            code,
            message,
        }),
    }
}

/// Why a field is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidField {
    /// `bad_request`, or `too_large` for a body.
    pub code: Code,
    /// What is wrong, for people.
    pub message: String,
}

fn bad_request(message: impl Into<String>) -> InvalidField {
    InvalidField {
        code: Code::BadRequest,
        message: message.into(),
    }
}

fn parse_ref(raw: &RawValue) -> Result<Ref, ParseError> {
    match serde_json::from_str::<String>(raw.get()) {
        Ok(text) if (1..=limits::REF_BYTES_MAX).contains(&text.len()) => Ok(text.into()),
        _ => Err(ParseError {
            reference: None,
            code: Code::BadRequest,
            message: format!("`ref` must be a string of 1 to {} bytes.", limits::REF_BYTES_MAX),
        }),
    }
}

fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, InvalidField> {
    serde_json::from_str(text).map_err(|error| bad_request(format!("The frame's fields are wrong: {error}.")))
}

fn subscribe(f: &SubscribeFields) -> Result<ClientFrame, InvalidField> {
    match f.after {
        Some(after) if after < Rev::ZERO => Err(bad_request("`after` must not be negative.")),
        after => Ok(ClientFrame::Subscribe {
            conversation: f.conversation,
            after,
        }),
    }
}

fn send(f: SendFields) -> Result<ClientFrame, InvalidField> {
    validate_body(&f.body)?;
    Ok(ClientFrame::Send {
        conversation: f.conversation,
        id: f.id,
        body: f.body.into(),
        reply_to: f.reply_to,
    })
}

fn edit(f: EditFields) -> Result<ClientFrame, InvalidField> {
    validate_body(&f.body)?;
    validate_if_rev(f.if_rev)?;
    Ok(ClientFrame::Edit {
        conversation: f.conversation,
        id: f.id,
        body: f.body.into(),
        if_rev: f.if_rev,
    })
}

fn delete(f: &DeleteFields) -> Result<ClientFrame, InvalidField> {
    validate_if_rev(f.if_rev)?;
    Ok(ClientFrame::Delete {
        conversation: f.conversation,
        id: f.id,
        if_rev: f.if_rev,
    })
}

fn react(f: ReactFields) -> Result<ClientFrame, InvalidField> {
    validate_emoji(&f.emoji)?;
    validate_if_rev(f.if_rev)?;
    Ok(ClientFrame::React {
        conversation: f.conversation,
        id: f.id,
        emoji: f.emoji,
        on: f.on,
        if_rev: f.if_rev,
    })
}

fn read_marker(f: &ReadFields) -> Result<ClientFrame, InvalidField> {
    if f.seq < Seq::ZERO {
        return Err(bad_request("`seq` must not be negative."));
    }
    Ok(ClientFrame::Read {
        conversation: f.conversation,
        seq: f.seq,
    })
}

/// Checks the revision of a message that a user saw: every message has one, from 1 on.
///
/// # Errors
/// `bad_request`.
pub fn validate_if_rev(if_rev: Option<Rev>) -> Result<(), InvalidField> {
    if if_rev.is_some_and(|rev| rev <= Rev::ZERO) {
        return Err(bad_request("`if_rev` must be positive."));
    }
    Ok(())
}

/// Checks a message body: 1–16,384 bytes, not only Unicode white space, no NUL (PostgreSQL's text
/// cannot hold one).
///
/// # Errors
/// `too_large` or `bad_request`, with the reason.
pub fn validate_body(body: &str) -> Result<(), InvalidField> {
    if body.len() > limits::BODY_BYTES_MAX {
        return Err(InvalidField {
            code: Code::TooLarge,
            message: format!("`body` is longer than {} bytes.", limits::BODY_BYTES_MAX),
        });
    }
    if body.contains('\0') {
        return Err(bad_request("`body` must not contain a NUL character."));
    }
    if body.chars().all(char::is_whitespace) {
        return Err(bad_request("`body` must not be empty or only white space."));
    }
    Ok(())
}

/// Checks a reaction's emoji: 1–64 bytes, no NUL.
///
/// # Errors
/// `bad_request`, with the reason.
pub fn validate_emoji(emoji: &str) -> Result<(), InvalidField> {
    if emoji.is_empty() || emoji.len() > limits::EMOJI_BYTES_MAX || emoji.contains('\0') {
        return Err(bad_request(format!(
            "`emoji` must be 1 to {} bytes without NUL.",
            limits::EMOJI_BYTES_MAX
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const C: &str = "0192f0c1-2345-7abc-8def-0123456789ab";
    const M: &str = "0192F0C1-2345-7ABC-8DEF-0123456789AC";

    fn refused(text: &str) -> (Code, Option<String>) {
        match parse(text) {
            Ok(frame) => panic!("accepted {frame:?}"),
            Err(error) => (error.code, error.reference.map(|r| r.to_string())),
        }
    }

    #[test]
    fn reads_every_frame_type() {
        let cases = [
            format!(r#"{{"type":"subscribe","conversation":"{C}","after":7,"ref":"a"}}"#),
            format!(r#"{{"type":"unsubscribe","conversation":"{C}"}}"#),
            format!(r#"{{"type":"send","conversation":"{C}","id":"{M}","body":"hi","reply_to":null}}"#),
            format!(r#"{{"type":"edit","conversation":"{C}","id":"{M}","body":"hi"}}"#),
            format!(r#"{{"type":"edit","conversation":"{C}","id":"{M}","body":"hi","if_rev":3}}"#),
            format!(r#"{{"type":"delete","conversation":"{C}","id":"{M}"}}"#),
            format!(r#"{{"type":"delete","conversation":"{C}","id":"{M}","if_rev":null}}"#),
            format!(r#"{{"type":"react","conversation":"{C}","id":"{M}","emoji":"👍","on":true}}"#),
            format!(r#"{{"type":"read","conversation":"{C}","seq":3}}"#),
            format!(r#"{{"type":"typing","conversation":"{C}","on":true}}"#),
            r#"{"type":"refresh","token":"t"}"#.to_owned(),
            r#"{"ref":"x","type":"ping"}"#.to_owned(),
        ];
        for text in cases {
            assert!(parse(&text).is_ok(), "{text}: {:?}", parse(&text));
        }
    }

    #[test]
    fn an_error_names_the_mark_when_it_could_be_read() {
        assert_eq!(refused("nonsense"), (Code::BadFrame, None));
        assert_eq!(refused("[1]"), (Code::BadFrame, None));
        assert_eq!(refused(r#"{"ref":"r"}"#), (Code::BadFrame, Some("r".into())));
        assert_eq!(
            refused(r#"{"type":"dance","ref":"r"}"#),
            (Code::BadFrame, Some("r".into()))
        );
        assert_eq!(refused(r#"{"type":"ping","ref":""}"#), (Code::BadRequest, None));
        assert_eq!(refused(r#"{"type":"ping","ref":5}"#), (Code::BadRequest, None));
        assert_eq!(
            refused(r#"{"type":"ping","ref":"r","extra":1}"#),
            (Code::BadRequest, Some("r".into()))
        );
        assert_eq!(
            refused(r#"{"type":"subscribe","ref":"r","conversation":5}"#),
            (Code::BadRequest, Some("r".into()))
        );
        let negative = format!(r#"{{"type":"subscribe","ref":"r","conversation":"{C}","after":-1}}"#);
        assert_eq!(refused(&negative), (Code::BadRequest, Some("r".into())));
    }

    #[test]
    fn bodies_are_bounded_and_not_blank() {
        assert!(validate_body("x").is_ok());
        assert!(validate_body(&"x".repeat(limits::BODY_BYTES_MAX)).is_ok());
        let code = |body: &str| validate_body(body).err().map(|error| error.code);
        assert_eq!(code(&"x".repeat(limits::BODY_BYTES_MAX + 1)), Some(Code::TooLarge));
        assert_eq!(code(""), Some(Code::BadRequest));
        assert_eq!(code(" \u{2003}\n"), Some(Code::BadRequest));
        assert_eq!(code("a\0b"), Some(Code::BadRequest));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in ".{0,200}") {
            if let Err(error) = parse(&text) {
                proptest::prop_assert!(matches!(error.code, Code::BadFrame | Code::BadRequest));
            }
        }
    }
}
