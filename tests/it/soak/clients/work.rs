//! What a writer wants done, until it is: inventing it, sending it again, and taking its answer.

use super::Desk;
use crate::soak::history::{Attempt, Change, Operation, Outcome, Room, Stamp};
use parlance::ids::{MessageId, UserId};
use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Operations that wait for their reply; a connection may have 32 frames unanswered.
const WINDOW: usize = 8;
/// How many messages are remembered, to be changed or reacted to.
const REMEMBERED: usize = 40;
const EMOJI: [&str; 3] = ["👍", "🎉", "👀"];

/// An operation that is not done.
struct Open {
    reference: String,
    frame: Value,
    operation: Operation,
    /// When it is sent again, if it is not on its way.
    again: Option<Instant>,
}

/// A writer's work.
pub(super) struct Work {
    author: UserId,
    rooms: Vec<Room>,
    open: VecDeque<Open>,
    done: Vec<Operation>,
    /// Its own messages that are there.
    mine: VecDeque<(Room, MessageId)>,
    /// What it was shown lately.
    seen: VecDeque<(Room, MessageId)>,
    references: u64,
}

impl Work {
    pub(super) fn new(author: UserId, rooms: Vec<Room>) -> Self {
        Self {
            author,
            rooms,
            open: VecDeque::new(),
            done: Vec::new(),
            mine: VecDeque::new(),
            seen: VecDeque::new(),
            references: 0,
        }
    }

    pub(super) fn has_room(&self) -> bool {
        self.open.len() < WINDOW
    }

    pub(super) fn oldest_open(&self) -> Option<Stamp> {
        self.open.iter().map(|open| open.operation.began()).min()
    }

    pub(super) fn into_operations(self) -> Vec<Operation> {
        let mut operations = self.done;
        operations.extend(self.open.into_iter().map(|open| open.operation));
        operations
    }

    /// A message that could be reacted to.
    pub(super) fn saw(&mut self, room: Room, id: MessageId) {
        remember(&mut self.seen, (room, id));
    }

    /// Something new to do; its first sending is due.
    pub(super) fn invent(&mut self, desk: &Desk, random: &mut StdRng) {
        self.references += 1;
        let reference = format!("w{}", self.references);
        let dice = random.random_range(0..100);
        let (room, message, change) = self.invent_change(dice, random).unwrap_or_else(|| {
            let room = self.rooms[random.random_range(0..self.rooms.len())];
            let body = format!("text {reference} of {}", self.author);
            (room, MessageId::new(), Change::Post { body })
        });
        let conversation = desk.rooms[room];
        let mut frame = match &change {
            Change::Post { body } => json!({"type": "send", "body": body}),
            Change::Edit { body } => json!({"type": "edit", "body": body}),
            Change::Delete => json!({"type": "delete"}),
            Change::React { emoji, on } => json!({"type": "react", "emoji": emoji, "on": on}),
        };
        frame["ref"] = json!(reference);
        frame["conversation"] = json!(conversation);
        frame["id"] = json!(message);
        let operation = Operation {
            author: self.author,
            room,
            message,
            change,
            attempts: Vec::new(),
            outcome: Outcome::Open,
        };
        self.open.push_back(Open {
            reference,
            frame,
            operation,
            again: Some(Instant::now()),
        });
    }

    /// A change of a message, one at a time for each: what is under way twice has no order.
    fn invent_change(&mut self, dice: u32, random: &mut StdRng) -> Option<(Room, MessageId, Change)> {
        let candidates = match dice {
            0..14 => &self.mine,
            14..26 => &self.seen,
            _ => return None,
        };
        let busy = |id: MessageId| self.open.iter().any(|open| open.operation.message == id);
        let free: Vec<_> = candidates.iter().copied().filter(|(_, id)| !busy(*id)).collect();
        if free.is_empty() {
            return None;
        }
        let (room, id) = free[random.random_range(0..free.len())];
        let change = match dice {
            0..10 => Change::Edit {
                body: format!("edited w{} of {}", self.references, self.author),
            },
            10..14 => {
                self.mine.retain(|(_, mine)| *mine != id);
                Change::Delete
            }
            _ => Change::React {
                emoji: EMOJI[random.random_range(0..EMOJI.len())].to_owned(),
                on: random.random_bool(0.7),
            },
        };
        Some((room, id, change))
    }

    /// The connection is a new one: everything is sent again.
    pub(super) fn reconnected(&mut self) {
        for open in &mut self.open {
            open.again = Some(Instant::now());
        }
    }

    /// When something is due next.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.open.iter().filter_map(|open| open.again).min()
    }

    /// The next frame to be sent now, counted as sent.
    pub(super) fn take_due(&mut self, desk: &Desk, connection: u64) -> Option<Value> {
        let now = Instant::now();
        let open = self
            .open
            .iter_mut()
            .find(|open| open.again.is_some_and(|at| at <= now))?;
        open.again = None;
        open.operation.attempts.push(Attempt {
            connection,
            sent: desk.stamp(),
            settled: false,
        });
        Some(open.frame.clone())
    }

    /// Takes the reply to one of its frames in; false when it is not.
    pub(super) fn heard(&mut self, frame: &Value, desk: &Desk, random: &mut StdRng) -> bool {
        let Some(reference) = frame["ref"].as_str() else {
            return false;
        };
        let Some(at) = self.open.iter().position(|open| open.reference == reference) else {
            return reference.starts_with('w');
        };
        if frame["type"] == "error" {
            self.refused(at, frame, desk, random);
            return true;
        }
        let mut open = self.open.remove(at).unwrap();
        if let Some(attempt) = open.operation.attempts.last_mut() {
            attempt.settled = true;
        }
        if frame["duplicate"] == true {
            desk.count("acknowledged as known");
        }
        let seq = frame["seq"].as_i64();
        let is_post = matches!(open.operation.change, Change::Post { .. });
        let (Some(rev), true) = (frame["rev"].as_i64(), seq.is_some() == is_post) else {
            desk.complain(format!("not an answer to {}: {frame}", open.frame));
            return true;
        };
        desk.count("operations done");
        open.operation.outcome = Outcome::Done {
            seq,
            rev,
            at: desk.stamp(),
        };
        if is_post {
            remember(&mut self.mine, (open.operation.room, open.operation.message));
        }
        self.done.push(open.operation);
        true
    }

    fn refused(&mut self, at: usize, frame: &Value, desk: &Desk, random: &mut StdRng) {
        let code = frame["code"].as_str().unwrap_or_default();
        desk.count(format!("refused: {code}"));
        let open = &mut self.open[at];
        if matches!(code, "unavailable" | "overloaded" | "rate_limited") {
            // `unavailable` may turn out to have been done; the others never do.
            if code != "unavailable"
                && let Some(attempt) = open.operation.attempts.last_mut()
            {
                attempt.settled = true;
            }
            let pause = frame["retry_after_ms"].as_u64().unwrap_or(500) as f64;
            let pause = pause * random.random_range(1.0..1.5);
            open.again = Some(Instant::now() + Duration::from_secs_f64(pause / 1e3));
            return;
        }
        let mut open = self.open.remove(at).unwrap();
        if let Some(attempt) = open.operation.attempts.last_mut() {
            attempt.settled = true;
        }
        open.operation.outcome = Outcome::Refused { code: code.to_owned() };
        self.done.push(open.operation);
    }
}

fn remember(list: &mut VecDeque<(Room, MessageId)>, item: (Room, MessageId)) {
    if list.len() == REMEMBERED {
        list.pop_front();
    }
    list.push_back(item);
}
