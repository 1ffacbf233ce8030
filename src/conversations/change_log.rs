//! What a conversation remembers of its past: the latest changes, without holes, for subscribers who
//! come back soon; and the newest messages, for those who subscribe without a revision. Pure.
//!
//! Bounds of changes: [`CHANGES_MAX`] and [`CHANGES_BYTES_MAX`]. Bounds of messages: as many as a
//! snapshot has, and [`RECENT_BYTES_MAX`]. The oldest go first. Anyone who needs more is read it from
//! the database (`replay_pages.rs`). There is one of each for every active conversation, so they are
//! small. Used by `state.rs`.

use crate::ids::{Rev, Seq, UserId};
use crate::wire::frames::{MemberChange, Message};
use crate::wire::{Change, Thing, limits};
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

const CHANGES_MAX: usize = 512;
const CHANGES_BYTES_MAX: usize = 512 * 1024;
/// Bytes of messages that a conversation keeps for snapshots. Fifty messages of everyday length have
/// less.
pub(super) const RECENT_BYTES_MAX: usize = 64 * 1_024;

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

/// Messages with consecutive numbers, up to the last.
#[derive(Clone, Debug, Default)]
pub(super) struct RecentMessages {
    messages: VecDeque<Arc<Message>>,
    bytes: usize,
}

impl RecentMessages {
    /// The newest messages, ascending.
    pub(super) fn new(messages: Vec<Message>) -> Self {
        let mut recent = Self::default();
        for message in messages {
            recent.push(Arc::new(message));
        }
        recent
    }

    /// Appends the next message.
    pub(super) fn push(&mut self, message: Arc<Message>) {
        self.bytes += message.weight();
        self.messages.push_back(message);
        self.trim();
    }

    /// Replaces a message that has changed, if it is here.
    pub(super) fn replace(&mut self, message: Arc<Message>) {
        if let Some(known) = self.messages.iter_mut().rev().find(|known| known.seq == message.seq) {
            self.bytes = self.bytes + message.weight() - known.weight();
            *known = message;
            self.trim();
        }
    }

    fn trim(&mut self) {
        while self.messages.len() > limits::SUBSCRIBE_MESSAGES
            || (self.bytes > RECENT_BYTES_MAX && self.messages.len() > 1)
        {
            let Some(oldest) = self.messages.pop_front() else { break };
            self.bytes -= oldest.weight();
        }
    }

    /// The newest one.
    pub(super) fn last(&self) -> Option<&Arc<Message>> {
        self.messages.back()
    }

    /// All of them, if they are all that a snapshot has: so many, or everything there is.
    pub(super) fn snapshot(&self) -> Option<impl Iterator<Item = &Arc<Message>>> {
        let is_whole = self.messages.len() >= limits::SUBSCRIBE_MESSAGES
            || self.messages.front().is_none_or(|oldest| oldest.seq == Seq(1));
        is_whole.then(|| self.messages.iter())
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
