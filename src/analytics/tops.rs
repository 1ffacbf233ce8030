//! Who posted most, where most was posted, when, and what one user did. Pure.

use super::period::{Bucket, Period};
use super::question::{ConversationOrder, ConversationTotals, UserTotals};
use super::tally::{BitSet, Cell, Ids, PartFinder};
use super::zone::Zone;
use crate::ids::UserKind;
use std::cmp::Reverse;
use std::collections::HashSet;

/// The totals of a user or a conversation, while they are added up.
#[derive(Clone, Default)]
struct Row {
    messages: u64,
    /// Conversations of a user, or people of a conversation.
    others: u64,
    days: BitSet,
    last_at: i64,
}

fn row(rows: &mut Vec<Row>, place: usize) -> &mut Row {
    if rows.len() <= place {
        rows.resize(place + 1, Row::default());
    }
    &mut rows[place]
}

impl Row {
    fn add(&mut self, cell: &Cell) {
        self.last_at = if self.messages == 0 {
            cell.last_at
        } else {
            self.last_at.max(cell.last_at)
        };
        self.messages += cell.messages;
    }
}

pub(super) struct UsersTally {
    rows: Vec<Row>,
    pairs: HashSet<(u32, u32)>,
    starts: Vec<i64>,
    days: PartFinder,
}

impl UsersTally {
    pub(super) fn new(period: &Period) -> Self {
        let zone = &period.zone;
        let days = zone.day(period.from)..=zone.day(period.to - 1);
        let mut starts: Vec<i64> = days.map(|day| zone.first_instant(day)).collect();
        starts.dedup();
        Self {
            rows: Vec::new(),
            pairs: HashSet::new(),
            days: PartFinder::new(starts.clone()),
            starts,
        }
    }

    /// When the days begin.
    pub(super) fn boundaries(&self) -> &[i64] {
        &self.starts
    }

    pub(super) fn add(&mut self, cell: &Cell) {
        let day = self.days.find(cell.at);
        let is_new = self.pairs.insert(pair(cell));
        let row = row(&mut self.rows, cell.user);
        row.add(cell);
        row.days.insert(day);
        row.others += u64::from(is_new);
    }

    pub(super) fn finish(self, limit: usize, ids: &Ids) -> Vec<UserTotals> {
        let rows = self.rows.iter().zip(ids.users.ids());
        let mut items: Vec<UserTotals> = rows
            .filter(|(row, _)| row.messages > 0)
            .map(|(row, user)| UserTotals {
                user: *user,
                messages: row.messages,
                conversations: row.others,
                active_days: row.days.len(),
                last_at: row.last_at,
            })
            .collect();
        items.sort_unstable_by_key(|item| (Reverse(item.messages), item.user));
        items.truncate(limit);
        items
    }
}

#[derive(Default)]
pub(super) struct ConversationsTally {
    rows: Vec<Row>,
    pairs: HashSet<(u32, u32)>,
}

impl ConversationsTally {
    pub(super) fn add(&mut self, cell: &Cell) {
        let is_new = cell.kind == UserKind::Person && self.pairs.insert(pair(cell));
        let row = row(&mut self.rows, cell.conversation);
        row.add(cell);
        row.others += u64::from(is_new);
    }

    pub(super) fn finish(self, order: ConversationOrder, limit: usize, ids: &Ids) -> Vec<ConversationTotals> {
        let rows = self.rows.iter().zip(ids.conversations.ids());
        let mut items: Vec<ConversationTotals> = rows
            .filter(|(row, _)| row.messages > 0)
            .map(|(row, conversation)| ConversationTotals {
                conversation: *conversation,
                messages: row.messages,
                participants: row.others,
                last_at: row.last_at,
            })
            .collect();
        items.sort_unstable_by_key(|item| {
            let first = match order {
                ConversationOrder::Messages => i64::try_from(item.messages).unwrap_or(i64::MAX),
                ConversationOrder::Participants => i64::try_from(item.participants).unwrap_or(i64::MAX),
                ConversationOrder::Recent => item.last_at,
            };
            (Reverse(first), item.conversation)
        });
        items.truncate(limit);
        items
    }
}

fn pair(cell: &Cell) -> (u32, u32) {
    let small = |place: usize| u32::try_from(place).unwrap_or(u32::MAX);
    (small(cell.user), small(cell.conversation))
}

/// Messages by weekday and hour.
pub(super) struct HeatmapTally {
    zone: Zone,
    cells: Vec<Vec<u64>>,
    /// The last quarter and its place: cells come by quarters.
    last: Option<(i64, (usize, usize))>,
}

impl HeatmapTally {
    pub(super) fn new(zone: Zone) -> Self {
        Self {
            zone,
            cells: vec![vec![0; 24]; 7],
            last: None,
        }
    }

    pub(super) fn add(&mut self, cell: &Cell) {
        let place = match self.last {
            Some((at, place)) if at == cell.at => place,
            _ => self.zone.weekday_and_hour(cell.at),
        };
        self.last = Some((cell.at, place));
        if let Some(count) = self.cells.get_mut(place.0).and_then(|row| row.get_mut(place.1)) {
            *count += cell.messages;
        }
    }

    pub(super) fn finish(self) -> Vec<Vec<u64>> {
        self.cells
    }
}

/// What one user posted.
pub(super) struct UsageTally {
    parts: PartFinder,
    values: Vec<u64>,
    conversations: BitSet,
}

impl UsageTally {
    pub(super) fn new(buckets: &[Bucket]) -> Self {
        Self {
            parts: PartFinder::of_buckets(buckets),
            values: vec![0; buckets.len()],
            conversations: BitSet::default(),
        }
    }

    pub(super) fn add(&mut self, cell: &Cell) {
        let part = self.parts.find(cell.at);
        self.values[part] += cell.messages;
        self.conversations.insert(cell.conversation);
    }

    /// How many messages in each bucket, and in how many conversations.
    pub(super) fn finish(self) -> (Vec<u64>, u64) {
        let conversations = self.conversations.len();
        (self.values, conversations)
    }
}
