//! A conversation as a value: what it knows, and what follows from each event. Pure: no actor, no clock, no I/O.
//!
//! The state is a cache of what PostgreSQL holds (members, the newest messages, the latest changes) plus what is nowhere
//! else (who is typing, who is online). Durable changes come in only as committed facts with a revision; whether one is
//! next, old or beyond a gap is judged here and nowhere else. Time is an argument, in milliseconds of a monotonic clock;
//! timers are data, and [`State::next_deadline`] says when to call [`State::tick`].
//!
//! Gaps. A change beyond the next revision waits in `ahead` for [`GAP_PATIENCE_MS`]; if what is missing does not arrive,
//! an [`Effect::CatchUp`] asks the shell to read it. A read gives the net effect, so it has holes where a thing changed
//! twice; live readers are promised every revision, so a hole is filled with the present state of the thing that was
//! changed there (it must be one that existed then), under the hole's revision. Readers upsert, so this is harmless.

use super::social::Social;
use super::timers::Due;
use crate::ids::{ConversationId, MemberRole, Rev, Seq, TenantId, UserId, UserKind};
use crate::wire::frames::{
    ConversationChanged, MemberChange, MemberChanged, MemberEntry, Message, Subscribed, Timestamp,
};
use crate::wire::{Change, Thing, limits};
use bytestring::ByteString;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

/// Milliseconds of a monotonic clock.
pub(super) type Millis = u64;

/// Latest changes kept for readers who come back soon.
const CHANGES_MAX: usize = 512;
/// Bytes of them.
const CHANGES_BYTES_MAX: usize = 512 * 1024;
/// Changes beyond a gap that are kept; past it they are dropped and read again.
const AHEAD_MAX: usize = 1_024;
/// How long a gap may stay before it is read from the database.
const GAP_PATIENCE_MS: Millis = 50;

/// A member.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) name: ByteString,
    pub(super) kind: UserKind,
    pub(super) role: MemberRole,
    pub(super) read_seq: Seq,
    pub(super) online: bool,
}

/// What the database says when a conversation starts.
#[derive(Clone, Debug)]
pub(super) struct Loaded {
    pub(super) id: ConversationId,
    pub(super) tenant_id: TenantId,
    pub(super) title: ByteString,
    pub(super) rev: Rev,
    pub(super) last_seq: Seq,
    pub(super) deleted_at: Option<Timestamp>,
    pub(super) members: HashMap<UserId, Member>,
    /// The newest messages, ascending by `seq`.
    pub(super) recent: Vec<Message>,
}

/// What the shell has to do.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Effect {
    /// Push a durable change to every live reader.
    Broadcast(Change),
    /// Push to every live reader that `user` has read up to `seq`.
    BroadcastRead { user: UserId, seq: Seq },
    /// Push to every live reader but the typist.
    BroadcastTyping { user: UserId, on: bool },
    /// Push to every live reader but the person.
    BroadcastPresence { user: UserId, online: bool },
    /// Write a read marker.
    MarkRead { user: UserId, seq: Seq },
    /// Tell other nodes how far a member has read.
    PublishRead { user: UserId, seq: Seq },
    /// Tell connections of these members that are not subscribed.
    Notify(Vec<(UserId, i64)>),
    /// End the subscriptions of a user who is no longer a member.
    Detach { user: UserId, farewell: Change },
    /// The conversation is deleted: end every subscription.
    End { farewell: Change },
    /// Read the changes after this revision.
    CatchUp { after: Rev },
    /// The set of members changed.
    MembersChanged { user: UserId, joined: bool },
}

/// How a subscription is served.
#[derive(Clone, Debug)]
pub(super) enum Opening {
    /// From memory: these frames, in this order, then `subscribed`.
    Ready { changes: Vec<Change>, complete: bool },
    /// Too much or too old: the database has to be read.
    Read,
}

/// A conversation's state.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) id: ConversationId,
    pub(super) tenant_id: TenantId,
    pub(super) title: ByteString,
    pub(super) rev: Rev,
    pub(super) last_seq: Seq,
    pub(super) deleted_at: Option<Timestamp>,
    members: HashMap<UserId, Member>,
    recent: VecDeque<Arc<Message>>,
    /// The latest changes, revisions without holes, the last one `rev`.
    changes: VecDeque<Change>,
    changes_bytes: usize,
    /// Changes beyond a gap.
    ahead: BTreeMap<Rev, Change>,
    /// The highest revision known to exist.
    observed: Rev,
    gap: Due,
    catching_up: bool,
    social: Social,
}

