//! The summary of a range, beside that of the range before. Pure.

use super::question::Totals;
use super::tally::{BitSet, Cell};
use crate::ids::UserKind;

/// Longer is no reply.
pub(super) const DELAY_END_MS: i64 = 86_400_000;

/// What is counted of one of both ranges.
#[derive(Default)]
struct RangeTally {
    messages: u64,
    users: BitSet,
    conversations: BitSet,
    delays: Vec<i32>,
}

/// Both ranges; the boundary is the beginning of the second.
pub(super) struct SummaryTally {
    boundary: i64,
    ranges: [RangeTally; 2],
}

impl SummaryTally {
    pub(super) fn new(boundary: i64) -> Self {
        Self {
            boundary,
            ranges: Default::default(),
        }
    }

    fn range(&mut self, at: i64) -> &mut RangeTally {
        let [previous, current] = &mut self.ranges;
        if at < self.boundary { previous } else { current }
    }

    pub(super) fn add(&mut self, cell: &Cell) {
        let range = self.range(cell.at);
        range.messages += cell.messages;
        range.conversations.insert(cell.conversation);
        if cell.kind == UserKind::Person {
            range.users.insert(cell.user);
        }
    }

    pub(super) fn add_delay(&mut self, at: i64, delay: i64) {
        // What is kept is shorter than a day.
        if let Ok(delay) = i32::try_from(delay) {
            self.range(at).delays.push(delay);
        }
    }

    /// The totals of the range before and of the range. What was made is counted elsewhere.
    pub(super) fn finish(self) -> [Totals; 2] {
        self.ranges.map(|mut range| Totals {
            messages: range.messages,
            active_users: range.users.len(),
            active_conversations: range.conversations.len(),
            reply_delay_p50_ms: lower_median(&mut range.delays).map(i64::from),
            ..Totals::default()
        })
    }
}

/// The lower of the middle two.
fn lower_median(values: &mut [i32]) -> Option<i32> {
    let middle = values.len().checked_sub(1)? / 2;
    let (_, median, _) = values.select_nth_unstable(middle);
    Some(*median)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_lower_of_the_middle_two() {
        for (values, median) in [
            (vec![], None),
            (vec![5], Some(5)),
            (vec![9, 1], Some(1)),
            (vec![9, 1, 4], Some(4)),
            (vec![4, 3, 2, 1], Some(2)),
        ] {
            assert_eq!(lower_median(&mut values.clone()), median, "{values:?}");
        }
    }
}
