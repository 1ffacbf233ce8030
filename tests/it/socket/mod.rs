//! The socket as docs/protocol.md describes it, sentence by sentence, spoken to by somebody who means no good.
//!
//! `handshake.rs`: who gets in. `frames.rs`: the form of frames, replies, the window. `messages.rs`: what is done to
//! messages, ids and order. `reactions.rs`: whose they are, and changes on a condition. `social.rs`:
//! read markers, typing, presence, notices. `lists.rs`: a list that is kept by notices.
//! `lifetime.rs`: heartbeat and tokens.

mod frames;
mod handshake;
mod lifetime;
mod lists;
mod messages;
mod reactions;
mod social;

use crate::support::Socket;
use parlance::ids::{ConversationId, MessageId};
use serde_json::{Value, json};

/// A `send` frame.
fn send(conversation: ConversationId, id: MessageId, body: &str) -> Value {
    json!({"type": "send", "conversation": conversation, "id": id, "body": body})
}

/// A frame about a message.
fn about(kind: &str, conversation: ConversationId, id: MessageId) -> Value {
    json!({"type": kind, "conversation": conversation, "id": id})
}

/// A `react` frame.
fn react(conversation: ConversationId, id: MessageId, emoji: &str, on: bool) -> Value {
    json!({"type": "react", "conversation": conversation, "id": id, "emoji": emoji, "on": on})
}

/// Asks and demands `ok`; answers its `rev`.
async fn ok(socket: &mut Socket, frame: Value) -> Option<i64> {
    let reply = socket.ask(frame).await;
    assert_eq!(reply["type"], "ok", "{reply}");
    reply["rev"].as_i64()
}
