//! The latest changes of a conversation, without holes, for subscribers who come back soon. Pure.
//!
//! Bounds: [`CHANGES_MAX`] changes and [`CHANGES_BYTES_MAX`] bytes; the oldest go first. Anyone who
//! needs older ones is read them from the database (`replay.rs`).

use crate::ids::{Rev, UserId};
use crate::wire::frames::MemberChange;
use crate::wire::{Change, Thing};
use std::collections::{HashSet, VecDeque};

const CHANGES_MAX: usize = 512;
const CHANGES_BYTES_MAX: usize = 512 * 1024;

/// Changes with consecutive revisions.
#[derive(Clone, Debug, Default)]
pub(super) struct ChangeLog {
    changes: VecDeque<Change>,
    bytes: usize,
}

impl ChangeLog {
    /// Appends the change with the next revision.
    pub(super) fn push(&mut self, change: Change) {
        self.bytes += change.weight();
        self.changes.push_back(change);
        while self.changes.len() > CHANGES_MAX || self.bytes > CHANGES_BYTES_MAX {
            let Some(oldest) = self.changes.pop_front() else { break };
            self.bytes -= oldest.weight();
        }
    }

    pub(super) fn clear(&mut self) {
        self.bytes = 0;
        self.changes.clear();
    }

    /// The revision from which on every change is here; `rev`, the present one, if none is.
    pub(super) fn starts_after(&self, rev: Rev) -> Rev {
        self.changes.front().map_or(rev, |oldest| Rev(oldest.rev().0 - 1))
    }

    /// Every change after a revision, without holes; `None` when they are no longer all here.
    pub(super) fn all_after(&self, after: Rev) -> Option<Vec<Change>> {
        let oldest = self.changes.front().map(Change::rev)?;
        (oldest <= after.next()).then(|| {
            self.changes
                .iter()
                .filter(|change| change.rev() > after)
                .cloned()
                .collect()
        })
    }

    /// The net effect of what came after a revision: the latest change of each thing, ascending.
    pub(super) fn net_effect_after(&self, after: Rev) -> Vec<Change> {
        latest_of_each(self.changes.iter().rev().take_while(|change| change.rev() > after))
    }

    /// The change that ended a user's membership, or the conversation.
    pub(super) fn ending_of(&self, user: UserId) -> Option<Change> {
        let ended = |change: &&Change| match change {
            Change::Member(member) => member.user.id == user && member.change == MemberChange::Removed,
            Change::Properties(properties) => properties.deleted_at.is_some(),
            Change::Message(_) => false,
        };
        self.changes.iter().rev().find(ended).cloned()
    }
}

/// The change for revision `rev` from a net effect that reaches at least that far: the change
/// itself, or, in a hole, the present state of a thing that existed then. `None` beyond the net
/// effect.
///
/// A thing that changed again behind the end of the read is not in it. Where nothing else existed,
/// the conversation itself did: the hole gets its properties. It never gets a message that was
/// posted later, which readers would be sent as new twice.
pub(super) fn change_at(found: &[Change], rev: Rev, properties: impl FnOnce(Rev) -> Change) -> Option<Change> {
    let later = &found[found.partition_point(|change| change.rev() < rev)..];
    let next = later.first()?;
    if next.rev() == rev {
        return Some(next.clone());
    }
    let born_here = later.iter().find(|change| change.first_rev() == rev);
    let existed = || later.iter().find(|change| change.first_rev() < rev);
    let filler = born_here.or_else(existed).map(|change| change.with_rev(rev));
    Some(filler.unwrap_or_else(|| properties(rev)))
}

/// From changes in falling order of revisions: the latest of each thing, in rising order.
pub(super) fn latest_of_each<'a>(falling: impl Iterator<Item = &'a Change>) -> Vec<Change> {
    let mut seen: HashSet<Thing> = HashSet::new();
    let mut latest: Vec<_> = falling.filter(|change| seen.insert(change.thing())).cloned().collect();
    latest.reverse();
    latest
}
