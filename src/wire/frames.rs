//! Server frames, as serde types whose field names are the protocol's.
//!
//! The same types are the items of REST responses and the source of the AsyncAPI and OpenAPI
//! documents, so the three cannot drift apart. When you add a frame, also add it to
//! `docs/protocol.md` and to the list in `http/documents/asyncapi/server.rs`.

use crate::error::Code;
use crate::ids::{
    ConnectionId, ConversationId, MemberAction, MemberRole, MessageId, NodeId, Rev, Seq, Tier, UserId, UserKind,
};
use bytestring::ByteString;
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

pub use super::message_frames::{Cause, Message, Reaction, Updated};
pub use super::notice::{Notice, NoticeMessage};
pub use super::timestamp::{Timestamp, format_timestamp, optional_timestamp, timestamp};

/// A frame with its `type`.
#[derive(Serialize)]
pub struct Tagged<T> {
    r#type: &'static str,
    #[serde(flatten)]
    frame: T,
}

/// A server frame: it knows the value of its field `type`.
pub trait ServerFrame: Serialize + Sized {
    const TYPE: &'static str;

    /// The frame with its `type`, ready to be serialized.
    fn tagged(&self) -> Tagged<&Self> {
        Tagged {
            r#type: Self::TYPE,
            frame: self,
        }
    }
}

macro_rules! server_frame {
    ($($name:ident = $type:literal),+ $(,)?) => {
        $(impl ServerFrame for $name {
            const TYPE: &'static str = $type;
        })+
    };
}

server_frame!(
    Hello = "hello",
    Ack = "ack",
    Done = "ok",
    Pong = "pong",
    Subscribed = "subscribed",
    Message = "message",
    Updated = "updated",
    MemberChanged = "member",
    ConversationChanged = "conversation",
    ReadMoved = "read",
    Typing = "typing",
    Presence = "presence",
    Notice = "notice",
    Goodbye = "goodbye",
    ErrorFrame = "error",
);

/// `hello`: the server's first frame.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Hello {
    /// Protocol version.
    pub protocol: u32,
    /// This connection.
    pub connection: ConnectionId,
    /// The node that serves it.
    pub node: NodeId,
    /// Who the credentials stand for.
    pub user: HelloUser,
    /// Interval of the server's WebSocket pings, in milliseconds.
    pub heartbeat_ms: u64,
    /// When the access token runs out; null for API keys.
    #[serde(serialize_with = "optional_timestamp")]
    pub token_expires_at: Option<DateTime<Utc>>,
    /// The server's clock.
    #[serde(serialize_with = "timestamp")]
    pub server_time: DateTime<Utc>,
    /// The limits a client has to keep to.
    pub limits: HelloLimits,
}

/// The user in `hello`.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct HelloUser {
    /// The user's id.
    pub id: UserId,
    /// The user's name.
    #[schema(value_type = String)]
    pub name: ByteString,
    /// Person, agent or system.
    pub kind: UserKind,
    /// The tier whose rate limits apply.
    pub tier: Tier,
}

/// The limits in `hello`.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct HelloLimits {
    /// Largest client frame, in bytes.
    pub frame_bytes: usize,
    /// Largest message body, in bytes.
    pub body_bytes: usize,
    /// Most subscriptions of one connection.
    pub subscriptions: usize,
    /// Most unanswered frames.
    pub window: usize,
}

/// `ack`: a message is durable.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Ack {
    /// The mark of the `send` frame.
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub reference: Option<std::sync::Arc<str>>,
    /// The conversation.
    pub conversation: ConversationId,
    /// The message.
    pub id: MessageId,
    /// Its number in the conversation.
    pub seq: Seq,
    /// The revision it was posted with.
    pub rev: Rev,
    /// When it was committed.
    #[serde(serialize_with = "timestamp")]
    pub created_at: DateTime<Utc>,
    /// Present and true when this `id` had been sent before.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub duplicate: bool,
    /// What is left of the sender's quota, when that is little; only on the socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
}

/// What is left of a user's quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Budget {
    /// The quota of the window that has less left, a minute or an hour.
    pub limit: u32,
    /// What is left of it.
    pub remaining: u32,
    /// In how many milliseconds the oldest counted frame or request leaves the window.
    pub reset_ms: u64,
}

