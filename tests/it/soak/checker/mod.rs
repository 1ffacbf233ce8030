//! Judges a history: pure, history in, verdict out.
//!
//! What has to hold is what `docs/protocol.md` promises, whatever was killed, cut or frozen meanwhile. Each kind of
//! violation has a name of its own ([`Kind`]), and a test that plants it and sees it found, alone (`planted.rs`); valid
//! histories by the thousand have to pass (`model.rs`). Where a fault leaves something open, both ends are allowed: a send
//! that was never acknowledged may be there once or not at all, and a change whose sending was never answered may take
//! effect late, even after a later one of the same client.

mod model;
mod planted;
mod readers;
mod truth;

use super::history::{Change, History, Operation, Room, Row};
use parlance::ids::MessageId;
use std::collections::{BTreeMap, HashMap};
use std::fmt;

/// What can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// An acknowledged message is not there.
    Lost,
    /// A message is there twice, or was shown as new twice.
    Doubled,
    /// Something is there, or was shown, that nobody asked for.
    Phantom,
    /// A reader was shown a message at another place than it has.
    Misplaced,
    /// The numbers of a conversation have a hole, or do not follow its revisions.
    SeqHole,
    /// A receipt says something else than the database, or than another receipt for the same message.
    WrongReceipt,
    /// A message stands before one that had been acknowledged before it was sent, or that its author sent before it.
    Overtaken,
    /// An acknowledged edit, deletion or reaction does not hold.
    ChangeLost,
    /// A live reader was not shown a revision.
    Gap,
    /// A reader was shown an old revision again.
    Backwards,
    /// A replay ended without showing everything.
    MissedByResume,
    /// A reader does not have at the end what is there.
    NotWhole,
    /// Something was never answered.
    Unanswered,
    /// Something was refused that may not be.
    WronglyRefused,
    /// A page of the history has a hole, or lacks what was acknowledged before it was asked for.
    StalePage,
}

impl Kind {
    pub const ALL: [Self; 15] = [
        Self::Lost,
        Self::Doubled,
        Self::Phantom,
        Self::Misplaced,
        Self::SeqHole,
        Self::WrongReceipt,
        Self::Overtaken,
        Self::ChangeLost,
        Self::Gap,
        Self::Backwards,
        Self::MissedByResume,
        Self::NotWhole,
        Self::Unanswered,
        Self::WronglyRefused,
        Self::StalePage,
    ];
}

/// One thing that is wrong.
#[derive(Clone, Debug)]
pub struct Violation {
    pub kind: Kind,
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.what)
    }
}

/// What is wrong with a history, if anything is.
#[derive(Debug, Default)]
pub struct Verdict {
    pub violations: Vec<Violation>,
}

impl Verdict {
    fn add(&mut self, kind: Kind, what: impl Into<String>) {
        let what = what.into();
        self.violations.push(Violation { kind, what });
    }

    /// How many of each kind.
    pub fn kinds(&self) -> BTreeMap<Kind, usize> {
        let mut kinds = BTreeMap::new();
        for violation in &self.violations {
            *kinds.entry(violation.kind).or_default() += 1;
        }
        kinds
    }
}

/// Judges.
pub fn check(history: &History) -> Verdict {
    let book = Book::of(history);
    let mut verdict = Verdict::default();
    truth::check(history, &book, &mut verdict);
    for reader in &history.readers {
        readers::check_reader(reader, &book, &mut verdict);
    }
    readers::check_pages(history, &book, &mut verdict);
    verdict
}

/// A history, by message.
struct Book<'a> {
    history: &'a History,
    /// What was asked for about a message, in the order in which it was first sent.
    operations: HashMap<MessageId, Vec<&'a Operation>>,
    rows: HashMap<(Room, MessageId), &'a Row>,
}

impl<'a> Book<'a> {
    fn of(history: &'a History) -> Self {
        let mut operations: HashMap<_, Vec<&Operation>> = HashMap::new();
        for operation in &history.operations {
            operations.entry(operation.message).or_default().push(operation);
        }
        for list in operations.values_mut() {
            // The post is first, whenever its frame was sent.
            list.sort_by_key(|operation| (!matches!(operation.change, Change::Post { .. }), operation.began()));
        }
        let rows = history.truth.iter().enumerate();
        let rows = rows.flat_map(|(room, truth)| truth.rows.iter().map(move |row| ((room, row.message.id), row)));
        Self {
            history,
            operations,
            rows: first_of(rows),
        }
    }

    fn about(&self, id: MessageId) -> &[&'a Operation] {
        self.operations.get(&id).map_or(&[], Vec::as_slice)
    }

    /// The post of a message.
    fn post(&self, id: MessageId) -> Option<&'a Operation> {
        let is_post = |operation: &&&Operation| matches!(operation.change, Change::Post { .. });
        self.about(id).iter().find(is_post).copied()
    }

    /// Whether anybody ever asked for this to be a message's text.
    fn knows_body(&self, id: MessageId, text: &str) -> bool {
        self.about(id).iter().any(|operation| match &operation.change {
            Change::Post { body } | Change::Edit { body } => body == text,
            _ => false,
        })
    }

    /// Whether anybody ever wanted it gone.
    fn knows_delete(&self, id: MessageId) -> bool {
        self.about(id)
            .iter()
            .any(|operation| operation.change == Change::Delete)
    }
}

/// Of what is there twice, the first counts; that it is there twice is said elsewhere.
fn first_of<'a>(rows: impl Iterator<Item = ((Room, MessageId), &'a Row)>) -> HashMap<(Room, MessageId), &'a Row> {
    let mut first = HashMap::new();
    for (key, row) in rows {
        first.entry(key).or_insert(row);
    }
    first
}
