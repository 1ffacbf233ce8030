//! What happened in a soak, as plain data: what clients asked for and were told, what readers were shown, what is in the
//! database at the end.
//!
//! The clients write it down while they work ([`super::clients`]), the checker judges it afterwards ([`super::checker`]);
//! nothing here decides anything. All stamps come from one counter in the one process in which all clients live, so that
//! "before" means before.

use parlance::ids::{MessageId, UserId};
use std::collections::{BTreeMap, BTreeSet};

/// A conversation, by its number in this soak.
pub type Room = usize;

/// The order of what clients did and heard.
pub type Stamp = u64;

/// Everything there is to judge.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// What was asked for, in no order.
    pub operations: Vec<Operation>,
    pub readers: Vec<Reader>,
    pub pages: Vec<Page>,
    /// One for each room.
    pub truth: Vec<Truth>,
}

/// Something durable that a client wanted done, until it was, or was given up.
#[derive(Clone, Debug)]
pub struct Operation {
    pub author: UserId,
    pub room: Room,
    pub message: MessageId,
    pub change: Change,
    pub attempts: Vec<Attempt>,
    pub outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Post { body: String },
    Edit { body: String },
    Delete,
    React { emoji: String, on: bool },
}

/// One sending of the frame.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// The connection's number in this soak.
    pub connection: u64,
    pub sent: Stamp,
    /// Whether this sending was answered with what is known to have been done or not. One that was not may take effect at
    /// any later time: its bytes may still lie in a frozen process, or in the network.
    pub settled: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Neither answered nor given up.
    Open,
    /// The client went away for good.
    Abandoned,
    Done {
        /// Of posts.
        seq: Option<i64>,
        rev: i64,
        at: Stamp,
    },
    /// Refused for good.
    Refused { code: String },
}

impl Operation {
    /// When it was first sent.
    pub fn began(&self) -> Stamp {
        self.attempts.first().map_or(0, |attempt| attempt.sent)
    }

    /// Whether a sending of it may still take effect, or may have done so unnoticed.
    pub fn is_uncertain(&self) -> bool {
        self.attempts.iter().any(|attempt| !attempt.settled)
    }

    pub fn is_done(&self) -> bool {
        matches!(self.outcome, Outcome::Done { .. })
    }
}

/// A message as somebody sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub id: MessageId,
    pub seq: i64,
    pub author: UserId,
    /// Of a deleted one there is none.
    pub body: Option<String>,
    pub edited: bool,
    pub deleted: bool,
    /// Emoji and how many.
    pub reactions: BTreeMap<String, i64>,
}

/// What one client was shown, in its order.
#[derive(Clone, Debug, Default)]
pub struct Reader {
    pub name: String,
    /// What it follows, from the first revision on.
    pub rooms: Vec<Room>,
    pub events: Vec<Event>,
}

#[derive(Clone, Debug)]
pub enum Event {
    /// It asks for what came after a revision; what follows until [`Event::Subscribed`] is a replay.
    Subscribe {
        room: Room,
    },
    Subscribed {
        room: Room,
        rev: i64,
    },
    Shown {
        room: Room,
        rev: i64,
        /// `message`, not `updated`.
        fresh: bool,
        message: Message,
    },
    /// A frame about something else that has a revision.
    Passed {
        room: Room,
        rev: i64,
    },
}

/// A page of the history, by REST.
#[derive(Clone, Debug)]
pub struct Page {
    pub reader: String,
    pub room: Room,
    pub began: Stamp,
    /// Whether the newest messages were asked for.
    pub newest: bool,
    pub messages: Vec<Message>,
}

/// A conversation in the database, after the end.
#[derive(Clone, Debug, Default)]
pub struct Truth {
    pub rev: i64,
    pub last_seq: i64,
    /// By `seq`.
    pub rows: Vec<Row>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub message: Message,
    /// Of its latest change.
    pub rev: i64,
    /// With which it was posted.
    pub posted: i64,
    /// Who reacted with what.
    pub reacted: BTreeSet<(String, UserId)>,
}
