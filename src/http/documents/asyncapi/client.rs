//! Client frames as schemas, with an example of each.
//!
//! The parser in `wire/` has types of its own, made for reading fast and for good messages; these
//! are made for being read by people and generators. Tests parse every example with the real parser
//! and compare what the two require, so that they cannot drift apart.

use super::schemas::{FrameSchema, SharedSchemas, frame};
use crate::ids::{ConversationId, MessageId, Rev, Seq};
use serde_json::{Value, json};
use utoipa::ToSchema;

/// Declares a client frame: documented fields, the optional `ref`, and that nothing else may be in it.
macro_rules! client_frames {
    ($($(#[doc = $doc:literal])+ $name:ident {
        $($(#[doc = $field_doc:literal])+ $(#[schema($($schema:tt)*)])? $field:ident: $ty:ty),* $(,)?
    })+) => {
        $(
            $(#[doc = $doc])+
            #[derive(ToSchema)]
            #[allow(dead_code, reason = "these types are only their schemas")]
            struct $name {
                $($(#[doc = $field_doc])+ $(#[schema($($schema)*)])? $field: $ty,)*
                /// The client's mark; the one direct reply echoes it.
                #[schema(rename = "ref", min_length = 1, max_length = 64, nullable = false)]
                reference: Option<String>,
            }
        )+
    };
}

client_frames! {
    /// Follow a conversation: from the newest messages, or everything after a revision. Replied to with `subscribed`.
    Subscribe {
        /// The conversation.
        conversation: ConversationId,
        /// The highest revision that the client has applied.
        after: Option<Rev>,
    }
    /// Stop following. Replied to with `ok`.
    Unsubscribe {
        /// The conversation.
        conversation: ConversationId,
    }
    /// Post a message. Replied to with `ack`, once it is durable.
    Send {
        /// The conversation.
        conversation: ConversationId,
        /// Made by the client, unique for ever; repeating a send with the same id is safe.
        id: MessageId,
        /// 1–16,384 bytes, not only white space, no NUL.
        #[schema(min_length = 1, max_length = 16384)]
        body: String,
        /// The message that this one replies to.
        reply_to: Option<MessageId>,
    }
    /// Change the body of an own message. Replied to with `ok`.
    Edit {
        /// The conversation.
        conversation: ConversationId,
        /// The message.
        id: MessageId,
        /// The new body.
        #[schema(min_length = 1, max_length = 16384)]
        body: String,
        /// The message's `rev` that the user saw. If it was edited or deleted since: `conflict`, and
        /// nothing is done.
        #[schema(minimum = 1)]
        if_rev: Option<Rev>,
    }
    /// Delete a message: the author, moderators and owners may. Replied to with `ok`.
    Delete {
        /// The conversation.
        conversation: ConversationId,
        /// The message.
        id: MessageId,
        /// The message's `rev` that the user saw. If it was edited or deleted since: `conflict`, and
        /// nothing is done.
        #[schema(minimum = 1)]
        if_rev: Option<Rev>,
    }
    /// Add or take back a reaction. Replied to with `ok`.
    React {
        /// The conversation.
        conversation: ConversationId,
        /// The message.
        id: MessageId,
        /// 1–64 bytes.
        #[schema(min_length = 1, max_length = 64)]
        emoji: String,
        /// Add or take back.
        on: bool,
        /// The message's `rev` that the user saw. If it was edited or deleted since: `conflict`, and
        /// nothing is done.
        #[schema(minimum = 1)]
        if_rev: Option<Rev>,
    }
    /// Move the own read marker forward. Replied to with `ok`.
    Read {
        /// The conversation.
        conversation: ConversationId,
        /// The number of the last message read.
        seq: Seq,
    }
    /// Start or stop typing. No reply unless `ref` is given.
    Typing {
        /// The conversation.
        conversation: ConversationId,
        /// Started or stopped.
        on: bool,
    }
    /// Renew the credentials of this connection. Replied to with `ok`.
    Refresh {
        /// A fresh access token of the same user.
        token: String,
    }
    /// Measure latency. Replied to with `pong`.
    Ping {}
}

const CONVERSATION: &str = "0192f0c1-2345-7abc-8def-0123456789ab";
const MESSAGE: &str = "0192f0c1-2345-7abc-8def-0123456789ac";

fn example<T: ToSchema>(schemas: &mut SharedSchemas, word: &'static str, fields: Value) -> FrameSchema {
    let mut frame = frame::<T>(schemas, word);
    frame.schema["additionalProperties"] = json!(false);
    let mut payload = json!({"type": word});
    if let (Some(payload), Value::Object(fields)) = (payload.as_object_mut(), fields) {
        payload.extend(fields);
    }
    frame.examples.push(payload);
    frame
}

/// All client frames.
pub(super) fn frames(schemas: &mut SharedSchemas) -> Vec<FrameSchema> {
    let (c, m) = (CONVERSATION, MESSAGE);
    vec![
        example::<Subscribe>(
            schemas,
            "subscribe",
            json!({"conversation": c, "after": 41, "ref": "1"}),
        ),
        example::<Unsubscribe>(schemas, "unsubscribe", json!({"conversation": c})),
        example::<Send>(
            schemas,
            "send",
            json!({"conversation": c, "id": m, "body": "Good morning", "ref": "2"}),
        ),
        example::<Edit>(
            schemas,
            "edit",
            json!({"conversation": c, "id": m, "body": "Good evening"}),
        ),
        example::<Delete>(schemas, "delete", json!({"conversation": c, "id": m})),
        example::<React>(
            schemas,
            "react",
            json!({"conversation": c, "id": m, "emoji": "👍", "on": true}),
        ),
        example::<Read>(schemas, "read", json!({"conversation": c, "seq": 7})),
        example::<Typing>(schemas, "typing", json!({"conversation": c, "on": true})),
        example::<Refresh>(schemas, "refresh", json!({"token": "eyJ0eXAi…", "ref": "3"})),
        example::<Ping>(schemas, "ping", json!({"ref": "4"})),
    ]
}