/// `ok`: done.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct Done {
    /// The mark of the client's frame.
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub reference: Option<std::sync::Arc<str>>,
    /// The revision of the change, or of the thing's latest change when nothing changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rev: Option<Rev>,
    /// For `refresh`: when the new token runs out.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "optional_timestamp")]
    pub token_expires_at: Option<DateTime<Utc>>,
}

/// `pong`: the reply to `ping`.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Pong {
    /// The mark of the client's frame.
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub reference: Option<std::sync::Arc<str>>,
    /// The server's clock.
    #[serde(serialize_with = "timestamp")]
    pub server_time: DateTime<Utc>,
}

/// `subscribed`: the snapshot or replay is complete; live frames follow.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Subscribed {
    /// The mark of the client's frame.
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub reference: Option<std::sync::Arc<str>>,
    /// The conversation.
    pub conversation: ConversationId,
    /// Its title.
    #[schema(value_type = String)]
    pub title: ByteString,
    /// Its revision; the next live frame has the next one.
    pub rev: Rev,
    /// The number of its latest message.
    pub last_seq: Seq,
    /// How far this user has read.
    pub read_seq: Seq,
    /// This user's role.
    pub role: MemberRole,
    /// What this user may do besides reading, posting, reacting and leaving.
    pub may: Vec<MemberAction>,
    /// How many members it has.
    pub member_count: usize,
    /// The members, when they are at most 200.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub members: Option<Vec<MemberEntry>>,
    /// False only without `after`, when older messages exist.
    pub complete: bool,
}

/// A member in `subscribed`.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct MemberEntry {
    /// The user.
    pub id: UserId,
    /// Their name.
    #[schema(value_type = String)]
    pub name: ByteString,
    /// Person, agent or system.
    pub kind: UserKind,
    /// Their role in the conversation.
    pub role: MemberRole,
    /// Whether they have a connection on any node.
    pub online: bool,
}

/// What happened to a membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MemberChange {
    /// Joined, or came back.
    Added,
    /// Has another role.
    Changed,
    /// Left, or was removed.
    Removed,
}

/// A member in a `member` frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct MemberUser {
    /// The user.
    pub id: UserId,
    /// Their name.
    #[schema(value_type = String)]
    pub name: ByteString,
    /// Person, agent or system.
    pub kind: UserKind,
    /// Their role, or the one they had.
    pub role: MemberRole,
}

/// `member`: someone joined, left or has another role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct MemberChanged {
    /// The conversation.
    pub conversation: ConversationId,
    /// The revision of the change.
    pub rev: Rev,
    /// The member.
    pub user: MemberUser,
    /// What happened.
    pub change: MemberChange,
    /// The revision this membership began with: tells a replay whether the reader knows it already.
    /// Not on the wire.
    #[serde(skip)]
    #[schema(ignore)]
    pub joined_rev: Rev,
}

/// `conversation`: its properties after a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ConversationChanged {
    /// The conversation.
    pub conversation: ConversationId,
    /// The revision of the change.
    pub rev: Rev,
    /// The title.
    #[schema(value_type = String)]
    pub title: ByteString,
    /// When it was deleted; then the subscription is over.
    #[serde(serialize_with = "optional_timestamp")]
    pub deleted_at: Option<DateTime<Utc>>,
}

/// `read`: a member has read up to `seq`.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct ReadMoved {
    /// The conversation.
    pub conversation: ConversationId,
    /// The reader.
    pub user: UserId,
    /// How far.
    pub seq: Seq,
}

/// `typing`: a member started or stopped typing.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct Typing {
    /// The conversation.
    pub conversation: ConversationId,
    /// The typist.
    pub user: UserId,
    /// Started or stopped.
    pub on: bool,
}

/// `presence`: a member came online or went offline.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct Presence {
    /// The conversation.
    pub conversation: ConversationId,
    /// The member.
    pub user: UserId,
    /// Whether they have a connection on any node.
    pub online: bool,
}

/// `goodbye`: the server is about to close.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct Goodbye {
    /// Why, for people.
    pub reason: &'static str,
    /// How long to wait before reconnecting, in milliseconds; different for each connection.
    pub retry_after_ms: u64,
}

/// `error`: a frame was refused.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ErrorFrame {
    /// The mark of the client's frame, if it could be read.
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub reference: Option<std::sync::Arc<str>>,
    /// The code, for programs.
    pub code: Code,
    /// The reason, for people.
    pub message: String,
    /// How long to wait before trying again, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}