impl State {
    pub(super) fn new(loaded: Loaded) -> Self {
        Self {
            id: loaded.id,
            tenant_id: loaded.tenant_id,
            title: loaded.title,
            rev: loaded.rev,
            last_seq: loaded.last_seq,
            deleted_at: loaded.deleted_at,
            members: loaded.members,
            recent: loaded.recent.into_iter().map(Arc::new).collect(),
            changes: VecDeque::new(),
            changes_bytes: 0,
            ahead: BTreeMap::new(),
            observed: loaded.rev,
            gap: Due::default(),
            catching_up: false,
            social: Social::default(),
        }
    }

    /// Remembers what readers who have everything up to `served` have missed, as if it had just happened; for a state
    /// that replaces one that died. `missed` is the net effect up to the present revision, ascending.
    pub(super) fn prefill(&mut self, served: Rev, missed: &[Change]) {
        let mut next = served.next();
        while next <= self.rev {
            let Some(change) = change_at(missed, next) else {
                self.changes_bytes = 0;
                return self.changes.clear();
            };
            self.remember(change);
            next = next.next();
        }
    }

    /// Every change after a revision, without holes; `None` when they are no longer all in memory.
    pub(super) fn changes_after(&self, after: Rev) -> Option<Vec<Change>> {
        let oldest = self.changes.front().map(Change::rev)?;
        (oldest <= after.next()).then(|| {
            self.changes
                .iter()
                .filter(|change| change.rev() > after)
                .cloned()
                .collect()
        })
    }

    /// The change that ended a user's membership or the conversation, if it is in memory and still holds.
    pub(super) fn ending_of(&self, user: UserId) -> Option<Change> {
        if self.role_of(user).is_some() {
            return None;
        }
        let ended = |change: &&Change| match change {
            Change::Member(member) => member.user.id == user && member.change == MemberChange::Removed,
            Change::Properties(properties) => properties.deleted_at.is_some(),
            Change::Message(_) => false,
        };
        self.changes.iter().rev().find(ended).cloned()
    }

    /// A member's role, if the user is one and the conversation is not deleted.
    pub(super) fn role_of(&self, user: UserId) -> Option<MemberRole> {
        if self.deleted_at.is_some() {
            return None;
        }
        self.members.get(&user).map(|member| member.role)
    }

