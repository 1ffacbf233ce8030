//! What every question adds up: cells, and which of them are in a range. Pure.
//!
//! A question reads blocks of whole quarters, and the messages themselves where a quarter is cut: by
//! an end of the range, or by a boundary of its buckets (clocks that are no whole quarters away from
//! UTC, as all were before 1972). So an answer is exact for every range and zone.

use super::block::{CellBlock, QUARTER_MS};
use super::error::Error;
use super::period::Bucket;
use crate::ids::{ConversationId, UserId, UserKind};
use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

/// Some messages of one user in one conversation, all in the same bucket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell {
    /// An instant in that bucket.
    pub(super) at: i64,
    /// The place in [`Ids::users`].
    pub(super) user: usize,
    /// The place in [`Ids::conversations`].
    pub(super) conversation: usize,
    pub(super) kind: UserKind,
    pub(super) messages: u64,
    pub(super) last_at: i64,
}

/// A message, read where its quarter is cut.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawMessage {
    pub(super) at: i64,
    pub(super) user: UserId,
    pub(super) conversation: ConversationId,
    pub(super) kind: UserKind,
    /// When the nearest earlier message of somebody else was posted.
    pub(super) before: Option<i64>,
}

/// Numbers for ids, in the order in which they come first.
#[derive(Debug)]
pub(super) struct Interned<T> {
    ids: Vec<T>,
    places: HashMap<T, usize>,
}

impl<T> Default for Interned<T> {
    fn default() -> Self {
        Self {
            ids: Vec::new(),
            places: HashMap::new(),
        }
    }
}

impl<T: Copy + Eq + Hash> Interned<T> {
    pub(super) fn place(&mut self, id: T) -> usize {
        *self.places.entry(id).or_insert_with(|| {
            self.ids.push(id);
            self.ids.len() - 1
        })
    }

    pub(super) fn find(&self, id: T) -> Option<usize> {
        self.places.get(&id).copied()
    }

    pub(super) fn ids(&self) -> &[T] {
        &self.ids
    }
}

/// The ids of a question.
#[derive(Debug, Default)]
pub(super) struct Ids {
    pub(super) users: Interned<UserId>,
    pub(super) conversations: Interned<ConversationId>,
}

/// Which quarters of a range are read from blocks, and which from the messages.
#[derive(Debug)]
pub(super) struct Scan {
    pub(super) from: i64,
    pub(super) to: i64,
    /// Quarters that are read from the messages.
    cut: BTreeSet<i64>,
}

impl Scan {
    /// Of `from..to`, such that no cell has both sides of one of `boundaries`.
    pub(super) fn new(from: i64, to: i64, boundaries: impl IntoIterator<Item = i64>) -> Self {
        let within = boundaries.into_iter().filter(|at| (from..to).contains(at));
        let cut = within
            .chain([from, to])
            .filter(|at| at.rem_euclid(QUARTER_MS) != 0)
            .map(|at| at.div_euclid(QUARTER_MS))
            .collect();
        Self { from, to, cut }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.from >= self.to
    }

    /// Whether a quarter is read from blocks.
    pub(super) fn takes(&self, quarter: i64) -> bool {
        let start = quarter * QUARTER_MS;
        start >= self.from && start + QUARTER_MS <= self.to && !self.cut.contains(&quarter)
    }

    /// The ranges that are read from the messages.
    pub(super) fn raw_ranges(&self) -> Vec<(i64, i64)> {
        let mut ranges: Vec<(i64, i64)> = Vec::new();
        for quarter in &self.cut {
            let from = (quarter * QUARTER_MS).max(self.from);
            let to = ((quarter + 1) * QUARTER_MS).min(self.to);
            match ranges.last_mut() {
                Some(last) if last.1 == from => last.1 = to,
                _ => ranges.push((from, to)),
            }
        }
        ranges
    }

    /// Gives the cells of a block that are in the range.
    pub(super) fn read_block(&self, bytes: &[u8], ids: &mut Ids, mut each: impl FnMut(&Cell)) -> Result<(), Error> {
        let block = CellBlock::read(bytes)?;
        let conversations: Vec<usize> = block.conversations().map(|id| ids.conversations.place(id)).collect();
        let users: Vec<usize> = block.users().map(|id| ids.users.place(id)).collect();
        let (mut quarter, mut is_taken) = (None, false);
        for cell in block.cells() {
            let cell = cell?;
            if quarter != Some(cell.quarter) {
                quarter = Some(cell.quarter);
                is_taken = self.takes(cell.quarter);
            }
            if is_taken {
                let missing = || Error::Unreadable("a place");
                each(&Cell {
                    at: cell.quarter * QUARTER_MS,
                    user: *users.get(cell.user).ok_or_else(missing)?,
                    conversation: *conversations.get(cell.conversation).ok_or_else(missing)?,
                    kind: cell.kind,
                    messages: cell.count.messages,
                    last_at: cell.count.last_at,
                });
            }
        }
        Ok(())
    }
}

impl RawMessage {
    pub(super) fn cell(&self, ids: &mut Ids) -> Cell {
        Cell {
            at: self.at,
            user: ids.users.place(self.user),
            conversation: ids.conversations.place(self.conversation),
            kind: self.kind,
            messages: 1,
            last_at: self.at,
        }
    }
}

/// Finds the part of a row of ranges that an instant is in, remembering the last.
#[derive(Debug)]
pub(super) struct PartFinder {
    /// The beginnings of the parts; the last ends where the scan does.
    starts: Vec<i64>,
    last: usize,
}

impl PartFinder {
    pub(super) const fn new(starts: Vec<i64>) -> Self {
        Self { starts, last: 0 }
    }

    pub(super) fn of_buckets(buckets: &[Bucket]) -> Self {
        Self::new(buckets.iter().map(|bucket| bucket.from).collect())
    }

    /// The part of an instant that is not before the first.
    pub(super) fn find(&mut self, at: i64) -> usize {
        let begins = |n: usize| self.starts.get(n).is_some_and(|start| *start <= at);
        if !begins(self.last) || begins(self.last + 1) {
            self.last = self.starts.partition_point(|start| *start <= at).saturating_sub(1);
        }
        self.last
    }
}

/// A set of small numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct BitSet {
    words: Vec<u64>,
}

impl BitSet {
    pub(super) fn insert(&mut self, n: usize) {
        if self.words.len() <= n / 64 {
            self.words.resize(n / 64 + 1, 0);
        }
        if let Some(word) = self.words.get_mut(n / 64) {
            *word |= 1 << (n % 64);
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        if self.words.len() < other.words.len() {
            self.words.resize(other.words.len(), 0);
        }
        for (word, more) in self.words.iter_mut().zip(&other.words) {
            *word |= more;
        }
    }

    pub(super) fn len(&self) -> u64 {
        self.words.iter().map(|word| u64::from(word.count_ones())).sum()
    }
}
