//! Messages over time, and in groups. Pure.
//!
//! Groups need two passes: the first finds the largest, the second their values in each bucket. So
//! what is held does not grow with the number of groups times that of buckets.

use super::period::Bucket;
use super::question::{GroupBy, Series, SeriesKey};
use super::tally::{Cell, Ids, PartFinder};
use crate::ids::UserKind;

const KINDS: [UserKind; 3] = [UserKind::Person, UserKind::Agent, UserKind::System];

/// The number of a cell's group.
fn group_of(group_by: GroupBy, cell: &Cell) -> usize {
    match group_by {
        GroupBy::None => 0,
        GroupBy::Conversation => cell.conversation,
        GroupBy::User => cell.user,
        GroupBy::Kind => KINDS.iter().position(|kind| *kind == cell.kind).unwrap_or(0),
    }
}

fn key_of(group_by: GroupBy, group: usize, ids: &Ids) -> SeriesKey {
    match group_by {
        GroupBy::None => Some(SeriesKey::All),
        GroupBy::Conversation => ids.conversations.ids().get(group).copied().map(SeriesKey::Conversation),
        GroupBy::User => ids.users.ids().get(group).copied().map(SeriesKey::User),
        GroupBy::Kind => KINDS.get(group).copied().map(SeriesKey::Kind),
    }
    .unwrap_or(SeriesKey::Other)
}

/// What equal totals are ordered by: the id, as it is written.
fn order_of(key: SeriesKey) -> String {
    match key {
        SeriesKey::Conversation(id) => id.to_string(),
        SeriesKey::User(id) => id.to_string(),
        SeriesKey::Kind(kind) => kind.to_string(),
        SeriesKey::All | SeriesKey::Other => String::new(),
    }
}

/// The first pass: how many messages each group has.
pub(super) struct GroupTally {
    group_by: GroupBy,
    totals: Vec<u64>,
}

impl GroupTally {
    pub(super) const fn new(group_by: GroupBy) -> Self {
        Self {
            group_by,
            totals: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, cell: &Cell) {
        add_to(&mut self.totals, group_of(self.group_by, cell), cell.messages);
    }

    /// The largest groups, the largest first; and whether there are others.
    pub(super) fn largest(&self, limit: usize, ids: &Ids) -> (Vec<SeriesKey>, bool) {
        let groups = self.totals.iter().enumerate().filter(|(_, total)| **total > 0);
        let mut groups: Vec<(u64, SeriesKey)> = groups
            .map(|(group, total)| (*total, key_of(self.group_by, group, ids)))
            .collect();
        groups.sort_by_cached_key(|(total, key)| (std::cmp::Reverse(*total), order_of(*key)));
        let has_others = groups.len() > limit;
        groups.truncate(limit);
        (groups.into_iter().map(|(_, key)| key).collect(), has_others)
    }
}

/// The second pass: the values of some groups, and of all others together.
pub(super) struct SeriesTally {
    group_by: GroupBy,
    parts: PartFinder,
    buckets: usize,
    series: Vec<Series>,
    /// The series of each group; what is not here is in the last.
    places: Vec<Option<usize>>,
}

impl SeriesTally {
    /// `keys` are the groups that have a series of their own, `ids` those of the first pass. The last
    /// series is that of all others.
    pub(super) fn new(group_by: GroupBy, buckets: &[Bucket], keys: &[SeriesKey], ids: &Ids) -> Self {
        let mut places = Vec::new();
        for (place, key) in keys.iter().enumerate() {
            let group = match key {
                SeriesKey::Conversation(id) => ids.conversations.find(*id),
                SeriesKey::User(id) => ids.users.find(*id),
                SeriesKey::Kind(kind) => KINDS.iter().position(|known| known == kind),
                SeriesKey::All => Some(0),
                SeriesKey::Other => None,
            };
            if let Some(group) = group {
                if places.len() <= group {
                    places.resize(group + 1, None);
                }
                places[group] = Some(place);
            }
        }
        let keys = keys.iter().copied().chain([SeriesKey::Other]);
        let series = keys.map(|key| Series {
            key,
            values: vec![0; buckets.len()],
            total: 0,
        });
        Self {
            group_by,
            parts: PartFinder::of_buckets(buckets),
            buckets: buckets.len(),
            series: series.collect(),
            places,
        }
    }

    pub(super) fn add(&mut self, cell: &Cell) {
        let group = group_of(self.group_by, cell);
        let others = self.series.len() - 1;
        let place = self.places.get(group).copied().flatten().unwrap_or(others);
        let bucket = self.parts.find(cell.at).min(self.buckets - 1);
        if let Some(series) = self.series.get_mut(place) {
            series.total += cell.messages;
            add_to(&mut series.values, bucket, cell.messages);
        }
    }

    /// The series, that of all others only where it has something.
    pub(super) fn finish(mut self) -> Vec<Series> {
        if self.series.last().is_some_and(|others| others.total == 0) {
            self.series.pop();
        }
        self.series
    }
}

fn add_to(values: &mut Vec<u64>, place: usize, more: u64) {
    if values.len() <= place {
        values.resize(place + 1, 0);
    }
    values[place] += more;
}