    pub(super) fn member_ids(&self) -> impl Iterator<Item = UserId> + '_ {
        self.members.keys().copied()
    }

    /// Whether the conversation is small enough for `read`, `typing` and `presence`.
    pub(super) fn is_social(&self) -> bool {
        self.members.len() <= limits::MEMBERS_LISTED_MAX
    }

    // Durable changes.

    /// Takes in committed changes and the highest revision seen with them.
    pub(super) fn committed(&mut self, changes: Vec<Change>, observed: Rev, now: Millis, effects: &mut Vec<Effect>) {
        self.observed = self.observed.max(observed);
        for change in changes {
            self.observed = self.observed.max(change.rev());
            if change.rev() == self.rev.next() {
                self.take(change, now, effects);
                self.take_ahead(now, effects);
            } else if change.rev() > self.rev {
                if self.ahead.len() >= AHEAD_MAX {
                    self.ahead.clear();
                }
                self.ahead.insert(change.rev(), change);
            }
        }
        if self.rev >= self.observed {
            self.gap.clear();
        } else if !self.catching_up {
            self.gap.arm(now + GAP_PATIENCE_MS);
        }
    }

    /// Takes in the answer to [`Effect::CatchUp`]: the net effect of everything after the present revision, ascending.
    pub(super) fn caught_up(&mut self, found: &[Change], now: Millis, effects: &mut Vec<Effect>) {
        self.catching_up = false;
        let last = found.last().map_or(self.rev, Change::rev);
        while self.rev < last {
            let next = self.rev.next();
            let Some(change) = change_at(found, next) else { break };
            self.take(change, now, effects);
        }
        self.ahead = self.ahead.split_off(&self.rev.next());
        self.take_ahead(now, effects);
        if self.rev < self.observed {
            self.gap.arm(now + GAP_PATIENCE_MS);
        } else {
            self.gap.clear();
        }
    }

    /// The read for [`Effect::CatchUp`] failed; it is asked for again.
    pub(super) fn catch_up_failed(&mut self, now: Millis) {
        self.catching_up = false;
        self.gap.arm(now + 10 * GAP_PATIENCE_MS);
    }

    fn take_ahead(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        while let Some(change) = self.ahead.remove(&self.rev.next()) {
            self.take(change, now, effects);
        }
        while self.ahead.first_key_value().is_some_and(|(rev, _)| *rev <= self.rev) {
            self.ahead.pop_first();
        }
    }

    /// Applies the change with the next revision.
    fn take(&mut self, change: Change, now: Millis, effects: &mut Vec<Effect>) {
        self.rev = change.rev();
        self.remember(change.clone());
        effects.push(Effect::Broadcast(change.clone()));
        match change {
            Change::Message(message) => self.take_message(message, now, effects),
            Change::Member(member) => self.take_member(&member, now, effects),
            Change::Properties(properties) => self.take_properties(&properties, effects),
        }
    }

    fn remember(&mut self, change: Change) {
        self.changes_bytes += change.weight();
        self.changes.push_back(change);
        while self.changes.len() > CHANGES_MAX || self.changes_bytes > CHANGES_BYTES_MAX {
            let Some(oldest) = self.changes.pop_front() else { break };
            self.changes_bytes -= oldest.weight();
        }
    }

    fn take_message(&mut self, message: Arc<Message>, now: Millis, effects: &mut Vec<Effect>) {
        if message.seq <= self.last_seq {
            if let Some(known) = self.recent.iter_mut().rev().find(|known| known.seq == message.seq) {
                *known = message;
            }
            return;
        }
        self.last_seq = message.seq;
        let author = message.author;
        self.recent.push_back(message);
        if self.recent.len() > limits::SUBSCRIBE_MESSAGES {
            self.recent.pop_front();
        }
        if let Some(member) = self.members.get_mut(&author) {
            if member.read_seq.next() < self.last_seq {
                // Others' messages were unread until now: the author's other connections count anew.
                self.social.concern(author, now);
            }
            member.read_seq = self.last_seq;
            effects.push(Effect::MarkRead {
                user: author,
                seq: self.last_seq,
            });
        }
        // What was being typed is there now.
        self.social.forget_typing(author, effects);
        self.social.posted(author, now);
    }

    fn take_member(&mut self, member: &Arc<MemberChanged>, now: Millis, effects: &mut Vec<Effect>) {
        let user = member.user.id;
        if member.change == MemberChange::Removed {
            self.members.remove(&user);
            self.social.forget(user);
            effects.push(Effect::MembersChanged { user, joined: false });
            let farewell = Change::Member(member.clone());
            effects.push(Effect::Detach { user, farewell });
            return;
        }
        if let Some(known) = self.members.get_mut(&user) {
            known.role = member.user.role;
            known.name = member.user.name.clone();
            return;
        }
        let joined = Member {
            name: member.user.name.clone(),
            kind: member.user.kind,
            role: member.user.role,
            read_seq: self.last_seq,
            online: false,
        };
        self.members.insert(user, joined);
        effects.push(Effect::MembersChanged { user, joined: true });
        self.social.concern(user, now);
    }

    fn take_properties(&mut self, properties: &Arc<ConversationChanged>, effects: &mut Vec<Effect>) {
        self.title = properties.title.clone();
        self.deleted_at = properties.deleted_at;
        if self.deleted_at.is_some() {
            let farewell = Change::Properties(properties.clone());
            effects.push(Effect::End { farewell });
        }
    }

    // Subscriptions.

    /// How to bring a reader who has everything up to `after` (or nothing) to the present.
    pub(super) fn open(&self, after: Option<Rev>) -> Opening {
        let Some(after) = after else {
            let changes: Vec<_> = self
                .recent
                .iter()
                .map(|message| Change::Message(message.clone()))
                .collect();
            let complete = self.recent.front().is_none_or(|oldest| oldest.seq == Seq(1));
            return Opening::Ready { changes, complete };
        };
        if after == self.rev {
            return Opening::Ready {
                changes: Vec::new(),
                complete: true,
            };
        }
        let known_from = self.changes.front().map_or(self.rev, |oldest| Rev(oldest.rev().0 - 1));
        if after > self.rev || after < known_from {
            return Opening::Read;
        }
        let changes = latest_of_each(self.changes.iter().rev().take_while(|change| change.rev() > after));
        Opening::Ready {
            changes,
            complete: true,
        }
    }

    /// The `subscribed` frame for a member.
    pub(super) fn subscribed(&self, user: UserId, reference: Option<crate::wire::Ref>, complete: bool) -> Subscribed {
        let entry = |(id, member): (&UserId, &Member)| MemberEntry {
            id: *id,
            name: member.name.clone(),
            kind: member.kind,
            role: member.role,
            online: member.online,
        };
        let members = self.is_social().then(|| {
            let mut members: Vec<_> = self.members.iter().map(entry).collect();
            members.sort_unstable_by_key(|member| member.id);
            members
        });
        Subscribed {
            reference,
            conversation: self.id,
            title: self.title.clone(),
            rev: self.rev,
            last_seq: self.last_seq,
            read_seq: self.members.get(&user).map_or(Seq::ZERO, |member| member.read_seq),
            member_count: self.members.len(),
            members,
            complete,
        }
    }

    // What is not durable, or only in batches.

    /// A member has read up to `seq`, here.
    pub(super) fn read(&mut self, user: UserId, seq: Seq, now: Millis, effects: &mut Vec<Effect>) {
        let seq = seq.min(self.last_seq);
        if self.move_marker(user, seq, now) {
            effects.push(Effect::MarkRead { user, seq });
            effects.push(Effect::PublishRead { user, seq });
        }
    }

    /// A member has read up to `seq` on another node, which writes it and tells the member's other connections.
    pub(super) fn read_elsewhere(&mut self, user: UserId, seq: Seq, now: Millis) {
        self.move_marker(user, seq, now);
    }

    fn move_marker(&mut self, user: UserId, seq: Seq, now: Millis) -> bool {
        let social = self.is_social();
        let Some(member) = self.members.get_mut(&user).filter(|member| member.read_seq < seq) else {
            return false;
        };
        member.read_seq = seq;
        if social {
            self.social.read(user, seq, now);
        }
        self.social.concern(user, now);
        true
    }

    /// A member started or stopped typing.
    pub(super) fn typing(&mut self, user: UserId, on: bool, now: Millis, effects: &mut Vec<Effect>) {
        if !self.is_social() || !self.members.contains_key(&user) {
            return;
        }
        self.social.typing(user, on, now, effects);
    }

    /// A user came online or went offline.
    pub(super) fn presence(&mut self, user: UserId, online: bool, now: Millis) {
        let social = self.is_social();
        let Some(member) = self.members.get_mut(&user) else {
            return;
        };
        if member.online == online {
            return;
        }
        member.online = online;
        if social {
            self.social.presence(user, online, now);
        }
    }

    /// A user has another name.
    pub(super) fn renamed(&mut self, user: UserId, name: &ByteString) {
        if let Some(member) = self.members.get_mut(&user) {
            member.name = name.clone();
        }
    }

    // Time.

    /// When [`Self::tick`] has something to do.
    pub(super) fn next_deadline(&self) -> Option<Millis> {
        self.gap.at().into_iter().chain(self.social.next_deadline()).min()
    }

    /// Does what is due.
    pub(super) fn tick(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        if self.gap.fire(now) && !self.catching_up {
            self.catching_up = true;
            effects.push(Effect::CatchUp { after: self.rev });
        }
        self.social.tick(now, &self.members, self.last_seq, effects);
    }
}

/// The change for revision `rev` from a net effect that reaches at least that far: the change itself, or, in a hole, the
/// present state of a thing that existed then.
fn change_at(found: &[Change], rev: Rev) -> Option<Change> {
    let later = &found[found.partition_point(|change| change.rev() < rev)..];
    let exact = later.first().filter(|change| change.rev() == rev);
    if let Some(change) = exact {
        return Some(change.clone());
    }
    let born_here = later.iter().find(|change| change.first_rev() == rev);
    let existed = || later.iter().find(|change| change.first_rev() < rev);
    born_here
        .or_else(existed)
        .or_else(|| later.first())
        .map(|change| change.with_rev(rev))
}

/// From changes in falling order of revisions: the latest of each thing, in rising order.
fn latest_of_each<'a>(falling: impl Iterator<Item = &'a Change>) -> Vec<Change> {
    let mut seen: HashSet<Thing> = HashSet::new();
    let mut latest: Vec<_> = falling.filter(|change| seen.insert(change.thing())).cloned().collect();
    latest.reverse();
    latest
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
